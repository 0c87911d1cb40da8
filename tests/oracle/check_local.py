#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Local errors, weight errors and the split of the noise against onnxruntime and numpy.

local_sqnr of every layer that can be cut out of its file (see local_error.py); weight_sqnr of every
convolution and product; clipping and rounding of output codes must add up to the measured error of
those codes, each as numpy has it; and none of it may depend on the number of threads.
"""

import json
import math
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx

from common import (DATA, SAMPLES, Tally, every_tensor, image_files, input_names, inputs_of,
                    int8_files, last_line, metas, preprocess, qscope, qscope_json, word)
from local_error import Layers, codes_of, constants, producers

SAMPLE = dict(width=32, height=32, channels=3, mean=127.5, std=127.5, layout="NCHW")
CLOSE = 0.1  # dB; fragments are fused by themselves, which moves single codes
CLOSE_FEW, FEW, EXACT = 3, 600, 90
SPLIT = 2e-3  # FP32 activations of small tensors differ in their last bits
IMAGES = 2
FORMS = ("int8_qdq_pc.onnx", "int8_qop_u8u8.onnx", "int8_qop_u8s8.onnx", "int8_qdq_u8_entropy.onnx",
         "int8_qdq_pt_sym.onnx", "int8_qdq.onnx", "int8_qop.onnx")


def weight_sqnr(fp32, int8, layer):
    """SQNR of the weights of a layer whose node is a product in both files; None: it is not."""
    nodes = {n.name: n for n in fp32.graph.node}
    node, known, quantized = nodes.get(layer["name"]), constants(fp32), constants(int8)
    if node is None or node.op_type not in ("Conv", "Gemm", "MatMul"):
        return None
    w = known.get(node.input[1])
    made = producers(int8)
    same = [n for n in int8.graph.node if n.name in (node.name, node.name + "_quant")
            and n.op_type in (node.op_type, "QLinearConv", "QGemm", "QLinearMatMul")]
    if w is None or len(same) != 1:
        return None
    n = same[0]
    if n.op_type.startswith("Q"):
        q, s, z = (quantized.get(n.input[k]) for k in (3, 4, 5))
    else:
        dq = made.get(n.input[1])
        if dq is None or dq.op_type != "DequantizeLinear":
            return None
        q, s, z = (quantized.get(i) for i in dq.input)
    if q is None or q.shape != w.shape:
        return None
    shape = [1] * q.ndim
    shape[0 if node.op_type == "Conv" else q.ndim - 1] = -1
    s, z = (np.asarray(v, np.float64).reshape(shape if v.size > 1 else []) for v in (s, z))
    noise = np.sum((w.astype(np.float64) - (q.astype(np.float64) - z) * s) ** 2)
    return 10 * math.log10(np.sum(w.astype(np.float64) ** 2) / noise) if noise else math.inf


def same_db(found, expected, size):
    """Few values let one code show; beyond EXACT only float noise is left."""
    if min(found, expected) > EXACT:
        return True
    return abs(found - expected) < (CLOSE if size > FEW else CLOSE_FEW)


def check_split(tally, title, layer, codes, images):
    """Noise of the layer's own codes: clipped and rounded values, as shares of the local noise."""
    clip = rounding = 0.0
    low, high = (np.float32(np.float32(e - int(codes.zero)) * codes.scale)
                 for e in (codes.low, codes.high))
    for x in images:
        e = (x.astype(np.float64) - codes.real(codes.quantize(x))) ** 2
        beyond = (x < low) | (x > high)
        clip += e[beyond].sum()
        rounding += e[~beyond].sum()
    for key, value in (("output_clip", clip), ("output_round", rounding),
                       ("output_noise", clip + rounding)):
        found = layer[key]
        tally.check(found is not None and abs(found - value) <= SPLIT * value + 1e-12,
                    f"{title}: '{layer['name']}' {key} is {found}, expected {value}")


def check_pair(tally, title, fp32, int8, inputs):
    model, plain = onnx.load(str(int8)), onnx.load(str(fp32))
    with tempfile.TemporaryDirectory() as tmp:
        for i, x in enumerate(inputs):
            np.save(Path(tmp) / f"x{i}.npy", x)
        files = " ".join(word(Path(tmp) / f"x{i}.npy") for i in range(len(inputs)))
        start = ("set local all", f"load pair {word(fp32)} {word(int8)}", f"dataset add {files}")
        done, found = qscope_json(*start, "run", "layers --sort none")
        one = qscope("set jobs 1", *start, "run", "layers --sort none", options=["--json"])
    if not tally.check(done.returncode == 0, f"{title}: {last_line(done)}"):
        return
    layers = found["layers"]["layers"]
    single = [json.loads(line) for line in one.stdout.splitlines()]
    tally.check(single[-1]["layers"] == layers, f"{title}: one thread says something else")
    names = input_names(fp32)
    values = [{**every_tensor(str(fp32), {names[0]: x}), names[0]: x} for x in inputs]
    # By tensor: a node of several outputs makes several layers of one name.
    pairs = {e["int8_tensor"]: (e["fp32_tensor"], e["int8_tensor"]) for e in layers}
    oracle = Layers(model, pairs, names, values)
    made, known = producers(model), constants(model)
    compared = 0
    for layer in layers:
        name = layer["name"]
        if layer["int8_tensor"] in oracle.cuts and layer["local_sqnr"] is not None:
            value, why = oracle.error(model, layer["int8_tensor"])
            if why is None and value is not None:
                compared += 1
                size = sum(v[layer["fp32_tensor"]].size for v in values)
                tally.check(same_db(layer["local_sqnr"], value, size),
                            f"{title}: '{name}' local_sqnr {layer['local_sqnr']:.3f}, "
                            f"onnxruntime {value:.3f}")
        codes = codes_of(layer["int8_tensor"], made, known)
        if codes and layer["local_sqnr"] is not None:
            check_split(tally, title, layer, codes, [v[layer["fp32_tensor"]] for v in values])
        expected = weight_sqnr(plain, model, layer)
        if expected is not None and layer["weight_sqnr"] is not None:
            tally.check(abs(layer["weight_sqnr"] - expected) < 1e-3,
                        f"{title}: '{name}' weight_sqnr {layer['weight_sqnr']}, numpy {expected}")
    for layer in layers:
        tally.check(layer["local_sqnr"] is not None or layer["local_noise"] == 0 or
                    "no local figure" in (layer["cause"] or layer["evidence"] or ""),
                    f"{title}: '{layer['name']}' has neither a local figure nor a reason")
    tally.check(compared >= len(layers) // 3, f"{title}: only {compared} layers were compared")
    print(f"{title}: {compared} of {len(layers)} layers compared", flush=True)


def main():
    tally = Tally()
    pictures = [preprocess(p, SAMPLE) for p in image_files(SAMPLES / "images")[:IMAGES]]
    for name in ("int8_qdq.onnx", "int8_qop.onnx"):
        check_pair(tally, f"samples/{name}", SAMPLES / "models/fp32.onnx",
                   SAMPLES / "models" / name, pictures)
    if (DATA / "models").is_dir():
        for folder, meta in metas():
            if len(sys.argv) > 1 and folder.name not in sys.argv[1:]:
                continue
            for int8 in int8_files(folder):
                if int8.name in FORMS:
                    check_pair(tally, f"{folder.name}/{int8.name}", folder / "fp32.onnx", int8,
                               inputs_of(meta, IMAGES))
    tally.close()


if __name__ == "__main__":
    main()
