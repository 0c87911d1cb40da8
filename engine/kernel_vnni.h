/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * kernel_vnni.h: private to the AVX-512 files of kernel_int8.h: how sums become codes in registers.
 */
#ifndef ENGINE_KERNEL_VNNI_H
#define ENGINE_KERNEL_VNNI_H

#include "engine/kernel_int8.h"

#include <immintrin.h>

#define VNNI __attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni")))
#define INLINE static inline __attribute__((always_inline))

/* c += x * w as one instruction on a register. The intrinsic makes gcc 12 copy the accumulators
 * around. */
INLINE VNNI void madd(__m512i *c, __m512i x, __m512i w)
{
    __asm__("vpdpbusd %2, %1, %0" : "+v"(*c) : "v"(x), "v"(w));
}

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

/* The columns of packed registers one after the other. */
INLINE VNNI __m512i in_order(__m512i packed)
{
    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    return _mm512_permutexvar_epi32(order, packed);
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

/* The first n of 64 bytes. */
INLINE VNNI __mmask64 first_bytes(size_t n)
{
    return n < 64 ? ((__mmask64)1 << n) - 1 : ~(__mmask64)0;
}

#endif
