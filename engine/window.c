/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * window.c: reads and checks the attributes that place a sliding kernel. After this nothing in a
 * struct window can overflow: every size is below 2^31.
 */
#include "engine/window.h"

#include <inttypes.h>

enum {
    BIG = 1 << 30,       /* bound on every size and attribute; sums of a few fit an int64 easily */
    KERNEL_MAX = 1 << 16 /* kernel positions along a dimension: loops over them must end */
};

/* Attribute `name` as `count` values in [lo, BIG], into dst; `dflt` when absent. */
static int read_ints(const struct node *node, const char *name, int count, int64_t lo, int64_t dflt,
                     int64_t *dst, struct err *err)
{
    size_t n;
    const int64_t *v = attr_ints(node, name, &n);
    if (v && n != (size_t)count) {
        return err_set(err, E_SHAPE, "%s has %zu values, expected %d", name, n, count);
    }
    for (int i = 0; i < count; i++) {
        dst[i] = v ? v[i] : dflt;
        if (dst[i] < lo || dst[i] > BIG) {
            return err_set(err, E_SHAPE, "%s[%d] is %" PRId64 ", expected %" PRId64 " to %d", name,
                           i, dst[i], lo, BIG);
        }
    }
    return OK;
}

enum auto_pad { PAD_GIVEN, PAD_VALID, PAD_SAME_UPPER, PAD_SAME_LOWER };

static int read_auto_pad(const struct node *node, enum auto_pad *out, struct err *err)
{
    static const char *const names[] = {"NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"};
    const char *s = attr_string(node, "auto_pad", "NOTSET");
    for (size_t i = 0; i < COUNT(names); i++) {
        if (strcmp(s, names[i]) == 0) {
            *out = (enum auto_pad)i;
            return OK;
        }
    }
    return err_set(err, E_FORMAT,
                   "auto_pad is '%.40s', expected NOTSET, VALID, SAME_UPPER or SAME_LOWER", s);
}

static int read_kernel(const struct node *node, const int64_t *kernel, int rank, int64_t *dst,
                       struct err *err)
{
    size_t n;
    const int64_t *attr = attr_ints(node, "kernel_shape", &n);
    if (!attr && !kernel) {
        return err_set(err, E_FORMAT, "attribute kernel_shape is missing");
    }
    if (attr) {
        int rc = read_ints(node, "kernel_shape", rank, 1, 1, dst, err);
        if (rc) {
            return rc;
        }
    }
    for (int i = 0; kernel && i < rank; i++) {
        if (attr && attr[i] != kernel[i]) {
            return err_set(err, E_SHAPE,
                           "kernel_shape[%d] is %" PRId64 ", the weights have %" PRId64, i, attr[i],
                           kernel[i]);
        }
        dst[i] = kernel[i];
    }
    for (int i = 0; i < rank; i++) {
        if (dst[i] < 1 || dst[i] > KERNEL_MAX) {
            return err_set(err, E_SHAPE, "kernel dimension %d is %" PRId64 ", expected 1 to %d", i,
                           dst[i], KERNEL_MAX);
        }
    }
    return OK;
}

/* What all windows have in common; `out` and implicit padding are still to be computed. */
static int read_common(const struct op_call *c, const struct tensor *x, const int64_t *kernel,
                       struct window *w, enum auto_pad *mode, struct err *err)
{
    const int r = x->rank - 2;
    if (r < 1 || r > WINDOW_RANK) {
        return err_set(err, r < 1 ? E_SHAPE : E_UNSUPPORTED, "input has rank %d, expected 3 to %d",
                       x->rank, WINDOW_RANK + 2);
    }
    *w = (struct window){.rank = r, .n = x->dims[0], .c = x->dims[1]};
    const int first = WINDOW_RANK - r;
    for (int a = 0; a < WINDOW_RANK; a++) {
        w->in[a] = a < first ? 1 : x->dims[a - first + 2];
        w->k[a] = w->s[a] = w->d[a] = 1;
        if (w->in[a] > BIG) {
            return err_set(err, E_LIMIT, "input dimension of %" PRId64 ", at most %d", w->in[a],
                           BIG);
        }
    }
    int64_t pads[2 * WINDOW_RANK];
    int rc = read_kernel(c->node, kernel, r, w->k + first, err);
    rc = rc ? rc : read_ints(c->node, "strides", r, 1, 1, w->s + first, err);
    rc = rc ? rc : read_ints(c->node, "dilations", r, 1, 1, w->d + first, err);
    rc = rc ? rc : read_ints(c->node, "pads", 2 * r, 0, 0, pads, err);
    rc = rc ? rc : read_auto_pad(c->node, mode, err);
    if (rc) {
        return rc;
    }
    for (int a = 0; a < r && *mode == PAD_GIVEN; a++) {
        w->lo[first + a] = pads[a];
        w->hi[first + a] = pads[r + a];
    }
    w->in_n = w->k_n = w->out_n = 1;
    return OK;
}

static void split_padding(struct window *w, int a, int64_t total, bool upper)
{
    w->lo[a] = upper ? total / 2 : total - total / 2;
    w->hi[a] = total - w->lo[a];
}

/* Products, each checked: a kernel loops over them. */
static int window_sizes(struct window *w, struct err *err)
{
    for (int a = 0; a < WINDOW_RANK; a++) {
        if (w->out[a] < 0 || w->out[a] > BIG) {
            return err_set(err, E_SHAPE, "output dimension would be %" PRId64, w->out[a]);
        }
        if (__builtin_mul_overflow(w->in_n, w->in[a], &w->in_n) ||
            __builtin_mul_overflow(w->k_n, w->k[a], &w->k_n) ||
            __builtin_mul_overflow(w->out_n, w->out[a], &w->out_n)) {
            return err_set(err, E_LIMIT, "window of more than 2^63 elements");
        }
    }
    return OK;
}

int window_read(const struct op_call *c, const struct tensor *x, const int64_t *kernel,
                struct window *w, struct err *err)
{
    enum auto_pad mode;
    int rc = read_common(c, x, kernel, w, &mode, err);
    if (rc) {
        return rc;
    }
    const bool ceil_mode = attr_int(c->node, "ceil_mode", 0) != 0;
    for (int a = 0; a < WINDOW_RANK; a++) {
        const int64_t span = (w->k[a] - 1) * w->d[a] + 1;
        if (mode == PAD_SAME_UPPER || mode == PAD_SAME_LOWER) {
            int64_t out = (w->in[a] + w->s[a] - 1) / w->s[a];
            int64_t total = (out - 1) * w->s[a] + span - w->in[a];
            split_padding(w, a, MAX(total, 0), mode == PAD_SAME_UPPER);
        }
        const int64_t free_room = w->in[a] + w->lo[a] + w->hi[a] - span;
        if (free_room < 0) {
            return err_set(err, E_SHAPE,
                           "kernel spans %" PRId64 " elements, the padded input has %" PRId64, span,
                           w->in[a] + w->lo[a] + w->hi[a]);
        }
        w->out[a] = free_room / w->s[a] + 1;
        if (ceil_mode && free_room % w->s[a] && w->out[a] * w->s[a] < w->in[a] + w->lo[a]) {
            w->out[a]++;
        }
    }
    return window_sizes(w, err);
}

int window_read_transposed(const struct op_call *c, const struct tensor *x, const int64_t *kernel,
                           struct window *w, struct err *err)
{
    enum auto_pad mode;
    int64_t more[WINDOW_RANK] = {0}, shape[WINDOW_RANK] = {0};
    int rc = read_common(c, x, kernel, w, &mode, err);
    if (rc) {
        return rc;
    }
    const int first = WINDOW_RANK - w->rank;
    const bool given = attr_find(c->node, "output_shape") != NULL;
    rc = read_ints(c->node, "output_padding", w->rank, 0, 0, more + first, err);
    if (!rc && given) {
        rc = read_ints(c->node, "output_shape", w->rank, 1, 1, shape + first, err);
    }
    if (rc) {
        return rc;
    }
    for (int a = 0; a < WINDOW_RANK; a++) {
        const int64_t whole = (w->in[a] - 1) * w->s[a] + more[a] + (w->k[a] - 1) * w->d[a] + 1;
        if (a >= first && (given || mode == PAD_SAME_UPPER || mode == PAD_SAME_LOWER)) {
            int64_t want = given ? shape[a] : w->in[a] * w->s[a];
            split_padding(w, a, MAX(whole - want, 0), mode == PAD_SAME_UPPER);
            w->out[a] = want;
        } else {
            w->out[a] = whole - w->lo[a] - w->hi[a];
        }
    }
    return window_sizes(w, err);
}

int window_dims(const struct window *w, int64_t channels, int64_t *dims)
{
    dims[0] = w->n;
    dims[1] = channels;
    for (int a = 0; a < w->rank; a++) {
        dims[2 + a] = w->out[WINDOW_RANK - w->rank + a];
    }
    return w->rank + 2;
}
