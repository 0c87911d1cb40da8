/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * plan.c: makes a graph ready to run: fuse, bind operators, fold constants, pack weights. A plan is
 * immutable once made, so threads share it; run.c runs it.
 */
#include "engine/chain.h"
#include "engine/fuse.h"
#include "engine/layout.h"
#include "engine/plan.h"
#include "engine/wide.h"

#include <math.h>
#include <stdlib.h>

const struct graph *plan_graph(const struct plan *p)
{
    return p->g;
}

int plan_opset(const struct graph *g, const struct node *n)
{
    return n->domain[0] ? MAX(g->opset_ms, 1) : g->opset;
}

const struct tensor *plan_constant(const struct plan *p, int value)
{
    return p->folded[value] ? p->folded[value] : p->g->values[value].constant;
}

/* ---- Making a plan -------------------------------------------------------------------------- */

/* The row of an operator without kernel, or whose kernel refused the node for a reason; index plus
 * 1. */
static int gap_of(struct plan *p, const struct node *n, const char *reason)
{
    int opset = plan_opset(p->g, n);
    for (size_t i = 0; i < p->n_gaps; i++) {
        const struct plan_gap *g = &p->gaps[i];
        bool alike = reason ? g->reason && strcmp(g->reason, reason) == 0 : !g->reason;
        if (alike && strcmp(g->op, n->op) == 0 && strcmp(g->domain, n->domain) == 0) {
            return (int)i + 1;
        }
    }
    p->gaps = mem_push(p->gaps, p->n_gaps, &p->cap_gaps, sizeof *p->gaps);
    p->gaps[p->n_gaps++] = (struct plan_gap){.op = n->op,
                                             .domain = n->domain,
                                             .opset = opset,
                                             .node = n->name,
                                             .reason = mem_dup(reason)};
    return (int)p->n_gaps;
}

/* Leaves a node out, and with it all that needs what it makes. */
static void block(struct plan *p, size_t i, int gap)
{
    const struct node *n = &p->g->nodes[i];
    struct plan_gap *g = &p->gaps[gap - 1];
    p->steps[i].blocked = true;
    g->blocked++;
    for (int k = 0; k < n->n_out; k++) {
        if (n->out[k] >= 0) {
            p->gap[n->out[k]] = gap;
            g->output = g->output || p->g->values[n->out[k]].is_output;
        }
    }
}

/* What keeps an input of the node from being computed. */
static int gap_before(const struct plan *p, const struct node *n)
{
    for (int k = 0; k < n->n_in; k++) {
        if (n->in[k] >= 0 && p->gap[n->in[k]]) {
            return p->gap[n->in[k]];
        }
    }
    return 0;
}

static int check_arity(const struct node *n, const struct op *op, struct err *err)
{
    if (n->n_in < op->min_in || (op->max_in >= 0 && n->n_in > op->max_in)) {
        return err_set(err, E_FORMAT, "node '%s' (%s) has %d inputs, expected %d to %d", n->name,
                       n->op, n->n_in, op->min_in, op->max_in);
    }
    if (n->n_out < 1) {
        return err_set(err, E_FORMAT, "node '%s' (%s) has no outputs", n->name, n->op);
    }
    /* com.microsoft has optional zero points in the middle; its kernels look themselves. */
    bool looks_itself = op->domain && strcmp(op->domain, "tflite") != 0 &&
                        strcmp(op->domain, fuse_mlas_domain) != 0;
    for (int k = 0; k < op->min_in && !looks_itself; k++) {
        if (n->in[k] < 0) {
            return err_set(err, E_FORMAT, "node '%s' (%s) lacks input %d, which is required",
                           n->name, n->op, k);
        }
    }
    return OK;
}

/* Nodes are in topological order, so that what is behind a gap comes after it. */
static int bind_operators(struct plan *p, struct err *err)
{
    for (size_t i = 0; i < p->g->n_nodes; i++) {
        const struct node *n = &p->g->nodes[i];
        const struct op *op = op_find(n->domain, n->op, plan_opset(p->g, n));
        int gap = op ? gap_before(p, n) : gap_of(p, n, NULL);
        if (!op) {
            p->gaps[gap - 1].nodes++;
        }
        if (gap) {
            block(p, i, gap);
            continue;
        }
        int rc = check_arity(n, op, err);
        if (rc) {
            return rc;
        }
        p->steps[i].op = op;
    }
    return OK;
}

/* Leaves out a node that its kernel refused, with what is behind it. `why` as call_run() puts it.
 */
static void refuse(struct plan *p, size_t i, const char *why)
{
    const struct node *n = &p->g->nodes[i];
    char prefix[sizeof((struct err *)0)->text];
    int length = snprintf(prefix, sizeof prefix, "node '%.120s' (%s): ", n->name, n->op);
    bool named = strncmp(why, prefix, strlen(prefix)) == 0;
    int gap = gap_of(p, n, named ? why + length : why);
    p->gaps[gap - 1].nodes++;
    block(p, i, gap);
    for (size_t k = i + 1; k < p->g->n_nodes; k++) {
        int before = p->steps[k].blocked ? 0 : gap_before(p, &p->g->nodes[k]);
        if (before) {
            block(p, k, before);
        }
    }
}

/* Refuses the plan for its gaps, unless they are allowed and something is left to run. */
static int check_gaps(const struct plan *p, struct err *err)
{
    const struct plan_gap *g = p->gaps;
    size_t missing = 0, left = 0;
    for (size_t i = 0; i < p->n_gaps; i++) {
        missing += p->gaps[i].nodes;
    }
    for (size_t i = 0; i < p->g->n_nodes; i++) {
        left += !p->steps[i].blocked && !p->steps[i].folded;
    }
    if (!missing || (p->o.partial && left)) {
        return OK;
    }
    char more[32] = "";
    if (missing > 1) {
        snprintf(more, sizeof more, " and %zu more", missing - 1);
    }
    if (g->reason) {
        return err_set(err, E_UNSUPPORTED, "node '%.120s' (%s)%s: %s", g->node, g->op, more,
                       g->reason);
    }
    return err_set(err, E_UNSUPPORTED, "node '%s'%s: operator %s%s%s of opset %d is not supported",
                   g->node, more, g->domain, g->domain[0] ? "." : "", g->op, g->opset);
}

size_t plan_gaps(const struct plan *p, const struct plan_gap **out)
{
    *out = p->gaps;
    return p->n_gaps;
}

int plan_blocked(const struct plan *p, int value)
{
    return p->gap[value] - 1;
}

/* True when every given input is a constant. Nodes without inputs (Constant) fold too. */
static bool foldable(const struct plan *p, const struct node *n)
{
    for (int k = 0; k < n->n_in; k++) {
        if (n->in[k] >= 0 && !plan_constant(p, n->in[k])) {
            return false;
        }
    }
    return !node_is_random(n);
}

/* Constants are row-major; a kernel that wants another order gets a copy. */
struct fold_ctx {
    struct tensor **own; /* per input */
};

static int fold_as(void *ctx, int i, bool channels_last, const struct tensor **t, struct err *err)
{
    struct fold_ctx *f = ctx;
    int rc = tensor_as(*t, channels_last, NULL, &f->own[i], err);
    *t = rc ? *t : f->own[i];
    return rc;
}

static int fold_rows(const struct node *n, struct tensor **out, struct err *err)
{
    int rc = OK;
    for (int k = 0; k < n->n_out && !rc; k++) {
        struct tensor *rows = NULL;
        rc = out[k] ? tensor_as(out[k], false, NULL, &rows, err) : OK;
        tensor_free(out[k]);
        out[k] = rows;
    }
    return rc;
}

/* What another plan has folded already. */
static bool fold_shared(struct plan *p, size_t i)
{
    const struct node *n = &p->g->nodes[i];
    bool all = true;
    for (int k = 0; k < n->n_out && all; k++) {
        int v = n->out[k];
        if (v >= 0) {
            p->folded[v] = plan_shared_constant(p, p->ids[v]);
            all = p->folded[v];
        }
    }
    for (int k = 0; k < n->n_out && !all; k++) {
        if (n->out[k] >= 0) {
            tensor_free(p->folded[n->out[k]]);
            p->folded[n->out[k]] = NULL;
        }
    }
    p->steps[i].folded = all;
    return all;
}

static int fold_constants(struct plan *p, struct err *err)
{
    for (size_t i = 0; i < p->g->n_nodes; i++) {
        const struct node *n = &p->g->nodes[i];
        if (p->steps[i].blocked || !foldable(p, n) || fold_shared(p, i)) {
            continue;
        }
        struct slots s;
        slots_init(&s, n);
        for (int k = 0; k < n->n_in; k++) {
            s.in[k] = n->in[k] >= 0 ? plan_constant(p, n->in[k]) : NULL;
        }
        struct op_call c = plan_call(p, i, s.in, s.out);
        struct fold_ctx as = {.own = mem_alloc(((size_t)n->n_in + 1) * sizeof *as.own)};
        struct err why = {0};
        int rc = layout_inputs(&c, p->steps[i].op, fold_as, &as, &why);
        rc = rc ? rc : call_run(p, i, &c, &why);
        rc = rc ? rc : fold_rows(n, s.out, &why);
        for (int k = 0; k < n->n_out && !rc; k++) {
            if (n->out[k] >= 0) {
                p->folded[n->out[k]] = plan_share_constant(p, p->ids[n->out[k]], s.out[k]);
            } else {
                tensor_free(s.out[k]);
            }
        }
        for (int k = 0; k < n->n_in; k++) {
            tensor_free(as.own[k]);
        }
        free(as.own);
        slots_fini(&s);
        if (rc == E_UNSUPPORTED && p->o.partial) {
            refuse(p, i, why.text);
            continue;
        }
        if (rc) {
            return err_set(err, rc, "%s", why.text);
        }
        p->steps[i].folded = true;
    }
    return OK;
}

static int prepare_steps(struct plan *p, struct err *err)
{
    for (size_t i = 0; i < p->g->n_nodes; i++) {
        const struct node *n = &p->g->nodes[i];
        const struct op *op = p->steps[i].op;
        if (!op || !op->prepare || p->steps[i].folded || p->steps[i].blocked) {
            continue;
        }
        struct slots s;
        slots_init(&s, n);
        for (int k = 0; k < n->n_in; k++) {
            s.in[k] = n->in[k] >= 0 ? plan_constant(p, n->in[k]) : NULL;
        }
        struct op_prep prep = {
            .node = n,
            .opset = plan_opset(p->g, n),
            .n_in = n->n_in,
            .constants = s.in,
            .in_q = p->quants + p->steps[i].quants,
            .out_q = p->quants + p->steps[i].quants + n->n_in,
            .numerics = p->o.numerics,
        };
        struct err why = {0};
        int rc = plan_share_state(p, i, &prep, &p->steps[i].state, &why);
        slots_fini(&s);
        if (rc == E_UNSUPPORTED && p->o.partial) {
            refuse(p, i, why.text);
        } else if (rc) {
            return err_set(err, rc, "node '%.120s' (%s): %s", n->name, n->op, why.text);
        }
    }
    return OK;
}

/* Per value: whether something reads it with plain loads, as callers do outputs. */
static bool *list_plain_reads(const struct plan *p)
{
    bool *plain = mem_alloc(p->g->n_values + 1);
    for (size_t i = 0; i < p->g->n_nodes; i++) {
        const struct node *n = &p->g->nodes[i];
        const struct op *op = p->steps[i].op;
        for (int k = 0; k < n->n_in; k++) {
            const int v = n->in[k];
            const struct tensor *c = v >= 0 ? p->g->values[v].constant : NULL;
            const bool any = op && k < 32 && op->any_address >> k & 1;
            if (c && (!any || c->dtype != DT_F32)) {
                plain[v] = true;
            }
        }
    }
    for (size_t i = 0; i < p->g->n_outputs; i++) {
        plain[p->g->outputs[i]] = true;
    }
    return plain;
}

static bool is_aligned(const struct tensor *t)
{
    return (uintptr_t)t->data % MAX(dtype_size(t->dtype), (size_t)1) == 0;
}

/* Constants that stand on odd addresses of a mapped file are copied once, so that kernels may use
 * plain loads; but for weights, the bulk of a file, which kernels pack anyway. */
static int align_constants(struct plan *p, struct err *err)
{
    bool *plain = list_plain_reads(p);
    int rc = OK;
    for (size_t v = 0; v < p->g->n_values && !rc; v++) {
        struct tensor *c = p->g->values[v].constant;
        if (!c || !plain[v] || is_aligned(c)) {
            continue;
        }
        p->folded[v] = plan_shared_constant(p, p->ids[v]);
        if (!p->folded[v]) {
            struct tensor *copy = tensor_aligned(c);
            if (copy) {
                p->folded[v] = plan_share_constant(p, p->ids[v], copy);
            } else {
                rc = err_set(err, E_LIMIT, "out of memory for initializer '%s' of %zu bytes",
                             p->g->values[v].name, c->size);
            }
        }
    }
    free(plain);
    return rc;
}

static void count_uses(struct plan *p)
{
    memset(p->uses, 0, p->g->n_values * sizeof *p->uses);
    for (size_t i = 0; i < p->g->n_nodes; i++) {
        const struct node *n = &p->g->nodes[i];
        for (int k = 0; k < n->n_in && !p->steps[i].folded && !p->steps[i].blocked; k++) {
            if (n->in[k] >= 0) {
                p->uses[n->in[k]]++;
            }
        }
    }
    for (size_t i = 0; i < p->g->n_outputs; i++) {
        p->uses[p->g->outputs[i]]++;
    }
}

/* Lays out the parameters of every node's inputs and outputs, as kernels are given them. */
static void list_quants(struct plan *p)
{
    size_t n = 0;
    for (size_t i = 0; i < p->g->n_nodes; i++) {
        p->steps[i].quants = n;
        n += (size_t)(p->g->nodes[i].n_in + p->g->nodes[i].n_out);
    }
    p->quants = mem_alloc((n + 1) * sizeof *p->quants);
    for (size_t i = 0; i < p->g->n_nodes; i++) {
        const struct node *x = &p->g->nodes[i];
        const struct quant **q = p->quants + p->steps[i].quants;
        for (int k = 0; k < x->n_in + x->n_out; k++) {
            int v = k < x->n_in ? x->in[k] : x->out[k - x->n_in];
            q[k] = v >= 0 ? p->g->values[v].quant : NULL;
        }
    }
}

int plan_new(const struct graph *g, const struct plan_options *o, struct plan **out,
             struct err *err)
{
    struct plan *p = mem_alloc(sizeof *p);
    p->o = *o;
    /* A pair may be of two formats: each side computes as its own is deployed. */
    p->o.numerics = numerics_for(o->numerics, g->dialect);
    p->o.store = o->store ? plan_store_ref(o->store) : plan_store_new();
    int rc = graph_fuse(g, p->o.numerics, &p->g, err);
    if (rc) {
        goto out;
    }
    p->steps = mem_alloc(p->g->n_nodes * sizeof *p->steps);
    p->uses = mem_alloc(p->g->n_values * sizeof *p->uses);
    p->folded = mem_alloc(p->g->n_values * sizeof *p->folded);
    p->gap = mem_alloc(p->g->n_values * sizeof *p->gap);
    list_quants(p);
    p->wide = o->numerics == NUM_ORT ? wide_values(p->g) : NULL;
    plan_identify(p);
    rc = bind_operators(p, err);
    rc = rc || p->o.partial ? rc : check_gaps(p, err);
    rc = rc ? rc : align_constants(p, err);
    rc = rc ? rc : fold_constants(p, err);
    rc = rc ? rc : prepare_steps(p, err);
    rc = rc ? rc : check_gaps(p, err);
    if (!rc) {
        count_uses(p);
        plan_join(p);
        *out = p;
        return OK;
    }
out:
    if (g->path) {
        rc = err_in(err, "%s", g->path);
    }
    plan_free(p);
    return rc;
}

int plan_leave_out(struct plan *p, int node, const char *why, struct err *err)
{
    if (!p->steps[node].blocked) {
        refuse(p, (size_t)node, why);
        count_uses(p);
        plan_join(p);
    }
    int rc = check_gaps(p, err);
    return rc && p->g->path ? err_in(err, "%s", p->g->path) : rc;
}

void plan_free(struct plan *p)
{
    if (!p) {
        return;
    }
    plan_let_go(p);
    plan_store_free(p->o.store);
    for (size_t v = 0; p->folded && v < p->g->n_values; v++) {
        tensor_free(p->folded[v]);
    }
    free(p->folded);
    free(p->gap);
    free(p->wide);
    for (size_t i = 0; i < p->n_gaps; i++) {
        free((char *)p->gaps[i].reason);
    }
    free(p->node_ids);
    free(p->ids);
    free(p->gaps);
    free(p->quants);
    free(p->uses);
    for (size_t i = 0; p->steps && i < p->g->n_nodes; i++) {
        chain_free(p->steps[i].chain);
    }
    free(p->steps);
    graph_free(p->g);
    free(p);
}
