"""Translations of operators, by theme; importing this registers them all."""

from ..registry import OPERATORS, find_handler
from . import elementwise, heads, joins, linear, pooling, quantization, shapes

__all__ = ["OPERATORS", "elementwise", "find_handler", "heads", "joins", "linear", "pooling",
           "quantization", "shapes"]
