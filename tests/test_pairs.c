/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * test_pairs.c: a convolution of single pixels and the depthwise one behind it, which run as one
 * where they are large: every value has the bits that it has when they run one after the other, on
 * every instruction set, for any number of threads and whoever looks.
 */
#include "tests/op_fixture.h"

#include "engine/kernel_f32.h"

#include <stdlib.h>

enum { VALUES = 4 }; /* results of the two and of the activations behind them */

/* Appends a node that reads input 0 from `x`; `more`: constants behind it. */
static struct node *append(struct graph *g, const char *op, int x, struct tensor *const *more,
                           int n_more, const char *y)
{
    int in[3] = {x}, out = graph_value(g, y);
    for (int i = 0; i < n_more; i++) {
        in[1 + i] = graph_value(g, graph_fresh(g, "w"));
        g->values[in[1 + i]].constant = more[i];
        g->values[in[1 + i]].rank = -1;
    }
    g->values[out].rank = -1;
    return graph_add(g, op, "", y, 1 + n_more, in, 1, &out);
}

/* x -> Conv -> [Relu ->] depthwise Conv -> Relu; over 1 MiB lies between the two. */
static struct fixture make_pair(void)
{
    struct fixture f = fixture_new("Relu", 13);
    const int64_t c = random_int(40, 100), step = random_int(1, 2), k = random_int(0, 1) ? 3 : 5;
    const int64_t high = random_int(20, 90), wide = ((1 << 18) + c * high) / (c * high);
    const int64_t x[] = {random_int(1, 2), random_int(1, 70), high, wide};
    const int64_t w[] = {c, x[1], 1, 1}, filters[] = {c, 1, k, k}, strides[] = {step, step};
    const int64_t pads[] = {random_int(0, k - 1), 1, random_int(0, k - 1), k / 2};
    struct tensor *const first[] = {random_tensor(4, w, -1, 1), random_tensor(1, w, -1, 1)};
    struct tensor *const second[] = {random_tensor(4, filters, -1, 1),
                                     random_tensor(1, filters, -1, 1)};
    const int in = graph_value(f.g, "in");
    f.g->values[in].rank = -1;
    f.g->values[in].is_input = true;
    f.g->inputs[f.g->n_inputs++] = in;
    f.in[f.n_in++] = random_tensor(4, x, -1, 1);
    append(f.g, "Conv", in, first, 2, "v0");
    const bool act = random_int(0, 1);
    if (act) {
        append(f.g, "Relu", graph_value(f.g, "v0"), NULL, 0, "v1");
    }
    struct node *n = append(f.g, "Conv", graph_value(f.g, act ? "v1" : "v0"), second, 2, "v2");
    graph_attr_int(f.g, n, "group", c);
    graph_attr_ints(f.g, n, "strides", 2, strides);
    graph_attr_ints(f.g, n, "pads", 4, pads);
    f.node = &f.g->nodes[0]; /* they have moved */
    f.node->in[f.node->n_in++] = graph_value(f.g, "v2");
    return f;
}

static const char *const names[VALUES] = {"v0", "v1", "v2", "y"};

struct made {
    const struct graph *g;
    struct tensor *t[VALUES];
};

static int keep(void *ctx, int value, const struct tensor *t, struct err *err)
{
    struct made *m = ctx;
    (void)err;
    for (int i = 0; i < VALUES; i++) {
        if (strcmp(m->g->values[value].name, names[i]) == 0) {
            m->t[i] = tensor_ref(t);
        }
    }
    return OK;
}

/* Values may be swapped, so that the nodes must run one by one. */
static int swap_none(void *ctx, int value, const struct tensor *t, struct tensor **instead,
                     struct err *err)
{
    (void)ctx, (void)value, (void)t, (void)instead, (void)err;
    return OK;
}

/* want: bit i: value i. */
static struct made run(const struct plan *p, const struct fixture *f, bool apart, unsigned want,
                       struct par *par)
{
    struct made m = {.g = plan_graph(p)};
    struct err err;
    bool *wanted = mem_alloc(m.g->n_values);
    for (int i = 0; i < VALUES; i++) {
        const int v = graph_find(m.g, names[i]);
        if (v >= 0) {
            wanted[v] = want >> i & 1;
        }
    }
    const struct run_options o = {
        .tap = keep, .swap = apart ? swap_none : NULL, .tap_ctx = &m, .wanted = wanted, .par = par};
    if (plan_run(p, (const struct tensor *const *)f->in, NULL, &o, &err)) {
        fail_msg("%s", err.text);
    }
    free(wanted);
    return m;
}

static void made_fini(struct made *m)
{
    for (int i = 0; i < VALUES; i++) {
        tensor_free(m->t[i]);
    }
}

static void check_pair(struct par *const pars[3])
{
    enum { ALL = (1 << VALUES) - 1 };
    static const unsigned wants[] = {ALL, 1 << 3, 1 << 2, 1 << 1 | 1 << 3, 1 << 0};
    static const char *const isas[] = {"plain", "avx2", "avx512"};
    struct fixture f = make_pair();
    const struct plan_options o = {.numerics = NUM_ORT_UNFUSED, .kernels = KERNELS_FAST};
    struct plan *p = NULL;
    struct err err;
    if (graph_finish(f.g, &err) || plan_new(f.g, &o, &p, &err)) {
        fail_msg("%s", err.text);
    }
    for (size_t i = 0; i < COUNT(isas); i++) {
        const struct f32_kernels *k = kernel_f32_isa(isas[i]);
        kernel_f32_force(k);
        struct made apart = {0};
        if (k) {
            apart = run(p, &f, true, ALL, NULL);
        }
        for (size_t way = 0; k && way < 3 * COUNT(wants); way++) {
            const unsigned want = wants[way / 3];
            struct made m = run(p, &f, false, want, pars[way % 3]);
            for (int v = 0; v < VALUES; v++) {
                assert_int_equal(m.t[v] != NULL, apart.t[v] && want >> v & 1);
                assert_true(!m.t[v] || tensor_equal(m.t[v], apart.t[v]));
            }
            made_fini(&m);
        }
        made_fini(&apart);
        kernel_f32_force(NULL);
    }
    plan_free(p);
    fixture_free(&f);
}

static void pairs_change_no_bit(void **state)
{
    enum { ROUNDS = 12 };
    (void)state;
    struct par *pars[] = {NULL, par_new(2), par_new(3)};
    for (int i = 0; i < ROUNDS; i++) {
        check_pair(pars);
    }
    par_free(pars[1]);
    par_free(pars[2]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(pairs_change_no_bit)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
