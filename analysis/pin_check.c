/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * pin_check.c: whether a pin is in effect: asked of the graph that runs, whatever the rewrite meant
 * to do and the runtime's own rewrites made of it.
 */
#include "analysis/analysis.h"
#include "analysis/qmodel.h"

#include <math.h>
#include <stdlib.h>

struct verifier {
    const struct graph *x, *f; /* executed, FP32 */
    const struct qmodel *qx, *qf;
    enum precision as;
    const char *why;
};

static const struct tensor *constant_in(const struct graph *g, int v)
{
    const struct value *c = &g->values[v];
    const struct attr *a = NULL;
    if (!c->constant && c->producer >= 0 && node_is(&g->nodes[c->producer], "Constant")) {
        a = attr_find(&g->nodes[c->producer], "value");
    }
    return c->constant ? c->constant : a ? a->t : NULL;
}

static const struct node *maker(const struct verifier *c, int v)
{
    int made = v >= 0 ? c->x->values[v].producer : -1;
    return made >= 0 ? &c->x->nodes[made] : NULL;
}

/* ---- Constants ------------------------------------------------------------------------------ */

/* Input k of the executed node is what the FP32 node has there, in the precision of the pin. */
static bool same_constant(struct verifier *c, const struct node *x, const struct node *f, int k,
                          const struct tensor *tf)
{
    struct tensor *own = NULL;
    const struct tensor *tx = k < x->n_in && x->in[k] >= 0 ? constant_in(c->x, x->in[k]) : NULL;
    bool same = precision_constant(c->f, f, k, tf, c->as, &own, NULL) == OK;
    tf = own ? own : tf;
    same = same && tx && tx->size == tf->size && memcmp(tx->data, tf->data, tf->size) == 0;
    tensor_free(own);
    return same;
}

static bool same_constants(struct verifier *c, const struct node *x, const struct node *f)
{
    for (int k = 0; k < f->n_in; k++) {
        const struct tensor *tf =
            f->in[k] >= 0 && c->qf->v[f->in[k]].constant ? constant_in(c->f, f->in[k]) : NULL;
        if (tf && dtype_is_float(tf->dtype) && !same_constant(c, x, f, k, tf)) {
            c->why = "its weights are not those of the FP32 model";
            return false;
        }
    }
    return true;
}

/* Whether the executed node is the convolution in front of a BatchNormalization with that in its
 * weights, as the runtime makes one of both. */
static bool is_folded_norm(const struct verifier *c, const struct node *x, const struct node *f)
{
    const int before = f->in[0] >= 0 ? c->f->values[f->in[0]].producer : -1;
    const struct node *conv = before >= 0 ? &c->f->nodes[before] : NULL;
    if (!node_is(f, "BatchNormalization") || f->n_in < 5 || !node_is(x, "Conv") || !conv ||
        !node_is(conv, "Conv") || x->n_in < 3 || x->in[1] < 0) {
        return false;
    }
    const struct tensor *was = constant_in(c->f, conv->in[1]), *is = constant_in(c->x, x->in[1]);
    const struct tensor *scale = constant_in(c->f, f->in[1]), *var = constant_in(c->f, f->in[4]);
    bool same = was && is && scale && var && was->dtype == DT_F32 && is->dtype == DT_F32 &&
                was->n == is->n && was->rank > 0 && (size_t)was->dims[0] == scale->n &&
                scale->n == var->n;
    const float epsilon = attr_float(f, "epsilon", 1e-5F);
    for (size_t i = 0; same && i < was->n; i++) {
        const size_t o = i / (was->n / scale->n);
        const float factor =
            (float)tensor_f64(scale, o) / sqrtf((float)tensor_f64(var, o) + epsilon);
        same = (float)tensor_f64(is, i) == (float)tensor_f64(was, i) * factor;
    }
    return same;
}

/* No input of the executed node is codes; constants do not come out of a DequantizeLinear. */
static bool float_inputs(struct verifier *c, const struct node *x)
{
    for (int k = 0; k < x->n_in; k++) {
        const struct qvalue *v = x->in[k] >= 0 ? &c->qx->v[x->in[k]] : NULL;
        const struct node *made = v ? maker(c, x->in[k]) : NULL;
        if (v && v->codes) {
            c->why = "the node that runs reads integers";
            return false;
        }
        if (v && v->constant && made && node_is_dequantize(made)) {
            c->why = "its weights are still quantized";
            return false;
        }
    }
    return true;
}

/* ---- Activations ---------------------------------------------------------------------------- */

static bool is_copy(const struct node *n)
{
    return node_is(n, "Max") && n->n_in == 1; /* the barrier */
}

static bool casts_to(const struct node *n, enum dtype d)
{
    return n && node_is(n, "Cast") && attr_int(n, "to", 0) == d;
}

/* The value that v is rounded from, if the nodes that make it round so; else -1. */
static int rounded_from(const struct verifier *c, int v)
{
    const struct node *back = maker(c, v), *there = back ? maker(c, back->in[0]) : NULL;
    if (c->as != PREC_INT16) {
        enum dtype half = c->as == PREC_FP16 ? DT_F16 : DT_BF16;
        return casts_to(back, DT_F32) && casts_to(there, half) ? there->in[0] : -1;
    }
    const struct tensor *z =
        back && back->n_in > 2 && back->in[2] >= 0 ? constant_in(c->x, back->in[2]) : NULL;
    return back && node_is_dequantize(back) && there && node_is_quantize(there) && z &&
                   z->dtype == DT_S16
               ? there->in[0]
               : -1;
}

/* The inputs of a node that are not rounded, put behind the n that are to be looked at. */
static size_t push_inputs(const struct verifier *c, const struct node *x, bool *seen, int *pending,
                          size_t n)
{
    for (int k = 0; k < x->n_in; k++) {
        int v = x->in[k];
        if (v >= 0 && !seen[v] && !c->qx->v[v].constant && rounded_from(c, v) < 0) {
            pending[n++] = v;
            seen[v] = true;
        }
    }
    return n;
}

/* Whether each way back from a node meets activations that are rounded before those that are not.
 * An activation without codes has no 16-bit scale and stays as it is: what made it counts for int16
 * only where a mere copy stands between. */
static bool reads_rounded(struct verifier *c, const struct node *x)
{
    int *pending = mem_alloc((c->x->n_values + 1) * sizeof *pending);
    bool *seen = mem_alloc(c->x->n_values + 1);
    size_t n = push_inputs(c, x, seen, pending, 0);
    bool good = true;
    while (n && good) {
        int v = pending[--n];
        const struct node *made = maker(c, v);
        bool input = !made && c->as != PREC_INT16 && dtype_is_float(c->x->values[v].dtype);
        good = !input && !(made && node_is_dequantize(made));
        bool through = made && (c->as != PREC_INT16 || is_copy(made));
        n = through ? push_inputs(c, made, seen, pending, n) : n;
    }
    free(seen);
    free(pending);
    c->why = good ? c->why : "what it reads is not rounded";
    return good;
}

bool pin_in_effect(const struct graph *executed, const char *name, const struct graph *fp32,
                   int fp32_value, enum precision as, const char **why)
{
    struct qmodel qx, qf;
    qmodel_init(&qx, executed);
    qmodel_init(&qf, fp32);
    struct verifier c = {.x = executed, .f = fp32, .qx = &qx, .qf = &qf, .as = as};
    const struct node *f = &fp32->nodes[fp32->values[fp32_value].producer];
    int x = graph_find(executed, name);
    c.why = "nothing in the graph that runs makes it";
    if (x >= 0 && as != PREC_FP32) {
        x = rounded_from(&c, x);
        c.why = x < 0 ? "what it makes is not rounded" : c.why;
    }
    const struct node *n = maker(&c, x);
    while (n && is_copy(n) && strcmp(n->op, f->op) != 0) {
        n = maker(&c, n->in[0]);
    }
    /* The runtime leaves an Identity out, so that nothing is computed. */
    bool ok = x >= 0 && as != PREC_FP32 && node_is(f, "Identity");
    if (n && !ok) {
        c.why = "an integer operator makes it";
        const bool folded = as == PREC_FP32 && is_folded_norm(&c, n, f);
        ok = (folded || strcmp(n->op, f->op) == 0) && float_inputs(&c, n) &&
             (folded || same_constants(&c, n, f)) && (as == PREC_FP32 || reads_rounded(&c, n));
    }
    qmodel_fini(&qx);
    qmodel_fini(&qf);
    *why = ok ? NULL : c.why;
    return ok;
}
