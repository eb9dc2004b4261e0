"""Gate: lets beats into a pipeline that can't be stalled while the FIFO behind it has places."""

from dataclasses import dataclass

from amaranth import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..resources import Resources
from ..streams import TensorStream
from .block import PassThrough
from .counters import credit_resources, credits

__all__ = ["Gate", "GateConfig"]


@dataclass(frozen=True)
class GateConfig(PassThrough):
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
    def latency(self) -> int:
        return 1

    def create(self) -> "Gate":
        return Gate(self)

    def estimate(self, family):
        return credit_resources(self.places) + Resources(ff=self.stream.data_width + 2)


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
        passes = Signal()
        data = Signal.like(self.i.payload, reset_less=True)
        free, _ = credits(m, platform, self.config.places, passes, self.left)
        m.d.comb += [self.i.ready.eq(free), passes.eq(self.i.valid & self.i.ready),
                     self.o.payload.eq(data)]
        m.d.sync += [self.o.valid.eq(passes), data.eq(self.i.payload)]
        return m
