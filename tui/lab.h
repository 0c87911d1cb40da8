/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * lab.h: private to tui/: measures trials of a sweep over images.
 */
#ifndef TUI_LAB_H
#define TUI_LAB_H

#include "tui/tui.h"

/* What a job needs to measure: a copy of what the session had when it started. */
struct lab;
struct lab_options {
    int jobs;     /* threads */
    bool brute;   /* every trial by itself and as a whole: nothing is reused */
    bool retain;  /* images will be asked for again: what is known of them is kept while it fits */
    bool race;    /* lab_survey() and lab_ahead() come first, then images are asked for once more:
                     inputs and FP32's outputs are kept until then while they fit */
    size_t first; /* the base leaves activations of the first so many images alone; 0: of all */
};
/* Called with the lock held. The images of the sweep are used in its order. */
struct lab *lab_new(struct session *s, const struct sweep *w, const struct lab_options *o);
void lab_free(struct lab *l);
/* Makes the trial at w->base the model that others are compared with and follow from. */
int lab_base(struct lab *l, struct sweep *w, struct err *err);
/* Frees the plan of a trial; measuring it again makes another. */
void lab_close(struct lab *l, size_t trial);
/* Brings the images into another order: order[i] is where the i-th was. The base has seen all, no
 * trial any. Called with session.lock held. */
void lab_order(struct lab *l, struct sweep *w, const size_t *order);
/* Measures the base, and the n trials of the list, on the images up to `upto`; trials that have
 * seen some already take part from where they stand. Works on `jobs` threads; scores are added in
 * image order and with session.lock held, so a view sees them grow and results depend on no number
 * of threads. Trials that fail get their error. E_STOP when cancelled; what was added by then is
 * whole images. */
int lab_measure(struct lab *l, struct sweep *w, size_t n, const size_t *trials, size_t upto,
                struct err *err);
/* The same of all trials; tells the progress how many runs that takes. */
int lab_measure_all(struct lab *l, struct sweep *w, size_t upto, struct err *err);
/* Whether a trial was once found to give the scores that its model gives by itself. */
bool lab_verified(const struct lab *l, size_t trial);
void lab_keep_verified(const struct lab *l, size_t trial);
/* Before a race: where the base's errors may order the images, it is measured on a few of them, and
 * for as long as these are uneven on twice as many; after all the images are put in the order in
 * which a race takes them, see sweep_order(). */
int lab_survey(struct lab *l, struct sweep *w, struct err *err);
/* Measures the base on the images up to `upto`, and a few more, each thread one of its own. */
int lab_ahead(struct lab *l, struct sweep *w, size_t upto, struct err *err);
/* Runs that lab_measure() of n trials up to `upto` will add to the progress. */
size_t lab_runs(const struct sweep *w, size_t n, const size_t *trials, size_t upto);
/* Runs so far: of the FP32 model, of the base, of trials. */
size_t lab_ran(const struct lab *l);
/* Progress: how many runs there will be in all, as far as known. */
void lab_expect(struct lab *l, size_t runs);

#endif
