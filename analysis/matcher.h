/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * matcher.h: private to analysis/: the state of one matching, shared by the pairing (match.c) and
 * by what makes lists of the pairs (match_list.c).
 */
#ifndef ANALYSIS_MATCHER_H
#define ANALYSIS_MATCHER_H

#include "analysis/analysis.h"
#include "analysis/qmodel.h"

struct matcher {
    const struct graph *f, *i; /* FP32, INT8 */
    struct qmodel qf, qi;
    int *to_int8;      /* FP32 value -> INT8 unit, -1 */
    int *to_fp32;      /* INT8 unit -> FP32 value, -1 */
    enum match_by *by; /* per FP32 value */
    struct match *out;
};

/* Made by a node, from something that is not constant. */
bool match_activation(const struct qmodel *q, int v);
const struct node *match_producer(const struct graph *g, int v); /* NULL: none */
/* Operator that makes an INT8 unit, behind its quantizer. */
const struct node *match_unit_node(const struct qmodel *q, int unit);
bool match_integer_type(enum dtype d); /* known, and not a float */
/* Relu, Clip, BatchNormalization: what quantizers take into the operator in front. */
bool match_absorbable(const struct node *n);

/* match_list.c: fills m->out from the pairs. */
int match_list_layers(struct matcher *m, struct err *err);
void match_list_unmatched(struct matcher *m);

#endif
