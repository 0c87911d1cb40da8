# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of docs/quantization.md: all dev models, settings and methods, quantized by qscope and
by quantize_static on the same pictures; SQNR of the outputs, and pictures whose first class is
right, and is that of FP32. Run by check_quantize.py --all.

A network that loses much is chaotic: scales that differ in the seventh digit, as two runtimes'
float sums do, give another SQNR. So each file is measured in several copies whose scales differ
that little, and the medians are compared."""

import tempfile

import numpy as np
import onnx
from onnx import numpy_helper

import common
from quantizing import METHODS, Model, agreement, labels_of, outputs_of, sqnr, words_of

# format, activations, weights, per channel, symmetric activations
SETTINGS = {"QDQ s8 symmetric, per tensor": ("qdq", "s8", "s8", False, True),
            "QDQ u8/s8, per channel": ("qdq", "u8", "s8", True, False),
            "QOperator u8/u8, per tensor": ("qop", "u8", "u8", False, False),
            "QOperator u8/s8, per channel": ("qop", "u8", "s8", True, False)}
CALIBRATION, TESTED = 32, 200
COPIES, CHANGE = 5, 1e-6


def copies_of(file):
    """The model of a file, and as often with other last digits of its activations' scales."""
    yield str(file)
    drawn = np.random.default_rng(0)
    for _ in range(COPIES - 1):
        model = onnx.load(file)
        scales = {name for n in model.graph.node if "Linear" in n.op_type for name in n.input}
        for i in model.graph.initializer:
            if i.name in scales and i.data_type == onnx.TensorProto.FLOAT and not i.dims:
                changed = numpy_helper.to_array(i) * (1 + CHANGE * drawn.uniform(-1, 1))
                i.CopyFrom(numpy_helper.from_array(np.float32(changed), i.name))
        yield model


class TableModel(Model):
    """One with the classes of its pictures, if it tells classes at all."""

    def __init__(self, folder, meta, top):
        super().__init__(folder, meta, top, CALIBRATION, TESTED)
        outputs = onnx.load(self.path).graph.output
        self.classifies = len(outputs) == 1 and len(outputs[0].type.tensor_type.shape.dim) == 2
        self.labels = labels_of(meta)

    def right(self, values):
        """How many pictures have the right first class; None without labels."""
        hits = [y.argmax() == c for y, c in zip(values, self.labels or [])]
        return int(sum(hits)) if hits else None

    def measure(self, file, made):
        """SQNR, right first classes, and those of FP32; None where making the file failed."""
        if not made:
            return None
        found = []
        for copy in copies_of(file):
            values = outputs_of(copy, self.input, self.tested)
            same = agreement(self.fp32, values) if self.classifies else None
            found.append((sqnr(self.fp32, values), self.right(values), same))
        return [None if column[0] is None else np.median(column) for column in zip(*found)]


def with_ort(model, out, setting, method):
    try:
        model.quantize_with_ort(out, setting, method)
        return True
    except Exception as e:  # whatever stops it is told, and is no miss of ours
        print(f"{model.name} {setting} {method}: onnxruntime itself fails: {e}", flush=True)
        return False


def rows_of(model, tally):
    """(setting, method, measured of qscope, onnxruntime, qscope with corrected biases)."""
    file = model.top / "made.onnx"
    for title, setting in SETTINGS.items():
        for method in METHODS:
            row = []
            for extra in ("", "--correct-bias"):
                done, _ = model.quantize(file, *words_of(setting), f"--method {method}", extra)
                made = tally.check(done.returncode == 0, f"{model.name}, {title}, {method} "
                                   f"{extra}: {common.last_line(done)}")
                row.append(model.measure(file, made))
            made = with_ort(model, file, setting, method)
            yield title, method, row[0], model.measure(file, made), row[1]


def judge(tally, model, title, ours, theirs):
    """Not worse than the other by more than chance; nobody is asked to beat FP32."""
    if ours and theirs:
        tally.check(ours[0] >= theirs[0] - 0.5, f"{title}: SQNR {ours[0]:.2f} dB, onnxruntime "
                    f"{theirs[0]:.2f} dB")
        best = model.right(model.fp32)
        tally.check(best is None or ours[1] >= min(theirs[1], best) - 1,
                    f"{title}: {ours[1]} right, onnxruntime {theirs[1]}, FP32 {best}")


def cell(found):
    words = [f"{x:.0f}" for x in (found or ["-"])[1:] if x is not None]
    decibels = f"{found[0]:.1f}" if found else "-"
    return decibels + (f" ({', '.join(words)})" if words else "")


def table(chosen, tally, path):
    """Writes the table to a file and judges its rows."""
    with open(path, "w") as page:
        print("| model | setting | method | qscope | onnxruntime | qscope --correct-bias |",
              "|---|---|---|---:|---:|---:|", sep="\n", file=page, flush=True)
        for folder, meta in common.metas():
            if chosen and folder.name not in chosen:
                continue
            with tempfile.TemporaryDirectory() as top:
                model = TableModel(folder, meta, top)
                for title, method, a, b, corrected in rows_of(model, tally):
                    print(f"| {model.name} | {title} | {method} | {cell(a)} | {cell(b)} | "
                          f"{cell(corrected)} |", file=page, flush=True)
                    judge(tally, model, f"{model.name}, {title}, {method}", a, b)
