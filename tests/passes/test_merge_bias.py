"""Biases vanish into what stands beside them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwgen.ops import Add, Bias, Conv, MaxPool, Requantize, Threshold
from hwgen.passes import infer_types, merge_bias, verify
from hwgen.types import int_type, uint_type
from tests.graphs import GraphBuilder, all_values
from tests.passes.chains import few

CONV = Conv(np.array([[[[1, -2], [3, 0]]]]), int_type(3), [1, 1])


def merged(builder):
    graph = builder.build()
    result = infer_types(merge_bias(graph))
    verify(result)
    x = np.random.default_rng(0).integers(-8, 8, (50, *graph.input_tensor.shape))
    np.testing.assert_array_equal(result.run(x), graph.run(x))
    return result


def conv():
    return GraphBuilder((3, 3, 2), int_type(4)).add("conv", CONV)


def test_biases_behind_a_conv_become_its_own():
    result = merged(conv().add("b1", Bias([10, 20])).add("b2", Bias([-4, 7]))
                    .add("pool", MaxPool((2, 2), (1, 1))))
    assert [n.name for n in result.nodes] == ["conv", "pool"]
    assert result.node("conv").op.bias.tolist() == [7, 28]
    assert result.node("pool").inputs == ("conv",)


def test_a_bias_at_the_output_leaves_its_meaning_to_the_conv():
    builder = conv().add("b", Bias([10, 20]))
    result = merged(builder)
    assert result.output == "conv"
    assert (result.tensor("conv").scale, result.tensor("conv").offset) == \
        (builder.tensors["b"].scale, builder.tensors["b"].offset)


def test_a_bias_on_one_of_two_ways_stays():
    result = merged(conv().add("b", Bias([10, 20])).add("sum", Add(), "conv", "b"))
    assert [n.name for n in result.nodes] == ["conv", "b", "sum"]


def test_the_second_bias_on_one_of_two_ways_stays():
    result = merged(conv().add("b1", Bias([10, 20])).add("b2", Bias([1, 1]))
                    .add("sum", Add(), "b1", "b2"))
    assert [n.name for n in result.nodes] == ["conv", "b2", "sum"]
    assert result.node("conv").op.bias.tolist() == [11, 21]


def test_a_bias_behind_an_output_stays():
    graph = conv().add("b", Bias([10, 20])).build("conv")
    assert [n.name for n in merge_bias(graph).nodes] == ["conv"]


def test_a_bias_behind_something_else_stays():
    result = merged(GraphBuilder((3, 3, 2), int_type(4)).add("b", Bias([1, 2]))
                    .add("act", Requantize([1], [1], 0, "floor", int_type(3))))
    assert [n.name for n in result.nodes] == ["b", "act"]


@pytest.mark.parametrize("rows", [1, 2])
@few(40)
@given(bias=st.lists(st.integers(-9, 9), min_size=4, max_size=4),
       negate=st.lists(st.booleans(), min_size=2, max_size=2),
       levels=st.lists(st.integers(-9, 9), min_size=3, max_size=3).map(sorted))
def test_biases_before_a_threshold_move_into_its_levels(rows, bias, negate, levels):
    act = Threshold([levels] * rows, negate[:rows], uint_type(2))
    graph = GraphBuilder((1, 16, 2), int_type(4)).add("b1", Bias(bias[:2])) \
        .add("b2", Bias(bias[2:])).add("act", act).build()
    result = infer_types(merge_bias(graph))
    verify(result)
    assert [n.name for n in result.nodes] == ["act"]
    x = all_values(int_type(4), 2)
    np.testing.assert_array_equal(result.run(x), graph.run(x))


def test_a_bias_that_others_read_still_moves_into_the_levels():
    act = Threshold([[0, 2, 4]], [False], uint_type(2))
    result = merged(GraphBuilder((3, 3, 2), int_type(4)).add("b", Bias([1, 2]))
                    .add("act", act).add("sum", Add(), "b", "act"))
    assert result.node("act").inputs == ("x",)
    assert result.node("sum").inputs == ("b", "act")
