#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""A metric of one's own: the mean absolute error of float outputs, without numpy.

    mae.py FP32.npy... OTHER.npy...
"""

import array
import sys


def values(path):
    with open(path, "rb") as f:
        data = f.read()
    return array.array("f", data[10 + int.from_bytes(data[8:10], "little"):])


def main():
    names = sys.argv[1:]
    half = len(names) // 2
    x = [v for name in names[:half] for v in values(name)]
    y = [v for name in names[half:] for v in values(name)]
    print(sum(abs(a - b) for a, b in zip(x, y, strict=True)) / len(x))


if __name__ == "__main__":
    main()
