/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * fuse_edit.c: small edits on a graph whose edges are known in both directions, and questions about
 * Q and DQ nodes. No rule of any runtime is here.
 */
#include "engine/fuse.h"

#include <stdlib.h>

/* ---- Edges ---------------------------------------------------------------------------------- */

static void ensure_room(struct fuser *f)
{
    if (f->g->n_values > f->cap) {
        size_t cap = MAX(f->g->n_values, 2 * f->cap);
        f->v = mem_grow(f->v, cap * sizeof *f->v);
        for (size_t i = f->cap; i < cap; i++) {
            f->v[i] = (struct fuse_value){.alias = -1};
        }
        f->cap = cap;
    }
}

static void attach(struct fuser *f, int value, int node, int slot)
{
    if (value < 0) {
        return;
    }
    struct fuse_value *v = &f->v[value];
    size_t cap = (size_t)v->cap;
    v->edges = mem_push(v->edges, (size_t)v->n, &cap, sizeof *v->edges);
    v->cap = (int)cap;
    v->edges[v->n++] = (struct edge){node, slot};
}

static void detach(struct fuser *f, int value, int node, int slot)
{
    if (value < 0) {
        return;
    }
    struct fuse_value *v = &f->v[value];
    for (int i = 0; i < v->n; i++) {
        if (v->edges[i].node == node && v->edges[i].slot == slot) {
            memmove(v->edges + i, v->edges + i + 1, (size_t)(v->n - i - 1) * sizeof *v->edges);
            v->n--;
            return;
        }
    }
}

static void detach_inputs(struct fuser *f, int node)
{
    const struct node *n = &f->g->nodes[node];
    for (int k = 0; k < n->n_in; k++) {
        detach(f, n->in[k], node, k);
    }
    for (int k = 0; k < n->n_out; k++) {
        if (n->out[k] >= 0 && f->g->values[n->out[k]].producer == node) {
            f->g->values[n->out[k]].producer = -1;
        }
    }
}

static void attach_inputs(struct fuser *f, int node)
{
    const struct node *n = &f->g->nodes[node];
    for (int k = 0; k < n->n_in; k++) {
        attach(f, n->in[k], node, k);
    }
    for (int k = 0; k < n->n_out; k++) {
        if (n->out[k] >= 0) {
            f->g->values[n->out[k]].producer = node;
        }
    }
}

void fuser_init(struct fuser *f, struct graph *g)
{
    *f = (struct fuser){.g = g};
    ensure_room(f);
    for (size_t i = 0; i < g->n_nodes; i++) {
        attach_inputs(f, (int)i);
    }
}

void fuser_fini(struct fuser *f)
{
    for (size_t i = 0; i < f->cap; i++) {
        free(f->v[i].edges);
    }
    free(f->v);
}

/* ---- Edits ---------------------------------------------------------------------------------- */

int fuser_value(struct fuser *f, int like, const char *suffix)
{
    const char *stem = arena_printf(&f->g->arena, "%s%s", f->g->values[like].name, suffix);
    int v = graph_value(f->g, graph_fresh(f->g, stem));
    ensure_room(f);
    return v;
}

int fuser_constant(struct fuser *f, const char *stem, struct tensor *t)
{
    int v = graph_value(f->g, graph_fresh(f->g, stem));
    ensure_room(f);
    struct value *value = &f->g->values[v];
    value->constant = t;
    value->dtype = t->dtype;
    value->rank = t->rank;
    memcpy(value->dims, t->dims, sizeof value->dims);
    return v;
}

int fuser_add(struct fuser *f, const char *op, int n_in, const int *in, int out)
{
    graph_add(f->g, op, "", f->g->values[out].name, n_in, in, 1, &out);
    int node = (int)f->g->n_nodes - 1;
    attach_inputs(f, node);
    return node;
}

int fuser_copy(struct fuser *f, int node, int out)
{
    graph_add_copy(f->g, &f->g->nodes[node], f->g->values[out].name, f->g->nodes[node].in, &out);
    node = (int)f->g->n_nodes - 1;
    attach_inputs(f, node);
    return node;
}

static int *arena_list(struct arena *a, const int *v, int n)
{
    int *d = arena_alloc(a, (size_t)MAX(n, 1) * sizeof *d);
    memcpy(d, v, (size_t)n * sizeof *d);
    return d;
}

void fuser_become(struct fuser *f, int node, const char *op, const char *domain, int n_in,
                  const int *in, int n_out, const int *out)
{
    detach_inputs(f, node);
    struct node *n = &f->g->nodes[node];
    n->op = arena_dup(&f->g->arena, op);
    n->domain = arena_dup(&f->g->arena, domain);
    n->in = arena_list(&f->g->arena, in, n_in);
    n->out = arena_list(&f->g->arena, out, n_out);
    n->n_in = n_in;
    n->n_out = n_out;
    n->raw = (struct span){0};
    attach_inputs(f, node);
}

void fuser_set_in(struct fuser *f, int node, int slot, int value)
{
    struct node *n = &f->g->nodes[node];
    detach(f, n->in[slot], node, slot);
    n->in[slot] = value;
    attach(f, value, node, slot);
}

void fuser_set_out(struct fuser *f, int node, int slot, int value)
{
    struct node *n = &f->g->nodes[node];
    if (n->out[slot] >= 0 && f->g->values[n->out[slot]].producer == node) {
        f->g->values[n->out[slot]].producer = -1;
    }
    n->out[slot] = value;
    f->g->values[value].producer = node;
}

void fuser_move_uses(struct fuser *f, int from, int to)
{
    while (f->v[from].n > 0) {
        struct edge e = f->v[from].edges[0];
        fuser_set_in(f, e.node, e.slot, to);
    }
}

void fuser_kill(struct fuser *f, int node)
{
    detach_inputs(f, node);
    f->g->nodes[node].op = NULL;
}

struct edge fuser_sole_use(const struct fuser *f, int value)
{
    if (value < 0 || f->v[value].n != 1 || fuser_is_output(f, value)) {
        return (struct edge){-1, -1};
    }
    return f->v[value].edges[0];
}

/* ---- Q and DQ nodes ------------------------------------------------------------------------- */

bool fuse_is(const struct fuser *f, int node, const char *op)
{
    return node >= 0 && f->g->nodes[node].op && strcmp(f->g->nodes[node].op, op) == 0;
}

bool fuse_is_plain(const struct fuser *f, int node, const char *op, int n_in)
{
    if (!fuse_is(f, node, op)) {
        return false;
    }
    const struct node *n = &f->g->nodes[node];
    return n->domain[0] == '\0' && n->n_in == n_in && n->n_out == 1 && n->out[0] >= 0 &&
           n->in[0] >= 0;
}

const struct tensor *fuse_single(const struct fuser *f, int value)
{
    const struct tensor *t = value >= 0 ? f->g->values[value].constant : NULL;
    return t && t->dtype == DT_F32 && t->n == 1 ? t : NULL;
}

/* A node of that name with its codes or reals, a scale and one output. */
static bool is_quantizer(const struct fuser *f, int node, const char *op)
{
    if (!fuse_is(f, node, op)) {
        return false;
    }
    const struct node *n = &f->g->nodes[node];
    return n->n_in >= 2 && n->n_out == 1 && n->in[0] >= 0 && n->in[1] >= 0 && n->out[0] >= 0;
}

bool fuse_is_q(const struct fuser *f, int node)
{
    return is_quantizer(f, node, "QuantizeLinear");
}

bool fuse_is_dq(const struct fuser *f, int node)
{
    return is_quantizer(f, node, "DequantizeLinear");
}

static const struct tensor *constant_input(const struct fuser *f, int node, int slot)
{
    const struct node *n = &f->g->nodes[node];
    return slot < n->n_in && n->in[slot] >= 0 ? f->g->values[n->in[slot]].constant : NULL;
}

const struct tensor *fuse_scale(const struct fuser *f, int node)
{
    return constant_input(f, node, 1);
}

const struct tensor *fuse_zero(const struct fuser *f, int node)
{
    return constant_input(f, node, 2);
}

static bool has_zero(const struct fuser *f, int node)
{
    const struct node *n = &f->g->nodes[node];
    return n->n_in > 2 && n->in[2] >= 0;
}

bool fuse_is_scalar(const struct fuser *f, int node)
{
    const struct tensor *s = fuse_scale(f, node), *z = fuse_zero(f, node);
    return s && s->n == 1 && s->rank <= 1 && (!has_zero(f, node) || (z && z->n == 1));
}

bool fuse_is_kept_as_u8(const struct fuser *f, int node)
{
    const struct node *n = &f->g->nodes[node];
    int codes = fuse_is_q(f, node) ? n->out[0] : n->in[0];
    return codes >= 0 && f->v[codes].as_u8;
}

enum dtype fuse_code_type(const struct fuser *f, int node)
{
    const struct node *n = &f->g->nodes[node];
    bool is_q = fuse_is_q(f, node);
    int codes = is_q ? n->out[0] : n->in[0];
    if (fuse_is_kept_as_u8(f, node)) {
        return DT_U8;
    }
    if (has_zero(f, node)) {
        const struct value *z = &f->g->values[n->in[2]];
        return z->constant ? z->constant->dtype : z->dtype;
    }
    if (is_q) {
        int64_t d = attr_int(n, "output_dtype", DT_NONE);
        return d ? (enum dtype)d : DT_U8;
    }
    if (codes < 0) {
        return DT_NONE;
    }
    const struct value *c = &f->g->values[codes];
    if (!c->constant && fuse_is_q(f, c->producer)) {
        return fuse_code_type(f, c->producer);
    }
    return c->constant ? c->constant->dtype : c->dtype;
}

/* Zero point of a Q or DQ node as the runtime has it. */
static int64_t zero_kept(const struct fuser *f, int node)
{
    const struct tensor *z = fuse_zero(f, node);
    return (z ? tensor_s64(z, 0) : 0) + (fuse_is_kept_as_u8(f, node) ? 128 : 0);
}

bool fuse_same_params(const struct fuser *f, int a, int b, bool with_zero)
{
    if (!fuse_is_scalar(f, a) || !fuse_is_scalar(f, b) ||
        fuse_code_type(f, a) != fuse_code_type(f, b)) {
        return false;
    }
    if (with_zero && (!fuse_zero(f, a) || !fuse_zero(f, b))) {
        return false;
    }
    return tensor_f64(fuse_scale(f, a), 0) == tensor_f64(fuse_scale(f, b), 0) &&
           zero_kept(f, a) == zero_kept(f, b);
}

bool fuse_code_range(const struct fuser *f, int q, float *lo, float *hi)
{
    int64_t qmin, qmax;
    const struct tensor *z = fuse_zero(f, q);
    enum dtype d = z ? z->dtype : DT_U8;
    if (!fuse_is_scalar(f, q) || !dtype_range(d, &qmin, &qmax)) {
        return false;
    }
    float s = (float)tensor_f64(fuse_scale(f, q), 0);
    int64_t zero = z ? tensor_s64(z, 0) : 0;
    *lo = s * (float)(qmin - zero);
    *hi = s * (float)(qmax - zero);
    return true;
}
