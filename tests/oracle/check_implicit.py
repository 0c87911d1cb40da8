#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Implicit INT8: an FP32 model and a calibration cache of TensorRT.

    check_implicit.py [MODEL...]

A cache is written from onnxruntime's activations, and qscope loads the model against itself with
it. Every convolution and matrix product whose codes qscope dumps is computed again here from the
codes that it reads, as NVIDIA documents it: int32 sums, then in float32 times the scales, plus bias
and residual, Relu or Clip, divided by the scale and rounded; every code must be equal. The cache
that the transcripts use must be that of the sample pair. TensorRT itself is not at hand.
"""

import struct
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

import common

CODES = "_QuantizeLinear_Output"
F = np.float32


# ---- The cache ----------------------------------------------------------------------------------

def largest(path, feeds):
    """Largest magnitude of every float tensor over the inputs."""
    amax = {}
    for feed in feeds:
        for name, value in {**common.every_tensor(path, feed), **feed}.items():
            if value.dtype == F and value.size:
                amax[name] = max(amax.get(name, 0.0), float(np.abs(value).max()))
    return amax


def write_cache(path, amax):
    with open(path, "w") as f:
        f.write("TRT-8501-MinMaxCalibration\n")
        for name, value in amax.items():
            f.write(f"{name}: {struct.pack('>f', F(value) / F(127)).hex()}\n")


def read_cache(path):
    lines = Path(path).read_text().splitlines()[1:]
    return {name: F(struct.unpack(">f", bytes.fromhex(digits))[0])
            for name, digits in (line.rsplit(": ", 1) for line in lines)}


# ---- The arithmetic -----------------------------------------------------------------------------

def quantize(x, scale):
    return np.clip(np.rint(x / scale), -128, 127).astype(np.int8)


def weight_codes(w, axis):
    others = tuple(d for d in range(w.ndim) if d != axis)
    amax = np.abs(w).max(axis=others)
    scale = np.where(amax > 0, amax / F(127), F(1)).astype(F)
    shape = [-1 if d == axis else 1 for d in range(w.ndim)]
    return np.rint(w / scale.reshape(shape)).astype(np.int64), scale


def attributes(node):
    return {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}


def conv_sums(x, w, a):
    group = a.get("group", 1)
    stride, dilation = a.get("strides", [1, 1]), a.get("dilations", [1, 1])
    kernel = w.shape[2:]
    pads = list(a.get("pads", [0] * 4))
    if a.get("auto_pad", b"NOTSET") in (b"SAME_UPPER", b"SAME_LOWER"):
        lower = a["auto_pad"] == b"SAME_LOWER"
        for d in range(2):
            size = x.shape[2 + d]
            need = max((-(-size // stride[d]) - 1) * stride[d] + dilation[d] * (kernel[d] - 1) + 1
                       - size, 0)
            pads[d] = (need + lower) // 2
            pads[2 + d] = need - pads[d]
    x = np.pad(x.astype(np.int64), [(0, 0), (0, 0), (pads[0], pads[2]), (pads[1], pads[3])])
    out = [(x.shape[2 + d] - dilation[d] * (kernel[d] - 1) - 1) // stride[d] + 1 for d in range(2)]
    per, made = w.shape[1], w.shape[0] // group
    y = np.zeros((x.shape[0], w.shape[0], *out), np.int64)
    for i in range(kernel[0]):
        for j in range(kernel[1]):
            part = x[:, :, i * dilation[0]:i * dilation[0] + (out[0] - 1) * stride[0] + 1:stride[0],
                     j * dilation[1]:j * dilation[1] + (out[1] - 1) * stride[1] + 1:stride[1]]
            for g in range(group):
                y[:, g * made:(g + 1) * made] += np.einsum(
                    "nchw,oc->nohw", part[:, g * per:(g + 1) * per],
                    w[g * made:(g + 1) * made, :, i, j])
    return y


def product_sums(node, x, w, a):
    if node.op_type == "Conv":
        return conv_sums(x, w, a), (1, -1, 1, 1)
    w = w.T if a.get("transB", 0) else w
    return x.astype(np.int64) @ w, (1,) * (x.ndim - 1) + (-1,)


class Emulator:
    """One model and the codes that qscope made of it."""

    def __init__(self, path, scales, codes):
        self.graph = onnx.load(path).graph
        self.scales, self.codes = scales, codes
        self.weights = {i.name: numpy_helper.to_array(i) for i in self.graph.initializer}
        for n in self.graph.node:
            if n.op_type == "Constant" and n.attribute[0].name == "value":
                self.weights[n.output[0]] = numpy_helper.to_array(n.attribute[0].t)

    def real(self, name):
        return self.codes[name].astype(F) * self.scales[name]

    def readers(self, name):
        return [n for n in self.graph.node if name in n.input]

    def limits(self, node):
        a = attributes(node)
        low, high = a.get("min"), a.get("max")
        if len(node.input) > 1 and node.input[1]:
            low = self.weights[node.input[1]]
        if len(node.input) > 2 and node.input[2]:
            high = self.weights[node.input[2]]
        return (-np.inf if low is None else low), (np.inf if high is None else high)

    def finish(self, name, v):
        """What stands behind the sums, up to the tensor that has codes: (its name, value), or None
        where there is none or something else is in between."""
        while name not in self.codes:
            readers = self.readers(name)
            if len(readers) != 1:
                return None
            node = readers[0]
            if node.op_type == "Relu":
                v = np.maximum(v, F(0))
            elif node.op_type == "Clip":
                v = np.clip(v, *self.limits(node)).astype(F)
            elif node.op_type == "Add":
                other = node.input[list(node.input).index(name) ^ 1]
                if other not in self.weights and other not in self.codes:
                    return None
                v = v + (self.weights[other] if other in self.weights else self.real(other))
            else:
                return None
            name = node.output[0]
        return name, v

    def check(self, node):
        """Codes that differ and all, of what a node makes; None when it is not emulated."""
        a = attributes(node)
        if node.input[0] not in self.codes or node.input[1] not in self.weights or a.get(
                "transA", 0):
            return None
        w = self.weights[node.input[1]]
        axis = 0 if node.op_type == "Conv" or a.get("transB", 0) else 1
        codes, scale = weight_codes(w, axis)
        sums, shape = product_sums(node, self.codes[node.input[0]], codes, a)
        v = sums.astype(F) * (self.scales[node.input[0]] * scale).reshape(shape)
        if len(node.input) > 2 and node.input[2]:
            v = v + self.weights[node.input[2]].reshape(shape)
        end = self.finish(node.output[0], v)
        if not end:
            return None
        want = quantize(end[1], self.scales[end[0]])
        return int((want != self.codes[end[0]]).sum()), want.size


# ---- Models -------------------------------------------------------------------------------------

def check_model(tally, title, path, cache, setup, feed):
    """Returns how many products were computed again."""
    with tempfile.TemporaryDirectory() as folder:
        load = f"load pair {common.word(path)} {common.word(path)} --cache {common.word(cache)}"
        done, found = common.qscope_json(load, *setup, f"dump '*' --out {common.word(folder)}")
        if not tally.check(done.returncode == 0, f"{title}: {common.last_line(done)}"):
            return 0
        loaded = found["load pair"]
        tally.check(loaded["numerics"] == "tensorrt" and loaded["verified"] is False and
                    loaded["implicit"]["layers"] > 0, f"{title}: loaded as {loaded}")
        codes = {e["tensor"].removesuffix(CODES): common.load_dumped(folder, e)
                 for e in common.entries_of(folder)
                 if e["dtype"] == "int8" and e["tensor"].endswith(CODES)}
    scales = read_cache(cache)
    for name, value in feed.items():
        codes[name] = quantize(value, scales[name])
    emulator, count = Emulator(path, scales, codes), 0
    for node in emulator.graph.node:
        if node.op_type in ("Conv", "Gemm", "MatMul"):
            result = emulator.check(node)
            if result:
                count += 1
                tally.check(result[0] == 0, f"{title}: {result[0]} of {result[1]} codes of "
                            f"'{node.name or node.output[0]}' differ")
    return count


def check_sample(tally):
    path, cache = common.SAMPLES / "models/fp32.onnx", common.ROOT / "tests/scripts/implicit.cache"
    setup = [f"preprocess {common.word(common.SAMPLES / 'preprocess.json')}",
             f"dataset add {common.word(common.SAMPLES / 'images')} --limit 1"]
    files = sorted((common.SAMPLES / "images").glob("*.png"))
    feeds = [{"image": np.asarray((np.asarray(common.Image.open(f).convert("RGB"), F) - F(127.5)) /
                                  F(127.5)).transpose(2, 0, 1)[None]} for f in files]
    amax, scales = largest(path, feeds), read_cache(cache)
    wrong = [n for n in scales if not np.isclose(scales[n], amax[n] / 127, rtol=1e-5)]
    tally.check(not wrong and len(scales) == len(amax),
                f"{cache.name}: not the scales of the sample: {wrong}")
    count = check_model(tally, "sample", path, cache, setup, feeds[0])
    tally.check(count == 10, f"sample: {count} of 10 layers were computed again")


def check_dev_models(tally):
    for folder, meta in common.metas():
        path = folder / "fp32.onnx"
        if not path.exists() or (sys.argv[1:] and folder.name not in sys.argv[1:]):
            continue
        name = common.input_names(path)[0]
        feeds = [{name: x} for x in common.inputs_of(meta, 1)]
        with tempfile.TemporaryDirectory() as top:
            np.save(Path(top) / "0.npy", feeds[0][name])
            write_cache(Path(top) / "calib.cache", largest(path, feeds))
            check_model(tally, folder.name, path, Path(top) / "calib.cache",
                        [f"dataset add {common.word(Path(top) / '0.npy')}"], feeds[0])


def main():
    tally = common.Tally()
    check_sample(tally)
    if common.DATA.is_dir():
        check_dev_models(tally)
    tally.close()


if __name__ == "__main__":
    main()
