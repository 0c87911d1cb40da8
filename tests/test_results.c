/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * test_results.c: results that are taken from earlier runs are those that running again would give,
 * in one session and from one to the next, whatever was pinned, cancelled or added in between.
 */
#include "tests/scratch.h"

#include "tui/results.h"

static struct digest study_bits(const struct study *s)
{
    struct pack b = {0};
    struct digest d = {0};
    pack_study(&b, s);
    digest_add(&d, b.p, b.n);
    free(b.p);
    return d;
}

static int line(struct session *s, const char *text)
{
    struct err e = {0};
    FILE *nothing = fopen("/dev/null", "w");
    int rc = cmd_line(s, text, nothing, nothing, &e);
    fclose(nothing);
    if (rc && rc != E_STOP) {
        print_error("%s: %s\n", text, e.text);
    }
    return rc;
}

/* `place`: below the scratch directory; NULL: without a cache. */
static struct session *opened(const char *place)
{
    struct session *s = session_new();
    pthread_mutex_lock(&s->lock);
    s->set.jobs = 2;
    s->set.cache = place != NULL;
    if (place) {
        setenv("XDG_CACHE_HOME", scratch(place), 1);
    }
    assert_int_equal(line(s, "load pair samples/models/fp32.onnx samples/models/int8_qdq.onnx"),
                     OK);
    assert_int_equal(line(s, "preprocess samples/preprocess.json"), OK);
    assert_int_equal(line(s, "dataset add samples/images"), OK);
    return s;
}

static void closed(struct session *s)
{
    job_cancel(s);
    job_wait(s, NULL);
    pthread_mutex_unlock(&s->lock);
    session_free(s);
}

static struct digest did(struct session *s, const char *text)
{
    assert_int_equal(line(s, text), OK);
    return study_bits(s->study);
}

static size_t hits(struct session *s)
{
    struct cache_info i = {0};
    cache_look(results_store(s->results, CACHE_SIZE), &i);
    return i.hits;
}

static const char *const walk[] = {
    "run",
    "pin /block4/dw/Conv ; run",
    "pin /block3/dw/Conv ; run",
    "unpin /block4/dw/Conv ; run",
    "unpin * ; run",
    "run --limit 10",
    "run dots_0.png bar_1.png disc_6.png",
    "pin /block1/* ; run --limit 20",
    "undo ; run",
    "set numerics ort-unfused ; run",
    "set numerics ort ; run",
    "preprocess resize=nearest ; run",
    "match /block1/dw/Conv=/block1/dw/Conv ; run",
};

/* The same walk without a cache, with one, and in a second session that finds all. */
static void results_are_those_of_running(void **state)
{
    (void)state;
    struct digest want[COUNT(walk)];
    const char *const places[] = {NULL, "walk", "walk"};
    for (size_t round = 0; round < COUNT(places); round++) {
        struct session *s = opened(places[round]);
        for (size_t i = 0; i < COUNT(walk); i++) {
            size_t before = places[round] ? hits(s) : 0;
            struct digest d = did(s, walk[i]);
            want[i] = round ? want[i] : d;
            if (!digest_equal(want[i], d)) {
                fail_msg("round %zu: '%s' differs", round, walk[i]);
            }
            if (round == 2) {
                /* Nothing was run; local errors are there where no image came from memory. */
                assert_in_range(hits(s), before + 1, before + 2);
            }
        }
        closed(s);
    }
}

/* Layers of single images that a line took from memory. */
static size_t remembered(struct session *s, struct session *bare, const char *text)
{
    size_t before = memo_found(results_memo(s->results));
    assert_true(digest_equal(did(s, text), did(bare, text)));
    return memo_found(results_memo(s->results)) - before;
}

static void single_images_are_remembered(void **state)
{
    (void)state;
    struct session *s = opened("images"), *bare = opened(NULL);
    setenv("XDG_CACHE_HOME", scratch("images"), 1);
    size_t n = s->match.n_layers;
    assert_int_equal(remembered(s, bare, "run --limit 40"), 0);
    assert_int_equal(remembered(s, bare, "run disc_4.png bar_1.png"), 2 * n);
    size_t whole = memo_recalled(results_memo(s->results));
    size_t late = remembered(s, bare, "pin /block4/dw/Conv ; run --limit 40");
    assert_int_equal(memo_recalled(results_memo(s->results)), whole + 40); /* no FP32 model ran */
    size_t early = remembered(s, bare, "pin /block1/dw/Conv ; run --limit 40");
    assert_true(late >= 40 * n / 2 && late < 40 * n);
    assert_true(early > 0 && early < late);
    assert_int_equal(remembered(s, bare, "unpin * ; run disc_6.png disc_7.png"), 2 * n);
    assert_int_equal(remembered(s, bare, "preprocess resize=nearest ; run disc_6.png disc_7.png"),
                     0);
    assert_int_equal(line(s, "load pair samples/models/fp32.onnx samples/models/int8_qop.onnx"),
                     OK);
    assert_int_equal(line(bare, "load pair samples/models/fp32.onnx samples/models/int8_qop.onnx"),
                     OK);
    assert_int_equal(remembered(s, bare, "run disc_6.png disc_7.png"),
                     0); /* other constants, other places */
    closed(s);
    closed(bare);
}

static void a_cancelled_run_goes_on(void **state)
{
    (void)state;
    struct session *s = opened("cancelled");
    s->batch = true; /* not from memory */
    struct session *bare = opened(NULL);
    setenv("XDG_CACHE_HOME", scratch("cancelled"), 1);
    struct digest want = did(bare, "run");
    for (size_t done = 1, tries = 0; tries < 3; done += 12, tries++) {
        assert_int_equal(line(s, "run &"), OK);
        while (s->job.state == JOB_RUNNING && s->job.done < done) {
            pthread_mutex_unlock(&s->lock);
            usleep(100);
            pthread_mutex_lock(&s->lock);
        }
        job_cancel(s);
        job_wait(s, NULL);
    }
    size_t before = s->study->n_images, found = hits(s);
    assert_true(before >= 25);
    assert_true(digest_equal(did(s, "run"), want));
    assert_int_equal(hits(s), found + 2); /* the study, and its local errors */
    closed(s);
    closed(bare);
}

/* More images behind those that were run before. */
static void added_images_are_run_alone(void **state)
{
    (void)state;
    struct session *s = opened("added");
    s->batch = true;
    did(s, "run --limit 30");
    size_t found = hits(s);
    struct session *bare = opened(NULL);
    setenv("XDG_CACHE_HOME", scratch("added"), 1);
    assert_true(digest_equal(did(s, "run --limit 40"), did(bare, "run --limit 40")));
    assert_int_equal(hits(s), found + 2); /* the study, and its local errors */
    closed(s);
    closed(bare);
}

static json_t *swept(struct session *s, const char *text)
{
    char *data = NULL;
    size_t size = 0;
    struct err e = {0};
    FILE *out = open_memstream(&data, &size), *nothing = fopen("/dev/null", "w");
    session_form(s, FORM_JSON);
    int rc = cmd_line(s, text, out, nothing, &e);
    session_form(s, FORM_TABLE);
    fclose(out);
    fclose(nothing);
    assert_int_equal(rc, OK);
    json_t *j = json_loads(data, 0, NULL);
    assert_non_null(j);
    json_object_del(j, "runs"); /* the work that was left */
    json_object_del(j, "seconds");
    free(data);
    return j;
}

static void sweeps_are_those_of_running(void **state)
{
    (void)state;
    const char *const lines[] = {
        "sensitivity --ways loo --images 12 --top 3",
        "sensitivity --exact --ways loo --images 20",
        "sensitivity --exact --ways only --images 6",
        "bisect --until sqnr>=20 --images 6",
        "search --reach 16 --metric sqnr --images 10",
        "search --max-drop 3 --metric top1",                        /* images in another order */
        "sensitivity --exact --ways loo --images 20 --metric sqnr", /* with the pins that were found
                                                                     */
    };
    struct session *bare = opened(NULL), *first = opened("sweeps"), *second = opened("sweeps");
    for (size_t i = 0; i < COUNT(lines); i++) {
        json_t *want = swept(bare, lines[i]);
        for (int round = 0; round < 2; round++) {
            json_t *got = swept(round ? second : first, lines[i]);
            assert_true(json_equal(want, got));
            json_decref(got);
        }
        json_decref(want);
    }
    struct cache_info info;
    cache_look(results_store(second->results, CACHE_SIZE), &info);
    assert_true(info.hits > 50);
    closed(first);
    closed(second);
    closed(bare);
}

static void off_leaves_nothing(void **state)
{
    (void)state;
    struct session *s = opened("off");
    assert_int_equal(line(s, "set cache off"), OK);
    did(s, "run");
    assert_int_equal(line(s, "sensitivity --exact --images 2"), OK);
    assert_int_equal(line(s, "cache info"), OK);
    closed(s);
    assert_false(file_exists(scratch("off")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(results_are_those_of_running),
        cmocka_unit_test(single_images_are_remembered),
        cmocka_unit_test(a_cancelled_run_goes_on),
        cmocka_unit_test(added_images_are_run_alone),
        cmocka_unit_test(sweeps_are_those_of_running),
        cmocka_unit_test(off_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
