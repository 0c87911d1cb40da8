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

#include "tui/search_job.h"

enum {
    CHECKED = 8,   /* images on which the answer runs once more by itself */
    TIME_RUNS = 9, /* passes by which layers are timed */
};

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
        rc = sets_try_size(s, j, size, &more, err);
    }
    if (!rc && !j->s->reached && bounded && j->n_candidates && !search_late(j)) {
        rc = sets_delta_debug(s, j, err);
    }
    return rc;
}

/* Where the goal is not met, or there is none: the best set that was measured. */
static size_t best_point(const struct search *q, const struct sweep *w)
{
    size_t best = 0;
    for (size_t i = 0; i < q->n_points; i++) {
        best = search_better(q, w, q->points[i], best) ? q->points[i] : best;
    }
    return best;
}

/* Where the goal is not met: the best sets of all sizes, as far as time allows on all images. */
static int fill_points(struct session *s, struct search_job *j, struct err *err)
{
    int rc = OK;
    for (size_t size = 1; size <= j->n_candidates && !rc && !j->s->reached && !search_late(j);
         size++) {
        rc = sets_complete(s, j, size, err);
    }
    return rc;
}

/* What layers take, where sets are to be chosen by it. */
static int measure_times(struct session *s, struct search_job *j, struct err *err)
{
    double *ms = mem_alloc((j->w->n_layers + 1) * sizeof *ms);
    struct timing *t = j->timing;
    j->timing = NULL;
    int rc = layer_times_end(s, t, ms, err);
    pthread_mutex_lock(&s->lock);
    free(s->cost_ms);
    s->cost_ms = ms;
    pthread_mutex_unlock(&s->lock);
    return rc;
}

/* Nothing that it reads changes while the search is under way. */
static double cost_of_set(const void *ctx, const bool *pinned)
{
    const struct session *s = ctx;
    return s->cost->of(s, pinned, s->sweep->as, s->cost_ms);
}

static int search_body(struct session *s, void *ctx, struct err *err)
{
    struct search_job *j = ctx;
    int rc = j->timing ? measure_times(s, j, err) : OK;
    rc = rc ? rc : measure_base(s, j, err);
    j->s->reached = !rc && j->c.has_limit && goal_met(&j->s->goal, j->w, &j->w->base);
    j->s->minimal = j->s->reached;
    if (!rc && !j->s->reached) {
        rc = search_sets(s, j, err);
        for (bool better = j->s->reached; better && !rc;) {
            rc = sets_drop_one(s, j, err);
            rc = rc ? rc : sets_cheapen(s, j, &better, err);
        }
        rc = rc ? rc : search_cheapest(s, j->lab, &j->c, &j->began, err);
    }
    rc = rc || !j->c.has_limit ? rc : fill_points(s, j, err);
    pthread_mutex_lock(&s->lock);
    for (size_t size = 1; size <= SEARCH_SIZES && j->s->n_points; size++) {
        search_estimate(j->s, j->w, size);
    }
    j->s->found = j->s->reached || !j->s->n_points ? j->s->found : best_point(j->s, j->w);
    pthread_mutex_unlock(&s->lock);
    rc = rc ? rc : verify(s, j, err);
    pthread_mutex_lock(&s->lock);
    s->job.done = s->job.total = j->s->runs; /* its parts counted by themselves */
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
    const struct search *q = s->search;
    const struct sweep *w = s->sweep;
    const struct outcome *o = w->outcome;
    if (!q->n_points) { /* not even the model in force was measured */
        snprintf(dst, size, "nothing measured");
        return;
    }
    /* On the way the answer belongs to the search's own thread, points do not. */
    bool ended = s->job.state != JOB_RUNNING;
    const struct trial *t = &w->trials[ended ? q->found : best_point(q, w)];
    size_t n = search_size(w, t);
    snprintf(dst, size, "%zu pin%s, %s %s%.*f %s", n, n == 1 ? "" : "s", o->name,
             t->n < w->n_images ? "~" : "", o->digits, goal_expect(&q->goal, w, t), o->unit);
}

static const struct job_kind search_kind = {
    .what = "search",
    .unit = "runs",
    .short_unit = "runs",
    .uses_plans = true, /* to time layers */
    .open = true,
    .body = search_body,
    .finish = search_finish,
    .summary = search_summary,
};

int search_start(struct session *s, const struct sweep_choice *c, bool background, FILE *note,
                 struct err *err)
{
    size_t n_layers = s->match.n_layers, n;
    job_replace(s);
    bool *can = sweep_pinnable_as(s, c->as, &n);
    size_t *images = mem_alloc((c->n_images + 1) * sizeof *images);
    for (size_t i = 0; i < c->n_images; i++) {
        images[i] = i;
    }
    sweep_shuffle(c->n_images, images);
    struct search_job *j = mem_alloc(sizeof *j);
    *j = (struct search_job){.c = *c, .before = session_pins(s)};
    clock_gettime(CLOCK_MONOTONIC, &j->began);
    for (size_t k = 0; k < n_layers; k++) {
        can[k] = can[k] && !j->before[k] && (!c->rows || c->rows[k]);
    }
    double *ms = cost_times(s);
    session_forget_sweep(s);
    j->w = s->sweep = sweep_new(SWEEP_SEARCH, c->goal.outcome, n_layers, 0, NULL, NULL, j->before,
                                c->n_images, images);
    sweep_pins_in_force(s, j->w, c->as);
    j->s = s->search = search_new(n_layers, can, &c->goal, c->has_limit);
    for (size_t k = 0; k < n_layers; k++) {
        j->n_candidates += can[k];
    }
    const struct lab_options o = {.jobs = c->jobs, .retain = true, .first = 2 * SETS_LOOK};
    j->lab = lab_new(s, j->w, &o);
    free(can);
    j->cost = s->cost = c->cost;
    if (c->cost) {
        j->s->cost = cost_of_set;
        j->s->cost_ctx = s;
    }
    s->cost_ms = ms;
    if (c->cost && strcmp(c->cost->name, "ms") == 0 && !ms) {
        j->timing = layer_times_begin(s, 0, TIME_RUNS, err);
        if (!j->timing) {
            search_finish(s, j, NULL);
            return err->code;
        }
    }
    return job_start(s, &search_kind, j, 0, background, note, err);
}
