/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * qedit.c: reading an FP32 graph that becomes INT8, and the edits that every way there has.
 */
#include "analysis/qedit.h"
#include "analysis/upgrade.h"

#include <math.h>
#include <stdlib.h>

/* ---- Reading -------------------------------------------------------------------------------- */

bool edit_is(const struct node *n, const char *op)
{
    return n->op && !n->domain[0] && strcmp(n->op, op) == 0;
}

const struct tensor *edit_float(const struct graph *g, int v)
{
    const struct tensor *t = v >= 0 ? g->values[v].constant : NULL;
    int made = v >= 0 ? g->values[v].producer : -1;
    if (!t && made >= 0 && edit_is(&g->nodes[made], "Constant")) {
        const struct attr *a = attr_find(&g->nodes[made], "value");
        t = a && a->kind == ATTR_TENSOR ? a->t : NULL;
    }
    return t && t->dtype == DT_F32 ? t : NULL;
}

int edit_weight_axis(const struct graph *g, const struct node *n)
{
    bool conv = edit_is(n, "Conv"), gemm = edit_is(n, "Gemm");
    const struct tensor *w = n->n_in > 1 ? edit_float(g, n->in[1]) : NULL;
    if ((!conv && !gemm && !edit_is(n, "MatMul")) || !w || w->n == 0 || w->rank < 2 ||
        (!conv && w->rank != 2)) {
        return -1;
    }
    if (n->in[0] < 0 || n->n_out != 1 || n->out[0] < 0 || edit_float(g, n->in[0])) {
        return -1;
    }
    if (attr_float(n, "alpha", 1) != 1.0F || attr_float(n, "beta", 1) != 1.0F ||
        attr_int(n, "transA", 0)) {
        return -1;
    }
    return conv || (gemm && attr_int(n, "transB", 0)) ? 0 : 1;
}

int edit_reader(const struct graph *g, const struct uses *u, int v)
{
    int first = u->start[v];
    bool one = u->start[v + 1] == first + 1 && !g->values[v].is_output;
    return one ? u->node[first] : -1;
}

int edit_check_float(const struct graph *g, const char *what, struct err *err)
{
    if (g->dialect != DIALECT_ONNX) {
        return err_set(err, E_UNSUPPORTED, "%s an ONNX model", what);
    }
    for (size_t i = 0; i < g->n_nodes; i++) {
        const struct node *n = &g->nodes[i];
        if (strstr(n->op, "QuantizeLinear") || strstr(n->op, "quantizeLinear") ||
            strncmp(n->op, "QLinear", 7) == 0 || strstr(n->op, "Integer")) {
            return err_set(err, E_UNSUPPORTED,
                           "node '%.120s' (%s): %s the FP32 model, this one is quantized", n->name,
                           n->op, what);
        }
    }
    return OK;
}

/* ---- Adding --------------------------------------------------------------------------------- */

int edit_value(struct graph *g, const char *stem, const char *suffix)
{
    char *name = mem_printf("%s%s", stem, suffix);
    int v = graph_value(g, graph_fresh(g, name));
    free(name);
    return v;
}

int edit_constant(struct graph *g, const char *stem, const char *suffix, struct tensor *t)
{
    int v = edit_value(g, stem, suffix);
    g->values[v].constant = t;
    g->values[v].dtype = t->dtype;
    g->values[v].rank = t->rank;
    memcpy(g->values[v].dims, t->dims, sizeof t->dims);
    return v;
}

void edit_node(struct graph *g, const char *op, const char *domain, const char *stem,
               const int in[3], int out)
{
    char *name = mem_printf("%s_%s", stem, op);
    graph_add(g, op, domain, graph_fresh(g, name), 3, in, 1, &out);
    free(name);
}

const char *edit_domain(struct graph *g, enum dtype type)
{
    enum { ALL_TYPES_OPSET = 21 };
    bool own = type != DT_U8 && type != DT_S8 && type != DT_S32;
    if (!own || g->opset >= ALL_TYPES_OPSET) {
        return "";
    }
    g->opset_ms = MAX(g->opset_ms, 1);
    return "com.microsoft";
}

/* ---- BatchNormalization --------------------------------------------------------------------- */

/* w' = w * s, b' = (b - mean) * s + beta with s = gamma / sqrt(var + epsilon), in double. */
static int fold_weights(const struct tensor *w, const struct tensor *b,
                        const struct tensor *const norm[4], double epsilon, struct tensor **w_out,
                        struct tensor **b_out, struct err *err)
{
    struct tensor *x = NULL, *y = NULL;
    int rc = tensor_new(DT_F32, w->rank, w->dims, NULL, &x, err);
    rc = rc ? rc : tensor_new(DT_F32, 1, w->dims, NULL, &y, err);
    size_t each = rc ? 0 : w->n / (size_t)w->dims[0];
    for (size_t c = 0; !rc && c < y->n; c++) {
        double s = tensor_f64(norm[0], c) / sqrt(tensor_f64(norm[3], c) + epsilon);
        double bias = b ? tensor_f64(b, c) : 0;
        ((float *)y->data)[c] =
            (float)((bias - tensor_f64(norm[2], c)) * s + tensor_f64(norm[1], c));
        for (size_t i = c * each; i < (c + 1) * each; i++) {
            ((float *)x->data)[i] = (float)(tensor_f64(w, i) * s);
        }
    }
    if (rc) {
        tensor_free(x);
        return rc;
    }
    *w_out = x;
    *b_out = y;
    return OK;
}

static int fold_norm(struct graph *g, int conv, int norm, struct err *err)
{
    const struct tensor *w = edit_float(g, g->nodes[conv].in[1]), *p[4];
    const struct node *c = &g->nodes[conv], *n = &g->nodes[norm];
    const struct tensor *b = c->n_in > 2 && c->in[2] >= 0 ? edit_float(g, c->in[2]) : NULL;
    bool fits = n->n_in == 5 && n->n_out == 1 && (b || c->n_in < 3 || c->in[2] < 0);
    for (int k = 0; k < 4 && fits; k++) {
        p[k] = edit_float(g, n->in[1 + k]);
        fits = p[k] && p[k]->n == (size_t)w->dims[0];
    }
    if (!fits || (b && b->n != (size_t)w->dims[0])) {
        return OK;
    }
    struct tensor *w_new = NULL, *b_new = NULL;
    int rc = fold_weights(w, b, p, (double)attr_float(n, "epsilon", 1e-5F), &w_new, &b_new, err);
    if (rc) {
        return rc;
    }
    const char *name = c->name;
    int in[3] = {c->in[0], edit_constant(g, name, "_folded_weight", w_new),
                 edit_constant(g, name, "_folded_bias", b_new)};
    struct node *made = graph_add_copy(g, &g->nodes[conv], name, in, g->nodes[norm].out);
    made->in = arena_alloc(&g->arena, sizeof in);
    memcpy(made->in, in, sizeof in);
    made->n_in = 3;
    g->nodes[conv].op = g->nodes[norm].op = NULL;
    return OK;
}

int edit_fold_norms(struct graph *g, struct err *err)
{
    struct uses u = graph_uses(g);
    int rc = OK;
    for (size_t i = 0, n = g->n_nodes; i < n && !rc; i++) {
        bool conv = edit_is(&g->nodes[i], "Conv") && edit_weight_axis(g, &g->nodes[i]) == 0;
        int next = conv ? edit_reader(g, &u, g->nodes[i].out[0]) : -1;
        if (next >= 0 && edit_is(&g->nodes[next], "BatchNormalization")) {
            rc = fold_norm(g, (int)i, next, err);
        }
    }
    uses_fini(&u);
    return rc ? rc : graph_finish(g, err);
}

/* ---- Operator set --------------------------------------------------------------------------- */

int edit_raise_opset(struct graph *g, const struct graph *fp32, int opset, struct err *err)
{
    size_t n = g->n_nodes;
    int rc = OK;
    if (g->opset >= opset) {
        return OK;
    }
    g->opset = opset;
    for (size_t i = 0; i < n && !rc; i++) {
        g->nodes[i].op = NULL;
        const struct node *old = &fp32->nodes[i];
        rc = node_upgrade(g, fp32, old, old->in, old->out, err);
        rc = rc ? err_in(err, "node '%.120s' (%s)", old->name, old->op) : OK;
    }
    return rc ? rc : graph_finish(g, err);
}
