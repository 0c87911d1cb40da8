#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Walks about what single views show and what their keys act on, and about ends of batches.

    walk_views.py [NAME...]      names of the walks below; all when none is given
"""

import shutil
import subprocess
import sys

from terminal import OPEN, PAIR, PATIENCE, QSCOPE, ROOT, Lost, Terminal, run_walks

WORST = ["/block4/dw/Conv", "/block3/dw/Conv", "/block4/pw/Conv"]  # as the first screen ranks them


def batch(*lines, options=(), cwd=ROOT):
    """A batch of these lines; what it printed and how it ended."""
    words = [w for line in lines for w in (line if isinstance(line, tuple) else ("-e", line))]
    return subprocess.run([QSCOPE, "--batch", "--no-config", "--no-cache", *options, *words],
                          cwd=cwd, capture_output=True, text=True, timeout=PATIENCE, check=False,
                          stdin=subprocess.DEVNULL)


# ---- Marks --------------------------------------------------------------------------------------

def walk_marks(_):
    """p acts on what is marked, all of it, and says so; Esc takes the marks away, not the view."""
    t = Terminal(OPEN, columns=120)
    t.wait_cursor(WORST[0])
    t.wait("p pin  ")
    t.press("Space", "Space")
    t.wait("+ marked 2", "p pin marked")
    t.press("G", "p")  # wherever the cursor is
    t.wait("pinned 2 layers, 2 pinned now", "pins 2")
    t.press("g", "j", "j", "Space")
    t.wait("+ marked 3")
    t.press("p")  # one of the three is not pinned yet
    t.wait("pinned 1 layer, 3 pinned now", "pins 3")
    t.press("p")
    t.wait("unpinned 3 layers, 0 pinned now", "pins 0")
    t.press("e")
    t.wait(":dump @marked --out")
    t.press("^C")
    t.press("4")
    t.wait("[4 Graph]", "p pin marked")
    t.press("p")
    t.wait("pinned 3 layers, 3 pinned now")
    t.press("2")  # one layer is shown, no marks: p is about that one
    t.wait("[2 Layer]", "p pin  ")
    t.press("1", "6")
    t.wait("qscope> pin @marked", "qscope> unpin @marked")
    t.press("1", "Esc")
    t.wait("[1 Layers]", "p pin  ", absent=("+ marked",))
    t.press("g")
    t.wait_cursor(WORST[0])
    t.press("p")
    t.wait("unpinned 1 layer, 2 pinned now")
    t.press("3", "Space", "Space", "D")
    t.wait(":dataset remove @marked")
    t.press("Enter")
    t.wait("94 images, 0 marked")
    t.press("Q")
    t.end()


def walk_ranks(_):
    """What is typed below the log means ranks of the layers view, until there is a listing."""
    t = Terminal(OPEN, columns=120)
    t.wait_cursor(WORST[0])
    t.press("6", "Enter", "pin @1", "Enter")
    t.wait("pinned 1 layer, 1 pinned now")
    t.press("pins", "Enter")
    t.wait(f"* {WORST[0]}")
    t.press("layers --sort sqnr:desc --top 3", "Enter")
    t.wait("1 . /stem/Conv")
    t.press("pin @1", "Enter", "pins", "Enter")
    t.wait("* /stem/Conv")
    t.press("\x0f", "Q")
    t.end()


def walk_marks_of_what_is_shown(_):
    """Behind a filter a and i are about the rows that it leaves."""
    t = Terminal(OPEN, columns=120)
    t.wait_cursor(WORST[0])
    t.press("&", "sqnr<20 && op==Conv", "Enter")
    t.wait("4 of 4 rows")
    t.press("a")
    t.wait("4 of 14 layers marked", "+ marked 4")
    t.press("j", "Space")
    t.wait("+ marked 3")
    t.press("i")
    t.wait("1 of 14 layers marked", "+ marked 1")
    t.press("i", "p")
    t.wait("pinned 3 layers, 3 pinned now")
    t.press("3")
    t.wait("[3 Images]")
    t.press("f", "a")
    t.wait("17 of 96 images marked", "17 rows")
    t.press("f", "i")
    t.wait("79 of 96 images marked")
    t.press("Q")
    t.end()


# ---- The log ------------------------------------------------------------------------------------

def walk_wide_tables(_):
    """Rows of tables take one row of the log each, and scroll sideways behind their names, also from
    an empty prompt; sentences are broken as before."""
    t = Terminal(OPEN)
    t.wait_cursor(WORST[0])
    t.press("6", "Enter")
    t.wait("Tab complete", "gained); numerics ort", absent=("(-17.71 points; 17 lost, 0 gained)",))
    t.press("layers --top 3", "Enter")
    t.wait("1 . /block4/dw/Conv", "COSINE", absent=("SATHI%",))
    t.settle()
    rows = [r for r in t.text().splitlines() if "Conv" in r and r.rstrip().endswith(">")]
    if len(rows) != 2:
        raise Lost(f"{rows} of\n{t.text()}")
    t.press("Right", "Right", "Right")
    t.wait("1 . /block4/dw/Conv", "SATHI%", "<", "gained); numerics ort", absent=("   OP  ",))
    t.press("Left", "Left", "Left")
    t.wait("   OP  ", "COSINE", absent=("SATHI%",))
    t.press("x", "Left", "y")  # in a line that is not empty they are for the line
    t.wait("qscope> yx")
    t.press("^C")
    t.wait("Tab complete", absent=("yx",))
    t.press("\x0f", "6", "l", "l", "l")
    t.wait("SATHI%", "Right wide tables")
    t.press("h", "h", "h")
    t.wait("   OP  ", absent=("SATHI%",))
    t.resize(24, 200)
    t.wait("SATHI%")
    t.press("Q")
    t.end()


# ---- Ends of batches ----------------------------------------------------------------------------

def walk_background_cancelled(tmp):
    """At the end of a batch ^C cancels what it waits for; what the script cancels is no failure."""
    for i in range(40):
        shutil.copytree(ROOT / "samples/images", tmp / str(i))
    t = Terminal(["--batch", "--no-cache", "--jobs", "1", "-e", "set kernels plain", *PAIR, tmp,
                  "-e", "run &"])
    t.wait("run #1 started on 3840 images", "ETA")
    t.press("^C")
    t.wait("end of the batch: error: cancelled after")
    t.end(130)
    done = batch("set kernels plain", f"load pair {' '.join(PAIR)}", f"dataset add {tmp}", "run &",
                 "cancel")
    if done.returncode or "run #1 cancelled, results kept" not in done.stderr:
        raise Lost(f"{done.returncode}: {done.stderr}")


# ---- Files --------------------------------------------------------------------------------------

def walk_dump_names_its_folder(tmp):
    """Without --out each dump has a folder of its own."""
    pair = [ROOT / p for p in PAIR]
    done = batch(f"load pair {pair[0]} {pair[1]}", f"dataset add {ROOT}/samples/images --limit 1",
                 "dump /head/Gemm", "dump /head/Gemm", cwd=tmp)
    made = sorted(p.name for p in tmp.iterdir())
    if done.returncode or made != ["dump-1", "dump-2"] or "dump-2/index.json" not in done.stdout:
        raise Lost(f"{made}: {done.stdout}{done.stderr}")
    if {p.name for p in (tmp / "dump-1").iterdir()} != {p.name for p in (tmp / "dump-2").iterdir()}:
        raise Lost("the two dumps differ")


if __name__ == "__main__":
    sys.exit(run_walks(globals()))
