"""Sliding windows: the input vectors of a convolution, cut from a stream of pixels (im2col).

Two blocks with one meaning. :class:`WindowReaderConfig` keeps pixels in a ring memory and reads
each window element by element, ``lanes`` channels per beat; padding costs no clocks.
:class:`WindowShiftConfig` shifts pixels through a register window with row delays and gives whole
windows, ``lanes`` channels of every element per beat.
"""

from dataclasses import dataclass

import numpy as np
from amaranth import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from ..ops import Conv, windows
from ..resources import Resources
from ..streams import TensorStream
from ..types import NumType, smallest_type
from .block import Block, Schedule, as_soon_as_possible
from .primitives import DelayLine, following, memory_style, ram_bram36

__all__ = ["WindowGeometry", "WindowReaderConfig", "WindowShiftConfig", "convert_codes",
           "window_type"]

READER_INTERVAL = 3  # least clocks between windows: need and level are compared in a pipeline
READER_LATENCY = 3  # address, memory read, output register


def window_type(dtype: NumType, conv: Conv) -> NumType:
    """Type of window elements: the input's, widened if the padding value is not one of it."""
    if not any(conv.pad) or bool(dtype.contains(conv.pad_value)):
        return dtype
    return smallest_type(min(dtype.low, conv.pad_value), max(dtype.high, conv.pad_value))


@dataclass(frozen=True)
class WindowGeometry:
    """Kernel placement, as in PyTorch.

    Parameters
    ----------
    kernel, stride, dilation
        (vertical, horizontal).
    pad
        (top, bottom, left, right), each smaller than the kernel's extent.
    pad_value
        Integer that padding stands for.
    groups
        Channel groups; windows of one group come together.
    """

    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    pad: tuple[int, int, int, int] = (0, 0, 0, 0)
    pad_value: int = 0
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1

    @classmethod
    def of(cls, conv: Conv) -> "WindowGeometry":
        return cls(conv.kernel, conv.stride, conv.pad, conv.pad_value, conv.dilation, conv.groups)

    @property
    def extent(self) -> tuple[int, int]:
        """Rows and columns from the first to the last element of a window."""
        return ((self.kernel[0] - 1) * self.dilation[0] + 1,
                (self.kernel[1] - 1) * self.dilation[1] + 1)

    @property
    def area(self) -> int:
        return self.kernel[0] * self.kernel[1]

    def positions(self, height: int, width: int) -> tuple[int, int]:
        """Output (height, width)."""
        top, bottom, left, right = self.pad
        return ((height + top + bottom - self.extent[0]) // self.stride[0] + 1,
                (width + left + right - self.extent[1]) // self.stride[1] + 1)


class _Window(Block):
    """What both blocks share: the stream of windows that they make."""

    input: TensorStream
    geometry: WindowGeometry
    out_type: NumType
    group_parallel: int

    def _check(self) -> None:
        g = self.geometry
        if max(g.pad[:2]) >= g.extent[0] or max(g.pad[2:]) >= g.extent[1]:
            raise ValueError(f"pad {list(g.pad)} must be smaller than the kernel's extent "
                             f"{list(g.extent)}")
        per_group = self.input.channels // g.groups
        lanes = self.input.lanes
        if self.group_parallel > 1 and lanes != self.group_parallel * per_group:
            raise ValueError(f"group_parallel {self.group_parallel} needs "
                             f"{self.group_parallel * per_group} lanes, the stream has {lanes}")
        if self.group_parallel == 1 and per_group % lanes:
            raise ValueError(f"lanes ({lanes}) must divide the channels of a group ({per_group})")
        if g.groups % self.group_parallel:
            raise ValueError(f"group_parallel ({self.group_parallel}) must divide the groups "
                             f"({g.groups})")

    @property
    def inputs(self):
        return (self.input,)

    @property
    def rounds(self) -> int:
        return self.geometry.groups // self.group_parallel

    @property
    def chunks(self) -> int:
        """Input beats of a pixel in each round."""
        return self.input.beats_per_pixel // self.rounds

    @property
    def positions(self) -> tuple[int, int]:
        return self.geometry.positions(*self.input.shape[:2])

    def _elements(self, x: np.ndarray) -> np.ndarray:
        """(frames, OH, OW, rounds, chunks, group_parallel, lanes per group, KH, KW)."""
        g = self.geometry
        view = windows(x, g.kernel, g.stride, g.pad, g.pad_value, g.dilation)
        gp = self.group_parallel
        return view.reshape(*view.shape[:3], self.rounds, self.chunks, gp,
                            self.input.lanes // gp, *g.kernel)


@dataclass(frozen=True)
class WindowReaderConfig(_Window):
    """Windows element by element: (round, kernel row, kernel column, chunk), ``lanes`` channels.

    A ring memory of ``capacity`` words holds the pixels that windows still need and lets the input
    run ahead. Each window is read once all its pixels are there.

    Parameters
    ----------
    input
        Pixels; a beat is a word of the ring.
    geometry
        Kernel placement.
    out_type
        Type of the elements; the input's type, or wider when ``pad_value`` needs it.
    capacity
        Words of the ring; at least :py:`least_capacity`.
    group_parallel
        Groups whose channels come side by side.
    """

    input: TensorStream
    geometry: WindowGeometry
    out_type: NumType
    capacity: int = 0
    group_parallel: int = 1

    def __post_init__(self):
        self._check()
        if self.capacity == 0:
            object.__setattr__(self, "capacity", self.least_capacity)
        if self.capacity < self.least_capacity:
            raise ValueError(f"capacity ({self.capacity}) must be at least {self.least_capacity}")

    @property
    def output(self) -> TensorStream:
        return TensorStream(self.out_type, (*self.positions,
                                            self.geometry.area * self.input.channels),
                            self.input.lanes)

    @property
    def words(self) -> int:
        """Words of a pixel."""
        return self.input.beats_per_pixel

    @property
    def elements(self) -> int:
        """Beats of a window."""
        return self.geometry.area * self.words

    @property
    def least_capacity(self) -> int:
        """Words from the first that a window may need to its last, and two that registers hold."""
        need, release = self._needs()
        return int((need - release).max()) + 3

    @property
    def latency(self) -> int:
        return 2 + READER_LATENCY

    @property
    def cycles(self) -> int:
        rows, columns = self.positions
        return max(rows * columns * max(self.elements, READER_INTERVAL), self.input.beats)

    def _needs(self) -> tuple[np.ndarray, np.ndarray]:
        """For each window of a frame, the last word that it needs and the first that it or a
        later window needs, counted from the frame's first word."""
        g, (height, width, _), words = self.geometry, self.input.shape, self.words
        rows, columns = self.positions
        top = np.arange(rows) * g.stride[0] - g.pad[0]
        left = np.arange(columns) * g.stride[1] - g.pad[2]
        last_row = np.clip(top + g.extent[0] - 1, 0, height - 1)
        last_column = np.clip(left + g.extent[1] - 1, 0, width - 1)
        need = last_row[:, None] * width * words + (last_column + 1) * words - 1
        # Columns are free only where the next row of windows starts lower.
        lower = np.append(top[1:] > 0, True)
        release = np.maximum(top, 0)[:, None] * width * words \
            + np.where(lower[:, None], np.maximum(left, 0) * words, 0)
        return need.reshape(-1), release.reshape(-1)

    def compute(self, *tensors):
        split = self._elements(tensors[0])
        # rounds, KH, KW, chunks, groups at work, lanes of each
        order = (0, 1, 2, 3, 7, 8, 4, 5, 6)
        return split.transpose(order).reshape(*split.shape[:3], -1)

    def create(self) -> "WindowReader":
        return WindowReader(self)

    def schedule(self, frames, *ready, hold=1):
        need, release = self._needs()
        beats, count = self.input.beats, len(need)
        taken = as_soon_as_possible(ready[0])
        frame = np.repeat(np.arange(frames), count) * beats
        there = taken[frame + np.tile(need, frames)] + 2
        interval = max(self.elements * hold, READER_INTERVAL)
        start = as_soon_as_possible(there, interval)
        offered = (start[:, None] + READER_LATENCY
                   + np.arange(self.elements) * hold).reshape(-1)
        # A window's words are free when it has been read: before the next one's first are fixed.
        kept = np.append((frame + np.tile(release, frames))[1:], frames * beats)
        freed = start + self.elements * hold + READER_LATENCY
        released = np.concatenate([[0], kept])[np.searchsorted(freed, taken, side="left")]
        peak = int((np.arange(1, len(taken) + 1) - released).max())
        return Schedule((taken,), offered, offered, max(peak, 0) + 3)

    def estimate(self, family):
        width, depth = self.input.data_width, self.capacity
        address, count = (depth - 1).bit_length(), self.input.beats.bit_length()
        wraps = depth & (depth - 1) != 0
        padded = any(self.geometry.pad)
        # Fitted to synthesis: positions count words of a frame, places words of the ring.
        lut = 16 * count + (21 if wraps else 13) * address + padded * (60 + width)
        ff = 10 * count + 5 * address + padded * 20 + width
        if memory_style(width, depth) == "block":
            return Resources(lut=lut, ff=ff, bram36=ram_bram36(width, depth))
        ram = 4 * -(-width // 3) * -(-depth // 64)
        return Resources(lut=lut + ram, lutram=ram, ff=ff + width)


def _wrap_add(a: Value, constant: Value | int, size: int) -> Value:
    """``(a + constant) mod size`` for operands below ``size``: two sums side by side."""
    total = (a + constant)[:size.bit_length() + 1]
    if size & (size - 1) == 0:
        return total[:(size - 1).bit_length()]
    reduced = (a + constant - size).as_signed()
    return Mux(reduced < 0, total, reduced)[:(size - 1).bit_length()]


class WindowReader(wiring.Component):
    """Hardware of :class:`WindowReaderConfig`.

    Members
    -------
    i : :py:`In(config.input.signature())`
    o : :py:`Out(config.output.signature())`
    """

    def __init__(self, config: WindowReaderConfig):
        self.config = config
        super().__init__({"i": In(config.input.signature()), "o": Out(config.output.signature())})

    def elaborate(self, platform):
        m = Module()
        cfg, g = self.config, self.config.geometry
        height, width, _ = cfg.input.shape
        words, size, beats = cfg.words, cfg.capacity, cfg.input.beats
        rows, columns = cfg.positions
        row_words = width * words

        # Write pixels while the ring has room.
        m.submodules.ring = ring = memory.Memory(
            shape=cfg.input.data_width, depth=size, init=[],
            attrs={"ram_style": memory_style(cfg.input.data_width, size)})
        write, read = ring.write_port(), ring.read_port()
        write_place = Signal(range(size))
        room = Signal(range(size + beats + 1), init=size)
        put = Signal()
        m.d.comb += [self.i.ready.eq(room != 0), put.eq(self.i.valid & self.i.ready),
                     write.addr.eq(write_place), write.en.eq(put),
                     write.data.eq(self.i.payload.data.as_value())]
        with m.If(put):
            m.d.sync += write_place.eq(following(write_place, size))

        # Position of the next window: its row and column, and the words that it needs.
        start, advance, element_end = Signal(), Signal(), Signal()
        column, row = Signal(range(columns)), Signal(range(rows))
        column_end, row_end = Signal(), Signal()
        m.d.comb += [column_end.eq(column == columns - 1), row_end.eq(row == rows - 1)]
        top_words = self._sweep(m, "top", -g.pad[0] * row_words, g.stride[0] * row_words, rows,
                                start & column_end, row_end)
        left_words = self._sweep(m, "left", -g.pad[2] * words, g.stride[1] * words, columns, start,
                                 column_end)
        bottom_words = self._saturate(
            m, "bottom", (g.extent[0] - 1 - g.pad[0]) * row_words, g.stride[0] * row_words,
            (height - 1) * row_words, start & column_end, row_end)
        right_words = self._saturate(
            m, "right", (g.extent[1] - g.pad[2]) * words - 1, g.stride[1] * words,
            width * words - 1, start, column_end)
        with m.If(start):
            m.d.sync += column.eq(Mux(column_end, 0, column + 1))
            with m.If(column_end):
                m.d.sync += row.eq(Mux(row_end, 0, row + 1))

        # Pipeline: need and release are added up, then compared; three clocks a window.
        age = Signal(2)
        m.d.sync += age.eq(Mux(start, 0, Mux(age == 2, 2, age + 1)))
        need, release = Signal(range(beats + 1)), Signal(range(beats + 1))
        next_row_lower = (top_words + g.stride[0] * row_words > 0) | row_end
        new_frame = Signal(init=0)
        m.d.sync += [
            need.eq(bottom_words + right_words),
            release.eq(Mux(top_words < 0, 0, top_words)
                       + Mux(next_row_lower & (left_words > 0), left_words, 0)),
        ]
        with m.If(start):
            m.d.sync += new_frame.eq(row_end & column_end)
        ahead = Signal(signed((beats + size).bit_length() + 1))
        m.d.sync += ahead.eq(ahead + put - Mux(start & row_end & column_end, beats, 0))
        available = Signal()
        m.d.sync += available.eq((ahead > need) & (age >= 1) & ~start)
        released_before = Signal(range(beats + 1))
        freed = Signal(range(beats + size + 1))
        fresh = Signal()
        busy = Signal()
        free_now = Signal()
        m.d.sync += freed.eq(release - released_before + Mux(new_frame, beats, 0))
        m.d.comb += free_now.eq(fresh & (age == 2) & (~busy | (element_end & advance)))
        with m.If(start):
            m.d.sync += fresh.eq(1)
        with m.Elif(free_now):
            m.d.sync += fresh.eq(0)
        with m.If(free_now):
            m.d.sync += released_before.eq(release)
        m.d.sync += room.eq(room - put + Mux(free_now, freed, 0))

        # Ring place of the next window's first element, which may lie in the padding.
        first = (-g.pad[0] * row_words - g.pad[2] * words) % size
        row_place = Signal(range(size), init=first)
        place = Signal(range(size), init=first)
        row_step = Mux(row_end, (beats - (rows - 1) * g.stride[0] * row_words) % size,
                       g.stride[0] * row_words % size)
        next_row_place = Signal(range(size))
        m.d.sync += next_row_place.eq(_wrap_add(row_place, row_step, size))
        with m.If(start):
            m.d.sync += place.eq(_wrap_add(place, g.stride[1] * words % size, size))
            with m.If(column_end):
                m.d.sync += [place.eq(next_row_place), row_place.eq(next_row_place)]

        # Read the elements of a window.
        element_place = Signal(range(size))
        ends, masks = self._element_loops(m, start, advance, busy, element_end, top_words,
                                          left_words, row, column)
        last_window = Signal()
        m.d.comb += [advance.eq(~self.o.valid | self.o.ready),
                     start.eq(advance & available & (~busy | element_end))]
        chunk_end, column_k_end, row_k_end = ends
        per_round = cfg.chunks
        across = (g.kernel[1] - 1) * g.dilation[1] * words + per_round - 1
        down = (g.kernel[0] - 1) * g.dilation[0] * row_words + across
        step = Mux(~chunk_end, 1, Mux(
            ~column_k_end, (g.dilation[1] * words - (per_round - 1)) % size, Mux(
                ~row_k_end, (g.dilation[0] * row_words - across) % size,
                (per_round - down) % size)))
        with m.If(advance):
            m.d.sync += element_place.eq(_wrap_add(element_place, step, size))
            with m.If(start):
                m.d.sync += [busy.eq(1), element_place.eq(place),
                             last_window.eq(row_end & column_end)]
            with m.Elif(element_end):
                m.d.sync += busy.eq(0)

        # Memory read, then padding and output register.
        m.d.comb += [read.addr.eq(element_place), read.en.eq(advance)]
        read_valid, read_last = Signal(), Signal()
        read_inside = Signal()
        value = convert_codes(read.data, cfg.input.lanes, cfg.input.dtype, cfg.out_type)
        padding = Const(sum(int(cfg.out_type.encode(g.pad_value)) << n * cfg.out_type.width
                            for n in range(cfg.output.lanes)), cfg.output.data_width) \
            if any(g.pad) else None
        with m.If(advance):
            m.d.sync += [read_valid.eq(busy), read_last.eq(last_window & element_end),
                         read_inside.eq(masks), self.o.valid.eq(read_valid),
                         self.o.payload.last.eq(read_last),
                         self.o.payload.data.as_value().eq(
                             Mux(read_inside, value, padding) if padding is not None else value)]
        return m

    def _sweep(self, m, name, first, step, count, when, end) -> Value:
        """Register ``first + n * step`` that returns to ``first`` behind its ``count``-th value."""
        last = first + (count - 1) * step
        value = Signal(range(min(first, 0), max(last, first, 0) + 1), init=first, name=name)
        with m.If(when):
            m.d.sync += value.eq(Mux(end, first, value + step))
        return value

    def _saturate(self, m, name, first, step, limit, when, end) -> Value:
        """Register ``min(first + n * step, limit)`` that returns to its start at ``end``."""
        first = min(max(first, 0), limit)
        value = Signal(range(limit + 1), init=first, name=name)
        with m.If(when):
            m.d.sync += value.eq(Mux(end, first, Mux(value + step > limit, limit, value + step)))
        return value

    def _element_loops(self, m, start, advance, busy, element_end, top_words, left_words, row,
                       column):
        """Counters of chunk, kernel column, kernel row, round; whether the element is a pixel."""
        cfg, g = self.config, self.config.geometry
        height, width, _ = cfg.input.shape
        ends = []
        step = advance & busy
        for name, count in (("chunk", cfg.chunks), ("kernel_column", g.kernel[1]),
                            ("kernel_row", g.kernel[0]), ("round", cfg.rounds)):
            value, end = Signal(range(count), name=name), Signal(name=f"{name}_end")
            m.d.comb += end.eq(value == count - 1)
            with m.If(step):
                m.d.sync += value.eq(Mux(end, 0, value + 1))
            step = step & end
            ends.append(end)
        m.d.comb += element_end.eq(ends[0] & ends[1] & ends[2] & ends[3])

        inside = Const(1, 1)
        if any(g.pad):
            checks = []
            for name, size, before, stride, dilation, kernel, count, moves, outer in (
                    ("y", height, g.pad[0], g.stride[0], g.dilation[0], g.kernel[0],
                     cfg.positions[0], ends[0] & ends[1], row),
                    ("x", width, g.pad[2], g.stride[1], g.dilation[1], g.kernel[1],
                     cfg.positions[1], ends[0], column)):
                # Coordinate of the element; negative ones wrap to large numbers.
                top = (count - 1) * stride + (kernel - 1) * dilation
                bits = max(top, size + before).bit_length() + 1
                origin = Signal(bits, init=-before & ((1 << bits) - 1), name=f"origin_{name}")
                where = Signal(bits, name=f"element_{name}")
                outer_end = Signal(name=f"origin_{name}_end")
                m.d.comb += outer_end.eq(outer == count - 1)
                at_start = start if name == "x" else start & (column == cfg.positions[1] - 1)
                with m.If(at_start):
                    m.d.sync += origin.eq(Mux(outer_end, -before & ((1 << bits) - 1),
                                              origin + stride))
                base = Signal(bits, name=f"window_{name}")
                inner_end = ends[2] if name == "y" else ends[1]
                with m.If(advance):
                    with m.If(start):
                        m.d.sync += [where.eq(origin), base.eq(origin)]
                    with m.Elif(moves):
                        m.d.sync += where.eq(Mux(inner_end, base, where + dilation))
                checks.append(where < size)
            inside = checks[0] & checks[1]
        return ends[:3], inside


@dataclass(frozen=True)
class WindowShiftConfig(_Window):
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
        taps = g.area - g.kernel[0]
        lut = 35.0 + (sum(g.pad) > 0) * width
        ff, lutram, bram = 25.0 + width * g.kernel[0], 0.0, 0.0
        for length, count in ((g.dilation[1] * self.input.beats_per_pixel, taps),
                              (self.row_delay, g.kernel[0] - 1)):
            style = DelayLine.style_of(width, length)
            if style == "register":
                ff += count * width * length
            elif style == "srl":
                lutram += count * width
                ff += count * width
            elif style == "distributed":
                lutram += count * 4 * -(-width // 3) * -(-length // 64)
                ff += count * (width + 8)
                lut += count * 10
            else:
                bram += count * ram_bram36(width, length)
                lut += count * 14
        return Resources(lut=lut + lutram, lutram=lutram, ff=ff, bram36=bram)


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
        height, width, _ = cfg.input.shape
        words, gp = cfg.input.beats_per_pixel, cfg.group_parallel

        # Scan the padded frame: row, column and chunk of the beat that comes next.
        step = Signal()
        counts, moves = [], step
        for name, count in (("chunk", words), ("column", cfg.scanned[1]), ("row", cfg.scanned[0])):
            value, end = Signal(range(count), name=name), Signal(name=f"{name}_end")
            m.d.comb += end.eq(value == count - 1)
            with m.If(moves):
                m.d.sync += value.eq(Mux(end, 0, value + 1))
            moves = moves & end
            counts.append(value)
        _, column, row = counts
        is_pixel = Signal()
        inside = Const(1, 1)
        for place, before, size, scanned in ((row, g.pad[0], height, cfg.scanned[0]),
                                             (column, g.pad[2], width, cfg.scanned[1])):
            if before:
                inside = inside & (place >= before)
            if before + size < scanned:
                inside = inside & (place < before + size)
        completes = Signal()
        last = Signal()
        ready_axes, last_axes = [], []
        for place, extent, stride, count, name in (
                (row, g.extent[0], g.stride[0], cfg.positions[0], "row"),
                (column, g.extent[1], g.stride[1], cfg.positions[1], "column")):
            ready_axes.append(self._on_grid(m, place, extent - 1, stride, count, name, step,
                                            counts))
            last_axes.append(place == extent - 1 + (count - 1) * stride)
        m.d.comb += [
            is_pixel.eq(inside), completes.eq(ready_axes[0] & ready_axes[1]),
            last.eq(last_axes[0] & last_axes[1] & (counts[0] == words - 1)),
            step.eq((~self.o.valid | self.o.ready) & (~is_pixel | self.i.valid)),
            self.i.ready.eq((~self.o.valid | self.o.ready) & is_pixel),
        ]
        with m.If(~self.o.valid | self.o.ready):
            m.d.sync += [self.o.valid.eq(step & completes), self.o.payload.last.eq(last)]

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
        value = newest
        for ky in reversed(range(g.kernel[0])):
            for kx in reversed(range(g.kernel[1])):
                if (ky, kx) != (g.kernel[0] - 1, g.kernel[1] - 1):
                    row_start = kx == g.kernel[1] - 1
                    line = DelayLine(len(data), cfg.row_delay if row_start
                                     else g.dilation[1] * words)
                    m.submodules[f"row_delay_{ky}" if row_start else f"tap_{ky}_{kx}"] = line
                    m.d.comb += [line.i.eq(value), line.en.eq(step)]
                    value = line.o
                taps[ky, kx] = value
        per_group = cfg.input.lanes // gp * cfg.out_type.width
        m.d.comb += self.o.payload.data.as_value().eq(Cat(
            taps[ky, kx].word_select(n, per_group) for n in range(gp)
            for ky in range(g.kernel[0]) for kx in range(g.kernel[1])))
        return m

    def _on_grid(self, m, place, first, stride, count, name, step, counts) -> Value:
        """Whether ``place`` is ``first + n * stride`` for an n below ``count``."""
        end = first + (count - 1) * stride
        if stride == 1:
            return (place >= first) & (place <= end) if count > 1 else place == first
        if count == 1:
            return place == first
        phase = Signal(range(stride), name=f"{name}_phase")
        chunk_end = counts[0] == self.config.input.beats_per_pixel - 1
        scanned = self.config.scanned
        moves = step & chunk_end
        wraps = place == (scanned[1] if name == "column" else scanned[0]) - 1
        if name == "row":
            moves = moves & (counts[1] == scanned[1] - 1)
        with m.If(moves):
            m.d.sync += phase.eq(Mux(wraps | (place < first) | (phase == stride - 1), 0, phase + 1))
        return (place >= first) & (place <= end) & (phase == 0)


def convert_codes(codes: Value, lanes: int, source: NumType, target: NumType) -> Value:
    """Wire codes of one type as those of a type that contains it."""
    if source == target:
        return codes
    converted = []
    for n in range(lanes):
        code = codes.word_select(n, source.width)
        number = Cat(Const(1, 1), ~code).as_signed() if source.bipolar else \
            code.as_signed() if source.signed else code
        if len(number) < target.width:
            sign = number[-1] if number.shape().signed else Const(0, 1)
            number = Cat(number, sign.replicate(target.width - len(number)))
        converted.append(number[:target.width])
    return Cat(*converted)
