/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * local_run.h: private to tui/: the third run of an image, in which every INT8 layer gets FP32
 * activations through its own input quantizers.
 */
#ifndef TUI_LOCAL_RUN_H
#define TUI_LOCAL_RUN_H

#include "tui/tui.h"

/* What stays the same for all images. */
struct local_setup {
    const struct match *match;
    const struct plan *plan; /* of the INT8 side */
    struct local_map *map;
    bool *grid;   /* per layer: its value is floats that codes stand for */
    bool *wanted; /* per value of the executed graph: a layer, or feeds sums that may saturate */
    bool *feeds;  /* the latter; NULL: none are looked at */
};
/* NULL without a pair. */
struct local_setup *local_setup_new(const struct session *s);
void local_setup_free(struct local_setup *u);

/* One image. */
struct local_lane;
/* in: what the INT8 plan takes; real: the sample before that. sums: count accumulators too, which
 * is slow. r gets the figures. */
int local_begin(const struct local_setup *u, struct tensor *const *in, struct tensor *const *real,
                bool sums, struct par *par, const struct cancel *cancel, struct local_study *r,
                struct local_lane **out, struct err *err);
/* The FP32 activation of a layer is there. */
void local_offer(struct local_lane *l, size_t layer, const struct tensor *x);
/* Runs as far as the activations offered allow; `all`: to the end, no more will come. */
int local_follow(struct local_lane *l, bool all, struct err *err);
void local_end(struct local_lane *l);

#endif
