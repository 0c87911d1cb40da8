/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * run_image.h: private to tui/: one image through both sides.
 */
#ifndef TUI_RUN_IMAGE_H
#define TUI_RUN_IMAGE_H

#include "tui/local_run.h"
#include "tui/memo.h"

/* What a run needs, fixed when it starts: pins may change while it is under way. */
struct run_setup {
    const struct match *match;
    const struct graph *fp32;   /* as it was loaded; NULL = not */
    const struct plan *plan[2]; /* by side; NULL = not loaded */
    int *layer_at[2];           /* value of the executed graph -> layer, -1 */
    bool *wanted[2];            /* per value of the executed graph: it shows a layer */
    const struct preprocess *pp;
    size_t n_inputs;
    struct model_input *inputs;
    bool classify, hist;
    struct local_setup *local; /* NULL: no local errors are wanted */
};

/* How an image is run. */
struct run_with {
    const struct run_hooks *hooks; /* may be NULL */
    const struct cancel *cancel;
    struct par *par;                /* threads inside a layer, or NULL */
    struct memo *memo;              /* what is known of single images, or NULL */
    const struct memo_keys *keys;   /* with a memo */
    struct memo *outputs;           /* where FP32's outputs are held, or NULL */
    size_t room;                    /* bytes of all that is held there */
    struct digest image;            /* with either: what the sample is, its label too */
    struct tensor *const *recalled; /* the FP32 side, as memo_recall() gives it: it is not run */
    bool local; /* local errors too, where the setup has them and all is run anew */
    bool sums;  /* and accumulators, which is slow */
};

void run_setup_init(struct run_setup *u, const struct session *s);
void run_setup_fini(struct run_setup *u);
/* Loads the sample, runs both sides and compares every layer; r is image_result_init'ed. Touches
 * nothing but its arguments, so many threads may do it at once. */
int run_one(const struct run_setup *u, const struct sample *sample, const struct run_with *with,
            struct image_result *r, struct err *err);

#endif
