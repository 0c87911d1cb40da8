#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Exported mixed models, in both forms: valid, what was measured, and float where pinned.

For every static INT8 file several sets of layers are pinned. The exported file must pass the ONNX
checker; onnxruntime's outputs on it must equal the ones that qscope dumped within one code; every
pinned layer must be in effect by qscope's word and by the file itself (a float node with the FP32
model's weights, no quantizer between adjacent pinned layers); everything else must be as it was.
"""

import random
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from common import (DATA, SAMPLES, Tally, entries_of, image_files, input_names, inputs_of,
                    int8_files, last_line, load_dumped, metas, preprocess, qscope_json, session,
                    word)

IMAGES = 1
QUANTIZERS = {"QuantizeLinear", "DequantizeLinear"}
WEIGHTED = {"Conv", "Gemm", "MatMul", "ConvTranspose"}
SAMPLE_INPUT = dict(width=32, height=32, channels=3, mean=127.5, std=127.5, layout="NCHW")


class Graph:
    """A model with the look-ups that the checks need."""

    def __init__(self, path):
        self.model = onnx.load(path)
        self.graph = self.model.graph
        self.maker = {o: n for n in self.graph.node for o in n.output}
        self.constant = {i.name: i for i in self.graph.initializer}
        for n in self.graph.node:
            if n.op_type == "Constant" and n.attribute and n.attribute[0].name == "value":
                self.constant[n.output[0]] = n.attribute[0].t

    def weights(self, node):
        """The constant second input of a node that has weights, or None."""
        if node.op_type in WEIGHTED and len(node.input) > 1 and node.input[1] in self.constant:
            return numpy_helper.to_array(self.constant[node.input[1]])
        return None


# ---- Which layers, and what they are made of ----------------------------------------------------

def members(fp32, layers, layer):
    """FP32 nodes behind a layer, back to the tensors of other layers; and the layers it reads."""
    ends = {e["fp32_tensor"]: e["name"] for e in layers}
    pending, nodes, reads = [layer["fp32_tensor"]], [], []
    while pending:
        node = fp32.maker.get(pending.pop())
        if node is None or node in nodes:
            continue
        nodes.append(node)
        for name in node.input:
            if name in ends and name != layer["fp32_tensor"]:
                reads.append(ends[name])
            else:
                pending.append(name)
    return nodes, reads


def adjacent(fp32, layers, ranked):
    """The worst layer that reads another one directly, both with weights of their own."""
    def weighted(entry):
        return any(fp32.weights(n) is not None for n in members(fp32, layers, entry)[0])

    by_name = {e["name"]: e for e in layers}
    for entry in ranked:
        if weighted(entry):
            for other in members(fp32, layers, entry)[1]:
                if weighted(by_name[other]):
                    return [other, entry["name"]]
    return []


def pin_sets(fp32, layers, ranked, seed):
    names = list(dict.fromkeys(e["name"] for e in ranked))
    rng = random.Random(seed)
    sets = {"worst": names[:1], "worst 3": names[:3], "adjacent": adjacent(fp32, layers, ranked),
            "random half": rng.sample(names, len(names) // 2), "all": names}
    return {k: v for k, v in sets.items() if v}


# ---- What is asked of an exported file ------------------------------------------------------------

def float_twin(mixed, weights, op):
    """The node of the mixed model that computes with these float weights, or None."""
    for node in mixed.graph.node:
        if node.op_type == op:
            found = mixed.weights(node)
            if found is not None and found.dtype == weights.dtype and \
                    found.shape == weights.shape and np.array_equal(found, weights):
                return node
    return None


def reaches(mixed, node, goal):
    """Whether node's data comes from goal with no quantizer between them."""
    pending, seen = list(node.input), set()
    while pending:
        name = pending.pop()
        maker = mixed.maker.get(name)
        if maker is None or name in seen or maker.op_type in QUANTIZERS:
            continue
        if maker is goal:
            return True
        seen.add(name)
        pending += maker.input
    return False


def check_float(tally, title, fp32, mixed, layers, pins):
    """Pinned layers have their float weights, and read each other directly."""
    by_name = {e["name"]: e for e in layers}
    twins, reads = {}, {}
    for name in pins:
        nodes, reads[name] = members(fp32, layers, by_name[name])
        for node in nodes:
            weights = fp32.weights(node)
            if weights is not None:
                twins[name] = float_twin(mixed, weights, node.op_type)
                tally.check(twins[name] is not None,
                            f"{title}: no float node with the weights of '{node.name}'")
    for name, node in twins.items():
        for other in reads[name]:
            if node is not None and twins.get(other) is not None:
                tally.check(reaches(mixed, node, twins[other]),
                            f"{title}: a quantizer stands between '{other}' and '{name}'")


def check_kept(tally, title, int8, mixed):
    """What pins do not touch is as it was."""
    a, b = int8.model, mixed.model
    for field in ("ir_version", "producer_name", "producer_version", "domain", "model_version",
                  "doc_string", "metadata_props"):
        tally.check(getattr(a, field) == getattr(b, field), f"{title}: {field} has changed")
    before, after = ({o.domain: o.version for o in m.opset_import} for m in (a, b))
    tally.check(before == after, f"{title}: opsets {before} have become {after}")
    for field in ("name", "doc_string", "output"):
        tally.check(getattr(a.graph, field) == getattr(b.graph, field),
                    f"{title}: the graph's {field} has changed")
    # Old files list their constants as inputs too; those go with the constants.
    inputs = [[i for i in g.graph.input if i.name not in g.constant] for g in (int8, mixed)]
    kept = {i.name for i in b.graph.input}
    tally.check(inputs[0] == inputs[1] and
                all(i.name in kept for i in a.graph.input if i.name in mixed.constant),
                f"{title}: the graph's inputs have changed")
    changed = [n for n, t in mixed.constant.items()
               if n in int8.constant and t != int8.constant[n]]
    tally.check(not changed, f"{title}: constants have changed: {changed[:3]}")
    old = {n.name: n for n in a.graph.node if n.name}
    changed = [n.name for n in b.graph.node if n.name in old and n.op_type == old[n.name].op_type
               and n.op_type in QUANTIZERS | {"QLinearConv", "QGemm", "QLinearAdd"}
               and n.attribute != old[n.name].attribute]
    tally.check(not changed, f"{title}: attributes have changed: {changed[:3]}")


def output_code(int8, name, values):
    """What one code is worth in this output: its scale, else 1/255 of its range."""
    maker = int8.maker.get(name)
    while maker is not None and maker.op_type in {"Reshape", "Flatten", "Squeeze", "Transpose"}:
        maker = int8.maker.get(maker.input[0])
    if maker is not None and maker.op_type == "DequantizeLinear":
        return float(np.max(numpy_helper.to_array(int8.constant[maker.input[1]])))
    return float(np.ptp(values)) / 255 or 1e-6


def check_outputs(tally, title, int8, path, inputs, folder):
    """onnxruntime on the exported file against what qscope dumped."""
    run = session(path)
    feed = input_names(path)[0]
    dumped = {}
    for e in entries_of(folder):
        if e["side"] == "int8":
            dumped.setdefault(e["image"], {})[e["tensor"]] = e
    tally.check(len(dumped) == len(inputs), f"{title}: dump has {len(dumped)} images")
    beyond = total = 0
    worst = 0.0
    for image, tensors in dumped.items():
        values = run.run(None, {feed: inputs[Path(image).name]})
        for output, value in zip(run.get_outputs(), values):
            if not tally.check(output.name in tensors, f"{title}: output '{output.name}' is not "
                               "in the dump"):
                continue
            got = load_dumped(folder, tensors[output.name]).astype(np.float64)
            off = np.abs(got - value) / output_code(int8, output.name, value)
            worst = max(worst, off.max(initial=0))
            beyond += int((off > 1.01).sum())
            total += off.size
    tally.check(beyond <= total // 1000, f"{title}: {beyond} of {total} output values differ by "
                f"more than one code, at worst {worst:.2f}")
    return worst


def checker_says(path):
    """The ONNX checker's complaint, or None."""
    try:
        onnx.checker.check_model(str(path))
    except onnx.checker.ValidationError as e:
        return str(e).splitlines()[0]
    return None


def check_set(tally, title, fp32, int8, paths, layers, pins, inputs, tmp):
    out, dump = tmp / "mixed.onnx", tmp / "dump"
    for old in dump.glob("*") if dump.is_dir() else ():
        old.unlink()
    done, found = qscope_json(
        f"load pair {word(paths[0])} {word(paths[1])}",
        "dataset add " + " ".join(word(tmp / n) for n in inputs),
        "pin " + " ".join(word(p) for p in pins), "run", f"export {word(out)} --force", "pins",
        f"dump {' '.join(word(o.name) for o in int8.graph.output)} --out {word(dump)}")
    if not tally.check(done.returncode == 0, f"{title}: {last_line(done)}"):
        return 0.0
    idle = [p["layer"] for p in found["pins"]["pins"] if p["in_effect"] is not True]
    # A node with several outputs makes as many layers of one name.
    wanted = sum(e["name"] in pins for e in layers)
    tally.check(not idle and len(found["pins"]["pins"]) == wanted,
                f"{title}: {len(found['pins']['pins'])} of {wanted} pins, not in effect: "
                f"{idle[:3]}")
    problem = checker_says(out)
    # A model that was not valid before cannot become so.
    if not tally.check(not problem or checker_says(paths[1]), f"{title}: checker: {problem}"):
        return 0.0
    mixed = Graph(out)
    check_float(tally, title, fp32, mixed, layers, pins)
    check_kept(tally, title, int8, mixed)
    try:
        return check_outputs(tally, title, int8, out, inputs, dump)
    except Exception as e:  # onnxruntime has many exception types
        tally.check(False, f"{title}: onnxruntime: {str(e).splitlines()[0][:300]}")
        return 0.0


def check_pair(tally, title, fp32_path, int8_path, arrays):
    fp32, int8 = Graph(fp32_path), Graph(int8_path)
    with tempfile.TemporaryDirectory() as folder:
        tmp = Path(folder)
        inputs = {f"x{i}.npy": x for i, x in enumerate(arrays)}
        for name, x in inputs.items():
            np.save(tmp / name, x)
        done, found = qscope_json(f"load pair {word(fp32_path)} {word(int8_path)}",
                                  "dataset add " + " ".join(word(tmp / n) for n in inputs),
                                  "run", "layers --sort sqnr")
        if not tally.check(done.returncode == 0, f"{title}: {last_line(done)}"):
            return
        ranked = found["layers"]["layers"]
        worst = {}
        for name, pins in pin_sets(fp32, ranked, ranked, title).items():
            worst[name] = check_set(tally, f"{title}, {name}", fp32, int8,
                                    (fp32_path, int8_path), ranked, pins, inputs, tmp)
    print(f"{title}: {len(ranked)} layers, largest difference in codes "
          + ", ".join(f"{k} {v:.2g}" for k, v in worst.items()), flush=True)


# ---- Fields that no reader of today knows -------------------------------------------------------

def unknown_field(payload):
    """Field 4000, length-delimited: no ONNX message has it."""
    return b"\x82\xfa\x01" + bytes([len(payload)]) + payload


def check_unknown(tally, form):
    """Unknown fields and texts of model, graph, node and tensor survive an export."""
    model = onnx.load(SAMPLES / "models" / form)
    model.doc_string = "a document"
    model.graph.doc_string = "a graph"
    far = model.graph.node[-1]
    far.doc_string = "a node"
    far.MergeFromString(unknown_field(b"in a node"))
    model.graph.initializer[0].MergeFromString(unknown_field(b"in a tensor"))
    model.graph.MergeFromString(unknown_field(b"in a graph"))
    model.MergeFromString(unknown_field(b"in a model"))
    with tempfile.TemporaryDirectory() as folder:
        source, out = Path(folder) / "in.onnx", Path(folder) / "out.onnx"
        source.write_bytes(model.SerializeToString())
        done, _ = qscope_json(f"load pair {word(SAMPLES / 'models/fp32.onnx')} {word(source)}",
                              "pin /block1/pw/Conv", f"export {word(out)}")
        if not tally.check(done.returncode == 0, f"unknown fields in {form}: {last_line(done)}"):
            return
        data = out.read_bytes()
        for text in (b"a document", b"a graph", b"a node", b"in a node", b"in a tensor",
                     b"in a graph", b"in a model"):
            tally.check(text in data, f"unknown fields in {form}: '{text.decode()}' is lost")


def real_pairs():
    """(title, FP32 file, INT8 file, meta) of the real models, of those that arguments name."""
    for folder, meta in metas() if (DATA / "models").is_dir() else ():
        if len(sys.argv) < 2 or folder.name in sys.argv[1:]:
            for int8 in int8_files(folder):
                yield f"{folder.name}/{int8.name}", folder / "fp32.onnx", int8, meta


def main():
    tally = Tally()
    models = SAMPLES / "models"
    pictures = [preprocess(p, SAMPLE_INPUT) for p in image_files(SAMPLES / "images")[:IMAGES]]
    for form in ("int8_qdq.onnx", "int8_qop.onnx"):
        check_unknown(tally, form)
        check_pair(tally, f"samples/{form}", models / "fp32.onnx", models / form, pictures)
    for title, fp32, int8, meta in real_pairs():
        check_pair(tally, title, fp32, int8, inputs_of(meta, IMAGES))
    tally.close()


if __name__ == "__main__":
    main()
