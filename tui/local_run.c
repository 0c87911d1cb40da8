/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * local_run.c: see local_run.h. It follows the FP32 run: a node is executed once the FP32
 * activations that replace its results are there, so that few of them wait at a time.
 */
#include "tui/local_run.h"

#include <stdlib.h>

#include "tui/executed.h"

/* ---- Setup ----------------------------------------------------------------------------------- */

/* Values that integer layers read, where their sums depend on the order of pairs. */
static bool *feeding_values(const struct session *s, const struct local_map *m)
{
    const struct graph *x = plan_graph(s->plan_int8);
    if (s->set.numerics != NUM_U8S8_SATURATE) {
        return NULL;
    }
    bool *feeds = mem_alloc(x->n_values + 1);
    for (size_t k = 0; k < m->n_layers; k++) {
        const struct node *n = m->weighted[k] >= 0 ? &x->nodes[m->weighted[k]] : NULL;
        if (n && node_is_integer(n) && n->in[0] >= 0) {
            feeds[n->in[0]] = true;
        }
    }
    return feeds;
}

struct local_map *local_map_of(const struct session *s)
{
    int *at = mem_alloc((s->match.n_layers + 1) * sizeof *at);
    for (size_t k = 0; k < s->match.n_layers; k++) {
        bool both = session_executed(s, k, SIDE_FP32) >= 0;
        at[k] = both ? session_executed(s, k, SIDE_INT8) : -1;
    }
    struct local_map *m = local_map_new(s->fp32, plan_graph(s->plan_int8), &s->match, at);
    free(at);
    return m;
}

struct local_setup *local_setup_new(const struct session *s)
{
    if (!s->pair) {
        return NULL;
    }
    struct local_setup *u = mem_alloc(sizeof *u);
    const struct graph *x = plan_graph(s->plan_int8);
    *u = (struct local_setup){.match = &s->match, .plan = s->plan_int8, .map = local_map_of(s)};
    u->grid = mem_alloc(s->match.n_layers + 1);
    u->wanted = mem_alloc(x->n_values + 1);
    u->feeds = feeding_values(s, u->map);
    for (size_t k = 0; k < s->match.n_layers; k++) {
        const struct layer *l = &s->match.layers[k];
        bool codes = l->quantized && s->int8_values[k] == l->int8 && l->int8_float >= 0;
        int at = u->map->at[k];
        u->grid[k] = codes && at >= 0 &&
                     strcmp(x->values[at].name, s->int8->values[l->int8_float].name) == 0;
        if (at >= 0) {
            u->wanted[at] = true;
        }
    }
    for (size_t v = 0; u->feeds && v < x->n_values; v++) {
        u->wanted[v] = u->wanted[v] || u->feeds[v];
    }
    return u;
}

void local_setup_free(struct local_setup *u)
{
    if (u) {
        local_map_free(u->map);
        free(u->grid);
        free(u->wanted);
        free(u->feeds);
        free(u);
    }
}

/* ---- One image ------------------------------------------------------------------------------- */

struct local_lane {
    const struct local_setup *u;
    struct local_study *r;
    struct run_options o;
    struct run *run;
    struct tensor **x;    /* per layer: FP32 activation that waits */
    struct tensor **feed; /* per value: what layers read of it; NULL: not asked for */
    bool *dirty;          /* per layer: could not be replaced */
    bool ended;           /* no more activations come */
};

static void fail(struct local_lane *l, size_t layer, const char *why)
{
    if (!l->r->errors[layer]) {
        l->r->errors[layer] = mem_dup(why);
    }
}

/* Whether everything that the layer reads was replaced. */
static bool is_clean(const struct local_lane *l, size_t layer)
{
    const struct local_map *m = l->u->map;
    for (int i = m->start[layer]; i < m->start[layer + 1]; i++) {
        if ((size_t)m->source[i] < m->n_layers && l->dirty[m->source[i]]) {
            return false;
        }
    }
    return !m->why[layer];
}

static void count_sums(struct local_lane *l, size_t layer, struct local_stats *s)
{
    const struct graph *x = plan_graph(l->u->plan);
    int node = l->u->map->weighted[layer];
    struct accumulators a;
    if (!l->feed || node < 0 || !l->feed[x->nodes[node].in[0]]) {
        return;
    }
    const struct tensor **in = mem_alloc(((size_t)x->nodes[node].n_in + 1) * sizeof *in);
    in[0] = l->feed[x->nodes[node].in[0]];
    if (!plan_accumulators(l->u->plan, node, in, &a, NULL)) {
        s->sums += a.all.n;
        s->wraps += a.all.wraps;
        s->pairs += a.has_pairs ? a.all.pair_outputs : 0;
        accumulators_fini(&a);
    }
    free(in);
}

/* Layers that quantize this one's float value themselves. */
static void measure_readers(struct local_lane *l, size_t layer, const struct tensor *x)
{
    const struct local_map *m = l->u->map;
    for (size_t k = 0; k < m->n_layers; k++) {
        if (m->inner_of[k] == (int)layer) {
            local_inner(x, &m->inner[k], &l->r->layers[k], NULL);
        }
    }
}

/* A layer alone has made y: it is measured, and what reads it gets x. */
static int lane_layer(struct local_lane *l, size_t layer, const struct tensor *y,
                      struct tensor **instead)
{
    struct tensor *x = l->x[layer];
    struct local_stats *s = &l->r->layers[layer], unused;
    struct err why = {0};
    bool clean = is_clean(l, layer) && !s->pair.images;
    if (!x) {
        fail(l, layer, "no local figure: FP32 did not compute it");
        l->dirty[layer] = true;
        return OK;
    }
    local_stats_init(&unused);
    int rc = local_measure(&l->u->match->layers[layer], l->u->map->ends[layer], x, y,
                           l->u->grid[layer], clean ? s : &unused, instead, &why);
    if (rc || !*instead) {
        fail(l, layer, rc ? why.text : "no local figure: FP32 activations do not fit it");
        l->dirty[layer] = true;
    } else if (clean) {
        count_sums(l, layer, s);
    } else if (!l->u->map->why[layer] && !s->pair.images) {
        fail(l, layer, "no local figure: an input could not be replaced");
    }
    measure_readers(l, layer, x);
    local_stats_fini(&unused);
    tensor_free(x);
    l->x[layer] = NULL;
    return OK;
}

static int lane_swap(void *ctx, int value, const struct tensor *t, struct tensor **instead,
                     struct err *err)
{
    struct local_lane *l = ctx;
    int layer = l->u->map->layer_at[value];
    (void)err;
    int rc = layer >= 0 ? lane_layer(l, (size_t)layer, t, instead) : OK;
    if (!rc && l->feed && l->u->feeds[value]) {
        struct tensor *rows = NULL;
        tensor_as(*instead ? *instead : t, false, NULL, &rows, NULL);
        tensor_free(l->feed[value]);
        l->feed[value] = rows;
    }
    return rc;
}

static void measure_inputs(const struct local_setup *u, struct tensor *const *real,
                           struct local_study *r)
{
    for (size_t i = 0; i < u->map->n_inputs; i++) {
        input_stats_add(&r->inputs[i], real[i], &u->map->inputs[i]);
    }
}

int local_begin(const struct local_setup *u, struct tensor *const *in, struct tensor *const *real,
                bool sums, struct par *par, const struct cancel *cancel, struct local_study *r,
                struct local_lane **out, struct err *err)
{
    struct local_lane *l = mem_alloc(sizeof *l);
    size_t n = u->match->n_layers;
    *l = (struct local_lane){.u = u, .r = r};
    l->x = mem_alloc((n + 1) * sizeof *l->x);
    l->dirty = mem_alloc(n + 1);
    l->feed =
        sums && u->feeds ? mem_alloc((plan_graph(u->plan)->n_values + 1) * sizeof *l->feed) : NULL;
    l->o = (struct run_options){.swap = lane_swap,
                                .tap_ctx = l,
                                .any_layout = true,
                                .wanted = u->wanted,
                                .cancel = cancel,
                                .par = par};
    measure_inputs(u, real, r);
    *out = l;
    return run_begin(u->plan, (const struct tensor *const *)in, &l->o, &l->run, err);
}

void local_offer(struct local_lane *l, size_t layer, const struct tensor *x)
{
    if (l->u->map->at[layer] >= 0 && !l->x[layer] && !l->r->layers[layer].pair.images) {
        l->x[layer] = tensor_ref(x);
    }
}

/* Whether what replaces the results of a node is there. */
static bool is_ready(const struct local_lane *l, int node)
{
    const struct node *n = &plan_graph(l->u->plan)->nodes[node];
    for (int k = 0; k < n->n_out && !l->ended; k++) {
        int layer = n->out[k] >= 0 ? l->u->map->layer_at[n->out[k]] : -1;
        if (layer >= 0 && !l->x[layer]) {
            return false;
        }
    }
    return true;
}

int local_follow(struct local_lane *l, bool all, struct err *err)
{
    int rc = OK, node;
    bool more = true;
    l->ended = all;
    while (!rc && more && (node = run_next(l->run)) >= 0 && is_ready(l, node)) {
        rc = run_step(l->run, &more, err);
    }
    return rc;
}

void local_end(struct local_lane *l)
{
    if (!l) {
        return;
    }
    if (l->run) {
        run_end(l->run, NULL, NULL);
    }
    for (size_t k = 0; k < l->u->match->n_layers; k++) {
        tensor_free(l->x[k]);
    }
    for (size_t v = 0; l->feed && v < plan_graph(l->u->plan)->n_values; v++) {
        tensor_free(l->feed[v]);
    }
    free(l->feed);
    free(l->dirty);
    free(l->x);
    free(l);
}
