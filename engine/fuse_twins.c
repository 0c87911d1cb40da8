/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * fuse_twins.c: nodes that compute the same thing become one, as onnxruntime makes them before it
 * moves quantizers (its elimination of common subexpressions). That decides what has one reader and
 * what has several, and so which groups exist. Q and DQ stay: level 1 joins and splits them itself.
 */
#include "engine/fuse.h"
#include "engine/plan.h"

enum {
    SHARED_ELEMENTS = 8, /* of constants that the runtime joins by value */
    MAX_READERS = 256,   /* of a tensor; beyond that twins stay apart */
};

/* Constants of these types are joined where they are equal; codes and zero points are not. */
static bool is_shared(enum dtype d)
{
    return d == DT_F32 || d == DT_F16 || d == DT_F64 || d == DT_S32 || d == DT_S64;
}

static bool equal_constants(const struct tensor *a, const struct tensor *b)
{
    return is_shared(a->dtype) && a->dtype == b->dtype && a->rank == b->rank && a->n == b->n &&
           a->n <= SHARED_ELEMENTS && a->size == b->size &&
           memcmp(a->dims, b->dims, (size_t)a->rank * sizeof *a->dims) == 0 &&
           memcmp(a->data, b->data, a->size) == 0;
}

static bool equal_values(const struct fuser *f, int a, int b)
{
    if (a == b || a < 0 || b < 0) {
        return a == b;
    }
    const struct tensor *ca = f->g->values[a].constant, *cb = f->g->values[b].constant;
    return ca && cb && equal_constants(ca, cb);
}

static bool equal_attributes(const struct node *a, const struct node *b)
{
    struct digest da = {0}, db = {0};
    node_attrs_digest(a, &da);
    node_attrs_digest(b, &db);
    return a->n_attrs == b->n_attrs && digest_equal(da, db);
}

static bool are_twins(const struct fuser *f, int a, int b)
{
    const struct node *x = &f->g->nodes[a], *y = &f->g->nodes[b];
    if (!x->op || strcmp(x->op, y->op) != 0 || strcmp(x->domain, y->domain) != 0 ||
        x->n_in != y->n_in || x->n_out != y->n_out) {
        return false;
    }
    for (int k = 0; k < x->n_in; k++) {
        if (!equal_values(f, x->in[k], y->in[k])) {
            return false;
        }
    }
    for (int k = 0; k < x->n_out; k++) {
        if ((x->out[k] < 0) != (y->out[k] < 0) ||
            (y->out[k] >= 0 && fuser_is_output(f, y->out[k]))) {
            return false;
        }
    }
    return equal_attributes(x, y);
}

/* An earlier twin among the readers of a value; -1: none. */
static int twin_among(const struct fuser *f, int value, int node)
{
    for (int k = 0; k < f->v[value].n && k < MAX_READERS; k++) {
        struct edge e = f->v[value].edges[k];
        if (e.slot == 0 && e.node < node && are_twins(f, e.node, node)) {
            return e.node;
        }
    }
    return -1;
}

void fuse_twins(struct fuser *f)
{
    for (size_t i = 0; i < f->g->n_nodes; i++) {
        const struct node *n = &f->g->nodes[i];
        if (!n->op || n->n_in < 1 || n->in[0] < 0 || fuse_is_q(f, (int)i) ||
            fuse_is_dq(f, (int)i) || node_is_random(n)) {
            continue;
        }
        int twin = twin_among(f, n->in[0], (int)i);
        if (twin < 0) {
            continue;
        }
        for (int k = 0; k < n->n_out; k++) {
            if (n->out[k] >= 0) {
                fuser_move_uses(f, n->out[k], f->g->nodes[twin].out[k]);
            }
        }
        fuser_kill(f, (int)i);
    }
}
