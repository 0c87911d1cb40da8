/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * test_joined.c: nodes that run at once: a convolution, the depthwise one behind it and a pool
 * behind that, which run row by row where they are large, and convolutions of few channels that
 * have the same input. Every value has the bits that it has when they run one after the other, on
 * every instruction set, for any number of threads and whoever looks.
 */
#include "tests/op_fixture.h"

#include "engine/kernel_f32.h"

#include <stdlib.h>

enum { VALUES = 5, ALL = (1 << VALUES) - 1 }; /* results that are compared, at most */

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

static int add_input(struct fixture *f, const int64_t *x)
{
    const int in = graph_value(f->g, "in");
    f->g->values[in].rank = -1;
    f->g->values[in].is_input = true;
    f->g->inputs[f->g->n_inputs++] = in;
    f->in[f->n_in++] = random_tensor(4, x, -1, 1);
    return in;
}

static void add_output(struct fixture *f, const char *name)
{
    int *old = f->g->outputs;
    const int v = graph_value(f->g, name);
    f->g->outputs = mem_alloc((f->g->n_outputs + 1) * sizeof *old);
    memcpy(f->g->outputs, old, f->g->n_outputs * sizeof *old);
    free(old);
    f->g->outputs[f->g->n_outputs++] = v;
    f->g->values[v].is_output = true;
}

/* Of single pixels, or of few channels, for c x high x wide results. */
static void append_first(struct fixture *f, int64_t c, int64_t high, int64_t wide)
{
    static const int64_t twice[] = {2, 2}, around[] = {1, 1, 1, 1};
    const bool few = random_int(0, 1);
    const int64_t scale = few ? 2 : 1, k = few ? 3 : 1;
    const int64_t x[] = {random_int(1, 2), few ? random_int(1, 4) : random_int(1, 70), scale * high,
                         scale * wide};
    const int64_t w[] = {c, x[1], k, k};
    struct tensor *const constants[] = {random_tensor(4, w, -1, 1), random_tensor(1, w, -1, 1)};
    struct node *n = append(f->g, "Conv", add_input(f, x), constants, 2, "v0");
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
    add_output(f, "v3");
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

/* x -> Conv -> Relu beside x -> Conv, two to four times in all, mostly so few channels that they
 * are one product. alike: size and first weights are always the same. */
static struct fixture make_heads(bool alike)
{
    static const char *const results[] = {"v0", "v1", "v2", "v3"};
    struct fixture f = fixture_new("Relu", 13);
    const int64_t c = alike ? 24 : random_int(1, 200), side = alike ? 9 : random_int(1, 40);
    const int64_t x[] = {random_int(1, 2), c, side, side + 1};
    const int n = (int)random_int(2, 4);
    const int bias = alike ? 3 : (int)random_int(0, 3); /* all have one, the first or none */
    const int in = add_input(&f, x);
    for (int k = 0; k < n; k++) {
        const int64_t w[] = {alike && k == 0 ? 3 : random_int(1, 6), c, 1, 1};
        struct tensor *const constants[] = {random_tensor(4, w, -1, 1), random_tensor(1, w, -1, 1)};
        if (alike && k == 0) {
            memset(constants[0]->data, 0, constants[0]->size);
        }
        const bool has = bias < 2 || (bias == 2 && k == 0);
        append(f.g, "Conv", in, constants, has ? 2 : 1, results[k]);
        if (!has) {
            tensor_free(constants[1]);
        }
        if (k) {
            add_output(&f, results[k]);
        }
    }
    f.node = &f.g->nodes[0]; /* they have moved */
    f.node->in[f.node->n_in++] = graph_value(f.g, "v0");
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

static struct plan *plan_it(struct fixture *f, struct plan_store *store)
{
    const struct plan_options o = {
        .numerics = NUM_ORT_UNFUSED, .kernels = KERNELS_FAST, .store = store};
    struct plan *p = NULL;
    struct err err;
    if (graph_finish(f->g, &err) || plan_new(f->g, &o, &p, &err)) {
        fail_msg("%s", err.text);
    }
    return p;
}

static void compare(const struct made *m, const struct made *apart, unsigned want)
{
    for (int v = 0; v < VALUES; v++) {
        assert_int_equal(m->t[v] != NULL, apart->t[v] && want >> v & 1);
        assert_true(!m->t[v] || tensor_equal(m->t[v], apart->t[v]));
    }
}

static void check(struct fixture f, struct par *const pars[3])
{
    static const unsigned wants[] = {ALL, 1 << 3, 1 << 2, 1 << 1 | 1 << 3, 1 << 0 | 1 << 4};
    static const char *const isas[] = {"plain", "avx2", "avx512"};
    struct plan *p = plan_it(&f, NULL);
    struct fixture other = f;
    other.in[0] = random_tensor(4, f.in[0]->dims, -1, 1);
    for (size_t i = 0; i < COUNT(isas); i++) {
        const struct f32_kernels *k = kernel_f32_isa(isas[i]);
        kernel_f32_force(k);
        struct made apart = {0};
        if (k) {
            apart = run(p, &f, true, ALL, NULL);
        }
        for (size_t way = 0; k && way < 3 * COUNT(wants); way++) {
            const unsigned want = wants[way / 3];
            if (way < 3) { /* memory is to hold other values */
                struct made stale = run(p, &other, true, ALL, NULL);
                made_fini(&stale);
            }
            struct made m = run(p, &f, false, want, pars[way % 3]);
            compare(&m, &apart, want);
            made_fini(&m);
        }
        made_fini(&apart);
        kernel_f32_force(NULL);
    }
    plan_free(p);
    tensor_free(other.in[0]);
    fixture_free(&f);
}

/* Plans that have the packed weights of the first convolution in common, but not those beside. */
static void plans_share_the_first(void **state)
{
    enum { PLANS = 4 };
    struct fixture f[PLANS];
    struct plan *p[PLANS];
    struct plan_store *store = plan_store_new();
    (void)state;
    for (int i = 0; i < PLANS; i++) {
        f[i] = make_heads(true);
        p[i] = plan_it(&f[i], store);
    }
    for (int i = 0; i < PLANS; i++) {
        struct made apart = run(p[i], &f[i], true, ALL, NULL);
        struct made m = run(p[i], &f[i], false, ALL, NULL);
        compare(&m, &apart, ALL);
        made_fini(&m);
        made_fini(&apart);
    }
    for (int i = 0; i < PLANS; i++) {
        plan_free(p[i]);
        fixture_free(&f[i]);
    }
    plan_store_free(store);
}

static void joining_changes_no_bit(void **state)
{
    enum { LINES = 6, HEADS = 20 };
    (void)state;
    struct par *pars[] = {NULL, par_new(2), par_new(3)};
    for (int i = 0; i < LINES; i++) {
        check(make_line(), pars);
    }
    for (int i = 0; i < HEADS; i++) {
        check(make_heads(false), pars);
    }
    par_free(pars[1]);
    par_free(pars[2]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(joining_changes_no_bit),
                                       cmocka_unit_test(plans_share_the_first)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
