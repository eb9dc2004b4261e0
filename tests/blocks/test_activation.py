"""Activation units, run behind an Elementwise block on every value that their input can have."""

import numpy as np
import pytest

from hwgen.blocks.activation import Activation, signed_digits
from hwgen.blocks.elementwise import ElementwiseConfig
from hwgen.ops import ROUNDINGS, Bias, Clip, Requantize, Table, Threshold
from hwgen.streams import TensorStream
from hwgen.types import BIPOLAR, TERNARY, int_type, smallest_type, uint_type
from tests.streams import check_block


def check_all_values(op, in_type, out_type, channels=1, lanes=1, values=None):
    """Every value of the input type (or those given) in every channel, at predicted clocks."""
    if values is None:
        values = np.arange(in_type.low, in_type.high + 1)
        values = values[in_type.contains(values)]
    frame = np.repeat(np.asarray(values), channels).reshape(1, 1, -1, channels)
    stream = TensorStream(in_type, frame.shape[1:], lanes)
    config = ElementwiseConfig(stream, ((op, out_type),), fifo_depth=32)
    check_block(config, tensors=[frame], stalls=((1.0, 1.0),))


# Threshold.

@pytest.mark.parametrize("count", range(1, 10))
def test_threshold_counts_levels(count):
    levels = np.sort(np.random.default_rng(count).choice(np.arange(-15, 16), count, replace=False))
    check_all_values(Threshold(levels[None], [False], uint_type(4)), int_type(5), uint_type(4))


@pytest.mark.parametrize("lanes", [1, 2, 4])
@pytest.mark.parametrize("negate", [[False] * 4, [True] * 4, [False, True, True, False]])
def test_threshold_has_levels_and_direction_per_channel(negate, lanes):
    levels = [[-16, -3, 2], [-1, 0, 15], [4, 4, 4], [-9, -8, 7]]
    check_all_values(Threshold(levels, negate, uint_type(2)), int_type(5), uint_type(2), 4, lanes)


@pytest.mark.parametrize("channels, lanes", [(3, 1), (6, 2), (5, 5), (5, 1)])
def test_threshold_of_any_number_of_groups(channels, lanes):
    rng = np.random.default_rng(channels)
    levels = np.sort(rng.integers(-8, 9, (channels, 3)), axis=1)
    op = Threshold(levels, rng.random(channels) < 0.5, uint_type(2))
    check_all_values(op, int_type(4), uint_type(2), channels, lanes)


@pytest.mark.parametrize("negate", [False, True])
@pytest.mark.parametrize("level", [-1000, -9, -8, -7, 0, 7, 8, 9, 1000])
def test_levels_beyond_the_input_are_always_or_never_reached(level, negate):
    op = Threshold([[level]], [negate], BIPOLAR, -1, 2)
    check_all_values(op, int_type(4), BIPOLAR)


@pytest.mark.parametrize("negate", [False, True])
@pytest.mark.parametrize("channels, lanes", [(1, 1), (4, 1), (4, 4)])
def test_threshold_has_levels_all_over_an_unsigned_input(channels, lanes, negate):
    levels = np.array([[0, 1, 16, 31, 32], [-3, 17, 30, 31, 40], [15, 16, 16, 17, 31],
                       [20, 24, 28, 32, 32]])[:channels]
    levels = 1 - levels[:, ::-1] if negate else levels
    check_all_values(Threshold(levels, [negate] * channels, uint_type(3)), uint_type(5),
                     uint_type(3), channels, lanes)


@pytest.mark.parametrize("kind", [BIPOLAR, TERNARY, uint_type(1), uint_type(5), int_type(2)])
def test_threshold_takes_every_type(kind):
    check_all_values(Threshold([[0, 1]], [False], uint_type(2)), kind, uint_type(2))
    check_all_values(Threshold([[0, 1]], [True], uint_type(2)), kind, uint_type(2))


@pytest.mark.parametrize("negate", [False, True])
@pytest.mark.parametrize("out_type, base, step, count", [
    (BIPOLAR, -1, 2, 1), (TERNARY, -1, 1, 2), (int_type(4), -8, 5, 3), (int_type(4), 7, -3, 4)])
def test_threshold_gives_base_and_steps(out_type, base, step, count, negate):
    levels = np.arange(count)[None] * 3 - 4
    check_all_values(Threshold(levels, [negate], out_type, base, step), int_type(5), out_type)


FORMS = {  # input type, output type, channels, lanes
    "table": [(int_type(6), uint_type(2), 3, 3), (uint_type(4), uint_type(3), 12, 4),
              (TERNARY, int_type(3), 8, 1), (BIPOLAR, BIPOLAR, 5, 1)],
    "parallel": [(int_type(8), uint_type(2), 3, 3), (uint_type(9), uint_type(3), 2, 2),
                 (int_type(9), uint_type(2), 12, 4), (int_type(7), BIPOLAR, 8, 2),
                 (uint_type(8), int_type(3), 6, 2)],
    "search": [(int_type(8), uint_type(4), 2, 2), (int_type(9), uint_type(2), 16, 1),
               (uint_type(8), uint_type(3), 40, 4)]}


@pytest.mark.parametrize("falls", ["none", "all", "some"])
@pytest.mark.parametrize("form, in_type, out_type, channels, lanes", [
    (form, *case) for form, cases in FORMS.items() for case in cases], ids=str)
def test_every_form_of_threshold_is_exact_for_all_values(form, in_type, out_type, channels, lanes,
                                                         falls):
    rng = np.random.default_rng(channels)
    count = 1 if out_type.bipolar else min((1 << out_type.width) - 1, 15)
    levels = np.sort(rng.integers(in_type.low - 2, in_type.high + 3, (channels, count)), axis=1)
    negate = {"none": np.zeros(channels, bool), "all": np.ones(channels, bool),
              "some": np.arange(channels) % 3 == 1}[falls]
    base, step = (-1, 2) if out_type.bipolar else (out_type.low, 1)
    op = Threshold(np.where(negate[:, None], 1 - levels[:, ::-1], levels), negate, out_type, base,
                   step)
    assert Activation.of(op, in_type, out_type, channels, lanes).form == form
    check_all_values(op, in_type, out_type, channels, lanes)


@pytest.mark.parametrize("channels", [32, 64, 200])
@pytest.mark.parametrize("in_type", [BIPOLAR, uint_type(1), int_type(2), uint_type(3)],
                         ids=lambda t: t.name)
def test_narrow_numbers_of_many_groups_are_exact(in_type, channels):
    rng = np.random.default_rng(channels)
    levels = np.sort(rng.integers(in_type.low, in_type.high + 2, (channels, 2)), axis=1)
    check_all_values(Threshold(levels, rng.random(channels) < 0.5, uint_type(2)), in_type,
                     uint_type(2), channels)


@pytest.mark.parametrize("form, latency", [("table", 1), ("parallel", 2), ("search", 5)])
def test_latency_of_each_form_of_threshold(form, latency):
    in_type, out_type, channels, lanes = FORMS[form][0]
    op = Threshold(np.arange((1 << out_type.width) - 1)[None], [False], out_type)
    unit = Activation.of(op, in_type, out_type, channels, lanes)
    assert (unit.form, unit.latency) == (form, latency)


def test_threshold_of_more_groups_than_a_lut_selects():
    rng = np.random.default_rng(3)
    levels = np.sort(rng.integers(-40, 41, (67, 3)), axis=1)
    op = Threshold(levels, rng.random(67) < 0.5, uint_type(2))
    unit = Activation.of(op, int_type(6), uint_type(2), 67, 1)
    assert unit.latency == 2 * 2 + 1  # both bits' constants take a clock of their own
    check_all_values(op, int_type(6), uint_type(2), 67, 1, values=[-32, -7, 0, 6, 31])


# Requantize and clip.

@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("multiplier, shift", [(1, 0), (1, 1), (1, 3), (3, 2), (-5, 3), (7, 0),
                                               (1, 9)])
def test_requantize_rounds_in_every_mode(multiplier, shift, rounding):
    op = Requantize([multiplier], [shift], 0, rounding, int_type(4))
    check_all_values(op, int_type(6), int_type(4))


@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_requantize_of_unsigned_values_rounds_in_every_mode(rounding):
    op = Requantize([3], [3], -4, rounding, int_type(4))
    check_all_values(op, uint_type(5), int_type(4))


@pytest.mark.parametrize("zero_point", [-5, 1, 100])
@pytest.mark.parametrize("out_type", [int_type(3), uint_type(3), TERNARY, int_type(9)])
def test_requantize_adds_the_zero_point_and_saturates(out_type, zero_point):
    op = Requantize([3], [1], zero_point, "half_even", out_type)
    check_all_values(op, int_type(5), out_type)


@pytest.mark.parametrize("lanes", [1, 2, 4])
def test_requantize_scales_each_channel(lanes):
    op = Requantize([3, -7, 0, 12], [0, 4, 2, 3], 2, "half_away", int_type(5))
    check_all_values(op, int_type(5), int_type(5), 4, lanes)


@pytest.mark.parametrize("shift", [0, 1, 9])
@pytest.mark.parametrize("zero_point", [-100, 100])
def test_requantize_of_a_large_zero_point_stays_exact(zero_point, shift):
    op = Requantize([1], [shift], zero_point, "half_even", int_type(8))
    check_all_values(op, int_type(5), int_type(8))


def test_requantize_of_wide_accumulators():
    kind = int_type(24)
    op = Requantize([12345, -32768], [20, 24], 3, "half_even", int_type(8))
    rng = np.random.default_rng(0)
    values = [kind.low, kind.high, 0, 1, -1, *rng.integers(kind.low, kind.high, 60)]
    check_all_values(op, kind, int_type(8), 2, 1, values)


def tflite(x: int, multiplier: int, shift: int) -> int:
    """As TensorFlow Lite's reference kernels: SaturatingRoundingDoublingHighMul, then
    RoundingDivideByPOT; division truncates as in C."""
    product = x * multiplier
    nudge = 1 << 30 if product >= 0 else 1 - (1 << 30)
    high = abs(product + nudge) >> 31
    high = high if product + nudge >= 0 else -high
    exponent = shift - 31
    mask = (1 << exponent) - 1
    threshold = (mask >> 1) + (high < 0)
    return (high >> exponent) + ((high & mask) > threshold)


@pytest.mark.parametrize("shift", [32, 33, 38, 45])
def test_requantize_rounds_twice_as_tensorflow_lite(shift):
    kind = int_type(20)
    rng = np.random.default_rng(shift)
    values = np.array([kind.low, kind.high, 0, *rng.integers(kind.low, kind.high, 200),
                       *range(-40, 40)])
    multiplier = 1518500250
    op = Requantize([multiplier], [shift], -3, "tflite", int_type(12))
    expected = [min(max(tflite(int(v), multiplier, shift) - 3, -2048), 2047) for v in values]
    np.testing.assert_array_equal(op.compute(values[:, None])[:, 0], expected)
    check_all_values(op, kind, int_type(12), values=values)


@pytest.mark.parametrize("lanes", [1, 2, 4])
def test_tensorflow_lite_rounds_by_the_shift_of_each_channel(lanes):
    kind = int_type(20)
    values = np.random.default_rng(5).integers(kind.low, kind.high, 60)
    op = Requantize([1518500250, 1200000001, 1999999999, 1073741824], [35, 31, 29, 38], 2, "tflite",
                    int_type(16))
    check_all_values(op, kind, int_type(16), 4, lanes, values)


@pytest.mark.parametrize("shift", [0, 1, 5, 31])
def test_tensorflow_lite_rounds_once_by_few_bits(shift):
    op = Requantize([3], [shift], 1, "tflite", int_type(5))
    np.testing.assert_array_equal(op.compute(np.arange(-32, 32)),
                                  Requantize([3], [shift], 1, "half_up", int_type(5))
                                  .compute(np.arange(-32, 32)))
    check_all_values(op, int_type(6), int_type(5))


@pytest.mark.parametrize("factor, dsp", [(1, 0), (8, 0), (-4, 0), (7, 0), (11, 0), (-13, 0),
                                         (0b10101010101, 1), (12345678, 1), (0, 1),
                                         (1234567890123, 2)])
def test_a_constant_factor_takes_wires_or_shifted_sums_or_dsp_slices(factor, dsp):
    kind = int_type(6)
    ends = sorted((factor * kind.low, factor * kind.high))
    out_type = smallest_type(*ends)
    op = Requantize([factor], [0], 0, "floor", out_type)
    assert Activation.of(op, kind, out_type, 1, 1).estimate().dsp == dsp
    check_all_values(op, kind, out_type)


@pytest.mark.parametrize("kind", [BIPOLAR, TERNARY, uint_type(3)])
def test_factors_per_channel_multiply_every_type(kind):
    op = Requantize([3, -16777213, 1, 0], [0], 0, "floor", int_type(30))
    check_all_values(op, kind, int_type(30), 4, 2)


def test_signed_digits_are_few_and_apart():
    for number in range(-300, 301):
        digits = signed_digits(number)
        assert sum(sign << exponent for sign, exponent in digits) == number
        assert all(b - a > 1 for (_, a), (_, b) in zip(digits, digits[1:]))


# Table.

@pytest.mark.parametrize("kind", [BIPOLAR, TERNARY, uint_type(1), uint_type(5), int_type(4)])
@pytest.mark.parametrize("out_type", [BIPOLAR, TERNARY, int_type(7)])
def test_table_gives_any_function_of_every_type(kind, out_type):
    rng = np.random.default_rng(0)
    values = rng.integers(out_type.low, out_type.high + 1, (1, kind.high - kind.low + 1))
    values[~out_type.contains(values)] = 1
    check_all_values(Table(values, kind.low, out_type), kind, out_type)


@pytest.mark.parametrize("lanes", [1, 2, 3, 6])
def test_table_is_one_for_each_channel(lanes):
    rng = np.random.default_rng(1)
    op = Table(rng.integers(-8, 8, (6, 16)), -8, int_type(4))
    check_all_values(op, int_type(4), int_type(4), 6, lanes)


@pytest.mark.parametrize("channels, bits, style", [(1, 8, "logic"), (3, 12, "block")])
def test_large_tables_are_block_ram(channels, bits, style):
    rng = np.random.default_rng(2)
    kind = int_type(bits)
    op = Table(rng.integers(0, 256, (channels, 1 << bits)), kind.low, uint_type(8))
    assert Activation.of(op, kind, uint_type(8), channels, 1).style == style
    check_all_values(op, kind, uint_type(8), channels, 1,
                     values=[kind.low, kind.high, *rng.integers(kind.low, kind.high, 100)])


@pytest.mark.parametrize("low, high", [(0, None), (None, 3), (0, 6), (-3, -1), (5, 30), (-40, -20),
                                       (20, 40)])
@pytest.mark.parametrize("kind", [int_type(5), uint_type(4), BIPOLAR, TERNARY])
def test_clip_clamps_every_type(kind, low, high):
    op = Clip(low, high)
    out_type = op.result_type((kind,), ((1, 1, 1),))
    check_all_values(op, kind, out_type)


# Bias.

@pytest.mark.parametrize("lanes", [1, 2, 4])
@pytest.mark.parametrize("kind", [int_type(4), uint_type(4), BIPOLAR, TERNARY])
def test_bias_adds_a_number_per_channel(kind, lanes):
    op = Bias(np.array([0, -9, 5, 16]))
    check_all_values(op, kind, op.result_type((kind,), ((1, 1, 4),)), 4, lanes)


def test_bias_of_non_negative_sums_is_unsigned():
    op = Bias(np.array([8]))
    assert op.result_type((int_type(4),), ((1, 1, 1),)) == uint_type(4)
    check_all_values(op, int_type(4), uint_type(4))


def test_estimates_grow_with_lanes_and_levels():
    def lut(levels, lanes):
        op = Threshold(np.arange(levels)[None], [False], uint_type(4))
        return Activation.of(op, int_type(8), uint_type(4), 4, lanes).estimate().lut

    assert lut(3, 1) < lut(15, 1) < lut(15, 4)
