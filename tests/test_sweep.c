/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * test_sweep.c: outcomes, effects and their intervals, rankings, searches and costs, all on
 * made-up scores: nothing is run.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/sweep_fixture.h"

/* ---- Outcomes ------------------------------------------------------------------------------- */

static void outcomes_on_closed_forms(void **state)
{
    (void)state;
    struct image_score s[] = {classed(3, 3, 3), classed(3, 3, 1), classed(2, 1, 2),
                              classed(-1, 5, 5), classed(4, 4, 4)};
    s[4].ok = false;
    s[0].signal = 90;
    s[0].noise = 0;
    s[1].signal = 10;
    s[1].noise = 1;
    s[2].signal = s[3].signal = s[2].noise = s[3].noise = 0;
    s[2].sqnr = s[3].sqnr = INFINITY;
    assert_true(near(outcome_value(outcome_find("top1"), 5, s, SIDE_INT8), 200.0 / 3));
    assert_true(near(outcome_value(outcome_find("top1"), 5, s, SIDE_FP32), 200.0 / 3));
    assert_true(near(outcome_value(outcome_find("agreement"), 5, s, SIDE_INT8), 50));
    assert_true(near(outcome_value(outcome_find("agreement"), 5, s, SIDE_FP32), 100));
    assert_true(near(outcome_value(outcome_find("sqnr"), 5, s, SIDE_INT8), 20)); /* 100 to 1 */
    assert_true(isinf(outcome_value(outcome_find("sqnr"), 5, s, SIDE_FP32)));
    assert_true(near(outcome_value(outcome_find("mse"), 1, s + 1, SIDE_INT8), 0.1));
    assert_true(outcome_value(outcome_find("mse"), 1, s + 1, SIDE_FP32) == 0);
    assert_true(outcome_value(outcome_find("cosine"), 1, s + 1, SIDE_FP32) == 1);
    assert_true(isnan(outcome_value(outcome_find("kl"), 4, s, SIDE_INT8)));       /* nobody knows */
    assert_true(isnan(outcome_value(outcome_find("top1"), 1, s + 3, SIDE_INT8))); /* no label */
    s[0].int8_rank = s[0].fp32_rank = 4;
    s[1].int8_rank = 5;
    s[1].fp32_rank = 0;
    assert_true(near(outcome_value(outcome_find("top5"), 2, s, SIDE_INT8), 50));
    assert_true(near(outcome_value(outcome_find("top5"), 2, s, SIDE_FP32), 100));
    s[1].range = 10; /* and a mean squared error of 0.1 */
    assert_true(near(outcome_value(outcome_find("psnr"), 1, s + 1, SIDE_INT8), 30));
    assert_true(isinf(outcome_value(outcome_find("psnr"), 1, s + 1, SIDE_FP32)));
    assert_null(outcome_find("sqn"));
    size_t n = 0;
    while (outcomes[n].name) {
        n++;
    }
    assert_int_equal(n, N_OUTCOMES);
}

/* ---- Sets of pins --------------------------------------------------------------------------- */

static void trials_pin_what_their_sweep_says(void **state)
{
    (void)state;
    const size_t rows[] = {1, 3};
    const bool all[] = {false, true, true, true, true}, base[] = {false, false, true, false, false};
    static const struct {
        enum sweep_kind kind;
        const char *pinned[2];
    } cases[] = {
        {SWEEP_LOO, {"01100", "00110"}},
        {SWEEP_ONLY, {"00111", "01101"}},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct sweep *w = sweep_new(cases[i].kind, &outcomes[0], 5, 2, rows, all, base, 0, NULL);
        assert_int_equal(w->n_trials, 2);
        for (size_t t = 0; t < 2; t++) {
            char text[6] = "";
            for (size_t k = 0; k < 5; k++) {
                text[k] = w->trials[t].pinned[k] ? '1' : '0';
            }
            assert_string_equal(text, cases[i].pinned[t]);
            assert_int_equal(w->trials[t].layer, rows[t]);
        }
        sweep_free(w);
    }
}

/* ---- Effects and rankings ------------------------------------------------------------------- */

static void gains_are_over_common_images(void **state)
{
    (void)state;
    struct sweep *w = sweep_of(SWEEP_LOO, "sqnr", 3, 3);
    const double base[] = {10, 1, 4}, half[] = {1, 0.1};
    for (size_t i = 0; i < 3; i++) {
        add_base(w, base[i]);
    }
    for (size_t i = 0; i < 2; i++) {
        add(w, 0, half[i]);
        add(w, 1, 0);
    }
    assert_true(near(sweep_effect(w, &w->trials[0]), 10)); /* a tenth of the noise of two images */
    assert_true(isinf(sweep_effect(w, &w->trials[1])));
    assert_true(isnan(sweep_effect(w, &w->trials[2]))); /* not measured */
    assert_true(near(trial_value(&w->base, w->outcome), 10 * log10(300 / 15.0)));
    assert_true(isinf(sweep_fp32(w, w->outcome)));
    sweep_free(w);
    w = sweep_of(SWEEP_LOO, "sqnr", 1, 1);
    add_base(w, 0);
    add(w, 0, 0);
    assert_true(sweep_effect(w, &w->trials[0]) == 0); /* both exact */
    sweep_free(w);
    w = sweep_of(SWEEP_LOO, "mse", 1, 1);
    add_base(w, 10);
    add(w, 0, 3);
    assert_true(near(sweep_effect(w, &w->trials[0]), 0.7)); /* less error is a gain */
    sweep_free(w);
}

static void expect_order(const struct sweep *w, const char *want)
{
    size_t order[16];
    char text[16] = "";
    sweep_rank(w, order);
    for (size_t i = 0; i < w->n_trials; i++) {
        text[i] = (char)('0' + order[i]);
    }
    assert_string_equal(text, want);
}

static void ranks_are_total(void **state)
{
    (void)state;
    const double noise[] = {5, 1, 9, 1, 0, 7};
    struct sweep *w = sweep_of(SWEEP_LOO, "sqnr", 6, 2), *o = sweep_of(SWEEP_ONLY, "sqnr", 6, 2);
    struct sweep *p = sweep_of(SWEEP_PREFIX, "sqnr", 6, 2);
    struct sweep *all[] = {w, o, p};
    for (size_t s = 0; s < 3; s++) {
        for (size_t i = 0; i < 2; i++) {
            add_base(all[s], 5);
            for (size_t k = 0; k < 6; k++) {
                if (i == 0 || k != 2) { /* one saw one image only */
                    add(all[s], k, noise[k]);
                }
            }
        }
        all[s]->trials[5].error = mem_dup("no");
    }
    expect_order(w, "413025"); /* equals in their order, fewer images behind, errors last */
    expect_order(o, "013425"); /* the worst first */
    expect_order(p, "012345");
    sweep_free(w);
    sweep_free(o);
    sweep_free(p);
}

static void shares_tie_by_the_sqnr(void **state)
{
    (void)state;
    struct sweep *w = sweep_of(SWEEP_LOO, "top1", 2, 1);
    for (size_t k = 0; k < 3; k++) {
        struct image_score s = classed(1, 1, 1);
        s.signal = 100;
        s.noise = k == 1 ? 5 : 6;
        s.sqnr = sqnr_db(s.signal, s.noise);
        if (k < 2) {
            trial_add(&w->trials[k], w->outcome, &s);
        } else {
            sweep_add_base(w, &s);
        }
    }
    expect_order(w, "10");
    sweep_free(w);
}

/* ---- Intervals ------------------------------------------------------------------------------ */

/* Share of intervals that hold the truth, over many draws of n images. */
static double coverage(const char *outcome, size_t n, double truth,
                       void (*draw)(struct image_score *base, struct image_score *trial))
{
    size_t hit = 0, draws = 3000;
    for (size_t d = 0; d < draws; d++) {
        struct sweep *w = sweep_of(SWEEP_LOO, outcome, 1, n);
        for (size_t i = 0; i < n; i++) {
            struct image_score base, trial;
            draw(&base, &trial);
            sweep_add_base(w, &base);
            trial_add(&w->trials[0], w->outcome, &trial);
        }
        double lo, hi;
        sweep_interval(w, &w->trials[0], &lo, &hi);
        hit += lo <= truth && truth <= hi;
        sweep_free(w);
    }
    return (double)hit / (double)draws;
}

static void draw_means(struct image_score *base, struct image_score *trial)
{
    double common = normal(); /* images are hard or easy for both */
    *base = score(100, 1);
    *trial = score(100, 1);
    base->mse = 10 + 3 * common + 0.5 * normal();
    trial->mse = 8 + 3 * common + 0.5 * normal();
}

static void draw_noise(struct image_score *base, struct image_score *trial)
{
    double signal = 100 * (0.5 + uniform()), noise = 2 + 4 * uniform();
    *base = score(signal, noise);
    *trial = score(signal, noise * (0.25 + 0.5 * uniform())); /* half of it, in the mean */
}

static void draw_shares(struct image_score *base, struct image_score *trial)
{
    double u = uniform();
    *base = classed(1, 1, u < 0.3 ? 2 : 1);                           /* 30 % are lost */
    *trial = classed(1, 1, u < 0.1 || (u > 0.3 && u < 0.35) ? 2 : 1); /* 20 back, 5 lost anew */
}

static void intervals_hold_the_truth(void **state)
{
    (void)state;
    /* Differences of normal variables: exactly 95 %, from two images on. */
    const size_t n[] = {2, 3, 4, 8, 32};
    for (size_t i = 0; i < COUNT(n); i++) {
        double c = coverage("mse", n[i], 2, draw_means);
        assert_true(c > 0.938 && c < 0.962);
    }
    assert_true(coverage("sqnr", 4, 10 * log10(2), draw_noise) > 0.92);
    assert_true(coverage("sqnr", 16, 10 * log10(2), draw_noise) > 0.93);
    assert_true(coverage("top1", 4, 15, draw_shares) > 0.93);
    assert_true(coverage("top1", 16, 15, draw_shares) > 0.93);
    assert_true(coverage("top1", 64, 15, draw_shares) > 0.93);
}

static void few_images_say_little(void **state)
{
    (void)state;
    double lo, hi;
    struct sweep *w = sweep_of(SWEEP_LOO, "top1", 1, 2);
    struct image_score s = classed(1, 1, 1);
    sweep_add_base(w, &s);
    trial_add(&w->trials[0], w->outcome, &s);
    sweep_interval(w, &w->trials[0], &lo, &hi);
    assert_true(isnan(lo) && isnan(hi)); /* one image */
    sweep_add_base(w, &s);
    trial_add(&w->trials[0], w->outcome, &s);
    sweep_interval(w, &w->trials[0], &lo, &hi);
    assert_true(lo < -30 && hi > 30); /* no difference on two images is no proof of none */
    sweep_free(w);
}

/* ---- Doubts ------------------------------------------------------------------------------------
 */

static void doubts_are_counted(void **state)
{
    (void)state;
    struct sweep *w = sweep_of(SWEEP_LOO, "mse", 3, 8);
    const double noise[][3] = {{50, 80, 99}, {52, 20, 98}};
    w->top = 1;
    for (size_t i = 0; i < 8; i++) {
        add_base(w, 100);
        add(w, 0, noise[i % 2][0]);
        if (i < 2) {
            add(w, 1, noise[i][1]);
            add(w, 2, noise[i][2]);
        }
    }
    size_t order[3];
    sweep_rank(w, order);
    assert_int_equal(order[0], 0);
    assert_int_equal(sweep_doubtful(w, order), 1); /* one that spreads, and one that is worse */
    sweep_free(w);
}

/* ---- Frontier ------------------------------------------------------------------------------- */

static void the_frontier_has_no_beaten_points(void **state)
{
    (void)state;
    struct sweep *w = sweep_new(SWEEP_SEARCH, outcome_find("mse"), 4, 0, NULL, NULL, NULL, 1,
                                mem_alloc(2 * sizeof(size_t)));
    const struct {
        int pins;
        double noise;
    } tried[] = {{1, 50}, {1, 40}, {2, 45}, {2, 30}, {3, 30}, {4, 0}};
    add_base(w, 60);
    for (size_t i = 0; i < COUNT(tried); i++) {
        bool pinned[4];
        for (int k = 0; k < 4; k++) {
            pinned[k] = k < tried[i].pins;
        }
        add(w, sweep_try(w, 0, pinned), tried[i].noise);
    }
    const struct trial *points[8];
    assert_int_equal(sweep_pareto(w, NULL, points), 4);
    assert_ptr_equal(points[0], &w->base);
    assert_ptr_equal(points[1], &w->trials[1]);
    assert_ptr_equal(points[2], &w->trials[3]);
    assert_ptr_equal(points[3], &w->trials[5]);
    sweep_free(w);
}

/* ---- Goals ---------------------------------------------------------------------------------- */

static void goals_are_drops_or_values(void **state)
{
    (void)state;
    struct sweep *w = sweep_of(SWEEP_LOO, "top1", 1, 4);
    for (int i = 0; i < 4; i++) {
        struct image_score base = classed(1, 1, i ? 1 : 2), trial = classed(1, 1, 1);
        sweep_add_base(w, &base);
        trial_add(&w->trials[0], w->outcome, &trial);
    }
    struct goal drop = {.outcome = w->outcome, .is_drop = true, .limit = 24};
    assert_false(goal_met(&drop, w, &w->base));
    assert_true(goal_met(&drop, w, &w->trials[0]));
    drop.limit = 25;
    assert_true(goal_met(&drop, w, &w->base));
    struct goal reach = {.outcome = w->outcome, .limit = 76};
    assert_false(goal_met(&reach, w, &w->base));
    reach.outcome = outcome_find("mse"); /* lower is better: 0.1 */
    reach.limit = 0.05;
    assert_false(goal_met(&reach, w, &w->base));
    reach.limit = 0.1;
    assert_true(goal_met(&reach, w, &w->base));
    reach.outcome = outcome_find("kl"); /* unknown is never good enough */
    assert_false(goal_met(&reach, w, &w->base));
    sweep_free(w);
}

/* ---- Costs ---------------------------------------------------------------------------------- */

static int shaped(struct graph *g, const char *name, int rank, const int64_t *dims, bool constant)
{
    int v = graph_value(g, name);
    g->values[v].rank = rank;
    memcpy(g->values[v].dims, dims, (size_t)rank * sizeof *dims);
    if (constant) {
        assert_int_equal(tensor_new(DT_F32, rank, dims, NULL, &g->values[v].constant, NULL), OK);
    }
    return v;
}

static void costs_count_products_and_weights(void **state)
{
    (void)state;
    static const struct {
        const char *op;
        int rank_x, rank_w, rank_y;
        int64_t x[4], w[4], y[4];
        double macs;
    } cases[] = {
        {"Conv", 4, 4, 4, {1, 3, 8, 8}, {16, 3, 3, 3}, {1, 16, 8, 8}, 16 * 64 * 27},
        {"Conv", 4, 4, 4, {1, 16, 8, 8}, {16, 1, 3, 3}, {1, 16, 8, 8}, 16 * 64 * 9},
        {"ConvTranspose", 4, 4, 4, {1, 3, 4, 4}, {3, 5, 2, 2}, {1, 5, 8, 8}, 48 * 20},
        {"Gemm", 2, 2, 2, {1, 32}, {32, 10}, {1, 10}, 320},
        {"MatMul", 3, 2, 3, {1, 7, 32}, {32, 10}, {1, 7, 10}, 2240},
        {"DEPTHWISE_CONV_2D", 4, 4, 4, {1, 8, 8, 16}, {1, 3, 3, 16}, {1, 8, 8, 16}, 1024 * 9},
        {"FULLY_CONNECTED", 2, 2, 2, {1, 32}, {10, 32}, {1, 10}, 320},
        {"Relu", 2, 2, 2, {1, 32}, {1, 32}, {1, 32}, 0},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct graph *g = graph_new();
        int in[2] = {shaped(g, "x", cases[i].rank_x, cases[i].x, false),
                     shaped(g, "w", cases[i].rank_w, cases[i].w, true)};
        int out = shaped(g, "y", cases[i].rank_y, cases[i].y, false);
        g->values[0].is_input = true;
        graph_add(g, cases[i].op, "", "n", 2, in, 1, &out);
        assert_int_equal(graph_finish(g, NULL), OK);
        struct layer l = {.name = "n", .fp32 = out, .int8 = out};
        struct match m = {.n_layers = 1, .layers = &l};
        struct layer_cost *c = layer_costs(g, &m);
        assert_true(c->macs == cases[i].macs);
        assert_true(c->weights == (double)g->values[in[1]].constant->size);
        free(c);
        graph_free(g);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(outcomes_on_closed_forms),
        cmocka_unit_test(trials_pin_what_their_sweep_says),
        cmocka_unit_test(gains_are_over_common_images),
        cmocka_unit_test(ranks_are_total),
        cmocka_unit_test(shares_tie_by_the_sqnr),
        cmocka_unit_test(intervals_hold_the_truth),
        cmocka_unit_test(few_images_say_little),
        cmocka_unit_test(doubts_are_counted),
        cmocka_unit_test(the_frontier_has_no_beaten_points),
        cmocka_unit_test(goals_are_drops_or_values),
        cmocka_unit_test(costs_count_products_and_weights),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
