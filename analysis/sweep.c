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

void trial_init(struct trial *t, size_t n_layers, size_t layer)
{
    *t = (struct trial){.layer = layer, .in_effect = true};
    t->pinned = mem_alloc(n_layers + 1);
}

void trial_fini(struct trial *t)
{
    free(t->pinned);
    free(t->error);
    free(t->terms);
    free(t->likeness);
    *t = (struct trial){0};
}

/* Adds the terms of one image to the sums of all outcomes. */
static void add_terms(double sums[N_OUTCOMES][2], const struct image_score *s, enum side side)
{
    double x[2];
    for (size_t k = 0; k < N_OUTCOMES && s->ok; k++) {
        if (outcomes[k].terms(s, side, x)) {
            sums[k][0] += x[0];
            sums[k][1] += x[1];
        }
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
    add_terms(t->sums, s, SIDE_INT8);
    t->nonfinite += s->ok ? s->nonfinite : 0;
}

double trial_value(const struct trial *t, const struct outcome *o)
{
    return o->value(t->sums[o - outcomes]);
}

/* ---- Sweeps --------------------------------------------------------------------------------- */

/* What a trial about the layer computes in FP32. */
static void choose_pins(const struct sweep *w, size_t layer, const bool *all, bool *pinned)
{
    for (size_t k = 0; k < w->n_layers; k++) {
        pinned[k] = w->kind == SWEEP_LOO    ? w->base.pinned[k] || k == layer
                    : w->kind == SWEEP_ONLY ? all[k] && k != layer
                                            : all[k] && k > layer;
    }
}

struct sweep *sweep_new(enum sweep_kind kind, const struct outcome *o, size_t n_layers,
                        size_t n_rows, const size_t *rows, const bool *all, const bool *base,
                        size_t n_images, size_t *images)
{
    struct sweep *w = mem_alloc(sizeof *w);
    *w = (struct sweep){.kind = kind, .outcome = o, .n_layers = n_layers};
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
    free(w->fp32_terms);
    free(w->images);
    free(w);
}

size_t sweep_try(struct sweep *w, size_t layer, const bool *pinned)
{
    w->trials = mem_push(w->trials, w->n_trials, &w->cap_trials, sizeof *w->trials);
    struct trial *t = &w->trials[w->n_trials];
    trial_init(t, w->n_layers, layer);
    memcpy(t->pinned, pinned, w->n_layers);
    return w->n_trials++;
}

void sweep_add_base(struct sweep *w, const struct image_score *s)
{
    w->fp32_terms = mem_push(w->fp32_terms, w->base.n, &w->cap_fp32, sizeof *w->fp32_terms);
    double *x = w->fp32_terms[w->base.n];
    if (!s->ok || !w->outcome->terms(s, SIDE_FP32, x)) {
        x[0] = x[1] = 0;
    }
    trial_add(&w->base, w->outcome, s);
    add_terms(w->fp32, s, SIDE_FP32);
    w->failed += !s->ok;
}

double sweep_fp32(const struct sweep *w, const struct outcome *o)
{
    return o->value(w->fp32[o - outcomes]);
}

/* ---- Effects -------------------------------------------------------------------------------- */

static void sum_terms(const struct trial *t, size_t n, double sum[2])
{
    sum[0] = sum[1] = 0;
    for (size_t i = 0; i < n; i++) {
        sum[0] += t->terms[i][0];
        sum[1] += t->terms[i][1];
    }
}

bool sweep_is_gain(const struct sweep *w)
{
    return w->kind == SWEEP_LOO || w->kind == SWEEP_SEARCH;
}

/* a: sums of the trial, b: of the base. */
static double effect(const struct sweep *w, const double a[2], const double b[2])
{
    const struct outcome *o = w->outcome;
    double x = o->value(a), y = o->value(b);
    return !sweep_is_gain(w)     ? x
           : x == y              ? 0 /* infinities too */
           : o->higher_is_better ? x - y
                                 : y - x;
}

double sweep_effect(const struct sweep *w, const struct trial *t)
{
    size_t n = MIN(t->n, w->base.n);
    double a[2], b[2];
    sum_terms(t, n, a);
    sum_terms(&w->base, n, b);
    return effect(w, a, b);
}

bool sweep_larger_first(const struct sweep *w)
{
    return sweep_is_gain(w) || !w->outcome->higher_is_better;
}

/* Quantile 0.975 of Student's t: exact for one and two degrees of freedom, else the expansion of
 * Cornish and Fisher (Abramowitz and Stegun 26.7.5), too low by 0.2 % at three. */
static double student(size_t df)
{
    const double z = 1.959963984540054, v = (double)df, z2 = z * z;
    if (df < 3) {
        return df == 1 ? 12.706204736174698 : 4.302652729749464;
    }
    double g1 = (z2 + 1) * z / 4, g2 = ((5 * z2 + 16) * z2 + 3) * z / 96;
    double g3 = (((3 * z2 + 19) * z2 + 17) * z2 - 15) * z / 384;
    double g4 = ((((79 * z2 + 776) * z2 + 1482) * z2 - 1920) * z2 - 945) * z / 92160;
    return z + g1 / v + g2 / (v * v) + g3 / (v * v * v) + g4 / (v * v * v * v);
}

/* Whether image i counts in both. */
static bool counted(const struct trial *a, const struct trial *b, size_t i)
{
    return a->terms[i][1] > 0 || b->terms[i][1] > 0 || a->terms[i][0] > 0 || b->terms[i][0] > 0;
}

/* Mean and variance of the jackknife's pseudo-values of the first n images, and their number. */
static size_t jackknife(const struct sweep *w, const struct trial *t, size_t n, double *mean,
                        double *variance)
{
    double a[2], b[2], sum = 0, squares = 0;
    size_t count = 0;
    sum_terms(t, n, a);
    sum_terms(&w->base, n, b);
    double all = effect(w, a, b);
    for (size_t i = 0; i < n; i++) {
        count += counted(t, &w->base, i);
    }
    for (size_t i = 0; i < n; i++) {
        if (!counted(t, &w->base, i)) {
            continue;
        }
        const double *x = t->terms[i], *y = w->base.terms[i];
        const double without_a[2] = {a[0] - x[0], a[1] - x[1]};
        const double without_b[2] = {b[0] - y[0], b[1] - y[1]};
        double d = effect(w, without_a, without_b);
        double off = (double)(count - 1) * (all - d); /* pseudo-value - all */
        sum += off;
        squares += off * off;
    }
    double m = (double)count;
    *mean = all + sum / m;
    *variance = count > 1 ? fmax(0, squares / m - sum / m * (sum / m)) * m / (m - 1) : NAN;
    return count;
}

/* Mean and variance of the difference of paired shares: half a pair is added to each of the four
 * cells of the table of pairs. Returns the number of pairs with those. */
static double paired_shares(const struct sweep *w, const struct trial *t, size_t n, double *mean,
                            double *variance)
{
    double won = 0.5, lost = 0.5, pairs = 2;
    for (size_t i = 0; i < n; i++) {
        double d = t->terms[i][0] - w->base.terms[i][0];
        pairs += t->terms[i][1];
        won += d > 0;
        lost += d < 0;
    }
    *mean = (won - lost) / pairs;
    *variance = fmax(0, (won + lost) / pairs - *mean * *mean);
    return pairs;
}

/* The same of one share: two hits and two misses are added. */
static double one_share(const struct trial *t, size_t n, double *mean, double *variance)
{
    double sum[2];
    sum_terms(t, n, sum);
    *mean = (sum[0] + 2) / (sum[1] + 4);
    *variance = *mean * (1 - *mean);
    return sum[1] + 4;
}

void sweep_interval(const struct sweep *w, const struct trial *t, double *lo, double *hi)
{
    size_t n = MIN(t->n, w->base.n);
    double mean, variance, half = NAN;
    if (!w->outcome->counts) {
        size_t m = jackknife(w, t, n, &mean, &variance);
        half = m > 1 ? student(m - 1) * sqrt(variance / (double)m) : NAN;
    } else {
        bool gain = sweep_is_gain(w);
        double m =
            (gain ? paired_shares(w, t, n, &mean, &variance) : one_share(t, n, &mean, &variance));
        mean *= 100;
        half = m - (gain ? 2 : 4) > 1 ? 100 * student(SIZE_MAX) * sqrt(variance / m) : NAN;
    }
    *lo = mean - half;
    *hi = mean + half;
}

double sweep_spread(const struct sweep *w, const struct trial *t)
{
    size_t n = MIN(t->n, w->base.n);
    double mean, variance;
    if (!w->outcome->counts) {
        jackknife(w, t, n, &mean, &variance);
    } else if (sweep_is_gain(w)) {
        paired_shares(w, t, n, &mean, &variance);
    } else {
        one_share(t, n, &mean, &variance);
    }
    return sqrt(variance) * (w->outcome->counts ? 100 : 1);
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
    if (w->kind != SWEEP_PREFIX && w->kind != SWEEP_BISECT) {
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
    size_t pins, index;
    double value; /* higher is better */
};

static int point_cmp(const void *pa, const void *pb)
{
    const struct point *a = pa, *b = pb;
    int by_value = compare_down(a->value, b->value);
    return a->pins != b->pins ? (a->pins > b->pins) - (a->pins < b->pins)
           : by_value         ? by_value
                              : (a->index > b->index) - (a->index < b->index);
}

size_t sweep_pareto(const struct sweep *w, const struct trial **points)
{
    struct point *p = mem_alloc((w->n_trials + 1) * sizeof *p);
    size_t n = 0, kept = 0;
    for (size_t i = 0; i <= w->n_trials; i++) {
        const struct trial *t = i < w->n_trials ? &w->trials[i] : &w->base;
        double value = trial_value(t, w->outcome) * (w->outcome->higher_is_better ? 1 : -1);
        if (t->error || t->n < w->n_images || isnan(value)) {
            continue;
        }
        p[n] = (struct point){.t = t, .index = i, .value = value};
        for (size_t k = 0; k < w->n_layers; k++) {
            p[n].pins += t->pinned[k];
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
