/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * sweep_run.c: sweeps and the bisection as jobs: which trials are measured on which images.
 */
#include "tui/sweep_run.h"

#include <stdlib.h>

#include "tui/lab.h"

struct sweep_job {
    struct sweep *w; /* the session's */
    struct lab *lab;
    struct sweep_choice c;
    size_t *layers, n_layers; /* of a bisection: what prefixes are made of, in network order */
};

/* ---- What is in force ----------------------------------------------------------------------- */

bool *sweep_pinnable(struct session *s, size_t *n)
{
    const struct match *m = &s->match;
    bool *can = mem_alloc(m->n_layers + 1), *one = mem_alloc(m->n_layers + 1);
    int *values = mem_alloc((m->n_layers + 1) * sizeof *values);
    struct pin_set set = {.n_layers = m->n_layers, .pinned = one};
    *n = 0;
    for (size_t k = 0; k < m->n_layers; k++) {
        struct graph *mixed = NULL;
        one[k] = true;
        can[k] = m->layers[k].pinnable &&
                 pin_apply(s->fp32, s->int8, m, &set, &mixed, values, NULL) == OK;
        graph_free(mixed);
        one[k] = false;
        *n += can[k];
    }
    free(values);
    free(one);
    return can;
}

void session_forget_sweep(struct session *s)
{
    sweep_free(s->sweep);
    search_free(s->search);
    s->sweep = NULL;
    s->search = NULL;
    s->bisected = SIZE_MAX;
}

/* ---- Sweeps --------------------------------------------------------------------------------- */

static int measure_all(struct sweep_job *j, struct err *err)
{
    struct sweep *w = j->w;
    size_t *all = mem_alloc((w->n_trials + 1) * sizeof *all);
    for (size_t i = 0; i < w->n_trials; i++) {
        all[i] = i;
    }
    lab_expect(j->lab, lab_runs(w, w->n_trials, all, w->n_images));
    int rc = lab_measure(j->lab, w, w->n_trials, all, w->n_images, err);
    free(all);
    return rc;
}

int sweep_run_race(struct lab *lab, struct sweep *w, struct err *err)
{
    bool *next = mem_alloc(w->n_trials + 1);
    size_t *list = mem_alloc((w->n_trials + 1) * sizeof *list);
    lab_expect(lab, (w->n_trials + 2) * w->n_images); /* at most */
    int rc = lab_survey(lab, w, err);
    for (size_t upto; !rc && (upto = sweep_race(w, next));) {
        size_t n = 0;
        for (size_t i = 0; i < w->n_trials; i++) {
            if (next[i]) {
                list[n++] = i;
            }
        }
        lab_expect(lab, lab_runs(w, n, list, w->n_images));
        rc = lab_measure(lab, w, n, list, upto, err);
    }
    free(list);
    free(next);
    return rc;
}

static int sweep_body(struct session *s, void *ctx, struct err *err)
{
    (void)s;
    struct sweep_job *j = ctx;
    int rc = lab_base(j->lab, j->w, err);
    return rc ? rc : j->c.race ? sweep_run_race(j->lab, j->w, err) : measure_all(j, err);
}

static int sweep_finish(struct session *s, void *ctx, struct err *err)
{
    (void)s, (void)err;
    struct sweep_job *j = ctx;
    lab_free(j->lab);
    free(j->layers);
    free(j);
    return OK;
}

static void sweep_summary(const struct session *s, char *dst, size_t size)
{
    const struct sweep *w = s->sweep;
    size_t *order = mem_alloc((w->n_trials + 1) * sizeof *order);
    sweep_rank(w, order);
    const struct trial *t = w->n_trials ? &w->trials[order[0]] : NULL;
    if (t && t->n) {
        snprintf(dst, size, sweep_is_gain(w) ? "%s %+.*f %s first" : "%s %.*f %s first",
                 session_layer_label(s, t->layer), w->outcome->digits, sweep_effect(w, t),
                 w->outcome->unit);
    } else {
        snprintf(dst, size, "nothing measured");
    }
    free(order);
}

static const struct job_kind sweep_kind = {
    .what = "sweep",
    .unit = "runs",
    .short_unit = "runs",
    .body = sweep_body,
    .finish = sweep_finish,
    .summary = sweep_summary,
};

/* ---- Bisection ------------------------------------------------------------------------------ */

/* Measures the model whose first k layers are in INT8. */
static int try_prefix(struct session *s, struct sweep_job *j, size_t k, const struct trial **out,
                      struct err *err)
{
    bool *pinned = mem_alloc(j->w->n_layers + 1);
    for (size_t i = k; i < j->n_layers; i++) {
        pinned[j->layers[i]] = true;
    }
    pthread_mutex_lock(&s->lock);
    size_t at = sweep_try(j->w, k ? j->layers[k - 1] : SIZE_MAX, pinned);
    pthread_mutex_unlock(&s->lock);
    free(pinned);
    int rc = lab_measure(j->lab, j->w, 1, &at, j->w->n_images, err);
    *out = &j->w->trials[at];
    if (!rc && (*out)->error) {
        rc = err_set(err, E_UNSUPPORTED, "%s", (*out)->error);
    }
    return rc;
}

static int bisect_body(struct session *s, void *ctx, struct err *err)
{
    struct sweep_job *j = ctx;
    const struct goal *g = &j->c.goal;
    const struct trial *t;
    size_t low = 0, high = j->n_layers, steps = 2;
    for (size_t n = j->n_layers; n > 1; n = (n + 1) / 2) {
        steps++;
    }
    lab_expect(j->lab, steps * 2 * j->w->n_images);
    int rc = lab_base(j->lab, j->w, err);
    rc = rc ? rc : try_prefix(s, j, high, &t, err);
    if (!rc && goal_met(g, j->w, t)) {
        return OK; /* nothing breaks it */
    }
    rc = rc ? rc : try_prefix(s, j, low, &t, err);
    if (!rc && !goal_met(g, j->w, t)) {
        return err_set(err, E_CHECK, "the limit is not kept even with every layer in FP32");
    }
    while (!rc && high - low > 1) {
        size_t middle = low + (high - low) / 2;
        rc = try_prefix(s, j, middle, &t, err);
        *(!rc && goal_met(g, j->w, t) ? &low : &high) = middle;
    }
    if (!rc) {
        pthread_mutex_lock(&s->lock);
        s->bisected = j->layers[high - 1];
        pthread_mutex_unlock(&s->lock);
    }
    return rc;
}

static void bisect_summary(const struct session *s, char *dst, size_t size)
{
    snprintf(dst, size, "%s%s", s->bisected == SIZE_MAX ? "no layer breaks it" : "breaks at ",
             s->bisected == SIZE_MAX ? "" : session_layer_label(s, s->bisected));
}

static const struct job_kind bisect_kind = {
    .what = "bisect",
    .unit = "runs",
    .short_unit = "runs",
    .body = bisect_body,
    .finish = sweep_finish,
    .summary = bisect_summary,
};

/* ---- Start ---------------------------------------------------------------------------------- */

/* What trials follow from: the model in force, all in FP32, or nothing in FP32. */
static bool *base_pins(const struct session *s, enum sweep_kind kind, const bool *all)
{
    bool *base = mem_alloc(s->match.n_layers + 1);
    for (size_t k = 0; k < s->match.n_layers; k++) {
        base[k] = kind == SWEEP_LOO ? session_pinned(s, k) : kind == SWEEP_ONLY ? all[k] : false;
    }
    return base;
}

static size_t *image_list(const struct sweep_choice *c)
{
    size_t *images = mem_alloc((c->n_images + 1) * sizeof *images);
    for (size_t i = 0; i < c->n_images; i++) {
        images[i] = i;
    }
    if (c->race) {
        sweep_shuffle(c->n_images, images);
    }
    return images;
}

int sweep_start(struct session *s, const struct sweep_choice *c, bool background, FILE *note,
                struct err *err)
{
    size_t n_layers = s->match.n_layers, n_pinnable, n = 0;
    job_cancel(s);
    job_wait(s, NULL);
    bool *all = sweep_pinnable(s, &n_pinnable), *base = base_pins(s, c->kind, all);
    size_t *rows = mem_alloc((n_layers + 1) * sizeof *rows);
    bool whole = c->kind == SWEEP_BISECT; /* its trials come one by one */
    for (size_t k = 0; k < n_layers; k++) {
        if (all[k] && (!c->rows || c->rows[k]) && !(c->kind == SWEEP_LOO && base[k])) {
            rows[n++] = k;
        }
    }
    if (!n) {
        free(all);
        free(base);
        free(rows);
        return err_set(err, E_STATE, "no layer is left to try");
    }
    session_forget_sweep(s);
    s->sweep = sweep_new(c->kind, c->goal.outcome, n_layers, whole ? 0 : n, rows, all, base,
                         c->n_images, image_list(c));
    s->sweep->top = c->race ? c->top : 0;
    s->sweep->doubt = 2.5;
    struct sweep_job *j = mem_alloc(sizeof *j);
    *j = (struct sweep_job){.w = s->sweep, .c = *c, .layers = rows, .n_layers = n};
    const struct lab_options lo = {
        .jobs = c->jobs, .brute = c->brute, .retain = whole, .inputs = c->race};
    j->lab = lab_new(s, s->sweep, &lo);
    free(all);
    free(base);
    return job_start(s, whole ? &bisect_kind : &sweep_kind, j, 0, background, note, err);
}
