/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * pinner.h: private to the pin*.c files: a mixed graph while it is built, and the parts of the
 * rewrite that depend on the precision of a layer.
 */
#ifndef ANALYSIS_PINNER_H
#define ANALYSIS_PINNER_H

#include "analysis/analysis.h"
#include "analysis/qmodel.h"

/* A value of the mixed graph that was rounded. */
struct rounded {
    int from, to;
    enum precision as;
};
struct pinner {
    const struct graph *f, *i; /* FP32, INT8 */
    struct graph *g;           /* the mixed graph, grown from a clone of i */
    const struct match *m;
    const struct pin_set *pins;
    struct qmodel qf, qi;
    int *graft[N_PRECISIONS]; /* FP32 value -> value in g, -1; activations of layers in the first,
                                 what layers compute on the way by the precision of the layer */
    int *layer_of;            /* FP32 value -> layer, -1 */
    int *stand_in;            /* layer -> float value in g that stands for its codes, -1 */
    bool tokens; /* the INT8 model has names that ONNX Runtime's optimizer made: see pin_guard.c */
    size_t n_rounded, cap_rounded;
    struct rounded *rounded;
};

/* pin.c: a value of g with a name made from `stem`; the node that makes a value, as output *k. */
int pinner_value(struct graph *g, const char *stem);
struct node *pinner_producer(struct graph *g, int v, int *k);
/* The precision of a pinned layer. */
static inline enum precision pinner_as(const struct pinner *p, size_t layer)
{
    return p->pins->as ? (enum precision)p->pins->as[layer] : PREC_FP32;
}

/* pin_guard.c: out = copy of in, which the runtime leaves alone. */
void pinner_barrier(struct graph *g, int in, int out);
/* Puts copies in front of inputs of FP32 node n, where the runtime would fuse. */
void guard_inputs(struct pinner *p, const struct node *n, int *in, enum precision as);
/* Whether the model has names that ONNX Runtime's optimizer made. */
bool guard_tokens(const struct graph *g);

/* pin_round.c: makes `to` of `from`, rounded; `layer` is the one whose activation that is, -1:
 * none. E_UNSUPPORTED where the INT8 model has no scale for it. */
int round_output(struct pinner *p, int from, int to, enum precision as, int layer, struct err *err);
/* What a layer of that precision reads for value `in` of g; the same value for all that read it so.
 * Where nothing tells a scale, that is `in`. */
int round_input(struct pinner *p, int *in, enum precision as, int layer, struct err *err);
/* A constant of an FP32 node, rounded, as a value of g; -1 in *out: as it is. */
int round_constant(struct pinner *p, const struct node *n, int slot, const struct tensor *t,
                   enum precision as, int *out, struct err *err);
/* E_UNSUPPORTED when the INT8 model cannot hold layers of that precision. */
int round_check(const struct pinner *p, enum precision as, struct err *err);

#endif
