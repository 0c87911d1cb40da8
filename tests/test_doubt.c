/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * test_doubt.c: whether what a search says of itself is true: intervals of estimated points,
 * chances to meet a goal, the confidence that nothing smaller was missed. On thousands of made-up
 * networks, drawn from laws that the search does not know, with a fixed seed.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include <math.h>

#include "tests/sweep_fixture.h"

/* ---- Counting ------------------------------------------------------------------------------- */

enum { BINS = 10 };
/* Of what was said to happen with some probability, what did. */
struct tally {
    double n[BINS], said[BINS], came[BINS];
};

static void count(struct tally *t, double said, bool came)
{
    int bin = (int)fmin(BINS - 1, said * BINS);
    t->n[bin]++;
    t->said[bin] += said;
    t->came[bin] += came;
}

/* Every bin came as often as it was said, within `off` and three standard errors of that many
 * cases. above: more often is right as well. */
static void assert_true_to(const struct tally *t, double off, bool above)
{
    for (int i = 0; i < BINS; i++) {
        if (t->n[i] < 25) {
            continue;
        }
        const double said = t->said[i] / t->n[i], came = t->came[i] / t->n[i];
        const double most = off + 3 * sqrt(said * (1 - said) / t->n[i]);
        if (!(came >= said - most && (above || came <= said + most))) {
            fail_msg("said %.3f, came %.3f of %.0f", said, came, t->n[i]);
        }
    }
}

/* ---- Shares --------------------------------------------------------------------------------- */

static struct image_score hit(bool fp32, bool other)
{
    return classed(1, fp32, other);
}

static void see_share(struct sweep *w, size_t trial, double rate[2][2], size_t n)
{
    for (size_t i = w->trials[trial].n; i < n; i++) {
        bool f = w->fp32_terms[i][0] > 0, b = w->base.terms[i][0] > 0;
        struct image_score x = hit(f, uniform() < rate[f][b]);
        trial_add(&w->trials[trial], w->outcome, &x);
    }
}

static int share_kind(bool f, bool b)
{
    return f != b ? 2 : !f;
}

/* A network on `images` images, in the order in which a search takes them. */
static struct sweep *share_sweep(size_t images, double fp32, double lost, double gained)
{
    struct sweep *w = sweep_new(SWEEP_SEARCH, outcome_find("top1"), 12, 0, NULL, NULL, NULL, images,
                                mem_alloc((images + 1) * sizeof(size_t)));
    bool(*is)[2] = mem_alloc((images + 1) * sizeof *is);
    for (size_t i = 0; i < images; i++) {
        is[i][0] = uniform() < fp32;
        is[i][1] = is[i][0] ? uniform() >= lost : uniform() < gained;
    }
    for (int kind = 3; kind-- > 0;) {
        for (size_t i = 0; i < images; i++) {
            if (share_kind(is[i][0], is[i][1]) == kind) {
                struct image_score x = hit(is[i][0], is[i][1]);
                sweep_add_base(w, &x);
            }
        }
    }
    free(is);
    sweep_keep_base(w);
    return w;
}

static void draw_rates(double rate[2][2])
{
    const double repair = uniform() * uniform();
    rate[1][0] = repair;
    rate[1][1] = 1 - 0.08 * uniform() * (0.2 + repair);
    rate[0][1] = 1 - 0.8 * uniform() * (0.2 + repair);
    rate[0][0] = 0.1 * uniform() * (0.2 + repair);
}

/* The trial of one layer that a search would show as a point; it has seen some images. */
static size_t estimated(const struct sweep *w, const struct goal *g)
{
    bool can[12];
    memset(can, true, sizeof can);
    struct search *s = search_new(12, can, g, true);
    search_point(s, w, 0);
    search_estimate(s, w, 1);
    size_t at = s->points[s->n_points - 1];
    search_free(s);
    return at;
}

enum { RUNS = 1500, TRIALS = 12 };

static size_t look(size_t images)
{
    return MIN(images, 4 + (size_t)(uniform() * (double)images / 2));
}

/* One trial of twelve, or the best one of them, after some images: its interval, what is said of
 * its chance, and what becomes of it on all. */
static void shares(bool best, struct tally *chance, double *inside)
{
    for (int run = 0; run < RUNS; run++) {
        size_t images = 30 + (size_t)(uniform() * 170);
        struct sweep *w =
            share_sweep(images, 0.4 + 0.5 * uniform(), 0.05 + 0.5 * uniform(), 0.05 * uniform());
        struct goal g = {.outcome = w->outcome, .is_drop = true, .limit = 1 + 9 * uniform()};
        double rate[TRIALS][2][2], lo, hi;
        for (size_t k = 0; k < TRIALS; k++) {
            bool set[TRIALS] = {false};
            set[k] = true;
            size_t at = sweep_try(w, k, set);
            draw_rates(rate[k]);
            see_share(w, at, rate[k], look(images));
            goal_pool(w);
        }
        size_t at = best ? estimated(w, &g) : 1;
        struct trial *t = &w->trials[at];
        double said = goal_chance(&g, w, t);
        goal_interval(&g, w, t, &lo, &hi);
        see_share(w, at, rate[t->layer], images);
        double v = trial_value(t, w->outcome);
        *inside += v >= lo - 1e-9 && v <= hi + 1e-9;
        count(chance, said, goal_met(&g, w, t));
        sweep_free(w);
    }
}

static void shares_are_as_likely_as_it_is_said(void **state)
{
    (void)state;
    for (int best = 0; best < 2; best++) {
        struct tally t = {0};
        double inside = 0;
        seed = 20251125;
        shares(best, &t, &inside);
        print_message("shares, %s: %.1f %% inside\n", best ? "best of twelve" : "one set",
                      100 * inside / RUNS);
        /* The best of twelve owes something to luck. */
        assert_true(inside / RUNS > (best ? 0.93 : 0.95));
        assert_true_to(&t, 0.05, false);
    }
}

/* ---- Sums of squares ------------------------------------------------------------------------ */

/* Noise that differs from image to image, and that a trial changes by about the same factor. */
static void sums(const char *outcome, bool best, struct tally *chance, double *inside)
{
    const double within = 0.4;
    for (int run = 0; run < RUNS; run++) {
        size_t images = 16 + (size_t)(uniform() * 100);
        double *noise = mem_alloc(images * sizeof *noise), mean[TRIALS], lo, hi;
        struct sweep *w = sweep_new(SWEEP_SEARCH, outcome_find(outcome), TRIALS, 0, NULL, NULL,
                                    NULL, images, mem_alloc((images + 1) * sizeof(size_t)));
        for (size_t i = 0; i < images; i++) {
            noise[i] = exp(0.6 * normal());
            add_base(w, noise[i]);
        }
        sweep_keep_base(w);
        for (size_t k = 0; k < TRIALS; k++) {
            bool set[TRIALS] = {false};
            set[k] = true;
            size_t at = sweep_try(w, k, set), n = look(images);
            mean[k] = -fabs(normal());
            for (size_t i = 0; i < n; i++) {
                add(w, at, noise[i] * exp(mean[k] + within * normal()));
            }
        }
        struct goal g = {.outcome = w->outcome};
        double base = trial_value(&w->base, w->outcome);
        g.limit =
            g.outcome->higher_is_better ? base + 1 + 5 * uniform() : base * (0.2 + 0.7 * uniform());
        size_t at = best ? estimated(w, &g) : 1;
        struct trial *t = &w->trials[at];
        double said = goal_chance(&g, w, t);
        goal_interval(&g, w, t, &lo, &hi);
        for (size_t i = t->n; i < images; i++) {
            add(w, at, noise[i] * exp(mean[t->layer] + within * normal()));
        }
        double v = trial_value(t, w->outcome);
        *inside += v >= lo - 1e-9 && v <= hi + 1e-9;
        count(chance, said, goal_met(&g, w, t));
        free(noise);
        sweep_free(w);
    }
}

static void sums_are_as_likely_as_it_is_said(void **state)
{
    (void)state;
    static const char *const judged[] = {"sqnr", "mse"};
    for (size_t i = 0; i < 4; i++) {
        struct tally t = {0};
        double inside = 0;
        seed = 20251125;
        sums(judged[i / 2], i % 2, &t, &inside);
        print_message("%s, %s: %.1f %% inside\n", judged[i / 2],
                      i % 2 ? "best of twelve" : "one set", 100 * inside / RUNS);
        assert_true(inside / RUNS > 0.92);
        assert_true_to(&t, 0.05, i % 2);
    }
}

/* ---- Confidence ----------------------------------------------------------------------------- */

enum { LAYERS = 14 };
struct net {
    double part[LAYERS], pair[LAYERS][LAYERS];
};

static void draw_net(struct net *n, double together)
{
    double sum = 0;
    for (size_t k = 0; k < LAYERS; k++) {
        n->part[k] = exp(1.3 * normal());
        sum += n->part[k];
    }
    for (size_t a = 0; a < LAYERS; a++) {
        for (size_t b = a + 1; b < LAYERS; b++) {
            n->pair[a][b] = together * normal() * sqrt(n->part[a] * n->part[b]);
        }
    }
}

static double net_noise(const struct net *n, const bool *set)
{
    double noise = 0;
    for (size_t a = 0; a < LAYERS; a++) {
        noise += set[a] ? 0 : n->part[a];
        for (size_t b = a + 1; b < LAYERS; b++) {
            noise += set[a] && set[b] ? n->pair[a][b] : 0;
        }
    }
    return noise;
}

static void confident(double together, size_t tries, struct tally *t, double total[2])
{
    for (int run = 0; run < RUNS; run++) {
        struct net n;
        bool none[LAYERS] = {false}, can[LAYERS];
        memset(can, true, sizeof can);
        draw_net(&n, together);
        double base = net_noise(&n, none) / 10;
        struct goal g = {.outcome = outcome_find("mse"), .limit = base * (0.15 + 0.7 * uniform())};
        struct sweep *w = sweep_new(SWEEP_SEARCH, g.outcome, LAYERS, 0, NULL, NULL, NULL, 1,
                                    mem_alloc(2 * sizeof(size_t)));
        struct search *s = search_new(LAYERS, can, &g, true);
        add_base(w, base * 10);
        sweep_keep_base(w);
        bool single = false;
        for (size_t k = 0; k < LAYERS; k++) {
            bool set[LAYERS] = {false};
            set[k] = true;
            s->single[k] = sweep_try(w, k, set);
            add(w, s->single[k], net_noise(&n, set));
            s->gain[k] = base - net_noise(&n, set) / 10;
            single |= goal_met(&g, w, &w->trials[s->single[k]]);
        }
        struct prospect *p;
        size_t m = MIN(search_prospects(s, w, 2, SIZE_MAX, &p), tries);
        bool met = false;
        for (size_t i = 0; i < m && !met; i++) {
            bool set[LAYERS] = {false};
            memcpy(set, w->trials[p[i].parent].pinned, LAYERS);
            set[p[i].layer] = true;
            size_t at = sweep_try(w, p[i].layer, set);
            add(w, at, net_noise(&n, set));
            met = goal_met(&g, w, &w->trials[at]);
        }
        free(p);
        if (!single && !met) {
            search_doubt(s, w, 1);
            search_doubt(s, w, 2);
            bool three[LAYERS] = {true, true, true};
            s->found = sweep_try(w, 0, three);
            double said = search_confidence(s, w);
            size_t missed = 0;
            for (size_t a = 0; a < LAYERS; a++) {
                for (size_t b = a + 1; b < LAYERS; b++) {
                    bool set[LAYERS] = {false};
                    set[a] = set[b] = true;
                    missed += search_find(w, set) == SIZE_MAX && net_noise(&n, set) / 10 <= g.limit;
                }
            }
            if (!isnan(said)) {
                count(t, said, missed == 0);
                total[0] += s->missed[2];
                total[1] += (double)missed;
            }
        }
        search_free(s);
        sweep_free(w);
    }
}

/* From networks whose layers hardly meet to such in which pairs do as much as layers, and from few
 * sets tried to many. */
static void confidence_is_not_too_high(void **state)
{
    (void)state;
    static const double together[] = {0.05, 0.2, 0.5, 1};
    static const size_t tries[] = {8, 20, 40};
    for (size_t i = 0; i < COUNT(together) * COUNT(tries); i++) {
        struct tally t = {0};
        double total[2] = {0};
        seed = 20251125;
        confident(together[i / COUNT(tries)], tries[i % COUNT(tries)], &t, total);
        print_message("pairs weigh %.2f, %zu tried: %.1f sets missed as said, %.0f in fact\n",
                      together[i / COUNT(tries)], tries[i % COUNT(tries)], total[0], total[1]);
        assert_true(total[1] <= 1.2 * total[0] + 1);
        assert_true_to(&t, 0.02, true);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shares_are_as_likely_as_it_is_said),
        cmocka_unit_test(sums_are_as_likely_as_it_is_said),
        cmocka_unit_test(confidence_is_not_too_high),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
