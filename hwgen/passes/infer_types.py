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
    of a :class:`~hwgen.ops.Threshold` beside its input's range become the nearest level that is
    always or never reached.

    Raises
    ------
    ModelError
        A tensor needs more bits than the golden model computes with.
    """
    tensors = {graph.input: graph.input_tensor}
    nodes = []
    for node in graph.nodes:
        inputs = [tensors[name] for name in node.inputs]
        types = tuple(t.dtype for t in inputs)
        op = node.op
        if isinstance(op, Threshold):
            op = _clamp_levels(op, types[0])
        elif isinstance(op, Conv):
            op = _narrow_weights(op)
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


def _clamp_levels(op: Threshold, dtype: NumType) -> Threshold:
    negate = op.negate[:, None]
    low, high = np.where(negate, -dtype.high, dtype.low), np.where(negate, -dtype.low, dtype.high)
    levels = np.clip(op.levels, low, high + 1)
    return op if np.array_equal(levels, op.levels) else replace(op, levels=levels)
