/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * op.c: gathers the operator families and gives kernels their common services.
 */
#include "engine/chain.h"

#include "engine/kernel_int8.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>

static const struct op *const families[] = {
    op_conv,       op_matmul,    op_pool,        op_eltwise,  op_norm,       op_batchnorm,
    op_reduce,     op_shape,     op_resize,      op_quant,    op_qlinear,    op_qsoftmax,
    op_qpool,      op_qconv,     op_qmatmul,     op_mlas,     op_mlas_conv,  op_unary,
    op_move,       op_index,     op_attention,   op_einsum,   op_vision,     op_cast,
    op_pad,        op_exact,     op_tensorrt,    op_pairs,    op_ort,        op_tfl_conv,
    op_tfl_binary, op_tfl_unary, op_tfl_reduce,  op_tfl_move, op_tfl_gather, op_tfl_quant,
    op_mlas_sums,  op_mlas_norm, op_mlas_matmul,
};

/* All operators by name: every node of every plan is looked up. */
static const struct op **sorted;
static size_t n_sorted;

static int by_name(const void *pa, const void *pb)
{
    const struct op *a = *(const struct op *const *)pa, *b = *(const struct op *const *)pb;
    const int names = strcmp(a->name, b->name);
    return names ? names : strcmp(a->domain ? a->domain : "", b->domain ? b->domain : "");
}

static void sort_once(void)
{
    size_t cap = 0;
    for (size_t f = 0; f < COUNT(families); f++) {
        for (const struct op *o = families[f]; o->name; o++) {
            sorted = mem_push(sorted, n_sorted, &cap, sizeof *sorted);
            sorted[n_sorted++] = o;
        }
    }
    qsort(sorted, n_sorted, sizeof *sorted, by_name);
}

const struct op *op_find(const char *domain, const char *name, int opset)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    const struct op wanted = {.name = name, .domain = domain}, *best = NULL, *const key = &wanted;
    pthread_once(&once, sort_once);
    const struct op **at = bsearch(&key, sorted, n_sorted, sizeof *sorted, by_name);
    while (at && at > sorted && by_name(&at[-1], &key) == 0) {
        at--;
    }
    for (; at && at < sorted + n_sorted && by_name(at, &key) == 0; at++) {
        best = (*at)->since <= opset && (!best || (*at)->since > best->since) ? *at : best;
    }
    return best;
}

void op_each(void (*fn)(void *ctx, const char *domain, const char *name, int since,
                        const char *spec, bool fast),
             void *ctx)
{
    for (size_t f = 0; f < COUNT(families); f++) {
        for (const struct op *o = families[f]; o->name; o++) {
            fn(ctx, o->domain ? o->domain : "", o->name, o->since, o->spec, o->fast != NULL);
        }
    }
}

int op_out(struct op_call *c, int i, enum dtype d, int rank, const int64_t *dims, struct err *err)
{
    if (i >= c->n_out) {
        return err_set(err, E_FORMAT, "node has %d outputs, the operator needs at least %d",
                       c->n_out, i + 1);
    }
    int rc = tensor_new(d, rank, dims, c->budget, &c->out[i], err);
    if (!rc) {
        c->out[i]->channels_last = c->channels_last && rank >= 3;
    }
    if (rc) {
        char shape[128];
        return err_in(err, "output %d of shape %s", i,
                      shape_text(shape, sizeof shape, MIN(rank, MAX_RANK), dims));
    }
    return OK;
}

int op_out_tail(struct op_call *c, int rank, const int64_t *dims, float **y, float **act,
                struct err *err)
{
    *y = *act = NULL;
    int rc = c->raw || !c->tail ? op_out(c, 0, DT_F32, rank, dims, err) : OK;
    if (!rc && c->tail) {
        rc = tensor_new(DT_F32, rank, dims, c->budget, &c->tail_out, err);
    }
    if (!rc) {
        *y = c->out[0] ? c->out[0]->data : NULL;
        *act = c->tail ? c->tail_out->data : NULL;
    }
    if (!rc && c->tail) {
        c->tail_out->channels_last = c->channels_last && rank >= 3;
    }
    return rc || !c->chain ? rc : chain_open(c, rank, dims, err);
}

void op_drop(struct op_call *c)
{
    for (int k = 0; k < c->n_out; k++) {
        tensor_free(c->out[k]);
        c->out[k] = NULL;
    }
    tensor_free(c->tail_out);
    c->tail_out = NULL;
    chain_drop(c->chain);
}

int op_out_view(struct op_call *c, int i, const struct tensor *t, int rank, const int64_t *dims,
                struct err *err)
{
    return tensor_view((struct tensor *)t, rank, dims, &c->out[i], err);
}

struct tensor op_alias(const struct tensor *t)
{
    struct tensor a = {.dtype = t->dtype,
                       .rank = t->rank,
                       .channels_last = t->channels_last,
                       .n = t->n,
                       .size = t->size,
                       .data = t->data};
    memcpy(a.dims, t->dims, sizeof a.dims);
    return a;
}

int op_axis(int64_t axis, int rank, int *out, struct err *err)
{
    if (axis < -rank || axis >= rank) {
        return err_set(err, E_SHAPE, "axis %" PRId64 " is outside [%d, %d]", axis, -rank, rank - 1);
    }
    *out = (int)(axis < 0 ? axis + rank : axis);
    return OK;
}

int op_int_list(const struct tensor *t, size_t room, int64_t *list, size_t *n, struct err *err)
{
    if ((t->dtype != DT_S64 && t->dtype != DT_S32) || t->rank > 1) {
        return err_set(err, E_SHAPE, "expected a list of int32 or int64, found %s of rank %d",
                       dtype_name(t->dtype), t->rank);
    }
    if (t->n > room) {
        return err_set(err, E_SHAPE, "list has %zu entries, at most %zu fit", t->n, room);
    }
    for (size_t i = 0; i < t->n; i++) {
        list[i] = tensor_s64(t, i);
    }
    *n = t->n;
    return OK;
}

/* Those that move no elements, or look at shapes alone, and the one that compares strings. */
static bool takes_strings(const char *op)
{
    static const char *const ops[] = {"Equal",   "Identity",  "Reshape", "Flatten",
                                      "Squeeze", "Unsqueeze", "Shape",   "Size"};
    for (size_t i = 0; i < COUNT(ops); i++) {
        if (strcmp(ops[i], op) == 0) {
            return true;
        }
    }
    return false;
}

int op_check_strings(const struct op_call *c, struct err *err)
{
    for (int k = 0; k < c->n_in; k++) {
        if (c->in[k] && c->in[k]->dtype == DT_STRING && !takes_strings(c->node->op)) {
            return err_set(err, E_UNSUPPORTED, "input %d holds strings, which are not supported",
                           k);
        }
    }
    return OK;
}

int op_want(const struct op_call *c, int i, enum dtype d, int rank, struct err *err)
{
    const struct tensor *t = i < c->n_in ? c->in[i] : NULL;
    if (!t) {
        return err_set(err, E_SHAPE, "input %d is missing", i);
    }
    if (d != DT_NONE && t->dtype != d) {
        return err_set(err, E_SHAPE, "input %d is %s, expected %s", i, dtype_name(t->dtype),
                       dtype_name(d));
    }
    if (rank >= 0 && t->rank != rank) {
        return err_set(err, E_SHAPE, "input %d has rank %d, expected %d", i, t->rank, rank);
    }
    return OK;
}

const char *engine_cpu(void)
{
    return kernel_int8()->name;
}

int op_want_float(const struct op_call *c, int least, struct err *err)
{
    const struct tensor *x = c->in[0];
    if (!dtype_is_float(x->dtype)) {
        return err_set(err, E_UNSUPPORTED, "input is %s, expected a float type",
                       dtype_name(x->dtype));
    }
    if (x->rank < least) {
        return err_set(err, E_SHAPE, "input has rank %d, expected at least %d", x->rank, least);
    }
    return OK;
}

int op_want_vectors(const struct op_call *c, int count, int64_t n, struct err *err)
{
    for (int i = 1; i <= count; i++) {
        int rc = op_want(c, i, DT_NONE, 1, err);
        if (!rc && (!dtype_is_float(c->in[i]->dtype) || c->in[i]->dims[0] != n)) {
            rc = err_set(err, E_SHAPE, "input %d has %lld values of %s, expected %lld floats", i,
                         (long long)c->in[i]->dims[0], dtype_name(c->in[i]->dtype), (long long)n);
        }
        if (rc) {
            return rc;
        }
    }
    return OK;
}
