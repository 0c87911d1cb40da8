/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * race.c: a sweep for its first places alone. Where the base's errors on the images are uneven, as
 * those of real models are, the images come in the order of these errors, since a layer can take
 * away most where there is most; else in a random order. All trials see the first
 * few; those that can still reach the last of the places go on, image by image. At the end those
 * left behind are looked at once more (race_chance.c).
 *
 * What a trial changes on an image is taken as r * size + noise, with noise in proportion to the
 * size too: r comes from the images seen, and the noise says how far the rest may be from that (the
 * ratio estimator with its model variance, as in Cochran, Sampling Techniques, chapter 6, for a
 * finite population of which the large units are measured first). Between two trials what an image
 * does to all of them cancels, so it is taken out of the noise.
 */
#include "analysis/race.h"

#include <math.h>
#include <stdlib.h>

/* ---- Images --------------------------------------------------------------------------------- */

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

struct sized {
    size_t at;
    double size;
};

static int largest_first(const void *pa, const void *pb)
{
    const struct sized *a = pa, *b = pb;
    return a->size != b->size ? (a->size < b->size ? 1 : -1) : (a->at > b->at) - (a->at < b->at);
}

/* How far the base is from FP32 on an image. */
static double base_error(const struct sweep *w, size_t i)
{
    const double *x = w->base.terms[i], *y = w->fp32_terms[i];
    double e = fabs(x[0] - y[0]) + fabs(x[1] - y[1]);
    return isfinite(e) ? e : 0;
}

bool sweep_orders(const struct sweep *w)
{
    bool fresh = true;
    for (size_t i = 0; i < w->n_trials && fresh; i++) {
        fresh = w->trials[i].n == 0;
    }
    return fresh && !w->outcome->counts && sweep_is_gain(w);
}

/* Whether the standard deviation of the base's errors is above `limit` of their mean. */
static bool spread_above(const struct sweep *w, double limit)
{
    double sum = 0, squares = 0;
    for (size_t i = 0; i < w->base.n; i++) {
        double size = base_error(w, i);
        sum += size;
        squares += size * size;
    }
    return sum > 0 && isfinite(squares) &&
           squares * (double)w->base.n > sum * sum * (1 + limit * limit);
}

/* Below this it is mostly chance which errors are large, and those images would flatter every
 * trial. */
static const double uneven = 0.3;

bool sweep_is_uneven(const struct sweep *w)
{
    /* A race that may end early has the base on all images to lose. */
    return spread_above(w, w->within > 0 ? 2 * uneven : uneven);
}

bool sweep_order(struct sweep *w, size_t *order)
{
    const double floor = 0.1; /* a small error may well grow */
    size_t n = w->base.n, all = w->n_images;
    if ((n < all && w->within == 0) || !sweep_orders(w) || !spread_above(w, uneven)) {
        return false;
    }
    struct sized *x = mem_alloc((n + 1) * sizeof *x);
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        x[i] = (struct sized){i, base_error(w, i)};
        sum += x[i].size;
    }
    qsort(x, n, sizeof *x, largest_first);
    free(w->sizes);
    w->sizes = mem_alloc((all + 1) * sizeof *w->sizes);
    for (size_t i = 0; i < all; i++) {
        order[i] = i < n ? x[i].at : i;
        w->sizes[i] = i < n ? fmax(floor, x[i].size * (double)n / sum) : 1;
    }
    sweep_permute(w, order);
    free(x);
    return true;
}

double race_size(const struct sweep *w, size_t i)
{
    return w->sizes ? w->sizes[i] : 1;
}

/* ---- What a trial may still become ---------------------------------------------------------- */

enum {
    FIRST_IMAGES = 4,
    PRIOR = 10, /* images that the noise of all trials counts as, beside those of one */
};

/* Sums of the base over all images, by those that it has seen. */
static void base_sums(const struct sweep *w, double sum[2])
{
    sum[0] = sum[1] = 0;
    for (size_t i = 0; i < w->base.n; i++) {
        sum[0] += w->base.terms[i][0];
        sum[1] += w->base.terms[i][1];
    }
    for (int i = 0; i < 2 && w->base.n < w->n_images; i++) {
        sum[i] *= (double)w->n_images / (double)w->base.n;
    }
}

/* Change of the outcome with either of its sums, larger coming first. */
static void slopes_at(const struct sweep *w, const double sum[2], double k[2])
{
    double sign = sweep_larger_first(w) ? 1 : -1;
    sign *= sweep_is_gain(w) && !w->outcome->higher_is_better ? -1 : 1;
    for (int i = 0; i < 2; i++) {
        /* At zero some outcomes are infinite. */
        double low[2] = {sum[0], sum[1]}, high[2] = {sum[0], sum[1]};
        low[i] = sum[i] != 0 ? sum[i] * (1 - 1e-4) : 1;
        high[i] = sum[i] != 0 ? sum[i] * (1 + 1e-4) : 2;
        double d = (w->outcome->value(high) - w->outcome->value(low)) / (high[i] - low[i]);
        k[i] = isfinite(d) ? sign * d : 0;
    }
}

void race_slopes(const struct sweep *w, double k[2])
{
    double sum[2];
    base_sums(w, sum);
    slopes_at(w, sum, k);
}

double race_change(const struct sweep *w, const struct trial *t, size_t i, const double k[2])
{
    const double *x = t->terms[i], *y = w->base.terms[i];
    return (k[0] * (x[0] - y[0]) + k[1] * (x[1] - y[1])) / race_size(w, i);
}

double race_sizes(const struct sweep *w, size_t a, size_t b, double *squares)
{
    double sum = *squares = 0;
    for (size_t i = a; i < b; i++) {
        sum += race_size(w, i);
        *squares += race_size(w, i) * race_size(w, i);
    }
    return sum;
}

void race_estimate(const struct sweep *w, size_t n, struct runner *r, size_t seen, bool common)
{
    double k[2], squares, size = race_sizes(w, 0, seen, &squares);
    double left = race_sizes(w, seen, w->n_images, &squares);
    double *mean = mem_alloc((n + 1) * sizeof *mean);
    race_slopes(w, k);
    for (size_t j = 0; j < n; j++) {
        double sum = 0;
        for (size_t i = 0; i < seen; i++) {
            sum += race_change(w, r[j].t, i, k) * race_size(w, i);
        }
        mean[j] = sum / size;
        r[j].effect = sum + mean[j] * left;
        r[j].noise = 0;
    }
    for (size_t i = 0; i < seen; i++) {
        double all = 0;
        for (size_t j = 0; common && j < n; j++) {
            all += (race_change(w, r[j].t, i, k) - mean[j]) / (double)n;
        }
        for (size_t j = 0; j < n; j++) {
            double e = race_change(w, r[j].t, i, k) - mean[j] - all;
            r[j].noise += e * e / (double)(seen - 1);
        }
    }
    double scale = common && n > 1 ? (double)n / (double)(n - 1) : 1;
    for (size_t j = 0; j < n; j++) {
        r[j].noise *= scale;
    }
    free(mean);
}

/* On few images the noise of one trial says little, so that of all is mixed in. What it adds
 * counts, what it takes away does not: single trials, such as those of first layers, really are far
 * noisier than the rest. */
double race_error(const struct sweep *w, const struct runner *r, double common, size_t seen)
{
    double seen2, left2, size = race_sizes(w, 0, seen, &seen2), n = (double)seen;
    double left = race_sizes(w, seen, w->n_images, &left2);
    double noise = fmax(r->noise, (r->noise * (n - 1) + common * PRIOR) / (n - 1 + PRIOR));
    return noise * (left2 + left * left * seen2 / (size * size));
}

int race_best_first(const void *pa, const void *pb)
{
    const struct runner *a = pa, *b = pb;
    return a->effect != b->effect ? (a->effect < b->effect ? 1 : -1)
                                  : (a->index > b->index) - (a->index < b->index);
}

double race_common_noise(const struct sweep *w, size_t n, const struct runner *r)
{
    size_t from = n > w->top ? w->top - 1 : 0;
    double sum = 0;
    for (size_t i = from; i < n; i++) {
        sum += r[i].noise;
    }
    return n > from ? sum / (double)(n - from) : 0;
}

double race_tolerance(const struct sweep *w, const struct trial *t)
{
    double k[2], at[2], sum[2], squares, steeper = 0;
    double all = race_sizes(w, 0, w->n_images, &squares);
    double seen = race_sizes(w, 0, t->n, &squares);
    base_sums(w, sum);
    slopes_at(w, sum, k);
    for (int j = 0; j < 2; j++) {
        double d = 0;
        for (size_t i = 0; i < t->n; i++) {
            d += t->terms[i][j] - w->base.terms[i][j];
        }
        sum[j] = fmax(0, sum[j] + d * all / seen);
    }
    slopes_at(w, sum, at);
    for (int j = 0; j < 2; j++) {
        steeper = k[j] != 0 ? fmax(steeper, at[j] / k[j]) : steeper;
    }
    return steeper > 0 ? w->within / steeper : w->within;
}

/* ---- The race ------------------------------------------------------------------------------- */

/* Marks those that go on; returns how many. */
static size_t choose(const struct sweep *w, size_t n, struct runner *r, size_t seen, bool *next)
{
    race_estimate(w, n, r, seen, n > PRIOR);
    qsort(r, n, sizeof *r, race_best_first);
    double common = race_common_noise(w, n, r);
    const struct runner *last = n > w->top ? &r[w->top - 1] : NULL;
    double error = last ? race_error(w, last, common, seen) : 0;
    double bar = last ? last->effect + race_tolerance(w, last->t) : 0;
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        double reach = w->doubt * sqrt(error + race_error(w, &r[i], common, seen));
        bool out = last && i >= w->top && r[i].effect + reach < bar;
        next[r[i].index] = !out;
        kept += !out;
    }
    return kept;
}

size_t sweep_race(const struct sweep *w, bool *next)
{
    struct runner *r = mem_alloc((w->n_trials + 1) * sizeof *r);
    size_t seen = 0, n = 0, kept = 0, upto = 0;
    for (size_t i = 0; i < w->n_trials; i++) {
        seen = w->trials[i].error ? seen : MAX(seen, w->trials[i].n);
        next[i] = false;
    }
    for (size_t i = 0; i < w->n_trials; i++) {
        if (!w->trials[i].error && w->trials[i].n == seen) {
            r[n++] = (struct runner){.t = &w->trials[i], .index = i};
        }
    }
    if (seen < MIN((size_t)FIRST_IMAGES, w->n_images)) {
        for (size_t i = 0; i < n; i++) {
            next[r[i].index] = true;
        }
        kept = n;
        upto = FIRST_IMAGES;
    } else if (seen < w->n_images) {
        kept = choose(w, n, r, seen, next);
        /* A few too many are soon run. */
        const bool all = w->within == 0 && kept <= w->top + 2;
        upto = all ? w->n_images : seen + MAX(seen * 3 / 20, (size_t)1);
        kept = w->within > 0 && kept <= w->top ? 0 : kept;
    }
    free(r);
    if (!kept && n) {
        upto = seen;
        kept = race_second_chance(w, seen, next);
    }
    return kept ? MIN(upto, w->n_images) : 0;
}
