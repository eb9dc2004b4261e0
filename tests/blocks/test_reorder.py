import numpy as np
import pytest

from hwgen.blocks.reorder import ReorderConfig, nested_loops
from hwgen.streams import TensorStream
from hwgen.types import BIPOLAR, int_type
from tests.streams import check_block

STALLS = ((1.0, 1.0), (0.4, 1.0), (0.5, 0.5))


@pytest.mark.parametrize("order", [[0], [1, 0], [0, 1, 2], [2, 0, 1], [0, 2, 4, 1, 3, 5],
                                   [3, 1, 4, 1, 5, 0], [5], [0, 0, 1]])
def test_beats_of_a_chunk_come_in_the_given_order(order):
    chunk = 6 if len(order) == 6 or order == [5] else max(order) + 1
    stream = TensorStream(int_type(5), (3, 2, 2 * chunk), 2)
    config = ReorderConfig(stream, (3, 2, 2 * len(order)), np.array(order), chunk)
    check_block(config, stalls=STALLS)


def test_rows_are_reordered_with_loops_and_without_a_table():
    # Two rows out of one: 3 pixels of 4 channels to 6 pixels of 2 rows with one channel.
    beats = np.arange(12).reshape(3, 2, 2)
    order = beats.transpose(1, 0, 2).reshape(-1)
    config = ReorderConfig(TensorStream(int_type(4), (2, 3, 4), 1), (4, 6, 1), order, 12)
    assert config.loops == [(2, 1), (3, 4), (2, 2)]
    check_block(config, stalls=STALLS)


def test_a_frame_is_a_chunk_too():
    order = np.random.default_rng(0).permutation(24)
    config = ReorderConfig(TensorStream(BIPOLAR, (2, 3, 4), 1), (1, 1, 24), order, 24)
    assert config.loops is None
    check_block(config, stalls=STALLS)


@pytest.mark.parametrize("order, loops", [
    ([0, 1, 2, 3], [(4, 1)]), ([0, 2, 1, 3], [(2, 2), (2, 1)]), ([0, 0, 0], [(3, 0)]),
    ([0, 1, 3], None), ([1, 2], None), ([0], []),
    ([0, 3, 1, 4, 2, 5], [(2, 3), (3, 1)])])
def test_orders_are_recognised_as_nested_loops(order, loops):
    assert nested_loops(np.array(order)) == loops


def test_an_order_beyond_the_chunk_is_refused():
    with pytest.raises(ValueError, match="^order must hold beats 0 to 1$"):
        ReorderConfig(TensorStream(BIPOLAR, (1, 1, 2), 1), (1, 1, 2), np.array([0, 2]), 2)
