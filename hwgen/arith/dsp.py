"""Dot products in DSP slices: several products by one multiplier, added from slice to slice.

A slice multiplies 25 by 18 bits. Two or three weights side by side, far enough apart, times the
same activation are as many products side by side (Fu, Wu, Sirasao et al., "Deep Learning with INT8
Optimization on Xilinx Devices", WP486, 2017; "Convolutional Neural Network with INT4 Optimization
on Xilinx Devices", WP521, 2020). Here the sum in each field starts from a constant so large that
it never falls below 0: no field borrows from the next, and nothing has to be corrected behind.

The operands of each next slice of a row come a clock later: it adds to what the one before has
made (:attr:`DspPlan.lags`).
"""

from dataclasses import dataclass, replace
from functools import lru_cache

from amaranth import Cat, ClockSignal, Const, Instance, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..blocks.export import Export
from ..blocks.primitives import delay
from ..resources import Resources
from ..types import TERNARY, NumType
from .bit_heap import Compression, Term, compress, compressed
from .compressor import Compressor

__all__ = ["CARRIED_CLOCKS", "MAC", "MAC_ROWS", "DspDotProduct", "DspPlan", "carrying",
           "plan_slices"]

MAC = "hwgen_mac"
"""Verilog file of exported slices, and module of one."""

MAC_ROWS = "hwgen_mac_rows"
"""Module of a dot product's slices."""

WEIGHT_PORT, ACTIVATION_PORT, RESULT = 25, 18, 48
"""Bits of a slice's operands, signed, and of its result."""

MOST_FIELDS = 3
SLICE_CLOCKS = 4

CARRIED_CLOCKS = SLICE_CLOCKS - 2
"""From the operands of a row's first slice to the number from outside that they are added to."""


@dataclass(frozen=True)
class DspPlan:
    """How slices make some dot products.

    Parameters
    ----------
    lanes, outputs
        Products in each sum; sums.
    a_width, weight_type
        Bits of an activation, unsigned; type of a weight.
    low, high
        Smallest weight or 0, and largest.
    fields
        Sums that share a slice.
    spacing
        Bits from one field to the next.
    chains
        Rows of slices that sum ``lanes`` products; theirs are added in LUTs.
    steps
        Terms that each slice adds over as many clocks; 1 unless it accumulates.
    carries
        Rows of slices add their products to a number from outside, field by field: what the sums
        are so far. Then only the sums in the end must fit their fields.
    """

    lanes: int
    outputs: int
    a_width: int
    weight_type: NumType
    low: int
    high: int
    fields: int
    spacing: int
    chains: int
    steps: int = 1
    carries: bool = False

    @property
    def lowest(self) -> int:
        """Smallest product."""
        return self.low * ((1 << self.a_width) - 1)

    @property
    def highest(self) -> int:
        return self.high * ((1 << self.a_width) - 1)

    @property
    def groups(self) -> int:
        """Sets of outputs that share slices."""
        return -(-self.outputs // self.fields)

    @property
    def slices(self) -> int:
        return self.groups * self.lanes

    @property
    def lengths(self) -> list[int]:
        """Slices of each chain."""
        length, longer = divmod(self.lanes, self.chains)
        return [length + 1] * longer + [length] * (self.chains - longer)

    @property
    def lags(self) -> list[int]:
        """Clocks by which the operands of each lane come after those of the first."""
        return [n for length in self.lengths for n in range(length)]

    def width_of(self, length: int) -> int:
        """Bits of a field behind ``length`` slices."""
        if self.carries:
            return self.spacing
        return int((self.highest - self.lowest) * length * self.steps).bit_length()

    def adders(self, width: int) -> Compression | None:
        """What adds the chains of one output; nets: the bits of each chain's field in turn."""
        return None if self.chains == 1 else _adders(*self._chained(width))

    def _chained(self, width: int) -> tuple[tuple[int, ...], int]:
        """Bits of each chain, and of their sum."""
        high = (self.highest - self.lowest) * self.lanes
        return tuple(map(self.width_of, self.lengths)), min(width, high.bit_length())

    def latency(self, width: int) -> int:
        """Clocks from the first activations and weights to sums of ``width`` bits."""
        adders = self.adders(width)
        return SLICE_CLOCKS + self.lengths[0] - 1 + (adders.latency if adders else 0)

    def resources(self, width: int) -> Resources:
        """Slices and adders; operands come when they are needed."""
        total = Resources(dsp=self.slices)
        if self.fields > 2 and self.weight_type.signed:
            total += Resources(lut=self.groups * self.lanes * self.weight_type.width)
        if self.chains > 1:
            adders = _adder_resources(*self._chained(width))
            total += Resources(lut=self.outputs * adders.lut, ff=self.outputs * adders.ff)
        return total


@lru_cache(maxsize=1024)
def _adders(chains: tuple[int, ...], width: int) -> Compression:
    return compress(*_chain_heap(chains, width))


@lru_cache(maxsize=1024)
def _adder_resources(chains: tuple[int, ...], width: int) -> Resources:
    return compressed(*_chain_heap(chains, width))


def _chain_heap(chains: tuple[int, ...], width: int) -> tuple[list[list[Term]], int, int]:
    """Numbers of so many bits, with the bits of their sum and the number of nets."""
    columns: list[list[Term]] = [[] for _ in range(max(chains))]
    nets = 0
    for bits in chains:
        for k in range(bits):
            columns[k].append(Term((nets,)))
            nets += 1
    return columns, width, nets


def plan_slices(lanes: int, outputs: int, a_width: int, weight_type: NumType,
                extremes: tuple[int, int], steps: int = 1) -> DspPlan | None:
    """The way with most products in a slice; None if slices can't make these.

    ``extremes`` are the smallest and the largest weight that there is: without the lowest of its
    type, two products of 8 bits each fit twice. ``steps`` above 1: the slices accumulate over so
    many clocks, one product each, and whole sums must fit their fields.
    """
    if weight_type.bipolar or weight_type == TERNARY or a_width >= ACTIVATION_PORT:
        return None
    low, high = min(extremes[0], 0), max(extremes[1], 0)
    span = max(1, (high - low) * ((1 << a_width) - 1))
    for fields in range(min(outputs, MOST_FIELDS), 0, -1):
        spacing = _spacing(low, high, fields)
        reach = ((1 << spacing) - 1) // span  # products whose sum fits a field
        plan = DspPlan(lanes, outputs, a_width, weight_type, low, high, fields, spacing, 1)
        if steps > 1 and lanes == 1 and reach >= steps:
            return replace(plan, steps=steps)
        if steps == 1 and reach >= min(2, lanes):
            return replace(plan, chains=-(-lanes // reach))
    return None


def carrying(plan: DspPlan, width: int) -> DspPlan | None:
    """The same with sums of ``width`` bits that rows of slices add their products to; None if it
    takes more slices."""
    most = min(plan.outputs, MOST_FIELDS, RESULT // width)
    fields = next((n for n in range(most, 0, -1) if _fits(plan.low, plan.high, n, width)), 0)
    if not fields:
        return None
    found = replace(plan, fields=fields, spacing=width, chains=1, carries=True)
    return found if found.slices <= plan.slices else None


@lru_cache(maxsize=1024)
def _spacing(low: int, high: int, fields: int) -> int:
    """How far apart weights can be on the port; 0 if they don't fit it."""
    return next((n for n in range(RESULT // fields, 0, -1) if _fits(low, high, fields, n)), 0)


def _fits(low: int, high: int, fields: int, spacing: int) -> bool:
    """Whether weights so far apart fit the port."""
    ones = sum(1 << n * spacing for n in range(fields))
    return low * ones >= -(1 << WEIGHT_PORT - 1) and high * ones < 1 << WEIGHT_PORT - 1


class DspDotProduct(wiring.Component):
    """``o[p] = sum(a[s] * w[p][s] - lowest)``, modulo ``2 ** width``.

    Latency: ``latency`` clocks; interval: 1 clock; no handshake. With ``plan.steps`` above 1, ``o``
    is the sum since ``first``. With ``plan.carries``, ``o`` is ``carried``, ``CARRIED_CLOCKS``
    after the first operands, and the products; all ``o`` and ``carried`` of a slice are one number.

    Members
    -------
    a : :py:`In(lanes * a_width)`
        Each lane ``plan.lags`` clocks late, as its weights.
    w : :py:`In(outputs * lanes * weight_type.width)`
        Lane ``s`` of output ``p`` at ``(p * lanes + s) * weight_type.width``.
    en, first : :py:`In(1)`
        Of accumulating slices: ``a`` and ``w`` are valid; they begin a sum.
    carried : :py:`In(outputs * width)`
        Of carrying ones.
    o : :py:`Out(outputs * width)`
    """

    def __init__(self, plan: DspPlan, width: int):
        self.plan = plan
        self.adders = plan.adders(width)
        self.width = len(self.adders.output) if self.adders else \
            min(width, plan.width_of(plan.lanes))
        self.latency = plan.latency(width)
        super().__init__({"a": In(plan.lanes * plan.a_width),
                          "w": In(plan.outputs * plan.lanes * plan.weight_type.width),
                          "en": In(1), "first": In(1),
                          "carried": In(plan.outputs * self.width if plan.carries else 0),
                          "o": Out(plan.outputs * self.width)})

    def elaborate(self, platform):
        m = Module()
        plan = self.plan
        lane = 0
        sums: list[list[Value]] = [[] for _ in range(plan.outputs)]
        for c, length in enumerate(plan.lengths):
            lanes = range(lane, lane + length)
            make = self._exported if isinstance(platform, Export) else self._simulated
            results = make(m, platform, c, lanes)
            for g, result in enumerate(results):
                result = delay(m, result, plan.lengths[0] - length, f"sum_{c}_{g}")
                for k, p in enumerate(self._outputs(g)):
                    sums[p].append(result[k * plan.spacing:][:plan.width_of(length)])
            lane += length
        if self.adders is None:
            m.d.comb += self.o.eq(Cat(total[0][:self.width] for total in sums))
            return m
        own = len(Cat(sums[0]))
        m.submodules.adders = adders = Compressor(self.adders, 0, own, plan.outputs)
        m.d.comb += [adders.own.eq(Cat(*(Cat(total) for total in sums))), self.o.eq(adders.o)]
        return m

    def _outputs(self, g: int) -> range:
        """Sums that share the slices of group ``g``."""
        return range(g * self.plan.fields, min((g + 1) * self.plan.fields, self.plan.outputs))

    def _weights(self, lane: int) -> Value:
        """Weights of all outputs for one lane."""
        width = self.plan.weight_type.width
        return Cat(self.w.word_select(p * self.plan.lanes + lane, width)
                   for p in range(self.plan.outputs))

    def _start(self, length: int) -> int:
        """What the sums of a row of slices begin with, so that none falls below 0; carrying ones
        begin with what they carry."""
        plan = self.plan
        return sum(-plan.lowest * length * plan.steps << k * plan.spacing
                   for k in range(plan.fields))

    def _exported(self, m, platform, c: int, lanes: range) -> list[Value]:
        """Results of a row of slices per group: an instance of a module with all of them, as slice
        by slice through Amaranth takes seconds."""
        plan, length = self.plan, len(lanes)
        platform.uses.add(MAC)
        p = Signal(plan.groups * RESULT, name=f"sums_{c}")
        m.submodules[f"rows_{c}"] = Instance(
            MAC_ROWS, p_LENGTH=length, p_OUTPUTS=plan.outputs, p_FIELDS=plan.fields,
            p_SPACING=plan.spacing, p_A_WIDTH=plan.a_width, p_W_WIDTH=plan.weight_type.width,
            p_SIGNED=int(plan.weight_type.signed), p_ACCUMULATE=int(plan.steps > 1),
            p_START=Const(self._start(length), RESULT),
            i_clk=ClockSignal(), i_a=self.a[lanes.start * plan.a_width:lanes.stop * plan.a_width],
            i_w=Cat(self._weights(lane) for lane in lanes), i_en=self.en, i_first=self.first,
            p_CARRIES=int(plan.carries),
            i_c=Cat(self._carried(g) for g in range(plan.groups)), o_p=p)
        return [p.word_select(g, RESULT) for g in range(plan.groups)]

    def _carried(self, g: int) -> Value:
        """The number from outside of group ``g``."""
        bits = self.plan.fields * self.width
        return Cat(self.carried[g * bits:(g + 1) * bits], Const(0, RESULT))[:RESULT]

    def _simulated(self, m, platform, c: int, lanes: range) -> list[Value]:
        plan = self.plan
        results: list[Value] = [Const(0, RESULT)] * plan.groups
        for n, lane in enumerate(lanes):
            a, together = self.a.word_select(lane, plan.a_width), self._weights(lane)
            for g in range(plan.groups):
                weights = [together.word_select(p, plan.weight_type.width)
                           for p in self._outputs(g)]
                m.submodules[f"slice_{lane}_{g}"] = mac = _Mac(
                    first=n == 0, accumulate=plan.steps > 1, start=self._start(len(lanes)),
                    carries=plan.carries)
                low, high = self._operands(weights)
                m.d.comb += [mac.a.eq(low), mac.d.eq(high), mac.b.eq(a), mac.pcin.eq(results[g]),
                             mac.en.eq(self.en), mac.first.eq(self.first),
                             mac.c.eq(self._carried(g))]
                results[g] = mac.p
        return results

    def _operands(self, weights: list[Value]) -> tuple[Value, Value]:
        """What goes to the two ports of the pre-adder: the first weight, and the others."""
        spacing, kind = self.plan.spacing, self.plan.weight_type
        numbers = [w.as_signed() if kind.signed else w for w in weights]
        high: Value = Const(0, 1)
        if len(numbers) == 2:
            high = numbers[1] << spacing
        elif len(numbers) == 3:
            # Below 0 the second borrows from the third.
            third = (numbers[2] - weights[1][-1]) if kind.signed else numbers[2]
            second = Cat(weights[1], (weights[1][-1] if kind.signed else Const(0, 1)).replicate(
                spacing - kind.width))
            high = Cat(Const(0, spacing), second, third)
            high = high.as_signed() if kind.signed else high
        return numbers[0], high


class _Mac(wiring.Component):
    """A slice in simulation; see ``hwgen_mac`` in ``rtl_templates/hwgen_mac.v.j2``."""

    def __init__(self, *, first: bool, accumulate: bool, start: int, carries: bool = False):
        self.is_first, self.accumulate, self.start = first, accumulate, start
        self.carries = carries
        super().__init__({"a": In(signed(WEIGHT_PORT)), "d": In(signed(WEIGHT_PORT)),
                          "b": In(signed(ACTIVATION_PORT)), "pcin": In(RESULT), "en": In(1),
                          "first": In(1), "c": In(RESULT), "p": Out(RESULT)})

    def elaborate(self, platform):
        m = Module()
        a, d = delay(m, self.a, 1, "a"), delay(m, self.d, 1, "d")
        total = Signal(signed(WEIGHT_PORT), reset_less=True)
        product = Signal(signed(WEIGHT_PORT + ACTIVATION_PORT), reset_less=True)
        p = Signal(RESULT, reset_less=True)
        m.d.sync += [total.eq(a + d), product.eq(total * delay(m, self.b, 2, "b"))]
        if self.accumulate:
            begins = delay(m, self.first, 3, "first")
            with m.If(delay(m, self.en, 3, "en")):
                m.d.sync += p.eq(product + Mux(begins, self.start, p))
        else:
            start = delay(m, self.c, 1, "c") if self.carries else Const(self.start, RESULT)
            m.d.sync += p.eq(product + (start if self.is_first else self.pcin))
        m.d.comb += self.p.eq(p)
        return m
