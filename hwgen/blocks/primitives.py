"""Parts that blocks are made of: delay line, FIFO, read-only memory."""

from functools import lru_cache
from math import ceil

import numpy as np
from amaranth import Array, Cat, ClockSignal, Const, Instance, Module, Mux, Signal, Value
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

from ..resources import Resources
from .counters import Orbit, turns
from .export import Export, lut, unlike

__all__ = ["DelayLine", "ROM", "Rom", "StreamFifo", "addresses", "delay", "delay_resources",
           "fill_gaps", "memory_style", "ram_bram36", "ram_luts", "rom_bram36", "rom_luts",
           "rom_registers", "rom_tiling", "row_luts"]

ROM = "hwgen_rom"
"""Verilog file, and module, of an exported block RAM of constants."""

SRL_LENGTH = 33  # a shift register of up to 32 bits and its output flip-flop
REGISTER_LENGTH = 2
POINTERS = 4  # LUTs of those of a wide delay line
LARGEST_CIRCLE = 48  # LUTs of a circular memory beside which a block RAM is no waste
WIDEST_RAM = 256  # words of a primitive of LUTs with one port
SHORTEST_SRL = 3  # that synthesis makes of registers


def memory_style(width: int, depth: int) -> str:
    """``distributed`` or ``block``: block RAM where LUT RAM would take 64 LUTs or more."""
    return "block" if ceil(depth / 64) * ceil(width / 3) * 4 >= 64 and depth > 64 else "distributed"


def ram_bram36(width: int, depth: int) -> float:
    """Block RAMs of 36 Kb (in halves) of a simple dual-port memory."""
    halves = min(ceil(width / w) * ceil(depth / d) for w, d in
                 ((1, 16384), (2, 8192), (4, 4096), (9, 2048), (18, 1024), (36, 512)))
    return halves / 2


def ram_luts(width: int, depth: int) -> int:
    """LUTs of a simple dual-port memory: a RAM32M holds 6 bits by 32 in 4 of them, a RAM64M 3 bits
    by 64; what chooses among several is not counted."""
    return 4 * (ceil(width / 6) if depth <= 32 else ceil(width / 3) * ceil(depth / 64))


def addresses(width: int, depth: int, style: str) -> Orbit:
    """An order of the words of a memory for at least ``depth``, which costs no more than those."""
    cost = ram_bram36 if style == "block" else ram_luts
    return Orbit.of(depth, lambda words: cost(width, words))


def delay(m, value: Value, clocks: int, name: str, *, reset: bool = False) -> Value:
    """``value`` as it was ``clocks`` clocks ago; no enable.

    Data need no reset, and without one they fit shift registers. What says that data are there
    needs it: a beat under way when the reset comes must not come out after it.
    """
    for n in range(clocks):
        held = Signal.like(value, name=f"{name}_{n + 1}", reset_less=not reset)
        m.d.sync += held.eq(value)
        value = held
    return value


def delay_resources(width: int, clocks: int) -> Resources:
    """Of :func:`delay` without reset: synthesis makes SRLs of three registers or more."""
    if clocks < SHORTEST_SRL:
        return Resources(ff=width * clocks)
    ram = width * ceil(clocks / 32)
    return Resources(lut=ram, lutram=ram)


class DelayLine(wiring.Component):
    """``o`` is ``i`` as it was ``length`` steps ago; a step is a clock with ``en``.

    Contents start as 0. A loop from ``o`` to ``i`` may be combinational: it makes a ring of
    ``length`` words. Registers for up to 2 steps, SRLs for up to 33 or, where it is wide, LUT RAM
    that two pointers go through; else a circular memory.

    Members
    -------
    en : :py:`In(1)`
    i : :py:`In(width)`
    o : :py:`Out(width)`
    """

    def __init__(self, width: int, length: int):
        self.width, self.length = width, length
        super().__init__({"en": In(1), "i": In(width), "o": Out(width)})

    @staticmethod
    def style_of(width: int, length: int) -> str:
        """``register``, ``srl``, ``pointers``, ``distributed`` or ``block``."""
        if length <= REGISTER_LENGTH:
            return "register"
        if length <= SRL_LENGTH:
            wide = length < SRL_LENGTH and ram_luts(width, length) + POINTERS < width
            return "pointers" if wide else "srl"
        words = length - 1
        if words <= WIDEST_RAM:
            return "block" if width * ceil(words / 64) > LARGEST_CIRCLE and words > 64 \
                else "distributed"
        return memory_style(width, words)

    @property
    def style(self) -> str:
        return self.style_of(self.width, self.length)

    @classmethod
    def resources(cls, width: int, length: int) -> Resources:
        """Predicted resources."""
        style = cls.style_of(width, length)
        if style == "register":
            return Resources(ff=width * length)
        if style == "srl":
            ram = width * ceil((length - 1) / 32)
            return Resources(lut=ram, lutram=ram, ff=width)
        if style == "pointers":
            ram, bits = ram_luts(width, length), (length - 1).bit_length()
            return Resources(lut=ram + POINTERS, lutram=ram, ff=width + 2 * bits)
        orbit = addresses(width, length - 1 - (style == "block"), style)
        place = orbit.resources + Resources(lut=3 + orbit.width / 6, ff=1 + width)
        if style == "block":
            return place + Resources(bram36=ram_bram36(width, orbit.words))
        # What is read and written at one address is a RAM64X1S or RAM128X1S, a bit each.
        ram = width * ceil(orbit.words / 64)
        return place + Resources(lut=ram, lutram=ram)

    def elaborate(self, platform):
        m = Module()
        if self.style in ("register", "srl"):
            words = Signal(self.width * self.length, reset_less=True)
            with m.If(self.en):
                m.d.sync += words.eq(Cat(self.i, words[:-self.width])
                                     if self.length > 1 else self.i)
            m.d.comb += self.o.eq(words[-self.width:])
            return m
        # The read register is one step; that of a block RAM is slow, and another follows it.
        late = int(self.style == "block")
        depth = self.length - 1 - late
        style = "distributed" if self.style == "pointers" else self.style
        orbit = addresses(self.width, depth + (self.style == "pointers"), style)
        m.submodules.ring = ring = memory.Memory(shape=self.width, depth=orbit.words, init=[],
                                                 attrs={"ram_style": style})
        write = ring.write_port()
        read = ring.read_port()
        if self.style == "pointers":
            write_place = orbit.pointer(m, self.en, "write_place", start=depth)
            read_place = orbit.pointer(m, self.en, "read_place")
        else:
            # Old contents are read as new ones are written: the word of ``depth`` steps ago.
            write_place = read_place = orbit.pointer(m, self.en, "place", period=depth)
        m.d.comb += [write.addr.eq(write_place), write.data.eq(self.i), write.en.eq(self.en),
                     read.addr.eq(read_place), read.en.eq(self.en)]
        if late:
            word = Signal(self.width, reset_less=True)
            with m.If(self.en):
                m.d.sync += word.eq(read.data)
            m.d.comb += self.o.eq(word)
        else:
            m.d.comb += self.o.eq(read.data)
        return m


class StreamFifo(wiring.Component):
    """First-in first-out buffer of stream beats; both handshakes are registered.

    Holds ``depth`` beats. Latency: 1 clock at depth 1 and 2 (registers), else 2 (memory and output
    register). Interval: 1 clock, at depth 1 two.

    Parameters
    ----------
    payload
        Shape of a beat.
    depth
        Capacity in beats.
    frame
        Beats of a frame, whose last has the highest bit of the payload, and no other: where that
        saves block RAM it is not stored but counted behind the memory. 0: it is stored.
    reserved
        Whether beats have their places before they come, ``depth - 1`` of them at a time; then they
        come without handshake. Needs a depth of at least 3.

    Members
    -------
    i : :py:`In(stream.Signature(payload))`
    o : :py:`Out(stream.Signature(payload))`
    reserve : :py:`In(1)`
        Of reserved places: one is taken, only while ``free``.
    free, will_be_free : :py:`Out(1)`
        There is one, a register; there will be one in the next clock.
    """

    def __init__(self, payload, depth: int, frame: int = 0, *, reserved: bool = False):
        least = 3 if reserved else 1
        if depth < least:
            raise ValueError(f"depth ({depth}) must be at least {least}")
        self.payload, self.depth, self.frame, self.reserved = payload, depth, frame, reserved
        super().__init__({
            "i": In(stream.Signature(payload)), "o": Out(stream.Signature(payload)),
            **({"reserve": In(1), "free": Out(1), "will_be_free": Out(1)} if reserved else {})})

    @staticmethod
    def latency_of(depth: int) -> int:
        """Clocks from a beat's acceptance to its offer by an empty FIFO."""
        return 1 if depth <= 2 else 2

    @staticmethod
    def interval_of(depth: int) -> int:
        """Clocks between beats where both ends are always ready: a single register is filled only
        when it is empty."""
        return 2 if depth == 1 else 1

    @staticmethod
    def stored_width(width: int, depth: int, frame: int) -> int:
        """Bits of a beat of ``width`` bits that a block RAM holds."""
        words = depth - 1
        counted = frame and memory_style(width, words) == "block" \
            and ram_bram36(width - 1, words) < ram_bram36(width, words)
        return width - bool(counted)

    def elaborate(self, platform):
        m = Module()
        advance = Signal()
        m.d.comb += advance.eq(~self.o.valid | self.o.ready)
        if self.depth == 1:
            # Blocks in front of it take steps of their own from its ready: a register too.
            ready = Signal(init=1)
            will_hold = Mux(ready, self.i.valid, ~self.o.ready)
            m.d.comb += self.i.ready.eq(ready)
            m.d.sync += [self.o.valid.eq(will_hold), ready.eq(~will_hold)]
            with m.If(ready):
                m.d.sync += self.o.payload.eq(self.i.payload)
            return m
        if self.depth == 2:
            skid = Signal.like(self.i.payload, reset_less=True)
            ready = Signal(init=1)
            m.d.comb += self.i.ready.eq(ready)
            with m.If(advance):
                m.d.sync += [self.o.valid.eq(self.i.valid | ~ready), ready.eq(1),
                             self.o.payload.eq(Mux(ready, self.i.payload, skid))]
            with m.Elif(self.i.valid):
                m.d.sync += ready.eq(0)
            with m.If(ready):
                m.d.sync += skid.eq(self.i.payload)
            return m

        depth, whole = self.depth - 1, self.i.payload.as_value()
        style = memory_style(len(whole), depth)
        width = self.stored_width(len(whole), self.depth, self.frame)
        orbit = addresses(width, depth, style)
        m.submodules.memory = mem = memory.Memory(
            shape=width, depth=orbit.words, init=[], attrs={"ram_style": style})
        write = mem.write_port()
        read = mem.read_port()
        put = Signal()
        get = Signal()
        empty = Signal(init=1)
        m.d.comb += [
            get.eq(lut(m, platform, "gets", _gets, empty, self.o.valid, self.o.ready)),
            write.data.eq(whole[:width]), write.en.eq(put), read.en.eq(get),
        ]
        last: Value = Const(0, 0)
        if width < len(whole):
            last, _ = turns(m, self.frame, self.o.valid & self.o.ready, "left")
        m.d.comb += self.o.payload.as_value().eq(Cat(read.data, last))
        write_place = orbit.pointer(m, put, "write_place")
        read_place = orbit.pointer(m, get, "read_place")
        # The place that is free only when what lies ``depth`` before it is gone.
        limit = read_place if depth == orbit.words else orbit.pointer(m, get, "limit", start=depth)
        m.d.comb += [write.addr.eq(write_place), read.addr.eq(read_place)]
        if self.reserved:
            take, place = self.reserve, orbit.pointer(m, self.reserve, "reserved_place")
            m.d.comb += [self.i.ready.eq(1), put.eq(self.i.valid)]
        else:
            take, place = put, write_place
        free = Signal(init=1)
        will_be_free = Signal()
        # Places behind those that are next, which are known a clock sooner.
        before_limit = self._before(m, orbit, limit, get, "before_limit")
        before_write = self._before(m, orbit, write_place, put, "before_write")
        left = unlike(m, platform, "left", place, before_limit)  # places, if one more is taken
        m.d.comb += will_be_free.eq(lut(m, platform, "frees", _next_free, take, empty,
                                        self.o.valid, self.o.ready, free, left))
        m.d.sync += free.eq(will_be_free)
        if self.reserved:
            m.d.comb += [self.free.eq(free), self.will_be_free.eq(will_be_free)]
        else:
            m.d.comb += [self.i.ready.eq(free), put.eq(self.i.valid & free)]
        more = unlike(m, platform, "more", read_place, before_write)  # words than one
        m.d.sync += empty.eq(lut(m, platform, "empties", _next_empty, put, empty, self.o.valid,
                                 self.o.ready, more))
        with m.If(advance):
            m.d.sync += self.o.valid.eq(~empty)
        return m

    @staticmethod
    def _before(m, orbit: Orbit, place: Signal, step: Value, name: str) -> Signal:
        """The address in front of a pointer's."""
        behind = Signal.like(place, init=orbit.before(place.init), name=name)
        with m.If(step):
            m.d.sync += behind.eq(place)
        return behind


def _gets(empty, valid, ready):
    """Whether the memory of a :class:`StreamFifo` is read."""
    return ~empty & (~valid | ready)


def _next_free(take, empty, valid, ready, free, left):
    """Whether a place of a :class:`StreamFifo` will be free."""
    get = _gets(empty, valid, ready)
    full = take & ~get
    return (full & left) | (~full & (free | get))


def _next_empty(put, empty, valid, ready, more):
    """Whether the memory of a :class:`StreamFifo` will be empty."""
    get = _gets(empty, valid, ready)
    return ~put & ((get & ~more) | (~get & empty))


MULTIPLEXED_WORDS = 256
"""Of a memory of constants: four LUTs and the multiplexers of their slice give a bit of so many."""


def rom_luts(depth: int) -> float:
    """LUTs of one bit of a memory of constants: a LUT6 holds 64, wider ones add multiplexers."""
    if depth <= 64:
        return 1.0
    if depth <= MULTIPLEXED_WORDS:
        return 2.0 if depth <= 128 else 4.0
    rows, rest = divmod(depth, MULTIPLEXED_WORDS)
    return 4 * rows + (rom_luts(rest) if rest else 0) + row_luts(rows + bool(rest))


def rom_registers(depth: int) -> int:
    """Flip-flops of one bit of a memory of constants in LUTs."""
    count, rows = 0, ceil(depth / MULTIPLEXED_WORDS)
    while rows > 1:
        count, rows = count + rows, ceil(rows / 4)
    return count + 1


def fill_gaps(words: np.ndarray, used: np.ndarray) -> np.ndarray:
    """Words of a memory of constants, with others of them in places that are never read.

    Zeros there, or nothing, would be a pattern, for which synthesis gives up the multiplexers of
    slices: up to a third more LUTs.
    """
    filled, places = words.copy(), np.flatnonzero(used)
    gaps = np.flatnonzero(~used)
    filled[gaps] = words[np.random.default_rng(len(words)).choice(places, len(gaps))]
    return filled


TILES = ((36, 1024), (72, 512), (18, 2048), (9, 4096), (18, 1024), (36, 512), (9, 2048), (4, 8192),
         (4, 4096), (2, 16384), (2, 8192), (1, 32768), (1, 16384))
"""Width and depth of block RAMs of 36 and 18 Kb."""


@lru_cache(maxsize=4096)
def rom_tiling(width: int, depth: int) -> tuple[int, int, int, int]:
    """Tile a memory with block RAMs: (columns, rows, width and depth of a tile), fewest 18 Kb."""
    return min(((ceil(width / w), ceil(depth / d), w, d) for w, d in TILES),
               # Among equals: few rows (no output multiplexer), then few tiles.
               key=lambda tiling: (_tiled_bram36(width, depth, tiling), tiling[1], tiling[0]))


def rom_bram36(width: int, depth: int) -> float:
    """Block RAMs of 36 Kb (in halves) of a memory of constants."""
    return _tiled_bram36(width, depth, rom_tiling(width, depth))


def _tiled_bram36(width: int, depth: int, tiling: tuple[int, int, int, int]) -> float:
    """The last column and the last row may be smaller than the others."""
    columns, rows, w, d = tiling
    last_width, last_depth = width - (columns - 1) * w, depth - (rows - 1) * d
    whole = (columns - 1) * ram_bram36(w, d) + ram_bram36(last_width, d)
    below = (columns - 1) * ram_bram36(w, last_depth) + ram_bram36(last_width, last_depth)
    if _last_row_is_one(width, depth, tiling):
        below = ram_bram36(width, last_depth)
    return (rows - 1) * whole + below


def _last_row_is_one(width: int, depth: int, tiling: tuple[int, int, int, int]) -> bool:
    """Whether the last of several rows is one tile, which is shallower and so may be wider."""
    columns, rows, w, d = tiling
    last_width, last_depth = width - (columns - 1) * w, depth - (rows - 1) * d
    return rows > 1 and ram_bram36(width, last_depth) < \
        (columns - 1) * ram_bram36(w, last_depth) + ram_bram36(last_width, last_depth)


def row_luts(rows: int) -> int:
    """LUTs of one bit that choose among rows of block RAMs, four to one, level by level."""
    luts = 0
    while rows > 1:
        luts += ceil(rows / 4) - (rows % 4 == 1)
        rows = ceil(rows / 4)
    return luts


class Rom(wiring.Component):
    """Read-only memory with a registered output; data follow the address ``latency`` clocks later.

    Parameters
    ----------
    codes
        (depth, fields) unsigned integers; a word is the fields, field 0 in the lowest bits.
    field_width
        Bits of a field.
    style
        ``logic`` (LUTs), or ``block`` (tiles of block RAM, contents in .mem files when exported).
    name
        Names the memory files.
    width
        Bits of a word; all of its fields by default, or fewer where the last one is narrower.
    at_once
        Of the style ``logic``: one clock whatever the depth.

    Members
    -------
    addr : :py:`In(range(depth))`
    data : :py:`Out(fields * field_width)`
    """

    def __init__(self, codes: np.ndarray, field_width: int, style: str, name: str,
                 width: int | None = None, *, at_once: bool = False):
        self.at_once = at_once
        self.codes = np.asarray(codes, dtype=np.int64)
        self.field_width, self.style, self.name = field_width, style, name
        self.depth, self.width = len(self.codes), width or self.codes.shape[1] * field_width
        super().__init__({"addr": In(range(self.depth)), "data": Out(self.width)})

    @staticmethod
    def latency_of(style: str, width: int, depth: int) -> int:
        """Clocks: 0 for a constant, 1 for logic, 2 for one row of block RAM; of several rows more,
        as of logic with more words than one clock reads."""
        if depth == 1:
            return 0
        rows = ceil(depth / MULTIPLEXED_WORDS) if style == "logic" else rom_tiling(width, depth)[1]
        first = 1 if style == "logic" else 2
        return first + sum(1 for bound in (1, 4, 16, 64, 256) if rows > bound)

    @property
    def latency(self) -> int:
        depth = min(self.depth, 2) if self.at_once else self.depth
        return self.latency_of(self.style, self.width, depth)

    def words(self) -> list[int]:
        """Contents, one integer per word."""
        words = [0] * self.depth
        for n in range(self.codes.shape[1]):
            shift = n * self.field_width
            words = [w | c << shift for w, c in zip(words, self.codes[:, n].tolist())]
        return words

    def elaborate(self, platform):
        m = Module()
        words = self.words()
        if self.depth == 1:
            m.d.comb += self.data.eq(words[0])
            return m
        if self.style == "logic":
            outputs = []
            most = len(words) if self.at_once else MULTIPLEXED_WORDS
            for row, first in enumerate(range(0, len(words), most)):
                part = words[first:first + most]
                if 64 < len(part) <= MULTIPLEXED_WORDS:
                    places = np.arange(1 << (len(part) - 1).bit_length())
                    filled = np.array([*part, *[0] * (len(places) - len(part))], object)
                    part = fill_gaps(filled, places < len(part)).tolist()
                rom = memory.Memory(shape=self.width, depth=len(part), init=part,
                                    attrs={"rom_style": "logic"})
                m.submodules[f"rom_{row}" if row else "rom"] = rom
                read = rom.read_port()
                m.d.comb += [read.addr.eq(self.addr), read.en.eq(1)]
                outputs.append(read.data)
            bits = (MULTIPLEXED_WORDS - 1).bit_length()
            self._choose_row(m, outputs, delay(m, self.addr[bits:], 1, "row"))
            return m

        columns, rows, tile_width, tile_depth = tiling = rom_tiling(self.width, self.depth)
        outputs = []
        for row in range(rows):
            part = words[row * tile_depth:(row + 1) * tile_depth]
            row_data = []
            whole = row == rows - 1 and _last_row_is_one(self.width, self.depth, tiling)
            for column in range(1 if whole else columns):
                low = column * tile_width
                width = self.width if whole else min(tile_width, self.width - low)
                content = [w >> low & ((1 << width) - 1) for w in part]
                row_data.append(self._tile(m, platform, content, width, f"{row}_{column}"))
            outputs.append(Cat(*row_data))
        self._choose_row(m, outputs, delay(m, self.addr[(tile_depth - 1).bit_length():], 2, "row"))
        return m

    def _choose_row(self, m, outputs: list[Value], row_index: Value) -> None:
        """The data are those of one row, chosen 4 to 1, registered after each choice."""
        while len(outputs) > 1:
            chosen = []
            for n in range(0, len(outputs), 4):
                out = Signal(self.width, reset_less=True, name=f"choice_{len(outputs)}_{n // 4}")
                group = Array(outputs[n:n + 4])
                m.d.sync += out.eq(group[row_index[:2]] if len(group) > 1 else group[0])
                chosen.append(out)
            outputs = chosen
            row_index = delay(m, row_index[2:], 1, f"row_{len(outputs)}")
        m.d.comb += self.data.eq(outputs[0])

    def _tile(self, m, platform, content: list[int], width: int, suffix: str) -> Value:
        address = self.addr[:max(1, (len(content) - 1).bit_length())]
        value = Signal(width, name=f"tile_{suffix}")
        if isinstance(platform, Export):
            file = f"{platform.module}_{self.name}_{suffix}.mem"
            digits = ceil(width / 4)
            platform.memories[file] = [f"{word:0{digits}x}" for word in content]
            platform.uses.add(ROM)
            m.submodules[f"tile_{suffix}"] = Instance(
                ROM, p_WIDTH=width, p_DEPTH=len(content), p_FILE=file,
                i_clk=ClockSignal(), i_addr=address, o_data=value)
            return value
        m.submodules[f"tile_{suffix}"] = rom = memory.Memory(shape=width, depth=len(content),
                                                             init=content)
        read = rom.read_port()
        held = Signal(width, reset_less=True)
        m.d.comb += [read.addr.eq(address), read.en.eq(1), value.eq(held)]
        m.d.sync += held.eq(read.data)
        return value


