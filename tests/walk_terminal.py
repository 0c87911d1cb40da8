#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Walks about the terminal itself: which ones there are, how large, and that it is given back.

    walk_terminal.py [NAME...]      names of the walks below; all when none is given
"""

import base64
import os
import random
import re
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path

import pexpect

from terminal import OPEN, PATIENCE, QSCOPE, ROOT, Lost, Terminal, default_signals, run_walks

# The sanitizer reports a crash itself, without giving the terminal back.
SANITIZED = b"__asan_init" in Path(QSCOPE).read_bytes()
FULL = ["vt100", "vt220", "linux", "screen", "screen-256color", "tmux", "tmux-256color", "xterm",
        "xterm-256color", "xterm-mono", "rxvt-unicode"]
PLAIN = ["dumb", "vt52-of-nowhere", "", None]


def given_back(t, screen=True):
    """Modes, cursor and screen of the terminal must be as before the program."""
    if t.modes_after != t.modes_before:
        raise Lost(f"modes before {t.modes_before}, after {t.modes_after}")
    if t.screen.cursor.hidden:
        raise Lost("the cursor is hidden")
    if screen and t.raw.rfind(b"\x1b[?1049l") < t.raw.rfind(b"\x1b[?1049h"):
        raise Lost(f"the full screen was not left: {t.raw[-300:]!r}")


def not_given_back_yet(t):
    """So that given_back() can fail."""
    if t.modes() == t.modes_before or not t.screen.cursor.hidden:
        raise Lost("the screen is up, but the terminal is as it was")


def rows_of(t):
    return t.text().splitlines()


# ---- Kinds of terminals -------------------------------------------------------------------------

def walk_kinds(_):
    """Each terminal that can place its cursor shows the same table and takes the same keys."""
    shown = {}
    for term in FULL:
        t = Terminal(OPEN, term=term)
        t.wait_cursor("/block4/dw/Conv")
        t.wait("[1 Layers]", "q back")
        t.press("Down", "j")
        shown[term] = t.wait("q back", absent=["> 1"]).replace("\u2026", "~")
        t.press("3")
        t.wait("[3 Images]", "IMAGE")
        t.press("q")
        t.wait("[1 Layers]")
        t.press("q")
        t.end()
        given_back(t, screen=term.startswith(("xterm-256", "screen", "tmux")))
    first = shown[FULL[0]]
    for term, text in shown.items():
        if text.splitlines()[2:20] != first.splitlines()[2:20]:
            raise Lost(f"{term} shows\n{text}\n{FULL[0]}\n{first}")


def walk_plain_kinds(_):
    """Others get lines: one sentence says why, commands work, the exit code is that of quit."""
    for term in PLAIN:
        t = Terminal(OPEN, term="dumb", env={"TERM": term})
        t.wait("qscope>")
        t.press("layers --top 2\r")
        t.wait("/block4/dw/Conv")
        text = "".join(t.screen.display)
        if text.count("lines instead of the screen") != 1 or b"\x1b[?1049h" in t.raw:
            raise Lost(f"TERM={term}:\n{text}")
        t.press("quit 5\r")
        t.end(5)
        given_back(t, screen=False)


def walk_no_terminal(_):
    """Without a terminal lines are read as a script; nothing but data is on standard output."""
    for term in ("xterm", None):
        env = dict(os.environ, LC_ALL="C.UTF-8")
        env.pop("TERM", None)
        if term:
            env["TERM"] = term
        lines = "load pair samples/models/fp32.onnx samples/models/int8_qdq.onnx\necho here\n"
        done = subprocess.run([QSCOPE, "--no-config"], input=lines, cwd=ROOT, env=env, text=True,
                              capture_output=True, timeout=PATIENCE, check=False)
        if done.returncode or "here" not in done.stdout or "\x1b" in done.stdout + done.stderr:
            raise Lost(f"{done.returncode} {done.stdout!r} {done.stderr!r}")
        done = subprocess.run([QSCOPE, "--no-config"], input="nonsense\n", cwd=ROOT, env=env,
                              text=True, capture_output=True, timeout=PATIENCE, check=False)
        if done.returncode != 2 or "nonsense" not in done.stderr:
            raise Lost(f"{done.returncode} {done.stdout!r} {done.stderr!r}")


def walk_locales(_):
    """Without UTF-8 all is ASCII, without being asked for; what is typed otherwise does no harm."""
    for locale in ("C", "POSIX", "no_SUCH.UTF-8"):
        t = Terminal(OPEN, rows=48, columns=160, env={"LC_ALL": locale})
        t.wait("/block4/dw/Conv", "q back")
        for key, sign in (("2", "channel"), ("3", "IMAGE"), ("4", "input image"), ("5", "pins"),
                          ("6", "[6 "), ("1", "SQNR")):
            t.press(key)
            text = t.wait(sign)
            if any(ord(c) > 126 for c in text):
                raise Lost(f"{locale}, view {key}:\n{text}")
        t.press(":", "echo \u00e9\u4e16", "Enter")
        t.wait("echo")
        t.press("1")
        t.wait("[1 Layers]")
        t.press("Q")
        t.end()
        given_back(t)


def colours(t):
    return {c for row in t.screen.buffer.values() for cell in row.values()
            for c in (cell.fg, cell.bg)} - {"default"}


def walk_colours(_):
    """NO_COLOR and --color never leave attributes alone; an empty NO_COLOR means nothing."""
    for arguments, env, wanted in ((OPEN, {}, True), (OPEN, {"NO_COLOR": ""}, True),
                                   (OPEN, {"NO_COLOR": "1"}, False),
                                   (["--color", "never", *OPEN], {}, False),
                                   (["--color", "always", *OPEN], {"NO_COLOR": "1"}, False)):
        t = Terminal(arguments, rows=48, columns=160, env=env)
        t.wait("/block4/dw/Conv", "q back")
        t.press("Enter")
        t.wait("feature map", "FP32")
        if bool(colours(t)) != wanted:
            raise Lost(f"{arguments} {env}: colours {colours(t)}")
        t.press("Q")
        t.end()


# ---- Mouse --------------------------------------------------------------------------------------

def cell_of(t, text, row=None):
    """Column and row, from 1, of the first letter of a text on the screen."""
    for y, line in enumerate(t.screen.display):
        if text in line and row in (None, y + 1):
            return line.index(text) + 1, y + 1
    raise Lost(f"no '{text}' on\n{t.text()}")


def click(t, text, row=None, button=0):
    t.wait(text)
    column, row = cell_of(t, text, row)
    t.press(f"\x1b[<{button};{column};{row}M", f"\x1b[<{button};{column};{row}m")


def wait_bytes(t, wanted):
    end = time.monotonic() + PATIENCE
    while wanted not in t.raw:
        if not t.read(0.05) or time.monotonic() > end:
            raise Lost(f"no {wanted!r} in {t.raw[-300:]!r}")


def walk_mouse(_):
    """Clicks choose rows, columns and views, the wheel moves; only after set mouse on."""
    ours = b"\x1b[?1000h\x1b[?1006h"
    t = Terminal(OPEN, term="xterm-256color")
    t.wait_cursor("/block4/dw/Conv")
    click(t, "/block4/pw/Conv")
    t.press("\x1b[15~")
    t.wait("key F5 does nothing here")  # so the click has been looked at
    t.wait_cursor("/block4/dw/Conv")
    if ours in t.raw:
        raise Lost("the mouse is taken without being asked for")
    t.command("set mouse on")
    wait_bytes(t, ours)
    click(t, "/block4/pw/Conv")
    t.wait_cursor("/block4/pw/Conv")
    click(t, "COSINE", row=3)
    t.wait("COSINE^", absent=["SQNR^"])
    click(t, "COSINE", row=3)
    t.wait("COSINEv")
    t.press("g", "\x1b[<65;5;9M")
    t.wait(">    4 .")
    t.press("\x1b[<64;5;9M")
    t.wait(">    1 .")
    for view, sign in (("3 Images", "[3 Images]"), ("4 Graph", "[4 Graph]"), ("1 Layers", "[1 Layers]")):
        click(t, view, row=2)
        t.wait(sign)
    click(t, "3 Images", row=2, button=2)  # another button
    click(t, "3 Images", row=2)
    t.wait("[3 Images]", "DLOGIT", absent=["COSINE"])
    t.settle()  # the rest of the header
    click(t, "SQNR", row=3)
    t.wait("SQNR!")
    # A line that is typed is not disturbed, and what is behind the help cannot be clicked.
    t.press(":", "echo x\x1b[<0;5;2My", "Enter")
    t.wait("xy", "[3 Images]")
    t.press("1", "?")
    t.wait("keys and commands")
    t.press("\x1b[<0;3;2M", "q")
    t.wait("[1 Layers]", "q back", absent=["keys and commands"])
    t.press("2", "?", "\x1b[<0;3;2M", "q")
    t.wait("[2 Layer]", absent=["keys and commands"])
    t.press("Q")
    t.end()
    given_back(t)
    if t.raw.rfind(b"\x1b[?1000l") < t.raw.rfind(ours):
        raise Lost("the mouse is not given back")


# ---- Pictures -----------------------------------------------------------------------------------

CHAFA = "not built in" not in subprocess.run(
    [QSCOPE, "--batch", "--no-config", "-e", "show graphics ; doctor"], cwd=ROOT, text=True,
    capture_output=True, timeout=PATIENCE, check=False).stdout


def kitty_picture(raw):
    """Width, height, columns, rows and reds of the last picture in kitty's sequences, once whole."""
    parts = [(m[1], m[3] or b"") for m in
             re.finditer(rb"\x1b_G([^;\x1b]*)(;([^\x1b]*))?\x1b\\", raw)]
    starts = [i for i, (head, _) in enumerate(parts) if b"s=" in head]
    if not starts or b"m=0" not in parts[-1][0]:
        return None
    parts = parts[starts[-1]:]
    keys = dict(p.split(b"=") for p in parts[0][0].split(b","))
    w, h, depth = int(keys[b"s"]), int(keys[b"v"]), int(keys.get(b"f", b"32")) // 8
    pixels = b"".join(base64.b64decode(data) for _, data in parts)
    if len(pixels) != w * h * depth:
        raise Lost(f"{len(pixels)} bytes of a picture of {w}x{h}, {keys}")
    return w, h, int(keys[b"c"]), int(keys[b"r"]), pixels[::depth]


def sixel_picture(raw):
    """Width and height of the last picture of sixels, as its bands have them."""
    found = re.findall(rb"\x1bP[0-9;]*q([^\x1b]*)\x1b\\", raw)
    if not found:
        return None
    said = re.match(rb'"(\d+);(\d+);(\d+);(\d+)', found[-1])
    body = re.sub(rb'"[\d;]*|#\d+(;[\d;]+)?', b"", found[-1])
    bands = body.rstrip(b"-").split(b"-")
    width = max(sum(int(n or 1) for n, _ in re.findall(rb"(?:!(\d+))?([?-~])", line))
                for band in bands for line in band.split(b"$"))
    return width, 6 * len(bands), int(said[3]), int(said[4])


def wait_picture(t, decode):
    end = time.monotonic() + PATIENCE
    while not (found := decode(t.raw)):
        if not t.read(0.05) or time.monotonic() > end:
            raise Lost(f"no picture in {t.raw[-300:]!r}")
    return found


def walk_pixels(_):
    """Pictures of pixels decode to the size of their room, and go when the view does."""
    if not CHAFA:
        return
    t = Terminal(OPEN, rows=48, columns=160, term="xterm-256color", env={"KITTY_WINDOW_ID": "1"})
    t.wait("/block4/dw/Conv", "q back")
    t.press("3")
    t.wait("picture 32x32")
    if b"\x1b_G" in t.raw:
        raise Lost("a picture nobody asked for")
    t.blind = True
    t.press("v")
    w, h, columns, rows, _ = wait_picture(t, kitty_picture)
    if rows != 43 or abs(w / h - 1) > 0.05 or abs(columns * 8 - rows * 16) > 16:
        raise Lost(f"picture of {w}x{h} in {columns}x{rows} cells")
    t.raw = b""
    t.press("q")
    wait_bytes(t, b"\x1b_Ga=d")
    t.press("1", "Enter", "v")
    w, h, columns, rows, red = wait_picture(t, kitty_picture)
    if len(set(red)) < 10 or not w > 2.5 * h:
        raise Lost(f"maps of {w}x{h}, {len(set(red))} kinds of red")
    t.raw = b""
    t.press("Q")
    wait_bytes(t, b"\x1b_Ga=d")
    t.end()
    if t.modes_after != t.modes_before:
        raise Lost("the modes of the terminal have changed")
    t = Terminal(["-e", "set graphics sixel", *OPEN], rows=30, columns=100, term="xterm-256color")
    t.wait("/block4/dw/Conv", "q back")
    t.blind = True
    t.press("3", "v")
    width, height, said_width, said_height = wait_picture(t, sixel_picture)
    room = 25 * 16
    if said_height > room or said_height < room - 16 or said_width != width or \
            not said_height <= height < said_height + 6:
        raise Lost(f"sixels: {width}x{height}, said {said_width}x{said_height}")
    t.press("Q")
    t.end()


# A terminal that takes any colour, in the form that the emulator reads.
DIRECT = r"""any-colour|for tests,
  RGB, colors#0x1000000, pairs#0x7FFF, use=xterm-256color,
  setaf=\E[%?%p1%{8}%<%t3%p1%d%e38;2;%p1%{65536}%/%d;%p1%{256}%/%{255}%&%d;%p1%{255}%&%d%;m,
  setab=\E[%?%p1%{8}%<%t4%p1%d%e48;2;%p1%{65536}%/%d;%p1%{256}%/%{255}%&%d;%p1%{255}%&%d%;m,
"""
LEVELS = ("00", "5f", "87", "af", "d7", "ff")  # of the cube of 256 colours


def walk_zoom_in_cells(tmp):
    """Without pixels a picture fills the screen with half blocks in 256 or all colours, or a ramp."""
    (tmp / "any").write_text(DIRECT)
    subprocess.run(["tic", "-x", "-o", tmp, tmp / "any"], check=True, timeout=PATIENCE)
    direct = {"TERMINFO": tmp}
    for term, env, kinds in (("xterm-256color", {}, 20), ("any-colour", direct, 20),
                             ("xterm-256color", {"NO_COLOR": "1"}, 0), ("vt100", {}, 0)):
        t = Terminal(OPEN, rows=48, columns=160, term=term, env=env)
        t.wait("/block4/dw/Conv", "q back")
        t.command("open /block1/dw/Conv")
        t.wait("feature map")
        before = sum(line.count("\u2580") for line in t.screen.display)
        t.press("v")
        t.wait("feature map", "FP32", absent=["channels"])
        t.settle()
        cells = [(c.fg, c.bg) for row in t.screen.buffer.values() for c in row.values()
                 if c.data == "\u2580"]
        if kinds and (len(cells) <= before or len(set(cells)) < kinds):
            raise Lost(f"{term}: {before} half blocks, then {len(cells)} of {len(set(cells))} kinds")
        cube = all(c[i:i + 2] in LEVELS for pair in cells for c in pair for i in (0, 2, 4))
        if kinds and cube != (term != "any-colour"):
            raise Lost(f"{term}: colours {set(cells)}")
        if not kinds and (cells or not any("##" in line or "%%" in line
                                           for line in t.screen.display)):
            raise Lost(f"{term} {env}: no ramp on\n{t.text()}")
        t.press("q")
        t.wait("[2 Layer]", "channels")
        t.press("Q")
        t.end()


# ---- Sizes --------------------------------------------------------------------------------------

def expected_head(rows, columns):
    """How the first row of the screen begins at that size."""
    if (rows, columns) == (1, 1):
        return ""  # curses cannot write into the last cell without one before it
    text = " qscope  " if rows >= 10 and columns >= 40 else \
        f"too small ({columns}x{rows}), q quits"
    return text[:columns].rstrip()


def wait_head(t, rows, columns):
    end = time.monotonic() + PATIENCE
    head = expected_head(rows, columns)
    while not t.screen.display[0].startswith(head):
        if not t.read(0.02) or time.monotonic() > end:
            raise Lost(f"no '{head}' at {columns}x{rows}:\n{t.text()}")


def walk_any_size(_):
    """Each size shows what it has room for, and in the smallest one q leaves."""
    rng = random.Random(3)
    t = Terminal(OPEN, rows=48, columns=160)
    t.wait("/block4/dw/Conv")
    sizes = [(1, 1), (1, 200), (200, 1), (2, 2), (9, 40), (10, 39), (10, 40), (24, 80), (200, 500)]
    sizes += [(rng.randint(1, 60), rng.randint(1, 250)) for _ in range(25)]
    for rows, columns in sizes:
        t.resize(rows, columns)
        t.press(rng.choice("123456jkG?"))
        wait_head(t, rows, columns)
    t.press("Esc", "1")
    t.resize(1, 1)
    wait_head(t, 1, 1)
    t.press("q")
    t.end()
    given_back(t)


def walk_resize_storm(_):
    """After sizes have changed faster than anything can be painted, the last one is right."""
    calm = Terminal(OPEN, rows=30, columns=100)
    wanted = calm.wait("/block4/dw/Conv", "q back", "of 96 images")
    calm.press("Q")
    calm.end()
    rng = random.Random(5)
    t = Terminal(OPEN)
    t.wait("/block4/dw/Conv", "of 96 images")
    for _ in range(2000):
        t.child.setwinsize(rng.randint(1, 100), rng.randint(1, 300))
        if rng.random() < 0.02:
            t.read(0)
    t.read(0.3)
    t.resize(30, 100)
    t.screen.reset()
    t.press("\x0c")
    # How long the run took is not the same twice.
    t.wait(*[row for row in wanted.splitlines() if "images/s" not in row and "img/s" not in row])
    t.press("Q")
    t.end()
    given_back(t)


SIGNS = {"1": ("[1 Layers]", "SQNR^", "of 22 rows", "filter none"),
         "2": ("[2 Layer]", "/block4/dw/Conv", "sqnr", "channels", "feature map"),
         "3": ("[3 Images]", "WORST LAYER", "flips: lost 17", "right: FP32"),
         "4": ("[4 Graph]", "whole net", "input image", "Softmax"),
         "5": ("[5 Pins]", "history", "start", "last run"),
         "6": ("[6 REPL]", "qscope> run", "96 images")}


def room_used(t, key, words):
    """More than these words, also beyond column 80."""
    rows = t.text().splitlines()
    # A short log needs no more room than it has in any size.
    return key == "6" or (len(t.text().split()) > words and sum(len(r) > 84 for r in rows) >= 15)


def walk_every_view(_):
    """All views say all of it in 80x24 and use the room of 160x48, in three looks."""
    for options, env in (([], {}), (["--ascii"], {}), ([], {"NO_COLOR": "1"})):
        t = Terminal([*options, *OPEN], env=env)
        t.wait("/block4/dw/Conv", "q back")
        for key, signs in SIGNS.items():
            t.press(key)
            text = t.wait(*signs)
            rows = text.splitlines()
            if not rows[-1].endswith("back") or len(rows) != 24:
                raise Lost(f"no keys under view {key}:\n{text}")
        small = {}
        t.press("5", "w")  # something to be plotted
        t.wait("#2 done")
        for key in SIGNS:
            t.press(key)
            small[key] = len(t.wait(SIGNS[key][0]).split())
        t.resize(48, 160)
        for key in SIGNS:
            t.press(key)
            t.wait(SIGNS[key][0], "/ find")
            end = time.monotonic() + PATIENCE  # pictures come after a moment
            while not room_used(t, key, small[key]):
                if not t.read(0.05) or time.monotonic() > end:
                    raise Lost(f"view {key} does not use its room:\n{t.text()}")
        t.press("Q")
        t.end()


def walk_undo(_):
    """A hundred and twenty steps of pins are taken back and made again, by keys."""
    t = Terminal(OPEN)
    t.wait("/block4/dw/Conv", "q back")
    t.press("5", "1")
    for n in range(120):
        t.press("p")
        t.wait("pins 0" if n % 2 else "pins 1")
    t.press(*"u" * 119)
    t.wait("pins 1")
    t.press("u")
    t.wait("pins 0")
    t.press("u")
    t.wait("nothing to undo", "pins 0")
    t.press(*"U" * 119)
    t.wait("pins 1")
    t.press("\x12")
    t.wait("pins 0")
    t.press("U")
    t.wait("nothing to redo")
    t.press("Q")
    t.end()


# ---- Ways out -----------------------------------------------------------------------------------

def leave_by_key(t):
    t.press("q")


def leave_by_command(t):
    t.command("quit")


def leave_from_command_line(t):
    t.press(":", "layers --to")
    t.wait(":layers --to")
    t.child.kill(signal.SIGTERM)


def leave_from_help(t):
    t.press("?")
    t.wait("keys and commands")
    t.press("q", "q")


def leave_while_running(t):
    t.press("R", "Q")


def leave_by(sig):
    return lambda t: t.child.kill(sig)


WAYS = [("q", leave_by_key, 0), (":quit", leave_by_command, 0), ("help", leave_from_help, 0),
        ("a run", leave_while_running, 0), ("TERM", leave_by(signal.SIGTERM), 143),
        ("HUP", leave_by(signal.SIGHUP), 129), ("QUIT", leave_by(signal.SIGQUIT), 131),
        ("TERM while a line is typed", leave_from_command_line, 143)]
CRASHES = [("SEGV", leave_by(signal.SIGSEGV), 70), ("ABRT", leave_by(signal.SIGABRT), 70),
           ("FPE", leave_by(signal.SIGFPE), 70), ("ILL", leave_by(signal.SIGILL), 70),
           ("BUS", leave_by(signal.SIGBUS), 7)]


def walk_ways_out(_):
    """However it ends, the terminal is as before, and the session is kept."""
    for name, leave, code in WAYS + ([] if SANITIZED else CRASHES):
        t = Terminal(OPEN)
        t.wait("/block4/dw/Conv", "q back")
        not_given_back_yet(t)
        leave(t)
        try:
            t.end(code)
            given_back(t)
            saved = (Path(t.home.name) / "qscope/session.json").exists()
            if saved == (code in (70, 7)):
                raise Lost(f"session saved: {saved}")
        except Lost as problem:
            raise Lost(f"left by {name}: {problem}") from None
        if code == 70 and not list(Path(t.home.name).glob("qscope/crash-*.txt")):
            raise Lost(f"{name} left no report")


def walk_terminal_gone(_):
    """The window is closed: it ends at once, with its session kept."""
    t = Terminal(OPEN)
    t.wait("/block4/dw/Conv", "q back")
    os.close(t.child.child_fd)
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        pid, status = os.waitpid(t.child.pid, os.WNOHANG)
        if pid:
            break
        time.sleep(0.02)
    code = os.waitstatus_to_exitcode(status) if pid else None
    t.child.terminated = t.child.closed = True
    if code != 129 or not (Path(t.home.name) / "qscope/session.json").exists():
        raise Lost(f"exit code {code}")


def walk_interrupt(_):
    """^C and SIGINT never end the screen; in a prompt of lines they clear the line."""
    t = Terminal(OPEN)
    t.wait("/block4/dw/Conv", "q back")
    t.press("^C")
    t.child.kill(signal.SIGINT)
    for _ in range(2):  # the answer to the first one may be gone at once
        t.read(0.2)
        t.press("\x1b[15~")
    t.wait("key F5 does nothing here")
    t.press(":", "half a li")
    t.wait(":half a li")
    t.child.kill(signal.SIGINT)
    t.wait("q back", absent=["half a li"])
    t.press("j")
    t.wait("q back")
    t.press("Q")
    t.end()
    given_back(t)
    t = Terminal(OPEN, term="dumb")
    t.wait("qscope>")
    t.press("half a li")
    t.wait("> half a li")
    t.child.kill(signal.SIGTERM)
    t.end(143)
    given_back(t, screen=False)


# ---- Stopped and continued ----------------------------------------------------------------------

def shell(t, term):
    """A shell with job control takes the terminal over."""
    t.child = pexpect.spawn("/bin/sh", ["-i"], dimensions=(24, 80), cwd=str(ROOT),
                            env=dict(os.environ, TERM=term, LC_ALL="C.UTF-8", HOME=t.home.name,
                                     XDG_STATE_HOME=t.home.name, PS1="$ "),
                            preexec_fn=default_signals)
    t.child.delaybeforesend = None
    t.wait("$")


def stty(t, n):
    """The modes of the terminal as a shell in it sees them."""
    t.child.send(f"clear; stty -g >$HOME/stty; echo end$((1000 + {n}))\r")
    t.wait(f"end{1000 + n}")
    return (Path(t.home.name) / "stty").read_text()


def walk_stop_and_continue(_):
    """^Z from every state gives the terminal back, and fg brings all of it again."""
    t = Terminal(["--version"])
    t.end()
    shell(t, "screen-256color")
    before = stty(t, 0)
    t.child.send(f"{QSCOPE} --no-config -x samples/scripts/open.qs\r")
    t.wait("/block4/dw/Conv", "q back")
    states = [([], "[1 Layers]"), (["?"], "keys and commands"), (["Esc", ":", "layers -"], ":layers -")]
    for n, (keys, sign) in enumerate(states):
        t.press(*keys)
        t.wait(sign)
        # A terminal in another size while it is stopped.
        t.child.send("\x1a")
        t.wait("Stopped")
        stopped = stty(t, n + 1)
        if t.screen.cursor.hidden or stopped != before:
            raise Lost(f"stopped in {sign}: modes {stopped}, before {before}")
        t.resize(24 + n, 80 + n)
        t.child.send("fg\r")
        t.wait(sign, absent=["Stopped"])
        if t.screen.display[0].split()[0] != "qscope":
            raise Lost(f"not painted again:\n{t.text()}")
    t.press("^C")
    t.wait("q back")
    t.screen.reset()
    t.press("Q")
    t.wait("$")
    if stty(t, 50) != before:
        raise Lost("modes after it has ended")
    # As lines: the prompt is there again.
    t.child.send(f"TERM=dumb {QSCOPE} --no-config -x samples/scripts/open.qs\r")
    t.wait("qscope>")
    t.press("echo ab")
    t.wait("echo ab")
    t.child.send("\x1a")
    t.wait("Stopped")
    if stty(t, 60) != before:
        raise Lost("modes after lines were stopped")
    t.child.send("fg\r")
    t.wait("qscope> echo ab")
    t.press("cd", "Enter")
    t.wait("abcd")
    t.press("quit", "Enter")
    t.wait("> quit\n$")
    if stty(t, 70) != before:
        raise Lost("modes after lines have ended")
    t.child.close(force=True)


def walk_continued_by_others(_):
    """Stopped from outside and continued, after somebody has changed modes and the screen."""
    t = Terminal(OPEN)
    t.wait("/block4/dw/Conv", "q back")
    raw = t.modes()
    t.child.kill(signal.SIGSTOP)
    time.sleep(0.1)
    fd = t.child.child_fd
    modes = termios.tcgetattr(fd)
    modes[3] |= termios.ICANON | termios.ECHO | termios.ISIG
    termios.tcsetattr(fd, termios.TCSANOW, modes)
    t.screen.reset()
    t.child.kill(signal.SIGCONT)
    t.wait("/block4/dw/Conv", "q back")
    if t.modes() != raw:
        raise Lost(f"modes {t.modes()}, not {raw}")
    t.press("3")
    t.wait("[3 Images]")
    t.press("Q")
    t.end()
    given_back(t)


if __name__ == "__main__":
    sys.exit(run_walks(globals()))
