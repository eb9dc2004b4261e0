"""Multipliers in front of a convolution go into its weights, or behind its sums."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwgen.ops import Add, Bias, Concat, Conv, Requantize
from hwgen.passes import infer_types, merge_multipliers, run_pipeline, verify
from hwgen.types import BIPOLAR, TERNARY, int_type, smallest_type, uint_type
from tests.graphs import GraphBuilder
from tests.passes.chains import few

TYPE = int_type(4)


def multiply(*factors, dtype=TYPE):
    ends = [f * v for f in factors for v in (dtype.low, dtype.high)]
    return Requantize(factors, [0], 0, "floor", smallest_type(min(ends), max(ends)))


def conv(inputs=3, dtype=TYPE, kernel=(2, 2), seed=0, **options):
    rng = np.random.default_rng(seed)
    weights = rng.integers(dtype.low, dtype.high + 1,
                           (*kernel, inputs // options.get("groups", 1), 6))
    if dtype.bipolar:
        weights = np.where(weights < 0, -1, 1)
    return Conv(weights, dtype, rng.integers(-9, 9, 6), **options)


def merged(builder):
    graph = builder.build()
    result = merge_multipliers(graph)
    verify(result)
    x = np.random.default_rng(0).integers(-8, 8, (30, *graph.input_tensor.shape))
    np.testing.assert_array_equal(result.run(x), graph.run(x))
    np.testing.assert_array_equal(infer_types(result).run(x), graph.run(x))
    for name in ("conv", "join"):
        if name in result.tensors():
            assert result.tensor(name).shape == graph.tensor(name).shape
    return result


def start():
    return GraphBuilder((3, 4, 3), TYPE)


def kinds(graph):
    return [type(n.op).__name__ for n in graph.nodes]


def test_small_multipliers_go_into_the_weights():
    result = merged(start().add("scaled", multiply(3, -2, 7)).add("conv", conv()))
    assert kinds(result) == ["Conv"]
    assert result.node("conv").inputs == ("x",)
    assert result.node("conv").op.weight_type == int_type(7)


def test_a_row_of_multipliers_and_biases_goes_as_a_whole():
    builder = start().add("zero", Bias([1, 2, -3])).add("a", multiply(2, 1, 3, dtype=int_type(5)))
    result = merged(builder.add("b", Bias([5, 5, -1]))
                    .add("c", multiply(1, 2, 2, dtype=int_type(8))).add("conv", conv()))
    assert kinds(result) == ["Conv"]


def test_a_bias_alone_stays():
    graph = start().add("zero", Bias([1, 2, -3])).add("conv", conv()).build()
    assert merge_multipliers(graph) == graph


@pytest.mark.parametrize("factor, goes", [(16, True), (17, False)])
def test_weights_grow_to_at_most_eight_bits(factor, goes):
    weights = Conv([[[[-8], [0], [1]]]], TYPE, [0])
    result = merged(start().add("scaled", multiply(factor)).add("conv", weights))
    assert (kinds(result) == ["Conv"]) == goes


@pytest.mark.parametrize("factor, goes", [(8, True), (9, False)])
def test_wide_weights_grow_by_at_most_three_bits(factor, goes):
    weights = Conv([[[[-128], [0], [1]]]], int_type(8), [0])
    result = merged(start().add("scaled", multiply(factor)).add("conv", weights))
    assert (kinds(result) == ["Conv"]) == goes


def test_a_type_that_holds_the_new_weights_stays():
    weights = Conv([[[[1], [-1], [1]]]], BIPOLAR, [0])
    result = merged(start().add("scaled", multiply(-1, 1, -1)).add("conv", weights))
    assert result.node("conv").op.weight_type == BIPOLAR


def test_a_factor_of_zero_makes_bipolar_weights_ternary():
    weights = Conv([[[[1], [-1], [1]]]], BIPOLAR, [0])
    result = merged(start().add("scaled", multiply(0, 1, 1)).add("conv", weights))
    assert result.node("conv").op.weight_type.contains(0)


def test_groups_take_the_multipliers_of_their_channels():
    builder = GraphBuilder((3, 4, 6), TYPE).add("scaled", multiply(1, 2, 3, 4, 5, 6))
    assert kinds(merged(builder.add("conv", conv(6, groups=3)))) == ["Conv"]
    builder = GraphBuilder((3, 4, 6), TYPE).add("scaled", multiply(1, 2, 3, 4, 5, 6))
    assert kinds(merged(builder.add("conv", conv(6, groups=6)))) == ["Conv"]


@pytest.mark.parametrize("bias, pad_value, code", [(0, 0, 0), (6, 0, -3), (2, 4, 1), (4, 4, 0)])
def test_padding_is_the_integer_that_reads_as_it(bias, pad_value, code):
    result = merged(start().add("scaled", multiply(2)).add("zero", Bias([bias] * 3))
                    .add("conv", conv(pad=(1, 0, 1, 1), pad_value=pad_value)))
    assert result.node("conv").op.pad_value == code


@pytest.mark.parametrize("biases", [(1, 1, 1), (2, 0, 0), (40, 40, 40)])
def test_padding_that_no_integer_reads_as_keeps_the_bias(biases):
    # Not whole; another for each channel; beside the type.
    graph = start().add("scaled", multiply(2)).add("zero", Bias(biases)) \
        .add("conv", conv(pad=(1, 0, 1, 1))).build()
    assert merge_multipliers(graph) == graph


@pytest.mark.parametrize("op", [Requantize([3], [1], 0, "floor", int_type(8)),
                                Requantize([3], [0], 1, "floor", int_type(8)),
                                Requantize([3], [0], 0, "floor", int_type(5)),
                                Requantize([3], [0], 0, "floor", int_type(8), [1])],
                         ids=["shift", "zero_point", "clip", "offset"])
def test_what_is_more_than_a_multiplication_stays(op):
    graph = start().add("scaled", op).add("conv", conv()).build()
    assert merge_multipliers(graph) == graph


def test_a_product_that_others_read_stays():
    builder = start().add("scaled", multiply(3)).add("conv", conv())
    graph = builder.add("other", conv(seed=1), "scaled").add("sum", Add(), "conv", "other").build()
    assert merge_multipliers(graph) == graph


def joined(factors=(100_000, 1, -70_001), biases=(0, 0, 0), **options):
    builder = GraphBuilder((3, 4, 2), TYPE)
    for n in range(3):
        builder.add(f"in{n}", Bias([n, -n]), "x")
    builder.add("join", Concat(), "in0", "in1", "in2")
    every = [f for f in factors for _ in range(2)]
    builder.add("scaled", multiply(*every, dtype=int_type(5)))
    if any(biases):
        builder.add("zero", Bias([b for b in biases for _ in range(2)]))
    return builder.add("conv", conv(6, **options))


def test_a_join_of_unequal_steps_becomes_sums_of_their_own():
    result = merged(joined())
    assert kinds(result)[3:] == ["Conv", "Requantize", "Conv", "Conv", "Requantize", "Add", "Bias"]
    assert result.nodes[-1].name == "conv"
    assert max(n.op.weight_type.width for n in result.nodes if isinstance(n.op, Conv)) == 4


def test_sums_of_their_own_keep_biases_and_padding():
    merged(joined(biases=(200_000, 3, 70_001), pad=(1, 1, 0, 1), stride=(2, 1)))
    merged(joined(biases=(200_001, 3, 70_001), dilation=(2, 1)))


def test_unequal_steps_within_a_tensor_stay():
    builder = joined()
    scaled = builder.nodes[4]
    every = (100_000, 100_001, 1, 1, 7, 7)
    builder.nodes[4] = scaled.__class__("scaled", multiply(*every, dtype=int_type(5)),
                                        scaled.inputs, scaled.output)
    graph = infer_types(builder.build())
    assert merge_multipliers(graph) == graph


def test_a_join_that_others_read_stays():
    graph = joined().add("other", conv(6, seed=1), "join").add("sum", Add(), "conv", "other") \
        .build()
    assert merge_multipliers(graph) == graph


def test_groups_of_a_join_stay_together():
    graph = joined(groups=2).build()
    assert merge_multipliers(graph) == graph


@st.composite
def scaled_networks(draw):
    channels = draw(st.sampled_from([2, 4]))
    dtype = draw(st.sampled_from([BIPOLAR, TERNARY, uint_type(3), TYPE]))
    factor = st.integers(-5, 40) if draw(st.booleans()) else st.integers(1, 10**6)
    builder = GraphBuilder((3, 3, channels), dtype)
    names = []
    for n in range(draw(st.integers(1, 3))):
        names.append(f"in{n}")
        builder.add(names[-1], Bias([draw(st.integers(-2, 2))] * channels), "x")
    if len(names) > 1:
        builder.add("join", Concat(), *names)
    tensor = builder.nodes[-1].output
    each = draw(st.booleans())
    factors = [draw(factor) for _ in range(tensor.shape[2] if each else len(names))]
    if not each:
        factors = [f for f in factors for _ in range(channels)]
    builder.add("scaled", multiply(*factors, dtype=tensor.dtype))
    if draw(st.booleans()):
        builder.add("zero", Bias([f * draw(st.integers(-1, 1)) for f in factors]))
    groups = draw(st.sampled_from([1, 2]))
    pad = draw(st.sampled_from([(0, 0, 0, 0), (1, 0, 0, 1)]))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    weights = rng.integers(-4, 4, (2, 2, tensor.shape[2] // groups, 4))
    return builder.add("conv", Conv(weights, int_type(3), rng.integers(-9, 9, 4), pad=pad,
                                    pad_value=draw(st.sampled_from([0, 0, 4])), groups=groups))


@few(150)
@given(scaled_networks())
def test_multipliers_move_without_a_change(builder):
    graph = builder.build()
    every = np.arange(graph.input_tensor.dtype.low, graph.input_tensor.dtype.high + 1)
    every = every[graph.input_tensor.dtype.contains(every)]
    x = np.random.default_rng(0).choice(every, (20, *graph.input_tensor.shape))
    result = merge_multipliers(graph)
    verify(result)
    np.testing.assert_array_equal(result.run(x), graph.run(x))
    np.testing.assert_array_equal(run_pipeline(graph).run(x), graph.run(x))
