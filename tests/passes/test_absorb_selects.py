"""Selected channels are the channels that a convolution makes or reads."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwgen.ops import (
    Bias,
    Clip,
    Concat,
    Conv,
    Crop,
    MaxPool,
    Requantize,
    Select,
    SumPool,
    Table,
    Threshold,
    Upsample,
    ZeroInsert,
)
from hwgen.passes import absorb_selects, verify
from hwgen.types import int_type, uint_type
from tests.graphs import GraphBuilder
from tests.passes.chains import few

SOME = Select((3, 1, 0))
ORDER = Select((2, 0, 3, 1))


def conv(outputs=4, inputs=4, seed=0, groups=1):
    rng = np.random.default_rng(seed)
    return Conv(rng.integers(-4, 4, (2, 1, inputs // groups, outputs)), int_type(3),
                rng.integers(-9, 9, outputs), groups=groups)


def values(shape, seed=0):
    return np.random.default_rng(seed).integers(-7, 8, shape)


PER_CHANNEL = {
    "bias": Bias([5, -9, 1, 0]), "clip": Clip(-20, 20),
    "threshold": Threshold(np.sort(values((4, 3)), axis=1), [0, 1, 1, 0], uint_type(2)),
    "sign": Threshold(np.sort(values((4, 3)), axis=1), [True], uint_type(2)),
    "same threshold": Threshold([[-5, 0, 9]], [False], uint_type(2)),
    "requantize": Requantize([3, 5, 1, -2], [1, 0, 2, 1], 1, "floor", int_type(6), [1, 2, 3, 4]),
    "table": Table(values((4, 512)), -256, int_type(4)),
    "max_pool": MaxPool((1, 2), (1, 2)), "sum_pool": SumPool((2, 1), (1, 1)),
    "upsample": Upsample((1, 2)), "zeros": ZeroInsert((1, 2), 3),
    "depthwise": conv(4, 4, 3, groups=4),
}


def absorbed(builder):
    graph = builder.build()
    result = absorb_selects(graph)
    verify(result)
    x = values((20, *graph.input_tensor.shape))
    before, after = graph.run_all(x), result.run_all(x)
    for name in before.keys() & after.keys():
        if not isinstance(result.node(name).op if name != "x" else None, Conv):
            np.testing.assert_array_equal(after[name], before[name])
    np.testing.assert_array_equal(result.run(x), graph.run(x))
    return result


def start():
    return GraphBuilder((4, 4, 4), int_type(4))


@pytest.mark.parametrize("op", PER_CHANNEL.values(), ids=PER_CHANNEL.keys())
def test_a_convolution_makes_the_selected_channels_behind_each_operation(op):
    result = absorbed(start().add("conv", conv()).add("op", op).add("select", SOME))
    assert [type(n.op) for n in result.nodes] == [Conv, type(op)]
    assert result.nodes[0].output.shape[2] == 3
    assert result.output == "select"


@pytest.mark.parametrize("op", PER_CHANNEL.values(), ids=PER_CHANNEL.keys())
def test_a_convolution_reads_channels_in_the_order_they_come_in(op):
    result = absorbed(start().add("select", ORDER).add("op", op).add("conv", conv(5)))
    assert [type(n.op) for n in result.nodes] == [type(op), Conv]
    assert result.nodes[-1].name == "conv"


def test_a_crop_of_channels_is_a_selection():
    result = absorbed(start().add("conv", conv()).add("crop", Crop((0, 3), (0, 4), (1, 3))))
    assert [(n.name, n.output.shape) for n in result.nodes] == [("crop", (3, 4, 2))]


def test_a_crop_of_rows_stays():
    graph = start().add("conv", conv()).add("crop", Crop((1, 3), (0, 4), (1, 3))).build()
    assert absorb_selects(graph) == graph


def test_a_layer_keeps_its_name_in_front_of_its_activation():
    act = PER_CHANNEL["threshold"]
    result = absorbed(start().add("conv", conv()).add("act", act)
                      .add("pool", MaxPool((1, 2), (1, 2))).add("select", SOME))
    assert [n.name for n in result.nodes] == ["conv", "act_selected", "select"]


def test_channels_that_change_under_no_activation_change_the_name():
    result = absorbed(start().add("conv", conv()).add("pool", MaxPool((1, 2), (1, 2)))
                      .add("select", SOME))
    assert [n.name for n in result.nodes] == ["conv_selected", "select"]


def test_a_meaning_for_each_channel_goes_along():
    builder = GraphBuilder((2, 2, 4), int_type(4), (1, 2, 3, 4), (5, 6, 7, 8))
    builder.add("select", ORDER).add("clip", Clip(-3, 3)).add("conv", conv(2))
    result = absorbed(builder)
    assert result.node("clip_selected").output.scale == (1, 2, 3, 4)
    assert result.node("clip_selected").output.offset == (5, 6, 7, 8)


def test_a_repeated_channel_is_not_computed_twice():
    graph = start().add("conv", conv()).add("select", Select((1, 1, 0))).build()
    assert absorb_selects(graph) == graph


def test_channels_left_out_in_front_of_a_convolution_stay_so():
    graph = start().add("select", SOME).add("conv", conv(2, 3)).build()
    assert absorb_selects(graph) == graph


def test_a_tensor_that_others_read_keeps_its_channels():
    builder = start().add("conv", conv()).add("select", SOME)
    graph = builder.add("join", Concat(), "conv", "select").build()
    assert absorb_selects(graph) == graph
    builder = start().add("select", ORDER).add("conv", conv(4))
    graph = builder.add("other", conv(4, 4, 1), "select").add("join", Concat(), "conv", "other") \
        .build()
    assert absorb_selects(graph) == graph


def test_groups_end_the_way_of_a_selection():
    graph = start().add("conv", conv(4, 4, 0, groups=2)).add("select", SOME).build()
    assert absorb_selects(graph) == graph
    graph = start().add("select", ORDER).add("conv", conv(4, 4, 0, groups=2)).build()
    assert absorb_selects(graph) == graph


def test_a_selection_of_the_input_or_a_join_stays():
    builder = start().add("a", conv()).add("b", conv(4, 4, 1), "x").add("join", Concat(), "a", "b")
    graph = builder.add("select", SOME).build()
    assert absorb_selects(graph) == graph
    graph = start().add("select", SOME).build()
    assert absorb_selects(graph) == graph


@st.composite
def lines(draw):
    builder = start()
    for n in range(draw(st.integers(2, 6))):
        height, width, channels = builder.nodes[-1].output.shape if builder.nodes else (4, 4, 4)
        kinds = [Clip(-30, 30), Upsample((2, 1)), Bias(np.arange(channels) - 1),
                 Threshold(np.sort(values((channels, 3), n), axis=1), np.arange(channels) % 2,
                           int_type(3), -4)]
        if height > 2:
            kinds += [conv(draw(st.integers(2, 5)), channels, n), MaxPool((2, 1), (1, 1)),
                      conv(channels, channels, n, channels)]
        order = tuple(draw(st.permutations(range(channels))))
        kinds += [Select(order), Select(order[:2]),
                  Crop((0, height), (0, width), (0, max(1, channels - 1)))]
        builder.add(f"op{n}", draw(st.sampled_from(kinds)))
    return builder


@few(150)
@given(lines())
def test_selections_anywhere_keep_the_results(builder):
    absorbed(builder)
