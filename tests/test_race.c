/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * test_race.c: whether races find the first places, at what cost, and say truly what they may have
 * missed, all on made-up scores: nothing is run.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/sweep_fixture.h"

/* ---- Races ---------------------------------------------------------------------------------- */

enum { RUNNERS = 54, TRACK = 32, PLACES = 8 };

/* What races took and found, summed up. */
struct races {
    double share, missed; /* of runs; said to be missing from the first places */
    size_t right, wrong;  /* races with the first places of the exact ranking; layers missing */
};

/* Images whose base error is spread by a factor of about exp(spread), in the order of a race. */
static struct sweep *track_of(double spread, double doubt, double *size)
{
    struct sweep *w = sweep_of(SWEEP_LOO, "mse", RUNNERS, TRACK);
    double drawn[TRACK];
    size_t order[TRACK];
    for (size_t i = 0; i < TRACK; i++) {
        w->images[i] = i;
        drawn[i] = exp(spread * normal());
        add_base(w, 1000 * drawn[i]);
    }
    bool sized = sweep_order(w, order);
    assert_true(sized ? spread > 0 : spread < 0.6);
    for (size_t i = 0; i < TRACK; i++) {
        size[i] = drawn[sized ? order[i] : i];
        assert_true(!sized || !i || size[i] <= size[i - 1]);
        assert_true(near(w->base.terms[i][0], 100 * size[i])); /* what was measured goes along */
        assert_int_equal(w->images[i], sized ? order[i] : i);
    }
    w->top = PLACES;
    w->doubt = doubt;
    return w;
}

/* Layers that are not among the first places of w although they belong there. */
static size_t missing(const struct sweep *w, const double *total)
{
    size_t order[RUNNERS], n = 0;
    double bar = INFINITY;
    sweep_rank(w, order);
    for (size_t i = 0; i < PLACES; i++) {
        assert_int_equal(w->trials[order[i]].n, TRACK);
        bar = fmin(bar, total[order[i]]);
    }
    for (size_t i = PLACES; i < RUNNERS; i++) {
        n += total[order[i]] > bar;
    }
    return n;
}

/* Runner k gains k in proportion to the size of an image, on one more or less by `noise`; `wild`,
 * one of them, by a hundred times as much. */
static void race_with(double spread, double noise, double doubt, size_t wild, struct races *r)
{
    static double gain[RUNNERS][TRACK];
    double total[RUNNERS] = {0}, size[TRACK];
    struct sweep *w = track_of(spread, doubt, size);
    bool next[RUNNERS];
    size_t seen = 0, runs = 0;
    for (size_t k = 0; k < RUNNERS; k++) {
        for (size_t i = 0; i < TRACK; i++) {
            gain[k][i] = size[i] * ((double)k + noise * normal() * (k == wild ? 100 : 1));
            total[k] += gain[k][i];
        }
    }
    for (size_t upto; (upto = sweep_race(w, next)); seen = upto) {
        assert_true(upto >= seen && upto <= TRACK);
        for (size_t k = 0; k < RUNNERS; k++) {
            assert_true(seen > 0 || next[k]);
            assert_true(!next[k] || w->trials[k].n < upto);
            for (size_t i = w->trials[k].n; i < upto && next[k]; i++, runs++) {
                add(w, k, 1000 * size[i] - gain[k][i]);
            }
        }
    }
    assert_int_equal(seen, TRACK);
    size_t wrong = missing(w, total);
    r->right += !wrong;
    r->wrong += wrong;
    r->missed += sweep_missed(w);
    r->share += (double)runs / (RUNNERS * TRACK);
    sweep_free(w);
}

static void race(double spread, double noise, double doubt, struct races *r)
{
    race_with(spread, noise, doubt, RUNNERS, r);
}

/* Of real networks single layers, often the first ones, are far noisier than the rest. */
static void noisy_ones_are_not_judged_by_the_others(void **state)
{
    (void)state;
    struct races r = {0};
    const size_t n = 600;
    for (size_t i = 0; i < n; i++) {
        race_with(0, 0.3, 2.5, RUNNERS - 2, &r); /* the last but one belongs to the first places */
    }
    assert_true(r.wrong < n / 30);
    /* Those that looked doubtful were run to the end; the rest are surprises by nature. */
    assert_true((double)r.wrong < 9 * r.missed);
}

static void races_find_the_first_places(void **state)
{
    (void)state;
    struct races clear = {0}, close = {0}, sized = {0};
    const size_t n = 60;
    for (size_t i = 0; i < n; i++) {
        race(0, 0.3, 2.5, &clear); /* neighbours differ by three times that */
        race(0, 10, 2.5, &close);  /* and by a tenth */
        race(1.5, 10, 2.5, &sized);
    }
    assert_int_equal(clear.right, n);
    assert_true(clear.share / (double)n < 0.3);
    assert_true(close.right >= n * 85 / 100);
    assert_true(close.share / (double)n > 0.25 && close.share / (double)n < 0.75);
    assert_true(sized.right >= n * 85 / 100);
    assert_true(sized.share < 0.92 * close.share); /* the images that decide come first */
}

static void races_say_what_they_may_have_missed(void **state)
{
    (void)state;
    struct races bold = {0}, careful = {0};
    for (size_t i = 0; i < 200; i++) {
        race(0.5, 20, 1, &bold);
        race(0.5, 20, 3, &careful);
    }
    assert_true(bold.wrong > 40); /* bold enough to err */
    assert_true(bold.missed > (double)bold.wrong && bold.missed < 3 * (double)bold.wrong);
    assert_true(careful.wrong < bold.wrong / 8 && careful.missed < bold.missed / 8);
}

/* ---- Races that end within a difference ----------------------------------------------------- */

/* Runner k takes away the share that makes k * step decibels, on an image more or less by `noise`
 * of the base's error. Ends within `within` decibels; adds up runs, what is said to be missing,
 * and what is. */
static void race_within(double step, double noise, double within, double doubt, struct races *r)
{
    static double left[RUNNERS][TRACK];
    struct sweep *w = sweep_of(SWEEP_LOO, "sqnr", RUNNERS, TRACK);
    double total[RUNNERS] = {0}, last = 0;
    bool next[RUNNERS];
    size_t seen = 0, runs = 0, order[RUNNERS], wrong = 0;
    for (size_t k = 0; k < RUNNERS; k++) {
        for (size_t i = 0; i < TRACK; i++) {
            left[k][i] = 50 * (pow(10, -(double)k * step / 10) + noise * normal());
            total[k] += left[k][i];
        }
    }
    w->top = PLACES;
    w->doubt = doubt;
    w->within = within;
    for (size_t upto; (upto = sweep_race(w, next)); seen = upto) {
        for (size_t i = seen; i < upto; i++) {
            add_base(w, 50); /* on no more images than the trials */
        }
        for (size_t k = 0; k < RUNNERS; k++) {
            for (size_t i = w->trials[k].n; i < upto && next[k]; i++, runs++) {
                add(w, k, left[k][i]);
            }
        }
    }
    sweep_rank(w, order);
    last = total[order[PLACES - 1]];
    for (size_t i = PLACES; i < RUNNERS; i++) {
        wrong += 10 * log10(last / total[order[i]]) > within;
    }
    r->right += !wrong;
    r->wrong += wrong;
    r->missed += sweep_missed(w);
    r->share += (double)runs / (RUNNERS * TRACK);
    sweep_free(w);
}

/* Most are as good as others: it soon says so, where an exact race goes to the end. */
static void equals_are_told_soon(void **state)
{
    (void)state;
    struct races exact = {0}, rough = {0}, fine = {0};
    const size_t n = 60;
    for (size_t i = 0; i < n; i++) {
        race_within(0.001, 0.005, 0, 2.5, &exact);
        race_within(0.001, 0.005, 0.1, 2.5, &rough);
        race_within(0.001, 0.005, 0.01, 2.5, &fine);
    }
    assert_true(rough.right == n && rough.share < 0.2 * (double)n);
    assert_true(exact.share > 2 * rough.share && fine.share > 1.5 * rough.share);
}

/* Steps of 0.3 dB up to 16 dB: at the first places little error is left, so that a difference of it
 * is many more decibels than at the base. */
static void differences_are_those_of_the_first_places(void **state)
{
    (void)state;
    struct races r = {0};
    const size_t n = 200;
    for (size_t i = 0; i < n; i++) {
        race_within(0.3, 0.005, 0.2, 2.5, &r);
    }
    assert_true(r.wrong < n / 10);
    assert_true((double)r.wrong < 2 * r.missed + 3);
    assert_true(r.share < 0.7 * (double)n);
}

/* What is said to be missing by more than `within` is not too little, and tells bold from careful.
 */
static void what_is_more_than_within_is_counted(void **state)
{
    (void)state;
    struct races bold = {0}, careful = {0};
    const size_t n = 300;
    for (size_t i = 0; i < n; i++) {
        race_within(0.02, 0.03, 0.05, 1, &bold);
        race_within(0.02, 0.03, 0.05, 3, &careful);
    }
    assert_true(bold.wrong > 40 && careful.wrong < bold.wrong / 8);
    assert_true(bold.missed > (double)bold.wrong && careful.missed > (double)careful.wrong);
    assert_true(careful.missed < bold.missed / 4);
}

static void partial_trials_stand_for_all_images(void **state)
{
    (void)state;
    double size[TRACK], sum = 0, lo, hi;
    struct sweep *w = track_of(0.6, 2.5, size); /* no image is below the floor */
    for (size_t i = 0; i < TRACK; i++) {
        sum += size[i];
    }
    for (size_t i = 0; i < TRACK; i++) {
        add(w, 0, 750 * size[i]); /* a quarter of the error goes */
        assert_int_equal(sweep_is_partial(w, &w->trials[0]), i + 1 < TRACK);
        assert_true(near(sweep_effect(w, &w->trials[0]), 25 * sum / TRACK));
        sweep_interval(w, &w->trials[0], &lo, &hi);
        assert_true(i ? lo < 25 * sum / TRACK && hi > 25 * sum / TRACK : isnan(lo));
    }
    assert_false(sweep_is_partial(w, &w->trials[1]));
    sweep_free(w);
    size_t held = 0, draws = 400;
    for (size_t d = 0; d < draws; d++) { /* what all images say is mostly inside */
        w = track_of(1, 2.5, size);
        double total = 0;
        for (size_t i = 0; i < TRACK; i++) {
            double gain = size[i] * (100 + 100 * normal());
            total += gain / 10 / TRACK;
            if (i < 8) {
                add(w, 0, 1000 * size[i] - gain);
            }
        }
        sweep_interval(w, &w->trials[0], &lo, &hi);
        held += lo <= total && total <= hi;
        sweep_free(w);
    }
    assert_true(held > draws * 95 / 100);
}

static void orders_need_errors(void **state)
{
    (void)state;
    const char *const outcome[] = {"top1", "mse", "mse"};
    const enum sweep_kind kind[] = {SWEEP_LOO, SWEEP_ONLY, SWEEP_LOO};
    for (size_t i = 0; i < COUNT(kind); i++) { /* shares, values, a base that is exact */
        struct sweep *w = sweep_of(kind[i], outcome[i], 3, 2);
        size_t order[2];
        add_base(w, i == 2 ? 0 : 5);
        add_base(w, i == 2 ? 0 : 7);
        assert_false(sweep_order(w, order));
        assert_null(w->sizes);
        sweep_free(w);
    }
}

static void orders_are_for_races_that_begin(void **state)
{
    (void)state;
    struct sweep *w = sweep_of(SWEEP_LOO, "mse", 2, 3);
    size_t order[3];
    add_base(w, 1);
    add_base(w, 10);
    assert_true(sweep_orders(w) && sweep_is_uneven(w));
    assert_false(sweep_order(w, order)); /* an image is missing */
    add_base(w, 100);
    assert_true(sweep_order(w, order));
    assert_int_equal(order[0], 2);
    assert_true(sweep_order(w, order)); /* again: it is in order */
    assert_int_equal(order[0], 0);
    add(w, 1, 50);
    assert_false(sweep_orders(w) || sweep_order(w, order)); /* a trial has seen the first */
    assert_non_null(w->sizes);
    sweep_free(w);
}

/* A race that may end early orders what the base has seen; the others count as images of mean size
 * and stay where they are. */
static void early_ends_order_what_was_seen(void **state)
{
    (void)state;
    const size_t want[] = {2, 1, 0, 3, 4};
    struct sweep *w = sweep_of(SWEEP_LOO, "mse", 2, 5);
    size_t order[5];
    for (size_t i = 0; i < 3; i++) {
        w->images[i] = i;
        add_base(w, (double)(i + 1));
    }
    w->images[3] = 3;
    w->images[4] = 4;
    assert_false(sweep_order(w, order));
    w->within = 0.1;
    assert_false(sweep_is_uneven(w)); /* not enough to look at more */
    assert_true(sweep_order(w, order));
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(order[i], want[i]);
        assert_int_equal(w->images[i], want[i]);
        assert_true(near(w->sizes[i], i < 3 ? (double)(3 - i) / 2 : 1));
        assert_true(i > 2 || near(w->base.terms[i][0], (double)(3 - i) / 10));
    }
    sweep_free(w);
}

static void small_races_are_exact_at_once(void **state)
{
    (void)state;
    struct sweep *w = sweep_of(SWEEP_LOO, "mse", 3, 2);
    bool next[3];
    w->top = 8;
    w->doubt = 2.5;
    assert_int_equal(sweep_race(w, next), 2);
    assert_true(next[0] && next[1] && next[2]);
    for (size_t k = 0; k < 3; k++) {
        w->trials[k].error = mem_dup("no");
    }
    assert_int_equal(sweep_race(w, next), 0); /* nobody is left */
    sweep_free(w);
}

static void shuffles_are_permutations(void **state)
{
    (void)state;
    size_t a[100], b[100], moved = 0;
    bool seen[100] = {false};
    for (size_t i = 0; i < 100; i++) {
        a[i] = b[i] = i;
    }
    sweep_shuffle(100, a);
    sweep_shuffle(100, b);
    for (size_t i = 0; i < 100; i++) {
        assert_int_equal(a[i], b[i]);
        assert_false(seen[a[i]]);
        seen[a[i]] = true;
        moved += a[i] != i;
    }
    assert_true(moved > 80);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(races_find_the_first_places),
        cmocka_unit_test(noisy_ones_are_not_judged_by_the_others),
        cmocka_unit_test(races_say_what_they_may_have_missed),
        cmocka_unit_test(equals_are_told_soon),
        cmocka_unit_test(differences_are_those_of_the_first_places),
        cmocka_unit_test(what_is_more_than_within_is_counted),
        cmocka_unit_test(partial_trials_stand_for_all_images),
        cmocka_unit_test(orders_need_errors),
        cmocka_unit_test(orders_are_for_races_that_begin),
        cmocka_unit_test(early_ends_order_what_was_seen),
        cmocka_unit_test(small_races_are_exact_at_once),
        cmocka_unit_test(shuffles_are_permutations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
