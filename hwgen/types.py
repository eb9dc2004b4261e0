"""Number formats of tensors, by their QONNX names, and their encoding on wires."""

import re
from dataclasses import dataclass

import numpy as np

__all__ = ["NumType", "BIPOLAR", "TERNARY", "int_type", "uint_type", "parse_type", "smallest_type"]

MAX_WIDTH = 62  # every value and every sum of two fits the int64 arrays of the golden model


@dataclass(frozen=True)
class NumType:
    """A set of integers with its encoding on wires.

    Parameters
    ----------
    name
        ``BIPOLAR`` {-1, +1}, ``TERNARY`` {-1, 0, +1}, ``INTn`` or ``UINTn``.
    low, high
        Smallest and largest value.
    width
        Bits on wires. BIPOLAR is one bit, 1 for +1; TERNARY and INTn are two's complement.
    """

    name: str
    low: int
    high: int
    width: int

    @property
    def signed(self) -> bool:
        """Whether the wires carry two's complement."""
        return self.low < 0 and not self.bipolar

    @property
    def bipolar(self) -> bool:
        return self.name == "BIPOLAR"

    def contains(self, values) -> np.ndarray:
        """Elementwise: is the value one of this type?"""
        values = np.asarray(values)
        inside = (values >= self.low) & (values <= self.high)
        return inside & (values != 0) if self.bipolar else inside

    def encode(self, values) -> np.ndarray:
        """Values to unsigned wire codes, int64. ValueError names the first bad value."""
        values = np.asarray(values, dtype=np.int64)
        good = self.contains(values)
        if not good.all():
            raise ValueError(f"value {values[~good].flat[0]} is not a {self}")
        if self.bipolar:
            return (values > 0).astype(np.int64)
        return values & ((1 << self.width) - 1)

    def decode(self, codes) -> np.ndarray:
        """Inverse of :meth:`encode`."""
        codes = np.asarray(codes, dtype=np.int64)
        if self.bipolar:
            return 2 * codes - 1
        if self.signed:
            return codes - ((codes >> (self.width - 1)) << self.width)
        return codes

    def __str__(self) -> str:
        values = "{-1, +1}" if self.bipolar else f"{self.low}..{self.high}"
        return f"{self.name} ({values})"


BIPOLAR = NumType("BIPOLAR", -1, 1, 1)
TERNARY = NumType("TERNARY", -1, 1, 2)


def int_type(width: int) -> NumType:
    """INTn, two's complement of ``width`` bits."""
    return NumType(f"INT{width}", -(1 << (width - 1)), (1 << (width - 1)) - 1, width)


def uint_type(width: int) -> NumType:
    """UINTn, unsigned of ``width`` bits."""
    return NumType(f"UINT{width}", 0, (1 << width) - 1, width)


def parse_type(name: str) -> NumType:
    """The type of that QONNX name; ValueError says which names there are."""
    if name == "BIPOLAR":
        return BIPOLAR
    if name == "TERNARY":
        return TERNARY
    match = re.fullmatch(r"(U?)INT([1-9]\d*)", name)
    if not match or not (1 if match[1] else 2) <= int(match[2]) <= MAX_WIDTH:
        raise ValueError(f"{name!r} is not a type; choose BIPOLAR, TERNARY, INT2 to INT{MAX_WIDTH} "
                         f"or UINT1 to UINT{MAX_WIDTH}")
    return uint_type(int(match[2])) if match[1] else int_type(int(match[2]))


def smallest_type(low: int, high: int) -> NumType:
    """The narrowest INTn or UINTn that holds ``low`` to ``high``."""
    low, high = int(low), int(high)
    if low >= 0:
        return uint_type(max(1, high.bit_length()))
    return int_type(max((-low - 1).bit_length(), high.bit_length() if high > 0 else 0, 1) + 1)
