/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * test_tfl_twins.c: the fast twins of TensorFlow Lite's layers against the plain kernels, on random
 * shapes (odd, 1, padded, strided, dilated, depthwise, empty) and parameters, under every numerics
 * and instruction set: equal to the bit, floats too, since both sum in the order of the runtime.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
/* cmocka.h needs the four above first. */
#include <cmocka.h>

#include "engine/kernel_int8.h"
#include "engine/op.h"

#include <math.h>

static uint64_t seed = 0x9E3779B97F4A7C15U;

static int64_t pick(int64_t lo, int64_t hi)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return lo + (int64_t)((seed >> 11) % (uint64_t)(hi - lo + 1));
}

/* One scale in three is a power of two, which makes ties. */
static float pick_scale(void)
{
    return pick(0, 2) ? (float)pick(1, 4000) * 1e-4F : ldexpf(1.0F, (int)pick(-10, -2));
}

/* ---- One layer ------------------------------------------------------------------------------ */

enum { X, W, BIAS, Y, N_TENSORS };

struct layer {
    const char *name;
    const struct op *op;
    struct graph *g;
    struct node *node;
    struct tensor *in[3]; /* the bias may be NULL */
    struct quant q[N_TENSORS];
    float scale[N_TENSORS][64];
    int32_t zero[N_TENSORS][64];
    enum dtype dtype; /* of activations */
};

static struct tensor *random_tensor(enum dtype d, int rank, const int64_t *dims)
{
    struct tensor *t = NULL;
    assert_int_equal(tensor_new(d, rank, dims, NULL, &t, NULL), OK);
    for (size_t i = 0; i < t->n; i++) {
        if (d == DT_F32) {
            ((float *)t->data)[i] = (float)pick(-1000, 1000) * 1e-2F;
        } else if (d == DT_S32) {
            /* Now and then so large that sums wrap. */
            ((int32_t *)t->data)[i] =
                (int32_t)(pick(0, 9) ? pick(-20000, 20000) : pick(INT32_MIN, INT32_MAX));
        } else {
            ((uint8_t *)t->data)[i] = (uint8_t)pick(0, 255);
        }
    }
    return t;
}

/* n parameters; zero points only where a kernel takes them. */
static void random_quant(struct layer *l, int i, enum dtype d, size_t n, bool zeros)
{
    int32_t middle = d == DT_U8 ? 128 : 0;
    for (size_t k = 0; k < n; k++) {
        l->scale[i][k] = pick_scale();
        l->zero[i][k] = zeros ? (int32_t)pick(middle - 128, middle + 127) : 0;
    }
    l->q[i] =
        (struct quant){.dtype = d, .axis = -1, .n = n, .scale = l->scale[i], .zero = l->zero[i]};
}

static void layer_init(struct layer *l, const char *name, enum dtype d)
{
    int in[3], out;
    *l = (struct layer){
        .name = name, .op = op_find("tflite", name, 1), .g = graph_new(), .dtype = d};
    assert_non_null(l->op);
    for (int i = 0; i < 3; i++) {
        in[i] = graph_value(l->g, graph_fresh(l->g, "x"));
    }
    out = graph_value(l->g, "y");
    l->node = graph_add(l->g, name, "tflite", name, 3, in, 1, &out);
    graph_attr_int(l->g, l->node, "fused_activation_function", pick(0, 3));
}

/* Weights of `filters`, and biases for them. */
static void layer_inputs(struct layer *l, const int64_t *x, int x_rank, const int64_t *w,
                         int w_rank, int64_t filters)
{
    bool codes = l->dtype != DT_F32, legacy = l->dtype == DT_U8;
    size_t n = legacy || pick(0, 1) ? 1 : (size_t)filters;
    l->in[X] = random_tensor(l->dtype, x_rank, x);
    l->in[W] = random_tensor(l->dtype, w_rank, w);
    l->in[BIAS] = pick(0, 3) ? random_tensor(codes ? DT_S32 : DT_F32, 1, &filters) : NULL;
    if (codes) {
        random_quant(l, X, l->dtype, 1, true);
        random_quant(l, W, l->dtype, n, legacy);
        random_quant(l, Y, l->dtype, 1, true);
    }
}

static void layer_fini(struct layer *l)
{
    for (int i = 0; i < 3; i++) {
        tensor_free(l->in[i]);
    }
    graph_free(l->g);
}

static int run_layer(const struct layer *l, enum numerics n, bool fast, struct tensor **out,
                     struct err *err)
{
    bool codes = l->dtype != DT_F32;
    const struct quant *in_q[3] = {codes ? &l->q[X] : NULL, codes ? &l->q[W] : NULL, NULL};
    const struct quant *out_q[1] = {codes ? &l->q[Y] : NULL};
    const struct tensor *in[3] = {l->in[X], l->in[W], l->in[BIAS]};
    const struct tensor *constants[3] = {NULL, l->in[W], l->in[BIAS]};
    void *state = NULL;
    const struct op_prep prep = {.node = l->node,
                                 .opset = 1,
                                 .n_in = 3,
                                 .constants = constants,
                                 .in_q = in_q,
                                 .out_q = out_q,
                                 .numerics = n};
    int rc = l->op->prepare(&prep, &state, err);
    struct op_call c = {.node = l->node,
                        .opset = 1,
                        .n_in = 3,
                        .n_out = 1,
                        .in = in,
                        .out = out,
                        .in_q = in_q,
                        .out_q = out_q,
                        .state = state,
                        .numerics = n};
    rc = rc ? rc : fast ? l->op->fast(&c, err) : l->op->ref(&c, err);
    if (state) {
        l->op->release(state);
    }
    return rc;
}

/* ---- Comparing ------------------------------------------------------------------------------ */

static const char *const isas[] = {"plain", "avx2", "vnni", "amx"};

static void compare(struct layer *l)
{
    struct err err = {0};
    for (enum numerics n = NUM_TFLITE_XNNPACK; n <= NUM_TFLITE_REF; n++) {
        struct tensor *want = NULL, *got = NULL;
        if (run_layer(l, n, false, &want, &err)) {
            fail_msg("%s: %s", l->name, err.text);
        }
        for (size_t i = 0; i < COUNT(isas); i++) {
            const struct int8_kernels *k = kernel_int8_isa(isas[i]);
            if (!k) {
                continue;
            }
            kernel_int8_force(k);
            int rc = run_layer(l, n, true, &got, &err);
            kernel_int8_force(NULL);
            if (rc || !tensor_equal(want, got)) {
                fail_msg("%s of %s under %s (%s): %s", l->name, dtype_name(l->dtype),
                         numerics_name(n), k->name, rc ? err.text : "the twins differ");
            }
            tensor_free(got);
            got = NULL;
        }
        tensor_free(want);
    }
    layer_fini(l);
}

/* ---- Cases ---------------------------------------------------------------------------------- */

static void window_attrs(struct layer *l)
{
    bool dilated = pick(0, 2) == 0;
    graph_attr_int(l->g, l->node, "padding", pick(0, 1));
    graph_attr_int(l->g, l->node, "stride_h", dilated ? 1 : pick(1, 3));
    graph_attr_int(l->g, l->node, "stride_w", dilated ? 1 : pick(1, 3));
    graph_attr_int(l->g, l->node, "dilation_h_factor", dilated ? pick(1, 3) : 1);
    graph_attr_int(l->g, l->node, "dilation_w_factor", dilated ? pick(1, 3) : 1);
}

static void conv_case(enum dtype d)
{
    struct layer l;
    bool pointwise = pick(0, 2) == 0;
    int64_t c = pick(1, 21), o = pick(1, 60), kh = pointwise ? 1 : pick(1, 4);
    int64_t kw = pointwise ? 1 : pick(1, 4);
    layer_init(&l, "CONV_2D", d);
    window_attrs(&l);
    layer_inputs(&l, (int64_t[]){pick(0, 2), pick(1, 13), pick(1, 13), c}, 4,
                 (int64_t[]){o, kh, kw, c}, 4, o);
    compare(&l);
}

static void depthwise_case(enum dtype d)
{
    struct layer l;
    int64_t c = pick(1, 40), o = c * (c < 20 && pick(0, 3) == 0 ? 3 : 1);
    layer_init(&l, "DEPTHWISE_CONV_2D", d);
    window_attrs(&l);
    layer_inputs(&l, (int64_t[]){pick(0, 2), pick(1, 13), pick(1, 13), c}, 4,
                 (int64_t[]){1, pick(1, 5), pick(1, 5), o}, 4, o);
    compare(&l);
}

static void connected_case(enum dtype d)
{
    struct layer l;
    int64_t depth = pick(1, 130), o = pick(1, 60);
    layer_init(&l, "FULLY_CONNECTED", d);
    layer_inputs(&l, (int64_t[]){pick(0, 70), depth}, 2, (int64_t[]){o, depth}, 2, o);
    compare(&l);
}

static const enum dtype dtypes[] = {DT_S8, DT_U8, DT_F32};
enum { ROUNDS = 200 };

static void test_conv(void **state)
{
    (void)state;
    for (int i = 0; i < ROUNDS; i++) {
        conv_case(dtypes[i % 3]);
    }
}

static void test_depthwise(void **state)
{
    (void)state;
    for (int i = 0; i < ROUNDS; i++) {
        depthwise_case(dtypes[i % 3]);
    }
}

static void test_connected(void **state)
{
    (void)state;
    for (int i = 0; i < ROUNDS; i++) {
        connected_case(dtypes[i % 3]);
    }
}

static void want_case(void *ctx, const char *domain, const char *name, int since, const char *spec,
                      bool fast)
{
    (void)ctx;
    (void)since;
    (void)spec;
    static const char *const cases[] = {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"};
    bool found = !fast || strcmp(domain, "tflite") != 0;
    for (size_t i = 0; i < COUNT(cases); i++) {
        found = found || strcmp(cases[i], name) == 0;
    }
    if (!found) {
        fail_msg("%s has a fast kernel but no case", name);
    }
}

static void test_every_twin(void **state)
{
    (void)state;
    op_each(want_case, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_twin),
        cmocka_unit_test(test_conv),
        cmocka_unit_test(test_depthwise),
        cmocka_unit_test(test_connected),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
