"""The integer graph: the one description of what a network computes, and it runs.

A graph is a tuple of nodes in topological order. A node's name is the name of its output tensor.
Passes (:mod:`hwgen.passes`) are functions from graph to graph with equal results.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from .errors import ModelError
from .ops import REAL, BatchNorm, Clamp, Op, Quantize, RealThreshold, Shape, round_fraction
from .types import NumType

__all__ = ["REAL", "Graph", "Node", "Tensor"]

ONE, ZERO = (Fraction(1),), (Fraction(0),)


@dataclass(frozen=True)
class Tensor:
    """Shape, type and meaning of a tensor: real value = scale * integer + offset.

    Parameters
    ----------
    shape
        (height, width, channels).
    dtype
        Type of the integers.
    scale, offset
        One exact number for all channels, or one per channel.
    """

    shape: Shape
    dtype: NumType
    scale: tuple[Fraction, ...] = ONE
    offset: tuple[Fraction, ...] = ZERO

    def channel(self, c: int) -> tuple[Fraction, Fraction]:
        """Scale and offset of channel ``c``."""
        return (self.scale[c] if len(self.scale) > 1 else self.scale[0],
                self.offset[c] if len(self.offset) > 1 else self.offset[0])

    def to_real(self, codes: np.ndarray) -> np.ndarray:
        """Integers to float64 real values."""
        return codes * np.array([float(s) for s in self.scale]) \
            + np.array([float(o) for o in self.offset])


@dataclass(frozen=True)
class Node:
    """An operation, the tensors it reads, and the tensor it makes."""

    name: str
    op: Op
    inputs: tuple[str, ...]
    output: Tensor


@dataclass(frozen=True)
class Graph:
    """A network on integers.

    Parameters
    ----------
    name
        Name of the network.
    input, output
        Names of the tensors that enter and leave.
    input_tensor
        Shape, type and meaning of the input.
    input_shape
        Input shape as the model's author wrote it, without the frame dimension.
    nodes
        In topological order.
    """

    name: str
    input: str
    input_tensor: Tensor
    input_shape: tuple[int, ...]
    nodes: tuple[Node, ...]
    output: str

    def tensor(self, name: str) -> Tensor:
        return self.input_tensor if name == self.input else self.node(name).output

    def node(self, name: str) -> Node:
        for node in self.nodes:
            if node.name == name:
                return node
        raise KeyError(name)

    def users(self, name: str) -> tuple[Node, ...]:
        return tuple(node for node in self.nodes if name in node.inputs)

    def tensors(self) -> dict[str, Tensor]:
        return {self.input: self.input_tensor} | {n.name: n.output for n in self.nodes}

    def with_nodes(self, nodes: Iterable[Node], **changes) -> "Graph":
        return replace(self, nodes=tuple(nodes), **changes)

    def run_all(self, x: np.ndarray, wanted: Iterable[str] | None = None) -> dict[str, np.ndarray]:
        """Every tensor of the graph (or those ``wanted``) for input integers (frames, H, W, C)."""
        keep = set(wanted) if wanted is not None else None
        x = np.asarray(x, dtype=np.int64)
        if x.shape[1:] != self.input_tensor.shape:
            raise ModelError(f"{self.input}: input has shape {list(x.shape[1:])}, "
                             f"expected {list(self.input_tensor.shape)}")
        good = self.input_tensor.dtype.contains(x)
        if not good.all():
            raise ModelError(f"{self.input}: value {x[~good].flat[0]} is not a "
                             f"{self.input_tensor.dtype}")
        last_use = {name: n for n, node in enumerate(self.nodes) for name in node.inputs}
        tensors, values, kept = self.tensors(), {self.input: x}, {}
        for n, node in enumerate(self.nodes):
            values[node.name] = _evaluate(node, [tensors[i] for i in node.inputs],
                                          [values[i] for i in node.inputs])
            for name in {*node.inputs}:
                if last_use[name] == n and name != self.output:
                    value = values.pop(name)
                    if keep is None or name in keep:
                        kept[name] = value
        kept.update({k: v for k, v in values.items()
                     if keep is None or k in keep or k == self.output})
        return kept

    def run(self, x: np.ndarray) -> np.ndarray:
        """Output integers (frames, H, W, C) for input integers (frames, H, W, C)."""
        return self.run_all(x, (self.output,))[self.output]

    def __str__(self) -> str:
        rows = [f"{self.input}: {_describe(self.input_tensor)}"]
        rows += [f"{n.name} = {type(n.op).__name__}({', '.join(n.inputs)}): {_describe(n.output)}"
                 for n in self.nodes]
        return "\n".join([*rows, f"output {self.output}", ""])


def _describe(tensor: Tensor) -> str:
    return f"{'x'.join(map(str, tensor.shape))} {tensor.dtype.name}"


def _evaluate(node: Node, tensors: list[Tensor], values: list[np.ndarray]) -> np.ndarray:
    op = node.op
    if isinstance(op, BatchNorm):
        return _map_real(tensors[0], values[0], lambda c, r: _affine(op, c, r)) \
            if tensors[0].dtype == REAL else values[0]
    if isinstance(op, Clamp):
        return _map_real(tensors[0], values[0], lambda c, r: clamp_real(op, r))
    if isinstance(op, Quantize):
        return _map_real(tensors[0], values[0], lambda c, r: quantize_real(op, r)).astype(np.int64)
    if isinstance(op, RealThreshold):
        return _map_real(tensors[0], values[0],
                         lambda c, r: threshold_real(op, c, r)).astype(np.int64)
    return op.compute(*values)


def _map_real(tensor: Tensor, values: np.ndarray, function: Callable) -> np.ndarray:
    """Apply ``function(channel, exact real value)`` once to each distinct value of a channel."""
    result = np.empty(values.shape, dtype=object)
    for c in range(values.shape[-1]):
        scale, offset = tensor.channel(c)
        distinct, inverse = np.unique(values[..., c], return_inverse=True)
        images = np.empty(len(distinct), dtype=object)
        for n, v in enumerate(distinct):
            images[n] = function(c, v if tensor.dtype == REAL else scale * int(v) + offset)
        result[..., c] = images[inverse].reshape(values.shape[:-1])
    return result


def _affine(op: BatchNorm, c: int, real: Fraction) -> Fraction:
    return real * op.scale[c % len(op.scale)] + op.offset[c % len(op.offset)]


def clamp_real(op: Clamp, real: Fraction) -> Fraction:
    """Value of a :class:`~hwgen.ops.Clamp` for one exact number."""
    if op.low is not None and real < op.low:
        return op.low
    return op.high if op.high is not None and real > op.high else real


def quantize_real(op: Quantize, real: Fraction) -> int:
    """Value of a :class:`~hwgen.ops.Quantize` for one exact number."""
    if op.out_type.bipolar:
        return 1 if real >= 0 else -1
    code = round_fraction(real / op.scale + op.zero_point, op.rounding)
    return min(max(code, op.out_type.low), op.out_type.high)


def threshold_real(op: RealThreshold, c: int, real: Fraction) -> int:
    """Value of a :class:`~hwgen.ops.RealThreshold` for one exact number."""
    levels = op.levels[c] if len(op.levels) > 1 else op.levels[0]
    return op.base + op.step * sum(real >= level for level in levels)
