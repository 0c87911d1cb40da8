/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * stats_plain.c: the loops of stats.h in plain C, which run everywhere and define the results, and
 * the choice between them and the AVX-512 form in stats_avx512.c.
 */
#include "analysis/stats.h"

#include <stdlib.h>

#define INLINE static inline __attribute__((always_inline))

/* ---- Sums ----------------------------------------------------------------------------------- */

/* Least and greatest values of a block, apart from what came before, so that its own can be seen.
 * Of two equal ones (-0 and 0) the first counts, here and when they are brought together. */
INLINE void reach_add(float *lo, float *hi, float v)
{
    *lo = v < *lo ? v : *lo;
    *hi = v > *hi ? v : *hi;
}

INLINE void pairs_rows(struct lanes *s, const struct block *b, struct reach *own, const size_t n)
{
    const float *x = b->x, *y = b->y;
    for (size_t r = 0; r < b->rows; r++, x += b->x_step, y += b->y_step) {
        for (size_t j = 0; j < n; j++) {
            double p = (double)x[j], q = (double)y[j], e = p - q, a = fabs(e);
            s->xx[j] += p * p;
            s->yy[j] += q * q;
            s->xy[j] += p * q;
            s->ee[j] += e * e;
            s->ae[j] += a;
            s->top[j] = a > s->top[j] ? a : s->top[j];
            reach_add(&own->lo[j], &own->hi[j], x[j]);
        }
    }
}

/* A NaN or infinity shows in xx or yy, which no finite floats can overflow. */
AVX2_CLONE static unsigned pairs_plain(struct lanes *g, const struct block *b, struct range r,
                                       struct reach *reach, struct backlog *left)
{
    struct lanes s = *g;
    struct reach own;
    bool finite = true, beyond = false;
    for (size_t i = 0; i < b->rows && left->n >= LANES; i++) {
        backlog_count_row(left);
    }
    for (size_t j = 0; j < LANES; j++) {
        own.lo[j] = INFINITY;
        own.hi[j] = -INFINITY;
    }
    if (b->n == LANES) {
        pairs_rows(&s, b, &own, LANES);
    } else {
        pairs_rows(&s, b, &own, b->n);
    }
    for (size_t j = 0; j < b->n; j++) {
        finite = finite && isfinite(s.xx[j]) && isfinite(s.yy[j]);
        beyond = beyond || own.lo[j] < r.lo || own.hi[j] > r.hi;
    }
    if (!finite) {
        return PAIRS_NONFINITE;
    }
    for (size_t j = 0; j < b->n; j++) {
        s.xlo[j] = own.lo[j] < s.xlo[j] ? own.lo[j] : s.xlo[j];
        s.xhi[j] = own.hi[j] > s.xhi[j] ? own.hi[j] : s.xhi[j];
        reach->lo[j] = own.lo[j] < reach->lo[j] ? own.lo[j] : reach->lo[j];
        reach->hi[j] = own.hi[j] > reach->hi[j] ? own.hi[j] : reach->hi[j];
    }
    *g = s;
    return beyond ? PAIRS_BEYOND : 0;
}

AVX2_CLONE static void beyond_plain(struct lanes *g, const struct block *b, struct range r)
{
    const float *x = b->x;
    for (size_t i = 0; i < b->rows; i++, x += b->x_step) {
        for (size_t j = 0; j < b->n; j++) {
            g->low[j] += x[j] < r.lo;
            g->high[j] += x[j] > r.hi;
        }
    }
}

AVX2_CLONE static void reals_plain(struct lanes *g, const struct block *b)
{
    const float *y = b->y;
    for (size_t i = 0; i < b->rows; i++, y += b->y_step) {
        for (size_t j = 0; j < b->n; j++) {
            reach_add(&g->ylo[j], &g->yhi[j], y[j]);
            g->zeros[j] += y[j] == 0;
        }
    }
}

/* ---- Codes ---------------------------------------------------------------------------------- */

/* Of one group; a byte counts the zeros of ROWS_MAX rows. */
INLINE void codes_rows(struct lanes *g, const struct codes *c, const uint8_t *p, size_t rows,
                       const size_t n)
{
    uint8_t lo[LANES], hi[LANES], zeros[LANES] = {0};
    const uint8_t flip = c->flip, zero = c->zero;
    memcpy(lo, g->clo, sizeof lo);
    memcpy(hi, g->chi, sizeof hi);
    for (size_t r = 0; r < rows; r++, p += c->step) {
        for (size_t j = 0; j < n; j++) {
            uint8_t v = p[j] ^ flip;
            lo[j] = MIN(lo[j], v);
            hi[j] = MAX(hi[j], v);
            zeros[j] = (uint8_t)(zeros[j] + (v == zero));
        }
    }
    memcpy(g->clo, lo, sizeof lo);
    memcpy(g->chi, hi, sizeof hi);
    for (size_t j = 0; j < n; j++) {
        g->zeros[j] += zeros[j];
    }
}

AVX2_CLONE static void codes_plain(struct lanes *g, const struct codes *c, size_t rows, size_t n)
{
    for (size_t at = 0; at < n; at += LANES) {
        if (n - at >= LANES) {
            codes_rows(&g[at / LANES], c, c->p + at, rows, LANES);
        } else {
            codes_rows(&g[at / LANES], c, c->p + at, rows, n - at);
        }
    }
}

AVX2_CLONE static void decode_plain(const struct codes *c, size_t rows, size_t n, float *y)
{
    const uint8_t *p = c->p;
    const float scale = c->scale;
    const int zero = c->zero, flip = c->flip;
    for (size_t r = 0; r < rows; r++, p += c->step, y += PANEL) {
        for (size_t j = 0; j < n; j++) {
            y[j] = (float)((p[j] ^ flip) - zero) * scale;
        }
        memset(y + n, 0, (PANEL - n) * sizeof *y);
    }
}

/* ---- Turning rows into columns -------------------------------------------------------------- */

#define TURN(name, type)                                                                           \
    static void name(const type *src, size_t step, size_t n, size_t cols, type *dst)               \
    {                                                                                              \
        memset(dst, 0, cols *LANES * sizeof *dst);                                                 \
        for (size_t j = 0; j < n; j++) {                                                           \
            for (size_t i = 0; i < cols; i++) {                                                    \
                dst[i * LANES + j] = src[j * step + i];                                            \
            }                                                                                      \
        }                                                                                          \
    }
TURN(turn_floats_plain, float)
TURN(turn_codes_plain, uint8_t)

/* ---- Bins ----------------------------------------------------------------------------------- */

/* The product is exact, unless it vanishes: then a negative one lies in the bin below 0. The floor
 * is made of a truncation, since compilers do not vectorize floorf(). */
AVX2_CLONE static size_t bins_plain(const float *restrict x, size_t n, float scale, bool squeeze,
                                    int16_t *restrict bin)
{
    for (size_t i = 0; i < n; i++) {
        float v = x[i] * scale;
        int32_t whole = (int32_t)v;
        bin[i] = (int16_t)(whole - ((float)whole > v) - ((v == 0) & (x[i] < 0)));
    }
    size_t made = squeeze ? 0 : n;
    for (size_t i = 0; squeeze && i < n; i++) {
        bin[made] = bin[i];
        made += x[i] != 0;
    }
    return made;
}

const struct stats_kernels stats_plain = {
    .name = "plain",
    .pairs = pairs_plain,
    .beyond = beyond_plain,
    .reals = reals_plain,
    .codes = codes_plain,
    .decode = decode_plain,
    .turn_floats = turn_floats_plain,
    .turn_codes = turn_codes_plain,
    .bins = bins_plain,
};

/* ---- Choice --------------------------------------------------------------------------------- */

static const struct stats_kernels *best_kernels(void)
{
    const char *isa = getenv("QSCOPE_ISA");
    if (isa && strcmp(isa, "vnni") != 0) {
        return &stats_plain;
    }
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq")) {
        return &stats_avx512;
    }
#endif
    return &stats_plain;
}

static _Atomic(const struct stats_kernels *) chosen;

const struct stats_kernels *stats_kernels(void)
{
    const struct stats_kernels *k = atomic_load_explicit(&chosen, memory_order_relaxed);
    if (!k) {
        k = best_kernels();
        atomic_store_explicit(&chosen, k, memory_order_relaxed);
    }
    return k;
}

void stats_force(const struct stats_kernels *k)
{
    atomic_store_explicit(&chosen, k, memory_order_relaxed);
}
