import numpy as np
import pytest

from hwgen.blocks.elementwise import ElementwiseConfig
from hwgen.ops import Bias, Clip, Requantize, Threshold
from hwgen.streams import TensorStream
from hwgen.types import BIPOLAR, int_type, uint_type
from tests.streams import check_block

SCALE = (Requantize([5, 3, 7, 1], [3, 2, 4, 0], -1, "half_away", int_type(5)), int_type(5))
CHAIN = ((Bias(np.array([3, -1, 0, 7])), int_type(7)), SCALE, (Clip(0, None), uint_type(4)))


@pytest.mark.parametrize("lanes", [1, 2, 4])
def test_units_apply_in_order(lanes):
    config = ElementwiseConfig(TensorStream(int_type(6), (2, 3, 4), lanes), CHAIN, fifo_depth=24)
    check_block(config, stalls=((1.0, 1.0), (0.6, 1.0), (0.6, 0.5)))


def test_latency_is_that_of_register_units_and_fifo():
    stream = TensorStream(int_type(6), (2, 3, 4), 2)
    threshold = Threshold([[0, 2, 5], [1, 2, 3]] * 2, [False], uint_type(2))
    stream = stream.with_lanes(1)
    config = ElementwiseConfig(stream, ((threshold, uint_type(2)),), fifo_depth=8)
    assert config.latency == 1 + 2 + 2
    assert ElementwiseConfig(stream, ((threshold, uint_type(2)),), 2).latency == 1 + 2 + 1


@pytest.mark.parametrize("depth", [2, 3, 6])
def test_a_small_fifo_only_slows(depth):
    config = ElementwiseConfig(TensorStream(int_type(6), (2, 3, 4), 2), CHAIN, fifo_depth=depth)
    check_block(config, predict=False, stalls=((1.0, 1.0), (0.8, 0.3)))


def test_a_beat_per_clock_needs_a_fifo_deeper_than_the_latency():
    def config(depth):
        return ElementwiseConfig(TensorStream(int_type(6), (2, 5, 4), 1), (SCALE,), depth)

    latency = config(9).latency
    check_block(config(latency + 1), stalls=((1.0, 1.0),))
    with pytest.raises(AssertionError):
        check_block(config(latency), stalls=((1.0, 1.0),))


def test_one_pixel_frames():
    config = ElementwiseConfig(TensorStream(BIPOLAR, (1, 1, 4), 4),
                               ((Bias(np.array([1, -1, 0, 2])), int_type(3)),))
    check_block(config, frames=5)


def test_no_activation_is_refused():
    with pytest.raises(ValueError, match="^activations must hold at least one operation$"):
        ElementwiseConfig(TensorStream(BIPOLAR, (1, 1, 4), 4), ())


def test_fifo_depth_of_one_is_refused():
    with pytest.raises(ValueError, match=r"^fifo_depth \(1\) must be 0 or at least 2$"):
        ElementwiseConfig(TensorStream(BIPOLAR, (1, 1, 4), 4), CHAIN, 1)


def test_without_a_fifo_beats_leave_when_the_units_are_done():
    config = ElementwiseConfig(TensorStream(int_type(6), (2, 3, 4), 2), CHAIN, fifo_depth=0)
    assert config.latency == sum(unit.latency for unit in config.activation_units())
    check_block(config, stalls=((1.0, 1.0), (0.5, 1.0)))
