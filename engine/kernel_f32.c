/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * kernel_f32.c: the float32 kernels in plain C, which run everywhere, and the choice between them
 * and the vector forms in kernel_f32_avx2.c and kernel_f32_avx512.c.
 */
#include "engine/kernel_f32.h"

#include <stdlib.h>

/* ---- Plain C -------------------------------------------------------------------------------- */

static float clamp(float v, float lo, float hi)
{
    v = v < lo ? lo : v;
    return v > hi ? hi : v;
}

static void put(const struct f32_dest *y, size_t at, float v)
{
    if (y->raw) {
        y->raw[at] = v;
    }
    if (y->act) {
        y->act[at] = clamp(v, y->lo, y->hi);
    }
}

/* One row of sums to where it belongs. */
static void put_row(const struct f32_tile *t, size_t r, const float *sum)
{
    float *total = (t->y.raw ? t->y.raw : t->y.act) + r * t->y.pitch;
    for (size_t j = 0; j < t->n; j++) {
        total[j] = sum[j] + (!t->first ? total[j] : t->bias ? t->bias[j] : 0.0F);
        if (t->last) {
            put(&t->y, r * t->y.pitch + j, total[j]);
        }
    }
}

static void tile_plain(const struct f32_tile *t, size_t rows)
{
    const size_t cols = (t->n + F32_LANES - 1) / F32_LANES * F32_LANES;
    for (size_t r = 0; r < rows; r++) {
        float sum[F32_COLS] = {0};
        const float *w = t->w;
        for (size_t s = 0; s < t->segments; s++) {
            const float *x = t->x[s * t->pitch + r] + t->off;
            for (size_t k = 0; k < t->len; k++, w += cols) {
                for (size_t j = 0; j < cols; j++) {
                    sum[j] += x[k] * w[j];
                }
            }
        }
        put_row(t, r, sum);
    }
}

static void depth_plain(const struct f32_depth *d, size_t rows)
{
    for (size_t r = 0; r < rows; r++) {
        for (size_t j = 0; j < d->c; j++) {
            float sum = d->bias ? d->bias[j] : 0.0F;
            for (size_t i = 0; i < d->kh; i++) {
                for (size_t k = 0; k < d->kw; k++) {
                    sum += d->x[i * d->pitch + r * d->step + k * d->gap][j] *
                           d->w[(i * d->kw + k) * d->c + j];
                }
            }
            put(&d->y, r * d->y.pitch + j, sum);
        }
    }
}

static void largest_plain(const float *const *x, size_t n, size_t c, size_t step, size_t outs,
                          float *y)
{
    for (size_t o = 0; o < outs; o++, y += c) {
        for (size_t j = 0; j < c; j++) {
            float best = x[0][o * step + j];
            for (size_t t = 1; t < n; t++) {
                const float v = x[t][o * step + j];
                best = v > best || v != v ? v : best; /* v != v: NaN */
            }
            y[j] = best;
        }
    }
}

void kernel_transpose_plain(const uint8_t *x, size_t step, float *y)
{
    for (size_t j = 0; j < F32_LANES; j++) {
        for (size_t i = 0; i < F32_LANES; i++) {
            memcpy(y + i * F32_LANES + j, x + j * step + i * sizeof *y, sizeof *y);
        }
    }
}

const struct f32_kernels kernel_f32_plain = {
    .name = "plain",
    .rows = {0, 4, 4, 4, 4},
    .tile = tile_plain,
    .depth = depth_plain,
    .largest = largest_plain,
    .transpose = kernel_transpose_plain,
};

/* ---- Choice --------------------------------------------------------------------------------- */

#if defined(__x86_64__)
static bool has_avx2(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

static bool has_avx512(void)
{
    return has_avx2() && __builtin_cpu_supports("avx512f");
}
#endif

static bool always(void)
{
    return true;
}

/* Best first; `level` is what QSCOPE_ISA calls the integer kernels of the same CPUs. */
static const struct {
    const struct f32_kernels *k;
    const char *level;
    bool (*usable)(void);
} choices[] = {
#if defined(__x86_64__)
    {&kernel_f32_avx512, "vnni", has_avx512},
    {&kernel_f32_avx2, "avx2", has_avx2},
#endif
    {&kernel_f32_plain, "plain", always},
};

const struct f32_kernels *kernel_f32_isa(const char *name)
{
    for (size_t i = 0; i < COUNT(choices); i++) {
        if ((!name || strcmp(choices[i].k->name, name) == 0) && choices[i].usable()) {
            return choices[i].k;
        }
    }
    return NULL;
}

static const struct f32_kernels *choose(void)
{
    const char *level = getenv("QSCOPE_ISA");
    for (size_t i = 0; level && i < COUNT(choices); i++) {
        if (strcmp(choices[i].level, level) == 0 && choices[i].usable()) {
            return choices[i].k;
        }
    }
    return kernel_f32_isa(NULL);
}

static _Atomic(const struct f32_kernels *) chosen;

const struct f32_kernels *kernel_f32(void)
{
    const struct f32_kernels *k = atomic_load_explicit(&chosen, memory_order_relaxed);
    if (!k) {
        k = choose();
        atomic_store_explicit(&chosen, k, memory_order_relaxed);
    }
    return k;
}

void kernel_f32_force(const struct f32_kernels *k)
{
    atomic_store_explicit(&chosen, k, memory_order_relaxed);
}
