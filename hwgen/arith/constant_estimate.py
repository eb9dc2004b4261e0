"""What sums with constant weights will take, without the search for their shared parts.

The sums' bits are counted, and what one round of sharing saves: numbers that often appear together
are paired, each once, the most frequent pairs first. Of what is left then the hardware takes a
share that depends on how long sums are and how often inputs are used.

That share is fitted, by least squares of logarithms, to what :func:`constant_sums` makes of 280
layers of 500 to 30,000 bits: all of ten networks, and random ones with binary, ternary, 4-bit and
8-bit weights and inputs of 1 to 8 bits. Half of the networks' layers are within 4 % of their LUTs
and 8 % of their flip-flops, nine of ten within 12 % and 25 %; ``benchmarks/estimates.py --sums``
measures random ones.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from ..matmul import exact_matmul
from ..resources import Resources
from .constant_sums import BIT_PRICE, connected, moves, signed_digits

__all__ = ["Size", "estimated_sums", "size_of"]

FREE_SHARE = 0.8
"""Bits that cost nothing, as none are to be added to them, for each bit of a sum."""

LUT_FIT = (0.198, -0.113, -0.05, -0.062, 0.09)
FF_FIT = (0.756, 0.014, -0.039, -0.087, 0.025)
"""Logarithm of the share where all of :class:`Size` is 1, and powers of its last four."""


class Size(NamedTuple):
    """What the prediction rests on.

    ``left``: LUTs, about, behind one round of sharing; ``a_width``: bits of an input; ``terms`` of
    a sum and ``uses`` of an input, in digits; ``digits`` of a weight.
    """

    left: float
    a_width: int
    terms: float
    uses: float
    digits: int


def estimated_sums(weights: np.ndarray, a_width: int) -> Resources:
    """Predicted resources of :func:`constant_sums` of (sums, inputs) weights."""
    size = size_of(weights, a_width)
    lut, ff = (size.left * np.exp(fit[0] + np.log(size[1:]) @ fit[1:]) for fit in (LUT_FIT, FF_FIT))
    return Resources(lut=float(lut), ff=float(ff))


def size_of(weights: np.ndarray, a_width: int) -> Size:
    sums, inputs = weights.shape
    high = (1 << a_width) - 1
    moved = moves(weights, a_width)
    weights = np.ascontiguousarray(weights + moved[:, None], dtype=np.int64)
    terms, used, digits, pairs = _counted(weights.tobytes(), weights.shape)
    width = np.log2(1 + abs(weights).sum(axis=1) * high).sum()
    bits = terms * a_width - FREE_SHARE * width
    if moved.any():
        total = np.log2(1 + inputs * high)
        bits += inputs * a_width - total + total * np.count_nonzero(moved)
    left = BIT_PRICE * bits
    for distance, numbers in enumerate(pairs):
        own = (high + (high << distance)).bit_length()
        left -= np.maximum(0, numbers * (2 * a_width - own) * BIT_PRICE - (own - 1)).sum()
    return Size(max(1.0, float(left)), a_width, terms / sums, terms / used, digits)


@lru_cache(maxsize=64)
def _counted(weights: bytes, shape: tuple[int, int]) -> tuple[int, int, int, list[np.ndarray]]:
    """Digits other than 0; inputs that have any; digits of a weight; for each distance in bits,
    how often the members of each pair appear together."""
    digits = signed_digits(np.frombuffer(weights, dtype=np.int64).reshape(shape).T)
    pairs: list[list[float]] = [[] for _ in range(digits.shape[2])]
    for inputs, sums in connected(digits):
        for distance, number in _pairs(digits[np.ix_(inputs, sums)]):
            pairs[distance].append(number)
    terms, used = (digits != 0).sum(), (digits != 0).any(axis=(1, 2)).sum()
    return max(1, int(terms)), max(1, int(used)), digits.shape[2], list(map(np.array, pairs))


def _pairs(digits: np.ndarray) -> list[tuple[int, float]]:
    """Distance of pairs' members, and how often these appear together; each in one pair."""
    count, _, places = digits.shape
    most = np.zeros((count, count), dtype=np.float32)
    distances = np.zeros((count, count), dtype=np.int8)
    numbers = digits.astype(np.float32)
    for distance in range(places):
        first = numbers[:, :, :places - distance].reshape(count, -1)
        second = numbers[:, :, distance:].reshape(count, -1)
        # With the same signs, or with unlike ones: what there is more of.
        found = (exact_matmul(abs(first), abs(second).T)
                 + abs(exact_matmul(first, second.T))) / 2
        np.fill_diagonal(found, 0)
        distances[found > most] = distance
        np.maximum(most, found, out=most)
    free = np.ones(count, dtype=bool)
    pairs = []
    for place in np.argsort(-most, axis=None, kind="stable")[:4 * count].tolist():
        first, second = divmod(place, count)
        if most[first, second] > 1 and free[first] and free[second]:
            free[first] = free[second] = False
            pairs.append((int(distances[first, second]), float(most[first, second])))
    return pairs
