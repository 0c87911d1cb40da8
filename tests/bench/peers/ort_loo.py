#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""The leanest leave-one-out that a script on onnxruntime can do: for each layer one session of the
QDQ model without that layer's quantizers, the final output alone, all cores.

usage: ort_loo.py FP32 QDQ INPUTS.npy IMAGES BATCH LAYER...

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


def session(model):
    options = ort.SessionOptions()
    options.log_severity_level = 3
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def outputs(one, images, batch):
    return np.concatenate([one.run(None, {"x": images[i:i + batch]})[0]
                           for i in range(0, len(images), batch)])


class Variants:
    def __init__(self, fp32, qdq):
        self.model = onnx.load(qdq)
        plain = onnx.load(fp32).graph
        self.fp32 = {node.name: node for node in plain.node}
        self.weights = {t.name: t for t in plain.initializer}
        self.made_by = {out: node for node in self.model.graph.node for out in node.output}
        self.image = self.model.graph.input[0].name
        self.final = self.model.graph.output[0].name

    def float_for(self, layer, k, name, constants):
        """What input k of a layer, by this name, reads when the layer is in float: a weight of
        the FP32 model, or the image itself; the activations of other layers stay quantized."""
        source = self.made_by.get(name)
        if source is None or source.op_type != "DequantizeLinear":
            return name
        if weight := self.weights.get(self.fp32[layer].input[k]):
            constants.add().CopyFrom(weight)
            constants[-1].name = f"{layer}.float{k}"
            return constants[-1].name
        quantize = self.made_by.get(source.input[0])
        return self.image if quantize is not None and quantize.input[0] == self.image else name

    def without(self, layer):
        """The model as bytes, with one layer in float."""
        model = onnx.ModelProto()
        model.CopyFrom(self.model)
        graph = model.graph
        i, node = next((i, n) for i, n in enumerate(graph.node) if n.name == layer)
        for k, name in enumerate(node.input):
            node.input[k] = self.float_for(layer, k, name, graph.initializer)
        out = node.output[0]
        quantize = next((n for n in graph.node if out in n.input), None)
        last = next((n for n in graph.node if self.final in n.output), None)
        if last is not None and quantize is not None and last.input[0] == quantize.output[0]:
            node.output[0] = self.final  # behind the last layer nothing is quantized any more
            graph.node.remove(last)
            graph.node.remove(quantize)
        else:
            node.output[0] = f"{layer}.float"
            graph.node.insert(i + 1, helper.make_node("Max", [node.output[0]], [out]))
        return model.SerializeToString()


def main():
    start = time.perf_counter()
    fp32, qdq, batch = *sys.argv[1:3], int(sys.argv[5])
    images = np.load(sys.argv[3])[:int(sys.argv[4])]
    reference = outputs(session(fp32), images, batch)
    variants, errors = Variants(fp32, qdq), {}
    for layer in sys.argv[6:]:
        found = outputs(session(variants.without(layer)), images, batch)
        errors[layer] = float(np.mean((found - reference) ** 2))
    print(json.dumps({"seconds": time.perf_counter() - start, "mse": errors}))


if __name__ == "__main__":
    main()
