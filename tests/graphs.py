"""Build integer graphs in tests: shapes, types and meanings follow from the operations."""

from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from hwgen.graph import ArrayForm, Graph, Node, Tensor
from hwgen.ops import (
    Clip,
    Concat,
    Conv,
    Crop,
    DepthToSpace,
    MaxPool,
    Op,
    Requantize,
    Reshape,
    Select,
    SumPool,
    Upsample,
    Windows,
)
from hwgen.real_ops import REAL, Affine, Quantize, RealThreshold
from hwgen.types import TERNARY, NumType, uint_type

__all__ = ["GraphBuilder", "all_values", "inception"]


class GraphBuilder:
    """Add operations one by one; each is named by the caller and reads the one before it.

    Parameters
    ----------
    shape, dtype
        Of the input, named ``x``: the shape as an author writes it.
    scale, offset
        Meaning of the input: numbers, or one for each channel.
    """

    def __init__(self, shape: Sequence[int], dtype: NumType, scale=1, offset=0):
        self.shape = tuple(shape)
        self.input = Tensor((*(1,) * (3 - len(shape)), *shape), dtype, _fractions(scale),
                            _fractions(offset))
        self.tensors = {"x": self.input}
        self.nodes: list[Node] = []

    def add(self, name: str, op: Op, *inputs: str) -> "GraphBuilder":
        inputs = inputs or (self.nodes[-1].name if self.nodes else "x",)
        read = [self.tensors[i] for i in inputs]
        shapes = tuple(t.shape for t in read)
        shape = op.shape(*shapes)
        dtype = REAL if _stays_real(op, read) else \
            op.result_type(tuple(t.dtype for t in read), shapes)
        self.tensors[name] = Tensor(shape, dtype, *_meaning(op, read, dtype))
        self.nodes.append(Node(name, op, inputs, self.tensors[name]))
        return self

    def build(self, output: str | None = None) -> Graph:
        return Graph("test", "x", self.input, ArrayForm.of(self.shape), tuple(self.nodes),
                     output or self.nodes[-1].name)


def all_values(dtype: NumType, channels: int):
    """A frame 1 x N x channels that holds every value of the type in every channel."""

    values = np.arange(dtype.low, dtype.high + 1)
    values = values[dtype.contains(values)]
    return np.broadcast_to(values[None, None, :, None], (1, 1, len(values), channels))


def inception(seed: int = 0) -> Graph:
    """Branches that take unequal time, of which three begin with a 1x1 convolution."""
    rng = np.random.default_rng(seed)

    def conv(size, inputs, outputs):
        return Conv(rng.integers(-1, 2, (size, size, inputs, outputs)), TERNARY,
                    rng.integers(-3, 4, outputs), pad=(size // 2,) * 4)

    def act(shift):
        return Requantize([1], [shift], 0, "half_up", uint_type(2))

    return (GraphBuilder((6, 5, 4), uint_type(2))
            .add("one", conv(1, 4, 6), "x").add("one_act", act(1))
            .add("two_reduce", conv(1, 4, 2), "x").add("two_reduce_act", act(2))
            .add("two", conv(3, 2, 4)).add("two_act", act(1))
            .add("three_reduce", conv(1, 4, 4), "x").add("three_reduce_act", act(1))
            .add("three", conv(5, 4, 2)).add("three_act", act(2))
            .add("pool", MaxPool((3, 3), (1, 1), (1, 1, 1, 1)), "x")
            .add("join", Concat(), "one_act", "two_act", "three_act", "pool").build())


def _fractions(values) -> tuple[Fraction, ...]:
    return tuple(map(Fraction, values)) if isinstance(values, tuple | list) else (Fraction(values),)


MOVES = Concat | Crop | DepthToSpace | MaxPool | Reshape | Select | Upsample | Windows


def _stays_real(op: Op, read: list[Tensor]) -> bool:
    """Whether an operation that only moves or compares values has real ones."""
    if not isinstance(op, MOVES) or isinstance(op, SumPool):
        return False
    return any(t.dtype == REAL for t in read) \
        or isinstance(op, MaxPool) and any(s < 0 for s in read[0].scale)


def _meaning(op: Op, read: list[Tensor], dtype: NumType):
    tensor = read[0]
    if dtype == REAL:
        return _fractions(1), _fractions(0)
    if isinstance(op, Affine):
        channels = range(tensor.shape[2])
        pairs = [tensor.channel(c) for c in channels]
        slopes = [op.scale[c % len(op.scale)] for c in channels]
        return (tuple(s * g for (s, _), g in zip(pairs, slopes)),
                tuple(o * g + op.offset[c % len(op.offset)]
                      for c, (_, o), g in zip(channels, pairs, slopes)))
    if isinstance(op, Quantize):
        return op.scale, tuple(-s * op.zero_point for s in op.scale)
    if isinstance(op, RealThreshold):
        return (op.scale,), (Fraction(0),)
    if isinstance(op, Clip):
        return tensor.scale, tensor.offset
    if isinstance(op, MOVES) and not isinstance(op, SumPool):
        if all(t.scale == tensor.scale and t.offset == tensor.offset for t in read) \
                and len(tensor.scale) == len(tensor.offset) == 1:
            return tensor.scale, tensor.offset
        return _moved(op, read)
    return _fractions(1), _fractions(0)  # weights and pools count in units of their own


def _moved(op: Op, read: list[Tensor]) -> tuple[tuple[Fraction, ...], tuple[Fraction, ...]]:
    """Scales and offsets of the channels that the output's first pixel comes from."""
    starts = np.cumsum([0] + [t.shape[2] for t in read])
    pairs = [t.channel(c) for t in read for c in range(t.shape[2])]
    marks = op.compute(*(np.zeros((1, *t.shape), dtype=np.int64) + start + np.arange(t.shape[2])
                         for start, t in zip(starts, read)))
    assert (marks == marks[:, :1, :1]).all(), "channels of several meanings become one"
    chosen = [pairs[c] for c in marks[0, 0, 0]]
    return tuple(s for s, _ in chosen), tuple(o for _, o in chosen)
