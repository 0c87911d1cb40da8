# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of docs/quantization.md: all dev models, settings and methods, quantized by qscope and
by quantize_static on the same pictures; SQNR of the outputs, and pictures whose first class is
right. Run by check_quantize.py --all.

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
        """How many pictures have the right first class, or that of FP32 where there are no labels;
        None for a model that tells no classes."""
        if self.labels:
            return sum(int(y.argmax() == c) for y, c in zip(values, self.labels))
        return agreement(self.fp32, values) if self.classifies else None

    def measure(self, file, made):
        """SQNR and pictures with the right first class; None where making the file failed."""
        if not made:
            return None
        values = [outputs_of(copy, self.input, self.tested) for copy in copies_of(file)]
        hits = [self.right(v) for v in values]
        return (np.median([sqnr(self.fp32, v) for v in values]),
                None if hits[0] is None else np.median(hits))


def with_ort(model, out, setting, method):
    try:
        model.quantize_with_ort(out, setting, method)
        return True
    except Exception as e:  # whatever stops it is told, and is no miss of ours
        print(f"{model.name} {setting} {method}: onnxruntime itself fails: {e}", flush=True)
        return False


def made_by_qscope(model, tally, file, title, options):
    done, _ = model.quantize(file, *options)
    return tally.check(done.returncode == 0, f"{title}: {common.last_line(done)}")


def row_of(model, tally, title, setting):
    """The cells of one setting: qscope and onnxruntime by method, then corrected biases."""
    file, cells = model.top / "made.onnx", []
    for method in METHODS:
        name, options = f"{model.name}, {title}, {method}", [*words_of(setting),
                                                            f"--method {method}"]
        ours = model.measure(file, made_by_qscope(model, tally, file, name, options))
        theirs = model.measure(file, with_ort(model, file, setting, method))
        judge(tally, model, name, ours, theirs)
        cells.append(cell(ours, theirs))
    made = made_by_qscope(model, tally, file, f"{model.name}, {title}, corrected",
                          [*words_of(setting), "--correct-bias"])
    return [*cells, cell(model.measure(file, made), None).replace(" / -", "")]


def judge(tally, model, title, ours, theirs):
    """Not worse than the other by more than chance; nobody is asked to beat FP32."""
    if ours and theirs:
        tally.check(ours[0] >= theirs[0] - 0.5, f"{title}: SQNR {ours[0]:.2f} dB, onnxruntime "
                    f"{theirs[0]:.2f} dB")
        best = model.right(model.fp32)
        tally.check(best is None or ours[1] >= min(theirs[1], best) - 1,
                    f"{title}: {ours[1]} right, onnxruntime {theirs[1]}, FP32 {best}")


def cell(ours, theirs):
    """Decibels of both, and pictures."""
    def words(digits, k):
        found = [f"{x[k]:.{digits}f}" if x and x[k] is not None else "-" for x in (ours, theirs)]
        return " / ".join(found)

    pictures = words(0, 1)
    return words(1, 0) + (f" ({pictures})" if pictures.strip("- /") else "")


def table(chosen, tally, path):
    """Writes the table to a file and judges its rows."""
    with open(path, "w") as page:
        print("| model | setting | minmax | percentile | entropy | minmax, biases corrected |",
              "|---|---|---|---|---|---|", sep="\n", file=page, flush=True)
        for folder, meta in common.metas():
            if chosen and folder.name not in chosen:
                continue
            with tempfile.TemporaryDirectory() as top:
                model = TableModel(folder, meta, top)
                for title, setting in SETTINGS.items():
                    cells = row_of(model, tally, title, setting)
                    print(f"| {model.name} | {title} | {' | '.join(cells)} |", file=page, flush=True)
