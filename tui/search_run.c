/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * search_run.c: the search for pins as a job: ranks the layers once, pins the best one after the
 * other and measures again, then takes back what is not needed. search.c chooses, this file runs.
 */
#include <stdlib.h>

#include "tui/lab.h"
#include "tui/sweep_run.h"

enum {
    RANK_TOP = 12, /* places of the first ranking that are measured on all images */
    AT_ONCE = 4,   /* candidates measured together */
};

struct search_job {
    struct sweep *w;  /* the session's */
    struct search *s; /* likewise */
    struct lab *lab;
    struct sweep_choice c;
    bool *before; /* pins that were in force; the search keeps them */
};

static bool done(const struct search_job *j)
{
    return j->c.has_limit && goal_met(&j->c.goal, j->w, &j->w->base);
}

static size_t pins_added(const struct search_job *j)
{
    size_t n = 0;
    for (size_t k = 0; k < j->w->n_layers; k++) {
        n += j->w->base.pinned[k] && !j->before[k];
    }
    return n;
}

static void note_step(struct session *s, struct search_job *j, size_t layer, bool pinned)
{
    pthread_mutex_lock(&s->lock);
    search_step(j->s, s->fp32, &s->match, layer, pinned, &j->w->base);
    pthread_mutex_unlock(&s->lock);
}

/* The trial becomes the model in force: it has been measured on all images. */
static int adopt(struct session *s, struct search_job *j, size_t trial, bool pinned,
                 struct err *err)
{
    struct sweep *w = j->w;
    struct trial *t = &w->trials[trial];
    pthread_mutex_lock(&s->lock);
    memcpy(w->base.pinned, t->pinned, w->n_layers);
    memcpy(w->base.terms, t->terms, t->n * sizeof *t->terms);
    memcpy(w->base.sums, t->sums, sizeof t->sums);
    w->base.nonfinite = t->nonfinite;
    pthread_mutex_unlock(&s->lock);
    note_step(s, j, t->layer, pinned);
    return lab_base(j->lab, w, err);
}

/* A trial with one layer more or less in FP32 than now. */
static size_t try_layer(struct session *s, struct search_job *j, size_t layer, bool pinned)
{
    bool *set = mem_alloc(j->w->n_layers + 1);
    memcpy(set, j->w->base.pinned, j->w->n_layers);
    set[layer] = pinned;
    pthread_mutex_lock(&s->lock);
    size_t at = sweep_try(j->w, layer, set);
    pthread_mutex_unlock(&s->lock);
    free(set);
    return at;
}

/* Ranks all candidates once, in a race. */
static int rank_all(struct session *s, struct search_job *j, struct err *err)
{
    for (size_t k = 0; k < j->w->n_layers; k++) {
        if (j->s->candidate[k]) {
            try_layer(s, j, k, true);
        }
    }
    int rc = sweep_run_race(j->lab, j->w, err);
    if (!rc && j->w->base.n < j->w->n_images) { /* no candidate was left in the race */
        rc = lab_measure(j->lab, j->w, 0, NULL, j->w->n_images, err);
    }
    pthread_mutex_lock(&s->lock);
    sweep_keep_base(j->w);
    pthread_mutex_unlock(&s->lock);
    note_step(s, j, SIZE_MAX, false);
    for (size_t i = 0; i + 1 < j->w->n_trials && !rc; i++) {
        search_measured(j->s, j->w, &j->w->trials[i]);
    }
    return rc;
}

/* Measures a list of layers on all images; trials[i] gets the trial of layers[i]. */
static int measure_layers(struct session *s, struct search_job *j, size_t n, const size_t *layers,
                          bool pinned, size_t *trials, struct err *err)
{
    for (size_t i = 0; i < n; i++) {
        trials[i] = try_layer(s, j, layers[i], pinned);
    }
    lab_expect(j->lab, (n + 1) * j->w->n_images);
    return lab_measure(j->lab, j->w, n, trials, j->w->n_images, err);
}

/* The trial of a layer that was measured last. */
static size_t last_trial(const struct sweep *w, size_t layer)
{
    size_t i = w->n_trials;
    while (w->trials[--i].layer != layer) {
    }
    return i;
}

/* Pins the best layer; *more false: no candidate is left, or none helps where no limit is set. */
static int pin_best(struct session *s, struct search_job *j, bool *more, struct err *err)
{
    size_t list[AT_ONCE], trials[AT_ONCE], n, best;
    int rc = OK;
    while (!rc && (best = search_next(j->s, AT_ONCE, list, &n)) == SIZE_MAX && n) {
        rc = measure_layers(s, j, n, list, true, trials, err);
        for (size_t i = 0; i < n && !rc; i++) {
            search_measured(j->s, j->w, &j->w->trials[trials[i]]);
        }
    }
    *more =
        !rc && best != SIZE_MAX &&
        (j->c.has_limit || j->s->gain[best] > 0 || (j->s->gain[best] == 0 && j->s->tie[best] > 0));
    return *more ? adopt(s, j, last_trial(j->w, best), true, err) : rc;
}

/* Takes back pins without which the limit is kept as well, the least useful one first. */
static int take_back(struct session *s, struct search_job *j, bool *more, struct err *err)
{
    struct sweep *w = j->w;
    size_t *list = mem_alloc((w->n_layers + 1) * sizeof *list), n = 0, best = SIZE_MAX;
    size_t *trials = mem_alloc((w->n_layers + 1) * sizeof *trials);
    for (size_t k = 0; k < w->n_layers; k++) {
        if (w->base.pinned[k] && !j->before[k]) {
            list[n++] = k;
        }
    }
    int rc = measure_layers(s, j, n, list, false, trials, err);
    for (size_t i = 0; i < n && !rc; i++) {
        const struct trial *t = &w->trials[trials[i]];
        bool keeps = !t->error && goal_met(&j->c.goal, w, t);
        if (keeps && (best == SIZE_MAX || sweep_effect(w, t) > sweep_effect(w, &w->trials[best]))) {
            best = trials[i];
        }
    }
    *more = best != SIZE_MAX;
    rc = rc || !*more ? rc : adopt(s, j, best, false, err);
    free(trials);
    free(list);
    return rc;
}

/* The found model by itself, without anything that was kept: the same bits. */
static int verify(struct session *s, struct search_job *j, struct err *err)
{
    struct sweep *w = j->w, *again;
    if (lab_verified(j->lab)) {
        return OK;
    }
    size_t *images = mem_alloc((w->n_images + 1) * sizeof *images);
    memcpy(images, w->images, w->n_images * sizeof *images);
    pthread_mutex_lock(&s->lock);
    again = sweep_new(SWEEP_SEARCH, w->outcome, w->n_layers, 0, NULL, NULL, w->base.pinned,
                      w->n_images, images);
    const struct lab_options o = {.jobs = j->c.jobs, .brute = true};
    struct lab *lab = lab_new(s, again, &o);
    pthread_mutex_unlock(&s->lock);
    int rc = lab_base(lab, again, err);
    rc = rc ? rc : lab_measure(lab, again, 0, NULL, w->n_images, err);
    if (!rc && memcmp(again->base.terms, w->base.terms, w->base.n * sizeof *w->base.terms) != 0) {
        rc = err_set(err, E_STATE, "the model found gives other outputs when it runs by itself");
    } else if (!rc) {
        lab_keep_verified(j->lab);
    }
    lab_free(lab);
    sweep_free(again);
    return rc;
}

static int search_body(struct session *s, void *ctx, struct err *err)
{
    struct search_job *j = ctx;
    bool more = true;
    int rc = lab_base(j->lab, j->w, err);
    rc = rc ? rc : rank_all(s, j, err);
    while (!rc && more && !done(j) && (!j->c.max_pins || pins_added(j) < j->c.max_pins)) {
        rc = pin_best(s, j, &more, err);
    }
    more = !rc && done(j);
    while (!rc && more && pins_added(j) > 1) {
        rc = take_back(s, j, &more, err);
    }
    return rc ? rc : verify(s, j, err);
}

/* Puts the pins in force that were found, also when the search was cancelled. */
static int search_finish(struct session *s, void *ctx, struct err *err)
{
    struct search_job *j = ctx;
    int rc = OK;
    size_t n = pins_added(j);
    if (n && s->job.state != JOB_FAILED) {
        rc = session_pin(s, j->w->base.pinned, "search", err);
    }
    if (!rc && j->c.has_limit && s->job.state == JOB_DONE && !done(j)) {
        rc = err_set(err, E_CHECK,
                     "no set of pins that keeps the limit was found; %zu %s pinned now", n,
                     n == 1 ? "is" : "are");
    }
    lab_free(j->lab);
    free(j->before);
    free(j);
    return rc;
}

static void search_summary(const struct session *s, char *dst, size_t size)
{
    const struct outcome *o = s->sweep->outcome;
    const struct search_step *x =
        s->search->n_steps ? &s->search->steps[s->search->n_steps - 1] : NULL;
    snprintf(dst, size, "%zu pins", x ? x->pins : 0);
    if (x) {
        snprintf(dst, size, "%zu pins, %s %.*f %s", x->pins, o->name, o->digits,
                 x->value[o - outcomes], o->unit);
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
    bool *can = sweep_pinnable(s, &n);
    size_t *images = mem_alloc((c->n_images + 1) * sizeof *images);
    for (size_t i = 0; i < c->n_images; i++) {
        images[i] = i;
    }
    sweep_shuffle(c->n_images, images);
    struct search_job *j = mem_alloc(sizeof *j);
    *j = (struct search_job){.c = *c, .before = mem_alloc(n_layers + 1)};
    for (size_t k = 0; k < n_layers; k++) {
        j->before[k] = session_pinned(s, k);
        can[k] = can[k] && !j->before[k] && (!c->rows || c->rows[k]);
    }
    session_forget_sweep(s);
    j->w = s->sweep = sweep_new(SWEEP_SEARCH, c->goal.outcome, n_layers, 0, NULL, NULL, j->before,
                                c->n_images, images);
    j->w->top = RANK_TOP;
    j->w->doubt = 0.5; /* a first order: what counts is measured again */
    j->s = s->search = search_new(n_layers, can);
    const struct lab_options o = {.jobs = c->jobs, .retain = true};
    j->lab = lab_new(s, j->w, &o);
    free(can);
    return job_start(s, &search_kind, j, 0, background, note, err);
}
