"""Each kind of broken model file gives its own one-line error."""

import numpy as np
import pytest
from model_networks import ARRAYS, base, layer, network, write

from hwgen.errors import ModelError
from hwgen.model import load_model

BROKEN = []


def broken(expected):
    """Register a change that breaks the base description, and the line that it gives."""
    def register(change):
        BROKEN.append(pytest.param(change, expected, id=change.__name__))
        return change
    return register


def field(place, value, expected):
    """Register: ``layer.field`` (or a field of the head) set to ``value`` gives ``expected``."""
    name, _, key = place.rpartition(".")

    def change(description):
        owner = description if not name else description["input"] if name == "input" \
            else layer(description, name)
        owner[key] = value
    BROKEN.append(pytest.param(change, expected, id=f"{place}={str(value)[:30]}"))


@broken("net.json: name: is missing; give name of the network")
def no_name(d):
    del d["name"]


@broken("net.json: format: is missing; give \"hwgen-model\"")
def no_format(d):
    del d["format"]


field("format", "onnx", "net.json: format: must be \"hwgen-model\", found 'onnx'")
field("version", 2, "net.json: version: must be 1, found 2")
field("name", "a/b", "net.json: name: must be 1 to 64 letters, digits, underscores, dots and "
                     "dashes, found 'a/b'")
field("outputs", "fc", "net.json: outputs: a model description has no such field; did you mean "
                       "'output'?")
field("output", "pool", "net.json: output: no tensor 'pool'; did you mean 'pool1'?")
field("output", "x", "net.json: output: is the network's input; name the tensor of a layer")
field("output", "pool1", "net.json: fc: no layer reads its tensor and it is not the output, which "
                         "is 'pool1'; remove it or name it in output")
field("labels", ["a", "b"],
      "net.json: labels: has 2 entries, must name each of the 3 channels of 'fc'")
field("labels", "abc", "net.json: labels: must be a list, found 'abc'")
field("layers", [], "net.json: layers: must be a list of at least one layer, found []")
field("layers", [7], "net.json: layers[0]: must be an object, found 7")
field("weights_file", "none.npz", "net.json: weights_file: none.npz does not exist beside net.json")
field("weights_file", "../net.npz", "net.json: weights_file: must be the name of an .npz file in "
                                    "the same folder, found '../net.npz'")


@broken("net.json: input: is missing; give name, shape and type of the network's input")
def no_input(d):
    del d["input"]


field("input", 5, "net.json: input: must be an object, found 5")
field("input.type", "FLOAT32", "net.json: input.type: must be FLOAT, BIPOLAR, TERNARY, INT2 to "
                               "INT32 or UINT1 to UINT32, found 'FLOAT32'")
field("input.shape", [8, 8, 2, 1], "net.json: input.shape: must be [height, width, channels], "
      "[length, channels] or [channels] of positive integers, found [8, 8, 2, 1]")
field("input.scale", 0, "net.json: input.scale: must be positive, found 0")
field("input.zero_point", 0.5,
      "net.json: input.zero_point: must be an integer from -65536 to 65536, found 0.5")


@broken("net.json: input.zero_point: must be 0 for BIPOLAR, found 1")
def zero_point_of_bipolar_input(d):
    d["input"].update(type="BIPOLAR", zero_point=1)


@broken("net.json: act1.type: is missing; choose conv2d, conv1d, conv_transpose2d, dense, "
        "batch_norm, affine, bias, relu, clamp, leaky_relu, activation, quantize, threshold, "
        "requantize, lookup, max_pool, average_pool, global_max_pool, global_average_pool, add, "
        "concat, flatten, reshape, crop, select, upsample, depth_to_space, space_to_depth, pad, "
        "subsample, argmax")
def no_type(d):
    del layer(d, "act1")["type"]


field("act1.type", "quantise",
      "net.json: act1.type: no layer type 'quantise'; did you mean 'quantize'?")
field("act1.scales", 1, "net.json: act1.scales: quantize has no such field; did you mean 'scale'?")


@broken("net.json: act1.scale: is missing; give real value of one step of the output: one "
        "number, or one per channel")
def no_scale(d):
    del layer(d, "act1")["scale"]


field("act1.scale", "1/0", "net.json: act1.scale: must be a number or a string like \"1/255\", "
                           "found '1/0'")
field("act1.scale", -0.5, "net.json: act1.scale: must be positive, found -0.5")
field("act1.rounding", "nearest",
      "net.json: act1.rounding: must be one of floor, ceil, toward_zero, away_from_zero, "
      "half_up, half_down, half_even, half_away, half_toward_zero, found 'nearest'")
field("act1.zero_point", True,
      'net.json: act1.zero_point: must be a number or a string like "1/255", found true')


@broken("net.json: layers[2].name: must be 1 to 64 letters, digits and underscores and not start "
        "with a digit, found 'act-1'")
def bad_name(d):
    layer(d, "act1")["name"] = "act-1"


@broken("net.json: layers[2].name: is missing; give name of the layer and of the tensor it makes")
def no_layer_name(d):
    del layer(d, "act1")["name"]


@broken("net.json: output.name: 'output' is a Verilog keyword; try 'output_1'")
def keyword_as_name(d):
    layer(d, "fc")["name"] = "output"


@broken("net.json: clk.name: 'clk' is a name of the generated top module; try 'clk_1'")
def port_as_name(d):
    layer(d, "fc")["name"] = "clk"


@broken("net.json: conv1.name: 'conv1' is already the name of layers[0]")
def doubled_name(d):
    layer(d, "act1")["name"] = "conv1"


@broken("net.json: x.name: 'x' is already the name of the network's input")
def name_of_the_input(d):
    layer(d, "act1")["name"] = "x"


@broken("net.json: Conv1.name: 'Conv1' differs from 'conv1', the name of layers[0], only in case; "
        "files named after them would collide")
def name_in_other_case(d):
    layer(d, "act1")["name"] = "Conv1"


field("pool1.input", "act2", "net.json: pool1.input: no tensor 'act2'; did you mean 'act1'?")
field("pool1.input", "pool1", "net.json: pool1.input: 'pool1' is this layer itself; a layer reads "
                              "tensors made before it")
field("norm1.input", "pool1", "net.json: norm1.input: 'pool1' is made later, by layers[3]; a layer "
                              "reads tensors made before it, so move that layer up")
field("pool1.input", ["act1"], "net.json: pool1.input: must be 1 to 64 letters, digits and "
                               "underscores and not start with a digit, found [\"act1\"]")
field("act1.input", "conv1", "net.json: norm1: no layer reads its tensor and it is not the output, "
                             "which is 'fc'; remove it or name it in output")

field("conv1.stride", 0, "net.json: conv1.stride: must be a positive integer or [vertical, "
                         "horizontal], found 0")
field("conv1.pad", [1, 1, 1], "net.json: conv1.pad: must be a non-negative integer, [vertical, "
      "horizontal], [top, bottom, left, right] or \"same\", found [1, 1, 1]")
field("conv1.pad_value", 16, "net.json: conv1.pad_value: 16 is not from 0 to 15, the range of 'x'; "
                             "give it a wider type or another pad_value")
field("conv1.groups", 3, "net.json: conv1.groups: must divide the 4 output channels, found 3")
field("conv1.groups", 2, "net.json: conv1.weights: take 2 input channels in each of 2 groups, 'x' "
                         "has 2")
field("conv1.dilation", 9, "net.json: conv1.weights: kernel extent 19 is larger than the padded "
                           "input 10")
field("conv1.bias", [1, 2, 3],
      "net.json: conv1.bias: has 3 entries, must have one for each of 4 output channels")
field("conv1.bias", [1, 2, 3, 1 << 50], "net.json: conv1.bias: must be integers of at most 48 "
                                        "bits, found 1125899906842624 at [3]")
field("conv1.bias", [[1, 2, 3, 4]], "net.json: conv1.bias: must be a list of one integer per "
                                    "channel, found 2 dimensions [1, 4]")
field("conv1.weight_scale", [1, 2], "net.json: conv1.weight_scale: has 2 entries, must be one "
                                    "number or one for each of 4 output channels")
field("conv1.weight_scale", [1, 2, 0, 1],
      "net.json: conv1.weight_scale: must not be 0, found 0 at [2]")
field("conv1.weight_scale", [1, "x", 3, 1], "net.json: conv1.weight_scale: entry [1] must be a "
      "number or a string like \"1/255\", found 'x'")
field("conv1.weight_type", "INT3",
      "net.json: conv1.weights: -8 at [0, 0, 0, 0] is no INT3 (-4..3); 36 of 72 weights are not")
field("conv1.weights", {"npz": "w3"},
      "net.json: conv1.weights: net.npz has no array 'w3'; choose w1, w2")
field("conv1.weights", {"npy": "w1"},
      "net.json: conv1.weights: must be a list or {\"npz\": \"key\"}, found {\"npy\": \"w1\"}")
field("conv1.weights", {"npz": "w2"}, "net.json: conv1.weights: must be [kernel height, kernel "
      "width, input channels / groups, output channels], found 2 dimensions [64, 3]")
field("conv1.weights", [[[[1, 2], [3]]]],
      "net.json: conv1.weights: must be a rectangular array, found rows of unequal length")
field("conv1.weights", [[[[1, 2], [3, 0.5]]]],
      "net.json: conv1.weights: must be integers of at most 62 bits, found 0.5 at [0, 0, 1, 1]")
field("conv1.bias", [1, True, 3, 4],
      "net.json: conv1.bias: must be integers, found true at [1]")
field("conv1.weights", 3, "net.json: conv1.weights: must be a list of integers or {\"npz\": "
                          "\"key\"}, found 3")
field("conv1.weights", [], "net.json: conv1.weights: is empty")
field("conv1.weights", np.zeros((3, 2, 3, 4), dtype=int).tolist(),
      "net.json: conv1.weights: take 3 input channels, 'x' has 2; they look like [output channels, "
      "input channels, ...], give [kernel height, kernel width, input channels / groups, output "
      "channels]")
field("fc.input", "pool1", "net.json: flat: no layer reads its tensor and it is not the output, "
      "which is 'fc'; remove it or name it in output\n"
      "net.json: fc.input: 'pool1' is [4, 4, 4]; dense takes a vector, put a flatten layer in "
      "between")
field("fc.weights", [[1] * 64, [-1] * 64], "net.json: fc.weights: take 2 inputs, 'flat' has 64; "
                                           "they look transposed, give [inputs, outputs]")
field("norm1.gamma", [1, 2, 3], "net.json: norm1.beta: has 4 entries, must have as many as gamma, "
      "3\nnet.json: norm1.mean: has 4 entries, must have as many as gamma, 3\n"
      "net.json: norm1.variance: has 4 entries, must have as many as gamma, 3")
field("norm1.variance", [1, -1, 1, 1],
      "net.json: norm1.variance: channel 1: variance + epsilon must be positive, found -0.99999")
field("norm1.mean", 5,
      "net.json: norm1.mean: must be a list of numbers or {\"npz\": \"key\"}, found 5")
field("norm1.mean", {"npz": "w1"}, "net.json: norm1.mean: array 'w1' has shape [3, 3, 2, 4] and "
                                   "dtype int64, must be a 1-D array of numbers")
field("pool1.kernel", 9,
      "net.json: pool1.kernel: kernel extent 9 is larger than the padded input 8")
field("pool1.pad", 2, "net.json: pool1.pad: must be smaller than the kernel [2, 2], found [top, "
                      "bottom, left, right] = [2, 2, 2, 2]")
field("pool1.input", "norm1", "net.json: act1: no layer reads its tensor and it is not the output, "
                              "which is 'fc'; remove it or name it in output\n"
      "net.json: fc.input: 'flat' would need 65 bits in the step that its scales, from "
      "0.9999950000374997 to 3.999980000149999, and the other scales and offsets here have in "
      "common, at most 48 can be built; put quantize layers of one scale in front")


@pytest.mark.parametrize("change, expected", BROKEN)
def test_broken_file_gives_exactly_this_error(tmp_path, change, expected):
    description = base()
    change(description)
    with pytest.raises(ModelError) as error:
        load_model(write(tmp_path, description))
    assert str(error.value) == expected


def test_base_description_is_not_broken(tmp_path):
    assert load_model(write(tmp_path, base())).name == "net"


FILES = [
    (b'{"format": "hwgen-model",\n "version": }',
     "net.json: line 2, column 13: not valid JSON: Expecting value"),
    (b"[1, 2]", "net.json: must be a JSON object, found [1, 2]"),
    (b"\x00\xff\x80", "net.json: is not UTF-8 text, from byte 1 on; is it a JSON file?"),
    (b'{"scale": NaN}', "net.json: NaN is not valid JSON; give a finite number"),
    (b"[" * 100_000, "net.json: not a model description: lists are nested too deeply"),
]


@pytest.mark.parametrize("content, expected", FILES, ids=[text[1][10:40] for text in FILES])
def test_file_that_is_no_description_gives_exactly_this_error(tmp_path, content, expected):
    path = tmp_path / "net.json"
    path.write_bytes(content)
    with pytest.raises(ModelError) as error:
        load_model(path)
    assert str(error.value) == expected


def test_missing_file_is_named(tmp_path):
    with pytest.raises(ModelError) as error:
        load_model(tmp_path / "net.json")
    assert str(error.value) == "net.json: no such file"


def test_folder_instead_of_a_file_is_named(tmp_path):
    with pytest.raises(ModelError) as error:
        load_model(tmp_path)
    assert str(error.value) == f"{tmp_path.name}: is a folder; give the model's .json file in it"


def test_key_given_twice_is_reported(tmp_path):
    path = write(tmp_path, base())
    path.write_text(path.read_text().replace('"pad": 1', '"pad": 1, "pad": 0'))
    with pytest.raises(ModelError) as error:
        load_model(path)
    assert str(error.value) == "net.json: conv1.pad: is given twice; keep one"


def test_missing_weights_file_is_one_problem(tmp_path):
    with pytest.raises(ModelError) as error:
        load_model(write(tmp_path, base(), arrays=None))
    assert str(error.value) == "net.json: weights_file: net.npz does not exist beside net.json"


def test_weights_file_of_another_format_is_reported(tmp_path):
    path = write(tmp_path, base())
    (tmp_path / "net.npz").write_bytes(b"weights")
    with pytest.raises(ModelError) as error:
        load_model(path)
    assert str(error.value) == \
        "net.json: weights_file: net.npz is no .npz file; write it with numpy.savez"


def test_weights_file_of_objects_is_reported(tmp_path):
    path = write(tmp_path, base(), {"w1": np.array([None, {}], dtype=object)})
    with pytest.raises(ModelError) as error:
        load_model(path)
    assert str(error.value) == ("net.json: weights_file: net.npz can't be read as arrays of "
                                "numbers: Object arrays cannot be loaded when allow_pickle=False")


def test_float_array_for_integers_is_reported(tmp_path):
    with pytest.raises(ModelError) as error:
        load_model(write(tmp_path, base(), ARRAYS | {"w1": ARRAYS["w1"] / 2}))
    assert str(error.value) == (
        "net.json: conv1.weights: array 'w1' has dtype float64, must be integers; round it and "
        "convert it with astype(numpy.int64)")


def test_weight_beyond_its_type_is_named_with_its_index(tmp_path):
    weights = ARRAYS["w2"].copy()
    weights[5, 1], weights[60, 2] = 0, 3
    with pytest.raises(ModelError) as error:
        load_model(write(tmp_path, base(), ARRAYS | {"w2": weights}))
    assert str(error.value) == ("net.json: fc.weights: 0 at [5, 1] is no BIPOLAR ({-1, +1}); "
                                "2 of 192 weights are not")


def test_all_problems_are_reported_at_once_in_the_order_of_the_file(tmp_path):
    description = base()
    description["author"] = "me"
    description["input"]["scale"] = -1
    layer(description, "conv1").update(stride=0, weight_type="INT3")
    layer(description, "act1")["rounding"] = "up"
    layer(description, "pool1")["input"] = "act"
    layer(description, "fc")["bias"] = [1]
    with pytest.raises(ModelError) as error:
        load_model(write(tmp_path, description))
    assert [line.split(": ")[1] for line in error.value.problems] == [
        "author", "input.scale", "conv1.weights", "conv1.stride", "act1.rounding", "pool1.input",
        "fc.bias"]


def test_layers_behind_a_broken_one_are_not_reported_on(tmp_path):
    description = base()
    layer(description, "conv1")["stride"] = "two"
    layer(description, "fc")["weights"] = [[1, -1]]  # of the wrong size, if the input were known
    with pytest.raises(ModelError) as error:
        load_model(write(tmp_path, description))
    assert [line.split(": ")[1] for line in error.value.problems] == ["conv1.stride"]


def test_name_with_a_line_break_stays_on_one_line(tmp_path):
    description = base()
    layer(description, "fc")["name"] = "a\nb"
    layer(description, "act1")["x\ny"] = 1
    with pytest.raises(ModelError) as error:
        load_model(write(tmp_path, description))
    assert [line.split(": ")[1] for line in error.value.problems] == [r"act1.'x\ny'",
                                                                     "layers[5].name"]
    assert len(str(error.value).splitlines()) == 2


QUANTIZE = {"type": "quantize", "output_type": "UINT4", "scale": 1}
RELU = [{"type": "bias", "values": [1, 2]},
        {"type": "clamp", "min": -0.5, "max": 2.5}]
UNQUANTIZED = "holds real values that are not quantized yet; "
REFUSED = []


def refused(kind, layers, expected):
    """Register: these layers behind ``x`` [4, 4, 2] UINT4 give this line."""
    REFUSED.append(pytest.param(layers, f"net.json: {expected}", id=kind))


refused("conv2d on real values", [*RELU, {"type": "conv2d", "weight_type": "INT2",
                                          "weights": [[[[1], [1]]]]}],
        f"l2.input: 'l1' {UNQUANTIZED}put a quantize or threshold layer in between")
refused("max_pool on real values", [*RELU, {"type": "max_pool", "kernel": 2}],
        "output: 'l2' holds real values; end the network with a quantize or threshold layer")
refused("requantize on real values",
        [*RELU, {"type": "requantize", "output_type": "INT4", "multiplier": 1, "shift": 0}],
        f"l2.input: 'l1' {UNQUANTIZED}use quantize instead")
refused("flatten of real values", [*RELU, {"type": "flatten"}],
        "output: 'l2' holds real values; end the network with a quantize or threshold layer")
refused("pad of real values", [*RELU, {"type": "pad", "pad": 1}],
        f"l2.input: 'l1' {UNQUANTIZED}put a quantize or threshold layer in between")
refused("lookup of real values", [*RELU, {"type": "lookup", "values": [1], "output_type": "INT4"}],
        f"l2.input: 'l1' {UNQUANTIZED}put a quantize or threshold layer in between")
refused("add of real values", [*RELU, {"type": "add", "inputs": ["l0", "l1"]}],
        f"l2.inputs[1]: 'l1' {UNQUANTIZED}put a quantize or threshold layer in between")
refused("bias on real values", [*RELU, {"type": "bias", "values": [1, 2]}],
        f"l2.input: 'l1' {UNQUANTIZED}put a quantize or threshold layer in between")
refused("argmax of real values", [*RELU, {"type": "argmax"}],
        f"l2.input: 'l1' {UNQUANTIZED}put a quantize or threshold layer in between")
refused("average_pool of real values", [*RELU, {"type": "average_pool", "kernel": 2}],
        f"l2.input: 'l1' {UNQUANTIZED}put a quantize or threshold layer in between")
refused("real output", RELU,
        "output: 'l1' holds real values; end the network with a quantize or threshold layer")
refused("conv2d on scales without a common step",
        [{"type": "affine", "scale": [1, 0.1]},
         {"type": "conv2d", "weight_type": "INT2", "weights": [[[[1], [1]]]]}],
        "l1.input: 'l0' would need 59 bits in the step that its scales, from "
        "0.1 to 1, and the other scales and offsets here have in common, at most 48 can be built; "
        "put quantize layers of one scale in front")
refused("pad_value of unequal scales",
        [{"type": "affine", "scale": [1, 2]},
         {"type": "conv2d", "weight_type": "INT2", "weights": [[[[1], [1]]]], "pad": 1,
          "pad_value": 1}],
        "l1.pad_value: must be left out: 'l0' has unequal scales, so one integer means different "
        "values; padding is real 0 then")
refused("conv1d on an image", [{"type": "conv1d", "weight_type": "INT2", "weights": [[[1], [1]]]}],
        "l0.input: 'x' is [4, 4, 2]; conv1d takes [length, channels], use conv2d")
refused("bias of another length", [{"type": "bias", "values": [1, 2, 3]}],
        "l0.values: has 3 entries, the input has 2 channels")
refused("batch_norm of another length",
        [{"type": "batch_norm", "gamma": [1], "beta": [0], "mean": [0], "variance": [1]}, QUANTIZE],
        "l0.gamma: has 1 entries, the input has 2 channels")
refused("batch_norm beyond float64",
        [{"type": "batch_norm", "gamma": [1, 1e300], "beta": [0, 0], "mean": [0, 0],
          "variance": [1, 1e-40], "epsilon": 0}, QUANTIZE],
        "l0.gamma: channel 1: gamma / sqrt(variance + epsilon) is beyond the range of float64")
refused("max_pool of a negative scale",
        [{"type": "batch_norm", "gamma": [1, -2], "beta": [0, 0], "mean": [0, 0],
          "variance": [1, 1], "epsilon": 0}, {"type": "max_pool", "kernel": 2}],
        "output: 'l1' holds real values; end the network with a quantize or threshold layer")
refused("same in an average",
        [{"type": "average_pool", "kernel": 2, "pad": "same"}],
        "l0.pad: \"same\" is not defined here: TensorFlow leaves padding out of its average, this "
        "average counts it as 0; give the pad as numbers")
refused("add of scales without a common step",
        [{"type": "quantize", "output_type": "UINT4", "scale": 0.1},
         {"type": "add", "inputs": ["x", "l0"]}],
        "l1.inputs: 'x' would need 59 bits in the step that its scale and the other scales and "
        "offsets here have in common, at most 48 can be built; put quantize layers of one scale "
        "in front")
refused("affine of two lengths", [{"type": "affine", "scale": [1, 2], "offset": [1, 2, 3]}],
        "l0.offset: has 3 entries, must be one number or as many as scale, 2")
refused("affine of another length", [{"type": "affine", "scale": [1, 2, 3]}],
        "l0.scale: has 3 entries, the input has 2 channels")
refused("slopes of another length", [{"type": "leaky_relu", "slope": [1, 2, 3]}],
        "l0.slope: has 3 entries, the input has 2 channels")
refused("an unknown function", [{"type": "activation", "function": "sinus"}],
        "l0.function: must be one of sigmoid, tanh, softplus, softsign, elu, selu, erf, "
        "hard_swish, silu, mish, gelu, gelu_tanh, abs, found 'sinus'")
refused("a range beyond the type",
        [{"type": "quantize", "output_type": "INT4", "scale": 1, "range": [-7, 8]}],
        "l0.range: [-7, 8] is not within INT4 (-8..7)")
refused("a range of a sign",
        [{"type": "quantize", "output_type": "BIPOLAR", "scale": 1, "range": [-1, 1]}],
        "l0.range: must be left out for BIPOLAR, which is -1 or +1")
refused("a lookup that misses values",
        [{"type": "lookup", "values": [1, 2, 3], "first": -1, "output_type": "INT4"}],
        "l0.values: are for -1 to 1, 'x' holds UINT4 (0..15); give one entry for each of 0 to 15")
refused("a lookup beyond its type",
        [{"type": "lookup", "values": [1, 9], "output_type": "INT4"}],
        "l0.values: 9 at [1] is no INT4 (-8..7)")
refused("a crop beyond the image", [{"type": "crop", "columns": [1, 5]}],
        "l0.columns: [1, 5] is not within 0 to 4, the columns of 'x'")
refused("a crop of nothing", [{"type": "crop", "rows": [2, 2]}],
        "l0.rows: must be two ascending integers, found [2, 2]")
refused("a channel that is not there", [{"type": "select", "indices": [0, 2]}],
        "l0.indices: indices must be at least one of 0 to 1, found 2")
refused("a reshape to another size", [{"type": "reshape", "shape": [4, 4, 3]}],
        "l0.shape: [4, 4, 3] holds 48 values, the input [4, 4, 2] has 32")
refused("blocks that don't fit the channels", [{"type": "depth_to_space", "block": 2}],
        "l0.block: 2 channels are no multiple of 2 x 2")
refused("blocks that don't fit the image", [{"type": "space_to_depth", "block": 3}],
        "l0.block: 3 does not divide height and width of 'x', [4, 4, 2]")
refused("a transposed convolution that pads away its kernel",
        [{"type": "conv_transpose2d", "weight_type": "INT2", "weights": [[[[1], [1]]]], "pad": 1}],
        "l0.pad: must be smaller than the kernel's extent [1, 1], found [top, bottom, left, right] "
        "= [1, 1, 1, 1]")
refused("output padding of a whole step",
        [{"type": "conv_transpose2d", "weight_type": "INT2", "weights": [[[[1], [1]]]],
          "stride": 2, "output_padding": [0, 2]}],
        "l0.output_padding: must be smaller than the horizontal stride or dilation, found 2")
refused("add of unequal shapes",
        [{"type": "max_pool", "kernel": 2}, {"type": "add", "inputs": ["x", "l0"]}],
        "l1.inputs: shapes differ: 'x' [4, 4, 2], 'l0' [2, 2, 2]")
refused("add of one tensor", [{"type": "add", "inputs": ["x"]}],
        "l0.inputs: must have at least 2 entries, found [\"x\"]")
refused("concat of unequal sizes",
        [{"type": "max_pool", "kernel": 2}, {"type": "concat", "inputs": ["x", "l0"]}],
        "l1.inputs: heights or widths differ: 'x' [4, 4, 2], 'l0' [2, 2, 2]")
refused("concat of an unknown tensor", [{"type": "concat", "inputs": ["x", "y"]}],
        "l0.inputs[1]: no tensor 'y'; choose x")
refused("argmax over a constant channel",
        [{"type": "affine", "scale": [0, 1]}, {"type": "argmax"}],
        "l1.input: 'l0' has a scale of 0, so a channel is constant; put a quantize layer in "
        "between")
refused("sign with a zero point",
        [{"type": "quantize", "output_type": "BIPOLAR", "scale": 1, "zero_point": 1}],
        "l0.zero_point: must be 0 for BIPOLAR, which is +1 where the real value is at least 0, "
        "found 1")
refused("falling levels",
        [{"type": "threshold", "output_type": "UINT2", "levels": [[1, 2, 3], [1, 3, 2]]}],
        "l0.levels: channel 1: must be ascending, found 3.0 before 2.0")
refused("levels of unequal number",
        [{"type": "threshold", "output_type": "UINT2", "levels": [[1, 2, 3], [1, 3]]}],
        "l0.levels: must have the same number of levels in each channel, found 2 and 3")
refused("levels and lists mixed",
        [{"type": "threshold", "output_type": "UINT2", "levels": [1, [2]]}],
        "l0.levels: must not mix numbers and lists, found [1, [2]]")
refused("levels for other channels",
        [{"type": "threshold", "output_type": "UINT2", "levels": [[1], [2], [3]]}],
        "l0.levels: has 3 entries, the input has 2 channels")
refused("too many levels",
        [{"type": "threshold", "output_type": "BIPOLAR", "levels": [1, 2]}],
        "l0.levels: 2 levels from base -1 reach 3, which is no BIPOLAR ({-1, +1}); give at most 1 "
        "or a wider output_type")
refused("base beyond its type",
        [{"type": "threshold", "output_type": "UINT2", "levels": [1, 2], "base": -1}],
        "l0.base: -1 is no UINT2 (0..3)")
refused("clamp upside down", [{"type": "clamp", "min": 2, "max": 1}],
        "l0.max: must be at least min, 2.0, found 1.0")
refused("requantize to BIPOLAR",
        [{"type": "requantize", "output_type": "BIPOLAR", "multiplier": 1, "shift": 1}],
        "l0.output_type: must be able to hold 0, BIPOLAR does not; use threshold with output_type "
        "BIPOLAR")
refused("negative shift",
        [{"type": "requantize", "output_type": "INT4", "multiplier": 1, "shift": [1, -1]}],
        "l0.shift: must be from 0 to 62, found -1 at [1]")
refused("multipliers and shifts of unequal number",
        [{"type": "requantize", "output_type": "INT4", "multiplier": [1, 2, 3], "shift": [1, 1]}],
        "l0.shift: has 2 entries, must be one number or as many as multiplier, 3")
refused("multiplier 0 without a scale",
        [{"type": "requantize", "output_type": "INT4", "multiplier": [1, 0], "shift": 1}],
        "l0.multiplier: 0 at [1] leaves the output without a scale; give scale")
refused("product beyond int64",
        [{"type": "bias", "values": [1 << 45, 0]},
         {"type": "requantize", "output_type": "INT4", "multiplier": 1 << 30, "shift": 40}],
        "l1.multiplier: product with 'l0' (46 bits) needs 77 bits, at most 63 can be built; reduce "
        "multiplier and shift together")
refused("accumulator beyond 48 bits",
        [{"type": "bias", "values": [(1 << 47) - 1, 0]}, {"type": "add", "inputs": ["l0", "l0"]}],
        "l1.inputs: sums need 49 bits, at most 48 can be built; narrow the input with a requantize "
        "or quantize layer")
refused("upsampling by 0", [{"type": "upsample", "factor": 0}],
        "l0.factor: must be a positive integer or [vertical, horizontal], found 0")


@pytest.mark.parametrize("layers, expected", REFUSED)
def test_layer_that_cannot_be_built_exactly_is_refused_with_the_way_out(layers, expected):
    with pytest.raises(ModelError) as error:
        network(*layers)
    assert str(error.value) == expected
