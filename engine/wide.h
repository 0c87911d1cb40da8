/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * wide.h: private to engine/: float16 arithmetic as ONNX Runtime does it on a CPU. It has no
 * float16 kernels for most arithmetic: such nodes compute in float32, and what one hands to another
 * is not rounded in between, only where a chain of them ends.
 */
#ifndef ENGINE_WIDE_H
#define ENGINE_WIDE_H

#include "engine/engine.h"

/* Whether the node computes float16 in float32. */
bool wide_node(const struct node *n);
/* A Cast to float16: nothing happens to what is float16 already, also when it is held wide. */
bool wide_cast(const struct node *n);
/* Per value: only such nodes read it, so that it stays float32. free() it. */
bool *wide_values(const struct graph *g);
/* Inputs of such a node: float16 ones are replaced by float32 copies, kept in `own` for the caller
 * to free. *half: one of them stands for float16 (held[] tells for those kept wide). */
int wide_inputs(const struct node *n, const bool *held, const struct tensor **in,
                struct tensor **own, bool *half, struct budget *b, struct err *err);
/* Rounds a float32 tensor to float16, in place of the pointer. */
int wide_round(struct tensor **t, struct budget *b, struct err *err);

#endif
