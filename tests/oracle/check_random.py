#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Random quantized graphs: qscope's integers and results against onnxruntime's, value by value.

onnxruntime runs each graph as it ships: one thread, default optimization. The integers inside are
those of its own optimized graph with every tensor exposed and optimization off, which counts only
when that leaves the results unchanged. Every difference must have one of the causes in CAUSES;
for each, the script finds the first tensors that differ though all that they are made from is equal.

    check_random.py [--count N] [--seed S] [--only I] [--keep DIR] [--json FILE]
"""

import argparse
import json
import re
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as runtime

from common import Tally, ValueTool, session
from random_steps import build

COUNT = 400
REFUSALS = (runtime.Fail, runtime.InvalidGraph, runtime.NotImplemented, runtime.RuntimeException)
RELATIVE = 1e-5  # of a float tensor's maximum
SHARE = 0.005    # of the codes behind float sums may be one code off
REFUSED = 0.03   # of the graphs, at most

CAUSES = {
    "float sums": "a float operator rounds or sums in another order: its values agree to 1e-5 of "
                  "the tensor's maximum, and codes made from them are at most one apart, in at "
                  "most 0.5 % of the values",
    "moved transposes": "onnxruntime moves a Transpose away from between two Q/DQ pairs and then "
                        "joins the two into one of other parameters; qscope leaves Transposes "
                        "where they are. Seen by the graph being equal once onnxruntime's "
                        "TransposeOptimizer is switched off",
    "layouts": "onnxruntime runs convolutions channels-last; a QLinearAdd with broadcast between "
               "them then exchanges its operands in another case, and float sums change their "
               "order. Seen by the graph being equal at onnxruntime's level EXTENDED, which "
               "differs from the default in layouts alone",
    "rounded outputs": "a float graph output that also feeds a Transpose and Q comes out of "
                       "onnxruntime quantized and dequantized: it puts Q and DQ in front of the "
                       "Transpose and gives DQ the name of the output",
    "refused": "onnxruntime itself refuses the graph (a combination it has no kernel for)",
}


# ---- onnxruntime --------------------------------------------------------------------------------

class Reference:
    """What onnxruntime makes of a model: results, and where possible every tensor."""

    def __init__(self, path, feeds, tmp, without=(), layouts=True):
        self.results = run_all(start(path, without, layouts), feeds)
        self.graph, self.tensors = None, {}
        start(path, without, False, tmp / "optimized.onnx")
        model = onnx.load(tmp / "optimized.onnx")
        expose(model)
        tensors = run_all(session(model, optimize=False), feeds)
        if all(same(tensors[name], value) for name, value in self.results.items()):
            self.graph, self.tensors = model.graph, tensors


def start(path, without, layouts, saved=None):
    """A session without the optimizers named, and with its own layouts if so wanted; saved: where
    its optimized graph goes."""
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    if not layouts:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    if saved:
        options.optimized_model_filepath = str(saved)
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"],
                                disabled_optimizers=list(without))


def run_all(run, feeds):
    return dict(zip([o.name for o in run.get_outputs()], run.run(None, feeds)))


def expose(model):
    have = {o.name for o in model.graph.output}
    for node in model.graph.node:
        for name in node.output:
            if name and name not in have:
                have.add(name)
                model.graph.output.append(onnx.ValueInfoProto(name=name))


def same(a, b):
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


# ---- Comparing ----------------------------------------------------------------------------------

def as_stored(found, want):
    """onnxruntime keeps some int8 tensors as uint8, 128 higher; they are the same numbers."""
    if found.dtype == np.int8 and want.dtype == np.uint8:
        return (found.view(np.uint8) ^ 0x80)
    return found


def largest(t):
    return float(np.abs(t[np.isfinite(t)]).max(initial=0)) if t.dtype.kind == "f" else 0.0


class Difference:
    """One tensor against onnxruntime's."""

    def __init__(self, found, want, top=0.0):
        """top: what floats are relative to, if that is more than their own maximum."""
        found = as_stored(found, want)
        self.alike = found.dtype == want.dtype and found.shape == want.shape
        self.codes = want.dtype.kind in "iub"
        self.n, self.count, self.worst = want.size, want.size, np.inf
        if not self.alike:
            return
        self.count = 0 if same(found, want) else int((found != want).sum() - (
            np.isnan(found) & np.isnan(want)).sum() if found.dtype.kind == "f"
            else (found != want).sum())
        if self.count:
            with np.errstate(all="ignore"):
                off = np.abs(found.astype(np.float64) - want.astype(np.float64))
                top = 1.0 if self.codes else max(top, largest(want))
            self.worst = float(np.nan_to_num(off, nan=np.inf).max() / (top or 1e-30))
        else:
            self.worst = 0.0


class Source:
    """What the model as it was written tells about names."""

    def __init__(self, nodes):
        self.makers = {o: n for n in nodes for o in n.output}
        self.codes = {}  # of a layer, by the name of the node that computes it
        for n in nodes:
            if n.op_type == "QuantizeLinear":
                maker = self.makers.get(n.input[0])
                while maker and maker.op_type in ("Relu", "Clip"):
                    self.codes.setdefault(maker.name, n.output[0])
                    maker = self.makers.get(maker.input[0])
                if maker:
                    self.codes.setdefault(maker.name, n.output[0])

    def op(self, name):
        return self.makers[name].op_type if name in self.makers else None

    def names(self, graph):
        """Names that tensors of the optimized graph had before onnxruntime gave them others."""
        found = {}
        for n in graph.node:
            if n.op_type == "DequantizeLinear" and self.op(n.output[0]) == "DequantizeLinear":
                found[n.input[0]] = self.makers[n.output[0]].input[0]
            elif n.op_type.startswith("QLinear") and n.name in self.codes:
                found[n.output[0]] = self.codes[n.name]
            elif n.name in self.makers and self.op(n.name) == n.op_type:
                found[n.output[0]] = n.name  # nodes are named after their first output
        return {new: old for new, old in found.items() if new not in self.makers}


class Judge:
    """Finds the roots of differences in one graph."""

    def __init__(self, reference, found, source):
        self.ref, self.found, self.source = reference, found, source
        self.origin = {}  # tensor -> what differs on the way to it: "float", "code"
        self.unexplained, self.behind = [], []  # texts; Differences of codes behind floats
        self.float_roots, self.compared = Counter(), Counter()

    def compare(self):
        if self.ref.graph is None:
            for name, want in self.ref.results.items():
                self.judge(name, name, want, self.source.op(name), {"layout"}, 0.0)
            return
        old = self.source.names(self.ref.graph)
        for node in self.ref.graph.node:
            before = set().union(*(self.origin.get(i, set()) for i in node.input))
            top = max([largest(self.ref.tensors[i]) for i in node.input if i in self.ref.tensors],
                      default=0.0) if before else 0.0
            for name in node.output:
                if name in self.ref.tensors:
                    self.judge(name, old.get(name, name), self.ref.tensors[name], node.op_type,
                               before, top)

    def is_other(self, name, op, want):
        """Whether a float tensor of that name is another than in the model: a Transpose or a Q/DQ
        pair was moved past it. Bodies of functions and fused operators have other makers, too."""
        if want.dtype.kind != "f" or name in self.ref.results:
            return False
        return op == "Transpose" or (op in ("DequantizeLinear", "QuantizeLinear") and
                                     op != self.source.op(name))

    def judge(self, name, known_as, want, op, before, top):
        """before: what differs on the way to this tensor; top: the largest value it is made from,
        to which an error that comes in is relative."""
        self.origin[name] = set(before)
        if known_as not in self.found or self.is_other(name, op, want):
            if known_as not in self.found and name in self.ref.results:
                self.unexplained.append(f"'{name}' ({op}) is missing")
            return
        found = self.found[known_as]
        if known_as != name and (found.shape, found.dtype.kind == "f") != (
                want.shape, want.dtype.kind == "f"):
            return  # only named alike: a Transpose was moved, or the node works on codes now
        d = Difference(found, want, top)
        self.compared["codes" if d.codes else "floats"] += d.n
        if d.count == 0:
            self.origin[name] = set()  # whatever differed was rounded away
            return
        self.compared["differing codes" if d.codes else "differing floats"] += d.count
        if not d.alike:
            self.unexplained.append(f"'{name}' ({op}) is {found.dtype}{found.shape}, not "
                                    f"{want.dtype}{want.shape}")
        elif "code" in before:
            pass  # made from a code that is off already, and was judged there
        elif d.codes:
            self.origin[name].add("code")
            if before and d.worst <= 1:
                self.behind.append(d)
            else:
                self.unexplained.append(f"'{name}' ({op}): {d.count} of {d.n} codes differ, by up "
                                        f"to {d.worst:g}")
        else:
            self.origin[name].add("float")
            if not before:
                self.float_roots[op] += 1
            if d.worst > RELATIVE:
                self.unexplained.append(f"'{name}' ({op}): {d.count} of {d.n} floats differ, by up "
                                        f"to {d.worst:.2g} of the maximum")


# ---- Runs ---------------------------------------------------------------------------------------

class Totals:
    def __init__(self):
        self.counts, self.styles, self.roots = Counter(), Counter(), Counter()
        self.operators, self.causes, self.refusals = Counter(), Counter(), Counter()

    def add(self, builder, judge):
        self.counts += judge.compared
        self.counts["graphs"] += 1
        self.counts["graphs whose integers could be seen"] += judge.ref.graph is not None
        self.counts["codes behind floats"] += sum(d.n for d in judge.behind)
        self.counts["codes behind floats, one off"] += sum(d.count for d in judge.behind)
        self.roots += judge.float_roots
        self.styles[f"{builder.style} {np.dtype(builder.codes).name} opset {builder.opset}"] += 1
        if judge.ref.graph is not None:
            self.operators += Counter(n.op_type for n in judge.ref.graph.node)


def judged(path, builder, found, tmp, **options):
    judge = Judge(Reference(path, builder.feeds, tmp, **options), found, Source(builder.nodes))
    judge.compare()
    return judge


def rounds_outputs(judge):
    """Graph outputs that onnxruntime returns from a DQ though the model makes them otherwise."""
    graph = judge.ref.graph
    return graph is not None and [
        n.output[0] for n in graph.node if n.op_type == "DequantizeLinear" and
        n.output[0] in judge.ref.results and judge.source.op(n.output[0]) != "DequantizeLinear"]


def find_cause(judge, path, builder, found, tmp):
    """(cause of what is unexplained or None, judge of the comparison without it)."""
    for name, options in (("layouts", {"layouts": False}),
                          ("moved transposes", {"without": ["TransposeOptimizer"]})):
        other = judged(path, builder, found, tmp, **options)
        if not other.unexplained:
            return name, other
    rounded = rounds_outputs(judge)
    if rounded and all(any(f"'{o}'" in text for o in rounded) for text in judge.unexplained):
        judge.unexplained = []
        return "rounded outputs", judge
    return None, judge


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
    totals.add(builder, judge)
    if judge.unexplained:
        cause, judge = find_cause(judge, path, builder, found, tmp)
        totals.causes[cause] += bool(cause)
    totals.causes["float sums"] += bool(judge.float_roots or judge.behind)
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
    if path:
        with open(path, "w") as f:
            json.dump({"counts": totals.counts, "styles": totals.styles, "roots": totals.roots,
                       "operators": totals.operators, "causes": totals.causes}, f, indent=1)


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
    share = totals.counts["codes behind floats, one off"] / max(1, totals.counts["codes"])
    tally.check(share <= SHARE, f"{100 * share:.3f} % of the codes are off behind floats")
    tally.check(totals.causes["refused"] <= REFUSED * args.count,
                f"onnxruntime refuses {totals.causes['refused']} graphs")
    report(totals, args.json)
    tally.close()


if __name__ == "__main__":
    main()
