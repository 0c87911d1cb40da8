/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * forward.h: private to tests/bench: one model made ready for timing.
 */
#ifndef TESTS_BENCH_FORWARD_H
#define TESTS_BENCH_FORWARD_H

#include "formats/formats.h"

enum { MAX_INPUTS = 32 };

struct options {
    const char *model, *npy, *side; /* npy, side: NULL when not given */
    enum numerics numerics;
    int threads, runs, warm; /* runs of each thread */
    int split;               /* threads inside each layer */
    int for_ms;              /* run for so long instead; 0: as often as runs says */
    bool tap, plain, zeros, fused, json, profile, profile_nodes, serve;
};
struct bench {
    struct options o;
    struct graph *g;
    struct plan *plan;
    struct budget budget;
    struct par *par;
    bool *wanted;           /* by --tap, per value; NULL: all */
    struct tensor **inputs; /* one per input of the model */
    struct tensor **rows;   /* samples for the first input; none: `inputs` serve all runs */
    size_t n_rows;
    double read_ms, plan_ms;
};

/* Runs one image; tap may be NULL. */
int bench_run(const struct bench *b, size_t image, plan_tap *tap, void *ctx, struct err *err);
/* Runs o.runs images in this thread and prints where the time went, by operator or node: each node
 * has the time from the value made before to its own, so releasing is counted with what follows. */
int profile_runs(const struct bench *b, struct err *err);

#endif
