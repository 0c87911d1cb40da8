#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decoding, resizing, colours and normalisation against Pillow, pixel by pixel.

Pictures: those of the real image sets when they are there, and ones drawn here in every kind of
PNG, JPEG and PNM. The C side is prep_tool (tests/prep_tool.c) in QSCOPE_BUILD. One line is printed
for each group with the largest difference in steps of 1/255.
"""

import os
import struct
import subprocess
import tempfile
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from common import DATA, ROOT, Tally, image_files

TOOL = Path(os.environ.get("QSCOPE_BUILD") or ROOT / "build") / "tests/prep_tool"
FILTERS = {"bilinear": Image.BILINEAR, "nearest": Image.NEAREST, "bicubic": Image.BICUBIC,
           "lanczos": Image.LANCZOS, "box": Image.BOX}
PER_SET = 8  # pictures of each real set
RAW = "range=0..255 mean=0 std=1 layout=NHWC"


def tool(settings, files):
    """What prep_tool makes of the files: arrays in order, None for refused ones."""
    with tempfile.TemporaryDirectory() as out:
        done = subprocess.run([TOOL, out, settings, *map(str, files)], text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if done.returncode:
            raise SystemExit(f"prep_tool {settings}: {done.stdout}")
        if done.stdout:
            print(done.stdout, end="")
        paths = [Path(out) / f"{i}.npy" for i in range(len(files))]
        return [np.load(p)[0] if p.exists() else None for p in paths]


def compare(tally, name, settings, files, expect, limit=0.0):
    """Largest difference over the files, which must not be over the limit."""
    worst, where = 0.0, ""
    for path, got in zip(files, tool(settings, files)):
        want = expect(Image.open(path))
        want = want if want.ndim == 3 else want[:, :, None]
        if got is None or got.shape != want.shape:
            worst, where = np.inf, path
            break
        d = np.abs(got.astype(np.float64) - want).max()
        if d > worst:
            worst, where = d, path
    print(f"{name:34} {len(files):4} pictures  max difference {worst:g}/255")
    tally.check(worst <= limit, f"{name}: {worst} over {limit} at {where}")


def real_pictures():
    files = []
    for folder in sorted((DATA / "images").glob("*")) if DATA.is_dir() else []:
        found = image_files(folder)
        files += found[:: max(1, len(found) // PER_SET)][:PER_SET]
    return files


def noise(shape, seed):
    """Smooth colours with noise on top: both ends of the range and all frequencies."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0 : shape[0], 0 : shape[1]]
    waves = [128 + 127 * np.sin(x / (3 + c) + y / (5 + 2 * c)) for c in range(3)]
    return np.clip(np.stack(waves, -1) + rng.normal(0, 40, (*shape, 3)), 0, 255).astype(np.uint8)


def drawn_pictures(folder):
    """One file of each kind that Pillow can write."""
    rgb = Image.fromarray(noise((61, 83), 1))
    alpha = rgb.convert("RGBA")
    alpha.putalpha(rgb.convert("L"))
    kinds = {
        "rgb.png": (rgb, {}),
        "gray.png": (rgb.convert("L"), {}),
        "rgba.png": (alpha, {}),
        "la.png": (alpha.convert("LA"), {}),
        "palette.png": (rgb.quantize(64), {}),
        "palette4.png": (rgb.quantize(16), {"bits": 4}),
        "palette_alpha.png": (rgb.quantize(64), {"transparency": 3}),
        "gray_key.png": (rgb.convert("L"), {"transparency": 7}),
        "bit.png": (rgb.convert("1"), {}),
        "baseline.jpg": (rgb, {"quality": 90}),
        "progressive.jpg": (rgb, {"quality": 80, "progressive": True}),
        "full_chroma.jpg": (rgb, {"quality": 95, "subsampling": 0}),
        "half_chroma.jpg": (rgb, {"quality": 60, "subsampling": 1}),
        "restart.jpg": (rgb, {"quality": 70, "restart_marker_rows": 1}),
        "gray.jpg": (rgb.convert("L"), {"quality": 75}),
        "rgb.ppm": (rgb, {}),
        "gray.pgm": (rgb.convert("L"), {}),
    }
    for name, (image, options) in kinds.items():
        image.save(folder / name, **options)
    text = " ".join(map(str, np.asarray(rgb).ravel() // 3))
    (folder / "text.ppm").write_text(f"P3\n# drawn\n{rgb.width} {rgb.height}\n85\n{text}\n")
    return [folder / name for name in kinds] + [folder / "text.ppm"]


PNG_KINDS = {0: (1, (1, 2, 4, 8)), 2: (3, (8, 16)), 3: (1, (1, 2, 4, 8)), 4: (2, (8, 16)),
             6: (4, (8, 16))}  # colour type: channels, depths; 16-bit gray is a case of its own
ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2),
         (0, 1, 1, 2))  # x, y, step x, step y


def png_rows(samples, depth):
    """Unfiltered rows of samples [h, w, channels]."""
    flat = samples.reshape(len(samples), -1)
    if depth == 16:
        flat = flat.astype(">u2")
    elif depth < 8:
        bits = (flat[:, :, None] >> np.arange(depth)[::-1]) & 1
        flat = np.packbits(bits.reshape(len(flat), -1).astype(np.uint8), axis=1)
    else:
        flat = flat.astype(np.uint8)
    return b"".join(b"\0" + row.tobytes() for row in flat)


def write_png(path, samples, depth, color, interlaced):
    """A PNG of a kind that Pillow does not write."""
    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(
            ">I", zlib.crc32(name + data))

    h, w = samples.shape[:2]
    passes = ADAM7 if interlaced else ((0, 0, 1, 1),)
    parts = [samples[y::dy, x::dx] for x, y, dx, dy in passes]
    pixels = b"".join(png_rows(p, depth) for p in parts if p.size)
    palette = bytes((i * 37 + 11) % 256 for i in range(3 * 2 ** min(depth, 8)))
    path.write_bytes(b"\x89PNG\r\n\x1a\n"
                     + chunk(b"IHDR", struct.pack(">IIBBBBB", w, h, depth, color, 0, 0, interlaced))
                     + (chunk(b"PLTE", palette) if color == 3 else b"")
                     + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b""))


def made_pngs(folder):
    """Every colour type and depth, plain and interlaced."""
    rng = np.random.default_rng(2)
    files = []
    for color, (channels, depths) in PNG_KINDS.items():
        for depth in depths:
            for interlaced in (0, 1):
                files.append(folder / f"made_{color}_{depth}_{interlaced}.png")
                samples = rng.integers(0, 2**depth, (19, 27, channels))
                write_png(files[-1], samples, depth, color, interlaced)
    return files


def check_gray16(tally, folder):
    """16-bit gray is scaled to 8 bits; Pillow would clip it, depending on its version."""
    samples = np.random.default_rng(3).integers(0, 65536, (19, 27, 1))
    write_png(folder / "gray16.png", samples, 16, 0, 1)
    got = tool(f"size=19x27 color=gray {RAW}", [folder / "gray16.png"])[0]
    tally.check(got is not None and np.array_equal(got, samples >> 8), "16-bit gray PNG")


def by_size(files):
    sizes = {}
    for path in files:
        sizes.setdefault(Image.open(path).size, []).append(path)
    return sizes


def check_decoding(tally, name, files):
    """At its own size a picture is only decoded."""
    worst = 0.0
    for (w, h), group in by_size(files).items():
        for path, got in zip(group, tool(f"size={h}x{w} {RAW}", group)):
            want = np.asarray(Image.open(path).convert("RGB"), np.float64)
            d = np.inf if got is None else np.abs(got - want).max()
            worst = max(worst, d)
            tally.check(d == 0, f"decoding {path}: {d}")
    print(f"{name:34} {len(files):4} pictures  max difference {worst:g}/255")


def check_filters(tally, files):
    for name, method in FILTERS.items():
        for w, h in ((224, 224), (128, 96), (10, 49), (333, 500), (83, 61)):
            compare(tally, f"{name} {h}x{w}", f"size={h}x{w} resize={name} {RAW}", files,
                    lambda im: np.asarray(im.convert("RGB").resize((w, h), method)))


def check_colors(tally, files):
    def resized(im):
        return im.convert("RGB").resize((96, 64), Image.BILINEAR)

    colors = {
        "rgb": lambda im: np.asarray(resized(im)),
        "bgr": lambda im: np.asarray(resized(im))[:, :, ::-1],
        "gray": lambda im: np.asarray(resized(im).convert("L")),
        "y": lambda im: np.asarray(resized(im).convert("YCbCr"))[:, :, 0],
    }
    for name, expect in colors.items():
        compare(tally, f"color={name}", f"size=64x96 color={name} {RAW}", files, expect)


def check_all_colors(tally, folder):
    """The colour formulas over a grid of all pairs of channel values and many of the third."""
    a, b = np.mgrid[0:256, 0:256]
    files = []
    for third in (0, 1, 63, 100, 128, 200, 254, 255):
        c = np.full_like(a, third)
        for order in ((a, b, c), (c, a, b), (b, c, a)):
            files.append(folder / f"grid{len(files)}.png")
            Image.fromarray(np.stack(order, -1).astype(np.uint8)).save(files[-1])
    compare(tally, "gray formula", f"size=256x256 color=gray {RAW}", files,
            lambda im: np.asarray(im.convert("L")))
    compare(tally, "y formula", f"size=256x256 color=y {RAW}", files,
            lambda im: np.asarray(im.convert("YCbCr"))[:, :, 0])


def check_crop(tally, files):
    """torchvision's Resize(256) and CenterCrop(224) on a Pillow image, written out."""
    def expect(im):
        im = im.convert("RGB")
        w, h = im.size
        w, h = (256, int(256 * h / w)) if w <= h else (int(256 * w / h), 256)
        left, top = round((w - 224) / 2), round((h - 224) / 2)
        im = im.resize((w, h), Image.BILINEAR)
        return np.asarray(im.crop((left, top, left + 224, top + 224)))

    for crop in ("center", "center:256"):
        compare(tally, f"crop={crop}", f"size=224x224 crop={crop} {RAW}", files, expect)


def check_values(tally, files):
    """Normalised values in both scales, layouts and channel orders; limit in units of the result."""
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    words = "mean=0.485,0.456,0.406 std=0.229,0.224,0.225"

    def pixels(im):
        return np.asarray(im.convert("RGB").resize((128, 128), Image.BILINEAR), np.float64)

    compare(tally, "range=0..1 NHWC", f"size=128x128 range=0..1 {words} layout=NHWC", files,
            lambda im: (pixels(im) / 255 - mean) / std, 1e-6)
    compare(tally, "range=0..1 NCHW", f"size=128x128 range=0..1 {words} layout=NCHW", files,
            lambda im: ((pixels(im) / 255 - mean) / std).transpose(2, 0, 1), 1e-6)
    compare(tally, "bgr range=0..255 NCHW",
            "size=128x128 color=bgr range=0..255 mean=103.53,116.28,123.675 "
            "std=57.375,57.12,58.395 layout=NCHW", files,
            lambda im: ((pixels(im)[:, :, ::-1] - [103.53, 116.28, 123.675]) /
                        [57.375, 57.12, 58.395]).transpose(2, 0, 1), 1e-6)


def main():
    tally = Tally()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        drawn = drawn_pictures(folder)
        real = real_pictures()
        check_decoding(tally, "decoding, drawn", drawn)
        check_decoding(tally, "decoding, every kind of PNG", made_pngs(folder))
        check_gray16(tally, folder)
        if real:
            check_decoding(tally, "decoding, real sets", real)
        files = drawn + real
        check_filters(tally, files)
        check_colors(tally, files)
        check_all_colors(tally, folder)
        check_crop(tally, files)
        check_values(tally, files)
    tally.close()


if __name__ == "__main__":
    main()
