/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * kernel_int8_vnni.c: the integer kernels for AVX-512 VNNI. vpdpbusd multiplies four u8 by four s8
 * and adds the exact sum to 32 bits, without saturation in between.
 */
#include "engine/kernel_int8.h"

#if defined(__x86_64__)
#include <immintrin.h>

#define VNNI __attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni")))
#define INLINE static inline __attribute__((always_inline))

/* c += x * w as one instruction on a register. The intrinsic makes gcc 12 copy the accumulators
 * around. */
INLINE VNNI void madd(__m512i *c, __m512i x, __m512i w)
{
    __asm__("vpdpbusd %2, %1, %0" : "+v"(*c) : "v"(x), "v"(w));
}

INLINE VNNI __m512i four_bytes(const int8_t *w)
{
    int32_t v;
    memcpy(&v, w, sizeof v);
    return _mm512_set1_epi32(v);
}

/* `wide` registers of 16 columns; 8 rows x 3 registers of sums fit the 32 registers. */
INLINE VNNI void tile_wide(const uint8_t *x, const size_t *off, size_t taps, const int8_t *w,
                           const int wide, int32_t *acc)
{
    __m512i sum[TILE_ROWS][3];
#pragma GCC unroll 8
    for (int i = 0; i < TILE_ROWS; i++) {
#pragma GCC unroll 3
        for (int j = 0; j < wide; j++) {
            sum[i][j] = _mm512_setzero_si512();
        }
    }
    for (size_t t = 0; t < taps; t++, w += TILE_ROWS * QUAD) {
        const uint8_t *p = x + off[t];
        __m512i v[3];
#pragma GCC unroll 3
        for (int j = 0; j < wide; j++) {
            v[j] = _mm512_loadu_si512(p + 64 * j);
        }
#pragma GCC unroll 8
        for (int i = 0; i < TILE_ROWS; i++) {
            __m512i b = four_bytes(w + QUAD * i);
#pragma GCC unroll 3
            for (int j = 0; j < wide; j++) {
                madd(&sum[i][j], v[j], b);
            }
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < TILE_ROWS; i++) {
#pragma GCC unroll 3
        for (int j = 0; j < wide; j++) {
            _mm512_storeu_si512(acc + i * TILE_COLS + 16 * j, sum[i][j]);
        }
    }
}

VNNI static void tile_vnni(const uint8_t *x, const size_t *off, size_t taps, const int8_t *w,
                           int cols, int32_t *acc)
{
    if (cols == 48) {
        tile_wide(x, off, taps, w, 3, acc);
    } else if (cols == 32) {
        tile_wide(x, off, taps, w, 2, acc);
    } else {
        tile_wide(x, off, taps, w, 1, acc);
    }
}

/* Four shifted rows of 64 bytes become 64 columns of four bytes: the transposition that lets one
 * instruction sum four taps. Unpacking works within 128-bit parts, so register k ends up with
 * columns 4k..4k+3 of each part; the last step puts them in order. */
VNNI static void lanes_vnni(const uint8_t *x, const size_t *off, size_t quads, const int8_t *w,
                            int32_t *acc)
{
    __m512i sum[4];
    for (int k = 0; k < 4; k++) {
        sum[k] = _mm512_setzero_si512();
    }
    for (size_t t = 0; t < quads; t++, off += QUAD, w += QUAD) {
        __m512i b = four_bytes(w);
        __m512i r0 = _mm512_loadu_si512(x + off[0]), r1 = _mm512_loadu_si512(x + off[1]);
        __m512i r2 = _mm512_loadu_si512(x + off[2]), r3 = _mm512_loadu_si512(x + off[3]);
        __m512i lo01 = _mm512_unpacklo_epi8(r0, r1), hi01 = _mm512_unpackhi_epi8(r0, r1);
        __m512i lo23 = _mm512_unpacklo_epi8(r2, r3), hi23 = _mm512_unpackhi_epi8(r2, r3);
        madd(&sum[0], _mm512_unpacklo_epi16(lo01, lo23), b);
        madd(&sum[1], _mm512_unpackhi_epi16(lo01, lo23), b);
        madd(&sum[2], _mm512_unpacklo_epi16(hi01, hi23), b);
        madd(&sum[3], _mm512_unpackhi_epi16(hi01, hi23), b);
    }
    for (int k = 0; k < 4; k++) {
        _mm_storeu_si128((void *)(acc + 4 * k), _mm512_extracti32x4_epi32(sum[k], 0));
        _mm_storeu_si128((void *)(acc + 16 + 4 * k), _mm512_extracti32x4_epi32(sum[k], 1));
        _mm_storeu_si128((void *)(acc + 32 + 4 * k), _mm512_extracti32x4_epi32(sum[k], 2));
        _mm_storeu_si128((void *)(acc + 48 + 4 * k), _mm512_extracti32x4_epi32(sum[k], 3));
    }
}

VNNI static void finish_vnni(const int32_t *acc, size_t n, const struct finish *f, uint8_t *y)
{
    const __m512i add = _mm512_set1_epi32(f->add), mul = _mm512_set1_epi32(f->mul);
    const __m512i z = _mm512_set1_epi32(f->z);
    const __m512 lo = _mm512_set1_ps(f->lo), hi = _mm512_set1_ps(f->hi);
    __m512 m = _mm512_set1_ps(f->scale);
    for (size_t j = 0; j < n; j += 16) {
        __mmask16 k = n - j >= 16 ? 0xffff : (__mmask16)((1u << (n - j)) - 1);
        __m512i v = _mm512_add_epi32(_mm512_maskz_loadu_epi32(k, acc + j), add);
        if (f->col_add) {
            v = _mm512_add_epi32(v, _mm512_maskz_loadu_epi32(k, f->col_add + j));
        }
        if (f->col_mul) {
            __m512i c = _mm512_maskz_loadu_epi32(k, f->col_mul + j);
            v = _mm512_add_epi32(v, _mm512_mullo_epi32(mul, c));
        }
        if (f->col_scale) {
            m = _mm512_maskz_loadu_ps(k, f->col_scale + j);
        }
        __m512 r = _mm512_mul_ps(_mm512_cvtepi32_ps(v), m);
        r = _mm512_min_ps(_mm512_max_ps(r, lo), hi);
        v = _mm512_add_epi32(_mm512_cvtps_epi32(r), z);
        _mm512_mask_cvtepi32_storeu_epi8(y + j, k, v);
    }
}

VNNI static __m512 codes_to_float(const uint8_t *p, __mmask16 k, const struct int8_add *a)
{
    __m128i c = _mm_maskz_loadu_epi8(k, p);
    __m512i v = a->is_signed ? _mm512_cvtepi8_epi32(c) : _mm512_cvtepu8_epi32(c);
    return _mm512_cvtepi32_ps(_mm512_add_epi32(v, _mm512_set1_epi32(a->shift)));
}

VNNI static void add_vnni(const uint8_t *a, const uint8_t *b, size_t step_b, size_t n,
                          const struct int8_add *p, uint8_t *y)
{
    const __m512 ra = _mm512_set1_ps(p->ra), rb = _mm512_set1_ps(p->rb), f = _mm512_set1_ps(p->f);
    const __m512i shift = _mm512_set1_epi32(p->shift);
    const __m512i lo = _mm512_set1_epi32((p->is_signed ? INT8_MIN : 0) + p->shift);
    const __m512i hi = _mm512_add_epi32(lo, _mm512_set1_epi32(UINT8_MAX));
    __m512 fb = _mm512_set1_ps((float)((p->is_signed ? (int8_t)b[0] : b[0]) + p->shift));
    for (size_t i = 0; i < n; i += 16) {
        __mmask16 k = n - i >= 16 ? 0xffff : (__mmask16)((1u << (n - i)) - 1);
        if (step_b) {
            fb = codes_to_float(b + i, k, p);
        }
        __m512 fa = codes_to_float(a + i, k, p);
        __m512i v = _mm512_cvtps_epi32(_mm512_fmadd_ps(fa, ra, _mm512_fmadd_ps(fb, rb, f)));
        v = _mm512_min_epi32(_mm512_max_epi32(v, lo), hi);
        _mm512_mask_cvtepi32_storeu_epi8(y + i, k, _mm512_sub_epi32(v, shift));
    }
}

INLINE VNNI void chain_wide(const float *x, const size_t *off, size_t taps, const float *w,
                            const int wide, bool first, float *acc)
{
    __m512 sum[TILE_ROWS][3];
#pragma GCC unroll 8
    for (int i = 0; i < TILE_ROWS; i++) {
#pragma GCC unroll 3
        for (int j = 0; j < wide; j++) {
            sum[i][j] = _mm512_setzero_ps();
        }
    }
    for (size_t t = 0; t < taps; t++, w += TILE_ROWS) {
        const char *p = (const char *)x + off[t];
        __m512 v[3];
#pragma GCC unroll 3
        for (int j = 0; j < wide; j++) {
            v[j] = _mm512_loadu_ps(p + 64 * j);
        }
#pragma GCC unroll 8
        for (int i = 0; i < TILE_ROWS; i++) {
            __m512 b = _mm512_set1_ps(w[i]);
#pragma GCC unroll 3
            for (int j = 0; j < wide; j++) {
                sum[i][j] = _mm512_fmadd_ps(v[j], b, sum[i][j]);
            }
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < TILE_ROWS; i++) {
#pragma GCC unroll 3
        for (int j = 0; j < wide; j++) {
            float *a = acc + i * TILE_COLS + 16 * j;
            _mm512_storeu_ps(a, first ? sum[i][j] : _mm512_add_ps(_mm512_loadu_ps(a), sum[i][j]));
        }
    }
}

VNNI static void chain_vnni(const float *x, const size_t *off, size_t taps, const float *w,
                            int cols, bool first, float *acc)
{
    if (cols == 48) {
        chain_wide(x, off, taps, w, 3, first, acc);
    } else if (cols == 32) {
        chain_wide(x, off, taps, w, 2, first, acc);
    } else {
        chain_wide(x, off, taps, w, 1, first, acc);
    }
}

const struct int8_kernels kernel_int8_vnni = {
    .name = "vnni",
    .tile = tile_vnni,
    .lanes = lanes_vnni,
    .finish = finish_vnni,
    .add = add_vnni,
    .chain = chain_vnni,
    .pairs = kernel_pairs_avx2,
};
#else
/* ISO C forbids an empty file. */
typedef int kernel_int8_vnni_unused;
#endif
