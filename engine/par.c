/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * par.c: see par.h. Layers follow each other within microseconds, so a thread that waits for work
 * looks for it a while before it goes to sleep. Who hands out work does not wait for helpers that
 * have not come for it: on a machine that is busy otherwise that could take milliseconds.
 */
#include "engine/par.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

enum {
    SPINS = 4000, /* looks for work before sleeping: some tens of microseconds */
    OPEN = 1,
    HELPER = 2, /* one of those at work */
    ROUND_BIT = 32,
};

struct par {
    size_t n_helpers;
    pthread_t *threads;
    struct helper *helpers;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    /* Number of the round of work, whether it is open to helpers, and how many are at it. */
    atomic_uint_fast64_t gate;
    atomic_bool quit;
    struct range *ranges; /* one per thread */
    void (*fn)(void *ctx, size_t i, size_t thread);
    void *ctx;
};

/* Items that a thread takes first; what is left of them others take in the end. */
struct range {
    atomic_size_t next;
    size_t end;
    char apart[112]; /* so that no two are in one cache line */
};

struct helper {
    struct par *par;
    size_t number;
};

static void relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

static void work(struct par *p, size_t thread)
{
    const size_t all = par_threads(p);
    for (size_t k = 0; k < all; k++) {
        struct range *r = &p->ranges[(thread + k) % all];
        for (size_t i; (i = atomic_fetch_add(&r->next, 1)) < r->end;) {
            p->fn(p->ctx, i, thread);
        }
    }
}

static uint64_t round_of(struct par *p)
{
    return atomic_load(&p->gate) >> ROUND_BIT;
}

/* Waits for a round after `seen`. */
static uint64_t next_round(struct par *p, uint64_t seen)
{
    for (int i = 0; i < SPINS; i++) {
        if (round_of(p) != seen) {
            return round_of(p);
        }
        relax();
    }
    pthread_mutex_lock(&p->lock);
    while (round_of(p) == seen) {
        pthread_cond_wait(&p->wake, &p->lock);
    }
    pthread_mutex_unlock(&p->lock);
    return round_of(p);
}

/* Takes part in the round if it is still open. */
static void join(struct par *p, size_t thread)
{
    uint_fast64_t gate = atomic_load(&p->gate);
    while (gate & OPEN) {
        if (atomic_compare_exchange_weak(&p->gate, &gate, gate + HELPER)) {
            work(p, thread);
            atomic_fetch_sub(&p->gate, HELPER);
            return;
        }
    }
}

static void *helper(void *arg)
{
    const struct helper *h = arg;
    struct par *p = h->par;
    for (uint64_t seen = 0;;) {
        seen = next_round(p, seen);
        if (atomic_load(&p->quit)) {
            return NULL;
        }
        join(p, h->number);
    }
}

/* No helper is at work now. */
static void new_round(struct par *p, unsigned open)
{
    pthread_mutex_lock(&p->lock);
    atomic_store(&p->gate, ((round_of(p) + 1) << ROUND_BIT) | open);
    pthread_cond_broadcast(&p->wake);
    pthread_mutex_unlock(&p->lock);
}

struct par *par_new(int threads)
{
    if (threads < 2) {
        return NULL;
    }
    struct par *p = mem_alloc(sizeof *p);
    p->threads = mem_alloc((size_t)threads * sizeof *p->threads);
    p->helpers = mem_alloc((size_t)threads * sizeof *p->helpers);
    p->ranges = mem_alloc((size_t)threads * sizeof *p->ranges);
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->wake, NULL);
    sigset_t all, old;
    sigfillset(&all); /* signals are for the thread that runs the program */
    pthread_sigmask(SIG_BLOCK, &all, &old);
    for (size_t i = 0; i + 1 < (size_t)threads; i++) {
        p->helpers[i] = (struct helper){p, i + 1};
        if (pthread_create(&p->threads[i], NULL, helper, &p->helpers[i])) {
            break;
        }
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
    new_round(p, 0);
    for (size_t i = 0; i < p->n_helpers; i++) {
        pthread_join(p->threads[i], NULL);
    }
    pthread_cond_destroy(&p->wake);
    pthread_mutex_destroy(&p->lock);
    free(p->threads);
    free(p->helpers);
    free(p->ranges);
    free(p);
}

size_t par_threads(const struct par *p)
{
    return p ? p->n_helpers + 1 : 1;
}

void par_for_on(struct par *p, size_t n, void (*fn)(void *ctx, size_t i, size_t thread), void *ctx)
{
    if (!p || n < 2 || !p->n_helpers) {
        for (size_t i = 0; i < n; i++) {
            fn(ctx, i, 0);
        }
        return;
    }
    const size_t all = par_threads(p);
    for (size_t i = 0; i < all; i++) {
        atomic_store(&p->ranges[i].next, i * n / all);
        p->ranges[i].end = (i + 1) * n / all;
    }
    p->fn = fn;
    p->ctx = ctx;
    new_round(p, OPEN);
    work(p, 0);
    atomic_fetch_and(&p->gate, ~(uint_fast64_t)OPEN);
    while ((uint32_t)atomic_load(&p->gate)) { /* helpers */
        relax();
    }
}

/* ---- Without the thread --------------------------------------------------------------------- */

struct items {
    void (*fn)(void *ctx, size_t i);
    void *ctx;
};

static void run_one(void *ctx, size_t i, size_t thread)
{
    const struct items *all = ctx;
    (void)thread;
    all->fn(all->ctx, i);
}

void par_for(struct par *p, size_t n, void (*fn)(void *ctx, size_t i), void *ctx)
{
    struct items all = {fn, ctx};
    par_for_on(p, n, run_one, &all);
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
