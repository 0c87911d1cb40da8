/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * calibrate.c: how a range of reals follows from what was observed: the table of methods. Bins of a
 * histogram that are folded count |x|: those of x and -x are one.
 */
#include "analysis/analysis.h"

#include <math.h>
#include <stdlib.h>

enum { HALF = HIST_BINS / 2 };

static int bits_of(enum dtype d)
{
    int64_t lo, hi;
    dtype_range(d, &lo, &hi);
    return (int)lround(log2((double)(hi - lo + 1)));
}

static void fold(const struct hist *h, uint64_t folded[HALF])
{
    for (int i = 0; i < HALF; i++) {
        folded[i] = h->bin[HALF + i] + h->bin[HALF - 1 - i];
    }
}

/* The part of [-t, t] that holds values. */
static void within(const struct observation *o, double t, double r[2])
{
    r[0] = fmin(fmax(-t, o->lo), t);
    r[1] = fmax(fmin(t, o->hi), -t);
}

/* ---- Extremes ------------------------------------------------------------------------------- */

static void choose_minmax(const struct observation *o, const struct range_goal *g, double r[2])
{
    (void)g;
    r[0] = o->lo;
    r[1] = o->hi;
}

static void choose_average(const struct observation *o, const struct range_goal *g, double r[2])
{
    (void)g;
    r[0] = o->lo_sum / (double)o->images;
    r[1] = o->hi_sum / (double)o->images;
}

/* The percentile of |x| as the bins tell it. */
static double binned_percentile(const struct hist *h, double percentile)
{
    uint64_t folded[HALF], below = 0;
    fold(h, folded);
    double want = percentile / 100 * (double)h->n;
    int i = 0;
    while (i < HALF - 1 && (double)(below + folded[i]) < want) {
        below += folded[i++];
    }
    double part = folded[i] ? (want - (double)below) / (double)folded[i] : 1;
    return h->width * (i + part);
}

static void choose_percentile(const struct observation *o, const struct range_goal *g, double r[2])
{
    enum { STEPS = 2048 };
    double above = (double)o->n - ceil(g->percentile / 100 * (double)o->n);
    double t = o->tail ? tail_rank(o->tail, (uint64_t)above + 1) : NAN;
    if (isnan(t)) {
        t = binned_percentile(o->hist, g->percentile);
    } else { /* the end of a bin, as onnxruntime's collector has them */
        double least = (double)o->tail->least, most = fmax(-o->lo, o->hi);
        double step = (most - least) / STEPS;
        t = step > 0 ? least + step * fmin(floor((t - least) / step), STEPS - 1) : t;
    }
    within(o, t, r);
}

static double noise_of(const struct observation *o, const struct range_goal *g, const double r[2])
{
    float scale;
    int32_t zero;
    codes_params(&g->codes, r[0], r[1], &scale, &zero);
    return observation_noise(o, g->codes.dtype, scale, zero);
}

/* ---- Entropy -------------------------------------------------------------------------------- */

/* Divergence of the first n bins, what lies beyond counted in the last, from the same in `levels`
 * groups spread evenly over the bins that are not empty. INFINITY where a bin that is full becomes
 * empty. */
static double divergence(const uint64_t *bins, int n, int levels, uint64_t beyond)
{
    double total = (double)beyond, kept = 0, kl = 0;
    for (int i = 0; i < n; i++) {
        kept += (double)bins[i];
    }
    total += kept;
    for (int i = 0, end; i < n; i = end) {
        double sum = 0;
        int full = 0, level = i * levels / n;
        for (end = i; end < n && end * levels / n == level; end++) {
            sum += (double)bins[end];
            full += bins[end] > 0;
        }
        for (int k = i; k < end; k++) {
            double p = ((double)bins[k] + (k == n - 1 ? (double)beyond : 0)) / total;
            double q = bins[k] ? sum / full / kept : 0;
            if (p > 0 && q == 0) {
                return INFINITY;
            }
            kl += p > 0 ? p * log(p / q) : 0;
        }
    }
    return kl;
}

/* Levels that the codes have for |x|: on the longer side of the range that they are spread over. */
static int levels_of(const struct observation *o, const struct code_choice *c)
{
    double lo = fmin(o->lo, 0), hi = fmax(o->hi, 0);
    double part = c->symmetric || hi == lo ? 0.5 : fmax(-lo, hi) / (hi - lo);
    return MAX((int)fmin(exp2(bits_of(c->dtype)) * part, HALF), 1);
}

static void choose_entropy(const struct observation *o, const struct range_goal *g, double r[2])
{
    uint64_t folded[HALF], beyond = 0;
    fold(o->hist, folded);
    folded[0] -= MIN(o->zeros, folded[0]); /* they have a code of their own, whatever the range */
    int n = HALF, levels = levels_of(o, &g->codes);
    while (n > 1 && !folded[n - 1]) {
        n--;
    }
    double least = INFINITY, whole;
    choose_minmax(o, g, r);
    whole = noise_of(o, g, r);
    for (int k = n; k >= levels; k--) {
        double d = divergence(folded, k, levels, beyond), t[2];
        within(o, k == n ? fmax(-o->lo, o->hi) : o->hist->width * k, t);
        if (d < least && noise_of(o, g, t) <= whole) {
            least = d;
            memcpy(r, t, sizeof t);
        }
        beyond += folded[k - 1];
    }
}

/* ---- Least error ---------------------------------------------------------------------------- */

/* Moves one end of the range, or both alike, to where the noise is least. */
static void search_end(const struct observation *o, const struct range_goal *g, int end,
                       double r[2])
{
    enum { STEPS = 256 };
    const double full[2] = {o->lo, o->hi};
    double least = noise_of(o, g, r);
    for (int k = STEPS; k > 0; k--) {
        double part = (double)k / STEPS;
        double t[2] = {end != 1 ? full[0] * part : r[0], end != 0 ? full[1] * part : r[1]};
        double noise = noise_of(o, g, t);
        if (noise < least) {
            least = noise;
            memcpy(r, t, sizeof t);
        }
    }
}

static void choose_mse(const struct observation *o, const struct range_goal *g, double r[2])
{
    enum { LOW, HIGH, BOTH };
    r[0] = o->lo;
    r[1] = o->hi;
    search_end(o, g, BOTH, r);
    if (!g->codes.symmetric && o->lo < 0 && o->hi > 0) {
        search_end(o, g, LOW, r);
        search_end(o, g, HIGH, r);
        search_end(o, g, LOW, r);
    }
}

/* ---- ACIQ ----------------------------------------------------------------------------------- */

/* Moments of the values from their bins; of the positive ones alone where none is negative: there
 * the zeros are what an activation cut off. */
struct shape {
    bool one_sided;
    double mean, deviation, spread; /* mean |x - mean|, root of the mean square */
};

static struct shape shape_of(const struct observation *o)
{
    struct shape s = {.one_sided = o->lo >= 0};
    double n = 0, sum = 0, away = 0, square = 0;
    for (int pass = 0; pass < 2; pass++) {
        for (int i = 0; i < HIST_BINS; i++) {
            double count = (double)o->hist->bin[i];
            double x = o->hist->lo + (i + 0.5) * o->hist->width;
            if (s.one_sided && i == HALF) {
                count -= (double)MIN(o->zeros, o->hist->bin[i]);
            }
            n += pass ? 0 : count;
            sum += pass ? 0 : count * x;
            away += pass ? count * fabs(x - s.mean) : 0;
            square += pass ? count * (x - s.mean) * (x - s.mean) : 0;
        }
        s.mean = s.one_sided || n == 0 ? 0 : sum / n;
    }
    s.deviation = n > 0 ? away / n : 0;
    s.spread = n > 0 ? sqrt(square / n) : 0;
    return s;
}

/* Slope of the clipping noise of a Laplace or Gauss distribution, at threshold t. */
static double clipping_slope(const struct shape *s, bool laplace, double t)
{
    if (laplace) {
        return -2 * s->deviation * exp(-t / s->deviation);
    }
    double z = t / s->spread;
    double tail = erfc(z / sqrt(2)) / 2, density = exp(-z * z / 2) / sqrt(2 * acos(-1.0));
    return 4 * (t * tail - s->spread * density);
}

static void choose_aciq(const struct observation *o, const struct range_goal *g, double r[2])
{
    struct shape s = shape_of(o);
    if (!(s.deviation > 0)) {
        choose_minmax(o, g, r);
        return;
    }
    /* E|x| / sqrt(E x^2) is sqrt(1/2) for Laplace, sqrt(2/pi) for Gauss: the nearer one is taken.
     */
    double ratio = s.deviation / s.spread, gauss = sqrt(2 / acos(-1.0));
    bool laplace = ratio < (sqrt(0.5) + gauss) / 2;
    /* The noise of rounding is step^2 / 12, and the step 2 t or t by the number of codes. */
    bool half = s.one_sided && !g->codes.symmetric;
    double grows = (half ? 1.0 : 4.0) / 6 * exp2(-2 * bits_of(g->codes.dtype));
    double low = 0, high = 64 * fmax(s.deviation, s.spread);
    for (int k = 0; k < 100; k++) {
        double t = (low + high) / 2;
        *(clipping_slope(&s, laplace, t) + grows * t < 0 ? &low : &high) = t;
    }
    r[0] = fmax(s.one_sided ? 0 : s.mean - low, o->lo);
    r[1] = fmin(s.mean + low, o->hi);
}

/* ---- Table ---------------------------------------------------------------------------------- */

const struct range_method range_methods[N_RANGE_METHODS + 1] = {
    {"minmax", 0, choose_minmax, "least and greatest value over all images", "[min x, max x]"},
    {"average", 0, choose_average,
     "mean over the images of their least and greatest value: a single outlier counts less",
     "[mean_i min x_i, mean_i max x_i]"},
    {"percentile", KEEP_HIST | KEEP_TAIL, choose_percentile,
     "all but a share of the largest magnitudes",
     "[-t, t] cut to [min x, max x], t the percentile of |x|, rounded down to one of 2048 steps "
     "from "
     "min |x| to max |x|"},
    {"entropy", KEEP_HIST, choose_entropy,
     "least loss of information, as TensorRT's calibrator looks for it, but never more squared "
     "error "
     "than the whole range has",
     "[-t, t] cut to [min x, max x], t = argmin KL(P_t || Q_t) where sum (x - code(x))^2 is not "
     "above "
     "minmax's: |x| up to t without zeros, and the same in as many levels as the codes have for "
     "it"},
    {"mse", KEEP_HIST, choose_mse,
     "least mean squared error of the codes, searched in 256 steps an end",
     "argmin sum (x - code(x))^2 over the histogram"},
    {"aciq", KEEP_HIST, choose_aciq,
     "the threshold that is best for the Laplace or Gauss distribution nearest to the values",
     "d/dt (clipping noise(t) + step(t)^2 / 12) = 0 (Banner et al. 2018)"},
    {0},
};

const struct range_method *range_method_find(const char *name)
{
    for (const struct range_method *m = range_methods; m->name; m++) {
        if (strcmp(m->name, name) == 0) {
            return m;
        }
    }
    return NULL;
}
