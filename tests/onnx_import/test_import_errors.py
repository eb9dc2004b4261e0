"""What can't be imported is refused in one line: file, node, reason, way out."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx_files import QONNX, Net, dense_net

from hwgen.errors import ModelError
from hwgen.onnx_import import import_onnx

IMAGE = (1, 3, 8, 8)
KERNEL = np.ones((2, 3, 3, 3))


def image():
    return Net(*IMAGE).quant()


def conv(net, kernel=KERNEL, **attributes):
    return net.add("Conv", net.weights(kernel), **attributes)


CASES = []


def refused(name, model, expected, **arguments):
    CASES.append(pytest.param(model, expected, arguments, id=name))


refused("no input quantizer", lambda: Net(1, 4).add("MatMul", np.ones((4, 2))).model(),
        "net: MatMul MatMul_0: input x: the network does not quantize it; put a Quant node behind "
        "it, or say how the host quantizes it with --input-type TYPE:SCALE, e.g. --input-type "
        "INT8:0.0078125")
refused("input type of nothing", lambda: Net(1, 4).add("MatMul", np.ones((4, 2))).model(),
        "net: --input-type FLOAT: 'FLOAT' is not a type; choose BIPOLAR, TERNARY, INT2 to INT62 or "
        "UINT1 to UINT62; give TYPE or TYPE:SCALE, e.g. INT16:0.0009765625 or UINT8:1/255",
        input_type="FLOAT")
refused("input scale of zero", lambda: Net(1, 4).add("MatMul", np.ones((4, 2))).model(),
        "net: --input-type INT8:0: scale must be positive, found 0; give TYPE or TYPE:SCALE, e.g. "
        "INT16:0.0009765625 or UINT8:1/255", input_type="INT8:0")
refused("float weights", lambda: Net(1, 4).quant().add("MatMul", np.full((4, 2), 0.1) ** np.arange(
    1, 9).reshape(4, 2)).model(),
    "net: MatMul MatMul_1: weights are floating-point numbers that are no multiples of one step; "
    "quantize them (a Quant, BipolarQuant or DequantizeLinear node)")
refused("unknown operator", lambda: dense_net().add("Einsum", equation="ab->ba").model(),
        "net: Einsum Einsum_3: operator Einsum can't be built into hardware yet; docs/operators.md "
        "lists those that can: replace it, or end the network before it")
refused("unknown domain", lambda: dense_net().add("Quant", 1.0, 0.0, 4.0, domain="my.ops").model(),
        "net: Quant Quant_3: operator my.ops::Quant can't be built into hardware yet; "
        "docs/operators.md lists those that can: replace it, or end the network before it")
refused("a quantizer that does not say its sign",
        lambda: Net(1, 4).add("Quant", 1.0, 0.0, 4.0, domain=QONNX, narrow=0).model(),
        "net: Quant Quant_0: has no attribute signed, so its codes are not known; set it to 0 or 1")
refused("scale of zero", lambda: Net(1, 4).quant(scale=0.0).model(),
        "net: Quant Quant_0: scale must be positive, found 0")
refused("half a bit", lambda: Net(1, 4).quant(bits=3.5).model(),
        "net: Quant Quant_0: bit width must be an integer, found 3.5")
refused("too many bits", lambda: Net(1, 4).quant(bits=40).model(),
        "net: Quant Quant_0: bit width is 40; 1 to 32 bits can be built")
refused("unknown rounding", lambda: Net(1, 4).quant(mode="STOCHASTIC").model(),
        "net: Quant Quant_0: rounding_mode 'STOCHASTIC' is unknown; choose CEIL, DOWN, FLOOR, "
        "HALF_DOWN, HALF_EVEN, HALF_UP, ROUND, ROUND_TO_ZERO, UP")
refused("scale of another shape", lambda: Net(1, 4).quant(scale=[1.0, 2.0, 3.0]).model(),
        "net: Quant Quant_0: scale has shape [3], which does not fit the tensor's [1, 4]")


def dynamic_scale():
    net = Net(1, 4).quant()
    return net.add("Quant", net.last, 0.0, 4.0, domain=QONNX, signed=1, narrow=0).model()


refused("a scale from the input", dynamic_scale,
        "net: Quant Quant_1: scale 't0' is computed from the network's input; only constants can "
        "be built into hardware")
refused("attention", lambda: Net(1, 4, 4).quant().add("MatMul", "t0").model(),
        "net: MatMul MatMul_1: multiplies two tensors that both depend on the input (as attention "
        "does), which has no hardware block; only products with constant weights can be built")
refused("a gate", lambda: dense_net().quant().add("Mul", "t0").model(),
        "net: Mul Mul_4: combines two tensors, [1, 3] and [1, 4]; only functions of one tensor of "
        "at most 12 bits can be multiplied (as in x * sigmoid(x)); quantize that tensor before")
refused("weights of another size", lambda: Net(1, 5).quant().add("MatMul", np.ones((4, 2))).model(),
        "net: MatMul MatMul_1: weights take 4 inputs, the tensor [1, 5] has 5")
refused("channels last by mistake",
        lambda: conv(Net(1, 8, 8, 3).quant()).model(),
        "net: Conv Conv_2: weights take 3 channels in 1 groups, the tensor [1, 8, 8, 3] has 8 (is "
        "it channels last?)")
refused("a 3-D convolution", lambda: Net(1, 3, 8, 8).quant().add(
    "Unsqueeze", np.array([2])).add("Conv", np.ones((2, 3, 1, 3, 3))).model(),
    "net: Conv Conv_2: convolves a tensor [1, 3, 1, 8, 8]; 1-D and 2-D convolutions can be built")
refused("negative pads", lambda: conv(image(), pads=[-1, 0, 0, 0]).model(),
        "net: Conv Conv_2: pads are negative ([-1, 0, 0, 0]); crop with a Slice node instead")
refused("dilated pooling",
        lambda: image().add("MaxPool", kernel_shape=[2, 2], dilations=[2, 2]).model(),
        "net: MaxPool MaxPool_1: has dilations; only dense pooling windows can be built")
refused("interpolation", lambda: image().add("Resize", "", np.array([1, 1, 2, 2]),
                                             mode="linear").model(),
        "net: Resize Resize_1: interpolates (linear); only mode nearest can be built")
refused("half as large", lambda: image().add("Resize", "", np.array([1, 1, 0.5, 0.5]),
                                             mode="nearest").model(),
        "net: Resize Resize_1: scales axis 2 by 0.5; whole factors can be built")
refused("reflected padding", lambda: conv(image()).quant().add(
    "Pad", np.array([0, 0, 1, 1, 0, 0, 1, 1]), mode="reflect").model(),
    "net: Pad Pad_4: pads in mode 'reflect'; only constant padding can be built")
refused("a reversed axis", lambda: conv(image()).quant().add(
    "Slice", np.array([-1]), np.array([-9]), np.array([2]), np.array([-1])).model(),
    "net: Slice Slice_4: reverses an axis (negative step), which can't be built")
refused("several best classes", lambda: dense_net().add("TopK", np.array([2]), outputs=2).model(),
        "net: TopK TopK_3: wants the 2 largest values; only the largest can be built: end the "
        "network at the scores and sort them on the host")
refused("work behind what is left to the host",
        lambda: dense_net().add("Softmax", axis=-1).quant().model(),
        "net: Quant Quant_4: reads 't3' behind Softmax, which has no exact integer form and is "
        "left to the host; put a quantizer behind Softmax, or end the network there")
refused("training mode", lambda: dense_net().add(
    "BatchNormalization", *(np.ones(3) for _ in range(4)), training_mode=1).model(),
    "net: BatchNormalization BatchNormalization_3: is in training mode; export the network in "
    "inference mode (model.eval())")
refused("a sum of unequal shapes", lambda: dense_net().add("Add", "t0").model(),
        "net: Add Add_3: adds tensors of shapes [1, 3] and [1, 4]; only equal shapes can be added, "
        "no broadcasting")
refused("a batch of eight", lambda: Net(8, 4).quant().model(),
        "net: input x: has shape [8, 4], a batch of 8; export with a batch of 1 or a free batch "
        "dimension")
refused("a size that is free", lambda: Net("N", 3, "H", 8).quant().model(),
        "net: input x: has shape [N, 3, H, 8]; every size but the batch must be fixed: hardware is "
        "built for one size")
refused("no batch", lambda: Net(4).quant().model(),
        "net: input x: has shape [4]; a batch dimension in front is needed, e.g. [1, 16]")
refused("two outputs", lambda: dense_net().model(outputs=["t0", "t2"]),
        "net: has 2 outputs (t0, t2), a network with one output can be built; concatenate them, or "
        "cut the graph before they part")
refused("a constant output", lambda: Net(1, 4).quant().model("c0"),
        "net: output c0: does not depend on the input")
refused("activation that rises and falls behind wide sums", lambda: dense_net(512).add(
    "HardSwish").quant().model(),
    "t4: the activation rises and falls, so it needs a table of the values of t2 (INT15 "
    "(-16384..16383)), which has 32768 entries (at most 4096); put a quantizer of at most 12 bits "
    "in front of it")


@pytest.mark.parametrize("model, expected, arguments", CASES)
def test_what_cannot_be_imported_is_refused_with_the_way_out(model, expected, arguments):
    from hwgen.passes import run_pipeline
    with pytest.raises(ModelError) as error:
        run_pipeline(import_onnx(model(), **arguments).to_graph())
    line, = error.value.problems
    assert line == expected


def test_control_flow_is_refused():
    then = helper.make_graph([], "then", [], [])
    node = helper.make_node("If", ["x"], ["y"], name="branch", then_branch=then, else_branch=then)
    graph = helper.make_graph([node], "net",
                              [helper.make_tensor_value_info("x", TensorProto.BOOL, [1, 1])],
                              [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1])])
    with pytest.raises(ModelError) as error:
        import_onnx(helper.make_model(graph))
    line, = error.value.problems
    assert line == ("net: If branch: holds a graph of its own (control flow); export the network "
                    "without it, e.g. with constant folding")


def test_a_file_that_is_cut_off_is_refused(tmp_path):
    data = dense_net().model().SerializeToString()
    (tmp_path / "net.onnx").write_bytes(data[:len(data) // 2])
    with pytest.raises(ModelError, match=r"net\.onnx: not an ONNX file \(.*\); export the network "
                                         "with brevitas"):
        import_onnx(tmp_path / "net.onnx")


def test_a_tensor_that_nothing_makes_is_named():
    net = dense_net()
    net.nodes.append(helper.make_node("Relu", ["lost"], ["y"], name="late"))
    with pytest.raises(ModelError) as error:
        import_onnx(net.model("y"))
    line, = error.value.problems
    assert line == "net: Relu late: reads 'lost', which nothing makes; export the network again"


def test_weights_in_a_missing_file_beside_it_are_named(tmp_path):
    model = dense_net(64, 64).model()
    onnx.save(model, tmp_path / "net.onnx", save_as_external_data=True, location="net.data",
              size_threshold=0)
    (tmp_path / "net.data").unlink()
    with pytest.raises(ModelError, match=r"net\.data|not an ONNX file"):
        import_onnx(tmp_path / "net.onnx")
