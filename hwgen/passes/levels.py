"""Invert chains of monotone operations exactly: at which input does each output begin?

A :class:`Reach` holds, for each channel and each step of an activation, the set of values of one
tensor from which the activation gets at least that far. Each operation, from the last one back to
the first, turns the set of its outputs into the set of its inputs. All numbers are exact: object
arrays of Python integers, numerator and denominator, that broadcast over channels x steps.
"""

import struct
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from ..graph import Tensor
from ..ops import Bias, Clip, Op
from ..real_ops import (
    LARGEST,
    Affine,
    Clamp,
    Function,
    LeakyRelu,
    Quantize,
    RealThreshold,
)
from ..types import NumType

__all__ = ["Reach", "steps_of"]

OPEN, ALL, NONE = 0, 1, -1


@dataclass(frozen=True)
class Reach:
    """The values ``v >= bound`` (``v > bound`` where strict), or all the others.

    Parameters
    ----------
    numerator, denominator
        Bound, (channels or 1, steps); denominators are positive.
    strict
        Whether the bound itself is left out.
    fixed
        OPEN where the bound counts, ALL or NONE where every or no value is above it.
    falling
        (channels or 1, 1): the activation is reached by the values that are *not* above.
    """

    numerator: np.ndarray
    denominator: np.ndarray
    strict: np.ndarray
    fixed: np.ndarray
    falling: np.ndarray

    def through(self, op: Op, slack: Fraction = Fraction(0)) -> "Reach":
        """The inputs of ``op`` whose outputs are in the set.

        A :class:`~hwgen.real_ops.Function` rises but for the last bits of its float64 values: with
        a positive ``slack`` the inputs from the bound on are certainly in the set, with a negative
        one those below it certainly are not, if its values are off by less than half that part.
        """
        if isinstance(op, Quantize):
            return self._round_up()._quantize(op)
        if isinstance(op, RealThreshold):
            return self._round_up()._real_threshold(op)
        if isinstance(op, Affine):
            return self.affine(op.scale, op.offset)
        if isinstance(op, Bias):
            return self.affine((Fraction(1),), tuple(Fraction(int(b)) for b in op.values))
        if isinstance(op, Clamp | Clip):
            return self._clamp(op.low, op.high)
        if isinstance(op, LeakyRelu):
            return self._leaky_relu(op)
        if isinstance(op, Function) and op.rising:
            return self._function(op, slack)
        raise TypeError(f"{type(op).__name__} is not monotone")

    def codes(self, tensor: Tensor) -> "Reach":
        """The integers of ``tensor`` whose real values are in the set."""
        return self.affine(tensor.scale, tensor.offset)

    def affine(self, scale: tuple[Fraction, ...], offset: tuple[Fraction, ...]) -> "Reach":
        """The ``v`` whose ``v * scale + offset``, per channel, are in the set."""
        channels = max(len(scale), len(offset))
        s = _columns(scale * (channels if len(scale) == 1 else 1))
        o = _columns(offset * (channels if len(offset) == 1 else 1))
        rising, zero = (s[0] >= 0).astype(bool), (s[0] == 0).astype(bool)
        above = self.numerator * o[1] - o[0] * self.denominator  # bound - offset, times ...
        below = self.denominator * o[1]                          # ... this
        # A slope of 0 makes every value the offset, which is above the bound or not.
        constant = np.where(self.fixed != OPEN, self.fixed,
                            np.where(_holds(self.strict, above), ALL, NONE))
        return Reach(np.where(rising, above, -above) * s[1],
                     below * np.where(zero, 1, abs(s[0])), self.strict ^ ~rising,
                     np.where(zero, constant, np.where(rising, self.fixed, -self.fixed)),
                     self.falling ^ ~rising)

    def levels(self, dtype: NumType) -> tuple[np.ndarray, np.ndarray]:
        """Smallest integer above each bound, and ``falling``; int64.

        Bounds beside ``dtype`` give its lowest value (always reached) or its highest plus one
        (never reached).
        """
        integers = self._round_up()
        low, high = dtype.low, dtype.high + 1
        levels = np.where(integers.fixed == ALL, low,
                          np.where(integers.fixed == NONE, high, integers.numerator))
        levels = np.minimum(np.maximum(levels, low), high)
        return levels.astype(np.int64), np.broadcast_to(integers.falling, (len(levels), 1))[:, 0]

    def _round_up(self) -> "Reach":
        """The same set of integers, with integer bounds that belong to it."""
        bound = np.where(self.strict, self.numerator // self.denominator + 1,
                         -(-self.numerator // self.denominator))
        return replace(self, numerator=bound, denominator=_objects(1),
                       strict=np.zeros((1, 1), dtype=bool))

    def _clamp(self, low, high) -> "Reach":
        fixed = self.fixed
        if low is not None:  # outputs start at the bound ``low``
            low = Fraction(low)
            room = self.numerator * low.denominator - low.numerator * self.denominator
            fixed = np.where((fixed == OPEN) & _holds(self.strict, room), ALL, fixed)
        if high is not None:
            high = Fraction(high)
            room = self.numerator * high.denominator - high.numerator * self.denominator
            fixed = np.where((fixed == OPEN) & ~_holds(self.strict, room), NONE, fixed)
        return replace(self, fixed=fixed)

    def _leaky_relu(self, op: LeakyRelu) -> "Reach":
        slope = _columns(op.slope)
        if (slope[0] < 0).any():
            raise TypeError("LeakyRelu with a negative slope is not monotone")
        flat = _true(slope[0] == 0)
        below = _true(self.numerator < 0)
        # A slope of 0 makes every value below 0 the output 0, which is above the bound or not.
        always = flat & (self.fixed == OPEN) & (below | (_true(self.numerator == 0) & ~self.strict))
        return replace(
            self, numerator=np.where(below, self.numerator * slope[1], self.numerator),
            denominator=np.where(below, self.denominator * np.where(flat, 1, slope[0]),
                                 self.denominator),
            fixed=np.where(always, ALL, self.fixed))

    def _function(self, op: Function, slack: Fraction) -> "Reach":
        """Found by bisection, once for each distinct bound."""
        shape = np.broadcast_shapes(self.numerator.shape, self.denominator.shape,
                                    self.strict.shape, self.fixed.shape)
        found: dict[tuple[Fraction, bool], tuple[Fraction, bool, int]] = {}
        numerator, denominator = np.empty(shape, dtype=object), np.empty(shape, dtype=object)
        strict, fixed = np.empty(shape, dtype=bool), np.array(np.broadcast_to(self.fixed, shape))
        parts = (np.broadcast_to(p, shape) for p in (self.numerator, self.denominator, self.strict))
        for place, n, d, s in zip(np.ndindex(shape), *(p.reshape(-1) for p in parts)):
            key = Fraction(int(n), int(d)), bool(s)
            if key not in found:
                found[key] = _least_argument(op, key[0] + abs(key[0]) * slack, key[1])
            bound, strict[place], kind = found[key]
            numerator[place], denominator[place] = bound.numerator, bound.denominator
            if fixed[place] == OPEN:
                fixed[place] = kind
        return Reach(numerator, denominator, strict, fixed, self.falling)

    def _quantize(self, op: Quantize) -> "Reach":
        code = self.numerator
        fixed = np.where(self.fixed != OPEN, self.fixed,
                         np.where(_true(code <= op.low), ALL,
                                  np.where(_true(code > op.high), NONE, OPEN)))
        if op.out_type.bipolar:  # codes 0 and 1: +1, from 0 on
            return Reach(code * 0, _objects(1), np.zeros(code.shape, dtype=bool), fixed,
                         self.falling)
        twice, strict = _rounding_bound(code, op.rounding)
        real = Reach(twice, _objects(2), strict, fixed, self.falling)
        return real.affine(tuple(1 / s for s in op.scale), (Fraction(op.zero_point),))

    def _real_threshold(self, op: RealThreshold) -> "Reach":
        number = len(op.levels[0])
        count = -((op.base - self.numerator) // op.step)  # levels to reach for that code
        fixed = np.where(self.fixed != OPEN, self.fixed,
                         np.where(_true(count <= 0), ALL,
                                  np.where(_true(count > number), NONE, OPEN)))
        place = np.minimum(np.maximum(count, 1), number).astype(np.int64) - 1
        rows = max(len(op.levels), len(place))
        place = np.broadcast_to(place, (rows, place.shape[1]))
        row = np.arange(rows)[:, None] if len(op.levels) > 1 else 0
        table = [_objects([[getattr(level, part) for level in levels] for levels in op.levels])
                 for part in ("numerator", "denominator")]
        return Reach(table[0][row, place], table[1][row, place],
                     np.zeros(place.shape, dtype=bool), fixed, self.falling)


def steps_of(codes: list[int]) -> Reach:
    """For each of ``codes``, the integers from that code on."""
    return Reach(_objects([codes]), _objects(1), np.zeros((1, 1), dtype=bool),
                 np.zeros((1, len(codes)), dtype=np.int8), np.zeros((1, 1), dtype=bool))


def _least_argument(op: Function, bound: Fraction, strict: bool) -> tuple[Fraction, bool, int]:
    """From where on a rising function is at or above ``bound`` (above it, if ``strict``).

    Returns the boundary, whether it is left out, and whether all or no arguments are.
    """
    def reached(x: float) -> bool:
        y = op.at(x)
        return y > bound if strict else y >= bound

    low, high = _order(-LARGEST), _order(LARGEST)
    if reached(-LARGEST):
        return Fraction(0), False, ALL
    if not reached(LARGEST):
        return Fraction(0), False, NONE
    while high - low > 1:
        middle = (low + high) // 2
        if reached(_from_order(middle)):
            high = middle
        else:
            low = middle
    # Arguments are rounded to float64 first: the boundary is half-way to the float64 below, and a
    # tie goes to the even one of the two.
    below, above = Fraction(_from_order(low)), Fraction(_from_order(high))
    return (below + above) / 2, high % 2 != 0, OPEN


def _order(x: float) -> int:
    """Place of a float64 among all float64: consecutive numbers have consecutive places."""
    bits = struct.unpack("<q", struct.pack("<d", x))[0]
    return bits if bits >= 0 else -(bits & 0x7FFFFFFFFFFFFFFF)


def _from_order(place: int) -> float:
    bits = place if place >= 0 else -place | (1 << 63)
    return float(struct.unpack("<d", struct.pack("<Q", bits))[0])


def _rounding_bound(code: np.ndarray, rounding: str) -> tuple[np.ndarray, np.ndarray]:
    """Twice the real number at which rounding first gives ``code``, and whether it is left out.

    Half-way between ``code - 1`` and ``code`` for rounding to nearest: the tie belongs to
    ``code`` unless the mode sends it down.
    """
    every = np.ones(code.shape, dtype=bool)
    positive = _true(code >= 1)
    if rounding == "floor":
        return 2 * code, ~every
    if rounding == "ceil":
        return 2 * code - 2, every
    if rounding == "toward_zero":  # floor above zero, ceil below
        return np.where(positive, 2 * code, 2 * code - 2), ~positive
    if rounding == "away_from_zero":  # ceil above zero, floor below
        return np.where(positive, 2 * code - 2, 2 * code), positive
    strict = {"half_up": ~every, "half_down": every, "half_even": _true(code % 2 == 1),
              "half_away": ~positive, "half_toward_zero": positive}[rounding]
    return 2 * code - 1, strict


def _holds(strict: np.ndarray, difference: np.ndarray) -> np.ndarray:
    """Is a value above its bound, given the sign of bound - value?"""
    return np.where(strict, _true(difference < 0), _true(difference <= 0))


def _true(condition: np.ndarray) -> np.ndarray:
    return np.asarray(condition).astype(bool)


def _objects(values) -> np.ndarray:
    array = np.array(values, dtype=object)
    return array if array.ndim == 2 else array.reshape(1, -1)


def _columns(numbers: tuple[Fraction, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Numerators and denominators, (channels, 1)."""
    return (_objects([[n.numerator] for n in numbers]),
            _objects([[n.denominator] for n in numbers]))
