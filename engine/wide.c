/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * wide.c: which float16 values stay float32 between nodes, and the conversions at the ends.
 */
#include "engine/wide.h"

#include <stdlib.h>

/* Arithmetic without a float16 kernel in ONNX Runtime's CPU provider. Operators that only move
 * data have one: there values are rounded. */
static const char *const wide_ops[] = {
    "Add", "Sub", "Mul", "Div", "MatMul", "Softmax", "Sqrt", "Where", "Exp", "Tanh",
};

bool wide_cast(const struct node *n)
{
    return strcmp(n->op, "Cast") == 0 && attr_int(n, "to", 0) == DT_F16;
}

bool wide_node(const struct node *n)
{
    if (wide_cast(n) || strcmp(n->op, "CastLike") == 0) {
        return true;
    }
    for (size_t i = 0; i < COUNT(wide_ops) && !n->domain[0]; i++) {
        if (strcmp(n->op, wide_ops[i]) == 0) {
            return true;
        }
    }
    return false;
}

bool *wide_values(const struct graph *g)
{
    struct uses u = graph_uses(g);
    bool *wide = mem_alloc(g->n_values + 1);
    for (size_t v = 0; v < g->n_values; v++) {
        wide[v] = !g->values[v].is_output && u.start[v] < u.start[v + 1];
        for (int k = u.start[v]; k < u.start[v + 1]; k++) {
            wide[v] = wide[v] && wide_node(&g->nodes[u.node[k]]);
        }
    }
    uses_fini(&u);
    return wide;
}

int wide_inputs(const struct node *n, const bool *held, const struct tensor **in,
                struct tensor **own, bool *half, struct budget *b, struct err *err)
{
    for (int k = 0; k < n->n_in; k++) {
        own[k] = NULL;
        if (in[k] && in[k]->dtype == DT_F16) {
            int rc = tensor_to_f32(in[k], b, &own[k], err);
            if (rc) {
                return rc;
            }
            in[k] = own[k];
            *half = true;
        } else if (n->in[k] >= 0 && held[n->in[k]]) {
            *half = true;
        }
    }
    return OK;
}

int wide_round(struct tensor **t, struct budget *b, struct err *err)
{
    struct tensor *y = NULL;
    int rc = tensor_new(DT_F16, (*t)->rank, (*t)->dims, b, &y, err);
    if (rc) {
        return rc;
    }
    const float *x = (*t)->data;
    for (size_t i = 0; i < y->n; i++) {
        ((uint16_t *)y->data)[i] = f32_to_f16(x[i]);
    }
    tensor_free(*t);
    *t = y;
    return OK;
}
