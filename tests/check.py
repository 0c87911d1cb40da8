#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs every check on the builds that run.sh made, and adds up what they counted.

    check.py [NAME...]     names as printed; all when none is given

A check is a command. Its exit code decides; a last line "N passed, N failed[, N skipped]" counts
its cases, without one it counts as one case. Exit code 77 is a skip. The last line printed is the
sum. With the real models at hand (QSCOPE_SHARED or ../shared) a skip makes the run fail.
"""

import concurrent.futures
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build/check"
SHARED = Path(os.environ.get("QSCOPE_SHARED") or ROOT.parent / "shared").resolve()
PYTHON = sys.executable
LIMIT = 900  # seconds for one check
SHOWN = 40  # lines of a check that failed

# Name, build it runs on, command. The slow ones first: two run at a time.
CHECKS = [
    ("oracle-activations", "release", [PYTHON, "tests/oracle/check_activations.py"]),
    ("oracle-int8", "release", [PYTHON, "tests/oracle/check_int8.py"]),
    ("oracle-tflite", "release", [PYTHON, "tests/oracle/check_tflite.py"]),
    ("oracle-tflite-ops", "release", [PYTHON, "tests/oracle/check_tflite_ops.py"]),
    ("oracle-fuse", "release", [PYTHON, "tests/oracle/check_fuse.py"]),
    ("oracle-numerics", "release", [PYTHON, "tests/oracle/check_numerics.py"]),
    ("oracle-reference", "release", [PYTHON, "tests/oracle/check_reference.py"]),
    ("oracle-random", "release", [PYTHON, "tests/oracle/check_random.py"]),
    ("oracle-transformers", "release", [PYTHON, "tests/oracle/check_transformers.py"]),
    ("oracle-sums", "release", [PYTHON, "tests/oracle/check_sums.py"]),
    ("oracle-implicit", "release", [PYTHON, "tests/oracle/check_implicit.py"]),
    ("oracle-gaps", "release", [PYTHON, "tests/oracle/check_gaps.py"]),
    ("oracle-quantize", "release", [PYTHON, "tests/oracle/check_quantize.py"]),
    ("oracle-whatif", "release", [PYTHON, "tests/oracle/check_whatif.py"]),
    ("oracle-sweep", "release", [PYTHON, "tests/oracle/check_sweep.py"]),
    ("oracle-search", "release", [PYTHON, "tests/oracle/check_search.py"]),
    ("oracle-own-metric", "release", [PYTHON, "tests/oracle/check_own_metric.py"]),
    ("oracle-mixed", "release", [PYTHON, "tests/oracle/check_mixed.py"]),
    ("oracle-precisions", "release", [PYTHON, "tests/oracle/check_precisions.py"]),
    ("oracle-local", "release", [PYTHON, "tests/oracle/check_local.py"]),
    ("oracle-faults", "release", [PYTHON, "tests/oracle/check_faults.py"]),
    ("oracle-statistics", "release", [PYTHON, "tests/oracle/check_statistics.py"]),
    ("oracle-metrics", "release", [PYTHON, "tests/oracle/check_metrics.py"]),
    ("oracle-preprocess", "release", [PYTHON, "tests/oracle/check_preprocess.py"]),
    ("oracle-memory", "release", [PYTHON, "tests/oracle/check_memory.py"]),
    ("bad-input", "release", [PYTHON, "tests/oracle/check_bad_input.py"]),
    ("bad-input-asan", "asan", [PYTHON, "tests/oracle/check_bad_input.py"]),
    ("bad-graphs-asan", "asan", [PYTHON, "tests/oracle/check_bad_graphs.py"]),
    ("transcripts", "release", [PYTHON, "tests/transcripts.py", "tests/scripts"]),
    ("transcripts-asan", "asan", [PYTHON, "tests/transcripts.py", "tests/scripts"]),
    ("screens", "release", [PYTHON, "tests/transcripts.py", "tests/screens"]),
    ("screens-asan", "asan", [PYTHON, "tests/transcripts.py", "tests/screens"]),
    ("walks", "release", [PYTHON, "tests/walk.py"]),
    ("walks-asan", "asan", [PYTHON, "tests/walk.py"]),
    ("walks-views", "release", [PYTHON, "tests/walk_views.py"]),
    ("walks-views-asan", "asan", [PYTHON, "tests/walk_views.py"]),
    ("looks", "release", [PYTHON, "tests/looks.py"]),
    ("walks-terminal", "release", [PYTHON, "tests/walk_terminal.py"]),
    ("walks-terminal-asan", "asan", [PYTHON, "tests/walk_terminal.py"]),
    ("monkey-asan", "asan", [PYTHON, "tests/monkey.py"]),
    ("layering", "release", ["sh", "tests/layering.sh"]),
    ("tables", "release", ["sh", "tests/tables.sh"]),
    ("report", "release", [PYTHON, "tests/report.py"]),
    ("results", "release", [PYTHON, "tests/results.py"]),
    ("results-asan", "asan", [PYTHON, "tests/results.py"]),
    ("manual", "release", [PYTHON, "tests/manual.py"]),
    ("samples", "release", ["sh", "tests/samples.sh"]),
    ("style", "release", ["sh", "tests/style.sh"]),
]
COUNT = re.compile(r"(\d+) passed, (\d+) failed(?:, (\d+) skipped)?\s*$")
CMOCKA = re.compile(r"\[\s*(PASSED|FAILED|SKIPPED)\s*\] (\d+) test\(s\)")


def environment(build):
    env = dict(os.environ)
    env.update(
        QSCOPE_BIN=str(BUILD / build / "qscope"),
        QSCOPE_BUILD=str(BUILD / build),
        ASAN_OPTIONS="detect_leaks=1:exitcode=99",
        LSAN_OPTIONS=f"suppressions={ROOT}/tests/lsan.supp:print_suppressions=0",
        UBSAN_OPTIONS="halt_on_error=1:print_stacktrace=1:exitcode=99",
        LC_ALL="C.UTF-8",
        # Nobody's own settings or history may change a result.
        XDG_CONFIG_HOME=str(BUILD / "home"),
        XDG_STATE_HOME=str(BUILD / "home"),
        XDG_CACHE_HOME=str(BUILD / "home"),
    )
    if SHARED.is_dir():
        env["QSCOPE_SHARED"] = str(SHARED)
    return env


def tally(code, text):
    """(passed, failed, skipped) of one finished check."""
    passed = failed = skipped = 0
    cases = CMOCKA.findall(text)
    if cases:
        for word, n in cases:
            passed += int(n) if word == "PASSED" else 0
            failed += int(n) if word == "FAILED" else 0
            skipped += int(n) if word == "SKIPPED" else 0
    else:
        last = COUNT.search(text.rstrip())
        if last:
            passed, failed, skipped = (int(n or 0) for n in last.groups())
        elif code == 0:
            passed = 1
        elif code == 77:
            skipped = 1
    if code not in (0, 77) and failed == 0:
        failed = 1
    return passed, failed, skipped


def run_command(name, build, command):
    start = time.monotonic()
    try:
        done = subprocess.run(command, cwd=ROOT, env=environment(build), stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=LIMIT)
        code, out = done.returncode, done.stdout
    except subprocess.TimeoutExpired as e:
        code, out = 124, (e.stdout or b"") + b"\ntime limit reached\n"
    return name, tally(code, out.decode(errors="replace")), out.decode(errors="replace"), \
        time.monotonic() - start


def run_meson(build):
    """The C tests of one build, each program a check of its own."""
    directory = BUILD / build
    log = directory / "meson-logs/testlog.json"
    log.unlink(missing_ok=True)
    subprocess.run(["meson", "test", "-C", str(directory), "--no-rebuild", "--num-processes", "2",
                    "--quiet"], cwd=ROOT, env=environment(build), stdin=subprocess.DEVNULL,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    if not log.exists():
        yield f"c-tests-{build}", (0, 1, 0), "no C test was run", 0.0
        return
    for line in log.read_text().splitlines():
        test = json.loads(line)
        text = (test.get("stdout") or "") + (test.get("stderr") or "")
        code = {"OK": 0, "SKIP": 77}.get(test["result"], test.get("returncode") or 1)
        yield f"{test['name'].split(' / ')[-1]}-{build}", tally(code, text), text, test["duration"]


def main():
    wanted = sys.argv[1:]
    total = [0, 0, 0]

    def report(name, counts, text, seconds):
        passed, failed, skipped = counts
        word = "FAIL" if failed else "skip" if skipped and not passed else "ok"
        extra = f", {failed} failed" if failed else ""
        extra += f", {skipped} skipped" if skipped else ""
        print(f"{word:4} {name:28} {passed:5} passed{extra}  ({seconds:.1f} s)", flush=True)
        if failed or skipped:
            lines = text.rstrip().splitlines()
            marked = [line for line in lines if line.startswith(("FAIL", "failed", "[  FAILED"))]
            for line in (marked or lines)[-SHOWN:]:
                print(f"       {line}")
        for i, n in enumerate(counts):
            total[i] += n

    for build in ("release", "asan"):
        if not wanted or f"c-tests-{build}" in wanted:
            for result in run_meson(build):
                report(*result)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        jobs = [pool.submit(run_command, *c) for c in CHECKS if not wanted or c[0] in wanted]
        for job in concurrent.futures.as_completed(jobs):
            report(*job.result())

    bad = total[1] > 0 or sum(total) == 0 or (total[2] > 0 and SHARED.is_dir())
    print("{} passed, {} failed, {} skipped".format(*total))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
