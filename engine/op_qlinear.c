/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * op_qlinear.c: the quantized operators without weights, all from onnxruntime's com.microsoft
 * domain: QLinearAdd, Mul, AveragePool, GlobalAveragePool, Softmax, Concat, Where, Sigmoid,
 * LeakyRelu. They have no specification to the last bit; the formulas are those of onnxruntime
 * 1.32 on x86, found by experiment, including where it rounds and how it saturates.
 */
#include "engine/elem.h"
#include "engine/op_quant.h"
#include "engine/window.h"

#include <float.h>
#include <inttypes.h>
#include <math.h>

/* ---- Add and Mul ---------------------------------------------------------------------------- */

struct binary {
    struct q1 a, b, y;
};

static int broadcast(const struct op_call *c, int n, const struct tensor *const *in, struct walk *w,
                     int *rank, int64_t *dims, struct err *err)
{
    return c->channels_last ? walk_broadcast_last(w, n, in, rank, dims, err)
                            : walk_broadcast(w, n, in, rank, dims, err);
}

/* Inputs (a, sa, za, b, sb, zb, sy, zy). Allocates the output and sets up the broadcast. */
static int binary_open(struct op_call *c, struct binary *q, struct walk *w, struct err *err)
{
    int rank;
    int64_t dims[MAX_RANK];
    int rc = q1_read_for(c, 0, 1, 2, &q->a, err);
    rc = rc ? rc : q1_read_for(c, 3, 4, 5, &q->b, err);
    rc = rc ? rc : q1_read(c, 6, 7, q->a.dtype, &q->y, err);
    if (!rc && (q->a.dtype != q->b.dtype || q->a.dtype != q->y.dtype)) {
        rc = err_set(err, E_SHAPE, "codes are %s and %s, the result %s, expected equal types",
                     dtype_name(q->a.dtype), dtype_name(q->b.dtype), dtype_name(q->y.dtype));
    }
    if (rc) {
        return rc;
    }
    q1_shift(c, &q->a);
    q1_shift(c, &q->b);
    q1_shift(c, &q->y);
    rc = broadcast(c, 2, (const struct tensor *[]){c->in[0], c->in[3]}, w, &rank, dims, err);
    return rc ? rc : op_out(c, 0, q->y.dtype, rank, dims, err);
}

/* ra = sa / sy, rb = sb / sy, F = zy - fma(ra, za, rb * zb); the zero point of y takes part in the
 * rounding of fma(a, ra, fma(b, rb, F)). */
static struct int8_add add_params(const struct q1 *a, const struct q1 *b, const struct q1 *y)
{
    struct int8_add p = {.is_signed = y->dtype == DT_S8, .shift = y->shift};
    p.ra = a->s / y->s;
    p.rb = b->s / y->s;
    p.f = (float)y->z - fmaf(p.ra, (float)a->z, p.rb * (float)b->z);
    return p;
}

/* The formula is not symmetric: when a repeats one value along the innermost loop, onnxruntime
 * calls its kernel with the operands exchanged. Its loops are those of row-major elements. */
static bool add_swaps(const struct op_call *c)
{
    struct tensor a = *c->in[0], b = *c->in[3];
    struct walk w;
    int rank;
    int64_t dims[MAX_RANK];
    a.channels_last = b.channels_last = false;
    int rc = walk_broadcast(&w, 2, (const struct tensor *[]){&a, &b}, &rank, dims, NULL);
    return !rc && walk_start(&w) && (w.stride[1][w.rank - 1] == 0 || c->out[0]->n == 1);
}

/* With channels last the innermost loop is that of channels, for operands of equal rank. */
static enum op_layout add_order(const struct op_call *c)
{
    const struct tensor *a = c->in[0], *b = c->n_in > 3 ? c->in[3] : NULL;
    return a && b && a->rank == b->rank ? LAYOUT_BROADCAST : LAYOUT_ROWS;
}

static int add_run(struct op_call *c, const struct int8_kernels *k, struct err *err)
{
    struct binary q;
    struct walk w;
    int rc = binary_open(c, &q, &w, err);
    if (rc || !walk_start(&w)) {
        return rc;
    }
    const uint8_t *a = c->in[0]->data, *b = c->in[3]->data;
    uint8_t *y = c->out[0]->data;
    size_t n = (size_t)w.dims[w.rank - 1];
    const size_t step_a = (size_t)w.stride[1][w.rank - 1], step_b = (size_t)w.stride[2][w.rank - 1];
    const bool swap = add_swaps(c);
    struct int8_add p = swap ? add_params(&q.b, &q.a, &q.y) : add_params(&q.a, &q.b, &q.y);
    do {
        const uint8_t *va = a + w.at[1], *vb = b + w.at[2];
        if (swap) {
            k->add(vb, step_b, va, step_a, n, &p, y + w.at[0]);
        } else {
            k->add(va, step_a, vb, step_b, n, &p, y + w.at[0]);
        }
    } while (walk_next(&w));
    return OK;
}

static int op_qlinear_add(struct op_call *c, struct err *err)
{
    return add_run(c, &kernel_int8_plain, err);
}

static int op_qlinear_add_fast(struct op_call *c, struct err *err)
{
    return add_run(c, kernel_int8(), err);
}

/* y = saturate(rne(float((a - za)(b - zb)) * r + zy)), r = (sa * sb) / sy: two roundings in float
 * before the one to an integer. */
static int op_qlinear_mul(struct op_call *c, struct err *err)
{
    struct binary q;
    struct walk w;
    int rc = binary_open(c, &q, &w, err);
    if (rc || !walk_start(&w)) {
        return rc;
    }
    const float r = q.a.s * q.b.s / q.y.s, zy = (float)q.y.z;
    const float lo = (float)q.y.qmin, hi = (float)q.y.qmax;
    const int32_t za = q.a.z - q.a.shift, zb = q.b.z - q.b.shift;
    uint8_t *out = c->out[0]->data;
    const size_t last = (size_t)w.rank - 1;
    do {
        for (int64_t i = 0; i < w.dims[last]; i++) {
            int32_t a = code_at(c->in[0], (size_t)(w.at[1] + i * w.stride[1][last])) - za;
            int32_t b = code_at(c->in[3], (size_t)(w.at[2] + i * w.stride[2][last])) - zb;
            float v = (float)(a * b) * r;
            v += zy;
            out[w.at[0] + i] = (uint8_t)(saturate_x86(v, lo, hi) - q.y.shift);
        }
    } while (walk_next(&w));
    return OK;
}

/* ---- Pools ---------------------------------------------------------------------------------- */

/* Mean of `each` codes per plane: acc = sum - each * zx, then as QLinearConv with m = sx / (sy *
 * each). */
static void global_mean(const struct tensor *x, size_t each, const struct q1 *qx,
                        const struct q1 *qy, struct tensor *y)
{
    const float scale = qx->s / (qy->s * (float)each);
    const struct finish f = {
        .dtype = qy->dtype,
        .scale = &scale,
        .lo = (float)(qy->qmin - qy->z),
        .hi = (float)(qy->qmax - qy->z),
        .z = qy->z,
    };
    for (size_t i = 0; i < y->n; i++) {
        uint32_t sum = 0u - (uint32_t)each * (uint32_t)qx->z;
        for (size_t k = 0; k < each; k++) {
            sum += (uint32_t)code_at(x, i * each + k);
        }
        finish_one(&f, 0, (int32_t)sum, 0, (uint8_t *)y->data + i);
    }
}

/* Inputs (x, sx, zx, sy, zy) that all one-input operators have. */
static int unary_open(const struct op_call *c, struct q1 *qx, struct q1 *qy, struct err *err)
{
    int rc = q1_read_for(c, 0, 1, 2, qx, err);
    rc = rc ? rc : q1_read(c, 3, 4, qx->dtype, qy, err);
    if (!rc && qx->dtype != qy->dtype) {
        rc = err_set(err, E_SHAPE, "input is %s, the result %s, expected equal types",
                     dtype_name(qx->dtype), dtype_name(qy->dtype));
    }
    if (!rc && attr_int(c->node, "channels_last", 0)) {
        rc = err_set(err, E_UNSUPPORTED, "channels_last is not supported");
    }
    return rc;
}

static int op_qlinear_global_average_pool(struct op_call *c, struct err *err)
{
    struct q1 qx, qy;
    int64_t dims[MAX_RANK];
    int rc = unary_open(c, &qx, &qy, err);
    if (rc) {
        return rc;
    }
    const struct tensor *x = c->in[0];
    if (x->rank < 3) {
        return err_set(err, E_SHAPE, "input has rank %d, expected at least 3", x->rank);
    }
    size_t each = 1;
    for (int i = 0; i < x->rank; i++) {
        dims[i] = i < 2 ? x->dims[i] : 1;
        each *= i < 2 ? 1 : (size_t)x->dims[i];
    }
    rc = op_out(c, 0, qy.dtype, x->rank, dims, err);
    if (!rc && x->n == 0 && c->out[0]->n) {
        return err_set(err, E_SHAPE, "mean of an empty plane");
    }
    if (!rc) {
        global_mean(x, each, &qx, &qy, c->out[0]);
    }
    return rc;
}

/* Sum of one window, row by row in float, over the elements inside the input. */
static float window_sum(const struct window *w, const struct tensor *x, size_t plane,
                        const int64_t *o, const float *table, int64_t *count)
{
    int64_t k0[WINDOW_RANK], k1[WINDOW_RANK], i[WINDOW_RANK];
    float sum = 0;
    *count = 1;
    for (int a = 0; a < WINDOW_RANK; a++) {
        window_clip(w, a, o[a], &k0[a], &k1[a]);
        *count *= k1[a] - k0[a];
    }
    for (i[0] = k0[0]; i[0] < k1[0]; i[0]++) {
        for (i[1] = k0[1]; i[1] < k1[1]; i[1]++) {
            for (i[2] = k0[2]; i[2] < k1[2]; i[2]++) {
                int64_t at = 0;
                for (int a = 0; a < WINDOW_RANK; a++) {
                    at = at * w->in[a] + o[a] * w->s[a] - w->lo[a] + i[a] * w->d[a];
                }
                sum += table[((const uint8_t *)x->data)[plane * (size_t)w->in_n + (size_t)at]];
            }
        }
    }
    return sum;
}

/* real[i] = sx * (code - zx) for each stored byte i. */
static void real_table(const struct q1 *q, float *real)
{
    for (int i = 0; i < 256; i++) {
        int32_t code = q->dtype == DT_S8 ? (int8_t)i : i;
        real[i] = q->s * (float)(code - q->z);
    }
}

/* Window mean in float; y = saturate(rne(mean / sy + zy)). */
static int op_qlinear_average_pool(struct op_call *c, struct err *err)
{
    struct q1 qx, qy;
    struct window w;
    int64_t dims[MAX_RANK], o[WINDOW_RANK];
    float real[256];
    int rc = unary_open(c, &qx, &qy, err);
    rc = rc ? rc : window_read(c, c->in[0], NULL, &w, err);
    if (rc) {
        return rc;
    }
    int rank = window_dims(&w, w.c, dims);
    rc = op_out(c, 0, qy.dtype, rank, dims, err);
    if (rc) {
        return rc;
    }
    if (window_is_whole(&w)) { /* onnxruntime then takes the integer mean */
        global_mean(c->in[0], (size_t)w.in_n, &qx, &qy, c->out[0]);
        return OK;
    }
    const bool with_pad = attr_int(c->node, "count_include_pad", 0) != 0;
    real_table(&qx, real);
    q1_shift(c, &qy);
    uint8_t *y = c->out[0]->data;
    for (size_t i = 0; i < c->out[0]->n; i++) {
        size_t at = i % (size_t)w.out_n;
        for (int a = WINDOW_RANK - 1; a >= 0; a--) {
            o[a] = (int64_t)(at % (size_t)w.out[a]);
            at /= (size_t)w.out[a];
        }
        int64_t count;
        float mean = window_sum(&w, c->in[0], i / (size_t)w.out_n, o, real, &count);
        mean /= (float)(with_pad ? w.k_n : count);
        float v = mean / qy.s + (float)qy.z;
        y[i] = (uint8_t)(saturate_x86(v, (float)qy.qmin, (float)qy.qmax) - qy.shift);
    }
    return OK;
}

/* ---- Tables: operators that map each code on its own ---------------------------------------- */

/* table[i] = quantized f(real value of stored byte i). */
static void code_table(const struct q1 *qx, const struct q1 *qy, float (*f)(float v, float param),
                       float param, uint8_t *table)
{
    float real[256];
    real_table(qx, real);
    for (int i = 0; i < 256; i++) {
        float v = f(real[i], param) / qy->s;
        v = clamp_x86(v, (float)(qy->qmin - qy->z), (float)(qy->qmax - qy->z));
        table[i] = (uint8_t)((int32_t)rne_small(v) + qy->z);
    }
}

static void map_codes(const uint8_t *table, const uint8_t *x, size_t n, uint8_t *y)
{
    for (size_t i = 0; i < n; i++) {
        y[i] = table[x[i]];
    }
}

static int map_op(struct op_call *c, float (*f)(float v, float param), float param, struct err *err)
{
    struct q1 qx, qy;
    uint8_t table[256];
    int rc = unary_open(c, &qx, &qy, err);
    rc = rc ? rc : op_out(c, 0, qy.dtype, c->in[0]->rank, c->in[0]->dims, err);
    if (!rc) {
        code_table(&qx, &qy, f, param, table);
        map_codes(table, c->in[0]->data, c->in[0]->n, c->out[0]->data);
    }
    return rc;
}

static float logistic(float v, float param)
{
    (void)param;
    return logistic_mlas(v);
}

static float leaky(float v, float alpha)
{
    return v >= 0 ? v : alpha * v;
}

static float same(float v, float param)
{
    (void)param;
    return v;
}

static int op_qlinear_sigmoid(struct op_call *c, struct err *err)
{
    return map_op(c, logistic, 0, err);
}

static int op_qlinear_leaky_relu(struct op_call *c, struct err *err)
{
    return map_op(c, leaky, attr_float(c->node, "alpha", 0.01F), err);
}

/* Codes of one scale in those of another; equal parameters copy. */
static void requantize_table(const struct q1 *qx, const struct q1 *qy, uint8_t *table)
{
    if (qx->s == qy->s && qx->z == qy->z) {
        for (int i = 0; i < 256; i++) {
            table[i] = (uint8_t)i;
        }
    } else {
        code_table(qx, qy, same, 0, table);
    }
}

/* ---- Concat and Where ----------------------------------------------------------------------- */

/* Checks part k of a Concat and adds its extent along the axis to dims. */
static int concat_part(const struct op_call *c, int k, const struct q1 *qy, int axis, struct q1 *qx,
                       int64_t *dims, struct err *err)
{
    const struct tensor *first = c->in[2], *x = c->in[2 + 3 * k];
    int rc = q1_read_for(c, 2 + 3 * k, 3 + 3 * k, 4 + 3 * k, qx, err);
    if (rc) {
        return rc;
    }
    bool fits = x->rank == first->rank && qx->dtype == qy->dtype;
    for (int i = 0; fits && i < x->rank; i++) {
        fits = i == axis || x->dims[i] == first->dims[i];
    }
    if (!fits) {
        char shape[128];
        return err_set(err, E_SHAPE, "input %d of shape %s and type %s does not fit the others",
                       2 + 3 * k, shape_text(shape, sizeof shape, x->rank, x->dims),
                       dtype_name(x->dtype));
    }
    if (__builtin_add_overflow(dims[axis], x->dims[axis], &dims[axis])) {
        return err_set(err, E_LIMIT, "result is too large");
    }
    return OK;
}

/* Inputs (sy, zy, then x, sx, zx of each part). */
static int op_qlinear_concat(struct op_call *c, struct err *err)
{
    struct q1 qy, qx;
    int64_t dims[MAX_RANK];
    int axis = 0, parts = (c->n_in - 2) / 3, rc = q1_read(c, 0, 1, DT_U8, &qy, err);
    if (!rc && ((c->n_in - 2) % 3 || !c->in[2])) {
        rc = err_set(err, E_SHAPE, "%d inputs, expected 2 and three for each part", c->n_in);
    }
    rc = rc ? rc : op_axis(attr_int(c->node, "axis", 0), c->in[2]->rank, &axis, err);
    if (rc) {
        return rc;
    }
    const struct tensor *first = c->in[2];
    memcpy(dims, first->dims, sizeof dims);
    dims[axis] = 0;
    for (int k = 0; k < parts && !rc; k++) {
        rc = concat_part(c, k, &qy, axis, &qx, dims, err);
    }
    rc = rc ? rc : op_out(c, 0, qy.dtype, first->rank, dims, err);
    if (rc || c->out[0]->n == 0) {
        return rc;
    }
    size_t outer = 1, row = c->out[0]->n, at = 0;
    for (int i = 0; i < axis; i++) {
        outer *= (size_t)dims[i];
    }
    row /= outer;
    for (int k = 0; k < parts; k++) {
        const struct tensor *x = c->in[2 + 3 * k];
        size_t each = x->n / outer;
        uint8_t table[256];
        (void)q1_read_for(c, 2 + 3 * k, 3 + 3 * k, 4 + 3 * k, &qx, err); /* checked above */
        requantize_table(&qx, &qy, table);
        for (size_t i = 0; i < outer; i++) {
            map_codes(table, (const uint8_t *)x->data + i * each, each,
                      (uint8_t *)c->out[0]->data + i * row + at);
        }
        at += each;
    }
    return OK;
}

/* Inputs (condition, x, sx, zx, y, sy, zy, sz, zz). */
static int op_qlinear_where(struct op_call *c, struct err *err)
{
    struct q1 qx, qy, qz;
    struct walk w;
    int rank;
    int64_t dims[MAX_RANK];
    uint8_t tx[256], ty[256];
    int rc = op_want(c, 0, DT_BOOL, -1, err);
    rc = rc ? rc : q1_read_for(c, 1, 2, 3, &qx, err);
    rc = rc ? rc : q1_read_for(c, 4, 5, 6, &qy, err);
    rc = rc ? rc : q1_read(c, 7, 8, qx.dtype, &qz, err);
    if (!rc && (qx.dtype != qy.dtype || qx.dtype != qz.dtype)) {
        rc = err_set(err, E_SHAPE, "codes of both choices and the result should have one type");
    }
    if (rc) {
        return rc;
    }
    const struct tensor *const in[] = {c->in[0], c->in[1], c->in[4]};
    rc = broadcast(c, 3, in, &w, &rank, dims, err);
    rc = rc ? rc : op_out(c, 0, qz.dtype, rank, dims, err);
    if (rc || !walk_start(&w)) {
        return rc;
    }
    requantize_table(&qx, &qz, tx);
    requantize_table(&qy, &qz, ty);
    const uint8_t *cond = in[0]->data, *x = in[1]->data, *y = in[2]->data;
    uint8_t *z = c->out[0]->data;
    const int last = w.rank - 1;
    do {
        for (int64_t i = 0; i < w.dims[last]; i++) {
            z[w.at[0] + i] = cond[w.at[1] + i * w.stride[1][last]]
                                 ? tx[x[w.at[2] + i * w.stride[2][last]]]
                                 : ty[y[w.at[3] + i * w.stride[3][last]]];
        }
    } while (walk_next(&w));
    return OK;
}

/* ---- Softmax -------------------------------------------------------------------------------- */

/* table[255 + x - max] = exp((x - max) sx) times a factor that keeps the sum of `n` of them within
 * float. */
static void softmax_table(float sx, size_t n, float *table)
{
    double room = (double)logf(FLT_MAX / (float)n) - 5;
    double shift = (room > 0 ? room : 0) / (double)sx;
    for (int i = 0; i < 256; i++) {
        table[i] = (float)exp((i - 255 + shift) * (double)sx);
    }
}

/* One row of n codes, `step` apart: y = rne(t * floor(1 / sy) / sum t) + zy, cut to the highest
 * code. */
static void softmax_row(const struct tensor *x, size_t at, size_t n, size_t step,
                        const float *table, const struct q1 *qy, uint8_t *y)
{
    const double c = (double)floorf(1.0F / qy->s);
    int32_t max = INT32_MIN;
    float sum = 0;
    for (size_t i = 0; i < n; i++) {
        max = MAX(max, code_at(x, at + i * step));
    }
    for (size_t i = 0; i < n; i++) {
        sum += table[255 + code_at(x, at + i * step) - max];
    }
    for (size_t i = 0; i < n; i++) {
        double t = (double)table[255 + code_at(x, at + i * step) - max];
        double v = fmin(rint(t * c / (double)sum), 512.0); /* a NaN of 0 / 0 becomes 512, too */
        y[at + i * step] = (uint8_t)(MIN((int32_t)v + qy->z, qy->qmax) - qy->shift);
    }
}

/* Attribute `opset` tells which Softmax this was: below 13 all dimensions from axis on count as
 * one. */
static int op_qlinear_softmax(struct op_call *c, struct err *err)
{
    struct q1 qx, qy;
    int axis = 0;
    float table[256];
    int rc = unary_open(c, &qx, &qy, err);
    if (rc) {
        return rc;
    }
    const struct tensor *x = c->in[0];
    bool flat = attr_int(c->node, "opset", 13) < 13;
    rc = op_axis(attr_int(c->node, "axis", flat ? 1 : -1), x->rank, &axis, err);
    rc = rc ? rc : op_out(c, 0, qy.dtype, x->rank, x->dims, err);
    if (rc || x->n == 0) {
        return rc;
    }
    size_t outer = 1, n = (size_t)x->dims[axis], inner = 1;
    for (int i = 0; i < x->rank; i++) {
        outer *= i < axis ? (size_t)x->dims[i] : 1;
        inner *= i > axis ? (size_t)x->dims[i] : 1;
    }
    if (flat) {
        n *= inner;
        inner = 1;
    }
    softmax_table(qx.s, n, table);
    q1_shift(c, &qy);
    for (size_t o = 0; o < outer; o++) {
        for (size_t i = 0; i < inner; i++) {
            softmax_row(x, o * n * inner + i, n, inner, table, &qy, c->out[0]->data);
        }
    }
    return OK;
}

static const char ms[] = "com.microsoft";

// clang-format off
const struct op op_qlinear[] = {
    {.name = "QLinearAdd", .domain = ms, .since = 1, .min_in = 7, .max_in = 8, .ref = op_qlinear_add, .fast = op_qlinear_add_fast, .layout = add_order, .spec = "ORT QLinearAdd-1"},
    {.name = "QLinearMul", .domain = ms, .since = 1, .min_in = 7, .max_in = 8, .ref = op_qlinear_mul, .layout = layout_broadcast, .spec = "ORT QLinearMul-1"},
    {.name = "QLinearAveragePool", .domain = ms, .since = 1, .min_in = 4, .max_in = 5, .ref = op_qlinear_average_pool, .spec = "ORT QLinearAveragePool-1"},
    {.name = "QLinearGlobalAveragePool", .domain = ms, .since = 1, .min_in = 5, .max_in = 5, .ref = op_qlinear_global_average_pool, .spec = "ORT QLinearGlobalAveragePool-1"},
    {.name = "QLinearConcat", .domain = ms, .since = 1, .min_in = 5, .max_in = -1, .ref = op_qlinear_concat, .spec = "ORT QLinearConcat-1"},
    {.name = "QLinearWhere", .domain = ms, .since = 1, .min_in = 9, .max_in = 9, .ref = op_qlinear_where, .layout = layout_broadcast, .spec = "ORT QLinearWhere-1"},
    {.name = "QLinearSoftmax", .domain = ms, .since = 1, .min_in = 4, .max_in = 5, .ref = op_qlinear_softmax, .spec = "ORT QLinearSoftmax-1"},
    {.name = "QLinearSigmoid", .domain = ms, .since = 1, .min_in = 4, .max_in = 5, .ref = op_qlinear_sigmoid, .layout = layout_any, .spec = "ORT QLinearSigmoid-1"},
    {.name = "QLinearLeakyRelu", .domain = ms, .since = 1, .min_in = 4, .max_in = 5, .ref = op_qlinear_leaky_relu, .layout = layout_any, .spec = "ORT QLinearLeakyRelu-1"},
    {0},
};
// clang-format on
