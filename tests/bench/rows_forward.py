# SPDX-License-Identifier: GPL-3.0-or-later
"""Forward passes against onnxruntime's plain sessions."""

import statistics
import sys
from contextlib import ExitStack
from pathlib import Path

from make_models import NETWORKS
from measure import BUILD, DATA, PEERS, Server, compare, interleave, stat

TITLES = {"resnet50": "ResNet-50", "mobilenetv2": "MobileNetV2"}
THREADS = {1: "1 thread", 2: "2 threads"}


def measure(model, pairs, milliseconds, threads, inputs=None):
    """Both programs by turns: lists of their answers. qscope gives every activation to a reader,
    with several threads in the faster of the two ways to use them, as onnxruntime does."""
    npy = ["--npy", inputs] if inputs else []
    ways = [["--threads", threads]] + ([["--split", threads]] if threads > 1 else [])
    with ExitStack() as stack:
        ours = [stack.enter_context(Server(BUILD / "tests/bench/forward", model, "--tap", "--json",
                                           "--serve", "--for", milliseconds, *way, *npy))
                for way in ways]
        theirs = stack.enter_context(Server(sys.executable, PEERS / "ort_forward.py", model,
                                            milliseconds, threads, *([inputs] if inputs else [])))
        return interleave(
            pairs, qscope=lambda: min((one.ask() for one in ours), key=lambda x: x["median_ms"]),
            peer=theirs.ask)


def line(case, found, threads):
    """By wall time; of one thread also by CPU time, which others on the machine disturb less."""
    ours, theirs = ([x["median_ms"] for x in found[who]] for who in ("qscope", "peer"))
    made = compare(case, "onnxruntime", "ms", ours, theirs, 1.0)
    if threads == 1:
        ours, theirs = ([x["cpu_ms"] for x in found[who]] for who in ("qscope", "peer"))
        made["cpu"] = stat([a / b for a, b in zip(ours, theirs, strict=True)])
    return made


def forward(options, kind):
    lines = []
    for network in NETWORKS:
        model = Path(options.models) / f"{network}_{kind}.onnx"
        for threads, words in THREADS.items():
            case = f"{TITLES[network]}, {words}"
            found = measure(model, 5 if options.quick else 15, 200 if options.quick else 400,
                            threads, Path(options.models) / "x32.npy")
            lines.append(line(case, found, threads))
    return {"lines": lines}


WAYS = ("Milliseconds an image. "
        "qscope makes every activation visible: each is given to a reader as soon as it exists.\n"
        "The peer is a plain session, which shows its outputs only. "
        "Of two threads both programs make the better use: an image each, or both inside the "
        "operators.")


def int8(options):
    return {"title": "INT8 forward pass", "text": [WAYS], **forward(options, "qdq")}


def fp32(options):
    return {"title": "FP32 forward pass", "text": [WAYS], **forward(options, "fp32")}


def models(options):
    """Every ONNX model of the collection that was made for development."""
    files = sorted((DATA / "models").glob("*/*.onnx"))
    if not files:
        return None
    lines = []
    for threads, words in THREADS.items():
        for path in files[:4] if options.quick else files:
            found = measure(path, 3 if options.quick else 7, 100, threads)
            lines.append(line(f"{path.parent.name} {path.stem}, {words}", found, threads))
    return {"title": "Forward passes of small real models",
            "text": [WAYS, "The models are trained ones that are not part of this project."],
            "lines": lines, "notes": list(means(lines))}


def means(lines):
    """Of FP32 and INT8 files, by threads."""
    for words in THREADS.values():
        for kind in ("FP32", "INT8"):
            some = [x for x in lines if x["case"].endswith(words)
                    and (" fp32," in x["case"]) == (kind == "FP32")]
            if some:
                ratios = [x["ratio"]["median"] for x in some]
                cpu = [x["cpu"]["median"] for x in some if "cpu" in x]
                more = f", of CPU time {statistics.geometric_mean(cpu):.2f}x" if cpu else ""
                yield (f"{kind}, {words}: geometric mean {statistics.geometric_mean(ratios):.2f}x"
                       f"{more} over {len(some)} files, worst {max(ratios):.2f}x.")
