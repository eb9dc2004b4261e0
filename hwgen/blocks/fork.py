"""Fork: one stream to several consumers."""

from dataclasses import dataclass

from amaranth import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..resources import Resources
from ..streams import TensorStream
from .block import PassThrough
from .parts import port_names

__all__ = ["Fork", "ForkConfig"]


@dataclass(frozen=True)
class ForkConfig(PassThrough):
    """Copies a stream to ``outputs`` consumers, each of which takes a beat as soon as it can.

    A beat leaves the input when its last consumer takes it. Latency: 0 clocks. Interval: 1 clock.

    Parameters
    ----------
    stream
        Type of the input and of every output.
    outputs
        Number of copies; at least 2.
    """

    stream: TensorStream
    outputs: int

    def __post_init__(self):
        if self.outputs < 2:
            raise ValueError(f"outputs ({self.outputs}) must be at least 2")

    @property
    def latency(self) -> int:
        return 0

    def create(self) -> "Fork":
        return Fork(self)

    def estimate(self, family):
        return Resources(lut=2 * self.outputs + 1 + self.outputs // 4 * 2, ff=self.outputs)


class Fork(wiring.Component):
    """Hardware of :class:`ForkConfig`.

    Members
    -------
    i : :py:`In(config.stream.signature())`
    o0, o1, ... : :py:`Out(config.stream.signature())`
    """

    def __init__(self, config: ForkConfig):
        self.config = config
        signature = config.stream.signature()
        super().__init__({"i": In(signature)} | {name: Out(signature) for name in
                                                 port_names("o", config.outputs)})

    def elaborate(self, platform):
        m = Module()
        count = self.config.outputs
        done = Signal(count)
        finished = Signal(count)
        m.d.comb += self.i.ready.eq(finished.all())
        for n, name in enumerate(port_names("o", count)):
            o = getattr(self, name)
            m.d.comb += [o.payload.eq(self.i.payload),
                         o.valid.eq(self.i.valid & ~done[n]),
                         finished[n].eq(done[n] | o.ready)]
        with m.If(self.i.valid):
            m.d.sync += done.eq(Mux(self.i.ready, 0, finished))
        return m
