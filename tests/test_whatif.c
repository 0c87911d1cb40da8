/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * test_whatif.c: edits of models whose results are known: RESCALE by hand, a depthwise chain that
 * equalization brings to one range, weights and biases as codes, and what is refused. Real models
 * go through tests/oracle/check_whatif.py.
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

/* ---- RESCALE -------------------------------------------------------------------------------- */

static void check_params(bool scale16, double factor, int32_t multiplier, int shift)
{
    const struct rescale r = {.scale16 = scale16};
    int32_t m = 0;
    int s = 0;
    assert_int_equal(rescale_params(&r, factor, &m, &s, NULL), OK);
    assert_int_equal(m, multiplier);
    assert_int_equal(s, shift);
}

static void test_rescale_params(void **state)
{
    (void)state;
    const struct rescale r = {0};
    int32_t m;
    int s;
    check_params(false, 0.5, 1 << 30, 31);
    check_params(false, 1, 1 << 30, 30);
    check_params(false, 0.75, 3 << 29, 31);
    check_params(false, 1 - 1e-14, 1 << 30, 30);     /* the mantissa rounds up to 1 */
    check_params(false, ldexp(1, -40), 1 << 22, 62); /* shifts end at 62 */
    check_params(true, 0.5, 1 << 14, 15);
    check_params(true, 1.0 / 3, 21845, 16); /* 21845.33 */
    assert_int_equal(rescale_params(&r, 0, &m, &s, NULL), E_SHAPE);
    assert_int_equal(rescale_params(&r, NAN, &m, &s, NULL), E_SHAPE);
    assert_int_equal(rescale_params(&r, ldexp(1, 40), &m, &s, NULL), E_SHAPE);
}

static void test_rescale_apply(void **state)
{
    (void)state;
    static const struct {
        struct rescale r;
        int64_t v;
        int32_t m;
        int shift;
        int32_t result;
        bool beyond;
    } rows[] = {
        {{0}, 3, 1 << 30, 31, 2, false}, /* 1.5: halves go up */
        {{0}, -3, 1 << 30, 31, -1, false},
        {{0}, 2, 1 << 30, 32, 1, false},  /* 0.5 */
        {{0}, -2, 1 << 30, 32, 0, false}, /* -0.5 */
        {{0}, 1, 1 << 30, 32, 0, false},  /* 0.25 */
        {{.double_round = true}, 1, 1 << 30, 32, 1, false},
        {{.double_round = true}, -1, 1 << 30, 32, 0, false},
        {{.double_round = true}, -2, 1 << 30, 32, -1, false},
        {{.double_round = true}, 3, 1 << 30, 31, 2, false}, /* not twice up to 31 */
        {{.scale16 = true}, 3, 1 << 14, 15, 2, false},
        {{.scale16 = true}, INT64_C(1) << 40, 1 << 14, 30, 1 << 24, false},
        {{.scale16 = true}, INT64_C(1) << 47, 1 << 14, 30, INT32_MAX, true},
        {{.scale16 = true}, INT64_C(1) << 46, 1 << 14, 15, INT32_MAX, true},
        {{0}, INT64_C(1) << 31, 1 << 30, 40, INT32_MAX, true},
        {{0}, -(INT64_C(1) << 31), 1 << 30, 40, -(1 << 21), false},
        {{0}, 1 << 20, 1 << 30, 20, 1 << 30, true}, /* beyond the shift */
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        bool beyond = !rows[i].beyond;
        int32_t y = rescale_apply(&rows[i].r, rows[i].v, rows[i].m, rows[i].shift, &beyond);
        if (y != rows[i].result || beyond != rows[i].beyond) {
            fail_msg("row %zu: %d%s", i, y, beyond ? ", beyond" : "");
        }
    }
}

/* ---- Graphs --------------------------------------------------------------------------------- */

enum { C = 3, OUT = 2 };

static struct node *node(struct graph *g, const char *op, const char *name, const char *out, int n,
                         const char *const *in)
{
    int v[8], y = graph_value(g, out);
    for (int i = 0; i < n; i++) {
        v[i] = in[i] ? graph_value(g, in[i]) : -1;
    }
    return graph_add(g, op, "", name, n, v, 1, &y);
}

static void shape(struct graph *g, const char *name, int64_t channels)
{
    struct value *v = &g->values[graph_value(g, name)];
    v->dtype = DT_F32;
    v->rank = 4;
    memcpy(v->dims, (const int64_t[]){1, channels, 2, 2}, 4 * sizeof *v->dims);
}

static struct graph *graph_from(const char *path)
{
    struct graph *g = graph_new();
    g->path = path;
    g->opset = 13;
    g->inputs = mem_alloc(sizeof *g->inputs);
    g->outputs = mem_alloc(sizeof *g->outputs);
    g->inputs[g->n_inputs++] = graph_value(g, "x");
    g->values[0].is_input = true;
    shape(g, "x", 1);
    return g;
}

static void finish(struct graph *g)
{
    struct err e = {0};
    g->outputs[g->n_outputs++] = graph_value(g, "y");
    g->values[g->outputs[0]].is_output = true;
    if (graph_finish(g, &e)) {
        fail_msg("%s", e.text);
    }
}

static const float first[C] = {4, 0.5F, 1}, depth[C] = {0.25F, 2, -8}, bias[C] = {0.5F, 1, -1},
                   second[OUT * C] = {1, -0.125F, 0.5F, -0.5F, 0.25F, 2};

/* Conv to C channels, Relu, depthwise Conv, Clip to 6, Conv. */
static struct graph *chain(void)
{
    struct graph *g = graph_from("fp32");
    const float zero = 0, six = 6;
    constant(g, "w1", DT_F32, 4, (const int64_t[]){C, 1, 1, 1}, first);
    constant(g, "b1", DT_F32, 1, (const int64_t[]){C}, bias);
    constant(g, "w2", DT_F32, 4, (const int64_t[]){C, 1, 1, 1}, depth);
    constant(g, "w3", DT_F32, 4, (const int64_t[]){OUT, C, 1, 1}, second);
    constant(g, "zero", DT_F32, 0, NULL, &zero);
    constant(g, "six", DT_F32, 0, NULL, &six);
    node(g, "Conv", "a", "h1", IN("x", "w1", "b1"));
    node(g, "Relu", "r", "h2", IN("h1"));
    struct node *d = node(g, "Conv", "d", "h3", IN("h2", "w2"));
    graph_attr_int(g, d, "group", C);
    node(g, "Clip", "c", "h4", IN("h3", "zero", "six"));
    node(g, "Conv", "b", "y", IN("h4", "w3"));
    static const char *const inner[] = {"h1", "h2", "h3", "h4"};
    for (size_t i = 0; i < COUNT(inner); i++) {
        shape(g, inner[i], C);
    }
    finish(g);
    return g;
}

static void run_on(struct graph *g, const float x[4], float y[OUT * 4])
{
    struct plan *p = NULL;
    struct tensor *in = NULL, *out = NULL;
    struct err e = {0};
    const struct plan_options o = {.numerics = NUM_ORT};
    const struct run_options r = {0};
    assert_int_equal(tensor_new(DT_F32, 4, (const int64_t[]){1, 1, 2, 2}, NULL, &in, NULL), OK);
    memcpy(in->data, x, 4 * sizeof *x);
    if (plan_new(g, &o, &p, &e) || plan_run(p, (const struct tensor *const[]){in}, &out, &r, &e)) {
        fail_msg("%s", e.text);
    }
    memcpy(y, out->data, OUT * 4 * sizeof *y);
    tensor_free(in);
    tensor_free(out);
    plan_free(p);
}

/* ---- Equalization --------------------------------------------------------------------------- */

static void test_chain_of_three(void **state)
{
    (void)state;
    struct graph *g = chain();
    struct equal_pairs p;
    equal_pairs_find(g, &p);
    assert_int_equal(p.n, 2);
    assert_true(isinf(p.list[0].bound) && p.list[1].bound == 6.0);
    equal_pairs_solve(g, &p);
    for (int c = 0; c < C; c++) {
        double r1 = fabs((double)first[c]), r2 = fabs((double)depth[c]);
        double r3 = fmax(fabs((double)second[c]), fabs((double)second[C + c]));
        double equal = cbrt(r1 * r2 * r3);
        assert_float_equal(p.list[0].s[c], r1 / equal, 2e-3 * r1 / equal);
        assert_float_equal(p.list[1].s[c], equal / r3, 2e-3 * equal / r3);
    }
    equal_pairs_fini(&p);
    graph_free(g);
}

static double most_of(const double v[C])
{
    return fmax(v[0], fmax(v[1], v[2]));
}

/* What the first pair of the chain has when nothing changes any more. */
static void check_shares(const double *s, const double *reach)
{
    double w1[C], z[C], w2[C];
    for (int c = 0; c < C; c++) {
        w1[c] = fabs((double)first[c]) / s[c];
        z[c] = reach[c] / s[c];
        w2[c] = fabs((double)depth[c]) * s[c];
    }
    for (int c = 0; c < C; c++) {
        double before = fmax(w1[c] / most_of(w1), 0.5 * z[c] / most_of(z));
        assert_float_equal(w2[c] / most_of(w2), before, 5e-3);
    }
}

/* Ranges as shares of the largest, half the reach among them; where the clip is the end of codes,
 * no channel goes beyond it, and one that it cuts keeps all. */
static void test_reach(void **state)
{
    (void)state;
    struct graph *g = chain();
    struct equal_pairs p;
    double far[C] = {1, 4, 6}, flat[C] = {2, 2, 2};
    equal_pairs_find(g, &p);
    p.list[0].reach = flat;
    p.n = 1;
    equal_pairs_solve(g, &p);
    check_shares(p.list[0].s, flat);
    p.n = 2;
    p.list[1].reach = far;
    p.list[1].absorbed = true;
    equal_pairs_solve(g, &p);
    for (int c = 0; c < C; c++) {
        assert_true(far[c] / p.list[1].s[c] <= 6 * (1 + 1e-12));
    }
    assert_true(p.list[1].s[2] == 1.0);
    equal_pairs_fini(&p);
    graph_free(g);
}

static struct edit equal_edit(const char *a, const char *b, const float s[C])
{
    struct edit e = {.kind = EDIT_EQUALIZE, .at = mem_dup(a), .to = mem_dup(b), .n = C};
    e.v = mem_alloc(C * sizeof *e.v);
    memcpy(e.v, s, C * sizeof *e.v);
    return e;
}

static void test_same_function(void **state)
{
    (void)state;
    struct graph *g = chain(), *fp32 = NULL, *int8 = NULL;
    struct edits list = {0};
    struct err e = {0};
    const float x[4] = {-3, 0.3F, 2, 9};
    float before[OUT * 4], after[OUT * 4];
    run_on(g, x, before);
    edits_add(&list, equal_edit("a", "d", (const float[C]){3, 0.1F, 1.7F}));
    edits_add(&list, equal_edit("d", "b", (const float[C]){0.2F, 5, 0.7F}));
    if (edits_apply(&list, g, g, &fp32, &int8, &e)) {
        fail_msg("%s", e.text);
    }
    assert_non_null(fp32);
    run_on(fp32, x, after);
    for (int i = 0; i < OUT * 4; i++) {
        assert_float_equal(after[i], before[i], 1e-5 * 10);
    }
    const struct tensor *w = fp32->values[fp32->nodes[graph_find_node(fp32, "a")].in[1]].constant;
    assert_float_equal(tensor_f64(w, 0), 4 / 3.0, 1e-6);
    graph_free(fp32);
    graph_free(int8);
    edits_fini(&list);
    /* Nodes that are no pair, and factors for other channels. */
    edits_add(&list, equal_edit("a", "b", (const float[C]){1, 1, 1}));
    assert_int_equal(edits_apply(&list, g, g, &fp32, &int8, &e), E_SHAPE);
    list.list[0].n = 2;
    list.list[0].to[0] = 'd';
    assert_int_equal(edits_apply(&list, g, g, &fp32, &int8, &e), E_SHAPE);
    edits_fini(&list);
    graph_free(g);
}

/* ---- Codes ---------------------------------------------------------------------------------- */

static void put_codes(struct graph *g)
{
    const float sx = 0.1F, sw = 0.05F, sb = 0.005F;
    const uint8_t zx = 128;
    const int8_t zw = 0, w[C] = {80, 10, 20};
    const int32_t b[C] = {100, 200, -200};
    constant(g, "sx", DT_F32, 0, NULL, &sx);
    constant(g, "sw", DT_F32, 0, NULL, &sw);
    constant(g, "sb", DT_F32, 0, NULL, &sb);
    constant(g, "zx", DT_U8, 0, NULL, &zx);
    constant(g, "zw", DT_S8, 0, NULL, &zw);
    constant(g, "w", DT_S8, 4, (const int64_t[]){C, 1, 1, 1}, w);
    constant(g, "b", DT_S32, 1, (const int64_t[]){C}, b);
}

/* The first Conv of the chain between quantizers, or as an integer operator. */
static struct graph *coded_conv(bool integers)
{
    struct graph *g = graph_from("int8");
    put_codes(g);
    node(g, "QuantizeLinear", "xq", "xc", IN("x", "sx", "zx"));
    if (integers) {
        node(g, "QLinearConv", "a", "yc", IN("xc", "sx", "zx", "w", "sw", "zw", "sx", "zx"));
    } else {
        node(g, "DequantizeLinear", "xd", "xr", IN("xc", "sx", "zx"));
        node(g, "DequantizeLinear", "wd", "wr", IN("w", "sw", "zw"));
        node(g, "DequantizeLinear", "bd", "br", IN("b", "sb"));
        node(g, "Conv", "a", "h1", IN("xr", "wr", "br"));
        node(g, "QuantizeLinear", "yq", "yc", IN("h1", "sx", "zx"));
    }
    node(g, "DequantizeLinear", "yd", "y", IN("yc", "sx", "zx"));
    g->values[graph_find(g, "xc")].dtype = g->values[graph_find(g, "yc")].dtype = DT_U8;
    finish(g);
    return g;
}

static struct edit weights_edit(enum dtype d, bool per_channel)
{
    return (struct edit){.kind = EDIT_WEIGHTS,
                         .at = mem_dup("a"),
                         .to = mem_dup("a"),
                         .codes = {.dtype = d, .symmetric = d != DT_U8},
                         .per_channel = per_channel};
}

static int apply_one(struct edit e, const struct graph *int8, struct graph **out, struct err *err)
{
    struct graph *fp32 = chain(), *none = NULL;
    struct edits list = {0};
    edits_add(&list, e);
    int rc = edits_apply(&list, fp32, int8, &none, out, err);
    assert_null(none);
    edits_fini(&list);
    graph_free(fp32);
    return rc;
}

static const struct tensor *behind(const struct graph *g, int slot, int input)
{
    const struct node *n = &g->nodes[graph_find_node(g, "a")];
    const struct node *dq = &g->nodes[g->values[n->in[slot]].producer];
    return g->values[dq->in[input]].constant;
}

static void test_weights(void **state)
{
    (void)state;
    struct graph *g = coded_conv(false), *made = NULL;
    struct err e = {0};
    assert_int_equal(apply_one(weights_edit(DT_S8, true), g, &made, &e), OK);
    for (size_t c = 0; c < C; c++) {
        double s = (double)first[c] / 127;
        assert_int_equal(tensor_s64(behind(made, 1, 0), c), 127);
        assert_float_equal(tensor_f64(behind(made, 1, 1), c), s, 1e-6 * s);
        assert_int_equal(tensor_s64(behind(made, 2, 0), c), lrint((double)bias[c] / (0.1 * s)));
    }
    graph_free(made);
    assert_int_equal(apply_one(weights_edit(DT_S4, false), g, &made, &e), OK);
    assert_int_equal(behind(made, 1, 0)->dtype, DT_S4);
    assert_int_equal(made->opset_ms, 1);
    assert_int_equal(tensor_s64(behind(made, 1, 0), 0), 7); /* 4 / (8 / 15) = 7.5 */
    graph_free(made);
    graph_free(g);
}

static void test_refused(void **state)
{
    (void)state;
    struct graph *g = coded_conv(true), *made = NULL;
    struct err e = {0};
    assert_int_equal(apply_one(weights_edit(DT_S4, true), g, &made, &e), E_UNSUPPORTED);
    assert_int_equal(apply_one(weights_edit(DT_U8, false), g, &made, &e), OK);
    graph_free(made);
    struct edit range = {
        .kind = EDIT_RANGE, .at = mem_dup("yc"), .codes = {.dtype = DT_S16}, .scale = 0.01F};
    assert_int_equal(apply_one(range, g, &made, &e), E_UNSUPPORTED);
    graph_free(g);
    g = coded_conv(false);
    range.at = mem_dup("yc");
    assert_int_equal(apply_one(range, g, &made, &e), OK);
    const struct node *q = &made->nodes[graph_find_node(made, "yq")];
    assert_string_equal(q->domain, "com.microsoft");
    assert_int_equal(made->values[q->in[2]].constant->dtype, DT_S16);
    graph_free(made);
    range.at = mem_dup("nothing");
    assert_int_equal(apply_one(range, g, &made, &e), E_SHAPE);
    struct edit other = weights_edit(DT_S8, true);
    other.at[0] = 'b'; /* two outputs instead of three */
    assert_int_equal(apply_one(other, g, &made, &e), E_UNSUPPORTED);
    graph_free(g);
}

static void test_bias(void **state)
{
    (void)state;
    struct graph *g = coded_conv(false), *made = NULL;
    struct err e = {0};
    struct edit x = {.kind = EDIT_BIAS, .at = mem_dup("a"), .to = mem_dup("a"), .n = C};
    x.v = mem_alloc(C * sizeof *x.v);
    memcpy(x.v, (const float[C]){0.25F, -1, 0}, C * sizeof *x.v);
    assert_int_equal(apply_one(x, g, &made, &e), OK);
    assert_int_equal(tensor_s64(behind(made, 2, 0), 0), 150);
    assert_int_equal(tensor_s64(behind(made, 2, 0), 1), 0);
    assert_int_equal(tensor_s64(behind(made, 2, 0), 2), -200);
    graph_free(made);
    graph_free(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rescale_params), cmocka_unit_test(test_rescale_apply),
        cmocka_unit_test(test_chain_of_three), cmocka_unit_test(test_reach),
        cmocka_unit_test(test_same_function),  cmocka_unit_test(test_weights),
        cmocka_unit_test(test_refused),        cmocka_unit_test(test_bias),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
