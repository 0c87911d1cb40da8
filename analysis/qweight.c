/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * qweight.c: constants as codes; see qweight.h. The order of the roundings is that of onnxruntime's
 * quantizer, so that equal settings give equal codes.
 */
#include "analysis/qweight.h"
#include "analysis/qedit.h"

#include <math.h>
#include <stdlib.h>

void coded_fini(struct coded *c)
{
    tensor_free(c->codes);
    tensor_free(c->scale);
    tensor_free(c->zero);
    *c = (struct coded){0};
}

void coded_put(struct tensor *t, size_t i, int64_t v)
{
    switch (t->dtype) {
    case DT_U16:
        ((uint16_t *)t->data)[i] = (uint16_t)v;
        break;
    case DT_S16:
        ((int16_t *)t->data)[i] = (int16_t)v;
        break;
    case DT_S32:
        ((int32_t *)t->data)[i] = (int32_t)v;
        break;
    default: /* 8 bits, and 4 in a byte */
        ((uint8_t *)t->data)[i] = (uint8_t)v;
        break;
    }
}

/* Elements that follow one another in one channel. */
static size_t inner_of(const struct tensor *w, int axis)
{
    size_t inner = 1;
    for (int d = axis + 1; d < w->rank && axis >= 0; d++) {
        inner *= (size_t)w->dims[d];
    }
    return inner;
}

/* New scales and zero points of a shape: a scalar, or n along one axis. */
static int new_params(enum dtype d, const int64_t *n, struct coded *out, struct err *err)
{
    int rank = n ? 1 : 0;
    int rc = tensor_new(DT_F32, rank, n, NULL, &out->scale, err);
    return rc ? rc : tensor_zeros(d, rank, n, NULL, &out->zero, err);
}

/* Least and, n + 1 places behind it, greatest value by index of axis, with 0; free() it. */
static float *channel_ranges(const struct tensor *w, int axis, size_t n)
{
    size_t inner = inner_of(w, axis);
    float *lo = mem_alloc(2 * (n + 1) * sizeof *lo), *hi = lo + n + 1;
    for (size_t i = 0; i < w->n; i++) {
        size_t at = axis >= 0 ? i / inner % n : 0;
        float v = (float)tensor_f64(w, i);
        lo[at] = fminf(lo[at], v);
        hi[at] = fmaxf(hi[at], v);
    }
    return lo;
}

int coded_params(const struct tensor *w, int axis, const struct code_choice *c, struct coded *out,
                 struct err *err)
{
    struct code_choice choice = *c;
    choice.symmetric |= axis >= 0; /* integer kernels want one zero point for all channels */
    int rc = new_params(c->dtype, axis >= 0 ? &w->dims[axis] : NULL, out, err);
    if (rc) {
        coded_fini(out);
        return rc;
    }
    size_t n = out->scale->n;
    float *lo = channel_ranges(w, axis, n), *hi = lo + n + 1;
    for (size_t i = 0; i < n; i++) {
        int32_t zero;
        codes_params(&choice, (double)lo[i], (double)hi[i], &((float *)out->scale->data)[i], &zero);
        coded_put(out->zero, i, zero);
    }
    free(lo);
    return OK;
}

/* ---- Scales of least error ------------------------------------------------------------------ */

/* One scale of those that are tried for a channel. */
struct attempt {
    double scale, noise;
    int32_t zero;
};
enum { ATTEMPTS = 64 };

static void try_ranges(const struct code_choice *choice, float lo, float hi, struct attempt *a)
{
    for (int k = 0; k < ATTEMPTS; k++) {
        double part = 1 - 0.75 * k / ATTEMPTS;
        float scale;
        codes_params(choice, (double)lo * part, (double)hi * part, &scale, &a[k].zero);
        a[k].scale = (double)scale;
        a[k].noise = 0;
    }
}

static void add_noise(double w, double low, double high, struct attempt *a)
{
    for (int k = 0; k < ATTEMPTS; k++) {
        double q = fmin(fmax(rint(w / a[k].scale) + a[k].zero, low), high);
        double e = w - (q - a[k].zero) * a[k].scale;
        a[k].noise += e * e;
    }
}

void coded_least_error(const struct tensor *w, int axis, const struct code_choice *c,
                       struct coded *out)
{
    struct code_choice choice = *c;
    choice.symmetric |= axis >= 0;
    size_t n = out->scale->n, inner = inner_of(w, axis);
    int64_t low, high;
    dtype_range(choice.dtype, &low, &high);
    float *lo = channel_ranges(w, axis, n), *hi = lo + n + 1;
    struct attempt *a = mem_alloc((n * ATTEMPTS + 1) * sizeof *a);
    for (size_t i = 0; i < n; i++) {
        try_ranges(&choice, lo[i], hi[i], &a[i * ATTEMPTS]);
    }
    for (size_t i = 0; i < w->n; i++) {
        size_t at = axis >= 0 ? i / inner % n : 0;
        add_noise(tensor_f64(w, i), (double)low, (double)high, &a[at * ATTEMPTS]);
    }
    for (size_t i = 0; i < n; i++) {
        const struct attempt *best = &a[i * ATTEMPTS];
        for (int k = 1; k < ATTEMPTS; k++) {
            const struct attempt *x = &a[i * ATTEMPTS + (size_t)k];
            best = x->noise < best->noise ? x : best;
        }
        ((float *)out->scale->data)[i] = (float)best->scale;
        coded_put(out->zero, i, best->zero);
    }
    free(a);
    free(lo);
}

/* ---- Codes ---------------------------------------------------------------------------------- */

void coded_fit_bias(struct coded *c, const struct tensor *bias, float sx)
{
    bool each = c->scale->n > 1 && c->scale->n == bias->n;
    double largest = 0;
    for (size_t i = 0; i < bias->n; i++) {
        largest = fmax(largest, fabs(tensor_f64(bias, i)));
    }
    for (size_t i = 0; i < c->scale->n; i++) {
        float *s = &((float *)c->scale->data)[i];
        double b = each ? fabs(tensor_f64(bias, i)) : largest;
        double least = 1.0001 * 2 * b / (2.0 * INT32_MAX), has = (double)sx * (double)*s;
        if (tensor_s64(c->zero, i) == 0 && has > 0 && has < least) {
            *s = (float)((double)*s * (least / has));
        }
    }
}

int coded_values(const struct tensor *w, int axis, struct coded *c, struct err *err)
{
    enum dtype d = c->zero->dtype;
    int64_t lo, hi;
    int rc = tensor_new(d, w->rank, w->dims, NULL, &c->codes, err);
    dtype_range(d, &lo, &hi);
    size_t inner = inner_of(w, axis);
    for (size_t i = 0; !rc && i < w->n; i++) {
        size_t at = axis >= 0 ? i / inner % c->scale->n : 0;
        float q = rintf((float)tensor_f64(w, i) / ((const float *)c->scale->data)[at]) +
                  (float)tensor_s64(c->zero, at);
        coded_put(c->codes, i, (int64_t)fminf(fmaxf(q, (float)lo), (float)hi));
    }
    return rc;
}

int coded_bias(const struct tensor *bias, float sx, const struct tensor *sw, struct coded *out,
               struct err *err)
{
    int rc = new_params(DT_S32, sw->n > 1 ? &sw->dims[0] : NULL, out, err);
    rc = rc ? rc : tensor_new(DT_S32, bias->rank, bias->dims, NULL, &out->codes, err);
    if (rc) {
        coded_fini(out);
        return rc;
    }
    float *scale = out->scale->data;
    for (size_t i = 0; i < sw->n; i++) {
        scale[i] = sx * ((const float *)sw->data)[i];
    }
    for (size_t i = 0; i < bias->n; i++) {
        double q = rint(tensor_f64(bias, i) / (double)scale[sw->n > 1 ? i : 0]);
        coded_put(out->codes, i, (int64_t)fmin(fmax(q, INT32_MIN), INT32_MAX));
    }
    return OK;
}

int coded_node(struct graph *g, const char *stem, int axis, const struct coded *c)
{
    int in[3] = {edit_constant(g, stem, "_quantized", c->codes),
                 edit_constant(g, stem, "_scale", c->scale),
                 edit_constant(g, stem, "_zero_point", c->zero)};
    int real = edit_value(g, stem, "_DequantizeLinear_Output");
    edit_node(g, "DequantizeLinear", edit_codes_domain(g, c->codes->dtype), stem, in, real);
    if (axis >= 0) {
        graph_attr_int(g, &g->nodes[g->n_nodes - 1], "axis", axis);
    }
    return real;
}

/* ---- Correction of biases ------------------------------------------------------------------- */

static double coded_at(const struct coded *c, size_t i, size_t at)
{
    return (double)(tensor_s64(c->codes, i) - tensor_s64(c->zero, at)) * tensor_f64(c->scale, at);
}

int coded_correction(const struct tensor *w, int channel, const struct coded *c, int axis,
                     size_t group, const struct inputs_mean *mean, const struct tensor *bias,
                     struct tensor **out, struct err *err)
{
    size_t outputs = (size_t)w->dims[channel], inputs = (size_t)w->dims[channel == 0];
    size_t inner = inner_of(w, axis), taps = w->n / (outputs * inputs);
    if (mean->n != inputs * group || (bias && bias->n != outputs)) {
        return err_set(err, E_SHAPE, "%zu means for %zu inputs", mean->n, inputs * group);
    }
    double *sum = mem_alloc((outputs + 1) * sizeof *sum);
    for (size_t i = 0; i < w->n; i++) {
        size_t first = i / taps / (channel == 0 ? inputs : outputs);
        size_t second = i / taps % (channel == 0 ? inputs : outputs);
        size_t o = channel == 0 ? first : second, k = channel == 0 ? second : first;
        size_t from = o / (outputs / group) * inputs + k;
        size_t at = axis >= 0 ? i / inner % c->scale->n : 0;
        sum[o] += (tensor_f64(w, i) - coded_at(c, i, at)) * mean->sum[from];
    }
    int rc = tensor_new(DT_F32, 1, (const int64_t[]){(int64_t)outputs}, NULL, out, err);
    for (size_t o = 0; !rc && o < outputs; o++) {
        double b = bias ? tensor_f64(bias, o) : 0;
        ((float *)(*out)->data)[o] = (float)(b + sum[o] / (double)mean->per_channel);
    }
    free(sum);
    return rc;
}

/* ---- What codes lose ------------------------------------------------------------------------ */

double coded_sqnr(const struct tensor *w, int axis, const struct coded *c)
{
    size_t inner = inner_of(w, axis);
    double signal = 0, noise = 0;
    for (size_t i = 0; i < w->n; i++) {
        size_t at = axis >= 0 ? i / inner % c->scale->n : 0;
        double x = tensor_f64(w, i), y = coded_at(c, i, at);
        signal += x * x;
        noise += (x - y) * (x - y);
    }
    return sqnr_db(signal, noise);
}

double weights_sqnr(const struct graph *g, size_t n, const char *const *names, bool per_channel,
                    const struct code_choice *choice)
{
    for (size_t i = 0; i < n; i++) {
        int node = graph_find_node(g, names[i]);
        int axis = node >= 0 ? edit_weight_axis(g, &g->nodes[node]) : -1;
        if (axis < 0) {
            continue;
        }
        const struct tensor *w = edit_float(g, g->nodes[node].in[1]);
        struct coded c = {0};
        axis = per_channel ? axis : -1;
        int rc = coded_params(w, axis, choice, &c, NULL);
        rc = rc ? rc : coded_values(w, axis, &c, NULL);
        double db = rc ? NAN : coded_sqnr(w, axis, &c);
        coded_fini(&c);
        return db;
    }
    return NAN;
}
