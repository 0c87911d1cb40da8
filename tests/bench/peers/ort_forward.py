#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Times onnxruntime sessions as forward.c times plans: measures once for every line on standard
input. Nothing but the outputs is visible.

usage: ort_forward.py MODEL MILLISECONDS THREADS [INPUTS.npy]

With several threads both ways to use them are measured, and the faster one is reported: threads
inside the operators of one session, and one session of one thread for each.
"""

import json
import resource
import statistics
import sys
import threading
import time

import numpy as np
import onnxruntime as ort

TYPES = {"tensor(float)": np.float32, "tensor(uint8)": np.uint8, "tensor(int8)": np.int8,
         "tensor(int64)": np.int64, "tensor(int32)": np.int32, "tensor(double)": np.float64,
         "tensor(float16)": np.float16, "tensor(bool)": np.bool_}


def session(path, threads):
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def feeds(one, rows):
    """Inputs for run after run; free dimensions are 1."""
    random, feed = np.random.default_rng(1), {}
    for value in one.get_inputs():
        shape = [d if isinstance(d, int) and d > 0 else 1 for d in value.shape]
        kind = TYPES[value.type]
        feed[value.name] = (random.uniform(-1, 1, shape).astype(kind)
                            if np.issubdtype(kind, np.floating) else
                            random.integers(0, 128, shape).astype(kind)
                            if np.dtype(kind).itemsize == 1 else np.zeros(shape, kind))
    if rows is None:
        return [feed]
    first = one.get_inputs()[0].name
    return [dict(feed, **{first: rows[i:i + 1]}) for i in range(len(rows))]


def cpu():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def work(one, inputs, seconds, offset, step, times):
    start = last = time.perf_counter()
    i = offset
    while len(times) < 3 or last - start < seconds:
        one.run(None, inputs[i % len(inputs)])
        now = time.perf_counter()
        times.append(now - last)
        last, i = now, i + step


def measure(sessions, inputs, seconds):
    times = [[] for _ in sessions]
    start, used = time.perf_counter(), cpu()
    threads = [threading.Thread(target=work, args=(one, inputs, seconds, i, len(sessions), t))
               for i, (one, t) in enumerate(zip(sessions, times))]
    for thread in threads[1:]:
        thread.start()
    threads[0].run()
    for thread in threads[1:]:
        thread.join()
    wall, used = time.perf_counter() - start, cpu() - used
    all_times = [x for t in times for x in t]
    return {"median_ms": 1e3 * statistics.median(all_times) / len(sessions),
            "wall_ms": 1e3 * wall / len(all_times), "cpu_ms": 1e3 * used / len(all_times),
            "images": len(all_times)}


def main():
    path, seconds, threads = sys.argv[1], float(sys.argv[2]) / 1e3, int(sys.argv[3])
    rows = np.load(sys.argv[4]) if len(sys.argv) > 4 else None
    ways = {"inside operators": [session(path, threads)]}
    if threads > 1:
        ways["by images"] = [session(path, 1) for _ in range(threads)]
    inputs = feeds(ways["inside operators"][0], rows)
    for sessions in ways.values():
        for one in sessions:
            one.run(None, inputs[0])
            one.run(None, inputs[0])
    for _ in sys.stdin:
        found = {way: measure(sessions, inputs, seconds) for way, sessions in ways.items()}
        way = min(found, key=lambda w: found[w]["median_ms"])
        print(json.dumps(dict(found[way], way=way)), flush=True)


if __name__ == "__main__":
    main()
