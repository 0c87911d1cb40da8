#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""The generated pages and completions have every row of the program's tables, and are well formed.

The tables are asked of the program's own listings. The syntax for zsh and fish is checked by these
shells where they are installed.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
QSCOPE = os.environ.get("QSCOPE_BIN") or str(ROOT / "build/qscope")
counts = {"passed": 0, "failed": 0, "skipped": 0}


def check(text, good):
    counts["passed" if good else "failed"] += 1
    if not good:
        print(f"FAIL {text}")


def run(*words, text=None):
    return subprocess.run(words, input=text, capture_output=True, text=True, timeout=60, cwd=ROOT)


def listing(command):
    done = run(QSCOPE, "--batch", "--no-config", "--no-cache", "--json", "-e", command)
    return next(v for v in json.loads(done.stdout).values() if isinstance(v, (list, dict)))


def page(name):
    done = run(QSCOPE, "--manual", name)
    check(f"{name} is printed", done.returncode == 0 and done.stdout)
    return done.stdout


def plain(roff):
    """The text of a page as a reader sees its words."""
    for code, char in (("\\-", "-"), ("\\(aq", "'"), ("\\(ha", "^"), ("\\(ti", "~"),
                       ("\\(ga", "`"), ("\\e", "\\"), ("\\&", "")):
        roff = roff.replace(code, char)
    return re.sub(r"\\f[BIR]", "", roff)


def formats(name, text):
    """groff finds nothing to complain about, and no line is wider than the page by much."""
    if not shutil.which("groff"):
        counts["skipped"] += 1
        return
    done = run("groff", "-man", "-ww", "-Tutf8", text=text)
    check(f"{name}: {done.stderr[:300]}", done.returncode == 0 and not done.stderr)


def check_commands(commands):
    text = page("qscope-commands.7")
    formats("qscope-commands.7", text)
    text = plain(text)
    for c in commands:
        check(f"command {c['name']}: no entry", f"\n.TP\n{c['name']}" in text)
        for words in (c["help"], c["detail"], c["example"], *(o["help"] for o in c["options"])):
            check(f"command {c['name']}: '{words}' is not told", words in text)
        for o in c["options"]:
            check(f"{c['name']} {o['name']}: no entry", f".TP\n{o['name']}" in text)
    for key in listing("keys"):
        check(f"key {key['key']} is not told", f".TP\n{key['key']} " in text and key["line"] in text)
    for m in listing("metrics") + listing("outcomes"):
        check(f"metric {m['name']} is not told", f".TP\n{m['name']}" in text
              and m["formula"] in text)
    for name in listing("show"):
        check(f"setting {name} is not told", f".TP\n{name} " in text)


def check_program(options):
    text = page("qscope.1")
    formats("qscope.1", text)
    text = plain(text)
    for short, name in options:
        check(f"option {name} is not told", re.search(rf"{short}{name}\b", text) is not None)
    for code in ("0", "1", "2", "3", "4", "5", "6", "7", "8", "70", "128+n"):
        check(f"exit code {code} is not told", f".TP\n{code}\n" in text)


def complete_bash(text, *words):
    """What bash offers for the last word."""
    script = text + f"\nCOMP_WORDS=({' '.join(repr(w) for w in words)})\n" \
        f"COMP_CWORD={len(words) - 1}\n_qscope\nprintf '%s\\n' \"${{COMPREPLY[@]}}\"\n"
    return run("bash", "-c", script).stdout.split()


def check_completions(options, commands):
    bash, zsh, fish = page("bash"), page("zsh"), page("fish")
    first = {c["name"].split()[0] for c in commands}
    offered = complete_bash(bash, "qscope", "--")
    for short, name in options:
        check(f"bash: {name} is missing", name in offered)
        check(f"zsh: {name} is missing", f"{name}" in zsh)
        check(f"fish: {name} is missing", f" -l {name[2:]} " in fish)
    check("bash: commands after -e", set(complete_bash(bash, "qscope", "-e", "")) == first)
    check("bash: values", complete_bash(bash, "qscope", "--color", "a") == ["auto", "always"])
    check("bash: files", "samples/make.py" in complete_bash(bash, "qscope", "samples/m"))
    for word in first:
        check(f"zsh: command {word}", re.search(rf"[( ]{word}[ )]", zsh) is not None)
        check(f"fish: command {word}", re.search(rf"[' ]{word}[' ]", fish) is not None)
    for shell, flags, text in (("zsh", ["-n", "/dev/stdin"], zsh), ("fish", ["-n"], fish)):
        if not shutil.which(shell):
            continue
        done = run(shell, *flags, text=text)
        check(f"{shell}: {done.stderr[:300]}", done.returncode == 0)


def check_installed():
    """What `meson install` puts where shells and man look, and nothing else."""
    with tempfile.TemporaryDirectory() as tmp:
        done = run("meson", "install", "-C", str(Path(QSCOPE).parent), "--no-rebuild", "--quiet",
                   "--destdir", tmp)
        check(f"install: {done.stderr[-300:]}", done.returncode == 0)
        found = {re.sub(r"^.*?(?=(bin|share)/)", "", str(p.relative_to(tmp))): p
                 for p in Path(tmp).rglob("*") if p.is_file()}
        pages = {"share/man/man1/qscope.1": "qscope.1",
                 "share/man/man7/qscope-commands.7": "qscope-commands.7",
                 "share/bash-completion/completions/qscope.bash": "bash",
                 "share/zsh/site-functions/_qscope": "zsh",
                 "share/fish/vendor_completions.d/qscope.fish": "fish"}
        check(f"install: {sorted(found)}", set(found) == {"bin/qscope", *pages})
        for path, name in pages.items():
            check(f"install: {path}", path in found and found[path].read_text() == page(name))


def main():
    commands = listing("help")
    usage = run(QSCOPE, "--help").stdout
    options = re.findall(r"^  (-\w, |)\s*(--[\w-]+)", usage, re.M)
    check("--help lists the options", len(options) > 10)
    check("--manual refuses other pages", run(QSCOPE, "--manual", "x").returncode == 2)
    check_commands(commands)
    check_program(options)
    check_completions(options, commands)
    check_installed()
    print("{passed} passed, {failed} failed, {skipped} skipped".format(**counts))
    return 1 if counts["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
