/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * alone.c: statistics of a tensor that has no counterpart, where one model is loaded without the
 * other. There is no error to sum up: what is kept are its range, its zeros, how often its codes
 * are at their ends, and its histogram.
 */
#include "analysis/stats.h"

#include <stdlib.h>

/* A tensor as [outer, channels, inner], row-major. */
struct planes {
    enum side side;
    size_t outer, channels, inner;
};

static struct planes planes_of(enum side side, const struct tensor *t, int axis)
{
    struct planes p = {side, 1, 1, 1};
    for (int d = 0; d < t->rank; d++) {
        *(d < axis ? &p.outer : d == axis ? &p.channels : &p.inner) *= (size_t)t->dims[d];
    }
    return p;
}

static void widen(struct sums *s, enum side side, double lo, double hi)
{
    double *least = side == SIDE_FP32 ? &s->xmin : &s->ymin;
    double *most = side == SIDE_FP32 ? &s->xmax : &s->ymax;
    *least = fmin(*least, lo);
    *most = fmax(*most, hi);
}

/* ---- Floats --------------------------------------------------------------------------------- */

struct seen {
    float lo[LANES], hi[LANES];
    int32_t zeros[LANES], odd[LANES];
};

/* n, a multiple of LANES, values; NaN and infinity are counted as odd. */
AVX2_CLONE static void see_lanes(struct seen *s, const float *x, size_t n)
{
    for (; n; n -= LANES, x += LANES) {
        for (int k = 0; k < LANES; k++) {
            const float v = x[k];
            s->lo[k] = v < s->lo[k] ? v : s->lo[k];
            s->hi[k] = v > s->hi[k] ? v : s->hi[k];
            s->zeros[k] += v == 0;
            s->odd[k] += !(v - v == 0);
        }
    }
}

static void see_singly(struct sums *s, enum side side, const float *x, size_t n)
{
    float lo = INFINITY, hi = -INFINITY;
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(x[i])) {
            s->nonfinite++;
            continue;
        }
        lo = x[i] < lo ? x[i] : lo;
        hi = x[i] > hi ? x[i] : hi;
        s->zeros += x[i] == 0;
    }
    widen(s, side, (double)lo, (double)hi);
}

/* Least and greatest of n values, a multiple of LANES, and how many zeros; false when some are not
 * finite. */
static bool see_part(const float *x, size_t n, float *lo, float *hi, uint64_t *zeros)
{
    struct seen v = {.zeros = {0}};
    int32_t odd = 0;
    *lo = INFINITY;
    *hi = -INFINITY;
    *zeros = 0;
    for (int k = 0; k < LANES; k++) {
        v.lo[k] = INFINITY;
        v.hi[k] = -INFINITY;
    }
    see_lanes(&v, x, n);
    for (int k = 0; k < LANES; k++) {
        odd |= v.odd[k];
        *lo = v.lo[k] < *lo ? v.lo[k] : *lo;
        *hi = v.hi[k] > *hi ? v.hi[k] : *hi;
        *zeros += (uint64_t)v.zeros[k];
    }
    return !odd;
}

enum { PART = 1024 * LANES };

/* Parts whose values are all finite, as nearly all are, by lanes. */
static void see_row(struct sums *s, enum side side, const float *x, size_t n)
{
    for (size_t m; n >= LANES; n -= m, x += m) {
        float lo, hi;
        uint64_t zeros;
        m = MIN(n / LANES * LANES, (size_t)PART);
        if (see_part(x, m, &lo, &hi, &zeros)) {
            widen(s, side, (double)lo, (double)hi);
            s->zeros += zeros;
        } else {
            see_singly(s, side, x, m);
        }
    }
    see_singly(s, side, x, n);
}

static void see_hist(struct hist *h, const float *x, size_t n)
{
    struct tally t;
    tally_init(&t, stats_kernels(), h);
    for (size_t m; n >= PART; n -= m, x += m) {
        float lo, hi;
        uint64_t zeros;
        m = MIN(n / LANES * LANES, (size_t)PART);
        if (see_part(x, m, &lo, &hi, &zeros)) {
            tally_add(&t, x, m, lo, hi);
        } else {
            tally_flush(&t);
            hist_add(h, m, x);
        }
    }
    tally_flush(&t);
    hist_add(h, n, x);
}

static void see_floats(struct sums *channel, struct hist *h, const struct planes *p,
                       const struct tensor *real)
{
    const float *x = real->data;
    for (size_t o = 0; o < p->outer; o++) {
        for (size_t c = 0; c < p->channels; c++, x += p->inner) {
            see_row(&channel[c], p->side, x, p->inner);
        }
    }
    see_hist(h, real->data, real->n);
}

/* ---- Codes of 8 bits with one scale --------------------------------------------------------- */

enum { CODES = 256 };

struct code_counts {
    uint8_t lo, hi;
    uint32_t zeros, low, high;
};

/* n values, which 32 bits can count. */
AVX2_CLONE static void count_codes(struct code_counts *s, const uint8_t *p, size_t n, uint8_t flip,
                                   uint8_t zero)
{
    uint8_t lo = s->lo, hi = s->hi;
    uint32_t zeros = 0, low = 0, high = 0;
    for (size_t i = 0; i < n; i++) {
        const uint8_t code = p[i] ^ flip;
        lo = code < lo ? code : lo;
        hi = code > hi ? code : hi;
        zeros += code == zero;
        low += code == 0;
        high += code == CODES - 1;
    }
    *s = (struct code_counts){lo, hi, zeros, low, high};
}

static void see_codes(struct sums *channel, struct hist *h, const struct planes *p,
                      const struct codes *c)
{
    enum { MOST = 1 << 30 };
    const uint8_t *at = c->p;
    for (size_t o = 0; o < p->outer; o++) {
        for (size_t k = 0; k < p->channels; k++) {
            for (size_t left = p->inner, m; left; left -= m, at += m) {
                struct code_counts n = {.lo = CODES - 1, .hi = 0};
                m = MIN(left, (size_t)MOST);
                count_codes(&n, at, m, c->flip, c->zero);
                const double a = (double)((float)(n.lo - c->zero) * c->scale);
                const double b = (double)((float)(n.hi - c->zero) * c->scale);
                widen(&channel[k], p->side, fmin(a, b), fmax(a, b));
                channel[k].zeros += n.zeros;
                channel[k].sat_low += n.low;
                channel[k].sat_high += n.high;
            }
        }
    }
    hist_add_codes(h, stats_kernels(), c, p->outer * p->channels * p->inner);
}

/* ---- One tensor ----------------------------------------------------------------------------- */

static bool codes_of(const struct tensor *t, const struct quant *q, struct codes *c)
{
    if (!q || q->n != 1 || (t->dtype != DT_U8 && t->dtype != DT_S8)) {
        return false;
    }
    const uint8_t flip = t->dtype == DT_S8 ? 0x80 : 0;
    *c = (struct codes){
        .p = t->data, .flip = flip, .zero = (uint8_t)(q->zero[0] + flip), .scale = q->scale[0]};
    return q->zero[0] + flip >= 0 && q->zero[0] + flip < CODES;
}

/* Codes at the ends of other types are told by their values, which are as DequantizeLinear makes
 * them. */
static void see_ends(struct sums *channel, const struct planes *p, const struct tensor *codes,
                     const struct quant *q, const struct tensor *real)
{
    int64_t lo, hi;
    const float *x = real->data;
    if (!q || q->n != 1 || !dtype_range(codes->dtype, &lo, &hi)) {
        return;
    }
    const float low = (float)(lo - q->zero[0]) * q->scale[0];
    const float high = (float)(hi - q->zero[0]) * q->scale[0];
    for (size_t o = 0; o < p->outer; o++) {
        for (size_t c = 0; c < p->channels; c++, x += p->inner) {
            for (size_t i = 0; i < p->inner; i++) {
                channel[c].sat_low += x[i] == low;
                channel[c].sat_high += x[i] == high;
            }
        }
    }
}

static int see_reals(struct sums *channel, struct hist *h, const struct planes *p,
                     const struct tensor *t, const struct quant *q, struct err *err)
{
    struct tensor *real = NULL;
    int rc = q ? quant_dequantize(t, q, NULL, &real, err) : tensor_to_f32(t, NULL, &real, err);
    if (!rc) {
        see_floats(channel, h, p, real);
        see_ends(channel, p, t, q, real);
    }
    tensor_free(real);
    return rc;
}

int layer_stats_alone(struct layer_stats *s, enum side side, const struct tensor *t,
                      const struct quant *q, int channel_axis, struct err *err)
{
    struct tensor *rows = NULL;
    const int axis = channel_axis == CHANNEL_LAST ? t->rank - 1 : channel_axis;
    struct hist *h = side == SIDE_FP32 ? &s->fp32 : &s->int8;
    struct codes c;
    if (!q && !dtype_is_float(t->dtype)) {
        return err_set(err, E_SHAPE, "%s, nothing to measure", dtype_name(t->dtype));
    }
    int rc = tensor_as(t, false, NULL, &rows, err);
    if (rc) {
        return rc;
    }
    const struct planes p = planes_of(side, rows, axis);
    struct sums *channel = mem_alloc((p.channels + 1) * sizeof *channel);
    for (size_t k = 0; k < p.channels; k++) {
        sums_init(&channel[k]);
    }
    hist_init(h);
    if (codes_of(rows, q, &c)) {
        see_codes(channel, h, &p, &c);
    } else {
        rc = see_reals(channel, h, &p, rows, q, err);
    }
    for (size_t k = 0; k < p.channels && !rc; k++) {
        sums_merge(&s->all, &channel[k]);
    }
    if (!rc && p.channels > 1) {
        s->n_channels = p.channels;
        s->channel = channel;
        channel = NULL;
    }
    if (!rc) {
        s->scale = q && q->n == 1 ? (double)q->scale[0] : NAN;
        s->images = 1;
    }
    free(channel);
    tensor_free(rows);
    return rc;
}
