"""Functions of few bits as look-up tables, two in a LUT where they read the same five bits."""

from collections import defaultdict
from collections.abc import Sequence

from .bit_heap import LUT_INPUTS, ONE, Compression, Lut, Stage, Term

__all__ = ["CHOICE", "multiplexer", "pack", "tabulate"]

CHOICE = 0b11001010
"""Index: first, second, choice; the second where the choice is 1."""


def tabulate(functions: Sequence[Term], nets: int) -> Compression:
    """Hardware of functions of up to six nets each, registered: latency 1 clock.

    Parameters
    ----------
    functions
        The first becomes the lowest bit of the output.
    nets
        Number of nets that they may name.
    """
    luts, output, nets = pack(functions, nets)
    live = list(dict.fromkeys(net for net in output if net is not None and net != ONE))
    return Compression((Stage([luts] if luts else [], [], live),), output, (), nets)


def pack(functions: Sequence[Term], nets: int
         ) -> tuple[list[Lut], tuple[int | None, ...], int]:
    """LUTs of functions of up to six nets each; the net of each function, ONE or None if it is
    constant; and the number of nets then."""
    reduced = [_reduced(function) for function in functions]
    made: dict[Term, int] = {}
    luts: list[Lut] = []
    # Wires and constants need no LUT, and equal functions only one.
    wanted = dict.fromkeys(f for f in reduced if f.nets and f != Term(f.nets[:1]))
    for group in _pairs(list(wanted)):
        together = tuple(dict.fromkeys(net for f in group for net in f.nets))
        outputs = tuple(range(nets, nets + len(group)))
        nets += len(group)
        luts.append(Lut(together, tuple(_widened(f, together) for f in group), outputs))
        made |= dict(zip(group, outputs))
    output = tuple(made[f] if f in made else f.nets[0] if f.nets else ONE if f.table else None
                   for f in reduced)
    return luts, output, nets


def multiplexer(width: int) -> Compression:
    """Hardware, without registers, of ``width`` choices between two bits, two in a LUT. Nets: what
    chooses, the first word (chosen by 0), the second."""
    luts, output, nets = pack([Term((1 + n, 1 + width + n, 0), CHOICE) for n in range(width)],
                              1 + 2 * width)
    return Compression((Stage([luts]),), output, (), nets)


def _reduced(function: Term) -> Term:
    """The same function of those nets alone that it depends on; its table 0 or 1 if of none."""
    nets = sorted(function.nets)
    table = _widened(function, tuple(nets))
    for n in reversed(range(len(nets))):
        halves: list[int] = [0, 0]
        places = [0, 0]
        for index in range(1 << len(nets)):
            high = index >> n & 1
            halves[high] |= (table >> index & 1) << places[high]
            places[high] += 1
        if halves[0] == halves[1]:
            table = halves[0]
            nets.pop(n)
    return Term(tuple(nets), table)


def _widened(function: Term, nets: tuple[int, ...]) -> int:
    """Its table as one of more nets."""
    places = [nets.index(net) for net in function.nets]
    return sum((function.table >> sum((index >> place & 1) << n for n, place in enumerate(places))
                & 1) << index for index in range(1 << len(nets)))


def _pairs(functions: list[Term]) -> list[tuple[Term, ...]]:
    """Functions that share a LUT: those first that have most nets in common."""
    readers: dict[int, list[Term]] = defaultdict(list)
    small = [f for f in functions if len(f.nets) <= LUT_INPUTS]
    for f in small:
        for net in f.nets:
            readers[net].append(f)
    groups: list[tuple[Term, ...]] = [(f,) for f in functions if len(f.nets) > LUT_INPUTS]
    left = dict.fromkeys(small)
    by_size = sorted(small, key=lambda f: -len(f.nets))
    smallest = list(by_size)
    for f in by_size:
        if f not in left:
            continue
        del left[f]
        best: Term | None = None
        for other in dict.fromkeys(g for net in f.nets for g in readers[net] if g in left):
            union = len({*f.nets, *other.nets})
            if union <= LUT_INPUTS and (best is None or len(other.nets) > len(best.nets)):
                best = other
        if best is None:
            # Without a net in common: the smallest, if that leaves the inputs at five.
            while smallest and smallest[-1] not in left:
                smallest.pop()
            if smallest and len(f.nets) + len(smallest[-1].nets) <= LUT_INPUTS:
                best = smallest[-1]
        if best is None:
            groups.append((f,))
        else:
            del left[best]
            groups.append((f, best))
    return groups
