/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * test_written.c: operators that a model writes out in several and onnxruntime computes as one:
 * Gelu, LayerNormalization, SimplifiedLayerNormalization. Which graphs are those was found with the
 * runtime; that the numbers are its own is checked against it (oracle/check_random.py).
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/graph_fixture.h"

enum { ROW = 8 };

/* ---- Graphs --------------------------------------------------------------------------------- */

/* x [2,3,8] of that opset; behind the Relu "r" stands what is written out. */
static struct graph *start(int opset)
{
    const int64_t dims[] = {2, 3, ROW};
    struct graph *g = graph_shaped(3, dims);
    g->opset = opset;
    add_node(g, "Relu", IN("x"), "r");
    return g;
}

static void scalar(struct graph *g, const char *name, float v)
{
    constant(g, name, DT_F32, 0, NULL, &v);
}

/* y becomes codes, which makes the graph a quantized one, and a number again. */
static struct graph *finish(struct graph *g)
{
    const uint8_t zero = 128;
    scalar(g, "s", 0.02F);
    constant(g, "z", DT_U8, 0, NULL, &zero);
    add_node(g, "QuantizeLinear", IN("y", "s", "z"), "codes");
    add_node(g, "DequantizeLinear", IN("codes", "s", "z"), "out");
    output(g, "out");
    return g;
}

/* Operators of the executed graph in order, without the quantizers. */
static void want_executed(struct graph *g, const char *want)
{
    struct graph *x = NULL;
    struct err err = {0};
    char text[256] = "";
    if (graph_fuse(g, NUM_ORT, &x, &err)) {
        fail_msg("%s", err.text);
    }
    for (size_t i = 0; i < x->n_nodes; i++) {
        const char *op = x->nodes[i].op;
        if (op && !strstr(op, "quantizeLinear") && !strstr(op, "QuantizeLinear") &&
            strcmp(op, "Relu") != 0) {
            size_t n = strlen(text);
            snprintf(text + n, sizeof text - n, "%s%s", n ? " " : "", op);
        }
    }
    assert_string_equal(text, want);
    graph_free(x);
    graph_free(g);
}

/* ---- Gelu ----------------------------------------------------------------------------------- */

struct gelu {
    int opset;
    float root, one, half;
    bool half_first, swapped, product; /* product: x is made by a Mul */
    const char *want;
};

static struct graph *gelu(const struct gelu *v)
{
    struct graph *g = start(v->opset);
    const char *x = v->product ? "p" : "r";
    scalar(g, "root", v->root);
    scalar(g, "one", v->one);
    scalar(g, "half", v->half);
    if (v->product) {
        add_node(g, "Mul", IN("r", "root"), "p");
    }
    add_node(g, "Div", IN(x, "root"), "d");
    add_node(g, "Erf", IN("d"), "e");
    if (v->swapped) {
        add_node(g, "Add", IN("one", "e"), "a");
    } else {
        add_node(g, "Add", IN("e", "one"), "a");
    }
    if (v->half_first) {
        add_node(g, "Mul", IN(x, "half"), "m");
        add_node(g, "Mul", IN("m", "a"), "y");
    } else {
        add_node(g, "Mul", IN("a", x), "m");
        add_node(g, "Mul", IN("half", "m"), "y");
    }
    return finish(g);
}

#define APART "Div Erf Add Mul Mul"

static void gelus(void **state)
{
    (void)state;
    static const struct gelu cases[] = {
        {13, 1.41421356F, 1, 0.5F, false, false, false, "Gelu"},
        {13, 1.41421F, 1, 0.5F, false, true, false, "Gelu"},
        {17, 1.41421356F, 1, 0.5F, true, false, false, "Gelu"},
        {20, 1.41421356F, 1, 0.5F, true, true, false, "Gelu"},
        {13, 1.4143F, 1, 0.5F, false, false, false, APART},
        {13, 1.41421356F, 2, 0.5F, false, false, false, APART},
        {13, 1.41421356F, 1, 0.25F, true, false, false, APART},
        /* The product is taken for the one with a half. */
        {13, 1.41421356F, 1, 0.5F, false, false, true, "Mul " APART},
        {13, 1.41421356F, 1, 0.5F, true, false, true, "Mul Gelu"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        want_executed(gelu(&cases[i]), cases[i].want);
    }
}

/* A model without codes is computed as it is written, and so is one whose parts others read. */
static void gelus_that_stay(void **state)
{
    (void)state;
    const struct gelu v = {13, 1.41421356F, 1, 0.5F, false, false, false, NULL};
    struct graph *g = gelu(&v);
    add_node(g, "Neg", IN("e"), "other");
    output(g, "other");
    want_executed(g, "Div Erf Add Mul Mul Neg");
    g = start(13);
    scalar(g, "root", 1.41421356F);
    scalar(g, "one", 1);
    scalar(g, "half", 0.5F);
    add_node(g, "Div", IN("r", "root"), "d");
    add_node(g, "Erf", IN("d"), "e");
    add_node(g, "Add", IN("e", "one"), "a");
    add_node(g, "Mul", IN("r", "a"), "m");
    add_node(g, "Mul", IN("m", "half"), "y");
    output(g, "y");
    want_executed(g, APART);
}

/* ---- Norms ---------------------------------------------------------------------------------- */

static void mean(struct graph *g, const char *from, const char *to, int64_t axis)
{
    if (g->opset >= 18) {
        char name[16];
        const int64_t one = 1;
        snprintf(name, sizeof name, "%s_axes", to);
        constant(g, name, DT_S64, 1, &one, &axis);
        add_node(g, "ReduceMean", IN(from, name), to);
    } else {
        graph_attr_ints(g, add_node(g, "ReduceMean", IN(from), to), "axes", 1, &axis);
    }
}

static void row(struct graph *g, const char *name, int rank)
{
    const int64_t dims[] = {1, ROW};
    float v[ROW];
    for (int i = 0; i < ROW; i++) {
        v[i] = 0.5F + 0.25F * (float)i;
    }
    constant(g, name, DT_F32, rank, dims + 2 - rank, v);
}

struct norm {
    int opset;
    int64_t axis, axis2;
    bool own_sub, epsilon_first;
    int rank; /* of scale and bias */
    const char *want;
};

static struct graph *norm(const struct norm *v)
{
    struct graph *g = start(v->opset);
    scalar(g, "two", 2);
    scalar(g, "epsilon", 1e-3F);
    row(g, "scale", v->rank);
    row(g, "bias", v->rank);
    mean(g, "r", "mean", v->axis);
    add_node(g, "Sub", IN("r", "mean"), "d");
    if (v->own_sub) {
        add_node(g, "Sub", IN("r", "mean"), "d2");
    }
    add_node(g, "Pow", IN("d", "two"), "p");
    mean(g, "p", "variance", v->axis2);
    if (v->epsilon_first) {
        add_node(g, "Add", IN("epsilon", "variance"), "ve");
    } else {
        add_node(g, "Add", IN("variance", "epsilon"), "ve");
    }
    add_node(g, "Sqrt", IN("ve"), "root");
    add_node(g, "Div", IN(v->own_sub ? "d2" : "d", "root"), "n");
    add_node(g, "Mul", IN("n", "scale"), "m");
    add_node(g, "Add", IN("bias", "m"), "y");
    return finish(g);
}

#define WHOLE "LayerNormalization"

static void norms(void **state)
{
    (void)state;
    static const struct norm cases[] = {
        {11, -1, -1, false, false, 1, WHOLE},
        {13, -1, 2, true, false, 1, WHOLE}, /* the last axis by either name */
        {17, 2, 2, false, true, 1, WHOLE},
        {18, -1, -1, true, true, 1, WHOLE},
        {13, 1, 1, false, false, 1, "ReduceMean Sub Pow ReduceMean Add Sqrt Div Mul Add"},
        {13, -1, -1, false, false, 2, "ReduceMean Sub Pow ReduceMean Add Sqrt Div Mul Add"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        want_executed(norm(&cases[i]), cases[i].want);
    }
}

/* Power 2 or 3, of x or over a quotient of 1. */
static struct graph *simple(float power, bool over)
{
    struct graph *g = start(13);
    scalar(g, "two", power);
    scalar(g, "one", 1);
    scalar(g, "epsilon", 1e-3F);
    row(g, "scale", 1);
    add_node(g, "Pow", IN("r", "two"), "p");
    mean(g, "p", "variance", -1);
    add_node(g, "Add", IN("variance", "epsilon"), "ve");
    add_node(g, "Sqrt", IN("ve"), "root");
    if (over) {
        add_node(g, "Div", IN("one", "root"), "o");
        add_node(g, "Mul", IN("r", "o"), "n");
    } else {
        add_node(g, "Div", IN("r", "root"), "n");
    }
    add_node(g, "Mul", IN("scale", "n"), "y");
    return finish(g);
}

static void simple_norms(void **state)
{
    (void)state;
    want_executed(simple(2, false), "SimplifiedLayerNormalization");
    want_executed(simple(2, true), "SimplifiedLayerNormalization");
    want_executed(simple(3, false), "Pow ReduceMean Add Sqrt Div Mul");
    want_executed(simple(3, true), "Pow ReduceMean Add Sqrt Div Mul"); /* 1 / a * b is b / a */
}

/* ---- Ranks ---------------------------------------------------------------------------------- */

/* Whether the axis that counts from the front is the last one follows from the operators. */
static void ranks(void **state)
{
    (void)state;
    const int64_t three = 3, shape[] = {2, 3, ROW}, axes = 1;
    const struct norm v = {13, 2, 2, false, false, 1, NULL};
    struct graph *g = norm(&v);
    g->values[0].rank = -1; /* not declared */
    want_executed(g, "ReduceMean Sub Pow ReduceMean Add Sqrt Div Mul Add");
    g = start(13);
    g->values[0].rank = -1;
    constant(g, "shape", DT_S64, 1, &three, shape);
    add_node(g, "Reshape", IN("r", "shape"), "t");
    constant(g, "axes", DT_S64, 1, (int64_t[]){1}, &axes);
    scalar(g, "two", 2);
    scalar(g, "epsilon", 1e-3F);
    row(g, "scale", 1);
    add_node(g, "Unsqueeze", IN("t", "axes"), "u");
    add_node(g, "Squeeze", IN("u", "axes"), "q");
    add_node(g, "Pow", IN("q", "two"), "p");
    mean(g, "p", "variance", 2);
    add_node(g, "Add", IN("variance", "epsilon"), "ve");
    add_node(g, "Sqrt", IN("ve"), "root");
    add_node(g, "Div", IN("q", "root"), "n");
    add_node(g, "Mul", IN("scale", "n"), "y");
    want_executed(finish(g), "Reshape Unsqueeze Squeeze SimplifiedLayerNormalization");
}

/* ---- Numbers -------------------------------------------------------------------------------- */

/* x / sqrt(mean of squares + epsilon) * scale, within a code of what doubles give. */
static void numbers(void **state)
{
    (void)state;
    struct graph *g = simple(2, true);
    struct tensor *x = NULL;
    assert_int_equal(tensor_new(DT_F32, 3, g->values[0].dims, NULL, &x, NULL), OK);
    for (size_t i = 0; i < x->n; i++) {
        ((float *)x->data)[i] = (float)(i * 37 % 64) / 64;
    }
    struct tensor *y = graph_run(g, NUM_ORT, x);
    for (size_t r = 0; r < x->n / ROW; r++) {
        double sum = 0;
        for (size_t i = 0; i < ROW; i++) {
            sum += pow(tensor_f64(x, r * ROW + i), 2) / ROW;
        }
        for (size_t i = 0; i < ROW; i++) {
            const double v =
                tensor_f64(x, r * ROW + i) / sqrt(sum + 1e-3) * (0.5 + 0.25 * (double)i);
            assert_true(fabs(tensor_f64(y, r * ROW + i) - fmin(v, 127 * 0.02)) <= 0.0101);
        }
    }
    tensor_free(x);
    tensor_free(y);
    graph_free(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gelus), cmocka_unit_test(gelus_that_stay),
        cmocka_unit_test(norms), cmocka_unit_test(simple_norms),
        cmocka_unit_test(ranks), cmocka_unit_test(numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
