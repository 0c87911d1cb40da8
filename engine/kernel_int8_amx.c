/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * kernel_int8_amx.c: integer products on AMX tiles. A tile holds 16 rows of 64 bytes; tdpbusd
 * multiplies 16 rows of the left operand with a packed block of 16 columns and adds the exact sums
 * to 16 x 16 int32. Tiles 0..3 are sums, 4 and 5 the left, 6 and 7 the right operand.
 */
#include "engine/kernel_int8.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#define INLINE static inline __attribute__((always_inline))

enum {
    TILE = 16,
    TILE_BYTES = TILE * K_STEP,
    AHEAD = 8, /* steps: the time in which the L3 cache answers */
};

/* As instructions and not as intrinsics: those of gcc 12 do not say that they read memory. */
#define TILE_ZERO(t) __asm__ volatile("tilezero %%tmm" #t ::)
#define TILE_LOAD(t, p, step)                                                                      \
    __asm__ volatile("tileloadd (%0,%1,1), %%tmm" #t ::"r"(p), "r"(step) : "memory")
#define TILE_STORE(t, p, step)                                                                     \
    __asm__ volatile("tilestored %%tmm" #t ", (%0,%1,1)" ::"r"(p), "r"(step) : "memory")
#define TILE_MADD(c, a, b) __asm__ volatile("tdpbusd %%tmm" #b ", %%tmm" #a ", %%tmm" #c ::)

/* The lines of a tile of weights, on their way from memory while others are multiplied. */
INLINE void fetch_tile(const int8_t *w)
{
    for (int i = 0; i < TILE; i++) {
        __builtin_prefetch(w + i * K_STEP, 0, 2);
    }
}

/* One or two tiles of rows from r0 and one or two blocks of columns from b0. */
INLINE void square(const struct strip *s, size_t r0, size_t b0, const bool two_rows,
                   const bool two_cols, int32_t *acc)
{
    const uint8_t *a0 = s->a + r0 * s->lda, *a1 = a0 + TILE * s->lda;
    const int8_t *w0 = s->w + b0 * s->block, *w1 = w0 + s->block;
    const int32_t *add = s->add + r0 * s->add_step + b0 * BLOCK_COLS;
    const long lda = (long)s->lda, line = K_STEP, to = STRIP_COLS * sizeof *acc;
    const long from = (long)(s->add_step * sizeof *add);
    const size_t steps = (s->quads * QUAD + K_STEP - 1) / K_STEP, half = TILE * s->add_step;
    TILE_LOAD(0, add, from);
    if (two_cols) {
        TILE_LOAD(1, add + BLOCK_COLS, from);
    }
    if (two_rows) {
        TILE_LOAD(2, add + half, from);
    }
    if (two_rows && two_cols) {
        TILE_LOAD(3, add + half + BLOCK_COLS, from);
    }
    for (size_t i = 0; i < steps; i++, a0 += K_STEP, a1 += K_STEP) {
        if (s->first) {
            fetch_tile(w0 + (i + AHEAD) * TILE_BYTES);
            fetch_tile(w1 + (i + AHEAD) * TILE_BYTES);
        }
        TILE_LOAD(6, w0 + i * TILE_BYTES, line);
        TILE_LOAD(4, a0, lda);
        TILE_MADD(0, 4, 6);
        if (two_cols) {
            TILE_LOAD(7, w1 + i * TILE_BYTES, line);
            TILE_MADD(1, 4, 7);
        }
        if (two_rows) {
            TILE_LOAD(5, a1, lda);
            TILE_MADD(2, 5, 6);
        }
        if (two_rows && two_cols) {
            TILE_MADD(3, 5, 7);
        }
    }
    acc += r0 * STRIP_COLS + b0 * BLOCK_COLS;
    TILE_STORE(0, acc, to);
    if (two_cols) {
        TILE_STORE(1, acc + BLOCK_COLS, to);
    }
    if (two_rows) {
        TILE_STORE(2, acc + TILE * STRIP_COLS, to);
    }
    if (two_rows && two_cols) {
        TILE_STORE(3, acc + TILE * STRIP_COLS + BLOCK_COLS, to);
    }
}

void kernel_product_amx(const struct strip *s, int32_t *acc)
{
    for (size_t r = 0; r < s->rows; r += 2 * TILE) {
        for (size_t b = 0; b < s->blocks; b += 2) {
            const bool two_rows = s->rows - r > TILE, two_cols = s->blocks - b > 1;
            if (two_rows && two_cols) {
                square(s, r, b, true, true, acc);
            } else if (two_rows) {
                square(s, r, b, true, false, acc);
            } else if (two_cols) {
                square(s, r, b, false, true, acc);
            } else {
                square(s, r, b, false, false, acc);
            }
        }
    }
}

/* ---- State of the thread -------------------------------------------------------------------- */

/* The operand of ldtilecfg. */
struct tile_config {
    uint8_t palette, start, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
};

void kernel_enter_amx(void)
{
    enum { TILES = 8 };
    struct tile_config c = {.palette = 1};
    for (int i = 0; i < TILES; i++) {
        c.row_bytes[i] = K_STEP;
        c.rows[i] = TILE;
    }
    __asm__ volatile("ldtilecfg %0" ::"m"(c));
}

/* Else the tiles would be saved at every switch to another thread. */
void kernel_leave_amx(void)
{
    __asm__ volatile("tilerelease" ::);
}

bool kernel_has_amx(void)
{
    enum { LEAF = 7, TILES = 1 << 24, INT8 = 1 << 25 };
    enum { REQUEST_PERMISSION = 0x1023, TILE_DATA = 18 }; /* arch_prctl, see the kernel's xstate */
    unsigned a, b, c, d;
    if (!__get_cpuid_count(LEAF, 0, &a, &b, &c, &d) || !(d & TILES) || !(d & INT8)) {
        return false;
    }
#if defined(__linux__)
    return syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0;
#else
    return false;
#endif
}
#else
/* ISO C forbids an empty file. */
typedef int kernel_int8_amx_unused;
#endif
