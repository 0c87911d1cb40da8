/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * stats.c: one pass over a pair of tensors: sums for the metrics, per channel, and histograms.
 * Accumulates in double in a fixed order (eight interleaved lanes, then lane by lane), so results
 * depend neither on the vector width nor on the number of threads. Formulas are in metric.c.
 */
#include "analysis/analysis.h"

#include <math.h>
#include <stdlib.h>

enum { CHUNK = 1024, LANES = 8 };

/* Compiled once per instruction set and chosen at run time. Contraction is off, so all give the
 * same bits. */
#if defined(__x86_64__) && defined(__gnu_linux__) && !defined(__SANITIZE_ADDRESS__) &&             \
    !defined(__clang__)
#define VECTOR_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define VECTOR_CLONES
#endif

/* ---- Sums ----------------------------------------------------------------------------------- */

void sums_init(struct sums *s)
{
    *s = (struct sums){.xmin = INFINITY, .xmax = -INFINITY, .ymin = INFINITY, .ymax = -INFINITY};
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
    a->max_abs = fmax(a->max_abs, b->max_abs);
    a->xmin = fmin(a->xmin, b->xmin);
    a->xmax = fmax(a->xmax, b->xmax);
    a->ymin = fmin(a->ymin, b->ymin);
    a->ymax = fmax(a->ymax, b->ymax);
    a->sat_low += b->sat_low;
    a->sat_high += b->sat_high;
    a->zeros += b->zeros;
}

/* Ends of the integer range as real values; no range for float tensors. */
struct range {
    float lo, hi;
};

/* The pair loop: n is a multiple of LANES. A NaN or infinity shows in xx or yy, which no finite
 * floats can overflow. */
VECTOR_CLONES static void sums_lanes(struct sums *s, const float *x, const float *y, size_t n,
                                     struct range r)
{
    double xx[LANES] = {0}, yy[LANES] = {0}, xy[LANES] = {0}, ee[LANES] = {0}, ae[LANES] = {0};
    float top[LANES] = {0}, xlo[LANES], xhi[LANES], ylo[LANES], yhi[LANES];
    uint32_t low[LANES] = {0}, high[LANES] = {0}, zero[LANES] = {0};
    for (int j = 0; j < LANES; j++) {
        xlo[j] = ylo[j] = INFINITY;
        xhi[j] = yhi[j] = -INFINITY;
    }
    for (size_t i = 0; i < n; i += LANES) {
        for (int j = 0; j < LANES; j++) {
            float a = x[i + (size_t)j], b = y[i + (size_t)j];
            double p = (double)a, q = (double)b, e = p - q;
            xx[j] += p * p;
            yy[j] += q * q;
            xy[j] += p * q;
            ee[j] += e * e;
            ae[j] += fabs(e);
            float d = fabsf((float)e);
            top[j] = d > top[j] ? d : top[j];
            xlo[j] = a < xlo[j] ? a : xlo[j];
            xhi[j] = a > xhi[j] ? a : xhi[j];
            ylo[j] = b < ylo[j] ? b : ylo[j];
            yhi[j] = b > yhi[j] ? b : yhi[j];
            low[j] += a < r.lo;
            high[j] += a > r.hi;
            zero[j] += b == 0;
        }
    }
    for (int j = 0; j < LANES; j++) {
        s->xx += xx[j];
        s->yy += yy[j];
        s->xy += xy[j];
        s->ee += ee[j];
        s->ae += ae[j];
        s->max_abs = fmax(s->max_abs, (double)top[j]);
        s->xmin = fmin(s->xmin, (double)xlo[j]);
        s->xmax = fmax(s->xmax, (double)xhi[j]);
        s->ymin = fmin(s->ymin, (double)ylo[j]);
        s->ymax = fmax(s->ymax, (double)yhi[j]);
        s->sat_low += low[j];
        s->sat_high += high[j];
        s->zeros += zero[j];
    }
    s->n += n;
}

/* Tails, and chunks with NaN or infinity. */
static void sums_plain(struct sums *s, const float *x, const float *y, size_t n, struct range r)
{
    for (size_t i = 0; i < n; i++) {
        double p = (double)x[i], q = (double)y[i], e = p - q;
        if (!isfinite(p) || !isfinite(q)) {
            s->nonfinite++;
            continue;
        }
        s->n++;
        s->xx += p * p;
        s->yy += q * q;
        s->xy += p * q;
        s->ee += e * e;
        s->ae += fabs(e);
        s->max_abs = fmax(s->max_abs, (double)fabsf((float)e));
        s->xmin = fmin(s->xmin, p);
        s->xmax = fmax(s->xmax, p);
        s->ymin = fmin(s->ymin, q);
        s->ymax = fmax(s->ymax, q);
        s->sat_low += x[i] < r.lo;
        s->sat_high += x[i] > r.hi;
        s->zeros += y[i] == 0;
    }
}

static void sums_add(struct sums *s, const float *x, const float *y, size_t n, struct range r)
{
    size_t body = n / LANES * LANES;
    struct sums with = *s;
    sums_lanes(&with, x, y, body, r);
    if (isfinite(with.xx) && isfinite(with.yy)) {
        *s = with;
    } else {
        body = 0;
    }
    sums_plain(s, x + body, y + body, n - body, r);
}

/* ---- Histograms ----------------------------------------------------------------------------- */

void hist_init(struct hist *h)
{
    memset(h, 0, sizeof *h);
}

/* Doubles the range, which lies around zero: two neighbouring bins become one. */
static void hist_double(struct hist *h)
{
    uint64_t old[HIST_BINS];
    memcpy(old, h->bin, sizeof old);
    memset(h->bin, 0, sizeof h->bin);
    for (int i = 0; i < HIST_BINS; i++) {
        h->bin[(i + HIST_BINS / 2) / 2] += old[i];
    }
    h->lo *= 2;
    h->width *= 2;
}

/* The first values fix a power-of-two width: doubling widens it as needed. All ranges lie on one
 * grid, so any two histograms can be brought together exactly. */
static void hist_start(struct hist *h, double x)
{
    int e;
    frexp(fmax(fabs(x), 0x1p-100), &e);
    h->width = ldexp(1.0, e) / HIST_BINS;
    h->lo = -h->width * (HIST_BINS / 2.0);
}

static void hist_count(struct hist *h, double x, uint64_t count)
{
    if (!isfinite(x)) {
        h->nonfinite += count;
        return;
    }
    if (h->width == 0) {
        hist_start(h, x);
    }
    while (x < h->lo || x >= -h->lo) {
        hist_double(h);
    }
    int i = (int)((x - h->lo) / h->width);
    h->bin[MIN(MAX(i, 0), HIST_BINS - 1)] += count;
    h->n += count;
}

/* Bin numbers of a chunk; true when all lie inside. The width is a power of two: exact. */
VECTOR_CLONES static bool hist_bins(const struct hist *h, const float *x, size_t n, int32_t *bin)
{
    double lo = h->lo, scale = 1 / h->width;
    int inside = 1;
    for (size_t i = 0; i < n; i++) {
        double t = ((double)x[i] - lo) * scale;
        int ok = t >= 0 && t < HIST_BINS;
        inside &= ok;
        bin[i] = (int32_t)(ok ? t : 0);
    }
    return inside;
}

void hist_add(struct hist *h, size_t n, const float *x)
{
    int32_t bin[CHUNK];
    double top = 0;
    for (size_t i = 0; i < MIN(n, (size_t)CHUNK) && h->width == 0; i++) {
        top = isfinite((double)x[i]) ? fmax(top, fabs((double)x[i])) : top;
    }
    if (top > 0) {
        hist_start(h, top);
    }
    for (size_t done = 0, m; done < n; done += m) {
        m = MIN(n - done, (size_t)CHUNK);
        if (h->width > 0 && hist_bins(h, x + done, m, bin)) {
            for (size_t i = 0; i < m; i++) {
                h->bin[bin[i]]++;
            }
            h->n += m;
        } else {
            for (size_t i = 0; i < m; i++) {
                hist_count(h, (double)x[done + i], 1);
            }
        }
    }
}

void hist_merge(struct hist *a, const struct hist *b)
{
    a->nonfinite += b->nonfinite;
    if (!b->n) {
        return;
    }
    if (!a->n) {
        uint64_t nonfinite = a->nonfinite;
        *a = *b;
        a->nonfinite = nonfinite;
        return;
    }
    struct hist c = *b;
    while (c.width < a->width) {
        hist_double(&c);
    }
    while (a->width < c.width) {
        hist_double(a);
    }
    for (int i = 0; i < HIST_BINS; i++) {
        a->bin[i] += c.bin[i];
    }
    a->n += c.n;
}

double hist_quantile(const struct hist *h, double p)
{
    if (!h->n) {
        return NAN;
    }
    double want = p * (double)h->n, below = 0;
    for (int i = 0; i < HIST_BINS; i++) {
        double here = (double)h->bin[i];
        if (here > 0 && below + here >= want) {
            return h->lo + h->width * (i + (want - below) / here);
        }
        below += here;
    }
    return -h->lo;
}

/* ---- One layer ------------------------------------------------------------------------------ */

void layer_stats_init(struct layer_stats *s)
{
    *s = (struct layer_stats){.scale = NAN};
    sums_init(&s->all);
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

/* Reads the INT8 side as real values: codes through their parameters, floats as they are. */
struct reader {
    const struct tensor *t;
    const struct quant *q; /* NULL: float */
    size_t q_inner, q_n;   /* per-channel parameters change every q_inner elements */
};

static float read_real(const struct reader *r, size_t i)
{
    if (!r->q) {
        return (float)tensor_f64(r->t, i);
    }
    size_t c = r->q_n > 1 ? i / r->q_inner % r->q_n : 0;
    return (float)((int32_t)tensor_s64(r->t, i) - r->q->zero[c]) * r->q->scale[c];
}

/* Elements first, first + step, ... into dst. */
static void read_reals(const struct reader *r, size_t first, size_t step, size_t n, float *dst)
{
    bool plain = step == 1 && r->q_n <= 1;
    if (plain && r->q && r->t->dtype == DT_U8) {
        const uint8_t *p = (const uint8_t *)r->t->data + first;
        int32_t z = r->q->zero[0];
        for (size_t i = 0; i < n; i++) {
            dst[i] = (float)(p[i] - z) * r->q->scale[0];
        }
    } else if (plain && r->q && r->t->dtype == DT_S8) {
        const int8_t *p = (const int8_t *)r->t->data + first;
        int32_t z = r->q->zero[0];
        for (size_t i = 0; i < n; i++) {
            dst[i] = (float)(p[i] - z) * r->q->scale[0];
        }
    } else if (!r->q && r->t->dtype == DT_F32) {
        const float *p = r->t->data;
        for (size_t i = 0; i < n; i++) {
            dst[i] = p[first + i * step];
        }
    } else {
        for (size_t i = 0; i < n; i++) {
            dst[i] = read_real(r, first + i * step);
        }
    }
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

/* The tensor seen as [outer, channels, inner]. */
struct split {
    size_t outer, channels, inner;
};

static struct split split_channels(const struct tensor *t, int axis)
{
    if (axis == CHANNEL_LAST) {
        axis = t->rank - 1;
    }
    if (axis < 0 || axis >= t->rank || t->n == 0) {
        return (struct split){1, 1, t->n};
    }
    struct split s = {1, (size_t)t->dims[axis], 1};
    for (int d = 0; d < t->rank; d++) {
        size_t *side = d < axis ? &s.outer : d > axis ? &s.inner : NULL;
        if (side) {
            *side *= (size_t)t->dims[d];
        }
    }
    return s;
}

/* 8-bit codes with one scale: their histogram is a count of 256 values. */
static bool countable(const struct reader *r)
{
    return r->q && r->q_n == 1 && (r->t->dtype == DT_U8 || r->t->dtype == DT_S8);
}

/* One stretch of one channel. */
static void add_stretch(struct layer_stats *s, struct sums *into, const struct reader *rx,
                        const struct reader *ry, size_t first, size_t step, size_t n,
                        struct range r, bool with_hist)
{
    float room[CHUNK], y[CHUNK];
    bool direct = step == 1 && rx->t->dtype == DT_F32;
    for (size_t done = 0; done < n; done += CHUNK) {
        size_t m = MIN(n - done, (size_t)CHUNK);
        const float *x = direct ? (const float *)rx->t->data + first + done : room;
        if (!direct) {
            read_reals(rx, first + done * step, step, m, room);
        }
        read_reals(ry, first + done * step, step, m, y);
        sums_add(into, x, y, m, r);
        if (with_hist) {
            hist_add(&s->fp32, m, x);
        }
        if (with_hist && !countable(ry)) {
            hist_add(&s->int8, m, y);
        }
    }
}

static void count_codes(struct hist *h, const struct reader *r)
{
    uint64_t count[256] = {0};
    const uint8_t *p = r->t->data;
    for (size_t i = 0; i < r->t->n; i++) {
        count[p[i]]++;
    }
    for (int i = 0; i < 256; i++) {
        int32_t code = r->t->dtype == DT_S8 ? (int8_t)i : i;
        if (count[i]) {
            hist_count(h, (double)((float)(code - r->q->zero[0]) * r->q->scale[0]), count[i]);
        }
    }
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

int layer_stats_add(struct layer_stats *s, const struct tensor *x, const struct tensor *y,
                    const struct quant *q, int channel_axis, bool with_hist, struct err *err)
{
    int rc = check_pair(x, y, q, err);
    if (rc) {
        return rc;
    }
    struct reader rx = {.t = x, .q_n = 1}, ry = {.t = y, .q = q, .q_n = q ? q->n : 1};
    for (int d = ry.q_n > 1 ? q->axis + 1 : y->rank; d < y->rank; d++) {
        ry.q_inner = (ry.q_inner ? ry.q_inner : 1) * (size_t)y->dims[d];
    }
    ry.q_inner = ry.q_inner ? ry.q_inner : 1;
    struct split sp = split_channels(x, channel_axis);
    struct layer_stats one = {.n_channels = sp.channels > 1 ? sp.channels : 0, .images = 1};
    sums_init(&one.all);
    one.scale = mean_scale(q);
    one.channel = mem_alloc(sp.channels * sizeof *one.channel);
    struct range r = code_range(q, y->dtype);
    for (size_t c = 0; c < sp.channels; c++) {
        sums_init(&one.channel[c]);
        if (sp.inner == 1) { /* channels last: walk the channel with a stride */
            add_stretch(&one, &one.channel[c], &rx, &ry, c, sp.channels, sp.outer, r, with_hist);
        }
        for (size_t o = 0; sp.inner > 1 && o < sp.outer; o++) {
            add_stretch(&one, &one.channel[c], &rx, &ry, (o * sp.channels + c) * sp.inner, 1,
                        sp.inner, r, with_hist);
        }
        sums_merge(&one.all, &one.channel[c]);
    }
    if (with_hist && countable(&ry)) {
        count_codes(&one.int8, &ry);
    }
    rc = layer_stats_merge(s, &one, err);
    layer_stats_fini(&one);
    return rc;
}
