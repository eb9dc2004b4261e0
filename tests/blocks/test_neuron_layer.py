from dataclasses import replace

import numpy as np
import pytest

from hwgen.arith.dot_product import DotProduct
from hwgen.arith.phased_product import phased_resources
from hwgen.blocks.neuron_layer import NeuronLayerConfig
from hwgen.blocks.weight_sums import WeightSums
from hwgen.ops import Bias, Clip, Conv, Requantize, Threshold
from hwgen.resources import Resources
from hwgen.streams import TensorStream
from hwgen.types import BIPOLAR, TERNARY, int_type, uint_type
from tests.streams import check_block

INPUT_TYPES = [BIPOLAR, TERNARY, uint_type(1), uint_type(4), int_type(3), int_type(8)]
WEIGHT_TYPES = [BIPOLAR, TERNARY, int_type(4), uint_type(2), int_type(8)]
FULL_SPEED = ((1.0, 1.0),)


def values_of(kind):
    values = np.arange(kind.low, kind.high + 1)
    return values[kind.contains(values)]


def make_conv(kind, groups=1, inputs=6, neurons=4, seed=0):
    """A pointwise convolution; its first neurons have the extreme weights."""
    rng = np.random.default_rng(seed)
    weights = rng.choice(values_of(kind), (1, 1, inputs, groups * neurons))
    weights[..., 0], weights[..., -1] = kind.low, kind.high
    return Conv(weights, kind, rng.integers(-20, 21, groups * neurons), groups=groups)


def make_layer(conv, kind, simd=2, pe=2, group_parallel=1, size=(1, 3), **given):
    groups, inputs = conv.groups, conv.weights.shape[2]
    shape = (*size, groups * inputs)
    matrix = conv.weights.reshape(inputs, groups, -1).swapaxes(0, 1)
    return NeuronLayerConfig(
        TensorStream(kind, shape, group_parallel * simd), matrix, conv.weight_type, conv.bias,
        conv.result_type((kind,), (shape,)), pe=pe, group_parallel=group_parallel,
        **{"fifo_depth": 64} | given)


def extreme_frames(stream, seed=0):
    """All values lowest, all highest, and random ones."""
    rng = np.random.default_rng(seed)
    return np.stack([np.full(stream.shape, stream.dtype.low),
                     np.full(stream.shape, stream.dtype.high),
                     *rng.choice(values_of(stream.dtype), (2, *stream.shape))])


def check(layer, **given):
    """As :func:`check_block`, with extreme frames."""
    check_block(layer, tensors=[extreme_frames(layer.input)], **given)


@pytest.mark.parametrize("weight_type", WEIGHT_TYPES, ids=lambda t: t.name)
@pytest.mark.parametrize("input_type", INPUT_TYPES, ids=lambda t: t.name)
def test_every_pair_of_types_is_exact_at_the_predicted_clocks(input_type, weight_type):
    conv = make_conv(weight_type)
    layer = make_layer(conv, input_type)
    x = extreme_frames(layer.input)
    np.testing.assert_array_equal(layer.compute(x), conv.compute(x))
    check(layer)


@pytest.mark.parametrize("style", ["logic", "block"])
@pytest.mark.parametrize("simd", [1, 2, 3, 6])
@pytest.mark.parametrize("pe", [1, 2, 4])
def test_every_folding_is_exact_at_the_predicted_clocks(pe, simd, style):
    check(make_layer(make_conv(TERNARY), uint_type(3), simd, pe, style=style), stalls=FULL_SPEED)


@pytest.mark.parametrize("inputs, neurons, simd", [(60, 10, 1), (48, 24, 2), (2, 600, 1)])
def test_weights_in_luts_of_more_words_than_one_clock_reads(inputs, neurons, simd):
    layer = make_layer(make_conv(int_type(3), inputs=inputs, neurons=neurons), uint_type(2), simd,
                       pe=1, size=(1, 2), style="logic")
    assert layer.memory.words > 256
    assert layer.memory.latency > 1
    check(layer, stalls=FULL_SPEED)


@pytest.mark.parametrize("hold", [3, 7, 40])
def test_sums_circulate_in_rings_of_every_kind(hold):
    conv = make_conv(int_type(3), inputs=2, neurons=hold)
    check(make_layer(conv, int_type(3), simd=1, pe=1, size=(1, 2)), stalls=FULL_SPEED)


@pytest.mark.parametrize("simd, pe, group_parallel", [
    (1, 1, 1), (2, 1, 1), (4, 2, 1), (2, 2, 1), (4, 2, 2), (4, 2, 3), (4, 2, 6)])
def test_groups_read_their_own_channels(simd, pe, group_parallel):
    conv = make_conv(int_type(4), groups=6, inputs=4, neurons=2)
    layer = make_layer(conv, TERNARY, simd, pe, group_parallel)
    x = extreme_frames(layer.input)
    np.testing.assert_array_equal(layer.compute(x), conv.compute(x))
    check(layer)


def test_groups_side_by_side_take_their_inputs_in_steps():
    """Windows of a reader bring the elements of all groups in turn: (element, group)."""
    conv = make_conv(int_type(4), groups=2, inputs=3, neurons=2)
    layer = make_layer(conv, TERNARY, simd=1, pe=2, group_parallel=2)
    assert (layer.steps, layer.hold, layer.cycles) == (3, 1, 9)
    x = extreme_frames(layer.input)
    by_group = x.reshape(*x.shape[:3], 3, 2).swapaxes(3, 4).reshape(x.shape)
    np.testing.assert_array_equal(layer.compute(x), conv.compute(by_group))
    check(layer)


@pytest.mark.parametrize("weight_type", [BIPOLAR, int_type(4)], ids=lambda t: t.name)
def test_depthwise_layers_of_one_input_per_group(weight_type):
    conv = make_conv(weight_type, groups=4, inputs=1, neurons=1)
    for group_parallel in (1, 2, 4):
        check(make_layer(conv, int_type(3), 1, 1, group_parallel), stalls=FULL_SPEED)


@pytest.mark.parametrize("pe", [1, 4])
@pytest.mark.parametrize("activations", [
    ((Threshold([[-2]], [False], BIPOLAR, -1, 2), BIPOLAR),),
    ((Threshold([[-9, 0, 7], [1, 2, 3], [0, 0, 0], [-30, -20, 40]], [False, True, False, True],
                uint_type(2)), uint_type(2)),),
    ((Requantize([3, 5, -7, 1], [2], 1, "half_even", int_type(4)), int_type(4)),),
    ((Clip(-3, 12), int_type(5)),),
    ((Clip(0, None), uint_type(6)), (Bias([1, 2, 3, 4]), uint_type(7)),
     (Requantize([1], [3], 0, "floor", uint_type(3)), uint_type(3))),
], ids=["sign", "thresholds", "requantize", "clip", "chain"])
def test_activations_follow_the_sums(activations, pe):
    layer = make_layer(make_conv(TERNARY), uint_type(3), pe=pe, activations=activations)
    assert layer.output.dtype == activations[-1][1]
    check(layer)


@pytest.mark.parametrize("depth", [2, 3, 9])
def test_a_small_fifo_only_slows(depth):
    layer = make_layer(make_conv(TERNARY), uint_type(3), simd=6, pe=4, size=(3, 3),
                       fifo_depth=depth)
    check(layer, predict=False, stalls=((1.0, 1.0), (0.7, 0.4)))


def test_a_fifo_of_the_pipeline_s_length_keeps_the_interval():
    """One place for each beat on the way, for the FIFO's own clocks, and one for its return."""
    layer = make_layer(make_conv(TERNARY), uint_type(3), simd=6, pe=4, size=(3, 3))
    depth = layer.pipeline + 3
    check(make_layer(make_conv(TERNARY), uint_type(3), simd=6, pe=4, size=(3, 3),
                     fifo_depth=depth), stalls=FULL_SPEED)
    with pytest.raises(AssertionError):
        check(make_layer(make_conv(TERNARY), uint_type(3), simd=6, pe=4, size=(3, 3),
                         fifo_depth=depth - 1), stalls=FULL_SPEED)


def test_weights_in_several_tiles_of_block_ram():
    conv = make_conv(int_type(4), inputs=20, neurons=20)
    layer = make_layer(conv, BIPOLAR, simd=10, pe=2, size=(1, 1), style="block")
    assert layer.estimate("xc7").bram36 > 1
    check(layer, stalls=FULL_SPEED)


def test_frames_of_one_beat():
    conv = make_conv(int_type(4), inputs=3, neurons=2)
    check(make_layer(conv, int_type(4), simd=3, pe=2, size=(1, 1)))


def test_a_frame_takes_neurons_over_pe_clocks_per_input_beat():
    layer = make_layer(make_conv(TERNARY), uint_type(3), simd=2, pe=1, size=(2, 5))
    assert layer.cycles == 2 * 5 * (6 // 2) * (4 // 1)
    assert layer.folding == {"pe": 1, "simd": 2}


@pytest.mark.parametrize("change, text", [
    ({"simd": 4}, r"^lanes \(4\) must be group_parallel x a divisor of the inputs \(6\)$"),
    ({"pe": 3}, (r"^pe \(3\) must divide the number of neurons \(4\); choose one of "
                 r"\[1, 2, 4\]$")),
    ({"group_parallel": 3}, r"^group_parallel \(3\) must divide the number of groups \(2\)$"),
    ({"group_parallel": 2}, (r"^group_parallel \(2\) above 1 needs all neurons of a group at once: "
                             r"pe = 4, not 2$")),
    ({"style": "lutram"}, ("^style must be 'logic', 'block', 'packed', 'parity' or 'phases', not "
                           "'lutram'$")),
    ({"fifo_depth": 1}, r"^fifo_depth \(1\) must be at least 2$"),
])
def test_what_can_not_be_built_is_refused(change, text):
    conv = make_conv(TERNARY, groups=2)
    with pytest.raises(ValueError, match=text):
        make_layer(conv, uint_type(2), **change)


def test_a_stream_of_other_channels_is_refused():
    conv = make_conv(TERNARY)
    with pytest.raises(ValueError, match="^weights take 1 x 6 channels, the stream has 8$"):
        NeuronLayerConfig(TensorStream(BIPOLAR, (1, 1, 8), 2),
                          conv.weights.reshape(1, 6, 4), TERNARY, conv.bias, int_type(8))


# DSP slices.

SLICE_WEIGHTS = [int_type(3), int_type(4), uint_type(4), int_type(8), uint_type(8), int_type(12)]


@pytest.mark.parametrize("weight_type", SLICE_WEIGHTS, ids=lambda t: t.name)
@pytest.mark.parametrize("input_type", [BIPOLAR, uint_type(4), int_type(4), uint_type(8),
                                        int_type(8), uint_type(16)], ids=lambda t: t.name)
def test_slices_are_exact_for_every_pair_of_types(input_type, weight_type):
    conv = make_conv(weight_type, inputs=6, neurons=4)
    layer = make_layer(conv, input_type, simd=3, pe=4, multiplier="dsp")
    assert layer.slices.slices >= 3
    assert not layer.accumulates
    check(layer, stalls=FULL_SPEED)


@pytest.mark.parametrize("style", ["logic", "block"])
@pytest.mark.parametrize("simd, pe", [(1, 1), (1, 2), (2, 2), (4, 1), (4, 4), (8, 4), (8, 8)])
def test_slices_are_exact_in_every_folding(simd, pe, style):
    conv = make_conv(int_type(8), inputs=8, neurons=8)
    layer = make_layer(conv, uint_type(8), simd, pe, style=style, multiplier="dsp")
    check(layer)


@pytest.mark.parametrize("weight_type, inputs, fields", [
    (int_type(4), 4, 3), (int_type(4), 40, 2), (uint_type(7), 2, 2), (int_type(8), 40, 1)])
@pytest.mark.parametrize("levels", [False, True], ids=["sums", "levels"])
def test_slices_add_the_steps_of_neurons_that_are_all_at_work(weight_type, inputs, fields, levels):
    conv = make_conv(weight_type, inputs=inputs, neurons=4)
    kind = uint_type(4 if weight_type.width == 4 else 8)
    threshold = Threshold([[-90, 0, 70]], [False], uint_type(2))
    layer = make_layer(conv, kind, simd=1, pe=4, multiplier="dsp",
                       activations=((threshold, uint_type(2)),) if levels else ())
    assert layer.accumulates
    assert layer.slices.fields == fields
    check(layer)


@pytest.mark.parametrize("neurons, pe, simd, dsp_lanes", [
    (12, 2, 3, 3), (10, 2, 2, 2), (24, 2, 3, 1), (20, 2, 6, 2), (40, 1, 2, 1)])
@pytest.mark.parametrize("input_type", [uint_type(8), int_type(5)], ids=lambda t: t.name)
@pytest.mark.parametrize("levels", [False, True], ids=["sums", "levels"])
def test_sums_pass_through_slices_on_their_way_around(neurons, pe, simd, dsp_lanes, input_type,
                                                      levels):
    conv = make_conv(int_type(4), inputs=12, neurons=neurons)
    threshold = Threshold([[-90, 0, 70]], [False], uint_type(2))
    layer = make_layer(conv, input_type, simd, pe, multiplier="dsp", dsp_lanes=dsp_lanes,
                       activations=((threshold, uint_type(2)),) if levels else ())
    assert layer.carrying
    check(layer)


def test_sums_of_a_group_after_the_other_pass_through_slices():
    conv = make_conv(int_type(4), groups=2, inputs=6, neurons=12)
    layer = make_layer(conv, uint_type(8), 2, 2, multiplier="dsp")
    assert layer.carrying
    assert layer.rounds == 2
    check(layer)


@pytest.mark.parametrize("neurons, pe, simd", [(10, 2, 3), (65, 1, 1), (8, 2, 12)])
def test_sums_whose_turn_comes_too_soon_or_late_do_not_pass_through_slices(neurons, pe, simd):
    layer = make_layer(make_conv(int_type(4), inputs=12, neurons=neurons), uint_type(8), simd, pe,
                       multiplier="dsp")
    assert layer.carrying is None


@pytest.mark.parametrize("neurons, style", [(2, "block"), (3, "block"), (12, "block")])
def test_an_input_waits_for_its_weights_in_a_register_or_queue(neurons, style):
    check(make_layer(make_conv(int_type(3), inputs=12, neurons=neurons), uint_type(3), 3, 1,
                     style=style))


def test_groups_have_slices_of_their_own():
    conv = make_conv(int_type(8), groups=3, inputs=4, neurons=2)
    check(make_layer(conv, int_type(8), simd=4, pe=2, group_parallel=3, multiplier="dsp"))
    check(make_layer(conv, int_type(8), simd=1, pe=2, group_parallel=3, multiplier="dsp"))


@pytest.mark.parametrize("weight_type", [int_type(4), uint_type(4), int_type(8)],
                         ids=lambda t: t.name)
@pytest.mark.parametrize("input_type", [int_type(4), uint_type(8)], ids=lambda t: t.name)
@pytest.mark.parametrize("dsp_lanes", [1, 2, 3, 4])
@pytest.mark.parametrize("style", ["logic", "block"])
def test_slices_and_luts_share_the_lanes_of_a_sum(input_type, weight_type, dsp_lanes, style):
    conv = make_conv(weight_type, inputs=8, neurons=6)
    layer = make_layer(conv, input_type, simd=4, pe=3, style=style, multiplier="dsp",
                       dsp_lanes=dsp_lanes)
    assert layer.slices.lanes == dsp_lanes
    check(layer)


@pytest.mark.parametrize("levels", [False, True], ids=["sums", "levels"])
def test_groups_share_their_lanes_too(levels):
    conv = make_conv(int_type(8), groups=3, inputs=4, neurons=2)
    threshold = Threshold([[-900, 0, 700]], [False], uint_type(2))
    check(make_layer(conv, int_type(8), simd=4, pe=2, group_parallel=3, multiplier="dsp",
                     dsp_lanes=3, activations=((threshold, uint_type(2)),) if levels else ()))


def test_slices_need_lanes():
    for multiplier, lanes in (("dsp", 5), ("lut", 1)):
        with pytest.raises(ValueError, match=rf"^dsp_lanes \({lanes}\) are from 0 to simd \(4\), "
                                             r"and of the multiplier 'dsp' only$"):
            make_layer(make_conv(int_type(4), inputs=4), uint_type(4), simd=4, pe=1,
                       multiplier=multiplier, dsp_lanes=lanes)


def test_slices_refuse_what_they_cannot_multiply():
    with pytest.raises(ValueError, match=r"^DSP slices can't multiply TERNARY weights with UINT4 "
                                         r"inputs; choose the multiplier 'lut'$"):
        make_layer(make_conv(TERNARY), uint_type(4), multiplier="dsp")
    with pytest.raises(ValueError, match=r"^multiplier must be 'lut' or 'dsp', not 'fpga'$"):
        make_layer(make_conv(int_type(4)), uint_type(4), multiplier="fpga")


# Packed ternary weights.

@pytest.mark.parametrize("simd, pe, group_parallel", [(1, 1, 1), (5, 1, 1), (3, 2, 1), (5, 4, 1),
                                                      (15, 2, 1), (15, 4, 1), (5, 4, 2)])
def test_packed_weights_are_exact_at_the_predicted_clocks(simd, pe, group_parallel):
    groups = max(2, group_parallel) if group_parallel > 1 else 1
    conv = make_conv(TERNARY, groups=groups, inputs=15, neurons=4)
    check(make_layer(conv, int_type(3), simd, pe, group_parallel, style="packed"))


def test_packed_weights_take_less_memory():
    conv = make_conv(TERNARY, inputs=600, neurons=64)
    block, packed = (make_layer(conv, uint_type(2), 30, 2, style=style)
                     for style in ("block", "packed"))
    bits = [layer.memory.width * layer.memory.depth for layer in (block, packed)]
    assert bits[1] == bits[0] * 8 // 10
    assert packed.estimate("xc7").bram36 < block.estimate("xc7").bram36


def test_only_ternary_weights_are_packed():
    with pytest.raises(ValueError, match=r"^style 'packed' is for TERNARY weights, not INT4; "
                                         r"choose 'block'$"):
        make_layer(make_conv(int_type(4)), uint_type(2), style="packed")


# Words in parity bits.

def test_words_in_parity_bits_take_less_memory():
    conv = make_conv(int_type(4), inputs=96, neurons=96)
    block, parity = (make_layer(conv, uint_type(2), 1, 1, style=style).estimate("xc7")
                     for style in ("block", "parity"))
    assert (block.bram36, parity.bram36) == (1.5, 1)
    assert parity.lut < block.lut + 10


def test_only_words_that_reach_parity_bits_have_that_style():
    with pytest.raises(ValueError, match=r"^style 'parity' is for words of weights that reach "
                                         r"parity bits, not 24 of 4 bits; choose 'block'$"):
        make_layer(make_conv(int_type(4)), uint_type(2), 1, 1, style="parity")


# Weights that take turns in the LUTs.

@pytest.mark.parametrize("weight_type", WEIGHT_TYPES, ids=lambda t: t.name)
@pytest.mark.parametrize("input_type", INPUT_TYPES, ids=lambda t: t.name)
def test_phases_are_exact_for_every_pair_of_types(input_type, weight_type):
    layer = make_layer(make_conv(weight_type), input_type, simd=3, pe=2, style="phases")
    assert layer.depth == 4
    check(layer, stalls=FULL_SPEED)


@pytest.mark.parametrize("simd, pe, group_parallel, groups", [
    (6, 2, 1, 1), (6, 1, 1, 1), (3, 4, 1, 1), (2, 4, 1, 1), (6, 4, 1, 2), (6, 4, 1, 3),
    (3, 4, 2, 2), (6, 4, 2, 4)])
@pytest.mark.parametrize("levels", [False, True], ids=["sums", "levels"])
def test_phases_are_exact_in_every_folding(simd, pe, group_parallel, groups, levels):
    conv = make_conv(TERNARY, groups=groups, inputs=6, neurons=4)
    threshold = Threshold(np.arange(-5, groups * 12 - 5).reshape(groups * 4, 3), [False],
                          uint_type(2))
    layer = make_layer(conv, uint_type(4), simd, pe, group_parallel, style="phases",
                       activations=((threshold, uint_type(2)),) if levels else ())
    assert 1 < layer.depth <= 4
    check(layer)


def test_groups_whose_products_take_unequal_clocks_stay_together():
    conv = make_conv(int_type(8), groups=4, inputs=9, neurons=2)
    weights = conv.weights.copy()
    for group in (0, 2):  # their neurons copy an input, those of 1 and 3 are sums
        weights[..., 2 * group:2 * group + 2] = 0
        weights[..., 0, 2 * group:2 * group + 2] = 1
    layer = make_layer(Conv(weights, int_type(8), conv.bias, groups=4), uint_type(4), 9, 2, 2,
                       style="phases")
    assert len({products.latency for products in layer.products}) == 2
    check(layer)


def test_phases_need_two_to_four_words():
    with pytest.raises(ValueError, match=r"^style 'phases' is for 2 to 4 words of weights, not "
                                         r"12; choose 'logic' or 'block'$"):
        make_layer(make_conv(TERNARY), uint_type(2), simd=1, pe=2, style="phases")


@pytest.mark.parametrize("weight_type", [BIPOLAR, TERNARY, int_type(4), int_type(8)],
                         ids=lambda t: t.name)
@pytest.mark.parametrize("pe, simd, group_parallel", [(4, 32, 1), (2, 64, 1), (8, 64, 4)])
def test_phases_are_estimated_from_some_of_their_sums(weight_type, pe, simd, group_parallel):
    conv = make_conv(weight_type, groups=2 * group_parallel if group_parallel > 1 else 1, inputs=64,
                     neurons=8)
    layer = make_layer(conv, uint_type(3), simd, pe, group_parallel, style="phases")
    plans = tuple(products.phases for products in layer.products)
    made = [plan.compression.resources for plan in plans]
    guess = phased_resources(plans)
    assert guess.lut == pytest.approx(sum(r.lut for r in made), rel=0.07)
    assert guess.ff == pytest.approx(sum(r.ff for r in made), rel=0.4)


@pytest.mark.parametrize("weight_type", WEIGHT_TYPES, ids=lambda t: t.name)
@pytest.mark.parametrize("lanes, width", [(1, 20), (7, 20), (40, 5), (60, 20)])
def test_luts_of_products_are_counted_as_they_are_made(weight_type, lanes, width):
    made = DotProduct.compression_of(lanes, 2, weight_type, width).resources
    assert DotProduct.resources(lanes, 3, 2, weight_type, width) == Resources(
        lut=3 * made.lut, ff=3 * made.ff)


@pytest.mark.parametrize("style, multiplier", [("logic", "lut"), ("phases", "lut"),
                                               ("block", "dsp")])
def test_options_of_a_layer_share_the_sums_of_its_weights(style, multiplier):
    conv = make_conv(int_type(8), groups=2, inputs=6, neurons=4)
    alone = make_layer(conv, int_type(8), 6, 2, style=style, multiplier=multiplier)
    shared = replace(alone, sums=WeightSums(alone.weights[:, ::-1]))
    np.testing.assert_array_equal(alone.start_values(), shared.start_values())
    assert alone.estimate("xc7") == shared.estimate("xc7")


def test_phases_take_fewer_luts_than_weights_from_a_memory():
    conv = make_conv(TERNARY, inputs=64, neurons=4)
    logic, phases = (make_layer(conv, uint_type(4), 64, 1, style=style).estimate("xc7").lut
                     for style in ("logic", "phases"))
    assert phases < 0.8 * logic
