import numpy as np
import pytest

from hwgen.blocks.crop import CropConfig
from hwgen.streams import TensorStream
from hwgen.types import BIPOLAR, int_type
from tests.streams import check_block

STALLS = ((1.0, 1.0), (0.4, 1.0), (0.5, 0.5))


@pytest.mark.parametrize("rows, columns, channels, lanes", [
    ((1, 4, 1), (0, 5, 1), (0, 4), 2), ((0, 4, 1), (2, 3, 1), (0, 4), 4),
    ((0, 4, 1), (0, 5, 1), (2, 4), 1), ((1, 3, 1), (1, 4, 1), (2, 4), 2),
    ((0, 4, 2), (0, 5, 3), (0, 4), 1), ((3, 4, 1), (4, 5, 1), (0, 2), 2),
    ((0, 1, 1), (0, 1, 1), (0, 1), 1)])
def test_a_crop_passes_the_box_and_drops_the_rest(rows, columns, channels, lanes):
    stream = TensorStream(int_type(5), (4, 5, 4), lanes)
    config = CropConfig(stream, rows, columns, channels)
    assert config.output.shape == (len(range(*rows)), len(range(*columns)),
                                   channels[1] - channels[0])
    check_block(config, stalls=STALLS)


def test_a_crop_of_a_vector_keeps_a_range_of_channels():
    check_block(CropConfig(TensorStream(BIPOLAR, (1, 1, 12), 2), (0, 1, 1), (0, 1, 1), (4, 10)),
                stalls=STALLS)


def test_lanes_that_split_the_ends_are_refused():
    with pytest.raises(ValueError, match=r"^lanes \(2\) must divide the ends of "
                                         r"channels \[1, 4\]$"):
        CropConfig(TensorStream(BIPOLAR, (1, 1, 4), 2), (0, 1, 1), (0, 1, 1), (1, 4))


def test_a_box_beyond_the_tensor_is_refused():
    with pytest.raises(ValueError, match="^columns 2 to 4 are not within 0 to 3$"):
        CropConfig(TensorStream(BIPOLAR, (2, 3, 4), 2), (0, 1, 1), (2, 4, 1), (0, 4))


def test_what_passes_is_what_slicing_gives():
    stream = TensorStream(int_type(8), (3, 4, 2), 1)
    x = np.arange(24).reshape(1, 3, 4, 2)
    y = CropConfig(stream, (1, 3, 1), (0, 4, 2), (1, 2)).compute(x)
    assert y.tolist() == [[[[9], [13]], [[17], [21]]]]
