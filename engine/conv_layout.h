/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * conv_layout.h: private to engine/: dimensions of convolutions with kernels of their own in one
 * and two spatial dimensions, and how those of float planes (op_mlas.c) read their input. No
 * im2col: planes are laid out once with their padding, split by stride phase, so that every filter
 * tap reads consecutive pixels. Output pixels are numbered along rows of the padded width `pitch`:
 * the "virtual" pixel p = oy * pitch + ox finds the input of tap t at off[t] + p, whatever the
 * stride, padding and dilation. Virtual pixels with ox >= ow are computed and dropped.
 */
#ifndef ENGINE_CONV_LAYOUT_H
#define ENGINE_CONV_LAYOUT_H

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

/* The planes of one image and group: [channels][phase y][phase x][rows][pitch]. */
struct conv_layout {
    struct conv_shape s;
    size_t py, px;      /* stride phases that some tap uses */
    size_t rows, pitch; /* of one phase; pitch in pixels */
    size_t plane;       /* elements of one channel */
    size_t pixels;      /* virtual output pixels */
    float *data;        /* 256 bytes and more may be read behind the last pixel */
    size_t *off;        /* bytes from a virtual pixel to its input for each tap */
};

/* Allocates for one group. off[] gets channel, ky, kx in this order. */
int conv_layout_init(struct conv_layout *l, const struct conv_shape *s, struct err *err);
void conv_layout_fini(struct conv_layout *l);
/* Lays out the channels of one group; x: its first plane. */
void conv_layout_fill(const struct conv_layout *l, const float *x);

/* Consecutive virtual pixels that are real ones: columns [from, from + n) go to pixel `to`. */
struct conv_piece {
    size_t from, n, to;
};
/* Pieces of the virtual pixels [p0, p0 + cols); at most cols of them. */
size_t conv_pieces(const struct conv_layout *l, size_t p0, size_t cols, struct conv_piece *out);

#endif
