/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * layer_time.c: how long each layer takes, as a job: one image through both models by turns, on one
 * thread, layers timed as they are made.
 */
#include <stdlib.h>
#include <time.h>

#include "tui/run_image.h"

enum { WARM = 1 };

struct timing {
    struct run_setup u;
    size_t n_layers;
    int runs;
    double *ms[2];            /* by side: layer x run */
    struct tensor **in;       /* n_inputs */
    struct layer_times times; /* what becomes of them */
};

void layer_times_fini(struct layer_times *t)
{
    for (enum side side = SIDE_FP32; side <= SIDE_INT8; side++) {
        free(t->ms[side]);
    }
    *t = (struct layer_times){0};
}

/* ---- One pass -------------------------------------------------------------------------------- */

/* CPU time of this thread: other programs and jobs do not count. */
static double thread_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

struct clock {
    const int *layer_at;
    double *ms; /* of layer 0 in this run; NULL: not counted */
    int stride;
    double last;
};

static int tick(void *ctx, int value, const struct tensor *t, struct err *err)
{
    (void)t, (void)err;
    struct clock *c = ctx;
    double now = thread_ms();
    int layer = c->layer_at[value];
    if (layer >= 0 && c->ms) {
        c->ms[layer * c->stride] += now - c->last;
    }
    c->last = now;
    return OK;
}

/* Runs one side on the inputs; run < 0 warms up. Adds what the whole pass took. */
static int time_side(struct timing *t, enum side side, int run, const struct cancel *cancel,
                     struct err *err)
{
    const struct plan *plan = t->u.plan[side];
    struct tensor **in = mem_alloc((t->u.n_inputs + 1) * sizeof *in);
    struct clock c = {.layer_at = t->u.layer_at[side],
                      .ms = run < 0 ? NULL : t->ms[side] + run,
                      .stride = t->runs};
    struct run_options o = {.tap = tick,
                            .tap_ctx = &c,
                            .any_layout = true,
                            .wanted = t->u.wanted[side],
                            .cancel = cancel};
    int rc = OK;
    for (size_t i = 0; i < t->u.n_inputs && !rc; i++) {
        rc = feed_input(plan_graph(plan), i, t->in[i], NULL, &in[i], err);
    }
    double begin = c.last = thread_ms();
    rc = rc ? rc : plan_run(plan, (const struct tensor *const *)in, NULL, &o, err);
    if (run >= 0) {
        t->ms[side][(size_t)t->n_layers * (size_t)t->runs + (size_t)run] = thread_ms() - begin;
    }
    for (size_t i = 0; i < t->u.n_inputs; i++) {
        tensor_free(in[i]);
    }
    free(in);
    return rc;
}

/* ---- The job -------------------------------------------------------------------------------- */

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *v, size_t n)
{
    qsort(v, n, sizeof *v, by_value);
    return n % 2 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2;
}

/* All passes; as a job of its own it shows how many. */
static int time_passes(struct session *s, struct timing *t, bool progress, struct err *err)
{
    int rc = OK;
    for (int run = -WARM; run < t->runs && !rc; run++) {
        for (enum side side = SIDE_FP32; side <= SIDE_INT8 && !rc; side++) {
            rc = t->u.plan[side] ? time_side(t, side, run, &s->job.cancel, err) : OK;
        }
        if (progress) {
            pthread_mutex_lock(&s->lock);
            job_advance(s, (size_t)MAX(run + 1, 0), (size_t)t->runs);
            pthread_mutex_unlock(&s->lock);
        }
    }
    for (enum side side = SIDE_FP32; side <= SIDE_INT8 && !rc; side++) {
        for (size_t k = 0; t->u.plan[side] && k <= t->n_layers; k++) {
            t->times.ms[side][k] = median(t->ms[side] + k * (size_t)t->runs, (size_t)t->runs);
        }
    }
    return rc;
}

static int time_body(struct session *s, void *ctx, struct err *err)
{
    return time_passes(s, ctx, true, err);
}

static void timing_free(struct timing *t)
{
    layer_times_fini(&t->times);
    for (size_t i = 0; i < t->u.n_inputs; i++) {
        tensor_free(t->in[i]);
    }
    free(t->in);
    free(t->ms[0]);
    free(t->ms[1]);
    run_setup_fini(&t->u);
    free(t);
}

/* What was not measured to the end, or of models that are not in force any more, is dropped. */
static int time_finish(struct session *s, void *ctx, struct err *err)
{
    (void)err;
    struct timing *t = ctx;
    if (s->job.state == JOB_DONE && t->u.plan[SIDE_INT8] == s->plan_int8) {
        layer_times_fini(&s->times);
        s->times = t->times;
        t->times = (struct layer_times){0};
    }
    timing_free(t);
    return OK;
}

static void time_summary(const struct session *s, char *dst, size_t size)
{
    snprintf(dst, size, "%zu layers timed", s->times.n);
}

static const struct job_kind time_kind = {
    .what = "cost",
    .unit = "runs",
    .short_unit = "runs",
    .uses_plans = true,
    .body = time_body,
    .finish = time_finish,
    .summary = time_summary,
};

struct timing *layer_times_begin(struct session *s, size_t image, int runs, struct err *err)
{
    size_t rows;
    struct timing *t = mem_alloc(sizeof *t);
    run_setup_init(&t->u, s);
    t->n_layers = s->match.n_layers;
    t->runs = runs;
    t->in = mem_alloc((t->u.n_inputs + 1) * sizeof *t->in);
    t->times.n = t->n_layers;
    int rc = session_sample(s, image, t->in, err);
    if (!rc && !mul_ok(t->n_layers + 1, (size_t)runs, &rows)) {
        rc = err_set(err, E_LIMIT, "%d runs are too many", runs);
    }
    for (enum side side = SIDE_FP32; side <= SIDE_INT8 && !rc; side++) {
        if (t->u.plan[side]) {
            t->ms[side] = mem_alloc(rows * sizeof *t->ms[side]);
            t->times.ms[side] = mem_alloc((t->n_layers + 1) * sizeof *t->times.ms[side]);
        }
    }
    if (rc) {
        timing_free(t);
        return NULL;
    }
    return t;
}

int layer_times_end(struct session *s, struct timing *t, double *ms, struct err *err)
{
    int rc = time_passes(s, t, false, err);
    for (size_t k = 0; k < t->n_layers && !rc; k++) {
        ms[k] = t->times.ms[SIDE_FP32][k] - t->times.ms[SIDE_INT8][k];
    }
    timing_free(t);
    return rc;
}

int layer_times_start(struct session *s, size_t image, int runs, bool background, FILE *note,
                      struct err *err)
{
    job_replace(s);
    struct timing *t = layer_times_begin(s, image, runs, err);
    if (!t) {
        return err->code;
    }
    return job_start(s, &time_kind, t, (size_t)runs, background, note, err);
}
