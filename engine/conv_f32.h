/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * conv_f32.h: private to engine/: float32 convolutions with channels last, in 1, 2 and 3 spatial
 * dimensions.
 */
#ifndef ENGINE_CONV_F32_H
#define ENGINE_CONV_F32_H

#include "engine/kernel_f32.h"
#include "engine/window.h"

/* A checked call. Channels: group g reads ic inputs and writes oc outputs. */
struct conv {
    struct window w;
    int64_t groups, ic, oc;
    const struct tensor *x, *wt, *bias; /* bias may be NULL */
    size_t block;                       /* see struct f32_product; 0 for all but conv_dense */
};

/* table[i] = at + i * step for i < n: where neighbours lie. */
void conv_pointers(const float **table, const float *at, size_t step, size_t n);

/* Three ways, each with the weights [groups*oc, ic, k...], at any address, in a form of its own.
 * All compute y [n, out..., groups*oc] = conv(x [n, in..., groups*ic]) + bias in float32, x with
 * channels last unless conv_dense_copies(); y.pitch need not be set. They take some room from the
 * budget.
 */

/* Any convolution whose filter is of moderate size. */
bool conv_dense_fits(const struct window *w);
/* Room for the form, and how many pieces of it there are to fill, by any threads and in any order.
 * block: as in the calls to come; any where the filter is one pixel. */
int conv_dense_new(const struct tensor *w, int64_t groups, size_t block, void **form,
                   size_t *pieces, struct err *err);
void conv_dense_fill(void *form, const struct tensor *w, size_t piece);
/* Both. */
int conv_dense_pack(const struct tensor *w, int64_t groups, size_t block, void **form,
                    struct err *err);
void conv_dense_free(void *form);
/* Whether it reads x in either order: it makes a copy with padded rows anyway. */
bool conv_dense_copies(const struct conv *v);
int conv_dense_run(const struct conv *v, const void *form, struct f32_dest y, struct par *par,
                   struct budget *b, struct err *err);

/* 3x3 filters that move by single pixels, where this is faster. *finite false: some result is not,
 * and those around it may be wrong: use conv_dense_run(). */
bool conv_winograd_fits(const struct conv *v);
int conv_winograd_new(const struct tensor *w, void **form, size_t *pieces, struct err *err);
void conv_winograd_fill(void *form, const struct tensor *w, size_t piece);
void conv_winograd_free(void *form);
int conv_winograd_run(const struct conv *v, const void *form, struct f32_dest y, struct par *par,
                      struct budget *b, bool *finite, struct err *err);

/* Depthwise: ic and oc are 1. */
bool conv_depth_fits(const struct window *w);
int conv_depth_pack(const struct tensor *w, void **form, struct err *err);
void conv_depth_free(void *form);
int conv_depth_run(const struct conv *v, const void *form, struct f32_dest y, struct par *par,
                   struct budget *b, struct err *err);

#endif
