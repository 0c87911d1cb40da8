#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Quantized graphs with parts that are missing or of the wrong kind: loaded, run, as a pair too.

Random graphs of random_graphs.py lose inputs, outputs and attributes, or read constants where they
read activations. Whatever becomes of them, qscope ends by itself with a documented exit code and
at most one line about it; in the build with sanitizers nothing is read or written out of place.

    check_bad_graphs.py [--count N] [--seed S] [--only I] [--keep DIR]
"""

import argparse
import random
import shutil
import tempfile
from pathlib import Path

import numpy as np

from common import Tally, last_line, qscope, word
from random_steps import build

COUNT = 250
CODES = range(9)  # of exit


def damage(rng, graph):
    """One edit that the format allows and no operator expects."""
    node = rng.choice(graph.node)
    names = [name for n in graph.node for name in n.input]
    edits = {
        "drop an input": lambda: node.input.pop(rng.randrange(len(node.input))),
        "leave an input out": lambda: node.input.__setitem__(rng.randrange(len(node.input)), ""),
        "drop the outputs": lambda: node.ClearField("output"),
        "leave an output out": lambda: node.output.__setitem__(0, ""),
        "read a constant": lambda: node.input.__setitem__(
            rng.randrange(len(node.input)), rng.choice(graph.initializer).name),
        "read one more": lambda: node.input.append(rng.choice(names)),
        "lose an attribute": lambda: node.attribute.pop(rng.randrange(len(node.attribute))),
    }
    try:
        edits[rng.choice(list(edits))]()
    except (IndexError, ValueError):  # there is none
        pass


def check(tally, title, path, sample):
    single = qscope(f"load int8 {word(path)}", f"dataset add {word(sample)}", "run", "fused",
                    options=["--no-config"])
    pair = qscope(f"load pair {word(path)} {word(path)}", f"dataset add {word(sample)}", "run",
                  "layers", options=["--no-config"])
    good = True
    for how, done in (("alone", single), ("pair", pair)):
        clean = done.returncode in CODES and "runtime error" not in done.stderr \
            and "Sanitizer" not in done.stderr
        good = tally.check(clean, f"{title}, {how}: {last_line(done)}") and good
    return good


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=COUNT)
    parser.add_argument("--seed", default="1")
    parser.add_argument("--only", type=int)
    parser.add_argument("--keep", help="folder for graphs that fail")
    args, tally = parser.parse_args(), Tally()
    with tempfile.TemporaryDirectory() as folder:
        path, sample = Path(folder) / "m.onnx", Path(folder) / "x.npy"
        for i in range(args.count) if args.only is None else [args.only]:
            builder, rng = build(f"bad {args.seed} {i}"), random.Random(f"{args.seed} {i}")
            if not builder.outputs:
                continue
            model = builder.model()
            for _ in range(rng.randint(1, 4)):
                damage(rng, model.graph)
            path.write_bytes(model.SerializeToString())
            np.save(sample, builder.feeds["x"])
            if not check(tally, f"graph {i}", path, sample) and args.keep:
                shutil.copy(path, Path(args.keep) / f"{i}.onnx")
    tally.close()


if __name__ == "__main__":
    main()
