/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * onnx_schema.c: what the messages of onnx.proto are made of, as tables for wire_check(). Fields
 * that nobody here reads are listed only where they nest, so that depth and size are bounded.
 */
#include "formats/onnx.h"

/* Messages that contain each other. */
static const struct wire_message onnx_type;

static const struct wire_field external_entry_fields[] = {
    {ENTRY_KEY, KIND_NAME, "key", NULL},
    {ENTRY_VALUE, KIND_NAME, "value", NULL},
    {.field = 0},
};
static const struct wire_message onnx_external_entry = {"StringStringEntryProto",
                                                        external_entry_fields};

static const struct wire_field tensor_fields[] = {
    {TENSOR_DIMS, KIND_INTS, "dims", NULL},
    {TENSOR_DATA_TYPE, KIND_INT, "data_type", NULL},
    {TENSOR_SEGMENT, KIND_BYTES, "segment", NULL},
    {TENSOR_FLOAT_DATA, KIND_F32S, "float_data", NULL},
    {TENSOR_INT32_DATA, KIND_INTS, "int32_data", NULL},
    {TENSOR_STRING_DATA, KIND_BYTES, "string_data", NULL},
    {TENSOR_INT64_DATA, KIND_INTS, "int64_data", NULL},
    {TENSOR_NAME, KIND_NAME, "name", NULL},
    {TENSOR_RAW_DATA, KIND_SINGLE, "raw_data", NULL},
    {TENSOR_DOUBLE_DATA, KIND_F64S, "double_data", NULL},
    {TENSOR_UINT64_DATA, KIND_INTS, "uint64_data", NULL},
    {TENSOR_EXTERNAL_DATA, KIND_MESSAGE, "external_data", &onnx_external_entry},
    {TENSOR_DATA_LOCATION, KIND_INT, "data_location", NULL},
    {.field = 0},
};
const struct wire_message onnx_tensor = {"TensorProto", tensor_fields};

static const struct wire_field sparse_fields[] = {
    {1, KIND_SINGLE, "values", &onnx_tensor},
    {2, KIND_SINGLE, "indices", &onnx_tensor},
    {3, KIND_INTS, "dims", NULL},
    {.field = 0},
};
static const struct wire_message onnx_sparse = {"SparseTensorProto", sparse_fields};

static const struct wire_field dim_fields[] = {
    {DIM_VALUE, KIND_INT, "dim_value", NULL},
    {.field = 0},
};
static const struct wire_message onnx_dim = {"Dimension", dim_fields};

static const struct wire_field shape_fields[] = {
    {SHAPE_DIM, KIND_MESSAGE, "dim", &onnx_dim},
    {.field = 0},
};
static const struct wire_message onnx_shape = {"TensorShapeProto", shape_fields};

static const struct wire_field tensor_type_fields[] = {
    {TENSOR_TYPE_ELEM, KIND_INT, "elem_type", NULL},
    {TENSOR_TYPE_SHAPE, KIND_SINGLE, "shape", &onnx_shape},
    {.field = 0},
};
static const struct wire_message onnx_tensor_type = {"TypeProto.Tensor", tensor_type_fields};

static const struct wire_field element_type_fields[] = {
    {1, KIND_SINGLE, "elem_type", &onnx_type},
    {.field = 0},
};
static const struct wire_message onnx_element_type = {"TypeProto.Sequence", element_type_fields};

static const struct wire_field map_type_fields[] = {
    {1, KIND_INT, "key_type", NULL},
    {2, KIND_SINGLE, "value_type", &onnx_type},
    {.field = 0},
};
static const struct wire_message onnx_map_type = {"TypeProto.Map", map_type_fields};

static const struct wire_field type_fields[] = {
    {TYPE_TENSOR, KIND_SINGLE, "tensor_type", &onnx_tensor_type},
    {4, KIND_SINGLE, "sequence_type", &onnx_element_type},
    {5, KIND_SINGLE, "map_type", &onnx_map_type},
    {8, KIND_SINGLE, "sparse_tensor_type", &onnx_tensor_type},
    {9, KIND_SINGLE, "optional_type", &onnx_element_type},
    {.field = 0},
};
static const struct wire_message onnx_type = {"TypeProto", type_fields};

static const struct wire_field info_fields[] = {
    {INFO_NAME, KIND_NAME, "name", NULL},
    {INFO_TYPE, KIND_SINGLE, "type", &onnx_type},
    {.field = 0},
};
static const struct wire_message onnx_info = {"ValueInfoProto", info_fields};

static const struct wire_field attribute_fields[] = {
    {ATTRIBUTE_NAME, KIND_NAME, "name", NULL},
    {ATTRIBUTE_F, KIND_F32, "f", NULL},
    {ATTRIBUTE_I, KIND_INT, "i", NULL},
    {ATTRIBUTE_S, KIND_BYTES, "s", NULL},
    {ATTRIBUTE_T, KIND_SINGLE, "t", &onnx_tensor},
    {6, KIND_SINGLE, "g", &onnx_graph},
    {ATTRIBUTE_FLOATS, KIND_F32S, "floats", NULL},
    {ATTRIBUTE_INTS, KIND_INTS, "ints", NULL},
    {ATTRIBUTE_STRINGS, KIND_BYTES, "strings", NULL},
    {10, KIND_MESSAGE, "tensors", &onnx_tensor},
    {11, KIND_MESSAGE, "graphs", &onnx_graph},
    {14, KIND_SINGLE, "tp", &onnx_type},
    {15, KIND_MESSAGE, "type_protos", &onnx_type},
    {ATTRIBUTE_TYPE, KIND_INT, "type", NULL},
    {ATTRIBUTE_REF_NAME, KIND_NAME, "ref_attr_name", NULL},
    {22, KIND_SINGLE, "sparse_tensor", &onnx_sparse},
    {23, KIND_MESSAGE, "sparse_tensors", &onnx_sparse},
    {.field = 0},
};
static const struct wire_message onnx_attribute = {"AttributeProto", attribute_fields};

static const struct wire_field node_fields[] = {
    {NODE_INPUT, KIND_NAME, "input", NULL},
    {NODE_OUTPUT, KIND_NAME, "output", NULL},
    {NODE_NAME, KIND_NAME, "name", NULL},
    {NODE_OP_TYPE, KIND_NAME, "op_type", NULL},
    {NODE_ATTRIBUTE, KIND_MESSAGE, "attribute", &onnx_attribute},
    {NODE_DOMAIN, KIND_NAME, "domain", NULL},
    {.field = 0},
};
const struct wire_message onnx_node = {"NodeProto", node_fields};

static const struct wire_field annotation_fields[] = {
    {ANNOTATION_TENSOR_NAME, KIND_NAME, "tensor_name", NULL},
    {.field = 0},
};
static const struct wire_message onnx_annotation = {"TensorAnnotation", annotation_fields};

static const struct wire_field graph_fields[] = {
    {GRAPH_NODE, KIND_MESSAGE, "node", &onnx_node},
    {GRAPH_NAME, KIND_NAME, "name", NULL},
    {GRAPH_INITIALIZER, KIND_MESSAGE, "initializer", &onnx_tensor},
    {GRAPH_INPUT, KIND_MESSAGE, "input", &onnx_info},
    {GRAPH_OUTPUT, KIND_MESSAGE, "output", &onnx_info},
    {GRAPH_VALUE_INFO, KIND_MESSAGE, "value_info", &onnx_info},
    {GRAPH_QUANTIZATION, KIND_MESSAGE, "quantization_annotation", &onnx_annotation},
    {GRAPH_SPARSE_INITIALIZER, KIND_MESSAGE, "sparse_initializer", &onnx_sparse},
    {.field = 0},
};
const struct wire_message onnx_graph = {"GraphProto", graph_fields};

static const struct wire_field opset_fields[] = {
    {OPSET_DOMAIN, KIND_NAME, "domain", NULL},
    {OPSET_VERSION, KIND_INT, "version", NULL},
    {.field = 0},
};
static const struct wire_message onnx_opset = {"OperatorSetIdProto", opset_fields};

static const struct wire_field function_fields[] = {
    {FUNCTION_NAME, KIND_NAME, "name", NULL},
    {7, KIND_MESSAGE, "node", &onnx_node},
    {FUNCTION_DOMAIN, KIND_NAME, "domain", NULL},
    {11, KIND_MESSAGE, "attribute_proto", &onnx_attribute},
    {12, KIND_MESSAGE, "value_info", &onnx_info},
    {.field = 0},
};
static const struct wire_message onnx_function = {"FunctionProto", function_fields};

static const struct wire_field training_fields[] = {
    {1, KIND_SINGLE, "initialization", &onnx_graph},
    {2, KIND_SINGLE, "algorithm", &onnx_graph},
    {.field = 0},
};
static const struct wire_message onnx_training = {"TrainingInfoProto", training_fields};

static const struct wire_field model_fields[] = {
    {MODEL_IR_VERSION, KIND_INT, "ir_version", NULL},
    {MODEL_GRAPH, KIND_SINGLE, "graph", &onnx_graph},
    {MODEL_OPSET_IMPORT, KIND_MESSAGE, "opset_import", &onnx_opset},
    {20, KIND_MESSAGE, "training_info", &onnx_training},
    {MODEL_FUNCTIONS, KIND_MESSAGE, "functions", &onnx_function},
    {.field = 0},
};
const struct wire_message onnx_model = {"ModelProto", model_fields};
