# SPDX-License-Identifier: GPL-3.0-or-later
"""Whole comparisons: processes from start to exit, the first screen, many images."""

import json
import os
import pty
import re
import select
import signal
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pyte

from make_models import INPUTS, NETWORKS
from measure import BUILD, PEERS, QSCOPE, Server, compare, interleave, qscope, run
from rows_forward import TITLES


def word(path):
    return f"'{path}'"


def files(options, network):
    """FP32 model, QDQ model, inputs."""
    folder = Path(options.models)
    return folder / f"{network}_fp32.onnx", folder / f"{network}_qdq.onnx", folder / "x32.npy"


def many(options, images):
    """A folder with so many images: the inputs again and again, under other names."""
    folder = Path(options.models) / f"many{images}"
    if not folder.is_dir():
        folder.mkdir()
        for i in range(-(-images // INPUTS)):
            os.link(Path(options.models) / "x32.npy", folder / f"{i:04d}.npy")
    return folder


# ---- Whole comparisons ----------------------------------------------------------------------

def comparison(fp32, int8, inputs, images, jobs, local="off"):
    """One process: both models, all layers, all metrics of the two runs; local: images on which
    each layer is run alone as well, which no peer does."""
    return qscope(f"set local {local}", f"time load pair {word(fp32)} {word(int8)}", f"dataset add {word(inputs)}",
                  f"time run --limit {images}", "time layers", options=["--jobs", str(jobs)])


def phases(done):
    """Seconds that loading, the run and the listing took."""
    return [float(found) for found in re.findall(r"^([\d.]+) s$", done.notes, re.MULTILINE)]


def plain_sessions(fp32, int8, inputs, images, jobs):
    """The two sessions and their runs: whole process, and seconds of its parts."""
    done = run(sys.executable, PEERS / "ort_pair.py", fp32, int8, inputs, images, jobs)
    return done, json.loads(done.out)


def against_plain(options, network, pairs, jobs):
    fp32, int8, inputs = files(options, network)
    comparison(fp32, int8, inputs, 8, jobs)  # files are in the page cache from here on
    found = interleave(pairs, qscope=lambda: comparison(fp32, int8, inputs, 8, jobs),
                       plain=lambda: plain_sessions(fp32, int8, inputs, 8, jobs))
    case = TITLES[network] + (", 1 thread" if jobs == 1 else "")
    ours = [x.seconds for x in found["qscope"]]
    load, both, _ = zip(*(phases(x) for x in found["qscope"]))
    process, parts = zip(*found["plain"])
    return [compare(case, "process with the two plain sessions", "s", ours,
                    [x.seconds for x in process], 1.3),
            compare(case, "the same without Python's start and imports", "s", ours,
                    [x["all"] for x in parts]),
            compare(f"{case}: `load pair`", "sessions created", "s", load,
                    [x["create"] for x in parts]),
            compare(f"{case}: `run`", "sessions run", "s", both, [x["run"] for x in parts])]


def against_debug(options, network, pairs, target):
    fp32, int8, inputs = files(options, network)
    found = interleave(
        pairs, qscope=lambda: comparison(fp32, int8, inputs, 8, 2),
        debug=lambda: run(sys.executable, PEERS / "ort_debug.py", fp32, int8, inputs, 8),
        plain=lambda: plain_sessions(fp32, int8, inputs, 8, 2))
    ours, debug = found["qscope"], found["debug"]
    runs = statistics.median(parts["run"] for _, parts in found["plain"])
    bound = statistics.median(x.seconds for x in debug) / runs
    note = (f"{TITLES[network]}: onnxruntime's two sessions run the 8 images in {runs:.3f} s, "
            f"{bound:.1f}x less than qdq_loss_debug takes: who runs the models as fast, and starts "
            "and compares in no time, gains so much and no more.")
    return [compare(TITLES[network], "qdq_loss_debug", "s", [x.seconds for x in ours],
                    [x.seconds for x in debug], target, faster=True),
            compare(TITLES[network] + ", peak memory", "qdq_loss_debug", "MiB",
                    [x.peak for x in ours], [x.peak for x in debug], 0.25)], note


def alone(options, network, pairs):
    """What LOCAL figures of all images add."""
    fp32, int8, inputs = files(options, network)
    found = interleave(pairs, all=lambda: comparison(fp32, int8, inputs, 8, 2, "all"),
                       off=lambda: comparison(fp32, int8, inputs, 8, 2))
    return [compare(f"{TITLES[network]}, with LOCAL", "without", "s",
                    [x.seconds for x in found["all"]], [x.seconds for x in found["off"]])]


def flat_memory(options, network):
    fp32, int8, inputs = files(options, network)
    peaks = {n: comparison(fp32, int8, inputs if n <= INPUTS else many(options, n), n, 2).peak
             for n in ((8, 32) if options.quick else (8, 64, 512))}
    few, most = min(peaks), max(peaks)
    return compare(f"{TITLES[network]}, peak memory at {most} images", f"qscope at {few}", "MiB",
                   [peaks[most]], [peaks[few]], 1.05)


def opening(options, network):
    """What opening the pair costs, in words."""
    found = json.loads(run(BUILD / "tests/bench/phases", *files(options, network)[:2],
                           3 if options.quick else 15).out)
    return (f"{TITLES[network]}, CPU milliseconds of opening the pair: "
            + ", ".join(f"{name} {ms:.1f}" for name, ms in found.items()) + ".")


def whole(options):
    lines, notes = [], []
    for network, target in zip(NETWORKS, (30, 50)):
        found, bound = against_debug(options, network, 1 if options.quick else 5, target)
        lines += found
        for jobs in (2, 1):
            lines += against_plain(options, network, 3 if options.quick else 9, jobs)
        lines += alone(options, network, 1 if options.quick else 5)
        lines.append(flat_memory(options, network))
        notes += [bound, opening(options, network)]
    return {"title": "Whole comparison of 8 images",
            "text": ["Whole processes, from start to exit: all layers, all metrics of the two "
                     "runs (`set local off`).",
                     "The peers are the comparison that comes with onnxruntime, and a process "
                     "that creates the two plain sessions and runs the images, which compares "
                     "nothing."],
            "lines": lines, "notes": notes}


# ---- The first screen -----------------------------------------------------------------------

RANKED = re.compile(r"^>? *1 .* \d+\.\d\d ")


def first_screen(fp32, int8, image):
    """Seconds from the start of the program to a screen whose first layer has figures."""
    start = time.perf_counter()
    pid, master = pty.fork()
    if pid == 0:
        os.environ["TERM"] = "xterm-256color"
        os.execv(QSCOPE, [str(QSCOPE), "--no-config", "--no-cache", str(fp32), str(int8), str(image)])
    screen = pyte.Screen(80, 24)
    stream = pyte.ByteStream(screen)
    found = None
    while found is None and select.select([master], [], [], 60)[0]:
        stream.feed(os.read(master, 65536))
        if any(RANKED.search(line) for line in screen.display):
            found = time.perf_counter() - start
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    os.close(master)
    if found is None:
        raise RuntimeError("no ranked screen:\n" + "\n".join(screen.display))
    return found


def start(options):
    lines = []
    for network in NETWORKS:
        fp32, int8, inputs = files(options, network)
        image = Path(options.models) / "x1.npy"
        if not image.is_file():
            np.save(image, np.load(inputs)[:1])
        found = interleave(5 if options.quick else 11,
                           qscope=lambda: first_screen(fp32, int8, image),
                           plain=lambda: plain_sessions(fp32, int8, image, 1, 2))
        process, parts = zip(*found["plain"])
        target = 1.5 if network == "resnet50" else None
        lines += [compare(TITLES[network], "two sessions created and run once", "s",
                          found["qscope"], [x["all"] for x in parts], target),
                  compare(TITLES[network], "the same, whole process", "s", found["qscope"],
                          [x.seconds for x in process])]
    return {"title": "From start to the first ranked screen",
            "text": ["One image, in a pseudo-terminal, until the first row of the table has "
                     "figures.",
                     "The peer is what onnxruntime needs to create its two sessions and run "
                     "each once, without Python's start and imports."],
            "lines": lines}


# ---- Many images ----------------------------------------------------------------------------

class LongRun:
    """A run over many images that can be stopped and continued; progress is read from the notes
    it writes on a terminal."""

    def __init__(self, fp32, int8, inputs, images):
        self.master, slave = pty.openpty()
        self.process = subprocess.Popen(
            [QSCOPE, "--batch", "--no-config", "--no-cache", "-e", f"load pair {word(fp32)} {word(int8)}",
             "-e", f"dataset add {word(inputs)}", "-e", f"run --limit {images}"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=slave)
        os.close(slave)
        self.notes = [(time.perf_counter(), 0)]
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        text = ""
        try:
            while True:
                text += os.read(self.master, 4096).decode(errors="replace")
                *whole, text = text.split("\r")
                for note in whole:
                    if done := re.match(r"(\d+)/\d+ images", note):
                        self.notes.append((time.perf_counter(), int(done[1])))
        except OSError:
            pass  # the program has ended

    def advance(self, images):
        """Goes on for so many images; seconds an image, or None at the end."""
        self.process.send_signal(signal.SIGCONT)
        seen = len(self.notes)
        while len(self.notes) <= seen and self.process.poll() is None:
            time.sleep(0.005)
        first = self.notes[-1]
        while self.notes[-1][1] < first[1] + images and self.process.poll() is None:
            time.sleep(0.02)
        last = self.notes[-1]
        self.process.send_signal(signal.SIGSTOP)
        return (last[0] - first[0]) / (last[1] - first[1]) if last[1] > first[1] else None

    def memory(self):
        """MiB resident now; None when the program has ended."""
        if self.process.poll() is not None:
            return None
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+)", status)
        return int(found[1]) / 1024 if found else None

    def close(self):
        self.process.send_signal(signal.SIGCONT)
        self.process.kill()
        self.process.wait()
        os.close(self.master)


def first_hundred(fp32, int8, inputs, servers, count):
    """Ratio to onnxruntime over the first hundred images, in processes of their own."""
    def rate():
        done = qscope(f"load pair {word(fp32)} {word(int8)}", f"dataset add {word(inputs)}",
                      "run --limit 100", "jobs", options=["--json"])
        return 1 / next(x["rate"] for x in map(json.loads, done.out.splitlines())
                        if x["command"] == "jobs")

    found = interleave(count, qscope=rate, peer=lambda: ask(servers))
    return [a / b for a, b in zip(found["qscope"], found["peer"])]


def ask(servers):
    """Seconds an image needs in both sessions."""
    return sum(server.ask()["wall_ms"] for server in servers) / 1e3


def advance_through(job, servers, piece):
    """(ratio to onnxruntime, MiB) of piece after piece."""
    before, ratios, memory = ask(servers), [], []
    while (ours := job.advance(piece)) is not None:
        memory.append(job.memory())
        after = ask(servers)
        ratios.append(ours / ((before + after) / 2))
        before = after
    return ratios, [m for m in memory if m]


def long(options):
    network, images = "mobilenetv2", 1000 if options.quick else 10000
    fp32, int8, _ = files(options, network)
    inputs = many(options, images)
    peers = [Server(sys.executable, PEERS / "ort_forward.py", path, 1000, 2,
                    Path(options.models) / "x32.npy") for path in (fp32, int8)]
    with peers[0], peers[1]:
        early = first_hundred(fp32, int8, inputs, peers, 3 if options.quick else 9)
        job = LongRun(fp32, int8, inputs, images)
        ratios, memory = advance_through(job, peers, 500)
        job.close()
    baseline = statistics.median(early)
    lines = [compare(f"{TITLES[network]}, pieces of 500 images of {images}",
                     "first 100 images, both as ratios to onnxruntime's two sessions", "",
                     ratios, [baseline] * len(ratios), 1.1),
             compare("memory at the end", "memory after the first piece", "MiB", memory[-1:],
                     memory[:1], 1.05)]
    return {"title": f"A run over {images} images",
            "text": ["The run is stopped after every piece, and onnxruntime's two plain sessions "
                     "run for a second each.", "The images are the 32 inputs again and again."],
            "lines": lines}
