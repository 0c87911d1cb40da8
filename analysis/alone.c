/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * alone.c: statistics of a tensor that has no counterpart, where one model is loaded without the
 * other. There is no error to sum up: what is kept are its range, its zeros, how often its codes
 * are at their ends, and its histogram.
 */
#include "analysis/analysis.h"

#include <math.h>
#include <stdlib.h>

/* What is counted of some values. */
struct view {
    enum side side;
    bool codes; /* with one scale: they have two ends */
    float low, high;
};

static void sums_see(struct sums *s, const struct view *v, size_t n, const float *x)
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
        s->sat_low += v->codes && x[i] == v->low;
        s->sat_high += v->codes && x[i] == v->high;
    }
    double *least = v->side == SIDE_FP32 ? &s->xmin : &s->ymin;
    double *most = v->side == SIDE_FP32 ? &s->xmax : &s->ymax;
    *least = fmin(*least, (double)lo);
    *most = fmax(*most, (double)hi);
}

/* As DequantizeLinear makes the two ends, so that they can be told by their value. */
static struct view view_of(enum side side, const struct tensor *t, const struct quant *q)
{
    int64_t lo, hi;
    struct view v = {.side = side};
    if (q && q->n == 1 && dtype_range(t->dtype, &lo, &hi)) {
        v.codes = true;
        v.low = (float)(lo - q->zero[0]) * q->scale[0];
        v.high = (float)(hi - q->zero[0]) * q->scale[0];
    }
    return v;
}

/* By channel where there are several, then all of them. t: floats, row-major. */
static void see_all(struct layer_stats *s, const struct view *v, const struct tensor *t, int axis)
{
    size_t outer = 1, channels = 1, inner = 1;
    for (int d = 0; d < t->rank; d++) {
        *(d < axis ? &outer : d == axis ? &channels : &inner) *= (size_t)t->dims[d];
    }
    if (axis < 0 || axis >= t->rank || channels < 2) {
        sums_see(&s->all, v, t->n, t->data);
        return;
    }
    s->n_channels = channels;
    s->channel = mem_alloc(channels * sizeof *s->channel);
    for (size_t c = 0; c < channels; c++) {
        sums_init(&s->channel[c]);
    }
    const float *x = t->data;
    for (size_t o = 0; o < outer; o++) {
        for (size_t c = 0; c < channels; c++, x += inner) {
            sums_see(&s->channel[c], v, inner, x);
        }
    }
    for (size_t c = 0; c < channels; c++) {
        sums_merge(&s->all, &s->channel[c]);
    }
}

int layer_stats_alone(struct layer_stats *s, enum side side, const struct tensor *t,
                      const struct quant *q, int channel_axis, struct err *err)
{
    struct tensor *rows = NULL, *real = NULL;
    const int axis = channel_axis == CHANNEL_LAST ? t->rank - 1 : channel_axis;
    if (!q && !dtype_is_float(t->dtype)) {
        return err_set(err, E_SHAPE, "%s, nothing to measure", dtype_name(t->dtype));
    }
    int rc = tensor_as(t, false, NULL, &rows, err);
    rc = rc  ? rc
         : q ? quant_dequantize(rows, q, NULL, &real, err)
             : tensor_to_f32(rows, NULL, &real, err);
    if (!rc) {
        const struct view v = view_of(side, t, q);
        struct hist *h = side == SIDE_FP32 ? &s->fp32 : &s->int8;
        hist_init(h);
        hist_add(h, real->n, real->data);
        see_all(s, &v, real, axis);
        s->scale = v.codes ? (double)q->scale[0] : NAN;
        s->images = 1;
    }
    tensor_free(rows);
    tensor_free(real);
    return rc;
}
