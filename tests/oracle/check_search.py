#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""The search for pins, judged by onnxruntime on the files that it exports.

    check_search.py [--all]

What it finds keeps its limit in onnxruntime, and without any one of its pins the limit is missed.
On the anchors it needs no more pins than scripted strategies on onnxruntime did, and it says how
sure it is that fewer would not do. Other pairs are searched as long as time is left; with --all
every pair is, and a table says what was found.
"""

import csv
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from common import (DATA, SAMPLES, Tally, image_files, input_names, int8_files, last_line, metas,
                    preprocess, preprocess_words, qscope_json, session, word)

# Pair, points of top-1 lost at most, pins that suffice.
ANCHORS = [
    ("mobilenetv2_10_imagenet", "qdq_pt_sym", 5, 2),
    ("mobilenetv2_10_imagenet", "qdq_pt_sym", 1, 3),
    ("mobilenetv2_035_128_flowers", "qdq_pt_sym", 5, 2),
    ("mobilenetv2_035_128_flowers", "qdq_pt_sym", 1, 3),
    ("mobilenetv1_025_128_imagenet", "qdq_badcal", 5, 1),
    ("mobilenetv1_025_128_imagenet", "qdq_badcal", 1, 3),
    ("vit_mnist", "qdq_badcal", 5, 0),
    ("vit_mnist", "qdq_badcal", 1, 2),
    ("resnet8_cifar10", "qdq_badcal", 5, 0),
    ("resnet8_cifar10", "qdq_badcal", 1, 2),
]
# Networks that do not classify: SQNR of the outputs above what INT8 has, in dB.
OTHERS = [("super_resolution", "qdq_badcal", 2), ("yunet_n_320", "qdq_pt_sym", 2)]
SMALL = 400_000  # bytes of a model that is searched beside the anchors
SECONDS = float(os.environ.get("SEARCH_SECONDS") or 300)


class Pair:
    """A pair, its pictures and labels."""

    def __init__(self, folder, meta, int8, tmp, limit=None):
        self.tmp, self.fp32, self.int8 = tmp, folder / "fp32.onnx", int8
        self.title = f"{folder.name}/{int8.name}"
        images = DATA / "images" / meta["images"]
        offset = meta.get("label_offset") or 0
        self.open = (f"load pair {word(self.fp32)} {word(int8)}",
                     preprocess_words(meta["preprocess_onnx"]),
                     f"dataset add {word(images)} --label-offset {offset}")
        if limit:
            self.open = (*self.open[:2], self.open[2] + f" --limit {limit}")
        files = image_files(images)[:limit]
        self.inputs = [preprocess(p, meta["preprocess_onnx"]) for p in files]
        self.labels = None
        if (images / "labels.csv").exists():
            with open(images / "labels.csv", newline="") as f:
                label = {row["file"]: int(row["label"]) for row in csv.DictReader(f)}
            self.labels = [label[p.name] + offset for p in files]

    def outputs(self, model):
        run, name = session(model), input_names(self.fp32)[0]
        return [run.run(None, {name: x}) for x in self.inputs]

    def top1(self, outputs):
        right = sum(int(np.argmax(o[0])) == label for o, label in zip(outputs, self.labels))
        return 100 * right / len(self.labels)

    def exported(self, names):
        """The outputs in onnxruntime of the model with these pins."""
        if not names:
            return self.outputs(self.int8)
        out = self.tmp / "mixed.onnx"
        done, _ = qscope_json(*self.open[:1], "pin " + " ".join(word(n) for n in names),
                              f"export {word(out)} --force")
        if done.returncode:
            raise RuntimeError(f"{self.title}: {last_line(done)}")
        return self.outputs(out)

    def search(self, options):
        done, found = qscope_json(*self.open, f"search {options} --jobs 2", "pins")
        return done, found.get("search")


def sqnr(reference, outputs):
    x = np.concatenate([v.ravel() for o in reference for v in o]).astype(np.float64)
    y = np.concatenate([v.ravel() for o in outputs for v in o]).astype(np.float64)
    return 10 * np.log10((x ** 2).sum() / ((x - y) ** 2).sum())


def check_form(tally, title, found):
    """The object that scripts read."""
    keys = {"command", "metric", "fp32", "int8", "target", "reached", "met", "measured_images",
            "pins", "points", "runs", "seconds", "confidence", "minimal"}
    tally.check(keys <= set(found), f"{title}: no {keys - set(found)}")
    for point in found["points"]:
        tally.check({"pins", "metric", "cost", "measured", "images", "low", "high"} <= set(point),
                    f"{title}: a point lacks something: {point}")
        tally.check(point["measured"] == (point["images"] == found["measured_images"]) and
                    point["low"] <= point["metric"] <= point["high"],
                    f"{title}: a point says what is not true: {point}")
    best = [p for p in found["points"] if p["pins"] == len(found["pins"]) and p["measured"]]
    tally.check(len(best) == 1, f"{title}: the answer is not a point that was measured")
    sure = found["confidence"]["no_smaller_set"]
    # Five pins or more of a large model: too many smaller sets to say.
    unknown = any(x["missed"] is None for x in found["confidence"]["sizes"]
                  if x["pins"] < len(found["pins"]))
    tally.check(sure is None if unknown or len(found["pins"]) > 5
                else sure is not None and 0 <= sure <= 1,
                f"{title}: does not say how sure it is")


def check_minimal(tally, pair, options, value, better):
    """What was found, and each pin of it, by value(outputs) in onnxruntime."""
    title = f"{pair.title}, {options}"
    done, found = pair.search(options)
    if not tally.check(done.returncode == 0 and found and found["met"],
                       f"{title}: {last_line(done)}"):
        return None
    check_form(tally, title, found)
    pins, target = found["pins"], found["target"]
    got = value(pair.exported(pins))
    tally.check(better(got, target), f"{title}: onnxruntime says {got:.3f}, not {target:.3f}")
    for pin in pins:
        rest = value(pair.exported([p for p in pins if p != pin]))
        tally.check(not better(rest, target),
                    f"{title}: '{pin}' is not needed: {rest:.3f} without it")
    sure = found["confidence"]["no_smaller_set"]
    print(f"{title}: {len(pins)} pins, {got:.2f} (target {target:.2f}), {found['seconds']:.1f} s, "
          f"{found['runs']} runs, sure {sure if sure is None else round(sure, 3)}", flush=True)
    return found


def check_top1(tally, pair, drop, most=None):
    found = check_minimal(tally, pair, f"--metric top1 --max-drop {drop}", pair.top1,
                          lambda a, b: a >= b - 1e-9)
    if found and most is not None:
        tally.check(len(found["pins"]) <= most,
                    f"{pair.title}, {drop} points: {len(found['pins'])} pins, {most} suffice")
    return found


def check_sqnr(tally, pair, more):
    reference = pair.outputs(pair.fp32)
    start = sqnr(reference, pair.outputs(pair.int8))
    # Sums of floats in another order move it by less.
    check_minimal(tally, pair, f"--metric sqnr --reach {start + more:.3f}",
                  lambda outputs: sqnr(reference, outputs), lambda a, b: a >= b - 0.02)


def check_samples(tally, folder):
    """The sample pair: ways to search, and what they leave in force."""
    models = SAMPLES / "models"
    start = (f"load pair {word(models / 'fp32.onnx')} {word(models / 'int8_qop.onnx')}",
             f"preprocess {word(SAMPLES / 'preprocess.json')}", f"dataset add {SAMPLES}/images")
    for method in ("auto", "pareto", "greedy", "bisect"):
        done, found = qscope_json(*start, f"search --metric top1 --max-drop 2 --method {method}",
                                  "pins", "undo", "pins")
        if tally.check(done.returncode == 0, f"samples, {method}: {last_line(done)}"):
            tally.check(found["search"]["met"] and len(found["search"]["pins"]) <= 2,
                        f"samples, {method}: {found['search']['pins']}")
            tally.check(not found["pins"]["pins"], f"samples, {method}: undo leaves pins")
            sizes = {p["pins"] for p in found["search"]["points"] if p["measured"]}
            tally.check(method != "pareto" or sizes == {0, 1, 2},
                        f"samples, {method}: points of {sizes} pins")
    done, found = qscope_json(*start, "search --metric top1 --max-drop 2 --time-limit 0.000001")
    tally.check(done.returncode != 0 and found["search"]["out_of_time"],
                "samples: the time limit is not kept")
    one, two = (qscope_json(*start, f"search --metric sqnr --reach 30 --jobs {n}")[1]["search"]
                for n in (1, 3))
    for x in (one, two):
        x.pop("seconds")
    tally.check(one == two, "samples: three threads find something else than one")


def check_costs(tally, pair):
    """Of the layers that do alone, the cheapest is pinned; times are measured."""
    done, found = qscope_json(*pair.open, "sensitivity --exact --ways loo --metric top1 --jobs 2")
    rows = found["sensitivity"]["layers"]
    limit = found["sensitivity"]["fp32"]["top1"] - 1
    for model, field in (("macs", "pin_macs"), ("weights", "pin_weights")):
        done, found = pair.search(f"--metric top1 --max-drop 1 --cost {model}")
        least = min(r[field] for r in rows if r["top1"] >= limit - 1e-9)
        names = found["pins"]
        cost = sum(r[field] for r in rows if r["name"] in names)
        tally.check(len(names) == 1 and cost == least and found["cost_model"] == model and
                    found["minimal"], f"{pair.title}, {model}: {names} cost {cost}, not {least}")
    for model in ("activations", "boundaries", "ms"):
        done, found = pair.search(f"--metric top1 --max-drop 1 --cost {model}")
        point = found["points"][-1]
        tally.check(done.returncode == 0 and len(found["pins"]) == 1 and
                    point["cost"] is not None and point["cost"] == point["costs"][
                        {"activations": "activation_bytes"}.get(model, model)],
                    f"{pair.title}, {model}: {point}")
    done, found = qscope_json(*pair.open, "search --metric top1 --max-drop 1 --cost ms",
                              "pareto --cost ms", "pareto --cost boundaries")
    points = found["pareto"]["points"]
    tally.check(all(a["cost"] < b["cost"] and a["metric"] < b["metric"]
                    for a, b in zip(points, points[1:])) and points,
                f"{pair.title}: the front is none: {[(p['cost'], p['metric']) for p in points]}")


# ---- All pairs ------------------------------------------------------------------------------

def row_of(pair, goal, found, total, got, rest):
    """A line of the table."""
    sure = found["confidence"]["no_smaller_set"]
    return (f"| {pair.title.replace('.onnx', '')} | {goal} | {found['int8']:.2f} | "
            f"{found['target']:.2f} | {len(found['pins'])}/{total} | {got:.2f} | "
            f"{'' if rest is None else f'{rest:.2f}'} | {found['seconds']:.1f} | "
            f"{'' if sure is None else f'{100 * sure:.1f} %'} |")


def check_pair(tally, pair, goal, options, value, slack):
    """A line of the table: what was found, judged by value(outputs) in onnxruntime."""
    title = f"{pair.title}, {goal}"
    done, found = pair.search(options)
    if not tally.check(found is not None, f"{title}: {last_line(done)}"):
        return f"| {title} | failed |"
    _, layers = qscope_json(*pair.open[:1], "pin *", "pins")
    pins, target, every = found["pins"], found["target"], [
        p["layer"] for p in layers["pins"]["pins"]]
    got = value(pair.exported(pins))
    if not found["met"]:
        whole = value(pair.exported(every))
        tally.check(whole < target + slack, f"{title}: not reached, with all pinned {whole:.3f}")
        return row_of(pair, goal + " (cannot be met)", found, len(every), got, None)
    check_form(tally, title, found)
    tally.check(got >= target - slack, f"{title}: onnxruntime says {got:.3f}, not {target:.3f}")
    rest = [value(pair.exported([p for p in pins if p != pin])) for pin in pins]
    for pin, v in zip(pins, rest):
        tally.check(v < target + slack, f"{title}: '{pin}' is not needed: {v:.3f} without it")
    return row_of(pair, goal, found, len(every), got, max(rest) if rest else None)


def check_all(tally, tmp):
    """Every pair, to 5 and 1 points of top-1, or 3 dB above what INT8 has."""
    print("| pair | limit | INT8 | target | pins/layers | onnxruntime | best without one pin | "
          "seconds | sure |\n|---|---|---|---|---|---|---|---|---|")
    for folder, meta in metas():
        for int8 in int8_files(folder):
            classes = meta["task"].startswith("classification")
            pair = Pair(folder, meta, int8, tmp, None if classes else 12)
            if classes and pair.labels:
                for drop in (5, 1):
                    print(check_pair(tally, pair, f"top-1 drop {drop}",
                                     f"--metric top1 --max-drop {drop}", pair.top1, 1e-9),
                          flush=True)
                continue
            reference = pair.outputs(pair.fp32)
            start = sqnr(reference, pair.outputs(int8))
            print(check_pair(tally, pair, "SQNR + 3 dB", f"--metric sqnr --reach {start + 3:.3f}",
                             lambda outputs: sqnr(reference, outputs), 0.02), flush=True)


def main():
    tally, began = Tally(), time.monotonic()
    if "--all" in sys.argv[1:]:
        with tempfile.TemporaryDirectory() as tmp:
            check_all(tally, Path(tmp))
        tally.close()
    with tempfile.TemporaryDirectory() as tmp:
        check_samples(tally, Path(tmp))
        if not (DATA / "models").is_dir():
            tally.close()
        folders = {folder.name: (folder, meta) for folder, meta in metas()}
        done = set()
        for name, form, drop, most in ANCHORS:
            pair = Pair(*folders[name], folders[name][0] / f"int8_{form}.onnx", Path(tmp))
            check_top1(tally, pair, drop, most)
            done.add(pair.title)
        for name, form, more in OTHERS:
            check_sqnr(tally, Pair(*folders[name], folders[name][0] / f"int8_{form}.onnx",
                                   Path(tmp)), more)
        name = "resnet8_cifar10"
        check_costs(tally, Pair(*folders[name], folders[name][0] / "int8_qdq_badcal.onnx",
                                Path(tmp)))
        for folder, meta in folders.values():
            for int8 in int8_files(folder):
                pair = Pair(folder, meta, int8, Path(tmp))
                left = SECONDS - (time.monotonic() - began)
                if left > 0 and pair.labels and pair.title not in done and \
                        meta["task"].startswith("classification") and \
                        (folder / "fp32.onnx").stat().st_size < SMALL:
                    check_top1(tally, pair, 1)
    tally.close()


if __name__ == "__main__":
    sys.exit(main())
