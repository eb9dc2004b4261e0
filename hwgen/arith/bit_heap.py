"""Sums of many bits: a heap of bits by weight, compressed by counters in LUTs to one number.

A full adder of three bits is one LUT with two outputs (LUT6_2) of up to five inputs, and takes one
bit off the heap. Two of its inputs that are left over gate two of its bits: so products of one bit
cost half a LUT, and that adds them too. Three rows that are left become one by a ternary adder on a
carry chain, two bits a LUT. Bits are taken in the order of L. Dadda, "Some schemes for parallel
multipliers", Alta Frequenza 34 (1965).
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import NamedTuple

from ..resources import Resources

__all__ = ["ONE", "Adder", "Compression", "Lut", "Stage", "Term", "compress", "compressed"]

LUT_INPUTS = 5
"""Inputs that both outputs of a LUT6_2 may use."""

LEVELS = 4
"""Most LUT levels between registers."""

ADDER_LEVELS = 2
"""LUT levels that a ternary adder takes of them, beside its carry chain."""

ONE = -1
"""A net that is always 1, for constants in a heap."""

ADDER_ROWS = (3, 9, 27)
"""Heights of a heap at which one, two or three levels of ternary adders may take over."""

TERNARY_COLUMNS = 10
"""Most columns of a ternary adder. Tools that time a LUT6_2 from every input to both outputs see
a way from majority to majority through all of its LUTs; so it is kept short, and begins at a
register if it has more than ``LEVELS``."""

SHIFT_REGISTER = 5
"""Clocks from which a bit waits in a shift register, which takes a LUT. Synthesis alone would make
them of three: but of flip-flops a chip has two for each LUT, and LUTs are what is short."""

CHAIN_PRICE = 0.25
"""What a site on a carry chain costs beside its LUT: it can't be placed freely."""

IDENTITY, INVERTED = 0b10, 0b01
"""Tables of a net and of its complement."""


class Term(NamedTuple):
    """A bit: a function of some nets.

    Parameters
    ----------
    nets
        The function's inputs, the first the lowest bit of a table's index.
    table
        Its values, one bit for each combination of inputs.
    """

    nets: tuple[int, ...]
    table: int = IDENTITY


@dataclass(frozen=True)
class Lut:
    """A LUT of at most six inputs with one output, or of at most five with two.

    ``tables`` and ``outputs`` (nets) go together.
    """

    nets: tuple[int, ...]
    tables: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True)
class Adder:
    """A sum of up to three rows of bits on a carry chain.

    Parameters
    ----------
    rows
        For each column, from the lowest, the bits in it, up to three: nets or complements.
    outputs
        Nets of the sum's bits.
    """

    rows: tuple[tuple[Term, ...], ...]
    outputs: tuple[int, ...]

    @property
    def ternary(self) -> bool:
        """Whether a column has more than two bits."""
        return any(len(row) > 2 for row in self.rows)

    @property
    def lut(self) -> int:
        """LUT sites: one for each column, and one where a carry ends above them."""
        return len(self.rows) + (len(self.outputs) > len(self.rows) and self.ternary)


@dataclass
class Stage:
    """What lies between two rows of registers: levels of LUTs, then adders."""

    levels: list[list[Lut]] = field(default_factory=list)
    adders: list[Adder] = field(default_factory=list)
    live: list[int] = field(default_factory=list)
    """Nets that go into the registers behind it."""


@dataclass(frozen=True)
class Compression:
    """Hardware that adds a heap.

    Parameters
    ----------
    stages
        With registers behind each.
    output
        Net of each bit of the sum; ONE, or None for a constant 0.
    counters
        What the LUTs do, as a proof needs it: bits taken off the heap, and those put back in
        their place, all with their columns.
    nets
        Number of nets up to the last of its own.
    """

    stages: tuple[Stage, ...]
    output: tuple[int | None, ...]
    counters: tuple[tuple[tuple[tuple[int, Term], ...], tuple[tuple[int, int], ...]], ...]
    nets: int

    @property
    def latency(self) -> int:
        """Clocks, with a register behind each stage."""
        return len(self.stages)

    @property
    def chain(self) -> int:
        """LUT sites on carry chains."""
        return sum(adder.lut for stage in self.stages for adder in stage.adders)

    @cached_property
    def waits(self) -> list[tuple[int, int, int]]:
        """Net, first stage and clocks of each row of registers that nothing reads but the last."""
        began: dict[int, int] = {}
        waits = []
        for n, stage in enumerate(self.stages):
            read = {net for level in stage.levels for one in level for net in one.nets}
            read |= {t.nets[0] for adder in stage.adders for row in adder.rows for t in row}
            for net in read & began.keys():
                start = began.pop(net)
                waits.append((net, start, n - start))
            for net in stage.live:
                began.setdefault(net, n)
        waits += [(net, start, len(self.stages) - start) for net, start in began.items()]
        return waits

    @property
    def resources(self) -> Resources:
        """LUT sites and flip-flops."""
        lut = sum(sum(map(len, s.levels)) + sum(a.lut for a in s.adders) for s in self.stages)
        clocks = [n for _, _, n in self.waits]
        return Resources(lut=lut + sum(n >= SHIFT_REGISTER for n in clocks),
                         ff=sum(n for n in clocks if n < SHIFT_REGISTER))


@cache
def _values(places: tuple[int, ...], table: int, inputs: int) -> tuple[int, ...]:
    """Values of a term for each combination of a LUT's inputs; ``places``: its own among them."""
    return tuple(table >> sum((value >> place & 1) << n for n, place in enumerate(places)) & 1
                 for value in range(1 << inputs))


def _table(values: Iterable[int]) -> int:
    return sum(value << n for n, value in enumerate(values))


@cache
def _sum_tables(places: tuple[tuple[int, ...], ...], tables: tuple[int, ...],
                weights: tuple[int, ...]) -> tuple[int, ...]:
    """Tables of the bits of a sum of terms that count ``2 ** weight``, from bit 0."""
    inputs = 1 + max(place for term in places for place in term)
    sums = [sum(bit << weight for bit, weight in zip(bits, weights)) for bits in
            zip(*(_values(term, table, inputs) for term, table in zip(places, tables)))]
    return tuple(_table(total >> k & 1 for total in sums) for k in range(max(sums).bit_length()))


def _nets(terms: Iterable[Term]) -> tuple[int, ...]:
    return tuple(dict.fromkeys(net for term in terms for net in term.nets))


@cache
def _can_be_one(table: int) -> int:
    """Bit n: whether a term can be 1 with the value n of all nets but its first."""
    return sum(1 << n for n in range(-(-table.bit_length() // 2)) if table >> 2 * n & 3)


class _Heap:
    """The bits that are left, by column, and how much hardware there is so far."""

    def __init__(self, columns: Sequence[Sequence[Term]], width: int, nets: int):
        self.columns = [list(c) for c in columns[:width]]
        self.columns += [[] for _ in range(width - len(self.columns))]
        self.width, self.nets = width, nets
        self.next: list[list[Term]] = [[] for _ in range(width)]
        self.levels = 0  # of LUTs in this stage
        self.waiting: dict[int, int] = {}  # clocks that nets in registers have been there
        self.lut = self.chain = self.ff = 0

    @property
    def height(self) -> int:
        return max(map(len, self.columns))

    @property
    def price(self) -> float:
        return self.lut + CHAIN_PRICE * self.chain

    def copied(self) -> "_Heap":
        """Another one that goes on from here; before any registers."""
        heap = _Heap(self.columns, self.width, self.nets)
        heap.levels, heap.lut = self.levels, self.lut
        return heap

    def put(self, column: int, number: int = 1) -> int:
        """New bits in a column, there from the next level on; the first one's net."""
        first = self.nets
        self.nets += number
        self.next[column] += [Term((net,)) for net in range(first, self.nets)]
        return first

    def add_threes(self, column: int, terms: Sequence[Term]) -> None:
        """LUTs that each sum three bits of a column, single nets."""
        number = len(terms) // 3
        self.lut += number
        for made in range(column, min(column + 2, self.width)):
            self.put(made, number)

    def add(self, column: int, terms: Sequence[Term]) -> None:
        """A LUT that sums up to three bits of a column."""
        same = len({term.nets[1:] for term in terms if len(term.nets) > 1}) == 1
        # Bits: whether one of the terms, or two, can be 1 at a value of the nets that gate all.
        one = two = 0
        for term in terms:
            can = _can_be_one(term.table) if same and len(term.nets) > 1 else -1
            one, two = one | can, two | one & can
        self.lut += 1
        for made in range(column, min(column + 1 + bool(two), self.width)):
            self.put(made)

    def table(self, terms: Sequence[tuple[int, Term]], nets: tuple[int, ...]) -> None:
        """LUTs of the sum of some terms of these nets, given with their columns, the lowest first.
        """
        low = terms[0][0]
        tables = _sum_tables(tuple(tuple(nets.index(net) for net in t.nets) for _, t in terms),
                             tuple(t.table for _, t in terms),
                             tuple(column - low for column, _ in terms))
        self.emit(terms, nets, list(enumerate(tables, low))[:self.width - low])

    def gate(self, terms: Sequence[tuple[int, Term]]) -> None:
        """A LUT of one or two terms, each for itself."""
        nets = _nets(term for _, term in terms)
        self.emit(terms, nets, [
            (column, _table(_values(tuple(nets.index(net) for net in t.nets), t.table, len(nets))))
            for column, t in terms])

    def emit(self, terms: Sequence[tuple[int, Term]], nets: tuple[int, ...],
             functions: Sequence[tuple[int, int]]) -> list[int]:
        """LUTs of functions (column, table) in the place of terms; their nets."""
        self.lut += _luts(len(functions), nets)
        return [self.put(column) for column, _ in functions]

    def adder(self, low: int, adder: Adder) -> list[int]:
        """A carry chain from column ``low`` on; its nets."""
        self.lut += adder.lut
        self.chain += adder.lut
        return [self.put(low + n) for n in adder.outputs]

    def join(self) -> None:
        """What was made goes onto the heap."""
        for column, new in zip(self.columns, self.next):
            column += new
        self.next = [[] for _ in range(self.width)]

    def end_level(self) -> None:
        """What the level made can be used from now on."""
        self.levels += any(self.next)
        self.join()

    def end_first_level(self) -> None:
        """The same in the stage's first level: all is made of nets that were there from the start.
        """
        self.join()

    def end_stage(self) -> None:
        """A register behind every bit."""
        self.hold()
        self.levels = 0

    def hold(self) -> None:
        """What is on the heap goes into registers."""
        nets = {t.nets[0] for column in self.columns for t in column} - {ONE}
        self._read(self.waiting.keys() - nets)
        for net in nets:
            self.waiting[net] = self.waiting.get(net, 0) + 1

    def _read(self, nets: Iterable[int]) -> None:
        """Nets leave their registers."""
        clocks = [self.waiting.pop(net) for net in nets]
        self.lut += sum(n >= SHIFT_REGISTER for n in clocks)
        self.ff += sum(n for n in clocks if n < SHIFT_REGISTER)

    def end(self) -> None:
        """What is on the heap is the output, registered."""
        self.hold()
        self._read(list(self.waiting))

    def room(self, levels: int) -> None:
        """Begin a stage if this one has no room for more LUT levels."""
        if self.levels + levels > LEVELS:
            self.end_stage()


class _BuiltHeap(_Heap):
    """The same with the hardware itself."""

    def __init__(self, columns: Sequence[Sequence[Term]], width: int, nets: int):
        super().__init__(columns, width, nets)
        self.stages = [Stage()]
        self.level: list[Lut] = []
        self.proof: list = []

    def add(self, column, terms):
        self.table([(column, term) for term in terms], _nets(terms))

    def add_threes(self, column, terms):
        for n in range(0, len(terms), 3):
            self.add(column, terms[n:n + 3])

    def emit(self, terms, nets, functions):
        outputs = super().emit(terms, nets, functions)
        both = 2 if len(nets) <= LUT_INPUTS else 1
        for n in range(0, len(functions), both):
            self.level.append(Lut(nets, tuple(table for _, table in functions[n:n + both]),
                                  tuple(outputs[n:n + both])))
        self.proof.append((tuple(terms), tuple((column, net) for (column, _), net in
                                               zip(functions, outputs))))
        return outputs

    def adder(self, low, adder):
        outputs = super().adder(low, adder)
        self.stages[-1].adders.append(Adder(adder.rows, tuple(outputs)))
        return outputs

    def end_level(self):
        super().end_level()
        if self.level:
            self.stages[-1].levels.append(self.level)
        self.level = []

    def end_first_level(self):
        levels = self.stages[-1].levels
        levels[:1] = [(levels[0] if levels else []) + self.level]
        self.level = []
        self.join()

    def end_stage(self):
        super().end_stage()
        self.stages.append(Stage())

    def hold(self):
        self.stages[-1].live = [t.nets[0] for column in self.columns for t in column
                                if t.nets[0] != ONE]

    def end(self):
        self.hold()


def _luts(outputs: int, nets: tuple[int, ...]) -> int:
    """LUTs of some functions of the same nets."""
    return outputs if len(nets) > LUT_INPUTS else -(-outputs // 2)


def compress(columns: Sequence[Sequence[Term]], width: int, nets: int) -> Compression:
    """Add the bits of a heap, modulo ``2 ** width``.

    Parameters
    ----------
    columns
        Bits of weight ``2 ** n`` in column n.
    width
        Bits of the sum.
    nets
        Number of nets that terms may name; new ones get the numbers from there on.
    """
    rows, _ = _smallest(columns, width, nets)
    heap = _BuiltHeap(columns, width, nets)
    _absorb_gates(heap)
    _add_up(heap, rows)
    return Compression(tuple(heap.stages),
                       tuple(c[0].nets[0] if c else None for c in heap.columns),
                       tuple(heap.proof), heap.nets)


def compressed(columns: Sequence[Sequence[Term]], width: int, nets: int) -> Resources:
    """What :func:`compress` takes, counted without making it, which is many times faster."""
    _, heap = _smallest(columns, width, nets)
    return Resources(lut=heap.lut, ff=heap.ff)


def _smallest(columns: Sequence[Sequence[Term]], width: int, nets: int) -> tuple[int, _Heap]:
    """The height at which ternary adders best take over from LUTs, and the heap added so."""
    start = _Heap(columns, width, nets)
    _absorb_gates(start)
    # On a heap that is no higher, they take over at once either way.
    tried = [ADDER_ROWS[0], *(rows for lower, rows in zip((4, *ADDER_ROWS[1:]), ADDER_ROWS[1:])
                              if start.height > lower)]
    found = []
    for rows in tried:
        heap = start.copied()
        _add_up(heap, rows)
        found.append((rows, heap))
    return min(found, key=lambda pair: pair[1].price)


def _add_up(heap: _Heap, rows: int) -> None:
    """Single nets to a bit in each column; ``rows``: height at which ternary adders take over from
    LUTs."""
    while heap.height > 1 and not _finish_with_luts(heap):
        if _adds(heap, rows):
            long = any(a.ternary and len(a.rows) > LEVELS for _, _, a in _adders(heap))
            heap.room(LEVELS if long else ADDER_LEVELS)
            _add_rows(heap)
            if heap.height > 1:
                heap.end_stage()
        else:
            heap.room(1)
            _reduce(heap)
    _gate_rest(heap)
    heap.end()


def _gate_rest(heap: _Heap) -> None:
    """Terms that nothing was added to become nets."""
    rest = [(n, t) for n, column in enumerate(heap.columns) for t in column if t.table != IDENTITY]
    for n, term in rest:
        heap.columns[n].remove(term)
    for k in range(0, len(rest), 2):
        heap.gate(rest[k:k + 2])
    if rest:
        heap.end_first_level()


def _absorb_gates(heap: _Heap) -> None:
    """Levels of LUTs after which every term is a single net.

    Full adders gate their inputs where these are few enough: all three, or two of three terms of
    two nets, or one of three nets. They take one or two single nets beside, which full adders of
    the level before made, in this column or below. The first ones find none; so they are as few
    as will do.
    """
    gated = [[t for t in column if len(t.nets) > 1] for column in heap.columns]
    if not any(gated):
        return
    heap.columns = [[t for t in column if len(t.nets) == 1] for column in heap.columns]
    at_once = [_gates_of_counter(column) for column in gated]
    plans = _plan(gated, at_once, [len(column) for column in heap.columns])
    _gate_alone(heap, gated, [plan[0] if n < 2 else 0 for plan, n in zip(plans, at_once)])
    for level in range(LEVELS):
        for column, (mine, most, plan) in enumerate(zip(gated, at_once, plans)):
            singles = heap.columns[column]
            for _ in range(plan[level] if most > 1 or level else 0):
                taken = [mine.pop() for _ in range(min(most, len(mine)))]
                taken += [singles.pop(0) for _ in range(min(3 - len(taken), len(singles)))]
                heap.add(column, taken)
        heap.end_level()
    assert not any(gated)


def _gates_of_counter(gated: list[Term]) -> int:
    """How many of a column's gated terms a full adder takes: 3, 2 or 1; 0 if none."""
    if not gated:
        return 3
    shared = len(set.intersection(*(set(t.nets) for t in gated)))
    own = max(len(t.nets) for t in gated) - shared
    return max(n for n in range(4) if n * own + shared + (3 - n) <= LUT_INPUTS or n == 0)


def _plan(gated: list[list[Term]], at_once: list[int], singles: list[int]) -> list[list[int]]:
    """For each column and level, LUTs that take gated terms: the fewest first ones that suffice.
    """
    plans = []
    arriving = [0] * (LEVELS + 1)
    for mine, most, there in zip(gated, at_once, singles):
        for first in range(len(mine) + 1):
            plan, carries, left = _planned(len(mine), most, there, arriving, first)
            if not left:
                break
        plans.append(plan)
        arriving = carries
    return plans


def _planned(gated: int, most: int, singles: int, arriving: list[int],
             first: int) -> tuple[list[int], list[int], int]:
    """LUTs of each level, the carries they make, and the terms left over."""
    plan, carries = [], [0]
    sums = 0
    for level in range(LEVELS):
        singles += arriving[level] + sums
        if level == 0 and most < 2:  # terms gated alone
            number = min(first, gated)
            gated -= number
            plan.append(number)
            sums, carried = number, 0
        else:
            beside = 3 - most
            number = singles // beside if beside else gated
            if level == 0:
                number = max(number, first)
            number = min(number, -(-gated // most) if most else 0)
            gated -= min(gated, number * most)
            singles -= min(singles, number * beside)
            plan.append(number)
            sums = carried = number
        carries.append(carried)
    return plan, carries, gated


def _gate_alone(heap: _Heap, gated: list[list[Term]], numbers: list[int]) -> None:
    """Some terms of each column, two in a LUT where they share the nets that gate them."""
    by_gate = defaultdict(list)
    for column, (mine, number) in enumerate(zip(gated, numbers)):
        for _ in range(number):
            term = mine.pop()
            by_gate[term.nets[1:]].append((column, term))
    alone: list[tuple[int, Term]] = []
    for terms in by_gate.values():
        while len(terms) > 1:
            pair = [terms.pop(), terms.pop()]
            if len(_nets(t for _, t in pair)) > LUT_INPUTS:
                alone += pair
            else:
                heap.gate(pair)
        alone += terms
    for one in alone:
        heap.gate([one])


def _adds(heap: _Heap, rows: int) -> bool:
    """Whether adders take the heap as it is."""
    if heap.height == 3:
        return max(len(columns) for *_, columns in _rows(heap, 1 << 30)) <= TERNARY_COLUMNS
    return heap.height < 3 or 4 < heap.height <= rows


def _targets() -> Iterator[int]:
    """Dadda's heights."""
    height = 2
    while True:
        yield height
        height = height * 3 // 2


def _reduce(heap: _Heap) -> None:
    """One level of full adders, only those that the next target needs."""
    target = 2
    for height in _targets():
        if height >= heap.height:
            break
        target = height
    carries = 0
    for column, bits in enumerate(heap.columns):
        number = max(0, -(-(len(bits) + carries - target) // 2))
        carries = min(number, len(bits) // 3)
        heap.add_threes(column, bits[:3 * carries])
        del bits[:3 * carries]
    heap.end_level()


def _finish_with_luts(heap: _Heap) -> bool:
    """The whole sum as truth tables, where that takes no more LUTs than an adder."""
    low = next(n for n, column in enumerate(heap.columns) if len(column) > 1)
    distinct: set[int] = set()
    for column in heap.columns[low:]:
        distinct.update(t.nets[0] for t in column)
        if len(distinct) > LUT_INPUTS + 1:
            return False
    terms = [(n, t) for n, column in enumerate(heap.columns) if n >= low for t in column]
    nets = _nets(t for _, t in terms)
    high = sum(1 << n - low for n, _ in terms)
    if _luts(min(high.bit_length(), heap.width - low), nets) > sum(
            adder.lut for _, _, adder in _adders(heap)):
        return False
    heap.room(1)
    for column in heap.columns[low:]:
        column.clear()
    heap.table(terms, nets)
    heap.end_level()
    return True


def _rows(heap: _Heap, most: int = TERNARY_COLUMNS) -> list[tuple[int, int, list[list[Term]]]]:
    """Of each adder the first of its rows, its lowest column and the bits from there on: three
    rows each, from the lowest that has two bits; ``most`` columns of three rows, any number of
    two."""
    groups = []
    for first in range(0, heap.height, 3):
        columns = [column[first:first + 3] for column in heap.columns]
        if max(map(len, columns)) < 2:
            continue
        low = next(n for n, column in enumerate(columns) if len(column) > 1)
        high = max(n for n, column in enumerate(columns) if column) + 1
        step = high - low
        if max(map(len, columns)) > 2:
            step = -(-step // -(-step // most))
        for start in range(low, high, step):
            part = columns[start:min(start + step, high)]
            while part and not part[-1]:
                part.pop()
            while part and len(part[0]) < 2:
                part.pop(0)
                start += 1
            if part:
                groups.append((first, start, part))
    return groups


def _adders(heap: _Heap) -> list[tuple[int, int, Adder]]:
    """The adders of a heap's rows, with the first of these and the lowest column; outputs are
    numbered from 0."""
    adders = []
    for first, low, columns in _rows(heap):
        high = sum(len(column) << n for n, column in enumerate(columns))
        width = min(high.bit_length(), heap.width - low)
        adders.append((first, low, Adder(tuple(map(tuple, columns[:width])), tuple(range(width)))))
    return adders


def _add_rows(heap: _Heap) -> None:
    """Every three rows become one."""
    adders = _adders(heap)
    for first, low, adder in reversed(adders):
        for column in heap.columns[low:low + len(adder.rows)]:
            del column[first:first + 3]
    for _, low, adder in adders:
        heap.adder(low, adder)
    heap.join()
