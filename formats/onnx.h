/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * onnx.h: private to formats/: the field numbers of onnx.proto that reader and writer share, the
 * message tables, and tensors.
 */
#ifndef FORMATS_ONNX_H
#define FORMATS_ONNX_H

#include "formats/formats.h"
#include "formats/wire.h"

enum model_field {
    MODEL_IR_VERSION = 1,
    MODEL_PRODUCER_NAME = 2,
    MODEL_GRAPH = 7,
    MODEL_OPSET_IMPORT = 8,
    MODEL_FUNCTIONS = 25,
};
enum opset_field { OPSET_DOMAIN = 1, OPSET_VERSION = 2 };
enum function_field { FUNCTION_NAME = 1, FUNCTION_DOMAIN = 10 };
enum graph_field {
    GRAPH_NODE = 1,
    GRAPH_NAME = 2,
    GRAPH_INITIALIZER = 5,
    GRAPH_INPUT = 11,
    GRAPH_OUTPUT = 12,
    GRAPH_VALUE_INFO = 13,
    GRAPH_QUANTIZATION = 14,
    GRAPH_SPARSE_INITIALIZER = 15,
};
enum annotation_field { ANNOTATION_TENSOR_NAME = 1 };
enum node_field {
    NODE_INPUT = 1,
    NODE_OUTPUT = 2,
    NODE_NAME = 3,
    NODE_OP_TYPE = 4,
    NODE_ATTRIBUTE = 5,
    NODE_DOMAIN = 7,
};
enum attribute_field {
    ATTRIBUTE_NAME = 1,
    ATTRIBUTE_F = 2,
    ATTRIBUTE_I = 3,
    ATTRIBUTE_S = 4,
    ATTRIBUTE_T = 5,
    ATTRIBUTE_FLOATS = 7,
    ATTRIBUTE_INTS = 8,
    ATTRIBUTE_STRINGS = 9,
    ATTRIBUTE_TYPE = 20,
    ATTRIBUTE_REF_NAME = 21,
};
/* AttributeProto.AttributeType, as far as it is read. */
enum attribute_type {
    ATTRIBUTE_IS_FLOAT = 1,
    ATTRIBUTE_IS_INT = 2,
    ATTRIBUTE_IS_STRING = 3,
    ATTRIBUTE_IS_TENSOR = 4,
    ATTRIBUTE_IS_FLOATS = 6,
    ATTRIBUTE_IS_INTS = 7,
    ATTRIBUTE_IS_STRINGS = 8,
};
enum info_field { INFO_NAME = 1, INFO_TYPE = 2 };
enum type_field { TYPE_TENSOR = 1 };
enum tensor_type_field { TENSOR_TYPE_ELEM = 1, TENSOR_TYPE_SHAPE = 2 };
enum shape_field { SHAPE_DIM = 1 };
enum dim_field { DIM_VALUE = 1 };
enum tensor_field {
    TENSOR_DIMS = 1,
    TENSOR_DATA_TYPE = 2,
    TENSOR_SEGMENT = 3,
    TENSOR_FLOAT_DATA = 4,
    TENSOR_INT32_DATA = 5,
    TENSOR_STRING_DATA = 6,
    TENSOR_INT64_DATA = 7,
    TENSOR_NAME = 8,
    TENSOR_RAW_DATA = 9,
    TENSOR_DOUBLE_DATA = 10,
    TENSOR_UINT64_DATA = 11,
    TENSOR_EXTERNAL_DATA = 13,
    TENSOR_DATA_LOCATION = 14,
};
enum entry_field { ENTRY_KEY = 1, ENTRY_VALUE = 2 };
enum { TENSOR_EXTERNAL = 1 }; /* TensorProto.DataLocation */

/* onnx_schema.c */
extern const struct wire_message onnx_model, onnx_graph, onnx_node, onnx_tensor;

/* ---- Reading a model (onnx_read.c, onnx_node.c, onnx_info.c) -------------------------------- */

struct onnx_reader {
    struct graph *g;
    const uint8_t *base; /* byte 0 of the file */
    size_t limit;        /* bytes of memory for structure */
    size_t n_tensors;
    size_t cap_inputs, cap_outputs;
    int64_t ir_version; /* 0: not given */
    bool has_import;    /* any opset_import */
    struct span graph;
    struct strmap functions;  /* "domain::name" of local functions */
    struct strmap node_names; /* of named nodes -> 0 */
};
/* Memory for structure is bounded by the size of the file, so that a file of many tiny messages
 * cannot take more than the machine has: E_LIMIT. Asked after each node and tensor. */
int onnx_check_memory(const struct onnx_reader *r, struct err *err);
/* Reads a checked NodeProto and appends it to the graph; an unnamed node gets an empty name. */
int onnx_node_read(struct onnx_reader *r, struct span s, struct err *err);
/* Reads the entries of one kind: GRAPH_INPUT, GRAPH_OUTPUT or GRAPH_VALUE_INFO. */
int onnx_infos_read(struct onnx_reader *r, uint32_t field, struct err *err);
/* Domain; "ai.onnx" is given as "" and version of an OperatorSetIdProto. */
struct onnx_import {
    struct span domain;
    int64_t version;
};
int onnx_import_read(const uint8_t *base, struct span s, struct onnx_import *out, struct err *err);
/* Terminated copy of a name; longer ones than fit were refused before. */
const char *onnx_name(char text[WIRE_NAME_MAX + 1], struct span name);
static inline char *onnx_text(struct arena *a, struct span s)
{
    return arena_dup_n(a, (const char *)s.p, s.n);
}
/* The value of that name, added when it is new; -1 for the empty name. */
int onnx_value_of(struct graph *g, struct span name);
/* The value of that name, -1 when there is none. */
int onnx_value_find(const struct graph *g, struct span name);
/* The payload of the last field number `field` in message s; p NULL when absent. */
int onnx_find(const uint8_t *base, struct span s, uint32_t field, struct span *out,
              struct err *err);

/* ---- Tensors (onnx_tensor.c) ---------------------------------------------------------------- */

/* A TensorProto that was read but not decoded. */
struct tensor_proto {
    struct wire w; /* the message, for texts and for another walk */
    struct span name;
    enum dtype dtype; /* any number the file gives */
    int rank;
    int64_t dims[MAX_RANK];
    bool has_raw, external;
    struct span raw;
    struct span location; /* of external data */
    uint64_t offset, length;
    bool has_length;
};
/* Reads a checked TensorProto. E_FORMAT for negative dimensions, E_UNSUPPORTED for a rank over
 * MAX_RANK. */
int tensor_proto_read(struct wire w, struct tensor_proto *out, struct err *err);
/* The tensor itself. Data that stands in the file as it does in memory is borrowed when `borrow`,
 * all else copied or decoded. External data is looked for below the directory of model_path.
 * E_UNSUPPORTED for element types that have no size, E_FORMAT when the data is not what type and
 * dimensions say. */
int tensor_proto_decode(const struct tensor_proto *p, const char *model_path, bool borrow,
                        struct tensor **out, struct err *err);
/* Writes t as a TensorProto into field `field`. */
void tensor_proto_write(struct wire_buf *b, uint32_t field, const char *name,
                        const struct tensor *t);
/* Writes only the data of t: raw, strings as string_data. */
void tensor_proto_write_data(struct wire_buf *b, const struct tensor *t);

/* ---- Writing (onnx_write.c, onnx_put.c) ----------------------------------------------------- */

/* The whole ModelProto of g into b, which the caller frees in any case. */
int onnx_write(const struct graph *g, struct wire_buf *b, struct err *err);
/* What has no bytes in the file it came from. */
int onnx_put_node(struct wire_buf *b, const struct graph *g, const struct node *n, struct err *err);
void onnx_put_info(struct wire_buf *b, uint32_t field, const struct value *v);
void onnx_put_import(struct wire_buf *b, const char *domain, int version);

#endif
