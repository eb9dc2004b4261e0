"""Pace: takes a stream's beats no faster than a rate."""

from dataclasses import dataclass

from amaranth import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..resources import Resources
from ..streams import TensorStream
from .block import PassThrough, Schedule, as_soon_as_possible
from .counters import turns

__all__ = ["Pace", "PaceConfig"]


@dataclass(frozen=True)
class PaceConfig(PassThrough):
    """Beats pass as they are, one in ``clocks`` clocks at most.

    Beats that come evenly need smaller FIFOs behind than a frame at full speed and a pause.
    Latency: 0 clocks. Interval: ``clocks``.

    Parameters
    ----------
    stream
        Stream that passes through.
    clocks
        From a beat to the next, at least; 2 or more.
    """

    stream: TensorStream
    clocks: int

    def __post_init__(self):
        if self.clocks < 2:
            raise ValueError(f"clocks ({self.clocks}) must be at least 2")

    @property
    def latency(self) -> int:
        return 0

    @property
    def cycles(self) -> int:
        return self.stream.beats * self.clocks

    @property
    def folding(self) -> dict[str, int]:
        return {"clocks": self.clocks}

    def create(self) -> "Pace":
        return Pace(self)

    def schedule(self, frames, *ready):
        taken = as_soon_as_possible(ready[0], self.clocks)
        return Schedule((taken,), taken, taken)

    def estimate(self, family):
        bits = (self.clocks - 1).bit_length()
        return Resources(lut=5 + bits / 4, ff=bits + 2)


class Pace(wiring.Component):
    """Hardware of :class:`PaceConfig`.

    Members
    -------
    i : :py:`In(config.stream.signature())`
    o : :py:`Out(config.stream.signature())`
    """

    def __init__(self, config: PaceConfig):
        self.config = config
        signature = config.stream.signature()
        super().__init__({"i": In(signature), "o": Out(signature)})

    def elaborate(self, platform):
        m = Module()
        open_ = Signal(init=1, name="open")
        passes = Signal()
        # From a beat on, so many clocks until the next may pass.
        over, _ = turns(m, self.config.clocks - 1, ~open_, "pause")
        m.d.comb += [
            self.i.ready.eq(open_ & self.o.ready), self.o.valid.eq(open_ & self.i.valid),
            self.o.payload.eq(self.i.payload), passes.eq(self.i.valid & self.i.ready)]
        with m.If(open_):
            m.d.sync += open_.eq(~passes)
        with m.Elif(over):
            m.d.sync += open_.eq(1)
        return m
