"""Ternary weights packed for memory: five in eight bits, three in five, and their decoder in LUTs.

Three trits have 27 values, which five bits hold with the codes 28 to 31 left over. Five trits are
such a code and three bits for eight of the nine values of the other two; with their ninth value the
three trits' code moves into the bits that are left, behind one of the four left-over codes.
"""

from functools import lru_cache
from itertools import product

import numpy as np

from ..types import TERNARY
from .bit_heap import Compression, Lut, Stage, Term
from .truth_tables import pack

__all__ = ["FIVE_BITS", "pack_trits", "packed_width", "unpacker"]

FIVE_BITS, THREE_BITS = 8, 5
REST_BITS = {0: 0, 1: 2, 2: 4, 3: THREE_BITS, 4: THREE_BITS + 2}
"""Bits of what is left beside groups of five."""

_ESCAPE = 0b111  # of the upper three bits of a code of three: the other two trits are both -1
_VALUES = np.array(list(product((0, 1, -1), repeat=3)))[:, ::-1]  # of codes 0 to 26
_NINTH = 8  # number of (-1, -1) among the pairs
_PLACES = np.array([1, 3, 9])


def packed_width(trits: int) -> int:
    """Bits of some trits side by side."""
    return trits // 5 * FIVE_BITS + REST_BITS[trits % 5]


def pack_trits(trits: np.ndarray) -> np.ndarray:
    """(words, n) values -1, 0 and 1 as (words, groups) codes of eight bits, the last of fewer."""
    numbers = np.asarray(trits, dtype=np.int64) % 3  # -1 is 2
    words, n = numbers.shape
    groups = [_pack_five(numbers[:, k:k + 5]) for k in range(0, n - n % 5, 5)]
    rest = numbers[:, n - n % 5:]
    if n % 5 in (1, 2):
        codes = TERNARY.encode((rest + 1) % 3 - 1)
        groups.append((codes << 2 * np.arange(n % 5)).sum(axis=1))
    elif n % 5 == 3:
        groups.append(rest @ _PLACES)
    elif n % 5 == 4:
        fourth = TERNARY.encode((rest[:, 3] + 1) % 3 - 1)
        groups.append(rest[:, :3] @ _PLACES | fourth << THREE_BITS)
    return np.stack(groups, axis=1) if groups else np.zeros((words, 0), np.int64)


def _pack_five(numbers: np.ndarray) -> np.ndarray:
    three, pair = numbers[:, :3] @ _PLACES, numbers[:, 3:] @ _PLACES[:2]
    usual = three | pair << THREE_BITS
    # Behind the escape the code's upper two bits, and in the place of the pair its lower three.
    moved = _ESCAPE << 2 | three >> 3 | (three & 7) << THREE_BITS
    return np.where(pair == _NINTH, moved, usual)


@lru_cache(maxsize=64)
def unpacker(trits: int) -> Compression:
    """Hardware from a word of :func:`pack_trits` to wire codes, registered: latency 1 clock."""
    nets, place = packed_width(trits), 0
    levels: list[list[Lut]] = [[], [], []]
    output: list[int | None] = []

    def add(level: int, functions: list[Term]) -> list[int]:
        nonlocal nets
        luts, made, nets = pack(functions, nets)
        levels[level] += luts
        assert all(net is not None for net in made)
        return [net for net in made if net is not None]

    for _ in range(trits // 5):
        x, y = range(place, place + 5), range(place + 5, place + 8)
        place += FIVE_BITS
        high = tuple(x[2:])
        high_two = add(0, [Term((*high, x[1]), _escaped(lambda v: v >> 2 & 1)),
                           Term((*high, x[0]), _escaped(lambda v: v >> 1 & 1))])
        low, escape = add(0, [Term((*high, y[2]), _escaped(lambda v: v & 1)),
                              Term(high, 1 << _ESCAPE)])
        choice = 0b11001010
        rest = add(1, [Term((x[1], y[1], escape), choice), Term((x[0], y[0], escape), choice)])
        output += add(2, _three((rest[1], rest[0], low, high_two[1], high_two[0])))
        output += add(1, _pair((*y, escape)))
    left = trits % 5
    if left >= 3:
        output += add(0, _three(tuple(range(place, place + 5))))
        place += THREE_BITS
        left -= 3
    output += range(place, place + 2 * left)
    live = list(dict.fromkeys(net for net in output if net is not None))
    return Compression((Stage([level for level in levels if level], [], live),), tuple(output),
                       (), nets)


def _escaped(usual) -> int:
    """Table of three bits and a fourth: the fourth if the three are the escape, else a bit of
    them."""
    return sum((v >> 3 if v & 7 == _ESCAPE else usual(v & 7)) << v for v in range(16))


def _three(nets: tuple[int, ...]) -> list[Term]:
    """Wire codes of three trits from their five bits."""
    return _codes(nets, [_VALUES[code].tolist() if code < len(_VALUES) else [0, 0, 0]
                         for code in range(32)])


def _pair(nets: tuple[int, ...]) -> list[Term]:
    """Wire codes of the other two from three bits and the escape."""
    numbers = [code if code < 8 else _NINTH for code in range(16)]
    return _codes(nets, [[(n % 3 + 1) % 3 - 1, (n // 3 + 1) % 3 - 1] for n in numbers])


def _codes(nets: tuple[int, ...], values: list[list[int]]) -> list[Term]:
    return [Term(nets, sum((int(TERNARY.encode(value[n])) >> bit & 1) << code
                           for code, value in enumerate(values)))
            for n in range(len(values[0])) for bit in range(2)]
