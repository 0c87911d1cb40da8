/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * requant.c: another type, scale and zero point for an activation of an INT8 graph. Every quantizer
 * and integer operator that makes or reads its codes gets the new ones, tensors that only move its
 * codes with it; biases that are kept as sums of codes are brought to the new scale. Another type
 * is for quantizers alone: integer operators want one type for all that they read and make.
 */
#include "analysis/analysis.h"
#include "analysis/qedit.h"
#include "analysis/qmodel.h"
#include "analysis/qweight.h"

#include <math.h>
#include <stdlib.h>

struct requant {
    struct graph *g;
    struct qmodel q;
    bool *member; /* per value: codes that get the new parameters */
    struct quant old;
    enum dtype type; /* of the new codes */
    float scale;
    bool cut; /* biases that do not fit */
    int s, z; /* the new constants */
};

/* ---- What belongs together ------------------------------------------------------------------ */

static bool same_params(const struct requant *r, int a, int b)
{
    struct arena arena = {0};
    struct quant p, o;
    bool pk = false, ok = false;
    int rc = qmodel_read(&r->q, a, &arena, &p, &pk, NULL);
    rc = rc ? rc : qmodel_read(&r->q, b, &arena, &o, &ok, NULL);
    bool same = !rc && pk && ok && p.n == 1 && o.n == 1 && p.dtype == o.dtype &&
                p.scale[0] == o.scale[0] && p.zero[0] == o.zero[0];
    arena_fini(&arena);
    return same;
}

static int unit_of(const struct requant *r, int v)
{
    int u = v >= 0 && (size_t)v < r->q.n_values ? r->q.v[v].unit : -1;
    return u >= 0 && r->q.v[u].codes ? u : -1;
}

/* Adds what moves codes of members, or gives members theirs; true when there was something new. */
static bool spread(struct requant *r)
{
    bool more = false;
    for (size_t i = 0; i < r->g->n_nodes; i++) {
        const struct node *n = &r->g->nodes[i];
        int a = node_moves(n) && n->n_in ? unit_of(r, n->in[0]) : -1;
        for (int k = 0; a >= 0 && k < n->n_out; k++) {
            int b = unit_of(r, n->out[k]);
            if (b >= 0 && r->member[a] != r->member[b] && same_params(r, a, b)) {
                r->member[a] = r->member[b] = more = true;
            }
        }
    }
    return more;
}

/* ---- New parameters ------------------------------------------------------------------------- */

static int new_constants(struct requant *r, int v, int32_t zero, struct err *err)
{
    struct tensor *s = NULL, *z = NULL;
    const char *name = r->g->values[v].name;
    int rc = tensor_new(DT_F32, 0, NULL, NULL, &s, err);
    rc = rc ? rc : tensor_zeros(r->type, 0, NULL, NULL, &z, err);
    if (rc) {
        tensor_free(s);
        return rc;
    }
    *(float *)s->data = r->scale;
    coded_put(z, 0, zero);
    r->s = edit_constant(r->g, name, "_new_scale", s);
    r->z = edit_constant(r->g, name, "_new_zero_point", z);
    return OK;
}

/* A quantizer of a type that its operator set has not is onnxruntime's own, which knows an axis and
 * nothing else. */
static void set_domain(struct requant *r, struct node *n)
{
    const char *domain = edit_codes_domain(r->g, r->type);
    int kept = 0;
    if (!domain[0] || n->domain[0]) {
        return;
    }
    n->domain = domain;
    for (int k = 0; k < n->n_attrs; k++) {
        if (strcmp(n->attrs[k].name, "axis") == 0) {
            n->attrs[kept++] = n->attrs[k];
        }
    }
    n->n_attrs = kept;
}

static int put_params(struct requant *r, struct node *n, int scale, int zero, struct err *err)
{
    if (scale >= n->n_in || zero >= n->n_in || n->in[zero] < 0) {
        return err_set(err, E_UNSUPPORTED, "node '%.120s' (%s) has no zero point to be changed",
                       n->name, n->op);
    }
    bool quantizer = node_is_quantize(n) || node_is_dequantize(n);
    if (r->type != r->old.dtype && !quantizer) {
        return err_set(err, E_UNSUPPORTED, "'%.120s' (%s) takes codes of %s alone, not of %s",
                       n->name, n->op, dtype_name(r->old.dtype), dtype_name(r->type));
    }
    if (r->type != r->old.dtype) {
        set_domain(r, n);
    }
    n->in[scale] = r->s;
    n->in[zero] = r->z;
    n->raw = (struct span){0};
    return OK;
}

static bool is_member(const struct requant *r, int v)
{
    return v >= 0 && (size_t)v < r->q.n_values && r->member[v];
}

/* Where a node makes or reads codes of members it gets the new constants. */
static int change_node(struct requant *r, size_t i, struct err *err)
{
    enum { DATA = 16 };
    struct node *n = &r->g->nodes[i];
    int scale, zero, pos[DATA], rc = OK;
    if (n->n_out && is_member(r, n->out[0]) && node_output_params(n, &scale, &zero)) {
        rc = put_params(r, n, scale, zero, err);
    }
    if (r->type != r->old.dtype && node_moves(n) && n->n_in && is_member(r, n->in[0])) {
        return err_set(err, E_UNSUPPORTED, "'%.120s' (%s) moves codes of %s as they are", n->name,
                       n->op, dtype_name(r->old.dtype));
    }
    int count = node_takes_params(n) ? node_data_inputs(n, pos, DATA) : 0;
    for (int k = 0; k < count && !rc; k++) {
        if (is_member(r, n->in[pos[k]])) {
            rc = put_params(r, n, pos[k] + 1, pos[k] + 2, err);
        }
    }
    return rc;
}

/* ---- Biases --------------------------------------------------------------------------------- */

static int rescaled(const struct tensor *t, double by, bool cut, struct tensor **out,
                    struct err *err)
{
    int rc = tensor_new(DT_S32, t->rank, t->dims, NULL, out, err);
    for (size_t i = 0; !rc && i < t->n; i++) {
        double v = rint((double)tensor_s64(t, i) * by);
        if (fabs(v) > INT32_MAX && !cut) {
            tensor_free(*out);
            return err_set(err, E_UNSUPPORTED, "its bias does not fit int32, %g times as large",
                           by);
        }
        coded_put(*out, i, (int64_t)fmin(fmax(v, INT32_MIN), INT32_MAX));
    }
    return rc;
}

/* Codes of a bias in input `slot`, and where they have one their scale behind it. */
static int change_bias(struct requant *r, size_t node, int slot, bool has_scale, struct err *err)
{
    const struct node *n = &r->g->nodes[node];
    int v = slot < n->n_in ? n->in[slot] : -1;
    const struct tensor *t = v >= 0 ? r->g->values[v].constant : NULL;
    if (v >= 0 && (size_t)v >= r->q.n_values) {
        return OK; /* two nodes share it, and it has been changed */
    }
    if (v < 0 || !t || t->dtype != DT_S32) {
        return v < 0 ? OK
                     : err_set(err, E_UNSUPPORTED, "the bias of '%.120s' is no constant", n->name);
    }
    double by = (double)r->old.scale[0] / (double)r->scale;
    struct tensor *codes = NULL, *scale = NULL;
    int rc = rescaled(t, by, r->cut, &codes, err);
    rc = rc ? err_in(err, "node '%.120s'", n->name) : OK;
    const struct tensor *s = has_scale ? r->g->values[n->in[slot + 1]].constant : NULL;
    rc = rc || !s ? rc : tensor_new(DT_F32, s->rank, s->dims, NULL, &scale, err);
    if (rc) {
        tensor_free(codes);
        return rc;
    }
    for (size_t i = 0; s && i < s->n; i++) {
        ((float *)scale->data)[i] = (float)(tensor_f64(s, i) / by);
    }
    int to = edit_constant(r->g, r->g->values[v].name, "_new", codes);
    int to_scale = s ? edit_constant(r->g, r->g->values[v].name, "_new_scale", scale) : -1;
    struct node *edited = &r->g->nodes[node];
    edited->in[slot] = to;
    edited->in[slot + 1] = s ? to_scale : edited->in[slot + 1];
    edited->raw = (struct span){0};
    return OK;
}

/* The bias of a weighted node that reads a member: of an integer operator, or behind a quantizer of
 * its own. */
static int change_bias_of(struct requant *r, size_t i, struct err *err)
{
    enum { CONV_BIAS = 8, GEMM_BIAS = 6, BIAS = 2 };
    const struct node *n = &r->g->nodes[i];
    if (!n->n_in || n->in[0] < 0 || (size_t)n->in[0] >= r->q.n_values) {
        return OK;
    }
    if (is_member(r, n->in[0])) {
        return node_is(n, "QLinearConv") && n->n_in > CONV_BIAS
                   ? change_bias(r, i, CONV_BIAS, false, err)
               : node_is(n, "QGemm") && n->n_in > GEMM_BIAS
                   ? change_bias(r, i, GEMM_BIAS, false, err)
                   : OK;
    }
    bool weighted = node_is(n, "Conv") || node_is(n, "ConvTranspose") || node_is(n, "Gemm");
    int dq =
        weighted && n->n_in > BIAS && n->in[BIAS] >= 0 ? r->g->values[n->in[BIAS]].producer : -1;
    bool reads = is_member(r, unit_of(r, n->in[0]));
    return reads && dq >= 0 && node_is_dequantize(&r->g->nodes[dq])
               ? change_bias(r, (size_t)dq, 0, true, err)
               : OK;
}

/* ---- The whole ------------------------------------------------------------------------------ */

static int change(struct requant *r, int v, int32_t zero, struct err *err)
{
    size_t n_nodes = r->g->n_nodes;
    r->member[v] = true;
    while (spread(r)) {
    }
    int rc = new_constants(r, v, zero, err);
    for (size_t i = 0; i < n_nodes && !rc; i++) {
        rc = change_bias_of(r, i, err); /* before its node has new constants */
    }
    for (size_t i = 0; i < n_nodes && !rc; i++) {
        rc = change_node(r, i, err);
    }
    for (size_t i = 0; i < r->q.n_values && !rc; i++) {
        r->g->values[i].dtype = r->member[i] ? r->type : r->g->values[i].dtype;
    }
    return rc;
}

int graph_requantize(struct graph *g, int v, enum dtype type, float scale, int32_t zero, bool cut,
                     struct err *err)
{
    struct requant r = {.g = g, .type = type, .scale = scale, .cut = cut};
    struct arena a = {0};
    bool known = false;
    if (g->dialect != DIALECT_ONNX) {
        return err_set(err, E_UNSUPPORTED, "only ONNX models can be changed");
    }
    qmodel_init(&r.q, g);
    r.member = mem_alloc(g->n_values + 1);
    int rc = qmodel_read(&r.q, v, &a, &r.old, &known, err);
    if (!rc && type != r.old.dtype && (g->values[v].is_output || g->values[v].is_input)) {
        rc = err_set(err, E_UNSUPPORTED, "'%.120s' is what the model is given or gives",
                     g->values[v].name);
    }
    if (!rc && (!known || r.old.n != 1)) {
        rc = err_set(err, E_UNSUPPORTED, "tensor '%.120s' has no constant scale of its own",
                     g->values[v].name);
    }
    rc = rc ? rc : change(&r, v, zero, err);
    free(r.member);
    qmodel_fini(&r.q);
    arena_fini(&a);
    return rc ? rc : graph_finish(g, err);
}
