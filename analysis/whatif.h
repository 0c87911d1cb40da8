/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * whatif.h: the fourth part of analysis.h, which includes it: changes of a pair of models that are
 * told in a few numbers, so that they can be kept, and made again without images.
 */
#ifndef ANALYSIS_WHATIF_H
#define ANALYSIS_WHATIF_H

#include "analysis/analysis.h"

/* ---- Edits (edits.c) --------------------------------------------------------------------- */
enum edit_kind {
    EDIT_RANGE,    /* codes `at` of the INT8 graph: type, scale, zero point */
    EDIT_WEIGHTS,  /* INT8 node `to` gets the weights of FP32 node `at`, and its bias */
    EDIT_BIAS,     /* INT8 node `to` gets the bias of FP32 node `at`, plus v by channel */
    EDIT_EQUALIZE, /* FP32 nodes: channel c of what `at` makes is divided by v[c], the weights of
                        `to` for it are multiplied by v[c] */
    EDIT_CLIP,     /* INT8 Clip `at` ends channel c at v[c] */
    N_EDITS,
};
/* THE table of edits: the word for a kind in session files, and what of it is used. */
extern const struct edit_row {
    const char *name;
    bool codes, scale, granularity, to, v;
} edit_rows[N_EDITS];

struct edit {
    enum edit_kind kind;
    char *at, *to;
    struct code_choice codes; /* of WEIGHTS; of RANGE the type alone */
    float scale;              /* RANGE */
    int32_t zero;
    bool per_channel; /* WEIGHTS: one scale a channel */
    bool least_error; /* scales that lose least in the mean square, not those that hold all */
    size_t n;
    float *v;
};
struct edits {
    size_t n, cap;
    struct edit *list;
};
/* Takes over what c points to. */
void edits_add(struct edits *list, struct edit c);
void edits_fini(struct edits *list);
/* Copies of both models with the edits made, one after the other. *fp32_out is NULL when only the
 * INT8 model changed. Weights come from the prepared FP32 model (quantize_prepare()), as the edits
 * before have made it. Equal models and edits give equal bits. E_UNSUPPORTED where an operator
 * does not allow it, E_SHAPE where the models are not those that the edits were made for. */
int edits_apply(const struct edits *list, const struct graph *fp32, const struct graph *int8,
                struct graph **fp32_out, struct graph **int8_out, struct err *err);

/* ---- What can be changed (whatif.c) --------------------------------------------------------- */
/* A pair of models, and which weighted nodes correspond. */
struct whatif {
    const struct graph *int8;
    const struct match *match;
    struct graph *prepared; /* FP32 */
    int *node[2];  /* per layer, by side: its weighted node in `prepared` and in int8; -1 */
    int *layer_of; /* per value of `prepared`: its layer, -1 */
};
/* E_UNSUPPORTED for models that are not ONNX. */
int whatif_open(const struct graph *fp32, const struct graph *int8, const struct match *m,
                struct whatif *w, struct err *err);
void whatif_close(struct whatif *w);
/* Whether both sides of a layer have weights that can be changed. */
bool whatif_has_weights(const struct whatif *w, size_t layer);
/* Codes of its weights in the INT8 model. */
struct weights_now {
    struct code_choice codes;
    bool per_channel;
    double sqnr; /* dB, of the codes against the FP32 weights; NAN when the shapes differ */
};
int whatif_weights_now(const struct whatif *w, size_t layer, struct weights_now *out,
                       struct err *err);
/* SQNR in dB that its weights would have; NAN without weights. */
double whatif_weights_sqnr(const struct whatif *w, size_t layer, const struct code_choice *c,
                           bool per_channel, bool least_error);
struct edit whatif_weights(const struct whatif *w, size_t layer, const struct code_choice *c,
                           bool per_channel, bool least_error);

/* Bias correction (Nagel et al. 2019, 4.2): E[(W - W^) x] per output channel, from the mean of the
 * input channels of the layer in FP32. */
struct bias_shift {
    double largest; /* max over channels of |shift|, in real values */
    double rms;     /* root of the mean square over channels */
};
/* seen: per value of w->prepared, with sums by channel. E_UNSUPPORTED for a layer that has no bias
 * and cannot get one. */
int whatif_bias(const struct whatif *w, size_t layer, const struct observation *seen,
                struct edit *out, struct bias_shift *shift, struct err *err);

/* ---- Cross-layer equalization (equalize.c, equalize_pair.c)
 * -------------------------------------------------- */
/* Two weighted nodes of an FP32 graph of which the first is read by the second alone, directly or
 * through one activation function that lets positive factors pass. */
struct equal_pair {
    int a, b;     /* nodes */
    int between;  /* node of the activation function, -1 */
    double bound; /* where that ends from above; infinite */
    int y, z;     /* values: what a makes, what b reads */
    size_t channels;
    double *reach;    /* per channel: largest |z| seen; NULL: nothing is known */
    bool absorbed;    /* the bound is the end of the codes: what reaches it stays as it is */
    double *s;        /* per channel: z is divided by it */
    double spread[2]; /* (largest) / (median) range of a channel of the weights, before and after */
};
struct equal_pairs {
    struct arena arena;
    size_t n, cap;
    struct equal_pair *list;
};
/* All pairs of a prepared graph, in network order; equal_pairs_fini() them. */
void equal_pairs_find(const struct graph *g, struct equal_pairs *out);
void equal_pairs_fini(struct equal_pairs *p);
/* s of all pairs at once: s = sqrt(r1 r2) / r2 with the ranges max |w| of the channel in both
 * nodes. Where reach is known, r1 is the larger of max |w| and half the reach, each as a share of
 * the largest of all channels, and so is r2 a share: no activation is stretched for weights alone.
 * One pair after the other until nothing changes; chains of depthwise layers converge to equal
 * ranges of all three. */
void equal_pairs_solve(const struct graph *g, struct equal_pairs *p);
/* Divides and multiplies the weights of a prepared graph: see EDIT_EQUALIZE. */
int graph_equalize(struct graph *g, int a, int b, size_t n, const float *s, struct err *err);

/* Where the bound stands in each channel: bound / s. */
void equal_bounds(double bound, size_t n, const float *s, float *out);

/* What equalizing a pair of models means, layer by layer. */
struct equalized {
    struct equal_pairs pairs; /* those that are changed */
    size_t left;              /* found, but not in a form that can be changed */
    size_t
        absorbed; /* whose upper end is that of the codes: exact on the images of the run alone */
    struct edits edits;
};
/* layers: per layer of the match, whether pairs with its weights are wanted. Activation scales come
 * from the extremes by channel in the study. E_SHAPE when there is no pair. */
int whatif_equalize(const struct whatif *w, const struct study *study, const bool *layers,
                    struct equalized *out, struct err *err);
void equalized_fini(struct equalized *e);

#endif
