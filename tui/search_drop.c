/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * search_drop.c: how a search makes do with fewer pins: delta debugging from the layers that do
 * most harm alone, and single pins taken back.
 */
#include <stdlib.h>

#include "tui/search_job.h"

/* ---- Delta debugging ------------------------------------------------------------------------ */

static int meets_alone(struct session *s, struct search_job *j, const bool *set, size_t *trial,
                       bool *met, struct err *err)
{
    *trial = sets_try(s, j, set);
    int rc = sets_race(s, j, 1, trial, OUT_OF_QUESTION, err);
    const struct trial *t = &j->w->trials[*trial];
    *met = !rc && !t->error && t->n >= j->w->n_images && goal_met(&j->s->goal, j->w, t);
    return rc;
}

/* Pins the first n of the harmful layers. */
static int try_worst(struct session *s, struct search_job *j, size_t n, bool *met, struct err *err)
{
    bool *set = mem_alloc(j->w->n_layers + 1);
    size_t trial;
    memcpy(set, j->before, j->w->n_layers);
    for (size_t i = 0; i < n; i++) {
        set[j->harm[i]] = true;
    }
    int rc = meets_alone(s, j, set, &trial, met, err);
    if (*met) {
        j->s->found = trial;
        j->s->reached = true;
    }
    free(set);
    return rc;
}

/* The shortest list of harmful layers, as far as halving finds it, that meets the goal. */
static int find_worst(struct session *s, struct search_job *j, struct err *err)
{
    size_t low = 0, high = 1;
    bool met = false;
    int rc = j->harm ? OK : sets_rank_harm(s, j, err);
    for (; !rc && !met && !search_late(j) && low < j->n_candidates; high *= 2) {
        high = MIN(high, j->n_candidates);
        rc = try_worst(s, j, high, &met, err);
        low = met ? low : high;
        if (met) {
            break;
        }
    }
    while (!rc && met && high - low > 1 && !search_late(j)) {
        bool good;
        size_t middle = low + (high - low) / 2;
        rc = try_worst(s, j, middle, &good, err);
        *(good ? &high : &low) = middle;
    }
    return rc;
}

/* Takes back `step` neighbours of the list at a time, where the goal is met without them. */
static int take_back(struct session *s, struct search_job *j, size_t step, struct err *err)
{
    size_t *list = mem_alloc((j->n_candidates + 1) * sizeof *list), n = 0;
    bool *set = mem_alloc(j->w->n_layers + 1);
    int rc = OK;
    memcpy(set, j->w->trials[j->s->found].pinned, j->w->n_layers);
    for (size_t i = j->n_candidates; i-- > 0;) { /* the least harmful first */
        list[n] = j->harm[i];
        n += set[j->harm[i]];
    }
    for (size_t i = 0; i < n && !rc && !search_late(j); i += step) {
        size_t trial;
        bool met;
        for (size_t k = i; k < MIN(i + step, n); k++) {
            set[list[k]] = false;
        }
        rc = meets_alone(s, j, set, &trial, &met, err);
        j->s->found = met ? trial : j->s->found;
        for (size_t k = i; k < MIN(i + step, n) && !met; k++) {
            set[list[k]] = true;
        }
    }
    free(set);
    free(list);
    return rc;
}

int sets_delta_debug(struct session *s, struct search_job *j, struct err *err)
{
    int rc = find_worst(s, j, err);
    size_t n = j->s->reached ? search_size(j->w, &j->w->trials[j->s->found]) : 0;
    for (size_t step = n / 2; step > 0 && !rc && !search_late(j); step /= 2) {
        rc = take_back(s, j, step, err);
    }
    return rc;
}

/* Takes single pins back until each one is needed; what is measured here is certain. */
int sets_drop_one(struct session *s, struct search_job *j, struct err *err)
{
    size_t *list = mem_alloc((j->w->n_layers + 1) * sizeof *list);
    /* Of shares it is certain before all images are seen; else nothing is. */
    const double certain = j->s->goal.outcome->counts ? 0 : -1;
    int rc = OK;
    for (bool more = true; more && !rc && !search_late(j);) {
        size_t n = 0, found = j->s->found;
        for (size_t k = 0; k < j->w->n_layers; k++) {
            if (j->w->trials[found].pinned[k] && !j->before[k]) {
                list[n++] = sets_with(s, j, found, k, false);
            }
        }
        more = false;
        for (size_t i = 0; i < n && !rc && !more; i += SETS_CROWD) {
            rc = sets_race(s, j, MIN(n - i, (size_t)SETS_CROWD), list + i, certain, err);
            for (size_t k = i; k < MIN(i + SETS_CROWD, n) && !rc; k++) {
                const struct trial *t = &j->w->trials[list[k]];
                bool met = goal_chance(&j->s->goal, j->w, t) >= 1;
                if (met && (!more || search_prefers(j->s, j->w, list[k], j->s->found))) {
                    j->s->found = list[k];
                    more = true;
                }
            }
        }
        bool all = true; /* a set that could not be measured proves nothing */
        for (size_t i = 0; i < n; i++) {
            all = all && !j->w->trials[list[i]].error;
        }
        j->s->minimal = !rc && !more && all && !search_late(j);
    }
    free(list);
    return rc;
}

/* ---- Costs ---------------------------------------------------------------------------------- */

struct offer {
    size_t trial; /* or a prospect's parent */
    size_t layer; /* that the prospect adds; SIZE_MAX: it is a trial */
    double cost;
};

static int by_cost(const void *pa, const void *pb)
{
    const struct offer *a = pa, *b = pb;
    return a->cost != b->cost     ? (a->cost > b->cost) - (a->cost < b->cost)
           : a->trial != b->trial ? (a->trial > b->trial) - (a->trial < b->trial)
                                  : (a->layer > b->layer) - (a->layer < b->layer);
}

/* Sets of that size which are cheaper than `below` and may meet the goal: those that were not
 * measured to the end, and of those not tried the most promising. free() them. */
static struct offer *cheaper_sets(struct session *s, struct search_job *j, size_t size,
                                  double below, size_t *n)
{
    struct prospect *p = NULL;
    size_t most = sets_most(s) / 4, n_p = 0;
    if (size > 1) {
        n_p = search_prospects(j->s, j->w, size, SIZE_MAX, &p);
        n_p = MIN(n_p, most);
    }
    struct offer *list = mem_alloc((j->w->n_trials + n_p + 1) * sizeof *list);
    bool *set = mem_alloc(j->w->n_layers + 1);
    *n = 0;
    for (size_t i = 0; i < j->w->n_trials; i++) {
        const struct trial *t = &j->w->trials[i];
        bool open = !t->error && t->n && t->n < j->w->n_images && search_size(j->w, t) == size &&
                    goal_chance(&j->s->goal, j->w, t) > OUT_OF_QUESTION;
        list[*n] = (struct offer){i, SIZE_MAX, open ? search_cost(j->s, j->w, i) : 0};
        *n += open && list[*n].cost < below;
    }
    for (size_t i = 0; i < n_p; i++) {
        memcpy(set, j->w->trials[p[i].parent].pinned, j->w->n_layers);
        set[p[i].layer] = true;
        list[*n] = (struct offer){p[i].parent, p[i].layer, j->s->cost(j->s->cost_ctx, set)};
        *n += list[*n].cost < below;
    }
    free(set);
    free(p);
    qsort(list, *n, sizeof *list, by_cost);
    *n = MIN(*n, most);
    return list;
}

int sets_cheapen(struct session *s, struct search_job *j, bool *better, struct err *err)
{
    const size_t size = search_size(j->w, &j->w->trials[j->s->found]), was = j->s->found;
    size_t n = 0, met = sets_met(j, size);
    *better = false;
    if (!j->cost || !size || met == SIZE_MAX) {
        return OK;
    }
    j->s->found = met;
    struct offer *list = cheaper_sets(s, j, size, search_cost(j->s, j->w, j->s->found), &n);
    int rc = OK;
    for (size_t i = 0; i < n && !rc && !search_late(j); i++) {
        size_t trial = list[i].layer == SIZE_MAX
                           ? list[i].trial
                           : sets_with(s, j, list[i].trial, list[i].layer, true);
        rc = sets_race(s, j, 1, &trial, OUT_OF_QUESTION, err);
        const struct trial *t = &j->w->trials[trial];
        if (!rc && !t->error && t->n >= j->w->n_images && goal_met(&j->s->goal, j->w, t)) {
            j->s->found = trial; /* those that follow cost more */
            break;
        }
    }
    free(list);
    *better = !rc && j->s->found != was;
    return rc;
}
