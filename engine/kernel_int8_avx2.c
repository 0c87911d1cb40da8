/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * kernel_int8_avx2.c: the integer kernels for AVX2. Bytes are widened to 16 bits and multiplied
 * with vpmaddwd, whose pair sums are exact (2 * 255 * 128 fits); the tempting vpmaddubsw would
 * saturate.
 */
#include "engine/kernel_int8.h"

#if defined(__x86_64__)
#include <immintrin.h>

#define AVX2 __attribute__((target("avx2,fma")))
#define INLINE static inline __attribute__((always_inline))

/* The four s8 at w as 16-bit pairs: bytes 0 and 2, bytes 1 and 3. */
struct pairs {
    __m256i even, odd;
};

INLINE AVX2 struct pairs weight_pairs(const int8_t *w)
{
    int32_t v;
    memcpy(&v, w, sizeof v);
    __m256i b = _mm256_set1_epi32(v);
    return (struct pairs){_mm256_srai_epi16(_mm256_slli_epi16(b, 8), 8), _mm256_srai_epi16(b, 8)};
}

INLINE AVX2 struct pairs code_pairs(__m256i x)
{
    return (struct pairs){_mm256_and_si256(x, _mm256_set1_epi16(0xff)), _mm256_srli_epi16(x, 8)};
}

INLINE AVX2 __m256i madd(__m256i c, struct pairs x, struct pairs w)
{
    c = _mm256_add_epi32(c, _mm256_madd_epi16(x.even, w.even));
    return _mm256_add_epi32(c, _mm256_madd_epi16(x.odd, w.odd));
}

enum { HALF_ROWS = TILE_ROWS / 2, PART_COLS = 16 };

/* 4 rows x 16 columns: what fits 16 registers. */
AVX2 static void tile_part(const uint8_t *x, const size_t *off, size_t taps, const int8_t *w,
                           int32_t *acc)
{
    __m256i sum[HALF_ROWS][2];
#pragma GCC unroll 4
    for (int i = 0; i < HALF_ROWS; i++) {
        sum[i][0] = sum[i][1] = _mm256_setzero_si256();
    }
    for (size_t t = 0; t < taps; t++, w += TILE_ROWS * QUAD) {
        struct pairs x0 = code_pairs(_mm256_loadu_si256((const void *)(x + off[t])));
        struct pairs x1 = code_pairs(_mm256_loadu_si256((const void *)(x + off[t] + 32)));
#pragma GCC unroll 4
        for (int i = 0; i < HALF_ROWS; i++) {
            struct pairs b = weight_pairs(w + QUAD * i);
            sum[i][0] = madd(sum[i][0], x0, b);
            sum[i][1] = madd(sum[i][1], x1, b);
        }
    }
#pragma GCC unroll 4
    for (int i = 0; i < HALF_ROWS; i++) {
        _mm256_storeu_si256((void *)(acc + i * TILE_COLS), sum[i][0]);
        _mm256_storeu_si256((void *)(acc + i * TILE_COLS + 8), sum[i][1]);
    }
}

AVX2 static void tile_avx2(const uint8_t *x, const size_t *off, size_t taps, const int8_t *w,
                           int cols, int32_t *acc)
{
    for (int j = 0; j < cols; j += PART_COLS) {
        tile_part(x + j * QUAD, off, taps, w, acc + j);
        tile_part(x + j * QUAD, off, taps, w + HALF_ROWS * QUAD, acc + HALF_ROWS * TILE_COLS + j);
    }
}

/* Four shifted rows of 32 bytes become 32 columns of four bytes, see lanes_vnni(). */
AVX2 static void lanes_half(const uint8_t *x, const size_t *off, size_t quads, const int8_t *w,
                            int32_t *acc)
{
    __m256i sum[4];
    for (int k = 0; k < 4; k++) {
        sum[k] = _mm256_setzero_si256();
    }
    for (size_t t = 0; t < quads; t++, off += QUAD, w += QUAD) {
        struct pairs b = weight_pairs(w);
        __m256i r[QUAD];
        for (int i = 0; i < QUAD; i++) {
            r[i] = _mm256_loadu_si256((const void *)(x + off[i]));
        }
        __m256i lo01 = _mm256_unpacklo_epi8(r[0], r[1]), hi01 = _mm256_unpackhi_epi8(r[0], r[1]);
        __m256i lo23 = _mm256_unpacklo_epi8(r[2], r[3]), hi23 = _mm256_unpackhi_epi8(r[2], r[3]);
        sum[0] = madd(sum[0], code_pairs(_mm256_unpacklo_epi16(lo01, lo23)), b);
        sum[1] = madd(sum[1], code_pairs(_mm256_unpackhi_epi16(lo01, lo23)), b);
        sum[2] = madd(sum[2], code_pairs(_mm256_unpacklo_epi16(hi01, hi23)), b);
        sum[3] = madd(sum[3], code_pairs(_mm256_unpackhi_epi16(hi01, hi23)), b);
    }
    for (int k = 0; k < 4; k++) {
        _mm_storeu_si128((void *)(acc + 4 * k), _mm256_castsi256_si128(sum[k]));
        _mm_storeu_si128((void *)(acc + 16 + 4 * k), _mm256_extracti128_si256(sum[k], 1));
    }
}

AVX2 static void lanes_avx2(const uint8_t *x, const size_t *off, size_t quads, const int8_t *w,
                            int32_t *acc)
{
    lanes_half(x, off, quads, w, acc);
    lanes_half(x + 32, off, quads, w, acc + 32);
}

/* Low bytes of eight 32-bit values. */
INLINE AVX2 void store_bytes(uint8_t *y, __m256i v)
{
    v = _mm256_and_si256(v, _mm256_set1_epi32(0xff));
    __m128i w = _mm_packus_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    _mm_storel_epi64((void *)y, _mm_packus_epi16(w, w));
}

AVX2 static void finish_avx2(const int32_t *acc, size_t n, const struct finish *f, uint8_t *y)
{
    const __m256i add = _mm256_set1_epi32(f->add), mul = _mm256_set1_epi32(f->mul);
    const __m256i z = _mm256_set1_epi32(f->z);
    const __m256 lo = _mm256_set1_ps(f->lo), hi = _mm256_set1_ps(f->hi);
    __m256 m = _mm256_set1_ps(f->scale);
    size_t j = 0;
    for (; j + 8 <= n; j += 8) {
        __m256i v = _mm256_add_epi32(_mm256_loadu_si256((const void *)(acc + j)), add);
        if (f->col_add) {
            v = _mm256_add_epi32(v, _mm256_loadu_si256((const void *)(f->col_add + j)));
        }
        if (f->col_mul) {
            __m256i c = _mm256_loadu_si256((const void *)(f->col_mul + j));
            v = _mm256_add_epi32(v, _mm256_mullo_epi32(mul, c));
        }
        if (f->col_scale) {
            m = _mm256_loadu_ps(f->col_scale + j);
        }
        __m256 r = _mm256_mul_ps(_mm256_cvtepi32_ps(v), m);
        r = _mm256_min_ps(_mm256_max_ps(r, lo), hi);
        store_bytes(y + j, _mm256_add_epi32(_mm256_cvtps_epi32(r), z));
    }
    for (; j < n; j++) {
        y[j] = finish_one(acc, j, f);
    }
}

INLINE AVX2 __m256 codes_to_float(const uint8_t *p, const struct int8_add *a)
{
    __m128i c = _mm_loadl_epi64((const void *)p);
    __m256i v = a->is_signed ? _mm256_cvtepi8_epi32(c) : _mm256_cvtepu8_epi32(c);
    return _mm256_cvtepi32_ps(_mm256_add_epi32(v, _mm256_set1_epi32(a->shift)));
}

AVX2 static void add_avx2(const uint8_t *a, const uint8_t *b, size_t step_b, size_t n,
                          const struct int8_add *p, uint8_t *y)
{
    const __m256 ra = _mm256_set1_ps(p->ra), rb = _mm256_set1_ps(p->rb), f = _mm256_set1_ps(p->f);
    const __m256i shift = _mm256_set1_epi32(p->shift);
    const __m256i lo = _mm256_set1_epi32((p->is_signed ? INT8_MIN : 0) + p->shift);
    const __m256i hi = _mm256_add_epi32(lo, _mm256_set1_epi32(UINT8_MAX));
    __m256 fb = _mm256_set1_ps((float)((p->is_signed ? (int8_t)b[0] : b[0]) + p->shift));
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        if (step_b) {
            fb = codes_to_float(b + i, p);
        }
        __m256 fa = codes_to_float(a + i, p);
        __m256i v = _mm256_cvtps_epi32(_mm256_fmadd_ps(fa, ra, _mm256_fmadd_ps(fb, rb, f)));
        v = _mm256_min_epi32(_mm256_max_epi32(v, lo), hi);
        store_bytes(y + i, _mm256_sub_epi32(v, shift));
    }
    for (; i < n; i++) {
        y[i] = add_one(a[i], b[i * step_b], p);
    }
}

AVX2 static void chain_part(const float *x, const size_t *off, size_t taps, const float *w,
                            bool first, float *acc)
{
    __m256 sum[HALF_ROWS][2];
#pragma GCC unroll 4
    for (int i = 0; i < HALF_ROWS; i++) {
        sum[i][0] = sum[i][1] = _mm256_setzero_ps();
    }
    for (size_t t = 0; t < taps; t++, w += TILE_ROWS) {
        const float *p = x + off[t] / sizeof *x;
        __m256 v0 = _mm256_loadu_ps(p), v1 = _mm256_loadu_ps(p + 8);
#pragma GCC unroll 4
        for (int i = 0; i < HALF_ROWS; i++) {
            __m256 b = _mm256_set1_ps(w[i]);
            sum[i][0] = _mm256_fmadd_ps(v0, b, sum[i][0]);
            sum[i][1] = _mm256_fmadd_ps(v1, b, sum[i][1]);
        }
    }
#pragma GCC unroll 4
    for (int i = 0; i < HALF_ROWS; i++) {
        for (int j = 0; j < 2; j++) {
            float *a = acc + i * TILE_COLS + 8 * j;
            _mm256_storeu_ps(a, first ? sum[i][j] : _mm256_add_ps(_mm256_loadu_ps(a), sum[i][j]));
        }
    }
}

AVX2 static void chain_avx2(const float *x, const size_t *off, size_t taps, const float *w,
                            int cols, bool first, float *acc)
{
    for (int j = 0; j < cols; j += PART_COLS) {
        chain_part(x + j, off, taps, w, first, acc + j);
        chain_part(x + j, off, taps, w + HALF_ROWS, first, acc + HALF_ROWS * TILE_COLS + j);
    }
}

AVX2 int32_t kernel_pairs_avx2(const uint8_t *x, const int8_t *w, size_t n)
{
    enum { STEP = 32 };
    const __m256i ones = _mm256_set1_epi16(1);
    __m256i sum = _mm256_setzero_si256();
    size_t k = 0;
    for (; k + STEP <= n; k += STEP) {
        __m256i a = _mm256_loadu_si256((const void *)(x + k));
        __m256i b = _mm256_loadu_si256((const void *)(w + k));
        __m256i pairs = _mm256_maddubs_epi16(a, b);
        sum = _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, ones));
    }
    uint32_t lane[8], total = (uint32_t)kernel_int8_plain.pairs(x + k, w + k, n - k);
    _mm256_storeu_si256((void *)lane, sum);
    for (size_t i = 0; i < COUNT(lane); i++) {
        total += lane[i];
    }
    return (int32_t)total;
}

const struct int8_kernels kernel_int8_avx2 = {
    .name = "avx2",
    .tile = tile_avx2,
    .lanes = lanes_avx2,
    .finish = finish_avx2,
    .add = add_avx2,
    .chain = chain_avx2,
    .pairs = kernel_pairs_avx2,
};
#else
/* ISO C forbids an empty file. */
typedef int kernel_int8_avx2_unused;
#endif
