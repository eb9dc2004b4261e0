import pytest

from hwgen.blocks.width_adapter import WidthAdapterConfig
from hwgen.streams import TensorStream
from hwgen.types import BIPOLAR, int_type, uint_type
from tests.streams import check_block


@pytest.mark.parametrize("kind", [BIPOLAR, int_type(5), uint_type(8)])
@pytest.mark.parametrize("channels, lanes_in, lanes_out", [
    (4, 1, 2), (4, 1, 4), (6, 2, 6), (12, 3, 6), (4, 2, 1), (4, 4, 1), (6, 6, 2), (12, 6, 3),
    (4, 2, 2)])
def test_tensor_is_unchanged_at_the_documented_clocks(kind, channels, lanes_in, lanes_out):
    config = WidthAdapterConfig(TensorStream(kind, (2, 3, channels), lanes_in), lanes_out)
    assert config.cycles == 6 * channels // min(lanes_in, lanes_out)
    check_block(config, stalls=((1.0, 1.0), (0.6, 1.0), (0.6, 0.5)))


def test_other_than_integer_ratio_is_refused():
    with pytest.raises(ValueError, match=r"^lanes \(4\) must be a multiple or a divisor of the "
                                         r"input's \(6\)$"):
        WidthAdapterConfig(TensorStream(BIPOLAR, (1, 1, 12), 6), 4)


def test_lanes_must_divide_the_channels():
    with pytest.raises(ValueError, match=r"^lanes \(8\) must divide the channels \(12\)$"):
        WidthAdapterConfig(TensorStream(BIPOLAR, (1, 1, 12), 4), 8)
