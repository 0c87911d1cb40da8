/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * op_move.c: operators that move elements without looking at them, by positions known from shapes
 * and attributes: Transpose, Concat, Split, Slice, Expand, DepthToSpace, SpaceToDepth, Trilu.
 * Moves whole elements of 1, 2, 4 or 8 bytes, so every type passes unchanged. What repeats elements
 * lives in op_pad.c, what moves by index tensors in op_index.c.
 */
#include "engine/elem.h"
#include "engine/op.h"

/* Copies x into y by a strided walk, x's strides being given. `dims` are those of y, or its rows
 * seen under another shape. */
static void copy_strided(const struct tensor *x, struct tensor *y, int rank, const int64_t *dims,
                         const int64_t *x_stride, int64_t x_start)
{
    struct walk w = {.rank = rank, .n = 2, .at = {0, x_start}};
    memcpy(w.dims, dims, (size_t)rank * sizeof *dims);
    memcpy(w.stride[1], x_stride, (size_t)rank * sizeof *x_stride);
    if (y->channels_last && rank >= 3) {
        elem_strides(y, w.stride[0]);
        walk_channels_last(&w);
    } else {
        walk_strides(rank, dims, w.stride[0]);
    }
    walk_copy(&w, y->data, x->data, dtype_size(x->dtype));
}

/* Whether a tensor of these dimensions has these strides, as far as it takes steps. */
static bool lies_so(int rank, const int64_t *dims, const int64_t *stride, bool channels_last)
{
    struct tensor t = {.rank = rank, .channels_last = channels_last};
    int64_t own[MAX_RANK];
    memcpy(t.dims, dims, (size_t)rank * sizeof *dims);
    elem_strides(&t, own);
    bool same = true;
    for (int d = 0; d < rank; d++) {
        same = same && (dims[d] == 1 || stride[d] == own[d]);
    }
    return same;
}

/* The result when the input is one as it lies in memory, in one of the two orders: often those of
 * two formats are all that a model transposes. */
static int transpose_view(struct op_call *c, const int64_t *dims, const int64_t *stride, bool *done,
                          struct err *err)
{
    const struct tensor *x = c->in[0];
    const bool fast = c->kernels == KERNELS_FAST && dtype_size(x->dtype);
    *done = false;
    for (int last = 0; last <= (x->rank >= 3) && fast && !*done; last++) {
        if (lies_so(x->rank, dims, stride, last)) {
            *done = true;
            return tensor_view_as((struct tensor *)x, x->rank, dims, last, &c->out[0], err);
        }
    }
    return OK;
}

static int transpose(struct op_call *c, struct err *err)
{
    const struct tensor *x = c->in[0];
    int64_t own[MAX_RANK], dims[MAX_RANK], stride[MAX_RANK];
    bool used[MAX_RANK] = {false};
    size_t n;
    const int64_t *perm = attr_ints(c->node, "perm", &n);
    if (perm && n != (size_t)x->rank) {
        return err_set(err, E_SHAPE, "perm has %zu entries, the input has rank %d", n, x->rank);
    }
    elem_strides(x, own);
    for (int d = 0; d < x->rank; d++) {
        const int64_t from = perm ? perm[d] : x->rank - 1 - d;
        if (from < 0 || from >= x->rank || used[from]) {
            return err_set(err, E_SHAPE, "perm is not a permutation: entry %d is %lld", d,
                           (long long)from);
        }
        used[from] = true;
        dims[d] = x->dims[from];
        stride[d] = own[from];
    }
    bool done;
    int rc = transpose_view(c, dims, stride, &done, err);
    if (rc || done) {
        return rc;
    }
    c->channels_last = false; /* the result is row-major */
    rc = op_out(c, 0, x->dtype, x->rank, dims, err);
    if (!rc) {
        copy_strided(x, c->out[0], x->rank, dims, stride, 0);
    }
    return rc;
}

/* Copies `part` to or from its place [at, at + part dims[axis]) along an axis of `whole`. */
static void copy_part(const struct tensor *whole, const struct tensor *part, int axis, int64_t at,
                      bool into_whole)
{
    struct walk w = {.rank = part->rank, .n = 2};
    const int in_whole = into_whole ? 0 : 1;
    memcpy(w.dims, part->dims, (size_t)part->rank * sizeof *part->dims);
    elem_strides(whole, w.stride[in_whole]);
    elem_strides(part, w.stride[1 - in_whole]);
    w.at[in_whole] = at * w.stride[in_whole][axis];
    if (whole->channels_last && whole->rank >= 3) {
        walk_channels_last(&w);
    }
    walk_copy(&w, into_whole ? whole->data : part->data, into_whole ? part->data : whole->data,
              dtype_size(whole->dtype));
}

static int concat(struct op_call *c, struct err *err)
{
    const struct tensor *first = c->in[0];
    const struct attr *given = attr_find(c->node, "axis");
    int axis;
    int64_t dims[MAX_RANK];
    if (!given && c->opset >= 4) {
        return err_set(err, E_FORMAT, "attribute axis is missing");
    }
    int rc = op_axis(attr_int(c->node, "axis", 1), first->rank, &axis, err);
    if (rc) {
        return rc;
    }
    memcpy(dims, first->dims, sizeof dims);
    dims[axis] = 0;
    for (int k = 0; k < c->n_in; k++) {
        const struct tensor *t = c->in[k];
        rc = op_want(c, k, first->dtype, first->rank, err);
        for (int d = 0; d < first->rank && !rc; d++) {
            if (d != axis && t->dims[d] != first->dims[d]) {
                rc = err_set(err, E_SHAPE, "input %d has dimension %d of %lld, expected %lld", k, d,
                             (long long)t->dims[d], (long long)first->dims[d]);
            }
        }
        if (!rc && __builtin_add_overflow(dims[axis], t->dims[axis], &dims[axis])) {
            rc = err_set(err, E_LIMIT, "concatenated dimension is over 2^63");
        }
        if (rc) {
            return rc;
        }
    }
    rc = op_out(c, 0, first->dtype, first->rank, dims, err);
    for (int64_t k = 0, at = 0; k < c->n_in && !rc; at += c->in[k++]->dims[axis]) {
        copy_part(c->out[0], c->in[k], axis, at, true);
    }
    return rc;
}

/* Size of part k of n. `list`: given sizes or NULL: equal parts, the last one smaller from opset
 * 18 on. */
static int64_t part_size(const int64_t *list, int64_t whole, int64_t n, int64_t k)
{
    const int64_t each = whole / n + (whole % n != 0);
    return list ? list[k] : MIN(each, MAX(whole - k * each, 0));
}

static int check_parts(const int64_t *list, size_t n_list, int64_t n, int64_t whole, int opset,
                       struct err *err)
{
    if (n < 1) {
        return err_set(err, E_FORMAT, "node has no outputs");
    }
    if (!list) {
        return opset >= 18 || whole % n == 0
                   ? OK
                   : err_set(err, E_SHAPE, "%lld does not divide into %lld equal parts",
                             (long long)whole, (long long)n);
    }
    if (n_list != (size_t)n) {
        return err_set(err, E_SHAPE, "split has %zu sizes for %lld outputs", n_list, (long long)n);
    }
    int64_t left = whole;
    for (int64_t k = 0; k < n; k++) {
        if (list[k] < 0 || list[k] > left) {
            return err_set(err, E_SHAPE, "split sizes do not add up to %lld", (long long)whole);
        }
        left -= list[k];
    }
    return left == 0 ? OK
                     : err_set(err, E_SHAPE, "split sizes add up to %lld, expected %lld",
                               (long long)(whole - left), (long long)whole);
}

static int split(struct op_call *c, struct err *err)
{
    const struct tensor *x = c->in[0];
    int64_t room[256], dims[MAX_RANK];
    const int64_t *list = NULL;
    size_t n_list = 0;
    int axis;
    int rc = op_axis(attr_int(c->node, "axis", 0), x->rank, &axis, err);
    if (!rc && c->opset < 13) {
        list = attr_ints(c->node, "split", &n_list);
    } else if (!rc && c->n_in > 1 && c->in[1]) {
        rc = op_int_list(c->in[1], COUNT(room), room, &n_list, err);
        list = room;
    }
    rc = rc ? rc : check_parts(list, n_list, c->n_out, x->dims[axis], c->opset, err);
    if (rc) {
        return rc;
    }
    memcpy(dims, x->dims, sizeof dims);
    for (int64_t k = 0, at = 0; k < c->n_out; at += dims[axis], k++) {
        dims[axis] = part_size(list, x->dims[axis], c->n_out, k);
        rc = op_out(c, (int)k, x->dtype, x->rank, dims, err);
        if (rc) {
            return rc;
        }
        copy_part(x, c->out[k], axis, at, false);
    }
    return OK;
}

/* ---- Slice ---------------------------------------------------------------------------------- */

/* Start, end, axis and step lists, each n long; axes and steps may be missing. */
struct cuts {
    size_t n;
    int64_t start[MAX_RANK], end[MAX_RANK], axis[MAX_RANK], step[MAX_RANK];
};

static int read_cut_list(const struct op_call *c, int i, const char *name, int64_t *dst, size_t *n,
                         struct err *err)
{
    *n = 0;
    if (c->opset < 10) { /* lists were attributes */
        const int64_t *v = attr_ints(c->node, name, n);
        if (*n > MAX_RANK) {
            return err_set(err, E_SHAPE, "%s has %zu entries, at most %d fit", name, *n, MAX_RANK);
        }
        for (size_t k = 0; k < *n; k++) {
            dst[k] = v[k];
        }
        return OK;
    }
    if (i >= c->n_in || !c->in[i]) {
        return OK;
    }
    return op_int_list(c->in[i], MAX_RANK, dst, n, err) ? err_in(err, "%s", name) : OK;
}

static int read_cuts(const struct op_call *c, struct cuts *q, struct err *err)
{
    size_t ends, axes, steps;
    int rc = read_cut_list(c, 1, "starts", q->start, &q->n, err);
    rc = rc ? rc : read_cut_list(c, 2, "ends", q->end, &ends, err);
    rc = rc ? rc : read_cut_list(c, 3, "axes", q->axis, &axes, err);
    rc = rc ? rc : read_cut_list(c, 4, "steps", q->step, &steps, err);
    if (rc) {
        return rc;
    }
    if (ends != q->n || (axes && axes != q->n) || (steps && steps != q->n)) {
        return err_set(err, E_SHAPE, "%zu starts, %zu ends, %zu axes and %zu steps do not agree",
                       q->n, ends, axes, steps);
    }
    for (size_t k = 0; k < q->n; k++) {
        q->axis[k] = axes ? q->axis[k] : (int64_t)k;
        q->step[k] = steps ? q->step[k] : 1;
    }
    return OK;
}

/* First element and number of elements of [start, end) by step in a dimension of n; indices count
 * from the end when negative, and are clamped. */
static int64_t cut(int64_t start, int64_t end, int64_t step, int64_t n, int64_t *first)
{
    const int64_t lo = step > 0 ? 0 : -1, hi = step > 0 ? n : n - 1;
    start = start < 0 ? start + n : start;
    end = end < 0 ? end + n : end;
    start = start < 0 ? (step > 0 ? 0 : -1) : MIN(start, hi);
    end = end < lo ? lo : MIN(end, hi);
    *first = start;
    if (step > 0 ? start >= end : start <= end) {
        return 0;
    }
    const uint64_t span = (uint64_t)(step > 0 ? end - start : start - end);
    const uint64_t pace = step > 0 ? (uint64_t)step : 0 - (uint64_t)step;
    return (int64_t)((span - 1) / pace + 1);
}

static int slice(struct op_call *c, struct err *err)
{
    const struct tensor *x = c->in[0];
    struct cuts q;
    bool cut_already[MAX_RANK] = {false};
    int64_t dims[MAX_RANK], stride[MAX_RANK], at = 0;
    int rc = read_cuts(c, &q, err);
    if (rc) {
        return rc;
    }
    memcpy(dims, x->dims, sizeof dims);
    elem_strides(x, stride);
    for (size_t k = 0; k < q.n; k++) {
        int axis;
        int64_t first;
        rc = op_axis(q.axis[k], x->rank, &axis, err);
        if (!rc && (cut_already[axis] || q.step[k] == 0)) {
            rc = err_set(err, E_SHAPE, q.step[k] ? "axis %d is cut twice" : "step of axis %d is 0",
                         axis);
        }
        if (rc) {
            return rc;
        }
        cut_already[axis] = true;
        dims[axis] = cut(q.start[k], q.end[k], q.step[k], x->dims[axis], &first);
        if (dims[axis] > 0) {
            at += first * stride[axis];
        }
        /* A step beyond the dimension leaves one element; its stride is never used. */
        stride[axis] = dims[axis] > 1 ? stride[axis] * q.step[k] : 0;
    }
    rc = op_out(c, 0, x->dtype, x->rank, dims, err);
    if (!rc) {
        copy_strided(x, c->out[0], x->rank, dims, stride, at);
    }
    return rc;
}

static int expand(struct op_call *c, struct err *err)
{
    struct tensor shape = {.rank = 0};
    struct walk w;
    size_t n;
    int rank;
    int64_t dims[MAX_RANK];
    int rc = op_int_list(c->in[1], MAX_RANK, shape.dims, &n, err);
    shape.rank = rc ? 0 : (int)n;
    const struct tensor *both[] = {c->in[0], &shape};
    rc = rc ? rc : walk_broadcast(&w, 2, both, &rank, dims, err);
    rc = rc ? rc : op_out(c, 0, c->in[0]->dtype, rank, dims, err);
    if (!rc) {
        walk_copy(&w, c->out[0]->data, c->in[0]->data, dtype_size(c->in[0]->dtype));
    }
    return rc;
}

/* ---- Blocks and triangles ------------------------------------------------------------------- */

/* DepthToSpace: x as [n, b, b, c, h, w] (DCR) or [n, c, b, b, h, w] (CRD) becomes
 * [n, c, h, b, w, b]. SpaceToDepth: [n, c, h, b, w, b] becomes [n, b, b, c, h, w] (DCR) or
 * [n, c, b, b, h, w] (CRD). */
static int depth_space(struct op_call *c, struct err *err)
{
    static const int dcr[] = {0, 3, 4, 1, 5, 2}, crd[] = {0, 1, 4, 2, 5, 3},
                     back_dcr[] = {0, 3, 5, 1, 2, 4}, back_crd[] = {0, 1, 3, 5, 2, 4};
    const struct tensor *x = c->in[0];
    const bool to_space = strcmp(c->node->op, "DepthToSpace") == 0;
    const bool is_crd = strcmp(attr_string(c->node, "mode", "DCR"), "CRD") == 0;
    const int64_t b = attr_int(c->node, "blocksize", 0);
    int rc = op_want(c, 0, DT_NONE, 4, err);
    if (rc) {
        return rc;
    }
    const int64_t n = x->dims[0], ch = x->dims[1], h = x->dims[2], w = x->dims[3];
    if (b < 1 || b > 1 << 15 || (to_space ? ch % (b * b) != 0 : h % b != 0 || w % b != 0)) {
        return err_set(err, E_SHAPE, "blocksize %lld does not divide the input", (long long)b);
    }
    const int64_t less = ch / (b * b);
    int64_t out[4] = {n, less, 0, 0};
    if (to_space ? __builtin_mul_overflow(h, b, &out[2]) || __builtin_mul_overflow(w, b, &out[3])
                 : __builtin_mul_overflow(ch, b * b, &out[1])) {
        return err_set(err, E_LIMIT, "output dimension is over 2^63");
    }
    if (!to_space) {
        out[2] = h / b;
        out[3] = w / b;
    }
    const int64_t split_dcr[] = {n, b, b, less, h, w}, split_crd[] = {n, less, b, b, h, w},
                  split_back[] = {n, ch, h / b, b, w / b, b};
    const int64_t *from = to_space ? (is_crd ? split_crd : split_dcr) : split_back;
    const int *perm = to_space ? (is_crd ? crd : dcr) : (is_crd ? back_crd : back_dcr);
    rc = op_out(c, 0, x->dtype, 4, out, err);
    if (!rc) {
        int64_t own[6], dims[6], stride[6];
        walk_strides(6, from, own);
        for (int d = 0; d < 6; d++) {
            dims[d] = from[perm[d]];
            stride[d] = own[perm[d]];
        }
        copy_strided(x, c->out[0], 6, dims, stride, 0);
    }
    return rc;
}

/* Keeps element [.., i, j] where j - i >= k (upper) or <= k, 0 elsewhere. */
static int trilu(struct op_call *c, struct err *err)
{
    const struct tensor *x = c->in[0];
    const bool upper = attr_int(c->node, "upper", 1) != 0;
    int64_t k = 0;
    if (x->rank < 2) {
        return err_set(err, E_SHAPE, "input has rank %d, expected at least 2", x->rank);
    }
    int rc = OK;
    if (c->n_in > 1 && c->in[1]) {
        size_t n;
        rc = op_int_list(c->in[1], 1, &k, &n, err);
    }
    rc = rc ? rc : op_out(c, 0, x->dtype, x->rank, x->dims, err);
    if (rc || x->n == 0) {
        return rc;
    }
    const int64_t rows = x->dims[x->rank - 2], columns = x->dims[x->rank - 1];
    const size_t size = dtype_size(x->dtype);
    memcpy(c->out[0]->data, x->data, x->size);
    for (size_t e = 0; e < x->n; e++) {
        const int64_t i = (int64_t)e / columns % rows, j = (int64_t)e % columns;
        if (upper ? j - i < k : j - i > k) {
            memset((uint8_t *)c->out[0]->data + e * size, 0, size);
        }
    }
    return OK;
}

#define ROW(op_name, first, least, most, fn, spec_text)                                            \
    {                                                                                              \
        .name = (op_name), .since = (first), .min_in = (least), .max_in = (most), .ref = (fn),     \
        .spec = (spec_text)                                                                        \
    }

/* The same for those that take channels where they lie. */
#define ROW_KEEP(op_name, first, least, most, fn, spec_text)                                       \
    {                                                                                              \
        .name = (op_name), .since = (first), .min_in = (least), .max_in = (most), .ref = (fn),     \
        .spec = (spec_text), .layout = layout_keep                                                 \
    }

const struct op op_move[] = {
    ROW_KEEP("Transpose", 1, 1, 1, transpose, "ONNX Transpose-25"),
    ROW_KEEP("Concat", 1, 1, -1, concat, "ONNX Concat-13"),
    ROW_KEEP("Split", 2, 1, 2, split, "ONNX Split-18"),
    ROW_KEEP("Slice", 1, 1, 5, slice, "ONNX Slice-13"),
    ROW("Expand", 8, 2, 2, expand, "ONNX Expand-13"),
    ROW("DepthToSpace", 1, 1, 1, depth_space, "ONNX DepthToSpace-28"),
    ROW("SpaceToDepth", 1, 1, 1, depth_space, "ONNX SpaceToDepth-28"),
    ROW("Trilu", 14, 1, 2, trilu, "ONNX Trilu-14"),
    {0},
};
