/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * fuse_norm.c: LayerNormalization written out in nine operators, as models before opset 17 have it:
 * onnxruntime computes it as one. It takes the exponent for 2 without looking, and an epsilon that
 * is the first operand of its sum for 1e-5.
 *
 *   ReduceMean, Sub, Pow, ReduceMean, Add, Sqrt, Div, Mul, Add
 *
 * Div divides what Sub gives, or what a Sub of its own does.
 */
#include "engine/fuse.h"

/* A plain node of that many inputs with one output that is no output of the graph. */
static bool is_inner(const struct fuser *f, int node, const char *op, int n_in)
{
    if (!fuse_is(f, node, op)) {
        return false;
    }
    const struct node *n = &f->g->nodes[node];
    return n->domain[0] == '\0' && n->n_in == n_in && n->n_out == 1 && n->out[0] >= 0 &&
           n->in[0] >= 0 && !fuser_is_output(f, n->out[0]);
}

static int out_of(const struct fuser *f, int node)
{
    return f->g->nodes[node].out[0];
}

/* Whether a ReduceMean is over the last dimension alone, which it keeps. */
static bool is_last_mean(const struct fuser *f, int node)
{
    const bool by_input = f->g->opset >= 18;
    if (!is_inner(f, node, "ReduceMean", by_input ? 2 : 1)) {
        return false;
    }
    const struct node *n = &f->g->nodes[node];
    const struct attr *a = attr_find(n, "axes");
    const struct tensor *t = by_input && n->in[1] >= 0 ? f->g->values[n->in[1]].constant : NULL;
    const struct value *x = &f->g->values[n->in[0]];
    if (by_input ? !t || t->dtype != DT_S64 || t->n != 1
                 : !a || a->kind != ATTR_INTS || a->n != 1) {
        return false;
    }
    const int64_t axis = by_input ? tensor_s64(t, 0) : a->ints[0];
    return attr_int(n, "keepdims", 1) && (axis == -1 || (x->rank > 0 && axis == x->rank - 1));
}

/* The constant row that is an operand of a node beside value v; -1: it is something else. */
static int row_beside(const struct fuser *f, int node, int v)
{
    const struct node *n = &f->g->nodes[node];
    const int row = n->in[0] == v ? n->in[1] : n->in[0];
    const struct tensor *t = row >= 0 ? f->g->values[row].constant : NULL;
    return t && t->dtype == DT_F32 && t->rank == 1 && t->n > 1 ? row : -1;
}

enum { MEAN, SUB, POW, MEAN2, ADD_EPSILON, SQRT, DIV, MUL, PARTS };

struct norm {
    int nodes[PARTS];
    int own_sub; /* of the division; -1: it shares SUB */
    int last, x, scale, bias;
};

/* The part whose only reader is the next one. */
static bool follow(const struct fuser *f, struct norm *g, int part, const char *op, int n_in)
{
    const int next = fuser_sole_use(f, out_of(f, g->nodes[part - 1])).node;
    g->nodes[part] = next;
    return is_inner(f, next, op, n_in);
}

static bool is_difference(const struct fuser *f, int node, int x, int mean)
{
    return is_inner(f, node, "Sub", 2) && f->g->nodes[node].in[0] == x &&
           f->g->nodes[node].in[1] == mean;
}

/* The Subs that read the mean: the one of the power, and what the division must read. */
static bool find_differences(const struct fuser *f, struct norm *g, int *divided)
{
    const int mean = out_of(f, g->nodes[MEAN]);
    g->own_sub = -1;
    g->nodes[SUB] = -1;
    if (fuser_uses(f, mean) < 1 || fuser_uses(f, mean) > 2) {
        return false;
    }
    for (int i = 0; i < fuser_uses(f, mean); i++) {
        const int sub = f->v[mean].edges[i].node;
        if (!is_difference(f, sub, g->x, mean)) {
            return false;
        }
        const struct edge use =
            f->v[out_of(f, sub)].n ? f->v[out_of(f, sub)].edges[0] : (struct edge){-1, -1};
        const bool powers = fuser_uses(f, out_of(f, sub)) == 2 || is_inner(f, use.node, "Pow", 2);
        if (powers && g->nodes[SUB] < 0) {
            g->nodes[SUB] = sub;
        } else {
            g->own_sub = sub;
        }
    }
    if (g->nodes[SUB] < 0) {
        return false;
    }
    *divided = out_of(f, g->own_sub >= 0 ? g->own_sub : g->nodes[SUB]);
    return fuser_uses(f, out_of(f, g->nodes[SUB])) == (g->own_sub >= 0 ? 1 : 2) &&
           fuser_uses(f, *divided) == (g->own_sub >= 0 ? 1 : 2);
}

static bool find_norm(const struct fuser *f, int mean, struct norm *g)
{
    int divided;
    g->nodes[MEAN] = mean;
    if (!is_last_mean(f, mean)) {
        return false;
    }
    g->x = f->g->nodes[mean].in[0];
    if (!find_differences(f, g, &divided)) {
        return false;
    }
    g->nodes[POW] = -1;
    const int sub = out_of(f, g->nodes[SUB]);
    for (int i = 0; i < fuser_uses(f, sub); i++) {
        const struct edge e = f->v[sub].edges[i];
        g->nodes[POW] = is_inner(f, e.node, "Pow", 2) && e.slot == 0 ? e.node : g->nodes[POW];
    }
    if (g->nodes[POW] < 0 || !follow(f, g, MEAN2, "ReduceMean", f->g->opset >= 18 ? 2 : 1) ||
        !is_last_mean(f, g->nodes[MEAN2]) || !follow(f, g, ADD_EPSILON, "Add", 2) ||
        !follow(f, g, SQRT, "Sqrt", 1) || !follow(f, g, DIV, "Div", 2) ||
        f->g->nodes[g->nodes[DIV]].in[0] != divided || !follow(f, g, MUL, "Mul", 2)) {
        return false;
    }
    const int product = out_of(f, g->nodes[MUL]);
    g->last = fuser_sole_use(f, product).node;
    if (!fuse_is(f, g->last, "Add") || f->g->nodes[g->last].domain[0] ||
        f->g->nodes[g->last].n_in != 2) {
        return false;
    }
    g->scale = row_beside(f, g->nodes[MUL], out_of(f, g->nodes[DIV]));
    g->bias = row_beside(f, g->last, product);
    return g->scale >= 0 && g->bias >= 0 &&
           f->g->values[g->scale].constant->n == f->g->values[g->bias].constant->n;
}

static float epsilon_of(const struct fuser *f, const struct norm *g)
{
    const int v = f->g->nodes[g->nodes[ADD_EPSILON]].in[1];
    const struct tensor *t = v >= 0 ? f->g->values[v].constant : NULL;
    return t && t->dtype == DT_F32 && t->n > 0 ? (float)tensor_f64(t, 0) : 1e-5F;
}

void fuse_norm(struct fuser *f)
{
    struct norm g;
    for (size_t i = 0; i < f->g->n_nodes; i++) {
        if (!find_norm(f, (int)i, &g)) {
            continue;
        }
        const float epsilon = epsilon_of(f, &g);
        const int in[] = {g.x, g.scale, g.bias}, y = out_of(f, g.last);
        for (int k = 0; k < PARTS; k++) {
            fuser_kill(f, g.nodes[k]);
        }
        if (g.own_sub >= 0) {
            fuser_kill(f, g.own_sub);
        }
        fuser_become(f, g.last, "LayerNormalization", "", 3, in, 1, &y);
        f->g->nodes[g.last].n_attrs = 0;
        graph_attr_float(f->g, &f->g->nodes[g.last], "epsilon", epsilon);
    }
}
