/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * fuse_why.c: why a node between quantizers stays float, in words, as an attribute of the node. The
 * conditions are those of the rules in fuse_rules.c, asked one by one; nothing is changed here.
 */
#include "engine/fuse.h"

/* "" for an input that is left out. */
static const char *name_of(const struct fuser *f, int value)
{
    return value >= 0 ? f->g->values[value].name : "";
}

/* First given input that no DQ makes, or -1. */
static int float_input(const struct fuser *f, const struct node *n)
{
    for (int k = 0; k < n->n_in; k++) {
        if (n->in[k] >= 0 && !fuse_is_dq(f, fuser_producer(f, n->in[k]))) {
            return n->in[k];
        }
    }
    return -1;
}

static int count_dequantized(const struct fuser *f, const struct node *n)
{
    int count = 0;
    for (int k = 0; k < n->n_in; k++) {
        count += n->in[k] >= 0 && fuse_is_dq(f, fuser_producer(f, n->in[k]));
    }
    return count;
}

/* The first Q that reads a value, or -1. */
static int first_quantizer(const struct fuser *f, int value)
{
    for (int i = 0; i < f->v[value].n; i++) {
        struct edge e = f->v[value].edges[i];
        if (e.slot == 0 && fuse_is_q(f, e.node)) {
            return e.node;
        }
    }
    return -1;
}

/* "codes of 'x' stay int8 (3 consumers)" or "codes of 'x' are uint8". */
static const char *codes_text(struct fuser *f, int quantizer)
{
    const struct node *n = &f->g->nodes[quantizer];
    int codes = fuse_is_q(f, quantizer) ? n->out[0] : n->in[0];
    enum dtype d = fuse_code_type(f, quantizer);
    const char *name = name_of(f, codes);
    if (d != DT_S8) {
        return arena_printf(&f->g->arena, "codes of '%s' are %s", name, dtype_name(d));
    }
    if (fuser_is_output(f, codes)) {
        return arena_printf(&f->g->arena, "codes of '%s' stay int8 (a graph output)", name);
    }
    return arena_printf(&f->g->arena, "codes of '%s' stay int8 (%d consumer%s)", name,
                        fuser_uses(f, codes), fuser_uses(f, codes) == 1 ? "" : "s");
}

/* Types that do not go together; NULL when they do. Weights and biases are of other types. */
static const char *types_text(struct fuser *f, const struct node *n, int q)
{
    bool product =
        strcmp(n->op, "Conv") == 0 || strcmp(n->op, "MatMul") == 0 || strcmp(n->op, "Gemm") == 0;
    for (int k = 0; k < (product ? 1 : n->n_in); k++) {
        int dq = n->in[k] >= 0 ? fuser_producer(f, n->in[k]) : -1;
        if (!fuse_is_dq(f, dq)) {
            continue;
        }
        if (fuse_code_type(f, dq) != fuse_code_type(f, q)) {
            const char *in = codes_text(f, dq);
            return arena_printf(&f->g->arena, "%s, %s", in, codes_text(f, q));
        }
        if (product && fuse_code_type(f, dq) == DT_S8) {
            const char *in = codes_text(f, dq);
            return arena_printf(&f->g->arena, "%s, %s; int8 %s runs in float on x86", in,
                                codes_text(f, q), n->op);
        }
    }
    return NULL;
}

/* What is wrong with the consumers of the output; NULL when it is one Q. */
static const char *consumers_text(struct fuser *f, const struct node *n)
{
    int out = n->out[0];
    struct edge use = fuser_sole_use(f, out);
    if (fuser_is_output(f, out)) {
        return arena_printf(&f->g->arena, "'%s' is a graph output", name_of(f, out));
    }
    if (fuse_is_q(f, use.node)) {
        return NULL;
    }
    if (fuser_uses(f, out) > 1) {
        return arena_printf(&f->g->arena, "'%s' feeds %d consumers, not one QuantizeLinear",
                            name_of(f, out), fuser_uses(f, out));
    }
    if (use.node < 0) {
        return arena_printf(&f->g->arena, "nothing reads '%s'", name_of(f, out));
    }
    const struct node *next = &f->g->nodes[use.node];
    bool clip = fuse_is(f, use.node, "Relu") || fuse_is(f, use.node, "Clip");
    return arena_printf(&f->g->arena, "'%s' goes to %s '%s', %s", name_of(f, out), next->op,
                        next->name,
                        clip ? "which cuts values that the codes behind it could express"
                             : "not to a QuantizeLinear");
}

static const char *reason(struct fuser *f, int node, bool known)
{
    const struct node *n = &f->g->nodes[node];
    int in = float_input(f, n), q = first_quantizer(f, n->out[0]);
    if (!known) {
        return arena_printf(&f->g->arena, "onnxruntime has no integer form of %s", n->op);
    }
    if (count_dequantized(f, n) == 0 || (in >= 0 && q >= 0)) {
        return in < 0 ? "it is given no input"
                      : arena_printf(&f->g->arena, "its input '%s' is float", name_of(f, in));
    }
    const char *text = consumers_text(f, n);
    if (!text && q >= 0) {
        text = types_text(f, n, q);
    }
    return text ? text : "scales, zero points or attributes do not allow it";
}

void fuse_explain(struct fuser *f, int node, bool known)
{
    struct node *n = &f->g->nodes[node];
    if (n->n_out < 1 || n->out[0] < 0 || n->n_in < 1 || n->domain[0] || fuse_is_q(f, node) ||
        fuse_is_dq(f, node)) {
        return;
    }
    if (count_dequantized(f, n) || first_quantizer(f, n->out[0]) >= 0) {
        const char *text = reason(f, node, known);
        graph_attr_string(f->g, &f->g->nodes[node], fuse_why_attr, text);
    }
}
