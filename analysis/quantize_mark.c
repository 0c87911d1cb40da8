/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * quantize_mark.c: which nodes compute on codes, and which activations get quantizers for it: in
 * the order of the network, by a table of rules.
 */
#include "analysis/qedit.h"
#include "analysis/quantizer.h"

#include <math.h>
#include <stdlib.h>

/* ---- Rules: THE table ----------------------------------------------------------------------- */

static const struct {
    const char *op;
    enum rule_kind kind;
} rules[] = {
    {"Conv", RULE_WEIGHTED},     {"ConvTranspose", RULE_WEIGHTED},
    {"Gemm", RULE_WEIGHTED},     {"MatMul", RULE_WEIGHTED},
    {"Add", RULE_COMPUTE},       {"Mul", RULE_COMPUTE},
    {"Concat", RULE_COMPUTE},    {"GlobalAveragePool", RULE_COMPUTE},
    {"LeakyRelu", RULE_COMPUTE}, {"Sigmoid", RULE_COMPUTE},
    {"Softmax", RULE_COMPUTE},   {"AveragePool", RULE_COMPUTE},
    {"MaxPool", RULE_MOVE},      {"Reshape", RULE_MOVE},
    {"Transpose", RULE_MOVE},    {"Squeeze", RULE_MOVE},
    {"Unsqueeze", RULE_MOVE},    {"Flatten", RULE_MOVE},
    {"Resize", RULE_MOVE},       {"Slice", RULE_MOVE},
    {"Split", RULE_MOVE},        {"Gather", RULE_MOVE},
    {"DepthToSpace", RULE_MOVE}, {"SpaceToDepth", RULE_MOVE},
    {"Relu", RULE_CLIP},         {"Clip", RULE_CLIP},
};

const struct node_choice *quantize_choice(const struct quantizer *q, const struct node *n)
{
    for (size_t i = 0; i < q->o->n_choices; i++) {
        if (strcmp(q->o->choices[i].node, n->name) == 0) {
            return &q->o->choices[i];
        }
    }
    return NULL;
}

bool quantize_has_rule(const struct node *n)
{
    for (size_t i = 0; i < COUNT(rules); i++) {
        if (edit_is(n, rules[i].op)) {
            return true;
        }
    }
    return false;
}

int quantize_rule(const struct quantizer *q, const struct node *n)
{
    const struct node_choice *c = quantize_choice(q, n);
    for (size_t i = 0; i < COUNT(rules) && !(c && c->keep); i++) {
        if (edit_is(n, rules[i].op)) {
            return !q->o->ops || text_listed(q->o->ops, n->op) ? (int)rules[i].kind : -1;
        }
    }
    return -1;
}

enum dtype quantize_type(const struct quantizer *q, const struct node *n)
{
    const struct node_choice *c = quantize_choice(q, n);
    return c && c->activations ? c->activations : q->o->goal.codes.dtype;
}

const struct tensor *quantize_constant_of(const struct quantizer *q, int v)
{
    return v >= 0 && (size_t)v < q->n_values ? edit_float(q->g, v) : NULL;
}

/* ---- Marking -------------------------------------------------------------------------------- */

static bool is_activation(const struct quantizer *q, int v)
{
    return v >= 0 && !edit_float(q->g, v) && q->seen[v].images > 0;
}

static void mark(struct quantizer *q, int v, enum dtype type)
{
    if (is_activation(q, v) && !q->v[v].wanted) {
        q->v[v].wanted = true;
        q->v[v].type = type;
    }
}

static void mark_weighted(struct quantizer *q, size_t i)
{
    const struct node *n = &q->g->nodes[i];
    enum dtype type = quantize_type(q, n);
    bool constant = n->n_in > 1 && quantize_constant_of(q, n->in[1]);
    bool fits = constant && !edit_is(n, "ConvTranspose")
                    ? edit_weight_axis(q->g, n) >= 0 || edit_is(n, "MatMul")
                    : !edit_is(n, "Gemm");
    if (n->n_in < 2 || !fits ||
        (!is_activation(q, n->in[0]) && !quantize_constant_of(q, n->in[0])) ||
        (!is_activation(q, n->in[1]) && !constant)) {
        q->report.left++;
        return;
    }
    q->on[i] = true;
    q->report.layers++;
    mark(q, n->in[0], type);
    mark(q, n->in[1], type);
    mark(q, n->out[0], type);
}

static void mark_compute(struct quantizer *q, size_t i)
{
    const struct node *n = &q->g->nodes[i];
    if (n->n_out < 1 || !is_activation(q, n->out[0])) {
        return;
    }
    q->on[i] = true;
    for (int k = 0; k < n->n_in; k++) {
        mark(q, n->in[k], quantize_type(q, n));
    }
    mark(q, n->out[0], quantize_type(q, n));
    if (edit_is(n, "Softmax")) {
        struct tensor_plan *v = &q->v[n->out[0]];
        v->ranged = true;
        v->range[0] = 0;
        v->range[1] = 1;
    }
}

static void mark_move(struct quantizer *q, size_t i)
{
    const struct node *n = &q->g->nodes[i];
    int x = n->n_in ? n->in[0] : -1;
    if (x < 0 || !q->v[x].wanted) {
        return;
    }
    q->on[i] = true;
    for (int k = 0; k < n->n_out; k++) {
        int y = n->out[k];
        if (is_activation(q, y) && !q->v[y].wanted) {
            mark(q, y, q->v[x].type);
            q->v[y].same = q->v[x].same;
        }
    }
}

/* Bound of a Clip from its attribute or constant input; NAN when it is computed. */
static double bound_of(const struct quantizer *q, const struct node *n, int slot, const char *attr,
                       double none)
{
    if (slot < n->n_in && n->in[slot] >= 0) {
        const struct tensor *t = quantize_constant_of(q, n->in[slot]);
        return t && t->n == 1 ? tensor_f64(t, 0) : NAN;
    }
    const struct attr *a = attr_find(n, attr);
    return a && a->kind == ATTR_FLOAT ? (double)a->f : none;
}

/* Whether the range of the codes ends where the clip does: it holds 0, and no value beyond. */
static bool is_range(const struct quantizer *q, const struct node *n)
{
    double lo = 0, hi = INFINITY;
    if (edit_is(n, "Clip")) {
        lo = bound_of(q, n, 1, "min", -INFINITY);
        hi = bound_of(q, n, 2, "max", INFINITY);
    }
    bool exact = !q->o->goal.codes.power_of_two || isinf(hi);
    return !q->o->goal.codes.symmetric && lo <= 0 && hi >= 0 && exact;
}

static void mark_clip(struct quantizer *q, size_t i)
{
    struct node *n = &q->g->nodes[i];
    int x = n->n_in ? n->in[0] : -1, y = n->out[0];
    if (x < 0 || !q->v[x].wanted || !is_activation(q, y)) {
        return;
    }
    bool alone = edit_reader(q->g, &q->uses, x) == (int)i;
    int maker = q->g->values[x].producer;
    if (alone && maker >= 0 && q->v[x].same == x && is_range(q, n)) {
        struct node *m = &q->g->nodes[maker];
        for (int k = 0; k < m->n_out; k++) {
            m->out[k] = m->out[k] == x ? y : m->out[k];
        }
        m->raw = (struct span){0};
        q->g->values[y].producer = maker;
        q->g->values[x].producer = -1;
        q->v[x].wanted = false;
        mark(q, y, q->v[x].type);
        n->op = NULL;
        return;
    }
    q->on[i] = true;
    mark(q, y, quantize_type(q, n));
    if (alone && q->v[x].same == x) { /* what will be cut off needs no codes */
        q->v[x].ranged = true;
        q->o->method->choose(&q->seen[y], &q->o->goal, q->v[x].range);
    }
}

void quantize_mark(struct quantizer *q)
{
    static void (*const marks[])(struct quantizer *, size_t) = {
        [RULE_WEIGHTED] = mark_weighted,
        [RULE_COMPUTE] = mark_compute,
        [RULE_MOVE] = mark_move,
        [RULE_CLIP] = mark_clip,
    };
    for (size_t i = 0; i < q->n_nodes; i++) {
        const struct node *n = &q->g->nodes[i];
        int rule = quantize_rule(q, n);
        if (rule >= 0) {
            marks[rule](q, i);
        } else if (edit_weight_axis(q->g, n) >= 0) {
            q->report.left++;
        }
    }
}
