/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * par.h: private to engine/: a few threads that share the work inside one layer of one run. Runs
 * over many images do without: there each image has its own thread.
 */
#ifndef ENGINE_PAR_H
#define ENGINE_PAR_H

#include "engine/engine.h"

/* fn(ctx, i) for every i < n, in any order and on any thread of the pool; returns when all are
 * done. Each thread begins with a range of its own, the same one in every layer, so that much of
 * what a layer reads is still in the cache of the thread that wrote it. p NULL: one after the
 * other. Calls write to places of their own, so results do not depend on the number of threads. */
void par_for(struct par *p, size_t n, void (*fn)(void *ctx, size_t i), void *ctx);
/* The same; fn(ctx, i, thread) also gets the number, below par_threads(), of the thread it runs on.
 */
void par_for_on(struct par *p, size_t n, void (*fn)(void *ctx, size_t i, size_t thread), void *ctx);
/* fn(ctx, from, to) for pieces [from, to) of n elements, about `each` of them in one. */
void par_pieces(struct par *p, size_t n, size_t each, void (*fn)(void *ctx, size_t from, size_t to),
                void *ctx);
/* Threads that work on a par_for(), the caller's included; 1 for NULL. */
size_t par_threads(const struct par *p);

#endif
