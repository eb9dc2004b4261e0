"""Memory of constants, read in order, that fills block RAMs to the last bit.

A port of a block RAM that is 1, 2 or 4 bits wide reaches 32 of its 36 Kbit; the others are parity
bits. A port nine times as wide reads them, beside eight words that nobody wants: so one port of a 7
series block RAM reads its words, and the other an eighth more from its parity bits (UG473).

Block RAMs that are read one after the other are banks. A port whose turn it is not gives 0, by its
own reset, and what all give is joined by OR: a LUT takes six bits, where it would choose one of
four.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial, reduce
from itertools import islice
from math import ceil
from operator import or_

import numpy as np
from amaranth import Cat, ClockSignal, Const, Instance, Module, Mux, Signal, Value
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from ..resources import Resources
from .counters import LONGEST_ORBIT, Orbit
from .export import Export, lut
from .primitives import Rom, delay, ram_bram36, rom_bram36, rom_tiling

__all__ = ["PARITY_ROM", "ParityBank", "ParityMemory", "ParityPlan", "plan_parity"]

PARITY_ROM = "hwgen_parity_rom"
"""Verilog file, and module, of an exported block RAM with words in its parity bits."""

DATA_BITS, PARITY_BITS = 1 << 15, 1 << 12
"""Of a block RAM of 36 Kbit."""

LANES = (1, 2, 4)
"""Widths of a port without parity bits."""

LUT_INPUTS = 6
"""Of a function with one output."""


@dataclass(frozen=True)
class ParityBank:
    """Words one behind the other in block RAMs side by side.

    Parameters
    ----------
    words
        How many; 2 or more.
    lane
        Bits of a word in each block RAM, some of the words in parity bits; 0: a memory without.
    """

    words: int
    lane: int


@dataclass(frozen=True)
class ParityPlan:
    """How banks hold a memory.

    Parameters
    ----------
    width
        Bits of a word.
    banks
        In the order in which they are read.
    low
        Bits of a shift register that steps through addresses.
    """

    width: int
    banks: tuple[ParityBank, ...]
    low: int

    @property
    def orbit(self) -> Orbit:
        """Addresses of a bank in the order in which they are read."""
        return Orbit(self.low, ceil(max(bank.words for bank in self.banks) / (1 << self.low)))

    def depth(self, bank: ParityBank) -> int:
        """Words that a bank without parity bits takes: shift registers step to and fro."""
        return ceil(bank.words / (1 << self.low)) << self.low

    def columns(self, bank: ParityBank) -> int:
        """Block RAMs of a bank with parity bits."""
        return ceil(self.width / bank.lane)

    @property
    def bram36(self) -> float:
        return sum(self.columns(bank) if bank.lane else rom_bram36(self.width, self.depth(bank))
                   for bank in self.banks)

    @cached_property
    def joins(self) -> list[list[int]]:
        """How OR joins what the banks give, bit by bit and level by level: by LUT, how many of the
        level before it takes; one alone needs none. One with a gate comes first."""
        # Block RAMs without parity bits can't be made to give 0: their gate is an input too.
        costs = [2 for bank in self.banks if not bank.lane]
        costs += [1, 1] * (len(self.banks) - len(costs))
        levels = []
        while len(costs) > 1:
            levels.append(_groups(costs))
            costs = [1] * len(levels[-1])
        return levels

    @property
    def latency(self) -> int:
        """Clocks: two of the block RAM, one for every two levels of LUTs."""
        return 2 + ceil(len(self.joins) / 2)

    def estimate(self, family: str) -> Resources:
        """Other families than 7 series have the words in parity bits in memories of their own."""
        joins = sum(size > 1 for sizes in self.joins for size in sizes)
        registers = sum(len(sizes) for sizes in (*self.joins[1:-1:2], self.joins[-1]))
        orbit, lanes = self.orbit, {bank.lane for bank in self.banks} - {0}
        bram36, held = self.bram36, 0
        if family != "xc7":
            held += sum(1 + bool(bank.lane) for bank in self.banks)
            bram36 += sum(self.columns(bank) * ram_bram36(bank.lane, PARITY_BITS // bank.lane)
                          for bank in self.banks if bank.lane)
        luts = 5.0 + (orbit.width - orbit.low) + len(lanes) + self.width * joins
        ff = orbit.width + self.width * (registers + held)
        if len(self.banks) > 1:
            plain = sum(not bank.lane for bank in self.banks)
            ends = len({bank.words for bank in self.banks})
            luts += ends + len(lanes) + 2 * plain + orbit.width / 4
            ff += 1 + 2 * len(self.banks) + plain * (1 + self.width * (family == "xc7"))
        return Resources(lut=luts, ff=ff, bram36=bram36)


def _groups(costs: list[int]) -> list[int]:
    """How many outputs, of so many inputs each, go to a LUT each; some are left for the next level
    if that takes them beside these LUTs' outputs."""
    sizes: list[int] = []
    free = 0
    for n, cost in enumerate(costs):
        if cost > free:
            if sizes and len(sizes) + len(costs) - n <= LUT_INPUTS:
                return sizes + [1] * (len(costs) - n)
            sizes.append(0)
            free = LUT_INPUTS
        sizes[-1] += 1
        free -= cost
    return sizes


@lru_cache(maxsize=4096)
def plan_parity(width: int, words: int) -> ParityPlan | None:
    """The way that takes fewest block RAMs, and among those few LUTs; None if none has words in
    parity bits."""
    best: ParityPlan | None = None
    if words <= DATA_BITS // max(LANES):
        return best
    for low in range(LONGEST_ORBIT, 0, -1):
        banks = _banks(width, words, low)
        if banks is None or not banks[0].lane:
            continue
        plan = ParityPlan(width, _without_short(banks), low)
        if best is None or plan.bram36 < best.bram36:
            best = plan
    return best


def _banks(width: int, words: int, low: int) -> tuple[ParityBank, ...] | None:
    """Banks for so many words, of fewest block RAMs, then fewest banks. One without parity bits
    may come last."""
    found: list[tuple[ParityBank, ...]] = []
    depth = ceil(words / (1 << low)) << low
    if rom_tiling(width, depth)[1] == 1:
        found.append((ParityBank(words, 0),))
    for lane in LANES:
        whole = (DATA_BITS + PARITY_BITS) // lane
        if words <= DATA_BITS // lane or PARITY_BITS // lane < 1 << low:
            continue
        if words <= whole:
            found.append((ParityBank(words, lane),))
            continue
        first, rest = (ParityBank(whole, lane),) * (words // whole), words % whole
        behind = _banks(width, rest, low) if rest else ()
        if behind is not None:
            found.append((*first, *behind))
    return min(found, key=lambda banks: (ParityPlan(width, banks, low).bram36, len(banks)),
               default=None)


def _without_short(banks: tuple[ParityBank, ...]) -> tuple[ParityBank, ...]:
    """A last bank of one word gets a second, from the one before."""
    if banks[-1].words > 1:
        return banks
    *first, before, last = banks
    return (*first, ParityBank(before.words - 1, before.lane), ParityBank(2, last.lane))


class ParityMemory(wiring.Component):
    """The words in order, again and again: ``data`` is the word that follows after ``en``, as it
    was ``plan.latency`` clocks ago.

    Parameters
    ----------
    plan
        Of as many words as there are.
    bits
        Gives the words, (words, bits of a word) of 0 and 1.
    name
        Names memory files.

    Members
    -------
    en : :py:`In(1)`
        The next word, from the next clock on.
    data : :py:`Out(plan.width)`
    """

    def __init__(self, plan: ParityPlan, bits: Callable[[], np.ndarray], name: str):
        self.plan, self.bits, self.name = plan, bits, name
        super().__init__({"en": In(1), "data": Out(plan.width)})

    def elaborate(self, platform):
        m = Module()
        plan, words = self.plan, self.bits()
        place, waits = self._counters(m)
        clear = delay(m, waits, 1, "waits")
        outputs: list[tuple[Value, Value | None]] = []
        first = 0
        order = np.array([plan.orbit.address(n) for n in range(max(b.words for b in plan.banks))])
        for n, bank in enumerate(plan.banks):
            held = words[first:first + bank.words]
            first += bank.words
            if bank.lane:
                outputs += [(value, None) for value in self._bank(
                    m, platform, n, bank, held, order, place, clear[n])]
                continue
            codes = np.zeros((plan.depth(bank), plan.width), dtype=np.int64)
            codes[order[:bank.words]] = held
            m.submodules[f"bank_{n}"] = rom = Rom(codes, 1, "block", f"{self.name}_{n}")
            m.d.comb += rom.addr.eq(place)
            outputs.insert(0, (rom.data, ~delay(m, clear[n], 1, f"waits_{n}")))
        m.d.comb += self.data.eq(self._joined(m, platform, outputs))
        return m

    def _joined(self, m, platform, outputs: list[tuple[Value, Value | None]]) -> Value:
        """OR of all, a register behind every second level of LUTs; some are gated."""
        for level, sizes in enumerate(self.plan.joins):
            left, joined = iter(outputs), []
            for n, size in enumerate(sizes):
                name, group = f"joined_{level}_{n}", list(islice(left, size))
                out = Signal(self.plan.width, name=name)
                gated = [gate is not None for _, gate in group]
                m.d.comb += out.eq(Cat(lut(m, platform, f"{name}_{k}", partial(_any, gated), *(
                    bit for value, gate in group
                    for bit in ((value[k],) if gate is None else (value[k], gate))))
                    for k in range(self.plan.width)))
                joined.append(out)
            if level % 2 or len(joined) == 1:
                joined = [delay(m, out, 1, out.name) for out in joined]
            outputs = [(out, None) for out in joined]
        return outputs[0][0]

    def _counters(self, m) -> tuple[Value, Value]:
        """The address within a bank, and a bit for each bank that waits for its turn."""
        banks, orbit = self.plan.banks, self.plan.orbit
        if len(banks) == 1:
            return orbit.pointer(m, self.en, "place", period=banks[0].words), Const(0, 1)
        place, end, turn = Signal(orbit.width), Signal(), Signal()
        waits = Signal(len(banks), init=(1 << len(banks)) - 2)
        limit: Value = Const(orbit.address(banks[0].words - 2), orbit.width)
        for n, bank in enumerate(banks):
            if bank.words != banks[0].words:
                limit = Mux(waits[n], limit, orbit.address(bank.words - 2))
        m.d.comb += turn.eq(self.en & end)
        with m.If(self.en):
            m.d.sync += [place.eq(orbit.following(place)), end.eq(place == limit)]
        with m.If(turn):
            m.d.sync += [place.eq(0), waits.eq(waits.rotate_left(1))]
        return place, waits

    def _bank(self, m, platform, n: int, bank: ParityBank, words: np.ndarray, order: np.ndarray,
              place: Value, clear: Value) -> list[Value]:
        """What a bank of block RAMs gives: words of data bits, and of parity bits."""
        lane, depth = bank.lane, DATA_BITS // bank.lane
        address = place[:(depth - 1).bit_length() + 1]
        contents = np.zeros((depth + depth // 8, self.plan.columns(bank) * lane), dtype=np.uint8)
        contents[order[:bank.words], :self.plan.width] = words
        data, parity = [], []
        for column in range(self.plan.columns(bank)):
            part = contents[:, column * lane:(column + 1) * lane]
            make = self._exported if isinstance(platform, Export) else self._simulated
            outputs = make(m, platform, f"bank_{n}_{column}", part, address, clear)
            data.append(outputs[0])
            parity.append(outputs[1])
        return [Cat(*data)[:self.plan.width], Cat(*parity)[:self.plan.width]]

    def _exported(self, m, platform, name: str, bits: np.ndarray, address: Value, clear: Value
                  ) -> tuple[Value, Value]:
        lane, depth = bits.shape[1], DATA_BITS // bits.shape[1]
        data, parity = Signal(lane, name=f"{name}_data"), Signal(lane, name=f"{name}_parity")
        platform.uses.add(PARITY_ROM)
        m.submodules[name] = Instance(
            PARITY_ROM, p_LANE=lane, p_DATA=Const(_number(bits[:depth]), DATA_BITS),
            p_PARITY=Const(_number(bits[depth:]), PARITY_BITS), i_clk=ClockSignal(),
            i_addr=address, i_clear=clear, o_data=data, o_parity=parity)
        return data, parity

    def _simulated(self, m, platform, name: str, bits: np.ndarray, address: Value, clear: Value
                   ) -> tuple[Value, Value]:
        """See ``rtl_templates/hwgen_parity_rom.v.j2``."""
        lane, depth = bits.shape[1], DATA_BITS // bits.shape[1]
        words = (bits << np.arange(lane)).sum(axis=1).tolist()
        in_parity = delay(m, address[-1], 1, f"{name}_in_parity")
        outputs: list[Value] = []
        for part, contents, idle in (("data", words[:depth], in_parity),
                                     ("parity", words[depth:], ~in_parity)):
            m.submodules[f"{name}_{part}"] = rom = memory.Memory(shape=lane, depth=len(contents),
                                                                 init=contents)
            read = rom.read_port()
            held = Signal(lane, reset_less=True, name=f"{name}_{part}_held")
            m.d.comb += [read.addr.eq(address[:-1]), read.en.eq(1)]
            m.d.sync += held.eq(Mux(idle | clear, 0, read.data))
            outputs.append(held)
        return outputs[0], outputs[1]


def _any(gated: list[bool], *bits: Value) -> Value:
    """OR of some bits; of those that are gated, each is followed by its gate."""
    left = iter(bits)
    return reduce(or_, [next(left) & next(left) if gate else next(left) for gate in gated])


def _number(bits: np.ndarray) -> int:
    """Bits of a contents parameter: word after word, each from its lowest bit."""
    return int.from_bytes(np.packbits(bits.reshape(-1), bitorder="little").tobytes(), "little")
