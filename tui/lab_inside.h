/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * lab_inside.h: private to lab*.c: what a lab is made of, and what its parts do for each other.
 */
#ifndef TUI_LAB_IMAGE_H
#define TUI_LAB_IMAGE_H

#include "tui/lab.h"
#include "tui/results.h"

/* What is known of one image. */
struct shelf {
    struct tensor **in;  /* for the INT8 side; NULL: not loaded */
    struct tensor **ref; /* outputs of the FP32 model, in real numbers */
    struct activations *known;
    unsigned base;   /* which base has left its activations; 0: none */
    unsigned scored; /* which base the score is of; 0: none */
    struct image_score score;
    double own;  /* metric of the user's own: FP32's outputs against themselves */
    size_t kept; /* bytes counted in lab.kept */
};

struct bench {
    struct plan *plan;
    struct replay *replay;
};

enum { KEEP_ALL, KEEP_BOUNDARIES, KEEP_NOTHING }; /* of the base's activations */

struct lab {
    struct session *s; /* its lock, job and budget */
    struct lab_options o;
    const struct graph *fp32, *int8;
    const struct match *match;
    const struct plan *plan_fp32;
    const struct preprocess *pp;
    struct plan_options po;
    bool classify;
    const struct own_metric *own; /* that the sweep is judged by; NULL: one of the table */
    atomic_bool own_failed;       /* of FP32 or the base, so that nothing can be judged */
    int jobs;
    size_t n_inputs;
    struct model_input *inputs;
    size_t n_images;
    struct sample *samples; /* copies: the data set may grow meanwhile */
    struct shelf *shelves;  /* per image of the sweep */
    bool survey;            /* of a race: the base alone is measured, trials follow */
    struct bench base;      /* opened when something is to be run */
    unsigned n_bases;
    size_t n_trials;
    struct bench *trials;
    struct question *q; /* NULL: nothing is taken from earlier sweeps */
    const char **names; /* tensors of the layers, NULL behind the last */
    bool asked;         /* q is ready, or gone */
    struct sheet *base_sheet;
    size_t n_sheets;
    struct sheet **sheets;    /* of trials, once measured */
    bool *keep[KEEP_NOTHING]; /* by level: all that the base makes, what trials take; 2: nothing */
    atomic_int level;         /* rises where memory is short */
    atomic_size_t size;       /* the largest shelf so far */
    atomic_size_t kept;       /* bytes on shelves of images that are not open */
    atomic_bool tight;        /* memory was short: nothing is kept there any more */
    atomic_size_t runs;       /* of whole models and of trials */
    size_t done, total;       /* progress; under s->lock */
    struct err failed;        /* of the first image that could not be run; under m->lock */
    size_t failed_at;         /* which that is */
};

/* ---- What is known already (lab.c) ----------------------------------------------------------- */
struct sheet *lab_sheet(const struct lab *l, size_t trial); /* NULL: nothing */

/* ---- Many images (lab_many.c) ---------------------------------------------------------------- */
/* As lab_measure(), with models that are open. */
int lab_measure_open(struct lab *l, struct sweep *w, size_t n, const size_t *trials, size_t upto,
                     struct err *err);
/* Images that all of the trials have seen. */
size_t lab_seen(const struct sweep *w, size_t n, const size_t *trials);

/* ---- One image (lab_image.c) ----------------------------------------------------------------- */
/* Loads the image, runs it through the FP32 model and the base, unless that is known; the base's
 * activations are there for `trials` alone. */
int shelf_open(struct lab *l, size_t at, bool trials, struct err *err);
/* The image has no more trials for now: kept if it will be asked for again and memory allows. */
void shelf_close(struct lab *l, size_t at);
void shelf_clear(const struct lab *l, struct shelf *x);
/* Keeps less of the base, in this image and those that follow; false: it is nothing already. */
bool shelf_shrink(struct lab *l, struct shelf *x);
/* A trial to be run on an open image. */
struct task {
    const struct bench *bench;
    size_t trial;              /* for the caller */
    struct image_score *score; /* to be filled in */
    int rc;
    struct err err;
    struct tensor **out; /* private */
};
/* Runs trials on an open image, those that have layers in common together. Many threads may do so
 * at once. */
void shelf_trials(struct lab *l, size_t at, size_t n, struct task *tasks);

#endif
