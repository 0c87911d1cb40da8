/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * run.c: runs both models over images and feeds the study: the one loop that loads, runs and adds.
 * Each worker takes whole images; results are merged in image order, so they do not depend on how
 * many workers there are, and at most one result per worker waits: memory does not grow with the
 * number of images.
 */
#include <stdlib.h>

#include "tui/executed.h"
#include "tui/results.h"
#include "tui/run_image.h"

/* ---- Workers -------------------------------------------------------------------------------- */

struct runner {
    struct session *s;
    struct run_setup u;
    size_t n;
    size_t *images;         /* data set indices */
    struct sample *samples; /* copies: the data set may grow meanwhile */
    atomic_size_t next;     /* next position to start */
    size_t turn;            /* next position to merge; under s->lock */
    bool stopped;           /* no more merges; under s->lock */
    struct err err;         /* of the first image that failed; under s->lock */
    pthread_cond_t merged;
    int jobs, n_workers;
    struct par *par;      /* of the only worker, when one image runs alone */
    struct question *q;   /* NULL: nothing is taken from earlier runs */
    struct memo *memo;    /* NULL: nor from single images */
    struct memo *outputs; /* NULL: FP32's outputs are not kept for trials */
    struct memo_keys keys;
    size_t n_local; /* images that local errors are measured on */
};

/* Merges result i when its turn comes; false when the run was stopped before that. */
static bool merge(struct runner *w, size_t i, struct image_result *r)
{
    struct session *s = w->s;
    pthread_mutex_lock(&s->lock);
    while (w->turn != i && !w->stopped) {
        pthread_cond_wait(&w->merged, &s->lock);
    }
    bool ok = !w->stopped;
    if (ok) {
        if (!r->score.ok && !w->err.code) {
            err_set(&w->err, r->score.error_code, "%s", r->score.error);
        }
        study_add(s->study, r);
        job_advance(s, ++w->turn, w->n);
    }
    pthread_cond_broadcast(&w->merged);
    pthread_mutex_unlock(&s->lock);
    return ok;
}

static void stop(struct runner *w)
{
    pthread_mutex_lock(&w->s->lock);
    w->stopped = true;
    pthread_cond_broadcast(&w->merged);
    pthread_mutex_unlock(&w->s->lock);
}

static void *worker(void *arg)
{
    struct runner *w = arg;
    for (size_t i; (i = atomic_fetch_add(&w->next, 1)) < w->n;) {
        if (cancelled(&w->s->job.cancel)) {
            stop(w);
            break;
        }
        struct image_result r;
        struct err err = {0};
        image_result_init(&r, w->u.match->n_layers);
        r.score.image = w->images[i];
        struct run_with with = {.cancel = &w->s->job.cancel,
                                .par = w->par,
                                .memo = w->memo,
                                .keys = &w->keys,
                                .outputs = w->outputs,
                                .room = memo_room(w->s->budget.limit, w->s->batch),
                                .local = i < w->n_local,
                                .sums = i == 0};
        if (w->outputs) {
            with.image = question_sample(w->q, i);
        }
        int rc = run_one(&w->u, &w->samples[i], &with, &r, &err);
        r.score.label = w->samples[i].label;
        if (rc == E_STOP) {
            stop(w);
        } else if (rc) {
            r.score.ok = false;
            free(r.score.error);
            r.score.error = mem_dup(err.text);
            r.score.error_code = rc;
        }
        bool go_on = rc != E_STOP && merge(w, i, &r);
        image_result_fini(&r, w->u.match->n_layers);
        if (!go_on) {
            break;
        }
    }
    return NULL;
}

/* ---- The job -------------------------------------------------------------------------------- */

static void runner_free(struct runner *w)
{
    for (size_t i = 0; i < w->n; i++) {
        free(w->samples[i].path);
        free(w->samples[i].name);
    }
    par_free(w->par);
    question_free(w->q);
    memo_keys_fini(&w->keys);
    free(w->samples);
    free(w->images);
    run_setup_fini(&w->u);
    pthread_cond_destroy(&w->merged);
    free(w);
}

/* Starts with what an earlier run has found of the same images, or of the first of them. */
static void take_known(struct session *s, struct runner *w)
{
    struct study *known;
    if (!w->q || !question_ready(w->q, w->jobs, &s->job.cancel)) {
        w->memo = w->outputs = NULL;
        return;
    }
    size_t n = question_study(w->q, w->u.match->n_layers, &known);
    if (n) {
        for (size_t i = 0; i < n; i++) {
            known->images[i].image = w->images[i];
            if (!known->images[i].ok && !w->err.code) {
                err_set(&w->err, known->images[i].error_code, "%s", known->images[i].error);
            }
        }
        known->local = question_local(w->q, w->u.match->n_layers, MIN(w->n_local, n));
        if (!known->local) {
            w->n_local = 0; /* those of later images alone would be no answer */
        }
        pthread_mutex_lock(&s->lock);
        study_free(s->study);
        s->study = known;
        w->turn = n;
        s->job.known = n;
        job_advance(s, n, w->n);
        pthread_mutex_unlock(&s->lock);
        atomic_store(&w->next, n);
    }
}

static int run_body(struct session *s, void *ctx, struct err *err)
{
    struct runner *w = ctx;
    take_known(s, w);
    size_t before = w->turn;
    if (before < w->n) {
        job_threads(w->n_workers, worker, w);
    }
    if (w->q && w->turn > before) {
        question_keep(w->q, s->study);
        if (s->study->local) {
            question_keep_local(w->q, s->study->local, MIN(w->n_local, s->study->n_images));
        }
    }
    bool all_failed = s->study->n_images && s->study->failed == s->study->n_images;
    if (cancelled(&s->job.cancel) && w->turn < w->n) {
        return err_set(err, E_STOP, "cancelled");
    }
    return all_failed ? err_set(err, w->err.code, "no image could be run: %s", w->err.text) : OK;
}

static int run_finish(struct session *s, void *ctx, struct err *err)
{
    (void)err;
    runner_free(ctx);
    if (!s->batch) {
        judged_renew(s);
    }
    return OK;
}

static void run_summary(const struct session *s, char *dst, size_t size)
{
    const struct study *t = s->study;
    size_t right;
    int shift = t ? study_label_shift(t, &right) : 0;
    size_t n = (size_t)snprintf(dst, size, "%zu failed", t ? t->failed : 0);
    if (shift) {
        snprintf(dst + n, size - n, "; labels look one off (dataset add --label-offset %d)", shift);
    } else if (t && study_by_chance(t)) {
        snprintf(dst + n, size - n, "; FP32 is right by chance only (preprocess? labels?)");
    }
}

static const struct job_kind run_kind = {
    .what = "run",
    .unit = "images",
    .short_unit = "img",
    .uses_plans = true,
    .body = run_body,
    .finish = run_finish,
    .summary = run_summary,
};

static struct runner *runner_new(struct session *s, size_t n, size_t *images)
{
    struct runner *w = mem_alloc(sizeof *w);
    w->s = s;
    w->n = n;
    w->images = images;
    w->samples = mem_alloc((n + 1) * sizeof *w->samples);
    for (size_t i = 0; i < n; i++) {
        /* A model without inputs runs on one sample that is nothing. */
        w->samples[i] = s->data.n ? s->data.samples[images[i]] : (struct sample){.label = -1};
        w->samples[i].path = mem_dup(w->samples[i].path);
        w->samples[i].name = mem_dup(w->samples[i].name);
    }
    run_setup_init(&w->u, s);
    w->q = question_new(s, n, w->samples, true);
    w->outputs = w->q && s->pair ? results_memo(s->results) : NULL;
    if (w->outputs && !s->batch) { /* a batch has seldom two runs: its memory is spared */
        w->memo = w->outputs;
        memo_keys_init(&w->keys, &w->u, n, memo_room(s->budget.limit, false));
        memo_begin(w->memo);
    }
    w->n_local = s->set.local < 0 ? n : (size_t)s->set.local;
    w->u.local = w->n_local ? local_setup_new(s) : NULL;
    pthread_cond_init(&w->merged, NULL);
    w->jobs = MAX(s->set.jobs, 1);
    w->n_workers = (int)MIN((size_t)w->jobs, MAX(n, (size_t)1));
    w->par = n == 1 ? par_new(s->set.jobs) : NULL;
    return w;
}

/* A fresh study for this run; what it was run with is remembered for the views. */
static void start_study(struct session *s, size_t n, const size_t *images)
{
    session_forget_run(s);
    s->study = study_new(s->match.n_layers);
    session_note_absent(s);
    s->ran = mem_alloc((n + 1) * sizeof *s->ran);
    memcpy(s->ran, images, n * sizeof *s->ran);
    s->n_ran = n;
    const struct pin_state *p = &s->undo[s->at_undo];
    s->run_pins = mem_alloc(sizeof *s->run_pins);
    s->run_pins->names = mem_alloc((p->n + 1) * sizeof *p->names);
    s->run_pins->as = mem_alloc(p->n + 1);
    for (size_t i = 0; i < p->n; i++) {
        s->run_pins->as[i] = p->as[i];
        s->run_pins->names[s->run_pins->n++] = mem_dup(p->names[i]);
    }
}

int run_start(struct session *s, size_t n, size_t *images, bool background, FILE *note,
              struct err *err)
{
    start_study(s, n, images);
    return job_start(s, &run_kind, runner_new(s, n, images), n, background, note, err);
}

/* ---- Local errors afterwards ----------------------------------------------------------------- */

static void local_images(struct session *s, size_t n)
{
    struct run_setup u;
    struct par *par = par_new(s->set.jobs);
    run_setup_init(&u, s);
    u.hist = false;
    u.local = local_setup_new(s);
    for (size_t i = 0; i < n; i++) {
        struct image_result r;
        const struct sample nothing = {.label = -1};
        const struct sample *sample = s->data.n ? &s->data.samples[s->ran[i]] : &nothing;
        struct run_with with = {.par = par, .local = true, .sums = i == 0};
        image_result_init(&r, u.match->n_layers);
        if (!run_one(&u, sample, &with, &r, NULL) && r.local) {
            s->study->local = s->study->local
                                  ? s->study->local
                                  : local_study_new(u.match->n_layers, r.local->n_inputs);
            local_study_merge(s->study->local, r.local);
        }
        image_result_fini(&r, u.match->n_layers);
    }
    run_setup_fini(&u);
    par_free(par);
}

void run_local(struct session *s)
{
    size_t n = s->set.local < 0 ? s->n_ran : MIN(s->n_ran, (size_t)s->set.local);
    bool same = true; /* pins are those of the run */
    for (size_t k = 0; s->study && k < s->match.n_layers; k++) {
        same = same && !session_pin_pending(s, k);
    }
    if (s->pair && s->study && !s->study->local && same && n && s->job.state != JOB_RUNNING) {
        judged_forget(s);
        local_images(s, n);
    }
}
