import itertools

import numpy as np
import pytest

from hwgen.blocks.add import AddConfig
from hwgen.ops import Requantize, Threshold
from hwgen.streams import TensorStream
from hwgen.types import BIPOLAR, TERNARY, int_type, smallest_type, uint_type
from tests.streams import check_block

RUNS = ((1.0, 1.0), (0.6, 1.0), (0.5, 0.5))


def streams(kinds, channels=4, lanes=2, size=(2, 3)):
    return tuple(TensorStream(kind, (*size, channels), lanes) for kind in kinds)


def sum_type(kinds):
    return smallest_type(sum(k.low for k in kinds), sum(k.high for k in kinds))


@pytest.mark.parametrize("kinds", [
    (int_type(4), int_type(4)),
    (BIPOLAR, BIPOLAR),
    (BIPOLAR, uint_type(5), TERNARY),
    (uint_type(3), uint_type(6), uint_type(1), uint_type(2)),
    (int_type(7), uint_type(7), BIPOLAR, TERNARY, int_type(2)),
])
@pytest.mark.parametrize("lanes", [1, 4])
def test_sums_are_exact(kinds, lanes):
    check_block(AddConfig(streams(kinds, lanes=lanes), sum_type(kinds)), stalls=RUNS)


@pytest.mark.parametrize("kinds", [(int_type(3), uint_type(3)), (BIPOLAR, TERNARY),
                                   (int_type(2), BIPOLAR, uint_type(2))])
def test_sums_of_all_combinations_of_values(kinds):
    values = [[v for v in range(k.low, k.high + 1) if k.contains(v)] for k in kinds]
    columns = np.array(list(itertools.product(*values))).T
    config = AddConfig(tuple(TensorStream(k, (1, columns.shape[1], 1), 1) for k in kinds),
                       sum_type(kinds))
    check_block(config, tensors=[c.reshape(1, 1, -1, 1) for c in columns], stalls=((1.0, 1.0),))


def test_sums_fill_a_wider_output_type():
    kinds = (int_type(3), BIPOLAR)
    check_block(AddConfig(streams(kinds), int_type(9)), frames=1)


@pytest.mark.parametrize("lanes", [1, 2])
def test_activation_units_follow_the_sum(lanes):
    kinds = (int_type(4), int_type(4))
    requantize = Requantize([3, 1, -2, 5], [1, 0, 2, 3], 1, "half_even", int_type(4))
    threshold = Threshold([[-2], [0], [3], [1]], [False, True, False, False], BIPOLAR, -1, 2)
    config = AddConfig(streams(kinds, lanes=lanes), int_type(5),
                       ((requantize, int_type(4)), (threshold, BIPOLAR)), fifo_depth=24)
    assert config.output.dtype == BIPOLAR
    check_block(config, stalls=RUNS)


@pytest.mark.parametrize("depth", [2, 3, 5])
def test_a_small_fifo_only_slows(depth):
    config = AddConfig(streams((int_type(4), uint_type(4))), int_type(6), fifo_depth=depth)
    check_block(config, predict=False, stalls=((1.0, 1.0), (0.7, 0.4)))


def test_unequal_shapes_are_refused():
    with pytest.raises(ValueError, match="^shapes and lanes of the inputs must be equal: 2x3x4 "
                                         "BIPOLAR, 2 lanes; 2x3x8 BIPOLAR, 2 lanes$"):
        AddConfig(streams([BIPOLAR]) + streams([BIPOLAR], channels=8), int_type(3))


def test_one_stream_is_refused():
    with pytest.raises(ValueError, match="^add takes two or more streams, not 1$"):
        AddConfig(streams([BIPOLAR]), int_type(3))


def test_output_type_must_hold_every_sum():
    with pytest.raises(ValueError, match=r"^out_type INT4 \(-8..7\) does not hold sums from "
                                         r"-16 to 14$"):
        AddConfig(streams([int_type(4)] * 2), int_type(4))


def test_fifo_depth_below_two_is_refused():
    with pytest.raises(ValueError, match=r"^fifo_depth \(1\) must be at least 2$"):
        AddConfig(streams([BIPOLAR] * 2), int_type(3), fifo_depth=1)
