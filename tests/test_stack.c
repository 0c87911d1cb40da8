/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * test_stack.c: several replays in step, on the sample pairs: each must give the bits of a whole
 * run, or fail by itself.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/replay_fixture.h"

/* All layers, one after the other in FP32 or back, at once. */
static size_t run_together(struct pair *p, bool *pinned, size_t *executed)
{
    struct plan *base = model_with(p, pinned);
    struct activations *known = activations_new();
    const size_t n = p->m.n_layers;
    struct plan **plans = mem_alloc(n * sizeof(struct plan *));
    struct replay_task *tasks = mem_alloc(n * sizeof *tasks);
    struct tensor **out = mem_alloc(n * sizeof *out);
    size_t together = 0;
    struct replay_options o = {.executed = executed, .together = &together};
    tensor_free(run_from(p, base, NULL, known, true, NULL));
    for (size_t k = 0; k < n; k++) {
        pinned[k] = pinned[k] != p->m.layers[k].pinnable;
        plans[k] = model_with(p, pinned);
        pinned[k] = pinned[k] != p->m.layers[k].pinnable;
        tasks[k] = (struct replay_task){.replay = replay_new(plans[k], base), .outputs = &out[k]};
    }
    const struct tensor *in[] = {p->x};
    replay_run_many(n, tasks, in, known, &o);
    for (size_t k = 0; k < n; k++) {
        struct tensor *whole = run_whole(p, plans[k]);
        assert_int_equal(tasks[k].rc, OK);
        if (!tensor_equal(out[k], whole)) {
            fail_msg("layer %s", p->m.layers[k].name);
        }
        tensor_free(whole);
        tensor_free(out[k]);
        replay_free((struct replay *)tasks[k].replay);
        plan_free(plans[k]);
    }
    free(plans);
    free(tasks);
    free(out);
    activations_free(known);
    plan_free(base);
    return together;
}

static void replays_together_give_the_bits_of_each(void **state)
{
    (void)state;
    static const struct {
        const char *int8;
        enum numerics n;
        enum kernels k;
        bool together;
    } cases[] = {
        {"samples/models/int8_qdq.onnx", NUM_ORT, KERNELS_FAST, true},
        {"samples/models/int8_qop.onnx", NUM_ORT, KERNELS_FAST, true},
        {"samples/models/int8_qop.onnx", NUM_U8S8_SATURATE, KERNELS_FAST, true},
        {"samples/models/int8_qdq.onnx", NUM_ONNX, KERNELS_FAST, false},
        {"samples/models/int8_qdq.onnx", NUM_ORT, KERNELS_PLAIN, false},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct pair p;
        pair_open(&p, cases[i].int8, cases[i].n, cases[i].k);
        bool *pinned = mem_alloc(p.m.n_layers + 1);
        size_t executed = 0, together = run_together(&p, pinned, &executed);
        assert_int_equal(together > 0, cases[i].together);
        assert_true(together < executed);
        for (size_t k = 0; k < p.m.n_layers; k++) {
            pinned[k] = p.m.layers[k].pinnable && k % 3 == 1;
        }
        run_together(&p, pinned, NULL);
        free(pinned);
        pair_close(&p);
    }
}

/* Short of memory each tells so, and leaves nothing behind. */
static void replays_together_fail_by_themselves(void **state)
{
    (void)state;
    struct pair p;
    struct budget b = {0};
    pair_open(&p, "samples/models/int8_qop.onnx", NUM_ORT, KERNELS_FAST);
    p.o.budget = &b;
    bool *pinned = mem_alloc(p.m.n_layers + 1);
    struct plan *base = model_with(&p, pinned);
    struct activations *known = activations_new();
    tensor_free(run_from(&p, base, NULL, known, true, NULL));
    struct replay *r = replay_new(base, base);
    struct tensor *out[3] = {0}, *whole = run_whole(&p, base);
    const struct tensor *in[] = {p.x};
    const struct replay_options o = {0};
    const size_t used = budget_used(&b);
    size_t failed = 0, made = 0;
    for (size_t room = 0; room < 64 << 10; room += 1 << 10) {
        struct activations *nothing = activations_new();
        struct replay_task tasks[3];
        for (size_t k = 0; k < COUNT(tasks); k++) {
            tasks[k] = (struct replay_task){.replay = r, .outputs = &out[k]};
        }
        b.limit = used + room;
        replay_run_many(COUNT(tasks), tasks, in, nothing, &o);
        for (size_t k = 0; k < COUNT(tasks); k++) {
            assert_true(tasks[k].rc == OK || tasks[k].rc == E_LIMIT);
            assert_true(tasks[k].rc == OK || strstr(tasks[k].err.text, "needs"));
            failed += tasks[k].rc != OK;
            made += tasks[k].rc == OK;
            assert_true(tasks[k].rc || tensor_equal(out[k], whole));
            tensor_free(tasks[k].rc ? NULL : out[k]);
        }
        activations_free(nothing);
        assert_int_equal(budget_used(&b), used);
    }
    assert_true(failed > 0 && made > 0);
    b.limit = 0;
    tensor_free(whole);
    replay_free(r);
    activations_free(known);
    plan_free(base);
    free(pinned);
    pair_close(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(replays_together_give_the_bits_of_each),
        cmocka_unit_test(replays_together_fail_by_themselves),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
