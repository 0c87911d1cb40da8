/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * qedit.h: private to analysis/: what the makers of INT8 models (implicit.c, quantize.c) have in
 * common: reading an FP32 graph and putting constants and nodes into it.
 */
#ifndef ANALYSIS_QEDIT_H
#define ANALYSIS_QEDIT_H

#include "engine/engine.h"

/* A live node of ai.onnx with that operator. */
bool edit_is(const struct node *n, const char *op);
/* What an initializer or a Constant node holds, if that is float32; else NULL. */
const struct tensor *edit_float(const struct graph *g, int v);
/* The only node that reads a value that is no graph output; -1. */
int edit_reader(const struct graph *g, const struct uses *u, int v);
/* The axis of the output channels in the constant weights of a Conv, ConvTranspose, Gemm or MatMul
 * whose products can be made of codes; -1: they cannot. */
int edit_weight_axis(const struct graph *g, const struct node *n);
/* A new value with a name made of both parts. */
int edit_value(struct graph *g, const char *stem, const char *suffix);
/* The same that is a constant; takes the reference. */
int edit_constant(struct graph *g, const char *stem, const char *suffix, struct tensor *t);
/* Appends a node of three inputs named "STEM_OP" that makes `out`. */
void edit_node(struct graph *g, const char *op, const char *domain, const char *stem,
               const int in[3], int out);
/* Where quantizers of such codes come from: types beyond 8 bits came to ai.onnx with opset 21;
 * before that onnxruntime has operators of its own, which g then imports. */
const char *edit_domain(struct graph *g, enum dtype type);
/* E_UNSUPPORTED for a model that is not ONNX, or has quantized operators already; `what` begins the
 * message. */
int edit_check_float(const struct graph *g, const char *what, struct err *err);
/* Spells the nodes of g, a clone of fp32, for at least that opset. */
int edit_raise_opset(struct graph *g, const struct graph *fp32, int opset, struct err *err);
/* Convolutions take in the BatchNormalization behind them. */
int edit_fold_norms(struct graph *g, struct err *err);

#endif
