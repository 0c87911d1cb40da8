/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * qweight.h: private to analysis/: constants of an FP32 model as codes: weights and biases.
 */
#ifndef ANALYSIS_QWEIGHT_H
#define ANALYSIS_QWEIGHT_H

#include "analysis/analysis.h"

/* A constant as codes; one scale and zero point, or one for each index of an axis. */
struct coded {
    struct tensor *codes, *scale, *zero;
};
void coded_fini(struct coded *c);
/* Sets element i of a tensor of codes of any type. */
void coded_put(struct tensor *t, size_t i, int64_t v);
/* Scales and zero points of w from its least and greatest value, per index of axis (-1: over all);
 * w is float32. */
int coded_params(const struct tensor *w, int axis, const struct code_choice *c, struct coded *out,
                 struct err *err);
/* Makes the scales as large as a bias needs that is kept as int32 with scale sx * sw, where the
 * zero points are 0. */
void coded_fit_bias(struct coded *c, const struct tensor *bias, float sx);
/* codes = clip(rne(w / scale) + zero) in float32. */
int coded_values(const struct tensor *w, int axis, struct coded *c, struct err *err);
/* Moves the scales to where codes lose least: the least sum of (w - code value)^2 of 64 scales
 * each, evenly down to a quarter of those that hold all of w. */
void coded_least_error(const struct tensor *w, int axis, const struct code_choice *choice,
                       struct coded *c);
/* sum w^2 and sum (w - code value)^2, in dB. */
double coded_sqnr(const struct tensor *w, int axis, const struct coded *c);
/* Puts a DequantizeLinear of c, which it takes, into g, with names made of `stem`; its output.
 * axis: of the scales, -1. */
int coded_node(struct graph *g, const char *stem, int axis, const struct coded *c);
/* A bias with scale sx * sw, rne(b / scale) in double, as int32. w: the weights' scales; as many as
 * the bias has elements, or one. */
int coded_bias(const struct tensor *bias, float sx, const struct tensor *sw, struct coded *out,
               struct err *err);

/* bias (NULL: none) + sum over inputs of (w - coded w) * mean input: what keeps the mean of each
 * output where it was (Nagel et al. 2019, E[(W - W^) x]); where a convolution pads, the border
 * counts as the rest. channel: axis of the outputs; group: of a convolution. */
struct inputs_mean {
    size_t n;
    const double *sum;
    uint64_t per_channel;
};
int coded_correction(const struct tensor *w, int channel, const struct coded *c, int axis,
                     size_t group, const struct inputs_mean *mean, const struct tensor *bias,
                     struct tensor **out, struct err *err);

#endif
