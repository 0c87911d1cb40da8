/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * replay.c: runs a plan from the activations that another plan has left behind. What is needed is
 * found backwards from the outputs and ends at values whose identity is known, so branches need no
 * care, and neither does what fusing makes of a change. What is missing from the activations costs
 * time alone.
 */
#include "engine/replay.h"

#include <stdlib.h>

/* ---- Activations ---------------------------------------------------------------------------- */

struct activation {
    struct digest id;
    struct tensor *t;
    bool held; /* float16 as float32, see wide.h */
};

struct activations {
    struct digest_map index;
    size_t n, cap, size;
    struct activation *list;
};

struct activations *activations_new(void)
{
    return mem_alloc(sizeof(struct activations));
}

void activations_free(struct activations *a)
{
    for (size_t i = 0; a && i < a->n; i++) {
        tensor_free(a->list[i].t);
    }
    if (a) {
        digest_map_fini(&a->index);
        free(a->list);
        free(a);
    }
}

size_t activations_size(const struct activations *a)
{
    return a->size;
}

static const struct activation *find(const struct activations *a, struct digest id)
{
    int i = digest_map_get(&a->index, id, -1);
    return i >= 0 ? &a->list[i] : NULL;
}

static void add(struct activations *a, struct digest id, const struct tensor *t, bool held)
{
    if (!find(a, id)) {
        a->list = mem_push(a->list, a->n, &a->cap, sizeof *a->list);
        a->list[a->n] = (struct activation){.id = id, .t = tensor_ref(t), .held = held};
        digest_map_put(&a->index, id, (int)a->n++);
        a->size += t->size;
    }
}

void activations_prune(struct activations *a, const struct plan *p, const bool *keep)
{
    struct activations old = *a;
    *a = (struct activations){0};
    for (size_t v = 0; v < p->g->n_values; v++) {
        const struct activation *x = keep[v] ? find(&old, p->ids[v]) : NULL;
        if (x) {
            add(a, x->id, x->t, x->held);
        }
    }
    for (size_t i = 0; i < old.n; i++) {
        tensor_free(old.list[i].t);
    }
    digest_map_fini(&old.index);
    free(old.list);
}

/* ---- How a plan follows from another -------------------------------------------------------- */

/* Whether a run makes the value at all: the activation behind it may be applied on the way. */
static bool is_made(const struct plan *p, int v)
{
    int i = p->g->values[v].producer;
    return i >= 0 && !p->steps[i].folded && p->steps[i].tail < 0;
}

struct replay *replay_new(const struct plan *p, const struct plan *base)
{
    struct replay *r = mem_alloc(sizeof *r);
    *r = (struct replay){.p = p, .base = base};
    r->twin = mem_alloc((p->g->n_values + 1) * sizeof *r->twin);
    for (size_t v = 0; v < p->g->n_values; v++) {
        int twin = base && is_made(p, (int)v) ? graph_find(base->g, p->g->values[v].name) : -1;
        bool differs =
            twin >= 0 && is_made(base, twin) && !digest_equal(p->ids[v], base->ids[twin]);
        r->twin[v] = differs ? twin : -1;
    }
    return r;
}

void replay_free(struct replay *r)
{
    if (r) {
        free(r->twin);
        free(r);
    }
}

/* Finds what outputs, and values marked in `also`, depend on, back to where `stop` says so. */
struct walk {
    const struct plan *p;
    bool (*stop)(void *ctx, int v);
    bool (*enter)(void *ctx, int node); /* false: its inputs are not needed any more */
    void *ctx;
    bool *seen; /* per value */
    int *stack;
    size_t n;
};

static void walk_push(struct walk *w, int v)
{
    if (v >= 0 && !w->seen[v]) {
        w->seen[v] = true;
        w->stack[w->n++] = v;
    }
}

static void walk_back(const struct plan *p, const bool *also, bool (*stop)(void *ctx, int v),
                      bool (*enter)(void *ctx, int node), void *ctx)
{
    const struct graph *g = p->g;
    struct walk w = {.p = p, .stop = stop, .enter = enter, .ctx = ctx};
    w.seen = mem_alloc(g->n_values + 1);
    w.stack = mem_alloc((g->n_values + 1) * sizeof *w.stack);
    for (size_t i = 0; i < g->n_outputs; i++) {
        walk_push(&w, g->outputs[i]);
    }
    for (size_t v = 0; also && v < g->n_values; v++) {
        walk_push(&w, also[v] ? (int)v : -1);
    }
    while (w.n) {
        int v = w.stack[--w.n], i = g->values[v].producer;
        if (plan_constant(p, v) || i < 0 || stop(ctx, v) || !enter(ctx, i)) {
            continue;
        }
        for (int k = 0; k < g->nodes[i].n_in; k++) {
            walk_push(&w, g->nodes[i].in[k]);
        }
    }
    free(w.seen);
    free(w.stack);
}

struct boundary {
    const struct replay *r;
    struct digest_map base; /* identity -> value of the base */
    bool *keep;
};

static bool boundary_stop(void *ctx, int v)
{
    struct boundary *b = ctx;
    int known = digest_map_get(&b->base, b->r->p->ids[v], -1);
    if (known >= 0) {
        b->keep[known] = true;
    }
    return known >= 0;
}

static bool boundary_enter(void *ctx, int node)
{
    (void)ctx, (void)node;
    return true;
}

void replay_takes(const struct replay *r, bool *keep)
{
    struct boundary b = {.r = r, .keep = keep};
    for (size_t v = 0; v < r->base->g->n_values; v++) {
        int i = r->base->g->values[v].producer;
        if (i >= 0 && !r->base->steps[i].folded) {
            digest_map_put(&b.base, r->base->ids[v], (int)v);
        }
    }
    walk_back(r->p, NULL, boundary_stop, boundary_enter, &b);
    digest_map_fini(&b.base);
}

void replay_makes(const struct replay *r, bool *keep)
{
    for (size_t v = 0; v < r->p->g->n_values; v++) {
        keep[v] = keep[v] || is_made(r->p, (int)v);
    }
}

/* ---- One run -------------------------------------------------------------------------------- */

static bool take_known(void *ctx, int v)
{
    struct replaying *x = ctx;
    const struct activation *a = x->run->values[v] ? NULL : find(x->known, x->ids[v]);
    if (a) {
        x->run->values[v] = tensor_ref(a->t);
        if (x->run->held) {
            x->run->held[v] = a->held;
        }
    }
    return x->run->values[v] != NULL;
}

static bool need_node(void *ctx, int node)
{
    struct replaying *x = ctx;
    x->run->skip[node] = false;
    return !x->run->tails[node]; /* made already by the node in front of it */
}

/* Chooses what is still to be executed and counts the uses of values anew. */
static void settle(struct replaying *x)
{
    const struct plan *p = x->r->p;
    const struct graph *g = p->g;
    struct run *run = x->run;
    memset(run->skip, true, g->n_nodes);
    walk_back(p, x->o->keep, take_known, need_node, x);
    memset(run->left, 0, g->n_values * sizeof *run->left);
    for (size_t i = run->next; i < g->n_nodes; i++) {
        for (int k = 0; k < g->nodes[i].n_in && !run->skip[i]; k++) {
            if (g->nodes[i].in[k] >= 0) {
                run->left[g->nodes[i].in[k]]++;
            }
        }
    }
    for (size_t i = 0; i < g->n_outputs; i++) {
        run->left[g->outputs[i]]++;
    }
    for (size_t v = 0; v < g->n_values; v++) {
        if (!run->left[v]) {
            run_forget(run, (int)v);
        }
    }
}

static int replay_tap(void *ctx, int v, const struct tensor *t, struct err *err)
{
    (void)err;
    struct replaying *x = ctx;
    int twin = x->r->twin[v];
    bool held = x->run && x->run->held && x->run->held[v];
    if (x->o->keep && x->o->keep[v]) {
        add(x->known, x->ids[v], t, held);
    }
    const struct activation *a = twin >= 0 ? find(x->known, x->r->base->ids[twin]) : NULL;
    if (a && a->held == held && tensor_equal(a->t, t)) {
        x->ids[v] = a->id;
        x->met = true;
    }
    return OK;
}

int replay_step(struct replaying *x, bool *more, struct err *err)
{
    const struct plan *p = x->r->p;
    int rc = run_step(x->run, more, err);
    if (x->o->executed) {
        *x->o->executed += *more;
    }
    if (x->met && !rc) {
        x->met = false;
        for (size_t i = x->run->next; i < p->g->n_nodes; i++) {
            node_identities(p, i, x->ids);
        }
        settle(x);
    }
    return rc;
}

int replay_begin(struct replaying *x, const struct replay *r, const struct tensor *const *inputs,
                 struct activations *known, const struct replay_options *o, struct err *err)
{
    const struct plan *p = r->p;
    size_t n = p->g->n_values;
    *x = (struct replaying){.r = r, .o = o, .known = known};
    x->wanted = mem_alloc(n + 1);
    for (size_t v = 0; v < n; v++) {
        x->wanted[v] = (o->keep && o->keep[v]) || r->twin[v] >= 0;
    }
    x->ids = mem_alloc((n + 1) * sizeof *x->ids);
    memcpy(x->ids, p->ids, n * sizeof *x->ids);
    x->ro = (struct run_options){.tap = replay_tap,
                                 .tap_ctx = x,
                                 .any_layout = true,
                                 .wanted = x->wanted,
                                 .cancel = o->cancel};
    int rc = run_begin(p, inputs, &x->ro, &x->run, err);
    if (!rc) {
        x->run->skip = mem_alloc(p->g->n_nodes + 1);
        settle(x);
    }
    return rc;
}

int replay_end(struct replaying *x, int rc, struct tensor **outputs, struct err *err)
{
    if (x->run) {
        rc = rc ? (run_end(x->run, NULL, NULL), rc) : run_end(x->run, outputs, err);
    }
    free(x->ids);
    free(x->wanted);
    return rc;
}

int replay_run(const struct replay *r, const struct tensor *const *inputs,
               struct activations *known, const struct replay_options *o, struct tensor **outputs,
               struct err *err)
{
    struct replaying x;
    int rc = replay_begin(&x, r, inputs, known, o, err);
    for (bool more = true; more && !rc;) {
        rc = replay_step(&x, &more, err);
    }
    return replay_end(&x, rc, outputs, err);
}
