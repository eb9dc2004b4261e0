"""Find a shift, or a multiplier and shift, that equals given levels for every input."""

from dataclasses import dataclass

import numpy as np

from ..ops import Clip, Requantize
from ..types import NumType

__all__ = ["ShiftAndClip", "find_affine", "find_multiplier", "find_shift"]

# Cheapest in hardware first.
ROUNDING_ORDER = ("floor", "half_up", "half_down", "ceil", "half_even", "half_away",
                  "half_toward_zero", "toward_zero", "away_from_zero")
MAX_SHIFT = 30
MAX_MULTIPLIER_BITS = 24
MAX_AFFINE_SHIFT = 46
MAX_AFFINE_BITS = 34


@dataclass(frozen=True)
class ShiftAndClip:
    """``op`` on ``x + bias[c]``, ``bias`` being None where it is 0 in every channel."""

    bias: np.ndarray | None
    op: Clip | Requantize


def find_shift(levels: np.ndarray, in_type: NumType, out_type: NumType, zero_point: int,
               bias_is_free: bool) -> ShiftAndClip | None:
    """A shift by one number of bits for all channels that has exactly these levels.

    Parameters
    ----------
    levels
        (channels or 1, codes): the input from which on the output is at least ``out_type.low + 1``,
        ``out_type.low + 2``, ...; ascending, from ``in_type.low`` (always) to
        ``in_type.high + 1`` (never).
    zero_point
        Tried beside 0.
    bias_is_free
        Whether a bias costs less than a rounding mode (behind a Conv).
    """
    if out_type.bipolar:
        return None
    codes, bounds = np.arange(out_type.low + 1, out_type.high + 1), (in_type.low, in_type.high)
    clip = Clip(out_type.low, out_type.high)
    plain = _bias_range(levels, codes, bounds)
    if plain is not None and not plain.any() and clip.result_type((in_type,), ()) == out_type:
        return ShiftAndClip(None, clip)
    if len(codes) == 1:
        return None  # one comparison is the cheapest
    best, best_cost = None, (2, len(ROUNDING_ORDER))
    for exponent in _exponents(levels, bounds):
        multiplier, shift = 1 << max(-exponent, 0), max(exponent, 0)
        for rank, rounding in enumerate(ROUNDING_ORDER):
            for zero in dict.fromkeys((zero_point, 0)):
                found = requantize_levels(multiplier, shift, zero, rounding, codes)
                bias = _bias_range(levels, found, bounds)
                if bias is None:
                    continue
                biased = bool(bias.any())
                cost = (rank, int(biased)) if bias_is_free else (int(biased), rank)
                if best is None or cost < best_cost:
                    op = Requantize(np.array([multiplier]), np.array([shift]), zero, rounding,
                                    out_type)
                    best, best_cost = ShiftAndClip(bias if biased else None, op), cost
    return best


def find_multiplier(levels: np.ndarray, falling: np.ndarray, codes: np.ndarray, in_type: NumType,
                    out_type: NumType, zero_point: int) -> ShiftAndClip | None:
    """A multiplier for each channel, and a shift, that have exactly these levels at ``codes``.

    ``levels`` are as for :func:`find_shift`; where ``falling``, ``x`` *below* a level reaches the
    code, and the multiplier is negative.
    """
    sign = np.where(falling, -1, 1)
    for rounding in ROUNDING_ORDER:
        for zero in dict.fromkeys((zero_point, 0)):
            found: list[tuple[int, int, int]] = []
            for row, falls in zip(levels, falling):
                # A falling channel rises with -x, from 1 - level on.
                channel = _channel_multiplier(
                    1 - row if falls else row,
                    (-in_type.high, -in_type.low) if falls else (in_type.low, in_type.high),
                    zero, rounding, codes)
                if channel is None:
                    break
                found.append(channel)
            else:
                shift = max(s for _, s, _ in found)  # one shift for all: no barrel shifter
                multiplier = sign * np.array([m << (shift - s) for m, s, _ in found])
                bias = sign * np.array([b for _, _, b in found])
                op = Requantize(multiplier, np.array([shift]), zero, rounding, out_type)
                return ShiftAndClip(bias if bias.any() else None, op)
    return None


def find_affine(levels: np.ndarray, falling: np.ndarray, slopes: np.ndarray, codes: np.ndarray,
                in_type: NumType, out_type: NumType) -> Requantize | None:
    """``floor((x * multiplier + offset) / 2**shift)``, per channel, with exactly these levels.

    Parameters
    ----------
    levels
        (channels or 1, codes): the input from which on the output is at least each code (up to
        which, where falling: ``x`` *below* the level), within the input's range.
    slopes
        (channels or 1,) float64: codes per step of the input.
    codes
        Ascending.

    Returns
    -------
    Requantize or None
        The smallest shift that does for all channels; None if there is none.
    """
    sign = np.where(falling, -1, 1)
    # A falling channel rises with -x, from 1 - level on.
    rising = np.where(falling[:, None], 1 - levels, levels)
    low = np.where(falling, -in_type.high, in_type.low)[:, None]
    high = np.where(falling, -in_type.low, in_type.high)[:, None]
    always, never = rising <= low, rising > high
    inner = ~always & ~never
    slopes = np.abs(np.broadcast_to(slopes, len(levels)))
    most = int(max(abs(in_type.low), abs(in_type.high)))
    far = np.int64(1) << 62
    for shift in range(MAX_AFFINE_SHIFT + 1):
        nearest = np.rint(slopes * 2.0**shift)
        if nearest.max() * most >= 2.0**61 or nearest.max() >= 2.0**MAX_AFFINE_BITS:
            return None
        if nearest.min() < 1 and shift < MAX_AFFINE_SHIFT // 2:
            continue
        multiplier = np.zeros(len(levels), dtype=np.int64)
        offset = np.zeros(len(levels), dtype=np.int64)
        found = np.zeros(len(levels), dtype=bool)
        target = (codes.astype(np.int64) << shift)[None, :]
        for step in (0, -1, 1):
            factor = nearest.astype(np.int64)[:, None] + step
            # offset >= target - factor * x where x reaches the code, below it one step earlier
            least = np.where(always, target - factor * low,
                             np.where(inner, target - factor * rising, -far)).max(axis=1)
            limit = np.where(never, target - factor * high - 1,
                             np.where(inner, target - factor * (rising - 1) - 1, far)).min(axis=1)
            good = (least <= limit) & ~found
            choice = np.clip(0, least, limit)
            multiplier[good], offset[good] = factor[good, 0], choice[good]
            found |= good
        if found.all():
            return Requantize(sign * multiplier, np.array([shift]), 0, "floor", out_type, offset)
    return None


def requantize_levels(multiplier: int, shift: int, zero_point: int, rounding: str,
                      codes: np.ndarray) -> np.ndarray:
    """Smallest ``x`` that :class:`Requantize` takes to each of ``codes``; multiplier > 0."""
    target = codes - zero_point
    positive = target >= 1
    half = {"floor": 0, "ceil": 2, "toward_zero": np.where(positive, 0, 2),
            "away_from_zero": np.where(positive, 2, 0)}.get(rounding, 1)
    strict = {"floor": False, "ceil": True, "toward_zero": ~positive, "half_up": False,
              "half_down": True, "half_even": target % 2 == 1, "half_away": ~positive,
              "away_from_zero": positive, "half_toward_zero": positive}[rounding]
    bound, unit = (2 * target - half) << shift, 2 * multiplier
    return np.where(strict, bound // unit + 1, -(-bound // unit))


def _bias_range(levels: np.ndarray, found: np.ndarray,
                bounds: tuple[int, int]) -> np.ndarray | None:
    """The bias nearest to 0 for each channel that moves ``found`` onto ``levels``, or None.

    ``found - bias`` must equal a level inside the input's range ``bounds``, be at or below one
    that is always reached, and be above the range where one never is.
    """
    low, high = bounds
    difference = found - levels
    far = np.int64(1) << 62
    least = np.where(levels <= high, difference, -far).max(axis=-1)
    most = np.where(levels > low, difference, far).min(axis=-1)
    return np.clip(0, least, most) if (least <= most).all() else None


def _inner(row: np.ndarray, bounds: tuple[int, int]) -> np.ndarray:
    """Numbers of the levels inside the input's range."""
    return np.flatnonzero((row > bounds[0]) & (row <= bounds[1]))


def _exponents(levels: np.ndarray, bounds: tuple[int, int]) -> list[int]:
    """0, and shifts near the mean distance of the levels in the channel that has most."""
    row = max(levels, key=lambda row: len(_inner(row, bounds)))
    inner = _inner(row, bounds)
    if len(inner) < 2 or row[inner[0]] == row[inner[-1]]:
        return [0]
    distance = (row[inner[-1]] - row[inner[0]]) / (inner[-1] - inner[0])
    exponent = int(np.floor(np.log2(distance)))
    return [e for e in dict.fromkeys((0, exponent, exponent + 1)) if abs(e) <= MAX_SHIFT]


def _channel_multiplier(row: np.ndarray, bounds: tuple[int, int], zero: int, rounding: str,
                        codes: np.ndarray) -> tuple[int, int, int] | None:
    """(multiplier, shift, bias) of one channel, the smallest shift that does."""
    inner = _inner(row, bounds)
    if len(inner) < 2 or row[inner[0]] == row[inner[-1]]:
        return None
    slope = (codes[inner[-1]] - codes[inner[0]]) / (row[inner[-1]] - row[inner[0]])
    sample = inner[np.linspace(0, len(inner) - 1, 64).astype(int)]
    for shift in range(MAX_SHIFT + 1):
        multiplier = round(slope * 2**shift)
        if multiplier.bit_length() > MAX_MULTIPLIER_BITS:
            break
        # An even multiplier was met at the shift before.
        if multiplier == 0 or (shift and multiplier % 2 == 0):
            continue
        for places in (sample, slice(None)):  # most candidates fail on the sample
            found = requantize_levels(multiplier, shift, zero, rounding, codes[places])
            bias = _bias_range(row[places], found, bounds)
            if bias is None:
                break
        else:
            return multiplier, shift, int(bias)  # type: ignore[arg-type]  # a scalar array here
    return None
