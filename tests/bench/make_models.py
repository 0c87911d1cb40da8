#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""The models that are timed: ResNet-50 and MobileNetV2 with batch normalization folded, as FP32,
QDQ (u8 activations, s8 weights per channel) and QOperator (per tensor), and 32 inputs.

usage: make_models.py FOLDER

Weights are random: speed depends on shapes, not on values. Layers that feed a sum have smaller
weights, so that activations do not grow with depth. Inputs are smooth fields of different
contrast, more unlike each other than noise is.
"""

import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import (CalibrationDataReader, QuantFormat, QuantType,
                                      quantize_static)

SIDE, CLASSES, INPUTS, CALIBRATION = 224, 1000, 32, 4
NETWORKS = ("resnet50", "mobilenetv2")
# Stages: (channels inside a block, blocks, stride of the first).
RESNET50 = ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2))
# Stages: (expansion, channels, blocks, stride of the first).
MOBILENETV2 = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1),
               (6, 160, 3, 2), (6, 320, 1, 1))


class Network:
    """A graph under construction; every method appends nodes and returns the tensor they make."""

    def __init__(self, seed):
        self.random = np.random.default_rng(seed)
        self.nodes, self.constants, self.layers = [], [], 0

    def constant(self, name, array):
        self.constants.append(numpy_helper.from_array(np.asarray(array, np.float32), name))
        return name

    def add(self, op, name, *inputs, **attributes):
        self.nodes.append(helper.make_node(op, list(inputs), [name], name=name, **attributes))
        return name

    def weights(self, name, shape, gain):
        """He's initialisation times a gain."""
        fan_in = np.prod(shape[1:])
        values = self.random.standard_normal(shape) * gain * np.sqrt(2 / fan_in)
        return self.constant(name, values)

    def conv(self, x, inputs, outputs, kernel, stride=1, groups=1, activation=None):
        self.layers += 1
        name = f"conv{self.layers}"
        w = self.weights(name + ".weight", (outputs, inputs // groups, kernel, kernel),
                         0.9 if activation else 0.6)
        b = self.constant(name + ".bias", 0.05 * self.random.standard_normal(outputs))
        y = self.add("Conv", name, x, w, b, kernel_shape=[kernel] * 2, strides=[stride] * 2,
                     pads=[kernel // 2] * 4, group=groups)
        if activation == "relu":
            return self.add("Relu", name + ".relu", y)
        if activation == "relu6":
            return self.add("Clip", name + ".clip", y, "zero", "six")
        return y

    def classifier(self, x, channels):
        x = self.add("GlobalAveragePool", "pool", x)
        x = self.add("Flatten", "flatten", x, axis=1)
        w = self.constant("fc.weight",
                          self.random.standard_normal((channels, CLASSES)) / np.sqrt(channels))
        b = self.constant("fc.bias", 0.01 * self.random.standard_normal(CLASSES))
        return self.add("Gemm", "fc", x, w, b)

    def save(self, path, output):
        image = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, SIDE, SIDE])
        scores = helper.make_tensor_value_info(output, TensorProto.FLOAT, ["N", CLASSES])
        graph = helper.make_graph(self.nodes, path.stem, [image], [scores], self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
        model.ir_version = 8
        onnx.checker.check_model(model)
        onnx.save(onnx.shape_inference.infer_shapes(model), path)


def resnet50(net):
    x = net.conv("x", 3, 64, 7, 2, activation="relu")
    x = net.add("MaxPool", "maxpool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    channels = 64
    for stage, (inner, blocks, first) in enumerate(RESNET50, 1):
        for block in range(blocks):
            stride = first if block == 0 else 1
            y = net.conv(x, channels, inner, 1, activation="relu")
            y = net.conv(y, inner, inner, 3, stride, activation="relu")
            y = net.conv(y, inner, 4 * inner, 1)
            if block == 0:
                x = net.conv(x, channels, 4 * inner, 1, stride)
            name = f"stage{stage}.{block}"
            x = net.add("Relu", name + ".relu", net.add("Add", name + ".add", y, x))
            channels = 4 * inner
    return net.classifier(x, channels)


def mobilenetv2(net):
    net.constant("zero", 0)
    net.constant("six", 6)
    x = net.conv("x", 3, 32, 3, 2, activation="relu6")
    channels = 32
    for stage, (expansion, outputs, blocks, first) in enumerate(MOBILENETV2, 1):
        for block in range(blocks):
            stride, inner, y = first if block == 0 else 1, channels * expansion, x
            if expansion > 1:
                y = net.conv(y, channels, inner, 1, activation="relu6")
            y = net.conv(y, inner, inner, 3, stride, inner, activation="relu6")
            y = net.conv(y, inner, outputs, 1)
            if block > 0:
                y = net.add("Add", f"stage{stage}.{block}.add", x, y)
            x, channels = y, outputs
    x = net.conv(x, channels, 1280, 1, activation="relu6")
    return net.classifier(x, 1280)


def make_inputs(random, count):
    """Sums of noise at three scales, each brought to a contrast of its own."""
    images = np.zeros((count, 3, SIDE, SIDE), np.float32)
    for image in images:
        for cells in (7, 28, SIDE):
            coarse = random.standard_normal((3, cells, cells)).astype(np.float32)
            image += np.kron(coarse, np.ones((SIDE // cells, SIDE // cells), np.float32))
        image *= random.uniform(0.3, 1.5) / image.std()
        image += random.uniform(-0.5, 0.5)
    return images


class Calibration(CalibrationDataReader):
    def __init__(self, images):
        self.images = iter(images[:, None])

    def get_next(self):
        image = next(self.images, None)
        return None if image is None else {"x": image}


def main():
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(32)
    np.save(folder / "x32.npy", make_inputs(random, INPUTS))
    calibration = make_inputs(random, CALIBRATION)
    for seed, build in enumerate((resnet50, mobilenetv2), 50):
        net, name = Network(seed), build.__name__
        fp32 = folder / f"{name}_fp32.onnx"
        net.save(fp32, build(net))
        for form, per_channel in ((QuantFormat.QDQ, True), (QuantFormat.QOperator, False)):
            short = "qdq" if form == QuantFormat.QDQ else "qop"
            quantize_static(fp32, folder / f"{name}_{short}.onnx", Calibration(calibration),
                            quant_format=form, per_channel=per_channel,
                            activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8)


if __name__ == "__main__":
    main()
