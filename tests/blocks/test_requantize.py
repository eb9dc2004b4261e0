import numpy as np
import pytest

from hwgen.blocks.activation_kinds import activation_of
from hwgen.blocks.requantize import signed_digits
from hwgen.ops import ROUNDINGS, Clip, Requantize
from hwgen.types import BIPOLAR, TERNARY, int_type, smallest_type, uint_type
from tests.activations import check_all_values


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
    assert activation_of(op, kind, out_type, 1, 1).estimate().dsp == dsp
    check_all_values(op, kind, out_type)


@pytest.mark.parametrize("lanes", [1, 2, 4])
@pytest.mark.parametrize("rounding", ["floor", "half_up", "half_even"])
@pytest.mark.parametrize("shifts, dsp", [([2, 1, 2, 2], 0), ([0, 1, 5, 3], 0), ([2, 1, 2, 1], 0)])
def test_unlike_shifts_of_channels_take_no_dsp_slices(shifts, dsp, rounding, lanes):
    op = Requantize([1], shifts, 1, rounding, uint_type(4), [0, 3, -2, 0])
    assert activation_of(op, int_type(8), uint_type(4), 4, lanes).estimate().dsp == dsp
    check_all_values(op, int_type(8), uint_type(4), 4, lanes)


def test_more_than_a_few_shifts_take_dsp_slices():
    op = Requantize([1], [0, 1, 2, 3, 4], 0, "floor", uint_type(4))
    assert activation_of(op, int_type(8), uint_type(4), 5, 1).estimate().dsp == 1
    check_all_values(op, int_type(8), uint_type(4), 5, 1)


@pytest.mark.parametrize("kind", [BIPOLAR, TERNARY, uint_type(3)])
def test_factors_per_channel_multiply_every_type(kind):
    op = Requantize([3, -16777213, 1, 0], [0], 0, "floor", int_type(30))
    check_all_values(op, kind, int_type(30), 4, 2)


@pytest.mark.parametrize("low, high", [(0, None), (None, 3), (0, 6), (-3, -1), (5, 30), (-40, -20),
                                       (20, 40)])
@pytest.mark.parametrize("kind", [int_type(5), uint_type(4), BIPOLAR, TERNARY])
def test_clip_clamps_every_type(kind, low, high):
    op = Clip(low, high)
    out_type = op.result_type((kind,), ((1, 1, 1),))
    check_all_values(op, kind, out_type)


def test_signed_digits_are_few_and_apart():
    for number in range(-300, 301):
        digits = signed_digits(number)
        assert sum(sign << exponent for sign, exponent in digits) == number
        assert all(b - a > 1 for (_, a), (_, b) in zip(digits, digits[1:]))
