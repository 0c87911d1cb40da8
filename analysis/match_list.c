/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * match_list.c: the result of a matching: layers in network order with the names people know them
 * by, and what found no counterpart, with the reason.
 */
#include "analysis/matcher.h"

#include <stdlib.h>

static int channel_axis(const struct matcher *m, int v)
{
    static const char *const second[] = {"Conv",
                                         "BatchNormalization",
                                         "MaxPool",
                                         "AveragePool",
                                         "GlobalAveragePool",
                                         "ConvTranspose",
                                         "Resize",
                                         "PRelu",
                                         "InstanceNormalization",
                                         "GlobalMaxPool"};
    static const char *const last[] = {"MatMul",
                                       "Gemm",
                                       "LayerNormalization",
                                       "CONV_2D",
                                       "DEPTHWISE_CONV_2D",
                                       "FULLY_CONNECTED",
                                       "AVERAGE_POOL_2D",
                                       "MAX_POOL_2D",
                                       "RESIZE_BILINEAR",
                                       "RESIZE_NEAREST_NEIGHBOR"};
    for (int hops = 0; v >= 0 && hops < 16; hops++) {
        const struct node *n = match_producer(m->f, v);
        if (!n) {
            return CHANNEL_NONE;
        }
        for (size_t k = 0; k < COUNT(second); k++) {
            if (strcmp(node_plain_op(n), second[k]) == 0) {
                return 1;
            }
        }
        for (size_t k = 0; k < COUNT(last); k++) {
            if (strcmp(node_plain_op(n), last[k]) == 0) {
                return CHANNEL_LAST;
            }
        }
        if (!match_activation(&m->qf, n->n_in ? n->in[0] : -1) ||
            channels_of_pair(m->f, m->f, &m->f->values[v], &m->f->values[n->in[0]]) !=
                CHANNELS_SAME ||
            node_is(n, "Softmax") || node_is(n, "SOFTMAX") || node_is(n, "Transpose") ||
            node_is(n, "TRANSPOSE")) {
            return CHANNEL_NONE;
        }
        v = n->in[0]; /* elementwise: the axis of what it works on */
    }
    return CHANNEL_NONE;
}

/* The node people know the layer by: behind an absorbed Relu or Clip, the operator that the INT8
 * side has. */
static const struct node *main_node(const struct matcher *m, int v, const struct node *b)
{
    const struct node *made = match_producer(m->f, v), *n = made;
    while (n && !nodes_agree(m->f, m->i, n, b) && match_absorbable(n) && n->n_in && n->in[0] >= 0 &&
           m->to_int8[n->in[0]] < 0) {
        n = match_producer(m->f, n->in[0]);
    }
    return n && nodes_agree(m->f, m->i, n, b) ? n : made;
}

static const char *layer_name(const struct matcher *m, int v)
{
    const struct node *b = match_unit_node(&m->qi, m->to_int8[v]);
    return (b ? main_node(m, v, b) : match_producer(m->f, v))->name;
}

static int make_layer(struct matcher *m, int v, struct err *err)
{
    struct layer *l = &m->out->layers[m->out->n_layers];
    int unit = m->to_int8[v];
    const struct qvalue *q = &m->qi.v[unit];
    const struct node *a = match_producer(m->f, v), *b = match_unit_node(&m->qi, unit);
    *l = (struct layer){
        .name = layer_name(m, v),
        .op = b ? node_plain_op(b) : a->op,
        .fp32 = v,
        .int8 = unit,
        .int8_float = q->codes ? q->read_as : unit,
        .by = m->by[v],
        .channel_axis = channel_axis(m, v),
        .pinnable = true,
        .moved = channels_of_pair(m->f, m->i, &m->f->values[v], &m->i->values[unit]),
    };
    l->moved = l->moved == CHANNELS_OTHER ? CHANNELS_SAME : l->moved; /* by hand: as they are */
    int rc = qmodel_read(&m->qi, unit, &m->out->arena, &l->q, &l->quantized, err);
    m->out->n_layers += !rc;
    return rc;
}

int match_list_layers(struct matcher *m, struct err *err)
{
    size_t count = 0;
    for (size_t v = 0; v < m->f->n_values; v++) {
        count += m->to_int8[v] >= 0;
    }
    if (!count) {
        return err_set(err, E_SHAPE,
                       "the models do not belong together: no activation of '%s' has "
                       "a counterpart in '%s'",
                       m->f->path, m->i->path);
    }
    m->out->layers = arena_alloc(&m->out->arena, count * sizeof *m->out->layers);
    for (size_t k = 0; k < m->f->n_nodes; k++) {
        for (int o = 0; o < m->f->nodes[k].n_out; o++) {
            int v = m->f->nodes[k].out[o];
            if (v >= 0 && m->to_int8[v] >= 0) {
                int rc = make_layer(m, v, err);
                if (rc) {
                    return rc;
                }
            }
        }
    }
    return OK;
}

static void list_unmatched(struct matcher *m, enum side side, const char *tensor, const char *op,
                           const char *reason)
{
    m->out->unmatched[m->out->n_unmatched++] =
        (struct unmatched){.tensor = tensor, .op = op, .side = side, .reason = reason};
}

/* Where an unmatched FP32 activation went: the next matched one behind it. */
static const char *fate(struct matcher *m, int v)
{
    if (match_integer_type(m->f->values[v].dtype)) {
        return "integer tensor, nothing to measure";
    }
    for (int at = v, hops = 0; hops < 8; hops++) {
        int first = m->qf.uses.start[at];
        if (first == m->qf.uses.start[at + 1]) {
            break;
        }
        at = m->f->nodes[m->qf.uses.node[first]].out[0];
        if (at < 0) {
            break;
        }
        if (m->to_int8[at] >= 0) {
            return arena_printf(&m->out->arena, "fused into '%s' in INT8", layer_name(m, at));
        }
    }
    return "no counterpart in INT8";
}

void match_list_unmatched(struct matcher *m)
{
    m->out->unmatched =
        arena_alloc(&m->out->arena, (m->f->n_values + m->i->n_values) * sizeof *m->out->unmatched);
    for (size_t k = 0; k < m->f->n_nodes; k++) {
        for (int o = 0; o < m->f->nodes[k].n_out; o++) {
            int v = m->f->nodes[k].out[o];
            if (match_activation(&m->qf, v) && m->to_int8[v] < 0) {
                list_unmatched(m, SIDE_FP32, m->f->values[v].name, m->f->nodes[k].op, fate(m, v));
            }
        }
    }
    for (size_t v = 0; v < m->i->n_values; v++) {
        const struct node *n = match_producer(m->i, (int)v);
        if (!n || m->qi.v[v].unit != (int)v || m->to_fp32[v] >= 0 || m->qi.v[v].constant) {
            continue;
        }
        int from = m->qi.v[v].made_from;
        if (from >= 0 && m->i->values[from].is_input) {
            continue; /* the quantized input: not a layer */
        }
        bool integer = !m->qi.v[v].codes && match_integer_type(m->i->values[v].dtype);
        const struct node *made = match_unit_node(&m->qi, (int)v);
        list_unmatched(m, SIDE_INT8, m->i->values[v].name, made ? made->op : n->op,
                       integer ? "integer tensor, nothing to measure" : "no counterpart in FP32");
    }
}

/* ---- One model, and afterwards --------------------------------------------------------------- */

void match_single(const struct graph *g, enum side side, struct match *out)
{
    *out = (struct match){0};
    struct matcher m = {.f = g};
    qmodel_init(&m.qf, g);
    const struct qmodel q = m.qf;
    out->layers = arena_alloc(&out->arena, g->n_values * sizeof *out->layers);
    for (size_t k = 0; k < g->n_nodes; k++) {
        const struct node *n = &g->nodes[k];
        for (int o = 0; o < n->n_out; o++) {
            int v = n->out[o], unit = v >= 0 ? q.v[v].unit : -1;
            if (unit != v || v < 0) {
                continue; /* constants, and floats that stand for codes */
            }
            const struct node *made = match_unit_node(&q, unit);
            struct layer *l = &out->layers[out->n_layers];
            *l = (struct layer){.name = made ? made->name : n->name,
                                .op = node_plain_op(made ? made : n),
                                .fp32 = side == SIDE_FP32 ? v : -1,
                                .int8 = side == SIDE_INT8 ? v : -1,
                                .int8_float = q.v[v].codes ? q.v[v].read_as : v,
                                .channel_axis = channel_axis(&m, v)};
            if (qmodel_read(&q, v, &out->arena, &l->q, &l->quantized, NULL)) {
                l->quantized = false;
            }
            out->n_layers++;
        }
    }
    out->n_inputs = g->n_inputs;
    out->n_outputs = g->n_outputs;
    out->outputs = arena_alloc(&out->arena, g->n_outputs * sizeof *out->outputs);
    for (size_t k = 0; k < g->n_outputs; k++) {
        out->outputs[k][side == SIDE_FP32 ? 0 : 1] = g->outputs[k];
        out->outputs[k][side == SIDE_FP32 ? 1 : 0] = -1;
    }
    qmodel_fini(&m.qf);
}

/* Depth-first from the layer's tensor; what is constant or matched itself is not part of it. */
static void collect_nodes(const struct qmodel *q, const bool *matched, int v, int *nodes, size_t *n)
{
    int at = q->g->values[v].producer;
    for (size_t k = 0; k < *n; k++) {
        at = nodes[k] == at ? -1 : at;
    }
    if (at < 0 || q->v[v].constant || *n == LAYER_NODES) {
        return;
    }
    nodes[(*n)++] = at;
    for (int k = 0; k < q->g->nodes[at].n_in; k++) {
        int x = q->g->nodes[at].in[k];
        if (x >= 0 && !matched[x]) {
            collect_nodes(q, matched, x, nodes, n);
        }
    }
}

static bool *matched_values(const struct graph *fp32, const struct match *m)
{
    bool *matched = mem_alloc(fp32->n_values + 1);
    for (size_t k = 0; k < m->n_layers; k++) {
        matched[m->layers[k].fp32] = true;
    }
    return matched;
}

size_t layer_nodes(const struct graph *fp32, const struct match *m, size_t layer,
                   int nodes[LAYER_NODES])
{
    struct qmodel q;
    size_t n = 0;
    qmodel_init(&q, fp32);
    bool *matched = matched_values(fp32, m);
    collect_nodes(&q, matched, m->layers[layer].fp32, nodes, &n);
    free(matched);
    qmodel_fini(&q);
    return n;
}

void layers_nodes(const struct graph *fp32, const struct match *m,
                  void (*each)(void *ctx, size_t layer, size_t n, const int *nodes), void *ctx)
{
    struct qmodel q;
    qmodel_init(&q, fp32);
    bool *matched = matched_values(fp32, m);
    for (size_t k = 0; k < m->n_layers; k++) {
        int nodes[LAYER_NODES];
        size_t n = 0;
        collect_nodes(&q, matched, m->layers[k].fp32, nodes, &n);
        each(ctx, k, n, nodes);
    }
    free(matched);
    qmodel_fini(&q);
}

void match_fini(struct match *m)
{
    arena_fini(&m->arena);
    *m = (struct match){0};
}
