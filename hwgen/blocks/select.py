"""Select: any channels of whole pixels; wires only."""

from dataclasses import dataclass

from amaranth import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..ops import Select as SelectOp
from ..resources import Resources
from ..streams import TensorStream
from .block import Block, Schedule, as_soon_as_possible

__all__ = ["Select", "SelectConfig"]


@dataclass(frozen=True)
class SelectConfig(Block):
    """Lane k of the output is lane ``indices[k]`` of the input, a whole pixel per beat.

    Latency: 1 clock. Interval: 1 clock per beat.

    Parameters
    ----------
    input
        Stream of the tensor, with as many lanes as channels.
    indices
        Channels of the input.
    """

    input: TensorStream
    indices: tuple[int, ...]

    def __post_init__(self):
        SelectOp(self.indices).shape(self.input.shape)
        if self.input.beats_per_pixel > 1:
            raise ValueError(f"lanes ({self.input.lanes}) must be the channels "
                             f"({self.input.channels})")

    @property
    def inputs(self) -> tuple[TensorStream, ...]:
        return (self.input,)

    @property
    def output(self) -> TensorStream:
        count = len(self.indices)
        return TensorStream(self.input.dtype, (*self.input.shape[:2], count), count)

    @property
    def latency(self) -> int:
        return 1

    @property
    def cycles(self) -> int:
        return self.input.beats

    def compute(self, *tensors):
        return SelectOp(self.indices).compute(*tensors)

    def create(self) -> "Select":
        return Select(self)

    def schedule(self, frames, *ready):
        taken = as_soon_as_possible(ready[0])
        return Schedule((taken,), taken + 1, taken + 1)

    def estimate(self, family):
        return Resources(lut=2, ff=self.output.data_width + 2)


class Select(wiring.Component):
    """Hardware of :class:`SelectConfig`.

    Members
    -------
    i : :py:`In(config.input.signature())`
    o : :py:`Out(config.output.signature())`
    """

    def __init__(self, config: SelectConfig):
        self.config = config
        super().__init__({"i": In(config.input.signature()), "o": Out(config.output.signature())})

    def elaborate(self, platform):
        m = Module()
        m.d.comb += self.i.ready.eq(~self.o.valid | self.o.ready)
        with m.If(self.i.ready):
            m.d.sync += [self.o.valid.eq(self.i.valid),
                         self.o.payload.last.eq(self.i.payload.last)]
            m.d.sync += [self.o.payload.data[n].eq(self.i.payload.data[index])
                         for n, index in enumerate(self.config.indices)]
        return m
