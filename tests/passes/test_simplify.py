"""Operations that change nothing are removed, all others stay."""

import numpy as np
import pytest

from hwgen.ops import (
    ROUNDINGS,
    Add,
    Bias,
    Clip,
    Crop,
    Requantize,
    Reshape,
    Select,
    Upsample,
    Windows,
)
from hwgen.passes import simplify, verify
from hwgen.types import BIPOLAR, TERNARY, int_type, uint_type
from tests.graphs import GraphBuilder, all_values

IDENTITIES = {
    "clip without bounds": Clip(None, None),
    "clip at the bounds": Clip(-8, 7),
    "clip beyond the bounds": Clip(-9, None),
    "requantize by 1": Requantize([1], [0], 0, "floor", int_type(4)),
    "requantize to a wider type": Requantize([4, 2], [2, 1], 0, "half_even", int_type(9)),
    "upsample by 1": Upsample((1, 1)),
    "select of all": Select((0, 1)),
    "crop of nothing": Crop((0, 1), (0, 16), (0, 2)),
    "window of a pixel": Windows((1, 1), (1, 1)),
}
CHANGES = {
    "clip of the lowest": Clip(-7, None),
    "clip of the highest": Clip(None, 6),
    "requantize to a narrower type": Requantize([1], [0], 0, "floor", int_type(3)),
    "requantize with a zero point": Requantize([1], [0], 1, "floor", int_type(9)),
    "requantize with an offset": Requantize([1], [0], 0, "floor", int_type(9), [1]),
    "requantize of one channel": Requantize([1, 2], [0], 0, "floor", int_type(9)),
    "requantize to unsigned": Requantize([1], [0], 0, "floor", uint_type(4)),
    "flatten": Reshape(),
    "upsample": Upsample((1, 2)),
    "select of another order": Select((1, 0)),
    "crop of a column": Crop((0, 1), (0, 15), (0, 2)),
    "window of a pixel in two": Windows((1, 1), (1, 2)),
    "window with padding": Windows((1, 1), (1, 1), (0, 1, 0, 0)),
}


def middle(op):
    builder = GraphBuilder((1, 16, 2), int_type(4)).add("first", Bias([0, 0]))
    return builder.add("op", op).add("last", Add(), "op", "op").build()


def simplified(graph):
    result = simplify(graph)
    verify(result)
    x = all_values(graph.input_tensor.dtype, graph.input_tensor.shape[2])
    np.testing.assert_array_equal(result.run(x), graph.run(x))
    return [n.name for n in result.nodes]


@pytest.mark.parametrize("op", IDENTITIES.values(), ids=IDENTITIES.keys())
def test_an_identity_is_removed(op):
    assert simplified(middle(op)) == ["first", "last"]


@pytest.mark.parametrize("op", CHANGES.values(), ids=CHANGES.keys())
def test_a_change_stays(op):
    assert simplified(middle(op)) == ["first", "op", "last"]


def test_reshapes_in_a_row_become_one():
    graph = GraphBuilder((1, 16, 2), int_type(4)).add("a", Reshape()).add("b", Reshape((4, 4, 2))) \
        .add("c", Reshape((2, 8, 2))).add("last", Bias([1, 2])).build()
    result = simplify(graph)
    assert [(n.name, n.inputs) for n in result.nodes] == [("c", ("x",)), ("last", ("c",))]
    assert simplified(graph) == ["c", "last"]


def test_reshapes_back_and_forth_are_removed():
    graph = GraphBuilder((1, 16, 2), int_type(4)).add("a", Reshape()) \
        .add("b", Reshape((1, 16, 2))).add("last", Bias([1, 2])).build()
    assert simplified(graph) == ["last"]


def test_selections_in_a_row_become_one():
    graph = GraphBuilder((1, 16, 3), int_type(4)).add("a", Select((2, 0, 1))) \
        .add("b", Select((0, 0, 2))).add("last", Bias([1, 2, 3])).build()
    result = simplify(graph)
    assert result.node("b").op == Select((2, 2, 1))
    assert simplified(graph) == ["b", "last"]


def test_a_selection_that_others_read_stays_beside_a_shorter_way():
    graph = GraphBuilder((1, 16, 3), int_type(4)).add("a", Select((2, 0, 1))) \
        .add("b", Select((0, 0, 2))).add("last", Add(), "a", "b").build()
    assert simplified(graph) == ["a", "b", "last"]
    assert simplify(graph).node("b").inputs == ("x",)


def test_a_flatten_of_a_vector_is_removed():
    graph = GraphBuilder((4,), int_type(4)).add("first", Bias([0] * 4)).add("flat", Reshape()) \
        .add("last", Bias([1] * 4)).build()
    assert [n.name for n in simplify(graph).nodes] == ["first", "last"]


@pytest.mark.parametrize("dtype", [BIPOLAR, TERNARY])
def test_a_clip_of_a_named_type_is_removed(dtype):
    graph = GraphBuilder(all_values(dtype, 1).shape[1:], dtype).add("clip", Clip(-1, 1)) \
        .add("last", Bias([1])).build()
    assert simplified(graph) == ["last"]


def test_a_row_of_identities_is_removed():
    graph = GraphBuilder((1, 16, 2), int_type(4)).add("a", Clip(None, None)) \
        .add("b", Clip(None, None)).add("last", Add(), "a", "b").build()
    result = simplify(graph)
    assert [(n.name, n.inputs) for n in result.nodes] == [("last", ("x", "x"))]


def test_an_identity_at_the_output_hands_its_place_on():
    builder = GraphBuilder((1, 16, 2), int_type(4), 3, 1).add("first", Bias([1, 2]))
    result = simplify(builder.add("clip", Clip(None, 99)).build())
    assert result.output == "first"


def test_an_identity_that_is_the_whole_network_stays():
    assert simplified(GraphBuilder((1, 16, 2), int_type(4)).add("clip", Clip(None, 99)).build()) \
        == ["clip"]


def test_an_identity_that_gives_the_output_its_type_stays():
    graph = GraphBuilder((1, 16, 2), int_type(4)).add("first", Bias([0, 0])) \
        .add("act", Requantize([1], [0], 0, "floor", int_type(8))).build()
    assert simplified(graph) == ["first", "act"]


# Lowest terms.

@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("given, lowest", [
    (([6], [1], [0]), ([3], [0], [0])),
    (([8], [2], [0]), ([2], [0], [0])),
    (([2], [3], [0]), ([1], [2], [0])),
    (([5], [4], [0]), ([5], [4], [0])),
    (([6], [3], [4]), ([3], [2], [2])),
    (([6], [3], [1]), ([6], [3], [1])),
    (([-6], [2], [2]), ([-3], [1], [1])),
    (([0], [4], [0]), ([0], [0], [0])),
    (([2, 12], [1, 3], [0]), ([1, 3], [0, 1], [0])),
    (([2, 4], [2, 3], [0]), ([1], [1], [0])),
])
def test_a_factor_and_its_shift_are_in_lowest_terms(given, lowest, rounding):
    multiplier, shift, offset = given
    op = Requantize(multiplier, shift, 0, rounding, int_type(4), offset)
    graph = middle(op)
    result = simplify(graph)
    found = result.node("op").op
    assert [found.multiplier.tolist(), found.shift.tolist(), found.offset.tolist()] == list(lowest)
    x = all_values(graph.input_tensor.dtype, graph.input_tensor.shape[2])
    np.testing.assert_array_equal(result.run(x), graph.run(x))


def test_tensorflow_lite_s_shifts_stay_as_they_are():
    op = Requantize([1 << 30], [33], 0, "tflite", int_type(4))
    assert simplify(middle(op)).node("op").op is op
