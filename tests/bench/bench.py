#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the benchmarks that are named, or all, and writes their figures as JSON and as a page.

usage: bench.py [--quick] [--models FOLDER] [NAME...]

A full run replaces the named benchmarks in docs/benchmarks.json and makes docs/benchmarks.md from
it. --quick measures fewer pairs and less of each, and writes to build/bench/quick.json and .md.
"""

import argparse
import json
import sys
import time

import page
from measure import ROOT, machine
from rows import ROWS


def load(path):
    return json.loads(path.read_text()) if path.is_file() else {"rows": {}}


def main():
    parser = argparse.ArgumentParser(description="benchmarks: " + " ".join(ROWS))
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--models", default=str(ROOT / "build/bench/models"))
    parser.add_argument("names", nargs="*", metavar="NAME")
    options = parser.parse_args()
    unknown = [name for name in options.names if name not in ROWS]
    if unknown:
        parser.error(f"no benchmark '{unknown[0]}', there are {' '.join(ROWS)}")
    target = ROOT / ("build/bench/quick.json" if options.quick else "docs/benchmarks.json")
    found, missed, errors = load(target), 0, 0
    for name in options.names or ROWS:
        start = time.perf_counter()
        try:
            row = ROWS[name](options)
        except RuntimeError as error:
            print(f"{name}: {error}", flush=True)
            errors += 1
            continue
        if row is None:
            print(f"{name}: skipped", flush=True)
            continue
        row.update(machine=machine(), minutes=round((time.perf_counter() - start) / 60, 1))
        found["rows"][name] = row
        found["rows"] = {known: found["rows"][known] for known in ROWS if known in found["rows"]}
        target.write_text(json.dumps(found, indent=1) + "\n")
        target.with_suffix(".md").write_text(page.make(found))
        missed += sum(not line.get("met", True) for line in row["lines"])
        print("\n".join(page.text_lines(name, row)), flush=True)
    print(f"{missed} targets not met, {errors} benchmarks failed")
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
