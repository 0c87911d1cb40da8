/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * qmodel.h: private to analysis/: which tensors of an INT8 graph are codes, with which parameters,
 * and which float tensors stand for them. QDQ and QOperator models look the same from here.
 */
#ifndef ANALYSIS_QMODEL_H
#define ANALYSIS_QMODEL_H

#include "engine/engine.h"

/* One value of the graph. */
struct qvalue {
    bool constant;             /* an initializer, or computed from constants alone */
    bool codes;                /* integers with the parameters below */
    const struct quant *quant; /* parameters kept with the value (TFLite), or NULL */
    int scale;                 /* value index of the scale; -1 unknown */
    int zero;                  /* value index of the zero point; -1 none */
    int axis;                  /* -1 per tensor */
    int unit;      /* the value that represents this activation: the codes of a quantized one,
                      itself for a float one, -1 for constants */
    int made_from; /* codes made by QuantizeLinear: its float input; else -1 */
    int read_as;   /* codes: first DequantizeLinear output; else -1 */
    int quantizer; /* node index of that QuantizeLinear, -1 */
};
struct qmodel {
    const struct graph *g;
    struct uses uses;
    size_t n_values;
    struct qvalue *v; /* per value */
};
void qmodel_init(struct qmodel *q, const struct graph *g);
void qmodel_fini(struct qmodel *q);
/* Parameters of codes v, values in the arena; *known false and *out untouched when they are no
 * codes, or computed. */
int qmodel_read(const struct qmodel *q, int v, struct arena *a, struct quant *out, bool *known,
                struct err *err);

bool node_is(const struct node *n, const char *op); /* any domain */
bool node_is_quantize(const struct node *n);
bool node_is_dequantize(const struct node *n);
/* Carries values from input 0 to the output unchanged, whatever their type (MaxPool, Reshape ...).
 */
bool node_moves(const struct node *n);
/* Operator without its integer spelling: QLinearConv -> Conv, QGemm -> Gemm, ConvInteger -> Conv.
 */
const char *node_plain_op(const struct node *n);
/* Operator under a name that ONNX and TFLite models share: CONV_2D -> Conv, FULLY_CONNECTED ->
 * MatMul, also where ONNX has several for one (Gemm -> MatMul). */
const char *node_family(const struct node *n);
/* Whether a node of the FP32 graph and one of the INT8 graph are the same operator. */
bool nodes_agree(const struct graph *f, const struct graph *i, const struct node *a,
                 const struct node *b);
/* Values that a node computes with: skips scale, zero point and bias inputs of integer operators;
 * writes input positions, returns how many (at most room). */
int node_data_inputs(const struct node *n, int *pos, int room);

/* Inputs that hold scale and zero point of what a node makes; false for one that makes no codes of
 * its own. */
bool node_output_params(const struct node *n, int *scale, int *zero);
/* Whether scale and zero point of each data input follow it: quantizers' readers and integer
 * operators. */
bool node_takes_params(const struct node *n);

#endif
