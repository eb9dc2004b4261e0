import numpy as np
import pytest

from hwgen.blocks.upsample import UpsampleConfig
from hwgen.streams import TensorStream
from hwgen.types import BIPOLAR, int_type, uint_type
from tests.streams import check_block


@pytest.mark.parametrize("factor", [(2, 2), (1, 2), (2, 1), (3, 2), (1, 3), (3, 1)])
@pytest.mark.parametrize("shape, lanes", [((3, 4, 4), 2), ((2, 3, 3), 3), ((3, 1, 2), 2),
                                          ((1, 3, 4), 1), ((1, 1, 2), 2), ((1, 1, 3), 1)])
def test_pixels_and_rows_repeat_without_gaps(factor, shape, lanes):
    config = UpsampleConfig(TensorStream(int_type(4), shape, lanes), factor)
    assert config.cycles == np.prod(shape) // lanes * np.prod(factor)
    check_block(config, stalls=((1.0, 1.0), (0.3, 1.0), (0.5, 0.5)))


@pytest.mark.parametrize("kind", [BIPOLAR, uint_type(8)])
def test_any_type_passes(kind):
    check_block(UpsampleConfig(TensorStream(kind, (3, 2, 4), 2), (2, 2)), frames=2)


def test_memory_holds_one_row_or_one_pixel():
    stream = TensorStream(int_type(4), (3, 5, 4), 2)
    assert UpsampleConfig(stream, (2, 1)).depth == 10
    assert UpsampleConfig(stream, (1, 2)).depth == 2


@pytest.mark.parametrize("factor", [(1, 1), (0, 2)])
def test_a_factor_without_effect_is_refused(factor):
    with pytest.raises(ValueError, match=r"^factor \[\d, \d\] must hold integers from 1, at least "
                                         "one of them above 1$"):
        UpsampleConfig(TensorStream(BIPOLAR, (1, 1, 1), 1), factor)
