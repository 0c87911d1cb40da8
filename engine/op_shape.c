/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * op_shape.c: operators about shapes and constants: Reshape and its kin share the data of their
 * input; Shape, Size, Constant, ConstantOfShape, Range and EyeLike make new data from little.
 * What moves elements lives in op_move.c.
 */
#include "engine/elem.h"
#include "engine/op.h"

#include <math.h>

/* ---- New shape, same data ------------------------------------------------------------------- */

/* 0 copies the input's dimension (unless allowzero), one -1 takes what is left. */
static int reshape(struct op_call *c, struct err *err)
{
    const struct tensor *x = c->in[0];
    const bool allow_zero = attr_int(c->node, "allowzero", 0) != 0;
    int64_t dims[MAX_RANK];
    size_t rank, known = 1;
    int open = -1;
    int rc = op_int_list(c->in[1], MAX_RANK, dims, &rank, err);
    if (rc) {
        return rc;
    }
    for (int d = 0; d < (int)rank; d++) {
        if (dims[d] == 0 && !allow_zero) {
            if (d >= x->rank) {
                return err_set(err, E_SHAPE, "shape[%d] is 0, the input has only %d dimensions", d,
                               x->rank);
            }
            dims[d] = x->dims[d];
        }
        if (dims[d] < -1 || (dims[d] == -1 && open >= 0)) {
            return err_set(err, E_SHAPE, "shape[%d] is %lld, expected sizes and at most one -1", d,
                           (long long)dims[d]);
        }
        if (dims[d] == -1) {
            open = d;
        } else if (!mul_ok(known, (size_t)dims[d], &known)) {
            return err_set(err, E_LIMIT, "shape has more than 2^64 elements");
        }
    }
    if (open >= 0) {
        if (known == 0 || x->n % known) {
            return err_set(err, E_SHAPE, "%zu elements do not divide by %zu for dimension %d", x->n,
                           known, open);
        }
        dims[open] = (int64_t)(x->n / known);
    }
    return op_out_view(c, 0, x, (int)rank, dims, err);
}

static int flatten(struct op_call *c, struct err *err)
{
    const struct tensor *x = c->in[0];
    int64_t axis = attr_int(c->node, "axis", 1);
    if (axis < -x->rank || axis > x->rank) {
        return err_set(err, E_SHAPE, "axis %lld is outside [%d, %d]", (long long)axis, -x->rank,
                       x->rank);
    }
    axis += axis < 0 ? x->rank : 0;
    size_t dims[2] = {1, 1};
    for (int d = 0; d < x->rank; d++) {
        if (!mul_ok(dims[d >= axis], (size_t)x->dims[d], &dims[d >= axis])) {
            return err_set(err, E_LIMIT, "flattened dimension is over 2^64");
        }
    }
    const int64_t out[] = {(int64_t)dims[0], (int64_t)dims[1]};
    return op_out_view(c, 0, x, 2, out, err);
}

/* Axes of Squeeze and Unsqueeze as flags on `rank` dimensions: input 1, or an attribute until
 * opset 12. *n counts them; *given tells an empty list from a missing one. */
static int read_axes(const struct op_call *c, int rank, bool *flags, size_t *n, bool *given,
                     struct err *err)
{
    int64_t list[MAX_RANK];
    const int64_t *axes = list;
    *n = 0;
    if (c->opset < 13) {
        axes = attr_ints(c->node, "axes", n);
        *given = axes != NULL;
    } else {
        *given = c->n_in > 1 && c->in[1];
        int rc = *given ? op_int_list(c->in[1], MAX_RANK, list, n, err) : OK;
        if (rc) {
            return err_in(err, "axes");
        }
    }
    for (size_t i = 0; i < *n; i++) {
        int axis;
        int rc = op_axis(axes[i], rank, &axis, err);
        if (rc) {
            return rc;
        }
        if (flags[axis]) {
            return err_set(err, E_SHAPE, "axis %d is given twice", axis);
        }
        flags[axis] = true;
    }
    return OK;
}

static int squeeze(struct op_call *c, struct err *err)
{
    const struct tensor *x = c->in[0];
    bool drop[MAX_RANK] = {false}, given;
    size_t n;
    int64_t dims[MAX_RANK];
    int rank = 0;
    int rc = read_axes(c, x->rank, drop, &n, &given, err);
    if (rc) {
        return rc;
    }
    for (int d = 0; d < x->rank; d++) {
        if (drop[d] && x->dims[d] != 1) {
            return err_set(err, E_SHAPE, "dimension %d is %lld, expected 1", d,
                           (long long)x->dims[d]);
        }
        if (given ? !drop[d] : x->dims[d] != 1) {
            dims[rank++] = x->dims[d];
        }
    }
    return op_out_view(c, 0, x, rank, dims, err);
}

static int unsqueeze(struct op_call *c, struct err *err)
{
    const struct tensor *x = c->in[0];
    bool add[MAX_RANK] = {false}, given;
    size_t n;
    int64_t dims[MAX_RANK];
    /* Axes count in the result, so their number is needed before they can be read. */
    if (c->opset < 13) {
        attr_ints(c->node, "axes", &n);
    } else {
        n = c->n_in > 1 && c->in[1] ? c->in[1]->n : 0;
    }
    if (n > (size_t)(MAX_RANK - x->rank)) {
        return err_set(err, E_SHAPE, "result would have %zu dimensions, at most %d are supported",
                       (size_t)x->rank + n, MAX_RANK);
    }
    const int rank = x->rank + (int)n;
    int rc = read_axes(c, rank, add, &n, &given, err);
    if (rc) {
        return rc;
    }
    for (int d = 0, from = 0; d < rank; d++) {
        dims[d] = add[d] ? 1 : x->dims[from++];
    }
    return op_out_view(c, 0, x, rank, dims, err);
}

/* ---- Shapes as data ------------------------------------------------------------------------- */

static int64_t clamp(int64_t v, int64_t lo, int64_t hi)
{
    return v < lo ? lo : v > hi ? hi : v;
}

static int shape(struct op_call *c, struct err *err)
{
    const int rank = c->in[0]->rank;
    int64_t start = attr_int(c->node, "start", 0), end = attr_int(c->node, "end", rank);
    start = clamp(start < 0 ? start + rank : start, 0, rank);
    end = clamp(end < 0 ? end + rank : end, start, rank);
    const int64_t n = end - start;
    int rc = op_out(c, 0, DT_S64, 1, &n, err);
    if (!rc) {
        memcpy(c->out[0]->data, c->in[0]->dims + start, (size_t)n * sizeof(int64_t));
    }
    return rc;
}

static int size(struct op_call *c, struct err *err)
{
    int rc = op_out(c, 0, DT_S64, 0, NULL, err);
    if (!rc) {
        *(int64_t *)c->out[0]->data = (int64_t)c->in[0]->n;
    }
    return rc;
}

static int constant_tensor(struct op_call *c, const struct tensor *t, struct err *err)
{
    if (!t || !dtype_stored(t->dtype)) {
        return err_set(err, E_UNSUPPORTED, "value has an element type that is not supported");
    }
    c->out[0] = tensor_aligned(t);
    return c->out[0] ? OK : err_set(err, E_LIMIT, "out of memory for %zu bytes", t->size);
}

static int constant(struct op_call *c, struct err *err)
{
    const struct node *node = c->node;
    for (int i = 0; i < node->n_attrs; i++) {
        const struct attr *a = &node->attrs[i];
        const int64_t n = (int64_t)a->n;
        int rc;
        if (a->kind == ATTR_TENSOR && strcmp(a->name, "value") == 0) {
            return constant_tensor(c, a->t, err);
        }
        if (a->kind == ATTR_INT && strcmp(a->name, "value_int") == 0) {
            rc = op_out(c, 0, DT_S64, 0, NULL, err);
            if (!rc) {
                elem_put_s64(c->out[0], 0, 1, &a->i);
            }
            return rc;
        }
        if (a->kind == ATTR_INTS && strcmp(a->name, "value_ints") == 0) {
            rc = op_out(c, 0, DT_S64, 1, &n, err);
            if (!rc) {
                elem_put_s64(c->out[0], 0, a->n, a->ints);
            }
            return rc;
        }
        if (a->kind == ATTR_FLOAT && strcmp(a->name, "value_float") == 0) {
            rc = op_out(c, 0, DT_F32, 0, NULL, err);
            if (!rc) {
                memcpy(c->out[0]->data, &a->f, sizeof a->f);
            }
            return rc;
        }
        if (a->kind == ATTR_STRING && strcmp(a->name, "value_string") == 0) {
            rc = tensor_new_strings(0, NULL, a->s_size, c->budget, &c->out[0], err);
            if (!rc) {
                tensor_put_string(c->out[0], 0, (struct span){(const uint8_t *)a->s, a->s_size});
            }
            return rc;
        }
        if (a->kind == ATTR_STRINGS && strcmp(a->name, "value_strings") == 0) {
            return err_set(err, E_UNSUPPORTED, "value_strings is not supported");
        }
        if (a->kind == ATTR_FLOATS && strcmp(a->name, "value_floats") == 0) {
            rc = op_out(c, 0, DT_F32, 1, &n, err);
            if (!rc && n > 0) {
                memcpy(c->out[0]->data, a->floats, a->n * sizeof *a->floats);
            }
            return rc;
        }
    }
    return err_set(err, E_UNSUPPORTED, "no value attribute of a supported kind");
}

/* All of y becomes the element at p. */
static void fill(struct tensor *y, const void *p)
{
    const size_t size_each = dtype_size(y->dtype);
    for (size_t i = 0; i < y->n; i++) {
        memcpy((uint8_t *)y->data + i * size_each, p, size_each);
    }
}

static int constant_of_shape(struct op_call *c, struct err *err)
{
    const struct attr *a = attr_find(c->node, "value");
    const struct tensor *value = a && a->kind == ATTR_TENSOR ? a->t : NULL;
    const float zero = 0;
    int64_t dims[MAX_RANK];
    size_t rank;
    if (value && (value->n != 1 || !dtype_size(value->dtype))) {
        return err_set(err, E_FORMAT, "value has %zu elements of %s, expected one number", value->n,
                       dtype_name(value->dtype));
    }
    int rc = op_int_list(c->in[0], MAX_RANK, dims, &rank, err);
    rc = rc ? rc : op_out(c, 0, value ? value->dtype : DT_F32, (int)rank, dims, err);
    if (!rc) {
        fill(c->out[0], value ? value->data : &zero);
    }
    return rc;
}

/* start + i * delta for i below (limit - start) / delta, rounded up. */
static int range(struct op_call *c, struct err *err)
{
    const enum dtype d = c->in[0]->dtype;
    double v[3];
    int64_t q[3];
    for (int i = 0; i < 3; i++) {
        int rc = op_want(c, i, d, -1, err);
        if (!rc && c->in[i]->n != 1) {
            rc = err_set(err, E_SHAPE, "input %d has %zu values, expected one", i, c->in[i]->n);
        }
        if (rc) {
            return rc;
        }
        v[i] = tensor_f64(c->in[i], 0);
        elem_get_s64(c->in[i], 0, 1, &q[i]);
    }
    const double count = ceil((v[1] - v[0]) / v[2]);
    if (v[2] == 0 || !(fabs(count) < 1e15)) {
        return err_set(err, E_SHAPE, "range from %g to %g by %g has no finite length", v[0], v[1],
                       v[2]);
    }
    const int64_t n = count > 0 ? (int64_t)count : 0;
    int rc = op_out(c, 0, d, 1, &n, err);
    for (int64_t i = 0; i < n && !rc; i++) {
        const double real = v[0] + (double)i * v[2];
        const int64_t integer = (int64_t)((uint64_t)q[0] + (uint64_t)i * (uint64_t)q[2]);
        if (elem_is_int(d)) {
            elem_put_s64(c->out[0], (size_t)i, 1, &integer);
        } else {
            elem_put_f64(c->out[0], (size_t)i, 1, &real);
        }
    }
    return rc;
}

static int eye_like(struct op_call *c, struct err *err)
{
    const int64_t k = attr_int(c->node, "k", 0);
    const int64_t d = attr_int(c->node, "dtype", (int64_t)c->in[0]->dtype);
    int rc = op_want(c, 0, DT_NONE, 2, err);
    rc = rc ? rc : op_out(c, 0, d > 0 && d < 256 ? (enum dtype)d : DT_NONE, 2, c->in[0]->dims, err);
    if (rc) {
        return rc;
    }
    const int64_t rows = c->in[0]->dims[0], columns = c->in[0]->dims[1], one = 1;
    memset(c->out[0]->data, 0, c->out[0]->size);
    for (int64_t i = k < 0 && k > -rows ? -k : 0; i < rows && k > -rows && k < columns; i++) {
        if (i + k >= columns) {
            break;
        }
        elem_put_s64(c->out[0], (size_t)(i * columns + i + k), 1, &one);
    }
    return OK;
}

#define ROW(op_name, first, least, most, fn, spec_text)                                            \
    {                                                                                              \
        .name = (op_name), .since = (first), .min_in = (least), .max_in = (most), .ref = (fn),     \
        .spec = (spec_text)                                                                        \
    }

const struct op op_shape[] = {
    ROW("Reshape", 5, 2, 2, reshape, "ONNX Reshape-25"),
    ROW("Flatten", 1, 1, 1, flatten, "ONNX Flatten-25"),
    ROW("Squeeze", 1, 1, 2, squeeze, "ONNX Squeeze-25"),
    ROW("Unsqueeze", 1, 1, 2, unsqueeze, "ONNX Unsqueeze-25"),
    ROW("Shape", 1, 1, 1, shape, "ONNX Shape-25"),
    ROW("Size", 1, 1, 1, size, "ONNX Size-25"),
    ROW("Constant", 1, 0, 0, constant, "ONNX Constant-25"),
    ROW("ConstantOfShape", 9, 1, 1, constant_of_shape, "ONNX ConstantOfShape-25"),
    ROW("Range", 11, 3, 3, range, "ONNX Range-27"),
    ROW("EyeLike", 9, 1, 1, eye_like, "ONNX EyeLike-22"),
    {0},
};
