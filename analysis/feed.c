/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * feed.c: gives both sides of a pair the same sample and the same layout: floats become the codes
 * that an integer input wants, and [n,c,h,w] becomes [n,h,w,c] or back where the formats differ.
 */
#include "analysis/analysis.h"

#include <math.h>

/* Unknown dimensions fit anything. */
static bool dim_fits(int64_t a, int64_t b)
{
    return a <= 0 || b <= 0 || a == b;
}

static bool fits(int rank_a, const int64_t *a, int rank_b, const int64_t *b, const int order[4])
{
    bool good = rank_a == rank_b && (!order || rank_a == 4);
    for (int d = 0; d < rank_a && good; d++) {
        good = dim_fits(a[order ? order[d] : d], b[d]);
    }
    return good;
}

/* Equal but for dimensions of 1. */
static bool fits_without_ones(int rank_a, const int64_t *a, int rank_b, const int64_t *b)
{
    int i = 0, k = 0;
    while (i < rank_a || k < rank_b) {
        if (i < rank_a && (a[i] == 1 || (a[i] <= 0 && i == 0 && k < rank_b && b[k] == 1))) {
            i++;
        } else if (k < rank_b && b[k] == 1) {
            k++;
        } else if (i < rank_a && k < rank_b && a[i] > 0 && a[i++] == b[k++]) {
            continue;
        } else {
            return false;
        }
    }
    return true;
}

static enum channels channels_between(int rank_a, const int64_t *a, int rank_b, const int64_t *b)
{
    static const int to_last[] = {0, 2, 3, 1}, to_second[] = {0, 3, 1, 2};
    return fits(rank_a, a, rank_b, b, NULL)          ? CHANNELS_SAME
           : fits(rank_a, a, rank_b, b, to_last)     ? CHANNELS_TO_LAST
           : fits(rank_a, a, rank_b, b, to_second)   ? CHANNELS_TO_SECOND
           : fits_without_ones(rank_a, a, rank_b, b) ? CHANNELS_RESHAPED
                                                     : CHANNELS_OTHER;
}

enum channels channels_of_pair(const struct graph *f, const struct graph *i, const struct value *a,
                               const struct value *b)
{
    if (a->rank < 0 || b->rank < 0) {
        return CHANNELS_SAME;
    }
    enum channels c = channels_between(b->rank, b->dims, a->rank, a->dims);
    if (f->dialect == i->dialect) {
        return c == CHANNELS_SAME ? c : CHANNELS_OTHER;
    }
    bool cube = a->rank == 4 && a->dims[1] == a->dims[2] && a->dims[2] == a->dims[3];
    return c != CHANNELS_SAME || !cube || a->dims[1] <= 1 ? c
           : i->dialect == DIALECT_TFLITE                 ? CHANNELS_TO_SECOND
                                                          : CHANNELS_TO_LAST;
}

/* The same data under other names of the dimensions and their order: [n,h,w,c] is [n,c,h,w] with
 * channels last. */
static int view_as(struct tensor *t, const int64_t dims[4], bool channels_last, struct tensor **out,
                   struct err *err)
{
    int rc = tensor_view(t, t->rank, t->dims, out, err);
    if (!rc) {
        memcpy((*out)->dims, dims, 4 * sizeof *dims);
        (*out)->channels_last = channels_last;
    }
    return rc;
}

int channels_move(const struct tensor *t, enum channels to, int rank, const int64_t *dims,
                  struct budget *b, struct tensor **out, struct err *err)
{
    if (to == CHANNELS_SAME || to == CHANNELS_OTHER || (to != CHANNELS_RESHAPED && t->rank != 4)) {
        *out = tensor_ref(t);
        return OK;
    }
    struct tensor *laid = NULL, *named = NULL;
    const int64_t *x = t->dims;
    int rc = tensor_as(t, to == CHANNELS_TO_LAST, b, &laid, err);
    if (!rc && to == CHANNELS_RESHAPED) {
        rc = tensor_view(laid, rank, dims, out, err);
    } else if (!rc && to == CHANNELS_TO_LAST) {
        rc = view_as(laid, (int64_t[]){x[0], x[2], x[3], x[1]}, false, out, err);
    } else if (!rc) {
        rc = view_as(laid, (int64_t[]){x[0], x[3], x[1], x[2]}, true, &named, err);
        rc = rc ? rc : tensor_as(named, false, b, out, err);
    }
    tensor_free(laid);
    tensor_free(named);
    return rc;
}

/* Half to even, saturated: what the tools that feed such models do. */
static int quantize(const struct tensor *t, const struct quant *q, struct budget *b,
                    struct tensor **out, struct err *err)
{
    if (q->n != 1 || q->scale[0] <= 0) {
        return err_set(err, E_UNSUPPORTED, "an input with %zu scales", q->n);
    }
    return quant_quantize(t, q, b, out, err);
}

int feed_input(const struct graph *g, size_t i, const struct tensor *t, struct budget *b,
               struct tensor **out, struct err *err)
{
    const struct value *v = &g->values[g->inputs[i]];
    enum channels to =
        v->rank < 0 ? CHANNELS_SAME : channels_between(t->rank, t->dims, v->rank, v->dims);
    struct tensor *laid = NULL;
    to = to == CHANNELS_RESHAPED ? CHANNELS_SAME : to; /* the run says which shape it wants */
    int rc = channels_move(t, to, t->rank, t->dims, b, &laid, err);
    if (!rc && v->quant && dtype_is_float(t->dtype)) {
        rc = quantize(laid, v->quant, b, out, err);
        tensor_free(laid);
    } else if (!rc) {
        *out = laid;
    }
    return rc ? err_in(err, "input '%s'", v->name) : OK;
}

int feed_output(const struct graph *g, size_t i, const struct tensor *t, struct budget *b,
                struct tensor **out, struct err *err)
{
    const struct value *v = &g->values[g->outputs[i]];
    if (!v->quant || dtype_is_float(t->dtype)) {
        *out = tensor_ref(t);
        return OK;
    }
    int rc = quant_dequantize(t, v->quant, b, out, err);
    return rc ? err_in(err, "output '%s'", v->name) : OK;
}

int feed_like(const struct tensor *x, struct tensor **y, struct err *err)
{
    struct tensor *moved = NULL;
    int rc = channels_move(*y, channels_between((*y)->rank, (*y)->dims, x->rank, x->dims), x->rank,
                           x->dims, NULL, &moved, err);
    if (!rc) {
        tensor_free(*y);
        *y = moved;
    }
    return rc;
}
