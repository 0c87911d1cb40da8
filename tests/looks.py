#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""The six views as a terminal shows them, in three looks and two sizes, compared with files.

    looks.py [--update] [LOOK...]     color, ascii, mono; all when none is given

A file tests/looks/LOOK_COLSxROWS.txt has the views one after the other. In the look `color` a second
block of each says how its cells are drawn: one letter for each way, '.' for the plain one. --update
writes what is shown now; read the difference before you commit it.
"""

import difflib
import re
import string
import sys
import time

import transcripts
import walk

VIEWS = ["Layers", "Layer", "Images", "Graph", "Pins", "REPL"]
SIZES = [(80, 24), (160, 48)]
LOOKS = {
    "color": {"LC_ALL": "C.UTF-8", "NO_COLOR": "", "COLORTERM": ""},
    "ascii": {"LC_ALL": "C", "NO_COLOR": "", "COLORTERM": ""},
    "mono": {"LC_ALL": "C.UTF-8", "NO_COLOR": "1"},
}
SCRIPT = ["preprocess samples/preprocess.json", "dataset add samples/images --limit 24 --seed 3",
          "run", "sensitivity --exact --ways loo --metric sqnr", "pin /block4/dw/Conv", "run", "toggle classes",
          "layers --top 3"]
QUIET = 0.6  # seconds without a change: pictures have been made
FOLDER = walk.ROOT / "tests/looks"


def still(t):
    """Waits until the screen stays as it is."""
    before, since = None, time.monotonic()
    while time.monotonic() - since < QUIET:
        t.read(0.05)
        if t.text() != before:
            before, since = t.text(), time.monotonic()


def ways(t):
    """One letter a cell for how it is drawn, and what the letters mean."""
    letters, rows = {}, []
    for y in range(t.screen.lines):
        row = ""
        for x in range(t.screen.columns):
            c = t.screen.buffer[y][x]
            way = (c.fg, c.bg, "bold" if c.bold else "", "reverse" if c.reverse else "")
            if way == ("default", "default", "", ""):
                row += "."
            else:
                row += letters.setdefault(
                    way, (string.ascii_letters + string.digits)[len(letters) % 62])
        rows.append(row.rstrip("."))
    legend = [f"{letter} {' '.join(w for w in way if w)}" for way, letter in letters.items()]
    return "\n".join(rows + legend)


def colours(t):
    return {c.fg for r in t.screen.buffer.values() for c in r.values()} | \
        {c.bg for r in t.screen.buffer.values() for c in r.values()}


def show(look, size):
    lines = [w for line in [f"load pair {' '.join(walk.PAIR)}", *SCRIPT] for w in ("-e", line)]
    t = walk.Terminal(["--no-config", *lines], rows=size[1], columns=size[0], env=LOOKS[look])
    t.wait("/block4/dw/Conv", "run #3, 24 of 24 images")
    parts = []
    for number, title in enumerate(VIEWS, 1):
        t.press(str(number))
        t.wait(f"[{number} {title}]")
        still(t)
        # The job line tells how long the run took.
        text = re.sub(r"(24 of 24 images), [0-9.]+ s \([0-9.]+ img/s\)", r"\1", t.text())
        parts.append(text + ("\n" + ways(t) if look == "color" else ""))
        if look == "ascii" and any(ord(c) > 126 for c in text):
            raise walk.Lost(f"not ASCII:\n{text}")
        if look == "mono" and colours(t) != {"default"}:
            raise walk.Lost(f"colours {colours(t)} in\n{text}")
    t.press("Q")
    t.end()
    return "\n".join(parts) + "\n"


def main():
    words = sys.argv[1:]
    update = "--update" in words
    wanted = [w for w in words if w in LOOKS] or list(LOOKS)
    passed = failed = 0
    for look in wanted:
        for size in SIZES:
            path = FOLDER / f"{look}_{size[0]}x{size[1]}.txt"
            try:
                text = show(look, size)
                if update:
                    path.write_text(text)
                want = path.read_text()
                problem = "" if transcripts.same(want, text) else "".join(difflib.unified_diff(
                    want.splitlines(True), text.splitlines(True), "expected", "shown"))
            except (walk.Lost, OSError) as e:
                problem = str(e)
            passed, failed = passed + (not problem), failed + bool(problem)
            if problem:
                print(f"FAIL {path.name}: {problem}")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
