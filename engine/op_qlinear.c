/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * op_qlinear.c: the quantized operators without weights, all from onnxruntime's com.microsoft
 * domain: QLinearAdd, Mul, Concat, Where, Sigmoid, LeakyRelu; Softmax is in op_qsoftmax.c, pools
 * are in op_qpool.c. They have no specification to the last bit; the formulas are those of
 * onnxruntime 1.32 on x86, found by experiment, including where it rounds and how it saturates.
 */
#include "engine/elem.h"
#include "engine/op_quant.h"
#include "engine/par.h"

#include <inttypes.h>
#include <math.h>

enum { PIECE = 1 << 16 }; /* elements that a thread takes at a time */

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
    struct tensor a = op_alias(c->in[0]), b = op_alias(c->in[3]);
    struct walk w;
    int rank;
    int64_t dims[MAX_RANK];
    a.channels_last = b.channels_last = false;
    int rc = walk_broadcast(&w, 2, (const struct tensor *[]){&a, &b}, &rank, dims, NULL);
    return !rc && walk_start(&w) && (w.stride[1][w.rank - 1] == 0 || c->out[0]->n == 1);
}

/* With channels last the innermost loop is that of channels, for operands of equal rank. */
static enum op_layout binary_order(const struct op_call *c)
{
    const struct tensor *a = c->in[0], *b = c->n_in > 3 ? c->in[3] : NULL;
    return a && b && a->rank == b->rank ? LAYOUT_BROADCAST : LAYOUT_ROWS;
}

/* One row of sums by one kernel, in pieces. */
struct addition {
    const struct int8_kernels *k;
    const uint8_t *a, *b;
    size_t step_a, step_b;
    const struct int8_add *p;
    uint8_t *y;
};

static void add_piece(void *ctx, size_t from, size_t to)
{
    const struct addition *r = ctx;
    r->k->add(r->a + from * r->step_a, r->step_a, r->b + from * r->step_b, r->step_b, to - from,
              r->p, r->y + from);
}

static int add_run(struct op_call *c, const struct int8_kernels *k, struct err *err)
{
    struct binary q;
    struct walk w;
    int rc = binary_open(c, &q, &w, err);
    if (rc || !walk_start(&w)) {
        return rc;
    }
    const int swap = add_swaps(c) ? 1 : 0, last = w.rank - 1;
    const struct int8_add p = swap ? add_params(&q.b, &q.a, &q.y) : add_params(&q.a, &q.b, &q.y);
    const uint8_t *in[] = {c->in[0]->data, c->in[3]->data};
    struct addition r = {.k = k,
                         .step_a = (size_t)w.stride[1 + swap][last],
                         .step_b = (size_t)w.stride[2 - swap][last],
                         .p = &p};
    do {
        r.a = in[swap] + w.at[1 + swap];
        r.b = in[1 - swap] + w.at[2 - swap];
        r.y = (uint8_t *)c->out[0]->data + w.at[0];
        par_pieces(c->par, (size_t)w.dims[last], PIECE, add_piece, &r);
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
static int mul_run(struct op_call *c, const struct int8_kernels *k, struct err *err)
{
    struct binary q;
    struct walk w;
    int rc = binary_open(c, &q, &w, err);
    if (rc || !walk_start(&w)) {
        return rc;
    }
    const struct int8_mul p = {.is_signed = q.y.dtype == DT_S8,
                               .za = q.a.z - q.a.shift,
                               .zb = q.b.z - q.b.shift,
                               .shift = q.y.shift,
                               .r = q.a.s * q.b.s / q.y.s,
                               .zy = (float)q.y.z};
    const int last = w.rank - 1;
    do {
        k->mul((const uint8_t *)c->in[0]->data + w.at[1], (size_t)w.stride[1][last],
               (const uint8_t *)c->in[3]->data + w.at[2], (size_t)w.stride[2][last],
               (size_t)w.dims[last], &p, (uint8_t *)c->out[0]->data + w.at[0]);
    } while (walk_next(&w));
    return OK;
}

static int op_qlinear_mul(struct op_call *c, struct err *err)
{
    return mul_run(c, &kernel_int8_plain, err);
}

static int op_qlinear_mul_fast(struct op_call *c, struct err *err)
{
    return mul_run(c, kernel_int8(), err);
}

/* ---- Tables: operators that map each code on its own ---------------------------------------- */

/* real[i] = sx * (code - zx) for each stored byte i. */
static void real_table(const struct q1 *q, float *real)
{
    for (int i = 0; i < 256; i++) {
        int32_t code = q->dtype == DT_S8 ? (int8_t)i : i;
        real[i] = q->s * (float)(code - q->z);
    }
}

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

/* y = table[x] by one kernel, in pieces. */
struct mapping {
    const struct int8_kernels *k;
    const uint8_t *table, *x;
    uint8_t *y;
};

static void map_piece(void *ctx, size_t from, size_t to)
{
    const struct mapping *m = ctx;
    m->k->map(m->table, m->x + from, to - from, m->y + from);
}

static int map_op(struct op_call *c, const struct int8_kernels *k, float (*f)(float v, float param),
                  float param, struct err *err)
{
    struct q1 qx, qy;
    uint8_t table[256];
    int rc = q1_read_unary(c, &qx, &qy, err);
    rc = rc ? rc : op_out(c, 0, qy.dtype, c->in[0]->rank, c->in[0]->dims, err);
    if (!rc) {
        code_table(&qx, &qy, f, param, table);
        struct mapping m = {k, table, c->in[0]->data, c->out[0]->data};
        par_pieces(c->par, c->in[0]->n, PIECE, map_piece, &m);
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
    return map_op(c, &kernel_int8_plain, logistic, 0, err);
}

static int op_qlinear_sigmoid_fast(struct op_call *c, struct err *err)
{
    return map_op(c, kernel_int8(), logistic, 0, err);
}

static int op_qlinear_leaky_relu(struct op_call *c, struct err *err)
{
    return map_op(c, &kernel_int8_plain, leaky, attr_float(c->node, "alpha", 0.01F), err);
}

static int op_qlinear_leaky_relu_fast(struct op_call *c, struct err *err)
{
    return map_op(c, kernel_int8(), leaky, attr_float(c->node, "alpha", 0.01F), err);
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

/* Place of dimension `axis` in memory. */
static int order_axis(const struct op_call *c, int axis, int rank)
{
    return !c->channels_last || axis == 0 ? axis : axis == 1 ? rank - 1 : axis - 1;
}

/* Elements before dimension `axis` as they lie in memory. */
static size_t outer_size(const struct op_call *c, int axis, int rank, const int64_t *dims)
{
    size_t outer = 1;
    for (int i = 0; i < rank; i++) {
        outer *= order_axis(c, i, rank) < order_axis(c, axis, rank) ? (size_t)dims[i] : 1;
    }
    return outer;
}

/* Inputs (sy, zy, then x, sx, zx of each part). */
static int concat(struct op_call *c, const struct int8_kernels *kernels, struct err *err)
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
    const size_t outer = outer_size(c, axis, first->rank, dims), row = c->out[0]->n / outer;
    size_t at = 0;
    for (int k = 0; k < parts; k++) {
        const struct tensor *x = c->in[2 + 3 * k];
        size_t each = x->n / outer;
        uint8_t table[256];
        (void)q1_read_for(c, 2 + 3 * k, 3 + 3 * k, 4 + 3 * k, &qx, err); /* checked above */
        requantize_table(&qx, &qy, table);
        for (size_t i = 0; i < outer && each; i++) {
            kernels->map(table, (const uint8_t *)x->data + i * each, each,
                         (uint8_t *)c->out[0]->data + i * row + at);
        }
        at += each;
    }
    return OK;
}

static int op_qlinear_concat(struct op_call *c, struct err *err)
{
    return concat(c, &kernel_int8_plain, err);
}

static int op_qlinear_concat_fast(struct op_call *c, struct err *err)
{
    return concat(c, kernel_int8(), err);
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

static const char ms[] = "com.microsoft";

// clang-format off
const struct op op_qlinear[] = {
    {.name = "QLinearAdd", .domain = ms, .since = 1, .min_in = 7, .max_in = 8, .ref = op_qlinear_add, .fast = op_qlinear_add_fast, .layout = binary_order, .spec = "ORT QLinearAdd-1"},
    {.name = "QLinearMul", .domain = ms, .since = 1, .min_in = 7, .max_in = 8, .ref = op_qlinear_mul, .fast = op_qlinear_mul_fast, .layout = binary_order, .spec = "ORT QLinearMul-1"},
    {.name = "QLinearConcat", .domain = ms, .since = 1, .min_in = 5, .max_in = -1, .ref = op_qlinear_concat, .fast = op_qlinear_concat_fast, .layout = layout_broadcast, .spec = "ORT QLinearConcat-1"},
    {.name = "QLinearWhere", .domain = ms, .since = 1, .min_in = 9, .max_in = 9, .ref = op_qlinear_where, .layout = layout_broadcast, .spec = "ORT QLinearWhere-1"},
    {.name = "QLinearSigmoid", .domain = ms, .since = 1, .min_in = 4, .max_in = 5, .ref = op_qlinear_sigmoid, .fast = op_qlinear_sigmoid_fast, .layout = layout_any, .spec = "ORT QLinearSigmoid-1"},
    {.name = "QLinearLeakyRelu", .domain = ms, .since = 1, .min_in = 4, .max_in = 5, .ref = op_qlinear_leaky_relu, .fast = op_qlinear_leaky_relu_fast, .layout = layout_any, .spec = "ORT QLinearLeakyRelu-1"},
    {0},
};
// clang-format on
