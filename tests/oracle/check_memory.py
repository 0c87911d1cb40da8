#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Peak memory of a run must not grow with the number of images: 8 against 200."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from common import DATA, QSCOPE, SAMPLES, Tally, image_files, word

SLACK = 16 << 20  # bytes: scores kept per image, allocator noise


def peak(fp32, int8, folder, count):
    """Peak resident bytes of a batch that runs the first `count` images."""
    line = [QSCOPE, "--batch", "-e", f"load pair {word(fp32)} {word(int8)}",
            "-e", f"dataset add {word(folder)} --limit {count}", "-e", "run",
            "-e", "layers --sort sqnr", "-e", "images"]
    with tempfile.TemporaryDirectory() as cache:
        process = subprocess.Popen(line, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                   env=dict(os.environ, XDG_CACHE_HOME=cache))
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, usage.ru_maxrss * 1024


def check(tally, title, fp32, int8, pictures):
    with tempfile.TemporaryDirectory() as tmp:
        for i in range(200):
            source = pictures[i % len(pictures)]
            shutil.copy(source, Path(tmp) / f"{i:03d}{source.suffix}")
        few_code, few = peak(fp32, int8, tmp, 8)
        many_code, many = peak(fp32, int8, tmp, 200)
    print(f"{title}: 8 images {few >> 20} MiB, 200 images {many >> 20} MiB")
    tally.check(few_code == 0 and many_code == 0, f"{title}: exit {few_code}, {many_code}")
    tally.check(many <= few * 1.05 + SLACK, f"{title}: peak grew from {few} to {many} bytes")


def main():
    tally = Tally()
    models = SAMPLES / "models"
    check(tally, "samples", models / "fp32.onnx", models / "int8_qdq.onnx",
          image_files(SAMPLES / "images"))
    real = DATA / "models/mobilenetv1_025_128_imagenet"
    if real.is_dir():
        check(tally, real.name, real / "fp32.onnx", real / "int8_qdq_pc.onnx",
              image_files(DATA / "images/imagenet"))
    tally.close()


if __name__ == "__main__":
    main()
