"""Upsample: each pixel and each row several times."""

from dataclasses import dataclass

import numpy as np
from amaranth import Module, Signal
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from ..ops import Upsample as UpsampleOp
from ..resources import Resources
from ..streams import TensorStream
from .block import Block, Schedule, as_soon_as_possible
from .counters import counter, turns
from .fifo import fifo_resources
from .parts import NEVER
from .primitives import memory_style

__all__ = ["Upsample", "UpsampleConfig"]


@dataclass(frozen=True)
class UpsampleConfig(Block):
    """Nearest-neighbour upsampling: repeats each pixel along its row, then the row.

    A memory holds one row (one pixel where rows are not repeated). A beat can be read as soon as
    it is written, and its place is free after its last repetition, so the next row follows
    without a gap. Latency: 2 clocks. Interval: 1 clock per output beat.

    Parameters
    ----------
    input
        Stream of the tensor.
    factor
        (vertical, horizontal) repetitions; at least one is above 1.
    """

    input: TensorStream
    factor: tuple[int, int]

    def __post_init__(self):
        if min(self.factor) < 1 or self.factor == (1, 1):
            raise ValueError(f"factor {list(self.factor)} must hold integers from 1, "
                             "at least one of them above 1")

    @property
    def inputs(self) -> tuple[TensorStream, ...]:
        return (self.input,)

    @property
    def output(self) -> TensorStream:
        return TensorStream(self.input.dtype, UpsampleOp(self.factor).shape(self.input.shape),
                            self.input.lanes)

    @property
    def loops(self) -> tuple[int, int, int, int]:
        """Order of reading: repetitions of the memory's contents, pixels, repetitions of a pixel,
        beats of a pixel."""
        vertical, horizontal = self.factor
        if vertical == 1:
            return horizontal, 1, 1, self.input.beats_per_pixel
        return vertical, self.input.shape[1], horizontal, self.input.beats_per_pixel

    @property
    def depth(self) -> int:
        """Words of the memory; two even where one would do, so that one is written while the
        other is read."""
        return max(2, self.loops[1] * self.loops[3])

    @property
    def latency(self) -> int:
        return 2

    @property
    def cycles(self) -> int:
        return self.output.beats

    def compute(self, *tensors):
        return UpsampleOp(self.factor).compute(*tensors)

    def create(self) -> "Upsample":
        return Upsample(self)

    def schedule(self, frames, *ready):
        # Places never delay a reading: the last reading that frees one comes at least two clocks
        # before the first reading of what is written there next. So readings follow from
        # writings that wait for no place, and then the writings that do wait from the readings.
        repeats, pixels, pixel_repeats, beats = self.loops
        wait = np.full((len(ready[0]) // (pixels * beats), *self.loops), NEVER, dtype=np.int64)
        wait[:, 0, :, 0, :] = as_soon_as_possible(ready[0]).reshape(-1, pixels, beats) + 1
        read = as_soon_as_possible(wait.reshape(-1)).reshape(wait.shape)
        freed = np.concatenate([np.full(self.depth, NEVER), read[:, -1, :, -1, :].reshape(-1)])
        taken = as_soon_as_possible(np.maximum(ready[0], freed[:len(ready[0])] + 1))
        offered = read.reshape(-1) + 1
        return Schedule((taken,), offered, offered)

    def estimate(self, family):
        counters = sum((n - 1).bit_length() for n in self.loops)
        frame = (self.input.beats - 1).bit_length()
        return fifo_resources(self.input.data_width, self.depth + 1) + Resources(
            lut=2 * counters + 2 * frame + 8, ff=counters + frame + 4)


class Upsample(wiring.Component):
    """Hardware of :class:`UpsampleConfig`.

    Members
    -------
    i : :py:`In(config.input.signature())`
    o : :py:`Out(config.output.signature())`
    """

    def __init__(self, config: UpsampleConfig):
        self.config = config
        super().__init__({"i": In(config.input.signature()), "o": Out(config.output.signature())})

    def elaborate(self, platform):
        m = Module()
        cfg = self.config
        width, depth = cfg.input.data_width, cfg.depth
        repeats, pixels, pixel_repeats, beats = cfg.loops
        m.submodules.memory = mem = memory.Memory(
            shape=width, depth=depth, init=[], attrs={"ram_style": memory_style(width, depth)})
        write = mem.write_port()
        read = mem.read_port()
        put = Signal()
        get = Signal()
        advance = Signal()

        # Order of reading.
        beat_end, _ = turns(m, beats, get, "beat")
        pixel_repeat, pixel_repeat_end = counter(m, pixel_repeats, get & beat_end, "pixel_repeat")
        pixel_end, _ = turns(m, pixels, get & beat_end & pixel_repeat_end, "pixel")
        repeat, repeat_end = counter(m, repeats, get & beat_end & pixel_repeat_end & pixel_end,
                                     "repeat")
        contents_end = Signal()
        final = Signal()
        m.d.comb += [contents_end.eq(beat_end & pixel_repeat_end & pixel_end),
                     final.eq(repeat_end & pixel_repeat_end)]
        frame_end, _ = turns(m, cfg.input.beats // (pixels * beats),
                               get & contents_end & repeat_end, "contents")
        first = (repeat == 0) & (pixel_repeat == 0)

        # Places: where the next beat is written, and which is read.
        write_place, _ = counter(m, depth, put, "write_place")
        m.d.comb += [write.addr.eq(write_place), write.en.eq(put),
                     write.data.eq(self.i.payload.data.as_value())]
        place = Signal(range(depth))
        m.d.comb += [read.addr.eq(place), read.en.eq(get)]
        if pixels * beats == 1:
            with m.If(get & contents_end & repeat_end):
                m.d.sync += place.eq(~place)
        else:
            pixel_place = Signal(range(depth))
            with m.If(get):
                with m.If(contents_end):
                    m.d.sync += [place.eq(0), pixel_place.eq(0)]
                with m.Elif(~beat_end):
                    m.d.sync += place.eq(place + 1)
                with m.Elif(pixel_repeat_end):
                    m.d.sync += [place.eq(place + 1), pixel_place.eq(place + 1)]
                with m.Else():
                    m.d.sync += place.eq(pixel_place)

        # Beats not read yet, and beats not read for the last time.
        unread = Signal(range(depth + 1))
        kept = Signal(range(depth + 1))
        some_unread = Signal()
        full = Signal()
        discover = Signal()
        free = Signal()
        m.d.comb += [
            self.i.ready.eq(~full), put.eq(self.i.valid & ~full),
            advance.eq(~self.o.valid | self.o.ready),
            get.eq(advance & (some_unread | ~first)),
            discover.eq(get & first), free.eq(get & final),
        ]
        with m.If(put & ~discover):
            m.d.sync += [unread.eq(unread + 1), some_unread.eq(1)]
        with m.Elif(discover & ~put):
            m.d.sync += [unread.eq(unread - 1), some_unread.eq(unread != 1)]
        with m.If(put & ~free):
            m.d.sync += [kept.eq(kept + 1), full.eq(kept == depth - 1)]
        with m.Elif(free & ~put):
            m.d.sync += [kept.eq(kept - 1), full.eq(0)]

        m.d.comb += self.o.payload.data.as_value().eq(read.data)
        with m.If(advance):
            m.d.sync += self.o.valid.eq(get)
        with m.If(get):
            m.d.sync += self.o.payload.last.eq(contents_end & repeat_end & frame_end)
        return m
