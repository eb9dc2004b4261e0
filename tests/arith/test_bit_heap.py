"""Compression of bit heaps."""

import random
from itertools import product

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hwgen.arith.bit_heap import IDENTITY, INVERTED, Term, compress, compressed
from hwgen.arith.dot_product import DotProduct
from hwgen.types import BIPOLAR, TERNARY, int_type, uint_type
from tests.arith.proofs import evaluate, prove, value_of

AND, XNOR = 0b1000, 0b1001


def total(columns, inputs, width):
    return sum(value_of(term, inputs) << n for n, column in enumerate(columns)
               for term in column) % (1 << width)


def number(bits):
    return sum(bit << n for n, bit in enumerate(bits))


def popcount(count):
    return [[Term((n,)) for n in range(count)]]


@pytest.mark.parametrize("count", range(1, 13))
def test_a_count_of_ones_is_right_for_every_input(count):
    compression = compress(popcount(count), count.bit_length(), count)
    for bits in product((0, 1), repeat=count):
        assert number(evaluate(compression, dict(enumerate(bits)))) == sum(bits)


@pytest.mark.parametrize("count, most", [(64, 62), (128, 126), (256, 255)])
def test_a_count_of_ones_takes_no_more_luts_than_6_to_3_counters_and_an_adder(count, most):
    compression = compress(popcount(count), count.bit_length(), count)
    prove(popcount(count), compression)
    assert compression.resources.lut <= most


@pytest.mark.parametrize("lanes, a_width, weight_type, most", [
    (64, 1, BIPOLAR, 96), (64, 4, BIPOLAR, 260), (64, 4, uint_type(1), 260),
    (64, 4, TERNARY, 330)])
def test_gated_products_take_no_more_luts_than_is_aimed_at(lanes, a_width, weight_type, most):
    compression = DotProduct.compression_of(lanes, a_width, weight_type, 32)
    assert compression.resources.lut <= most


@st.composite
def heaps(draw):
    """Bits gated in every way that products are, some of them inverted, unevenly high."""
    seed = draw(st.integers(0, 1 << 32))
    rng = random.Random(seed)
    nets = draw(st.integers(3, 60))
    kinds = draw(st.sampled_from([[1], [1, 2], [2], [3], [1, 2, 3], [4, 1], [6]]))
    columns = []
    for _ in range(draw(st.integers(1, 9))):
        column = []
        for _ in range(rng.choice([0, 1, 2, 3, 4, 5, 9, 20, 40])):
            size = min(rng.choice(kinds), nets)
            table = rng.choice([IDENTITY, INVERTED]) if size == 1 else \
                rng.randrange(1, (1 << (1 << size)) - 1)
            column.append(Term(tuple(rng.sample(range(nets), size)), table))
        columns.append(column)
    high = sum(len(column) << n for n, column in enumerate(columns)).bit_length()
    width = max(1, draw(st.sampled_from([high, high, high + 2, high - 1, max(1, high // 2)])))
    return seed, nets, columns, width


@settings(derandomize=True, max_examples=150, deadline=None, database=None,
          suppress_health_check=list(HealthCheck))
@given(heaps())
def test_every_heap_is_proven_to_be_added(heap):
    seed, nets, columns, width = heap
    compression = compress(columns, width, nets)
    assert len(compression.output) == width
    prove(columns, compression)
    rng = random.Random(seed)
    for chance in (0.0, 0.1, 0.5, 0.9, 1.0):
        inputs = {net: int(rng.random() < chance) for net in range(nets)}
        assert number(evaluate(compression, inputs)) == total(columns, inputs, width)


def test_a_proof_finds_a_wrong_lut():
    columns = popcount(9)
    compression = compress(columns, 4, 9)
    lut = compression.stages[0].levels[0][0]
    object.__setattr__(lut, "tables", (lut.tables[0] ^ 1, *lut.tables[1:]))
    with pytest.raises(AssertionError):
        prove(columns, compression)


@pytest.mark.parametrize("weight_type", [BIPOLAR, TERNARY, int_type(3), uint_type(2)],
                         ids=lambda t: t.name)
def test_luts_between_registers_stay_few_however_wide_a_sum_is(weight_type):
    for lanes in (1, 2, 3, 5, 17, 100):
        compression = DotProduct.compression_of(lanes, 4, weight_type, 40)
        for stage in compression.stages:
            assert len(stage.levels) + 2 * bool(stage.adders) <= 4


def test_costs_grow_with_the_number_of_bits():
    per_product = [DotProduct.compression_of(n, 4, BIPOLAR, 40).resources.lut / n
                   for n in (64, 256, 1024)]
    assert max(per_product) < 1.2 * min(per_product)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(0, 24), min_size=1, max_size=8), st.integers(0, 2), st.integers(1, 12))
def test_the_count_of_a_compression_is_what_it_takes(heights, gated, width):
    """Of nets that no two bits have in common, as those of layers."""
    nets = 0
    columns = []
    for height in heights:
        column = []
        for n in range(height):
            size = 2 if gated and n % gated == 0 else 1
            inputs = tuple(range(nets, nets + size))
            column.append(Term(inputs, AND) if size == 2 else Term(inputs))
            nets += size
        columns.append(column)
    counted, made = compressed(columns, width, nets), compress(columns, width, nets).resources
    assert (counted.lut, counted.ff) == (made.lut, made.ff)
