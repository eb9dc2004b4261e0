"""Sums of unsigned numbers with constant weights, in which equal parts are shared.

A weight is a few signed powers of two (canonical signed digits). Numbers that appear together in
several sums, two or three of them with the same signs and distances, are added once, and their sum
takes their place: the one that saves most first, as long as it saves LUTs. What is left of each sum
is compressed as a bit heap. Where it makes the weights cheaper, as it halves those that are -1 or
+1, all of a sum's weights are moved by one, which the sum of all inputs makes up for. Negative
numbers are complements, ``-x = ~x - (2**n - 1)``, and the
constants that these leave over belong to the sum's offset, which is known beforehand.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from .bit_heap import IDENTITY, INVERTED, ONE, Compression, Stage, Term, compress

__all__ = ["ConstantSums", "constant_sums", "signed_digits", "together"]

BIT_PRICE = 0.85
"""LUTs that a bit of a heap costs, about."""

LEVELS_TRIED = (3, 2, 1)
"""Most shared sums on the way from an input to a result. Each takes clocks, in which what does not
go through it waits in registers, so fewer can be cheaper."""

FF_PRICE = 0.1  # LUTs

TRIED_BITS = 4096
"""Bits of all sums up to which all of these are tried, and not the first alone."""

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
    digits = []
    while rest.any():
        # An odd number takes the digit that leaves a multiple of four.
        digit = np.where(rest & 1, 2 - (rest & 3), 0)
        digits.append(digit)
        rest = (rest - digit) >> 1
    return np.stack(digits, axis=-1) if digits else np.zeros((*rest.shape, 1), dtype=np.int64)


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
    found = []
    for levels in LEVELS_TRIED:
        sharing = _Sharing(numbers, a_width, levels)
        bits = np.count_nonzero(sharing.digits) * a_width
        while sharing.step():
            pass
        found.append(sharing.build(widths, constants))
        if bits > TRIED_BITS:
            break
    return min(found, key=lambda sums: _price(sums.compression))


def _price(compression: Compression) -> float:
    """A chip has two flip-flops for each LUT, and what needs fewer of them also takes fewer clocks.
    """
    used = compression.resources
    return used.lut + FF_PRICE * used.ff


class _Sharing:
    """Digits that are left: (numbers, sums, distances) entries -1, 0, 1."""

    def __init__(self, weights: np.ndarray, a_width: int, most_levels: int):
        sums, inputs = weights.shape
        self.a_width, self.inputs, self.most_levels = a_width, inputs, most_levels
        self.moved = _moves(weights, a_width)
        weights = weights + self.moved[:, None]
        digits = signed_digits(weights.T)
        self.distances = digits.shape[2]
        self.digits = np.ascontiguousarray(digits, dtype=np.int8)
        high = (1 << a_width) - 1
        self.highs = [high] * inputs
        self.levels = [0] * inputs
        self.parts: list[_Part] = []
        self._digits_changed()
        self.counts = np.zeros((inputs, inputs, 2 * self.distances - 1, 2), dtype=np.int32)
        self._count(np.arange(inputs))

    def _digits_changed(self) -> None:
        """Digits of each number in a row, and where there are any, for products of matrices."""
        self.signs = self.digits.reshape(len(self.digits), -1).astype(np.float32)
        self.there = abs(self.signs)

    def _count(self, rows: np.ndarray) -> None:
        """How often numbers appear together: (first, second, distance, unlike signs)."""
        digits, most = self.digits, self.distances
        for distance in range(1 - most, most):
            # The second number is `distance` bits above the first.
            low, high = max(0, -distance), most - max(0, distance)
            first = digits[:, :, low:high].reshape(len(digits), -1).astype(np.float32)
            second = digits[:, :, low + distance:high + distance].reshape(
                len(digits), -1).astype(np.float32)
            signs = first[rows] @ second.T
            together = abs(first[rows]) @ abs(second).T
            if distance == 0:
                signs[np.arange(len(rows)), rows] = together[np.arange(len(rows)), rows] = 0
            same = ((together + signs) / 2).astype(np.int32)
            unlike = ((together - signs) / 2).astype(np.int32)
            at = distance + most - 1
            self.counts[rows, :, at, 0], self.counts[rows, :, at, 1] = same, unlike
            self.counts[:, rows, 2 * most - 2 - at, 0] = same.T
            self.counts[:, rows, 2 * most - 2 - at, 1] = unlike.T

    def step(self) -> bool:
        """Share the part that saves most; whether there is one."""
        best: tuple[float, _Part] | None = None
        flat = self.counts.reshape(-1)
        # The most frequent ones: many are equal, which makes a partition slow.
        places: list[int] = []
        frequency = int(flat.max())
        while frequency > 1 and len(places) < 4 * CANDIDATES:
            equal = np.flatnonzero(flat == frequency)
            step = max(1, len(equal) // (4 * CANDIDATES - len(places)))
            places += equal[::step][:4 * CANDIDATES - len(places)].tolist()
            frequency -= 1
        for place in places:
            first, second, at, unlike = np.unravel_index(place, self.counts.shape)
            distance = int(at) - self.distances + 1
            if distance < 0 or distance == 0 and second < first:
                continue  # the same pair seen from its other end
            pair = _Part(((int(first), 0, False), (int(second), distance, bool(unlike))))
            for part in (pair, self._third(pair)):
                saved = self._saved(part) if part else 0.0
                if part and saved > 0 and (best is None or saved > best[0]):
                    best = saved, part
        if best is None:
            return False
        self._share(best[1])
        return True

    def _uses(self, part: _Part) -> np.ndarray:
        """(sums, distances) entries -1, 0, 1: where a part appears, and with which sign."""
        (first, *_), *others = part.members
        used = self.digits[first].copy()  # at distance 0, with its own sign
        for index, distance, off in others:
            there = self.digits[index][:, distance:]
            low = used[:, :self.distances - distance]
            low *= low == (-there if off else there)
            used[:, self.distances - distance:] = 0
        return used

    def _third(self, pair: _Part) -> _Part | None:
        """The number that most often joins a pair, at the distance 0 of its first."""
        used = self._uses(pair)
        flat = used.reshape(-1).astype(np.float32)
        signs, together = self.signs @ flat, self.there @ abs(flat)
        for index, *_ in pair.members:
            signs[index] = together[index] = 0
        same, unlike = (together + signs) / 2, (together - signs) / 2
        index = int(np.argmax(np.maximum(same, unlike)))
        if max(same[index], unlike[index]) < 2:
            return None
        return _Part((*pair.members, (index, 0, bool(unlike[index] > same[index]))))

    def _high(self, part: _Part) -> int:
        return sum(_reached(self.highs[index], off) << distance
                   for index, distance, off in part.members)

    def _saved(self, part: _Part) -> float:
        """LUTs that sharing a part saves."""
        if 1 + max(self.levels[index] for index, *_ in part.members) > self.most_levels:
            return 0.0
        uses = int(np.count_nonzero(self._uses(part)))
        bits = sum(self.highs[index].bit_length() for index, *_ in part.members)
        own = self._high(part).bit_length()
        cost = 1.0 if bits == 3 else own if len(part.members) == 3 else own - 1
        return uses * (bits - own) * BIT_PRICE - cost

    def _share(self, part: _Part) -> None:
        used = self._uses(part)
        for index, distance, off in part.members:
            sign = -1 if off else 1
            self.digits[index][:, distance:] -= (
                sign * used[:, :self.distances - distance]).astype(np.int8)
        self.parts.append(part)
        self.highs.append(self._high(part))
        self.levels.append(1 + max(self.levels[index] for index, *_ in part.members))
        self.digits = np.concatenate([self.digits, used[None]])
        self._digits_changed()
        number = len(self.digits)
        grown = np.zeros((number, number, *self.counts.shape[2:]), dtype=np.int32)
        grown[:-1, :-1] = self.counts
        self.counts = grown
        self._count(np.array([*(index for index, *_ in part.members), number - 1]))

    def build(self, widths: Sequence[int], constants: Sequence[int] | None) -> ConstantSums:
        """The hardware: shared parts level by level, then the sums."""
        numbers = [_Number(tuple(range(n * self.a_width, (n + 1) * self.a_width)), self.highs[n],
                           0, 0) for n in range(self.inputs)]
        numbers += [None] * len(self.parts)  # type: ignore[list-item]
        stages: list[Stage] = []
        nets = self.inputs * self.a_width
        counters: list = []
        total: _Number | None = None
        if self.moved.any():
            # The sum of all inputs: made beside the shared parts.
            columns, offset = _heap([(number, 0, False) for number in numbers[:self.inputs]])
            high = sum(self.highs[:self.inputs])
            of_all = compress(columns, high.bit_length(), nets)
            nets = of_all.nets
            counters += of_all.counters
            total = _Number(of_all.output, high, offset, 0)
        for level in range(1, max(self.levels) + 1):
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
            if total and self.moved[s]:
                members.append((total, 0, bool(self.moved[s] > 0)))
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


def _moves(weights: np.ndarray, a_width: int) -> np.ndarray:
    """(sums,) -1, 0 or 1: what is added to each weight of a sum to be taken off with the sum of
    all inputs."""
    inputs = weights.shape[1]
    high = inputs * ((1 << a_width) - 1)
    bits = [np.count_nonzero(signed_digits(weights + move), axis=(1, 2)) * a_width
            + (high.bit_length() if move else 0) for move in (0, 1, -1)]
    best = np.argmin(bits, axis=0)
    fewest = np.min(bits, axis=0)
    moves = np.array([0, 1, -1])[best] * (fewest < MOVED_SHARE * bits[0])
    # The sum of all inputs has its price too.
    saved = (bits[0] - fewest)[moves != 0].sum()
    return moves if saved > inputs * a_width else np.zeros_like(moves)


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
