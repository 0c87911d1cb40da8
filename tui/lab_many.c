/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * lab_many.c: trials over images: threads take trials of open images, some at a time, and open
 * another image when none is left. Scores are added in image order.
 */
#include "tui/lab_inside.h"

#include <stdlib.h>

/* ---- Many images ---------------------------------------------------------------------------- */

/* Trials that a thread runs in step: most of what there is to gain, and their activations do not
 * take much memory. */
enum { TOGETHER = 8 };

/* An image under way. */
struct slot {
    enum { SLOT_FREE, SLOT_CHOSEN, SLOT_OPENING, SLOT_OPEN, SLOT_DONE } state;
    size_t at, next, left;      /* image; next trial to take; trials not finished */
    bool alone;                 /* it is opened by the only thread at work */
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
    int active, most; /* threads at work, and how many may be */
    bool alone;       /* memory is short: one thread, one trial at a time */
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

/* Frees what is kept of images that are not under way. */
static void clear_shelves(struct measuring *m)
{
    struct lab *l = m->l;
    for (size_t at = 0; at < l->n_images; at++) {
        struct shelf *x = &l->shelves[at];
        bool busy = false;
        for (int i = 0; i < m->n_slots; i++) {
            busy = busy || (m->slots[i].state != SLOT_FREE && m->slots[i].at == at);
        }
        if (!busy) {
            atomic_fetch_sub(&l->kept, x->kept);
            shelf_clear(l, x);
        }
    }
}

/* Whether what failed for lack of memory is to be tried again, with all the memory that there is.
 * alone: it had that. Called with the lock held. */
static bool try_alone(struct measuring *m, int rc, bool alone)
{
    if (rc != E_LIMIT || alone) {
        return false;
    }
    m->alone = true;
    m->most = 1;
    atomic_store(&m->l->tight, true);
    clear_shelves(m);
    return true;
}

/* Whether all that is to be measured on an image was measured before. scores: as in a slot. */
static bool image_known(const struct lab *l, const struct sweep *w, size_t n, const size_t *trials,
                        size_t at, struct image_score *scores)
{
    bool known = sheet_get(l->base_sheet, at, &scores[n]);
    for (size_t k = 0; k < n && known; k++) {
        const struct trial *t = &w->trials[trials[k]];
        known = t->error || t->n > at || sheet_get(lab_sheet(l, trials[k]), at, &scores[k]);
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

/* Images are opened in their order, so that the first one which fails is the same whatever thread
 * is done first. */
static void note_failed(struct lab *l, size_t at, int rc, const struct err *err)
{
    if (rc && rc != E_STOP && (!l->failed.code || at < l->failed_at)) {
        l->failed = *err;
        l->failed_at = at;
    }
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
    const bool refused = rc && atomic_load(&l->own_failed);
    m->stopped = m->stopped || rc == E_STOP || refused;
    if (!refused && try_alone(m, rc, s->alone)) {
        s->state = SLOT_CHOSEN;
        return;
    }
    note_failed(l, s->at, rc, &err);
    if (rc == E_STOP || refused) { /* it has not failed, it was not looked at */
        shelf_close(l, s->at);
        return;
    }
    count_runs(l, 1);
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

/* What is to be run of n trials of a slot, at `trials`; the others have their score or error. */
static size_t list_tasks(const struct measuring *m, struct slot *s, size_t n, const size_t *trials,
                         struct task *tasks)
{
    size_t count = 0;
    for (size_t i = 0; i < n; i++) {
        const size_t k = trials[i];
        const struct bench *b = &m->l->trials[m->trials[k]];
        const struct sheet *sheet = lab_sheet(m->l, m->trials[k]);
        const bool known = sheet_get(sheet, s->at, &s->scores[k]);
        if (m->from[k] <= s->at && !known && b->plan) {
            tasks[count++] = (struct task){.bench = b, .trial = k, .score = &s->scores[k]};
        }
    }
    return count;
}

/* Whether what came of a trial is final. */
static bool end_task(struct measuring *m, struct slot *s, const struct task *t, bool alone)
{
    struct lab *l = m->l;
    if (!t->rc) {
        sheet_put(lab_sheet(l, m->trials[t->trial]), s->at, &s->scores[t->trial]);
    }
    m->stopped = m->stopped || t->rc == E_STOP;
    if (try_alone(m, t->rc, alone) || (t->rc == E_LIMIT && shelf_shrink(l, &l->shelves[s->at]))) {
        s->again[s->n_again++] = t->trial;
        return false;
    }
    s->errors[t->trial] = t->rc && t->rc != E_STOP ? mem_dup(t->err.text) : NULL;
    return true;
}

static void run_trials(struct measuring *m, struct slot *s, size_t n, const size_t *trials)
{
    struct lab *l = m->l;
    struct task tasks[TOGETHER];
    pthread_mutex_lock(&m->lock);
    const size_t count = list_tasks(m, s, n, trials, tasks);
    const bool alone = m->alone;
    pthread_mutex_unlock(&m->lock);
    shelf_trials(l, s->at, count, tasks);
    pthread_mutex_lock(&m->lock);
    size_t done = n;
    for (size_t i = 0; i < count; i++) {
        done -= !end_task(m, s, &tasks[i], alone);
    }
    count_runs(l, done);
    s->left -= done;
    if (!s->left && !m->stopped) {
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

/* Trials of an open image, of which each thread may take a part; returns how many. */
static size_t choose_trials(const struct measuring *m, struct slot *s, size_t *trials)
{
    if (s->state != SLOT_OPEN) {
        return 0;
    }
    if (s->n_again) {
        *trials = s->again[--s->n_again];
        return 1;
    }
    const size_t threads = (size_t)m->n_slots, left = m->n - s->next;
    const size_t n =
        m->alone ? MIN(left, (size_t)1) : MIN((left + threads - 1) / threads, (size_t)TOGETHER);
    for (size_t i = 0; i < n; i++) {
        trials[i] = s->next++;
    }
    return n;
}

/* Something to do: *n trials of an open image, or an image to open (*n 0); false when there is
 * nothing now. Called with m->lock held. */
static bool choose(struct measuring *m, struct slot **slot, size_t *n, size_t *trials)
{
    int used = 0;
    struct slot *image = NULL;
    for (int i = 0; i < m->n_slots && m->active < m->most; i++) {
        *slot = &m->slots[i];
        if ((*n = choose_trials(m, *slot, trials))) {
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
    image->alone = m->alone;
    *slot = image;
    return true;
}

static void *measure_worker(void *arg)
{
    struct measuring *m = arg;
    pthread_mutex_lock(&m->lock);
    while (m->turn < m->upto && !m->stopped) {
        struct slot *s;
        size_t n, trials[TOGETHER];
        if (!choose(m, &s, &n, trials)) {
            pthread_cond_wait(&m->changed, &m->lock);
            continue;
        }
        m->active++;
        pthread_mutex_unlock(&m->lock);
        if (n) {
            run_trials(m, s, n, trials);
        } else {
            open_image(m, s);
        }
        m->active--; /* both come back with the lock */
        m->stopped = m->stopped || cancelled(&m->l->s->job.cancel);
        pthread_cond_broadcast(&m->changed);
    }
    pthread_cond_broadcast(&m->changed);
    pthread_mutex_unlock(&m->lock);
    return NULL;
}

size_t lab_seen(const struct sweep *w, size_t n, const size_t *trials)
{
    size_t least = n ? SIZE_MAX : w->base.n;
    for (size_t i = 0; i < n; i++) {
        least = w->trials[trials[i]].error ? least : MIN(least, w->trials[trials[i]].n);
    }
    return least == SIZE_MAX ? w->base.n : least;
}

size_t lab_runs(const struct sweep *w, size_t n, const size_t *trials, size_t upto)
{
    size_t from = lab_seen(w, n, trials);
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

int lab_measure_open(struct lab *l, struct sweep *w, size_t n, const size_t *trials, size_t upto,
                     struct err *err)
{
    struct measuring m = {.l = l, .w = w, .n = n, .trials = trials, .upto = upto};
    m.next = m.turn = lab_seen(w, n, trials);
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
    if (m.turn < upto && atomic_load(&l->own_failed)) {
        return err_set(err, l->failed.code, "%s", l->failed.text);
    }
    if (m.turn < upto) {
        return err_set(err, E_STOP, "cancelled");
    }
    return w->failed && w->failed == w->base.n
               ? err_set(err, l->failed.code, "no image could be run: %s", l->failed.text)
               : OK;
}
