/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * join.c: what the kernel of a node can make beside its result: activations behind it, nodes that
 * follow row by row, products with the same input. The nodes stay, and have results of their own.
 */
#include "engine/chain.h"
#include "engine/plan.h"
#include "engine/rows.h"

#include <math.h>
#include <stdlib.h>

/* The range that an activation behind a float operator clamps to; false for any other node. */
static bool tail_range(const struct plan *p, const struct node *n, struct op_tail *r)
{
    *r = (struct op_tail){-INFINITY, INFINITY};
    if (n->domain[0] || n->n_out != 1) {
        return false;
    }
    if (strcmp(n->op, "Relu") == 0) {
        r->lo = 0;
        return true;
    }
    if (strcmp(n->op, "Clip") != 0) {
        return false;
    }
    r->lo = attr_float(n, "min", r->lo);
    r->hi = attr_float(n, "max", r->hi);
    for (int k = 1; k < n->n_in; k++) {
        const struct tensor *c = n->in[k] >= 0 ? plan_constant(p, n->in[k]) : NULL;
        if (n->in[k] >= 0 && (!c || c->dtype != DT_F32 || c->n != 1)) {
            return false;
        }
        *(k == 1 ? &r->lo : &r->hi) = c ? (float)tensor_f64(c, 0) : k == 1 ? r->lo : r->hi;
    }
    return r->lo <= r->hi;
}

/* Joins activations to the operator in front of them, where its kernel can apply them. */
static void join_tails(struct plan *p)
{
    for (size_t j = 0; j < p->g->n_nodes; j++) {
        const struct node *n = &p->g->nodes[j];
        int i = n->n_in > 0 && n->in[0] >= 0 ? p->g->values[n->in[0]].producer : -1;
        struct op_tail range;
        if (i < 0 || p->steps[i].blocked || p->steps[j].blocked || p->steps[i].folded ||
            p->steps[j].folded || !p->steps[i].op->tails || p->steps[i].tail >= 0 ||
            p->g->nodes[i].out[0] != n->in[0] || !tail_range(p, n, &range)) {
            continue;
        }
        p->steps[i].tail = (int)j;
        p->steps[i].tail_range = range;
    }
}

/* Whether all inputs but the first are constants. */
static bool lacks_first(const struct plan *p, const struct node *n)
{
    bool lacks = true;
    for (int m = 1; m < n->n_in; m++) {
        lacks = lacks && (n->in[m] < 0 || plan_constant(p, n->in[m]));
    }
    return lacks;
}

static bool is_by_rows(const struct plan *p, int i)
{
    const struct step *s = &p->steps[i];
    return !s->blocked && !s->folded && s->op->rows;
}

/* Whether node k may follow row by row. A product is not bound by what it reads. */
static bool may_follow(const struct plan *p, int k)
{
    const struct node *n = &p->g->nodes[k];
    return is_by_rows(p, k) && (strcmp(n->op, "Conv") != 0 || attr_int(n, "group", 1) > 1);
}

/* The node whose result, or whose activation, a node reads, if that can go row by row; -1: none. */
static int rows_before(const struct plan *p, const struct node *n)
{
    int i = n->n_in > 0 && n->in[0] >= 0 ? p->g->values[n->in[0]].producer : -1, tail = -1;
    if (i >= 0 && !is_by_rows(p, i)) {
        const struct node *act = &p->g->nodes[i];
        tail = i;
        i = act->n_in > 0 && act->in[0] >= 0 ? p->g->values[act->in[0]].producer : -1;
    }
    return i >= 0 && is_by_rows(p, i) && p->steps[i].tail == tail ? i : -1;
}

/* Joins nodes that can be computed row by row to those in front of them. */
static void join_lines(struct plan *p)
{
    for (size_t k = 0; k < p->g->n_nodes; k++) {
        const struct node *n = &p->g->nodes[k];
        const int i = may_follow(p, (int)k) ? rows_before(p, n) : -1;
        if (i >= 0 && p->steps[i].behind < 0 && lacks_first(p, n)) {
            p->steps[i].behind = (int)k;
        }
    }
}

/* Columns that node i adds to a product of all channels of single pixels with what it reads; 0: it
 * is no such product, or too wide to be one of several. */
static int64_t columns_of(const struct plan *p, size_t i)
{
    const struct step *s = &p->steps[i];
    const struct node *n = &p->g->nodes[i];
    const struct tensor *w = n->n_in > 1 && n->in[1] >= 0 ? plan_constant(p, n->in[1]) : NULL;
    const bool fits = !s->blocked && !s->folded && s->op->beside && n->in[0] >= 0 && w &&
                      w->rank == 4 && w->dims[2] == 1 && w->dims[3] == 1 &&
                      attr_int(n, "group", 1) == 1 && lacks_first(p, n);
    return fits && w->dims[0] < F32_LANES ? w->dims[0] : 0;
}

/* Joins products of few columns with the same input, which are one as long as all of them fit one
 * unit. */
static void join_beside(struct plan *p)
{
    enum { AHEAD = 64 }; /* nodes behind the first among which others are looked for */
    bool *taken = mem_alloc(p->g->n_nodes + 1);
    for (size_t i = 0; i < p->g->n_nodes; i++) {
        int64_t sum = taken[i] ? 0 : columns_of(p, i);
        size_t last = i, n = 1;
        for (size_t k = i + 1; sum && k < MIN(p->g->n_nodes, i + AHEAD) && n < BESIDE_MOST; k++) {
            const bool same = p->g->nodes[k].n_in > 0 &&
                              p->g->nodes[k].in[0] == p->g->nodes[i].in[0] && !taken[k];
            const int64_t more = same ? columns_of(p, k) : 0;
            if (more && sum + more <= F32_LANES) {
                p->steps[last].beside = (int)k;
                taken[k] = true;
                sum += more;
                last = k;
                n++;
            }
        }
    }
    free(taken);
}

void plan_join(struct plan *p)
{
    for (size_t i = 0; i < p->g->n_nodes; i++) {
        p->steps[i].tail = p->steps[i].behind = p->steps[i].beside = -1;
    }
    if (p->o.kernels == KERNELS_FAST) {
        join_tails(p);
        join_lines(p);
        join_beside(p);
    }
    chain_join(p);
}
