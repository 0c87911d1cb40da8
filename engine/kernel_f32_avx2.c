/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * kernel_f32_avx2.c: the float32 kernels for AVX2 with FMA: one unit of columns, two registers, at
 * a time.
 */
#include "engine/kernel_f32.h"

#if defined(__x86_64__)
#include <immintrin.h>

#define AVX2 __attribute__((target("avx2,fma")))
#define INLINE static inline __attribute__((always_inline))
enum { ROWS = 6, HALF = 8, DEPTH = 4 };

/* c += x * w as one instruction on a register, see kernel_f32_avx512.c. */
INLINE AVX2 void madd(__m256 *c, __m256 x, __m256 w)
{
    __asm__("vfmadd231ps %2, %1, %0" : "+x"(*c) : "x"(w), "x"(x));
}

/* Stores a result, or, unless `last`, a part of one. */
INLINE AVX2 void put(const struct f32_dest *y, size_t at, bool last, __m256i m, __m256 v)
{
    if (y->raw) {
        _mm256_maskstore_ps(y->raw + at, m, v);
    }
    if (y->act && (last || !y->raw)) {
        if (last) { /* in this order of operands a NaN stays */
            v = _mm256_min_ps(_mm256_set1_ps(y->hi), _mm256_max_ps(_mm256_set1_ps(y->lo), v));
        }
        _mm256_maskstore_ps(y->act + at, m, v);
    }
}

/* The sums of 8 columns from j on to where they belong. */
INLINE AVX2 void put_sums(const struct f32_tile *t, size_t r, size_t j, __m256i m, __m256 v)
{
    const float *total = t->y.raw ? t->y.raw : t->y.act;
    const size_t at = r * t->y.pitch + j;
    __m256 before = _mm256_setzero_ps();
    if (!t->first) {
        before = _mm256_maskload_ps(total + at, m);
    } else if (t->bias) {
        before = _mm256_maskload_ps(t->bias + j, m);
    }
    put(&t->y, at, t->last, m, _mm256_add_ps(before, v));
}

/* The first `n` of 8 lanes. */
INLINE AVX2 __m256i lanes(size_t n)
{
    const __m256i index = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n > HALF ? HALF : (int)n), index);
}

/* The unit of columns that begins at j. */
INLINE AVX2 void tile(const struct f32_tile *t, size_t j, const int rows)
{
    __m256 c[ROWS][2];
    const size_t cols = (t->n + F32_LANES - 1) / F32_LANES * F32_LANES;
    const float *const *rows_x = t->x, *w = t->w + j;
#pragma GCC unroll 6
    for (int r = 0; r < rows; r++) {
        c[r][0] = c[r][1] = _mm256_setzero_ps();
    }
    for (size_t s = 0; s < t->segments; s++, rows_x += t->pitch) {
        const float *x[ROWS];
#pragma GCC unroll 6
        for (int r = 0; r < rows; r++) {
            x[r] = rows_x[r] + t->off;
        }
        for (size_t k = 0; k < t->len; k++, w += cols) {
            const __m256 v0 = _mm256_loadu_ps(w), v1 = _mm256_loadu_ps(w + HALF);
#pragma GCC unroll 6
            for (int r = 0; r < rows; r++) {
                const __m256 b = _mm256_broadcast_ss(x[r] + k);
                madd(&c[r][0], b, v0);
                madd(&c[r][1], b, v1);
            }
        }
    }
    const size_t rest = t->n - j;
    const __m256i m0 = lanes(rest), m1 = lanes(rest > HALF ? rest - HALF : 0);
#pragma GCC unroll 6
    for (int r = 0; r < rows; r++) {
        put_sums(t, (size_t)r, j, m0, c[r][0]);
        if (rest > HALF) {
            put_sums(t, (size_t)r, j + HALF, m1, c[r][1]);
        }
    }
}

#define TILE(rows)                                                                                 \
    AVX2 static void tile_##rows(const struct f32_tile *t, size_t j)                               \
    {                                                                                              \
        tile(t, j, rows);                                                                          \
    }
TILE(1)
TILE(2)
TILE(3)
TILE(4)
TILE(5)
TILE(6)

static void tile_avx2(const struct f32_tile *t, size_t rows)
{
    static void (*const tiles[ROWS])(const struct f32_tile *, size_t) = {tile_1, tile_2, tile_3,
                                                                         tile_4, tile_5, tile_6};
    for (size_t j = 0; j < t->n; j += F32_LANES) {
        tiles[rows - 1](t, j);
    }
}

/* ---- Depthwise ------------------------------------------------------------------------------ */

/* Eight channels from j on of `rows` outputs, at most DEPTH. */
INLINE AVX2 void depth_part(const struct f32_depth *d, size_t j, __m256i m, const int rows)
{
    __m256 c[DEPTH];
#pragma GCC unroll 4
    for (int r = 0; r < rows; r++) {
        c[r] = d->bias ? _mm256_maskload_ps(d->bias + j, m) : _mm256_setzero_ps();
    }
    for (size_t i = 0; i < d->kh; i++) {
        for (size_t k = 0; k < d->kw; k++) {
            const float *const *x = d->x + i * d->pitch + k * d->gap;
            const __m256 w = _mm256_maskload_ps(d->w + (i * d->kw + k) * d->c + j, m);
#pragma GCC unroll 4
            for (int r = 0; r < rows; r++) {
                madd(&c[r], _mm256_maskload_ps(x[(size_t)r * d->step] + j, m), w);
            }
        }
    }
#pragma GCC unroll 4
    for (int r = 0; r < rows; r++) {
        put(&d->y, (size_t)r * d->y.pitch + j, true, m, c[r]);
    }
}

/* The last outputs are computed twice rather than one by one; they are the same. */
AVX2 static void depth_avx2(const struct f32_depth *d, size_t rows)
{
    struct f32_depth part = *d;
    const size_t each = rows < DEPTH ? 1 : DEPTH;
    for (size_t at = 0; at < rows; at += each) {
        f32_depth_at(d, MIN(at, rows - each), &part);
        for (size_t j = 0; j < d->c; j += HALF) {
            if (each == DEPTH) {
                depth_part(&part, j, lanes(d->c - j), DEPTH);
            } else {
                depth_part(&part, j, lanes(d->c - j), 1);
            }
        }
    }
}

/* As in kernel_f32_avx512.c. */
AVX2 static void largest_avx2(const float *const *x, size_t n, size_t c, size_t step, size_t outs,
                              float *y)
{
    for (size_t o = 0; o < outs; o++, y += c) {
        for (size_t j = 0; j < c; j += HALF) {
            const size_t at = o * step + j;
            const __m256i m = lanes(c - j);
            __m256 best = _mm256_maskload_ps(x[0] + at, m);
            for (size_t t = 1; t < n; t++) {
                const __m256 v = _mm256_maskload_ps(x[t] + at, m);
                const __m256 number = _mm256_cmp_ps(best, best, _CMP_ORD_Q);
                best = _mm256_blendv_ps(best, _mm256_max_ps(best, v), number);
            }
            _mm256_maskstore_ps(y + j, m, best);
        }
    }
}

const struct f32_kernels kernel_f32_avx2 = {
    .name = "avx2",
    .rows = {0, ROWS, ROWS, ROWS, ROWS},
    .tile = tile_avx2,
    .depth = depth_avx2,
    .largest = largest_avx2,
    .transpose = kernel_transpose_plain,
};
#else
/* ISO C forbids an empty file. */
typedef int kernel_f32_avx2_unused;
#endif
