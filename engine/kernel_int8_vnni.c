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

INLINE VNNI __m512i four_bytes(const uint8_t *x)
{
    int32_t v;
    memcpy(&v, x, sizeof v);
    return _mm512_set1_epi32(v);
}

/* ---- Products ------------------------------------------------------------------------------- */

enum { MAX_ROWS = 12, MAX_BLOCKS = STRIP_COLS / BLOCK_COLS };

/* `rows` x `blocks` registers of sums, at most 24: with the blocks' weights and one broadcast they
 * fit the 32 registers. */
INLINE VNNI void part(const struct strip *s, size_t r0, const size_t rows, const size_t blocks,
                      int32_t *acc)
{
    __m512i sum[MAX_ROWS][MAX_BLOCKS];
    const uint8_t *a = s->a + r0 * s->lda;
    const int8_t *w = s->w;
#pragma GCC unroll 12
    for (size_t r = 0; r < rows; r++) {
#pragma GCC unroll 4
        for (size_t b = 0; b < blocks; b++) {
            sum[r][b] = _mm512_loadu_si512(s->add + (r0 + r) * s->add_step + b * BLOCK_COLS);
        }
    }
    for (size_t q = 0; q < s->quads; q++, a += QUAD, w += BLOCK_COLS * QUAD) {
        __m512i v[MAX_BLOCKS];
#pragma GCC unroll 4
        for (size_t b = 0; b < blocks; b++) {
            v[b] = _mm512_loadu_si512(w + b * s->block);
        }
#pragma GCC unroll 12
        for (size_t r = 0; r < rows; r++) {
            const __m512i x = four_bytes(a + r * s->lda);
#pragma GCC unroll 4
            for (size_t b = 0; b < blocks; b++) {
                madd(&sum[r][b], x, v[b]);
            }
        }
    }
#pragma GCC unroll 12
    for (size_t r = 0; r < rows; r++) {
#pragma GCC unroll 4
        for (size_t b = 0; b < blocks; b++) {
            _mm512_storeu_si512(acc + (r0 + r) * STRIP_COLS + b * BLOCK_COLS, sum[r][b]);
        }
    }
}

/* All rows, `many` at a time as long as there are so many. */
INLINE VNNI void parts(const struct strip *s, const size_t many, const size_t blocks, int32_t *acc)
{
    size_t r = 0;
    for (; r + many <= s->rows; r += many) {
        part(s, r, many, blocks, acc);
    }
    for (; r + 3 <= s->rows; r += 3) {
        part(s, r, 3, blocks, acc);
    }
    for (; r < s->rows; r++) {
        part(s, r, 1, blocks, acc);
    }
}

VNNI static void product_vnni(const struct strip *s, int32_t *acc)
{
    switch (s->blocks) {
    case 1:
        parts(s, 12, 1, acc);
        break;
    case 2:
        parts(s, 12, 2, acc);
        break;
    case 3:
        parts(s, 8, 3, acc);
        break;
    default:
        parts(s, 6, 4, acc);
        break;
    }
}

/* ---- Requantization ------------------------------------------------------------------------- */

/* rne(v * scale), cut at hi. What is too low, or NaN, becomes INT32_MIN or stays low: packing with
 * saturation cuts it. */
INLINE VNNI __m512i scaled(__m512i v, __m512 scale, __m512 hi)
{
    return _mm512_cvtps_epi32(_mm512_min_ps(hi, _mm512_mul_ps(_mm512_cvtepi32_ps(v), scale)));
}

/* Four registers of 16 as bytes plus z. Packing works within 128-bit parts: dword 4 i + k of the
 * result is dword i, four columns, of register k. */
INLINE VNNI __m512i packed(const __m512i *v, __m512i z, const bool is_signed)
{
    const __m512i a = _mm512_adds_epi16(_mm512_packs_epi32(v[0], v[1]), z);
    const __m512i b = _mm512_adds_epi16(_mm512_packs_epi32(v[2], v[3]), z);
    return is_signed ? _mm512_packs_epi16(a, b) : _mm512_packus_epi16(a, b);
}

INLINE VNNI __mmask64 first_bytes(size_t n)
{
    return n < 64 ? ((__mmask64)1 << n) - 1 : ~(__mmask64)0;
}

INLINE VNNI void finish_blocks(const struct finish *f, const int32_t *acc, const int32_t *row,
                               size_t rows, size_t cols, const size_t blocks, uint8_t *y,
                               size_t ldy)
{
    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    const __m512i z = _mm512_set1_epi16((short)f->z);
    const __m512 hi = _mm512_set1_ps(f->hi);
    const __mmask64 keep = first_bytes(cols);
    const bool is_signed = f->dtype == DT_S8;
    __m512 scale[MAX_BLOCKS];
    __m512i v[MAX_BLOCKS] = {0};
#pragma GCC unroll 4
    for (size_t b = 0; b < blocks; b++) {
        scale[b] = _mm512_loadu_ps(f->scale + b * BLOCK_COLS);
    }
    for (size_t r = 0; r < rows; r++, acc += STRIP_COLS, y += ldy) {
#pragma GCC unroll 4
        for (size_t b = 0; b < blocks; b++) {
            v[b] = _mm512_loadu_si512(acc + b * BLOCK_COLS);
            if (row) {
                __m512i m = _mm512_loadu_si512(f->mul + b * BLOCK_COLS);
                m = _mm512_mullo_epi32(m, _mm512_set1_epi32(row[r]));
                v[b] = _mm512_add_epi32(v[b], m);
            }
            v[b] = scaled(v[b], scale[b], hi);
        }
        __m512i c = is_signed ? packed(v, z, true) : packed(v, z, false);
        c = _mm512_permutexvar_epi32(order, c);
        if (cols == STRIP_COLS) {
            _mm512_storeu_si512(y, c);
        } else {
            _mm512_mask_storeu_epi8(y, keep, c);
        }
    }
}

VNNI static void finish_vnni(const struct finish *f, const int32_t *acc, const int32_t *row,
                             size_t rows, size_t cols, uint8_t *y, size_t ldy)
{
    switch ((cols + BLOCK_COLS - 1) / BLOCK_COLS) {
    case 1:
        finish_blocks(f, acc, row, rows, cols, 1, y, ldy);
        break;
    case 2:
        finish_blocks(f, acc, row, rows, cols, 2, y, ldy);
        break;
    case 3:
        finish_blocks(f, acc, row, rows, cols, 3, y, ldy);
        break;
    default:
        finish_blocks(f, acc, row, rows, cols, 4, y, ldy);
        break;
    }
}

/* ---- Depthwise taps ------------------------------------------------------------------------- */

/* 16 columns' worth of int32 or float in natural order become what packed() wants, and back: part
 * i of register k is part k of register i. */
INLINE VNNI void swap_parts(__m512i *v)
{
    const __m512i a = _mm512_shuffle_i32x4(v[0], v[1], 0x44);
    const __m512i b = _mm512_shuffle_i32x4(v[0], v[1], 0xee);
    const __m512i c = _mm512_shuffle_i32x4(v[2], v[3], 0x44);
    const __m512i d = _mm512_shuffle_i32x4(v[2], v[3], 0xee);
    v[0] = _mm512_shuffle_i32x4(a, c, 0x88);
    v[1] = _mm512_shuffle_i32x4(a, c, 0xdd);
    v[2] = _mm512_shuffle_i32x4(b, d, 0x88);
    v[3] = _mm512_shuffle_i32x4(b, d, 0xdd);
}

INLINE VNNI void load_swapped(const void *p, __m512i *v)
{
    for (int i = 0; i < 4; i++) {
        v[i] = _mm512_loadu_si512((const char *)p + 64 * i);
    }
    swap_parts(v);
}

/* 64 channels of four taps each: bytes of a channel side by side. Register k has the channels 4 k
 * to 4 k + 3 of each 128-bit part. */
INLINE VNNI void interleave(const __m512i *r, __m512i *v)
{
    const __m512i lo01 = _mm512_unpacklo_epi8(r[0], r[1]), hi01 = _mm512_unpackhi_epi8(r[0], r[1]);
    const __m512i lo23 = _mm512_unpacklo_epi8(r[2], r[3]), hi23 = _mm512_unpackhi_epi8(r[2], r[3]);
    v[0] = _mm512_unpacklo_epi16(lo01, lo23);
    v[1] = _mm512_unpackhi_epi16(lo01, lo23);
    v[2] = _mm512_unpacklo_epi16(hi01, hi23);
    v[3] = _mm512_unpackhi_epi16(hi01, hi23);
}

/* Channels [c0, c0 + n) of all pixels. */
INLINE VNNI void depthwise_block(const struct depthwise_row *d, size_t c0, size_t n,
                                 const size_t quads, const bool whole)
{
    const bool codes = d->f->dtype == DT_U8 || d->f->dtype == DT_S8;
    const bool is_signed = d->f->dtype == DT_S8;
    const __m512i z = _mm512_set1_epi16((short)d->f->z);
    const __m512 hi = _mm512_set1_ps(d->f->hi);
    const __mmask64 keep = first_bytes(n);
    const int8_t *w = d->w->quads + c0 * quads * QUAD;
    __m512i add[4], scale[4];
    load_swapped(d->add + c0, add);
    if (codes) {
        load_swapped(d->f->scale + c0, scale);
    }
    for (size_t i = 0; i < d->pixels; i++) {
        const uint8_t *const *ptr = d->ptr + i * d->step;
        __m512i sum[4] = {add[0], add[1], add[2], add[3]};
        for (size_t q = 0; q < quads; q++) {
            __m512i r[QUAD], v[4];
            for (size_t t = 0; t < QUAD; t++) {
                const uint8_t *p = ptr[d->at[q * QUAD + t]] + c0;
                r[t] = whole ? _mm512_loadu_si512(p) : _mm512_maskz_loadu_epi8(keep, p);
            }
            interleave(r, v);
            for (size_t k = 0; k < 4; k++) {
                madd(&sum[k], v[k], _mm512_loadu_si512(w + (q * 4 + k) * 64));
            }
        }
        if (!codes) {
            int32_t acc[STRIP_COLS];
            swap_parts(sum);
            for (int k = 0; k < 4; k++) {
                _mm512_storeu_si512(acc + k * BLOCK_COLS, sum[k]);
            }
            finish_depthwise(&kernel_int8_vnni, d, acc, i, c0, n);
            continue;
        }
        for (int k = 0; k < 4; k++) {
            sum[k] = scaled(sum[k], _mm512_castsi512_ps(scale[k]), hi);
        }
        const __m512i c = is_signed ? packed(sum, z, true) : packed(sum, z, false);
        _mm512_mask_storeu_epi8(d->y + i * d->ldy + c0, keep, c);
    }
}

VNNI void kernel_depthwise_vnni(const struct depthwise_row *d)
{
    const size_t quads = (d->w->taps + QUAD - 1) / QUAD;
    if (!d->w->quads) {
        kernel_depthwise_avx2(d);
        return;
    }
    for (size_t c0 = 0; c0 < d->w->channels; c0 += STRIP_COLS) {
        const size_t n = MIN(d->w->channels - c0, (size_t)STRIP_COLS);
        if (quads == 3) { /* 3 x 3 */
            if (n == STRIP_COLS) {
                depthwise_block(d, c0, n, 3, true);
            } else {
                depthwise_block(d, c0, n, 3, false);
            }
        } else {
            depthwise_block(d, c0, n, quads, false);
        }
    }
}

/* ---- Sums of two ---------------------------------------------------------------------------- */

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
    .strip_rows = 24,
    .product = product_vnni,
    .finish = finish_vnni,
    .depthwise = kernel_depthwise_vnni,
    .add = add_vnni,
    .chain = chain_vnni,
    .pairs = kernel_pairs_avx2,
};

const struct int8_kernels kernel_int8_amx = {
    .name = "amx",
    .strip_rows = STRIP_ROWS,
    .enter = kernel_enter_amx,
    .leave = kernel_leave_amx,
    .product = kernel_product_amx,
    .finish = finish_vnni,
    .depthwise = kernel_depthwise_vnni,
    .add = add_vnni,
    .chain = chain_vnni,
    .pairs = kernel_pairs_avx2,
};
#else
/* ISO C forbids an empty file. */
typedef int kernel_int8_vnni_unused;
#endif
