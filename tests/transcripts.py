#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs scripts and compares what they print.

    transcripts.py [--update] FOLDER [NAME...]

Each FOLDER/NAME.qs is run as `qscope --batch -x FOLDER/NAME.qs` from the project's root on the
sample pair; its standard output must equal FOLDER/NAME.out (or NAME.screen). Lines that the script
may begin with:
    # exit: N       the exit code expected (default 0)
    # args: WORDS   more options for the program, such as --json
    # stderr        standard error is compared too, after standard output
${OUT} in a script stands for a fresh folder. --update writes what was printed instead.
"""

import difflib
import os
import re
import shlex
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
QSCOPE = os.environ.get("QSCOPE_BIN") or str(ROOT / "build/qscope")


def header(script):
    """The "# key: value" lines at the top."""
    found = {}
    for line in script.read_text().splitlines():
        match = re.match(r"# (exit|args|stderr)(?:: *(.*))?$", line)
        if match:
            found[match[1]] = match[2] or ""
        elif not line.startswith("#"):
            break
    return found


def expected_file(script):
    screen = script.with_suffix(".screen")
    return screen if screen.exists() or script.parent.name == "screens" \
        else script.with_suffix(".out")


def run(script):
    """(exit code, text) of one script."""
    head = header(script)
    with tempfile.TemporaryDirectory() as out, tempfile.TemporaryDirectory() as cache:
        command = [QSCOPE, "--batch", "--define", f"OUT={out}", *shlex.split(head.get("args", "")),
                   "-x", str(script.relative_to(ROOT))]
        env = dict(os.environ, LC_ALL="C.UTF-8", NO_COLOR="1", SOURCE_DATE_EPOCH="0",
                   XDG_CACHE_HOME=cache)
        done = subprocess.run(command, cwd=ROOT, env=env, stdin=subprocess.DEVNULL,
                              capture_output=True, timeout=300)
        text = done.stdout.decode(errors="replace")
        if "stderr" in head:
            text += done.stderr.decode(errors="replace")
        elif done.returncode != int(head.get("exit") or 0):
            text += done.stderr.decode(errors="replace")
        text = re.sub(r'"seconds":[0-9.e-]+', '"seconds":0', text)
        return done.returncode, text.replace(out, "OUT").replace(cache, "CACHE")


NUMBER = re.compile(r"-?[0-9]+\.[0-9]+(?:e[-+]?[0-9]+)?")


def same(want, got):
    """Equal but for the last digit of fractions: float sums differ a little between processors."""
    if NUMBER.sub("#", want) != NUMBER.sub("#", got):
        return False
    for a, b in zip(NUMBER.findall(want), NUMBER.findall(got)):
        digits = len(a.split("e")[0].split(".")[1])
        step = 10.0 ** -min(digits, 9)
        if abs(float(a) - float(b)) > max(1.01 * step, 1e-4 * abs(float(a))):
            return False
    return True


def compare(script):
    """None when all is as written, else what differs."""
    code, text = run(script)
    want = int(header(script).get("exit") or 0)
    if code != want:
        return f"exit code {code}, expected {want}\n{text[-2000:]}"
    file = expected_file(script)
    if not file.exists():
        return f"{file.relative_to(ROOT)} is missing"
    if not same(file.read_text(), text):
        return "".join(difflib.unified_diff(
            file.read_text().splitlines(True), text.splitlines(True), "expected", "printed"))
    return None


def update(script):
    code, text = run(script)
    want = int(header(script).get("exit") or 0)
    if code != want:
        return f"exit code {code}, expected {want}\n{text[-2000:]}"
    expected_file(script).write_text(text)
    return None


def main():
    words = sys.argv[1:]
    action = compare
    if "--update" in words:
        words.remove("--update")
        action = update
    folder = (ROOT / words[0]).resolve()
    scripts = sorted(p for p in folder.glob("*.qs") if len(words) < 2 or p.stem in words[1:])
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(action, scripts))
    failed = 0
    for script, problem in zip(scripts, results):
        if problem:
            failed += 1
            print(f"{script.relative_to(ROOT)}: {problem}")
    print(f"{len(scripts) - failed} passed, {failed} failed")
    return 1 if failed or not scripts else 0


if __name__ == "__main__":
    sys.exit(main())
