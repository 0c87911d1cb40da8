/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * raise_run.c: raising layers to FP32 one by one as a job: from the input on, from the output back,
 * until a goal is met; and the bisection for the shortest such prefix.
 */
#include <stdlib.h>
#include <time.h>

#include "tui/lab.h"
#include "tui/sweep_run.h"

enum {
    AT_ONCE = 4, /* trials that are measured together while a goal is waited for */
    CHECKS = 8,  /* prefixes on either side of a bisection's answer that are tried as well */
};

struct raise_job {
    struct sweep *w; /* the session's */
    struct lab *lab;
    struct sweep_choice c;
    struct raised *r; /* the session's */
    bool *in_force;   /* pins that stay, per layer */
};

/* ---- Trials --------------------------------------------------------------------------------- */

size_t raised_by(const struct raised *r, const struct trial *t)
{
    for (size_t k = 0; k < r->n_layers; k++) {
        if (r->layers[k] == t->layer) {
            return k + 1;
        }
    }
    return 0;
}

/* The trial that raises the first k layers, one that is there already if any. */
static size_t trial_of(struct session *s, struct raise_job *j, size_t k)
{
    struct sweep *w = j->w;
    bool *set = mem_alloc(w->n_layers + 1);
    size_t at = 0;
    memcpy(set, j->in_force, w->n_layers);
    for (size_t i = 0; i < k; i++) {
        set[j->r->layers[i]] = true;
    }
    while (at < w->n_trials && memcmp(w->trials[at].pinned, set, w->n_layers) != 0) {
        at++;
    }
    if (at == w->n_trials) {
        pthread_mutex_lock(&s->lock);
        sweep_try(w, k ? j->r->layers[k - 1] : SIZE_MAX, set);
        pthread_mutex_unlock(&s->lock);
    }
    free(set);
    return at;
}

/* Whether a trial that has seen all images meets the goal. */
static bool meets(const struct raise_job *j, const struct trial *t)
{
    return !t->error && t->n == j->w->n_images && goal_met(&j->r->goal, j->w, t);
}

/* The fewest layers of those tried that meet the goal. */
static void note_reached(struct session *s, struct raise_job *j)
{
    size_t best = SIZE_MAX;
    for (size_t i = 0; i < j->w->n_trials; i++) {
        if (meets(j, &j->w->trials[i])) {
            best = MIN(best, raised_by(j->r, &j->w->trials[i]));
        }
    }
    pthread_mutex_lock(&s->lock);
    j->r->reached = best;
    pthread_mutex_unlock(&s->lock);
}

/* ---- Prefix and suffix ---------------------------------------------------------------------- */

static int measure_raises(struct session *s, struct raise_job *j, struct err *err)
{
    size_t n = j->r->n_layers + 1, *list = mem_alloc((n + 1) * sizeof *list);
    size_t step = j->r->has_goal ? AT_ONCE : n;
    int rc = OK;
    for (size_t k = 0; k < n; k++) {
        list[k] = trial_of(s, j, k);
    }
    for (size_t k = 0; k < n && !rc && j->r->reached == SIZE_MAX; k += step) {
        lab_expect(j->lab, (n - k) * j->w->n_images); /* at most */
        rc = lab_measure(j->lab, j->w, MIN(step, n - k), list + k, j->w->n_images, err);
        if (!rc && j->r->has_goal) {
            note_reached(s, j);
        }
    }
    free(list);
    return rc;
}

/* ---- Bisection ------------------------------------------------------------------------------ */

static int try_prefix(struct session *s, struct raise_job *j, size_t k, bool *met, struct err *err)
{
    size_t at = trial_of(s, j, k);
    int rc = lab_measure(j->lab, j->w, 1, &at, j->w->n_images, err);
    const struct trial *t = &j->w->trials[at];
    *met = !rc && meets(j, t);
    return rc ? rc : t->error ? err_set(err, E_UNSUPPORTED, "%s", t->error) : OK;
}

/* Tries prefixes evenly between low and high, ends left out. */
static int try_between(struct session *s, struct raise_job *j, size_t low, size_t high,
                       bool expected, struct err *err)
{
    size_t n = high > low ? MIN(high - low - 1, (size_t)CHECKS) : 0;
    int rc = OK;
    for (size_t i = 0; i < n && !rc; i++) {
        bool met;
        rc = try_prefix(s, j, low + (high - low) * (i + 1) / (n + 1), &met, err);
        j->r->monotone = j->r->monotone && (rc || met == expected);
    }
    return rc;
}

static int bisect(struct session *s, struct raise_job *j, struct err *err)
{
    size_t low = 0, high = j->r->n_layers, steps = 2 + 2 * CHECKS;
    bool met;
    for (size_t n = high; n > 1; n = (n + 1) / 2) {
        steps++;
    }
    lab_expect(j->lab, steps * 2 * j->w->n_images);
    int rc = try_prefix(s, j, 0, &met, err);
    high = met ? 0 : high;
    if (!rc && !met) {
        rc = try_prefix(s, j, high, &met, err);
        if (rc || !met) {
            return rc;
        }
    }
    while (!rc && high - low > 1) {
        size_t middle = low + (high - low) / 2;
        rc = try_prefix(s, j, middle, &met, err);
        *(!rc && met ? &high : &low) = middle;
    }
    rc = rc ? rc : try_between(s, j, 0, low, false, err);
    rc = rc ? rc : try_between(s, j, high, j->r->n_layers, true, err);
    if (!rc) {
        note_reached(s, j);
    }
    return rc;
}

/* ---- Jobs ----------------------------------------------------------------------------------- */

static int raise_body(struct session *s, void *ctx, struct err *err)
{
    struct raise_job *j = ctx;
    struct timespec from;
    clock_gettime(CLOCK_MONOTONIC, &from);
    int rc = lab_base(j->lab, j->w, err);
    rc = rc ? rc : j->w->kind == SWEEP_BISECT ? bisect(s, j, err) : measure_raises(s, j, err);
    sweep_account(s, j->w, j->lab, &from);
    if (!rc && j->r->has_goal && j->r->reached == SIZE_MAX) {
        rc = err_set(err, E_CHECK, "the goal is not met even with every layer in FP32");
    }
    return rc;
}

static int raise_finish(struct session *s, void *ctx, struct err *err)
{
    (void)s, (void)err;
    struct raise_job *j = ctx;
    lab_free(j->lab);
    free(j->in_force);
    free(j);
    return OK;
}

static void raise_summary(const struct session *s, char *dst, size_t size)
{
    const struct raised *r = s->raised;
    if (r->reached == SIZE_MAX) {
        snprintf(dst, size, r->has_goal ? "the goal is not met" : "%zu layers raised", r->n_layers);
    } else {
        snprintf(dst, size, "met with %zu of %zu layers in FP32", r->reached, r->n_layers);
    }
}

#define RAISE_KIND(name)                                                                           \
    {                                                                                              \
        .what = name, .unit = "runs", .short_unit = "runs", .body = raise_body,                    \
        .finish = raise_finish, .summary = raise_summary                                           \
    }
static const struct job_kind raise_kinds[] = {
    [SWEEP_PREFIX] = RAISE_KIND("prefix"),
    [SWEEP_SUFFIX] = RAISE_KIND("suffix"),
    [SWEEP_BISECT] = RAISE_KIND("bisect"),
};

/* Layers in the order in which they are raised: pins in force are raised already. */
static struct raised *raised_new(const struct session *s, const struct sweep_choice *c,
                                 const bool *all)
{
    struct raised *r = mem_alloc(sizeof *r);
    size_t n = s->match.n_layers;
    *r = (struct raised){.goal = c->goal, .has_goal = c->has_limit, .monotone = true};
    r->reached = SIZE_MAX;
    r->layers = mem_alloc((n + 1) * sizeof *r->layers);
    for (size_t i = 0; i < n; i++) {
        size_t k = c->kind == SWEEP_SUFFIX ? n - 1 - i : i;
        if (all[k] && !session_pinned(s, k)) {
            r->layers[r->n_layers++] = k;
        }
    }
    return r;
}

/* Of a sweep of the same kind on the same images, from the same pins: what it has measured. */
static struct sweep *last_one(struct session *s, const struct sweep *w, const bool *in_force)
{
    struct sweep *old = s->sweep;
    bool same = old && s->raised && old->kind == w->kind && old->outcome == w->outcome &&
                old->n_images == w->n_images && old->n_layers == w->n_layers && old->n_trials &&
                memcmp(old->base.pinned, w->base.pinned, w->n_layers) == 0 &&
                memcmp(old->as, w->as, w->n_layers) == 0 &&
                memcmp(old->trials[0].pinned, in_force, w->n_layers) == 0;
    for (size_t i = 0; same && i < old->n_trials; i++) {
        same = !old->trials[i].error;
    }
    s->sweep = same ? NULL : old;
    return same ? old : NULL;
}

int raise_start(struct session *s, const struct sweep_choice *c, bool background, FILE *note,
                struct err *err)
{
    size_t n = s->match.n_layers, n_pinnable;
    job_replace(s);
    bool *all = sweep_pinnable_as(s, c->as, &n_pinnable), *in_force = session_pins(s);
    struct raised *r = raised_new(s, c, all);
    size_t *images = mem_alloc((c->n_images + 1) * sizeof *images);
    for (size_t i = 0; i < c->n_images; i++) {
        images[i] = i;
    }
    for (size_t k = 0; k < n; k++) {
        all[k] = all[k] || in_force[k];
    }
    /* Prefixes run on from activations of FP32, suffixes from those of the model in force. */
    struct sweep *w = sweep_new(c->kind, c->goal.outcome, n, 0, NULL, NULL,
                                c->kind == SWEEP_SUFFIX ? in_force : all, c->n_images, images);
    sweep_pins_in_force(s, w, c->as);
    struct sweep *old = last_one(s, w, in_force);
    session_forget_sweep(s);
    sweep_free(old ? w : NULL);
    s->sweep = old ? old : w;
    s->raised = r;
    struct raise_job *j = mem_alloc(sizeof *j);
    *j = (struct raise_job){.w = s->sweep, .c = *c, .r = r, .in_force = in_force};
    const struct lab_options lo = {.jobs = c->jobs, .retain = r->has_goal};
    j->lab = lab_new(s, j->w, &lo);
    free(all);
    return job_start(s, &raise_kinds[c->kind], j, 0, background, note, err);
}
