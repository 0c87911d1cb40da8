/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * run.c: runs both models over images and feeds the study: the one loop that loads, runs and adds.
 * Each worker takes whole images; results are merged in image order, so they do not depend on how
 * many workers there are, and at most one result per worker waits: memory does not grow with the
 * number of images.
 */
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

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
    pthread_cond_t merged;
    int n_workers;
    struct par *par; /* of the only worker, when one image runs alone */
    FILE *note;      /* progress for people, or NULL */
    double noted;
};

static double seconds_since(const struct timespec *t)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)(now.tv_sec - t->tv_sec) + 1e-9 * (double)(now.tv_nsec - t->tv_nsec);
}

static void note_progress(struct runner *w)
{
    const struct job *j = &w->s->job;
    double t = seconds_since(&j->started);
    if (w->note && (t - w->noted > 0.25 || j->done == j->total)) {
        w->noted = t;
        fprintf(w->note, "\r%zu/%zu images  %.1f img/s  ETA %.0f s   %s", j->done, j->total,
                (double)j->done / t, (double)(j->total - j->done) * t / (double)j->done,
                j->done == j->total ? "\n" : "");
        fflush(w->note);
    }
}

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
        if (!r->score.ok && !s->job.err.code) {
            err_set(&s->job.err, r->score.error_code, "%s", r->score.error);
        }
        study_add(s->study, r);
        s->job.done = ++w->turn;
        note_progress(w);
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
        struct run_with with = {NULL, &w->s->job.cancel, w->par};
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

static void run_workers(struct runner *w)
{
    pthread_t *t = mem_alloc((size_t)w->n_workers * sizeof *t);
    int started = 0;
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &old); /* signals are for the front */
    while (started < w->n_workers - 1 && !pthread_create(&t[started], NULL, worker, w)) {
        started++;
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    worker(w);
    for (int i = 0; i < started; i++) {
        pthread_join(t[i], NULL);
    }
    free(t);
}

static void runner_free(struct runner *w)
{
    for (size_t i = 0; i < w->n; i++) {
        free(w->samples[i].path);
        free(w->samples[i].name);
    }
    par_free(w->par);
    free(w->samples);
    free(w->images);
    run_setup_fini(&w->u);
    pthread_cond_destroy(&w->merged);
    free(w);
}

static void job_end(struct session *s)
{
    struct job *j = &s->job;
    clock_gettime(CLOCK_MONOTONIC, &j->ended);
    bool all_failed = s->study->n_images && s->study->failed == s->study->n_images;
    j->state = cancelled(&j->cancel) && j->done < j->total ? JOB_CANCELLED
               : all_failed                                ? JOB_FAILED
                                                           : JOB_DONE;
    for (size_t i = 0; i < j->n_old; i++) {
        plan_free(j->old_plans[i]);
        graph_free(j->old_graphs[i]);
    }
    j->n_old = 0;
}

static void *job_thread(void *arg)
{
    struct runner *w = arg;
    struct session *s = w->s;
    run_workers(w);
    pthread_mutex_lock(&s->lock);
    job_end(s);
    pthread_mutex_unlock(&s->lock);
    runner_free(w);
    return NULL;
}

static struct runner *runner_new(struct session *s, size_t n, size_t *images, FILE *note)
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
    pthread_cond_init(&w->merged, NULL);
    w->n_workers = (int)MIN((size_t)MAX(s->set.jobs, 1), MAX(n, (size_t)1));
    w->par = n == 1 ? par_new(s->set.jobs) : NULL;
    w->note = note && isatty(fileno(note)) ? note : NULL;
    return w;
}

/* A fresh study for this run; what it was run with is remembered for the views. */
static void start_study(struct session *s, size_t n, const size_t *images)
{
    session_forget(s);
    s->study = study_new(s->match.n_layers);
    s->ran = mem_alloc((n + 1) * sizeof *s->ran);
    memcpy(s->ran, images, n * sizeof *s->ran);
    s->n_ran = n;
    const struct pin_state *p = &s->undo[s->at_undo];
    s->run_pins = mem_alloc(sizeof *s->run_pins);
    s->run_pins->names = mem_alloc((p->n + 1) * sizeof *p->names);
    for (size_t i = 0; i < p->n; i++) {
        s->run_pins->names[s->run_pins->n++] = mem_dup(p->names[i]);
    }
    s->job = (struct job){.state = JOB_RUNNING, .id = s->job.id + 1, .total = n};
    clock_gettime(CLOCK_MONOTONIC, &s->job.started);
}

int run_start(struct session *s, size_t n, size_t *images, bool background, FILE *note,
              struct err *err)
{
    start_study(s, n, images);
    struct runner *w = runner_new(s, n, images, note);
    if (background && !pthread_create(&s->job.thread, NULL, job_thread, w)) {
        s->job.threaded = true;
        return OK;
    }
    pthread_mutex_unlock(&s->lock);
    job_thread(w);
    pthread_mutex_lock(&s->lock);
    return run_wait(s, err);
}

int run_wait(struct session *s, struct err *err)
{
    struct job *j = &s->job;
    if (j->threaded) {
        pthread_t t = j->thread;
        j->threaded = false;
        pthread_mutex_unlock(&s->lock);
        pthread_join(t, NULL);
        pthread_mutex_lock(&s->lock);
    }
    if (j->state == JOB_CANCELLED) {
        return err_set(err, E_STOP, "cancelled after %zu of %zu images", j->done, j->total);
    }
    if (j->state == JOB_FAILED) {
        return err_set(err, j->err.code, "no image could be run: %s", j->err.text);
    }
    return OK;
}

void run_cancel(struct session *s)
{
    if (s->job.state == JOB_RUNNING) {
        atomic_store(&s->job.cancel.stop, true);
    }
}

static double job_seconds(const struct job *j)
{
    if (j->state == JOB_RUNNING) {
        return seconds_since(&j->started);
    }
    return (double)(j->ended.tv_sec - j->started.tv_sec) +
           1e-9 * (double)(j->ended.tv_nsec - j->started.tv_nsec);
}

double job_rate(const struct job *j)
{
    double t = job_seconds(j);
    return j->done >= 3 && t > 0 ? (double)j->done / t : NAN;
}

double job_eta(const struct job *j)
{
    return (double)(j->total - j->done) / job_rate(j);
}
