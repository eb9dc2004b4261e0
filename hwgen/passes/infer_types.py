"""Exact types from data flow."""

from dataclasses import replace

import numpy as np

from ..errors import ModelError
from ..graph import Graph
from ..ops import Conv, Threshold
from ..real_ops import REAL
from ..types import BIPOLAR, MAX_WIDTH, TERNARY, NumType, smallest_type
from .rewrite import only_moves

__all__ = ["infer_types"]


def infer_types(graph: Graph) -> Graph:
    """Give every tensor the narrowest type that holds all its values.

    Requires right shapes. Leaves each node's type equal to its operation's ``result_type``: an
    accumulator has the bits that its own weights and input type need, an activation keeps its
    declared type, real values stay real. Weights have the narrowest type that holds them. Levels
    of a :class:`~hwgen.ops.Threshold` that its input always or never reaches, of a convolution's
    sums those beside the channel's range, become the lowest value of the input's type or its
    highest plus one, and go where they are so in all channels.

    Raises
    ------
    ModelError
        A tensor needs more bits than the golden model computes with.
    """
    tensors = {graph.input: graph.input_tensor}
    sums: dict[str, tuple[np.ndarray, np.ndarray]] = {}  # ranges of convolutions' channels
    nodes = []
    for node in graph.nodes:
        inputs = [tensors[name] for name in node.inputs]
        types = tuple(t.dtype for t in inputs)
        op = node.op
        if isinstance(op, Threshold):
            op = _live_levels(op, types[0], *sums.get(node.inputs[0], _range(types[0])))
        elif isinstance(op, Conv):
            op = _narrow_weights(op)
            sums[node.name] = op.result_ranges(types[0])
        dtype = op.result_type(types, tuple(t.shape for t in inputs))
        if node.output.dtype == REAL and only_moves(op):
            dtype = REAL  # perhaps of integers that it first turns into real values
        if dtype.width > MAX_WIDTH:
            raise ModelError(f"{node.name}: its values need {dtype.width} bits, at most "
                             f"{MAX_WIDTH} are possible; requantize an input of it")
        tensors[node.name] = replace(node.output, dtype=dtype)
        nodes.append(replace(node, op=op, output=tensors[node.name]))
    return graph.with_nodes(nodes)


def _narrow_weights(op: Conv) -> Conv:
    low, high = int(op.weights.min()), int(op.weights.max())
    kind = smallest_type(low, high)
    if -1 == low <= high <= 1:
        kind = TERNARY if (op.weights == 0).any() else BIPOLAR
    return replace(op, weight_type=kind) if kind.width < op.weight_type.width else op


def _range(dtype: NumType) -> tuple[np.ndarray, np.ndarray]:
    return np.array([dtype.low]), np.array([dtype.high])


def _live_levels(op: Threshold, dtype: NumType, low: np.ndarray, high: np.ndarray) -> Threshold:
    if len(op.levels) == len(op.negate) == 1:  # of all channels
        low, high = low.min(keepdims=True), high.max(keepdims=True)
    # Of x, or of -x in channels that fall.
    falls = op.negate[:, None]
    least = np.where(op.negate, -high, low)[:, None]
    most = np.where(op.negate, -low, high)[:, None]
    always, never = op.levels <= least, op.levels > most
    levels = np.where(always, np.where(falls, -dtype.high, dtype.low), op.levels)
    levels = np.where(never, np.where(falls, -dtype.low, dtype.high) + 1, levels)
    below, above = np.all(always, axis=0), np.all(never, axis=0)
    live = ~(below | above)
    if not live.any():  # a result that is constant keeps a level
        live = np.arange(len(live)) == 0
        below = below & ~live
    if live.all() and np.array_equal(levels, op.levels):
        return op
    return replace(op, levels=levels[:, live], base=op.base + op.step * int(below.sum()))
