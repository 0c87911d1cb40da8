/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * twin_cases.h: random cases of operators on codes, for test_twins.c: odd shapes, scales that make
 * ties, any zero points.
 */
#ifndef TESTS_TWIN_CASES_H
#define TESTS_TWIN_CASES_H

#include "tests/op_fixture.h"

#include "engine/fuse.h"
#include "engine/op_quant.h"

static const char ms[] = "com.microsoft";

/* ---- Random material ------------------------------------------------------------------------ */

static inline struct tensor *new_tensor(enum dtype d, int rank, const int64_t *dims)
{
    struct tensor *t = NULL;
    assert_int_equal(tensor_new(d, rank, dims, NULL, &t, NULL), OK);
    return t;
}

static inline struct tensor *codes(enum dtype d, int rank, const int64_t *dims)
{
    struct tensor *t = new_tensor(d, rank, dims);
    for (size_t i = 0; i < t->n; i++) {
        ((uint8_t *)t->data)[i] = (uint8_t)random_bits();
    }
    return t;
}

static inline enum dtype code_type(void)
{
    return random_int(0, 1) ? DT_U8 : DT_S8;
}

/* Powers of two, small multiples of them, so that sums fall between two codes; and anything. */
static inline struct tensor *scales(int64_t n, float times)
{
    static const float of_two[] = {1, 1, 3, 5, 0.7F};
    struct tensor *t = new_tensor(DT_F32, n == 1 ? 0 : 1, &n);
    for (size_t i = 0; i < t->n; i++) {
        float s = times / (float)(1 << random_int(2, 8));
        ((float *)t->data)[i] = random_int(0, 2) ? s * of_two[random_int(0, 4)]
                                                 : s * (1 + (float)random_int(0, 9999) / 10000);
    }
    return t;
}

/* 0, the middle, or anywhere. */
static inline struct tensor *zeros(enum dtype d, int64_t n)
{
    struct tensor *t = new_tensor(d, n == 1 ? 0 : 1, &n);
    const int64_t kind = random_int(0, 2);
    for (size_t i = 0; i < t->n; i++) {
        const uint8_t middle = d == DT_U8 ? 128 : 0;
        ((uint8_t *)t->data)[i] = kind == 0 ? 0 : kind == 1 ? middle : (uint8_t)random_bits();
    }
    return t;
}

static inline struct tensor *sums(int rank, const int64_t *dims)
{
    struct tensor *t = new_tensor(DT_S32, rank, dims);
    for (size_t i = 0; i < t->n; i++) {
        /* Now and then so large that sums wrap. */
        ((int32_t *)t->data)[i] =
            random_int(0, 9) ? (int32_t)random_int(-20000, 20000) : (int32_t)random_bits();
    }
    return t;
}

/* ---- Makers: a random case of an operator; input 0 is fed, and is what carries the batch ------
 */

/* Weights and their like are mostly constants, which kernels pack beforehand. */
static inline void weight(struct fixture *f, struct tensor *t)
{
    fixture_input(f, t, random_int(0, 2) != 0);
}

static inline void constant(struct fixture *f, struct tensor *t)
{
    fixture_input(f, t, true);
}

static inline void parameters(struct fixture *f, enum dtype d, float times)
{
    constant(f, scales(1, times));
    constant(f, zeros(d, 1));
}

/* Whether weights must be signed: pairs of products saturate for u8 by s8. */
static inline enum dtype weight_type(const struct fixture *f)
{
    const bool pairs = strcmp(f->node->domain, fuse_pairs_domain) == 0;
    return pairs || strcmp(f->node->domain, fuse_tensorrt_domain) == 0 ? DT_S8 : code_type();
}

static inline bool is_nhwc(const struct fixture *f)
{
    return strcmp(f->node->domain, fuse_nhwc_domain) == 0 ||
           strcmp(f->node->op, "NhwcMaxPool") == 0;
}

/* Strides, dilations and pads for a kernel of n dimensions; in gets sizes that it fits into, at
 * most `more` larger. */
static inline void windows(struct fixture *f, size_t n, const int64_t *kernel, bool dilated,
                           int64_t more, int64_t *in)
{
    int64_t strides[2], dilations[2], pads[4];
    for (size_t a = 0; a < n; a++) {
        strides[a] = random_int(1, 3);
        dilations[a] = dilated ? random_int(1, 2) : 1;
        pads[a] = random_int(0, kernel[a] - 1);
        pads[n + a] = random_int(0, kernel[a] - 1);
        in[a] = (kernel[a] - 1) * dilations[a] + random_int(1, a ? more : MIN(more, 25));
    }
    graph_attr_ints(f->g, f->node, "strides", n, strides);
    graph_attr_ints(f->g, f->node, "pads", 2 * n, pads);
    if (dilated) {
        graph_attr_ints(f->g, f->node, "dilations", n, dilations);
    }
}

/* Dense, pointwise, grouped or depthwise; now and then no image at all, one spatial dimension, or
 * so many channels that kernels divide them and threads share them. x and w get the shapes, of the
 * rank returned. */
static inline int conv_shapes(struct fixture *f, int64_t x[4], int64_t w[4])
{
    enum { DENSE, POINTWISE, GROUPED, DEPTHWISE };
    const int64_t kind = random_int(0, 3);
    const bool wide = random_int(0, 15) == 0, depthwise = kind == DEPTHWISE;
    const int64_t groups = kind <= POINTWISE   ? 1
                           : wide && depthwise ? random_int(20, 150)
                                               : random_int(2, 5);
    const int64_t per = depthwise ? 1 : wide ? random_int(20, 80) : random_int(1, 9);
    const size_t spatial = random_int(0, 4) ? 2 : 1;
    w[0] = groups * (depthwise ? random_int(1, 2) : wide ? random_int(15, 90) : random_int(1, 19));
    w[1] = per;
    w[2] = kind == POINTWISE ? 1 : depthwise && random_int(0, 1) ? 3 : random_int(1, 4);
    w[3] = kind == POINTWISE ? 1 : depthwise && random_int(0, 1) ? 3 : random_int(1, 5);
    x[0] = random_int(0, 9) ? random_int(1, 3) : 0;
    x[1] = groups * per;
    windows(f, spatial, w + 2, true, wide ? 10 : 60, x + 2);
    graph_attr_int(f->g, f->node, "group", groups);
    return 2 + (int)spatial;
}

/* Codes of shape [n, c, spatial...], or with channels last where the operator has them so. */
static inline struct tensor *image(const struct fixture *f, enum dtype d, int rank,
                                   const int64_t *x)
{
    int64_t last[4] = {x[0]};
    memcpy(last + 1, x + 2, (size_t)(rank - 2) * sizeof *last);
    last[rank - 1] = x[1];
    return codes(d, rank, is_nhwc(f) ? last : x);
}

/* (x, sx, zx, w, sw, zw, sy, zy, bias?) */
static inline void make_qlinear_conv(struct fixture *f)
{
    int64_t x[4], w[4];
    const enum dtype d = code_type(), dw = weight_type(f);
    const int rank = conv_shapes(f, x, w);
    const bool per_channel = random_int(0, 1);
    fixture_input(f, image(f, d, rank, x), false);
    parameters(f, d, 1);
    weight(f, codes(dw, rank, w));
    constant(f, scales(per_channel ? w[0] : 1, 1));
    constant(f, zeros(dw, per_channel && random_int(0, 1) ? w[0] : 1));
    parameters(f, d, 64);
    if (random_int(0, 1)) {
        constant(f, sums(1, w));
    }
}

/* (x, w, zx?, zw?) */
static inline void make_conv_integer(struct fixture *f)
{
    int64_t x[4], w[4];
    const enum dtype d = code_type(), dw = weight_type(f);
    const int rank = conv_shapes(f, x, w);
    fixture_input(f, image(f, d, rank, x), false);
    weight(f, codes(dw, rank, w));
    if (random_int(0, 1)) {
        constant(f, zeros(d, 1));
        constant(f, zeros(dw, random_int(0, 1) ? w[0] : 1));
    }
}

/* (x, w, bias?) of floats whose sums have an order: equal bits */
static inline void make_mlas_conv(struct fixture *f)
{
    int64_t x[4], w[4];
    const int rank = conv_shapes(f, x, w);
    graph_attr_int(f->g, f->node, fuse_blocked_attr, random_int(BLOCKED_NEVER, BLOCKED_ALWAYS));
    graph_attr_int(f->g, f->node, fuse_opset_attr, 13);
    fixture_input(f, random_tensor(rank, x, -1, 1), false);
    struct tensor *filter = random_tensor(rank, w, -1, 1);
    const bool fixed = random_int(0, 2) != 0;
    fixture_input(f, fixed && random_int(0, 1) ? at_odd_address(filter) : filter, fixed);
    if (random_int(0, 1)) {
        constant(f, random_tensor(1, w, -1, 1));
    }
}

/* (x, sx, zx, w, sw, zw, sy?, zy?, bias?, residual?) of a product with `channels` results. */
static inline void tensorrt_inputs(struct fixture *f, int rank, const int64_t *w, int64_t channels,
                                   struct tensor *residual)
{
    const bool requantize = random_int(0, 1), per_channel = random_int(0, 1);
    constant(f, scales(1, 1));
    constant(f, NULL);
    weight(f, codes(DT_S8, rank, w));
    constant(f, scales(per_channel ? channels : 1, 1));
    constant(f, NULL);
    constant(f, requantize ? scales(1, 64) : NULL);
    constant(f, NULL);
    constant(f, random_int(0, 1) ? random_tensor(1, &channels, -9, 9) : NULL);
    constant(f, residual);
    graph_attr_int(f->g, f->node, "relu", random_int(0, 1));
}

static inline void make_tensorrt_conv(struct fixture *f)
{
    int64_t x[4], w[4];
    const int rank = conv_shapes(f, x, w);
    fixture_input(f, codes(DT_S8, rank, x), false);
    tensorrt_inputs(f, rank, w, w[0], NULL);
}

static inline void make_tensorrt_product(struct fixture *f)
{
    const int64_t a[] = {random_int(0, 9) ? random_int(1, 20) : 0, random_int(1, 70)};
    const int64_t n = random_int(1, 110), w[] = {a[1], n}, y[] = {a[0], n};
    fixture_input(f, codes(DT_S8, 2, a), false);
    tensorrt_inputs(f, 2, w, n, random_int(0, 1) ? random_tensor(2, y, -9, 9) : NULL);
}

/* Shapes of a product: rows, or matrices that share or do not share the right side. k may be 0. */
static inline void product_shapes(int64_t a[3], int64_t b[3], int *rank_a, int *rank_b)
{
    const int64_t m = random_int(0, 9) ? random_int(1, 20) : 0, k = random_int(0, 70);
    const int64_t n = random_int(1, 110), batch = random_int(1, 3);
    *rank_a = (int)random_int(2, 3);
    *rank_b = *rank_a == 3 ? (int)random_int(2, 3) : 2;
    a[0] = *rank_a == 3 ? batch : m;
    a[*rank_a - 2] = m;
    a[*rank_a - 1] = k;
    b[0] = batch;
    b[*rank_b - 2] = k;
    b[*rank_b - 1] = n;
}

/* (a, sa, za, b, sb, zb, sy, zy) */
static inline void make_qlinear_matmul(struct fixture *f)
{
    int64_t a[3], b[3];
    int rank_a, rank_b;
    const enum dtype d = code_type(), db = weight_type(f);
    product_shapes(a, b, &rank_a, &rank_b);
    const int64_t per = random_int(0, 1) ? b[rank_b - 1] : 1;
    fixture_input(f, codes(d, rank_a, a), false);
    parameters(f, d, 1);
    weight(f, codes(db, rank_b, b));
    constant(f, scales(per, 1));
    constant(f, zeros(db, per));
    parameters(f, d, 32);
}

/* (a, b, za?, zb?) */
static inline void make_matmul_integer(struct fixture *f)
{
    int64_t a[3], b[3];
    int rank_a, rank_b;
    const enum dtype d = code_type(), db = weight_type(f);
    product_shapes(a, b, &rank_a, &rank_b);
    fixture_input(f, codes(d, rank_a, a), false);
    weight(f, codes(db, rank_b, b));
    if (random_int(0, 1)) {
        constant(f, zeros(d, 1));
        constant(f, zeros(db, random_int(0, 1) ? b[rank_b - 1] : 1));
    }
}

/* (a, b, sa, sb, za?, zb?, bias?) */
static inline void make_matmul_to_float(struct fixture *f)
{
    int64_t a[3], b[3];
    int rank_a, rank_b;
    const enum dtype d = code_type(), db = weight_type(f);
    product_shapes(a, b, &rank_a, &rank_b);
    const int64_t n = b[rank_b - 1], per = random_int(0, 1) ? n : 1;
    fixture_input(f, codes(d, rank_a, a), false);
    weight(f, codes(db, rank_b, b));
    constant(f, scales(1, 1));
    constant(f, scales(per, 1));
    constant(f, zeros(d, 1));
    constant(f, zeros(db, per));
    if (random_int(0, 1) && strcmp(f->node->domain, ms) == 0) {
        constant(f, random_tensor(1, &n, -1, 1));
    }
}

/* (a, sa, za, b, sb, zb, bias?, sy?, zy?) */
static inline void make_qgemm(struct fixture *f)
{
    const int64_t m = random_int(0, 9) ? random_int(1, 20) : 0, k = random_int(1, 70);
    const int64_t n = random_int(1, 110), per = random_int(0, 1) ? n : 1;
    const bool ta = random_int(0, 1), tb = random_int(0, 1);
    const enum dtype d = code_type(), db = weight_type(f);
    const int64_t a[] = {ta ? k : m, ta ? m : k}, b[] = {tb ? n : k, tb ? k : n};
    const int64_t bias[] = {random_int(0, 2) ? 1 : m, random_int(0, 3) ? n : 1};
    graph_attr_int(f->g, f->node, "transA", ta);
    graph_attr_int(f->g, f->node, "transB", tb);
    graph_attr_float(f->g, f->node, "alpha", random_int(0, 1) ? 1 : 0.75F);
    fixture_input(f, codes(d, 2, a), false);
    parameters(f, d, 1);
    weight(f, codes(db, 2, b));
    constant(f, scales(per, 1));
    constant(f, zeros(db, per));
    constant(f, random_int(0, 1) ? sums(2, bias) : NULL);
    if (random_int(0, 1)) {
        parameters(f, d, 32);
    }
}

/* (a, sa, za, b, sb, zb, sy, zy) */
static inline void make_binary(struct fixture *f)
{
    const enum dtype d = code_type();
    const int64_t n = random_int(0, 9) ? random_int(1, 3) : 0, ch = random_int(1, 80);
    const int64_t w = random_int(1, 90);
    const int64_t a[] = {n, random_int(0, 5) ? ch : 1, random_int(0, 5) ? w : 1};
    const int64_t b[] = {1, random_int(0, 3) ? ch : 1, random_int(0, 3) ? w : 1};
    fixture_input(f, codes(d, 3, a), false);
    parameters(f, d, 1);
    weight(f, codes(d, 3, b));
    parameters(f, d, 1);
    parameters(f, d, 1);
    graph_attr_int(f->g, f->node, q1_as_u8, random_int(0, 1));
}

/* (x, sx, zx, sy, zy), or x alone */
static inline void make_pool(struct fixture *f)
{
    int64_t kernel[] = {random_int(1, 4), random_int(1, 4)}, x[4];
    const enum dtype d = code_type();
    const bool max = strcmp(f->node->op, "NhwcMaxPool") == 0;
    x[0] = random_int(0, 9) ? random_int(1, 3) : 0;
    x[1] = random_int(1, 40);
    windows(f, 2, kernel, max, 60, x + 2);
    graph_attr_ints(f->g, f->node, "kernel_shape", 2, kernel);
    fixture_input(f, image(f, d, 4, x), false);
    if (!max) {
        parameters(f, d, 1);
        parameters(f, d, 1);
    }
}

static inline void make_global_pool(struct fixture *f)
{
    const int64_t x[] = {random_int(1, 3), random_int(1, 40), random_int(1, 20), random_int(1, 20)};
    const enum dtype d = code_type();
    fixture_input(f, image(f, d, 4, x), false);
    parameters(f, d, 1);
    parameters(f, d, 1);
    graph_attr_int(f->g, f->node, "channels_last", is_nhwc(f));
}

/* A shape of 1 to 4 dimensions. */
static inline int any_shape(int64_t *dims)
{
    const int rank = (int)random_int(1, 4);
    for (int i = 0; i < rank; i++) {
        dims[i] = random_int(i ? 1 : 0, i == 0 ? 3 : 20);
    }
    return rank;
}

/* (x, s, z): one scale, or one per channel; halfway values among the reals */
static inline void make_quantize(struct fixture *f)
{
    int64_t dims[4];
    const int rank = any_shape(dims);
    const enum dtype d = code_type();
    const int64_t n = rank > 1 && random_int(0, 3) == 0 ? dims[1] : 1;
    struct tensor *x = random_tensor(rank, dims, -40, 40);
    for (size_t i = 0; i < x->n; i += 3) {
        ((float *)x->data)[i] = (float)random_int(-200, 200) / 16;
    }
    fixture_input(f, x, false);
    constant(f, scales(n, 1));
    constant(f, zeros(d, n));
}

static inline void make_dequantize(struct fixture *f)
{
    int64_t dims[4];
    const int rank = any_shape(dims);
    const enum dtype d = code_type();
    const int64_t n = rank > 1 && random_int(0, 3) == 0 ? dims[1] : 1;
    fixture_input(f, codes(d, rank, dims), false);
    constant(f, scales(n, 1));
    constant(f, zeros(d, n));
}

/* (x, sx, zx, sy, zy) */
static inline void make_map(struct fixture *f)
{
    int64_t dims[4];
    const int rank = any_shape(dims);
    const enum dtype d = code_type();
    fixture_input(f, codes(d, rank, dims), false);
    parameters(f, d, 1);
    parameters(f, d, 1);
    graph_attr_float(f->g, f->node, "alpha", 0.3F);
}

/* (sy, zy, then x, sx, zx of each part); one part is fed */
static inline void make_concat(struct fixture *f)
{
    const int64_t parts = random_int(1, 3), fed = random_int(0, parts - 1);
    const int64_t axis = random_int(0, 3), shape[] = {random_int(1, 2), random_int(1, 9),
                                                      random_int(1, 9), random_int(1, 9)};
    const enum dtype d = code_type();
    parameters(f, d, 1);
    for (int64_t i = 0; i < parts; i++) {
        int64_t dims[4];
        memcpy(dims, shape, sizeof dims);
        dims[axis] = random_int(i == fed, 70);
        fixture_input(f, codes(d, 4, dims), i != fed);
        parameters(f, d, 1);
    }
    graph_attr_int(f->g, f->node, "axis", axis);
}

/* (condition, x, sx, zx, y, sy, zy, sz, zz) */
static inline void make_where(struct fixture *f)
{
    const int64_t n = random_int(1, 3), ch = random_int(1, 20), w = random_int(1, 20);
    const int64_t cond[] = {n, random_int(0, 2) ? ch : 1, random_int(0, 2) ? w : 1};
    const int64_t x[] = {1, random_int(0, 2) ? ch : 1, random_int(0, 2) ? w : 1};
    const enum dtype d = code_type();
    struct tensor *c = new_tensor(DT_BOOL, 3, cond);
    for (size_t i = 0; i < c->n; i++) {
        ((uint8_t *)c->data)[i] = (uint8_t)random_int(0, 1);
    }
    fixture_input(f, c, false);
    constant(f, codes(d, 3, x));
    parameters(f, d, 1);
    constant(f, codes(d, 3, (int64_t[]){1, ch, 1}));
    parameters(f, d, 1);
    parameters(f, d, 1);
}

#endif
