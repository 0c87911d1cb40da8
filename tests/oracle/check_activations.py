#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""FP32 activations of every real ONNX model against onnxruntime with optimization off.

Uses the stored references where there are any, else makes them the same way. Every float tensor
that depends on the input must be in the dump, with max |difference| / max |reference| <= 1e-4 and
cosine > 0.999999.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx

from common import (DATA, Tally, every_tensor, index_of, input_names, inputs_of, last_line,
                    load_dumped, metas, need_data, qscope, word)

MAX_RELATIVE, MIN_COSINE = 1e-4, 0.999999


def reference(folder, meta):
    """(input, {tensor: value}) of a model."""
    model = folder / "fp32.onnx"
    stored = DATA / "reference" / f"{folder.name}.fp32.onnx.npz"
    fed = DATA / "reference" / f"{folder.name}.onnx.input.npy"
    if stored.exists() and fed.exists():
        with np.load(stored) as z:
            return np.load(fed), {k.split("::", 1)[1]: z[k] for k in z.files
                                  if k.startswith(("act::", "out::"))}
    x = inputs_of(meta, 1)[0]
    return x, every_tensor(model, {input_names(model)[0]: x})


def dependent(path):
    """Names of the tensors whose values, not only shapes, depend on the model's inputs."""
    graph = onnx.load(path).graph
    names = set(input_names(path))
    for node in graph.node:
        if node.op_type != "Shape" and names.intersection(node.input):
            names.update(node.output)
    return names


def distance(x, ref):
    """(max |x - ref| / max |ref|, cosine); equal all-zero tensors are at distance 0."""
    x, ref = x.astype(np.float64).ravel(), ref.astype(np.float64).ravel()
    top = np.abs(ref).max(initial=0)
    worst = np.abs(x - ref).max(initial=0)
    if top == 0:
        return worst, 1.0 if worst == 0 else 0.0
    norm = np.linalg.norm(x) * np.linalg.norm(ref)
    return worst / top, float(x @ ref / norm) if norm else 0.0


def check_model(tally, folder, meta):
    model = folder / "fp32.onnx"
    x, ref = reference(folder, meta)
    wanted = dependent(model)
    with tempfile.TemporaryDirectory() as tmp:
        np.save(Path(tmp) / "x.npy", x)
        done = qscope(f"load fp32 {word(model)}", f"dataset add {word(Path(tmp) / 'x.npy')}",
                      f"dump '*' --out {word(Path(tmp) / 'out')}")
        if not tally.check(done.returncode == 0, f"{folder.name}: {last_line(done)}"):
            return
        dumped = {k[0]: e for k, e in index_of(Path(tmp) / "out").items() if k[1] == "fp32"}
        worst, low = 0.0, 1.0
        for name, value in ref.items():
            if value.dtype.kind != "f" or name not in wanted:
                continue
            if not tally.check(name in dumped, f"{folder.name}: '{name}' was not dumped"):
                continue
            got = load_dumped(Path(tmp) / "out", dumped[name])
            if got.shape != value.shape:
                tally.check(False, f"{folder.name}: '{name}' is {got.shape}, not {value.shape}")
                continue
            relative, cosine = distance(got, value)
            worst, low = max(worst, relative), min(low, cosine)
            tally.check(relative <= MAX_RELATIVE and cosine > MIN_COSINE,
                        f"{folder.name}: '{name}' differs by {relative:.3g}, cosine {cosine:.9f}")
    print(f"{folder.name}: {len(dumped)} tensors, worst {worst:.2g}, cosine {low:.9f}", flush=True)


def main():
    need_data()
    tally = Tally()
    for folder, meta in metas():
        if len(sys.argv) < 2 or folder.name in sys.argv[1:]:
            check_model(tally, folder, meta)
    tally.close()


if __name__ == "__main__":
    main()
