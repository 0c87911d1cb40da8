#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whole transformers against onnxruntime, every tensor to the last bit.

A transformer carries each last bit from quantizer to quantizer, and adds to it: one operator that
sums in another order costs all agreement after a few blocks. transformers.py makes the networks.

    check_transformers.py [--json FILE]
"""

import argparse
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import onnx

from check_int8 import EXACT
from common import Tally, ValueTool
from judge import Judge, Reference, Source, add_rows, save_rows
from transformers import WAYS, quantized, text, vision

NETS = [("text", text, 13), ("text", text, 17), ("vision", vision, 13), ("vision", vision, 18)]


def check_example(tally, tool, title, path, reference, source, feed, totals, rows):
    files = []
    for name, value in feed.items():
        files.append(path.parent / f"{name}.npy")
        np.save(files[-1], value)
    found, error = tool.run(path, files, everything=True)
    if not tally.check(error is None, f"{title}: {error}"):
        return
    reference.run(feed)
    judge = Judge(reference, found, source)
    judge.compare()
    tally.check(reference.graph is not None, f"{title}: the tensors cannot be seen")
    tally.check(judge.compared["codes"] > 0, f"{title}: no integer tensor was compared")
    bad = [f"{op} {kind}: {row.differing} of {row.values}"
           for (op, kind), row in judge.operators.items() if row.differing]
    tally.check(not EXACT or not (judge.unexplained or bad),
                f"{title}: {'; '.join(judge.unexplained[:2] + bad)}")
    totals += judge.compared
    add_rows(rows, judge.operators)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--json", help="file for the figures")
    args = parser.parse_args()
    tally, tool, totals, rows = Tally(), ValueTool(), Counter(), {}
    for kind, make, opset in NETS:
        for way in WAYS:
            model, feeds = make(opset, seed=opset)
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "int8.onnx"
                model = quantized(model, feeds, way)
                onnx.save(model, path)
                reference = Reference(path, Path(folder))
                for i, feed in enumerate(feeds):
                    check_example(tally, tool, f"{kind}, opset {opset}, {way}, {i}", path,
                                  reference, Source(model.graph.node), feed, totals, rows)
            totals["models"] += 1
    tool.close()
    for name, n in sorted(totals.items()):
        print(f"{name}: {n}")
    save_rows(args.json, rows, counts=totals)
    tally.close()


if __name__ == "__main__":
    main()
