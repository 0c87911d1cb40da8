/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * int_layer.h: private to engine/: a convolution or matrix product of integers as dot products,
 * one at a time, in the order in which runtimes pack them. Slow and transparent: for inspecting
 * sums and for hazards, not for running models.
 */
#ifndef ENGINE_INT_LAYER_H
#define ENGINE_INT_LAYER_H

#include "engine/conv_shape.h"
#include "engine/op_quant.h"

/* Output (set, vec, out) is the dot product of left vector (set, vec) with right vector
 * (set, out). A set is an image and group of a convolution, or a matrix of a batch. */
struct int_layer {
    const struct tensor *x, *w, *bias; /* bias NULL or int32 */
    const struct tensor *sw, *zw;      /* NULL, one value, or one per output channel */
    float sx;                          /* alpha included; unset without scales */
    int32_t zx;                        /* of the codes as left() gives them, always u8 */
    bool has_scales, requantizes;
    struct q1 y;  /* of the result when it requantizes */
    uint8_t flip; /* s8 input codes are taken as u8, 128 higher */
    size_t sets, vecs, outs, k;
    size_t channels; /* output channels over all groups */
    /* private: */
    bool is_conv, ta, tb;
    struct conv_shape g;
    int batch_rank;
    size_t step_x[MAX_RANK], step_w[MAX_RANK];
    int64_t batch[MAX_RANK];
};

/* One output: its sum in 64 bits, bias included, and the pairs of products beyond 16 bits in it. */
struct int_sum {
    int64_t acc;
    uint64_t pairs;
};
/* Is shown each sum of a layer with the result y of the ordinary kernel, element `at`. */
struct sum_visitor {
    int (*open)(void *ctx, const struct int_layer *l, struct err *err);
    void (*sum)(void *ctx, const struct int_layer *l, size_t channel, const struct int_sum *s,
                const struct tensor *y, size_t at);
    void *ctx;
};
struct plan;
/* Computes an integer layer again from inputs taken in a run (NULL: constants); accumulate.c. */
int plan_visit_sums(const struct plan *p, int node, const struct tensor *const *in,
                    const struct sum_visitor *visit, struct err *err);

/* Whether the operator is one of those. */
bool int_layer_is(const struct node *n);
/* c: the call that made the result y; a kernel has accepted it. */
int int_layer_open(const struct op_call *c, const struct tensor *y, struct int_layer *l,
                   struct err *err);
/* Writes the k codes of a vector: convolutions in the order ky, kx, channel, padding as zx. */
void int_layer_left(const struct int_layer *l, size_t set, size_t vec, uint8_t *dst);
void int_layer_right(const struct int_layer *l, size_t set, size_t out, uint8_t *dst);
/* Where the output stands in the result, its channel, and what bias adds to it. */
size_t int_layer_at(const struct int_layer *l, size_t set, size_t vec, size_t out);
size_t int_layer_channel(const struct int_layer *l, size_t set, size_t out);
int32_t int_layer_bias(const struct int_layer *l, size_t set, size_t vec, size_t out);
/* (sx * sw) / sy of a channel, in float as the runtime rounds it; 1 without scales. */
float int_layer_scale(const struct int_layer *l, size_t channel);

#endif
