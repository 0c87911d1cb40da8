#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""The least that any comparison on onnxruntime needs: creates the two plain sessions and runs
them. Only the outputs are visible.

usage: ort_pair.py FP32 INT8 INPUTS.npy IMAGES THREADS

Prints JSON: seconds behind the imports, and of them those that create sessions and run them.
"""

import json
import sys
import time

import numpy as np
import onnxruntime as ort


def main():
    start = time.perf_counter()
    images = np.load(sys.argv[3], mmap_mode="r")
    count, options = int(sys.argv[4]), ort.SessionOptions()
    options.intra_op_num_threads = int(sys.argv[5])
    seconds = {"create": 0, "run": 0}
    for path in sys.argv[1:3]:
        before = time.perf_counter()
        session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        name = session.get_inputs()[0].name
        created = time.perf_counter()
        for i in range(count):
            session.run(None, {name: np.ascontiguousarray(images[i:i + 1])})
        seconds["create"] += created - before
        seconds["run"] += time.perf_counter() - created
    print(json.dumps(dict(seconds, all=time.perf_counter() - start)))


if __name__ == "__main__":
    main()
