/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * search_size.c: which sets of a size a search tries: all layers alone, then what their gains add
 * up to, what waited, and combinations of the layers that do most harm alone.
 */
#include <math.h>
#include <stdlib.h>

#include "tui/search_job.h"

enum {
    BATCH = 32, /* sets that are planned at a time; of a large model fewer */
    LEAST_BATCH = 8,
    WIDTH = 16,       /* sets that are extended by one layer */
    HARMFUL = 7,      /* layers that do most harm alone: their combinations are tried */
    HARM_IMAGES = 2,  /* images by which that is judged */
    LEAST_SETS = 64,  /* of one size */
    MOST_SETS = 2000, /* likewise */
};
static const double most_products = 6e9; /* between them, sets times products of the model count */
static const double doubt_enough = 0.02; /* expected number of sets missed of one size */

/* ---- Harm ----------------------------------------------------------------------------------- */

/* Ranks the candidates by what they do as the only ones in INT8: errors that hide behind larger
 * ones in the INT8 model stand out there. */
int sets_rank_harm(struct session *s, struct search_job *j, struct err *err)
{
    const struct sweep *w = j->w;
    size_t n = 0, n_images = MIN(w->n_images, (size_t)HARM_IMAGES);
    size_t *images = mem_alloc((n_images + 1) * sizeof *images);
    bool *all = mem_alloc(w->n_layers + 1);
    j->harm = mem_alloc((w->n_layers + 1) * sizeof *j->harm);
    for (size_t k = 0; k < w->n_layers; k++) {
        all[k] = w->base.pinned[k] || j->s->candidate[k];
        if (j->s->candidate[k]) {
            j->harm[n++] = k;
        }
    }
    memcpy(images, w->images, n_images * sizeof *images);
    struct sweep *only = sweep_new(SWEEP_ONLY, outcome_find("sqnr"), w->n_layers, n, j->harm, all,
                                   all, n_images, images);
    size_t *order = mem_alloc((n + 1) * sizeof *order);
    for (size_t i = 0; i < n; i++) {
        order[i] = i;
    }
    const struct lab_options o = {.jobs = j->c.jobs};
    pthread_mutex_lock(&s->lock);
    struct lab *lab = lab_new(s, only, &o);
    pthread_mutex_unlock(&s->lock);
    int rc = lab_base(lab, only, err);
    /* The front of the list counts: after the first image the half that does more harm goes on. */
    const size_t front = (n + 1) / 2, first = MIN(n_images, (size_t)1);
    rc = rc ? rc : lab_measure(lab, only, n, order, first, err);
    sweep_rank(only, order);
    rc = rc ? rc : lab_measure(lab, only, front, order, n_images, err);
    sweep_rank(only, order);
    j->s->runs += n_images + n * first + front * (n_images - first);
    for (size_t i = 0; i < n && !rc; i++) {
        j->harm[i] = only->trials[order[i]].layer;
    }
    lab_free(lab);
    sweep_free(only);
    free(order);
    free(all);
    return rc;
}

/* ---- Sizes ---------------------------------------------------------------------------------- */

/* The best set of that size that meets the goal; SIZE_MAX: none. */
size_t sets_met(const struct search_job *j, size_t size)
{
    for (size_t i = 0; i < j->s->n_points && j->c.has_limit; i++) {
        const struct trial *t = &j->w->trials[j->s->points[i]];
        if (search_size(j->w, t) == size && goal_met(&j->s->goal, j->w, t)) {
            return j->s->points[i];
        }
    }
    return SIZE_MAX;
}

static int try_singles(struct session *s, struct search_job *j, struct err *err)
{
    size_t n = 0, *list = mem_alloc((j->n_candidates + 1) * sizeof *list);
    for (size_t k = 0; k < j->w->n_layers; k++) {
        if (j->s->candidate[k]) {
            j->s->single[k] = list[n++] = sets_with(s, j, 0, k, true);
        }
    }
    int rc = sets_race(s, j, n, list, OUT_OF_QUESTION, err);
    pthread_mutex_lock(&s->lock);
    double base = trial_value(&j->w->base, j->s->goal.outcome);
    double sign = j->s->goal.outcome->higher_is_better ? 1 : -1;
    for (size_t k = 0; k < j->w->n_layers && !rc; k++) {
        const struct trial *t = j->s->candidate[k] ? &j->w->trials[j->s->single[k]] : NULL;
        if (t && !t->error && t->n) {
            j->s->gain[k] = sign * (goal_expect(&j->s->goal, j->w, t) - base);
        }
    }
    pthread_mutex_unlock(&s->lock);
    free(list);
    return rc;
}

/* Adds the combinations of `size` of the most harmful layers. */
static size_t add_harmful(struct session *s, struct search_job *j, size_t first, size_t size,
                          bool *set, size_t *list, size_t n)
{
    if (!size) {
        size_t at = search_find(j->w, set);
        if (at == SIZE_MAX) {
            list[n++] = sets_try(s, j, set);
        }
        return n;
    }
    for (size_t i = first; i + size <= MIN(j->n_candidates, (size_t)HARMFUL); i++) {
        set[j->harm[i]] = true;
        n = add_harmful(s, j, i + 1, size - 1, set, list, n);
        set[j->harm[i]] = false;
    }
    return n;
}

static int try_harmful(struct session *s, struct search_job *j, size_t size, struct err *err)
{
    size_t list[1 << HARMFUL];
    bool *set = mem_alloc(j->w->n_layers + 1);
    memcpy(set, j->before, j->w->n_layers);
    int rc = j->harm ? OK : sets_rank_harm(s, j, err);
    size_t n = rc ? 0 : add_harmful(s, j, 0, size, set, list, 0);
    rc = rc ? rc : sets_race(s, j, n, list, OUT_OF_QUESTION, err);
    free(set);
    return rc;
}

/* How many sets of one size may be tried: more of a small model. */
size_t sets_most(const struct session *s)
{
    double n = s->macs > 0 ? most_products / s->macs : MOST_SETS;
    return (size_t)fmin(fmax(n, LEAST_SETS), MOST_SETS);
}

/* Whether it is known well enough that no set of that size meets the goal. */
static bool is_settled(struct session *s, struct search_job *j, size_t size)
{
    if (!j->c.has_limit || size > SEARCH_SIZES) {
        return !j->c.has_limit;
    }
    pthread_mutex_lock(&s->lock);
    search_doubt(j->s, j->w, size);
    pthread_mutex_unlock(&s->lock);
    return j->s->missed[size] < doubt_enough;
}

static int try_prospects(struct session *s, struct search_job *j, size_t size, size_t width,
                         struct err *err)
{
    struct prospect *p;
    size_t list[BATCH], n = search_prospects(j->s, j->w, size, width, &p), room = sets_most(s);
    size_t batch = MIN(MAX(room / 8, (size_t)LEAST_BATCH), (size_t)BATCH);
    int rc = OK;
    for (size_t i = 0;
         i < MIN(n, room) && !rc && !search_late(j) && sets_met(j, size) == SIZE_MAX;) {
        size_t m = 0;
        for (; m < batch && i < n; i++) {
            list[m++] = sets_with(s, j, p[i].parent, p[i].layer, true);
        }
        rc = sets_race(s, j, m, list, OUT_OF_QUESTION, err);
        if (j->c.has_limit && is_settled(s, j, size)) {
            break;
        }
    }
    free(p);
    return rc;
}

/* Measures further what waited, the likeliest first, until one meets the goal. */
static int try_waiting(struct session *s, struct search_job *j, size_t size, struct err *err)
{
    size_t *list = mem_alloc((j->w->n_trials + 1) * sizeof *list), n = 0;
    int rc = OK;
    for (size_t i = 0; i < j->w->n_trials; i++) {
        const struct trial *t = &j->w->trials[i];
        if (t->n && t->n < j->w->n_images && search_size(j->w, t) == size &&
            goal_chance(&j->s->goal, j->w, t) > OUT_OF_QUESTION) {
            list[n++] = i;
        }
    }
    sets_sort(j, n, list);
    n = size == 1 ? n : MIN(n, sets_most(s) / 4);
    for (size_t i = 0; i < n && !rc && !search_late(j) && sets_met(j, size) == SIZE_MAX;
         i += SETS_FINALISTS) {
        rc = sets_race(s, j, MIN(n - i, (size_t)SETS_FINALISTS), list + i, OUT_OF_QUESTION, err);
    }
    free(list);
    return rc;
}

/* Measures the set of that size that looks best on all images: a point of the way. */
int sets_complete(struct session *s, struct search_job *j, size_t size, struct err *err)
{
    size_t best = search_best(j->s, j->w, size);
    return best == SIZE_MAX ? OK : sets_race(s, j, 1, &best, -1, err);
}

/* Sets of one size more; *more false: what was wanted is found, or nothing is left. */
int sets_try_size(struct session *s, struct search_job *j, size_t size, bool *more, struct err *err)
{
    bool greedy = j->c.method == SEARCH_GREEDY;
    size_t width = greedy ? 1 : size == 2 ? SIZE_MAX : WIDTH, points = j->s->n_points;
    int rc = size == 1 ? try_singles(s, j, err) : OK;
    if (size == 1 && !greedy && j->c.has_limit) {
        /* A single layer that does is worth the runs that it takes to be sure. */
        bool open = !rc && sets_met(j, size) == SIZE_MAX && !is_settled(s, j, size);
        rc = open ? try_waiting(s, j, size, err) : rc;
    } else if (size > 1 && !greedy) {
        rc = try_prospects(s, j, size, width, err);
        if (!rc && !search_late(j) && j->c.has_limit && sets_met(j, size) == SIZE_MAX) {
            rc = try_waiting(s, j, size, err);
        }
        if (!rc && !search_late(j) && sets_met(j, size) == SIZE_MAX && !is_settled(s, j, size)) {
            rc = try_harmful(s, j, size, err);
        }
    } else if (size > 1) {
        rc = try_prospects(s, j, size, width, err);
    }
    pthread_mutex_lock(&s->lock);
    if (j->c.has_limit && size <= SEARCH_SIZES) {
        search_doubt(j->s, j->w, size);
    }
    pthread_mutex_unlock(&s->lock);
    size_t met = sets_met(j, size);
    bool complete =
        met == SIZE_MAX && !search_late(j) && (!j->c.has_limit || j->c.method == SEARCH_PARETO);
    rc = rc || !complete ? rc : sets_complete(s, j, size, err);
    if (met != SIZE_MAX) {
        j->s->found = met;
        j->s->reached = true;
    }
    /* Where no limit is set, a pin more that is of no use ends it. */
    bool useless = !j->c.has_limit &&
                   (points == j->s->n_points ||
                    !search_better(j->s, j->w, j->s->points[points], j->s->points[points - 1]));
    *more = !rc && met == SIZE_MAX && !useless && !search_late(j) && size < j->n_candidates;
    return rc;
}
