/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * race_chance.c: what a race may have missed: the chances of trials left behind that they belong to
 * the first places.
 */
#include "analysis/race.h"

#include <math.h>
#include <stdlib.h>

static int by_images(const void *pa, const void *pb)
{
    const struct runner *a = pa, *b = pb;
    return a->t->n != b->t->n ? (a->t->n > b->t->n) - (a->t->n < b->t->n)
                              : (a->index > b->index) - (a->index < b->index);
}

/* What n trials that have seen as many images change on each of them, in the mean, and so on the
 * images behind those. */
static double *mean_change(const struct sweep *w, size_t n, const struct runner *r)
{
    double *mean = mem_alloc((w->n_images + 1) * sizeof *mean), k[2], squares, sum = 0;
    const size_t seen = r->t->n;
    race_slopes(w, k);
    for (size_t i = 0; i < seen; i++) {
        for (size_t j = 0; j < n; j++) {
            mean[i] += race_change(w, r[j].t, i, k) / (double)n;
        }
        sum += mean[i] * race_size(w, i);
    }
    for (size_t i = seen; i < w->n_images; i++) {
        mean[i] = sum / race_sizes(w, 0, seen, &squares);
    }
    return mean;
}

/* Effect and noise of a trial by its difference to `known`, if that is less noisy: an image that is
 * hard for all trials is then no surprise. */
static void compare_with(const struct sweep *w, const double *known, struct runner *r)
{
    size_t seen = r->t->n;
    double k[2], sum = 0, noise = 0, rest = 0, squares, size = race_sizes(w, 0, seen, &squares);
    race_slopes(w, k);
    for (size_t i = 0; i < seen; i++) {
        sum += (race_change(w, r->t, i, k) - known[i]) * race_size(w, i);
    }
    for (size_t i = 0; i < seen; i++) {
        double e = race_change(w, r->t, i, k) - known[i] - sum / size;
        noise += e * e / (double)(seen - 1);
    }
    if (noise >= r->noise) {
        return;
    }
    for (size_t i = 0; i < w->n_images; i++) {
        rest += (i < seen ? race_change(w, r->t, i, k) : known[i] + sum / size) * race_size(w, i);
    }
    r->effect = rest;
    r->noise = noise;
}

/* Effects and errors of n trials that went out after as many images. */
static void look_back(const struct sweep *w, size_t n, struct runner *r, const double *known)
{
    size_t seen = r->t->n;
    double common = 0;
    race_estimate(w, n, r, seen, false);
    for (size_t i = 0; i < n; i++) {
        compare_with(w, known, &r[i]);
        common += r[i].noise / (double)n;
    }
    for (size_t i = 0; i < n; i++) {
        r[i].error = race_error(w, &r[i], common, seen);
    }
}

static double median_distance(size_t n, const struct runner *r, double from)
{
    struct runner *x = mem_alloc((n + 1) * sizeof *x);
    for (size_t i = 0; i < n; i++) {
        x[i].effect = isnan(from) ? r[i].effect : fabs(r[i].effect - from);
    }
    qsort(x, n, sizeof *x, race_best_first);
    double median = x[n / 2].effect;
    free(x);
    return median;
}

/* Probability that Student's t with that many degrees of freedom lies above x: by a normal deviate
 * (Wallace 1959). With three it is 7 % too large at 0.01 and 20 % at 0.001, with more less. */
static double student_above(double x, double freedom)
{
    double z = sqrt(freedom * log1p(x * x / freedom)) * (8 * freedom + 1) / (8 * freedom + 3);
    double p = 0.5 * erfc(z / sqrt(2));
    return x < 0 ? 1 - p : p;
}

/* Expected number of n trials above the bar, those from `in` to `end` left out. Effects are taken
 * as drawn from those of all trials, so that a surprising one counts as noise in part (empirical
 * Bayes, normal, median and median deviation of all: a few of them stand far out); the noise comes
 * from the few images that the trial has seen, hence Student's t. error: of the bar. */
static double above(size_t n, struct runner *r, size_t in, size_t end, double bar, double error)
{
    double middle = median_distance(n, r, NAN), errors = 0, sum = 0;
    double spread = 1.4826 * median_distance(n, r, middle);
    for (size_t i = 0; i < n; i++) {
        errors += r[i].error / (double)n;
    }
    spread = fmax(spread * spread - errors, 0.1 * errors);
    for (size_t i = 0; i < n; i++) {
        if (i >= in && i < end) {
            continue;
        }
        double share = r[i].error > 0 ? spread / (spread + r[i].error) : 1;
        double likely = middle + share * (r[i].effect - middle), v = share * r[i].error + error;
        r[i].chance =
            v > 0 ? student_above((bar - likely) / sqrt(v), (double)r[i].t->n - 1) : likely > bar;
        sum += r[i].chance;
    }
    return sum;
}

/* Of n trials by the images that they have seen, those from `in` on all that the race has got to,
 * how many others are to be expected among the first places. */
static double missing(const struct sweep *w, size_t n, struct runner *r, size_t in)
{
    struct runner *last = r + in + w->top - 1;
    const size_t seen = last->t->n;
    race_estimate(w, n - in, r + in, seen, n - in > 1);
    qsort(r + in, n - in, sizeof *r, race_best_first);
    double common = race_common_noise(w, n - in, r + in);
    for (size_t i = in; i < n; i++) {
        r[i].error = race_error(w, &r[i], common, seen);
    }
    double *known = mean_change(w, n - in, r + in);
    for (size_t a = 0, b; a < in; a = b) {
        for (b = a; b < in && r[b].t->n == r[a].t->n; b++) {
        }
        look_back(w, b - a, r + a, known);
    }
    free(known);
    return above(n, r, in, in + w->top, last->effect + race_tolerance(w, last->t), last->error);
}

/* The trials of w that have no error, with their chances; returns how many. *sum: of those. */
static size_t chances(const struct sweep *w, struct runner *r, double *sum)
{
    size_t n = 0, in = 0;
    for (size_t i = 0; i < w->n_trials; i++) {
        if (!w->trials[i].error) {
            r[n++] = (struct runner){.t = &w->trials[i], .index = i};
        }
    }
    qsort(r, n, sizeof *r, by_images);
    const size_t seen = n ? r[n - 1].t->n : 0;
    while (in < n && r[in].t->n < seen) {
        in++;
    }
    *sum = 0;
    if (w->top && n > w->top) {
        const bool over = seen == w->n_images || w->within > 0;
        *sum = over && n - in >= w->top && r->t->n > 1 ? missing(w, n, r, in) : NAN;
    }
    return n;
}

double sweep_missed(const struct sweep *w)
{
    struct runner *r = mem_alloc((w->n_trials + 1) * sizeof *r);
    double sum;
    chances(w, r, &sum);
    free(r);
    return sum;
}

size_t race_second_chance(const struct sweep *w, size_t seen, bool *next)
{
    struct runner *r = mem_alloc((w->n_trials + 1) * sizeof *r);
    const double worth = 0.1; /* of a chance */
    double sum;
    size_t n = chances(w, r, &sum), again = 0;
    for (size_t i = 0; i < w->n_trials; i++) {
        next[i] = false;
    }
    for (size_t i = 0; i < n; i++) {
        next[r[i].index] = r[i].t->n < seen && r[i].chance >= worth;
        again += next[r[i].index];
    }
    free(r);
    return again;
}
