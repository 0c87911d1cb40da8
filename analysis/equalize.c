/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * equalize.c: cross-layer equalization (Nagel et al. 2019, "Data-Free Quantization", 4.1): factors
 * move from the channels of one layer's weights to the next one's, through what lets positive
 * factors pass, so that all channels of both get one range. The network computes the same.
 */
#include "analysis/qedit.h"
#include "analysis/qmodel.h"
#include "analysis/recode.h"

#include <math.h>
#include <stdlib.h>

/* ---- Channels of weights -------------------------------------------------------------------- */

/* Weights of one node as [outputs][inputs of a group][taps], however they lie. */
struct layout {
    const struct tensor *w;
    size_t outputs, inputs, taps, groups;
    bool inputs_first;
};

static bool layout_of(const struct graph *g, int node, struct layout *l)
{
    const struct node *n = &g->nodes[node];
    int axis = edit_weight_axis(g, n);
    if (axis < 0) {
        return false;
    }
    const struct tensor *w = edit_float(g, n->in[1]);
    *l = (struct layout){.w = w, .inputs_first = axis == 1, .groups = 1};
    l->outputs = (size_t)w->dims[axis];
    l->inputs = (size_t)w->dims[1 - axis];
    l->taps = w->n / (l->outputs * l->inputs);
    l->groups = edit_is(n, "Conv") ? (size_t)attr_int(n, "group", 1) : 1;
    return l->groups > 0 && l->outputs % l->groups == 0;
}

static size_t input_channels(const struct layout *l)
{
    return l->inputs * l->groups;
}

/* The output and input channel of an element. */
static void channels_at(const struct layout *l, size_t i, size_t *out, size_t *in)
{
    size_t row = i / l->taps, last = l->inputs_first ? l->outputs : l->inputs;
    *out = l->inputs_first ? row % last : row / last;
    size_t k = l->inputs_first ? row / last : row % last;
    *in = *out / (l->outputs / l->groups) * l->inputs + k;
}

/* ---- Pairs ---------------------------------------------------------------------------------- */

static double upper_bound(const struct graph *g, const struct node *n)
{
    enum { MIN_INPUT = 1, MAX_INPUT = 2 };
    const struct attr *a = attr_find(n, "max"), *b = attr_find(n, "min");
    double lo = b && b->kind == ATTR_FLOAT ? (double)b->f : NAN;
    double hi = a && a->kind == ATTR_FLOAT ? (double)a->f : NAN;
    const struct tensor *t = n->n_in > MIN_INPUT ? edit_float(g, n->in[MIN_INPUT]) : NULL;
    lo = t && t->n == 1 ? tensor_f64(t, 0) : lo;
    t = n->n_in > MAX_INPUT ? edit_float(g, n->in[MAX_INPUT]) : NULL;
    hi = t && t->n == 1 ? tensor_f64(t, 0) : hi;
    return lo == 0 && hi > 0 ? hi : NAN;
}

/* Whether f(s x) = s f(x) for s > 0, up to an upper end. */
static bool lets_pass(const struct graph *g, const struct node *n, double *bound)
{
    *bound = INFINITY;
    if (edit_is(n, "Clip")) {
        *bound = upper_bound(g, n);
        return !isnan(*bound);
    }
    return edit_is(n, "Relu") || edit_is(n, "LeakyRelu") ||
           (edit_is(n, "PRelu") && edit_float(g, n->in[1]));
}

static bool find_pair(const struct graph *g, const struct uses *u, int a, struct equal_pair *p)
{
    struct layout la, lb;
    if (!layout_of(g, a, &la)) {
        return false;
    }
    *p = (struct equal_pair){.a = a, .between = -1, .bound = INFINITY};
    p->y = p->z = g->nodes[a].out[0];
    p->b = edit_reader(g, u, p->y);
    if (p->b >= 0 && lets_pass(g, &g->nodes[p->b], &p->bound) && g->nodes[p->b].in[0] == p->y) {
        p->between = p->b;
        p->z = g->nodes[p->between].out[0];
        p->b = edit_reader(g, u, p->z);
    }
    if (p->b < 0 || !layout_of(g, p->b, &lb) || g->nodes[p->b].in[0] != p->z) {
        return false;
    }
    bool matrix = !edit_is(&g->nodes[a], "Conv");
    p->channels = la.outputs;
    return input_channels(&lb) == la.outputs &&
           (!matrix || isinf(p->bound) || g->values[p->y].rank == 2);
}

void equal_pairs_find(const struct graph *g, struct equal_pairs *out)
{
    struct uses u = graph_uses(g);
    *out = (struct equal_pairs){0};
    for (size_t i = 0; i < g->n_nodes; i++) {
        struct equal_pair p;
        if (g->nodes[i].op && find_pair(g, &u, (int)i, &p)) {
            p.s = arena_alloc(&out->arena, (p.channels + 1) * sizeof *p.s);
            out->list = mem_push(out->list, out->n, &out->cap, sizeof *out->list);
            out->list[out->n++] = p;
        }
    }
    uses_fini(&u);
}

void equal_pairs_fini(struct equal_pairs *p)
{
    arena_fini(&p->arena);
    free(p->list);
    *p = (struct equal_pairs){0};
}

/* ---- Factors -------------------------------------------------------------------------------- */

/* max |w| over the taps, by output channel and input of its group: all that ranges need. */
struct tops {
    struct layout l;
    float *top; /* [outputs][inputs] */
};

struct solver {
    const struct graph *g;
    struct equal_pairs *p;
    int *makes, *reads; /* per node: the pair in which it is a, b; -1 */
    struct tops *tops;  /* per node */
};

static void need_tops(struct solver *s, int node)
{
    struct tops *t = &s->tops[node];
    if (t->top || !layout_of(s->g, node, &t->l)) {
        return;
    }
    t->top = mem_alloc((t->l.outputs * t->l.inputs + 1) * sizeof *t->top);
    for (size_t i = 0; i < t->l.w->n; i++) {
        size_t out, in;
        channels_at(&t->l, i, &out, &in);
        float *to = &t->top[out * t->l.inputs + in % t->l.inputs];
        *to = fmaxf(*to, fabsf((float)tensor_f64(t->l.w, i)));
    }
}

/* Per channel max |w| of a node with the factors so far: of its outputs, or of its inputs. */
static void range_of(const struct solver *s, int node, bool outputs, double *r)
{
    const struct tops *t = &s->tops[node];
    const double *made = s->makes[node] >= 0 ? s->p->list[s->makes[node]].s : NULL;
    const double *read = s->reads[node] >= 0 ? s->p->list[s->reads[node]].s : NULL;
    size_t each = t->l.outputs / t->l.groups;
    memset(r, 0, (outputs ? t->l.outputs : input_channels(&t->l)) * sizeof *r);
    for (size_t o = 0; o < t->l.outputs; o++) {
        size_t first = o / each * t->l.inputs;
        double by = made ? 1 / made[o] : 1;
        for (size_t k = 0; k < t->l.inputs; k++) {
            double v = (double)t->top[o * t->l.inputs + k] * by * (read ? read[first + k] : 1);
            double *to = outputs ? &r[o] : &r[first + k];
            *to = v > *to ? v : *to;
        }
    }
}

static void ranges(const struct solver *s, const struct equal_pair *p, double *r1, double *r2)
{
    range_of(s, p->a, true, r1);
    range_of(s, p->b, false, r2);
}

enum { FARTHEST = 1000 }; /* a dead channel would get any factor, and a bias beyond int32 */

static double largest(size_t n, const double *v)
{
    double most = 0;
    for (size_t i = 0; i < n; i++) {
        most = fmax(most, v[i]);
    }
    return most;
}

/* A channel with small weights and a large bias would stretch the range of the activation at the
 * cost of all others: where its reach is known, half of it counts as range of the first node, all
 * as shares of the tensor's largest. */
static void weigh_reach(const struct equal_pair *p, double *r1, double *r2)
{
    double m1 = largest(p->channels, r1), m2 = largest(p->channels, r2), mz = 0;
    for (size_t c = 0; c < p->channels; c++) {
        mz = fmax(mz, p->reach[c] / p->s[c]);
    }
    for (size_t c = 0; c < p->channels && m1 > 0 && m2 > 0; c++) {
        double share = mz > 0 ? 0.5 * p->reach[c] / p->s[c] / mz : 0;
        r1[c] = r1[c] > 0 ? fmax(r1[c] / m1, share) : 0;
        r2[c] /= m2;
    }
}

/* Where the bound is the end of the codes, no channel may reach beyond it, and one that it cuts
 * stays as it is. */
static double within(const struct equal_pair *p, size_t c, double top, double s)
{
    double least = 1.0 / FARTHEST, most = FARTHEST;
    if (p->absorbed && p->reach) {
        bool ends = p->reach[c] >= p->bound * (1 - 1e-6);
        least = ends ? 1 : fmax(least, top > 0 ? p->reach[c] / top : 0);
        most = ends ? 1 : most;
    }
    return fmin(fmax(s, least), most);
}

/* One pair brought to equal ranges; the largest change of a factor, as a logarithm. */
static double step(const struct solver *s, struct equal_pair *p, double *r1, double *r2)
{
    double most = 0, top = p->reach ? largest(p->channels, p->reach) : 0;
    ranges(s, p, r1, r2);
    if (p->reach) {
        weigh_reach(p, r1, r2);
    }
    for (size_t c = 0; c < p->channels; c++) {
        bool live = r1[c] > 0 && r2[c] > 0;
        double now = p->s[c];
        p->s[c] = within(p, c, top, live ? now * sqrt(r1[c] * r2[c]) / r2[c] : now);
        most = fmax(most, fabs(log(p->s[c] / now)));
    }
    return most;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* (Largest) / (median) of both nodes' ranges: the larger of the two. */
static double spread_of(size_t n, double *r1, double *r2)
{
    double worst = 1, *const r[2] = {r1, r2};
    for (int side = 0; side < 2; side++) {
        qsort(r[side], n, sizeof *r1, by_value);
        double median = r[side][n / 2];
        worst = fmax(worst, median > 0 ? r[side][n - 1] / median : 1);
    }
    return worst;
}

static void spreads(const struct solver *s, int when, double *r1, double *r2)
{
    for (size_t i = 0; i < s->p->n; i++) {
        struct equal_pair *p = &s->p->list[i];
        ranges(s, p, r1, r2);
        p->spread[when] = spread_of(p->channels, r1, r2);
    }
}

void equal_pairs_solve(const struct graph *g, struct equal_pairs *p)
{
    enum { ROUNDS = 200 };
    const double settled = 1e-6;
    struct solver s = {.g = g, .p = p};
    size_t most = 1;
    s.makes = mem_alloc((g->n_nodes + 1) * sizeof *s.makes);
    s.reads = mem_alloc((g->n_nodes + 1) * sizeof *s.reads);
    s.tops = mem_alloc((g->n_nodes + 1) * sizeof *s.tops);
    memset(s.makes, 0xff, g->n_nodes * sizeof *s.makes);
    memset(s.reads, 0xff, g->n_nodes * sizeof *s.reads);
    for (size_t i = 0; i < p->n; i++) {
        s.makes[p->list[i].a] = s.reads[p->list[i].b] = (int)i;
        need_tops(&s, p->list[i].a);
        need_tops(&s, p->list[i].b);
        most = MAX(most, p->list[i].channels);
        for (size_t c = 0; c < p->list[i].channels; c++) {
            p->list[i].s[c] = 1;
        }
    }
    double *r1 = mem_alloc(2 * most * sizeof *r1), *r2 = r1 + most;
    spreads(&s, 0, r1, r2);
    double change = INFINITY;
    for (int k = 0; k < ROUNDS && change > settled; k++) {
        change = 0;
        for (size_t i = 0; i < p->n; i++) {
            change = fmax(change, step(&s, &p->list[i], r1, r2));
        }
    }
    spreads(&s, 1, r1, r2);
    free(r1);
    for (size_t i = 0; i < g->n_nodes; i++) {
        free(s.tops[i].top);
    }
    free(s.tops);
    free(s.makes);
    free(s.reads);
}

/* ---- The graph ------------------------------------------------------------------------------ */

/* New weights of a node: element by element times or divided by the factor of its channel. */
static int scale_weights(struct graph *g, int node, bool outputs, const float *s, struct err *err)
{
    struct layout l;
    struct tensor *t = NULL;
    layout_of(g, node, &l);
    int rc = tensor_new(DT_F32, l.w->rank, l.w->dims, NULL, &t, err);
    for (size_t i = 0; !rc && i < t->n; i++) {
        size_t out, in;
        channels_at(&l, i, &out, &in);
        double v = tensor_f64(l.w, i);
        ((float *)t->data)[i] = (float)(outputs ? v / (double)s[out] : v * (double)s[in]);
    }
    if (!rc) {
        struct node *n = &g->nodes[node];
        n->in[1] = edit_constant(g, n->name, "_equalized", t);
        n->raw = (struct span){0};
    }
    return rc;
}

static int scale_bias(struct graph *g, int node, size_t channels, const float *s, struct err *err)
{
    const struct node *n = &g->nodes[node];
    const struct tensor *b = n->n_in > 2 ? edit_float(g, n->in[2]) : NULL;
    struct tensor *t = NULL;
    if (!b) {
        return n->n_in > 2 && n->in[2] >= 0
                   ? err_set(err, E_UNSUPPORTED, "the bias of '%.120s' is no constant", n->name)
                   : OK;
    }
    if (b->n != channels) {
        return err_set(err, E_UNSUPPORTED, "'%.120s' has one bias for several channels", n->name);
    }
    int rc = tensor_new(DT_F32, b->rank, b->dims, NULL, &t, err);
    for (size_t i = 0; !rc && i < t->n; i++) {
        ((float *)t->data)[i] = (float)(tensor_f64(b, i) / (double)s[i]);
    }
    if (!rc) {
        g->nodes[node].in[2] = edit_constant(g, n->name, "_equalized_bias", t);
    }
    return rc;
}

void equal_bounds(double bound, size_t n, const float *s, float *out)
{
    for (size_t c = 0; c < n; c++) {
        out[c] = (float)(bound / (double)s[c]);
    }
}

int graph_equalize(struct graph *g, int a, int b, size_t n, const float *s, struct err *err)
{
    struct uses u = graph_uses(g);
    struct equal_pair p;
    bool pair = find_pair(g, &u, a, &p) && p.b == b && p.channels == n;
    uses_fini(&u);
    for (size_t c = 0; c < n && pair; c++) {
        pair = s[c] > 0 && isfinite(s[c]);
    }
    if (!pair) {
        return err_set(err, E_SHAPE, "'%.120s' and '%.120s' are no pair of %zu channels",
                       g->nodes[a].name, g->nodes[b].name, n);
    }
    int rc = scale_weights(g, a, true, s, err);
    rc = rc ? rc : scale_bias(g, a, n, s, err);
    rc = rc ? rc : scale_weights(g, b, false, s, err);
    if (!rc && isfinite(p.bound)) {
        float *bounds = mem_alloc((n + 1) * sizeof *bounds);
        equal_bounds(p.bound, n, s, bounds);
        rc = edit_clip(g, p.between, n, bounds, err);
        free(bounds);
    }
    return rc;
}
