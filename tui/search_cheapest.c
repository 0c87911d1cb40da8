/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * search_cheapest.c: fewer bits for the pins that a search has found, as far as its goal allows.
 */
#include <stdlib.h>

#include "tui/lab.h"
#include "tui/sweep_run.h"

enum { FIRST_IMAGES = 4 }; /* that a trial sees before it may be given up */

struct cheapest {
    struct session *s;
    struct lab *lab;
    const struct sweep_choice *c;
    const struct timespec *began;
};

static bool late(const struct cheapest *x)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    double passed =
        (double)(now.tv_sec - x->began->tv_sec) + 1e-9 * (double)(now.tv_nsec - x->began->tv_nsec);
    struct search *q = x->s->search;
    q->out_of_time |= x->c->seconds > 0 && passed >= x->c->seconds;
    return q->out_of_time;
}

/* The trial on as many images as it takes to see that it misses the goal, else on all. */
static int meets(const struct cheapest *x, size_t at, bool *met, struct err *err)
{
    struct sweep *w = x->s->sweep;
    struct search *q = x->s->search;
    int rc = OK;
    *met = true;
    for (size_t n = 0; n < w->n_images && *met && !rc;) {
        size_t upto = MIN(n + MAX(n, (size_t)FIRST_IMAGES), w->n_images);
        rc = lab_measure(x->lab, w, 1, &at, upto, err);
        q->runs += upto - n;
        n = upto;
        const struct trial *t = &w->trials[at];
        *met = !rc && !t->error && t->n >= n && goal_chance(&q->goal, w, t) > 0;
    }
    lab_close(x->lab, at);
    *met = *met && goal_met(&q->goal, w, &w->trials[at]);
    return rc;
}

/* The answer with one of its pins in another precision. */
static size_t try_as(const struct cheapest *x, size_t layer, enum precision as)
{
    struct sweep *w = x->s->sweep;
    pthread_mutex_lock(&x->s->lock);
    size_t at = sweep_try(w, layer, w->trials[x->s->search->found].pinned);
    struct trial *t = &w->trials[at];
    memcpy(t->as, w->trials[x->s->search->found].as, w->n_layers);
    t->as[layer] = (uint8_t)as;
    pthread_mutex_unlock(&x->s->lock);
    return at;
}

static enum precision at_cost(int cost)
{
    enum precision as = PREC_FP32;
    for (int k = 0; k < N_PRECISIONS; k++) {
        as = precisions[k].cost == cost ? (enum precision)k : as;
    }
    return as;
}

/* The cheapest precision of one pin that meets the goal becomes part of the answer. */
static int cheapen(const struct cheapest *x, size_t layer, struct err *err)
{
    struct search *q = x->s->search;
    const struct trial *found = &x->s->sweep->trials[q->found];
    int most = precisions[found->as[layer]].cost, rc = OK;
    bool met = false;
    for (int cost = 0; cost < most && !met && !rc && !late(x); cost++) {
        size_t at = try_as(x, layer, at_cost(cost));
        rc = meets(x, at, &met, err);
        pthread_mutex_lock(&x->s->lock);
        q->found = met ? at : q->found;
        pthread_mutex_unlock(&x->s->lock);
    }
    return rc;
}

int search_cheapest(struct session *s, struct lab *lab, const struct sweep_choice *c,
                    const struct timespec *began, struct err *err)
{
    const struct cheapest x = {s, lab, c, began};
    const struct search *q = s->search;
    size_t n = c->cheapest && q->reached ? s->sweep->n_layers : 0;
    bool *left = mem_alloc(n + 1);
    int rc = OK;
    for (size_t k = 0; k < n; k++) {
        left[k] = s->sweep->trials[q->found].pinned[k] && q->candidate[k];
    }
    for (size_t layer = 0; layer < n && !rc;) {
        layer = n;
        for (size_t k = 0; k < n; k++) {
            bool more = left[k] && (layer == n || s->costs[k].macs > s->costs[layer].macs);
            layer = more ? k : layer;
        }
        if (layer < n) {
            left[layer] = false;
            rc = cheapen(&x, layer, err);
        }
    }
    free(left);
    return rc;
}
