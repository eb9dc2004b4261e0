"""Operations against their definitions, one value at a time."""

from fractions import Fraction
from itertools import product

import numpy as np
import pytest

from hwgen.ops import (
    ROUNDINGS,
    Add,
    ArgMax,
    Bias,
    Clip,
    Concat,
    Conv,
    MaxPool,
    Requantize,
    Reshape,
    SumPool,
    Threshold,
    Upsample,
    round_fraction,
    round_shift,
)
from hwgen.real_ops import REAL, Affine, Clamp, Quantize, RealThreshold
from hwgen.types import BIPOLAR, TERNARY, int_type, smallest_type, uint_type


def rng(seed=0):
    return np.random.default_rng(seed)


def padded_value(x, row, column, value):
    """Value at a place that may lie in the padding."""
    inside = 0 <= row < x.shape[0] and 0 <= column < x.shape[1]
    return x[row, column].tolist() if inside else [value] * x.shape[2]


def conv_by_definition(op, x):
    height, width, out = op.shape(x.shape[1:])
    result = np.zeros((len(x), height, width, out), dtype=object)
    group_in, group_out = op.weights.shape[2], out // op.groups
    for n, i, j, m in np.ndindex(result.shape):
        total = int(op.bias[m])
        for di, dj in product(range(op.kernel[0]), range(op.kernel[1])):
            pixel = padded_value(x[n], i * op.stride[0] + di * op.dilation[0] - op.pad[0],
                                 j * op.stride[1] + dj * op.dilation[1] - op.pad[2], op.pad_value)
            for c in range(group_in):
                total += pixel[m // group_out * group_in + c] * int(op.weights[di, dj, c, m])
        result[n, i, j, m] = total
    return result


def pool_by_definition(op, x, combine):
    height, width, channels = op.shape(x.shape[1:])
    result = np.zeros((len(x), height, width, channels), dtype=np.int64)
    for n, i, j, c in np.ndindex(result.shape):
        rows = range(i * op.stride[0] - op.pad[0], i * op.stride[0] - op.pad[0] + op.kernel[0])
        columns = range(j * op.stride[1] - op.pad[2], j * op.stride[1] - op.pad[2] + op.kernel[1])
        result[n, i, j, c] = combine(x[n, r, k, c] for r in rows for k in columns
                                     if 0 <= r < x.shape[1] and 0 <= k < x.shape[2])
    return result


@pytest.mark.parametrize("mode", ROUNDINGS)
def test_rounding_a_fraction_is_to_a_neighbour_and_ties_go_as_named(mode):
    for x in (Fraction(n, 4) for n in range(-12, 13)):
        result = round_fraction(x, mode)
        assert abs(result - x) < 1
        if mode.startswith("half") and x.denominator != 2:
            assert abs(result - x) < Fraction(1, 2)
    ties = [round_fraction(Fraction(n, 2), mode) for n in (-3, -1, 1, 3)]
    assert ties == {"floor": [-2, -1, 0, 1], "ceil": [-1, 0, 1, 2], "toward_zero": [-1, 0, 0, 1],
                    "half_up": [-1, 0, 1, 2], "half_down": [-2, -1, 0, 1],
                    "half_even": [-2, 0, 0, 2], "half_away": [-2, -1, 1, 2],
                    "away_from_zero": [-2, -1, 1, 2], "half_toward_zero": [-1, 0, 0, 1]}[mode]


@pytest.mark.parametrize("dtype", [np.int64, object])
@pytest.mark.parametrize("mode", ROUNDINGS)
def test_shifting_rounds_as_the_fraction_does(mode, dtype):
    x = np.arange(-40, 41).astype(dtype)
    for shift in range(5):
        expected = [round_fraction(Fraction(int(v), 2**shift), mode) for v in x]
        assert round_shift(x, shift, mode).tolist() == expected


CONVS = {
    "dense": ((1, 1, 20), (1, 1, 20, 7), {}),
    "3x3": ((6, 5, 3), (3, 3, 3, 4), {}),
    "stride and unequal padding": ((7, 6, 2), (3, 2, 2, 3),
                                   dict(stride=(2, 3), pad=(1, 2, 0, 3), pad_value=-3)),
    "dilation": ((9, 8, 2), (3, 3, 2, 2), dict(dilation=(2, 3))),
    "groups": ((4, 5, 6), (2, 2, 2, 9), dict(groups=3)),
    "depthwise": ((4, 4, 5), (3, 3, 1, 5), dict(groups=5, pad=(1, 1, 1, 1))),
    "one row": ((1, 12, 3), (1, 4, 3, 2), dict(pad=(0, 0, 2, 1), stride=(1, 2))),
}


@pytest.mark.parametrize("shape, weights, options", CONVS.values(), ids=CONVS.keys())
def test_convolution_equals_its_definition(shape, weights, options):
    op = Conv(rng().integers(-8, 8, weights), int_type(4), rng(1).integers(-50, 50, weights[3]),
              **options)
    x = rng(2).integers(-128, 128, (2, *shape))
    result = op.compute(x)
    assert result.dtype == np.int64
    np.testing.assert_array_equal(result, conv_by_definition(op, x))


@pytest.mark.parametrize("bits", [8, 21, 22, 23, 24, 50, 52, 53, 54])
def test_convolution_is_exact_where_floating_point_begins_to_round(bits):
    op = Conv([[[[1, 1], [1, -1]]]], int_type(2), [0, 0])
    top = 1 << bits
    for pixel in ([top - 1, top - 2], [top - 1, 1 - top], [top, 1], [3 - top, -2]):
        x = np.array([[[pixel]]])  # alone: the largest value decides how sums are computed
        np.testing.assert_array_equal(op.compute(x), conv_by_definition(op, x))


def test_convolution_is_exact_with_a_padding_larger_than_its_input():
    op = Conv(np.ones((3, 3, 1, 1)), int_type(2), [0], pad=(1, 1, 1, 1), pad_value=2**23 + 1)
    x = np.ones((1, 3, 3, 1), dtype=np.int64)
    np.testing.assert_array_equal(op.compute(x), conv_by_definition(op, x))


def test_convolution_of_many_frames_equals_one_by_one(monkeypatch):
    monkeypatch.setattr("hwgen.ops.WINDOW_ELEMENTS", 500)
    op = Conv(rng().integers(-2, 3, (3, 3, 2, 3)), int_type(3), [1, 2, 3])
    x = rng(1).integers(0, 16, (7, 6, 6, 2))
    np.testing.assert_array_equal(op.compute(x),
                                  np.concatenate([op.compute(frame[None]) for frame in x]))


@pytest.mark.parametrize("in_type", [BIPOLAR, TERNARY, int_type(3), uint_type(2)])
def test_accumulator_type_is_the_narrowest(in_type):
    weights = np.array([[1, -1, 0, 1], [-1, -1, 2, 0]]).T.reshape(1, 1, 4, 2)
    op = Conv(weights, int_type(3), [3, -2])
    values = [v for v in range(in_type.low, in_type.high + 1) if in_type.contains(v)]
    sums = op.compute(np.array(list(product(values, repeat=4)))[:, None, None])
    dtype = op.result_type((in_type,), ((1, 1, 4),))
    assert dtype.contains(sums).all()
    narrower = int_type(dtype.width - 1)
    assert not narrower.contains(sums).all()


def test_accumulator_type_counts_the_padding():
    op = Conv(np.ones((2, 2, 1, 1)), uint_type(1), [0], pad=(1, 1, 1, 1), pad_value=-5)
    assert op.result_type((uint_type(1),), ((3, 3, 1),)) == int_type(6)  # -20..4


POOLS = [((5, 6), (2, 2), (2, 2), (0, 0, 0, 0)), ((7, 7), (3, 3), (2, 2), (0, 0, 0, 0)),
         ((5, 5), (3, 3), (1, 1), (1, 1, 1, 1)), ((4, 6), (3, 2), (2, 3), (2, 1, 0, 1)),
         ((6, 5), (6, 5), (6, 5), (0, 0, 0, 0)), ((1, 9), (1, 4), (1, 2), (0, 0, 3, 2))]


@pytest.mark.parametrize("size, kernel, stride, pad", POOLS)
def test_pooling_equals_its_definition(size, kernel, stride, pad):
    x = rng().integers(-9, 10, (2, *size, 3))
    for pool, combine in ((MaxPool, max), (SumPool, sum)):
        op = pool(kernel, stride, pad)
        np.testing.assert_array_equal(op.compute(x), pool_by_definition(op, x, combine))


def test_padding_of_pooling_must_be_smaller_than_the_kernel():
    with pytest.raises(ValueError, match=r"pad \[0, 2, 0, 0\] must be smaller than the kernel"):
        MaxPool((2, 2), (1, 1), (0, 2, 0, 0)).shape((4, 4, 1))


def test_sum_pool_type_counts_padding_as_zero():
    assert SumPool((2, 2), (2, 2)).result_type((BIPOLAR,), ((4, 4, 1),)) == int_type(4)
    low = SumPool((1, 3), (1, 3), (0, 0, 1, 0)).result_type((uint_type(2),), ((1, 5, 1),))
    assert low == uint_type(4)


def threshold_by_definition(op, x):
    result = np.empty_like(x)
    for place, value in np.ndenumerate(x):
        c = place[-1]
        negate = op.negate[c % len(op.negate)]
        levels = op.levels[c % len(op.levels)]
        count = sum((-value if negate else value) >= level for level in levels)
        result[place] = op.base + op.step * count
    return result


# Small ranges take the table, wide ones comparisons or a search.
@pytest.mark.parametrize("spread, frames", [(20, 50), (10**6, 3), (10**15, 3)])
@pytest.mark.parametrize("rows, falling, number", [(1, 1, 3), (4, 4, 15), (4, 1, 40), (1, 4, 40),
                                                   (4, 4, 1)])
def test_threshold_equals_its_definition(spread, frames, rows, falling, number):
    levels = np.sort(rng(1).integers(-spread, spread, (rows, number)), axis=1)
    negate = rng(2).integers(0, 2, falling).astype(bool)
    op = Threshold(levels, negate, int_type(8), base=-3, step=2)
    x = rng(3).integers(-spread, spread, (frames, 3, 2, 4))
    x[0, :, 0, :] = levels[:, :1].T  # at, just below and just above a level
    x[0, 1] -= 1
    x[0, 2] += 1
    np.testing.assert_array_equal(op.compute(x), threshold_by_definition(op, x))
    np.testing.assert_array_equal(op.compute(-x), threshold_by_definition(op, -x))


def test_threshold_takes_an_empty_batch():
    op = Threshold([[0]], [False], BIPOLAR, -1, 2)
    assert op.compute(np.empty((0, 2, 2, 3), dtype=np.int64)).shape == (0, 2, 2, 3)


@pytest.mark.parametrize("mode", ROUNDINGS)
def test_requantize_equals_its_definition(mode):
    op = Requantize([3, -5, 1], [2, 4, 0], 2, mode, int_type(5))
    x = np.arange(-60, 61)[:, None, None, None] * np.ones(3, dtype=np.int64)
    expected = [[min(max(round_fraction(Fraction(v * m, 2**s), mode) + 2, -16), 15)
                 for m, s in ((3, 2), (-5, 4), (1, 0))] for v in range(-60, 61)]
    assert op.compute(x)[:, 0, 0].tolist() == expected


def test_requantize_is_exact_beyond_64_bits():
    op = Requantize([2**31 - 1], [48], 0, "half_even", int_type(40))
    x = np.array([2**40 + 3, -(2**40) - 3, 2**55, -(2**55)])[:, None, None, None]
    result = op.compute(x)
    assert result.dtype == np.int64
    assert result.ravel().tolist() == [
        min(max(round_fraction(Fraction(int(v) * (2**31 - 1), 2**48), "half_even"), -2**39),
            2**39 - 1) for v in x.ravel()]


@pytest.mark.parametrize("in_type", [BIPOLAR, TERNARY, int_type(4), uint_type(3)])
def test_clip_type_is_the_narrowest_that_holds_every_output(in_type):
    values = [v for v in range(in_type.low, in_type.high + 1) if in_type.contains(v)]
    x = np.array(values)[:, None, None, None]
    bounds = [None, *range(-10, 11)]
    for low, high in product(bounds, bounds):
        if low is not None and high is not None and low > high:
            continue
        op = Clip(low, high)
        result = op.compute(x).ravel().tolist()
        assert result == [min(max(v, v if low is None else low), 99 if high is None else high)
                          for v in values]
        dtype = op.result_type((in_type,), ((1, 1, 1),))
        assert dtype.contains(result).all()
        assert dtype in (in_type, smallest_type(min(result), max(result)))


def test_bias_adds_one_number_for_each_channel():
    op = Bias([3, -4])
    assert op.compute(np.array([[[[1, 2]]]])).tolist() == [[[[4, -2]]]]
    assert op.result_type((uint_type(2),), ((1, 1, 2),)) == int_type(4)  # -4..6


def test_add_sums_all_inputs():
    x = rng().integers(-8, 8, (3, 2, 2, 2, 2))
    np.testing.assert_array_equal(Add().compute(*x), x.sum(axis=0))
    assert Add().result_type((int_type(4),) * 3, ((2, 2, 2),) * 3) == int_type(6)
    with pytest.raises(ValueError, match=r"shapes differ: \[1, 2, 3\], \[1, 2, 4\]"):
        Add().shape((1, 2, 3), (1, 2, 4))


def test_concat_puts_channels_side_by_side():
    a, b = np.array([[[[1, 2]]]]), np.array([[[[3]]]])
    assert Concat().compute(a, b).tolist() == [[[[1, 2, 3]]]]
    assert Concat().result_type((BIPOLAR, BIPOLAR), ()) == BIPOLAR
    assert Concat().result_type((uint_type(4), int_type(2)), ()) == int_type(5)
    with pytest.raises(ValueError, match="heights and widths differ"):
        Concat().shape((1, 2, 3), (1, 3, 3))


def test_flatten_runs_through_channels_fastest():
    x = np.arange(12).reshape(1, 2, 3, 2)
    assert Reshape().compute(x).ravel().tolist() == list(range(12))
    assert Reshape().shape((2, 3, 2)) == (1, 1, 12)


def test_upsample_repeats_rows_and_columns():
    x = np.array([[[[1], [2]]]])
    assert Upsample((2, 3)).compute(x)[0, ..., 0].tolist() == [[1, 1, 1, 2, 2, 2]] * 2
    assert Upsample((2, 3)).shape((1, 2, 1)) == (2, 6, 1)


def test_argmax_takes_the_lowest_index_of_a_tie():
    x = np.array([[[[1, 5, 5]]], [[[7, 7, 7]]], [[[-3, -2, -1]]]])
    assert ArgMax().compute(x).ravel().tolist() == [1, 0, 2]
    assert ArgMax().result_type((int_type(4),), ((1, 1, 10),)) == uint_type(4)


def test_real_operations_name_their_types():
    shapes = ((1, 1, 1),)
    assert Affine((Fraction(1),), (Fraction(0),)).result_type((int_type(5),), shapes) \
        == int_type(5)
    assert Clamp(None, None).result_type((int_type(5),), shapes) == REAL
    assert Quantize(uint_type(3), Fraction(1)).result_type((REAL,), shapes) == uint_type(3)
    assert RealThreshold(((Fraction(0),),), BIPOLAR, -1, 2).result_type((REAL,), shapes) == BIPOLAR
