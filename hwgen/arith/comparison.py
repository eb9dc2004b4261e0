"""Comparisons in LUTs alone: ones this short gain nothing from a carry chain, two results of the
same five bits share a LUT, and a constant needs no inputs."""

from functools import lru_cache
from math import ceil

import numpy as np

from .bit_heap import LEVELS, LUT_INPUTS, ONE, Compression, Lut, Stage, Term
from .truth_tables import CHOICE, pack

__all__ = ["larger_of", "level_luts", "levels_reached"]


@lru_cache(maxsize=256)
def larger_of(width: int, signed: bool, tags: int) -> Compression:
    """Hardware, without registers, that chooses between two numbers with their tags.

    Nets: the first number's ``width`` bits, the second's, then ``tags`` bits of the first and of
    the second. Output: the chosen number, its tag, and whether it is the second, which it is only
    if that is larger.
    """
    first, second = range(width), range(width, 2 * width)
    nets = 2 * (width + tags)
    levels: list[list[Lut]] = []
    # Digits of two bits: larger, and equal. The lowest one's equality is not needed.
    functions: list[Term] = []
    for low in range(0, width, 2):
        bits = range(low, min(low + 2, width))
        flips = sum(1 << n for n, bit in enumerate(bits) if signed and bit == width - 1)
        places = len(bits)
        larger = equal = 0
        for index in range(1 << 2 * places):
            a = index & (1 << places) - 1 ^ flips
            b = index >> places ^ flips
            larger |= (b > a) << index
            equal |= (b == a) << index
        inputs = (*(first[bit] for bit in bits), *(second[bit] for bit in bits))
        functions += [Term(inputs, larger), Term(inputs, equal)] if low else [Term(inputs, larger)]
    while True:
        luts, found, nets = pack(functions, nets)
        levels.append(luts)
        if len(found) == 1:
            break
        # (larger, equal) of each digit, the lowest first and without the second.
        digits: list[tuple[int | None, ...]] = [(found[0],)]
        digits += [(found[n], found[n + 1]) for n in range(1, len(found), 2)]
        # The three lowest together, as one of them has but one bit; of the others each two, or
        # each three, which takes two LUTs, where that saves a level.
        functions = [_joined(digits[:3])[0]]
        step = 3 if len(digits) in (8, 9) else 2
        for n in range(3, len(digits), step):
            functions += _joined(digits[n:n + step])
    second_is_larger = found[0]
    assert second_is_larger is not None
    pairs = [*zip(first, second),
             *zip(range(2 * width, 2 * width + tags), range(2 * width + tags, 2 * (width + tags)))]
    chosen = [Term((a, b, second_is_larger), CHOICE) for a, b in pairs]
    luts, found, nets = pack(chosen, nets)
    return Compression((Stage([*levels, luts]),), (*found, second_is_larger), (), nets)


def _joined(digits: list[tuple[int | None, ...]]) -> list[Term]:
    """Larger and equal of neighbouring digits, the lowest first."""
    inputs = tuple(net for digit in digits for net in digit if net is not None)
    larger = equal = 0
    for index in range(1 << len(inputs)):
        values = dict(zip(inputs, (bool(index >> n & 1) for n in range(len(inputs)))))
        greater, same = False, True
        for digit in reversed(digits):
            bits = [values[net] for net in digit if net is not None]
            greater |= same and bits[0]
            same = same and bits[-1]
        larger |= greater << index
        equal |= same << index
    return [Term(inputs, larger), Term(inputs, equal)]


def level_luts(width: int, group_width: int) -> int:
    """LUTs, and LUT levels, of a comparison with a constant that depends on the group; more than
    ``LEVELS`` where the group's bits leave no room for the number's."""
    first, others = LUT_INPUTS + 1 - group_width, LUT_INPUTS - group_width
    if width <= first:
        return 1
    return 1 + ceil((width - first) / others) if others > 0 else LEVELS + 1


def levels_reached(levels: np.ndarray, falls: np.ndarray, width: int, group_width: int
                   ) -> Compression:
    """Hardware that compares numbers with all of their levels, registered: latency 1 clock.

    Parameters
    ----------
    levels
        (lanes, groups, count): a number reaches those that it is no less than; ``2 ** width`` is
        never reached.
    falls
        (lanes, groups): the results of these are inverted.
    width
        Bits of a number, unsigned; bit k of lane n is net ``n * width + k``, and the group's bits
        follow behind the lanes.
    group_width
        Bits of the group.

    The output has ``count`` bits for each lane.
    """
    lanes, groups, count = levels.shape
    nets = lanes * width + group_width
    group = range(lanes * width, nets)
    carries: list[int | None] = [ONE] * (lanes * count)
    stages: list[list[Lut]] = []
    low = 0
    while low < width:
        size = min(width - low, LUT_INPUTS - group_width + (low == 0))
        top = low + size == width
        functions = []
        for n in range(lanes * count):
            lane, k = divmod(n, count)
            carry = carries[n]
            bits = tuple(lane * width + bit for bit in range(low, low + size))
            inputs = (*bits, *group, *([carry] if carry is not None and carry != ONE else []))
            table = 0
            for index in range(1 << len(inputs)):
                value, g = index & (1 << size) - 1, index >> size & (1 << group_width) - 1
                before = bool(index >> size + group_width) if len(inputs) > size + group_width \
                    else carry == ONE
                level = int(levels[lane, min(g, groups - 1), k])
                part = level >> low & (1 << size) - 1
                there = value > part or (value == part and before)
                if top:
                    there = (there and level < 1 << width) != bool(falls[lane, min(g, groups - 1)])
                table |= there << index
            functions.append(Term(inputs, table))
        luts, found, nets = pack(functions, nets)
        if luts:
            stages.append(luts)
        carries, low = list(found), low + size
    live = list(dict.fromkeys(net for net in carries if net is not None and net != ONE))
    return Compression((Stage(stages, [], live),), tuple(carries), (), nets)
