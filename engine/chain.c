/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * chain.c: see chain.h. Which nodes are chained the plan knows; whether their results have the
 * shape of the first one, as they need to, only the call.
 */
#include "engine/chain.h"
#include "engine/plan.h"

#include <stdlib.h>

/* ---- Finding -------------------------------------------------------------------------------- */

static f32_pair_fn *find_function(const struct node *n)
{
    static const struct {
        const char *op;
        f32_pair_fn *fn;
    } rows[] = {
        {"Add", elem_add_f32}, {"Sub", elem_sub_f32}, {"Mul", elem_mul_f32}, {"Div", elem_div_f32}};
    for (size_t i = 0; i < COUNT(rows) && !n->domain[0]; i++) {
        if (strcmp(rows[i].op, n->op) == 0) {
            return rows[i].fn;
        }
    }
    return NULL;
}

static bool is_run(const struct plan *p, size_t i)
{
    return !p->steps[i].folded && !p->steps[i].blocked;
}

/* Whether v is what node i makes, or the activation behind it. */
static bool is_made_by(const struct plan *p, int i, int v, bool *activation)
{
    const int tail = p->steps[i].tail;
    *activation = tail >= 0 && p->g->nodes[tail].out[0] == v;
    return *activation || p->g->nodes[i].out[0] == v;
}

/* Sets *f to the single float that an operand is; false: it is something else. */
static bool is_constant(const struct plan *p, int v, float *f)
{
    const struct tensor *t = v >= 0 ? plan_constant(p, v) : NULL;
    const bool is = t && t->dtype == DT_F32 && t->n == 1 && t->rank <= 1;
    *f = is ? (float)tensor_f64(t, 0) : *f;
    return is;
}

/* Where value v stands in the chain behind node `first`; false: it does not. */
static bool find_operand(const struct plan *p, int first, const struct chain *c, int v,
                         int *operand)
{
    bool activation;
    for (int k = 0; k <= c->n && v >= 0; k++) {
        if (is_made_by(p, k ? c->links[k - 1].node : first, v, &activation)) {
            *operand = activation ? chain_activation(k) : chain_result(k);
            return true;
        }
    }
    *operand = CHAIN_INPUT;
    return v >= 0 && p->g->nodes[first].in[0] == v && !plan_constant(p, v);
}

/* Adds node j if it can be computed with what the chain has. */
static void add_link(const struct plan *p, int first, struct chain *c, int j)
{
    const struct node *n = &p->g->nodes[j];
    struct chain_link l = {.node = j, .fn = find_function(n)};
    float constant = 0;
    bool made = false, constants = false, input = false;
    if (!l.fn || !is_run(p, (size_t)j) || n->n_in != 2 || n->n_out != 1 || n->out[0] < 0) {
        return;
    }
    for (int k = 0; k < 2; k++) {
        if (is_constant(p, n->in[k], &constant)) {
            l.operands[k] = CHAIN_CONSTANT;
            constants = true;
        } else if (!find_operand(p, first, c, n->in[k], &l.operands[k])) {
            return;
        }
        made = made || l.operands[k] > CHAIN_INPUT;
        input = input || l.operands[k] == CHAIN_INPUT;
    }
    if (!made) {
        return;
    }
    l.constants = constants ? mem_alloc(ELEM_BLOCK * sizeof *l.constants) : NULL;
    for (int i = 0; i < ELEM_BLOCK && constants; i++) {
        l.constants[i] = constant;
    }
    c->reads_input = c->reads_input || input;
    c->links[c->n++] = l;
}

void chain_free(struct chain *c)
{
    for (int k = 0; c && k < c->n; k++) {
        free(c->links[k].constants);
    }
    free(c);
}

void chain_join(struct plan *p)
{
    enum { AHEAD = 16 }; /* nodes behind the first among which others are looked for */
    const size_t n = p->g->n_nodes;
    bool *taken = mem_alloc(n + 1);
    for (size_t i = 0; i < n; i++) {
        struct chain c = {0};
        chain_free(p->steps[i].chain);
        p->steps[i].chain = NULL;
        if (p->o.kernels != KERNELS_FAST || taken[i] || !is_run(p, i) || !p->steps[i].op->chains ||
            p->g->nodes[i].n_out < 1 || p->g->nodes[i].out[0] < 0) {
            continue;
        }
        for (size_t j = i + 1; j < MIN(n, i + AHEAD) && c.n < CHAIN_MAX; j++) {
            if (!taken[j]) {
                add_link(p, (int)i, &c, (int)j);
            }
        }
        for (int k = 0; k < c.n; k++) {
            taken[c.links[k].node] = true;
        }
        if (c.n) {
            p->steps[i].chain = mem_alloc(sizeof c);
            *p->steps[i].chain = c;
        }
    }
    free(taken);
}

/* ---- Computing ------------------------------------------------------------------------------ */

void chain_drop(struct chain_run *r)
{
    for (int k = 0; k < CHAIN_MAX && r; k++) {
        tensor_free(r->out[k]);
        tensor_free(r->act[k]);
        r->out[k] = r->act[k] = NULL;
    }
}

int chain_open(struct op_call *c, int rank, const int64_t *dims, struct err *err)
{
    struct chain_run *r = c->chain;
    const struct tensor *x = c->in[0];
    int rc = OK;
    size_t n = 1;
    for (int d = 0; d < rank; d++) { /* wraps for what op_out() refuses */
        n *= (size_t)dims[d];
    }
    if (rank < 1 || (r->chain->reads_input && (x->rank != rank || x->n != n))) {
        c->chain = NULL;
        return OK;
    }
    r->input = r->chain->reads_input ? x->data : NULL;
    for (int k = 0; k < r->chain->n && !rc; k++) {
        rc = tensor_new(DT_F32, rank, dims, c->budget, &r->out[k], err);
        rc = rc || !r->tails[k] ? rc : tensor_new(DT_F32, rank, dims, c->budget, &r->act[k], err);
        if (!rc && c->channels_last && rank >= 3) {
            r->out[k]->channels_last = true;
            if (r->act[k]) {
                r->act[k]->channels_last = true;
            }
        }
    }
    if (rc) {
        chain_drop(r);
    }
    return rc;
}

void chain_block(const struct chain_run *r, size_t at, size_t n, const float *result,
                 const float *activation)
{
    const float *made[3 + 2 * CHAIN_MAX] = {r->input ? r->input + at : NULL, result, activation};
    for (int k = 0; k < r->chain->n; k++) {
        const struct chain_link *l = &r->chain->links[k];
        const float *in[2];
        for (int i = 0; i < 2; i++) {
            const int o = l->operands[i];
            in[i] = o == CHAIN_CONSTANT ? l->constants : made[o];
        }
        float *y = (float *)r->out[k]->data + at, *act = NULL;
        l->fn(n, in[0], in[1], y);
        if (r->tails[k]) {
            act = (float *)r->act[k]->data + at;
            elem_clamp_f32(n, y, r->tails[k]->lo, r->tails[k]->hi, act);
        }
        made[chain_result(k + 1)] = y;
        made[chain_activation(k + 1)] = act;
    }
}
