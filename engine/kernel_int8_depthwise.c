/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * kernel_int8_depthwise.c: depthwise filters with AVX-512 VNNI: vpdpbusd sums four taps of a
 * channel, whose bytes are brought side by side in registers.
 */
#include "engine/kernel_int8.h"

#if defined(__x86_64__)
#include "engine/kernel_vnni.h"

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
    l->w = d->w->quads + c0 * d->w->quad_slots;
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
        for (size_t q = 0; q < d->w->quad_slots / QUAD; q++) {
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
    const bool twice = l->d->w->quad_slots > l->d->w->slots;
    if (l->d->stride_3x3 == 1 && !twice) {
        lanes_3x3(l, mode);
    } else if (l->d->stride_3x3 == 2 && !twice) {
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
#else
/* ISO C forbids an empty file. */
typedef int kernel_int8_depthwise_unused;
#endif
