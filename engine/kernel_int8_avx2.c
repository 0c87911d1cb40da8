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

INLINE AVX2 __m256i four_bytes(const uint8_t *x)
{
    int32_t v;
    memcpy(&v, x, sizeof v);
    return _mm256_set1_epi32(v);
}

/* Bytes of 16-bit pairs: the even and the odd ones. */
struct pairs {
    __m256i even, odd;
};

INLINE AVX2 struct pairs weight_pairs(const int8_t *w)
{
    const __m256i b = _mm256_loadu_si256((const void *)w);
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

/* ---- Products ------------------------------------------------------------------------------- */

enum { MAX_ROWS = 4, HALF = BLOCK_COLS / 2 };

/* `rows` x 16 columns: what fits 16 registers. */
INLINE AVX2 void part(const struct strip *s, size_t r0, size_t b, const size_t rows, int32_t *acc)
{
    __m256i sum[MAX_ROWS][2];
    const uint8_t *a = s->a + r0 * s->lda;
    const int8_t *w = s->w + b * s->block;
    const int32_t *add = s->add + r0 * s->add_step + b * BLOCK_COLS;
    acc += r0 * STRIP_COLS + b * BLOCK_COLS;
#pragma GCC unroll 4
    for (size_t r = 0; r < rows; r++) {
        sum[r][0] = _mm256_loadu_si256((const void *)(add + r * s->add_step));
        sum[r][1] = _mm256_loadu_si256((const void *)(add + r * s->add_step + HALF));
    }
    for (size_t q = 0; q < s->quads; q++, a += QUAD, w += BLOCK_COLS * QUAD) {
        const struct pairs w0 = weight_pairs(w), w1 = weight_pairs(w + HALF * QUAD);
#pragma GCC unroll 4
        for (size_t r = 0; r < rows; r++) {
            const struct pairs x = code_pairs(four_bytes(a + r * s->lda));
            sum[r][0] = madd(sum[r][0], x, w0);
            sum[r][1] = madd(sum[r][1], x, w1);
        }
    }
#pragma GCC unroll 4
    for (size_t r = 0; r < rows; r++) {
        _mm256_storeu_si256((void *)(acc + r * STRIP_COLS), sum[r][0]);
        _mm256_storeu_si256((void *)(acc + r * STRIP_COLS + HALF), sum[r][1]);
    }
}

AVX2 static void product_avx2(const struct strip *s, int32_t *acc)
{
    for (size_t b = 0; b < s->blocks; b++) {
        size_t r = 0;
        for (; r + MAX_ROWS <= s->rows; r += MAX_ROWS) {
            part(s, r, b, MAX_ROWS, acc);
        }
        for (; r < s->rows; r++) {
            part(s, r, b, 1, acc);
        }
    }
}

/* ---- Requantization ------------------------------------------------------------------------- */

/* See kernel_int8_vnni.c. */
INLINE AVX2 __m256i scaled(__m256i v, __m256 scale, __m256 hi)
{
    return _mm256_cvtps_epi32(_mm256_min_ps(hi, _mm256_mul_ps(_mm256_cvtepi32_ps(v), scale)));
}

/* 16 codes of two registers of sums, the first of which has columns 0..3 and 8..11 when `split`,
 * else 0..7. */
INLINE AVX2 __m128i packed(__m256i v0, __m256i v1, const struct finish *f, const bool split)
{
    __m256i a = _mm256_packs_epi32(v0, v1);
    a = split ? a : _mm256_permute4x64_epi64(a, 0xd8);
    a = _mm256_adds_epi16(a, _mm256_set1_epi16((short)f->z));
    const __m128i lo = _mm256_castsi256_si128(a), hi = _mm256_extracti128_si256(a, 1);
    const __m128i low = _mm_set1_epi8((char)((int32_t)f->lo + f->z));
    return f->dtype == DT_S8 ? _mm_max_epi8(_mm_packs_epi16(lo, hi), low)
                             : _mm_max_epu8(_mm_packus_epi16(lo, hi), low);
}

INLINE AVX2 void store_codes(uint8_t *y, __m128i c, size_t n)
{
    uint8_t part[BLOCK_COLS];
    if (n >= BLOCK_COLS) {
        _mm_storeu_si128((void *)y, c);
        return;
    }
    _mm_storeu_si128((void *)part, c);
    memcpy(y, part, n);
}

AVX2 static void finish_avx2(const struct finish *f, const int32_t *acc, const int32_t *row,
                             size_t rows, size_t cols, uint8_t *y, size_t ldy)
{
    const __m256 hi = _mm256_set1_ps(f->hi);
    for (size_t r = 0; r < rows; r++, acc += STRIP_COLS, y += ldy) {
        const __m256i sum = _mm256_set1_epi32(row ? row[r] : 0);
        for (size_t c = 0; c < cols; c += BLOCK_COLS) {
            __m256i v[2];
            for (size_t i = 0; i < 2; i++) {
                const size_t at = c + i * HALF;
                v[i] = _mm256_loadu_si256((const void *)(acc + at));
                if (row) {
                    __m256i m = _mm256_loadu_si256((const void *)(f->mul + at));
                    v[i] = _mm256_add_epi32(v[i], _mm256_mullo_epi32(m, sum));
                }
                v[i] = scaled(v[i], _mm256_loadu_ps(f->scale + at), hi);
            }
            store_codes(y + c, packed(v[0], v[1], f, false), cols - c);
        }
    }
}

/* ---- Depthwise taps ------------------------------------------------------------------------- */

/* Sums of 16 channels from c of one pixel, two taps at a time; columns split, see packed(). */
INLINE AVX2 void depthwise_sums(const struct depthwise_row *d, const uint8_t *const *ptr, size_t c,
                                size_t n, __m256i *sum)
{
    const struct depthwise_filter *f = d->w;
    const __m256i a0 = _mm256_loadu_si256((const void *)(d->add + c));
    const __m256i a1 = _mm256_loadu_si256((const void *)(d->add + c + HALF));
    sum[0] = _mm256_permute2x128_si256(a0, a1, 0x20);
    sum[1] = _mm256_permute2x128_si256(a0, a1, 0x31);
    for (size_t t = 0; t < f->slots; t += 2) {
        __m256i x[2], w[2];
        for (size_t i = 0; i < 2; i++) {
            const uint8_t *p = ptr[d->at[t + i]] + c;
            uint8_t part[BLOCK_COLS] = {0};
            if (n < BLOCK_COLS) {
                memcpy(part, p, n);
                p = part;
            }
            x[i] = _mm256_cvtepu8_epi16(_mm_loadu_si128((const void *)p));
            w[i] = _mm256_loadu_si256((const void *)(f->w + (t + i) * f->width + c));
        }
        sum[0] = _mm256_add_epi32(sum[0], _mm256_madd_epi16(_mm256_unpacklo_epi16(x[0], x[1]),
                                                            _mm256_unpacklo_epi16(w[0], w[1])));
        sum[1] = _mm256_add_epi32(sum[1], _mm256_madd_epi16(_mm256_unpackhi_epi16(x[0], x[1]),
                                                            _mm256_unpackhi_epi16(w[0], w[1])));
    }
}

AVX2 void kernel_depthwise_avx2(const struct depthwise_row *d)
{
    const struct finish *f = d->f;
    const __m256 hi = _mm256_set1_ps(f->hi);
    for (size_t i = 0; i < d->pixels; i++) {
        for (size_t c = 0; c < d->w->channels; c += BLOCK_COLS) {
            const size_t n = MIN(d->w->channels - c, (size_t)BLOCK_COLS);
            __m256i v[2];
            depthwise_sums(d, d->ptr + i * d->step, c, n, v);
            if (!finish_is_vector(f)) {
                int32_t acc[STRIP_COLS];
                __m256i lo = _mm256_permute2x128_si256(v[0], v[1], 0x20);
                _mm256_storeu_si256((void *)acc, lo);
                lo = _mm256_permute2x128_si256(v[0], v[1], 0x31);
                _mm256_storeu_si256((void *)(acc + HALF), lo);
                finish_depthwise(&kernel_int8_avx2, d, acc, i, c, n);
                continue;
            }
            const __m256 s0 = _mm256_loadu_ps(f->scale + c);
            const __m256 s1 = _mm256_loadu_ps(f->scale + c + HALF);
            v[0] = scaled(v[0], _mm256_permute2f128_ps(s0, s1, 0x20), hi);
            v[1] = scaled(v[1], _mm256_permute2f128_ps(s0, s1, 0x31), hi);
            store_codes(d->y + i * d->ldy + c, packed(v[0], v[1], f, true), n);
        }
    }
}

/* ---- Sums of two ---------------------------------------------------------------------------- */

/* Low bytes of eight 32-bit values. */
INLINE AVX2 void store_bytes(uint8_t *y, __m256i v)
{
    v = _mm256_and_si256(v, _mm256_set1_epi32(0xff));
    __m128i w = _mm_packus_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    _mm_storel_epi64((void *)y, _mm_packus_epi16(w, w));
}

INLINE AVX2 __m256 codes_to_float(const uint8_t *p, const struct int8_add *a)
{
    __m128i c = _mm_loadl_epi64((const void *)p);
    __m256i v = a->is_signed ? _mm256_cvtepi8_epi32(c) : _mm256_cvtepu8_epi32(c);
    return _mm256_cvtepi32_ps(_mm256_add_epi32(v, _mm256_set1_epi32(a->shift)));
}

AVX2 static void add_avx2(const uint8_t *a, size_t step_a, const uint8_t *b, size_t step_b,
                          size_t n, const struct int8_add *p, uint8_t *y)
{
    const __m256 ra = _mm256_set1_ps(p->ra), rb = _mm256_set1_ps(p->rb), f = _mm256_set1_ps(p->f);
    const __m256i shift = _mm256_set1_epi32(p->shift);
    const __m256i lo = _mm256_set1_epi32((p->is_signed ? INT8_MIN : 0) + p->shift);
    const __m256i hi = _mm256_add_epi32(lo, _mm256_set1_epi32(UINT8_MAX));
    uint8_t one_a[8], one_b[8];
    memset(one_a, a[0], sizeof one_a);
    memset(one_b, b[0], sizeof one_b);
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        const __m256 fa = codes_to_float(step_a ? a + i : one_a, p);
        const __m256 fb = codes_to_float(step_b ? b + i : one_b, p);
        __m256i v = _mm256_cvtps_epi32(_mm256_fmadd_ps(fa, ra, _mm256_fmadd_ps(fb, rb, f)));
        v = _mm256_min_epi32(_mm256_max_epi32(v, lo), hi);
        store_bytes(y + i, _mm256_sub_epi32(v, shift));
    }
    for (; i < n; i++) {
        y[i] = add_one(a[i * step_a], b[i * step_b], p);
    }
}

enum { HALF_ROWS = TILE_ROWS / 2, PART_COLS = 16 };

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
    .strip_rows = 24,
    .product = product_avx2,
    .finish = finish_avx2,
    .depthwise = kernel_depthwise_avx2,
    .add = add_avx2,
    .mul = kernel_mul_plain, /* loops that the compiler makes AVX2 of */
    .map = kernel_map_plain,
    .chain = chain_avx2,
    .pairs = kernel_pairs_avx2,
};
#else
/* ISO C forbids an empty file. */
typedef int kernel_int8_avx2_unused;
#endif
