/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * race.h: private to race*.c: what a race knows of its trials.
 */
#ifndef ANALYSIS_RACE_H
#define ANALYSIS_RACE_H

#include "analysis/analysis.h"

/* A trial in a race. Effects are what it changes on all images, as far as known, by the slopes of
 * the outcome at the base: in the unit of the outcome, larger is better. */
struct runner {
    const struct trial *t;
    size_t index; /* of the trial */
    double effect;
    double noise;  /* variance of what an image adds, over its size^2 */
    double error;  /* squared standard error of the effect, once it is asked for */
    double chance; /* that it belongs to the first places although it is not there, likewise */
};

/* How much image i may change, beside the mean of all: 1 where they are even. */
double race_size(const struct sweep *w, size_t i);
/* Sums of these, and of their squares, over images from a to b. */
double race_sizes(const struct sweep *w, size_t a, size_t b, double *squares);
/* Change of the outcome with either of the sums of its terms over all images. */
void race_slopes(const struct sweep *w, double k[2]);
/* What a trial changes on image i, by these slopes, over the size of the image. */
double race_change(const struct sweep *w, const struct trial *t, size_t i, const double k[2]);
/* Fills in effects and noise of runners that have all seen as many images. common: an image does
 * something to all of them, which is no noise between them. */
void race_estimate(const struct sweep *w, size_t n, struct runner *r, size_t seen, bool common);
/* Squared standard error of an effect. common: noise of all runners. */
double race_error(const struct sweep *w, const struct runner *r, double common, size_t seen);
/* That noise, of n runners in the order of their effects: from the last of the first places on,
 * since trials in front may be far noisier. */
double race_common_noise(const struct sweep *w, size_t n, const struct runner *r);
/* For qsort(): the largest effect first. */
int race_best_first(const void *pa, const void *pb);
/* How much of an effect w->within is beside a trial. Where that has taken away most of the error,
 * the same change makes more decibels than at the base, whose slopes effects are in. */
double race_tolerance(const struct sweep *w, const struct trial *t);
/* Where all that was asked for has seen `seen` images: marks the trials left behind that belong to
 * the first places with a chance of a tenth or more, and returns how many (race_chance.c). */
size_t race_second_chance(const struct sweep *w, size_t seen, bool *next);

#endif
