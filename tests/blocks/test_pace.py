import numpy as np
import pytest

from hwgen.blocks.pace import PaceConfig
from hwgen.streams import TensorStream
from hwgen.types import BIPOLAR, int_type, uint_type
from tests.streams import check_block, trace_block


@pytest.mark.parametrize("clocks", [2, 3, 5, 16, 17, 100])
@pytest.mark.parametrize("kind, lanes", [(BIPOLAR, 4), (int_type(7), 2), (uint_type(3), 1)])
def test_a_stream_passes_unchanged(kind, lanes, clocks):
    config = PaceConfig(TensorStream(kind, (2, 3, 4), lanes), clocks)
    check_block(config, frames=2, stalls=((1.0, 1.0), (0.5, 1.0), (1.0, 0.4), (0.4, 0.6)))


def passed(clocks, **stalls):
    """Clocks in which the beats of a stream passed."""
    config = PaceConfig(TensorStream(uint_type(8), (1, 30, 1), 1), clocks)
    x = np.arange(30).reshape(1, 1, 30, 1)
    (given,), (taken,) = trace_block(config, x, **stalls)
    assert given.passed == taken.passed  # at once: nothing is held back in between
    return np.array(taken.passed)


@pytest.mark.parametrize("clocks", [2, 3, 4, 7, 16, 33])
def test_beats_that_wait_pass_one_pace_apart(clocks):
    assert (np.diff(passed(clocks)) == clocks).all()


@pytest.mark.parametrize("clocks", [2, 3, 4, 7, 16])
def test_beats_never_pass_sooner_than_a_pace_apart(clocks):
    gaps = np.diff(passed(clocks, p_valid=0.3, p_ready=0.5))
    assert gaps.min() == clocks
    assert gaps.max() > clocks  # a late one is not made up for


@pytest.mark.parametrize("clocks", [1, 0])
def test_a_pace_of_a_clock_is_refused(clocks):
    with pytest.raises(ValueError, match=rf"^clocks \({clocks}\) must be at least 2$"):
        PaceConfig(TensorStream(uint_type(8), (1, 1, 2), 1), clocks)
