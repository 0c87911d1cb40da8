#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""What must not change qscope's numbers, and what must.

    check_numerics.py [MODEL...]

On one INT8 model of each kind (u8 and s8 quantizers, integer operators), under each numerics that
takes it: every tensor must be the same with plain C, AVX2, VNNI and AMX kernels (QSCOPE_ISA), with the
CPU features that oneDNN sees cut down (ONEDNN_MAX_CPU_ISA), with plain kernels throughout
(`set kernels plain`), and run by one thread or two. `onnx` must equal `ort-unfused` in integers
where nothing is fused, up to one step, and unverified numerics must say so.
"""

import json
import sys
import tempfile
from pathlib import Path

import numpy as np

import common

MODELS = ["resnet8_cifar10", "mnist8_cntk", "tinynet_se_cifar10"]
NUMERICS = ["ort", "ort-unfused", "onnx", "tensorrt", "u8s8-saturate"]
UNVERIFIED = {"tensorrt", "u8s8-saturate"}
VARIANTS = {
    "plain": {"QSCOPE_ISA": "plain"},
    "avx2": {"QSCOPE_ISA": "avx2"},
    "vnni": {"QSCOPE_ISA": "vnni"},
    "amx": {"QSCOPE_ISA": "amx"},
    "oneDNN without VNNI": {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE"},
    "oneDNN with AVX2": {"ONEDNN_MAX_CPU_ISA": "AVX2"},
}


def dump(path, numerics, images, folder, kernels="fast", env=None):
    """The INT8 side's tensors by (tensor, image); None with a reason when the model is refused."""
    done = common.qscope(f"load int8 {common.word(path)}", f"set kernels {kernels}",
                         f"set numerics {numerics}", f"dataset add {common.word(images)}",
                         f"dump '*' --out {common.word(folder)}", env=env)
    if done.returncode:
        return None, common.last_line(done)
    return {(e["tensor"], e["image"], e["dtype"]): common.load_dumped(folder, e)
            for e in common.entries_of(folder)}, None


def differing(a, b, integers_only):
    """Names of tensors that are not equal to the bit."""
    if a.keys() != b.keys():
        return sorted(str(k) for k in a.keys() ^ b.keys())
    return [key[0] for key in a if not np.array_equal(a[key], b[key])
            and not (integers_only and a[key].dtype.kind == "f")]


def check_variants(tally, title, path, numerics, images, work):
    base, problem = dump(path, numerics, images, work / "base")
    if base is None:
        # Asymmetric models are none of TensorRT's.
        tally.check(numerics == "tensorrt" and "tensorrt wants" in problem or
                    "tensorrt reads" in problem, f"{title}: {problem}")
        return
    for name, env in VARIANTS.items():
        other, problem = dump(path, numerics, images, work / name.replace(" ", "_"), env=env)
        if not tally.check(other is not None, f"{title}, {name}: {problem}"):
            continue
        wrong = differing(base, other, False)
        tally.check(not wrong, f"{title}, {name}: {len(wrong)} tensors differ: {wrong[:3]}")
    plain, problem = dump(path, numerics, images, work / "kernels", kernels="plain")
    if tally.check(plain is not None, f"{title}, kernels plain: {problem}"):
        # Plain float sums are made in another order; their codes may move by one.
        worst = max((np.abs(base[k].astype(np.int64) - plain[k]).max()
                     for k in base if base[k].dtype.kind in "iu" and base[k].size), default=0)
        tally.check(worst <= (0 if numerics == "ort" and "u8" in path.stem else 1),
                    f"{title}, kernels plain: codes differ by {worst}")


def run_json(fp32, path, numerics, images, jobs):
    done = common.qscope(f"load pair {common.word(fp32)} {common.word(path)}",
                         f"set numerics {numerics}", f"dataset add {common.word(images)}",
                         f"run --jobs {jobs}", "layers", "images", options=["--json"])
    return done, done.stdout


def check_jobs(tally, title, folder, path, numerics, images):
    one, text = run_json(folder / "fp32.onnx", path, numerics, images, 1)
    two, other = run_json(folder / "fp32.onnx", path, numerics, images, 2)
    if one.returncode and numerics == "tensorrt":
        return
    tally.check(one.returncode == 0 and two.returncode == 0, f"{title}: {common.last_line(one)}")
    tally.check(text == other, f"{title}: one thread and two do not print the same")
    for line in text.splitlines():
        entry = json.loads(line)
        if "numerics" in entry and entry["command"] != "load pair":
            tally.check(entry.get("verified") == (numerics not in UNVERIFIED) and
                        entry["numerics"] == numerics,
                        f"{title}: {entry['command']} says {entry.get('verified')}")


def main():
    common.need_data()
    tally = common.Tally()
    for folder, meta in common.metas():
        if folder.name not in (sys.argv[1:] or MODELS):
            continue
        inputs = common.inputs_of(meta, 3)
        with tempfile.TemporaryDirectory() as top:
            images = Path(top) / "images"
            images.mkdir()
            for i, x in enumerate(inputs):
                np.save(images / f"{i}.npy", x)
            for path in common.int8_files(folder):
                for numerics in NUMERICS:
                    title = f"{folder.name}/{path.stem}, {numerics}"
                    with tempfile.TemporaryDirectory() as work:
                        check_variants(tally, title, path, numerics, images, Path(work))
                    check_jobs(tally, title, folder, path, numerics, images)
    tally.close()


if __name__ == "__main__":
    main()
