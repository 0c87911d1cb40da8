/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * implicit.c: implicit quantization as TensorRT documents it: an FP32 model and one scale per
 * activation. Convolutions and matrix products with constant weights run in INT8 where input and
 * result have a scale; their weights are quantized symmetrically per output channel, from their
 * largest magnitude. The graph is that of the FP32 model optimized first: a BatchNormalization
 * behind a convolution goes into its weights, and between an operator and the bias, residual Add
 * and Relu or Clip that its kernel takes in, nothing is rounded. The result says so with
 * QuantizeLinear and DequantizeLinear, named as onnxruntime names them. Graph outputs stay float.
 * TensorRT also runs pools and other layers in INT8 where that is faster; here they do not.
 */
#include "analysis/analysis.h"
#include "analysis/qedit.h"
#include "analysis/qweight.h"

#include <stdlib.h>

void calibration_fini(struct calibration *c)
{
    strmap_fini(&c->by_name);
    free(c->scales);
    arena_fini(&c->arena);
}

/* A scale per channel needs DequantizeLinear-13: older models are spelled anew. */
enum { PER_CHANNEL_OPSET = 13 };

struct implicit_edit {
    struct graph *g;
    struct uses uses; /* of the graph before quantizers are put in */
    size_t n_values;  /* of the same */
    float *scale;     /* per value; 0: none */
    bool *wanted;     /* per value: gets quantizers */
};

/* ---- What runs in INT8 ---------------------------------------------------------------------- */

/* The residual of an Add behind node `node`, whose result is v: made earlier, with a scale. -1. */
static int residual_of(const struct implicit_edit *e, int node, const struct node *add, int v)
{
    int other = add->in[add->in[0] == v];
    return other >= 0 && other != v && e->scale[other] > 0 && e->g->values[other].producer < node
               ? other
               : -1;
}

/* The tensor that the kernel of a weighted node makes, with what it takes in: a constant added, a
 * residual, then Relu or Clip. */
static int kernel_end(const struct implicit_edit *e, int node, int *residual)
{
    int v = e->g->nodes[node].out[0];
    *residual = -1;
    for (int next; (next = edit_reader(e->g, &e->uses, v)) >= 0;) {
        const struct node *n = &e->g->nodes[next];
        if (edit_is(n, "Relu") || (edit_is(n, "Clip") && n->in[0] == v)) {
            return n->out[0];
        }
        if (!edit_is(n, "Add") || n->n_in != 2) {
            break;
        }
        bool bias = edit_float(e->g, n->in[n->in[0] == v]) != NULL;
        int other = bias || *residual >= 0 ? -1 : residual_of(e, node, n, v);
        if (!bias && other < 0) {
            break;
        }
        *residual = bias ? *residual : other;
        v = n->out[0];
    }
    return v;
}

/* ---- Quantizers ----------------------------------------------------------------------------- */

static int add_numbers(struct graph *g, const char *stem, float scale, int *s, int *z,
                       struct err *err)
{
    struct tensor *st = NULL, *zt = NULL;
    int rc = tensor_new(DT_F32, 0, NULL, NULL, &st, err);
    rc = rc ? rc : tensor_zeros(DT_S8, 0, NULL, NULL, &zt, err);
    if (rc) {
        tensor_free(st);
        return rc;
    }
    *(float *)st->data = scale;
    *s = edit_constant(g, stem, "_scale", st);
    *z = edit_constant(g, stem, "_zero_point", zt);
    return OK;
}

/* Everything that reads v reads its codes' value instead. */
static int quantize_value(struct implicit_edit *e, int v, struct err *err)
{
    struct graph *g = e->g;
    const char *name = g->values[v].name;
    int s, z;
    int rc = add_numbers(g, name, e->scale[v], &s, &z, err);
    if (rc) {
        return rc;
    }
    int codes = edit_value(g, name, "_QuantizeLinear_Output");
    int real = edit_value(g, name, "_DequantizeLinear_Output");
    for (int u = e->uses.start[v]; u < e->uses.start[v + 1]; u++) {
        struct node *n = &g->nodes[e->uses.node[u]];
        for (int k = 0; k < n->n_in; k++) {
            n->in[k] = n->in[k] == v ? real : n->in[k];
        }
        n->raw = (struct span){0}; /* written anew */
    }
    edit_node(g, "QuantizeLinear", "", name, (const int[]){v, s, z}, codes);
    edit_node(g, "DequantizeLinear", "", name, (const int[]){codes, s, z}, real);
    return OK;
}

/* Codes with scale max|w| / 127 per index of `axis`; a channel of zeros has scale 1. */
static int quantize_node(struct graph *g, size_t node, int axis, struct err *err)
{
    const struct code_choice choice = {.dtype = DT_S8, .symmetric = true};
    struct coded c = {0};
    const char *name = g->values[g->nodes[node].in[1]].name;
    const struct tensor *w = edit_float(g, g->nodes[node].in[1]);
    int rc = coded_params(w, axis, &choice, &c, err);
    rc = rc ? rc : coded_values(w, axis, &c, err);
    if (rc) {
        coded_fini(&c);
        return rc;
    }
    int in[3] = {edit_constant(g, name, "_quantized", c.codes),
                 edit_constant(g, name, "_scale", c.scale),
                 edit_constant(g, name, "_zero_point", c.zero)};
    int real = edit_value(g, name, "_DequantizeLinear_Output");
    edit_node(g, "DequantizeLinear", "", name, in, real);
    graph_attr_int(g, &g->nodes[g->n_nodes - 1], "axis", axis);
    g->nodes[node].in[1] = real;
    g->nodes[node].raw = (struct span){0};
    return OK;
}

/* ---- The whole ------------------------------------------------------------------------------ */

/* Marks what is quantized; the weighted nodes themselves at once. */
static int quantize_nodes(struct implicit_edit *e, struct implicit *report, struct err *err)
{
    struct graph *g = e->g;
    int rc = OK;
    for (size_t i = 0, n = g->n_nodes; i < n && !rc; i++) {
        int axis = edit_weight_axis(g, &g->nodes[i]), residual;
        if (axis < 0) {
            continue;
        }
        int x = g->nodes[i].in[0], end = kernel_end(e, (int)i, &residual);
        bool is_output = g->values[end].is_output;
        if (!(e->scale[x] > 0) || !(e->scale[end] > 0 || is_output)) {
            report->left++;
            continue;
        }
        rc = quantize_node(g, i, axis, err);
        report->layers++;
        e->wanted[x] = true;
        e->wanted[end] = e->wanted[end] || !is_output;
        if (residual >= 0) {
            e->wanted[residual] = true;
        }
    }
    return rc;
}

static int quantize(struct implicit_edit *e, struct implicit *report, struct err *err)
{
    int rc = quantize_nodes(e, report, err);
    for (size_t v = 0; v < e->n_values && !rc; v++) {
        if (e->wanted[v]) {
            rc = quantize_value(e, (int)v, err);
            report->tensors++;
        }
    }
    if (!rc && !report->layers) {
        rc = err_set(err, E_SHAPE,
                     "none of its %zu weighted layers has a scale for input and result in the "
                     "cache",
                     report->left);
    }
    return rc ? rc : graph_finish(e->g, err);
}

int graph_quantize(const struct graph *fp32, const struct calibration *c, struct graph **out,
                   struct implicit *report, struct err *err)
{
    int rc = edit_check_float(fp32, "a calibration cache goes with", err);
    if (rc) {
        return rc;
    }
    struct graph *g = graph_clone(fp32);
    struct implicit found = {0};
    rc = edit_raise_opset(g, fp32, PER_CHANNEL_OPSET, err);
    rc = rc ? rc : edit_fold_norms(g, err);
    if (!rc) {
        struct implicit_edit e = {.g = g, .uses = graph_uses(g), .n_values = g->n_values};
        e.scale = mem_alloc((e.n_values + 1) * sizeof *e.scale);
        e.wanted = mem_alloc((e.n_values + 1) * sizeof *e.wanted);
        for (size_t v = 0; v < e.n_values; v++) {
            int at = strmap_get(&c->by_name, g->values[v].name, -1);
            e.scale[v] = at >= 0 ? c->scales[at].scale : 0;
        }
        rc = quantize(&e, &found, err);
        uses_fini(&e.uses);
        free(e.scale);
        free(e.wanted);
    }
    if (rc) {
        graph_free(g);
        return rc;
    }
    *out = g;
    *report = found;
    return OK;
}
