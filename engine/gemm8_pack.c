/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * gemm8_pack.c: brings right operands into the order of gemm8.h: blocks of 16 columns, four bytes
 * of each side by side. Weights of tens of megabytes are packed when a model is opened, so whole
 * blocks go through registers of 16 bytes, which every compiler for every CPU knows how to split.
 */
#include "engine/gemm8.h"

typedef uint8_t bytes16 __attribute__((vector_size(16)));
typedef uint16_t words8 __attribute__((vector_size(16)));
typedef uint32_t dwords4 __attribute__((vector_size(16)));

enum { LINE = BLOCK_COLS * QUAD, GROUP = 4 };

#define LOW(a, b) __builtin_shufflevector(a, b, 0, 4, 1, 5)
#define HIGH(a, b) __builtin_shufflevector(a, b, 2, 6, 3, 7)

static dwords4 load_minus(const uint8_t *p, bytes16 shift)
{
    bytes16 v;
    memcpy(&v, p, sizeof v);
    return (dwords4)(v - shift);
}

/* Quads [0, 4) of four columns: a square of dwords, transposed. */
static void pack_square(const uint8_t *const *from, size_t at, const bytes16 *shift, int8_t *dst)
{
    const dwords4 a = load_minus(from[0] + at, shift[0]), b = load_minus(from[1] + at, shift[1]);
    const dwords4 c = load_minus(from[2] + at, shift[2]), d = load_minus(from[3] + at, shift[3]);
    const dwords4 ac0 = LOW(a, c), ac1 = HIGH(a, c), bd0 = LOW(b, d), bd1 = HIGH(b, d);
    const dwords4 out[GROUP] = {LOW(ac0, bd0), HIGH(ac0, bd0), LOW(ac1, bd1), HIGH(ac1, bd1)};
    for (int i = 0; i < GROUP; i++) {
        memcpy(dst + i * LINE, &out[i], sizeof out[i]);
    }
}

void gemm8_pack_columns(int8_t *block, const uint8_t *const *from, const uint8_t *shift,
                        size_t cols, size_t k)
{
    const size_t step = sizeof(bytes16), whole = k / step * step;
    size_t c = 0;
    for (; c + GROUP <= cols; c += GROUP) {
        bytes16 s[GROUP];
        for (int i = 0; i < GROUP; i++) {
            memset(&s[i], shift[c + (size_t)i], sizeof s[i]);
        }
        for (size_t at = 0; at < whole; at += step) {
            pack_square(from + c, at, s, block + at / QUAD * LINE + c * QUAD);
        }
    }
    const size_t squares = c;
    for (c = 0; c < cols; c++) {
        for (size_t i = c < squares ? whole : 0; i < k; i++) {
            block[i / QUAD * LINE + c * QUAD + i % QUAD] = (int8_t)(from[c][i] - shift[c]);
        }
    }
}

/* Four rows of 16 bytes become 16 columns of four. */
static void pack_line(const uint8_t *src, size_t ldb, uint8_t flip, int8_t *dst)
{
    bytes16 r[QUAD], x;
    memset(&x, flip, sizeof x);
    for (size_t i = 0; i < QUAD; i++) {
        memcpy(&r[i], src + i * ldb, sizeof r[i]);
        r[i] ^= x;
    }
#define LOW_BYTES(a, b)                                                                            \
    (words8) __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23)
#define HIGH_BYTES(a, b)                                                                           \
    (words8) __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30,   \
                                     15, 31)
#define LOW_WORDS(a, b) __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11)
#define HIGH_WORDS(a, b) __builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15)
    const words8 lo01 = LOW_BYTES(r[0], r[1]), hi01 = HIGH_BYTES(r[0], r[1]);
    const words8 lo23 = LOW_BYTES(r[2], r[3]), hi23 = HIGH_BYTES(r[2], r[3]);
    const words8 out[QUAD] = {LOW_WORDS(lo01, lo23), HIGH_WORDS(lo01, lo23), LOW_WORDS(hi01, hi23),
                              HIGH_WORDS(hi01, hi23)};
    memcpy(dst, out, sizeof out);
}

void gemm8_pack_rows(int8_t *block, const uint8_t *src, size_t ldb, uint8_t flip, size_t cols,
                     size_t k)
{
    size_t i = 0;
    for (; i + QUAD <= k && cols == BLOCK_COLS; i += QUAD) {
        pack_line(src + i * ldb, ldb, flip, block + i / QUAD * LINE);
    }
    for (; i < k; i++) {
        for (size_t c = 0; c < cols; c++) {
            block[i / QUAD * LINE + c * QUAD + i % QUAD] = (int8_t)(src[i * ldb + c] ^ flip);
        }
    }
}

/* 16 bits hold the sum of a run, which compilers add up in registers. */
enum { RUN = 128 };

uint32_t gemm8_sum_s8(const int8_t *p, size_t n)
{
    uint32_t sum = 0;
    for (size_t i = 0; i < n; i += RUN) {
        const size_t end = MIN(n, i + RUN);
        int16_t part = 0;
        for (size_t k = i; k < end; k++) {
            part = (int16_t)(part + p[k]);
        }
        sum += (uint32_t)part;
    }
    return sum;
}
