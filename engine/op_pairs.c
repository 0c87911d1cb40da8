/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * op_pairs.c: the integer products of onnxruntime on x86 without VNNI, where vpmaddubsw saturates
 * the sum of two neighbouring products of u8 and s8 at 16 bits. A hazard to look at, not a target:
 * no such machine was at hand to compare with, and the order of packing is the documented one.
 */
#include "engine/fuse.h"
#include "engine/int_layer.h"

#include <stdlib.h>

/* Everything one call needs. */
struct job {
    struct int_layer l;
    const struct int8_kernels *k;
    uint8_t *x;   /* one left vector */
    uint8_t *w;   /* all right vectors of a set */
    int32_t *sum; /* of the weights of each */
};

static int job_open(const struct op_call *c, const struct tensor *y, struct job *j, struct err *err)
{
    int rc = int_layer_open(c, y, &j->l, err);
    size_t count = 0;
    if (!rc && !mul_ok(j->l.outs, j->l.k, &count)) {
        rc = err_set(err, E_LIMIT, "weights too large");
    }
    rc = rc ? rc : scratch_new(j->l.k, 1, (void **)&j->x, err);
    rc = rc ? rc : scratch_new(count, 1, (void **)&j->w, err);
    return rc ? rc : scratch_new(j->l.outs, sizeof *j->sum, (void **)&j->sum, err);
}

static void job_fini(struct job *j)
{
    scratch_free(j->x);
    scratch_free(j->w);
    scratch_free(j->sum);
}

static void fill_right(const struct job *j, size_t set)
{
    for (size_t o = 0; o < j->l.outs; o++) {
        uint8_t *w = j->w + o * j->l.k;
        uint32_t sum = 0;
        int_layer_right(&j->l, set, o, w);
        for (size_t k = 0; k < j->l.k; k++) {
            sum += (uint32_t)(int8_t)w[k];
        }
        j->sum[o] = (int32_t)sum;
    }
}

/* All outputs of one left vector: sum (x - zx)(w - zw) with saturated pairs in sum x w alone, as
 * zero points are corrected afterwards. */
static void run_vector(const struct job *j, size_t set, size_t vec, struct tensor *y)
{
    const struct int_layer *l = &j->l;
    const size_t size = dtype_size(y->dtype);
    uint32_t sum_x = 0, zx = (uint32_t)l->zx;
    int_layer_left(l, set, vec, j->x);
    for (size_t k = 0; k < l->k; k++) {
        sum_x += j->x[k];
    }
    for (size_t o = 0; o < l->outs; o++) {
        size_t channel = int_layer_channel(l, set, o);
        uint32_t zw = (uint32_t)zero_at(l->zw, channel);
        int32_t acc = j->k->pairs(j->x, (const int8_t *)j->w + o * l->k, l->k);
        const float scale = int_layer_scale(l, channel);
        const struct finish f = {
            .dtype = y->dtype,
            .scale = &scale,
            .lo = (float)(l->y.qmin - l->y.z),
            .hi = (float)(l->y.qmax - l->y.z),
            .z = l->y.z,
        };
        const uint32_t sum = (uint32_t)acc + (uint32_t)int_layer_bias(l, set, vec, o) -
                             zx * (uint32_t)j->sum[o] - zw * sum_x + (uint32_t)l->k * zx * zw;
        finish_one(&f, 0, (int32_t)sum, 0, (char *)y->data + int_layer_at(l, set, vec, o) * size);
    }
}

/* The ordinary kernel checks everything and makes room for the result, which is then overwritten.
 */
static int run(struct op_call *c, bool fast, struct err *err)
{
    const struct op *o = op_find("", c->node->op, INT16_MAX);
    o = o ? o : op_find("com.microsoft", c->node->op, INT16_MAX);
    struct job j = {.k = fast ? kernel_int8() : &kernel_int8_plain};
    int rc = fast ? o->fast(c, err) : o->ref(c, err);
    if (rc || c->out[0]->n == 0 || !is_code(c->in[0])) {
        return rc;
    }
    rc = job_open(c, c->out[0], &j, err);
    for (size_t set = 0; !rc && set < j.l.sets; set++) {
        fill_right(&j, set);
        for (size_t vec = 0; vec < j.l.vecs; vec++) {
            run_vector(&j, set, vec, c->out[0]);
        }
    }
    job_fini(&j);
    return rc;
}

static int op_pairs_ref(struct op_call *c, struct err *err)
{
    return run(c, false, err);
}

static int op_pairs_fast(struct op_call *c, struct err *err)
{
    return run(c, true, err);
}

// clang-format off
const struct op op_pairs[] = {
    {.name = "QLinearConv", .domain = fuse_pairs_domain, .since = 1, .min_in = 8, .max_in = 9, .ref = op_pairs_ref, .fast = op_pairs_fast, .spec = "ORT QLinearConv-10, x86 without VNNI"},
    {.name = "ConvInteger", .domain = fuse_pairs_domain, .since = 1, .min_in = 2, .max_in = 4, .ref = op_pairs_ref, .fast = op_pairs_fast, .spec = "ORT ConvInteger-10, x86 without VNNI"},
    {.name = "QLinearMatMul", .domain = fuse_pairs_domain, .since = 1, .min_in = 8, .max_in = 8, .ref = op_pairs_ref, .fast = op_pairs_fast, .spec = "ORT QLinearMatMul-10, x86 without VNNI"},
    {.name = "QGemm", .domain = fuse_pairs_domain, .since = 1, .min_in = 6, .max_in = 9, .ref = op_pairs_ref, .fast = op_pairs_fast, .spec = "ORT QGemm-1, x86 without VNNI"},
    {.name = "MatMulInteger", .domain = fuse_pairs_domain, .since = 1, .min_in = 2, .max_in = 4, .ref = op_pairs_ref, .fast = op_pairs_fast, .spec = "ORT MatMulInteger-10, x86 without VNNI"},
    {.name = "MatMulIntegerToFloat", .domain = fuse_pairs_domain, .since = 1, .min_in = 4, .max_in = 6, .ref = op_pairs_ref, .fast = op_pairs_fast, .spec = "ORT MatMulIntegerToFloat-1, x86 without VNNI"},
    {0},
};
// clang-format on
