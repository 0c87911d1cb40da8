/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * effect.c: what a trial does to the outcome, on all images of a sweep and on others like them,
 * from those that it has seen.
 */
#include "analysis/analysis.h"

#include <math.h>
#include <stdlib.h>

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

/* ---- From some images to all ---------------------------------------------------------------- */

/* A trial that has seen the first images of a race, which are those that say most. */
struct partial {
    size_t n;
    double base[2], change[2]; /* sums of the base over all images, differences over those seen */
    double seen, all;          /* sizes of images */
};

bool sweep_is_partial(const struct sweep *w, const struct trial *t)
{
    return w->sizes && t->n && t->n < w->base.n;
}

static struct partial partial_of(const struct sweep *w, const struct trial *t)
{
    struct partial p = {.n = t->n};
    sum_terms(&w->base, w->base.n, p.base);
    for (size_t i = 0; i < w->base.n; i++) {
        p.all += w->sizes[i];
    }
    for (size_t i = 0; i < t->n; i++) {
        p.seen += w->sizes[i];
        p.change[0] += t->terms[i][0] - w->base.terms[i][0];
        p.change[1] += t->terms[i][1] - w->base.terms[i][1];
    }
    return p;
}

/* The effect when what the trial changes is in proportion to the sizes of images. */
static double partial_effect(const struct sweep *w, const struct partial *p)
{
    double a[2];
    for (int k = 0; k < 2; k++) {
        a[k] = fmax(0, p->base[k] + p->change[k] * p->all / p->seen);
    }
    return effect(w, a, p->base);
}

/* Squared standard error: jackknife over the images seen for that proportion, and over all images
 * for how much there is to change. */
static double partial_error(const struct sweep *w, const struct trial *t)
{
    struct partial p = partial_of(w, t);
    const double all = partial_effect(w, &p), m = (double)p.n, n = (double)w->base.n;
    double seen_squares = 0, all_squares = 0;
    for (size_t i = 0; i < w->base.n; i++) {
        struct partial x = p; /* without image i */
        bool seen = i < p.n;
        double size = w->sizes[i], off;
        x.seen -= seen ? size : 0;
        for (int k = 0; k < 2; k++) {
            x.change[k] -= seen ? t->terms[i][k] - w->base.terms[i][k] : 0;
        }
        off = seen && p.n > 1 ? (m - 1) * (all - partial_effect(w, &x)) : 0;
        seen_squares += off * off;
        x = p;
        x.all -= size;
        x.base[0] -= w->base.terms[i][0];
        x.base[1] -= w->base.terms[i][1];
        off = (n - 1) * (all - partial_effect(w, &x));
        all_squares += off * off;
    }
    return p.n > 1 ? seen_squares / (m * (m - 1)) + all_squares / (n * (n - 1)) : NAN;
}

double sweep_effect(const struct sweep *w, const struct trial *t)
{
    if (sweep_is_partial(w, t)) {
        struct partial p = partial_of(w, t);
        return partial_effect(w, &p);
    }
    size_t n = MIN(t->n, w->base.n);
    double a[2], b[2];
    sum_terms(t, n, a);
    sum_terms(&w->base, n, b);
    return effect(w, a, b);
}

/* ---- Intervals ------------------------------------------------------------------------------ */

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
    if (sweep_is_partial(w, t)) {
        mean = sweep_effect(w, t);
        half = n > 1 ? student(n - 1) * sqrt(partial_error(w, t)) : NAN;
    } else if (!w->outcome->counts) {
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
