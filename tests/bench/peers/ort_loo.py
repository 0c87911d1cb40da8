#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""The leanest leave-one-out that a script on onnxruntime can do: for each layer one session of the
QDQ model without that layer's quantizers, the final output alone, all cores.

usage: ort_loo.py FP32 QDQ INPUTS.npy IMAGES LAYER...

A variant computes what a pin in qscope does: the layer has its float weights, and a copy (Max of
one input) stands in front of the quantizer behind it, without which onnxruntime quantizes the
float weights again. Prints JSON: seconds from behind the imports, and the mean square error of
the outputs against the FP32 model by layer.
"""

import json
import sys
import time

import numpy as np
import onnx
import onnxruntime as ort
from onnx import helper

BATCH = 8  # images a run: the fastest of 1, 8 and 32 on ResNet-50 and MobileNetV2


def session(model):
    return ort.InferenceSession(model, providers=["CPUExecutionProvider"])


def outputs(one, images):
    return np.concatenate([one.run(None, {"x": images[i:i + BATCH]})[0]
                           for i in range(0, len(images), BATCH)])


class Variants:
    def __init__(self, fp32, qdq):
        self.model = onnx.load(qdq)
        self.graph = self.model.graph
        plain = onnx.load(fp32).graph
        self.fp32 = {node.name: node for node in plain.node}
        self.weights = {t.name: t for t in plain.initializer}
        self.made_by = {out: node for node in self.graph.node for out in node.output}
        self.at = {node.name: i for i, node in enumerate(self.graph.node)}

    def without(self, layer):
        """The model as bytes, with one layer in float."""
        i = self.at[layer]
        node, before = self.graph.node[i], self.graph.node[i].SerializeToString()
        constants = len(self.graph.initializer)
        for k, name in enumerate(node.input):
            source = self.made_by.get(name)
            weight = self.weights.get(self.fp32[layer].input[k])
            if source is not None and source.op_type == "DequantizeLinear" and weight is not None:
                node.input[k] = f"{layer}.float{k}"
                self.graph.initializer.add().CopyFrom(weight)
                self.graph.initializer[-1].name = node.input[k]
        out, node.output[0] = node.output[0], f"{layer}.float"
        self.graph.node.insert(i + 1, helper.make_node("Max", [f"{layer}.float"], [out]))
        made = self.model.SerializeToString()
        del self.graph.node[i + 1]
        self.graph.node[i].ParseFromString(before)
        del self.graph.initializer[constants:]
        return made


def main():
    start = time.perf_counter()
    fp32, qdq = sys.argv[1:3]
    images = np.load(sys.argv[3])[:int(sys.argv[4])]
    reference = outputs(session(fp32), images)
    variants, errors = Variants(fp32, qdq), {}
    for layer in sys.argv[5:]:
        found = outputs(session(variants.without(layer)), images)
        errors[layer] = float(np.mean((found - reference) ** 2))
    print(json.dumps({"seconds": time.perf_counter() - start, "mse": errors}))


if __name__ == "__main__":
    main()
