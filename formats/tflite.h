/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * tflite.h: private to formats/: the fields of the TensorFlow Lite schema that are read, and the
 * builtin operators with their options.
 */
#ifndef FORMATS_TFLITE_H
#define FORMATS_TFLITE_H

#include "formats/flat.h"
#include "formats/formats.h"

enum tfl_model_field {
    TFL_MODEL_VERSION = 0,
    TFL_MODEL_OPCODES = 1,
    TFL_MODEL_SUBGRAPHS = 2,
    TFL_MODEL_DESCRIPTION = 3,
    TFL_MODEL_BUFFERS = 4,
};
enum tfl_opcode_field {
    TFL_OPCODE_OLD = 0, /* int8: the code before there were more than 127 */
    TFL_OPCODE_CUSTOM = 1,
    TFL_OPCODE_VERSION = 2,
    TFL_OPCODE_BUILTIN = 3,
};
enum tfl_subgraph_field {
    TFL_GRAPH_TENSORS = 0,
    TFL_GRAPH_INPUTS = 1,
    TFL_GRAPH_OUTPUTS = 2,
    TFL_GRAPH_OPERATORS = 3,
    TFL_GRAPH_NAME = 4,
};
enum tfl_tensor_field {
    TFL_TENSOR_SHAPE = 0,
    TFL_TENSOR_TYPE = 1,
    TFL_TENSOR_BUFFER = 2,
    TFL_TENSOR_NAME = 3,
    TFL_TENSOR_QUANT = 4,
    TFL_TENSOR_VARIABLE = 5,
    TFL_TENSOR_SPARSITY = 6,
    TFL_TENSOR_SIGNATURE = 7,
};
enum tfl_quant_field {
    TFL_QUANT_SCALE = 2,
    TFL_QUANT_ZERO = 3,
    TFL_QUANT_DETAILS_TYPE = 4,
    TFL_QUANT_AXIS = 6,
};
enum tfl_operator_field {
    TFL_OP_OPCODE = 0,
    TFL_OP_INPUTS = 1,
    TFL_OP_OUTPUTS = 2,
    TFL_OP_OPTIONS_TYPE = 3,
    TFL_OP_OPTIONS = 4,
};
enum tfl_buffer_field { TFL_BUFFER_DATA = 0, TFL_BUFFER_OFFSET = 1, TFL_BUFFER_SIZE = 2 };
enum { TFL_CUSTOM = 32, TFL_OLD_MAX = 127 };

/* tflite_schema.c */
extern const struct flat_schema tflite_model;
/* "CONV_2D"; NULL for a number that is no builtin operator. */
const char *tflite_op_name(int64_t code);
/* How an option stands in its table. */
enum tfl_option_kind { TFL_I8, TFL_I32, TFL_F32, TFL_I32S };
struct tfl_option {
    const char *name; /* of the attribute */
    uint16_t id;
    enum tfl_option_kind kind;
    int dflt;
};
struct tfl_options {
    int type; /* enum BuiltinOptions of the schema */
    const char *table;
    const struct tfl_option *options; /* ends with name NULL */
};
/* The options table of that type; NULL when no operator with a kernel has it. */
const struct tfl_options *tflite_options(int64_t type);

#endif
