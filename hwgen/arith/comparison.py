"""The larger of two numbers, in LUTs alone: comparators this short gain nothing from a carry
chain, and two results of the same five bits share a LUT."""

from functools import lru_cache

from .bit_heap import Compression, Lut, Stage, Term
from .truth_tables import CHOICE, pack

__all__ = ["larger_of"]


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
