"""Quantizers go in front of poolings and of what only moves values."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwgen.errors import ModelError
from hwgen.ops import (
    Concat,
    Conv,
    Crop,
    DepthToSpace,
    MaxPool,
    Requantize,
    Reshape,
    Select,
    Threshold,
    Upsample,
    Windows,
)
from hwgen.passes import fold_activations, quantize_early, run_pipeline, verify
from hwgen.real_ops import REAL, Affine, Clamp, Function, LeakyRelu, Quantize, RealThreshold
from hwgen.types import BIPOLAR, TERNARY, int_type, uint_type
from tests.graphs import GraphBuilder
from tests.passes.chains import batch_norms, clamps, few, leaky_relus, quantizers, thresholds

F = Fraction
RELU = Clamp(F(0), None)
FOUR = MaxPool((2, 2), (2, 2))


def early(builder):
    """The graph after the pass; it and the whole pipeline are checked against the one before."""
    graph = builder.build()
    x = codes(graph.input_tensor)
    result = quantize_early(graph)
    verify(result)
    expected = graph.run(x)
    np.testing.assert_array_equal(result.run(x), expected)
    np.testing.assert_array_equal(run_pipeline(graph).run(x), expected)
    for node in result.nodes:  # a tensor that keeps its name keeps its values
        if node.name in graph.tensors() and node.output.dtype != REAL:
            np.testing.assert_array_equal(result.run_all(x)[node.name], graph.run_all(x)[node.name])
    return result


def codes(tensor, frames=12, seed=0):
    values = np.arange(tensor.dtype.low, tensor.dtype.high + 1)
    values = values[tensor.dtype.contains(values)]
    return np.random.default_rng(seed).choice(values, (frames, *tensor.shape))


def names(graph):
    return [(n.name, type(n.op).__name__) for n in graph.nodes]


def real(shape=(4, 4, 4)):
    """A tensor of real values: a ReLU of integers with an offset."""
    return GraphBuilder(shape, int_type(4), 1, F(1, 2)).add("relu", RELU)


def rows(number, channels):
    return tuple((F(c), *(F(c + k + 1) for k in range(number - 1))) for c in range(channels))


MOVEMENTS = {
    "max_pool": MaxPool((2, 3), (2, 1), (1, 0, 0, 2)), "flatten": Reshape(),
    "reshape": Reshape((2, 8, 4)), "upsample": Upsample((1, 2)), "select": Select((3, 0, 0, 2)),
    "crop": Crop((1, 3), (0, 4), (1, 4)), "depth_to_space": DepthToSpace(2),
    "windows": Windows((2, 2), (1, 2)), "thinned": Windows((1, 1), (2, 2)),
}


@pytest.mark.parametrize("op", MOVEMENTS.values(), ids=MOVEMENTS.keys())
def test_a_quantizer_of_one_scale_goes_in_front_of_every_movement(op):
    result = early(real().add("move", op).add("act", Quantize(uint_type(3), F(3, 2))))
    assert names(result)[1:] == [("act_early", "Quantize"), ("act", type(op).__name__)]


PER_CHANNEL = {name: MOVEMENTS[name] for name in ("max_pool", "reshape", "upsample", "crop",
                                                  "thinned")}


@pytest.mark.parametrize("op", PER_CHANNEL.values(), ids=PER_CHANNEL.keys())
@pytest.mark.parametrize("kind", ["scale", "slope", "levels", "affine"])
def test_channels_keep_their_parameters_in_front_of_a_movement(op, kind):
    builder = real().add("move", op)
    channels = builder.nodes[-1].output.shape[2]
    numbers = tuple(F(c + 1, 2) for c in range(channels))
    if kind == "scale":
        builder.add("act", Quantize(uint_type(3), numbers))
    elif kind == "slope":
        builder.add("leaky", LeakyRelu(numbers)).add("act", Quantize(int_type(3), F(1)))
    elif kind == "levels":
        builder.add("act", RealThreshold(rows(3, channels), uint_type(2)))
    else:
        builder.add("bn", Affine(numbers, numbers)).add("act", Quantize(uint_type(3), F(1)))
    result = early(builder)
    assert isinstance(result.node("act").op, type(op))


def test_channels_of_a_vector_become_those_of_a_map_where_they_agree():
    flat = real((2, 2, 2)).add("flat", Reshape())
    result = early(flat.add("act", Quantize(uint_type(3), (F(1), F(2)) * 4)))
    assert result.node("act_early").op.scale == (1, 2)
    uneven = real((2, 2, 2)).add("flat", Reshape())
    uneven.add("act", Quantize(uint_type(3), tuple(F(k) for k in range(1, 9))))
    graph = uneven.build()
    assert quantize_early(graph) == graph
    with pytest.raises(ModelError, match="^relu: its result reaches flat unquantized"):
        fold_activations(graph)


def test_selected_channels_take_their_parameters_along():
    builder = real().add("select", Select((3, 0, 2)))
    result = early(builder.add("act", Quantize(uint_type(3), (F(1), F(2), F(3)))))
    scales = result.node("act_early").op.scale
    assert (scales[3], scales[0], scales[2]) == (1, 2, 3)


def test_a_channel_selected_twice_with_two_scales_stays():
    graph = real().add("select", Select((1, 1))) \
        .add("act", Quantize(uint_type(3), (F(1), F(2)))).build()
    assert quantize_early(graph) == graph


def test_a_join_of_real_and_integer_tensors_is_quantized_in_front():
    builder = GraphBuilder((2, 2, 2), int_type(4), F(1, 3), F(1, 2))
    builder.add("relu", RELU, "x").add("other", Quantize(int_type(3), (F(1), F(3))), "x")
    builder.add("join", Concat(), "relu", "other")
    result = early(builder.add("act", Quantize(uint_type(2), (F(1), F(2), F(3), F(4)))))
    assert result.node("act").inputs == ("act_early0", "act_early1")
    assert result.node("act_early0").op.scale == (1, 2)
    assert result.node("act_early1").op.scale == (3, 4)


def test_each_reader_of_a_pooling_gets_its_own():
    builder = real().add("pool", FOUR)
    builder.add("a", Quantize(uint_type(2), F(1)), "pool")
    builder.add("b", Quantize(uint_type(2), F(2)), "pool")
    result = early(builder.add("join", Concat(), "a", "b"))
    assert [n.name for n in result.nodes if isinstance(n.op, MaxPool)] == ["a", "b"]
    assert "pool" not in result.tensors()


def test_a_quantizer_of_fewer_bits_goes_in_front_of_a_pooling_of_integers():
    builder = GraphBuilder((4, 4, 2), int_type(6)).add("pool", FOUR)
    builder.add("bn", Affine((F(1, 2), F(2)), (F(1), F(0)))).add("relu", RELU)
    result = early(builder.add("act", Quantize(uint_type(2), F(1))))
    assert names(result)[-1] == ("act", "MaxPool")


def test_a_quantizer_of_more_bits_stays_behind_a_pooling_of_integers():
    graph = GraphBuilder((4, 4, 1), int_type(4)).add("pool", FOUR) \
        .add("act", Quantize(int_type(6), F(1, 4))).build()
    assert quantize_early(graph) == graph


def test_a_falling_quantizer_stays_behind_a_pooling_of_integers():
    graph = GraphBuilder((4, 4, 1), int_type(6)).add("pool", FOUR) \
        .add("bn", Affine((F(-1),), (F(0),))).add("act", Quantize(int_type(3), F(8))).build()
    assert quantize_early(graph) == graph


def test_a_pooling_of_a_negative_scale_takes_the_largest_real_value():
    builder = GraphBuilder((4, 4, 2), int_type(4), F(-1, 2)).add("pool", FOUR)
    result = early(builder.add("act", Quantize(int_type(3), F(1))))
    assert names(result) == [("act_early", "Quantize"), ("act", "MaxPool")]


@pytest.mark.parametrize("dtype", [BIPOLAR, TERNARY, uint_type(1), uint_type(3), int_type(3)])
@pytest.mark.parametrize("gamma", [(F(-1),), (F(-2), F(1), F(0), F(-1, 3))])
def test_a_pooling_of_real_values_is_a_minimum_where_a_channel_falls(dtype, gamma):
    builder = real().add("pool", FOUR).add("bn", Affine(gamma, (F(2),)))
    result = early(builder.add("act", Quantize(dtype, F(1, 2))))
    pool, back = result.nodes[-2:]
    assert isinstance(pool.op, MaxPool)
    assert back.name == "act"
    assert isinstance(back.op, Threshold if dtype.bipolar else Requantize)


def test_the_minimum_is_right_for_per_channel_scales_and_fractional_zero_points():
    builder = real().add("pool", FOUR).add("bn", Affine((F(-1), F(1), F(-2), F(3)), (F(2),)))
    scales = (F(1, 2), F(1), F(3, 2), F(2))
    early(builder.add("act", Quantize(int_type(4), scales, F(7, 3), "half_up", (-5, 6))))
    builder = real().add("pool", FOUR).add("bn", Affine((F(-1),), (F(2),)))
    early(builder.add("act", RealThreshold(rows(3, 4), int_type(4), -3, 2, F(3))))


def test_a_function_that_falls_stays_behind_a_pooling():
    graph = real().add("pool", FOUR).add("gelu", Function("gelu")) \
        .add("act", Quantize(uint_type(3), F(1))).build()
    assert quantize_early(graph) == graph


def test_a_padded_window_of_real_values_stays():
    graph = real().add("pad", Windows((1, 1), (1, 1), (1, 1, 1, 1))) \
        .add("act", Quantize(uint_type(3), F(1))).build()
    assert quantize_early(graph) == graph


def test_a_convolution_ends_the_way_of_a_quantizer():
    builder = GraphBuilder((4, 4, 2), int_type(4), F(1, 2))
    builder.add("conv", Conv(np.ones((1, 1, 2, 3)), int_type(2), np.arange(3)))
    builder.add("relu", Clamp(F(1, 3), None)).add("pool", FOUR).add("flat", Reshape())
    result = early(builder.add("act", Quantize(uint_type(3), F(2))))
    assert [n.name for n in result.nodes][:1] == ["conv"]
    assert [type(n.op).__name__ for n in result.nodes[-3:]] == ["Quantize", "MaxPool", "Reshape"]


@st.composite
def moved_chains(draw):
    """Real operations and movements in any order, a quantizer at the end."""
    builder = GraphBuilder((4, 4, 4), draw(st.sampled_from([int_type(4), uint_type(3), BIPOLAR])),
                           draw(st.sampled_from([F(1), F(2, 3)])), F(1, 3))
    builder.add("start", Clamp(draw(st.sampled_from([F(0), F(-1)])), F(5)))
    for n in range(draw(st.integers(1, 4))):
        height, width, channels = builder.nodes[-1].output.shape
        if draw(st.booleans()):
            move = draw(st.sampled_from([MaxPool((2, 1), (1, 1)), MaxPool((1, 2), (1, 1)),
                                         Reshape(), Upsample((2, 1)), DepthToSpace(2),
                                         Windows((1, 2), (1, 1)), Select((1, 3, 0, 2))]))
            try:
                builder.add(f"op{n}", move)
                continue
            except ValueError:  # does not fit
                pass
        builder.add(f"op{n}", draw(batch_norms(channels) | clamps() | leaky_relus(channels)
                                   | st.just(Function("tanh"))))
    channels = builder.nodes[-1].output.shape[2]
    return builder.add("act", draw(quantizers(channels) | thresholds(channels)))


@few(150)
@given(moved_chains())
def test_real_operations_move_without_a_change(builder):
    graph = builder.build()
    x = codes(graph.input_tensor, 3)
    result = quantize_early(graph)
    verify(result)
    np.testing.assert_array_equal(result.run(x), graph.run(x))
