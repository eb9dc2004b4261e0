"""Convolutions side by side -> one convolution, whose channels are then taken apart."""

from collections import defaultdict
from dataclasses import replace
from fractions import Fraction

import numpy as np

from ..graph import Graph, Node, Tensor
from ..ops import Conv, Crop, Op
from ..types import smallest_type
from .absorb_selects import ACTIVATION_FIELDS
from .infer_types import infer_types
from .rewrite import unique_name

__all__ = ["merge_convolutions"]

LONGEST_NAME = 60
FEW_BITS = 2  # of weights, which others beside them would make more


def merge_convolutions(graph: Graph) -> Graph:
    """Make convolutions that read the same tensor one, where all but their neurons is equal.

    Requires integers. Activations behind them that differ in what they hold for each channel only
    are merged too, as far as types are then equal. Behind the last, a Crop for each of the former
    tensors has its name. The graph itself if there is nothing to merge.
    """
    groups: dict[tuple, list[Node]] = defaultdict(list)
    for node in graph.nodes:
        op = node.op
        if isinstance(op, Conv) and op.groups == 1:
            groups[node.inputs[0], op.kernel, op.stride, op.pad, op.pad_value, op.dilation,
                   op.weight_type if op.weight_type.width <= FEW_BITS else None].append(node)
    merged = graph
    for convolutions in groups.values():
        if len(convolutions) > 1:
            merged = _merge(merged, [_chain(graph, node) for node in convolutions])
    return graph if merged is graph else infer_types(merged)


def _chain(graph: Graph, node: Node) -> list[Node]:
    """A convolution and the activations behind it."""
    chain = [node]
    while len(users := graph.users(chain[-1].name)) == 1 and chain[-1].name != graph.output \
            and isinstance(users[0].op, tuple(ACTIVATION_FIELDS)):
        chain.append(users[0])
    return chain


def _merge(graph: Graph, chains: list[list[Node]]) -> Graph:
    """The graph with one chain instead of several, if there can be one."""
    ops: list[Op] = []
    length = 0  # as far as types are equal
    for place in zip(*chains):
        op = _stacked(place) if ops else _convolution(place)
        if op is None:
            break
        ops.append(op)
        if len({node.output.dtype for node in place}) == 1:
            length = len(ops)
    if not length:
        return graph
    nodes, name = [], chains[0][0].inputs[0]
    for op, place in zip(ops[:length], zip(*chains)):
        tensor = _side_by_side([node.output for node in place])
        node = Node(_name(graph, place), op, (name,), tensor)
        name = node.name
        nodes.append(node)
    begin = 0
    for last in (chain[length - 1] for chain in chains):
        height, width, channels = last.output.shape
        crop = Crop((0, height), (0, width), (begin, begin + channels))
        nodes.append(Node(last.name, crop, (name,), last.output))
        begin += channels
    gone = {node.name for chain in chains for node in chain[:length]}
    return graph.with_nodes(
        new for node in graph.nodes
        for new in (nodes if node.name == chains[0][0].name else () if node.name in gone
                    else (node,)))


def _convolution(place: tuple[Node, ...]) -> Conv:
    first = place[0].op
    assert isinstance(first, Conv)
    weights, bias = (np.concatenate([getattr(node.op, field) for node in place], axis=-1)
                     for field in ("weights", "bias"))
    kind = first.weight_type
    if not kind.contains(weights).all():
        kind = smallest_type(weights.min(), weights.max())
    return replace(first, weights=weights, weight_type=kind, bias=bias)


def _stacked(place: tuple[Node, ...]) -> Op | None:
    """One operation that does what each of these does on its own channels, if there is one."""
    first = place[0].op
    kind = type(first)
    if any(type(node.op) is not kind for node in place):
        return None
    names = ACTIVATION_FIELDS[kind]
    rows = {name: [getattr(node.op, name) for node in place] for name in names}
    others = [{k: v for k, v in vars(node.op).items() if k not in names} for node in place]
    if any(other != others[0] for other in others) \
            or any(len({values.shape[1:] for values in arrays}) > 1 for arrays in rows.values()):
        return None
    return replace(first, **{  # type: ignore[type-var]  # every Op is a dataclass
        name: _rows(arrays, [node.output.shape[2] for node in place])
        for name, arrays in rows.items()})


def _rows(arrays: list[np.ndarray], channels: list[int]) -> np.ndarray:
    """One row for each channel, or one row if all are equal."""
    rows = np.concatenate([np.broadcast_to(values, (count, *values.shape[1:]))
                           for values, count in zip(arrays, channels)])
    return rows[:1] if (rows == rows[0]).all() else rows


def _side_by_side(tensors: list[Tensor]) -> Tensor:
    """One tensor of the channels of all."""
    pairs = [t.channel(c) for t in tensors for c in range(t.shape[2])]
    return Tensor((*tensors[0].shape[:2], len(pairs)), tensors[0].dtype,
                  _meaning([scale for scale, _ in pairs]),
                  _meaning([offset for _, offset in pairs]))


def _meaning(values: list[Fraction]) -> tuple[Fraction, ...]:
    return tuple(values) if len(set(values)) > 1 else (values[0],)


def _name(graph: Graph, place: tuple[Node, ...]) -> str:
    """The names of all, or of the first where that is long."""
    name = "_".join(node.name for node in place)
    if len(name) > LONGEST_NAME:
        name = f"{place[0].name}_and_{len(place) - 1}_more"
    return unique_name(graph, name)
