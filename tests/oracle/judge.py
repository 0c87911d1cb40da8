# SPDX-License-Identifier: GPL-3.0-or-later
"""Every tensor of a quantized graph against onnxruntime's, and where differences begin.

onnxruntime runs a graph as it ships: one thread, default optimization. The tensors inside are those
of its own optimized graph with all of them exposed and optimization off, which counts only when
that leaves the results unchanged.
"""

import json
from collections import Counter

import numpy as np
import onnx
import onnxruntime as ort

from common import session

RELATIVE = 1e-5  # of a float tensor's maximum
INHERITED = 1e-4  # of the same, when what it is made from differs already


REGROUPS = ("QDQSelectorActionTransformer",)  # would join operators that it has left apart before


# ---- onnxruntime --------------------------------------------------------------------------------

class Reference:
    """What onnxruntime makes of a model: results, and where possible every tensor."""

    def __init__(self, path, tmp, without=(), layouts=True):
        self.deployed = start(path, without, layouts)
        start(path, without, False, tmp / "optimized.onnx")
        model = onnx.load(tmp / "optimized.onnx")
        self.optimized = model.graph
        expose(model)
        self.exposed = session(model, optimize=False)
        self.blocked = start(model.SerializeToString(), REGROUPS, True) if layouts else None
        self.graph = self.tensors = self.results = None

    def is_as_deployed(self, tensors):
        return all(same(tensors[name], value) for name, value in self.results.items())

    def run(self, feeds):
        """graph stays None when exposing the tensors changes the results."""
        self.graph, self.tensors = None, {}
        self.results = run_all(self.deployed, feeds)
        tensors = run_all(self.exposed, feeds)
        if self.is_as_deployed(tensors):
            self.graph, self.tensors = self.optimized, tensors
            self.take_blocked(feeds)
        return self

    def take_blocked(self, feeds):
        """Tensors as the runtime's own layouts make them, where those leave the results alone, too:
        convolutions and pools of floats add in another order there."""
        tensors = run_all(self.blocked, feeds) if self.blocked else {}
        if tensors and self.is_as_deployed(tensors):
            self.tensors = tensors


class Unfused(Reference):
    """The same without any optimization, where tensors can simply be exposed."""

    def __init__(self, path):
        model = onnx.load(path)
        self.optimized, self.deployed = model.graph, session(path, optimize=False)
        expose(model)
        self.exposed, self.blocked = session(model, optimize=False), None
        self.graph = self.tensors = self.results = None


def start(path, without, layouts, saved=None):
    """A session without the optimizers named, and with its own layouts if so wanted; path: of the
    model, or its bytes; saved: where its optimized graph goes."""
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    if not layouts:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    if saved:
        options.optimized_model_filepath = str(saved)
    return ort.InferenceSession(path if isinstance(path, bytes) else str(path), options,
                                providers=["CPUExecutionProvider"],
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
        scales = Counter(n.input[1] for n in nodes if n.op_type == "QuantizeLinear")
        self.scales = {}  # the same by the name of their scale
        for n in nodes:
            if n.op_type == "QuantizeLinear":
                if scales[n.input[1]] == 1:
                    self.scales[n.input[1]] = n.output[0]
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
            elif n.op_type.startswith("QLinear") and n.name and n.name in self.codes:
                found[n.output[0]] = self.codes[n.name]
            elif n.op_type in ("QLinearConv", "QLinearMatMul") and n.input[6] in self.scales:
                found[n.output[0]] = self.scales[n.input[6]]
            elif n.name in self.makers and self.op(n.name) == n.op_type:
                found[n.output[0]] = n.name  # nodes are named after their first output
        made = {o for n in graph.node for o in n.output}  # what has its name still is itself
        return {new: old for new, old in found.items()
                if new not in self.makers and old not in made}


class Row:
    """What was seen of one operator: results, values; of results made from equal inputs, those that
    differ and by how much (codes, or share of the maximum); results that qscope refuses to make."""

    def __init__(self, tensors=0, values=0, differing=0, worst=0.0, refused=0):
        self.tensors, self.values, self.differing, self.worst = tensors, values, differing, worst
        self.refused = refused

    def add(self, d, inherited):
        self.tensors += 1
        self.values += d.n
        if d.count and not inherited:
            self.differing += d.count
            self.worst = max(self.worst, d.worst)

    def __iadd__(self, other):
        self.tensors += other.tensors
        self.values += other.values
        self.differing += other.differing
        self.worst = max(self.worst, other.worst)
        self.refused += other.refused
        return self


def add_rows(to, rows):
    for key, row in rows.items():
        to.setdefault(key, Row()).__iadd__(row)


def save_rows(path, rows, **more):
    """Figures for make_numerics.py."""
    if path:
        with open(path, "w") as f:
            json.dump({"rows": [[*key, row.__dict__] for key, row in sorted(rows.items())], **more},
                      f, indent=1)


class Judge:
    """Finds the roots of differences in one graph."""

    def __init__(self, reference, found, source, relative=RELATIVE):
        """relative: what floats made from equal ones may be off."""
        self.ref, self.found, self.source, self.relative = reference, found, source, relative
        self.origin = {}  # tensor -> what differs on the way to it: "float", "code"
        self.unexplained, self.behind = [], []  # texts; Differences of codes behind floats
        self.float_roots, self.compared = Counter(), Counter()
        self.operators = {}  # (operator, codes or floats) -> Row

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
        if known_as not in self.found:
            if name in self.ref.results:
                self.unexplained.append(f"'{name}' ({op}) is missing")
            return
        found = self.found[known_as]
        if self.is_other(name, op, want):
            if found.shape == want.shape and found.dtype == want.dtype and not same(found, want):
                self.origin[name].add("float")
            return
        if known_as != name and (found.shape, found.dtype.kind == "f") != (
                want.shape, want.dtype.kind == "f"):
            # Only named alike: a Transpose was moved, or the node works on codes now.
            if found.dtype == want.dtype == np.float32 and found.size == want.size and not same(
                    np.sort(found.ravel()), np.sort(want.ravel())):
                self.origin[name].add("float")
            return
        d = Difference(found, want, top)
        if known_as != name and d.count and same(np.sort(as_stored(found, want).ravel()),
                                                 np.sort(want.ravel())):
            return  # the same but for the order: a Transpose was moved past it
        kind = "codes" if d.codes else "floats"
        self.compared[kind] += d.n
        self.operators.setdefault((op, kind), Row()).add(d, bool(before))
        if d.codes and before and d.alike and "code" not in before and d.worst <= 1:
            self.behind.append(d)
        if d.count == 0:
            self.origin[name] = set()  # whatever differed was rounded away
            return
        self.compared["differing " + kind] += d.count
        if not d.alike:
            self.unexplained.append(f"'{name}' ({op}) is {found.dtype}{found.shape}, not "
                                    f"{want.dtype}{want.shape}")
        elif "code" in before:
            pass  # made from a code that is off already, and was judged there
        elif d.codes:
            self.origin[name].add("code")
            if not before or d.worst > 1:
                self.unexplained.append(f"'{name}' ({op}): {d.count} of {d.n} codes differ, by up "
                                        f"to {d.worst:g}")
        else:
            self.origin[name].add("float")
            if not before:
                self.float_roots[op] += 1
            if d.worst > (INHERITED if before else self.relative):
                self.unexplained.append(f"'{name}' ({op}): {d.count} of {d.n} floats differ, by up "
                                        f"to {d.worst:.2g} of the maximum")
