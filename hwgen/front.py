"""The host's part of a network: quantizing a real-valued input, exactly.

All numbers go through the operations at once, each as an interval of two float64 that surely
holds its exact value. Where both ends give one code, that is the code; the few others, next to a
boundary between two codes, are computed with exact fractions.
"""

from collections.abc import Callable
from fractions import Fraction

import numpy as np

from .graph import Front
from .ops import Rounding
from .real_ops import (
    LARGEST,
    Affine,
    Clamp,
    Function,
    LeakyRelu,
    Numbers,
    Quantize,
    RealOp,
    RealThreshold,
)

__all__ = ["quantize_input"]

Interval = tuple[np.ndarray, np.ndarray]
"""Smallest and largest value that numbers (..., C) may have."""

DIRECTED: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "floor": np.floor, "ceil": np.ceil, "toward_zero": np.trunc,
    "away_from_zero": lambda x: np.copysign(np.ceil(np.abs(x)), x)}
"""The rounding modes that are not to the nearest integer."""

SLACK = 2.0**-46
"""Part of a function's value by which it may fall: float64 functions rise but for last bits."""

WHOLE = 2.0**53  # below it float64 holds every integer


def quantize_input(front: Front, x: np.ndarray) -> np.ndarray:
    """Integers of real values.

    Parameters
    ----------
    front
        The operations; their last is a quantizer.
    x
        Finite numbers (frames, H, W, C), each taken as the exact value of its float64.

    Returns
    -------
    np.ndarray
        int64, same shape: what exact arithmetic gives for each number.
    """
    x = np.asarray(x, dtype=np.float64)
    with np.errstate(all="ignore"):  # what overflows is not settled by intervals
        ends: Interval = x, x
        for op in front.ops:
            ends = _through(op, ends)
        low, high = ends
        settled = (low == high) & (np.abs(low) < WHOLE)
    codes = np.where(settled, low, 0).astype(np.int64)
    for c in range(x.shape[-1]):
        left = ~settled[..., c]
        codes[left, c] = _exactly(front, c, x[left, c])
    return codes


def _through(op: RealOp, ends: Interval) -> Interval:
    """What an operation makes of intervals; codes of a quantizer as float64."""
    low, high = ends
    if isinstance(op, Affine):
        return _plus(_times(ends, op.scale), op.offset)
    if isinstance(op, Clamp):
        for bound, limit in ((op.low, np.maximum), (op.high, np.minimum)):
            if bound is not None:
                below, above = _ends((bound,))
                low, high = limit(low, below), limit(high, above)
        return low, high
    if isinstance(op, LeakyRelu):
        fallen = _times((np.minimum(low, 0), np.minimum(high, 0)), op.slope)
        return _outward(fallen[0] + np.maximum(low, 0), fallen[1] + np.maximum(high, 0))
    if isinstance(op, Function):
        return _function(op, ends)
    if isinstance(op, RealThreshold):
        return _threshold(op, ends)
    assert isinstance(op, Quantize)
    if op.out_type.bipolar:
        return np.where(low >= 0, 1.0, -1.0), np.where(high >= 0, 1.0, -1.0)
    steps = _plus(_times(ends, tuple(1 / s for s in op.scale)), (Fraction(op.zero_point),))
    low, high = _round(steps, op.rounding)
    return np.clip(low, op.low, op.high), np.clip(high, op.low, op.high)


def _times(ends: Interval, numbers: Numbers) -> Interval:
    if all(n == 1 for n in numbers):
        return ends
    products = [end * factor for end in ends for factor in _ends(numbers)]
    return _outward(np.minimum.reduce(products), np.maximum.reduce(products))


def _plus(ends: Interval, numbers: Numbers) -> Interval:
    if not any(numbers):
        return ends
    below, above = _ends(numbers)
    return _outward(ends[0] + below, ends[1] + above)


def _outward(low: np.ndarray, high: np.ndarray) -> Interval:
    """Rounded results made an interval of the exact ones: float64 rounds to a neighbour."""
    return (np.where(np.isnan(low), -np.inf, np.nextafter(low, -np.inf)),
            np.where(np.isnan(high), np.inf, np.nextafter(high, np.inf)))


def _ends(numbers: Numbers) -> Interval:
    """For each number, the nearest float64 not above and not below it: two of (numbers,)."""
    pairs = []
    for number in numbers:
        try:
            near = float(number)
        except OverflowError:
            near = np.inf if number > 0 else -np.inf
        pairs.append((near if near <= number else np.nextafter(near, -np.inf),
                      near if near >= number else np.nextafter(near, np.inf)))
    ends = np.array(pairs)
    return ends[:, 0], ends[:, 1]


def _function(op: Function, ends: Interval) -> Interval:
    """A function's value is that of the nearest float64, which lies between the ends."""
    assert op.rising

    def values(arguments: np.ndarray) -> np.ndarray:
        inside = np.clip(arguments, -LARGEST, LARGEST)
        flat = np.fromiter(map(op.at, inside.reshape(-1).tolist()), np.float64, inside.size)
        return flat.reshape(inside.shape)

    low, high = ends
    if low is high:
        exact = values(low)
        return exact, exact
    slack = np.where(low == high, 0, SLACK)
    least, most = values(low), values(high)
    return least - slack * np.abs(least), most + slack * np.abs(most)


def _threshold(op: RealThreshold, ends: Interval) -> Interval:
    """Levels surely reached, and levels that may be."""
    low, high = ends
    surely, maybe = np.empty(low.shape), np.empty(high.shape)
    for c in range(low.shape[-1]):
        below, above = _ends(op.levels[c] if len(op.levels) > 1 else op.levels[0])
        surely[..., c] = np.searchsorted(above, low[..., c], side="right")
        maybe[..., c] = np.searchsorted(below, high[..., c], side="right")
    return op.base + op.step * surely, op.base + op.step * maybe


def _round(ends: Interval, mode: Rounding) -> Interval:
    """Lowest and highest integer; of a tie, where the mode is to the nearest, both."""
    low, high = ends
    if mode in DIRECTED:
        return DIRECTED[mode](low), DIRECTED[mode](high)
    near_low, near_high = np.rint(low), np.rint(high)
    return (np.where(np.abs(low - near_low) == 0.5, np.floor(low), near_low),
            np.where(np.abs(high - near_high) == 0.5, np.ceil(high), near_high))


def _exactly(front: Front, channel: int, numbers: np.ndarray) -> np.ndarray:
    """Codes of numbers (count,) of a channel, in exact fractions, once for each distinct one."""
    distinct, inverse = np.unique(numbers, return_inverse=True)
    codes = np.empty(len(distinct), dtype=np.int64)
    for n, number in enumerate(distinct.tolist()):
        value: Fraction | int = Fraction(number)
        for op in front.ops:
            value = op.value(channel, Fraction(value))
        codes[n] = int(value)
    return codes[inverse]
