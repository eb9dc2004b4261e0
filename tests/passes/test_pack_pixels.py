"""Pixels side by side become one pixel of more channels; results stay."""

import numpy as np
import pytest

from hwgen.ops import Add, Bias, Clip, Conv, MaxPool, Requantize, Threshold
from hwgen.passes import infer_types, pack_pixels, packings, verify
from hwgen.types import BIPOLAR, TERNARY, int_type, uint_type
from tests.graphs import GraphBuilder

RNG = np.random.default_rng(0)


def conv(kernel, stride, pad=(0, 0, 0, 0), channels=1, kind=TERNARY, neurons=3, **given):
    values = RNG.choice([-1, 1], (*kernel, channels, neurons)) if kind == BIPOLAR \
        else RNG.integers(kind.low, kind.high + 1, (*kernel, channels, neurons))
    return Conv(values, kind, RNG.integers(-4, 5, neurons), stride, pad, **given)


def image(width=12, channels=1, kind=None):
    return GraphBuilder((6, width, channels), kind or uint_type(3))


def frames(graph, count=5):
    kind, shape = graph.input_tensor.dtype, (count, *graph.input_tensor.shape)
    return RNG.choice([-1, 1], shape) if kind.bipolar else RNG.integers(kind.low, kind.high + 1,
                                                                        shape)


def assert_packed(graph, pixels):
    """The packed graph, which is checked to do the same."""
    graph = infer_types(graph)
    packed = pack_pixels(graph, pixels)
    verify(packed)
    height, width, channels = graph.input_tensor.shape
    assert packed.input_tensor.shape == (height, width // pixels, channels * pixels)
    x = frames(graph)
    np.testing.assert_array_equal(packed.run(x.reshape(len(x), *packed.input_tensor.shape)),
                                  graph.run(x))
    assert [node.output.shape for node in packed.nodes][-1] == graph.nodes[-1].output.shape
    return packed


@pytest.mark.parametrize("kernel", range(1, 8))
@pytest.mark.parametrize("left", range(4))
@pytest.mark.parametrize("right", range(4))
@pytest.mark.parametrize("stride, pixels", [(2, 2), (4, 2), (4, 4), (3, 3), (6, 3)])
def test_strided_convolutions_read_packed_pixels(kernel, left, right, stride, pixels):
    if left < kernel and right < kernel:
        graph = image().add("a", conv((2, kernel), (1, stride), (0, 1, left, right))).build()
        assert_packed(graph, pixels)


@pytest.mark.parametrize("channels", [2, 3])
@pytest.mark.parametrize("kind", [int_type(4), TERNARY, uint_type(2)])
def test_channels_stay_in_the_order_of_the_stream(channels, kind):
    graph = image(channels=channels).add("a", conv((3, 3), (2, 2), (1, 1, 1, 1), channels,
                                                   kind)).build()
    assert_packed(graph, 2)


def test_padding_of_another_value_than_zero_is_kept():
    graph = image(kind=BIPOLAR).add("a", conv((3, 3), (2, 2), (1, 1, 1, 1), pad_value=-1)).build()
    assert_packed(graph, 2)


@pytest.mark.parametrize("kernel, wanted", [(3, TERNARY), (4, BIPOLAR)])
def test_bipolar_weights_become_ternary_only_where_there_are_zeros_between(kernel, wanted):
    graph = image().add("a", conv((3, kernel), (2, 2), kind=BIPOLAR)).build()
    assert assert_packed(graph, 2).node("a").op.weight_type == wanted


def test_activations_in_front_are_packed_too():
    graph = (image(channels=2).add("scaled", Requantize([1, 3], [1, 2], 0, "floor", uint_type(3)))
             .add("moved", Bias([1, -2])).add("clipped", Clip(0, 6))
             .add("levels", Threshold(np.array([[1, 3, 5], [2, 4, 6]]), np.zeros(2, bool),
                                      uint_type(2)))
             .add("a", conv((3, 3), (2, 2), channels=2)).build())
    packed = assert_packed(graph, 2)
    assert packed.node("scaled").op.multiplier.tolist() == [1, 3, 1, 3]
    assert packed.node("levels").output.shape == (6, 6, 4)


def test_what_follows_the_convolution_stays():
    graph = (image().add("a", conv((3, 3), (2, 2), (1, 1, 1, 1)))
             .add("act", Requantize([1], [1], 0, "floor", uint_type(3)))
             .add("b", MaxPool((2, 2), (1, 1))).build())
    packed = assert_packed(graph, 2)
    assert [node.output for node in packed.nodes] == [node.output for node in
                                                      infer_types(graph).nodes]


@pytest.mark.parametrize("stride, numbers", [
    (1, []), (2, [2]), (3, [3]), (4, [2, 4]), (6, [2, 3, 6])])
def test_as_many_pixels_are_packed_as_divide_the_stride_and_the_width(stride, numbers):
    assert packings(infer_types(image().add("a", conv((2, 2), (1, stride))).build())) == numbers


@pytest.mark.parametrize("graph", [
    image(13).add("a", conv((2, 2), (1, 2))),
    image().add("a", MaxPool((2, 2), (2, 2))),
    image(channels=2).add("a", conv((2, 2), (2, 2), groups=2, neurons=4)),
    image().add("a", conv((2, 2), (2, 2), dilation=(1, 2))),
    image().add("a", conv((2, 2), (2, 2)), "x").add("b", conv((2, 2), (2, 2)), "x")
    .add("c", Add(), "a", "b"),
], ids=["odd width", "no convolution", "groups", "dilation", "two readers"])
def test_other_networks_are_not_packed(graph):
    graph = infer_types(graph.build())
    assert packings(graph) == []
    assert pack_pixels(graph, 2) is None
