#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""`set numerics onnx` against the reference implementation of ONNX.

    check_reference.py [--json FILE] [MODEL...]

INT8 models whose operators are all of ai.onnx run node by node in onnx.reference, which is
written after the specification, in numpy; it has quantizers since opset 19 only, so that the models
are converted to that for it. Every tensor is compared as check_int8.py compares with
onnxruntime: a code must be equal unless what it is made from differs already, and float sums, made
in another order there, may differ by 1e-5 of the tensor's maximum.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import onnx
from onnx import version_converter
from onnx.reference import ReferenceEvaluator

from check_int8 import Totals, check_image
from common import Tally, ValueTool, input_names, inputs_of, int8_files, metas, need_data
from judge import Source, expose, save_rows

SLOW = {"super_resolution"}  # in numpy; compared when it is named
IMAGES = 2
OPSET, IR = 19, 8


class Literal:
    """A model as onnx.reference computes it, with every tensor; see judge.Reference."""

    def __init__(self, model):
        if model.opset_import[0].version < OPSET:
            model.ir_version = max(model.ir_version, IR)  # initializers that are no inputs
            model = version_converter.convert_version(model, OPSET)
        self.graph = onnx.GraphProto()
        self.graph.CopyFrom(model.graph)
        self.names = [o.name for o in model.graph.output]
        expose(model)
        self.exposed = model
        self.evaluator = ReferenceEvaluator(model)
        self.tensors = self.results = None

    def run(self, feeds):
        values = self.evaluator.run(None, feeds)
        self.tensors = {o.name: np.asarray(v)
                        for o, v in zip(self.exposed.graph.output, values)}
        self.results = {name: self.tensors[name] for name in self.names}
        return self


def check_file(tally, tool, path, meta, totals, tmp):
    title, codes = f"{path.parent.name}/{path.name}", 0
    model = onnx.load(path)
    if any(n.domain not in ("", "ai.onnx") for n in model.graph.node):
        return
    totals.counts["models"] += 1
    source, reference = Source(model.graph.node), Literal(model)
    for i, x in enumerate(inputs_of(meta, IMAGES)):
        np.save(tmp / "x.npy", x)
        found, error = tool.run(path, [tmp / "x.npy"], True, "onnx")
        if not tally.check(error is None, f"{title}: {error}"):
            return
        reference.run({input_names(path)[0]: x})
        seen = check_image(tally, f"{title}, image {i}", reference, found, source, totals)
        codes += seen["codes"]
    tally.check(codes > 0, f"{title}: no integer tensor was compared")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("models", nargs="*")
    args = parser.parse_args()
    need_data()
    tally, tool, totals = Tally(), ValueTool(), Totals()
    with tempfile.TemporaryDirectory() as tmp:
        for folder, meta in metas():
            if folder.name in args.models or not (args.models or folder.name in SLOW):
                for path in int8_files(folder):
                    check_file(tally, tool, path, meta, totals, Path(tmp))
    tool.close()
    counts = dict(totals.counts)
    counts["codes that differ with those made from codes one off"] = counts.pop("differing codes", 0)
    save_rows(args.json, totals.rows, counts=counts)
    tally.close()


if __name__ == "__main__":
    main()
