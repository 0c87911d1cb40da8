/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * trial.h: the third part of analysis.h, which includes it: what models with other pins achieve.
 * Outcomes, trials and sweeps, goals, searches, culprits.
 */
#ifndef ANALYSIS_TRIAL_H
#define ANALYSIS_TRIAL_H

#include "analysis/analysis.h"

/* ---- Outcomes: THE table of what a model achieves over images (outcome.c) ------------------- */
/* A quotient of two sums over images, so that any subset of images has its value and every image
 * its share in it. */
struct outcome {
    const char *name;  /* the word of --metric, and JSON field */
    const char *title; /* column head */
    const char *unit;  /* "dB", "%", "" */
    int digits;        /* decimals in tables */
    bool higher_is_better;
    bool counts; /* a share of the images, in percent */
    /* What one image adds to the two sums, for that side against FP32; false: nothing. */
    bool (*terms)(const struct image_score *s, enum side side, double t[2]);
    double (*value)(const double t[2]); /* of the sums; NAN undefined, INFINITY exact */
    const char *help, *formula;
};
enum { N_OUTCOMES = 8 };
extern const struct outcome outcomes[N_OUTCOMES + 1]; /* ends with name NULL */
const struct outcome *outcome_find(const char *name);
/* A row beside the table, for a metric of the user's own: the mean over images of image_score.own,
 * NAN as soon as one image has none. Texts are borrowed, and the row must outlive what uses it. */
struct outcome outcome_own(const char *name, const char *unit, bool higher_is_better,
                           const char *help);
bool outcome_is_own(const struct outcome *o);
/* Where sums over all outcomes have it: its row, N_OUTCOMES for the one of the user's own. */
size_t outcome_place(const struct outcome *o);
/* Over the images that could be run. */
double outcome_value(const struct outcome *o, size_t n, const struct image_score *s,
                     enum side side);

/* ---- Trials and sweeps (sweep.c) ------------------------------------------------------------ */
/* A mixed model that is tried out: which layers it pins, and what it achieves. */
struct trial {
    size_t layer; /* which it is about */
    bool *pinned; /* per layer of the match */
    uint8_t *as;  /* likewise: enum precision of those pinned */
    char *error;  /* it cannot be made or run; NULL: it can */
    bool in_effect;
    const char *why;    /* static; why the pin of `layer` is not in effect */
    size_t n, cap;      /* images measured, failed ones included: the first n of the sweep's */
    double (*terms)[2]; /* per image, of the sweep's outcome; 0, 0: failed or not counted */
    double *likeness;   /* per image: exp(-KL) of the classes, without classes the cosine; 0 to 1 */
    double sums[N_OUTCOMES + 1][2]; /* by outcome_place(); the last: of the sweep's, if it is own */
    uint64_t nonfinite;             /* output values with NaN or infinity on either side */
};
/* Adds the score of the next image; s->ok false: it could not be read. */
void trial_add(struct trial *t, const struct outcome *o, const struct image_score *s);
double trial_value(const struct trial *t, const struct outcome *o);

enum sweep_kind {
    SWEEP_LOO,    /* the model in force, one more layer in FP32 */
    SWEEP_ONLY,   /* everything in FP32 but one layer */
    SWEEP_PREFIX, /* the model in force, the first layers of the network in FP32 */
    SWEEP_SUFFIX, /* likewise, the last ones */
    SWEEP_BISECT, /* some prefixes */
    SWEEP_SEARCH, /* sets of pins that a search tried */
};
struct sweep {
    enum sweep_kind kind;
    const struct outcome *outcome;
    size_t n_layers;   /* of the match */
    uint8_t *as;       /* per layer: precision that trials pin it with, see sweep_pins_as() */
    struct trial base; /* what trials are compared with: the model in force, else all in FP32 */
    double fp32[N_OUTCOMES + 1][2]; /* sums of the FP32 model itself */
    double (*fp32_terms)[2];        /* per image that the base has seen, of `outcome` */
    size_t cap_fp32;
    double pooled[2][2][2]; /* hits and misses of trials by whether FP32 and the base hit; of a
                               search, see goal_pool() */
    size_t n_trials, cap_trials;
    struct trial *trials;
    size_t n_images;
    size_t *images; /* data set indices in the order in which they are measured */
    size_t top;     /* first places that a race makes exact; 0: no race */
    double doubt;   /* standard errors within which a race takes no decision */
    double within;  /* differences that do not matter to a race, in the unit of the outcome: it is
                       over when no other is so much better than the last of the first places; 0:
                       when  those are exact */
    double *sizes;  /* per image, how much it may change; NULL: all the same, see sweep_order() */
    size_t failed;  /* images that could not be read */
    size_t runs;    /* of models that it took, parts included */
    double seconds;
};
/* rows: layers that get a trial, of SWEEP_LOO and SWEEP_ONLY. all: layers that a trial may have in
 * FP32. base: pins of the base (NULL: none); takes over images. */
struct sweep *sweep_new(enum sweep_kind kind, const struct outcome *o, size_t n_layers,
                        size_t n_rows, const size_t *rows, const bool *all, const bool *base,
                        size_t n_images, size_t *images);
void sweep_free(struct sweep *w);
/* The precision (enum precision) of each layer where the base or a trial pins it; NULL, and before
 * it is called: FP32. */
void sweep_pins_as(struct sweep *w, const uint8_t *as);
/* Another trial with these layers pinned; returns its index. */
size_t sweep_try(struct sweep *w, size_t layer, const bool *pinned);
/* Whether the other sweep asks the same of the same images, so that what it has measured counts. */
bool sweep_same(const struct sweep *a, const struct sweep *b);
/* Adds the score of the base on the next image. */
void sweep_add_base(struct sweep *w, const struct image_score *s);
/* The FP32 model's own value of an outcome on the images that the base has seen. */
double sweep_fp32(const struct sweep *w, const struct outcome *o);
/* Whether trials are judged by what they gain over the base (SWEEP_LOO, SWEEP_SEARCH), or by their
 * value alone: beside FP32 itself, whose error is 0, gains would be infinite. */
bool sweep_is_gain(const struct sweep *w);
/* That gain (positive: better than the base, on the images that both have seen) or value, in the
 * unit of the outcome; NAN unknown. Two exact ones differ by 0. Of a partial trial: as expected on
 * all images, what it changes taken in proportion to their sizes. */
double sweep_effect(const struct sweep *w, const struct trial *t);
/* A trial that has seen the first images of a race only, which are those that change most: its sums
 * are not those of all images. */
bool sweep_is_partial(const struct sweep *w, const struct trial *t);
/* 95 % interval of it for images like these, images taken as independent: Student's t on the
 * jackknife's pseudo-values; for shares the adjusted Wald intervals, of paired proportions (Agresti
 * and Min 2005) or of one (Agresti and Coull 1998). NAN below two images. */
void sweep_interval(const struct sweep *w, const struct trial *t, double *lo, double *hi);
/* Trials by effect: largest gain or worst value first; prefixes and suffixes as they were tried.
 * Those measured on more images come before those on fewer, those with errors last; equals are told
 * apart by the SQNR. */
void sweep_rank(const struct sweep *w, size_t *order);
/* Of a race: trials behind the first `top` whose interval reaches past the last of those. */
size_t sweep_doubtful(const struct sweep *w, const size_t *order);
/* A trial that is the base as it is now. */
void sweep_keep_base(struct sweep *w);
/* Of the base and the trials that were measured on all images, those that no other beats at as low
 * a cost, cheapest first. cost: per trial, the base behind them; NULL: the number of layers in
 * FP32; NAN: unknown, left out. points: room for n_trials + 1. */
size_t sweep_pareto(const struct sweep *w, const double *cost, const struct trial **points);
/* Standard deviation of what an image adds to the effect. */
double sweep_spread(const struct sweep *w, const struct trial *t);
/* Whether larger effects come first: gains do; of values, the bad ones. */
bool sweep_larger_first(const struct sweep *w);
/* Order of images by a fixed seed, so that few images are not of one class. */
void sweep_shuffle(size_t n, size_t *images);
/* Brings the images, and what the base has measured on them, into another order: order[i] is where
 * the i-th was. No trial has seen any; those that the base has not seen stay behind the others. */
void sweep_permute(struct sweep *w, const size_t *order);
/* The same in the order of their sizes, largest first: the base's error, as measured on all of
 * them, or where w->within is above 0 on the first: the rest then stay, with the mean size. A tenth
 * of the mean at least. order: room for n_images, filled in. false, and nothing is done, where
 * sweep_orders() is false, and where errors are even. */
bool sweep_order(struct sweep *w, size_t *order);
/* Whether the base's errors may order the images: no trial has seen any, and effects are gains that
 * are no shares. */
bool sweep_orders(const struct sweep *w);
/* Whether the base's errors differ so much, on the images that it has seen, that more of them
 * should be measured to order these. */
bool sweep_is_uneven(const struct sweep *w);
/* A race (race.c): all trials see 4 images; those that may still reach place w->top, within
 * w->doubt standard errors, see a seventh more, and so on until all images are seen, or with
 * w->within until no other is left. Then those left behind that may still belong there, with a
 * chance of a tenth, catch up. Marks the trials to be measured next (per trial) and returns up to
 * which image; 0 when it is over. The base has seen as many as the trials at least. */
size_t sweep_race(const struct sweep *w, bool *next);
/* Of a race that is over: expected number of trials that are not among the first places although
 * they are better than the last of those, by more than w->within, by what the images that they have
 * seen say of the others. At most that is the probability that some are. 0 when nothing was left
 * out or it is no race, NAN unknown. */
double sweep_missed(const struct sweep *w);

/* ---- Goals (goal.c) ------------------------------------------------------------------------- */
/* What a set of pins is to achieve. */
struct goal {
    const struct outcome *outcome;
    bool is_drop; /* at most `limit` worse than FP32; else at least as good as `limit` */
    double limit; /* in the unit of the outcome */
};
bool goal_met(const struct goal *g, const struct sweep *w, const struct trial *t);
/* The value that has to be reached. */
double goal_value(const struct goal *g, const struct sweep *w);
/* The value that a trial, which has seen some of the images, is expected to have on all of them.
 * The base has seen all. Shares: by the mean rate on the four kinds of images that FP32 and the
 * base hit or miss (beta-binomial); other outcomes: the base's value and the gain on the same
 * images. */
double goal_expect(const struct goal *g, const struct sweep *w, const struct trial *t);
/* 95 % interval of that: shares by the same distribution, within what is sure; else for images like
 * those seen. */
void goal_interval(const struct goal *g, const struct sweep *w, const struct trial *t, double *lo,
                   double *hi);
/* The probability that it meets the goal on all of them: 0 and 1 where that is certain, as it is
 * for shares when the images left cannot change it. */
double goal_chance(const struct goal *g, const struct sweep *w, const struct trial *t);
/* Learns from all trials but the first, which is the base, how often images are hit that FP32 and
 * the base both hit, or both miss. */
void goal_pool(struct sweep *w);
/* 2: FP32 and the base differ on the image in whether it is a hit, so that it says most; 1: both
 * miss it, as others will, so that it soon makes certain of a miss of the goal; else 0. */
size_t goal_kind(const struct goal *g, const struct sweep *w, size_t image);

/* ---- Searches (search.c) -------------------------------------------------------------------- */
enum { SEARCH_SIZES = 4 }; /* of sets that are searched for size by size */
/* Where a search stands; trials are those of its sweep, the first of which is the base. */
struct search {
    size_t n_layers;
    bool *candidate; /* per layer: may be pinned */
    double *gain;    /* per layer: expected gain of pinning it alone, NAN unknown */
    size_t *single;  /* per layer: its trial, SIZE_MAX none */
    struct goal goal;
    bool has_limit;
    /* What a set costs: of those of one size that meet the goal the cheapest is taken. NULL: any.
     */
    double (*cost)(const void *ctx, const bool *pinned);
    const void *cost_ctx;
    size_t found; /* trial of the answer */
    bool reached; /* it meets the goal */
    bool minimal; /* each set with one pin less was measured and misses it */
    bool out_of_time;
    size_t n_points; /* the best set of each size, measured on all images; of sizes below the
                        answer's perhaps on some, see search_estimate() */
    size_t *points, cap_points;
    size_t tried[SEARCH_SIZES + 1];  /* sets by number of pins added */
    double missed[SEARCH_SIZES + 1]; /* expected number of sets of that size that meet the goal and
                                        were left out, NAN unknown */
    size_t runs;
    double seconds;
};
struct search *search_new(size_t n_layers, const bool *candidate, const struct goal *g,
                          bool has_limit);
void search_free(struct search *s);
/* Adds a trial to the points when no other of its size is as good. */
void search_point(struct search *s, const struct sweep *w, size_t trial);
/* Adds the best trial of that size, if none of it was measured on all images: an estimated point.
 */
void search_estimate(struct search *s, const struct sweep *w, size_t size);
/* The best trial of that size by what it is expected to do; SIZE_MAX: none. */
size_t search_best(const struct search *s, const struct sweep *w, size_t size);
/* A set that might be tried: a trial and one layer more. */
struct prospect {
    size_t parent, layer;
    double expect; /* value that adding up the gains of both promises */
    double score;  /* larger is better: that, and what likeness promises */
};
/* Layers that a trial pins beside the base. */
size_t search_size(const struct sweep *w, const struct trial *t);
/* Sets of `size` layers that were not tried yet, most promising first, from the best `width` trials
 * of one layer less and the single layers; free() *out. */
size_t search_prospects(const struct search *s, const struct sweep *w, size_t size, size_t width,
                        struct prospect **out);
/* Whether these layers were tried together; SIZE_MAX: no. */
size_t search_find(const struct sweep *w, const bool *pinned);
/* Fills in what may have been missed among sets of `size`: chances of those dropped early, and of
 * those never tried by how far the sums of gains were off for those that were. */
void search_doubt(struct search *s, const struct sweep *w, size_t size);
/* Probability that no set smaller than the answer was missed; NAN unknown. */
double search_confidence(const struct search *s, const struct sweep *w);
/* Of two sets of one size, whether the first is to be taken: that meets the goal, and is cheaper
 * or, at the same cost, better. Both were measured on all images. */
bool search_prefers(const struct search *s, const struct sweep *w, size_t a, size_t b);
double search_cost(const struct search *s, const struct sweep *w, size_t trial); /* 0 without */
/* Better first: expected value, then likeness. */
bool search_better(const struct search *s, const struct sweep *w, size_t a, size_t b);

/* ---- Culprits (culprit.c) ------------------------------------------------------------------- */
/* Of a sweep that puts single layers back to FP32. The share of an image's loss of likeness that a
 * trial brings back; below 0: it makes it worse; NAN: not measured. */
double culprit_share(const struct sweep *w, const struct trial *t, size_t image);
/* Whether the image becomes a hit by it. */
bool culprit_fixes(const struct sweep *w, const struct trial *t, size_t image);
/* The trials of single layers that bring back at least a twentieth of the loss, the largest share
 * first; trials: room for w->n_trials; returns how many. image: place in the sweep. */
size_t culprits_of_image(const struct sweep *w, size_t image, size_t *trials);

#endif
