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
    struct chain *chain; /* nodes that this one computes as well, see chain.h; NULL: none */
    int behind;          /* node that may follow row by row, tail and all, -1; see rows.h */
    int beside;          /* node that reads the same and may be made at once, -1; see op.beside */
    bool folded;         /* outputs are constants of the plan */
    bool blocked;        /* by a gap: not run */
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
    bool *wide;              /* per value: float16 that stays float32, see wide.h; NULL: none */
    struct digest seed;      /* of identities: numerics and kernels */
    struct digest *node_ids; /* per node, without its inputs */
    struct digest *ids;      /* per value */
    struct shared **shared;  /* held of o.store */
    size_t n_shared, cap_shared;
};

/* ---- Identities (identity.c) ---------------------------------------------------------------- */
/* Fills in seed, node_ids and ids. */
void plan_identify(struct plan *p);
/* Adds the attributes of a node. */
void node_attrs_digest(const struct node *n, struct digest *d);
/* Whether a node gives other values each time it runs, so that it is neither folded nor joined with
 * one that looks the same. */
static inline bool node_is_random(const struct node *n)
{
    return strncmp(n->op, "Random", 6) == 0;
}
/* Identities of what node i makes from those of its inputs; ids: per value, may differ from p->ids
 * where more is known of the inputs. */
void node_identities(const struct plan *p, size_t i, struct digest *ids);

/* Finds what kernels make beside their results (join.c): fills in steps. */
void plan_join(struct plan *p);

/* ---- What plans have in common (shared.c) --------------------------------------------------- */
/* A folded or aligned constant that some plan has made, NULL when none has; one reference. */
struct tensor *plan_shared_constant(struct plan *p, struct digest id);
/* Offers t, whose reference it takes, to other plans; the one to use, one reference. */
struct tensor *plan_share_constant(struct plan *p, struct digest id, struct tensor *t);
/* The state of node i: made now, or by another plan before; it lives as long as the plan. */
int plan_share_state(struct plan *p, size_t i, const struct op_prep *prep, void **state,
                     struct err *err);
struct plan_store *plan_store_ref(struct plan_store *s);
/* Gives back all that the plan holds of its store. */
void plan_let_go(struct plan *p);

/* ---- Nodes ---------------------------------------------------------------------------------- */

/* One execution: tensors by value index and how many consumers still want each. */
struct run {
    const struct plan *p;
    const struct run_options *o; /* may be NULL */
    struct tensor **values;
    struct tensor **other; /* the same in the other order, when some node asked for it */
    struct tensor **tails; /* per node: its result, made by the node in front of it */
    bool *made;            /* per node: so, although there may be no result for want of readers */
    int *left;
    bool *held;    /* per value: float16 held as float32; NULL when the plan has no wide values */
    bool *missing; /* per value: a kernel refused it, or it is behind such; NULL: none is */
    bool *skip;    /* per node: not to be executed; NULL: none, see replay.c */
    size_t next;   /* node to execute */
};
/* Which results of node i its call is to make. */
void run_want(const struct run *r, size_t i, struct op_call *c);
/* Runs the call of node i at once with nodes that are joined to it; false: it is to be run by
 * itself. */
bool run_joined(struct run *r, size_t i, struct op_call *c);
/* Drops what a run has of a value. */
void run_forget(struct run *r, int v);

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
