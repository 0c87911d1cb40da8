/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * kernel_int8.c: the integer kernels in plain C, which run everywhere and define the results, and
 * the choice between them and the vector forms in kernel_int8_avx2.c and kernel_int8_vnni.c.
 */
#include "engine/kernel_int8.h"

#include <stdlib.h>

/* ---- Plain C -------------------------------------------------------------------------------- */

static void tile_plain(const uint8_t *x, const size_t *off, size_t taps, const int8_t *w, int cols,
                       int32_t *acc)
{
    uint32_t sum[TILE_ROWS][TILE_COLS] = {0}; /* unsigned: wraps without being undefined */
    for (size_t t = 0; t < taps; t++) {
        const uint8_t *p = x + off[t];
        const int8_t *q = w + t * TILE_ROWS * QUAD;
        for (int i = 0; i < TILE_ROWS; i++, q += QUAD) {
            for (int j = 0; j < cols; j++) {
                const uint8_t *b = p + (size_t)j * QUAD;
                sum[i][j] += (uint32_t)(b[0] * q[0] + b[1] * q[1] + b[2] * q[2] + b[3] * q[3]);
            }
        }
    }
    memcpy(acc, sum, sizeof sum);
}

static void lanes_plain(const uint8_t *x, const size_t *off, size_t quads, const int8_t *w,
                        int32_t *acc)
{
    uint32_t sum[LANE_COLS] = {0};
    for (size_t t = 0; t < quads * QUAD; t++) {
        const uint8_t *p = x + off[t];
        for (int j = 0; j < LANE_COLS; j++) {
            sum[j] += (uint32_t)(p[j] * w[t]);
        }
    }
    memcpy(acc, sum, sizeof sum);
}

static void finish_plain(const int32_t *acc, size_t n, const struct finish *f, uint8_t *y)
{
    for (size_t j = 0; j < n; j++) {
        y[j] = finish_one(acc, j, f);
    }
}

static void add_plain(const uint8_t *a, const uint8_t *b, size_t step_b, size_t n,
                      const struct int8_add *p, uint8_t *y)
{
    for (size_t i = 0; i < n; i++) {
        y[i] = add_one(a[i], b[i * step_b], p);
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
    .tile = tile_plain,
    .lanes = lanes_plain,
    .finish = finish_plain,
    .add = add_plain,
    .chain = chain_plain,
    .pairs = pairs_plain,
};

void finish_row(const struct int8_kernels *k, enum dtype d, const int32_t *acc, size_t n,
                const struct finish *f, void *y)
{
    if (d == DT_S32) {
        for (size_t j = 0; j < n; j++) {
            ((int32_t *)y)[j] = finish_sum(acc, j, f);
        }
    } else if (d == DT_F32) {
        for (size_t j = 0; j < n; j++) {
            float m = f->col_scale ? f->col_scale[j] : f->scale;
            ((float *)y)[j] = (float)finish_sum(acc, j, f) * m;
        }
    } else {
        k->finish(acc, n, f, y);
    }
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
