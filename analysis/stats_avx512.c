/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * stats_avx512.c: the loops of stats.h for AVX-512. Products of two floats are exact in double, so
 * that a fused multiply-add rounds as the plain form does; squares of errors are not, and are
 * multiplied and added apart.
 */
#include "analysis/stats.h"

#if defined(__x86_64__)
#include <immintrin.h>

#define AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,popcnt")))
#define VBMI2 __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512vbmi2,popcnt")))
#define INLINE static inline __attribute__((always_inline))

/* ---- Sums ----------------------------------------------------------------------------------- */

/* The sums of eight lanes. */
struct sums8 {
    __m512d xx, yy, xy, ee, ae, top;
};

INLINE AVX512 struct sums8 sums8_load(const struct lanes *g, size_t at)
{
    return (struct sums8){_mm512_loadu_pd(g->xx + at), _mm512_loadu_pd(g->yy + at),
                          _mm512_loadu_pd(g->xy + at), _mm512_loadu_pd(g->ee + at),
                          _mm512_loadu_pd(g->ae + at), _mm512_loadu_pd(g->top + at)};
}

INLINE AVX512 void sums8_store(struct lanes *g, size_t at, const struct sums8 *s)
{
    _mm512_storeu_pd(g->xx + at, s->xx);
    _mm512_storeu_pd(g->yy + at, s->yy);
    _mm512_storeu_pd(g->xy + at, s->xy);
    _mm512_storeu_pd(g->ee + at, s->ee);
    _mm512_storeu_pd(g->ae + at, s->ae);
    _mm512_storeu_pd(g->top + at, s->top);
}

INLINE AVX512 void sums8_add(struct sums8 *s, __m512d p, __m512d q)
{
    __m512d e = _mm512_sub_pd(p, q), a = _mm512_abs_pd(e);
    s->xx = _mm512_fmadd_pd(p, p, s->xx);
    s->yy = _mm512_fmadd_pd(q, q, s->yy);
    s->xy = _mm512_fmadd_pd(p, q, s->xy);
    s->ee = _mm512_add_pd(s->ee, _mm512_mul_pd(e, e));
    s->ae = _mm512_add_pd(s->ae, a);
    s->top = _mm512_max_pd(a, s->top);
}

/* NaN or infinity somewhere. */
INLINE AVX512 bool sums8_bad(const struct sums8 *s)
{
    enum { NANS = 0x81, INFINITIES = 0x18 };
    return _mm512_fpclass_pd_mask(s->xx, NANS | INFINITIES) |
           _mm512_fpclass_pd_mask(s->yy, NANS | INFINITIES);
}

INLINE AVX512 void widen(float *lo, float *hi, __m512 least, __m512 most)
{
    _mm512_storeu_ps(lo, _mm512_min_ps(least, _mm512_loadu_ps(lo)));
    _mm512_storeu_ps(hi, _mm512_max_ps(most, _mm512_loadu_ps(hi)));
}

/* The sums and extremes of a group on their way through its rows. */
struct pairs16 {
    struct sums8 s0, s1;
    __m512 lo, hi;
};

INLINE AVX512 void pairs_row(struct pairs16 *p, const float *x, const float *y, __mmask16 m,
                             const bool full)
{
    if (full) { /* converting from memory spares a shuffle */
        __m512 v = _mm512_loadu_ps(x);
        p->lo = _mm512_min_ps(v, p->lo);
        p->hi = _mm512_max_ps(v, p->hi);
        sums8_add(&p->s0, _mm512_cvtps_pd(_mm256_loadu_ps(x)), _mm512_cvtps_pd(_mm256_loadu_ps(y)));
        sums8_add(&p->s1, _mm512_cvtps_pd(_mm256_loadu_ps(x + LANES / 2)),
                  _mm512_cvtps_pd(_mm256_loadu_ps(y + LANES / 2)));
    } else {
        __m512 v = _mm512_maskz_loadu_ps(m, x), w = _mm512_maskz_loadu_ps(m, y);
        p->lo = _mm512_mask_min_ps(p->lo, m, v, p->lo);
        p->hi = _mm512_mask_max_ps(p->hi, m, v, p->hi);
        sums8_add(&p->s0, _mm512_cvtps_pd(_mm512_castps512_ps256(v)),
                  _mm512_cvtps_pd(_mm512_castps512_ps256(w)));
        sums8_add(&p->s1, _mm512_cvtps_pd(_mm512_extractf32x8_ps(v, 1)),
                  _mm512_cvtps_pd(_mm512_extractf32x8_ps(w, 1)));
    }
}

INLINE AVX512 unsigned pairs_rows(struct lanes *g, const struct block *b, struct range r,
                                  struct reach *reach, struct backlog *left, const bool full)
{
    const __mmask16 m = full ? 0xffff : (__mmask16)((1U << b->n) - 1);
    const size_t rows = b->rows, x_step = b->x_step, y_step = b->y_step;
    const float *x = b->x, *y = b->y;
    struct pairs16 p = {sums8_load(g, 0), sums8_load(g, LANES / 2), _mm512_set1_ps(INFINITY),
                        _mm512_set1_ps(-INFINITY)};
    struct backlog count = *left;
    size_t i = 0;
    for (; i < rows && count.n >= LANES; i++, x += x_step, y += y_step) {
        pairs_row(&p, x, y, m, full);
        backlog_count_row(&count);
    }
    for (; i < rows; i++, x += x_step, y += y_step) {
        pairs_row(&p, x, y, m, full);
    }
    *left = count;
    if (sums8_bad(&p.s0) || sums8_bad(&p.s1)) {
        return PAIRS_NONFINITE;
    }
    sums8_store(g, 0, &p.s0);
    sums8_store(g, LANES / 2, &p.s1);
    widen(g->xlo, g->xhi, p.lo, p.hi);
    widen(reach->lo, reach->hi, p.lo, p.hi);
    return _mm512_cmp_ps_mask(p.lo, _mm512_set1_ps(r.lo), _CMP_LT_OQ) |
                   _mm512_cmp_ps_mask(p.hi, _mm512_set1_ps(r.hi), _CMP_GT_OQ)
               ? PAIRS_BEYOND
               : 0;
}

AVX512 static unsigned pairs_avx512(struct lanes *g, const struct block *b, struct range r,
                                    struct reach *reach, struct backlog *left)
{
    return b->n == LANES ? pairs_rows(g, b, r, reach, left, true)
                         : pairs_rows(g, b, r, reach, left, false);
}

/* counters[0 .. 16) += n */
INLINE AVX512 void add_counts(uint64_t *counters, __m512i n)
{
    __m512i a = _mm512_cvtepu32_epi64(_mm512_castsi512_si256(n));
    __m512i b = _mm512_cvtepu32_epi64(_mm512_extracti32x8_epi32(n, 1));
    _mm512_storeu_si512(counters, _mm512_add_epi64(a, _mm512_loadu_si512(counters)));
    _mm512_storeu_si512(counters + 8, _mm512_add_epi64(b, _mm512_loadu_si512(counters + 8)));
}

AVX512 static void beyond_avx512(struct lanes *g, const struct block *b, struct range r)
{
    const __mmask16 m = (__mmask16)((1U << b->n) - 1);
    const __m512 lo = _mm512_set1_ps(r.lo), hi = _mm512_set1_ps(r.hi);
    const __m512i one = _mm512_set1_epi32(1);
    __m512i low = _mm512_setzero_si512(), high = low;
    const float *x = b->x;
    for (size_t i = 0; i < b->rows; i++, x += b->x_step) {
        __m512 v = _mm512_maskz_loadu_ps(m, x);
        low = _mm512_mask_add_epi32(low, _mm512_mask_cmp_ps_mask(m, v, lo, _CMP_LT_OQ), low, one);
        high =
            _mm512_mask_add_epi32(high, _mm512_mask_cmp_ps_mask(m, v, hi, _CMP_GT_OQ), high, one);
    }
    add_counts(g->low, low);
    add_counts(g->high, high);
}

AVX512 static void reals_avx512(struct lanes *g, const struct block *b)
{
    const __mmask16 m = (__mmask16)((1U << b->n) - 1);
    const __m512i one = _mm512_set1_epi32(1);
    __m512 lo = _mm512_loadu_ps(g->ylo), hi = _mm512_loadu_ps(g->yhi);
    __m512i zeros = _mm512_setzero_si512();
    const float *y = b->y;
    for (size_t i = 0; i < b->rows; i++, y += b->y_step) {
        __m512 v = _mm512_maskz_loadu_ps(m, y);
        lo = _mm512_mask_min_ps(lo, m, v, lo);
        hi = _mm512_mask_max_ps(hi, m, v, hi);
        __mmask16 none = _mm512_mask_cmp_ps_mask(m, v, _mm512_setzero_ps(), _CMP_EQ_OQ);
        zeros = _mm512_mask_add_epi32(zeros, none, zeros, one);
    }
    _mm512_storeu_ps(g->ylo, lo);
    _mm512_storeu_ps(g->yhi, hi);
    add_counts(g->zeros, zeros);
}

/* ---- Codes ---------------------------------------------------------------------------------- */

INLINE AVX512 __mmask64 first_bytes(size_t n)
{
    return n >= 64 ? ~(__mmask64)0 : ((__mmask64)1 << n) - 1;
}

/* Sixteen lanes of bytes into one group. */
INLINE AVX512 void store_codes(struct lanes *g, __m128i lo, __m128i hi, __m128i zeros)
{
    _mm_storeu_si128((__m128i *)g->clo, _mm_min_epu8(lo, _mm_loadu_si128((__m128i *)g->clo)));
    _mm_storeu_si128((__m128i *)g->chi, _mm_max_epu8(hi, _mm_loadu_si128((__m128i *)g->chi)));
    add_counts(g->zeros, _mm512_cvtepu8_epi32(zeros));
}

AVX512 static void codes_avx512(struct lanes *g, const struct codes *c, size_t rows, size_t n)
{
    const uint8_t *p = c->p;
    const __mmask64 m = first_bytes(n);
    const __m512i flip = _mm512_set1_epi8((char)c->flip), zero = _mm512_set1_epi8((char)c->zero);
    const __m512i one = _mm512_set1_epi8(1);
    __m512i lo = _mm512_set1_epi8(-1), hi = _mm512_setzero_si512(), zeros = hi;
    for (size_t i = 0; i < rows; i++, p += c->step) {
        __m512i v = _mm512_xor_si512(_mm512_maskz_loadu_epi8(m, p), flip);
        lo = _mm512_mask_min_epu8(lo, m, lo, v);
        hi = _mm512_mask_max_epu8(hi, m, hi, v);
        zeros = _mm512_mask_add_epi8(zeros, _mm512_mask_cmpeq_epi8_mask(m, v, zero), zeros, one);
    }
    store_codes(g, _mm512_castsi512_si128(lo), _mm512_castsi512_si128(hi),
                _mm512_castsi512_si128(zeros));
#define QUARTER(k)                                                                                 \
    if (n > (k)*LANES) {                                                                           \
        store_codes(g + (k), _mm512_extracti32x4_epi32(lo, k), _mm512_extracti32x4_epi32(hi, k),   \
                    _mm512_extracti32x4_epi32(zeros, k));                                          \
    }
    QUARTER(1)
    QUARTER(2)
    QUARTER(3)
#undef QUARTER
}

INLINE AVX512 __m512 real_of(__m128i v, __m512i zero, __m512 scale, const bool is_signed)
{
    __m512i w = is_signed ? _mm512_cvtepi8_epi32(v) : _mm512_cvtepu8_epi32(v);
    return _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_sub_epi32(w, zero)), scale);
}

/* Sixteen codes at a time; bytes of the other signedness are read as such instead of flipped. */
INLINE AVX512 void decode_rows(const struct codes *c, size_t rows, size_t n, float *y,
                               const bool is_signed)
{
    const __m512i zero = _mm512_set1_epi32(c->zero - c->flip);
    const __m512 scale = _mm512_set1_ps(c->scale);
    const uint8_t *p = c->p;
    const __mmask16 rest = (__mmask16)((1U << n % LANES) - 1);
    for (size_t i = 0; i < rows; i++, p += c->step, y += PANEL) {
        size_t j = 0;
        for (; j + LANES <= n; j += LANES) {
            __m128i v = _mm_loadu_si128((const __m128i *)(p + j));
            _mm512_storeu_ps(y + j, real_of(v, zero, scale, is_signed));
        }
        if (rest) {
            __m128i v = _mm_maskz_loadu_epi8(rest, p + j);
            _mm512_storeu_ps(y + j, real_of(v, zero, scale, is_signed));
        }
    }
}

AVX512 static void decode_avx512(const struct codes *c, size_t rows, size_t n, float *y)
{
    const bool is_signed = c->flip != 0;
    if (n == PANEL) {
        is_signed ? decode_rows(c, rows, PANEL, y, true) : decode_rows(c, rows, PANEL, y, false);
    } else {
        is_signed ? decode_rows(c, rows, n, y, true) : decode_rows(c, rows, n, y, false);
    }
}

/* ---- Turning rows into columns -------------------------------------------------------------- */

/* Sixteen columns: squares of four by four, whose columns are the quarters of a register. */
INLINE AVX512 void turn_square(const float *src, size_t step, size_t n, __mmask16 m, size_t cols,
                               float *dst)
{
    for (size_t j = 0; j < LANES; j += 4) {
        __m512 v[4];
#pragma GCC unroll 4
        for (size_t k = 0; k < 4; k++) {
            v[k] = j + k < n ? _mm512_maskz_loadu_ps(m, src + (j + k) * step) : _mm512_setzero_ps();
        }
        __m512d ab0 = _mm512_castps_pd(_mm512_unpacklo_ps(v[0], v[1]));
        __m512d ab1 = _mm512_castps_pd(_mm512_unpackhi_ps(v[0], v[1]));
        __m512d cd0 = _mm512_castps_pd(_mm512_unpacklo_ps(v[2], v[3]));
        __m512d cd1 = _mm512_castps_pd(_mm512_unpackhi_ps(v[2], v[3]));
        const __m512 turned[4] = {_mm512_castpd_ps(_mm512_unpacklo_pd(ab0, cd0)),
                                  _mm512_castpd_ps(_mm512_unpackhi_pd(ab0, cd0)),
                                  _mm512_castpd_ps(_mm512_unpacklo_pd(ab1, cd1)),
                                  _mm512_castpd_ps(_mm512_unpackhi_pd(ab1, cd1))};
#define QUARTER(q)                                                                                 \
    _Pragma("GCC unroll 4") for (size_t k = 0; k < 4; k++)                                         \
    {                                                                                              \
        if (4 * (q) + k < cols) {                                                                  \
            _mm_storeu_ps(dst + (4 * (q) + k) * LANES + j, _mm512_extractf32x4_ps(turned[k], q));  \
        }                                                                                          \
    }
        QUARTER(0)
        QUARTER(1)
        QUARTER(2)
        QUARTER(3)
#undef QUARTER
    }
}

AVX512 static void turn_floats_avx512(const float *src, size_t step, size_t n, size_t cols,
                                      float *dst)
{
    size_t i = 0;
    for (; i + LANES <= cols; i += LANES) {
        if (n == LANES) {
            turn_square(src + i, step, LANES, 0xffff, LANES, dst + i * LANES);
        } else {
            turn_square(src + i, step, n, 0xffff, LANES, dst + i * LANES);
        }
    }
    if (i < cols) {
        turn_square(src + i, step, n, (__mmask16)((1U << (cols - i)) - 1), cols - i,
                    dst + i * LANES);
    }
}

/* Four rounds of interleaving rows half the rows apart leave a column in each quarter of a
 * register. */
INLINE AVX512 void turn_bytes(const uint8_t *src, size_t step, size_t n, __mmask64 m, size_t cols,
                              uint8_t *dst)
{
    __m512i a[LANES], b[LANES];
#pragma GCC unroll 16
    for (size_t j = 0; j < LANES; j++) {
        a[j] = j < n ? _mm512_maskz_loadu_epi8(m, src + j * step) : _mm512_setzero_si512();
    }
#define ROUND(from, to)                                                                            \
    _Pragma("GCC unroll 8") for (size_t j = 0; j < LANES / 2; j++)                                 \
    {                                                                                              \
        to[2 * j] = _mm512_unpacklo_epi8(from[j], from[j + LANES / 2]);                            \
        to[2 * j + 1] = _mm512_unpackhi_epi8(from[j], from[j + LANES / 2]);                        \
    }
    ROUND(a, b)
    ROUND(b, a)
    ROUND(a, b)
    ROUND(b, a)
#undef ROUND
#define QUARTER(q)                                                                                 \
    _Pragma("GCC unroll 16") for (size_t j = 0; j < LANES; j++)                                    \
    {                                                                                              \
        if (LANES * (q) + j < cols) {                                                              \
            _mm_storeu_si128((__m128i *)(dst + (LANES * (q) + j) * LANES),                         \
                             _mm512_extracti32x4_epi32(a[j], q));                                  \
        }                                                                                          \
    }
    QUARTER(0)
    QUARTER(1)
    QUARTER(2)
    QUARTER(3)
#undef QUARTER
}

AVX512 static void turn_codes_avx512(const uint8_t *src, size_t step, size_t n, size_t cols,
                                     uint8_t *dst)
{
    size_t i = 0;
    for (; n == LANES && i + PANEL <= cols; i += PANEL) {
        turn_bytes(src + i, step, LANES, ~(__mmask64)0, PANEL, dst + i * LANES);
    }
    for (; i < cols; i += PANEL) {
        size_t some = MIN(cols - i, (size_t)PANEL);
        turn_bytes(src + i, step, n, first_bytes(some), some, dst + i * LANES);
    }
}

/* ---- Bins and codes that are not zero ------------------------------------------------------- */

/* Rounding down at every step: the floor of a product that was rounded down is its own floor. */
INLINE AVX512 __m512i floor_of(__m512 v, __m512 by)
{
    enum { DOWN = _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC };
    return _mm512_cvt_roundps_epi32(_mm512_mul_round_ps(v, by, DOWN), DOWN);
}

/* Pairs of registers are packed as is cheapest: in which order bins are counted is all the same. */
INLINE AVX512 size_t bins_of(const float *x, size_t n, float scale, const bool squeeze,
                             int16_t *bin)
{
    const __m512 by = _mm512_set1_ps(scale);
    size_t made = 0, i = 0;
    for (; !squeeze && i + 2 * LANES <= n; i += 2 * LANES, made += 2 * LANES) {
        __m512i a = floor_of(_mm512_loadu_ps(x + i), by);
        __m512i b = floor_of(_mm512_loadu_ps(x + i + LANES), by);
        _mm512_storeu_si512(bin + made, _mm512_packs_epi32(a, b));
    }
    for (; i < n; i += LANES) {
        __mmask16 m = n - i < LANES ? (__mmask16)((1U << (n - i)) - 1) : 0xffff;
        __m512 v = _mm512_maskz_loadu_ps(m, x + i);
        __m512i at = floor_of(v, by);
        if (squeeze) {
            m = _mm512_mask_cmp_ps_mask(m, v, _mm512_setzero_ps(), _CMP_NEQ_UQ);
            at = _mm512_maskz_compress_epi32(m, at);
        }
        _mm256_storeu_si256((__m256i *)(bin + made), _mm512_cvtepi32_epi16(at));
        made += (size_t)_mm_popcnt_u32(m);
    }
    return made;
}

AVX512 static size_t bins_avx512(const float *x, size_t n, float scale, bool squeeze, int16_t *bin)
{
    return squeeze ? bins_of(x, n, scale, true, bin) : bins_of(x, n, scale, false, bin);
}

VBMI2 static size_t squeeze_avx512(const uint8_t *p, size_t n, uint8_t code, uint8_t *to)
{
    const __m512i skip = _mm512_set1_epi8((char)code);
    size_t made = 0;
    for (size_t i = 0; i < n; i += PANEL) {
        __mmask64 m = first_bytes(n - i);
        __m512i v = _mm512_maskz_loadu_epi8(m, p + i);
        m = _mm512_mask_cmpneq_epi8_mask(m, v, skip);
        _mm512_storeu_si512(to + made, _mm512_maskz_compress_epi8(m, v));
        made += (size_t)_mm_popcnt_u64(m);
    }
    return made;
}

const struct stats_kernels stats_avx512 = {
    .name = "avx512",
    .pairs = pairs_avx512,
    .beyond = beyond_avx512,
    .reals = reals_avx512,
    .codes = codes_avx512,
    .decode = decode_avx512,
    .turn_floats = turn_floats_avx512,
    .turn_codes = turn_codes_avx512,
    .bins = bins_avx512,
    .squeeze = squeeze_avx512,
};

#else
typedef int stats_avx512_is_for_x86_only;
#endif
