/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * run.c: runs both models over images and feeds the study: the one loop that loads, runs and adds.
 * Each worker takes whole images; results are merged in image order, so they do not depend on how
 * many workers there are, and at most one result per worker waits: memory does not grow with the
 * number of images. FP32 activations live until the INT8 side of the same image has been compared.
 */
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "tui/tui.h"

/* What a run needs, fixed when it starts: pins may change while it is under way. */
struct setup {
    const struct match *match;
    const struct plan *plan[2]; /* by side; NULL = not loaded */
    int *layer_at[2];           /* value of the executed graph -> layer, -1 */
    const struct preprocess *pp;
    size_t n_inputs;
    struct model_input *inputs;
    bool classify, hist;
};

/* ---- One image ------------------------------------------------------------------------------ */

static int *map_layers(const struct session *s, enum side side)
{
    const struct plan *p = side == SIDE_FP32 ? s->plan_fp32 : s->plan_int8;
    if (!p) {
        return NULL;
    }
    const struct graph *x = plan_graph(p);
    int *map = mem_alloc((x->n_values + 1) * sizeof *map);
    memset(map, 0xff, x->n_values * sizeof *map);
    for (size_t k = 0; k < s->match.n_layers; k++) {
        int at = session_executed(s, k, side);
        if (at >= 0) {
            map[at] = (int)k;
        }
    }
    return map;
}

static void setup_init(struct setup *u, const struct session *s)
{
    *u = (struct setup){
        .match = &s->match,
        .plan = {s->plan_fp32, s->plan_int8},
        .pp = &s->pp,
        .classify = s->classify,
        .hist = true,
    };
    u->layer_at[SIDE_FP32] = map_layers(s, SIDE_FP32);
    u->layer_at[SIDE_INT8] = map_layers(s, SIDE_INT8);
    u->n_inputs = session_inputs(s, NULL, 0);
    u->inputs = mem_alloc((u->n_inputs + 1) * sizeof *u->inputs);
    session_inputs(s, u->inputs, u->n_inputs);
}

static void setup_fini(struct setup *u)
{
    free(u->layer_at[0]);
    free(u->layer_at[1]);
    free(u->inputs);
}

struct pass {
    const struct setup *u;
    enum side side;
    struct tensor **fp32; /* per layer: kept until compared */
    struct image_result *r;
    const struct run_hooks *hooks;
};

static void compare(const struct pass *p, size_t layer, const struct tensor *y)
{
    const struct layer *l = &p->u->match->layers[layer];
    const struct tensor *x = p->fp32[layer];
    struct err why = {0};
    bool codes = !dtype_is_float(y->dtype);
    if (!x || p->r->layers[layer].images) {
        return;
    }
    int rc = codes && !l->quantized
                 ? err_set(&why, E_STATE, "its scale is not a constant of the model")
                 : layer_stats_add(&p->r->layers[layer], x, y, codes ? &l->q : NULL,
                                   l->channel_axis, p->u->hist, &why);
    if (rc && !p->r->layer_errors[layer]) {
        p->r->layer_errors[layer] = mem_dup(why.text);
    }
    tensor_free(p->fp32[layer]);
    p->fp32[layer] = NULL;
}

static int pass_layer(struct pass *p, size_t layer, const struct tensor *t, struct err *err)
{
    int rc = OK;
    if (p->hooks && p->hooks->keep) {
        rc = p->hooks->keep(p->hooks->ctx, layer, p->side, t, err);
    }
    if (p->side == SIDE_FP32 && p->u->plan[SIDE_INT8]) {
        p->fp32[layer] = tensor_ref(t);
    } else if (p->side == SIDE_INT8 && p->u->plan[SIDE_FP32]) {
        compare(p, layer, t);
    }
    return rc;
}

/* The INT8 tensor as the FP32 side has it: models of two formats differ in their layout. */
static int pass_moved(struct pass *p, size_t layer, const struct tensor *t, struct err *err)
{
    const struct tensor *x = p->fp32[layer];
    struct tensor *moved = NULL;
    int rc = channels_move(t, p->u->match->layers[layer].moved, x ? x->rank : t->rank,
                           x ? x->dims : t->dims, NULL, &moved, err);
    rc = rc ? rc : pass_layer(p, layer, moved, err);
    tensor_free(moved);
    return rc;
}

static int pass_tap(void *ctx, int value, const struct tensor *t, struct err *err)
{
    struct pass *p = ctx;
    int layer = p->u->layer_at[p->side][value], rc = OK;
    if (p->hooks && p->hooks->keep_other) {
        rc = p->hooks->keep_other(p->hooks->ctx, (size_t)value, p->side, t, err);
    }
    if (layer < 0 || rc) {
        return rc;
    }
    bool moved = p->side == SIDE_INT8 && p->u->match->layers[layer].moved != CHANNELS_SAME;
    return moved ? pass_moved(p, (size_t)layer, t, err) : pass_layer(p, (size_t)layer, t, err);
}

/* An output that an unsupported operator blocks: there is nothing to score. */
static void score_nothing(struct image_score *s)
{
    s->ok = true;
    s->fp32_top1 = s->int8_top1 = -1;
    s->fp32_p = s->int8_p = NAN;
    s->sqnr = s->cosine = s->mse = s->margin = s->dlogit = s->kl = NAN;
    s->flip = FLIP_NONE;
}

/* Scores of one model alone: its top-1, nothing to compare. */
static void score_single(size_t n, struct tensor **out, bool classify, enum side side, int label,
                         struct image_score *s)
{
    score_outputs(n, (const struct tensor *const *)out, (const struct tensor *const *)out, classify,
                  label, s);
    *(side == SIDE_FP32 ? &s->int8_top1 : &s->fp32_top1) = -1;
    s->sqnr = s->cosine = s->mse = s->margin = s->dlogit = s->kl = NAN;
    s->flip = FLIP_NONE;
}

/* Runs one side on its own version of the sample; outputs in real numbers. */
static int run_side(const struct setup *u, enum side side, struct tensor *const *in,
                    struct tensor **out, const struct run_options *o, struct err *err)
{
    struct tensor **own = mem_alloc((u->n_inputs + 1) * sizeof *own);
    int rc = OK;
    for (size_t i = 0; i < u->n_inputs && !rc; i++) {
        rc = feed_input(plan_graph(u->plan[side]), i, in[i], NULL, &own[i], err);
    }
    rc = rc ? rc : plan_run(u->plan[side], (const struct tensor *const *)own, out, o, err);
    for (size_t i = 0; i < u->match->n_outputs && !rc; i++) {
        struct tensor *real = NULL;
        if (!out[i]) {
            continue; /* blocked by an operator without a kernel */
        }
        rc = feed_output(plan_graph(u->plan[side]), i, out[i], NULL, &real, err);
        if (!rc) {
            tensor_free(out[i]);
            out[i] = real;
        }
    }
    for (size_t i = 0; i < u->n_inputs; i++) {
        tensor_free(own[i]);
    }
    free(own);
    return rc;
}

/* An output in the layout that the FP32 side has, so that values are scored pair by pair. */
static int align_output(const struct tensor *x, struct tensor **y, struct err *err)
{
    struct tensor *moved = NULL;
    int rc = channels_move(*y, channels_between((*y)->rank, (*y)->dims, x->rank, x->dims), x->rank,
                           x->dims, NULL, &moved, err);
    if (!rc) {
        tensor_free(*y);
        *y = moved;
    }
    return rc;
}

static int run_sides(const struct setup *u, struct tensor *const *in, const struct run_hooks *hooks,
                     const struct cancel *cancel, int label, struct image_result *r,
                     struct err *err)
{
    size_t n_out = u->match->n_outputs, n_layers = u->match->n_layers;
    struct tensor **out = mem_alloc((2 * n_out + 1) * sizeof *out);
    struct pass p = {.u = u, .r = r, .hooks = hooks};
    p.fp32 = mem_alloc((n_layers + 1) * sizeof *p.fp32);
    int rc = OK;
    for (enum side side = SIDE_FP32; side <= SIDE_INT8 && !rc; side++) {
        if (u->plan[side]) {
            p.side = side;
            struct run_options o = {.tap = pass_tap, .tap_ctx = &p, .cancel = cancel};
            rc = run_side(u, side, in, out + n_out * side, &o, err);
        }
    }
    bool complete = true;
    for (size_t i = 0; i < 2 * n_out; i++) {
        complete = complete && (out[i] || !u->plan[i / n_out]);
    }
    for (size_t i = 0; i < n_out && !rc && complete && u->plan[0] && u->plan[1]; i++) {
        rc = align_output(out[i], &out[n_out + i], err);
    }
    if (!rc && !complete) {
        score_nothing(&r->score);
    } else if (!rc && u->plan[0] && u->plan[1]) {
        score_outputs(n_out, (const struct tensor *const *)out,
                      (const struct tensor *const *)out + n_out, u->classify, label, &r->score);
    } else if (!rc) {
        enum side side = u->plan[SIDE_FP32] ? SIDE_FP32 : SIDE_INT8;
        score_single(n_out, out + n_out * side, u->classify, side, label, &r->score);
    }
    for (size_t i = 0; i < 2 * n_out; i++) {
        tensor_free(out[i]);
    }
    for (size_t i = 0; i < n_layers; i++) {
        tensor_free(p.fp32[i]);
    }
    free(p.fp32);
    free(out);
    return rc;
}

static int image_run(const struct setup *u, const struct sample *sample,
                     const struct run_hooks *hooks, const struct cancel *cancel,
                     struct image_result *r, struct err *err)
{
    struct tensor **in = mem_alloc((u->n_inputs + 1) * sizeof *in);
    int rc = u->n_inputs ? sample_load(sample, u->pp, (int)u->n_inputs, u->inputs, in, err) : OK;
    if (!rc) {
        rc = run_sides(u, in, hooks, cancel, sample->label, r, err);
        for (size_t i = 0; i < u->n_inputs; i++) {
            tensor_free(in[i]);
        }
    }
    free(in);
    return rc;
}

int run_image(const struct session *s, size_t image, const struct run_hooks *hooks,
              const struct cancel *cancel, struct image_result *r, struct err *err)
{
    struct setup u;
    setup_init(&u, s);
    u.hist = false;
    r->score.image = image;
    const struct sample nothing = {.label = -1}; /* for a model without inputs */
    const struct sample *sample = image < s->data.n ? &s->data.samples[image] : &nothing;
    int rc = image_run(&u, sample, hooks, cancel, r, err);
    setup_fini(&u);
    return rc;
}

/* ---- Workers -------------------------------------------------------------------------------- */

struct runner {
    struct session *s;
    struct setup u;
    size_t n;
    size_t *images;         /* data set indices */
    struct sample *samples; /* copies: the data set may grow meanwhile */
    atomic_size_t next;     /* next position to start */
    size_t turn;            /* next position to merge; under s->lock */
    bool stopped;           /* no more merges; under s->lock */
    pthread_cond_t merged;
    int n_workers;
    FILE *note; /* progress for people, or NULL */
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
        int rc = image_run(&w->u, &w->samples[i], NULL, &w->s->job.cancel, &r, &err);
        r.score.label = w->samples[i].label;
        if (rc == E_STOP) {
            stop(w);
        } else if (rc) {
            r.score.ok = false;
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
    free(w->samples);
    free(w->images);
    setup_fini(&w->u);
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
    setup_init(&w->u, s);
    pthread_cond_init(&w->merged, NULL);
    w->n_workers = (int)MIN((size_t)MAX(s->set.jobs, 1), MAX(n, (size_t)1));
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
