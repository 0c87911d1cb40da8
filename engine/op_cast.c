/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * op_cast.c: conversions between element types, and what passes its input on: Cast, CastLike,
 * Identity, Dropout. The rules for values that do not fit stand in elem.h.
 */
#include "engine/elem.h"
#include "engine/op.h"

/* Sums of products on their way to floats: rounded once, as by way of double. */
VECTOR_CLONES static void s32_to_f32(const int32_t *restrict x, size_t n, float *restrict y)
{
    for (size_t i = 0; i < n; i++) {
        y[i] = (float)x[i];
    }
}

static int cast_to(struct op_call *c, enum dtype d, struct err *err)
{
    const struct tensor *x = c->in[0];
    if (x->dtype == d) {
        return op_out_view(c, 0, x, x->rank, x->dims, err);
    }
    if (!dtype_size(x->dtype) || !dtype_size(d)) {
        return err_set(err, E_UNSUPPORTED, "cast from %s to %s (type %d) is not supported",
                       dtype_name(x->dtype), dtype_name(d), (int)d);
    }
    int rc = op_out(c, 0, d, x->rank, x->dims, err);
    if (!rc && x->dtype == DT_S32 && d == DT_F32) {
        s32_to_f32(x->data, x->n, c->out[0]->data);
        return OK;
    }
    for (size_t at = 0, n; !rc && at < x->n; at += n) {
        n = MIN(x->n - at, (size_t)ELEM_BLOCK);
        if (elem_is_int(x->dtype) && elem_is_int(d)) {
            int64_t block[ELEM_BLOCK];
            elem_get_s64(x, at, n, block);
            elem_put_s64(c->out[0], at, n, block);
        } else {
            double block[ELEM_BLOCK];
            elem_get_f64(x, at, n, block);
            elem_put_f64(c->out[0], at, n, block);
        }
    }
    return rc;
}

static int cast(struct op_call *c, struct err *err)
{
    const int64_t to = attr_int(c->node, "to", 0);
    if (to <= 0 || to > 255) {
        return err_set(err, E_FORMAT, "attribute to is %lld, expected an element type",
                       (long long)to);
    }
    return cast_to(c, (enum dtype)to, err);
}

static int cast_like(struct op_call *c, struct err *err)
{
    return cast_to(c, c->in[1]->dtype, err);
}

static int identity(struct op_call *c, struct err *err)
{
    return op_out_view(c, 0, c->in[0], c->in[0]->rank, c->in[0]->dims, err);
}

/* Inference: the input itself, and a mask that keeps everything. */
static int dropout(struct op_call *c, struct err *err)
{
    const struct tensor *x = c->in[0];
    const struct tensor *ratio = c->n_in > 1 ? c->in[1] : NULL;
    const struct tensor *training = c->n_in > 2 ? c->in[2] : NULL;
    if (training && training->n > 0 && tensor_s64(training, 0) &&
        !(ratio && ratio->n > 0 && tensor_f64(ratio, 0) == 0)) {
        return err_set(err, E_UNSUPPORTED, "training mode is not supported");
    }
    int rc = identity(c, err);
    if (!rc && c->n_out > 1 && c->node->out[1] >= 0) {
        rc = op_out(c, 1, c->opset < 10 ? x->dtype : DT_BOOL, x->rank, x->dims, err);
        const int64_t one = 1;
        for (size_t i = 0; !rc && i < x->n; i++) {
            elem_put_s64(c->out[1], i, 1, &one);
        }
    }
    return rc;
}

#define ROW(op_name, first, least, most, fn, spec_text)                                            \
    {                                                                                              \
        .name = (op_name), .since = (first), .min_in = (least), .max_in = (most), .ref = (fn),     \
        .spec = (spec_text)                                                                        \
    }

const struct op op_cast[] = {
    ROW("Cast", 6, 1, 1, cast, "ONNX Cast-25"),
    ROW("CastLike", 15, 2, 2, cast_like, "ONNX CastLike-25"),
    ROW("Identity", 1, 1, 1, identity, "ONNX Identity-25"),
    ROW("Dropout", 7, 1, 3, dropout, "ONNX Dropout-22"),
    {0},
};
