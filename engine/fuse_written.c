/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * fuse_written.c: normalizations written out in operators, as models before opset 17 have them:
 * onnxruntime computes each as one.
 *
 *   ReduceMean, Sub, Pow, ReduceMean, Add, Sqrt, Div, Mul, Add   LayerNormalization
 *               Pow, ReduceMean, Add, Sqrt, Div, Mul             SimplifiedLayerNormalization
 *
 * In the first Div divides what Sub gives, or what a Sub of its own does. The runtime takes its
 * exponent for 2 without looking.
 */
#include "engine/fuse.h"

#include <stdlib.h>

/* A plain node whose output is none of the graph. */
static bool is_inner(const struct fuser *f, int node, const char *op, int n_in)
{
    return fuse_is_plain(f, node, op, n_in) && !fuser_is_output(f, f->g->nodes[node].out[0]);
}

/* A ReduceMean, whose axes became an input with opset 18. */
static bool is_mean(const struct fuser *f, int node)
{
    return is_inner(f, node, "ReduceMean", f->g->opset >= 18 ? 2 : 1);
}

static int out_of(const struct fuser *f, int node)
{
    return f->g->nodes[node].out[0];
}

/* Whether a ReduceMean is over the last dimension alone, which it keeps; rank: of what it reads, -1
 * where that is not known. */
static bool is_last_mean(const struct fuser *f, int node, int rank)
{
    const bool by_input = f->g->opset >= 18;
    if (!is_mean(f, node)) {
        return false;
    }
    const struct node *n = &f->g->nodes[node];
    const struct attr *a = attr_find(n, "axes");
    const struct tensor *t = by_input && n->in[1] >= 0 ? f->g->values[n->in[1]].constant : NULL;
    if (by_input ? !t || t->dtype != DT_S64 || t->n != 1
                 : !a || a->kind != ATTR_INTS || a->n != 1) {
        return false;
    }
    const int64_t axis = by_input ? tensor_s64(t, 0) : a->ints[0];
    return attr_int(n, "keepdims", 1) && (axis == -1 || (rank > 0 && axis == rank - 1));
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

/* The only reader of what a node makes; -1: there is none, or more. */
static int next_of(const struct fuser *f, int node)
{
    return fuser_sole_use(f, out_of(f, node)).node;
}

/* Makes nodes[part] the only reader of the part before; false where it is no such node. */
static bool follow(const struct fuser *f, int *nodes, int part, const char *op, int n_in)
{
    nodes[part] = next_of(f, nodes[part - 1]);
    return is_inner(f, nodes[part], op, n_in);
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

static bool find_norm(const struct fuser *f, const int *ranks, int mean, struct norm *g)
{
    int divided;
    g->nodes[MEAN] = mean;
    if (!is_mean(f, mean)) {
        return false;
    }
    g->x = f->g->nodes[mean].in[0];
    const int rank = ranks[g->x];
    if (!is_last_mean(f, mean, rank) || !find_differences(f, g, &divided)) {
        return false;
    }
    g->nodes[POW] = -1;
    const int sub = out_of(f, g->nodes[SUB]);
    for (int i = 0; i < fuser_uses(f, sub); i++) {
        const struct edge e = f->v[sub].edges[i];
        g->nodes[POW] = is_inner(f, e.node, "Pow", 2) && e.slot == 0 ? e.node : g->nodes[POW];
    }
    if (g->nodes[POW] < 0) {
        return false;
    }
    g->nodes[MEAN2] = next_of(f, g->nodes[POW]);
    if (!is_last_mean(f, g->nodes[MEAN2], rank) || !follow(f, g->nodes, ADD_EPSILON, "Add", 2) ||
        !follow(f, g->nodes, SQRT, "Sqrt", 1) || !follow(f, g->nodes, DIV, "Div", 2) ||
        f->g->nodes[g->nodes[DIV]].in[0] != divided || !follow(f, g->nodes, MUL, "Mul", 2)) {
        return false;
    }
    const int product = out_of(f, g->nodes[MUL]);
    g->last = next_of(f, g->nodes[MUL]);
    if (!fuse_is_plain(f, g->last, "Add", 2)) {
        return false;
    }
    g->scale = row_beside(f, g->nodes[MUL], out_of(f, g->nodes[DIV]));
    g->bias = row_beside(f, g->last, product);
    return g->scale >= 0 && g->bias >= 0 &&
           f->g->values[g->scale].constant->n == f->g->values[g->bias].constant->n;
}

/* The constant of a sum. */
static float epsilon_of(const struct fuser *f, int add)
{
    for (int k = 0; k < 2; k++) {
        const int v = f->g->nodes[add].in[k];
        const struct tensor *t = v >= 0 ? f->g->values[v].constant : NULL;
        if (t && t->dtype == DT_F32 && t->n > 0) {
            return (float)tensor_f64(t, 0);
        }
    }
    return 1e-5F;
}

static void fuse_layer_norms(struct fuser *f, const int *ranks)
{
    struct norm g;
    for (size_t i = 0; i < f->g->n_nodes; i++) {
        if (!find_norm(f, ranks, (int)i, &g)) {
            continue;
        }
        const float epsilon = epsilon_of(f, g.nodes[ADD_EPSILON]);
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

/* ---- Without a mean ------------------------------------------------------------------------- */

enum { SIMPLE_POW, SIMPLE_MEAN, SIMPLE_ADD, SIMPLE_SQRT, SIMPLE_DIV, SIMPLE_PARTS };

struct simple {
    int nodes[SIMPLE_PARTS];
    int last, x, scale;
};

static bool is_single(const struct fuser *f, int value, double v)
{
    const struct tensor *t = fuse_single(f, value);
    return t && tensor_f64(t, 0) == v;
}

static bool find_simple(const struct fuser *f, const int *ranks, int power, struct simple *g)
{
    if (!is_inner(f, power, "Pow", 2) || !is_single(f, f->g->nodes[power].in[1], 2)) {
        return false;
    }
    g->nodes[SIMPLE_POW] = power;
    g->nodes[SIMPLE_MEAN] = next_of(f, power);
    g->x = f->g->nodes[power].in[0];
    if (!is_last_mean(f, g->nodes[SIMPLE_MEAN], ranks[g->x]) ||
        !follow(f, g->nodes, SIMPLE_ADD, "Add", 2) ||
        !follow(f, g->nodes, SIMPLE_SQRT, "Sqrt", 1) ||
        !follow(f, g->nodes, SIMPLE_DIV, "Div", 2)) {
        return false;
    }
    const int quotient = g->nodes[SIMPLE_DIV];
    g->last = next_of(f, quotient);
    g->scale =
        fuse_is_plain(f, g->last, "Mul", 2) ? row_beside(f, g->last, out_of(f, quotient)) : -1;
    return f->g->nodes[quotient].in[0] == g->x && g->scale >= 0;
}

static void fuse_simple_norms(struct fuser *f, const int *ranks)
{
    struct simple g;
    for (size_t i = 0; i < f->g->n_nodes; i++) {
        if (!find_simple(f, ranks, (int)i, &g)) {
            continue;
        }
        const float epsilon = epsilon_of(f, g.nodes[SIMPLE_ADD]);
        const int in[] = {g.x, g.scale}, y = out_of(f, g.last);
        for (int k = 0; k < SIMPLE_PARTS; k++) {
            fuser_kill(f, g.nodes[k]);
        }
        fuser_become(f, g.last, "SimplifiedLayerNormalization", fuse_mlas_domain, 2, in, 1, &y);
        f->g->nodes[g.last].n_attrs = 0;
        graph_attr_float(f->g, &f->g->nodes[g.last], "epsilon", epsilon);
    }
}

/* 1 / a times b is b / a, also where that is no norm. */
static void join_quotients(struct fuser *f)
{
    for (size_t i = 0; i < f->g->n_nodes; i++) {
        const struct edge to_mul = is_inner(f, (int)i, "Div", 2)
                                       ? fuser_sole_use(f, out_of(f, (int)i))
                                       : (struct edge){-1, -1};
        if (!fuse_is_plain(f, to_mul.node, "Mul", 2) || !is_single(f, f->g->nodes[i].in[0], 1)) {
            continue;
        }
        const struct node *mul = &f->g->nodes[to_mul.node];
        const int in[] = {mul->in[1 - to_mul.slot], f->g->nodes[i].in[1]}, y = mul->out[0];
        if (in[0] < 0 || in[1] < 0) {
            continue;
        }
        fuser_kill(f, (int)i);
        fuser_become(f, to_mul.node, "Div", "", 2, in, 1, &y);
    }
}

void fuse_norm(struct fuser *f)
{
    if (!fuse_has_codes(f)) {
        return;
    }
    int *ranks = fuse_ranks(f);
    join_quotients(f);
    fuse_layer_norms(f, ranks);
    fuse_simple_norms(f, ranks);
    free(ranks);
}
