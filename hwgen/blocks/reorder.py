"""Reorder: the beats of a pixel, a row or a frame in another order, from a double buffer."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from amaranth import Cat, Module, Mux, Signal, Value
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from ..ops import Shape
from ..resources import Resources
from ..streams import TensorStream
from .block import Block, Schedule, as_soon_as_possible
from .counters import counter, turns
from .fifo import fifo_resources
from .primitives import memory_style, rom_luts, rom_tiling

__all__ = ["Reorder", "ReorderConfig", "nested_loops"]

MOST_LOOPS = 5
LOGIC_ORDER_BITS = 1 << 12  # of an order in LUTs; longer ones that are no loops are in block RAM


def nested_loops(order: np.ndarray) -> list[tuple[int, int]] | None:
    """(count, step) of nested loops, innermost first, that give an order; None if none do.

    ``order[k]`` is the sum of ``index * step`` over the loops, ``order[0]`` being 0.
    """
    loops: list[tuple[int, int]] = []
    rest = np.asarray(order)
    if rest[0] != 0:
        return None
    while len(rest) > 1:
        step = int(rest[1] - rest[0])
        count = next((n for n in range(len(rest), 1, -1) if len(rest) % n == 0 and
                      (np.diff(rest.reshape(-1, n), axis=1) == step).all()), 0)
        if not count:
            return None
        loops.append((count, step))
        rest = rest[::count]
    return loops


@dataclass(frozen=True, eq=False)
class ReorderConfig(Block):
    """Writes a chunk of beats into one half of a memory and reads the other half in another order.

    A chunk is a pixel, a row or a frame; beats may be left out or come several times.
    Latency: 2 clocks from the last beat of a chunk to its first output beat. Interval: as many
    clocks per chunk as the longer of what goes in and what comes out.

    Parameters
    ----------
    input
        Stream of the tensor.
    shape
        Shape of the output; lanes stay.
    order
        (output beats of a chunk,): the beat of the input's chunk that each is.
    chunk
        Input beats of a chunk; divides those of a frame.
    """

    input: TensorStream
    shape: Shape
    order: np.ndarray
    chunk: int

    def __post_init__(self):
        if self.input.beats % self.chunk:
            raise ValueError(f"chunk ({self.chunk}) must divide the beats of a frame "
                             f"({self.input.beats})")
        if self.output.beats != self.chunks * len(self.order):
            raise ValueError(f"{self.chunks} chunks of {len(self.order)} beats are not the "
                             f"output's {self.output.beats}")
        if self.order.min() < 0 or self.order.max() >= self.chunk:
            raise ValueError(f"order must hold beats 0 to {self.chunk - 1}")

    @property
    def inputs(self) -> tuple[TensorStream, ...]:
        return (self.input,)

    @property
    def output(self) -> TensorStream:
        return TensorStream(self.input.dtype, self.shape, self.input.lanes)

    @property
    def chunks(self) -> int:
        """Chunks of a frame."""
        return self.input.beats // self.chunk

    @cached_property
    def loops(self) -> list[tuple[int, int]] | None:
        """The order as nested loops; None where a table holds it."""
        found = nested_loops(self.order)
        return found if found is not None and len(found) <= MOST_LOOPS else None

    @property
    def half(self) -> int:
        """Words of half the memory: a power of two."""
        return 1 << max(0, (self.chunk - 1).bit_length())

    @property
    def address_width(self) -> int:
        return max(1, (self.chunk - 1).bit_length())

    @property
    def rom_style(self) -> str:
        bits = len(self.order) * self.address_width
        return "logic" if bits <= LOGIC_ORDER_BITS else "block"

    @property
    def latency(self) -> int:
        return 2

    @property
    def cycles(self) -> int:
        return self.chunks * max(self.chunk, len(self.order))

    def compute(self, *tensors):
        x, = tensors
        beats = x.reshape(len(x), self.chunks, self.chunk, self.input.lanes)
        return beats[:, :, self.order].reshape(len(x), *self.shape)

    def create(self) -> "Reorder":
        return Reorder(self)

    def schedule(self, frames, *ready):
        chunks = frames * self.chunks
        ready = ready[0].reshape(chunks, self.chunk)
        taken = np.empty_like(ready)
        start = np.empty(chunks, dtype=np.int64)
        busy, free = -1 << 60, np.zeros(chunks + 2, dtype=np.int64)
        last = -1 << 60
        for n in range(chunks):
            wait = ready[n].copy()
            wait[0] = max(wait[0], last + 1, free[n])
            taken[n] = as_soon_as_possible(wait)
            last = taken[n, -1]
            start[n] = max(last + 1, busy)
            busy = start[n] + len(self.order)
            free[n + 2] = busy  # its half may be written again
        offered = (start[:, None] + 1 + np.arange(len(self.order))).reshape(-1)
        return Schedule((taken.reshape(-1),), offered, offered)

    def estimate(self, family):
        width = self.address_width
        lut, ff, bram = 4 * width + 10, 4 * width + 8, 0.0
        if self.loops is None and self.rom_style == "logic":
            lut += width * rom_luts(len(self.order))
        elif self.loops is None:
            columns, rows, *_ = rom_tiling(width, len(self.order))
            bram = float(columns * rows)
        return fifo_resources(self.input.data_width, 2 * self.half + 1) \
            + Resources(lut=lut, ff=ff, bram36=bram)


class Reorder(wiring.Component):
    """Hardware of :class:`ReorderConfig`.

    Members
    -------
    i : :py:`In(config.input.signature())`
    o : :py:`Out(config.output.signature())`
    """

    def __init__(self, config: ReorderConfig):
        self.config = config
        super().__init__({"i": In(config.input.signature()), "o": Out(config.output.signature())})

    def elaborate(self, platform):
        m = Module()
        cfg = self.config
        width, depth = cfg.input.data_width, 2 * cfg.half
        m.submodules.memory = mem = memory.Memory(
            shape=width, depth=depth, init=[], attrs={"ram_style": memory_style(width, depth)})
        write, read = mem.write_port(), mem.read_port()

        # Write chunk after chunk, into the halves in turn, while one is free.
        put, filled, emptied = Signal(), Signal(), Signal()
        beat, beat_end = counter(m, cfg.chunk, put, "beat")
        write_half, read_half = Signal(), Signal()
        full = Signal(2)  # which halves hold a whole chunk, or are being read
        m.d.comb += [self.i.ready.eq(~full.bit_select(write_half, 1)),
                     put.eq(self.i.valid & self.i.ready), filled.eq(put & beat_end),
                     write.en.eq(put), write.data.eq(self.i.payload.data.as_value()),
                     write.addr.eq(Cat(beat[:(cfg.half - 1).bit_length()], write_half))]
        with m.If(filled):
            m.d.sync += write_half.eq(~write_half)

        # Read a full half in the given order.
        advance, get = Signal(), Signal()
        address, order_end, first = self._order(m, get, full.bit_select(read_half, 1))
        chunk_end = Signal()
        m.d.comb += [advance.eq(~self.o.valid | self.o.ready), emptied.eq(get & order_end),
                     read.en.eq(get), self.o.payload.data.as_value().eq(read.data),
                     read.addr.eq(Cat(address[:(cfg.half - 1).bit_length()], read_half)),
                     get.eq(advance & first)]
        last_chunk, _ = turns(m, cfg.chunks, emptied, "chunk")
        m.d.comb += chunk_end.eq(last_chunk & order_end)
        with m.If(emptied):
            m.d.sync += read_half.eq(~read_half)
        for half in range(2):
            with m.If(filled & (write_half == half)):
                m.d.sync += full[half].eq(1)
            with m.Elif(emptied & (read_half == half)):
                m.d.sync += full[half].eq(0)
        with m.If(advance):
            m.d.sync += self.o.valid.eq(get)
        with m.If(get):
            m.d.sync += self.o.payload.last.eq(chunk_end)
        return m

    def _order(self, m, get: Signal, ready: Value) -> tuple[Value, Value, Value]:
        """Address of the next beat, whether it is the chunk's last, whether it may be read."""
        cfg = self.config
        if cfg.loops is not None:
            address = Signal(range(max(2, cfg.half)))
            ends, deltas, back = [], [], 0
            step: Value = get
            for n, (count, distance) in enumerate(cfg.loops):
                end, _ = turns(m, count, step, f"loop_{n}")
                step = step & end
                ends.append(end)
                deltas.append(distance - back)
                back += (count - 1) * distance
            following: Value | int = 0  # every loop at its end: the next chunk starts at 0
            for end, delta in zip(reversed(ends), reversed(deltas)):
                following = Mux(end, following, (address + delta)[:len(address)])
            with m.If(get):
                m.d.sync += address.eq(following)
            last = Signal(name="order_end")
            m.d.comb += last.eq(Cat(*ends).all() if ends else 1)
            return address, last, ready
        # A table: the address is read a clock ahead.
        place, last = counter(m, len(cfg.order), get, "place")
        m.submodules.order = rom = memory.Memory(
            shape=cfg.address_width, depth=max(2, len(cfg.order)), init=cfg.order.tolist(),
            attrs={"rom_style": cfg.rom_style})
        port = rom.read_port()
        following_place = Signal(range(max(2, len(cfg.order))))
        m.d.comb += [following_place.eq(Mux(get, Mux(last, 0, place + 1), place)),
                     port.addr.eq(following_place), port.en.eq(1)]
        return port.data, last, ready
