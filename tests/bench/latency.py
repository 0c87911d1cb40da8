# SPDX-License-Identifier: GPL-3.0-or-later
"""How soon the screen answers a key while a job works, and what it needs while nothing happens."""

import fcntl
import os
import pty
import random
import select
import signal
import statistics
import struct
import termios
import time
from pathlib import Path

from measure import QSCOPE, compare
from rows_compare import files, many, word
from rows_forward import TITLES

LIMIT = 50  # ms from a key to its paint, of 99 in 100 keys
IDLE_KEYS = 16  # ms, the same while nothing else happens
IDLE_CPU = 0.1  # % of one processor
NETWORK = "resnet50"
# Each of the two keys moves the cursor and shows a word that shares no letter with the other.
ANSWERS = {b"\x1b[15~": b"ABABABAB", b"\x1b[17~": b"CDCDCDCD"}
BIND = [f"bind '*' {key} 'cursor {move} ; echo {word}'"
        for key, move, word in (("F5", "down", "ABABABAB"), ("F6", "up", "CDCDCDCD"))]


class Screen:
    """The program in a pseudo-terminal of 160x48, with lines that are run before the screen."""

    def __init__(self, lines):
        words = [w for line in BIND + lines for w in ("-e", line)]
        self.pid, self.master = pty.fork()
        if self.pid == 0:
            os.environ["TERM"] = "xterm-256color"
            os.execv(QSCOPE, [str(QSCOPE), "--no-config", "--jobs", "2", *words])
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", 48, 160, 0, 0))
        self.wait(b"\x1b[?1049h")

    def wait(self, wanted, seconds=120):
        """Reads until these bytes came; seconds it took."""
        start = time.perf_counter()
        text = b""
        while wanted not in text:
            left = start + seconds - time.perf_counter()
            if left <= 0 or not select.select([self.master], [], [], left)[0]:
                raise RuntimeError(f"no {wanted!r} in {text[-500:]!r}")
            text = text[-64:] + os.read(self.master, 1 << 16)
        return time.perf_counter() - start

    def quiet(self, seconds):
        """Takes what comes within that time."""
        end = time.perf_counter() + seconds
        while (left := end - time.perf_counter()) > 0:
            if select.select([self.master], [], [], left)[0]:
                os.read(self.master, 1 << 16)

    def type(self, keys):
        os.write(self.master, keys)

    def delays(self, count):
        """Milliseconds from a key to its answer, of so many keys at random times."""
        rng = random.Random(1)
        found = []
        for i in range(count):
            self.quiet(rng.uniform(0.005, 0.06))
            key = list(ANSWERS)[i % 2]
            self.type(key)
            found.append(1e3 * self.wait(ANSWERS[key]))
        return found

    def cpu(self):
        """Seconds of all its threads."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def running(self):
        self.quiet(0.05)
        self.type(b"\x0c")
        text, end = b"", time.perf_counter() + 5
        while time.perf_counter() < end and b"help" not in text:
            if select.select([self.master], [], [], 0.1)[0]:
                text += os.read(self.master, 1 << 16)
        return b"cancel" in text

    def close(self):
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self.master)


def percentile(values, share):
    return sorted(values)[min(len(values) - 1, round(share * len(values)))]


def while_busy(options, start, count):
    """Delays while the job that a line starts works from the first key to the last."""
    fp32, int8, _ = files(options, NETWORK)
    screen = Screen([f"load pair {word(fp32)} {word(int8)}",
                     f"dataset add {word(many(options, 2048))}"])
    try:
        screen.type(b":" + start + b"\r")
        screen.quiet(2)
        found = screen.delays(count)
        if not screen.running():
            raise RuntimeError(f"{start} had ended before the last key")
    finally:
        screen.close()
    return found


def while_idle(options, count, seconds):
    """Delays, and percent of one processor while no key is pressed."""
    fp32, int8, inputs = files(options, NETWORK)
    screen = Screen([f"load pair {word(fp32)} {word(int8)}", f"dataset add {word(inputs)}",
                     "run --limit 4"])
    try:
        screen.quiet(6)  # the answer on the bottom line goes
        before = screen.cpu()
        screen.quiet(seconds)
        share = 100 * (screen.cpu() - before) / seconds
        found = screen.delays(count)
    finally:
        screen.close()
    return found, share


def line(case, unit, ours, limit):
    return compare(case, "to stay under", unit, ours, [limit] * len(ours), 1)


def latency(options):
    count, rounds = (200, 1) if options.quick else (500, 3)
    lines, notes = [], []
    for case, start in (("during a run", b"run"), ("during a sweep", b"sensitivity --exact")):
        found = [while_busy(options, start, count) for _ in range(rounds)]
        lines.append(line(f"{TITLES[NETWORK]}, 99 of 100 keys {case}", "ms",
                          [percentile(x, 0.99) for x in found], LIMIT))
        notes.append(f"Half of the keys {case}: "
                     f"{statistics.median(sum(found, [])):.1f} ms.")
    found, shares = zip(*(while_idle(options, count, 5) for _ in range(rounds)))
    lines.append(line("99 of 100 keys while nothing else happens", "ms",
                      [percentile(x, 0.99) for x in found], IDLE_KEYS))
    lines.append(line("processor while no key is pressed, 5 s", "%", list(shares), IDLE_CPU))
    return {"title": "From a key to its paint",
            "text": ["In a pseudo-terminal of 160x48: from the key to the last letter of its "
                     "answer, at random times; what reads the terminal is timed as well.",
                     "The peer is the limit."],
            "lines": lines, "notes": notes}
