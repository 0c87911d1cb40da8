/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * upgrade.h: private to analysis/: nodes of one model written in the operator set of another.
 */
#ifndef ANALYSIS_UPGRADE_H
#define ANALYSIS_UPGRADE_H

#include "engine/engine.h"

/* Adds node n of graph f to graph g, spelled for g's opset, with inputs `in` and outputs `out`
 * (values of g). E_UNSUPPORTED when the operator's meaning cannot be kept. */
int node_upgrade(struct graph *g, const struct graph *f, const struct node *n, const int *in,
                 const int *out, struct err *err);

#endif
