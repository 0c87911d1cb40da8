# SPDX-License-Identifier: GPL-3.0-or-later
"""What the oracles share: finding things, running qscope, running onnxruntime, counting.

QSCOPE_BIN is the program (default build/qscope), QSCOPE_SHARED the folder with real models
(default ../shared). A check whose material is missing ends with exit code 77.
"""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
QSCOPE = os.environ.get("QSCOPE_BIN") or str(ROOT / "build/qscope")
DATA = Path(os.environ.get("QSCOPE_SHARED") or ROOT.parent / "shared") / "data"
SAMPLES = ROOT / "samples"
IMAGE_TYPES = {".png", ".jpg", ".jpeg", ".ppm", ".pgm"}


class Tally:
    """Counts cases; prints those that fail, and the closing line that the runner reads."""

    def __init__(self):
        self.passed = self.failed = 0

    def check(self, good, text):
        if good:
            self.passed += 1
        else:
            self.failed += 1
            print("FAIL " + text, flush=True)
        return good

    def close(self):
        print(f"{self.passed} passed, {self.failed} failed")
        sys.exit(1 if self.failed or not self.passed else 0)


def need_data():
    """The folder of real models, or a skip."""
    if not (DATA / "models").is_dir():
        print("no real models: set QSCOPE_SHARED\n0 passed, 0 failed, 1 skipped")
        sys.exit(77)
    return DATA


# ---- qscope ---------------------------------------------------------------------------------

def word(text):
    """Quotes one word of the command language, which quotes as sh does."""
    return shlex.quote(str(text))


def qscope(*commands, options=(), timeout=600, env=None):
    """Runs commands in one batch; the finished process with text in stdout and stderr."""
    line = [QSCOPE, "--batch", "--no-cache", *options]
    for command in commands:
        line += ["-e", command]
    return subprocess.run(line, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, timeout=timeout, text=True, errors="replace",
                          env=dict(os.environ, **(env or {})))


def qscope_json(*commands, timeout=600):
    """Runs commands with --json; (process, {command: its last object})."""
    done = qscope(*commands, options=["--json"], timeout=timeout)
    found = {}
    for line in done.stdout.splitlines():
        entry = json.loads(line)
        found[entry["command"]] = entry
    return done, found


def last_line(done):
    lines = (done.stderr or done.stdout).strip().splitlines()
    return f"exit {done.returncode}: {lines[-1] if lines else 'no output'}"


def entries_of(folder):
    """The list in a dump's index.json."""
    with open(Path(folder) / "index.json") as f:
        return json.load(f)["tensors"]


def index_of(folder):
    """The tensors of a dump: (tensor name, side, image) -> its entry."""
    return {(e["tensor"], e["side"], e["image"]): e for e in entries_of(folder)}


def load_dumped(folder, entry):
    return np.load(Path(folder) / entry["file"])


class ValueTool:
    """Runs models in one process of value_tool (tests/value_tool.c) and reads all their tensors."""

    def __init__(self):
        tool = Path(os.environ.get("QSCOPE_BUILD") or ROOT / "build") / "tests/value_tool"
        self.process = subprocess.Popen([str(tool)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def run(self, model, inputs, everything=False, numerics="ort"):
        """({tensor: value}, error text or None) of a model file on .npy files."""
        words = [numerics, "all" if everything else "codes", str(model), *map(str, inputs)]
        self.process.stdin.write("\t".join(words).encode() + b"\n")
        self.process.stdin.flush()
        found = {}
        while True:
            line = self.process.stdout.readline().decode().rstrip("\n")
            kind, _, rest = line.partition(" ")
            if kind == "tensor":
                dtype, name_size, size, *dims = rest.split()
                name = self.process.stdout.read(int(name_size)).decode(errors="replace")
                data = self.process.stdout.read(int(size))
                if dtype != "?":
                    found[name] = np.frombuffer(data, dtype).reshape([int(d) for d in dims])
            elif kind == "done":
                return found, None
            else:
                return found, rest or f"value_tool ended with {self.process.wait()}"

    def close(self):
        self.process.stdin.close()
        self.process.wait()


# ---- Models and inputs ------------------------------------------------------------------------

def metas():
    """meta.json of every real model that has an ONNX file, by name."""
    for path in sorted((DATA / "models").glob("*/meta.json")):
        if (path.parent / "fp32.onnx").exists():
            with open(path) as f:
                yield path.parent, json.load(f)


def int8_files(folder):
    """The static INT8 ONNX files beside an FP32 one."""
    return sorted(p for p in folder.glob("int8*.onnx") if "dynamic" not in p.name)


def image_files(folder):
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in IMAGE_TYPES)


def preprocess(path, pp):
    """One picture as meta.json's preprocess_onnx says: stretch, (pixel - mean) / std."""
    image = Image.open(path)
    if pp.get("ycbcr"):
        image = image.convert("YCbCr").split()[0]
    else:
        image = image.convert("L" if pp["channels"] == 1 else "RGB")
    image = image.resize((pp["width"], pp["height"]), Image.BILINEAR)
    x = np.asarray(image, np.float32).reshape(pp["height"], pp["width"], pp["channels"])
    if pp.get("order") == "BGR":
        x = x[:, :, ::-1]
    x = (x - np.float32(pp["mean"])) / np.float32(pp["std"])
    x = x if pp["layout"] == "NHWC" else x.transpose(2, 0, 1)
    return np.ascontiguousarray(x[None], np.float32)


def preprocess_words(pp):
    """The same settings in qscope's words."""
    def values(v):
        return ",".join(str(x) for x in (v if isinstance(v, list) else [v]))

    color = "y" if pp.get("ycbcr") else "gray" if pp["channels"] == 1 else pp.get("order", "RGB")
    return (f"preprocess size={pp['height']}x{pp['width']} color={color.lower()} "
            f"layout={pp['layout']} range=0..255 mean={values(pp['mean'])} std={values(pp['std'])}")


def inputs_of(meta, count):
    """The first pictures of a model's set, preprocessed."""
    files = image_files(DATA / "images" / meta["images"])
    # Spread over the set: neighbours are of one class.
    step = max(1, len(files) // count)
    return [preprocess(p, meta["preprocess_onnx"]) for p in files[::step][:count]]


def session(model, optimize=True):
    """onnxruntime on one thread; model is a path or a ModelProto."""
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    if not optimize:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    source = model.SerializeToString() if isinstance(model, onnx.ModelProto) else str(model)
    return ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def every_tensor(path, feeds):
    """All float and integer tensors that the nodes of a model make, optimization off."""
    model = onnx.load(path)
    have = {o.name for o in model.graph.output}
    for node in model.graph.node:
        for name in node.output:
            if name and name not in have:
                have.add(name)
                model.graph.output.append(onnx.ValueInfoProto(name=name))
    run = session(model, optimize=False)
    values = run.run(None, feeds)
    return {o.name: v for o, v in zip(run.get_outputs(), values) if isinstance(v, np.ndarray)}


def input_names(path):
    graph = onnx.load(path, load_external_data=False).graph
    constants = {i.name for i in graph.initializer}
    return [i.name for i in graph.input if i.name not in constants]
