"""Concat: the channels of several tensors, one tensor after the other."""

from dataclasses import dataclass
from functools import partial, reduce
from math import ceil
from operator import and_

import numpy as np
from amaranth import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..ops import Concat as ConcatOp
from ..resources import Resources
from ..streams import TensorStream
from ..types import NumType
from .block import Block, Schedule, as_soon_as_possible
from .counters import turns
from .export import advances, lut
from .parts import holds, number, port_names

__all__ = ["Concat", "ConcatConfig"]


@dataclass(frozen=True)
class ConcatConfig(Block):
    """Joins the channels of each pixel: all beats of input 0, then all of input 1, and so on.

    Latency: 1 clock. Interval: 1 clock per beat.

    Parameters
    ----------
    streams
        Two or more streams of equal height, width and lanes.
    out_type
        Type of the output; holds every value of every input. Codes are extended to it.
    """

    streams: tuple[TensorStream, ...]
    out_type: NumType

    def __post_init__(self):
        if len(self.streams) < 2:
            raise ValueError(f"concat takes two or more streams, not {len(self.streams)}")
        if len({(s.shape[:2], s.lanes) for s in self.streams}) > 1:
            raise ValueError("heights, widths and lanes of the inputs must be equal: "
                             + "; ".join(map(str, self.streams)))
        for n, kind in enumerate(self.streams):
            if not holds(self.out_type, kind.dtype):
                raise ValueError(f"out_type {self.out_type} does not hold input {n}, {kind.dtype}")

    @property
    def inputs(self) -> tuple[TensorStream, ...]:
        return self.streams

    @property
    def output(self) -> TensorStream:
        first, channels = self.streams[0], sum(s.channels for s in self.streams)
        return TensorStream(self.out_type, (*first.shape[:2], channels), first.lanes)

    @property
    def latency(self) -> int:
        return 1

    @property
    def cycles(self) -> int:
        return self.output.beats

    def compute(self, *tensors):
        return ConcatOp().compute(*tensors)

    def create(self) -> "Concat":
        return Concat(self)

    def schedule(self, frames, *ready):
        # One row per pixel, its beats in the order in which they pass.
        pixels = frames * self.output.pixels
        order = np.concatenate([r.reshape(pixels, -1) for r in ready], axis=1)
        passed = as_soon_as_possible(order.reshape(-1))
        ends = np.cumsum([s.beats_per_pixel for s in self.streams])[:-1]
        parts = np.split(passed.reshape(pixels, -1), ends, axis=1)
        return Schedule(tuple(p.reshape(-1) for p in parts), passed + 1, passed + 1)

    def estimate(self, family):
        count, width = len(self.streams), self.output.data_width
        beats = max(s.beats_per_pixel for s in self.streams)
        # A LUT chooses one of four bits.
        return Resources(lut=width * ceil(count / 4) + 2 * count + 2.5 + (beats - 1).bit_length(),
                         ff=width + 2 + (count - 1).bit_length() + (beats - 1).bit_length())


class Concat(wiring.Component):
    """Hardware of :class:`ConcatConfig`.

    Members
    -------
    i0, i1, ... : :py:`In(config.inputs[n].signature())`
    o : :py:`Out(config.output.signature())`
    """

    def __init__(self, config: ConcatConfig):
        self.config = config
        self.names = port_names("i", len(config.streams))
        super().__init__({name: In(kind.signature()) for name, kind in
                          zip(self.names, config.streams)} | {"o": Out(config.output.signature())})

    def elaborate(self, platform):
        m = Module()
        cfg = self.config
        count = len(cfg.streams)

        # Which input has its turn, and which beat of its pixel comes next.
        advance = Signal()
        passes = Signal()
        pixel_end = Signal()
        turn = Signal(range(count))
        beats = [s.beats_per_pixel for s in cfg.streams]
        if len(set(beats)) == 1:
            end, _ = turns(m, beats[0], passes, "beat")
            m.d.comb += pixel_end.eq(end)
        else:
            beat = Signal(range(max(beats)))
            with m.If(passes):
                m.d.sync += beat.eq(Mux(pixel_end, 0, beat + 1))
        with m.If(passes & pixel_end):
            m.d.sync += turn.eq(Mux(turn == count - 1, 0, turn + 1))

        chosen = Signal(cfg.output.payload())
        arrives = Signal()
        m.d.comb += [advance.eq(~self.o.valid | self.o.ready),
                     passes.eq(advances(m, platform, "passes", self.o, arrives))]
        with m.Switch(turn):
            for n, (name, kind) in enumerate(zip(self.names, cfg.streams)):
                i = getattr(self, name)
                with m.Case(n) if n < count - 1 else m.Default():
                    m.d.comb += arrives.eq(i.valid)
                    if len(set(beats)) > 1:
                        m.d.comb += pixel_end.eq(beat == beats[n] - 1)
                    for lane in range(kind.lanes):
                        m.d.comb += chosen.data[lane].eq(
                            i.payload.data[lane] if kind.dtype == cfg.out_type
                            else number(i.payload.data[lane], kind.dtype))
                    # The frame ends with the last beat of the last input.
                    if n == count - 1:
                        m.d.comb += chosen.last.eq(i.payload.last)
        for n, name in enumerate(self.names):
            # A few bits of the turn find room in the LUT of the ready, which may be late.
            ready = lut(m, platform, f"takes_{n}", partial(_takes, n), self.o.valid, self.o.ready,
                        *turn) if len(turn) <= 4 else \
                advances(m, platform, f"takes_{n}", self.o, turn == n)
            m.d.comb += getattr(self, name).ready.eq(ready)
        with m.If(advance):
            m.d.sync += self.o.valid.eq(passes)
        with m.If(passes):
            m.d.sync += self.o.payload.eq(chosen)
        return m


def _takes(n, held, leaves, *turn):
    """Whether a :class:`Concat` takes a beat of input ``n``."""
    mine = (bit if n >> k & 1 else ~bit for k, bit in enumerate(turn))
    return reduce(and_, mine, ~held | leaves)
