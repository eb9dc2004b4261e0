"""Add: the elementwise sum of several tensors, and activation units behind it."""

from dataclasses import dataclass, field

import numpy as np
from amaranth import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..ops import Add as AddOp
from ..ops import Op
from ..resources import Resources
from ..streams import TensorStream
from ..types import NumType
from .activation import Activation
from .block import BufferedBlock, Schedule, as_soon_as_possible
from .elementwise import ActivationPipeline, activation_units
from .parts import number, port_names

__all__ = ["Add", "AddConfig"]


@dataclass(frozen=True, eq=False)
class AddConfig(BufferedBlock):
    """Sum of two or more tensors of one shape, in any mixture of types.

    A beat is taken from all inputs at once. Interval: 1 clock per beat where ``fifo_depth`` is
    above ``latency``.

    Parameters
    ----------
    streams
        Two or more streams of equal shape and lanes.
    out_type
        Type of the sums; holds every possible one.
    activations
        (operation, output type) pairs applied to the sums, in order.
    fifo_depth
        Beats that the output FIFO holds, beats within the adders and units included; at least 2.
    """

    streams: tuple[TensorStream, ...]
    out_type: NumType
    activations: tuple[tuple[Op, NumType], ...] = field(default=())
    fifo_depth: int = 16

    def __post_init__(self):
        if len(self.streams) < 2:
            raise ValueError(f"add takes two or more streams, not {len(self.streams)}")
        if len({(s.shape, s.lanes) for s in self.streams}) > 1:
            raise ValueError("shapes and lanes of the inputs must be equal: "
                             + "; ".join(map(str, self.streams)))
        low, high = sum(s.dtype.low for s in self.streams), sum(s.dtype.high for s in self.streams)
        if self.out_type.bipolar or self.out_type.low > low or self.out_type.high < high:
            raise ValueError(f"out_type {self.out_type} does not hold sums from {low} to {high}")
        if self.fifo_depth < 2:
            raise ValueError(f"fifo_depth ({self.fifo_depth}) must be at least 2")

    @property
    def inputs(self) -> tuple[TensorStream, ...]:
        return self.streams

    @property
    def sums(self) -> TensorStream:
        """Stream of the sums, before the activations."""
        return TensorStream(self.out_type, self.streams[0].shape, self.streams[0].lanes)

    @property
    def output(self) -> TensorStream:
        kind = self.activations[-1][1] if self.activations else self.out_type
        return TensorStream(kind, self.streams[0].shape, self.streams[0].lanes)

    def activation_units(self) -> tuple[Activation, ...]:
        return activation_units(self.activations, self.sums)

    @property
    def levels(self) -> int:
        """Levels of the adder tree, one clock each."""
        return (len(self.streams) - 1).bit_length()

    @property
    def latency(self) -> int:
        return self.levels + ActivationPipeline.latency_of(self.activation_units(),
                                                           self.fifo_depth)

    @property
    def cycles(self) -> int:
        return self.output.beats

    def compute(self, *tensors: np.ndarray) -> np.ndarray:
        x = AddOp().compute(*tensors)
        for unit in self.activation_units():
            x = unit.compute(x)
        return x

    def create(self) -> "Add":
        return Add(self)

    def schedule(self, frames, *ready):
        taken = as_soon_as_possible(np.max(ready, axis=0))
        return Schedule((taken,) * len(self.streams), taken, taken + self.latency)

    def estimate(self, family):
        adders = (len(self.streams) - 1) * self.sums.data_width
        return Resources(lut=adders - 1, ff=adders) + ActivationPipeline.resources(
            self.activation_units(), self.output, self.fifo_depth, self.levels)


class Add(wiring.Component):
    """Hardware of :class:`AddConfig`.

    Members
    -------
    i0, i1, ... : :py:`In(config.inputs[n].signature())`
    o : :py:`Out(config.output.signature())`
    """

    def __init__(self, config: AddConfig):
        self.config = config
        self.names = port_names("i", len(config.streams))
        super().__init__({name: In(kind.signature()) for name, kind in
                          zip(self.names, config.streams)} | {"o": Out(config.output.signature())})

    def elaborate(self, platform):
        m = Module()
        cfg = self.config
        ports = [getattr(self, name) for name in self.names]
        m.submodules.pipeline = pipeline = ActivationPipeline(
            cfg.activation_units(), cfg.sums, cfg.output, cfg.fifo_depth, late=cfg.levels)
        wiring.connect(m, wiring.flipped(self.o), pipeline.o)

        # All inputs pass together.
        issue = Signal()
        m.d.comb += [issue.eq(Cat(port.valid for port in ports).all() & pipeline.free),
                     pipeline.issue.eq(issue), pipeline.last.eq(ports[0].payload.last)]
        m.d.comb += [port.ready.eq(issue) for port in ports]

        # A tree of adders, registered at each level.
        for lane in range(cfg.sums.lanes):
            terms = [number(port.payload.data[lane], kind.dtype)
                     for port, kind in zip(ports, cfg.streams)]
            level = 0
            while len(terms) > 1:
                sums = []
                for n in range(0, len(terms), 2):
                    value = terms[n] + terms[n + 1] if n + 1 < len(terms) else terms[n]
                    held = Signal.like(value, name=f"sum_{lane}_{level}_{n // 2}", reset_less=True)
                    m.d.sync += held.eq(value)
                    sums.append(held)
                terms, level = sums, level + 1
            width = cfg.out_type.width
            m.d.comb += pipeline.x.word_select(lane, width).eq(terms[0])
        return m
