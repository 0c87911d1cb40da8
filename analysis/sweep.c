/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * sweep.c: which layers matter, judged by trials: mixed models that differ in what they compute in
 * FP32, each measured at the outputs on the same images. This file says what is to be tried, adds
 * up scores in image order and ranks; it runs nothing.
 */
#include "analysis/analysis.h"

#include <math.h>
#include <stdlib.h>

/* ---- Trials --------------------------------------------------------------------------------- */

static void trial_init(struct trial *t, size_t n_layers, size_t layer)
{
    *t = (struct trial){.layer = layer, .in_effect = true};
    t->pinned = mem_alloc(n_layers + 1);
    t->as = mem_alloc(n_layers + 1);
}

static void trial_fini(struct trial *t)
{
    free(t->pinned);
    free(t->as);
    free(t->error);
    free(t->terms);
    free(t->likeness);
    *t = (struct trial){0};
}

static void add_outcome(double sums[2], const struct outcome *o, const struct image_score *s,
                        enum side side)
{
    double x[2];
    if (s->ok && o->terms(s, side, x)) {
        sums[0] += x[0];
        sums[1] += x[1];
    }
}

/* Adds the terms of one image to the sums of all outcomes, and of the one that is judged by. */
static void add_terms(double sums[N_OUTCOMES + 1][2], const struct outcome *o,
                      const struct image_score *s, enum side side)
{
    for (size_t k = 0; k < N_OUTCOMES; k++) {
        add_outcome(sums[k], &outcomes[k], s, side);
    }
    if (outcome_is_own(o)) {
        add_outcome(sums[N_OUTCOMES], o, s, side);
    }
}

/* How like FP32's the outputs are, between 0 and 1: it moves with every pin, where hits do not. */
static double likeness(const struct image_score *s)
{
    double v = !s->ok ? 0 : isnan(s->kl) ? s->cosine : exp(-s->kl);
    return isnan(v) ? 0 : fmax(0, v);
}

void trial_add(struct trial *t, const struct outcome *o, const struct image_score *s)
{
    size_t cap = t->cap;
    t->likeness = mem_push(t->likeness, t->n, &cap, sizeof *t->likeness);
    t->likeness[t->n] = likeness(s);
    t->terms = mem_push(t->terms, t->n, &t->cap, sizeof *t->terms);
    double *x = t->terms[t->n++];
    if (!s->ok || !o->terms(s, SIDE_INT8, x)) {
        x[0] = x[1] = 0;
    }
    add_terms(t->sums, o, s, SIDE_INT8);
    t->nonfinite += s->ok ? s->nonfinite : 0;
}

double trial_value(const struct trial *t, const struct outcome *o)
{
    return o->value(t->sums[outcome_place(o)]);
}

/* ---- Sweeps --------------------------------------------------------------------------------- */

/* What a trial about the layer computes in FP32. */
static void choose_pins(const struct sweep *w, size_t layer, const bool *all, bool *pinned)
{
    for (size_t k = 0; k < w->n_layers; k++) {
        pinned[k] = w->kind == SWEEP_LOO ? w->base.pinned[k] || k == layer : all[k] && k != layer;
    }
}

struct sweep *sweep_new(enum sweep_kind kind, const struct outcome *o, size_t n_layers,
                        size_t n_rows, const size_t *rows, const bool *all, const bool *base,
                        size_t n_images, size_t *images)
{
    struct sweep *w = mem_alloc(sizeof *w);
    *w = (struct sweep){.kind = kind, .outcome = o, .n_layers = n_layers};
    w->as = mem_alloc(n_layers + 1);
    w->n_images = n_images;
    w->images = images;
    trial_init(&w->base, n_layers, SIZE_MAX);
    for (size_t k = 0; k < n_layers; k++) {
        w->base.pinned[k] = base && base[k];
    }
    bool *pinned = mem_alloc(n_layers + 1);
    for (size_t i = 0; i < n_rows; i++) {
        choose_pins(w, rows[i], all, pinned);
        sweep_try(w, rows[i], pinned);
    }
    free(pinned);
    return w;
}

void sweep_free(struct sweep *w)
{
    if (!w) {
        return;
    }
    trial_fini(&w->base);
    for (size_t i = 0; i < w->n_trials; i++) {
        trial_fini(&w->trials[i]);
    }
    free(w->trials);
    free(w->as);
    free(w->fp32_terms);
    free(w->sizes);
    free(w->images);
    free(w);
}

/* Zeros where nothing is pinned, so that equal trials have equal bytes. */
static void trial_pins_as(const struct sweep *w, struct trial *t)
{
    for (size_t k = 0; k < w->n_layers; k++) {
        t->as[k] = t->pinned[k] ? w->as[k] : (uint8_t)PREC_FP32;
    }
}

void sweep_pins_as(struct sweep *w, const uint8_t *as)
{
    for (size_t k = 0; k < w->n_layers; k++) {
        w->as[k] = as ? as[k] : (uint8_t)PREC_FP32;
    }
    trial_pins_as(w, &w->base);
    for (size_t i = 0; i < w->n_trials; i++) {
        trial_pins_as(w, &w->trials[i]);
    }
}

size_t sweep_try(struct sweep *w, size_t layer, const bool *pinned)
{
    w->trials = mem_push(w->trials, w->n_trials, &w->cap_trials, sizeof *w->trials);
    struct trial *t = &w->trials[w->n_trials];
    trial_init(t, w->n_layers, layer);
    memcpy(t->pinned, pinned, w->n_layers);
    trial_pins_as(w, t);
    return w->n_trials++;
}

static bool trial_same(const struct sweep *w, const struct trial *a, const struct trial *b)
{
    return a->layer == b->layer && !a->error && !b->error &&
           memcmp(a->pinned, b->pinned, w->n_layers) == 0 && memcmp(a->as, b->as, w->n_layers) == 0;
}

bool sweep_same(const struct sweep *a, const struct sweep *b)
{
    bool same = a->kind == b->kind && a->outcome == b->outcome && a->n_layers == b->n_layers &&
                a->n_images == b->n_images && a->top == b->top && a->doubt == b->doubt &&
                a->within == b->within && a->n_trials == b->n_trials &&
                trial_same(a, &a->base, &b->base);
    for (size_t i = 0; same && i < a->n_trials; i++) {
        same = trial_same(a, &a->trials[i], &b->trials[i]);
    }
    return same;
}

void sweep_add_base(struct sweep *w, const struct image_score *s)
{
    w->fp32_terms = mem_push(w->fp32_terms, w->base.n, &w->cap_fp32, sizeof *w->fp32_terms);
    double *x = w->fp32_terms[w->base.n];
    if (!s->ok || !w->outcome->terms(s, SIDE_FP32, x)) {
        x[0] = x[1] = 0;
    }
    trial_add(&w->base, w->outcome, s);
    add_terms(w->fp32, w->outcome, s, SIDE_FP32);
    w->failed += !s->ok;
}

void sweep_permute(struct sweep *w, const size_t *order)
{
    size_t n = w->n_images;
    struct trial *b = &w->base, old = *b;
    double(*fp32)[2] = w->fp32_terms;
    size_t *images = w->images;
    b->terms = mem_alloc((old.cap + 1) * sizeof *old.terms);
    b->likeness = mem_alloc((old.cap + 1) * sizeof *old.likeness);
    w->fp32_terms = mem_alloc((w->cap_fp32 + 1) * sizeof *fp32);
    w->images = mem_alloc((n + 1) * sizeof *images);
    for (size_t i = 0; i < n; i++) {
        w->images[i] = images[order[i]];
    }
    for (size_t i = 0; i < old.n; i++) {
        memcpy(b->terms[i], old.terms[order[i]], sizeof old.terms[0]);
        memcpy(w->fp32_terms[i], fp32[order[i]], sizeof fp32[0]);
        b->likeness[i] = old.likeness[order[i]];
    }
    free(old.terms);
    free(old.likeness);
    free(fp32);
    free(images);
}

double sweep_fp32(const struct sweep *w, const struct outcome *o)
{
    return o->value(w->fp32[outcome_place(o)]);
}

/* ---- Ranking -------------------------------------------------------------------------------- */

struct place {
    size_t index, n;
    double effect, tie; /* larger comes first */
    bool bad;
};

static int compare_down(double a, double b)
{
    int nan = isnan(a) - isnan(b);
    return nan ? nan : (a < b) - (a > b);
}

static int place_cmp(const void *pa, const void *pb)
{
    const struct place *a = pa, *b = pb;
    if (a->bad != b->bad) {
        return a->bad - b->bad;
    }
    if (a->n != b->n) {
        return a->n < b->n ? 1 : -1;
    }
    int by_effect = compare_down(a->effect, b->effect), by_tie = compare_down(a->tie, b->tie);
    return by_effect ? by_effect : by_tie ? by_tie : (a->index > b->index) - (a->index < b->index);
}

void sweep_rank(const struct sweep *w, size_t *order)
{
    struct place *p = mem_alloc((w->n_trials + 1) * sizeof *p);
    const struct outcome *tie = outcome_find("sqnr");
    const double sign = sweep_larger_first(w) ? 1 : -1, tie_sign = sweep_is_gain(w) ? 1 : -1;
    for (size_t i = 0; i < w->n_trials; i++) {
        const struct trial *t = &w->trials[i];
        p[i] = (struct place){.index = i, .n = t->n, .bad = t->error || !t->n};
        p[i].effect = sign * sweep_effect(w, t);
        p[i].tie = tie_sign * trial_value(t, tie);
    }
    if (w->kind == SWEEP_LOO || w->kind == SWEEP_ONLY || w->kind == SWEEP_SEARCH) {
        qsort(p, w->n_trials, sizeof *p, place_cmp);
    }
    for (size_t i = 0; i < w->n_trials; i++) {
        order[i] = p[i].index;
    }
    free(p);
}

size_t sweep_doubtful(const struct sweep *w, const size_t *order)
{
    size_t n = 0, top = w->top;
    if (!top || top > w->n_trials) {
        return 0;
    }
    double last = sweep_effect(w, &w->trials[order[top - 1]]);
    for (size_t i = top; i < w->n_trials; i++) {
        const struct trial *t = &w->trials[order[i]];
        double lo, hi;
        sweep_interval(w, t, &lo, &hi);
        bool behind = sweep_larger_first(w) ? hi < last : lo > last;
        n += !t->error && t->n < w->n_images && !behind;
    }
    return n;
}

/* ---- Frontier ------------------------------------------------------------------------------- */

void sweep_keep_base(struct sweep *w)
{
    size_t at = sweep_try(w, SIZE_MAX, w->base.pinned);
    struct trial *t = &w->trials[at], *b = &w->base;
    t->n = t->cap = b->n;
    t->terms = mem_alloc((b->n + 1) * sizeof *t->terms);
    memcpy(t->terms, b->terms, b->n * sizeof *t->terms);
    t->likeness = mem_alloc((b->n + 1) * sizeof *t->likeness);
    memcpy(t->likeness, b->likeness, b->n * sizeof *t->likeness);
    memcpy(t->sums, b->sums, sizeof t->sums);
    t->nonfinite = b->nonfinite;
}

struct point {
    const struct trial *t;
    size_t index;
    double cost, value; /* higher values are better */
};

static int point_cmp(const void *pa, const void *pb)
{
    const struct point *a = pa, *b = pb;
    int by_value = compare_down(a->value, b->value);
    return a->cost != b->cost ? (a->cost > b->cost) - (a->cost < b->cost)
           : by_value         ? by_value
                              : (a->index > b->index) - (a->index < b->index);
}

size_t sweep_pareto(const struct sweep *w, const double *cost, const struct trial **points)
{
    struct point *p = mem_alloc((w->n_trials + 1) * sizeof *p);
    size_t n = 0, kept = 0;
    for (size_t i = 0; i <= w->n_trials; i++) {
        const struct trial *t = i < w->n_trials ? &w->trials[i] : &w->base;
        double value = trial_value(t, w->outcome) * (w->outcome->higher_is_better ? 1 : -1);
        if (t->error || t->n < w->n_images || isnan(value) || (cost && isnan(cost[i]))) {
            continue;
        }
        p[n] = (struct point){.t = t, .index = i, .cost = cost ? cost[i] : 0, .value = value};
        for (size_t k = 0; k < w->n_layers && !cost; k++) {
            p[n].cost += t->pinned[k];
        }
        n++;
    }
    qsort(p, n, sizeof *p, point_cmp);
    double best = -INFINITY;
    for (size_t i = 0; i < n; i++) {
        if (!kept || p[i].value > best) {
            best = p[i].value;
            points[kept++] = p[i].t;
        }
    }
    free(p);
    return kept;
}
