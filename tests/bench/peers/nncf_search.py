#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""NNCF's accuracy control: quantizes, ranks the layers, and reverts them to float until the
outputs are good enough. The metric is the cosine of the outputs to those of the FP32 model, mean
over the images.

usage: nncf_search.py FP32 INPUTS.npy IMAGES [MAX_DROP]

Prints JSON: the drop after plain quantization, and with MAX_DROP also seconds of the search, from
quantization to the last run, runs of the model, and layers reverted.
"""

import json
import logging
import re
import sys
import time

import nncf
import numpy as np
import openvino as ov


def cosine(x, y):
    return float((x * y).sum() / np.sqrt((x * x).sum() * (y * y).sum()))


class Reverted(logging.Handler):
    """Reads from NNCF's own messages how many operations went back to float."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def emit(self, record):
        if found := re.search(r"(\d+) out of \d+ were reverted", record.getMessage()):
            self.count = int(found[1])


def main():
    images = np.load(sys.argv[2])[:int(sys.argv[3])]
    core, count, runs = ov.Core(), len(images), 0
    model = core.read_model(sys.argv[1])
    model.reshape([1, *images.shape[1:]])
    compiled = core.compile_model(model, "CPU")
    reference = [compiled(image[None])[0] for image in images]

    def validate(candidate, indices):
        nonlocal runs
        values = []
        for i in indices:
            values.append(cosine(candidate(images[i][None])[0], reference[i]))
            runs += 1
        return float(np.mean(values)), values

    calibration = nncf.Dataset(list(range(count)), lambda i: images[i][None])
    quantized = core.compile_model(nncf.quantize(model, calibration, subset_size=count), "CPU")
    found = {"start": 1 - validate(quantized, range(count))[0]}
    if len(sys.argv) > 4:
        reverted = Reverted()
        logging.getLogger("nncf").addHandler(reverted)
        start, runs = time.perf_counter(), 0
        nncf.quantize_with_accuracy_control(
            model, calibration, nncf.Dataset(list(range(count))), validate,
            max_drop=float(sys.argv[4]), drop_type=nncf.DropType.ABSOLUTE, subset_size=count,
            advanced_accuracy_restorer_parameters=nncf.AdvancedAccuracyRestorerParameters(
                ranking_subset_size=count))
        found.update(seconds=time.perf_counter() - start, runs=runs, reverted=reverted.count)
    print("\n" + json.dumps(found))


if __name__ == "__main__":
    main()
