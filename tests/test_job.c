/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * test_job.c: work in the background on the sample pair: sweeps and searches that are cancelled,
 * looked at while they grow, overtaken by another job, and pins that change meanwhile.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/scratch.h"
#include "tui/tui.h"
#include "tui/view.h"

/* ---- A session ------------------------------------------------------------------------------ */

static int line(struct session *s, const char *text)
{
    struct err e = {0};
    FILE *nothing = fopen("/dev/null", "w");
    int rc = cmd_line(s, text, nothing, nothing, &e);
    fclose(nothing);
    return rc;
}

static struct session *opened(void)
{
    struct session *s = session_new();
    pthread_mutex_lock(&s->lock);
    assert_int_equal(line(s, "load pair samples/models/fp32.onnx samples/models/int8_qdq.onnx"),
                     OK);
    assert_int_equal(line(s, "preprocess samples/preprocess.json"), OK);
    assert_int_equal(line(s, "dataset add samples/images"), OK);
    s->set.jobs = 2;
    return s;
}

static void closed(struct session *s)
{
    job_cancel(s);
    job_wait(s, NULL);
    pthread_mutex_unlock(&s->lock);
    session_free(s);
}

/* Lets the job go on until it has done that much, or has ended. */
static void let_run(struct session *s, size_t done)
{
    while (s->job.state == JOB_RUNNING && s->job.done < done) {
        pthread_mutex_unlock(&s->lock);
        usleep(200);
        pthread_mutex_lock(&s->lock);
    }
}

/* ---- Tests ---------------------------------------------------------------------------------- */

/* Cancels the job of a line once it has done so many runs, whole sweeps excepted. */
static bool cancelled_after(struct session *s, const char *text, size_t done)
{
    assert_int_equal(line(s, text), OK);
    let_run(s, done);
    job_cancel(s);
    return job_wait(s, NULL) == E_STOP;
}

static void cancelled_sweeps_keep_whole_images_and_go_on(void **state)
{
    (void)state;
    struct session *s = opened();
    size_t seen = 0, times = 0;
    while (cancelled_after(s, "sensitivity --exact --ways loo &", 170)) {
        assert_int_equal(s->job.state, JOB_CANCELLED);
        const struct sweep *w = s->sweep;
        assert_true(w->base.n >= seen && w->base.n < w->n_images);
        for (size_t i = 0; i < w->n_trials; i++) {
            assert_null(w->trials[i].error);
            assert_int_equal(w->trials[i].n, w->base.n);
        }
        seen = w->base.n;
        times++;
    }
    assert_true(times > 2 && seen > 0);
    assert_int_equal(s->sweep->base.n, s->data.n);
    double want[16];
    size_t n = s->sweep->n_trials;
    assert_true(n <= COUNT(want));
    for (size_t i = 0; i < n; i++) {
        want[i] = sweep_effect(s->sweep, &s->sweep->trials[i]);
    }
    size_t runs = s->sweep->runs;
    assert_int_equal(line(s, "sensitivity --exact --ways loo"), OK);
    assert_int_equal(s->sweep->runs, runs); /* nothing is left to run */
    assert_int_equal(line(s, "sensitivity --brute --ways loo"), OK);
    assert_true(s->sweep->runs > 2 * s->data.n); /* but brute force begins again */
    for (size_t i = 0; i < n; i++) {
        assert_true(want[i] == sweep_effect(s->sweep, &s->sweep->trials[i]));
    }
    assert_int_equal(line(s, "pin /head/Gemm"), OK);
    assert_int_equal(line(s, "sensitivity --exact --ways loo --images 2"), OK);
    assert_int_equal(s->sweep->base.n, 2); /* another question */
    closed(s);
}

/* What a line finds when nothing disturbs it, as text. */
static char *found(struct session *s, const char *text)
{
    char *out = NULL;
    size_t size;
    assert_int_equal(line(s, text), OK);
    FILE *f = open_memstream(&out, &size), *note = fopen("/dev/null", "w");
    struct err err;
    assert_int_equal(cmd_line(s, "tried", f, note, &err), OK);
    fclose(f);
    fclose(note);
    return out;
}

static void what_goes_on_finds_the_same(void **state)
{
    (void)state;
    const char *const lines[] = {"sensitivity --top 2", "prefix --metric mse",
                                 "suffix --until sqnr>=30", "bisect --until cosine>=0.95"};
    for (size_t i = 0; i < COUNT(lines); i++) {
        struct session *s = opened(), *again = opened();
        char *want = found(s, lines[i]), *background = mem_printf("%s &", lines[i]);
        size_t times = 0;
        while (cancelled_after(again, background, 150)) {
            times++;
        }
        char *got = found(again, lines[i]);
        assert_true(times > 0);
        assert_string_equal(got, want);
        free(got);
        free(want);
        free(background);
        closed(s);
        closed(again);
    }
}

static void growing_sweeps_can_be_looked_at(void **state)
{
    (void)state;
    struct session *s = opened();
    struct grid *g = grid_new(24, 80, true);
    const char *const lines[] = {"sensitivity --exact &", "sensitivity --ways only &",
                                 "search --reach 30 --metric sqnr &", "bisect --until sqnr>=20 &",
                                 "suffix &"};
    for (size_t i = 0; i < COUNT(lines); i++) {
        assert_int_equal(line(s, lines[i]), OK);
        for (size_t done = 1; s->job.state == JOB_RUNNING; done += 40) {
            let_run(s, done);
            line(s, "tried"); /* fails before the first image */
            line(s, "pareto");
            line(s, "jobs");
            view_draw(s, g);
        }
        assert_int_equal(job_wait(s, NULL), OK);
        assert_int_equal(s->job.state, JOB_DONE);
        assert_int_equal(line(s, "tried"), OK);
    }
    grid_free(g);
    closed(s);
}

static void searches_in_the_background_pin_at_their_end(void **state)
{
    (void)state;
    struct session *s = opened();
    assert_int_equal(line(s, "search --max-drop 3 &"), OK);
    assert_int_equal(s->undo[s->at_undo].n, 0);
    assert_int_equal(line(s, "wait"), OK);
    assert_int_equal(s->undo[s->at_undo].n, 2);
    assert_int_equal(s->at_undo, 1); /* one step */
    assert_true(s->search->reached && s->search->minimal);
    assert_true(goal_met(&s->search->goal, s->sweep, &s->sweep->trials[s->search->found]));
    /* What is cancelled leaves what it has found. */
    assert_int_equal(line(s, "undo"), OK);
    assert_int_equal(line(s, "search --max-pins 9 --metric sqnr &"), OK);
    while (s->job.state == JOB_RUNNING && s->search->n_points < 3) {
        let_run(s, s->job.done + 1);
    }
    job_cancel(s);
    int rc = job_wait(s, NULL);
    assert_true(rc == E_STOP || rc == OK);
    assert_true(s->undo[s->at_undo].n >= 2);
    closed(s);
}

static void another_job_ends_the_one_under_way(void **state)
{
    (void)state;
    struct session *s = opened();
    assert_int_equal(line(s, "sensitivity --exact --ways loo &"), OK);
    let_run(s, 100);
    assert_int_equal(line(s, "run --limit 4"), OK);
    assert_true(s->sweep->base.n < s->sweep->n_images); /* kept */
    assert_int_equal(s->study->n_images, 4);
    assert_int_equal(line(s, "sensitivity --exact --ways loo &"), OK);
    let_run(s, 100);
    assert_int_equal(line(s, "set numerics onnx"), OK);
    assert_null(s->sweep); /* figures of another arithmetic */
    assert_int_equal(line(s, "search --max-pins 3 --metric sqnr &"), OK);
    let_run(s, 100);
    assert_int_equal(line(s, "dataset clear"), OK);
    assert_null(s->sweep);
    assert_null(s->search);
    closed(s);
}

static void pins_may_change_under_a_sweep(void **state)
{
    (void)state;
    struct session *s = opened();
    assert_int_equal(line(s, "sensitivity --exact --ways loo --images 48"), OK);
    double want[16];
    size_t n = s->sweep->n_trials;
    assert_true(n <= COUNT(want));
    for (size_t i = 0; i < n; i++) {
        want[i] = sweep_effect(s->sweep, &s->sweep->trials[i]);
    }
    assert_int_equal(line(s, "sensitivity --exact --ways loo --images 48 &"), OK);
    for (int i = 0; i < 20 && s->job.state == JOB_RUNNING; i++) {
        assert_int_equal(line(s, i % 2 ? "unpin *" : "pin /block4/dw/Conv"), OK);
        let_run(s, s->job.done + 20);
    }
    assert_int_equal(job_wait(s, NULL), OK);
    assert_int_equal(s->sweep->n_trials, n);
    for (size_t i = 0; i < n; i++) {
        assert_true(want[i] == sweep_effect(s->sweep, &s->sweep->trials[i]));
    }
    closed(s);
}

static void images_that_cannot_be_read_are_left_out(void **state)
{
    (void)state;
    char name[] = P_tmpdir "/qscope_job_XXXXXX.png";
    int fd = mkstemps(name, 4);
    assert_true(fd >= 0);
    struct session *s = session_new();
    pthread_mutex_lock(&s->lock);
    assert_int_equal(line(s, "load pair samples/models/fp32.onnx samples/models/int8_qdq.onnx"),
                     OK);
    assert_int_equal(line(s, "preprocess samples/preprocess.json"), OK);
    assert_int_equal(line(s, "dataset add samples/images/bar_0.png samples/images/disc_0.png"), OK);
    FILE *good = fopen("samples/images/ring_0.png", "rb"), *bad = fdopen(fd, "wb");
    char bytes[64]; /* of a picture that ends too early */
    assert_int_equal(fread(bytes, 1, sizeof bytes, good), sizeof bytes);
    fwrite(bytes, 1, sizeof bytes, bad);
    fclose(good);
    fclose(bad);
    char *add = mem_printf("dataset add %s", name);
    assert_int_equal(line(s, add), OK);
    free(add);
    assert_int_equal(line(s, "sensitivity --exact --ways loo"), OK);
    assert_int_equal(s->sweep->base.n, 3);
    assert_int_equal(s->sweep->failed, 1);
    assert_int_equal(line(s, "search --max-pins 1 --metric sqnr"), OK);
    assert_int_equal(line(s, "dataset clear"), OK);
    add = mem_printf("dataset add %s", name);
    assert_int_equal(line(s, add), OK);
    free(add);
    assert_int_equal(line(s, "sensitivity --exact --ways loo"), E_FORMAT); /* none is left */
    unlink(name);
    closed(s);
}

static void *cancel_after_one(void *arg)
{
    struct session *s = arg;
    pthread_mutex_lock(&s->lock);
    while (!s->job.done) {
        pthread_mutex_unlock(&s->lock);
        usleep(100);
        pthread_mutex_lock(&s->lock);
    }
    job_cancel(s);
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

/* Commands that wait for their work end soon when it is cancelled, and free it once. */
static void what_is_waited_for_can_be_cancelled(void **state)
{
    (void)state;
    struct session *s = opened();
    s->set.jobs = 1;
    char *dump = mem_printf("dump '*' --out %s", scratch("dumped"));
    const char *const lines[] = {dump, "whatif --correct-bias"};
    for (size_t i = 0; i < COUNT(lines); i++) {
        pthread_t canceller;
        s->job.done = 0;
        assert_int_equal(pthread_create(&canceller, NULL, cancel_after_one, s), 0);
        assert_int_equal(line(s, lines[i]), E_STOP);
        pthread_mutex_unlock(&s->lock);
        pthread_join(canceller, NULL);
        pthread_mutex_lock(&s->lock);
        assert_in_range(s->job.done, 1, 95);
    }
    free(dump);
    closed(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cancelled_sweeps_keep_whole_images_and_go_on),
        cmocka_unit_test(what_goes_on_finds_the_same),
        cmocka_unit_test(growing_sweeps_can_be_looked_at),
        cmocka_unit_test(searches_in_the_background_pin_at_their_end),
        cmocka_unit_test(another_job_ends_the_one_under_way),
        cmocka_unit_test(pins_may_change_under_a_sweep),
        cmocka_unit_test(images_that_cannot_be_read_are_left_out),
        cmocka_unit_test_setup_teardown(what_is_waited_for_can_be_cancelled, scratch_setup,
                                        scratch_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
