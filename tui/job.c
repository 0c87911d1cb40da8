/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * job.c: the one piece of work that may go on in the background, whatever it is: a run, a sweep, a
 * search. It knows how far it is, can be cancelled, and is waited for.
 */
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "tui/shell.h"

static double seconds_between(const struct timespec *from, const struct timespec *to)
{
    return (double)(to->tv_sec - from->tv_sec) + 1e-9 * (double)(to->tv_nsec - from->tv_nsec);
}

double seconds_since(const struct timespec *from)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return seconds_between(from, &now);
}

static double job_seconds(const struct job *j)
{
    struct timespec now = j->ended;
    if (j->state == JOB_RUNNING) {
        clock_gettime(CLOCK_MONOTONIC, &now);
    }
    return seconds_between(&j->started, &now);
}

double job_rate(const struct job *j)
{
    double t = job_seconds(j);
    return j->done >= 3 && t > 0 ? (double)j->done / t : NAN;
}

double job_eta(const struct job *j)
{
    bool known = j->kind && !j->kind->open; /* before the first job there is no kind */
    return known ? (double)(j->total - j->done) / job_rate(j) : NAN;
}

char *job_count(const struct job *j, char *dst, size_t size)
{
    if (j->kind->open) {
        snprintf(dst, size, "%zu %s", j->done, j->kind->unit);
    } else {
        snprintf(dst, size, "%zu of %zu %s", j->done, j->total, j->kind->unit);
    }
    return dst;
}

char *job_words(const struct job *j, char *dst, size_t size)
{
    char count[96];
    bool stopped = j->state == JOB_CANCELLED && j->gone;
    const char *how = stopped                     ? "stopped"
                      : j->state == JOB_FAILED    ? "failed"
                      : j->state != JOB_CANCELLED ? "done"
                      : j->kind->whole            ? "cancelled"
                                                  : "cancelled, results kept";
    const char *rest = j->state == JOB_FAILED ? j->err.text : stopped ? "" : j->found;
    snprintf(dst, size, "%s #%d %s: %s%s%s", j->kind->what, j->id, how,
             job_count(j, count, sizeof count), rest[0] ? ", " : "", rest);
    return dst;
}

static void print_progress(struct job *j, double seconds)
{
    double n = (double)j->done, left = (double)(j->total - j->done);
    j->noted = seconds;
    if (j->kind->open) {
        fprintf(j->note, "\r%zu %s  %.1f/s   ", j->done, j->kind->unit, n / seconds);
    } else {
        fprintf(j->note, "\r%zu/%zu %s  %.1f/s  ETA %.0f s   ", j->done, j->total, j->kind->unit,
                n / seconds, left * seconds / n);
    }
    fflush(j->note);
}

/* The parts of an open job count by themselves: what is smaller is no news. */
void job_advance(struct session *s, size_t done, size_t total)
{
    struct job *j = &s->job;
    j->done = j->kind->open ? MAX(j->done, done) : done;
    j->total = j->kind->open ? j->done : total;
    double t = job_seconds(j);
    if (j->note && done && (t - j->noted > 0.25 || (done == total && !j->kind->open))) {
        print_progress(j, t);
    }
}

void job_threads(int n, void *(*worker)(void *ctx), void *ctx)
{
    pthread_t *t = mem_alloc((size_t)MAX(n, 1) * sizeof *t);
    int started = 0;
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &old); /* signals are for the front */
    while (started < n - 1 && !pthread_create(&t[started], NULL, worker, ctx)) {
        started++;
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    worker(ctx);
    for (int i = 0; i < started; i++) {
        pthread_join(t[i], NULL);
    }
    free(t);
}

static void end(struct session *s, int rc)
{
    struct job *j = &s->job;
    clock_gettime(CLOCK_MONOTONIC, &j->ended);
    if (j->noted > 0) {
        fputc('\n', j->note);
    }
    j->state = rc == E_STOP ? JOB_CANCELLED : rc ? JOB_FAILED : JOB_DONE;
    for (size_t i = 0; i < j->n_old; i++) {
        plan_free(j->old_plans[i]);
        graph_free(j->old_graphs[i]);
    }
    j->n_old = 0;
}

static void *job_thread(void *arg)
{
    struct session *s = arg;
    struct err err = {0};
    int rc = s->job.kind->body(s, s->job.ctx, &err);
    pthread_mutex_lock(&s->lock);
    if (rc) {
        s->job.err = err;
    }
    end(s, rc);
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

/* Keys are answered before work goes on: the threads of a job in the background, which inherit it
 * from this one, get the processors after the front whenever both want them. */
static void *job_background(void *arg)
{
    enum { LESS_URGENT = 5 };
    const id_t self = (id_t)gettid(); /* Linux counts urgency by thread */
    setpriority(PRIO_PROCESS, self, getpriority(PRIO_PROCESS, self) + LESS_URGENT);
    return job_thread(arg);
}

/* A batch has nobody who looks into the log, and its exit code is to tell of every failure. */
static void tell_replaced(struct session *s, FILE *note)
{
    char words[512];
    session_log(s, 'n', job_words(&s->job, words, sizeof words));
    if (s->batch && note) {
        fprintf(note, "%s\n", words);
    }
    if (s->batch && s->job.state == JOB_FAILED && !s->shell->unheard.code) {
        s->shell->unheard = s->job.err;
    }
}

int job_start(struct session *s, const struct job_kind *kind, void *ctx, size_t total,
              bool background, FILE *note, struct err *err)
{
    if (s->job.kind && !s->job.told) { /* this one takes its place before it was said */
        tell_replaced(s, note);
    }
    s->job = (struct job){
        .state = JOB_RUNNING, .id = s->job.id + 1, .kind = kind, .ctx = ctx, .total = total};
    s->job.note = note && isatty(fileno(note)) ? note : NULL;
    clock_gettime(CLOCK_MONOTONIC, &s->job.started);
    if (background && !pthread_create(&s->job.thread, NULL, job_background, s)) {
        s->job.threaded = true;
        return OK;
    }
    s->job.told = true;
    pthread_mutex_unlock(&s->lock);
    job_thread(s);
    pthread_mutex_lock(&s->lock);
    return job_wait(s, err);
}

int job_wait(struct session *s, struct err *err)
{
    struct job *j = &s->job;
    if (j->threaded) {
        pthread_t t = j->thread;
        j->threaded = false;
        pthread_mutex_unlock(&s->lock);
        pthread_join(t, NULL);
        pthread_mutex_lock(&s->lock);
    }
    if (j->ctx && j->state != JOB_RUNNING) { /* the first to wait ends it, on the front */
        void *ctx = j->ctx;
        j->ctx = NULL;
        struct err why = {0};
        int rc = j->kind->finish ? j->kind->finish(s, ctx, &why) : OK;
        if (rc && j->state == JOB_DONE) {
            j->state = JOB_FAILED;
            j->err = why;
        }
        if (j->state != JOB_FAILED) { /* what it is made from may be dropped next */
            j->kind->summary(s, j->found, sizeof j->found);
        }
    }
    if (j->state == JOB_CANCELLED && j->done >= j->total) { /* how much there is was not known */
        return err_set(err, E_STOP, "cancelled after %zu %s", j->done, j->kind->unit);
    }
    if (j->state == JOB_CANCELLED) {
        return err_set(err, E_STOP, "cancelled after %zu of %zu %s", j->done, j->total,
                       j->kind->unit);
    }
    return j->state == JOB_FAILED ? err_set(err, j->err.code, "%s", j->err.text) : OK;
}

void job_cancel(struct session *s)
{
    if (s->job.state == JOB_RUNNING) {
        atomic_store(&s->job.cancel.stop, true);
    }
}

void job_settle(struct session *s)
{
    if (s->screen && s->job.ctx && s->job.state != JOB_RUNNING) {
        job_wait(s, NULL);
    }
}

void job_replace(struct session *s)
{
    if (!s->batch) {
        job_cancel(s);
    }
    job_wait(s, NULL);
}
