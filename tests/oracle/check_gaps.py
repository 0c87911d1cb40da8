#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Operators that qscope does not know must not end a session.

A node of a made-up operator is put into the sample pair, on one side or both, near the end or at
the start. What is in front of it must still be compared, the final scores must be null, the message
must name the operator, and `check` must refuse the file. Where nothing is left to run, so must
`load`.
"""

import tempfile
from pathlib import Path

import onnx

import common

EXIT_UNSUPPORTED = 6


def with_gap(source, consumer, to):
    """The model with an unknown operator in front of the first input of the node `consumer`."""
    model = onnx.load(source)
    nodes = model.graph.node
    at, node = next((i, n) for i, n in enumerate(nodes) if n.name == consumer)
    tensor = node.input[0]
    node.input[0] = tensor + "_gap"
    nodes.insert(at, onnx.helper.make_node("Frobnicate", [tensor], [tensor + "_gap"], name="frob",
                                           domain="some.where"))
    model.opset_import.append(onnx.helper.make_opsetid("some.where", 1))
    onnx.save(model, to)


def check_pair(tally, title, fp32, int8):
    done, found = common.qscope_json(
        f"load pair {common.word(fp32)} {common.word(int8)}",
        f"preprocess {common.word(common.SAMPLES / 'preprocess.json')}",
        f"dataset add {common.word(common.SAMPLES / 'images')} --limit 3", "run", "layers",
        "images")
    if not tally.check(done.returncode == 0, f"{title}: {common.last_line(done)}"):
        return
    gaps = found["load pair"]["unsupported"]
    tally.check(gaps and all(g["op"] == "Frobnicate" and g["node"] == "frob" and g["output"]
                             for g in gaps), f"{title}: unsupported is {gaps}")
    layers = found["layers"]["layers"]
    tally.check(len(layers) == found["load pair"]["layers"] and len(layers) > 5 and
                all(x["sqnr"] is not None for x in layers), f"{title}: not all layers are ranked")
    tally.check(any("Frobnicate" in x["reason"] for x in found["layers"]["unmatched"]),
                f"{title}: no unmatched layer names the operator")
    tally.check(all(x["sqnr"] is None and x["fp32_top1"] is None for x in
                    found["images"]["images"]), f"{title}: outputs are scored")
    tally.check(found["run"]["int8_accuracy"] is None, f"{title}: there is an accuracy")


def main():
    tally = common.Tally()
    models = {"fp32": common.SAMPLES / "models/fp32.onnx",
              "int8": common.SAMPLES / "models/int8_qdq.onnx"}
    with tempfile.TemporaryDirectory() as folder:
        late, first = {}, {}
        for side, path in models.items():
            late[side] = Path(folder) / f"late_{side}.onnx"
            first[side] = Path(folder) / f"first_{side}.onnx"
            with_gap(path, "/head/Gemm", late[side])
        with_gap(models["fp32"], "/stem/Conv", first["fp32"])
        check_pair(tally, "gap in INT8", models["fp32"], late["int8"])
        check_pair(tally, "gap in FP32", late["fp32"], models["int8"])
        check_pair(tally, "gap in both", late["fp32"], late["int8"])
        for command, path in (("check", late["int8"]), ("load fp32", first["fp32"])):
            done = common.qscope(f"{command} {common.word(path)}")
            tally.check(done.returncode == EXIT_UNSUPPORTED and "Frobnicate" in done.stderr,
                        f"{command} of {path.name}: {common.last_line(done)}")
    tally.close()


if __name__ == "__main__":
    main()
