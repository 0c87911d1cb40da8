#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Single TensorFlow Lite operators of random shapes and parameters against LiteRT.

    check_tflite_ops.py [--count N] [--seed N] [--only OPERATOR] [--json FILE]

Each case is a model of one operator, run by LiteRT with its reference kernels, its optimised ones
and its default delegate (XNNPACK), and by qscope under the numerics of the same name. Integers must
be equal, floats within 1e-5 of the largest value that goes in or comes out. What LiteRT refuses is no case; what qscope
refuses is counted apart. Every TensorFlow Lite operator that qscope has must be among the cases.
"""

import argparse
import os
import tempfile
import zlib
from collections import Counter
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from common import Tally, ValueTool, qscope_json
from judge import RELATIVE, Difference, Row, largest, save_rows
from tflite_build import Builder
from tflite_cases import CASES

RESOLVERS = {"tflite-ref": OpResolverType.BUILTIN_REF,
             "tflite-builtin": OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
             "tflite-xnnpack": OpResolverType.AUTO}


def run_litert(model, feeds, kind):
    """The outputs, or None where LiteRT has no such kernel."""
    try:
        it = Interpreter(model_content=model, num_threads=1, experimental_op_resolver_type=kind)
        it.allocate_tensors()
        for d, value in zip(it.get_input_details(), feeds):
            it.set_tensor(d["index"], value)
        it.invoke()
    except (RuntimeError, ValueError):
        return None
    return [it.get_tensor(d["index"]) for d in it.get_output_details()]


class Check:
    def __init__(self, args, tmp):
        self.tally, self.tool, self.tmp = Tally(), ValueTool(), Path(tmp)
        self.args, self.rows, self.counts = args, {}, Counter()

    def one(self, name, kind, number):
        make, _ = CASES[name]
        seed = [self.args.seed, zlib.crc32(f"{name} {kind}".encode()), number]
        b = Builder(np.random.default_rng(seed))
        make(b, name, kind)
        shapes = None
        for resolver in (RESOLVERS["tflite-builtin"], RESOLVERS["tflite-ref"]):
            shapes = shapes or run_litert(b.bytes(), b.feeds, resolver)
        if shapes is None:
            self.counts["cases without a kernel in LiteRT"] += 1
            return
        b.settle([v.shape for v in shapes])
        model = b.bytes()
        (self.tmp / "model.tflite").write_bytes(model)
        paths = []
        for i, value in enumerate(b.feeds):
            paths.append(self.tmp / f"x{i}.npy")
            np.save(paths[-1], value)
        outputs = [f"t{t}" for t in b.outputs]
        for numerics, resolver in RESOLVERS.items():
            wanted = run_litert(model, b.feeds, resolver)
            if wanted is None:
                self.counts["runs without a kernel in LiteRT"] += 1
                continue
            found, error = self.tool.run(self.tmp / "model.tflite", paths, True, numerics)
            title = f"{name} {kind} {number} {numerics}"
            top = max(map(largest, b.feeds), default=0.0)
            self.compare(title, (name, kind, numerics), zip(outputs, wanted), top, found, error)

    def compare(self, title, key, wanted, top, found, error):
        row = self.rows.setdefault(key, Row())
        self.counts["runs"] += 1
        if error:
            self.counts["runs that qscope refuses"] += 1
            row.refused += 1
            self.tally.check(error.startswith("E_UNSUPPORTED "), f"{title}: {error}")
            return
        for name, value in wanted:
            got = found.get(name)
            if not self.tally.check(got is not None, f"{title}: '{name}' is missing"):
                continue
            if value.size == got.size == 1:
                value = value.reshape(got.shape)  # XNNPACK drops dimensions of single elements
            d = Difference(got, value, top)
            row.add(d, False)
            good = d.alike and d.worst <= (0 if d.codes else RELATIVE)
            self.tally.check(good, f"{title}: {d.count} of {d.n} differ, by {d.worst:.3g}" if d.alike
                             else f"{title}: {got.dtype}{got.shape}, not {value.dtype}{value.shape}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only")
    parser.add_argument("--json")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as tmp:
        check = Check(args, tmp)
        for name, (_, kinds) in CASES.items():
            for kind in kinds if args.only in (None, name) else ():
                for number in range(args.count):
                    check.one(name, kind, number)
        check.tool.close()
    _, listed = qscope_json("ops")
    for op in listed["ops"]["ops"]:
        if op["domain"] == "tflite":
            check.tally.check(op["name"] in CASES, f"{op['name']} has no case")
    for what, n in sorted(check.counts.items()):
        print(f"{what}: {n}")
    save_rows(args.json, check.rows, counts=check.counts)
    check.tally.close()


if __name__ == "__main__":
    main()
