/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * run_joined.c: runs calls of several nodes at once. What they make waits for their own steps.
 */
#include "engine/plan.h"
#include "engine/rows.h"

enum { MOST = BESIDE_MOST };
_Static_assert((int)ROWS_MOST <= (int)MOST, "room for either");

/* Calls of the nodes that are joined to a first one; they lack nothing but input 0. */
struct group {
    int n; /* with the first */
    int nodes[MOST];
    struct op_call room[MOST], *calls[MOST];
    struct slots slots[MOST];
};

/* Not all of it, which is large. */
static void begin_group(struct group *g, struct op_call *first)
{
    g->n = 1;
    g->calls[0] = first;
}

static void add_call(const struct run *r, struct group *g, int k)
{
    const struct node *node = &r->p->g->nodes[k];
    struct slots *s = &g->slots[g->n];
    struct op_call *c = &g->room[g->n];
    slots_init(s, node);
    for (int m = 1; m < node->n_in; m++) {
        s->in[m] = node->in[m] >= 0 ? plan_constant(r->p, node->in[m]) : NULL;
    }
    *c = plan_call(r->p, (size_t)k, s->in, s->out);
    c->par = g->calls[0]->par;
    run_want(r, (size_t)k, c);
    g->nodes[g->n] = k;
    g->calls[g->n++] = c;
}

/* The first `made` calls have their outputs. */
static void end_group(struct run *r, struct group *g, int made)
{
    for (int k = 1; k < g->n; k++) {
        const int node = g->nodes[k];
        const struct op_call *c = g->calls[k];
        if (k < made) {
            r->made[node] = true;
            r->tails[node] = c->out[0];
            if (c->tail) {
                r->tails[r->p->steps[node].tail] = c->tail_out;
            }
        }
        slots_fini(&g->slots[k]);
    }
}

static bool run_line(struct run *r, size_t i, struct op_call *c)
{
    struct group g;
    begin_group(&g, c);
    for (int k = r->p->steps[i].behind; k >= 0 && g.n < ROWS_MOST; k = r->p->steps[k].behind) {
        add_call(r, &g, k);
    }
    const int made = rows_run(g.calls, g.n);
    end_group(r, &g, made);
    return made;
}

static bool run_beside(struct run *r, size_t i, struct op_call *c)
{
    struct group g;
    begin_group(&g, c);
    for (int k = r->p->steps[i].beside; k >= 0; k = r->p->steps[k].beside) {
        add_call(r, &g, k);
        g.calls[g.n - 1]->in[0] = c->in[0];
        g.calls[g.n - 1]->channels_last = c->channels_last;
    }
    const bool made = c->op->beside(g.calls, g.n);
    end_group(r, &g, made ? g.n : 0);
    return made;
}

bool run_joined(struct run *r, size_t i, struct op_call *c)
{
    const struct step *s = &r->p->steps[i];
    if (r->skip || (r->o && r->o->swap)) { /* not all may run, or not on what is made here */
        return false;
    }
    return (s->behind >= 0 && run_line(r, i, c)) || (s->beside >= 0 && run_beside(r, i, c));
}
