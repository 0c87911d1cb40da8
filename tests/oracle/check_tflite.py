#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every tensor of the real TensorFlow Lite models against LiteRT.

check_tflite.py [--json FILE] [QSCOPE [SHARED]]

tflite-ref and tflite-builtin: all intermediates; tflite-xnnpack: final outputs, and where LiteRT is
installed all intermediates of a copy whose every tensor is an output. Integers must be equal, floats
within 1e-5 of the tensor's maximum. Stored references are used where there are any; models without
one need LiteRT (ai-edge-litert) and are skipped without it. Pairs must match, rank and pin.
"""

import argparse
import json
import os
import re
import tempfile
from pathlib import Path

parser = argparse.ArgumentParser()
parser.add_argument("qscope", nargs="?")
parser.add_argument("shared", nargs="?")
parser.add_argument("--json", help="file for the figures")
args = parser.parse_args()
if args.qscope:
    os.environ["QSCOPE_BIN"] = args.qscope
if args.shared:
    os.environ["QSCOPE_SHARED"] = args.shared
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

from common import (DATA, Tally, entries_of, image_files, last_line, load_dumped, need_data,
                    preprocess, qscope, word)
from judge import RELATIVE, Difference, Row, save_rows

try:
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema
    from ai_edge_litert.interpreter import Interpreter, OpResolverType
except ImportError:
    Interpreter = None

NUMERICS = {"ref": "tflite-ref", "bi": "tflite-builtin", "opt": "tflite-xnnpack",
            "xnn": "tflite-xnnpack"}
REFUSED = {"mnist_lstm": "UNIDIRECTIONAL_SEQUENCE_LSTM"}


# ---- References -----------------------------------------------------------------------------

def codes_of(x, details):
    """The sample as the model's input wants it: halves to even, then clipped."""
    x = x.reshape(details["shape"])
    if details["dtype"] == np.float32:
        return x.astype(np.float32)
    scale, zero = details["quantization"]
    limits = np.iinfo(details["dtype"])
    x = np.round(x / scale) + zero if scale else x
    return np.clip(x, limits.min, limits.max).astype(details["dtype"])


def run_litert(model, x, kind, keep):
    it = Interpreter(model_content=model, num_threads=1, experimental_op_resolver_type=kind,
                     experimental_preserve_all_tensors=keep)
    it.allocate_tensors()
    details = it.get_input_details()[0]
    it.set_tensor(details["index"], codes_of(x, details))
    it.invoke()
    return it


def exposed(model):
    """A copy of the model whose every made tensor is an output."""
    copy = schema.ModelT.InitFromObj(schema.Model.GetRootAs(bytearray(model), 0))
    graph = copy.subgraphs[0]
    graph.outputs = [int(t) for op in graph.operators for t in op.outputs]
    copy.signatureDefs = None
    builder = flatbuffers.Builder(len(model))
    builder.Finish(copy.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def live(path, x):
    """{(tag, index, name): value} from LiteRT itself."""
    model, found = path.read_bytes(), {}
    for tag, kind in (("ref", OpResolverType.BUILTIN_REF),
                      ("bi", OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES)):
        try:
            it = run_litert(model, x, kind, True)
        except ValueError:  # the reference kernels lack a version of an operator
            continue
        made = {int(t) for op in it._get_ops_details() for t in op["outputs"]}
        for d in it.get_tensor_details():
            if d["index"] in made:
                found[tag, d["index"], d["name"]] = it.get_tensor(d["index"])
    for tag, content in (("opt", model), ("xnn", exposed(model))):
        it = run_litert(content, x, OpResolverType.AUTO, False)
        for d in it.get_output_details():
            found[tag, d["index"], d["name"]] = it.get_tensor(d["index"])
    return found


def makers(path):
    """{tensor: (operator, its inputs)} of a model file; names of tensors are not unique."""
    names = {v: k for k, v in vars(schema.BuiltinOperator).items() if isinstance(v, int)}
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(bytearray(path.read_bytes()), 0))
    found = {}
    for op in model.subgraphs[0].operators:
        code = model.operatorCodes[op.opcodeIndex]
        name = names[max(code.builtinCode, code.deprecatedBuiltinCode)]
        for t in op.outputs:
            found[int(t)] = name, [int(i) for i in op.inputs]
    return found


def stored(path):
    with np.load(path) as z:
        found = {}
        for key in z.files:
            parts = key.split("::", 2)
            if parts[0] in NUMERICS:
                found[parts[0], int(parts[1]), parts[2]] = z[key]
        return found


def sample_of(folder, meta):
    fed = DATA / "reference" / f"{folder.name}.tflite.input.npy"
    if fed.exists():
        return np.load(fed)
    files = image_files(DATA / "images" / meta.get("images", "photos"))
    return preprocess(files[len(files) // 2], meta["preprocess_tflite"])


def references(folder, which, x):
    path = DATA / "reference" / f"{folder.name}.{which}.tflite.npz"
    if Interpreter:
        found = live(folder / f"{which}.tflite", x)
        # The stored ones must say the same, or the installed LiteRT is another one.
        return {**found, **(stored(path) if path.exists() else {})}
    return stored(path) if path.exists() else None


# ---- Comparing ------------------------------------------------------------------------------

def dump(model, side, numerics, x, tmp):
    """{tensor: {side: value}} of what qscope computes."""
    raw = x
    if side == "int8" and Interpreter:
        details = Interpreter(model_path=str(model)).get_input_details()[0]
        if details["dtype"] != np.float32 and not details["quantization"][0]:
            raw = x.astype(details["dtype"])
    np.save(Path(tmp) / "x.npy", raw)
    out = Path(tmp) / "out"
    done = qscope(f"load {side} {word(model)}", f"set numerics {numerics}",
                  f"dataset add {word(Path(tmp) / 'x.npy')}", f"dump '*' --out {word(out)}")
    found = {}
    if done.returncode == 0:
        for e in entries_of(out):
            found.setdefault(e["tensor"], {})[e["side"]] = load_dumped(out, e)
    return done, found


def pick(dumped, index, name, value):
    """The dumped tensor that stands for a reference: codes for integers, else floats."""
    sides = dumped.get(name) or dumped.get(f"{name}#{index}")
    if sides is None:
        return None
    order = ("fp32", "int8", "int8_codes") if value.dtype.kind == "f" else \
        ("int8_codes", "int8", "fp32")
    return next((sides[s] for s in order if s in sides), None)


class Rows:
    """Figures per operator, type and runtime, counted where the inputs are equal."""

    def __init__(self):
        self.rows, self.makers, self.off = {}, {}, set()

    def open(self, makers):
        self.makers, self.off = makers, set()

    def add(self, tag, index, found, value):
        if tag == "opt" or index not in self.makers:  # the same tensors as of "xnn"
            return
        op, inputs = self.makers[index]
        d, behind = Difference(found, value), any((tag, i) in self.off for i in inputs)
        row = self.rows.setdefault((op, str(value.dtype), NUMERICS[tag]), Row())
        row.add(d, behind)
        if d.count or behind:
            self.off.add((tag, index))


ROWS = Rows()


def compare(tally, title, tag, wanted, dumped):
    count = total = differ = 0
    worst = 0.0
    for (t, index, name), value in sorted(wanted.items(), key=lambda item: item[0][1]):
        got = pick(dumped, index, name, value) if t == tag else None
        if got is None:
            # Floats between two integer tensors are not shown apart from the integers.
            tally.check(t != tag or value.dtype.kind == "f", f"{title}: '{name}' was not dumped")
            continue
        count += 1
        if not tally.check(got.shape == value.shape and got.dtype == value.dtype,
                           f"{title} {tag}: '{name}' is {got.dtype} {got.shape}"):
            continue
        ROWS.add(tag, index, got, value)
        if value.dtype.kind == "f":
            top = max(float(np.abs(value).max(initial=0)), 1e-30)
            far = float(np.abs(got - value).max(initial=0)) / top
            worst = max(worst, far)
            tally.check(far <= RELATIVE, f"{title} {tag}: '{name}' differs by {far:.3g}")
        else:
            wrong = int((got.astype(np.int64) != value).sum())
            total, differ = total + value.size, differ + wrong
            tally.check(wrong == 0, f"{title} {tag}: '{name}' {wrong} of {value.size} differ")
    print(f"{title} {NUMERICS[tag]}{' (all tensors)' if tag == 'xnn' else ''}: {count} tensors, "
          f"{differ} of {total} integers differ, floats within {worst:.2g}", flush=True)


def check_model(tally, folder, which, x, tmp):
    model = folder / f"{which}.tflite"
    wanted = references(folder, which, x)
    if wanted is None:
        print(f"{folder.name}/{which}: skipped, no stored reference and no LiteRT")
        return
    dumps = {}
    ROWS.open(makers(model) if Interpreter else {})
    for tag in NUMERICS:
        if not any(t == tag for t, _, _ in wanted):
            continue
        numerics = NUMERICS[tag]
        if numerics not in dumps:
            done, dumps[numerics] = dump(model, which, numerics, x, tmp)
            tally.check(done.returncode == 0, f"{folder.name}/{which}: {last_line(done)}")
        compare(tally, f"{folder.name}/{which}", tag, wanted, dumps[numerics])


def check_pair(tally, folder, fp32, x, tmp):
    """Matching, ranking and pinning; with all layers pinned the outputs come close to FP32's."""
    np.save(Path(tmp) / "x.npy", x)
    base = [f"load pair {word(fp32)} {word(folder / 'int8.tflite')}",
            f"dataset add {word(Path(tmp) / 'x.npy')}", "run"]
    done = qscope(*base, "layers --top 1", "images")
    title = f"{folder.name}/{fp32.suffix[1:]} pair"
    if not tally.check(done.returncode == 0, f"{title}: {last_line(done)}"):
        return
    layers = int(re.search(r"(\d+) layers matched", done.stdout).group(1))
    print(f"{title}: {layers} layers matched", flush=True)
    tally.check(layers > 0, f"{title}: nothing matched")
    if fp32.suffix == ".onnx":
        for trial in ("pin *", "sensitivity", "prefix", "bisect", "search --reach 20", "culprits"):
            done = qscope(*base, trial)
            tally.check(done.returncode == 6 and "of one format" in last_line(done),
                        f"{title}: {trial} across formats: {last_line(done)}")
        return
    done = qscope(*base, "pin *", "run", "pins")
    effect = len(re.findall(r"in effect", done.stdout))
    tally.check(done.returncode == 0 and effect == layers,
                f"{title}: {effect} of {layers} pins in effect; {last_line(done)}")
    done = qscope(*base, "pin *", f"export {word(Path(tmp) / 'mixed.tflite')}")
    tally.check(done.returncode == 6, f"{title}: export was not refused: {last_line(done)}")


def check_folder(tally, folder, tmp):
    with open(folder / "meta.json") as f:
        meta = json.load(f)
    files = [w for w in ("int8", "fp32") if (folder / f"{w}.tflite").exists()]
    if folder.name in REFUSED:
        for which in files:
            done = qscope(f"load {which} {word(folder / (which + '.tflite'))}")
            tally.check(done.returncode == 6 and REFUSED[folder.name] in done.stderr,
                        f"{folder.name}/{which}: {last_line(done)}")
        return
    x = sample_of(folder, meta)
    for which in files:
        check_model(tally, folder, which, x, tmp)
    if len(files) == 2:
        check_pair(tally, folder, folder / "fp32.tflite", x, tmp)
    onnx_input = DATA / "reference" / f"{folder.name}.onnx.input.npy"
    if "int8" in files and (folder / "fp32.onnx").exists() and onnx_input.exists():
        check_pair(tally, folder, folder / "fp32.onnx", np.load(onnx_input), tmp)


def main():
    need_data()
    tally = Tally()
    for folder in sorted(p.parent for p in (DATA / "models").glob("*/int8.tflite")):
        with tempfile.TemporaryDirectory() as tmp:
            check_folder(tally, folder, tmp)
    save_rows(args.json, ROWS.rows)
    tally.close()


if __name__ == "__main__":
    main()
