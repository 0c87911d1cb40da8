/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * graph_fixture.h: pieces of graphs that tests build by hand. Behind the headers that cmocka needs.
 */
#ifndef TESTS_GRAPH_FIXTURE_H
#define TESTS_GRAPH_FIXTURE_H

#include "engine/engine.h"

/* How many inputs a node has, and their names. */
#define IN(...)                                                                                    \
    (int)COUNT(((const char *const[]){__VA_ARGS__})), (const char *const[])                        \
    {                                                                                              \
        __VA_ARGS__                                                                                \
    }

/* A value that is a constant with these bytes. */
static inline int constant(struct graph *g, const char *name, enum dtype d, int rank,
                           const int64_t *dims, const void *data)
{
    int v = graph_value(g, name);
    struct tensor *t = NULL;
    assert_int_equal(tensor_new(d, rank, dims, NULL, &t, NULL), OK);
    memcpy(t->data, data, t->size);
    g->values[v].constant = t;
    g->values[v].dtype = d;
    return v;
}

/* A graph of one float32 input, "x". */
static inline struct graph *graph_with_input(void)
{
    struct graph *g = graph_new();
    g->opset = 13;
    g->inputs = mem_alloc(sizeof *g->inputs);
    g->outputs = mem_alloc(sizeof *g->outputs);
    g->inputs[g->n_inputs++] = graph_value(g, "x");
    g->values[0].is_input = true;
    g->values[0].dtype = DT_F32;
    return g;
}

/* The same with a shape. */
static inline struct graph *graph_shaped(int rank, const int64_t *dims)
{
    struct graph *g = graph_with_input();
    g->values[0].rank = rank;
    memcpy(g->values[0].dims, dims, (size_t)rank * sizeof *dims);
    return g;
}

/* A node of ai.onnx that goes by its output. */
static inline struct node *add_node(struct graph *g, const char *op, int n, const char *const *in,
                                    const char *out)
{
    int v[8], y = graph_value(g, out);
    for (int i = 0; i < n; i++) {
        v[i] = graph_value(g, in[i]);
    }
    return graph_add(g, op, "", out, n, v, 1, &y);
}

static inline void output(struct graph *g, const char *name)
{
    g->outputs = mem_grow(g->outputs, (g->n_outputs + 1) * sizeof *g->outputs);
    g->outputs[g->n_outputs] = graph_value(g, name);
    g->values[g->outputs[g->n_outputs++]].is_output = true;
}

/* What the graph makes of its input. */
static inline struct tensor *graph_run(const struct graph *g, enum numerics n,
                                       const struct tensor *x)
{
    const struct plan_options o = {.numerics = n};
    struct plan *p = NULL;
    struct tensor *y = NULL;
    struct err err = {0};
    if (plan_new(g, &o, &p, &err) || plan_run(p, &x, &y, NULL, &err)) {
        fail_msg("%s", err.text);
    }
    plan_free(p);
    return y;
}

#endif
