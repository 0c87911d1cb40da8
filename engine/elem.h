/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * elem.h: private to engine/: elements of any numeric type as doubles or integers, and loops over
 * shapes with strides. This is what lets an operator be one loop instead of one per type: a block
 * is loaded, computed in double or int64, and stored (rounded once) in the tensor's own type.
 *
 * float16, bfloat16 and float32 sums, products, quotients and square roots computed in double and
 * rounded once are those of the type itself: 53 bits are more than twice 24 plus 2.
 */
#ifndef ENGINE_ELEM_H
#define ENGINE_ELEM_H

#include "engine/engine.h"

enum { ELEM_BLOCK = 256 }; /* elements that kernels load at a time; they stay in the L1 cache */

/* Whether an integer or bool type; neither float nor string. */
bool elem_is_int(enum dtype d);
/* Elements [at, at+n) as doubles or integers. Floats become integers by truncation (NaN: 0,
 * saturated to int64 first, then wrapped to the width of the target); integers wrap; uint64 goes
 * through int64 bit for bit; anything not 0 is true. Data may be unaligned. */
void elem_get_f64(const struct tensor *t, size_t at, size_t n, double *dst);
void elem_put_f64(struct tensor *t, size_t at, size_t n, const double *src);
void elem_get_s64(const struct tensor *t, size_t at, size_t n, int64_t *dst);
void elem_put_s64(struct tensor *t, size_t at, size_t n, const int64_t *src);
/* Double to int64 by truncation; saturates, NaN gives 0. */
int64_t elem_trunc(double v);
/* The whole tensor as DT_F64, or as DT_S64; one reference. */
int elem_to_f64(const struct tensor *t, struct budget *b, struct tensor **out, struct err *err);
int elem_to_s64(const struct tensor *t, struct budget *b, struct tensor **out, struct err *err);

/* y[i] = a[i] + b[i] and so on, of n floats. */
typedef void f32_pair_fn(size_t n, const float *restrict a, const float *restrict b,
                         float *restrict y);
f32_pair_fn elem_add_f32, elem_sub_f32, elem_mul_f32, elem_div_f32;
/* v[i] += bias[i], then act[i] = min(max(v[i], lo), hi). bias, act may be NULL: not done; act may
 * be v. */
void elem_finish_f32(size_t n, float *v, const float *bias, float lo, float hi, float *act);
/* y[i] = min(max(x[i], lo), hi), NaN stays NaN. */
void elem_clamp_f32(size_t n, const float *restrict x, float lo, float hi, float *restrict y);

/* ---- Walks: nested loops over one shape, an offset per operand ------------------------------ */
enum { WALK_MAX = 4 };
/* Fill rank, n, dims and stride, then walk_start(). The innermost loop is the caller's:
 *     if (walk_start(&w))
 *         do { w.dims[w.rank - 1] elements from w.at[k], w.stride[k][w.rank - 1] apart }
 *         while (walk_next(&w)); */
struct walk {
    int rank;
    int n; /* operands */
    int64_t dims[MAX_RANK];
    int64_t stride[WALK_MAX][MAX_RANK]; /* elements; 0 repeats, negative runs backwards */
    int64_t at[WALK_MAX];               /* offset of the innermost loop; set the start before */
    int64_t index[MAX_RANK];            /* private */
};
/* Merges neighbouring loops that every operand passes in one go; false when there is nothing to
 * do. rank is at least 1 afterwards. */
bool walk_start(struct walk *w);
bool walk_next(struct walk *w);
/* Elements in C order: the strides of a contiguous shape. */
void walk_strides(int rank, const int64_t *dims, int64_t *stride);
/* Elements from one index to the next along each dimension, as the tensor lies in memory. */
void elem_strides(const struct tensor *t, int64_t *stride);
/* Makes the loop over dimension 1 the innermost one; before walk_start(), rank >= 3. */
void walk_channels_last(struct walk *w);
/* Sets up operand 0 as the contiguous result of broadcasting in[0..n) (NumPy rules), operands
 * 1..n as those; *rank and dims (MAX_RANK) get the result's shape. n < WALK_MAX. */
int walk_broadcast(struct walk *w, int n, const struct tensor *const *in, int *rank, int64_t *dims,
                   struct err *err);
/* The same for a result with channels last, if it has rank >= 3, and inputs in any order. dims are
 * still those of the model; the loops are in the order of the result's elements. */
int walk_broadcast_last(struct walk *w, int n, const struct tensor *const *in, int *rank,
                        int64_t *dims, struct err *err);
/* Runs the walk copying operand 1 (src) to operand 0 (dst); size: bytes per element, 1 2 4 8. */
void walk_copy(struct walk *w, void *dst, const void *src, size_t size);
/* y[i, j, ...] = x[map[0][i], map[1][j], ...] for tensors of equal rank and type, whole elements. A
 * map is an s64 tensor with an entry per index of y, or NULL where y's index is x's; where an entry
 * is negative the element is *fill. y must have elements. */
void elem_copy_mapped(const struct tensor *x, struct tensor *y, struct tensor *const *map,
                      const void *fill);

#endif
