"""Neuron layer: dot products with constant weights, folded over inputs and outputs."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar

import numpy as np
from amaranth import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..arith.dot_product import product_offsets
from ..arith.dsp import DspPlan, plan_slices
from ..arith.phased_product import MOST_PHASES, PhasedPlan
from ..ops import Bias, Op, Threshold
from ..resources import Resources
from ..streams import TensorStream
from ..types import TERNARY, NumType, uint_type
from .activation import Activation
from .block import BufferedBlock, Schedule, as_soon_as_possible
from .counters import counter_ahead, credit_resources, credits, turns_ahead
from .elementwise import activation_units
from .fifo import fifo_resources
from .primitives import DelayLine, Rom, StreamFifo, delay, delay_resources, rom_luts
from .products import Products, products_resources
from .weight_memory import WeightMemory

__all__ = ["NeuronLayer", "NeuronLayerConfig", "WeightSums"]

PRODUCT_CLOCKS = 4
"""Of a tree of products, for an estimate: to know them takes as long as to make it."""


@dataclass(frozen=True, eq=False)
class WeightSums:
    """What a layer's options have in common, whatever the order of its inputs.

    Parameters
    ----------
    weights
        (groups, inputs, neurons) integers.
    """

    weights: np.ndarray

    @cached_property
    def extremes(self) -> tuple[int, int]:
        """Smallest and largest weight."""
        return int(self.weights.min()), int(self.weights.max())

    @cached_property
    def total(self) -> np.ndarray:
        """(groups, neurons) sums of all weights."""
        return self.weights.sum(axis=1, dtype=np.int64)

    @cached_property
    def positive(self) -> np.ndarray:
        """(groups, neurons) sums of those above 0."""
        return np.maximum(self.weights, 0).sum(axis=1, dtype=np.int64)

    @cached_property
    def negatives(self) -> np.ndarray:
        """(groups, neurons) numbers of those below 0."""
        return np.count_nonzero(self.weights < 0, axis=1)

    @cached_property
    def negative_digits(self) -> np.ndarray:
        """(groups, neurons) sums of what digits below 0 take off."""
        return PhasedPlan.offsets_of(self.weights, 1).sum(axis=1)


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
        Where the weights are: ``logic`` (LUTs), ``block`` (block RAM), of TERNARY weights
        ``packed`` (block RAM, five in eight bits) or, where two to four words are enough,
        ``phases`` (in the LUTs of the products).
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
    fifo_path: ClassVar[str] = "fifo"
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
        if self.style not in ("logic", "block", "packed", "phases"):
            raise ValueError(f"style must be 'logic', 'block', 'packed' or 'phases', not "
                             f"{self.style!r}")
        if self.style == "phases" and not 1 < self.depth <= MOST_PHASES:
            raise ValueError(f"style 'phases' is for 2 to {MOST_PHASES} words of weights, not "
                             f"{self.depth}; choose 'logic' or 'block'")
        if self.style == "phases" and self.multiplier != "lut":
            raise ValueError("style 'phases' needs the multiplier 'lut'")
        if self.style == "packed" and self.weight_type != TERNARY:
            raise ValueError(f"style 'packed' is for TERNARY weights, not "
                             f"{self.weight_type.name}; choose 'block'")
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
        width = self._sum_type.width - (self._a[0] - 1)
        if self.style == "phases":
            shape = (self.depth, self.group_parallel, self.pe, self.simd)
            words = self.weight_type.decode(self.weight_codes()).reshape(shape)
            plans = [PhasedPlan(words[:, g], self.input.dtype.width, width)
                     for g in range(self.group_parallel)]
        return [Products(self.simd, self.pe, self.input.dtype.width, self.weight_type, width,
                         self.slices, plan) for plan in plans]

    def weight_codes(self) -> np.ndarray:
        """Unsigned codes, (depth, group_parallel * pe * simd)."""
        codes = self.weight_type.encode(self.weights)
        shape = (self.rounds, self.group_parallel, self.steps, self.simd, self.hold, self.pe)
        return codes.reshape(shape).transpose(0, 2, 4, 1, 5, 3).reshape(self.depth, -1)

    def start_values(self) -> np.ndarray:
        """What each neuron's sum starts from, in channel order: bias and constants of products."""
        step, low = self._a
        return self.bias + (low * self._sums.total - step * self._offsets).reshape(-1)

    @cached_property
    def memory(self) -> WeightMemory:
        """The memory of the weights."""
        return WeightMemory(self.weight_codes, self.group_parallel * self.pe * self.simd,
                            self.weight_type, self.rounds, self.steps, self.hold, self.style)

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

    def estimate(self, family):
        outputs = self.group_parallel * self.pe
        acc = self._sum_type.width
        parts = products_resources(self.products, self.memory.latency) + self.memory.estimate()
        if not self.accumulates:
            adds = self.steps > 1 or not self._from_zero
            parts += Resources(lut=outputs * acc * adds, ff=outputs * acc)
        if self.steps > 1 and not self.accumulates:
            parts += DelayLine.resources(outputs * acc, self.hold)
            parts -= Resources(ff=outputs * acc * (self.hold == 1))  # that is the sum itself
        starts = self.rounds * self.hold
        if starts > 1 and not self._from_zero:
            parts += Resources(lut=outputs * acc * 0.8 * rom_luts(starts), ff=outputs * acc)
        # The held beat, and its copies beside the weight memory; what goes beside the sums.
        beside = self.memory.latency + PRODUCT_CLOCKS
        groups = (self.rounds * self.hold - 1).bit_length()
        parts += Resources(ff=self.input.data_width + beside)
        parts += delay_resources(sum(p.lut_lanes for p in self.products) * self.input.dtype.width,
                                 self.memory.latency)
        parts += delay_resources(2 + (self.steps > 1) + groups, beside)
        in_order = (self.hold - 1).bit_length()
        in_turns = sum((n - 1).bit_length() for n in (self.steps, self.rounds))
        parts += Resources(lut=1.3 * in_order + 0.5 * in_turns + 4, ff=in_order + in_turns + 10)
        parts += credit_resources(self.fifo_depth)
        parts += fifo_resources(self.output.data_width + 1, self.fifo_depth, self.output.beats)
        return sum((u.estimate() for u in self.units), parts)


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
                                              cfg.output.beats)
        wiring.connect(m, wiring.flipped(self.o), fifo.o)
        neuron, neuron_end, neuron_will_end = counter_ahead(m, cfg.hold, issue, "neuron")
        step, step_end, step_will_end = turns_ahead(m, cfg.steps, issue & neuron_end, "step")
        step_begins = Signal(init=1)
        with m.If(issue & neuron_end):
            m.d.sync += step_begins.eq(step_end)
        around, around_end, _ = turns_ahead(m, cfg.rounds, issue & neuron_end & step_end, "round")
        completes = step_end
        # A place in the FIFO is a result's from its issue on.
        free, will_be_free = credits(m, cfg.fifo_depth, issue & completes,
                                     self.o.valid & self.o.ready)
        # Ready when no beat is held, or the one held is issued for the last time. What is in front
        # takes steps of its own from that, so it is a register, of what will be.
        ready = Signal(init=1)
        will_hold = Signal()
        m.d.comb += [
            issue.eq(held_valid & (~completes | free)), self.i.ready.eq(ready),
            will_hold.eq(Mux(ready, self.i.valid, held_valid)),
        ]
        m.d.sync += [held_valid.eq(will_hold), ready.eq(
            ~will_hold | (neuron_will_end & (~step_will_end | will_be_free)))]
        with m.If(ready):
            m.d.sync += [held.eq(self._unsigned(self.i.payload.data.as_value())),
                         held_last.eq(self.i.payload.last)]

        # Weights, products and tree.
        m.submodules.weights = weights = cfg.memory.create()
        m.d.comb += [weights.turn.eq(neuron), weights.step.eq(step), weights.around.eq(around),
                     weights.en.eq(issue)]
        rom_clocks = cfg.memory.latency
        clocks = rom_clocks + cfg._dot_clocks
        activations = delay(m, held, rom_clocks, "activations")
        enabled = begins = Const(0, 1)
        if cfg.accumulates:
            enabled = delay(m, issue, rom_clocks, "slices_en")
            begins = delay(m, step_begins, rom_clocks, "slices_first")
        sums: list[Value] = []
        for g, products in enumerate(cfg.products):
            name = f"products_{g}" if cfg.group_parallel > 1 else "products"
            m.submodules[name] = made = products.create(cfg._dot_clocks)
            m.d.comb += [
                made.operands.eq(activations.word_select(g, len(made.operands))),
                made.coefficients.eq(weights.word.word_select(g, len(made.coefficients))),
                made.enabled.eq(enabled), made.begins.eq(begins), made.turn.eq(weights.address)]
            sums += [made.sums.word_select(p, products.width) << cfg._a[0] - 1
                     for p in range(cfg.pe)]

        # Partial sums circulate; a sum starts from its bias.
        valid = delay(m, issue, clocks, "issue")
        first = delay(m, step_begins, clocks, "first") if cfg.steps > 1 else Const(1, 1)
        done = delay(m, issue & completes, clocks, "completes", reset=True)
        last = delay(m, neuron_end & held_last, clocks, "frame_end")
        channel_group = self._group_index(m, neuron, around_end, issue, neuron_end, step_end)
        lanes = cfg.output.lanes
        start: Value = Const(0, lanes * acc_width)
        if not cfg._from_zero:
            values = cfg.start_values() & ((1 << acc_width) - 1)
            m.submodules.start = start_rom = Rom(values.reshape(-1, lanes), acc_width, "logic",
                                                 "start")
            m.d.comb += start_rom.addr.eq(delay(m, channel_group, clocks - start_rom.latency,
                                                "start_group"))
            start = start_rom.data
        result = self._accumulated(m, sums, start, first, valid) if not cfg.accumulates else \
            Cat(Cat(total, Const(0, acc_width))[:acc_width] for total in sums)

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

    def _accumulated(self, m, sums: list[Value], start: Value, first: Value,
                     valid: Value) -> Value:
        """Sums over the steps of each neuron, registered: partial ones circulate in a ring."""
        cfg = self.config
        acc_width, lanes = cfg._sum_type.width, cfg.output.lanes
        result = Signal(lanes * acc_width, reset_less=True)
        added = Signal(lanes * acc_width)
        before = Signal(lanes * acc_width)
        if cfg.steps > 1:
            m.submodules.ring = ring = DelayLine(lanes * acc_width, cfg.hold)
            m.d.comb += [ring.en.eq(valid), ring.i.eq(added),
                         before.eq(Mux(first, start, ring.o))]
        else:
            m.d.comb += before.eq(start)
        for n, total in enumerate(sums):
            m.d.comb += added.word_select(n, acc_width).eq(
                total + before.word_select(n, acc_width))
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

