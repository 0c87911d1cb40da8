/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * fuse_weights.c: float weights and biases that onnxruntime quantizes by itself. A convolution or
 * Gemm between DQ and Q whose weights or bias are float constants does not stay float: the weights
 * become int8 codes of one scale, the bias int32 codes of input scale times weight scale.
 */
#include "engine/fuse.h"

#include <math.h>

/* Whether the only consumer of a node's result, seen through Relu and Clip, is a Q. Being a graph
 * output besides does not matter to onnxruntime here. */
static bool leads_to_q(const struct fuser *f, int node)
{
    for (;;) {
        const struct node *n = &f->g->nodes[node];
        if (n->n_out != 1 || n->out[0] < 0 || fuser_uses(f, n->out[0]) != 1) {
            return false;
        }
        node = f->v[n->out[0]].edges[0].node;
        if (fuse_is(f, node, "QuantizeLinear")) {
            return true;
        }
        if (!fuse_is(f, node, "Relu") && !fuse_is(f, node, "Clip")) {
            return false;
        }
    }
}

static const struct tensor *float_constant(const struct fuser *f, int value)
{
    const struct tensor *t = value >= 0 ? f->g->values[value].constant : NULL;
    return t && t->dtype == DT_F32 && t->n > 0 ? t : NULL;
}

/* A scale that counts as one value. */
static bool is_single(const struct tensor *t)
{
    return t && t->n == 1 && t->rank <= 1;
}

/* Whether weight scales along `axis` go with a bias of `size` values (-1: none or computed). */
static bool scales_fit(const struct fuser *f, int dq, int axis, int64_t size)
{
    const struct node *n = &f->g->nodes[dq];
    const struct tensor *s = fuse_scale(f, dq), *w = f->g->values[n->in[0]].constant;
    if (is_single(s)) {
        return true;
    }
    int64_t at = attr_int(n, "axis", 1);
    at += at < 0 && w ? w->rank : 0;
    return s && s->rank == 1 && (int64_t)s->n == size && !attr_int(n, "block_size", 0) &&
           at == axis;
}

/* ---- Weights -------------------------------------------------------------------------------- */

/* Scale and zero point that spread the range of w, 0 included, over int8. */
static struct quant weight_params(const struct tensor *w, float *scale, int32_t *zero)
{
    float min = 0, max = 0;
    for (size_t i = 0; i < w->n; i++) {
        float v = (float)tensor_f64(w, i);
        min = v < min ? v : min;
        max = v > max ? v : max;
    }
    *scale = max == min ? 1.0F : (max - min) / 255.0F;
    *zero = (int32_t)rintf(fmaxf(-128.0F, fminf(127.0F, -128.0F - min / *scale)));
    return (struct quant){.dtype = DT_S8, .axis = -1, .n = 1, .scale = scale, .zero = zero};
}

static struct tensor *new_scalar(enum dtype d)
{
    struct tensor *t = NULL;
    return tensor_new(d, 0, NULL, NULL, &t, NULL) ? NULL : t;
}

/* Puts codes and a DQ in the place of float weights; the DQ, or -1 when there is no memory. */
static int quantize_weights(struct fuser *f, int node, const struct tensor *w)
{
    float scale;
    int32_t zero;
    const struct quant q = weight_params(w, &scale, &zero);
    struct tensor *s = new_scalar(DT_F32), *z = new_scalar(DT_S8), *codes = NULL;
    if (!s || !z || quant_quantize(w, &q, NULL, &codes, NULL)) {
        tensor_free(s);
        tensor_free(z);
        return -1;
    }
    *(float *)s->data = scale;
    *(int8_t *)z->data = (int8_t)zero;
    int real = fuser_value(f, f->g->nodes[node].in[1], "_dequantized");
    const int in[] = {fuser_constant(f, "weight_codes", codes),
                      fuser_constant(f, "weight_scale", s),
                      fuser_constant(f, "weight_zero_point", z)};
    int dq = fuser_add(f, "DequantizeLinear", 3, in, real);
    fuser_set_in(f, node, 1, real);
    return dq;
}

/* ---- Biases --------------------------------------------------------------------------------- */

/* As a cast on x86: what does not fit becomes the lowest integer. */
static int32_t to_s32(float v)
{
    return v >= -0x1p31F && v < 0x1p31F ? (int32_t)v : INT32_MIN;
}

/* codes = rne(bias / (sx * sw)), one scale or one per value. */
static bool quantize_bias(struct fuser *f, int node, const struct tensor *bias,
                          const struct tensor *sx, const struct tensor *sw)
{
    struct tensor *scale = NULL, *codes = NULL;
    if (tensor_new(DT_F32, sw->rank, sw->dims, NULL, &scale, NULL) ||
        tensor_new(DT_S32, 1, bias->dims, NULL, &codes, NULL)) {
        tensor_free(scale);
        return false;
    }
    float *s = scale->data;
    for (size_t i = 0; i < sw->n; i++) {
        s[i] = (float)tensor_f64(sx, 0) * (float)tensor_f64(sw, i);
    }
    for (size_t i = 0; i < bias->n; i++) {
        float v = (float)tensor_f64(bias, i) / s[sw->n == 1 ? 0 : i];
        ((int32_t *)codes->data)[i] = to_s32(rintf(v));
    }
    int real = fuser_value(f, f->g->nodes[node].in[2], "_dequantized");
    const int in[] = {fuser_constant(f, "bias_codes", codes),
                      fuser_constant(f, "bias_scale", scale)};
    int dq = fuser_add(f, "DequantizeLinear", 2, in, real);
    if (sw->n != 1) {
        graph_attr_int(f->g, &f->g->nodes[dq], "axis", 0);
    }
    fuser_set_in(f, node, 2, real);
    return true;
}

/* ---- Nodes ---------------------------------------------------------------------------------- */

static bool quantize_node(struct fuser *f, int node)
{
    const struct node *n = &f->g->nodes[node];
    int x = fuser_producer(f, n->n_in > 1 ? n->in[0] : -1);
    if (!fuse_is_dq(f, x) || !is_single(fuse_scale(f, x)) || !leads_to_q(f, node)) {
        return false;
    }
    bool gemm = fuse_is(f, node, "Gemm");
    int axis = gemm && !attr_int(n, "transB", 0) ? 1 : 0;
    int dq = fuser_producer(f, n->in[1]);
    const struct tensor *w = float_constant(f, n->in[1]);
    const struct tensor *bias = n->n_in > 2 ? float_constant(f, n->in[2]) : NULL;
    bool has_bias = n->n_in > 2 && n->in[2] >= 0;
    if (has_bias && (!bias || bias->rank != 1)) {
        return false; /* quantized already, or of a form that is left alone, and then the weights
                         are */
    }
    if (fuse_is_dq(f, dq) ? !scales_fit(f, dq, axis, bias ? bias->dims[0] : -1) : !w) {
        return false;
    }
    bool changed = false;
    if (!fuse_is_dq(f, dq)) {
        dq = quantize_weights(f, node, w);
        changed = dq >= 0;
    }
    const struct tensor *sw = dq >= 0 ? fuse_scale(f, dq) : NULL;
    return (bias && sw && quantize_bias(f, node, bias, fuse_scale(f, x), sw)) || changed;
}

bool fuse_quantize_weights(struct fuser *f)
{
    bool changed = false;
    size_t n_nodes = f->g->n_nodes;
    for (size_t i = 0; i < n_nodes; i++) {
        if (fuse_is(f, (int)i, "Conv") || fuse_is(f, (int)i, "ConvTranspose") ||
            fuse_is(f, (int)i, "Gemm")) {
            changed = quantize_node(f, (int)i) || changed;
        }
    }
    return changed;
}
