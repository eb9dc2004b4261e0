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
MAX_AFFINE_SHIFT = 56


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
                in_type: NumType, out_type: NumType, most_bits: int,
                rounding: str = "floor") -> Requantize | None:
    """``round((x * multiplier + offset) / 2**shift)``, per channel, with exactly these levels.

    Parameters
    ----------
    levels
        (channels or 1, codes): the input from which on the output is at least each code (up to
        which, where falling: ``x`` *below* the level), from the lowest value of ``in_type``
        (always) to its highest plus one (never).
    slopes
        (channels or 1,) float64: codes per step of the input.
    codes
        All of ``out_type`` above its lowest, ascending.
    most_bits
        Bits that a multiplier may have.
    rounding
        One of :data:`hwgen.ops.ROUNDINGS`.

    Returns
    -------
    Requantize or None
        The smallest shift that does for all channels; None if there is none.
    """
    sign = np.where(falling, -1, 1)
    # A falling channel rises with -x, from 1 - level on.
    points = _points(np.where(falling[:, None], 1 - levels, levels), codes,
                     np.where(falling, -in_type.high, in_type.low),
                     np.where(falling, -in_type.low, in_type.high))
    slopes = np.abs(np.broadcast_to(slopes, len(levels)))
    # Most candidates fail on a few points, to which those are added that others fail on.
    sample = points[..., np.linspace(0, len(codes) - 1, min(len(codes), 64)).astype(int)]
    height = np.abs(points[:, 1] - slopes[:, None] * points[:, 0]).max()
    factor, offset = np.zeros((2, len(levels)), dtype=np.int64)
    good = np.zeros(len(levels), dtype=bool)
    for shift in range(MAX_AFFINE_SHIFT + 1):
        nearest = np.rint(slopes * 2.0**shift)
        if nearest.max() >= 2.0**most_bits or (height + 1) * 2.0**shift >= 2.0**61:
            return None  # the offsets stay within int64
        factor, offset = 2 * factor, 2 * offset
        rows = np.flatnonzero(~good)
        rows = rows[_lines(sample[:, :, rows], nearest[rows], shift, rounding)[2]]
        if not len(rows):
            continue
        factors, offsets, fits, ends = _lines(points[:, :, rows], nearest[rows], shift,
                                              rounding)
        done = rows[fits]
        factor[done], offset[done], good[done] = factors[fits], offsets[fits], True
        if good.all():
            return Requantize(sign * factor, np.array([shift]), 0, rounding, out_type, offset)
        more = np.repeat(sample[..., :1], ends.shape[-1], axis=-1)
        more[:, :, rows] = np.take_along_axis(points[:, :, rows], ends[:, None], axis=-1)
        sample = np.concatenate([sample, more], axis=-1)
    return None


def _points(levels: np.ndarray, codes: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """What a line must pass between, for rising channels and inputs ``low`` to ``high``.

    Returns
    -------
    np.ndarray
        (2, 2, channels, codes) int64: x and code of the points that the line is at or above, then
        of those that it is below: a level, and the input before it. Of the levels that are always
        reached only the last matters, of those never reached the first; where all are, the code
        beside them stands for the other side.
    """
    number = len(codes)
    always, never = (levels <= low[:, None]).sum(axis=1), (levels > high[:, None]).sum(axis=1)
    inner = (levels > low[:, None]) & (levels <= high[:, None])
    any_inner = inner.any(axis=1)
    last, first = np.maximum(always, 1) - 1, np.minimum(number - never, number - 1)
    above = (np.where(always > 0, low, np.where(any_inner, levels[:, 0], high)),
             np.where((always > 0) | any_inner, codes[last], codes[0] - 1))
    below = (np.where(never > 0, high, np.where(any_inner, levels[:, -1] - 1, low)),
             np.where((never > 0) | any_inner, codes[first], codes[-1] + 1))
    return np.array([[np.where(inner, part, end[:, None]) for part, end in zip(parts, ends)]
                     for parts, ends in (((levels, codes), above), ((levels - 1, codes), below))])


def _lines(points: np.ndarray, nearest: np.ndarray, shift: int,
           rounding: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Lines ``(x * factor + offset) / 2**shift`` between ``points``, for factors near ``nearest``.

    Returns
    -------
    factor, offset
        (channels,) each.
    good
        (channels,) booleans: the line passes between all points.
    ends
        (2, channels, candidates): numbers of the points that bound the offsets of each candidate.
    """
    (above_x, above_code), (below_x, below_code) = points
    channels = np.arange(len(nearest))
    factor, offset = np.zeros((2, len(nearest)), dtype=np.int64)
    good = np.zeros(len(nearest), dtype=bool)
    least_above, least_below = (_rounds_to(c, shift, rounding) for c in (above_code, below_code))
    ends = []
    for step in (0, -1, 1):
        candidate = nearest.astype(np.int64) + step
        # Products may wrap round; the differences, which are small near the line, are exact.
        above = least_above - candidate[:, None] * above_x
        below = least_below - candidate[:, None] * below_x - 1
        ends.append((above.argmax(axis=1), below.argmin(axis=1)))
        least, most = above[channels, ends[-1][0]], below[channels, ends[-1][1]]
        new = (least <= most) & ~good
        factor[new], offset[new] = candidate[new], np.clip(0, least, most)[new]
        good |= new
    return factor, offset, good, np.moveaxis(np.array(ends), 0, -1)


def requantize_levels(multiplier: int, shift: int, zero_point: int, rounding: str,
                      codes: np.ndarray) -> np.ndarray:
    """Smallest ``x`` that :class:`Requantize` takes to each of ``codes``; multiplier > 0."""
    return -(-_rounds_to(codes - zero_point, shift, rounding) // multiplier)


def _rounds_to(codes: np.ndarray, shift: int, rounding: str) -> np.ndarray:
    """Smallest integer that a shift with rounding takes to each of ``codes`` or above."""
    if shift == 0:
        return codes
    positive = codes >= 1
    half = {"floor": 0, "ceil": 2, "toward_zero": np.where(positive, 0, 2),
            "away_from_zero": np.where(positive, 2, 0)}.get(rounding, 1)
    strict = {"floor": False, "ceil": True, "toward_zero": ~positive, "half_up": False,
              "half_down": True, "half_even": codes % 2 == 1, "half_away": ~positive,
              "away_from_zero": positive, "half_toward_zero": positive}[rounding]
    return ((2 * codes - half) << (shift - 1)) + strict


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
