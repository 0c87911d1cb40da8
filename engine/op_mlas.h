/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * op_mlas.h: private to op_mlas*.c.
 */
#ifndef ENGINE_OP_MLAS_H
#define ENGINE_OP_MLAS_H

#include "engine/conv_f32.h"
#include "engine/conv_shape.h"
#include "engine/fuse.h"

/* Runs the ordinary operator of that name, whose sums have an order of their own. */
int mlas_run_ordinary(struct op_call *c, struct err *err);

/* ---- Convolutions --------------------------------------------------------------------------- */

enum mlas_sum {
    SUM_CHAIN,  /* fused multiply-adds in runs that start at 0 and then join the total */
    SUM_SINGLE, /* one output channel per group: products rounded and added in fours within each
                   run, then two, then one; each of these sums joins the total */
    SUM_PIXEL,  /* one output pixel: eight interleaved sums of rounded products */
    SUM_PLANE, /* one filter of one channel that is as wide as the image: the same for all pixels */
};

/* The order in which one output's products are summed: channels in blocks, ky, kx, channels of the
 * block. The bias comes last. */
struct mlas_order {
    enum mlas_sum sum;
    size_t block; /* channels */
    size_t run;   /* products */
    bool blocked; /* the layout for constant weights */
};

/* One call. */
struct mlas_conv {
    struct conv_shape s;
    struct mlas_order order;
    size_t k, taps; /* products per output; of a channel */
    const struct tensor *x, *w;
    const float *bias; /* NULL: none */
    struct tensor *y;
};

/* Two fast ways, channels last in and out. Each is given the weights in a form of conv_f32.h. */

/* SUM_CHAIN in the order channel, ky, kx of more than one tap: products are gathered first. form:
 * of conv_dense_pack() for filters of one pixel with k channels; v: the call; y: all of the output.
 */
int mlas_run_patches(const struct op_call *c, const struct mlas_conv *j, const struct conv *v,
                     const void *form, struct f32_dest y, struct err *err);
/* SUM_SINGLE of one filter per channel, of at most MLAS_FOURS products, without the bias; w:
 * [taps][channels]. */
enum { MLAS_FOURS = 512 };
int mlas_run_fours(const struct mlas_conv *j, const float *w, struct par *par, struct err *err);

/* ---- Products of matrices (mlas_matmul.c) -----------------------------------------------------
 */

/* Products that are summed before they join the total, for n columns of k products. */
size_t mlas_run_length(size_t n, size_t k);
/* Sum of n products in eight interleaved parts, for number o of `outs` results that are made of the
 * same x. */
float mlas_sum_lanes(const float *x, const float *w, size_t n, size_t o, size_t outs);

/* ---- Reductions (op_reduce.c) --------------------------------------------------------------- */

struct walk;
/* Which dimensions of input 0 a Reduce* node of that opset folds; makes output 0 with its shape. w:
 * a walk over the input (operand 1) and what it is folded into (operand 0). */
int reduce_start(struct op_call *c, int opset, bool *reduced, struct walk *w, struct err *err);

#endif
