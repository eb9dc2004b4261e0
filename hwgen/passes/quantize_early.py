"""Real operations and quantizers in front of operations that only move or compare values."""

from dataclasses import replace
from fractions import Fraction

import numpy as np

from ..graph import ONE, REAL, ZERO, Graph, Node, Tensor
from ..ops import (
    Concat,
    Crop,
    DepthToSpace,
    MaxPool,
    Op,
    Reshape,
    Select,
    SumPool,
    Upsample,
    Windows,
)
from ..real_ops import Affine, Clamp, Function, LeakyRelu, Quantize, RealOp, RealThreshold
from .rewrite import prune

__all__ = ["quantize_early"]

PARAMETERS = {Affine: ("scale", "offset"), LeakyRelu: ("slope",), Quantize: ("scale",),
              RealThreshold: ("levels",), Clamp: (), Function: ()}
"""Fields of a real operation that may have one entry per channel."""


def quantize_early(graph: Graph) -> Graph:
    """Move elementwise real operations in front of operations that only move or compare values.

    Requires exact types. Hardware has no real values, so a quantizer must come before a pooling,
    a reshape or a join of them; it may, as those operations commute with elementwise ones, a
    maximum with those that never fall. Behind a MaxPool of integers a chain that ends in a
    quantizer of fewer bits moves as well: comparing few bits is cheaper.

    The operation that was moved over takes the name of what comes first now: a tensor keeps its
    name and its values. Operations that can't move stay; real values that are left are refused by
    ``fold_activations``.
    """
    while True:
        for node in graph.nodes:
            moved = _moved(graph, node)
            if moved is not None:
                graph = prune(moved)
                break
        else:
            return graph


def _moved(graph: Graph, node: Node) -> Graph | None:
    """The graph with ``node`` one operation earlier; None if it can't or should not move."""
    if not isinstance(node.op, RealOp) or node.inputs[0] == graph.input:
        return None
    over = graph.node(node.inputs[0])
    if not _only_moves(over.op):
        return None
    if isinstance(over.op, MaxPool):
        if not _rising(node.op):
            return None
        if over.output.dtype != REAL and not _worth_moving(graph, over, node):
            return None
    elif over.output.dtype != REAL:
        return None
    taken = set(graph.tensors())
    early = []
    for n, name in enumerate(over.inputs):
        before = graph.tensor(name)
        op = _for_input(node.op, over, [graph.tensor(i) for i in over.inputs], n)
        if op is None:
            return None
        wish = f"{node.name}_early{n}" if len(over.inputs) > 1 else f"{node.name}_early"
        unique, number = wish, 2
        while unique in taken:
            unique, number = f"{wish}_{number}", number + 1
        taken.add(unique)
        early.append(Node(unique, op, (name,), _output(op, before)))
    later = Node(node.name, over.op, tuple(e.name for e in early), node.output)
    return graph.with_nodes(new for old in graph.nodes
                            for new in ((*early, later) if old is node else (old,)))


def _only_moves(op: Op) -> bool:
    if isinstance(op, SumPool):
        return False
    if isinstance(op, Windows):
        return not any(op.pad)
    return isinstance(op, MaxPool | Reshape | Upsample | Select | Crop | Concat | DepthToSpace)


def _rising(op: RealOp) -> bool:
    """Whether the operation never falls, in any channel."""
    if isinstance(op, Affine):
        return all(s >= 0 for s in op.scale)
    if isinstance(op, LeakyRelu):
        return all(s >= 0 for s in op.slope)
    return op.rising if isinstance(op, Function) else True


def _worth_moving(graph: Graph, over: Node, node: Node) -> bool:
    """Whether a chain behind a MaxPool of integers rises up to a quantizer of fewer bits."""
    name = over.name
    while True:
        users = graph.users(name)
        if len(users) != 1 or name == graph.output:
            return False
        op = users[0].op
        if not isinstance(op, RealOp) or not _rising(op):
            return False
        if isinstance(op, Quantize | RealThreshold):
            return users[0].output.dtype.width < over.output.dtype.width
        name = users[0].name


def _for_input(op: RealOp, over: Node, inputs: list[Tensor], number: int) -> RealOp | None:
    """The operation for input ``number`` of the one moved over; None if channels disagree."""
    fields = {name: getattr(op, name) for name in PARAMETERS[type(op)]
              if len(getattr(op, name)) > 1}
    if not fields or isinstance(over.op, MaxPool | Upsample):
        return op
    source = _source_channels(over, inputs, number)
    changes = {}
    for name, values in fields.items():
        distinct = {v: k for k, v in enumerate(dict.fromkeys(values))}
        kinds = np.array([distinct[v] for v in values])
        chosen = np.full(inputs[number].shape[2], -1)
        channel = np.arange(source.size) % source.shape[-1]
        mine = source.reshape(-1) >= 0
        chosen[source.reshape(-1)[mine]] = kinds[channel[mine]]
        if (chosen[source.reshape(-1)[mine]] != kinds[channel[mine]]).any():
            return None
        order = list(distinct)
        changes[name] = tuple(order[k] if k >= 0 else order[0] for k in chosen)
    return replace(op, **changes)  # type: ignore[type-var]  # every RealOp is a dataclass


def _source_channels(over: Node, inputs: list[Tensor], number: int) -> np.ndarray:
    """(1, H, W, C) of the output: the channel of input ``number`` it comes from, -1 for none."""
    marks = [np.broadcast_to(np.arange(t.shape[2]), (1, *t.shape)) if n == number
             else np.full((1, *t.shape), -1) for n, t in enumerate(inputs)]
    return over.op.compute(*(np.ascontiguousarray(m) for m in marks))


def _output(op: RealOp, before: Tensor) -> Tensor:
    """What the operation makes of a tensor."""
    if isinstance(op, Quantize):
        return Tensor(before.shape, op.out_type, op.scale,
                      tuple(-s * Fraction(op.zero_point) for s in op.scale))
    if isinstance(op, RealThreshold):
        return Tensor(before.shape, op.out_type, (op.scale,), ZERO)
    if not isinstance(op, Affine) or before.dtype == REAL:
        return Tensor(before.shape, REAL, ONE, ZERO)
    count = max(map(len, (op.scale, op.offset, before.scale, before.offset)))
    pairs = [before.channel(c) for c in range(count)]
    factors = [op.scale[c % len(op.scale)] for c in range(count)]
    return Tensor(before.shape, before.dtype,
                  tuple(s * f for (s, _), f in zip(pairs, factors)),
                  tuple(o * f + op.offset[c % len(op.offset)]
                        for c, ((_, o), f) in enumerate(zip(pairs, factors))))
