"""Activation units: pipelines without handshake that compute one elementwise operation.

A unit takes the accumulators of ``lanes`` channels and the number of their channel group, and
gives the activations ``latency`` clocks later, one group per clock. Each kind of unit has a module
of its own; ``activation_kinds`` names them all.
"""

from dataclasses import dataclass

import numpy as np
from amaranth import Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..ops import Op
from ..resources import Resources
from ..types import NumType
from .parts import number

__all__ = ["Activation", "ActivationUnit"]


@dataclass(frozen=True, eq=False)
class Activation:
    """One elementwise operation on ``channels`` channels, ``lanes`` per clock.

    Parameters
    ----------
    op
        One of ``activation_ops``.
    in_type, out_type
        Types of accumulators and activations.
    channels
        Channels of a pixel, in groups of ``lanes``.
    lanes
        Channels per clock; divides the channels.
    """

    op: Op
    in_type: NumType
    out_type: NumType
    channels: int
    lanes: int

    @property
    def groups(self) -> int:
        return self.channels // self.lanes

    @property
    def group_width(self) -> int:
        """Bits of a channel group's number."""
        return (self.groups - 1).bit_length()

    def compute(self, x: np.ndarray) -> np.ndarray:
        return self.op.compute(x)

    @property
    def latency(self) -> int:
        """Clocks from accumulators to activations."""
        raise NotImplementedError

    def create(self) -> "ActivationUnit":
        raise NotImplementedError

    def estimate(self) -> Resources:
        """LUTs of the comparators, adders and their constants."""
        raise NotImplementedError


class ActivationUnit(wiring.Component):
    """Base of the units.

    Members
    -------
    x : :py:`In(lanes * in width)`
        Wire codes of the accumulators.
    group : :py:`In(range(groups))`
    y : :py:`Out(lanes * out width)`
        Wire codes of the activations, ``latency`` clocks later.
    """

    def __init__(self, config: Activation):
        self.config = config
        super().__init__({"x": In(config.lanes * config.in_type.width),
                          "group": In(range(config.groups)),
                          "y": Out(config.lanes * config.out_type.width)})

    def lane(self, n: int) -> Value:
        """Accumulator ``n`` as a number."""
        kind = self.config.in_type
        return number(self.x.word_select(n, kind.width), kind)
