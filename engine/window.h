/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * window.h: private to engine/: the geometry shared by everything that slides a kernel over an
 * image: convolutions and pools, float and integer.
 */
#ifndef ENGINE_WINDOW_H
#define ENGINE_WINDOW_H

#include "engine/op.h"

enum { WINDOW_RANK = 3 }; /* spatial dimensions: d h w */

/* Always WINDOW_RANK entries; missing leading dimensions are 1 with kernel 1, stride 1, padding 0,
 * so a kernel is one loop nest for 1-D, 2-D and 3-D. */
struct window {
    int rank; /* spatial dimensions of the tensors: 1, 2 or 3 */
    int64_t n, c;
    int64_t in[WINDOW_RANK], k[WINDOW_RANK], s[WINDOW_RANK], d[WINDOW_RANK];
    int64_t lo[WINDOW_RANK], hi[WINDOW_RANK]; /* padding before and after */
    int64_t out[WINDOW_RANK];
    int64_t in_n, k_n, out_n; /* products */
};

/* Reads strides, dilations, pads and auto_pad of a node against input x [n,c,(d,h),w] and fills
 * in `out`: floor or ceil (attribute ceil_mode) of (in + lo + hi - (k-1)*d - 1) / s + 1. With
 * ceil_mode a last window that would start in the padding behind the image is dropped.
 * `kernel`: spatial kernel dimensions of the weights (x->rank - 2 of them; a kernel_shape attribute
 * must agree), or NULL: from kernel_shape. E_SHAPE for a geometry that does not fit. */
int window_read(const struct op_call *c, const struct tensor *x, const int64_t *kernel,
                struct window *w, struct err *err);
/* The same for ConvTranspose: out = (in - 1)*s + output_padding + (k-1)*d + 1 - lo - hi, or given
 * by output_shape and the padding from it. */
int window_read_transposed(const struct op_call *c, const struct tensor *x, const int64_t *kernel,
                           struct window *w, struct err *err);
/* Output dims [n, channels, out...] for op_out(); returns the rank. */
int window_dims(const struct window *w, int64_t channels, int64_t *dims);
/* Whether one unpadded window covers the whole image. */
static inline bool window_is_whole(const struct window *w)
{
    for (int a = 0; a < WINDOW_RANK; a++) {
        if (w->k[a] != w->in[a] || w->lo[a] || w->hi[a]) {
            return false;
        }
    }
    return true;
}
/* First and one past the last kernel position along dimension `a` that lies inside the input for
 * output position o. */
static inline void window_clip(const struct window *w, int a, int64_t o, int64_t *k0, int64_t *k1)
{
    const int64_t start = o * w->s[a] - w->lo[a];
    const int64_t room = w->in[a] - start; /* input elements from the window's start on */
    *k0 = start < 0 ? (-start + w->d[a] - 1) / w->d[a] : 0;
    *k1 = room <= 0 ? 0 : MIN(w->k[a], (room + w->d[a] - 1) / w->d[a]);
    *k0 = MIN(*k0, *k1);
}
/* The other way round, along the last dimension: output positions [*o0, *o1) of a row whose input
 * element o*s + k*d - lo exists for kernel position k. */
static inline void window_row(const struct window *w, int64_t k, int64_t *o0, int64_t *o1)
{
    const int a = WINDOW_RANK - 1;
    const int64_t off = k * w->d[a] - w->lo[a], last = w->in[a] - 1 - off; /* o*s <= last */
    *o0 = off < 0 ? (-off + w->s[a] - 1) / w->s[a] : 0;
    *o1 = last < 0 ? 0 : MIN(w->out[a], last / w->s[a] + 1);
}

#endif
