# SPDX-License-Identifier: GPL-3.0-or-later
"""How things are measured: processes with their time and peak memory, programs that take turns,
medians and ratios of pairs, and what machine it was."""

import json
import os
import platform
import statistics
import subprocess
import time
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PEERS = Path(__file__).resolve().parent / "peers"
BUILD = Path(os.environ.get("QSCOPE_BUILD") or ROOT / "build/bench/release")
QSCOPE = BUILD / "qscope"
DATA = Path(os.environ.get("QSCOPE_SHARED") or ROOT.parent / "shared") / "data"
PAUSE = 0.05  # s between turns: thread pools stop spinning


# ---- Processes ------------------------------------------------------------------------------

@dataclass
class Finished:
    seconds: float  # from start to exit
    cpu: float      # s, user and system, of all threads
    peak: float     # MiB, resident
    out: str
    notes: str      # standard error


def run(*command, check=True, **options):
    """Runs a process to its end."""
    start = time.perf_counter()
    process = subprocess.Popen([str(word) for word in command], stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                               **options)
    with process.stdout, process.stderr:
        out = process.stdout.read()
        errors = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if check and process.returncode:
        raise RuntimeError(f"exit {process.returncode}: {command}\n{errors[-2000:]}")
    return Finished(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, out,
                    errors)


def qscope(*lines, options=(), check=True):
    """Runs a batch of command lines."""
    words = [word for line in lines for word in ("-e", line)]
    return run(QSCOPE, "--batch", "--no-config", "--no-cache", *options, *words, check=check)


class Server:
    """A program that measures once for every line and answers with one JSON object."""

    def __init__(self, *command):
        self.process = subprocess.Popen([str(word) for word in command], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                                        text=True)

    def ask(self, line=""):
        time.sleep(PAUSE)
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError(f"{self.process.args} ended")
        return json.loads(answer)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()


# ---- Pairs ----------------------------------------------------------------------------------

def interleave(count, **measures):
    """Calls the measures in turn, A B A B, `count` times each; their results by name."""
    found = {name: [] for name in measures}
    for _ in range(count):
        for name, measure in measures.items():
            found[name].append(measure())
    return found


def stat(values):
    return {"median": statistics.median(values), "min": min(values), "max": max(values),
            "n": len(values)}


def compare(case, peer, unit, ours, theirs, target=None, faster=False):
    """One line of a table: what both needed, pair by pair. The ratio is ours to theirs, or with
    `faster` theirs to ours; `target` is what it should be at most, or with `faster` at least."""
    ratios = [(b / a if faster else a / b) for a, b in zip(ours, theirs, strict=True)]
    ratio = stat(ratios)
    line = {"case": case, "peer": peer, "unit": unit, "qscope": stat(ours), "other": stat(theirs),
            "ratio": ratio, "faster": faster}
    if target is not None:
        met = ratio["median"] >= target if faster else ratio["median"] <= target
        line.update(target=target, met=met)
    return line


# ---- The machine ----------------------------------------------------------------------------

def machine():
    """One line: processor, features, cores, versions."""
    model = next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo")
                  if line.startswith("model name")), platform.machine())
    said = dict(line.split(" ", 1) for line in run(QSCOPE, "--version").out.splitlines())
    revision = subprocess.run(["git", "-C", ROOT, "describe", "--always", "--dirty"],
                              capture_output=True, text=True).stdout.strip()
    return {"processor": model, "features": said.get("cpu:", ""), "cores": os.cpu_count(),
            "memory_gib": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30),
            "qscope": f"{said['qscope']} {revision}".strip(),
            "onnxruntime": metadata.version("onnxruntime"),
            "python": platform.python_version()}
