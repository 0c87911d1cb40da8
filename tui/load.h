/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * load.h: private to tui/: from files to graphs and plans (load.c). Nothing here changes the
 * session but its budget.
 */
#ifndef TUI_LOAD_H
#define TUI_LOAD_H

#include "tui/tui.h"

/* Plans a model as the session's settings say. probe: also find types and shapes that the file
 * leaves open, and nodes that their kernels refuse. */
int side_plan(struct session *s, struct graph *g, bool reference, bool probe, struct plan **out,
              struct err *err);

/* One model to be loaded, and what came of it. */
struct loading {
    struct session *s;
    const char *path;   /* NULL: none */
    const char *cache;  /* calibration that makes INT8 of an FP32 model; NULL: none */
    bool reference;     /* the FP32 side */
    struct graph *keep; /* without a path: a model that is loaded, to be planned again */
    struct graph *g;
    struct plan *p;
    struct implicit report; /* of the calibration */
    int rc;
    struct err err;
};
/* Loads both, at once when the session may use two threads; the error is that of the first that has
 * one. Graphs and plans are the caller's, also then; g is keep where that is given. */
int load_sides(struct loading *a, struct loading *b, struct err *err);

#endif
