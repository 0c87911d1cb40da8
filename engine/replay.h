/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * replay.h: private to engine/: a replay under way, one step at a time; replay.c runs one, stack.c
 * several in step.
 */
#ifndef ENGINE_REPLAY_H
#define ENGINE_REPLAY_H

#include "engine/plan.h"

struct replay {
    const struct plan *p, *base;
    int *twin; /* per value: what the base calls by the same name and may have other bits, or -1 */
};

struct replaying {
    const struct replay *r;
    const struct replay_options *o;
    struct run_options ro;
    struct run *run; /* NULL: it could not begin */
    struct activations *known;
    bool *wanted;       /* per value: looked at as soon as it is made */
    struct digest *ids; /* of this run: those of the base where results were equal */
    bool met;           /* a result was equal: what is behind it may be known */
};

/* replay_end() is called whatever this returns. x stays where it is until then. */
int replay_begin(struct replaying *x, const struct replay *r, const struct tensor *const *inputs,
                 struct activations *known, const struct replay_options *o, struct err *err);
/* Executes the next node; *more false: there was none. */
int replay_step(struct replaying *x, bool *more, struct err *err);
/* Frees what x has. rc: of what came before; returns it, or whether outputs could be taken. */
int replay_end(struct replaying *x, int rc, struct tensor **outputs, struct err *err);

#endif
