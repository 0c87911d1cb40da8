/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * prepare.c: an FP32 model made ready to be calibrated and quantized: what a runtime would compute
 * once, or take into its weights, is not to be rounded by itself.
 */
#include "analysis/analysis.h"
#include "analysis/qedit.h"

#include <stdlib.h>

/* Scales per channel begin with DequantizeLinear-13. */
enum { QUANTIZE_OPSET = 13 };

/* ---- Constants ------------------------------------------------------------------------------ */

/* The constants that a plan folds become initializers; what made them goes when nobody needs it. */
static int fold_constants(struct graph *g, struct err *err)
{
    const struct plan_options o = {.numerics = NUM_ORT_UNFUSED, .reference = true, .partial = true};
    struct plan *p = NULL;
    int rc = plan_new(g, &o, &p, err);
    if (rc) {
        return rc;
    }
    const struct graph *x = plan_graph(p);
    for (size_t v = 0; v < g->n_values; v++) {
        struct value *to = &g->values[v];
        int at = to->producer >= 0 && !to->is_output ? graph_find(x, to->name) : -1;
        const struct tensor *t = at >= 0 ? plan_constant(p, at) : NULL;
        if (t && t->dtype == DT_F32 && g->nodes[to->producer].n_out == 1) {
            g->nodes[to->producer].op = NULL;
            to->producer = -1;
            to->constant = tensor_ref(t);
            to->dtype = t->dtype;
            to->rank = t->rank;
            memcpy(to->dims, t->dims, sizeof t->dims);
        }
    }
    plan_free(p);
    return graph_finish(g, err);
}

/* ---- Constant sums -------------------------------------------------------------------------- */

/* The constant that node n adds to v; NULL when it is no such sum. */
static const struct tensor *added(const struct graph *g, const struct node *n, int v)
{
    bool sum = edit_is(n, "Add") && n->n_in == 2 && n->n_out == 1;
    return sum && n->in[0] != n->in[1] ? edit_float(g, n->in[n->in[0] == v]) : NULL;
}

/* Whether t spreads over outputs as one number per channel: its only dimension above 1 stands
 * `behind` places before the last and counts the channels. */
static bool per_channel(const struct tensor *t, int64_t channels, int behind)
{
    return t->n == (size_t)channels && t->rank > behind &&
           t->dims[t->rank - 1 - behind] == channels;
}

/* bias + t per channel, or t alone. */
static int add_bias(const struct tensor *bias, const struct tensor *t, struct tensor **out,
                    struct err *err)
{
    int rc = tensor_new(DT_F32, 1, (const int64_t[]){(int64_t)t->n}, NULL, out, err);
    for (size_t i = 0; !rc && i < t->n; i++) {
        ((float *)(*out)->data)[i] = (float)(tensor_f64(t, i) + (bias ? tensor_f64(bias, i) : 0));
    }
    return rc;
}

/* The node with another bias and output, under its name; the sum behind it goes. */
static int take_sum(struct graph *g, size_t node, int sum, const char *op,
                    const struct tensor *bias, const struct tensor *t, struct err *err)
{
    struct tensor *b = NULL;
    int rc = add_bias(bias, t, &b, err);
    if (rc) {
        return rc;
    }
    const struct node *n = &g->nodes[node];
    const char *name = n->name;
    int in[3] = {n->in[0], n->in[1], edit_constant(g, name, "_bias", b)};
    struct node *made;
    if (strcmp(op, n->op) == 0) {
        made = graph_add_copy(g, &g->nodes[node], name, in, g->nodes[sum].out);
        made->in = arena_alloc(&g->arena, sizeof in);
        memcpy(made->in, in, sizeof in);
        made->n_in = 3;
    } else {
        made = graph_add(g, op, "", name, 3, in, 1, g->nodes[sum].out);
    }
    g->nodes[node].op = g->nodes[sum].op = NULL;
    return OK;
}

/* Reshape of `from` to dims, named after a node. */
static int add_reshape(struct graph *g, const char *stem, const char *suffix, int rank,
                       const int64_t *dims, int from, int to, struct err *err)
{
    struct tensor *t = NULL;
    int rc = tensor_new(DT_S64, 1, (const int64_t[]){rank}, NULL, &t, err);
    if (rc) {
        return rc;
    }
    memcpy(t->data, dims, (size_t)rank * sizeof *dims);
    char *name = mem_printf("%s%s", stem, suffix);
    int in[2] = {from, edit_constant(g, name, "_shape", t)};
    graph_add(g, "Reshape", "", graph_fresh(g, name), 2, in, 1, &to);
    free(name);
    return OK;
}

/* A matrix product of more dimensions with a sum behind it: rows of all of them one after the
 * other, as runtimes do it that would otherwise compute it in float. */
static int take_rows(struct graph *g, size_t node, int sum, const struct tensor *t, struct err *err)
{
    const struct node *n = &g->nodes[node];
    const struct value *x = &g->values[n->in[0]];
    const char *name = n->name;
    int rank = x->rank, w = n->in[1], from = n->in[0], to = g->nodes[sum].out[0];
    int64_t rows[2] = {-1, x->dims[rank - 1]}, back[MAX_RANK];
    memcpy(back, x->dims, sizeof back);
    for (int d = 0; d < rank - 1; d++) {
        back[d] = x->dims[d] > 0 ? x->dims[d] : -1;
    }
    back[rank - 1] = (int64_t)t->n;
    struct tensor *b = NULL;
    int rc = add_bias(NULL, t, &b, err);
    if (rc) {
        return rc;
    }
    int flat = edit_value(g, name, "_rows"), made = edit_value(g, name, "_product");
    int in[3] = {flat, w, edit_constant(g, name, "_bias", b)};
    g->nodes[node].op = g->nodes[sum].op = NULL;
    rc = add_reshape(g, name, "_to_rows", 2, rows, from, flat, err);
    graph_add(g, "Gemm", "", name, 3, in, 1, &made);
    return rc ? rc : add_reshape(g, name, "_from_rows", rank, back, made, to, err);
}

/* Whether all dimensions but one are known, so that a reshape can name them. */
static bool can_reshape(const struct value *v)
{
    int open = 0;
    for (int d = 0; d < v->rank - 1; d++) {
        open += v->dims[d] <= 0;
    }
    return open <= 1 && v->rank > 2 && v->dims[v->rank - 1] > 0;
}

/* A sum behind a convolution or a matrix product becomes its bias. */
static int fold_sum(struct graph *g, const struct uses *u, size_t node, struct err *err)
{
    const struct node *n = &g->nodes[node];
    int axis = edit_weight_axis(g, n), next = axis >= 0 ? edit_reader(g, u, n->out[0]) : -1;
    const struct tensor *t = next >= 0 ? added(g, &g->nodes[next], n->out[0]) : NULL;
    if (!t) {
        return OK;
    }
    const struct tensor *w = edit_float(g, n->in[1]);
    const struct value *x = &g->values[n->in[0]];
    bool plain = n->n_in < 3 || n->in[2] < 0;
    const struct tensor *bias = plain ? NULL : edit_float(g, n->in[2]);
    if (edit_is(n, "Conv")) {
        bool fits = per_channel(t, w->dims[0], w->rank - 2) && t->rank <= w->rank &&
                    (plain || (bias && bias->n == t->n));
        return fits ? take_sum(g, node, next, "Conv", bias, t, err) : OK;
    }
    if (!edit_is(n, "MatMul") || !per_channel(t, w->dims[1], 0) || t->rank > x->rank) {
        return OK;
    }
    return x->rank == 2     ? take_sum(g, node, next, "Gemm", NULL, t, err)
           : can_reshape(x) ? take_rows(g, node, next, t, err)
                            : OK;
}

static int fold_sums(struct graph *g, struct err *err)
{
    struct uses u = graph_uses(g);
    int rc = OK;
    for (size_t i = 0, n = g->n_nodes; i < n && !rc; i++) {
        rc = g->nodes[i].op ? fold_sum(g, &u, i, err) : OK;
    }
    uses_fini(&u);
    return rc ? rc : graph_finish(g, err);
}

/* ---- The whole ------------------------------------------------------------------------------ */

int quantize_prepare(const struct graph *fp32, struct graph **out, struct err *err)
{
    int rc = edit_check_float(fp32, "quantization starts from", err);
    if (rc) {
        return rc;
    }
    struct graph *g = graph_clone(fp32);
    rc = edit_raise_opset(g, fp32, QUANTIZE_OPSET, err);
    rc = rc ? rc : fold_constants(g, err);
    rc = rc ? rc : edit_fold_norms(g, err);
    rc = rc ? rc : fold_sums(g, err);
    if (rc) {
        graph_free(g);
        return rc;
    }
    *out = g;
    return OK;
}

void quantize_wanted(const struct graph *g, bool *wanted)
{
    for (size_t v = 0; v < g->n_values; v++) {
        const struct value *x = &g->values[v];
        wanted[v] = !x->constant && (x->producer >= 0 || x->is_input);
    }
}

void quantize_channels(const struct graph *g, int *axis)
{
    memset(axis, 0, g->n_values * sizeof *axis);
    for (size_t i = 0; i < g->n_nodes; i++) {
        const struct node *n = &g->nodes[i];
        if (edit_weight_axis(g, n) >= 0 && !edit_is(n, "MatMul")) {
            axis[n->in[0]] = edit_is(n, "Conv") ? 1 : -1;
        }
    }
}
