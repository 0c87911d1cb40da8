# SPDX-License-Identifier: GPL-3.0-or-later
"""What the checks of `quantize` share: a model with its pictures, quantized by qscope and by
onnxruntime's quantize_static with the same settings, and how good what comes out is."""

import contextlib
import csv
import io
from pathlib import Path

import numpy as np
import onnx
from onnxruntime.quantization import (CalibrationDataReader, CalibrationMethod, QuantFormat,
                                      QuantType, quantize_static)
from onnxruntime.quantization.shape_inference import quant_pre_process

import common

TYPES = {"u8": QuantType.QUInt8, "s8": QuantType.QInt8}
METHODS = {"minmax": CalibrationMethod.MinMax, "percentile": CalibrationMethod.Percentile,
           "entropy": CalibrationMethod.Entropy}
COMPARED = 3


class Reader(CalibrationDataReader):
    def __init__(self, name, inputs):
        self.feeds = iter([{name: x} for x in inputs])

    def get_next(self):
        return next(self.feeds, None)


def outputs_of(model, name, inputs, optimize=True):
    run = common.session(model, optimize)
    return [np.concatenate([o.ravel().astype(np.float64) for o in run.run(None, {name: x})])
            for x in inputs]


def sqnr(reference, values):
    signal = sum((x * x).sum() for x in reference)
    noise = sum(((x - y) ** 2).sum() for x, y in zip(reference, values))
    return 10 * np.log10(signal / noise) if noise else np.inf


def agreement(reference, values):
    return sum(int(x.argmax() == y.argmax()) for x, y in zip(reference, values))


def labels_of(meta):
    """The class of each picture of a model's set, as the model numbers them, or None."""
    folder, offset = common.DATA / "images" / meta["images"], meta.get("label_offset")
    if offset is None or not (folder / "labels.csv").exists():
        return None
    with open(folder / "labels.csv", newline="") as f:
        label = {row["file"]: int(row["label"]) + offset for row in csv.DictReader(f)}
    return [label[p.name] for p in common.image_files(folder)]


class Model:
    """A dev model with its pictures and what FP32 makes of them."""

    def __init__(self, folder, meta, top, calibration, tested):
        self.name, self.path, self.top = folder.name, folder / "fp32.onnx", Path(top)
        self.words = common.preprocess_words(meta["preprocess_onnx"])
        self.input = common.input_names(self.path)[0]
        files = common.image_files(common.DATA / "images" / meta["calibration_set"])
        self.pictures = self.top / "pictures"
        self.pictures.mkdir()
        for file in files[:calibration]:
            (self.pictures / file.name).symlink_to(file)
        self.calibration = [common.preprocess(f, meta["preprocess_onnx"])
                            for f in files[:calibration]]
        self.tested = common.inputs_of(meta, tested)
        self.fp32 = outputs_of(self.path, self.input, self.tested)
        self.ready = None

    def quantize(self, out, *options):
        return common.qscope_json(f"load fp32 {common.word(self.path)}", self.words,
                                  f"quantize {common.word(out)} "
                                  f"--images {common.word(self.pictures)} {' '.join(options)}")

    def prepared(self):
        """The model as onnxruntime's own preparation leaves it."""
        if not self.ready:
            model = onnx.load(self.path)
            if next(o.version for o in model.opset_import if not o.domain) < 13:
                model = onnx.version_converter.convert_version(model, 13)
                for node in model.graph.node:  # the converter leaves both ways of saying a size
                    if node.op_type == "Resize" and len(node.input) > 3 and node.input[3]:
                        node.input[2] = ""
            source, self.ready = self.top / "opset13.onnx", self.top / "prepared.onnx"
            onnx.save(model, source)
            quant_pre_process(str(source), str(self.ready), skip_symbolic_shape=True)
        return self.ready

    def quantize_with_ort(self, out, setting, method="minmax"):
        """What a method finds is kept for the other settings."""
        form, activations, weights, per_channel, symmetric = setting
        with contextlib.redirect_stdout(io.StringIO()):
            quantize_static(self.prepared(), out, Reader(self.input, self.calibration),
                            per_channel=per_channel,
                            quant_format=QuantFormat.QOperator if form == "qop" else QuantFormat.QDQ,
                            activation_type=TYPES[activations], weight_type=TYPES[weights],
                            calibrate_method=METHODS[method],
                            calibration_cache_path=self.top / f"ranges_{method}.json",
                            extra_options={"ActivationSymmetric": symmetric})

    def same_bits(self, path, tool, optimize=True):
        """Whether qscope computes the outputs that onnxruntime does."""
        run = common.session(path, optimize)
        for i, x in enumerate(self.tested[:COMPARED]):
            file = self.top / f"{i}.npy"
            np.save(file, x)
            found, error = tool.run(path, [file], True, "ort" if optimize else "ort-unfused")
            for o, want in zip(run.get_outputs(), run.run(None, {self.input: x})):
                if error or not np.array_equal(found[o.name], want):
                    return False
        return True


def words_of(setting):
    """The options of `quantize` for a setting."""
    form, activations, weights, per_channel, symmetric = setting
    return ["--force", f"--format {form}", f"--activations {activations}", f"--weights {weights}",
            "--per-channel" * per_channel, "--symmetric" * symmetric]
