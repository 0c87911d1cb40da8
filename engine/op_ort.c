/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * op_ort.c: operators that only onnxruntime's own optimised models have: channels-last forms of
 * quantized operators, operators fused with an activation, and blocked layouts. Each is its
 * ordinary operator between two changes of layout; values are those of the runtime, speed is not.
 */
#include "engine/elem.h"
#include "engine/fuse.h"
#include "engine/op_quant.h"

#include <math.h>
#include <stdlib.h>

enum { BASE_OPSET = 17 }; /* of the ordinary operators that these were made from */

static const char ms[] = "com.microsoft";

/* ---- Channels last ------------------------------------------------------------------------------
 */

/* A copy of x with its last dimension moved to place 1 (to_first), or place 1 moved to the end. */
static int move_channels(const struct tensor *x, bool to_first, struct budget *b,
                         struct tensor **out, struct err *err)
{
    int64_t dims[MAX_RANK], stride[MAX_RANK];
    const int last = x->rank - 1;
    struct walk w = {.rank = x->rank, .n = 2};
    if (x->rank < 3) {
        return err_set(err, E_SHAPE, "input has rank %d, expected at least 3", x->rank);
    }
    walk_strides(x->rank, x->dims, stride);
    for (int i = 0; i < x->rank; i++) {
        int from = i == 0 ? 0 : to_first ? (i == 1 ? last : i - 1) : (i == last ? 1 : i + 1);
        dims[i] = w.dims[i] = x->dims[from];
        w.stride[1][i] = stride[from];
    }
    int rc = tensor_new(x->dtype, x->rank, dims, b, out, err);
    if (!rc) {
        walk_strides(x->rank, dims, w.stride[0]);
        walk_copy(&w, (*out)->data, x->data, dtype_size(x->dtype));
    }
    return rc;
}

/* The node as its ordinary operator `op` has it. */
static struct node ordinary(const struct node *n, const struct op *op, struct attr *attrs)
{
    struct node copy = *n;
    copy.op = op->name;
    copy.attrs = attrs;
    copy.n_attrs = 0;
    for (int i = 0; i < n->n_attrs; i++) {
        if (strcmp(n->attrs[i].name, "channels_last") != 0) {
            attrs[copy.n_attrs++] = n->attrs[i];
        }
    }
    return copy;
}

/* Runs an operator on inputs and outputs of its own choice, in its reference or fast form. */
static int run_as(const struct op_call *c, const char *domain, const char *op, bool fast,
                  const struct tensor **in, struct tensor **out, struct err *err)
{
    const struct op *o = op_find(domain, op, BASE_OPSET);
    struct attr *attrs = mem_alloc(((size_t)c->node->n_attrs + 1) * sizeof *attrs);
    struct node node = ordinary(c->node, o, attrs);
    struct op_call inner = *c;
    inner.node = &node;
    inner.opset = BASE_OPSET;
    inner.in = in;
    inner.out = out;
    inner.n_out = 1;
    int rc = fast && o->fast ? o->fast(&inner, err) : o->ref(&inner, err);
    free(attrs);
    return rc;
}

/* x is input 0; all others have no layout. */
static int channels_last(struct op_call *c, const char *domain, const char *op, bool fast,
                         struct err *err)
{
    const struct tensor *in[16] = {0};
    struct tensor *x = NULL, *y = NULL;
    if (c->n_in < 1 || c->n_in > (int)COUNT(in) || !c->in[0]) {
        return err_set(err, E_SHAPE, "%d inputs, expected 1 to %zu", c->n_in, COUNT(in));
    }
    memcpy(in, c->in, (size_t)c->n_in * sizeof *in);
    int rc = move_channels(c->in[0], true, c->budget, &x, err);
    in[0] = x;
    rc = rc ? rc : run_as(c, domain, op, fast, in, &y, err);
    rc = rc ? rc : move_channels(y, false, c->budget, &c->out[0], err);
    tensor_free(x);
    tensor_free(y);
    return rc;
}

#define CHANNELS_LAST(name, domain, op)                                                            \
    static int name(struct op_call *c, struct err *err)                                            \
    {                                                                                              \
        return channels_last(c, domain, op, false, err);                                           \
    }                                                                                              \
    static int name##_fast(struct op_call *c, struct err *err)                                     \
    {                                                                                              \
        return channels_last(c, domain, op, true, err);                                            \
    }

CHANNELS_LAST(op_nhwc_conv, "", "QLinearConv")
CHANNELS_LAST(op_nhwc_max_pool, "", "MaxPool")
CHANNELS_LAST(op_nhwc_average_pool, ms, "QLinearAveragePool")
CHANNELS_LAST(op_nhwc_global_pool, ms, "QLinearGlobalAveragePool")

/* QLinearConv of com.microsoft without that attribute. */
static int op_plain_conv(struct op_call *c, struct err *err)
{
    return run_as(c, "", "QLinearConv", false, c->in, c->out, err);
}

static int op_plain_conv_fast(struct op_call *c, struct err *err)
{
    return run_as(c, "", "QLinearConv", true, c->in, c->out, err);
}

/* ---- Blocked layouts: the values stay in the ordinary one ---------------------------------------
 */

static int reorder(struct op_call *c, bool in, struct err *err)
{
    const struct tensor *x = c->in[0];
    if (!x) {
        return err_set(err, E_SHAPE, "input 0 is missing");
    }
    if (attr_int(c->node, "channels_last", 0)) {
        return move_channels(x, in, c->budget, &c->out[0], err);
    }
    return op_out_view(c, 0, x, x->rank, x->dims, err);
}

static int op_reorder_input(struct op_call *c, struct err *err)
{
    return reorder(c, true, err);
}

static int op_reorder_output(struct op_call *c, struct err *err)
{
    return reorder(c, false, err);
}

#define BLOCKED(name, op)                                                                          \
    static int name(struct op_call *c, struct err *err)                                            \
    {                                                                                              \
        return run_as(c, "", op, true, c->in, c->out, err);                                        \
    }

BLOCKED(op_blocked_max_pool, "MaxPool")
BLOCKED(op_blocked_average_pool, "AveragePool")
BLOCKED(op_blocked_global_average_pool, "GlobalAveragePool")
BLOCKED(op_blocked_global_max_pool, "GlobalMaxPool")

/* ---- Activations --------------------------------------------------------------------------------
 */

static float relu(float v, const float *p)
{
    (void)p;
    return v > 0 ? v : 0;
}

static float leaky(float v, const float *p)
{
    return v >= 0 ? v : p[0] * v;
}

static float clip(float v, const float *p)
{
    return v < p[0] ? p[0] : v > p[1] ? p[1] : v;
}

static float hard_sigmoid(float v, const float *p)
{
    v = p[0] * v + p[1];
    return v < 0 ? 0 : v > 1 ? 1 : v;
}

static float sigmoid(float v, const float *p)
{
    (void)p;
    return logistic_mlas(v);
}

static float tanh_of(float v, const float *p)
{
    (void)p;
    return tanhf(v);
}

static const struct {
    const char *name;
    float (*f)(float v, const float *p);
    size_t n; /* parameters it needs */
} activations[] = {
    {"Relu", relu, 0},       {"LeakyRelu", leaky, 1},          {"Clip", clip, 2},
    {"Sigmoid", sigmoid, 0}, {"HardSigmoid", hard_sigmoid, 2}, {"Tanh", tanh_of, 0},
};

/* FusedConv has its parameters in a list, FusedGemm one by one. */
static size_t read_params(const struct node *n, float p[2])
{
    size_t count = 0;
    const float *list = attr_floats(n, "activation_params", &count);
    const bool alpha = attr_find(n, "activation_alpha") != NULL;
    for (size_t i = 0; i < MIN(count, (size_t)2); i++) {
        p[i] = list[i];
    }
    if (!list) {
        p[0] = attr_float(n, "activation_alpha", 0);
        p[1] = attr_float(n, "activation_beta", 0);
        count = alpha ? 2 : 0;
    }
    return count;
}

static int activate(const struct op_call *c, const struct tensor *sum, struct err *err)
{
    const char *name = attr_string(c->node, "activation", "");
    struct tensor *y = c->out[0];
    float p[2] = {0};
    size_t n = read_params(c->node, p);
    float (*f)(float v, const float *p) = NULL;
    for (size_t i = 0; i < COUNT(activations); i++) {
        if (strcmp(activations[i].name, name) == 0 && n >= activations[i].n) {
            f = activations[i].f;
        }
    }
    if ((!f && name[0]) || y->dtype != DT_F32 ||
        (sum && (sum->dtype != DT_F32 || sum->n != y->n))) {
        return err_set(err, E_UNSUPPORTED, "activation '%s' with %zu parameters on %s", name, n,
                       dtype_name(y->dtype));
    }
    float *v = y->data;
    for (size_t i = 0; i < y->n; i++) {
        v[i] = sum ? v[i] + ((const float *)sum->data)[i] : v[i];
        v[i] = f ? f(v[i], p) : v[i];
    }
    return OK;
}

/* (x, w, bias?, z?): activation(conv(x, w) + bias + z) */
static int op_fused_conv(struct op_call *c, struct err *err)
{
    struct op_call conv = *c;
    conv.n_in = MIN(c->n_in, 3);
    int rc = run_as(&conv, "", "Conv", true, c->in, c->out, err);
    return rc ? rc : activate(c, c->n_in > 3 ? c->in[3] : NULL, err);
}

static int op_fused_gemm(struct op_call *c, struct err *err)
{
    int rc = run_as(c, "", "Gemm", true, c->in, c->out, err);
    return rc ? rc : activate(c, NULL, err);
}

static const char nchwc[] = "com.microsoft.nchwc";

// clang-format off
const struct op op_ort[] = {
    {.name = "QLinearConv", .domain = ms, .since = 1, .min_in = 8, .max_in = 9, .ref = op_plain_conv, .fast = op_plain_conv_fast, .spec = "ORT QLinearConv-1"},
    {.name = "QLinearConv", .domain = fuse_nhwc_domain, .since = 1, .min_in = 8, .max_in = 9, .ref = op_nhwc_conv, .fast = op_nhwc_conv_fast, .spec = "ORT QLinearConv-1, channels last"},
    {.name = "QLinearAveragePool", .domain = fuse_nhwc_domain, .since = 1, .min_in = 4, .max_in = 5, .ref = op_nhwc_average_pool, .fast = op_nhwc_average_pool_fast, .spec = "ORT QLinearAveragePool-1, channels last"},
    {.name = "QLinearGlobalAveragePool", .domain = fuse_nhwc_domain, .since = 1, .min_in = 5, .max_in = 5, .ref = op_nhwc_global_pool, .fast = op_nhwc_global_pool_fast, .spec = "ORT QLinearGlobalAveragePool-1, channels last"},
    {.name = "NhwcMaxPool", .domain = ms, .since = 1, .min_in = 1, .max_in = 1, .ref = op_nhwc_max_pool, .fast = op_nhwc_max_pool_fast, .spec = "ORT NhwcMaxPool-1"},
    {.name = "FusedConv", .domain = ms, .since = 1, .min_in = 2, .max_in = 4, .ref = op_fused_conv, .spec = "ORT FusedConv-1"},
    {.name = "FusedGemm", .domain = ms, .since = 1, .min_in = 2, .max_in = 3, .ref = op_fused_gemm, .spec = "ORT FusedGemm-1"},
    {.name = "ReorderInput", .domain = nchwc, .since = 1, .min_in = 1, .max_in = 1, .ref = op_reorder_input, .spec = "ORT nchwc.ReorderInput-1"},
    {.name = "ReorderOutput", .domain = nchwc, .since = 1, .min_in = 1, .max_in = 1, .ref = op_reorder_output, .spec = "ORT nchwc.ReorderOutput-1"},
    {.name = "MaxPool", .domain = nchwc, .since = 1, .min_in = 1, .max_in = 1, .ref = op_blocked_max_pool, .spec = "ORT nchwc.MaxPool-1"},
    {.name = "AveragePool", .domain = nchwc, .since = 1, .min_in = 1, .max_in = 1, .ref = op_blocked_average_pool, .spec = "ORT nchwc.AveragePool-1"},
    {.name = "GlobalAveragePool", .domain = nchwc, .since = 1, .min_in = 1, .max_in = 1, .ref = op_blocked_global_average_pool, .spec = "ORT nchwc.GlobalAveragePool-1"},
    {.name = "GlobalMaxPool", .domain = nchwc, .since = 1, .min_in = 1, .max_in = 1, .ref = op_blocked_global_max_pool, .spec = "ORT nchwc.GlobalMaxPool-1"},
    {0},
};
// clang-format on
