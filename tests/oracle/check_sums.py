#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""ReduceSum and ReduceMean of floats among codes: equal to onnxruntime's to the bit.

    check_sums.py [--count N] [--seed S]

The runtime sums in an order that depends on the pattern of reduced dimensions; shapes and axes are
random, with many dimensions of size one.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from common import Tally, ValueTool, session

SIZES = (1, 1, 2, 3, 4, 5, 7, 8, 13, 16, 33)
MOST = 40000  # elements


def draw(rng):
    """Operator, shape, axes, keepdims, opset."""
    shape = [int(rng.choice(SIZES)) for _ in range(rng.integers(1, 6))]
    while np.prod(shape) > MOST:
        shape.pop()
    axes = [d for d in range(len(shape)) if rng.random() < 0.5] or [int(rng.integers(len(shape)))]
    return (str(rng.choice(["ReduceSum", "ReduceMean"])), shape, axes, int(rng.integers(2)),
            int(rng.choice([11, 13, 18, 21])))


def build(op, shape, axes, keep, opset):
    constants = {"s": np.float32(0.0173), "z": np.uint8(117)}
    as_input = opset >= (13 if op == "ReduceSum" else 18)
    if as_input:
        constants["a"] = np.array(axes, np.int64)
    reduce = (helper.make_node(op, ["d", "a"], ["y"], keepdims=keep) if as_input else
              helper.make_node(op, ["d"], ["y"], keepdims=keep, axes=axes))
    graph = helper.make_graph(
        [helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
         helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]), reduce], "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.array(value), name) for name, value in constants.items()])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    tally, tool, rng = Tally(), ValueTool(), np.random.default_rng(args.seed)
    with tempfile.TemporaryDirectory() as folder:
        path, data = Path(folder) / "m.onnx", Path(folder) / "x.npy"
        for _ in range(args.count):
            case = draw(rng)
            model = build(*case)
            onnx.save(model, path)
            x = rng.standard_normal(case[1]).astype(np.float32)
            np.save(data, x)
            want = session(model).run(None, {"x": x})[0]
            found, error = tool.run(path, [data], everything=True)
            tally.check(not error and found["y"].shape == want.shape and
                        np.array_equal(found["y"], want),
                        f"{case}: {error or 'sums differ'}")
    tool.close()
    tally.close()


if __name__ == "__main__":
    main()
