#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""The statistics of a comparison against numpy: closed forms and special cases.

Every metric of every layer is a function of sums that are taken over finite pairs; what is left
then must be defined for empty, constant, all-zero and non-finite tensors, for one value and for
many, for floats and for codes of 8 and 16 bits, per tensor and per channel, and for values at both
ends of what float32 holds. Undefined is NaN, equal tensors have an infinite SQNR.
"""

import math
import os
import subprocess
from pathlib import Path

import numpy as np

from common import ROOT, Tally

FLOAT, U8, S8, U16, S16 = 1, 2, 3, 4, 5
TYPES = {FLOAT: np.float32, U8: np.uint8, S8: np.int8, U16: np.uint16, S16: np.int16}
NONE = -1  # no channel axis


class Tool:
    def __init__(self):
        tool = Path(os.environ.get("QSCOPE_BUILD") or ROOT / "build") / "tests/stats_tool"
        self.process = subprocess.Popen([str(tool)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def run(self, x, y, dtype=FLOAT, scale=1.0, zero=0, axis=NONE):
        head = " ".join(map(str, (dtype, axis, float(np.float32(scale)), zero, x.ndim, *x.shape)))
        data = np.ascontiguousarray(x, np.float32).tobytes() \
            + np.ascontiguousarray(y, TYPES[dtype]).tobytes()
        self.process.stdin.write(head.encode() + b"\n" + data)
        self.process.stdin.flush()
        found = {}
        while True:
            name, _, value = self.process.stdout.readline().decode().strip().partition(" ")
            if name in ("done", ""):
                return found
            found[name] = value if name == "error" else float(value)


def expected(x, y, dtype, scale, zero):
    """Every metric in float64, as the formulas of `metrics` say."""
    scale = np.float32(scale)
    quantized = dtype != FLOAT
    real = (y.astype(np.float32) - np.float32(zero)) * scale if quantized else y
    good = np.isfinite(x) & np.isfinite(real)
    a, b = x[good].astype(np.float64), real[good].astype(np.float64)
    e, n = a - b, a.size
    signal, noise = np.sum(a * a), np.sum(e * e)
    norm = math.sqrt(signal) * math.sqrt(np.sum(b * b))
    nan = math.nan
    found = {
        "n": n, "nonfinite": x.size - n,
        "sqnr": nan if not n else math.inf if noise == 0
        else 10 * math.log10(signal / noise) if signal > 0 else nan,
        "nsr": noise / signal if signal > 0 else nan,
        "cosine": max(-1, min(1, np.sum(a * b) / norm)) if norm > 0 else nan,
        "mse": noise / n if n else nan,
        "rmse": math.sqrt(noise / n) if n else nan,
        "mae": np.abs(e).mean() if n else nan,
        "max_abs": np.abs(e).max() if n else nan,
        "zeros": 100 * np.mean(b == 0) if n else nan,
        "rmse_scale": nan, "saturation_low": 0.0 if n else nan,
        "saturation_high": 0.0 if n else nan,
    }
    if quantized and scale > 0 and n:
        info = np.iinfo(TYPES[dtype])
        low = np.float32(np.float32(info.min - zero) * scale)
        high = np.float32(np.float32(info.max - zero) * scale)
        found["rmse_scale"] = found["rmse"] / float(scale)
        found["saturation_low"] = 100 * np.mean(a < low)
        found["saturation_high"] = 100 * np.mean(a > high)
    if quantized and not n:
        found["saturation_low"] = found["saturation_high"] = nan
    return found


def close(a, b):
    if math.isnan(a) or math.isnan(b):
        return math.isnan(a) and math.isnan(b)
    if math.isinf(a) or math.isinf(b):
        return a == b
    return abs(a - b) <= 1e-9 * max(abs(a), abs(b)) + 1e-300


def check(tally, tool, title, x, y, dtype=FLOAT, scale=1.0, zero=0, axis=NONE):
    x, y = np.asarray(x, np.float32), np.asarray(y, TYPES[dtype])
    found = tool.run(x, y, dtype, scale, zero, axis)
    if not tally.check("error" not in found, f"{title}: {found.get('error')}"):
        return found
    wrong = []

    def compare(prefix, a, b):
        for name, value in expected(a, b, dtype, scale, zero).items():
            if not close(found.get(prefix + name, math.inf), value):
                wrong.append(f"{prefix}{name} is {found.get(prefix + name)}, expected {value}")

    with np.errstate(all="ignore"):
        compare("", x, y)
        compare("twice_", np.stack([x, x]), np.stack([y, y]))
        for c in range(x.shape[axis] if axis >= 0 and x.shape[axis] > 1 and x.size else 0):
            compare(f"c{c}_", np.take(x, c, axis), np.take(y, c, axis))
        if dtype != FLOAT:
            info = np.iinfo(TYPES[dtype])
            s = np.float32(scale)
            e = (x - (y.astype(np.float32) - np.float32(zero)) * s).astype(np.float64) ** 2
            beyond = (x < np.float32(info.min - zero) * s) | (x > np.float32(info.max - zero) * s)
            finite = np.isfinite(x)
            for name, part in (("clip", beyond), ("round", ~beyond)):
                value = e[part & finite].sum()
                if not abs(found[name] - value) <= 1e-9 * value:
                    wrong.append(f"{name} is {found[name]}, expected {value}")
    # Ends and width of bins are powers of two, so that nothing is rounded here.
    places = np.floor((x[np.isfinite(x)].astype(np.float64) - found["low"]) / found["width"])
    bins = {f"bin{int(at)}": n for at, n in zip(*np.unique(places, return_counts=True))}
    if bins != {k: v for k, v in found.items() if k.startswith("bin")}:
        wrong.append("values are in other bins of the histogram")
    tally.check(not wrong, f"{title}: {'; '.join(wrong[:3])}")
    return found


def codes(rng, x, dtype, scale, zero):
    info = np.iinfo(TYPES[dtype])
    with np.errstate(all="ignore"):
        q = np.nan_to_num(np.rint(x / np.float32(scale)), posinf=1e9, neginf=-1e9) + zero
    return np.clip(q + rng.integers(-2, 3, x.shape), info.min, info.max)


def closed_forms(tally, tool):
    """Tensors whose figures are known without adding anything up."""
    def value(text, got, want):
        tally.check(close(got, want), f"{text}: {got}, expected {want}")

    n = 1000
    ramp = np.arange(n, dtype=np.float32)
    found = tool.run(ramp, ramp + 1)
    value("mse of a shift by 1", found["mse"], 1.0)
    value("mae of a shift by 1", found["mae"], 1.0)
    value("sqnr of a shift by 1", found["sqnr"], 10 * math.log10((n - 1) * n * (2 * n - 1) / 6 / n))
    found = tool.run(ramp, 2 * ramp)
    value("cosine of a multiple", found["cosine"], 1.0)
    value("sqnr of twice the values", found["sqnr"], 0.0)
    found = tool.run(ramp, -ramp)
    value("cosine of the opposite", found["cosine"], -1.0)
    found = tool.run(np.tile(np.float32([1, -1]), 500), np.tile(np.float32([1, 1]), 500))
    value("cosine of orthogonal tensors", found["cosine"], 0.0)
    steps = (np.arange(256, dtype=np.float64) / 256 - 0.5 + 1 / 512).astype(np.float32)
    found = tool.run(steps, np.zeros(256), S8, 1.0, 0)
    value("uniform rounding noise", found["rmse_scale"],
          math.sqrt(np.mean(steps.astype(np.float64) ** 2)))


def special(rng):
    """Names and tensors that make trouble."""
    big, tiny = np.float32(3e38), np.float32(1e-42)
    yield "empty", np.zeros((0,))
    yield "empty channels", np.zeros((1, 3, 0))
    yield "one zero", np.zeros((1,))
    yield "one value", np.full((1,), 0.7)
    yield "scalar", np.float32(0.3)
    yield "zeros", np.zeros((1, 4, 5, 5))
    yield "constant", np.full((1, 4, 5, 5), 1.25)
    yield "negative constant", np.full((2, 3, 7), -2.5)
    yield "minus zero", np.full((1, 4, 9), -0.0)
    yield "all NaN", np.full((1, 4, 9), np.nan)
    yield "all infinite", np.full((1, 4, 9), np.inf)
    yield "some NaN", np.where(rng.random((1, 4, 33)) < 0.1, np.nan, rng.normal(size=(1, 4, 33)))
    yield "some infinite", np.where(rng.random((1, 4, 33)) < 0.1, -np.inf,
                                    rng.normal(size=(1, 4, 33)))
    yield "one NaN at the end", np.append(rng.normal(size=99), np.nan)
    yield "one NaN at the start", np.append(np.nan, rng.normal(size=99))
    yield "a channel of NaN", np.stack([np.full(17, np.nan), rng.normal(size=17)])[None]
    yield "large", rng.choice([-big, big, 1], (1, 4, 16))
    yield "denormal", rng.choice([-tiny, tiny, 0], (1, 4, 16))
    yield "wide", 10.0 ** rng.uniform(-30, 30, (1, 8, 31))
    yield "one spike", np.append(np.zeros(999), 1e6)
    yield "odd length", rng.normal(size=(1, 3, 5, 7))
    yield "17 channels", rng.normal(size=(1, 17, 3, 3))
    yield "1 channel", rng.normal(size=(1, 1, 64))
    yield "rows", rng.normal(size=(5, 129))
    yield "long", rng.normal(size=(1, 65, 257))


def main():
    tally, tool, rng = Tally(), Tool(), np.random.default_rng(8)
    closed_forms(tally, tool)
    cases = 0
    for name, x in special(rng):
        x = np.asarray(x, np.float32)
        axis = 1 if x.ndim > 1 else NONE
        with np.errstate(all="ignore"):
            near = (x + rng.normal(scale=1e-3, size=x.shape)).astype(np.float32)
        others = {"itself": x, "near": near, "zeros": np.zeros_like(x),
                  "NaN": np.where(rng.random(x.shape) < 0.2, np.nan, near)}
        for other, y in others.items():
            cases += 1
            check(tally, tool, f"{name} against {other}", x, y, axis=axis)
        for dtype, scale, zero in ((U8, 0.02, 128), (S8, 0.05, 3), (U8, 1e-3, 0), (S16, 1e-3, 0),
                                   (U16, 0.01, 30000)):
            cases += 1
            check(tally, tool, f"{name} against codes of type {dtype}", x,
                  codes(rng, x, dtype, scale, zero), dtype, scale, zero, axis)
    tally.check(cases >= 200, f"only {cases} special cases")
    print(f"{cases} special cases")
    tally.close()


if __name__ == "__main__":
    main()
