import pytest

from hwgen.blocks.position_scale import PositionScaleConfig
from hwgen.streams import TensorStream
from hwgen.types import int_type, uint_type
from tests.streams import check_block

STALLS = ((1.0, 1.0), (0.4, 1.0), (0.5, 0.5))


@pytest.mark.parametrize("rows, columns", [((3, 2, 3), None), (None, (6, 4, 4, 6)),
                                           ((3, 2, 3), (6, 1, 4, 6)), ((2, 2, 2), None)])
@pytest.mark.parametrize("lanes", [1, 4])
def test_values_are_multiplied_by_the_factors_of_their_place(rows, columns, lanes):
    stream = TensorStream(int_type(6), (3, 4, 4), lanes)
    check_block(PositionScaleConfig(stream, rows, columns, int_type(11)), stalls=STALLS)


def test_one_row_has_one_factor():
    check_block(PositionScaleConfig(TensorStream(uint_type(4), (1, 3, 2), 2), (5,), (1, 2, 1),
                                    uint_type(8)), stalls=STALLS)


def test_the_number_of_factors_is_checked():
    with pytest.raises(ValueError, match="^2 factors for 3 rows$"):
        PositionScaleConfig(TensorStream(int_type(6), (3, 4, 4), 1), (1, 2), None, int_type(11))
