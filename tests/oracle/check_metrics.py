#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""The figures of `layers --json` and `images --json`, recomputed.

Layers: every metric again in numpy from the tensors that `dump` wrote, pooled over the images.
Images: classes of both models against onnxruntime's, on real pictures through qscope's own
preprocessing, and the accuracies that follow from them.
"""

import csv
import math
import sys
import tempfile
from pathlib import Path

import numpy as np

from common import (DATA, SAMPLES, Tally, entries_of, image_files, input_names, inputs_of, int8_files,
                    last_line, load_dumped, metas, preprocess, preprocess_words, qscope_json,
                    session, word)

PICTURES = 40  # per model
SAMPLE_META = {"preprocess_onnx": dict(width=32, height=32, channels=3, mean=127.5, std=127.5,
                                       layout="NCHW"), "label_offset": 0}
# Dumped tensors are float32, so that figures agree to rounding; dB and percent need a floor.
RELATIVE, FLOOR = 1e-5, 1e-4


def expected(pairs, codes):
    """Metrics of one layer from its (fp32, int8) arrays and the entry of its codes, if any."""
    x = np.concatenate([p[0].astype(np.float64).ravel() for p in pairs])
    y = np.concatenate([p[1].astype(np.float64).ravel() for p in pairs])
    signal, noise = np.sum(x * x), np.sum((x - y) ** 2)
    norm = math.sqrt(signal * np.sum(y * y))
    mse = noise / x.size
    found = {
        "sqnr": 10 * math.log10(signal / noise) if signal > 0 and noise > 0 else None,
        "cosine": float(x @ y) / norm if norm else None,
        "mse": mse,
        "max_abs": np.abs(x - y).max(),
        "zeros": 100 * np.mean(y == 0),
    }
    if codes:
        scale = np.asarray(codes["scale"], np.float64).ravel()
        zero = np.asarray(codes["zero_point"], np.float64).ravel()
        info = np.iinfo(codes["dtype"])
        if scale.size == 1:
            found["rmse_scale"] = math.sqrt(mse) / scale[0]
            # The ends as the float32 values that the end codes stand for.
            low = np.float32(np.float32(info.min - zero[0]) * np.float32(scale[0]))
            high = np.float32(np.float32(info.max - zero[0]) * np.float32(scale[0]))
            found["saturation_low"] = 100 * np.mean(x < low)
            found["saturation_high"] = 100 * np.mean(x > high)
    return found


def close(a, b):
    if a is None or b is None:
        return a is None and b is None
    return abs(a - b) <= RELATIVE * max(abs(a), abs(b)) + FLOOR * (abs(b) > 1) + 1e-9


def check_layers(tally, title, fp32, int8, inputs):
    with tempfile.TemporaryDirectory() as tmp:
        tmp = Path(tmp)
        for i, x in enumerate(inputs):
            np.save(tmp / f"x{i}.npy", x)
        files = " ".join(word(tmp / f"x{i}.npy") for i in range(len(inputs)))
        done, found = qscope_json(f"load pair {word(fp32)} {word(int8)}", f"dataset add {files}",
                                  "run", "layers --sort none", f"dump '*' --out {word(tmp / 'd')}")
        if not tally.check(done.returncode == 0, f"{title}: {last_line(done)}"):
            return
        index, seen = {}, {}
        for e in entries_of(tmp / "d"):
            index.setdefault((e["layer"], e["side"]), {}).setdefault(e["image"], []).append(e)
        for layer in found["layers"]["layers"]:
            # A node with several outputs makes as many layers of one name, dumped in order.
            nth = seen[layer["name"]] = seen.get(layer["name"], -1) + 1
            x, y, codes = ({i: e[nth] for i, e in index.get((layer["name"], side), {}).items()}
                           for side in ("fp32", "int8", "int8_codes"))
            if not tally.check(x and y and x.keys() == y.keys() and len(x) == len(inputs),
                               f"{title}: '{layer['name']}' was not dumped for every image"):
                continue
            pairs = [(load_dumped(tmp / "d", x[i]), load_dumped(tmp / "d", y[i])) for i in x]
            for key, value in expected(pairs, next(iter(codes.values()), None)).items():
                tally.check(close(layer[key], value),
                            f"{title}: '{layer['name']}' {key} is {layer[key]}, expected {value}")
            tally.check(layer["images"] == len(inputs), f"{title}: '{layer['name']}' images")
    print(f"{title}: {len(found['layers']['layers'])} layers, "
          f"{len(found['layers']['unmatched'])} unmatched", flush=True)


def labels_of(folder, offset):
    with open(folder / "labels.csv") as f:
        return {r["file"]: int(r["label"]) + offset if int(r["label"]) >= 0 else -1
                for r in csv.DictReader(f)}


def near_tie(output):
    """Two classes within one code of each other: either may win."""
    top = np.sort(output.ravel())[-2:]
    return top[1] - top[0] <= 1.01 / 255


def check_images(tally, title, fp32, int8, folder, meta):
    files = image_files(folder)
    files = files[::max(1, len(files) // PICTURES)][:PICTURES]
    offset = meta.get("label_offset") or 0
    labels = labels_of(folder, offset)
    done, found = qscope_json(
        f"load pair {word(fp32)} {word(int8)}",
        f"dataset add {' '.join(word(f) for f in files)} --labels {word(folder / 'labels.csv')} "
        f"--label-offset {offset}",
        preprocess_words(meta["preprocess_onnx"]), "run", "images")
    if not tally.check(done.returncode == 0, f"{title}: {last_line(done)}"):
        return
    listed = {Path(e["file"]).name: e for e in found["images"]["images"]}
    runs = [session(fp32), session(int8)]
    name = input_names(fp32)[0]
    right = {"fp32": 0, "int8": 0}
    for file in files:
        entry = listed.get(file.name)
        if not tally.check(entry, f"{title}: '{file.name}' is not listed"):
            continue
        x = preprocess(file, meta["preprocess_onnx"])
        for side, run in zip(("fp32", "int8"), runs):
            output = run.run(None, {name: x})[0]
            top = int(output.argmax())
            got = entry[f"{side}_top1"]
            right[side] += got == labels[file.name]
            tally.check(got == top or (side == "int8" and near_tie(output)),
                        f"{title}: '{file.name}' {side} class {got}, onnxruntime says {top}")
        tally.check(entry["label"] == labels[file.name], f"{title}: '{file.name}' label")
    for side, n in right.items():
        value = found["images"][f"{side}_accuracy"]
        tally.check(value is not None and abs(value - 100 * n / len(files)) < 1e-6,
                    f"{title}: {side}_accuracy {value}, expected {100 * n / len(files)}")
    print(f"{title}: accuracy {found['images']['fp32_accuracy']} -> "
          f"{found['images']['int8_accuracy']} %", flush=True)


def main():
    tally = Tally()
    sample = SAMPLES / "models"
    inputs = [preprocess(p, SAMPLE_META["preprocess_onnx"])
              for p in image_files(SAMPLES / "images")[:4]]
    for name in ("int8_qdq.onnx", "int8_qop.onnx"):
        check_layers(tally, f"samples/{name}", sample / "fp32.onnx", sample / name, inputs)
        check_images(tally, f"samples/{name}", sample / "fp32.onnx", sample / name,
                     SAMPLES / "images", SAMPLE_META)
    if (DATA / "models").is_dir():
        for folder, meta in metas():
            if len(sys.argv) > 1 and folder.name not in sys.argv[1:]:
                continue
            for int8 in int8_files(folder):
                title = f"{folder.name}/{int8.name}"
                check_layers(tally, title, folder / "fp32.onnx", int8, inputs_of(meta, 2))
                if meta.get("label_offset") is not None:
                    check_images(tally, title, folder / "fp32.onnx", int8,
                                 DATA / "images" / meta["images"], meta)
    tally.close()


if __name__ == "__main__":
    main()
