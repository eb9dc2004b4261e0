"""Multipliers that bring channels to one step -> weights, or behind the sums."""

from dataclasses import dataclass, replace

import numpy as np

from ..graph import Graph, Node, Tensor
from ..ops import Add, Bias, Concat, Conv, Requantize
from ..types import NumType, smallest_type
from .rewrite import multiplies, prune, unique_name

__all__ = ["merge_multipliers"]

WIDE = 8  # bits that weights may always grow to
GROWTH = 3  # bits that they may grow by beyond


def merge_multipliers(graph: Graph) -> Graph:
    """Take multipliers (Requantize by 2**0) and biases in front of a Conv off its input.

    Requires exact types. They bring channels of unequal scales to one step, which makes the
    activations wide. Where the weights can take the multipliers without growing by much, they do;
    else, where the input is a Concat of tensors with one multiplier each, every tensor gets a
    Conv of its own, and its few sums are multiplied and added.
    """
    for name in [n.name for n in graph.nodes if isinstance(n.op, Conv)]:
        node = graph.node(name)
        chain = _scaling(graph, node)
        if chain is not None:
            graph = _into_weights(graph, node, chain) or _split(graph, node, chain) or graph
    return graph


@dataclass(frozen=True)
class _Scaling:
    """``x[c] * factors[c] + biases[c]`` in front of a Conv."""

    source: str
    tensor: Tensor
    factors: np.ndarray
    biases: np.ndarray


def _scaling(graph: Graph, conv: Node) -> _Scaling | None:
    name = conv.inputs[0]
    channels = graph.tensor(name).shape[2]
    factors, biases = np.ones(channels, dtype=np.int64), np.zeros(channels, dtype=np.int64)
    found = False
    while name != graph.input and len(graph.users(name)) == 1 and name != graph.output:
        node = graph.node(name)
        before = graph.tensor(node.inputs[0])
        if isinstance(node.op, Bias):
            biases = biases + factors * node.op.values
        elif isinstance(node.op, Requantize) and multiplies(node.op, before.dtype):
            factors = factors * node.op.multiplier
            found = True
        else:
            break
        name = node.inputs[0]
    return _Scaling(name, graph.tensor(name), factors, biases) if found else None


def _pad_code(op: Conv, dtype: NumType, factors: np.ndarray, biases: np.ndarray) -> int | None:
    """The integer that reads as the padding after factors and biases; None if there is none."""
    if not any(op.pad):
        return 0
    codes = set()
    for factor, bias in set(zip(factors.tolist(), biases.tolist())):
        if factor == 0 or (op.pad_value - bias) % factor:
            return None
        codes.add((op.pad_value - bias) // factor)
    code = codes.pop()
    return code if not codes and dtype.low <= code <= dtype.high else None


def _spread(values: np.ndarray, op: Conv) -> np.ndarray:
    """(inputs of a group, outputs): the entry of the channel that each weight meets."""
    per_group, outputs = op.weights.shape[2:]
    group = np.arange(outputs) // (outputs // op.groups)
    return values[group[None, :] * per_group + np.arange(per_group)[:, None]]


def _into_weights(graph: Graph, node: Node, chain: _Scaling) -> Graph | None:
    op = node.op
    assert isinstance(op, Conv)
    code = _pad_code(op, chain.tensor.dtype, chain.factors, chain.biases)
    weights = op.weights * _spread(chain.factors, op)
    kind = smallest_type(min(int(weights.min()), -1), int(weights.max()))
    if code is None or kind.width > max(WIDE, op.weight_type.width + GROWTH):
        return None
    if op.weight_type.contains(weights).all():
        kind = op.weight_type
    bias = op.bias + (op.weights * _spread(chain.biases, op)).sum(axis=(0, 1, 2))
    merged = replace(op, weights=weights, weight_type=kind, bias=bias, pad_value=code)
    return prune(graph.with_nodes(
        replace(node, op=merged, inputs=(chain.source,)) if n is node else n
        for n in graph.nodes))


def _split(graph: Graph, node: Node, chain: _Scaling) -> Graph | None:
    op = node.op
    assert isinstance(op, Conv)
    if chain.source == graph.input or op.groups != 1 or graph.output == chain.source:
        return None
    join = graph.node(chain.source)
    if not isinstance(join.op, Concat) or len(graph.users(join.name)) > 1:
        return None
    taken = graph
    parts: list[Node] = []
    summands: list[str] = []
    first, total = 0, op.bias.copy()
    for number, name in enumerate(join.inputs):
        before = graph.tensor(name)
        place = slice(first, first + before.shape[2])
        first = place.stop
        factors, biases = chain.factors[place], chain.biases[place]
        code = _pad_code(op, before.dtype, factors, biases)
        if len(set(factors.tolist())) > 1 or len(set(biases.tolist())) > 1 or code is None:
            return None
        weights = op.weights[:, :, place]
        total += int(biases[0]) * weights.sum(axis=(0, 1, 2))
        part = Conv(weights, op.weight_type, np.zeros_like(op.bias), op.stride, op.pad, code,
                    op.dilation)
        dtype = part.result_type((before.dtype,), (before.shape,))
        sums = Node(unique_name(taken, f"{node.name}_part{number}"), part, (name,),
                    Tensor(node.output.shape, dtype))
        parts.append(sums)
        if factors[0] != 1:
            ends = [int(factors[0]) * v for v in (dtype.low, dtype.high)]
            wide = smallest_type(min(ends), max(ends))
            scaled = Requantize(factors[:1], np.zeros(1), 0, "floor", wide)
            parts.append(Node(unique_name(taken, f"{node.name}_scaled{number}"), scaled,
                              (sums.name,), Tensor(node.output.shape, wide)))
        summands.append(parts[-1].name)
    types = tuple(p.output.dtype for p in parts if p.name in summands)
    shapes = (node.output.shape,) * len(types)
    dtype = Add().result_type(types, shapes)
    if total.any():
        added = Node(unique_name(taken, f"{node.name}_sum"), Add(), tuple(summands),
                     Tensor(node.output.shape, dtype))
        bias = Bias(total)
        parts += [added, Node(node.name, bias, (added.name,),
                              replace(node.output, dtype=bias.result_type((dtype,), shapes)))]
    else:
        parts.append(Node(node.name, Add(), tuple(summands), replace(node.output, dtype=dtype)))
    return prune(graph.with_nodes(new for n in graph.nodes
                                  for new in (parts if n is node else (n,))))
