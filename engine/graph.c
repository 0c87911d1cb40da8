/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * graph.c: nodes, values and attributes by name; editing, topological order, consumers.
 * It knows no operator and no file format.
 */
#include "engine/engine.h"

#include <stdlib.h>

/* ---- Life ----------------------------------------------------------------------------------- */

struct graph *graph_new(void)
{
    return mem_alloc(sizeof(struct graph));
}

static void source_release(struct graph_source *s)
{
    if (s && atomic_fetch_sub(&s->refs, 1) == 1 && s->release) {
        s->release(s);
    }
}

/* Gives back what a node holds outside the arena. */
static void node_release(struct node *n)
{
    for (int i = 0; i < n->n_attrs; i++) {
        tensor_free((struct tensor *)n->attrs[i].t);
    }
}

void graph_free(struct graph *g)
{
    if (!g) {
        return;
    }
    for (size_t i = 0; i < g->n_nodes; i++) {
        node_release(&g->nodes[i]);
    }
    for (size_t i = 0; i < g->n_values; i++) {
        tensor_free(g->values[i].constant);
    }
    free(g->values);
    free(g->nodes);
    free(g->inputs);
    free(g->outputs);
    strmap_fini(&g->by_name);
    struct graph_source *source = g->source;
    arena_fini(&g->arena);
    free(g);
    source_release(source);
}

static void *copy_bytes(const void *p, size_t size)
{
    void *d = mem_alloc(size);
    if (size) {
        memcpy(d, p, size);
    }
    return d;
}

static int *arena_ints(struct arena *a, const int *v, int n)
{
    int *d = arena_alloc(a, (size_t)n * sizeof *d);
    if (n) {
        memcpy(d, v, (size_t)n * sizeof *d);
    }
    return d;
}

static void *arena_copy(struct arena *a, const void *p, size_t size)
{
    void *d = arena_alloc(a, size);
    if (size) {
        memcpy(d, p, size);
    }
    return d;
}

/* Attributes in the arena of another graph; tensors inside them by reference. */
static void attr_clone(struct arena *a, struct attr *d, const struct attr *s)
{
    *d = *s;
    d->name = arena_dup(a, s->name);
    if (s->s) {
        d->s = arena_dup_n(a, s->s, s->s_size);
    }
    if (s->ints) {
        d->ints = arena_copy(a, s->ints, s->n * sizeof *s->ints);
    }
    if (s->floats) {
        d->floats = arena_copy(a, s->floats, s->n * sizeof *s->floats);
    }
    if (s->strings) {
        const char **list = arena_alloc(a, s->n * sizeof *list);
        for (size_t i = 0; i < s->n; i++) {
            list[i] = arena_dup(a, s->strings[i]);
        }
        d->strings = list;
    }
    if (s->t) {
        d->t = tensor_ref(s->t);
    }
}

static void node_clone(struct graph *g, struct node *d, const struct node *s)
{
    *d = *s;
    d->name = arena_dup(&g->arena, s->name);
    d->op = s->op ? arena_dup(&g->arena, s->op) : NULL;
    d->domain = arena_dup(&g->arena, s->domain);
    d->in = arena_ints(&g->arena, s->in, s->n_in);
    d->out = arena_ints(&g->arena, s->out, s->n_out);
    d->attrs = arena_alloc(&g->arena, (size_t)s->n_attrs * sizeof *d->attrs);
    for (int i = 0; i < s->n_attrs; i++) {
        attr_clone(&g->arena, &d->attrs[i], &s->attrs[i]);
    }
}

/* Parameters in the arena of another graph. */
static const struct quant *quant_clone(struct arena *a, const struct quant *s)
{
    struct quant *q = s ? arena_copy(a, s, sizeof *s) : NULL;
    if (q) {
        q->scale = arena_copy(a, s->scale, s->n * sizeof *s->scale);
        q->zero = arena_copy(a, s->zero, s->n * sizeof *s->zero);
    }
    return q;
}

static const char *value_name(const void *graph, int v)
{
    return ((const struct graph *)graph)->values[v].name;
}

/* Most copies are made to be edited: room for what is added, so that the rest need not move. */
static size_t room_beside(size_t n)
{
    return n + n / 2 + 16;
}

struct graph *graph_clone(const struct graph *s)
{
    struct graph *g = graph_new();
    g->path = s->path ? arena_dup(&g->arena, s->path) : NULL;
    g->name = s->name ? arena_dup(&g->arena, s->name) : NULL;
    g->dialect = s->dialect;
    g->opset = s->opset;
    g->opset_ms = s->opset_ms;
    g->n_values = s->n_values;
    g->cap_values = room_beside(s->n_values);
    g->values = mem_alloc(g->cap_values * sizeof *s->values);
    memcpy(g->values, s->values, s->n_values * sizeof *s->values);
    for (size_t i = 0; i < g->n_values; i++) {
        struct value *v = &g->values[i];
        v->name = arena_dup(&g->arena, v->name);
        v->constant = v->constant ? tensor_ref(v->constant) : NULL;
        v->quant = quant_clone(&g->arena, v->quant);
    }
    strmap_copy(&g->by_name, &s->by_name, value_name, g);
    g->n_nodes = s->n_nodes;
    g->cap_nodes = room_beside(s->n_nodes);
    g->nodes = mem_alloc(g->cap_nodes * sizeof *s->nodes);
    for (size_t i = 0; i < g->n_nodes; i++) {
        node_clone(g, &g->nodes[i], &s->nodes[i]);
    }
    g->n_inputs = s->n_inputs;
    g->inputs = copy_bytes(s->inputs, s->n_inputs * sizeof *s->inputs);
    g->n_outputs = s->n_outputs;
    g->outputs = copy_bytes(s->outputs, s->n_outputs * sizeof *s->outputs);
    g->source = s->source;
    if (g->source) {
        atomic_fetch_add(&g->source->refs, 1);
    }
    return g;
}

/* ---- Values and nodes ----------------------------------------------------------------------- */

int graph_find(const struct graph *g, const char *name)
{
    return strmap_get(&g->by_name, name, -1);
}

int graph_find_node(const struct graph *g, const char *name)
{
    for (size_t i = 0; i < g->n_nodes; i++) {
        if (strcmp(g->nodes[i].name, name) == 0) {
            return (int)i;
        }
    }
    return -1;
}

int graph_value(struct graph *g, const char *name)
{
    int i = graph_find(g, name);
    if (i >= 0) {
        return i;
    }
    g->values = mem_push(g->values, g->n_values, &g->cap_values, sizeof *g->values);
    i = (int)g->n_values++;
    struct value *v = &g->values[i];
    *v = (struct value){.name = arena_dup(&g->arena, name), .producer = -1, .rank = -1};
    strmap_put(&g->by_name, v->name, i);
    return i;
}

const char *graph_fresh(struct graph *g, const char *stem)
{
    const char *name = stem;
    for (int i = 1; graph_find(g, name) >= 0; i++) {
        name = arena_printf(&g->arena, "%s_%d", stem, i);
    }
    return name == stem ? arena_dup(&g->arena, stem) : name;
}

struct node *graph_add(struct graph *g, const char *op, const char *domain, const char *name,
                       int n_in, const int *in, int n_out, const int *out)
{
    g->nodes = mem_push(g->nodes, g->n_nodes, &g->cap_nodes, sizeof *g->nodes);
    struct node *n = &g->nodes[g->n_nodes++];
    *n = (struct node){
        .name = arena_dup(&g->arena, name),
        .op = arena_dup(&g->arena, op),
        .domain = arena_dup(&g->arena, domain),
        .n_in = n_in,
        .n_out = n_out,
        .in = arena_ints(&g->arena, in, n_in),
        .out = arena_ints(&g->arena, out, n_out),
    };
    return n;
}

struct node *graph_add_copy(struct graph *g, const struct node *src, const char *name,
                            const int *in, const int *out)
{
    struct node copy;
    node_clone(g, &copy, src);
    struct node *n = graph_add(g, src->op, src->domain, name, src->n_in, in, src->n_out, out);
    n->attrs = copy.attrs;
    n->n_attrs = copy.n_attrs;
    return n;
}

static struct attr *attr_add(struct graph *g, struct node *n, const char *name, enum attr_kind kind)
{
    struct attr *list = arena_alloc(&g->arena, (size_t)(n->n_attrs + 1) * sizeof *list);
    if (n->n_attrs) {
        memcpy(list, n->attrs, (size_t)n->n_attrs * sizeof *list);
    }
    struct attr *a = &list[n->n_attrs++];
    a->name = arena_dup(&g->arena, name);
    a->kind = kind;
    n->attrs = list;
    return a;
}

void graph_attr_int(struct graph *g, struct node *n, const char *name, int64_t v)
{
    attr_add(g, n, name, ATTR_INT)->i = v;
}

void graph_attr_float(struct graph *g, struct node *n, const char *name, float v)
{
    attr_add(g, n, name, ATTR_FLOAT)->f = v;
}

void graph_attr_string(struct graph *g, struct node *n, const char *name, const char *v)
{
    struct attr *a = attr_add(g, n, name, ATTR_STRING);
    a->s = arena_dup(&g->arena, v);
    a->s_size = strlen(v);
}

void graph_attr_ints(struct graph *g, struct node *n, const char *name, size_t count,
                     const int64_t *v)
{
    struct attr *a = attr_add(g, n, name, ATTR_INTS);
    a->ints = arena_copy(&g->arena, v, count * sizeof *v);
    a->n = count;
}

/* ---- Topological order ---------------------------------------------------------------------- */

/* Sets producers; a value made twice, or by a node and the outside, is refused. */
static int set_producers(struct graph *g, struct err *err)
{
    for (size_t i = 0; i < g->n_values; i++) {
        g->values[i].producer = -1;
    }
    for (size_t i = 0; i < g->n_nodes; i++) {
        const struct node *n = &g->nodes[i];
        for (int k = 0; k < n->n_out; k++) {
            if (n->out[k] < 0) {
                continue;
            }
            struct value *v = &g->values[n->out[k]];
            if (v->producer >= 0) {
                return err_set(err, E_FORMAT, "tensor '%s' is made by node '%s' and by node '%s'",
                               v->name, g->nodes[v->producer].name, n->name);
            }
            if (v->constant || v->is_input) {
                return err_set(err, E_FORMAT, "tensor '%s' is made by node '%s' and is %s", v->name,
                               n->name, v->constant ? "an initializer" : "a graph input");
            }
            v->producer = (int)i;
        }
    }
    return OK;
}

/* Every input must come from somewhere. */
static int check_inputs(const struct graph *g, struct err *err)
{
    for (size_t i = 0; i < g->n_nodes; i++) {
        const struct node *n = &g->nodes[i];
        for (int k = 0; k < n->n_in; k++) {
            const struct value *v = n->in[k] >= 0 ? &g->values[n->in[k]] : NULL;
            if (v && v->producer < 0 && !v->constant && !v->is_input) {
                return err_set(err, E_FORMAT,
                               "input %d of node '%s' (%s) is tensor '%s', which "
                               "no node makes",
                               k, n->name, n->op, v->name);
            }
        }
    }
    for (size_t i = 0; i < g->n_outputs; i++) {
        const struct value *v = &g->values[g->outputs[i]];
        if (v->producer < 0 && !v->constant && !v->is_input) {
            return err_set(err, E_FORMAT, "graph output '%s' is made by no node", v->name);
        }
    }
    return OK;
}

/* A min-heap of node numbers keeps file order wherever the edges allow it. */
struct heap {
    int *v;
    size_t n;
};

static void heap_push(struct heap *h, int x)
{
    size_t i = h->n++;
    for (; i && h->v[(i - 1) / 2] > x; i = (i - 1) / 2) {
        h->v[i] = h->v[(i - 1) / 2];
    }
    h->v[i] = x;
}

static int heap_pop(struct heap *h)
{
    int top = h->v[0], last = h->v[--h->n];
    size_t i = 0;
    for (size_t c; (c = 2 * i + 1) < h->n; i = c) {
        if (c + 1 < h->n && h->v[c + 1] < h->v[c]) {
            c++;
        }
        if (h->v[c] >= last) {
            break;
        }
        h->v[i] = h->v[c];
    }
    h->v[i] = last;
    return top;
}

/* Kahn's algorithm; order[] gets node indices. Returns how many could be ordered. */
static size_t order_nodes(const struct graph *g, int *order)
{
    struct uses u = graph_uses(g);
    int *waits = mem_alloc((g->n_nodes + 1) * sizeof *waits);
    struct heap ready = {.v = mem_alloc((g->n_nodes + 1) * sizeof(int))};
    for (size_t i = 0; i < g->n_nodes; i++) {
        const struct node *n = &g->nodes[i];
        for (int k = 0; k < n->n_in; k++) {
            waits[i] += n->in[k] >= 0 && g->values[n->in[k]].producer >= 0;
        }
        if (!waits[i]) {
            heap_push(&ready, (int)i);
        }
    }
    size_t done = 0;
    while (ready.n) {
        int i = heap_pop(&ready);
        order[done++] = i;
        const struct node *n = &g->nodes[i];
        for (int k = 0; k < n->n_out; k++) {
            for (int j = n->out[k] < 0 ? 0 : u.start[n->out[k]];
                 n->out[k] >= 0 && j < u.start[n->out[k] + 1]; j++) {
                if (--waits[u.node[j]] == 0) {
                    heap_push(&ready, u.node[j]);
                }
            }
        }
    }
    if (done < g->n_nodes) {
        for (size_t i = 0; i < g->n_nodes; i++) {
            if (waits[i] > 0) {
                order[done] = (int)i; /* one node of the cycle, for the message */
                break;
            }
        }
    }
    free(waits);
    free(ready.v);
    uses_fini(&u);
    return done;
}

int graph_finish(struct graph *g, struct err *err)
{
    size_t kept = 0;
    for (size_t i = 0; i < g->n_nodes; i++) {
        if (g->nodes[i].op) {
            g->nodes[kept++] = g->nodes[i];
        } else {
            node_release(&g->nodes[i]);
        }
    }
    g->n_nodes = kept;
    int rc = set_producers(g, err);
    if (!rc) {
        rc = check_inputs(g, err);
    }
    if (rc) {
        return rc;
    }
    int *order = mem_alloc((g->n_nodes + 1) * sizeof *order);
    size_t done = order_nodes(g, order);
    if (done < g->n_nodes) {
        const struct node *n = &g->nodes[order[done]];
        rc = err_set(err, E_FORMAT, "the graph has a cycle through node '%s' (%s)", n->name, n->op);
        goto out;
    }
    struct node *sorted = mem_alloc((g->n_nodes + 1) * sizeof *sorted);
    for (size_t i = 0; i < g->n_nodes; i++) {
        sorted[i] = g->nodes[order[i]];
    }
    free(g->nodes);
    g->nodes = sorted;
    g->cap_nodes = g->n_nodes + 1;
    rc = set_producers(g, err);
out:
    free(order);
    return rc;
}

struct uses graph_uses(const struct graph *g)
{
    struct uses u = {.start = mem_alloc((g->n_values + 2) * sizeof(int))};
    size_t total = 0;
    for (size_t i = 0; i < g->n_nodes; i++) {
        for (int k = 0; g->nodes[i].op && k < g->nodes[i].n_in; k++) {
            if (g->nodes[i].in[k] >= 0) {
                u.start[g->nodes[i].in[k] + 2]++;
                total++;
            }
        }
    }
    for (size_t v = 2; v < g->n_values + 2; v++) {
        u.start[v] += u.start[v - 1];
    }
    u.node = mem_alloc((total + 1) * sizeof(int));
    for (size_t i = 0; i < g->n_nodes; i++) {
        for (int k = 0; g->nodes[i].op && k < g->nodes[i].n_in; k++) {
            if (g->nodes[i].in[k] >= 0) {
                u.node[u.start[g->nodes[i].in[k] + 1]++] = (int)i;
            }
        }
    }
    return u;
}

void uses_fini(struct uses *u)
{
    free(u->start);
    free(u->node);
    *u = (struct uses){0};
}

/* ---- Attribute getters ---------------------------------------------------------------------- */

const struct attr *attr_find(const struct node *n, const char *name)
{
    for (int i = 0; i < n->n_attrs; i++) {
        const char *found = n->attrs[i].name;
        if (found[0] == name[0] && strcmp(found, name) == 0) { /* most differ at once */
            return &n->attrs[i];
        }
    }
    return NULL;
}

int64_t attr_int(const struct node *n, const char *name, int64_t dflt)
{
    const struct attr *a = attr_find(n, name);
    return a && a->kind == ATTR_INT ? a->i : dflt;
}

float attr_float(const struct node *n, const char *name, float dflt)
{
    const struct attr *a = attr_find(n, name);
    return a && a->kind == ATTR_FLOAT ? a->f : dflt;
}

const char *attr_string(const struct node *n, const char *name, const char *dflt)
{
    const struct attr *a = attr_find(n, name);
    return a && a->kind == ATTR_STRING ? a->s : dflt;
}

const int64_t *attr_ints(const struct node *n, const char *name, size_t *count)
{
    const struct attr *a = attr_find(n, name);
    *count = a && a->kind == ATTR_INTS ? a->n : 0;
    return *count ? a->ints : NULL;
}

const float *attr_floats(const struct node *n, const char *name, size_t *count)
{
    const struct attr *a = attr_find(n, name);
    *count = a && a->kind == ATTR_FLOATS ? a->n : 0;
    return *count ? a->floats : NULL;
}
