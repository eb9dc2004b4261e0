"""Sums of unsigned numbers with constant weights, in which equal parts are shared.

A weight is a few signed powers of two (canonical signed digits). Numbers that appear together in
several sums, two or three of them with the same signs and distances, are added once, and their sum
takes their place: the one that saves most first, as long as it saves LUTs. What is left of each sum
is compressed as a bit heap. Where it makes the weights cheaper, as it halves those that are -1 or
+1, all of a sum's weights are moved by one, which the sum of all inputs makes up for. Negative
numbers are complements, ``-x = ~x - (2**n - 1)``, and the constants that these leave over belong to
the sum's offset, which is known beforehand.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ..matmul import exact_matmul
from .bit_heap import IDENTITY, INVERTED, ONE, Compression, Stage, Term, compress

__all__ = ["BIT_PRICE", "ConstantSums", "connected", "constant_sums", "moves", "signed_digits",
           "together"]

BIT_PRICE = 0.85
"""LUTs that a bit of a heap costs, about."""

LEVELS_TRIED = (3, 2, 1)
"""Most shared sums on the way from an input to a result. Each takes clocks, in which what does not
go through it waits in registers, so fewer can be cheaper."""

FF_PRICE = 0.1  # LUTs

TRIED_BITS = 4096
"""Bits of sums with inputs in common up to which all of these are tried, and not the first alone.
"""

MOVED_SHARE = 0.75
"""Moved weights are taken where a sum's digits become fewer by this factor: of those that are left
fewer can be shared."""

CANDIDATES = 12
"""Pairs that are looked at in each step, the most frequent ones."""


@dataclass(frozen=True)
class ConstantSums:
    """Hardware of all sums together.

    Parameters
    ----------
    compression
        Its output is the bits of sum 0, then of sum 1, and so on.
    widths
        Bits of each sum.
    offsets
        By how much each exceeds ``sum(weights * a)``, modulo ``2 ** width``; with given constants,
        these.
    """

    compression: Compression
    widths: tuple[int, ...]
    offsets: tuple[int, ...]


@dataclass(frozen=True)
class _Number:
    """An unsigned number: the bits' nets, ONE or None for constants, and its largest value.

    ``offset``: by how much it exceeds the sum of inputs that it stands for; ``level``: of
    registers that it comes behind.
    """

    nets: tuple[int | None, ...]
    high: int
    offset: int
    level: int


@dataclass(frozen=True)
class _Part:
    """Numbers to be added: index, distance in bits, and whether it is taken off."""

    members: tuple[tuple[int, int, bool], ...]


def signed_digits(weights: np.ndarray) -> np.ndarray:
    """(..., digits) entries -1, 0 and 1: canonical signed digits, the lowest first."""
    rest = np.asarray(weights, dtype=np.int64)
    low, high = rest.min(initial=0), rest.max(initial=0)
    if high - low < rest.size - 1:  # many weights are equal
        return signed_digits(np.arange(low, high + 1))[rest - low]
    digits = []
    while rest.any():
        # An odd number takes the digit that leaves a multiple of four.
        digit = np.where(rest & 1, 2 - (rest & 3), 0)
        digits.append(digit.astype(np.int8))
        rest = (rest - digit) >> 1
    return np.stack(digits, axis=-1) if digits else np.zeros((*rest.shape, 1), dtype=np.int8)


def constant_sums(weights: np.ndarray, a_width: int, widths: Sequence[int],
                  constants: Sequence[int] | None = None) -> ConstantSums:
    """Hardware that adds inputs with constant weights.

    Parameters
    ----------
    weights
        (sums, inputs) integers.
    a_width
        Bits of an input, unsigned; bit k of input n is net ``n * a_width + k``.
    widths
        Most bits of each sum; it is right modulo ``2 ** width``.
    constants
        To be added to each sum, which then has exactly ``width`` bits. Without them each sum has
        an offset of its own, which costs nothing.
    """
    weights = np.ascontiguousarray(weights, dtype=np.int64)
    return _constant_sums(weights.tobytes(), weights.shape, a_width, tuple(widths),
                          None if constants is None else tuple(map(int, constants)))


@lru_cache(maxsize=256)
def _constant_sums(weights: bytes, shape: tuple[int, ...], a_width: int,
                   widths: tuple[int, ...], constants: tuple[int, ...] | None) -> ConstantSums:
    numbers = np.frombuffer(weights, dtype=np.int64).reshape(shape)
    moved = moves(numbers, a_width)
    digits = signed_digits((numbers + moved[:, None]).T)
    apart = connected(digits)
    most = max((np.count_nonzero(digits[np.ix_(*part)]) for part in apart), default=0)
    found = []
    for levels in LEVELS_TRIED if most * a_width <= TRIED_BITS else LEVELS_TRIED[:1]:
        shared = _Shared(digits, apart, a_width, levels)
        found.append(shared.build(moved, widths, constants))
    return min(found, key=lambda sums: _price(sums.compression))


def _price(compression: Compression) -> float:
    """A chip has two flip-flops for each LUT, and what needs fewer of them also takes fewer clocks.
    """
    used = compression.resources
    return used.lut + FF_PRICE * used.ff


class _Sharing:
    """The search for shared parts of inputs (inputs, sums, places of digits)."""

    def __init__(self, digits: np.ndarray, a_width: int, most_levels: int):
        inputs, sums, self.places = digits.shape
        self.most_levels = most_levels
        # (numbers, sums, places) entries -1, 0, 1 that are left, with room to move by all places.
        self.digits = np.zeros((inputs, sums, 2 * self.places - 1), dtype=np.int8)
        self.digits[:, :, :self.places] = digits
        self.highs = np.full(inputs, (1 << a_width) - 1, dtype=np.int64)
        self.levels = np.zeros(inputs, dtype=np.int64)
        self.parts: list[_Part] = []
        self.counts = np.zeros((0, 0, 2 * self.places - 1, 2), dtype=np.int32)
        self._count(np.arange(inputs))
        while self._step():
            pass

    def _count(self, changed: np.ndarray) -> None:
        """How often these and other numbers appear together: (first, second, distance, unlike
        signs)."""
        number, before, most = len(self.digits), len(self.counts), self.places
        grown = np.zeros((number, number, *self.counts.shape[2:]), dtype=np.int32)
        grown[:before, :before] = self.counts
        rows = self.digits.reshape(number, -1).astype(np.float32)
        # The second number is `distance` bits above the first.
        moved = np.stack([np.roll(rows[changed], distance, axis=1)
                          for distance in range(1 - most, most)], axis=1)
        signs = exact_matmul(moved, rows.T)
        together = exact_matmul(abs(moved), abs(rows).T)
        found = np.stack([together + signs, together - signs], axis=-1).swapaxes(1, 2) / 2
        found[np.arange(len(changed)), changed, most - 1] = 0
        grown[changed] = found
        grown[:, changed] = found[:, :, ::-1].swapaxes(0, 1)
        self.rows, self.counts = rows, grown

    def _step(self) -> bool:
        """Share the part that saves most; whether there is one."""
        flat = self.counts.reshape(-1)
        # The most frequent ones: many are equal, which makes a partition slow.
        found: list[int] = []
        frequency = int(flat.max(initial=0))
        while frequency > 1 and len(found) < 4 * CANDIDATES:
            equal = np.flatnonzero(flat == frequency)
            step = max(1, len(equal) // (4 * CANDIDATES - len(found)))
            found += equal[::step][:4 * CANDIDATES - len(found)].tolist()
            frequency -= 1
        if not found:
            return False
        first, second, at, unlike = np.unravel_index(found, self.counts.shape)
        distance = at - self.places + 1
        # Not the same pair seen from its other end.
        kept = (distance > 0) | (distance == 0) & (second >= first)
        zeros = np.zeros(np.count_nonzero(kept), dtype=np.int64)
        # (pairs, members) indices, distances, and whether they are taken off.
        members = np.stack([np.stack([first[kept], zeros, zeros], axis=1),
                            np.stack([second[kept], distance[kept], unlike[kept]], axis=1)], axis=1)
        used = self._joined(self.digits[members[:, 0, 0]], members[:, 1])
        thirds, often = self._thirds(members, used)
        saved = np.stack([
            self._saved(members, used),
            np.where(often < 2, 0, self._saved(np.concatenate([members, thirds[:, None]], axis=1),
                                               self._joined(used, thirds)))], axis=1)
        if saved.max(initial=0) <= 0:
            return False
        n, three = divmod(int(np.argmax(saved)), 2)
        self._share(_Part(tuple((index, distance, bool(off)) for index, distance, off in
                                [*members[n].tolist(), *[thirds[n].tolist()] * three])))
        return True

    def _joined(self, used: np.ndarray, members: np.ndarray) -> np.ndarray:
        """(parts, sums, places) entries -1, 0, 1: those uses with which a number goes too."""
        index, distance, off = members.T[:, :, None, None]
        # Beyond the end are places of the room to move, where nothing is used.
        there = self.digits[index, np.arange(used.shape[1])[:, None],
                            (distance + np.arange(used.shape[2])) % used.shape[2]]
        return used * (used == np.where(off, -there, there))

    def _thirds(self, pairs: np.ndarray, used: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """To each pair the number that most often joins it, at the distance 0 of its first, and
        how often it does."""
        uses = used.reshape(len(used), -1).astype(np.float32).T
        signs = exact_matmul(self.rows, uses)
        together = exact_matmul(abs(self.rows), abs(uses))
        same, unlike = (together + signs) / 2, (together - signs) / 2
        each = np.arange(len(pairs))
        same[pairs[:, :, 0].T, each] = unlike[pairs[:, :, 0].T, each] = 0
        index = np.argmax(np.maximum(same, unlike), axis=0)
        same, unlike = same[index, each], unlike[index, each]
        return np.stack([index, np.zeros_like(index), unlike > same], axis=1), \
            np.maximum(same, unlike)

    def _high(self, members: np.ndarray) -> np.ndarray:
        """Largest value of each part."""
        index, distance, off = np.moveaxis(members, -1, 0)
        highs = self.highs[index]
        reached = np.where(off, (1 << _bit_lengths(highs)) - 1, highs)
        return (reached << distance).sum(axis=-1)

    def _saved(self, members: np.ndarray, used: np.ndarray) -> np.ndarray:
        """LUTs that sharing each part saves."""
        bits = _bit_lengths(self.highs[members[..., 0]]).sum(axis=-1)
        own = _bit_lengths(self._high(members))
        cost = np.where(bits == 3, 1, own if members.shape[1] == 3 else own - 1)
        saved = np.count_nonzero(used, axis=(1, 2)) * (bits - own) * BIT_PRICE - cost
        return np.where(self.levels[members[..., 0]].max(axis=-1) < self.most_levels, saved, 0)

    def _share(self, part: _Part) -> None:
        members = np.array(part.members)
        used = self.digits[members[:1, 0]]
        for member in members[1:]:
            used = self._joined(used, member[None])
        for index, distance, off in part.members:
            self.digits[index] -= (-1 if off else 1) * np.roll(used[0], distance, axis=1)
        self.parts.append(part)
        self.highs = np.append(self.highs, self._high(members))
        self.levels = np.append(self.levels, 1 + self.levels[members[:, 0]].max())
        self.digits = np.concatenate([self.digits, used])
        self._count(np.unique(np.append(members[:, 0], len(self.digits) - 1)))


def _bit_lengths(numbers: np.ndarray) -> np.ndarray:
    """Of numbers below ``2 ** 53``."""
    return np.frexp(numbers.astype(np.float64))[1].astype(np.int64)


class _Shared:
    """Inputs and shared parts, and where they are added: digits (numbers, sums, distances). What
    has nothing to do with each other is searched ``apart``."""

    def __init__(self, digits: np.ndarray, apart: Sequence[tuple[np.ndarray, np.ndarray]],
                 a_width: int, most_levels: int):
        self.a_width, self.inputs = a_width, len(digits)
        self.highs = [(1 << a_width) - 1] * self.inputs
        self.levels = [0] * self.inputs
        self.parts: list[_Part] = []
        left = [np.zeros_like(digits)]
        for inputs, sums in apart:
            found = _Sharing(digits[np.ix_(inputs, sums)], a_width, most_levels)
            count = len(inputs)
            places = [*inputs.tolist(), *range(len(self.highs), len(self.highs)
                                               + len(found.parts))]
            self.parts += [_Part(tuple((places[n], distance, off)
                                       for n, distance, off in part.members))
                           for part in found.parts]
            self.highs += found.highs[count:].tolist()
            self.levels += found.levels[count:].tolist()
            rest = found.digits[:, :, :found.places]
            left[0][np.ix_(inputs, sums)] = rest[:count]
            grown = np.zeros((len(found.parts), *digits.shape[1:]), dtype=np.int8)
            grown[:, sums] = rest[count:]
            left.append(grown)
        self.digits = np.concatenate(left)

    def build(self, moved: np.ndarray, widths: Sequence[int], constants: Sequence[int] | None
              ) -> ConstantSums:
        """The hardware: shared parts level by level, then the sums."""
        numbers = [_Number(tuple(range(n * self.a_width, (n + 1) * self.a_width)), self.highs[n],
                           0, 0) for n in range(self.inputs)]
        numbers += [None] * len(self.parts)  # type: ignore[list-item]
        stages: list[Stage] = []
        nets = self.inputs * self.a_width
        counters: list = []
        total: _Number | None = None
        if moved.any():
            # The sum of all inputs: made beside the shared parts.
            columns, offset = _heap([(number, 0, False) for number in numbers[:self.inputs]])
            high = sum(self.highs[:self.inputs])
            of_all = compress(columns, high.bit_length(), nets)
            nets = of_all.nets
            counters += of_all.counters
            total = _Number(of_all.output, high, offset, 0)
        for level in range(1, max(self.levels, default=0) + 1):
            made = []
            for k, part in enumerate(self.parts):
                n = self.inputs + k
                if self.levels[n] != level:
                    continue
                members = [(numbers[index], distance, off) for index, distance, off in part.members]
                columns, offset = _heap(members)
                done = compress(columns, self.highs[n].bit_length(), nets)
                nets = done.nets
                numbers[n] = _Number(done.output, self.highs[n], offset, level)
                made.append(done)
            stages += _side_by_side(made)
            counters += [c for done in made for c in done.counters]
        if total:
            stages = _side_by_side([Compression(tuple(stages), (), (), nets), of_all])
        made, offsets, output = [], [], []
        for s, width in enumerate(widths):
            members = [(numbers[n], int(k), bool(self.digits[n, s, k] < 0))
                       for n, k in np.argwhere(self.digits[:, s]).tolist()]
            if total and moved[s]:
                members.append((total, 0, bool(moved[s] > 0)))
            columns, offset = _heap(members)
            high = sum(_reached(number.high, off) << distance for number, distance, off in members)
            if constants is None:
                width = min(width, max(1, high.bit_length()))
            else:
                missing = (constants[s] - offset) % (1 << width)
                columns += [[] for _ in range(missing.bit_length() - len(columns))]
                for k in range(missing.bit_length()):
                    columns[k] += [Term((ONE,))] * (missing >> k & 1)
                offset = constants[s]
            done = compress(columns, width, nets)
            nets = done.nets
            made.append(done)
            offsets.append(offset % (1 << width))
            output.append(done.output)
        stages += _side_by_side(made)
        counters += [c for done in made for c in done.counters]
        _keep(stages, [net for bits in output for net in bits if net is not None])
        return ConstantSums(
            Compression(tuple(stages), tuple(net for bits in output for net in bits),
                        tuple(counters), nets),
            tuple(map(len, output)), tuple(offsets))


def connected(digits: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Inputs and sums that have to do with each other, of (inputs, sums, places) digits."""
    found = []
    there = np.any(digits, axis=2)
    left = np.any(there, axis=1)
    while left.any():
        inputs, before = np.arange(len(there)) == np.argmax(left), 0
        while int(inputs.sum()) > before:
            before = int(inputs.sum())
            sums = np.any(there[inputs], axis=0)
            inputs = np.any(there[:, sums], axis=1)
        found.append((np.flatnonzero(inputs), np.flatnonzero(sums)))
        left &= ~inputs
    return found


def moves(weights: np.ndarray, a_width: int) -> np.ndarray:
    """(sums,) -1, 0 or 1: what is added to each weight of a sum to be taken off with the sum of
    all inputs."""
    inputs = weights.shape[1]
    high = inputs * ((1 << a_width) - 1)
    bits = [np.count_nonzero(signed_digits(weights + move), axis=(1, 2)) * a_width
            + (high.bit_length() if move else 0) for move in (0, 1, -1)]
    best = np.argmin(bits, axis=0)
    fewest = np.min(bits, axis=0)
    moved = np.array([0, 1, -1])[best] * (fewest < MOVED_SHARE * bits[0])
    # The sum of all inputs has its price too.
    saved = (bits[0] - fewest)[moved != 0].sum()
    return moved if saved > inputs * a_width else np.zeros_like(moved)


def _reached(high: int, off: bool) -> int:
    """Largest value of a number of at most ``high``, or of its complement."""
    return (1 << high.bit_length()) - 1 if off else high


def _heap(members: Sequence[tuple[_Number, int, bool]]) -> tuple[list[list[Term]], int]:
    """Columns of the sum of some numbers, and by how much it exceeds what they stand for."""
    columns: list[list[Term]] = []
    offset = 0
    for number, distance, off in members:
        columns += [[] for _ in range(distance + len(number.nets) - len(columns))]
        for k, net in enumerate(number.nets):
            if net is None or net == ONE:  # of 0 the complement is 1
                columns[distance + k] += [Term((ONE,))] * ((net == ONE) != off)
            else:
                columns[distance + k].append(Term((net,), INVERTED if off else IDENTITY))
        full = (1 << len(number.nets)) - 1
        offset += (full - number.offset if off else number.offset) << distance
    return columns, offset


def _side_by_side(parts: Sequence[Compression]) -> list[Stage]:
    """Compressions in the same stages; what their registers hold is left open."""
    stages: list[Stage] = []
    for part in parts:
        for n, stage in enumerate(part.stages):
            if n == len(stages):
                stages.append(Stage())
            mine = stages[n]
            for k, level in enumerate(stage.levels):
                if k == len(mine.levels):
                    mine.levels.append([])
                mine.levels[k] += level
            mine.adders += stage.adders
    return stages


def together(parts: Sequence[Compression]) -> Compression:
    """Compressions side by side, each with its own nets, whose outputs come one after the other."""
    stages = _side_by_side(parts)
    output = tuple(net for part in parts for net in part.output)
    _keep(stages, [net for net in output if net is not None])
    return Compression(tuple(stages), output, tuple(c for part in parts for c in part.counters),
                       parts[-1].nets)


def _keep(stages: Sequence[Stage], output: Sequence[int]) -> None:
    """Registers hold what any later stage reads."""
    needed = set(output)
    for stage in reversed(stages):
        needed.discard(ONE)
        stage.live = sorted(needed)
        made = {net for level in stage.levels for lut in level for net in lut.outputs}
        made |= {net for adder in stage.adders for net in adder.outputs}
        read = {net for level in stage.levels for lut in level for net in lut.nets}
        read |= {t.nets[0] for adder in stage.adders for row in adder.rows for t in row}
        needed = (needed | read) - made
