/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * test_engine.c: base.h, tensors, half floats, graphs and plans of engine/, on cases small enough
 * to be right by inspection. Operators have their own programs.
 */
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine/engine.h"
#include "tests/graph_fixture.h"

/* ---- base ----------------------------------------------------------------------------------- */

static void errors_chain_context(void **state)
{
    (void)state;
    struct err e = {0};
    assert_int_equal(err_set(&e, E_SHAPE, "weight has %d channels", 3), E_SHAPE);
    assert_int_equal(err_in(&e, "node '%s'", "conv1"), E_SHAPE);
    assert_string_equal(e.text, "node 'conv1': weight has 3 channels");
    assert_int_equal(err_set(NULL, E_IO, "lost"), E_IO);
    assert_string_equal(err_name(E_CHECK), "E_CHECK");
    assert_string_equal(err_name(-99), "E_UNKNOWN");
}

/* Two threads whose maps are the first of the process: each finds what it put in. */
static void *first_map(void *start)
{
    struct strmap m = {0};
    pthread_barrier_wait(start);
    strmap_put(&m, "first", 1);
    for (int i = 0; i < 1000; i++) {
        sched_yield();
    }
    bool found = strmap_get(&m, "first", -1) == 1;
    strmap_fini(&m);
    return found ? start : NULL;
}

static void maps_hash_alike_in_all_threads(void **state)
{
    (void)state;
    for (int i = 0; i < 200; i++) { /* a process each, since the seed is drawn once in it */
        pid_t child = fork();
        if (child == 0) {
            pthread_barrier_t start;
            pthread_barrier_init(&start, NULL, 2);
            pthread_t other;
            void *found = NULL;
            if (pthread_create(&other, NULL, first_map, &start)) {
                _exit(2);
            }
            bool mine = first_map(&start);
            pthread_join(other, &found);
            _exit(!mine || !found);
        }
        int status = 0;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_int_equal(status, 0);
    }
}

static void long_texts_are_cut_not_overrun(void **state)
{
    (void)state;
    struct err e = {0};
    err_set(&e, E_IO, "%0*d", 2000, 7);
    for (int i = 0; i < 50; i++) {
        err_in(&e, "%0*d", 100, i);
    }
    assert_true(strlen(e.text) < sizeof e.text);
}

static void sizes_do_not_wrap(void **state)
{
    (void)state;
    size_t out = 7;
    assert_false(mul_ok(SIZE_MAX / 2 + 1, 2, &out));
    assert_true(mul_ok(SIZE_MAX, 1, &out) && out == SIZE_MAX);
    assert_true(mul_ok(SIZE_MAX, 0, &out) && out == 0);
    assert_false(add_ok(SIZE_MAX, 1, &out));
}

static void map_keeps_what_was_put(void **state)
{
    (void)state;
    struct strmap m = {0};
    char names[500][8];
    assert_int_equal(strmap_get(&m, "a", -1), -1);
    for (int i = 0; i < 500; i++) {
        snprintf(names[i], sizeof names[i], "k%d", i);
        strmap_put(&m, names[i], i);
    }
    strmap_put(&m, "k7", 70);
    for (int i = 0; i < 500; i++) {
        assert_int_equal(strmap_get(&m, names[i], -1), i == 7 ? 70 : i);
    }
    assert_int_equal(m.n, 500);
    strmap_fini(&m);
}

static void budget_counts_and_refuses(void **state)
{
    (void)state;
    struct budget b = {.limit = 1000};
    struct err e = {0};
    assert_int_equal(budget_take(&b, 600, &e), OK);
    assert_int_equal(budget_take(&b, 600, &e), E_LIMIT);
    budget_give(&b, 600);
    assert_int_equal(budget_take(&b, 1000, &e), OK);
    assert_int_equal(b.peak, 1000);
}

/* What the thread holds for later does not count as taken. */
static void budget_limit_may_come_late(void **state)
{
    (void)state;
    struct budget b = {0};
    struct err e = {0};
    assert_int_equal(budget_take(&b, 100, &e), OK);
    assert_int_equal(budget_used(&b), 100);
    b.limit = 150;
    assert_int_equal(budget_take(&b, 51, &e), E_LIMIT);
    assert_int_equal(budget_take(&b, 50, &e), OK);
    assert_int_equal(budget_used(&b), 150);
    b.limit = 0;
    for (int i = 0; i < 3; i++) { /* more than a thread holds */
        assert_int_equal(budget_take(&b, 1 << 18, &e), OK);
    }
    for (int i = 0; i < 3; i++) {
        budget_give(&b, 1 << 18);
    }
    assert_int_equal(budget_used(&b), 150);
    assert_true(b.used <= 1 << 20);
}

/* ---- tensors -------------------------------------------------------------------------------- */

static void shapes_from_files_are_checked(void **state)
{
    (void)state;
    struct tensor *t = NULL;
    struct err e = {0};
    int64_t negative[] = {2, -1}, huge[] = {INT64_MAX, INT64_MAX}, large[] = {1 << 21, 1 << 21};
    assert_int_equal(tensor_new(DT_F32, 2, negative, NULL, &t, &e), E_SHAPE);
    assert_int_equal(tensor_new(DT_F32, 2, huge, NULL, &t, &e), E_LIMIT);
    assert_int_equal(tensor_new(DT_F32, 2, large, NULL, &t, &e), E_LIMIT);
    assert_int_equal(tensor_new(DT_F32, MAX_RANK + 1, huge, NULL, &t, &e), E_SHAPE);
    assert_int_equal(tensor_new(DT_STRING, 0, NULL, NULL, &t, &e), E_UNSUPPORTED);
    assert_null(t);
}

static void views_share_and_release(void **state)
{
    (void)state;
    struct budget b = {0};
    struct tensor *t = NULL, *v = NULL, *w = NULL;
    int64_t dims[] = {2, 3}, flat[] = {6}, wrong[] = {7};
    assert_int_equal(tensor_new(DT_F32, 2, dims, &b, &t, NULL), OK);
    assert_int_equal(tensor_view(t, 1, flat, &v, NULL), OK);
    assert_int_equal(tensor_view(v, 1, wrong, &w, NULL), E_SHAPE);
    ((float *)t->data)[5] = 42;
    tensor_free(t);
    assert_true(((float *)v->data)[5] == 42);
    assert_true(budget_used(&b) > 0);
    tensor_free(v);
    assert_int_equal(budget_used(&b), 0);
}

static struct span text_span(const char *s)
{
    return (struct span){.p = (const uint8_t *)s, .n = strlen(s)};
}

static void strings_keep_their_bytes(void **state)
{
    (void)state;
    static const char *const words[4] = {"cat", "", "a longer one", "x"};
    struct budget b = {.limit = 1000};
    struct tensor *t = NULL, *v = NULL, *z = NULL;
    assert_int_equal(tensor_new(DT_STRING, 1, (const int64_t[]){4}, &b, &t, NULL), E_UNSUPPORTED);
    assert_int_equal(tensor_new_strings(1, (const int64_t[]){4}, 1000, &b, &t, NULL), E_LIMIT);
    assert_int_equal(tensor_new_strings(1, (const int64_t[]){4}, SIZE_MAX, NULL, &t, NULL),
                     E_LIMIT);
    assert_int_equal(tensor_new_strings(1, (const int64_t[]){4}, 16, &b, &t, NULL), OK);
    for (size_t i = 0; i < 4; i++) {
        tensor_put_string(t, i, text_span(words[i]));
    }
    assert_int_equal(tensor_view(t, 2, (const int64_t[]){2, 2}, &v, NULL), OK);
    tensor_free(t);
    for (size_t i = 0; i < 4; i++) {
        struct span s = tensor_string(v, i);
        assert_int_equal(s.n, strlen(words[i]));
        assert_memory_equal(s.p, words[i], s.n);
    }
    assert_int_equal(tensor_zeros(DT_STRING, 2, v->dims, &b, &z, NULL), OK);
    assert_int_equal(tensor_string(z, 3).n, 0);
    assert_false(tensor_equal(v, z));
    assert_true(tensor_equal(v, v));
    tensor_free(v);
    tensor_free(z);
    assert_int_equal(budget_used(&b), 0);
}

static void half_floats_round_to_even(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 0x10000; h++) { /* every half survives the round trip */
        float f = f16_to_f32((uint16_t)h);
        if (!isnan(f)) {
            assert_int_equal(f32_to_f16(f), h);
        }
    }
    assert_int_equal(f32_to_f16(65519.0f), 0x7bff); /* below the tie: the largest half */
    assert_int_equal(f32_to_f16(65520.0f), 0x7c00); /* the tie goes to infinity */
    assert_int_equal(f32_to_f16(0x1p-25f), 0x0000); /* tie to even zero */
    assert_int_equal(f32_to_f16(0x1.8p-25f), 0x0001);
    assert_int_equal(f32_to_f16(1.0f + 0x1p-11f), 0x3c00);
    assert_int_equal(f32_to_f16(1.0f + 3 * 0x1p-11f), 0x3c02);
    assert_true(isnan(f16_to_f32(f32_to_f16(NAN))));
    assert_int_equal(f32_to_bf16(1.0f + 0x1p-8f), 0x3f80);
    assert_int_equal(f32_to_bf16(1.0f + 3 * 0x1p-8f), 0x3f82);
    assert_true(isnan(bf16_to_f32(f32_to_bf16(NAN))));
}

/* ---- graphs --------------------------------------------------------------------------------- */

static struct node *add(struct graph *g, const char *op, const char *a, const char *b,
                        const char *out)
{
    int in[2] = {graph_value(g, a), b ? graph_value(g, b) : -1}, y = graph_value(g, out);
    return graph_add(g, op, "", out, b ? 2 : 1, in, 1, &y);
}

static void nodes_are_sorted_stably(void **state)
{
    (void)state;
    struct graph *g = graph_with_input();
    add(g, "Relu", "c", NULL, "d");
    add(g, "Relu", "x", NULL, "b");
    add(g, "Relu", "x", NULL, "c");
    output(g, "d");
    assert_int_equal(graph_finish(g, NULL), OK);
    assert_string_equal(g->nodes[0].name, "b");
    assert_string_equal(g->nodes[1].name, "c");
    assert_string_equal(g->nodes[2].name, "d");
    graph_free(g);
}

static void broken_graphs_are_refused(void **state)
{
    (void)state;
    struct err e = {0};
    struct graph *g = graph_with_input();
    add(g, "Add", "x", "b", "a");
    add(g, "Relu", "a", NULL, "b");
    output(g, "b");
    assert_int_equal(graph_finish(g, &e), E_FORMAT);
    assert_non_null(strstr(e.text, "cycle"));
    graph_free(g);
    g = graph_with_input();
    add(g, "Relu", "x", NULL, "a");
    add(g, "Relu", "x", NULL, "a");
    output(g, "a");
    assert_int_equal(graph_finish(g, &e), E_FORMAT);
    graph_free(g);
    g = graph_with_input();
    add(g, "Relu", "nobody", NULL, "a");
    output(g, "a");
    assert_int_equal(graph_finish(g, &e), E_FORMAT);
    assert_non_null(strstr(e.text, "nobody"));
    graph_free(g);
}

static void clones_are_independent(void **state)
{
    (void)state;
    struct graph *g = graph_with_input();
    struct node *n = add(g, "LeakyRelu", "x", NULL, "y");
    graph_attr_float(g, n, "alpha", 0.5f);
    output(g, "y");
    assert_int_equal(graph_finish(g, NULL), OK);
    struct graph *c = graph_clone(g);
    graph_free(g);
    assert_true(attr_float(&c->nodes[0], "alpha", 0) == 0.5f);
    assert_int_equal(graph_find(c, "y"), c->nodes[0].out[0]);
    assert_string_equal(graph_fresh(c, "y"), "y_1");
    graph_free(c);
}

/* ---- plans ---------------------------------------------------------------------------------- */

struct seen {
    int n;
    bool stop;
};

static int count_tap(void *ctx, int value, const struct tensor *t, struct err *err)
{
    struct seen *s = ctx;
    (void)value;
    (void)t;
    s->n++;
    return s->stop && s->n == 2 ? err_set(err, E_STOP, "enough") : OK;
}

static struct tensor *vector(const float *x, int64_t n)
{
    struct tensor *t = NULL;
    assert_int_equal(tensor_new(DT_F32, 1, &n, NULL, &t, NULL), OK);
    memcpy(t->data, x, (size_t)n * sizeof *x);
    return t;
}

static void plans_run_and_release(void **state)
{
    (void)state;
    struct graph *g = graph_with_input();
    add(g, "Relu", "x", NULL, "a");
    add(g, "Add", "a", "x", "y");
    add(g, "Relu", "x", NULL, "unused");
    output(g, "y");
    assert_int_equal(graph_finish(g, NULL), OK);
    struct budget b = {0};
    struct plan_options o = {.budget = &b};
    struct plan *p = NULL;
    struct err e = {0};
    assert_int_equal(plan_new(g, &o, &p, &e), OK);
    struct tensor *x = vector((float[]){-1, 2}, 2), *y = NULL;
    struct seen seen = {0};
    struct run_options ro = {.tap = count_tap, .tap_ctx = &seen};
    const struct tensor *in[] = {x};
    assert_int_equal(plan_run(p, in, &y, &ro, &e), OK);
    assert_true(((float *)y->data)[0] == -1 && ((float *)y->data)[1] == 4);
    assert_true(seen.n >= 3);
    tensor_free(y);
    assert_int_equal(budget_used(&b), 0); /* nothing of the run is left */
    seen = (struct seen){.stop = true};
    assert_int_equal(plan_run(p, in, &y, &ro, &e), E_STOP);
    assert_int_equal(budget_used(&b), 0);
    struct cancel stop = {.stop = true};
    ro = (struct run_options){.cancel = &stop};
    assert_int_equal(plan_run(p, in, &y, &ro, &e), E_STOP);
    tensor_free(x);
    plan_free(p);
    graph_free(g);
}

static void plans_name_what_is_missing(void **state)
{
    (void)state;
    struct graph *g = graph_with_input();
    add(g, "NoSuchOperator", "x", NULL, "y");
    output(g, "y");
    assert_int_equal(graph_finish(g, NULL), OK);
    struct plan_options o = {0};
    struct plan *p = NULL;
    struct err e = {0};
    assert_int_equal(plan_new(g, &o, &p, &e), E_UNSUPPORTED);
    assert_non_null(strstr(e.text, "NoSuchOperator"));
    assert_non_null(strstr(e.text, "'y'"));
    assert_null(p);
    graph_free(g);
}

/* x -> Relu -> r -> NoSuchOperator -> y -> Relu -> z: r is computed, y and z are not. */
static void partial_plans_leave_gaps(void **state)
{
    (void)state;
    struct graph *g = graph_with_input();
    add(g, "Relu", "x", NULL, "r");
    add(g, "NoSuchOperator", "r", NULL, "y");
    add(g, "Relu", "y", NULL, "z");
    output(g, "z");
    assert_int_equal(graph_finish(g, NULL), OK);
    struct plan_options o = {.partial = true};
    struct plan *p = NULL;
    assert_int_equal(plan_new(g, &o, &p, NULL), OK);
    const struct plan_gap *gaps;
    assert_int_equal(plan_gaps(p, &gaps), 1);
    assert_string_equal(gaps[0].op, "NoSuchOperator");
    assert_int_equal(gaps[0].nodes, 1);
    assert_int_equal(gaps[0].blocked, 2);
    assert_true(gaps[0].output);
    assert_int_equal(plan_blocked(p, graph_find(plan_graph(p), "r")), -1);
    assert_int_equal(plan_blocked(p, graph_find(plan_graph(p), "z")), 0);
    struct tensor *x = NULL, *out = NULL;
    assert_int_equal(tensor_new(DT_F32, 1, (const int64_t[]){3}, NULL, &x, NULL), OK);
    memset(x->data, 0, x->size);
    assert_int_equal(plan_run(p, (const struct tensor *const *)&x, &out, NULL, NULL), OK);
    assert_null(out);
    tensor_free(x);
    plan_free(p);
    graph_free(g);
}

struct refusal {
    int node;
    char why[200];
};

static void note_refused(void *ctx, int node, const char *why)
{
    struct refusal *s = ctx;
    s->node = node;
    snprintf(s->why, sizeof s->why, "%s", why);
}

/* x -> Relu -> r -> Cast to a type that its kernel refuses -> y -> Relu -> z. A run of the
 * partial plan goes on without it; told so, the plan has a gap. A plan that is not partial fails.
 */
static void refused_variants_become_gaps(void **state)
{
    (void)state;
    struct graph *g = graph_with_input();
    add(g, "Relu", "x", NULL, "r");
    add(g, "Cast", "r", NULL, "y");
    graph_attr_int(g, &g->nodes[1], "to", DT_STRING);
    add(g, "Relu", "y", NULL, "z");
    output(g, "r");
    output(g, "z");
    assert_int_equal(graph_finish(g, NULL), OK);
    struct tensor *x = vector((float[]){1, -2}, 2), *out[2] = {NULL, NULL};
    const struct tensor *in[] = {x};
    struct plan *p = NULL, *whole = NULL;
    struct refusal seen = {.node = -1};
    struct err e = {0};
    const struct plan_gap *gaps;
    assert_int_equal(plan_new(g, &(struct plan_options){.partial = true}, &p, NULL), OK);
    assert_int_equal(plan_gaps(p, &gaps), 0);
    const struct run_options o = {.refused = note_refused, .tap_ctx = &seen};
    for (int round = 0; round < 2; round++) { /* the second leaves it out from the start */
        assert_int_equal(plan_run(p, in, out, &o, &e), OK);
        assert_memory_equal(out[0]->data, ((const float[]){1, 0}), 8);
        assert_null(out[1]);
        tensor_free(out[0]);
        assert_int_equal(seen.node, round ? -1 : 1);
        assert_int_equal(plan_leave_out(p, 1, seen.why, &e), OK);
        seen.node = -1;
    }
    assert_int_equal(plan_gaps(p, &gaps), 1);
    assert_string_equal(gaps[0].op, "Cast");
    assert_string_equal(gaps[0].node, "y");
    assert_non_null(strstr(gaps[0].reason, "string"));
    assert_null(strstr(gaps[0].reason, "node"));
    assert_int_equal(gaps[0].nodes, 1);
    assert_int_equal(gaps[0].blocked, 2);
    assert_true(gaps[0].output);
    assert_int_equal(plan_leave_out(p, 0, "for the test", &e), E_UNSUPPORTED); /* nothing is left */
    assert_int_equal(plan_new(g, &(struct plan_options){.partial = false}, &whole, NULL), OK);
    assert_int_equal(plan_run(whole, in, out, NULL, &e), E_UNSUPPORTED);
    assert_non_null(strstr(e.text, "node 'y' (Cast)"));
    tensor_free(x);
    plan_free(p);
    plan_free(whole);
    graph_free(g);
}

/* A node of constants alone is refused when it is folded, which is before there is a run. */
static void refused_constants_become_gaps(void **state)
{
    (void)state;
    struct graph *g = graph_with_input();
    g->values[graph_value(g, "c")].constant = vector((float[]){1}, 1);
    add(g, "Relu", "x", NULL, "r");
    add(g, "Cast", "c", NULL, "s");
    graph_attr_int(g, &g->nodes[1], "to", DT_STRING);
    add(g, "Equal", "r", "s", "y");
    output(g, "r");
    output(g, "y");
    assert_int_equal(graph_finish(g, NULL), OK);
    struct plan *p = NULL;
    struct err e = {0};
    const struct plan_gap *gaps;
    assert_int_equal(plan_new(g, &(struct plan_options){.partial = false}, &p, &e), E_UNSUPPORTED);
    assert_int_equal(plan_new(g, &(struct plan_options){.partial = true}, &p, &e), OK);
    assert_int_equal(plan_gaps(p, &gaps), 1);
    assert_string_equal(gaps[0].node, "s");
    assert_int_equal(gaps[0].blocked, 2);
    assert_int_equal(plan_blocked(p, graph_find(plan_graph(p), "y")), 0);
    plan_free(p);
    graph_free(g);
}

static void inputs_must_fit(void **state)
{
    (void)state;
    struct graph *g = graph_with_input();
    g->values[0].rank = 1;
    g->values[0].dims[0] = 3;
    add(g, "Relu", "x", NULL, "y");
    output(g, "y");
    assert_int_equal(graph_finish(g, NULL), OK);
    struct plan_options o = {0};
    struct plan *p = NULL;
    struct err e = {0};
    assert_int_equal(plan_new(g, &o, &p, &e), OK);
    struct tensor *x = vector((float[]){1, 2}, 2);
    const struct tensor *in[] = {x};
    assert_int_equal(plan_run(p, in, NULL, NULL, &e), E_SHAPE);
    assert_string_equal(e.text, "input 'x' has shape 2, the model expects 3");
    tensor_free(x);
    plan_free(p);
    graph_free(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(maps_hash_alike_in_all_threads), /* before any map */
        cmocka_unit_test(errors_chain_context),
        cmocka_unit_test(long_texts_are_cut_not_overrun),
        cmocka_unit_test(sizes_do_not_wrap),
        cmocka_unit_test(map_keeps_what_was_put),
        cmocka_unit_test(budget_counts_and_refuses),
        cmocka_unit_test(budget_limit_may_come_late),
        cmocka_unit_test(shapes_from_files_are_checked),
        cmocka_unit_test(views_share_and_release),
        cmocka_unit_test(strings_keep_their_bytes),
        cmocka_unit_test(half_floats_round_to_even),
        cmocka_unit_test(nodes_are_sorted_stably),
        cmocka_unit_test(broken_graphs_are_refused),
        cmocka_unit_test(clones_are_independent),
        cmocka_unit_test(plans_run_and_release),
        cmocka_unit_test(plans_name_what_is_missing),
        cmocka_unit_test(partial_plans_leave_gaps),
        cmocka_unit_test(refused_variants_become_gaps),
        cmocka_unit_test(refused_constants_become_gaps),
        cmocka_unit_test(inputs_must_fit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
