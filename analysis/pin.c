/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * pin.c: pinned layers as a graph rewrite. The FP32 nodes that make a pinned activation, back to
 * the nearest activations that have an INT8 counterpart, are grafted into a copy of the INT8 graph;
 * they read dequantized values where their producer stays INT8, and each other directly where it is
 * pinned too, also through layers between that only move data. What runs and what is exported is
 * this one graph.
 * What else keeps the runtime from undoing it stands in pin_guard.c, what layers with fewer bits
 * than FP32 have around them in pin_round.c.
 */
#include "analysis/pinner.h"
#include "analysis/upgrade.h"

#include <stdlib.h>

/* ---- Editing g ------------------------------------------------------------------------------ */

struct node *pinner_producer(struct graph *g, int v, int *k)
{
    for (size_t i = 0; i < g->n_nodes; i++) {
        for (int o = 0; o < g->nodes[i].n_out; o++) {
            if (g->nodes[i].out[o] == v) {
                *k = o;
                return &g->nodes[i];
            }
        }
    }
    return NULL;
}

int pinner_value(struct graph *g, const char *stem)
{
    return graph_value(g, graph_fresh(g, stem));
}

/* Whatever makes v now makes a value that nobody reads. */
static void take_over(struct graph *g, int v)
{
    int k = 0;
    struct node *n = pinner_producer(g, v, &k);
    if (n) {
        n->raw = (struct span){0};
        n->out[k] = pinner_value(g, arena_printf(&g->arena, "%s_int8", g->values[v].name));
    }
}

/* Models of TensorFlow Lite keep parameters with the tensors, and nothing fuses them. */
static bool is_tflite(const struct pinner *p)
{
    return p->i->dialect == DIALECT_TFLITE;
}

/* A DEQUANTIZE (QUANTIZE) from one value to another, both known. */
static void add_tflite(struct pinner *p, const char *op, int in, int out)
{
    char *name = mem_printf("%s_%s", p->g->values[in].name, op);
    graph_add(p->g, op, "tflite", graph_fresh(p->g, name), 1, &in, 1, &out);
    free(name);
}

/* The float value that stands for codes of a TFLite model. */
static int dequantize_tflite(struct pinner *p, int codes)
{
    char *name = mem_printf("%s_dequantized", p->i->values[codes].name);
    int y = pinner_value(p->g, name);
    free(name);
    add_tflite(p, "DEQUANTIZE", codes, y);
    return y;
}

/* ---- Grafting ------------------------------------------------------------------------------- */

static int graft_value(struct pinner *p, int v, enum precision as, int *out, struct err *err);

/* Where the value of g is kept that an FP32 value has become. Layers have one activation, whatever
 * reads it; what stands between them is computed for each precision that wants it. */
static int *graft_of(const struct pinner *p, int v, enum precision as)
{
    return &p->graft[p->layer_of[v] >= 0 ? PREC_FP32 : as][v];
}

/* NULL also for what is computed from constants: its nodes are grafted like others. */
static const struct tensor *constant_of(const struct pinner *p, int v)
{
    const struct value *c = &p->f->values[v];
    if (!c->constant && c->producer >= 0 && node_is(&p->f->nodes[c->producer], "Constant")) {
        const struct attr *a = attr_find(&p->f->nodes[c->producer], "value");
        return a && a->kind == ATTR_TENSOR ? a->t : NULL;
    }
    return c->constant;
}

static int graft_constant(struct pinner *p, int v)
{
    const struct value *c = &p->f->values[v];
    const struct tensor *t = constant_of(p, v);
    int made = pinner_value(p->g, c->name);
    p->g->values[made].constant = tensor_ref(t);
    p->g->values[made].dtype = t->dtype;
    p->g->values[made].quant = c->quant; /* borrowed from the FP32 model, as the weights are */
    return made;
}

/* The float tensor that stands for a layer which stays INT8. */
static int graft_boundary(struct pinner *p, size_t layer, int *out, struct err *err)
{
    const struct layer *l = &p->m->layers[layer];
    const struct qvalue *q = &p->qi.v[l->int8];
    if (p->stand_in[layer] < 0) {
        p->stand_in[layer] = l->int8_float;
    }
    if (p->stand_in[layer] < 0 && q->quant) {
        p->stand_in[layer] = dequantize_tflite(p, l->int8);
    }
    if (p->stand_in[layer] < 0) {
        if (q->scale < 0) {
            return err_set(err, E_UNSUPPORTED, "tensor '%s' has no known scale",
                           p->i->values[l->int8].name);
        }
        char *name = mem_printf("%s_dequantized", p->i->values[l->int8].name);
        int y = pinner_value(p->g, name), in[3] = {l->int8, q->scale, q->zero};
        graph_add(p->g, "DequantizeLinear", "", graph_fresh(p->g, name), q->zero >= 0 ? 3 : 2, in,
                  1, &y);
        free(name);
        p->stand_in[layer] = y;
    }
    *out = p->stand_in[layer];
    return OK;
}

/* Whether the value is an activation at the border of layers, and not computed inside of one. */
static bool is_border(const struct pinner *p, int v)
{
    return p->layer_of[v] >= 0 ||
           (p->f->values[v].is_input && dtype_is_float(p->f->values[v].dtype));
}

/* Input k of an FP32 node of a layer of that precision. */
static int graft_input(struct pinner *p, const struct node *n, int k, enum precision as, int *in,
                       struct err *err)
{
    int v = n->in[k];
    const struct tensor *t = constant_of(p, v);
    int rc = t ? round_constant(p, n, k, t, as, in, err) : OK;
    if (rc || *in >= 0) {
        return rc;
    }
    rc = graft_value(p, v, as, in, err);
    return rc || !is_border(p, v) ? rc : round_input(p, in, as, p->layer_of[v], err);
}

/* A value for output k: of a pinned layer with fewer bits what is to be rounded yet. */
static int graft_output(struct pinner *p, const struct node *n, int k, enum precision as)
{
    int v = n->out[k], layer = p->layer_of[v];
    const char *name = p->f->values[v].name;
    int *graft = graft_of(p, v, as), made = *graft = pinner_value(p->g, name);
    if (layer >= 0 && p->pins->pinned[layer] && pinner_as(p, (size_t)layer) != PREC_FP32) {
        char *exact = mem_printf("%s_exact", name);
        made = pinner_value(p->g, exact);
        free(exact);
    }
    return made;
}

static int round_outputs(struct pinner *p, const struct node *n, const int *out, enum precision as,
                         struct err *err)
{
    int rc = OK;
    for (int k = 0; k < n->n_out && !rc; k++) {
        int to = n->out[k] >= 0 ? *graft_of(p, n->out[k], as) : -1;
        if (to >= 0 && to != out[k]) {
            int layer = p->layer_of[n->out[k]];
            rc = round_output(p, out[k], to, pinner_as(p, (size_t)layer), layer, err);
        }
    }
    return rc;
}

static int graft_node(struct pinner *p, int node, enum precision as, struct err *err)
{
    const struct node *n = &p->f->nodes[node];
    int *in = mem_alloc((size_t)(n->n_in + n->n_out) * sizeof *in), *out = in + n->n_in;
    int rc = OK;
    for (int k = 0; k < n->n_in && !rc; k++) {
        in[k] = -1;
        rc = n->in[k] >= 0 ? graft_input(p, n, k, as, &in[k], err) : OK;
    }
    if (!rc) {
        if (n->n_in && !is_tflite(p)) {
            guard_inputs(p, n, in, as);
        }
        for (int k = 0; k < n->n_out; k++) {
            out[k] = n->out[k] >= 0 ? graft_output(p, n, k, as) : -1;
        }
        rc = node_upgrade(p->g, p->f, n, in, out, err);
        rc = rc ? rc : round_outputs(p, n, out, as, err);
    }
    free(in);
    return rc ? err_in(err, "node '%s' (%s)", n->name, n->op) : OK;
}

/* Whether a layer that is not pinned only moves what pinned layers make: those behind it read that
 * in float. */
static bool carries_pinned(const struct pinner *p, int v)
{
    for (int made = p->f->values[v].producer; made >= 0; made = p->f->values[v].producer) {
        const struct node *n = &p->f->nodes[made];
        if (!node_moves(n) || !n->n_in || n->in[0] < 0) {
            return false;
        }
        for (int k = 1; k < n->n_in; k++) {
            if (n->in[k] >= 0 && !p->qf.v[n->in[k]].constant) {
                return false;
            }
        }
        v = n->in[0];
        int layer = p->layer_of[v];
        if (layer >= 0 && p->pins->pinned[layer]) {
            return true;
        }
    }
    return false;
}

static int graft_value(struct pinner *p, int v, enum precision as, int *out, struct err *err)
{
    bool constant = p->qf.v[v].constant && constant_of(p, v);
    int layer = p->layer_of[v], *made = constant ? &p->graft[PREC_FP32][v] : graft_of(p, v, as);
    bool pinned = layer >= 0 && p->pins->pinned[layer];
    if (*made < 0 && constant) {
        *made = graft_constant(p, v);
    }
    if (*made >= 0) {
        *out = *made;
        return OK;
    }
    if (layer >= 0 && !pinned && !carries_pinned(p, v)) {
        return graft_boundary(p, (size_t)layer, out, err);
    }
    for (size_t k = 0; k < p->f->n_inputs; k++) {
        if (p->f->inputs[k] == v) {
            int x = p->i->inputs[k];
            *out = *made = p->qi.v[x].quant ? dequantize_tflite(p, x) : x;
            return OK;
        }
    }
    enum precision own = pinned ? pinner_as(p, (size_t)layer) : layer >= 0 ? PREC_FP32 : as;
    int rc = graft_node(p, p->f->values[v].producer, own, err);
    *out = *graft_of(p, v, own);
    return rc;
}

/* ---- Wiring a grafted layer into the INT8 graph --------------------------------------------- */

/* The node that made `from` now makes `to`; readers of `from` made so far follow. */
static void rename_output(struct pinner *p, int fp32_value, int to)
{
    int k = 0, from = p->graft[PREC_FP32][fp32_value];
    struct node *n = pinner_producer(p->g, from, &k);
    if (!n) {
        return;
    }
    n->out[k] = to;
    for (size_t i = p->i->n_nodes; i < p->g->n_nodes; i++) {
        for (int x = 0; x < p->g->nodes[i].n_in; x++) {
            if (p->g->nodes[i].in[x] == from) {
                p->g->nodes[i].in[x] = to;
            }
        }
    }
    p->graft[PREC_FP32][fp32_value] = to;
}

/* A node of the INT8 model that no quantizer touches on its way out: it takes floats as they come.
 */
static bool plain_float_node(const struct pinner *p, const struct node *n)
{
    if (node_is_quantize(n)) {
        return false;
    }
    for (int k = 0; k < n->n_in; k++) {
        const struct value *v = n->in[k] >= 0 ? &p->i->values[n->in[k]] : NULL;
        if (v && p->qi.v[n->in[k]].constant && v->producer >= 0 &&
            node_is_dequantize(&p->i->nodes[v->producer])) {
            return false; /* quantized weights */
        }
    }
    for (int k = 0; k < n->n_out; k++) {
        int v = n->out[k];
        for (int u = v < 0 ? 0 : p->qi.uses.start[v]; v >= 0 && u < p->qi.uses.start[v + 1]; u++) {
            if (node_is_quantize(&p->i->nodes[p->qi.uses.node[u]])) {
                return false;
            }
        }
    }
    return true;
}

static void redirect(struct node *n, int from, int to)
{
    for (int k = 0; k < n->n_in; k++) {
        if (n->in[k] == from) {
            n->in[k] = to;
            n->raw = (struct span){0};
        }
    }
}

/* What reads the codes as floats and is not quantized itself gets the float value: graph outputs
 * (the grafted node takes over the output's name) and float nodes of the model. */
static void bypass_dequantizers(struct pinner *p, const struct layer *l)
{
    for (int pass = 0; pass < 2; pass++) {
        for (size_t d = 0; d < p->i->n_nodes; d++) {
            const struct node *dq = &p->i->nodes[d];
            if (!node_is_dequantize(dq) || dq->in[0] != l->int8) {
                continue;
            }
            int y = dq->out[0];
            if (pass == 0 && p->i->values[y].is_output) {
                take_over(p->g, y);
                rename_output(p, l->fp32, y);
            }
            for (int u = p->qi.uses.start[y]; pass == 1 && u < p->qi.uses.start[y + 1]; u++) {
                int reader = p->qi.uses.node[u];
                if (plain_float_node(p, &p->i->nodes[reader])) {
                    redirect(&p->g->nodes[reader], y, p->graft[PREC_FP32][l->fp32]);
                }
            }
        }
    }
}

static void wire_layer(struct pinner *p, const struct layer *l)
{
    const struct qvalue *q = &p->qi.v[l->int8];
    if (!q->codes) {
        take_over(p->g, l->int8);
        rename_output(p, l->fp32, l->int8);
        return;
    }
    bypass_dequantizers(p, l);
    int t = p->graft[PREC_FP32][l->fp32];
    if (is_tflite(p)) {
        take_over(p->g, l->int8);
        add_tflite(p, "QUANTIZE", t, l->int8);
        return;
    }
    if (q->quantizer >= 0) {
        take_over(p->g, q->made_from);
        pinner_barrier(p->g, t, q->made_from);
        return;
    }
    take_over(p->g, l->int8);
    char *name = mem_printf("%s_QuantizeLinear", p->i->values[l->int8].name);
    int x = pinner_value(p->g, name), in[3] = {x, q->scale, q->zero}, codes = l->int8;
    pinner_barrier(p->g, t, x);
    struct node *n = graph_add(p->g, "QuantizeLinear", "", graph_fresh(p->g, name),
                               q->zero >= 0 ? 3 : 2, in, 1, &codes);
    if (q->axis >= 0) {
        graph_attr_int(p->g, n, "axis", q->axis);
    }
    free(name);
}

/* ---- Dead code ------------------------------------------------------------------------------ */

/* Marks the nodes that some graph output depends on. */
static bool *live_nodes(const struct graph *g)
{
    int *made_by = mem_alloc(g->n_values * sizeof *made_by);
    memset(made_by, 0xff, g->n_values * sizeof *made_by);
    for (size_t i = 0; i < g->n_nodes; i++) {
        for (int k = 0; k < g->nodes[i].n_out; k++) {
            if (g->nodes[i].out[k] >= 0) {
                made_by[g->nodes[i].out[k]] = (int)i;
            }
        }
    }
    bool *live = mem_alloc(g->n_nodes + 1);
    int *pending = mem_alloc((g->n_nodes + g->n_outputs + 1) * sizeof *pending);
    size_t n = 0;
    for (size_t o = 0; o < g->n_outputs; o++) {
        int i = made_by[g->outputs[o]];
        if (i >= 0 && !live[i]) {
            live[i] = true;
            pending[n++] = i;
        }
    }
    while (n) {
        const struct node *x = &g->nodes[pending[--n]];
        for (int k = 0; k < x->n_in; k++) {
            int i = x->in[k] >= 0 ? made_by[x->in[k]] : -1;
            if (i >= 0 && !live[i]) {
                live[i] = true;
                pending[n++] = i;
            }
        }
    }
    free(pending);
    free(made_by);
    return live;
}

/* Drops what the rewrite left without readers; what was dead before stays as it was. */
static void drop_dead(struct pinner *p)
{
    bool *before = live_nodes(p->i), *after = live_nodes(p->g);
    for (size_t i = 0; i < p->g->n_nodes; i++) {
        if (!after[i] && (i >= p->i->n_nodes || before[i])) {
            p->g->nodes[i].op = NULL;
        }
    }
    free(before);
    free(after);
}

/* ONNX Runtime names the shape of a fused Reshape after its node. A file that it already fused once
 * has such a name, and a second node of that name would make it fail to load. */
static bool name_is_spent(struct graph *g, const struct strmap *names, const char *name)
{
    char *shape = mem_printf("%s_new_shape", name);
    bool spent = strmap_get(names, name, -1) >= 0 || graph_find(g, shape) >= 0;
    free(shape);
    return spent;
}

/* Node names must be unique; a graft may have the name of an INT8 node that stays. */
static void rename_twins(struct graph *g, size_t first_new)
{
    struct strmap names = {0};
    for (size_t i = 0; i < g->n_nodes; i++) {
        struct node *n = &g->nodes[i];
        if (!n->op) {
            continue;
        }
        while (i >= first_new && name_is_spent(g, &names, n->name)) {
            n->name = arena_printf(&g->arena, "%s_fp32", n->name);
        }
        strmap_put(&names, n->name, (int)i);
    }
    strmap_fini(&names);
}

/* ---- Entry points --------------------------------------------------------------------------- */

static int graft_layers(struct pinner *p, struct err *err)
{
    for (size_t k = 0; k < p->m->n_layers; k++) {
        const struct layer *l = &p->m->layers[k];
        int made;
        if (!p->pins->pinned[k]) {
            continue;
        }
        int rc = round_check(p, pinner_as(p, k), err);
        rc = rc ? rc : graft_value(p, l->fp32, pinner_as(p, k), &made, err);
        if (rc) {
            return err_in(err, "layer '%s' cannot be pinned", l->name);
        }
    }
    for (size_t k = 0; k < p->m->n_layers; k++) {
        if (p->pins->pinned[k]) {
            wire_layer(p, &p->m->layers[k]);
        }
    }
    return OK;
}

/* The values to compare: of a layer that only carries what is pinned the float one, unless somebody
 * still reads its codes. */
static void choose_values(const struct pinner *p, int *values)
{
    for (size_t k = 0; k < p->m->n_layers; k++) {
        const struct layer *l = &p->m->layers[k];
        int at = 0;
        bool grafted = p->graft[PREC_FP32][l->fp32] >= 0;
        const struct node *made =
            grafted && !p->pins->pinned[k] ? pinner_producer(p->g, l->int8, &at) : NULL;
        values[k] =
            p->pins->pinned[k] || (made && !made->op) ? p->graft[PREC_FP32][l->fp32] : l->int8;
    }
}

static int *none_of(size_t n)
{
    int *list = mem_alloc((n + 1) * sizeof *list);
    memset(list, 0xff, n * sizeof *list);
    return list;
}

static void pinner_fini(struct pinner *p)
{
    for (int as = 0; as < N_PRECISIONS; as++) {
        free(p->graft[as]);
    }
    qmodel_fini(&p->qf);
    qmodel_fini(&p->qi);
    free(p->layer_of);
    free(p->stand_in);
    free(p->rounded);
}

int pin_possible(const struct graph *fp32, const struct graph *int8, struct err *err)
{
    return fp32->dialect == int8->dialect
               ? OK
               : err_set(err, E_UNSUPPORTED,
                         "layers can be pinned only when both models are of one format");
}

int pin_apply(const struct graph *fp32, const struct graph *int8, const struct match *m,
              const struct pin_set *pins, struct graph **mixed, int *values, struct err *err)
{
    int possible = pin_possible(fp32, int8, err);
    if (possible) {
        return possible;
    }
    struct pinner p = {.f = fp32, .i = int8, .g = graph_clone(int8), .m = m, .pins = pins};
    p.tokens = guard_tokens(int8);
    for (int as = 0; as < N_PRECISIONS; as++) {
        p.graft[as] = none_of(fp32->n_values);
    }
    p.layer_of = none_of(fp32->n_values);
    p.stand_in = none_of(m->n_layers);
    for (size_t k = 0; k < m->n_layers; k++) {
        p.layer_of[m->layers[k].fp32] = (int)k;
    }
    qmodel_init(&p.qf, fp32);
    qmodel_init(&p.qi, int8);
    int rc = graft_layers(&p, err);
    if (!rc) {
        drop_dead(&p);
        choose_values(&p, values);
        rename_twins(p.g, int8->n_nodes);
        rc = graph_finish(p.g, err);
    }
    pinner_fini(&p);
    if (rc) {
        graph_free(p.g);
        return rc;
    }
    *mixed = p.g;
    return OK;
}
