/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * recode.c: weights and biases of single nodes of an INT8 graph, replaced by codes of those of the
 * FP32 model. QDQ models take all types of codes; integer operators those that they are defined
 * for.
 */
#include "analysis/recode.h"

#include <math.h>
#include <stdlib.h>

/* ---- Reading -------------------------------------------------------------------------------- */

static const struct tensor *constant_at(const struct graph *g, const struct node *n, int slot)
{
    return slot < n->n_in && n->in[slot] >= 0 ? g->values[n->in[slot]].constant : NULL;
}

/* The DequantizeLinear in front of an input, -1. */
static int dequantizer(const struct graph *g, const struct node *n, int slot)
{
    int made = slot < n->n_in && n->in[slot] >= 0 ? g->values[n->in[slot]].producer : -1;
    const struct node *d = made >= 0 ? &g->nodes[made] : NULL;
    return d && d->op && node_is_dequantize(d) && d->n_in > 1 && d->in[0] >= 0 ? made : -1;
}

/* Codes, scale and zero point as inputs of n from `slot` on. */
static bool read_coded(const struct graph *g, const struct node *n, int slot, struct coded *c)
{
    *c = (struct coded){(struct tensor *)constant_at(g, n, slot),
                        (struct tensor *)constant_at(g, n, slot + 1),
                        (struct tensor *)constant_at(g, n, slot + 2)};
    bool zero = c->zero ? c->scale && c->zero->n == c->scale->n
                        : slot + 2 >= n->n_in || n->in[slot + 2] < 0;
    return c->codes && c->scale && c->scale->dtype == DT_F32 && c->scale->n > 0 && zero;
}

static bool read_integer(const struct graph *g, const struct node *n, int bias, struct recoded *out)
{
    enum { WEIGHTS = 3, INPUT_SCALE = 1 };
    *out = (struct recoded){.integers = true, .weight_dq = -1, .bias = bias};
    out->input_scale = constant_at(g, n, INPUT_SCALE);
    out->input_type = g->values[n->in[0]].dtype;
    bool per_column = node_is(n, "QLinearMatMul") || !attr_int(n, "transB", 0);
    out->axis = node_is(n, "QLinearConv") || !per_column ? 0 : 1;
    return read_coded(g, n, WEIGHTS, &out->w) && out->input_scale && out->input_scale->n == 1;
}

bool recoded_read(const struct graph *g, int node, struct recoded *out)
{
    enum { CONV_BIAS = 8, GEMM_BIAS = 6, BIAS = 2 };
    const struct node *n = &g->nodes[node];
    if (n->n_in < 2 || n->in[0] < 0) {
        return false;
    }
    if (node_is(n, "QLinearConv") || node_is(n, "QLinearMatMul") || node_is(n, "QGemm")) {
        return read_integer(g, n,
                            node_is(n, "QLinearConv") ? CONV_BIAS
                            : node_is(n, "QGemm")     ? GEMM_BIAS
                                                      : -1,
                            out);
    }
    bool conv = node_is(n, "Conv"), gemm = node_is(n, "Gemm");
    int dq = conv || gemm || node_is(n, "MatMul") ? dequantizer(g, n, 1) : -1;
    int x = dq >= 0 ? dequantizer(g, n, 0) : -1;
    *out = (struct recoded){.weight_dq = dq, .bias = conv || gemm ? BIAS : -1};
    if (dq < 0 || !read_coded(g, &g->nodes[dq], 0, &out->w)) {
        return false;
    }
    out->axis = (int)attr_int(&g->nodes[dq], "axis", 1);
    out->axis += out->axis < 0 ? out->w.codes->rank : 0;
    out->input_scale = x >= 0 ? constant_at(g, &g->nodes[x], 1) : NULL;
    out->input_type = x >= 0 ? g->values[g->nodes[x].in[0]].dtype : DT_F32;
    return x < 0 || (out->input_scale && out->input_scale->n == 1);
}

/* ---- Biases --------------------------------------------------------------------------------- */

/* FP32 bias + add; NULL where there is neither. */
static int real_bias(const struct tensor *bias, size_t channels, const float *add,
                     struct tensor **out, struct err *err)
{
    *out = NULL;
    if (!bias && !add) {
        return OK;
    }
    if (bias && bias->n != channels) {
        return err_set(err, E_UNSUPPORTED, "a bias of %zu values for %zu channels", bias->n,
                       channels);
    }
    int rc = tensor_new(DT_F32, 1, (const int64_t[]){(int64_t)channels}, NULL, out, err);
    for (size_t i = 0; !rc && i < channels; i++) {
        double b = bias ? tensor_f64(bias, i) : 0;
        ((float *)(*out)->data)[i] = (float)(b + (add ? (double)add[i] : 0));
    }
    return rc;
}

/* Input k of a node, which may not have had so many. */
static void set_input(struct graph *g, int node, int k, int v)
{
    struct node *n = &g->nodes[node];
    if (k >= n->n_in) {
        int *in = arena_alloc(&g->arena, ((size_t)k + 1) * sizeof *in);
        for (int i = 0; i <= k; i++) {
            in[i] = i < n->n_in ? n->in[i] : -1;
        }
        n->in = in;
        n->n_in = k + 1;
    }
    n->in[k] = v;
    n->raw = (struct span){0};
}

/* Codes at the ends of int32 are those of a bias that does not fit. */
static bool fits(const struct tensor *codes)
{
    for (size_t i = 0; i < codes->n; i++) {
        int64_t c = tensor_s64(codes, i);
        if (c == INT32_MIN || c == INT32_MAX) {
            return false;
        }
    }
    return true;
}

/* Bias of a node as codes with the scale of its sums; as it is where the input is float. */
static int put_bias(struct graph *g, int node, const struct recoded *r, const struct tensor *b,
                    const struct tensor *sw, struct err *err)
{
    const char *name = g->nodes[node].name;
    if (!r->input_scale) {
        set_input(g, node, r->bias, edit_constant(g, name, "_bias", tensor_ref(b)));
        return OK;
    }
    struct coded c = {0};
    int rc = coded_bias(b, (float)tensor_f64(r->input_scale, 0), sw, &c, err);
    if (!rc && !fits(c.codes)) {
        rc = err_set(err, E_UNSUPPORTED, "'%.120s': its bias does not fit int32 with this scale",
                     name);
    }
    if (rc) {
        coded_fini(&c);
        return rc;
    }
    char *stem = mem_printf("%s_bias", name);
    if (r->integers) {
        set_input(g, node, r->bias, edit_constant(g, stem, "_quantized", c.codes));
        tensor_free(c.scale);
        tensor_free(c.zero);
    } else {
        int real = coded_node(g, stem, sw->n > 1 ? 0 : -1, &c);
        set_input(g, node, r->bias, real);
    }
    free(stem);
    return OK;
}

/* Dequantizers that nobody reads any more go. */
static void drop_unread(struct graph *g)
{
    struct uses u = graph_uses(g);
    for (size_t i = 0; i < g->n_nodes; i++) {
        struct node *n = &g->nodes[i];
        int y = n->op && n->n_out == 1 && node_is_dequantize(n) ? n->out[0] : -1;
        bool constant = y >= 0 && n->in[0] >= 0 && g->values[n->in[0]].constant;
        if (constant && u.start[y] == u.start[y + 1] && !g->values[y].is_output) {
            n->op = NULL;
        }
    }
    uses_fini(&u);
}

/* ---- FP32 side ------------------------------------------------------------------------------ */

struct source {
    const struct tensor *w, *bias;
    int axis; /* of the output channels */
};

static int read_source(const struct graph *g, int node, const struct graph *fp32, int from,
                       struct recoded *r, struct source *s, struct err *err)
{
    const struct node *n = &fp32->nodes[from];
    const char *name = g->nodes[node].name;
    if (!recoded_read(g, node, r)) {
        return err_set(err, E_UNSUPPORTED, "'%.120s' has no constant weights as codes", name);
    }
    *s = (struct source){.axis = edit_weight_axis(fp32, n)};
    if (s->axis < 0) {
        return err_set(err, E_UNSUPPORTED, "'%.120s' has no constant float weights", n->name);
    }
    s->w = edit_float(fp32, n->in[1]);
    s->bias = n->n_in > 2 ? edit_float(fp32, n->in[2]) : NULL;
    const struct tensor *c = r->w.codes;
    if (c->rank != s->w->rank ||
        memcmp(c->dims, s->w->dims, (size_t)c->rank * sizeof *c->dims) != 0) {
        char a[96], b[96];
        return err_set(err, E_UNSUPPORTED, "'%.120s' has weights %s in INT8 and %s in FP32", name,
                       shape_text(a, sizeof a, c->rank, c->dims),
                       shape_text(b, sizeof b, s->w->rank, s->w->dims));
    }
    return OK;
}

/* Integer operators multiply 8 bits with 8 bits, and what is signed by signed alone. */
static int check_type(const struct graph *g, int node, const struct recoded *r,
                      const struct edit *c, struct err *err)
{
    const struct node *n = &g->nodes[node];
    enum dtype d = c->codes.dtype;
    if (!r->integers) {
        bool opset = g->opset >= 13 || edit_codes_domain((struct graph *)g, d)[0];
        return !c->per_channel || opset
                   ? OK
                   : err_set(err, E_UNSUPPORTED, "operator set %d has no scales per channel",
                             g->opset);
    }
    if ((d != DT_U8 && d != DT_S8) || (r->input_type == DT_S8 && d == DT_U8)) {
        return err_set(err, E_UNSUPPORTED, "'%.120s' (%s) of %s takes no weights of %s", n->name,
                       n->op, dtype_name(r->input_type), dtype_name(d));
    }
    return OK;
}

/* ---- Replacing ------------------------------------------------------------------------------ */

int recoded_choose(const struct tensor *w, int axis, const struct edit *c, struct coded *out,
                   struct err *err)
{
    int rc = coded_params(w, axis, &c->codes, out, err);
    if (!rc && c->least_error) {
        coded_least_error(w, axis, &c->codes, out);
    }
    return rc;
}

static void put_weights(struct graph *g, int node, const struct recoded *r, int axis,
                        struct coded *c)
{
    const char *name = g->nodes[node].name;
    char *stem = mem_printf("%s_weight", name);
    if (r->integers) {
        enum { WEIGHTS = 3 };
        set_input(g, node, WEIGHTS, edit_constant(g, stem, "_quantized", c->codes));
        set_input(g, node, WEIGHTS + 1, edit_constant(g, stem, "_scale", c->scale));
        set_input(g, node, WEIGHTS + 2, edit_constant(g, stem, "_zero_point", c->zero));
    } else {
        set_input(g, node, 1, coded_node(g, stem, axis, c));
    }
    free(stem);
}

int recode_weights(struct graph *g, int node, const struct graph *fp32, int from,
                   const struct edit *change, struct err *err)
{
    struct recoded r;
    struct source s = {0};
    struct coded c = {0};
    struct tensor *bias = NULL;
    int rc = read_source(g, node, fp32, from, &r, &s, err);
    rc = rc ? rc : check_type(g, node, &r, change, err);
    if (rc) {
        return rc;
    }
    int axis = change->per_channel ? s.axis : -1;
    bool has_bias = r.bias >= 0 && r.bias < g->nodes[node].n_in && g->nodes[node].in[r.bias] >= 0;
    float *none = mem_alloc(((size_t)s.w->dims[s.axis] + 1) * sizeof *none); /* zeros */
    rc = has_bias ? real_bias(s.bias, (size_t)s.w->dims[s.axis], none, &bias, err) : OK;
    free(none);
    rc = rc ? rc : recoded_choose(s.w, axis, change, &c, err);
    if (!rc && bias && r.input_scale) {
        coded_fit_bias(&c, bias, (float)tensor_f64(r.input_scale, 0));
    }
    rc = rc ? rc : coded_values(s.w, axis, &c, err);
    rc = rc || !bias ? rc : put_bias(g, node, &r, bias, c.scale, err);
    tensor_free(bias);
    if (rc) {
        coded_fini(&c);
        return rc;
    }
    put_weights(g, node, &r, axis, &c);
    drop_unread(g);
    return OK;
}

int recode_bias(struct graph *g, int node, const struct graph *fp32, int from, size_t n,
                const float *add, struct err *err)
{
    struct recoded r;
    struct source s = {0};
    struct tensor *bias = NULL;
    int rc = read_source(g, node, fp32, from, &r, &s, err);
    if (!rc && r.bias < 0) {
        rc = err_set(err, E_UNSUPPORTED, "'%.120s' (%s) has no bias", g->nodes[node].name,
                     g->nodes[node].op);
    }
    if (!rc && n != (size_t)s.w->dims[s.axis]) {
        rc = err_set(err, E_SHAPE, "'%.120s': %zu shifts for %lld channels", g->nodes[node].name, n,
                     (long long)s.w->dims[s.axis]);
    }
    if (!rc && r.w.scale->n != 1 && r.w.scale->n != n) {
        rc = err_set(err, E_SHAPE, "'%.120s': %zu scales for %zu channels", g->nodes[node].name,
                     r.w.scale->n, n);
    }
    rc = rc ? rc : real_bias(s.bias, n, add, &bias, err);
    rc = rc ? rc : put_bias(g, node, &r, bias, r.w.scale, err);
    tensor_free(bias);
    drop_unread(g);
    return rc;
}
