"""Multipliers of a sum that only levels look at -> smaller ones."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from math import prod

import numpy as np

from ..graph import Graph, Node, Tensor
from ..ops import Add, Requantize, Threshold
from ..types import NumType, smallest_type
from .rewrite import multiplies, prune, unique_name

__all__ = ["shrink_multipliers"]

MOST_COMBINATIONS = 1 << 20
"""Of the integers of all summands, each of which is tried."""

MOST_STEPS = 1 << 12  # largest multiplier that is tried
MOST_WAYS = 4  # factors that are rounded down and up on their own
BATCH = 1 << 8  # steps at a time
NEAR = 8  # combinations on each side of a level that candidates are tried on first
MOST_TRIALS = 32  # candidates tried on all combinations


def shrink_multipliers(graph: Graph) -> Graph:
    """Give an Add whose result only a Threshold reads the smallest multipliers that do.

    Requires exact types, integers only. Tensors of unequal scales are brought to one step with
    multipliers, of many bits where the scales are arbitrary numbers. But only which sums reach
    which level matters: smaller multipliers of about the same ratio, with other levels, are equal
    if they are for each combination of the summands' integers. All combinations are tried.
    """
    for name in [n.name for n in graph.nodes if isinstance(n.op, Add)]:
        users = graph.users(name)
        if len(users) == 1 and name != graph.output and isinstance(users[0].op, Threshold):
            graph = _shrunk(graph, graph.node(name), users[0]) or graph
    return graph


@dataclass(frozen=True)
class _Summand:
    """``factors[c] * x`` for the tensor ``source``."""

    source: str
    tensor: Tensor
    factors: np.ndarray

    def integers(self) -> np.ndarray:
        """All that the tensor's type has."""
        every = np.arange(self.tensor.dtype.low, self.tensor.dtype.high + 1)
        return every[self.tensor.dtype.contains(every)]


def _shrunk(graph: Graph, add: Node, act: Node) -> Graph | None:
    summands = [_summand(graph, name) for name in add.inputs]
    op, channels = act.op, add.output.shape[2]
    assert isinstance(op, Threshold)
    factors = np.stack([np.broadcast_to(s.factors, channels) for s in summands], axis=1)
    rows = np.unique(factors, axis=0)
    if len(rows) * prod(_count(s.tensor.dtype) for s in summands) > MOST_COMBINATIONS:
        return None
    levels = np.broadcast_to(op.levels, (channels, op.levels.shape[1]))
    negate = np.broadcast_to(op.negate, channels)[:, None]
    bounds = np.where(negate, 1 - levels, levels)  # a sum is above from here on
    new_factors, new_bounds = factors.copy(), bounds.copy()
    for row in rows:
        group = (factors == row).all(axis=1)
        every = np.unique(bounds[group])
        found = _smallest([s.integers() for s in summands], row, every)
        if found is None:
            return None
        new_factors[group] = found[0]
        new_bounds[group] = found[1][np.searchsorted(every, bounds[group])]
    nodes = [_scaled(graph, add, number, summand, new_factors[:, number])
             for number, summand in enumerate(summands)]
    inputs = tuple(s.source if node is None else node.name for s, node in zip(summands, nodes))
    types = tuple(s.tensor.dtype if node is None else node.output.dtype
                  for s, node in zip(summands, nodes))
    total = Tensor(add.output.shape, Add().result_type(types, ()))
    levels = np.where(negate, 1 - new_bounds, new_bounds)
    if len(op.levels) == 1 and (levels == levels[0]).all():
        levels = levels[:1]
    changed = {add.name: [*(n for n in nodes if n is not None),
                          Node(add.name, Add(), inputs, total)],
               act.name: [replace(act, op=replace(op, levels=levels))]}
    return prune(graph.with_nodes(n for old in graph.nodes for n in changed.get(old.name, [old])))


def _summand(graph: Graph, name: str) -> _Summand:
    if name not in (graph.input, graph.output) and len(graph.users(name)) == 1:
        node = graph.node(name)
        before = graph.tensor(node.inputs[0])
        if isinstance(node.op, Requantize) and multiplies(node.op, before.dtype):
            return _Summand(node.inputs[0], before, node.op.multiplier)
    return _Summand(name, graph.tensor(name), np.ones(1, dtype=np.int64))


def _scaled(graph: Graph, add: Node, number: int, summand: _Summand,
            factors: np.ndarray) -> Node | None:
    """What multiplies a summand; None where all factors are 1."""
    if (factors == 1).all():
        return None
    tensor = summand.tensor
    ends = np.outer(factors, [tensor.dtype.low, tensor.dtype.high])
    dtype = smallest_type(ends.min(), ends.max())
    op = Requantize(factors[:1] if (factors == factors[0]).all() else factors, np.zeros(1), 0,
                    "floor", dtype)
    return Node(unique_name(graph, f"{add.name}_factor{number}"), op, (summand.source,),
                Tensor(tensor.shape, dtype))


def _count(dtype: NumType) -> int:
    return dtype.high - dtype.low + (not dtype.bipolar)


def _smallest(integers: list[np.ndarray], factors: np.ndarray,
              bounds: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """The smallest multipliers that keep the combinations at or above each of ``bounds`` apart
    from those below, and the new bounds; None if ``factors`` are the smallest that were found."""
    combinations = np.stack(np.meshgrid(*integers, indexing="ij"), axis=-1)
    combinations = combinations.reshape(-1, len(integers))
    sums = combinations @ factors
    order = np.argsort(sums, kind="stable")
    combinations, sums = combinations[order], sums[order]
    places = np.searchsorted(sums, bounds)  # number of combinations below each
    inner = np.unique(places[(places > 0) & (places < len(sums))])
    near = (inner[:, None] + np.arange(-NEAR, NEAR)).reshape(-1)
    near = np.unique(np.append(near, (0, len(sums) - 1)).clip(0, len(sums) - 1))
    trials = 0
    for batch in _candidates(factors):
        _, _, apart = _sides(combinations[near] @ batch.T, np.searchsorted(near, inner))
        for candidate in batch[apart]:
            trials += 1
            if trials > MOST_TRIALS:
                return None
            new = combinations @ candidate
            _, above, good = _sides(new[:, None], inner)
            if good.all():
                rows = np.append(above[:, 0], (new.min(), new.max() + 1))
                place = np.searchsorted(inner, places)
                place[places == 0], place[places == len(sums)] = len(inner), len(inner) + 1
                return candidate, rows[place]
    return None


def _sides(sums: np.ndarray, places: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For columns of sums: the largest before each place, the smallest from there on, and which
    columns have the first below the second everywhere."""
    below = np.maximum.accumulate(sums, axis=0)[places - 1]
    above = np.minimum.accumulate(sums[::-1], axis=0)[::-1][places]
    return below, above, (below < above).all(axis=0)


def _candidates(factors: np.ndarray) -> Iterator[np.ndarray]:
    """Batches of smaller factors of fewer bits, smallest first: for each number that the largest
    factor becomes, those just below and above the ratio."""
    sizes, most = abs(factors), int(abs(factors).max())
    bits = _bits(sizes)
    ways = np.array(list(product((0, 1), repeat=min(len(sizes), MOST_WAYS))))
    up = np.concatenate([ways, np.repeat(ways[:, -1:], len(sizes) - ways.shape[1], axis=1)], axis=1)
    for first in range(1, min(most, MOST_STEPS), BATCH):
        largest = np.arange(first, min(first + BATCH, most, MOST_STEPS))[:, None, None]
        below = sizes * largest // most
        found = (below + up * (below * most < sizes * largest)).reshape(-1, len(sizes))
        good = ((found > 0) | (sizes == 0)).all(axis=1) & (_bits(found) < bits)
        found, places = np.unique(found[good], axis=0, return_index=True)
        yield found[np.argsort(places)] * np.sign(factors)


def _bits(sizes: np.ndarray) -> np.ndarray:
    """Bits of rows of numbers from 0 up, below 2**52."""
    return np.ceil(np.log2(sizes + 1.0)).sum(axis=-1)
