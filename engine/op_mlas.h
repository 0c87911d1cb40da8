/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * op_mlas.h: private to op_mlas*.c.
 */
#ifndef ENGINE_OP_MLAS_H
#define ENGINE_OP_MLAS_H

#include "engine/fuse.h"
#include "engine/op.h"

/* Runs the ordinary operator of that name, whose sums have an order of their own. */
int mlas_run_ordinary(struct op_call *c, struct err *err);

#endif
