"""Channels in another order -> weights in another order."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from ..graph import Graph, Node, Tensor
from ..ops import (
    Bias,
    Clip,
    Conv,
    Crop,
    MaxPool,
    Op,
    Requantize,
    Select,
    Table,
    Threshold,
    Upsample,
    ZeroInsert,
)
from .rewrite import prune, unique_name

__all__ = ["ACTIVATION_FIELDS", "absorb_selects", "pick_outputs", "pick_tensor"]

ACTIVATION_FIELDS: dict[type[Op], tuple[str, ...]] = {
    Bias: ("values",), Threshold: ("levels", "negate"),
    Requantize: ("multiplier", "shift", "offset"), Table: ("values",), Clip: ()}
"""Activations, and their fields with one row for all channels or one for each."""

PER_CHANNEL = ACTIVATION_FIELDS | {MaxPool: (), Upsample: (), ZeroInsert: ()}
"""The same of all operations on each channel alone."""


def absorb_selects(graph: Graph) -> Graph:
    """Take every Select of channels, and Crop of channels only, into a Conv beside it.

    Requires integers. Behind a Conv, and operations on each channel alone that nothing else reads,
    the Conv makes its output channels in the order wanted, and only those. In front of a Conv that
    reads all channels, a permutation becomes one of the weights. Other selections stay. Tensors
    whose channels change get new names, but for a Conv's, whose name is that of its layer.
    """
    for name in [n.name for n in graph.nodes]:
        if name in graph.tensors():
            node = graph.node(name)
            graph = _into_producer(graph, node) or _into_consumer(graph, node) or graph
    return graph


def _indices(graph: Graph, node: Node) -> np.ndarray | None:
    """The channels that a node selects; None if it does anything else."""
    if isinstance(node.op, Select):
        return np.array(node.op.indices)
    before = graph.tensor(node.inputs[0])
    if isinstance(node.op, Crop) and before.shape[:2] == node.output.shape[:2]:
        return np.arange(*node.op.channels)
    return None


def _into_producer(graph: Graph, node: Node) -> Graph | None:
    indices = _indices(graph, node)
    if indices is None or len(set(indices.tolist())) < len(indices):
        return None
    chain: list[Node] = []  # from the Conv on
    name = node.inputs[0]
    while not chain or not _makes_channels(chain[0].op):
        if name in (graph.input, graph.output) or len(graph.users(name)) > 1:
            return None
        chain.insert(0, graph.node(name))
        if not _is_per_channel(chain[0]) and not _makes_channels(chain[0].op):
            return None
        name = chain[0].inputs[0]
    return _exchanged(graph, chain, indices, lambda op: pick_outputs(op, indices), node)


def _into_consumer(graph: Graph, node: Node) -> Graph | None:
    indices = _indices(graph, node)
    if indices is None or sorted(indices.tolist()) != list(
            range(graph.tensor(node.inputs[0]).shape[2])):
        return None
    inverse = np.argsort(indices)
    chain: list[Node] = []  # up to the Conv
    name = node.name
    while not chain or not _makes_channels(chain[-1].op):
        users = graph.users(name)
        if name == graph.output or len(users) != 1:
            return None
        chain.append(users[0])
        if not _is_per_channel(users[0]) and not _makes_channels(users[0].op):
            return None
        name = users[0].name
    conv = chain.pop()
    assert isinstance(conv.op, Conv)
    op = replace(conv.op, weights=conv.op.weights[:, :, inverse])
    graph = graph.with_nodes(replace(n, op=op) if n is conv else n for n in graph.nodes)
    graph = graph.with_nodes(replace(n, inputs=node.inputs) if node.name in n.inputs else n
                             for n in graph.nodes)
    chain = [graph.node(n.name) for n in chain]
    return prune(_exchanged(graph, chain, inverse, lambda op: pick_outputs(op, inverse), None))


def _makes_channels(op: Op) -> bool:
    return isinstance(op, Conv) and op.groups == 1


def _is_per_channel(node: Node) -> bool:
    """Whether each output channel comes from the input channel of its number alone."""
    if isinstance(node.op, Conv):
        return node.op.weights.shape[2] == 1 and node.op.groups == node.output.shape[2]
    return isinstance(node.op, tuple(PER_CHANNEL))


def _exchanged(graph: Graph, chain: list[Node], indices: np.ndarray, change: Callable[[Op], Op],
               select: Node | None) -> Graph:
    """The graph with other channels in a chain of nodes.

    The last takes the name of ``select``, which goes, if one is given.
    """
    renamed: dict[str, str] = {}
    changed: dict[str, Node] = {}
    for place, node in enumerate(chain):
        followed = place + 1 < len(chain) and isinstance(
            chain[place + 1].op, tuple(ACTIVATION_FIELDS))
        name, output = node.name, pick_tensor(node.output, indices)
        if select is not None and node is chain[-1]:
            name, output = select.name, select.output
        elif not (isinstance(node.op, Conv) and followed):
            name = unique_name(graph, f"{node.name}_selected")
        renamed[node.name] = name
        inputs = tuple(renamed.get(i, i) for i in node.inputs)
        changed[node.name] = Node(name, change(node.op), inputs, output)
    nodes = (changed.get(n.name) or replace(n, inputs=tuple(renamed.get(i, i) for i in n.inputs))
             for n in graph.nodes if n is not select)
    return graph.with_nodes(nodes)


def pick_tensor(tensor: Tensor, indices: np.ndarray) -> Tensor:
    """A tensor with channels ``indices`` only."""
    scale, offset = (tuple(v[i] for i in indices) if len(v) > 1 else v
                     for v in (tensor.scale, tensor.offset))
    return Tensor((*tensor.shape[:2], len(indices)), tensor.dtype, scale, offset)


def pick_outputs(op: Op, indices: np.ndarray) -> Op:
    """The operation with output channels ``indices`` only; all of them are single inputs' too,
    but for a Conv that reads all channels."""
    if isinstance(op, Conv):
        groups = 1 if op.groups == 1 else len(indices)
        return replace(op, weights=op.weights[..., indices], bias=op.bias[indices], groups=groups)
    fields = next(names for kind, names in PER_CHANNEL.items() if isinstance(op, kind))
    rows = {name: getattr(op, name) for name in fields}
    return replace(op, **{name: value[indices]  # type: ignore[type-var]  # every Op is a dataclass
                          for name, value in rows.items() if len(value) > 1})
