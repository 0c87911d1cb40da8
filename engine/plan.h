/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * plan.h: private to engine/: what a plan is made of, and how one of its nodes is executed.
 */
#ifndef ENGINE_PLAN_H
#define ENGINE_PLAN_H

#include "engine/op.h"

struct step {
    const struct op *op;
    void *state;
    size_t quants; /* where the parameters of inputs, then outputs, start in plan.quants */
    int tail;      /* node whose activation this one applies on the way, -1; see op_call.tail */
    struct op_tail tail_range;
    bool folded;  /* outputs are constants of the plan */
    bool blocked; /* by a gap: not run */
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

int plan_opset(const struct graph *g, const struct node *n);

/* Room for the pointers of a node's inputs and outputs, inline for usual sizes. */
struct slots {
    const struct tensor **in;
    struct tensor **out;
    const struct tensor *in_room[MAX_OP_IN];
    struct tensor *out_room[MAX_OP_OUT];
};
void slots_init(struct slots *s, const struct node *n);
void slots_fini(struct slots *s);

/* The call of node i with these inputs and outputs, ready for call_run(). */
struct op_call plan_call(const struct plan *p, size_t i, const struct tensor **in,
                         struct tensor **out);
/* Runs the call of node i; on failure no output is left behind. */
int call_run(const struct plan *p, size_t i, struct op_call *c, struct err *err);

#endif
