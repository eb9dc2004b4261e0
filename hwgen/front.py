"""The host's part of a network: quantizing a real-valued input, exactly."""

from fractions import Fraction

import numpy as np

from .graph import Front
from .passes.levels import ALL, NONE, steps_of
from .real_ops import Quantize, RealOp, RealThreshold

__all__ = ["input_levels", "quantize_input"]

MOST_LEVELS = 1 << 16  # of a quantizer whose levels are compared with; wider ones go by value


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
    end = front.ops[-1]
    x = np.asarray(x, dtype=np.float64)
    if not isinstance(end, RealThreshold) and _codes_of(end)[2] > MOST_LEVELS:
        return _by_value(front, x)
    base, step, _ = _codes_of(end)
    levels, falling = input_levels(front)
    result = np.empty(x.shape, dtype=np.int64)
    for c in range(x.shape[-1]):
        row = c if len(levels) > 1 else 0
        above = np.searchsorted(levels[row], x[..., c], side="right")
        result[..., c] = base + step * (levels.shape[1] - above if falling[row] else above)
    return result


def input_levels(front: Front) -> tuple[np.ndarray, np.ndarray]:
    """Float64 levels of a front: how many of them a value reaches gives its code.

    Returns
    -------
    levels
        (channels or 1, number), ascending: for each step of the code the smallest float64 from
        which on it is reached (or no longer reached, where falling); infinite where never.
    falling
        (channels or 1,) booleans: the code falls as the value rises.
    """
    base, step, number = _codes_of(front.ops[-1])
    reach = steps_of([base + step * k for k in range(1, number + 1)])
    for op in reversed(front.ops):
        reach = reach.through(op)
    shape = np.broadcast_shapes(reach.numerator.shape, reach.denominator.shape,
                                reach.fixed.shape, reach.strict.shape, reach.falling.shape)
    parts = (np.broadcast_to(p, shape) for p in (reach.numerator, reach.denominator,
                                                 reach.strict, reach.fixed))
    levels = np.empty(shape)
    for place, n, d, strict, fixed in zip(np.ndindex(shape), *(p.reshape(-1) for p in parts)):
        levels[place] = -np.inf if fixed == ALL else np.inf if fixed == NONE else \
            _least_float(Fraction(int(n), int(d)), bool(strict))
    levels.sort(axis=1)
    return levels, np.broadcast_to(reach.falling, (shape[0], 1))[:, 0].astype(bool)


def _least_float(bound: Fraction, strict: bool) -> float:
    """The smallest float64 at or above ``bound``, above it if ``strict``."""
    try:
        near = float(bound)
    except OverflowError:
        return np.inf if bound > 0 else -np.inf
    exact = Fraction(near)
    if exact < bound or strict and exact == bound:
        return float(np.nextafter(near, np.inf))
    return near


def _codes_of(end: RealOp) -> tuple[int, int, int]:
    """Lowest code of a quantizer, the step to the next, and the number of steps."""
    if isinstance(end, RealThreshold):
        return end.base, end.step, len(end.levels[0])
    assert isinstance(end, Quantize)
    return (-1, 2, 1) if end.out_type.bipolar else (end.low, 1, end.high - end.low)


def _by_value(front: Front, x: np.ndarray) -> np.ndarray:
    """The same, operation by operation on exact fractions, once for each distinct value."""
    result = np.empty(x.shape, dtype=np.int64)
    for c in range(x.shape[-1]):
        distinct, inverse = np.unique(x[..., c], return_inverse=True)
        codes = np.empty(len(distinct), dtype=np.int64)
        for n, number in enumerate(distinct.tolist()):
            value: Fraction | int = Fraction(number)
            for op in front.ops:
                value = op.value(c, Fraction(value))
            codes[n] = int(value)
        result[..., c] = codes[inverse].reshape(x.shape[:-1])
    return result
