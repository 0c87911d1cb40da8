#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pins in float16, bfloat16 and 16-bit codes.

For every static INT8 file sets of layers are pinned in each precision, and in several at once.
onnxruntime must load the exported file without a warning, and its outputs must equal those that
qscope dumped as closely as with FP32 pins. What a pinned layer makes is computed again from what it
read: rounded by numpy, put through the FP32 nodes of the layer in onnxruntime, and rounded.
"""

import json
import os
import random
import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnx import helper, numpy_helper

from check_mixed import (SAMPLE_INPUT, Graph, adjacent, checker_says, members, output_code,
                         real_pairs)
from common import (SAMPLES, Tally, ValueTool, entries_of, image_files, input_names, inputs_of,
                    last_line, load_dumped, preprocess, qscope, qscope_json, session, word)

PRECISIONS = ("fp16", "bf16", "int16")
BF16_OPSET = 13
ULPS = {"fp16": 2.0 ** -10, "bf16": 2.0 ** -7}  # distance of neighbours, of the value
SMALLEST = {"fp16": 2.0 ** -24, "bf16": 2.0 ** -133}


# ---- Rounding, in numpy -------------------------------------------------------------------------

def to_bf16(x):
    """float32 to bfloat16 and back: to nearest, ties to even."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    kept = ((bits + 0x7fff + ((bits >> 16) & 1)) & 0xffff0000).astype(np.uint32)
    return np.where(np.isnan(x), x, kept.view(np.float32)).astype(np.float32)


class Codes:
    """16-bit codes over the range of a layer's 8-bit ones, which they hold exactly."""

    def __init__(self, scale, zero, dtype):
        info = np.iinfo(dtype)
        most = max(zero - info.min, info.max - zero)
        self.scale = np.float32(scale) / np.float32(32767 // most)

    def round(self, x):
        q = np.clip(np.rint(x.astype(np.float32) / self.scale), -32768, 32767)
        return q.astype(np.float32) * self.scale


def rounded(x, precision, codes):
    if precision == "fp16":
        with np.errstate(over="ignore"):
            return x.astype(np.float16).astype(np.float32)
    if precision == "bf16":
        return to_bf16(x)
    return codes.round(x) if codes else x


def constant_of(node, slot, value, precision):
    """A constant of a layer: floats rounded, for int16 the weights in 8 bits per output channel."""
    if value.dtype != np.float32 or \
            (node.op_type in ("Resize", "Upsample", "Range", "BatchNormalization") and slot):
        return value
    if precision != "int16":
        return rounded(value, precision, None)
    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    axis = {"Conv": 0, "MatMul": 1, "Gemm": 0 if attributes.get("transB") else 1}.get(node.op_type)
    plain = attributes.get("alpha", 1) == 1 and attributes.get("beta", 1) == 1
    if slot != 1 or axis is None or not plain or attributes.get("transA") or \
            (node.op_type != "Conv" and value.ndim != 2):
        return value
    most = np.abs(value).max(axis=tuple(k for k in range(value.ndim) if k != axis), keepdims=True)
    scale = (2 * most.astype(np.float64) / 254).astype(np.float32)
    scale[scale == 0] = 1
    return np.clip(np.rint(value / scale), -127, 127).astype(np.float32) * scale


# ---- One layer by itself ------------------------------------------------------------------------

def layer_alone(fp32, nodes, end, feeds, precision, opset):
    """The tensor `end` from the tensors in feeds, by FP32 nodes with constants of the precision."""
    chosen, constants, made = [], [], set()
    for node in fp32.graph.node:
        if not any(node is n for n in nodes):
            continue
        twin = onnx.NodeProto()
        twin.CopyFrom(node)
        for slot, name in enumerate(node.input):
            if name in fp32.constant and name not in feeds:
                value = numpy_helper.to_array(fp32.constant[name])
                # Of one constant that several nodes read, each has its own.
                twin.input[slot] = f"{name}:{len(constants)}"
                constants.append(numpy_helper.from_array(
                    constant_of(node, slot, value, precision), twin.input[slot]))
        chosen.append(twin)
        made.update(node.output)
    inputs = [helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, v.shape)
              for n, v in feeds.items() if n not in made]
    graph = helper.make_graph(chosen, "layer", inputs,
                              [helper.make_tensor_value_info(end, onnx.TensorProto.FLOAT, None)],
                              constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    return session(model, optimize=False).run([end], {i.name: feeds[i.name] for i in inputs})[0]


def check_layer(tally, title, pair, entry, precision, dumped, x):
    """What a lone pinned layer made, from what it read."""
    nodes, reads = members(pair.fp32, pair.layers, entry)
    feeds = {}
    for name in reads:
        source = pair.by_name[name]
        if name not in dumped or pair.names[name] > 1:
            return False
        feeds[source["fp32_tensor"]] = rounded(dumped[name], precision, pair.codes.get(name))
    free = [i.name for i in pair.fp32.graph.input if i.name not in pair.fp32.constant]
    if any(i in free for n in nodes for i in n.input) and free[0] not in feeds:
        feeds[free[0]] = rounded(x, precision, None)
    got = dumped[entry["name"]]
    exact = layer_alone(pair.fp32, nodes, entry["fp32_tensor"], feeds, precision, pair.opset)
    want = rounded(exact.astype(np.float32), precision, pair.codes.get(entry["name"]))
    if not tally.check(got.shape == want.shape, f"{title}: shape {got.shape}, not {want.shape}"):
        return True
    # Rounded once more it is the same.
    again = rounded(got, precision, pair.codes.get(entry["name"]))
    tally.check(np.array_equal(again, got, equal_nan=True), f"{title}: is not in the precision")
    # Float sums in another order fall on the other side of a rounding border now and then.
    with np.errstate(invalid="ignore"):
        off = np.abs(got.astype(np.float64) - want)
    step = pair.codes[entry["name"]].scale if precision == "int16" else \
        np.maximum(ULPS[precision] * np.abs(want), SMALLEST[precision])
    off[(got == want) | (np.isnan(got) & np.isnan(want))] = 0
    tally.check(bool((off <= 1.01 * step + 4e-6 * np.abs(want).max(initial=0)).all()) and
                np.count_nonzero(off) <= max(2, off.size // 50),
                f"{title}: {np.count_nonzero(off)} of {off.size} values differ from the layer "
                f"alone, at most by {np.max(off / step, initial=0):.2f} steps")
    return True


# ---- A pair -------------------------------------------------------------------------------------

class Pair:
    def __init__(self, fp32_path, int8_path, array, tmp):
        self.paths, self.tmp, self.x = (fp32_path, int8_path), tmp, array
        self.fp32, self.int8 = Graph(fp32_path), Graph(int8_path)
        self.opset = next(o.version for o in self.fp32.model.opset_import if not o.domain)
        self.int8_opset = next(o.version for o in self.int8.model.opset_import if not o.domain)
        np.save(tmp / "x.npy", array)

    def open(self):
        return [f"load pair {word(self.paths[0])} {word(self.paths[1])}",
                f"dataset add {word(self.tmp / 'x.npy')}"]

    def survey(self):
        """Layers, worst first, and the parameters of their codes; the finished process."""
        done = qscope(*self.open(), "run", "layers --sort sqnr",
                      f"dump '*' --out {word(self.tmp / 'before')}", options=["--json"])
        for line in done.stdout.splitlines():
            found = json.loads(line)
            if found["command"] == "layers":
                self.layers = found["layers"]
        if done.returncode == 0:
            self.by_name = {e["name"]: e for e in self.layers}
            self.names = Counter(e["name"] for e in self.layers)
            self.codes = {e["layer"]: Codes(e["scale"], e["zero_point"], e["dtype"])
                          for e in entries_of(self.tmp / "before")
                          if e["side"] == "int8_codes" and e.get("layer")
                          and isinstance(e["scale"], float)}
        return done

    def weighted(self, entry):
        return any(self.fp32.weights(n) is not None
                   for n in members(self.fp32, self.layers, entry)[0])


def choose_sets(pair, seed):
    """{title: [(layer, precision)]}; in the first ones a layer is alone."""
    rng = random.Random(seed)
    sets = {}
    for precision in PRECISIONS:
        if precision == "bf16" and pair.int8_opset < BF16_OPSET:
            continue
        names = [e["name"] for e in pair.layers
                 if precision != "int16" or e["name"] in pair.codes]
        names = list(dict.fromkeys(names))
        weighted = [n for n in names if pair.weighted(pair.by_name[n])]
        both = [n for n in adjacent(pair.fp32, pair.layers, pair.layers) if n in names]
        picks = {"worst": names[:1], "weighted": [rng.choice(weighted)] if weighted else [],
                 "adjacent": both,
                 "half": rng.sample(names, len(names) // 2)}
        sets.update({f"{precision}, {k}": [(n, precision) for n in v]
                     for k, v in picks.items() if v})
    words = ["fp32", *PRECISIONS[:1 if pair.int8_opset < BF16_OPSET else 2]]
    sets["mixed"] = [(n, rng.choice(words + (["int16"] if n in pair.codes else [])))
                     for n in pair.by_name if rng.random() < 0.6]
    return {k: v for k, v in sets.items() if v}


def loaded(path):
    """An onnxruntime session at default options and what it printed while it was made."""
    with tempfile.TemporaryFile() as log:
        kept = os.dup(2)
        os.dup2(log.fileno(), 2)
        try:
            options = ort.SessionOptions()
            options.log_severity_level = 2
            options.intra_op_num_threads = 1
            run = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        finally:
            os.dup2(kept, 2)
            os.close(kept)
        log.seek(0)
        return run, log.read().decode(errors="replace").strip()


def check_file(tally, title, pair, path, dumped, quiet):
    """onnxruntime on an exported file against what qscope dumped; values that differ, values."""
    run, said = loaded(path)
    tally.check(quiet(said), f"{title}: onnxruntime says: {said[:200]}")
    values = run.run(None, {input_names(path)[0]: pair.x})
    beyond = unequal = total = 0
    for output, value in zip(run.get_outputs(), values):
        if not tally.check(output.name in dumped, f"{title}: output '{output.name}' is missing"):
            continue
        got = dumped[output.name].astype(np.float64)
        with np.errstate(invalid="ignore"):
            off = np.abs(got - value) / output_code(pair.int8, output.name, value)
        beyond += int((~(off <= 1.01) & ~(np.isnan(got) & np.isnan(value))).sum())
        unequal += int((got != value).sum())
        total += off.size
    tally.check(beyond <= total // 1000,
                f"{title}: {beyond} of {total} output values differ by more than one code")
    return unequal, total


def commands_for(pair, index, pins):
    """Pins a set, measures it and writes what it is."""
    lines = ["pins clear"]
    for precision in ("fp32", *PRECISIONS):
        names = [word(n) for n, p in pins if p == precision]
        lines += [f"pin {' '.join(names)} --as {precision}"] if names else []
    outputs = " ".join(word(o.name) for o in pair.int8.graph.output)
    return lines + ["pins", "run", f"export {word(pair.tmp / f'{index}.onnx')} --force",
                    f"dump {word('*') if len(pins) == 1 else outputs} "
                    f"--out {word(pair.tmp / f'dump{index}')}"]


def check_set(tally, title, pair, index, pins, listed, quiet):
    idle = [p["layer"] for p in listed["pins"]
            if p["in_effect"] is not True or (p["layer"], p["precision"]) not in pins]
    tally.check(not idle and listed["pins"], f"{title}: not in effect: {idle[:3]}")
    path, folder = pair.tmp / f"{index}.onnx", pair.tmp / f"dump{index}"
    problem = checker_says(path)
    tally.check(not problem or checker_says(pair.paths[1]), f"{title}: checker: {problem}")
    entries = [e for e in entries_of(folder) if e["side"] == "int8"]
    dumped = {e["tensor"]: load_dumped(folder, e) for e in entries}
    unequal, total = check_file(tally, title, pair, path, dumped, quiet)
    layer = {e["layer"]: dumped[e["tensor"]] for e in entries if e.get("layer")}
    alone = len(pins) == 1 and pins[0][0] in layer and \
        check_layer(tally, title, pair, pair.by_name[pins[0][0]], pins[0][1], layer, pair.x)
    path.unlink()
    return unequal, total, alone


def check_pair(tally, title, fp32_path, int8_path, array):
    with tempfile.TemporaryDirectory() as folder:
        pair = Pair(fp32_path, int8_path, array, Path(folder))
        done = pair.survey()
        if not tally.check(done.returncode == 0, f"{title}: {last_line(done)}"):
            return
        sets = choose_sets(pair, title)
        lines = pair.open()
        for index, pins in enumerate(sets.values()):
            lines += commands_for(pair, index, pins)
        done = qscope(*lines, options=["--json"], timeout=1200)
        if not tally.check(done.returncode == 0, f"{title}: {last_line(done)}"):
            return
        found = [json.loads(line) for line in done.stdout.splitlines()]
        listed = [f for f in found if f["command"] == "pins" and "pins" in f
                  and isinstance(f["pins"], list)]
        # A file that is warned of as it is, is so with pins.
        before = loaded(int8_path)[1]
        quiet = (lambda said: True) if before else (lambda said: not said)
        differ = values = alone = 0
        for index, (name, pins) in enumerate(sets.items()):
            try:
                a, b, c = check_set(tally, f"{title}, {name}", pair, index, pins, listed[index],
                                    quiet)
                differ, values, alone = differ + a, values + b, alone + c
            except Exception as e:  # onnxruntime has many exception types
                tally.check(False, f"{title}, {name}: {type(e).__name__}: "
                            f"{(str(e).splitlines() or [''])[0][:300]}")
    print(f"{title}: {len(sets)} sets, {values - differ} of {values} output values equal, "
          f"{alone} layers alone", flush=True)


# ---- Conversions by themselves ------------------------------------------------------------------

def neighbours(values):
    """The middles between neighbouring values, and the floats next to these."""
    values = np.unique(values[np.isfinite(values)])
    middle = ((values[:-1].astype(np.float64) + values[1:]) / 2).astype(np.float32)
    up, down = (np.nextafter(middle, np.float32(s * np.inf)) for s in (1, -1))
    return np.concatenate([middle, up, down])


def check_casts(tally):
    """Cast there and back of all values of 16 bits and of floats at the borders between them."""
    bits = np.arange(65536, dtype=np.uint32)
    every = {"fp16": bits.astype(np.uint16).view(np.float16).astype(np.float32),
             "bf16": (bits << 16).astype(np.uint32).view(np.float32)}
    ends = np.array([65519.99, 65520, 7e4, np.inf, -np.inf, np.nan, 2.0 ** -25, 1e-45, -1e-45,
                     3.4e38, -3.4e38, 0, -0.0], np.float32)
    types = {"fp16": onnx.TensorProto.FLOAT16, "bf16": onnx.TensorProto.BFLOAT16}
    tool = ValueTool()
    for name, values in every.items():
        x = np.concatenate([values, neighbours(values), ends]).reshape(1, -1)
        nodes = [helper.make_node("Cast", ["x"], ["half"], to=types[name]),
                 helper.make_node("Cast", ["half"], ["y"], to=onnx.TensorProto.FLOAT)]
        ends_of = [helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, x.shape)
                   for n in ("x", "y")]
        model = helper.make_model(helper.make_graph(nodes, name, ends_of[:1], ends_of[1:]),
                                  opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
        with tempfile.TemporaryDirectory() as folder:
            onnx.save(model, Path(folder) / "m.onnx")
            np.save(Path(folder) / "x.npy", x)
            found, problem = tool.run(Path(folder) / "m.onnx", [Path(folder) / "x.npy"], True)
        if not tally.check(problem is None and "y" in found, f"Cast to {name}: {problem}"):
            continue
        with np.errstate(invalid="ignore"):
            judges = {"numpy": rounded(x, name, None),
                      "onnxruntime": session(model).run(None, {"x": x})[0]}
        for judge, want in judges.items():
            same = (found["y"].view(np.uint32) == want.view(np.uint32)) | \
                (np.isnan(found["y"]) & np.isnan(want))
            tally.check(bool(same.all()), f"Cast to {name}: {np.count_nonzero(~same)} of {x.size} "
                        f"values are not {judge}'s")
    tool.close()


# ---- Overflow -----------------------------------------------------------------------------------

def overflowing():
    """A pair of two products, the first of which is beyond 65504."""
    rng = np.random.default_rng(1)
    w = [np.abs(rng.standard_normal((4, 4))).astype(np.float32) * f for f in (4e4, 1e-5)]
    x = np.array([[1, 2, 0.5, 1.5]], np.float32)
    ends = [helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, [1, 4]) for n in ("x", "y")]
    opset = [helper.make_opsetid("", 13)]
    fp32 = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w0"], ["h"], "first"),
         helper.make_node("MatMul", ["h", "w1"], ["y"], "second")], "fp32", ends[:1], ends[1:],
        [numpy_helper.from_array(v, f"w{i}") for i, v in enumerate(w)])
    values = {"x": x, "h": x @ w[0], "w0": w[0], "w1": w[1]}
    constants, nodes = [], []
    for name, value in values.items():
        scale = np.float32(np.abs(value).max() / 127)
        constants += [numpy_helper.from_array(scale, f"{name}_scale"),
                      numpy_helper.from_array(np.int8(0), f"{name}_zero")]
        source = name
        if name.startswith("w"):
            constants.append(numpy_helper.from_array(
                np.rint(value / scale).astype(np.int8), f"{name}_q"))
        else:
            nodes.append(helper.make_node("QuantizeLinear", [source, f"{name}_scale",
                                                             f"{name}_zero"], [f"{name}_q"]))
        nodes.append(helper.make_node("DequantizeLinear", [f"{name}_q", f"{name}_scale",
                                                           f"{name}_zero"], [f"{name}_f"]))
    nodes += [helper.make_node("MatMul", ["x_f", "w0_f"], ["h"], "first"),
              helper.make_node("MatMul", ["h_f", "w1_f"], ["y"], "second")]
    order = [nodes[0], nodes[1], nodes[4], nodes[6], nodes[2], nodes[3], nodes[5], nodes[7]]
    int8 = helper.make_graph(order, "int8", ends[:1], ends[1:], constants)
    return [helper.make_model(g, opset_imports=opset, ir_version=8) for g in (fp32, int8)] + [x]


def check_overflow(tally):
    """What float16 cannot hold is told, and bfloat16 holds it."""
    fp32, int8, x = overflowing()
    with tempfile.TemporaryDirectory() as folder:
        tmp = Path(folder)
        onnx.save(fp32, tmp / "fp32.onnx")
        onnx.save(int8, tmp / "int8.onnx")
        np.save(tmp / "x.npy", x)
        for precision, bad in (("fp16", True), ("bf16", False), ("int16", False)):
            done, found = qscope_json(
                f"load pair {word(tmp / 'fp32.onnx')} {word(tmp / 'int8.onnx')}",
                f"dataset add {word(tmp / 'x.npy')}", f"pin first --as {precision}", "run",
                "layers", f"export {word(tmp / 'm.onnx')} --force",
                f"dump '*' --out {word(tmp / 'dump')}")
            if not tally.check(done.returncode == 0, f"overflow: {last_line(done)}"):
                continue
            entry = next(e for e in found["layers"]["layers"] if e["name"] == "first")
            tally.check((entry["verdict"] == "NONFINITE") == bad and
                        entry["precision"] == precision,
                        f"overflow in {precision}: verdict {entry['verdict']}")
            tally.check((entry["sqnr"] is None) == bad,
                        f"overflow in {precision}: SQNR {entry['sqnr']}")
            dumped = {e["tensor"]: load_dumped(tmp / "dump", e) for e in entries_of(tmp / "dump")
                      if e["side"] == "int8"}
            value = session(tmp / "m.onnx").run(None, {"x": x})[0]
            tally.check(np.array_equal(value, dumped["y"], equal_nan=True),
                        f"overflow in {precision}: {value} and {dumped['y']}")


def main():
    tally = Tally()
    check_casts(tally)
    check_overflow(tally)
    models = SAMPLES / "models"
    picture = preprocess(image_files(SAMPLES / "images")[0], SAMPLE_INPUT)
    for form in ("int8_qdq.onnx", "int8_qop.onnx"):
        check_pair(tally, f"samples/{form}", models / "fp32.onnx", models / form, picture)
    for title, fp32, int8, meta in real_pairs():
        check_pair(tally, title, fp32, int8, inputs_of(meta, 1)[0])
    tally.close()


if __name__ == "__main__":
    main()
