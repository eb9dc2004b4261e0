"""Real operations and quantizers in front of operations that only move or compare values."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from fractions import Fraction

import numpy as np

from ..graph import ONE, REAL, ZERO, Graph, Node, Tensor
from ..ops import (
    MaxPool,
    Op,
    Requantize,
    SumPool,
    Threshold,
    Upsample,
)
from ..real_ops import Affine, Clamp, Function, LeakyRelu, Quantize, RealOp, RealThreshold
from ..types import smallest_type
from .rewrite import only_moves, prune, unique_name

__all__ = ["quantize_early"]

PARAMETERS = {Affine: ("scale", "offset"), LeakyRelu: ("slope",), Quantize: ("scale",),
              RealThreshold: ("levels",), Clamp: (), Function: ()}
"""Fields of a real operation that may have one entry per channel."""


def quantize_early(graph: Graph) -> Graph:
    """Move elementwise real operations in front of operations that only move or compare values.

    Requires exact types. Hardware has no real values, so a quantizer must come before a pooling,
    a reshape or a join of them; it may, as those operations commute with elementwise ones, a
    maximum with those that never fall. Where a channel falls, the maximum of real values is a
    minimum of the quantizer's: a maximum between two changes of sign. Behind a MaxPool of integers
    a chain that ends in a quantizer of fewer bits moves as well: comparing few bits is cheaper.

    A tensor keeps its name and its values: the last of the exchanged operations has the name that
    the quantizer had, and the operations in front of it get new ones. Where several operations
    read what was moved over, each gets its own copy of that. Operations that can't move stay; real
    values that are left are refused by ``fold_activations``.
    """
    while True:
        for node in graph.nodes:
            moved = _moved(graph, node) or _mirrored(graph, node)
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
    if not only_moves(over.op):
        return None
    if isinstance(over.op, MaxPool):
        if not _rising(node.op):
            return None
        if over.output.dtype != REAL and not _worth_moving(graph, over, node):
            return None
    elif over.output.dtype != REAL:
        return None
    early = []
    inputs = [graph.tensor(name) for name in over.inputs]
    for n, name in enumerate(over.inputs):
        op = _for_input(node.op, over, inputs, n)
        if op is None:
            return None
        wish = f"{node.name}_early{n}" if len(over.inputs) > 1 else f"{node.name}_early"
        early.append(Node(unique_name(graph, wish), op, (name,), _output(op, inputs[n])))
    later = Node(node.name, over.op, tuple(e.name for e in early), node.output)
    return _replaced(graph, node, (*early, later))


def _replaced(graph: Graph, node: Node, new: Iterable[Node]) -> Graph:
    return graph.with_nodes(n for old in graph.nodes for n in (new if old is node else (old,)))


def _mirrored(graph: Graph, end: Node) -> Graph | None:
    """The graph with a chain in front of a MaxPool of real values that falls in some channels.

    None if ``end`` is not the quantizer of such a chain. There ``f(max(x)) = min(f(x))``, which is
    ``-max(-f(x))``.
    """
    if not isinstance(end.op, Quantize | RealThreshold):
        return None
    chain = _back_to_movement(graph, end)
    over = None if chain is None else graph.node(chain[0].inputs[0])
    if chain is None or over is None or not isinstance(over.op, MaxPool) \
            or isinstance(over.op, SumPool) or over.output.dtype != REAL:
        return None
    signs = _signs(chain, over.output.shape[2])
    if signs is None or (signs > 0).all():
        return None
    dtype = end.output.dtype
    ends = [sign * v for sign in set(signs.tolist()) for v in (dtype.low, dtype.high)]
    turned = dtype if dtype.low == -dtype.high else smallest_type(min(ends), max(ends))
    early = _row(graph, over.inputs[0], graph.tensor(over.inputs[0]),
                 [(f"{node.name}_early", node.op) for node in chain])
    codes = early[-1]
    early += _row(graph, codes.name, codes.output,
                  [(f"{end.name}_signed", _to_signs(codes.output, signs)),
                   (f"{end.name}_least", Quantize(turned, ONE))])
    pool = Node(unique_name(graph, f"{end.name}_mirrored"), over.op, (early[-1].name,),
                Tensor(over.output.shape, turned))
    back: Op = Requantize(signs, np.zeros(1), 0, "floor", dtype)
    if dtype.bipolar:
        back = Threshold(np.ones((len(signs), 1)), signs < 0, dtype, -1, 2)
    return _replaced(graph, end, (*early, pool, replace(end, op=back, inputs=(pool.name,))))


def _back_to_movement(graph: Graph, end: Node) -> list[Node] | None:
    """The real operations between a quantizer and what is before them; None for the input."""
    chain = [end]
    while (name := chain[0].inputs[0]) != graph.input:
        node = graph.node(name)
        if not isinstance(node.op, RealOp) or node.output.dtype != REAL:
            return chain
        chain.insert(0, node)
    return None


def _signs(chain: list[Node], channels: int) -> np.ndarray | None:
    """(channels,) -1 where a chain falls, else 1; None if an operation rises and falls."""
    signs = np.ones(channels, dtype=np.int64)
    for node in chain:
        if isinstance(node.op, Affine):
            signs *= np.array([-1 if s < 0 else 1 for s in node.op.scale])
        elif not isinstance(node.op, RealOp) or not _rising(node.op):
            return None
    return signs


def _row(graph: Graph, source: str, tensor: Tensor, parts: Sequence[tuple[str, Op]]) -> list[Node]:
    """Real operations one behind the other, by the names that they should have."""
    nodes: list[Node] = []
    for wish, op in parts:
        assert isinstance(op, RealOp)
        tensor = _output(op, tensor)
        nodes.append(Node(unique_name(graph, wish), op, (source,), tensor))
        source = nodes[-1].name
    return nodes


def _to_signs(tensor: Tensor, signs: np.ndarray) -> Affine:
    """What makes each code of a tensor that code, or its negative, as a real number."""
    factors, offsets = [], []
    for c, sign in enumerate(signs.tolist()):
        scale, offset = tensor.channel(c)
        factors.append(sign / scale)
        offsets.append(-offset * sign / scale)
    return Affine(tuple(factors), tuple(offsets))



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
