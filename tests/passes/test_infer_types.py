"""Every tensor has the narrowest type."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from hwgen.errors import ModelError
from hwgen.ops import Add, Concat, Conv, MaxPool, Requantize, Threshold
from hwgen.passes import infer_types, verify
from hwgen.real_ops import REAL, Affine, Clamp, Quantize
from hwgen.types import BIPOLAR, TERNARY, int_type, uint_type
from tests.graphs import GraphBuilder


def widened(graph):
    """The graph with every integer tensor declared far too wide."""
    return graph.with_nodes(
        n if n.output.dtype == REAL else replace(n, output=replace(n.output, dtype=int_type(40)))
        for n in graph.nodes)


def test_accumulators_follow_from_weights_and_input():
    weights = np.array([[[[1, -1], [1, 1], [0, 1]]]])
    graph = GraphBuilder((2, 2, 3), uint_type(2)).add("conv", Conv(weights, int_type(2), [0, 0])) \
        .add("pool", MaxPool((2, 2), (2, 2))).add("sum", Add(), "pool", "pool").build()
    result = infer_types(widened(graph))
    assert result.tensors() == graph.tensors()
    assert result.tensor("conv").dtype == int_type(4)  # -3..6
    assert result.tensor("sum").dtype == int_type(5)


@pytest.mark.parametrize("weights, declared, found", [
    ([0, 53], int_type(8), uint_type(6)), ([-4, 3], int_type(8), int_type(3)),
    ([-128, 0], int_type(8), int_type(8)), ([-1, 0, 1], int_type(4), TERNARY),
    ([-1, 1], TERNARY, BIPOLAR), ([-1, -1], int_type(3), BIPOLAR), ([0, 1], TERNARY, uint_type(1)),
    ([0, 0], int_type(5), uint_type(1)), ([1, 1], BIPOLAR, BIPOLAR)])
def test_weights_have_the_narrowest_type_that_holds_them(weights, declared, found):
    op = Conv(np.array(weights).reshape(1, 1, -1, 1), declared, [0])
    graph = GraphBuilder((2, 2, len(weights)), uint_type(2)).add("conv", op).build()
    narrowed = infer_types(graph).node("conv").op
    assert narrowed.weight_type == found
    np.testing.assert_array_equal(narrowed.weights, op.weights)


def test_activations_keep_their_declared_type():
    graph = GraphBuilder((1, 1, 2), uint_type(2)) \
        .add("act", Requantize([1], [1], 0, "floor", int_type(6))).build()
    assert infer_types(graph).tensor("act").dtype == int_type(6)


def test_a_maximum_of_a_negative_scale_stays_real():
    graph = GraphBuilder((2, 2, 1), int_type(4), -1).add("pool", MaxPool((2, 2), (2, 2))) \
        .add("act", Quantize(int_type(6), Fraction(1, 4))).build()
    assert graph.tensor("pool").dtype == REAL
    assert infer_types(graph) == graph


def test_a_join_of_real_and_integer_tensors_stays_real():
    graph = GraphBuilder((2,), int_type(4)).add("relu", Clamp(Fraction(1, 2), None)) \
        .add("join", Concat(), "relu", "x").add("act", Quantize(int_type(6), Fraction(1))).build()
    assert graph.tensor("join").dtype == REAL
    assert infer_types(graph) == graph


def test_real_tensors_stay_real():
    graph = GraphBuilder((1, 1, 2), uint_type(2)).add("bn", Affine((Fraction(2),),
                                                                      (Fraction(1),))) \
        .add("relu", Clamp(Fraction(0), None)).add("act", Quantize(uint_type(2), Fraction(1)))
    result = infer_types(graph.build())
    assert result.tensor("bn").dtype == uint_type(2)
    assert result.tensor("relu").dtype == REAL


@pytest.mark.parametrize("negate, kept, base", [(False, [-15, 0, 15], 2),
                                                (True, [0, 15, 16], 3)])
def test_levels_beside_the_range_go(negate, kept, base):
    act = Threshold([[-90, -16, -15, 0, 15, 16, 17, 90]], [negate], uint_type(4))
    graph = GraphBuilder((1, 32, 1), int_type(5)).add("act", act).build()
    result = infer_types(graph)
    verify(result)
    assert result.node("act").op.levels.tolist() == [kept]
    assert result.node("act").op.base == base
    assert result.node("act").output.dtype == uint_type(4)
    x = np.arange(-16, 16).reshape(1, 1, 32, 1)
    np.testing.assert_array_equal(result.run(x), graph.run(x))


def test_levels_that_only_some_channels_reach_move_to_the_ends_in_the_others():
    act = Threshold([[-99, 99], [-2, 2]], [False, True], uint_type(2))
    graph = GraphBuilder((1, 8, 2), int_type(3)).add("act", act).build()
    result = infer_types(graph)
    assert result.node("act").op.levels.tolist() == [[-4, 4], [-2, 2]]
    x = np.repeat(np.arange(-4, 4), 2).reshape(1, 1, 8, 2)
    np.testing.assert_array_equal(result.run(x), graph.run(x))


def test_a_result_that_is_constant_keeps_a_level():
    act = Threshold([[-99, 99]], [False], uint_type(2))
    graph = GraphBuilder((1, 1, 2), int_type(3)).add("act", act).build()
    op = infer_types(graph).node("act").op
    assert (op.levels.tolist(), op.base) == ([[-4]], 0)


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("falls", [[False], [False, True]])
@pytest.mark.parametrize("pad", [0, 1])
def test_levels_that_the_sums_of_a_channel_never_pass_go(shared, falls, pad):
    """Sums of -4 to 3 and of -9 to 12, or of padding of 5."""
    weights = np.array([[1, -3]]).reshape(1, 1, 1, 2)
    conv = Conv(weights, int_type(3), np.array([0, 0]), pad=(0, 0, pad, pad), pad_value=5)
    levels = np.arange(-24, 25, 3)[None] if shared else np.stack([np.arange(-24, 25, 3),
                                                                  np.arange(-16, 17, 2)])
    act = Threshold(levels, falls, uint_type(5))
    graph = GraphBuilder((1, 8, 1), int_type(3)).add("conv", conv).add("act", act).build()
    result = infer_types(graph)
    verify(result)
    x = np.arange(-4, 4).reshape(1, 1, 8, 1)
    np.testing.assert_array_equal(result.run(x), graph.run(x))
    sums = graph.run_all(x)["conv"].reshape(-1, 1, 2) * np.where(falls, -1, 1)
    kept = result.node("act").op.levels
    reached = sums >= np.broadcast_to(kept, (2, kept.shape[1])).T
    assert kept.shape[1] < levels.shape[1]
    assert (reached.any(axis=(0, 2)) & ~reached.all(axis=(0, 2))).all()


def test_more_bits_than_the_golden_model_has_are_refused():
    builder = GraphBuilder((1, 1, 1), int_type(61))
    for n in range(3):
        builder.add(f"sum{n}", Add(), *[builder.nodes[-1].name if n else "x"] * 2)
    with pytest.raises(ModelError, match="^sum1: its values need 63 bits, at most 62 are possible; "
                       "requantize an input of it$"):
        infer_types(builder.build())
