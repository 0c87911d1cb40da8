/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * kernel_int8.c: the integer kernels in plain C, which run everywhere and define the results, and
 * the choice between them and the vector forms in kernel_int8_avx2.c and kernel_int8_vnni.c.
 */
#include "engine/kernel_int8.h"

#include "engine/elem.h"

#include <stdlib.h>

/* ---- Plain C -------------------------------------------------------------------------------- */

static void product_plain(const struct strip *s, int32_t *acc)
{
    for (size_t r = 0; r < s->rows; r++) {
        for (size_t b = 0; b < s->blocks; b++) {
            const int8_t *w = s->w + b * s->block;
            uint32_t sum[BLOCK_COLS]; /* unsigned: wraps without being undefined */
            memcpy(sum, s->add + r * s->add_step + b * BLOCK_COLS, sizeof sum);
            for (size_t i = 0; i < s->quads; i++, w += BLOCK_COLS * QUAD) {
                const uint8_t *a = s->a + r * s->lda + i * QUAD;
                for (size_t c = 0; c < BLOCK_COLS; c++) {
                    const int8_t *q = w + c * QUAD;
                    sum[c] += (uint32_t)(a[0] * q[0] + a[1] * q[1] + a[2] * q[2] + a[3] * q[3]);
                }
            }
            memcpy(acc + r * STRIP_COLS + b * BLOCK_COLS, sum, sizeof sum);
        }
    }
}

static void finish_plain(const struct finish *f, const int32_t *acc, const int32_t *row,
                         size_t rows, size_t cols, uint8_t *y, size_t ldy)
{
    for (size_t r = 0; r < rows; r++) {
        for (size_t c = 0; c < cols; c++) {
            finish_one(f, c, acc[r * STRIP_COLS + c], row ? row[r] : 0, y + r * ldy + c);
        }
    }
}

static void depthwise_plain(const struct depthwise_row *r)
{
    const struct depthwise_filter *w = r->w;
    for (size_t i = 0; i < r->pixels; i++) {
        const uint8_t *const *ptr = r->ptr + i * r->step;
        for (size_t c0 = 0; c0 < w->channels; c0 += STRIP_COLS) {
            const size_t n = MIN(w->channels - c0, (size_t)STRIP_COLS);
            int32_t acc[STRIP_COLS];
            for (size_t c = 0; c < n; c++) {
                uint32_t sum = (uint32_t)r->add[c0 + c];
                for (size_t t = 0; t < w->slots; t++) {
                    sum += (uint32_t)(ptr[r->at[t]][c0 + c] * w->w[t * w->width + c0 + c]);
                }
                acc[c] = (int32_t)sum;
            }
            finish_depthwise(&kernel_int8_plain, r, acc, i, c0, n);
        }
    }
}

static void add_plain(const uint8_t *a, size_t step_a, const uint8_t *b, size_t step_b, size_t n,
                      const struct int8_add *p, uint8_t *y)
{
    for (size_t i = 0; i < n; i++) {
        y[i] = add_one(a[i * step_a], b[i * step_b], p);
    }
}

/* Rows of codes, one of which is repeated where its step is 0. */
#define MULTIPLY(name, type)                                                                       \
    VECTOR_CLONES static void name(const type *restrict a, size_t step_a, const type *restrict b,  \
                                   size_t step_b, size_t n, const struct int8_mul *restrict p,     \
                                   uint8_t *restrict y)                                            \
    {                                                                                              \
        if (step_a && step_b) {                                                                    \
            for (size_t i = 0; i < n; i++) {                                                       \
                y[i] = mul_one(a[i], b[i], p);                                                     \
            }                                                                                      \
        } else {                                                                                   \
            for (size_t i = 0; i < n; i++) {                                                       \
                y[i] = mul_one(a[i * step_a], b[i * step_b], p);                                   \
            }                                                                                      \
        }                                                                                          \
    }
MULTIPLY(multiply_u8, uint8_t)
MULTIPLY(multiply_s8, int8_t)

void kernel_mul_plain(const uint8_t *a, size_t step_a, const uint8_t *b, size_t step_b, size_t n,
                      const struct int8_mul *p, uint8_t *y)
{
    if (p->is_signed) {
        multiply_s8((const int8_t *)a, step_a, (const int8_t *)b, step_b, n, p, y);
    } else {
        multiply_u8(a, step_a, b, step_b, n, p, y);
    }
}

void kernel_map_plain(const uint8_t *table, const uint8_t *x, size_t n, uint8_t *y)
{
    for (size_t i = 0; i < n; i++) {
        y[i] = table[x[i]];
    }
}

static void chain_plain(const float *x, const size_t *off, size_t taps, const float *w, int cols,
                        bool first, float *acc)
{
    float sum[TILE_ROWS][TILE_COLS] = {0};
    for (size_t t = 0; t < taps; t++, w += TILE_ROWS) {
        const float *p = x + off[t] / sizeof *x;
        for (int i = 0; i < TILE_ROWS; i++) {
            for (int j = 0; j < cols; j++) {
                sum[i][j] = fmaf(p[j], w[i], sum[i][j]);
            }
        }
    }
    for (int i = 0; i < TILE_ROWS; i++) {
        for (int j = 0; j < cols; j++) {
            float *a = &acc[i * TILE_COLS + j];
            *a = first ? sum[i][j] : *a + sum[i][j];
        }
    }
}

static int32_t pairs_plain(const uint8_t *x, const int8_t *w, size_t n)
{
    uint32_t sum = 0;
    for (size_t k = 0; k < n; k += 2) {
        int32_t second = k + 1 < n ? x[k + 1] * w[k + 1] : 0;
        sum += (uint32_t)pair_saturate(x[k] * w[k] + second);
    }
    return (int32_t)sum;
}

const struct int8_kernels kernel_int8_plain = {
    .name = "plain",
    .strip_rows = 16,
    .product = product_plain,
    .finish = finish_plain,
    .depthwise = depthwise_plain,
    .add = add_plain,
    .mul = kernel_mul_plain,
    .map = kernel_map_plain,
    .chain = chain_plain,
    .pairs = pairs_plain,
};

void finish_strip(const struct int8_kernels *k, const struct finish *f, const int32_t *acc,
                  const int32_t *row, size_t rows, size_t cols, uint8_t *y, size_t ldy)
{
    const size_t size = dtype_size(f->dtype);
    if (finish_is_vector(f)) {
        k->finish(f, acc, row, rows, cols, y, ldy);
        return;
    }
    for (size_t r = 0; r < rows; r++, acc += STRIP_COLS, y += ldy) {
        if (f->dtype == DT_S32 && !row) {
            memcpy(y, acc, cols * sizeof *acc);
            continue;
        }
        for (size_t c = 0; c < cols; c++) {
            finish_one(f, c, acc[c], row ? row[r] : 0, y + c * size);
        }
    }
}

void finish_depthwise(const struct int8_kernels *k, const struct depthwise_row *r,
                      const int32_t *acc, size_t pixel, size_t c0, size_t n)
{
    const struct finish f = finish_from(r->f, c0, c0);
    finish_strip(k, &f, acc, NULL, 1, n, r->y + pixel * r->ldy + c0 * dtype_size(f.dtype), r->ldy);
}

/* ---- Choice --------------------------------------------------------------------------------- */

#if defined(__x86_64__)
static bool has_avx2(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

static bool has_vnni(void)
{
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni");
}

static bool has_amx(void)
{
    return has_vnni() && kernel_has_amx();
}
#endif

static bool always(void)
{
    return true;
}

/* Best first. */
static const struct {
    const struct int8_kernels *k;
    bool (*usable)(void);
} choices[] = {
#if defined(__x86_64__)
    {&kernel_int8_amx, has_amx},
    {&kernel_int8_vnni, has_vnni},
    {&kernel_int8_avx2, has_avx2},
#endif
    {&kernel_int8_plain, always},
};

const struct int8_kernels *kernel_int8_isa(const char *name)
{
    for (size_t i = 0; i < COUNT(choices); i++) {
        if ((!name || strcmp(choices[i].k->name, name) == 0) && choices[i].usable()) {
            return choices[i].k;
        }
    }
    return NULL;
}

static _Atomic(const struct int8_kernels *) chosen;

const struct int8_kernels *kernel_int8(void)
{
    const struct int8_kernels *k = atomic_load_explicit(&chosen, memory_order_relaxed);
    if (!k) {
        const char *name = getenv("QSCOPE_ISA");
        k = name ? kernel_int8_isa(name) : NULL;
        k = k ? k : kernel_int8_isa(NULL);
        atomic_store_explicit(&chosen, k, memory_order_relaxed);
    }
    return k;
}

void kernel_int8_force(const struct int8_kernels *k)
{
    atomic_store_explicit(&chosen, k, memory_order_relaxed);
}
