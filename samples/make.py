#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes the sample pair and its images: draws, trains, quantizes and measures, all from one seed.

    make.py [OUT]        writes OUT/models, OUT/images, OUT/preprocess.json (default: this folder)

Needs numpy, onnx and onnxruntime, the last one for its static quantizer and for the figures only.
The network is a small MobileNet-like classifier of twelve drawn shapes.
One thing is done to it on purpose: in two depthwise convolutions a channel that never fires gets
weights far larger than all others. In float32 that changes nothing; the per-tensor INT8 scale of
these weights, however, becomes so coarse that few codes are left for the channels that work.
Folding batch normalization into a channel of almost no variance does the same to real networks.
"""

import hashlib
import json
import os
import struct
import sys
import zlib

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

SEED = 20240611
SIZE = 32
CLASSES = ["disc", "ring", "square", "frame", "triangle", "plus", "cross", "star", "bar", "crescent",
           "stairs", "dots"]
STEPS, BATCH = 2000, 64
N_CALIBRATION = 24
PER_CLASS = 8  # committed images
# Largest weight of the dead channel, as a multiple of the largest one of the others.
DEAD_CHANNELS = {"/block3/dw/Conv": 45.0, "/block4/dw/Conv": 70.0}


# ---- Pictures -----------------------------------------------------------------------------------
# Every shape is a signed distance in units of its own size: negative inside.

def box(x, y, w, h):
    return np.maximum(np.abs(x) - w, np.abs(y) - h)


def polygon(x, y, n, r):
    """Regular n-gon with inner radius r."""
    a = np.arctan2(x, y)
    sector = 2 * np.pi / n
    return np.cos(np.floor(0.5 + a / sector) * sector - a) * np.hypot(x, y) - r


def shape_distance(name, x, y):
    r = np.hypot(x, y)
    if name == "disc":
        return r - 0.9
    if name == "ring":
        return np.maximum(r - 0.9, 0.4 - r)
    if name == "square":
        return box(x, y, 0.8, 0.8)
    if name == "frame":
        return np.maximum(box(x, y, 0.8, 0.8), -box(x, y, 0.36, 0.36))
    if name == "triangle":
        return polygon(x, y, 3, 0.55)
    if name == "plus":
        return np.minimum(box(x, y, 0.95, 0.26), box(x, y, 0.26, 0.95))
    if name == "cross":
        return shape_distance("plus", (x + y) * 0.7071, (x - y) * 0.7071)
    if name == "star":
        a = np.arctan2(x, y)
        return r - (0.62 + 0.32 * np.cos(5 * a))
    if name == "bar":
        return box(x, y, 0.25, 0.95)
    if name == "crescent":
        return np.maximum(r - 0.9, 0.75 - np.hypot(x - 0.4, y))
    if name == "stairs":
        return np.minimum(box(x + 0.4, y + 0.4, 0.4, 0.4), box(x - 0.4, y - 0.4, 0.4, 0.4))
    if name == "dots":
        return np.hypot(np.abs(x) - 0.55, np.abs(y) - 0.55) - 0.3
    raise ValueError(name)


def draw(rng, label):
    """One SIZE x SIZE RGB picture: a shape of any colour on a shaded, slightly noisy ground."""
    radius = rng.uniform(8.0, 13.0)
    cx, cy = SIZE / 2 + rng.uniform(-2.5, 2.5, 2)
    angle = rng.uniform(-0.3, 0.3)  # upright: a turned plus would be a cross
    py, px = np.mgrid[0:SIZE, 0:SIZE] + 0.5
    x, y = (px - cx) / radius, (py - cy) / radius
    x, y = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    cover = np.clip(0.5 - shape_distance(CLASSES[label], x, y) * radius, 0, 1)[..., None]

    ground, ink = rng.uniform(20, 235, 3), rng.uniform(20, 235, 3)
    while abs(ground.mean() - ink.mean()) < 30:
        ink = rng.uniform(20, 235, 3)
    shade = rng.uniform(-25, 25, 2)
    ramp = (shade[0] * (px / SIZE - 0.5) + shade[1] * (py / SIZE - 0.5))[..., None]
    image = ground * (1 - cover) + ink * cover + ramp + rng.normal(0, 7, (SIZE, SIZE, 3))
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def draw_set(rng, n):
    labels = np.arange(n) % len(CLASSES)
    return np.stack([draw(rng, c) for c in labels]), labels


def preprocess(images):
    """What preprocess.json says: (pixel - 127.5) / 127.5, NCHW."""
    return ((images.astype(np.float32) - 127.5) / 127.5).transpose(0, 3, 1, 2)


def write_png(path, image):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    h, w, _ = image.shape
    # Filter type 1: each byte minus its left neighbour, which packs the smooth grounds better.
    left = np.zeros_like(image)
    left[:, 1:] = image[:, :-1]
    rows = (image - left).reshape(h, -1)
    raw = b"".join(b"\1" + row.tobytes() for row in rows)
    with open(path, "wb") as f:
        f.write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", w, h, 8, 2, 0, 0, 0))
                + chunk(b"IDAT", zlib.compress(raw, 9)) + chunk(b"IEND", b""))


# ---- Network: layers on NHWC float32 arrays, each with its own gradient ---------------------------

class Conv:
    """Dense (groups 1) or depthwise convolution, square kernel, padding k // 2."""

    def __init__(self, rng, c_in, c_out, k, stride=1, depthwise=False):
        fan = k * k * (1 if depthwise else c_in)
        shape = (k, k, c_in) if depthwise else (k, k, c_in, c_out)
        self.w = (rng.standard_normal(shape) * np.sqrt(2 / fan)).astype(np.float32)
        self.b = np.zeros(c_out, np.float32)
        self.k, self.stride, self.depthwise = k, stride, depthwise

    def taps(self, x, h, w):
        """The k*k shifted, strided views of the padded input that the output reads."""
        s = self.stride
        for i in range(self.k):
            for j in range(self.k):
                yield i, j, x[:, i:i + s * (h - 1) + 1:s, j:j + s * (w - 1) + 1:s]

    def forward(self, x):
        p, s = self.k // 2, self.stride
        self.x = np.pad(x, ((0, 0), (p, p), (p, p), (0, 0))) if p else x
        h, w = (x.shape[1] + s - 1) // s, (x.shape[2] + s - 1) // s
        if self.depthwise:
            return self.b + sum(t * self.w[i, j] for i, j, t in self.taps(self.x, h, w))
        self.columns = np.concatenate([t for _, _, t in self.taps(self.x, h, w)], axis=-1)
        return self.columns @ self.w.reshape(-1, self.w.shape[3]) + self.b

    def backward(self, g):
        _, h, w, c = g.shape
        dx = np.zeros_like(self.x)
        self.db = g.sum((0, 1, 2))
        if self.depthwise:
            self.dw = np.empty_like(self.w)
            for (i, j, t), (_, _, d) in zip(self.taps(self.x, h, w), self.taps(dx, h, w)):
                self.dw[i, j] = np.einsum("nhwc,nhwc->c", t, g)
                d += g * self.w[i, j]
        else:
            flat = self.columns.reshape(-1, self.columns.shape[-1])
            self.dw = (flat.T @ g.reshape(-1, c)).reshape(self.w.shape)
            dcol = g @ self.w.reshape(-1, c).T
            n = self.x.shape[-1]
            for q, (_, _, d) in enumerate(self.taps(dx, h, w)):
                d += dcol[..., q * n:(q + 1) * n]
        p = self.k // 2
        return dx[:, p:-p, p:-p] if p else dx

    def params(self):
        return [("w", "dw"), ("b", "db")]


class Clamp:
    """Relu (top None) or Clip to [0, top]."""

    def __init__(self, top):
        self.top = top

    def forward(self, x):
        self.keep = x > 0 if self.top is None else (x > 0) & (x < self.top)
        self.y = np.clip(x, 0, self.top)
        return self.y

    def backward(self, g):
        return g * self.keep

    def params(self):
        return []


class Gemm:
    def __init__(self, rng, c_in, c_out):
        self.w = (rng.standard_normal((c_in, c_out)) / np.sqrt(c_in)).astype(np.float32)
        self.b = np.zeros(c_out, np.float32)

    def forward(self, x):
        self.x = x
        return x @ self.w + self.b

    def backward(self, g):
        self.dw, self.db = self.x.T @ g, g.sum(0)
        return g @ self.w.T

    def params(self):
        return [("w", "dw"), ("b", "db")]


class Network:
    """Stem, four depthwise-separable blocks, one of them residual, and a linear classifier."""

    def __init__(self, rng):
        relu6 = 6.0
        self.layers = {
            "/stem/Conv": Conv(rng, 3, 16, 3, 2), "/stem/Clip": Clamp(relu6),
            "/block1/dw/Conv": Conv(rng, 16, 16, 3, 1, True), "/block1/dw/Clip": Clamp(relu6),
            "/block1/pw/Conv": Conv(rng, 16, 32, 1), "/block1/pw/Clip": Clamp(relu6),
            "/block2/dw/Conv": Conv(rng, 32, 32, 3, 2, True), "/block2/dw/Relu": Clamp(None),
            "/block2/pw/Conv": Conv(rng, 32, 48, 1), "/block2/pw/Clip": Clamp(relu6),
            "/block3/dw/Conv": Conv(rng, 48, 48, 3, 1, True), "/block3/dw/Clip": Clamp(relu6),
            "/block3/pw/Conv": Conv(rng, 48, 48, 1),
            "/block4/dw/Conv": Conv(rng, 48, 48, 3, 2, True), "/block4/dw/Clip": Clamp(relu6),
            "/block4/pw/Conv": Conv(rng, 48, 64, 1), "/block4/pw/Clip": Clamp(relu6),
            "/head/Gemm": Gemm(rng, 64, len(CLASSES)),
        }
        names = list(self.layers)
        cut = names.index("/block3/pw/Conv") + 1
        self.before = names[:names.index("/block3/dw/Conv")]
        self.branch = names[names.index("/block3/dw/Conv"):cut]
        self.after = names[cut:-1]

    def forward(self, x):
        for n in self.before:
            x = self.layers[n].forward(x)
        skip = x
        for n in self.branch:
            x = self.layers[n].forward(x)
        x = x + skip
        for n in self.after:
            x = self.layers[n].forward(x)
        self.pooled_from = x.shape
        return self.layers["/head/Gemm"].forward(x.mean((1, 2)))

    def backward(self, g):
        g = self.layers["/head/Gemm"].backward(g)
        n, h, w, c = self.pooled_from
        g = np.broadcast_to(g[:, None, None, :] / (h * w), self.pooled_from)
        for name in reversed(self.after):
            g = self.layers[name].backward(g)
        skip = g
        for name in reversed(self.branch):
            g = self.layers[name].backward(g)
        g = g + skip
        for name in reversed(self.before):
            g = self.layers[name].backward(g)


def train(rng):
    """Adam with a cosine step size on fresh pictures; softmax cross entropy."""
    net = Network(rng)
    params = [(layer, p, d) for layer in net.layers.values() for p, d in layer.params()]
    moments = [[np.zeros_like(getattr(layer, p)) for _ in range(2)] for layer, p, _ in params]
    pool, pool_labels = draw_set(rng, 8192)
    pool = preprocess(pool).transpose(0, 2, 3, 1).copy()
    for step in range(1, STEPS + 1):
        pick = rng.integers(0, len(pool), BATCH)
        logits = net.forward(pool[pick])
        p = np.exp(logits - logits.max(1, keepdims=True))
        p /= p.sum(1, keepdims=True)
        loss = -np.log(p[np.arange(BATCH), pool_labels[pick]]).mean()
        p[np.arange(BATCH), pool_labels[pick]] -= 1
        net.backward(p / BATCH)
        rate = 4e-3 * 0.5 * (1 + np.cos(np.pi * step / STEPS))
        for (layer, name, grad), (m, v) in zip(params, moments):
            g = getattr(layer, grad)
            m += 0.1 * (g - m)
            v += 0.01 * (g * g - v)
            unbiased = (m / (1 - 0.9**step)) / (np.sqrt(v / (1 - 0.99**step)) + 1e-8)
            setattr(layer, name, getattr(layer, name) - np.float32(rate) * unbiased)
        if step % 250 == 0:
            print(f"step {step} of {STEPS}: loss {loss:.3f}", flush=True)
    return net


def inflate_dead_channel(net, name, factor, inputs):
    """Enlarges the weights of a depthwise layer's channel that stays below zero on all inputs."""
    layer, clamp = net.layers[name], net.layers[name.replace("/Conv", "/Clip")]
    net.forward(inputs.transpose(0, 2, 3, 1))
    fires = clamp.y.any((0, 1, 2))
    channel = int(fires.argmin())
    if fires[channel]:
        raise RuntimeError(f"every channel of {name} is in use: choose another seed")
    factor *= np.abs(layer.w).max() / np.abs(layer.w[..., channel]).max()
    layer.w[..., channel] *= np.float32(factor)
    layer.b[channel] *= np.float32(factor)


# ---- Models -------------------------------------------------------------------------------------

def to_onnx(net):
    nodes, constants = [], []

    def constant(name, value):
        constants.append(numpy_helper.from_array(np.ascontiguousarray(value, np.float32), name))
        return name

    def add(op, name, inputs, output=None, **attributes):
        output = output or name + "_output_0"
        nodes.append(helper.make_node(op, inputs, [output], name, **attributes))
        return output

    def layer(name, x):
        it = net.layers[name]
        if isinstance(it, Conv):
            w = it.w.transpose(2, 0, 1)[:, None] if it.depthwise else it.w.transpose(3, 2, 0, 1)
            stem = name[1:].replace("/Conv", "").replace("/", ".")
            return add("Conv", name,
                       [x, constant(stem + ".weight", w), constant(stem + ".bias", it.b)],
                       kernel_shape=[it.k] * 2, strides=[it.stride] * 2, pads=[it.k // 2] * 4,
                       group=it.w.shape[2] if it.depthwise else 1)
        if it.top is None:
            return add("Relu", name, [x])
        return add("Clip", name, [x, "clip.min", "clip.max"])

    constant("clip.min", np.float32(0))
    constant("clip.max", np.float32(6))
    x = "image"
    for n in net.before:
        x = layer(n, x)
    skip = x
    for n in net.branch:
        x = layer(n, x)
    x = add("Add", "/block3/Add", [skip, x])
    for n in net.after:
        x = layer(n, x)
    x = add("GlobalAveragePool", "/head/GlobalAveragePool", [x])
    x = add("Flatten", "/head/Flatten", [x], axis=1)
    head = net.layers["/head/Gemm"]
    x = add("Gemm", "/head/Gemm",
            [x, constant("head.weight", head.w.T), constant("head.bias", head.b)], transB=1)
    add("Softmax", "/head/Softmax", [x], "probability", axis=1)
    graph = helper.make_graph(
        nodes, "shapes",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, SIZE, SIZE])],
        [helper.make_tensor_value_info("probability", TensorProto.FLOAT, [1, len(CLASSES)])],
        constants)
    model = helper.make_model(graph, producer_name="qscope samples/make.py", ir_version=8,
                              opset_imports=[helper.make_opsetid("", 17)])
    helper.set_model_props(model, {"classes": ",".join(CLASSES)})
    onnx.checker.check_model(model, full_check=True)
    return model


class Reader(CalibrationDataReader):
    def __init__(self, inputs):
        self.feeds = iter([{"image": x[None]} for x in inputs])

    def get_next(self):
        return next(self.feeds, None)


def quantize(fp32, out, inputs, form, activations, weights):
    """Static quantization, min-max ranges, per-tensor weights; both forms by onnxruntime's tool."""
    quantize_static(fp32, out, Reader(inputs), quant_format=form, per_channel=False,
                    activation_type=activations, weight_type=weights)
    model = onnx.load(out)
    onnx.checker.check_model(model, full_check=True)


def accuracy(path, inputs, labels):
    options = ort.SessionOptions()
    options.log_severity_level = 3
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    top = np.array([session.run(None, {"image": x[None]})[0].argmax() for x in inputs])
    return 100 * (top == labels).mean(), top


# ---- All of it ----------------------------------------------------------------------------------

def main():
    out = sys.argv[1] if len(sys.argv) > 1 else os.path.dirname(os.path.abspath(__file__))
    models, pictures = os.path.join(out, "models"), os.path.join(out, "images")
    os.makedirs(models, exist_ok=True)
    os.makedirs(pictures, exist_ok=True)
    # One stream per purpose: more training steps must not change the committed pictures.
    learn, calibrate, show = (np.random.default_rng([SEED, k]) for k in (0, 2, 3))

    net = train(learn)
    calibration = preprocess(draw_set(calibrate, N_CALIBRATION)[0])
    images, labels = draw_set(show, PER_CLASS * len(CLASSES))
    for name, factor in DEAD_CHANNELS.items():
        inflate_dead_channel(net, name, factor, np.concatenate([calibration, preprocess(images)]))

    fp32 = os.path.join(models, "fp32.onnx")
    onnx.save(to_onnx(net), fp32)
    quantize(fp32, os.path.join(models, "int8_qdq.onnx"), calibration, QuantFormat.QDQ,
             QuantType.QInt8, QuantType.QInt8)
    quantize(fp32, os.path.join(models, "int8_qop.onnx"), calibration, QuantFormat.QOperator,
             QuantType.QUInt8, QuantType.QUInt8)

    with open(os.path.join(pictures, "labels.csv"), "w") as f:
        f.write("file,label,name\n")
        for i, (image, label) in enumerate(zip(images, labels)):
            name = f"{CLASSES[label]}_{i // len(CLASSES)}.png"
            write_png(os.path.join(pictures, name), image)
            f.write(f"{name},{label},{CLASSES[label]}\n")
    with open(os.path.join(out, "preprocess.json"), "w") as f:
        json.dump({"size": f"{SIZE}x{SIZE}", "color": "rgb", "layout": "NCHW", "range": "0..255",
                   "mean": [127.5] * 3, "std": [127.5] * 3}, f)
        f.write("\n")

    inputs = preprocess(images)
    for name in sorted(os.listdir(models)):
        path = os.path.join(models, name)
        acc, top = accuracy(path, inputs, labels)
        wrong = [f"{CLASSES[c]} {n}" for c, n in enumerate(np.bincount(labels[top != labels],
                 minlength=len(CLASSES))) if n]
        digest = hashlib.sha256(open(path, "rb").read()).hexdigest()
        print(f"{name}: {os.path.getsize(path)} bytes, accuracy {acc:.2f} %, wrong: "
              f"{', '.join(wrong) or 'none'}\n  sha256 {digest}")


if __name__ == "__main__":
    main()
