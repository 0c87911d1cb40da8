/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * op_index.c: operators whose positions come from a tensor: Gather and Scatter in their forms,
 * OneHot, TopK, NonZero. Every index is checked against its dimension before it is used.
 */
#include "engine/elem.h"
#include "engine/op.h"

#include <math.h>
#include <stdlib.h>

/* Index i of t in a dimension of n; negative ones count from the end. */
static int read_index(const struct tensor *t, size_t i, int64_t n, int64_t *out, struct err *err)
{
    int64_t k = 0;
    elem_get_s64(t, i, 1, &k);
    if (k < -n || k >= n) {
        return err_set(err, E_SHAPE, "index %lld is outside [%lld, %lld]", (long long)k,
                       (long long)-n, (long long)n - 1);
    }
    *out = k < 0 ? k + n : k;
    return OK;
}

static int want_indices(const struct op_call *c, int i, struct err *err)
{
    int rc = op_want(c, i, DT_NONE, -1, err);
    if (!rc && c->in[i]->dtype != DT_S64 && c->in[i]->dtype != DT_S32) {
        rc = err_set(err, E_SHAPE, "input %d is %s, expected int32 or int64", i,
                     dtype_name(c->in[i]->dtype));
    }
    return rc;
}

/* Product of dims[from, to) of a tensor with elements. */
static size_t product(const struct tensor *t, int from, int to)
{
    size_t n = 1;
    for (int d = from; d < to; d++) {
        n *= (size_t)t->dims[d];
    }
    return n;
}

static int too_deep(int rank, struct err *err)
{
    return err_set(err, E_SHAPE, "output would have %d dimensions, at most %d are supported", rank,
                   MAX_RANK);
}

/* y[a.., i.., b..] = x[a.., indices[i..], b..] */
static int gather(struct op_call *c, struct err *err)
{
    const struct tensor *x = c->in[0], *indices = c->in[1];
    int axis, rank = 0;
    int64_t dims[2 * MAX_RANK];
    int rc = want_indices(c, 1, err);
    rc = rc ? rc : op_axis(attr_int(c->node, "axis", 0), x->rank, &axis, err);
    if (rc) {
        return rc;
    }
    for (int d = 0; d < axis; d++) {
        dims[rank++] = x->dims[d];
    }
    for (int d = 0; d < indices->rank; d++) {
        dims[rank++] = indices->dims[d];
    }
    for (int d = axis + 1; d < x->rank; d++) {
        dims[rank++] = x->dims[d];
    }
    if (rank > MAX_RANK) {
        return too_deep(rank, err);
    }
    rc = op_out(c, 0, x->dtype, rank, dims, err);
    if (rc || c->out[0]->n == 0) {
        return rc;
    }
    /* The output has elements, so all dimensions but the axis are at least 1. */
    const size_t outer = product(x, 0, axis),
                 chunk = product(x, axis + 1, x->rank) * dtype_size(x->dtype);
    for (size_t i = 0; i < indices->n; i++) {
        int64_t k = 0;
        rc = read_index(indices, i, x->dims[axis], &k, err);
        if (rc) {
            return rc;
        }
        for (size_t o = 0; o < outer; o++) {
            memcpy((uint8_t *)c->out[0]->data + (o * indices->n + i) * chunk,
                   (const uint8_t *)x->data + (o * (size_t)x->dims[axis] + (size_t)k) * chunk,
                   chunk);
        }
    }
    return OK;
}

/* ---- GatherElements, ScatterElements -------------------------------------------------------- */

/* Checks that indices fit data everywhere but along the axis. */
static int check_elements(const struct tensor *data, const struct tensor *indices, int axis,
                          struct err *err)
{
    if (indices->rank != data->rank) {
        return err_set(err, E_SHAPE, "indices have rank %d, expected %d", indices->rank,
                       data->rank);
    }
    for (int d = 0; d < data->rank; d++) {
        if (d != axis && indices->dims[d] > data->dims[d]) {
            return err_set(err, E_SHAPE, "indices have dimension %d of %lld, at most %lld fit", d,
                           (long long)indices->dims[d], (long long)data->dims[d]);
        }
    }
    return OK;
}

/* Offset in data of the element that entry i of indices points to. */
static int element_offset(const struct tensor *data, const struct tensor *indices, int axis,
                          size_t i, size_t *out, struct err *err)
{
    int64_t stride[MAX_RANK], k = 0;
    walk_strides(data->rank, data->dims, stride);
    int rc = read_index(indices, i, data->dims[axis], &k, err);
    int64_t at = rc ? 0 : k * stride[axis];
    int64_t rest = (int64_t)i;
    for (int d = data->rank - 1; d >= 0; rest /= indices->dims[d--]) {
        at += d == axis ? 0 : rest % indices->dims[d] * stride[d];
    }
    *out = (size_t)at;
    return rc;
}

static int gather_elements(struct op_call *c, struct err *err)
{
    const struct tensor *x = c->in[0], *indices = c->in[1];
    const size_t size = dtype_size(x->dtype);
    int axis;
    int rc = want_indices(c, 1, err);
    rc = rc ? rc : op_axis(attr_int(c->node, "axis", 0), x->rank, &axis, err);
    rc = rc ? rc : check_elements(x, indices, axis, err);
    rc = rc ? rc : op_out(c, 0, x->dtype, indices->rank, indices->dims, err);
    for (size_t i = 0; !rc && i < indices->n; i++) {
        size_t at;
        rc = element_offset(x, indices, axis, i, &at, err);
        if (!rc) {
            memcpy((uint8_t *)c->out[0]->data + i * size, (const uint8_t *)x->data + at * size,
                   size);
        }
    }
    return rc;
}

/* How an update meets the value that stands there. */
enum update { UPDATE_SET, UPDATE_ADD, UPDATE_MUL, UPDATE_MAX, UPDATE_MIN };

static int read_update(const struct node *n, enum update *out, struct err *err)
{
    static const char *const names[] = {"none", "add", "mul", "max", "min"};
    const char *s = attr_string(n, "reduction", "none");
    for (size_t i = 0; i < COUNT(names); i++) {
        if (strcmp(s, names[i]) == 0) {
            *out = (enum update)i;
            return OK;
        }
    }
    return err_set(err, E_FORMAT, "reduction is '%.40s', expected none, add, mul, max or min", s);
}

static double update_real(enum update u, double old, double v)
{
    return u == UPDATE_ADD   ? old + v
           : u == UPDATE_MUL ? old * v
           : u == UPDATE_MAX ? (v > old || isnan(v) ? v : old)
           : u == UPDATE_MIN ? (v < old || isnan(v) ? v : old)
                             : v;
}

static int64_t update_int(enum update u, int64_t old, int64_t v)
{
    return u == UPDATE_ADD   ? (int64_t)((uint64_t)old + (uint64_t)v)
           : u == UPDATE_MUL ? (int64_t)((uint64_t)old * (uint64_t)v)
           : u == UPDATE_MAX ? MAX(old, v)
           : u == UPDATE_MIN ? MIN(old, v)
                             : v;
}

/* y[to] = update(y[to], updates[from]) for n elements in a row. */
static void apply(struct tensor *y, size_t to, const struct tensor *updates, size_t from, size_t n,
                  enum update u)
{
    const size_t size = dtype_size(y->dtype);
    if (u == UPDATE_SET) {
        memcpy((uint8_t *)y->data + to * size, (const uint8_t *)updates->data + from * size,
               n * size);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        double a, b;
        int64_t p, q;
        if (elem_is_int(y->dtype)) {
            elem_get_s64(y, to + i, 1, &p);
            elem_get_s64(updates, from + i, 1, &q);
            p = update_int(u, p, q);
            elem_put_s64(y, to + i, 1, &p);
        } else {
            elem_get_f64(y, to + i, 1, &a);
            elem_get_f64(updates, from + i, 1, &b);
            a = update_real(u, a, b);
            elem_put_f64(y, to + i, 1, &a);
        }
    }
}

/* Output 0 as a copy of the data. */
static int copy_data(struct op_call *c, struct err *err)
{
    int rc = op_out(c, 0, c->in[0]->dtype, c->in[0]->rank, c->in[0]->dims, err);
    if (!rc && c->in[0]->n > 0) {
        memcpy(c->out[0]->data, c->in[0]->data, c->in[0]->size);
    }
    return rc;
}

static int scatter_elements(struct op_call *c, struct err *err)
{
    const struct tensor *x = c->in[0], *indices = c->in[1], *updates = c->in[2];
    enum update u = UPDATE_SET;
    int axis;
    int rc = want_indices(c, 1, err);
    rc = rc ? rc : op_want(c, 2, x->dtype, indices->rank, err);
    rc = rc ? rc : op_axis(attr_int(c->node, "axis", 0), x->rank, &axis, err);
    rc = rc ? rc : check_elements(x, indices, axis, err);
    rc = rc ? rc : read_update(c->node, &u, err);
    if (!rc && memcmp(indices->dims, updates->dims, (size_t)x->rank * sizeof *x->dims) != 0) {
        rc = err_set(err, E_SHAPE, "indices and updates differ in shape");
    }
    rc = rc ? rc : copy_data(c, err);
    for (size_t i = 0; !rc && i < indices->n; i++) {
        size_t at;
        rc = element_offset(x, indices, axis, i, &at, err);
        if (!rc) {
            apply(c->out[0], at, updates, i, 1, u);
        }
    }
    return rc;
}

/* ---- GatherND, ScatterND -------------------------------------------------------------------- */

/* The last dimension of indices is a position of `depth` coordinates in dims [batch, batch+depth)
 * of data; what is moved is the chunk behind it. */
struct nd {
    int batch, depth;
    size_t positions, chunk;
};

static int nd_read(const struct op_call *c, int batch, struct nd *v, struct err *err)
{
    const struct tensor *x = c->in[0], *indices = c->in[1];
    int rc = want_indices(c, 1, err);
    if (rc) {
        return rc;
    }
    if (indices->rank < 1 || batch < 0 || batch >= indices->rank || batch >= x->rank) {
        return err_set(err, E_SHAPE, "indices of rank %d do not fit %d batch dimensions",
                       indices->rank, batch);
    }
    const int64_t depth = indices->dims[indices->rank - 1];
    if (depth < 1 || depth > x->rank - batch) {
        return err_set(err, E_SHAPE, "indices hold %lld coordinates, expected 1 to %d",
                       (long long)depth, x->rank - batch);
    }
    for (int d = 0; d < batch; d++) {
        if (indices->dims[d] != x->dims[d]) {
            return err_set(err, E_SHAPE, "batch dimension %d is %lld and %lld", d,
                           (long long)x->dims[d], (long long)indices->dims[d]);
        }
    }
    *v = (struct nd){.batch = batch, .depth = (int)depth};
    v->positions = indices->n / (size_t)depth;
    v->chunk = x->n > 0 ? product(x, batch + v->depth, x->rank) : 0;
    return OK;
}

/* Element offset in data of position i. */
static int nd_offset(const struct op_call *c, const struct nd *v, size_t i, size_t *out,
                     struct err *err)
{
    const struct tensor *x = c->in[0], *indices = c->in[1];
    const size_t batches = product(x, 0, v->batch);
    size_t at = v->positions ? i / (v->positions / MAX(batches, (size_t)1)) : 0;
    for (int d = 0; d < v->depth; d++) {
        int64_t k = 0;
        int rc =
            read_index(indices, i * (size_t)v->depth + (size_t)d, x->dims[v->batch + d], &k, err);
        if (rc) {
            return rc;
        }
        at = at * (size_t)x->dims[v->batch + d] + (size_t)k;
    }
    *out = at * v->chunk;
    return OK;
}

static int gather_nd(struct op_call *c, struct err *err)
{
    const struct tensor *x = c->in[0], *indices = c->in[1];
    const int64_t batch = attr_int(c->node, "batch_dims", 0);
    const size_t size = dtype_size(x->dtype);
    struct nd v = {0};
    int64_t dims[2 * MAX_RANK];
    int rank = 0;
    int rc = nd_read(c, batch < 0 || batch > MAX_RANK ? -1 : (int)batch, &v, err);
    if (rc) {
        return rc;
    }
    for (int d = 0; d < indices->rank - 1; d++) {
        dims[rank++] = indices->dims[d];
    }
    for (int d = v.batch + v.depth; d < x->rank; d++) {
        dims[rank++] = x->dims[d];
    }
    if (rank > MAX_RANK) {
        return too_deep(rank, err);
    }
    rc = op_out(c, 0, x->dtype, rank, dims, err);
    for (size_t i = 0; !rc && c->out[0]->n > 0 && i < v.positions; i++) {
        size_t at;
        rc = nd_offset(c, &v, i, &at, err);
        if (!rc) {
            memcpy((uint8_t *)c->out[0]->data + i * v.chunk * size,
                   (const uint8_t *)x->data + at * size, v.chunk * size);
        }
    }
    return rc;
}

static int scatter_nd(struct op_call *c, struct err *err)
{
    const struct tensor *x = c->in[0], *updates = c->in[2];
    enum update u = UPDATE_SET;
    struct nd v = {0};
    int rc = nd_read(c, 0, &v, err);
    rc = rc ? rc : op_want(c, 2, x->dtype, -1, err);
    rc = rc ? rc : read_update(c->node, &u, err);
    size_t expected;
    if (!rc && (!mul_ok(v.positions, v.chunk, &expected) || updates->n != expected)) {
        rc = err_set(err, E_SHAPE, "updates have %zu elements, expected %zu positions of %zu",
                     updates->n, v.positions, v.chunk);
    }
    rc = rc ? rc : copy_data(c, err);
    for (size_t i = 0; !rc && updates->n > 0 && i < v.positions; i++) {
        size_t at;
        rc = nd_offset(c, &v, i, &at, err);
        if (!rc) {
            apply(c->out[0], at, updates, i * v.chunk, v.chunk, u);
        }
    }
    return rc;
}

/* ---- OneHot, TopK, NonZero ------------------------------------------------------------------ */

/* values = [off, on]; an index outside [-depth, depth) gives a row of off. */
static int one_hot(struct op_call *c, struct err *err)
{
    const struct tensor *indices = c->in[0], *depth = c->in[1], *values = c->in[2];
    int axis;
    int64_t dims[MAX_RANK];
    if (depth->n != 1 || values->n != 2 || !dtype_size(values->dtype)) {
        return err_set(err, E_SHAPE, "depth has %zu values and values has %zu, expected 1 and 2",
                       depth->n, values->n);
    }
    if (indices->rank >= MAX_RANK) {
        return too_deep(indices->rank + 1, err);
    }
    const int64_t n = tensor_s64(depth, 0);
    int rc = op_axis(attr_int(c->node, "axis", -1), indices->rank + 1, &axis, err);
    if (rc) {
        return rc;
    }
    for (int d = 0, from = 0; d <= indices->rank; d++) {
        dims[d] = d == axis ? n : indices->dims[from++];
    }
    rc = op_out(c, 0, values->dtype, indices->rank + 1, dims, err);
    if (rc || c->out[0]->n == 0) {
        return rc;
    }
    const size_t inner = product(indices, axis, indices->rank), size = dtype_size(values->dtype);
    for (size_t i = 0; i < c->out[0]->n; i++) {
        const size_t along = i / inner % (size_t)n;
        int64_t k = 0;
        elem_get_s64(indices, i / inner / (size_t)n * inner + i % inner, 1, &k);
        const bool on = k >= -n && k < n && (size_t)(k < 0 ? k + n : k) == along;
        memcpy((uint8_t *)c->out[0]->data + i * size,
               (const uint8_t *)values->data + (on ? size : 0), size);
    }
    return OK;
}

/* One candidate of TopK; sorted best first, lower index first among equals. */
struct candidate {
    double v;
    int64_t i;
};

static int compare_largest(const void *a, const void *b)
{
    const struct candidate *p = a, *q = b;
    return p->v > q->v ? -1 : p->v < q->v ? 1 : (p->i > q->i) - (p->i < q->i);
}

static int compare_smallest(const void *a, const void *b)
{
    const struct candidate *p = a, *q = b;
    return p->v < q->v ? -1 : p->v > q->v ? 1 : (p->i > q->i) - (p->i < q->i);
}

static int top_k_outputs(struct op_call *c, int axis, int64_t k, struct err *err)
{
    const struct tensor *x = c->in[0];
    int64_t dims[MAX_RANK];
    if (k < 0 || k > x->dims[axis]) {
        return err_set(err, E_SHAPE, "k is %lld, expected 0 to %lld", (long long)k,
                       (long long)x->dims[axis]);
    }
    memcpy(dims, x->dims, sizeof dims);
    dims[axis] = k;
    int rc = op_out(c, 0, x->dtype, x->rank, dims, err);
    if (!rc && c->n_out > 1 && c->node->out[1] >= 0) {
        rc = op_out(c, 1, DT_S64, x->rank, dims, err);
    }
    return rc;
}

static int top_k(struct op_call *c, struct err *err)
{
    const struct tensor *x = c->in[0];
    const bool largest = attr_int(c->node, "largest", 1) != 0;
    struct tensor *room = NULL;
    int axis = 0;
    int rc = op_axis(attr_int(c->node, "axis", -1), x->rank, &axis, err);
    if (!rc && c->in[1]->n != 1) {
        rc = err_set(err, E_SHAPE, "k has %zu values, expected one", c->in[1]->n);
    }
    rc = rc ? rc : top_k_outputs(c, axis, tensor_s64(c->in[1], 0), err);
    if (rc || c->out[0]->n == 0) {
        return rc;
    }
    const int64_t k = c->out[0]->dims[axis], n = x->dims[axis], size[] = {n, 2};
    const size_t inner = product(x, axis + 1, x->rank), size_each = dtype_size(x->dtype);
    rc = tensor_new(DT_F64, 2, size, c->budget, &room, err); /* a candidate takes two doubles */
    for (size_t j = 0; !rc && j < x->n / (size_t)n; j++) {
        struct candidate *list = room->data;
        const size_t from = j / inner * (size_t)n * inner + j % inner;
        const size_t to = j / inner * (size_t)k * inner + j % inner;
        for (int64_t i = 0; i < n; i++) {
            list[i].i = i;
            elem_get_f64(x, from + (size_t)i * inner, 1, &list[i].v);
        }
        qsort(list, (size_t)n, sizeof *list, largest ? compare_largest : compare_smallest);
        for (int64_t i = 0; i < k; i++) {
            const size_t at = to + (size_t)i * inner;
            memcpy((uint8_t *)c->out[0]->data + at * size_each,
                   (const uint8_t *)x->data + (from + (size_t)list[i].i * inner) * size_each,
                   size_each);
            if (c->n_out > 1 && c->out[1]) {
                ((int64_t *)c->out[1]->data)[at] = list[i].i;
            }
        }
    }
    tensor_free(room);
    return rc;
}

/* Coordinates [rank, count] of the elements that are not zero, in row-major order. */
static int non_zero(struct op_call *c, struct err *err)
{
    const struct tensor *x = c->in[0];
    int64_t dims[] = {x->rank, 0};
    for (size_t i = 0; i < x->n; i++) {
        dims[1] += tensor_f64(x, i) != 0;
    }
    int rc = op_out(c, 0, DT_S64, 2, dims, err);
    int64_t at = 0;
    for (size_t i = 0; !rc && i < x->n; i++) {
        if (tensor_f64(x, i) == 0) {
            continue;
        }
        size_t rest = i;
        for (int d = x->rank - 1; d >= 0; rest /= (size_t)x->dims[d--]) {
            ((int64_t *)c->out[0]->data)[d * dims[1] + at] = (int64_t)(rest % (size_t)x->dims[d]);
        }
        at++;
    }
    return rc;
}

#define ROW(op_name, first, count, fn, spec_text)                                                  \
    {                                                                                              \
        .name = (op_name), .since = (first), .min_in = (count), .max_in = (count), .ref = (fn),    \
        .spec = (spec_text)                                                                        \
    }

const struct op op_index[] = {
    ROW("Gather", 1, 2, gather, "ONNX Gather-13"),
    ROW("GatherElements", 11, 2, gather_elements, "ONNX GatherElements-13"),
    ROW("GatherND", 11, 2, gather_nd, "ONNX GatherND-13"),
    ROW("Scatter", 9, 3, scatter_elements, "ONNX Scatter-9"),
    ROW("ScatterElements", 11, 3, scatter_elements, "ONNX ScatterElements-18"),
    ROW("ScatterND", 11, 3, scatter_nd, "ONNX ScatterND-18"),
    ROW("OneHot", 9, 3, one_hot, "ONNX OneHot-28"),
    ROW("TopK", 10, 2, top_k, "ONNX TopK-24"),
    ROW("NonZero", 9, 1, non_zero, "ONNX NonZero-13"),
    {0},
};
