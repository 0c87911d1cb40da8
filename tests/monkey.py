#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Random keys and sizes of the terminal: the program must answer, not leak, and give the terminal
back.

    monkey.py [--keys N] [--resizes N] [--seed S]
    monkey.py --replay FILE

The long run is --keys 100000 --resizes 10000. When something fails the keys since the program was
started are left in a file that --replay types again. Keys are typed in a folder of their own, and
none of them is a character that could lead a path out of it.
"""

import argparse
import base64
import fcntl
import json
import os
import random
import select
import shutil
import signal
import struct
import sys
import tempfile
import termios
import time
from pathlib import Path

from terminal import QSCOPE, ROOT, Lost, default_signals

PATIENCE = 120  # seconds without an answer are a hang: slow machine, sanitizers, and a run to stop
ROWS, COLUMNS = 24, 80
LEFT = {0, 128 + signal.SIGQUIT}  # exit codes that keys can lead to: quit, and ^\ while it works
ENDS = [(b"Q", 0), (b":quit\r", 0), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]

MOVES = [*"jkhlgGnN[]<>+-", "\x1b[A", "\x1b[B", "\x1b[C", "\x1b[D", "\x1b[H", "\x1b[F", "\x1b[5~",
         "\x1b[6~", "\t", "\x1b[Z", "\x04", "\x15", "\x06", "\x02"]
CHOICES = [*"123456oxXcCLdfriIaHsmeEpuUwRyD&? ", "\r", "\x1b", "\x0c", "\x12", "\x0f", "\x10",
           "\x7f", "\x03", "\x1a", "\x1bOP", "\x1bOQ", "q"]
# Parts of lines: joined at random they make commands, right ones and wrong ones.
WORDS = ["layers", "layer", "hist", "channels", "images", "worst", "image", "pin", "unpin", "pins",
         "undo", "redo", "run", "sweep", "search", "bisect", "graph", "view", "open", "find", "sort",
         "filter", "mark", "toggle", "select", "set", "show", "plot", "export", "dump", "report",
         "session", "record", "baseline", "help", "apropos", "doctor", "alias", "echo", "jump",
         "numerics", "mouse", "on", "ascii", "--json", "--top", "--limit", "3", "-1", "0", "@1",
         "@marked", "@99", "*", "sqnr", "cosine:asc", "sqnr<20", "Conv", "start", "stop", "open",
         "save", "fp32", "next", "previous", ";", "&", "'", '"', "\\", "$", "{", "}", "#", "\t",
         "\t\t", "a.png", "b.json", "c.qs", "nan", "1e999", "\u00e9", "\u4e16"]
# Paths that lead out of the folder need one of these.
NEVER = b"/~"


def key_of(rng):
    """The bytes of one key, or of one typed line."""
    kind = rng.random()
    if kind < 0.40:
        return rng.choice(MOVES).encode()
    if kind < 0.75:
        return rng.choice(CHOICES).encode()
    if kind < 0.85:
        line = ":" + " ".join(rng.choice(WORDS) for _ in range(rng.randint(1, 4)))
        return (line + rng.choice(["\r", "\r", "\x03", "\x1b", ""])).encode()
    if kind < 0.90:  # mouse: buttons, wheel, releases, anywhere
        return b"\x1b[<%d;%d;%d%c" % (rng.choice([0, 1, 2, 64, 65, 35, 999]), rng.randint(0, 250),
                                      rng.randint(0, 90), rng.choice(b"Mm"))
    if kind < 0.92:
        return b"\x1b[" + bytes(rng.choice(b"0123456789;<?ABMmZ~") for _ in range(rng.randint(1, 9)))
    byte = rng.randrange(256)
    return b"" if byte in NEVER or byte == ord("Q") else bytes([byte])


class Monkey:
    """The program in a terminal of its own; what was typed since it was started."""

    def __init__(self, folder):
        self.folder = folder
        self.events = []
        self.running = False
        self.pid = 0
        self.reports = folder / "reports"
        self.work = folder / "work"
        self.reports.mkdir()
        shutil.copytree(ROOT / "samples/models", self.work / "models")
        (self.work / "images").mkdir()
        for image in ("ring_0.png", "ring_1.png", "labels.csv"):
            shutil.copy(ROOT / "samples/images" / image, self.work / "images")

    def environment(self):
        env = dict(os.environ, TERM="xterm-256color", LC_ALL="C.UTF-8", HOME=str(self.folder))
        for name in ("XDG_STATE_HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"):
            env[name] = str(self.folder / "home")
        for name in ("ASAN_OPTIONS", "UBSAN_OPTIONS"):
            env[name] = env.get(name, "exitcode=99") + f":log_path={self.reports}/fault"
        return env

    def start(self):
        self.events = []
        self.running = True
        self.raw = self.heard = b""  # the last output; that since the last question
        self.master, self.slave = os.openpty()
        self.before = termios.tcgetattr(self.slave)
        self.resize(ROWS, COLUMNS)
        self.pid = os.fork()
        if self.pid == 0:
            default_signals()
            os.chdir(self.work)
            os.login_tty(self.slave)
            os.execve(QSCOPE, [QSCOPE, "--no-config", "models/fp32.onnx", "models/int8_qdq.onnx",
                               "images"], self.environment())
        os.set_blocking(self.master, False)
        end = time.monotonic() + PATIENCE
        while b"\x1b[?1049h" not in self.raw and self.ended() is None and time.monotonic() < end:
            self.read(0.02)  # before that ^C is a signal that ends it

    def resize(self, rows, columns):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def read(self, seconds):
        """Takes output until there is none for that time."""
        while select.select([self.master], [], [], seconds)[0]:
            came = os.read(self.master, 1 << 16)
            self.raw = (self.raw + came)[-(1 << 16):]
            self.heard = (self.heard + came)[-(1 << 16):]

    def type(self, keys):
        """Types, and reads meanwhile: neither side may wait for the other for ever."""
        end = time.monotonic() + PATIENCE
        while keys and self.ended() is None:
            if time.monotonic() > end:
                raise Lost("takes no keys any more")
            self.read(0)
            if select.select([], [self.master], [], 0.05)[1]:
                keys = keys[os.write(self.master, keys):]

    def act(self, event):
        """A size, or keys; and after some of them a moment, so that they are seen one by one."""
        self.events.append(event)
        if isinstance(event, list):
            self.resize(*event[:2])
        else:
            self.type(base64.b64decode(event))

    def ended(self):
        """The exit code once it has ended, else None."""
        if self.pid == 0:
            return self.code
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        if pid == 0:
            return None
        self.pid = 0
        code = os.waitstatus_to_exitcode(status)
        self.code = code if code >= 0 else 128 - code
        return self.code

    def probe(self, number):
        """It must still take a command and show its answer."""
        word = b"probe%dx" % number
        end = time.monotonic() + PATIENCE
        self.resize(ROWS, COLUMNS)
        self.heard = b""
        # ^C alone first: where it is a signal, the terminal drops what was typed before it.
        self.type(b"\x03")
        self.read(0.05)
        while word not in self.heard and self.ended() is None:
            if time.monotonic() > end:
                raise Lost(f"does not answer any more; showed last {self.raw[-300:]!r}")
            self.type(b"\x03\x03:echo " + word + b"\r:view log\rG\x0c")
            for _ in range(40):
                self.read(0.05)
                if word in self.heard or self.ended() is not None:
                    break

    def finish(self, how, expected):
        """Ends it, if it has not ended; everything must be as it was before."""
        if isinstance(how, bytes) and self.ended() is None:
            self.type(b"\x03\x03")
            self.read(0.1)
            self.type(how)
        elif self.ended() is None:
            os.kill(self.pid, how)
        end = time.monotonic() + PATIENCE
        while self.ended() is None:
            self.read(0.02)
            if time.monotonic() > end:
                raise Lost(f"does not end on {how}")
        self.read(0)
        self.check(expected)

    def check(self, expected):
        reports = "".join(p.read_text(errors="replace") for p in self.reports.iterdir())
        after = termios.tcgetattr(self.slave)
        if reports or self.code not in expected:
            raise Lost(f"ended with {self.code}, not one of {expected}\n{reports[:6000]}"
                       f"{self.raw[-300:]!r}")
        if after != self.before:
            raise Lost(f"modes of the terminal before {self.before}, after {after}")
        if self.raw.rfind(b"\x1b[?1049l") < self.raw.rfind(b"\x1b[?1049h"):
            raise Lost(f"the full screen was not left: {self.raw[-600:]!r}")
        outside = {p.name for p in self.folder.iterdir()} - {"home", "work", "reports"}
        if outside:
            raise Lost(f"wrote {outside}")
        os.close(self.master)
        os.close(self.slave)
        self.running = False


def random_events(options, rng):
    """Keys and sizes, mixed; [] asks whether it still answers."""
    keys, sizes = options.keys, options.resizes
    since = 0
    while keys > 0 or sizes > 0:
        if rng.random() * (keys + sizes) < sizes:
            sizes -= 1
            big = rng.random() < 0.1
            yield [rng.randint(1, 200 if big else 60), rng.randint(1, 500 if big else 200)]
        else:
            keys -= 1
            yield base64.b64encode(key_of(rng)).decode()
        since += 1
        if since == 200:
            since = 0
            yield []
    yield []


def end_somehow(monkey, rng):
    how, code = rng.choice(ENDS)
    monkey.finish(how, LEFT | {code})


def climb(monkey, events, rng):
    """Types all events, starting the program again whenever they have led out of it. Returns how
    often it was started."""
    starts = probes = 0
    for event in events:
        if monkey.running and monkey.ended() is not None:
            monkey.finish(b"", LEFT)
        if not monkey.running:
            monkey.start()
            starts += 1
        if event:
            monkey.act(event)
            if rng.random() < 0.3:
                monkey.read(0.002)
        else:
            probes += 1
            monkey.events.append(event)
            monkey.probe(probes)
            if rng.random() < 0.1:
                end_somehow(monkey, rng)
    if monkey.running:
        end_somehow(monkey, rng)
    return starts


def main():
    parser = argparse.ArgumentParser(description="random keys and sizes")
    parser.add_argument("--keys", type=int, default=3000)
    parser.add_argument("--resizes", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--replay", type=Path)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        monkey = Monkey(Path(folder))
        events = json.loads(options.replay.read_text()) if options.replay else \
            random_events(options, rng)
        began = time.monotonic()
        try:
            starts = climb(monkey, events, random.Random(options.seed))
        except (Lost, OSError) as problem:
            left = Path(tempfile.gettempdir()) / f"qscope-monkey-{options.seed}.json"
            left.write_text(json.dumps(monkey.events))
            if monkey.pid:
                os.kill(monkey.pid, signal.SIGKILL)
                os.waitpid(monkey.pid, 0)
            print(f"FAIL seed {options.seed}: {problem}\n{len(monkey.events)} events: "
                  f"tests/monkey.py --replay {left}\n0 passed, 1 failed")
            return 1
    print(f"seed {options.seed}: {options.keys} keys, {options.resizes} sizes, started {starts} "
          f"times, {time.monotonic() - began:.0f} s\n1 passed, 0 failed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
