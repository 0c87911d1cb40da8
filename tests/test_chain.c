/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * test_chain.c: arithmetic that a kernel computes for the nodes behind its own has the bits that
 * each node has alone, whoever looks and whatever is replaced on the way.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "engine/chain.h"
#include "engine/par.h"
#include "engine/plan.h"
#include "tests/graph_fixture.h"

#include <stdlib.h>

static const float edges[] = {-0.0F, 0.0F,   -3.0F, 3.0F,     1e-40F,   -1e-40F,
                              3e38F, -3e38F, NAN,   INFINITY, -INFINITY};

static float number(size_t i)
{
    return i % 7 == 3 ? edges[i / 7 % COUNT(edges)] : (float)(i * 7919 % 2003) / 128 - 7;
}

static struct tensor *filled(int rank, const int64_t *dims)
{
    struct tensor *t = NULL;
    assert_int_equal(tensor_new(DT_F32, rank, dims, NULL, &t, NULL), OK);
    for (size_t i = 0; i < t->n; i++) {
        ((float *)t->data)[i] = number(i);
    }
    return t;
}

static void scalar(struct graph *g, const char *name, float f)
{
    constant(g, name, DT_F32, 0, NULL, &f);
}

static void vector(struct graph *g, const char *name, int64_t n, int rank)
{
    const int64_t dims[] = {n, 1, 1};
    float *f = mem_alloc((size_t)n * sizeof *f);
    for (int64_t i = 0; i < n; i++) {
        f[i] = 0.5F + (float)(i % 13) / 16;
    }
    constant(g, name, DT_F32, rank, dims, f);
    free(f);
}

static void add(struct graph *g, const char *op, const char *out, int n_in, const char *const *in)
{
    int v[5], y = graph_value(g, out);
    for (int i = 0; i < n_in; i++) {
        v[i] = graph_value(g, in[i]);
    }
    graph_add(g, op, "", out, n_in, v, 1, &y);
}

static struct graph *graph_open(void)
{
    struct graph *g = graph_with_input();
    scalar(g, "three", 3);
    scalar(g, "six", 6);
    scalar(g, "zero", 0);
    return g;
}

static struct plan *graph_close(struct graph *g, const char *out)
{
    const struct plan_options o = {.kernels = KERNELS_FAST, .reference = true};
    struct plan *p = NULL;
    struct err e = {0};
    output(g, out);
    assert_int_equal(graph_finish(g, &e), OK);
    assert_int_equal(plan_new(g, &o, &p, &e), OK);
    graph_free(g);
    return p;
}

/* Hard swish as exporters spell it, behind `in`; what it reads besides counts as well. */
static void hard_swish(struct graph *g, const char *in)
{
    add(g, "Add", "plus", IN(in, "three"));
    add(g, "Clip", "clip", IN("plus", "zero", "six"));
    add(g, "Mul", "product", IN(in, "clip"));
    add(g, "Div", "swish", IN("product", "six"));
    add(g, "Sub", "rest", IN("three", "swish"));
    add(g, "Relu", "relu", IN("rest"));
    add(g, "Add", "sum", IN("relu", "plus"));
    add(g, "Mul", "last", IN("sum", "sum"));
}

struct seen {
    struct tensor **values; /* per value */
    int replace;            /* value to replace by zeros, -1: none */
};

static int keep(void *ctx, int v, const struct tensor *t, struct err *err)
{
    struct seen *s = ctx;
    (void)err;
    tensor_free(s->values[v]);
    s->values[v] = tensor_ref(t);
    return OK;
}

static int replace(void *ctx, int v, const struct tensor *t, struct tensor **instead,
                   struct err *err)
{
    const struct seen *s = ctx;
    if (v != s->replace) {
        return OK;
    }
    int rc = tensor_zeros(t->dtype, t->rank, t->dims, NULL, instead, err);
    if (!rc) {
        (*instead)->channels_last = t->channels_last;
    }
    return rc;
}

static void seen_free(struct seen *s, const struct plan *p)
{
    for (size_t v = 0; v < p->g->n_values; v++) {
        tensor_free(s->values[v]);
    }
    free(s->values);
}

static struct seen run(const struct plan *p, const struct tensor *x, plan_swap *swap, int value,
                       struct par *par)
{
    struct seen s = {mem_alloc(p->g->n_values * sizeof *s.values), value};
    const struct run_options o = {.tap = keep, .swap = swap, .tap_ctx = &s, .par = par};
    struct tensor *y = NULL;
    struct err e = {0};
    assert_int_equal(plan_run(p, &x, &y, &o, &e), OK);
    tensor_free(y);
    return s;
}

/* Every value with the nodes chained, and with each by itself, as a run with replacements is. */
static void expect_same(const struct plan *p, const struct tensor *x, struct par *par)
{
    struct seen chained = run(p, x, NULL, -1, par), alone = run(p, x, replace, -1, NULL);
    for (size_t v = 0; v < p->g->n_values; v++) {
        assert_int_equal(chained.values[v] != NULL, alone.values[v] != NULL);
        if (chained.values[v] && !tensor_equal(chained.values[v], alone.values[v])) {
            fail_msg("value %s", p->g->values[v].name);
        }
    }
    seen_free(&chained, p);
    seen_free(&alone, p);
}

static int links_of(const struct plan *p, const char *node)
{
    for (size_t i = 0; i < p->g->n_nodes; i++) {
        if (strcmp(p->g->nodes[i].name, node) == 0) {
            return p->steps[i].chain ? p->steps[i].chain->n : 0;
        }
    }
    fail_msg("no node %s", node);
    return 0;
}

static struct plan *normalized(int64_t channels)
{
    struct graph *g = graph_open();
    vector(g, "scale", channels, 1);
    vector(g, "bias", channels, 1);
    vector(g, "mean", channels, 1);
    vector(g, "variance", channels, 1);
    add(g, "BatchNormalization", "norm", IN("x", "scale", "bias", "mean", "variance"));
    hard_swish(g, "norm");
    return graph_close(g, "last");
}

static void chains_have_the_bits_of_nodes(void **state)
{
    (void)state;
    static const int64_t shapes[][4] = {{1, 3, 5, 7},    {2, 16, 3, 3}, {1, 300, 2, 5},
                                        {1, 40, 64, 33}, {1, 1, 1, 1},  {1, 4, 0, 2}};
    struct par *par = par_new(2);
    for (size_t i = 0; i < COUNT(shapes); i++) {
        struct tensor *x = filled(4, shapes[i]);
        struct plan *p = normalized(shapes[i][1]);
        assert_int_equal(links_of(p, "norm"), 6);
        expect_same(p, x, NULL);
        expect_same(p, x, par);
        plan_free(p);
        struct graph *g = graph_open(); /* without the node in front: "x" is read again */
        hard_swish(g, "x");
        p = graph_close(g, "last");
        assert_int_equal(links_of(p, "plus"), 5);
        expect_same(p, x, NULL);
        expect_same(p, x, par);
        plan_free(p);
        tensor_free(x);
    }
    par_free(par);
}

/* What the first node reads may be of another shape than what it makes. */
static void chains_that_would_broadcast_are_left(void **state)
{
    (void)state;
    struct graph *g = graph_open();
    vector(g, "v", 3, 3);
    add(g, "Mul", "first", IN("x", "v"));
    add(g, "Add", "second", IN("first", "x"));
    struct plan *p = graph_close(g, "second");
    assert_int_equal(links_of(p, "first"), 1);
    for (int rank = 1; rank <= 4; rank++) {
        struct tensor *x = filled(rank, (const int64_t[]){1, 1, 4, 5});
        expect_same(p, x, NULL);
        tensor_free(x);
    }
    plan_free(p);
}

static void replaced_values_are_read(void **state)
{
    (void)state;
    struct plan *p = normalized(3);
    struct tensor *x = filled(4, (const int64_t[]){1, 3, 4, 5});
    struct seen s = run(p, x, replace, graph_find(p->g, "clip"), NULL);
    const struct tensor *swish = s.values[graph_find(p->g, "rest")];
    for (size_t i = 0; i < swish->n; i++) {
        const float f = ((float *)swish->data)[i], in = number(i);
        assert_true(f == 3 || isnan(f) || isinf(in)); /* 3 - norm * 0 / 6 */
    }
    seen_free(&s, p);
    tensor_free(x);
    plan_free(p);
}

/* Short of memory a run tells so, and leaves nothing behind. */
static void failed_chains_leave_nothing(void **state)
{
    (void)state;
    struct plan *p = normalized(16);
    struct tensor *x = filled(4, (const int64_t[]){1, 16, 8, 8});
    struct budget b = {0};
    size_t failed = 0;
    p->o.budget = &b;
    for (b.limit = 1 << 10; b.limit < 64 << 10; b.limit += 1 << 10) {
        struct tensor *y = NULL;
        struct err e = {0};
        const int rc = plan_run(p, (const struct tensor *const[]){x}, &y, NULL, &e);
        assert_true(rc == OK || rc == E_LIMIT);
        failed += rc != OK;
        tensor_free(rc ? NULL : y);
        assert_int_equal(budget_used(&b), 0);
    }
    assert_true(failed > 10);
    tensor_free(x);
    plan_free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chains_have_the_bits_of_nodes),
        cmocka_unit_test(chains_that_would_broadcast_are_left),
        cmocka_unit_test(replaced_values_are_read),
        cmocka_unit_test(failed_chains_leave_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
