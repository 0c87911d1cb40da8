/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * kernel_int8.h: private to engine/: integer matrix products, depthwise taps and requantization,
 * each as plain C, AVX2 and AVX-512 VNNI, chosen at run time. All give the same integers: products
 * are exact and sums wrap at 32 bits, as ONNX Runtime's do.
 *
 * Operands are always u8 (vector side) and s8 (broadcast side). Codes of the other signedness are
 * shifted by 128 together with their zero point (x ^ 0x80), which changes no real value.
 */
#ifndef ENGINE_KERNEL_INT8_H
#define ENGINE_KERNEL_INT8_H

#include "engine/engine.h"

#include <math.h>

enum {
    TILE_ROWS = 8,   /* rows of the broadcast operand in a tile */
    TILE_COLS = 48,  /* columns of the vector operand in a tile: three AVX-512 registers */
    LANE_COLS = 64,  /* columns that the depthwise kernel computes at a time */
    QUAD = 4,        /* bytes that one multiply-add instruction takes from each operand */
    FINISH_MAX = 64, /* columns that finish() may be asked for */
};

/* How one row of accumulators becomes codes:
 *   v = acc[j] + add + col_add[j] + mul * col_mul[j]        (mod 2^32)
 *   y[j] = rne(clamp((float)v * m, lo, hi)) + z             with m = scale or col_scale[j] */
struct finish {
    int32_t add, mul;
    const int32_t *col_add; /* NULL = 0 */
    const int32_t *col_mul; /* NULL = 0 */
    float scale;
    const float *col_scale; /* NULL = scale */
    float lo, hi;           /* qmin - z and qmax - z */
    int32_t z;
};

/* Parameters of QLinearAdd: ra = sa / sy, rb = sb / sy, f = zy - fma(ra, za, rb * zb). */
struct int8_add {
    bool is_signed; /* codes are s8 */
    int32_t shift;  /* added to codes before, taken away after; zero points include it */
    float ra, rb, f;
};

struct int8_kernels {
    const char *name;
    /* acc[i][j] = sum over t, q of x[off[t] + 4 j + q] * w[32 t + 4 i + q], for 8 rows and the
     * first `cols` (16, 32 or 48) columns. acc has TILE_ROWS * TILE_COLS elements. */
    void (*tile)(const uint8_t *x, const size_t *off, size_t taps, const int8_t *w, int cols,
                 int32_t *acc);
    /* acc[j] = sum over t < 4 quads of x[off[t] + j] * w[t] for LANE_COLS columns. */
    void (*lanes)(const uint8_t *x, const size_t *off, size_t quads, const int8_t *w, int32_t *acc);
    /* n <= FINISH_MAX; writes n bytes (two's complement for s8). */
    void (*finish)(const int32_t *acc, size_t n, const struct finish *f, uint8_t *y);
    /* y[i] = saturate(rne(fma(a[i], ra, fma(b[i * step_b], rb, f)))) on raw codes; n > 0, step_b
     * 0 or 1. */
    void (*add)(const uint8_t *a, const uint8_t *b, size_t step_b, size_t n,
                const struct int8_add *p, uint8_t *y);
    /* Float twin of tile() for the islands between integer layers, one rounding per step:
     *   s = 0; for t: s = fma(x[off[t]/4 + j], w[8 t + i], s); acc[i][j] = first ? s : acc[i][j] +
     * s off counts bytes. */
    void (*chain)(const float *x, const size_t *off, size_t taps, const float *w, int cols,
                  bool first, float *acc);
    /* Sum over k of sat16(x[k] w[k] + x[k+1] w[k+1]), k even: what vpmaddubsw makes of a product
     * of u8 and s8, the hazard of x86 without VNNI. An odd last element stands alone. */
    int32_t (*pairs)(const uint8_t *x, const int8_t *w, size_t n);
};

extern const struct int8_kernels kernel_int8_plain;
#if defined(__x86_64__)
extern const struct int8_kernels kernel_int8_avx2, kernel_int8_vnni;
int32_t kernel_pairs_avx2(const uint8_t *x, const int8_t *w, size_t n); /* of both */
#endif

/* The kernels for this CPU, or those that the environment variable QSCOPE_ISA (plain, avx2, vnni)
 * names if the CPU can run them. */
const struct int8_kernels *kernel_int8(void);
/* By name (NULL: the best); NULL if this CPU cannot run them. */
const struct int8_kernels *kernel_int8_isa(const char *name);
/* Makes kernel_int8() return k; NULL = the default again. For tests, not while a plan runs. */
void kernel_int8_force(const struct int8_kernels *k);

/* Round half to even. |v| < 2^22, which holds for every clamped quotient of 16-bit codes. */
static inline float rne_small(float v)
{
    return (v + 0x1.8p23f) - 0x1.8p23f;
}

/* The float comparisons of x86 maxps/minps: a NaN gives lo. */
static inline float clamp_x86(float v, float lo, float hi)
{
    v = v > lo ? v : lo;
    return v < hi ? v : hi;
}

/* A row of n <= FINISH_MAX accumulators as elements of dtype d: U8 and S8 through k->finish, S32
 * the sums v themselves, F32 (float)v * m. */
void finish_row(const struct int8_kernels *k, enum dtype d, const int32_t *acc, size_t n,
                const struct finish *f, void *y);

/* One pair of products: what its 16-bit sum keeps. */
static inline int32_t pair_saturate(int32_t sum)
{
    return MIN(MAX(sum, INT16_MIN), INT16_MAX);
}

/* Rounding and saturation as x86 does them with cvtps and packs: NaN and what does not fit 32 bits
 * become the lowest code, whatever their sign. */
static inline int32_t saturate_x86(float v, float lo, float hi)
{
    v = v < 0x1p31f ? v : lo;
    return (int32_t)rne_small(clamp_x86(v, lo, hi));
}

/* v of struct finish. */
static inline int32_t finish_sum(const int32_t *acc, size_t j, const struct finish *f)
{
    uint32_t v = (uint32_t)acc[j] + (uint32_t)f->add;
    v += f->col_add ? (uint32_t)f->col_add[j] : 0;
    v += f->col_mul ? (uint32_t)f->mul * (uint32_t)f->col_mul[j] : 0;
    return (int32_t)v;
}

/* The plain form of finish() for one element; vector kernels use it for their tails. */
static inline uint8_t finish_one(const int32_t *acc, size_t j, const struct finish *f)
{
    float m = f->col_scale ? f->col_scale[j] : f->scale;
    float r = clamp_x86((float)finish_sum(acc, j, f) * m, f->lo, f->hi);
    return (uint8_t)((int32_t)rne_small(r) + f->z);
}

/* The plain form of add() for one element. */
static inline uint8_t add_one(uint8_t a, uint8_t b, const struct int8_add *p)
{
    float lo = (float)((p->is_signed ? INT8_MIN : 0) + p->shift);
    float fa = (float)((p->is_signed ? (int8_t)a : a) + p->shift);
    float fb = (float)((p->is_signed ? (int8_t)b : b) + p->shift);
    int32_t y = saturate_x86(fmaf(fa, p->ra, fmaf(fb, p->rb, p->f)), lo, lo + 255.0F);
    return (uint8_t)(y - p->shift);
}

/* Codes [at, at+n) of a tensor of any quantized type as int32 and back (stored low bits). */
enum { CODE_BLOCK = 256 };
void codes_get(const struct tensor *t, size_t at, size_t n, int32_t *dst);
void codes_put(struct tensor *t, size_t at, size_t n, const int32_t *src);

#endif
