#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Metrics of the user's own: what a command gets, who may let it run, and how it may fail.

A few lines of numpy that compute the mean squared error say what qscope's own metric says, of all
layers and of what a search finds. Commands that do what they should not are told with the image
that they failed on; whatever happens, no file and no process of theirs is left.
"""

import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import (DATA, QSCOPE, SAMPLES, Tally, last_line, metas, preprocess_words, qscope,
                    qscope_json, word)

MSE = """
import sys
import numpy as np
names = sys.argv[1:]
half = len(names) // 2
x, y = (np.concatenate([np.load(n).ravel() for n in part]).astype(np.float64)
        for part in (names[:half], names[half:]))
print(repr(float(((x - y) ** 2).mean())))
"""
SAMPLE = [f"load pair {word(SAMPLES / 'models/fp32.onnx')} {word(SAMPLES / 'models/int8_qop.onnx')}",
          f"preprocess {word(SAMPLES / 'preprocess.json')}",
          f"dataset add {word(SAMPLES / 'images')}"]
# Command of a shell, what its error says. %d is where it may leave things.
HOSTILE = [
    ("exec /no/such/program", "exit code 127"),
    ("echo first >&2; echo last words >&2; exit 3", "ended with exit code 3: last words"),
    ("printf 'bad \\033[31m\\n' >&2; exit 1", "bad ^[[31m"),
    ("kill -9 $$", "was ended by signal 9"),
    ("true", "prints nothing"),
    ("echo 1 2", "prints '1 2', not a number"),
    ("echo 0x", "prints '0x', not a number"),
    ("printf '1\\0002'", "not a number"),
    ("echo nan", "prints nan"),
    ("echo -nan", "prints nan"),
    ("head -c 10000000 /dev/zero", "prints more than"),
    ("yes", "prints more than"),
    ("yes >&2", "took longer than 0.4 s"),
    ("sleep 77", "took longer than 0.4 s"),
    ("exec >&- 2>&-; sleep 77", "took longer than 0.4 s"),
    ("trap '' TERM INT HUP; while :; do sleep 77; done", "took longer than 0.4 s"),
    ("kill -STOP $$", "took longer than 0.4 s"),
    ("cat >/dev/null; test -t 0 && echo 1", "exit code 1"),  # standard input is empty
]
# Commands that are all right.
GOOD = [("echo 1e3", 1000), ("echo; echo '  -2.5  '", -2.5), ("sleep 77 & echo 4", 4),
        ("echo noise >&2; echo 5", 5), ("sleep 77 >&- 2>&- & echo 6", 6)]


def shell(text):
    return "sh -c " + shlex.quote(text)


def left_behind(folder):
    """What stays: files, and processes that sleep 77 seconds. One that was killed may take a moment
    to die."""
    end = time.monotonic() + 2
    while (found := still_there(folder)) and time.monotonic() < end:
        time.sleep(0.05)
    return found


def still_there(folder):
    found = [p.name for p in Path(folder).iterdir()]
    for p in Path("/proc").iterdir():
        try:
            line = (p / "cmdline").read_bytes() if p.name.isdigit() else b""
        except OSError:
            continue
        if line.split(b"\0")[:2] == [b"sleep", b"77"]:
            found.append("sleep 77")
    return found


def check_hostile(tally, folder):
    env = {"TMPDIR": folder}
    for command, text in HOSTILE:
        done = qscope(*SAMPLE, f"metric --timeout 0.4 own {shell(command)}",
                      "evaluate --metric own --limit 3", env=env)
        tally.check(done.returncode == 1 and text in last_line(done) and
                    "bar_0" in last_line(done), f"{command}: {last_line(done)}")
        tally.check(not left_behind(folder), f"{command}: leaves {left_behind(folder)}")
        done = qscope(*SAMPLE, f"metric --timeout 0.4 own {shell(command)}",
                      "sensitivity /head/Gemm --metric own --images 1", env=env)
        tally.check(done.returncode == 1 and text in last_line(done),
                    f"sensitivity, {command}: {last_line(done)}")
    for command, value in GOOD:
        done = qscope("metric --timeout 20 own " + shell(command), *SAMPLE,
                      "evaluate --metric own --limit 2", options=["--json"], env=env)
        lines = done.stdout.splitlines()
        tally.check(done.returncode == 0 and json.loads(lines[-1])["int8"] == value,
                    f"{command}: {last_line(done)}")
        tally.check(not left_behind(folder), f"{command}: leaves {left_behind(folder)}")
    done = qscope(*SAMPLE, "metric own nosuchprogram", "evaluate --metric own --limit 2")
    tally.check("cannot run 'nosuchprogram': No such file" in last_line(done),
                f"nosuchprogram: {last_line(done)}")


def check_trial(tally, folder):
    """A command that fails for one model alone: that one has the error, others their values."""
    count = Path(folder) / "count"
    command = shell(f"echo >>{count}; test $(wc -l <{count}) -ne 4 && echo 1")
    done, found = qscope_json(*SAMPLE, f"metric own {command}",
                              "sensitivity --ways loo --metric own --images 1 --exact --jobs 1")
    rows = found.get("sensitivity", {}).get("layers", [])
    errors = [r for r in rows if "error" in r]
    tally.check(done.returncode == 0 and len(rows) > 2 and len(errors) == 1 and
                "exit code 1" in errors[0]["error"] and errors[0]["own"] is None and
                all(r["own"] == 1 for r in rows if "error" not in r),
                f"one of the trials fails: {[r.get('error') for r in rows]} {last_line(done)}")
    count.unlink(missing_ok=True)


def check_files(tally, folder):
    """What is handed over, to whom it is readable, and where words go."""
    seen = Path(folder) / "seen"
    command = shell(f'stat -c %a "$(dirname "$1")" >{seen}; echo "$@" >>{seen}; echo 1')
    done = qscope(*SAMPLE, f"metric own {command} x", "evaluate --metric own --limit 1 #",
                  env={"TMPDIR": folder})
    text = seen.read_text().splitlines() if seen.exists() else []
    names = text[-1].split() if text else []
    tally.check(done.returncode == 0 and text[0] == "700" and len(names) == 2 and
                "fp32" in names[0] and "int8" in names[1], f"files: {text} {last_line(done)}")
    seen.unlink(missing_ok=True)
    command = shell(f'echo "$@" >{seen}; echo 1') + " x --b {int8} --a {fp32} end"
    qscope(*SAMPLE, f"metric own {command}", "evaluate --metric own --limit 1",
           env={"TMPDIR": folder})
    names = seen.read_text().split()
    tally.check(names[0::2] == ["--b", "--a", "end"] and "int8" in names[1] and "fp32" in names[3],
                f"places: {names}")
    seen.unlink()


def deaf_to_nothing():
    """What a shell starts in the background inherits that SIGINT is ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def check_ends(tally, folder):
    """Signals and a cancelled job: nothing is left, and it does not take long."""
    lines = [*SAMPLE, "metric own " + shell("sleep 77; echo 1"), "evaluate --metric own"]
    for sent in ([signal.SIGTERM], [signal.SIGINT], [signal.SIGHUP],
                 [signal.SIGTERM, signal.SIGTERM], [signal.SIGSEGV], [signal.SIGABRT]):
        command = [QSCOPE, "--batch", "--no-cache"]
        for line in lines:
            command += ["-e", line]
        p = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                             stderr=subprocess.DEVNULL, env=dict(os.environ, TMPDIR=folder),
                             preexec_fn=deaf_to_nothing)
        end = time.monotonic() + 20
        while "sleep 77" not in still_there(folder) and time.monotonic() < end:
            time.sleep(0.02)
        began = time.monotonic()
        for s in sent:
            p.send_signal(s)
        code = p.wait(30)
        took, left = time.monotonic() - began, left_behind(folder)
        tally.check(code != 0 and took < 5 and not left,
                    f"{[s.name for s in sent]}: code {code}, {took:.1f} s, leaves {left}")


def check_consent(tally, folder):
    """Files of others define metrics; they run nothing."""
    ran, script, saved = (Path(folder) / n for n in ("ran", "script.qs", "session.json"))
    define = "metric own " + shell(f"touch {ran}; echo 1")
    ways = {
        "script": [define, "evaluate --metric own --limit 1"],
        "script that trusts": [define, "metric own --trust", "evaluate --metric own --limit 1"],
        "alias": [f"alias mine {define}", "mine", "evaluate --metric ${M} --limit 1"],
        "time": [f"time {define}", "evaluate --metric ${M} --limit 1"],
        "goal": [define, "prefix --until 'own>=2' --images 1"],
        "search": [define, "search --metric own --reach 2 --images 1"],
        "sensitivity": [define, "sensitivity --metric own --images 1"],
    }
    for name, lines in ways.items():
        script.write_text("\n".join([*SAMPLE, *lines]) + "\n")
        start = [QSCOPE, "--batch", "--no-cache", "--define", "M=own"]
        done = subprocess.run([*start, "-e", f"source {word(script)}"],
                              stdin=subprocess.DEVNULL, capture_output=True, text=True)
        tally.check(done.returncode != 0 and "trust" in last_line(done) and not ran.exists(),
                    f"{name}: {last_line(done)}")
        done = subprocess.run([*start, "-x", str(script)], stdin=subprocess.DEVNULL,
                              capture_output=True, text=True)
        tally.check(ran.exists(), f"{name}, named on the command line: {last_line(done)}")
        ran.unlink(missing_ok=True)
        done = subprocess.run([*start, "--commands", "never", "-x", str(script)],
                              stdin=subprocess.DEVNULL, capture_output=True, text=True)
        tally.check(done.returncode != 0 and not ran.exists(),
                    f"{name}, --commands never: {last_line(done)}")
        done = subprocess.run([*start, "--commands", "always", "-e", f"source {word(script)}"],
                              stdin=subprocess.DEVNULL, capture_output=True, text=True)
        tally.check(ran.exists() or "trusts" in name,
                    f"{name}, --commands always: {last_line(done)}")
        ran.unlink(missing_ok=True)
    done = qscope(*SAMPLE, define, f"session save {word(saved)}", "evaluate --metric own --limit 1")
    tally.check(done.returncode == 0 and ran.exists(), f"typed: {last_line(done)}")
    ran.unlink()
    opened = f"session open {word(saved)}"
    for options, lines, runs in (
            ([], [], False), ([], ["metric own --trust"], True), ([], [define], True),
            (["--commands", "always"], [], True), (["--commands", "never"], [define], False),
            (["--commands", "never"], ["metric own --trust"], False)):
        done = qscope(opened, *lines, "evaluate --metric own --limit 1", options=options)
        tally.check(ran.exists() == runs and (done.returncode == 0) == runs,
                    f"session, {options} {lines}: {last_line(done)}")
        ran.unlink(missing_ok=True)
    for path in (script, saved):
        path.unlink()


def check_kept(tally, folder):
    """Answers are kept by words and files: another program, another answer."""
    program, ran = Path(folder) / "program.py", Path(folder) / "ran"
    env = {"XDG_CACHE_HOME": str(Path(folder) / "cache")}
    line = [QSCOPE, "--batch", "--json"]
    for x in (*SAMPLE, f"metric own {word(sys.executable)} {word(program)}",
              "evaluate --metric own --limit 2"):
        line += ["-e", x]
    for value, runs in ((1, True), (1, False), (2, True), (1, False)):
        program.write_text(f"open({str(ran)!r}, 'w')\nprint({value})\n")
        done = subprocess.run(line, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              env=dict(os.environ, **env))
        tally.check(done.returncode == 0 and
                    json.loads(done.stdout.splitlines()[-1])["int8"] == value and
                    ran.exists() == runs, f"kept {value}, {runs}: {last_line(done)}")
        ran.unlink(missing_ok=True)


def near(a, b):
    return a is None and b is None or abs(a - b) <= 1e-9 + 1e-5 * abs(b)


def check_numpy(tally, folder):
    """On real pairs: the same figures, the same search."""
    script = Path(folder) / "mse.py"
    script.write_text(MSE)
    own = f"metric --lower own {word(sys.executable)} {word(script)}"
    found_any = False
    for name, form, images in (("super_resolution", "qdq_badcal", 3), ("nanodet", "qdq_pt_sym", 2)):
        for folder_of, meta in metas():
            int8 = folder_of / f"int8_{form}.onnx"
            if not folder_of.name.startswith(name) or not int8.exists():
                continue
            found_any = True
            start = (f"load pair {word(folder_of / 'fp32.onnx')} {word(int8)}",
                     preprocess_words(meta["preprocess_onnx"]),
                     f"dataset add {word(DATA / 'images' / meta['images'])} --limit {images}", own)
            title = f"{folder_of.name}/{int8.name}"
            values = [qscope_json(*start, f"evaluate --metric {m}")[1].get("evaluate", {})
                      for m in ("mse", "own")]
            tally.check(near(values[1].get("int8"), values[0].get("int8")) and
                        values[1].get("fp32") == 0, f"{title}: {values}")
            print(f"{title}: mse {values[0].get('int8')}, by numpy {values[1].get('int8')}")
            if name != "super_resolution":
                continue
            rows = [{r["name"]: r for r in qscope_json(
                *start, f"sensitivity --metric {m} --exact")[1]["sensitivity"]["layers"]}
                for m in ("mse", "own")]
            tally.check(rows[0].keys() == rows[1].keys() and
                        all(near(rows[1][k][f], rows[0][k][f]) for k in rows[0]
                            for f in ("loo_gain", "only_effect")),
                        f"{title}: sensitivities differ")
            target = values[0]["int8"] * 0.5
            ends = [qscope_json(*start, f"search --metric {m} --reach {target:.17g}")[1]["search"]
                    for m in ("mse", "own")]
            tally.check(ends[0]["met"] and ends[1]["met"] and
                        len(ends[0]["pins"]) == len(ends[1]["pins"]) and
                        near(ends[1]["reached"], ends[0]["reached"]) and
                        ends[1]["reached"] <= target and ends[1]["minimal"],
                        f"{title}: the searches end elsewhere: {[e['pins'] for e in ends]}")
            print(f"{title}: search to {target:.3g} ends with {ends[1]['pins']} in "
                  f"{ends[1]['seconds']:.1f} s")
    tally.check(found_any, "no pair was looked at")


def main():
    tally = Tally()
    with tempfile.TemporaryDirectory() as folder:
        check_hostile(tally, folder)
        check_trial(tally, folder)
        check_files(tally, folder)
        check_ends(tally, folder)
        check_consent(tally, folder)
        check_kept(tally, folder)
        if (DATA / "models").is_dir():
            check_numpy(tally, folder)
    tally.close()


if __name__ == "__main__":
    main()
