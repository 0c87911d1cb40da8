/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * test_rows.c: a convolution, the depthwise one behind it and a pool behind that, which run row by
 * row where they are large: every value has the bits that it has when they run one after the other,
 * on every instruction set, for any number of threads and whoever looks.
 */
#include "tests/op_fixture.h"

#include "engine/kernel_f32.h"

#include <stdlib.h>

enum { VALUES = 5 }; /* results of the three and of the activations behind two of them */

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

/* Of single pixels, or of few channels, for c x high x wide results. */
static void append_first(struct fixture *f, int64_t c, int64_t high, int64_t wide)
{
    static const int64_t twice[] = {2, 2}, around[] = {1, 1, 1, 1};
    const bool few = random_int(0, 2) == 0;
    const int64_t scale = few ? 2 : 1, k = few ? 3 : 1;
    const int64_t x[] = {random_int(1, 2), few ? random_int(1, 4) : random_int(1, 70), scale * high,
                         scale * wide};
    const int64_t w[] = {c, x[1], k, k};
    struct tensor *const constants[] = {random_tensor(4, w, -1, 1), random_tensor(1, w, -1, 1)};
    const int in = graph_value(f->g, "in");
    f->g->values[in].rank = -1;
    f->g->values[in].is_input = true;
    f->g->inputs[f->g->n_inputs++] = in;
    f->in[f->n_in++] = random_tensor(4, x, -1, 1);
    struct node *n = append(f->g, "Conv", in, constants, 2, "v0");
    if (few) {
        graph_attr_ints(f->g, n, "strides", 2, twice);
        graph_attr_ints(f->g, n, "pads", 4, around);
    }
}

static void append_depthwise(struct fixture *f, const char *x, int64_t c)
{
    const int64_t step = random_int(1, 2), k = random_int(0, 1) ? 3 : 5;
    const int64_t filters[] = {c, 1, k, k}, strides[] = {step, step};
    const int64_t pads[] = {random_int(0, k - 1), 1, random_int(0, k - 1), k / 2};
    struct tensor *const constants[] = {random_tensor(4, filters, -1, 1),
                                        random_tensor(1, filters, -1, 1)};
    struct node *n = append(f->g, "Conv", graph_value(f->g, x), constants, 2, "v2");
    graph_attr_int(f->g, n, "group", c);
    graph_attr_ints(f->g, n, "strides", 2, strides);
    graph_attr_ints(f->g, n, "pads", 4, pads);
}

static void append_pool(struct fixture *f)
{
    const int64_t k = random_int(2, 3), step = random_int(1, 2), pad = random_int(0, 1);
    const int64_t kernel[] = {k, k}, strides[] = {step, step}, pads[] = {pad, pad, 1, 1};
    struct node *n = append(f->g, random_int(0, 1) ? "MaxPool" : "AveragePool",
                            graph_value(f->g, "y"), NULL, 0, "v3");
    graph_attr_ints(f->g, n, "kernel_shape", 2, kernel);
    graph_attr_ints(f->g, n, "strides", 2, strides);
    graph_attr_ints(f->g, n, "pads", 4, pads);
    graph_attr_int(f->g, n, "ceil_mode", random_int(0, 1));
    free(f->g->outputs);
    f->g->outputs = mem_alloc(2 * sizeof *f->g->outputs);
    f->g->outputs[0] = graph_value(f->g, "y");
    f->g->outputs[1] = graph_value(f->g, "v3");
    f->g->values[f->g->outputs[1]].is_output = true;
    f->g->n_outputs = 2;
}

/* x -> Conv -> [Relu ->] depthwise Conv -> Relu [-> pool]; over 1 MiB lies between the first two,
 * with a pool mostly between it and what is in front, too. */
static struct fixture make_line(void)
{
    struct fixture f = fixture_new("Relu", 13);
    const bool act = random_int(0, 1), pool = random_int(0, 2) > 0;
    const int64_t c = random_int(40, 100), high = random_int(20, 90);
    const int64_t wide = ((1 << (pool ? 19 : 18)) + c * high) / (c * high);
    append_first(&f, c, high, wide);
    if (act) {
        append(f.g, "Relu", graph_value(f.g, "v0"), NULL, 0, "v1");
    }
    append_depthwise(&f, act ? "v1" : "v0", c);
    if (pool) {
        append_pool(&f);
    }
    f.node = &f.g->nodes[0]; /* they have moved */
    f.node->in[f.node->n_in++] = graph_value(f.g, "v2");
    return f;
}

static const char *const names[VALUES] = {"v0", "v1", "v2", "y", "v3"};

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

static void check_line(struct par *const pars[3])
{
    enum { ALL = (1 << VALUES) - 1 };
    static const unsigned wants[] = {ALL, 1 << 3, 1 << 2, 1 << 1 | 1 << 3, 1 << 0 | 1 << 4};
    static const char *const isas[] = {"plain", "avx2", "avx512"};
    struct fixture f = make_line();
    const struct plan_options o = {.numerics = NUM_ORT_UNFUSED, .kernels = KERNELS_FAST};
    struct plan *p = NULL;
    struct err err;
    struct fixture other = f;
    other.in[0] = random_tensor(4, f.in[0]->dims, -1, 1);
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
            struct made stale = run(p, &other, true, ALL, NULL); /* what memory holds then */
            made_fini(&stale);
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
    tensor_free(other.in[0]);
    fixture_free(&f);
}

static void rows_change_no_bit(void **state)
{
    enum { ROUNDS = 8 };
    (void)state;
    struct par *pars[] = {NULL, par_new(2), par_new(3)};
    for (int i = 0; i < ROUNDS; i++) {
        check_line(pars);
    }
    par_free(pars[1]);
    par_free(pars[2]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(rows_change_no_bit)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
