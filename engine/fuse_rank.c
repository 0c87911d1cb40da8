/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * fuse_rank.c: ranks of values that a model does not declare, as far as its operators tell: enough
 * to know whether an axis that counts from the front is the last one. Shapes need a run.
 */
#include "engine/fuse.h"

#include <stdlib.h>

enum {
    UNKNOWN = -1,
    TURNS = 4, /* nodes that were added while editing stand behind those that they feed */
};

/* Output 0 has the rank of input 0; of the larger of its first two; of a list; two; that of input 0
 * and a list's, or without it; that of two inputs less one. */
enum rule { SAME, LARGER, LIST, TWO, PLUS, MINUS, BOTH, REDUCED };
static const struct {
    const char *op;
    enum rule rule;
} rules[] = {
    {"Add", LARGER},
    {"AveragePool", SAME},
    {"BatchNormalization", SAME},
    {"Cast", SAME},
    {"Clip", SAME},
    {"Concat", SAME},
    {"Conv", SAME},
    {"ConvInteger", SAME},
    {"DequantizeLinear", SAME},
    {"Div", LARGER},
    {"Dropout", SAME},
    {"DynamicQuantizeLinear", SAME},
    {"Elu", SAME},
    {"Erf", SAME},
    {"Exp", SAME},
    {"Flatten", TWO},
    {"Gather", BOTH},
    {"Gelu", SAME},
    {"Gemm", TWO},
    {"GlobalAveragePool", SAME},
    {"HardSigmoid", SAME},
    {"HardSwish", SAME},
    {"Identity", SAME},
    {"LayerNormalization", SAME},
    {"LeakyRelu", SAME},
    {"LogSoftmax", SAME},
    {"MatMul", LARGER},
    {"MatMulInteger", LARGER},
    {"Max", LARGER},
    {"MaxPool", SAME},
    {"Min", LARGER},
    {"Mul", LARGER},
    {"Neg", SAME},
    {"Pad", SAME},
    {"Pow", LARGER},
    {"QGemm", TWO},
    {"QuantizeLinear", SAME},
    {"ReduceMean", REDUCED},
    {"Relu", SAME},
    {"Reshape", LIST},
    {"Resize", SAME},
    {"Sigmoid", SAME},
    {"Slice", SAME},
    {"SimplifiedLayerNormalization", SAME},
    {"Softmax", SAME},
    {"Split", SAME},
    {"Sqrt", SAME},
    {"Squeeze", MINUS},
    {"Sub", LARGER},
    {"Tanh", SAME},
    {"Transpose", SAME},
    {"Unsqueeze", PLUS},
};

struct ranks {
    const struct fuser *f;
    int *rank; /* per value */
};

static int input_rank(const struct ranks *r, const struct node *n, int k)
{
    const int v = k < n->n_in ? n->in[k] : -1;
    return v >= 0 ? r->rank[v] : UNKNOWN;
}

/* Elements of a list of integers that is an attribute or else the constant input 1. */
static int list_size(const struct ranks *r, const struct node *n, const char *name)
{
    const struct attr *a = attr_find(n, name);
    const int v = n->n_in > 1 ? n->in[1] : -1;
    const struct tensor *t = v >= 0 ? r->f->g->values[v].constant : NULL;
    if (a && a->kind == ATTR_INTS && a->n <= MAX_RANK) {
        return (int)a->n;
    }
    return t && t->n <= MAX_RANK ? (int)t->n : UNKNOWN;
}

static enum rule find_rule(const char *op, bool *known)
{
    for (size_t i = 0; i < COUNT(rules); i++) {
        if (strcmp(rules[i].op, op) == 0) {
            *known = true;
            return rules[i].rule;
        }
    }
    *known = false;
    return SAME;
}

/* Quantized operators have the rules of the float ones; scale and zero point stand between their
 * operands. */
static int made_rank(const struct ranks *r, const struct node *n)
{
    const bool quantized = strncmp(n->op, "QLinear", 7) == 0;
    bool known;
    const enum rule rule = find_rule(n->op + (quantized ? 7 : 0), &known);
    const int a = input_rank(r, n, 0), b = input_rank(r, n, quantized ? 3 : 1);
    if (strcmp(n->op, "QLinearConcat") == 0) {
        return input_rank(r, n, 2);
    }
    if (!known) {
        return UNKNOWN;
    }
    const int list = list_size(r, n, rule == LIST ? "shape" : "axes");
    int rank = a;
    switch (rule) {
    case LARGER:
        return a < 0 || b < 0 ? UNKNOWN : MAX(a, b);
    case BOTH:
        return a < 1 || b < 0 ? UNKNOWN : a + b - 1;
    case LIST:
        return list;
    case TWO:
        return 2;
    case PLUS:
    case MINUS:
        rank = a < 0 || list < 0 ? UNKNOWN : rule == PLUS ? a + list : a - list;
        return MAX(rank, UNKNOWN);
    case REDUCED:
        return attr_int(n, "keepdims", 1) ? a : UNKNOWN;
    default:
        return a;
    }
}

/* Whether a node's outputs became known. */
static bool add_ranks(struct ranks *r, const struct node *n)
{
    const bool dynamic = strcmp(n->op, "DynamicQuantizeLinear") == 0;
    const int outs = dynamic || strcmp(n->op, "Split") == 0 ? n->n_out : MIN(n->n_out, 1);
    bool news = false;
    for (int k = 0; k < outs; k++) {
        if (n->out[k] >= 0 && r->rank[n->out[k]] < 0) {
            r->rank[n->out[k]] = dynamic && k > 0 ? 0 : made_rank(r, n); /* scale, zero point */
            news = news || r->rank[n->out[k]] >= 0;
        }
    }
    return news;
}

int *fuse_ranks(const struct fuser *f)
{
    struct ranks r = {f, mem_alloc((f->g->n_values + 1) * sizeof(int))};
    for (size_t v = 0; v < f->g->n_values; v++) {
        const struct value *x = &f->g->values[v];
        r.rank[v] = x->constant ? x->constant->rank : x->rank;
    }
    bool news = true;
    for (int turn = 0; turn < TURNS && news; turn++) {
        news = false;
        for (size_t i = 0; i < f->g->n_nodes; i++) {
            news = (f->g->nodes[i].op && add_ranks(&r, &f->g->nodes[i])) || news;
        }
    }
    return r.rank;
}
