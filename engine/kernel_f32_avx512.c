/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * kernel_f32_avx512.c: the float32 kernels for AVX-512. A tile keeps rows x units of sums in
 * registers and per factor loads each unit of weights and broadcasts each row's element once, so
 * that loads do not bound the multiply-adds.
 */
#include "engine/kernel_f32.h"

#if defined(__x86_64__)
#include <immintrin.h>

#define AVX512 __attribute__((target("avx512f")))
#define INLINE static inline __attribute__((always_inline))
enum { UNITS = F32_COLS / F32_LANES, CACHE_LINE = 64, DEPTH = 4 };

/* c += x * w as one instruction on a register: contraction is off, and gcc 12 copies accumulators
 * around the intrinsic. */
INLINE AVX512 void madd(__m512 *c, __m512 x, __m512 w)
{
    __asm__("vfmadd231ps %2, %1, %0" : "+v"(*c) : "v"(w), "v"(x));
}

/* Lanes of unit u that exist. */
INLINE AVX512 __mmask16 unit_mask(const struct f32_tile *t, const int u, const int units)
{
    const size_t rest = t->n - (size_t)u * F32_LANES;
    return u + 1 < units || rest == F32_LANES ? 0xffff : (__mmask16)((1u << rest) - 1);
}

/* In this order of operands a NaN stays. */
INLINE AVX512 __m512 clamp(__m512 v, const struct f32_dest *y)
{
    return _mm512_min_ps(_mm512_set1_ps(y->hi), _mm512_max_ps(_mm512_set1_ps(y->lo), v));
}

/* Adds the sums to the bias or to what the part before left, and stores them. */
INLINE AVX512 void finish(const struct f32_tile *t, const int rows, const int units,
                          __m512 c[][UNITS])
{
    const struct f32_dest y = t->y;
    const __mmask16 last = unit_mask(t, units - 1, units);
    float *total = y.raw ? y.raw : y.act;
#define EACH_UNIT                                                                                  \
    _Pragma("GCC unroll 16") for (int r = 0; r < rows; r++)                                        \
        _Pragma("GCC unroll 4") for (int u = 0; u < units; u++)
#define MASK (u + 1 < units ? (__mmask16)0xffff : last)
#define AT ((size_t)r * y.pitch + (size_t)(u * F32_LANES))
    if (!t->first) {
        EACH_UNIT
        {
            c[r][u] = _mm512_add_ps(_mm512_maskz_loadu_ps(MASK, total + AT), c[r][u]);
        }
    } else if (t->bias) {
        EACH_UNIT
        {
            const float *bias = t->bias + u * F32_LANES;
            c[r][u] = _mm512_add_ps(_mm512_maskz_loadu_ps(MASK, bias), c[r][u]);
        }
    }
    if (y.raw || !t->last) {
        EACH_UNIT
        {
            _mm512_mask_storeu_ps(total + AT, MASK, c[r][u]);
        }
    }
    if (y.act && t->last) {
        EACH_UNIT
        {
            _mm512_mask_storeu_ps(y.act + AT, MASK, clamp(c[r][u], &y));
        }
    }
}

INLINE AVX512 void tile(const struct f32_tile *t, const int rows, const int units)
{
    __m512 c[F32_ROWS][UNITS];
    const float *const *rows_x = t->x, *w = t->w;
    /* What is at hand where there is nothing to fetch: looking for a page at NULL takes time. */
    const char *next = (const char *)(t->next ? t->next : t->w);
    const char *ahead = (const char *)(t->ahead ? t->ahead : t->w);
    const size_t step = t->next ? CACHE_LINE : 0, step_ahead = t->ahead ? CACHE_LINE : 0;
#pragma GCC unroll 16
    for (int r = 0; r < rows; r++) {
#pragma GCC unroll 4
        for (int u = 0; u < units; u++) {
            c[r][u] = _mm512_setzero_ps();
        }
    }
    for (size_t s = 0; s < t->segments; s++, rows_x += t->pitch) {
        const float *x[F32_ROWS];
#pragma GCC unroll 16
        for (int r = 0; r < rows; r++) {
            x[r] = rows_x[r] + t->off;
        }
        for (size_t k = 0; k < t->len; k++, w += units * F32_LANES, next += step) {
            __m512 v[UNITS];
            if (units > 1) { /* one unit is bound by loads, and its weights are few */
                _mm_prefetch(next, _MM_HINT_T1);
                _mm_prefetch(ahead, _MM_HINT_T0);
                ahead += step_ahead;
            }
#pragma GCC unroll 4
            for (int u = 0; u < units; u++) {
                v[u] = _mm512_loadu_ps(w + u * F32_LANES);
            }
#pragma GCC unroll 16
            for (int r = 0; r < rows; r++) {
                const __m512 b = _mm512_set1_ps(x[r][k]);
#pragma GCC unroll 4
                for (int u = 0; u < units; u++) {
                    madd(&c[r][u], b, v[u]);
                }
            }
        }
    }
    finish(t, rows, units, c);
}

#define TILE(rows, units)                                                                          \
    AVX512 static void tile_##rows##_##units(const struct f32_tile *t)                             \
    {                                                                                              \
        tile(t, rows, units);                                                                      \
    }
#define TILES(units)                                                                               \
    TILE(1, units) TILE(2, units) TILE(3, units) TILE(4, units) TILE(5, units) TILE(6, units)
TILES(1)
TILE(7, 1)
TILE(8, 1)
TILES(2)
TILE(7, 2)
TILE(8, 2)
TILES(3)
TILE(7, 3)
TILE(8, 3)
TILES(4)

static void tile_avx512(const struct f32_tile *t, size_t rows)
{
    static void (*const tiles[UNITS][F32_ROWS])(const struct f32_tile *) = {
        {tile_1_1, tile_2_1, tile_3_1, tile_4_1, tile_5_1, tile_6_1, tile_7_1, tile_8_1},
        {tile_1_2, tile_2_2, tile_3_2, tile_4_2, tile_5_2, tile_6_2, tile_7_2, tile_8_2},
        {tile_1_3, tile_2_3, tile_3_3, tile_4_3, tile_5_3, tile_6_3, tile_7_3, tile_8_3},
        {tile_1_4, tile_2_4, tile_3_4, tile_4_4, tile_5_4, tile_6_4},
    };
    tiles[(t->n - 1) / F32_LANES][rows - 1](t);
}

/* ---- Few channels --------------------------------------------------------------------------- */

/* Inputs lie at constant distances from one pointer per factor, so that more rows fit a tile. */
enum { SCAN_1 = 16, SCAN_2 = 14, SCAN_3 = 8, SCAN_4 = 6 };

INLINE AVX512 void scan(const struct f32_scan *s, const int rows, const int units, const int step)
{
    __m512 c[SCAN_1][UNITS];
    const float *w = s->w;
#pragma GCC unroll 16
    for (int r = 0; r < rows; r++) {
#pragma GCC unroll 4
        for (int u = 0; u < units; u++) {
            c[r][u] = _mm512_setzero_ps();
        }
    }
    for (size_t k = 0; k < s->factors; k++, w += units * F32_LANES) {
        const float *x = s->x + s->at[k];
        __m512 v[UNITS];
#pragma GCC unroll 4
        for (int u = 0; u < units; u++) {
            v[u] = _mm512_loadu_ps(w + u * F32_LANES);
        }
#pragma GCC unroll 16
        for (int r = 0; r < rows; r++) {
            const __m512 b = _mm512_set1_ps(x[r * step]);
#pragma GCC unroll 4
            for (int u = 0; u < units; u++) {
                madd(&c[r][u], b, v[u]);
            }
        }
    }
    const struct f32_tile t = {.n = s->n, .bias = s->bias, .first = true, .last = true, .y = s->y};
    finish(&t, rows, units, c);
}

#define SCAN(units)                                                                                \
    AVX512 static void scan_##units(const struct f32_scan *s)                                      \
    {                                                                                              \
        if (s->step == 1) {                                                                        \
            scan(s, SCAN_##units, units, 1);                                                       \
        } else {                                                                                   \
            scan(s, SCAN_##units, units, 2);                                                       \
        }                                                                                          \
    }
SCAN(1)
SCAN(2)
SCAN(3)
SCAN(4)

static void scan_avx512(const struct f32_scan *s)
{
    static void (*const scans[UNITS])(const struct f32_scan *) = {scan_1, scan_2, scan_3, scan_4};
    scans[(s->n - 1) / F32_LANES](s);
}

/* ---- Depthwise ------------------------------------------------------------------------------ */

INLINE AVX512 void put(const struct f32_dest *y, size_t at, __mmask16 m, __m512 v)
{
    if (y->raw) {
        _mm512_mask_storeu_ps(y->raw + at, m, v);
    }
    if (y->act) {
        _mm512_mask_storeu_ps(y->act + at, m, clamp(v, y));
    }
}

/* Any filter, one unit of channels from j on. */
INLINE AVX512 void depth_unit(const struct f32_depth *d, size_t j, __mmask16 m, const int rows)
{
    __m512 c[DEPTH];
#pragma GCC unroll 4
    for (int r = 0; r < rows; r++) {
        c[r] = d->bias ? _mm512_maskz_loadu_ps(m, d->bias + j) : _mm512_setzero_ps();
    }
    for (size_t i = 0; i < d->kh; i++) {
        for (size_t k = 0; k < d->kw; k++) {
            const float *const *x = d->x + i * d->pitch + k * d->gap;
            const __m512 w = _mm512_maskz_loadu_ps(m, d->w + (i * d->kw + k) * d->c + j);
#pragma GCC unroll 4
            for (int r = 0; r < rows; r++) {
                madd(&c[r], _mm512_maskz_loadu_ps(m, x[(size_t)r * d->step] + j), w);
            }
        }
    }
#pragma GCC unroll 4
    for (int r = 0; r < rows; r++) {
        put(&d->y, (size_t)r * d->y.pitch + j, m, c[r]);
    }
}

/* Lines of DEPTH rows of `units` units from y on: stores to several places by turns would wait for
 * each other. */
INLINE AVX512 void fetch(const float *y, size_t pitch, const int units)
{
#pragma GCC unroll 4
    for (int r = 0; y && r < DEPTH; r++, y += pitch) {
#pragma GCC unroll 4
        for (int u = 0; u < units; u++) {
            _mm_prefetch((const char *)(y + u * F32_LANES), _MM_HINT_T0);
        }
    }
}

/* DEPTH rows of `units` units to y; of act they are clamped. */
INLINE AVX512 void put_units(const struct f32_depth *d, float *y, const int units, const bool act,
                             __m512 c[][UNITS])
{
#pragma GCC unroll 4
    for (int r = 0; y && r < DEPTH; r++, y += d->y.pitch) {
#pragma GCC unroll 4
        for (int u = 0; u < units; u++) {
            _mm512_storeu_ps(y + u * F32_LANES, act ? clamp(c[r][u], &d->y) : c[r][u]);
        }
    }
}

/* DEPTH outputs of `units` units of channels, for rows of kw neighbouring taps: each input is
 * loaded once for all outputs that it takes part in. */
INLINE AVX512 void depth_slide(const struct f32_depth *d, size_t j, const int kw, const int step,
                               const int units)
{
    __m512 c[DEPTH][UNITS];
    float *raw = d->y.raw ? d->y.raw + j : NULL, *act = d->y.act ? d->y.act + j : NULL;
    fetch(raw, d->y.pitch, units);
    fetch(act, d->y.pitch, units);
#pragma GCC unroll 4
    for (int u = 0; u < units; u++) {
        const float *bias = d->bias ? d->bias + j + u * F32_LANES : NULL;
#pragma GCC unroll 4
        for (int r = 0; r < DEPTH; r++) {
            c[r][u] = bias ? _mm512_loadu_ps(bias) : _mm512_setzero_ps();
        }
    }
    for (size_t i = 0; i < d->kh; i++) {
        const float *const *x = d->x + i * d->pitch, *w = d->w + i * (size_t)kw * d->c + j;
        __m512 v[5][UNITS];
#pragma GCC unroll 5
        for (int k = 0; k < kw; k++) {
#pragma GCC unroll 4
            for (int u = 0; u < units; u++) {
                v[k][u] = _mm512_loadu_ps(w + (size_t)k * d->c + u * F32_LANES);
            }
        }
#pragma GCC unroll 16
        for (int p = 0; p < (DEPTH - 1) * step + kw; p++) {
            const float *at = x[p] + j;
#pragma GCC unroll 4
            for (int u = 0; u < units; u++) {
                const __m512 b = _mm512_loadu_ps(at + u * F32_LANES);
#pragma GCC unroll 4
                for (int r = 0; r < DEPTH; r++) {
                    if (p >= r * step && p < r * step + kw) {
                        madd(&c[r][u], b, v[p - r * step][u]);
                    }
                }
            }
        }
    }
    put_units(d, raw, units, false, c);
    put_units(d, act, units, true, c);
}

/* All whole units; returns the first channel that is left. */
INLINE AVX512 size_t depth_units(const struct f32_depth *d, const int kw, const int step,
                                 const int most)
{
    size_t j = 0;
    for (; j + (size_t)most * F32_LANES <= d->c; j += (size_t)most * F32_LANES) {
        depth_slide(d, j, kw, step, most);
    }
    for (; j + F32_LANES <= d->c; j += F32_LANES) {
        depth_slide(d, j, kw, step, 1);
    }
    return j;
}

/* DEPTH outputs or, unless `four`, one. */
INLINE AVX512 void depth_few(const struct f32_depth *d, bool four)
{
    size_t j = 0;
    if (four && d->gap == 1 && d->step <= 2 && (d->kw == 3 || d->kw == 5)) {
        j = d->kw == 3 ? (d->step == 1 ? depth_units(d, 3, 1, 4) : depth_units(d, 3, 2, 4))
                       : (d->step == 1 ? depth_units(d, 5, 1, 2) : depth_units(d, 5, 2, 2));
    }
    for (; j < d->c; j += F32_LANES) {
        const size_t rest = d->c - j;
        const __mmask16 m = rest >= F32_LANES ? 0xffff : (__mmask16)((1u << rest) - 1);
        if (four) {
            depth_unit(d, j, m, DEPTH);
        } else {
            depth_unit(d, j, m, 1);
        }
    }
}

/* Lanes m of the unit of channels from j on, of `rows` outputs, at least DEPTH, of filters of 3x3,
 * which stay in registers. The last outputs are computed twice rather than one by one. */
INLINE AVX512 void depth_line(const struct f32_depth *d, size_t j, __mmask16 m, size_t rows,
                              const int step)
{
    __m512 w[3][3], bias = _mm512_setzero_ps();
    const float *const *x = d->x;
    struct f32_dest y = {.pitch = d->y.pitch, .lo = d->y.lo, .hi = d->y.hi};
#pragma GCC unroll 9
    for (size_t t = 0; t < 9; t++) {
        w[t / 3][t % 3] = _mm512_maskz_loadu_ps(m, d->w + t * d->c + j);
    }
    if (d->bias) {
        bias = _mm512_maskz_loadu_ps(m, d->bias + j);
    }
    for (size_t at = 0; at < rows; at += DEPTH) {
        const size_t from = MIN(at, rows - DEPTH);
        __m512 c[DEPTH];
        y.raw = d->y.raw ? d->y.raw + from * y.pitch + j : NULL;
        y.act = d->y.act ? d->y.act + from * y.pitch + j : NULL;
        if (d->c > F32_LANES) { /* lines that do not follow each other */
            fetch(y.raw ? y.raw + DEPTH * y.pitch : NULL, y.pitch, 1);
            fetch(y.act ? y.act + DEPTH * y.pitch : NULL, y.pitch, 1);
        }
#pragma GCC unroll 4
        for (int r = 0; r < DEPTH; r++) {
            c[r] = bias;
        }
#pragma GCC unroll 3
        for (int i = 0; i < 3; i++) {
            const float *const *line = x + (size_t)i * d->pitch + from * (size_t)step;
#pragma GCC unroll 16
            for (int p = 0; p < (DEPTH - 1) * step + 3; p++) {
                const __m512 b = _mm512_maskz_loadu_ps(m, line[p] + j);
#pragma GCC unroll 4
                for (int r = 0; r < DEPTH; r++) {
                    if (p >= r * step && p < r * step + 3) {
                        madd(&c[r], b, w[i][p - r * step]);
                    }
                }
            }
        }
#pragma GCC unroll 4
        for (int r = 0; r < DEPTH; r++) {
            put(&y, (size_t)r * y.pitch, m, c[r]);
        }
    }
}

/* All units. */
INLINE AVX512 void depth_lines(const struct f32_depth *d, size_t rows, const int step)
{
    size_t j = 0;
    for (; j + F32_LANES <= d->c; j += F32_LANES) {
        depth_line(d, j, 0xffff, rows, step);
    }
    if (j < d->c) {
        depth_line(d, j, (__mmask16)((1u << (d->c - j)) - 1), rows, step);
    }
}

/* The last outputs are computed twice rather than one by one; they are the same. */
AVX512 static void depth_avx512(const struct f32_depth *d, size_t rows)
{
    if (rows >= DEPTH && d->kh == 3 && d->kw == 3 && d->gap == 1 && d->step <= 2) {
        if (d->step == 1) {
            depth_lines(d, rows, 1);
        } else {
            depth_lines(d, rows, 2);
        }
        return;
    }
    struct f32_depth part = *d;
    const size_t each = rows < DEPTH ? 1 : DEPTH;
    for (size_t at = 0; at < rows; at += each) {
        f32_depth_at(d, MIN(at, rows - each), &part);
        if (each == DEPTH) {
            depth_few(&part, true);
        } else {
            depth_few(&part, false);
        }
    }
}

/* ---- Maxima --------------------------------------------------------------------------------- */

/* `units` units of channels that lie `at` behind the pixels; the last one has lanes m. The
 * instruction gives its second operand when one is NaN, so that a NaN wins unless it was there
 * before: then nothing is done. */
INLINE AVX512 void largest_units(const float *const *x, size_t n, size_t at, __mmask16 m, float *y,
                                 const int units)
{
    __m512 best[UNITS];
#define LANES_OF(u) (u + 1 < units ? (__mmask16)0xffff : m)
#pragma GCC unroll 4
    for (int u = 0; u < units; u++) {
        best[u] = _mm512_maskz_loadu_ps(LANES_OF(u), x[0] + at + u * F32_LANES);
    }
    for (size_t t = 1; t < n; t++) {
#pragma GCC unroll 4
        for (int u = 0; u < units; u++) {
            const __m512 v = _mm512_maskz_loadu_ps(LANES_OF(u), x[t] + at + u * F32_LANES);
            const __mmask16 number = _mm512_cmp_ps_mask(best[u], best[u], _CMP_ORD_Q);
            best[u] = _mm512_mask_max_ps(best[u], number, best[u], v);
        }
    }
#pragma GCC unroll 4
    for (int u = 0; u < units; u++) {
        _mm512_mask_storeu_ps(y + u * F32_LANES, LANES_OF(u), best[u]);
    }
}

AVX512 static void largest_avx512(const float *const *x, size_t n, size_t c, size_t step,
                                  size_t outs, float *y)
{
    const __mmask16 last = (__mmask16)((1u << (c - 1) % F32_LANES << 1) - 1);
    for (size_t at = 0; outs--; at += step, y += c) {
        size_t j = 0;
        for (; j + (size_t)UNITS * F32_LANES <= c; j += (size_t)UNITS * F32_LANES) {
            largest_units(x, n, at + j, 0xffff, y + j, UNITS);
        }
        for (; j < c; j += F32_LANES) {
            largest_units(x, n, at + j, c - j > F32_LANES ? 0xffff : last, y + j, 1);
        }
    }
}

/* ---- Packing -------------------------------------------------------------------------------- */

/* Four floats of each of four columns that are four apart. */
INLINE AVX512 __m512 load_quads(const uint8_t *x, size_t step)
{
    enum { APART = 4 };
    __m512 v = _mm512_castps128_ps512(_mm_loadu_ps((const float *)x));
    v = _mm512_insertf32x4(v, _mm_loadu_ps((const float *)(x + APART * step)), 1);
    v = _mm512_insertf32x4(v, _mm_loadu_ps((const float *)(x + 2 * APART * step)), 2);
    return _mm512_insertf32x4(v, _mm_loadu_ps((const float *)(x + 3 * APART * step)), 3);
}

/* Squares of 4x4 within the quarters of registers. */
AVX512 static void transpose_avx512(const uint8_t *x, size_t step, float *y)
{
    enum { QUAD = 4 };
    for (int i = 0; i < F32_LANES; i += QUAD, x += sizeof(__m128), y += QUAD * F32_LANES) {
        const __m512 a = load_quads(x, step), b = load_quads(x + step, step);
        const __m512 c = load_quads(x + 2 * step, step), d = load_quads(x + 3 * step, step);
        const __m512d ab = _mm512_castps_pd(_mm512_unpacklo_ps(a, b));
        const __m512d cd = _mm512_castps_pd(_mm512_unpacklo_ps(c, d));
        const __m512d ab_high = _mm512_castps_pd(_mm512_unpackhi_ps(a, b));
        const __m512d cd_high = _mm512_castps_pd(_mm512_unpackhi_ps(c, d));
        _mm512_storeu_pd(y, _mm512_unpacklo_pd(ab, cd));
        _mm512_storeu_pd(y + F32_LANES, _mm512_unpackhi_pd(ab, cd));
        _mm512_storeu_pd(y + 2 * F32_LANES, _mm512_unpacklo_pd(ab_high, cd_high));
        _mm512_storeu_pd(y + 3 * F32_LANES, _mm512_unpackhi_pd(ab_high, cd_high));
    }
}

const struct f32_kernels kernel_f32_avx512 = {
    .name = "avx512",
    .rows = {0, 8, 8, 8, 6},
    .tile = tile_avx512,
    .scan_rows = {0, SCAN_1, SCAN_2, SCAN_3, SCAN_4},
    .scan = scan_avx512,
    .depth = depth_avx512,
    .largest = largest_avx512,
    .transpose = transpose_avx512,
};
#else
/* ISO C forbids an empty file. */
typedef int kernel_f32_avx512_unused;
#endif
