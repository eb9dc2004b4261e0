"""Gate: lets beats into a pipeline that can't be stalled while the FIFO behind it has places."""

from dataclasses import dataclass, replace

from amaranth import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..resources import Resources
from ..streams import TensorStream
from .argmax import ArgMaxConfig
from .block import Block, Schedule, as_soon_as_possible
from .constant_layer import ConstantLayerConfig
from .elementwise import ElementwiseConfig

__all__ = ["Gate", "GateConfig", "is_open", "opened"]


def opened(block: Block) -> Block | None:
    """The block as a part of a pipeline behind a gate: without FIFO or stalls; None if it can't
    be one, as it takes other than one beat a clock or makes more or fewer."""
    if any(stream.beats_per_pixel > 1 for stream in (*block.inputs, block.output)):
        return None
    if isinstance(block, ElementwiseConfig) or (isinstance(block, ConstantLayerConfig)
                                                and block.hold == 1):
        return replace(block, fifo_depth=0)
    return replace(block, stalls=False) if isinstance(block, ArgMaxConfig) else None


def is_open(block: Block) -> bool:
    """Whether it is such a part, which needs everything behind it to be ready always."""
    if isinstance(block, (ConstantLayerConfig, ElementwiseConfig)):
        return block.fifo_depth == 0
    return isinstance(block, ArgMaxConfig) and not block.stalls


@dataclass(frozen=True)
class GateConfig(Block):
    """Beats pass, registered, while the FIFO at the end of a pipeline has a place for each.

    The blocks between the two need no handshake and no FIFOs of their own: a beat that has passed
    finds everything ready. Latency: 1 clock. Interval: 1 clock. The input's ready is registered.

    Parameters
    ----------
    stream
        Stream that passes through.
    places
        Beats that the FIFO at the end holds; at least 1.
    """

    stream: TensorStream
    places: int

    def __post_init__(self):
        if self.places < 1:
            raise ValueError(f"places ({self.places}) must be at least 1")

    @property
    def inputs(self) -> tuple[TensorStream, ...]:
        return (self.stream,)

    @property
    def output(self) -> TensorStream:
        return self.stream

    @property
    def latency(self) -> int:
        return 1

    @property
    def cycles(self) -> int:
        return self.stream.beats

    def compute(self, *tensors):
        return tensors[0]

    def create(self) -> "Gate":
        return Gate(self)

    def schedule(self, frames, *ready):
        taken = as_soon_as_possible(ready[0])
        return Schedule((taken,), taken, taken + 1)

    def estimate(self, family):
        count = self.places.bit_length()
        return Resources(lut=1.5 * count + 2, ff=self.stream.data_width + 2 + count)


class Gate(wiring.Component):
    """Hardware of :class:`GateConfig`.

    Members
    -------
    i : :py:`In(config.stream.signature())`
    o : :py:`Out(config.stream.signature())`
        Its ready is not read.
    left : :py:`In(1)`
        A beat leaves the FIFO at the end.
    """

    def __init__(self, config: GateConfig):
        self.config = config
        signature = config.stream.signature()
        super().__init__({"i": In(signature), "o": Out(signature), "left": In(1)})

    def elaborate(self, platform):
        m = Module()
        places = Signal(range(self.config.places + 1), init=self.config.places)
        passes = Signal()
        data = Signal.like(self.i.payload, reset_less=True)
        m.d.comb += [self.i.ready.eq(places != 0), passes.eq(self.i.valid & self.i.ready),
                     self.o.payload.eq(data)]
        m.d.sync += [self.o.valid.eq(passes), data.eq(self.i.payload)]
        with m.If(passes != self.left):
            m.d.sync += places.eq(Mux(self.left, places + 1, places - 1))
        return m
