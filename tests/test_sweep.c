/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * test_sweep.c: outcomes, effects and their intervals, rankings, races, searches and costs, all on
 * made-up scores: nothing is run.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "analysis/analysis.h"

/* ---- Material ------------------------------------------------------------------------------- */

static uint64_t seed = 1;

static double uniform(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (double)(seed >> 11) * 0x1p-53;
}

static double normal(void)
{
    return sqrt(-2 * log(1 - uniform())) * cos(2 * M_PI * uniform());
}

static struct image_score score(double signal, double noise)
{
    struct image_score s;
    image_score_init(&s);
    s.ok = true;
    s.signal = signal;
    s.noise = noise;
    s.sqnr = sqnr_db(signal, noise);
    s.cosine = 1 - noise / signal;
    s.mse = noise / 10;
    return s;
}

static struct image_score classed(int label, int fp32, int int8)
{
    struct image_score s = score(1, 1);
    s.label = label;
    s.fp32_top1 = fp32;
    s.int8_top1 = int8;
    return s;
}

static struct sweep *sweep_of(enum sweep_kind kind, const char *outcome, size_t rows, size_t images)
{
    size_t *list = mem_alloc((rows + 1) * sizeof *list);
    bool *all = mem_alloc(rows + 1);
    for (size_t i = 0; i < rows; i++) {
        list[i] = i;
        all[i] = true;
    }
    struct sweep *w = sweep_new(kind, outcome_find(outcome), rows, rows, list, all,
                                kind == SWEEP_ONLY ? all : NULL, images,
                                mem_alloc((images + 1) * sizeof(size_t)));
    free(list);
    free(all);
    return w;
}

static void add(struct sweep *w, size_t trial, double noise)
{
    struct image_score s = score(100, noise);
    trial_add(&w->trials[trial], w->outcome, &s);
}

static void add_base(struct sweep *w, double noise)
{
    struct image_score s = score(100, noise);
    sweep_add_base(w, &s);
}

static bool near(double a, double b)
{
    return fabs(a - b) <= 1e-9 * fmax(1, fmax(fabs(a), fabs(b)));
}

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
    struct sweep *pilot = sweep_of(SWEEP_LOO, "mse", 0, TRACK);
    double drawn[TRACK];
    size_t order[TRACK];
    for (size_t i = 0; i < TRACK; i++) {
        drawn[i] = exp(spread * normal());
        add_base(pilot, 1000 * drawn[i]);
    }
    assert_true(sweep_order(w, pilot, order));
    for (size_t i = 0; i < TRACK; i++) {
        size[i] = drawn[order[i]];
        assert_true(!i || size[i] <= size[i - 1]);
        add_base(w, 1000 * size[i]);
    }
    w->top = PLACES;
    w->doubt = doubt;
    sweep_free(pilot);
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

/* Runner k gains k in proportion to the size of an image, on one more or less by `noise`. */
static void race(double spread, double noise, double doubt, struct races *r)
{
    static double gain[RUNNERS][TRACK];
    double total[RUNNERS] = {0}, size[TRACK];
    struct sweep *w = track_of(spread, doubt, size);
    bool next[RUNNERS];
    size_t seen = 0, runs = 0;
    for (size_t k = 0; k < RUNNERS; k++) {
        for (size_t i = 0; i < TRACK; i++) {
            gain[k][i] = size[i] * ((double)k + noise * normal());
            total[k] += gain[k][i];
        }
    }
    for (size_t upto; (upto = sweep_race(w, next)); seen = upto) {
        assert_true(upto > seen && upto <= TRACK);
        for (size_t k = 0; k < RUNNERS; k++) {
            assert_true(seen > 0 || next[k]);
            for (size_t i = seen; i < upto && next[k]; i++, runs++) {
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
    assert_true(sized.share < 0.85 * close.share); /* the images that decide come first */
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
    assert_true(bold.missed > 0.5 * (double)bold.wrong && bold.missed < 2 * (double)bold.wrong);
    assert_true(careful.wrong < bold.wrong / 8 && careful.missed < bold.missed / 8);
}

static void partial_trials_stand_for_all_images(void **state)
{
    (void)state;
    double size[TRACK], sum = 0, lo, hi;
    struct sweep *w = track_of(1, 2.5, size);
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
        struct sweep *pilot = sweep_of(kind[i], outcome[i], 0, 2);
        size_t order[2];
        add_base(pilot, i == 2 ? 0 : 5);
        add_base(pilot, i == 2 ? 0 : 7);
        assert_false(sweep_order(w, pilot, order));
        assert_null(w->sizes);
        sweep_free(pilot);
        sweep_free(w);
    }
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
    struct sweep *w = sweep_of(SWEEP_SEARCH, "mse", 0, 1);
    const struct {
        int pins;
        double noise;
    } tried[] = {{1, 50}, {1, 40}, {2, 45}, {2, 30}, {3, 30}, {4, 0}};
    w->n_layers = 4;
    w->base.pinned = mem_grow(w->base.pinned, 5);
    memset(w->base.pinned, 0, 5);
    add_base(w, 60);
    for (size_t i = 0; i < COUNT(tried); i++) {
        bool pinned[4];
        for (int k = 0; k < 4; k++) {
            pinned[k] = k < tried[i].pins;
        }
        add(w, sweep_try(w, 0, pinned), tried[i].noise);
    }
    const struct trial *points[8];
    assert_int_equal(sweep_pareto(w, points), 4);
    assert_ptr_equal(points[0], &w->base);
    assert_ptr_equal(points[1], &w->trials[1]);
    assert_ptr_equal(points[2], &w->trials[3]);
    assert_ptr_equal(points[3], &w->trials[5]);
    sweep_free(w);
}

/* ---- Searches ------------------------------------------------------------------------------- */

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

static void searches_renew_stale_promises(void **state)
{
    (void)state;
    struct sweep *w = sweep_of(SWEEP_SEARCH, "mse", 8, 1);
    const bool candidate[] = {true, true, true, true, true, true, true, false};
    struct search *s = search_new(8, candidate);
    size_t measured = 0, picked[8], n_picked = 0;
    add_base(w, noise_of(w->base.pinned));
    while (n_picked < 4) {
        size_t list[2], n, best;
        while ((best = search_next(s, 2, list, &n)) == SIZE_MAX && n) {
            for (size_t i = 0; i < n; i++, measured++) {
                bool set[8];
                memcpy(set, w->base.pinned, 8);
                set[list[i]] = true;
                size_t t = sweep_try(w, list[i], set);
                add(w, t, noise_of(set));
                search_measured(s, w, &w->trials[t]);
            }
        }
        assert_true(best < 7);
        picked[n_picked++] = best;
        w->base.pinned[best] = true;
        double noise[2] = {noise_of(w->base.pinned), 0};
        struct image_score x = score(100, noise[0]);
        w->base.n = 0;
        memset(w->base.sums, 0, sizeof w->base.sums);
        trial_add(&w->base, w->outcome, &x);
        s->candidate[best] = false;
        for (size_t k = 0; k < 8; k++) {
            s->fresh[k] = false;
        }
    }
    assert_int_equal(picked[0], 2);
    assert_int_equal(picked[1], 5); /* not 3, whose promise of 35 was stale */
    assert_int_equal(picked[2], 4);
    assert_int_equal(picked[3], 1);
    assert_true(measured < 7 + 6 + 5 + 4);
    search_free(s);
    sweep_free(w);
}

static void searches_end_when_nobody_is_left(void **state)
{
    (void)state;
    const bool none[4] = {false};
    struct search *s = search_new(4, none);
    size_t list[2], n;
    assert_int_equal(search_next(s, 2, list, &n), SIZE_MAX);
    assert_int_equal(n, 0);
    search_free(s);
}

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
    assert_true(near(goal_drop(&drop, w, &w->base), 25));
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
        struct layer_cost c = layer_cost(g, &m, 0);
        assert_true(c.macs == cases[i].macs);
        assert_true(c.weights == (double)g->values[in[1]].constant->size);
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
        cmocka_unit_test(races_find_the_first_places),
        cmocka_unit_test(races_say_what_they_may_have_missed),
        cmocka_unit_test(partial_trials_stand_for_all_images),
        cmocka_unit_test(orders_need_errors),
        cmocka_unit_test(small_races_are_exact_at_once),
        cmocka_unit_test(shuffles_are_permutations),
        cmocka_unit_test(doubts_are_counted),
        cmocka_unit_test(the_frontier_has_no_beaten_points),
        cmocka_unit_test(searches_renew_stale_promises),
        cmocka_unit_test(searches_end_when_nobody_is_left),
        cmocka_unit_test(goals_are_drops_or_values),
        cmocka_unit_test(costs_count_products_and_weights),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
