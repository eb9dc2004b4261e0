import random
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwgen.arith.bit_heap import LEVELS, Term
from hwgen.arith.comparison import larger_of
from hwgen.arith.truth_tables import tabulate
from tests.arith.proofs import evaluate


def bits(value: int, width: int) -> list[int]:
    return [value >> n & 1 for n in range(width)]


terms = st.lists(st.tuples(st.lists(st.integers(0, 7), max_size=6, unique=True),
                           st.integers(0, (1 << 64) - 1)), min_size=1, max_size=9)


@given(terms)
def test_every_function_is_right_for_all_inputs(given_terms):
    functions = [Term(tuple(nets), table & (1 << (1 << len(nets))) - 1)
                 for nets, table in given_terms]
    compression = tabulate(functions, 8)
    for value in range(256):
        nets = dict(enumerate(bits(value, 8)))
        wanted = [f.table >> sum(nets[net] << n for n, net in enumerate(f.nets)) & 1
                  for f in functions]
        assert evaluate(compression, nets) == wanted


def test_luts_have_at_most_six_inputs_and_with_two_outputs_five():
    rng = random.Random(3)
    functions = [Term(tuple(rng.sample(range(12), rng.randint(1, 6))), rng.getrandbits(64))
                 for _ in range(60)]
    functions = [Term(f.nets, f.table & (1 << (1 << len(f.nets))) - 1) for f in functions]
    stage, = tabulate(functions, 12).stages
    for lut in stage.levels[0]:
        assert len(lut.nets) <= (6 if len(lut.outputs) == 1 else 5)


def test_two_functions_of_the_same_five_nets_share_a_lut():
    five = (0, 1, 2, 3, 4)
    parity = sum((n.bit_count() & 1) << n for n in range(32))
    most = sum((n.bit_count() > 2) << n for n in range(32))
    assert tabulate([Term(five, parity), Term(five, most)], 5).resources.lut == 1


def test_equal_functions_wires_and_constants_take_no_lut_more():
    both = Term((0, 1), 0b1000)
    compression = tabulate([both, both, Term((1, 0), 0b1000), Term((3,)), Term((2,), 0b11),
                            Term((2,), 0)], 4)
    assert compression.resources.lut == 1
    assert len(set(compression.output[:3])) == 1
    assert compression.output[3:] == (3, -1, None)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("width", [1, 2, 3, 4, 5])
def test_the_larger_is_chosen_with_its_tag_and_the_first_of_equals(width, signed):
    compression = larger_of(width, signed, 1)
    low = 1 << width - 1
    for a, b in product(range(1 << width), repeat=2):
        nets = dict(enumerate([*bits(a, width), *bits(b, width), 0, 1]))
        second = (b ^ low) > (a ^ low) if signed else b > a
        assert evaluate(compression, nets) == [*bits(b if second else a, width), second, second]


@pytest.mark.parametrize("width", [6, 7, 8, 11, 16, 17, 24])
def test_wide_numbers_compare_in_few_levels(width):
    compression = larger_of(width, True, 0)
    rng = random.Random(width)
    for _ in range(400):
        a = rng.randrange(1 << width)
        b = a ^ (rng.randrange(2) << rng.randrange(width)) if rng.random() < 0.8 else \
            rng.randrange(1 << width)
        nets = dict(enumerate([*bits(a, width), *bits(b, width)]))
        sign = 1 << width - 1
        assert evaluate(compression, nets)[-1] == ((b ^ sign) > (a ^ sign))
    assert len(compression.stages[0].levels) <= LEVELS + (width > 18)
