/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * op_norm.c: what divides by a sum over neighbours: softmax and its kin, and the normalizations
 * (layer, instance, group, RMS, Lp, local response). All in double, rounded once, but for the
 * kernels of float32 rows in mlas_norm.c and norm_f32.c.
 */
#include "engine/elem.h"
#include "engine/fuse.h"
#include "engine/norm_f32.h"
#include "engine/op.h"
#include "engine/par.h"

#include <math.h>

/* A tensor as rows: `n` elements `inner` apart, outer * inner of them. */
struct rows {
    int64_t outer, n, inner;
};

/* Dimensions [axis, end) become the row. Only for tensors with elements: nothing overflows then. */
static struct rows rows_of(const struct tensor *t, int axis, int end)
{
    struct rows r = {1, 1, 1};
    for (int d = 0; d < t->rank; d++) {
        *(d < axis ? &r.outer : d < end ? &r.n : &r.inner) *= t->dims[d];
    }
    return r;
}

/* ---- Row by row: softmax and kin ------------------------------------------------------------ */

typedef void row_fn(int64_t n, double *x, double p);

static double row_max(int64_t n, const double *x)
{
    double m = -HUGE_VAL;
    for (int64_t i = 0; i < n; i++) {
        m = fmax(m, x[i]);
    }
    /* A row of -inf alone stays NaN-free in the exponent; its sum is 0 then and y is NaN. */
    return isinf(m) && m < 0 ? 0 : m;
}

static void softmax_row(int64_t n, double *x, double p)
{
    (void)p;
    const double m = row_max(n, x);
    double sum = 0;
    for (int64_t i = 0; i < n; i++) {
        sum += x[i] = exp(x[i] - m);
    }
    for (int64_t i = 0; i < n; i++) {
        x[i] /= sum;
    }
}

static void log_softmax_row(int64_t n, double *x, double p)
{
    (void)p;
    const double m = row_max(n, x);
    double sum = 0;
    for (int64_t i = 0; i < n; i++) {
        sum += exp(x[i] - m);
    }
    for (int64_t i = 0; i < n; i++) {
        x[i] -= m + log(sum);
    }
}

/* 1 at the first maximum. */
static void hardmax_row(int64_t n, double *x, double p)
{
    (void)p;
    int64_t best = 0;
    for (int64_t i = 1; i < n; i++) {
        best = x[i] > x[best] ? i : best;
    }
    for (int64_t i = 0; i < n; i++) {
        x[i] = i == best;
    }
}

/* x / |x|_p for p 1 or 2; a zero row stays zero. */
static void lp_row(int64_t n, double *x, double p)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++) {
        sum += p == 1 ? fabs(x[i]) : x[i] * x[i];
    }
    const double norm = p == 1 ? sum : sqrt(sum);
    for (int64_t i = 0; i < n && norm != 0; i++) {
        x[i] /= norm;
    }
}

static void get_row(const struct tensor *x, const struct rows *r, int64_t at, double *row)
{
    if (r->inner == 1) {
        elem_get_f64(x, (size_t)at, (size_t)r->n, row);
        return;
    }
    for (int64_t i = 0; i < r->n; i++) {
        elem_get_f64(x, (size_t)(at + i * r->inner), 1, row + i);
    }
}

static void put_row(struct tensor *y, const struct rows *r, int64_t at, const double *row)
{
    if (r->inner == 1) {
        elem_put_f64(y, (size_t)at, (size_t)r->n, row);
        return;
    }
    for (int64_t i = 0; i < r->n; i++) {
        elem_put_f64(y, (size_t)(at + i * r->inner), 1, row + i);
    }
}

static int each_row(struct op_call *c, row_fn *f, int axis, int end, double p, struct err *err)
{
    const struct tensor *x = c->in[0];
    struct tensor *row = NULL;
    int rc = op_out(c, 0, x->dtype, x->rank, x->dims, err);
    if (rc || x->n == 0) {
        return rc;
    }
    const struct rows r = rows_of(x, axis, end);
    rc = tensor_new(DT_F64, 1, &r.n, c->budget, &row, err);
    for (int64_t o = 0; o < r.outer && !rc; o++) {
        for (int64_t i = 0; i < r.inner; i++) {
            const int64_t at = o * r.n * r.inner + i;
            get_row(x, &r, at, row->data);
            f(r.n, row->data, p);
            put_row(c->out[0], &r, at, row->data);
        }
    }
    tensor_free(row);
    return rc;
}

static row_fn *softmax_find(const struct node *n)
{
    return strcmp(n->op, "Softmax") == 0      ? softmax_row
           : strcmp(n->op, "LogSoftmax") == 0 ? log_softmax_row
                                              : hardmax_row;
}

/* Rows of float32 in the runtime's way. */
struct f32_rows {
    const float *x;
    float *y;
    struct rows r;
    size_t lanes;
    bool log;
};

static void neighbours(void *ctx, size_t from, size_t to)
{
    const struct f32_rows *j = ctx;
    const size_t n = (size_t)j->r.n;
    for (size_t i = from; i < to; i++) {
        mlas_softmax(j->x + i * n, n, j->lanes, j->log, j->y + i * n);
    }
}

/* Rows whose elements lie apart; room: for two of them. */
static void strided(const struct f32_rows *j, float *room)
{
    const size_t n = (size_t)j->r.n, inner = (size_t)j->r.inner;
    for (size_t i = 0; i < (size_t)j->r.outer * inner; i++) {
        const size_t at = i / inner * n * inner + i % inner;
        for (size_t k = 0; k < n; k++) {
            room[k] = j->x[at + k * inner];
        }
        mlas_softmax(room, n, j->lanes, j->log, room + n);
        for (size_t k = 0; k < n; k++) {
            j->y[at + k * inner] = room[n + k];
        }
    }
}

static int softmax_rows(struct op_call *c, const struct rows *r, size_t lanes, struct err *err)
{
    enum { EACH = 1 << 14 }; /* elements that a thread takes at a time */
    const struct tensor *x = c->in[0];
    struct tensor *room = NULL;
    int rc = op_out(c, 0, DT_F32, x->rank, x->dims, err);
    if (rc) {
        return rc;
    }
    struct f32_rows j = {x->data, c->out[0]->data, *r, lanes,
                         strcmp(c->node->op, "LogSoftmax") == 0};
    if (r->inner == 1) {
        par_pieces(c->par, (size_t)r->outer, MAX((size_t)1, EACH / (size_t)r->n), neighbours, &j);
        return OK;
    }
    const int64_t two[] = {2, r->n};
    rc = tensor_new(DT_F32, 2, two, c->budget, &room, err);
    if (!rc) {
        strided(&j, room->data);
    }
    tensor_free(room);
    return rc;
}

/* float32 among codes has the bits of the runtime on this CPU. Elsewhere that is only the fast way,
 * and the same on every CPU. */
static int softmax_kin(struct op_call *c, int axis, int end, struct err *err)
{
    const struct tensor *x = c->in[0];
    const bool as_runtime = strcmp(c->node->domain, fuse_mlas_domain) == 0;
    if ((as_runtime || c->kernels == KERNELS_FAST) && x->dtype == DT_F32 && x->n != 0 &&
        strcmp(c->node->op, "Hardmax") != 0) {
        const struct rows r = rows_of(x, axis, end);
        return softmax_rows(c, &r, as_runtime ? mlas_block_size() : 16, err);
    }
    return each_row(c, softmax_find(c->node), axis, end, 0, err);
}

static int softmax(struct op_call *c, struct err *err)
{
    int axis = 0;
    int rc = op_want_float(c, 1, err);
    rc = rc ? rc : op_axis(attr_int(c->node, "axis", -1), c->in[0]->rank, &axis, err);
    return rc ? rc : softmax_kin(c, axis, axis + 1, err);
}

/* Until opset 12 the input counted as a matrix: all dimensions from the axis on are one row. */
static int softmax_flat(struct op_call *c, struct err *err)
{
    int axis = 0;
    int rc = op_want_float(c, 1, err);
    const int64_t given = attr_int(c->node, "axis", 1);
    if (!rc && given == c->in[0]->rank) {
        axis = c->in[0]->rank;
    } else if (!rc) {
        rc = op_axis(given, c->in[0]->rank, &axis, err);
    }
    return rc ? rc : softmax_kin(c, axis, c->in[0]->rank, err);
}

/* The same as a float node among codes, which keeps its opset as an attribute. */
static int softmax_mlas(struct op_call *c, struct err *err)
{
    return attr_int(c->node, fuse_opset_attr, 1) < 13 ? softmax_flat(c, err) : softmax(c, err);
}

static int lp_normalization(struct op_call *c, struct err *err)
{
    int axis = 0;
    const int64_t p = attr_int(c->node, "p", 2);
    int rc = op_want_float(c, 1, err);
    rc = rc ? rc : op_axis(attr_int(c->node, "axis", -1), c->in[0]->rank, &axis, err);
    if (!rc && p != 1 && p != 2) {
        rc = err_set(err, E_FORMAT, "p is %lld, expected 1 or 2", (long long)p);
    }
    return rc ? rc : each_row(c, lp_row, axis, axis + 1, (double)p, err);
}

/* ---- Mean and variance ---------------------------------------------------------------------- */

/* Two passes: the variance is that of the differences from the mean. */
static void moments(int64_t n, const double *x, double *mean, double *variance)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++) {
        sum += x[i];
    }
    *mean = sum / (double)n;
    sum = 0;
    for (int64_t i = 0; i < n; i++) {
        sum += (x[i] - *mean) * (x[i] - *mean);
    }
    *variance = sum / (double)n;
}

/* x -> (x - mean) * inv with inv = 1 / sqrt(variance + epsilon); without `center` mean is 0. */
static void normalize_row(int64_t n, double *x, double epsilon, bool center, double *mean,
                          double *inv)
{
    double variance = 0;
    if (center) {
        moments(n, x, mean, &variance);
    } else {
        for (int64_t i = 0; i < n; i++) {
            variance += x[i] * x[i] / (double)n;
        }
        *mean = 0;
    }
    *inv = 1 / sqrt(variance + epsilon);
    for (int64_t i = 0; i < n; i++) {
        x[i] = (x[i] - *mean) * *inv;
    }
}

/* y = x * scale + bias, both broadcast to x (f64); bias may be NULL. */
static int scale_and_shift(struct op_call *c, const struct tensor *x, const struct tensor *scale,
                           const struct tensor *bias, struct err *err)
{
    struct tensor *s = NULL, *b = NULL, zero = {.dtype = DT_F64};
    struct walk w;
    int rank;
    int64_t dims[MAX_RANK];
    const struct tensor *all[] = {x, scale, bias ? bias : &zero};
    int rc = walk_broadcast(&w, 3, all, &rank, dims, err);
    if (!rc && (rank != x->rank || memcmp(dims, x->dims, (size_t)rank * sizeof *dims) != 0)) {
        rc = err_set(err, E_SHAPE, "scale or bias do not broadcast to the input");
    }
    rc = rc ? rc : elem_to_f64(scale, c->budget, &s, err);
    rc = rc || !bias ? rc : elem_to_f64(bias, c->budget, &b, err);
    if (!rc && walk_start(&w)) {
        double *v = x->data;
        do {
            const int last = w.rank - 1;
            for (int64_t e = 0; e < w.dims[last]; e++) {
                double *at = v + w.at[0] + e;
                *at *= ((double *)s->data)[w.at[2] + e * w.stride[2][last]];
                *at += b ? ((double *)b->data)[w.at[3] + e * w.stride[3][last]] : 0;
            }
        } while (walk_next(&w));
        elem_put_f64(c->out[0], 0, x->n, v);
    }
    tensor_free(s);
    tensor_free(b);
    return rc;
}

/* Mean and 1/standard deviation per row, as outputs 1 and 2 of LayerNormalization. */
static int make_statistics(struct op_call *c, int axis, struct tensor **stats, struct err *err)
{
    int64_t dims[MAX_RANK];
    for (int d = 0; d < c->in[0]->rank; d++) {
        dims[d] = d < axis ? c->in[0]->dims[d] : 1;
    }
    for (int i = 1; i <= 2; i++) {
        stats[i - 1] = NULL;
        if (i < c->n_out && c->node->out[i] >= 0) {
            int rc = op_out(c, i, c->in[0]->dtype == DT_F64 ? DT_F64 : DT_F32, c->in[0]->rank, dims,
                            err);
            if (rc) {
                return rc;
            }
            stats[i - 1] = c->out[i];
        }
    }
    return OK;
}

/* Whether scale or bias are float32 and one row's, element by element. */
static bool is_row(const struct tensor *t, const struct tensor *x, int axis)
{
    return t->dtype == DT_F32 && t->rank == x->rank - axis &&
           memcmp(t->dims, x->dims + axis, (size_t)t->rank * sizeof *t->dims) == 0;
}

/* LayerNormalization of float32 with vectors of a row's shape. */
static bool layer_norm_fits(const struct op_call *c, int axis)
{
    const struct tensor *x = c->in[0], *bias = c->n_in > 2 ? c->in[2] : NULL;
    return c->kernels == KERNELS_FAST && x->dtype == DT_F32 && x->n > 0 &&
           strcmp(c->node->op, "LayerNormalization") == 0 && is_row(c->in[1], x, axis) &&
           (!bias || is_row(bias, x, axis));
}

static void layer_norm_rows(struct op_call *c, int axis, double epsilon, struct tensor **stats)
{
    const struct tensor *x = c->in[0], *bias = c->n_in > 2 ? c->in[2] : NULL;
    const struct rows r = rows_of(x, axis, x->rank);
    for (int64_t o = 0; o < r.outer; o++) {
        double moment[2];
        layer_norm_f32((const float *)x->data + o * r.n, c->in[1]->data, bias ? bias->data : NULL,
                       (float *)c->out[0]->data + o * r.n, (size_t)r.n, epsilon, &moment[0],
                       &moment[1]);
        for (int i = 0; i < 2; i++) {
            if (stats[i]) {
                elem_put_f64(stats[i], (size_t)o, 1, &moment[i]);
            }
        }
    }
}

/* LayerNormalization and, without centering and bias, RMSNormalization. */
static int layer_norm(struct op_call *c, struct err *err)
{
    const struct tensor *x = c->in[0];
    const bool center = strcmp(c->node->op, "LayerNormalization") == 0;
    const double epsilon = (double)attr_float(c->node, "epsilon", 1e-5F);
    struct tensor *work = NULL, *stats[2] = {NULL, NULL};
    int axis = 0;
    int rc = op_want_float(c, 1, err);
    rc = rc ? rc : op_axis(attr_int(c->node, "axis", -1), x->rank, &axis, err);
    rc = rc ? rc : op_out(c, 0, x->dtype, x->rank, x->dims, err);
    rc = rc ? rc : make_statistics(c, axis, stats, err);
    if (!rc && layer_norm_fits(c, axis)) {
        layer_norm_rows(c, axis, epsilon, stats);
        return OK;
    }
    rc = rc ? rc : elem_to_f64(x, c->budget, &work, err);
    if (rc || x->n == 0) {
        goto out;
    }
    /* Never in place: elem_to_f64 copies even a float64 input. */
    const struct rows r = rows_of(x, axis, x->rank);
    for (int64_t o = 0; o < r.outer; o++) {
        double mean, inv;
        normalize_row(r.n, (double *)work->data + o * r.n, epsilon, center, &mean, &inv);
        if (stats[0]) {
            elem_put_f64(stats[0], (size_t)o, 1, &mean);
        }
        if (stats[1]) {
            elem_put_f64(stats[1], (size_t)o, 1, &inv);
        }
    }
    rc = scale_and_shift(c, work, c->in[1], c->n_in > 2 ? c->in[2] : NULL, err);
out:
    tensor_free(work);
    return rc;
}

/* Planes of a group of channels are normalized together, then each channel is scaled and shifted.
 * InstanceNormalization: a group a channel. GroupNormalization-18 has a scale per group. */
static int group_norm(struct op_call *c, struct err *err)
{
    const struct tensor *x = c->in[0];
    const double epsilon = (double)attr_float(c->node, "epsilon", 1e-5F);
    struct tensor *row = NULL;
    int rc = op_want_float(c, 2, err);
    if (rc) {
        return rc;
    }
    const bool instance = strcmp(c->node->op, "InstanceNormalization") == 0;
    const int64_t channels = x->dims[1];
    const int64_t groups = instance ? channels : attr_int(c->node, "num_groups", 0);
    if (groups < 1 || channels % groups) {
        return err_set(err, E_SHAPE, "%lld channels do not divide into %lld groups",
                       (long long)channels, (long long)groups);
    }
    const int64_t scales = !instance && c->opset < 21 ? groups : channels;
    rc = op_want_vectors(c, 2, scales, err);
    rc = rc ? rc : op_out(c, 0, x->dtype, x->rank, x->dims, err);
    if (rc || x->n == 0) {
        return rc;
    }
    const int64_t plane = rows_of(x, 2, x->rank).n, per = channels / groups, n = plane * per;
    rc = tensor_new(DT_F64, 1, &n, c->budget, &row, err);
    for (int64_t g = 0; g < x->dims[0] * groups && !rc; g++) {
        double mean, inv, *v = row->data;
        elem_get_f64(x, (size_t)(g * n), (size_t)n, v);
        normalize_row(n, v, epsilon, true, &mean, &inv);
        for (int64_t i = 0; i < n; i++) {
            const int64_t channel = g % groups * per + i / plane;
            const size_t at = (size_t)(channel * scales / channels);
            v[i] = v[i] * tensor_f64(c->in[1], at) + tensor_f64(c->in[2], at);
        }
        elem_put_f64(c->out[0], (size_t)(g * n), (size_t)n, v);
    }
    tensor_free(row);
    return rc;
}

/* ---- LRN ------------------------------------------------------------------------------------ */

/* y = x / (bias + alpha / size * sum of x^2 over `size` neighbouring channels) ^ beta. */
static int lrn(struct op_call *c, struct err *err)
{
    const struct tensor *x = c->in[0];
    const double alpha = (double)attr_float(c->node, "alpha", 1e-4F);
    const double beta = (double)attr_float(c->node, "beta", 0.75F);
    const double bias = (double)attr_float(c->node, "bias", 1);
    const int64_t size = attr_int(c->node, "size", 0);
    int rc = op_want_float(c, 2, err);
    if (!rc && size < 1) {
        rc = err_set(err, E_FORMAT, "size is %lld, expected 1 or more", (long long)size);
    }
    rc = rc ? rc : op_out(c, 0, x->dtype, x->rank, x->dims, err);
    if (rc || x->n == 0) {
        return rc;
    }
    const int64_t plane = rows_of(x, 2, x->rank).n, channels = x->dims[1];
    const int64_t reach = MIN(size, 2 * channels); /* wider windows see the same channels */
    for (int64_t i = 0; i < (int64_t)x->n; i++) {
        const int64_t ch = i / plane % channels;
        const int64_t first = MAX(ch - (reach - 1) / 2, 0);
        const int64_t last = MIN(ch + reach / 2, channels - 1);
        double v, sum = 0;
        for (int64_t k = first; k <= last; k++) {
            elem_get_f64(x, (size_t)(i + (k - ch) * plane), 1, &v);
            sum += v * v;
        }
        elem_get_f64(x, (size_t)i, 1, &v);
        v /= pow(bias + alpha / (double)size * sum, beta);
        elem_put_f64(c->out[0], (size_t)i, 1, &v);
    }
    return OK;
}

#define ROW(op_name, first, least, most, fn, spec_text)                                            \
    {                                                                                              \
        .name = (op_name), .since = (first), .min_in = (least), .max_in = (most), .ref = (fn),     \
        .spec = (spec_text)                                                                        \
    }

#define ROW_MLAS(op_name, spec_text)                                                               \
    {                                                                                              \
        .name = (op_name), .domain = fuse_mlas_domain, .since = 1, .min_in = 1, .max_in = 1,       \
        .ref = softmax_mlas, .spec = (spec_text)                                                   \
    }

const struct op op_norm[] = {
    ROW("Softmax", 1, 1, 1, softmax_flat, "ONNX Softmax-11"),
    ROW("Softmax", 13, 1, 1, softmax, "ONNX Softmax-13"),
    ROW("LogSoftmax", 1, 1, 1, softmax_flat, "ONNX LogSoftmax-11"),
    ROW("LogSoftmax", 13, 1, 1, softmax, "ONNX LogSoftmax-13"),
    ROW("Hardmax", 1, 1, 1, softmax_flat, "ONNX Hardmax-11"),
    ROW("Hardmax", 13, 1, 1, softmax, "ONNX Hardmax-13"),
    ROW_MLAS("Softmax", "ORT Softmax, polynomial and order of sums"),
    ROW_MLAS("LogSoftmax", "ORT LogSoftmax, polynomial and order of sums"),
    ROW("LpNormalization", 1, 1, 1, lp_normalization, "ONNX LpNormalization-22"),
    ROW("LayerNormalization", 17, 2, 3, layer_norm, "ONNX LayerNormalization-17"),
    ROW("RMSNormalization", 23, 2, 2, layer_norm, "ONNX RMSNormalization-23"),
    ROW("InstanceNormalization", 6, 3, 3, group_norm, "ONNX InstanceNormalization-22"),
    ROW("GroupNormalization", 18, 3, 3, group_norm, "ONNX GroupNormalization-21"),
    ROW("LRN", 1, 1, 1, lrn, "ONNX LRN-13"),
    {0},
};
