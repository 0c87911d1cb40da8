# SPDX-License-Identifier: GPL-3.0-or-later
"""qscope in a pseudo-terminal that an emulator shows: what walks, monkey and latency are made of."""

import os
import signal
import subprocess
import sys
import tempfile
import termios
import time
from pathlib import Path

import pexpect
import pyte

ROOT = Path(__file__).resolve().parent.parent
QSCOPE = os.environ.get("QSCOPE_BIN") or str(ROOT / "build/qscope")
OPEN = ["-x", "samples/scripts/open.qs"]
PAIR = ["samples/models/fp32.onnx", "samples/models/int8_qdq.onnx"]
KEYS = {"Enter": "\r", "Esc": "\x1b", "Tab": "\t", "Down": "\x1b[B", "Up": "\x1b[A", "^C": "\x03",
        "Backspace": "\x7f", "PgDn": "\x1b[6~", "PgUp": "\x1b[5~", "Home": "\x1b[H",
        "End": "\x1b[F", "Left": "\x1b[D", "Right": "\x1b[C", "S-Tab": "\x1b[Z", "F2": "\x1bOQ",
        "Space": " "}
PATIENCE = 60  # seconds until something that must appear is given up


class Lost(Exception):
    """The screen is not what it must be."""


class Screen(pyte.Screen):
    """The emulator's screen, with the scrolling of a region that curses uses and it does not know."""

    def _scroll(self, lines, edge, step):
        region = self.margins or pyte.screens.Margins(0, self.lines - 1)
        x, y = self.cursor.x, self.cursor.y
        for _ in range(lines or 1):
            self.cursor.y = getattr(region, edge)
            step()
        self.cursor.x, self.cursor.y = x, y

    def scroll_up(self, lines=1):
        self._scroll(lines, "bottom", self.index)

    def scroll_down(self, lines=1):
        self._scroll(lines, "top", self.reverse_index)


class Stream(pyte.ByteStream):
    csi = dict(pyte.ByteStream.csi, S="scroll_up", T="scroll_down")
    events = pyte.ByteStream.events | {"scroll_up", "scroll_down"}


def default_signals():
    """A shell's background jobs ignore ^C, and what they start would too."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)


class Terminal:
    """qscope in a terminal of a given size."""

    # Of the terminals with 256 colours this is the one whose sequences the emulator knows all of.
    # A variable of env that is None is not set.
    def __init__(self, arguments, rows=24, columns=80, term="screen-256color", env=None, cwd=ROOT):
        self.screen = Screen(columns, rows)
        self.stream = Stream(self.screen)
        self.raw = b""  # the last bytes that came
        self.came = 0  # bytes that came in all
        self.blind = False  # the emulator is not shown what comes
        self.home = tempfile.TemporaryDirectory()
        environment = dict(os.environ, TERM=term, LC_ALL="C.UTF-8", HOME=self.home.name,
                           XDG_STATE_HOME=self.home.name, XDG_CONFIG_HOME=self.home.name,
                           XDG_CACHE_HOME=self.home.name)
        environment.update({k: str(v) for k, v in (env or {}).items()})
        for name in [k for k, v in (env or {}).items() if v is None]:
            del environment[name]
        before = Path(self.home.name) / "modes"

        def in_child():
            default_signals()
            before.write_text(repr(termios.tcgetattr(0)))

        self.child = pexpect.spawn(QSCOPE, [str(a) for a in arguments], dimensions=(rows, columns),
                                   cwd=str(cwd), env=environment,
                                   preexec_fn=in_child)
        self.modes_before = before.read_text()
        # No pause before each write: keys must come as fast as the test sends them.
        self.child.delaybeforesend = None

    def read(self, seconds):
        """Takes what arrives within that time; False when the program has closed the terminal."""
        try:
            came = self.child.read_nonblocking(1 << 16, timeout=seconds)
            self.came += len(came)
            self.raw = (self.raw + came)[-(1 << 23):]
            if not self.blind:
                self.stream.feed(came)
        except pexpect.TIMEOUT:
            pass
        except pexpect.EOF:
            return False
        return True

    def modes(self):
        """The modes of the terminal now; modes_before is what the program found, modes_after what it
        left."""
        return repr(termios.tcgetattr(self.child.child_fd))

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

    def wait_cursor(self, name, seconds=PATIENCE):
        """Until the cursor of the table is on the row with this name."""
        end = time.monotonic() + seconds
        while not any(r.startswith(">") and name in r for r in self.text().splitlines()):
            if not self.read(0.05) or time.monotonic() > end:
                raise Lost(f"waited for the cursor on {name}, on\n{self.text()}")

    def settle(self, quiet=0.5, seconds=PATIENCE):
        """Until nothing has come for a moment: where what will come last is not known."""
        end = time.monotonic() + seconds
        since, before = time.monotonic(), self.came
        while time.monotonic() - since < quiet:
            if not self.read(0.05) or time.monotonic() > end:
                raise Lost(f"comes to no rest on\n{self.text()}")
            if self.came != before:
                since, before = time.monotonic(), self.came

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
        self.modes_after = self.modes()
        self.child.close()
        found = self.child.exitstatus if self.child.exitstatus is not None \
            else 128 + self.child.signalstatus
        if found != code:
            raise Lost(f"ended with {found}, expected {code}; shows\n{self.text()}")


def run_walks(module, skip=()):
    """Runs the functions walk_NAME of a module, or those named on the command line; the exit code.
    Each gets a folder of its own."""
    wanted = sys.argv[1:]
    passed = failed = skipped = 0
    for name, walk in sorted(module.items()):
        if not name.startswith("walk_") or (wanted and name.removeprefix("walk_") not in wanted):
            continue
        name = name.removeprefix("walk_")
        if name in skip:
            skipped += 1
            continue
        try:
            with tempfile.TemporaryDirectory() as tmp:
                walk(Path(tmp))
            passed += 1
        except (Lost, pexpect.ExceptionPexpect, OSError, subprocess.SubprocessError) as problem:
            failed += 1
            print(f"FAIL {name}: {problem}")
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed or not passed else 0
