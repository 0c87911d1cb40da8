/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * equalize_pair.c: cross-layer equalization of an FP32 and an INT8 model together: which pairs
 * both have, and what the INT8 side needs: activation scales, clips by channel, weights and biases.
 */
#include "analysis/recode.h"

#include <math.h>
#include <stdlib.h>

struct equalizing {
    const struct whatif *w;
    const struct study *study;
    struct equalized *e;
    int *layer_at; /* per node of the prepared graph: the layer with these weights, -1 */
};

static const char *node_name(const struct equalizing *x, int node)
{
    return x->w->prepared->nodes[node].name;
}

/* ---- Which pairs ---------------------------------------------------------------------------- */

static int *layers_at(const struct whatif *w)
{
    int *at = mem_alloc((w->prepared->n_nodes + 1) * sizeof *at);
    memset(at, 0xff, w->prepared->n_nodes * sizeof *at);
    for (size_t k = 0; k < w->match->n_layers; k++) {
        struct weights_now now;
        if (whatif_has_weights(w, k) && whatif_weights_now(w, k, &now, NULL) == OK) {
            at[w->node[SIDE_FP32][k]] = (int)k;
        }
    }
    return at;
}

/* The layer that shows a value of the FP32 graph as codes with one scale, -1. */
static int coded_layer(const struct equalizing *x, int value)
{
    int k = x->w->layer_of[value];
    const struct layer *l = k >= 0 ? &x->w->match->layers[k] : NULL;
    return l && l->quantized && l->q.n == 1 ? k : -1;
}

/* Extremes by channel of a layer in FP32, or NULL. */
static const struct sums *channels_of(const struct equalizing *x, int layer, size_t n)
{
    const struct layer_stats *t = layer >= 0 ? &x->study->layers[layer] : NULL;
    bool known = t && t->images && t->n_channels == n;
    for (size_t c = 0; known && c < n; c++) {
        known = t->channel[c].xmin <= t->channel[c].xmax && !t->channel[c].nonfinite;
    }
    return known ? t->channel : NULL;
}

/* The Clip that makes what the INT8 model has for z, between quantizers of its own; -1. */
static int own_clip(const struct equalizing *x, int z)
{
    const struct graph *g = x->w->int8;
    int k = x->w->layer_of[z], v = k >= 0 ? x->w->match->layers[k].int8 : -1;
    int at = v >= 0 ? g->values[v].producer : -1;
    if (at >= 0 && node_is_quantize(&g->nodes[at])) {
        v = g->nodes[at].in[0];
        at = v >= 0 ? g->values[v].producer : -1;
    }
    if (at < 0 || !edit_is(&g->nodes[at], "Clip") || g->nodes[at].in[0] < 0) {
        return -1;
    }
    int made = g->values[g->nodes[at].in[0]].producer;
    return made >= 0 && node_is_dequantize(&g->nodes[made]) ? at : -1;
}

/* Whether both models have the pair in a form that can be changed; fills in what was seen of it. */
static bool pair_usable(const struct equalizing *x, struct equal_pair *p)
{
    int coded = coded_layer(x, p->z);
    const struct sums *c = channels_of(x, coded, p->channels);
    if (x->layer_at[p->a] < 0 || x->layer_at[p->b] < 0 || !c) {
        return false;
    }
    p->reach = arena_alloc(&x->e->pairs.arena, (p->channels + 1) * sizeof *p->reach);
    for (size_t i = 0; i < p->channels; i++) {
        p->reach[i] = fmax(fabs(c[i].xmin), fabs(c[i].xmax));
    }
    p->absorbed = isfinite(p->bound) && own_clip(x, p->z) < 0;
    return true;
}

/* Marks the pairs of chains that hold a wanted layer. */
static void mark_chains(const struct equalizing *x, const bool *layers, bool *wanted)
{
    const struct equal_pairs *p = &x->e->pairs;
    for (size_t i = 0; i < p->n; i++) {
        int a = x->layer_at[p->list[i].a], b = x->layer_at[p->list[i].b];
        wanted[i] = (a >= 0 && layers[a]) || (b >= 0 && layers[b]);
    }
    for (bool more = true; more;) {
        more = false;
        for (size_t i = 0; i < p->n; i++) {
            for (size_t k = 0; k < p->n; k++) {
                if (wanted[i] && !wanted[k] &&
                    (p->list[i].b == p->list[k].a || p->list[k].b == p->list[i].a)) {
                    wanted[k] = more = true;
                }
            }
        }
    }
}

static void keep_pairs(struct equalizing *x, const bool *layers)
{
    struct equal_pairs *p = &x->e->pairs;
    bool *wanted = mem_alloc(p->n + 1);
    size_t kept = 0;
    mark_chains(x, layers, wanted);
    for (size_t i = 0; i < p->n; i++) {
        bool usable = wanted[i] && pair_usable(x, &p->list[i]);
        x->e->left += wanted[i] && !usable;
        x->e->absorbed += usable && p->list[i].absorbed;
        if (usable) {
            p->list[kept++] = p->list[i];
        }
    }
    p->n = kept;
    free(wanted);
}

/* ---- What is changed ------------------------------------------------------------------------ */

static float *factors(const struct equal_pair *p)
{
    float *s = mem_alloc((p->channels + 1) * sizeof *s);
    for (size_t c = 0; c < p->channels; c++) {
        s[c] = (float)p->s[c];
    }
    return s;
}

static void add_equalize(struct equalizing *x, const struct equal_pair *p)
{
    edits_add(&x->e->edits, (struct edit){.kind = EDIT_EQUALIZE,
                                          .at = mem_dup(node_name(x, p->a)),
                                          .to = mem_dup(node_name(x, p->b)),
                                          .n = p->channels,
                                          .v = factors(p)});
}

/* New scale of a layer's codes for what it will hold; type and symmetry stay. */
static void add_range(struct equalizing *x, int layer, const struct equal_pair *p,
                      const struct sums *seen)
{
    const struct layer *l = &x->w->match->layers[layer];
    struct code_choice codes = {.dtype = l->q.dtype};
    struct edit c = {.kind = EDIT_RANGE, .at = mem_dup(x->w->int8->values[l->int8].name)};
    double lo = 0, hi = 0;
    int64_t first, last;
    for (size_t i = 0; i < p->channels; i++) {
        lo = fmin(lo, seen[i].xmin / p->s[i]);
        hi = fmax(hi, seen[i].xmax / p->s[i]);
    }
    dtype_range(codes.dtype, &first, &last);
    codes.symmetric = l->q.zero[0] == (first + last + 1) / 2;
    codes_params(&codes, lo, hi, &c.scale, &c.zero);
    c.codes = codes;
    edits_add(&x->e->edits, c);
}

/* What stands before an activation that cuts off is to hold what is left behind it. */
static void add_ranges(struct equalizing *x, const struct equal_pair *p)
{
    const struct node *f = p->between >= 0 ? &x->w->prepared->nodes[p->between] : NULL;
    bool cuts = f && (edit_is(f, "Relu") || edit_is(f, "Clip"));
    int z = coded_layer(x, p->z), y = p->y != p->z ? coded_layer(x, p->y) : -1;
    const struct sums *seen = channels_of(x, z, p->channels);
    add_range(x, z, p, seen);
    const struct sums *before = cuts ? seen : channels_of(x, y, p->channels);
    if (y >= 0 && before && x->w->match->layers[y].int8 != x->w->match->layers[z].int8) {
        add_range(x, y, p, before);
    }
}

static void add_clip(struct equalizing *x, const struct equal_pair *p)
{
    int clip = isfinite(p->bound) && !p->absorbed ? own_clip(x, p->z) : -1;
    if (clip >= 0) {
        struct edit c = {.kind = EDIT_CLIP,
                         .at = mem_dup(x->w->int8->nodes[clip].name),
                         .n = p->channels,
                         .v = factors(p)};
        equal_bounds(p->bound, p->channels, c.v, c.v);
        edits_add(&x->e->edits, c);
    }
}

/* Weights of all nodes of pairs, each once, in the codes that they have. */
static void add_weights(struct equalizing *x)
{
    const struct equal_pairs *p = &x->e->pairs;
    bool *done = mem_alloc(x->w->prepared->n_nodes + 1);
    for (size_t i = 0; i < 2 * p->n; i++) {
        int node = i % 2 ? p->list[i / 2].b : p->list[i / 2].a, layer = x->layer_at[node];
        struct weights_now now;
        if (!done[node] && whatif_weights_now(x->w, (size_t)layer, &now, NULL) == OK) {
            edits_add(&x->e->edits,
                      whatif_weights(x->w, (size_t)layer, &now.codes, now.per_channel, false));
        }
        done[node] = true;
    }
    free(done);
}

int whatif_equalize(const struct whatif *w, const struct study *study, const bool *layers,
                    struct equalized *out, struct err *err)
{
    *out = (struct equalized){0};
    struct equalizing x = {.w = w, .study = study, .e = out, .layer_at = layers_at(w)};
    equal_pairs_find(w->prepared, &out->pairs);
    keep_pairs(&x, layers);
    equal_pairs_solve(w->prepared, &out->pairs);
    for (size_t i = 0; i < out->pairs.n; i++) {
        add_equalize(&x, &out->pairs.list[i]);
    }
    for (size_t i = 0; i < out->pairs.n; i++) {
        add_ranges(&x, &out->pairs.list[i]);
    }
    for (size_t i = 0; i < out->pairs.n; i++) {
        add_clip(&x, &out->pairs.list[i]);
    }
    add_weights(&x);
    free(x.layer_at);
    if (!out->pairs.n) {
        equalized_fini(out);
        return err_set(err, E_SHAPE,
                       "none of these layers reads or is read by one other weighted layer alone, "
                       "joined by Relu, LeakyRelu, PRelu, Clip from 0 or nothing");
    }
    return OK;
}

void equalized_fini(struct equalized *e)
{
    equal_pairs_fini(&e->pairs);
    edits_fini(&e->edits);
    *e = (struct equalized){0};
}
