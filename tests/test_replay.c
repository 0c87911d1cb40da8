/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * test_replay.c: identities of values, what plans share, and runs from what another plan has left,
 * on the sample pairs: each must give the bits of a whole run.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/replay_fixture.h"

/* ---- Digests -------------------------------------------------------------------------------- */

static void digests_are_those_of_the_reference(void **state)
{
    (void)state;
    /* MurmurHash3_x64_128, seed 0. */
    struct digest d = {0};
    const char *text = "The quick brown fox jumps over the lazy dog";
    digest_add(&d, text, strlen(text));
    assert_true(d.lo == 0xe34bbc7bbc071b6cu && d.hi == 0x7a433ca9c49a9347u);
    struct digest none = {0};
    digest_add(&none, NULL, 0);
    assert_true(none.lo == 0 && none.hi == 0);
}

static void pieces_and_order_count(void **state)
{
    (void)state;
    const char *const cases[][2] = {
        {"ab", "c"}, {"a", "bc"}, {"abc", ""}, {"", "abc"}, {"c", "ab"}};
    struct digest_map seen = {0};
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct digest d = {1, 2};
        digest_text(&d, cases[i][0]);
        digest_text(&d, cases[i][1]);
        assert_int_equal(digest_map_get(&seen, d, -1), -1);
        digest_map_put(&seen, d, (int)i);
        assert_int_equal(digest_map_get(&seen, d, -1), (int)i);
    }
    digest_map_fini(&seen);
}

static void maps_hold_many_digests(void **state)
{
    (void)state;
    struct digest_map m = {0};
    for (int i = 0; i < 5000; i++) {
        struct digest d = {(uint64_t)i % 7, (uint64_t)i}; /* many in one place */
        digest_map_put(&m, d, i);
    }
    for (int i = 0; i < 5000; i++) {
        struct digest d = {(uint64_t)i % 7, (uint64_t)i};
        assert_int_equal(digest_map_get(&m, d, -1), i);
    }
    assert_int_equal(digest_map_get(&m, (struct digest){8, 1}, -1), -1);
    digest_map_fini(&m);
}

/* ---- Identities ----------------------------------------------------------------------------- */

/* Values of two plans that have one name, and how many of them have one identity. */
static size_t count_equal(const struct plan *a, const struct plan *b, size_t *named)
{
    size_t equal = 0;
    *named = 0;
    for (size_t v = 0; v < a->g->n_values; v++) {
        int w = a->g->values[v].producer >= 0 ? graph_find(b->g, a->g->values[v].name) : -1;
        if (w >= 0 && b->g->values[w].producer >= 0) {
            ++*named;
            equal += digest_equal(a->ids[v], b->ids[w]);
        }
    }
    return equal;
}

static void a_pin_changes_identities_behind_it_only(void **state)
{
    (void)state;
    struct pair p;
    pair_open(&p, "samples/models/int8_qdq.onnx", NUM_ORT, KERNELS_FAST);
    bool *pinned = mem_alloc(p.m.n_layers + 1);
    struct plan *base = model_with(&p, pinned), *again = model_with(&p, pinned);
    size_t named, last = SIZE_MAX;
    size_t same = count_equal(base, again, &named);
    assert_true(named > 10);
    assert_int_equal(same, named);
    for (size_t k = 0; k < p.m.n_layers; k++) {
        if (!p.m.layers[k].pinnable) {
            continue;
        }
        pinned[k] = true;
        struct plan *other = model_with(&p, pinned);
        size_t equal = count_equal(base, other, &named);
        assert_true(equal < named);                     /* the pinned layer at least */
        assert_true(last == SIZE_MAX || equal >= last); /* later pins leave more as it is */
        last = equal;
        plan_free(other);
        pinned[k] = false;
    }
    struct pair q;
    pair_open(&q, "samples/models/int8_qdq.onnx", NUM_ONNX, KERNELS_FAST);
    struct plan *literal = model_with(&q, pinned);
    assert_int_equal(count_equal(base, literal, &named), 0); /* other arithmetic */
    plan_free(literal);
    pair_close(&q);
    plan_free(base);
    plan_free(again);
    free(pinned);
    pair_close(&p);
}

/* ---- What plans share ----------------------------------------------------------------------- */

static void plans_share_states_and_constants(void **state)
{
    (void)state;
    struct pair p;
    pair_open(&p, "samples/models/int8_qdq.onnx", NUM_ORT, KERNELS_FAST);
    bool *pinned = mem_alloc(p.m.n_layers + 1);
    struct plan *a = model_with(&p, pinned), *b = model_with(&p, pinned);
    size_t states = 0, folded = 0;
    for (size_t i = 0; i < a->g->n_nodes; i++) {
        assert_ptr_equal(a->steps[i].state, b->steps[i].state);
        states += a->steps[i].state != NULL;
    }
    for (size_t v = 0; v < a->g->n_values; v++) {
        assert_ptr_equal(a->folded[v], b->folded[v]);
        folded += a->folded[v] != NULL;
    }
    assert_true(states > 5);
    (void)folded; /* whether constants stand on even addresses is up to the file */
    /* What is shared outlives the plan that made it, and the maker's reference to the store. */
    struct tensor *y = run_whole(&p, a);
    plan_free(a);
    plan_store_free(p.o.store);
    p.o.store = NULL;
    struct tensor *z = run_whole(&p, b);
    assert_true(tensor_equal(y, z));
    tensor_free(y);
    tensor_free(z);
    plan_free(b);
    free(pinned);
    pair_close(&p);
}

struct planner {
    const struct pair *p;
    bool bad;
};

static void *plan_many(void *arg)
{
    struct planner *x = arg;
    bool *pinned = mem_alloc(x->p->m.n_layers + 1);
    for (size_t k = 0; k < x->p->m.n_layers && !x->bad; k++) {
        pinned[k] = x->p->m.layers[k].pinnable;
        struct graph *mixed = NULL;
        struct plan *plan = NULL;
        struct pin_set set = {.n_layers = x->p->m.n_layers, .pinned = pinned};
        int *values = mem_alloc((set.n_layers + 1) * sizeof *values);
        x->bad = pin_apply(x->p->fp32, x->p->int8, &x->p->m, &set, &mixed, values, NULL) ||
                 plan_new(mixed, &x->p->o, &plan, NULL);
        plan_free(plan);
        graph_free(mixed);
        free(values);
    }
    free(pinned);
    return NULL;
}

static void threads_plan_with_one_store(void **state)
{
    (void)state;
    struct pair p;
    pair_open(&p, "samples/models/int8_qop.onnx", NUM_ORT, KERNELS_FAST);
    struct planner x[4];
    pthread_t t[COUNT(x)];
    for (size_t i = 0; i < COUNT(x); i++) {
        x[i] = (struct planner){.p = &p};
        assert_int_equal(pthread_create(&t[i], NULL, plan_many, &x[i]), 0);
    }
    for (size_t i = 0; i < COUNT(x); i++) {
        pthread_join(t[i], NULL);
        assert_false(x[i].bad);
    }
    pair_close(&p);
}

/* ---- Replay --------------------------------------------------------------------------------- */

/* One more or one less layer in FP32 than in the base: the same bits from fewer nodes. */
static void flip_every_layer(struct pair *p, bool *pinned)
{
    struct plan *base = model_with(p, pinned);
    struct activations *known = activations_new();
    size_t all, less;
    struct tensor *y = run_from(p, base, NULL, known, true, &all), *whole = run_whole(p, base);
    assert_true(tensor_equal(y, whole));
    assert_true(activations_size(known) > 0);
    tensor_free(y);
    y = run_from(p, base, NULL, known, false, &less);
    assert_int_equal(less, 0); /* all of it is known */
    assert_true(tensor_equal(y, whole));
    for (size_t k = 0; k < p->m.n_layers; k++) {
        if (!p->m.layers[k].pinnable) {
            continue;
        }
        pinned[k] = !pinned[k];
        struct plan *other = model_with(p, pinned);
        struct tensor *a = run_whole(p, other), *b = run_from(p, other, base, known, false, &less);
        if (!tensor_equal(a, b)) {
            fail_msg("layer %s", p->m.layers[k].name);
        }
        struct activations *nothing = activations_new();
        tensor_free(run_from(p, other, base, nothing, false, &all));
        activations_free(nothing);
        assert_true(less <= all);
        tensor_free(a);
        tensor_free(b);
        plan_free(other);
        pinned[k] = !pinned[k];
    }
    tensor_free(y);
    tensor_free(whole);
    activations_free(known);
    plan_free(base);
}

static void replays_give_the_bits_of_whole_runs(void **state)
{
    (void)state;
    static const struct {
        const char *int8;
        enum numerics n;
        enum kernels k;
    } cases[] = {
        {"samples/models/int8_qdq.onnx", NUM_ORT, KERNELS_FAST},
        {"samples/models/int8_qdq.onnx", NUM_ORT, KERNELS_PLAIN},
        {"samples/models/int8_qdq.onnx", NUM_ORT_UNFUSED, KERNELS_FAST},
        {"samples/models/int8_qdq.onnx", NUM_ONNX, KERNELS_FAST},
        {"samples/models/int8_qdq.onnx", NUM_U8S8_SATURATE, KERNELS_FAST},
        {"samples/models/int8_qop.onnx", NUM_ORT, KERNELS_FAST},
        {"samples/models/int8_qop.onnx", NUM_ONNX, KERNELS_FAST},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct pair p;
        pair_open(&p, cases[i].int8, cases[i].n, cases[i].k);
        bool *pinned = mem_alloc(p.m.n_layers + 1);
        flip_every_layer(&p, pinned); /* from INT8 */
        for (size_t k = 0; k < p.m.n_layers; k++) {
            pinned[k] = p.m.layers[k].pinnable;
        }
        flip_every_layer(&p, pinned); /* from FP32 */
        for (size_t k = 0; k < p.m.n_layers; k++) {
            pinned[k] = p.m.layers[k].pinnable && k % 3 == 1;
        }
        flip_every_layer(&p, pinned);
        free(pinned);
        pair_close(&p);
    }
}

static void only_what_differs_is_executed(void **state)
{
    (void)state;
    struct pair p;
    pair_open(&p, "samples/models/int8_qdq.onnx", NUM_ORT, KERNELS_FAST);
    bool *pinned = mem_alloc(p.m.n_layers + 1);
    struct plan *base = model_with(&p, pinned);
    struct activations *known = activations_new();
    size_t all, n, last = SIZE_MAX;
    tensor_free(run_from(&p, base, NULL, known, true, &all));
    for (size_t k = 0; k < p.m.n_layers; k++) {
        if (!p.m.layers[k].pinnable) {
            continue;
        }
        pinned[k] = true;
        struct plan *other = model_with(&p, pinned);
        tensor_free(run_from(&p, other, base, known, false, &n));
        if (strcmp(p.m.layers[k].op, "Conv") == 0) {
            assert_true(n <= last); /* a later layer, a shorter way to the outputs */
            last = n;
        } else if (strcmp(p.m.layers[k].op, "Flatten") == 0) {
            assert_true(n <= 6); /* codes come out as they were: the rest is the base's */
        }
        plan_free(other);
        pinned[k] = false;
    }
    assert_true(last < all);
    activations_free(known);
    plan_free(base);
    free(pinned);
    pair_close(&p);
}

/* Activations may be missing: that costs time alone. */
static void holes_in_what_is_known_do_no_harm(void **state)
{
    (void)state;
    struct pair p;
    pair_open(&p, "samples/models/int8_qop.onnx", NUM_ORT, KERNELS_FAST);
    bool *pinned = mem_alloc(p.m.n_layers + 1);
    struct plan *base = model_with(&p, pinned);
    pinned[p.m.n_layers / 2] = true;
    struct plan *other = model_with(&p, pinned);
    struct tensor *whole = run_whole(&p, other);
    size_t n_values = plan_graph(base)->n_values;
    bool *keep = mem_alloc(n_values + 1);
    for (uint32_t round = 0, random = 1; round < 40; round++) {
        struct activations *known = activations_new();
        tensor_free(run_from(&p, base, NULL, known, true, NULL));
        for (size_t v = 0; v < n_values; v++) {
            random = random * 1664525 + 1013904223;
            keep[v] = random >> 31;
        }
        size_t before = activations_size(known);
        activations_prune(known, base, keep);
        assert_true(activations_size(known) < before);
        struct tensor *y = run_from(&p, other, base, known, false, NULL);
        assert_true(tensor_equal(y, whole));
        tensor_free(y);
        activations_free(known);
    }
    tensor_free(whole);
    free(keep);
    plan_free(other);
    plan_free(base);
    free(pinned);
    pair_close(&p);
}

static void boundaries_are_enough(void **state)
{
    (void)state;
    struct pair p;
    pair_open(&p, "samples/models/int8_qdq.onnx", NUM_ORT, KERNELS_FAST);
    bool *pinned = mem_alloc(p.m.n_layers + 1);
    struct plan *base = model_with(&p, pinned);
    pinned[p.m.n_layers - 3] = true;
    struct plan *other = model_with(&p, pinned);
    struct replay *r = replay_new(other, base);
    bool *takes = mem_alloc(plan_graph(base)->n_values + 1);
    replay_takes(r, takes);
    size_t n = 0, with_all, with_few;
    for (size_t v = 0; v < plan_graph(base)->n_values; v++) {
        n += takes[v];
    }
    assert_true(n > 0 && n < 4);
    struct activations *known = activations_new();
    tensor_free(run_from(&p, base, NULL, known, true, NULL));
    tensor_free(run_from(&p, other, base, known, false, &with_all));
    activations_prune(known, base, takes);
    tensor_free(run_from(&p, other, base, known, false, &with_few));
    /* Without the values to compare with, the run goes on to the outputs. */
    assert_true(with_all <= with_few && with_few < other->g->n_nodes / 2);
    activations_free(known);
    free(takes);
    replay_free(r);
    plan_free(other);
    plan_free(base);
    free(pinned);
    pair_close(&p);
}

/* ---- Graphs by hand ------------------------------------------------------------------------- */

static int value(struct graph *g, const char *name)
{
    return graph_value(g, name);
}

static void node(struct graph *g, const char *op, const char *a, const char *b, const char *y)
{
    int in[] = {value(g, a), b ? value(g, b) : -1}, out = value(g, y);
    graph_add(g, op, "", y, b ? 2 : 1, in, 1, &out);
}

static struct graph *by_hand(enum dtype d)
{
    struct graph *g = graph_new();
    g->opset = 14;
    g->inputs = mem_alloc(sizeof *g->inputs);
    g->outputs = mem_alloc(sizeof *g->outputs);
    g->inputs[g->n_inputs++] = value(g, "x");
    g->values[0].is_input = true;
    g->values[0].dtype = d;
    g->values[0].rank = -1;
    return g;
}

static void ends_in(struct graph *g, const char *name)
{
    g->outputs[g->n_outputs++] = value(g, name);
    g->values[g->outputs[0]].is_output = true;
    assert_int_equal(graph_finish(g, NULL), OK);
}

/* The base leaves everything behind; the other one runs from it, and by itself. */
static size_t check_by_hand(struct graph *base, struct graph *other, struct tensor *x)
{
    const struct plan_options o = {.numerics = NUM_ORT};
    struct plan *a = NULL, *b = NULL;
    assert_int_equal(plan_new(base, &o, &a, NULL), OK);
    assert_int_equal(plan_new(other, &o, &b, NULL), OK);
    struct pair p = {.x = x};
    struct activations *known = activations_new();
    size_t n;
    tensor_free(run_from(&p, a, NULL, known, true, NULL));
    struct tensor *y = run_from(&p, b, a, known, false, &n), *z = run_whole(&p, b);
    assert_true(tensor_equal(y, z));
    tensor_free(y);
    tensor_free(z);
    activations_free(known);
    plan_free(a);
    plan_free(b);
    graph_free(base);
    graph_free(other);
    return n;
}

static struct tensor *ramp(enum dtype d, size_t n)
{
    const int64_t dims[] = {(int64_t)n};
    struct tensor *t = NULL;
    assert_int_equal(tensor_new(d, 1, dims, NULL, &t, NULL), OK);
    for (size_t i = 0; i < n; i++) {
        float v = 0.1f + (float)i * 0.37f;
        if (d == DT_F16) {
            ((uint16_t *)t->data)[i] = f32_to_f16(v);
        } else {
            ((float *)t->data)[i] = v;
        }
    }
    return t;
}

/* Float16 that is held as float32 between two operators stays so when it is taken over. */
static void wide_values_are_taken_as_they_are(void **state)
{
    (void)state;
    struct graph *g[2];
    for (int i = 0; i < 2; i++) {
        g[i] = by_hand(DT_F16);
        node(g[i], "Mul", "x", "x", "square");
        node(g[i], "Mul", "square", "square", "fourth");
        node(g[i], i ? "Sub" : "Add", "fourth", "square", "y");
        ends_in(g[i], "y");
    }
    struct tensor *x = ramp(DT_F16, 9);
    assert_int_equal(check_by_hand(g[0], g[1], x), 1);
    tensor_free(x);
}

/* Where two ways meet again, the way that did not change is not run. */
static void branches_that_do_not_change_are_left_out(void **state)
{
    (void)state;
    struct graph *g[2];
    for (int i = 0; i < 2; i++) {
        g[i] = by_hand(DT_F32);
        node(g[i], "Exp", "x", NULL, "left1");
        node(g[i], "Neg", "left1", NULL, "left2");
        node(g[i], i ? "Abs" : "Sqrt", "x", NULL, "right1");
        node(g[i], "Neg", "right1", NULL, "right2");
        node(g[i], "Add", "left2", "right2", "y");
        ends_in(g[i], "y");
    }
    struct tensor *x = ramp(DT_F32, 9);
    assert_int_equal(check_by_hand(g[0], g[1], x), 3);
    tensor_free(x);
}

/* Equal bits end the run: what follows is the base's. */
static void equal_results_stop_the_run(void **state)
{
    (void)state;
    struct graph *g[2];
    for (int i = 0; i < 2; i++) {
        g[i] = by_hand(DT_F32);
        node(g[i], i ? "Abs" : "Relu", "x", NULL, "same"); /* x is positive */
        for (int k = 0; k < 6; k++) {
            char from[16], to[16];
            snprintf(from, sizeof from, k ? "t%d" : "same", k);
            snprintf(to, sizeof to, k == 5 ? "y" : "t%d", k + 1);
            node(g[i], "Exp", from, NULL, to);
        }
        ends_in(g[i], "y");
    }
    struct tensor *x = ramp(DT_F32, 9);
    assert_int_equal(check_by_hand(g[0], g[1], x), 1);
    tensor_free(x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(digests_are_those_of_the_reference),
        cmocka_unit_test(pieces_and_order_count),
        cmocka_unit_test(maps_hold_many_digests),
        cmocka_unit_test(a_pin_changes_identities_behind_it_only),
        cmocka_unit_test(plans_share_states_and_constants),
        cmocka_unit_test(threads_plan_with_one_store),
        cmocka_unit_test(replays_give_the_bits_of_whole_runs),
        cmocka_unit_test(only_what_differs_is_executed),
        cmocka_unit_test(holes_in_what_is_known_do_no_harm),
        cmocka_unit_test(boundaries_are_enough),
        cmocka_unit_test(wide_values_are_taken_as_they_are),
        cmocka_unit_test(branches_that_do_not_change_are_left_out),
        cmocka_unit_test(equal_results_stop_the_run),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
