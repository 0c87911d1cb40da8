/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * lab.c: a laboratory for trials: its models, which are planned once, and what earlier sweeps know
 * of them. lab_many.c measures them over images, lab_image.c deals with one image.
 */
#include "tui/lab_inside.h"

#include <stdlib.h>

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
        .own = own_of(w->outcome),
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
    l->q = o->brute ? NULL : question_new(s, l->n_images, l->samples, false);
    l->q = question_own(l->q, l->own);
    l->names = mem_alloc((l->match->n_layers + 1) * sizeof *l->names);
    for (size_t k = 0; k < l->match->n_layers; k++) {
        l->names[k] = l->fp32->values[l->match->layers[k].fp32].name;
    }
    return l;
}

static void bench_close(struct bench *b)
{
    replay_free(b->replay);
    plan_free(b->plan);
    *b = (struct bench){0};
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
    for (size_t i = 0; i < l->n_sheets; i++) {
        sheet_close(l->sheets[i]);
    }
    free(l->sheets);
    sheet_close(l->base_sheet);
    question_free(l->q);
    free(l->names);
    free(l->keep[0]);
    free(l->keep[1]);
    free(l->shelves);
    free(l->samples);
    free(l->inputs);
    free(l);
}

/* ---- Models --------------------------------------------------------------------------------- */

/* Whether the pin of the trial's layer is really in effect. */
static void check_effect(const struct lab *l, struct trial *t, const struct graph *mixed,
                         const int *values, const struct plan *plan)
{
    if (t->layer < l->match->n_layers && t->pinned[t->layer] && mixed) {
        t->in_effect = pin_in_effect(plan_graph(plan), mixed->values[values[t->layer]].name,
                                     l->fp32, l->match->layers[t->layer].fp32,
                                     (enum precision)t->as[t->layer], &t->why);
    }
}

static int bench_open(const struct lab *l, struct trial *t, const struct plan *base,
                      struct bench *out, struct err *err)
{
    struct graph *mixed = NULL;
    struct plan *plan = NULL;
    size_t pins = 0;
    struct pin_set set = {.n_layers = l->match->n_layers, .pinned = t->pinned, .as = t->as};
    int *values = mem_alloc((set.n_layers + 1) * sizeof *values);
    for (size_t k = 0; k < set.n_layers; k++) {
        pins += t->pinned[k];
    }
    int rc = pins ? pin_apply(l->fp32, l->int8, l->match, &set, &mixed, values, err) : OK;
    rc = rc ? rc : plan_new(mixed ? mixed : l->int8, &l->po, &plan, err);
    if (!rc) {
        check_effect(l, t, mixed, values, plan);
        *out = (struct bench){.plan = plan, .replay = replay_new(plan, base)};
    }
    graph_free(mixed);
    free(values);
    return rc;
}

static int open_base(struct lab *l, struct sweep *w, struct err *err)
{
    int rc = l->base.plan ? OK : bench_open(l, &w->base, NULL, &l->base, err);
    for (int level = 0; level < 2 && !rc && !l->keep[level]; level++) {
        l->keep[level] = mem_alloc(plan_graph(l->base.plan)->n_values + 1);
    }
    if (!rc) {
        replay_makes(l->base.replay, l->keep[0]);
    }
    return rc;
}

int lab_base(struct lab *l, struct sweep *w, struct err *err)
{
    if (l->q && !l->asked && !question_ready(l->q, l->jobs, &l->s->job.cancel)) {
        question_free(l->q);
        l->q = NULL;
    }
    l->asked = true;
    close_trials(l);
    bench_close(&l->base);
    for (int level = 0; level < 2; level++) {
        free(l->keep[level]);
        l->keep[level] = NULL;
    }
    sheet_close(l->base_sheet);
    l->base_sheet = l->q ? sheet_open(l->q, &w->base, l->names) : NULL;
    l->n_bases++;
    return l->q ? OK : open_base(l, w, err);
}

void lab_close(struct lab *l, size_t trial)
{
    if (trial < l->n_trials) {
        bench_close(&l->trials[trial]);
    }
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
        } else if (o->trials[i] < o->l->n_sheets) {
            sheet_keep_effect(o->l->sheets[o->trials[i]], t);
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

/* ---- What is known already ------------------------------------------------------------------ */

struct sheet *lab_sheet(const struct lab *l, size_t trial)
{
    return trial < l->n_sheets ? l->sheets[trial] : NULL;
}

static void open_sheets(struct lab *l, struct sweep *w, size_t n, const size_t *trials)
{
    if (!l->q) {
        return;
    }
    l->sheets = mem_grow(l->sheets, (w->n_trials + 1) * sizeof(struct sheet *));
    for (; l->n_sheets < w->n_trials; l->n_sheets++) {
        l->sheets[l->n_sheets] = NULL;
    }
    for (size_t i = 0; i < n; i++) {
        struct sheet **s = &l->sheets[trials[i]];
        *s = *s ? *s : sheet_open(l->q, &w->trials[trials[i]], l->names);
        pthread_mutex_lock(&l->s->lock);
        sheet_effect(*s, &w->trials[trials[i]]);
        pthread_mutex_unlock(&l->s->lock);
    }
}

static void keep_sheets(struct lab *l, size_t n, const size_t *trials)
{
    sheet_keep(l->base_sheet);
    for (size_t i = 0; i < n && l->q; i++) {
        sheet_keep(l->sheets[trials[i]]);
    }
}

/* Trials that are to be run on some image, or whose effect is not known: *m, in list. Returns
 * whether anything at all is to be run. */
static bool find_unknown(const struct lab *l, const struct sweep *w, size_t n, const size_t *trials,
                         size_t upto, size_t *list, size_t *m)
{
    struct image_score score;
    size_t from = lab_seen(w, n, trials);
    bool any = false;
    *m = 0;
    for (size_t at = from; at < upto && !any; at++) {
        any = !sheet_get(l->base_sheet, at, &score);
    }
    for (size_t i = 0; i < n; i++) {
        const struct sheet *s = lab_sheet(l, trials[i]);
        bool known = sheet_effect_known(s);
        for (size_t at = from; at < upto && known; at++) {
            known = sheet_get(s, at, &score);
        }
        if (!known && !w->trials[trials[i]].error) {
            list[(*m)++] = trials[i];
        }
    }
    return any || *m;
}

bool lab_verified(const struct lab *l, size_t trial)
{
    return sheet_verified(lab_sheet(l, trial));
}

void lab_keep_verified(const struct lab *l, size_t trial)
{
    sheet_keep_verified(lab_sheet(l, trial));
}

int lab_measure(struct lab *l, struct sweep *w, size_t n, const size_t *trials, size_t upto,
                struct err *err)
{
    int rc = OK;
    if (!l->o.brute || !n) {
        size_t *list = mem_alloc((n + 1) * sizeof *list), some;
        open_sheets(l, w, n, trials);
        bool run = find_unknown(l, w, n, trials, upto, list, &some);
        rc = run ? open_base(l, w, err) : OK;
        if (!rc) {
            open_trials(l, w, some, list);
            rc = lab_measure_open(l, w, n, trials, upto, err);
            keep_sheets(l, n, trials);
        }
        free(list);
        return rc;
    }
    for (size_t i = 0; i < n && !rc; i++) { /* one model at a time, as scripts do it */
        open_trials(l, w, 1, trials + i);
        rc = lab_measure_open(l, w, 1, trials + i, upto, err);
        bench_close(&l->trials[trials[i]]);
    }
    return rc;
}

int lab_measure_all(struct lab *l, struct sweep *w, size_t upto, struct err *err)
{
    size_t *all = mem_alloc((w->n_trials + 1) * sizeof *all);
    for (size_t i = 0; i < w->n_trials; i++) {
        all[i] = i;
    }
    lab_expect(l, lab_runs(w, w->n_trials, all, upto));
    int rc = lab_measure(l, w, w->n_trials, all, upto, err);
    free(all);
    return rc;
}
