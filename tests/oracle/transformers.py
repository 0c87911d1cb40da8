# SPDX-License-Identifier: GPL-3.0-or-later
"""Small transformers with random weights, as exporters write them, and quantized in every way that
onnxruntime has: what check_transformers.py compares.

Text: token embeddings, a mask, normalization behind each part. Vision: patches and a class token,
normalization in front of each part, residuals that go past it. Before opset 17 there is no
LayerNormalization, so it is written out in nine operators; Gelu is written out in five always.
"""

import logging
import tempfile
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import (CalibrationDataReader, QuantFormat, quantize_dynamic,
                                      quantize_static)

WIDTH, HEADS, LAYERS, TOKENS, WORDS, CLASSES = 64, 4, 3, 24, 200, 8
IMAGE, PATCH = 32, 8
# Name of a way to quantize -> the function's arguments beside model and result.
WAYS = {
    "qdq": {"quant_format": QuantFormat.QDQ, "per_channel": True},
    "products": {"quant_format": QuantFormat.QDQ,
                 "op_types_to_quantize": ["MatMul", "Gemm", "Gather", "Conv"]},
    "qop": {"quant_format": QuantFormat.QOperator, "per_channel": True},
    "dynamic": None,
}


class Net:
    """A graph that grows node by node."""

    def __init__(self, opset, seed):
        self.opset, self.np = opset, np.random.default_rng(seed)
        self.nodes, self.constants, self.names = [], [], set()

    def constant(self, name, value):
        if name not in self.names:
            self.names.add(name)
            self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def real(self, name, value):
        return self.constant(name, np.float32(value))

    def weights(self, name, *shape, spread):
        return self.constant(name, self.np.normal(0, spread, shape).astype(np.float32))

    def node(self, op, inputs, output=None, **attrs):
        output = output or f"{op.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [output], name=f"/{output}", **attrs))
        return output

    def model(self, inputs, classes):
        info = helper.make_tensor_value_info
        graph = helper.make_graph(
            self.nodes, "net",
            [info(name, kind, shape) for name, kind, shape in inputs],
            [info("logits", TensorProto.FLOAT, [1, classes])], self.constants)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)],
                                 ir_version=8)

    # ---- Parts ------------------------------------------------------------------------------

    def linear(self, x, name, inputs, outputs):
        product = self.node("MatMul", [x, self.weights(name + ".w", inputs, outputs,
                                                       spread=inputs ** -0.5)])
        bias = self.weights(name + ".b", outputs, spread=0.05)
        # One exporter has the bias in front, another behind.
        return self.node("Add", [product, bias] if name[-1] in "kv1" else [bias, product])

    def mean(self, x):
        if self.opset >= 18:
            return self.node("ReduceMean", [x, self.constant("last", np.array([-1], np.int64))])
        return self.node("ReduceMean", [x], axes=[-1])

    def norm(self, x, name):
        gain = self.constant(name + ".g", self.np.uniform(0.6, 1.4, WIDTH).astype(np.float32))
        bias = self.weights(name + ".b", WIDTH, spread=0.1)
        if self.opset >= 17:
            return self.node("LayerNormalization", [x, gain, bias], axis=-1, epsilon=1e-5)
        off = self.node("Sub", [x, self.mean(x)])
        variance = self.mean(self.node("Pow", [off, self.real("two", 2)]))
        root = self.node("Sqrt", [self.node("Add", [variance, self.real("epsilon", 1e-5)])])
        scaled = self.node("Mul", [self.node("Div", [off, root]), gain])
        return self.node("Add", [scaled, bias])

    def gelu(self, x):
        erf = self.node("Erf", [self.node("Div", [x, self.real("root", np.sqrt(2))])])
        one = self.node("Add", [erf, self.real("one", 1)])
        return self.node("Mul", [self.node("Mul", [x, one]), self.real("half", 0.5)])

    def attention(self, x, name, mask):
        split = self.constant("heads", np.array([0, 0, HEADS, WIDTH // HEADS], np.int64))
        q, k, v = (self.node("Reshape", [self.linear(x, f"{name}.{part}", WIDTH, WIDTH), split])
                   for part in "qkv")
        q, v = (self.node("Transpose", [t], perm=[0, 2, 1, 3]) for t in (q, v))
        k = self.node("Transpose", [k], perm=[0, 2, 3, 1])
        scores = self.node("Div", [self.node("MatMul", [q, k]),
                                   self.real("scale", np.sqrt(WIDTH // HEADS))])
        if mask:
            scores = self.node("Add", [scores, mask])
        weights = self.node("Softmax", [scores], axis=-1 if self.opset >= 13 else 3)
        joined = self.node("Transpose", [self.node("MatMul", [weights, v])], perm=[0, 2, 1, 3])
        joined = self.node("Reshape", [joined, self.constant("joined", np.array([0, 0, WIDTH]))])
        return self.linear(joined, name + ".o", WIDTH, WIDTH)

    def feed_forward(self, x, name):
        return self.linear(self.gelu(self.linear(x, name + ".f1", WIDTH, 4 * WIDTH)),
                           name + ".f2", 4 * WIDTH, WIDTH)

    def head(self, x):
        first = self.node("Gather", [x, self.constant("first", np.int64(0))], axis=1)
        self.node("Gemm", [first, self.weights("head.w", CLASSES, WIDTH, spread=0.2),
                           self.weights("head.b", CLASSES, spread=0.1)], "logits", transB=1)


def text(opset, seed):
    """(model, what it is fed, a dict an example)."""
    b = Net(opset, seed)
    words = b.node("Gather", [b.weights("words", WORDS, WIDTH, spread=0.5), "ids"])
    x = b.node("Add", [words, b.weights("places", 1, TOKENS, WIDTH, spread=0.2)])
    x = b.norm(x, "first")
    wide = b.node("Reshape", ["mask", b.constant("wide", np.array([1, 1, 1, TOKENS]))])
    absent = b.node("Sub", [b.real("one", 1), b.node("Cast", [wide], to=TensorProto.FLOAT)])
    mask = b.node("Mul", [absent, b.real("far", -10000)])
    for i in range(LAYERS):
        x = b.norm(b.node("Add", [b.attention(x, f"b{i}", mask), x]), f"b{i}.n1")
        x = b.norm(b.node("Add", [b.feed_forward(x, f"b{i}"), x]), f"b{i}.n2")
    b.head(x)
    feeds = [{"ids": b.np.integers(0, WORDS, (1, TOKENS)),
              "mask": (np.arange(TOKENS) < b.np.integers(8, TOKENS + 1)).astype(np.int64)[None]}
             for _ in range(4)]
    kinds = [(name, TensorProto.INT64, [1, TOKENS]) for name in ("ids", "mask")]
    return b.model(kinds, CLASSES), feeds


def vision(opset, seed):
    b = Net(opset, seed)
    patches = (IMAGE // PATCH) ** 2
    x = b.node("Conv", ["x", b.weights("patch.w", WIDTH, 3, PATCH, PATCH, spread=0.08),
                        b.weights("patch.b", WIDTH, spread=0.1)],
               kernel_shape=[PATCH, PATCH], strides=[PATCH, PATCH])
    x = b.node("Reshape", [x, b.constant("flat", np.array([1, WIDTH, patches]))])
    x = b.node("Transpose", [x], perm=[0, 2, 1])
    x = b.node("Concat", [b.weights("class", 1, 1, WIDTH, spread=0.5), x], axis=1)
    x = b.node("Add", [x, b.weights("places", 1, patches + 1, WIDTH, spread=0.2)])
    for i in range(LAYERS):
        x = b.node("Add", [x, b.attention(b.norm(x, f"b{i}.n1"), f"b{i}", None)])
        x = b.node("Add", [x, b.feed_forward(b.norm(x, f"b{i}.n2"), f"b{i}")])
    b.head(b.norm(x, "last"))
    shape = [1, 3, IMAGE, IMAGE]
    feeds = [{"x": b.np.normal(0, 1, shape).astype(np.float32)} for _ in range(4)]
    return b.model([("x", TensorProto.FLOAT, shape)], CLASSES), feeds


class Examples(CalibrationDataReader):
    def __init__(self, feeds):
        self.left = iter(feeds)

    def get_next(self):
        return next(self.left, None)


def quantized(model, feeds, way):
    """The model as that way makes it."""
    logging.getLogger().setLevel(logging.ERROR)  # it advises about every model
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "fp32.onnx", Path(folder) / "int8.onnx"
        onnx.save(model, source)
        if WAYS[way] is None:
            quantize_dynamic(source, target)
        else:
            quantize_static(source, target, Examples(feeds), **WAYS[way])
        return onnx.load(target)
