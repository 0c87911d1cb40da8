#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""What bad input gets: one clear line, the documented exit code, the session intact.

Damage is made here from the sample models and images; the real broken files are added where they
are at hand. Runs under the sanitizers too: any fault ends with another exit code.
"""

import os
import re
import shutil
import struct
import tempfile
from pathlib import Path

import onnx
from onnx import TensorProto, helper

from common import DATA, SAMPLES, Tally, image_files, qscope, word

FP32 = SAMPLES / "models/fp32.onnx"
INT8 = SAMPLES / "models/int8_qdq.onnx"
PAIR = f"load pair {word(FP32)} {word(INT8)}"
PREPROCESS = "preprocess size=32x32 mean=127.5,127.5,127.5 std=127.5,127.5,127.5 range=0..255"
# What onnxruntime refuses and we may, too, or which loads; never a fault.
REFUSED = {"empty.onnx", "missing_external_data.onnx", "random.onnx", "text.tflite",
           "truncated.onnx", "truncated.tflite", "pg_custom_op_node.onnx"}
VARIANTS = {"conv_asymmetric_weights_rejected.tflite"}


def expect(tally, title, code, pattern, *commands, lines=1, env=None):
    """Runs commands; exit code, number of lines on stderr and their text must be as said."""
    done = qscope(*commands, timeout=120, env=env)
    said = [line for line in done.stderr.splitlines() if "error:" in line]
    good = done.returncode == code and len(said) == lines and \
        all(re.search(pattern, line) for line in said)
    tally.check(good, f"{title}: exit {done.returncode}, expected {code}; said "
                      f"{done.stderr.strip()[-600:]!r}, expected {pattern!r}")
    return done


# ---- Models that something is wrong with --------------------------------------------------------

def tiny(op, shape=(1, 4), **attributes):
    """A model of one operator on one float input."""
    graph = helper.make_graph(
        [helper.make_node(op, ["x"], ["y"], "only", **attributes)], "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def broken_models(tmp):
    """(title, file, pattern, exit code) of models that must be refused."""
    whole = FP32.read_bytes()
    made = []

    def add(title, data, pattern, code=6):
        path = tmp / (title.replace(" ", "_") + ".onnx")
        path.write_bytes(data)
        made.append((title, path, pattern, code))

    add("empty file", b"", r"empty_file\.onnx: ")
    add("text file", b"this is not a model\n" * 20, r"text_file\.onnx: ")
    for share in (0.1, 0.5, 0.9, 0.999):
        add(f"cut at {share}", whole[:int(len(whole) * share)], r"cut_at_.*\.onnx: .*\d")
    # The outermost field claims far more bytes than the file has.
    add("huge length", b"\x3a\xff\xff\xff\xff\xff\xff\xff\x7f" + whole[:200], r"huge_length\.onnx: ")

    model = onnx.load(FP32)
    model.graph.node[3].input[0] = "nowhere"
    add("dangling input", model.SerializeToString(), r"'nowhere'")
    model = onnx.load(FP32)
    model.graph.node[0].input[0] = model.graph.node[-1].output[0]
    add("cycle", model.SerializeToString(), r"cycle\.onnx: ")
    model = onnx.load(FP32)
    model.graph.initializer[2].dims[0] = 1 << 40
    add("weights shorter than shape", model.SerializeToString(),
        r"weights_shorter_than_shape\.onnx: .*'")
    model = onnx.load(FP32)
    model.graph.initializer[2].dims[0] = -3
    add("negative dimension", model.SerializeToString(), r"negative_dimension\.onnx: ")
    return made


def check_models(tally, tmp):
    for title, path, pattern, code in broken_models(tmp):
        expect(tally, title, code, pattern, f"load fp32 {word(path)}")

    unknown = tmp / "unknown_op.onnx"
    onnx.save(tiny("Blorp"), unknown)
    expect(tally, "unknown operator", 6, r"Blorp", f"load fp32 {word(unknown)}",
           "dataset add " + word(FP32.parent.parent / "images"), "run")
    external = tmp / "external.onnx"
    model = onnx.load(FP32)
    onnx.save(model, external, save_as_external_data=True, location="weights.bin",
              size_threshold=0)
    expect(tally, "external data", 0, "", f"load fp32 {word(external)}", lines=0)
    (tmp / "weights.bin").unlink()
    expect(tally, "missing external data", 7, r"weights\.bin", f"load fp32 {word(external)}")
    for bad in ("../weights.bin", "/etc/passwd"):
        model = onnx.load(external, load_external_data=False)
        for tensor in model.graph.initializer:
            for entry in tensor.external_data:
                if entry.key == "location":
                    entry.value = bad
        (tmp / "outside.onnx").write_bytes(model.SerializeToString())
        expect(tally, f"external data at {bad}", 6, r"outside\.onnx: ",
               f"load fp32 {word(tmp / 'outside.onnx')}")

    other = tmp / "other.onnx"
    onnx.save(tiny("Relu", (1, 3, 5, 5)), other)
    expect(tally, "models that do not belong together", 6, r"shape|input|output",
           f"load pair {word(FP32)} {word(other)}")
    expect(tally, "missing model", 7, r"no_such\.onnx: ", f"load fp32 {word(tmp / 'no_such.onnx')}")
    expect(tally, "directory as a model", 7, r": ", f"load fp32 {word(tmp)}")
    if os.getuid() != 0:
        locked = tmp / "locked.onnx"
        shutil.copy(FP32, locked)
        locked.chmod(0)
        expect(tally, "no permission", 7, r"locked\.onnx: ", f"load fp32 {word(locked)}")
    fifo = tmp / "fifo.onnx"
    os.mkfifo(fifo)
    expect(tally, "fifo as a model", 7, r"fifo\.onnx: ", f"load fp32 {word(fifo)}")


def check_real_files(tally):
    folder = DATA / "negative"
    if not folder.is_dir():
        return
    for path in sorted(folder.glob("*.onnx")) + sorted(folder.glob("*.tflite")):
        # What a kernel refuses is a gap to `load`; `check` refuses the file for it.
        done = qscope(f"{'check' if path.name in VARIANTS else 'load fp32'} {word(path)}",
                      timeout=120)
        allowed = {6, 7} if path.name in REFUSED or path.suffix == ".tflite" else {0, 6, 7}
        said = [line for line in done.stderr.splitlines() if "error:" in line]
        tally.check(done.returncode in allowed and (done.returncode == 0) == (not said) and
                    all(path.name in line for line in said),
                    f"{path.name}: exit {done.returncode}, said {done.stderr.strip()[-400:]!r}")


# ---- Images, commands, scripts ------------------------------------------------------------------

def damaged_images(tmp):
    """A folder with four good pictures and as many ways to spoil one."""
    folder = tmp / "images"
    folder.mkdir()
    good = image_files(SAMPLES / "images")[:4]
    for path in good:
        shutil.copy(path, folder)
    data = good[0].read_bytes()
    (folder / "bad_cut.png").write_bytes(data[:len(data) // 2])
    (folder / "bad_crc.png").write_bytes(data[:60] + bytes([data[60] ^ 0xff]) + data[61:])
    (folder / "bad_empty.png").write_bytes(b"")
    (folder / "bad_text.jpg").write_bytes(b"not a picture")
    huge = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + b"IHDR" + \
        struct.pack(">IIBBBBB", 1 << 30, 1 << 30, 8, 2, 0, 0, 0) + b"\0\0\0\0"
    (folder / "bad_huge.png").write_bytes(huge)
    return folder, 4, 5


def check_images(tally, tmp):
    folder, good, bad = damaged_images(tmp)
    done = qscope(PAIR, f"dataset add {word(folder)}", PREPROCESS, "run", "images", "layers",
                  options=["--json"])
    text = done.stderr
    tally.check(done.returncode in (0, 1, 5, 6), f"damaged images: exit {done.returncode}")
    for path in sorted(folder.glob("bad_*")):
        tally.check(sum(path.name in line for line in text.splitlines()) == 1,
                    f"damaged images: not one line about {path.name} in {text!r}")
    ran = '"images":4' in done.stdout.replace(" ", "")
    tally.check(ran, f"damaged images: the {good} good ones were not run; {bad} are bad: "
                     f"{done.stdout[-400:]}")
    expect(tally, "missing image", 7, r"no_such\.png", PAIR,
           f"dataset add {word(tmp / 'no_such.png')}")
    labels = tmp / "labels.csv"
    labels.write_text("file,label\nbar_0.png,eight\n")
    expect(tally, "label that is no number", 6, r"labels\.csv.*2", PAIR,
           f"dataset add {word(SAMPLES / 'images')} --labels {word(labels)}")
    sidecar = tmp / "preprocess.json"
    sidecar.write_text('{"size": "32x32", "mean": [1, 2')
    expect(tally, "broken sidecar", 6, r"preprocess\.json", PAIR, f"preprocess {word(sidecar)}")


def check_commands(tally, tmp):
    expect(tally, "unknown command", 2, r"'frobnicate'", "frobnicate")
    expect(tally, "prefix in batch", 2, r"'lay'", "lay")
    expect(tally, "unknown option", 2, r"--colour", PAIR, "layers --colour")
    expect(tally, "unknown metric", 2, r"'sqnrr'", PAIR, "layers --sort sqnrr")
    expect(tally, "layers without a model", 1, r"error: ", "layers")
    expect(tally, "run without images", 1, r"error: ", PAIR, "run")
    expect(tally, "unknown layer", 2, r"'/block9/dw'", PAIR, "pin /block9/dw")
    expect(tally, "false assertion", 4, r"error: ", PAIR,
           f"dataset add {word(SAMPLES / 'images')}", PREPROCESS, "run",
           "assert top1_drop < 0")
    expect(tally, "export to a folder that is not there", 7, r"error: ", PAIR,
           f"export {word(tmp / 'not/there.onnx')}")
    taken = tmp / "taken.onnx"
    taken.write_text("mine")
    done = qscope(PAIR, f"export {word(taken)}")
    tally.check(done.returncode != 0 and taken.read_text() == "mine",
                "export overwrote a file without --force")

    # A bad line anywhere: nothing of the script is run.
    script = tmp / "late.qs"
    script.write_text("echo started\nload pair\n")
    done = qscope(f"source {word(script)}")
    tally.check(done.returncode == 2 and "started" not in done.stdout and
                "late.qs:2: error:" in done.stderr, f"late usage error: {done.stderr!r}")
    script = tmp / "stop.qs"
    script.write_text(f"layers\necho {word('not reached')}\n")
    done = qscope(options=["-x", str(script)])
    tally.check(done.returncode == 3 and "not reached" not in done.stdout and
                "stop.qs:1: error:" in done.stderr, f"script stops: exit {done.returncode} "
                f"{done.stderr!r}")
    done = qscope(options=["--continue-on-error", "-x", str(script)])
    tally.check(done.returncode == 5 and "not reached" in done.stdout,
                f"--continue-on-error: exit {done.returncode}")
    done = qscope("-layers", "echo reached")
    tally.check(done.returncode == 0 and "reached" in done.stdout, "a leading - ignores the error")

    # After a refused load the old pair is still there.
    done = qscope(PAIR, f"-load pair {word(FP32)} {word(tmp / 'no_such.onnx')}", "info")
    tally.check(done.returncode == 0 and "fp32.onnx" in done.stdout,
                f"session after a refused load: exit {done.returncode} {done.stdout[:200]!r}")


def main():
    tally = Tally()
    with tempfile.TemporaryDirectory() as folder:
        tmp = Path(folder)
        check_models(tally, tmp)
        check_real_files(tally)
        check_images(tally, tmp)
        check_commands(tally, tmp)
    tally.close()


if __name__ == "__main__":
    main()
