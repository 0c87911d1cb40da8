/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * cost.c: what it costs to compute layers in FP32: weights, multiplications, activations, and
 * tensors that change their precision.
 */
#include "analysis/analysis.h"

#include <stdlib.h>

enum factor {
    PER_FILTER, /* products per output: elements of one filter, [o, ...] */
    PER_PLANE,  /* of one plane: [1, h, w, channels] */
    PER_INPUT,  /* filters are [i, ...] and every input meets one */
    PER_ROW,    /* length of the rows of input 0 */
    PER_COLUMN, /* of its columns */
};

/* Operators that multiply. The weights are input 1 wherever they decide. */
static const struct {
    const char *op;
    enum factor factor;
} rules[] = {
    {"Conv", PER_FILTER},
    {"ConvTranspose", PER_INPUT},
    {"MatMul", PER_ROW},
    {"Gemm", PER_ROW},
    {"CONV_2D", PER_FILTER},
    {"DEPTHWISE_CONV_2D", PER_PLANE},
    {"FULLY_CONNECTED", PER_FILTER},
    {"BATCH_MATMUL", PER_ROW},
};

/* Elements of a value, unknown dimensions counted as 1. */
static double elements(const struct graph *g, int v)
{
    double n = 1;
    for (int d = 0; d < g->values[v].rank; d++) {
        n *= g->values[v].dims[d] > 0 ? (double)g->values[v].dims[d] : 1;
    }
    return n;
}

static double dim(const struct graph *g, int v, int from_end)
{
    const struct value *x = &g->values[v];
    bool known = x->rank >= from_end && x->dims[x->rank - from_end] > 0;
    return known ? (double)x->dims[x->rank - from_end] : 1;
}

static double filter(const struct graph *g, const struct node *n)
{
    const struct tensor *w = n->n_in > 1 && n->in[1] >= 0 ? g->values[n->in[1]].constant : NULL;
    return w && w->rank > 0 && w->dims[0] > 0 ? (double)w->n / (double)w->dims[0] : 0;
}

static double node_macs(const struct graph *g, const struct node *n)
{
    for (size_t i = 0; i < COUNT(rules) && n->n_in > 1 && n->in[0] >= 0 && n->out[0] >= 0; i++) {
        if (strcmp(n->op, rules[i].op) != 0) {
            continue;
        }
        enum factor f = rules[i].factor;
        f = f == PER_ROW && attr_int(n, "transA", 0) ? PER_COLUMN : f;
        const struct tensor *w = n->in[1] >= 0 ? g->values[n->in[1]].constant : NULL;
        double out = elements(g, n->out[0]);
        return f == PER_FILTER   ? out * filter(g, n)
               : f == PER_INPUT  ? elements(g, n->in[0]) * filter(g, n)
               : f == PER_PLANE  ? (w && w->rank == 4 ? out * (double)(w->dims[1] * w->dims[2]) : 0)
               : f == PER_COLUMN ? out * dim(g, n->in[0], 2)
                                 : out * dim(g, n->in[0], 1);
    }
    return 0;
}

static struct layer_cost nodes_cost(const struct graph *fp32, size_t n, const int *nodes)
{
    struct layer_cost c = {0};
    for (size_t i = 0; i < n; i++) {
        const struct node *x = &fp32->nodes[nodes[i]];
        c.macs += node_macs(fp32, x);
        for (int k = 0; k < x->n_in; k++) {
            const struct tensor *t = x->in[k] >= 0 ? fp32->values[x->in[k]].constant : NULL;
            c.weights += t && dtype_is_float(t->dtype) ? (double)t->size : 0;
        }
    }
    return c;
}

struct costing {
    const struct graph *fp32;
    const struct match *m;
    struct layer_cost *out;
};

static void cost_one(void *ctx, size_t layer, size_t n, const int *nodes)
{
    const struct costing *c = ctx;
    c->out[layer] = nodes_cost(c->fp32, n, nodes);
    c->out[layer].activations = 4 * elements(c->fp32, c->m->layers[layer].fp32);
}

struct layer_cost *layer_costs(const struct graph *fp32, const struct match *m)
{
    struct costing c = {fp32, m, mem_alloc((m->n_layers + 1) * sizeof(struct layer_cost))};
    layers_nodes(fp32, m, cost_one, &c);
    return c.out;
}

/* ---- Sets ----------------------------------------------------------------------------------- */

struct crossing {
    const struct graph *fp32;
    const struct match *m;
    const bool *pinned;
    const uint8_t *as;
    int *layer_of;   /* per value: the layer whose activation it is, -1 */
    bool *now, *was; /* per layer: its activation is read in the other precision */
};

/* What a layer's activation is kept in: its own codes, or a precision. */
static int kept_in(const struct crossing *c, size_t layer)
{
    enum { CODES = -1 };
    if (c->pinned[layer]) {
        return c->as ? c->as[layer] : PREC_FP32;
    }
    return c->m->layers[layer].quantized ? CODES : PREC_FP32;
}

static void cross_one(void *ctx, size_t layer, size_t n, const int *nodes)
{
    struct crossing *c = ctx;
    const struct layer *list = c->m->layers;
    for (size_t i = 0; i < n; i++) {
        const struct node *x = &c->fp32->nodes[nodes[i]];
        for (int k = 0; k < x->n_in; k++) {
            int from = x->in[k] >= 0 ? c->layer_of[x->in[k]] : -1;
            if (from < 0 || (size_t)from == layer) {
                continue;
            }
            bool a = list[from].quantized, b = list[layer].quantized;
            c->was[from] |= a != b;
            c->now[from] |= kept_in(c, (size_t)from) != kept_in(c, layer);
        }
    }
}

static int boundaries(const struct graph *fp32, const struct match *m, const bool *pinned,
                      const uint8_t *as)
{
    struct crossing c = {.fp32 = fp32, .m = m, .pinned = pinned, .as = as};
    int added = 0;
    c.layer_of = mem_alloc((fp32->n_values + 1) * sizeof *c.layer_of);
    c.now = mem_alloc(m->n_layers + 1);
    c.was = mem_alloc(m->n_layers + 1);
    for (size_t v = 0; v < fp32->n_values; v++) {
        c.layer_of[v] = -1;
    }
    for (size_t k = 0; k < m->n_layers; k++) {
        c.layer_of[m->layers[k].fp32] = (int)k;
    }
    layers_nodes(fp32, m, cross_one, &c);
    for (size_t k = 0; k < m->n_layers; k++) {
        added += c.now[k] - c.was[k];
    }
    free(c.was);
    free(c.now);
    free(c.layer_of);
    return added;
}

struct pins_cost pins_cost(const struct graph *fp32, const struct match *m,
                           const struct layer_cost *costs, const bool *pinned, const uint8_t *as)
{
    struct pins_cost sum = {0};
    for (size_t k = 0; k < m->n_layers; k++) {
        if (pinned[k]) {
            sum.pins++;
            const struct precision_row *p = &precisions[as ? as[k] : PREC_FP32];
            sum.weights += costs[k].weights * p->weight_bits / 32;
            sum.macs += costs[k].macs;
            sum.activations += costs[k].activations * p->activation_bits / 32;
        }
    }
    sum.boundaries = sum.pins ? boundaries(fp32, m, pinned, as) : 0;
    return sum;
}
