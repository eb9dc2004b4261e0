"""Sums that only levels look at need small multipliers only."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwgen.ops import Add, Bias, Requantize, Select, Threshold
from hwgen.passes import infer_types, run_pipeline, shrink_multipliers, verify
from hwgen.types import BIPOLAR, TERNARY, int_type, smallest_type, uint_type
from tests.graphs import GraphBuilder
from tests.passes.chains import few

LARGE = (9_876_543, 12_345_677)


def multiply(factors, dtype):
    ends = [f * v for f in factors for v in (dtype.low, dtype.high)]
    return Requantize(factors, [0], 0, "floor", smallest_type(min(ends), max(ends)))


def weighted(types, factors, levels, negate=(False,)):
    """Inputs as channels of one tensor: every combination of their integers is a pixel.

    ``factors`` has one row for each input, of one entry or one for each channel.
    """
    values = [np.arange(t.low, t.high + 1) for t in types]
    values = [v[t.contains(v)] for v, t in zip(values, types)]
    grid = np.stack(np.meshgrid(*values, indexing="ij"), axis=-1).reshape(1, 1, -1, len(types))
    channels = max(len(levels), *(len(row) for row in factors))
    builder = GraphBuilder(grid.shape[1:], int_type(9))
    names = []
    for n, (dtype, row) in enumerate(zip(types, factors)):
        builder.add(f"x{n}", Select((n,) * channels), "x")
        # A table-free way to a narrow type: the values are in it already.
        builder.add(f"in{n}", Requantize([1], [0], 0, "floor", dtype))
        names.append(f"in{n}")
        if set(row) != {1}:
            builder.add(f"scaled{n}", multiply(row, dtype))
            names[-1] = f"scaled{n}"
    builder.add("sum", Add(), *names)
    builder.add("act", Threshold(levels, negate, uint_type(4)))
    return builder.build(), grid


def shrunk(types, factors, levels, negate=(False,)):
    """The factors after the pass, [input][channel]; results are compared for every combination."""
    graph, x = weighted(types, factors, levels, negate)
    result = shrink_multipliers(graph)
    verify(result)
    np.testing.assert_array_equal(result.run(x), graph.run(x))
    made = []
    for n, name in enumerate(result.node("sum").inputs):
        assert name in (f"in{n}", f"scaled{n}", f"sum_factor{n}")
        made.append([1] if name == f"in{n}" else result.node(name).op.multiplier.tolist())
    return made


def test_a_sign_of_a_sum_needs_the_ratio_only():
    (a,), (b,) = shrunk((int_type(4), int_type(4)), [(LARGE[0],), (LARGE[1],)], [[0]])
    assert max(a, b) <= 16
    assert (a, b) != (1, 1)


def test_multipliers_that_the_levels_do_not_see_go():
    assert shrunk((uint_type(2), uint_type(2)), [(1000,), (1001,)], [[500, 1500, 2500, 3500]]) \
        == [[1], [1]]


def test_multipliers_that_are_the_smallest_stay():
    graph, _ = weighted((uint_type(2), uint_type(2)), [(1,), (4,)], [list(range(1, 16))])
    assert shrink_multipliers(graph) == graph


def test_a_level_between_each_two_sums_keeps_the_order_of_all():
    levels = [sorted({a * 7 + b * 16 for a in range(4) for b in range(4)})[1:]]
    (a,), (b,) = shrunk((uint_type(2), uint_type(2)), [(7,), (16,)], levels)
    assert (a, b) == (2, 5)  # the order of 7 : 16, and no smaller pair has it


def test_negative_multipliers_keep_their_sign():
    (a,), (b,) = shrunk((int_type(4), int_type(4)), [(LARGE[0],), (-LARGE[1],)], [[-10**7, 10**7]])
    assert a > 0 > b


def test_falling_channels_have_their_own_bounds():
    shrunk((int_type(3), int_type(3)), [(LARGE[0],), (LARGE[1],)],
           [[-10**7, 10**7], [0, 3 * 10**7]], [False, True])


def test_channels_of_other_multipliers_get_their_own():
    made = shrunk((int_type(3), uint_type(3)), [(1000, 3000), (3001, 999)], [[0, 5000]])
    assert all(len(row) == 2 and max(row) < 32 for row in made)


def test_three_summands_are_tried_together():
    made = shrunk((int_type(3), int_type(3), int_type(3)), [(14142,), (31416,), (22361,)],
                  [[-50000, 100, 60000]])
    assert max(map(max, made)) < 64


def test_a_tie_of_rounded_multipliers_is_broken_as_before():
    (a,), (b,) = shrunk((int_type(4), int_type(4)), [(1000,), (2001,)], [[0]])
    assert b > 2 * a  # 2 : 1 would not do: the sign of -2001 + 2 * 1000
    assert b < 20


def test_bipolar_summands_have_two_values():
    made = shrunk((BIPOLAR, TERNARY), [(1000,), (1998,)], [[-3000, -500, 500, 3001]])
    assert made == [[1], [2]] or made == [[1], [1]]


def test_levels_that_are_always_or_never_reached_stay_so():
    shrunk((int_type(3), int_type(3)), [(LARGE[0],), (LARGE[1],)], [[-2**40, 10**6, 2**40]])


def test_too_many_combinations_are_left_alone():
    builder = GraphBuilder((1, 1, 2), int_type(12))
    builder.add("a", multiply([LARGE[0]], int_type(12)), "x").add("b", Bias([1, 2]), "x")
    builder.add("c", multiply([LARGE[1]], int_type(13)), "b").add("sum", Add(), "a", "c")
    graph = builder.add("act", Threshold([[0]], [False], uint_type(1))).build()
    assert shrink_multipliers(graph) == graph


@pytest.mark.parametrize("output", ["sum", "act"])
def test_a_sum_that_others_read_stays(output):
    graph, _ = weighted((int_type(3), int_type(3)), [(LARGE[0],), (LARGE[1],)], [[0]])
    builder = GraphBuilder((1, 1, 1), int_type(3))
    builder.add("a", multiply([LARGE[0]], int_type(3)), "x")
    builder.add("b", multiply([LARGE[1]], int_type(3)), "x").add("sum", Add(), "a", "b")
    builder.add("act", Threshold([[0]], [False], uint_type(1)))
    if output == "act":
        builder.add("other", Threshold([[5]], [False], uint_type(1)), "sum")
        builder.add("both", Add(), "act", "other")
    graph = builder.build("both" if output == "act" else "sum")
    assert shrink_multipliers(graph) == graph


def test_a_tensor_added_to_itself_is_one_summand_each_time():
    builder = GraphBuilder((1, 8, 1), int_type(3))
    builder.add("a", multiply([1000], int_type(3)), "x").add("sum", Add(), "a", "x")
    graph = builder.add("act", Threshold([[-1500, 1500]], [False], uint_type(2))).build()
    result = shrink_multipliers(graph)
    x = np.arange(-4, 4).reshape(1, 1, 8, 1)
    np.testing.assert_array_equal(result.run(x), graph.run(x))
    assert result.node("sum").inputs != graph.node("sum").inputs


@st.composite
def sums(draw):
    types = [draw(st.sampled_from([BIPOLAR, TERNARY, int_type(3), uint_type(3), int_type(4)]))
             for _ in range(draw(st.integers(2, 3)))]
    channels = draw(st.integers(1, 3))
    factor = st.integers(-3000, 3000)
    factors = [tuple(draw(factor) for _ in range(draw(st.sampled_from([1, channels]))))
               for _ in types]
    number = draw(st.integers(1, 5))
    row = st.lists(st.integers(-20_000, 20_000), min_size=number, max_size=number)
    levels = [sorted(draw(row)) for _ in range(draw(st.sampled_from([1, channels])))]
    return types, factors, levels, [draw(st.booleans()) for _ in levels]


@few(150)
@given(sums())
def test_every_combination_reaches_the_same_levels(given_sum):
    types, factors, levels, negate = given_sum
    graph, x = weighted(types, factors, levels, negate)
    result = shrink_multipliers(graph)
    verify(result)
    expected = graph.run(x)
    np.testing.assert_array_equal(result.run(x), expected)
    np.testing.assert_array_equal(infer_types(result).run(x), expected)
    np.testing.assert_array_equal(run_pipeline(graph).run(x), expected)
