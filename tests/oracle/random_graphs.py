# SPDX-License-Identifier: GPL-3.0-or-later
"""Random quantized graphs for check_random.py: what quantizers write, and what they should not.

Each graph is a short network of a seeded shape in one of three styles: Q/DQ pairs around float
operators, QLinear operators, or dynamic quantization.
"""

import random

import numpy as np
from onnx import TensorProto, helper, numpy_helper

OPSETS = (11, 13, 17, 21)
STYLES = ("qdq", "qdq", "qdq", "qop", "dynamic")
KINDS = {np.uint8: TensorProto.UINT8, np.int8: TensorProto.INT8, np.int32: TensorProto.INT32,
         np.float32: TensorProto.FLOAT}
# Operators with a QLinear form: its inputs after the codes, its domain.
QLINEAR = {"Add", "Mul", "Concat", "AveragePool", "GlobalAveragePool", "LeakyRelu", "Sigmoid",
           "Softmax"}
MOVERS = {"Reshape", "Transpose", "Slice", "MaxPool", "Flatten", "Split", "Squeeze", "Unsqueeze",
          "Gather", "Expand", "Tile"}


class T:
    """A tensor: its real values go by `name`, its codes by `codes`; either may be None."""

    def __init__(self, name, shape, amp, positive=False):
        self.name, self.shape, self.amp, self.positive = name, list(shape), amp, positive
        self.codes = self.scale = self.zero = self.dtype = None
        self.params = ()  # names of scale and zero point


class Builder:
    def __init__(self, seed):
        self.rng = random.Random(seed)
        self.np = np.random.default_rng(self.rng.getrandbits(32))
        self.opset = self.rng.choice(OPSETS)
        self.style = self.rng.choice(STYLES)
        self.codes = self.rng.choice((np.uint8, np.int8))
        self.nodes, self.constants, self.inputs, self.feeds = [], [], [], {}
        self.pool, self.used, self.outputs, self.n = [], set(), [], 0

    # ---- Parts ------------------------------------------------------------------------------

    def fresh(self, stem):
        self.n += 1
        return f"{stem}_{self.n}"

    def maybe(self, p):
        return self.rng.random() < p

    def constant(self, value, stem="c"):
        name = self.fresh(stem)
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def node(self, op, inputs, n_out=1, domain="", **attrs):
        names = [self.fresh(op.lower()) for _ in range(n_out)]
        self.nodes.append(helper.make_node(op, inputs, names, name=names[0], domain=domain,
                                           **attrs))
        return names[0] if n_out == 1 else names

    def choose_params(self, amp, positive, dtype):
        info = np.iinfo(dtype)
        reach = amp * self.rng.choice([1.0, 1.0, 0.7, 1.6]) * (0.5 if positive else 1.0)
        scale = np.float32(2 * reach / 255)
        if self.maybe(0.15):
            scale = np.float32(2.0 ** np.round(np.log2(scale)))
        middle = (info.min + info.max + 1) // 2
        zero = info.min if positive and self.maybe(0.8) else \
            middle if self.maybe(0.6) else self.rng.randint(info.min, info.max)
        return scale, dtype(zero)

    def set_params(self, t, like=None, dtype=None):
        """Gives t the scale and zero point of another tensor, or its own."""
        if like is not None:
            t.scale, t.zero, t.dtype = like.scale, like.zero, like.dtype
            t.params = like.params
            if self.maybe(0.3):
                t.params = self.constant(t.scale, "s"), self.constant(t.zero, "z")
            return
        t.dtype = dtype or self.codes
        if self.style == "qdq" and self.maybe(0.06):
            t.dtype = self.rng.choice((np.uint8, np.int8))
        t.scale, t.zero = self.choose_params(t.amp, t.positive, t.dtype)
        t.params = self.constant(t.scale, "s"), self.constant(t.zero, "z")

    def quantize(self, t, like=None):
        """Q behind a real tensor, and in Q/DQ style DQ behind that."""
        self.set_params(t, like)
        params = list(t.params)
        t.codes = self.node("QuantizeLinear", [t.name, *params])
        t.name = self.dequantize(t) if self.style == "qdq" else None
        t.amp = min(t.amp, 128 * float(t.scale)) if t.scale else t.amp
        return t

    def dequantize(self, t):
        return self.node("DequantizeLinear", [t.codes, *t.params])

    def real(self, t):
        """The name under which one more consumer reads the real values."""
        self.used.add(id(t))
        if t.codes and (t.name is None or self.maybe(0.12)):
            name = self.dequantize(t)
            t.name = t.name or name
            return name
        return t.name

    def take_codes(self, t):
        self.used.add(id(t))
        return [t.codes, *t.params]

    def add(self, t):
        self.pool.append(t)
        return t

    # ---- Operators --------------------------------------------------------------------------

    def finish(self, name, shape, amp, positive=False, like=None):
        """What may stand between an operator's result and the next: a clip, Q and DQ."""
        t = T(name, shape, amp, positive)
        if self.maybe(0.25):
            if self.maybe(0.5):
                t.name = self.node("Relu", [t.name])
            else:
                lo, hi = np.float32(self.rng.choice([0, 0, -1])), np.float32(self.rng.choice([6, 1]))
                t.name = self.node("Clip", [t.name, self.constant(lo), self.constant(hi)])
                t.amp = min(t.amp, float(hi))
            t.positive = True
        if self.style != "dynamic" and not self.maybe(0.1):
            self.quantize(t, like)
        return self.add(t)

    def apply(self, op, ts, shape, amp, positive=False, extra=(), **attrs):
        """op of the tensors ts, then constant inputs."""
        coded = all(t.codes for t in ts)
        alike = len({t.dtype for t in ts}) == 1 and not extra
        if self.style == "qop" and coded and op in QLINEAR and alike and not self.maybe(0.1):
            return self.apply_qlinear(op, ts, shape, amp, positive, attrs)
        if self.style == "qop" and coded and op in MOVERS - {"MaxPool"} and self.maybe(0.8):
            out = T(None, shape, ts[0].amp, ts[0].positive)
            out.codes = self.node(op, [self.take_codes(ts[0])[0], *extra], **attrs)
            out.scale, out.zero, out.dtype = ts[0].scale, ts[0].zero, ts[0].dtype
            out.params = ts[0].params
            return self.add(out)
        like = ts[0] if op in MOVERS and coded and self.maybe(0.75) else None
        name = self.node(op, [self.real(t) for t in ts] + list(extra), **attrs)
        return self.finish(name, shape, amp, positive, like)

    def apply_qlinear(self, op, ts, shape, amp, positive, attrs):
        out = T(None, shape, amp, positive)
        self.set_params(out, dtype=ts[0].dtype)
        inputs = [x for t in ts for x in self.take_codes(t)]
        if op == "Softmax":
            attrs["opset"] = 13 if self.opset >= 13 else 11
        inputs = [*out.params, *inputs] if op == "Concat" else [*inputs, *out.params]
        out.codes = self.node("QLinear" + op, inputs, domain="com.microsoft", **attrs)
        return self.add(out)

    def weights(self, shape, per, axis, act):
        """Codes of a weight: (float values, codes, scale, zero) with `per` scales along axis."""
        w = self.np.normal(0, 1, shape).astype(np.float32)
        kind = np.int8 if act == np.int8 or self.maybe(0.75) else np.uint8
        count = per if self.maybe(0.5) and self.opset >= 13 else None
        top = np.abs(w).max()
        scale = np.float32(top / 127) if count is None else \
            (top / 127 * self.np.uniform(0.7, 1.3, count)).astype(np.float32)
        zero = kind(0 if kind == np.int8 else 128)
        if count is None and self.maybe(0.15):
            zero = kind(int(zero) + self.rng.randint(-20, 20))
        zero = zero if count is None else np.full(count, zero, kind)
        lay = [1] * len(shape)
        lay[axis] = -1
        s = scale if count is None else scale.reshape(lay)
        info = np.iinfo(kind)
        z = np.float32(zero if count is None else zero[0])
        q = np.clip(np.rint(w / s) + z, info.min, info.max).astype(kind)
        return w, q, scale, zero

    def product(self, op, x, shape, w_shape, out_axis, n_out, depth, bias, **attrs):
        """Conv, MatMul or Gemm of x with constant weights, in the style of the graph."""
        gain = self.rng.uniform(0.5, 1.5) / depth ** 0.5
        w, q, sw, zw = self.weights(w_shape, n_out, out_axis, x.dtype)
        w, sw = (w * gain).astype(np.float32), (sw * np.float32(gain)).astype(np.float32)
        amp = x.amp * 1.2
        if self.style == "dynamic":
            return self.product_dynamic(op, x, shape, q, sw, zw, n_out, amp, bias, attrs)
        b = self.np.normal(0, 0.3 * x.amp, n_out).astype(np.float32) if bias else None
        if self.style == "qop" and x.codes:
            return self.product_qlinear(op, x, shape, (q, sw, zw), b, amp, attrs)
        kind = self.rng.random()
        if kind < 0.1 or not x.codes:
            inputs = [self.real(x), self.constant(w, "w")]
        else:
            axis = {"axis": out_axis} if np.ndim(sw) else {}
            inputs = [self.real(x), self.node("DequantizeLinear", [
                self.constant(q, "w"), self.constant(sw, "s"), self.constant(zw, "z")], **axis)]
        if b is not None:
            inputs.append(self.bias(x, b, sw, kind >= 0.1))
        return self.finish(self.node(op, inputs, **attrs), shape, amp)

    def bias(self, x, b, sw, coded):
        if not x.codes or not coded or self.maybe(0.25):
            return self.constant(b, "b")
        s = (x.scale * sw).astype(np.float32)
        codes = np.clip(np.rint(b / s), -2 ** 30, 2 ** 30).astype(np.int32)
        inputs = [self.constant(codes, "b"), self.constant(s, "s")]
        if self.maybe(0.5):
            inputs.append(self.constant(np.zeros(np.shape(s), np.int32), "z"))
        axis = {"axis": 0} if np.ndim(s) else {}
        return self.node("DequantizeLinear", inputs, **axis)

    def product_qlinear(self, op, x, shape, weights, b, amp, attrs):
        out = T(None, shape, amp)
        self.set_params(out, dtype=x.dtype)
        inputs = self.take_codes(x) + [self.constant(v) for v in weights]
        codes = None
        if b is not None:
            codes = self.constant(np.rint(b / (x.scale * weights[1])).astype(np.int32), "b")
        if op == "Gemm":
            inputs += [codes or "", *out.params]
            out.codes = self.node("QGemm", inputs, domain="com.microsoft", **attrs)
        else:
            inputs += [*out.params, *([codes] if codes else [])]
            out.codes = self.node("QLinear" + op, inputs, **attrs)
        return self.add(out)

    def apply_matmul(self, x, y, shape, amp):
        """QLinearMatMul of two activations."""
        out = T(None, shape, amp)
        self.set_params(out, dtype=x.dtype)
        out.codes = self.node("QLinearMatMul",
                              self.take_codes(x) + self.take_codes(y) + list(out.params))
        return self.add(out)

    def product_dynamic(self, op, x, shape, q, sw, zw, n_out, amp, bias, attrs):
        if op == "Gemm":
            if attrs.pop("transB", 0):
                q = np.ascontiguousarray(q.T)
            op, attrs = "MatMul", {}
        codes, sx, zx = self.node("DynamicQuantizeLinear", [self.real(x)], 3)
        if op == "Conv" and np.ndim(zw):
            zw = zw[0]
        inputs = [codes, self.constant(q, "w"), zx, self.constant(zw, "z")]
        y = self.node("Cast", [self.node(op + "Integer", inputs, **attrs)], to=TensorProto.FLOAT)
        lay = (-1, 1, 1) if op == "Conv" else (-1,)
        sw = sw.reshape(lay) if np.ndim(sw) else sw
        scale = self.node("Mul", [sx, self.constant(sw, "s")])
        y = self.node("Mul", [y, scale])
        if bias:
            b = self.np.normal(0, 0.3, n_out).astype(np.float32)
            y = self.node("Add", [y, self.constant(b.reshape(lay), "b")])
        return self.finish(y, shape, amp)

    # ---- Whole graphs -----------------------------------------------------------------------

    def start(self):
        rng = self.rng
        shape = rng.choice([[1, rng.randint(1, 20), rng.randint(2, 12), rng.randint(2, 12)],
                            [1, rng.randint(1, 20), rng.randint(2, 12), rng.randint(2, 12)],
                            [rng.randint(1, 6), rng.randint(2, 40)],
                            [rng.randint(1, 3), rng.randint(2, 9), rng.randint(2, 33)]])
        t = T("x", shape, 3.0)
        x = self.np.normal(0, 1, shape).astype(np.float32)
        if self.style != "dynamic" and self.maybe(0.12):  # codes come in
            self.set_params(t)
            info = np.iinfo(t.dtype)
            x = self.np.integers(info.min, info.max, shape, t.dtype, endpoint=True)
            t.codes, t.amp = "x", 128 * float(t.scale)
            t.name = self.dequantize(t) if self.style == "qdq" else None
        elif self.style != "dynamic" and not self.maybe(0.05):
            self.quantize(t)
        self.inputs.append(helper.make_tensor_value_info("x", KINDS[x.dtype.type], shape))
        self.feeds["x"] = x
        self.add(t)

    def pick(self, rank=None):
        """A tensor to go on from: mostly the newest."""
        fit = [t for t in self.pool if rank is None or len(t.shape) == rank]
        if not fit:
            return None
        return fit[-1] if self.maybe(0.65) else self.rng.choice(fit)

    def twin(self, t):
        """Another tensor of the same shape, for residual branches."""
        fit = [u for u in self.pool if u.shape == t.shape and u is not t]
        return self.rng.choice(fit) if fit else None

    def close(self):
        """Everything nobody reads is a result; sometimes something in the middle is, too."""
        chosen = [t for t in self.pool if id(t) not in self.used]
        if self.maybe(0.3):
            chosen.append(self.rng.choice(self.pool))
        names = []
        for t in chosen:
            if t.codes and (t.name is None or self.maybe(0.25)):
                names.append(t.codes if self.maybe(0.5) else self.dequantize(t))
            else:
                names.append(t.name)
        made = {o for n in self.nodes for o in n.output}
        self.outputs = [n for n in dict.fromkeys(names) if n in made]

    def model(self):
        graph = helper.make_graph(self.nodes, "random", self.inputs,
                                  [helper.make_empty_tensor_value_info(o) for o in self.outputs],
                                  self.constants)
        opsets = [helper.make_opsetid("", self.opset), helper.make_opsetid("com.microsoft", 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=8)
