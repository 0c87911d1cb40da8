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
#include "analysis/upgrade.h"

#include <math.h>
#include <stdlib.h>

void calibration_fini(struct calibration *c)
{
    strmap_fini(&c->by_name);
    free(c->scales);
    arena_fini(&c->arena);
}

struct implicit_edit {
    struct graph *g;
    struct uses uses; /* of the graph before quantizers are put in */
    size_t n_values;  /* of the same */
    float *scale;     /* per value; 0: none */
    bool *wanted;     /* per value: gets quantizers */
};

/* ---- Reading the graph ---------------------------------------------------------------------- */

static bool is_op(const struct node *n, const char *op)
{
    return n->op && !n->domain[0] && strcmp(n->op, op) == 0;
}

/* What an initializer or a Constant node holds, if that is float32. */
static const struct tensor *weights_of(const struct graph *g, int v)
{
    const struct tensor *t = v >= 0 ? g->values[v].constant : NULL;
    int made = v >= 0 ? g->values[v].producer : -1;
    if (!t && made >= 0 && is_op(&g->nodes[made], "Constant")) {
        const struct attr *a = attr_find(&g->nodes[made], "value");
        t = a && a->kind == ATTR_TENSOR ? a->t : NULL;
    }
    return t && t->dtype == DT_F32 ? t : NULL;
}

/* The axis of the output channels in the weights of a node that can run in INT8; -1: it cannot. */
static int weighted_axis(const struct graph *g, const struct node *n)
{
    bool conv = is_op(n, "Conv"), gemm = is_op(n, "Gemm");
    const struct tensor *w = n->n_in > 1 ? weights_of(g, n->in[1]) : NULL;
    if ((!conv && !gemm && !is_op(n, "MatMul")) || !w || w->n == 0 || w->rank < 2 ||
        (!conv && w->rank != 2)) {
        return -1;
    }
    if (n->in[0] < 0 || n->n_out != 1 || n->out[0] < 0 || weights_of(g, n->in[0])) {
        return -1;
    }
    if (attr_float(n, "alpha", 1) != 1.0F || attr_float(n, "beta", 1) != 1.0F ||
        attr_int(n, "transA", 0)) {
        return -1;
    }
    return conv || (gemm && attr_int(n, "transB", 0)) ? 0 : 1;
}

/* The only node that reads a value, which is no graph output; -1. */
static int only_reader(const struct implicit_edit *e, int v)
{
    int first = e->uses.start[v];
    bool one = e->uses.start[v + 1] == first + 1 && !e->g->values[v].is_output;
    return one ? e->uses.node[first] : -1;
}

/* ---- BatchNormalization --------------------------------------------------------------------- */

static int add_constant(struct graph *g, const char *stem, const char *suffix, struct tensor *t)
{
    char *name = mem_printf("%s%s", stem, suffix);
    int v = graph_value(g, graph_fresh(g, name));
    free(name);
    g->values[v].constant = t;
    g->values[v].dtype = t->dtype;
    g->values[v].rank = t->rank;
    memcpy(g->values[v].dims, t->dims, sizeof t->dims);
    return v;
}

/* w' = w * s, b' = (b - mean) * s + beta with s = gamma / sqrt(var + epsilon), in double. */
static int fold_weights(const struct tensor *w, const struct tensor *b,
                        const struct tensor *const norm[4], double epsilon, struct tensor **w_out,
                        struct tensor **b_out, struct err *err)
{
    struct tensor *x = NULL, *y = NULL;
    int rc = tensor_new(DT_F32, w->rank, w->dims, NULL, &x, err);
    rc = rc ? rc : tensor_new(DT_F32, 1, w->dims, NULL, &y, err);
    size_t each = rc ? 0 : w->n / (size_t)w->dims[0];
    for (size_t c = 0; !rc && c < y->n; c++) {
        double s = tensor_f64(norm[0], c) / sqrt(tensor_f64(norm[3], c) + epsilon);
        double bias = b ? tensor_f64(b, c) : 0;
        ((float *)y->data)[c] =
            (float)((bias - tensor_f64(norm[2], c)) * s + tensor_f64(norm[1], c));
        for (size_t i = c * each; i < (c + 1) * each; i++) {
            ((float *)x->data)[i] = (float)(tensor_f64(w, i) * s);
        }
    }
    if (rc) {
        tensor_free(x);
        return rc;
    }
    *w_out = x;
    *b_out = y;
    return OK;
}

static int fold_norm(struct graph *g, int conv, int norm, struct err *err)
{
    const struct tensor *w = weights_of(g, g->nodes[conv].in[1]), *p[4];
    const struct node *c = &g->nodes[conv], *n = &g->nodes[norm];
    const struct tensor *b = c->n_in > 2 && c->in[2] >= 0 ? weights_of(g, c->in[2]) : NULL;
    bool fits = n->n_in == 5 && n->n_out == 1 && (b || c->n_in < 3 || c->in[2] < 0);
    for (int k = 0; k < 4 && fits; k++) {
        p[k] = weights_of(g, n->in[1 + k]);
        fits = p[k] && p[k]->n == (size_t)w->dims[0];
    }
    if (!fits || (b && b->n != (size_t)w->dims[0])) {
        return OK;
    }
    struct tensor *w_new = NULL, *b_new = NULL;
    int rc = fold_weights(w, b, p, (double)attr_float(n, "epsilon", 1e-5F), &w_new, &b_new, err);
    if (rc) {
        return rc;
    }
    const char *name = c->name;
    int in[3] = {c->in[0], add_constant(g, name, "_folded_weight", w_new),
                 add_constant(g, name, "_folded_bias", b_new)};
    struct node *made = graph_add_copy(g, &g->nodes[conv], name, in, g->nodes[norm].out);
    made->in = arena_alloc(&g->arena, sizeof in);
    memcpy(made->in, in, sizeof in);
    made->n_in = 3;
    g->nodes[conv].op = g->nodes[norm].op = NULL;
    return OK;
}

/* Convolutions take in the BatchNormalization behind them. */
static int fold_norms(struct graph *g, struct err *err)
{
    struct implicit_edit e = {.g = g, .uses = graph_uses(g)};
    int rc = OK;
    for (size_t i = 0, n = g->n_nodes; i < n && !rc; i++) {
        bool conv = is_op(&g->nodes[i], "Conv") && weighted_axis(g, &g->nodes[i]) == 0;
        int next = conv ? only_reader(&e, g->nodes[i].out[0]) : -1;
        if (next >= 0 && is_op(&g->nodes[next], "BatchNormalization")) {
            rc = fold_norm(g, (int)i, next, err);
        }
    }
    uses_fini(&e.uses);
    return rc ? rc : graph_finish(g, err);
}

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
    for (int next; (next = only_reader(e, v)) >= 0;) {
        const struct node *n = &e->g->nodes[next];
        if (is_op(n, "Relu") || (is_op(n, "Clip") && n->in[0] == v)) {
            return n->out[0];
        }
        if (!is_op(n, "Add") || n->n_in != 2) {
            break;
        }
        bool bias = weights_of(e->g, n->in[n->in[0] == v]) != NULL;
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

static int add_node(struct graph *g, const char *op, const char *stem, const int in[3], int out)
{
    char *name = mem_printf("%s_%s", stem, op);
    graph_add(g, op, "", graph_fresh(g, name), 3, in, 1, &out);
    free(name);
    return out;
}

static int add_value(struct graph *g, const char *stem, const char *suffix)
{
    char *name = mem_printf("%s%s", stem, suffix);
    int v = graph_value(g, graph_fresh(g, name));
    free(name);
    return v;
}

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
    *s = add_constant(g, stem, "_scale", st);
    *z = add_constant(g, stem, "_zero_point", zt);
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
    int codes = add_value(g, name, "_QuantizeLinear_Output");
    int real = add_value(g, name, "_DequantizeLinear_Output");
    for (int u = e->uses.start[v]; u < e->uses.start[v + 1]; u++) {
        struct node *n = &g->nodes[e->uses.node[u]];
        for (int k = 0; k < n->n_in; k++) {
            n->in[k] = n->in[k] == v ? real : n->in[k];
        }
        n->raw = (struct span){0}; /* written anew */
    }
    add_node(g, "QuantizeLinear", name, (const int[]){v, s, z}, codes);
    add_node(g, "DequantizeLinear", name, (const int[]){codes, s, z}, real);
    return OK;
}

/* Codes of w with scale max|w| / 127 per index of `axis`; a channel of zeros has scale 1. */
static int quantize_weights(const struct tensor *w, int axis, struct tensor **codes,
                            struct tensor **scales, struct tensor **zeros, struct err *err)
{
    struct tensor *q = NULL, *s = NULL, *z = NULL;
    int rc = tensor_new(DT_S8, w->rank, w->dims, NULL, &q, err);
    rc = rc ? rc : tensor_zeros(DT_F32, 1, &w->dims[axis], NULL, &s, err);
    rc = rc ? rc : tensor_zeros(DT_S8, 1, &w->dims[axis], NULL, &z, err);
    if (rc) {
        tensor_free(q);
        tensor_free(s);
        return rc;
    }
    size_t inner = 1;
    for (int d = axis + 1; d < w->rank; d++) {
        inner *= (size_t)w->dims[d];
    }
    float *scale = s->data;
    for (size_t i = 0; i < w->n; i++) {
        float *at = &scale[i / inner % s->n];
        *at = fmaxf(*at, fabsf((float)tensor_f64(w, i)));
    }
    for (size_t c = 0; c < s->n; c++) {
        scale[c] = scale[c] > 0 && isfinite(scale[c]) ? scale[c] / 127.0F : 1.0F;
    }
    for (size_t i = 0; i < w->n; i++) {
        float v = (float)tensor_f64(w, i) / scale[i / inner % s->n];
        ((int8_t *)q->data)[i] = (int8_t)lrintf(fminf(fmaxf(v, -127.0F), 127.0F));
    }
    *codes = q;
    *scales = s;
    *zeros = z;
    return OK;
}

static int quantize_node(struct graph *g, size_t node, int axis, struct err *err)
{
    struct tensor *q = NULL, *s = NULL, *z = NULL;
    const char *name = g->values[g->nodes[node].in[1]].name;
    int rc = quantize_weights(weights_of(g, g->nodes[node].in[1]), axis, &q, &s, &z, err);
    if (rc) {
        return rc;
    }
    int in[3] = {add_constant(g, name, "_quantized", q), add_constant(g, name, "_scale", s),
                 add_constant(g, name, "_zero_point", z)};
    int real = add_value(g, name, "_DequantizeLinear_Output");
    add_node(g, "DequantizeLinear", name, in, real);
    graph_attr_int(g, &g->nodes[g->n_nodes - 1], "axis", axis);
    g->nodes[node].in[1] = real;
    g->nodes[node].raw = (struct span){0};
    return OK;
}

/* ---- The whole ------------------------------------------------------------------------------ */

static int check_float(const struct graph *g, struct err *err)
{
    if (g->dialect != DIALECT_ONNX) {
        return err_set(err, E_UNSUPPORTED, "a calibration cache goes with an ONNX model");
    }
    for (size_t i = 0; i < g->n_nodes; i++) {
        const struct node *n = &g->nodes[i];
        if (strstr(n->op, "QuantizeLinear") || strstr(n->op, "quantizeLinear") ||
            strncmp(n->op, "QLinear", 7) == 0 || strstr(n->op, "Integer")) {
            return err_set(err, E_UNSUPPORTED,
                           "node '%.120s' (%s): a calibration cache goes with the FP32 model, this "
                           "one is quantized",
                           n->name, n->op);
        }
    }
    return OK;
}

/* A scale per channel needs DequantizeLinear-13: older models are spelled anew. */
static int raise_opset(struct graph *g, const struct graph *fp32, struct err *err)
{
    enum { PER_CHANNEL_OPSET = 13 };
    size_t n = g->n_nodes;
    int rc = OK;
    if (g->opset >= PER_CHANNEL_OPSET) {
        return OK;
    }
    g->opset = PER_CHANNEL_OPSET;
    for (size_t i = 0; i < n && !rc; i++) {
        g->nodes[i].op = NULL;
        const struct node *old = &fp32->nodes[i];
        rc = node_upgrade(g, fp32, old, old->in, old->out, err);
        rc = rc ? err_in(err, "node '%.120s' (%s)", old->name, old->op) : OK;
    }
    return rc ? rc : graph_finish(g, err);
}

/* Marks what is quantized; the weighted nodes themselves at once. */
static int quantize_nodes(struct implicit_edit *e, struct implicit *report, struct err *err)
{
    struct graph *g = e->g;
    int rc = OK;
    for (size_t i = 0, n = g->n_nodes; i < n && !rc; i++) {
        int axis = weighted_axis(g, &g->nodes[i]), residual;
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
    int rc = check_float(fp32, err);
    if (rc) {
        return rc;
    }
    struct graph *g = graph_clone(fp32);
    struct implicit found = {0};
    rc = raise_opset(g, fp32, err);
    rc = rc ? rc : fold_norms(g, err);
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
