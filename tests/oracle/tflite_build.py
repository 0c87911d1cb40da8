# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes TensorFlow Lite models of one operator, with random inputs.

A Builder holds one model: tensors are added with x (fed), const and y (made), then the operator. A
kind is the type of a tensor as numpy spells it; integers of up to 16 bits carry a Quant unless they
are plain.
"""

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

TYPES = {"float32": schema.TensorType.FLOAT32, "float16": schema.TensorType.FLOAT16,
         "int8": schema.TensorType.INT8, "uint8": schema.TensorType.UINT8,
         "int16": schema.TensorType.INT16, "int32": schema.TensorType.INT32,
         "int64": schema.TensorType.INT64, "bool": schema.TensorType.BOOL}
CODES = ("int8", "uint8", "int16")
# ActivationFunctionType: NONE, RELU, RELU_N1_TO_1, RELU6.
ACTIVATIONS = 4


class Quant:
    """scale and zero: a number each, or lists for parameters per channel along axis."""

    def __init__(self, scale, zero=0, axis=0):
        self.scale = np.atleast_1d(np.asarray(scale, np.float32))
        self.zero = np.broadcast_to(np.atleast_1d(zero), self.scale.shape)
        self.axis = axis

    def table(self):
        q = schema.QuantizationParametersT()
        q.scale = self.scale.tolist()
        q.zeroPoint = [int(z) for z in self.zero]
        q.quantizedDimension = self.axis
        return q


class Builder:
    def __init__(self, rng):
        self.rng = rng
        self.tensors, self.buffers = [], [schema.BufferT()]
        self.inputs, self.outputs, self.feeds = [], [], []
        self.operator = self.code = None

    # ---- Random things ----------------------------------------------------------------------

    def pick(self, *choices):
        return choices[int(self.rng.integers(len(choices)))]

    def size(self, low=1, high=9):
        """Sizes are small, odd ones and 1 among them."""
        return int(self.rng.integers(low, high + 1))

    def shape(self, rank=None, high=7):
        rank = self.size(1, 4) if rank is None else rank
        return [self.size(1, high) for _ in range(rank)]

    def activation(self):
        return int(self.rng.integers(ACTIVATIONS))

    def scale(self, around=0.05):
        """One in three is a power of two, which makes ties."""
        s = float(np.float32(around * 2.0 ** self.rng.uniform(-1.5, 1.5)))
        return 2.0 ** round(np.log2(s)) if self.rng.integers(3) == 0 else s

    def quant(self, kind, around=0.05):
        """Parameters for codes of a type; None for other types."""
        if kind not in CODES:
            return None
        if kind == "int16":
            return Quant(self.scale(around / 200))
        limits = np.iinfo(kind)
        middle = (limits.max + limits.min + 1) // 2
        zero = self.pick(middle, int(self.rng.integers(limits.min, limits.max + 1)))
        return Quant(self.scale(around), zero)

    def values(self, shape, kind):
        if kind in ("float32", "float16"):
            return (self.rng.standard_normal(shape) * self.pick(0.5, 3)).astype(kind)
        if kind == "bool":
            return self.rng.integers(0, 2, shape).astype(bool)
        limits = np.iinfo(kind)
        low, high = (max(limits.min, -1000), min(limits.max, 1000)) if limits.bits > 16 \
            else (limits.min, limits.max)
        return self.rng.integers(low, high + 1, shape).astype(kind)

    # ---- Parts of the model -----------------------------------------------------------------

    def tensor(self, shape, kind, quant, data=None):
        t = schema.TensorT()
        t.name = f"t{len(self.tensors)}"
        t.shape, t.type, t.buffer = [int(d) for d in shape], TYPES[kind], 0
        if quant:
            t.quantization = quant.table()
        if data is not None:
            t.buffer = len(self.buffers)
            b = schema.BufferT()
            b.data = np.frombuffer(np.ascontiguousarray(data).tobytes(), np.uint8)
            self.buffers.append(b)
        self.tensors.append(t)
        return len(self.tensors) - 1

    def x(self, shape, kind, quant=None, values=None):
        """A tensor that is fed."""
        self.feeds.append(self.values(shape, kind) if values is None else values)
        self.inputs.append(self.tensor(shape, kind, quant))
        return self.inputs[-1]

    def const(self, values, quant=None):
        values = np.asarray(values)
        return self.tensor(values.shape, str(values.dtype), quant, values)

    def ints(self, *values):
        return self.const(np.array(values, np.int32))

    def y(self, kind, quant=None):
        """A tensor that the operator makes; its shape is filled in by settle()."""
        self.outputs.append(self.tensor([], kind, quant))
        return self.outputs[-1]

    def op(self, name, inputs, outputs=None, options=None, **fields):
        """The operator; options names its table in the schema."""
        self.code = getattr(schema.BuiltinOperator, name)
        o = schema.OperatorT()
        o.inputs = list(inputs)
        o.outputs = list(self.outputs if outputs is None else outputs)
        if options:
            o.builtinOptionsType = getattr(schema.BuiltinOptions, options)
            o.builtinOptions = getattr(schema, options + "T")()
            for key, value in fields.items():
                if not hasattr(o.builtinOptions, key):
                    raise KeyError(f"{options} has no {key}")
                setattr(o.builtinOptions, key, value)
        self.operator = o

    def bytes(self):
        m = schema.ModelT()
        m.version, m.buffers = 3, self.buffers
        code = schema.OperatorCodeT()
        code.builtinCode, code.deprecatedBuiltinCode = self.code, min(self.code, 127)
        code.version = 1
        graph = schema.SubGraphT()
        graph.tensors, graph.operators = self.tensors, [self.operator]
        graph.inputs, graph.outputs = self.inputs, self.outputs
        m.operatorCodes, m.subgraphs = [code], [graph]
        builder = flatbuffers.Builder(1024)
        builder.Finish(m.Pack(builder), b"TFL3")
        return bytes(builder.Output())

    def settle(self, shapes):
        """Sets the shapes of what is made, which delegates take from the file."""
        for t, shape in zip(self.outputs, shapes):
            self.tensors[t].shape = [int(d) for d in shape]
