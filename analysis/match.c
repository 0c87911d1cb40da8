/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * match.c: pairs the activations of an FP32 graph with those of its INT8 version.
 *
 * In order of trust: by hand; by tensor or node name (the tools keep them); by the suffixes that
 * quantizers add; by topology (a node of the same operator on matched inputs). What quantization
 * absorbed (Relu, Clip, BatchNormalization in front of a quantizer) is told apart afterwards, so
 * that a clipped INT8 tensor is never compared with the tensor before the clip.
 */
#include "analysis/analysis.h"
#include "analysis/qmodel.h"

#include <stdlib.h>

struct matcher {
    const struct graph *f, *i; /* FP32, INT8 */
    struct qmodel qf, qi;
    int *to_int8;      /* FP32 value -> INT8 unit, -1 */
    int *to_fp32;      /* INT8 unit -> FP32 value, -1 */
    enum match_by *by; /* per FP32 value */
    struct match *out;
};

const char *match_by_name(enum match_by by)
{
    static const char *const names[] = {"name", "qdq", "topology", "hand"};
    return names[by];
}

/* ---- Candidates ----------------------------------------------------------------------------- */

static bool is_activation(const struct qmodel *q, int v)
{
    return v >= 0 && !q->v[v].constant && q->g->values[v].producer >= 0;
}

static const struct node *producer(const struct graph *g, int v)
{
    return g->values[v].producer >= 0 ? &g->nodes[g->values[v].producer] : NULL;
}

/* Operator that makes an INT8 unit, behind its quantizer. */
static const struct node *unit_node(const struct qmodel *q, int unit)
{
    int v = q->v[unit].made_from >= 0 ? q->v[unit].made_from : unit;
    return producer(q->g, v);
}

static bool is_integer_type(enum dtype d)
{
    return d != DT_NONE && !dtype_is_float(d);
}

/* Pairs FP32 value v with an INT8 unit when both are free and fit. */
static bool pair(struct matcher *m, int v, int unit, enum match_by by)
{
    if (v < 0 || unit < 0 || m->to_int8[v] >= 0 || m->to_fp32[unit] >= 0 ||
        !is_activation(&m->qf, v) || !is_activation(&m->qi, unit)) {
        return false;
    }
    if (is_integer_type(m->f->values[v].dtype) ||
        (is_integer_type(m->i->values[unit].dtype) && !m->qi.v[unit].codes)) {
        return false;
    }
    if (by != MATCH_HAND &&
        channels_of_pair(m->f, m->i, &m->f->values[v], &m->i->values[unit]) == CHANNELS_OTHER) {
        return false;
    }
    m->to_int8[v] = unit;
    m->to_fp32[unit] = v;
    m->by[v] = by;
    return true;
}

/* ---- Operators of two formats --------------------------------------------------------------- */

/* Where an FP32 value comes from, past the transposes that only change the layout. */
static int fp32_source(const struct matcher *m, int v)
{
    for (const struct node *n; m->f->dialect != m->i->dialect && v >= 0 &&
                               (n = producer(m->f, v)) && node_is(n, "Transpose") &&
                               m->to_int8[v] < 0;) {
        v = n->in[0];
    }
    return v;
}

/* ---- By hand and by name -------------------------------------------------------------------- */

/* A tensor name, or the first output of a node of that name. */
static int named_value(const struct graph *g, const char *name)
{
    int v = graph_find(g, name);
    if (v < 0) {
        int n = graph_find_node(g, name);
        v = n >= 0 && g->nodes[n].n_out ? g->nodes[n].out[0] : -1;
    }
    return v;
}

static int match_hand(struct matcher *m, size_t n, const struct match_pair *hand, struct err *err)
{
    for (size_t k = 0; k < n; k++) {
        int a = named_value(m->f, hand[k].fp32), b = named_value(m->i, hand[k].int8);
        if (a < 0 || b < 0) {
            return err_set(err, E_USAGE, "no tensor or node '%s' in the %s model",
                           a < 0 ? hand[k].fp32 : hand[k].int8, a < 0 ? "FP32" : "INT8");
        }
        if (!pair(m, a, m->qi.v[b].unit, MATCH_HAND)) {
            return err_set(err, E_USAGE,
                           "'%s' and '%s' cannot be compared: both must be "
                           "activations, each matched once",
                           hand[k].fp32, hand[k].int8);
        }
    }
    return OK;
}

static const char *const suffixes[] = {
    "_QuantizeLinear_Output",   "_QuantizeLinear_Input", "_QuantizeLinear", "_quantized",
    "_DequantizeLinear_Output", "_DequantizeLinear",     "_dequantized",    "_quant",
};

/* Length of name without a quantizer's suffix. */
static size_t stem_length(const char *name)
{
    size_t n = strlen(name);
    for (size_t s = 0; s < COUNT(suffixes); s++) {
        size_t k = strlen(suffixes[s]);
        if (n > k && strcmp(name + n - k, suffixes[s]) == 0) {
            return n - k;
        }
    }
    return n;
}

static void match_tensor_names(struct matcher *m)
{
    for (int exact = 1; exact >= 0; exact--) {
        for (size_t v = 0; v < m->i->n_values; v++) {
            const char *name = m->i->values[v].name;
            size_t n = exact ? strlen(name) : stem_length(name);
            if (!exact && n == strlen(name)) {
                continue;
            }
            char *stem = mem_printf("%.*s", (int)n, name);
            pair(m, graph_find(m->f, stem), m->qi.v[v].unit, exact ? MATCH_NAME : MATCH_QDQ);
            free(stem);
        }
    }
}

/* Nodes of the same name and operator: their outputs. */
static void match_node_names(struct matcher *m)
{
    struct strmap by_name = {0};
    for (size_t k = 0; k < m->f->n_nodes; k++) {
        strmap_put(&by_name, m->f->nodes[k].name, (int)k);
    }
    for (size_t k = 0; k < m->i->n_nodes; k++) {
        const struct node *b = &m->i->nodes[k];
        char *stem = mem_printf("%.*s", (int)stem_length(b->name), b->name);
        int at = strmap_get(&by_name, stem, -1);
        free(stem);
        const struct node *a = at >= 0 ? &m->f->nodes[at] : NULL;
        if (!a || !nodes_agree(m->f, m->i, a, b)) {
            continue;
        }
        for (int o = 0; o < MIN(a->n_out, b->n_out); o++) {
            if (a->out[o] >= 0 && b->out[o] >= 0) {
                pair(m, a->out[o], m->qi.v[b->out[o]].unit, MATCH_NAME);
            }
        }
    }
    strmap_fini(&by_name);
}

/* ---- What quantization absorbed ------------------------------------------------------------- */

static bool absorbable(const struct node *n)
{
    return node_is(n, "Relu") || node_is(n, "Clip") || node_is(n, "BatchNormalization");
}

static const struct node *only_consumer(const struct qmodel *q, int v)
{
    int a = q->uses.start[v], b = q->uses.start[v + 1];
    return b - a == 1 && !q->g->values[v].is_output ? &q->g->nodes[q->uses.node[a]] : NULL;
}

/* Whether some consumer of an INT8 unit's float readings is the operator `op`. */
static bool unit_has_consumer(const struct matcher *m, int unit, const char *op)
{
    const struct graph *g = m->i;
    for (size_t k = 0; k < g->n_nodes; k++) {
        for (int x = 0; x < g->nodes[k].n_in; x++) {
            int v = g->nodes[k].in[x];
            if (v >= 0 && m->qi.v[v].unit == unit && strcmp(node_plain_op(&g->nodes[k]), op) == 0) {
                return true;
            }
        }
    }
    return false;
}

/* Adds a constant: the bias of a MatMul, which TFLite's operators add themselves. */
static bool adds_bias(const struct matcher *m, const struct node *n, int x)
{
    return m->f->dialect != m->i->dialect && node_is(n, "Add") && n->n_in == 2 &&
           m->qf.v[n->in[n->in[0] == x]].constant && producer(m->f, x) &&
           strcmp(node_family(producer(m->f, x)), "MatMul") == 0;
}

/* An FP32 tensor whose only reader is an activation function that the INT8 model does not have any
 * more: the INT8 tensor is what comes after it. */
static void move_past(struct matcher *m, int at)
{
    int unit = m->to_int8[at];
    if (unit < 0 || !m->qi.v[unit].codes || m->by[at] == MATCH_HAND) {
        return;
    }
    for (const struct node *n; (n = only_consumer(&m->qf, at)) &&
                               ((absorbable(n) && n->in[0] == at) || adds_bias(m, n, at)) &&
                               n->out[0] >= 0 && m->to_int8[n->out[0]] < 0 &&
                               !unit_has_consumer(m, unit, n->op);) {
        m->to_int8[at] = -1;
        at = n->out[0];
        m->to_int8[at] = unit;
        m->to_fp32[unit] = at;
        m->by[at] = MATCH_TOPOLOGY;
    }
}

static void move_past_absorbed(struct matcher *m)
{
    for (size_t v = 0; v < m->f->n_values; v++) {
        move_past(m, (int)v);
    }
}

/* ---- By topology ---------------------------------------------------------------------------- */

/* FP32 value that stands for one INT8 unit, inputs of the graph included. */
static int fp32_of_unit(const struct matcher *m, int unit)
{
    if (m->to_fp32[unit] >= 0) {
        return m->to_fp32[unit];
    }
    int from = m->qi.v[unit].made_from >= 0 ? m->qi.v[unit].made_from : unit;
    for (size_t k = 0; k < m->i->n_inputs && k < m->f->n_inputs; k++) {
        if (m->i->inputs[k] == from) {
            return m->f->inputs[k];
        }
    }
    return -1;
}

enum { MAX_HOPS = 8 };

/* FP32 value that stands for an INT8 value. Codes turned into other codes, or padded for the
 * operator behind them, stand for what they were. */
static int fp32_of(const struct matcher *m, int v)
{
    for (int hops = 0; hops < MAX_HOPS; hops++) {
        int unit = v >= 0 ? m->qi.v[v].unit : -1;
        int x = unit >= 0 ? fp32_of_unit(m, unit) : -1;
        const struct node *n = unit >= 0 ? producer(m->i, unit) : NULL;
        if (x >= 0 || !n || !(node_is(n, "QUANTIZE") || node_is(n, "PAD"))) {
            return x;
        }
        v = n->in[0];
    }
    return -1;
}

/* The constant a data input comes from: through DequantizeLinear on the INT8 side. */
static const struct tensor *weight_of(const struct graph *g, int v)
{
    const struct node *n = v >= 0 && !g->values[v].constant ? producer(g, v) : NULL;
    if (n && node_is_dequantize(n)) {
        v = n->in[0];
    }
    return v >= 0 ? g->values[v].constant : NULL;
}

/* Data inputs agree: activations matched with each other, weights of equal shape. */
static bool inputs_agree(const struct matcher *m, const struct node *a, const struct node *b)
{
    int pos[8], n = node_data_inputs(b, pos, 8), matched = 0;
    for (int k = 0; k < n; k++) {
        int vb = b->in[pos[k]], va = k < a->n_in ? a->in[k] : -1;
        if (vb < 0 || va < 0) {
            continue;
        }
        const struct tensor *wb = weight_of(m->i, vb), *wa = weight_of(m->f, va);
        if (m->qi.v[vb].constant && m->qf.v[va].constant) {
            if (wa && wb && wa->n != wb->n) {
                return false;
            }
            continue;
        }
        if (fp32_of(m, vb) != fp32_source(m, va)) {
            return false;
        }
        matched++;
    }
    return matched > 0;
}

/* First free FP32 node of the same operator that reads x, directly or transposed. */
static const struct node *twin_behind(const struct matcher *m, const struct node *b, int x,
                                      int hops)
{
    for (int u = m->qf.uses.start[x]; u < m->qf.uses.start[x + 1]; u++) {
        const struct node *a = &m->f->nodes[m->qf.uses.node[u]];
        if (!a->n_out || a->out[0] < 0) {
            continue;
        }
        if (nodes_agree(m->f, m->i, a, b) && m->to_int8[a->out[0]] < 0 && inputs_agree(m, a, b)) {
            return a;
        }
        bool layout = hops && node_is(a, "Transpose") && m->f->dialect != m->i->dialect;
        const struct node *behind = layout ? twin_behind(m, b, a->out[0], hops - 1) : NULL;
        if (behind) {
            return behind;
        }
    }
    return NULL;
}

/* First free FP32 node of the same operator behind the same inputs. */
static const struct node *twin(const struct matcher *m, const struct node *b)
{
    int pos[8], n = node_data_inputs(b, pos, 8);
    const struct node *found = NULL;
    for (int k = 0; k < n && !found; k++) {
        int x = b->in[pos[k]] >= 0 ? fp32_of(m, b->in[pos[k]]) : -1;
        found = x >= 0 ? twin_behind(m, b, x, MAX_HOPS) : NULL;
    }
    return found;
}

static void match_topology(struct matcher *m)
{
    for (size_t k = 0; k < m->i->n_nodes; k++) {
        const struct node *b = &m->i->nodes[k];
        int unit = b->n_out && b->out[0] >= 0 ? m->qi.v[b->out[0]].unit : -1;
        if (unit < 0 || m->to_fp32[unit] >= 0 || node_is_quantize(b) || node_is_dequantize(b)) {
            continue;
        }
        const struct node *a = twin(m, b);
        for (int o = 0; a && o < MIN(a->n_out, b->n_out); o++) {
            if (a->out[o] >= 0 && b->out[o] >= 0) {
                pair(m, a->out[o], m->qi.v[b->out[o]].unit, MATCH_TOPOLOGY);
            }
        }
        if (a && a->out[0] >= 0 && m->f->dialect != m->i->dialect) {
            move_past(m, a->out[0]); /* what comes next reads the tensor behind it */
        }
    }
    for (size_t k = 0; k < MIN(m->f->n_outputs, m->i->n_outputs); k++) {
        pair(m, m->f->outputs[k], m->qi.v[m->i->outputs[k]].unit, MATCH_TOPOLOGY);
    }
}

/* ---- The result ----------------------------------------------------------------------------- */

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
        const struct node *n = producer(m->f, v);
        if (!n) {
            return CHANNEL_NONE;
        }
        for (size_t k = 0; k < COUNT(second); k++) {
            if (node_is(n, second[k])) {
                return 1;
            }
        }
        for (size_t k = 0; k < COUNT(last); k++) {
            if (node_is(n, last[k])) {
                return CHANNEL_LAST;
            }
        }
        if (!is_activation(&m->qf, n->n_in ? n->in[0] : -1) ||
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
    const struct node *made = producer(m->f, v), *n = made;
    while (n && !nodes_agree(m->f, m->i, n, b) && absorbable(n) && n->n_in && n->in[0] >= 0 &&
           m->to_int8[n->in[0]] < 0) {
        n = producer(m->f, n->in[0]);
    }
    return n && nodes_agree(m->f, m->i, n, b) ? n : made;
}

static const char *layer_name(const struct matcher *m, int v)
{
    const struct node *b = unit_node(&m->qi, m->to_int8[v]);
    return (b ? main_node(m, v, b) : producer(m->f, v))->name;
}

static int make_layer(struct matcher *m, int v, struct err *err)
{
    struct layer *l = &m->out->layers[m->out->n_layers];
    int unit = m->to_int8[v];
    const struct qvalue *q = &m->qi.v[unit];
    const struct node *a = producer(m->f, v), *b = unit_node(&m->qi, unit);
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

static int list_layers(struct matcher *m, struct err *err)
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
    if (is_integer_type(m->f->values[v].dtype)) {
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

static void list_all_unmatched(struct matcher *m)
{
    m->out->unmatched =
        arena_alloc(&m->out->arena, (m->f->n_values + m->i->n_values) * sizeof *m->out->unmatched);
    for (size_t k = 0; k < m->f->n_nodes; k++) {
        for (int o = 0; o < m->f->nodes[k].n_out; o++) {
            int v = m->f->nodes[k].out[o];
            if (is_activation(&m->qf, v) && m->to_int8[v] < 0) {
                list_unmatched(m, SIDE_FP32, m->f->values[v].name, m->f->nodes[k].op, fate(m, v));
            }
        }
    }
    for (size_t v = 0; v < m->i->n_values; v++) {
        const struct node *n = producer(m->i, (int)v);
        if (!n || m->qi.v[v].unit != (int)v || m->to_fp32[v] >= 0 || m->qi.v[v].constant) {
            continue;
        }
        int from = m->qi.v[v].made_from;
        if (from >= 0 && m->i->values[from].is_input) {
            continue; /* the quantized input: not a layer */
        }
        bool integer = !m->qi.v[v].codes && is_integer_type(m->i->values[v].dtype);
        const struct node *made = unit_node(&m->qi, (int)v);
        list_unmatched(m, SIDE_INT8, m->i->values[v].name, made ? made->op : n->op,
                       integer ? "integer tensor, nothing to measure" : "no counterpart in FP32");
    }
}

/* ---- Entry points --------------------------------------------------------------------------- */

static int check_ends(const struct graph *f, const struct graph *i, struct err *err)
{
    if (f->n_inputs != i->n_inputs || f->n_outputs != i->n_outputs) {
        return err_set(err, E_SHAPE,
                       "the models do not belong together: FP32 has %zu inputs and "
                       "%zu outputs, INT8 %zu and %zu",
                       f->n_inputs, f->n_outputs, i->n_inputs, i->n_outputs);
    }
    for (size_t k = 0; k < f->n_inputs + f->n_outputs; k++) {
        bool input = k < f->n_inputs;
        size_t j = input ? k : k - f->n_inputs;
        const struct value *a = &f->values[input ? f->inputs[j] : f->outputs[j]];
        const struct value *b = &i->values[input ? i->inputs[j] : i->outputs[j]];
        if (channels_of_pair(f, i, a, b) == CHANNELS_OTHER) {
            char sa[128], sb[128];
            return err_set(err, E_SHAPE,
                           "the models do not belong together: %s '%s' is %s in FP32 "
                           "and %s in INT8",
                           input ? "input" : "output", a->name,
                           shape_text(sa, sizeof sa, a->rank, a->dims),
                           shape_text(sb, sizeof sb, b->rank, b->dims));
        }
    }
    return OK;
}

static void list_outputs(const struct graph *f, const struct graph *i, struct match *out)
{
    out->n_inputs = f->n_inputs;
    out->n_outputs = f->n_outputs;
    out->outputs = arena_alloc(&out->arena, f->n_outputs * sizeof *out->outputs);
    for (size_t k = 0; k < f->n_outputs; k++) {
        out->outputs[k][0] = f->outputs[k];
        out->outputs[k][1] = i->outputs[k];
    }
}

static int *none(size_t n)
{
    int *v = mem_alloc(n * sizeof *v);
    memset(v, 0xff, n * sizeof *v); /* -1 */
    return v;
}

int match_graphs(const struct graph *fp32, const struct graph *int8, size_t n_hand,
                 const struct match_pair *hand, struct match *out, struct err *err)
{
    *out = (struct match){0};
    int rc = check_ends(fp32, int8, err);
    if (rc) {
        return rc;
    }
    struct matcher m = {.f = fp32, .i = int8, .out = out};
    qmodel_init(&m.qf, fp32);
    qmodel_init(&m.qi, int8);
    m.to_int8 = none(fp32->n_values);
    m.to_fp32 = none(int8->n_values);
    m.by = mem_alloc(fp32->n_values * sizeof *m.by);
    rc = match_hand(&m, n_hand, hand, err);
    if (!rc) {
        match_tensor_names(&m);
        match_node_names(&m);
        match_topology(&m);
        move_past_absorbed(&m);
        rc = list_layers(&m, err);
    }
    if (!rc) {
        list_all_unmatched(&m);
        list_outputs(fp32, int8, out);
    } else {
        match_fini(out);
    }
    qmodel_fini(&m.qf);
    qmodel_fini(&m.qi);
    free(m.to_int8);
    free(m.to_fp32);
    free(m.by);
    return rc;
}

void match_single(const struct graph *g, enum side side, struct match *out)
{
    *out = (struct match){0};
    struct qmodel q;
    qmodel_init(&q, g);
    out->layers = arena_alloc(&out->arena, g->n_values * sizeof *out->layers);
    for (size_t k = 0; k < g->n_nodes; k++) {
        const struct node *n = &g->nodes[k];
        for (int o = 0; o < n->n_out; o++) {
            int v = n->out[o], unit = v >= 0 ? q.v[v].unit : -1;
            if (unit != v || v < 0) {
                continue; /* constants, and floats that stand for codes */
            }
            const struct node *made = unit_node(&q, unit);
            struct layer *l = &out->layers[out->n_layers];
            *l = (struct layer){.name = made ? made->name : n->name,
                                .op = node_plain_op(made ? made : n),
                                .fp32 = side == SIDE_FP32 ? v : -1,
                                .int8 = side == SIDE_INT8 ? v : -1,
                                .int8_float = q.v[v].codes ? q.v[v].read_as : v,
                                .channel_axis = CHANNEL_NONE};
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
    qmodel_fini(&q);
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

size_t layer_nodes(const struct graph *fp32, const struct match *m, size_t layer,
                   int nodes[LAYER_NODES])
{
    struct qmodel q;
    size_t n = 0;
    qmodel_init(&q, fp32);
    bool *matched = mem_alloc(fp32->n_values + 1);
    for (size_t k = 0; k < m->n_layers; k++) {
        matched[m->layers[k].fp32] = true;
    }
    collect_nodes(&q, matched, m->layers[layer].fp32, nodes, &n);
    free(matched);
    qmodel_fini(&q);
    return n;
}

void match_fini(struct match *m)
{
    arena_fini(&m->arena);
    *m = (struct match){0};
}
