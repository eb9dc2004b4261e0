"""Sliding windows from a shift register: a whole window per beat."""

from dataclasses import dataclass

import numpy as np
from amaranth import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..resources import Resources
from ..streams import TensorStream
from ..types import NumType
from .block import Schedule
from .counters import spans, turns
from .export import advances, lut
from .primitives import DelayLine
from .window import Window, WindowGeometry, convert_codes

__all__ = ["WindowShift", "WindowShiftConfig"]


@dataclass(frozen=True)
class WindowShiftConfig(Window):
    """Whole windows: for each chunk of ``lanes`` input channels, all elements in one beat.

    Pixels, padding included, shift through registers and row delays, one beat per clock; a beat
    that completes a window leaves the registers as one output beat. Within it lanes are ordered
    (group, kernel row, kernel column, channel).

    Parameters
    ----------
    input
        Pixels.
    geometry
        Kernel placement.
    out_type
        Type of the elements; the input's type, or wider when ``pad_value`` needs it.
    group_parallel
        Groups whose channels come side by side.
    """

    input: TensorStream
    geometry: WindowGeometry
    out_type: NumType
    group_parallel: int = 1

    def __post_init__(self):
        self._check()
        if self.rounds > 1 and self.chunks > 1:
            raise ValueError("whole windows of several groups need the channels of a group in one "
                             f"beat; use {self.input.channels // self.geometry.groups} lanes")

    @property
    def output(self) -> TensorStream:
        area = self.geometry.area
        return TensorStream(self.out_type, (*self.positions, area * self.input.channels),
                            area * self.input.lanes)

    @property
    def scanned(self) -> tuple[int, int]:
        """Rows and columns that pass through, padding included as far as windows need it."""
        g, (height, width, _) = self.geometry, self.input.shape
        rows, columns = self.positions
        return (max(g.pad[0] + height, (rows - 1) * g.stride[0] + g.extent[0]),
                max(g.pad[2] + width, (columns - 1) * g.stride[1] + g.extent[1]))

    @property
    def latency(self) -> int:
        return 1

    @property
    def cycles(self) -> int:
        rows, columns = self.scanned
        return rows * columns * self.input.beats_per_pixel

    def held_cycles(self, hold: int) -> int:
        """Clocks per frame where what is behind takes ``hold`` clocks for each beat, and the next
        can't come before: the steps from each to the next, or ``hold`` if that is more."""
        (rows, columns), (down, right) = self.scanned, self.geometry.stride
        high, wide = self.positions
        words = self.input.beats_per_pixel
        rest = 1 - words - (wide - 1) * right * words  # from the last beat of a row of windows
        return (high * wide * (words - 1) * hold
                + high * (wide - 1) * max(hold, (right - 1) * words + 1)
                + (high - 1) * max(hold, rest + down * columns * words)
                + max(hold, rest + (rows - (high - 1) * down) * columns * words))

    @property
    def row_delay(self) -> int:
        """Steps from the first element of a kernel row to the last of the row above."""
        g, words = self.geometry, self.input.beats_per_pixel
        return (g.dilation[0] * self.scanned[1] - (g.kernel[1] - 1) * g.dilation[1]) * words

    def compute(self, *tensors):
        split = self._elements(tensors[0])
        # rounds, chunks, groups at work, KH, KW, lanes of each
        order = (0, 1, 2, 3, 4, 5, 7, 8, 6)
        return split.transpose(order).reshape(*split.shape[:3], -1)

    def create(self) -> "WindowShift":
        return WindowShift(self)

    def schedule(self, frames, *ready, hold=1):
        g, (height, width, _), words = self.geometry, self.input.shape, self.input.beats_per_pixel
        rows, columns = self.scanned
        y, x = np.arange(rows)[:, None, None], np.arange(columns)[None, :, None]
        is_pixel = (y >= g.pad[0]) & (y < g.pad[0] + height) & (x >= g.pad[2]) \
            & (x < g.pad[2] + width) & np.ones((1, 1, words), bool)
        emits = np.ones((1, 1, words), bool)
        for place, extent, stride, count in ((y, g.extent[0], g.stride[0], self.positions[0]),
                                             (x, g.extent[1], g.stride[1], self.positions[1])):
            offset = place - (extent - 1)
            emits = emits & (offset >= 0) & (offset % stride == 0) & (offset // stride < count)
        is_pixel, emits = np.tile(is_pixel.reshape(-1), frames), np.tile(emits.reshape(-1), frames)
        there = np.zeros(len(is_pixel), dtype=np.int64)  # padding is there from reset, clock 0
        there[is_pixel] = ready[0]
        # The consumer holds each window for ``hold`` clocks and the registers can't move on
        # before it takes the window: window j is taken max(hold, steps since j - 1) later.
        step = np.arange(len(there))
        ends = np.flatnonzero(emits)
        begins = np.concatenate([[0], ends[:-1] + 1])
        latest = np.maximum.reduceat((there - step)[:ends[-1] + 1], begins) + ends + 1
        spacing = np.cumsum(np.maximum(np.diff(ends, prepend=ends[0]), hold))
        passed = np.maximum.accumulate(latest - spacing) + spacing
        slack = there - step
        after = ends[ends + 1 < len(there)] + 1
        slack[after] = np.maximum(slack[after], passed[:len(after)] - step[after])
        times = np.maximum.accumulate(slack) + step
        return Schedule((times[is_pixel],), passed, passed)

    def estimate(self, family):
        g, width = self.geometry, self.input.data_width
        lines = []
        if g.kernel[1] > 1:
            lines.append((width * (g.area - g.kernel[0]),
                          g.dilation[1] * self.input.beats_per_pixel))
        if g.kernel[0] > 1:
            lines.append((width * (g.kernel[0] - 1), self.row_delay))
        used = sum((DelayLine.resources(*line) for line in lines), Resources())
        # Fitted to synthesis: counters of chunks, columns and rows.
        walked = [size for size in self.scanned if size > 1]
        chunks = (self.input.beats_per_pixel - 1).bit_length()
        bits = sum((size - 1).bit_length() for size in walked) + chunks
        return used + Resources(lut=2 + 6.4 * len(walked) + 0.6 * bits + (chunks > 0),
                                ff=width + 4 + 1.2 * bits)


class WindowShift(wiring.Component):
    """Hardware of :class:`WindowShiftConfig`.

    Members
    -------
    i : :py:`In(config.input.signature())`
    o : :py:`Out(config.output.signature())`
    """

    def __init__(self, config: WindowShiftConfig):
        self.config = config
        super().__init__({"i": In(config.input.signature()), "o": Out(config.output.signature())})

    def elaborate(self, platform):
        m = Module()
        cfg, g = self.config, self.config.geometry
        words, gp = cfg.input.beats_per_pixel, cfg.group_parallel

        # Scan the padded frame: row, column and chunk of the beat that comes next.
        step = Signal()
        chunk_end, _ = turns(m, words, step, "chunk")
        inside: list[Value] = []
        completes, at_last = Const(1, 1), chunk_end
        moves = step & chunk_end
        for axis, name in ((1, "column"), (0, "row")):
            before, size = g.pad[2 * axis], cfg.input.shape[axis]
            first, count = g.extent[axis] - 1, cfg.positions[axis]
            last = first + (count - 1) * g.stride[axis]
            end, (within, on_grid, last_place) = spans(
                m, cfg.scanned[axis], moves, name,
                [(before, before + size), (first, last + 1), (last, last + 1)])
            inside.append(within)
            at_last = at_last & last_place
            completes &= on_grid & self._in_phase(m, on_grid, end, moves, g.stride[axis], name)
            moves = moves & end
        is_pixel = inside[0] & inside[1]
        m.d.comb += [
            self.i.ready.eq(advances(m, platform, "takes", self.o, *inside)),
            step.eq(lut(m, platform, "steps", _steps, self.o.valid, self.o.ready, self.i.valid,
                        *inside)),
        ]
        with m.If(~self.o.valid | self.o.ready):
            m.d.sync += [self.o.valid.eq(step & completes), self.o.payload.last.eq(at_last)]

        # Shift: the newest element is the last of the last kernel row.
        data = convert_codes(self.i.payload.data.as_value(), cfg.input.lanes, cfg.input.dtype,
                             cfg.out_type)
        if any(g.pad):
            code = int(cfg.out_type.encode(g.pad_value))
            padding = sum(code << n * cfg.out_type.width for n in range(cfg.input.lanes))
            data = Mux(is_pixel, data, Const(padding, len(data)))
        newest = Signal(len(data), reset_less=True)
        with m.If(step):
            m.d.sync += newest.eq(data)
        taps = {}
        above = Signal((g.kernel[0] - 1) * len(data))
        # Those left of the newest of each row in one memory.
        across = g.kernel[1] - 1
        left = Signal(g.kernel[0] * across * len(data))
        for ky in range(g.kernel[0]):
            taps[ky, across] = newest if ky == g.kernel[0] - 1 \
                else above.word_select(ky, len(data))
            taps |= {(ky, kx): left.word_select(ky * across + kx, len(data))
                     for kx in range(across)}
        if across:
            m.submodules.taps = line = DelayLine(len(left), g.dilation[1] * words)
            m.d.comb += [line.i.eq(Cat(taps[ky, kx + 1] for ky in range(g.kernel[0])
                                       for kx in range(across))),
                         line.en.eq(step), left.eq(line.o)]
        if len(above):
            # All rows in one memory: each word moves up by one.
            m.submodules.rows = line = DelayLine(len(above), cfg.row_delay)
            m.d.comb += [line.i.eq(Cat(taps[ky, 0] for ky in range(1, g.kernel[0]))),
                         line.en.eq(step), above.eq(line.o)]
        per_group = cfg.input.lanes // gp * cfg.out_type.width
        m.d.comb += self.o.payload.data.as_value().eq(Cat(
            taps[ky, kx].word_select(n, per_group) for n in range(gp)
            for ky in range(g.kernel[0]) for kx in range(g.kernel[1])))
        return m

    def _in_phase(self, m, on_grid, end, moves, stride, name) -> Value:
        """Whether as many places as a multiple of the stride have passed since ``on_grid``
        began."""
        if stride == 1:
            return Const(1, 1)
        phase = Signal(range(stride), name=f"{name}_phase")
        with m.If(moves):
            m.d.sync += phase.eq(Mux(end | ~on_grid | (phase == stride - 1), 0, phase + 1))
        return phase == 0


def _steps(held, leaves, arrives, in_column, in_row):
    """Whether a place of the padded frame is passed: padding, or a pixel that is there."""
    return (~held | leaves) & (arrives | ~(in_column & in_row))
