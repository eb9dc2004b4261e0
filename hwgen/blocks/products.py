"""Sums of the products that a neuron layer makes in a clock: in LUTs, DSP slices or both."""

from dataclasses import dataclass

from amaranth import Cat, Const, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..arith.dot_product import DotProduct
from ..arith.dsp import CARRIED_CLOCKS, DspDotProduct, DspPlan
from ..arith.phased_product import PhasedPlan, PhasedProduct, phased_resources
from ..resources import Resources
from ..types import NumType
from .export import add_chosen
from .primitives import delay

__all__ = ["Products", "products_resources"]


@dataclass(frozen=True, eq=False)
class Products:
    """How the products of each neuron at work with the lanes of a beat are made and added.

    Parameters
    ----------
    lanes
        Activations.
    pe
        Sums.
    a_width
        Bits of an activation, unsigned.
    weight_type
        Type of a weight.
    width
        Bits of a sum; no more than it can have are made.
    slices
        DSP slices of the first lanes; LUTs make the products of the others. None for LUTs alone.
    phases
        Products that hold their weights, instead; None for weights from outside.
    """

    lanes: int
    pe: int
    a_width: int
    weight_type: NumType
    width: int
    slices: DspPlan | None = None
    phases: PhasedPlan | None = None

    @property
    def lut_lanes(self) -> int:
        """Lanes whose products LUTs make."""
        return self.lanes - (self.slices.lanes if self.slices else 0)

    @property
    def accumulates(self) -> bool:
        """Whether the slices add the steps of a sum too."""
        return self.slices is not None and self.slices.steps > 1

    @property
    def carries(self) -> bool:
        """Whether the slices add to what a sum is so far, which comes from outside."""
        return self.slices is not None and self.slices.carries

    @property
    def carried_at(self) -> int:
        """Clocks from the first operands to what a sum is so far: LUTs' products join it then."""
        return max(CARRIED_CLOCKS, DotProduct.latency_of(*self._dot) if self.lut_lanes else 0)

    @property
    def joining_width(self) -> int:
        """Bits of a sum of the products that LUTs make."""
        return len(DotProduct.compression_of(*self._dot).output)

    @property
    def lags(self) -> list[int]:
        """Clocks by which the operands of each lane come after the first: those of slices first."""
        late = self.carried_at - CARRIED_CLOCKS if self.carries else 0
        sliced = [late + n for n in self.slices.lags] if self.slices else []
        return sliced + [0] * self.lut_lanes

    @property
    def _dot(self) -> tuple[int, int, NumType, int]:
        return self.lut_lanes, self.a_width, self.weight_type, self.width

    @property
    def latency(self) -> int:
        """Clocks to the sums; of slices that accumulate or carry, to their last register but one,
        for the last holds the result."""
        if self.carries:
            assert self.slices is not None
            return self.slices.latency(self.width) + self.lags[0] - 1
        if self.phases is not None:
            return self.phases.compression.latency
        if self.slices is None:
            return DotProduct.latency_of(*self._dot)
        clocks = self.slices.latency(self.width) - self.accumulates
        if self.lut_lanes:  # and a clock to join the two
            clocks = 1 + max(clocks, DotProduct.latency_of(*self._dot))
        return clocks

    def create(self, latency: int) -> "ProductSums":
        """Hardware of ``latency`` clocks, at least its own."""
        return ProductSums(self, latency)


def products_resources(products: list[Products]) -> Resources:
    """What the products of groups alike but for their weights take."""
    one = products[0]
    if one.phases is not None:
        return phased_resources(tuple(p.phases for p in products if p.phases))
    used = Resources()
    if one.slices:
        used += one.slices.resources(one.width)
    if one.lut_lanes:
        used += DotProduct.resources(one.lut_lanes, one.pe, one.a_width, one.weight_type, one.width)
    if one.carries:
        used += Resources(lut=one.pe * one.width)
    elif one.slices and one.lut_lanes:
        used += Resources(lut=one.pe * one.width, ff=one.pe * one.width)
    return sum([used] * len(products), Resources())


class ProductSums(wiring.Component):
    """Hardware of :class:`Products`: ``sums[p] = sum(operands[s] * coefficients[p][s])``, with what
    each product's bits exceed it by, modulo ``2 ** width``. Interval: 1 clock; no handshake.

    Members
    -------
    operands : :py:`In(lanes * a_width)`
        Each lane ``lags`` clocks late.
    coefficients : :py:`In(pe * lanes * weight_type.width)`
        Lane ``s`` of sum ``p`` at ``(p * lanes + s) * weight_type.width``, as late as its operands;
        empty of phases.
    turn : In
        Of phases: whose weights it is.
    enabled, begins : :py:`In(1)`
        Of accumulating slices: both are valid; they begin a sum.
    begins, start, carried : In
        Of carrying slices, ``carried_at`` clocks after the first operands: a sum begins, from
        ``start``; else it is ``carried`` so far. Fields of a slice are one number.
    sums : :py:`Out(pe * width)`
    """

    def __init__(self, config: Products, latency: int):
        self.config, self.latency = config, latency
        phases, weight = config.phases, config.weight_type.width
        super().__init__({
            "operands": In(config.lanes * config.a_width),
            "coefficients": In(0 if phases else config.pe * config.lanes * weight),
            "turn": In(phases.phase_width if phases else 0), "enabled": In(1), "begins": In(1),
            **dict.fromkeys(("start", "carried"),
                            In(config.pe * config.width if config.carries else 0)),
            "sums": Out(config.pe * config.width)})

    def elaborate(self, platform):
        m = Module()
        cfg = self.config
        if cfg.carries:
            self._carry(m, platform)
            return m
        parts = self._parts(m)
        found = []
        for n, part in enumerate(parts):
            # Slices and LUTs take unequal clocks.
            late = self.latency - (len(parts) > 1) - part.latency + cfg.accumulates
            late_sums = delay(m, part.o, late, f"sums_{n}")
            found.append([late_sums.word_select(p, part.width) for p in range(cfg.pe)])
        for p, terms in enumerate(zip(*found)):
            total: Value = terms[0]
            if len(terms) > 1:
                total = Signal(cfg.width, name=f"joined_{p}", reset_less=True)
                m.d.sync += total.eq(terms[0] + terms[1])
            m.d.comb += self.sums.word_select(p, cfg.width).eq(total)
        return m

    def _parts(self, m) -> list[DotProduct | DspDotProduct | PhasedProduct]:
        cfg = self.config
        if cfg.phases is not None:
            m.submodules.phased = phased = PhasedProduct(cfg.phases)
            m.d.comb += [phased.a.eq(self.operands), phased.phase.eq(self.turn)]
            return [phased]
        parts: list[DotProduct | DspDotProduct | PhasedProduct] = []
        sliced = cfg.lanes - cfg.lut_lanes
        if cfg.slices:
            m.submodules.slices = slices = DspDotProduct(cfg.slices, cfg.width)
            m.d.comb += [slices.a.eq(self.operands[:sliced * cfg.a_width]),
                         slices.w.eq(self._weights(0, sliced))]
            if cfg.accumulates:
                m.d.comb += [slices.en.eq(self.enabled), slices.first.eq(self.begins)]
            parts.append(slices)
        if cfg.lut_lanes:
            m.submodules.luts = luts = DotProduct(cfg.lut_lanes, cfg.pe, *cfg._dot[1:])
            m.d.comb += [luts.a.eq(self.operands[sliced * cfg.a_width:]),
                         luts.w.eq(self._weights(sliced, cfg.lanes))]
            parts.append(luts)
        return parts

    def _carry(self, m, platform) -> None:
        """Products of LUTs join what the sums are so far, and both go through the slices."""
        cfg = self.config
        assert cfg.slices is not None
        *luts, = self._parts(m)
        slices = luts.pop(0)
        joining: list[Value] = [Const(0, 1)] * cfg.pe
        for part in luts:
            late = delay(m, part.o, cfg.carried_at - part.latency, "joining")
            joining = [late.word_select(p, part.width) for p in range(cfg.pe)]
        for g in range(cfg.slices.groups):
            first, end = g * cfg.slices.fields, min((g + 1) * cfg.slices.fields, cfg.pe)
            added = Cat(Cat(one, Const(0, cfg.width))[:cfg.width] for one in joining[first:end])
            bits = slice(first * cfg.width, end * cfg.width)
            m.d.comb += slices.carried[bits].eq(add_chosen(
                m, platform, f"carried_{g}", added, self.begins, self.start[bits],
                self.carried[bits]))
        m.d.comb += self.sums.eq(slices.o)

    def _weights(self, first: int, end: int) -> Value:
        """Those of some lanes."""
        lanes, bits = self.config.lanes, self.config.weight_type.width
        return Cat(self.coefficients[(p * lanes + first) * bits:(p * lanes + end) * bits]
                   for p in range(self.config.pe))
