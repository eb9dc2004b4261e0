import pytest

from hwgen.blocks.concat import ConcatConfig
from hwgen.streams import TensorStream
from hwgen.types import BIPOLAR, TERNARY, int_type, uint_type
from tests.streams import check_block

RUNS = ((1.0, 1.0), (0.6, 1.0), (0.5, 0.5))


def streams(kinds, channels, lanes=2, size=(2, 3)):
    return tuple(TensorStream(kind, (*size, c), lanes) for kind, c in zip(kinds, channels))


@pytest.mark.parametrize("channels, lanes", [((4, 2), 2), ((2, 2), 2), ((2, 6, 4), 2),
                                             ((3, 1, 2, 4), 1), ((4, 8), 4), ((4, 4), 1),
                                             ((1,) * 17, 1)])
def test_channels_of_the_inputs_follow_each_other(channels, lanes):
    config = ConcatConfig(streams([int_type(4)] * len(channels), channels, lanes), int_type(4))
    check_block(config, stalls=RUNS)


@pytest.mark.parametrize("kinds, out", [
    ((BIPOLAR, BIPOLAR), BIPOLAR),
    ((TERNARY, TERNARY), TERNARY),
    ((BIPOLAR, TERNARY), TERNARY),
    ((BIPOLAR, int_type(5)), int_type(5)),
    ((uint_type(4), int_type(3)), int_type(5)),
    ((uint_type(1), uint_type(3)), uint_type(3)),
    ((int_type(2), int_type(9), BIPOLAR), int_type(9)),
])
def test_codes_are_extended_to_the_output_type(kinds, out):
    check_block(ConcatConfig(streams(kinds, (2, 4, 2)), out), frames=2)


def test_one_stream_is_refused():
    with pytest.raises(ValueError, match="^concat takes two or more streams, not 1$"):
        ConcatConfig(streams([BIPOLAR], [2]), BIPOLAR)


def test_lanes_must_be_equal():
    pair = streams([BIPOLAR], [4]) + streams([BIPOLAR], [4], lanes=4)
    with pytest.raises(ValueError, match="lanes of the inputs must be equal: 2x3x4 BIPOLAR, 2 "
                                         "lanes; 2x3x4 BIPOLAR, 4 lanes$"):
        ConcatConfig(pair, BIPOLAR)


@pytest.mark.parametrize("kinds, out, text", [
    ((uint_type(4), int_type(4)), int_type(4), r"INT4 \(-8..7\) does not hold input 0, UINT4"),
    ((BIPOLAR, uint_type(4)), uint_type(4), r"does not hold input 0, BIPOLAR \(\{-1, \+1\}\)"),
    ((BIPOLAR, TERNARY), BIPOLAR, r"does not hold input 1, TERNARY"),
])
def test_output_type_must_hold_every_input(kinds, out, text):
    with pytest.raises(ValueError, match=text):
        ConcatConfig(streams(kinds, (2, 2)), out)
