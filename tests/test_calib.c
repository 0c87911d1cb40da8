/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * test_calib.c: calibration caches, good, bad and damaged, and what implicit quantization makes of
 * a small graph. Whole models go through tests/oracle/check_implicit.py.
 */
#include "tests/scratch.h"

#include <math.h>

#include "analysis/analysis.h"

/* ---- The file ------------------------------------------------------------------------------- */

static const char good[] = "TRT-8501-EntropyCalibration2\r\n"
                           "image: 3c008912\r\n"
                           "(Unnamed Layer* 48) [Constant]: output: 3C92AA10\n"
                           "\n"
                           "nothing: 0\n"
                           "short: 8912\n"
                           "last: 3f800000";

static float scale_of(const struct calibration *c, const char *tensor)
{
    int at = strmap_get(&c->by_name, tensor, -1);
    return at < 0 ? NAN : c->scales[at].scale;
}

static void caches_are_read(void **state)
{
    (void)state;
    struct calibration c;
    struct err err = {0};
    assert_error(calibration_load(scratch_text("good.cache", good), &c, &err), err, OK, "");
    assert_int_equal(c.n, 5);
    assert_true(scale_of(&c, "image") == 0x1.011224p-7F);
    assert_true(scale_of(&c, "(Unnamed Layer* 48) [Constant]: output") == 0x1.25542p-6F);
    assert_true(scale_of(&c, "nothing") == 0);
    assert_true(scale_of(&c, "short") > 0);
    assert_true(scale_of(&c, "last") == 1);
    calibration_fini(&c);
}

static void bad_caches_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text, *part;
    } cases[] = {
        {"", "line 1: '', expected 'TRT-VERSION-ALGORITHM'"},
        {"image: 3c008912\n", "line 1: 'image: 3c008912', expected"},
        {"TRT-8501-X\n", "without tensors"},
        {"TRT-8501-X\nimage 3c008912\n", "line 2: expected 'NAME: HEX'"},
        {"TRT-8501-X\n: 3c008912\n", "line 2: expected 'NAME: HEX'"},
        {"TRT-8501-X\nimage: \n", "line 2: '', expected 1 to 8"},
        {"TRT-8501-X\nimage: 3c0089123\n", "line 2: '3c0089123', expected 1 to 8"},
        {"TRT-8501-X\nimage: 0.5\n", "line 2: '0.5', expected 1 to 8"},
        {"TRT-8501-X\nimage: 3c00 8912\n", "expected 1 to 8"},
        {"TRT-8501-X\n\nimage: 7f800000\n", "line 3: scale inf"},
        {"TRT-8501-X\nimage: 7fc00000\n", "line 2: scale nan"},
        {"TRT-8501-X\nimage: bf800000\n", "line 2: scale -1"},
        {"TRT-8501-X\na: 3c008912\na: 3c008912\n", "line 3: tensor 'a' a second time"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct calibration c;
        struct err err = {0};
        int rc = calibration_load(scratch_text("bad.cache", cases[i].text), &c, &err);
        assert_error(rc, err, E_FORMAT, cases[i].part);
        assert_non_null(strstr(err.text, "bad.cache: "));
    }
    struct calibration c;
    struct err err = {0};
    static const char zero[] = "TRT-1-X\na\0b: 3c008912\n";
    const char *path = scratch_bytes("zero.cache", zero, sizeof zero - 1);
    assert_error(calibration_load(path, &c, &err), err, E_FORMAT, "zero byte");
    assert_error(calibration_load(scratch("none.cache"), &c, &err), err, E_IO, "none.cache");
    char *name = mem_alloc(6000);
    memset(name, 'n', 5999);
    char *text = mem_printf("TRT-1-X\n%s: 3c008912\n", name);
    assert_error(calibration_load(scratch_text("long.cache", text), &c, &err), err, E_FORMAT,
                 "a name of 5999 bytes");
    free(text);
    free(name);
}

/* Bytes changed and ends cut off: read or refused, nothing else, and whatever is read is a scale.
 */
static void damaged_caches_do_no_harm(void **state)
{
    (void)state;
    uint32_t seed = 1;
    int refused = 0;
    for (int round = 0; round < 2000; round++) {
        char text[sizeof good];
        memcpy(text, good, sizeof good);
        size_t n = sizeof good - 1;
        for (int k = 0; k < 1 + round % 4; k++) {
            seed = seed * 1664525U + 1013904223U;
            text[(seed >> 8) % n] = (char)(seed >> 24);
        }
        n -= round % 3 ? 0 : (size_t)(seed >> 10) % n;
        struct calibration c;
        struct err err = {0};
        int rc = calibration_load(scratch_bytes("damaged.cache", text, n), &c, &err);
        assert_true(rc == OK || rc == E_FORMAT);
        refused += rc != OK;
        for (size_t i = 0; rc == OK && i < c.n; i++) {
            assert_true(isfinite(c.scales[i].scale) && c.scales[i].scale >= 0);
        }
        if (!rc) {
            calibration_fini(&c);
        }
    }
    assert_in_range(refused, 100, 1900);
}

/* ---- The graph ------------------------------------------------------------------------------ */

enum { C = 2, SIDE = 3 };

static void constant(struct graph *g, const char *name, int rank, const int64_t *dims,
                     const float *data)
{
    struct tensor *t = NULL;
    assert_int_equal(tensor_new(DT_F32, rank, dims, NULL, &t, NULL), OK);
    memcpy(t->data, data, t->size);
    struct value *v = &g->values[graph_value(g, name)];
    v->constant = t;
    v->dtype = DT_F32;
}

static void node(struct graph *g, const char *op, size_t n, const char *const *in, const char *out)
{
    int v[5], y = graph_value(g, out);
    for (size_t i = 0; i < n; i++) {
        v[i] = graph_value(g, in[i]);
    }
    graph_add(g, op, "", out, (int)n, v, 1, &y);
}

#define IN(...)                                                                                    \
    COUNT(((const char *const[]){__VA_ARGS__})), (const char *const[])                             \
    {                                                                                              \
        __VA_ARGS__                                                                                \
    }

static const float weight[C * C] = {0.5F, -1, 0.25F, 2}, bias[C] = {0.5F, -0.5F};
static const float gains[C] = {2, 0.5F}, beta[C] = {0.1F, 0.2F}, mean[C] = {0.3F, -0.1F},
                   variance[C] = {4, 0.25F};

/* x -> Conv -> BatchNormalization -> Relu -> r -> Conv -> Add r -> y, of opset 9. */
static struct graph *small_graph(void)
{
    struct graph *g = graph_new();
    g->path = "small";
    g->opset = 9;
    g->inputs = mem_alloc(sizeof *g->inputs);
    g->outputs = mem_alloc(sizeof *g->outputs);
    g->inputs[g->n_inputs++] = graph_value(g, "x");
    g->values[0] = (struct value){.name = g->values[0].name,
                                  .producer = -1,
                                  .is_input = true,
                                  .dtype = DT_F32,
                                  .rank = 4,
                                  .dims = {1, C, SIDE, SIDE}};
    const int64_t row[] = {C}, square[] = {C, C, 1, 1};
    constant(g, "w", 4, square, weight);
    constant(g, "b", 1, row, bias);
    constant(g, "gamma", 1, row, gains);
    constant(g, "beta", 1, row, beta);
    constant(g, "mean", 1, row, mean);
    constant(g, "variance", 1, row, variance);
    node(g, "Conv", IN("x", "w", "b"), "c");
    node(g, "BatchNormalization", IN("c", "gamma", "beta", "mean", "variance"), "n");
    node(g, "Relu", IN("n"), "r");
    node(g, "Conv", IN("r", "w"), "d");
    node(g, "Add", IN("d", "r"), "y");
    g->outputs[g->n_outputs++] = graph_value(g, "y");
    g->values[g->outputs[0]].is_output = true;
    assert_int_equal(graph_finish(g, NULL), OK);
    return g;
}

/* A cache of these tensors, all with one scale. */
static struct calibration cache_of(size_t n, const char *const *names, float scale)
{
    struct calibration c = {0};
    c.scales = mem_alloc((n + 1) * sizeof *c.scales);
    for (; c.n < n; c.n++) {
        c.scales[c.n] = (struct calibrated){.tensor = names[c.n], .scale = scale};
        strmap_put(&c.by_name, names[c.n], (int)c.n);
    }
    return c;
}

static const struct tensor *constant_of(const struct graph *g, const char *name)
{
    int v = graph_find(g, name);
    assert_true(v >= 0 && g->values[v].constant);
    return g->values[v].constant;
}

/* What runs: both convolutions with integers, the second with the residual in its kernel. The first
 * has the BatchNormalization in its weights, which are then quantized. */
static void check_executed(const struct graph *g, const struct plan *p)
{
    int norm = graph_find_node(g, "n");
    assert_int_equal(g->opset, 13);
    assert_true(norm < 0);
    const struct tensor *codes = constant_of(g, "c_folded_weight_quantized");
    const struct tensor *scales = constant_of(g, "c_folded_weight_scale");
    for (size_t c = 0; c < C; c++) {
        double s = (double)gains[c] / sqrt((double)variance[c] + 1e-5);
        const float a = (float)((double)weight[c * C] * s),
                    b = (float)((double)weight[c * C + 1] * s);
        const float scale = fmaxf(fabsf(a), fabsf(b)) / 127.0F;
        assert_true(((const float *)scales->data)[c] == scale);
        assert_int_equal(((const int8_t *)codes->data)[c * C], lrintf(a / scale));
        assert_int_equal(((const int8_t *)codes->data)[c * C + 1], lrintf(b / scale));
    }
    const struct graph *x = plan_graph(p);
    int found = 0;
    for (size_t i = 0; i < x->n_nodes; i++) {
        const struct node *n = &x->nodes[i];
        bool second = strcmp(n->name, "d") == 0;
        if (strcmp(n->op, "Conv") == 0) {
            assert_string_equal(n->domain, "tensorrt");
            assert_int_equal(n->in[9] >= 0, second);
            found++;
        }
        assert_string_not_equal(n->op, "Add");
    }
    assert_int_equal(found, 2);
}

static struct tensor *run(const struct plan *p)
{
    struct tensor *x = NULL, *y = NULL;
    struct err err = {0};
    assert_int_equal(tensor_new(DT_F32, 4, (const int64_t[]){1, C, SIDE, SIDE}, NULL, &x, NULL),
                     OK);
    for (size_t i = 0; i < x->n; i++) {
        ((float *)x->data)[i] = (float)sin(1.0 + 0.9 * (double)i);
    }
    assert_error(plan_run(p, (const struct tensor *const *)&x, &y, NULL, &err), err, OK, "");
    tensor_free(x);
    return y;
}

static void graphs_are_quantized(void **state)
{
    (void)state;
    struct graph *f = small_graph(), *g = NULL;
    struct calibration c = cache_of(2, (const char *const[]){"x", "r"}, 1.0F / 64);
    struct implicit report;
    struct plan *pf = NULL, *pg = NULL;
    const struct plan_options o = {.numerics = NUM_TENSORRT};
    struct err err = {0};
    assert_error(graph_quantize(f, &c, &g, &report, &err), err, OK, "");
    assert_int_equal(report.layers, 2);
    assert_int_equal(report.left, 0);
    assert_int_equal(report.tensors, 2);
    assert_int_equal(plan_new(f, &(struct plan_options){.reference = true}, &pf, &err), OK);
    assert_error(plan_new(g, &o, &pg, &err), err, OK, "");
    check_executed(g, pg);
    struct tensor *a = run(pf), *b = run(pg);
    for (size_t i = 0; i < a->n; i++) {
        assert_true(fabs(tensor_f64(a, i) - tensor_f64(b, i)) < 0.05);
        assert_true(i || tensor_f64(a, i) != tensor_f64(b, i)); /* it is quantized */
    }
    tensor_free(a);
    tensor_free(b);
    plan_free(pf);
    plan_free(pg);
    graph_free(g);
    graph_free(f);
    calibration_fini(&c);
}

static void graphs_are_refused(void **state)
{
    (void)state;
    struct graph *f = small_graph(), *g = NULL;
    struct implicit report;
    struct err err = {0};
    struct calibration c = cache_of(1, (const char *const[]){"x"}, 1);
    assert_error(graph_quantize(f, &c, &g, &report, &err), err, E_SHAPE,
                 "none of its 2 weighted layers has a scale");
    calibration_fini(&c);
    c = cache_of(2, (const char *const[]){"x", "r"}, 0); /* nothing was seen */
    assert_error(graph_quantize(f, &c, &g, &report, &err), err, E_SHAPE, "none of its 2");
    node(f, "QuantizeLinear", IN("y", "b"), "q");
    assert_int_equal(graph_finish(f, NULL), OK);
    assert_error(graph_quantize(f, &c, &g, &report, &err), err, E_UNSUPPORTED,
                 "node 'q' (QuantizeLinear)");
    calibration_fini(&c);
    graph_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(caches_are_read),           cmocka_unit_test(bad_caches_are_refused),
        cmocka_unit_test(damaged_caches_do_no_harm), cmocka_unit_test(graphs_are_quantized),
        cmocka_unit_test(graphs_are_refused),
    };
    return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
