"""What several passes need to rewrite a graph."""

from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction

from ..graph import Graph, Tensor
from ..ops import (
    Concat,
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
from ..types import NumType

__all__ = ["multiplies", "needed", "only_moves", "prune", "redirect", "shifted", "unique_name"]


def multiplies(op: Requantize, dtype: NumType) -> bool:
    """Whether the operation, on integers of a type, is a multiplication only."""
    ends = [int(m) * v for m in op.multiplier for v in (dtype.low, dtype.high)]
    return not op.shift.any() and not op.offset.any() and op.zero_point == 0 \
        and op.out_type.low <= min(ends) and op.out_type.high >= max(ends)


def needed(graph: Graph) -> set[str]:
    """Names of the tensors that the output depends on, itself included."""
    found = {graph.output}
    for node in reversed(graph.nodes):
        if node.name in found:
            found.update(node.inputs)
    return found


def prune(graph: Graph) -> Graph:
    """The graph without the nodes that its output does not depend on."""
    found = needed(graph)
    return graph.with_nodes(node for node in graph.nodes if node.name in found)


def redirect(graph: Graph, targets: Mapping[str, str]) -> Graph:
    """Drop the nodes named in ``targets``; their users read the target, or its target, instead."""
    def final(name: str) -> str:
        while name in targets:
            name = targets[name]
        return name

    return graph.with_nodes((replace(node, inputs=tuple(map(final, node.inputs)))
                             for node in graph.nodes if node.name not in targets),
                            output=final(graph.output))


def shifted(tensor: Tensor, values) -> tuple[Fraction, ...]:
    """Offset of the tensor that means the same after ``values[c]`` is added to its integers."""
    channels = [tensor.channel(c) for c in range(tensor.shape[2])]
    offsets = tuple(offset - scale * int(value) for (scale, offset), value in zip(channels, values))
    return offsets if len(set(offsets)) > 1 else offsets[:1]


def only_moves(op: Op) -> bool:
    """Whether every value of the output is one of the inputs', so that real ones will do."""
    if isinstance(op, SumPool):
        return False
    if isinstance(op, Windows):
        return not any(op.pad)
    return isinstance(op, MaxPool | Reshape | Upsample | Select | Crop | Concat | DepthToSpace)


def unique_name(graph: Graph, wish: str) -> str:
    """``wish``, or ``wish`` with a number where a tensor has that name already."""
    taken = graph.tensors().keys()
    name, number = wish, 1
    while name in taken:
        number += 1
        name = f"{wish}_{number}"
    return name
