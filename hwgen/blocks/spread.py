"""Spread: rows and columns of one value between and around those of the tensor."""

from dataclasses import dataclass

import numpy as np
from amaranth import Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..ops import Windows, ZeroInsert
from ..resources import Resources
from ..streams import TensorStream
from ..types import NumType
from .block import Block, Schedule, as_soon_as_possible
from .counters import counter, turns
from .parts import NEVER, holds, lookup, number

__all__ = ["Spread", "SpreadConfig"]


@dataclass(frozen=True)
class SpreadConfig(Block):
    """Puts a value between the pixels (zero insertion) and around the image (padding).

    Latency: 1 clock. Interval: 1 clock per output beat.

    Parameters
    ----------
    input
        Stream of the tensor.
    factor
        (vertical, horizontal): distance of the input's pixels in the output.
    pad
        (top, bottom, left, right).
    value
        What is put there.
    out_type
        Type of the output; holds the input and ``value``.
    """

    input: TensorStream
    factor: tuple[int, int]
    pad: tuple[int, int, int, int]
    value: int
    out_type: NumType

    def __post_init__(self):
        if not self.out_type.contains(self.value) or not holds(self.out_type, self.input.dtype):
            raise ValueError(f"out_type {self.out_type} does not hold {self.value} and the "
                             f"input, {self.input.dtype}")
        if min(self.factor) < 1 or min(self.pad) < 0:
            raise ValueError(f"factor {list(self.factor)} must be at least 1, pad "
                             f"{list(self.pad)} at least 0")

    @property
    def inputs(self) -> tuple[TensorStream, ...]:
        return (self.input,)

    @property
    def output(self) -> TensorStream:
        height, width, channels = self.input.shape
        shape = ((height - 1) * self.factor[0] + 1 + self.pad[0] + self.pad[1],
                 (width - 1) * self.factor[1] + 1 + self.pad[2] + self.pad[3], channels)
        return TensorStream(self.out_type, shape, self.input.lanes)

    @property
    def latency(self) -> int:
        return 1

    @property
    def cycles(self) -> int:
        return self.output.beats

    def pixels(self) -> tuple[np.ndarray, np.ndarray]:
        """For each output row and column, whether it holds pixels of the input."""
        found = []
        for axis in range(2):
            place = np.arange(self.output.shape[axis]) - self.pad[2 * axis]
            found.append((place >= 0) & (place % self.factor[axis] == 0)
                         & (place // self.factor[axis] < self.input.shape[axis]))
        return found[0], found[1]

    def compute(self, *tensors):
        spread = ZeroInsert(self.factor, self.value).compute(tensors[0])
        return Windows((1, 1), (1, 1), self.pad, self.value).compute(spread)

    def create(self) -> "Spread":
        return Spread(self)

    def schedule(self, frames, *ready):
        rows, columns = self.pixels()
        beats = np.ones(self.input.beats_per_pixel, dtype=bool)
        takes = np.tile((rows[:, None, None] & columns[:, None] & beats).reshape(-1), frames)
        wait = np.full(len(takes), NEVER, dtype=np.int64)
        wait[takes] = ready[0]
        # Padding at the beginning of a frame waits for the frame.
        wait[::self.output.beats] = ready[0][::self.input.beats]
        steps = as_soon_as_possible(wait)
        return Schedule((steps[takes],), steps + 1, steps + 1)

    def estimate(self, family):
        bits = sum((n - 1).bit_length() for n in (*self.output.shape[:2],
                                                  self.input.beats_per_pixel))
        return Resources(lut=2 * bits + self.output.data_width + 6,
                         ff=self.output.data_width + bits + 2)


class Spread(wiring.Component):
    """Hardware of :class:`SpreadConfig`.

    Members
    -------
    i : :py:`In(config.input.signature())`
    o : :py:`Out(config.output.signature())`
    """

    def __init__(self, config: SpreadConfig):
        self.config = config
        super().__init__({"i": In(config.input.signature()), "o": Out(config.output.signature())})

    def elaborate(self, platform):
        m = Module()
        cfg = self.config
        height, width, _ = cfg.output.shape
        rows, columns = cfg.pixels()
        step, advance = Signal(), Signal()
        beat_end, _ = turns(m, cfg.input.beats_per_pixel, step, "beat")
        column, column_end = counter(m, width, step & beat_end, "column")
        row, row_end = counter(m, height, step & beat_end & column_end, "row")
        # Whether the place holds a pixel is known a clock ahead: it is set with the counters.
        in_row = self._ahead(m, "in_row", rows, row, step & beat_end & column_end)
        in_column = self._ahead(m, "in_column", columns, column, step & beat_end)
        takes = Signal()
        begins = Signal(init=1)  # padding at the beginning of a frame waits for the frame
        with m.If(step):
            m.d.sync += begins.eq(row_end & column_end & beat_end)
        m.d.comb += [takes.eq(in_row & in_column), advance.eq(~self.o.valid | self.o.ready),
                     self.i.ready.eq(advance & takes),
                     step.eq(advance & (self.i.valid | ~(takes | begins)))]
        with m.If(advance):
            m.d.sync += self.o.valid.eq(step)
        code = int(cfg.out_type.encode(cfg.value))
        with m.If(step):
            m.d.sync += self.o.payload.last.eq(row_end & column_end & beat_end)
            for lane in range(cfg.input.lanes):
                value = Signal(cfg.out_type.width, name=f"value_{lane}")
                data = self.i.payload.data[lane]
                m.d.comb += value.eq(data if cfg.input.dtype == cfg.out_type
                                     else number(data, cfg.input.dtype))
                m.d.sync += self.o.payload.data[lane].eq(Mux(takes, value, code))
        return m

    def _ahead(self, m, name: str, places: np.ndarray, index: Value, when: Value) -> Value:
        """``places[index]`` from a register that is loaded as ``index`` moves on."""
        if places.all():
            return Const(1, 1)
        bit = Signal(name=name, init=int(places[0]))
        with m.If(when):
            m.d.sync += bit.eq(lookup(np.roll(places, -1), index))
        return bit
