/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * conv_shape.h: private to engine/: dimensions of convolutions in one and two spatial dimensions.
 */
#ifndef ENGINE_CONV_SHAPE_H
#define ENGINE_CONV_SHAPE_H

#include "engine/op.h"

/* Dimensions of one convolution. */
struct conv_shape {
    int64_t n, c, h, w;    /* input; h is 1 in one dimension */
    int64_t o, cg, kh, kw; /* filter; cg input channels per group */
    int64_t g, sh, sw, dh, dw, pt, pl, pb, pr, oh, ow;
    int rank; /* of input and output */
    int64_t out[MAX_RANK];
};

/* Reads the attributes of a convolution of x with w and checks that all fits. */
int conv_shape_read(const struct op_call *c, const struct tensor *x, const struct tensor *w,
                    struct conv_shape *s, struct err *err);
/* A 1x1 filter that moves by single pixels and pads nothing. */
bool conv_is_pointwise(const struct conv_shape *s);

#endif
