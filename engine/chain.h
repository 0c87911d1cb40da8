/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * chain.h: private to engine/: arithmetic behind an operator, as that of a hard swish, computed by
 * the kernel in front in the same pass: a block of elements goes through all nodes while it is in
 * the L1 cache. Every node has its result, with the bits that it would have alone.
 */
#ifndef ENGINE_CHAIN_H
#define ENGINE_CHAIN_H

#include "engine/elem.h"
#include "engine/op.h"

struct plan;

enum { CHAIN_MAX = 6 }; /* nodes behind the first */

/* What a node reads: a single float, what the first node reads, or what one of the nodes makes. */
enum { CHAIN_CONSTANT = -1, CHAIN_INPUT = 0 };
static inline int chain_result(int node) /* 0: the first node of all */
{
    return 1 + 2 * node;
}
static inline int chain_activation(int node) /* of the Relu or Clip behind it */
{
    return 2 + 2 * node;
}

struct chain {
    int n;
    bool reads_input; /* CHAIN_INPUT */
    struct chain_link {
        int node;
        f32_pair_fn *fn;
        int operands[2];
        float *constants; /* ELEM_BLOCK times the single float; NULL: it reads none */
    } links[CHAIN_MAX];
};

/* One execution: what is made. `links` is set by who calls the kernel, the rest by op_out_tail();
 * all NULL when the kernel does not compute the chain. */
struct chain_run {
    const struct chain *chain;
    const struct op_tail *tails[CHAIN_MAX]; /* activations behind the nodes; NULL: none */
    struct tensor *out[CHAIN_MAX], *act[CHAIN_MAX];
    const float *input;
};

/* Finds the chains of a plan, whose activations are joined. */
void chain_join(struct plan *p);
void chain_free(struct chain *c);

/* Makes the outputs for a first node whose result has these dimensions, unless they would differ:
 * c->chain then is NULL. On failure none is left. */
int chain_open(struct op_call *c, int rank, const int64_t *dims, struct err *err);
void chain_drop(struct chain_run *r);
/* Elements [at, at + n), n <= ELEM_BLOCK, of all nodes behind the first, whose result and
 * activation are those; NULL where it has none. */
void chain_block(const struct chain_run *r, size_t at, size_t n, const float *result,
                 const float *activation);

#endif
