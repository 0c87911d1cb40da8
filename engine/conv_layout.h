/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * conv_layout.h: private to engine/: how the convolutions with kernels of their own (op_qconv.c,
 * op_mlas.c) read their input, in one and two spatial dimensions. No im2col: planes are laid out
 * once with their padding, split by stride phase, so that every filter tap reads consecutive
 * pixels. Output pixels are numbered along rows of the padded width `pitch`: the "virtual" pixel
 * p = oy * pitch + ox finds the input of tap t at off[t] + p, whatever the stride, padding and
 * dilation. Virtual pixels with ox >= ow are computed and dropped.
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

/* The planes of one image and group: [blocks of channels][phase y][phase x][rows][pitch][lanes]. */
struct conv_layout {
    struct conv_shape s;
    size_t size;        /* bytes of an element: 1 or 4 */
    size_t lanes;       /* channels interleaved: 4 (of bytes) or 1 */
    size_t blocks;      /* channels of a group in units of lanes, rounded up */
    size_t py, px;      /* stride phases that some tap uses */
    size_t rows, pitch; /* of one phase; pitch in pixels */
    size_t block;       /* bytes of one block */
    size_t pixels;      /* virtual output pixels */
    uint8_t flip;       /* for bytes: taken by xor with every element */
    uint8_t zero;       /* for bytes: what padding holds. Floats are padded with 0 */
    uint8_t *data;      /* 256 bytes and more may be read behind the last pixel */
    uint8_t *line;      /* private: rows on their way into the planes */
    size_t *off;        /* bytes from a virtual pixel to its input for each tap */
};

/* Allocates for one group. off[] gets block, ky, kx in this order, then zeros up to n_off. */
int conv_layout_init(struct conv_layout *l, const struct conv_shape *s, size_t size, size_t lanes,
                     size_t n_off, struct err *err);
void conv_layout_fini(struct conv_layout *l);
/* Lays out the channels of one group; x: its first plane. */
void conv_layout_fill(const struct conv_layout *l, const void *x);

/* Consecutive virtual pixels that are real ones: columns [from, from + n) go to pixel `to`. */
struct conv_piece {
    size_t from, n, to;
};
/* Pieces of the virtual pixels [p0, p0 + cols); at most cols of them. */
size_t conv_pieces(const struct conv_layout *l, size_t p0, size_t cols, struct conv_piece *out);

#endif
