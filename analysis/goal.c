/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * goal.c: what a set of pins is to achieve, and how likely a model that has seen some of the images
 * achieves it on all of them. Certain where the images left cannot change the answer.
 */
#include "analysis/analysis.h"

#include <math.h>

static double drop_of(const struct goal *g, double fp32, double value)
{
    return fp32 == value ? 0 : g->outcome->higher_is_better ? fp32 - value : value - fp32;
}

static bool meets(const struct goal *g, double fp32, double value)
{
    return g->is_drop                     ? drop_of(g, fp32, value) <= g->limit
           : g->outcome->higher_is_better ? value >= g->limit
                                          : value <= g->limit;
}

bool goal_met(const struct goal *g, const struct sweep *w, const struct trial *t)
{
    return meets(g, sweep_fp32(w, g->outcome), trial_value(t, g->outcome));
}

double goal_value(const struct goal *g, const struct sweep *w)
{
    double sign = g->outcome->higher_is_better ? -1 : 1;
    return g->is_drop ? sweep_fp32(w, g->outcome) + sign * g->limit : g->limit;
}

/* ---- Shares --------------------------------------------------------------------------------- */

/* Images are of four kinds, by whether FP32 and the base hit them: a trial has a rate of its own on
 * each. Before it has seen any, the rate is that of imagined images, which where FP32 and the base
 * agree follow what other trials do there. */
enum { MOST_IMAGINED = 150 };

static void imagine(const struct sweep *w, int f, int b, double x[2])
{
    static const double alone[2][2][2] = {
        /* by FP32, base: hits, misses */
        {{0.3, 5}, {1, 1}},
        {{0.5, 0.5}, {15, 0.3}},
    };
    const double *p = w->pooled[f][b];
    double n = f == b ? fmin(p[0] + p[1], 10 * MOST_IMAGINED) / 10 : 0, all = p[0] + p[1];
    x[0] = alone[f][b][0] + (n > 0 ? n * p[0] / all : 0);
    x[1] = alone[f][b][1] + (n > 0 ? n * p[1] / all : 0);
}

void goal_pool(struct sweep *w)
{
    memset(w->pooled, 0, sizeof w->pooled);
    for (size_t i = 0; i < w->n_trials && w->outcome->counts; i++) {
        const struct trial *t = &w->trials[i];
        for (size_t k = 0; k < MIN(t->n, w->base.n) && i > 0; k++) {
            double *p = w->pooled[w->fp32_terms[k][0] > 0][w->base.terms[k][0] > 0];
            p[0] += t->terms[k][0];
            p[1] += t->terms[k][1] - t->terms[k][0];
        }
    }
}

/* Hits that are expected on all images, the variance, and the numbers that are sure: hits so far
 * and images left. */
static void expect_hits(const struct sweep *w, const struct trial *t, double *mean,
                        double *variance, double *hits, double *left)
{
    double seen[2][2] = {{0}}, hit[2][2] = {{0}}, all[2][2] = {{0}};
    for (size_t i = 0; i < w->base.n; i++) {
        int f = w->fp32_terms[i][0] > 0, b = w->base.terms[i][0] > 0;
        all[f][b] += w->base.terms[i][1];
        if (i < t->n) {
            seen[f][b] += t->terms[i][1];
            hit[f][b] += t->terms[i][0];
        }
    }
    *mean = *variance = *hits = *left = 0;
    for (int k = 0; k < 4; k++) {
        int f = k / 2, b = k % 2;
        double prior[2];
        imagine(w, f, b, prior);
        double x = hit[f][b] + prior[0], y = seen[f][b] - hit[f][b] + prior[1];
        double r = fmax(0, all[f][b] - seen[f][b]), n = x + y;
        *mean += hit[f][b] + r * x / n;
        *variance += r * x * y * (n + r) / (n * n * (n + 1)); /* beta-binomial */
        *hits += hit[f][b];
        *left += r;
    }
}

/* The least number of hits that meets the goal; above the number of images when none does. */
static double hits_needed(const struct goal *g, const struct sweep *w)
{
    double n = w->base.sums[outcome_place(g->outcome)][1], h = 0;
    double fp32 = sweep_fp32(w, g->outcome);
    while (h <= n && !meets(g, fp32, g->outcome->value((const double[2]){h, n}))) {
        h++;
    }
    return h;
}

static double above(double mean, double deviation, double limit)
{
    return deviation > 0 ? 0.5 * erfc((limit - mean) / deviation / sqrt(2)) : mean >= limit;
}

/* ---- All outcomes --------------------------------------------------------------------------- */

double goal_expect(const struct goal *g, const struct sweep *w, const struct trial *t)
{
    const struct outcome *o = g->outcome;
    if (t->n >= w->n_images) {
        return trial_value(t, o);
    }
    if (o->counts) {
        double mean, variance, hits, left;
        expect_hits(w, t, &mean, &variance, &hits, &left);
        return o->value((const double[2]){mean, w->base.sums[outcome_place(o)][1]});
    }
    double gain = sweep_effect(w, t);
    return trial_value(&w->base, o) + (o->higher_is_better ? gain : -gain);
}

void goal_interval(const struct goal *g, const struct sweep *w, const struct trial *t, double *lo,
                   double *hi)
{
    const struct outcome *o = g->outcome;
    double n = w->base.sums[outcome_place(o)][1], mean, variance, hits, left, low, high;
    if (o->counts) {
        expect_hits(w, t, &mean, &variance, &hits, &left);
        *lo = o->value((const double[2]){fmax(hits, mean - 1.96 * sqrt(variance)), n});
        *hi = o->value((const double[2]){fmin(hits + left, mean + 1.96 * sqrt(variance)), n});
        return;
    }
    double base = trial_value(&w->base, o);
    sweep_interval(w, t, &low, &high);
    *lo = o->higher_is_better ? base + low : base - high;
    *hi = o->higher_is_better ? base + high : base - low;
}

double goal_chance(const struct goal *g, const struct sweep *w, const struct trial *t)
{
    if (t->error) {
        return 0;
    }
    if (t->n >= w->n_images) {
        return goal_met(g, w, t);
    }
    if (g->outcome->counts) {
        double mean, variance, hits, left, need = hits_needed(g, w);
        expect_hits(w, t, &mean, &variance, &hits, &left);
        return hits >= need ? 1 : hits + left < need ? 0 : above(mean, sqrt(variance), need - 0.5);
    }
    /* Spreads of a few images are too small as often as not. */
    double n = (double)t->n, value = goal_expect(g, w, t);
    double error = sweep_spread(w, t) / sqrt(n) * (1 + 4 / n) * sqrt(1 - n / (double)w->n_images);
    if (!isfinite(error) || !isfinite(value)) {
        return isnan(value) && t->n > 1 ? 0 : 0.5;
    }
    double sign = g->outcome->higher_is_better ? 1 : -1;
    return above(sign * value, error, sign * goal_value(g, w));
}

size_t goal_kind(const struct goal *g, const struct sweep *w, size_t image)
{
    bool fp32 = w->fp32_terms[image][0] > 0, base = w->base.terms[image][0] > 0;
    return !g->outcome->counts ? 0 : fp32 != base ? 2 : !fp32;
}
