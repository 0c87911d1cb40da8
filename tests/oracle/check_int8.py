#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""INT8 numbers against onnxruntime's, integer for integer.

For every INT8 file, static and dynamic: all tensors of the graph that is executed (judge.py tells
what they are compared with). Integers made from floats that onnxruntime sums in another order may
be one off in 0.5 % of the values; all others must be equal. Then single operators with random
shapes, scales and zero points, half of the scales dyadic so that results fall between two codes.

All codes must be equal on a machine whose onnxruntime multiplies bytes exactly (VNNI). Elsewhere
its 8-bit products saturate, and results need only be within one code on 99.9 % of the values.

    check_int8.py [--images N] [--unfused] [--json FILE] [MODEL|operators|OPERATOR ...]
"""

import argparse
import random
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from common import DATA, Tally, ValueTool, input_names, inputs_of, metas, session
from judge import Judge, Reference, Row, Source, Unfused, add_rows, save_rows

IMAGES = 3
SHARE = 0.005  # of the codes behind float sums
CLOSE = 0.999  # share of values within one code that suffices without VNNI
CODES = (np.uint8, np.int8)


def exact_products():
    try:
        return "vnni" in Path("/proc/cpuinfo").read_text()
    except OSError:
        return False


EXACT = exact_products()


def judge(differing, far, total):
    """Whether this many unequal values, and values more than a code apart, will do."""
    return differing == 0 if EXACT else far <= (1 - CLOSE) * total


class Differences:
    """Values compared, unequal, and more than one step apart."""

    def __init__(self):
        self.total = self.differing = self.far = 0

    def add(self, got, want, step=1.0):
        off = np.abs(got.astype(np.float64) - want.astype(np.float64)) / step
        self.total += want.size
        self.differing += int((off > 0.01).sum())
        self.far += int((off > 1.01).sum())

    def __str__(self):
        share = 100 * self.differing / max(1, self.total)
        return f"{self.differing} of {self.total} codes differ ({share:.4f} %), {self.far} by more than one"


# ---- Models -----------------------------------------------------------------------------------

def output_steps(path):
    """Scale of each graph output that a DQ makes; outputs made otherwise have none."""
    graph = onnx.load(path).graph
    constants = {i.name: numpy_helper.to_array(i) for i in graph.initializer}
    makers = {o: n for n in graph.node for o in n.output}
    steps = {}
    for output in graph.output:
        maker = makers[output.name]
        if maker.op_type == "DequantizeLinear":
            steps[output.name] = float(constants[maker.input[1]].ravel()[0])
    return steps


class Totals:
    def __init__(self):
        self.counts, self.rows = Counter(), {}


def check_image(tally, title, reference, found, source, totals):
    """Every tensor of one run."""
    judge = Judge(reference, found, source)
    judge.compare()
    behind = sum(d.count for d in judge.behind), sum(d.n for d in judge.behind)
    tally.check(not judge.unexplained, f"{title}: {'; '.join(judge.unexplained[:3])}")
    tally.check(behind[0] <= SHARE * behind[1],
                f"{title}: {behind[0]} of {behind[1]} codes behind float sums are off")
    totals.counts += judge.compared
    totals.counts["codes behind float sums"] += behind[1]
    totals.counts["of those one off"] += behind[0]
    if reference.graph is not None:
        add_rows(totals.rows, judge.operators)
    return judge.compared


def check_outputs(tally, title, reference, found, steps):
    """Results alone, where onnxruntime's products of bytes saturate."""
    d = Differences()
    for name, want in reference.results.items():
        d.add(found[name], want, steps.get(name) or max(1e-30, 1e-4 * float(np.abs(want).max())))
    tally.check(judge(d.differing, d.far, d.total), f"{title}: outputs: {d}")


def check_file(tally, tool, path, meta, args, totals, tmp):
    title, seen = f"{path.parent.name}/{path.name}", Counter()
    reference = Unfused(path) if args.unfused else Reference(path, tmp)
    source, numerics = Source(onnx.load(path).graph.node), "ort-unfused" if args.unfused else "ort"
    feed, steps = input_names(path)[0], output_steps(path)
    for i, x in enumerate(inputs_of(meta, args.images)):
        np.save(tmp / "x.npy", x)
        found, error = tool.run(path, [tmp / "x.npy"], True, numerics)
        if not tally.check(error is None, f"{title}: {error}"):
            return
        reference.run({feed: x})
        if EXACT:
            seen += check_image(tally, f"{title}, image {i}", reference, found, source, totals)
        else:
            check_outputs(tally, f"{title}, image {i}", reference, found, steps)
    if EXACT:
        tally.check(seen["codes"] > 0, f"{title}: no integer tensor was compared")
        print(f"{title}: {seen['differing codes']} of {seen['codes']} codes differ, "
              f"{seen['differing floats']} of {seen['floats']} floats", flush=True)


# ---- Single operators ---------------------------------------------------------------------------

class Case:
    """One node with constant parameters; the first input is the sample."""

    def __init__(self, rng, op, domain="com.microsoft", opset=17, **attrs):
        self.rng, self.op, self.domain, self.opset = rng, op, domain, opset
        self.attrs, self.inputs, self.constants = attrs, [], []
        self.codes = rng.choice(CODES)
        self.sample = None

    def put(self, value):
        """A constant input."""
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        self.inputs.append(name)
        return self

    def skip(self):
        self.inputs.append("")
        return self

    def data(self, shape, dtype=None):
        """Random codes."""
        info = np.iinfo(dtype or self.codes)
        gen = np.random.default_rng(self.rng.getrandbits(32))
        return gen.integers(info.min, info.max, shape, dtype or self.codes, endpoint=True)

    def sampled(self, value):
        """The input that qscope and onnxruntime are fed."""
        self.sample = value
        self.inputs.append("x")
        return self

    def scale(self, count=None, times=1.0):
        def one():
            s = 2.0 ** self.rng.randint(-7, -3)
            return np.float32(times * (s if self.rng.random() < 0.5 else s * self.rng.uniform(1, 2)))
        return self.put(one() if count is None else np.array([one() for _ in range(count)]))

    def zero(self, dtype=None, count=None):
        dtype = dtype or self.codes
        info = np.iinfo(dtype)
        def one():
            return self.rng.choice([info.min, (info.min + info.max + 1) // 2,
                                    self.rng.randint(info.min, info.max)])
        return self.put(dtype(one()) if count is None else
                        np.array([one()] * count, dtype))  # onnxruntime wants them equal

    def params(self, times=1.0):
        return self.scale(times=times).zero()

    def model(self):
        kinds = {np.dtype(np.uint8): TensorProto.UINT8, np.dtype(np.int8): TensorProto.INT8,
                 np.dtype(np.float32): TensorProto.FLOAT}
        nodes = [helper.make_node(self.op, self.inputs, ["y"], domain=self.domain, **self.attrs)]
        if self.op == "DequantizeLinear":  # alone it is no layer
            nodes[0].output[0] = "real"
            nodes.append(helper.make_node("Neg", ["real"], ["y"]))
        x = helper.make_tensor_value_info("x", kinds[self.sample.dtype], self.sample.shape)
        graph = helper.make_graph(nodes, self.op, [x], [onnx.ValueInfoProto(name="y")],
                                  self.constants)
        opsets = [helper.make_opsetid("", self.opset), helper.make_opsetid("com.microsoft", 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def quantize(rng):
    c = Case(rng, "QuantizeLinear", "", axis=1)
    x = np.random.default_rng(rng.getrandbits(32)).normal(0, 4, (2, 5, 7)).astype(np.float32)
    x.ravel()[:8] = [np.nan, np.inf, -np.inf, 1e30, 0.5, -0.5, 1.5, 2.5]
    c.sampled(x)
    return c.scale(5).zero(count=5) if rng.random() < 0.5 else c.params()


def dequantize(rng):
    c = Case(rng, "DequantizeLinear", "", axis=1)
    c.sampled(c.data((2, 5, 7)))
    return c.scale(5).zero(count=5) if rng.random() < 0.5 else c.params()


def conv(rng):
    """Padded, strided, dilated, grouped, in one and two dimensions."""
    flat, groups = rng.random() < 0.2, rng.choice([1, 1, 2, 6])
    cin, out = groups * rng.choice([1, 3]), groups * rng.choice([1, 2, 9])
    k = [rng.randint(1, 4)] if flat else [rng.randint(1, 4), rng.randint(1, 4)]
    n = len(k)
    attrs = dict(group=groups, strides=[rng.randint(1, 3) for _ in k],
                 dilations=[rng.randint(1, 2) for _ in k])
    if rng.random() < 0.2:
        attrs.update(auto_pad=rng.choice(["SAME_UPPER", "SAME_LOWER", "VALID"]), dilations=[1] * n)
    else:
        attrs["pads"] = [rng.randint(0, 2) for _ in range(2 * n)]
    c = Case(rng, "QLinearConv", "", **attrs)
    # onnxruntime has no kernel for s8 with u8.
    weights = np.int8 if c.codes == np.int8 else rng.choice(CODES)
    c.sampled(c.data((1, cin, *([17] if flat else [11, 17])))).params()
    many = out if rng.random() < 0.5 else None
    c.put(c.data((out, cin // groups, *k), weights)).scale(many).zero(weights, many)
    c.params(times=64)
    return c.put(c.data((out,), np.int16).astype(np.int32)) if rng.random() < 0.5 else c


def matmul(rng):
    c = Case(rng, "QLinearMatMul", "")
    m, k, n = rng.randint(1, 9), rng.randint(1, 70), rng.randint(1, 60)
    right = np.int8 if c.codes == np.int8 else rng.choice(CODES)
    many = n if rng.random() < 0.5 else None
    c.sampled(c.data((rng.randint(1, 3), m, k))).params()
    return c.put(c.data((k, n), right)).scale(many).zero(right, many).params(times=32)


def gemm(rng):
    ta, tb = rng.randint(0, 1), rng.randint(0, 1)
    c = Case(rng, "QGemm", transA=ta, transB=tb, alpha=rng.choice([1.0, 0.7]))
    m, k, n = rng.randint(1, 9), rng.randint(1, 70), rng.randint(1, 60)
    right = np.int8 if c.codes == np.int8 else rng.choice(CODES)
    many = n if rng.random() < 0.5 else None
    c.sampled(c.data((k, m) if ta else (m, k))).params()
    c.put(c.data((n, k) if tb else (k, n), right)).scale(many).zero(right, many)
    bias = rng.choice([None, (n,), (1, n), (m, n)])
    c = c.put(c.data(bias, np.int16).astype(np.int32)) if bias else c.skip()
    return c.params(times=32) if rng.random() < 0.7 else c


def binary(rng, op):
    c = Case(rng, op)
    shapes = rng.choice([((2, 3, 5, 7),) * 2, ((3, 5, 7), (2, 3, 5, 7)), ((2, 3, 5, 7), (7,)),
                         ((1,), (2, 3, 5, 7)), ((2, 3, 5, 7), (1,)), ((1, 6, 1, 1), (1, 6, 5, 7)),
                         ((1, 6, 5, 7), (1, 6, 1, 1)), ((3, 5, 1), (3, 1, 7)), ((1,), (1,))])
    times = 8 if op == "QLinearMul" else 1
    return c.sampled(c.data(shapes[0])).params().put(c.data(shapes[1])).params().params(times)


def average_pool(rng):
    attrs = dict(kernel_shape=[rng.randint(1, 4), rng.randint(1, 4)],
                 strides=[rng.randint(1, 3), rng.randint(1, 3)],
                 count_include_pad=rng.randint(0, 1))
    if rng.random() < 0.5:
        attrs["pads"] = [rng.randint(0, k - 1) for k in attrs["kernel_shape"] * 2]
    if rng.random() < 0.2:
        attrs.update(kernel_shape=[8, 9], pads=[0] * 4)  # the whole image: other arithmetic
    c = Case(rng, "QLinearAveragePool", **attrs)
    return c.sampled(c.data((2, 5, 8, 9))).params().params()


def unary(rng, op, shape=(2, 5, 7, 3), **attrs):
    c = Case(rng, op, **attrs)
    return c.sampled(c.data(shape)).params().params()


def softmax(rng):
    opset = rng.choice([11, 13])
    c = Case(rng, "QLinearSoftmax", opset=opset, axis=rng.choice([1, -1]))
    c.attrs["opset"] = opset
    c.sampled(c.data((3, 4, 50))).params()
    return c.put(np.float32(rng.choice([1 / 256, 1 / 255, 0.01]))).put(
        c.codes(np.iinfo(c.codes).min))


def concat(rng):
    c = Case(rng, "QLinearConcat", axis=rng.choice([1, -2]))
    c.params()
    same = rng.random() < 0.3
    c.sampled(c.data((2, 3, 4)))
    c.inputs += c.inputs[:2] if same else []
    c = c if same else c.params()
    return c.put(c.data((2, 3, 4))).params()


def where(rng):
    c = Case(rng, "QLinearWhere")
    c.put(np.random.default_rng(rng.getrandbits(32)).random((3, 1, 5)) < 0.5)
    return c.sampled(c.data((3, 4, 5))).params().put(c.data((4, 5))).params().params()


OPERATORS = {
    "QuantizeLinear": quantize, "DequantizeLinear": dequantize, "QLinearConv": conv,
    "QLinearMatMul": matmul, "QGemm": gemm,
    "QLinearAdd": lambda r: binary(r, "QLinearAdd"),
    "QLinearMul": lambda r: binary(r, "QLinearMul"),
    "QLinearAveragePool": average_pool,
    "QLinearGlobalAveragePool": lambda r: unary(r, "QLinearGlobalAveragePool"),
    "QLinearSigmoid": lambda r: unary(r, "QLinearSigmoid"),
    "QLinearLeakyRelu": lambda r: unary(r, "QLinearLeakyRelu", alpha=r.choice([0.1, 0.01])),
    "QLinearSoftmax": softmax, "QLinearConcat": concat, "QLinearWhere": where,
}
ROUNDS = 24


def check_operator(tally, tool, name, make, totals, tmp):
    """Random cases of one operator."""
    d, refused = Differences(), 0
    for seed in range(ROUNDS):
        case = make(random.Random(f"{name} {seed}"))
        try:
            want = session(case.model()).run(None, {"x": case.sample})[0]
        except Exception:  # a combination onnxruntime has no kernel for
            refused += 1
            continue
        onnx.save(case.model(), tmp / "m.onnx")
        np.save(tmp / "x.npy", case.sample)
        found, error = tool.run(tmp / "m.onnx", [tmp / "x.npy"])
        if not tally.check(error is None, f"{name} {seed}: {error}"):
            continue
        one, step = Differences(), 1.0 if want.dtype.type in CODES else 1e-30
        for each in (one, d):
            each.add(found["y"], want, step)
        tally.check(judge(one.differing, one.far, one.total),
                    f"{name} {seed}: {one} {case.attrs}")
    tally.check(refused < ROUNDS, f"{name}: onnxruntime runs none of the cases")
    totals.rows[name, "operator"] = Row(ROUNDS - refused, d.total, d.differing)
    print(f"{name}: {ROUNDS - refused} cases: {d}", flush=True)


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("wanted", nargs="*", help="models; operators or their names")
    parser.add_argument("--images", type=int, default=IMAGES)
    parser.add_argument("--unfused", action="store_true", help="onnxruntime's optimization off")
    parser.add_argument("--json", help="file for the figures")
    return parser.parse_args()


def main():
    args, tally, totals, tool = arguments(), Tally(), Totals(), ValueTool()
    wanted = set(args.wanted)
    with tempfile.TemporaryDirectory() as folder:
        tmp = Path(folder)
        for name, make in OPERATORS.items():
            if not args.unfused and (not wanted or wanted & {"operators", name}):
                check_operator(tally, tool, name, make, totals, tmp)
        for folder, meta in metas() if (DATA / "models").is_dir() else ():
            for path in sorted(folder.glob("int8*.onnx")):
                if not wanted or folder.name in wanted:
                    check_file(tally, tool, path, meta, args, totals, tmp)
                    totals.counts["models"] += 1
    tool.close()
    for name, n in sorted(totals.counts.items()):
        print(f"{name}: {n}")
    save_rows(args.json, totals.rows, counts=totals.counts, images=args.images)
    tally.close()


if __name__ == "__main__":
    main()
