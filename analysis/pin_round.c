/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * pin_round.c: what stands around the FP32 nodes of a pinned layer that is to have fewer bits:
 * conversions to the other type and back, and rounded constants.
 *
 * That is spelled out in the graph because ONNX Runtime's CPU provider has no float16 kernels on
 * x86: of nodes with float16 inputs it makes float32 ones, and with them the Casts at their ends go
 * (seen with 1.32: a Conv between two Casts runs on its input as it was). Casts that stand between
 * float32 nodes are kept, so what is written is what is computed there, and here.
 */
#include "analysis/pinner.h"
#include "analysis/qedit.h"

#include <stdlib.h>

int round_check(const struct pinner *p, enum precision as, struct err *err)
{
    enum { BF16_OPSET = 13 };
    const char *name = precisions[as].name;
    if (as != PREC_FP32 && p->i->dialect != DIALECT_ONNX) {
        return err_set(err, E_UNSUPPORTED,
                       "%s is for ONNX models; those of TensorFlow Lite know "
                       "fp32 alone",
                       name);
    }
    if (as == PREC_BF16 && p->i->opset < BF16_OPSET) {
        return err_set(err, E_UNSUPPORTED, "%s wants opset %d, the INT8 model has %d", name,
                       BF16_OPSET, p->i->opset);
    }
    return OK;
}

/* ---- float16, bfloat16 ---------------------------------------------------------------------- */

static void add_cast(struct graph *g, int in, int out, enum dtype to)
{
    char *name = mem_printf("%s_Cast", g->values[out].name);
    struct node *n = graph_add(g, "Cast", "", graph_fresh(g, name), 1, &in, 1, &out);
    graph_attr_int(g, n, "to", to);
    free(name);
}

static void round_half(struct graph *g, int in, int out, enum precision as)
{
    char *stem = mem_printf("%s_%s", g->values[out].name, precisions[as].name);
    int half = pinner_value(g, stem);
    free(stem);
    add_cast(g, in, half, as == PREC_FP16 ? DT_F16 : DT_BF16);
    add_cast(g, half, out, DT_F32);
}

/* ---- int16 ---------------------------------------------------------------------------------- */

/* The scale of symmetric 16-bit codes over the range that a layer's own codes have: a whole part of
 * theirs, so that what they can express is expressed exactly. 0: there are none. */
static float scale_of(const struct pinner *p, int layer)
{
    const struct layer *l = layer >= 0 ? &p->m->layers[layer] : NULL;
    int64_t lo, hi;
    if (!l || !l->quantized || l->q.n != 1 || !dtype_range(l->q.dtype, &lo, &hi)) {
        return 0;
    }
    int64_t most = MAX(l->q.zero[0] - lo, hi - l->q.zero[0]);
    return l->q.scale[0] / (float)MAX(INT16_MAX / most, 1);
}

/* A copy stands in front: two pairs of quantizers in a row would be joined, and a float node
 * between quantizers made an integer one. */
static int round_codes(struct pinner *p, int in, int out, float scale, struct err *err)
{
    struct graph *g = p->g;
    struct tensor *s = NULL, *z = NULL;
    int rc = tensor_new(DT_F32, 0, NULL, NULL, &s, err);
    rc = rc ? rc : tensor_zeros(DT_S16, 0, NULL, NULL, &z, err);
    if (rc) {
        tensor_free(s);
        return rc;
    }
    *(float *)s->data = scale;
    const char *stem = g->values[out].name, *domain = edit_codes_domain(g, DT_S16);
    int copy = edit_value(g, stem, "_float"), codes = edit_value(g, stem, "_int16");
    int params[3] = {copy, edit_constant(g, stem, "_int16_scale", s),
                     edit_constant(g, stem, "_int16_zero_point", z)};
    g->values[codes].dtype = DT_S16;
    pinner_barrier(g, in, copy);
    edit_node(g, "QuantizeLinear", domain, stem, params, codes);
    params[0] = codes;
    edit_node(g, "DequantizeLinear", domain, stem, params, out);
    return OK;
}

/* ---- Activations ---------------------------------------------------------------------------- */

static int round_into(struct pinner *p, int in, int out, enum precision as, int layer,
                      struct err *err)
{
    float scale = as == PREC_INT16 ? scale_of(p, layer) : 0;
    if (as != PREC_INT16) {
        round_half(p->g, in, out, as);
        return OK;
    }
    return scale > 0 ? round_codes(p, in, out, scale, err)
                     : err_set(err, E_UNSUPPORTED,
                               "the INT8 model has no codes of it, so nothing tells the scale of "
                               "int16");
}

int round_output(struct pinner *p, int from, int to, enum precision as, int layer, struct err *err)
{
    p->rounded = mem_push(p->rounded, p->n_rounded, &p->cap_rounded, sizeof *p->rounded);
    p->rounded[p->n_rounded++] = (struct rounded){.from = from, .to = to, .as = as};
    return round_into(p, from, to, as, layer, err);
}

/* Whether the value is rounded so already. */
static bool is_rounded(const struct pinner *p, int v, enum precision as)
{
    for (size_t i = 0; i < p->n_rounded; i++) {
        if (p->rounded[i].to == v && p->rounded[i].as == as) {
            return true;
        }
    }
    return false;
}

int round_input(struct pinner *p, int *in, enum precision as, int layer, struct err *err)
{
    if (as == PREC_FP32 || is_rounded(p, *in, as) ||
        (as == PREC_INT16 && !(scale_of(p, layer) > 0))) {
        return OK;
    }
    for (size_t i = 0; i < p->n_rounded; i++) {
        if (p->rounded[i].from == *in && p->rounded[i].as == as) {
            *in = p->rounded[i].to;
            return OK;
        }
    }
    char *name = mem_printf("%s_%s", p->g->values[*in].name, precisions[as].name);
    int from = *in;
    *in = pinner_value(p->g, name);
    free(name);
    return round_output(p, from, *in, as, layer, err);
}

/* ---- Constants ------------------------------------------------------------------------------ */

int round_constant(struct pinner *p, const struct node *n, int slot, const struct tensor *t,
                   enum precision as, int *out, struct err *err)
{
    struct tensor *own = NULL;
    int rc = precision_constant(p->f, n, slot, t, as, &own, err);
    *out = -1;
    if (!rc && own) {
        char *suffix = mem_printf("_%s", precisions[as].name);
        *out = edit_constant(p->g, p->f->values[n->in[slot]].name, suffix, own);
        free(suffix);
    }
    return rc;
}
