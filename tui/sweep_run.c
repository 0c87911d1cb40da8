/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * sweep_run.c: sweeps as jobs: every layer is tried, exactly or in a race, alone in FP32 and alone
 * in INT8.
 */
#include "tui/sweep_run.h"

#include <stdlib.h>
#include <time.h>

#include "tui/lab.h"

struct sweep_job {
    struct sweep *w;    /* the session's */
    struct sweep *only; /* likewise; NULL: the other way is not asked for */
    struct lab *lab, *lab_only;
    struct sweep_choice c;
    bool *all; /* per layer: can be pinned */
};

/* ---- What is in force ----------------------------------------------------------------------- */

bool *sweep_pinnable(struct session *s, size_t *n)
{
    return sweep_pinnable_as(s, PREC_FP32, n);
}

bool *sweep_pinnable_as(struct session *s, enum precision as, size_t *n)
{
    const struct match *m = &s->match;
    bool *can = mem_alloc(m->n_layers + 1), *one = mem_alloc(m->n_layers + 1);
    int *values = mem_alloc((m->n_layers + 1) * sizeof *values);
    uint8_t *all_as = mem_alloc(m->n_layers + 1);
    struct pin_set set = {.n_layers = m->n_layers, .pinned = one, .as = all_as};
    memset(all_as, (int)as, m->n_layers);
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
    free(all_as);
    free(one);
    return can;
}

void session_forget_sweep(struct session *s)
{
    free(s->cost_ms);
    s->cost_ms = NULL;
    s->cost = NULL;
    sweep_free(s->sweep);
    sweep_free(s->only);
    search_free(s->search);
    if (s->raised) {
        free(s->raised->layers);
    }
    free(s->raised);
    s->sweep = s->only = NULL;
    s->search = NULL;
    s->raised = NULL;
}

/* ---- Measuring ------------------------------------------------------------------------------ */

/* Measures all trials of w in a race. */
static int run_race(struct lab *lab, struct sweep *w, struct err *err)
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
        rc = lab_ahead(lab, w, upto, err);
        lab_expect(lab, lab_runs(w, n, list, w->n_images));
        rc = rc ? rc : lab_measure(lab, w, n, list, upto, err);
    }
    free(list);
    free(next);
    return rc;
}

void sweep_account(struct session *s, struct sweep *w, const struct lab *lab,
                   const struct timespec *from)
{
    pthread_mutex_lock(&s->lock);
    w->runs += lab_ran(lab);
    w->seconds += seconds_since(from);
    pthread_mutex_unlock(&s->lock);
}

/* One way: all trials, in a race or on the images up to `upto`. */
static int run_way(struct session *s, struct lab *lab, struct sweep *w, bool race, size_t upto,
                   struct err *err)
{
    struct timespec from;
    clock_gettime(CLOCK_MONOTONIC, &from);
    int rc = lab_base(lab, w, err);
    rc = rc ? rc : race ? run_race(lab, w, err) : lab_measure_all(lab, w, upto, err);
    sweep_account(s, w, lab, &from);
    return rc;
}

/* The other way: of all layers, after a race of those that came first, on as many images. */
static int run_only(struct session *s, struct sweep_job *j, struct err *err)
{
    struct sweep *w = j->w;
    size_t *order = mem_alloc((w->n_trials + 1) * sizeof *order), upto = 0;
    size_t n = j->only->n_trials ? 0 : j->c.race ? MIN(w->n_trials, w->top) : w->n_trials;
    pthread_mutex_lock(&s->lock);
    sweep_rank(w, order);
    upto = w->trials[order[0]].n;
    for (size_t i = 0; i < n; i++) {
        size_t layer = w->trials[order[i]].layer;
        bool *set = mem_alloc(w->n_layers + 1);
        memcpy(set, j->all, w->n_layers);
        set[layer] = false;
        sweep_try(j->only, layer, set);
        free(set);
    }
    pthread_mutex_unlock(&s->lock);
    free(order);
    return run_way(s, j->lab_only, j->only, false, upto, err);
}

static int sweep_body(struct session *s, void *ctx, struct err *err)
{
    struct sweep_job *j = ctx;
    int rc = run_way(s, j->lab, j->w, j->c.race, j->w->n_images, err);
    return rc || !j->only ? rc : run_only(s, j, err);
}

static int sweep_finish(struct session *s, void *ctx, struct err *err)
{
    (void)s, (void)err;
    struct sweep_job *j = ctx;
    lab_free(j->lab);
    lab_free(j->lab_only);
    free(j->all);
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
    .what = "sensitivity",
    .unit = "runs",
    .short_unit = "runs",
    .body = sweep_body,
    .finish = sweep_finish,
    .summary = sweep_summary,
};

/* ---- Start ---------------------------------------------------------------------------------- */

/* What trials follow from: the model in force, or all in FP32. */
static bool *base_pins(const struct session *s, enum sweep_kind kind, const bool *all)
{
    bool *base = mem_alloc(s->match.n_layers + 1);
    for (size_t k = 0; k < s->match.n_layers; k++) {
        base[k] = kind == SWEEP_LOO ? session_pinned(s, k) : all[k];
    }
    return base;
}

static struct sweep *make_sweep(const struct session *s, const struct sweep_choice *c,
                                enum sweep_kind kind, size_t n, const size_t *rows, const bool *all)
{
    size_t *images = mem_alloc((c->n_images + 1) * sizeof *images);
    bool *base = base_pins(s, kind, all), race = c->race && kind == c->kind;
    for (size_t i = 0; i < c->n_images; i++) {
        images[i] = i;
    }
    if (c->race) {
        sweep_shuffle(c->n_images, images);
    }
    struct sweep *w = sweep_new(kind, c->goal.outcome, s->match.n_layers, n, rows, all, base,
                                c->n_images, images);
    sweep_pins_in_force(s, w, kind == SWEEP_LOO ? c->as : PREC_FP32);
    w->top = race ? c->top : 0;
    w->doubt = 2.5;
    w->within = race ? c->within : 0;
    free(base);
    return w;
}

void sweep_pins_in_force(const struct session *s, struct sweep *w, enum precision as)
{
    uint8_t *list = session_precisions(s, as);
    sweep_pins_as(w, w->kind == SWEEP_ONLY ? NULL : list);
    free(list);
}

/* An old sweep that asks the same as `w`, not by brute force: freed is w, returned the old one. */
static struct sweep *resume(struct sweep *old, struct sweep *w, bool brute)
{
    if (!old || brute || !sweep_same(old, w)) {
        return w;
    }
    sweep_free(w);
    return old;
}

/* Takes over what the last sweep has measured, if it asked the same; drops the rest. */
static void take_over(struct session *s, struct sweep_job *j)
{
    struct sweep *old = s->sweep, *only = s->only;
    s->sweep = s->only = NULL;
    j->w = resume(old, j->w, j->c.brute);
    bool same = j->w == old;
    if (same && j->only && only) {
        sweep_free(j->only);
        j->only = only;
        only = NULL;
    }
    sweep_free(same ? NULL : old);
    sweep_free(only);
    session_forget_sweep(s);
    s->sweep = j->w;
    s->only = j->only;
}

int sweep_start(struct session *s, const struct sweep_choice *c, bool background, FILE *note,
                struct err *err)
{
    size_t n_layers = s->match.n_layers, n_pinnable, n = 0;
    job_replace(s);
    bool *all = sweep_pinnable_as(s, c->kind == SWEEP_LOO ? c->as : PREC_FP32, &n_pinnable);
    size_t *rows = mem_alloc((n_layers + 1) * sizeof *rows);
    for (size_t k = 0; k < n_layers; k++) {
        if (all[k] && (!c->rows || c->rows[k]) && !(c->kind == SWEEP_LOO && session_pinned(s, k))) {
            rows[n++] = k;
        }
    }
    if (!n) {
        free(all);
        free(rows);
        return err_set(err, E_STATE, "no layer is left to try");
    }
    struct sweep_job *j = mem_alloc(sizeof *j);
    *j = (struct sweep_job){.c = *c, .all = all};
    j->w = make_sweep(s, c, c->kind, n, rows, all);
    j->only = c->ways == (WAY_LOO | WAY_ONLY) ? make_sweep(s, c, SWEEP_ONLY, 0, NULL, all) : NULL;
    free(rows);
    take_over(s, j);
    const struct lab_options o = {.jobs = c->jobs, .brute = c->brute},
                             race = {.jobs = c->jobs, .brute = c->brute, .race = c->race};
    j->lab = lab_new(s, j->w, &race);
    j->lab_only = j->only ? lab_new(s, j->only, &o) : NULL;
    return job_start(s, &sweep_kind, j, 0, background, note, err);
}
