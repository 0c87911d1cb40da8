/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * mlas_norm.c: LayerNormalization and Softmax of floats as onnxruntime computes them on x86 with
 * AVX2 or AVX-512, to the bit. Sums are those of interleaved parts.
 *
 * LayerNormalization: rows of fewer than LONG_ROW elements have their mean and variance from one
 * pass (Welford) and are divided by the deviation. Longer ones have the mean from a sum in double
 * and the variance from a second pass, and are multiplied by the inverse of the deviation.
 *
 * Softmax: e^x is a polynomial of its own; the sum has as many parts as the widest vector has
 * elements.
 */
#include "engine/op_mlas.h"

#include <math.h>

/* ---- LayerNormalization --------------------------------------------------------------------- */

enum { LONG_ROW = 8, FOUR = 4, EIGHT = 8 };

struct norm_row {
    const float *scale, *bias; /* bias NULL: none */
    size_t n;
    float epsilon;
    float mean, inverse; /* of the row that was computed last */
};

static void short_row(struct norm_row *r, const float *x, float *y)
{
    float mean = 0, squares = 0;
    for (size_t i = 0; i < r->n; i++) {
        const float d = x[i] - mean;
        mean += d / (float)(i + 1);
        squares += d * (x[i] - mean);
    }
    const float deviation = sqrtf(squares / (float)r->n + r->epsilon);
    for (size_t i = 0; i < r->n; i++) {
        const float v = (x[i] - mean) / deviation * r->scale[i];
        y[i] = r->bias ? v + r->bias[i] : v;
    }
    r->mean = mean;
    r->inverse = 1 / deviation;
}

IN_BOTH float mean_of(const float *x, size_t n)
{
    double lane[FOUR] = {0};
    size_t i = 0;
    for (; i + FOUR <= n; i += FOUR) {
        for (size_t k = 0; k < FOUR; k++) {
            lane[k] += (double)x[i + k];
        }
    }
    double sum = (lane[0] + lane[2]) + (lane[1] + lane[3]);
    for (; i < n; i++) {
        sum += (double)x[i];
    }
    return (float)(sum / (double)n);
}

/* Of the elements behind the last eight the first four have their squares rounded, if there are
 * four; all others are added unrounded. */
IN_BOTH float squares_of(const float *x, size_t n, float mean)
{
    float lane[EIGHT] = {0};
    size_t i = 0;
    for (; i + EIGHT <= n; i += EIGHT) {
        for (size_t k = 0; k < EIGHT; k++) {
            const float d = x[i + k] - mean;
            lane[k] = fmaf(d, d, lane[k]);
        }
    }
    float sum =
        ((lane[0] + lane[4]) + (lane[2] + lane[6])) + ((lane[1] + lane[5]) + (lane[3] + lane[7]));
    const size_t rounded = n - i >= FOUR ? i + FOUR : i;
    for (; i < rounded; i++) {
        sum += (x[i] - mean) * (x[i] - mean);
    }
    for (; i < n; i++) {
        sum = fmaf(x[i] - mean, x[i] - mean, sum);
    }
    return sum;
}

IN_BOTH void long_row(struct norm_row *r, const float *restrict x, float *restrict y)
{
    const size_t n = r->n;
    const float *restrict scale = r->scale, *restrict bias = r->bias;
    const float mean = mean_of(x, n);
    const float inverse = 1 / sqrtf(squares_of(x, n, mean) / (float)n + r->epsilon);
    for (size_t i = 0; i < n && bias; i++) {
        y[i] = fmaf((x[i] - mean) * inverse, scale[i], bias[i]);
    }
    for (size_t i = 0; i < n && !bias; i++) {
        y[i] = (x[i] - mean) * inverse * scale[i];
    }
    r->mean = mean;
    r->inverse = inverse;
}

FMA_CLONE static void long_row_fma(struct norm_row *r, const float *x, float *y)
{
    long_row(r, x, y);
}

static void norm_row(struct norm_row *r, const float *x, float *y)
{
    if (r->n < LONG_ROW) {
        short_row(r, x, y);
    } else if (have_fma()) {
        long_row_fma(r, x, y);
    } else {
        long_row(r, x, y);
    }
}

/* Whether scale or bias have the shape of a row. */
static bool is_row(const struct tensor *t, const struct tensor *x, int axis)
{
    return t->dtype == DT_F32 && t->rank == x->rank - axis &&
           memcmp(t->dims, x->dims + axis, (size_t)t->rank * sizeof *t->dims) == 0;
}

/* Outputs 1 and 2, as far as they are wanted: means and inverse deviations. */
static int make_moments(struct op_call *c, int axis, float **moments, struct err *err)
{
    int64_t dims[MAX_RANK];
    for (int d = 0; d < c->in[0]->rank; d++) {
        dims[d] = d < axis ? c->in[0]->dims[d] : 1;
    }
    for (int i = 1; i < MIN(c->n_out, 3); i++) {
        if (c->node->out[i] >= 0) {
            int rc = op_out(c, i, DT_F32, c->in[0]->rank, dims, err);
            if (rc) {
                return rc;
            }
            moments[i - 1] = c->out[i]->data;
        }
    }
    return OK;
}

static int op_layer_norm(struct op_call *c, struct err *err)
{
    const struct tensor *x = c->in[0], *scale = c->in[1], *bias = c->n_in > 2 ? c->in[2] : NULL;
    int axis = 0;
    int rc = op_axis(attr_int(c->node, "axis", -1), x->rank, &axis, err);
    if (rc || x->dtype != DT_F32 || x->n == 0 || !is_row(scale, x, axis) ||
        (bias && !is_row(bias, x, axis))) {
        return rc ? rc : mlas_run_ordinary(c, err);
    }
    float *moments[2] = {NULL, NULL};
    rc = op_out(c, 0, DT_F32, x->rank, x->dims, err);
    rc = rc ? rc : make_moments(c, axis, moments, err);
    struct norm_row r = {
        .scale = scale->data,
        .bias = bias ? bias->data : NULL,
        .n = scale->n,
        .epsilon = attr_float(c->node, "epsilon", 1e-5F),
    };
    for (size_t i = 0; !rc && i < x->n / r.n; i++) {
        norm_row(&r, (const float *)x->data + i * r.n, (float *)c->out[0]->data + i * r.n);
        if (moments[0]) {
            moments[0][i] = r.mean;
        }
        if (moments[1]) {
            moments[1][i] = r.inverse;
        }
    }
    return rc;
}

// clang-format off
const struct op op_mlas_norm[] = {
    {.name = "LayerNormalization", .domain = fuse_mlas_domain, .since = 1, .min_in = 2, .max_in = 3, .ref = op_layer_norm, .spec = "ORT LayerNormalization, order of sums"},
    {0},
};
// clang-format on
