/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * stack.c: replays of several plans on one sample, in step: where some have the same layer to
 * execute, on activations of their own, and reading its weights takes most of the time, they are
 * computed as one. Results have the bits that each replay has by itself, see op.by_sample.
 */
#include "engine/replay.h"

#include <stdlib.h>

struct lane {
    struct replaying x;
    struct replay_task *task;
    bool open;
    size_t place; /* of the layer that it waits with, see place_in_base() */
};

/* ---- Which layers ---------------------------------------------------------------------------- */

/* Where the layer that a run executes next stands in the base, known by its packed weights, which
 * both share; SIZE_MAX: it is not there. */
static size_t place_in_base(const struct replaying *x)
{
    const struct plan *p = x->r->p, *base = x->r->base;
    const int i = run_next(x->run);
    if (i < 0 || !base || !p->steps[i].state || !p->steps[i].op->by_sample || x->run->tails[i] ||
        x->run->missing || p->g->nodes[i].n_out != 1 || p->g->nodes[i].out[0] < 0 ||
        p->o.kernels != KERNELS_FAST) {
        return SIZE_MAX;
    }
    for (size_t k = 0; k < base->g->n_nodes; k++) {
        if (base->steps[k].state == p->steps[i].state) {
            return k;
        }
    }
    return SIZE_MAX;
}

/* Weights that are far larger than what they are multiplied with: the product is faster than they
 * come from memory. */
static bool is_worth_it(const struct op_call *c)
{
    enum { TIMES = 2 };
    size_t weights = 0;
    for (int k = 1; k < c->n_in; k++) {
        weights += c->in[k] ? c->in[k]->size : 0;
    }
    return weights / TIMES > c->in[0]->size;
}

/* The call of the node that a run executes next; false: not to be stacked. */
static bool read_call(const struct replaying *x, struct slots *s, struct op_call *c)
{
    const struct plan *p = x->r->p;
    const size_t i = (size_t)run_next(x->run);
    const struct node *n = &p->g->nodes[i];
    for (int k = 0; k < n->n_in; k++) {
        const int v = n->in[k];
        s->in[k] = v < 0 ? NULL : k ? plan_constant(p, v) : x->run->values[v];
        if (v >= 0 && !s->in[k]) {
            return false;
        }
    }
    *c = plan_call(p, i, s->in, s->out);
    const struct tensor *t = c->n_in ? c->in[0] : NULL;
    const bool wide = t && x->run->held && x->run->held[n->in[0]];
    return t && !wide && t->n && (t->channels_last || t->rank == 2) &&
           p->steps[i].op->by_sample(c) && is_worth_it(c);
}

static bool can_stack(const struct replaying *x)
{
    struct slots s;
    struct op_call c;
    slots_init(&s, &x->r->p->g->nodes[run_next(x->run)]);
    const bool can = read_call(x, &s, &c);
    slots_fini(&s);
    return can;
}

/* What the first input of the layer is, that a run executes next. */
static const struct tensor *input_of(const struct replaying *x)
{
    return x->run->values[x->r->p->g->nodes[run_next(x->run)].in[0]];
}

/* Whether samples of both fit into one tensor. */
static bool fit(const struct tensor *a, const struct tensor *b)
{
    bool same = a->dtype == b->dtype && a->rank == b->rank && a->channels_last == b->channels_last;
    for (int d = 1; d < a->rank && same; d++) {
        same = a->dims[d] == b->dims[d];
    }
    return same;
}

/* ---- One layer of several runs --------------------------------------------------------------- */

static int stack_inputs(size_t n, struct lane *const *lanes, struct budget *b, struct tensor **out,
                        struct err *err)
{
    int64_t dims[MAX_RANK];
    const struct tensor *first = input_of(&lanes[0]->x);
    memcpy(dims, first->dims, sizeof dims);
    dims[0] = 0;
    for (size_t k = 0; k < n; k++) {
        dims[0] += input_of(&lanes[k]->x)->dims[0];
    }
    int rc = tensor_new(first->dtype, first->rank, dims, b, out, err);
    char *to = rc ? NULL : (*out)->data;
    for (size_t k = 0; k < n && !rc; k++) {
        const struct tensor *t = input_of(&lanes[k]->x);
        memcpy(to, t->data, t->size);
        to += t->size;
    }
    if (!rc) {
        (*out)->channels_last = first->channels_last;
    }
    return rc;
}

/* Gives every run its samples of the result, as something that it need not make any more. */
static int share_out(size_t n, struct lane *const *lanes, struct tensor *y, struct err *err)
{
    size_t from = 0;
    int rc = OK;
    for (size_t k = 0; k < n && !rc; k++) {
        struct run *r = lanes[k]->x.run;
        const size_t samples = (size_t)input_of(&lanes[k]->x)->dims[0];
        rc = tensor_samples(y, from, samples, &r->tails[run_next(r)], err);
        from += samples;
    }
    return rc;
}

/* On failure the runs make the results, or tell what is wrong, by themselves. */
static void run_stack(size_t n, struct lane *const *lanes)
{
    const struct replaying *x = &lanes[0]->x;
    const struct plan *p = x->r->p;
    const size_t i = (size_t)run_next(x->run);
    struct slots s;
    struct op_call c;
    struct tensor *in = NULL;
    slots_init(&s, &p->g->nodes[i]);
    int rc = read_call(x, &s, &c) ? OK : E_STATE;
    rc = rc ? rc : stack_inputs(n, lanes, p->o.budget, &in, NULL);
    if (!rc) {
        s.in[0] = in;
        c.channels_last = in->channels_last;
        rc = call_run(p, i, &c, NULL);
    }
    rc = rc ? rc : share_out(n, lanes, s.out[0], NULL);
    if (!rc && x->o->together) {
        *x->o->together += n;
    }
    tensor_free(s.out[0]);
    tensor_free(in);
    slots_fini(&s);
}

/* ---- All runs -------------------------------------------------------------------------------- */

static void close_lane(struct lane *l, int rc)
{
    l->open = false;
    l->task->rc = replay_end(&l->x, rc, l->task->outputs, &l->task->err);
}

/* Goes on to the next layer that might be stacked, or to the end. */
static void advance(struct lane *l)
{
    bool more = true;
    int rc = OK;
    while (more && !rc) {
        l->place = place_in_base(&l->x);
        if (l->place != SIZE_MAX && can_stack(&l->x)) {
            return;
        }
        rc = replay_step(&l->x, &more, &l->task->err);
    }
    close_lane(l, rc);
}

/* The runs that wait for the layer that comes first in the base. */
static size_t choose(size_t n, struct lane *lanes, struct lane **out)
{
    size_t count = 0, first = SIZE_MAX;
    for (size_t k = 0; k < n; k++) {
        first = lanes[k].open ? MIN(first, lanes[k].place) : first;
    }
    for (size_t k = 0; k < n; k++) {
        if (lanes[k].open && lanes[k].place == first &&
            (!count || fit(input_of(&out[0]->x), input_of(&lanes[k].x)))) {
            out[count++] = &lanes[k];
        }
    }
    return count;
}

void replay_run_many(size_t n, struct replay_task *tasks, const struct tensor *const *inputs,
                     struct activations *known, const struct replay_options *o)
{
    struct lane *lanes = mem_alloc((n + 1) * sizeof *lanes);
    struct lane **some = mem_alloc((n + 1) * sizeof *some);
    for (size_t k = 0; k < n; k++) {
        struct lane *l = &lanes[k];
        *l = (struct lane){.task = &tasks[k], .open = true};
        int rc = replay_begin(&l->x, l->task->replay, inputs, known, o, &l->task->err);
        if (rc) {
            close_lane(l, rc);
        } else {
            advance(l);
        }
    }
    for (size_t count; (count = choose(n, lanes, some));) {
        if (count > 1) {
            run_stack(count, some);
        }
        for (size_t k = 0; k < count; k++) {
            bool more;
            int rc = replay_step(&some[k]->x, &more, &some[k]->task->err);
            if (rc) {
                close_lane(some[k], rc);
            } else {
                advance(some[k]);
            }
        }
    }
    free(some);
    free(lanes);
}
