#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""qscope's fused graph against onnxruntime's, node by node.

    check_fuse.py [MODEL...]

For every static INT8 model: onnxruntime saves the graph that it executes at its extended level;
`fused --json` lists qscope's. Compared are the number of nodes of each operator, and per node the
names of the tensors it makes, as far as both kept the model's names. onnxruntime's saved model
must also run in qscope and give the outputs of the model it was made from, at the extended and at
the full level. Last, what `observer` says of one exposed tensor per model, and of all layers exposed
at once as debuggers do, is compared with onnxruntime sessions of both models.
"""

import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort

import common
import judge

LEVELS = {"extended": ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
          "all": ort.GraphOptimizationLevel.ORT_ENABLE_ALL}
# onnxruntime joins reshapes that follow one another; qscope, which shows them all, does not.
UNCOUNTED = {"Reshape"}
MOVED = 0.005  # share of the codes behind float sums that may be one off


def save_optimized(path, level, to):
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = LEVELS[level]
    options.optimized_model_filepath = str(to)
    ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def ort_nodes(path):
    """[(operator, [outputs])] of a saved model. onnxruntime has one DequantizeLinear for each
    consumer, qscope one for all, and none for weights, which it converts when planning: here,
    too, those of one tensor count once and those of constants not at all."""
    graph = onnx.load(path).graph
    nodes, seen = [], {i.name for i in graph.initializer}
    for n in graph.node:
        if n.op_type != "DequantizeLinear" or n.input[0] not in seen:
            nodes.append((n.op_type, [o for o in n.output if o]))
        if n.op_type == "DequantizeLinear":
            seen.add(n.input[0])
    return nodes


def qscope_nodes(path):
    done, found = common.qscope_json(f"load int8 {common.word(path)}", "fused")
    if done.returncode or "fused" not in found:
        return None, common.last_line(done)
    # onnxruntime computes shapes when it loads the model.
    shapes, nodes = set(), []
    for n in found["fused"]["nodes"]:
        if n["op"] == "Shape" or (n["inputs"] and shapes.issuperset(n["inputs"])):
            shapes.update(n["outputs"])
        else:
            nodes.append((n["op"], n["outputs"]))
    return nodes, None


def compare_graphs(tally, title, path, saved):
    ours, problem = qscope_nodes(path)
    if not tally.check(ours is not None, f"{title}: {problem}"):
        return
    theirs = ort_nodes(saved)
    a, b = (Counter(op for op, _ in nodes if op not in UNCOUNTED) for nodes in (ours, theirs))
    for op in sorted(a.keys() | b.keys()):
        tally.check(a[op] == b[op], f"{title}: {a[op]} {op} nodes, onnxruntime has {b[op]}")
    made = {name: op for op, names in ours for name in names}
    both = wrong = 0
    for op, names in theirs:
        for name in names:
            if name in made:
                both += 1
                wrong += made[name] != op
    tally.check(wrong == 0 and both > 0, f"{title}: {wrong} of {both} tensors of equal name are "
                "made by another operator")


def run_ours(path, x, folder):
    """The outputs of a model in qscope, by name, or what went wrong."""
    np.save(folder / "x.npy", x)
    out = folder / "dump"
    done = common.qscope(f"load int8 {common.word(path)}",
                         f"dataset add {common.word(folder / 'x.npy')}",
                         f"dump '*' --out {common.word(out)}")
    if done.returncode:
        return None, common.last_line(done)
    return {e["tensor"]: common.load_dumped(out, e) for e in common.entries_of(out)}, None


def compare_outputs(tally, title, path, saved, x):
    session = common.session(path)
    want = session.run(None, {session.get_inputs()[0].name: x})
    with tempfile.TemporaryDirectory() as folder:
        got, problem = run_ours(saved, x, Path(folder))
    if not tally.check(got is not None, f"{title}: {problem}"):
        return
    for node, value in zip(session.get_outputs(), want):
        mine = got.get(node.name)
        tally.check(mine is not None and np.array_equal(mine, value),
                    f"{title}: output '{node.name}' differs from the model's")


def first_split(model):
    """A tensor of codes with one consumer, whose exposure keeps it from becoming uint8."""
    graph = model.graph
    uses = Counter(i for n in graph.node for i in n.input)
    codes = [n.output[0] for n in graph.node if n.op_type == "QuantizeLinear"]
    codes = [name for name in codes if uses[name] == 1]
    return codes[len(codes) // 2] if codes else None


def compare_observer(tally, title, path, x):
    """Deployed and exposed outputs in onnxruntime, and what qscope says they differ by."""
    model = onnx.load(path)
    tensor = first_split(model)
    if tensor is None:
        return
    feeds = {common.input_names(path)[0]: x}
    deployed = common.session(path).run(None, feeds)
    model.graph.output.append(onnx.ValueInfoProto(name=tensor))
    exposed = common.session(model).run(None, feeds)[:len(deployed)]
    want = [int(np.sum(a != b)) for a, b in zip(deployed, exposed)]
    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder) / "x.npy", x)
        _, found = common.qscope_json(f"load int8 {common.word(path)}",
                                      f"dataset add {common.word(Path(folder) / 'x.npy')}",
                                      f"observer {common.word(tensor)}")
    said = found.get("observer")
    if not tally.check(said is not None, f"{title}: observer of '{tensor}' failed"):
        return
    got = [o["differing"] for o in said["outputs"]]
    # Float islands may differ in their last bits, so that counts of floats need not be equal.
    tally.check([bool(g) for g in got] == [bool(w) for w in want],
                f"{title}: '{tensor}' exposed changes {want} output values, observer says {got}")


def compare_all_exposed(tally, title, path, x):
    """All layers exposed at once: per layer, how many codes onnxruntime then shows otherwise than the
    deployed session has them (judge.py tells how those are known), and what observer says."""
    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder) / "x.npy", x)
        _, found = common.qscope_json(f"load int8 {common.word(path)}",
                                      f"dataset add {common.word(Path(folder) / 'x.npy')}",
                                      "observer")
        reference = judge.Reference(path, Path(folder))
        reference.run({common.input_names(path)[0]: x})
    said = {row["tensor"]: row for row in found.get("observer", {}).get("observed", [])}
    if not tally.check(said, f"{title}: observer failed") or reference.graph is None:
        return 0
    model = onnx.load(path)
    names = judge.Source(model.graph.node).names(reference.graph)
    deployed = {names.get(name, name): value for name, value in reference.tensors.items()}
    have = {o.name for o in model.graph.output}
    model.graph.output.extend(onnx.ValueInfoProto(name=n) for n in said if n not in have)
    exposed = judge.run_all(common.session(model), {common.input_names(path)[0]: x})
    seen = 0
    for name, row in said.items():
        a, b = deployed.get(name), exposed[name]
        if a is None or a.dtype.kind not in "iu" or a.shape != b.shape or row["values"] is None:
            continue
        want = int((judge.as_stored(b, a) != a).sum())
        seen += want
        # Codes behind floats of another summation order may be one apart.
        tally.check(abs(row["differing"] - want) <= MOVED * b.size,
                    f"{title}: exposing everything changes {want} of {b.size} codes of '{name}', "
                    f"observer says {row['differing']}")
    return seen


def check_model(tally, folder, meta, path):
    title = f"{folder.name}/{path.stem}"
    x = common.inputs_of(meta, 1)[0]
    with tempfile.TemporaryDirectory() as work:
        for level in LEVELS:
            saved = Path(work) / f"{level}.onnx"
            save_optimized(path, level, saved)
            if level == "extended":
                compare_graphs(tally, title, path, saved)
            compare_outputs(tally, f"{title} saved at level {level}", path, saved, x)
    if "qdq" in path.stem:
        compare_observer(tally, title, path, x)
        return compare_all_exposed(tally, title, path, x)
    return 0


def main():
    common.need_data()
    tally, seen = common.Tally(), 0
    for folder, meta in common.metas():
        if len(sys.argv) > 1 and folder.name not in sys.argv[1:]:
            continue
        for path in common.int8_files(folder):
            seen += check_model(tally, folder, meta, path)
    tally.check(seen or sys.argv[1:], "exposing tensors changed nothing in any model")
    tally.close()


if __name__ == "__main__":
    main()
