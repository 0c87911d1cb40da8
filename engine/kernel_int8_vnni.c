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

/* What all codes have in common. */
struct ends {
    __m512i z;   /* 16 bits */
    __m512i low; /* the lowest code: packing knows that of the type alone */
    __m512 hi;
    bool is_signed;
};

INLINE VNNI struct ends ends_of(const struct finish *f)
{
    return (struct ends){.z = _mm512_set1_epi16((short)f->z),
                         .low = _mm512_set1_epi8((char)((int32_t)f->lo + f->z)),
                         .hi = _mm512_set1_ps(f->hi),
                         .is_signed = f->dtype == DT_S8};
}

INLINE VNNI __m512i packed_codes(const __m512i *v, const struct ends *e)
{
    return e->is_signed ? _mm512_max_epi8(packed(v, e->z, true), e->low)
                        : _mm512_max_epu8(packed(v, e->z, false), e->low);
}

INLINE VNNI __mmask64 first_bytes(size_t n)
{
    return n < 64 ? ((__mmask64)1 << n) - 1 : ~(__mmask64)0;
}

/* One register of codes: `blocks` blocks of columns of each of 4 / blocks rows. */
INLINE VNNI __m512i finish_register(const struct finish *f, const struct ends *e,
                                    const int32_t *acc, const int32_t *row, const __m512 *scale,
                                    const size_t blocks)
{
    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
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
    return _mm512_permutexvar_epi32(order, packed_codes(v, e));
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

/* How a register is filled: 64 channels of one pixel, fewer of them, or up to 32 channels of two
 * pixels, half a row apart (weights and parameters stand there twice, see conv8.h). */
enum lanes_mode { WHOLE, PART, TWO };
enum { HALF = STRIP_COLS / 2 };

/* What all pixels of these channels have in common. */
struct lanes {
    const struct depthwise_row *d;
    size_t c0, n;
    size_t pixels; /* of the row, or of half of it */
    size_t second; /* TWO: pointers from a pixel to the one half a row further on */
    __mmask64 keep;
    const int8_t *w;
    __m512i add[4], scale[4];
    struct ends ends;
    bool codes;
};

INLINE VNNI void lanes_init(struct lanes *l, const struct depthwise_row *d, size_t c0)
{
    l->d = d;
    l->c0 = c0;
    l->n = MIN(d->w->channels - c0, (size_t)STRIP_COLS);
    l->pixels = d->pixels;
    l->second = 0;
    l->keep = first_bytes(l->n);
    l->w = d->w->quads + c0 * d->w->slots;
    l->ends = ends_of(d->f);
    l->codes = finish_is_vector(d->f);
    load_swapped(d->add + c0, l->add);
    if (l->codes) {
        load_swapped(d->f->scale + c0, l->scale);
    }
}

INLINE VNNI __m512i lanes_load(const struct lanes *l, const uint8_t *const *p,
                               const enum lanes_mode mode)
{
    if (mode == TWO) {
        const __mmask32 keep = (__mmask32)l->keep;
        const __m256i a = _mm256_maskz_loadu_epi8(keep, *p + l->c0);
        const __m256i b = _mm256_maskz_loadu_epi8(keep, p[l->second] + l->c0);
        return _mm512_inserti64x4(_mm512_castsi256_si512(a), b, 1);
    }
    return mode == WHOLE ? _mm512_loadu_si512(*p + l->c0)
                         : _mm512_maskz_loadu_epi8(l->keep, *p + l->c0);
}

/* sum += v * weights of quad q */
INLINE VNNI void lanes_madd(const struct lanes *l, __m512i *sum, const __m512i *v, size_t q)
{
    for (size_t k = 0; k < 4; k++) {
        madd(&sum[k], v[k], _mm512_loadu_si512(l->w + (q * 4 + k) * 64));
    }
}

INLINE VNNI void lanes_store(const struct lanes *l, const __m512i *sum, size_t pixel,
                             const enum lanes_mode mode)
{
    const struct depthwise_row *d = l->d;
    __m512i v[4] = {sum[0], sum[1], sum[2], sum[3]};
    if (mode != TWO && !l->codes) {
        int32_t acc[STRIP_COLS];
        swap_parts(v);
        for (int k = 0; k < 4; k++) {
            _mm512_storeu_si512(acc + k * BLOCK_COLS, v[k]);
        }
        finish_depthwise(&kernel_int8_vnni, d, acc, pixel, l->c0, l->n);
        return;
    }
    for (int k = 0; k < 4; k++) {
        v[k] = scaled(v[k], _mm512_castsi512_ps(l->scale[k]), l->ends.hi);
    }
    const __m512i c = packed_codes(v, &l->ends);
    uint8_t *y = d->y + pixel * d->ldy + l->c0;
    if (mode == TWO) {
        const __mmask32 keep = (__mmask32)l->keep;
        _mm256_mask_storeu_epi8(y, keep, _mm512_castsi512_si256(c));
        _mm256_mask_storeu_epi8(y + l->pixels * d->ldy, keep, _mm512_extracti64x4_epi64(c, 1));
    } else if (mode == WHOLE) {
        _mm512_storeu_si512(y, c);
    } else {
        _mm512_mask_storeu_epi8(y, l->keep, c);
    }
}

/* Any filter: every pixel loads all of its taps. */
INLINE VNNI void lanes_any(const struct lanes *l, const enum lanes_mode mode)
{
    const struct depthwise_row *d = l->d;
    for (size_t i = 0; i < l->pixels; i++) {
        const uint8_t *const *ptr = d->ptr + i * d->step;
        __m512i sum[4] = {l->add[0], l->add[1], l->add[2], l->add[3]};
        for (size_t q = 0; q < d->w->slots / QUAD; q++) {
            __m512i r[QUAD], v[4];
            for (size_t t = 0; t < QUAD; t++) {
                r[t] = lanes_load(l, ptr + d->at[q * QUAD + t], mode);
            }
            interleave(r, v);
            lanes_madd(l, sum, v, q);
        }
        lanes_store(l, sum, i, mode);
    }
}

/* Column x of three rows, interleaved. */
INLINE VNNI void lanes_column(const struct lanes *l, size_t x, __m512i *v,
                              const enum lanes_mode mode)
{
    const uint8_t *const *ptr = l->d->ptr + x * 3;
    const __m512i r[QUAD] = {lanes_load(l, ptr, mode), lanes_load(l, ptr + 1, mode),
                             lanes_load(l, ptr + 2, mode), _mm512_setzero_si512()};
    interleave(r, v);
}

/* 3 x 3 in steps of one pixel: each column goes into three results while it is at hand. */
INLINE VNNI void lanes_3x3(const struct lanes *l, const enum lanes_mode mode)
{
    __m512i a[4], b[4], v[4]; /* sums of the next result and the one after it */
    memcpy(a, l->add, sizeof a);
    memcpy(b, l->add, sizeof b);
    lanes_column(l, 0, v, mode);
    lanes_madd(l, a, v, 0);
    lanes_column(l, 1, v, mode);
    lanes_madd(l, a, v, 1);
    lanes_madd(l, b, v, 0);
    for (size_t i = 0; i < l->pixels; i++) {
        __m512i c[4] = {l->add[0], l->add[1], l->add[2], l->add[3]};
        lanes_column(l, i + 2, v, mode);
        lanes_madd(l, a, v, 2);
        lanes_madd(l, b, v, 1);
        lanes_madd(l, c, v, 0);
        lanes_store(l, a, i, mode);
        memcpy(a, b, sizeof a);
        memcpy(b, c, sizeof b);
    }
}

/* 3 x 3 in steps of two: every other column goes into two results. */
INLINE VNNI void lanes_3x3_by_2(const struct lanes *l, const enum lanes_mode mode)
{
    __m512i a[4], v[4];
    memcpy(a, l->add, sizeof a);
    lanes_column(l, 0, v, mode);
    lanes_madd(l, a, v, 0);
    for (size_t i = 0; i < l->pixels; i++) {
        __m512i b[4] = {l->add[0], l->add[1], l->add[2], l->add[3]};
        lanes_column(l, 2 * i + 1, v, mode);
        lanes_madd(l, a, v, 1);
        lanes_column(l, 2 * i + 2, v, mode);
        lanes_madd(l, a, v, 2);
        lanes_madd(l, b, v, 0);
        lanes_store(l, a, i, mode);
        memcpy(a, b, sizeof a);
    }
}

INLINE VNNI void lanes_run(const struct lanes *l, const enum lanes_mode mode)
{
    if (l->d->stride_3x3 == 1) {
        lanes_3x3(l, mode);
    } else if (l->d->stride_3x3 == 2) {
        lanes_3x3_by_2(l, mode);
    } else {
        lanes_any(l, mode);
    }
}

VNNI static void lanes_whole(const struct lanes *l)
{
    lanes_run(l, WHOLE);
}

VNNI static void lanes_part(const struct lanes *l)
{
    lanes_run(l, PART);
}

/* Both halves of the row at once, and what is left of an odd one. */
VNNI static void lanes_two(struct lanes *l)
{
    const struct depthwise_row *d = l->d;
    l->pixels = d->pixels / 2;
    l->second = l->pixels * d->step;
    lanes_run(l, TWO);
    if (d->pixels % 2) {
        struct depthwise_row last = *d;
        last.ptr += (d->pixels - 1) * d->step;
        last.y += (d->pixels - 1) * d->ldy;
        last.pixels = l->pixels = 1;
        l->d = &last;
        lanes_part(l);
    }
}

VNNI void kernel_depthwise_vnni(const struct depthwise_row *d)
{
    struct lanes l;
    if (!d->w->quads) {
        kernel_depthwise_avx2(d);
        return;
    }
    for (size_t c0 = 0; c0 < d->w->channels; c0 += STRIP_COLS) {
        lanes_init(&l, d, c0);
        if (l.n == STRIP_COLS) {
            lanes_whole(&l);
        } else if (l.n <= HALF && l.codes && d->pixels > 1) {
            lanes_two(&l);
        } else {
            lanes_part(&l);
        }
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
    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
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
    return _mm512_permutexvar_epi32(order, c);
}

/* 64 codes, or one of them 64 times. */
INLINE VNNI __m512i add_operand(const uint8_t *p, size_t step, size_t i, __mmask64 keep,
                                __m512i flip)
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
        const __m512i va = add_operand(a, step_a, i, keep, flip);
        const __m512i vb = add_operand(b, step_b, i, keep, flip);
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
