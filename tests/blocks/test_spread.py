import numpy as np
import pytest

from hwgen.blocks.spread import SpreadConfig
from hwgen.ops import ZeroInsert
from hwgen.streams import TensorStream
from hwgen.types import BIPOLAR, TERNARY, int_type, uint_type
from tests.streams import check_block

STALLS = ((1.0, 1.0), (0.4, 1.0), (0.5, 0.5))


@pytest.mark.parametrize("factor, pad", [
    ((2, 2), (0, 0, 0, 0)), ((1, 3), (0, 0, 0, 0)), ((3, 1), (0, 0, 0, 0)),
    ((1, 1), (1, 0, 0, 0)), ((1, 1), (0, 2, 1, 3)), ((2, 2), (1, 1, 1, 1)),
    ((1, 1), (0, 0, 0, 0)), ((1, 2), (0, 0, 4, 0))])
@pytest.mark.parametrize("shape, lanes", [((3, 4, 4), 2), ((1, 3, 2), 1), ((2, 1, 3), 3),
                                          ((1, 1, 2), 2)])
def test_values_stand_between_and_around_the_pixels(factor, pad, shape, lanes):
    kind = int_type(4)
    config = SpreadConfig(TensorStream(kind, shape, lanes), factor, pad, -3, kind)
    check_block(config, stalls=STALLS)


@pytest.mark.parametrize("kind, value, out_type", [
    (BIPOLAR, 0, TERNARY), (BIPOLAR, -1, BIPOLAR), (uint_type(3), -5, int_type(4))])
def test_a_value_that_is_none_of_the_input_widens_the_type(kind, value, out_type):
    op = ZeroInsert((2, 2), value)
    assert op.result_type((kind,), ((2, 3, 2),)) == out_type
    config = SpreadConfig(TensorStream(kind, (2, 3, 2), 1), (2, 2), (0, 0, 0, 0), value, out_type)
    check_block(config, stalls=STALLS)


def test_input_row_y_is_output_row_y_times_the_factor():
    kind = uint_type(4)
    config = SpreadConfig(TensorStream(kind, (2, 2, 1), 1), (2, 3), (0, 0, 0, 0), 0, kind)
    x = np.array([[1, 2], [3, 4]]).reshape(1, 2, 2, 1)
    assert config.compute(x)[0, ..., 0].tolist() == [[1, 0, 0, 2], [0, 0, 0, 0], [3, 0, 0, 4]]


def test_a_type_without_the_value_is_refused():
    with pytest.raises(ValueError, match=r"^out_type BIPOLAR .* does not hold 0 and the input"):
        SpreadConfig(TensorStream(BIPOLAR, (1, 1, 1), 1), (2, 2), (0, 0, 0, 0), 0, BIPOLAR)
