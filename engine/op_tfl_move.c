/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * op_tfl_move.c: operators of TensorFlow Lite that put elements elsewhere without changing them:
 * shapes, slices, joins, blocks. One strided copy serves them all, whatever the type.
 */
#include "engine/tfl.h"

#include <inttypes.h>

/* Lists of axes, sizes or positions. */
struct list {
    size_t n;
    int64_t v[MAX_RANK];
};

static int list_read(const struct op_call *c, int i, struct list *l, struct err *err)
{
    if (!tfl_has(c, i)) {
        return err_set(err, E_FORMAT, "input %d is missing", i);
    }
    int rc = op_int_list(c->in[i], MAX_RANK, l->v, &l->n, err);
    return rc ? err_in(err, "input %d", i) : OK;
}

/* The list has one entry per dimension of input 0. */
static int list_read_full(const struct op_call *c, int i, struct list *l, struct err *err)
{
    int rc = list_read(c, i, l, err);
    if (!rc && (int)l->n != c->in[0]->rank) {
        rc = err_set(err, E_SHAPE, "input %d has %zu entries for rank %d", i, l->n, c->in[0]->rank);
    }
    return rc;
}

/* Copies a block of `dims` between two tensors whose strides and first elements are given. */
static void copy_block(int rank, const int64_t *dims, void *dst, int64_t to, const int64_t *ds,
                       const void *src, int64_t from, const int64_t *ss, size_t size)
{
    struct walk w = {.rank = rank, .n = 2, .at = {to, from}};
    for (int d = 0; d < rank; d++) {
        w.dims[d] = dims[d];
        w.stride[0][d] = ds[d];
        w.stride[1][d] = ss[d];
    }
    walk_copy(&w, dst, src, size);
}

/* ---- Shapes --------------------------------------------------------------------------------- */

static int view_as(struct op_call *c, struct list *shape, struct err *err)
{
    const struct tensor *x = c->in[0];
    int64_t known = 1;
    int open = -1;
    for (size_t i = 0; i < shape->n; i++) {
        if (shape->v[i] == -1 && open < 0) {
            open = (int)i;
        } else if (shape->v[i] < 0 || __builtin_mul_overflow(known, shape->v[i], &known)) {
            return err_set(err, E_SHAPE, "shape with dimension %" PRId64, shape->v[i]);
        }
    }
    if (open >= 0) {
        shape->v[open] = known ? (int64_t)x->n / known : 0;
    }
    return op_out_view(c, 0, x, (int)shape->n, shape->v, err);
}

static int run_reshape(struct op_call *c, struct err *err)
{
    struct list shape = {0};
    if (tfl_has(c, 1)) {
        int rc = list_read(c, 1, &shape, err);
        return rc ? rc : view_as(c, &shape, err);
    }
    const int64_t *v = attr_ints(c->node, "new_shape", &shape.n);
    if (shape.n > MAX_RANK) {
        return err_set(err, E_UNSUPPORTED, "shape of rank %zu", shape.n);
    }
    for (size_t i = 0; i < shape.n; i++) {
        shape.v[i] = v[i];
    }
    return view_as(c, &shape, err);
}

static int run_squeeze(struct op_call *c, struct err *err)
{
    const struct tensor *x = c->in[0];
    struct list shape = {0};
    bool gone[MAX_RANK] = {false};
    size_t n;
    const int64_t *axes = attr_ints(c->node, "squeeze_dims", &n);
    for (size_t i = 0; i < n; i++) {
        int axis, rc = op_axis(axes[i], x->rank, &axis, err);
        if (rc) {
            return rc;
        }
        gone[axis] = true;
    }
    for (int d = 0; d < x->rank; d++) {
        if (!(n ? gone[d] : x->dims[d] == 1)) {
            shape.v[shape.n++] = x->dims[d];
        }
    }
    return view_as(c, &shape, err);
}

static int run_expand_dims(struct op_call *c, struct err *err)
{
    const struct tensor *x = c->in[0];
    struct list axes, shape = {0};
    int axis = 0, rc = list_read(c, 1, &axes, err);
    if (!rc && (axes.n != 1 || x->rank == MAX_RANK)) {
        rc = err_set(err, E_SHAPE, "%zu axes on rank %d", axes.n, x->rank);
    }
    rc = rc ? rc : op_axis(axes.v[0], x->rank + 1, &axis, err);
    for (int d = 0; d <= x->rank && !rc; d++) {
        shape.v[shape.n++] = d == axis ? 1 : x->dims[d - (d > axis)];
    }
    return rc ? rc : view_as(c, &shape, err);
}

static int run_shape(struct op_call *c, struct err *err)
{
    int64_t rank = c->in[0]->rank;
    enum dtype d = attr_int(c->node, "out_type", 2) == 4 ? DT_S64 : DT_S32;
    int rc = op_out(c, 0, d, 1, &rank, err);
    if (!rc) {
        elem_put_s64(c->out[0], 0, (size_t)rank, c->in[0]->dims);
    }
    return rc;
}

static int run_transpose(struct op_call *c, struct err *err)
{
    const struct tensor *x = c->in[0];
    struct list perm;
    int64_t dims[MAX_RANK], xs[MAX_RANK], ss[MAX_RANK], ds[MAX_RANK];
    bool seen[MAX_RANK] = {false};
    int rc = list_read_full(c, 1, &perm, err);
    walk_strides(x->rank, x->dims, xs);
    for (int d = 0; d < x->rank && !rc; d++) {
        int axis = 0;
        rc = op_axis(perm.v[d], x->rank, &axis, err);
        if (!rc && seen[axis]) {
            rc = err_set(err, E_SHAPE, "axis %d stands twice in the permutation", axis);
        }
        seen[axis] = true;
        dims[d] = x->dims[axis];
        ss[d] = xs[axis];
    }
    rc = rc ? rc : op_out(c, 0, x->dtype, x->rank, dims, err);
    if (!rc) {
        walk_strides(x->rank, dims, ds);
        copy_block(x->rank, dims, c->out[0]->data, 0, ds, x->data, 0, ss, dtype_size(x->dtype));
    }
    return rc;
}

/* ---- Padding -------------------------------------------------------------------------------- */

/* The element that pads: that of PADV2, else zero, which codes spell as their zero point. */
static int pad_fill(struct op_call *c, struct err *err)
{
    struct tensor *y = c->out[0];
    const struct tensor *value = tfl_has(c, 2) ? c->in[2] : NULL;
    size_t size = dtype_size(y->dtype);
    uint8_t element[8] = {0};
    if (value && (value->n != 1 || value->dtype != y->dtype)) {
        return err_set(err, E_SHAPE, "the padding value is not one %s", dtype_name(y->dtype));
    }
    if (value) {
        memcpy(element, value->data, size);
    } else if (c->out_q[0] && !dtype_is_float(y->dtype)) {
        memcpy(element, &c->out_q[0]->zero[0], MIN(size, sizeof c->out_q[0]->zero[0]));
    }
    for (size_t i = 0; i < y->n; i++) {
        memcpy((uint8_t *)y->data + i * size, element, size);
    }
    return OK;
}

static int run_pad(struct op_call *c, struct err *err)
{
    const struct tensor *x = c->in[0], *p = c->in[1];
    int64_t dims[MAX_RANK], xs[MAX_RANK], ys[MAX_RANK], to = 0;
    if ((p->dtype != DT_S32 && p->dtype != DT_S64) || p->rank != 2 || p->dims[1] != 2 ||
        p->dims[0] != x->rank) {
        return err_set(err, E_SHAPE, "paddings do not fit an input of rank %d", x->rank);
    }
    for (int d = 0; d < x->rank; d++) {
        int64_t lo = tensor_s64(p, 2 * (size_t)d), hi = tensor_s64(p, 2 * (size_t)d + 1);
        if (lo < 0 || hi < 0 || lo > INT32_MAX || hi > INT32_MAX) {
            return err_set(err, E_SHAPE, "padding %" PRId64 ", %" PRId64, lo, hi);
        }
        dims[d] = x->dims[d] + lo + hi;
    }
    int rc = op_out(c, 0, x->dtype, x->rank, dims, err);
    rc = rc ? rc : pad_fill(c, err);
    if (!rc) {
        walk_strides(x->rank, x->dims, xs);
        walk_strides(x->rank, dims, ys);
        for (int d = 0; d < x->rank; d++) {
            to += tensor_s64(p, 2 * (size_t)d) * ys[d];
        }
        copy_block(x->rank, x->dims, c->out[0]->data, to, ys, x->data, 0, xs, dtype_size(x->dtype));
    }
    return rc;
}

/* ---- Slices --------------------------------------------------------------------------------- */

static int run_slice(struct op_call *c, struct err *err)
{
    const struct tensor *x = c->in[0];
    struct list begin, size;
    int64_t xs[MAX_RANK], ys[MAX_RANK], from = 0;
    int rc = list_read_full(c, 1, &begin, err);
    rc = rc ? rc : list_read_full(c, 2, &size, err);
    walk_strides(x->rank, x->dims, xs);
    for (int d = 0; d < x->rank && !rc; d++) {
        bool inside = begin.v[d] >= 0 && begin.v[d] <= x->dims[d];
        int64_t room = inside ? x->dims[d] - begin.v[d] : 0;
        size.v[d] = size.v[d] == -1 ? room : size.v[d];
        if (!inside || size.v[d] < 0 || size.v[d] > room) {
            rc = err_set(err, E_SHAPE, "%" PRId64 " elements from %" PRId64 " of %" PRId64,
                         size.v[d], begin.v[d], x->dims[d]);
            break;
        }
        from += begin.v[d] * xs[d];
    }
    rc = rc ? rc : op_out(c, 0, x->dtype, x->rank, size.v, err);
    if (!rc) {
        walk_strides(x->rank, size.v, ys);
        copy_block(x->rank, size.v, c->out[0]->data, 0, ys, x->data, from, xs,
                   dtype_size(x->dtype));
    }
    return rc;
}

/* One axis of a strided slice: how many elements, and the first. */
static int slice_axis(const struct op_call *c, int d, int64_t dim, const struct list *b,
                      const struct list *e, const struct list *s, int64_t *first, int64_t *count,
                      struct err *err)
{
    int64_t step = s->v[d], begin = b->v[d], end = e->v[d];
    bool shrink = attr_int(c->node, "shrink_axis_mask", 0) >> d & 1;
    if (step == 0 || step < -INT32_MAX || step > INT32_MAX) {
        return err_set(err, E_SHAPE, "stride %" PRId64, step);
    }
    int64_t lo = step > 0 ? 0 : -1, hi = step > 0 ? dim : dim - 1;
    begin = begin < 0 ? begin + dim : begin;
    end = end < 0 ? end + dim : end;
    begin = attr_int(c->node, "begin_mask", 0) >> d & 1 ? (step > 0 ? lo : hi)
                                                        : MAX(lo, MIN(begin, hi));
    end = attr_int(c->node, "end_mask", 0) >> d & 1 ? (step > 0 ? hi : lo) : MAX(lo, MIN(end, hi));
    *first = begin;
    *count = step > 0 ? (end - begin + step - 1) / step : (begin - end - step - 1) / -step;
    *count = shrink ? 1 : MAX(*count, 0);
    if (shrink && (begin < 0 || begin >= dim)) {
        return err_set(err, E_SHAPE, "index %" PRId64 " of %" PRId64, b->v[d], dim);
    }
    return OK;
}

static int run_strided_slice(struct op_call *c, struct err *err)
{
    const struct tensor *x = c->in[0];
    struct list b, e, s;
    int64_t xs[MAX_RANK], ys[MAX_RANK], dims[MAX_RANK], kept[MAX_RANK], from = 0;
    int rank = 0, rc = list_read_full(c, 1, &b, err);
    rc = rc ? rc : list_read_full(c, 2, &e, err);
    rc = rc ? rc : list_read_full(c, 3, &s, err);
    if (!rc && (attr_int(c->node, "ellipsis_mask", 0) || attr_int(c->node, "new_axis_mask", 0) ||
                attr_int(c->node, "offset", 0))) {
        rc = err_set(err, E_UNSUPPORTED, "ellipsis, new axes and offsets are not supported");
    }
    walk_strides(x->rank, x->dims, xs);
    for (int d = 0; d < x->rank && !rc; d++) {
        int64_t first = 0;
        rc = slice_axis(c, d, x->dims[d], &b, &e, &s, &first, &dims[d], err);
        from += first * xs[d];
        xs[d] *= rc ? 1 : s.v[d];
        if (!rc && !(attr_int(c->node, "shrink_axis_mask", 0) >> d & 1)) {
            kept[rank++] = dims[d];
        }
    }
    rc = rc ? rc : op_out(c, 0, x->dtype, rank, kept, err);
    if (!rc) {
        walk_strides(x->rank, dims, ys);
        copy_block(x->rank, dims, c->out[0]->data, 0, ys, x->data, from, xs, dtype_size(x->dtype));
    }
    return rc;
}

/* Cuts x along an axis into the outputs, of sizes v. */
static int split_as(struct op_call *c, const struct tensor *x, int64_t axis_value, const int64_t *v,
                    struct err *err)
{
    int64_t xs[MAX_RANK], ys[MAX_RANK], dims[MAX_RANK], at = 0;
    int axis = 0, rc = op_axis(axis_value, x->rank, &axis, err);
    walk_strides(x->rank, x->dims, xs);
    memcpy(dims, x->dims, sizeof dims);
    for (int i = 0; i < c->n_out && !rc; i++) {
        if (v[i] < 0 || v[i] > x->dims[axis] - at) {
            return err_set(err, E_SHAPE, "part %d has %" PRId64 " of %" PRId64 " elements", i, v[i],
                           x->dims[axis]);
        }
        dims[axis] = v[i];
        rc = op_out(c, i, x->dtype, x->rank, dims, err);
        if (!rc) {
            walk_strides(x->rank, dims, ys);
            copy_block(x->rank, dims, c->out[i]->data, 0, ys, x->data, at * xs[axis], xs,
                       dtype_size(x->dtype));
            at += v[i];
        }
    }
    return rc;
}

static int run_split(struct op_call *c, struct err *err)
{
    const struct tensor *x = c->in[1];
    int64_t axis[1], part[MAX_OP_OUT];
    size_t n = 0;
    int at = 0, rc = op_int_list(c->in[0], 1, axis, &n, err);
    if (!rc && (n != 1 || c->n_out > MAX_OP_OUT)) {
        rc = err_set(err, E_UNSUPPORTED, "%zu axes and %d outputs", n, c->n_out);
    }
    rc = rc ? rc : op_axis(axis[0], x->rank, &at, err);
    if (!rc && x->dims[at] % c->n_out) {
        rc = err_set(err, E_SHAPE, "%" PRId64 " elements in %d parts", x->dims[at], c->n_out);
    }
    for (int i = 0; i < c->n_out && !rc; i++) {
        part[i] = x->dims[at] / c->n_out;
    }
    return rc ? rc : split_as(c, x, axis[0], part, err);
}

static int run_split_v(struct op_call *c, struct err *err)
{
    int64_t axis[1], part[MAX_OP_OUT], rest;
    size_t n_axis = 0, n = 0;
    int at = 0, open = -1, rc = op_int_list(c->in[1], MAX_OP_OUT, part, &n, err);
    rc = rc ? rc : op_int_list(c->in[2], 1, axis, &n_axis, err);
    if (!rc && (n_axis != 1 || (int)n != c->n_out)) {
        rc = err_set(err, E_SHAPE, "%zu sizes for %d outputs", n, c->n_out);
    }
    rc = rc ? rc : op_axis(axis[0], c->in[0]->rank, &at, err);
    rest = rc ? 0 : c->in[0]->dims[at];
    for (int i = 0; i < c->n_out && !rc; i++) {
        open = part[i] == -1 ? i : open;
        rest -= part[i] > 0 && part[i] <= rest ? part[i] : 0;
    }
    if (open >= 0) {
        part[open] = rest;
    }
    return rc ? rc : split_as(c, c->in[0], axis[0], part, err);
}

/* ---- Joins ---------------------------------------------------------------------------------- */

/* Copies x into the output at position `at` of an axis; dims: those of x, maybe with the new axis.
 */
static void join_one(struct op_call *c, const struct tensor *x, int rank, const int64_t *dims,
                     int axis, int64_t at)
{
    int64_t xs[MAX_RANK], ys[MAX_RANK];
    walk_strides(rank, dims, xs);
    walk_strides(rank, c->out[0]->dims, ys);
    copy_block(rank, dims, c->out[0]->data, at * ys[axis], ys, x->data, 0, xs,
               dtype_size(x->dtype));
}

/* Legacy uint8 inputs may have other parameters than the output: x * (sx / sy) less the zero point,
 * in float, halves away from zero. */
static int rescale_u8(const struct op_call *c, int i, struct tensor **out, struct err *err)
{
    const struct tensor *x = c->in[i];
    struct tfl_quant a, y;
    int rc = tfl_input(c, i, &a, err);
    rc = rc ? rc : tfl_output(c, 0, DT_U8, &y, err);
    rc = rc ? rc : tensor_new(DT_U8, x->rank, x->dims, c->budget, out, err);
    float scale = rc ? 0.0F : a.s * (1.0F / y.s), bias = rc ? 0.0F : (float)-a.z * scale;
    for (size_t k = 0; k < x->n && !rc; k++) {
        float v = roundf((float)((const uint8_t *)x->data)[k] * scale + bias);
        ((uint8_t *)(*out)->data)[k] =
            (uint8_t)tfl_clamp((int64_t)clamp_x86(v, -0x1p20F, 0x1p20F) + y.z, &y);
    }
    return rc;
}

static bool same_parameters(const struct quant *a, const struct quant *b)
{
    return !a || !b ||
           (a->n == 1 && b->n == 1 && a->scale[0] == b->scale[0] && a->zero[0] == b->zero[0]);
}

static int run_concatenation(struct op_call *c, struct err *err)
{
    const struct tensor *x = c->in[0];
    int64_t dims[MAX_RANK], at = 0;
    int axis = 0, rc = op_axis(attr_int(c->node, "axis", 0), x->rank, &axis, err);
    memcpy(dims, x->dims, sizeof dims);
    dims[rc ? 0 : axis] = 0;
    for (int i = 0; i < c->n_in && !rc; i++) {
        const struct tensor *t = c->in[i];
        bool fits = t && t->dtype == x->dtype && t->rank == x->rank;
        for (int d = 0; fits && d < x->rank; d++) {
            fits = d == axis || t->dims[d] == x->dims[d];
        }
        if (!fits) {
            return err_set(err, E_SHAPE, "input %d does not fit input 0", i);
        }
        if (!same_parameters(c->in_q[i], c->out_q[0]) && t->dtype != DT_U8) {
            return err_set(err, E_UNSUPPORTED, "input %d has other parameters than the output", i);
        }
        dims[axis] += t->dims[axis];
    }
    rc = rc ? rc : op_out(c, 0, x->dtype, x->rank, dims, err);
    for (int i = 0; i < c->n_in && !rc; i++) {
        struct tensor *own = NULL;
        bool same = same_parameters(c->in_q[i], c->out_q[0]);
        rc = same ? OK : rescale_u8(c, i, &own, err);
        if (!rc) {
            join_one(c, own ? own : c->in[i], x->rank, c->in[i]->dims, axis, at);
        }
        tensor_free(own);
        at += c->in[i]->dims[axis];
    }
    return rc;
}

/* Dims of x with an axis of length n put in front of dimension `axis`. */
static void insert_axis(const struct tensor *x, int axis, int64_t n, int64_t *dims)
{
    for (int d = 0; d <= x->rank; d++) {
        dims[d] = d == axis ? n : x->dims[d - (d > axis)];
    }
}

static int run_pack(struct op_call *c, struct err *err)
{
    const struct tensor *x = c->in[0];
    int64_t dims[MAX_RANK], one[MAX_RANK];
    int axis = 0, rc = x->rank < MAX_RANK ? OK : err_set(err, E_UNSUPPORTED, "rank %d", x->rank);
    rc = rc ? rc : op_axis(attr_int(c->node, "axis", 0), x->rank + 1, &axis, err);
    for (int i = 0; i < c->n_in && !rc; i++) {
        const struct tensor *t = c->in[i];
        if (!t || t->dtype != x->dtype || t->rank != x->rank ||
            memcmp(t->dims, x->dims, (size_t)x->rank * sizeof *x->dims) != 0) {
            rc = err_set(err, E_SHAPE, "input %d does not fit input 0", i);
        }
    }
    if (!rc) {
        insert_axis(x, axis, c->n_in, dims);
        insert_axis(x, axis, 1, one);
        rc = op_out(c, 0, x->dtype, x->rank + 1, dims, err);
    }
    for (int i = 0; i < c->n_in && !rc; i++) {
        join_one(c, c->in[i], x->rank + 1, one, axis, i);
    }
    return rc;
}

static int run_unpack(struct op_call *c, struct err *err)
{
    const struct tensor *x = c->in[0];
    int64_t dims[MAX_RANK], xs[MAX_RANK], ss[MAX_RANK], ds[MAX_RANK];
    int axis = 0, rank = 0, rc = op_axis(attr_int(c->node, "axis", 0), x->rank, &axis, err);
    if (!rc && x->dims[axis] != c->n_out) {
        rc = err_set(err, E_SHAPE, "%" PRId64 " parts for %d outputs", x->dims[axis], c->n_out);
    }
    walk_strides(x->rank, x->dims, xs);
    for (int d = 0; d < x->rank && !rc; d++) {
        if (d != axis) {
            dims[rank] = x->dims[d];
            ss[rank++] = xs[d];
        }
    }
    for (int i = 0; i < c->n_out && !rc; i++) {
        rc = op_out(c, i, x->dtype, rank, dims, err);
        if (!rc) {
            walk_strides(rank, dims, ds);
            copy_block(rank, dims, c->out[i]->data, 0, ds, x->data, i * xs[axis], ss,
                       dtype_size(x->dtype));
        }
    }
    return rc;
}

/* ---- Blocks --------------------------------------------------------------------------------- */

/* Between [n,h,w,b,b,c] seen as deep pixels and as b x b pixels; `deep`: the input is deep. */
static int run_blocks(struct op_call *c, bool deep, struct err *err)
{
    const struct tensor *x = c->in[0];
    int64_t b = attr_int(c->node, "block_size", 0);
    if (x->rank != 4 || b < 1 || b > INT16_MAX ||
        (deep ? x->dims[3] % (b * b) : x->dims[1] % b || x->dims[2] % b)) {
        return err_set(err, E_SHAPE, "blocks of %" PRId64 " do not fit the input", b);
    }
    int64_t h = deep ? x->dims[1] : x->dims[1] / b, w = deep ? x->dims[2] : x->dims[2] / b;
    int64_t ch = deep ? x->dims[3] / (b * b) : x->dims[3];
    int64_t y[] = {x->dims[0], deep ? h * b : h, deep ? w * b : w, deep ? ch : ch * b * b};
    /* In the order n, h, block row, w, block column, channel. */
    const int64_t dims[] = {x->dims[0], h, b, w, b, ch};
    const int64_t wide[] = {h * b * w * b * ch, b * w * b * ch, w * b * ch, b * ch, ch, 1};
    const int64_t tall[] = {h * w * b * b * ch, w * b * b * ch, b * ch, b * b * ch, ch, 1};
    int rc = op_out(c, 0, x->dtype, 4, y, err);
    if (!rc) {
        copy_block(6, dims, c->out[0]->data, 0, deep ? wide : tall, x->data, 0, deep ? tall : wide,
                   dtype_size(x->dtype));
    }
    return rc;
}

static int run_depth_to_space(struct op_call *c, struct err *err)
{
    return run_blocks(c, true, err);
}

static int run_space_to_depth(struct op_call *c, struct err *err)
{
    return run_blocks(c, false, err);
}

#define ROW(title, fn, least, most)                                                                \
    {                                                                                              \
        .name = title, .domain = "tflite", .since = 1, .min_in = least, .max_in = most, .ref = fn, \
        .spec = "LiteRT kernels"                                                                   \
    }

const struct op op_tfl_move[] = {
    ROW("RESHAPE", run_reshape, 1, 2),
    ROW("SQUEEZE", run_squeeze, 1, 1),
    ROW("EXPAND_DIMS", run_expand_dims, 2, 2),
    ROW("SHAPE", run_shape, 1, 1),
    ROW("TRANSPOSE", run_transpose, 2, 2),
    ROW("PAD", run_pad, 2, 2),
    ROW("PADV2", run_pad, 3, 3),
    ROW("SLICE", run_slice, 3, 3),
    ROW("STRIDED_SLICE", run_strided_slice, 4, 4),
    ROW("SPLIT", run_split, 2, 2),
    ROW("SPLIT_V", run_split_v, 3, 3),
    ROW("CONCATENATION", run_concatenation, 1, -1),
    ROW("PACK", run_pack, 1, -1),
    ROW("UNPACK", run_unpack, 1, 1),
    ROW("DEPTH_TO_SPACE", run_depth_to_space, 1, 1),
    ROW("SPACE_TO_DEPTH", run_space_to_depth, 1, 1),
    {0},
};
