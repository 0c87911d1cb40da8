# SPDX-License-Identifier: GPL-3.0-or-later
"""Models of one TensorFlow Lite operator each: a function per family, a row per operator in CASES.

A function gets a Builder, the operator's name and a kind, and adds tensors and the operator.
"""

import numpy as np

from tflite_build import CODES, TYPES, Quant

SAME, VALID = 0, 1


# ---- Elementwise ----------------------------------------------------------------------------

def unary(b, name, kind):
    """Fixed output ranges where the kernels demand them."""
    q, made = b.quant(kind, 0.04), b.quant(kind, 0.02)
    values, options, fields = None, None, {}
    shape = b.shape()
    if name in ("LOGISTIC", "TANH") and kind in CODES:
        made = fixed_range(name, kind)
        if kind == "int16":  # 4 integer bits, as its kernels want
            q = b.pick(Quant(2.0 ** -12), b.quant(kind))
    if kind == "float32" and name in ("SQRT", "RSQRT", "LOG"):
        values = np.abs(b.values(shape, kind)) + np.float32(0.01)
    if kind in CODES and name in ("SQRT", "RSQRT", "LOG"):
        low = int(q.zero[0]) + 1
        values = b.rng.integers(min(low, np.iinfo(kind).max), np.iinfo(kind).max + 1,
                                shape).astype(kind)
    if name == "LEAKY_RELU":
        options, fields = "LeakyReluOptions", {"alpha": b.pick(0.1, 0.25, 0.3, -0.2, 1.5)}
    if name == "GELU":
        options, fields = "GeluOptions", {"approximate": bool(b.size(0, 1))}
    b.op(name, [b.x(shape, kind, q, values)], [b.y(kind, made)], options, **fields)


def fixed_range(name, kind):
    scale = {"int8": 256, "uint8": 256, "int16": 32768}[kind] / (2 if name == "TANH" and
                                                                kind != "int16" else 1)
    zero = {"int8": 0 if name == "TANH" else -128, "uint8": 128 if name == "TANH" else 0,
            "int16": 0}[kind]
    return Quant(1 / scale, zero)


def broadcast(b):
    """Two shapes that broadcast."""
    a = b.shape()
    c = [d if b.size(0, 2) else 1 for d in a]
    c = c[b.size(0, len(c) - 1):] if b.size(0, 2) == 0 else c
    return (a, c) if b.size(0, 1) else (c, a)


def binary(b, name, kind):
    left, right = broadcast(b)
    qa, qb, qy = b.quant(kind, 0.05), b.quant(kind, 0.05), b.quant(kind, 0.08)
    if name in ("MAXIMUM", "MINIMUM"):
        qb = qy = qa
    if name in ("MUL", "SQUARED_DIFFERENCE"):
        qy = b.quant(kind, 0.2)
    values = None
    if name in ("DIV", "FLOOR_DIV"):
        values = b.values(right, kind)
        values[np.abs(values) < 0.1] = 1
    options = {"ADD": "AddOptions", "SUB": "SubOptions", "MUL": "MulOptions",
               "DIV": "DivOptions"}.get(name)
    fields = {"fusedActivationFunction": b.activation()} if options else {}
    if kind == "int16" and name in ("ADD", "SUB"):
        fields["potScaleInt16"] = False
    if kind == "int64" or (kind == "int32" and options):
        fields.pop("fusedActivationFunction", None)
    a = b.x(left, kind, qa)
    second = b.const(b.values(right, kind) if values is None else values, qb) \
        if b.size(0, 2) == 0 else b.x(right, kind, qb, values)
    b.op(name, [a, second], [b.y(kind, qy)], options, **fields)


# ---- Layers ---------------------------------------------------------------------------------

def weights(b, shape, kind, axis, per_channel=False):
    """(tensor, scales) of int8 weights per channel or tensor, legacy uint8, or floats."""
    if kind == "float32":
        return b.const((b.rng.standard_normal(shape) * 0.3).astype(np.float32)), None
    if kind == "uint8":
        q = Quant(b.scale(0.01), int(b.rng.integers(256)))
        return b.const(b.rng.integers(0, 256, shape).astype(np.uint8), q), q.scale
    n = shape[axis] if per_channel or b.size(0, 3) else 1
    q = Quant([b.scale(0.01) for _ in range(n)], 0, axis)
    return b.const(b.rng.integers(-127, 128, shape).astype(np.int8), q), q.scale


def bias(b, n, kind, scales, q, always=False):
    if not always and b.size(0, 3) == 0:
        return -1
    if scales is None or kind == "float32":
        return b.const(b.rng.standard_normal(n).astype(np.float32))
    wide = np.int64 if kind == "int16" else np.int32
    codes = b.rng.integers(-3000, 3000, n) * (200 if kind == "int16" else 1)
    scale = np.float32(q.scale[0]) * scales
    return b.const(codes.astype(wide), Quant(scale, 0, 0))


def layer_out(b, kind, q, scales, depth):
    """Parameters in which sums of `depth` products spread over the codes."""
    if kind not in CODES:
        return None
    real = float(q.scale[0]) * float(np.mean(scales)) * np.sqrt(depth) * 75 * 75
    return b.quant(kind, real * (256 / 65536 if kind == "int16" else 1) / b.pick(20, 40, 90)
                   * (200 if kind == "int16" else 1) * (128 if kind == "int16" else 1))


def window(b, dilate=True):
    """Image size, filter, strides, dilations, padding of a sliding filter that fits."""
    kh, kw = b.pick((1, 1), (3, 3), (2, 3), (1, 3), (5, 5), (3, 1))
    dh, dw = b.pick((1, 1), (1, 1), (2, 2), (1, 2)) if dilate else (1, 1)
    sh, sw = b.pick((1, 1), (2, 2), (1, 2), (3, 2)) if (dh, dw) == (1, 1) else (1, 1)
    padding = b.pick(SAME, VALID)
    h = b.size(1, 9) + (0 if padding == SAME else (kh - 1) * dh)
    w = b.size(1, 9) + (0 if padding == SAME else (kw - 1) * dw)
    return h, w, kh, kw, {"padding": padding, "strideH": sh, "strideW": sw, "dilationHFactor": dh,
                          "dilationWFactor": dw}


def of_layer(kind):
    """(activations, weights, biases) of a kind."""
    return ("float32", "int8", "float32") if kind == "hybrid" else \
        (kind, "int8" if kind == "int16" else kind, kind)


def conv_2d(b, name, kind):
    h, w, kh, kw, fields = window(b)
    c, n = b.pick(1, 2, 3, 5, 8, 16, 19), b.pick(1, 3, 7, 8, 16, 21, 33)
    x_kind, w_kind, b_kind = of_layer(kind)
    q = b.quant(x_kind)
    x = b.x([b.size(1, 2), h, w, c], x_kind, q)
    f, scales = weights(b, [n, kh, kw, c], w_kind, 0)
    inputs = [x, f, bias(b, n, b_kind, scales, q)]
    b.op(name, inputs[:2] if inputs[2] < 0 else inputs,
         [b.y(x_kind, layer_out(b, x_kind, q, scales, kh * kw * c))], "Conv2DOptions",
         fusedActivationFunction=b.activation(), **fields)


def depthwise_conv_2d(b, name, kind):
    h, w, kh, kw, fields = window(b)
    c, m = b.pick(1, 2, 3, 8, 17, 32, 40), b.pick(1, 1, 1, 2, 3)
    x_kind, w_kind, b_kind = of_layer(kind)
    q = b.quant(x_kind)
    x = b.x([b.size(1, 2), h, w, c], x_kind, q)
    f, scales = weights(b, [1, kh, kw, c * m], w_kind, 3, kind == "hybrid")
    # Without biases LiteRT 2.3 itself crashes.
    inputs = [x, f, bias(b, c * m, b_kind, scales, q, always=True)]
    b.op(name, inputs, [b.y(x_kind, layer_out(b, x_kind, q, scales, kh * kw))],
         "DepthwiseConv2DOptions",
         depthMultiplier=m, fusedActivationFunction=b.activation(), **fields)


def fully_connected(b, name, kind):
    depth, n = b.pick(1, 3, 8, 17, 64, 300), b.pick(1, 2, 7, 16, 40)
    x_kind, w_kind, b_kind = of_layer(kind)
    q = b.quant(x_kind)
    keep = b.size(0, 1)
    x = b.x([b.size(1, 3), b.size(1, 3), depth] if keep else [b.size(1, 5), depth], x_kind, q)
    f, scales = weights(b, [n, depth], w_kind, 0)
    inputs = [x, f, bias(b, n, b_kind, scales, q)]
    fields = {"asymmetricQuantizeInputs": bool(b.size(0, 1))} if kind == "hybrid" else {}
    b.op(name, inputs, [b.y(x_kind, layer_out(b, x_kind, q, scales, depth))],
         "FullyConnectedOptions", fusedActivationFunction=b.activation(), keepNumDims=bool(keep),
         **fields)


def batch_matmul(b, name, kind):
    m, n, k = b.size(), b.size(), b.pick(1, 3, 8, 33)
    lead, adj_x, adj_y = b.shape(b.size(0, 2), 3), bool(b.size(0, 1)), bool(b.size(0, 1))
    qa, qb = b.quant(kind), b.quant(kind)
    qy = layer_out(b, kind, qa, qb.scale, k) if qa else None
    a = b.x(lead + ([k, m] if adj_x else [m, k]), kind, qa)
    c = b.x(lead + ([n, k] if adj_y else [k, n]), kind, qb)
    b.op(name, [a, c], [b.y(kind, qy)], "BatchMatMulOptions", adjX=adj_x, adjY=adj_y)


# ---- Fewer numbers of many ------------------------------------------------------------------

def pool_2d(b, name, kind):
    h, w, kh, kw, fields = window(b, dilate=False)
    q = b.quant(kind)
    x = b.x([b.size(1, 2), h, w, b.pick(1, 3, 8, 20)], kind, q)
    b.op(name, [x], [b.y(kind, q)], "Pool2DOptions", filterHeight=kh, filterWidth=kw,
         padding=fields["padding"], strideH=fields["strideH"], strideW=fields["strideW"],
         fusedActivationFunction=b.activation())


def reduce(b, name, kind):
    shape = b.shape()
    axes = sorted(int(a) for a in b.rng.permutation(len(shape))[:b.size(1, len(shape))])
    if len(shape) == 4 and b.size(0, 1):
        axes = [1, 2]
    if b.size(0, 3) == 0:
        axes = [a - len(shape) for a in axes]
    q = b.quant(kind)
    made = b.pick(q, b.quant(kind))
    if name == "SUM" and q:
        made = b.quant(kind, 0.2)
    x = b.x(shape, kind, q)
    b.op(name, [x, b.ints(*axes)], [b.y(kind, made)], "ReducerOptions", keepDims=bool(b.size(0, 1)))


def softmax(b, name, kind):
    made = {"int8": Quant(1 / 256, -128), "uint8": Quant(1 / 256), "int16": Quant(1 / 32768)}
    x = b.x(b.shape(), kind, b.quant(kind, 0.1))
    b.op(name, [x], [b.y(kind, made.get(kind))], "SoftmaxOptions", beta=b.pick(1.0, 1.0, 0.5))


def arg(b, name, kind):
    shape = b.shape()
    wide = b.size(0, 1)
    options = "ArgMaxOptions" if name == "ARG_MAX" else "ArgMinOptions"
    x = b.x(shape, kind, b.quant(kind))
    b.op(name, [x, b.ints(b.size(0, len(shape) - 1) - b.pick(0, len(shape)))],
         [b.y("int64" if wide else "int32")], options, outputType=4 if wide else 2)


# ---- Types and sizes ------------------------------------------------------------------------

def quantize(b, name, kind):
    """kind: FROM to TO."""
    source, target = kind.split(" to ")
    shape, q = b.shape(), b.quant(target)
    values = b.values(shape, source)
    if source == "float32" and b.size(0, 1):  # ties
        step = q.scale[0] / np.float32(2)
        values = (np.round(values / step) * step).astype(np.float32)
    b.op(name, [b.x(shape, source, b.quant(source), values)], [b.y(target, q)], "QuantizeOptions")


def dequantize(b, name, kind):
    x = b.x(b.shape(), kind, b.quant(kind))
    b.op(name, [x], [b.y("float32")], "DequantizeOptions")


def cast(b, name, kind):
    source, target = kind.split(" to ")
    shape = b.shape()
    values = b.values(shape, source)
    if source == "float32":
        values = (values * 10).astype(np.float32)
        values = np.abs(values) if target == "uint8" else values
    b.op(name, [b.x(shape, source, None, values)], [b.y(target)], "CastOptions",
         inDataType=TYPES[source], outDataType=TYPES[target])


def resize(b, name, kind):
    q = b.quant(kind)
    x = b.x([b.size(1, 2), b.size(), b.size(), b.pick(1, 3, 8, 17)], kind, q)
    mode = b.pick((False, False), (True, False), (False, True))
    options = "ResizeBilinearOptions" if name == "RESIZE_BILINEAR" else \
        "ResizeNearestNeighborOptions"
    b.op(name, [x, b.ints(b.size(1, 13), b.size(1, 13))], [b.y(kind, q)], options,
         alignCorners=mode[0], halfPixelCenters=mode[1])


# ---- Elements put elsewhere -----------------------------------------------------------------

def moved(b, kind, shape, q=None):
    """An input and its parameters; outputs of operators that only move have the same."""
    q = b.quant(kind) if q is None else q
    return b.x(shape, kind, q), q


def reshape(b, name, kind):
    shape = b.shape()
    x, q = moved(b, kind, shape)
    to = [int(np.prod(shape[:2])), *shape[2:]]
    if b.size(0, 1):
        to[0] = -1
    b.op(name, [x, b.ints(*to)], [b.y(kind, q)], "ReshapeOptions", newShape=to)


def squeeze(b, name, kind):
    shape = [1, *b.shape(2), 1]
    x, q = moved(b, kind, shape)
    b.op(name, [x], [b.y(kind, q)], "SqueezeOptions", squeezeDims=b.pick([], [0], [-1], [0, 3]))


def expand_dims(b, name, kind):
    shape = b.shape(b.size(1, 3))
    x, q = moved(b, kind, shape)
    b.op(name, [x, b.ints(b.size(-len(shape) - 1, len(shape)))], [b.y(kind, q)],
         "ExpandDimsOptions")


def shape_of(b, name, kind):
    wide = b.size(0, 1)
    x, _ = moved(b, kind, b.shape())
    b.op(name, [x], [b.y("int64" if wide else "int32")], "ShapeOptions", outType=4 if wide else 2)


def transpose(b, name, kind):
    shape = b.shape()
    x, q = moved(b, kind, shape)
    b.op(name, [x, b.ints(*b.rng.permutation(len(shape)))], [b.y(kind, q)], "TransposeOptions")


def pad(b, name, kind):
    shape = b.shape()
    x, q = moved(b, kind, shape)
    pads = b.const(b.rng.integers(0, 4, [len(shape), 2]).astype(b.pick(np.int32, np.int64)))
    more = [b.const(b.values([1], kind), q)] if name == "PADV2" else []
    b.op(name, [x, pads, *more], [b.y(kind, q)], "PadOptions" if name == "PAD" else "PadV2Options")


def slice_(b, name, kind):
    shape = b.shape()
    x, q = moved(b, kind, shape)
    begin = [int(b.rng.integers(d)) for d in shape]
    size = [b.pick(-1, b.size(1, d - at)) for d, at in zip(shape, begin)]
    b.op(name, [x, b.ints(*begin), b.ints(*size)], [b.y(kind, q)], "SliceOptions")


def strided_slice(b, name, kind):
    shape = b.shape()
    x, q = moved(b, kind, shape)
    begin, end, step, shrink = [], [], [], 0
    for i, d in enumerate(shape):
        at = int(b.rng.integers(d))
        back = b.size(0, 3) == 0
        if not back and b.size(0, 3) == 0:
            shrink |= 1 << i
            begin, end, step = begin + [at - b.pick(0, d)], end + [at + 1], step + [1]
            continue
        begin.append(at - b.pick(0, d))
        end.append((int(b.rng.integers(-1, at)) - d) if back else b.size(at + 1, d + 2))
        step.append(-b.size(1, 2) if back else b.size(1, 3))
    free = ~shrink
    b.op(name, [x, b.ints(*begin), b.ints(*end), b.ints(*step)], [b.y(kind, q)],
         "StridedSliceOptions", beginMask=b.size(0, 15) & free, endMask=b.size(0, 15) & free,
         shrinkAxisMask=shrink)


def split(b, name, kind):
    shape, parts = b.shape(), b.size(1, 4)
    axis = b.size(0, len(shape) - 1)
    shape[axis] *= parts
    at = b.ints(axis - b.pick(0, len(shape)))
    x, q = moved(b, kind, shape)
    b.op(name, [at, x], [b.y(kind, q) for _ in range(parts)], "SplitOptions", numSplits=parts)


def split_v(b, name, kind):
    shape, sizes = b.shape(), [b.size(1, 4) for _ in range(b.size(1, 4))]
    axis = b.size(0, len(shape) - 1)
    shape[axis] = sum(sizes)
    x, q = moved(b, kind, shape)
    if b.size(0, 1):
        sizes[b.size(0, len(sizes) - 1)] = -1
    b.op(name, [x, b.ints(*sizes), b.ints(axis - b.pick(0, len(shape)))],
         [b.y(kind, q) for _ in sizes], "SplitVOptions", numSplits=len(sizes))


def concatenation(b, name, kind):
    shape = b.shape()
    axis, q, inputs = b.size(0, len(shape) - 1), b.quant(kind), []
    other = kind == "uint8" and b.size(0, 1)
    for _ in range(b.size(1, 4)):
        part = list(shape)
        part[axis] = b.size(1, 5)
        inputs.append(b.x(part, kind, b.quant(kind) if other else q))
    b.op(name, inputs, [b.y(kind, q)], "ConcatenationOptions",
         axis=axis - b.pick(0, len(shape)), fusedActivationFunction=0)


def pack(b, name, kind):
    shape, n, q = b.shape(b.size(0, 3)), b.size(1, 4), b.quant(kind)
    b.op(name, [b.x(shape, kind, q) for _ in range(n)], [b.y(kind, q)], "PackOptions",
         valuesCount=n, axis=b.size(0, len(shape)))


def unpack(b, name, kind):
    shape = b.shape()
    axis = b.size(0, len(shape) - 1)
    x, q = moved(b, kind, shape)
    b.op(name, [x], [b.y(kind, q) for _ in range(shape[axis])], "UnpackOptions", num=shape[axis],
         axis=axis - b.pick(0, len(shape)))


def gather(b, name, kind):
    shape = b.shape(b.size(1, 3))
    axis = b.size(0, len(shape) - 1)
    batch = b.size(0, axis) if b.size(0, 1) else 0
    x, q = moved(b, kind, shape)
    index = b.rng.integers(0, shape[axis], shape[:batch] + b.shape(b.size(0, 2), 4))
    b.op(name, [x, b.const(index.astype(b.pick(np.int32, np.int64)))], [b.y(kind, q)],
         "GatherOptions", axis=axis - b.pick(0, len(shape)), batchDims=batch)


def gather_nd(b, name, kind):
    shape = b.shape(b.size(1, 4))
    depth = b.size(1, len(shape))
    x, q = moved(b, kind, shape)
    lead = b.shape(b.size(1, 2), 4)
    index = np.stack([b.rng.integers(0, d, lead) for d in shape[:depth]], -1)
    b.op(name, [x, b.const(index.astype(b.pick(np.int32, np.int64)))], [b.y(kind, q)],
         "GatherNdOptions")


def blocks(b, name, kind):
    n, h, w, c = b.shape(4, 4)
    k = b.size(1, 3)
    deep = name == "DEPTH_TO_SPACE"
    x, q = moved(b, kind, [n, h, w, c * k * k] if deep else [n, h * k, w * k, c])
    b.op(name, [x], [b.y(kind, q)], "DepthToSpaceOptions" if deep else "SpaceToDepthOptions",
         blockSize=k)


# ---- The table ------------------------------------------------------------------------------

LAYERS = ("float32", "int8", "uint8", "int16", "hybrid")
MOVES = ("float32", "int8", "uint8", "int16", "int32", "int64", "bool")
NUMBERS = ("float32", "int8", "uint8", "int16", "int32", "int64")
REAL = ("float32", *CODES)
QUANTIZE = [f"float32 to {t}" for t in CODES] + [f"{s} to {t}" for s in CODES for t in CODES]
CASTS = [f"{s} to {t}" for s in ("float32", "int8", "uint8", "int32", "int64", "bool")
         for t in ("float32", "int8", "uint8", "int32", "int64", "bool") if s != t]

# Operator -> (function, kinds).
CASES = {
    **{name: (unary, REAL) for name in
       ("LOGISTIC", "TANH", "GELU", "HARD_SWISH", "LEAKY_RELU", "RELU", "RELU6", "RELU_N1_TO_1",
        "SQRT", "RSQRT", "EXP", "LOG", "ABS", "NEG", "SQUARE")},
    **{name: (binary, NUMBERS) for name in
       ("ADD", "SUB", "MUL", "DIV", "SQUARED_DIFFERENCE", "MAXIMUM", "MINIMUM", "FLOOR_DIV")},
    "CONV_2D": (conv_2d, LAYERS),
    "DEPTHWISE_CONV_2D": (depthwise_conv_2d, LAYERS),
    "FULLY_CONNECTED": (fully_connected, LAYERS),
    "BATCH_MATMUL": (batch_matmul, ("float32", "int8", "int16")),
    "AVERAGE_POOL_2D": (pool_2d, REAL),
    "MAX_POOL_2D": (pool_2d, REAL),
    "MEAN": (reduce, REAL),
    "SUM": (reduce, REAL),
    "SOFTMAX": (softmax, REAL),
    "ARG_MAX": (arg, NUMBERS),
    "ARG_MIN": (arg, NUMBERS),
    "QUANTIZE": (quantize, QUANTIZE),
    "DEQUANTIZE": (dequantize, ("float16", *CODES)),
    "CAST": (cast, CASTS),
    "RESIZE_BILINEAR": (resize, REAL),
    "RESIZE_NEAREST_NEIGHBOR": (resize, REAL),
    "RESHAPE": (reshape, MOVES),
    "SQUEEZE": (squeeze, MOVES),
    "EXPAND_DIMS": (expand_dims, MOVES),
    "SHAPE": (shape_of, MOVES),
    "TRANSPOSE": (transpose, MOVES),
    "PAD": (pad, MOVES),
    "PADV2": (pad, MOVES),
    "SLICE": (slice_, MOVES),
    "STRIDED_SLICE": (strided_slice, MOVES),
    "SPLIT": (split, MOVES),
    "SPLIT_V": (split_v, MOVES),
    "CONCATENATION": (concatenation, MOVES),
    "PACK": (pack, MOVES),
    "UNPACK": (unpack, MOVES),
    "GATHER": (gather, MOVES),
    "GATHER_ND": (gather_nd, MOVES),
    "DEPTH_TO_SPACE": (blocks, MOVES),
    "SPACE_TO_DEPTH": (blocks, MOVES),
}
