/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * mlas_norm.c: LayerNormalization and Softmax of floats as onnxruntime computes them on x86 with
 * AVX2 or AVX-512, to the bit. Sums are those of interleaved parts.
 *
 * LayerNormalization: rows of fewer than LONG_ROW elements, and all rows behind an Add, have their
 * mean and variance from one pass (Welford) and are divided by the deviation. Longer ones have the
 * mean from a sum in double and the variance from a second pass, and are multiplied by the inverse
 * of the deviation.
 *
 * Softmax: e^x is a polynomial of its own; the sum has as many parts as the widest vector has
 * elements.
 */
#include "engine/norm_f32.h"
#include "engine/op_mlas.h"
#include "engine/op_quant.h"
#include "engine/par.h"

#include <float.h>
#include <math.h>

/* ---- LayerNormalization --------------------------------------------------------------------- */

enum { LONG_ROW = 8, FOUR = 4, EIGHT = 8 };

struct norm_row {
    const float *scale, *bias; /* bias NULL: none */
    size_t n;
    float epsilon;
    bool one_pass;
    float mean[EIGHT], inverse[EIGHT]; /* of the rows that were computed last */
};

/* Up to eight rows in one pass: each step waits for the last one of its row. */
static void short_rows(struct norm_row *r, const float *x, size_t rows, float *y)
{
    float mean[EIGHT] = {0}, squares[EIGHT] = {0};
    for (size_t i = 0; i < r->n; i++) {
        const float count = (float)(i + 1);
        for (size_t k = 0; k < rows; k++) {
            const float v = x[k * r->n + i], d = v - mean[k];
            mean[k] += d / count;
            squares[k] += d * (v - mean[k]);
        }
    }
    for (size_t k = 0; k < rows; k++) {
        const float deviation = sqrtf(squares[k] / (float)r->n + r->epsilon);
        for (size_t i = 0; i < r->n; i++) {
            const float v = (x[k * r->n + i] - mean[k]) / deviation * r->scale[i];
            y[k * r->n + i] = r->bias ? v + r->bias[i] : v;
        }
        r->mean[k] = mean[k];
        r->inverse[k] = 1 / deviation;
    }
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
    r->mean[0] = mean;
    r->inverse[0] = inverse;
}

FMA_CLONE static void long_row_fma(struct norm_row *r, const float *x, float *y)
{
    long_row(r, x, y);
}

static void norm_rows(struct norm_row *r, const float *x, size_t rows, float *y)
{
    if (r->one_pass) {
        short_rows(r, x, rows, y);
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

/* Whether the runtime has made the Add in front one kernel with this: inputs 3 and 4, which are of
 * one shape in three dimensions, and a row 5. */
static bool skips(const struct op_call *c, int axis)
{
    const struct tensor *x = c->in[0], *a = c->n_in > 3 ? c->in[3] : NULL;
    const struct tensor *row = c->n_in > 5 ? c->in[5] : NULL;
    for (int i = 3; i < MIN(c->n_in, 5); i++) {
        const struct tensor *t = c->in[i];
        if (!t || t->dtype != DT_F32 || t->rank != 3 ||
            memcmp(t->dims, x->dims, 3 * sizeof *t->dims) != 0) {
            return false;
        }
    }
    return a && x->rank == 3 && axis == 2 &&
           (!row || (row->dtype == DT_F32 && row->n == (size_t)x->dims[2]));
}

/* y = a + b + row. */
static void add_row(const struct op_call *c, float *y)
{
    const float *a = c->in[3]->data, *b = c->in[4]->data, *row = c->in[5]->data;
    const size_t n = c->in[5]->n;
    for (size_t i = 0; i < c->in[0]->n; i += n) {
        for (size_t k = 0; k < n; k++) {
            y[i + k] = a[i + k] + b[i + k] + row[k];
        }
    }
}

static void norm_all(const struct op_call *c, struct norm_row *r, const float *x, float **moments)
{
    const size_t rows = c->in[0]->n / r->n, step = r->one_pass ? EIGHT : 1;
    for (size_t i = 0; i < rows; i += step) {
        const size_t some = MIN(step, rows - i);
        norm_rows(r, x + i * r->n, some, (float *)c->out[0]->data + i * r->n);
        for (size_t k = 0; k < some; k++) {
            if (moments[0]) {
                moments[0][i + k] = r->mean[k];
            }
            if (moments[1]) {
                moments[1][i + k] = r->inverse[k];
            }
        }
    }
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
    if (rc) {
        return rc;
    }
    const bool behind = skips(c, axis);
    struct norm_row r = {
        .scale = scale->data,
        .bias = bias ? bias->data : NULL,
        .n = scale->n,
        .epsilon = attr_float(c->node, "epsilon", 1e-5F),
        .one_pass = scale->n < LONG_ROW || behind,
    };
    const float *from = x->data;
    if (behind && c->n_in > 5) {
        add_row(c, c->out[0]->data);
        from = c->out[0]->data;
    }
    norm_all(c, &r, from, moments);
    return OK;
}

/* ---- SimplifiedLayerNormalization: x / sqrt(mean of squares + epsilon) * scale --------------- */

enum { LONG_SIMPLE = 16 }; /* elements of rows that are summed in parts */

struct simple {
    const float *x, *scale;
    float *y;
    size_t n;
    float epsilon;
};

IN_BOTH void simple_row(const struct simple *s, const float *restrict x, float *restrict y)
{
    const size_t n = s->n;
    const float *restrict scale = s->scale;
    float squares = 0;
    if (n < LONG_SIMPLE) {
        for (size_t i = 0; i < n; i++) {
            squares += x[i] * x[i];
        }
        const float deviation = sqrtf(squares / (float)n + s->epsilon);
        for (size_t i = 0; i < n; i++) {
            y[i] = x[i] / deviation * scale[i];
        }
        return;
    }
    squares = squares_of(x, n, 0);
    const float inverse = 1 / sqrtf(squares / (float)n + s->epsilon);
    for (size_t i = 0; i < n; i++) {
        y[i] = x[i] * inverse * scale[i];
    }
}

FMA_CLONE static void simple_row_fma(const struct simple *s, const float *x, float *y)
{
    simple_row(s, x, y);
}

static void simple_rows(void *ctx, size_t from, size_t to)
{
    const struct simple *s = ctx;
    const bool fma = have_fma();
    for (size_t i = from; i < to; i++) {
        (fma ? simple_row_fma : simple_row)(s, s->x + i * s->n, s->y + i * s->n);
    }
}

/* Rows are the last dimension. */
static int op_simple_norm(struct op_call *c, struct err *err)
{
    enum { EACH = 1 << 14 }; /* elements that a thread takes at a time */
    const struct tensor *x = c->in[0], *scale = c->in[1];
    int rc = op_want(c, 0, DT_F32, -1, err);
    rc = rc ? rc : op_want(c, 1, DT_F32, 1, err);
    if (!rc && (x->rank < 1 || !is_row(scale, x, x->rank - 1))) {
        rc = err_set(err, E_SHAPE, "scale has %zu elements, expected one for each of a row",
                     scale->n);
    }
    rc = rc ? rc : op_out(c, 0, DT_F32, x->rank, x->dims, err);
    if (rc || x->n == 0) {
        return rc;
    }
    struct simple s = {x->data, scale->data, c->out[0]->data, scale->n,
                       attr_float(c->node, "epsilon", 1e-5F)};
    par_pieces(c->par, x->n / s.n, MAX((size_t)1, EACH / s.n), simple_rows, &s);
    return OK;
}

/* ---- Softmax -------------------------------------------------------------------------------- */

enum { NARROW = 8, WIDE = 16 };

union f32_bits {
    float real;
    uint32_t bits;
};

/* e^(x - top) = 2^k e^r with whole k and |r| <= ln(2) / 2. Wide vectors have an instruction for the
 * power, which rounds once and reaches denormal numbers: in two steps here, of which the first is
 * exact. Narrow ones put k in the place of the exponent. */
IN_BOTH void exp_row(const float *restrict x, size_t n, float top, size_t lanes, float *restrict y)
{
    const float shift = 12582912.0F; /* 1.5 * 2^23: what it is added to becomes whole */
    const float least = lanes == WIDE ? -103.9720840454F : -88.3762626647949F;
    const int32_t split = lanes == WIDE ? -100 : INT16_MIN;
    for (size_t i = 0; i < n; i++) {
        const float d = x[i] - top, v = least > d ? least : d;
        const union f32_bits whole = {fmaf(v, 1.44269504088896341F, shift)};
        const float k = whole.real - shift;
        const float r = fmaf(k, -1.42860677e-6F, fmaf(k, -6.93145752e-1F, v));
        float p = fmaf(0x1.694p-10F, r, 0x1.125edcp-7F);
        p = fmaf(p, r, 0x1.555b5ap-5F);
        p = fmaf(p, r, 0x1.55545p-3F);
        p = fmaf(p, r, 0x1.fffff6p-2F);
        p = fmaf(p, r, 1.0F);
        p = fmaf(p, r, 1.0F);
        const int32_t power = (int32_t)(whole.bits - 0x4b400000U); /* from the bits of `shift` on */
        const int32_t first = power > split ? power : split, rest = power - first;
        const union f32_bits a = {.bits = (uint32_t)(first + 127) << 23};
        const union f32_bits b = {.bits = (uint32_t)(rest + 127) << 23};
        y[i] = p * a.real * b.real;
    }
}

IN_BOTH float sum_row(const float *v, size_t n, size_t lanes)
{
    float lane[WIDE] = {0};
    size_t i = 0;
    for (; i + lanes <= n; i += lanes) {
        for (size_t k = 0; k < lanes; k++) {
            lane[k] += v[i + k];
        }
    }
    for (size_t k = 0; i < n; i++, k++) {
        lane[k] += v[i];
    }
    for (size_t k = 0; k < NARROW && lanes == WIDE; k++) {
        lane[k] += lane[k + NARROW];
    }
    return ((lane[0] + lane[1]) + (lane[2] + lane[3])) +
           ((lane[4] + lane[5]) + (lane[6] + lane[7]));
}

/* A NaN is no maximum; it makes the sum NaN. */
IN_BOTH float max_of(const float *x, size_t n)
{
    float lane[NARROW], top = -FLT_MAX;
    size_t i = 0;
    for (size_t k = 0; k < NARROW; k++) {
        lane[k] = top;
    }
    for (; i + NARROW <= n; i += NARROW) {
        for (size_t k = 0; k < NARROW; k++) {
            lane[k] = x[i + k] > lane[k] ? x[i + k] : lane[k];
        }
    }
    for (; i < n; i++) {
        top = x[i] > top ? x[i] : top;
    }
    for (size_t k = 0; k < NARROW; k++) {
        top = lane[k] > top ? lane[k] : top;
    }
    return top;
}

IN_BOTH void softmax_row(const float *restrict x, size_t n, size_t lanes, bool log,
                         float *restrict y)
{
    const float top = max_of(x, n);
    exp_row(x, n, top, lanes, y);
    const float sum = sum_row(y, n, lanes);
    const float factor = log ? logf(sum) : 1 / sum;
    for (size_t i = 0; i < n && log; i++) {
        y[i] = x[i] - top - factor;
    }
    for (size_t i = 0; i < n && !log; i++) {
        y[i] *= factor;
    }
}

#if defined(__x86_64__)
#define WIDE_CLONE __attribute__((target("avx512f,prefer-vector-width=512")))
static bool have_wide(void)
{
    return __builtin_cpu_supports("avx512f");
}
#else
#define WIDE_CLONE
static bool have_wide(void)
{
    return true;
}
#endif

WIDE_CLONE static void softmax_row_wide(const float *x, size_t n, bool log, float *y)
{
    softmax_row(x, n, WIDE, log, y);
}

FMA_CLONE static void softmax_row_fma(const float *x, size_t n, size_t lanes, bool log, float *y)
{
    softmax_row(x, n, lanes, log, y);
}

void mlas_softmax(const float *x, size_t n, size_t lanes, bool log, float *y)
{
    if (lanes == WIDE && have_wide()) {
        softmax_row_wide(x, n, log, y);
    } else if (have_fma()) {
        softmax_row_fma(x, n, lanes, log, y);
    } else {
        softmax_row(x, n, lanes, log, y);
    }
}

// clang-format off
const struct op op_mlas_norm[] = {
    {.name = "LayerNormalization", .domain = fuse_mlas_domain, .since = 1, .min_in = 2, .max_in = 6, .ref = op_layer_norm, .spec = "ORT LayerNormalization, order of sums"},
    {.name = "SimplifiedLayerNormalization", .domain = fuse_mlas_domain, .since = 1, .min_in = 2, .max_in = 2, .ref = op_simple_norm, .spec = "ORT SimplifiedLayerNormalization, order of sums"},
    {0},
};
// clang-format on
