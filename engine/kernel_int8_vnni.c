/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * kernel_int8_vnni.c: the integer kernels for AVX-512 VNNI. vpdpbusd multiplies four u8 by four s8
 * and adds the exact sum to 32 bits, without saturation in between.
 */
#include "engine/kernel_int8.h"

#if defined(__x86_64__)
#include "engine/kernel_vnni.h"

/* ---- Products ------------------------------------------------------------------------------- */

INLINE VNNI __m512i four_bytes(const uint8_t *x)
{
    int32_t v;
    memcpy(&v, x, sizeof v);
    return _mm512_set1_epi32(v);
}

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

/* One register of codes: `blocks` blocks of columns of each of 4 / blocks rows. */
INLINE VNNI __m512i finish_register(const struct finish *f, const struct ends *e,
                                    const int32_t *acc, const int32_t *row, const __m512 *scale,
                                    const size_t blocks)
{
    const size_t used = MAX_BLOCKS / blocks * blocks;
    __m512i v[MAX_BLOCKS];
#pragma GCC unroll 4
    for (size_t i = 0; i < MAX_BLOCKS; i++) {
        const size_t r = i / blocks, b = i % blocks;
        if (i >= used) {
            v[i] = _mm512_setzero_si512();
            continue;
        }
        v[i] = _mm512_loadu_si512(acc + r * STRIP_COLS + b * BLOCK_COLS);
        if (row) {
            const __m512i m = _mm512_loadu_si512(f->mul + b * BLOCK_COLS);
            const __m512i by = _mm512_set1_epi32(row[r]);
            v[i] = _mm512_add_epi32(v[i], _mm512_mullo_epi32(m, by));
        }
        v[i] = scaled(v[i], scale[b], e->hi);
    }
    return in_order(packed_codes(v, e));
}

INLINE VNNI void finish_blocks(const struct finish *f, const int32_t *acc, const int32_t *row,
                               size_t rows, size_t cols, const size_t blocks, uint8_t *y,
                               size_t ldy)
{
    const size_t group = MAX_BLOCKS / blocks;
    const __mmask64 keep = first_bytes(cols);
    const struct ends ends = ends_of(f);
    __m512 scale[MAX_BLOCKS];
#pragma GCC unroll 4
    for (size_t b = 0; b < blocks; b++) {
        scale[b] = _mm512_loadu_ps(f->scale + b * BLOCK_COLS);
    }
    /* Sums behind the last row are there, if of no meaning. */
    for (size_t r = 0; r < rows; r += group, acc += group * STRIP_COLS) {
        int32_t few[MAX_BLOCKS] = {0};
        for (size_t i = 0; row && i < MIN(group, rows - r); i++) {
            few[i] = row[r + i];
        }
        __m512i c = finish_register(f, &ends, acc, row ? few : NULL, scale, blocks);
        for (size_t i = 0; i < MIN(group, rows - r); i++, y += ldy) {
            if (blocks == 1 && cols == BLOCK_COLS) {
                _mm_storeu_si128((void *)y, _mm512_castsi512_si128(c));
            } else if (blocks == 2 && cols == 2 * BLOCK_COLS) {
                _mm256_storeu_si256((void *)y, _mm512_castsi512_si256(c));
            } else if (cols == STRIP_COLS) {
                _mm512_storeu_si512(y, c);
            } else {
                _mm512_mask_storeu_epi8(y, keep, c);
            }
            c = blocks == 1   ? _mm512_shuffle_i32x4(c, c, 0x39)
                : blocks == 2 ? _mm512_shuffle_i32x4(c, c, 0x4e)
                              : c;
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

/* ---- Sums of two ---------------------------------------------------------------------------- */

INLINE VNNI __m512 codes_to_float(__m128i c, const bool is_signed)
{
    return _mm512_cvtepi32_ps(is_signed ? _mm512_cvtepi8_epi32(c) : _mm512_cvtepu8_epi32(c));
}

/* Part k of a register of codes. */
INLINE VNNI __m128i part_of(__m512i c, const int k)
{
    return k == 0   ? _mm512_castsi512_si128(c)
           : k == 1 ? _mm512_extracti32x4_epi32(c, 1)
           : k == 2 ? _mm512_extracti32x4_epi32(c, 2)
                    : _mm512_extracti32x4_epi32(c, 3);
}

/* 64 sums of codes; signed codes that count 128 higher are taken as unsigned ones. */
INLINE VNNI __m512i add_codes(__m512i a, __m512i b, const struct int8_add *p, const bool is_signed)
{
    const __m512 ra = _mm512_set1_ps(p->ra), rb = _mm512_set1_ps(p->rb), f = _mm512_set1_ps(p->f);
    __m512i v[4];
#pragma GCC unroll 4
    for (int k = 0; k < 4; k++) {
        const __m512 fa = codes_to_float(part_of(a, k), is_signed);
        const __m512 fb = codes_to_float(part_of(b, k), is_signed);
        v[k] = _mm512_cvtps_epi32(_mm512_fmadd_ps(fa, ra, _mm512_fmadd_ps(fb, rb, f)));
    }
    const __m512i c = is_signed ? packed(v, _mm512_setzero_si512(), true)
                                : packed(v, _mm512_setzero_si512(), false);
    return in_order(c);
}

/* 64 codes, or one of them 64 times. */
INLINE VNNI __m512i operand(const uint8_t *p, size_t step, size_t i, __mmask64 keep, __m512i flip)
{
    const __m512i v = step ? _mm512_maskz_loadu_epi8(keep, p + i) : _mm512_set1_epi8((char)p[0]);
    return _mm512_xor_si512(v, flip);
}

INLINE VNNI void add_all(const uint8_t *a, size_t step_a, const uint8_t *b, size_t step_b, size_t n,
                         const struct int8_add *p, const bool is_signed, uint8_t *y)
{
    const __m512i flip = _mm512_set1_epi8(p->shift ? (char)0x80 : 0);
    for (size_t i = 0; i < n; i += 64) {
        const __mmask64 keep = first_bytes(n - i);
        const __m512i va = operand(a, step_a, i, keep, flip);
        const __m512i vb = operand(b, step_b, i, keep, flip);
        const __m512i c = add_codes(va, vb, p, is_signed);
        _mm512_mask_storeu_epi8(y + i, keep, _mm512_xor_si512(c, flip));
    }
}

VNNI static void add_vnni(const uint8_t *a, size_t step_a, const uint8_t *b, size_t step_b,
                          size_t n, const struct int8_add *p, uint8_t *y)
{
    if (p->is_signed && !p->shift) {
        add_all(a, step_a, b, step_b, n, p, true, y);
    } else {
        add_all(a, step_a, b, step_b, n, p, false, y);
    }
}

/* ---- Products of two ------------------------------------------------------------------------ */

/* 64 products: of exact floats, since they are below 2^24. */
INLINE VNNI __m512i mul_codes(__m512i a, __m512i b, const struct int8_mul *p, const bool is_signed)
{
    const __m512 za = _mm512_set1_ps((float)p->za), zb = _mm512_set1_ps((float)p->zb);
    const __m512 r = _mm512_set1_ps(p->r), zy = _mm512_set1_ps(p->zy);
    __m512i v[4];
#pragma GCC unroll 4
    for (int k = 0; k < 4; k++) {
        const __m512 fa = _mm512_sub_ps(codes_to_float(part_of(a, k), is_signed), za);
        const __m512 fb = _mm512_sub_ps(codes_to_float(part_of(b, k), is_signed), zb);
        const __m512 product = _mm512_mul_ps(_mm512_mul_ps(fa, fb), r);
        v[k] = _mm512_cvtps_epi32(_mm512_add_ps(product, zy));
    }
    const __m512i zero = _mm512_setzero_si512();
    return in_order(is_signed && !p->shift ? packed(v, zero, true) : packed(v, zero, false));
}

INLINE VNNI void mul_all(const uint8_t *a, size_t step_a, const uint8_t *b, size_t step_b, size_t n,
                         const struct int8_mul *p, const bool is_signed, uint8_t *y)
{
    const __m512i flip = _mm512_set1_epi8(p->shift ? (char)0x80 : 0);
    const __m512i none = _mm512_setzero_si512();
    for (size_t i = 0; i < n; i += 64) {
        const __mmask64 keep = first_bytes(n - i);
        const __m512i va = operand(a, step_a, i, keep, none);
        const __m512i vb = operand(b, step_b, i, keep, none);
        const __m512i c = mul_codes(va, vb, p, is_signed);
        _mm512_mask_storeu_epi8(y + i, keep, _mm512_xor_si512(c, flip));
    }
}

VNNI static void mul_vnni(const uint8_t *a, size_t step_a, const uint8_t *b, size_t step_b,
                          size_t n, const struct int8_mul *p, uint8_t *y)
{
    if (p->is_signed) {
        mul_all(a, step_a, b, step_b, n, p, true, y);
    } else {
        mul_all(a, step_a, b, step_b, n, p, false, y);
    }
}

/* ---- Tables --------------------------------------------------------------------------------- */

#define VBMI __attribute__((target("avx512f,avx512bw,avx512vbmi")))

VBMI static void map_vbmi(const uint8_t *table, const uint8_t *x, size_t n, uint8_t *y)
{
    const __m512i t0 = _mm512_loadu_si512(table), t1 = _mm512_loadu_si512(table + 64);
    const __m512i t2 = _mm512_loadu_si512(table + 128), t3 = _mm512_loadu_si512(table + 192);
    for (size_t i = 0; i < n; i += 64) {
        const __mmask64 keep = n - i < 64 ? ((__mmask64)1 << (n - i)) - 1 : ~(__mmask64)0;
        const __m512i v = _mm512_maskz_loadu_epi8(keep, x + i);
        const __m512i low = _mm512_permutex2var_epi8(t0, v, t1);
        const __m512i high = _mm512_permutex2var_epi8(t2, v, t3);
        const __m512i c = _mm512_mask_blend_epi8(_mm512_movepi8_mask(v), low, high);
        _mm512_mask_storeu_epi8(y + i, keep, c);
    }
}

static void map_avx512(const uint8_t *table, const uint8_t *x, size_t n, uint8_t *y)
{
    if (__builtin_cpu_supports("avx512vbmi")) {
        map_vbmi(table, x, n, y);
    } else {
        kernel_map_plain(table, x, n, y);
    }
}

/* ---- Float sums ----------------------------------------------------------------------------- */

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
    .mul = mul_vnni,
    .map = map_avx512,
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
    .mul = mul_vnni,
    .map = map_avx512,
    .chain = chain_vnni,
    .pairs = kernel_pairs_avx2,
};
#else
/* ISO C forbids an empty file. */
typedef int kernel_int8_vnni_unused;
#endif
