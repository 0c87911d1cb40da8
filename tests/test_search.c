/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * test_search.c: goals, the search for pins and its doubts, culprits, on made-up scores.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include <math.h>

#include "tests/sweep_fixture.h"

/* Noise that stays with a set of pins: layers 2 and 5 carry most of it, and 3 helps only as long as
 * 2 is not pinned. */
static double noise_of(const bool *pinned)
{
    static const double part[] = {1, 2, 40, 0, 3, 30, 1, 1};
    double noise = 0;
    for (size_t k = 0; k < COUNT(part); k++) {
        noise += pinned[k] ? 0 : part[k];
    }
    return noise - (pinned[3] && !pinned[2] ? 35 : 0);
}

/* A search over layers whose noise adds up, all alone tried. */
static struct search *search_of(struct sweep *w, const struct goal *g)
{
    const bool candidate[] = {true, true, true, true, true, true, true, false};
    struct search *s = search_new(8, candidate, g, true);
    add_base(w, noise_of(w->base.pinned));
    sweep_keep_base(w);
    for (size_t k = 0; k < 7; k++) {
        bool set[8] = {false};
        set[k] = true;
        s->single[k] = sweep_try(w, k, set);
        add(w, s->single[k], noise_of(set));
        s->gain[k] = noise_of(w->base.pinned) - noise_of(set);
    }
    return s;
}

static void searches_order_sets_by_what_they_promise(void **state)
{
    (void)state;
    const struct goal g = {.outcome = outcome_find("mse"), .limit = 1};
    struct sweep *w = sweep_new(SWEEP_SEARCH, g.outcome, 8, 0, NULL, NULL, NULL, 1,
                                mem_alloc(2 * sizeof(size_t)));
    struct search *s = search_of(w, &g);
    struct prospect *p;
    size_t n = search_prospects(s, w, 2, SIZE_MAX, &p);
    assert_int_equal(n, 7 * 6 / 2); /* each pair once */
    /* 2 and 3, whose gains do not add up, promise most; 2 and 5 come next. */
    bool set[8] = {false};
    for (size_t i = 0; i < n; i++) {
        memcpy(set, w->trials[p[i].parent].pinned, 8);
        set[p[i].layer] = true;
        assert_true(i > 0 || (set[2] && set[3]));
        assert_true(i != 1 || (set[2] && set[5]) || (set[3] && set[5]));
    }
    memset(set, 0, 8);
    set[2] = set[5] = true;
    add(w, sweep_try(w, 5, set), noise_of(set));
    assert_int_equal(search_find(w, set), w->n_trials - 1);
    assert_int_equal(search_size(w, &w->trials[w->n_trials - 1]), 2);
    free(p);
    assert_int_equal(search_prospects(s, w, 2, SIZE_MAX, &p), n - 1); /* that one was tried */
    free(p);
    search_point(s, w, w->n_trials - 1);
    search_point(s, w, s->single[0]);
    search_point(s, w, s->single[2]);
    assert_int_equal(s->n_points, 2);
    assert_int_equal(s->points[0], s->single[2]); /* the best of one layer */
    assert_true(goal_met(&g, w, &w->trials[s->points[1]]));
    search_free(s);
    sweep_free(w);
}

static void searches_say_what_they_may_have_missed(void **state)
{
    (void)state;
    const struct goal g = {.outcome = outcome_find("mse"), .limit = 1};
    struct sweep *w = sweep_new(SWEEP_SEARCH, g.outcome, 8, 0, NULL, NULL, NULL, 1,
                                mem_alloc(2 * sizeof(size_t)));
    struct search *s = search_of(w, &g);
    search_doubt(s, w, 1);
    assert_int_equal(s->tried[1], 7);
    assert_true(s->missed[1] == 0); /* all were measured on all images */
    search_doubt(s, w, 2);
    assert_true(isnan(s->missed[2])); /* nothing to judge by */
    for (size_t a = 0; a < 7; a++) {
        for (size_t b = a + 1; b < 7; b++) {
            bool set[8] = {false};
            set[a] = set[b] = true;
            double before = s->missed[2];
            add(w, sweep_try(w, b, set), noise_of(set));
            search_doubt(s, w, 2);
            assert_true(isnan(before) || s->missed[2] >= 0);
        }
    }
    assert_int_equal(s->tried[2], 21);
    bool best[8] = {false};
    best[2] = best[5] = true;
    s->found = search_find(w, best);
    assert_true(search_confidence(s, w) == 1);
    search_free(s);
    sweep_free(w);
}

/* Layer k costs 10 - k, so that the one that is first by what it does is not. */
static double dear(const void *ctx, const bool *pinned)
{
    double cost = 0;
    for (size_t k = 0; k < *(const size_t *)ctx; k++) {
        cost += pinned[k] ? 10 - (double)k : 0;
    }
    return cost;
}

static void of_sets_that_meet_the_goal_the_cheapest_is_taken(void **state)
{
    (void)state;
    const size_t n = 8;
    struct goal g = {.outcome = outcome_find("mse"), .limit = 5}; /* 2, 3 or 5 will do alone */
    struct sweep *w = sweep_new(SWEEP_SEARCH, g.outcome, 8, 0, NULL, NULL, NULL, 1,
                                mem_alloc(2 * sizeof(size_t)));
    struct search *s = search_of(w, &g);
    assert_true(search_cost(s, w, s->single[5]) == 0);
    assert_true(search_prefers(s, w, s->single[2], s->single[5])); /* it does more */
    s->cost = dear;
    s->cost_ctx = &n;
    assert_true(search_cost(s, w, s->single[5]) == 5);
    assert_true(search_prefers(s, w, s->single[5], s->single[2]));
    assert_false(search_prefers(s, w, s->single[2], s->single[5]));
    assert_true(search_prefers(s, w, s->single[2], s->single[6])); /* cheaper, but it misses */
    search_point(s, w, s->single[2]);
    search_point(s, w, s->single[5]);
    search_point(s, w, s->single[6]);
    assert_int_equal(s->n_points, 1);
    assert_int_equal(s->points[0], s->single[5]);
    const double cost[] = {0, 9, 1, 3, 2, 4, 5, NAN, 6}; /* per trial, the base behind them */
    const struct trial *points[16];
    assert_int_equal(w->n_trials, 8);
    size_t found = sweep_pareto(w, cost, points);
    assert_int_equal(found, 4); /* each costs more and does more */
    assert_ptr_equal(points[0], &w->trials[0]);
    assert_ptr_equal(points[1], &w->trials[s->single[1]]);
    assert_ptr_equal(points[2], &w->trials[s->single[3]]);
    assert_ptr_equal(points[3], &w->trials[s->single[2]]);
    search_free(s);
    sweep_free(w);
}

/* A share on 40 images of which FP32 hits 30 and the base 10. */
static void goals_are_certain_when_images_left_cannot_change_them(void **state)
{
    (void)state;
    struct sweep *w = sweep_new(SWEEP_SEARCH, outcome_find("top1"), 2, 0, NULL, NULL, NULL, 40,
                                mem_alloc(41 * sizeof(size_t)));
    const struct goal g = {.outcome = outcome_find("top1"), .is_drop = true, .limit = 5};
    for (size_t i = 0; i < 40; i++) {
        struct image_score x = score(100, 1);
        x.label = 1;
        x.fp32_top1 = i < 30;
        x.int8_top1 = i >= 20 && i < 30;
        sweep_add_base(w, &x);
    }
    const bool set[2] = {true, false};
    size_t at = sweep_try(w, 0, set);
    struct trial *t = &w->trials[at];
    assert_true(goal_value(&g, w) == 70);
    assert_true(goal_chance(&g, w, t) > 0.001 && goal_chance(&g, w, t) < 0.999);
    double last = 1;
    for (size_t i = 0; i < 20; i++) { /* misses one after the other: 28 of 40 hits are needed */
        struct image_score x = score(100, 1);
        x.label = 1;
        x.fp32_top1 = 1;
        x.int8_top1 = 0;
        trial_add(t, w->outcome, &x);
        double now = goal_chance(&g, w, t);
        assert_true(now < last || (now == 0 && last == 0));
        assert_true(i < 12 ? t->n < 13 : now == 0);
        last = now;
    }
    const bool other[2] = {false, true};
    at = sweep_try(w, 1, other);
    t = &w->trials[at];
    for (size_t i = 0; i < 28; i++) {
        struct image_score x = score(100, 1);
        x.label = x.fp32_top1 = x.int8_top1 = 1;
        assert_true(goal_chance(&g, w, t) < 1);
        trial_add(t, w->outcome, &x);
    }
    assert_true(goal_chance(&g, w, t) == 1);
    assert_true(goal_expect(&g, w, t) > 70);
    sweep_free(w);
}

/* Two layers, three images: the first layer ruins the first image, the second one all of them. */
static void culprits_are_those_that_bring_most_back(void **state)
{
    (void)state;
    static const double like[3][3] = {{0.2, 0.5, 1}, {1, 0.5, 1}, {0.6, 0.9, 1}};
    struct sweep *w = sweep_new(SWEEP_LOO, outcome_find("top1"), 2, 0, NULL, NULL, NULL, 3,
                                mem_alloc(4 * sizeof(size_t)));
    const bool set[2][2] = {{true, false}, {false, true}};
    size_t trials[3];
    for (size_t m = 0; m < 3; m++) {
        size_t at = m ? sweep_try(w, m - 1, set[m - 1]) : 0;
        struct trial *t = m ? &w->trials[at] : NULL;
        for (size_t i = 0; i < 3; i++) {
            struct image_score x = score(1, 1);
            x.kl = -log(like[m][i]);
            x.label = x.fp32_top1 = 1;
            x.int8_top1 = like[m][i] > 0.55;
            t ? trial_add(t, w->outcome, &x) : sweep_add_base(w, &x);
        }
    }
    assert_int_equal(culprits_of_image(w, 0, trials), 2);
    assert_int_equal(trials[0], 0);
    assert_true(fabs(culprit_share(w, &w->trials[0], 0) - 1) < 1e-12);
    assert_true(fabs(culprit_share(w, &w->trials[1], 0) - 0.5) < 1e-12);
    assert_int_equal(culprits_of_image(w, 1, trials), 1);
    assert_int_equal(trials[0], 1);
    assert_true(culprit_fixes(w, &w->trials[1], 1) && !culprit_fixes(w, &w->trials[0], 1));
    assert_int_equal(culprits_of_image(w, 2, trials), 0); /* nothing was lost */
    sweep_free(w);
}

/* Against scipy.stats.binomtest(min(b, c), b + c).pvalue. */
static void flips_are_tested_exactly(void **state)
{
    (void)state;
    assert_true(mcnemar(0, 0) == 1);
    assert_true(fabs(mcnemar(5, 5) - 1) < 1e-12);
    assert_true(fabs(mcnemar(17, 0) - 2 * pow(0.5, 17)) < 1e-15);
    assert_true(fabs(mcnemar(2, 8) - 0.109375) < 1e-12);
    assert_true(mcnemar(8, 2) == mcnemar(2, 8));
    assert_true(fabs(mcnemar(60, 40) - 0.056887933640980784) < 1e-12);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(searches_order_sets_by_what_they_promise),
        cmocka_unit_test(searches_say_what_they_may_have_missed),
        cmocka_unit_test(of_sets_that_meet_the_goal_the_cheapest_is_taken),
        cmocka_unit_test(goals_are_certain_when_images_left_cannot_change_them),
        cmocka_unit_test(culprits_are_those_that_bring_most_back),
        cmocka_unit_test(flips_are_tested_exactly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
