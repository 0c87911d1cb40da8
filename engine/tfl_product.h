/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * tfl_product.h: private to engine/: what CONV_2D, DEPTHWISE_CONV_2D and FULLY_CONNECTED of
 * TensorFlow Lite share. Everything is a product of rows. Integers are widened to int16 with their
 * zero point taken off, so that one multiply-add loop serves u8, s8 and s16.
 */
#ifndef ENGINE_TFL_PRODUCT_H
#define ENGINE_TFL_PRODUCT_H

#include "engine/tfl.h"

/* Products that are summed in 32 bits: small enough for any codes, 256 * 32768 * 128 < 2^31. */
enum { TFL_SUM_BLOCK = 256 };

/* What the built-in kernels use: the reference, the optimised ones, and both for int16. */
struct tfl_roundings {
    enum tfl_rounding ref, builtin, wide;
};

/* The order of float sums. Products come in the order of the filter. */
enum tfl_sum {
    TFL_FUSED,     /* from the bias on, by one rounding each (FMA) */
    TFL_APART,     /* from the bias on, product and sum rounded by themselves */
    TFL_BIAS_LAST, /* the same from 0 on, in blocks of tfl_product.block; the bias last */
    TFL_LANES,     /* the same in four sums that take turns, joined as (0 + 2) + (1 + 3) */
};

/* Weights packed for the fast twins, see tfl_fast.h. */
struct conv8_filter;
struct tfl_panels;
struct tfl_taps;

/* A layer: rows of activations times filters, plus bias, to output rows. */
struct tfl_product {
    const struct op_call *c;
    int64_t filters, depth; /* of the product */
    const float *wf;        /* float weights, or NULL */
    const int16_t *wi;
    const struct conv8_filter *filter; /* packed weights: of codes, */
    const struct tfl_panels *panels;   /* of floats, */
    const struct tfl_taps *taps;       /* of floats of a depthwise layer; or none */
    const float *bias_f;
    const struct tensor *bias;  /* of integer layers: s32 or s64 codes */
    const struct quant *scales; /* of the weights; NULL for float ones */
    struct tfl_quant x, y;
    struct tfl_scale *requant; /* per filter */
    float lo, hi;              /* of float outputs */
    enum tfl_sum sum;          /* of float layers */
    int64_t block;             /* products that TFL_BIAS_LAST sums by themselves */
    bool hybrid;
    bool delegated; /* hybrid: XNNPACK takes this operator */
};

/* Packs constant weights (input 1) and float biases; for rows of operators. */
int tfl_weights_prepare(const struct op_prep *p, void **state, struct err *err);
void tfl_weights_release(void *state);

/* Checks types, scales and bias of a layer, reads its activation. tfl_product_fini() in any case.
 */
int tfl_product_init(struct tfl_product *p, const struct op_call *c, int64_t filters, int64_t depth,
                     const struct tfl_roundings *how, struct err *err);
void tfl_product_fini(struct tfl_product *p);
/* Tells how many rows the product has, before it runs: the built-in kernels sum single ones in
 * another order. */
void tfl_product_rows_are(struct tfl_product *p, int64_t rows);
float tfl_weight_scale(const struct tfl_product *p, int64_t o);
/* Codes [at, at+n) less the zero point; they fit: 16-bit ones have zero point 0. */
void tfl_widen(const struct tensor *t, size_t at, size_t n, int32_t z, int16_t *dst);
/* Codes of n floats of a hybrid layer, zero point taken off; returns their scale. */
float tfl_quantize_row(const struct tfl_product *p, const float *x, size_t n, int16_t *q);
/* Bias of filter o of an integer layer. */
int64_t tfl_bias_at(const struct tfl_product *p, int64_t o);
/* The sum of filter o with bias and activation, as a code or a float. */
int32_t tfl_finish_code(const struct tfl_product *p, int64_t o, int64_t acc);
float tfl_finish_float(const struct tfl_product *p, int64_t o, float v);
/* A float sum of filter o before its first product, and what follows its last one. */
float tfl_sum_start(const struct tfl_product *p, int64_t o);
float tfl_sum_end(const struct tfl_product *p, int64_t o, float v);
static inline float tfl_sum_add(const struct tfl_product *p, float sum, float x, float w)
{
    return p->sum == TFL_FUSED ? fmaf(x, w, sum) : sum + x * w;
}
/* `rows` gathered rows times all filters, into y (codes: into elements from `at` on). */
void tfl_product_codes(const struct tfl_product *p, const int16_t *x, int64_t rows,
                       struct tensor *y, size_t at);
void tfl_product_float(const struct tfl_product *p, const float *x, int64_t rows, float *y);
void tfl_product_hybrid(const struct tfl_product *p, const int16_t *x, int64_t rows, float s,
                        float *y);
/* Rows that follow each other in the input, each with parameters of its own when hybrid; line: one
 * row of room. */
void tfl_product_rows(const struct tfl_product *p, int64_t rows, int16_t *line, struct tensor *y);

/* tfl_sum_end() of n sums of filters o0, o0 + 1, ... to y, which may be the sums themselves. */
void tfl_out_floats(const struct tfl_product *p, const float *sum, size_t o0, size_t n, float *y);

#endif
