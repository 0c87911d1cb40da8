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

/* A sum behind a convolution or a matrix product of two dimensions becomes its bias. */
static int fold_sum(struct graph *g, const struct uses *u, size_t node, struct err *err)
{
    const struct node *n = &g->nodes[node];
    int axis = edit_weight_axis(g, n), next = axis >= 0 ? edit_reader(g, u, n->out[0]) : -1;
    const struct tensor *t = next >= 0 ? added(g, &g->nodes[next], n->out[0]) : NULL;
    if (!t) {
        return OK;
    }
    const struct tensor *w = edit_float(g, n->in[1]);
    bool conv = edit_is(n, "Conv"), plain = n->n_in < 3 || n->in[2] < 0;
    const struct tensor *bias = plain ? NULL : edit_float(g, n->in[2]);
    if (conv && per_channel(t, w->dims[0], w->rank - 2) && t->rank <= w->rank &&
        (plain || (bias && bias->n == t->n))) {
        return take_sum(g, node, next, "Conv", bias, t, err);
    }
    bool flat = edit_is(n, "MatMul") && g->values[n->in[0]].rank == 2 && t->rank <= 2;
    return flat && per_channel(t, w->dims[1], 0) ? take_sum(g, node, next, "Gemm", NULL, t, err)
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
