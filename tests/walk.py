#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Walks through the screen in a real pseudo-terminal, seen by a terminal emulator.

    walk.py [NAME...]      names of the walks below; all when none is given

A walk presses keys and waits for what must then be on the screen.
"""

import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

import pexpect
import pyte

ROOT = Path(__file__).resolve().parent.parent
QSCOPE = os.environ.get("QSCOPE_BIN") or str(ROOT / "build/qscope")
DATA = Path(os.environ.get("QSCOPE_SHARED") or ROOT.parent / "shared") / "data"
OPEN = ["-x", "samples/scripts/open.qs"]
KEYS = {"Enter": "\r", "Esc": "\x1b", "Tab": "\t", "Down": "\x1b[B", "Up": "\x1b[A", "^C": "\x03",
        "Backspace": "\x7f", "PgDn": "\x1b[6~"}
PATIENCE = 60  # seconds until something that must appear is given up


class Lost(Exception):
    """The screen is not what it must be."""


class Terminal:
    """qscope in a terminal of a given size."""

    def __init__(self, arguments, rows=24, columns=80, term="xterm-256color", env=None):
        self.screen = pyte.Screen(columns, rows)
        self.stream = pyte.ByteStream(self.screen)
        self.home = tempfile.TemporaryDirectory()
        self.child = pexpect.spawn(
            QSCOPE, [str(a) for a in arguments], dimensions=(rows, columns), cwd=str(ROOT),
            env=dict(os.environ, TERM=term, LC_ALL="C.UTF-8", HOME=self.home.name,
                     XDG_STATE_HOME=self.home.name, XDG_CONFIG_HOME=self.home.name, **(env or {})))
        # No pause before each write: keys must come as fast as the test sends them.
        self.child.delaybeforesend = None

    def read(self, seconds):
        """Takes what arrives within that time; False when the program has closed the terminal."""
        try:
            self.stream.feed(self.child.read_nonblocking(1 << 16, timeout=seconds))
        except pexpect.TIMEOUT:
            pass
        except pexpect.EOF:
            return False
        return True

    def text(self):
        return "\n".join(line.rstrip() for line in self.screen.display)

    def wait(self, *wanted, absent=(), seconds=PATIENCE):
        """Until all these texts are on the screen, and the others are not."""
        end = time.monotonic() + seconds
        while True:
            text = self.text()
            if all(w in text for w in wanted) and not any(a in text for a in absent):
                return text
            if not self.read(0.05) or time.monotonic() > end:
                raise Lost(f"waited for {wanted}, without {absent}, on\n{self.text()}")

    def press(self, *keys):
        for key in keys:
            self.child.send(KEYS.get(key, key))

    def command(self, line):
        self.press(":", line, "Enter")

    def resize(self, rows, columns):
        self.screen.resize(rows, columns)
        self.child.setwinsize(rows, columns)

    def end(self, code=0):
        """Until it has ended by itself, with this exit code."""
        deadline = time.monotonic() + PATIENCE
        while self.read(0.05):
            if time.monotonic() > deadline:
                raise Lost(f"does not end; shows\n{self.text()}")
        self.child.close()
        found = self.child.exitstatus if self.child.exitstatus is not None \
            else 128 + self.child.signalstatus
        if found != code:
            raise Lost(f"ended with {found}, expected {code}; shows\n{self.text()}")


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
    t.press("4")
    t.wait("/block4/dw/Conv", "/block3/dw/Conv")
    t.press("u")
    t.wait(absent=["/block3/dw/Conv  "])
    t.press("U", "1")
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
    t.press("^C")
    t.press(":", "pin /block4/d", "Tab")
    t.wait("pin /block4/dw/Conv")
    t.press("^C")
    t.command("frobnicate")
    t.wait("frobnicate")
    t.press("Q")
    t.end()


def walk_sizes(_):
    """Any size is drawn, and the program stays alive through changes of it."""
    t = Terminal(OPEN, rows=48, columns=160)
    t.wait("/block4/dw/Conv")
    rng = random.Random(1)
    sizes = [(1, 1), (2, 80), (24, 3), (9, 39), (10, 40), (60, 200), (200, 500)]
    sizes += [(rng.randint(1, 70), rng.randint(1, 220)) for _ in range(20)]
    for rows, columns in sizes:
        t.resize(rows, columns)
        t.press(rng.choice(["1", "2", "3", "4", "5", "j", "G", "g", "Tab"]))
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
    for view, sign in (("2", "["), ("5", "preprocess"), ("4", "["), ("3", "["), ("1", "[")) * 2:
        start = time.monotonic()
        t.press(view)
        t.wait(sign, seconds=5)
        slowest = max(slowest, time.monotonic() - start)
    t.press("1", "^C")
    t.press("G")
    t.read(0.2)
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


def main():
    wanted = sys.argv[1:]
    passed = failed = skipped = 0
    for name, walk in sorted(globals().items()):
        name = name.removeprefix("walk_")
        if not callable(walk) or f"walk_{name}" not in globals() or (wanted and name not in wanted):
            continue
        if name == "big_pair" and not (DATA / "models").is_dir():
            skipped += 1
            continue
        try:
            with tempfile.TemporaryDirectory() as tmp:
                walk(Path(tmp))
            passed += 1
        except (Lost, pexpect.ExceptionPexpect, OSError) as problem:
            failed += 1
            print(f"FAIL {name}: {problem}")
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
