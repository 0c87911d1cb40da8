#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""What 'whatif --apply' makes of models, against numpy and onnxruntime.

    check_whatif.py [MODEL...]

Exported models with other weights, biases, types of codes and equalized channels must pass
onnx.checker, and qscope's outputs of them must be onnxruntime's, bit by bit. Codes of weights and
biases are made again in numpy. Cross-layer equalization is done a second time in numpy, from the
files alone: the FP32 function must stay, scales and codes must be the same, and in onnxruntime the
two INT8 models must be right on as many pictures. A session that is opened again gives the same
bits without its images. What a TOSA device would requantize is told by '--rescale', and computed
here from the pseudo-code of the specification.
"""

import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

import common

COMPARED = 3
# model, INT8 file, edits; '!' marks those that must be refused with one line
EDITS = [
    ("resnet8_cifar10", "int8_qdq_pt_sym.onnx", [
        "--weights s8 --per-channel", "--weights s4 --per-channel --least-error",
        "--weights s4 --per-tensor", "--weights s16 --per-channel",
        "--weights u8 --per-tensor --asymmetric", "--correct-bias", "--codes u8 --method mse",
        "--codes u16 --method minmax", "--codes s16 --method mse", "--equalize",
        "--equalize + --correct-bias + pin @1", "pin @1 + --weights s4 --per-channel",
        "--weights s4 --per-tensor + --weights s8 --per-channel + pin @2",
        "!--weights s8 --per-channel --asymmetric"]),
    ("resnet8_cifar10", "int8_qop_u8s8.onnx", [
        "--weights s8 --per-channel", "--weights u8 --per-tensor", "--correct-bias", "--equalize",
        "!--weights s4", "!--codes s16 --method mse", "!--codes s8 --method mse"]),
    ("mnist8_cntk", "int8_qdq_pt_sym.onnx", [
        "--weights s8 --per-channel --least-error", "--codes u16 --method mse", "--correct-bias"]),
    ("vit_mnist", "int8_qdq_pc.onnx", [
        "--weights s4 --per-channel", "--weights s8 --per-tensor", "--correct-bias"]),
    ("mobilenetv1_025_128_imagenet", "int8_qop_u8u8.onnx", [
        "--weights u8 --per-channel", "--correct-bias", "--equalize", "!--weights s16"]),
    ("mobilenetv2_035_128_flowers", "int8_qdq_pt_sym.onnx", [
        "--equalize", "--correct-bias", "--equalize + --correct-bias + pin @1"]),
    ("yunet_n_320", "int8_qdq_pt_sym.onnx", ["--equalize", "--weights s4 --per-channel"]),
    ("squeezenet11_128_flowers", "int8_qdq_pc.onnx", ["--weights s8 --per-tensor",
                                                     "--correct-bias"]),
    ("squeezenet11_128_flowers", "int8_qop_u8u8.onnx", ["--weights u8 --per-channel"]),
]


def is_valid(path):
    try:
        onnx.checker.check_model(onnx.load(path))
        return True
    except onnx.checker.ValidationError:
        return False


class Pair:
    """A dev model, one of its INT8 files and pictures of its set as .npy."""

    def __init__(self, name, int8, top, count):
        folder, self.meta = next((f, m) for f, m in common.metas() if f.name == name)
        self.title = f"{name} {int8}"
        self.fp32, self.int8, self.top = folder / "fp32.onnx", folder / int8, Path(top)
        self.valid = is_valid(self.int8)
        self.input = common.input_names(self.fp32)[0]
        self.inputs = common.inputs_of(self.meta, count)
        files = self.top / "files"
        files.mkdir(exist_ok=True)
        for i, x in enumerate(self.inputs):
            np.save(files / f"{i:03}.npy", x)
        self.start = [f"load pair {common.word(self.fp32)} {common.word(self.int8)}",
                      f"dataset add {common.word(files)}", "run"]

    def edit(self, out, option):
        """Steps joined by ' + ': pins, and what else is put in force."""
        steps = []
        for part in option.split(" + "):
            steps += ["layers", part if part.startswith("pin") else f"whatif {part} --apply",
                      "run"]
        return common.qscope_json(*self.start, *steps, f"export {common.word(out)} --force",
                                  "evaluate --metric sqnr",
                                  f"session save {common.word(self.top / 'kept.json')}")

    def ask(self, line):
        return common.qscope_json(*self.start, line)

    def outputs(self, model):
        run = common.session(model)
        name = run.get_inputs()[0].name
        return [run.run(None, {name: x}) for x in self.inputs]

    def same_bits(self, path, tool, optimize, pinned):
        """Without optimization where matrix products of 16 bits are rounded to 8 by blocks; with
        layers in float, whose last bits decide a code now and then, nearly."""
        run = common.session(path, optimize)
        name = run.get_inputs()[0].name
        for i, x in enumerate(self.inputs[:COMPARED]):
            found, error = tool.run(path, [self.top / "files" / f"{i:03}.npy"], True,
                                    "ort" if optimize else "ort-unfused")
            for o, want in zip(run.get_outputs(), run.run(None, {name: x})):
                near = np.abs(want).max() / 64 if pinned else 0
                if error or np.abs(found[o.name] - want).max() > near:
                    return False
        return True


# ---- Reading models -------------------------------------------------------------------------------

class Graph:
    def __init__(self, model):
        self.model = onnx.load(model) if isinstance(model, (str, Path)) else model
        self.nodes = self.model.graph.node
        self.constants = {i.name: numpy_helper.to_array(i)
                          for i in self.model.graph.initializer}
        for n in self.nodes:
            if n.op_type == "Constant" and n.attribute[0].name == "value":
                self.constants[n.output[0]] = numpy_helper.to_array(n.attribute[0].t)
        self.makers = {o: n for n in self.nodes for o in n.output}
        self.readers = {}
        for n in self.nodes:
            for x in set(n.input):
                self.readers.setdefault(x, []).append(n)
        self.outputs = {o.name for o in self.model.graph.output}
        self.by_name = {n.name: n for n in self.nodes}

    def weights(self, node):
        """(codes, scale, zero point, axis, bias codes, bias scale, scale of the input)."""
        if node.op_type == "QLinearConv":
            c = [self.constants.get(x) for x in node.input]
            return c[3], c[4], c[5], 0, c[8] if len(c) > 8 else None, c[1] * c[4], c[1]
        w = self.makers.get(node.input[1]) if len(node.input) > 1 else None
        if w is None or w.op_type != "DequantizeLinear" or w.input[0] not in self.constants:
            return None
        codes, scale, zero = (self.constants[x] for x in w.input)
        axis = next((a.i for a in w.attribute if a.name == "axis"), 1)
        b = self.makers.get(node.input[2]) if len(node.input) > 2 else None
        bias = [self.constants[x] for x in b.input] if b is not None else [None, None]
        x = self.makers.get(node.input[0])
        sx = self.constants[x.input[1]] if x is not None else None
        return codes, scale, zero, axis, bias[0], bias[1], sx


def per_axis(v, axis, rank):
    return v.reshape([-1 if d == axis else 1 for d in range(rank)]) if v.size > 1 else v.reshape(())


def unpack(codes):
    return codes.astype(np.int64)


# ---- Weights --------------------------------------------------------------------------------------

def check_weights(tally, title, pair, out, option):
    """Codes of every weight that the two files have under one node name, from FP32 again."""
    made, fp32 = Graph(out), Graph(pair.fp32)
    seen = 0
    if any(n.op_type == "BatchNormalization" for n in fp32.nodes):
        return
    for node in fp32.nodes:
        if node.op_type != "Conv":
            continue
        w = fp32.constants[node.input[1]].astype(np.float32)
        twin = made.by_name.get(node.name) or made.by_name.get(node.name + "_quant")
        found = made.weights(twin) if twin is not None else None
        if not tally.check(found is not None, f"{title}: no codes for {node.name}"):
            continue
        codes, scale, zero, axis, bias, bias_scale, sx = found
        tally.check(("--per-channel" in option) == (scale.size > 1) or len(scale.shape) == 0 or
                    w.shape[0] == 1, f"{title}: {node.name} has {scale.size} scales")
        s, z = per_axis(scale, axis, w.ndim), per_axis(zero, axis, w.ndim).astype(np.int64)
        kind = option.split()[1]
        low, high = {"s8": (-128, 127), "u8": (0, 255), "s4": (-8, 7), "s16": (-32768, 32767)}[kind]
        want = np.clip(np.rint(w / s) + z, low, high).astype(np.int64)
        tally.check(np.array_equal(unpack(codes), want), f"{title}: codes of {node.name}")
        flat = w.reshape(w.shape[0], -1) if scale.size > 1 else w.reshape(1, -1)
        top = np.abs(flat).max(axis=1)
        if kind in ("s8", "s16") and "least" not in option:
            full = top.astype(np.float64) * 2 / (2 * high)
            tally.check(np.all(scale.ravel() >= full * (1 - 1e-6)), f"{title}: {node.name} clips")
        if bias is not None and len(node.input) > 2:
            b = fp32.constants[node.input[2]].astype(np.float64)
            each = np.asarray(sx * scale.ravel(), np.float32).astype(np.float64)
            tally.check(np.abs(bias - b / each).max() <= 0.5001, f"{title}: bias of {node.name}")
        if "least" in option:
            error = ((w - (want - z) * s) ** 2).reshape(flat.shape[0], -1).sum(1)
            steps = 15 if kind == "s4" else 254
            plain = (2 * top.astype(np.float64) / steps).reshape(-1, 1)
            whole = np.clip(np.rint(flat / plain), low, high) * plain
            tally.check(np.all(error <= ((flat - whole) ** 2).sum(1) * (1 + 1e-5) + 1e-12),
                        f"{title}: {node.name} loses more than with all in range")
        seen += 1
    tally.check(seen > 0, f"{title}: no weights looked at")


# ---- Biases ---------------------------------------------------------------------------------------

def check_bias(tally, title, pair, out):
    """bias + E[(W - W^) x], the mean over pictures and places of each input channel."""
    made, fp32 = Graph(out), Graph(pair.fp32)
    if any(n.op_type in ("BatchNormalization", "MatMul", "Gemm") for n in fp32.nodes):
        return
    sums, counts = {}, {}
    for x in pair.inputs:
        tensors = {**common.every_tensor(pair.fp32, {pair.input: x}), pair.input: x}
        for name, v in tensors.items():
            if v.dtype == np.float32 and v.ndim == 4:
                sums[name] = sums.get(name, 0) + v.astype(np.float64).sum(axis=(0, 2, 3))
                counts[name] = counts.get(name, 0) + v.size // v.shape[1]
    seen = 0
    for node in fp32.nodes:
        twin = made.by_name.get(node.name) or made.by_name.get(node.name + "_quant")
        found = made.weights(twin) if node.op_type == "Conv" and twin is not None else None
        if found is None or found[4] is None:
            continue
        codes, scale, zero, axis, bias, bias_scale, sx = found
        w = fp32.constants[node.input[1]].astype(np.float64)
        real = (unpack(codes) - per_axis(zero, axis, 4).astype(np.int64)) * per_axis(
            scale, axis, 4).astype(np.float64)
        mean = sums[node.input[0]] / counts[node.input[0]]
        group = next((a.i for a in node.attribute if a.name == "group"), 1)
        each = (w - real).sum(axis=(2, 3))
        outputs = w.shape[0] // group
        shift = np.array([each[o] @ mean[o // outputs * w.shape[1]:][:w.shape[1]]
                          for o in range(w.shape[0])])
        b = fp32.constants[node.input[2]].astype(np.float64) if len(node.input) > 2 else 0
        steps = np.asarray(np.float32(sx) * scale.ravel(), np.float32).astype(np.float64)
        tally.check(np.abs(bias - (b + shift) / steps).max() <= 0.6, f"{title}: {node.name}")
        seen += 1
    tally.check(seen > 0, f"{title}: no bias looked at")


# ---- Equalization ---------------------------------------------------------------------------------

def find_pairs(g):
    """(a, activation or None, b): joined by one reader each."""
    def reader(name):
        r = g.readers.get(name, [])
        return r[0] if len(r) == 1 and name not in g.outputs else None

    def weighted(n):
        return n is not None and n.op_type in ("Conv", "Gemm", "MatMul") and \
            n.input[1] in g.constants
    for a in g.nodes:
        if weighted(a):
            between, b = None, reader(a.output[0])
            if b is not None and b.op_type in ("Relu", "Clip", "LeakyRelu", "PRelu"):
                between, b = b, reader(b.output[0])
            if weighted(b) and b.input[1] != a.input[1] and a.op_type == b.op_type == "Conv":
                yield a, between, b


def channel_view(g, w, node, outputs):
    """|w| by output channel, or by input channel."""
    if outputs:
        return np.abs(w).reshape(w.shape[0], -1).max(1)
    group = next((a.i for a in node.attribute if a.name == "group"), 1)
    parts = np.split(np.abs(w), group)
    return np.concatenate([p.max(axis=(0, 2, 3)) for p in parts])


def times_inputs(w, node, s):
    group = next((a.i for a in node.attribute if a.name == "group"), 1)
    parts = np.split(w, group)
    return np.concatenate([p * q.reshape(1, -1, 1, 1)
                           for p, q in zip(parts, np.split(s, group))])


def equalize(pair):
    """(equalized FP32 model, {Conv: (weights, bias)}, {tensor: (lo, hi)}, {Clip: bounds})."""
    g = Graph(pair.fp32)
    lo, hi = {}, {}
    for x in pair.inputs:
        for name, v in common.every_tensor(pair.fp32, {pair.input: x}).items():
            if v.dtype == np.float32 and v.ndim == 4:
                a, b = v.min(axis=(0, 2, 3)), v.max(axis=(0, 2, 3))
                lo[name], hi[name] = np.minimum(lo.get(name, a), a), np.maximum(hi.get(name, b), b)
    pairs = list(find_pairs(g))
    weights = {n.name: g.constants[n.input[1]].astype(np.float64)
               for n in g.nodes if n.op_type == "Conv"}
    factors = [np.ones(weights[a.name].shape[0]) for a, _, _ in pairs]
    now = dict(weights)
    for _ in range(200):
        most = 0
        for k, (a, f, b) in enumerate(pairs):
            z = (f or a).output[0]
            reach = np.maximum(np.abs(lo[z]), np.abs(hi[z])).astype(np.float64)
            r1, r2 = channel_view(g, now[a.name], a, True), channel_view(g, now[b.name], b, False)
            scaled = reach / factors[k]
            live = (r1 > 0) & (r2 > 0)
            r1 = np.maximum(r1 / r1.max(), 0.5 * scaled / scaled.max())
            r2 = r2 / r2.max()
            step = np.where(live, np.sqrt(r1 * r2) / np.where(r2 > 0, r2, 1), 1)
            s = np.clip(factors[k] * step, 1e-3, 1e3)
            step = s / factors[k]
            now[a.name] = now[a.name] / step.reshape(-1, 1, 1, 1)
            now[b.name] = times_inputs(now[b.name], b, step)
            factors[k] = s
            most = max(most, np.abs(np.log(step)).max())
        if most <= 1e-6:
            break
    biases, ranges, bounds = {}, {}, {}
    for a, f, b in pairs:
        biases[a.name] = g.constants[a.input[2]].astype(np.float64)
    for k, (a, f, b) in enumerate(pairs):
        s, z = factors[k], (f or a).output[0]
        biases[a.name] = biases[a.name] / s
        ranges[z] = (min(0, (lo[z] / s).min()), max(0, (hi[z] / s).max()))
        if f is not None:
            ranges[a.output[0]] = ranges[z]
            if f.op_type == "Clip":
                bounds[f.name] = float(g.constants[f.input[2]]) / s
    return now, biases, ranges, bounds, pairs


def put(model, name, value):
    for i in model.graph.initializer:
        if i.name == name:
            i.CopyFrom(numpy_helper.from_array(value, name))
            return
    model.graph.initializer.append(numpy_helper.from_array(value, name))


def put_clips(model, bounds):
    for node in list(model.graph.node):
        if node.op_type == "Clip" and node.name in bounds:
            put(model, node.name + "_own", bounds[node.name].astype(np.float32).reshape(-1, 1, 1))
            cut = node.output[0] + "_cut"
            relu = onnx.helper.make_node("Relu", [node.input[0]], [cut], node.name + "_relu")
            least = onnx.helper.make_node("Min", [cut, node.name + "_own"], list(node.output),
                                          node.name)
            at = list(model.graph.node).index(node)
            model.graph.node.remove(node)
            model.graph.node.insert(at, least)
            model.graph.node.insert(at, relu)


def oracle_models(pair):
    """FP32 and per-tensor symmetric INT8 model, equalized without qscope."""
    weights, biases, ranges, bounds, pairs = equalize(pair)
    fp32, int8 = onnx.load(pair.fp32), onnx.load(pair.int8)
    g = Graph(fp32)
    touched = {n.name for a, _, b in pairs for n in (a, b)}
    for node in g.nodes:
        if node.name in touched:
            put(fp32, node.input[1], weights[node.name].astype(np.float32))
            if node.name in biases:
                put(fp32, node.input[2], biases[node.name].astype(np.float32))
    put_clips(fp32, bounds)
    q = Graph(int8)
    scales = {}
    for node in q.nodes:
        if node.op_type == "QuantizeLinear" and node.input[0] in ranges:
            top = max(abs(v) for v in ranges[node.input[0]])
            scales[node.input[0]] = np.float32(2 * top / 254)
            put(int8, node.input[1], scales[node.input[0]])
    q = Graph(int8)
    for node in q.nodes:
        if node.name in touched:
            dq = [q.makers[x] for x in node.input]
            w = weights[node.name].astype(np.float32)
            scale = np.float32(2 * float(np.abs(w).max()) / 254)
            codes = np.clip(np.rint(w / scale), -128, 127).astype(np.int8)
            put(int8, dq[1].input[0], codes)
            put(int8, dq[1].input[1], scale.reshape(q.constants[dq[1].input[1]].shape))
            b = biases.get(node.name, g.constants[node.input[2]].astype(np.float64))
            b = b.astype(np.float32).astype(np.float64)
            sx = q.constants[dq[0].input[1]]
            put(int8, dq[2].input[0], np.rint(b / np.float64(sx * scale)).astype(np.int32))
            put(int8, dq[2].input[1],
                (sx * scale).astype(np.float32).reshape(q.constants[dq[2].input[1]].shape))
    put_clips(int8, bounds)
    return fp32, int8


def check_equalized(tally, pair):
    """qscope's equalized model against the one made here."""
    title = f"{pair.title} equalized"
    out = pair.top / "equalized.onnx"
    kept = pair.top / "dump"
    done = common.qscope(*pair.start, "whatif --equalize --apply", "run",
                         f"export {common.word(out)} --force",
                         f"dump '*' --out {common.word(kept)} --image 000.npy",
                         options=["--json"])
    if not tally.check(done.returncode == 0, f"{title}: {common.last_line(done)}"):
        return
    fp32, int8 = oracle_models(pair)
    plain, ours = pair.outputs(pair.fp32), pair.outputs(out)
    equal, theirs = pair.outputs(fp32), pair.outputs(int8)
    before = pair.outputs(pair.int8)
    far = max(np.abs(x[0] - y[0]).max() / np.abs(x[0]).max() for x, y in zip(plain, equal))
    tally.check(far < 1e-4, f"{title}: numpy's FP32 model is off by {far}")
    entries = [e for e in common.entries_of(kept) if e["side"] == "fp32"]
    last = [e for e in entries if e["tensor"] == Graph(pair.fp32).model.graph.output[0].name]
    if tally.check(len(last) == 1, f"{title}: no FP32 output among {len(entries)}"):
        y = common.load_dumped(kept, last[0])
        off = np.abs(y - plain[0][0]).max() / np.abs(plain[0][0]).max()
        tally.check(off < 1e-4, f"{title}: qscope's FP32 model is off by {off}")
    mine, other = Graph(out), Graph(int8)
    for node in other.nodes:
        if node.op_type == "QuantizeLinear":
            twin = mine.by_name.get(node.name)
            a, b = (g.constants[n.input[1]].item() for g, n in ((mine, twin), (other, node)))
            tally.check(np.isclose(a, b, rtol=2e-3), f"{title}: {node.name} {a}, numpy {b}")
        if node.op_type == "Conv":
            a, b = (g.weights(g.by_name[node.name])[0].astype(int) for g in (mine, other))
            tally.check(np.abs(a - b).max() <= 1 and np.mean(a != b) < 0.03,
                        f"{title}: {np.mean(a != b):.4f} of the codes of {node.name} differ, by "
                        f"{np.abs(a - b).max()}")

    def right(values):
        return sum(int(x[0].argmax() == y[0].argmax()) for x, y in zip(plain, values))

    def quality(values):
        signal = sum((x[0].astype(np.float64) ** 2).sum() for x in plain)
        return 10 * np.log10(signal / sum(((x[0] - y[0]).astype(np.float64) ** 2).sum()
                                          for x, y in zip(plain, values)))
    print(f"{title}: as FP32 on {right(before)} pictures before, {right(ours)} qscope, "
          f"{right(theirs)} numpy, of {len(plain)}; {quality(before):.1f}, {quality(ours):.1f}, "
          f"{quality(theirs):.1f} dB")
    tally.check(abs(right(ours) - right(theirs)) <= 2, f"{title}: not as good as numpy's")
    tally.check(abs(quality(ours) - quality(theirs)) < 1, f"{title}: another SQNR than numpy's")
    tally.check(right(ours) > right(before) + len(plain) // 4, f"{title}: little is better")


# ---- RESCALE ----------------------------------------------------------------------------------------

def scale_params(factor, bits):
    """computeMultiplierAndShift of the TOSA reference."""
    m, e = np.frexp(factor)
    m = np.floor(m * 2.0 ** bits + 0.5)
    if m == 2.0 ** bits:
        m, e = m / 2, e + 1
    m, shift = int(m), bits - int(e)
    return (m >> min(31, shift - 62), 62) if shift > 62 else (m, shift)


def apply_scale_32(value, multiplier, shift, double_round):
    """APPLY_SCALE_32 of the TOSA specification 1.0, on Python's integers."""
    half = 1 << (shift - 1)
    if double_round and shift > 31:
        half += (1 << 30) if value >= 0 else -(1 << 30)
    return (value * multiplier + half) >> shift


def apply_scale_16(value, multiplier, shift):
    return (value * multiplier + (1 << (shift - 1))) >> shift


def sums_of(node, constants, codes):
    """Sums of a QLinearConv by onnxruntime's ConvInteger."""
    x, w = codes[node.input[0]], constants[node.input[3]]
    zero = [constants[node.input[2]], constants[node.input[5]]]
    made = onnx.helper.make_node("ConvInteger", ["x", "w", "zx", "zw"], ["y"])
    made.attribute.extend(node.attribute)
    types = {np.dtype(np.uint8): 2, np.dtype(np.int8): 3}
    info = onnx.helper.make_tensor_value_info
    if x.dtype != w.dtype:  # the same numbers; ConvInteger of unlike types is not everywhere
        shift = 128 if w.dtype == np.int8 else -128
        w = (w.astype(np.int16) + shift).astype(x.dtype)
        zero[1] = (zero[1].astype(np.int16) + shift).astype(x.dtype)
    graph = onnx.helper.make_graph(
        [made], "sums",
        [info("x", types[x.dtype], x.shape)], [info("y", 6, None)],
        [numpy_helper.from_array(np.asarray(w), "w"),
         numpy_helper.from_array(np.asarray(zero[0]).reshape(()), "zx"),
         numpy_helper.from_array(np.asarray(zero[1]).reshape(-1)[:1].reshape(()), "zw")])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)],
                                   ir_version=8)
    acc = common.session(model).run(None, {"x": x})[0].astype(np.int64)
    if len(node.input) > 8:
        acc += constants[node.input[8]].astype(np.int64).reshape(1, -1, 1, 1)
    return acc


def check_rescale(tally, pair, tool, option):
    title = f"{pair.title} --rescale {option}"
    done, found = pair.ask(f"whatif --rescale {option}")
    if not tally.check(done.returncode == 0, f"{title}: {common.last_line(done)}"):
        return
    told = {row["name"].removesuffix("_quant"): row for row in found["whatif"]["layers"]}
    g, want = Graph(pair.int8), {}
    for i in range(len(pair.inputs)):
        codes, error = tool.run(pair.int8, [pair.top / "files" / f"{i:03}.npy"], True)
        tally.check(not error, f"{title}: {error}")
        for node in g.nodes:
            if node.op_type != "QLinearConv" or node.input[0] not in codes:
                continue
            c = [g.constants.get(x) for x in node.input]
            acc, y = sums_of(node, g.constants, codes), codes[node.output[0]].astype(np.int64)
            sw = np.broadcast_to(c[4].ravel(), (acc.shape[1],))
            zero, ends = int(c[7]), (-128, 127) if c[7].dtype == np.int8 else (0, 255)
            row = want.setdefault(node.name.removesuffix("_quant"), [0, 0, 0.0, 0.0, 0.0])
            for o in range(acc.shape[1]):
                factor = float(c[1]) * float(sw[o]) / float(c[6])
                m, shift = scale_params(factor, 15 if option == "16" else 31)
                values = acc[:, o].ravel().astype(object)
                q = apply_scale_16(values, m, shift) if option == "16" else np.array(
                    [apply_scale_32(v, m, shift, "double" in option) for v in values.tolist()])
                q = np.clip(q.astype(np.int64) + zero, *ends)
                now, real = y[:, o].ravel(), acc[:, o].ravel() * factor
                row[0] += now.size
                row[1] += int((q != now).sum())
                kept = (real + zero <= ends[1] + 0.5) & (real + zero >= ends[0] - 0.5)
                sy = float(c[6])
                row[2] += ((real * sy)[kept] ** 2).sum()
                row[3] += (((now - zero - real) * sy)[kept] ** 2).sum()
                row[4] += (((q - zero - real) * sy)[kept] ** 2).sum()
    seen = 0
    for name, (n, differ, signal, now, then) in want.items():
        row = told.get(name)
        if row is None:
            continue
        seen += 1
        tally.check((row["codes"], row["differ_measured"]) == (n, differ),
                    f"{title} {name}: {row['differ_measured']} of {row['codes']} differ, numpy "
                    f"{differ} of {n}")
        for key, noise in (("requantization", now), ("rescale", then)):
            tally.check(np.isclose(row[f"{key}_sqnr_measured"], 10 * np.log10(signal / noise),
                                   atol=1e-6), f"{title} {name}: SQNR of {key}")
    tally.check(seen > 5, f"{title}: {seen} layers compared of {len(want)}, {sorted(told)[:3]}")


# ---- The whole ------------------------------------------------------------------------------------

def sqnr_of(found):
    return found["evaluate"]["int8"]


def check_edit(tally, pair, tool, option):
    title = f"{pair.title} {option}"
    out = pair.top / "edited.onnx"
    refused = option.startswith("!")
    done, found = pair.edit(out, option.lstrip("!"))
    if refused:
        lines = done.stderr.strip().splitlines()
        tally.check(done.returncode == 2 or done.returncode == 3 or lines, f"{title}: accepted")
        tally.check(done.returncode != 0 and sum("error" in x for x in lines) == 1,
                    f"{title}: {done.returncode}, {lines[-2:]}")
        return
    if not tally.check(done.returncode == 0, f"{title}: {common.last_line(done)}"):
        return
    if pair.valid:
        onnx.checker.check_model(onnx.load(out))
    optimize = not any(x in option for x in ("codes u16", "codes s16"))
    tally.check(pair.same_bits(out, tool, optimize, "pin" in option), f"{title}: qscope computes other outputs")
    again, kept = common.qscope_json(f"session open {common.word(pair.top / 'kept.json')}", "run",
                                     f"export {common.word(pair.top / 'again.onnx')} --force",
                                     "evaluate --metric sqnr")
    tally.check(again.returncode == 0 and sqnr_of(found) == sqnr_of(kept),
                f"{title}: another result from the session: {common.last_line(again)}")
    tally.check(out.read_bytes() == (pair.top / "again.onnx").read_bytes(),
                f"{title}: another file from the session")
    if option.startswith("--weights") and " + " not in option:
        check_weights(tally, title, pair, out, option)
    if option == "--correct-bias":
        check_bias(tally, title, pair, out)


def main():
    common.need_data()
    chosen = sys.argv[1:]
    tally, tool = common.Tally(), common.ValueTool()
    for name, int8, options in EDITS:
        if chosen and name not in chosen:
            continue
        with tempfile.TemporaryDirectory() as top:
            pair = Pair(name, int8, top, 8)
            for option in options:
                check_edit(tally, pair, tool, option)
        if "qop" in int8:
            with tempfile.TemporaryDirectory() as top:
                pair = Pair(name, int8, top, 2)
                for option in ("32", "32 --double-round", "16"):
                    check_rescale(tally, pair, tool, option)
    if not chosen or "mobilenetv2_035_128_flowers" in chosen:
        with tempfile.TemporaryDirectory() as top:
            check_equalized(tally, Pair("mobilenetv2_035_128_flowers", "int8_qdq_pt_sym.onnx", top,
                                        60))
    tool.close()
    tally.close()


if __name__ == "__main__":
    main()
