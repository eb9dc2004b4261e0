"""Chains of real operations -> Threshold, Requantize or Clip."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from math import floor

import numpy as np

from ..errors import ModelError
from ..graph import Graph, Node, Tensor, evaluate
from ..ops import Bias, Clip, Conv, Op, Table, Threshold
from ..real_ops import REAL, Affine, Function, LeakyRelu, Quantize, RealOp, RealThreshold
from .levels import steps_of
from .rewrite import prune, redirect, shifted, unique_name
from .shift_and_clip import ShiftAndClip, find_affine, find_multiplier, find_shift

__all__ = ["MAX_LEVELS", "fold_activations"]

MAX_TABLE = 4096
"""Most entries of a Table for a channel."""

WIDE_LEVELS = 1 << 14
"""Bits of a layer's levels above which a multiplication is tried before comparing with them."""

MAX_LEVELS = 4096
"""Most levels of a Threshold; an activation with more becomes a multiplication or is refused."""

CHUNK = 1 << 17  # levels inverted at a time, exact and so bulky


def fold_activations(graph: Graph) -> Graph:
    """Fold every chain of real operations that ends in a quantizer into one integer operation.

    Requires exact types. A chain runs from an integer tensor to a quantizer; integer Bias and Clip
    operations and earlier quantizers that nothing else reads are part of it. It becomes

    - a Clip, where that is equal for every input;
    - a Requantize by a power of two, where that is; with a Bias before it, where the levels of
      the channels differ only by an offset (``merge_bias`` makes it free behind a Conv);
    - a Threshold, otherwise: falling channels (negative gamma) negated, constant channels
      (gamma 0) with levels that are always or never reached;
    - a Requantize with a multiplier for each channel, for more than ``MAX_LEVELS`` levels;
    - a Table, where the chain rises and falls, or has more levels than inputs, and its input has
      at most ``MAX_TABLE`` integers.

    A Affine that ends in no quantizer leaves its scale and offset on the node before it if
    it is that node's only user or the output of the graph. Leaves integers only.

    Raises
    ------
    ModelError
        Real numbers reach an operation other than a quantizer, or more than ``MAX_LEVELS`` levels
        equal no multiplication.
    """
    folded: dict[str, tuple[Node, ...]] = {}
    absorbed: set[str] = set()
    for node in reversed(graph.nodes):
        if isinstance(node.op, Quantize | RealThreshold) and node.name not in absorbed:
            chain = _chain(graph, node)
            if chain.start.dtype != REAL:
                absorbed.update(n.name for n in chain.nodes if n.output.dtype != REAL)
                folded[node.name] = _fold(graph, chain)
    graph = prune(graph.with_nodes(new for node in graph.nodes
                                   for new in folded.get(node.name, (node,))))
    for node in graph.nodes:
        if isinstance(node.op, Affine) and node.output.dtype != REAL:
            graph = _drop_batchnorm(graph, graph.node(node.name))
    _refuse_real(graph)
    return graph


@dataclass(frozen=True)
class _Chain:
    """Nodes from an integer tensor to a quantizer.

    ``alone`` says that nothing else reads the tensor they start from.
    """

    nodes: tuple[Node, ...]
    source: str
    start: Tensor
    alone: bool

    @property
    def end(self) -> Node:
        return self.nodes[-1]


def _chain(graph: Graph, end: Node) -> _Chain:
    producers = {node.name: node for node in graph.nodes}
    nodes, source, alone = [end], end.inputs[0], True
    while True:
        alone = alone and len(graph.users(source)) == 1 and source != graph.output
        node = producers.get(source)
        start = graph.tensor(source)
        if start.dtype != REAL and _codes(start) <= MAX_TABLE and not _monotone(nodes):
            node = None  # the table of what rises and falls is the smallest behind few integers
        if node is None or not (
                isinstance(node.op, RealOp) and not isinstance(node.op, Quantize | RealThreshold)
                or alone and isinstance(node.op, Bias | Clip | Quantize | RealThreshold)):
            return _Chain(tuple(nodes), source, start, alone)
        nodes.insert(0, node)
        source = node.inputs[0]


def _fold(graph: Graph, chain: _Chain) -> tuple[Node, ...]:
    """The nodes that replace a chain, the last under its name."""
    end, start = chain.end, chain.start
    base, step, number = _output_codes(end.op)
    out_type = end.output.dtype
    found: ShiftAndClip | None = None
    if not _monotone(chain.nodes) or number > MAX_LEVELS and _codes(start) <= MAX_TABLE:
        table = _table(graph, chain)
        rows = table if step == 1 else (table - base) // step
        if (np.diff(rows, axis=1) < 0).any() or number > MAX_LEVELS:
            return (Node(end.name, Table(table, start.dtype.low, out_type), (chain.source,),
                         end.output),)
        wanted = np.arange(1, number + 1) * step + base
        levels = np.stack([np.searchsorted(row, wanted) for row in table]) + start.dtype.low
        return (Node(end.name, _threshold(levels, np.zeros(len(levels), dtype=bool), out_type,
                                          base, step), (chain.source,), end.output),)
    if number > MAX_LEVELS:
        found = _fold_wide(graph, chain)
    else:
        levels, falling = _levels(graph, chain, np.arange(1, number + 1) * step + base)
        if step == 1 and not falling.any():
            free = chain.alone and any(n.name == chain.source and isinstance(n.op, Conv)
                                       for n in graph.nodes)
            found = find_shift(_by_code(levels, base, out_type, start), start.dtype, out_type,
                               _zero_point(end.op), free)
        whole = step == 1 and (base, base + number) == (out_type.low, out_type.high)
        if found is None and whole and levels.size * start.dtype.width > WIDE_LEVELS:
            op = find_affine(levels, falling, _slopes(chain), np.arange(1, number + 1) + base,
                             start.dtype, out_type)
            if op is not None:
                return (Node(end.name, op, (chain.source,), end.output),)
        if found is None:
            return (Node(end.name, _threshold(levels, falling, out_type, base, step),
                         (chain.source,), end.output),)
    if found.bias is None:
        return (Node(end.name, found.op, (chain.source,), end.output),)
    bias = Bias(np.broadcast_to(found.bias, start.shape[2]))
    middle = Node(unique_name(graph, f"{end.name}_bias"), bias, (chain.source,),
                  Tensor(start.shape, bias.result_type((start.dtype,), (start.shape,)),
                         start.scale, shifted(start, bias.values)))
    return middle, Node(end.name, found.op, (middle.name,), end.output)


def _slopes(chain: _Chain) -> np.ndarray:
    """(channels,) float64: codes of the last quantizer per step of the start, where it rises."""
    slopes = np.array([float(s) for s in chain.start.scale]) * np.ones(chain.start.shape[2])
    for node in chain.nodes:
        if isinstance(node.op, Affine):
            slopes = slopes * [float(s) for s in node.op.scale]
    if isinstance(chain.end.op, Quantize):
        slopes = slopes / [float(s) for s in chain.end.op.scale]
    return slopes


def _codes(tensor: Tensor) -> int:
    """Number of integers from the lowest to the highest of a tensor's type."""
    return tensor.dtype.high - tensor.dtype.low + 1


def _monotone(nodes: Iterable[Node]) -> bool:
    """Whether no operation of a chain rises and falls."""
    return not any(isinstance(n.op, Function) and not n.op.rising
                   or isinstance(n.op, LeakyRelu) and any(s < 0 for s in n.op.slope)
                   for n in nodes)


def _table(graph: Graph, chain: _Chain) -> np.ndarray:
    """(channels or 1, integers) outputs of a chain, for every integer of the start's type."""
    start = chain.start
    if _codes(start) > MAX_TABLE:
        raise ModelError(f"{chain.end.name}: the activation rises and falls, so it needs a table "
                         f"of the values of {chain.source} ({start.dtype}), which has "
                         f"{_codes(start)} entries (at most {MAX_TABLE}); put a quantizer of at "
                         f"most {MAX_TABLE.bit_length() - 1} bits in front of it")
    codes = np.arange(start.dtype.low, start.dtype.high + 1)
    if start.dtype.bipolar:
        codes = np.array([-1, 1])
    parameters = [v for n in chain.nodes for v in vars(n.op).values()
                  if isinstance(v, tuple | np.ndarray) and not isinstance(n.op, Clip)]
    alike = len(start.scale) == len(start.offset) == 1 and all(
        len(v) == 1 or isinstance(v[0], int) for v in parameters)
    channels = 1 if alike else start.shape[2]
    tensor = replace(start, shape=(1, len(codes), channels))
    values = np.broadcast_to(codes[:, None], (1, 1, len(codes), channels))
    for node in chain.nodes:
        values = evaluate(node, [tensor], [values])
        tensor = replace(node.output, shape=tensor.shape)
    table = np.asarray(values[0, 0].T, dtype=np.int64)
    return table if len(codes) == _codes(start) else table[:, [0, 0, 1]]


def _output_codes(op: Op) -> tuple[int, int, int]:
    """Lowest output of a quantizer, the step to the next, and the number of steps."""
    if isinstance(op, RealThreshold):
        return op.base, op.step, len(op.levels[0])
    assert isinstance(op, Quantize)
    if op.out_type.bipolar:
        return -1, 2, 1
    return op.low, 1, op.high - op.low


def _zero_point(op: Op) -> int:
    return floor(op.zero_point) if isinstance(op, Quantize) else 0


def _levels(graph: Graph, chain: _Chain, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Integer at which each channel (or all alike: one row) reaches each code, and ``falling``."""
    parts = []
    step = max(1, CHUNK // chain.start.shape[2])
    for first in range(0, len(codes), step):
        reach = steps_of(codes[first:first + step].tolist())
        for node in reversed(chain.nodes):
            before = graph.tensor(node.inputs[0])
            if isinstance(node.op, Affine) and before.dtype != REAL:
                continue  # the integers stay, their scale and offset change
            reach = reach.through(node.op)
            if not isinstance(node.op, Bias | Clip) and before.dtype != REAL:
                reach = reach.codes(before)
        parts.append(reach.levels(chain.start.dtype))
    return np.concatenate([levels for levels, _ in parts], axis=1), parts[0][1]


def _by_code(levels: np.ndarray, base: int, out_type, start: Tensor) -> np.ndarray:
    """Levels for each code of ``out_type`` above its lowest, for steps of 1 from ``base``."""
    codes = np.arange(out_type.low + 1, out_type.high + 1)
    padded = np.concatenate([np.full((len(levels), 1), start.dtype.low), levels,
                             np.full((len(levels), 1), start.dtype.high + 1)], axis=1)
    return padded[:, np.clip(codes - base, 0, levels.shape[1] + 1)]


def _threshold(levels: np.ndarray, falling: np.ndarray, out_type, base: int,
               step: int) -> Threshold:
    levels = np.where(falling[:, None], 1 - levels, levels)
    if (levels == levels[0]).all() and (falling == falling[0]).all():
        levels, falling = levels[:1], falling[:1]
    return Threshold(levels, falling, out_type, base, step)


def _fold_wide(graph: Graph, chain: _Chain) -> ShiftAndClip:
    """Requantize for more levels than a Threshold may have; refused unless every level agrees."""
    end, start, out_type = chain.end, chain.start, chain.end.output.dtype
    base, step, number = _output_codes(end.op)
    if step == 1 and (base, base + number) == (out_type.low, out_type.high):
        codes = np.arange(base + 1, base + number + 1)
        # A few levels first: most chains that no multiplier equals fail on these.
        for part in (codes[np.linspace(0, number - 1, 257).astype(int)], codes):
            levels, falling = _levels(graph, chain, part)
            found = find_multiplier(levels, falling, part, start.dtype, out_type,
                                    _zero_point(end.op))
            if found is None:
                break
            if len(part) == number:
                return found
    raise ModelError(f"{end.name}: {number} levels are too many to compare with (at most "
                     f"{MAX_LEVELS}), and no multiplier and shift equals this activation for every "
                     f"value of {chain.source} ({start.dtype}); choose an output type of at most "
                     f"{MAX_LEVELS.bit_length() - 1} bits, or a scale that is a power of two "
                     f"times that of {chain.source}")


def _drop_batchnorm(graph: Graph, node: Node) -> Graph:
    before = node.inputs[0]
    if before == graph.input and node.name == graph.output:
        raise ModelError(f"{node.name}: the network only rescales its input {before}; there is "
                         f"nothing to build")
    if before != graph.input and (node.name == graph.output or graph.users(before) == (node,)):
        old = graph.node(before)
        output = Tensor(old.output.shape, old.output.dtype, node.output.scale, node.output.offset)
        graph = graph.with_nodes(Node(n.name, n.op, n.inputs, output) if n.name == before else n
                                 for n in graph.nodes)
    return redirect(graph, {node.name: before})


def _refuse_real(graph: Graph) -> None:
    """Name each node at which real numbers begin and stay, and where they end up."""
    tensors = graph.tensors()
    problems = []
    for node in graph.nodes:
        if node.output.dtype != REAL or any(tensors[name].dtype == REAL for name in node.inputs):
            continue
        reached, names = None, [node.name]
        while names and reached is None:
            name = names.pop(0)
            if name == graph.output:
                reached = "the output"
            for user in graph.users(name):
                if isinstance(user.op, RealOp) and user.output.dtype == REAL:
                    names.append(user.name)
                else:
                    reached = reached or user.name
        problems.append(f"{node.name}: its result reaches {reached} unquantized; put a quantize or "
                        f"threshold layer between {node.name} and {reached}")
    if problems:
        raise ModelError(*problems)
