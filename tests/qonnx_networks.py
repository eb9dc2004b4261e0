"""Random QONNX networks, reproducible from a seed: small, odd-sized, of every common operator.

Stages are proposed at random; what does not fit (too large, a constant tensor) is taken back.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import prod, sqrt
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from tests.qonnx_writer import MOST_MACS, GraphWriter, Unfit

__all__ = ["QonnxNetwork", "random_network"]

FRAMES = 3  # vectors that scales are fitted to
Array = np.ndarray


@dataclass(frozen=True, eq=False)
class QonnxNetwork:
    """A QONNX file and what a test must know of it.

    Parameters
    ----------
    seed
        It was made from.
    model
        The file.
    input_shape
        Without the batch dimension.
    tags
        What is in it.
    scores
        The tensor that hardware makes: the output, or what the host's part starts from.
    host_tail
        Operators behind it.
    quantizers
        Tensors that activation quantizers make.
    input_type
        How the host quantizes an input that the file does not quantize; None if it does.
    center, spread, step
        Of the input's distribution; inputs are multiples of ``step`` if it is not 0.
    """

    seed: int
    model: onnx.ModelProto
    input_shape: tuple[int, ...]
    tags: frozenset[str]
    scores: str
    host_tail: tuple[str, ...]
    quantizers: tuple[str, ...]
    input_type: str | None
    center: float
    spread: float
    step: float

    def inputs(self, frames: int, seed: int = 0) -> Array:
        """float32 (frames, *input_shape), normal; one value of each vector is far out."""
        return _inputs(np.random.default_rng([self.seed, 1, seed]), (frames, *self.input_shape),
                       self.center, self.spread, self.step)


def random_network(seed: int, side: int = 16) -> QonnxNetwork:
    """A network; images have up to ``side`` rows and columns."""
    return _Writer(seed, side).write()


def _inputs(rng: np.random.Generator, shape: tuple[int, ...], center: float, spread: float,
            step: float) -> Array:
    x = rng.normal(center, spread, shape)
    flat = x.reshape(len(x), -1)
    flat[:, 0] = np.where(rng.random(len(x)) < 0.5, -9, 9) * spread
    if step:
        x = np.clip(np.rint(x / step), -128, 127) * step
    return x.astype(np.float32)


class _Writer(GraphWriter):
    """Writes one network, stage by stage; the head between stages is quantized."""

    # Between a layer with weights and its quantizer.

    def norm(self, x: str) -> str:
        count = self.shape(x)[0]
        kind = self.rng.random()
        if kind < (0.1 if self.scales == "pow2" else 0.4):
            self.tag("bn")
            gamma = self.rng.choice([-1.5, -0.7, 1e-6, 0.6, 1.0, 1.3], count)
            spread = float(self.values(x).std()) + 0.1
            parameters = (gamma, self.rng.normal(0, 0.5, count),
                          self.rng.normal(0, spread / 2, count),
                          spread**2 * self.rng.uniform(0.5, 2, count))
            return self.node("BatchNormalization", x, *parameters,
                             epsilon=float(self.pick(1e-5, 1e-3)))
        if kind < 0.5:
            self.tag("affine")
            scale = self.rng.choice([-1, 1], count) * self.number(self.rng.uniform(0.5, 2, count))
            x = self.node("Mul", x, self.per_channel(scale, x))
            return self.node("Add", x, self.per_channel(self.summand(count), x))
        if kind < 0.6:
            self.tag("div")
            return self.node("Div", x, self.number(self.rng.uniform(1, 4)))
        return x

    def activation(self, x: str) -> str:
        """Functions that are taken of wide sums: they rise."""
        op = self.pick("", "", "", "Relu", "Relu", "Relu", "Relu6", "LeakyRelu", "PRelu",
                       "Sigmoid", "Tanh", "HardSigmoid", "Softplus", "Softsign", "Elu")
        self.tag(*[op] * bool(op))
        if not op:
            return x
        if op == "Relu6":
            return self.node("Clip", x, np.array(0.0), np.array(6.0))
        if op == "LeakyRelu":
            return self.node(op, x, alpha=float(self.pick(0.01, 0.1, 0.125, 0.3)))
        if op == "PRelu":
            return self.node(op, x, self.slopes(x))
        if op == "HardSigmoid":
            return self.node(op, x, alpha=float(self.pick(0.2, 0.25, 1 / 6)), beta=0.5)
        return self.node(op, x)

    def slopes(self, x: str) -> Array:
        count = self.shape(x)[0] if self.chance(0.7) else 1
        return self.rng.uniform(0.02, 0.5, count).reshape(-1, *[1] * (len(self.shape(x)) - 1))

    def finish(self, x: str, **quantizer) -> str:
        """Normalization, activation, quantizer."""
        x = self.activation(self.norm(x))
        if self.chance(0.1):  # what exporters leave behind
            op = self.pick("Identity", "Dropout", "Cast")
            self.tag(op)
            x = self.node(op, x, to=1) if op == "Cast" else self.node(op, x)
        return self.quantize(x, **{"uneven": True} | quantizer)

    # Layers with weights.

    def one_step(self) -> float | None:
        """The step of the head; None if it has several."""
        step = self.s.steps.get(self.head)
        return None if step is None or step.size > 1 else float(step.reshape(-1)[0])

    def even(self) -> bool:
        """Whether the head has one step, or steps that are small multiples of one."""
        step = self.s.steps.get(self.head)
        if self.scales == "pow2":
            return step is None or step.max() <= 16 * step.min()
        return step is not None and step.size == 1

    def linear(self, x: str | None = None, outputs: int | None = None, same: bool = False) -> str:
        """A layer with weights behind ``x`` (the head); ``same`` keeps height and width."""
        x = x or self.head
        self.s.inside = True
        if len(self.shape(x)) == 1:
            return self.dense(x, outputs or self.upto(20, 2))
        outputs = outputs or self.upto(8, 2)
        if not same and self.chance(0.12):
            return self.conv_transpose(x, outputs)
        if self.chance(0.1):
            return self.pixel_dense(x, outputs)
        return self.conv(x, outputs, same)

    def dense(self, x: str, outputs: int) -> str:
        inputs = self.shape(x)[0]
        self.s.macs += inputs * outputs
        form = self.pick("MatMul", "MatMul_t", "Gemm", "Gemm_t")
        self.tag(form)
        if form == "MatMul":
            y = self.node("MatMul", x, self.weights((inputs, outputs), 1))
        elif form == "MatMul_t":
            turned = self.node("Transpose", self.weights((outputs, inputs), 0), perm=[1, 0])
            y = self.node("MatMul", x, turned)
        else:
            turned = form == "Gemm_t"
            shape = (outputs, inputs) if turned else (inputs, outputs)
            bias = self.bias(outputs)
            return self.node("Gemm", x, self.weights(shape, int(not turned)),
                             *[bias] * (bias is not None), transB=int(turned))
        bias = self.bias(outputs)
        return self.node("Add", y, bias) if bias else y

    def pixel_dense(self, x: str, outputs: int) -> str:
        """A matrix product of channels, in a layout with channels last."""
        self.tag("pixel_matmul")
        channels, *space = self.shape(x)
        self.s.macs += prod(space) * channels * outputs
        rank = len(space)
        last = self.node("Transpose", x, perm=[0, *range(2, rank + 2), 1])
        y = self.node("MatMul", last, self.weights((channels, outputs), 1))
        return self.node("Transpose", y, perm=[0, rank + 1, *range(1, rank + 1)])

    def conv(self, x: str, outputs: int, same: bool) -> str:
        channels, *space = self.shape(x)
        rank = len(space)
        kernel = [self.pick(1, 2, 3, 3, 5) for _ in space]
        if rank == 2 and self.chance(0.7):
            kernel[1] = kernel[0]
        dilation = [self.pick(1, 1, 1, 2) for _ in space]
        if same:
            kernel = [k - 1 + k % 2 for k in kernel]
        extent = [(k - 1) * d + 1 for k, d in zip(kernel, dilation)]
        if same or self.chance(0.4):
            pads = [(e - 1) // 2 for e in extent] + [e // 2 for e in extent]
        elif self.chance(0.4):
            self.tag("pads_unequal")
            pads = [self.upto(k - 1, 0) for k in kernel * 2]
        else:
            pads = [0] * 2 * rank
        stride = [1] * rank if same else [self.pick(1, 1, 2) for _ in space]
        if any(e > n + pads[a] + pads[a + rank] for a, (e, n) in enumerate(zip(extent, space))):
            raise Unfit
        auto = self.chance(0.2) and max(dilation) == 1
        groups = self.pick(1, 1, 1, *(g for g in range(2, channels + 1) if channels % g == 0))
        if groups > 1:
            outputs = max(outputs // groups, 1) * groups
            self.tag("depthwise" if groups == channels else "grouped")
        if len(set(kernel)) > 1:
            self.tag("rectangular")
        self.tag(*["dilation"] * (max(dilation) > 1), *["stride"] * (max(stride) > 1))
        weights = self.weights((outputs, channels // groups, *kernel), 0)
        bias = self.bias(outputs)
        attributes: dict[str, Any] = {"kernel_shape": kernel, "group": groups}
        if auto:
            self.tag("auto_pad")
            attributes["auto_pad"] = self.pick("SAME_UPPER", "SAME_LOWER")
        elif any(pads) or self.chance(0.5):
            attributes["pads"] = pads
        if max(stride) > 1 or self.chance(0.5):
            attributes["strides"] = stride
        if max(dilation) > 1 or self.chance(0.5):
            attributes["dilations"] = dilation
        y = self.node("Conv", x, weights, *[bias] * (bias is not None), **attributes)
        self.s.macs += prod(self.shape(y)) * channels // groups * prod(kernel)
        return y

    def conv_transpose(self, x: str, outputs: int) -> str:
        self.tag("conv_transpose")
        channels, *space = self.shape(x)
        rank = len(space)
        kernel = [self.pick(2, 3, 4)] * rank
        stride = [2] * rank
        pads = [self.pick(0, 1) for _ in range(2 * rank)]
        extra = [self.pick(0, 1) for _ in space]
        groups = self.pick(1, 1, *[2] * (channels % 2 == 0))
        outputs = max(outputs // groups, 1) * groups
        if any(2 * (n - 1) + k + e <= pads[a] + pads[a + rank]
               for a, (n, k, e) in enumerate(zip(space, kernel, extra))):
            raise Unfit
        # One scale per output channel is no axis of these weights where there are groups.
        weights = self.weights((channels, outputs // groups, *kernel), 1)
        bias = self.bias(outputs)
        y = self.node("ConvTranspose", x, weights, *[bias] * (bias is not None),
                      kernel_shape=kernel, strides=stride, pads=pads, output_padding=extra,
                      group=groups)
        self.s.macs += prod(space) * channels * outputs // groups * prod(kernel)
        return y

    # Stages.

    def layer(self) -> None:
        self.head = self.finish(self.linear())

    def requantize(self) -> None:
        self.tag("requantize")
        self.head = self.quantize(self.head, uneven=True)

    def elementwise(self) -> None:
        """A function of few bits, also one that falls and rises."""
        x = self.head
        op = self.pick("LeakyRelu", "PRelu", "Sigmoid", "Tanh", "HardSwish", "HardSigmoid", "Gelu",
                       "Silu", "Clip", "Abs", "Neg")
        if op in ("HardSwish", "Gelu", "Silu", "Abs") and not self.even():
            op = "Tanh"
        self.tag(op)
        if op == "LeakyRelu":
            y = self.node(op, x, alpha=float(self.pick(-0.25, 0.1, 0.2)))
        elif op == "PRelu":
            y = self.node(op, x, self.slopes(x))
        elif op == "HardSwish" and self.opset < 14:
            y = self.node("Mul", x, self.node("HardSigmoid", x, alpha=1 / 6, beta=0.5))
        elif op == "Gelu" and self.opset >= 20:
            y = self.node(op, x, approximate=self.pick("none", "tanh"))
        elif op == "Gelu":
            self.tag("Erf")
            y = self.node("Erf", self.node("Div", x, np.array(sqrt(2))))
            y = self.node("Mul", x, self.node("Add", y, np.array(1.0)))
            y = self.node("Mul", y, np.array(0.5))
        elif op == "Silu":
            y = self.node("Mul", x, self.node("Sigmoid", x))
        elif op == "Clip":
            low, high = np.quantile(self.values(x), [0.1, 0.9]) + [0, 0.1]
            y = self.node(op, x, np.array(low), np.array(high))
        else:
            y = self.node(op, x)
        self.head = self.quantize(y)

    def pooling(self) -> dict[str, Any]:
        """Attributes of a pooling of the head."""
        self.s.inside = True
        space = self.shape()[1:]
        if not space:
            raise Unfit
        kernel = [min(self.upto(4), n) for n in space]
        pads = [self.upto(k - 1, 0) if self.chance(0.4) else 0 for k in kernel * 2]
        attributes: dict[str, Any] = {"kernel_shape": kernel,
                                      "strides": [self.upto(3) for _ in space]}
        if any(pads):
            self.tag("pool_pads")
            attributes["pads"] = pads
        if self.chance(0.3):
            self.tag("ceil_mode")
            attributes["ceil_mode"] = 1
        return attributes

    def max_pool(self) -> None:
        self.tag("max_pool")
        x = self.head
        y = self.node("MaxPool", x, **self.pooling())
        self.s.steps[y] = self.s.steps.get(x)
        self.head = y

    def average_pool(self) -> None:
        self.tag("average_pool")
        attributes = self.pooling()
        if self.chance(0.4):
            self.tag("count_include_pad")
            attributes["count_include_pad"] = 1
        y = self.node("AveragePool", self.head, **attributes)
        self.head = self.quantize(y, uneven=True)

    def trunc(self) -> None:
        """An average of four, cut off: how Brevitas exports it."""
        step, space = self.one_step(), self.shape()[1:]
        if self.qcdq or step is None or not space or min(space) < 2:
            raise Unfit
        values = self.values(self.head) / step
        if not np.array_equal(values, np.rint(values)):
            raise Unfit
        self.tag(f"trunc_v{self.trunc_version}")
        rank = len(space)
        sums = self.node("Mul", self.node("AveragePool", self.head, kernel_shape=[2] * rank,
                                          strides=[2] * rank), np.array(2.0**rank))
        bits = max(int(np.abs(values).max()).bit_length() + 1, 2)
        stated = {"signed": 1, "narrow": 0} if self.trunc_version == 2 and self.chance(0.5) else {}
        more = [np.array(step * 2**rank)] if self.trunc_version == 2 else []
        y = self.node("Trunc", sums, np.array(step), np.array(0.0), np.array(float(bits + rank)),
                      *more, np.array(float(bits)), domain=self.domain,
                      rounding_mode=self.pick("FLOOR", "ROUND", "CEIL"), **stated)
        self.s.steps[y] = np.array(step * 2**rank if more else step)
        self.s.quantizers.append(y)
        self.head = y

    def upsample(self) -> None:
        self.tag("resize")
        x, space = self.head, self.shape()[1:]
        if not space:
            raise Unfit
        factor = [self.upto(2) for _ in space]
        if self.chance(0.5):
            inputs: list[Array | None] = [np.zeros(0), np.array([1.0, 1.0, *factor])]
        else:
            sizes = np.array([1, self.channels, *(n * f for n, f in zip(space, factor))])
            inputs = [np.zeros(0), None, sizes]
        y = self.node("Resize", x, *inputs, mode="nearest", nearest_mode="floor",
                      coordinate_transformation_mode="asymmetric")
        self.s.steps[y] = self.s.steps.get(x)
        self.head = y

    def rearrange(self) -> None:
        """Elements of the head in another place, or fewer of them."""
        if not self.s.inside:  # the input is not taken apart
            raise Unfit
        space = self.shape()[1:]
        if len(space) == 2:
            kind = self.pick(self.depth_to_space, self.space_to_depth, self.crop, self.shuffle,
                             self.gather, self.split, self.padded)
        elif space:
            kind = self.pick(self.crop, self.shuffle, self.gather, self.split)
        else:
            kind = self.pick(self.gather, self.split)
        if self.one_step() is None:
            raise Unfit
        y = kind()
        self.s.steps.setdefault(y, self.s.steps[self.head])
        self.tag(kind.__name__)
        self.head = y

    def depth_to_space(self) -> str:
        if self.channels % 4:  # as networks do that make images larger
            self.head = self.finish(self.conv(self.head, 4 * self.upto(2), True), uneven=False)
        if self.channels % 4:
            raise Unfit
        return self.node("DepthToSpace", self.head, blocksize=2, mode=self.pick("DCR", "CRD"))

    def space_to_depth(self) -> str:
        if self.shape()[1] % 2 or self.shape()[2] % 2:
            raise Unfit
        return self.node("SpaceToDepth", self.head, blocksize=2)

    def crop(self) -> str:
        axes = sorted(self.rng.choice(len(self.shape()), self.upto(2), replace=False).tolist())
        sizes = [self.shape()[a] for a in axes]
        starts = [self.upto(n // 3, 0) for n in sizes]
        ends = [self.pick(n, n - self.upto(n // 3, 0), 2**31) for n in sizes]
        steps = [1 if a == 0 else self.pick(1, 1, 2) for a in axes]
        return self.node("Slice", self.head, *(np.array(v) for v in (
            starts, ends, [a + 1 for a in axes], steps)))

    def shuffle(self) -> str:
        """Channels of two groups in turn: Reshape, Transpose, Reshape."""
        channels, *space = self.shape()
        if channels % 2:
            raise Unfit
        rank = len(space)
        apart = self.node("Reshape", self.head, np.array([1, 2, channels // 2, *space]))
        turned = self.node("Transpose", apart, perm=[0, 2, 1, *range(3, 3 + rank)])
        return self.node("Reshape", turned, np.array([1, channels, *space]))

    def gather(self) -> str:
        indices = self.rng.permutation(self.channels)[:self.upto(self.channels)]
        return self.node("Gather", self.head, indices, axis=1)

    def split(self) -> str:
        """Channels split, both parts used: swapped, or added."""
        channels = self.channels
        if channels < 2:
            raise Unfit
        if channels % 2 == 0 and self.chance(0.5):
            more: dict[str, Any] = {"num_outputs": 2} if self.opset >= 18 else {}
            a, b = self.node("Split", self.head, outputs=2, axis=1, **more)
            if self.chance(0.5):
                return self.quantize(self.node("Add", a, b))
        else:
            cut = self.upto(channels - 1)
            a, b = self.node("Split", self.head, np.array([cut, channels - cut]), outputs=2,
                             axis=1)
        return self.node("Concat", b, a, axis=1)

    def padded(self) -> str:
        sides = [0, 0, *(self.upto(2, 0) for _ in range(2))]
        other = [0, 0, *(self.upto(2, 0) for _ in range(2))]
        return self.node("Pad", self.head, np.array([*sides, *other]), np.array(0.0))

    def residual(self) -> None:
        """A layer beside the head, added to it."""
        x, step = self.head, self.one_step() if self.chance(0.6) else None
        branch = self.linear(x, self.channels, same=True)
        if self.shape(branch) != self.shape(x):
            raise Unfit
        beside = self.quantize(self.norm(branch), scale=step) if step else \
            self.finish(branch, uneven=False)
        self.tag("add_equal_scales" if step else "add_unequal_scales")
        y = self.node(self.pick("Add", "Add", "Add", "Sub"), *self.either(beside, x))
        self.head = self.quantize(self.activation(y), uneven=True)

    def either(self, a: str, b: str) -> tuple[str, str]:
        return (a, b) if self.chance(0.5) else (b, a)

    def concat(self) -> None:
        """Two layers side by side, or one beside the head."""
        x, inside = self.head, self.s.inside
        step = self.one_step() if self.chance(0.6) else None
        ends = [self.quantize(self.norm(self.linear(x, same=True)), scale=step)]
        ends.append(x if inside and self.chance(0.5)
                    else self.quantize(self.norm(self.linear(x, same=True)), scale=step))
        if self.shape(ends[0])[1:] != self.shape(ends[1])[1:]:
            raise Unfit
        self.tag("concat_equal_scales" if step else "concat_unequal_scales")
        y = self.node("Concat", *self.either(ends[0], ends[1]), axis=1)
        if step:
            self.s.steps[y] = np.array(step)
            self.head = y
        else:
            self.head = self.quantize(y, uneven=True)

    def dense_of_all(self) -> None:
        """The whole image as a vector, and a dense layer."""
        self.head = self.finish(self.dense(self.vector(), self.upto(16, 2)))

    def vector(self) -> str:
        """The head as a vector: pooled, or flattened in one of the ways that exporters have."""
        x = self.head
        if len(self.shape()) == 1:
            return x
        rank = len(self.shape()) - 1
        axes = list(range(2, 2 + rank))
        form = self.pick("GlobalAveragePool", "GlobalMaxPool", "ReduceMean", "ReduceMax",
                         "ReduceSum", "Flatten", "Flatten", "Reshape", "Reshape", "Chain",
                         "Turned", "Turned")
        self.tag(form)
        if form.startswith("Reduce"):
            kept, as_input = self.pick(0, 1), self.opset >= (13 if form == "ReduceSum" else 18)
            x = self.node(form, x, np.array(axes), keepdims=kept) if as_input \
                else self.node(form, x, axes=axes, keepdims=kept)
            x = self.quantize(x) if form != "ReduceMax" else x
        elif form.startswith("Global"):
            x = self.node(form, x)
            x = self.quantize(x) if form == "GlobalAveragePool" else x
            if self.chance(0.3):
                return self.node("Squeeze", x, np.array(axes))
        if len(self.shape(x)) == 1:
            return x
        if form == "Turned":
            x = self.node("Transpose", x, perm=[0, *axes, 1])
        if form == "Chain":
            first = self.node("Gather", self.node("Shape", x), np.array(0), axis=0)
            rows = self.node("Unsqueeze", first, np.array([0]))
            return self.node("Reshape", x, self.node("Concat", rows, np.array([-1]), axis=0))
        if form == "Flatten" or self.chance(0.3):
            return self.node("Flatten", x, axis=1)
        return self.node("Reshape", x, np.array(self.pick([1, -1], [0, -1])))

    # The whole.

    def write(self) -> QonnxNetwork:
        while True:
            self.s = self.blank()
            try:
                self.open()
                for _ in range(self.upto(5, 2)):
                    self.attempt(self.stage)
                output, tail = self.close()
                return self.network(output, tail)
            except Unfit:
                continue

    def attempt(self, stage: Callable[[], None]) -> None:
        """One stage; what does not fit is taken back and drawn anew."""
        for _ in range(20):
            before = self.s.copy()
            try:
                stage()
                return
            except Unfit:
                self.s = before
        raise Unfit

    def stage(self) -> None:
        if not self.even():
            self.pick(self.requantize, self.max_pool, self.elementwise)()
            return
        vector = len(self.shape()) == 1
        stages: list[Callable[[], None]] = [self.layer] * 5
        stages += [self.residual, self.concat, self.elementwise, self.elementwise, self.rearrange,
                   self.requantize]
        if not vector:
            stages += [self.max_pool, self.average_pool, self.trunc, self.upsample,
                       self.rearrange, self.rearrange, self.dense_of_all]
        self.pick(*stages)()

    def open(self) -> None:
        """The input, what a data set's normalization leaves of it, its quantizer."""
        sizes = {"mlp": [self.upto(40, 3)], "line": [self.upto(6), self.upto(2 * self.side, 5)],
                 "cnn": [self.upto(4), self.upto(self.side, 4), self.upto(self.side, 4)]}[self.kind]
        self.center, self.spread = self.pick((0.0, 1.0), (0.5, 0.3), (120.0, 50.0))
        self.step, self.input_type = 0.0, None
        if self.chance(0.08):
            self.center, self.spread, self.step = 0.0, 0.7, 2.0**-5
            self.input_type = "INT8:0.03125"
            self.tag("input_type")
        self.input = self.pick("global_in", "input", "0")
        x = _inputs(self.rng, (FRAMES, *sizes), self.center, self.spread, self.step)
        self.s.frames[self.input] = [v[None].astype(np.float64) for v in x]
        if self.input_type:
            self.s.steps[self.input] = np.array(self.step)
            self.head = self.input
            return
        head = self.input
        if self.center > 1 or self.chance(0.3):
            self.tag("input_affine")
            head = self.normalized(head)
        self.head = self.quantize(head, bits=self.pick(8, 8, 8, 4, 2), uneven=False)

    def normalized(self, x: str) -> str:
        """Mean taken away, divided by the deviation, in one of the orders that exist."""
        form = self.rng.random()
        if form < 0.3:
            x = self.node("Sub", x, np.array(self.center))
            return self.node("Div", x, np.array(self.spread))
        if form < 0.5:
            count = self.shape(x)[0]
            mean = self.per_channel(self.rng.normal(self.center, self.spread / 4, count), x)
            x = self.node("Sub", x, mean)
            return self.node("Mul", x, np.array(1 / self.spread))
        if form < 0.7:
            return self.node("Div", x, np.array(self.center + 2 * self.spread))
        x = self.node("Mul", x, np.array(2 / self.spread))
        return self.node("Add", x, np.array(-2 * self.center / self.spread))

    def close(self) -> tuple[str, tuple[str, ...]]:
        """The last layer and what comes behind it: the scores, and operators for the host."""
        if not self.even():
            self.head = self.quantize(self.head)
        whole = len(self.shape()) > 1 and self.chance(0.25)
        if whole:
            self.tag("output_map")
            y = self.linear(outputs=self.upto(4))
        else:
            y = self.dense(self.vector(), self.upto(10, 2))
        if self.s.macs > MOST_MACS or prod(self.shape(y)) > self.most_values:
            raise Unfit
        end = self.pick("", "affine", "affine", "quant", "Softmax", "ArgMax", "TopK", "Sigmoid")
        self.tag(f"end_{end}" if end else "end_sums")
        if self.chance(0.3) or end == "affine":
            scale = self.number(self.rng.uniform(0.3, 3)) * self.pick(-1, 1, 1)
            y = self.node("Mul", y, scale)
            if end == "affine" and self.chance(0.7):
                count = self.pick(1, self.shape(y)[0])
                y = self.node("Add", y, self.per_channel(self.rng.normal(0, 1, count), y))
        if end == "quant":
            return self.quantize(y, bits=8), ()
        axis = 1 if whole or self.chance(0.5) else -1
        if end in ("ArgMax", "TopK"):
            if self.scales != "pow2":  # scores of a channel and its bias have no common step
                y = self.quantize(y, bits=8)
            if end == "ArgMax":
                return self.node("ArgMax", y, axis=axis, keepdims=self.pick(0, 1)), ()
            return self.node("TopK", y, np.array([1]), outputs=2, axis=axis)[1], ()
        if end == "Softmax":
            self.node("Softmax", y, axis=axis)
            return y, ("Softmax",)
        if end == "Sigmoid":
            self.node("Sigmoid", y)
            return y, ("Sigmoid",)
        return y, ()

    def network(self, scores: str, tail: tuple[str, ...]) -> QonnxNetwork:
        s = self.s
        output = s.nodes[-1].output[-1]
        kinds = {name: frames[0] for name, frames in s.frames.items()}
        infos = {name: helper.make_tensor_value_info(name, _element_type(array), array.shape)
                 for name, array in kinds.items() if name not in s.constants}
        graph = helper.make_graph(
            s.nodes, f"random{self.seed}", [infos.pop(self.input)], [infos.pop(output)],
            [numpy_helper.from_array(array, name) for name, array in s.constants.items()],
            value_info=list(infos.values()))
        imports = [helper.make_opsetid("", self.opset)]
        if self.trunc_version == 2 or self.chance(0.6):
            imports.append(helper.make_opsetid(self.domain, self.trunc_version))
        model = helper.make_model(graph, opset_imports=imports, ir_version=9)
        quantizers = tuple(name for name in s.quantizers if len(s.frames[name]) > 1)
        return QonnxNetwork(self.seed, model, self.shape(self.input), frozenset(s.tags), scores,
                            tail, quantizers, self.input_type, self.center, self.spread,
                            self.step)


def _element_type(array: Array) -> int:
    kind = np.dtype(np.float32) if array.dtype == np.float64 else array.dtype
    return helper.np_dtype_to_tensor_dtype(kind)
