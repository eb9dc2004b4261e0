"""``TYPE[:SCALE]``: how the host quantizes an input that the network does not quantize."""

from fractions import Fraction

from .types import NumType, parse_type

__all__ = ["parse_input_type"]


def parse_input_type(text: str) -> tuple[NumType, Fraction]:
    """Type and scale, which is exactly as written (``0.5``, ``1/255``) and 1 by default.

    Raises
    ------
    ValueError
        The text is wrong: what is, and what would work.
    """
    name, _, scale = text.partition(":")
    try:
        return parse_type(name), _scale(scale or "1")
    except ValueError as error:
        raise ValueError(f"{error}; give TYPE or TYPE:SCALE, e.g. INT16:0.0009765625 or "
                         "UINT8:1/255") from None


def _scale(text: str) -> Fraction:
    try:
        value = Fraction(text)
    except (ValueError, ZeroDivisionError):
        raise ValueError(f"{text!r} is no number") from None
    if value <= 0:
        raise ValueError(f"scale must be positive, found {text}")
    return value
