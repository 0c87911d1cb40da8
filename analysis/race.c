/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * race.c: a sweep for its first places alone. Where the base's errors on the images are uneven, as
 * those of real models are, the images come in the order of these errors, since a layer can take
 * away most where there is most; else in a random order. All trials see the first
 * few; those that can still reach the last of the places go on, image by image.
 *
 * What a trial changes on an image is taken as r * size + noise, with noise in proportion to the
 * size too: r comes from the images seen, and the noise says how far the rest may be from that (the
 * ratio estimator with its model variance, as in Cochran, Sampling Techniques, chapter 6, for a
 * finite population of which the large units are measured first). Between two trials what an image
 * does to all of them cancels, so it is taken out of the noise.
 */
#include "analysis/analysis.h"

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

bool sweep_is_uneven(const struct sweep *w)
{
    const double uneven = 0.3; /* standard deviation over mean: below it is mostly chance which
                                  errors are large, and those images would flatter every trial */
    double sum = 0, squares = 0;
    for (size_t i = 0; i < w->base.n; i++) {
        double size = base_error(w, i);
        sum += size;
        squares += size * size;
    }
    return sum > 0 && isfinite(squares) &&
           squares * (double)w->base.n > sum * sum * (1 + uneven * uneven);
}

bool sweep_order(struct sweep *w, size_t *order)
{
    const double floor = 0.1; /* a small error may well grow */
    size_t n = w->base.n;
    struct sized *x = mem_alloc((n + 1) * sizeof *x);
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        x[i] = (struct sized){i, base_error(w, i)};
        sum += x[i].size;
    }
    bool sized = n == w->n_images && sweep_orders(w) && sweep_is_uneven(w);
    if (sized) {
        qsort(x, n, sizeof *x, largest_first);
        free(w->sizes);
        w->sizes = mem_alloc((n + 1) * sizeof *w->sizes);
        for (size_t i = 0; i < n; i++) {
            order[i] = x[i].at;
            w->sizes[i] = fmax(floor, x[i].size * (double)n / sum);
        }
        sweep_permute(w, order);
    }
    free(x);
    return sized;
}

static double size_of(const struct sweep *w, size_t i)
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

static void slopes(const struct sweep *w, double k[2])
{
    double sum[2];
    base_sums(w, sum);
    slopes_at(w, sum, k);
}

struct runner {
    const struct trial *t;
    size_t index;  /* of the trial */
    double effect; /* what it changes on all images, as far as known, by the slopes at the base:
                      larger is better */
    double noise;  /* variance of the noise over size^2 */
    double error;  /* squared standard error of the effect, once it is asked for */
};

/* Change on image i in proportion to the size of the image. */
static double change(const struct sweep *w, const struct trial *t, size_t i, const double k[2])
{
    const double *x = t->terms[i], *y = w->base.terms[i];
    return (k[0] * (x[0] - y[0]) + k[1] * (x[1] - y[1])) / size_of(w, i);
}

/* Sums of sizes and of their squares, over images from a to b. */
static double sizes_between(const struct sweep *w, size_t a, size_t b, double *squares)
{
    double sum = *squares = 0;
    for (size_t i = a; i < b; i++) {
        sum += size_of(w, i);
        *squares += size_of(w, i) * size_of(w, i);
    }
    return sum;
}

/* Fills in effects and noise of runners that have all seen as many images. common: an image does
 * something to all of them, which is no noise between them. */
static void estimate(const struct sweep *w, size_t n, struct runner *r, size_t seen, bool common)
{
    double k[2], squares, size = sizes_between(w, 0, seen, &squares);
    double left = sizes_between(w, seen, w->n_images, &squares);
    double *mean = mem_alloc((n + 1) * sizeof *mean);
    slopes(w, k);
    for (size_t j = 0; j < n; j++) {
        double sum = 0;
        for (size_t i = 0; i < seen; i++) {
            sum += change(w, r[j].t, i, k) * size_of(w, i);
        }
        mean[j] = sum / size;
        r[j].effect = sum + mean[j] * left;
        r[j].noise = 0;
    }
    for (size_t i = 0; i < seen; i++) {
        double all = 0;
        for (size_t j = 0; common && j < n; j++) {
            all += (change(w, r[j].t, i, k) - mean[j]) / (double)n;
        }
        for (size_t j = 0; j < n; j++) {
            double e = change(w, r[j].t, i, k) - mean[j] - all;
            r[j].noise += e * e / (double)(seen - 1);
        }
    }
    double scale = common && n > 1 ? (double)n / (double)(n - 1) : 1;
    for (size_t j = 0; j < n; j++) {
        r[j].noise *= scale;
    }
    free(mean);
}

/* Squared standard error of an effect. On few images the noise of one trial says little, so that of
 * all is mixed in. What it adds counts, what it takes away does not: single trials, such as those
 * of first layers, really are far noisier than the rest. */
static double error_squared(const struct sweep *w, const struct runner *r, double common,
                            size_t seen)
{
    double seen2, left2, size = sizes_between(w, 0, seen, &seen2), n = (double)seen;
    double left = sizes_between(w, seen, w->n_images, &left2);
    double noise = fmax(r->noise, (r->noise * (n - 1) + common * PRIOR) / (n - 1 + PRIOR));
    return noise * (left2 + left * left * seen2 / (size * size));
}

static int best_first(const void *pa, const void *pb)
{
    const struct runner *a = pa, *b = pb;
    return a->effect != b->effect ? (a->effect < b->effect ? 1 : -1)
                                  : (a->index > b->index) - (a->index < b->index);
}

/* Mean noise from the last of the first places on: trials in front may be far noisier. */
static double common_noise(const struct sweep *w, size_t n, const struct runner *r)
{
    size_t from = n > w->top ? w->top - 1 : 0;
    double sum = 0;
    for (size_t i = from; i < n; i++) {
        sum += r[i].noise;
    }
    return n > from ? sum / (double)(n - from) : 0;
}

/* How much of an effect w->within is beside a trial. Where that has taken away most of the error,
 * the same change makes more decibels than at the base, whose slopes effects are in. */
static double tolerance(const struct sweep *w, const struct trial *t)
{
    double k[2], at[2], sum[2], squares, steeper = 0;
    double all = sizes_between(w, 0, w->n_images, &squares);
    double seen = sizes_between(w, 0, t->n, &squares);
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
    estimate(w, n, r, seen, n > PRIOR);
    qsort(r, n, sizeof *r, best_first);
    double common = common_noise(w, n, r);
    const struct runner *last = n > w->top ? &r[w->top - 1] : NULL;
    double error = last ? error_squared(w, last, common, seen) : 0;
    double bar = last ? last->effect + tolerance(w, last->t) : 0;
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        double reach = w->doubt * sqrt(error + error_squared(w, &r[i], common, seen));
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
    return kept ? MIN(upto, w->n_images) : 0;
}

/* ---- What it may have missed ---------------------------------------------------------------- */

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
    slopes(w, k);
    for (size_t i = 0; i < seen; i++) {
        for (size_t j = 0; j < n; j++) {
            mean[i] += change(w, r[j].t, i, k) / (double)n;
        }
        sum += mean[i] * size_of(w, i);
    }
    for (size_t i = seen; i < w->n_images; i++) {
        mean[i] = sum / sizes_between(w, 0, seen, &squares);
    }
    return mean;
}

/* Effect and noise of a trial by its difference to `known`, if that is less noisy: an image that is
 * hard for all trials is then no surprise. */
static void compare_with(const struct sweep *w, const double *known, struct runner *r)
{
    size_t seen = r->t->n;
    double k[2], sum = 0, noise = 0, rest = 0, squares, size = sizes_between(w, 0, seen, &squares);
    slopes(w, k);
    for (size_t i = 0; i < seen; i++) {
        sum += (change(w, r->t, i, k) - known[i]) * size_of(w, i);
    }
    for (size_t i = 0; i < seen; i++) {
        double e = change(w, r->t, i, k) - known[i] - sum / size;
        noise += e * e / (double)(seen - 1);
    }
    if (noise >= r->noise) {
        return;
    }
    for (size_t i = 0; i < w->n_images; i++) {
        rest += (i < seen ? change(w, r->t, i, k) : known[i] + sum / size) * size_of(w, i);
    }
    r->effect = rest;
    r->noise = noise;
}

/* Effects and errors of n trials that went out after as many images. */
static void look_back(const struct sweep *w, size_t n, struct runner *r, const double *known)
{
    size_t seen = r->t->n;
    double common = 0;
    estimate(w, n, r, seen, false);
    for (size_t i = 0; i < n; i++) {
        compare_with(w, known, &r[i]);
        common += r[i].noise / (double)n;
    }
    for (size_t i = 0; i < n; i++) {
        r[i].error = error_squared(w, &r[i], common, seen);
    }
}

static double median_distance(size_t n, const struct runner *r, double from)
{
    struct runner *x = mem_alloc((n + 1) * sizeof *x);
    for (size_t i = 0; i < n; i++) {
        x[i].effect = isnan(from) ? r[i].effect : fabs(r[i].effect - from);
    }
    qsort(x, n, sizeof *x, best_first);
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
static double above(size_t n, const struct runner *r, size_t in, size_t end, double bar,
                    double error)
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
        sum +=
            v > 0 ? student_above((bar - likely) / sqrt(v), (double)r[i].t->n - 1) : likely > bar;
    }
    return sum;
}

/* Of n trials by the images that they have seen, those from `in` on all that the race has got to,
 * how many others are to be expected among the first places. */
static double missing(const struct sweep *w, size_t n, struct runner *r, size_t in)
{
    struct runner *last = r + in + w->top - 1;
    const size_t seen = last->t->n;
    estimate(w, n - in, r + in, seen, n - in > 1);
    qsort(r + in, n - in, sizeof *r, best_first);
    double common = common_noise(w, n - in, r + in);
    for (size_t i = in; i < n; i++) {
        r[i].error = error_squared(w, &r[i], common, seen);
    }
    double *known = mean_change(w, n - in, r + in);
    for (size_t a = 0, b; a < in; a = b) {
        for (b = a; b < in && r[b].t->n == r[a].t->n; b++) {
        }
        look_back(w, b - a, r + a, known);
    }
    free(known);
    return above(n, r, in, in + w->top, last->effect + tolerance(w, last->t), last->error);
}

double sweep_missed(const struct sweep *w)
{
    struct runner *r = mem_alloc((w->n_trials + 1) * sizeof *r);
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
    double sum = 0;
    if (w->top && n > w->top) {
        const bool over = seen == w->n_images || w->within > 0;
        sum = over && n - in >= w->top && r->t->n > 1 ? missing(w, n, r, in) : NAN;
    }
    free(r);
    return sum;
}
