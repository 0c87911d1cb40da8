#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Random quantized graphs: qscope's integers and results against onnxruntime's, value by value.

judge.py tells what is compared and finds the first tensors that differ though all that they are
made from is equal. Every difference must have one of the causes in CAUSES.

    check_random.py [--count N] [--seed S] [--only I] [--keep DIR] [--json FILE]
"""

import argparse
import re
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
from onnxruntime.capi import onnxruntime_pybind11_state as runtime

from common import Tally, ValueTool
from judge import INHERITED, RELATIVE, Judge, Reference, Source, add_rows, save_rows
from random_steps import build

COUNT = 2000
REFUSALS = (runtime.Fail, runtime.InvalidGraph, runtime.NotImplemented, runtime.RuntimeException)
SHARE = 0.005  # of the codes behind float sums may be one code off
REFUSED = 0.03  # of the graphs, at most

QUANTIZERS = {"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"}
TRANSPOSERS = ("TransposeOptimizer", "TransposeOptimizer_CPUExecutionProvider")

CAUSES = {
    "float sums": "a float operator rounds or sums in another order: its values agree to 1e-5 of "
                  "the tensor's maximum, and codes made from them are at most one apart, in at "
                  "most 0.5 % of the values",
    "no codes": "nothing in the graph is quantized, so that qscope computes it as an FP32 model: "
                "its floats agree to 1e-4 and are not in the table",
    "moved transposes": "onnxruntime moves a Transpose away from between two Q/DQ pairs and then "
                        "joins the two into one of other parameters, or computes what stood "
                        "behind it from a tensor of another type; qscope leaves Transposes where "
                        "they are. Seen by the graph being equal once onnxruntime's "
                        "TransposeOptimizer is switched off",
    "joined biases": "onnxruntime makes a QGemm of a MatMul and an Add of a constant row between DQ "
                     "and Q, and rounds the row to the steps of its 32-bit sums; qscope adds it in "
                     "float. Seen by the graph being equal without onnxruntime's MatMulAddFusion",
    "joined reshapes": "onnxruntime makes one of two Reshapes in a row, which Q is then not moved "
                       "past. Seen by the graph being equal without its ReshapeFusion",
    "layouts": "onnxruntime runs convolutions channels-last; a QLinearAdd with broadcast between "
               "them then exchanges its operands in another case, and float sums change their "
               "order. Seen by the graph being equal at onnxruntime's level EXTENDED, which "
               "differs from the default in layouts alone",
    "rounded outputs": "a float graph output that also feeds a Transpose and Q comes out of "
                       "onnxruntime quantized and dequantized: it puts Q and DQ in front of the "
                       "Transpose and gives DQ the name of the output",
    "refused": "onnxruntime itself refuses the graph (a combination it has no kernel for)",
}


# ---- Runs ---------------------------------------------------------------------------------------

def has_codes(builder):
    return any(n.op_type in QUANTIZERS for n in builder.nodes)


class Totals:
    def __init__(self):
        self.counts, self.styles, self.roots = Counter(), Counter(), Counter()
        self.rows, self.causes, self.refusals = {}, Counter(), Counter()

    def add(self, builder, judge):
        if not has_codes(builder):
            self.causes["no codes"] += 1
            return
        self.causes["float sums"] += bool(judge.float_roots)
        self.counts += judge.compared
        self.counts["graphs"] += 1
        self.counts["graphs whose integers could be seen"] += judge.ref.graph is not None
        self.counts["codes behind floats"] += sum(d.n for d in judge.behind)
        self.counts["codes behind floats, one off"] += sum(d.count for d in judge.behind)
        self.roots += judge.float_roots
        self.styles[f"{builder.style} {np.dtype(builder.codes).name} opset {builder.opset}"] += 1
        if judge.ref.graph is not None:
            add_rows(self.rows, judge.operators)


def judged(path, builder, found, tmp, **options):
    reference = Reference(path, tmp, **options).run(builder.feeds)
    judge = Judge(reference, found, Source(builder.nodes),
                  RELATIVE if has_codes(builder) else INHERITED)
    judge.compare()
    return judge


def rounds_outputs(judge):
    """Graph outputs that onnxruntime returns from a DQ though the model makes them otherwise."""
    graph = judge.ref.graph
    return graph is not None and [
        n.output[0] for n in graph.node if n.op_type == "DequantizeLinear" and
        n.output[0] in judge.ref.results and judge.source.op(n.output[0]) != "DequantizeLinear"]


def find_cause(judge, path, builder, found, tmp):
    """(cause of what is unexplained or None, judge of the comparison without it). Where onnxruntime
    refuses the graph without the step in question nothing can be said."""
    refused = False
    for name, options in (("layouts", {"layouts": False}),
                          ("joined biases", {"without": ["MatMulAddFusion"]}),
                          ("joined reshapes", {"without": ["ReshapeFusion"]}),
                          ("moved transposes", {"without": TRANSPOSERS})):
        try:
            other = judged(path, builder, found, tmp, **options)
        except REFUSALS:  # without that step it trips over types of its own making
            refused = True
            continue
        if not other.unexplained:
            return name, other
    rounded = rounds_outputs(judge)
    if rounded and all(any(f"'{o}'" in text for o in rounded) for text in judge.unexplained):
        judge.unexplained = []
        return "rounded outputs", judge
    if refused:
        judge.unexplained = []
    return "refused" if refused else None, judge


def check_graph(tally, totals, tool, title, builder, tmp):
    path = tmp / "m.onnx"
    onnx.save(builder.model(), path)
    for name, value in builder.feeds.items():
        np.save(tmp / f"{name}.npy", value)
    found, error = tool.run(path, [tmp / f"{n}.npy" for n in builder.feeds], everything=True)
    try:
        judge = judged(path, builder, found, tmp)
    except REFUSALS as e:
        totals.causes["refused"] += 1
        totals.refusals[re.sub(r"\w+_\d+\w*", "*", str(e).splitlines()[0])[-120:]] += 1
        return True
    if not tally.check(error is None, f"{title}: {error}"):
        return False
    if judge.unexplained:
        cause, judge = find_cause(judge, path, builder, found, tmp)
        totals.causes[cause] += bool(cause)
    totals.add(builder, judge)
    return tally.check(not judge.unexplained, f"{title}: {'; '.join(judge.unexplained[:3])}")


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=COUNT)
    parser.add_argument("--seed", default="1")
    parser.add_argument("--only", type=int, help="this graph of the series")
    parser.add_argument("--keep", help="folder for the graphs that fail")
    parser.add_argument("--json", help="file for the figures")
    return parser.parse_args()


def report(totals, path):
    for name, n in sorted(totals.counts.items()):
        print(f"{name}: {n}")
    print("first tensors that differ, by operator: " +
          ", ".join(f"{name} {n}" for name, n in totals.roots.most_common()))
    for text, n in totals.refusals.most_common():
        print(f"    refused {n}: {text}")
    for name, text in CAUSES.items():
        print(f"{totals.causes[name]} graphs: {name}: {text}")
    save_rows(path, totals.rows, counts=totals.counts, styles=totals.styles, causes=totals.causes,
              cause_texts=CAUSES)


def main():
    args, tally, totals, tool = arguments(), Tally(), Totals(), ValueTool()
    with tempfile.TemporaryDirectory() as folder:
        for i in range(args.count) if args.only is None else [args.only]:
            builder = build(f"{args.seed} {i}")
            title = f"graph {i} ({builder.style}, {np.dtype(builder.codes).name}, opset " \
                    f"{builder.opset})"
            if not builder.outputs:
                continue
            if not check_graph(tally, totals, tool, title, builder, Path(folder)) and args.keep:
                onnx.save(builder.model(), Path(args.keep) / f"{i}.onnx")
                np.save(Path(args.keep) / f"{i}.npy", builder.feeds["x"])
    tool.close()
    share = totals.counts["codes behind floats, one off"] / max(
        1, totals.counts["codes behind floats"])
    tally.check(share <= SHARE, f"{100 * share:.3f} % of the codes are off behind floats")
    tally.check(totals.causes["refused"] <= REFUSED * args.count + 5,
                f"onnxruntime refuses {totals.causes['refused']} graphs")
    report(totals, args.json)
    tally.close()


if __name__ == "__main__":
    main()
