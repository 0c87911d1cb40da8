/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * kernel_f32.h: private to engine/: the inner loops of float32 matrix products, depthwise
 * convolutions and maxima on activations with channels last, each as plain C, AVX2 and AVX-512,
 * chosen at run time. The vector forms use fused multiply-adds in the same order, so they give the
 * same bits; the plain form rounds products, too.
 *
 * There is none for AMX. Three bfloat16 make a float, and six products of such parts are as
 * accurate as one of floats (their errors were a quarter of these kernels'), at 2.7 times the rate
 * on paper. Of that a quarter goes where real values, not zeros, flow through the tiles, and most
 * of the rest into splitting activations and into half as many weights again to stream: ResNet-50's
 * pass stayed as long as it is.
 */
#ifndef ENGINE_KERNEL_F32_H
#define ENGINE_KERNEL_F32_H

#include "engine/engine.h"

enum {
    F32_LANES = 16, /* columns are computed in units of so many */
    F32_COLS = 64,  /* most columns of a tile */
    F32_ROWS = 8,   /* most rows of a tile */
};

/* Where results go: v to raw, min(max(v, lo), hi) to act, where NaN stays NaN; either may be NULL.
 */
struct f32_dest {
    float *raw, *act;
    size_t pitch; /* elements between rows */
    float lo, hi;
};

/* Some rows of a product of activations by weights, over some of the factors:
 *   v[r][j] = sum over s, k of x[s * pitch + r][off + k] * w[(s * len + k) * cols + j]
 * where cols is n rounded up to F32_LANES. The first part of a sum begins with the bias, another
 * adds to what the one before left in the destination (raw, or act where there is no raw); only the
 * last part clamps. Every part is summed for itself before it is added: long sums stay accurate. */
struct f32_tile {
    const float *const *x;
    size_t pitch, segments, off, len;
    const float *w;
    size_t n;          /* columns, at most F32_COLS */
    const float *bias; /* n values; NULL: 0 */
    bool first, last;
    const float *ahead; /* what lies here to fetch for later, a cache line per factor; NULL: none */
    const float *next;  /* weights to fetch for later, a cache line per factor; NULL: none */
    struct f32_dest y;
};

/* Neighbouring outputs of a convolution of few channels, in planes of padded rows:
 *   v[r][j] = bias[j] + sum over k of x[at[k] + r * step] * w[k * cols + j]
 * summed in this order before the bias joins, as tile() would; cols as in struct f32_tile. */
struct f32_scan {
    const float *x;
    const uint32_t *at;
    size_t factors, step; /* step: 1 or 2 */
    const float *w;
    size_t n;          /* columns, at most F32_COLS */
    const float *bias; /* n values; NULL: 0 */
    struct f32_dest y;
};

/* Neighbouring outputs of a depthwise convolution, all channels, r < rows:
 *   v[r][j] = bias[j] + sum over i, k of x[i * pitch + r * step + k * gap][j] * w[(i * kw + k) * c
 * + j] in this order; i < kh counts rows of taps of all dimensions but the last. */
struct f32_depth {
    const float *const *x;
    size_t pitch, step, gap, kh, kw;
    const float *w;
    size_t c;
    const float *bias; /* c values; NULL: 0 */
    struct f32_dest y;
};

/* part: d from output r on. */
static inline void f32_depth_at(const struct f32_depth *d, size_t r, struct f32_depth *part)
{
    part->x = d->x + r * d->step;
    part->y.raw = d->y.raw ? d->y.raw + r * d->y.pitch : NULL;
    part->y.act = d->y.act ? d->y.act + r * d->y.pitch : NULL;
}

/* Neighbouring windows, each of which sees n pixels, `step` floats behind those of the one before:
 * y[o * c + j] = the largest of x[t][o * step + j], t < n, for j < c, o < outs; a NaN wins. n is at
 * least 1. */
typedef void f32_largest(const float *const *x, size_t n, size_t c, size_t step, size_t outs,
                         float *y);

/* y[i * F32_LANES + j] = the float at x + j * step + 4 * i, for i, j < F32_LANES; step: bytes, x
 * any address. */
typedef void f32_transpose(const uint8_t *x, size_t step, float *y);

struct f32_kernels {
    const char *name;
    /* Most rows that tile() takes for 1 to F32_COLS / F32_LANES units of columns; [0] is unused. */
    uint8_t rows[F32_COLS / F32_LANES + 1];
    void (*tile)(const struct f32_tile *t, size_t rows);
    /* Rows that scan() computes for so many units of columns; scan NULL: use tile(). */
    uint8_t scan_rows[F32_COLS / F32_LANES + 1];
    void (*scan)(const struct f32_scan *s);
    void (*depth)(const struct f32_depth *d, size_t rows); /* rows: 1 or more */
    f32_largest *largest;
    f32_transpose *transpose;
};

extern const struct f32_kernels kernel_f32_plain;
f32_transpose kernel_transpose_plain;
#if defined(__x86_64__)
extern const struct f32_kernels kernel_f32_avx2, kernel_f32_avx512;
#endif

/* The kernels for this CPU, or the ones that QSCOPE_ISA allows: plain, avx2, or vnni (AVX-512). */
const struct f32_kernels *kernel_f32(void);
/* By name (NULL: the best); NULL if this CPU cannot run them. */
const struct f32_kernels *kernel_f32_isa(const char *name);
/* Makes kernel_f32() return k; NULL = the default again. For tests, not while a plan runs. */
void kernel_f32_force(const struct f32_kernels *k);

#endif
