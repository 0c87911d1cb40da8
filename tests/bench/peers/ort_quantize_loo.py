#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Leave-one-out as users script it: quantize_static anew without a layer, a session, the images.

usage: ort_quantize_loo.py FP32 INPUTS.npy IMAGES LAYER...

Prints JSON: seconds per layer.
"""

import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import onnxruntime as ort
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static

CALIBRATION = 2  # images


class Reader(CalibrationDataReader):
    def __init__(self, images):
        self.images = iter(images[:, None])

    def get_next(self):
        image = next(self.images, None)
        return None if image is None else {"x": image}


def outputs(path, images):
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(None, {"x": image[None]})[0] for image in images])


def main():
    fp32, layers = sys.argv[1], sys.argv[4:]
    images = np.load(sys.argv[2])[:int(sys.argv[3])]
    reference, seconds = outputs(fp32, images), []
    with tempfile.TemporaryDirectory() as folder:
        for layer in layers:
            start = time.perf_counter()
            variant = str(Path(folder) / "variant.onnx")
            quantize_static(fp32, variant, Reader(images[:CALIBRATION]),
                            quant_format=QuantFormat.QDQ, per_channel=True,
                            nodes_to_exclude=[layer])
            np.mean((outputs(variant, images) - reference) ** 2)
            seconds.append(time.perf_counter() - start)
    print(json.dumps({"seconds": seconds}))


if __name__ == "__main__":
    main()
