"""What an imported network computes, in the file's own layout, against sums written out here."""

import numpy as np
import onnx
import pytest
from onnx_files import QONNX, Net, dense_net

from hwgen.golden import golden
from hwgen.model import load_model
from hwgen.onnx_import import import_onnx
from hwgen.onnx_import.table import table_text
from hwgen.ops import Crop, Select, Windows
from hwgen.passes import run_pipeline

RNG = np.random.default_rng(7)


def quantized(x, scale=0.25, low=-8, high=7):
    return np.clip(np.rint(x / scale), low, high) * scale


def run(net, x, **arguments):
    return golden(import_onnx(net.model() if isinstance(net, Net) else net, **arguments)
                  .to_graph(), x)


def random_input(*shape):
    return RNG.normal(0, 1, shape).astype(np.float32)


def test_a_dense_layer_reads_weights_either_way_round():
    values = RNG.integers(-8, 8, (4, 3)) * 0.5
    x = random_input(5, 4)
    wanted = quantized(x) @ values
    straight = Net(1, 4).quant()
    straight.add("MatMul", straight.weights(values))
    turned = Net(1, 4).quant()
    turned.add("Gemm", turned.weights(values.T), transB=1)
    np.testing.assert_array_equal(run(straight, x), wanted)
    np.testing.assert_array_equal(run(turned, x), wanted)


def convolved(x, weights):
    """Channels first, no padding."""
    height, width = x.shape[2] - weights.shape[2] + 1, x.shape[3] - weights.shape[3] + 1
    out = np.zeros((len(x), len(weights), height, width))
    for i in range(weights.shape[2]):
        for j in range(weights.shape[3]):
            part = x[:, :, i:i + height, j:j + width]
            out += np.einsum("ncyx,oc->noyx", part, weights[..., i, j])
    return out


def test_images_keep_the_channels_first_layout_of_the_file():
    weights = RNG.integers(-8, 8, (3, 2, 3, 3)) * 0.5
    net = Net(1, 2, 6, 5).quant()
    net.add("Conv", net.weights(weights))
    x = random_input(4, 2, 6, 5)
    np.testing.assert_array_equal(run(net, x), convolved(quantized(x), weights))


def test_a_flatten_permutes_the_weights_behind_it():
    weights = RNG.integers(-8, 8, (3, 2, 3, 3)) * 0.5
    dense = RNG.integers(-8, 8, (3 * 4 * 3, 2)) * 0.5
    net = Net(1, 2, 6, 5).quant()
    net.add("Conv", net.weights(weights)).quant(scale=4.0).add("Flatten")
    net.add("MatMul", net.weights(dense))
    x = random_input(4, 2, 6, 5)
    hidden = quantized(convolved(quantized(x), weights), 4.0)
    np.testing.assert_array_equal(run(net, x), hidden.reshape(4, -1) @ dense)
    graph = run_pipeline(import_onnx(net.model()).to_graph())
    assert not any(isinstance(n.op, Select) for n in graph.nodes)


def test_a_transposed_input_changes_only_the_form_of_the_input():
    weights = RNG.integers(-8, 8, (3, 2, 3, 3)) * 0.5
    net = Net(1, 6, 5, 2).add("Transpose", perm=[0, 3, 1, 2]).quant()
    net.add("Conv", net.weights(weights)).add("Transpose", perm=[0, 2, 3, 1])
    x = random_input(4, 6, 5, 2)
    wanted = convolved(quantized(x).transpose(0, 3, 1, 2), weights).transpose(0, 2, 3, 1)
    np.testing.assert_array_equal(run(net, x), wanted)


def test_an_input_with_channels_last_is_recognised_by_its_constants():
    mean = [0.5, 0.25, -0.5]
    net = Net(1, 4, 4, 3).add("Sub", np.array(mean)).quant()
    net.add("Transpose", perm=[0, 3, 1, 2]).add("Conv", net.weights(np.ones((2, 3, 1, 1)) * 0.5))
    x = random_input(3, 4, 4, 3)
    wanted = convolved(quantized(x - np.float32(mean)).transpose(0, 3, 1, 2),
                       np.ones((2, 3, 1, 1)) * 0.5)
    np.testing.assert_array_equal(run(net, x), wanted)


def test_padding_in_front_of_a_convolution_is_merged_into_it():
    weights = RNG.integers(-8, 8, (3, 2, 3, 3)) * 0.5
    net = Net(1, 2, 4, 4).quant().add("Pad", net_pads(1, 2, 0, 1))
    net.add("Conv", net.weights(weights))
    x = random_input(2, 2, 4, 4)
    padded = np.pad(quantized(x), ((0, 0), (0, 0), (1, 0), (2, 1)))
    np.testing.assert_array_equal(run(net, x), convolved(padded, weights))
    graph = import_onnx(net.model()).to_graph()
    assert not any(isinstance(n.op, Windows) for n in graph.nodes)


def net_pads(top, left, bottom, right):
    return np.array([0, 0, top, left, 0, 0, bottom, right])


def test_a_channel_shuffle_is_a_selection_of_channels():
    weights = RNG.integers(-8, 8, (4, 2, 1, 1)) * 0.5
    net = Net(1, 2, 3, 3).quant()
    net.add("Conv", net.weights(weights)).quant(scale=2.0)
    net.add("Reshape", np.array([1, 2, 2, 3, 3])).add("Transpose", perm=[0, 2, 1, 3, 4])
    net.add("Reshape", np.array([1, 4, 3, 3]))
    x = random_input(2, 2, 3, 3)
    wanted = quantized(convolved(quantized(x), weights), 2.0)[:, [0, 2, 1, 3]]
    np.testing.assert_array_equal(run(net, x), wanted)


def test_parts_of_channels_are_cropped_and_swapped():
    weights = RNG.integers(-8, 8, (4, 2, 1, 1)) * 0.5
    net = Net(1, 2, 3, 3).quant()
    net.add("Conv", net.weights(weights)).quant(scale=2.0)
    net.add("Split", np.array([1, 3]), axis=1, outputs=2)
    first, second = net.last, net.last + "_1"
    net.last = second
    net.add("Concat", first, axis=1)
    x = random_input(2, 2, 3, 3)
    wanted = quantized(convolved(quantized(x), weights), 2.0)[:, [1, 2, 3, 0]]
    np.testing.assert_array_equal(run(net, x), wanted)
    graph = import_onnx(net.model()).to_graph()
    assert sum(isinstance(n.op, Crop) for n in graph.nodes) == 2


def test_a_float_bias_is_an_offset_of_the_output():
    net = dense_net()
    net.add("Add", np.array([0.1, -0.7, 3.0]))
    x = random_input(3, 4)
    values = run(dense_net(), x) + np.float32([0.1, -0.7, 3.0]).astype(np.float64)
    np.testing.assert_array_equal(run(net, x), values)


def test_a_bias_in_whole_steps_is_an_integer_of_the_convolution():
    net = Net(1, 2, 3, 3).quant()
    net.add("Conv", net.weights(np.ones((2, 2, 1, 1))), np.array([0.25, -1.5]))
    graph = import_onnx(net.model()).to_graph()
    assert graph.nodes[0].op.bias.tolist() == [2, -12]


@pytest.mark.parametrize("formula", ["silu", "hard_swish", "gelu"])
def test_products_of_functions_become_a_table(formula):
    net = dense_net().quant(bits=6, scale=0.5)
    base = net.last
    if formula == "silu":
        net.add("Sigmoid").add("Mul", base)
    elif formula == "hard_swish":
        net.add("HardSigmoid", alpha=1 / 6, beta=0.5).add("Mul", base)
    else:
        net.add("Div", np.float32(np.sqrt(2))).add("Erf").add("Add", 1.0).add("Mul", base)
        net.add("Mul", 0.5)
    net.quant(bits=5, scale=0.25)
    x = random_input(6, 4)
    h = quantized(run(dense_net(), x), 0.5, -32, 31)
    from math import erf
    with np.errstate(over="ignore"):
        sixth = float(np.float32(1 / 6))
        y = {"silu": h / (1 + np.exp(-h)), "hard_swish": h * np.clip(h * sixth + 0.5, 0, 1),
             "gelu": 0.5 * h * (1 + np.vectorize(erf)(h / np.sqrt(2)))}[formula]
    np.testing.assert_array_equal(run(net, x), quantized(y, 0.25, -16, 15))


def test_qcdq_codes_keep_their_narrow_range():
    net = Net(1, 4)
    zero = net.const(0, np.int8)
    net.add("QuantizeLinear", 0.25, zero)
    net.add("Clip", net.const(-4, np.int8), net.const(3, np.int8))
    net.add("DequantizeLinear", 0.25, zero)
    net.add("MatMul", np.eye(4))
    graph = import_onnx(net.model()).to_graph()
    assert graph.input_tensor.dtype.name == "INT3"
    x = random_input(5, 4)
    np.testing.assert_array_equal(golden(graph, x), quantized(x, 0.25, -4, 3))


def test_bipolar_quantizers_give_plus_one_at_zero():
    net = Net(1, 3).add("BipolarQuant", 2.0, domain="onnx.brevitas").add("MatMul", np.eye(3))
    x = np.array([[0.0, -1e-30, 1e-30]])
    assert run(net, x).tolist() == [[2, -2, 2]]


def test_thresholds_are_reached_from_the_level_on():
    net = Net(1, 3).add("MultiThreshold", np.array([[0.5, 1.5, 1.5]]), domain=QONNX,
                        out_dtype="UINT2").add("MatMul", np.eye(3))
    assert run(net, np.array([[0.4999, 0.5, 1.5]])).tolist() == [[0, 1, 3]]


def test_the_input_type_rounds_what_the_network_takes_as_it_is():
    net = Net(1, 2).add("MatMul", np.array([[1], [-1]]))
    x = np.array([[0.26, 0.49], [100.0, 0.125]])
    assert run(net, x, input_type="INT4:1/4").tolist() == [[-0.25], [1.75]]


def test_a_softmax_is_left_to_the_host_and_dropped_before_the_best_class():
    graph = import_onnx(dense_net().add("Softmax", axis=-1).model()).to_graph()
    assert graph.host_tail == ("Softmax",)
    best = import_onnx(dense_net().add("Softmax", axis=-1)
                       .add("ArgMax", axis=-1, keepdims=1).model()).to_graph()
    assert best.host_tail == ()
    x = random_input(8, 4)
    np.testing.assert_array_equal(golden(best, x)[:, 0], golden(graph, x).argmax(axis=1))


def test_an_activation_that_nothing_quantizes_is_left_to_the_host():
    graph = import_onnx(dense_net().add("Add", 0.3).add("Relu").model()).to_graph()
    assert graph.host_tail == ("Relu",)


def test_a_free_batch_and_shape_chains_are_folded():
    net = Net("N", 2, 3, 3).quant()
    net.nodes.append(onnx.helper.make_node("Shape", [net.last], ["size"]))
    net.nodes.append(onnx.helper.make_node(
        "Gather", ["size", net.const(0, np.int64)], ["batch"], axis=0))
    net.nodes.append(onnx.helper.make_node(
        "Unsqueeze", ["batch", net.const([0], np.int64)], ["first"]))
    net.nodes.append(onnx.helper.make_node(
        "Concat", ["first", net.const([-1], np.int64)], ["target"], axis=0))
    net.add("Reshape", "target").add("MatMul", np.eye(18))
    x = random_input(3, 2, 3, 3)
    np.testing.assert_array_equal(run(net, x), quantized(x).reshape(3, 18))


def test_a_description_of_an_import_loads_as_an_equal_model(tmp_path):
    net = Net(1, 2, 6, 5).quant()
    net.add("Conv", net.weights(RNG.integers(-8, 8, (3, 2, 3, 3)) * 0.5)).add("LeakyRelu")
    net.quant(scale=4.0)
    model = import_onnx(net.model())
    model.save_file(tmp_path / "net.json")
    assert load_model(tmp_path / "net.json") == model


def test_the_published_table_is_what_the_code_makes():
    from pathlib import Path
    page = Path(__file__).resolve().parents[2] / "docs" / "operators.md"
    assert page.read_text(encoding="utf-8") == table_text(), \
        "run python -m hwgen.onnx_import.table"


def test_a_quantize_linear_rounds_before_it_adds_the_zero_point():
    net = Net(1, 4)
    zero = net.const(3, np.uint8)
    net.add("QuantizeLinear", 0.5, zero).add("DequantizeLinear", 0.5, zero)
    net.add("MatMul", np.eye(4))
    x = np.array([[0.25, 0.75, -0.25, -0.75], [-9.0, 9.0, 1.25, 200.0]])
    wanted = np.clip(np.rint(x / 0.5) + 3, 0, 255) * 0.5 - 1.5
    np.testing.assert_array_equal(run(net, x), wanted)


def test_a_skip_from_the_quantized_input_joins_a_layer():
    weights = RNG.integers(-8, 8, (3, 2, 1, 1)) * 0.5
    net = Net(1, 2, 4, 4).quant()
    first = net.last
    net.add("Conv", net.weights(weights)).quant(scale=0.25).add("Concat", first, axis=1)
    x = random_input(2, 2, 4, 4)
    h = quantized(x)
    wanted = np.concatenate([quantized(convolved(h, weights)), h], axis=1)
    np.testing.assert_array_equal(run(net, x), wanted)


def test_a_part_of_the_quantized_input_is_cropped():
    net = Net(1, 4, 4, 4).quant().add("Slice", np.array([1]), np.array([3]), np.array([1]))
    net.nodes[-1].input[1:] = [net.const([1], np.int64), net.const([3], np.int64),
                               net.const([1], np.int64)]
    net.add("Conv", net.weights(np.ones((1, 2, 1, 1))))
    x = random_input(2, 4, 4, 4)
    np.testing.assert_array_equal(run(net, x), quantized(x)[:, 1:3].sum(axis=1, keepdims=True))
