/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * fuse_groups.c: finds the DQ - operator - Q groups that onnxruntime computes with integers. A
 * group is an operator whose quantized inputs all come from DQ nodes of its own and whose outputs
 * each go to exactly one Q. What becomes of it is in fuse_rules.c.
 */
#include <limits.h>
#include <math.h>

#include "engine/fuse_rule.h"

/* ---- Finding groups ------------------------------------------------------------------------- */

/* Relu, or Clip with constant bounds, that changes no code which q can give. */
static bool is_redundant(const struct fuser *f, int clip, int q)
{
    const struct tensor *z = fuse_zero(f, q);
    int64_t qmin, qmax;
    if (!fuse_is_scalar(f, q) || !dtype_range(z ? z->dtype : DT_U8, &qmin, &qmax)) {
        return false;
    }
    double s = tensor_f64(fuse_scale(f, q), 0), zero = z ? (double)tensor_s64(z, 0) : 0;
    if (fuse_is(f, clip, "Relu")) {
        return zero == (double)qmin;
    }
    const struct node *n = &f->g->nodes[clip];
    double bound[2] = {(double)attr_float(n, "min", -INFINITY),
                       (double)attr_float(n, "max", INFINITY)};
    for (int k = 1; k < n->n_in && k < 3; k++) {
        const struct tensor *t = n->in[k] >= 0 ? f->g->values[n->in[k]].constant : NULL;
        if (n->in[k] >= 0 && (!t || t->n != 1)) {
            return false;
        }
        bound[k - 1] = t ? tensor_f64(t, 0) : bound[k - 1];
    }
    return rint(bound[0] / s) + zero <= (double)qmin && rint(bound[1] / s) + zero >= (double)qmax;
}

/* Follows the only output through a Relu or Clip. False if that stands in the way of any group. */
static bool look_through_clip(const struct fuser *f, struct group *gr)
{
    const struct node *n = &f->g->nodes[gr->node];
    struct edge use = n->n_out == 1 ? fuser_sole_use(f, n->out[0]) : (struct edge){-1, -1};
    if (!fuse_is(f, use.node, "Relu") && !fuse_is(f, use.node, "Clip")) {
        return true;
    }
    struct edge next = fuser_sole_use(f, f->g->nodes[use.node].out[0]);
    if (next.node < 0) {
        return true; /* not looked through; no Q, then */
    }
    if (!fuse_is_q(f, next.node) || !is_redundant(f, use.node, next.node)) {
        return false;
    }
    gr->clip = use.node;
    gr->q = next.node;
    gr->n_q = 1;
    return true;
}

static bool find_group(const struct fuser *f, int node, struct group *gr)
{
    const struct node *n = &f->g->nodes[node];
    *gr = (struct group){.node = node, .dq = {-1, -1, -1}, .q = -1, .clip = -1, .dq_owned = true};
    for (int k = 0; k < n->n_in; k++) {
        int dq = fuser_producer(f, n->in[k]);
        gr->n_in += n->in[k] >= 0;
        if (!fuse_is_dq(f, dq)) {
            continue;
        }
        gr->n_dq++;
        gr->dq_owned = gr->dq_owned && fuser_sole_use(f, n->in[k]).node == node;
        if (k < 3) {
            gr->dq[k] = dq;
        }
    }
    for (int k = 0; k < n->n_out; k++) {
        int out = n->out[k];
        gr->is_output = gr->is_output || (out >= 0 && fuser_is_output(f, out));
        for (int i = 0; out >= 0 && i < f->v[out].n; i++) {
            struct edge e = f->v[out].edges[i];
            bool is_q = fuse_is_q(f, e.node) && e.slot == 0;
            gr->n_uses++;
            gr->n_q += is_q;
            gr->q = is_q && gr->q < 0 ? e.node : gr->q;
        }
    }
    if (gr->n_dq == 0 || n->n_out < 1 || n->out[0] < 0 || !look_through_clip(f, gr)) {
        return false;
    }
    gr->in = gr->dq[0] >= 0 ? fuse_code_type(f, gr->dq[0]) : DT_NONE;
    gr->out = gr->q >= 0 ? fuse_code_type(f, gr->q) : DT_NONE;
    return true;
}

/* ---- Groups of both types ------------------------------------------------------------------- */

/* A tensor that the model has as s8 and the runtime keeps as u8 may meet one that is u8 in the
 * model. Kernels want one type, so such a tensor is turned into u8 in front of the group, and what
 * the group makes back into s8. `n_data`: leading inputs that share the type of the output. */
static bool mixes_types(const struct fuser *f, const struct group *gr, int n_data)
{
    const struct node *n = &f->g->nodes[gr->node];
    bool kept = false, plain = false;
    for (int k = 0; k < n->n_out; k++) {
        int q = n->out[k] >= 0 ? fuser_sole_use(f, n->out[k]).node : -1;
        kept = kept || (fuse_is_q(f, q) && fuse_is_kept_as_u8(f, q));
        plain = plain || (fuse_is_q(f, q) && !fuse_is_kept_as_u8(f, q));
    }
    for (int k = 0; k < n->n_in && k < n_data; k++) {
        int dq = fuser_producer(f, n->in[k]);
        if (fuse_is_dq(f, dq)) {
            bool is_kept = fuse_is_kept_as_u8(f, dq);
            kept = kept || is_kept;
            plain = plain || !is_kept;
        }
    }
    return kept && plain;
}

/* Gives a Q or DQ node the zero point of its codes as u8; false when there is no memory. */
static bool raise_zero(struct fuser *f, int node)
{
    const struct tensor *z = fuse_zero(f, node);
    struct tensor *raised = NULL;
    if (f->g->nodes[node].n_in < 3 || tensor_new(DT_U8, 0, NULL, NULL, &raised, NULL)) {
        return false;
    }
    *(uint8_t *)raised->data = (uint8_t)((z ? tensor_s64(z, 0) : 0) + 128);
    fuser_set_in(f, node, 2, fuser_constant(f, "zero_point", raised));
    return true;
}

static void flip(struct fuser *f, int from, int to)
{
    int node = fuser_add(f, "FlipSign", 1, &from, to);
    f->g->nodes[node].domain = fuse_mlas_domain;
}

static void raise_input(struct fuser *f, int dq)
{
    int codes = f->g->nodes[dq].in[0];
    if (f->v[codes].as_u8 && raise_zero(f, dq)) {
        int raised = fuser_value(f, codes, "_uint8");
        flip(f, codes, raised);
        fuser_set_in(f, dq, 0, raised);
    }
}

static void raise_output(struct fuser *f, int q)
{
    int codes = f->g->nodes[q].out[0];
    if (f->v[codes].as_u8 && raise_zero(f, q)) {
        int raised = fuser_value(f, codes, "_uint8");
        fuser_set_out(f, q, 0, raised);
        flip(f, raised, codes);
    }
}

static void raise_types(struct fuser *f, const struct group *gr, int n_data)
{
    for (int k = 0; k < f->g->nodes[gr->node].n_in && k < n_data; k++) {
        int dq = fuser_producer(f, f->g->nodes[gr->node].in[k]);
        if (fuse_is_dq(f, dq)) {
            raise_input(f, dq);
        }
    }
    for (int k = 0; k < f->g->nodes[gr->node].n_out; k++) {
        int out = f->g->nodes[gr->node].out[k];
        int q = out >= 0 ? fuser_sole_use(f, out).node : -1;
        if (fuse_is_q(f, q)) {
            raise_output(f, q);
        }
    }
}

static void fuse_group(struct fuser *f, const struct group *gr)
{
    const struct rule *r = fuse_rule(f, gr);
    if (!r) {
        return;
    }
    if (gr->clip >= 0) {
        fuser_kill(f, gr->clip);
        fuser_set_in(f, gr->q, 0, f->g->nodes[gr->node].out[0]);
    }
    int n_data = r->weighted ? 1 : INT_MAX;
    if (mixes_types(f, gr, n_data)) {
        raise_types(f, gr, n_data);
    }
    r->fuse(f, gr, r->to);
}

void fuse_groups(struct fuser *f)
{
    for (size_t i = 0; i < f->g->n_nodes; i++) {
        struct group gr;
        const struct node *n = &f->g->nodes[i];
        if (!n->op || n->domain[0]) {
            continue;
        }
        bool known = fuse_has_rule(n->op);
        if (find_group(f, (int)i, &gr)) {
            fuse_group(f, &gr);
        }
        if (!f->as_written) {
            fuse_explain(f, (int)i, known);
        }
    }
}
