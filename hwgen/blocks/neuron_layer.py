"""Neuron layer: dot products with constant weights, folded over inputs and outputs."""

from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from amaranth import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from ..arith.dot_product import product_offsets
from ..arith.dsp import DspPlan, carrying, plan_slices
from ..arith.phased_product import MOST_PHASES, PhasedPlan
from ..ops import Bias, Op, Threshold
from ..resources import Resources
from ..streams import TensorStream
from ..types import TERNARY, NumType, uint_type
from .activation import Activation
from .block import BufferedBlock, Schedule, as_soon_as_possible
from .counters import counter_ahead, credit_resources, credits, turns_ahead
from .elementwise import activation_units
from .export import add_chosen, lut
from .fifo import fifo_resources
from .primitives import (
    DelayLine,
    Rom,
    StreamFifo,
    delay,
    delay_resources,
    ram_luts,
    rom_luts,
    rom_registers,
)
from .products import Products, products_resources
from .threshold import ThresholdActivation
from .weight_memory import WeightMemory
from .weight_sums import WeightSums

__all__ = ["NeuronLayer", "NeuronLayerConfig"]

CARRIED_TURN = 3
"""Clocks from a neuron's turn to its next that sums need which pass through slices, beside one for
each slice of a row: to its register, to that of the memory and to that of the slice."""

LONGEST_CARRIED = 64
"""Neurons' turns up to which such sums are kept: what LUT RAM holds without a multiplexer."""

PRODUCT_CLOCKS = 4
"""Of a tree of products, for an estimate: to know them takes as long as to make it."""


@dataclass(frozen=True, eq=False)
class NeuronLayerConfig(BufferedBlock):
    """Dot products of each input vector with constant weights, bias and activation.

    Inputs are used in order of arrival: ``simd`` lanes at a time meet all neurons, ``pe`` per
    clock, whose partial sums circulate in a ring. So each input beat is read once and held for
    ``neurons / pe`` clocks, and no vector is stored.

    Parameters
    ----------
    input
        Stream of vectors; its channels are ``groups`` x inputs, its lanes ``group_parallel`` x
        ``simd``.
    weights
        (groups, inputs, neurons) integers, inputs in stream order.
    weight_type
        Type of each weight.
    bias
        (groups * neurons,) integers.
    accumulator
        Exact type of the sums.
    activations
        (operation, output type) pairs applied to the sums, in order.
    pe
        Neurons per clock (of each group at work); divides the neurons.
    group_parallel
        Groups at work at once, their inputs side by side in each beat; more than 1 needs ``pe`` =
        neurons.
    style
        Where the weights are: ``logic`` (LUTs), ``block`` (block RAM), ``parity`` (block RAM of a 7
        series chip, words in its parity bits too), of TERNARY weights ``packed`` (block RAM, five
        in eight bits) or, where two to four words are enough, ``phases`` (in the LUTs of the
        products).
    multiplier
        What makes the products: ``lut`` or ``dsp`` (slices).
    dsp_lanes
        Of ``dsp``, lanes of each group at work that slices multiply, the first ones; LUTs multiply
        the others. 0 for all.
    fifo_depth
        Beats that the output FIFO holds.
    sums
        Of the weights, where they are known already: options of a layer share them.
    """

    input: TensorStream
    weights: np.ndarray
    weight_type: NumType
    bias: np.ndarray
    accumulator: NumType
    activations: tuple[tuple[Op, NumType], ...] = field(default=())
    pe: int = 1
    group_parallel: int = 1
    style: str = "logic"
    multiplier: str = "lut"
    dsp_lanes: int = 0
    fifo_depth: int = 16
    sums: WeightSums | None = field(default=None, repr=False)

    def __post_init__(self):
        groups, inputs, neurons = self.weights.shape
        if groups * inputs != self.input.channels:
            raise ValueError(f"weights take {groups} x {inputs} channels, "
                             f"the stream has {self.input.channels}")
        if neurons % self.pe:
            raise ValueError(f"pe ({self.pe}) must divide the number of neurons ({neurons}); "
                             f"choose one of "
                             f"{[n for n in range(1, neurons + 1) if neurons % n == 0]}")
        if groups % self.group_parallel:
            raise ValueError(f"group_parallel ({self.group_parallel}) must divide the number of "
                             f"groups ({groups})")
        if self.input.lanes % self.group_parallel or inputs % self.simd:
            raise ValueError(f"lanes ({self.input.lanes}) must be group_parallel x a divisor of "
                             f"the inputs ({inputs})")
        if self.group_parallel > 1 and self.pe != neurons:
            raise ValueError(f"group_parallel ({self.group_parallel}) above 1 needs all neurons of "
                             f"a group at once: pe = {neurons}, not {self.pe}")
        if self.style not in ("logic", "block", "packed", "parity", "phases"):
            raise ValueError(f"style must be 'logic', 'block', 'packed', 'parity' or 'phases', not "
                             f"{self.style!r}")
        if self.style == "phases" and not 1 < self.depth <= MOST_PHASES:
            raise ValueError(f"style 'phases' is for 2 to {MOST_PHASES} words of weights, not "
                             f"{self.depth}; choose 'logic' or 'block'")
        if self.style == "phases" and self.multiplier != "lut":
            raise ValueError("style 'phases' needs the multiplier 'lut'")
        if self.style == "packed" and self.weight_type != TERNARY:
            raise ValueError(f"style 'packed' is for TERNARY weights, not "
                             f"{self.weight_type.name}; choose 'block'")
        if self.style == "parity" and self.memory.parity is None:
            raise ValueError(f"style 'parity' is for words of weights that reach parity bits, not "
                             f"{self.depth} of {self.memory.width} bits; choose 'block'")
        if self.multiplier not in ("lut", "dsp"):
            raise ValueError(f"multiplier must be 'lut' or 'dsp', not {self.multiplier!r}")
        if self.multiplier == "dsp" and self.slices is None:
            raise ValueError(f"DSP slices can't multiply {self.weight_type.name} weights with "
                             f"{self.input.dtype.name} inputs; choose the multiplier 'lut'")
        if not 0 <= self.dsp_lanes <= (self.simd if self.multiplier == "dsp" else 0):
            raise ValueError(f"dsp_lanes ({self.dsp_lanes}) are from 0 to simd ({self.simd}), and "
                             f"of the multiplier 'dsp' only")
        if self.fifo_depth < 2:
            raise ValueError(f"fifo_depth ({self.fifo_depth}) must be at least 2")

    @property
    def inputs(self) -> tuple[TensorStream, ...]:
        return (self.input,)

    @property
    def output(self) -> TensorStream:
        kind = self.activations[-1][1] if self.activations else self.accumulator
        return TensorStream(kind, (*self.input.shape[:2], len(self.bias)),
                            self.group_parallel * self.pe)

    @property
    def groups(self) -> int:
        return self.weights.shape[0]

    @property
    def simd(self) -> int:
        """Inputs per clock, of each group at work."""
        return self.input.lanes // self.group_parallel

    @property
    def hold(self) -> int:
        """Clocks that an input beat is held: neurons / pe."""
        return self.weights.shape[2] // self.pe

    @property
    def steps(self) -> int:
        """Input beats of a dot product: inputs / simd."""
        return self.weights.shape[1] // self.simd

    @property
    def rounds(self) -> int:
        """Group sets of a pixel: groups / group_parallel."""
        return self.groups // self.group_parallel

    @property
    def depth(self) -> int:
        """Words of weight memory."""
        return self.rounds * self.steps * self.hold

    @property
    def folding(self) -> dict[str, int]:
        folding = {"pe": self.pe, "simd": self.simd}
        return folding | ({"groups": self.group_parallel} if self.groups > 1 else {})

    @property
    def cycles(self) -> int:
        return self.input.beats * self.hold

    # Arithmetic on unsigned codes of the inputs: a = a_step * a' + a_low.

    @property
    def _a(self) -> tuple[int, int]:
        kind = self.input.dtype
        return (2, -1) if kind.bipolar else (1, -(1 << (kind.width - 1)) if kind.signed else 0)

    @cached_property
    def slices(self) -> DspPlan | None:
        """The DSP slices of a group at work: those that accumulate by themselves, where a slice has
        all products of a neuron; None without slices."""
        if self.multiplier != "dsp":
            return None
        kind = (self.pe, self.input.dtype.width, self.weight_type, self._sums.extremes)
        lanes = self.dsp_lanes or self.simd
        alone = plan_slices(1, *kind, self.steps) \
            if self.hold == self.simd == lanes == 1 < self.steps else None
        return alone or plan_slices(lanes, *kind)

    @cached_property
    def _sums(self) -> WeightSums:
        return self.sums or WeightSums(self.weights)

    @property
    def accumulates(self) -> bool:
        """Whether the slices add the steps of a sum too."""
        return self.slices is not None and self.slices.steps > 1

    @cached_property
    def carrying(self) -> DspPlan | None:
        """The same slices where sums pass through them on their way around; None where that can't
        be: a neuron's turn comes too soon."""
        if self.slices is None or self.accumulates or self.steps == 1 or self._a[0] > 1 \
                or not CARRIED_TURN + self.slices.lanes <= self.hold <= LONGEST_CARRIED:
            return None
        products = self._products(self.slices)
        fits = products.lut_lanes == 0 or products.joining_width < self._sum_type.width
        return carrying(self.slices, self._sum_type.width) if fits else None

    @property
    def _absorbs(self) -> bool:
        """Whether levels take over the start values."""
        return bool(self.activations) and isinstance(self.activations[0][0], Threshold)

    @property
    def _from_zero(self) -> bool:
        """Whether sums start from 0, and what else they should start from is added behind."""
        return self._absorbs or self.accumulates

    @cached_property
    def _sum_type(self) -> NumType:
        """Type of the circulating sums: accumulators, or what is above the start values."""
        if not self._from_zero:
            return self.accumulator
        high = (1 << self.input.dtype.width) - 1
        most = self._sums.positive * high + self._offsets
        return uint_type(max(1, int(self._a[0] * most.max()).bit_length()))

    @cached_property
    def _offsets(self) -> np.ndarray:
        """(groups, neurons) by how much the sums of products' bits exceed those of products."""
        groups, inputs, neurons = self.weights.shape
        width = self.input.dtype.width
        if self.style == "phases":
            return self._sums.negative_digits * ((1 << width) - 1)
        sliced, negatives = 0, self._sums.negatives
        if self.slices:
            sliced = inputs // self.simd * self.slices.lanes
            lanes = self.weights.reshape(groups, -1, self.simd, neurons)[:, :, self.slices.lanes:]
            negatives = np.count_nonzero(lanes < 0, axis=(1, 2))
            if sliced == inputs:
                return np.full((groups, neurons), -self.slices.lowest * inputs)
        below, others = product_offsets(np.array([-1, 1]), self.weight_type, width).tolist()
        found = below * negatives + others * (inputs - sliced - negatives)
        return found - self.slices.lowest * sliced if self.slices else found

    @cached_property
    def products(self) -> list[Products]:
        """Of each group at work."""
        plans: list[PhasedPlan | None] = [None] * self.group_parallel
        if self.style == "phases":
            shape = (self.depth, self.group_parallel, self.pe, self.simd)
            words = self.weight_type.decode(self.weight_codes()).reshape(shape)
            width = self._sum_type.width - (self._a[0] - 1)
            plans = [PhasedPlan(words[:, g], self.input.dtype.width, width)
                     for g in range(self.group_parallel)]
        slices = self.carrying or self.slices
        return [self._products(slices, plan) for plan in plans]

    def _products(self, slices: DspPlan | None, phases: PhasedPlan | None = None) -> Products:
        return Products(self.simd, self.pe, self.input.dtype.width, self.weight_type,
                        self._sum_type.width - (self._a[0] - 1), slices, phases)

    def weight_codes(self) -> np.ndarray:
        """Unsigned codes, (depth, group_parallel * pe * simd)."""
        codes = self.weight_type.encode(self.weights)
        shape = (self.rounds, self.group_parallel, self.steps, self.simd, self.hold, self.pe)
        return codes.reshape(shape).transpose(0, 2, 4, 1, 5, 3).reshape(self.depth, -1)

    def start_values(self) -> np.ndarray:
        """What each neuron's sum starts from, in channel order: bias and constants of products."""
        step, low = self._a
        return self.bias + (low * self._sums.total - step * self._offsets).reshape(-1)

    @property
    def halves(self) -> list[int]:
        """What the sums of an output beat are more than they should be where they pass through
        slices: below 0 one would borrow from the next of its slice."""
        width, lanes = self._sum_type.width, self.output.lanes
        if self.carrying is None or not self._sum_type.signed:
            return [0] * lanes
        fields = self.carrying.fields
        return [0 if p % fields == fields - 1 or p == lanes - 1 else 1 << width - 1
                for p in range(lanes)]

    def start_codes(self) -> np.ndarray:
        """What sums start from, (output beats of a pixel or 1, lanes of output) unsigned codes."""
        width, lanes = self._sum_type.width, self.output.lanes
        values: np.ndarray = np.zeros((1, lanes), dtype=np.int64) if self._from_zero else \
            self.start_values().reshape(-1, lanes)
        if self.carrying is None:
            return values & ((1 << width) - 1)
        # Elsewhere slices add this to each sum of products.
        values = values + self.halves - self.carrying.lowest * self.carrying.lanes * self.steps
        codes = np.zeros_like(values)
        for first in range(0, lanes, self.carrying.fields):
            of_slice: np.ndarray = values[:, first:first + self.carrying.fields]
            shifts = np.arange(of_slice.shape[1], dtype=np.int64) * width
            number = (of_slice << shifts).sum(axis=1, keepdims=True)
            codes[:, first:first + self.carrying.fields] = number >> shifts & ((1 << width) - 1)
        return codes

    @cached_property
    def memory(self) -> WeightMemory:
        """The memory of the weights."""
        return WeightMemory(self.weight_codes, self.group_parallel * self.pe * self.simd,
                            self.weight_type, self.rounds, self.steps, self.hold, self.style,
                            tuple(self.products[0].lags))

    @cached_property
    def _dot_clocks(self) -> int:
        """Clocks of the products and their sums: groups with weights in them may be unlike."""
        return max(products.latency for products in self.products)

    @cached_property
    def units(self) -> tuple[Activation, ...]:
        """Units that the sums go through."""
        stream = TensorStream(self._sum_type, self.output.shape, self.output.lanes)
        if not self._from_zero:
            return activation_units(self.activations, stream)
        if not self._absorbs:
            restore: tuple[Op, NumType] = (Bias(self.start_values()), self.accumulator)
            return activation_units((restore, *self.activations), stream)
        (op, kind), *rest = self.activations
        assert isinstance(op, Threshold)
        return activation_units(((op.moved(self.start_values()), kind), *rest), stream)

    @property
    def reserves(self) -> bool:
        """Whether the FIFO itself knows which places results have that are under way."""
        return self.fifo_depth > 2

    @property
    def fifo_entry(self) -> str:
        return "fifo.write__en" if self.reserves else "fifo.i__valid"

    @property
    def pipeline(self) -> int:
        """Clocks from the issue of a step to the output FIFO."""
        return self.memory.latency + self._dot_clocks + 1 + sum(u.latency for u in self.units)

    @property
    def latency(self) -> int:
        return 1 + self.pipeline + StreamFifo.latency_of(self.fifo_depth)

    def compute(self, *tensors):
        x, = tensors
        groups, inputs, neurons = self.weights.shape
        # Beats bring some inputs of each group at work.
        split = x.reshape(*x.shape[:3], self.rounds, self.steps, self.group_parallel, self.simd)
        split = split.swapaxes(4, 5).reshape(*x.shape[:3], groups, 1, inputs)
        sums = (split @ self.weights.astype(np.int64)).reshape(*x.shape[:3], groups * neurons)
        sums = sums + self.bias
        for op, _ in self.activations:
            sums = op.compute(sums)
        return sums

    def create(self) -> "NeuronLayer":
        return NeuronLayer(self)

    def schedule(self, frames, *ready):
        taken = as_soon_as_possible(ready[0], self.hold)
        last = taken.reshape(-1, self.steps)[:, -1]
        issued = (last[:, None] + 1 + np.arange(self.hold)).reshape(-1)
        return Schedule((taken,), issued,
                        issued + self.pipeline + StreamFifo.latency_of(self.fifo_depth))

    def _sum_resources(self, family: str) -> Resources:
        """Weights, products, and what adds them up."""
        outputs = self.group_parallel * self.pe
        acc = self._sum_type.width
        parts = products_resources(self.products) + self.memory.estimate(family)
        if self.carrying:
            ram = ram_luts(outputs * acc, self.hold)
            parts += Resources(lut=ram, lutram=ram, ff=outputs * acc)
            parts += delay_resources(3 + (self.hold - 1).bit_length(), self._dot_clocks)
        elif not self.accumulates:
            adds = self.steps > 1 or not self._from_zero
            parts += Resources(lut=outputs * acc * adds, ff=outputs * acc)
        if self.steps > 1 and not self.accumulates and not self.carrying:
            parts += DelayLine.resources(outputs * acc, self.hold)
            parts -= Resources(ff=outputs * acc * (self.hold == 1))  # that is the sum itself
        return parts

    @property
    def _start_resources(self) -> Resources:
        """Of the memory of what sums start from."""
        if self._from_zero:
            return Resources()
        codes = self.start_codes()
        # Bits that never change are no memory, and equal ones are there once.
        bits = (codes[:, :, None] >> np.arange(self._sum_type.width) & 1).reshape(len(codes), -1)
        unlike = len(np.unique(bits[:, (bits != bits[0]).any(axis=0)], axis=1).T)
        return Resources(lut=unlike * rom_luts(len(codes)), ff=unlike * rom_registers(len(codes)))

    def estimate(self, family):
        # The held beat, and its copies beside the weight memory; what goes beside the sums.
        memory_clocks = self.memory.latency
        beside = memory_clocks + PRODUCT_CLOCKS
        groups = (self.rounds * self.hold - 1).bit_length()
        parts = Resources(ff=beside)
        first = self.units[0] if self.units else None
        # Of sums that make no difference, synthesis leaves nothing.
        if not (isinstance(first, ThresholdActivation) and first.is_constant):
            parts += self._sum_resources(family) + self._start_resources \
                + Resources(ff=self.input.data_width)
            for lag, lanes in Counter(lag for p in self.products for lag in p.lags).items():
                late, bits = memory_clocks + lag, lanes * self.input.dtype.width
                parts += Resources(ff=bits) if 1 < late <= self.hold \
                    else delay_resources(bits, late)
        parts += delay_resources(2 + (self.steps > 1) + groups, beside)
        in_order = (self.hold - 1).bit_length()
        in_turns = sum((n - 1).bit_length() for n in (self.steps, self.rounds))
        parts += Resources(lut=1.3 * in_order + 0.5 * in_turns + 4, ff=in_order + in_turns + 10)
        if not self.reserves:
            parts += credit_resources(self.fifo_depth)
        parts += fifo_resources(self.output.data_width + 1, self.fifo_depth, self.output.beats,
                                reserved=self.reserves)
        return sum((u.estimate() for u in self.units), parts)


def _next_ready(ready, arrives, holds, neurons_end, steps_end, free):
    """Whether a :class:`NeuronLayer` will hold no beat, or issue it for the last time."""
    will_hold = (ready & arrives) | (~ready & holds)
    return ~will_hold | (neurons_end & (~steps_end | free))


class NeuronLayer(wiring.Component):
    """Hardware of :class:`NeuronLayerConfig`.

    A beat is held while the neurons take turns; weights, products, tree, ring and activation
    follow as a pipeline without stalls, and a step that completes sums is issued only when the
    output FIFO has a place left for its result.

    Members
    -------
    i : :py:`In(config.input.signature())`
    o : :py:`Out(config.output.signature())`
    """

    def __init__(self, config: NeuronLayerConfig):
        self.config = config
        super().__init__({"i": In(config.input.signature()), "o": Out(config.output.signature())})

    def elaborate(self, platform):
        m = Module()
        cfg = self.config
        acc_width = cfg._sum_type.width

        # Hold an input beat for all neurons; count neuron, step and round.
        held = Signal(cfg.input.data_width, reset_less=True)
        held_last = Signal(reset_less=True)
        held_valid = Signal()
        issue = Signal()
        m.submodules.fifo = fifo = StreamFifo(cfg.output.payload(), cfg.fifo_depth,
                                              cfg.output.beats, reserved=cfg.reserves)
        wiring.connect(m, wiring.flipped(self.o), fifo.o)
        neuron, neuron_end, neuron_will_end = counter_ahead(m, cfg.hold, issue, "neuron")
        step, step_end, step_will_end = turns_ahead(m, cfg.steps, issue & neuron_end, "step")
        step_begins = Signal(init=1)
        with m.If(issue & neuron_end):
            m.d.sync += step_begins.eq(step_end)
        around, around_end, _ = turns_ahead(m, cfg.rounds, issue & neuron_end & step_end, "round")
        completes = step_end
        # A place in the FIFO is a result's from its issue on.
        if cfg.reserves:
            free, will_be_free = fifo.free, fifo.will_be_free
            m.d.comb += fifo.reserve.eq(held_valid & completes & free)
        else:
            free, will_be_free = credits(m, platform, cfg.fifo_depth, issue & completes,
                                         self.o.valid, self.o.ready)
        # Ready when no beat is held, or the one held is issued for the last time. What is in front
        # takes steps of its own from that, so it is a register, of what will be.
        ready = Signal(init=1)
        m.d.comb += [issue.eq(held_valid & (~completes | free)), self.i.ready.eq(ready)]
        m.d.sync += [held_valid.eq(Mux(ready, self.i.valid, held_valid)), ready.eq(
            lut(m, platform, "readies", _next_ready, ready, self.i.valid, held_valid,
                neuron_will_end, step_will_end, will_be_free))]
        with m.If(ready):
            m.d.sync += [held.eq(self._unsigned(self.i.payload.data.as_value())),
                         held_last.eq(self.i.payload.last)]

        # Weights, products and tree.
        m.submodules.weights = weights = cfg.memory.create()
        m.d.comb += [weights.turn.eq(neuron), weights.step.eq(step), weights.around.eq(around),
                     weights.en.eq(issue)]
        rom_clocks = cfg.memory.latency
        clocks = rom_clocks + cfg._dot_clocks
        activations = self._beside_weights(m, held, ready)
        sums: list[Value] = []
        for g, products in enumerate(cfg.products):
            name = f"products_{g}" if cfg.group_parallel > 1 else "products"
            m.submodules[name] = made = products.create(cfg._dot_clocks)
            m.d.comb += [
                made.operands.eq(activations.word_select(g, len(made.operands))),
                made.coefficients.eq(weights.word.word_select(g, len(made.coefficients))),
                made.turn.eq(weights.address)]
            if cfg.accumulates:
                m.d.comb += [made.enabled.eq(delay(m, issue, rom_clocks, "slices_en")),
                             made.begins.eq(delay(m, step_begins, rom_clocks, "slices_first"))]
            sums += [made.sums.word_select(p, products.width) << cfg._a[0] - 1
                     for p in range(cfg.pe)]

        # Partial sums circulate; a sum starts from its bias.
        valid = delay(m, issue, clocks, "issue")
        done = delay(m, issue & completes, clocks, "completes", reset=True)
        last = delay(m, neuron_end & held_last, clocks, "frame_end")
        channel_group = self._group_index(m, neuron, around_end, issue, neuron_end, step_end)
        joined = cfg.products[0].carried_at if cfg.carrying else cfg._dot_clocks
        first = delay(m, step_begins, rom_clocks + joined, "first") if cfg.steps > 1 \
            else Const(1, 1)
        if cfg.accumulates:
            result: Value = Cat(Cat(total, Const(0, acc_width))[:acc_width] for total in sums)
        else:
            start = self._starts(m, channel_group, rom_clocks + joined)
            result = self._carried(m, made, neuron, valid, first, start) if cfg.carrying else \
                self._accumulated(m, platform, sums, start, first, valid)

        # Activation.
        value = result
        group = delay(m, channel_group, clocks + 1, "group")
        late = 1
        for n, unit in enumerate(cfg.units):
            m.submodules[f"activation_{n}" if n else "activation"] = hardware = unit.create()
            m.d.comb += [hardware.x.eq(value), hardware.group.eq(group)]
            group = delay(m, group, unit.latency, f"group_{n}")
            value, late = hardware.y, late + unit.latency
        m.d.comb += [fifo.i.valid.eq(delay(m, done, late, "done", reset=True)),
                     fifo.i.payload.data.as_value().eq(value),
                     fifo.i.payload.last.eq(delay(m, last, late, "last"))]
        return m

    def _beside_weights(self, m, held: Signal, loads: Value) -> Value:
        """The held beat, each lane when its weights come. ``loads``: another is held next."""
        cfg = self.config
        lags = [lag for products in cfg.products for lag in products.lags]
        width = cfg.input.dtype.width
        lanes: dict[int, Value] = {}
        late, done = loads, 0
        for lag in sorted(set(lags)):
            clocks = cfg.memory.latency + lag
            places = [n for n, of_lane in enumerate(lags) if of_lane == lag]
            value: Value = Cat(held.word_select(n, width) for n in places)
            name = f"activations_{lag}" if lag else "activations"
            if 1 < clocks <= cfg.hold:
                # It is still held when it is wanted: a register, and no queue.
                late, done = delay(m, late, clocks - done, f"loads_{clocks}"), clocks
                wanted = Signal(len(value), reset_less=True, name=name)
                with m.If(late):
                    m.d.sync += wanted.eq(value)
                value = wanted
            else:
                value = delay(m, value, clocks, name)
            lanes |= {n: value.word_select(k, width) for k, n in enumerate(places)}
        return Cat(lanes[n] for n in range(len(lags)))

    def _starts(self, m, channel_group: Value, clocks: int) -> Value:
        """What the sums of an output beat start from, ``clocks`` after its number."""
        cfg = self.config
        codes, width = cfg.start_codes(), cfg._sum_type.width
        m.submodules.start = start = Rom(
            codes, width, "logic", "start",
            at_once=Rom.latency_of("logic", width, len(codes)) > clocks)
        m.d.comb += start.addr.eq(delay(m, channel_group, clocks - start.latency, "start_group"))
        return start.data

    def _carried(self, m, made, neuron: Value, valid: Value, first: Value, start: Value) -> Value:
        """Sums over the steps of each neuron: partial ones circulate through the slices and a
        memory, as a neuron's turn comes long after the last."""
        cfg = self.config
        clocks = cfg.memory.latency + cfg._dot_clocks + 1
        m.submodules.ring = ring = memory.Memory(
            shape=len(made.sums), depth=cfg.hold, init=[], attrs={"ram_style": "distributed"})
        write, read = ring.write_port(), ring.read_port()
        m.d.comb += [
            write.addr.eq(delay(m, neuron, clocks, "carried_to")), write.data.eq(made.sums),
            write.en.eq(delay(m, valid, 1, "carried")),
            read.addr.eq(delay(m, neuron, cfg.memory.latency + cfg.products[0].carried_at - 1,
                               "carried_from")),
            read.en.eq(1), made.begins.eq(first), made.start.eq(start),
            made.carried.eq(read.data)]
        return made.sums ^ sum(half << p * cfg._sum_type.width
                               for p, half in enumerate(cfg.halves))

    def _accumulated(self, m, platform, sums: list[Value], start: Value, first: Value,
                     valid: Value) -> Value:
        """Sums over the steps of each neuron, registered: partial ones circulate in a ring."""
        cfg = self.config
        acc_width, lanes = cfg._sum_type.width, cfg.output.lanes
        result = Signal(lanes * acc_width, reset_less=True)
        added = Signal(lanes * acc_width)
        before: Value = start
        if cfg.steps > 1:
            m.submodules.ring = ring = DelayLine(lanes * acc_width, cfg.hold)
            m.d.comb += [ring.en.eq(valid), ring.i.eq(added)]
            before = ring.o
        for n, total in enumerate(sums):
            bits = slice(n * acc_width, (n + 1) * acc_width)
            m.d.comb += added[bits].eq(add_chosen(
                m, platform, f"added_{n}", total, first, start[bits], before[bits])
                if cfg.steps > 1 else total + before[bits])
        m.d.sync += result.eq(added)
        return result

    def _unsigned(self, codes: Value) -> Value:
        """Two's complement lanes to offset binary: the sign bit inverted."""
        kind = self.config.input.dtype
        if not kind.signed:
            return codes
        mask = sum(1 << (n * kind.width + kind.width - 1) for n in range(self.config.input.lanes))
        return codes ^ mask

    def _group_index(self, m, neuron, around_end, issue, neuron_end, step_end) -> Value:
        """Number of the output beat within its pixel."""
        cfg = self.config
        if cfg.rounds == 1:
            return neuron
        base = Signal(range(cfg.rounds * cfg.hold))
        with m.If(issue & neuron_end & step_end):
            m.d.sync += base.eq(Mux(around_end, 0, base + cfg.hold))
        index = Signal(range(cfg.rounds * cfg.hold), name="output_beat")
        m.d.comb += index.eq(base + neuron)
        return index

