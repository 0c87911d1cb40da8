/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * observe.h: private to tui/: what the activations of the FP32 model are on images, for calibration
 * (observe.c).
 */
#ifndef TUI_OBSERVE_H
#define TUI_OBSERVE_H

#include "tui/tui.h"

/* A prepared FP32 model and what was seen of it. */
struct observing {
    struct session *s;
    struct graph *g;          /* prepared: analysis.h */
    struct observation *seen; /* per value of g */
    size_t n;
    struct sample *samples; /* copies: the data set may change meanwhile */
    struct preprocess pp;   /* so may this */
    size_t failed;
    struct err err;    /* of the first image that failed */
    unsigned keep;     /* KEEP_ of calibrate.c's methods */
    bool channels;     /* sums by channel are kept too */
    struct plan *plan; /* of g */
    size_t n_inputs;
    struct model_input *inputs;
    /* private: */
    int *at;      /* per value of the executed graph: that of g, -1 */
    int *axis;    /* per value of g: of its channels, where sums by them are kept; 0: none */
    bool *wanted; /* per value of the executed graph */
    atomic_size_t next;
    size_t turn; /* next image to merge; under s->lock */
    bool stopped;
    pthread_cond_t merged;
};

/* Prepares the session's FP32 model and lists the images: those in the file or folder `path`, or of
 * the data set (NULL); the first `limit` of them (0: all).
 * The caller says what else is kept before it runs. */
int observing_new(struct session *s, const char *path, size_t limit, struct observing **out,
                  struct err *err);
/* Of the images of the data set that it lists, these alone. */
void observing_only(struct observing *o, size_t n, const size_t *images);
void observing_free(struct observing *o);
/* Runs the images; without the lock, inside a job. Same result for any number of threads. */
int observing_run(struct observing *o, struct err *err);

#endif
