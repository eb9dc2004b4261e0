"""Counters that take few LUTs: of turns, of places, and addresses in an order of their own.

What is only stepped through needs no numbers in order. A shift register with feedback takes one or
two LUTs whatever its length, where an adder takes one a bit (P. Alfke, "Efficient Shift Registers,
LFSR Counters, and Long Pseudo-Random Sequence Generators", XAPP052, 1996, has the taps). With one
more term it passes through 0 too, so its period is a power of two.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, reduce
from operator import and_

import numpy as np
from amaranth import Cat, Const, Mux, Signal, Value

from ..arith.bit_heap import LUT_INPUTS
from ..resources import Resources
from .export import lut, unlike
from .parts import constant_table

__all__ = ["Orbit", "counter", "counter_ahead", "credit_resources", "credits", "following",
           "increment", "spans", "turn_codes", "turns", "turns_ahead"]

SHORT_INCREMENT = 10  # bits
SHORT_PLACE = 2  # bits; so short a number in order is as small
LONGEST_ORBIT = 12  # bits

TAPS = {1: (1,), 2: (2, 1), 3: (3, 2), 4: (4, 3), 5: (5, 3), 6: (6, 5), 7: (7, 6), 8: (8, 6, 5, 4),
        9: (9, 5), 10: (10, 7), 11: (11, 9), 12: (12, 6, 4, 1), 13: (13, 4, 3, 1),
        14: (14, 5, 3, 1), 15: (15, 14), 16: (16, 15, 13, 4), 17: (17, 14), 18: (18, 11)}
"""Bits whose sum is shifted in, from 1; a register of so many bits passes through all but 0."""


def increment(value: Value) -> Value:
    """``value + 1`` in the width of ``value``, overflow dropped.

    Short ones are written bit by bit: as additions they would take a carry chain and, for each
    bit, a LUT before it and often one behind it.
    """
    if len(value) > SHORT_INCREMENT:
        return (value + 1)[:len(value)]
    return Cat(bit ^ value[:n].all() if n else ~bit for n, bit in enumerate(value))


def following(value: Signal, count: int) -> Value:
    """``value + 1``, from ``count - 1`` back to 0; a power of two wraps by itself."""
    if count & (count - 1) == 0:
        return increment(value)
    return Mux(value == count - 1, 0, increment(value))


def counter(m, count: int, step: Value, name: str) -> tuple[Value, Value]:
    """Counts 0 to ``count - 1`` at each ``step``; the count, and whether it is at its end, which is
    a register, so that nothing waits for a comparison."""
    value, end, _ = counter_ahead(m, count, step, name)
    return value, end


def counter_ahead(m, count: int, step: Value, name: str) -> tuple[Value, Value, Value]:
    """The same, and whether it will be at its end in the next clock."""
    if count == 1:
        return Const(0, 0), Const(1, 1), Const(1, 1)
    return _stepped(m, _place(count, name), count, step, in_order=True)


def turns(m, count: int, step: Value, name: str) -> tuple[Value, Value]:
    """Whether the step that comes is the last of ``count``, in turn: a register; and whether it
    will be in the next clock."""
    return turns_ahead(m, count, step, name)[1:]


def turns_ahead(m, count: int, step: Value, name: str) -> tuple[Value, Value, Value]:
    """The same, behind a code of the step, one of :func:`turn_codes`."""
    if count == 1:
        return Const(0, 0), Const(1, 1), Const(1, 1)
    return _stepped(m, _place(count, name), count, step)


def turn_codes(count: int) -> np.ndarray:
    """Codes of ``count`` steps in their order; below the next power of two."""
    place = _place(count, "place")
    return np.arange(count) if _in_order(place) else _states(len(place))[:count]


def spans(m, count: int, step: Value, name: str, ranges: Sequence[tuple[int, int]]
          ) -> tuple[Value, list[Value]]:
    """Whether the step that comes is the last of ``count``, in turn; and for each of some ranges,
    (first, behind the last), whether it is in it: registers, so that nothing waits for
    comparisons."""
    if count == 1:
        return Const(1, 1), [Const(begin <= 0 < end, 1) for begin, end in ranges]
    place = _place(count, name)
    _, last, _ = _stepped(m, place, count, step)
    inside: list[Value] = []
    # Of a short place they are tables, in whole LUTs.
    tables: list[tuple[Signal, np.ndarray]] = []
    for n, (begin, end) in enumerate(ranges):
        if begin <= 0 and end >= count or end <= begin:
            inside.append(Const(end > begin, 1))
            continue
        within = Signal(init=begin <= 0, name=f"{name}_within_{n}")
        inside.append(within)
        if 1 < len(place) <= LUT_INPUTS + 1:
            tables.append((within, _before(place, count, begin, end)))
            continue
        stays = within & (place != _code(place, end - 1)) if end < count else within & ~last
        enters = place == _code(place, begin - 1) if begin > 0 else last
        with m.If(step):
            m.d.sync += within.eq(stays | enters)
    if tables:
        words = sum(table.astype(np.int64) << n for n, (_, table) in enumerate(tables))
        found = constant_table(m, f"{name}_ranges", np.asarray(words), place, len(tables))
        with m.If(step):
            m.d.sync += [within.eq(found[n]) for n, (within, _) in enumerate(tables)]
    return last, inside


def _before(place: Value, count: int, begin: int, end: int) -> np.ndarray:
    """For each code of a place, whether the next one is in a range."""
    table = np.zeros(1 << len(place), dtype=bool)
    for n in range(count):
        table[_code(place, n)] = begin <= (n + 1) % count < end
    return table


def _place(count: int, name: str) -> Signal:
    return Signal((count - 1).bit_length(), name=name)


def _in_order(place: Value) -> bool:
    """Whether a place is counted as a number; a short one is as small, a long one has no taps."""
    return len(place) <= SHORT_PLACE or len(place) not in TAPS


def _code(place: Value, n: int) -> int:
    """What a place is after ``n`` steps."""
    return n if _in_order(place) else _state(len(place), n)


def _stepped(m, place: Signal, count: int, step: Value, *, in_order: bool = False
             ) -> tuple[Value, Value, Value]:
    """A place that is stepped; whether it is at its end, a register, and will be."""
    in_order = in_order or _in_order(place)
    end = Signal(name=f"{place.name}_end")
    will_end = Mux(step, place == (count - 2 if in_order else _code(place, count - 2)), end)
    m.d.sync += end.eq(will_end)
    with m.If(step):
        m.d.sync += place.eq(increment(place) if in_order else _shifted(place))
    if count & (count - 1):
        with m.If(step & end):  # by itself, it is the reset of the flip-flops
            m.d.sync += place.eq(0)
    return place, end, will_end


def credits(m, platform, places: int, take: Value, *give: Value, burst: int = 1
            ) -> tuple[Value, Value]:
    """Whether ``burst`` of some places are free, a register, and whether they will be in the next
    clock. ``take``: a place is taken, which is only legal while it is free. ``give``, up to two
    bits, which may be late: where all of them are true, one is given back."""
    left = Signal(range(places + 1), init=places, name="places")
    free = Signal(init=places >= burst, name="free")
    above = unlike(m, platform, "above", left, burst)
    below = unlike(m, platform, "below", left, burst - 1) if burst > 1 else Const(0, 1)
    will_be_free = lut(m, platform, "frees", _will_be_free, free, take, above, below, *give)
    m.d.sync += free.eq(will_be_free)
    with m.If(lut(m, platform, "moves", _moves, take, *give)):
        m.d.sync += left.eq(_up_or_down(left, Cat(give).all()))
    return free, will_be_free


def _moves(take, *give):
    return take ^ reduce(and_, give)


def _will_be_free(free, take, above, below, *give):
    """``above``: there are not just enough; ``below``: it is not just one that lacks."""
    given = reduce(and_, give)
    return (free & (given | ~take | above)) | (~take & given & ~below)


def credit_resources(places: int) -> Resources:
    """Of :func:`credits`."""
    bits = places.bit_length()
    return Resources(lut=bits + 1, ff=bits + 1)


def _up_or_down(value: Value, up: Value) -> Value:
    """``value`` plus 1 or less 1, in its width; one adder or, of short ones, one LUT a bit."""
    if len(value) <= 5:
        return Cat(bit ^ (Mux(up, value[:n].all(), ~value[:n].any()) if n else Const(1, 1))
                   for n, bit in enumerate(value))
    return (value + Cat(Const(1, 1), (~up).replicate(len(value) - 1)))[:len(value)]


@cache
def _states(bits: int) -> np.ndarray:
    """States in turn of a shift register of so many bits, from 0."""
    found = np.zeros(1 << bits, dtype=np.int64)
    state, below = 0, (1 << bits - 1) - 1
    for n in range(1, len(found)):
        fed = state & below == 0
        for tap in TAPS[bits]:
            fed ^= bool(state >> (tap - 1) & 1)
        state = (state << 1 | fed) & (1 << bits) - 1
        found[n] = state
    return found


def _state(bits: int, n: int) -> int:
    """The state after ``n`` steps from 0."""
    return int(_states(bits)[n])


def _shifted(value: Value) -> Value:
    """The state behind ``value``."""
    fed = ~value[:-1].any() if len(value) > 1 else Const(1, 1)
    for tap in TAPS[len(value)]:
        fed = fed ^ value[tap - 1]
    return Cat(fed, value[:-1])


@dataclass(frozen=True)
class Orbit:
    """An order of the addresses of a memory: ``low`` bits of a shift register and, above them, a
    number that counts its rounds up to ``rounds``.

    Parameters
    ----------
    low
        Bits, at least 1.
    rounds
        At least 1.
    """

    low: int
    rounds: int

    @classmethod
    def of(cls, words: int, cost: Callable[[int], float]) -> "Orbit":
        """Of the least memory for at least so many words, by what a memory of so many costs, and
        the longest shift register."""
        least = cost(words)
        bits = max(1, (words - 1).bit_length())
        for low in range(min(bits, LONGEST_ORBIT), 0, -1):
            orbit = cls(low, -(-words >> low))
            if cost(orbit.words) <= least:
                return orbit
        return cls(1, -(-words // 2))

    @property
    def words(self) -> int:
        """Addresses, which follow each other in a ring."""
        return self.rounds << self.low

    @property
    def width(self) -> int:
        return self.low + (self.rounds - 1).bit_length()

    @property
    def resources(self) -> Resources:
        """Of a pointer."""
        none = 1.8 * (self.low > 6)  # of its lower bits are set
        return Resources(lut=1 + none + 3 * (self.rounds > 1), ff=self.width)

    def address(self, n: int) -> int:
        """The address ``n`` steps behind 0."""
        n %= self.words
        return n >> self.low << self.low | _state(self.low, n & (1 << self.low) - 1)

    def before(self, address: int) -> int:
        """The one in front of an address."""
        return next(self.address(n - 1) for n in range(self.words) if self.address(n) == address)

    def following(self, address: Value) -> Value:
        """The one behind an address."""
        low, high = address[:self.low], address[self.low:]
        if self.rounds == 1:
            return _shifted(low)
        around = low == 1 << self.low - 1  # all states lead from 0 to this one
        return Cat(_shifted(low), Mux(around, Mux(high == self.rounds - 1, 0, increment(high)),
                                      high))

    def pointer(self, m, step: Value, name: str, *, period: int = 0, start: int = 0) -> Signal:
        """A register that goes from address to address at each step, the first ``period`` of them
        if given, 2 or more; it begins ``start`` steps behind 0."""
        place = Signal(self.width, init=self.address(start), name=name)
        with m.If(step):
            m.d.sync += place.eq(self.following(place))
        if period not in (0, self.words):
            end = Signal(name=f"{name}_end")
            with m.If(step):
                m.d.sync += end.eq(place == self.address(period - 2))
            with m.If(step & end):
                m.d.sync += place.eq(0)
        return place
