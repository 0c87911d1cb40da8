/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * test_twins.c: every operator on codes that has a fast kernel, in all its rows, against the plain
 * one: random shapes (odd, 1, padded, strided, dilated, grouped, empty), scales that make ties, any
 * zero points; on every instruction set of this machine, with weights packed before and not, with
 * one thread and several, in both orders of elements, and image by image instead of all at once.
 * Equal to the bit in every case. What values are right is checked elsewhere (test_int8.c,
 * test_nodes.c, oracle/).
 */
#include "tests/op_fixture.h"

#include <stdlib.h>

#include "engine/fuse.h"
#include "engine/kernel_f32.h"
#include "engine/kernel_int8.h"
#include "engine/op_quant.h"

static const char ms[] = "com.microsoft";

/* ---- Random material ------------------------------------------------------------------------ */

static struct tensor *new_tensor(enum dtype d, int rank, const int64_t *dims)
{
    struct tensor *t = NULL;
    assert_int_equal(tensor_new(d, rank, dims, NULL, &t, NULL), OK);
    return t;
}

static struct tensor *codes(enum dtype d, int rank, const int64_t *dims)
{
    struct tensor *t = new_tensor(d, rank, dims);
    for (size_t i = 0; i < t->n; i++) {
        ((uint8_t *)t->data)[i] = (uint8_t)random_bits();
    }
    return t;
}

static enum dtype code_type(void)
{
    return random_int(0, 1) ? DT_U8 : DT_S8;
}

/* Powers of two, small multiples of them, so that sums fall between two codes; and anything. */
static struct tensor *scales(int64_t n, float times)
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
static struct tensor *zeros(enum dtype d, int64_t n)
{
    struct tensor *t = new_tensor(d, n == 1 ? 0 : 1, &n);
    const int64_t kind = random_int(0, 2);
    for (size_t i = 0; i < t->n; i++) {
        const uint8_t middle = d == DT_U8 ? 128 : 0;
        ((uint8_t *)t->data)[i] = kind == 0 ? 0 : kind == 1 ? middle : (uint8_t)random_bits();
    }
    return t;
}

static struct tensor *sums(int rank, const int64_t *dims)
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
static void weight(struct fixture *f, struct tensor *t)
{
    fixture_input(f, t, random_int(0, 2) != 0);
}

static void constant(struct fixture *f, struct tensor *t)
{
    fixture_input(f, t, true);
}

static void parameters(struct fixture *f, enum dtype d, float times)
{
    constant(f, scales(1, times));
    constant(f, zeros(d, 1));
}

/* Whether weights must be signed: pairs of products saturate for u8 by s8. */
static enum dtype weight_type(const struct fixture *f)
{
    const bool pairs = strcmp(f->node->domain, fuse_pairs_domain) == 0;
    return pairs || strcmp(f->node->domain, fuse_tensorrt_domain) == 0 ? DT_S8 : code_type();
}

static bool is_nhwc(const struct fixture *f)
{
    return strcmp(f->node->domain, fuse_nhwc_domain) == 0 ||
           strcmp(f->node->op, "NhwcMaxPool") == 0;
}

/* Strides, dilations and pads for a kernel of n dimensions; in gets sizes that it fits into, at
 * most `more` larger. */
static void windows(struct fixture *f, size_t n, const int64_t *kernel, bool dilated, int64_t more,
                    int64_t *in)
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
static int conv_shapes(struct fixture *f, int64_t x[4], int64_t w[4])
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
static struct tensor *image(const struct fixture *f, enum dtype d, int rank, const int64_t *x)
{
    int64_t last[4] = {x[0]};
    memcpy(last + 1, x + 2, (size_t)(rank - 2) * sizeof *last);
    last[rank - 1] = x[1];
    return codes(d, rank, is_nhwc(f) ? last : x);
}

/* (x, sx, zx, w, sw, zw, sy, zy, bias?) */
static void make_qlinear_conv(struct fixture *f)
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
static void make_conv_integer(struct fixture *f)
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
static void make_mlas_conv(struct fixture *f)
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
static void tensorrt_inputs(struct fixture *f, int rank, const int64_t *w, int64_t channels,
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

static void make_tensorrt_conv(struct fixture *f)
{
    int64_t x[4], w[4];
    const int rank = conv_shapes(f, x, w);
    fixture_input(f, codes(DT_S8, rank, x), false);
    tensorrt_inputs(f, rank, w, w[0], NULL);
}

static void make_tensorrt_product(struct fixture *f)
{
    const int64_t a[] = {random_int(0, 9) ? random_int(1, 20) : 0, random_int(1, 70)};
    const int64_t n = random_int(1, 110), w[] = {a[1], n}, y[] = {a[0], n};
    fixture_input(f, codes(DT_S8, 2, a), false);
    tensorrt_inputs(f, 2, w, n, random_int(0, 1) ? random_tensor(2, y, -9, 9) : NULL);
}

/* Shapes of a product: rows, or matrices that share or do not share the right side. k may be 0. */
static void product_shapes(int64_t a[3], int64_t b[3], int *rank_a, int *rank_b)
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
static void make_qlinear_matmul(struct fixture *f)
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
static void make_matmul_integer(struct fixture *f)
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
static void make_matmul_to_float(struct fixture *f)
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
static void make_qgemm(struct fixture *f)
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
static void make_binary(struct fixture *f)
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
static void make_pool(struct fixture *f)
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

static void make_global_pool(struct fixture *f)
{
    const int64_t x[] = {random_int(1, 3), random_int(1, 40), random_int(1, 20), random_int(1, 20)};
    const enum dtype d = code_type();
    fixture_input(f, image(f, d, 4, x), false);
    parameters(f, d, 1);
    parameters(f, d, 1);
    graph_attr_int(f->g, f->node, "channels_last", is_nhwc(f));
}

/* A shape of 1 to 4 dimensions. */
static int any_shape(int64_t *dims)
{
    const int rank = (int)random_int(1, 4);
    for (int i = 0; i < rank; i++) {
        dims[i] = random_int(i ? 1 : 0, i == 0 ? 3 : 20);
    }
    return rank;
}

/* (x, s, z): one scale, or one per channel; halfway values among the reals */
static void make_quantize(struct fixture *f)
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

static void make_dequantize(struct fixture *f)
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
static void make_map(struct fixture *f)
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
static void make_concat(struct fixture *f)
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
static void make_where(struct fixture *f)
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

/* ---- Rows ------------------------------------------------------------------------------------ */

/* Every row of an operator table that has a fast kernel, and those that take either order with
 * their plain one, but for the float ones of ai.onnx (test_op.c) and TensorFlow Lite
 * (test_tfl_twins.c). */
static const struct twin {
    const char *domain, *op;
    void (*make)(struct fixture *f);
} twins[] = {
    {"", "QLinearConv", make_qlinear_conv},
    {ms, "QLinearConv", make_qlinear_conv},
    {fuse_nhwc_domain, "QLinearConv", make_qlinear_conv},
    {fuse_exact_domain, "QLinearConv", make_qlinear_conv},
    {fuse_pairs_domain, "QLinearConv", make_qlinear_conv},
    {fuse_tensorrt_domain, "Conv", make_tensorrt_conv},
    {fuse_mlas_domain, "Conv", make_mlas_conv},
    {"", "ConvInteger", make_conv_integer},
    {fuse_pairs_domain, "ConvInteger", make_conv_integer},
    {"", "QLinearMatMul", make_qlinear_matmul},
    {fuse_exact_domain, "QLinearMatMul", make_qlinear_matmul},
    {fuse_pairs_domain, "QLinearMatMul", make_qlinear_matmul},
    {fuse_tensorrt_domain, "MatMul", make_tensorrt_product},
    {fuse_tensorrt_domain, "Gemm", make_tensorrt_product},
    {"", "MatMulInteger", make_matmul_integer},
    {fuse_pairs_domain, "MatMulInteger", make_matmul_integer},
    {ms, "MatMulIntegerToFloat", make_matmul_to_float},
    {fuse_pairs_domain, "MatMulIntegerToFloat", make_matmul_to_float},
    {ms, "QGemm", make_qgemm},
    {fuse_exact_domain, "QGemm", make_qgemm},
    {fuse_pairs_domain, "QGemm", make_qgemm},
    {ms, "QLinearAdd", make_binary},
    {ms, "QLinearMul", make_binary},
    {ms, "QLinearWhere", make_where},
    {ms, "QLinearConcat", make_concat},
    {ms, "QLinearSigmoid", make_map},
    {ms, "QLinearLeakyRelu", make_map},
    {"", "QuantizeLinear", make_quantize},
    {ms, "QuantizeLinear", make_quantize},
    {"", "DequantizeLinear", make_dequantize},
    {ms, "DequantizeLinear", make_dequantize},
    {ms, "QLinearAveragePool", make_pool},
    {ms, "QLinearGlobalAveragePool", make_global_pool},
    {fuse_nhwc_domain, "QLinearAveragePool", make_pool},
    {fuse_nhwc_domain, "QLinearGlobalAveragePool", make_global_pool},
    {ms, "NhwcMaxPool", make_pool},
};

static void want_twin(void *ctx, const char *domain, const char *name, int since, const char *spec,
                      bool fast)
{
    (void)ctx;
    (void)since;
    (void)spec;
    const bool codes = domain[0] || strncmp(name, "QLinear", 7) == 0 || strstr(name, "Integer") ||
                       strstr(name, "Quantize") || strstr(name, "Dequantize");
    bool found = !fast || !codes || strcmp(domain, "tflite") == 0; /* in test_tfl_twins.c */
    for (size_t i = 0; i < COUNT(twins); i++) {
        found = found || (strcmp(twins[i].domain, domain) == 0 && strcmp(twins[i].op, name) == 0);
    }
    if (!found) {
        fail_msg("operator '%s' of domain '%s' has a fast kernel but no case", name, domain);
    }
}

static void every_fast_kernel_has_a_case(void **state)
{
    (void)state;
    op_each(want_twin, NULL);
}

/* ---- Comparing ------------------------------------------------------------------------------ */

static struct fixture make(const struct twin *t)
{
    struct fixture f = fixture_new(t->op, 13);
    f.node->domain = t->domain;
    f.g->opset_ms = 1;
    t->make(&f);
    return f;
}

static void want_equal(const struct twin *t, const struct tensor *a, const struct tensor *b,
                       const char *how)
{
    if (!tensor_equal(a, b)) {
        fail_msg("%s of '%s': not as the plain kernel %s", t->op, t->domain, how);
    }
}

static void must_run(const struct twin *t, struct fixture *f, enum kernels kernels, struct par *par,
                     struct tensor **out)
{
    struct err err = {0};
    if (fixture_run_on(f, kernels, par, out, &err)) {
        fail_msg("%s of '%s': %s", t->op, t->domain, err.text);
    }
}

static const struct tensor *constant_of(const struct fixture *f, int input)
{
    const struct node *n = &f->g->nodes[0]; /* f->node is gone once the graph was sorted */
    const int v = input < n->n_in ? n->in[input] : -1;
    return v >= 0 ? f->g->values[v].constant : NULL;
}

/* Whether only input 0 carries a batch: no stack of right matrices, no residual, no bias by row. */
static bool is_batched(const struct fixture *f)
{
    const struct node *n = &f->g->nodes[0];
    if (strcmp(n->op, "QLinearConcat") == 0) {
        return false;
    }
    if (strcmp(n->op, "QGemm") == 0) {
        const struct tensor *bias = constant_of(f, 6);
        return !attr_int(n, "transA", 0) && (!bias || bias->dims[0] == 1);
    }
    const struct tensor *w = constant_of(f, strncmp(n->op, "MatMulInteger", 13) == 0 ? 1 : 3);
    w = w || f->n_in < 2 ? w : f->in[1];
    return !constant_of(f, 9) && (!strstr(n->op, "MatMul") || w->rank == 2);
}

/* One image, or row, after the other. */
static void compare_parts(const struct twin *t, struct fixture *f, const struct tensor *whole)
{
    struct tensor *x = f->in[0];
    const bool batched = is_batched(f);
    for (int64_t i = 0; i < (batched ? x->dims[0] : 0); i++) {
        struct tensor *got = NULL, *want = batch_slice(whole, i);
        f->in[0] = batch_slice(x, i);
        must_run(t, f, KERNELS_FAST, NULL, &got);
        want_equal(t, got, want, "does for one image of several");
        tensor_free(f->in[0]);
        tensor_free(got);
        tensor_free(want);
    }
    f->in[0] = x;
}

/* Activations that already have their channels last. */
static void compare_last(const struct twin *t, struct fixture *f, const struct tensor *want)
{
    struct tensor *rows = f->in[0], *got = NULL;
    if (rows->rank >= 3) {
        assert_int_equal(tensor_as(rows, true, NULL, &f->in[0], NULL), OK);
        must_run(t, f, KERNELS_FAST, NULL, &got);
        want_equal(t, got, want, "with channels last");
        tensor_free(got);
        tensor_free(f->in[0]);
        f->in[0] = rows;
    }
}

static void compare_twin(const struct twin *t, struct par *par)
{
    static const char *const isas[] = {"plain", "avx2", "vnni", "amx"};
    static const char *const float_isas[COUNT(isas)] = {"plain", "avx2", "avx512", "avx512"};
    struct fixture f = make(t);
    struct tensor *want = NULL, *got = NULL;
    must_run(t, &f, KERNELS_PLAIN, NULL, &want);
    for (size_t i = 0; i < COUNT(isas); i++) {
        const struct int8_kernels *k = kernel_int8_isa(isas[i]);
        if (k) {
            kernel_int8_force(k);
            kernel_f32_force(kernel_f32_isa(float_isas[i]));
            must_run(t, &f, KERNELS_FAST, NULL, &got);
            want_equal(t, got, want, isas[i]);
            tensor_free(got);
            got = NULL;
        }
    }
    kernel_int8_force(NULL);
    kernel_f32_force(NULL);
    must_run(t, &f, KERNELS_FAST, par, &got);
    want_equal(t, got, want, "by three threads");
    compare_parts(t, &f, got);
    compare_last(t, &f, got);
    tensor_free(got);
    tensor_free(want);
    fixture_free(&f);
}

static void fast_equals_plain(void **state)
{
    (void)state;
    struct par *par = par_new(3);
    for (size_t i = 0; i < COUNT(twins); i++) {
        for (int round = 0; round < 200; round++) {
            compare_twin(&twins[i], par);
        }
    }
    par_free(par);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_fast_kernel_has_a_case),
        cmocka_unit_test(fast_equals_plain),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
