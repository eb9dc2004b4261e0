"""Ternary weights in fewer bits."""

from itertools import product

import numpy as np
import pytest

from hwgen.arith.bit_heap import LEVELS
from hwgen.arith.trits import pack_trits, packed_width, unpacker
from hwgen.types import TERNARY
from tests.arith.proofs import evaluate


def unpacked(code: int, n: int) -> list[int]:
    """Values that the decoder's LUTs make of a word."""
    decoder = unpacker(n)
    bits = evaluate(decoder, {k: code >> k & 1 for k in range(packed_width(n))})
    return [int(TERNARY.decode(bits[2 * k] | bits[2 * k + 1] << 1)) for k in range(n)]


def words(trits: np.ndarray) -> list[int]:
    return [sum(int(c) << 8 * k for k, c in enumerate(row)) for row in pack_trits(trits)]


def test_five_take_eight_bits_and_three_take_five():
    assert [packed_width(n) for n in range(11)] == [0, 2, 4, 5, 7, 8, 10, 12, 13, 15, 16]


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5])
def test_every_value_comes_back(n):
    values = np.array(list(product((-1, 0, 1), repeat=n)))
    codes = words(values)
    assert len(set(codes)) == 3**n
    assert max(codes) < 1 << packed_width(n)
    assert [unpacked(code, n) for code in codes] == values.tolist()


@pytest.mark.parametrize("n", [7, 13, 19, 24, 40])
def test_words_of_any_length_come_back(n):
    values = np.random.default_rng(n).integers(-1, 2, (50, n))
    values[0], values[1], values[2] = -1, 0, 1
    codes = words(values)
    assert max(codes) < 1 << packed_width(n)
    assert [unpacked(code, n) for code in codes] == values.tolist()


def test_the_decoder_takes_eight_luts_for_five_and_three_for_three():
    assert [unpacker(n).resources.lut for n in (3, 5, 10)] == [3, 8, 16]
    stage, = unpacker(40).stages
    assert len(stage.levels) <= LEVELS
