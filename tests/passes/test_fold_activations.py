"""Every chain of real operations becomes one integer operation with equal results."""

import math
import time
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given

from hwgen.errors import ModelError
from hwgen.ops import ROUNDINGS, Add, Bias, Clip, Conv, MaxPool, Requantize, Table, Threshold
from hwgen.passes import fold_activations, verify
from hwgen.real_ops import (
    FUNCTIONS,
    REAL,
    Affine,
    Clamp,
    Function,
    LeakyRelu,
    Quantize,
    RealThreshold,
)
from hwgen.types import BIPOLAR, TERNARY, int_type, uint_type
from tests.graphs import GraphBuilder, all_values
from tests.passes.chains import chains, few

F = Fraction
RELU = Clamp(F(0), None)
UNEVEN = RealThreshold(((F(0), F(1), F(11, 2)),), uint_type(2))


def folded(graph, x):
    """The graph after the pass, checked against the one before for the values ``x``."""
    result = fold_activations(graph)
    verify(result)
    np.testing.assert_array_equal(result.run(x), graph.run(x))
    return result


def fold(dtype, *ops, channels=1, **meaning):
    """Operations of the folded chain of ``ops`` behind a tensor, checked for every value of it."""
    x = all_values(dtype, channels)
    builder = GraphBuilder(x.shape[1:], dtype, **meaning)
    for n, op in enumerate(ops):
        builder.add(f"op{n}", op)
    return [node.op for node in folded(builder.build(), x).nodes]


def dense(outputs, inputs=4, seed=0):
    weights = np.random.default_rng(seed).integers(-3, 4, (1, 1, inputs, outputs))
    return Conv(weights, int_type(3), np.zeros(outputs))


@few(400)
@given(chains())
def test_a_chain_gives_the_same_for_every_input(chain):
    graph, x = chain
    result = folded(graph, x)
    for node in result.nodes:
        assert isinstance(node.op, Bias | Clip | Requantize | Table | Threshold)
        assert node.output.dtype != REAL


@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("out_type", [BIPOLAR, TERNARY, uint_type(1), uint_type(3), int_type(3)])
@pytest.mark.parametrize("slope", [F(1), F(-1), F(1, 4), F(-1, 3), F(5, 2), F(0)])
def test_every_rounding_is_exact_at_ties(rounding, out_type, slope):
    for zero_point in (0, 1):
        for offset in (F(0), F(1, 2), F(-3, 8)):
            fold(int_type(6), Affine((slope,), (offset,)),
                 Quantize(out_type, F(1, 2), zero_point, rounding))


@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("slope", [F(1, 4), F(-1, 4)])
def test_a_clamp_at_a_tie_is_exact(rounding, slope):
    for bound in (F(1), F(3, 2), F(5, 2), F(3)):
        fold(int_type(6), Affine((slope,), (F(0),)), Clamp(-bound, bound),
             Quantize(int_type(4), F(1), 0, rounding))


def test_channels_fall_and_stand_still_by_their_gamma():
    norm = Affine((F(1, 3), F(-1, 3), F(0), F(0)), (F(0), F(0), F(9), F(-9)))
    op, = fold(int_type(5), norm, Quantize(uint_type(2), F(1)), channels=4)
    assert isinstance(op, Threshold)
    assert op.negate.tolist() == [False, True, False, False]
    assert op.levels[2].tolist() == [-16] * 3  # always
    assert op.levels[3].tolist() == [16] * 3  # never


def test_channels_alike_share_one_row_of_levels():
    op, = fold(int_type(5), UNEVEN, channels=4)
    assert op.levels.tolist() == [[0, 1, 6]]
    assert op.negate.shape == (1,)


def test_a_sign_is_one_level():
    op, = fold(int_type(5), Affine((F(1),), (F(7, 2),)), Quantize(BIPOLAR, F(1)))
    assert (op.levels.tolist(), op.base, op.step) == ([[-3]], -1, 2)


def test_relu_and_a_power_of_two_become_a_shift():
    op, = fold(int_type(10), RELU, Quantize(uint_type(4), F(16), 0, "floor"))
    assert isinstance(op, Requantize)
    assert (op.multiplier.tolist(), op.shift.tolist(), op.rounding) == ([1], [4], "floor")


def test_rounding_of_a_shift_stays_as_it_was():
    op, = fold(int_type(10), RELU, Quantize(uint_type(4), F(16), 0, "half_even"))
    assert isinstance(op, Requantize)
    assert op.rounding == "half_even"


def test_a_finer_scale_becomes_a_shift_to_the_left():
    op, = fold(int_type(4), Quantize(int_type(8), F(1, 8)))
    assert isinstance(op, Requantize)
    assert (op.multiplier.tolist(), op.shift.tolist()) == ([8], [0])


def test_a_clamp_to_the_range_of_the_type_becomes_a_clip():
    assert fold(int_type(8), RELU, Quantize(uint_type(4), F(1))) == [Clip(0, 15)]


def test_a_constant_offset_for_each_channel_becomes_a_bias():
    norm = Affine((F(1),), (F(3), F(-7, 3), F(0)))
    bias, shift = fold(int_type(9), norm, RELU, Quantize(uint_type(3), F(8), 0, "half_up"),
                       channels=3)
    assert isinstance(bias, Bias)
    assert isinstance(shift, Requantize)
    assert shift.shift.tolist() == [3]


def test_behind_a_conv_rounding_becomes_a_bias():
    graph = GraphBuilder((4,), int_type(6)).add("conv", dense(2)) \
        .add("act", Quantize(uint_type(3), F(8), 0, "half_up")).build()
    x = np.random.default_rng(0).integers(-32, 32, (500, 1, 1, 4))
    conv, bias, act = folded(graph, x).nodes
    assert (conv.name, bias.name, act.name) == ("conv", "act_bias", "act")
    assert bias.op.values.tolist() == [4, 4]
    assert bias.output.channel(0) == (1, -4)  # means the same as before
    assert act.op.rounding == "floor"


def test_the_name_of_a_bias_is_free():
    graph = GraphBuilder((4,), int_type(6)).add("act_bias", dense(2)) \
        .add("act", Quantize(uint_type(3), F(8), 0, "half_up")).build()
    assert [n.name for n in fold_activations(graph).nodes] == ["act_bias", "act_bias_2", "act"]


def test_channels_with_different_shifts_become_thresholds():
    op, = fold(int_type(9), Affine((F(1), F(1, 2)), (F(0), F(0))),
               Quantize(uint_type(3), F(8), 0, "floor"), channels=2)
    assert isinstance(op, Threshold)


def test_a_threshold_layer_with_even_steps_becomes_a_shift():
    levels = tuple(F(8 * k) for k in range(1, 8))
    op, = fold(int_type(8), RealThreshold((levels,), uint_type(3)))
    assert isinstance(op, Requantize)


def test_an_output_type_wider_than_the_levels_stays():
    op, = fold(int_type(8), RealThreshold(((F(8), F(16)),), uint_type(3)))
    assert isinstance(op, Threshold)
    assert op.out_type == uint_type(3)


def test_quantizers_that_nothing_else_reads_are_folded_together():
    op, = fold(int_type(8), Quantize(int_type(6), F(3), 1, "ceil"), Clip(0, None),
               Affine((F(-2, 3),), (F(1),)), Quantize(TERNARY, F(4)))
    assert isinstance(op, Threshold)


def test_a_quantizer_that_others_read_stays():
    builder = GraphBuilder((1, 256, 1), int_type(8)).add("q", Quantize(int_type(5), F(8)))
    builder.add("a", Quantize(TERNARY, F(5)), "q").add("sum", Add(), "a", "q")
    result = folded(builder.build(), all_values(int_type(8), 1))
    assert [n.name for n in result.nodes] == ["q", "a", "sum"]
    assert result.node("a").inputs == ("q",)


def test_two_chains_fork_from_one_tensor():
    builder = GraphBuilder((1, 64, 1), int_type(6)).add("r", RELU)
    builder.add("bn", Affine((F(-1, 3),), (F(2),)), "r")
    builder.add("a", Quantize(int_type(3), F(1)), "bn").add("b", Quantize(int_type(3), F(5)), "r")
    result = folded(builder.add("sum", Add(), "a", "b").build(), all_values(int_type(6), 1))
    assert [(n.name, n.inputs) for n in result.nodes] == \
        [("a", ("x",)), ("b", ("x",)), ("sum", ("a", "b"))]


def test_batch_norm_on_one_of_two_ways_is_folded_there_only():
    builder = GraphBuilder((4,), int_type(4)).add("conv", dense(3))
    builder.add("bn", Affine((F(1, 2), F(-1, 3), F(0)), (F(1), F(0), F(2))), "conv")
    builder.add("a", Quantize(int_type(4), F(1)), "bn")
    builder.add("b", Quantize(int_type(4), F(3)), "conv")
    graph = builder.add("sum", Add(), "a", "b").build()
    result = folded(graph, np.random.default_rng(1).integers(-8, 8, (300, 1, 1, 4)))
    assert result.tensor("conv") == graph.tensor("conv")
    assert "bn" not in result.tensors()


def test_batch_norm_at_the_output_leaves_its_meaning():
    graph = GraphBuilder((4,), int_type(4)).add("conv", dense(2)) \
        .add("bn", Affine((F(1, 2), F(1, 4)), (F(1), F(0)))).build()
    result = folded(graph, np.ones((1, 1, 1, 4)))
    assert result.output == "conv"
    assert result.tensor("conv").scale == (F(1, 2), F(1, 4))
    assert result.tensor("conv").offset == (1, 0)


def test_batch_norm_at_the_output_leaves_its_meaning_on_a_shared_tensor():
    builder = GraphBuilder((4,), int_type(4)).add("conv", dense(2))
    builder.add("bn1", Affine((F(3),), (F(0),)), "conv")
    builder.add("both", Add(), "conv", "bn1").add("bn2", Affine((F(5),), (F(0),)))
    result = folded(builder.add("bn3", Affine((F(7),), (F(0),))).build(), np.ones((1, 1, 1, 4)))
    assert result.output == "both"
    assert result.tensor("both").channel(0) == (35, 0)
    assert result.tensor("conv").channel(0) == (1, 0)
    assert result.node("both").inputs == ("conv", "conv")


def test_a_bias_and_a_clip_before_a_quantizer_are_folded():
    graph = GraphBuilder((4,), int_type(4)).add("conv", dense(2)).add("bias", Bias([5, -9])) \
        .add("relu", Clip(0, None)).add("act", UNEVEN).build()
    result = folded(graph, np.random.default_rng(1).integers(-8, 8, (300, 1, 1, 4)))
    assert [n.name for n in result.nodes] == ["conv", "act"]


def test_levels_stay_beside_the_range_of_the_accumulator():
    op, = fold(int_type(4), Quantize(int_type(4), F(7, 3)))
    assert op.levels.min() == -8
    assert op.levels.max() == 8


def test_512_channels_of_255_levels_take_less_than_a_second():
    rng = np.random.default_rng(0)
    norm = Affine(*(tuple(F(float(v)) for v in rng.normal(0, s, 512)) for s in (.01, 1)))
    graph = GraphBuilder((1, 1, 512), int_type(20)).add("bn", norm).add("relu", RELU) \
        .add("act", Quantize(uint_type(8), F(1, 200))).build()
    start = time.process_time()
    result = fold_activations(graph)
    assert time.process_time() - start < 1
    op = result.node("act").op
    assert isinstance(op, Requantize)  # a table of 512 x 255 levels would be larger
    # Both sides of 4 levels of each channel.
    levels = np.array([50, 100, 150, 200])[:, None] * 2**op.shift - op.offset
    near = -(-levels // np.where(op.multiplier == 0, 1, op.multiplier))
    x = np.clip(np.concatenate([near - 1, near, near + 1]), -2**19, 2**19 - 1)[:, None, None, :]
    np.testing.assert_array_equal(result.run(x), graph.run(x))


@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_many_levels_become_a_multiplication_if_it_is_equal(rounding):
    graph = GraphBuilder((1, 1, 3), int_type(19), F(1, 3)) \
        .add("bn", Affine((F(3, 4), F(-3, 8), F(3)), (F(0),))) \
        .add("act", Quantize(int_type(14), F(16), 0, rounding)).build()
    x = np.random.default_rng(0).integers(-2**18, 2**18, (3000, 1, 1, 3))
    x[:200] = np.arange(-100, 100)[:, None, None, None]
    result = folded(graph, x)
    assert all(isinstance(n.op, Requantize | Bias) for n in result.nodes)


def wide(in_bits, out_bits, channels, seed):
    """Scales and biases as float32 has them, with outputs that fill their type."""
    rng = np.random.default_rng(seed)
    step, *gammas = (F(float(np.float32(v))) for v in rng.uniform(.5, 2, channels + 1))
    norm = Affine(tuple(g * step / 2**(in_bits - out_bits) for g in gammas),
                  tuple(F(float(np.float32(v))) for v in rng.normal(0, 50, channels)))
    return GraphBuilder((1, 1, channels), int_type(in_bits)).add("bn", norm) \
        .add("act", Quantize(int_type(out_bits), step)).build()


def both_sides(op, dtype, channels, number=300):
    """Inputs at and just below the place where a Requantize reaches some of its codes."""
    codes = np.random.default_rng(1).integers(op.out_type.low, op.out_type.high, number)
    half = {"floor": 0, "half_even": 1, "half_up": 1}[op.rounding]
    multiplier, offset = (np.broadcast_to(v, channels).tolist() for v in (op.multiplier, op.offset))
    shift = int(op.shift.max())
    levels = [[-(-((2 * code - half) * 2**shift // 2 - offset[c]) // multiplier[c])
               for c in range(channels)] for code in (codes - op.zero_point).tolist()]
    near = np.array([[[level + d for level in row]] for row in levels for d in (-2, -1, 0, 1)])
    return np.clip(near, dtype.low, dtype.high)[:, None]


@pytest.mark.parametrize("in_bits, out_bits, channels", [(20, 16, 2), (24, 16, 2), (24, 14, 5),
                                                         (28, 16, 2)])
def test_wide_outputs_of_float32_scales_become_a_multiplication(in_bits, out_bits, channels):
    graph = wide(in_bits, out_bits, channels, in_bits)
    op = fold_activations(graph).nodes[-1].op
    assert isinstance(op, Requantize)
    assert int(op.multiplier.max()).bit_length() <= 48
    folded(graph, both_sides(op, int_type(in_bits), channels))


def test_channels_alike_share_one_multiplication():
    op, = fold(int_type(14), Affine((F(3, 8),), (F(1, 3),)), Quantize(int_type(12), F(5, 7)),
               channels=3)
    assert isinstance(op, Requantize)
    assert op.multiplier.shape == (1,)


def test_ties_of_many_levels_keep_their_rounding():
    norm = Affine((F(3, 16),), (F(0), F(10, 7)))  # ties in the first channel only
    graph = GraphBuilder((1, 1, 2), int_type(24)).add("bn", norm) \
        .add("act", Quantize(int_type(16), F(4))).build()
    op = fold_activations(graph).nodes[-1].op
    assert op.rounding == "half_even"
    folded(graph, both_sides(op, int_type(24), 2))


def test_many_levels_that_no_multiplication_equals_are_refused():
    graph = GraphBuilder((1, 1, 2), int_type(24)) \
        .add("leaky", LeakyRelu((F(1, 3),))).add("act", Quantize(int_type(16), F(4))).build()
    with pytest.raises(ModelError, match=r"^act: 65535 levels are too many to compare with \(at "
                       r"most 4096\), and no multiplier and shift equals this activation for every "
                       r"value of x \(INT24 \(-8388608\.\.8388607\)\); choose an output type of at "
                       r"most 12 bits, or a scale that is a power of two times that of x$"):
        fold_activations(graph)


def test_many_levels_of_few_inputs_become_a_table():
    op, = fold(int_type(8), LeakyRelu((F(1, 3), F(1, 7))), Quantize(int_type(16), F(1, 300)),
               channels=2)
    assert isinstance(op, Table)
    assert op.values.shape == (2, 256)


def test_many_levels_of_few_inputs_that_equal_a_shift_need_no_table():
    op, = fold(int_type(6), Quantize(int_type(14), F(1, 256)))
    assert isinstance(op, Requantize)
    assert op.multiplier.tolist() == [256]


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_every_function_is_exact(name):
    for scale, offset in ((F(1, 8), F(0)), (F(3, 7), F(-1, 3)), (F(40), F(1)), (F(-1, 5), F(2))):
        for step, rounding in ((F(1, 16), "half_even"), (F(1, 8), "floor"), (F(1, 10), "ceil")):
            fold(int_type(7), Function(name), Quantize(int_type(6), step, 0, rounding),
                 scale=scale, offset=offset)


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_only_functions_that_fall_become_tables(name):
    op, = fold(int_type(7), Function(name), Quantize(int_type(7), F(1, 16)), scale=F(1, 8))
    assert isinstance(op, Requantize | Threshold if FUNCTIONS[name].rising else Table)


def test_behind_a_function_quantizers_and_channels_are_folded_together():
    norm = Affine((F(1, 3), F(-2), F(0)), (F(1), F(0), F(-1)))
    op, = fold(int_type(6), norm, Function("tanh"), LeakyRelu((F(0), F(1, 2), F(2))),
               Function("sigmoid"), Quantize(uint_type(4), (F(1, 20), F(1, 30), F(1, 9))),
               channels=3, scale=F(1, 4))
    assert isinstance(op, Threshold)
    assert op.negate.tolist() == [False, True, False]


def test_a_function_whose_values_reach_a_bound_by_rounding_is_exact_at_each_input():
    # tanh is 1 from some input on, only because float64 has no larger number below 1.
    op, = fold(int_type(12), Function("tanh"), Quantize(int_type(4), F(1), 0, "floor"),
               scale=F(1, 64))
    first = next(x for x in range(2048) if math.tanh(x / 64) == 1)
    assert op.levels[0].tolist()[-8:] == [0, first] + [2048] * 6


def test_a_function_too_near_to_a_bound_for_too_many_inputs_is_refused():
    graph = GraphBuilder((1,), int_type(20), F(1, 64)).add("tanh", Function("tanh")) \
        .add("act", Quantize(int_type(4), F(1), 0, "floor")).build()
    with pytest.raises(ModelError, match=r"^act: for \d+ values of x the function is as good as "
                       r"equal to the bound of code -1, and rounding errors would decide; choose "
                       r"another scale, or put a quantizer of at most 12 bits in front of it$"):
        fold_activations(graph)


def test_a_chain_that_falls_and_rises_keeps_one_table_for_channels_alike():
    op, = fold(int_type(5), Function("abs"), Quantize(uint_type(3), F(2)), channels=4)
    assert op.values.shape == (1, 32)
    op, = fold(int_type(5), LeakyRelu((F(-1), F(1))), Quantize(uint_type(3), F(2)), channels=2)
    assert op.values.shape == (2, 32)


def test_a_chain_that_only_seems_to_turn_becomes_a_shift():
    op, = fold(uint_type(5), Function("abs"), Quantize(uint_type(3), F(4), 0, "floor"))
    assert isinstance(op, Requantize)
    op, = fold(int_type(5), Clamp(None, F(0)), Function("abs"), Quantize(uint_type(2), F(3)))
    assert isinstance(op, Threshold)
    assert op.negate.tolist() == [True]


def test_a_table_of_a_bipolar_input_has_three_entries():
    op, = fold(BIPOLAR, LeakyRelu((F(-3),)), Quantize(uint_type(3), F(1)))
    assert isinstance(op, Threshold | Table)
    op, = fold(BIPOLAR, Function("gelu"), Quantize(int_type(14), F(1, 3000)))
    assert op.values.shape == (1, 3)


def test_a_table_starts_at_the_tensor_of_fewest_integers():
    builder = GraphBuilder((1, 256, 1), int_type(8)).add("q", Quantize(int_type(4), F(8)))
    result = folded(builder.add("abs", Function("abs")).add("act", Quantize(uint_type(3), F(8)))
                    .build(), all_values(int_type(8), 1))
    assert [type(n.op) for n in result.nodes] == [Requantize, Table]
    assert result.node("act").op.values.shape == (1, 16)


def test_a_table_of_too_many_inputs_is_refused():
    graph = GraphBuilder((1,), int_type(14)).add("gelu", Function("gelu")) \
        .add("act", Quantize(int_type(4), F(1))).build()
    with pytest.raises(ModelError, match=r"^act: the activation rises and falls, so it needs a "
                       r"table of the values of x \(INT14 \(-8192\.\.8191\)\), which has 16384 "
                       r"entries \(at most 4096\); put a quantizer of at most 12 bits in front of "
                       r"it$"):
        fold_activations(graph)


def test_a_prelu_has_a_row_of_levels_for_each_slope():
    op, = fold(int_type(6), LeakyRelu((F(1, 4), F(0), F(3))), Quantize(int_type(5), F(2)),
               channels=3, offset=F(1, 3))
    assert isinstance(op, Threshold)
    assert len(op.levels) == 3


def test_scales_for_each_channel_and_a_fractional_zero_point_are_exact():
    for rounding in ROUNDINGS:
        fold(int_type(6), Quantize(int_type(4), (F(1), F(3, 2), F(2)), F(5, 3), rounding, (-6, 5)),
             channels=3)


def test_real_numbers_at_the_output_are_refused():
    graph = GraphBuilder((2,), int_type(4), 1, F(1, 2)).add("relu", RELU).build()
    with pytest.raises(ModelError, match="^relu: its result reaches the output unquantized; put a "
                       "quantize or threshold layer between relu and the output$"):
        fold_activations(graph)


def test_real_numbers_in_a_pool_are_refused():
    graph = GraphBuilder((2, 2, 1), int_type(4), 1, F(1, 2)).add("relu", RELU) \
        .add("bn", Affine((F(1),), (F(0),))).add("pool", MaxPool((2, 2), (2, 2))) \
        .add("act", Quantize(int_type(4), F(1))).build()
    with pytest.raises(ModelError, match="^relu: its result reaches pool unquantized; put a "
                       "quantize or threshold layer between relu and pool$"):
        fold_activations(graph)


def test_a_network_that_only_rescales_is_refused():
    graph = GraphBuilder((2,), int_type(4)).add("bn", Affine((F(2),), (F(0),))).build()
    with pytest.raises(ModelError, match="^bn: the network only rescales its input x; there is "
                       "nothing to build$"):
        fold_activations(graph)
