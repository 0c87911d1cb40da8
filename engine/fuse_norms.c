/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * fuse_norms.c: a BatchNormalization behind a convolution of floats becomes part of its weights, as
 * onnxruntime does when it loads a model; every step is rounded to float32. In graphs with codes
 * alone: there such convolutions make what becomes codes again. The convolution itself stays for
 * those who want to see its values.
 */
#include "engine/fuse.h"

#include <math.h>

/* Constant input `slot` of a node, float32 with n elements in one dimension; else NULL. */
static const struct tensor *vector_of(const struct fuser *f, const struct node *n, int slot,
                                      int64_t count)
{
    const struct tensor *t =
        slot < n->n_in && n->in[slot] >= 0 ? f->g->values[n->in[slot]].constant : NULL;
    return t && t->dtype == DT_F32 && t->rank == 1 && t->dims[0] == count ? t : NULL;
}

/* The BatchNormalization that alone reads a convolution with constant weights; else -1. */
static int norm_behind(const struct fuser *f, int node)
{
    const struct node *conv = &f->g->nodes[node];
    const bool whole = fuse_is(f, node, "Conv") && conv->n_in > 1 && conv->n_out == 1 &&
                       conv->in[0] >= 0 && conv->in[1] >= 0 && conv->out[0] >= 0;
    const struct tensor *w = whole ? f->g->values[conv->in[1]].constant : NULL;
    const int bn =
        w && w->rank > 2 && w->dtype == DT_F32 ? fuser_sole_use(f, conv->out[0]).node : -1;
    const struct node *n = bn >= 0 ? &f->g->nodes[bn] : NULL;
    bool fits = fuse_is(f, bn, "BatchNormalization") && n->n_in == 5 && n->n_out == 1 &&
                n->out[0] >= 0 && n->in[0] == conv->out[0] && !fuser_is_output(f, n->out[0]) &&
                !attr_int(n, "training_mode", 0) && attr_int(n, "spatial", 1);
    for (int k = 1; k < 5 && fits; k++) {
        fits = vector_of(f, n, k, w->dims[0]) != NULL;
    }
    const bool biased = conv->n_in > 2 && conv->in[2] >= 0;
    return fits && (!biased || vector_of(f, conv, 2, w->dims[0])) ? bn : -1;
}

/* Tensors of a model may lie at any address. */
static float value_of(const struct tensor *t, int64_t i)
{
    return (float)tensor_f64(t, (size_t)i);
}

static void fold(struct fuser *f, int node, int bn)
{
    struct node *conv = &f->g->nodes[node], *n = &f->g->nodes[bn];
    const struct tensor *w = f->g->values[conv->in[1]].constant;
    const int64_t filters = w->dims[0];
    const struct tensor *old = conv->n_in > 2 ? vector_of(f, conv, 2, filters) : NULL;
    const struct tensor *in_bn[5] = {NULL};
    for (int k = 1; k < 5; k++) {
        in_bn[k] = vector_of(f, n, k, filters);
    }
    const float epsilon = attr_float(n, "epsilon", 1e-5F);
    struct tensor *weights = NULL, *bias = NULL;
    if (tensor_new(DT_F32, w->rank, w->dims, NULL, &weights, NULL) ||
        tensor_new(DT_F32, 1, &filters, NULL, &bias, NULL)) {
        tensor_free(weights);
        return;
    }
    memcpy(weights->data, w->data, w->size);
    const size_t each = filters ? w->n / (size_t)filters : 0;
    for (int64_t o = 0; o < filters; o++) {
        const float mean = value_of(in_bn[3], o), shift = value_of(in_bn[2], o);
        const float factor = value_of(in_bn[1], o) / sqrtf(value_of(in_bn[4], o) + epsilon);
        float *v = (float *)weights->data + (size_t)o * each;
        for (size_t i = 0; i < each; i++) {
            v[i] *= factor;
        }
        ((float *)bias->data)[o] =
            old ? (value_of(old, o) - mean) * factor + shift : shift - mean * factor;
    }
    const int in[] = {conv->in[0], fuser_constant(f, "weights", weights),
                      fuser_constant(f, "bias", bias)};
    const int out = n->out[0];
    f->v[conv->out[0]].kept = true;
    fuser_kill(f, bn);
    const int both = fuser_copy(f, node, out);
    fuser_become(f, both, "Conv", "", (int)COUNT(in), in, 1, &out);
}

void fuse_norms(struct fuser *f)
{
    const size_t n_nodes = fuse_has_codes(f) ? f->g->n_nodes : 0;
    for (size_t i = 0; i < n_nodes; i++) {
        const int bn = norm_behind(f, (int)i);
        if (bn >= 0) {
            fold(f, (int)i, bn);
        }
    }
}
