#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""The comparison that comes with onnxruntime, as its documentation uses it: qdq_loss_debug.

usage: ort_debug.py FP32 QDQ INPUTS.npy IMAGES
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
from onnxruntime.quantization import CalibrationDataReader, qdq_loss_debug


class Reader(CalibrationDataReader):
    def __init__(self, images):
        self.images = images
        self.rewind()

    def rewind(self):
        self.next = iter(range(len(self.images)))

    def get_next(self):
        i = next(self.next, None)
        return None if i is None else {"x": self.images[i:i + 1]}


def main():
    images = np.load(sys.argv[3])[:int(sys.argv[4])]
    activations = []
    with tempfile.TemporaryDirectory() as folder:
        for number, path in enumerate(sys.argv[1:3]):
            shown = str(Path(folder) / f"{number}.onnx")
            qdq_loss_debug.modify_model_output_intermediate_tensors(path, shown)
            activations.append(qdq_loss_debug.collect_activations(shown, Reader(images)))
    match = qdq_loss_debug.create_activation_matching(activations[1], activations[0])
    errors = qdq_loss_debug.compute_activation_error(match)
    print(len(errors))


if __name__ == "__main__":
    main()
