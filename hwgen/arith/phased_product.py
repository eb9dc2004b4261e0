"""Dot products with weights that take turns over a few clocks: the turn is an input of the LUTs.

A weight is a signed digit at each power of two, in each phase one of its own. A bit of an
activation counts as it is, inverted or not at all, as the phase says: so a full adder of three bits
reads five nets, two of them the phase, and takes them in one LUT6_2 with all their gates. Digits
that are 0 in every phase cost nothing.
"""

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from amaranth import Cat, Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..resources import Resources
from .bit_heap import IDENTITY, INVERTED, Compression, Term, compress, compressed
from .compressor import Compressor
from .constant_sums import signed_digits, together

__all__ = ["MOST_PHASES", "PhasedPlan", "PhasedProduct", "phased_resources"]

MOST_PHASES = 4

COUNTED_SUMS, COUNTED_BITS = 8, 2048
"""Most sums that an estimate counts the LUTs of, and about so many bits that they add."""


class PhasedPlan:
    """Hardware of some sums, made when it is asked for.

    Parameters
    ----------
    weights
        (phases, outputs, lanes) integers.
    a_width
        Bits of an activation, unsigned.
    width
        Bits of a sum; no more than it can have are made.
    """

    def __init__(self, weights: np.ndarray, a_width: int, width: int):
        phases, self.outputs, self.lanes = weights.shape
        if not 1 < phases <= MOST_PHASES:
            raise ValueError(f"phases ({phases}) must be 2 to {MOST_PHASES}")
        self.a_width, self.most = a_width, width
        self.phase_width = (phases - 1).bit_length()
        self.digits = signed_digits(weights)  # (phases, outputs, lanes, digits)
        high = (1 << a_width) - 1
        sums = (np.maximum(weights, 0) * high + self.offsets_of(weights, a_width)).sum(axis=2)
        self.highs = sums.max(axis=0)

    @staticmethod
    def offsets_of(weights: np.ndarray, a_width: int) -> np.ndarray:
        """By how much the sum of a product's bits exceeds ``weight * a``, for each weight."""
        digits = signed_digits(weights)
        return ((digits < 0) << np.arange(digits.shape[-1])).sum(axis=-1) * ((1 << a_width) - 1)

    @property
    def nets(self) -> int:
        """Bits of the activations and of the phase."""
        return self.lanes * self.a_width + self.phase_width

    def width_of(self, output: int) -> int:
        return min(self.most, max(1, int(self.highs[output]).bit_length()))

    def one(self, output: int, nets: int) -> Compression:
        """Hardware of one sum; its own nets start from ``nets``."""
        return compress(self.columns(output), self.width_of(output), nets)

    def columns(self, output: int) -> list[list[Term]]:
        """The heap of a sum's bits."""
        phases = range(self.lanes * self.a_width, self.nets)
        columns: list[list[Term]] = [[] for _ in range(self.a_width + self.digits.shape[-1])]
        last = len(self.digits) - 1
        mine = self.digits[np.minimum(np.arange(1 << self.phase_width), last), output]
        turns = np.moveaxis((mine > 0) * IDENTITY + (mine < 0) * INVERTED, 0, -1)
        tables = (turns << 2 * np.arange(1 << self.phase_width)).sum(axis=-1)
        # Digits of a lane in a row: no two neighbours count at once, which saves carries.
        for lane, k in np.argwhere(tables).tolist():
            gated = (turns[lane, k] != turns[lane, k, 0]).any()
            table = int(tables[lane, k] if gated else turns[lane, k, 0])
            for n in range(self.a_width):
                a = lane * self.a_width + n
                columns[n + k].append(Term((a, *phases) if gated else (a,), table))
        return columns

    @cached_property
    def compression(self) -> Compression:
        """Hardware of all sums; its output is their bits, sum 0 first."""
        made, nets = [], self.nets
        for output in range(self.outputs):
            made.append(self.one(output, nets))
            nets = made[-1].nets
        return together(made)

    @property
    def bits(self) -> np.ndarray:
        """(outputs,) bits that each sum adds."""
        return (self.digits != 0).any(axis=0).sum(axis=(1, 2)) * self.a_width


def phased_resources(plans: Sequence[PhasedPlan]) -> Resources:
    """Predicted in proportion to the bits that are added, from some sums with few and with many.
    """
    bits = np.concatenate([plan.bits for plan in plans])
    found = Resources()
    number = max(1, min(COUNTED_SUMS, len(bits) * COUNTED_BITS // max(1, int(bits.sum()))))
    middles = (2 * np.arange(number) + 1) * len(bits) // (2 * number)
    places = np.argsort(bits, kind="stable")[middles]
    for place in places.tolist():
        group, output = divmod(place, plans[0].outputs)
        plan = plans[group]
        found += compressed(plan.columns(output), plan.width_of(output), plan.nets)
    share = bits.sum() / max(1, bits[places].sum())
    return Resources(lut=found.lut * share, ff=found.ff * share)


class PhasedProduct(wiring.Component):
    """``o[p] = sum(a[s] * weights[phase, p, s] + offset of that weight)``, modulo ``2 ** width``.

    Latency: ``latency`` clocks; interval: 1 clock; no handshake.

    Members
    -------
    a : :py:`In(lanes * a_width)`
    phase : :py:`In(phase_width)`
    o : :py:`Out(outputs * width)`
    """

    def __init__(self, plan: PhasedPlan):
        self.plan = plan
        self.latency = plan.compression.latency
        self.width = max(plan.width_of(n) for n in range(plan.outputs))
        super().__init__({"a": In(plan.lanes * plan.a_width), "phase": In(plan.phase_width),
                          "o": Out(plan.outputs * self.width)})

    def elaborate(self, platform):
        m = Module()
        plan = self.plan
        m.submodules.adders = adders = Compressor(plan.compression, plan.nets, 0)
        m.d.comb += adders.shared.eq(Cat(self.a, self.phase))
        place = 0
        for output in range(plan.outputs):
            width = plan.width_of(output)
            m.d.comb += self.o.word_select(output, self.width).eq(adders.o[place:place + width])
            place += width
        return m
