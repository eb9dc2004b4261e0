from fractions import Fraction

import numpy as np
import pytest

from hwgen.blocks.fork import ForkConfig
from hwgen.blocks.split import SplitConfig
from hwgen.blocks.width_adapter import WidthAdapterConfig
from hwgen.blocks.window_reader import WindowReaderConfig
from hwgen.blocks.window_shift import WindowShiftConfig
from hwgen.conv_choices import between_divisors, divisors
from hwgen.errors import ModelError
from hwgen.families import family_cost
from hwgen.lower import build_hardware, plan_layers, unique_name
from hwgen.ops import (
    Add,
    ArgMax,
    Bias,
    Clip,
    Concat,
    Conv,
    Crop,
    MaxPool,
    Requantize,
    Reshape,
    SumPool,
)
from hwgen.real_ops import Affine
from hwgen.resources import Resources
from hwgen.types import BIPOLAR, TERNARY, int_type, uint_type
from tests.graphs import GraphBuilder


def conv(kernel, inputs, outputs, kind=TERNARY, seed=0, **given):
    rng = np.random.default_rng(seed)
    values = np.arange(kind.low, kind.high + 1)
    weights = rng.choice(values[kind.contains(values)],
                         (*kernel, inputs // given.get("groups", 1), outputs))
    return Conv(weights, kind, rng.integers(-5, 6, outputs), **given)


def requantize(kind=None):
    return Requantize([1], [2], 0, "half_up", kind or uint_type(2))


def build(graph, **wanted):
    """Hardware with the first option of each layer that has the folding wanted of it."""
    plans = plan_layers(graph)
    chosen = {p.name: next(o for o in p.options("xc7")
                           if all(o.folding.get(k) == v
                                  for k, v in wanted.get(p.name, {}).items())) for p in plans}
    return build_hardware(graph, plans, chosen)


def blocks(hardware):
    return [node.name for node in hardware.nodes]


def test_divisors():
    assert [divisors(n) for n in (1, 6, 7, 12)] == [[1], [1, 2, 3, 6], [1, 7],
                                                    [1, 2, 3, 4, 6, 12]]


# Layers.

def test_activations_join_the_convolution_before_them():
    graph = (GraphBuilder((4, 4, 2), uint_type(2)).add("a", conv((1, 1), 2, 3))
             .add("b", Bias([1, 2, 3])).add("c", requantize()).build())
    plan, = plan_layers(graph)
    assert (plan.name, plan.tensor, plan.block_name) == ("a", "c", "Conv")
    assert [kind for _, kind in plan.activations] == [graph.node("b").output.dtype, uint_type(2)]
    assert plan.accumulator == graph.node("a").output.dtype


def test_an_activation_of_a_tensor_with_another_reader_stands_alone():
    graph = (GraphBuilder((2, 2, 2), uint_type(2)).add("a", conv((1, 1), 2, 2))
             .add("b", requantize(), "a").add("c", requantize(int_type(3)), "a")
             .add("d", Concat(), "b", "c").build())
    plans = plan_layers(graph)
    assert [(p.name, p.block_name, len(p.activations)) for p in plans] == [
        ("a", "Conv", 0), ("b", "Activation", 1), ("c", "Activation", 1), ("d", "Concat", 0)]


def test_an_activation_behind_a_pool_stands_alone():
    graph = (GraphBuilder((4, 4, 2), uint_type(2)).add("a", SumPool((2, 2), (2, 2)))
             .add("b", requantize()).add("c", Clip(0, 1)).build())
    assert [(p.name, len(p.activations)) for p in plan_layers(graph)] == [("a", 0), ("b", 2)]


def test_flatten_is_no_block():
    graph = (GraphBuilder((2, 2, 2), uint_type(2)).add("a", MaxPool((1, 1), (1, 1)))
             .add("f", Reshape()).add("g", Reshape()).add("b", conv((1, 1), 8, 3)).build())
    plans = plan_layers(graph)
    assert [(p.name, p.inputs[0][0], p.inputs[0][1].shape) for p in plans] == [
        ("a", "x", (2, 2, 2)), ("b", "a", (1, 1, 8))]


def test_a_network_that_only_flattens_is_refused():
    graph = GraphBuilder((2, 2, 2), uint_type(2)).add("f", Reshape()).build()
    with pytest.raises(ModelError,
                       match="^f: the network has no layer that computes anything$"):
        plan_layers(graph)


def test_an_operation_without_a_block_is_refused():
    graph = (GraphBuilder((2, 2, 1), uint_type(2))
             .add("n", Affine((Fraction(2),), (Fraction(1),))).build())
    with pytest.raises(ModelError, match="^n: Affine has no hardware block$"):
        plan_layers(graph)


# Options.

CONVOLUTIONS = {
    "pointwise": conv((1, 1), 4, 6),
    "pointwise in groups": conv((1, 1), 6, 6, groups=3),
    "3x3": conv((3, 3), 4, 2, pad=(1, 1, 1, 1), pad_value=1),
    "wider padding": conv((2, 3), 2, 3, BIPOLAR, pad=(1, 0, 2, 1), pad_value=-3),
    "stride and dilation": conv((2, 2), 4, 2, stride=(2, 1), dilation=(1, 3), pad=(0, 1, 2, 0)),
    "1x1 with stride": conv((1, 1), 4, 2, stride=(2, 2)),
    "eleven neurons, rows and columns": conv((2, 3), 2, 11, stride=(2, 2), pad=(1, 0, 1, 1)),
    "rows and columns": conv((3, 2), 4, 4, stride=(2, 2), pad=(1, 2, 1, 0), dilation=(2, 1)),
    "rows and columns of groups": conv((2, 3), 6, 12, groups=3, stride=(3, 1), pad=(1, 0, 2, 1)),
    "groups": conv((3, 2), 6, 12, groups=3, pad=(1, 1, 0, 1)),
    "depthwise": conv((3, 3), 4, 4, groups=4, pad=(1, 1, 1, 1)),
    "depthwise with two outputs": conv((3, 1), 4, 8, groups=4),
}


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_every_option_of_a_convolution_computes_it(name):
    op = CONVOLUTIONS[name]
    channels = op.weights.shape[2] * op.groups
    graph = GraphBuilder((5, 6, channels), int_type(3)).add("a", op).add("b", requantize()).build()
    plan, = plan_layers(graph)
    x = np.random.default_rng(0).integers(-4, 4, (2, 5, 6, channels))
    expected = graph.run(x)
    seen = set()
    for option in plan.options("xc7"):
        y = x
        for _, block in option.blocks:
            y = block.compute(y)
        np.testing.assert_array_equal(y, expected, err_msg=str(option.folding))
        assert option.cycles >= max(block.cycles for _, block in option.blocks)
        seen.add(tuple(option.folding.items()))
    assert len(seen) == len(plan.options("xc7"))


def test_a_convolution_can_be_built_from_one_product_a_clock_to_all_at_once():
    graph = GraphBuilder((5, 6, 4), int_type(3)).add("a", CONVOLUTIONS["3x3"]).build()
    options = plan_layers(graph)[0].options("xc7")
    cycles = {o.cycles for o in options}
    assert max(cycles) == 5 * 6 * 9 * 4 * 2
    assert min(cycles) == 7 * 8  # the padded frame passes, all channels of a pixel in a clock
    kinds = {type(o.blocks[0][1]) for o in options}
    assert kinds == {WindowReaderConfig, WindowShiftConfig}


def test_windows_can_come_in_strips_of_their_height():
    graph = GraphBuilder((9, 9, 4), int_type(3)).add("a", conv((3, 2), 4, 8, stride=(2, 1))).build()
    found = [o for o in plan_layers(graph)[0].options("xc7") if o.folding["window"] == "strips"]
    assert {o.folding["simd"] for o in found} == {3, 6, 12}
    for option in found:
        rows, windows, layer = (block for _, block in option.blocks)
        assert (rows.geometry.kernel, windows.geometry.kernel) == ((3, 1), (1, 2))
        assert windows.elements == 2 * 4 * 3 // option.folding["simd"] == layer.steps


def test_slices_are_offered_for_some_lanes():
    graph = GraphBuilder((3, 3, 12), int_type(8)).add("a", conv((1, 1), 12, 4, int_type(8))).build()
    offered = {(o.folding["simd"], o.folding.get("dsp_lanes"))
               for o in plan_layers(graph)[0].options("xc7") if "multiply" in o.folding}
    assert {lanes for simd, lanes in offered if simd == 4} == {1, 2, 3, None}
    assert {lanes for simd, lanes in offered if simd == 12} == {3, 6, 9, None}


def test_windows_whose_rows_are_strided_can_come_by_rows_and_columns():
    graph = GraphBuilder((9, 9, 4), int_type(3)).add("a", conv((3, 3), 4, 8, stride=(2, 2))).build()
    found = {o.folding["pe"]: o for o in plan_layers(graph)[0].options("xc7")
             if o.folding["window"] == "columns" and o.folding["simd"] == 36}
    rows, windows, layer = (block for _, block in found[4].blocks)
    assert (rows.geometry.kernel, windows.geometry.kernel) == ((3, 1), (1, 3))
    assert (rows.cycles, windows.cycles, layer.hold) == (81, 4 * 9, 2)
    # All at once a frame takes as long as its pixels; so it does where windows take two clocks.
    assert found[8].cycles == found[4].cycles == 81


def test_gaps_between_the_divisors_of_neurons_are_filled():
    assert between_divisors(116) == [6, 8, 11, 15, 20]
    assert between_divisors(64) == []
    assert all(-(-58 // pe) * pe - 58 <= 58 / 8 for pe in between_divisors(58))


def test_a_window_is_as_slow_as_what_reads_its_registers():
    graph = GraphBuilder((9, 9, 4), int_type(3)).add("a", conv((3, 3), 4, 8, stride=(2, 2))).build()
    option, = (o for o in plan_layers(graph)[0].options("xc7") if o.folding["pe"] == 2
               and o.folding["simd"] == 36 and o.folding["weights"] == "phases"
               and o.folding["window"] == "shift")
    # Rows of four windows of four clocks, and between them those that end none.
    assert option.cycles == 4 * 3 * 4 + 3 * (2 * 9 - 6) + (9 * 9 - 6 * 9 - 6)


def test_a_pointwise_convolution_has_no_window():
    graph = GraphBuilder((5, 6, 4), int_type(3)).add("a", CONVOLUTIONS["pointwise"]).build()
    assert all(len(o.blocks) == 1 for o in plan_layers(graph)[0].options("xc7"))


def test_groups_side_by_side_are_offered_for_both_windows():
    graph = GraphBuilder((5, 6, 4), int_type(3)).add("a", CONVOLUTIONS["depthwise"]).build()
    found = {(o.folding["window"], o.folding["groups"])
             for o in plan_layers(graph)[0].options("xc7")}
    assert found == {(kind, n) for kind in ("reader", "shift") for n in (1, 2, 4)}


def test_many_weights_are_not_offered_as_logic():
    graph = GraphBuilder((512,), BIPOLAR).add("a", conv((1, 1), 512, 512)).build()
    styles = {o.folding["weights"] for o in plan_layers(graph)[0].options("xc7")
              if o.folding["pe"] * o.folding["simd"] < 512 * 512}
    assert styles == {"block", "packed", "parity"}


def test_ternary_weights_are_offered_packed_where_that_saves_block_ram():
    def styles(kind, inputs, neurons):
        graph = GraphBuilder((inputs,), uint_type(2)).add(
            "a", conv((1, 1), inputs, neurons, kind)).build()
        return {(o.folding["simd"], o.folding["weights"])
                for o in plan_layers(graph)[0].options("xc7") if o.folding["pe"] == 1}

    assert {(40, "block"), (40, "packed")} <= styles(TERNARY, 400, 100)  # 80 or 64 bits
    assert (4, "packed") not in styles(TERNARY, 16, 16)  # half a block RAM either way
    assert not any(style == "packed" for _, style in styles(BIPOLAR, 400, 100))


def test_words_in_parity_bits_are_offered_where_they_save_block_ram():
    graph = GraphBuilder((96,), uint_type(2)).add("a", conv((1, 1), 96, 96, int_type(4))).build()
    found = {(o.folding["pe"], o.folding["simd"]) for o in plan_layers(graph)[0].options("xc7")
             if o.folding["weights"] == "parity"}
    assert found == {(1, 1)}  # of fewer words, wider ones have ports that reach those bits


@pytest.mark.parametrize("op, channels, lanes", [
    (MaxPool((2, 2), (2, 2)), 6, [1, 2, 3, 6]), (ArgMax(), 4, [1, 2, 4]),
    (requantize(), 5, [1, 5])])
def test_other_layers_have_an_option_for_each_number_of_lanes(op, channels, lanes):
    graph = GraphBuilder((4, 4, channels), uint_type(2)).add("a", op).build()
    assert [o.folding for o in plan_layers(graph)[0].options("xc7")] == [
        {"lanes": n} for n in lanes]


def test_lanes_of_a_concat_divide_the_channels_of_every_input():
    graph = (GraphBuilder((2, 2, 4), uint_type(2)).add("a", conv((1, 1), 4, 6), "x")
             .add("b", requantize()).add("c", Concat(), "x", "b").build())
    assert [o.folding["lanes"] for o in plan_layers(graph)[1].options("xc7")] == [1, 2]


# The hardware graph.

def test_a_tensor_with_several_readers_is_forked():
    graph = (GraphBuilder((2, 2, 4), uint_type(2)).add("a", requantize(), "x")
             .add("b", requantize(), "x").add("c", Add(), "a", "b", "x").build())
    hardware = build(graph)
    assert hardware.node("x_fork").block.outputs == 3
    assert not any(isinstance(n.block, ForkConfig) for n in hardware.nodes if n.name != "x_fork")


def test_a_layer_that_reads_a_tensor_twice_gets_two_copies():
    graph = GraphBuilder((2, 2, 4), uint_type(2)).add("a", Add(), "x", "x").build()
    hardware = build(graph, a={"lanes": 4})
    assert [(s.node, s.port) for s in hardware.node("a").sources] == [("x_fork", 0), ("x_fork", 1)]


def test_lanes_meet_in_width_adapters():
    graph = (GraphBuilder((12,), uint_type(2)).add("a", conv((1, 1), 12, 12))
             .add("b", conv((1, 1), 12, 2)).build())
    hardware = build(graph, a={"simd": 1, "pe": 4}, b={"simd": 6})
    adapters = [n for n in hardware.nodes if isinstance(n.block, WidthAdapterConfig)]
    assert [(n.name, n.block.input.lanes, n.block.output.lanes) for n in adapters] == [
        ("b_width", 4, 12), ("b_width_down", 12, 6)]


@pytest.mark.parametrize("shape, simd, lanes", [
    ((4, 4, 3), 1, 3),   # whole pixels, as a camera gives them
    ((4, 4, 6), 2, 2),   # as the reader wants them
    ((2, 2, 6), 4, 6),   # a reader of the flat tensor: no more than a pixel
    ((2, 2, 6), 12, 6),
    ((2, 2, 15), 4, 5),
    ((24,), 8, 8),
])
def test_lanes_of_the_network_s_input(shape, simd, lanes):
    builder = GraphBuilder(shape, uint_type(2))
    if simd not in divisors(shape[-1]):
        builder.add("f", Reshape())
    channels = builder.nodes[-1].output.shape[2] if builder.nodes else shape[-1]
    hardware = build(builder.add("a", conv((1, 1), channels, 2)).build(), a={"simd": simd})
    assert hardware.input.lanes == lanes


def test_the_output_may_be_a_flattened_tensor():
    graph = (GraphBuilder((2, 2, 2), uint_type(2)).add("a", requantize()).add("f", Reshape())
             .build())
    hardware = build(graph)
    assert (hardware.output.node, hardware.output_tensor) == ("a", "f")


def test_names_that_are_taken_get_a_number():
    taken = {"conv_window"}
    assert [unique_name("Conv_Window", taken) for _ in range(2)] == ["Conv_Window_2",
                                                                     "Conv_Window_3"]
    assert unique_name("other", taken) == "other"


def test_layers_named_like_blocks_of_other_layers():
    graph = (GraphBuilder((4, 4, 2), uint_type(2)).add("a", conv((3, 3), 2, 2), "x")
             .add("a_window", requantize(int_type(4))).add("hwgen_rom", MaxPool((2, 2), (1, 1)))
             .add("x_fork", conv((4, 4), 2, 1, seed=2), "x").add("b", Reshape(), "hwgen_rom")
             .add("c", Concat(), "b", "x_fork").build())
    hardware = build(graph)
    names = blocks(hardware)
    assert len({name.lower() for name in names}) == len(names)
    assert "hwgen_rom" not in names
    assert [n.name for n in hardware.nodes if n.layer == "x"] == ["x_fork_2"]


def test_every_tensor_of_a_layer_s_end_is_named():
    graph = (GraphBuilder((4, 4, 2), uint_type(2)).add("a", conv((3, 3), 2, 2))
             .add("b", requantize()).add("c", MaxPool((2, 2), (1, 1))).build())
    assert {n.name: n.tensors for n in build(graph).nodes if n.tensors} == {"a": ("b",),
                                                                          "c": ("c",)}


def test_estimates_grow_for_families_with_smaller_luts():
    cost = Resources(lut=100, lutram=10, ff=10, bram36=1, dsp=2)
    assert family_cost(cost, "xc7") == cost
    assert family_cost(cost, "ecp5") == Resources(lut=200, lutram=10, ff=30, bram36=1, dsp=2)
    assert family_cost(cost, "ice40") == Resources(lut=480, lutram=0, ff=23, bram36=1, dsp=2)


# Tensors that are taken apart.

def taken_apart(parts, outputs=None, **given):
    """A convolution whose channels go to as many readers."""
    outputs = outputs or sum(parts)
    builder = GraphBuilder((4, 4, 2), uint_type(2)).add("a", conv((1, 1), 2, outputs, **given)) \
        .add("act", requantize())
    begin = 0
    for n, count in enumerate(parts):
        builder.add(f"part{n}", Crop((0, 4), (0, 4), (begin, begin + count)), "act")
        builder.add(f"b{n}", conv((1, 1), count, 1, seed=n)).add(f"b{n}_act", requantize())
        begin += count
    return builder.add("out", Concat(), *(f"b{n}_act" for n in range(len(parts)))).build()


def test_crops_of_all_channels_are_parts_of_the_layer_before_them():
    graph = taken_apart((4, 2, 2))
    assert [(p.name, [part for part, _ in p.parts]) for p in plan_layers(graph)] == [
        ("a", ["part0", "part1", "part2"]), ("b0", []), ("b1", []), ("b2", []), ("out", [])]
    hardware = build(graph)
    split, = (n for n in hardware.nodes if isinstance(n.block, SplitConfig))
    assert (split.name, split.tensors) == ("a_split", ("part0", "part1", "part2"))
    assert [hardware.node(f"b{n}").sources[0].port for n in range(3)] == [0, 1, 2]
    assert not any(isinstance(n.block, ForkConfig) for n in hardware.nodes)


def test_crops_of_some_channels_stay_layers():
    graph = taken_apart((4, 2), outputs=8)
    assert [p.name for p in plan_layers(graph)] == ["a", "part0", "b0", "part1", "b1", "out"]


@pytest.mark.parametrize("parts, pe, lanes", [
    ((4, 2, 2), 2, 2),
    ((4, 2, 2), 4, 2),  # as wide as they can be without crossing a part's end
    ((4, 2, 2), 8, 8),  # whole pixels
    ((32, 8, 8), 3, 2),
    ((3, 3), 2, 1)])
def test_lanes_in_front_of_a_split_do_not_cross_a_part_s_end(parts, pe, lanes):
    hardware = build(taken_apart(parts), a={"pe": pe, "simd": 1, "weights": "logic"})
    split, = (n.block for n in hardware.nodes if isinstance(n.block, SplitConfig))
    assert split.input.lanes == lanes


def test_lanes_in_front_of_a_split_do_not_slow_the_layer():
    for option in plan_layers(taken_apart((32, 8, 8)))[0].options("xc7"):
        layer = max(block.cycles for name, block in option.blocks if not name.startswith("split"))
        assert option.cycles == layer


def test_layers_that_are_known_keep_their_options():
    graph = taken_apart((4, 2, 2))
    plans = plan_layers(graph)
    assert all(a is b for a, b in zip(plan_layers(graph, plans), plans))
    other = taken_apart((4, 4))
    assert not any(a is b for a, b in zip(plan_layers(other, plans), plans))
