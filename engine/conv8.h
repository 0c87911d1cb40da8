/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * conv8.h: private to engine/: integer convolutions of channels-last images in one and two spatial
 * dimensions: dense and grouped ones as products of gathered rows (gemm8.h), depthwise ones tap by
 * tap. Whose operator it is, and what its parameters mean, is the caller's affair.
 */
#ifndef ENGINE_CONV8_H
#define ENGINE_CONV8_H

#include "engine/conv_shape.h"
#include "engine/gemm8.h"

/* Weights as they come: weight (o, c, t) at data[o * by_o + c * by_c + t * by_t], where c is a
 * channel of the group and t = ky * kw + kx. */
struct conv8_weights {
    const void *data;
    enum dtype dtype; /* U8 or S8 */
    size_t g, o, cg, kh, kw;
    size_t by_o, by_c, by_t;
    const int32_t *zero; /* one per output channel */
};

/* Packed weights. Parameters of output channels are arrays of `total`, in the order of the packed
 * ones. */
struct conv8_filter {
    bool depthwise;
    size_t g, o, k; /* k: products of one output */
    size_t total;
    struct gemm8_right right;   /* unless depthwise */
    struct depthwise_filter dw; /* if depthwise */
    /* With weights packed as w' = w - shift: sum of w', and zw - shift, per output channel. */
    int32_t *sum, *zero;
};
int conv8_filter_new(const struct conv8_weights *w, struct conv8_filter **out, struct err *err);
void conv8_filter_free(struct conv8_filter *f);
/* Slot of a tap of a depthwise filter, see struct depthwise_filter. */
size_t conv8_slot(size_t kh, size_t kw, size_t ky, size_t kx);

/* Parameters of results, arrays of filter->total. */
struct conv8_params {
    int32_t *add; /* what sums of codes start with: bias and zero points */
    int32_t *mul; /* NULL, or what a row's sum of codes is multiplied with */
    float *scale;
};
/* Allocates; fills add and mul from the zero point of the input as u8 code (zx + 128 for s8) and
 * the bias (o values or NULL): sum (x - zx)(w - zw) = add + sum x w' + mul sum x. */
int conv8_params_init(struct conv8_params *p, const struct conv8_filter *f, int32_t zx,
                      const int32_t *bias, struct err *err);
/* Sets the scale of output channel o; for all of them, in order. */
void conv8_params_scale(struct conv8_params *p, const struct conv8_filter *f, size_t o, float s);
void conv8_params_fini(struct conv8_params *p);

struct conv8 {
    const struct int8_kernels *kernels;
    struct conv_shape s;
    const struct conv8_filter *filter;
    const struct conv8_params *params;
    const uint8_t *x;     /* [n][h][w][c] */
    uint8_t flip;         /* 0x80 for s8 input */
    uint8_t zero;         /* what padding holds, as u8 code */
    struct finish finish; /* without scale and mul, which params has */
    void *y;              /* [n][oh][ow][o] */
};
int conv8_run(const struct conv8 *c, struct par *par, struct err *err);

#endif
