/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * op_tfl_gather.c: GATHER and GATHER_ND of TensorFlow Lite: elements picked by indices, whatever
 * their type.
 */
#include "engine/tfl.h"

#include <inttypes.h>

/* Dimensions in front of `batch` are those of the input; the rest of the indices is looked up. */
static int gather_check(const struct tensor *x, const struct tensor *index, int64_t batch, int axis,
                        struct err *err)
{
    bool fits = batch >= 0 && batch <= axis && batch <= index->rank &&
                x->rank - 1 + index->rank - batch <= MAX_RANK;
    for (int d = 0; fits && d < batch; d++) {
        fits = x->dims[d] == index->dims[d];
    }
    if (!fits || !elem_is_int(index->dtype)) {
        return err_set(err, E_SHAPE,
                       "%s indices of rank %d with %" PRId64 " batch dimensions do not fit",
                       dtype_name(index->dtype), index->rank, batch);
    }
    return OK;
}

static int run_gather(struct op_call *c, struct err *err)
{
    const struct tensor *x = c->in[0], *index = c->in[1];
    int64_t dims[MAX_RANK], outer = 1, inner = 1, batches = 1;
    int64_t batch = attr_int(c->node, "batch_dims", 0);
    int axis = 0, rank = 0, rc = op_axis(attr_int(c->node, "axis", 0), x->rank, &axis, err);
    batch = batch < 0 ? batch + index->rank : batch;
    rc = rc ? rc : gather_check(x, index, batch, axis, err);
    for (int d = 0; d < x->rank && !rc; d++) {
        batches *= d < batch ? x->dims[d] : 1;
        outer *= d < axis ? x->dims[d] : 1;
        inner *= d > axis ? x->dims[d] : 1;
        if (d != axis) {
            dims[rank++] = x->dims[d];
        }
        for (int k = (int)batch; d == axis && k < index->rank; k++) {
            dims[rank++] = index->dims[k];
        }
    }
    rc = rc ? rc : op_out(c, 0, x->dtype, rank, dims, err);
    size_t piece = (size_t)inner * dtype_size(x->dtype);
    size_t picks = rc || !batches ? 0 : index->n / (size_t)batches;
    for (int64_t o = 0; o < outer && !rc; o++) {
        for (size_t i = 0; i < picks; i++) {
            int64_t at = tensor_s64(index, (size_t)(o / (outer / batches)) * picks + i);
            if (at < 0 || at >= x->dims[axis]) {
                return err_set(err, E_SHAPE, "index %" PRId64 " of %" PRId64, at, x->dims[axis]);
            }
            memcpy((uint8_t *)c->out[0]->data + ((size_t)o * picks + i) * piece,
                   (const uint8_t *)x->data + (size_t)(o * x->dims[axis] + at) * piece, piece);
        }
    }
    return rc;
}

static int run_gather_nd(struct op_call *c, struct err *err)
{
    const struct tensor *x = c->in[0], *index = c->in[1];
    int64_t dims[MAX_RANK], xs[MAX_RANK];
    int rank = 0;
    int64_t depth = index->rank ? index->dims[index->rank - 1] : 0;
    if (!elem_is_int(index->dtype) || depth < 1 || depth > x->rank ||
        index->rank - 1 + x->rank - depth > MAX_RANK) {
        return err_set(err, E_SHAPE, "indices do not fit an input of rank %d", x->rank);
    }
    for (int d = 0; d < index->rank - 1; d++) {
        dims[rank++] = index->dims[d];
    }
    for (int d = (int)depth; d < x->rank; d++) {
        dims[rank++] = x->dims[d];
    }
    int rc = op_out(c, 0, x->dtype, rank, dims, err);
    if (rc) {
        return rc;
    }
    walk_strides(x->rank, x->dims, xs);
    size_t size = dtype_size(x->dtype), piece = size;
    for (int d = (int)depth; d < x->rank; d++) {
        piece *= (size_t)x->dims[d];
    }
    for (size_t i = 0; i < index->n / (size_t)depth; i++) {
        int64_t from = 0;
        for (int64_t k = 0; k < depth; k++) {
            int64_t at = tensor_s64(index, i * (size_t)depth + (size_t)k);
            if (at < 0 || at >= x->dims[k]) {
                return err_set(err, E_SHAPE, "index %" PRId64 " of %" PRId64, at, x->dims[k]);
            }
            from += at * xs[k];
        }
        memcpy((uint8_t *)c->out[0]->data + i * piece,
               (const uint8_t *)x->data + (size_t)from * size, piece);
    }
    return OK;
}

const struct op op_tfl_gather[] = {
    {.name = "GATHER",
     .domain = "tflite",
     .since = 1,
     .min_in = 2,
     .max_in = 2,
     .ref = run_gather,
     .spec = "LiteRT gather.cc"},
    {.name = "GATHER_ND",
     .domain = "tflite",
     .since = 1,
     .min_in = 2,
     .max_in = 2,
     .ref = run_gather_nd,
     .spec = "LiteRT gather_nd.cc"},
    {0},
};
