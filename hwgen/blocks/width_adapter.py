"""Width adapter: the same tensor with more or fewer lanes."""

from dataclasses import dataclass
from math import gcd, lcm

import numpy as np
from amaranth import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..resources import Resources
from ..streams import TensorStream
from .block import Block, Schedule, as_soon_as_possible
from .counters import turns
from .export import lut

__all__ = ["WidthAdapter", "WidthAdapterConfig", "adapters_between"]


@dataclass(frozen=True)
class WidthAdapterConfig(Block):
    """Collects several beats into one, or splits one into several.

    Other than integer ratios take two adapters, over the greatest common divisor or the least
    common multiple of both lanes. Latency: 1 clock; to the n-th piece of a split beat, n clocks.
    Interval: 1 clock per beat of the narrower side.

    Parameters
    ----------
    input
        Stream of the tensor.
    lanes
        Lanes of the output; a multiple or a divisor of the input's.
    """

    input: TensorStream
    lanes: int

    def __post_init__(self):
        if max(self.lanes, self.input.lanes) % min(self.lanes, self.input.lanes):
            raise ValueError(f"lanes ({self.lanes}) must be a multiple or a divisor of the input's "
                             f"({self.input.lanes})")
        self.input.with_lanes(self.lanes)

    @property
    def inputs(self) -> tuple[TensorStream, ...]:
        return (self.input,)

    @property
    def output(self) -> TensorStream:
        return self.input.with_lanes(self.lanes)

    @property
    def collected(self) -> int:
        """Input beats of an output beat; 1 when splitting."""
        return max(1, self.lanes // self.input.lanes)

    @property
    def pieces(self) -> int:
        """Output beats of an input beat; 1 when collecting."""
        return max(1, self.input.lanes // self.lanes)

    @property
    def latency(self) -> int:
        return 1

    @property
    def cycles(self) -> int:
        return max(self.input.beats, self.output.beats)

    def compute(self, *tensors):
        return tensors[0]

    def create(self) -> "WidthAdapter":
        return WidthAdapter(self)

    def schedule(self, frames, *ready):
        taken = as_soon_as_possible(ready[0], self.pieces)
        complete = taken[self.collected - 1::self.collected]
        offered = (complete[:, None] + 1 + np.arange(self.pieces)).reshape(-1)
        return Schedule((taken,), offered, offered)

    def estimate(self, family):
        ratio, width = max(self.collected, self.pieces), max(self.input, self.output,
                                                            key=lambda s: s.lanes).data_width
        bits = (ratio - 1).bit_length()
        if self.pieces > 1:
            return Resources(lut=width - width // ratio + bits + 4, ff=width + bits + 2)
        return Resources(lut=bits + 4, ff=2 * width - self.input.data_width + bits + 2)


class WidthAdapter(wiring.Component):
    """Hardware of :class:`WidthAdapterConfig`.

    Members
    -------
    i : :py:`In(config.input.signature())`
    o : :py:`Out(config.output.signature())`
    """

    def __init__(self, config: WidthAdapterConfig):
        self.config = config
        super().__init__({"i": In(config.input.signature()), "o": Out(config.output.signature())})

    def elaborate(self, platform):
        make = self._split if self.config.pieces > 1 else self._collect
        return make(platform)

    def _collect(self, platform) -> Module:
        m = Module()
        cfg = self.config
        advance = Signal()
        taken = Signal()
        complete, _ = turns(m, cfg.collected, taken, "piece")
        m.d.comb += [advance.eq(~self.o.valid | self.o.ready),
                     self.i.ready.eq(lut(m, platform, "takes", _collects, self.o.valid,
                                         self.o.ready, complete)),
                     taken.eq(self.i.valid & self.i.ready)]
        word = self.i.payload.data.as_value()
        if cfg.collected > 1:
            held = Signal(cfg.output.data_width - cfg.input.data_width, reset_less=True)
            word = Cat(held, word)
            with m.If(taken):
                m.d.sync += held.eq(word[cfg.input.data_width:])
        with m.If(advance):
            m.d.sync += self.o.valid.eq(taken & complete)
        with m.If(taken & complete):
            m.d.sync += [self.o.payload.data.as_value().eq(word),
                         self.o.payload.last.eq(self.i.payload.last)]
        return m

    def _split(self, platform) -> Module:
        m = Module()
        cfg = self.config
        held = Signal(cfg.input.payload(), reset_less=True)
        sent = Signal()
        final, _ = turns(m, cfg.pieces, sent, "piece")
        m.d.comb += [sent.eq(self.o.valid & self.o.ready),
                     self.i.ready.eq(lut(m, platform, "takes", _splits, self.o.valid,
                                         self.o.ready, final)),
                     self.o.payload.data.as_value().eq(held.data.as_value()),
                     self.o.payload.last.eq(held.last & final)]
        with m.If(self.i.ready):
            m.d.sync += [self.o.valid.eq(self.i.valid), held.eq(self.i.payload)]
        with m.Elif(sent):
            m.d.sync += held.data.as_value().eq(held.data.as_value() >> cfg.output.data_width)
        return m


def _collects(held, leaves, complete):
    return ~complete | ~held | leaves


def _splits(held, leaves, final):
    return ~held | (leaves & final)


def adapters_between(have: TensorStream, want: TensorStream) -> list[WidthAdapterConfig]:
    """Adapters on the way to a stream of the same values with other lanes, perhaps reshaped."""
    if have.lanes == want.lanes:
        return []
    both = lcm(have.lanes, want.lanes)
    # Steps over more lanes than a pixel of either shape has go over fewer.
    shape = next((s for s in (have.shape, want.shape) if s[2] % both == 0), None)
    if shape is not None:
        steps = [want.lanes] if both in (have.lanes, want.lanes) else [both, want.lanes]
        return _chain(TensorStream(want.dtype, shape, have.lanes), steps)
    common = gcd(have.lanes, want.lanes)
    down = _chain(have, [common] if common != have.lanes else [])
    up = [want.lanes] if common != want.lanes else []
    return down + _chain(TensorStream(want.dtype, want.shape, common), up)


def _chain(stream: TensorStream, steps: list[int]) -> list[WidthAdapterConfig]:
    """One adapter after the other."""
    adapters = []
    for lanes in steps:
        adapters.append(WidthAdapterConfig(stream, lanes))
        stream = adapters[-1].output
    return adapters
