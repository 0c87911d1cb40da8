/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * tflite_schema.c: what of the TensorFlow Lite schema is read, as tables: tables of the file, names
 * of the builtin operators, and the options that become attributes.
 */
#include "formats/tflite.h"

/* ---- Tables of the file --------------------------------------------------------------------- */

static const struct flat_field opcode_fields[] = {
    {TFL_OPCODE_OLD, FLAT_SCALAR, 1, "deprecated_builtin_code", NULL},
    {TFL_OPCODE_CUSTOM, FLAT_STRING, 0, "custom_code", NULL},
    {TFL_OPCODE_VERSION, FLAT_SCALAR, 4, "version", NULL},
    {TFL_OPCODE_BUILTIN, FLAT_SCALAR, 4, "builtin_code", NULL},
    {0},
};
static const struct flat_schema opcode_schema = {"OperatorCode", opcode_fields};

static const struct flat_field quant_fields[] = {
    {TFL_QUANT_SCALE, FLAT_VECTOR, 4, "scale", NULL},
    {TFL_QUANT_ZERO, FLAT_VECTOR, 8, "zero_point", NULL},
    {TFL_QUANT_DETAILS_TYPE, FLAT_SCALAR, 1, "details_type", NULL},
    {TFL_QUANT_AXIS, FLAT_SCALAR, 4, "quantized_dimension", NULL},
    {0},
};
static const struct flat_schema quant_schema = {"QuantizationParameters", quant_fields};

static const struct flat_field tensor_fields[] = {
    {TFL_TENSOR_SHAPE, FLAT_VECTOR, 4, "shape", NULL},
    {TFL_TENSOR_TYPE, FLAT_SCALAR, 1, "type", NULL},
    {TFL_TENSOR_BUFFER, FLAT_SCALAR, 4, "buffer", NULL},
    {TFL_TENSOR_NAME, FLAT_STRING, 0, "name", NULL},
    {TFL_TENSOR_QUANT, FLAT_TABLE, 0, "quantization", &quant_schema},
    {TFL_TENSOR_VARIABLE, FLAT_SCALAR, 1, "is_variable", NULL},
    {TFL_TENSOR_SIGNATURE, FLAT_VECTOR, 4, "shape_signature", NULL},
    {0},
};
static const struct flat_schema tensor_schema = {"Tensor", tensor_fields};

static const struct flat_field operator_fields[] = {
    {TFL_OP_OPCODE, FLAT_SCALAR, 4, "opcode_index", NULL},
    {TFL_OP_INPUTS, FLAT_VECTOR, 4, "inputs", NULL},
    {TFL_OP_OUTPUTS, FLAT_VECTOR, 4, "outputs", NULL},
    {TFL_OP_OPTIONS_TYPE, FLAT_SCALAR, 1, "builtin_options_type", NULL},
    {TFL_OP_OPTIONS, FLAT_TABLE, 0, "builtin_options", NULL},
    {0},
};
static const struct flat_schema operator_schema = {"Operator", operator_fields};

static const struct flat_field subgraph_fields[] = {
    {TFL_GRAPH_TENSORS, FLAT_TABLES, 0, "tensors", &tensor_schema},
    {TFL_GRAPH_INPUTS, FLAT_VECTOR, 4, "inputs", NULL},
    {TFL_GRAPH_OUTPUTS, FLAT_VECTOR, 4, "outputs", NULL},
    {TFL_GRAPH_OPERATORS, FLAT_TABLES, 0, "operators", &operator_schema},
    {TFL_GRAPH_NAME, FLAT_STRING, 0, "name", NULL},
    {0},
};
static const struct flat_schema subgraph_schema = {"SubGraph", subgraph_fields};

static const struct flat_field buffer_fields[] = {
    {TFL_BUFFER_DATA, FLAT_VECTOR, 1, "data", NULL},
    {TFL_BUFFER_OFFSET, FLAT_SCALAR, 8, "offset", NULL},
    {TFL_BUFFER_SIZE, FLAT_SCALAR, 8, "size", NULL},
    {0},
};
static const struct flat_schema buffer_schema = {"Buffer", buffer_fields};

static const struct flat_field model_fields[] = {
    {TFL_MODEL_VERSION, FLAT_SCALAR, 4, "version", NULL},
    {TFL_MODEL_OPCODES, FLAT_TABLES, 0, "operator_codes", &opcode_schema},
    {TFL_MODEL_SUBGRAPHS, FLAT_TABLES, 0, "subgraphs", &subgraph_schema},
    {TFL_MODEL_DESCRIPTION, FLAT_STRING, 0, "description", NULL},
    {TFL_MODEL_BUFFERS, FLAT_TABLES, 0, "buffers", &buffer_schema},
    {0},
};
const struct flat_schema tflite_model = {"Model", model_fields};

/* ---- Operators ------------------------------------------------------------------------------ */

/* By BuiltinOperator. */
static const char *const op_names[] = {
    "ADD",
    "AVERAGE_POOL_2D",
    "CONCATENATION",
    "CONV_2D",
    "DEPTHWISE_CONV_2D",
    "DEPTH_TO_SPACE",
    "DEQUANTIZE",
    "EMBEDDING_LOOKUP",
    "FLOOR",
    "FULLY_CONNECTED",
    "HASHTABLE_LOOKUP",
    "L2_NORMALIZATION",
    "L2_POOL_2D",
    "LOCAL_RESPONSE_NORMALIZATION",
    "LOGISTIC",
    "LSH_PROJECTION",
    "LSTM",
    "MAX_POOL_2D",
    "MUL",
    "RELU",
    "RELU_N1_TO_1",
    "RELU6",
    "RESHAPE",
    "RESIZE_BILINEAR",
    "RNN",
    "SOFTMAX",
    "SPACE_TO_DEPTH",
    "SVDF",
    "TANH",
    "CONCAT_EMBEDDINGS",
    "SKIP_GRAM",
    "CALL",
    "CUSTOM",
    "EMBEDDING_LOOKUP_SPARSE",
    "PAD",
    "UNIDIRECTIONAL_SEQUENCE_RNN",
    "GATHER",
    "BATCH_TO_SPACE_ND",
    "SPACE_TO_BATCH_ND",
    "TRANSPOSE",
    "MEAN",
    "SUB",
    "DIV",
    "SQUEEZE",
    "UNIDIRECTIONAL_SEQUENCE_LSTM",
    "STRIDED_SLICE",
    "BIDIRECTIONAL_SEQUENCE_RNN",
    "EXP",
    "TOPK_V2",
    "SPLIT",
    "LOG_SOFTMAX",
    "DELEGATE",
    "BIDIRECTIONAL_SEQUENCE_LSTM",
    "CAST",
    "PRELU",
    "MAXIMUM",
    "ARG_MAX",
    "MINIMUM",
    "LESS",
    "NEG",
    "PADV2",
    "GREATER",
    "GREATER_EQUAL",
    "LESS_EQUAL",
    "SELECT",
    "SLICE",
    "SIN",
    "TRANSPOSE_CONV",
    "SPARSE_TO_DENSE",
    "TILE",
    "EXPAND_DIMS",
    "EQUAL",
    "NOT_EQUAL",
    "LOG",
    "SUM",
    "SQRT",
    "RSQRT",
    "SHAPE",
    "POW",
    "ARG_MIN",
    "FAKE_QUANT",
    "REDUCE_PROD",
    "REDUCE_MAX",
    "PACK",
    "LOGICAL_OR",
    "ONE_HOT",
    "LOGICAL_AND",
    "LOGICAL_NOT",
    "UNPACK",
    "REDUCE_MIN",
    "FLOOR_DIV",
    "REDUCE_ANY",
    "SQUARE",
    "ZEROS_LIKE",
    "FILL",
    "FLOOR_MOD",
    "RANGE",
    "RESIZE_NEAREST_NEIGHBOR",
    "LEAKY_RELU",
    "SQUARED_DIFFERENCE",
    "MIRROR_PAD",
    "ABS",
    "SPLIT_V",
    "UNIQUE",
    "CEIL",
    "REVERSE_V2",
    "ADD_N",
    "GATHER_ND",
    "COS",
    "WHERE",
    "RANK",
    "ELU",
    "REVERSE_SEQUENCE",
    "MATRIX_DIAG",
    "QUANTIZE",
    "MATRIX_SET_DIAG",
    "ROUND",
    "HARD_SWISH",
    "IF",
    "WHILE",
    "NON_MAX_SUPPRESSION_V4",
    "NON_MAX_SUPPRESSION_V5",
    "SCATTER_ND",
    "SELECT_V2",
    "DENSIFY",
    "SEGMENT_SUM",
    "BATCH_MATMUL",
    "PLACEHOLDER_FOR_GREATER_OP_CODES",
    "CUMSUM",
    "CALL_ONCE",
    "BROADCAST_TO",
    "RFFT2D",
    "CONV_3D",
    "IMAG",
    "REAL",
    "COMPLEX_ABS",
    "HASHTABLE",
    "HASHTABLE_FIND",
    "HASHTABLE_IMPORT",
    "HASHTABLE_SIZE",
    "REDUCE_ALL",
    "CONV_3D_TRANSPOSE",
    "VAR_HANDLE",
    "READ_VARIABLE",
    "ASSIGN_VARIABLE",
    "BROADCAST_ARGS",
    "RANDOM_STANDARD_NORMAL",
    "BUCKETIZE",
    "RANDOM_UNIFORM",
    "MULTINOMIAL",
    "GELU",
    "DYNAMIC_UPDATE_SLICE",
    "RELU_0_TO_1",
    "UNSORTED_SEGMENT_PROD",
    "UNSORTED_SEGMENT_MAX",
    "UNSORTED_SEGMENT_SUM",
    "ATAN2",
    "UNSORTED_SEGMENT_MIN",
    "SIGN",
    "BITCAST",
    "BITWISE_XOR",
    "RIGHT_SHIFT",
    "STABLEHLO_LOGISTIC",
    "STABLEHLO_ADD",
    "STABLEHLO_DIVIDE",
    "STABLEHLO_MULTIPLY",
    "STABLEHLO_MAXIMUM",
    "STABLEHLO_RESHAPE",
    "STABLEHLO_CLAMP",
    "STABLEHLO_CONCATENATE",
    "STABLEHLO_BROADCAST_IN_DIM",
    "STABLEHLO_CONVOLUTION",
    "STABLEHLO_SLICE",
    "STABLEHLO_CUSTOM_CALL",
    "STABLEHLO_REDUCE",
    "STABLEHLO_ABS",
    "STABLEHLO_AND",
    "STABLEHLO_COSINE",
    "STABLEHLO_EXPONENTIAL",
    "STABLEHLO_FLOOR",
    "STABLEHLO_LOG",
    "STABLEHLO_MINIMUM",
    "STABLEHLO_NEGATE",
    "STABLEHLO_OR",
    "STABLEHLO_POWER",
    "STABLEHLO_REMAINDER",
    "STABLEHLO_RSQRT",
    "STABLEHLO_SELECT",
    "STABLEHLO_SUBTRACT",
    "STABLEHLO_TANH",
    "STABLEHLO_SCATTER",
    "STABLEHLO_COMPARE",
    "STABLEHLO_CONVERT",
    "STABLEHLO_DYNAMIC_SLICE",
    "STABLEHLO_DYNAMIC_UPDATE_SLICE",
    "STABLEHLO_PAD",
    "STABLEHLO_IOTA",
    "STABLEHLO_DOT_GENERAL",
    "STABLEHLO_REDUCE_WINDOW",
    "STABLEHLO_SORT",
    "STABLEHLO_WHILE",
    "STABLEHLO_GATHER",
    "STABLEHLO_TRANSPOSE",
    "DILATE",
    "STABLEHLO_RNG_BIT_GENERATOR",
    "REDUCE_WINDOW",
    "STABLEHLO_COMPOSITE",
    "STABLEHLO_SHIFT_LEFT",
    "STABLEHLO_CBRT",
    "STABLEHLO_CASE",
};

const char *tflite_op_name(int64_t code)
{
    return code >= 0 && code < (int64_t)COUNT(op_names) ? op_names[code] : NULL;
}

/* ---- Options -------------------------------------------------------------------------------- */

static const struct tfl_option conv_2d[] = {
    {"padding", 0, TFL_I8, 0},
    {"stride_w", 1, TFL_I32, 0},
    {"stride_h", 2, TFL_I32, 0},
    {"fused_activation_function", 3, TFL_I8, 0},
    {"dilation_w_factor", 4, TFL_I32, 1},
    {"dilation_h_factor", 5, TFL_I32, 1},
    {0},
};
static const struct tfl_option depthwise_conv_2d[] = {
    {"padding", 0, TFL_I8, 0},
    {"stride_w", 1, TFL_I32, 0},
    {"stride_h", 2, TFL_I32, 0},
    {"depth_multiplier", 3, TFL_I32, 0},
    {"fused_activation_function", 4, TFL_I8, 0},
    {"dilation_w_factor", 5, TFL_I32, 1},
    {"dilation_h_factor", 6, TFL_I32, 1},
    {0},
};
static const struct tfl_option transpose_conv[] = {
    {"padding", 0, TFL_I8, 0},
    {"stride_w", 1, TFL_I32, 0},
    {"stride_h", 2, TFL_I32, 0},
    {"fused_activation_function", 3, TFL_I8, 0},
    {0},
};
static const struct tfl_option pool_2d[] = {
    {"padding", 0, TFL_I8, 0},
    {"stride_w", 1, TFL_I32, 0},
    {"stride_h", 2, TFL_I32, 0},
    {"filter_width", 3, TFL_I32, 0},
    {"filter_height", 4, TFL_I32, 0},
    {"fused_activation_function", 5, TFL_I8, 0},
    {0},
};
static const struct tfl_option fully_connected[] = {
    {"fused_activation_function", 0, TFL_I8, 0},
    {"weights_format", 1, TFL_I8, 0},
    {"keep_num_dims", 2, TFL_I8, 0},
    {"asymmetric_quantize_inputs", 3, TFL_I8, 0},
    {0},
};
static const struct tfl_option softmax[] = {{"beta", 0, TFL_F32, 0}, {0}};
static const struct tfl_option concatenation[] = {
    {"axis", 0, TFL_I32, 0}, {"fused_activation_function", 1, TFL_I8, 0}, {0}};
static const struct tfl_option activation[] = {
    {"fused_activation_function", 0, TFL_I8, 0}, {"pot_scale_int16", 1, TFL_I8, 1}, {0}};
static const struct tfl_option fused[] = {{"fused_activation_function", 0, TFL_I8, 0}, {0}};
static const struct tfl_option resize_bilinear[] = {
    {"align_corners", 2, TFL_I8, 0}, {"half_pixel_centers", 3, TFL_I8, 0}, {0}};
static const struct tfl_option resize_nearest[] = {
    {"align_corners", 0, TFL_I8, 0}, {"half_pixel_centers", 1, TFL_I8, 0}, {0}};
static const struct tfl_option reshape[] = {{"new_shape", 0, TFL_I32S, 0}, {0}};
static const struct tfl_option gather[] = {
    {"axis", 0, TFL_I32, 0}, {"batch_dims", 1, TFL_I32, 0}, {0}};
static const struct tfl_option reducer[] = {{"keep_dims", 0, TFL_I8, 0}, {0}};
static const struct tfl_option squeeze[] = {{"squeeze_dims", 0, TFL_I32S, 0}, {0}};
static const struct tfl_option strided_slice[] = {
    {"begin_mask", 0, TFL_I32, 0},
    {"end_mask", 1, TFL_I32, 0},
    {"ellipsis_mask", 2, TFL_I32, 0},
    {"new_axis_mask", 3, TFL_I32, 0},
    {"shrink_axis_mask", 4, TFL_I32, 0},
    {"offset", 5, TFL_I8, 0},
    {0},
};
static const struct tfl_option cast[] = {
    {"in_data_type", 0, TFL_I8, 0}, {"out_data_type", 1, TFL_I8, 0}, {0}};
static const struct tfl_option num_splits[] = {{"num_splits", 0, TFL_I32, 0}, {0}};
static const struct tfl_option block_size[] = {{"block_size", 0, TFL_I32, 0}, {0}};
static const struct tfl_option arg_max[] = {{"output_type", 0, TFL_I8, 0}, {0}};
static const struct tfl_option pack[] = {
    {"values_count", 0, TFL_I32, 0}, {"axis", 1, TFL_I32, 0}, {0}};
static const struct tfl_option unpack[] = {{"num", 0, TFL_I32, 0}, {"axis", 1, TFL_I32, 0}, {0}};
static const struct tfl_option leaky_relu[] = {{"alpha", 0, TFL_F32, 0}, {0}};
static const struct tfl_option mirror_pad[] = {{"mode", 0, TFL_I8, 0}, {0}};
static const struct tfl_option shape[] = {{"out_type", 0, TFL_I8, 0}, {0}};
static const struct tfl_option batch_matmul[] = {
    {"adj_x", 0, TFL_I8, 0},
    {"adj_y", 1, TFL_I8, 0},
    {"asymmetric_quantize_inputs", 2, TFL_I8, 0},
    {0},
};
static const struct tfl_option gelu[] = {{"approximate", 0, TFL_I8, 0}, {0}};

static const struct tfl_options option_tables[] = {
    {1, "Conv2DOptions", conv_2d},
    {2, "DepthwiseConv2DOptions", depthwise_conv_2d},
    {5, "Pool2DOptions", pool_2d},
    {8, "FullyConnectedOptions", fully_connected},
    {9, "SoftmaxOptions", softmax},
    {10, "ConcatenationOptions", concatenation},
    {11, "AddOptions", activation},
    {12, "L2NormOptions", fused},
    {15, "ResizeBilinearOptions", resize_bilinear},
    {17, "ReshapeOptions", reshape},
    {19, "SpaceToDepthOptions", block_size},
    {21, "MulOptions", fused},
    {23, "GatherOptions", gather},
    {27, "ReducerOptions", reducer},
    {28, "SubOptions", activation},
    {29, "DivOptions", fused},
    {30, "SqueezeOptions", squeeze},
    {32, "StridedSliceOptions", strided_slice},
    {35, "SplitOptions", num_splits},
    {37, "CastOptions", cast},
    {40, "ArgMaxOptions", arg_max},
    {49, "TransposeConvOptions", transpose_conv},
    {55, "ShapeOptions", shape},
    {57, "ArgMinOptions", arg_max},
    {59, "PackOptions", pack},
    {64, "UnpackOptions", unpack},
    {74, "ResizeNearestNeighborOptions", resize_nearest},
    {75, "LeakyReluOptions", leaky_relu},
    {77, "MirrorPadOptions", mirror_pad},
    {79, "SplitVOptions", num_splits},
    {94, "DepthToSpaceOptions", block_size},
    {101, "BatchMatMulOptions", batch_matmul},
    {116, "GeluOptions", gelu},
};

const struct tfl_options *tflite_options(int64_t type)
{
    for (size_t i = 0; i < COUNT(option_tables); i++) {
        if (option_tables[i].type == type) {
            return &option_tables[i];
        }
    }
    return NULL;
}
