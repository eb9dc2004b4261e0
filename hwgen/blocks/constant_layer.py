"""Neuron layer whose weights are wiring: all sums at once, equal parts of them shared."""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from amaranth import Array, Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..arith.bit_heap import Compression, Term
from ..arith.compressor import Compressor
from ..arith.constant_estimate import estimated_sums
from ..arith.constant_sums import ConstantSums, constant_sums, signed_digits
from ..arith.truth_tables import multiplexer, tabulate
from ..ops import Bias, Op, Threshold
from ..resources import Resources
from ..streams import TensorStream
from ..types import NumType, uint_type
from .activation import Activation
from .block import BufferedBlock, Schedule, as_soon_as_possible
from .counters import counter_ahead
from .elementwise import ActivationPipeline, activation_units
from .export import lut
from .primitives import delay

__all__ = ["ConstantLayer", "ConstantLayerConfig", "ConstantNeurons"]

TABLE_BITS = 6
"""Most bits that a neuron reads to be a look-up table: those of a LUT6."""

COUNTED_BITS = 512
"""Bits that all neurons add in a clock up to which the cost is counted."""


@dataclass(frozen=True, eq=False)
class ConstantLayerConfig(BufferedBlock):
    """Dot products of a whole input vector with constant weights, bias and activation.

    A beat brings all inputs and is held for ``hold`` clocks. In each of these all neurons take
    some bits of every input, the lowest first; their results leave ``neurons / hold`` in a clock.
    So a layer that has ``hold`` clocks for a vector needs neither a memory for its weights nor
    gates for its products: weights are the wiring of adders, and those that several neurons
    have in common are there once. If no neuron reads more than six bits, they and their
    activations are look-up tables.

    Parameters
    ----------
    input
        Stream of vectors, a vector a beat.
    weights
        (inputs, neurons) integers, inputs in stream order.
    bias
        (neurons,) integers.
    accumulator
        Exact type of the sums.
    activations
        (operation, output type) pairs applied to the sums, in order.
    hold
        Clocks of a vector; divides the neurons.
    fifo_depth
        Beats that the output FIFO holds; at least ``hold``, and 2. Or 0 for none, where ``hold``
        is 1: then what is behind must always be ready.
    """

    input: TensorStream
    weights: np.ndarray
    bias: np.ndarray
    accumulator: NumType
    activations: tuple[tuple[Op, NumType], ...] = field(default=())
    hold: int = 1
    fifo_depth: int = 16

    def __post_init__(self):
        inputs, neurons = self.weights.shape
        if self.input.lanes != inputs or self.input.channels != inputs:
            raise ValueError(f"weights take {inputs} inputs at once, the stream brings "
                             f"{self.input.lanes} of {self.input.channels}")
        if neurons % self.hold:
            raise ValueError(f"hold ({self.hold}) must divide the number of neurons ({neurons})")
        if self.fifo_depth < max(2, self.hold) and (self.fifo_depth or self.hold > 1):
            raise ValueError(f"fifo_depth ({self.fifo_depth}) must be at least "
                             f"{max(2, self.hold)}")

    @property
    def inputs(self) -> tuple[TensorStream, ...]:
        return (self.input,)

    @property
    def output(self) -> TensorStream:
        kind = self.activations[-1][1] if self.activations else self.accumulator
        return TensorStream(kind, (*self.input.shape[:2], self.neurons), self.pe)

    @property
    def neurons(self) -> int:
        return self.weights.shape[1]

    @property
    def pe(self) -> int:
        """Neurons that leave in a clock."""
        return self.neurons // self.hold

    @property
    def folding(self) -> dict[str, int]:
        return {"pe": self.pe, "simd": self.input.lanes}

    @property
    def cycles(self) -> int:
        return self.input.pixels * self.hold

    # An input is a = a_step * a' + a_low with an unsigned code a'.

    @property
    def _a(self) -> tuple[int, int]:
        kind = self.input.dtype
        return (2, -1) if kind.bipolar else (1, -(1 << (kind.width - 1)) if kind.signed else 0)

    @property
    def digit(self) -> int:
        """Bits of each input in a clock."""
        return -(-self.input.dtype.width // self.hold)

    @property
    def _turns(self) -> int:
        """Sum of the weights of a vector's digits."""
        return sum(1 << self.digit * n for n in range(self.hold))

    @property
    def _absorbs(self) -> bool:
        """Whether levels take over what the sums of codes leave out."""
        return bool(self.activations) and isinstance(self.activations[0][0], Threshold)

    @cached_property
    def tables(self) -> Compression | None:
        """All neurons with their activations as look-up tables, if none reads too many bits."""
        width = self.input.dtype.width
        reads = [np.flatnonzero(column) for column in self.weights.T]
        if self.hold > 1 or not self.activations or max(map(len, reads)) * width > TABLE_BITS:
            return None
        # All values of the inputs that a neuron reads; of one that reads fewer, some come again.
        most = max(map(len, reads))
        index = np.arange(1 << most * width)
        codes = index[:, None] >> np.arange(most) * width & (1 << width) - 1
        values = self.input.dtype.decode(codes)
        values = np.where(self.input.dtype.contains(values), values, 0)  # codes that never come
        weights = np.zeros((most, self.neurons), dtype=np.int64)
        for n, inputs in enumerate(reads):
            weights[:len(inputs), n] = self.weights[inputs, n]
        sums = (values @ weights + self.bias).reshape(-1, 1, 1, self.neurons)
        for op, _ in self.activations:
            sums = op.compute(sums)
        out = self.output.dtype
        results = out.encode(sums).reshape(-1, self.neurons)
        functions = []
        for n, inputs in enumerate(reads):
            nets = tuple(int(k) * width + b for k in inputs for b in range(width))
            column = results[:1 << len(nets), n].tolist()
            functions += [Term(nets, sum((code >> b & 1) << k for k, code in enumerate(column)))
                          for b in range(out.width)]
        return tabulate(functions, self.input.data_width)

    @property
    def compression(self) -> Compression:
        """The adders of one clock, or the tables."""
        return self.tables or self.sums.compression

    @property
    def _complete(self) -> bool:
        """Whether the adders make the accumulators themselves, constants and all."""
        return self.hold == 1 and not self._absorbs

    @property
    def _fixed(self) -> np.ndarray:
        """(neurons,) what the accumulators hold beside ``a_step * sum(weights * a')``."""
        return self.bias + self._a[1] * self.weights.astype(np.int64).sum(axis=0)

    @cached_property
    def sums(self) -> ConstantSums:
        """The adders of one clock. Levels compare whole sums; else what is above drops out."""
        if self._complete:
            shift = self._a[0] - 1
            return constant_sums(self.weights.T, self.digit,
                                 [self.accumulator.width - shift] * self.neurons,
                                 (self._fixed >> shift).tolist())
        most = 62 if self._absorbs else self.accumulator.width
        return constant_sums(self.weights.T, self.digit, [most] * self.neurons)

    @cached_property
    def _width(self) -> int:
        """Bits of a vector's sum of codes."""
        whole = (self._turns * ((1 << max(self.sums.widths)) - 1)).bit_length()
        return whole if self._absorbs else min(whole, self.accumulator.width)

    def _joined_width(self, n: int) -> int:
        """Bits of what the sums of neuron n come to, those that later turns don't change left
        out."""
        high = 0
        for _ in range(self.hold):
            high = (1 << self.sums.widths[n]) - 1 + (high >> self.digit)
        return min(high.bit_length(), self._width)

    @property
    def codes(self) -> TensorStream:
        """Stream of the sums of codes, times ``a_step``; of the accumulators, if they are
        complete; of the activations, if they are tables."""
        if self.tables:
            return self.output
        if self._complete:
            return TensorStream(self.accumulator, self.output.shape, self.pe)
        return TensorStream(uint_type(self._width + self._a[0] - 1), self.output.shape, self.pe)

    @cached_property
    def start_values(self) -> np.ndarray:
        """(neurons,) what is missing from ``a_step`` times a sum of codes."""
        step = self._a[0]
        offsets = np.array([offset * self._turns for offset in self.sums.offsets])
        return self._fixed - step * offsets

    @cached_property
    def units(self) -> tuple[Activation, ...]:
        """Units that the sums of codes go through: levels take over what is missing from them, or
        it is added first, and whatever is above the accumulator's bits drops out."""
        if self.tables:
            return ()
        if self._complete:
            return activation_units(self.activations, self.codes)
        start = self.start_values
        if not self._absorbs:
            restore: tuple[Op, NumType] = (Bias(start), self.accumulator)
            activations = (restore, *self.activations)
        else:
            (op, kind), *rest = self.activations
            assert isinstance(op, Threshold)
            activations = ((op.moved(start), kind), *rest)
        return activation_units(activations, self.codes)

    @property
    def late(self) -> int:
        """Clocks from the issue of a vector's bits to the sums that they lead to."""
        # Chosen bits are registered, their sums join those before, the last ones leave in turn.
        turns = self.hold + 1 if self.hold > 1 else 0
        return self.compression.latency + turns

    @property
    def latency(self) -> int:
        held = int(self.fifo_depth > 0)
        return held + self.late + ActivationPipeline.latency_of(self.units, self.fifo_depth)

    def compute(self, *tensors):
        x, = tensors
        sums = x.astype(np.int64) @ self.weights.astype(np.int64) + self.bias
        for op, _ in self.activations:
            sums = op.compute(sums)
        return sums

    def opened(self):
        return self.with_fifo(0) if self.takes_whole_pixels and self.hold == 1 else None

    def create(self) -> "ConstantLayer":
        return ConstantLayer(self)

    def schedule(self, frames, *ready):
        taken = as_soon_as_possible(ready[0], self.hold)
        began = np.repeat(taken + 1, self.hold)  # with places for all beats
        turns = np.tile(np.arange(self.hold), len(taken))
        return Schedule((taken,), began, began + turns + self.latency - 1)

    def estimate(self, family):
        inputs, width = self.input.lanes, self.accumulator.width
        free = self.fifo_depth == 0
        parts = Resources() if free else Resources(lut=12, ff=self.input.data_width + 14)
        if self.tables:
            return parts + self.tables.resources + ActivationPipeline.resources(
                (), self.output, self.fifo_depth, self.late)
        if self.hold > 1:
            chosen = inputs * self.digit
            leaving = self.neurons * width - self.pe * width
            joined = self.neurons * (width - self.digit * (self.hold - 1))
            parts += Resources(lut=chosen * -(-self.hold // 4) + joined + leaving / 2,
                               ff=chosen + 2 * self.neurons * width)
        kind = TensorStream(self.accumulator, self.output.shape, self.pe)
        activations = self.activations
        if not self._absorbs and not self._complete:
            activations = ((Bias(self.bias), self.accumulator), *activations)
        parts += ActivationPipeline.resources(activation_units(activations, kind), self.output,
                                              self.fifo_depth, 6)
        return parts + self._estimated_sums

    @cached_property
    def _estimated_sums(self) -> Resources:
        """The adders; of a large layer predicted, as the search for shared parts takes long."""
        if np.count_nonzero(signed_digits(self.weights)) * self.digit <= COUNTED_BITS:
            return self.sums.compression.resources
        return estimated_sums(self.weights.T, self.digit)


def _next_ready(ready, arrives, held, turn_will_end, will_have_begun, will_be_free):
    """Whether a :class:`ConstantLayer` will be ready: it will hold nothing, or what it holds will
    have its last turn."""
    will_hold = (ready & arrives) | (~ready & held)
    return ~will_hold | (turn_will_end & (will_have_begun | will_be_free))


class ConstantLayer(wiring.Component):
    """Hardware of :class:`ConstantLayerConfig`.

    A vector is held while its bits take turns; those of a turn go through the adders, and what
    they give joins the neurons' sums, whose lowest bits are settled with each turn. When the last
    ones are in, the sums move over and leave, some in each clock, through the activations. A vector
    begins only when the output FIFO has places for all of its beats; without that FIFO it is not
    held either.

    Members
    -------
    i : :py:`In(config.input.signature())`
    o : :py:`Out(config.output.signature())`
    """

    def __init__(self, config: ConstantLayerConfig):
        self.config = config
        super().__init__({"i": In(config.input.signature()), "o": Out(config.output.signature())})

    def elaborate(self, platform):
        m = Module()
        cfg = self.config
        m.submodules.pipeline = pipeline = ActivationPipeline(
            cfg.units, cfg.codes, cfg.output, cfg.fifo_depth, cfg.late, burst=cfg.hold)
        wiring.connect(m, wiring.flipped(self.o), pipeline.o)

        held = Signal(cfg.input.data_width, reset_less=True)
        held_valid, held_last, issue = Signal(), Signal(), Signal()
        turn, turn_end, turn_will_end = counter_ahead(m, cfg.hold, issue, "turn")
        begun, will_have_begun = Signal(), Signal()  # a vector whose places are taken
        taken = [held_last.eq(self.i.payload.last),
                 held.eq(self._unsigned(self.i.payload.data.as_value()))]
        m.d.comb += [
            issue.eq(held_valid & (begun | pipeline.free)),
            pipeline.issue.eq(issue), pipeline.last.eq(held_last & turn_end),
            will_have_begun.eq(Mux(issue, ~turn_end, begun)),
        ]
        m.d.sync += begun.eq(will_have_begun)
        if cfg.fifo_depth:
            # As of a NeuronLayer, a register.
            ready, will_hold = Signal(init=1), Signal()
            m.d.comb += [self.i.ready.eq(ready),
                         will_hold.eq(Mux(ready, self.i.valid, held_valid))]
            m.d.sync += [held_valid.eq(will_hold), ready.eq(
                lut(m, platform, "readies", _next_ready, ready, self.i.valid, held_valid,
                    turn_will_end, will_have_begun, pipeline.will_be_free))]
            with m.If(ready):
                m.d.sync += taken
        else:
            m.d.comb += [self.i.ready.eq(1), held_valid.eq(self.i.valid), *taken]

        m.submodules.sums = sums = ConstantNeurons(cfg)
        m.d.comb += [sums.x.eq(held), sums.turn.eq(turn), sums.whole.eq(issue & turn_end),
                     pipeline.x.eq(sums.y)]
        return m

    def _unsigned(self, codes: Value) -> Value:
        """Two's complement lanes to offset binary: the sign bit inverted."""
        kind = self.config.input.dtype
        if not kind.signed or self.config.tables:
            return codes
        return codes ^ sum(1 << (n * kind.width + kind.width - 1)
                           for n in range(self.config.input.lanes))


class ConstantNeurons(wiring.Component):
    """The sums of :class:`ConstantLayer`, or its tables, without handshake.

    Members
    -------
    x : :py:`In(config.input.data_width)`
        Unsigned codes of a vector, for its ``hold`` clocks.
    turn : :py:`In(range(hold))`
        Which of these clocks it is.
    whole : :py:`In(1)`
        It is the last one.
    y : :py:`Out(config.codes.data_width)`
        ``pe`` sums, or activations of tables; the first ones ``config.late`` clocks after ``x``.
    """

    def __init__(self, config: ConstantLayerConfig):
        self.config = config
        super().__init__({"x": In(config.input.data_width), "turn": In(range(config.hold)),
                          "whole": In(1), "y": Out(config.codes.data_width)})

    def elaborate(self, platform):
        m = Module()
        cfg = self.config
        bits = self._bits(m)
        m.submodules.adders = adders = Compressor(cfg.compression, len(bits), 0)
        m.d.comb += adders.shared.eq(bits)
        if cfg.tables:
            m.d.comb += self.y.eq(adders.o)
            return m
        sums, place = [], 0
        for width in cfg.sums.widths:
            sums.append(adders.o[place:place + width])
            place += width
        if cfg.hold > 1:
            sums = self._collect(m, sums)
        shift = cfg._a[0] - 1
        low = cfg._fixed & 1 if cfg._complete else np.zeros(cfg.neurons, np.int64)
        m.d.comb += self.y.eq(Cat(
            Cat(Const(int(low[n]), shift), total, Const(0, cfg.codes.dtype.width)
                )[:cfg.codes.dtype.width] for n, total in enumerate(sums)))
        return m

    def _bits(self, m) -> Value:
        """The bits of a turn, of each input; registered where there are several turns."""
        cfg = self.config
        if cfg.hold == 1:
            return self.x
        width, digit = cfg.input.dtype.width, cfg.digit
        turns = []
        for n in range(cfg.hold):
            lanes = [self.x[k * width:(k + 1) * width] for k in range(cfg.input.lanes)]
            turns.append(Cat(Cat(lane[n * digit:(n + 1) * digit],
                                 Const(0, digit))[:digit] for lane in lanes))
        bits = Signal(cfg.input.lanes * digit, reset_less=True)
        m.d.sync += bits.eq(Array(turns)[self.turn])
        return bits

    def _collect(self, m, sums: list[Value]) -> list[Value]:
        """Sums over a vector's turns; those of ``pe`` neurons in each clock."""
        cfg = self.config
        clocks = 1 + cfg.sums.compression.latency
        begins = delay(m, self.turn == 0, clocks - 1, "begins")  # with the next clock
        whole = delay(m, self.whole, clocks, "whole")
        width, digit = cfg._width, cfg.digit
        joined = []
        for n, total in enumerate(sums):
            value = Signal(cfg._joined_width(n), name=f"joined_{n}")
            before = Signal.like(value, name=f"sum_{n}", reset_less=True)
            settled = Signal(digit * (cfg.hold - 2), name=f"settled_{n}", reset_less=True)
            m.d.comb += value.eq(total + before[digit:])
            low = Cat(settled, Cat(before, Const(0, digit))[:digit])
            m.d.sync += [before.eq(Mux(begins, 0, value)), settled.eq(low[digit:])]
            joined.append(Cat(low, value, Const(0, width))[:width])
        group = cfg.pe * width
        stay = (cfg.neurons - cfg.pe) * width
        leaving = Signal(cfg.neurons * width, reset_less=True)
        m.submodules.leaving = choice = Compressor(multiplexer(stay), 1 + 2 * stay, 0)
        m.d.comb += choice.shared.eq(Cat(whole, leaving[group:], Cat(joined)[:stay]))
        # The last ones need no choice: what is behind them does not matter.
        m.d.sync += leaving.eq(Cat(choice.o, Cat(joined)[stay:]))
        return [leaving[n * width:(n + 1) * width] for n in range(cfg.pe)]
