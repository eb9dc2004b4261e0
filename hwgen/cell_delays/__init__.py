"""Delays of the primitives of chip families, for :mod:`hwgen.timing`."""

from .delays import Arc, Cell, CellDelays, Delays
from .ecp5 import Ecp5
from .xc7 import Xc7

__all__ = ["FAMILIES", "Arc", "Cell", "CellDelays", "Delays"]

FAMILIES: dict[str, Delays] = {"xc7": Xc7(), "ecp5": Ecp5()}
"""By family: those whose delays are known."""
