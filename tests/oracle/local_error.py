# SPDX-License-Identifier: GPL-3.0-or-later
"""Local errors computed with onnxruntime and numpy alone.

Each layer is cut out of the INT8 file as a model of its own, from the tensors of other layers (or
inputs of the network) to its own; it gets the FP32 activations, quantized with the parameters of
the tensors it reads, and what it makes is compared with the FP32 activation at its output. Only
which tensors belong together is taken from qscope.
"""

import math

import numpy as np
import onnx

from common import session


def constants(model):
    return {i.name: onnx.numpy_helper.to_array(i) for i in model.graph.initializer}


def producers(model):
    return {o: n for n in model.graph.node for o in n.output if o}


class Codes:
    """Scale and zero point of a tensor of codes."""

    def __init__(self, scale, zero):
        self.scale, self.zero = np.float32(scale), zero
        info = np.iinfo(zero.dtype)
        self.low, self.high, self.dtype = info.min, info.max, zero.dtype

    def quantize(self, x):
        q = np.rint((x / self.scale).astype(np.float32)).astype(np.float64) + int(self.zero)
        return np.clip(np.nan_to_num(q), self.low, self.high).astype(self.dtype)

    def real(self, q):
        return (q.astype(np.float32) - np.float32(self.zero)) * self.scale


CARRIERS = {"MaxPool", "Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze", "Identity",
            "Split", "Slice", "Gather", "DepthToSpace", "Concat", "Resize"}
# Inputs of the scale; the zero point is the next one.
SCALES = {"QLinearConv": 6, "QLinearMatMul": 6, "QGemm": 7, "QLinearAdd": 6, "QLinearMul": 6,
          "QLinearAveragePool": 3, "QLinearGlobalAveragePool": 3, "QLinearSigmoid": 3,
          "QLinearLeakyRelu": 3, "QLinearSoftmax": 3, "QLinearConcat": 0, "QuantizeLinear": 1}


def codes_of(tensor, made, known):
    """Parameters of a tensor of codes; None for a tensor of floats."""
    node = made.get(tensor)
    while node is not None and node.op_type in CARRIERS:
        node = made.get(node.input[0])
    if node is None or node.op_type not in SCALES:
        return None
    k = SCALES[node.op_type]
    scale, zero = known.get(node.input[k]), known.get(node.input[k + 1])
    return Codes(scale, zero) if scale is not None and zero is not None and scale.size == 1 else None


def cut(model, made, target, ends):
    """Nodes that lead to a tensor from others of `ends`, in order, and which of those they read."""
    nodes, read, stack, seen = set(), [], [target], set()
    while stack:
        tensor = stack.pop()
        node = made.get(tensor)
        if tensor in seen or node is None:
            continue
        seen.add(tensor)
        nodes.add(node.output[0])
        for name in node.input:
            if name in ends and name != target:
                if name not in read:
                    read.append(name)
            else:
                stack.append(name)
    return [n for n in model.graph.node if n.output and n.output[0] in nodes], read


def cut_model(model, nodes, read, types, target):
    used = {i for n in nodes for i in n.input}
    graph = onnx.helper.make_graph(
        nodes, "layer",
        [onnx.helper.make_tensor_value_info(t, types[t], None) for t in read],
        [onnx.ValueInfoProto(name=target)],
        [i for i in model.graph.initializer if i.name in used])
    return onnx.helper.make_model(graph, opset_imports=model.opset_import,
                                  ir_version=min(model.ir_version, 10))


class Layers:
    """The layers of a pair that can be cut out, and their local errors on given activations.

    pairs: {layer name: (FP32 tensor, INT8 tensor)}; values: FP32 tensors by name, one dict an image.
    """

    def __init__(self, model, pairs, inputs, values):
        self.model, self.pairs, self.inputs, self.values = model, pairs, inputs, values
        self.fp32_of = {i: f for f, i in pairs.values()}
        self.fp32_of.update({i: i for i in inputs})
        self.cuts = {}
        made = producers(model)
        for layer, (_, target) in pairs.items():
            nodes, read = cut(model, made, target, self.fp32_of)
            if nodes and read:
                self.cuts[layer] = (nodes, read)

    def affected(self, name):
        """Layers that a constant of this name takes part in: in their own nodes, or as parameter of
        a tensor that they read."""
        made = [o for n in self.model.graph.node if name in n.input for o in n.output]
        return [layer for layer, (nodes, read) in self.cuts.items()
                if any(name in n.input for n in nodes) or any(t in read for t in self.carried(made))]

    def carried(self, tensors):
        """Those tensors, and what only carries their codes on."""
        found = list(tensors)
        for node in self.model.graph.node:
            if node.op_type in CARRIERS and node.input[0] in found:
                found += node.output
        return found

    def error(self, model, layer):
        """(SQNR in dB, error text) of a layer in this version of the model."""
        made, known = producers(model), constants(model)
        # The nodes themselves do not change, only constants do.
        nodes, read = self.cuts[layer]
        fp32, target = self.pairs[layer]
        codes = {t: codes_of(t, made, known) for t in [*read, target]}
        types = {t: onnx.helper.np_dtype_to_tensor_dtype(codes[t].dtype) if codes[t]
                 else onnx.TensorProto.FLOAT for t in read}
        try:
            run = session(cut_model(model, nodes, read, types, target))
            signal = noise = 0.0
            for image in self.values:
                feeds = {t: codes[t].quantize(image[self.fp32_of[t]]) if codes[t]
                         else image[self.fp32_of[t]] for t in read}
                y = run.run(None, feeds)[0]
                y = codes[target].real(y) if codes[target] else y
                x = image[fp32].astype(np.float64)
                if y.shape != x.shape:
                    return None, f"shape {y.shape}, in FP32 {x.shape}"
                signal += np.sum(x * x)
                noise += np.sum((x - y) ** 2)
        except Exception as e:  # whatever onnxruntime says to a fragment of a model
            return None, str(e).splitlines()[0]
        if noise == 0:
            return math.inf, None
        return (10 * math.log10(signal / noise) if signal > 0 else None), None
