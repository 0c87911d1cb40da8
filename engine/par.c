/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * par.c: see par.h. Layers follow each other within microseconds, so a thread that waits for work
 * looks for it a while before it goes to sleep.
 */
#include "engine/par.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

enum { SPINS = 4000 }; /* looks for work before sleeping: some tens of microseconds */

struct par {
    size_t n_helpers;
    pthread_t *helpers;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    atomic_uint round;  /* of work handed out; the low bit is not special */
    atomic_size_t busy; /* helpers that have not finished the round */
    atomic_size_t next; /* item to take */
    atomic_bool quit;
    size_t n;
    void (*fn)(void *ctx, size_t i);
    void *ctx;
};

static void relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

static void work(struct par *p)
{
    for (size_t i; (i = atomic_fetch_add(&p->next, 1)) < p->n;) {
        p->fn(p->ctx, i);
    }
}

/* Waits for a round after `seen`. */
static unsigned next_round(struct par *p, unsigned seen)
{
    for (int i = 0; i < SPINS; i++) {
        if (atomic_load(&p->round) != seen) {
            return atomic_load(&p->round);
        }
        relax();
    }
    pthread_mutex_lock(&p->lock);
    while (atomic_load(&p->round) == seen) {
        pthread_cond_wait(&p->wake, &p->lock);
    }
    pthread_mutex_unlock(&p->lock);
    return atomic_load(&p->round);
}

static void *helper(void *arg)
{
    struct par *p = arg;
    for (unsigned seen = 0;;) {
        seen = next_round(p, seen);
        if (atomic_load(&p->quit)) {
            return NULL;
        }
        work(p);
        atomic_fetch_sub(&p->busy, 1);
    }
}

static void hand_out(struct par *p)
{
    atomic_store(&p->next, 0);
    atomic_store(&p->busy, p->n_helpers);
    pthread_mutex_lock(&p->lock);
    atomic_fetch_add(&p->round, 1);
    pthread_cond_broadcast(&p->wake);
    pthread_mutex_unlock(&p->lock);
}

struct par *par_new(int threads)
{
    if (threads < 2) {
        return NULL;
    }
    struct par *p = mem_alloc(sizeof *p);
    p->helpers = mem_alloc((size_t)threads * sizeof *p->helpers);
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->wake, NULL);
    sigset_t all, old;
    sigfillset(&all); /* signals are for the thread that runs the program */
    pthread_sigmask(SIG_BLOCK, &all, &old);
    while (p->n_helpers < (size_t)threads - 1 &&
           !pthread_create(&p->helpers[p->n_helpers], NULL, helper, p)) {
        p->n_helpers++;
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return p;
}

void par_free(struct par *p)
{
    if (!p) {
        return;
    }
    atomic_store(&p->quit, true);
    hand_out(p);
    for (size_t i = 0; i < p->n_helpers; i++) {
        pthread_join(p->helpers[i], NULL);
    }
    pthread_cond_destroy(&p->wake);
    pthread_mutex_destroy(&p->lock);
    free(p->helpers);
    free(p);
}

size_t par_threads(const struct par *p)
{
    return p ? p->n_helpers + 1 : 1;
}

void par_for(struct par *p, size_t n, void (*fn)(void *ctx, size_t i), void *ctx)
{
    if (!p || n < 2 || !p->n_helpers) {
        for (size_t i = 0; i < n; i++) {
            fn(ctx, i);
        }
        return;
    }
    p->n = n;
    p->fn = fn;
    p->ctx = ctx;
    hand_out(p);
    work(p);
    while (atomic_load(&p->busy)) {
        relax();
    }
}

/* ---- Pieces --------------------------------------------------------------------------------- */

struct pieces {
    size_t n, each;
    void (*fn)(void *ctx, size_t from, size_t to);
    void *ctx;
};

static void run_piece(void *ctx, size_t i)
{
    const struct pieces *p = ctx;
    p->fn(p->ctx, i * p->each, MIN(p->n, (i + 1) * p->each));
}

void par_pieces(struct par *p, size_t n, size_t each, void (*fn)(void *ctx, size_t from, size_t to),
                void *ctx)
{
    struct pieces all = {n, each, fn, ctx};
    if (!p && n) {
        fn(ctx, 0, n);
        return;
    }
    par_for(p, (n + each - 1) / each, run_piece, &all);
}
