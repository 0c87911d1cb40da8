/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * op_reduce.c: what folds dimensions into one value: Reduce*, ArgMax, ArgMin, and CumSum. Floats
 * accumulate in double, integers exactly in int64 (modulo 2^64).
 */
#include "engine/elem.h"
#include "engine/op.h"
#include "engine/op_mlas.h"

#include <math.h>

/* A reduction: start, fold one element in, finish with the number of elements. */
struct reduction {
    const char *name;
    double start;
    double (*fold)(double acc, double x);
    double (*finish)(double acc, double n); /* NULL: as it is */
    int64_t start_int;
    int64_t (*fold_int)(int64_t acc, int64_t x); /* NULL: integers through double */
};

static double add(double acc, double x)
{
    return acc + x;
}
static double add_abs(double acc, double x)
{
    return acc + fabs(x);
}
static double add_square(double acc, double x)
{
    return acc + x * x;
}
static double multiply(double acc, double x)
{
    return acc * x;
}
static double take_max(double acc, double x)
{
    return x > acc || isnan(x) ? x : acc;
}
static double take_min(double acc, double x)
{
    return x < acc || isnan(x) ? x : acc;
}
static double divide(double acc, double n)
{
    return acc / n;
}
static double root(double acc, double n)
{
    (void)n;
    return sqrt(acc);
}
static double logarithm(double acc, double n)
{
    (void)n;
    return log(acc);
}

static int64_t add_int(int64_t acc, int64_t x)
{
    return (int64_t)((uint64_t)acc + (uint64_t)x);
}
static int64_t add_abs_int(int64_t acc, int64_t x)
{
    return (int64_t)((uint64_t)acc + (x < 0 ? 0 - (uint64_t)x : (uint64_t)x));
}
static int64_t add_square_int(int64_t acc, int64_t x)
{
    return (int64_t)((uint64_t)acc + (uint64_t)x * (uint64_t)x);
}
static int64_t multiply_int(int64_t acc, int64_t x)
{
    return (int64_t)((uint64_t)acc * (uint64_t)x);
}
static int64_t max_int(int64_t acc, int64_t x)
{
    return MAX(acc, x);
}
static int64_t min_int(int64_t acc, int64_t x)
{
    return MIN(acc, x);
}

static const struct reduction reductions[] = {
    {"ReduceSum", 0, add, NULL, 0, add_int},
    {"ReduceMean", 0, add, divide, 0, NULL},
    {"ReduceMax", -HUGE_VAL, take_max, NULL, INT64_MIN, max_int},
    {"ReduceMin", HUGE_VAL, take_min, NULL, INT64_MAX, min_int},
    {"ReduceProd", 1, multiply, NULL, 1, multiply_int},
    {"ReduceL1", 0, add_abs, NULL, 0, add_abs_int},
    {"ReduceL2", 0, add_square, root, 0, NULL},
    {"ReduceSumSquare", 0, add_square, NULL, 0, add_square_int},
    {"ReduceLogSum", 0, add, logarithm, 0, NULL},
    {"ReduceLogSumExp", 0, add, logarithm, 0, NULL},
};

static const struct reduction *reduction_find(const char *name)
{
    for (size_t i = 0; i < COUNT(reductions); i++) {
        if (strcmp(reductions[i].name, name) == 0) {
            return &reductions[i];
        }
    }
    return NULL;
}

/* ---- Which axes ----------------------------------------------------------------------------- */

/* ReduceSum takes its axes as an input from opset 13 on, the others from 18 on. Without axes all
 * are reduced, or none with noop_with_empty_axes. */
static int read_axes(const struct op_call *c, int opset, bool *reduced, struct err *err)
{
    const int rank = c->in[0]->rank;
    int64_t list[MAX_RANK];
    const int64_t *axes = list;
    size_t n = 0;
    const bool as_input = opset >= (strcmp(c->node->op, "ReduceSum") == 0 ? 13 : 18);
    if (!as_input) {
        axes = attr_ints(c->node, "axes", &n);
    } else if (c->n_in > 1 && c->in[1]) {
        int rc = op_int_list(c->in[1], MAX_RANK, list, &n, err);
        if (rc) {
            return err_in(err, "axes");
        }
    }
    const bool all = n == 0 && !attr_int(c->node, "noop_with_empty_axes", 0);
    for (int d = 0; d < rank; d++) {
        reduced[d] = all;
    }
    for (size_t i = 0; i < n; i++) {
        int axis;
        int rc = op_axis(axes[i], rank, &axis, err);
        if (rc) {
            return rc;
        }
        reduced[axis] = true;
    }
    return OK;
}

/* A walk over x (operand 1) with the accumulators (operand 0) standing still along reduced
 * dimensions; shape of the result in dims. */
static int reduce_walk(const struct tensor *x, const bool *reduced, bool keep, struct walk *w,
                       int64_t *dims)
{
    int64_t kept[MAX_RANK];
    int rank = 0;
    *w = (struct walk){.rank = x->rank, .n = 2};
    for (int d = 0; d < x->rank; d++) {
        w->dims[d] = x->dims[d];
        kept[d] = reduced[d] ? 1 : x->dims[d];
        if (keep || !reduced[d]) {
            dims[rank++] = kept[d];
        }
    }
    walk_strides(x->rank, x->dims, w->stride[1]);
    walk_strides(x->rank, kept, w->stride[0]);
    for (int d = 0; d < x->rank; d++) {
        w->stride[0][d] = reduced[d] ? 0 : w->stride[0][d];
    }
    return rank;
}

/* ---- The loops ------------------------------------------------------------------------------ */

/* Folds all of x into acc (f64). `shift`: NULL, or per accumulator what exp(x - shift) is folded
 * with, for LogSumExp. */
static void fold_real(const struct reduction *r, struct walk w, const struct tensor *x, double *acc,
                      const double *shift)
{
    if (!walk_start(&w)) {
        return;
    }
    const int last = w.rank - 1;
    do {
        for (int64_t e = 0, n; e < w.dims[last]; e += n) {
            double block[ELEM_BLOCK];
            n = MIN(w.dims[last] - e, (int64_t)ELEM_BLOCK);
            elem_get_f64(x, (size_t)(w.at[1] + e), (size_t)n, block);
            for (int64_t i = 0; i < n; i++) {
                const int64_t to = w.at[0] + (e + i) * w.stride[0][last];
                acc[to] = r->fold(acc[to], shift ? exp(block[i] - shift[to]) : block[i]);
            }
        }
    } while (walk_next(&w));
}

static void fold_ints(const struct reduction *r, struct walk w, const struct tensor *x,
                      int64_t *acc)
{
    /* Adding 2^63 puts uint64 in the order of int64, for Max and Min. */
    const bool flip = x->dtype == DT_U64 && (r->fold_int == max_int || r->fold_int == min_int);
    const uint64_t bias = flip ? (uint64_t)1 << 63 : 0;
    if (!walk_start(&w)) {
        return;
    }
    const int last = w.rank - 1;
    do {
        for (int64_t e = 0; e < w.dims[last]; e++) {
            int64_t v;
            const int64_t to = w.at[0] + e * w.stride[0][last];
            elem_get_s64(x, (size_t)(w.at[1] + e), 1, &v);
            v = (int64_t)((uint64_t)v - bias);
            acc[to] = r->fold_int((int64_t)((uint64_t)acc[to] - bias), v);
            acc[to] = (int64_t)((uint64_t)acc[to] + bias);
        }
    } while (walk_next(&w));
}

static int reduce_real(struct op_call *c, const struct reduction *r, const struct walk *w,
                       struct err *err)
{
    const struct tensor *x = c->in[0];
    struct tensor *y = c->out[0], *acc = NULL, *shift = NULL;
    const bool exponents = strcmp(r->name, "ReduceLogSumExp") == 0;
    int rc = tensor_new(DT_F64, y->rank, y->dims, c->budget, &acc, err);
    if (!rc && exponents) {
        rc = tensor_new(DT_F64, y->rank, y->dims, c->budget, &shift, err);
    }
    if (rc) {
        goto out;
    }
    double *v = acc->data, *m = exponents ? shift->data : NULL;
    for (size_t i = 0; i < y->n; i++) {
        v[i] = r->start;
    }
    if (exponents) {
        const struct reduction *max = reduction_find("ReduceMax");
        for (size_t i = 0; i < y->n; i++) {
            m[i] = max->start;
        }
        fold_real(max, *w, x, m, NULL);
        for (size_t i = 0; i < y->n; i++) {
            m[i] = isinf(m[i]) ? 0 : m[i];
        }
    }
    fold_real(r, *w, x, v, m);
    const double n = y->n ? (double)(x->n / y->n) : 0;
    for (size_t i = 0; i < y->n; i++) {
        v[i] = r->finish ? r->finish(v[i], n) : v[i];
        v[i] += exponents ? m[i] : 0;
    }
    elem_put_f64(y, 0, y->n, v);
out:
    tensor_free(acc);
    tensor_free(shift);
    return rc;
}

static int reduce_ints(struct op_call *c, const struct reduction *r, const struct walk *w,
                       struct err *err)
{
    const struct tensor *x = c->in[0];
    struct tensor *y = c->out[0], *acc = NULL;
    int rc = tensor_new(DT_S64, y->rank, y->dims, c->budget, &acc, err);
    if (rc) {
        return rc;
    }
    int64_t *v = acc->data;
    for (size_t i = 0; i < y->n; i++) {
        const bool flip = x->dtype == DT_U64 && (r->fold_int == max_int || r->fold_int == min_int);
        v[i] = flip ? (int64_t)((uint64_t)r->start_int + ((uint64_t)1 << 63)) : r->start_int;
    }
    fold_ints(r, *w, x, v);
    elem_put_s64(y, 0, y->n, v);
    tensor_free(acc);
    return OK;
}

int reduce_start(struct op_call *c, int opset, bool *reduced, struct walk *w, struct err *err)
{
    const struct tensor *x = c->in[0];
    int64_t dims[MAX_RANK];
    int rc = read_axes(c, opset, reduced, err);
    if (rc) {
        return rc;
    }
    const int rank = reduce_walk(x, reduced, attr_int(c->node, "keepdims", 1) != 0, w, dims);
    return op_out(c, 0, x->dtype, rank, dims, err);
}

static int reduce(struct op_call *c, struct err *err)
{
    const struct reduction *r = reduction_find(c->node->op);
    const struct tensor *x = c->in[0];
    bool reduced[MAX_RANK] = {false};
    struct walk w;
    int rc = reduce_start(c, c->opset, reduced, &w, err);
    if (rc) {
        return rc;
    }
    const bool ints = elem_is_int(x->dtype) && r->fold_int;
    return (ints ? reduce_ints : reduce_real)(c, r, &w, err);
}

/* ---- ArgMax, ArgMin, CumSum: along one axis ------------------------------------------------- */

/* A tensor as [outer, n, inner] around an axis; 0 everywhere when it has no elements. */
static void around(const struct tensor *t, int axis, int64_t *outer, int64_t *n, int64_t *inner)
{
    *outer = *n = *inner = t->n > 0;
    for (int d = 0; d < t->rank && t->n > 0; d++) {
        *(d < axis ? outer : d == axis ? n : inner) *= t->dims[d];
    }
}

/* The first extreme element wins, or the last with select_last_index. */
static int arg_extreme(struct op_call *c, struct err *err)
{
    const struct tensor *x = c->in[0];
    const bool max = strcmp(c->node->op, "ArgMax") == 0;
    const bool keep = attr_int(c->node, "keepdims", 1) != 0;
    const bool last = attr_int(c->node, "select_last_index", 0) != 0;
    int axis, rank = 0;
    int64_t dims[MAX_RANK], outer, n, inner;
    int rc = op_axis(attr_int(c->node, "axis", 0), x->rank, &axis, err);
    if (rc) {
        return rc;
    }
    for (int d = 0; d < x->rank; d++) {
        if (d != axis || keep) {
            dims[rank++] = d == axis ? 1 : x->dims[d];
        }
    }
    rc = op_out(c, 0, DT_S64, rank, dims, err);
    if (!rc && x->n == 0 && c->out[0]->n > 0) {
        rc = err_set(err, E_SHAPE, "axis %d has no elements to choose from", axis);
    }
    if (rc) {
        return rc;
    }
    around(x, axis, &outer, &n, &inner);
    int64_t *y = c->out[0]->data;
    for (int64_t o = 0; o < outer; o++) {
        for (int64_t i = 0; i < inner; i++) {
            double best = 0;
            int64_t found = 0;
            for (int64_t k = 0; k < n; k++) {
                double v;
                elem_get_f64(x, (size_t)((o * n + k) * inner + i), 1, &v);
                const bool better = max ? v > best : v < best;
                if (k == 0 || better || (last && v == best)) {
                    best = v;
                    found = k;
                }
            }
            *y++ = found;
        }
    }
    return OK;
}

/* Running sums along an axis; `exclusive` leaves the element itself out, `reverse` runs from the
 * end. */
static int cum_sum(struct op_call *c, struct err *err)
{
    const struct tensor *x = c->in[0];
    const bool exclusive = attr_int(c->node, "exclusive", 0) != 0;
    const bool reverse = attr_int(c->node, "reverse", 0) != 0;
    const bool real = dtype_is_float(x->dtype);
    int axis;
    int64_t list[1], outer, n, inner;
    size_t count;
    int rc = op_int_list(c->in[1], 1, list, &count, err);
    if (!rc && count != 1) {
        rc = err_set(err, E_SHAPE, "axis is empty, expected one value");
    }
    rc = rc ? rc : op_axis(list[0], x->rank, &axis, err);
    rc = rc ? rc : op_out(c, 0, x->dtype, x->rank, x->dims, err);
    if (rc) {
        return rc;
    }
    around(x, axis, &outer, &n, &inner);
    for (int64_t j = 0; j < outer * inner; j++) {
        double sum = 0;
        uint64_t total = 0;
        for (int64_t k = 0; k < n; k++) {
            const int64_t along = reverse ? n - 1 - k : k;
            const size_t at = (size_t)((j / inner * n + along) * inner + j % inner);
            double v;
            int64_t q;
            elem_get_f64(x, at, 1, &v);
            elem_get_s64(x, at, 1, &q);
            v += sum;
            const uint64_t next = total + (uint64_t)q;
            if (real) {
                elem_put_f64(c->out[0], at, 1, exclusive ? &sum : &v);
            } else {
                elem_put_s64(c->out[0], at, 1, (const int64_t *)(exclusive ? &total : &next));
            }
            sum = v;
            total = next;
        }
    }
    return OK;
}

#define ROW(op_name, spec_text)                                                                    \
    {                                                                                              \
        .name = (op_name), .since = 1, .min_in = 1, .max_in = 2, .ref = reduce,                    \
        .spec = (spec_text)                                                                        \
    }

const struct op op_reduce[] = {
    ROW("ReduceSum", "ONNX ReduceSum-13"),
    ROW("ReduceMean", "ONNX ReduceMean-18"),
    ROW("ReduceMax", "ONNX ReduceMax-20"),
    ROW("ReduceMin", "ONNX ReduceMin-20"),
    ROW("ReduceProd", "ONNX ReduceProd-18"),
    ROW("ReduceL1", "ONNX ReduceL1-18"),
    ROW("ReduceL2", "ONNX ReduceL2-18"),
    ROW("ReduceSumSquare", "ONNX ReduceSumSquare-18"),
    ROW("ReduceLogSum", "ONNX ReduceLogSum-28"),
    ROW("ReduceLogSumExp", "ONNX ReduceLogSumExp-28"),
    {.name = "ArgMax",
     .since = 1,
     .min_in = 1,
     .max_in = 1,
     .ref = arg_extreme,
     .spec = "ONNX ArgMax-13"},
    {.name = "ArgMin",
     .since = 1,
     .min_in = 1,
     .max_in = 1,
     .ref = arg_extreme,
     .spec = "ONNX ArgMin-13"},
    {.name = "CumSum",
     .since = 11,
     .min_in = 2,
     .max_in = 2,
     .ref = cum_sum,
     .spec = "ONNX CumSum-14"},
    {0},
};
