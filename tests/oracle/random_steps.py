# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps a random graph is made of: each takes a tensor or two and appends an operator.

A step returns None when no tensor fits it.
"""

import numpy as np

from random_graphs import Builder


def spatial(size, k, stride, pad, dilation=1):
    return (size + 2 * pad - dilation * (k - 1) - 1) // stride + 1


def conv(b):
    x = b.pick(4)
    if not x:
        return None
    n, c, h, w = x.shape
    groups = b.rng.choice([1, 1, 1, c, 2 if c % 2 == 0 else 1])
    out = c if groups == c and b.maybe(0.8) else groups * b.rng.randint(1, max(1, 24 // groups))
    k, pad = b.rng.choice([1, 1, 2, 3]), b.rng.choice([0, 0, 1])
    pad = 0 if k == 1 else pad
    stride, dilation = b.rng.choice([1, 1, 2]), b.rng.choice([1, 1, 1, 2])
    oh, ow = spatial(h, k, stride, pad, dilation), spatial(w, k, stride, pad, dilation)
    if oh < 1 or ow < 1:
        return None
    return b.product("Conv", x, [n, out, oh, ow], (out, c // groups, k, k), 0, out,
                     c // groups * k * k, b.maybe(0.7), group=groups, kernel_shape=[k, k],
                     strides=[stride] * 2, pads=[pad] * 4, dilations=[dilation] * 2)


def gemm(b):
    x = b.pick(2)
    if not x:
        return None
    trans, out = b.rng.randint(0, 1), b.rng.randint(1, 40)
    m, k = x.shape
    return b.product("Gemm", x, [m, out], (out, k) if trans else (k, out), 0 if trans else 1, out,
                     k, b.maybe(0.7), transB=trans)


def matmul(b):
    x = b.pick(b.rng.choice([2, 3]))
    if not x:
        return None
    k, out = x.shape[-1], b.rng.randint(1, 40)
    return b.product("MatMul", x, [*x.shape[:-1], out], (k, out), 1, out, k, False)


def attention(b):
    """Both matrices are activations."""
    x = b.pick(3)
    if not x or b.style == "dynamic":
        return None
    perm = dict(perm=[0, 2, 1])
    y = b.apply("Transpose", [x], [x.shape[0], x.shape[2], x.shape[1]], x.amp, **perm)
    shape, amp = [x.shape[0], x.shape[1], x.shape[1]], x.amp ** 2 * x.shape[2] ** 0.5
    if b.style == "qop" and x.codes and y.codes and x.dtype == y.dtype:
        return b.apply_matmul(x, y, shape, amp)
    return b.finish(b.node("MatMul", [b.real(x), b.real(y)]), shape, amp)


def pairwise(op):
    def step(b):
        x = b.pick()
        y = b.twin(x)
        shape = x.shape
        if b.maybe(0.2) and len(shape) == 4:  # a scale per channel, as squeeze and excite has
            y = b.apply("GlobalAveragePool", [x], [*shape[:2], 1, 1], x.amp)
        if y is None or b.maybe(0.15):
            return constant_operand(b, op, x)
        pair = [x, y] if b.maybe(0.5) else [y, x]
        amp = x.amp * y.amp if op == "Mul" else x.amp + y.amp
        return b.apply(op, pair, shape, amp)
    return step


def constant_operand(b, op, x):
    value = b.np.normal(0, 1, b.rng.choice([[], [1], x.shape[-1:]])).astype(np.float32)
    amp = x.amp * 2 if op == "Mul" else x.amp + 2
    if b.style == "qdq" and b.maybe(0.5):
        s, z = np.float32(2.0 / 127), b.codes(0 if b.codes == np.int8 else 128)
        q = np.clip(np.rint(value / s) + z, np.iinfo(b.codes).min, np.iinfo(b.codes).max)
        c = b.node("DequantizeLinear", [b.constant(q.astype(b.codes)), b.constant(s),
                                        b.constant(z)])
    else:
        c = b.constant(value)
    return b.apply(op, [x], x.shape, amp, extra=[c])


def float_pair(b):
    x = b.pick()
    y = b.twin(x)
    if not y:
        return None
    op = b.rng.choice(["Sub", "Max", "Min"])
    return b.apply(op, [x, y], x.shape, x.amp + y.amp)


def divide(b):
    x = b.pick()
    return b.apply("Div", [x], x.shape, x.amp, extra=[b.constant(np.float32(b.rng.uniform(0.7, 3)))])


def unary(op, amp=None, positive=False, since=0, **attrs):
    def step(b):
        x = b.pick()
        if b.opset < since:
            return None
        return b.apply(op, [x], x.shape, amp or x.amp, positive, **attrs)
    return step


def gelu(b):
    """Written out: x times 1 + erf, then half of it, or half of x first."""
    x = b.pick()
    real, half = b.real(x), b.constant(np.float32(0.5))
    e = b.node("Erf", [b.node("Div", [real, b.constant(np.float32(np.sqrt(2)))])])
    one = b.node("Add", b.rng.sample([e, b.constant(np.float32(1))], 2))
    first = [real, half] if b.maybe(0.5) else [real, one]
    rest = one if half in first else half
    y = b.node("Mul", b.rng.sample([b.node("Mul", b.rng.sample(first, 2)), rest], 2))
    return b.finish(y, x.shape, x.amp)


def leaky(b):
    x = b.pick()
    return b.apply("LeakyRelu", [x], x.shape, x.amp, alpha=b.rng.choice([0.1, 0.01, 0.3]))


def softmax(b):
    x = b.pick()
    axis = b.rng.choice([-1, -1, 1])
    if b.style != "qop" and b.maybe(0.2):
        return b.apply("LogSoftmax", [x], x.shape, 8.0, axis=axis)
    return b.apply("Softmax", [x], x.shape, 1.0, True, axis=axis)


def pool(op):
    def step(b):
        x = b.pick(4)
        if not x:
            return None
        n, c, h, w = x.shape
        k, stride = b.rng.choice([2, 3]), b.rng.choice([1, 2])
        pad = b.rng.choice([0, 0, 1])
        attrs = dict(kernel_shape=[k, k], strides=[stride] * 2, pads=[pad] * 4)
        if b.maybe(0.2):
            attrs = dict(kernel_shape=[h, w])
            return b.apply(op, [x], [n, c, 1, 1], x.amp, x.positive, **attrs)
        oh, ow = spatial(h, k, stride, pad), spatial(w, k, stride, pad)
        if oh < 1 or ow < 1:
            return None
        if op == "AveragePool":
            attrs["count_include_pad"] = b.rng.randint(0, 1)
        return b.apply(op, [x], [n, c, oh, ow], x.amp, x.positive, **attrs)
    return step


def global_pool(b):
    x = b.pick(4)
    return x and b.apply("GlobalAveragePool", [x], [*x.shape[:2], 1, 1], x.amp, x.positive)


def concat(b):
    x = b.pick()
    axis = b.rng.randint(min(1, len(x.shape) - 1), len(x.shape) - 1)
    fit = [u for u in b.pool if len(u.shape) == len(x.shape) and
           all(i == axis or u.shape[i] == x.shape[i] for i in range(len(x.shape)))]
    parts = [x] + [b.rng.choice(fit) for _ in range(b.rng.choice([1, 1, 2]))]
    shape = list(x.shape)
    shape[axis] = sum(p.shape[axis] for p in parts)
    return b.apply("Concat", parts, shape, max(p.amp for p in parts), axis=axis)


def split(b):
    x = b.pick()
    axis = len(x.shape) - 1 if b.maybe(0.5) else min(1, len(x.shape) - 1)
    if x.shape[axis] < 2:
        return None
    first = b.rng.randint(1, x.shape[axis] - 1)
    sizes = [first, x.shape[axis] - first]
    extra = [b.constant(np.array(sizes, np.int64))] if b.opset >= 13 else []
    attrs = dict(axis=axis) if extra else dict(axis=axis, split=sizes)
    names = b.node("Split", [b.real(x), *extra], 2, **attrs)
    like = x if x.codes and b.maybe(0.8) else None
    for name, size in zip(names, sizes):
        shape = list(x.shape)
        shape[axis] = size
        last = b.finish(name, shape, x.amp, x.positive, like)
    return last


def reshape(b):
    x = b.pick()
    n = int(np.prod(x.shape))
    by = [d for d in range(1, min(n, 24) + 1) if n % d == 0]
    d, rank = b.rng.choice(by), b.rng.choice([2, 3, 4])
    shape = {2: [d, n // d], 3: [1, d, n // d], 4: [1, d, 1, n // d]}[rank]
    return b.apply("Reshape", [x], shape, x.amp, x.positive,
                   extra=[b.constant(np.array(shape, np.int64))])


def flatten(b):
    x = b.pick(4)
    return x and b.apply("Flatten", [x], [x.shape[0], int(np.prod(x.shape[1:]))], x.amp,
                         x.positive, axis=1)


def transpose(b):
    x = b.pick()
    perm = list(range(len(x.shape)))
    b.rng.shuffle(perm)
    return b.apply("Transpose", [x], [x.shape[i] for i in perm], x.amp, x.positive, perm=perm)


def cut(b):
    x = b.pick()
    axis = b.rng.randrange(len(x.shape))
    if x.shape[axis] < 2:
        return None
    shape = list(x.shape)
    shape[axis] -= 1
    bounds = [np.array([v], np.int64) for v in (1, 1 << 30, axis)]
    return b.apply("Slice", [x], shape, x.amp, x.positive, extra=[b.constant(v) for v in bounds])


def gather(b):
    x = b.pick()
    axis = len(x.shape) - 1
    index = b.np.integers(0, x.shape[axis], 3)
    return b.apply("Gather", [x], [*x.shape[:-1], 3], x.amp, x.positive,
                   extra=[b.constant(index)], axis=axis)


def resize(b):
    x = b.pick(4)
    if not x or max(x.shape[2:]) > 12:
        return None
    scales = np.array([1, 1, 2, 2], np.float32)
    mode = b.rng.choice(["nearest", "nearest", "linear"])
    coordinates = b.rng.choice(["asymmetric", "half_pixel"])
    attrs = dict(nearest_mode="floor") if mode == "nearest" else {}
    return b.apply("Resize", [x], [*x.shape[:2], x.shape[2] * 2, x.shape[3] * 2], x.amp,
                   x.positive, extra=[b.constant(np.zeros(0, np.float32)), b.constant(scales)], mode=mode,
                   coordinate_transformation_mode=coordinates, **attrs)


def mean(b):
    x = b.pick()
    axis = len(x.shape) - 1
    shape = [*x.shape[:-1], 1]
    if b.opset >= 18:
        return b.apply("ReduceMean", [x], shape, x.amp, x.positive, keepdims=1,
                       extra=[b.constant(np.array([axis], np.int64))])
    return b.apply("ReduceMean", [x], shape, x.amp, x.positive, axes=[axis], keepdims=1)


def where(b):
    x = b.pick()
    y = b.twin(x)
    if not y or b.style == "qop":
        return None
    c = b.constant(b.np.random(x.shape) < 0.5)
    like = x if x.codes and b.maybe(0.3) else None
    return b.finish(b.node("Where", [c, b.real(x), b.real(y)]), x.shape, x.amp + y.amp, like=like)


def layer_norm(b):
    x = b.pick()
    n = x.shape[-1]
    if b.opset < 17 or n < 2:
        return None
    gain = b.np.uniform(0.5, 1.5, n).astype(np.float32)
    return b.apply("LayerNormalization", [x], x.shape, 3.0, axis=-1,
                   extra=[b.constant(gain), b.constant(np.zeros(n, np.float32))])


def mean_of_rows(b, x, rank):
    axis = b.rng.choice([-1, -1, rank - 1])
    if b.opset >= 18:
        return b.node("ReduceMean", [x, b.constant(np.array([axis], np.int64))])
    return b.node("ReduceMean", [x], axes=[axis])


def written_norm(b):
    """LayerNormalization as models before opset 17 write it, with one difference or two."""
    x = b.pick()
    rank, n = len(x.shape), x.shape[-1]
    if n < 2:
        return None
    real = b.real(x)
    mean = mean_of_rows(b, real, rank)
    parts = [b.node("Sub", [real, mean]) for _ in range(b.rng.choice([1, 1, 2]))]
    squares = b.node("Pow", [parts[0], b.constant(np.float32(2))])
    epsilon = b.constant(np.float32(b.rng.choice([1e-5, 1e-3])))
    variance = b.node("Add", b.rng.sample([mean_of_rows(b, squares, rank), epsilon], 2))
    normal = b.node("Div", [parts[-1], b.node("Sqrt", [variance])])
    shape = [n] if b.maybe(0.8) else [1, n]  # the latter is none to the runtime
    gain, bias = (b.constant(b.np.uniform(0.5, 1.5, shape).astype(np.float32)) for _ in range(2))
    scaled = b.node("Mul", b.rng.sample([normal, gain], 2))
    return b.finish(b.node("Add", b.rng.sample([scaled, bias], 2)), x.shape, 4.0)


def root_mean_square(b):
    """The same without a mean, which some networks normalize by."""
    x = b.pick()
    rank, n = len(x.shape), x.shape[-1]
    if n < 2:
        return None
    real = b.real(x)
    squares = b.node("Pow", [real, b.constant(np.float32(2))])
    sums = [mean_of_rows(b, squares, rank), b.constant(np.float32(1e-3))]
    root = b.node("Sqrt", [b.node("Add", b.rng.sample(sums, 2))])
    if b.maybe(0.5):
        normal = b.node("Div", [real, root])
    else:
        over = b.node("Div", [b.constant(np.float32(1)), root])
        normal = b.node("Mul", b.rng.sample([real, over], 2))
    gain = b.constant(b.np.uniform(0.5, 1.5, n).astype(np.float32))
    return b.finish(b.node("Mul", b.rng.sample([normal, gain], 2)), x.shape, 4.0)


# Step and how often it is taken.
STEPS = [
    (conv, 12), (gemm, 5), (matmul, 5), (attention, 2), (pairwise("Add"), 7), (pairwise("Mul"), 4),
    (float_pair, 1), (divide, 1), (unary("Sigmoid", 1.0, True), 2), (leaky, 2),
    (unary("Relu", None, True), 2), (unary("Tanh", 1.0), 1),
    (unary("HardSigmoid", 1.0, True, alpha=0.2, beta=0.5), 1), (unary("HardSwish", since=14), 1),
    (unary("Erf", 1.0), 1), (gelu, 1), (softmax, 2), (pool("MaxPool"), 3), (pool("AveragePool"), 2),
    (global_pool, 1), (concat, 4), (split, 2), (reshape, 3), (flatten, 2), (transpose, 3), (cut, 2),
    (gather, 1), (resize, 2), (mean, 1), (where, 1), (layer_norm, 1),
    (written_norm, 1), (root_mean_square, 1),
]


def build(seed):
    """A finished builder of 3 to 12 steps."""
    b = Builder(seed)
    b.start()
    steps, weights = zip(*STEPS)
    left = b.rng.randint(3, 12)
    while left:
        if max(int(np.prod(t.shape)) for t in b.pool[-1:]) > 8192:
            b.pool.pop()  # no larger still
            if not b.pool:
                break
        if b.rng.choices(steps, weights)[0](b) is not None:
            left -= 1
    b.close()
    return b
