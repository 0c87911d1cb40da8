/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * op_fixture.h: one operator as a graph of its own, and seeded random numbers, for test_op.c,
 * test_op_bad.c and test_twins.c.
 */
#ifndef TESTS_OP_FIXTURE_H
#define TESTS_OP_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h needs the four above first. */
#include <cmocka.h>

#include "engine/engine.h"

/* ---- One operator as a graph ---------------------------------------------------------------- */

enum { MAX_IN = 12 };

struct fixture {
    struct graph *g;
    struct node *node;
    size_t n_in;               /* fed at run time */
    struct tensor *in[MAX_IN]; /* in graph order */
};

static inline struct fixture fixture_new(const char *op, int opset)
{
    struct fixture f = {.g = graph_new()};
    const int y = graph_value(f.g, "y");
    f.g->opset = opset;
    f.g->inputs = mem_alloc(MAX_IN * sizeof *f.g->inputs);
    f.g->outputs = mem_alloc(sizeof *f.g->outputs);
    f.g->outputs[f.g->n_outputs++] = y;
    f.g->values[y].is_output = true;
    f.g->values[y].rank = -1;
    f.node = graph_add(f.g, op, "", "node", 0, NULL, 1, &y);
    f.node->in = arena_alloc(&f.g->arena, MAX_IN * sizeof *f.node->in);
    return f;
}

/* Appends an input: a constant, or fed at run time; NULL is an omitted one. Takes t over. */
static inline void fixture_input(struct fixture *f, struct tensor *t, bool constant)
{
    assert_true(f->node->n_in < MAX_IN);
    if (!t) {
        f->node->in[f->node->n_in++] = -1;
        return;
    }
    const int v = graph_value(f->g, graph_fresh(f->g, "x"));
    f->node->in[f->node->n_in++] = v;
    f->g->values[v].rank = -1;
    if (constant) {
        f->g->values[v].constant = t;
    } else {
        f->g->values[v].is_input = true;
        f->g->inputs[f->g->n_inputs++] = v;
        f->in[f->n_in++] = t;
    }
}

static inline void fixture_free(struct fixture *f)
{
    for (size_t i = 0; i < f->n_in; i++) {
        tensor_free(f->in[i]);
    }
    graph_free(f->g);
}

static inline int fixture_run_on(struct fixture *f, enum kernels kernels, struct par *par,
                                 struct tensor **out, struct err *err)
{
    struct plan *p = NULL;
    const struct run_options ro = {.par = par};
    const struct plan_options o = {.numerics = NUM_ORT_UNFUSED, .kernels = kernels};
    int rc = graph_finish(f->g, err);
    rc = rc ? rc : plan_new(f->g, &o, &p, err);
    rc = rc ? rc : plan_run(p, (const struct tensor *const *)f->in, out, &ro, err);
    plan_free(p);
    return rc;
}

static inline int fixture_run(struct fixture *f, enum kernels kernels, struct tensor **out,
                              struct err *err)
{
    return fixture_run_on(f, kernels, NULL, out, err);
}

/* ---- Random material ------------------------------------------------------------------------ */

static uint64_t seed = 88172645463325252U;

static inline uint64_t random_bits(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}

/* In [lo, hi]. */
static inline int64_t random_int(int64_t lo, int64_t hi)
{
    return lo + (int64_t)(random_bits() % (uint64_t)(hi - lo + 1));
}

static inline struct tensor *random_tensor(int rank, const int64_t *dims, double lo, double hi)
{
    struct tensor *t = NULL;
    assert_int_equal(tensor_new(DT_F32, rank, dims, NULL, &t, NULL), OK);
    for (size_t i = 0; i < t->n; i++) {
        const double unit = (double)(random_bits() >> 11) * 0x1p-53;
        ((float *)t->data)[i] = (float)(lo + (hi - lo) * unit);
    }
    return t;
}

/* The same values at an odd address, as in a mapped file. Takes t over. */
static inline struct tensor *at_odd_address(struct tensor *t)
{
    const int64_t room = (int64_t)t->size + 1;
    struct tensor *holder = NULL, *odd = NULL;
    assert_int_equal(tensor_new(DT_U8, 1, &room, NULL, &holder, NULL), OK);
    uint8_t *data = (uint8_t *)holder->data + 1;
    memcpy(data, t->data, t->size);
    assert_int_equal(tensor_borrow(t->dtype, t->rank, t->dims, data, &odd, NULL), OK);
    odd->base = holder;
    tensor_free(t);
    return odd;
}

/* Part i of the first dimension, which is then 1. */
static inline struct tensor *batch_slice(const struct tensor *t, int64_t i)
{
    int64_t dims[MAX_RANK];
    struct tensor *part = NULL;
    memcpy(dims, t->dims, sizeof dims);
    dims[0] = 1;
    assert_int_equal(tensor_new(t->dtype, t->rank, dims, NULL, &part, NULL), OK);
    memcpy(part->data, (const uint8_t *)t->data + (size_t)i * part->size, part->size);
    return part;
}

#endif
