"""Chains of real operations -> Threshold, Requantize or Clip."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from fractions import Fraction
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

MAX_EVALUATED = 1 << 18
"""Most integers for which a function that is as good as equal to a bound is computed."""

NARROW_MULTIPLIER, WIDE_MULTIPLIER = 34, 48
"""Most bits of a multiplier that replaces levels, and of one where levels are too many."""

SLACK = Fraction(1, 1 << 46)
"""Twice the relative error that a function's float64 values may have, and more."""

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
    - a Requantize with a multiplier for each channel, for more than ``MAX_LEVELS`` levels, or
      for very many in all channels together;
    - a Table, where the chain rises and falls, or has more levels than that without being equal to
      a multiplication, and its input has at most ``MAX_TABLE`` integers.

    An Affine that ends in no quantizer leaves its scale and offset on the node before it if
    it is that node's only user or the output of the graph. Leaves integers only.

    Raises
    ------
    ModelError
        Real numbers reach an operation other than a quantizer; a chain rises and falls, or has
        more than ``MAX_LEVELS`` levels that equal no multiplication, and its input has more than
        ``MAX_TABLE`` integers.
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
            graph = _drop_affine(graph, graph.node(node.name))
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
    base, step, number = _output_codes(chain.end.op)
    codes = np.arange(1, number + 1) * step + base
    if not _monotone(chain.nodes):
        table = _table(chain)
        found = _levels_of_table(table, codes, chain.start)
        if found is None or number > MAX_LEVELS:
            return _alone(chain, Table(table, chain.start.dtype.low, chain.end.output.dtype))
        return _from_levels(graph, chain, *found)
    if number <= MAX_LEVELS:
        return _from_levels(graph, chain, *_levels(graph, chain, codes))
    wide = _fold_wide(graph, chain)
    if wide is not None:
        return _with_bias(graph, chain, wide)
    if _codes(chain.start) <= MAX_TABLE:
        return _alone(chain, Table(_table(chain), chain.start.dtype.low, chain.end.output.dtype))
    raise ModelError(f"{chain.end.name}: {number} levels are too many to compare with (at most "
                     f"{MAX_LEVELS}), and no multiplier and shift equals this activation for every "
                     f"value of {chain.source} ({chain.start.dtype}); choose an output type of at "
                     f"most {MAX_LEVELS.bit_length() - 1} bits, or a scale that is a power of two "
                     f"times that of {chain.source}")


def _from_levels(graph: Graph, chain: _Chain, levels: np.ndarray,
                 falling: np.ndarray) -> tuple[Node, ...]:
    """A shift or a clip, a multiplication, or comparisons."""
    end, start, out_type = chain.end, chain.start, chain.end.output.dtype
    base, step, number = _output_codes(end.op)
    if step == 1 and not falling.any():
        free = chain.alone and any(n.name == chain.source and isinstance(n.op, Conv)
                                   for n in graph.nodes)
        found = find_shift(_by_code(levels, base, out_type, start), start.dtype, out_type,
                           _zero_point(end.op), free)
        if found is not None:
            return _with_bias(graph, chain, found)
    if _is_whole(end) and levels.size * start.dtype.width > WIDE_LEVELS:
        op = find_affine(levels, falling, _slopes(chain, len(levels)),
                         np.arange(1, number + 1) + base, start.dtype, out_type, NARROW_MULTIPLIER)
        if op is not None:
            return _alone(chain, op)
    return _alone(chain, _threshold(levels, falling, out_type, base, step))


def _alone(chain: _Chain, op: Op) -> tuple[Node, ...]:
    return (Node(chain.end.name, op, (chain.source,), chain.end.output),)


def _with_bias(graph: Graph, chain: _Chain, found: ShiftAndClip) -> tuple[Node, ...]:
    start, end = chain.start, chain.end
    if found.bias is None:
        return _alone(chain, found.op)
    bias = Bias(np.broadcast_to(found.bias, start.shape[2]))
    middle = Node(unique_name(graph, f"{end.name}_bias"), bias, (chain.source,),
                  Tensor(start.shape, bias.result_type((start.dtype,), (start.shape,)),
                         start.scale, shifted(start, bias.values)))
    return middle, Node(end.name, found.op, (middle.name,), end.output)


def _is_whole(end: Node) -> bool:
    """Whether a quantizer makes every integer of its type, so that the type's bounds clip."""
    base, step, number = _output_codes(end.op)
    return step == 1 and (base, base + number) == (end.output.dtype.low, end.output.dtype.high)


def _slopes(chain: _Chain, rows: int) -> np.ndarray:
    """(rows,) float64: codes of the last quantizer per step of the start, where it is linear."""
    slopes = np.array([float(s) for s in chain.start.scale]) * np.ones(chain.start.shape[2])
    for node in chain.nodes:
        if isinstance(node.op, Affine):
            slopes = slopes * [float(s) for s in node.op.scale]
    if isinstance(chain.end.op, Quantize):
        slopes = slopes / [float(s) for s in chain.end.op.scale]
    return slopes[:rows]  # channels alike have one row


def _codes(tensor: Tensor) -> int:
    """Number of integers from the lowest to the highest of a tensor's type."""
    return tensor.dtype.high - tensor.dtype.low + 1


def _monotone(nodes: Iterable[Node]) -> bool:
    """Whether no operation of a chain rises and falls."""
    return not any(isinstance(n.op, Function) and not n.op.rising
                   or isinstance(n.op, LeakyRelu) and any(s < 0 for s in n.op.slope)
                   for n in nodes)


def _table(chain: _Chain) -> np.ndarray:
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
    table = _outputs(chain, codes, 1 if alike else start.shape[2])
    return table if len(codes) == _codes(start) else table[:, [0, 0, 1]]


def _outputs(chain: _Chain, codes: np.ndarray, channels: int) -> np.ndarray:
    """(channels, codes) integers that a chain makes of some integers of its start."""
    tensor = replace(chain.start, shape=(1, len(codes), channels))
    values = np.broadcast_to(codes[:, None], (1, 1, len(codes), channels))
    for node in chain.nodes:
        values = evaluate(node, [tensor], [values])
        tensor = replace(node.output, shape=tensor.shape)
    return np.asarray(values[0, 0].T, dtype=np.int64)


def _levels_of_table(table: np.ndarray, codes: np.ndarray,
                     start: Tensor) -> tuple[np.ndarray, np.ndarray] | None:
    """Levels at ``codes``, and ``falling``; None if a channel both rises and falls."""
    steps = np.diff(table, axis=1)
    falling = np.asarray(steps.min(axis=1) < 0)
    if (falling & (steps.max(axis=1) > 0)).any():
        return None
    levels = [len(row) - np.searchsorted(row[::-1], codes) if falls else np.searchsorted(row, codes)
              for row, falls in zip(table, falling.tolist())]
    return np.array(levels) + start.dtype.low, falling


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
    levels, falling = _invert(graph, chain, codes, Fraction(0))
    if any(isinstance(n.op, Function) for n in chain.nodes):
        ends = np.sort([_invert(graph, chain, codes, slack)[0] for slack in (-SLACK, SLACK)],
                       axis=0)
        for row, place in np.argwhere(ends[0] != ends[1]):
            least, most = ends[:, row, place].tolist()
            levels[row, place] = _settled(chain, int(codes[place]), int(row), bool(falling[row]),
                                          least, most)
    if (levels == levels[0]).all() and (falling == falling[0]).all():
        return levels[:1], falling[:1]
    return levels, falling


def _settled(chain: _Chain, code: int, channel: int, falling: bool, least: int, most: int) -> int:
    """The integer at which a channel reaches ``code``, one of ``least`` to ``most``.

    There a function's values are so near to the bound that their rounding decides: each is
    computed.
    """
    quantized = any(isinstance(n.op, Quantize | RealThreshold) for n in chain.nodes[:-1])
    if most - least > MAX_TABLE and quantized:
        # A quantizer in front gives the function one value for many of them: halve the range.
        while least < most:
            middle = (least + most) // 2
            output = _outputs(chain, np.array([middle]), chain.start.shape[2])[channel, 0]
            if (output >= code) ^ falling:
                most = middle
            else:
                least = middle + 1
        return most
    if most - least > MAX_EVALUATED:
        raise ModelError(f"{chain.end.name}: for {most - least} values of {chain.source} the "
                         f"function is as good as equal to the bound of code {code}, and rounding "
                         f"errors would decide; choose another scale, or put a quantizer of at "
                         f"most {MAX_TABLE.bit_length() - 1} bits in front of it")
    inputs = np.arange(least, most)
    inputs = inputs[chain.start.dtype.contains(inputs)]
    channels = chain.start.shape[2]
    outputs = np.concatenate([_outputs(chain, part, channels)[channel] for part in
                              np.array_split(inputs, len(inputs) * channels // CHUNK + 1)])
    reached = (outputs >= code) ^ falling
    if (np.diff(reached.astype(int)) < 0).any():
        raise ModelError(f"{chain.end.name}: the function falls by a rounding error where it "
                         f"reaches code {code}; choose another scale, or put a quantizer of at "
                         f"most {MAX_TABLE.bit_length() - 1} bits in front of it")
    return int(inputs[reached][0]) if reached.any() else most


def _invert(graph: Graph, chain: _Chain, codes: np.ndarray,
            slack: Fraction) -> tuple[np.ndarray, np.ndarray]:
    """As ``_levels``; ``slack`` moves the bounds of functions (:meth:`.levels.Reach.through`)."""
    parts = []
    step = max(1, CHUNK // chain.start.shape[2])
    for first in range(0, len(codes), step):
        reach = steps_of(codes[first:first + step].tolist())
        for node in reversed(chain.nodes):
            before = graph.tensor(node.inputs[0])
            if isinstance(node.op, Affine) and before.dtype != REAL:
                continue  # the integers stay, their scale and offset change
            reach = reach.through(node.op, slack)
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
    return Threshold(levels, falling, out_type, base, step)


def _fold_wide(graph: Graph, chain: _Chain) -> ShiftAndClip | None:
    """Requantize for more levels than a Threshold may have; None if none has exactly these."""
    end, start, out_type = chain.end, chain.start, chain.end.output.dtype
    if not _is_whole(end):
        return None
    codes = np.arange(out_type.low + 1, out_type.high + 1)
    # A few levels first: most chains that no multiplier equals fail on these.
    for part in (codes[np.linspace(0, len(codes) - 1, 257).astype(int)], codes):
        levels, falling = _levels(graph, chain, part)
        found = find_multiplier(levels, falling, part, start.dtype, out_type, _zero_point(end.op))
        if found is None:
            break
        if len(part) == len(codes):
            return found
    if len(part) < len(codes):
        levels, falling = _levels(graph, chain, codes)
    own = end.op.rounding if isinstance(end.op, Quantize) else "floor"  # matters at ties
    for rounding in dict.fromkeys(("floor", own)):
        op = find_affine(levels, falling, _slopes(chain, len(levels)), codes, start.dtype, out_type,
                         WIDE_MULTIPLIER, rounding)
        if op is not None:
            return ShiftAndClip(None, op)
    return None


def _drop_affine(graph: Graph, node: Node) -> Graph:
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
