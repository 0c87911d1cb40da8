/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * lab_order.c: the base before any trial: on a few images that come next, or on all where these
 * then come in an order that says most first.
 */
#include "tui/lab_inside.h"

#include <stdlib.h>

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
    sweep_permute(w, order);
    reorder(l, order);
}

static int measure_base(struct lab *l, struct sweep *w, size_t upto, struct err *err)
{
    if (w->base.n >= upto) {
        return OK;
    }
    l->survey = true;
    int rc = lab_measure(l, w, 0, NULL, upto, err);
    l->survey = false;
    return rc;
}

int lab_ahead(struct lab *l, struct sweep *w, size_t upto, struct err *err)
{
    enum { TOGETHER = 4 }; /* whatever the threads: what a race finds depends on what was seen */
    upto = MIN((upto + TOGETHER - 1) / TOGETHER * TOGETHER, w->n_images);
    return measure_base(l, w, upto, err);
}

int lab_survey(struct lab *l, struct sweep *w, struct err *err)
{
    enum { PILOT = 8 };
    const size_t n = w->n_images;
    if (!sweep_orders(w)) {
        return OK;
    }
    /* Of few images a single one may make them uneven. */
    int rc = lab_ahead(l, w, PILOT, err);
    while (!rc && w->base.n < n && sweep_is_uneven(w)) {
        rc = measure_base(l, w, MIN(2 * w->base.n, n), err);
    }
    size_t *order = mem_alloc((n + 1) * sizeof *order);
    pthread_mutex_lock(&l->s->lock);
    if (!rc && sweep_order(w, order)) {
        reorder(l, order);
    }
    pthread_mutex_unlock(&l->s->lock);
    free(order);
    return rc;
}
