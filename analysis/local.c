/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * local.c: the error of each layer alone. In one run of the INT8 side every layer's result is
 * measured and then replaced by the FP32 activation in the form that the layers behind it read, so
 * that no error is carried on; this file knows which layers that holds for, and measures one.
 */
#include "analysis/judge.h"
#include "analysis/qmodel.h"

#include <math.h>
#include <stdlib.h>

/* ---- What a layer reads ---------------------------------------------------------------------- */

/* Collects, backwards from a value, the layers and inputs that it is made of. */
struct reach {
    const struct graph *g;
    const int *layer_at; /* per value */
    const int *input_at; /* per value: which graph input it is, -1 */
    int n_layers;
    bool *seen; /* per value */
    int *stack;
    size_t n;
    int *found; /* layers, then inputs */
    size_t n_found;
    void (*node)(void *ctx, int node); /* may be NULL */
    void *ctx;
};

static void reach_push(struct reach *r, int v)
{
    if (v < 0 || r->seen[v]) {
        return;
    }
    r->seen[v] = true;
    int layer = r->layer_at[v], input = r->input_at[v];
    if (layer >= 0 || input >= 0) {
        r->found[r->n_found++] = layer >= 0 ? layer : r->n_layers + input;
    } else if (!r->g->values[v].constant) {
        r->stack[r->n++] = v;
    }
}

static int by_number(const void *a, const void *b)
{
    int x = *(const int *)a, y = *(const int *)b;
    return (x > y) - (x < y);
}

/* Sources of value v, ascending, each once. */
static void reach_run(struct reach *r, int v)
{
    memset(r->seen, 0, r->g->n_values);
    r->n = r->n_found = 0;
    r->seen[v] = true;
    r->stack[r->n++] = v;
    while (r->n) {
        int at = r->g->values[r->stack[--r->n]].producer;
        if (at < 0) {
            continue;
        }
        if (r->node) {
            r->node(r->ctx, at);
        }
        for (int k = 0; k < r->g->nodes[at].n_in; k++) {
            reach_push(r, r->g->nodes[at].in[k]);
        }
    }
    qsort(r->found, r->n_found, sizeof *r->found, by_number);
    size_t kept = 0;
    for (size_t i = 0; i < r->n_found; i++) {
        if (!kept || r->found[kept - 1] != r->found[i]) {
            r->found[kept++] = r->found[i];
        }
    }
    r->n_found = kept;
}

static int *no_numbers(size_t n)
{
    int *v = mem_alloc((n + 1) * sizeof *v);
    memset(v, 0xff, n * sizeof *v);
    return v;
}

/* at: per layer its value in g, -1: not there. */
static void reach_init(struct reach *r, const struct graph *g, size_t n_layers, const int *at)
{
    int *layer_at = no_numbers(g->n_values), *input_at = no_numbers(g->n_values);
    for (size_t k = 0; k < n_layers; k++) {
        if (at[k] >= 0) {
            layer_at[at[k]] = (int)k;
        }
    }
    for (size_t i = 0; i < g->n_inputs; i++) {
        input_at[g->inputs[i]] = (int)i;
    }
    *r = (struct reach){
        .g = g, .layer_at = layer_at, .input_at = input_at, .n_layers = (int)n_layers};
    r->seen = mem_alloc(g->n_values + 1);
    r->stack = mem_alloc((g->n_values + 1) * sizeof *r->stack);
    r->found = mem_alloc((g->n_values + 1) * sizeof *r->found);
}

static void reach_fini(struct reach *r)
{
    free((void *)r->layer_at);
    free((void *)r->input_at);
    free(r->seen);
    free(r->stack);
    free(r->found);
}

/* ---- Map ------------------------------------------------------------------------------------- */

/* What is learned of the nodes of a layer on the way. */
struct group {
    const struct qmodel *q;
    const bool *loose;    /* per value: an activation without a counterpart */
    int weighted, others; /* node with constant codes or floats to multiply by; how many more */
    struct local_map *map;
    const int *layer_at;
    size_t layer;
    int stranger;        /* value of a quantized layer that has no counterpart, -1 */
    const bool *carried; /* per value: the layer's own value in front of nodes that only carry it */
    bool normalizes, dynamic;
    int added, *scaled; /* see local_map */
};

/* Only carries or pads values, or turns them into other codes. */
static bool carries(const struct node *n)
{
    static const char *const names[] = {
        "PAD",     "RESHAPE",       "TRANSPOSE",      "SLICE",
        "SPLIT",   "STRIDED_SLICE", "QUANTIZE",       "DEQUANTIZE",
        "SQUEEZE", "CONCATENATION", "QuantizeLinear", "DequantizeLinear",
        "PACK",    "GATHER",        "EXPAND_DIMS",    "MAX_POOL_2D"};
    for (size_t i = 0; i < COUNT(names); i++) {
        if (node_is(n, names[i])) {
            return true;
        }
    }
    return node_moves(n);
}

static bool multiplies(const struct node *n)
{
    static const char *const names[] = {"Conv", "MatMul", "Gemm"};
    const char *family = node_family(n);
    for (size_t i = 0; i < COUNT(names); i++) {
        if (strncmp(family, names[i], strlen(names[i])) == 0) {
            return true;
        }
    }
    return false;
}

/* A quantizer inside a layer: notes what it quantizes. */
static void note_quantizer(struct group *g, const struct node *n)
{
    int v = n->in[0], at = v;
    struct quant q;
    bool known = false;
    for (int hops = 0; hops < LAYER_NODES && v >= 0 && g->layer_at[v] < 0; hops++) {
        at = g->q->g->values[v].producer;
        v = at >= 0 && carries(&g->q->g->nodes[at]) ? g->q->g->nodes[at].in[0] : -1;
    }
    if (v >= 0 && g->map->inner_of[g->layer] < 0 &&
        !qmodel_read(g->q, n->out[0], &g->map->arena, &q, &known, NULL) && known && q.n == 1) {
        g->map->inner[g->layer] = q;
        g->map->inner_of[g->layer] = g->layer_at[v];
    }
}

static void group_node(void *ctx, int node)
{
    struct group *g = ctx;
    const struct node *n = &g->q->g->nodes[node];
    if (node_is_quantize(n) && n->in[0] >= 0 && !g->q->v[n->in[0]].codes) {
        note_quantizer(g, n);
    }
    int pos[2];
    if (multiplies(n) && node_data_inputs(n, pos, 2) == 2 && n->in[pos[1]] >= 0 &&
        g->q->v[n->in[pos[1]]].constant) {
        g->others += g->weighted >= 0;
        g->weighted = node;
    }
    g->dynamic = g->dynamic || strncmp(n->op, "Dynamic", 7) == 0;
    g->normalizes = g->normalizes || node_is(n, "BatchNormalization");
    for (int k = 0; k < n->n_in; k++) {
        int v = n->in[k];
        bool constant = v >= 0 && g->q->v[v].constant;
        g->added = constant && node_is(n, "Add") ? v : g->added;
        for (int i = 0; constant && node_is(n, "Mul") && i < 4; i++) {
            if (g->scaled[i] < 0) {
                g->scaled[i] = v;
                break;
            }
        }
        if (v >= 0 && g->loose[v] && g->q->v[v].codes && !g->carried[v]) {
            int made = g->q->g->values[v].producer;
            g->stranger = made >= 0 && !carries(&g->q->g->nodes[made]) ? v : g->stranger;
        }
    }
}

/* Marks what carries lead back to from a layer's value, as far as no other layer stands there. */
static void mark_carried(const struct reach *r, int v, bool *carried)
{
    memset(carried, 0, r->g->n_values);
    for (int hops = 0; hops < LAYER_NODES; hops++) {
        int at = r->g->values[v].producer;
        if (at < 0 || !carries(&r->g->nodes[at]) || r->g->nodes[at].in[0] < 0 ||
            r->layer_at[r->g->nodes[at].in[0]] >= 0) {
            return;
        }
        v = r->g->nodes[at].in[0];
        carried[v] = true;
    }
}

static double end_of(const struct graph *g, const struct node *n, const char *attr, int input,
                     double missing)
{
    const struct attr *a = attr_find(n, attr);
    int v = input < n->n_in ? n->in[input] : -1;
    const struct tensor *t = v >= 0 ? g->values[v].constant : NULL;
    int made = v >= 0 && !t ? g->values[v].producer : -1;
    const struct attr *c = made >= 0 && node_is(&g->nodes[made], "Constant")
                               ? attr_find(&g->nodes[made], "value")
                               : NULL;
    t = c && c->kind == ATTR_TENSOR ? c->t : t;
    return a && a->kind == ATTR_FLOAT ? (double)a->f : t && t->n == 1 ? tensor_f64(t, 0) : missing;
}

/* Ends of what the operator that makes an FP32 value can make. */
static void read_ends(const struct graph *g, int v, double ends[2])
{
    const struct node *n = g->values[v].producer >= 0 ? &g->nodes[g->values[v].producer] : NULL;
    ends[0] = -INFINITY;
    ends[1] = INFINITY;
    if (n && node_is(n, "Relu")) {
        ends[0] = 0;
    } else if (n && node_is(n, "Clip")) {
        ends[0] = end_of(g, n, "min", 1, -INFINITY);
        ends[1] = end_of(g, n, "max", 2, INFINITY);
    }
}

static bool *loose_values(const struct graph *x, const struct match *m)
{
    bool *loose = mem_alloc(x->n_values + 1);
    for (size_t i = 0; i < m->n_unmatched; i++) {
        int v = m->unmatched[i].side == SIDE_INT8 ? graph_find(x, m->unmatched[i].tensor) : -1;
        if (v >= 0) {
            loose[v] = true;
        }
    }
    return loose;
}

/* The source that only one of two ascending lists has, -1. */
static int odd_source(const struct reach *a, const struct reach *b)
{
    size_t i = 0, k = 0;
    while (i < a->n_found || k < b->n_found) {
        if (i < a->n_found && k < b->n_found && a->found[i] == b->found[k]) {
            i++;
            k++;
        } else if (k == b->n_found || (i < a->n_found && a->found[i] < b->found[k])) {
            return a->found[i];
        } else {
            return b->found[k];
        }
    }
    return -1;
}

static const char *source_name(const struct graph *fp32, const struct match *m, int source)
{
    size_t n = m->n_layers;
    return (size_t)source < n ? m->layers[source].name
                              : fp32->values[fp32->inputs[(size_t)source - n]].name;
}

/* How each input of the graph is quantized: with the value itself, or by the node behind it. */
static void read_inputs(struct local_map *l, const struct qmodel *q)
{
    const struct graph *g = q->g;
    l->n_inputs = g->n_inputs;
    l->inputs = mem_alloc((g->n_inputs + 1) * sizeof *l->inputs);
    for (size_t i = 0; i < g->n_inputs; i++) {
        int v = g->inputs[i], codes = g->values[v].quant ? v : -1;
        for (int u = q->uses.start[v]; u < q->uses.start[v + 1] && codes < 0; u++) {
            const struct node *n = &g->nodes[q->uses.node[u]];
            codes = node_is_quantize(n) ? n->out[0] : -1;
        }
        bool known = false;
        if (codes < 0 || qmodel_read(q, codes, &l->arena, &l->inputs[i], &known, NULL) || !known) {
            l->inputs[i] = (struct quant){0};
        }
    }
}

struct local_map *local_map_new(const struct graph *fp32, const struct graph *executed,
                                const struct match *m, const int *at)
{
    struct local_map *l = mem_alloc(sizeof *l);
    size_t n = m->n_layers, n_source = 0, cap = 0;
    struct qmodel q;
    struct reach a, b;
    int *at_fp32 = no_numbers(n);
    qmodel_init(&q, executed);
    l->n_layers = n;
    l->at = no_numbers(n);
    l->why = mem_alloc((n + 1) * sizeof *l->why);
    l->start = mem_alloc((n + 1) * sizeof *l->start);
    l->weighted = no_numbers(n);
    l->added = no_numbers(n);
    l->normalizes = mem_alloc(n + 1);
    l->dynamic = mem_alloc(n + 1);
    l->inner = mem_alloc((n + 1) * sizeof *l->inner);
    l->inner_of = no_numbers(n);
    l->ends = mem_alloc((n + 1) * sizeof *l->ends);
    bool *carried = mem_alloc(executed->n_values + 1);
    l->scaled = mem_alloc((n + 1) * sizeof *l->scaled);
    memset(l->scaled, 0xff, n * sizeof *l->scaled);
    for (size_t k = 0; k < n; k++) {
        l->at[k] = at[k];
        at_fp32[k] = at[k] >= 0 ? m->layers[k].fp32 : -1;
    }
    read_inputs(l, &q);
    bool *loose = loose_values(executed, m);
    reach_init(&a, executed, n, l->at);
    reach_init(&b, fp32, n, at_fp32);
    for (size_t k = 0; k < n; k++) {
        struct group g = {.q = &q, .loose = loose, .weighted = -1, .stranger = -1, .added = -1};
        g.scaled = l->scaled[k];
        g.carried = carried;
        g.map = l;
        g.layer = k;
        g.layer_at = a.layer_at;
        a.node = group_node;
        a.ctx = &g;
        a.n_found = 0;
        l->start[k] = (int)n_source;
        read_ends(fp32, m->layers[k].fp32, l->ends[k]);
        if (l->at[k] < 0) {
            l->why[k] = "no local figure: it is not part of what runs";
            continue;
        }
        mark_carried(&a, l->at[k], carried);
        reach_run(&a, l->at[k]);
        reach_run(&b, m->layers[k].fp32);
        int odd = odd_source(&a, &b);
        if (g.stranger >= 0) {
            l->why[k] = arena_printf(&l->arena, "no local figure: input '%s' has no match",
                                     executed->values[g.stranger].name);
        } else if (odd >= 0) {
            l->why[k] = arena_printf(&l->arena, "no local figure: input '%s' has no match here",
                                     source_name(fp32, m, odd));
        }
        for (size_t i = 0; i < a.n_found; i++) {
            l->source = mem_push(l->source, n_source, &cap, sizeof *l->source);
            l->source[n_source++] = a.found[i];
        }
        l->weighted[k] = g.others ? -1 : g.weighted;
        l->normalizes[k] = g.normalizes;
        l->dynamic[k] = g.dynamic;
        l->added[k] = g.added;
    }
    l->start[n] = (int)n_source;
    l->layer_at = no_numbers(executed->n_values);
    memcpy(l->layer_at, a.layer_at, executed->n_values * sizeof *l->layer_at);
    reach_fini(&a);
    reach_fini(&b);
    free(carried);
    free(loose);
    free(at_fp32);
    qmodel_fini(&q);
    return l;
}

void local_map_free(struct local_map *l)
{
    if (l) {
        free(l->at);
        free(l->layer_at);
        free(l->why);
        free(l->start);
        free(l->source);
        free(l->weighted);
        free(l->normalizes);
        free(l->dynamic);
        free(l->inner);
        free(l->inner_of);
        free(l->ends);
        free(l->added);
        free(l->scaled);
        free(l->inputs);
        arena_fini(&l->arena);
        free(l);
    }
}
