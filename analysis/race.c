/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * race.c: a sweep for its first places alone. All trials see a few images; those that can still
 * reach the last of the places, by the spread that images have shown so far, go on to more.
 */
#include "analysis/analysis.h"

#include <math.h>
#include <stdlib.h>

void sweep_shuffle(size_t n, size_t *images)
{
    uint64_t state = 1;
    for (size_t i = n; i > 1; i--) {
        state = state * 6364136223846793005u + 1442695040888963407u; /* Knuth's MMIX */
        size_t k = (size_t)((state >> 33) % i), t = images[i - 1];
        images[i - 1] = images[k];
        images[k] = t;
    }
}

enum {
    FIRST_IMAGES = 2,
    PRIOR = 4, /* images that the spread of all trials counts as, beside those of one */
};

/* Root mean square of what is known of the spreads, from the last of the first places on: trials in
 * front are clear of the question, and may spread far more. */
static double common_spread(const struct sweep *w, const size_t *runners, size_t n)
{
    double squares = 0, known = 0;
    for (size_t i = n > w->top ? w->top - 1 : 0; i < n; i++) {
        double s = sweep_spread(w, &w->trials[runners[i]]);
        if (isfinite(s)) {
            squares += s * s;
            known++;
        }
    }
    return known > 0 ? sqrt(squares / known) : INFINITY;
}

/* Squared standard error of an effect on `seen` images as an estimate of that on all. On few images
 * the spread of one trial says little, so that of all is mixed in. */
static double error_squared(const struct sweep *w, const struct trial *t, double common,
                            size_t seen)
{
    double own = sweep_spread(w, t), n = (double)seen;
    own = isfinite(own) ? own : common;
    double variance = (own * own * (n - 1) + common * common * PRIOR) / (n - 1 + PRIOR);
    return variance / n * (1 - n / (double)w->n_images);
}

/* Marks those that go on; returns how many. runners: best first, all have seen as much. */
static size_t choose(const struct sweep *w, const size_t *runners, size_t n, size_t seen,
                     bool *next)
{
    size_t kept = 0;
    double common = common_spread(w, runners, n), sign = sweep_larger_first(w) ? 1 : -1;
    const struct trial *last = n > w->top ? &w->trials[runners[w->top - 1]] : NULL;
    double bar = last ? sign * sweep_effect(w, last) : 0;
    double error = last ? error_squared(w, last, common, seen) : 0;
    for (size_t i = 0; i < n; i++) {
        const struct trial *t = &w->trials[runners[i]];
        double reach = w->doubt * sqrt(error + error_squared(w, t, common, seen));
        bool out = last && i >= w->top && sign * sweep_effect(w, t) + reach < bar;
        next[runners[i]] = !out;
        kept += !out;
    }
    return kept;
}

size_t sweep_race(const struct sweep *w, bool *next)
{
    size_t *order = mem_alloc((w->n_trials + 1) * sizeof *order), seen = 0, n = 0;
    sweep_rank(w, order);
    for (size_t i = 0; i < w->n_trials; i++) {
        seen = w->trials[i].error ? seen : MAX(seen, w->trials[i].n);
        next[i] = false;
    }
    for (size_t i = 0; i < w->n_trials; i++) { /* others stand behind them in the order */
        const struct trial *t = &w->trials[order[i]];
        n += !t->error && t->n == seen;
    }
    size_t kept = 0, upto = 0;
    if (seen < w->n_images && !seen) {
        for (size_t i = 0; i < n; i++) {
            next[order[i]] = true;
        }
        kept = n;
        upto = FIRST_IMAGES;
    } else if (seen < w->n_images) {
        kept = choose(w, order, n, seen, next);
        /* A few too many are soon run. */
        upto = kept <= w->top + 2 ? w->n_images : seen + MAX(seen / 2, (size_t)1);
    }
    free(order);
    return kept ? MIN(upto, w->n_images) : 0;
}
