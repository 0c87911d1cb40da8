/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * fuse_level1.c: what onnxruntime does to the graph before it looks for quantized groups, as far as
 * that decides which groups exist: one DQ per consumer, and Q/DQ pairs moved through nodes that
 * only move data. But for fuse_norms.c none of it changes a number.
 */
#include "engine/fuse.h"

/* ---- Constants and no-ops ------------------------------------------------------------------- */

/* Constant nodes become constants, as the runtime has them from the start. */
static void absorb_constants(struct fuser *f)
{
    for (size_t i = 0; i < f->g->n_nodes; i++) {
        const struct node *n = &f->g->nodes[i];
        const struct attr *a = fuse_is(f, (int)i, "Constant") ? attr_find(n, "value") : NULL;
        if (!a || !a->t || n->n_out != 1 || n->out[0] < 0) {
            continue;
        }
        int out = n->out[0];
        f->g->values[out].constant = tensor_ref(a->t);
        fuser_kill(f, (int)i);
    }
}

static void drop_identities(struct fuser *f)
{
    for (size_t i = 0; i < f->g->n_nodes; i++) {
        const struct node *n = &f->g->nodes[i];
        if (fuse_is(f, (int)i, "Identity") && n->n_in == 1 && n->n_out == 1 && n->in[0] >= 0 &&
            n->out[0] >= 0 && !fuser_is_output(f, n->out[0])) {
            int in = n->in[0], out = n->out[0];
            fuser_kill(f, (int)i);
            fuser_move_uses(f, out, in);
        }
    }
}

/* The runtime computes Shape at load time, so its edge does not count as a consumer. Here the node
 * stays and reads the shape of the codes through a value of its own; finish_aliases() in fuse.c
 * joins them again. */
static void detach_shapes(struct fuser *f)
{
    size_t n_nodes = f->g->n_nodes;
    for (size_t i = 0; i < n_nodes; i++) {
        int in =
            fuse_is(f, (int)i, "Shape") && f->g->nodes[i].n_in == 1 ? f->g->nodes[i].in[0] : -1;
        int codes = -1, maker = fuser_producer(f, in);
        if (fuse_is_dq(f, maker)) {
            codes = f->g->nodes[maker].in[0];
        }
        for (int k = 0; in >= 0 && codes < 0 && k < f->v[in].n; k++) {
            struct edge e = f->v[in].edges[k];
            codes = fuse_is_q(f, e.node) && e.slot == 0 ? f->g->nodes[e.node].out[0] : -1;
        }
        if (codes >= 0) {
            int shadow = fuser_value(f, codes, "_shape");
            f->v[shadow].alias = codes;
            fuser_set_in(f, (int)i, 0, shadow);
        }
    }
}

/* ---- One DQ per consumer -------------------------------------------------------------------- */

static void split_dequantizers(struct fuser *f)
{
    size_t n_nodes = f->g->n_nodes;
    for (size_t i = 0; i < n_nodes; i++) {
        if (!fuse_is_dq(f, (int)i)) {
            continue;
        }
        int out = f->g->nodes[i].out[0], keep = fuser_is_output(f, out) ? 0 : 1;
        while (fuser_uses(f, out) > keep) {
            struct edge e = f->v[out].edges[keep];
            int copy = fuser_value(f, out, "_copy");
            f->v[copy].alias = out;
            fuser_copy(f, (int)i, copy);
            fuser_set_in(f, e.node, e.slot, copy);
        }
    }
}

/* The runtime joins scales that are equal, but zero points only where they are one constant. */
static bool same_zero_input(const struct fuser *f, int a, int b)
{
    const struct node *x = &f->g->nodes[a], *y = &f->g->nodes[b];
    return (x->n_in > 2 ? x->in[2] : -1) == (y->n_in > 2 ? y->in[2] : -1);
}

/* Q nodes on one tensor with equal parameters become one. */
static void merge_quantizers(struct fuser *f, int value)
{
    for (int i = 0; i < f->v[value].n; i++) {
        for (int k = i + 1; k < f->v[value].n; k++) {
            struct edge a = f->v[value].edges[i], b = f->v[value].edges[k];
            if (a.slot != 0 || b.slot != 0 || !fuse_is_q(f, a.node) || !fuse_is_q(f, b.node) ||
                !same_zero_input(f, a.node, b.node) ||
                !fuse_same_params(f, a.node, b.node, false)) {
                continue;
            }
            int to = f->g->nodes[a.node].out[0], from = f->g->nodes[b.node].out[0];
            if (!fuser_is_output(f, from)) {
                fuser_kill(f, b.node);
                fuser_move_uses(f, from, to);
                k--;
            }
        }
    }
}

/* ---- Propagation ---------------------------------------------------------------------------- */

/* Nodes that Q and DQ may be moved through. */
static bool moves_data(const struct fuser *f, int node)
{
    static const char *const ops[] = {"Reshape", "Transpose", "Squeeze", "Unsqueeze", "Slice"};
    if (node < 0 || f->g->nodes[node].n_in < 1 || f->g->nodes[node].n_out < 1) {
        return false;
    }
    for (size_t i = 0; i < COUNT(ops); i++) {
        if (fuse_is(f, node, ops[i])) {
            return true;
        }
    }
    return fuse_is(f, node, "MaxPool") && f->g->opset >= 12 && f->g->opset < 22;
}

/* Adds Q and DQ with the parameters of `like` behind `value`; returns the output of Q. */
static int add_quantizer(struct fuser *f, int value, int like)
{
    const struct node *n = &f->g->nodes[like];
    const int in[3] = {value, n->in[1], n->n_in > 2 ? n->in[2] : -1};
    int out = fuser_value(f, value, "_quantized");
    fuser_add(f, "QuantizeLinear", MIN(n->n_in, 3), in, out);
    return out;
}

static void add_dequantizer(struct fuser *f, int codes, int like, int out)
{
    const struct node *n = &f->g->nodes[like];
    const int in[3] = {codes, n->in[1], n->n_in > 2 ? n->in[2] : -1};
    fuser_add(f, "DequantizeLinear", MIN(n->n_in, 3), in, out);
}

/* Repeats Q in front of the data movers that lead to it, so that it meets what computes. */
static bool quantize_earlier(struct fuser *f, int q)
{
    bool changed = false;
    int in = f->g->nodes[q].in[0], node = fuser_producer(f, in);
    if (!fuse_is_scalar(f, q) || fuser_sole_use(f, in).node != q) {
        return false;
    }
    while (node >= 0 && moves_data(f, node)) {
        int t = f->g->nodes[node].in[0], before = fuser_producer(f, t);
        bool shared = before >= 0 && fuser_sole_use(f, t).node != node;
        if (t < 0 || shared || fuse_is_dq(f, before) || (before < 0 && f->g->values[t].constant)) {
            break;
        }
        int codes = add_quantizer(f, t, q), real = fuser_value(f, t, "_dequantized");
        add_dequantizer(f, codes, q, real);
        fuser_set_in(f, node, 0, real);
        changed = true;
        node = before;
    }
    return changed;
}

/* The consumers of t that are no Q read a DQ of their own of `codes` instead. */
static void dequantize_for_each(struct fuser *f, int t, int codes, int like)
{
    for (int k = 0; k < f->v[t].n;) {
        struct edge e = f->v[t].edges[k];
        if (fuse_is_q(f, e.node)) {
            k++;
            continue;
        }
        int real = fuser_value(f, t, "_copy");
        f->v[real].alias = t;
        add_dequantizer(f, codes, like, real);
        fuser_set_in(f, e.node, e.slot, real);
    }
}

/* Repeats DQ behind the data mover it feeds, so that it meets what computes next. A graph output
 * gets the pair in front of it, and its other readers read that. */
static bool dequantize_later(struct fuser *f, int dq)
{
    struct edge use = fuser_sole_use(f, f->g->nodes[dq].out[0]);
    if (!fuse_is_scalar(f, dq) || use.slot != 0 || !moves_data(f, use.node)) {
        return false;
    }
    int t = f->g->nodes[use.node].out[0], reals = 0;
    if (t >= 0 && fuser_is_output(f, t)) {
        int inner = fuser_value(f, t, "_inner");
        fuser_set_out(f, use.node, 0, inner);
        add_dequantizer(f, add_quantizer(f, inner, dq), dq, t);
        return true;
    }
    for (int k = 0; t >= 0 && k < f->v[t].n; k++) {
        reals += !fuse_is_q(f, f->v[t].edges[k].node);
    }
    if (!reals) {
        return false;
    }
    dequantize_for_each(f, t, add_quantizer(f, t, dq), dq);
    return true;
}

static bool propagate(struct fuser *f)
{
    bool changed = false;
    size_t n_nodes = f->g->n_nodes;
    for (size_t i = 0; i < n_nodes; i++) {
        if (fuse_is_q(f, (int)i)) {
            changed = quantize_earlier(f, (int)i) || changed;
        }
    }
    /* n_nodes grows: the DQ nodes that this adds move on in their turn. */
    for (size_t i = 0; i < f->g->n_nodes; i++) {
        if (fuse_is_dq(f, (int)i)) {
            changed = dequantize_later(f, (int)i) || changed;
        }
    }
    return changed;
}

enum { MAX_ROUNDS = 10 }; /* of the runtime's own loop */

void fuse_level1(struct fuser *f)
{
    absorb_constants(f);
    drop_identities(f);
    fuse_norms(f);
    detach_shapes(f);
    split_dequantizers(f);
    fuse_twins(f);
    if (f->g->opset >= 20) {
        fuse_gelu(f); /* a later opset has the operator, which the runtime then makes early */
    }
    bool changed = true;
    for (int round = 0; changed && round < MAX_ROUNDS; round++) {
        changed = fuse_join_pairs(f);
        for (size_t v = 0; v < f->g->n_values; v++) {
            merge_quantizers(f, (int)v);
        }
        changed = propagate(f) || changed;
        changed = fuse_quantize_weights(f) || changed;
        split_dequantizers(f);
    }
}
