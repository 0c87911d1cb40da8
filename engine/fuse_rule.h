/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * fuse_rule.h: private to fuse_groups.c and fuse_rules.c: a group of DQ, operator and Q, and the
 * rule by which it becomes one integer operator.
 */
#ifndef ENGINE_FUSE_RULE_H
#define ENGINE_FUSE_RULE_H

#include "engine/fuse.h"

/* The surroundings of one node. */
struct group {
    int node;
    int n_in;           /* inputs that are given */
    int n_dq, dq[3];    /* DQ parents; those of the first three inputs, -1 where there is none */
    int n_q, q;         /* consumers that are Q; the first of them, or -1 */
    int n_uses;         /* consumers of all outputs */
    int clip;           /* Relu or Clip between node and q that q makes redundant, or -1 */
    bool dq_owned;      /* nobody else sees the DQ parents */
    bool is_output;     /* some output is a graph output */
    enum dtype in, out; /* code types of dq[0] and q */
};

struct rule {
    const char *op;
    bool (*fits)(const struct fuser *f, const struct group *gr);
    void (*fuse)(struct fuser *f, const struct group *gr, const char *to);
    const char *to; /* what it becomes; NULL: the same operator, on codes */
    bool weighted;  /* only the first input has to have the type of the output */
};
/* The first rule that the group fits; NULL: none. */
const struct rule *fuse_rule(const struct fuser *f, const struct group *gr);
bool fuse_has_rule(const char *op);

#endif
