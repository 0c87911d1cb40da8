/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * whatif.c: which weights of an FP32 and an INT8 model correspond, what other codes would make of
 * them, and the changes that say so.
 */
#include "analysis/recode.h"

#include <math.h>
#include <stdlib.h>

/* ---- What corresponds ----------------------------------------------------------------------- */

/* Whether a node of the INT8 graph may stand between a layer's weights and its codes. */
static bool passes(const struct node *n)
{
    static const char *const ops[] = {"Relu", "Clip", "LeakyRelu", "PRelu", "Max", "Min"};
    bool found = node_is_quantize(n);
    for (size_t i = 0; i < COUNT(ops); i++) {
        found |= node_is(n, ops[i]);
    }
    return found && n->n_in > 0;
}

/* The node with coded weights that makes v, back to the nearest dequantizer; -1. */
static int weighted_of(const struct graph *g, int v)
{
    enum { FARTHEST = 6 };
    for (int hops = 0; v >= 0 && hops < FARTHEST; hops++) {
        struct recoded r;
        int at = g->values[v].producer;
        if (at < 0) {
            return -1;
        }
        if (recoded_read(g, at, &r)) {
            return at;
        }
        v = passes(&g->nodes[at]) ? g->nodes[at].in[0] : -1;
    }
    return -1;
}

struct finding_nodes {
    const struct graph *fp32;
    struct whatif *w;
};

static void find_nodes(void *ctx, size_t layer, size_t n, const int *nodes)
{
    const struct finding_nodes *f = ctx;
    struct whatif *w = f->w;
    for (size_t i = 0; i < n && w->node[SIDE_FP32][layer] < 0; i++) {
        int at = graph_find_node(w->prepared, f->fp32->nodes[nodes[i]].name);
        w->node[SIDE_FP32][layer] =
            at >= 0 && edit_weight_axis(w->prepared, &w->prepared->nodes[at]) >= 0 ? at : -1;
    }
    w->node[SIDE_INT8][layer] = weighted_of(w->int8, w->match->layers[layer].int8);
}

int whatif_open(const struct graph *fp32, const struct graph *int8, const struct match *m,
                struct whatif *w, struct err *err)
{
    *w = (struct whatif){.int8 = int8, .match = m};
    if (int8->dialect != DIALECT_ONNX) {
        return err_set(err, E_UNSUPPORTED, "only ONNX models can be changed");
    }
    int rc = quantize_prepare(fp32, &w->prepared, err);
    if (rc) {
        return rc;
    }
    for (int side = 0; side < 2; side++) {
        w->node[side] = mem_alloc((m->n_layers + 1) * sizeof *w->node[side]);
        memset(w->node[side], 0xff, m->n_layers * sizeof *w->node[side]);
    }
    w->layer_of = mem_alloc((w->prepared->n_values + 1) * sizeof *w->layer_of);
    memset(w->layer_of, 0xff, w->prepared->n_values * sizeof *w->layer_of);
    for (size_t k = 0; k < m->n_layers; k++) {
        int v = graph_find(w->prepared, fp32->values[m->layers[k].fp32].name);
        if (v >= 0) {
            w->layer_of[v] = (int)k;
        }
    }
    struct finding_nodes f = {fp32, w};
    layers_nodes(fp32, m, find_nodes, &f);
    return OK;
}

void whatif_close(struct whatif *w)
{
    graph_free(w->prepared);
    free(w->node[0]);
    free(w->node[1]);
    free(w->layer_of);
    *w = (struct whatif){0};
}

bool whatif_has_weights(const struct whatif *w, size_t layer)
{
    return w->node[SIDE_FP32][layer] >= 0 && w->node[SIDE_INT8][layer] >= 0;
}

static const struct node *fp32_node(const struct whatif *w, size_t layer)
{
    return &w->prepared->nodes[w->node[SIDE_FP32][layer]];
}

static const struct node *int8_node(const struct whatif *w, size_t layer)
{
    return &w->int8->nodes[w->node[SIDE_INT8][layer]];
}

/* ---- Weights -------------------------------------------------------------------------------- */

/* The layer's codes in INT8 and its weights in FP32; with a zero point in any case, which
 * tensor_free() takes back. */
static int read_both(const struct whatif *w, size_t layer, struct recoded *r,
                     const struct tensor **fp32, struct tensor **zero, struct err *err)
{
    const struct node *n = fp32_node(w, layer);
    recoded_read(w->int8, w->node[SIDE_INT8][layer], r);
    *fp32 = edit_float(w->prepared, n->in[1]);
    *zero = tensor_ref(r->w.zero);
    int rc = r->w.zero ? OK
                       : tensor_zeros(r->w.codes->dtype, r->w.scale->rank, r->w.scale->dims, NULL,
                                      zero, err);
    r->w.zero = *zero;
    const struct tensor *c = r->w.codes;
    if (!rc && (c->n != (*fp32)->n || c->rank != (*fp32)->rank ||
                memcmp(c->dims, (*fp32)->dims, (size_t)c->rank * sizeof *c->dims) != 0)) {
        tensor_free(*zero);
        rc = err_set(err, E_SHAPE, "'%.120s' has weights of another shape in INT8", n->name);
    }
    return rc;
}

int whatif_weights_now(const struct whatif *w, size_t layer, struct weights_now *out,
                       struct err *err)
{
    struct recoded r;
    const struct tensor *fp32;
    struct tensor *zero;
    int rc = read_both(w, layer, &r, &fp32, &zero, err);
    if (rc) {
        return rc;
    }
    int64_t lo, hi;
    enum dtype d = r.w.codes->dtype;
    dtype_range(d, &lo, &hi);
    *out = (struct weights_now){.codes = {.dtype = d, .symmetric = true},
                                .per_channel = r.w.scale->n > 1,
                                .sqnr = coded_sqnr(fp32, r.w.scale->n > 1 ? r.axis : -1, &r.w)};
    for (size_t i = 0; i < zero->n; i++) {
        out->codes.symmetric &= tensor_s64(zero, i) == (lo + hi + 1) / 2;
    }
    tensor_free(zero);
    return OK;
}

struct edit whatif_weights(const struct whatif *w, size_t layer, const struct code_choice *c,
                           bool per_channel, bool least_error)
{
    return (struct edit){.kind = EDIT_WEIGHTS,
                         .at = mem_dup(fp32_node(w, layer)->name),
                         .to = mem_dup(int8_node(w, layer)->name),
                         .codes = *c,
                         .per_channel = per_channel,
                         .least_error = least_error};
}

double whatif_weights_sqnr(const struct whatif *w, size_t layer, const struct code_choice *c,
                           bool per_channel, bool least_error)
{
    const struct node *n = fp32_node(w, layer);
    const struct tensor *t = edit_float(w->prepared, n->in[1]);
    const struct edit change = {.codes = *c, .least_error = least_error};
    int axis = per_channel ? edit_weight_axis(w->prepared, n) : -1;
    struct coded coded = {0};
    int rc = recoded_choose(t, axis, &change, &coded, NULL);
    rc = rc ? rc : coded_values(t, axis, &coded, NULL);
    double db = rc ? NAN : coded_sqnr(t, axis, &coded);
    coded_fini(&coded);
    return db;
}

/* ---- Biases --------------------------------------------------------------------------------- */

int whatif_bias(const struct whatif *w, size_t layer, const struct observation *seen,
                struct edit *out, struct bias_shift *shift, struct err *err)
{
    struct recoded r;
    const struct tensor *fp32;
    struct tensor *zero, *sum = NULL;
    const struct node *n = fp32_node(w, layer);
    const struct observation *x = &seen[n->in[0]];
    int rc = read_both(w, layer, &r, &fp32, &zero, err);
    if (rc) {
        return rc;
    }
    if (r.bias < 0 || !x->n_channels || x->nonfinite) {
        tensor_free(zero);
        return err_set(err, E_UNSUPPORTED, "'%.120s' (%s) %s", n->name, int8_node(w, layer)->op,
                       r.bias < 0       ? "has no bias"
                       : !x->n_channels ? "has an input whose channels are not known"
                                        : "has an input with NaN or infinity");
    }
    const struct inputs_mean mean = {x->n_channels, x->channel_sum, x->per_channel};
    size_t group = edit_is(n, "Conv") ? (size_t)attr_int(n, "group", 1) : 1;
    if (!group || (size_t)fp32->dims[0] % group) {
        tensor_free(zero);
        return err_set(err, E_SHAPE, "'%.120s' has %zu groups", n->name, group);
    }
    rc = coded_correction(fp32, edit_weight_axis(w->prepared, n), &r.w,
                          r.w.scale->n > 1 ? r.axis : -1, group, &mean, NULL, &sum, err);
    tensor_free(zero);
    if (rc) {
        return err_in(err, "node '%.120s'", n->name);
    }
    *out = (struct edit){.kind = EDIT_BIAS,
                         .at = mem_dup(n->name),
                         .to = mem_dup(int8_node(w, layer)->name),
                         .n = sum->n};
    out->v = mem_alloc((sum->n + 1) * sizeof *out->v);
    *shift = (struct bias_shift){0};
    for (size_t i = 0; i < sum->n; i++) {
        double v = tensor_f64(sum, i);
        out->v[i] = (float)v;
        shift->largest = fmax(shift->largest, fabs(v));
        shift->rms += v * v / (double)sum->n;
    }
    shift->rms = sqrt(shift->rms);
    tensor_free(sum);
    return OK;
}
