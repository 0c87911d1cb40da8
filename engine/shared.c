/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * shared.c: what plans of nearly equal graphs have in common: packed weights, folded and aligned
 * constants, each made once and known by its identity. A thing goes with the last plan that uses
 * it, so a store never holds more than its plans would.
 */
#include "engine/plan.h"

#include <pthread.h>
#include <stdlib.h>

struct shared {
    struct digest id;
    size_t refs; /* plans; under the lock of the store */
    struct shared *next;
    const struct op *op; /* whose state it is */
    void *state;
    struct tensor *t; /* or a constant */
    size_t n_inputs;  /* what a state was made from, kept for it */
    struct tensor **inputs;
};

struct plan_store {
    pthread_mutex_t lock;
    size_t refs; /* the maker's and those of plans */
    size_t n, cap;
    struct shared **slots; /* chains by digest */
};

struct plan_store *plan_store_new(void)
{
    struct plan_store *s = mem_alloc(sizeof *s);
    pthread_mutex_init(&s->lock, NULL);
    s->refs = 1;
    s->cap = 256;
    s->slots = mem_alloc(s->cap * sizeof *s->slots);
    return s;
}

struct plan_store *plan_store_ref(struct plan_store *s)
{
    pthread_mutex_lock(&s->lock);
    s->refs++;
    pthread_mutex_unlock(&s->lock);
    return s;
}

void plan_store_free(struct plan_store *s)
{
    if (!s) {
        return;
    }
    pthread_mutex_lock(&s->lock);
    bool last = --s->refs == 0;
    pthread_mutex_unlock(&s->lock);
    if (last) {
        pthread_mutex_destroy(&s->lock);
        free(s->slots);
        free(s);
    }
}

static void shared_free(struct shared *x)
{
    if (x->state && x->op->release) {
        x->op->release(x->state);
    }
    for (size_t i = 0; i < x->n_inputs; i++) {
        tensor_free(x->inputs[i]);
    }
    free(x->inputs);
    tensor_free(x->t);
    free(x);
}

static struct shared **find(struct plan_store *s, struct digest id)
{
    struct shared **at = &s->slots[id.lo & (s->cap - 1)];
    while (*at && !digest_equal((*at)->id, id)) {
        at = &(*at)->next;
    }
    return at;
}

static void grow(struct plan_store *s)
{
    struct plan_store old = *s;
    s->cap *= 2;
    s->slots = mem_alloc(s->cap * sizeof *s->slots);
    for (size_t i = 0; i < old.cap; i++) {
        for (struct shared *x = old.slots[i], *next; x; x = next) {
            next = x->next;
            x->next = s->slots[x->id.lo & (s->cap - 1)];
            s->slots[x->id.lo & (s->cap - 1)] = x;
        }
    }
    free(old.slots);
}

/* One more reference, held by the plan. */
static void hold(struct plan *p, struct shared *x)
{
    x->refs++;
    p->shared = mem_push(p->shared, p->n_shared, &p->cap_shared, sizeof *p->shared);
    p->shared[p->n_shared++] = x;
}

static struct shared *take(struct plan *p, struct digest id)
{
    struct plan_store *s = p->o.store;
    pthread_mutex_lock(&s->lock);
    struct shared *x = *find(s, id);
    if (x) {
        hold(p, x);
    }
    pthread_mutex_unlock(&s->lock);
    return x;
}

/* Puts x in, unless another thread was faster: then that one is used and x goes. */
static struct shared *put(struct plan *p, struct shared *x)
{
    struct plan_store *s = p->o.store;
    pthread_mutex_lock(&s->lock);
    struct shared *known = *find(s, x->id);
    if (!known) {
        if (++s->n > s->cap) {
            grow(s);
        }
        *find(s, x->id) = x;
    }
    hold(p, known ? known : x);
    pthread_mutex_unlock(&s->lock);
    if (known) {
        shared_free(x);
    }
    return known ? known : x;
}

void plan_let_go(struct plan *p)
{
    struct plan_store *s = p->o.store;
    for (size_t i = 0; i < p->n_shared; i++) {
        struct shared *x = p->shared[i];
        pthread_mutex_lock(&s->lock);
        bool last = --x->refs == 0;
        if (last) {
            *find(s, x->id) = x->next;
            s->n--;
        }
        pthread_mutex_unlock(&s->lock);
        if (last) {
            shared_free(x);
        }
    }
    free(p->shared);
}

/* ---- What is shared ------------------------------------------------------------------------- */

struct tensor *plan_shared_constant(struct plan *p, struct digest id)
{
    struct shared *x = take(p, id);
    return x ? tensor_ref(x->t) : NULL;
}

struct tensor *plan_share_constant(struct plan *p, struct digest id, struct tensor *t)
{
    struct shared *x = mem_alloc(sizeof *x);
    *x = (struct shared){.id = id, .t = t};
    return tensor_ref(put(p, x)->t);
}

/* The state depends on the node, on its constant inputs and on the numerics alone. */
static struct digest state_identity(const struct plan *p, size_t i, const struct op_prep *prep)
{
    struct digest d = p->node_ids[i];
    digest_text(&d, "state");
    digest_int(&d, prep->numerics);
    for (int k = 0; k < prep->n_in; k++) {
        digest_int(&d, prep->constants[k] != NULL);
        if (prep->constants[k]) {
            digest_add(&d, &p->ids[prep->node->in[k]], sizeof *p->ids);
        }
    }
    return d;
}

int plan_share_state(struct plan *p, size_t i, const struct op_prep *prep, void **state,
                     struct err *err)
{
    struct digest id = state_identity(p, i, prep);
    struct shared *x = take(p, id);
    if (x) {
        *state = x->state;
        return OK;
    }
    void *made = NULL;
    int rc = p->steps[i].op->prepare(prep, &made, err);
    if (rc) {
        return rc;
    }
    x = mem_alloc(sizeof *x);
    *x = (struct shared){.id = id, .op = p->steps[i].op, .state = made};
    x->inputs = mem_alloc(((size_t)prep->n_in + 1) * sizeof *x->inputs);
    for (int k = 0; k < prep->n_in; k++) {
        if (prep->constants[k]) {
            x->inputs[x->n_inputs++] = tensor_ref(prep->constants[k]);
        }
    }
    *state = put(p, x)->state;
    return OK;
}
