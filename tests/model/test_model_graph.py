"""What the graph of a description computes, and what its tensors mean."""

from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from model_networks import ARRAYS, base, last_tensor, network

from hwgen import ops, real_ops
from hwgen.graph import REAL
from hwgen.model import Model
from hwgen.ops import ROUNDINGS

F = Fraction
IDENTITY = {"mean": [0, 0], "variance": [1, 1], "epsilon": 0}


def real(tensor, codes):
    """Exact real values of integers (..., channels)."""
    meaning = [tensor.channel(c) for c in range(tensor.shape[2])]
    return np.array([[s * int(v) + o for v, (s, o) in zip(row, meaning)]
                     for row in codes.reshape(-1, tensor.shape[2])], dtype=object)


def test_numbers_are_exact_as_written():
    for written, value in ((0.1, F(0.1)), ("0.1", F(1, 10)), ("1/255", F(1, 255)), (2, F(2)),
                           ("1e-3", F(1, 1000))):
        assert last_tensor({"type": "flatten"}, scale=written).scale == (value,)


def test_shapes_get_three_axes():
    assert last_tensor({"type": "bias", "values": [1]}, shape=(7, 1)).shape == (1, 7, 1)
    assert last_tensor({"type": "bias", "values": [1]}, shape=(1,)).shape == (1, 1, 1)
    assert network({"type": "flatten"}, shape=(7, 1)).to_graph().input_shape == (7, 1)


@pytest.mark.parametrize("shape, kernel, stride, pad, expected", [
    ((5, 6, 1), (3, 3), 1, 1, (1, 1, 1, 1)),
    ((5, 6, 1), (3, 3), 1, [1, 0], (1, 1, 0, 0)),
    ((5, 6, 1), (3, 3), 1, [0, 1, 2, 3], (0, 1, 2, 3)),
    ((5, 6, 1), (3, 3), 1, "same", (1, 1, 1, 1)),
    ((5, 6, 1), (3, 3), 2, "same", (1, 1, 0, 1)),
    ((5, 6, 1), (2, 4), [1, 3], "same", (0, 1, 0, 1)),
    ((5, 6, 1), (1, 1), 2, "same", (0, 0, 0, 0)),
    ((6, 1), (1, 3), 2, 1, (0, 0, 1, 1)),
    ((6, 1), (1, 3), 2, "same", (0, 0, 0, 1)),
])
def test_pad_of_a_convolution_is_resolved_to_four_sides(shape, kernel, stride, pad, expected):
    model = network({"type": "conv2d", "weight_type": "INT2", "stride": stride, "pad": pad,
                     "weights": np.ones((*kernel, 1, 1), dtype=int)}, shape=shape)
    assert model.to_graph().nodes[0].op.pad == expected


def test_same_padding_keeps_the_size_divided_by_the_stride_rounded_up():
    for size, kernel, stride, dilation in product(range(1, 9), range(1, 5), range(1, 4), (1, 2)):
        tensor = last_tensor({"type": "conv1d", "weight_type": "INT2", "pad": "same",
                              "stride": stride, "dilation": dilation,
                              "weights": np.ones((kernel, 1, 1), dtype=int)}, shape=(size, 1))
        assert tensor.shape == (1, -(-size // stride), 1), (size, kernel, stride, dilation)


def test_padding_reads_as_the_zero_point_unless_told_otherwise():
    conv = {"type": "conv2d", "weight_type": "INT2", "weights": [[[[1], [1]]]], "pad": 1}
    assert network(conv, zero_point=5).to_graph().nodes[0].op.pad_value == 5
    assert network(conv | {"pad_value": 2}, zero_point=5).to_graph().nodes[0].op.pad_value == 2
    assert network(conv, dtype="BIPOLAR").to_graph().nodes[0].op.pad_value == 0


@pytest.mark.parametrize("groups", [1, 2])
def test_meaning_of_a_convolution_is_the_convolution_of_the_meanings(groups):
    rng = np.random.default_rng(7)
    weights = rng.integers(-8, 8, (2, 2, 4 // groups, 6))
    scales = ["1/3", 0.1, -2, 1, "5/7", 0.5]
    layers = [{"type": "batch_norm", "gamma": [0.5] * 4, "beta": [0.25, "1/3", -1, 0],
               "mean": [0] * 4, "variance": [1] * 4, "epsilon": 0},
              {"type": "conv2d", "weight_type": "INT4", "weights": weights, "groups": groups,
               "weight_scale": scales, "bias": [5, -3, 0, 1, 2, 3]}]
    graph = network(*layers, shape=(2, 2, 4), scale="1/7", zero_point=3).to_graph()
    x = rng.integers(0, 16, (1, 2, 2, 4))
    values = graph.run_all(x)
    inputs = real(graph.tensor("l0"), values["l0"]).reshape(2, 2, 4)
    outputs = real(graph.tensor("l1"), values["l1"])[0]
    for m, scale in enumerate(scales):
        first = m // (6 // groups) * (4 // groups)
        weight_scale = F(scale)
        expected = sum(int(w) * inputs[i, j, first + c] for (i, j, c), w in
                       np.ndenumerate(weights[..., m])) * weight_scale
        bias = [5, -3, 0, 1, 2, 3][m] * graph.tensor("l0").scale[0] * weight_scale
        assert outputs[m] == expected + bias


def test_groups_may_have_unequal_scales():
    tensor = last_tensor(
        {"type": "batch_norm", "gamma": [1, "1/2"], "beta": [0, 0], **IDENTITY},
        {"type": "conv2d", "weight_type": "INT2", "groups": 2, "weights": [[[[1, 1]]]]})
    assert tensor.scale == (1, F(1, 2))


def test_conv1d_and_dense_are_convolutions_of_height_one():
    conv = network({"type": "conv1d", "weight_type": "INT2", "stride": 2, "dilation": 3, "pad": 1,
                    "weights": [[[1]], [[-2]]]}, shape=(8, 1)).to_graph().nodes[0].op
    assert (conv.weights.shape, conv.stride, conv.dilation, conv.pad) \
        == ((1, 2, 1, 1), (1, 2), (1, 3), (0, 0, 1, 1))
    dense = network({"type": "dense", "weight_type": "INT2", "weights": [[1, -1, 0]] * 2},
                    shape=(2,)).to_graph().nodes[0].op
    assert dense.weights.shape == (1, 1, 2, 3)
    assert dense.pointwise


def test_batch_norm_changes_only_what_integers_mean():
    graph = network({"type": "batch_norm", "gamma": [2, -3], "beta": [1, 0], "mean": [0.5, 4],
                     "variance": [4, 9], "epsilon": 0}, scale=0.5, zero_point=1).to_graph()
    tensor = graph.tensor("l0")
    assert tensor.dtype.name == "UINT4"
    assert tensor.scale == (F(1, 2), F(-1, 2))
    assert tensor.offset == (F(0), F(1, 2) + 4)


def test_batch_norm_is_float64_arithmetic_taken_exactly():
    op = network({"type": "batch_norm", "gamma": [0.3, 1], "beta": [0.7, 0], "mean": [0.1, 0],
                  "variance": [0.2, 1]}).to_graph().nodes[0].op
    scale = 0.3 / (0.2 + 1e-5) ** 0.5
    assert op.scale[0] == F(scale)
    assert op.offset[0] == F(0.7 - 0.1 * scale)


@pytest.mark.parametrize("layer, given, low, high", [
    ({"type": "relu"}, {}, 0, None),
    ({"type": "relu", "max": 6}, {"scale": 0.5}, 0, 12),
    ({"type": "relu"}, {"zero_point": 3}, 3, None),
    ({"type": "relu", "max": 100}, {}, 0, 15),
    ({"type": "clamp", "min": -1e30, "max": 1e30}, {}, 0, 15),
])
def test_clamp_at_integers_is_an_integer_clip(layer, given, low, high):
    node = network(layer, **given).to_graph().nodes[0]
    assert isinstance(node.op, ops.Clip)
    assert (node.op.low, node.op.high) == (low, high)
    assert node.output.dtype != REAL


@pytest.mark.parametrize("layers", [
    [{"type": "clamp", "min": 0.5, "max": 2}],
    [{"type": "clamp", "min": 0, "max": 2.5}],
    [{"type": "batch_norm", "gamma": [1, -1], "beta": [0, 0], **IDENTITY}, {"type": "relu"}],
    [{"type": "batch_norm", "gamma": [1, 0], "beta": [0, 0], **IDENTITY}, {"type": "relu"}],
    [{"type": "batch_norm", "gamma": [1, 1], "beta": [0, 1], **IDENTITY}, {"type": "relu"}],
    [{"type": "clamp", "min": 1e30, "max": 1e30}],
])
def test_other_clamps_give_real_values(layers):
    graph = network(*layers, {"type": "quantize", "output_type": "INT4", "scale": 1}).to_graph()
    assert isinstance(graph.nodes[-2].op, real_ops.Clamp)
    assert graph.nodes[-2].output.dtype == REAL


def test_relu_gives_the_same_as_integers_and_as_real_values():
    x = np.arange(-128, 128).reshape(256, 1, 1, 1)
    quantize = {"type": "quantize", "output_type": "UINT4", "scale": 3}
    exact = network({"type": "relu", "max": 40}, quantize, shape=(1,), dtype="INT8").to_graph()
    by_real = network({"type": "clamp", "min": 0, "max": "79/2"}, {"type": "relu", "max": 40},
                      quantize, shape=(1,), dtype="INT8").to_graph()
    assert isinstance(exact.nodes[0].op, ops.Clip)
    assert isinstance(by_real.nodes[1].op, real_ops.Clamp)
    np.testing.assert_array_equal(exact.run(x), by_real.run(x))
    np.testing.assert_array_equal(exact.run(x)[:, 0, 0, 0],
                                  np.rint(np.clip(x[:, 0, 0, 0], 0, 40) / 3))


@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_quantize_of_all_integers(rounding):
    graph = network({"type": "quantize", "output_type": "INT4", "scale": "1/2", "zero_point": -2,
                     "rounding": rounding}, shape=(1,), dtype="INT6", scale="1/8").to_graph()
    y = graph.run(np.arange(-32, 32).reshape(-1, 1, 1, 1))[:, 0, 0, 0]
    expected = [min(max(ops.round_fraction(F(v, 4) - 2, rounding), -8), 7) for v in range(-32, 32)]
    assert y.tolist() == expected
    assert graph.tensor("l0").scale == (F(1, 2),)
    assert graph.tensor("l0").offset == (1,)


def test_threshold_defaults_to_the_lowest_value():
    for name, base_value, step in (("BIPOLAR", -1, 2), ("TERNARY", -1, 1), ("INT4", 0, 1),
                                   ("UINT2", 0, 1)):
        op = network({"type": "threshold", "output_type": name, "levels": [1]}).to_graph() \
            .nodes[0].op
        assert (op.base, op.step) == (base_value, step), name


def test_threshold_counts_levels_per_channel():
    graph = network({"type": "threshold", "output_type": "UINT2",
                     "levels": [["1/2", 1, 1.5], [0, 0, 7.5]]}, shape=(2,), scale=0.5).to_graph()
    y = graph.run(np.repeat(np.arange(16), 2).reshape(16, 1, 1, 2))[:, 0, 0]
    assert y[:, 0].tolist() == [0, 1, 2] + [3] * 13
    assert y[:, 1].tolist() == [2] * 15 + [3]


def test_levels_from_the_weights_file_equal_inline_levels():
    description = base()
    description["layers"][2] = {"name": "act1", "type": "threshold", "output_type": "UINT2",
                                "levels": [[0, 1.5, 3]] * 4}
    inline = Model.from_parts(description, ARRAYS)
    description["layers"][2]["levels"] = {"npz": "levels"}
    assert Model.from_parts(description, ARRAYS | {"levels": np.array([[0, 1.5, 3]] * 4)}) == inline


def test_requantize_derives_the_meaning_of_its_output():
    layer = {"type": "requantize", "output_type": "INT8", "multiplier": 3, "shift": 4,
             "zero_point": 5}
    tensor = last_tensor(layer, scale="1/10", zero_point=2)
    assert tensor.scale == (F(16, 30),)
    assert tensor.offset == (F(-2, 10) - 5 * F(16, 30),)
    tensor = last_tensor(layer | {"shift": [4, 5]})
    assert tensor.scale == (F(16, 3), F(32, 3))
    tensor = last_tensor(layer | {"shift": [4, 5], "scale": 0.5})
    assert (tensor.scale, tensor.offset) == ((F(1, 2),), (F(-5, 2),))


def test_one_number_means_the_length_of_1d_data():
    pool = network({"type": "max_pool", "kernel": 3, "stride": 2, "pad": 1}, shape=(9, 2)) \
        .to_graph().nodes[0].op
    assert (pool.kernel, pool.stride, pool.pad) == ((1, 3), (1, 2), (0, 0, 1, 1))
    assert last_tensor({"type": "upsample", "factor": 2}, shape=(9, 2)).shape == (1, 18, 2)
    square = network({"type": "max_pool", "kernel": 3}, shape=(9, 9, 2)).to_graph().nodes[0].op
    assert (square.kernel, square.stride) == ((3, 3), (3, 3))


def test_average_pool_is_the_sum_with_the_area_in_the_scale():
    tensor = last_tensor({"type": "average_pool", "kernel": [2, 4]}, scale=0.5, zero_point=1)
    assert (tensor.shape, tensor.dtype.name) == ((2, 1, 2), "UINT7")
    assert (tensor.scale, tensor.offset) == ((F(1, 16),), (F(-1, 2),))


def test_global_pools_cover_everything():
    for name in ("global_max_pool", "global_average_pool"):
        assert last_tensor({"type": name}, shape=(4, 6, 2)).shape == (1, 1, 2)
    assert last_tensor({"type": "global_average_pool"}, shape=(4, 6, 2)).scale == (F(1, 24),)


def test_offsets_of_added_tensors_add_up():
    tensor = last_tensor({"type": "quantize", "output_type": "INT4", "scale": 0.5, "zero_point": 2},
                         {"type": "add", "inputs": ["x", "l0", "x"]}, scale=0.5, zero_point=1)
    assert (tensor.scale, tensor.offset) == ((F(1, 2),), (F(-2),))


def test_concat_keeps_the_meaning_of_each_channel():
    tensor = last_tensor({"type": "quantize", "output_type": "INT4", "scale": 2, "zero_point": 1},
                         {"type": "concat", "inputs": ["l0", "x"]})
    assert tensor.shape == (4, 4, 4)
    assert (tensor.scale, tensor.offset) == ((2, 2, 1, 1), (-2, -2, 0, 0))


def test_flatten_repeats_the_meaning_of_the_channels():
    tensor = last_tensor({"type": "batch_norm", "gamma": [1, 2], "beta": [3, 4], **IDENTITY},
                         {"type": "flatten"}, shape=(1, 3, 2))
    assert tensor.shape == (1, 1, 6)
    assert (tensor.scale, tensor.offset) == ((1, 2) * 3, (3, 4) * 3)


def test_labels_name_the_channels_that_argmax_chooses_from():
    model = Model.from_parts(
        {"format": "hwgen-model", "version": 1, "name": "net", "labels": ["a", "b", "c"],
         "input": {"name": "x", "shape": [3], "type": "UINT4"},
         "layers": [{"name": "top1", "type": "argmax"}]}, {})
    assert model.labels == ("a", "b", "c")


def test_an_inner_tensor_that_is_read_can_be_the_output():
    model = Model.from_parts(
        {"format": "hwgen-model", "version": 1, "name": "net", "output": "sum",
         "input": {"name": "x", "shape": [3], "type": "UINT4"},
         "layers": [{"name": "b", "type": "bias", "values": [1, 1, 1]},
                    {"name": "sum", "type": "add", "inputs": ["x", "b"]}]}, {})
    assert model.to_graph().output == "sum"
    np.testing.assert_array_equal(model.to_graph().run(np.array([[[[1, 2, 15]]]])),
                                  [[[[3, 5, 31]]]])
