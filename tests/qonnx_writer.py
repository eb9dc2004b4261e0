"""Write an ONNX graph node by node, and evaluate each node as it is added.

Scales fit the values that they quantize, in float64 on a few vectors, and what becomes constant or
lies beside a boundary of its rounding is drawn anew.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from tests.qonnx_reference import NEAR, evaluate_node

__all__ = ["GraphWriter", "State", "Unfit"]

MOST_MACS = 200_000
MOST_VALUES = 1024  # of a tensor, at side 16

Array = np.ndarray


class Unfit(Exception):
    """A stage that can't be used; another one is drawn."""


@dataclass
class State:
    """What a refused stage is taken back to."""

    nodes: list[onnx.NodeProto]
    constants: dict[str, Array]
    frames: dict[str, list[Array]]
    steps: dict[str, Array | None]
    quantizers: list[str]
    tags: set[str]
    head: str
    macs: int = 0
    inside: bool = False  # whether a layer with weights or a pooling stands behind the input

    def copy(self) -> "State":
        return State(list(self.nodes), dict(self.constants), dict(self.frames), dict(self.steps),
                      list(self.quantizers), set(self.tags), self.head, self.macs, self.inside)


class GraphWriter:
    """Choices, nodes, quantizers and weights; ``head`` is the tensor that is read next.

    Parameters
    ----------
    seed
        Of all choices.
    side
        Largest number of rows and columns of images.
    """

    def __init__(self, seed: int, side: int):
        self.seed, self.side = seed, side
        self.rng = np.random.default_rng([seed, side])
        self.most_values = max(MOST_VALUES * side // 16, 64)
        self.kind = self.pick("mlp", "line", "cnn", "cnn", "cnn")
        self.domain = self.pick("qonnx.custom_op.general", "onnx.brevitas",
                                "finn.custom_op.general")
        self.qcdq = self.chance(0.2)
        self.scales = self.pick("pow2", "pow2", "short", "short", "float32")
        self.distance = np.inf  # of the last node from its nearest boundary
        self.opset = self.pick(13, 14, 16, 17, 18, 20)
        self.constant_nodes = self.chance(0.2)
        self.trunc_version = self.pick(1, 2)
        self.naming = self.pick("plain", "torch", "digits")
        self.s = self.blank()

    def blank(self) -> State:
        tags = {self.kind, f"scales_{self.scales}", "qcdq" if self.qcdq else "qonnx"}
        return State([], {}, {}, {}, [], tags, "")

    # Choices.

    def pick(self, *values):
        return values[self.rng.integers(len(values))]

    def upto(self, most: int, least: int = 1) -> int:
        return int(self.rng.integers(least, most + 1))

    def chance(self, probability: float) -> bool:
        return bool(self.rng.random() < probability)

    def number(self, value) -> Array:
        """Near ``value``, positive, with as many significant bits as the network's scales have."""
        value = np.asarray(value, dtype=np.float64)
        if self.scales == "pow2":
            return 2.0**np.rint(np.log2(value))
        if self.scales == "short":
            mantissa, exponent = np.frexp(value)
            return np.ldexp(np.rint(mantissa * 512), exponent - 9)
        return value.astype(np.float32).astype(np.float64)

    def summand(self, count: int) -> Array:
        """Numbers around 0; sixteenths among powers of two, so that exact ties come about."""
        values = self.rng.normal(0, 0.7, count)
        return np.rint(values * 16) / 16 if self.scales == "pow2" else values

    def tag(self, *names: str) -> None:
        self.s.tags.update(names)

    # The graph.

    @property
    def head(self) -> str:
        return self.s.head

    @head.setter
    def head(self, name: str) -> None:
        self.s.head = name
        if prod(self.shape(name)) > self.most_values or self.s.macs > MOST_MACS:
            raise Unfit

    def shape(self, name: str | None = None) -> tuple[int, ...]:
        """Of a tensor (the head), without the batch dimension."""
        return self.s.frames[name or self.head][0].shape[1:]

    @property
    def channels(self) -> int:
        return self.shape()[0]

    def values(self, name: str) -> Array:
        """Of a tensor, for all vectors."""
        return np.stack(self.s.frames[name])

    def per_channel(self, values: Any, name: str | None = None) -> Array:
        """One number per channel, broadcast over a tensor like ``name``."""
        return np.asarray(values).reshape(1, -1, *[1] * (len(self.shape(name)) - 1))

    def name(self, op: str) -> str:
        count = len(self.s.frames)
        return {"plain": f"{op}_{count}_out0", "torch": f"/net/{op.lower()}_{count}/{op}_output_0",
                "digits": str(count + 20)}[self.naming]

    def constant(self, value) -> str:
        """An initializer, or a node that makes it; floats are stored as float32."""
        array = np.asarray(value)
        if array.dtype == np.float64:
            array = array.astype(np.float32)
        if self.constant_nodes and array.size:
            self.tag("constant_nodes")
            return self.node("Constant", value=numpy_helper.from_array(array))
        name = f"{self.name('Const')}_value"
        self.s.constants[name] = array
        self.s.frames[name] = [array.astype(np.float64) if array.dtype == np.float32 else array]
        return name

    def node(self, op: str, *inputs, outputs: int = 1, domain: str = "", **attributes) -> Any:
        """Add a node; inputs are names or arrays. The name of its output, or a list of names."""
        names = ["" if i is None else i if isinstance(i, str) else self.constant(i)
                 for i in inputs]
        made = [self.name(op) + (f"_{n}" if n else "") for n in range(outputs)]
        proto = helper.make_node(op, names, made, name=f"{op}_{len(self.s.nodes)}", domain=domain,
                                 **attributes)
        frames, self.distance = self.run(proto)
        self.s.nodes.append(proto)
        self.s.frames.update(zip(made, frames))
        return made[0] if outputs == 1 else made

    def run(self, proto: onnx.NodeProto) -> tuple[list[list[Array]], float]:
        """A node's outputs for every vector (once, of constants), and the distance from its
        nearest boundary."""
        read = [self.s.frames[name] if name else [None] for name in proto.input]
        count = max((len(r) for r in read), default=1)
        results, distances = [], []
        for n in range(count):
            outputs, margin = evaluate_node(proto, [r[n] if len(r) > 1 else r[0] for r in read])
            results.append(outputs)
            distances.append(margin.distance if margin else np.inf)
        return [list(frames) for frames in zip(*results)], min(distances)

    # Quantizers.

    def quantize(self, x: str, bits: int | None = None, scale: float | None = None,
                 signed: bool | None = None, uneven: bool = False) -> str:
        """Quantize a tensor with random or given parameters; the name of the result.

        ``uneven`` allows a scale or levels per channel.
        """
        for _ in range(6):
            before = self.s.copy()
            name = self._quantizer(x, bits or self.upto(8), scale, signed, uneven)
            values = self.values(name)
            if values.min() < values.max() and self.distance > 10 * NEAR:
                self.s.quantizers.append(name)
                return name
            self.s = before
        raise Unfit

    def _quantizer(self, x: str, bits: int, scale: float | None, signed: bool | None,
                   uneven: bool) -> str:
        values = self.values(x)
        if signed is None:
            signed = bool(values.min() < 0) and self.chance(0.7)
        if self.qcdq:
            return self._linear(x, values, bits, scale, signed, uneven)
        if scale is None and signed and self.chance(0.2):
            return self._bipolar(x)
        if scale is None and bits < 5 and self.chance(0.15):
            return self._levels(x, values, bits, uneven)
        bits = max(bits, 2) if signed else bits
        narrow = int(bits > 1 and self.chance(0.3))
        zero = 0
        if scale is None and bits > 2 and self.chance(0.15):
            zero = self.upto(2**bits // 3, 1)
            self.tag("zero_point")
        top = 2**(bits - 1) - 1 if signed else 2**bits - 1 - narrow - zero
        steps = self.step_for(x, values, top, uneven and not zero) if scale is None else scale
        rounding = self.pick("ROUND", "ROUND", "ROUND", "FLOOR", "CEIL", "UP", "DOWN", "HALF_UP",
                             "HALF_DOWN", "HALF_EVEN")
        self.tag(f"round_{rounding}", f"{'s' if signed else 'u'}{bits}")
        kind = self.pick(np.float64, np.float64, np.int64)
        result = self.node("Quant", x, steps, np.array(zero, kind), np.array(bits, kind),
                           domain=self.domain, signed=int(signed), narrow=narrow,
                           rounding_mode=rounding)
        return self.settle(result, steps)

    def settle(self, name: str, steps: Any) -> str:
        """Note the step of a quantized tensor."""
        self.s.steps[name] = np.asarray(steps, dtype=np.float64)
        return name

    def step_for(self, x: str, values: Array, top: int, uneven: bool) -> Array:
        """A step with which most values lie within ``top`` codes."""
        if uneven and values.ndim > 2 and self.chance(0.2):
            self.tag("scale_per_channel")
            axes = tuple(a for a in range(values.ndim) if a != 2)
            largest = np.abs(values).max(axis=axes)
            largest = np.maximum(largest, largest.max() / 32) + 1e-3
            return self.per_channel(self.number(
                largest * self.rng.uniform(0.4, 1.2, largest.shape) / (top or 1)), x)
        largest = np.quantile(np.abs(values), self.rng.uniform(0.7, 1.0)) + 1e-3
        return self.number(largest * self.rng.uniform(0.6, 1.3) / (top or 1))

    def _bipolar(self, x: str) -> str:
        self.tag("bipolar")
        scale = self.number(self.rng.uniform(0.3, 2))
        if self.chance(0.2):  # as Brevitas wrote it once
            result = self.node("Quant", x, scale, np.array(0.0), np.array(1.0), signed=1, narrow=0,
                               domain=self.domain, rounding_mode="ROUND")
        else:
            result = self.node("BipolarQuant", x, scale, domain=self.domain)
        return self.settle(result, scale)

    def _levels(self, x: str, values: Array, bits: int, uneven: bool) -> str:
        self.tag("multithreshold")
        rank, count = values.ndim - 1, self.pick(2**bits - 1, self.upto(2**bits - 1))
        rows = self.shape(x)[0] if uneven and self.chance(0.5) else 1
        low, high = np.quantile(values, [0.05, 0.95])
        levels = np.sort(self.rng.uniform(low, high + 1e-3, (rows, count)), axis=1)
        if self.chance(0.5):
            levels = np.rint(levels * 8) / 8
        scale, bias = float(self.number(self.rng.uniform(0.2, 1.5))), 0.0
        if count == 1 and self.chance(0.5):
            scale, bias = 2.0, -1.0
        elif self.chance(0.4):
            bias = -scale * self.pick(self.upto(count), self.upto(count) + 0.5)
        layout = {2: "NC", 3: "NCW", 4: "NCHW"}[rank]
        result = self.node("MultiThreshold", x, levels, domain=self.domain, out_scale=scale,
                           out_bias=bias, out_dtype=f"UINT{max(count.bit_length(), 1)}",
                           data_layout=layout)
        return self.settle(result, scale)

    def _linear(self, x: str, values: Array, bits: int, scale: float | None, signed: bool,
                uneven: bool) -> str:
        """QuantizeLinear, a Clip for less than eight bits, DequantizeLinear."""
        kind = np.int8 if signed else np.uint8
        bits = max(bits, 2) if signed else bits
        low, high = (-2**(bits - 1), 2**(bits - 1) - 1) if signed else (0, 2**bits - 1)
        zero = 0
        if scale is None and self.chance(0.5):
            zero = self.upto(high // 2, low // 2)
            self.tag("zero_point")
        steps = self.step_for(x, values, max(high - zero, 1), uneven) if scale is None \
            else np.array(scale)
        flat = steps.reshape(-1) if steps.size > 1 else steps.reshape(())
        zeros = np.full(flat.shape, zero, dtype=kind)
        more: dict[str, Any] = {"axis": 1} if flat.ndim else {}
        codes = self.node("QuantizeLinear", x, flat, zeros, **more)
        distance = self.distance
        if bits < 8:
            codes = self.node("Clip", codes, np.array(low, kind), np.array(high, kind))
        result = self.node("DequantizeLinear", codes, flat, zeros, **more)
        self.distance = distance
        return self.settle(result, steps)

    # Weights.

    def weights(self, shape: Sequence[int], out_axis: int) -> str:
        """Quantized weights."""
        float_weights = self.rng.normal(0, 1, shape)
        kind = self.pick("bipolar", "ternary", "quant", "quant", "quant", "quant")
        per_channel = self.chance(0.3)
        outputs = shape[out_axis]
        spread = self.rng.uniform(0.3, 1.2, outputs if per_channel else 1)
        where = [-1 if a == out_axis and per_channel else 1 for a in range(len(shape))]
        if self.qcdq:
            return self._linear_weights(float_weights, spread, out_axis, per_channel)
        if per_channel:
            self.tag("w_per_channel")
        if kind == "bipolar":
            self.tag("w_bipolar")
            return self.node("BipolarQuant", float_weights, self.number(spread).reshape(where),
                             domain=self.domain)
        if self.chance(0.1):
            self.tag("w_on_a_grid")
            return self.constant(np.rint(float_weights * 3) / 4)
        bits = 2 if kind == "ternary" else self.upto(8, 2)
        steps = self.number(spread * 2 / 2**(bits - 1)).reshape(where if per_channel else ())
        self.tag(f"w_{bits}")
        return self.node("Quant", float_weights, steps, np.array(0.0), np.array(float(bits)),
                         domain=self.domain, signed=1, rounding_mode="ROUND",
                         narrow=1 if kind == "ternary" else int(self.chance(0.7)))

    def _linear_weights(self, float_weights: Array, spread: Array, out_axis: int,
                        per_channel: bool) -> str:
        bits = self.upto(8, 2)
        steps = self.number(spread * 2 / 2**(bits - 1)).reshape(-1 if per_channel else ())
        more: dict[str, Any] = {"axis": out_axis} if per_channel else {}
        limits = -2**(bits - 1) + 1, 2**(bits - 1) - 1
        if self.chance(0.5):  # codes in the file
            codes = np.clip(np.rint(float_weights * 2**(bits - 1) / 2), *limits).astype(np.int8)
            zeros = np.zeros(steps.shape, dtype=np.int8)
            if not per_channel and self.chance(0.3):
                self.tag("w_zero_point")
                codes, zeros = (codes.astype(int) + 128).astype(np.uint8), np.array(128, np.uint8)
            return self.node("DequantizeLinear", codes, steps, zeros, **more)
        zeros = np.zeros(steps.shape, dtype=np.int8)
        codes = self.node("QuantizeLinear", float_weights, steps, zeros, **more)
        codes = self.node("Clip", codes, np.array(limits[0], np.int8),
                          np.array(limits[1], np.int8))
        return self.node("DequantizeLinear", codes, steps, zeros, **more)

    def bias(self, outputs: int) -> str | None:
        """No bias, a float one, or a quantized one."""
        if self.chance(0.5):
            return None
        values = self.rng.normal(0, 1, outputs)
        if self.qcdq and self.chance(0.5):
            self.tag("bias_quantized")
            codes = np.rint(values * 64).astype(np.int32)
            return self.node("DequantizeLinear", codes, self.number(1 / 64), np.array(0, np.int32))
        if self.qcdq or self.chance(0.5):
            self.tag("bias_float")
            return self.constant(self.summand(outputs))
        self.tag("bias_quantized")
        bits = self.pick(6, 8, 16)
        return self.node("Quant", values, self.number(4 / 2**bits), np.array(0.0),
                         np.array(float(bits)), domain=self.domain, signed=1, narrow=0,
                         rounding_mode="ROUND")
