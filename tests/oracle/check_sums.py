#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Float operators among codes whose results depend on the order of sums: equal to onnxruntime's to
the bit.

    check_sums.py [--count N] [--seed S] [OPERATOR...]

Each case is one operator behind a quantizer, of random shape and parameters, N for each operator.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from common import Tally, ValueTool, session

SIZES = (1, 1, 2, 3, 4, 5, 7, 8, 13, 16, 33)
LONG = (1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 48, 49, 100, 129, 300, 600)
MOST = 40000  # elements


class Case:
    """A graph in the making: d is the input x, quantized and back."""

    def __init__(self, rng, shape, opset=17):
        self.rng, self.opset, self.shape = rng, opset, list(shape)
        self.feeds = {"x": self.random(shape)}
        self.constants = {"s": np.float32(0.0173), "z": np.uint8(117)}
        self.nodes = [helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
                      helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"])]

    def random(self, shape):
        return self.rng.standard_normal(shape).astype(np.float32)

    def constant(self, value):
        name = f"c{len(self.constants)}"
        self.constants[name] = np.asarray(value)
        return name

    def weights(self, shape):
        """A constant, or an input of the graph."""
        if self.rng.integers(2):
            return self.constant(self.random(shape))
        name = f"x{len(self.feeds)}"
        self.feeds[name] = self.random(shape)
        return name

    def add(self, op, inputs, **attrs):
        name = f"n{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [name], **attrs))
        return name

    def model(self):
        graph = helper.make_graph(
            self.nodes, "g",
            [helper.make_tensor_value_info(k, TensorProto.FLOAT, v.shape)
             for k, v in self.feeds.items()],
            [helper.make_tensor_value_info(self.nodes[-1].output[0], TensorProto.FLOAT, None)],
            [numpy_helper.from_array(v, k) for k, v in self.constants.items()])
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)],
                                 ir_version=8)

    def __str__(self):
        n = self.nodes[-1]
        shapes = [list(v.shape) for v in (self.feeds | self.constants).values()]
        attrs = {a.name: helper.get_attribute_value(a) for a in n.attribute}
        return f"{[m.op_type for m in self.nodes[2:]]} opset {self.opset} {attrs} {shapes}"


# ---- Operators ----------------------------------------------------------------------------------

def reduce(rng):
    """The order depends on the pattern of reduced dimensions; many have the size one."""
    op = str(rng.choice(["ReduceSum", "ReduceMean"]))
    shape = [int(rng.choice(SIZES)) for _ in range(rng.integers(1, 6))]
    while np.prod(shape) > MOST:
        shape.pop()
    axes = [d for d in range(len(shape)) if rng.random() < 0.5] or [int(rng.integers(len(shape)))]
    c = Case(rng, shape, int(rng.choice([11, 13, 18, 21])))
    keep = int(rng.integers(2))
    if c.opset >= (13 if op == "ReduceSum" else 18):
        c.add(op, ["d", c.constant(np.array(axes, np.int64))], keepdims=keep)
    else:
        c.add(op, ["d"], keepdims=keep, axes=axes)
    return c


def layer_norm(rng):
    """Also behind one and two Adds, which onnxruntime makes one kernel with it."""
    n, adds = int(rng.choice(LONG)), int(rng.integers(4))
    shape = [int(rng.choice(SIZES[:6])), int(rng.choice(SIZES)), n]
    c = Case(rng, shape)
    x, other = "d", c.weights(shape) if adds else None
    if adds == 2:
        x = c.add("Add", [x, c.constant(c.random([n]))])
    elif adds == 3:
        other = c.add("Add", [other, c.constant(c.random([n]))])
    x = c.add("Add", [x, other]) if adds else x
    scale = [c.constant(c.random([n])) for _ in range(rng.integers(1, 3))]
    c.add("LayerNormalization", [x, *scale], epsilon=float(rng.choice([1e-3, 1e-5, 1e-12])))
    return c


def softmax(rng):
    shape = [int(rng.choice(SIZES[:6])), int(rng.choice(LONG)), int(rng.choice([1, 1, 4]))]
    c = Case(rng, shape, int(rng.choice([11, 13, 17])))
    x = c.add("Mul", ["d", c.constant(np.float32(rng.choice([0.7, 7, 70])))])
    c.add("Softmax", [x], axis=int(rng.integers(len(shape))))
    return c


def matmul(rng):
    """Also with a factor in front, which scales the sums."""
    m, k, n = (int(rng.choice(LONG)) for _ in range(3))
    heads = [int(v) for v in rng.choice(SIZES[:4], rng.integers(3))]
    c = Case(rng, [*heads, m, k])
    kind, x = rng.integers(4), "d"
    if rng.integers(3) == 0:
        x = c.add(str(rng.choice(["Mul", "Div"])), [x, c.constant(np.float32(rng.choice([0.3, 2])))])
    c.add("MatMul", [x, c.weights([*heads, k, n] if kind == 0 else [k] if kind == 1 else [k, n])])
    return c


def gemm(rng):
    m, k, n = (int(rng.choice(LONG)) for _ in range(3))
    c, flip = Case(rng, [m, k]), int(rng.integers(2))
    bias = [c.constant(c.random([n]))] if rng.integers(2) else []
    c.add("Gemm", ["d", c.weights([n, k] if flip else [k, n]), *bias], transB=flip)
    return c


def conv_before(c, channels):
    """Sometimes, so that what follows runs in the blocked layout."""
    if len(c.shape) != 4 or c.rng.integers(2):
        return "d"
    return c.add("Conv", ["d", c.constant(c.random([channels, c.shape[1], 1, 1]))])


def average_pool(rng):
    rank, channels = int(rng.integers(1, 3)), int(rng.choice([1, 3, 16, 20, 32]))
    sizes = [int(rng.integers(1, 14)) for _ in range(rank)]
    c = Case(rng, [1, channels, *sizes], int(rng.choice([11, 13, 17, 19, 21])))
    kernel = [int(rng.integers(1, min(v, 4) + 1)) for v in sizes]
    pads = [int(rng.integers(k)) for k in kernel * 2]
    strides = [int(rng.integers(1, 4)) for _ in kernel]
    if rng.integers(8) == 0:  # the whole image: another kernel
        kernel, pads, strides = sizes, [0] * len(pads), [1] * rank
    c.add("AveragePool", [conv_before(c, channels)], kernel_shape=kernel, pads=pads,
          strides=strides, count_include_pad=int(rng.integers(2)),
          ceil_mode=int(rng.integers(4) == 0))
    return c


def global_pool(rng):
    shape = [1, int(rng.choice([1, 3, 16, 20, 32])), *(int(v) for v in rng.choice(SIZES, 2))]
    c = Case(rng, shape)
    c.add("GlobalAveragePool", [conv_before(c, int(rng.choice([3, 16, 20])))])
    return c


def conv(rng):
    groups = int(rng.choice([1, 1, 2, 8]))
    own, made = int(rng.choice([1, 2, 5, 16])), int(rng.choice([1, 3, 8, 17]))
    kernel = [int(rng.integers(1, 4)) for _ in range(rng.integers(1, 3))]
    c = Case(rng, [int(rng.integers(1, 3)), groups * own, *(k + int(rng.integers(9)) for k in kernel)])
    bias = [c.constant(c.random([groups * made]))] if rng.integers(2) else []
    c.add("Conv", ["d", c.constant(c.random([groups * made, own, *kernel])), *bias], group=groups,
          strides=[int(rng.integers(1, 3)) for _ in kernel],
          pads=[int(rng.integers(k)) for k in kernel * 2])
    return c


OPERATORS = {"Reduce": reduce, "LayerNormalization": layer_norm, "Softmax": softmax,
             "MatMul": matmul, "Gemm": gemm, "AveragePool": average_pool,
             "GlobalAveragePool": global_pool, "Conv": conv}


# ---- Comparing ----------------------------------------------------------------------------------

def check_case(tally, tool, case, folder):
    path, model = folder / "m.onnx", case.model()
    onnx.save(model, path)
    for name, value in case.feeds.items():
        np.save(folder / f"{name}.npy", value)
    want = session(model).run(None, case.feeds)[0]
    found, error = tool.run(path, [folder / f"{n}.npy" for n in case.feeds], everything=True)
    got = found.get(model.graph.output[0].name)
    tally.check(not error and got.shape == want.shape and np.array_equal(got, want, equal_nan=True),
                f"{case}: {error or 'sums differ'}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("wanted", nargs="*", help="operators; all when none is given")
    parser.add_argument("--count", type=int, default=150)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    tally, tool, rng = Tally(), ValueTool(), np.random.default_rng(args.seed)
    with tempfile.TemporaryDirectory() as folder:
        for name, make in OPERATORS.items():
            for _ in range(args.count if not args.wanted or name in args.wanted else 0):
                check_case(tally, tool, make(rng), Path(folder))
    tool.close()
    tally.close()


if __name__ == "__main__":
    main()
