/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * op_pad.c: Pad and Tile: operators that repeat elements by a source index per output index of
 * each dimension. Moves whole elements, so every type passes unchanged.
 */
#include "engine/elem.h"
#include "engine/op.h"

/* Source indices of all dimensions, as elem_copy_mapped() wants them. */
struct maps {
    struct tensor *of[MAX_RANK];
};

static void maps_fini(struct maps *m)
{
    for (int d = 0; d < MAX_RANK; d++) {
        tensor_free(m->of[d]);
    }
}

enum pad_mode { PAD_CONSTANT, PAD_EDGE, PAD_REFLECT, PAD_WRAP };

/* Where index i (may be outside) of a dimension of n comes from; -1: the constant. */
static int64_t pad_source(int64_t i, int64_t n, enum pad_mode mode)
{
    if (i >= 0 && i < n) {
        return i;
    }
    switch (mode) {
    case PAD_CONSTANT:
        break;
    case PAD_EDGE:
        return i < 0 ? 0 : n - 1;
    case PAD_WRAP:
        return (i % n + n) % n;
    case PAD_REFLECT: {
        const int64_t period = MAX(2 * (n - 1), 1), k = (i % period + period) % period;
        return k < n ? k : period - k;
    }
    }
    return -1;
}

/* Padding before and after each dimension: attribute until opset 10, then an input, from 18 on
 * for chosen axes. Negative ones cut. */
static int read_pads(const struct op_call *c, int rank, int64_t *lo, int64_t *hi, struct err *err)
{
    int64_t room[2 * MAX_RANK], axes[MAX_RANK];
    const int64_t *pads = room;
    size_t n, n_axes = (size_t)rank;
    bool seen[MAX_RANK] = {false};
    int rc = OK;
    if (c->opset < 11) {
        pads = attr_ints(c->node, "pads", &n);
    } else {
        rc = op_want(c, 1, DT_S64, -1, err);
        rc = rc ? rc : op_int_list(c->in[1], COUNT(room), room, &n, err);
    }
    for (int d = 0; d < rank; d++) {
        axes[d] = d;
        lo[d] = hi[d] = 0;
    }
    if (!rc && c->n_in > 3 && c->in[3]) {
        rc = op_int_list(c->in[3], MAX_RANK, axes, &n_axes, err);
    }
    if (!rc && n != 2 * n_axes) {
        rc = err_set(err, E_SHAPE, "pads has %zu entries, expected %zu", n, 2 * n_axes);
    }
    for (size_t k = 0; k < n_axes && !rc; k++) {
        int axis = 0;
        rc = op_axis(axes[k], rank, &axis, err);
        if (!rc && seen[axis]) {
            rc = err_set(err, E_SHAPE, "axis %d is padded twice", axis);
        }
        seen[axis] = true;
        lo[axis] = pads[k];
        hi[axis] = pads[n_axes + k];
    }
    return rc;
}

static int read_pad_mode(const struct node *node, enum pad_mode *out, struct err *err)
{
    static const char *const names[] = {"constant", "edge", "reflect", "wrap"};
    const char *s = attr_string(node, "mode", "constant");
    for (size_t i = 0; i < COUNT(names); i++) {
        if (strcmp(s, names[i]) == 0) {
            *out = (enum pad_mode)i;
            return OK;
        }
    }
    return err_set(err, E_FORMAT, "mode is '%.40s', expected constant, edge, reflect or wrap", s);
}

/* One dimension: its padded size and where each index comes from. */
static int pad_map(struct op_call *c, int d, int64_t lo, int64_t hi, enum pad_mode mode,
                   int64_t *size, struct tensor **map, struct err *err)
{
    const int64_t n = c->in[0]->dims[d], big = (int64_t)1 << 40;
    if (lo < -big || lo > big || hi < -big || hi > big || n > big || n + lo + hi < 0) {
        return err_set(err, E_SHAPE, "padding %lld and %lld does not fit dimension %d of %lld",
                       (long long)lo, (long long)hi, d, (long long)n);
    }
    *size = n + lo + hi;
    if (n == 0 && *size > 0 && mode != PAD_CONSTANT) {
        return err_set(err, E_SHAPE, "dimension %d is empty, there is nothing to repeat", d);
    }
    int rc = tensor_new(DT_S64, 1, size, c->budget, map, err);
    for (int64_t i = 0; i < *size && !rc; i++) {
        ((int64_t *)(*map)->data)[i] = pad_source(i - lo, n, mode);
    }
    return rc;
}

static int pad(struct op_call *c, struct err *err)
{
    const struct tensor *x = c->in[0];
    const struct tensor *value = c->opset >= 11 && c->n_in > 2 ? c->in[2] : NULL;
    const double attr_value = (double)attr_float(c->node, "value", 0);
    enum pad_mode mode = PAD_CONSTANT;
    struct maps maps = {{NULL}};
    int64_t lo[MAX_RANK], hi[MAX_RANK], dims[MAX_RANK];
    uint64_t room = 0; /* zero in every type */
    int rc = read_pad_mode(c->node, &mode, err);
    rc = rc ? rc : read_pads(c, x->rank, lo, hi, err);
    if (!rc && value) {
        rc = op_want(c, 2, x->dtype, -1, err);
        if (!rc && value->n != 1) {
            rc = err_set(err, E_SHAPE, "pad value has %zu values, expected one", value->n);
        }
    } else if (!rc && attr_value != 0) {
        struct tensor one = {.dtype = x->dtype, .n = 1, .data = &room};
        elem_put_f64(&one, 0, 1, &attr_value);
    }
    for (int d = 0; d < x->rank && !rc; d++) {
        rc = pad_map(c, d, lo[d], hi[d], mode, &dims[d], &maps.of[d], err);
    }
    rc = rc ? rc : op_out(c, 0, x->dtype, x->rank, dims, err);
    if (!rc && c->out[0]->n > 0) {
        elem_copy_mapped(x, c->out[0], maps.of, value ? value->data : &room);
    }
    maps_fini(&maps);
    return rc;
}

static int tile(struct op_call *c, struct err *err)
{
    const struct tensor *x = c->in[0];
    struct maps maps = {{NULL}};
    int64_t repeats[MAX_RANK], dims[MAX_RANK];
    size_t n;
    int rc = op_int_list(c->in[1], MAX_RANK, repeats, &n, err);
    if (!rc && n != (size_t)x->rank) {
        rc = err_set(err, E_SHAPE, "repeats has %zu entries, the input has rank %d", n, x->rank);
    }
    for (int d = 0; d < x->rank && !rc; d++) {
        if (repeats[d] < 0 || __builtin_mul_overflow(x->dims[d], repeats[d], &dims[d])) {
            rc = err_set(err, E_SHAPE, "repeats[%d] is %lld", d, (long long)repeats[d]);
            break;
        }
        rc = tensor_new(DT_S64, 1, &dims[d], c->budget, &maps.of[d], err);
        for (int64_t i = 0; i < dims[d] && !rc; i++) {
            ((int64_t *)maps.of[d]->data)[i] = i % x->dims[d];
        }
    }
    rc = rc ? rc : op_out(c, 0, x->dtype, x->rank, dims, err);
    if (!rc && c->out[0]->n > 0) {
        elem_copy_mapped(x, c->out[0], maps.of, NULL);
    }
    maps_fini(&maps);
    return rc;
}

const struct op op_pad[] = {
    {
        .name = "Pad",
        .since = 2,
        .min_in = 1,
        .max_in = 4,
        .ref = pad,
        .spec = "ONNX Pad-25",
    },
    {
        .name = "Tile",
        .since = 6,
        .min_in = 2,
        .max_in = 2,
        .ref = tile,
        .spec = "ONNX Tile-13",
    },
    {0},
};
