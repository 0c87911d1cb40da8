#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reports say what the listings say, in every form, and stand alone, whatever the layers are called.

The HTML must be well formed, without scripts and without anything from elsewhere; tables of
Markdown must have as many cells in each row; CSV and JSON must be what `layers --json` says.
"""

import csv
import html.parser
import json
import os
import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree
from pathlib import Path

import onnx

ROOT = Path(__file__).resolve().parent.parent
QSCOPE = os.environ.get("QSCOPE_BIN") or str(ROOT / "build/qscope")
EVIL = "<script>alert('x')</script>&|`*_[x](http://y)\"\\\x1b[31m"
VOID = {"meta", "br", "line", "polyline", "polygon"}
counts = {"passed": 0, "failed": 0}


def check(text, good):
    counts["passed" if good else "failed"] += 1
    if not good:
        print(f"FAIL {text}")


def evil_models(folder):
    """The sample pair with a node whose name means something to every form."""
    for name in ("fp32.onnx", "int8_qdq.onnx"):
        model = onnx.load(str(ROOT / "samples/models" / name))
        for node in model.graph.node:
            if node.name.endswith("/block4/dw/Conv"):
                node.name = EVIL
        onnx.save(model, str(folder / name))


class Page(html.parser.HTMLParser):
    """Collects what a report may not have, and the cells of its tables."""

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.open, self.faults, self.cells, self.text = [], [], [], []

    def handle_starttag(self, tag, attrs):
        if tag in ("script", "iframe", "object", "embed", "link", "img", "form"):
            self.faults.append(f"<{tag}>")
        for key, value in attrs:
            if key in ("src", "href", "srcset", "action") or key.startswith("on"):
                self.faults.append(f"{key}={value}")
        if tag not in VOID:
            self.open.append(tag)
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_startendtag(self, tag, attrs):
        if tag not in VOID:
            self.faults.append(f"<{tag}/>")

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.faults.append(f"</{tag}> closes something else")

    def handle_data(self, data):
        self.text.append(data)
        if self.open and self.open[-1] in ("td", "th"):
            self.cells[-1] += data


def check_html(text, layers):
    page = Page()
    page.feed(text)
    page.close()
    check(f"html: {page.faults[:5]} {page.open}", not page.faults and not page.open)
    check("html: something from elsewhere", not re.search(r"url\(|@import|https?:", text.replace(
        "http://y", "")))
    check("html: control characters", not re.search(r"[\x00-\x08\x0b-\x1f\x7f]", text))
    names = set(page.cells)
    for row in layers:
        name = row["name"].replace("\x1b", "^[")
        check(f"html: layer {name} is not in the table", name in names)
        check(f"html: SQNR of {name}", f"{row['sqnr']:.2f}" in names)
    plots = re.findall(r"<svg.*?</svg>", text, re.S)
    check(f"html: {len(plots)} plots", len(plots) == 4)
    for plot in plots:
        xml.etree.ElementTree.fromstring(plot)
    points = len(re.findall("<circle", plots[0]))
    check(f"html: {points} points for {len(layers)} layers", points == len(layers))
    check("html: numerics, version", "onnxruntime x86" in text and ">qscope<" in text)


def check_markdown(text, layers):
    width = None
    for line in text.splitlines():
        cells = len(re.findall(r"(?<!\\)(?:\\\\)*\|", line))
        if not line.startswith("|"):
            width = None
            continue
        check(f"md: a row of {cells} instead of {width}: {line[:80]}", width in (None, cells))
        width = cells
    for row in layers:
        check(f"md: SQNR of {row['name']}", f"| {row['sqnr']:.2f} |" in text)
    check("md: markup in a name is not escaped", "<script" not in text.replace("\\<", ""))


def main():
    with tempfile.TemporaryDirectory() as tmp:
        tmp = Path(tmp)
        evil_models(tmp)
        (tmp / "evil.json").write_text(json.dumps({
            "kind": "qscope-report", "schema": 1, "created": "<script>x</script>\x1b[1m", "layers": [],
            "images": [], "models": {"int8": {"file": "<b>|"}}}))
        commands = [f"load pair {tmp}/fp32.onnx {tmp}/int8_qdq.onnx",
                    "preprocess samples/preprocess.json", "dataset add samples/images --limit 6",
                    "run", "pin @1", *(f"report {tmp}/r.{f} --top 3" for f in ("html", "md", "csv",
                                                                               "json")),
                    "layers --json --sort none", "images --json"]
        commands.insert(4, f"baseline save {tmp}/b.json")
        commands.insert(4, "layers --top 1")
        commands += ["run", *(f"report {tmp}/{b}.{f} --baseline {tmp}/{b}.json" for f in ("html", "md")
                              for b in ("b", "evil"))]
        words = [w for c in commands for w in ("-e", c)]
        done = subprocess.run([QSCOPE, "--batch", "--no-config", "--no-cache", *words], cwd=ROOT,
                              text=True, capture_output=True, timeout=120, check=False)
        check(f"reports are written: {done.stderr[-300:]}", done.returncode == 0)
        listed = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        layers, images = listed[0]["layers"], listed[1]["images"]
        check("the evil name is there", any(r["name"] == EVIL for r in layers))
        doc = json.loads((tmp / "r.json").read_text())
        check("json: layers", doc["layers"] == layers)
        check("json: images", doc["images"] == images)
        check("json: worst first", [doc["layers"][i]["sqnr"] for i in doc["worst"]]
              == sorted(r["sqnr"] for r in layers))
        check("json: histograms", len(doc["histograms"]) == 3 and all(
            sum(h["fp32"]) == sum(h["int8"]) > 0 for h in doc["histograms"]))
        check("json: pins", [p["layer"] for p in doc["pins"]]
              == [r["name"] for r in layers if r["pinned"]])
        with open(tmp / "r.csv", newline="") as f:
            rows = list(csv.DictReader(f))
        check("csv: names", [r["name"] for r in rows] == [r["name"] for r in layers])
        check("csv: figures", all(float(a["sqnr"]) == b["sqnr"] for a, b in zip(rows, layers)))
        check_html((tmp / "r.html").read_text(), layers)
        check_markdown((tmp / "r.md").read_text(), layers)
        for name in ("b", "evil"):
            html, md = (tmp / f"{name}.html").read_text(), (tmp / f"{name}.md").read_text()
            page = Page()
            page.feed(html)
            check(f"baseline {name}: {page.faults[:5]} {page.open}", not page.faults and not page.open)
            check(f"baseline {name}: markup", "<script" not in html and "\x1b" not in html
                  and "<script" not in md.replace("\\<", ""))
            check(f"baseline {name}: no section", "Since the baseline" in html
                  and "Since the baseline" in md)
            check_markdown(md, [])
        check("baseline: layers", "| sqnr | now | gain |" in (tmp / "b.md").read_text())
    print("{passed} passed, {failed} failed".format(**counts))
    return 1 if counts["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
