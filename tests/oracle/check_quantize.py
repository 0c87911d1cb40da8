#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Quantization against onnxruntime's quantize_static with the same settings.

    check_quantize.py [MODEL...]
    check_quantize.py --all FILE [MODEL...]   all models, settings and methods; writes their table

Both quantize the FP32 model on the same pictures. The scale and zero point of every activation that
both quantize by its own range must be the same; in onnxruntime the two models must be as good:
the same top-1 as FP32 on at most one picture fewer, and an SQNR of the outputs at most 0.5 dB
lower. The file must pass onnx.checker, and what qscope computes of it must be what onnxruntime
does, bit by bit. Mixed types, ranges of every method against numpy, and what 'whatif' puts in force are
checked on one model.
"""

import collections
import json
import logging
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnx import numpy_helper

import common
import quantize_table
from quantizing import Model, agreement, outputs_of, sqnr, words_of

MODELS = ["mnist8_cntk", "resnet8_cifar10", "tinynet_se_cifar10", "vww96_mobilenetv1"]
# format, activations, weights, per channel, symmetric activations
SETTINGS = [("qdq", "u8", "s8", False, False), ("qdq", "u8", "s8", True, False),
            ("qdq", "s8", "s8", True, False), ("qdq", "s8", "s8", False, True),
            ("qop", "u8", "u8", False, False), ("qop", "s8", "s8", True, False)]
CALIBRATION, TESTED = 12, 40


def quantizers(path):
    """Activation -> (scale, zero point) of its QuantizeLinear, and what operator makes it."""
    graph = onnx.load(path).graph
    constants = {i.name: numpy_helper.to_array(i) for i in graph.initializer}
    makers = {o: n.op_type for n in graph.node for o in n.output}
    found = {}
    for node in graph.node:
        if node.op_type == "QuantizeLinear":
            name = node.input[0]
            for suffix in ("_QuantizeLinear_Input", "_QuantizeInput"):
                name = name.removesuffix(suffix)
            found[name] = (constants[node.input[1]].item(), constants[node.input[2]].item(),
                           makers.get(node.input[0]))
    return found


def check_scales(tally, title, ours, theirs):
    """Ranges that differ on purpose: an average of values has its own, not that of its input."""
    shared, wrong = 0, []
    for name, (scale, zero, maker) in ours.items():
        if name in theirs and "Pool" not in str(maker) and "Reshape" not in str(maker):
            shared += 1
            if not np.isclose(scale, theirs[name][0], rtol=1e-5) or zero != theirs[name][1]:
                wrong.append((name, scale, zero, theirs[name]))
    tally.check(not wrong and shared > len(ours) / 3,
                f"{title}: {len(wrong)} of {shared} scales differ, {len(ours)} in all: {wrong[:3]}")


def check_setting(tally, model, setting, tool):
    form, activations, weights, per_channel, symmetric = setting
    title = f"{model.name} {' '.join(map(str, setting))}"
    ours, theirs = model.top / "ours.onnx", model.top / "theirs.onnx"
    done, found = model.quantize(ours, *words_of(setting))
    if not tally.check(done.returncode == 0, f"{title}: {common.last_line(done)}"):
        return
    told = found["quantize"]
    tally.check(told["images"] == CALIBRATION and told["failed"] == 0 and told["layers"] > 0 and
                told["left"] == 0, f"{title}: {told}")
    onnx.checker.check_model(onnx.load(ours), full_check=True)
    y = outputs_of(ours, model.input, model.tested)
    tally.check(model.same_bits(ours, tool), f"{title}: qscope computes other outputs")
    try:
        model.quantize_with_ort(theirs, setting)
    except ValueError as e:
        print(f"{title}: onnxruntime itself fails: {e}")
        tally.check(sqnr(model.fp32, y) > 20, f"{title}: SQNR {sqnr(model.fp32, y)}")
        return
    z = outputs_of(theirs, model.input, model.tested)
    if setting[0] == "qdq":
        check_scales(tally, title, quantizers(ours), quantizers(theirs))
    print(f"{title}: {sqnr(model.fp32, y):.2f} dB, onnxruntime {sqnr(model.fp32, z):.2f} dB; "
          f"top-1 {agreement(model.fp32, y)}, {agreement(model.fp32, z)} of {TESTED}")
    tally.check(sqnr(model.fp32, y) >= sqnr(model.fp32, z) - 0.5,
                f"{title}: SQNR {sqnr(model.fp32, y)}, onnxruntime {sqnr(model.fp32, z)}")
    tally.check(agreement(model.fp32, y) >= agreement(model.fp32, z) - 1,
                f"{title}: top-1 {agreement(model.fp32, y)}, {agreement(model.fp32, z)}")


# ---- Mixed types --------------------------------------------------------------------------------

def node_types(path):
    """Per float node between quantizers: type of its data codes and of its weight codes."""
    graph = onnx.load(path).graph
    constants = {i.name: i.data_type for i in graph.initializer}
    makers = {o: n for n in graph.node for o in n.output}
    found = {}
    for node in graph.node:
        kinds = []
        for name in node.input[:2]:
            dq = makers.get(name)
            is_dq = dq is not None and dq.op_type == "DequantizeLinear"
            kinds.append(onnx.TensorProto.DataType.Name(constants[dq.input[2]]) if is_dq else None)
        found[node.name] = kinds
    return found


def check_mixed(tally, model, tool):
    """One convolution each: kept, with activations of 16 bits, with weights of 4 bits."""
    convs = [n.name for n in onnx.load(model.path).graph.node if n.op_type == "Conv"]
    kept, wide, narrow = convs[1], convs[3], convs[5]
    out = model.top / "mixed.onnx"
    done, _ = model.quantize(out, "--per-channel", "--keep", common.word(kept), "--s16",
                             common.word(wide), "--s4", common.word(narrow))
    if not tally.check(done.returncode == 0, f"mixed: {common.last_line(done)}"):
        return
    onnx.checker.check_model(onnx.load(out))
    found = node_types(out)
    for node, want in ((kept, ["UINT8", None]), (wide, ["INT16", "INT8"]),
                       (narrow, ["UINT8", "INT4"]), (convs[0], ["UINT8", "INT8"])):
        tally.check(found[node] == want, f"mixed: {node} has {found[node]}, expected {want}")
    tally.check(model.same_bits(out, tool), "mixed: qscope computes other outputs")
    # Activations of 16 bits everywhere: their products are float, which onnxruntime's optimizer
    # computes in blocks of 8 bits where they are matrix products; so without it.
    wide = model.top / "wide.onnx"
    done, _ = model.quantize(wide, "--per-channel", "--activations s16")
    tally.check(done.returncode == 0, f"s16: {common.last_line(done)}")
    y = outputs_of(wide, model.input, model.tested)
    z = outputs_of(out, model.input, model.tested)
    tally.check(sqnr(model.fp32, y) > sqnr(model.fp32, z) + 3,
                f"s16: {sqnr(model.fp32, y)} dB, mixed {sqnr(model.fp32, z)} dB")
    tally.check(model.same_bits(wide, tool, optimize=False), "s16: qscope computes other outputs")


def executed(path, top):
    """How often each operator is in what onnxruntime makes of a model to run it."""
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(top / "executed.onnx")
    ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    graph = onnx.load(top / "executed.onnx").graph
    return collections.Counter(node.op_type for node in graph.node)


def check_executed(tally, model, tool, form):
    """A convolution that is to be something else is so in onnxruntime, and computes what qscope
    does; in either form."""
    convs = [n.name for n in onnx.load(model.path).graph.node if n.op_type == "Conv"]
    out = model.top / "executed_as.onnx"
    model.quantize(out, "--force", "--per-channel", f"--format {form}")
    usual = executed(out, model.top)["QLinearConv"]
    tally.check(usual == len(convs), f"{model.name} {form}: {usual} of {len(convs)} on codes")
    for option, name in (("--keep", convs[1]), ("--s16", convs[3]), ("--s4", convs[5])):
        title = f"{model.name} {form} {option} {name}"
        done, _ = model.quantize(out, "--force", "--per-channel", f"--format {form}", option,
                                 common.word(name))
        if tally.check(done.returncode == 0, f"{title}: {common.last_line(done)}"):
            found = executed(out, model.top)
            float_ones = found["Conv"] + found["FusedConv"]
            tally.check(found["QLinearConv"] == usual - 1 and float_ones == 1,
                        f"{title}: executed as {dict(found)}")
            tally.check(model.same_bits(out, tool), f"{title}: qscope computes other outputs")
    done, _ = model.quantize(out, "--force", "--format qop", "--activations s16")
    tally.check(done.returncode == 2, f"integer operators of 16 bits: {common.last_line(done)}")


def check_correction(tally, model, tool):
    """Biases that make up for rounded weights: never worse, and much better with 4 bits."""
    found = {}
    for weights in ("s8", "s4"):
        for option in ("", "--correct-bias"):
            out = model.top / "corrected.onnx"
            done, told = model.quantize(out, "--per-channel", "--force", f"--weights {weights}",
                                        option)
            if not tally.check(done.returncode == 0, f"corrected: {common.last_line(done)}"):
                return
            found[weights, option] = sqnr(model.fp32, outputs_of(out, model.input, model.tested))
            tally.check(bool(option) == bool(told["quantize"]["corrected"]), f"{told['quantize']}")
            tally.check(model.same_bits(out, tool), f"corrected {weights}: other outputs")
    print(f"{model.name} corrected biases: {found}")
    tally.check(found["s8", "--correct-bias"] > found["s8", ""] - 0.5 and
                found["s4", "--correct-bias"] > found["s4", ""] + 3, f"corrected: {found}")


# ---- What-if -----------------------------------------------------------------------------------

def bias_errors(path):
    """Convolutions whose bias has another scale than input times weights."""
    graph = onnx.load(path).graph
    constants = {i.name: numpy_helper.to_array(i) for i in graph.initializer}
    makers = {o: n for n in graph.node for o in n.output}
    wrong, seen = [], 0
    for node in graph.node:
        if node.op_type == "Conv" and len(node.input) > 2:
            x, w, b = (constants[makers[name].input[1]] for name in node.input)
            seen += 1
            if not np.allclose(b, x * w, rtol=1e-5):
                wrong.append(node.name)
    return wrong, seen


def check_whatif(tally, model, tool, form):
    """Applied ranges survive export and reading back, and undo takes them away."""
    title = f"whatif {form}"
    made, out = model.top / f"before_{form}.onnx", model.top / f"after_{form}.onnx"
    told = model.quantize(made, "--per-channel", f"--format {form}", "--force")[0]
    tally.check(told.returncode == 0, f"{title}: {common.last_line(told)}")
    files = model.top / "files"
    files.mkdir(exist_ok=True)
    for i, x in enumerate(model.tested[:12]):
        np.save(files / f"{i:02}.npy", x)
    start = [f"load pair {common.word(model.path)} {common.word(made)}",
             f"dataset add {common.word(files)}"]
    ask = "whatif '*' --method percentile --percentile 99.9"
    done = common.qscope(*start, "run", "layers", f"{ask} --apply", "run", "layers", ask,
                         f"export {common.word(out)} --force", "undo", "run", "layers", "redo",
                         "run", "layers", f"load int8 {common.word(out)}", "run", "layers",
                         options=["--json"])
    if not tally.check(done.returncode == 0, f"{title}: {common.last_line(done)}"):
        return
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    runs = [(a, b) for a, b in zip(lines, lines[1:])
            if a["command"] == "run" and b["command"] == "layers"]
    before, applied, undone, redone, reloaded = (
        [{k: row[k] for k in ("name", "sqnr", "cosine", "mse")} for row in b["layers"]]
        for _, b in runs)
    tally.check(before == undone, f"{title}: undo leaves other figures")
    tally.check(applied == redone, f"{title}: redo gives other figures")
    tally.check(applied == reloaded, f"{title}: the exported file gives other figures")
    changed = sum(a != b for a, b in zip(before, applied))
    tally.check(changed > len(before) / 2, f"{title}: {changed} layers changed")
    first, again = (x["layers"] for x in lines if x["command"] == "whatif")
    for old, new in zip(first, again):
        tally.check(np.isclose(new["scale"], old["choices"][0]["scale"], rtol=1e-6) and
                    new["zero_point"] == old["choices"][0]["zero_point"],
                    f"{title} {old['name']}: {new['scale']}, asked for {old['choices'][0]}")
        tally.check(abs(new["sqnr_estimated"] - old["choices"][0]["sqnr_estimated"]) < 0.5,
                    f"{title} {old['name']}: estimates {new['sqnr_estimated']}, before "
                    f"{old['choices'][0]['sqnr_estimated']}")
    onnx.checker.check_model(onnx.load(out))
    tally.check(model.same_bits(out, tool), f"{title}: qscope computes other outputs")
    if form == "qdq":
        wrong, seen = bias_errors(out)
        tally.check(seen > 5 and not wrong, f"{title}: of {seen} biases {wrong} have other scales")


# ---- Methods ------------------------------------------------------------------------------------

def codes(x, scale, zero, low, high):
    return (np.clip(np.rint(x / scale) + zero, low, high) - zero) * scale


def check_methods(tally, model):
    """Ranges of each method against numpy on all the values."""
    seen = {}
    for x in model.calibration:
        for name, value in {**common.every_tensor(model.path, {model.input: x}),
                            model.input: x}.items():
            if value.dtype == np.float32:
                seen.setdefault(name, []).append(value.ravel().astype(np.float64))
    start = [f"load fp32 {common.word(model.path)}", model.words]
    images = f"--images {common.word(model.pictures)}"
    noise = {}
    for method in ("minmax", "average", "percentile", "entropy", "mse", "aciq"):
        done, found = common.qscope_json(*start, f"calibrate {images} --method {method}")
        if not tally.check(done.returncode == 0, f"{method}: {common.last_line(done)}"):
            continue
        told = found["calibrate"]
        tally.check(told["method"] == method and told["images"] == CALIBRATION, f"{told}"[:200])
        for row in told["ranges"]:
            if row["tensor"] not in seen:
                continue
            parts = seen[row["tensor"]]
            x = np.concatenate(parts)
            title = f"{method} {row['tensor']}"
            width = np.abs(x).max() / 256  # of a bin, at most
            want = {"minmax": (x.min(), x.max()),
                    "average": (np.mean([p.min() for p in parts]),
                                np.mean([p.max() for p in parts]))}.get(method)
            if method == "percentile":
                t = np.percentile(np.abs(x), 99.999, method="inverted_cdf")
                want = (max(-t, x.min()), min(t, x.max()))
            if want:
                close = width * 1.01 if method == "percentile" else 1e-4 * np.abs(x).max()
                tally.check(np.allclose((row["low"], row["high"]), want, rtol=0, atol=close),
                            f"{title}: {row['low'], row['high']}, numpy {want}")
            error = ((x - codes(x, row["scale"], row["zero_point"], 0, 255)) ** 2).sum()
            noise.setdefault(row["tensor"], {})[method] = error
            # The estimate takes values to lie evenly in bins; pixels do not.
            pixels = np.array_equal(x, np.rint(x))
            if row["sqnr"] is not None and error > 0 and x.size > 1000 and not pixels:
                real = 10 * np.log10((x * x).sum() / error)
                tally.check(abs(real - row["sqnr"]) < 1,
                            f"{title}: estimated {row['sqnr']} dB, numpy {real} dB")
    for name, by in noise.items():
        least = min(by.values())
        tally.check(by["mse"] <= least * 1.05 + 1e-12,
                    f"mse {name}: {by['mse']}, another has {least}")


def main():
    logging.disable(logging.WARNING)
    common.need_data()
    tally = common.Tally()
    if sys.argv[1:2] == ["--all"]:
        quantize_table.table(sys.argv[3:], tally, sys.argv[2])
        tally.close()
    chosen, tool = sys.argv[1:] or MODELS, common.ValueTool()
    for folder, meta in common.metas():
        if folder.name in chosen:
            with tempfile.TemporaryDirectory() as top:
                model = Model(folder, meta, top, CALIBRATION, TESTED)
                for setting in SETTINGS:
                    check_setting(tally, model, setting, tool)
                if folder.name in ("resnet8_cifar10", "vww96_mobilenetv1"):
                    check_correction(tally, model, tool)
                if folder.name != "mnist8_cntk":  # it has too few convolutions
                    check_executed(tally, model, tool, "qdq")
                    check_executed(tally, model, tool, "qop")
                if folder.name == "resnet8_cifar10":
                    check_mixed(tally, model, tool)
                    check_whatif(tally, model, tool, "qdq")
                    check_whatif(tally, model, tool, "qop")
                    check_methods(tally, model)
    tool.close()
    tally.close()


if __name__ == "__main__":
    main()
