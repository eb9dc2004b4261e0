import numpy as np
import pytest

from hwgen.blocks.constant_layer import ConstantLayerConfig
from hwgen.ops import Bias, Clip, Requantize, Threshold
from hwgen.streams import TensorStream
from hwgen.types import BIPOLAR, TERNARY, int_type, smallest_type, uint_type
from tests.blocks.test_neuron_layer import check, extreme_frames, values_of
from tests.streams import check_block

TYPES = [BIPOLAR, TERNARY, uint_type(1), uint_type(4), int_type(3), int_type(8)]
FULL_SPEED = ((1.0, 1.0),)
LEVELS = Threshold([[-9, 0, 7], [1, 2, 3], [0, 0, 0], [-30, -20, 40]], [False, True, False, True],
                   uint_type(2))


INT4 = int_type(4)


def make_layer(kind, weight_type=INT4, inputs=6, neurons=4, hold=1, activations=(),
               size=(1, 3), seed=0, fifo_depth=64):
    rng = np.random.default_rng(seed)
    weights = rng.choice(values_of(weight_type), (inputs, neurons))
    weights[:, 0], weights[:, -1] = weight_type.low, weight_type.high
    bias = rng.integers(-20, 21, neurons)
    ends = np.stack([weights * kind.low, weights * kind.high])
    accumulator = smallest_type((ends.min(axis=0).sum(axis=0) + bias).min(),
                                (ends.max(axis=0).sum(axis=0) + bias).max())
    return ConstantLayerConfig(TensorStream(kind, (*size, inputs), inputs), weights, bias,
                               accumulator, activations, hold, fifo_depth)


@pytest.mark.parametrize("weight_type", [BIPOLAR, TERNARY, int_type(4), int_type(8)],
                         ids=lambda t: t.name)
@pytest.mark.parametrize("kind", TYPES, ids=lambda t: t.name)
def test_every_pair_of_types_is_exact_at_the_predicted_clocks(kind, weight_type):
    layer = make_layer(kind, weight_type)
    x = extreme_frames(layer.input)
    np.testing.assert_array_equal(layer.compute(x), x @ layer.weights + layer.bias)
    check(layer)


@pytest.mark.parametrize("kind", TYPES, ids=lambda t: t.name)
@pytest.mark.parametrize("hold", [2, 4])
@pytest.mark.parametrize("activations", [(), ((LEVELS, uint_type(2)),)], ids=["sums", "levels"])
def test_bits_in_turn_are_exact_at_the_predicted_clocks(kind, hold, activations):
    check(make_layer(kind, hold=hold, activations=activations))


@pytest.mark.parametrize("hold", [1, 4])
@pytest.mark.parametrize("activations", [
    ((LEVELS, uint_type(2)),),
    ((Requantize([3, 5, -7, 1], [2], 1, "half_even", int_type(4)), int_type(4)),),
    ((Clip(-3, 12), int_type(5)),),
    ((Clip(0, None), uint_type(9)), (Bias([1, 2, 3, 4]), uint_type(10)),
     (Requantize([1], [3], 0, "floor", uint_type(3)), uint_type(3))),
], ids=["thresholds", "requantize", "clip", "chain"])
def test_activations_follow_the_sums(activations, hold):
    layer = make_layer(uint_type(3), TERNARY, hold=hold, activations=activations)
    assert layer.output.dtype == activations[-1][1]
    check(layer)


def test_more_turns_than_bits():
    check(make_layer(uint_type(2), neurons=7, hold=7), stalls=FULL_SPEED)


@pytest.mark.parametrize("hold, depth", [(1, 2), (4, 4), (4, 9)])
def test_a_small_fifo_only_slows(hold, depth):
    check(make_layer(uint_type(4), hold=hold, size=(3, 3), fifo_depth=depth), predict=False,
          stalls=((1.0, 1.0), (0.7, 0.4)))


def test_a_wide_layer():
    check(make_layer(uint_type(2), TERNARY, inputs=90, neurons=6, hold=2), stalls=FULL_SPEED)


def test_weights_that_are_all_zero():
    layer = make_layer(uint_type(2), inputs=3, neurons=2)
    layer = ConstantLayerConfig(layer.input, layer.weights * 0, layer.bias, layer.accumulator)
    check(layer, stalls=FULL_SPEED)


@pytest.mark.parametrize("given, text", [
    ({"hold": 3}, r"hold \(3\) must divide the number of neurons \(4\)"),
    ({"hold": 4, "fifo_depth": 3}, r"fifo_depth \(3\) must be at least 4"),
])
def test_what_can_t_be_built_is_refused(given, text):
    with pytest.raises(ValueError, match=text):
        make_layer(uint_type(4), **given)


def test_a_stream_of_part_of_the_inputs_is_refused():
    layer = make_layer(uint_type(4))
    with pytest.raises(ValueError, match=r"weights take 6 inputs at once, the stream brings 3"):
        ConstantLayerConfig(TensorStream(uint_type(4), (1, 3, 6), 3), layer.weights, layer.bias,
                            layer.accumulator)


def sparse_layer(kind, reads, activations, neurons=6, inputs=9, fifo_depth=64):
    """Neurons that read a few inputs each, one of them none."""
    rng = np.random.default_rng(5)
    weights = np.zeros((inputs, neurons), np.int64)
    for n in range(1, neurons):
        weights[rng.choice(inputs, reads, replace=False), n] = rng.choice([-2, -1, 1, 3], reads)
    return ConstantLayerConfig(TensorStream(kind, (2, 3, inputs), inputs), weights,
                               rng.integers(-2, 3, neurons), int_type(9), activations, 1,
                               fifo_depth)


SIX = Threshold(np.arange(-6, 12).reshape(6, 3), [False, True, False, True, False, True],
                uint_type(2))


@pytest.mark.parametrize("kind, reads", [(BIPOLAR, 6), (uint_type(1), 5), (TERNARY, 3),
                                         (uint_type(2), 3), (int_type(3), 2), (uint_type(6), 1)],
                         ids=lambda value: getattr(value, "name", str(value)))
@pytest.mark.parametrize("activations", [
    ((SIX, uint_type(2)),),
    ((Requantize([3], [2], 1, "half_even", int_type(4)), int_type(4)),),
], ids=["levels", "requantize"])
def test_neurons_of_at_most_six_bits_are_tables_and_exact(kind, reads, activations):
    layer = sparse_layer(kind, reads, activations)
    assert layer.tables is not None
    assert layer.units == ()
    assert layer.tables.resources.lut <= 6 * activations[-1][1].width
    check(layer)


def test_a_neuron_of_seven_bits_is_a_sum():
    assert sparse_layer(uint_type(1), 7, ((SIX, uint_type(2)),)).tables is None


@pytest.mark.parametrize("reads", [3, 5], ids=["tables", "sums"])
def test_without_a_fifo_beats_leave_as_they_came(reads):
    layer = sparse_layer(uint_type(2), reads, ((SIX, uint_type(2)),), fifo_depth=0)
    assert (layer.tables is not None) == (reads == 3)
    check_block(layer, stalls=((1.0, 1.0), (0.5, 1.0)))


def adders(layer):
    """Resources of the sums, as estimated and as made."""
    return layer._estimated_sums, layer.sums.compression.resources


@pytest.mark.parametrize("kind, weight_type, inputs, neurons", [
    (uint_type(1), BIPOLAR, 96, 16), (uint_type(2), BIPOLAR, 64, 32),
    (uint_type(4), BIPOLAR, 36, 16), (uint_type(1), TERNARY, 128, 16),
    (uint_type(4), TERNARY, 64, 16), (int_type(8), TERNARY, 27, 12), (uint_type(1), INT4, 64, 16),
    (uint_type(2), INT4, 27, 32), (int_type(8), INT4, 36, 8), (uint_type(1), int_type(8), 64, 8),
    (uint_type(4), int_type(8), 27, 12), (int_type(8), int_type(8), 16, 12)],
    ids=lambda value: getattr(value, "name", str(value)))
def test_estimates_of_large_layers_are_close(kind, weight_type, inputs, neurons):
    guess, made = adders(make_layer(kind, weight_type, inputs, neurons))
    assert guess.lut == pytest.approx(made.lut, rel=0.25)
    assert guess.ff == pytest.approx(made.ff, rel=0.6)


def test_estimates_of_groups_side_by_side_are_close():
    weights = np.zeros((32, 9, 32), np.int64)
    weights[np.arange(32), :, np.arange(32)] = np.random.default_rng(0).integers(-100, 101, (32, 9))
    layer = ConstantLayerConfig(TensorStream(uint_type(8), (1, 1, 288), 288),
                                weights.reshape(288, 32), np.zeros(32, np.int64), int_type(20))
    guess, made = adders(layer)
    assert guess.lut == pytest.approx(made.lut, rel=0.2)


def test_estimates_of_small_layers_are_exact():
    guess, made = adders(make_layer(uint_type(2)))
    assert guess == made


def test_estimates_of_large_layers_need_no_sums():
    layer = make_layer(uint_type(4), int_type(8), 256, 32)
    layer.estimate("xc7")
    assert "sums" not in vars(layer)


def test_bits_in_turn_need_a_fifo():
    with pytest.raises(ValueError, match=r"^fifo_depth \(0\) must be at least 2$"):
        make_layer(uint_type(4), hold=2, fifo_depth=0)
