/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * run.c: runs a plan on one sample, node by node. Everything that belongs to one run lives in
 * struct run; the plan is shared between threads and not written.
 */
#include "engine/chain.h"
#include "engine/layout.h"
#include "engine/plan.h"
#include "engine/wide.h"

#include <stdlib.h>

/* ---- One node ------------------------------------------------------------------------------- */

void slots_init(struct slots *s, const struct node *n)
{
    s->in = s->in_room;
    s->out = s->out_room;
    if (n->n_in > MAX_OP_IN) {
        s->in = mem_alloc((size_t)n->n_in * sizeof *s->in);
    }
    if (n->n_out > MAX_OP_OUT) {
        s->out = mem_alloc((size_t)n->n_out * sizeof *s->out);
    }
    memset(s->in, 0, (size_t)n->n_in * sizeof *s->in);
    memset(s->out, 0, (size_t)n->n_out * sizeof *s->out);
}

void slots_fini(struct slots *s)
{
    if (s->in != s->in_room) {
        free(s->in);
    }
    if (s->out != s->out_room) {
        free(s->out);
    }
}

struct op_call plan_call(const struct plan *p, size_t i, const struct tensor **in,
                         struct tensor **out)
{
    const struct node *n = &p->g->nodes[i];
    return (struct op_call){
        .op = p->steps[i].op,
        .node = n,
        .opset = plan_opset(p->g, n),
        .n_in = n->n_in,
        .n_out = n->n_out,
        .in = in,
        .out = out,
        .in_q = p->quants + p->steps[i].quants,
        .out_q = p->quants + p->steps[i].quants + n->n_in,
        .state = p->steps[i].state,
        .budget = p->o.budget,
        .kernels = p->o.kernels,
        .reference = p->o.reference,
        .numerics = p->o.numerics,
        .raw = true,
    };
}

int call_run(const struct plan *p, size_t i, struct op_call *c, struct err *err)
{
    const struct node *n = c->node;
    const struct op *op = p->steps[i].op;
    bool fast = op->fast && p->o.kernels == KERNELS_FAST;
    int rc = op_check_strings(c, err);
    rc = rc ? rc : fast ? op->fast(c, err) : op->ref(c, err);
    for (int k = 0; k < n->n_out && !rc; k++) {
        if (n->out[k] >= 0 && !c->out[k] && (c->raw || k)) {
            rc = err_set(err, E_UNSUPPORTED, "output %d is not supported", k);
        }
    }
    if (rc) {
        op_drop(c);
        return err_in(err, "node '%.120s' (%s)", n->name, n->op);
    }
    return OK;
}

/* Input i of node n in one of the two orders, converted once for all consumers. */
struct as_ctx {
    struct run *r;
    const struct node *n;
};

static int run_as(void *ctx, int i, bool channels_last, const struct tensor **t, struct err *err)
{
    struct as_ctx *a = ctx;
    struct run *r = a->r;
    int v = a->n->in[i];
    if (!r->other[v]) {
        int rc = tensor_as(*t, channels_last, r->p->o.budget, &r->other[v], err);
        if (rc) {
            return err_in(err, "node '%.120s' (%s)", a->n->name, a->n->op);
        }
    }
    *t = r->other[v];
    return OK;
}

/* ---- Values --------------------------------------------------------------------------------- */

static bool wants(const struct run_options *o, int value)
{
    return !o->wanted || o->wanted[value];
}

static bool tap_wants(const struct run_options *o, int value)
{
    return o && o->tap && wants(o, value);
}

static bool swaps(const struct run_options *o, int value)
{
    return o && o->swap && wants(o, value);
}

static int tap_value(struct run *r, int value, const struct tensor *t, struct err *err)
{
    const struct run_options *o = r->o;
    if (!tap_wants(o, value)) {
        return OK;
    }
    if (o->any_layout || !t->channels_last) {
        return o->tap(o->tap_ctx, value, t, err);
    }
    struct tensor *rows = NULL;
    int rc = tensor_as(t, false, r->p->o.budget, &rows, err);
    rc = rc ? rc : o->tap(o->tap_ctx, value, rows, err);
    tensor_free(rows);
    return rc;
}

void run_forget(struct run *r, int v)
{
    tensor_free(r->values[v]);
    tensor_free(r->other[v]);
    r->values[v] = r->other[v] = NULL;
}

/* Puts another tensor in the place of one that node i has just made. */
static int swap_value(struct run *r, size_t i, int value, struct err *err)
{
    struct tensor *t = r->values[value], *instead = NULL;
    int rc = r->o->swap(r->o->tap_ctx, value, t, &instead, err);
    if (rc || !instead) {
        return rc;
    }
    bool same = instead->dtype == t->dtype && instead->rank == t->rank;
    for (int d = 0; same && d < t->rank; d++) {
        same = instead->dims[d] == t->dims[d];
    }
    if (!same) {
        tensor_free(instead);
        return err_set(err, E_SHAPE, "value '%s' cannot be replaced by another type or shape",
                       r->p->g->values[value].name);
    }
    int tail = r->p->steps[i].tail;
    if (tail >= 0) { /* made of the old one */
        tensor_free(r->tails[tail]);
        r->tails[tail] = NULL;
    }
    run_forget(r, value);
    r->values[value] = instead;
    return OK;
}

/* Drops the inputs that no later node wants. */
static void release_inputs(struct run *r, const struct node *n)
{
    for (int k = 0; k < n->n_in; k++) {
        int v = n->in[k];
        if (v >= 0 && --r->left[v] == 0) {
            run_forget(r, v);
        }
    }
}

/* ---- One step ------------------------------------------------------------------------------- */

/* A node that computes float16 in float32: see wide.h. */
static int step_wide(struct run *r, size_t i, struct op_call *c, struct err *err)
{
    const struct plan *p = r->p;
    const struct node *n = c->node;
    struct tensor **own = mem_alloc(((size_t)n->n_in + 1) * sizeof *own);
    bool half = false, like = strcmp(n->op, "CastLike") == 0;
    /* The type to cast to is that of input 1, which may be held wide. */
    bool to_half = like && (c->in[1]->dtype == DT_F16 || (n->in[1] >= 0 && r->held[n->in[1]]));
    int rc = wide_inputs(n, r->held, c->in, own, &half, p->o.budget, err);
    if (!rc && half && wide_cast(n)) {
        c->out[0] = tensor_ref(c->in[0]);
    } else if (!rc && to_half) {
        rc = tensor_to_f32(c->in[0], p->o.budget, &c->out[0], err);
        rc = rc ? rc : wide_round(&c->out[0], p->o.budget, err);
    } else {
        rc = rc ? rc : call_run(p, i, c, err);
    }
    half = half && (!like || to_half);
    for (int k = 0; k < n->n_out && !rc; k++) {
        if (!half || n->out[k] < 0 || c->out[k]->dtype != DT_F32) {
            continue;
        }
        r->held[n->out[k]] = p->wide[n->out[k]];
        rc = p->wide[n->out[k]] ? OK : wide_round(&c->out[k], p->o.budget, err);
    }
    for (int k = 0; k < n->n_in; k++) {
        tensor_free(own[k]);
    }
    free(own);
    return rc;
}

/* Whether an input is float16, or stands for it. */
static bool reads_half(const struct run *r, const struct op_call *c)
{
    for (int k = 0; k < c->n_in; k++) {
        int v = c->node->in[k];
        if ((c->in[k] && c->in[k]->dtype == DT_F16) || (v >= 0 && r->held[v])) {
            return true;
        }
    }
    return false;
}

static bool is_skipped(const struct run *r, int node)
{
    return r->skip && node >= 0 && r->skip[node];
}

/* Readies the chain behind step s, where this run is to make all of it as it is; else NULL. */
static struct chain_run *chain_begin(const struct run *r, const struct step *s,
                                     struct chain_run *room)
{
    bool whole = s->chain && !(r->o && r->o->swap);
    if (!whole) {
        return NULL;
    }
    *room = (struct chain_run){.chain = s->chain};
    for (int k = 0; whole && k < s->chain->n; k++) {
        const struct step *link = &r->p->steps[s->chain->links[k].node];
        room->tails[k] = link->tail >= 0 ? &link->tail_range : NULL;
        whole = !is_skipped(r, s->chain->links[k].node) && !is_skipped(r, link->tail);
    }
    return whole ? room : NULL;
}

/* What the kernel has made of the chain is there for the nodes' own steps. */
static void chain_end(struct run *r, struct chain_run *made)
{
    for (int k = 0; k < made->chain->n; k++) {
        const int node = made->chain->links[k].node, tail = r->p->steps[node].tail;
        r->tails[node] = made->out[k];
        if (tail >= 0) {
            r->tails[tail] = made->act[k];
        }
    }
}

void run_want(const struct run *r, size_t i, struct op_call *c)
{
    const struct step *s = &r->p->steps[i];
    if (s->tail >= 0 && !is_skipped(r, s->tail)) {
        int v = c->node->out[0];
        c->tail = &s->tail_range;
        c->raw = tap_wants(r->o, v) || swaps(r->o, v) || r->left[v] > 1;
    }
}

/* Computes node i, and what is joined to it where it can do so on the way. */
static int step_compute(struct run *r, size_t i, struct op_call *c, struct err *err)
{
    const struct step *s = &r->p->steps[i];
    struct as_ctx as = {r, c->node};
    if (r->held && reads_half(r, c) && wide_node(c->node)) {
        return step_wide(r, i, c, err);
    }
    int rc = layout_inputs(c, s->op, run_as, &as, err);
    if (rc) {
        return rc;
    }
    struct chain_run chain;
    run_want(r, i, c);
    c->chain = c->tail || s->tail < 0 ? chain_begin(r, s, &chain) : NULL;
    rc = run_joined(r, i, c) ? OK : call_run(r->p, i, c, err);
    if (c->tail) {
        r->tails[s->tail] = c->tail_out;
    }
    if (c->chain) {
        chain_end(r, c->chain);
    }
    return rc;
}

static bool misses_input(const struct run *r, const struct node *n)
{
    for (int k = 0; k < n->n_in && r->missing; k++) {
        if (n->in[k] >= 0 && r->missing[n->in[k]]) {
            return true;
        }
    }
    return false;
}

/* What a node makes is missing from here on: in this run alone, the plan stays as it is. */
static void miss(struct run *r, const struct node *n)
{
    r->missing = r->missing ? r->missing : mem_alloc(r->p->g->n_values * sizeof *r->missing);
    for (int k = 0; k < n->n_out; k++) {
        if (n->out[k] >= 0) {
            r->missing[n->out[k]] = true;
        }
    }
    release_inputs(r, n);
}

/* After a kernel failed: whether the run can go on without the node. */
static bool goes_on(struct run *r, size_t i, int rc, const char *why)
{
    if (rc != E_UNSUPPORTED || !r->p->o.partial) {
        return false;
    }
    if (r->o && r->o->refused) {
        r->o->refused(r->o->tap_ctx, (int)i, why);
    }
    miss(r, &r->p->g->nodes[i]);
    return true;
}

static int step_run(struct run *r, size_t i, struct err *err)
{
    const struct plan *p = r->p;
    const struct node *n = &p->g->nodes[i];
    struct slots s;
    struct err why = {0};
    if (misses_input(r, n)) {
        miss(r, n);
        return OK;
    }
    slots_init(&s, n);
    int rc = OK;
    if (r->tails[i] || r->made[i]) { /* by the node in front */
        s.out[0] = r->tails[i];
        r->tails[i] = NULL;
    } else {
        for (int k = 0; k < n->n_in; k++) {
            int v = n->in[k];
            s.in[k] = v < 0 ? NULL : r->values[v] ? r->values[v] : plan_constant(p, v);
        }
        struct op_call c = plan_call(p, i, s.in, s.out);
        c.par = r->o ? r->o->par : NULL;
        rc = step_compute(r, i, &c, &why);
        if (goes_on(r, i, rc, why.text)) {
            slots_fini(&s);
            return OK;
        }
        rc = rc ? err_set(err, rc, "%s", why.text) : OK;
    }
    for (int k = 0; k < n->n_out && !rc; k++) {
        if (n->out[k] >= 0) {
            r->values[n->out[k]] = s.out[k];
        } else {
            tensor_free(s.out[k]);
        }
    }
    for (int k = 0; k < n->n_out && !rc; k++) {
        if (n->out[k] >= 0 && s.out[k]) {
            rc = tap_value(r, n->out[k], s.out[k], err);
            rc = rc || !swaps(r->o, n->out[k]) ? rc : swap_value(r, i, n->out[k], err);
        }
    }
    if (!rc) {
        release_inputs(r, n);
        for (int k = 0; k < n->n_out; k++) {
            if (n->out[k] >= 0 && r->left[n->out[k]] == 0) {
                run_forget(r, n->out[k]); /* an output that nobody reads */
            }
        }
    }
    slots_fini(&s);
    return rc;
}

int run_next(struct run *r)
{
    const struct plan *p = r->p;
    while (r->next < p->g->n_nodes && (p->steps[r->next].folded || p->steps[r->next].blocked ||
                                       (r->skip && r->skip[r->next]))) {
        r->next++;
    }
    return r->next < p->g->n_nodes ? (int)r->next : -1;
}

int run_step(struct run *r, bool *more, struct err *err)
{
    *more = run_next(r) >= 0;
    if (!*more) {
        return OK;
    }
    if (r->o && cancelled(r->o->cancel)) {
        return err_set(err, E_STOP, "cancelled");
    }
    return step_run(r, r->next++, err);
}

/* ---- Begin and end -------------------------------------------------------------------------- */

static int check_input(const struct graph *g, size_t i, const struct tensor *t, struct err *err)
{
    const struct value *v = &g->values[g->inputs[i]];
    char want[128], found[128];
    if (v->dtype != DT_NONE && t->dtype != v->dtype) {
        return err_set(err, E_SHAPE, "input '%s' is %s, the model expects %s", v->name,
                       dtype_name(t->dtype), dtype_name(v->dtype));
    }
    bool fits = v->rank < 0 || v->rank == t->rank;
    for (int d = 0; fits && d < t->rank && v->rank >= 0; d++) {
        /* 0 is how some exporters spell a free batch dimension. */
        fits = v->dims[d] <= 0 || v->dims[d] == t->dims[d];
    }
    if (!fits) {
        return err_set(err, E_SHAPE, "input '%s' has shape %s, the model expects %s", v->name,
                       shape_text(found, sizeof found, t->rank, t->dims),
                       shape_text(want, sizeof want, v->rank, v->dims));
    }
    return OK;
}

static int feed_inputs(struct run *r, const struct tensor *const *inputs, struct err *err)
{
    const struct graph *g = r->p->g;
    for (size_t i = 0; i < g->n_inputs; i++) {
        int rc = check_input(g, i, inputs[i], err);
        if (!rc) {
            r->values[g->inputs[i]] = tensor_ref(inputs[i]);
            rc = tap_value(r, g->inputs[i], inputs[i], err);
        }
        if (rc) {
            return rc;
        }
    }
    for (size_t i = 0; i < g->n_outputs; i++) { /* outputs that no node computes any more */
        const struct tensor *c = plan_constant(r->p, g->outputs[i]);
        int rc = c ? tap_value(r, g->outputs[i], c, err) : OK;
        if (rc) {
            return rc;
        }
    }
    return OK;
}

int run_begin(const struct plan *p, const struct tensor *const *inputs, const struct run_options *o,
              struct run **out, struct err *err)
{
    const struct graph *g = p->g;
    struct run *r = mem_alloc(sizeof *r);
    *r = (struct run){.p = p, .o = o};
    r->values = mem_alloc((g->n_values + 1) * sizeof *r->values);
    r->other = mem_alloc((g->n_values + 1) * sizeof *r->other);
    r->tails = mem_alloc((g->n_nodes + 1) * sizeof *r->tails);
    r->made = mem_alloc(g->n_nodes + 1);
    r->left = mem_alloc((g->n_values + 1) * sizeof *r->left);
    r->held = p->wide ? mem_alloc(g->n_values + 1) : NULL;
    memcpy(r->left, p->uses, g->n_values * sizeof *r->left);
    int rc = feed_inputs(r, inputs, err);
    if (rc) {
        run_end(r, NULL, NULL);
        return rc;
    }
    *out = r;
    return OK;
}

/* References to the outputs, row-major; on failure none is left behind. */
static int take_outputs(struct run *r, struct tensor **outputs, struct err *err)
{
    const struct graph *g = r->p->g;
    int rc = OK;
    for (size_t i = 0; i < g->n_outputs && !rc; i++) {
        int v = g->outputs[i];
        const struct tensor *t = r->values[v] ? r->values[v] : plan_constant(r->p, v);
        outputs[i] = NULL;
        rc = t ? tensor_as(t, false, r->p->o.budget, &outputs[i], err) : OK;
        for (size_t k = 0; k < i && rc; k++) {
            tensor_free(outputs[k]);
            outputs[k] = NULL;
        }
    }
    return rc;
}

int run_end(struct run *r, struct tensor **outputs, struct err *err)
{
    int rc = outputs ? take_outputs(r, outputs, err) : OK;
    for (size_t v = 0; v < r->p->g->n_values; v++) {
        run_forget(r, (int)v);
    }
    for (size_t i = 0; i < r->p->g->n_nodes; i++) {
        tensor_free(r->tails[i]);
    }
    free(r->values);
    free(r->other);
    free(r->tails);
    free(r->made);
    free(r->held);
    free(r->missing);
    free(r->skip);
    free(r->left);
    free(r);
    return rc;
}

int plan_run(const struct plan *p, const struct tensor *const *inputs, struct tensor **outputs,
             const struct run_options *o, struct err *err)
{
    struct run *r = NULL;
    int rc = run_begin(p, inputs, o, &r, err);
    if (rc) {
        return rc;
    }
    for (bool more = true; more && !rc;) {
        rc = run_step(r, &more, err);
    }
    return rc ? (run_end(r, NULL, NULL), rc) : run_end(r, outputs, err);
}
