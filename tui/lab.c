/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * lab.c: measures trials over images: models are planned once, then threads take trials of open
 * images, and open another image when none is left. lab_image.c deals with one image.
 */
#include "tui/lab_image.h"

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

/* ---- Many images ---------------------------------------------------------------------------- */

/* An image under way. */
struct slot {
    enum { SLOT_FREE, SLOT_CHOSEN, SLOT_OPENING, SLOT_OPEN, SLOT_DONE } state;
    size_t at, next, left;      /* image; next trial to take; trials not finished */
    struct image_score *scores; /* per trial, the base behind them */
    char **errors;              /* of trials */
    size_t n_again, *again;     /* trials that found too little memory */
};

struct measuring {
    struct lab *l;
    struct sweep *w;
    size_t n;
    const size_t *trials;
    size_t next, turn, upto; /* images to open and to add next */
    size_t *from;            /* per trial: images that it had seen before */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int n_slots;
    struct slot *slots;
    int active, most; /* threads at work, and how many may be: one where memory is short */
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
            if (!t->error && m->from[k] <= s->at) {
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

/* Whether what failed for lack of memory is to be tried again, alone. */
static bool try_alone(struct measuring *m, int rc)
{
    bool again = rc == E_LIMIT && m->most > 1;
    m->most = again ? 1 : m->most;
    return again;
}

static const struct sheet *sheet_of(const struct lab *l, size_t trial)
{
    return trial < l->n_sheets ? l->sheets[trial] : NULL;
}

/* Whether all that is to be measured on an image was measured before. scores: as in a slot. */
static bool image_known(const struct lab *l, const struct sweep *w, size_t n, const size_t *trials,
                        size_t at, struct image_score *scores)
{
    bool known = sheet_get(l->base_sheet, at, &scores[n]);
    for (size_t k = 0; k < n && known; k++) {
        const struct trial *t = &w->trials[trials[k]];
        known = t->error || t->n > at || sheet_get(sheet_of(l, trials[k]), at, &scores[k]);
    }
    return known;
}

/* Takes an image that is known: nothing is run. Comes back with m->lock if it is. */
static bool take_image(struct measuring *m, struct slot *s)
{
    pthread_mutex_lock(&m->lock);
    if (!image_known(m->l, m->w, m->n, m->trials, s->at, s->scores)) {
        pthread_mutex_unlock(&m->lock);
        return false;
    }
    count_runs(m->l, m->n + 1);
    s->state = SLOT_DONE;
    add_done(m);
    return true;
}

/* An image that cannot be read counts as failed, for the base and all trials. */
static void open_image(struct measuring *m, struct slot *s)
{
    struct lab *l = m->l;
    struct err err = {0};
    if (take_image(m, s)) {
        return;
    }
    int rc = shelf_open(l, s->at, m->n > 0, &err);
    pthread_mutex_lock(&m->lock);
    m->stopped = m->stopped || rc == E_STOP;
    if (try_alone(m, rc)) {
        s->state = SLOT_CHOSEN;
        return;
    }
    if (rc == E_STOP) { /* it has not failed, it was not looked at */
        shelf_close(l, s->at);
        return;
    }
    count_runs(l, 1);
    if (rc && !l->failed.code) {
        l->failed = err;
    }
    for (size_t k = 0; k <= m->n && rc; k++) {
        image_score_init(&s->scores[k]);
    }
    if (!rc) {
        s->scores[m->n] = l->shelves[s->at].score;
        if (l->base_sheet) {
            sheet_put(l->base_sheet, s->at, &s->scores[m->n]);
        }
    }
    s->next = 0;
    s->left = rc ? 0 : m->n;
    s->state = s->left ? SLOT_OPEN : SLOT_DONE;
    if (!s->left) {
        shelf_close(l, s->at);
        add_done(m);
    }
}

static void run_trial(struct measuring *m, struct slot *s, size_t k)
{
    struct lab *l = m->l;
    const struct bench *b = &l->trials[m->trials[k]];
    struct sheet *sheet = m->trials[k] < l->n_sheets ? l->sheets[m->trials[k]] : NULL;
    struct err err = {0};
    pthread_mutex_lock(&m->lock);
    bool due = m->from[k] <= s->at, known = due && sheet_get(sheet, s->at, &s->scores[k]);
    bool run = due && !known && b->plan;
    pthread_mutex_unlock(&m->lock);
    int rc = run ? shelf_trial(l, b, s->at, &s->scores[k], &err) : OK; /* else it has its error */
    pthread_mutex_lock(&m->lock);
    if (run && !rc) {
        sheet_put(sheet, s->at, &s->scores[k]);
    }
    m->stopped = m->stopped || rc == E_STOP;
    if (try_alone(m, rc) || (rc == E_LIMIT && shelf_shrink(l, &l->shelves[s->at]))) {
        s->again[s->n_again++] = k;
        return;
    }
    count_runs(l, 1);
    s->errors[k] = rc && rc != E_STOP ? mem_dup(err.text) : NULL;
    if (--s->left == 0 && !m->stopped) {
        shelf_close(l, s->at);
        s->state = SLOT_DONE;
        add_done(m);
    }
}

/* Images that may be open at a time: one until it is known how much memory the activations of an
 * image take, which are kept for trials alone. */
static int most_slots(const struct measuring *m)
{
    size_t size = atomic_load(&m->l->size), limit = m->l->s->budget.limit;
    size_t fit = limit && size ? MAX(limit / 2 / size, (size_t)1) : (size_t)m->n_slots;
    return size || !m->n || m->l->o.brute ? (int)MIN(fit, (size_t)m->n_slots) : 1;
}

/* A trial of an open image. */
static bool choose_trial(const struct measuring *m, struct slot *s, size_t *trial)
{
    if (s->state != SLOT_OPEN || (!s->n_again && s->next == m->n)) {
        return false;
    }
    *trial = s->n_again ? s->again[--s->n_again] : s->next++;
    return true;
}

/* Something to do: a trial of an open image, or (*trial SIZE_MAX) an image to open; false when
 * there is nothing now. Called with m->lock held. */
static bool choose(struct measuring *m, struct slot **slot, size_t *trial)
{
    int used = 0;
    struct slot *image = NULL;
    for (int i = 0; i < m->n_slots && m->active < m->most; i++) {
        *slot = &m->slots[i];
        if (choose_trial(m, *slot, trial)) {
            return true;
        }
        used += (*slot)->state != SLOT_FREE;
    }
    for (int i = 0; i < m->n_slots && m->active < m->most; i++) {
        struct slot *s = &m->slots[i];
        bool fresh = s->state == SLOT_FREE && m->next < m->upto && used < most_slots(m);
        image = s->state == SLOT_CHOSEN || (fresh && !image) ? s : image;
    }
    if (!image) {
        return false;
    }
    image->at = image->state == SLOT_CHOSEN ? image->at : m->next++;
    image->state = SLOT_OPENING;
    *slot = image;
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
        m->active++;
        pthread_mutex_unlock(&m->lock);
        if (trial == SIZE_MAX) {
            open_image(m, s);
        } else {
            run_trial(m, s, trial);
        }
        m->active--; /* both come back with the lock */
        m->stopped = m->stopped || cancelled(&m->l->s->job.cancel);
        pthread_cond_broadcast(&m->changed);
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
    return least == SIZE_MAX ? w->base.n : least;
}

size_t lab_runs(const struct sweep *w, size_t n, const size_t *trials, size_t upto)
{
    size_t from = seen(w, n, trials);
    return from < upto ? (upto - from) * (n + 1) : 0;
}

size_t lab_ran(const struct lab *l)
{
    return atomic_load(&l->runs);
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
    m.n_slots = m.most = l->jobs;
    m.slots = mem_alloc((size_t)m.n_slots * sizeof *m.slots);
    m.from = mem_alloc((n + 1) * sizeof *m.from);
    for (size_t k = 0; k < n; k++) {
        m.from[k] = w->trials[trials[k]].n;
    }
    for (int i = 0; i < m.n_slots; i++) {
        m.slots[i].scores = mem_alloc((n + 1) * sizeof *m.slots[i].scores);
        m.slots[i].errors = mem_alloc((n + 1) * sizeof *m.slots[i].errors);
        m.slots[i].again = mem_alloc((n + 1) * sizeof *m.slots[i].again);
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
        free(m.slots[i].again);
    }
    free(m.slots);
    free(m.from);
    if (m.turn < upto) {
        return err_set(err, E_STOP, "cancelled");
    }
    return w->failed && w->failed == w->base.n
               ? err_set(err, l->failed.code, "no image could be run: %s", l->failed.text)
               : OK;
}

/* ---- What is known already ------------------------------------------------------------------ */

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
    size_t from = seen(w, n, trials);
    bool any = false;
    *m = 0;
    for (size_t at = from; at < upto && !any; at++) {
        any = !sheet_get(l->base_sheet, at, &score);
    }
    for (size_t i = 0; i < n; i++) {
        const struct sheet *s = sheet_of(l, trials[i]);
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
    return sheet_verified(sheet_of(l, trial));
}

void lab_keep_verified(const struct lab *l, size_t trial)
{
    sheet_keep_verified(sheet_of(l, trial));
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
            rc = measure(l, w, n, trials, upto, err);
            keep_sheets(l, n, trials);
        }
        free(list);
        return rc;
    }
    for (size_t i = 0; i < n && !rc; i++) { /* one model at a time, as scripts do it */
        open_trials(l, w, 1, trials + i);
        rc = measure(l, w, 1, trials + i, upto, err);
        bench_close(&l->trials[trials[i]]);
    }
    return rc;
}

/* ---- Before a race -------------------------------------------------------------------------- */

/* Shelves and samples follow the images of the sweep. */
static void reorder(struct lab *l, const size_t *order)
{
    size_t n = l->n_images;
    struct sample *samples = mem_alloc((n + 1) * sizeof *samples);
    struct shelf *shelves = mem_alloc((n + 1) * sizeof *shelves);
    for (size_t i = 0; i < n; i++) {
        samples[i] = l->samples[order[i]];
        shelves[i] = l->shelves[order[i]];
    }
    free(l->samples);
    free(l->shelves);
    l->samples = samples;
    l->shelves = shelves;
    if (l->q) {
        question_reorder(l->q, order, samples);
    }
}

void lab_order(struct lab *l, struct sweep *w, const size_t *order)
{
    size_t n = l->n_images;
    struct trial *b = &w->base, old = *b;
    double(*fp32)[2] = w->fp32_terms;
    size_t *images = w->images;
    b->terms = mem_alloc((old.cap + 1) * sizeof *old.terms);
    b->likeness = mem_alloc((old.cap + 1) * sizeof *old.likeness);
    w->fp32_terms = mem_alloc((w->cap_fp32 + 1) * sizeof *fp32);
    w->images = mem_alloc((n + 1) * sizeof *images);
    for (size_t i = 0; i < n; i++) {
        memcpy(b->terms[i], old.terms[order[i]], sizeof old.terms[0]);
        memcpy(w->fp32_terms[i], fp32[order[i]], sizeof fp32[0]);
        b->likeness[i] = old.likeness[order[i]];
        w->images[i] = images[order[i]];
    }
    reorder(l, order);
    free(old.terms);
    free(old.likeness);
    free(fp32);
    free(images);
}

int lab_survey(struct lab *l, struct sweep *w, struct err *err)
{
    size_t n = w->n_images;
    if (w->base.n) { /* by an earlier race, which was cancelled */
        return lab_measure(l, w, 0, NULL, n, err);
    }
    size_t *images = mem_alloc((n + 1) * sizeof *images),
           *order = mem_alloc((n + 1) * sizeof *order);
    memcpy(images, w->images, n * sizeof *images);
    struct sweep *pilot =
        sweep_new(w->kind, w->outcome, w->n_layers, 0, NULL, NULL, w->base.pinned, n, images);
    int rc = lab_measure(l, pilot, 0, NULL, n, err);
    pthread_mutex_lock(&l->s->lock);
    if (!rc && sweep_order(w, pilot, order)) {
        reorder(l, order);
    }
    pthread_mutex_unlock(&l->s->lock);
    sweep_free(pilot);
    free(order);
    return rc ? rc : lab_measure(l, w, 0, NULL, n, err);
}
