"""FIFO: a buffer of stream beats as a block."""

from dataclasses import dataclass
from math import ceil

from amaranth import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..resources import Resources
from ..streams import TensorStream
from .block import PassThrough, Schedule, as_soon_as_possible
from .primitives import StreamFifo, addresses, memory_style, ram_bram36, ram_luts

__all__ = ["Fifo", "FifoConfig", "fifo_resources"]


def fifo_resources(width: int, depth: int, frame: int = 0, *, reserved: bool = False) -> Resources:
    """Resources of a :class:`StreamFifo` of ``depth`` words of ``width`` bits."""
    if depth == 1:
        return Resources(lut=2, ff=width + 2)
    if depth == 2:
        return Resources(lut=width + 3, ff=2 * width + 2)
    style, stored = memory_style(width, depth - 1), StreamFifo.stored_width(width, depth, frame)
    orbit = addresses(stored, depth - 1, style)
    pointers = 2 + (depth - 1 < orbit.words) + reserved
    several = orbit.rounds > 1
    control = Resources(lut=0.9 * orbit.width + 6 + (1.5 + 2 * pointers) * several,
                        ff=5 + 2.5 * pointers * several)
    control += sum([orbit.resources] * pointers, Resources())
    if stored < width:
        bits = (frame - 1).bit_length()
        control += Resources(lut=4 + bits / 4, ff=bits + 1)
    if style == "block":
        return control + Resources(bram36=ram_bram36(stored, depth - 1))
    ram, banks = ram_luts(width, orbit.words), ceil(orbit.words / 64)
    return control + Resources(lut=ram + 0.9 * width * (banks - 1), lutram=ram, ff=width)


@dataclass(frozen=True)
class FifoConfig(PassThrough):
    """Buffer of ``depth`` beats; contents pass unchanged.

    Latency: 1 clock at depth 1 and 2, else 2. Interval: 1 clock, at depth 1 two. Both handshakes
    are registered.

    Parameters
    ----------
    stream
        Stream that passes through.
    depth
        Beats that the FIFO holds.
    """

    stream: TensorStream
    depth: int

    def __post_init__(self):
        if self.depth < 1:
            raise ValueError(f"depth ({self.depth}) must be at least 1")

    @property
    def latency(self) -> int:
        return StreamFifo.latency_of(self.depth)

    @property
    def cycles(self) -> int:
        return self.stream.beats * StreamFifo.interval_of(self.depth)

    def create(self) -> "Fifo":
        return Fifo(self)

    def schedule(self, frames, *ready):
        taken = as_soon_as_possible(ready[0], StreamFifo.interval_of(self.depth))
        return Schedule((taken,), taken, taken + self.latency)

    def estimate(self, family):
        return fifo_resources(self.stream.data_width + 1, self.depth, self.stream.beats)


class Fifo(wiring.Component):
    """Hardware of :class:`FifoConfig`.

    Members
    -------
    i : :py:`In(config.stream.signature())`
    o : :py:`Out(config.stream.signature())`
    """

    def __init__(self, config: FifoConfig):
        self.config = config
        signature = config.stream.signature()
        super().__init__({"i": In(signature), "o": Out(signature)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.fifo = fifo = StreamFifo(
            self.config.stream.payload(), self.config.depth, self.config.stream.beats)
        wiring.connect(m, wiring.flipped(self.i), fifo.i)
        wiring.connect(m, wiring.flipped(self.o), fifo.o)
        return m
