/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * observe.c: what calibration keeps of a tensor, and what codes make of it: the noise of rounding
 * and clipping as the histogram tells it.
 */
#include "analysis/stats.h"

#include <float.h>
#include <stdlib.h>

/* ---- Observing ------------------------------------------------------------------------------ */

void observation_init(struct observation *o, unsigned keep)
{
    *o = (struct observation){.lo = INFINITY, .hi = -INFINITY};
    if (keep & KEEP_TAIL) {
        o->tail = tail_new();
    }
    if (keep & KEEP_HIST) {
        o->hist = mem_alloc(sizeof *o->hist);
        hist_init(o->hist);
    }
}

void observation_fini(struct observation *o)
{
    free(o->hist);
    free(o->tail);
    free(o->channel_sum);
    *o = (struct observation){0};
}

enum { CHUNK = 128 * LANES };

/* Every sixteenth value has extremes and sums of its own, so that the order of additions is that of
 * the values alone, however many are added at a time. */
struct seen {
    float lo[LANES], hi[LANES];
    double xx[LANES];
};

/* Widens the extremes by whole lanes of values; false, having changed nothing, when one of them is
 * not finite. */
AVX2_CLONE static bool see_extremes(struct seen *to, const float *x, size_t n)
{
    struct seen s = *to;
    int32_t odd[LANES] = {0}, any = 0;
    for (; n; n -= LANES, x += LANES) {
        for (int k = 0; k < LANES; k++) {
            s.lo[k] = x[k] < s.lo[k] ? x[k] : s.lo[k];
            s.hi[k] = x[k] > s.hi[k] ? x[k] : s.hi[k];
            odd[k] |= !(fabsf(x[k]) <= FLT_MAX);
        }
    }
    for (int k = 0; k < LANES; k++) {
        any |= odd[k];
    }
    *to = any ? *to : s;
    return !any;
}

/* Adds squares of as many, and returns how many are zero. */
AVX2_CLONE static uint64_t see_squares(double xx[LANES], const float *x, size_t n)
{
    int32_t zeros[LANES] = {0};
    uint64_t all = 0;
    for (; n; n -= LANES, x += LANES) {
        for (int k = 0; k < LANES; k++) {
            xx[k] += (double)x[k] * (double)x[k];
            zeros[k] += x[k] == 0;
        }
    }
    for (int k = 0; k < LANES; k++) {
        all += (uint64_t)zeros[k];
    }
    return all;
}

static void see_singly(struct observation *o, struct seen *s, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        size_t k = i % LANES;
        if (!isfinite(x[i])) {
            o->nonfinite++;
            o->n--;
            continue;
        }
        s->lo[k] = x[i] < s->lo[k] ? x[i] : s->lo[k];
        s->hi[k] = x[i] > s->hi[k] ? x[i] : s->hi[k];
        s->xx[k] += (double)x[i] * (double)x[i];
        o->zeros += x[i] == 0;
    }
}

/* Squares and zeros are of use with a histogram alone. */
static void see_all(struct observation *o, struct seen *s, size_t n, const float *x)
{
    o->n += n;
    for (size_t m; n; n -= m, x += m) {
        m = MIN(n, (size_t)CHUNK);
        size_t whole = m / LANES * LANES;
        whole = see_extremes(s, x, whole) ? whole : 0;
        o->zeros += o->hist ? see_squares(s->xx, x, whole) : 0;
        see_singly(o, s, x + whole, m - whole);
    }
    for (int k = 0; k < LANES; k++) {
        o->xx += s->xx[k];
    }
}

static void add_plain(struct observation *o, size_t n, const float *x)
{
    double lo = INFINITY, hi = -INFINITY;
    struct seen s = {.xx = {0}};
    for (int k = 0; k < LANES; k++) {
        s.lo[k] = INFINITY;
        s.hi[k] = -INFINITY;
    }
    see_all(o, &s, n, x);
    for (int k = 0; k < LANES; k++) {
        lo = fmin(lo, (double)s.lo[k]);
        hi = fmax(hi, (double)s.hi[k]);
    }
    if (lo <= hi) {
        o->images++;
        o->lo_sum += lo;
        o->hi_sum += hi;
        o->lo = fmin(o->lo, lo);
        o->hi = fmax(o->hi, hi);
    }
}

void observation_add(struct observation *o, size_t n, const float *x)
{
    add_plain(o, n, x);
    if (o->hist) {
        hist_add(o->hist, n, x);
    }
    if (o->tail) {
        tail_add(o->tail, n, x);
    }
}

/* Room for n sums; false when there is room for another number of them. */
static bool need_channels(struct observation *o, size_t n)
{
    if (!o->n_channels) {
        o->channel_sum = mem_alloc((n + 1) * sizeof *o->channel_sum);
        o->n_channels = n;
    }
    return o->n_channels == n;
}

int observation_add_channels(struct observation *o, const struct tensor *t, int axis,
                             struct err *err)
{
    axis += axis < 0 ? t->rank : 0;
    if (axis < 0 || axis >= t->rank || !t->n) {
        return OK;
    }
    size_t n = (size_t)t->dims[axis], inner = 1;
    if (!need_channels(o, n)) {
        return err_set(err, E_SHAPE, "%zu channels, %zu in the image before", n, o->n_channels);
    }
    for (int d = axis + 1; d < t->rank; d++) {
        inner *= t->channels_last && axis == 1 ? 1 : (size_t)t->dims[d];
    }
    const float *x = t->data;
    for (size_t i = 0; i < t->n; i++) {
        o->channel_sum[i / inner % n] += (double)x[i];
    }
    o->per_channel += t->n / n;
    return OK;
}

void observation_merge(struct observation *a, const struct observation *b)
{
    a->images += b->images;
    a->n += b->n;
    a->nonfinite += b->nonfinite;
    a->zeros += b->zeros;
    a->lo = fmin(a->lo, b->lo);
    a->hi = fmax(a->hi, b->hi);
    a->lo_sum += b->lo_sum;
    a->hi_sum += b->hi_sum;
    a->xx += b->xx;
    if (a->hist && b->hist) {
        hist_merge(a->hist, b->hist);
    }
    if (a->tail && b->tail) {
        tail_merge(a->tail, b->tail);
    }
    if (b->n_channels && need_channels(a, b->n_channels)) {
        for (size_t i = 0; i < b->n_channels; i++) {
            a->channel_sum[i] += b->channel_sum[i];
        }
        a->per_channel += b->per_channel;
    }
}

/* ---- Codes ---------------------------------------------------------------------------------- */

static void codes_used(const struct code_choice *c, int64_t *lo, int64_t *hi)
{
    dtype_range(c->dtype, lo, hi);
    if (c->reduced && *lo == 0) {
        *hi /= 2;
    } else if (c->reduced) {
        *lo /= 2;
        *hi = -*lo - (c->dtype == DT_S4);
    } else if (c->symmetric && *lo < 0 && c->dtype != DT_S4) {
        *lo = -*hi;
    }
}

void codes_params(const struct code_choice *c, double lo, double hi, float *scale, int32_t *zero)
{
    int64_t first, last;
    codes_used(c, &first, &last);
    lo = fmin(lo, 0);
    hi = fmax(hi, 0);
    if (c->symmetric) {
        hi = fmax(-lo, hi);
        lo = -hi;
    }
    double s = (hi - lo) / (double)(last - first);
    if (!(s >= 0x1p-126) || !isfinite(s)) {
        *scale = 1;
        *zero = 0;
        return;
    }
    if (c->power_of_two) {
        s = exp2(ceil(log2(s)));
    }
    double z = c->symmetric ? rint((double)(first + last) / 2) : rint((double)first - lo / s);
    *zero = (int32_t)fmin(fmax(z, (double)first), (double)last);
    *scale = (float)s;
}

/* ---- Noise ---------------------------------------------------------------------------------- */

/* Codes as a ruler: marks every `step` from lo to hi, 0 among them. */
struct ruler {
    double step, lo, hi;
};

/* Integral from 0 of (t - nearest mark)^2, without ends: step^3 / 12 for each whole cell. */
static double rounding(const struct ruler *r, double x)
{
    double k = rint(x / r->step), rest = x - k * r->step;
    return k * r->step * r->step * r->step / 12 + rest * rest * rest / 3;
}

/* The same with ends, behind which the last mark is the nearest. */
static double noise_up_to(const struct ruler *r, double x)
{
    double inside = fmin(fmax(x, r->lo), r->hi), beyond = x - inside;
    return rounding(r, inside) + beyond * beyond * beyond / 3;
}

double observation_noise(const struct observation *o, enum dtype codes, float scale, int32_t zero)
{
    int64_t first, last;
    if (!o->hist || !dtype_range(codes, &first, &last)) {
        return NAN;
    }
    const struct hist *h = o->hist;
    struct ruler r = {.step = (double)scale,
                      .lo = (double)(first - zero) * (double)scale,
                      .hi = (double)(last - zero) * (double)scale};
    double sum = 0;
    for (int i = 0; i < HIST_BINS; i++) {
        /* Exact zeros lie in the bin that begins at 0, and have a code of their own. */
        uint64_t n = h->bin[i] - (i == HIST_BINS / 2 ? MIN(o->zeros, h->bin[i]) : 0);
        if (n) {
            double at = h->lo + i * h->width;
            double mean = (noise_up_to(&r, at + h->width) - noise_up_to(&r, at)) / h->width;
            sum += (double)n * mean;
        }
    }
    return sum;
}
