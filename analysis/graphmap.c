/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * graphmap.c: both models as one graph of activations: what is compared stands once, what only one
 * side has stands beside it, and quantizers lie on the way from an activation to its readers. It
 * knows nothing of how the graph is shown; see tui/graph_rows.c.
 */
#include "analysis/matcher.h"

#include <stdlib.h>

/* A node while the map grows: where it stands in the order of the network. */
struct draft {
    struct map_node node;
    int key;   /* node of the FP32 model (of the only one) that it stands at */
    int minor; /* 0, or behind that one: in the order of the INT8 model */
    int made;  /* number of the draft */
};

static bool is_quantizer(const struct map_node *n)
{
    return n->kind == MAP_QUANTIZE || n->kind == MAP_DEQUANTIZE;
}

struct builder {
    const struct graph *f, *i; /* either may be NULL */
    const struct match *m;
    struct qmodel qf, qi;
    int *of_fp32, *of_int8; /* value -> draft, -1 */
    size_t n, cap;
    struct draft *draft;
    size_t n_edges, cap_edges;
    int (*edge)[2];
};

static int add_draft(struct builder *b, enum map_kind kind, int fp32, int int8, int key, int minor)
{
    b->draft = mem_push(b->draft, b->n, &b->cap, sizeof *b->draft);
    b->draft[b->n] = (struct draft){
        .node = {.kind = kind, .layer = -1, .fp32 = fp32, .int8 = int8, .part_of = -1},
        .key = key,
        .minor = minor,
        .made = (int)b->n};
    if (fp32 >= 0) {
        b->of_fp32[fp32] = (int)b->n;
    }
    if (int8 >= 0) {
        b->of_int8[int8] = (int)b->n;
    }
    return (int)b->n++;
}

static void add_inputs(struct builder *b)
{
    size_t nf = b->f ? b->f->n_inputs : 0, ni = b->i ? b->i->n_inputs : 0;
    for (size_t k = 0; k < MAX(nf, ni); k++) {
        add_draft(b, MAP_INPUT, k < nf ? b->f->inputs[k] : -1, k < ni ? b->i->inputs[k] : -1, -1,
                  (int)k - (int)MAX(nf, ni));
    }
}

static void add_layers(struct builder *b)
{
    for (size_t k = 0; k < b->m->n_layers; k++) {
        const struct layer *l = &b->m->layers[k];
        int from = l->int8 >= 0 ? b->qi.v[l->int8].made_from : -1;
        from = from >= 0 && b->i->values[from].is_input ? -1 : from;
        int made = l->fp32 >= 0 ? b->f->values[l->fp32].producer
                                : b->i->values[from >= 0 ? from : l->int8].producer;
        int at = add_draft(b, MAP_LAYER, l->fp32, l->int8, made, 0);
        b->draft[at].node.layer = (int)k;
        if (from >= 0) { /* the codes are those of a quantizer on the way to the readers */
            b->of_int8[l->int8] = -1;
            b->of_int8[from] = at;
        }
    }
}

/* Whether somebody may want to see an activation that is not compared. */
static bool is_read(const struct qmodel *q, int v)
{
    return match_activation(q, v) &&
           (q->uses.start[v] < q->uses.start[v + 1] || q->g->values[v].is_output);
}

static void add_fp32(struct builder *b)
{
    for (size_t k = 0; b->f && k < b->f->n_nodes; k++) {
        for (int o = 0; o < b->f->nodes[k].n_out; o++) {
            int v = b->f->nodes[k].out[o];
            if (v >= 0 && b->of_fp32[v] < 0 && is_read(&b->qf, v)) {
                add_draft(b, match_integer_type(b->f->values[v].dtype) ? MAP_HELPER : MAP_OTHER, v,
                          -1, (int)k, 0);
            }
        }
    }
}

/* The FP32 model's activation of the same name that is not compared, or -1. */
static int same_name(const struct builder *b, int v)
{
    int x = b->f ? graph_find(b->f, b->i->values[v].name) : -1;
    int at = x >= 0 ? b->of_fp32[x] : -1;
    const struct map_node *n = at >= 0 ? &b->draft[at].node : NULL;
    return n && n->int8 < 0 && (n->kind == MAP_OTHER || n->kind == MAP_HELPER) ? at : -1;
}

static enum map_kind int8_kind(const struct builder *b, const struct node *n, int v)
{
    bool integer = match_integer_type(b->i->values[v].dtype) && !b->qi.v[v].codes;
    return node_is_quantize(n) || node_is(n, "DynamicQuantizeLinear") ? MAP_QUANTIZE
           : node_is_dequantize(n)                                    ? MAP_DEQUANTIZE
           : integer                                                  ? MAP_HELPER
                                                                      : MAP_OTHER;
}

static void add_int8(struct builder *b)
{
    for (size_t k = 0; b->i && k < b->i->n_nodes; k++) {
        const struct node *n = &b->i->nodes[k];
        for (int o = 0; o < n->n_out; o++) {
            int v = n->out[o];
            if (v < 0 || b->of_int8[v] >= 0 || !is_read(&b->qi, v)) {
                continue;
            }
            int twin = same_name(b, v);
            if (twin >= 0) {
                b->draft[twin].node.int8 = v;
                b->of_int8[v] = twin;
            } else {
                add_draft(b, int8_kind(b, n, v), -1, v, -1, 1 + (int)k);
            }
        }
    }
}

/* A draft whose place follows from its neighbours, since the FP32 model does not have it. */
static bool int8_only(const struct draft *d)
{
    return d->node.fp32 < 0 && (d->node.kind == MAP_OTHER || d->node.kind == MAP_HELPER ||
                                d->node.kind == MAP_QUANTIZE || d->node.kind == MAP_DEQUANTIZE);
}

static bool is_before(const struct draft *a, const struct draft *b)
{
    return a->key != b->key ? a->key < b->key : a->minor < b->minor;
}

/* For each draft, the first node in the order of the network that its readers lead to. */
static int *latest_keys(const struct builder *b)
{
    int *late = mem_alloc((b->n + 1) * sizeof *late);
    for (size_t d = 0; d < b->n; d++) {
        late[d] = int8_only(&b->draft[d]) ? INT32_MAX : b->draft[d].key;
    }
    for (size_t k = b->i->n_nodes; k-- > 0;) {
        const struct node *n = &b->i->nodes[k];
        for (int o = 0; o < n->n_out; o++) {
            int to = n->out[o] >= 0 ? b->of_int8[n->out[o]] : -1;
            for (int x = 0; x < n->n_in && to >= 0; x++) {
                int from = n->in[x] >= 0 ? b->of_int8[n->in[x]] : -1;
                if (from >= 0 && int8_only(&b->draft[from])) {
                    late[from] = MIN(late[from], late[to]);
                }
            }
        }
    }
    return late;
}

/* Behind what it reads: a quantizer at once, anything else as late as its readers allow, so that it
 * stands with the layers that it belongs to. */
static void place_draft(struct builder *b, const struct node *n, int node, struct draft *d,
                        int late)
{
    const struct draft *from = NULL;
    for (int x = 0; x < n->n_in; x++) {
        int at = n->in[x] >= 0 ? b->of_int8[n->in[x]] : -1;
        if (at >= 0 && (!from || is_before(from, &b->draft[at]))) {
            from = &b->draft[at];
        }
    }
    int before = node - (int)b->i->n_nodes; /* in front of the node of the key */
    bool quantizer = d->node.kind == MAP_QUANTIZE || d->node.kind == MAP_DEQUANTIZE;
    d->key = from ? from->key : -1;
    d->minor = from && from->minor < 0 && d->key >= 0 ? before : 1 + node;
    if (!quantizer && late != INT32_MAX && late > d->key) {
        d->key = late;
        d->minor = before;
    }
}

static void place_int8(struct builder *b)
{
    if (!b->i) {
        return;
    }
    int *late = latest_keys(b);
    for (size_t k = 0; k < b->i->n_nodes; k++) {
        const struct node *n = &b->i->nodes[k];
        for (int o = 0; o < n->n_out; o++) {
            int at = n->out[o] >= 0 ? b->of_int8[n->out[o]] : -1;
            if (at >= 0 && int8_only(&b->draft[at])) {
                place_draft(b, n, (int)k, &b->draft[at], late[at]);
            }
        }
    }
    free(late);
}

static void add_edge(struct builder *b, int from, int to)
{
    if (from >= 0 && to >= 0 && from != to) {
        b->edge = mem_push(b->edge, b->n_edges, &b->cap_edges, sizeof *b->edge);
        b->edge[b->n_edges][0] = from;
        b->edge[b->n_edges++][1] = to;
    }
}

static void add_edges(struct builder *b, const struct graph *g, const int *of)
{
    for (size_t k = 0; g && k < g->n_nodes; k++) {
        const struct node *n = &g->nodes[k];
        for (int x = 0; x < n->n_in; x++) {
            for (int o = 0; o < n->n_out && n->in[x] >= 0; o++) {
                add_edge(b, of[n->in[x]], n->out[o] >= 0 ? of[n->out[o]] : -1);
            }
        }
    }
}

static void add_outputs(struct builder *b)
{
    for (size_t k = 0; k < b->m->n_outputs; k++) {
        int f = b->m->outputs[k][0], i = b->m->outputs[k][1];
        int from_f = f >= 0 ? b->of_fp32[f] : -1, from_i = i >= 0 ? b->of_int8[i] : -1;
        int at = add_draft(b, MAP_OUTPUT, f, i, INT32_MAX, (int)k);
        add_edge(b, from_f, at);
        add_edge(b, from_i, at);
    }
}

/* ---- Order ---------------------------------------------------------------------------------- */

static int compare(int a, int b)
{
    return (a > b) - (a < b);
}

static int by_place(const void *x, const void *y)
{
    const struct draft *a = x, *b = y;
    int key = compare(a->key, b->key), minor = compare(a->minor, b->minor);
    return key ? key : minor ? minor : compare(a->made, b->made);
}

static int by_ends(const void *x, const void *y)
{
    const int *a = x, *b = y;
    int from = compare(a[0], b[0]);
    return from ? from : compare(a[1], b[1]);
}

/* What stands at the other end of sorted pairs, by their end 0 or 1. */
static struct map_edges edges_by(size_t n, int (*pair)[2], size_t n_pairs, int end)
{
    struct map_edges e = {.start = mem_alloc((n + 2) * sizeof *e.start),
                          .node = mem_alloc((n_pairs + 1) * sizeof *e.node)};
    for (size_t k = 0; k < n_pairs; k++) {
        e.start[pair[k][end] + 2]++;
    }
    for (size_t k = 2; k < n + 2; k++) {
        e.start[k] += e.start[k - 1];
    }
    for (size_t k = 0; k < n_pairs; k++) {
        e.node[e.start[pair[k][end] + 1]++] = pair[k][!end];
    }
    return e;
}

/* Edges of n things from pairs of their numbers, each counted once; returns how many pairs were
 * left out because they lead back. */
static size_t make_edges(size_t n, int (*pair)[2], size_t n_pairs, struct map_edges *in,
                         struct map_edges *out)
{
    size_t forward = 0, kept = 0;
    for (size_t k = 0; k < n_pairs; k++) {
        if (pair[k][0] < pair[k][1]) {
            memmove(pair[forward++], pair[k], sizeof *pair);
        }
    }
    qsort(pair, forward, sizeof *pair, by_ends);
    for (size_t k = 0; k < forward; k++) {
        if (kept == 0 || by_ends(pair[k], pair[kept - 1]) != 0) {
            memmove(pair[kept++], pair[k], sizeof *pair);
        }
    }
    *out = edges_by(n, pair, kept, 0);
    *in = edges_by(n, pair, kept, 1);
    return n_pairs - forward;
}

void map_edges_fini(struct map_edges *e)
{
    free(e->start);
    free(e->node);
    *e = (struct map_edges){0};
}

/* Whether quantizers that are groups of their own lead from one node to (a part of) another. */
static bool beside_quantizers(const struct graphmap *g, const int *group, int from, int to)
{
    int layer = g->nodes[to].kind == MAP_FUSED ? g->nodes[to].part_of : to;
    for (int e = g->in.start[layer]; e < g->in.start[layer + 1]; e++) {
        int at = g->in.node[e];
        bool own = true;
        while (own && is_quantizer(&g->nodes[at]) && g->in.start[at] < g->in.start[at + 1]) {
            own = group[at] != group[from] && group[at] != group[layer];
            at = g->in.node[g->in.start[at]];
        }
        if (own && at == from && g->in.node[e] != from) {
            return true;
        }
    }
    return false;
}

void graphmap_group(const struct graphmap *g, const int *group, size_t n, struct map_edges *in,
                    struct map_edges *out)
{
    int(*pair)[2] = mem_alloc(((size_t)g->out.start[g->n] + 1) * sizeof *pair);
    size_t n_pairs = 0;
    for (size_t k = 0; k < g->n; k++) {
        for (int e = g->out.start[k]; e < g->out.start[k + 1]; e++) {
            if (!beside_quantizers(g, group, (int)k, g->out.node[e])) {
                pair[n_pairs][0] = group[k];
                pair[n_pairs++][1] = group[g->out.node[e]];
            }
        }
    }
    make_edges(n, pair, n_pairs, in, out);
    free(pair);
}

/* Drafts become nodes in order, pairs of drafts edges between them. */
static void put_in_order(struct builder *b, struct graphmap *g)
{
    int *place = mem_alloc((b->n + 1) * sizeof *place);
    qsort(b->draft, b->n, sizeof *b->draft, by_place);
    g->n = b->n;
    g->nodes = mem_alloc((b->n + 1) * sizeof *g->nodes);
    for (size_t k = 0; k < b->n; k++) {
        place[b->draft[k].made] = (int)k;
        g->nodes[k] = b->draft[k].node;
    }
    for (size_t k = 0; k < b->n_edges; k++) {
        b->edge[k][0] = place[b->edge[k][0]];
        b->edge[k][1] = place[b->edge[k][1]];
    }
    g->crossed = make_edges(g->n, b->edge, b->n_edges, &g->in, &g->out);
    free(place);
}

/* ---- Parts ---------------------------------------------------------------------------------- */

/* The layer that all readers of a node are, or lead to; -1: there is no such layer. */
static int only_reader(const struct graphmap *g, const int *layer, size_t k)
{
    int first = g->out.start[k], end = g->out.start[k + 1];
    int found = first < end ? layer[g->out.node[first]] : -1;
    for (int e = first; e < end; e++) {
        found = layer[g->out.node[e]] == found ? found : -1;
    }
    return found;
}

/* What only one model has on its way to a single layer is a part of that layer there. */
static void find_fused(struct graphmap *g)
{
    int *layer = mem_alloc((g->n + 1) * sizeof *layer);
    for (size_t k = g->n; k-- > 0;) {
        struct map_node *n = &g->nodes[k];
        bool ends = n->kind == MAP_LAYER || n->kind == MAP_INPUT || n->kind == MAP_OUTPUT;
        layer[k] = n->kind == MAP_LAYER ? (int)k : ends ? -1 : only_reader(g, layer, k);
        if (n->kind == MAP_OTHER && layer[k] >= 0 && (n->fp32 < 0 || n->int8 < 0)) {
            n->kind = MAP_FUSED;
            n->part_of = layer[k];
        } else if (n->kind == MAP_OTHER) {
            layer[k] = -1; /* a row of its own */
        }
    }
    free(layer);
}

static void find_parts(struct graphmap *g)
{
    for (size_t k = 0; k < g->n; k++) {
        struct map_node *n = &g->nodes[k];
        int first = g->in.start[k], last = g->in.start[k + 1];
        if ((n->kind == MAP_HELPER || is_quantizer(n)) && first < last) {
            /* The last of what it reads comes before whatever reads it. */
            int from = g->in.node[last - 1];
            n->part_of = g->nodes[from].part_of >= 0 ? g->nodes[from].part_of : from;
        }
    }
}

static void count(struct graphmap *g, bool pair)
{
    for (size_t k = 0; k < g->n; k++) {
        const struct map_node *n = &g->nodes[k];
        g->fused += n->kind == MAP_FUSED && n->int8 < 0;
        g->quantize += n->kind == MAP_QUANTIZE;
        g->dequantize += n->kind == MAP_DEQUANTIZE;
        if (pair && !is_quantizer(n) && (n->fp32 < 0 || n->int8 < 0)) {
            g->only[n->fp32 < 0 ? SIDE_INT8 : SIDE_FP32]++;
        }
        if (n->layer >= 0) {
            g->of_layer[n->layer] = (int)k;
        }
    }
}

static int *none(const struct graph *g)
{
    size_t n = g ? g->n_values : 0;
    int *v = mem_alloc((n + 1) * sizeof *v);
    memset(v, 0xff, n * sizeof *v); /* -1 */
    return v;
}

struct graphmap *graphmap_new(const struct graph *fp32, const struct graph *int8,
                              const struct match *m)
{
    struct graphmap *g = mem_alloc(sizeof *g);
    struct builder b = {.f = fp32, .i = int8, .m = m, .of_fp32 = none(fp32), .of_int8 = none(int8)};
    if (fp32) {
        qmodel_init(&b.qf, fp32);
    }
    if (int8) {
        qmodel_init(&b.qi, int8);
    }
    add_inputs(&b);
    add_layers(&b);
    add_fp32(&b);
    add_int8(&b);
    place_int8(&b);
    add_edges(&b, fp32, b.of_fp32);
    add_edges(&b, int8, b.of_int8);
    add_outputs(&b);
    put_in_order(&b, g);
    if (fp32 && int8) {
        find_fused(g);
    }
    find_parts(g);
    g->of_layer = mem_alloc((m->n_layers + 1) * sizeof *g->of_layer);
    count(g, fp32 && int8);
    qmodel_fini(&b.qf);
    qmodel_fini(&b.qi);
    free(b.of_fp32);
    free(b.of_int8);
    free(b.draft);
    free(b.edge);
    return g;
}

void graphmap_free(struct graphmap *g)
{
    if (!g) {
        return;
    }
    free(g->nodes);
    map_edges_fini(&g->in);
    map_edges_fini(&g->out);
    free(g->of_layer);
    free(g);
}

/* ---- Ways ----------------------------------------------------------------------------------- */

size_t graphmap_path(const struct graphmap *g, int from, int to, int *way)
{
    int *before = mem_alloc((g->n + 1) * sizeof *before);
    int *queue = mem_alloc((g->n + 1) * sizeof *queue);
    size_t head = 0, tail = 0, n = 0;
    memset(before, 0xff, g->n * sizeof *before);
    before[from] = from;
    for (queue[tail++] = from; head < tail && before[to] < 0; head++) {
        int at = queue[head];
        for (int e = g->out.start[at]; e < g->out.start[at + 1]; e++) {
            int next = g->out.node[e];
            if (before[next] < 0) {
                before[next] = at;
                queue[tail++] = next;
            }
        }
    }
    for (int at = to; before[to] >= 0; at = before[at]) {
        way[n++] = at;
        if (at == from) {
            break;
        }
    }
    for (size_t k = 0; k < n / 2; k++) {
        int swap = way[k];
        way[k] = way[n - 1 - k];
        way[n - 1 - k] = swap;
    }
    free(before);
    free(queue);
    return n;
}
