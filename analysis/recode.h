/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * recode.h: private to analysis/: weights and biases of nodes of an INT8 graph, read and replaced
 * (recode.c), and clips (edits.c).
 */
#ifndef ANALYSIS_RECODE_H
#define ANALYSIS_RECODE_H

#include "analysis/qedit.h"
#include "analysis/qmodel.h"
#include "analysis/qweight.h"

/* What an INT8 node multiplies by; tensors are borrowed from the graph. */
struct recoded {
    bool integers;  /* an integer operator, whose inputs are the codes themselves */
    int weight_dq;  /* else the DequantizeLinear of its weights */
    int axis;       /* of its scales, where there are several */
    struct coded w; /* zero NULL: 0 */
    int bias;       /* input for the bias; -1: the operator has none */
    const struct tensor *input_scale; /* NULL: the input is float */
    enum dtype input_type;
};
/* false: the node has no constant coded weights. */
bool recoded_read(const struct graph *g, int node, struct recoded *out);
/* Scales and zero points for w as a change wants them, per index of axis (-1: over all). */
int recoded_choose(const struct tensor *w, int axis, const struct edit *c, struct coded *out,
                   struct err *err);
/* Its weights as codes of the FP32 weights of `from`, and its bias with the scale of the sums. */
int recode_weights(struct graph *g, int node, const struct graph *fp32, int from,
                   const struct edit *c, struct err *err);
/* Its bias from that of `from`, plus add[n] by channel. */
int recode_bias(struct graph *g, int node, const struct graph *fp32, int from, size_t n,
                const float *add, struct err *err);
/* A Clip from 0 up becomes Relu and Min, with a bound for each channel. */
int edit_clip(struct graph *g, int clip, size_t n, const float *v, struct err *err);

#endif
