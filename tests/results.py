#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""A question asked again by another process costs nothing and has the same answer, byte for byte;
another question is not taken for it; a store that does not work is told in one line and changes
nothing.
"""

import json
import os
import random
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
QSCOPE = os.environ.get("QSCOPE_BIN") or str(ROOT / "build/qscope")
SAMPLES = ROOT / "samples"
LISTINGS = ("layers --top 0", "images --top 0", "channels /block4/dw/Conv")
SWEEPS = ("sensitivity --images 12", "tried", "pareto", "sensitivity --exact --ways only --images 6",
          "sensitivity --exact --ways loo --images 6", "sensitivity --as bf16 --exact --ways loo --images 6",
          "bisect --until sqnr>=20 --images 6", "search --reach 16 --metric sqnr --images 10", "pareto",
          "run", "layers --top 0")
counts = {"passed": 0, "failed": 0}


def check(text, good):
    counts["passed" if good else "failed"] += 1
    if not good:
        print(f"FAIL {text}")


class Work:
    """The sample pair in a folder of its own, and a store beside it."""

    def __init__(self, tmp):
        self.tmp = Path(tmp)
        self.cache = self.tmp / "cache"
        for name in ("fp32.onnx", "int8_qdq.onnx"):
            shutil.copy(SAMPLES / "models" / name, self.tmp)
        shutil.copytree(SAMPLES / "images", self.tmp / "images")

    def ask(self, *lines, cache=None, options=(), before=("dataset add images",),
            preprocess=str(SAMPLES / "preprocess.json")):
        """(standard output, standard error, seconds) of a batch of lines on the pair."""
        words = ["load pair fp32.onnx int8_qdq.onnx", f"preprocess '{preprocess}'", *before, *lines]
        command = [QSCOPE, "--batch", "--no-config", "--json", *options]
        for word in words:
            command += ["-e", word]
        start = time.perf_counter()
        done = subprocess.run(command, cwd=self.tmp, text=True, capture_output=True, timeout=300,
                              stdin=subprocess.DEVNULL,
                              env=dict(os.environ, XDG_CACHE_HOME=str(cache or self.cache)))
        seconds = time.perf_counter() - start
        check(f"exit {done.returncode} of {lines}: {done.stderr[-300:]}", done.returncode == 0)
        # How long it took, and runs that were left to do, are told as well.
        self.runs = sum(int(n) for n in re.findall(r'"runs":(\d+)', done.stdout))
        shown = re.sub(r'"(runs|seconds)":[0-9.e-]+', r'"\1":0', done.stdout)
        return shown, done.stderr, seconds

    def found(self, *lines, **options):
        """How often something was found in the store, and what was printed before that."""
        out, _, _ = self.ask(*lines, "cache info", **options)
        shown = out.splitlines()
        return json.loads(shown[-1])["hits"], shown[:-1]


def asked_again(work):
    lines = ("run", *LISTINGS, *SWEEPS)
    plain, _, slow = work.ask(*lines, options=["--no-cache"])
    check("without the cache something is kept", not work.cache.exists())
    first, notes, _ = work.ask(*lines)
    runs = work.runs
    check("a warning where all is well", "warning" not in notes)
    second, _, fast = work.ask(*lines)
    check(f"{work.runs} runs of sweeps that took {runs} at first", work.runs <= runs / 20)
    check("the first run with a cache differs from one without", first == plain)
    check("the second run differs from the first", second == first)
    check(f"the second run took {fast:.3f} s, without a cache {slow:.3f} s", fast < slow)
    mode = stat.S_IMODE((work.cache / "qscope").stat().st_mode)
    check(f"the folder has mode {mode:o}", mode == 0o700)
    hits, _ = work.found("run")
    check("a run and its local errors are not found again", hits == 2)
    one, _ = work.found("run", options=["--jobs", "1"])
    check("the number of threads is part of the question", one == 2)
    shutil.move(work.tmp / "images", work.tmp / "elsewhere")
    hits, shown = work.found("run", before=("dataset add elsewhere",))
    check("where images lie is part of the question", hits == 2)
    shutil.move(work.tmp / "elsewhere", work.tmp / "images")


def change_weight(path):
    """One weight by one bit."""
    model = onnx.load(str(path))
    tensor = max(model.graph.initializer, key=lambda t: len(t.raw_data))
    data = bytearray(tensor.raw_data)
    data[len(data) // 2] ^= 1
    tensor.raw_data = bytes(data)
    onnx.save(model, str(path))


def change_pixel(path):
    image = Image.open(path)
    pixel = list(image.getpixel((3, 3))) if image.mode == "RGB" else image.getpixel((3, 3))
    if image.mode == "RGB":
        pixel[0] ^= 1
        image.putpixel((3, 3), tuple(pixel))
    else:
        image.putpixel((3, 3), pixel ^ 1)
    image.save(path)


def change_label(path):
    text = path.read_text().splitlines()
    row = next(i for i, line in enumerate(text) if line.startswith("bar_0.png"))
    cells = text[row].split(",")
    cells[1] = str(int(cells[1]) - 1)
    text[row] = ",".join(cells[:2])
    path.write_text("\n".join(text) + "\n")


def other_questions(work):
    """Whatever is changed, the answer is that of a run without a cache, and nothing is found."""
    first = work.tmp / "images/bar_0.png"  # all else that is known goes on from the first image
    before = ("dataset add images",)
    changes = [
        ("a weight of the FP32 model", lambda: change_weight(work.tmp / "fp32.onnx"), ()),
        ("a weight of the INT8 model", lambda: change_weight(work.tmp / "int8_qdq.onnx"), ()),
        ("a pixel", lambda: change_pixel(first), ()),
        ("a label", lambda: change_label(work.tmp / "images/labels.csv"), ()),
        ("the preprocessing", None, ("preprocess mean=127",)),
        ("the numerics", None, ("set numerics ort-unfused",)),
        ("the kernels", None, ("set kernels plain",)),
        ("a pin", None, ("pin /block2/dw/Conv",)),
        ("the precision of a pin", None, ("pin /block2/dw/Conv --as fp16",)),
        ("a pin without weights", None, ("pin /block3/Add --as fp16",)),
        ("its precision", None, ("pin /block3/Add --as bf16",)),
        ("the order of images", None, ("dataset clear", "dataset add images/ring_1.png images")),
    ]
    for what, change, extra in changes:
        if change:
            change()
        hits, shown = work.found(*extra, "run", *LISTINGS, before=before)
        plain, _, _ = work.ask(*extra, "run", *LISTINGS, before=before, options=["--no-cache"])
        check(f"after {what} changed something is found", hits == 0)
        check(f"after {what} changed the answer is wrong", shown == plain.splitlines())
        hits, _ = work.found(*extra, "run", before=before)
        check(f"after {what} changed once, it is not found again", hits == 2)


def rows_of_arrays(work):
    """Samples that are rows of one file are known each by itself."""
    x = np.random.default_rng(1).standard_normal((6, 3, 32, 32)).astype(np.float32)
    np.save(work.tmp / "x.npy", x)
    before = ("dataset add x.npy",)
    work.found("run", before=before)
    hits, shown = work.found("run", before=before)
    check("rows are not found again", hits == 2)
    x[4, 0, 0, 0] += 1
    np.save(work.tmp / "x.npy", x)
    hits, shown = work.found("run", *LISTINGS, before=before)
    plain, _, _ = work.ask("run", *LISTINGS, before=before, options=["--no-cache"])
    check("a changed row is taken for the old one", hits == 0 and shown == plain.splitlines())


def images_that_fail(work):
    """A run in which one image cannot be read is a question too; its name is part of it."""
    (work.tmp / "images/aaa.png").write_bytes(b"\x89PNG\r\n\x1a\nno picture")
    first, notes, _ = work.ask("run", "images --top 0")
    again, same, _ = work.ask("run", "images --top 0")
    check("with a bad image the answers differ", first == again and "aaa.png" in first)
    check("with a bad image the notes differ", notes == same)
    hits, _ = work.found("run")
    check("a run with a bad image is not found again", hits == 1)
    (work.tmp / "images/aaa.png").rename(work.tmp / "images/aab.png")
    renamed, _, _ = work.ask("run", "images --top 0")
    check("the old name of a bad image", "aaa.png" not in renamed and "aab.png" in renamed)
    (work.tmp / "images/aab.png").unlink()


def broken_stores(work):
    """One line of warning, and the answers of a run without a cache."""
    lines = ("run", "layers --top 0", "sensitivity --exact --ways loo --images 4", "run")
    plain, _, _ = work.ask(*lines, options=["--no-cache"])
    whole = work.cache / "qscope/results-1.db"
    dice = random.Random(1)

    def bytes_of(name, data):
        folder = work.tmp / name / "qscope"
        folder.mkdir(parents=True)
        (folder / "results-1.db").write_bytes(data)
        return work.tmp / name

    good = whole.read_bytes()
    (work.tmp / "file").write_text("no folder")
    stores = [bytes_of("random", dice.randbytes(100_000)), bytes_of("text", b"hello " * 1000),
              bytes_of("cut", good[:len(good) // 3]), work.tmp / "file", Path("/dev/null/deep")]
    torn = bytearray(good)
    for _ in range(3000):
        torn[dice.randrange(4096, len(torn))] = dice.randrange(256)
    for store in [*stores, bytes_of("torn", bytes(torn))]:
        out, notes, _ = work.ask(*lines, cache=store)
        told = [line for line in notes.splitlines() if line.startswith("warning:")]
        check(f"the answer with a broken store {store.name}", out == plain)
        few = (0, 1) if store.name == "torn" else (1,)  # it may be torn where nobody looks
        check(f"{len(told)} warnings for {store.name}", len(told) in few)
    out, _, _ = work.ask("cache clear", "run", cache=work.tmp / "random")
    hits, _ = work.found("run", cache=work.tmp / "random")
    check("a damaged store cannot be cleared", hits == 2)


def many_at_once(work):
    """Processes that find and keep the same results at the same time."""
    store = work.tmp / "crowd"
    lines = ("run", *LISTINGS, "sensitivity --exact --images 6", "pin /block4/dw/Conv", "run", "layers")
    plain, _, _ = work.ask(*lines, options=["--no-cache"])
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda _: work.ask(*lines, cache=store), range(6)))
    check("processes at once differ", all(out == plain for out, _, _ in answers))
    check("processes at once warn", not any("warning" in notes for _, notes, _ in answers))


def limits(work):
    store = work.tmp / "small"
    for pin in ("/block1/dw/Conv", "/block2/dw/Conv", "/block3/dw/Conv"):
        work.ask("set cache-size 1M", f"pin {pin}", "run", "sensitivity --exact --ways loo --images 8",
                 "sensitivity --exact --ways only --images 8", "prefix --images 8", "run --limit 20", cache=store)
    size = (store / "qscope/results-1.db").stat().st_size
    check(f"a store of 1 MB has {size} bytes", size <= 1 << 20)


def main():
    with tempfile.TemporaryDirectory() as tmp:
        work = Work(tmp)
        asked_again(work)
        other_questions(work)
        rows_of_arrays(work)
        images_that_fail(work)
        broken_stores(work)
        many_at_once(work)
        limits(work)
    print(f"{counts['passed']} passed, {counts['failed']} failed")
    return 1 if counts["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
