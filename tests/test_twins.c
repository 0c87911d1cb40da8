/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * test_twins.c: every operator on codes that has a fast kernel, in all its rows, against the plain
 * one: random shapes (odd, 1, padded, strided, dilated, grouped, empty), scales that make ties, any
 * zero points; on every instruction set of this machine, with weights packed before and not, with
 * one thread and several, in both orders of elements, and image by image instead of all at once.
 * Equal to the bit in every case. What values are right is checked elsewhere (test_int8.c,
 * test_nodes.c, oracle/). The cases are made in twin_cases.h.
 */
#include "tests/twin_cases.h"

#include <stdlib.h>

#include "engine/kernel_f32.h"
#include "engine/kernel_int8.h"

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
