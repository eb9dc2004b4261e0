"""Crop: a box of the tensor, or every n-th row and column; the other beats are dropped."""

from dataclasses import dataclass

import numpy as np
from amaranth import Const, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..resources import Resources
from ..streams import TensorStream
from .block import Block, Schedule, as_soon_as_possible
from .counters import counter
from .parts import lookup

__all__ = ["Crop", "CropConfig"]


@dataclass(frozen=True)
class CropConfig(Block):
    """Passes the beats of some rows, columns and channels, and drops the others.

    Latency: 1 clock. Interval: 1 clock per input beat.

    Parameters
    ----------
    input
        Stream of the tensor.
    rows, columns
        (start, stop, step): those from ``start`` on, every ``step``-th, below ``stop``.
    channels
        (start, stop); lanes divide both.
    """

    input: TensorStream
    rows: tuple[int, int, int]
    columns: tuple[int, int, int]
    channels: tuple[int, int]

    def __post_init__(self):
        height, width, channels = self.input.shape
        for name, (start, stop, *_), size in zip(("rows", "columns", "channels"), (
                self.rows, self.columns, self.channels), (height, width, channels)):
            if not 0 <= start < stop <= size:
                raise ValueError(f"{name} {start} to {stop} are not within 0 to {size}")
        if any(end % self.input.lanes for end in self.channels):
            raise ValueError(f"lanes ({self.input.lanes}) must divide the ends of channels "
                             f"{list(self.channels)}")

    @property
    def inputs(self) -> tuple[TensorStream, ...]:
        return (self.input,)

    @property
    def output(self) -> TensorStream:
        shape = (len(range(*self.rows)), len(range(*self.columns)),
                 self.channels[1] - self.channels[0])
        return TensorStream(self.input.dtype, shape, self.input.lanes)

    @property
    def latency(self) -> int:
        return 1

    @property
    def cycles(self) -> int:
        return self.input.beats

    def kept(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """For each row, column and beat of a pixel, whether it passes."""
        height, width, _ = self.input.shape
        beats = np.arange(self.input.beats_per_pixel) * self.input.lanes
        return (np.isin(np.arange(height), np.arange(*self.rows)),
                np.isin(np.arange(width), np.arange(*self.columns)),
                (beats >= self.channels[0]) & (beats < self.channels[1]))

    def compute(self, *tensors):
        return tensors[0][:, slice(*self.rows), slice(*self.columns), slice(*self.channels)]

    def create(self) -> "Crop":
        return Crop(self)

    def schedule(self, frames, *ready):
        taken = as_soon_as_possible(ready[0])
        rows, columns, beats = self.kept()
        passes = (rows[:, None, None] & columns[:, None] & beats).reshape(-1)
        offered = taken[np.tile(passes, frames)] + 1
        return Schedule((taken,), offered, offered)

    def estimate(self, family):
        bits = sum((n - 1).bit_length() for n in (*self.input.shape[:2],
                                                  self.input.beats_per_pixel))
        return Resources(lut=2 * bits + 6, ff=self.input.data_width + bits + 2)


class Crop(wiring.Component):
    """Hardware of :class:`CropConfig`.

    Members
    -------
    i : :py:`In(config.input.signature())`
    o : :py:`Out(config.output.signature())`
    """

    def __init__(self, config: CropConfig):
        self.config = config
        super().__init__({"i": In(config.input.signature()), "o": Out(config.output.signature())})

    def elaborate(self, platform):
        m = Module()
        cfg = self.config
        height, width, _ = cfg.input.shape
        step, passes, advance = Signal(), Signal(), Signal()
        beat, beat_end = counter(m, cfg.input.beats_per_pixel, step, "beat")
        column, column_end = counter(m, width, step & beat_end, "column")
        row, _ = counter(m, height, step & beat_end & column_end, "row")
        row_kept, column_kept, beat_kept = (
            self._kept(m, name, kept, index) for name, kept, index in
            zip(("row", "column", "beat"), cfg.kept(), (row, column, beat)))
        final = (row == int(np.flatnonzero(cfg.kept()[0])[-1])) \
            & (column == int(np.flatnonzero(cfg.kept()[1])[-1])) \
            & (beat == int(np.flatnonzero(cfg.kept()[2])[-1]))
        m.d.comb += [advance.eq(~self.o.valid | self.o.ready), self.i.ready.eq(advance),
                     step.eq(self.i.valid & advance),
                     passes.eq(row_kept & column_kept & beat_kept)]
        with m.If(advance):
            m.d.sync += self.o.valid.eq(self.i.valid & passes)
        with m.If(step):
            m.d.sync += [self.o.payload.data.eq(self.i.payload.data),
                         self.o.payload.last.eq(final)]
        return m

    def _kept(self, m, name: str, kept: np.ndarray, index: Value) -> Value:
        """Whether a place is kept: two comparisons for a range, else a table."""
        if kept.all():
            return Const(1, 1)
        places = np.flatnonzero(kept)
        low, high = int(places[0]), int(places[-1])
        result = Signal(name=f"{name}_kept")
        if high - low + 1 == len(places):
            checks = [index >= low] * (low > 0) + [index <= high] * (high < len(kept) - 1)
            value = checks[0]
            for check in checks[1:]:
                value = value & check
            m.d.comb += result.eq(value)
        else:
            m.d.comb += result.eq(lookup(kept, index))
        return result
