#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Walks through the screen in a real pseudo-terminal, seen by a terminal emulator.

    walk.py [NAME...]      names of the walks below; all when none is given

A walk presses keys and waits for what must then be on the screen.
"""

import base64
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import pexpect
from onnx import TensorProto, helper, numpy_helper

from terminal import (KEYS, OPEN, PAIR, PATIENCE, QSCOPE, ROOT, Lost, Terminal, default_signals,
                      run_walks)

DATA = Path(os.environ.get("QSCOPE_SHARED") or ROOT.parent / "shared") / "data"


# ---- Walks --------------------------------------------------------------------------------------

def walk_find_and_pin(tmp):
    """The user's whole walk on the sample pair: rank, look, pin, run, images, export, leave."""
    t = Terminal(OPEN)
    t.wait("/block4/dw/Conv", "/block3/dw/Conv")
    t.press("Enter")
    t.wait("/block4/", "channel")
    t.press("q")
    t.wait("/block1/")
    t.command("pin /block4/dw/Conv /block3/dw/Conv")
    t.press("R")
    t.press("3")
    t.wait(".png")
    t.press("5")
    t.wait("/block4/dw/Conv", "/block3/dw/Conv")
    t.press("u")
    t.wait("pins 0", "unpinned")
    t.press("U")
    t.wait("pins 2")
    t.press("1")
    out = tmp / "mixed.onnx"
    t.command(f"export {out}")
    deadline = time.monotonic() + PATIENCE
    while not out.exists() and time.monotonic() < deadline:
        t.read(0.05)
    if not out.exists():
        raise Lost(f"nothing was exported\n{t.text()}")
    t.press("?")
    t.wait("pin")
    t.press("q")
    t.press("Q")
    t.end()


def walk_completion(_):
    """The command line completes commands and layers, and says what is wrong."""
    t = Terminal(OPEN)
    t.wait("/block4/dw/Conv")
    t.press(":", "lay", "Tab")
    t.wait("layer")
    # The terminal drops what is typed ahead of a ^C that it has not handed on yet.
    t.press("^C")
    t.wait("R run")
    t.press(":", "pin /block4/d", "Tab")
    t.wait("pin /block4/dw/Conv")
    t.press("^C")
    t.wait("R run")
    t.command("frobnicate")
    t.wait("frobnicate")
    t.press("Q")
    t.end()


def walk_repl(_):
    """The prompt below its transcript: answers of scripts and of what is typed, one line after the
    other; what can follow is explained; history; ^C clears, ^O leaves."""
    t = Terminal(OPEN)
    t.wait("/block4/dw/Conv")
    t.press("6")
    t.wait("qscope> run", "17 lost, 0", "gained); numerics ort", "Enter types here")
    t.press("Enter")
    t.wait("Tab complete")
    t.press("help ", "Tab")  # what can follow takes the room that is free
    t.wait("accumulators", "history", "load")
    t.press("^C")
    t.wait("Tab complete", absent=("accumulators",))
    t.press("layers --top 2", "Enter")
    t.wait("qscope> layers --top 2", "/block4/dw/Conv", "Tab complete")
    t.press("exprot x", "Enter")
    t.wait("did you mean 'export'? [E_USAGE]")
    t.press("export m.onnx --ver", "Tab")
    t.wait("--verify-images", "compare on N images")
    t.press("^C")
    t.wait("Tab complete", absent=("export m.onnx",))
    t.press("layers --sort co", "Tab")
    t.wait("layers --sort cosine")
    t.press("^C")
    t.wait("Tab complete", absent=("cosine",))
    t.press("\x12", "top 2")  # a search backwards in the history
    t.wait("reverse-i-search", "layers --top 2")
    t.press("Enter")
    t.wait("8 tensors have no counterpart", absent=("reverse-i-search",))
    t.resize(48, 160)
    t.press("bise")
    t.wait("layers by sqnr")
    t.press("ct")
    t.wait("help bisect", "find the shortest prefix of the network")
    t.press("\x0f")
    t.wait("[1 Layers]")
    t.press("6", "Enter", "quit", "Enter")
    t.end()


def walk_twelve_keys(tmp):
    """From the start to an exported mixed model: six views seen, the worst layers pinned, measured
    again and written, in at most twelve key presses; a file name typed counts as one."""
    out = tmp / "mixed.onnx"
    t = Terminal([*PAIR, "samples/images", "-e", "preprocess samples/preprocess.json"])
    t.wait("96 of 96 images", "/block4/dw/Conv")
    seen = [
        ("p", "pinned 1 layer"),  # /block4/dw/Conv
        ("2", "[2 Layer]"),
        ("3", "[3 Images]"),
        ("4", "[4 Graph]"),
        ("5", "[5 Pins]"),
        ("6", "[6 REPL]"),
        ("R", "run #2"),
        ("1", "/block3/dw/Conv"),
        ("E", ":export"),
        (str(out), str(out)),
        ("Enter", "mixed.onnx"),
    ]
    if len(seen) > 12:
        raise Lost(f"{len(seen)} keys")
    for key, wanted in seen:
        t.press(key)
        t.wait(wanted)
        if key == "R":
            t.wait("last: run #2, 96 of 96 images")
    end = time.monotonic() + PATIENCE
    while not out.exists() and time.monotonic() < end:
        t.read(0.05)
    t.press("Q")
    t.end()
    done = subprocess.run([QSCOPE, "--batch", "--no-config", "--no-cache", "-e",
                           f"load pair {PAIR[0]} {out}",
                           "-e", "preprocess samples/preprocess.json",
                           "-e", "dataset add samples/images", "-e", "run",
                           "-e", "assert top1_drop < 6"], cwd=ROOT, timeout=PATIENCE,
                          capture_output=True, text=True, check=False)
    if done.returncode:
        raise Lost(f"the model written is no better: {done.stdout}{done.stderr}")


def walk_sizes(_):
    """Any size is drawn, and the program stays alive through changes of it."""
    t = Terminal(OPEN, rows=48, columns=160)
    t.wait("/block4/dw/Conv")
    rng = random.Random(1)
    sizes = [(1, 1), (2, 80), (24, 3), (9, 39), (10, 40), (60, 200), (200, 500)]
    sizes += [(rng.randint(1, 70), rng.randint(1, 220)) for _ in range(20)]
    for rows, columns in sizes:
        t.resize(rows, columns)
        t.press(rng.choice(["1", "2", "3", "4", "5", "6", "j", "G", "g", "Tab"]))
        for _ in range(3):
            t.read(0.02)
        if not t.child.isalive():
            raise Lost(f"died at {rows}x{columns}")
    t.resize(24, 80)
    t.press("Esc", "1", "g")
    t.wait("/block4/dw/Conv")
    t.press("Q")
    t.end()


def walk_terminals(_):
    """Every terminal type gets a screen or a prompt, never a crash."""
    for term in ("vt100", "vt220", "linux", "screen", "tmux", "xterm", "xterm-256color", "dumb",
                 "no-such-terminal"):
        t = Terminal(OPEN, term=term)
        # Without cursor movement there is a prompt, where quit is a command.
        plain = term in ("dumb", "no-such-terminal")
        if plain:
            t.child.send("layers --top 2\rquit\r")
        else:
            t.wait("/block4/dw")
            t.press("Q")
        t.end()


def walk_monochrome(_):
    """Without colours or UTF-8 the same things are on the screen."""
    t = Terminal(["--ascii", *OPEN], env={"NO_COLOR": "1", "LC_ALL": "C"})
    text = t.wait("/block4/dw/Conv")
    if any(ord(c) > 126 for c in text):
        raise Lost(f"not ASCII:\n{text}")
    t.press("Enter")
    if any(ord(c) > 126 for c in t.wait("channel")):
        raise Lost(f"not ASCII:\n{t.text()}")
    t.press("Q")
    t.end()


def walk_signals(_):
    """Ended by a signal it leaves the terminal and says so in the exit code."""
    for sig, code in ((signal.SIGTERM, 143), (signal.SIGHUP, 129)):
        t = Terminal(OPEN)
        t.wait("/block4/dw/Conv")
        t.child.kill(sig)
        t.end(code)


def walk_newcomer(_):
    """Models and images named on the command line: a ranked table without a key pressed."""
    t = Terminal([*PAIR, "samples/images"])
    start = time.monotonic()
    t.wait("SQNR", "/block4/dw/Conv", "dB", seconds=PATIENCE)
    t.wait("96 of 96 images")
    print(f"ranked table after {time.monotonic() - start:.1f} s")
    # At most four times q lead out, from anywhere.
    t.press("Enter", "?")
    t.wait("keys and commands")
    t.press("q", "q", "q")
    t.end()


def walk_live(tmp):
    """While a run goes on the table fills, and ^C keeps what there is; it never ends the program."""
    for i in range(20):
        shutil.copytree(ROOT / "samples/images", tmp / str(i))
    t = Terminal(["--jobs", "1", "-e", "set kernels plain", *PAIR, tmp])
    t.wait("run #1", "%", "ETA", "^C cancel", "/block4/dw/Conv")
    # While a line is typed ^C clears it, then ends the typing; only then it is for the job.
    t.press("6", "Enter", "abc")
    t.wait("qscope> abc", "ETA")
    t.press("^C")
    t.wait("Tab complete", "ETA", absent=("abc",))
    t.press("^C")
    t.wait("Enter type", "ETA", absent=("stopping",))
    t.press("^C")
    t.wait("cancelled, kept")
    t.press("^C")
    t.press("6")
    t.wait("results kept")
    t.press("Q")
    t.end()


def walk_job_makes_room(tmp):
    """What is under way ends when something takes its place: that is said, and so is what is left."""
    for i in range(20):
        shutil.copytree(ROOT / "samples/images", tmp / str(i))
    t = Terminal(["--jobs", "1", "--no-cache", "-e", "set kernels plain", *PAIR,
                  "-e", "preprocess samples/preprocess.json"], columns=120)
    t.wait("/block4/dw/Conv")
    add = f"dataset add {tmp}"
    for start, name in (("sensitivity --exact", "sensitivity #1"),
                        ("search --max-drop 1", "search #2"), ("prefix", "prefix #3")):
        t.command(add)
        t.command(start)
        t.wait(name, "^C cancel")
        t.command("dataset clear")
        t.wait("no images: type", f"{name} stopped")
    t.command(add)
    t.press("1", "R")
    t.wait("run #4 ", "^C cancel", "img/s")
    t.command("search --max-drop 1")
    t.wait("run #4 is stopped", "search #5 ")
    t.wait("search #5 ", "so far 0 pins, top1", "runs/s", absent=("ETA",))
    t.press("R")
    t.wait("search #5 is stopped", "run #6")
    t.command(f"load int8 {PAIR[1]}")
    t.wait("not run yet: R runs", "14 layers matched")
    t.press("6")
    t.wait("run #4 cancelled, results kept", "search #5 stopped", "run #6 stopped")
    t.press("Q")
    t.end()


def walk_long_lines(_):
    """The log cuts nothing: what is too long goes on in the next row, and all of it can be scrolled
    to."""
    t = Terminal(OPEN, rows=14, columns=60)
    t.wait("/block4/dw/Conv")
    t.command("pin nonsense")
    t.press("6")
    t.wait("error: no layer 'nonsense' ('layers' lists them; @N is a", "rank, * and ? make patterns")
    t.wait("(-17.71", "points; 17 lost, 0 gained)")
    t.press("Enter", "help run", "Enter")
    t.wait("example: run --all")
    t.press("^C")
    t.wait("example: run --all", "Enter types here")
    t.press("g")
    t.wait("samples/models/int8_qdq.onnx", "(match --unmatched)")
    t.settle()
    seen = set()
    while last := re.search(r"line (\d+) of \d+;", t.text()):
        seen |= set(t.text().splitlines()[2:-2])
        t.press("PgDn")
        t.wait("q back", absent=[last[0]])
        t.settle()
    seen |= set(t.text().splitlines()[2:-2])
    for part in ("17 lost, 0 gained", "make patterns", "worker threads", "listings", "example: run"):
        if not any(part in row for row in seen):
            raise Lost(f"{part} is on no page: {seen}")
    t.press("Q")
    t.end()


def walk_hints(_):
    """What a newcomer gets wrong is said where it shows; figures of an earlier run are no speed."""
    t = Terminal([*PAIR, "-e", "preprocess std=100,100,100", "samples/images"], columns=100)
    t.wait("FP32 is right by chance only (preprocess? labels?)")
    t.command("preprocess samples/preprocess.json")
    t.press("1", "R")
    t.wait("97.92>80.21", "run #2 done: 96 of 96 images, 0 failed", "img/s)",
           absent=("by chance",))
    t.press("R")
    t.wait("run #3, 96 of 96 images, known from an earlier run", absent=("img/s",))
    t.command("dataset clear")
    t.command("dataset add samples/images --label-offset 1")
    t.press("R")
    t.wait("labels look one off (dataset add --label-offset -1)")
    t.press("Q")
    t.end()


def walk_progress(_):
    """In a terminal the progress of a batch stays on its line, also where the total is not known."""
    t = Terminal(["--batch", "--no-cache", "--jobs", "1", *OPEN, "-e", "set kernels plain",
                  "-e", "search --max-drop 1 --images 60"], rows=60, columns=200)
    text = t.wait("without any one of the pins")
    lines = [r for r in text.splitlines() if re.match(r"\d+ runs  |\d+/\d+ runs", r)]
    if len(lines) != 1:
        raise Lost(f"{len(lines)} lines of progress:\n{text}")
    t.end()


def end_recorded(t, script):
    """Writes what was done as a script, and leaves."""
    t.press("F2", str(script), "Enter")
    t.wait("recording to")
    t.press("1", "y")
    t.wait(script.name)
    t.press("Q")
    t.end()


def replay(script):
    return subprocess.run([QSCOPE, "--batch", "--no-config", "--no-cache", "-x", str(script)],
                          cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=False)


def walk_record(tmp):
    """What keys did, also while a run went on or was cancelled, a script does again: same data."""
    for i in range(6):
        shutil.copytree(ROOT / "samples/images", tmp / str(i))
    script, data, first = tmp / "session.qs", tmp / "data.jsonl", tmp / "first.jsonl"
    t = Terminal(["--jobs", "1", "-e", "set kernels plain", *PAIR, tmp], rows=30)
    t.wait("run #1", "%", "/block4/dw/Conv")
    t.press("j", "j", "PgDn", "k", "Space", "p")
    t.press("^C")
    t.wait("cancelled, kept")
    t.press("g", "j", "Enter", "L", "q", ">", "/", "block3/dw", "Enter", "p", "?", "j", "q")
    t.command("set kernels fast")
    t.command("dataset clear")
    t.command("dataset add samples/images --limit 20 --seed 3")
    t.command("run")
    t.press("j", "j")
    t.wait("20 of 20 images")
    t.command("pin @2")
    t.press("R")
    t.wait("run #3, 20 of 20")
    t.press("3", "j", "Space", "G", "Space", "1", "^D")
    t.command("set output json")
    t.command(f"output {data}")
    t.command("layers")
    t.press("1")
    t.command("images --sort kl")
    t.command("dataset list ; history ; pins ; match")
    t.command("screen ; screen images")
    t.command("output -")
    end_recorded(t, script)
    data.rename(first)
    done = replay(script)
    # The job line of a screen tells how long a run took.
    a, b = (re.sub(r'" idle [^"]*"', "", p.read_text()) for p in (first, data))
    if done.returncode or a != b:
        raise Lost(f"{done.returncode} {done.stderr[-500:]}\n{script.read_text()}\n{a}\n{b}")


def table_keys(view):
    """The keys that hold in a view and whose line needs no words, from the program's own table."""
    text = subprocess.run([QSCOPE, "--batch", "--no-config", "-e", f"view {view}", "-e", "keys"],
                          capture_output=True, text=True, timeout=PATIENCE, check=True).stdout
    names = []
    for row in text.split("\ncommands (", maxsplit=1)[0].splitlines():
        # "  Down j           next layer of the list                 cursor down"
        match = re.match(r"  (\S.*?)  +(\S.*?)  +(\S.*)$", row)
        if match and not match[3].startswith((":", "%record", "quit", "suspend", "redraw", "cancel",
                                              "keys", "back", "view", "dataset", "repl")):
            names += match[1].split(" ")
    return [n for n in names if n in KEYS or len(n) == 1 or re.fullmatch(r"\^[A-Z]", n)]


def walk_record_all(tmp):
    """Every key of every view that needs no words, pressed twice, runs and a cancelled sweep among
    them; the recording, run in batch, gives the same data and the same screens."""
    script = tmp / "session.qs"
    files = [tmp / "screens.jsonl", tmp / "stopped.jsonl"]
    t = Terminal(["--no-config", "-e", f"load pair {PAIR[0]} {PAIR[1]}", "-e",
                  "preprocess samples/preprocess.json", "-e",
                  "dataset add samples/images --limit 12 --seed 5", "-e", "run"])
    t.wait("/block4/dw/Conv")
    pressed = 0
    for number, view in enumerate(("layers", "layer", "images", "graph", "pins", "log"), 1):
        keys = table_keys(view)
        if len(keys) < 18:
            raise Lost(f"{len(keys)} keys in {view}: {keys}")
        for key in keys + keys[::-1]:
            t.press(str(number))  # a key may have led away
            name = KEYS.get(key, key) if len(key) != 2 or key[0] != "^" else chr(ord(key[1]) - 64)
            t.child.send(name)
            pressed += 1
            if key in ("R", "w"):
                t.command("wait")
                t.wait("idle", absent=("^C cancel",))
    print(f"{pressed} keys")
    t.press("1")
    t.command("set output json")
    t.command(f"output {files[0]}")
    t.command("screen layers ; screen layer ; screen images ; screen graph ; screen pins")
    t.press("1")
    t.command("tried ; pareto ; layers ; images")
    t.command("output -")
    t.press("1")
    # A sweep that is stopped half way: its trials have seen some images, all of them the same.
    t.command("set kernels plain ; dataset add samples/images ; set jobs 1")
    t.press("5", "w")
    t.wait("%", "^C cancel")
    for _ in range(400):
        t.read(0.01)
        if re.search(r"sensitivity #\d+ +\d\d+/", t.text()):
            break
    t.press("^C")
    t.wait("cancelled, kept")
    t.command(f"output {files[1]}")
    for line in ("tried", "layers", "history ; pins ; match", "dataset list",
                 "screen layers ; screen images ; screen graph ; screen layer"):
        t.command(line)
        t.press("1")
    t.command("output -")
    end_recorded(t, script)
    first = [p.read_text() for p in files]
    done = replay(script)
    def plain(text):  # the job line and data of sweeps tell how long a run took
        return re.sub(r'" idle [^"]*"|"(seconds|runs)":[0-9.e-]+', "", text)
    if done.returncode:
        raise Lost(done.stderr[-500:])
    for path, text in zip(files, first):
        for a, b in zip(plain(text).splitlines(), plain(path.read_text()).splitlines(), strict=True):
            if a != b:
                raise Lost(f"{path.name}\n{a}\n{b}")


def walk_session(tmp):
    """Saved on every way out; without arguments the last session is offered; a changed model is
    noticed; a hundred steps of pins survive."""
    for name in ("fp32.onnx", "int8_qdq.onnx"):
        shutil.copy(ROOT / "samples/models" / name, tmp)
    pair = [tmp / "fp32.onnx", tmp / "int8_qdq.onnx"]
    states = {"XDG_STATE_HOME": str(tmp / "state")}
    for end, code in (("Q", 0), (signal.SIGTERM, 143), (signal.SIGHUP, 129)):
        t = Terminal([*pair, "samples/images/ring_0.png"], env=states)
        t.wait("1 of 1 images")
        t.command("pin /block4/dw/Conv /block3/dw/Conv")
        t.press("u", "U", "5")
        t.wait("pins 2")
        if end == "Q":
            t.press(end)
        else:
            t.child.kill(end)
        t.end(code)
        t = Terminal([], env=states)
        t.wait("fp32.onnx <> int8_qdq.onnx, 1 image, 2 pins", "session open --run")
        t.press("Enter")
        t.wait("[5 Pins]", "pins 2", "/block4/dw/Conv", "last: run #1, 1 of 1 images")
        t.press("u")
        t.wait("pins 0")
        t.press("Q")
        t.end()
        shutil.rmtree(tmp / "state")
    # Declined, nothing is opened; and nothing is no session to be saved.
    t = Terminal([*pair], env=states)
    t.wait("[1 Layers]", "q back")
    t.press("Q")
    t.end()
    t = Terminal([], env=states)
    t.wait("session open --run")
    t.press("Esc")
    t.wait("Nothing is loaded", "q back")
    t.press("Q")
    t.end()
    with open(pair[1], "ab") as f:
        f.write(b"\x72\x03abc")  # a doc_string: another file, the same network
    t = Terminal([], env=dict(states, TERM="dumb"))
    t.wait("the last session: fp32.onnx <> int8_qdq.onnx", "session open --run")
    t.press("Enter")
    t.wait("int8_qdq.onnx has changed since the session was saved")
    t.press("quit", "Enter")
    t.end()
    steps = "".join(f"{'un' * (i % 2)}pin /block4/dw/Conv\n" for i in range(120))
    (tmp / "long.qs").write_text(f"load pair {pair[0]} {pair[1]}\n{steps}session save {tmp}/s.json\n")
    (tmp / "back.qs").write_text(f"session open {tmp}/s.json\nundo 119\nassert pins == 1\nundo\n"
                                 "redo 120\nassert pins == 0\n")
    for script in ("long.qs", "back.qs"):
        subprocess.run([QSCOPE, "--batch", "--no-config", "--no-cache", "-x", str(tmp / script)],
                       cwd=ROOT, check=True, stdout=subprocess.DEVNULL, timeout=PATIENCE)


def walk_find(_):
    """The search goes along while it is typed; Esc takes the cursor back."""
    t = Terminal(OPEN)
    t.wait_cursor("/block4/dw/Conv")
    t.press("/", "block1/dw")
    t.wait_cursor("/block1/dw")
    t.press("Esc")
    t.wait_cursor("/block4/dw/Conv")
    t.press("/", "block1/dw", "Enter")
    t.wait_cursor("/block1/dw")
    t.press("/", "block", "Enter", "n")
    t.wait_cursor("/block1/pw")
    # The help is searched by the same keys.
    t.press("?", "/", "bisect", "Enter")
    t.wait("bisect [--until GOAL]", "/ finds")
    t.press("/", "accuracy", "Enter", "n")
    t.wait("accuracy")
    t.press("p")  # nothing changes below it
    t.wait("key p does nothing here; q closes the help", "pins 0")
    t.press("q")
    t.wait_cursor("/block1/pw")
    t.press("Q")
    t.end()


def half_blocks(t, least):
    """(upper, lower) colours of the cells that show two pixels, once there are so many."""
    end = time.monotonic() + PATIENCE
    while True:
        cells = [(c.fg, c.bg) for row in t.screen.buffer.values() for c in row.values()
                 if c.data == "\u2580"]
        if len(cells) >= least:
            return cells
        if not t.read(0.05) or time.monotonic() > end:
            raise Lost(f"{len(cells)} cells of pictures, not {least}, in\n{t.text()}")


def walk_pictures(_):
    """Two pixels a cell in 256 colours, signed error on its own palette; a ramp without colours."""
    t = Terminal(OPEN, rows=48, columns=160)
    t.wait("/block4/dw/Conv")
    t.command("open /block1/dw/Conv")
    t.wait("feature map", "INT8-FP32 +-")
    kinds = len(set(half_blocks(t, 200)))
    if kinds < 20:
        raise Lost(f"cells of {kinds} kinds in\n{t.text()}")
    t.press("3")
    t.wait("picture 32x32")
    rows = 12  # the plot of layers needs the others, so that the picture is made smaller
    cells = half_blocks(t, 2 * rows * rows)
    grey = [c for pair in cells for c in pair if len({c[:2], c[2:4], c[4:]}) == 1]
    if len(cells) != 2 * rows * rows or len(grey) != 2 * len(cells):
        raise Lost(f"{len(cells)} cells, {len(grey)} of grey in\n{t.text()}")
    t.press("Q")
    t.end()
    t = Terminal(OPEN, rows=48, columns=160, env={"NO_COLOR": "1"})
    t.wait("/block4/dw/Conv")
    t.command("open /block1/dw/Conv")
    t.wait("feature map", "|error| max", absent=["\u2580"])
    t.press("3")
    t.wait("picture 32x32", "++", absent=["\u2580"])
    t.press("Q")
    t.end()


def walk_what_if(_):
    """Each layer alone back in FP32, the best one pinned, a search from there: by keys alone."""
    t = Terminal(OPEN)
    t.wait("/block4/dw/Conv")
    t.press("5")
    t.wait("nothing is pinned")
    t.press("w")
    t.wait("GAIN", "what if", "o best", "sensitivity #2 done")
    t.press("g", "p")
    t.wait("(1 pinned)", "pinned, R runs again", "what if, of older pins")
    t.press("a", "Enter")
    t.wait("search #3 done")
    t.press("u")
    t.wait("(1 pinned)")
    t.press("Q")
    t.end()


def walk_quantize(tmp):
    """From the FP32 model to INT8 while the screen answers; what is cancelled leaves no file."""
    for i in range(20):
        shutil.copytree(ROOT / "samples/images", tmp / f"images/{i}")
    out = tmp / "int8.onnx"
    t = Terminal(["--jobs", "1", "-e", "set kernels plain", PAIR[0],
                  "-e", f"preprocess {ROOT / 'samples/preprocess.json'}"])
    t.wait("/block4/dw/Conv")
    t.command(f"quantize {out} --images {tmp / 'images'}")
    t.wait("quantize #1", "%", "ETA")
    t.press("4")
    t.wait("quantize #1", "ETA", "/block1/dw/Conv")
    t.press("^C")
    t.wait("cancelled: quantize #1", absent=("ETA", "kept"))
    if list(tmp.glob("*.onnx*")):
        raise Lost(f"a cancelled job left {list(tmp.iterdir())}")
    t.command("set kernels fast")
    t.command(f"quantize {out} --images {ROOT / 'samples/images'}")
    t.wait("quantize #2 done", "14 matched")
    onnx.checker.check_model(onnx.load(out))
    t.command(f"quantize {out} --images {ROOT / 'samples/images'} --per-channel --force")
    t.wait("quantize #3 done")
    t.command("undo")  # in the place of another INT8 model it is a step
    t.wait("undone", absent=("error",))
    t.command(f"calibrate --images {ROOT / 'samples/images'}")
    t.wait("calibrate #4 done", "ranges in the log")
    t.press("6")
    t.wait("calibrate #4 done: 96", "/head/Gemm_output_0")
    t.press("Q")
    t.end()


def walk_filter_and_jump(_):
    """Filters hide rows until Esc; a jump lists its targets and finds them by some letters."""
    t = Terminal(OPEN)
    t.wait("filter none", "/stem/Conv")
    t.press("&", 'sqnr<15 && op=="Conv"', "Enter")
    t.wait("4 of 4 rows", "filter sqnr<15 && op==Conv", absent=["/stem/Conv"])
    t.press("Esc")
    t.wait("filter none", "/stem/Conv")
    t.press("\x10", "stemc")
    t.wait("layer /stem/Conv")
    t.press("Enter")
    t.wait_cursor("/stem/Conv")
    t.press("\x10", "ring3", "Enter")
    t.wait_cursor("ring_3.png")
    t.wait("Layers > Images")
    t.press("\x10", "xportpins", "Enter")
    t.wait(":export-pins")
    t.press("^C", "q")
    t.wait("[1 Layers]")
    t.press("Q")
    t.end()


def shell_modes(t, n):
    """The modes of the terminal as a shell in it sees them."""
    t.child.send(f"clear; stty -g; echo end$((1000 + {n}))\r")
    text = t.wait(f"end{1000 + n}")
    return [r for r in text.splitlines() if r.count(":") > 20]


def walk_terminal_given_back(_):
    """Modes of the terminal, the cursor and the screen are as before, also after ^Z."""
    t = Terminal(["--version"])
    t.end()
    t.child = pexpect.spawn("/bin/sh", ["-i"], dimensions=(24, 80), cwd=str(ROOT),
                            env=dict(os.environ, TERM="screen-256color", LC_ALL="C.UTF-8",
                                     HOME=t.home.name, XDG_CACHE_HOME=t.home.name, PS1="$ "),
                            preexec_fn=default_signals)
    before = shell_modes(t, 0)
    t.child.send(f"{QSCOPE} --no-config -x samples/scripts/open.qs\r")
    t.wait("/block4/dw/Conv", "q back")
    t.child.send("\x1a")
    t.wait("Stopped")
    stopped = shell_modes(t, 1)
    t.child.send("fg\r")
    t.wait("[1 Layers]", "q back")
    t.press("j", "Q")
    end = shell_modes(t, 2)
    if not before or stopped != before or end != before or t.screen.cursor.hidden:
        raise Lost(f"modes before {before}, stopped {stopped}, at the end {end}")
    t.child.close(force=True)


def walk_prompt(_):
    """The prompt of terminals without a screen: ^C clears the line, Tab completes."""
    t = Terminal(["-x", "samples/scripts/open.qs"], term="dumb")
    t.wait("qscope>")
    t.press("nonsense")
    t.wait("> nonsense")
    t.press("^C")
    t.wait("nonsense^C")
    t.press("precis", "Tab")
    t.wait("precisions")
    t.press("Enter")
    t.wait("bfloat16")
    t.press("quit 7", "Enter")
    t.end(7)


def walk_clipboard(_):
    """A name goes to the terminal's clipboard when the user wants it, never otherwise."""
    t = Terminal(OPEN)
    t.wait("/block4/dw/Conv")
    t.press("Y")
    t.wait("'set clipboard on' first")
    if b"\x1b]52" in t.raw:
        raise Lost("copied without being allowed to")
    t.command("set clipboard on")
    t.press("1", "Y")
    t.wait("copied: ")
    t.settle()
    text = re.search(r"copied: (\S+)", t.text())[1]
    sent = re.search(rb"\x1b\]52;c;([A-Za-z0-9+/=]+)\a", t.raw)
    if not sent or base64.b64decode(sent[1]).decode() != text:
        raise Lost(f"the clipboard has {sent and sent[1]}, not {text}\n{t.text()}")
    t.press("Q")
    t.end()


def walk_monkey(_):
    """Any keys at any time leave a program that answers."""
    rng = random.Random(7)
    keys = [*"jkhlgGnNpuUsr<>aiLdf12345[]?R /", "\x1b[A", "\x1b[B", "\x1b[C", "\x1b[D", "\t",
            "\x1b[Z", "\r", "\x04", "\x15", "\x0c", "\x12", "\x0f", "\x7f", "\x03", "\u00e9",
            "\x1bOP", "\x1b[999;9~", "\x00", ":lay\t\t\x03", ":find add\r", ":sort \t\t\x03",
            ":nonsense \"\r", ":layers\r", ":hist @1\r", ":unpin *\r"]
    t = Terminal(OPEN)
    t.wait("/block4/dw/Conv")
    for i in range(600):
        t.press(rng.choice(keys))
        if i % 20 == 0:
            t.resize(rng.randint(1, 60), rng.randint(1, 200))
            t.read(0.02)
        if not t.child.isalive():
            raise Lost(f"died after {i} keys")
    t.resize(24, 80)
    for _ in range(3):  # ^C overtakes keys that a slow machine has not read yet
        t.press("^C")
        t.read(2)
    t.press("\x0f")  # out of the prompt, where ':' is a letter
    t.command("quit")
    t.end()


def walk_graph(_):
    """Both models as one graph: along it, to the worst layer, unfolded, pinned, opened."""
    t = Terminal(OPEN)
    t.wait("/block4/dw/Conv")
    t.press("4")
    t.wait("whole net", "input image", "Softmax")
    t.wait_cursor("#1")
    t.press("g", "]")
    t.wait_cursor("#14")
    t.press("H", "Tab")
    t.wait_cursor("#2")
    t.press("p")
    t.wait("*FP32*", "DQ>FP32 48 B", "pins add 1 DQ, 0 Q")
    t.press("x")
    t.wait("[Q] int8")
    t.press("x", "X")
    t.wait("on one side only: 8", "fused into")
    t.press("X", "/", "stem", "Enter")
    t.wait_cursor("#14")
    t.press("Enter")
    t.wait("[2 Layer]", "/stem/Conv")
    t.press("q")
    t.wait("[4 Graph]")
    t.command("graph /block3/Add --depth 1")
    t.wait("around /block3/Add, depth 1", "folded")
    t.press("Q")
    t.end()


def save_big_net(path, layers):
    """A net of residual blocks without an end, on tensors so small that only its size counts."""
    weight = numpy_helper.from_array(np.full((4, 4, 1, 1), 0.2, np.float32), "w")
    nodes, last = [], "image"
    for block in range(layers // 5):
        skip = last
        for step in ("conv0", "conv1", "conv2", "add", "tanh"):
            name = f"/block{block}/{step}"
            kind, reads = ("Conv", [last, "w"]) if step[:4] == "conv" else \
                ("Add", [last, skip]) if step == "add" else ("Tanh", [last])
            nodes.append(helper.make_node(kind, reads, [name + "_out"], name=name))
            last = name + "_out"
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 4, 4, 4])
            for n in ("image", last)]
    graph = helper.make_graph(nodes, "big", ends[:1], ends[1:], [weight])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8),
              str(path))


def walk_graph_of_10000(tmp):
    """A net of 10,000 layers: the graph opens within a second and scrolls 60 rows a second."""
    save_big_net(tmp / "big.onnx", 10000)
    t = Terminal([tmp / "big.onnx"], rows=48, columns=160)
    t.wait("Layers", "/block0/conv0")
    start = time.monotonic()
    t.press("4")
    t.wait("[4 Graph]", "input image")
    opened = time.monotonic() - start
    t.press("o")
    t.wait("whole net")
    start = time.monotonic()
    for _ in range(5):
        t.press(*"jjjjjjjjjjjjjjjjjjjj")
        t.read(0)
    t.wait(f"layer {101} of 10000")
    rate = 100 / (time.monotonic() - start)
    print(f"graph of 10000 nodes: opens in {1000 * opened:.0f} ms, scrolls {rate:.0f} rows/s")
    if opened > 1 or rate < 60:
        raise Lost("that is too slow")
    t.press("G")
    t.wait("output /block1999/tanh_out")
    t.press("Q")
    t.end()


def walk_big_pair(tmp):
    """A pair of more than a hundred layers: keys are answered while the run goes on."""
    model = DATA / "models/nanodet_m_416"
    t = Terminal([model / "fp32.onnx", model / "int8_qop_u8s8.onnx", DATA / "images/photos"])
    t.wait("Layers")
    t.command("preprocess size=416x416 color=bgr range=0..255 mean=103.53,116.28,123.675 "
              "std=57.375,57.12,58.395")
    t.press("1", "R")
    t.wait("/12")
    slowest = 0.0
    for view, sign in (("2", "["), ("6", "preprocess"), ("5", "["), ("4", "["), ("3", "["),
                       ("1", "[")) * 2:
        start = time.monotonic()
        t.press(view)
        t.wait(sign, seconds=5)
        slowest = max(slowest, time.monotonic() - start)
    t.press("1", "^C")
    t.press("G")
    out = tmp / "big.onnx"
    t.command("pin @1 @2 @3")
    t.command(f"export {out}")
    deadline = time.monotonic() + PATIENCE
    while not out.exists() and time.monotonic() < deadline:
        t.read(0.05)
    if not out.exists():
        raise Lost(f"nothing was exported\n{t.text()}")
    print(f"slowest answer to a key during a run: {1000 * slowest:.0f} ms")
    t.press("Q")
    t.end()


if __name__ == "__main__":
    sys.exit(run_walks(globals(), skip=() if (DATA / "models").is_dir() else ("big_pair",)))
