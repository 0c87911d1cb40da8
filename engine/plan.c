/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * plan.c: makes a graph ready to run (fuse, bind operators, fold constants, pack weights) and runs
 * it, one sample at a time. A plan is immutable once made, so threads share it; everything that
 * belongs to one run lives in struct run.
 */
#include "engine/op.h"
#include "engine/wide.h"

#include <inttypes.h>
#include <stdlib.h>

struct step {
    const struct op *op;
    void *state;
    size_t quants; /* where the parameters of inputs, then outputs, start in plan.quants */
    bool folded;   /* outputs are constants of the plan */
    bool blocked;  /* by a gap: not run */
};

struct plan {
    struct graph *g; /* fused; owned */
    struct plan_options o;
    struct step *steps;          /* one per node of g */
    const struct quant **quants; /* per input, then output of all nodes; see step.quants */
    int *uses;                   /* consumers per value; graph outputs count one more */
    struct tensor **folded;      /* per value: constant made by a folded node, or NULL */
    int *gap;                    /* per value: index of what keeps it from being computed, plus 1 */
    struct plan_gap *gaps;
    size_t n_gaps, cap_gaps;
    bool *wide; /* per value: float16 that stays float32, see wide.h; NULL: none */
};

/* One execution: tensors by value index and how many consumers still want each. */
struct run {
    const struct plan *p;
    struct tensor **values;
    int *left;
    bool *held; /* per value: float16 held as float32; NULL when the plan has no wide values */
};

const struct graph *plan_graph(const struct plan *p)
{
    return p->g;
}

/* ---- One node ------------------------------------------------------------------------------- */

static int node_opset(const struct graph *g, const struct node *n)
{
    return n->domain[0] ? MAX(g->opset_ms, 1) : g->opset;
}

/* Runs node i with in[]/out[] as given; on failure no output is left behind. */
static int node_run(const struct plan *p, size_t i, const struct tensor **in, struct tensor **out,
                    struct err *err)
{
    const struct node *n = &p->g->nodes[i];
    const struct op *op = p->steps[i].op;
    struct op_call c = {
        .node = n,
        .opset = node_opset(p->g, n),
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
    };
    bool fast = op->fast && p->o.kernels == KERNELS_FAST;
    int rc = fast ? op->fast(&c, err) : op->ref(&c, err);
    for (int k = 0; k < n->n_out && !rc; k++) {
        if (n->out[k] >= 0 && !out[k]) {
            rc = err_set(err, E_UNSUPPORTED, "output %d is not supported", k);
        }
    }
    if (rc) {
        for (int k = 0; k < n->n_out; k++) {
            tensor_free(out[k]);
            out[k] = NULL;
        }
        return err_in(err, "node '%.120s' (%s)", n->name, n->op);
    }
    return OK;
}

const struct tensor *plan_constant(const struct plan *p, int value)
{
    return p->folded[value] ? p->folded[value] : p->g->values[value].constant;
}

/* Room for the pointers of a node's inputs and outputs, inline for usual sizes. */
struct slots {
    const struct tensor **in;
    struct tensor **out;
    const struct tensor *in_room[MAX_OP_IN];
    struct tensor *out_room[MAX_OP_OUT];
};

static void slots_init(struct slots *s, const struct node *n)
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

static void slots_fini(struct slots *s)
{
    if (s->in != s->in_room) {
        free(s->in);
    }
    if (s->out != s->out_room) {
        free(s->out);
    }
}

/* ---- Making a plan -------------------------------------------------------------------------- */

/* The row of an operator without kernel; index plus 1. */
static int gap_of(struct plan *p, const struct node *n)
{
    int opset = node_opset(p->g, n);
    for (size_t i = 0; i < p->n_gaps; i++) {
        if (strcmp(p->gaps[i].op, n->op) == 0 && strcmp(p->gaps[i].domain, n->domain) == 0) {
            return (int)i + 1;
        }
    }
    p->gaps = mem_push(p->gaps, p->n_gaps, &p->cap_gaps, sizeof *p->gaps);
    p->gaps[p->n_gaps++] =
        (struct plan_gap){.op = n->op, .domain = n->domain, .opset = opset, .node = n->name};
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
    bool looks_itself = op->domain && strcmp(op->domain, "tflite") != 0;
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
        const struct op *op = op_find(n->domain, n->op, node_opset(p->g, n));
        int gap = op ? gap_before(p, n) : gap_of(p, n);
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
    return strncmp(n->op, "Random", 6) != 0;
}

static int fold_constants(struct plan *p, struct err *err)
{
    for (size_t i = 0; i < p->g->n_nodes; i++) {
        const struct node *n = &p->g->nodes[i];
        if (p->steps[i].blocked || !foldable(p, n)) {
            continue;
        }
        struct slots s;
        slots_init(&s, n);
        for (int k = 0; k < n->n_in; k++) {
            s.in[k] = n->in[k] >= 0 ? plan_constant(p, n->in[k]) : NULL;
        }
        int rc = node_run(p, i, s.in, s.out, err);
        for (int k = 0; k < n->n_out && !rc; k++) {
            if (n->out[k] >= 0) {
                p->folded[n->out[k]] = s.out[k];
            } else {
                tensor_free(s.out[k]);
            }
        }
        slots_fini(&s);
        if (rc) {
            return rc;
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
        if (!op || !op->prepare || p->steps[i].folded) {
            continue;
        }
        struct slots s;
        slots_init(&s, n);
        for (int k = 0; k < n->n_in; k++) {
            s.in[k] = n->in[k] >= 0 ? plan_constant(p, n->in[k]) : NULL;
        }
        struct op_prep prep = {
            .node = n,
            .opset = node_opset(p->g, n),
            .n_in = n->n_in,
            .constants = s.in,
            .in_q = p->quants + p->steps[i].quants,
            .out_q = p->quants + p->steps[i].quants + n->n_in,
            .numerics = p->o.numerics,
        };
        int rc = op->prepare(&prep, &p->steps[i].state, err);
        slots_fini(&s);
        if (rc) {
            return err_in(err, "node '%.120s' (%s)", n->name, n->op);
        }
    }
    return OK;
}

/* Constants that stand on odd addresses of a mapped file are copied once, so that kernels may use
 * plain loads. */
static int align_constants(struct plan *p, struct err *err)
{
    for (size_t v = 0; v < p->g->n_values; v++) {
        struct tensor *c = p->g->values[v].constant;
        if (c && (uintptr_t)c->data % MAX(dtype_size(c->dtype), (size_t)1)) {
            p->folded[v] = tensor_aligned(c);
            if (!p->folded[v]) {
                return err_set(err, E_LIMIT, "out of memory for initializer '%s' of %zu bytes",
                               p->g->values[v].name, c->size);
            }
        }
    }
    return OK;
}

static void count_uses(struct plan *p)
{
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
    int rc = graph_fuse(g, p->o.numerics, &p->g, err);
    if (rc) {
        goto out;
    }
    p->steps = mem_alloc(p->g->n_nodes * sizeof *p->steps);
    p->uses = mem_alloc(p->g->n_values * sizeof *p->uses);
    p->folded = mem_alloc(p->g->n_values * sizeof *p->folded);
    p->gap = mem_alloc(p->g->n_values * sizeof *p->gap);
    list_quants(p);
    rc = bind_operators(p, err);
    rc = rc || p->o.partial ? rc : check_gaps(p, err);
    rc = rc ? rc : align_constants(p, err);
    rc = rc ? rc : fold_constants(p, err);
    rc = rc ? rc : check_gaps(p, err);
    rc = rc ? rc : prepare_steps(p, err);
    if (!rc) {
        count_uses(p);
        p->wide = o->numerics == NUM_ORT ? wide_values(p->g) : NULL;
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

void plan_free(struct plan *p)
{
    if (!p) {
        return;
    }
    for (size_t i = 0; p->steps && i < p->g->n_nodes; i++) {
        if (p->steps[i].op && p->steps[i].op->release && p->steps[i].state) {
            p->steps[i].op->release(p->steps[i].state);
        }
    }
    for (size_t v = 0; p->folded && v < p->g->n_values; v++) {
        tensor_free(p->folded[v]);
    }
    free(p->folded);
    free(p->gap);
    free(p->wide);
    free(p->gaps);
    free(p->quants);
    free(p->uses);
    free(p->steps);
    graph_free(p->g);
    free(p);
}

/* ---- Running -------------------------------------------------------------------------------- */

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

static int tap_value(const struct run_options *o, int value, const struct tensor *t,
                     struct err *err)
{
    return o && o->tap ? o->tap(o->tap_ctx, value, t, err) : OK;
}

/* Drops the inputs that no later node wants. */
static void release_inputs(struct run *r, const struct node *n)
{
    for (int k = 0; k < n->n_in; k++) {
        int v = n->in[k];
        if (v >= 0 && --r->left[v] == 0) {
            tensor_free(r->values[v]);
            r->values[v] = NULL;
        }
    }
}

/* A node that computes float16 in float32: see wide.h. */
static int run_wide(struct run *r, size_t i, struct slots *s, struct err *err)
{
    const struct plan *p = r->p;
    const struct node *n = &p->g->nodes[i];
    struct tensor **own = mem_alloc(((size_t)n->n_in + 1) * sizeof *own);
    bool half = false, like = strcmp(n->op, "CastLike") == 0;
    /* The type to cast to is that of input 1, which may be held wide. */
    bool to_half = like && (s->in[1]->dtype == DT_F16 || (n->in[1] >= 0 && r->held[n->in[1]]));
    int rc = wide_inputs(n, r->held, s->in, own, &half, p->o.budget, err);
    if (!rc && half && wide_cast(n)) {
        s->out[0] = tensor_ref(s->in[0]);
    } else if (!rc && to_half) {
        rc = tensor_to_f32(s->in[0], p->o.budget, &s->out[0], err);
        rc = rc ? rc : wide_round(&s->out[0], p->o.budget, err);
    } else {
        rc = rc ? rc : node_run(p, i, s->in, s->out, err);
    }
    half = half && (!like || to_half);
    for (int k = 0; k < n->n_out && !rc; k++) {
        if (!half || n->out[k] < 0 || s->out[k]->dtype != DT_F32) {
            continue;
        }
        r->held[n->out[k]] = p->wide[n->out[k]];
        rc = p->wide[n->out[k]] ? OK : wide_round(&s->out[k], p->o.budget, err);
    }
    for (int k = 0; k < n->n_in; k++) {
        tensor_free(own[k]);
    }
    free(own);
    return rc;
}

static int run_step(struct run *r, size_t i, const struct run_options *o, struct err *err)
{
    const struct plan *p = r->p;
    const struct node *n = &p->g->nodes[i];
    struct slots s;
    slots_init(&s, n);
    for (int k = 0; k < n->n_in; k++) {
        int v = n->in[k];
        s.in[k] = v < 0 ? NULL : r->values[v] ? r->values[v] : plan_constant(p, v);
    }
    int rc = r->held && wide_node(n) ? run_wide(r, i, &s, err) : node_run(p, i, s.in, s.out, err);
    for (int k = 0; k < n->n_out && !rc; k++) {
        if (n->out[k] >= 0) {
            r->values[n->out[k]] = s.out[k];
        } else {
            tensor_free(s.out[k]);
        }
    }
    for (int k = 0; k < n->n_out && !rc; k++) {
        if (n->out[k] >= 0) {
            rc = tap_value(o, n->out[k], s.out[k], err);
        }
    }
    if (!rc) {
        release_inputs(r, n);
        for (int k = 0; k < n->n_out; k++) {
            if (n->out[k] >= 0 && r->left[n->out[k]] == 0) {
                tensor_free(r->values[n->out[k]]); /* an output that nobody reads */
                r->values[n->out[k]] = NULL;
            }
        }
    }
    slots_fini(&s);
    return rc;
}

static int feed_inputs(struct run *r, const struct tensor *const *inputs,
                       const struct run_options *o, struct err *err)
{
    const struct graph *g = r->p->g;
    for (size_t i = 0; i < g->n_inputs; i++) {
        int rc = check_input(g, i, inputs[i], err);
        if (!rc) {
            r->values[g->inputs[i]] = tensor_ref(inputs[i]);
            rc = tap_value(o, g->inputs[i], inputs[i], err);
        }
        if (rc) {
            return rc;
        }
    }
    for (size_t i = 0; i < g->n_outputs; i++) { /* outputs that no node computes any more */
        const struct tensor *c = plan_constant(r->p, g->outputs[i]);
        int rc = c ? tap_value(o, g->outputs[i], c, err) : OK;
        if (rc) {
            return rc;
        }
    }
    return OK;
}

int plan_run(const struct plan *p, const struct tensor *const *inputs, struct tensor **outputs,
             const struct run_options *o, struct err *err)
{
    const struct graph *g = p->g;
    struct run r = {.p = p, .values = mem_alloc(g->n_values * sizeof *r.values)};
    r.left = mem_alloc(g->n_values * sizeof *r.left);
    r.held = p->wide ? mem_alloc(g->n_values + 1) : NULL;
    memcpy(r.left, p->uses, g->n_values * sizeof *r.left);
    int rc = feed_inputs(&r, inputs, o, err);
    for (size_t i = 0; i < g->n_nodes && !rc; i++) {
        if (o && cancelled(o->cancel)) {
            rc = err_set(err, E_STOP, "cancelled");
        } else if (!p->steps[i].folded && !p->steps[i].blocked) {
            rc = run_step(&r, i, o, err);
        }
    }
    for (size_t i = 0; i < g->n_outputs && !rc && outputs; i++) {
        int v = g->outputs[i];
        const struct tensor *t = r.values[v] ? r.values[v] : plan_constant(p, v);
        outputs[i] = t ? tensor_ref(t) : NULL;
    }
    for (size_t v = 0; v < g->n_values; v++) {
        tensor_free(r.values[v]);
    }
    free(r.values);
    free(r.held);
    free(r.left);
    return rc;
}
