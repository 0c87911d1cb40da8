/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * test_prepare.c: FP32 models made ready to be quantized: which sums, constants and normalizations
 * go into the layers before them and which stay, and that the model still computes the same.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "analysis/analysis.h"
#include "tests/graph_fixture.h"

/* ---- Graphs --------------------------------------------------------------------------------- */

/* Constants whose elements are i/8, 3i/8 and so on, cut to +-2. */
static void weights(struct graph *g, const char *name, int rank, const int64_t *dims)
{
    float v[128];
    size_t n = 1;
    for (int d = 0; d < rank; d++) {
        n *= (size_t)dims[d];
    }
    assert_true(n <= COUNT(v));
    for (size_t i = 0; i < n; i++) {
        v[i] = (float)((int)(i * 13 % 31) - 15) / 8;
    }
    constant(g, name, DT_F32, rank, dims, v);
}

static void run(const struct graph *g, const struct tensor *x, struct tensor **y)
{
    const struct plan_options o = {.numerics = NUM_ORT_UNFUSED, .reference = true};
    struct plan *p = NULL;
    struct err err = {0};
    if (plan_new(g, &o, &p, &err) || plan_run(p, &x, y, NULL, &err)) {
        fail_msg("%s", err.text);
    }
    plan_free(p);
}

/* Prepares g, whose outputs are named already, and frees it: `ops` are then the operators in the
 * order of the graph, and the outputs what they were but for rounding. */
static struct graph *prepared(struct graph *g, const char *ops)
{
    struct graph *out = NULL;
    struct err err = {0};
    char text[256] = "";
    assert_int_equal(graph_finish(g, &err), OK);
    if (quantize_prepare(g, &out, &err)) {
        fail_msg("%s", err.text);
    }
    for (size_t i = 0; i < out->n_nodes; i++) {
        if (out->nodes[i].op) {
            snprintf(text + strlen(text), sizeof text - strlen(text), "%s%s", *text ? " " : "",
                     out->nodes[i].op);
        }
    }
    assert_string_equal(text, ops);
    struct tensor *x = NULL, *a[2] = {NULL}, *b[2] = {NULL};
    int64_t dims[MAX_RANK];
    for (int d = 0; d < g->values[0].rank; d++) {
        dims[d] = MAX(g->values[0].dims[d], 1);
    }
    assert_int_equal(tensor_new(DT_F32, g->values[0].rank, dims, NULL, &x, NULL), OK);
    for (size_t i = 0; i < x->n; i++) {
        ((float *)x->data)[i] = (float)((int)(i * 37 % 23) - 11) / 4;
    }
    run(g, x, a);
    run(out, x, b);
    for (size_t k = 0; k < g->n_outputs; k++) {
        assert_int_equal(a[k]->rank, b[k]->rank);
        assert_memory_equal(a[k]->dims, b[k]->dims, (size_t)a[k]->rank * sizeof *dims);
        for (size_t i = 0; i < a[k]->n; i++) {
            double p = tensor_f64(a[k], i), q = tensor_f64(b[k], i);
            assert_true(fabs(p - q) <= 1e-5 * (1 + fabs(p)));
        }
        tensor_free(a[k]);
        tensor_free(b[k]);
    }
    tensor_free(x);
    graph_free(g);
    return out;
}

static const struct tensor *constant_of(const struct graph *g, int i, const char *node)
{
    for (size_t k = 0; k < g->n_nodes; k++) {
        const struct node *n = &g->nodes[k];
        if (n->op && strcmp(n->name, node) == 0 && i < n->n_in) {
            return g->values[n->in[i]].constant;
        }
    }
    return NULL;
}

/* ---- Sums behind convolutions --------------------------------------------------------------- */

static struct graph *conv(bool bias, int sum_rank, const int64_t *sum)
{
    struct graph *g = graph_shaped(4, (int64_t[]){1, 2, 4, 4});
    weights(g, "w", 4, (int64_t[]){3, 2, 2, 2});
    weights(g, "b", 1, (int64_t[]){3});
    weights(g, "c", sum_rank, sum);
    add_node(g, "Conv", bias ? 3 : 2, (const char *const[]){"x", "w", "b"}, "conv");
    add_node(g, "Add", IN("c", "conv"), "sum");
    add_node(g, "Relu", IN("sum"), "y");
    output(g, "y");
    return g;
}

static void sums_become_biases(void **state)
{
    (void)state;
    for (int bias = 0; bias < 2; bias++) {
        struct graph *g = prepared(conv(bias, 4, (int64_t[]){1, 3, 1, 1}), "Conv Relu");
        const struct tensor *b = constant_of(g, 2, "conv");
        assert_int_equal(b->n, 3);
        /* -15/8, -2/8, 11/8, and once more where there was a bias. */
        assert_true(tensor_f64(b, 0) == -15.0 / 8 * (1 + bias));
        assert_true(tensor_f64(b, 2) == 11.0 / 8 * (1 + bias));
        assert_true(graph_find(g, "sum") >= 0);
        graph_free(g);
        graph_free(prepared(conv(bias, 3, (int64_t[]){3, 1, 1}), "Conv Relu"));
        /* One number for all, one a row, and a picture are no bias. */
        graph_free(prepared(conv(bias, 1, (int64_t[]){1}), "Conv Add Relu"));
        graph_free(prepared(conv(bias, 4, (int64_t[]){1, 1, 3, 1}), "Conv Add Relu"));
        graph_free(prepared(conv(bias, 4, (int64_t[]){1, 3, 3, 3}), "Conv Add Relu"));
    }
    /* More dimensions than the result has, by which that gets one more. */
    graph_free(prepared(conv(false, 5, (int64_t[]){1, 1, 3, 1, 1}), "Conv Add Relu"));
}

/* Someone else sees the result before the sum, or the sum is of two results. */
static void sums_that_stay(void **state)
{
    (void)state;
    struct graph *g = conv(true, 3, (int64_t[]){3, 1, 1});
    output(g, "conv");
    graph_free(prepared(g, "Conv Add Relu"));
    g = conv(true, 3, (int64_t[]){3, 1, 1});
    add_node(g, "Sigmoid", IN("conv"), "other");
    output(g, "other");
    graph_free(prepared(g, "Conv Add Relu Sigmoid"));
    g = graph_shaped(4, (int64_t[]){1, 2, 4, 4});
    weights(g, "w", 4, (int64_t[]){3, 2, 1, 1});
    add_node(g, "Conv", IN("x", "w"), "conv");
    add_node(g, "Add", IN("conv", "conv"), "y");
    output(g, "y");
    graph_free(prepared(g, "Conv Add"));
}

/* ---- Sums behind products ------------------------------------------------------------------- */

static struct graph *product(int rank, const int64_t *dims, int sum_rank, const int64_t *sum)
{
    struct graph *g = graph_shaped(rank, dims);
    weights(g, "w", 2, (int64_t[]){4, 5});
    weights(g, "c", sum_rank, sum);
    add_node(g, "MatMul", IN("x", "w"), "product");
    add_node(g, "Add", IN("product", "c"), "sum");
    add_node(g, "Tanh", IN("sum"), "y");
    output(g, "y");
    return g;
}

static void products(void **state)
{
    (void)state;
    struct graph *g = prepared(product(2, (int64_t[]){3, 4}, 1, (int64_t[]){5}), "Gemm Tanh");
    assert_true(tensor_f64(constant_of(g, 2, "product"), 1) == -2.0 / 8);
    graph_free(g);
    graph_free(prepared(product(2, (int64_t[]){3, 4}, 2, (int64_t[]){1, 5}), "Gemm Tanh"));
    /* More dimensions are rows of all of them, also where the first is not known. */
    static const char rows[] = "Reshape Gemm Reshape Tanh";
    graph_free(prepared(product(3, (int64_t[]){2, 3, 4}, 1, (int64_t[]){5}), rows));
    graph_free(prepared(product(3, (int64_t[]){-1, 3, 4}, 3, (int64_t[]){1, 1, 5}), rows));
    graph_free(prepared(product(4, (int64_t[]){2, 1, 3, 4}, 1, (int64_t[]){5}), rows));
    graph_free(prepared(product(3, (int64_t[]){-1, -1, 4}, 1, (int64_t[]){5}), "MatMul Add Tanh"));
    graph_free(prepared(product(2, (int64_t[]){3, 4}, 1, (int64_t[]){1}), "MatMul Add Tanh"));
    graph_free(prepared(product(2, (int64_t[]){3, 4}, 2, (int64_t[]){3, 5}), "MatMul Add Tanh"));
    graph_free(prepared(product(2, (int64_t[]){3, 4}, 3, (int64_t[]){1, 1, 5}), "MatMul Add Tanh"));
}

/* ---- Constants and normalizations ----------------------------------------------------------- */

/* What is computed of constants becomes one, wherever it stands; then it is a weight. */
static void constants_are_folded(void **state)
{
    (void)state;
    struct graph *g = graph_shaped(4, (int64_t[]){1, 2, 4, 4});
    weights(g, "w", 4, (int64_t[]){3, 2, 1, 1});
    weights(g, "c", 3, (int64_t[]){3, 1, 1});
    add_node(g, "Neg", IN("w"), "minus");
    add_node(g, "Mul", IN("minus", "minus"), "squares");
    add_node(g, "Abs", IN("c"), "positive");
    add_node(g, "Conv", IN("x", "squares"), "conv");
    add_node(g, "Add", IN("conv", "positive"), "y");
    output(g, "y");
    g = prepared(g, "Conv");
    assert_true(tensor_f64(constant_of(g, 1, "conv"), 0) == 225.0 / 64);
    assert_true(tensor_f64(constant_of(g, 2, "conv"), 1) == 2.0 / 8);
    graph_free(g);
}

static void norms_are_folded(void **state)
{
    (void)state;
    struct graph *g = graph_shaped(4, (int64_t[]){1, 2, 4, 4});
    static const float one[] = {1, 4, 0.25F};
    weights(g, "w", 4, (int64_t[]){3, 2, 1, 1});
    weights(g, "b", 1, (int64_t[]){3});
    weights(g, "scale", 1, (int64_t[]){3});
    constant(g, "var", DT_F32, 1, (int64_t[]){3}, one);
    add_node(g, "Conv", IN("x", "w"), "conv");
    add_node(g, "BatchNormalization", IN("conv", "scale", "b", "b", "var"), "norm");
    add_node(g, "Relu", IN("norm"), "y");
    output(g, "y");
    graph_free(prepared(g, "Conv Relu"));
}

/* An older model is written in the operator set of scales per channel. */
static void opsets_are_raised(void **state)
{
    (void)state;
    struct graph *g = conv(true, 3, (int64_t[]){3, 1, 1});
    g->opset = 11;
    g = prepared(g, "Conv Relu");
    assert_int_equal(g->opset, 13);
    graph_free(g);
}

/* ---- What is to be observed ----------------------------------------------------------------- */

static void activations_are_wanted(void **state)
{
    (void)state;
    struct graph *g = graph_shaped(2, (int64_t[]){3, 4});
    bool wanted[16];
    int axis[16];
    weights(g, "w", 2, (int64_t[]){4, 5});
    weights(g, "b", 1, (int64_t[]){5});
    weights(g, "v", 2, (int64_t[]){5, 5});
    add_node(g, "Gemm", IN("x", "w", "b"), "first");
    add_node(g, "MatMul", IN("first", "v"), "y");
    output(g, "y");
    g = prepared(g, "Gemm MatMul");
    assert_true(g->n_values <= COUNT(wanted));
    quantize_wanted(g, wanted);
    quantize_channels(g, axis);
    for (size_t v = 0; v < g->n_values; v++) {
        const char *name = g->values[v].name;
        bool activation = strchr("xfy", name[0]) && name[0] != 'v';
        assert_int_equal(wanted[v], activation);
        /* A MatMul has no bias that could be corrected. */
        assert_int_equal(axis[v], strcmp(name, "x") == 0 ? -1 : 0);
    }
    graph_free(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums_become_biases),
        cmocka_unit_test(sums_that_stay),
        cmocka_unit_test(products),
        cmocka_unit_test(constants_are_folded),
        cmocka_unit_test(norms_are_folded),
        cmocka_unit_test(opsets_are_raised),
        cmocka_unit_test(activations_are_wanted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
