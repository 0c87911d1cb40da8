/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * stats_plain.c: the loops of stats.h in plain C, which run everywhere and define the results, and
 * the choice between them and the AVX-512 form in stats_avx512.c.
 */
#include "analysis/stats.h"

#include <stdlib.h>

/* Compiled once more for AVX2. Contraction is off, so both give the same bits. */
#if defined(__x86_64__) && defined(__gnu_linux__) && !defined(__SANITIZE_ADDRESS__) &&             \
    !defined(__clang__)
#define VECTOR_CLONES __attribute__((target_clones("avx2", "default")))
#else
#define VECTOR_CLONES
#endif
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
VECTOR_CLONES static unsigned pairs_plain(struct lanes *g, const struct block *b, struct range r,
                                          struct reach *reach)
{
    struct lanes s = *g;
    struct reach own;
    bool finite = true, beyond = false;
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

VECTOR_CLONES static void beyond_plain(struct lanes *g, const struct block *b, struct range r)
{
    const float *x = b->x;
    for (size_t i = 0; i < b->rows; i++, x += b->x_step) {
        for (size_t j = 0; j < b->n; j++) {
            g->low[j] += x[j] < r.lo;
            g->high[j] += x[j] > r.hi;
        }
    }
}

VECTOR_CLONES static void reals_plain(struct lanes *g, const struct block *b)
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

VECTOR_CLONES static void codes_plain(struct lanes *g, const struct codes *c, size_t rows, size_t n)
{
    const uint8_t *p = c->p;
    for (size_t r = 0; r < rows; r++, p += c->step) {
        for (size_t j = 0; j < n; j++) {
            struct lanes *s = &g[j / LANES];
            uint8_t v = p[j] ^ c->flip;
            size_t at = j % LANES;
            s->clo[at] = MIN(s->clo[at], v);
            s->chi[at] = MAX(s->chi[at], v);
            s->zeros[at] += v == c->zero;
        }
    }
}

VECTOR_CLONES static void decode_plain(const struct codes *c, size_t rows, size_t n, float *y)
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

INLINE size_t bins_of(const float *x, size_t n, float scale, const bool squeeze, int32_t *bin)
{
    size_t made = 0;
    for (size_t i = 0; i < n; i++) {
        bin[made] = (int32_t)floor((double)x[i] * (double)scale);
        made += !squeeze || x[i] != 0;
    }
    return made;
}

VECTOR_CLONES static size_t bins_plain(const float *x, size_t n, float scale, bool squeeze,
                                       int32_t *bin)
{
    return squeeze ? bins_of(x, n, scale, true, bin) : bins_of(x, n, scale, false, bin);
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
