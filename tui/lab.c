/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * lab.c: measures trials over images. An image is opened once: loaded, run through the FP32 model
 * for its outputs and through the base for its activations. Then each trial computes only what its
 * pins change. Threads take trials of open images, and open another image when none is left.
 */
#include "tui/lab.h"

#include <stdlib.h>

/* What is known of one image. */
struct shelf {
    struct tensor **in;  /* for the INT8 side; NULL: not loaded */
    struct tensor **ref; /* outputs of the FP32 model, in real numbers */
    struct activations *known;
    unsigned base;            /* which base has left its activations; 0: none */
    struct image_score score; /* of that base */
};

struct bench {
    struct plan *plan;
    struct replay *replay;
};

struct lab {
    struct session *s; /* its lock, job and budget */
    struct lab_options o;
    const struct graph *fp32, *int8;
    const struct match *match;
    const struct plan *plan_fp32;
    const struct preprocess *pp;
    struct plan_options po;
    bool classify;
    int jobs;
    size_t n_inputs;
    struct model_input *inputs;
    size_t n_images;
    struct sample *samples; /* copies: the data set may grow meanwhile */
    struct shelf *shelves;  /* per image of the sweep */
    struct bench base;
    unsigned n_bases;
    size_t n_trials;
    struct bench *trials;
    bool *keep[2];      /* by level: all that the base makes, what trials take; 2: nothing */
    atomic_int level;   /* rises where memory is short */
    atomic_size_t size; /* the largest shelf so far */
    atomic_size_t kept; /* bytes on shelves of images that are not open */
    size_t done, total; /* runs; under s->lock */
    struct err failed;  /* of the first image that could not be run; under m->lock */
};

/* ---- Life ----------------------------------------------------------------------------------- */

struct lab *lab_new(struct session *s, const struct sweep *w, const struct lab_options *o)
{
    struct lab *l = mem_alloc(sizeof *l);
    *l = (struct lab){
        .s = s,
        .o = *o,
        .fp32 = s->fp32,
        .int8 = s->int8,
        .match = &s->match,
        .plan_fp32 = s->plan_fp32,
        .pp = &s->pp,
        .po = {.numerics = s->set.numerics,
               .kernels = s->set.kernels,
               .budget = &s->budget,
               .store = o->brute ? NULL : s->store},
        .classify = s->classify,
        .jobs = o->jobs,
        .n_images = w->n_images,
    };
    l->o.retain = l->o.retain || l->o.brute; /* FP32 outputs and inputs, nothing else */
    l->n_inputs = session_inputs(s, NULL, 0);
    l->inputs = mem_alloc((l->n_inputs + 1) * sizeof *l->inputs);
    session_inputs(s, l->inputs, l->n_inputs);
    l->samples = mem_alloc((l->n_images + 1) * sizeof *l->samples);
    l->shelves = mem_alloc((l->n_images + 1) * sizeof *l->shelves);
    for (size_t i = 0; i < l->n_images; i++) {
        /* A model without inputs runs on one sample that is nothing. */
        l->samples[i] = s->data.n ? s->data.samples[w->images[i]] : (struct sample){.label = -1};
        l->samples[i].path = mem_dup(l->samples[i].path);
        l->samples[i].name = mem_dup(l->samples[i].name);
    }
    return l;
}

static void bench_close(struct bench *b)
{
    replay_free(b->replay);
    plan_free(b->plan);
    *b = (struct bench){0};
}

static void tensors_free(struct tensor **t, size_t n)
{
    for (size_t i = 0; t && i < n; i++) {
        tensor_free(t[i]);
    }
    free(t);
}

static void shelf_clear(const struct lab *l, struct shelf *x)
{
    tensors_free(x->in, l->n_inputs);
    tensors_free(x->ref, l->match->n_outputs);
    activations_free(x->known);
    *x = (struct shelf){0};
}

static void close_trials(struct lab *l)
{
    for (size_t i = 0; i < l->n_trials; i++) {
        bench_close(&l->trials[i]);
    }
    free(l->trials);
    l->trials = NULL;
    l->n_trials = 0;
}

void lab_free(struct lab *l)
{
    if (!l) {
        return;
    }
    for (size_t i = 0; i < l->n_images; i++) {
        shelf_clear(l, &l->shelves[i]);
        free(l->samples[i].path);
        free(l->samples[i].name);
    }
    close_trials(l);
    bench_close(&l->base);
    free(l->keep[0]);
    free(l->keep[1]);
    free(l->shelves);
    free(l->samples);
    free(l->inputs);
    free(l);
}

/* ---- Models --------------------------------------------------------------------------------- */

/* Whether the pin of the trial's layer is really computed in float. */
static void check_effect(const struct lab *l, struct trial *t, const struct graph *mixed,
                         const struct plan *plan)
{
    struct match m;
    if (t->layer < l->match->n_layers && t->pinned[t->layer] && mixed &&
        !match_graphs(l->fp32, mixed, 0, NULL, &m, NULL)) {
        t->in_effect = pin_in_effect(mixed, plan_graph(plan), l->fp32, &m,
                                     l->match->layers[t->layer].fp32, &t->why);
        match_fini(&m);
    }
}

static int bench_open(const struct lab *l, struct trial *t, const struct plan *base,
                      struct bench *out, struct err *err)
{
    struct graph *mixed = NULL;
    struct plan *plan = NULL;
    size_t pins = 0;
    struct pin_set set = {.n_layers = l->match->n_layers, .pinned = t->pinned};
    int *values = mem_alloc((set.n_layers + 1) * sizeof *values);
    for (size_t k = 0; k < set.n_layers; k++) {
        pins += t->pinned[k];
    }
    int rc = pins ? pin_apply(l->fp32, l->int8, l->match, &set, &mixed, values, err) : OK;
    rc = rc ? rc : plan_new(mixed ? mixed : l->int8, &l->po, &plan, err);
    if (!rc) {
        check_effect(l, t, mixed, plan);
        *out = (struct bench){.plan = plan, .replay = replay_new(plan, base)};
    }
    graph_free(mixed);
    free(values);
    return rc;
}

int lab_base(struct lab *l, struct sweep *w, struct err *err)
{
    struct bench made;
    int rc = bench_open(l, &w->base, NULL, &made, err);
    if (rc) {
        return rc;
    }
    close_trials(l);
    bench_close(&l->base);
    l->base = made;
    l->n_bases++;
    size_t n = plan_graph(made.plan)->n_values + 1;
    for (int level = 0; level < 2; level++) {
        free(l->keep[level]);
        l->keep[level] = mem_alloc(n);
    }
    replay_makes(made.replay, l->keep[0]);
    return OK;
}

/* Trials are planned by all threads. */
struct opening {
    struct lab *l;
    struct sweep *w;
    size_t n;
    const size_t *trials;
    atomic_size_t next;
};

static void *open_worker(void *arg)
{
    struct opening *o = arg;
    for (size_t i; (i = atomic_fetch_add(&o->next, 1)) < o->n;) {
        struct trial *t = &o->w->trials[o->trials[i]];
        struct bench *b = &o->l->trials[o->trials[i]];
        struct err err = {0};
        if (b->plan || t->error || cancelled(&o->l->s->job.cancel)) {
            continue;
        }
        if (bench_open(o->l, t, o->l->base.plan, b, &err)) {
            pthread_mutex_lock(&o->l->s->lock);
            t->error = mem_dup(err.text);
            pthread_mutex_unlock(&o->l->s->lock);
        }
    }
    return NULL;
}

static void open_trials(struct lab *l, struct sweep *w, size_t n, const size_t *trials)
{
    struct opening o = {.l = l, .w = w, .n = n, .trials = trials};
    l->trials = mem_grow(l->trials, (w->n_trials + 1) * sizeof *l->trials);
    memset(l->trials + l->n_trials, 0, (w->n_trials - l->n_trials) * sizeof *l->trials);
    l->n_trials = w->n_trials;
    job_threads((int)MIN((size_t)l->jobs, n), open_worker, &o);
    for (size_t i = 0; i < n; i++) {
        if (l->trials[trials[i]].replay) {
            replay_takes(l->trials[trials[i]].replay, l->keep[1]);
        }
    }
}

/* ---- One image ------------------------------------------------------------------------------ */

static int score_model(const struct lab *l, const struct plan *p, const struct shelf *x,
                       struct tensor **out, int label, struct image_score *s, struct err *err)
{
    size_t n = l->match->n_outputs;
    int rc = OK;
    for (size_t i = 0; i < n && !rc; i++) {
        struct tensor *real = NULL;
        rc = feed_output(plan_graph(p), i, out[i], NULL, &real, err);
        if (!rc) {
            tensor_free(out[i]);
            out[i] = real;
            rc = feed_like(x->ref[i], &out[i], err);
        }
    }
    if (!rc) {
        score_outputs(n, (const struct tensor *const *)x->ref, (const struct tensor *const *)out,
                      l->classify, label, s);
    }
    return rc;
}

/* Loads an image and runs it through the FP32 model. */
static int shelf_load(const struct lab *l, const struct sample *sample, struct shelf *x,
                      struct err *err)
{
    size_t n = l->n_inputs;
    const struct graph *g[2] = {plan_graph(l->plan_fp32), plan_graph(l->base.plan)};
    struct tensor **in = mem_alloc((n + 1) * sizeof *in), **own = mem_alloc((n + 1) * sizeof *own);
    x->in = mem_alloc((n + 1) * sizeof *x->in);
    x->ref = mem_alloc((l->match->n_outputs + 1) * sizeof *x->ref);
    x->known = activations_new();
    int rc = n ? sample_load(sample, l->pp, (int)n, l->inputs, in, err) : OK;
    for (size_t i = 0; i < n && !rc; i++) {
        rc = feed_input(g[SIDE_FP32], i, in[i], NULL, &own[i], err);
        rc = rc ? rc : feed_input(g[SIDE_INT8], i, in[i], NULL, &x->in[i], err);
    }
    struct run_options o = {.cancel = &l->s->job.cancel};
    rc = rc ? rc : plan_run(l->plan_fp32, (const struct tensor *const *)own, x->ref, &o, err);
    for (size_t i = 0; i < l->match->n_outputs && !rc; i++) {
        struct tensor *real = NULL;
        rc = feed_output(g[SIDE_FP32], i, x->ref[i], NULL, &real, err);
        if (!rc) {
            tensor_free(x->ref[i]);
            x->ref[i] = real;
        }
    }
    tensors_free(in, n);
    tensors_free(own, n);
    return rc;
}

/* Runs the base and keeps its activations: of all values, or where memory is short of fewer. */
static int run_base(struct lab *l, struct shelf *x, struct tensor **out, struct err *err)
{
    const struct tensor *const *in = (const struct tensor *const *)x->in;
    size_t limit = l->s->budget.limit;
    for (;;) {
        int level = atomic_load(&l->level);
        const bool *keep = level < 2 ? l->keep[level] : NULL;
        struct replay_options o = {.keep = keep, .cancel = &l->s->job.cancel};
        int rc = replay_run(l->base.replay, in, x->known, &o, out, err);
        bool large = !rc && limit && activations_size(x->known) > limit / 2;
        if (level < 2 && (rc == E_LIMIT || large)) {
            atomic_compare_exchange_strong(&l->level, &level, level + 1);
            activations_free(x->known);
            x->known = activations_new();
        }
        if (rc != E_LIMIT || level == 2) {
            if (!rc && keep && !large) {
                activations_prune(x->known, l->base.plan, keep);
            }
            return rc;
        }
    }
}

static int shelf_base(struct lab *l, struct shelf *x, int label, struct err *err)
{
    struct tensor **out = mem_alloc((l->match->n_outputs + 1) * sizeof *out);
    struct run_options o = {.cancel = &l->s->job.cancel};
    int rc = l->o.brute ? plan_run(l->base.plan, (const struct tensor *const *)x->in, out, &o, err)
                        : run_base(l, x, out, err);
    image_score_init(&x->score);
    rc = rc ? rc : score_model(l, l->base.plan, x, out, label, &x->score, err);
    x->base = rc ? 0 : l->n_bases;
    tensors_free(out, l->match->n_outputs);
    return rc;
}

static int shelf_open(struct lab *l, size_t at, struct err *err)
{
    struct shelf *x = &l->shelves[at];
    int rc = OK;
    if (!x->in) {
        rc = shelf_load(l, &l->samples[at], x, err);
    } else {
        atomic_fetch_sub(&l->kept, activations_size(x->known));
    }
    if (!rc && x->base != l->n_bases) {
        rc = shelf_base(l, x, l->samples[at].label, err);
    }
    if (rc) {
        shelf_clear(l, x);
        return rc;
    }
    size_t size = activations_size(x->known), most = atomic_load(&l->size);
    while (size > most && !atomic_compare_exchange_weak(&l->size, &most, size)) {
    }
    return OK;
}

/* The image has no more trials for now. */
static void shelf_close(struct lab *l, size_t at)
{
    struct shelf *x = &l->shelves[at];
    size_t limit = l->s->budget.limit, size = x->known ? activations_size(x->known) : 0;
    if (l->o.retain && x->in && (!limit || atomic_load(&l->kept) + size < limit / 2)) {
        atomic_fetch_add(&l->kept, size);
    } else {
        shelf_clear(l, x);
    }
}

static int trial_run(const struct lab *l, const struct bench *b, const struct shelf *x, int label,
                     struct image_score *s, struct err *err)
{
    struct tensor **out = mem_alloc((l->match->n_outputs + 1) * sizeof *out);
    const struct tensor *const *in = (const struct tensor *const *)x->in;
    struct run_options o = {.cancel = &l->s->job.cancel};
    struct replay_options ro = {.cancel = &l->s->job.cancel};
    image_score_init(s);
    int rc = l->o.brute ? plan_run(b->plan, in, out, &o, err)
                        : replay_run(b->replay, in, x->known, &ro, out, err);
    rc = rc ? rc : score_model(l, b->plan, x, out, label, s, err);
    tensors_free(out, l->match->n_outputs);
    return rc;
}

/* ---- Many images ---------------------------------------------------------------------------- */

/* An image under way. */
struct slot {
    enum { SLOT_FREE, SLOT_OPENING, SLOT_OPEN, SLOT_DONE } state;
    size_t at, next, left;      /* image; next trial to take; trials not finished */
    struct image_score *scores; /* per trial, the base behind them */
    char **errors;              /* of trials */
};

struct measuring {
    struct lab *l;
    struct sweep *w;
    size_t n;
    const size_t *trials;
    size_t next, turn, upto; /* images to open and to add next */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int n_slots;
    struct slot *slots;
    bool stopped;
};

static void count_runs(struct lab *l, size_t runs)
{
    pthread_mutex_lock(&l->s->lock);
    l->done += runs;
    job_advance(l->s, l->done, MAX(l->total, l->done));
    pthread_mutex_unlock(&l->s->lock);
}

/* Adds the image whose turn it is, and those behind it that are done. Called with m->lock held. */
static void add_done(struct measuring *m)
{
    struct sweep *w = m->w;
    for (int i = 0; i < m->n_slots; i++) {
        struct slot *s = &m->slots[i];
        if (s->state != SLOT_DONE || s->at != m->turn) {
            continue;
        }
        pthread_mutex_lock(&m->l->s->lock);
        if (w->base.n == s->at) {
            sweep_add_base(w, &s->scores[m->n]);
        }
        for (size_t k = 0; k < m->n; k++) {
            struct trial *t = &w->trials[m->trials[k]];
            if (s->errors[k] && !t->error) {
                t->error = s->errors[k];
                s->errors[k] = NULL;
            }
            if (!t->error) {
                trial_add(t, w->outcome, &s->scores[k]);
            }
            free(s->errors[k]);
            s->errors[k] = NULL;
        }
        pthread_mutex_unlock(&m->l->s->lock);
        s->state = SLOT_FREE;
        m->turn++;
        i = -1; /* look again: the next one may be done */
    }
}

/* An image that cannot be read counts as failed, for the base and all trials. */
static void open_image(struct measuring *m, struct slot *s)
{
    struct lab *l = m->l;
    struct err err = {0};
    int rc = shelf_open(l, s->at, &err);
    count_runs(l, 1);
    pthread_mutex_lock(&m->lock);
    m->stopped = m->stopped || rc == E_STOP;
    if (rc && !l->failed.code) {
        l->failed = err;
    }
    if (rc) {
        for (size_t k = 0; k <= m->n; k++) {
            image_score_init(&s->scores[k]);
        }
        s->left = 0;
    } else {
        s->scores[m->n] = l->shelves[s->at].score;
        s->left = m->n;
    }
    s->next = 0;
    s->state = s->left ? SLOT_OPEN : SLOT_DONE;
    if (!s->left) {
        shelf_close(l, s->at);
        add_done(m);
    }
    pthread_cond_broadcast(&m->changed);
    pthread_mutex_unlock(&m->lock);
}

static void run_trial(struct measuring *m, struct slot *s, size_t k)
{
    struct lab *l = m->l;
    const struct bench *b = &l->trials[m->trials[k]];
    struct err err = {0};
    int rc = b->plan
                 ? trial_run(l, b, &l->shelves[s->at], l->samples[s->at].label, &s->scores[k], &err)
                 : OK; /* it has its error */
    count_runs(l, 1);
    pthread_mutex_lock(&m->lock);
    m->stopped = m->stopped || rc == E_STOP;
    s->errors[k] = rc && rc != E_STOP ? mem_dup(err.text) : NULL;
    if (--s->left == 0 && !m->stopped) {
        shelf_close(l, s->at);
        s->state = SLOT_DONE;
        add_done(m);
        pthread_cond_broadcast(&m->changed);
    }
    pthread_mutex_unlock(&m->lock);
}

/* Images that may be open at a time: one until it is known how much memory an image takes. */
static int most_slots(const struct measuring *m)
{
    size_t size = atomic_load(&m->l->size), limit = m->l->s->budget.limit;
    size_t fit = limit && size ? MAX(limit / 2 / size, (size_t)1) : (size_t)m->n_slots;
    return size || m->l->o.brute ? (int)MIN(fit, (size_t)m->n_slots) : 1;
}

/* Something to do: a trial of an open image, or an image to open; false when there is nothing now.
 * Called with m->lock held. */
static bool choose(struct measuring *m, struct slot **slot, size_t *trial)
{
    int used = 0;
    struct slot *unused = NULL;
    for (int i = 0; i < m->n_slots; i++) {
        struct slot *s = &m->slots[i];
        if (s->state == SLOT_OPEN && s->next < m->n) {
            *slot = s;
            *trial = s->next++;
            return true;
        }
        used += s->state != SLOT_FREE;
        unused = s->state == SLOT_FREE ? s : unused;
    }
    if (m->next >= m->upto || !unused || used >= most_slots(m)) {
        return false;
    }
    unused->state = SLOT_OPENING;
    unused->at = m->next++;
    *slot = unused;
    *trial = SIZE_MAX;
    return true;
}

static void *measure_worker(void *arg)
{
    struct measuring *m = arg;
    pthread_mutex_lock(&m->lock);
    while (m->turn < m->upto && !m->stopped) {
        struct slot *s;
        size_t trial;
        if (!choose(m, &s, &trial)) {
            pthread_cond_wait(&m->changed, &m->lock);
            continue;
        }
        pthread_mutex_unlock(&m->lock);
        if (trial == SIZE_MAX) {
            open_image(m, s);
        } else {
            run_trial(m, s, trial);
        }
        pthread_mutex_lock(&m->lock);
        m->stopped = m->stopped || cancelled(&m->l->s->job.cancel);
    }
    pthread_cond_broadcast(&m->changed);
    pthread_mutex_unlock(&m->lock);
    return NULL;
}

/* Images that the trials have seen already. */
static size_t seen(const struct sweep *w, size_t n, const size_t *trials)
{
    size_t least = n ? SIZE_MAX : w->base.n;
    for (size_t i = 0; i < n; i++) {
        least = w->trials[trials[i]].error ? least : MIN(least, w->trials[trials[i]].n);
    }
    return least;
}

size_t lab_runs(const struct sweep *w, size_t n, const size_t *trials, size_t upto)
{
    size_t from = seen(w, n, trials);
    return from < upto ? (upto - from) * (n + 1) : 0;
}

void lab_expect(struct lab *l, size_t runs)
{
    pthread_mutex_lock(&l->s->lock);
    l->total = l->done + runs;
    job_advance(l->s, l->done, l->total);
    pthread_mutex_unlock(&l->s->lock);
}

static int measure(struct lab *l, struct sweep *w, size_t n, const size_t *trials, size_t upto,
                   struct err *err)
{
    struct measuring m = {.l = l, .w = w, .n = n, .trials = trials, .upto = upto};
    m.next = m.turn = seen(w, n, trials);
    m.n_slots = l->jobs;
    m.slots = mem_alloc((size_t)m.n_slots * sizeof *m.slots);
    for (int i = 0; i < m.n_slots; i++) {
        m.slots[i].scores = mem_alloc((n + 1) * sizeof *m.slots[i].scores);
        m.slots[i].errors = mem_alloc((n + 1) * sizeof *m.slots[i].errors);
    }
    pthread_mutex_init(&m.lock, NULL);
    pthread_cond_init(&m.changed, NULL);
    job_threads(l->jobs, measure_worker, &m);
    pthread_cond_destroy(&m.changed);
    pthread_mutex_destroy(&m.lock);
    for (int i = 0; i < m.n_slots; i++) {
        for (size_t k = 0; k < n; k++) {
            free(m.slots[i].errors[k]);
        }
        free(m.slots[i].scores);
        free(m.slots[i].errors);
    }
    free(m.slots);
    if (m.turn < upto) {
        return err_set(err, E_STOP, "cancelled");
    }
    return w->failed && w->failed == w->base.n
               ? err_set(err, l->failed.code, "no image could be run: %s", l->failed.text)
               : OK;
}

int lab_measure(struct lab *l, struct sweep *w, size_t n, const size_t *trials, size_t upto,
                struct err *err)
{
    int rc = OK;
    if (!l->o.brute || !n) {
        open_trials(l, w, n, trials);
        return measure(l, w, n, trials, upto, err);
    }
    for (size_t i = 0; i < n && !rc; i++) { /* one model at a time, as scripts do it */
        open_trials(l, w, 1, trials + i);
        rc = measure(l, w, 1, trials + i, upto, err);
        bench_close(&l->trials[trials[i]]);
    }
    return rc;
}
