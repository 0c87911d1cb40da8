/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * match.c: pairs the activations of an FP32 graph with those of its INT8 version.
 *
 * In order of trust: by hand; by tensor or node name (the tools keep them); by the suffixes that
 * quantizers add; by topology (a node of the same operator on matched inputs). What quantization
 * absorbed (Relu, Clip, BatchNormalization in front of a quantizer) is told apart afterwards, so
 * that a clipped INT8 tensor is never compared with the tensor before the clip.
 */
#include "analysis/matcher.h"

#include <stdlib.h>

const char *match_by_name(enum match_by by)
{
    static const char *const names[] = {"name", "qdq", "topology", "hand"};
    return names[by];
}

/* ---- Candidates ----------------------------------------------------------------------------- */

bool match_activation(const struct qmodel *q, int v)
{
    return v >= 0 && !q->v[v].constant && q->g->values[v].producer >= 0;
}

const struct node *match_producer(const struct graph *g, int v)
{
    return g->values[v].producer >= 0 ? &g->nodes[g->values[v].producer] : NULL;
}

const struct node *match_unit_node(const struct qmodel *q, int unit)
{
    int v = q->v[unit].made_from >= 0 ? q->v[unit].made_from : unit;
    return match_producer(q->g, v);
}

bool match_integer_type(enum dtype d)
{
    return d != DT_NONE && !dtype_is_float(d);
}

/* Pairs FP32 value v with an INT8 unit when both are free and fit. */
static bool pair(struct matcher *m, int v, int unit, enum match_by by)
{
    if (v < 0 || unit < 0 || m->to_int8[v] >= 0 || m->to_fp32[unit] >= 0 ||
        !match_activation(&m->qf, v) || !match_activation(&m->qi, unit)) {
        return false;
    }
    if (match_integer_type(m->f->values[v].dtype) ||
        (match_integer_type(m->i->values[unit].dtype) && !m->qi.v[unit].codes)) {
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
                               (n = match_producer(m->f, v)) && node_is(n, "Transpose") &&
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

/* Min: a Clip with an end for each channel, see edits.c. */
bool match_absorbable(const struct node *n)
{
    return node_is(n, "Relu") || node_is(n, "Clip") || node_is(n, "BatchNormalization") ||
           (node_is(n, "Min") && n->n_in == 2);
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
           m->qf.v[n->in[n->in[0] == x]].constant && match_producer(m->f, x) &&
           strcmp(node_family(match_producer(m->f, x)), "MatMul") == 0;
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
                               ((match_absorbable(n) && n->in[0] == at) || adds_bias(m, n, at)) &&
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
        const struct node *n = unit >= 0 ? match_producer(m->i, unit) : NULL;
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
    const struct node *n = v >= 0 && !g->values[v].constant ? match_producer(g, v) : NULL;
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
        rc = match_list_layers(&m, err);
    }
    if (!rc) {
        match_list_unmatched(&m);
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
