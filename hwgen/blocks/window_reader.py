"""Sliding windows read element by element from a ring of rows."""

from dataclasses import dataclass
from functools import reduce
from operator import and_

import numpy as np
from amaranth import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from ..resources import Resources
from ..streams import TensorStream
from ..types import NumType, smallest_type
from .block import Schedule, as_soon_as_possible
from .counters import counter, following, turns
from .export import advances, lut
from .parts import lookup
from .primitives import memory_style, ram_bram36
from .window import Window, WindowGeometry, convert_codes

__all__ = ["WindowReader", "WindowReaderConfig"]

INTERVAL = 2  # least clocks between windows: what a window needs is compared in a clock of its own
LATENCY = 3  # address, memory read, output register


@dataclass(frozen=True)
class WindowReaderConfig(Window):
    """Windows element by element: (round, kernel row, kernel column, chunk), ``lanes`` channels.

    A ring memory of ``rows`` rows holds the pixels that windows still need and lets the input run
    ahead. Each window is read once all its pixels are there; the rows that no later window needs
    are free when the last window of a row has been read. 1-D data (height 1) is kept pixel by
    pixel, as an image of width 1.

    Parameters
    ----------
    input
        Pixels; a beat is a word of the ring.
    geometry
        Kernel placement.
    out_type
        Type of the elements; the input's type, or wider when ``pad_value`` needs it.
    rows
        Rows of the ring; at least (and by default) :py:`least_rows`.
    group_parallel
        Groups whose channels come side by side.
    """

    input: TensorStream
    geometry: WindowGeometry
    out_type: NumType
    rows: int = 0
    group_parallel: int = 1

    def __post_init__(self):
        self._check()
        if self.rows == 0:
            object.__setattr__(self, "rows", self.least_rows)
        if self.rows < self.least_rows:
            raise ValueError(f"rows ({self.rows}) must be at least {self.least_rows}")

    @property
    def output(self) -> TensorStream:
        return TensorStream(self.out_type, (*self.positions,
                                            self.geometry.area * self.input.channels),
                            self.input.lanes)

    @property
    def scan(self) -> tuple[tuple[int, int], WindowGeometry]:
        """(height, width) and kernel placement as the ring sees them: 1-D data stands upright."""
        g, (height, width, _) = self.geometry, self.input.shape
        if height > 1 or g.kernel[0] > 1:
            return (height, width), g
        top, bottom, left, right = g.pad
        return (width, height), WindowGeometry(
            g.kernel[::-1], g.stride[::-1], (left, right, top, bottom), g.pad_value,
            g.dilation[::-1], g.groups)

    @property
    def words(self) -> int:
        """Words of a pixel."""
        return self.input.beats_per_pixel

    @property
    def row_words(self) -> int:
        """Words of a row."""
        return self.scan[0][1] * self.words

    @property
    def elements(self) -> int:
        """Beats of a window."""
        return self.geometry.area * self.words

    @property
    def least_rows(self) -> int:
        """Rows that a window spans."""
        (height, _), g = self.scan
        return min(g.extent[0], height)

    @property
    def latency(self) -> int:
        return 2 + LATENCY

    @property
    def cycles(self) -> int:
        rows, columns = self.positions
        return max(rows * columns * max(self.elements, INTERVAL), self.input.beats)

    def needs(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """For each row of windows the last row that it needs and how many rows are free after
        it; for each column the last word of that row."""
        (height, width), g = self.scan
        rows, columns = g.positions(height, width)
        top = np.arange(rows) * g.stride[0] - g.pad[0]
        left = np.arange(columns) * g.stride[1] - g.pad[2]
        last_row = np.clip(top + g.extent[0] - 1, 0, height - 1)
        last_word = (np.clip(left + g.extent[1] - 1, 0, width - 1) + 1) * self.words - 1
        freed = np.diff(np.append(np.maximum(top, 0), height))
        return last_row, freed, last_word

    def more_rows(self, last_row: np.ndarray) -> np.ndarray:
        """How many rows more each row of windows needs than the one before, from the second on; the
        first of the next frame comes last."""
        return np.diff(np.append(last_row, self.scan[0][0] + last_row[0]))

    @property
    def is_even(self) -> bool:
        """Whether each row of windows needs, and frees, as many rows as the others."""
        last_row, freed, _ = self.needs()
        return len({*self.more_rows(last_row).tolist()}) == len({*freed.tolist()}) == 1

    def compute(self, *tensors):
        split = self._elements(tensors[0])
        # rounds, KH, KW, chunks, groups at work, lanes of each
        order = (0, 1, 2, 3, 7, 8, 4, 5, 6)
        return split.transpose(order).reshape(*split.shape[:3], -1)

    def create(self) -> "WindowReader":
        return WindowReader(self)

    def schedule(self, frames, *ready, hold=1):
        """``hold``: clocks for which the consumer keeps each beat."""
        last_row, freed, last_word = self.needs()
        beats = self.input.beats
        need = (last_row[:, None] * self.row_words + last_word).reshape(-1)
        taken = as_soon_as_possible(ready[0])
        frame = np.repeat(np.arange(frames), len(need)) * beats
        interval = max(self.elements * hold, INTERVAL)
        start = as_soon_as_possible(taken[frame + np.tile(need, frames)] + 2, interval)
        offered = (start[:, None] + LATENCY + np.arange(self.elements) * hold).reshape(-1)
        # A row is written while those before it, less the freed ones, are in the ring.
        done = start[len(last_word) - 1::len(last_word)] + self.elements * hold + LATENCY
        gone = np.concatenate([[0], np.cumsum(np.tile(freed, frames))])
        begun = taken[::self.row_words]
        held = np.arange(1, len(begun) + 1) - gone[np.searchsorted(done, begun, side="left")]
        return Schedule((taken,), offered, offered, int(held.max()))

    def estimate(self, family):
        width, depth = self.input.data_width, self.rows * self.row_words
        (height, _), g = self.scan
        padded, vertical = any(g.pad), g.kernel[0] > 1
        uneven, several = not self.is_even, self.rows > 1
        row, word, slot = height.bit_length(), self.row_words.bit_length(), \
            (self.rows - 1).bit_length()
        # Fitted to synthesis: counters, loops over elements, addresses, what a window needs.
        adds = several and self.row_words & (self.row_words - 1) != 0
        needs = len(set(self.needs()[2].tolist())) > 1
        loops = sum(n > 1 for n in (self.chunks, *g.kernel, self.rounds))
        lut = 24 + 6 * vertical + 1.1 * row * uneven + (1.6 + 4.1 * adds + 4.3 * needs) * word \
            + 10 * slot - 12 * several + 5.4 * loops + 1.3 * self.positions[1].bit_length() \
            + padded * (8 + 1.1 * width) + 4.2 * row * (g.pad[0] > 0)
        ff = 14 + 3 * vertical + 12 * padded + 5.4 * slot + (3.2 + 2 * needs) * word + width \
            + row * uneven
        if memory_style(width, depth) == "block":
            return Resources(lut=lut, ff=ff, bram36=ram_bram36(width, depth))
        ram = 4 * -(-width // (6 if depth <= 32 else 3)) * -(-depth // 64)
        return Resources(lut=lut + ram, lutram=ram, ff=ff + width)


class WindowReader(wiring.Component):
    """Hardware of :class:`WindowReaderConfig`.

    Rows and columns are counted apart, so that counters are short: the ring is ``rows`` slots, a
    slot's first word comes from a small table.

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
        cfg = self.config
        (height, width), g = cfg.scan
        row_words, words, slots = cfg.row_words, cfg.words, cfg.rows
        rows, columns = g.positions(height, width)
        last_row, freed, last_word = cfg.needs()
        depth = slots * row_words
        m.submodules.ring = ring = memory.Memory(
            shape=cfg.input.data_width, depth=depth, init=[],
            attrs={"ram_style": memory_style(cfg.input.data_width, depth)})
        write = ring.write_port()
        read = ring.read_port()

        # Write pixels while there is a free row.
        put = Signal()
        most = int(freed.max()) + slots
        room = Signal(range(most + 1), init=slots)  # free rows, the one being written among them
        write_word, row_done = counter(m, row_words, put, "write_word")
        write_slot = Signal(range(slots))
        done = Signal()
        m.d.comb += [self.i.ready.eq(room != 0), put.eq(self.i.valid & self.i.ready),
                     done.eq(put & row_done), write.en.eq(put),
                     write.addr.eq(self._address(write_slot, write_word)),
                     write.data.eq(self.i.payload.data.as_value())]
        with m.If(done):
            m.d.sync += write_slot.eq(following(write_slot, slots))

        # The next window: its place among all, and what it needs.
        start = Signal()
        advance = Signal()
        element_end = Signal()
        row_starts = Signal()  # start & column_end
        column_end, _ = turns(m, columns, start, "column")
        more = cfg.more_rows(last_row)
        if cfg.is_even:
            row_end, _ = turns(m, rows, row_starts, "row")
            row: Value = Const(0)
        else:
            row, row_end = counter(m, rows, row_starts, "row")
        need_word = self._walk(m, "need_word", last_word, column_end, start)
        # Rows written beyond those that the next window needs whole, all but its last.
        ahead = Signal(range(-int(max(last_row[0], more.max())), slots + most + 1),
                       init=-int(last_row[0]))
        # What changes is chosen late, and added at once.
        m.d.sync += ahead.eq(ahead + Mux(
            row_starts, Mux(done, self._constant(1 - more, row), self._constant(-more, row)), done))
        available = Signal()
        m.d.sync += available.eq(
            Mux(ahead.any(), ahead >= 0, write_word > need_word) & ~start)

        # Rows that nothing needs any more are free once the last window of a row has been read.
        busy = Signal()
        in_last_column = Signal()
        with m.If(start):
            m.d.sync += in_last_column.eq(column_end)
        changes = [self._constant(freed - n, row) for n in range(2)]
        if not cfg.is_even:
            held = [Signal(range(-1, most + 1), name=f"freed_{n}") for n in range(2)]
            with m.If(start):
                m.d.sync += [now.eq(change) for now, change in zip(held, changes)]
            changes = held
        # Read the elements.
        slot = Signal(range(slots), init=-g.pad[0] % slots)
        with m.If(row_starts):
            m.d.sync += slot.eq(Mux(row_end, self._ahead(slot, height - (rows - 1) * g.stride[0]),
                                    self._ahead(slot, g.stride[0])))
        left = self._sweep(m, "left", -g.pad[2] * words, g.stride[1] * words, columns, start,
                           column_end)
        ends, element_slot, offset = self._elements(m, platform, start, advance, busy, slot, left)
        row_ends = lut(m, platform, "row_ends", lambda *bits: reduce(and_, bits), busy,
                       in_last_column, *ends)
        frees = advances(m, platform, "frees", self.o, row_ends)
        m.d.sync += room.eq(room + Mux(frees, Mux(done, changes[1], changes[0]),
                                       done.replicate(2).as_signed()))
        free = lut(m, platform, "free", lambda busy, *ends: ~busy | reduce(and_, ends), busy, *ends)
        # Ready may be late.
        m.d.comb += [
            advance.eq(~self.o.valid | self.o.ready), element_end.eq(Cat(*ends).all()),
            start.eq(advances(m, platform, "starts", self.o, available, free)),
            row_starts.eq(advances(m, platform, "row_starts", self.o, available, free,
                                   column_end))]
        last_window = Signal()
        with m.If(advance):
            with m.If(start):
                m.d.sync += [busy.eq(1), last_window.eq(row_end & column_end)]
            with m.Elif(element_end):
                m.d.sync += busy.eq(0)

        # Memory, then padding and output register.
        m.d.comb += [read.addr.eq(self._address(element_slot, offset)), read.en.eq(advance)]
        read_valid = Signal()
        read_last = Signal()
        value = convert_codes(read.data, cfg.input.lanes, cfg.input.dtype, cfg.out_type)
        if any(g.pad):
            code = int(cfg.out_type.encode(g.pad_value))
            padding = sum(code << n * cfg.out_type.width for n in range(cfg.output.lanes))
            inside = Signal()
            is_pixel = self._inside(m, ends, start, advance, row_starts, row_end, offset)
            with m.If(advance):
                m.d.sync += inside.eq(is_pixel)
            value = Mux(inside, value, Const(padding, len(value)))
        with m.If(advance):
            m.d.sync += [read_valid.eq(busy), read_last.eq(last_window & element_end),
                         self.o.valid.eq(read_valid), self.o.payload.last.eq(read_last),
                         self.o.payload.data.as_value().eq(value)]
        return m

    def _address(self, slot: Value, word: Value) -> Value:
        """Word of the ring; outside a row (in padding) any word will do."""
        cfg = self.config
        if cfg.row_words & (cfg.row_words - 1) == 0:
            return Cat(word[:(cfg.row_words - 1).bit_length()], slot)
        bits = (cfg.rows * cfg.row_words - 1).bit_length()
        first = self._constant(np.arange(cfg.rows) * cfg.row_words, slot)
        return (first + word)[:bits]

    def _constant(self, values: np.ndarray, index: Value) -> Value:
        """``values[index]``."""
        if (values == values[0]).all():
            return Const(int(values[0]))
        kind = smallest_type(values.min(), values.max())
        padded = np.zeros(1 << len(index), dtype=np.int64)
        padded[:len(values)] = values
        bits = Cat(lookup(padded >> bit & 1, index) for bit in range(kind.width))
        return bits.as_signed() if kind.signed else bits

    def _ahead(self, slot: Value, rows: int) -> Value:
        """The slot ``rows`` rows further on."""
        slots = self.config.rows
        return self._constant((np.arange(slots) + rows) % slots, slot)

    def _walk(self, m, name: str, values: np.ndarray, end: Value, when: Value) -> Value:
        """Register that goes through ``values``, which rise by one step up to a limit."""
        if (values == values[0]).all():
            return Const(int(values[0]))
        first, limit = int(values[0]), int(values[-1])
        step = int(values[1] - values[0]) if len(values) > 2 else limit - first
        value = Signal(range(limit + 1), init=first, name=name)
        following_value = value + step
        if first + step * (len(values) - 1) > limit:
            following_value = Mux(value > limit - step, limit, following_value)
        with m.If(when):
            m.d.sync += value.eq(Mux(end, first, following_value))
        return value

    def _sweep(self, m, name, first, step, count, when, end) -> Value:
        """Register ``first + n * step`` that returns to ``first`` behind its ``count``-th value."""
        last = first + (count - 1) * step
        value = Signal(range(min(first, 0), max(last, first, 0) + 1), init=first, name=name)
        with m.If(when):
            m.d.sync += value.eq(Mux(end, first, value + step))
        return value

    def _elements(self, m, platform, start, advance, busy, slot, left):
        """Ends of the element loops; slot and word, within their rows, of the element."""
        cfg = self.config
        _, g = cfg.scan
        words, chunks = cfg.words, cfg.chunks
        ends: list[Value] = []
        for name, count in (("chunk", chunks), ("kernel_column", g.kernel[1]),
                            ("kernel_row", g.kernel[0]), ("round", cfg.rounds)):
            step = advances(m, platform, f"{name}_steps", self.o, busy, *ends)
            end, _ = turns(m, count, step, name)
            ends.append(end)
        chunk_end, column_end, row_end, _ = ends
        element_slot = Signal(range(cfg.rows))
        across = (g.kernel[1] - 1) * g.dilation[1] * words
        reach = across + cfg.row_words + words
        offset = Signal(range(-reach, reach))
        move = Mux(~chunk_end, 1, Mux(~column_end, g.dilation[1] * words - (chunks - 1), Mux(
            ~row_end, -across - (chunks - 1), 1 - across)))
        down = self._ahead(element_slot, g.dilation[0])
        with m.If(advance):
            m.d.sync += offset.eq(Mux(start, left, offset + move))
            with m.If(start):
                m.d.sync += element_slot.eq(slot)
            with m.Elif(chunk_end & column_end):
                # The next round starts again in the window's first row.
                m.d.sync += element_slot.eq(Mux(row_end, self._back(element_slot), down))
        return ends, element_slot, offset

    def _back(self, slot: Value) -> Value:
        """From the last kernel row's slot to the first one's."""
        _, g = self.config.scan
        return self._ahead(slot, -(g.kernel[0] - 1) * g.dilation[0])

    def _inside(self, m, ends, start, advance, row_starts, row_end, offset) -> Value:
        """Whether the element is a pixel rather than padding."""
        cfg = self.config
        (height, width), g = cfg.scan
        checks = []
        if g.pad[2]:
            checks.append(offset >= 0)
        if g.pad[3]:
            checks.append(offset < cfg.row_words)
        if g.pad[0] or g.pad[1]:
            rows, _ = g.positions(height, width)
            reach = (rows - 1) * g.stride[0] + (g.kernel[0] - 1) * g.dilation[0] + g.pad[0]
            top = self._sweep(m, "top", -g.pad[0], g.stride[0], rows, row_starts, row_end)
            y, first = Signal(range(-g.pad[0], reach + 1)), Signal.like(top)
            chunk_end, kernel_column_end, kernel_row_end, _ = ends
            with m.If(advance):
                with m.If(start):
                    m.d.sync += [y.eq(top), first.eq(top)]
                with m.Elif(chunk_end & kernel_column_end):
                    m.d.sync += y.eq(Mux(kernel_row_end, first, y + g.dilation[0]))
            if g.pad[0]:
                checks.append(y >= 0)
            if g.pad[1]:
                checks.append(y < height)
        return Cat(*checks).all()
