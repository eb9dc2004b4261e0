"""Exact arithmetic on fractions."""

from collections.abc import Iterable
from fractions import Fraction
from math import gcd, lcm

__all__ = ["common_unit"]


def common_unit(numbers: Iterable[Fraction]) -> Fraction:
    """The largest positive number that all ``numbers`` are whole multiples of; 0 if all are 0."""
    distinct = set(numbers) - {Fraction(0)}
    if not distinct:
        return Fraction(0)
    denominator = lcm(*(n.denominator for n in distinct))
    return Fraction(gcd(*(int(n * denominator) for n in distinct)), denominator)
