import pytest

from hwgen.blocks.select import SelectConfig
from hwgen.streams import TensorStream
from hwgen.types import BIPOLAR, int_type
from tests.streams import check_block


@pytest.mark.parametrize("indices", [(2, 0, 1), (1,), (0, 0, 2, 2, 1), (0, 1, 2)])
@pytest.mark.parametrize("kind", [BIPOLAR, int_type(5)])
def test_channels_are_selected_in_any_order(indices, kind):
    config = SelectConfig(TensorStream(kind, (2, 3, 3), 3), indices)
    check_block(config, stalls=((1.0, 1.0), (0.4, 1.0), (0.5, 0.5)))


def test_parts_of_pixels_are_refused():
    with pytest.raises(ValueError, match=r"^lanes \(2\) must be the channels \(4\)$"):
        SelectConfig(TensorStream(BIPOLAR, (1, 1, 4), 2), (0,))
