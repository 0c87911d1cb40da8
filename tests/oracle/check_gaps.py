#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Operators that qscope does not know, or not in this form, must not end a session.

A node of a made-up operator, or a Dropout that is to train, is put into the sample pair, on one side
or both, near the end or at the start. What is in front of it must still be compared, the final
scores must be null, the message must name the operator and what it blocks, and `check` must refuse
the file. Where nothing is left to run, so must `load`. A Dropout that trains only on real pictures
is not seen before they run: then `run` must say so, and all else must be as before.
"""

import tempfile
from pathlib import Path

import numpy as np
import onnx

import common

EXIT_UNSUPPORTED = 6


def unknown(model, tensor):
    """An operator that there is not."""
    model.opset_import.append(onnx.helper.make_opsetid("some.where", 1))
    return [onnx.helper.make_node("Frobnicate", [tensor], [tensor + "_gap"], name="frob",
                                  domain="some.where")]


def training(model, tensor):
    """An operator that there is, asked for what there is not."""
    constant = onnx.numpy_helper.from_array
    model.graph.initializer.extend([constant(np.float32(0.5), "half"),
                                    constant(np.bool_(True), "yes")])
    return [onnx.helper.make_node("Dropout", [tensor, "half", "yes"], [tensor + "_gap"],
                                  name="drop")]


def training_on_data(model, tensor):
    """The same, but only where the model's input is not zero everywhere."""
    constant = onnx.numpy_helper.from_array
    model.graph.initializer.extend([constant(np.float32(0.5), "half"),
                                    constant(np.float32(0), "zero")])
    make = onnx.helper.make_node
    return [make("Abs", [model.graph.input[0].name], ["size"]),
            make("ReduceMax", ["size"], ["largest"], keepdims=0),
            make("Greater", ["largest", "zero"], ["some"]),
            make("Dropout", [tensor, "half", "some"], [tensor + "_gap"], name="drop")]


def with_gap(source, consumer, make, to):
    """The model with what `make` gives in front of the first input of the node `consumer`."""
    model = onnx.load(source)
    nodes = list(model.graph.node)
    at, node = next((i, n) for i, n in enumerate(nodes) if n.name == consumer)
    tensor = node.input[0]
    node.input[0] = tensor + "_gap"
    nodes[at:at] = make(model, tensor)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.save(model, to)


def check_pair(tally, title, fp32, int8, op, node, reason):
    done, found = common.qscope_json(
        f"load pair {common.word(fp32)} {common.word(int8)}",
        f"preprocess {common.word(common.SAMPLES / 'preprocess.json')}",
        f"dataset add {common.word(common.SAMPLES / 'images')} --limit 3", "run", "layers",
        "images")
    if not tally.check(done.returncode == 0, f"{title}: {common.last_line(done)}"):
        return
    gaps = found["load pair"]["unsupported"]
    tally.check(gaps and all(g["op"] == op and g["node"] == node and g["output"] and
                             g["reason"] == reason for g in gaps),
                f"{title}: unsupported is {gaps}")
    layers = found["layers"]["layers"]
    tally.check(len(layers) == found["load pair"]["layers"] and len(layers) > 5 and
                all(x["sqnr"] is not None for x in layers), f"{title}: not all layers are ranked")
    tally.check(any(op in x["reason"] and node in x["reason"] for x in found["layers"]["unmatched"]),
                f"{title}: no unmatched layer names the operator")
    tally.check(all(x["sqnr"] is None and x["fp32_top1"] is None for x in
                    found["images"]["images"]), f"{title}: outputs are scored")
    tally.check(found["run"]["int8_accuracy"] is None, f"{title}: there is an accuracy")


def check_late(tally, plain, int8, folder):
    """Refused on pictures, though not on zeros."""
    refused = Path(folder) / "data_int8.onnx"
    with_gap(int8, "/head/Gemm", training_on_data, refused)
    seen = []
    for path in (int8, refused):
        done, found = common.qscope_json(
            f"load pair {common.word(plain)} {common.word(path)}",
            f"preprocess {common.word(common.SAMPLES / 'preprocess.json')}",
            f"dataset add {common.word(common.SAMPLES / 'images')} --limit 3", "run --jobs 2",
            "layers", "images")
        if not tally.check(done.returncode == 0, f"refused late: {common.last_line(done)}"):
            return
        seen.append((done, found))
    (_, before), (done, found) = seen
    tally.check(found["load pair"]["unsupported"] == [], "refused late: refused early")
    tally.check("on 3 of 3 images a node did not run" in done.stderr and
                "'drop' (Dropout): training mode is not supported" in done.stderr,
                f"refused late: {done.stderr}")
    layers = {x["name"]: x["sqnr"] for x in found["layers"]["layers"]}
    lost = [x["name"] for x in before["layers"]["layers"] if layers.get(x["name"]) != x["sqnr"]]
    tally.check(0 < len(lost) < 3 and all(layers.get(x) is None for x in lost),
                f"refused late: other figures for {lost}")
    tally.check(all(x["sqnr"] is None for x in found["images"]["images"]),
                "refused late: outputs are scored")


def main():
    tally = common.Tally()
    models = {"fp32": common.SAMPLES / "models/fp32.onnx",
              "int8": common.SAMPLES / "models/int8_qdq.onnx"}
    kinds = [(unknown, "Frobnicate", "frob", None),
             (training, "Dropout", "drop", "training mode is not supported")]
    with tempfile.TemporaryDirectory() as folder:
        for make, op, node, reason in kinds:
            late, first = {}, {}
            for side, path in models.items():
                late[side] = Path(folder) / f"late_{op}_{side}.onnx"
                first[side] = Path(folder) / f"first_{op}_{side}.onnx"
                with_gap(path, "/head/Gemm", make, late[side])
            with_gap(models["fp32"], "/stem/Conv", make, first["fp32"])
            for title, fp32, int8 in (("INT8", models["fp32"], late["int8"]),
                                      ("FP32", late["fp32"], models["int8"]),
                                      ("both", late["fp32"], late["int8"])):
                check_pair(tally, f"{op} in {title}", fp32, int8, op, node, reason)
            for command, path in (("check", late["int8"]), ("load fp32", first["fp32"])):
                done = common.qscope(f"{command} {common.word(path)}")
                tally.check(done.returncode == EXIT_UNSUPPORTED and op in done.stderr and
                            node in done.stderr,
                            f"{command} of {path.name}: {common.last_line(done)}")
        check_late(tally, models["fp32"], models["int8"], folder)
    tally.close()


if __name__ == "__main__":
    main()
