#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Quantizing as users script it: quant_pre_process, then quantize_static on a folder of inputs.

usage: ort_quantize.py FP32 FOLDER IMAGES METHOD OUT

FOLDER has .npy files of many inputs each; METHOD is minmax, percentile or entropy.
"""

import contextlib
import io
import itertools
import sys
import tempfile
from pathlib import Path

import numpy as np
from onnxruntime.quantization import (CalibrationDataReader, CalibrationMethod, QuantFormat,
                                      quantize_static)
from onnxruntime.quantization.shape_inference import quant_pre_process

METHODS = {"minmax": CalibrationMethod.MinMax, "percentile": CalibrationMethod.Percentile,
           "entropy": CalibrationMethod.Entropy}


def images_of(folder):
    for file in sorted(Path(folder).glob("*.npy")):
        yield from np.load(file, mmap_mode="r")[:, None]


class Reader(CalibrationDataReader):
    def __init__(self, images):
        self.images = images

    def get_next(self):
        image = next(self.images, None)
        return None if image is None else {"x": np.array(image)}


def main():
    fp32, folder, images, method, out = sys.argv[1:]
    with tempfile.TemporaryDirectory() as top, contextlib.redirect_stdout(io.StringIO()):
        ready = str(Path(top) / "prepared.onnx")
        quant_pre_process(fp32, ready, skip_symbolic_shape=True)
        quantize_static(ready, out, Reader(itertools.islice(images_of(folder), int(images))),
                        per_channel=True, quant_format=QuantFormat.QDQ,
                        calibrate_method=METHODS[method])


if __name__ == "__main__":
    main()
