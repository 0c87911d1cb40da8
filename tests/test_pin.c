/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * test_pin.c: matching and pins on a pair built by hand: FP32 is MatMul, Relu, MatMul, Add; the
 * INT8 side has the Relu absorbed by its quantizer, as real quantizers leave it. Real pairs go
 * through tests/oracle/check_mixed.py.
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

enum { N = 4 };

/* ---- The pair ------------------------------------------------------------------------------- */

static void node(struct graph *g, const char *op, const char *name, int n, const char *const *in,
                 const char *out)
{
    int v[4], y = graph_value(g, out);
    for (int i = 0; i < n; i++) {
        v[i] = graph_value(g, in[i]);
    }
    graph_add(g, op, "", name, n, v, 1, &y);
}

static struct graph *graph_of(const char *path)
{
    struct graph *g = graph_new();
    g->path = path;
    g->opset = 13;
    g->inputs = mem_alloc(sizeof *g->inputs);
    g->outputs = mem_alloc(sizeof *g->outputs);
    g->inputs[g->n_inputs++] = graph_value(g, "x");
    struct value *x = &g->values[0];
    x->is_input = true;
    x->dtype = DT_F32;
    x->rank = 2;
    x->dims[0] = 1;
    x->dims[1] = N;
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

static float weight(int i, int k)
{
    return (float)sin(1.0 + i * 0.7 + k * 3.1);
}

static struct graph *fp32_graph(void)
{
    struct graph *g = graph_of("fp32");
    const int64_t square[] = {N, N}, row[] = {N};
    float w[2][N * N], b[N] = {0.5f, -0.25f, 0, 1};
    for (int i = 0; i < 2 * N * N; i++) {
        w[i / (N * N)][i % (N * N)] = weight(i % (N * N), i / (N * N));
    }
    constant(g, "w1", DT_F32, 2, square, w[0]);
    constant(g, "w2", DT_F32, 2, square, w[1]);
    constant(g, "b", DT_F32, 1, row, b);
    node(g, "MatMul", "mm1", IN("x", "w1"), "h");
    node(g, "Relu", "relu", IN("h"), "r");
    node(g, "MatMul", "mm2", IN("r", "w2"), "m");
    node(g, "Add", "add", IN("m", "b"), "y");
    finish(g);
    return g;
}

/* QuantizeLinear and DequantizeLinear around `from`; the reading is called `to`. */
static void qdq(struct graph *g, const char *from, const char *to, const char *s, const char *z)
{
    char q[32], name[32];
    snprintf(q, sizeof q, "%s_QuantizeLinear_Output", from);
    snprintf(name, sizeof name, "%s_q", from);
    node(g, "QuantizeLinear", name, IN(from, s, z), q);
    snprintf(name, sizeof name, "%s_dq", from);
    node(g, "DequantizeLinear", name, IN(q, s, z), to);
}

static struct graph *int8_graph(void)
{
    struct graph *g = graph_of("int8");
    const int64_t square[] = {N, N}, row[] = {N};
    const float s = 4.0f / 255, sw = 1 / 127.0f, b[N] = {0.5f, -0.25f, 0, 1};
    const uint8_t z_mid = 128, z_low = 0;
    const int8_t z_w = 0;
    int8_t w[2][N * N];
    for (int i = 0; i < 2 * N * N; i++) {
        w[i / (N * N)][i % (N * N)] =
            (int8_t)lrint(127.0 * (double)weight(i % (N * N), i / (N * N)));
    }
    constant(g, "s", DT_F32, 0, NULL, &s);
    constant(g, "sw", DT_F32, 0, NULL, &sw);
    constant(g, "zm", DT_U8, 0, NULL, &z_mid);
    constant(g, "z0", DT_U8, 0, NULL, &z_low);
    constant(g, "zw", DT_S8, 0, NULL, &z_w);
    constant(g, "w1_q", DT_S8, 2, square, w[0]);
    constant(g, "w2_q", DT_S8, 2, square, w[1]);
    constant(g, "b", DT_F32, 1, row, b);
    node(g, "DequantizeLinear", "w1_dq", IN("w1_q", "sw", "zw"), "w1_f");
    node(g, "DequantizeLinear", "w2_dq", IN("w2_q", "sw", "zw"), "w2_f");
    qdq(g, "x", "x_f", "s", "zm");
    node(g, "MatMul", "mm1", IN("x_f", "w1_f"), "h");
    qdq(g, "h", "h_f", "s", "z0"); /* zero point 0: the Relu is in here */
    node(g, "MatMul", "mm2", IN("h_f", "w2_f"), "m");
    qdq(g, "m", "m_f", "s", "zm");
    node(g, "Add", "add", IN("m_f", "b"), "y");
    finish(g);
    return g;
}

struct pair {
    struct graph *f, *i;
    struct match m;
};

static int set_up(void **state)
{
    struct pair *p = mem_alloc(sizeof *p);
    struct err e = {0};
    p->f = fp32_graph();
    p->i = int8_graph();
    if (match_graphs(p->f, p->i, 0, NULL, &p->m, &e)) {
        fail_msg("%s", e.text);
    }
    *state = p;
    return 0;
}

static int tear_down(void **state)
{
    struct pair *p = *state;
    match_fini(&p->m);
    graph_free(p->f);
    graph_free(p->i);
    free(p);
    return 0;
}

static size_t layer(const struct pair *p, const char *name)
{
    for (size_t k = 0; k < p->m.n_layers; k++) {
        if (strcmp(p->m.layers[k].name, name) == 0) {
            return k;
        }
    }
    fail_msg("no layer %s", name);
    return 0;
}

static int count(const struct graph *g, const char *op)
{
    int n = 0;
    for (size_t k = 0; k < g->n_nodes; k++) {
        n += strcmp(g->nodes[k].op, op) == 0;
    }
    return n;
}

/* Runs g on a fixed input; out has N values. */
static void run(const struct graph *g, float *out)
{
    struct plan_options o = {0};
    struct plan *p = NULL;
    struct err e = {0};
    struct tensor *x = NULL, *y = NULL;
    const int64_t dims[] = {1, N};
    if (plan_new(g, &o, &p, &e)) {
        fail_msg("%s", e.text);
    }
    assert_int_equal(tensor_new(DT_F32, 2, dims, NULL, &x, NULL), OK);
    memcpy(x->data, (float[N]){0.31f, -0.77f, 1.1f, 0.02f}, sizeof(float[N]));
    const struct tensor *in[] = {x};
    if (plan_run(p, in, &y, NULL, &e)) {
        fail_msg("%s", e.text);
    }
    memcpy(out, y->data, sizeof(float[N]));
    tensor_free(x);
    tensor_free(y);
    plan_free(p);
}

struct tapped {
    const struct graph *g;
    const char *name;
    float *out;
};

static int keep_value(void *ctx, int value, const struct tensor *t, struct err *err)
{
    const struct tapped *x = ctx;
    (void)err;
    if (strcmp(x->g->values[value].name, x->name) == 0) {
        memcpy(x->out, t->data, sizeof(float[N]));
    }
    return OK;
}

/* What a run makes of a value of g. */
static void value_of(const struct graph *g, int value, float *out)
{
    struct plan_options o = {0};
    struct plan *p = NULL;
    struct tensor *x = NULL;
    const int64_t dims[] = {1, N};
    assert_int_equal(plan_new(g, &o, &p, NULL), OK);
    assert_int_equal(tensor_new(DT_F32, 2, dims, NULL, &x, NULL), OK);
    memcpy(x->data, (float[N]){0.31f, -0.77f, 1.1f, 0.02f}, sizeof(float[N]));
    const struct tensor *in[] = {x};
    struct tapped tapped = {plan_graph(p), g->values[value].name, out};
    struct run_options ro = {.tap = keep_value, .tap_ctx = &tapped};
    memset(out, 0xff, sizeof(float[N]));
    assert_int_equal(plan_run(p, in, NULL, &ro, NULL), OK);
    tensor_free(x);
    plan_free(p);
}

static struct graph *pinned_as(struct pair *p, size_t n, const char *const *names,
                               enum precision as, int *values)
{
    uint8_t *precision = mem_alloc(p->m.n_layers);
    memset(precision, (int)as, p->m.n_layers);
    bool *set = mem_alloc(p->m.n_layers);
    for (size_t k = 0; k < n; k++) {
        set[layer(p, names[k])] = true;
    }
    struct pin_set pins = {.n_layers = p->m.n_layers, .pinned = set, .as = precision};
    struct graph *g = NULL;
    struct err e = {0};
    if (pin_apply(p->f, p->i, &p->m, &pins, &g, values, &e)) {
        fail_msg("%s", e.text);
    }
    free(set);
    free(precision);
    return g;
}

static struct graph *pinned(struct pair *p, size_t n, const char *const *names, int *values)
{
    return pinned_as(p, n, names, PREC_FP32, values);
}

static bool in_effect_as(struct pair *p, const struct graph *g, const int *values,
                         enum precision as, const char *name)
{
    struct plan_options o = {0};
    struct plan *plan = NULL;
    const char *why = NULL;
    size_t at = layer(p, name);
    assert_int_equal(plan_new(g, &o, &plan, NULL), OK);
    bool yes = pin_in_effect(plan_graph(plan), g->values[values[at]].name, p->f,
                             p->m.layers[at].fp32, as, &why);
    assert_true(yes == (why == NULL));
    plan_free(plan);
    return yes;
}

static bool in_effect(struct pair *p, const struct graph *g, const int *values, const char *name)
{
    return in_effect_as(p, g, values, PREC_FP32, name);
}

/* ---- Tests ---------------------------------------------------------------------------------- */

static void an_absorbed_relu_is_not_compared_with_what_stands_before_it(void **state)
{
    struct pair *p = *state;
    assert_int_equal(p->m.n_layers, 3);
    const struct layer *l = &p->m.layers[layer(p, "mm1")];
    assert_string_equal(p->f->values[l->fp32].name, "r");
    assert_string_equal(p->i->values[l->int8].name, "h_QuantizeLinear_Output");
    assert_string_equal(l->op, "MatMul");
    assert_true(l->quantized && l->q.zero[0] == 0);
    assert_int_equal(p->m.n_unmatched, 1);
    assert_string_equal(p->m.unmatched[0].tensor, "h");
    assert_string_equal(p->m.unmatched[0].reason, "fused into 'mm1' in INT8");
    int nodes[LAYER_NODES];
    assert_int_equal(layer_nodes(p->f, &p->m, layer(p, "mm1"), nodes), 2);
}

static void pinning_everything_gives_the_fp32_model(void **state)
{
    struct pair *p = *state;
    int values[8];
    const char *const all[] = {"mm1", "mm2", "add"};
    struct graph *g = pinned(p, 3, all, values);
    float a[N], b[N], c[N];
    run(p->f, a);
    run(g, b);
    run(p->i, c);
    assert_memory_equal(a, b, sizeof a);
    assert_true(memcmp(a, c, sizeof a) != 0);
    assert_int_equal(count(g, "QuantizeLinear") + count(g, "DequantizeLinear"), 0);
    graph_free(g);
}

static void a_pinned_layer_computes_the_relu_and_stays_float(void **state)
{
    struct pair *p = *state;
    int values[8];
    const char *const one[] = {"mm1"};
    struct graph *g = pinned(p, 1, one, values);
    assert_int_equal(count(g, "Relu"), 1);
    assert_int_equal(count(g, "Max"), 1); /* keeps the runtime from fusing it back */
    assert_true(in_effect(p, g, values, "mm1"));
    assert_false(in_effect(p, g, values, "mm2"));
    assert_true(values[layer(p, "mm1")] != p->m.layers[layer(p, "mm1")].int8);
    assert_int_equal(values[layer(p, "mm2")], p->m.layers[layer(p, "mm2")].int8);
    graph_free(g);
}

static void between_adjacent_pins_no_quantizer_remains(void **state)
{
    struct pair *p = *state;
    int values[8];
    const char *const two[] = {"mm1", "mm2"};
    struct graph *g = pinned(p, 2, two, values);
    /* x enters as a float (no pin could free it otherwise); m is quantized for nobody. */
    assert_int_equal(count(g, "QuantizeLinear"), 0);
    assert_true(in_effect(p, g, values, "mm1") && in_effect(p, g, values, "mm2"));
    float a[N], b[N];
    run(p->f, a);
    run(g, b);
    assert_memory_equal(a, b, sizeof a);
    graph_free(g);
}

/* What the layer mm1 is to make, in the plainest terms: every float rounded by `to`. */
static void mm1_by_hand(float (*to)(float), float *out)
{
    const float x[N] = {0.31f, -0.77f, 1.1f, 0.02f};
    for (int k = 0; k < N; k++) {
        float sum = 0;
        for (int i = 0; i < N; i++) {
            sum = fmaf(to(x[i]), to(weight(i * N + k, 0)), sum);
        }
        out[k] = to(sum > 0 ? sum : 0);
    }
}

static float as_half(float x)
{
    return f16_to_f32(f32_to_f16(x));
}

static float as_bfloat(float x)
{
    return bf16_to_f32(f32_to_bf16(x));
}

static void halves_are_rounded_at_both_ends_and_in_the_weights(void **state)
{
    struct pair *p = *state;
    static const struct {
        enum precision as;
        float (*to)(float);
        double step;
    } cases[] = {{PREC_FP16, as_half, 0x1p-10}, {PREC_BF16, as_bfloat, 0x1p-7}};
    const char *const one[] = {"mm1"};
    for (size_t i = 0; i < COUNT(cases); i++) {
        int values[8];
        float want[N], got[N];
        struct graph *g = pinned_as(p, 1, one, cases[i].as, values);
        assert_int_equal(count(g, "Cast"), 4);
        assert_true(in_effect_as(p, g, values, cases[i].as, "mm1"));
        assert_false(in_effect_as(p, g, values, PREC_FP32, "mm1")); /* its weights are others */
        mm1_by_hand(cases[i].to, want);
        value_of(g, values[layer(p, "mm1")], got);
        for (int k = 0; k < N; k++) {
            assert_true(cases[i].to(got[k]) == got[k]);
            assert_true(fabs((double)got[k] - (double)want[k]) <=
                        cases[i].step * fabs((double)want[k]));
        }
        graph_free(g);
    }
}

static void neighbours_share_what_was_rounded(void **state)
{
    struct pair *p = *state;
    int values[8];
    const char *const two[] = {"mm1", "mm2"};
    struct graph *g = pinned_as(p, 2, two, PREC_FP16, values);
    assert_int_equal(count(g, "Cast"), 6); /* at the input, between them, at the end */
    assert_true(in_effect_as(p, g, values, PREC_FP16, "mm1"));
    assert_true(in_effect_as(p, g, values, PREC_FP16, "mm2"));
    graph_free(g);
}

static void int16_has_codes_that_hold_those_of_int8(void **state)
{
    struct pair *p = *state;
    int values[8];
    float got[N];
    const char *const one[] = {"mm1"};
    struct graph *g = pinned_as(p, 1, one, PREC_INT16, values);
    assert_true(in_effect_as(p, g, values, PREC_INT16, "mm1"));
    assert_false(in_effect_as(p, g, values, PREC_FP16, "mm1"));
    assert_int_equal(g->opset_ms, 1);     /* opset 13 has no int16 quantizers */
    const double scale = 4.0 / 255 / 128; /* zero point 0: 255 steps below the highest code */
    value_of(g, values[layer(p, "mm1")], got);
    for (int k = 0; k < N; k++) {
        double code = (double)got[k] / scale;
        assert_true(fabs(code - rint(code)) < 1e-2 && code >= 0 && code <= INT16_MAX);
    }
    graph_free(g);
}

static void what_cannot_be_is_refused(void **state)
{
    struct pair *p = *state;
    struct graph *g = NULL;
    int values[8];
    bool set[3] = {false};
    uint8_t as[3] = {PREC_INT16, PREC_INT16, PREC_INT16};
    struct err e = {0};
    struct pin_set pins = {.n_layers = p->m.n_layers, .pinned = set, .as = as};
    set[layer(p, "add")] = true; /* float in the INT8 model: nothing tells a scale */
    assert_int_equal(pin_apply(p->f, p->i, &p->m, &pins, &g, values, &e), E_UNSUPPORTED);
    assert_non_null(strstr(e.text, "scale of int16"));
    as[layer(p, "add")] = PREC_BF16;
    p->i->opset = 12;
    assert_int_equal(pin_apply(p->f, p->i, &p->m, &pins, &g, values, &e), E_UNSUPPORTED);
    assert_non_null(strstr(e.text, "opset 13"));
}

static void hand_made_pairs_win(void **state)
{
    struct pair *p = *state;
    struct match m;
    struct err e = {0};
    const struct match_pair hand[] = {{"h", "h"}};
    assert_int_equal(match_graphs(p->f, p->i, 1, hand, &m, &e), OK);
    bool found = false;
    for (size_t k = 0; k < m.n_layers; k++) {
        found = found || (m.layers[k].by == MATCH_HAND &&
                          strcmp(p->f->values[m.layers[k].fp32].name, "h") == 0);
    }
    assert_true(found);
    match_fini(&m);
    const struct match_pair wrong[] = {{"no such tensor", "h"}};
    assert_int_equal(match_graphs(p->f, p->i, 1, wrong, &m, &e), E_USAGE);
}

static void strangers_are_refused(void **state)
{
    struct pair *p = *state;
    struct match m;
    struct err e = {0};
    struct graph *g = graph_of("other");
    g->values[0].dims[1] = N + 1;
    node(g, "Relu", "other", IN("x"), "y");
    finish(g);
    assert_int_equal(match_graphs(p->f, g, 0, NULL, &m, &e), E_SHAPE);
    assert_non_null(strstr(e.text, "do not belong together"));
    graph_free(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(an_absorbed_relu_is_not_compared_with_what_stands_before_it,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(pinning_everything_gives_the_fp32_model, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_pinned_layer_computes_the_relu_and_stays_float, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(between_adjacent_pins_no_quantizer_remains, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(halves_are_rounded_at_both_ends_and_in_the_weights, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(neighbours_share_what_was_rounded, set_up, tear_down),
        cmocka_unit_test_setup_teardown(int16_has_codes_that_hold_those_of_int8, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_cannot_be_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(hand_made_pairs_win, set_up, tear_down),
        cmocka_unit_test_setup_teardown(strangers_are_refused, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
