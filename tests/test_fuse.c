/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * test_fuse.c: what onnxruntime makes of a Q/DQ model, on graphs of a few nodes: pairs of
 * quantizers that become one, with the range that both have, and the groups that are computed with
 * integers. Whole models are compared with the runtime (oracle/).
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/graph_fixture.h"

/* ---- Graphs --------------------------------------------------------------------------------- */

/* Scale and zero point "sN" and "zN". */
static void params(struct graph *g, const char *n, float s, enum dtype d, int z)
{
    char name[16];
    const uint8_t code = (uint8_t)z;
    snprintf(name, sizeof name, "s%s", n);
    constant(g, name, DT_F32, 0, NULL, &s);
    snprintf(name, sizeof name, "z%s", n);
    constant(g, name, d, 0, NULL, &code);
}

/* from -> Q -> DQ -> to with the parameters N. */
static void pair(struct graph *g, const char *from, const char *n, const char *to)
{
    char s[16], z[16], q[32];
    snprintf(s, sizeof s, "s%s", n);
    snprintf(z, sizeof z, "z%s", n);
    snprintf(q, sizeof q, "%s_codes", to);
    add_node(g, "QuantizeLinear", IN(from, s, z), q);
    add_node(g, "DequantizeLinear", IN(q, s, z), to);
}

/* Operators of the executed graph in order, "Q" and "DQ" for quantizers. */
static void executed(const struct graph *g, char *text, size_t size)
{
    struct graph *x = NULL;
    struct err err = {0};
    if (graph_fuse(g, NUM_ORT, &x, &err)) {
        fail_msg("%s", err.text);
    }
    text[0] = '\0';
    for (size_t i = 0; i < x->n_nodes; i++) {
        const char *op = x->nodes[i].op;
        if (op) {
            size_t n = strlen(text);
            snprintf(text + n, size - n, "%s%s", n ? " " : "",
                     strcmp(op, "QuantizeLinear") == 0     ? "Q"
                     : strcmp(op, "DequantizeLinear") == 0 ? "DQ"
                                                           : op);
        }
    }
    graph_free(x);
}

/* Numbers within +-8. */
static struct tensor *sample(const struct graph *g)
{
    struct tensor *x = NULL;
    assert_int_equal(tensor_new(DT_F32, g->values[0].rank, g->values[0].dims, NULL, &x, NULL), OK);
    for (size_t i = 0; i < x->n; i++) {
        ((float *)x->data)[i] = (float)((int)(i * 733 % 1021) - 510) / 64;
    }
    return x;
}

/* ---- Two pairs in a row --------------------------------------------------------------------- */

/* x as codes of these parameters tell it. */
static float told(float x, float s, enum dtype d, int z)
{
    int64_t lo, hi;
    assert_true(dtype_range(d, &lo, &hi));
    double q = nearbyint((double)(x / s)) + z;
    return (float)(fmin(fmax(q, (double)lo), (double)hi) - z) * s;
}

static const struct join {
    enum dtype a, b;
    float sa, sb;
    int za, zb;
    bool joined;
} joins[] = {
    {DT_U8, DT_U8, 0.05F, 0.03F, 100, 200, true}, /* [-5, 7.75] and [-6, 1.65] */
    {DT_U8, DT_U8, 0.01F, 0.06F, 128, 30, true},  /* one inside the other */
    {DT_S8, DT_S8, 0.05F, 0.03F, -20, 60, true},
    {DT_U8, DT_U8, 0.05F, 0.05F, 100, 100, true}, /* the same */
    {DT_U8, DT_U8, 0.05F, 0.03F, 0, 255, false},  /* only 0 in common */
    {DT_U8, DT_S8, 0.05F, 0.03F, 100, 0, false},
};

static struct graph *two_pairs(const struct join *j)
{
    struct graph *g = graph_shaped(1, (int64_t[]){300});
    params(g, "1", j->sa, j->a, j->za);
    params(g, "2", j->sb, j->b, j->zb);
    pair(g, "x", "1", "m");
    pair(g, "m", "2", "y");
    output(g, "y");
    return g;
}

static void pairs_become_one(void **state)
{
    (void)state;
    for (size_t k = 0; k < COUNT(joins); k++) {
        const struct join *j = &joins[k];
        struct graph *g = two_pairs(j);
        char ops[128];
        assert_int_equal(graph_finish(g, NULL), OK);
        executed(g, ops, sizeof ops);
        assert_string_equal(ops, j->joined ? "Q DQ" : "Q DQ Q DQ");
        int64_t least = 0, most = 0;
        assert_true(dtype_range(j->a, &least, &most));
        float lo = fmaxf(j->sa * (float)(least - j->za), j->sb * (float)(least - j->zb));
        float hi = fminf(j->sa * (float)(most - j->za), j->sb * (float)(most - j->zb));
        float s = j->sa == j->sb ? j->sa : (hi - lo) / 255;
        int z = j->sa == j->sb ? j->za : (int)roundf((float)least - lo / s);
        struct tensor *x = sample(g), *y = graph_run(g, NUM_ORT, x);
        for (size_t i = 0; i < x->n; i++) {
            float v = ((float *)x->data)[i];
            float want = j->joined ? told(v, s, j->a, z)
                                   : told(told(v, j->sa, j->a, j->za), j->sb, j->b, j->zb);
            assert_true(((float *)y->data)[i] == want);
        }
        tensor_free(x);
        tensor_free(y);
        graph_free(g);
    }
}

/* What someone else sees stays: the numbers between the pairs, or the first codes. */
static void pairs_that_stay(void **state)
{
    (void)state;
    static const char *const seen[] = {"m", "m_codes"};
    for (size_t k = 0; k < 2 * COUNT(seen); k++) {
        struct graph *g = two_pairs(&joins[0]);
        char ops[128];
        if (k % 2) {
            output(g, seen[k / 2]);
        } else {
            add_node(g, "Identity", IN(seen[k / 2]), "other");
            output(g, "other");
        }
        assert_int_equal(graph_finish(g, NULL), OK);
        executed(g, ops, sizeof ops);
        size_t n = 0;
        for (const char *p = ops; (p = strstr(p, "DQ")); p++) {
            n++;
        }
        if (n < 2) {
            fail_msg("'%s' is seen, and there is left: %s", seen[k / 2], ops);
        }
        graph_free(g);
    }
}

/* ---- Groups --------------------------------------------------------------------------------- */

struct group {
    const char *op, *to; /* what it becomes; NULL: itself, on codes */
    int rank;
    int64_t dims[4];
    /* Inputs: x and u are x with two sets of parameters, w and v weights of [3,2,1,1] and [4,5] by
     * tensor, W and V by output channel, b and B biases of 3 and 5, t a condition, i a list. */
    const char *in;
    size_t n_list;
    int64_t list[4];
    const char *attr; /* "axis=1", "kernel_shape,2,2" */
    bool floats;      /* without Q behind it */
};

static const struct group groups[] = {
    {"Reshape", NULL, 2, {4, 6}, "xi", 2, {8, 3}, NULL, false},
    {"Flatten", NULL, 3, {2, 3, 4}, "x", 0, {0}, NULL, false},
    {"Transpose", NULL, 3, {2, 3, 4}, "x", 0, {0}, "perm,2,0,1", false},
    {"Squeeze", NULL, 3, {1, 3, 4}, "xi", 1, {0}, NULL, false},
    {"Unsqueeze", NULL, 2, {3, 4}, "xi", 1, {1}, NULL, false},
    {"Expand", NULL, 2, {1, 4}, "xi", 2, {3, 4}, NULL, false},
    {"Tile", NULL, 2, {2, 3}, "xi", 2, {2, 2}, NULL, false},
    {"Gather", NULL, 2, {4, 3}, "xi", 3, {3, 0, 2}, NULL, false},
    {"GatherElements", NULL, 1, {5}, "xi", 3, {4, 0, 2}, NULL, false},
    {"MaxPool", NULL, 4, {1, 2, 4, 4}, "x", 0, {0}, "kernel_shape,2,2", false},
    {"ReduceMax", NULL, 2, {3, 4}, "x", 0, {0}, NULL, false},
    {"ReduceMin", NULL, 2, {3, 4}, "x", 0, {0}, NULL, false},
    {"AveragePool", "QLinearAveragePool", 4, {1, 2, 4, 4}, "x", 0, {0}, "kernel_shape,2,2", false},
    {"GlobalAveragePool", "QLinearGlobalAveragePool", 4, {1, 2, 4, 4}, "x", 0, {0}, NULL, false},
    {"LeakyRelu", "QLinearLeakyRelu", 2, {3, 4}, "x", 0, {0}, NULL, false},
    {"Sigmoid", "QLinearSigmoid", 2, {3, 4}, "x", 0, {0}, NULL, false},
    {"Softmax", "QLinearSoftmax", 2, {3, 4}, "x", 0, {0}, NULL, false},
    {"Add", "QLinearAdd", 2, {3, 4}, "xu", 0, {0}, NULL, false},
    {"Mul", "QLinearMul", 2, {3, 4}, "xu", 0, {0}, NULL, false},
    {"Concat", "QLinearConcat", 2, {3, 4}, "xu", 0, {0}, "axis=1", false},
    {"Where", "QLinearWhere", 2, {3, 4}, "txu", 0, {0}, NULL, false},
    {"Conv", "QLinearConv", 4, {1, 2, 4, 4}, "xw", 0, {0}, NULL, false},
    {"Conv", "QLinearConv", 4, {1, 2, 4, 4}, "xwb", 0, {0}, NULL, false},
    {"Conv", "QLinearConv", 4, {1, 2, 4, 4}, "xW", 0, {0}, NULL, false},
    {"MatMul", "QLinearMatMul", 2, {3, 4}, "xv", 0, {0}, NULL, false},
    {"MatMul", "QLinearMatMul", 2, {3, 4}, "xV", 0, {0}, NULL, false},
    {"MatMul", "MatMulIntegerToFloat", 2, {3, 4}, "xv", 0, {0}, NULL, true},
    {"Gemm", "QGemm", 2, {3, 4}, "xvB", 0, {0}, NULL, false},
    {"Gemm", "QGemm", 2, {3, 4}, "xV", 0, {0}, NULL, false},
    {"Gemm", "QGemm", 2, {3, 4}, "xvB", 0, {0}, NULL, true},
};

/* Constant codes with a DQ behind them, one scale or one for each index of `axis`. */
static void dequantized(struct graph *g, const char *name, enum dtype d, int rank,
                        const int64_t *dims, float s, int axis)
{
    int32_t wide[32];
    int8_t narrow[32];
    char codes[32], scale[32], zero[32];
    size_t n = 1, n_scales = axis < 0 ? 1 : (size_t)dims[axis];
    float scales[8];
    for (int k = 0; k < rank; k++) {
        n *= (size_t)dims[k];
    }
    for (size_t i = 0; i < n; i++) {
        wide[i] = (int32_t)(i * 57 % 201) - 100;
        narrow[i] = (int8_t)wide[i];
    }
    for (size_t i = 0; i < n_scales; i++) {
        scales[i] = s * (float)(i + 1);
    }
    snprintf(codes, sizeof codes, "%s_codes", name);
    snprintf(scale, sizeof scale, "%s_scale", name);
    snprintf(zero, sizeof zero, "%s_zero", name);
    static const int32_t zeros[8] = {0};
    int64_t shape = (int64_t)n_scales;
    constant(g, codes, d, rank, dims, d == DT_S32 ? (const void *)wide : narrow);
    constant(g, scale, DT_F32, axis < 0 ? 0 : 1, &shape, scales);
    constant(g, zero, d, axis < 0 ? 0 : 1, &shape, zeros);
    struct node *n_dq = add_node(g, "DequantizeLinear", IN(codes, scale, zero), name);
    if (axis >= 0) {
        graph_attr_int(g, n_dq, "axis", axis);
    }
}

/* Makes an input of that letter; its name. */
static const char *input_named(struct graph *g, const struct group *t, char letter)
{
    static const bool truths[12] = {true, false, true, true, false};
    const float sx = 0.04F, sw = 0.02F;
    switch (letter) {
    case 'x':
        pair(g, "x", "x", "xf");
        return "xf";
    case 'u':
        pair(g, "x", "u", "uf");
        return "uf";
    case 'w':
    case 'W':
        dequantized(g, "w", DT_S8, 4, (int64_t[]){3, 2, 1, 1}, sw, letter == 'W' ? 0 : -1);
        return "w";
    case 'v':
    case 'V':
        dequantized(g, "v", DT_S8, 2, (int64_t[]){4, 5}, sw, letter == 'V' ? 1 : -1);
        return "v";
    case 'b':
    case 'B':
        dequantized(g, "b", DT_S32, 1, (int64_t[]){letter == 'b' ? 3 : 5}, sx * sw, -1);
        return "b";
    case 't':
        constant(g, "t", DT_BOOL, 2, t->dims, truths);
        return "t";
    default:
        constant(g, "i", DT_S64, 1, (int64_t[]){(int64_t)t->n_list}, t->list);
        return "i";
    }
}

static void read_attr(struct graph *g, struct node *n, const char *text)
{
    char name[32];
    int64_t list[4];
    size_t stem = text ? strcspn(text, "=,") : 0, count = 0;
    if (!text) {
        return;
    }
    snprintf(name, sizeof name, "%.*s", (int)stem, text);
    for (const char *p = text + stem; *p; p += strcspn(p, ",")) {
        list[count++] = strtoll(++p, NULL, 10);
    }
    if (text[stem] == '=') {
        graph_attr_int(g, n, name, list[0]);
    } else {
        graph_attr_ints(g, n, name, count, list);
    }
}

/* What only moves codes keeps their parameters. */
static struct graph *group_graph(const struct group *t, enum dtype dx, enum dtype dy)
{
    struct graph *g = graph_shaped(t->rank, t->dims);
    const char *in[4];
    int n = (int)strlen(t->in);
    const int up = dx == DT_U8 ? 128 : 0;
    params(g, "x", 0.04F, dx, -20 + up);
    params(g, "u", 0.06F, dx, 10 + up);
    params(g, "y", 0.07F, dy, dy == DT_U8 ? 131 : 3);
    for (int i = 0; i < n; i++) {
        in[i] = input_named(g, t, t->in[i]);
    }
    read_attr(g, add_node(g, t->op, n, in, t->floats ? "y" : "made"), t->attr);
    if (!t->floats) {
        pair(g, "made", t->to ? "y" : "x", "y");
    }
    output(g, "y");
    assert_int_equal(graph_finish(g, NULL), OK);
    return g;
}

/* What the runtime makes of it is at most a code from what floats give; codes that only move are
 * the same. */
static void want_codes(const struct group *t, const struct graph *g)
{
    struct tensor *x = sample(g);
    struct tensor *y = graph_run(g, NUM_ORT, x), *real = graph_run(g, NUM_ORT_UNFUSED, x);
    assert_int_equal(y->n, real->n);
    double near = t->floats ? 1e-4 : t->to ? 0.0701 : 0;
    for (size_t i = 0; i < y->n; i++) {
        double a = tensor_f64(y, i), b = tensor_f64(real, i);
        if (!(fabs(a - b) <= near)) {
            fail_msg("%s: element %zu is %g, expected %g", t->op, i, a, b);
        }
    }
    tensor_free(x);
    tensor_free(y);
    tensor_free(real);
}

static void groups_are_integers(void **state)
{
    (void)state;
    for (size_t k = 0; k < COUNT(groups); k++) {
        const struct group *t = &groups[k];
        struct graph *g = group_graph(t, DT_U8, DT_U8);
        char ops[128], want[128];
        executed(g, ops, sizeof ops);
        bool two = strchr(t->in, 'u') != NULL;
        snprintf(want, sizeof want, "%s%s%s", two ? "Q Q " : "Q ", t->to ? t->to : t->op,
                 t->floats ? "" : " DQ");
        assert_string_equal(ops, want);
        want_codes(t, g);
        graph_free(g);
    }
}

/* The runtime keeps codes of int8 as uint8, so that a group may have both types. */
static void types_may_differ(void **state)
{
    (void)state;
    static const enum dtype ways[][2] = {{DT_S8, DT_S8}, {DT_U8, DT_S8}, {DT_S8, DT_U8}};
    for (size_t k = 0; k < COUNT(groups) * COUNT(ways); k++) {
        const struct group *t = &groups[k / COUNT(ways)];
        const enum dtype *d = ways[k % COUNT(ways)];
        struct graph *g = group_graph(t, d[0], d[1]);
        char ops[128];
        executed(g, ops, sizeof ops);
        if (!strstr(ops, t->to ? t->to : t->op)) {
            fail_msg("%s from %s to %s: %s", t->op, dtype_name(d[0]), dtype_name(d[1]), ops);
        }
        want_codes(t, g);
        graph_free(g);
    }
}

/* Float weights become int8 codes over their range, biases int32 codes of the scale of products. */
static void float_weights_become_codes(void **state)
{
    (void)state;
    static const float w[] = {0.3F, -0.7F, 0.11F, 1.3F, -0.45F, 0.02F}, b[] = {0.6F, -0.123F, 2};
    for (int way = 0; way < 4; way++) {
        bool bias = way % 2, gemm = way / 2;
        struct graph *g =
            graph_shaped(gemm ? 2 : 4, gemm ? (int64_t[]){5, 2} : (int64_t[]){1, 2, 4, 4});
        char ops[128];
        params(g, "x", 0.04F, DT_U8, 108);
        params(g, "y", 0.07F, DT_U8, 131);
        constant(g, "w", DT_F32, gemm ? 2 : 4, (int64_t[]){3, 2, 1, 1}, w);
        constant(g, "b", DT_F32, 1, (int64_t[]){3}, b);
        pair(g, "x", "x", "xf");
        struct node *n = add_node(g, gemm ? "Gemm" : "Conv", 2 + bias,
                                  (const char *const[]){"xf", "w", "b"}, "made");
        if (gemm) {
            graph_attr_int(g, n, "transB", 1);
        }
        pair(g, "made", "y", "y");
        output(g, "y");
        assert_int_equal(graph_finish(g, NULL), OK);
        executed(g, ops, sizeof ops);
        assert_string_equal(ops, gemm ? "Q QGemm DQ" : "Q QLinearConv DQ");
        const float s = (1.3F + 0.7F) / 255, unit = 0.04F * s;
        const int z = (int)rintf(-128 + 0.7F / s);
        struct tensor *x = sample(g), *y = graph_run(g, NUM_ORT, x);
        for (size_t i = 0; i < y->n; i++) {
            size_t pixel = gemm ? i / 3 : i % 16, o = gemm ? i % 3 : i / 16;
            double sum = bias ? (double)(rintf(b[o] / unit) * unit) : 0;
            for (size_t c = 0; c < 2; c++) {
                float v = ((float *)x->data)[gemm ? pixel * 2 + c : c * 16 + pixel];
                sum += (double)told(v, 0.04F, DT_U8, 108) * (double)told(w[o * 2 + c], s, DT_S8, z);
            }
            sum = fmin(fmax(sum, -131 * 0.07), 124 * 0.07);
            assert_true(fabs(tensor_f64(y, i) - sum) <= 0.035 + 1e-4);
        }
        tensor_free(x);
        tensor_free(y);
        graph_free(g);
    }
}

/* Each of these has one thing that a group must not have, and stays in float. */
static void no_groups(void **state)
{
    (void)state;
    enum { FLOAT_BESIDE, SEEN, NO_QUANTIZER, OTHER_PARAMS, BETA, WAYS };
    static const char *const wanted[WAYS] = {
        [FLOAT_BESIDE] = "Add",     [SEEN] = "Sigmoid", [NO_QUANTIZER] = "Sigmoid",
        [OTHER_PARAMS] = "Flatten", [BETA] = "Gemm",
    };
    for (int way = 0; way < WAYS; way++) {
        struct graph *g = graph_shaped(2, (int64_t[]){3, 4});
        char ops[128];
        params(g, "x", 0.04F, DT_U8, 108);
        params(g, "y", 0.07F, DT_U8, 3);
        pair(g, "x", "x", "xf");
        if (way == BETA) {
            dequantized(g, "v", DT_S8, 2, (int64_t[]){4, 5}, 0.02F, -1);
            dequantized(g, "b", DT_S32, 1, (int64_t[]){5}, 0.0008F, -1);
            struct node *n = add_node(g, "Gemm", IN("xf", "v", "b"), "made");
            graph_attr_float(g, n, "beta", 0.5F);
        } else if (way == FLOAT_BESIDE) {
            static const float one[] = {1};
            constant(g, "one", DT_F32, 0, NULL, one);
            add_node(g, "Add", IN("xf", "one"), "made");
        } else {
            add_node(g, wanted[way], IN("xf"), "made");
        }
        if (way != NO_QUANTIZER) {
            pair(g, "made", "y", "y");
            output(g, "y");
        }
        if (way == SEEN || way == NO_QUANTIZER) {
            output(g, "made");
        }
        assert_int_equal(graph_finish(g, NULL), OK);
        executed(g, ops, sizeof ops);
        char alone[32];
        snprintf(alone, sizeof alone, " %s", wanted[way]);
        if (!strstr(ops, alone)) {
            fail_msg("%s is no more there: %s", wanted[way], ops);
        }
        graph_free(g);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pairs_become_one),           cmocka_unit_test(pairs_that_stay),
        cmocka_unit_test(groups_are_integers),        cmocka_unit_test(types_may_differ),
        cmocka_unit_test(float_weights_become_codes), cmocka_unit_test(no_groups),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
