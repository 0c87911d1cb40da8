#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Injected faults are found: first by LOCAL error, and with the right cause.

One scale, one weight channel, one zero point or one bias of a healthy INT8 file is corrupted, in
places drawn at random, of which those count where the fault stands out: the local error of the
corrupted layer, computed with onnxruntime and numpy alone (local_error.py), leads by 2 dB. There
the layer that `layers --sort local_sqnr` puts first must be the corrupted one, or for parameters of
an activation one that reads it, and its verdict must be one of those that the fault may have.
"""

import random
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx

from common import (DATA, SAMPLES, Tally, every_tensor, image_files, input_names, inputs_of,
                    last_line, metas, preprocess, qscope_json, word)
from local_error import SCALES, Layers, constants, producers

SAMPLE = dict(width=32, height=32, channels=3, mean=127.5, std=127.5, layout="NCHW")
LEAD, WORSE = 2, 6  # dB
IMAGES = 2
PLACES = 20  # per file, a quarter of each kind
VERDICTS = {
    "scale": {"BAD SCALE", "RANGE", "RESOLUTION"},
    "weight": {"WEIGHTS", "DEAD CHANNEL", "BAD SCALE"},
    "zero": {"BAD ZERO POINT", "RANGE"},
    "bias": {"BIAS"},
}
DEV = [("resnet8_cifar10", "int8_qop_u8s8.onnx"), ("resnet8_cifar10", "int8_qdq_pc.onnx"),
       ("squeezenet11_128_flowers", "int8_qdq_pc.onnx"),
       ("mobilenetv2_035_128_flowers", "int8_qop_u8s8.onnx"), ("vww96_mobilenetv1", "int8_qop_u8s8.onnx"),
       ("tinynet_se_cifar10", "int8_qdq_pt_sym.onnx"), ("ultraface_slim320", "int8_qdq_pc.onnx"), ("mnist8_cntk", "int8_qdq_pt_sym.onnx"), ("vit_mnist", "int8_qop_u8s8.onnx")]


class Places:
    """What can be corrupted: names of constants by kind."""

    def __init__(self, model):
        self.model, self.known = model, constants(model)
        self.found = {"scale": set(), "zero": set(), "weight": set(), "bias": set()}
        made = producers(model)
        for node in model.graph.node:
            self.read_activation(node)
            self.read_weights(node, made)

    def read_activation(self, node):
        k = SCALES.get(node.op_type)
        if k is None:
            return
        scale, zero = node.input[k], node.input[k + 1]
        if self.known.get(scale) is not None and self.known[scale].size == 1:
            self.found["scale"].add(scale)
            self.found["zero"].add(zero)

    def read_weights(self, node, made):
        if node.op_type in ("QLinearConv", "QGemm"):
            w, b = node.input[3], node.input[8 if node.op_type == "QLinearConv" else 6:][:1]
        elif node.op_type in ("Conv", "Gemm"):
            codes = [made[i].input[0] if i in made and made[i].op_type == "DequantizeLinear" else ""
                     for i in node.input]
            w, b = codes[1], codes[2:3]
        else:
            return
        if w in self.known:
            self.found["weight"].add(w)
        if b and b[0] in self.known and self.known[b[0]].dtype == np.int32:
            self.found["bias"].add(b[0])


def corrupt(kind, value, rng):
    """A corrupted copy of a constant."""
    value = value.copy()
    if kind == "scale":
        return (value * np.float32(rng.choice([0.2, 0.3, 6, 10]))).astype(value.dtype)
    if kind == "zero":
        info = np.iinfo(value.dtype)
        step = rng.choice([-90, -60, 60, 90])
        moved = int(value) + step
        moved = moved if info.min <= moved <= info.max else int(value) - step
        return np.asarray(moved, value.dtype).reshape(value.shape)
    if kind == "bias":
        at = rng.randrange(value.size)
        top = max(int(np.abs(value.astype(np.int64)).max()), 1000)
        moved = int(value.reshape(-1)[at]) + rng.choice([-1, 1]) * 20 * top
        value.reshape(-1)[at] = max(min(moved, 2**31 - 1), -(2**31))
        return value
    channel = rng.randrange(value.shape[0])
    how = rng.choice(["negated", "shuffled", "zero"])
    if how == "zero":
        value[channel] = 0
    elif how == "negated":
        value[channel] = np.clip(-value[channel].astype(np.int32), -128 if value.dtype == np.int8
                                 else 0, 127 if value.dtype == np.int8 else 255)
    else:
        row = value[channel].reshape(-1).copy()
        np.random.default_rng(rng.randrange(1 << 30)).shuffle(row)
        value[channel] = row.reshape(value[channel].shape)
    return value


def replaced(model, name, value):
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for tensor in copy.graph.initializer:
        if tensor.name == name:
            tensor.CopyFrom(onnx.numpy_helper.from_array(value, name))
    return copy


def leader(oracle, model, name, healthy):
    """(tensors of layers that the fault touches, lead in dB of the worst over all others)."""
    touched = set(oracle.affected(name))
    inside = {}
    for layer in touched:
        value, why = oracle.error(model, layer)
        if why is not None or value is None:
            return touched, -1
        inside[layer] = value
    outside = [v for t, v in healthy.items() if t not in touched]
    if not inside or not outside:
        return touched, -1
    worst = min(inside, key=inside.get)
    # A layer that was bad before does not tell of the fault.
    if healthy.get(worst, 0) - inside[worst] < WORSE:
        return touched, -1
    return touched, min(outside) - inside[worst]


def judge(tally, title, files, fp32, model, folder, allowed, kind):
    path = folder / "faulty.onnx"
    onnx.save(model, str(path))
    done, found = qscope_json("set local all", f"load pair {word(fp32)} {word(path)}",
                              f"dataset add {files}", "run", "layers --sort local_sqnr")
    if not tally.check(done.returncode == 0, f"{title}: {last_line(done)}"):
        return
    first = found["layers"]["layers"][0]
    tally.check(first["int8_tensor"] in allowed,
                f"{title}: '{first['name']}' is first by local_sqnr, not {allowed}")
    tally.check(first["verdict"] in VERDICTS[kind],
                f"{title}: verdict {first['verdict']} ({first['cause']}; {first['evidence']})")
    print(f"  {title}: {first['verdict']}: {first['cause']}", flush=True)


def check_file(tally, title, fp32, int8, inputs, places):
    model = onnx.load(str(int8))
    rng = random.Random(title)
    with tempfile.TemporaryDirectory() as tmp:
        tmp = Path(tmp)
        for i, x in enumerate(inputs):
            np.save(tmp / f"x{i}.npy", x)
        files = " ".join(word(tmp / f"x{i}.npy") for i in range(len(inputs)))
        done, found = qscope_json("set local all", f"load pair {word(fp32)} {word(int8)}",
                                  f"dataset add {files}", "run", "layers --sort none")
        if not tally.check(done.returncode == 0, f"{title}: {last_line(done)}"):
            return
        pairs = {e["int8_tensor"]: (e["fp32_tensor"], e["int8_tensor"])
                 for e in found["layers"]["layers"]}
        names = input_names(fp32)
        values = [{**every_tensor(str(fp32), {names[0]: x}), names[0]: x} for x in inputs]
        oracle = Layers(model, pairs, names, values)
        healthy = {}
        for layer in oracle.cuts:
            value, why = oracle.error(model, layer)
            if why is None and value is not None:
                healthy[layer] = value
        where = Places(model)
        for kind, constants_of in where.found.items():
            names_left, taken = sorted(constants_of), 0
            for attempt in range(60):
                if taken == places // 4 or not names_left:
                    break
                name = rng.choice(names_left)
                faulty = replaced(model, name, corrupt(kind, where.known[name], rng))
                allowed, lead = leader(oracle, faulty, name, healthy)
                if lead < LEAD:
                    continue
                taken += 1
                judge(tally, f"{title}: {kind} of '{name}' (leads by {lead:.1f} dB)", files, fp32,
                      faulty, tmp, allowed, kind)
            tally.check(taken == places // 4,
                        f"{title}: only {taken} places of kind {kind} stand out")


def main():
    tally = Tally()
    pictures = [preprocess(p, SAMPLE) for p in image_files(SAMPLES / "images")[:IMAGES]]
    check_file(tally, "samples/int8_qop.onnx", SAMPLES / "models/fp32.onnx",
               SAMPLES / "models/int8_qop.onnx", pictures, PLACES)
    if (DATA / "models").is_dir():
        for folder, meta in metas():
            for name, file in DEV:
                if folder.name == name and (len(sys.argv) < 2 or name in sys.argv[1:]):
                    check_file(tally, f"{name}/{file}", folder / "fp32.onnx", folder / file,
                               inputs_of(meta, IMAGES), PLACES)
    tally.close()


if __name__ == "__main__":
    main()
