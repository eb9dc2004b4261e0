import itertools

import numpy as np
import pytest

from hwgen.blocks.argmax import ArgMaxConfig
from hwgen.streams import TensorStream
from hwgen.types import BIPOLAR, TERNARY, int_type, uint_type
from tests.streams import check_block


@pytest.mark.parametrize("kind", [BIPOLAR, TERNARY, int_type(6), uint_type(6)])
@pytest.mark.parametrize("channels, lanes", [(12, 1), (12, 3), (12, 4), (10, 5), (10, 10), (7, 7),
                                             (3, 1)])
def test_index_of_the_largest_channel(kind, channels, lanes):
    config = ArgMaxConfig(TensorStream(kind, (2, 3, channels), lanes))
    check_block(config, stalls=((1.0, 1.0), (0.6, 1.0), (0.6, 0.5)))


@pytest.mark.parametrize("lanes", [1, 2, 4])
def test_the_lowest_index_wins_every_tie(lanes):
    pixels = np.array(list(itertools.product((-1, 0, 1), repeat=4)))  # all of them
    config = ArgMaxConfig(TensorStream(TERNARY, (1, len(pixels), 4), lanes))
    check_block(config, tensors=[pixels.reshape(1, 1, -1, 4)], stalls=((1.0, 1.0),))


def test_one_channel_gives_zeros():
    check_block(ArgMaxConfig(TensorStream(int_type(4), (2, 3, 1), 1)), frames=2)


def test_output_has_one_channel_of_just_enough_bits():
    def output(channels):
        return ArgMaxConfig(TensorStream(int_type(4), (2, 3, channels), channels)).output

    assert output(16) == TensorStream(uint_type(4), (2, 3, 1), 1)
    assert output(17) == TensorStream(uint_type(5), (2, 3, 1), 1)
