"""Elementwise: activation units on a stream of their own."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from amaranth import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..ops import Op
from ..resources import Resources
from ..streams import TensorStream
from ..types import NumType
from .activation import Activation
from .activation_kinds import activation_of
from .block import BufferedBlock, Schedule, as_soon_as_possible
from .counters import counter, credit_resources, credits
from .fifo import fifo_resources
from .primitives import StreamFifo, delay

__all__ = ["ActivationPipeline", "Elementwise", "ElementwiseConfig", "activation_units"]


def activation_units(activations: Sequence[tuple[Op, NumType]], stream: TensorStream
                     ) -> tuple[Activation, ...]:
    """Configs of the units that (operation, output type) pairs need on a stream, in order."""
    kind, units = stream.dtype, []
    for op, out_type in activations:
        units.append(activation_of(op, kind, out_type, stream.channels, stream.lanes))
        kind = out_type
    return tuple(units)


class ActivationPipeline(wiring.Component):
    """Activation units without handshake between an issuer and a FIFO.

    A beat is issued only when the FIFO has a place left for it, so the units never stall. Its
    data come ``late`` clocks after its issue, which gives the issuer time to compute them.

    Parameters
    ----------
    units
        Configs of the units; may be empty.
    stream
        Stream that enters the first unit.
    output
        Stream of the last unit.
    fifo_depth
        Beats that the FIFO holds; 0 for none, where what is behind is always ready.
    late
        Clocks from ``issue`` to ``x``.
    burst
        Beats that the issuer makes sure of when it begins with them.

    Members
    -------
    free : :py:`Out(1)`
        The FIFO has ``burst`` places left.
    will_be_free : :py:`Out(1)`
        It will have in the next clock.
    issue : :py:`In(1)`
        A beat takes that place; only while ``free``.
    last : :py:`In(1)`
        It is the last of its frame.
    x : :py:`In(stream.data_width)`
        Its wire codes, ``late`` clocks later.
    o : :py:`Out(output.signature())`
    """

    def __init__(self, units: tuple[Activation, ...], stream: TensorStream, output: TensorStream,
                 fifo_depth: int, late: int, burst: int = 1):
        self.units, self.stream, self.output = units, stream, output
        self.fifo_depth, self.late, self.burst = fifo_depth, late, burst
        super().__init__({"free": Out(1), "will_be_free": Out(1), "issue": In(1), "last": In(1),
                          "x": In(stream.data_width), "o": Out(output.signature())})

    @staticmethod
    def latency_of(units: tuple[Activation, ...], fifo_depth: int) -> int:
        """Clocks from ``x`` to the offer of its beat."""
        return sum(u.latency for u in units) + (StreamFifo.latency_of(fifo_depth)
                                                if fifo_depth else 0)

    @staticmethod
    def resources(units: tuple[Activation, ...], output: TensorStream, fifo_depth: int,
                  late: int) -> Resources:
        """Predicted resources of the units, the FIFO and its credits."""
        clocks = late + sum(u.latency for u in units)
        groups = output.beats_per_pixel
        if not fifo_depth:
            return sum((u.estimate() for u in units), Resources(ff=2 * clocks))
        count = (groups - 1).bit_length()
        own = credit_resources(fifo_depth) + Resources(lut=1.3 * count, ff=count + 2 * clocks)
        return sum((u.estimate() for u in units),
                   own + fifo_resources(output.data_width + 1, fifo_depth, output.beats))

    def elaborate(self, platform):
        m = Module()
        if self.fifo_depth:
            m.submodules.fifo = fifo = StreamFifo(self.output.payload(), self.fifo_depth,
                                                  self.output.beats)
            wiring.connect(m, wiring.flipped(self.o), fifo.o)
            end = fifo.i
            free, will_be_free = credits(m, platform, self.fifo_depth, self.issue,
                                         self.o.valid, self.o.ready, burst=self.burst)
            m.d.comb += [self.free.eq(free), self.will_be_free.eq(will_be_free)]
        else:
            end = self.o
            m.d.comb += [self.free.eq(1), self.will_be_free.eq(1)]

        group, _ = counter(m, self.stream.beats_per_pixel, self.issue, "group")
        group = delay(m, group, self.late, "issued_group")
        value, clocks = self.x, self.late
        for n, unit in enumerate(self.units):
            m.submodules[f"activation_{n}" if n else "activation"] = hardware = unit.create()
            m.d.comb += [hardware.x.eq(value), hardware.group.eq(group)]
            if n < len(self.units) - 1:
                group = delay(m, group, unit.latency, f"group_{n}")
            value, clocks = hardware.y, clocks + unit.latency
        flags = Cat(self.issue, self.last)
        valid = Signal(2, name="issued")
        m.d.comb += valid.eq(flags)
        for n in range(clocks):
            held = Signal(2, name=f"issued_{n + 1}")
            m.d.sync += held.eq(valid)
            valid = held
        m.d.comb += [end.valid.eq(valid[0]), end.payload.last.eq(valid[1]),
                     end.payload.data.as_value().eq(value)]
        return m


@dataclass(frozen=True, eq=False)
class ElementwiseConfig(BufferedBlock):
    """Bias, clip, requantize and threshold of a tensor that no neuron layer makes.

    Interval: 1 clock per beat where ``fifo_depth`` is above ``latency``.

    Parameters
    ----------
    input
        Stream of the tensor.
    activations
        One or more (operation, output type) pairs, applied in order.
    fifo_depth
        Beats that the output FIFO holds, beats within the units included; at least 2, or 0 for
        none: then what is behind must always be ready.
    """

    input: TensorStream
    activations: tuple[tuple[Op, NumType], ...]
    fifo_depth: int = 16

    def __post_init__(self):
        if not self.activations:
            raise ValueError("activations must hold at least one operation")
        if self.fifo_depth < 2 and self.fifo_depth != 0:
            raise ValueError(f"fifo_depth ({self.fifo_depth}) must be 0 or at least 2")

    @property
    def inputs(self) -> tuple[TensorStream, ...]:
        return (self.input,)

    @property
    def output(self) -> TensorStream:
        return TensorStream(self.activations[-1][1], self.input.shape, self.input.lanes)

    def activation_units(self) -> tuple[Activation, ...]:
        return activation_units(self.activations, self.input)

    @property
    def latency(self) -> int:
        return self.late + ActivationPipeline.latency_of(self.activation_units(),
                                                         self.fifo_depth)

    @property
    def late(self) -> int:
        """Clocks of the register in front of the units, which is not needed within a pipeline."""
        return int(self.fifo_depth > 0)

    @property
    def cycles(self) -> int:
        return self.input.beats

    def compute(self, *tensors: np.ndarray) -> np.ndarray:
        x, = tensors
        for unit in self.activation_units():
            x = unit.compute(x)
        return x

    def opened(self):
        return self.with_fifo(0) if self.takes_whole_pixels else None

    def create(self) -> "Elementwise":
        return Elementwise(self)

    def schedule(self, frames, *ready):
        taken = as_soon_as_possible(ready[0])
        return Schedule((taken,), taken, taken + self.latency)

    def estimate(self, family):
        return Resources(lut=1, ff=self.late * self.input.data_width) \
            + ActivationPipeline.resources(self.activation_units(), self.output, self.fifo_depth,
                                           self.late)


class Elementwise(wiring.Component):
    """Hardware of :class:`ElementwiseConfig`.

    Members
    -------
    i : :py:`In(config.input.signature())`
    o : :py:`Out(config.output.signature())`
    """

    def __init__(self, config: ElementwiseConfig):
        self.config = config
        super().__init__({"i": In(config.input.signature()), "o": Out(config.output.signature())})

    def elaborate(self, platform):
        m = Module()
        cfg = self.config
        m.submodules.pipeline = pipeline = ActivationPipeline(
            cfg.activation_units(), cfg.input, cfg.output, cfg.fifo_depth, cfg.late)
        wiring.connect(m, wiring.flipped(self.o), pipeline.o)
        m.d.comb += [self.i.ready.eq(pipeline.free),
                     pipeline.issue.eq(self.i.valid & pipeline.free),
                     pipeline.last.eq(self.i.payload.last),
                     pipeline.x.eq(delay(m, self.i.payload.data.as_value(), cfg.late, "x"))]
        return m
