/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * stats.c: what is kept about a layer, and one pair of tensors added to it. Sums are doubles in an
 * order that the shape gives, so results depend neither on the vector width nor on the number of
 * threads. The loops are in stats_pass.c, formulas of metrics in metric.c.
 */
#include "analysis/stats.h"

#include <stdlib.h>

/* ---- Sums ----------------------------------------------------------------------------------- */

void sums_init(struct sums *s)
{
    *s = (struct sums){.xmin = INFINITY, .xmax = -INFINITY, .ymin = INFINITY, .ymax = -INFINITY};
}

/* Neither is ever NaN: fmin() and fmax() would cost a call each. */
static double least(double a, double b)
{
    return b < a ? b : a;
}

static double most(double a, double b)
{
    return b > a ? b : a;
}

void sums_merge(struct sums *a, const struct sums *b)
{
    a->n += b->n;
    a->nonfinite += b->nonfinite;
    a->xx += b->xx;
    a->yy += b->yy;
    a->xy += b->xy;
    a->ee += b->ee;
    a->ae += b->ae;
    a->max_abs = most(a->max_abs, b->max_abs);
    a->xmin = least(a->xmin, b->xmin);
    a->xmax = most(a->xmax, b->xmax);
    a->ymin = least(a->ymin, b->ymin);
    a->ymax = most(a->ymax, b->ymax);
    a->sat_low += b->sat_low;
    a->sat_high += b->sat_high;
    a->zeros += b->zeros;
}

/* ---- One layer ------------------------------------------------------------------------------ */

void layer_stats_init(struct layer_stats *s)
{
    *s = (struct layer_stats){.scale = NAN};
    sums_init(&s->all);
}

static void hist_begin(struct hist *h)
{
    h->lo = h->width = 0;
    h->n = h->nonfinite = 0;
}

void layer_stats_begin(struct layer_stats *s)
{
    sums_init(&s->all);
    s->n_channels = 0;
    s->channel = NULL;
    hist_begin(&s->fp32);
    hist_begin(&s->int8);
    s->scale = NAN;
    s->images = 0;
}

void layer_stats_fini(struct layer_stats *s)
{
    free(s->channel);
    *s = (struct layer_stats){0};
}

int layer_stats_merge(struct layer_stats *a, const struct layer_stats *b, struct err *err)
{
    if (!b->images) {
        return OK;
    }
    if (!a->images && b->n_channels) {
        free(a->channel);
        a->n_channels = b->n_channels;
        a->channel = mem_alloc(b->n_channels * sizeof *a->channel);
        for (size_t c = 0; c < a->n_channels; c++) {
            sums_init(&a->channel[c]);
        }
    }
    if (a->n_channels != b->n_channels) {
        return err_set(err, E_SHAPE, "has %zu channels in one image and %zu in another",
                       a->n_channels, b->n_channels);
    }
    sums_merge(&a->all, &b->all);
    for (size_t c = 0; c < a->n_channels; c++) {
        sums_merge(&a->channel[c], &b->channel[c]);
    }
    hist_merge(&a->fp32, &b->fp32);
    hist_merge(&a->int8, &b->int8);
    a->scale = b->scale;
    a->images += b->images;
    return OK;
}

static struct range code_range(const struct quant *q, enum dtype codes)
{
    int64_t lo, hi;
    if (!q || q->n != 1 || !dtype_range(codes, &lo, &hi)) {
        return (struct range){-INFINITY, INFINITY};
    }
    return (struct range){(float)(lo - q->zero[0]) * q->scale[0],
                          (float)(hi - q->zero[0]) * q->scale[0]};
}

static int check_pair(const struct tensor *x, const struct tensor *y, const struct quant *q,
                      struct err *err)
{
    bool same = x->rank == y->rank;
    for (int d = 0; same && d < x->rank; d++) {
        same = x->dims[d] == y->dims[d];
    }
    if (!same) {
        char a[128], b[128];
        return err_set(err, E_SHAPE, "shape is %s in FP32 and %s in INT8",
                       shape_text(a, sizeof a, x->rank, x->dims),
                       shape_text(b, sizeof b, y->rank, y->dims));
    }
    if (!dtype_is_float(x->dtype) || (!q && !dtype_is_float(y->dtype))) {
        return err_set(err, E_SHAPE, "%s against %s, nothing to measure", dtype_name(x->dtype),
                       dtype_name(y->dtype));
    }
    if (q && q->n > 1 && (q->axis < 0 || q->axis >= y->rank || (size_t)y->dims[q->axis] != q->n)) {
        return err_set(err, E_SHAPE, "%zu scales do not fit axis %d of the codes", q->n, q->axis);
    }
    return OK;
}

static double mean_scale(const struct quant *q)
{
    double sum = 0;
    for (size_t c = 0; q && c < q->n; c++) {
        sum += (double)q->scale[c];
    }
    return q && q->n ? sum / (double)q->n : NAN;
}

/* ---- One pair ------------------------------------------------------------------------------- */

/* A pair as the loops take it: floats of one order, or 8-bit codes with one scale on the INT8 side.
 * Each is one reference. */
struct pair {
    struct tensor *x, *y;
};

static void pair_free(struct pair *p)
{
    tensor_free(p->x);
    tensor_free(p->y);
}

static void replace(struct tensor **t, struct tensor *next)
{
    tensor_free(*t);
    *t = next;
}

static int order_as(struct tensor **t, bool channels_last, struct err *err)
{
    struct tensor *next = NULL;
    int rc = tensor_as(*t, channels_last, NULL, &next, err);
    if (!rc) {
        replace(t, next);
    }
    return rc;
}

static int to_f32(struct tensor **t, const struct quant *q, struct err *err)
{
    struct tensor *next = NULL;
    int rc = q ? quant_dequantize(*t, q, NULL, &next, err) : tensor_to_f32(*t, NULL, &next, err);
    if (!rc && next != *t) { /* one that stays is shared with other threads: not written to */
        next->channels_last = (*t)->channels_last; /* q has one scale then: any order will do */
    }
    if (!rc) {
        replace(t, next);
    }
    return rc;
}

/* Zeros are told by their code. */
static bool taken_as_codes(const struct tensor *y, const struct quant *q)
{
    int64_t lo, hi;
    return q && q->n == 1 && (y->dtype == DT_U8 || y->dtype == DT_S8) &&
           dtype_range(y->dtype, &lo, &hi) && q->zero[0] >= lo && q->zero[0] <= hi &&
           q->scale[0] != 0;
}

/* Row-major where the order of channels last would not have the axis as its fastest. */
static int pair_init(struct pair *p, const struct tensor *x, const struct tensor *y,
                     const struct quant *q, int axis, struct err *err)
{
    bool last = x->channels_last && (axis < 0 || axis == 1) && (!q || q->n == 1);
    *p = (struct pair){tensor_ref(x), tensor_ref(y)};
    int rc = order_as(&p->x, last, err);
    rc = rc ? rc : order_as(&p->y, last, err);
    rc = rc ? rc : to_f32(&p->x, NULL, err);
    rc = rc || taken_as_codes(y, q) ? rc : to_f32(&p->y, q, err);
    if (rc) {
        pair_free(p);
    }
    return rc;
}

/* The tensor as [outer, channels, inner], or [outer, inner, channels]. */
static void split_channels(const struct tensor *t, int axis, struct pass *p)
{
    p->outer = p->channels = 1;
    p->inner = t->n;
    p->last = true;
    if (axis < 0 || axis >= t->rank || t->n == 0) {
        return;
    }
    p->channels = (size_t)t->dims[axis];
    p->inner = 1;
    for (int d = 0; d < t->rank; d++) {
        if (d != axis) {
            *(d < axis ? &p->outer : &p->inner) *= (size_t)t->dims[d];
        }
    }
    p->last = t->channels_last || p->inner == 1;
    if (!t->channels_last && p->inner == 1) { /* rows of channels */
        p->inner = p->outer;
        p->outer = 1;
    }
}

static struct pass make_pass(const struct pair *pr, const struct quant *q, int axis)
{
    struct pass p = {.x = pr->x->data, .range = {-INFINITY, INFINITY}};
    split_channels(pr->x, axis, &p);
    if (taken_as_codes(pr->y, q)) {
        uint8_t flip = pr->y->dtype == DT_S8 ? 0x80 : 0;
        p.codes = (struct codes){.p = pr->y->data,
                                 .flip = flip,
                                 .zero = (uint8_t)(q->zero[0] + flip),
                                 .scale = q->scale[0]};
    } else {
        p.y = pr->y->data;
    }
    return p;
}

static void add_pair(struct layer_stats *s, struct pass *p, bool with_hist)
{
    struct sums *channel = mem_grow(NULL, p->channels * sizeof *channel);
    p->fp32 = with_hist ? &s->fp32 : NULL;
    p->int8 = with_hist ? &s->int8 : NULL;
    pass_run(p, channel, &s->all);
    free(s->channel);
    s->channel = p->channels > 1 ? channel : NULL;
    s->n_channels = p->channels > 1 ? p->channels : 0;
    if (!s->channel) {
        free(channel);
    }
    s->images = 1;
}

int layer_stats_add(struct layer_stats *s, const struct tensor *x, const struct tensor *y,
                    const struct quant *q, int channel_axis, bool with_hist, struct err *err)
{
    struct pair pair;
    int axis = channel_axis == CHANNEL_LAST ? x->rank - 1 : channel_axis;
    int rc = check_pair(x, y, q, err);
    rc = rc ? rc : pair_init(&pair, x, y, q, axis, err);
    if (rc) {
        return rc;
    }
    struct pass p = make_pass(&pair, q, axis);
    p.range = code_range(q, y->dtype);
    if (s->images) {
        struct layer_stats *one = mem_alloc(sizeof *one);
        layer_stats_init(one);
        add_pair(one, &p, with_hist);
        one->scale = mean_scale(q);
        rc = layer_stats_merge(s, one, err);
        layer_stats_fini(one);
        free(one);
    } else {
        add_pair(s, &p, with_hist);
        s->scale = mean_scale(q);
    }
    pair_free(&pair);
    return rc;
}
