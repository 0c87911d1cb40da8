/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * test_quantize.c: calibration methods and scales on distributions whose answers are known, and
 * where quantizers go in small graphs.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "analysis/analysis.h"

/* ---- Material ------------------------------------------------------------------------------- */

enum { N = 100000 };

static double laplace_at(double p)
{
    return p < 0.5 ? log(2 * p) : -log(2 * (1 - p));
}

/* By bisection of the distribution function. */
static double gauss_at(double p)
{
    double lo = -9, hi = 9;
    for (int i = 0; i < 60; i++) {
        double m = (lo + hi) / 2;
        *(erfc(-m / sqrt(2)) / 2 < p ? &lo : &hi) = m;
    }
    return lo;
}

static double uniform_at(double p)
{
    return 2 * p - 1;
}

/* The values of a distribution at N evenly spread shares, so that nothing is left to chance; those
 * below `least` become it. */
static float *values_of(double (*at)(double), double scale, double least)
{
    float *x = mem_alloc(N * sizeof *x);
    for (int i = 0; i < N; i++) {
        x[i] = (float)fmax(scale * at((i + 0.5) / N), least);
    }
    return x;
}

static struct observation observe(size_t n, const float *x)
{
    struct observation o;
    observation_init(&o, KEEP_HIST | KEEP_TAIL);
    observation_add(&o, n, x);
    return o;
}

static struct range_goal goal(enum dtype d, bool symmetric)
{
    return (struct range_goal){.codes = {.dtype = d, .symmetric = symmetric}, .percentile = 99};
}

static void choose(const char *method, const struct observation *o, enum dtype d, bool symmetric,
                   double r[2])
{
    struct range_goal g = goal(d, symmetric);
    range_method_find(method)->choose(o, &g, r);
}

/* ---- Scales --------------------------------------------------------------------------------- */

static void check_codes(struct code_choice c, double lo, double hi, double scale, int zero)
{
    float s;
    int32_t z;
    codes_params(&c, lo, hi, &s, &z);
    assert_float_equal((double)s, scale, scale * 1e-6);
    assert_int_equal(z, zero);
}

static void test_scales(void **state)
{
    (void)state;
    check_codes((struct code_choice){.dtype = DT_U8}, 0, 255, 1, 0);
    check_codes((struct code_choice){.dtype = DT_U8}, 3, 255, 1, 0); /* holds 0 */
    check_codes((struct code_choice){.dtype = DT_U8}, -1, 1, 2.0 / 255, 128);
    check_codes((struct code_choice){.dtype = DT_S8}, -1, 1, 2.0 / 255, 0);
    check_codes((struct code_choice){.dtype = DT_S8}, 0, 1, 1.0 / 255, -128);
    check_codes((struct code_choice){.dtype = DT_S8, .symmetric = true}, -1, 2, 2.0 / 127, 0);
    check_codes((struct code_choice){.dtype = DT_U8, .symmetric = true}, -1, 2, 4.0 / 255, 128);
    check_codes((struct code_choice){.dtype = DT_S8, .reduced = true}, -1, 1, 1.0 / 64, 0);
    check_codes((struct code_choice){.dtype = DT_U8, .reduced = true}, 0, 1, 1.0 / 127, 0);
    check_codes((struct code_choice){.dtype = DT_S16, .symmetric = true}, -1, 1, 1.0 / 32767, 0);
    check_codes((struct code_choice){.dtype = DT_S4, .symmetric = true}, -1, 1, 2.0 / 15, 0);
    check_codes((struct code_choice){.dtype = DT_U8, .power_of_two = true}, 0, 1, 1.0 / 128, 0);
    check_codes((struct code_choice){.dtype = DT_S8}, 0, 0, 1, 0);
}

/* ---- Noise ---------------------------------------------------------------------------------- */

static double noise_by_hand(const float *x, double s, int z, int lo, int hi)
{
    double sum = 0;
    for (int i = 0; i < N; i++) {
        double q = fmin(fmax(rint((double)x[i] / s) + z, lo), hi);
        sum += pow((double)x[i] - (q - z) * s, 2);
    }
    return sum;
}

static void test_noise(void **state)
{
    (void)state;
    float *x = values_of(gauss_at, 1, -9);
    struct observation o = observe(N, x);
    const struct {
        enum dtype d;
        double s;
        int z, lo, hi;
    } cases[] = {
        {DT_S8, 0.03, 0, -128, 127}, /* rounding alone */
        {DT_S8, 0.01, 0, -128, 127}, /* clips a fifth */
        {DT_U8, 0.03, 40, 0, 255},   /* clips one end */
        {DT_S4, 0.5, 0, -8, 7},      /* steps of many bins */
        {DT_S16, 0.001, 0, -32768, 32767},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        double want = noise_by_hand(x, cases[i].s, cases[i].z, cases[i].lo, cases[i].hi);
        double got = observation_noise(&o, cases[i].d, (float)cases[i].s, cases[i].z);
        assert_float_equal(got / want, 1, 0.02);
    }
    free(x);
    observation_fini(&o);
    /* Zeros are exact. */
    x = mem_alloc(N * sizeof *x);
    o = observe(N, x);
    assert_float_equal(observation_noise(&o, DT_S8, 0.1F, 0), 0, 0);
    free(x);
    observation_fini(&o);
}

/* ---- Observing ------------------------------------------------------------------------------ */

static void test_merge(void **state)
{
    (void)state;
    float *x = values_of(laplace_at, 3, -100);
    struct observation whole = observe(N, x), a = observe(N / 3, x),
                       b = observe(N - N / 3, x + N / 3);
    x[0] = NAN;
    x[1] = -INFINITY;
    struct observation odd = observe(4, x);
    assert_int_equal(odd.nonfinite, 2);
    assert_int_equal(odd.n, 2);
    double halves[2] = {(a.lo + b.lo) / 2, (a.hi + b.hi) / 2}, r[2];
    observation_merge(&a, &b);
    assert_int_equal(a.n, whole.n);
    assert_int_equal(a.images, 2);
    assert_true(a.lo == whole.lo && a.hi == whole.hi);
    assert_memory_equal(a.hist, whole.hist, sizeof *a.hist);
    choose("average", &a, DT_U8, false, r);
    assert_float_equal(r[0], halves[0], 1e-12);
    assert_float_equal(r[1], halves[1], 1e-12);
    choose("minmax", &a, DT_U8, false, r);
    assert_true(r[0] == whole.lo && r[1] == whole.hi);
    observation_fini(&whole);
    observation_fini(&a);
    observation_fini(&b);
    observation_fini(&odd);
    free(x);
}

/* ---- Methods -------------------------------------------------------------------------------- */

static int descending(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x < y) - (x > y);
}

/* The greatest magnitudes, by sorting all of them: whatever the order and the parts. */
static void test_tail(void **state)
{
    (void)state;
    enum { PART = 7000 };
    float *x = mem_alloc(N * sizeof *x), *sorted = mem_alloc(N * sizeof *sorted);
    uint32_t seed = 1;
    for (int i = 0; i < N; i++) {
        seed = seed * 1664525 + 1013904223;
        x[i] = (float)(int32_t)seed / 1e6F;
        x[i] = i % 50 ? x[i] : -2000; /* the same one often */
        sorted[i] = fabsf(x[i]);
    }
    qsort(sorted, N, sizeof *sorted, descending);
    struct tail *up = tail_new(), *down = tail_new(), *spared = tail_new();
    tail_add(up, 3, (const float[]){NAN, INFINITY, -INFINITY});
    assert_true(isnan(tail_rank(up, 1)));
    for (int i = 0; i < N; i += PART) {
        tail_add(up, (size_t)MIN(PART, N - i), x + i);
        struct tail *part = tail_new();
        tail_add(part, (size_t)MIN(PART, N - i), x + i);
        tail_merge(part, down);
        memcpy(down, part, sizeof *down);
        free(part);
        part = tail_new();
        tail_spare(part, spared);
        tail_add(part, (size_t)MIN(PART, N - i), x + i);
        tail_merge(spared, part);
        free(part);
    }
    for (uint64_t k = 1; k <= TAIL_KEPT; k += 37) {
        assert_true(tail_rank(up, k) == (double)sorted[k - 1]);
        assert_true(tail_rank(down, k) == (double)sorted[k - 1]);
        assert_true(tail_rank(spared, k) == (double)sorted[k - 1]);
    }
    assert_true(up->least == sorted[N - 1] && down->least == sorted[N - 1]);
    assert_true(isnan(tail_rank(up, 0)) && isnan(tail_rank(up, TAIL_KEPT + 1)));
    free(up);
    free(down);
    free(spared);
    free(sorted);
    free(x);
}

static void test_percentile(void **state)
{
    (void)state;
    double r[2];
    float *x = values_of(uniform_at, 1, -1);
    struct observation o = observe(N, x);
    choose("percentile", &o, DT_U8, false, r);
    /* 1000 of 100000 magnitudes are greater; the step below, of 2048. */
    double step = (o.hi - (double)o.tail->least) / 2048;
    assert_float_equal(r[1], (double)o.tail->least + floor(0.99 / step) * step, 1e-6);
    assert_float_equal(r[0], -r[1], 0);
    free(o.tail);
    o.tail = NULL;
    choose("percentile", &o, DT_U8, false, r); /* by the bins alone */
    assert_float_equal(r[0], -0.99, 1e-3);
    assert_float_equal(r[1], 0.99, 1e-3);
    observation_fini(&o);
    free(x);
}

/* The table of Banner, Nahshan, Hoffer, Soudry (2018): thresholds in units of b and sigma. */
static void test_aciq(void **state)
{
    (void)state;
    double r[2];
    float *x = values_of(laplace_at, 2, -100);
    struct observation o = observe(N, x);
    choose("aciq", &o, DT_S8, false, r);
    assert_float_equal(r[1] / 2, 9.89, 0.1);
    assert_float_equal(r[0] / 2, -9.89, 0.1);
    choose("aciq", &o, DT_S4, false, r);
    assert_float_equal(r[1] / 2, 5.03, 0.05);
    observation_fini(&o);
    free(x);
    x = values_of(gauss_at, 3, -100);
    o = observe(N, x);
    choose("aciq", &o, DT_S8, false, r);
    assert_float_equal(r[1] / 3, 3.92, 0.04);
    choose("aciq", &o, DT_S4, false, r);
    assert_float_equal(r[1] / 3, 2.55, 0.03);
    observation_fini(&o);
    free(x);
    /* Half of it cut off: one bit more for the same step, as for the other half's codes. */
    x = values_of(laplace_at, 2, 0);
    o = observe(N, x);
    choose("aciq", &o, DT_S8, false, r);
    assert_float_equal(r[0], 0, 0);
    assert_float_equal(r[1] / 2, 11.16, 0.12);
    observation_fini(&o);
    free(x);
}

static void test_mse(void **state)
{
    (void)state;
    double r[2];
    float *x = values_of(gauss_at, 1, -9);
    x[0] = -40; /* an outlier is not worth the steps */
    struct observation o = observe(N, x);
    choose("mse", &o, DT_S4, false, r);
    assert_true(r[0] > -4 && r[0] < -2);
    assert_true(r[1] < 4 && r[1] > 1.5);
    /* By hand: no other pair of ends on a coarse grid is better by more than a little. */
    struct code_choice c = {.dtype = DT_S4};
    float s;
    int32_t z;
    codes_params(&c, r[0], r[1], &s, &z);
    double found = noise_by_hand(x, (double)s, z, -8, 7);
    for (double lo = -4; lo < -1; lo += 0.25) {
        for (double hi = 1; hi < 4; hi += 0.25) {
            codes_params(&c, lo, hi, &s, &z);
            assert_true(found < 1.03 * noise_by_hand(x, (double)s, z, -8, 7));
        }
    }
    observation_fini(&o);
    free(x);
}

static void test_entropy(void **state)
{
    (void)state;
    double r[2];
    float *x = values_of(uniform_at, 1, -1);
    struct observation o = observe(N, x);
    choose("entropy", &o, DT_S8, true, r);
    assert_float_equal(r[1], 1, 0.01); /* all values tell something */
    observation_fini(&o);
    for (int i = 0; i < 10; i++) {
        x[i] = 2 + (float)i / 100; /* far from all others */
    }
    o = observe(N, x);
    choose("entropy", &o, DT_S4, true, r);
    assert_true(r[1] < 1.1 && r[1] > 0.9);
    choose("entropy", &o, DT_S16, true, r); /* with enough codes for them they stay */
    assert_float_equal(r[1], 2.09, 1e-6);
    observation_fini(&o);
    free(x);
    /* Never at the price of more error than the whole range has. */
    for (int i = 0; i < 4; i++) {
        x = values_of(i % 2 ? laplace_at : gauss_at, 1, i / 2 ? 0 : -99);
        o = observe(N, x);
        struct code_choice c = {.dtype = DT_U8};
        float s[2];
        int32_t z[2];
        choose("entropy", &o, DT_U8, false, r);
        codes_params(&c, r[0], r[1], &s[0], &z[0]);
        codes_params(&c, o.lo, o.hi, &s[1], &z[1]);
        assert_true(noise_by_hand(x, (double)s[0], z[0], 0, 255) <=
                    1.02 * noise_by_hand(x, (double)s[1], z[1], 0, 255));
        observation_fini(&o);
        free(x);
    }
}

/* Every method keeps inside what was seen, and is finite, for tensors of one value. */
static void test_constant(void **state)
{
    (void)state;
    const float cases[] = {0, 1, -2.5F, 1e-30F, 3e38F};
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct observation o = observe(1, &cases[i]);
        for (const struct range_method *m = range_methods; m->name; m++) {
            double r[2];
            choose(m->name, &o, DT_U8, false, r);
            assert_true(isfinite(r[0]) && isfinite(r[1]) && r[0] <= r[1]);
            float s;
            int32_t z;
            codes_params(&(struct code_choice){.dtype = DT_U8}, r[0], r[1], &s, &z);
            assert_true(s > 0 && isfinite(s) && z >= 0 && z <= 255);
        }
        observation_fini(&o);
    }
}

/* ---- Graphs --------------------------------------------------------------------------------- */

static int add_weights(struct graph *g, const char *name, int rank, const int64_t *dims)
{
    int v = graph_value(g, name);
    assert_int_equal(tensor_new(DT_F32, rank, dims, NULL, &g->values[v].constant, NULL), OK);
    struct tensor *t = g->values[v].constant;
    for (size_t i = 0; i < t->n; i++) {
        ((float *)t->data)[i] = (float)(i % 7) - 3;
    }
    g->values[v].dtype = DT_F32;
    return v;
}

/* x -> Conv -> Relu -> MaxPool -> Conv -> y, 1 by 1 filters of two channels. */
static struct graph *small_graph(void)
{
    struct graph *g = graph_new();
    g->opset = 13;
    int x = graph_value(g, "x"), v[4];
    g->values[x] = (struct value){.name = g->values[x].name,
                                  .producer = -1,
                                  .is_input = true,
                                  .dtype = DT_F32,
                                  .rank = 4,
                                  .dims = {1, 2, 4, 4}};
    const char *const names[] = {"a", "b", "c", "y"};
    for (int i = 0; i < 4; i++) {
        v[i] = graph_value(g, names[i]);
    }
    const int64_t shape[] = {2, 2, 1, 1};
    int in1[] = {x, add_weights(g, "w1", 4, shape), add_weights(g, "b1", 1, shape)};
    int in2[] = {v[2], add_weights(g, "w2", 4, shape)};
    graph_add(g, "Conv", "", "first", 3, in1, 1, &v[0]);
    graph_add(g, "Relu", "", "relu", 1, &v[0], 1, &v[1]);
    struct node *pool = graph_add(g, "MaxPool", "", "pool", 1, &v[1], 1, &v[2]);
    graph_attr_ints(g, pool, "kernel_shape", 2, (const int64_t[]){2, 2});
    graph_add(g, "Conv", "", "second", 2, in2, 1, &v[3]);
    g->inputs = mem_alloc(sizeof *g->inputs);
    g->outputs = mem_alloc(sizeof *g->outputs);
    g->inputs[0] = x;
    g->outputs[0] = v[3];
    g->n_inputs = g->n_outputs = 1;
    g->values[v[3]].is_output = true;
    assert_int_equal(graph_finish(g, NULL), OK);
    return g;
}

static struct graph *quantized(const struct graph *g, struct quantize_options *o,
                               struct quantize_report *r)
{
    static float ends[] = {-1, 0, 0.5F, 2};
    int axes[64];
    struct graph *prepared = NULL, *out = NULL;
    assert_int_equal(quantize_prepare(g, &prepared, NULL), OK);
    struct observation *seen = mem_alloc((prepared->n_values + 1) * sizeof *seen);
    bool *wanted = mem_alloc(prepared->n_values + 1);
    quantize_wanted(prepared, wanted);
    quantize_channels(prepared, axes);
    struct tensor *t = NULL;
    assert_int_equal(tensor_borrow(DT_F32, 4, (const int64_t[]){1, 2, 1, 2}, ends, &t, NULL), OK);
    for (size_t v = 0; v < prepared->n_values; v++) {
        observation_init(&seen[v], 0);
        if (wanted[v]) {
            observation_add(&seen[v], COUNT(ends), ends);
        }
        if (wanted[v] && axes[v]) {
            assert_int_equal(observation_add_channels(&seen[v], t, axes[v], NULL), OK);
        }
    }
    tensor_free(t);
    o->method = range_method_find("minmax");
    int rc = quantize_graph(prepared, seen, o, &out, r, NULL);
    assert_true(rc == OK || !out);
    for (size_t v = 0; v < prepared->n_values; v++) {
        observation_fini(&seen[v]);
    }
    free(seen);
    free(wanted);
    graph_free(prepared);
    return out;
}

static size_t count_op(const struct graph *g, const char *op)
{
    size_t n = 0;
    for (size_t i = 0; i < g->n_nodes; i++) {
        n += strcmp(g->nodes[i].op, op) == 0;
    }
    return n;
}

static void test_placement(void **state)
{
    (void)state;
    struct graph *g = small_graph(), *q, *integers;
    struct quantize_report r;
    struct quantize_options o = {.goal = {.codes = {.dtype = DT_U8}},
                                 .weights = {.dtype = DT_S8, .symmetric = true}};
    q = quantized(g, &o, &r);
    /* x, the Relu that the first Conv took in, the pool, and y. */
    assert_int_equal(r.tensors, 4);
    assert_int_equal(r.layers, 2);
    assert_int_equal(r.left, 0);
    assert_int_equal(r.weights, 4 + 4 + 2 * 4);
    assert_int_equal(count_op(q, "QuantizeLinear"), 4);
    assert_int_equal(count_op(q, "DequantizeLinear"), 4 + 2 + 1);
    assert_int_equal(count_op(q, "Relu"), 0);
    assert_true(graph_find(q, "b_scale") >= 0 && graph_find(q, "c_scale") < 0);
    assert_true(q->values[q->outputs[0]].producer >= 0);
    assert_string_equal(q->nodes[q->values[q->outputs[0]].producer].op, "DequantizeLinear");
    assert_int_equal(graph_to_integers(q, &integers, NULL), OK);
    assert_int_equal(count_op(integers, "QLinearConv"), 2);
    assert_int_equal(count_op(integers, "QuantizeLinear"), 1);
    assert_int_equal(count_op(integers, "DequantizeLinear"), 1);
    graph_free(integers);
    graph_free(q);
    /* Symmetric codes cannot say what Relu does. */
    o.goal.codes = (struct code_choice){.dtype = DT_S8, .symmetric = true};
    q = quantized(g, &o, &r);
    assert_int_equal(count_op(q, "Relu"), 1);
    assert_int_equal(count_op(q, "QuantizeLinear"), 5);
    graph_free(q);
    graph_free(g);
}

static void test_choices(void **state)
{
    (void)state;
    struct graph *g = small_graph(), *q;
    struct quantize_report r;
    struct node_choice choice = {.node = "second", .keep = true};
    struct quantize_options o = {.goal = {.codes = {.dtype = DT_U8}},
                                 .weights = {.dtype = DT_S8, .symmetric = true},
                                 .n_choices = 1,
                                 .choices = &choice};
    q = quantized(g, &o, &r);
    assert_int_equal(r.left, 1);
    assert_int_equal(count_op(q, "QuantizeLinear"), 3);
    assert_true(graph_find(q, "w2_scale") < 0);
    assert_int_equal(count_op(q, "Max"), 0); /* nothing is quantized behind it */
    graph_free(q);
    /* The first one: what follows it in float is no place to make an integer of it either. */
    choice.node = "first";
    q = quantized(g, &o, &r);
    assert_int_equal(count_op(q, "Max"), 1);
    graph_free(q);
    /* The second Conv in 16 bits: its input is quantized once more, its output only so. */
    choice = (struct node_choice){.node = "second", .activations = DT_S16, .weights = DT_S4};
    q = quantized(g, &o, &r);
    assert_int_equal(r.left, 0);
    assert_int_equal(count_op(q, "QuantizeLinear"), 5);
    assert_int_equal(q->opset_ms, 1);
    assert_int_equal(q->values[graph_find(q, "y_zero_point")].dtype, DT_S16);
    assert_int_equal(q->values[graph_find(q, "w2_zero_point")].dtype, DT_S4);
    assert_int_equal(q->values[graph_find(q, "w2_quantized")].dtype, DT_S4);
    graph_free(q);
    o.ops = "Gemm|MatMul";
    assert_null(quantized(g, &o, &r));
    graph_free(g);
}

/* b + sum (w - coded w) * mean x, where both channels of x have a mean: -0.5 and 1.25. */
static void test_correction(void **state)
{
    (void)state;
    struct graph *g = small_graph(), *q;
    struct quantize_report r;
    struct quantize_options o = {.goal = {.codes = {.dtype = DT_U8}},
                                 .weights = {.dtype = DT_S4, .symmetric = true},
                                 .correct_bias = true};
    q = quantized(g, &o, &r);
    assert_int_equal(r.corrected, 2); /* the second Conv gets a bias */
    const double w[2][2] = {{-3, -2}, {-1, 0}}, b[2] = {-3, -2}, step = 6.0 / 15;
    const struct tensor *codes =
        q->values[graph_find(q, "first_corrected_bias_quantized")].constant;
    const struct tensor *scale = q->values[graph_find(q, "first_corrected_bias_scale")].constant;
    for (size_t c = 0; c < 2; c++) {
        double want = b[c];
        for (size_t k = 0; k < 2; k++) {
            double coded = fmax(rint(w[c][k] / step), -8) * step;
            want += (w[c][k] - coded) * (k ? 1.25 : -0.5);
        }
        double got = (double)tensor_s64(codes, c) * tensor_f64(scale, 0);
        assert_float_equal(got, want, tensor_f64(scale, 0));
    }
    graph_free(q);
    graph_free(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scales),     cmocka_unit_test(test_noise),
        cmocka_unit_test(test_merge),      cmocka_unit_test(test_percentile),
        cmocka_unit_test(test_aciq),       cmocka_unit_test(test_mse),
        cmocka_unit_test(test_entropy),    cmocka_unit_test(test_constant),
        cmocka_unit_test(test_placement),  cmocka_unit_test(test_choices),
        cmocka_unit_test(test_correction), cmocka_unit_test(test_tail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
