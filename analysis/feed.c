/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * feed.c: gives both sides of a pair the same sample and the same layout: floats become the codes
 * that an integer input wants, and [n,c,h,w] becomes [n,h,w,c] or back where the formats differ.
 */
#include "analysis/analysis.h"

#include <math.h>

enum channels channels_between(int rank_a, const int64_t *a, int rank_b, const int64_t *b)
{
    bool same = rank_a == rank_b, last = rank_a == 4 && rank_b == 4, first = last;
    for (int d = 0; d < rank_a && same; d++) {
        same = a[d] <= 0 || b[d] <= 0 || a[d] == b[d];
    }
    static const int to_last[] = {0, 2, 3, 1}, to_first[] = {0, 3, 1, 2};
    for (int d = 0; d < 4 && (last || first); d++) {
        last = last && b[d] > 0 && b[d] == a[to_last[d]];
        first = first && b[d] > 0 && b[d] == a[to_first[d]];
    }
    return same    ? CHANNELS_SAME
           : last  ? CHANNELS_TO_LAST
           : first ? CHANNELS_TO_SECOND
                   : CHANNELS_OTHER;
}

int channels_move(const struct tensor *t, enum channels l, struct budget *b, struct tensor **out,
                  struct err *err)
{
    if (l == CHANNELS_SAME || t->rank != 4) {
        *out = tensor_ref(t);
        return OK;
    }
    bool last = l == CHANNELS_TO_LAST;
    const int64_t *x = t->dims;
    int64_t c = last ? x[1] : x[3], h = last ? x[2] : x[1], w = last ? x[3] : x[2];
    int64_t dims[] = {x[0], last ? h : c, last ? w : h, last ? c : w};
    size_t size = dtype_size(t->dtype), plane = (size_t)(h * w), depth = (size_t)c;
    int rc = tensor_new(t->dtype, 4, dims, b, out, err);
    for (size_t n = 0; !rc && n < (size_t)x[0]; n++) {
        for (size_t k = 0; k < depth * plane; k++) {
            size_t pixel = last ? k / depth : k % plane, channel = last ? k % depth : k / plane;
            size_t from = last ? channel * plane + pixel : pixel * depth + channel;
            memcpy((uint8_t *)(*out)->data + (n * depth * plane + k) * size,
                   (const uint8_t *)t->data + (n * depth * plane + from) * size, size);
        }
    }
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
    enum channels l =
        v->rank < 0 ? CHANNELS_SAME : channels_between(t->rank, t->dims, v->rank, v->dims);
    struct tensor *laid = NULL;
    int rc = channels_move(t, l == CHANNELS_OTHER ? CHANNELS_SAME : l, b, &laid, err);
    if (!rc && v->quant && dtype_is_float(t->dtype)) {
        rc = quantize(laid, v->quant, b, out, err);
        tensor_free(laid);
    } else if (!rc) {
        *out = laid;
    }
    return rc ? err_in(err, "input '%s'", v->name) : OK;
}
