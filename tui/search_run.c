/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * search_run.c: the search for pins as a job. All layers alone, then all that is promising of two,
 * of three and four, so that what is found is small; where that does not do, delta debugging from
 * the layers that do most harm alone. Sets are raced: most are out after a few images, those first
 * on which INT8 goes wrong. search.c chooses, this file runs.
 */
#include <math.h>
#include <stdlib.h>
#include <time.h>

#include "tui/lab.h"
#include "tui/sweep_run.h"

enum {
    FIRST_LOOK = 4, /* images that every set sees */
    CROWD = 16,     /* sets that may see all in one race, of single layers */
    FINALISTS = 2,  /* likewise, of others: the rest waits until these have failed */
    BATCH = 32,     /* sets that are planned at a time; of a large model fewer */
    LEAST_BATCH = 8,
    WIDTH = 16,       /* sets that are extended by one layer */
    HARMFUL = 7,      /* layers that do most harm alone: their combinations are tried */
    CHECKED = 8,      /* images on which the answer runs once more by itself */
    HARM_IMAGES = 2,  /* images by which that is judged */
    LEAST_SETS = 64,  /* of one size */
    MOST_SETS = 2000, /* likewise */
};
static const double most_products = 6e9; /* between them, sets times products of the model count */
static const double out_of_question = 1e-3; /* chance below which a set sees no more images */
static const double doubt_enough = 0.02;    /* expected number of sets missed of one size */

struct search_job {
    struct sweep *w;  /* the session's */
    struct search *s; /* likewise */
    struct lab *lab;
    struct sweep_choice c;
    bool *before; /* pins that were in force; the search keeps them */
    size_t n_candidates;
    size_t *harm; /* candidates, those first that do most harm as the only ones in INT8; NULL: not
                     asked yet */
    struct timespec began;
};

static double seconds_since(const struct timespec *t)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)(now.tv_sec - t->tv_sec) + 1e-9 * (double)(now.tv_nsec - t->tv_nsec);
}

static bool late(struct search_job *j)
{
    j->s->out_of_time |= j->c.seconds > 0 && seconds_since(&j->began) >= j->c.seconds;
    return j->s->out_of_time;
}

/* ---- Races ---------------------------------------------------------------------------------- */

/* The set as a trial, the one there is if it was tried before. */
static size_t try_set(struct session *s, struct search_job *j, const bool *pinned)
{
    size_t at = search_find(j->w, pinned), layer = SIZE_MAX;
    for (size_t k = 0; k < j->w->n_layers; k++) {
        layer = pinned[k] && !j->before[k] ? k : layer;
    }
    if (at == SIZE_MAX) {
        pthread_mutex_lock(&s->lock);
        at = sweep_try(j->w, layer, pinned);
        pthread_mutex_unlock(&s->lock);
    }
    return at;
}

static size_t try_with(struct session *s, struct search_job *j, size_t parent, size_t layer,
                       bool pin)
{
    bool *set = mem_alloc(j->w->n_layers + 1);
    memcpy(set, j->w->trials[parent].pinned, j->w->n_layers);
    set[layer] = pin;
    size_t at = try_set(s, j, set);
    free(set);
    return at;
}

/* Best first. A list of sets is short or sorted nearly. */
static void sort_sets(const struct search_job *j, size_t n, size_t *list)
{
    for (size_t i = 1; i < n; i++) {
        size_t x = list[i], k = i;
        for (; k > 0 && search_better(j->s, j->w, x, list[k - 1]); k--) {
            list[k] = list[k - 1];
        }
        list[k] = x;
    }
}

/* Leaves the sets that need more images. */
static size_t survivors(const struct search_job *j, size_t n, size_t *list, double doubt)
{
    size_t kept = 0, seen = n ? j->w->trials[list[0]].n : 0;
    size_t most =
        n && doubt > 0 && search_size(j->w, &j->w->trials[list[0]]) > 1 ? FINALISTS : CROWD;
    for (size_t i = 0; i < n; i++) {
        const struct trial *t = &j->w->trials[list[i]];
        bool in = !t->error && (!j->c.has_limit || goal_chance(&j->s->goal, j->w, t) > doubt);
        list[kept] = list[i];
        kept += in;
    }
    if (!j->c.has_limit || (kept > most && seen >= 4 * FIRST_LOOK)) {
        sort_sets(j, kept, list);
        kept = MIN(kept, MAX(j->c.has_limit ? 0 : kept / 2, most));
    }
    return kept;
}

/* Measures sets as far as it takes to decide. They have seen equally many images. */
static int race_from(struct session *s, struct search_job *j, size_t n, size_t *list, double doubt,
                     struct err *err)
{
    struct sweep *w = j->w;
    int rc = OK;
    for (size_t seen = n ? w->trials[list[0]].n : 0; n && seen < w->n_images && !rc;) {
        size_t upto = MIN(seen + MAX(seen / 2, (size_t)FIRST_LOOK), w->n_images);
        if (late(j)) {
            return OK;
        }
        j->s->runs += n * (upto - seen);
        rc = lab_measure(j->lab, w, n, list, upto, err);
        seen = upto;
        pthread_mutex_lock(&s->lock);
        for (size_t i = 0; i < n && !rc; i++) {
            search_point(j->s, w, list[i]);
        }
        goal_pool(w);
        pthread_mutex_unlock(&s->lock);
        n = rc ? n : survivors(j, n, list, doubt);
    }
    return rc;
}

/* The same of sets that may have seen some images. */
static int race(struct session *s, struct search_job *j, size_t n, const size_t *sets, double doubt,
                struct err *err)
{
    size_t *list = mem_alloc((n + 1) * sizeof *list);
    int rc = OK;
    for (size_t seen = 0; seen < j->w->n_images && !rc;) {
        size_t m = 0, next = j->w->n_images;
        for (size_t i = 0; i < n; i++) {
            const struct trial *t = &j->w->trials[sets[i]];
            next = t->n > seen ? MIN(next, t->n) : next;
            bool in = t->n == seen && !t->error;
            in = in && (!j->c.has_limit || !seen || goal_chance(&j->s->goal, j->w, t) > doubt);
            list[m] = sets[i];
            m += in;
        }
        rc = race_from(s, j, m, list, doubt, err);
        seen = next;
    }
    for (size_t i = 0; i < n; i++) {
        lab_close(j->lab, sets[i]);
    }
    free(list);
    return rc;
}

/* ---- The base ------------------------------------------------------------------------------- */

/* Measures the base on all images, then those come first on which it goes wrong and FP32 does not,
 * or the other way round: they tell sets apart. The shuffled order remains within both kinds. */
static int measure_base(struct session *s, struct search_job *j, struct err *err)
{
    struct sweep *w = j->w;
    size_t *order = mem_alloc((w->n_images + 1) * sizeof *order), n = 0;
    int rc = lab_base(j->lab, w, err);
    lab_expect(j->lab, w->n_images);
    rc = rc ? rc : lab_measure(j->lab, w, 0, NULL, w->n_images, err);
    for (size_t kind = 3; kind-- > 0 && !rc;) {
        for (size_t i = 0; i < w->n_images; i++) {
            if (goal_kind(&j->s->goal, w, i) == kind) {
                order[n++] = i;
            }
        }
    }
    if (!rc) {
        pthread_mutex_lock(&s->lock);
        lab_order(j->lab, w, order);
        sweep_keep_base(w);
        search_point(j->s, w, 0);
        pthread_mutex_unlock(&s->lock);
        j->s->runs += w->n_images;
    }
    free(order);
    return rc;
}

/* ---- Harm ----------------------------------------------------------------------------------- */

/* Ranks the candidates by what they do as the only ones in INT8: errors that hide behind larger
 * ones in the INT8 model stand out there. */
static int rank_harm(struct session *s, struct search_job *j, struct err *err)
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
    rc = rc ? rc : lab_measure(lab, only, n, order, n_images, err);
    j->s->runs += (n + 1) * n_images;
    sweep_rank(only, order);
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
static size_t best_met(const struct search_job *j, size_t size)
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
            j->s->single[k] = list[n++] = try_with(s, j, 0, k, true);
        }
    }
    int rc = race(s, j, n, list, out_of_question, err);
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
            list[n++] = try_set(s, j, set);
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
    int rc = j->harm ? OK : rank_harm(s, j, err);
    size_t n = rc ? 0 : add_harmful(s, j, 0, size, set, list, 0);
    rc = rc ? rc : race(s, j, n, list, out_of_question, err);
    free(set);
    return rc;
}

/* How many sets of one size may be tried: more of a small model. */
static size_t most_sets(const struct session *s)
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
    size_t list[BATCH], n = search_prospects(j->s, j->w, size, width, &p), room = most_sets(s);
    size_t batch = MIN(MAX(room / 8, (size_t)LEAST_BATCH), (size_t)BATCH);
    int rc = OK;
    for (size_t i = 0; i < MIN(n, room) && !rc && !late(j) && best_met(j, size) == SIZE_MAX;) {
        size_t m = 0;
        for (; m < batch && i < n; i++) {
            list[m++] = try_with(s, j, p[i].parent, p[i].layer, true);
        }
        rc = race(s, j, m, list, out_of_question, err);
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
            goal_chance(&j->s->goal, j->w, t) > out_of_question) {
            list[n++] = i;
        }
    }
    sort_sets(j, n, list);
    n = MIN(n, most_sets(s) / 4);
    for (size_t i = 0; i < n && !rc && !late(j) && best_met(j, size) == SIZE_MAX; i += FINALISTS) {
        rc = race(s, j, MIN(n - i, (size_t)FINALISTS), list + i, out_of_question, err);
    }
    free(list);
    return rc;
}

/* Measures the set of that size that looks best on all images: a point of the way. */
static int complete_best(struct session *s, struct search_job *j, size_t size, struct err *err)
{
    size_t best = search_best(j->s, j->w, size);
    return best == SIZE_MAX ? OK : race(s, j, 1, &best, -1, err);
}

/* Sets of one size more; *more false: what was wanted is found, or nothing is left. */
static int try_size(struct session *s, struct search_job *j, size_t size, bool *more,
                    struct err *err)
{
    bool greedy = j->c.method == SEARCH_GREEDY;
    size_t width = greedy ? 1 : size == 2 ? SIZE_MAX : WIDTH, points = j->s->n_points;
    int rc = size == 1 ? try_singles(s, j, err) : OK;
    if (size > 1 && !greedy) {
        rc = try_prospects(s, j, size, width, err);
        if (!rc && !late(j) && j->c.has_limit && best_met(j, size) == SIZE_MAX) {
            rc = try_waiting(s, j, size, err);
        }
        if (!rc && !late(j) && best_met(j, size) == SIZE_MAX && !is_settled(s, j, size)) {
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
    size_t met = best_met(j, size);
    bool complete =
        met == SIZE_MAX && !late(j) && (!j->c.has_limit || j->c.method == SEARCH_PARETO);
    rc = rc || !complete ? rc : complete_best(s, j, size, err);
    if (met != SIZE_MAX) {
        j->s->found = met;
        j->s->reached = true;
    }
    /* Where no limit is set, a pin more that is of no use ends it. */
    bool useless = !j->c.has_limit &&
                   (points == j->s->n_points ||
                    !search_better(j->s, j->w, j->s->points[points], j->s->points[points - 1]));
    *more = !rc && met == SIZE_MAX && !useless && !late(j) && size < j->n_candidates;
    return rc;
}

/* ---- Delta debugging ------------------------------------------------------------------------ */

static int meets_alone(struct session *s, struct search_job *j, const bool *set, size_t *trial,
                       bool *met, struct err *err)
{
    *trial = try_set(s, j, set);
    int rc = race(s, j, 1, trial, out_of_question, err);
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
    int rc = j->harm ? OK : rank_harm(s, j, err);
    for (; !rc && !met && !late(j) && low < j->n_candidates; high *= 2) {
        high = MIN(high, j->n_candidates);
        rc = try_worst(s, j, high, &met, err);
        low = met ? low : high;
        if (met) {
            break;
        }
    }
    while (!rc && met && high - low > 1 && !late(j)) {
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
    for (size_t i = 0; i < n && !rc && !late(j); i += step) {
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

static int delta_debug(struct session *s, struct search_job *j, struct err *err)
{
    int rc = find_worst(s, j, err);
    size_t n = j->s->reached ? search_size(j->w, &j->w->trials[j->s->found]) : 0;
    for (size_t step = n / 2; step > 0 && !rc && !late(j); step /= 2) {
        rc = take_back(s, j, step, err);
    }
    return rc;
}

/* Takes single pins back until each one is needed; what is measured here is certain. */
static int drop_one(struct session *s, struct search_job *j, struct err *err)
{
    size_t *list = mem_alloc((j->w->n_layers + 1) * sizeof *list);
    int rc = OK;
    for (bool more = true; more && !rc && !late(j);) {
        size_t n = 0, found = j->s->found;
        for (size_t k = 0; k < j->w->n_layers; k++) {
            if (j->w->trials[found].pinned[k] && !j->before[k]) {
                list[n++] = try_with(s, j, found, k, false);
            }
        }
        more = false;
        for (size_t i = 0; i < n && !rc && !more; i += CROWD) {
            rc = race(s, j, MIN(n - i, (size_t)CROWD), list + i, 0, err);
            for (size_t k = i; k < MIN(i + CROWD, n) && !rc; k++) {
                const struct trial *t = &j->w->trials[list[k]];
                bool met = goal_chance(&j->s->goal, j->w, t) >= 1;
                if (met && (!more || search_better(j->s, j->w, list[k], j->s->found))) {
                    j->s->found = list[k];
                    more = true;
                }
            }
        }
        j->s->minimal = !rc && !more && !late(j);
    }
    free(list);
    return rc;
}

/* ---- The job -------------------------------------------------------------------------------- */

/* The found model by itself on a few images, without anything that was kept: the same bits. */
static int verify(struct session *s, struct search_job *j, struct err *err)
{
    struct sweep *w = j->w, *again;
    const struct trial *found = &w->trials[j->s->found];
    if (lab_verified(j->lab, j->s->found)) {
        return OK;
    }
    size_t n = MIN(found->n, (size_t)CHECKED), *images = mem_alloc((n + 1) * sizeof *images);
    memcpy(images, w->images, n * sizeof *images);
    pthread_mutex_lock(&s->lock);
    again =
        sweep_new(SWEEP_SEARCH, w->outcome, w->n_layers, 0, NULL, NULL, found->pinned, n, images);
    sweep_pins_as(again, found->as);
    const struct lab_options o = {.jobs = j->c.jobs, .brute = true};
    struct lab *lab = lab_new(s, again, &o);
    pthread_mutex_unlock(&s->lock);
    int rc = lab_base(lab, again, err);
    rc = rc ? rc : lab_measure(lab, again, 0, NULL, n, err);
    if (!rc && memcmp(again->base.terms, found->terms, n * sizeof *found->terms) != 0) {
        rc = err_set(err, E_STATE, "the model found gives other outputs when it runs by itself");
    } else if (!rc) {
        lab_keep_verified(j->lab, j->s->found);
    }
    lab_free(lab);
    sweep_free(again);
    return rc;
}

/* A search by size, then by delta debugging where no small set does. */
static int search_sets(struct session *s, struct search_job *j, struct err *err)
{
    bool more = j->n_candidates > 0;
    bool bounded = j->c.has_limit && !j->c.max_pins && j->c.method != SEARCH_GREEDY;
    size_t most = j->c.max_pins ? j->c.max_pins : bounded ? SEARCH_SIZES : j->n_candidates;
    int rc = OK;
    for (size_t size = 1; size <= most && more && !rc && j->c.method != SEARCH_BISECT; size++) {
        rc = try_size(s, j, size, &more, err);
    }
    if (!rc && !j->s->reached && bounded && j->n_candidates && !late(j)) {
        rc = delta_debug(s, j, err);
    }
    return rc;
}

/* Where the goal is not met, or there is none: the best set that was measured. */
static size_t best_point(const struct search_job *j)
{
    size_t best = 0;
    for (size_t i = 0; i < j->s->n_points; i++) {
        best = search_better(j->s, j->w, j->s->points[i], best) ? j->s->points[i] : best;
    }
    return best;
}

/* Where the goal is not met: the best sets of all sizes, as far as time allows on all images. */
static int fill_points(struct session *s, struct search_job *j, struct err *err)
{
    int rc = OK;
    for (size_t size = 1; size <= j->n_candidates && !rc && !j->s->reached && !late(j); size++) {
        rc = complete_best(s, j, size, err);
    }
    return rc;
}

static int search_body(struct session *s, void *ctx, struct err *err)
{
    struct search_job *j = ctx;
    int rc = measure_base(s, j, err);
    j->s->reached = !rc && j->c.has_limit && goal_met(&j->s->goal, j->w, &j->w->base);
    j->s->minimal = j->s->reached;
    if (!rc && !j->s->reached) {
        rc = search_sets(s, j, err);
        rc = rc || !j->s->reached ? rc : drop_one(s, j, err);
        rc = rc ? rc : search_cheapest(s, j->lab, &j->c, &j->began, err);
    }
    rc = rc || !j->c.has_limit ? rc : fill_points(s, j, err);
    pthread_mutex_lock(&s->lock);
    for (size_t size = 1; size <= SEARCH_SIZES && j->s->n_points; size++) {
        search_estimate(j->s, j->w, size);
    }
    j->s->found = j->s->reached || !j->s->n_points ? j->s->found : best_point(j);
    pthread_mutex_unlock(&s->lock);
    rc = rc ? rc : verify(s, j, err);
    pthread_mutex_lock(&s->lock);
    job_advance(s, j->s->runs, j->s->runs);
    pthread_mutex_unlock(&s->lock);
    return rc;
}

/* Puts the pins in force that were found, also when the search was cancelled. */
static int search_finish(struct session *s, void *ctx, struct err *err)
{
    struct search_job *j = ctx;
    int rc = OK;
    size_t n = j->s->n_points ? search_size(j->w, &j->w->trials[j->s->found]) : 0;
    j->s->seconds = seconds_since(&j->began);
    if (n && s->job.state != JOB_FAILED) {
        rc = session_pin_trial(s, &j->w->trials[j->s->found], "search", err);
    }
    if (!rc && j->c.has_limit && s->job.state == JOB_DONE && !j->s->reached) {
        rc = err_set(err, E_CHECK,
                     "no set of pins that keeps the limit was found%s; %zu %s pinned now",
                     j->s->out_of_time ? " in this time" : "", n, n == 1 ? "is" : "are");
    }
    lab_free(j->lab);
    free(j->harm);
    free(j->before);
    free(j);
    return rc;
}

static void search_summary(const struct session *s, char *dst, size_t size)
{
    const struct outcome *o = s->sweep->outcome;
    const struct trial *t = s->sweep->n_trials ? &s->sweep->trials[s->search->found] : NULL;
    snprintf(dst, size, "0 pins");
    if (t) {
        snprintf(dst, size, "%zu pins, %s %.*f %s", search_size(s->sweep, t), o->name, o->digits,
                 trial_value(t, o), o->unit);
    }
}

static const struct job_kind search_kind = {
    .what = "search",
    .unit = "runs",
    .short_unit = "runs",
    .body = search_body,
    .finish = search_finish,
    .summary = search_summary,
};

int search_start(struct session *s, const struct sweep_choice *c, bool background, FILE *note,
                 struct err *err)
{
    size_t n_layers = s->match.n_layers, n;
    job_cancel(s);
    job_wait(s, NULL);
    bool *can = sweep_pinnable_as(s, c->as, &n);
    size_t *images = mem_alloc((c->n_images + 1) * sizeof *images);
    for (size_t i = 0; i < c->n_images; i++) {
        images[i] = i;
    }
    sweep_shuffle(c->n_images, images);
    struct search_job *j = mem_alloc(sizeof *j);
    *j = (struct search_job){.c = *c, .before = mem_alloc(n_layers + 1)};
    clock_gettime(CLOCK_MONOTONIC, &j->began);
    for (size_t k = 0; k < n_layers; k++) {
        j->before[k] = session_pinned(s, k);
        can[k] = can[k] && !j->before[k] && (!c->rows || c->rows[k]);
    }
    session_forget_sweep(s);
    j->w = s->sweep = sweep_new(SWEEP_SEARCH, c->goal.outcome, n_layers, 0, NULL, NULL, j->before,
                                c->n_images, images);
    sweep_pins_in_force(s, j->w, c->as);
    j->s = s->search = search_new(n_layers, can, &c->goal, c->has_limit);
    for (size_t k = 0; k < n_layers; k++) {
        j->n_candidates += can[k];
    }
    const struct lab_options o = {.jobs = c->jobs, .retain = true, .first = 2 * FIRST_LOOK};
    j->lab = lab_new(s, j->w, &o);
    free(can);
    return job_start(s, &search_kind, j, 0, background, note, err);
}
