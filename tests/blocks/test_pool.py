import itertools

import numpy as np
import pytest

from hwgen.blocks.pool import PoolConfig
from hwgen.streams import TensorStream
from hwgen.types import BIPOLAR, TERNARY, int_type, uint_type
from tests.streams import check_block, random_frames

RUNS = ((1.0, 1.0), (0.6, 1.0), (0.6, 0.5))
GEOMETRIES = [  # kernel, stride, pad
    ((2, 2), (2, 2), (0, 0, 0, 0)),
    ((3, 3), (1, 1), (1, 1, 1, 1)),
    ((3, 3), (2, 2), (1, 1, 1, 1)),
    ((3, 2), (2, 3), (2, 1, 1, 0)),
    ((2, 3), (1, 2), (0, 1, 2, 2)),
    ((1, 1), (2, 3), (0, 0, 0, 0)),
    ((2, 2), (3, 4), (0, 0, 0, 0)),
    ((5, 6), (1, 1), (0, 0, 0, 0)),
    ((5, 6), (5, 6), (4, 4, 5, 5)),
    ((1, 3), (1, 1), (0, 0, 1, 1)),
    ((3, 1), (2, 1), (1, 1, 0, 0)),
    ((4, 4), (1, 1), (0, 3, 0, 3)),
    ((4, 4), (3, 2), (3, 0, 3, 0)),
    ((5, 1), (1, 1), (4, 4, 0, 0)),
]


@pytest.mark.parametrize("mode", ["max", "sum"])
@pytest.mark.parametrize("kernel, stride, pad", GEOMETRIES)
def test_every_geometry_matches_at_the_predicted_clocks(kernel, stride, pad, mode):
    # A maximum of two beats per pixel, a sum of one.
    stream = TensorStream(int_type(4), (5, 6, 4 if mode == "max" else 2), 2)
    check_block(PoolConfig(stream, kernel, stride, pad, mode), stalls=RUNS)


@pytest.mark.parametrize("kernel, stride, pad", GEOMETRIES)
@pytest.mark.parametrize("kind, value", [(uint_type(3), 5), (int_type(4), -3), (uint_type(2), -9)])
def test_padding_counts_as_its_value_in_a_sum(kernel, stride, pad, kind, value):
    config = PoolConfig(TensorStream(kind, (5, 6, 2), 1), kernel, stride, pad, "sum",
                        pad_value=value)
    check_block(config, stalls=RUNS[:2])


@pytest.mark.parametrize("mode", ["max", "sum"])
@pytest.mark.parametrize("kind", [BIPOLAR, TERNARY, uint_type(3), int_type(6)])
@pytest.mark.parametrize("lanes", [1, 4])
def test_every_type_and_lane_count(kind, lanes, mode):
    config = PoolConfig(TensorStream(kind, (4, 5, 4), lanes), (3, 2), (1, 2), (1, 1, 0, 1), mode)
    check_block(config, frames=2)


@pytest.mark.parametrize("mode", ["max", "sum"])
def test_all_of_the_lowest_value_meets_the_padding(mode):
    for kind in (BIPOLAR, int_type(4), uint_type(4)):
        config = PoolConfig(TensorStream(kind, (3, 3, 1), 1), (3, 3), (1, 1), (2, 2, 2, 2), mode)
        frames = np.full((1, 3, 3, 1), kind.low)
        check_block(config, tensors=[frames], stalls=((1.0, 1.0),))


@pytest.mark.parametrize("pad", [(0, 0), (1, 1), (0, 2), (2, 0)])
@pytest.mark.parametrize("kernel, stride", list(itertools.product(range(1, 5), repeat=2)))
def test_one_dimensional_windows_of_all_sizes(kernel, stride, pad):
    if max(pad) >= kernel:
        pad = (kernel - 1, kernel - 1)
    config = PoolConfig(TensorStream(uint_type(4), (1, 7, 1), 1), (1, kernel), (1, stride),
                        (0, 0, *pad))
    check_block(config, stalls=((1.0, 1.0), (0.5, 0.7)))


@pytest.mark.parametrize("size", [3, 17, 40])
def test_wide_rows_use_every_kind_of_ring(size):
    config = PoolConfig(TensorStream(uint_type(4), (3, size, 2), 1), (2, 2), (1, 1))
    check_block(config, frames=2, stalls=((1.0, 1.0),))


def test_single_beat_frames():
    config = PoolConfig(TensorStream(int_type(4), (1, 1, 2), 2), (3, 3), (1, 1), (1, 1, 1, 1))
    check_block(config, frames=6, stalls=RUNS)


def test_a_frame_takes_a_clock_per_beat_and_per_flush():
    stream = TensorStream(int_type(4), (5, 6, 4), 2)
    assert PoolConfig(stream, (2, 2), (2, 2)).cycles == 5 * 6 * 2
    assert PoolConfig(stream, (1, 3), (1, 1), (0, 0, 1, 1)).cycles == 5 * (6 + 1) * 2
    assert PoolConfig(stream, (3, 1), (1, 1), (1, 1, 0, 0)).cycles == (5 + 1) * 6 * 2


def test_sums_fill_a_wider_output_type():
    config = PoolConfig(TensorStream(BIPOLAR, (4, 4, 2), 1), (2, 2), (2, 2), mode="sum",
                        out_type=int_type(9))
    assert config.exact_type == int_type(4)
    check_block(config, frames=1)


def test_partial_results_are_kept_only_for_windows_under_way():
    def slots(kernel, stride):
        config = PoolConfig(TensorStream(BIPOLAR, (1, 9, 1), 1), (1, kernel), (1, stride))
        return config.stages[0].slots

    assert [slots(1, 2), slots(2, 2), slots(2, 1), slots(3, 1), slots(3, 2), slots(9, 1)] == [
        0, 1, 1, 2, 1, 8]


def test_schedule_of_a_long_frame_keeps_the_interval():
    config = PoolConfig(TensorStream(uint_type(4), (200, 300, 1), 1), (3, 3), (2, 2), (1, 1, 1, 1))
    schedule = config.schedule(4, np.zeros(4 * config.input.beats, dtype=np.int64))
    ends = schedule.offered[config.output.beats - 1::config.output.beats]
    assert (np.diff(ends) == config.cycles).all()


@pytest.mark.parametrize("change, text", [
    ({"mode": "mean"}, "^mode must be 'max' or 'sum', not 'mean'$"),
    ({"stride": (0, 1)}, r"^kernel \[2, 2\] and stride \[0, 1\] must be at least 1$"),
    ({"kernel": (6, 2)}, "^kernel extent 6 is larger than the padded input 5$"),
    ({"pad": (2, 0, 0, 0)}, r"^pad \[2, 0, 0, 0\] must be smaller than the kernel \[2, 2\]$"),
    ({"out_type": int_type(5)}, (r"^out_type of a maximum is that of the input, INT4 \(-8..7\), "
                                 r"not INT5 \(-16..15\)$")),
    ({"mode": "sum", "out_type": int_type(5)}, (r"^out_type INT5 \(-16..15\) does not hold the "
                                                r"sums, INT6 \(-32..31\)$")),
])
def test_what_can_not_be_built_is_refused(change, text):
    plan = {"kernel": (2, 2), "stride": (2, 2)} | change
    with pytest.raises(ValueError, match=text):
        PoolConfig(TensorStream(int_type(4), (5, 6, 4), 2), **plan)


def test_frames_do_not_mix():
    config = PoolConfig(TensorStream(int_type(4), (3, 3, 1), 1), (3, 3), (1, 1), (1, 1, 1, 1))
    low, high = (np.full((1, 3, 3, 1), v) for v in (-8, 7))
    mixed = random_frames(config.input)
    check_block(config, tensors=[np.concatenate([high, low, mixed, low])])


def test_estimate_counts_the_ring():
    def estimate(width, channels):
        config = PoolConfig(TensorStream(int_type(8), (9, width, channels), 1), (3, 3), (1, 1))
        return config.estimate("xc7")

    assert estimate(8, 1).bram36 == 0
    assert estimate(8, 1).lutram == 2 * 8  # one row of 6 results, two slots
    assert estimate(66, 16).bram36 == 0.5  # 1023 words of 16 bits
