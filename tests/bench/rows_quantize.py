# SPDX-License-Identifier: GPL-3.0-or-later
"""From FP32 to INT8: calibration and the model that is written, whole processes."""

import sys
import tempfile
from pathlib import Path

from make_models import INPUTS, NETWORKS
from measure import PEERS, compare, interleave, qscope, run
from rows_compare import files, many, word
from rows_forward import TITLES


def one(options, network, method, images, pairs):
    fp32, folder = files(options, network)[0], many(options, -(-images // INPUTS) * INPUTS)
    with tempfile.TemporaryDirectory() as top:
        ours, theirs = Path(top) / "ours.onnx", Path(top) / "theirs.onnx"
        found = interleave(
            pairs,
            qscope=lambda: qscope(f"load fp32 {word(fp32)}",
                                  f"quantize {word(ours)} --force --per-channel --method {method} "
                                  f"--images {word(folder)} --limit {images}"),
            peer=lambda: run(sys.executable, PEERS / "ort_quantize.py", fp32, folder, images,
                             method, theirs))
    mine, other = found["qscope"], found["peer"]
    line = compare(f"{TITLES[network]}, {method}, {images} images, CPU time", "quantize_static",
                   "s", [x.cpu for x in mine], [x.cpu for x in other], faster=True)
    note = (f"{TITLES[network]}, {method}, {images} images: peak memory {mine[0].peak:.0f} MiB, "
            f"onnxruntime {other[0].peak:.0f} MiB.")
    return line, note


def quantize(options):
    pairs = 1 if options.quick else 5
    cases = [(network, "minmax", 100) for network in NETWORKS]
    cases.append((NETWORKS[-1], "percentile", 32))
    found = [one(options, *case, pairs) for case in cases]
    return {"title": "From FP32 to INT8",
            "text": ["Whole processes, per channel: `quantize` against `quant_pre_process` and "
                     "`quantize_static` on the same inputs, in CPU time of all threads. Those keep "
                     "all activations of all images for percentiles, so fewer images are taken."],
            "lines": [line for line, _ in found], "notes": [note for _, note in found]}
