"""Proofs that a compression adds what it should, for every input, whatever its size.

Every LUT is tried on all of its inputs: the bits that it puts on the heap weigh as much as those
that it takes off, modulo the width of the sum. Every bit is taken off once. So the weight of the
heap never changes, and what is left at the end is the sum.
"""

from collections import Counter
from itertools import product

from hwgen.arith.bit_heap import INVERTED, ONE, Compression, Term


def value_of(term: Term, nets: dict[int, int]) -> int:
    return term.table >> sum(nets[net] << n for n, net in enumerate(term.nets)) & 1


def evaluate(compression: Compression, inputs: dict[int, int]) -> list[int]:
    """Bits of the output; a net that a stage reads must be in the registers before it, if there
    are any."""
    held = {**inputs, ONE: 1}
    for stage in compression.stages:
        nets = dict(held)
        for level in stage.levels:
            made = {}
            for lut in level:
                index = sum(nets[net] << n for n, net in enumerate(lut.nets))
                made |= {net: table >> index & 1 for net, table in zip(lut.outputs, lut.tables)}
            nets |= made
        for adder in stage.adders:
            total = sum((nets[t.nets[0]] ^ (t.table == INVERTED)) << n
                        for n, row in enumerate(adder.rows) for t in row)
            nets |= {net: total >> n & 1 for n, net in enumerate(adder.outputs)}
        held = {net: nets[net] for net in (*stage.live, ONE)} if stage.live else nets
    return [held[net] if net is not None else 0 for net in compression.output]


def check_luts(compression: Compression) -> None:
    """LUTs fit the chip's, and paths between registers are at most four LUTs long."""
    for stage in compression.stages:
        depth: dict[int, int] = {}
        for level in stage.levels:
            for lut in level:
                assert len(lut.nets) <= (5 if len(lut.outputs) == 2 else 6)
                deepest = 1 + max(depth.get(net, 0) for net in lut.nets)
                depth |= dict.fromkeys(lut.outputs, deepest)
        for adder in stage.adders:
            deepest = 2 + max(depth.get(t.nets[0], 0) for row in adder.rows for t in row)
            depth |= dict.fromkeys(adder.outputs, deepest)
        assert max(depth.values(), default=0) <= 4


def prove(columns: list[list[Term]], compression: Compression) -> None:
    """The compression adds this heap, for every input."""
    width = len(compression.output)
    check_luts(compression)
    luts = {net: Term(lut.nets, table) for stage in compression.stages for level in stage.levels
            for lut in level for net, table in zip(lut.outputs, lut.tables)}
    there = Counter((column, term) for column, terms in enumerate(columns[:width])
                    for term in terms)
    adders = [adder for stage in compression.stages for adder in stage.adders]
    pending = list(compression.counters)
    while pending or adders:
        ready = [c for c in pending if all(there[bit] for bit in c[0])]
        for counter in ready:
            terms, made = counter
            nets = sorted({net for _, term in terms for net in term.nets})
            for bits in product((0, 1), repeat=len(nets)):
                at = dict(zip(nets, bits))
                before = sum(value_of(term, at) << column for column, term in terms)
                after = sum(value_of(luts[net], at) << column for column, net in made)
                assert (before - after) % (1 << width) == 0
            there.subtract(terms)
            there.update((column, Term((net,))) for column, net in made)
            pending.remove(counter)
        for adder in list(adders):
            low = lowest_column(adder, there)
            if low is None:
                continue
            high = sum(1 << low + n for n, row in enumerate(adder.rows) for _ in row)
            assert low + len(adder.outputs) >= min(width, high.bit_length())
            there.subtract((low + n, term) for n, row in enumerate(adder.rows) for term in row)
            there.update((low + n, Term((net,))) for n, net in enumerate(adder.outputs))
            adders.remove(adder)
            ready.append(adder)
        assert ready, "a bit is taken off that is not there"
        assert min(there.values(), default=0) >= 0, "a bit is taken off twice"
    left = +there
    assert left == Counter((column, Term((net,))) for column, net in
                           enumerate(compression.output) if net is not None)


def lowest_column(adder, there) -> int | None:
    """Column of an adder's lowest row, if all of its bits are on the heap."""
    first = adder.rows[0][0]
    for low in [column for (column, term), number in there.items() if number and term == first]:
        if all(there[low + n, term] > 0 for n, row in enumerate(adder.rows) for term in row):
            return low
    return None
