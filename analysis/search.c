/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * search.c: which layer to pin next on the way to a goal. Greedy with lazy promises: what a pin
 * gains seldom grows when others are there, so a layer whose gain was measured earlier is measured
 * again only when it would be the best.
 */
#include "analysis/analysis.h"

#include <math.h>
#include <stdlib.h>

double goal_drop(const struct goal *g, const struct sweep *w, const struct trial *t)
{
    double fp32 = sweep_fp32(w, g->outcome), value = trial_value(t, g->outcome);
    return fp32 == value ? 0 : g->outcome->higher_is_better ? fp32 - value : value - fp32;
}

bool goal_met(const struct goal *g, const struct sweep *w, const struct trial *t)
{
    double value = trial_value(t, g->outcome);
    return g->is_drop                     ? goal_drop(g, w, t) <= g->limit
           : g->outcome->higher_is_better ? value >= g->limit
                                          : value <= g->limit;
}

struct search *search_new(size_t n_layers, const bool *candidate)
{
    struct search *s = mem_alloc(sizeof *s);
    s->n_layers = n_layers;
    s->candidate = mem_alloc(n_layers + 1);
    memcpy(s->candidate, candidate, n_layers);
    s->fresh = mem_alloc(n_layers + 1);
    s->gain = mem_alloc((n_layers + 1) * sizeof *s->gain);
    s->tie = mem_alloc((n_layers + 1) * sizeof *s->tie);
    for (size_t k = 0; k < n_layers; k++) {
        s->gain[k] = s->tie[k] = INFINITY; /* promises everything until measured */
    }
    return s;
}

void search_free(struct search *s)
{
    if (s) {
        free(s->candidate);
        free(s->fresh);
        free(s->gain);
        free(s->tie);
        free(s->steps);
        free(s);
    }
}

/* NAN is worse than anything. */
static double or_worst(double v)
{
    return isnan(v) ? -INFINITY : v;
}

void search_measured(struct search *s, const struct sweep *w, const struct trial *t)
{
    const struct outcome *tie = outcome_find("sqnr");
    s->candidate[t->layer] = s->candidate[t->layer] && !t->error;
    s->gain[t->layer] = or_worst(sweep_effect(w, t));
    s->tie[t->layer] = or_worst(trial_value(t, tie) - trial_value(&w->base, tie));
    s->fresh[t->layer] = t->n == w->n_images;
}

static bool is_better(const struct search *s, size_t a, size_t b)
{
    return s->gain[a] != s->gain[b] ? s->gain[a] > s->gain[b] : s->tie[a] > s->tie[b];
}

/* The best candidate that is fresh, or stale, and not in the list yet. */
static size_t best_of(const struct search *s, bool fresh, const size_t *list, size_t n)
{
    size_t best = SIZE_MAX;
    for (size_t k = 0; k < s->n_layers; k++) {
        bool listed = false;
        for (size_t i = 0; i < n; i++) {
            listed = listed || list[i] == k;
        }
        if (s->candidate[k] && s->fresh[k] == fresh && !listed &&
            (best == SIZE_MAX || is_better(s, k, best))) {
            best = k;
        }
    }
    return best;
}

size_t search_next(const struct search *s, size_t room, size_t *list, size_t *n)
{
    size_t fresh = best_of(s, true, NULL, 0);
    *n = 0;
    for (size_t stale; *n < room; list[(*n)++] = stale) {
        stale = best_of(s, false, list, *n);
        if (stale == SIZE_MAX || (!*n && fresh != SIZE_MAX && !is_better(s, stale, fresh))) {
            break;
        }
    }
    return *n ? SIZE_MAX : fresh;
}

void search_step(struct search *s, const struct graph *fp32, const struct match *m, size_t layer,
                 bool pinned, const struct trial *t)
{
    s->steps = mem_push(s->steps, s->n_steps, &s->cap_steps, sizeof *s->steps);
    struct search_step *x = &s->steps[s->n_steps++];
    *x = (struct search_step){.layer = layer, .pinned = pinned};
    for (size_t k = 0; k < s->n_layers; k++) {
        if (t->pinned[k]) {
            struct layer_cost c = layer_cost(fp32, m, k);
            x->pins++;
            x->cost.weights += c.weights;
            x->cost.macs += c.macs;
        }
        s->fresh[k] = false;
    }
    for (size_t k = 0; k < N_OUTCOMES; k++) {
        x->value[k] = trial_value(t, &outcomes[k]);
    }
    if (layer != SIZE_MAX) {
        s->candidate[layer] = false;
    }
}
