#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sweeps: the same to the last digit however they are computed, and what onnxruntime says.

An exact sweep must print what brute force prints, and what one thread, little memory and plain
kernels give; a race must be exact for the places that it promises. Then single trials are exported
and run in onnxruntime: its outputs give the same figures within what float sums of other order can
do.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np

from common import (DATA, SAMPLES, Tally, image_files, input_names, inputs_of, last_line, metas,
                    preprocess, qscope_json, session, word)

SAMPLE_INPUT = dict(width=32, height=32, channels=3, mean=127.5, std=127.5, layout="NCHW")
REAL = ("mobilenetv1_025_128_imagenet", "resnet8_cifar10")


def timeless(found):
    """Without what may differ between ways to the same result."""
    return {key: value for key, value in found.items() if key not in ("seconds", "runs", "command")}


class Pair:
    """Two models and inputs in a folder."""

    def __init__(self, title, fp32, int8, arrays, tmp):
        self.title, self.fp32, self.int8, self.arrays, self.tmp = title, fp32, int8, arrays, tmp
        for i, x in enumerate(arrays):
            np.save(tmp / f"x{i:02d}.npy", x)
        self.open = (f"load pair {word(fp32)} {word(int8)}",
                     "dataset add " + " ".join(word(tmp / f"x{i:02d}.npy")
                                               for i in range(len(arrays))))

    def sweep(self, tally, line, after=()):
        """The object that the last of the commands prints, or None; times taken out."""
        done, found = qscope_json(*self.open, line, *after)
        if not tally.check(done.returncode == 0, f"{self.title}, {line}: {last_line(done)}"):
            return None
        return timeless(list(found.values())[-1])


def with_little_memory(pair, line, after=()):
    """What the sweep prints with hardly more memory than one run takes."""
    for kib in (16 * 1.25 ** i for i in range(40)):
        done, found = qscope_json(f"set memory {kib:.0f}K", *pair.open, line, *after)
        last = list(found.values())[-1] if done.returncode == 0 else {"layers": [{"error": 1}]}
        if not any("error" in r for r in last["layers"]):
            return timeless(last)
    return None


def check_ways(tally, pair):
    """One sweep in several ways."""
    for command in ("sensitivity --ways loo --metric sqnr --images 3",
                    "sensitivity --ways loo --metric agreement --images 3",
                    "sensitivity --ways only --metric mse --images 3"):
        line = f"{command} --exact"
        exact = pair.sweep(tally, line + " --jobs 2")
        if exact is None:
            return
        ways = {"brute force": (command + " --brute",), "one thread": (line + " --jobs 1",),
                "five threads": (line + " --jobs 5",)}
        for way, commands in ways.items():
            other = pair.sweep(tally, *commands)
            tally.check(other == exact, f"{pair.title}, {line}: {way} gives other figures")
        tally.check(with_little_memory(pair, line) == exact,
                    f"{pair.title}, {line}: little memory gives other figures")
        bad = [r["name"] for r in exact["layers"] if "error" in r or r["images"] != 3]
        tally.check(not bad and exact["layers"], f"{pair.title}, {line}: not measured: {bad[:3]}")


VALUES = ("top1", "agreement", "sqnr", "cosine", "mse", "kl")


def check_raises(tally, pair):
    """A prefix and the suffix of the other layers are one model and nothing; whole models give
    what raised ones do."""
    both = pair.sweep(tally, "sensitivity --exact --images 3")
    one = pair.sweep(tally, "prefix --images 3"), pair.sweep(tally, "suffix --images 3")
    little = with_little_memory(pair, "prefix --images 3")
    if both is None or None in one:
        return
    prefix, suffix = (found["layers"] for found in one)
    tally.check(little == one[0], f"{pair.title}, prefix: little memory gives other figures")
    for name in VALUES:
        tally.check(prefix[0][name] == suffix[0][name] == both["base"][name],
                    f"{pair.title}: {name} with nothing raised is not that of the INT8 model")
        tally.check(prefix[-1][name] == suffix[-1][name],
                    f"{pair.title}: {name} with everything raised differs by the way there")
    rows = {row["name"]: row for row in both["layers"]}
    for raised in (prefix[1], suffix[1]):
        tally.check(all(rows[raised["name"]][name] == raised[name] for name in VALUES),
                    f"{pair.title}: the first layer raised is not that layer alone in FP32")
    only = pair.sweep(tally, "sensitivity --exact --ways only --metric sqnr --images 3")
    effects = {row["name"]: row["only_effect"] for row in (only or both)["layers"]}
    tally.check(all(effects[name] == row["only_effect"] for name, row in rows.items()),
                f"{pair.title}: both ways at once give other effects than one by itself")


def check_bisect(tally, pair):
    """The answer of a bisection against the whole curve."""
    curve = pair.sweep(tally, "prefix --metric cosine")
    if curve is None:
        return
    values = [row["cosine"] for row in curve["layers"]]
    goal = (values[0] + max(values)) / 2
    found = pair.sweep(tally, f"bisect --until cosine>={goal!r}")
    stop = pair.sweep(tally, f"prefix --until cosine>={goal!r}")
    if found is None or stop is None:
        return
    meets = [v >= goal for v in values]
    first = meets.index(True)
    tally.check(stop["raised"] == first, f"{pair.title}: prefix stops at {stop['raised']}, the "
                f"curve meets the goal at {first}")
    by_raised = {row["raised"]: row["cosine"] for row in found["layers"]}
    tally.check(all(np.isclose(values[k], v, rtol=1e-12) for k, v in by_raised.items()),
                f"{pair.title}: a bisection measures other prefixes")
    tally.check(found["raised"] == min(k for k, v in by_raised.items() if v >= goal),
                f"{pair.title}: a bisection does not give the shortest prefix that it has seen")
    tally.check(found["monotone"] or any(a and not b for a, b in zip(meets, meets[1:])),
                f"{pair.title}: a monotone curve is called not monotone")


def check_race(tally, pair):
    """The places that a race promises are exact."""
    exact = pair.sweep(tally, "sensitivity --ways loo --brute")
    race = pair.sweep(tally, "sensitivity --ways loo --top 2", after=("tried",))
    if exact is None or race is None:
        return
    by_layer = {r["name"]: r for r in exact["layers"]}
    for row in race["layers"][:2]:
        whole = by_layer[row["name"]]
        # Images are added up in another order.
        tally.check(row["images"] == len(pair.arrays) and
                    np.isclose(row["loo_gain"] or 0, whole["loo_gain"] or 0, rtol=1e-9,
                               atol=1e-12),
                    f"{pair.title}: race says {row['loo_gain']} for '{row['name']}', "
                    f"brute force {whole['loo_gain']}")
    few = sum(r["images"] < len(pair.arrays) for r in race["layers"])
    tally.check(few > 0, f"{pair.title}: the race ran everything")
    line = "sensitivity --ways loo --top 2"
    ways = {"one thread": pair.sweep(tally, line + " --jobs 1", after=("tried",)),
            "five threads": pair.sweep(tally, line + " --jobs 5", after=("tried",)),
            "little memory": with_little_memory(pair, line, after=("tried",))}
    for way, other in ways.items():
        tally.check(other == race, f"{pair.title}: a race with {way} gives other figures")


def figures(fp32, int8):
    """Outcomes of a list of outputs against another one, in double."""
    x = np.array([np.concatenate([v.ravel() for v in o]) for o in fp32], np.float64)
    y = np.array([np.concatenate([v.ravel() for v in o]) for o in int8], np.float64)
    noise, signal = ((x - y) ** 2).sum(), (x ** 2).sum()
    norm = np.linalg.norm(x, axis=1) * np.linalg.norm(y, axis=1)
    return {"sqnr": 10 * np.log10(signal / noise) if noise else np.inf,
            "mse": ((x - y) ** 2).mean(axis=1).mean(),
            "cosine": ((x * y).sum(axis=1) / norm).mean(),
            "agreement": 100 * (x.argmax(axis=1) == y.argmax(axis=1)).mean()}


def check_runtime(tally, pair, kind, layers):
    """Trials of these layers against onnxruntime on the exported model."""
    result = pair.sweep(tally, f"sensitivity --exact --ways {kind}")
    if result is None:
        return
    names = [r["name"] for r in result["layers"]]
    run = session(pair.fp32)
    feed = input_names(pair.fp32)[0]
    reference = [run.run(None, {feed: x}) for x in pair.arrays]
    rows = [r for r in result["layers"] if names.count(r["name"]) == 1]
    worst = 0.0
    for row in rows[::max(1, len(rows) // layers)]:
        pins = [row["name"]] if kind == "loo" else [n for n in names if n != row["name"]]
        out = pair.tmp / "mixed.onnx"
        done, _ = qscope_json(*pair.open, "pin " + " ".join(word(p) for p in pins),
                              f"export {word(out)} --force")
        title = f"{pair.title}, {kind} '{row['name']}'"
        if not tally.check(done.returncode == 0, f"{title}: {last_line(done)}"):
            continue
        mixed = session(out)
        want = figures(reference, [mixed.run(None, {feed: x}) for x in pair.arrays])
        if row["sqnr"] is None or np.isinf(want["sqnr"]):
            continue
        off = abs(row["sqnr"] - want["sqnr"])
        worst = max(worst, off)
        tally.check(off < 0.02 and abs(row["cosine"] - want["cosine"]) < 1e-5 and
                    abs(row["mse"] - want["mse"]) <= 0.005 * want["mse"],
                    f"{title}: {row['sqnr']:.4f} dB, {row['mse']:.3e}; onnxruntime "
                    f"{want['sqnr']:.4f} dB, {want['mse']:.3e}")
        if row["agreement"] is not None:
            tally.check(np.isclose(row["agreement"], want["agreement"]),
                        f"{title}: agreement {row['agreement']}, onnxruntime "
                        f"{want['agreement']}")
    print(f"{pair.title}, {kind}: {len(rows)} layers, largest difference {worst:.4f} dB",
          flush=True)


def check_search(tally, pair):
    """What a search leaves in force keeps its limit in onnxruntime too."""
    out = pair.tmp / "found.onnx"
    done, found = qscope_json(*pair.open, "sensitivity --exact --ways loo", "search --metric sqnr --max-pins 3",
                              f"export {word(out)} --force")
    if not tally.check(done.returncode == 0, f"{pair.title}, search: {last_line(done)}"):
        return
    steps = found["search"]["points"]
    tally.check(steps[-1]["sqnr"] >= max(r["sqnr"] for r in found["sensitivity"]["layers"]
                                         if r["sqnr"] is not None) - 1e-9,
                f"{pair.title}: three pins are worse than the best one")
    tally.check(all(a["sqnr"] <= b["sqnr"] for a, b in zip(steps, steps[1:])),
                f"{pair.title}: a step of the search made it worse")
    run, mixed = session(pair.fp32), session(out)
    feed = input_names(pair.fp32)[0]
    want = figures([run.run(None, {feed: x}) for x in pair.arrays],
                   [mixed.run(None, {feed: x}) for x in pair.arrays])
    tally.check(abs(want["sqnr"] - steps[-1]["sqnr"]) < 0.02,
                f"{pair.title}: search says {steps[-1]['sqnr']:.3f} dB, onnxruntime "
                f"{want['sqnr']:.3f} dB")


def check_pair(tally, title, fp32, int8, arrays, layers):
    with tempfile.TemporaryDirectory() as folder:
        pair = Pair(title, fp32, int8, arrays, Path(folder))
        check_ways(tally, pair)
        check_raises(tally, pair)
        check_bisect(tally, pair)
        check_race(tally, pair)
        check_runtime(tally, pair, "loo", layers)
        check_runtime(tally, pair, "only", layers // 2)
        check_search(tally, pair)


def main():
    tally = Tally()
    models = SAMPLES / "models"
    pictures = [preprocess(p, SAMPLE_INPUT) for p in image_files(SAMPLES / "images")[::12]]
    for form in ("int8_qdq.onnx", "int8_qop.onnx"):
        check_pair(tally, f"samples/{form}", models / "fp32.onnx", models / form, pictures, 14)
    if (DATA / "models").is_dir():
        for folder, meta in metas():
            if folder.name in REAL:
                int8 = sorted(folder.glob("int8_q*.onnx"))[-1]
                check_pair(tally, f"{folder.name}/{int8.name}", folder / "fp32.onnx", int8,
                           inputs_of(meta, 6), 6)
    tally.close()


if __name__ == "__main__":
    sys.exit(main())
