/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * quantizer.h: private to the files that make an INT8 model: quantize_mark.c says what gets codes,
 * quantize.c puts them in.
 */
#ifndef ANALYSIS_QUANTIZER_H
#define ANALYSIS_QUANTIZER_H

#include "analysis/qweight.h"

enum rule_kind {
    RULE_WEIGHTED, /* products with weights: inputs and output get quantizers */
    RULE_COMPUTE,  /* so do those of any other arithmetic, constants too */
    RULE_MOVE,     /* the output has the codes of the first input, if that has any */
    RULE_CLIP,     /* goes into the quantizer behind it where it can */
};
enum { TYPES = 4 }; /* u8 s8 u16 s16 */

/* Scale and zero point of an activation in one type, once they are made. */
struct params {
    enum dtype type;
    float scale;
    int s, z; /* values */
};
/* The float value that stands for the codes of one type. */
struct reading {
    enum dtype type;
    int real;
};
/* What becomes of one value of the graph before quantizers are put in. */
struct tensor_plan {
    bool wanted;     /* gets quantizers */
    bool ranged;     /* range holds */
    int same;        /* the value whose scale and zero point it has: itself, or that of a mover */
    enum dtype type; /* of its codes */
    double range[2];
    size_t n_params, n_readings;
    struct params params[TYPES];
    struct reading readings[TYPES];
};
/* A constant that has been quantized, for all nodes that want it in the same way. */
struct coded_value {
    int value, axis;
    enum dtype type;
    int real;
    struct coded c; /* borrowed from the graph */
};

struct quantizer {
    struct graph *g;
    const struct observation *seen;
    const struct quantize_options *o;
    struct quantize_report report;
    size_t n_values, n_nodes; /* before quantizers are put in */
    struct uses uses;
    struct tensor_plan *v;
    bool *on; /* per node: computes on codes */
    size_t n_coded, cap_coded;
    struct coded_value *coded;
};

/* The rule of a node that is to compute on codes; -1: it stays float. */
int quantize_rule(const struct quantizer *q, const struct node *n);
/* Whether its operator has one, so that codes around it make it integer. */
bool quantize_has_rule(const struct node *n);
/* What is done otherwise for a node, or NULL. */
const struct node_choice *quantize_choice(const struct quantizer *q, const struct node *n);
/* Type that a node wants its activations in. */
enum dtype quantize_type(const struct quantizer *q, const struct node *n);
/* Float data of a value of the graph before quantizers were put in, or NULL. */
const struct tensor *quantize_constant_of(const struct quantizer *q, int v);
/* Marks the nodes that compute on codes and the activations that get quantizers; clips that go into
 * one go. */
void quantize_mark(struct quantizer *q);

#endif
