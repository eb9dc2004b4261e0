"""Layers against their definition, written out on exact fractions."""

from fractions import Fraction
from itertools import product

import numpy as np
import pytest

from hwgen.model import Model

RNG = np.random.default_rng(3)


def model(layers, shape=(4, 5, 2), dtype="INT4", **entry):
    named = [{"name": f"l{n}", **layer} for n, layer in enumerate(layers)]
    return Model.from_parts({"format": "hwgen-model", "version": 1, "name": "net", "layers": named,
                             "input": {"name": "x", "shape": list(shape), "type": dtype, **entry}},
                            {})


def reals(graph, codes):
    """Exact real values of the output."""
    tensor, values = graph.tensor(graph.output), graph.run(codes)
    result = np.empty(values.shape, dtype=object)
    for place, code in np.ndenumerate(values):
        scale, offset = tensor.channel(place[-1])
        result[place] = scale * int(code) + offset
    return result


def frames(graph, count=3):
    kind = graph.input_tensor.dtype
    return RNG.integers(kind.low, kind.high + 1, (count, *graph.input_tensor.shape))


@pytest.mark.parametrize("stride, pad, extra, dilation, groups", [
    ((2, 2), (0, 0, 0, 0), (0, 0), (1, 1), 1), ((2, 3), (1, 0, 2, 1), (1, 2), (1, 1), 1),
    ((1, 1), (1, 1, 0, 0), (0, 0), (2, 1), 2), ((3, 2), (0, 2, 1, 1), (2, 0), (1, 2), 2)])
def test_a_transposed_convolution_adds_the_kernel_at_every_pixel(stride, pad, extra, dilation,
                                                                 groups):
    weights = RNG.integers(-3, 4, (3, 3, 2 // groups, 4))
    graph = model([{"type": "conv_transpose2d", "weight_type": "INT3", "weights": weights,
                    "stride": list(stride), "pad": list(pad), "output_padding": list(extra),
                    "dilation": list(dilation), "groups": groups, "bias": [1, 2, 3, 4]}],
                  zero_point=3, dtype="UINT4").to_graph()
    x = frames(graph)
    height = (4 - 1) * stride[0] + 2 * dilation[0] + 1 + extra[0] - pad[0] - pad[1]
    width = (5 - 1) * stride[1] + 2 * dilation[1] + 1 + extra[1] - pad[2] - pad[3]
    wanted = np.zeros((len(x), height, width, 4), dtype=np.int64)
    for y, column, ky, kx, m in product(range(4), range(5), range(3), range(3), range(4)):
        row, place = (y * stride[0] + ky * dilation[0] - pad[0],
                      column * stride[1] + kx * dilation[1] - pad[2])
        if 0 <= row < height and 0 <= place < width:
            first = m // (4 // groups) * (2 // groups)
            for c in range(2 // groups):
                wanted[:, row, place, m] += (x[:, y, column, first + c] - 3) * weights[ky, kx, c, m]
    np.testing.assert_array_equal(reals(graph, x), wanted + np.array([1, 2, 3, 4]))


@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize("include", [False, True])
@pytest.mark.parametrize("kernel, stride, pad", [
    ((2, 2), (2, 2), (0, 0, 0, 0)), ((3, 3), (2, 2), (1, 1, 1, 1)), ((3, 2), (1, 2), (0, 2, 1, 0)),
    ((2, 3), (3, 2), (1, 0, 0, 2))])
def test_an_average_divides_by_the_pixels_that_count(kernel, stride, pad, include, ceil_mode):
    graph = model([{"type": "average_pool", "kernel": list(kernel), "stride": list(stride),
                    "pad": list(pad), "count_include_pad": include, "ceil_mode": ceil_mode}],
                  zero_point=-2, scale="1/3").to_graph()
    x = frames(graph)
    result = reals(graph, x)
    sizes = []
    for n, size in enumerate((4, 5)):
        room = size + pad[2 * n] + pad[2 * n + 1] - kernel[n]
        count = room // stride[n] + 1
        if ceil_mode and room % stride[n] and count * stride[n] < size + pad[2 * n]:
            count += 1
        sizes.append(count)
    assert result.shape == (3, *sizes, 2)
    for i, j in np.ndindex(*sizes):
        rows = range(i * stride[0] - pad[0], i * stride[0] - pad[0] + kernel[0])
        columns = range(j * stride[1] - pad[2], j * stride[1] - pad[2] + kernel[1])
        inside = [(r, c) for r in rows for c in columns if 0 <= r < 4 and 0 <= c < 5]
        padded = [(r, c) for r in rows for c in columns
                  if r < 4 + pad[1] and c < 5 + pad[3]]
        area = len(padded) if include else len(inside)
        total = sum(x[:, r, c].astype(object) + 2 for r, c in inside) * Fraction(1, 3)
        np.testing.assert_array_equal(result[:, i, j], total / area)


def test_a_maximum_with_ceil_mode_takes_what_is_left():
    graph = model([{"type": "max_pool", "kernel": 2, "ceil_mode": True}]).to_graph()
    x = frames(graph)
    assert graph.tensor("l0").shape == (2, 3, 2)
    np.testing.assert_array_equal(graph.run(x)[:, :, 2], x[:, :, 4].reshape(3, 2, 2, 2).max(axis=2))


@pytest.mark.parametrize("scales", [("1/3", "1/2"), (0.25, 4), ("7/5", "-3/7"), (1, 1)])
def test_a_sum_of_unequal_scales_and_zero_points_is_exact(scales):
    layers = [{"name": "a", "type": "affine", "scale": scales[0], "offset": "1/7"},
              {"name": "b", "type": "affine", "scale": [scales[1], 1], "offset": [0, -2],
               "input": "x"},
              {"name": "sum", "type": "add", "inputs": ["a", "b", "x"]}]
    graph = model(layers).to_graph()
    x = frames(graph)
    first, second = Fraction(scales[0]), np.array([Fraction(scales[1]), Fraction(1)], dtype=object)
    codes = x.astype(object)
    wanted = codes * first + Fraction(1, 7) + codes * second + np.array([0, -2]) + codes
    np.testing.assert_array_equal(reals(graph, x), wanted)


def test_a_convolution_of_unequal_scales_pads_with_real_zero():
    weights = RNG.integers(-3, 4, (3, 3, 2, 3))
    graph = model([{"type": "affine", "scale": ["1/3", "3/4"], "offset": ["1/2", 1]},
                   {"type": "conv2d", "weight_type": "INT3", "weights": weights, "pad": 1,
                    "weight_scale": [1, 2, "1/5"]}]).to_graph()
    x = frames(graph)
    values = x.astype(object) * np.array([Fraction(1, 3), Fraction(3, 4)], dtype=object) \
        + np.array([Fraction(1, 2), 1], dtype=object)
    padded = np.full((3, 6, 7, 2), Fraction(0), dtype=object)
    padded[:, 1:-1, 1:-1] = values
    wanted = np.zeros((3, 4, 5, 3), dtype=object)
    for ky, kx, c in product(range(3), range(3), range(2)):
        wanted += padded[:, ky:ky + 4, kx:kx + 5, c, None] * weights[ky, kx, c].astype(object)
    scales = np.array([1, 2, Fraction(1, 5)], dtype=object)
    np.testing.assert_array_equal(reals(graph, x), wanted * scales)


@pytest.mark.parametrize("scale, offset", [
    (1, ["1/3", "-1/2", "7/5", "1/3"]), ("2/3", [0, 1, 2, 3]), ([1, "1/2", -1, 2], 0),
    ([1, 1, 2, 2], [0, "1/4", "1/2", 1])])
def test_the_best_of_unequal_channels_is_that_of_real_values(scale, offset):
    graph = model([{"type": "affine", "scale": scale, "offset": offset}, {"type": "argmax"}],
                  (3, 3, 4)).to_graph()
    x = frames(graph, 40)
    rows = [np.array([Fraction(v) for v in (given if isinstance(given, list) else [given] * 4)],
                     dtype=object) for given in (scale, offset)]
    values = x.astype(object) * rows[0] + rows[1]
    np.testing.assert_array_equal(graph.run(x), values.argmax(axis=-1)[..., None])


def test_a_quantizer_of_a_scale_per_channel_keeps_each_meaning():
    graph = model([{"type": "quantize", "output_type": "INT3", "scale": [2, "1/2"],
                    "zero_point": "1/2", "rounding": "floor", "range": [-3, 2]}]).to_graph()
    x = frames(graph)
    codes = np.floor(x / np.array([2, 0.5]) + 0.5).clip(-3, 2)
    np.testing.assert_array_equal(reals(graph, x).astype(float), (codes - 0.5) * [2, 0.5])


def test_lookup_gives_its_entries():
    values = RNG.integers(-8, 8, (2, 20))
    graph = model([{"type": "lookup", "values": values, "first": -10, "output_type": "INT4",
                    "scale": "1/2", "zero_point": 1}]).to_graph()
    x = frames(graph)
    wanted = np.stack([values[c][x[..., c] + 10] for c in range(2)], axis=-1)
    np.testing.assert_array_equal(graph.run(x), wanted)
    assert graph.tensor("l0").offset == (Fraction(-1, 2),)


def test_a_float_input_is_quantized_in_front_of_the_graph():
    net = model([{"type": "affine", "scale": [2, -1], "offset": -1},
                 {"type": "clamp", "min": -1, "max": 1},
                 {"type": "quantize", "output_type": "INT3", "scale": "1/3"},
                 {"type": "max_pool", "kernel": 2}], dtype="FLOAT")
    graph = net.to_graph()
    assert (graph.input, graph.front.name, len(graph.front.ops)) == ("l2", "x", 3)
    assert graph.input_tensor.dtype.name == "INT3"
    assert [n.name for n in graph.nodes] == ["l3"]


@pytest.mark.parametrize("layers, line", [
    ([{"type": "max_pool", "kernel": 2}], "net.json: output: 'l0' holds real values; end the"),
    ([{"type": "activation", "function": "gelu"}, {"type": "quantize", "output_type": "INT4",
                                                   "scale": 1}],
     "net.json: l0.input: 'x' holds the real values of"),
    ([{"name": "a", "type": "quantize", "output_type": "INT4", "scale": 1},
      {"name": "b", "type": "quantize", "output_type": "INT4", "scale": 2, "input": "x"},
      {"name": "c", "type": "add", "inputs": ["a", "b"]}],
     "net.json: x: is FLOAT and 'x' is read by a, b; put one quantize or threshold layer")])
def test_a_float_input_needs_one_quantizer(layers, line):
    from hwgen.errors import ModelError
    named = [{"name": f"l{n}", **layer} for n, layer in enumerate(layers)]
    with pytest.raises(ModelError) as error:
        Model.from_parts({"format": "hwgen-model", "version": 1, "name": "net", "layers": named,
                          "input": {"name": "x", "shape": [4, 4, 2], "type": "FLOAT"}}, {},
                         "net.json")
    assert any(problem.startswith(line) for problem in error.value.problems)


def test_forms_are_checked():
    from hwgen.errors import ModelError
    with pytest.raises(ModelError) as error:
        model([{"type": "flatten"}], form={"shape": [2, 4, 5], "axes": [1, 2, 2]})
    line, = error.value.problems
    assert line == "model: input.form.axes: must be each of 0 to 2 once, found [1, 2, 2]"
