"""Every layer of a description, alone between two quantizers, in simulated hardware.

Foldings are chosen at random; outputs equal the integer graph before any pass.
"""

import numpy as np
import pytest

from hwgen.model import Model
from hwgen.passes import run_pipeline
from tests.random_networks import random_folding, random_frames
from tests.system.top_driver import TopSimulator, always, at_random

RNG = np.random.default_rng(11)


def ints(*shape, low=-8, high=8):
    return RNG.integers(low, high, shape).tolist()


def conv(**fields):
    return {"type": "conv2d", "weight_type": "INT4", **fields}


ACT = {"type": "quantize", "output_type": "INT4", "scale": 8}

OPERATORS = {  # layers behind x: [5, 6, 4] INT4
    "grouped": [conv(weights=ints(3, 3, 2, 6), groups=2, pad=1), ACT],
    "depthwise of two outputs each": [conv(weights=ints(3, 3, 1, 8), groups=4, stride=2), ACT],
    "dilated": [conv(weights=ints(2, 3, 4, 2), dilation=[3, 2], pad=[1, 2, 0, 3]), ACT],
    "padding wider than the kernel": [conv(weights=ints(2, 2, 4, 2), pad=[3, 0, 2, 4]), ACT],
    "padded pointwise": [conv(weights=ints(1, 1, 4, 3), pad=[1, 2, 0, 1], pad_value=-3), ACT],
    "stride beyond the kernel": [conv(weights=ints(1, 2, 4, 3), stride=[2, 3]), ACT],
    "kernel of the whole image": [conv(weights=ints(5, 6, 4, 3)), ACT],
    "real zero beside the type": [
        {"type": "quantize", "output_type": "UINT3", "scale": 1, "zero_point": -2},
        conv(weights=ints(3, 3, 4, 2), pad=1), ACT],
    "real zero between two codes": [
        {"type": "affine", "offset": 0.5}, conv(weights=ints(3, 3, 4, 2), pad=1), ACT],
    "unequal scales into weights": [
        {"type": "affine", "scale": [1, 2, 4, 1], "offset": [0, 1, 0, 2]},
        conv(weights=ints(3, 3, 4, 2)), ACT],
    "unequal scales behind a concat": [
        {"name": "a", "type": "quantize", "output_type": "INT3", "scale": "1/3"},
        {"name": "b", "type": "quantize", "output_type": "UINT2", "scale": "7/5", "input": "x"},
        {"type": "concat", "inputs": ["a", "b"]},
        conv(weights=ints(3, 3, 8, 2), pad=1, bias=[5, -9]), ACT],
    "transposed convolution": [
        {"type": "conv_transpose2d", "weight_type": "INT4", "weights": ints(3, 3, 4, 2),
         "stride": 2, "pad": 1, "output_padding": 1}, ACT],
    "grouped transposed convolution": [
        {"type": "conv_transpose2d", "weight_type": "INT4", "weights": ints(2, 3, 2, 4),
         "stride": [1, 3], "groups": 2, "bias": [1, 2, 3, 4]}, ACT],
    "maximum with ceil_mode": [
        {"type": "max_pool", "kernel": 3, "stride": 2, "pad": [0, 1, 1, 0], "ceil_mode": True}],
    "average that leaves padding out": [
        {"type": "average_pool", "kernel": 3, "stride": 2, "pad": 1, "count_include_pad": False},
        {"type": "quantize", "output_type": "INT5", "scale": 0.5}],
    "average of a zero point": [
        {"type": "quantize", "output_type": "UINT4", "scale": 1, "zero_point": 5},
        {"type": "average_pool", "kernel": [2, 3], "stride": 1, "pad": 1},
        {"type": "quantize", "output_type": "INT5", "scale": 0.5}],
    "average with ceil_mode": [
        {"type": "quantize", "output_type": "UINT4", "scale": 1, "zero_point": 5},
        {"type": "average_pool", "kernel": 3, "stride": 2, "pad": 1, "ceil_mode": True},
        {"type": "quantize", "output_type": "INT5", "scale": 0.5}],
    "sum of unequal scales": [
        {"name": "a", "type": "quantize", "output_type": "UINT3", "scale": "5/7"},
        {"type": "add", "inputs": ["a", "x"]}, {"type": "quantize", "output_type": "INT4",
                                                "scale": "1/2"}],
    "difference": [
        {"name": "a", "type": "quantize", "output_type": "INT3", "scale": 2},
        {"name": "b", "type": "affine", "scale": -1}, {"type": "add", "inputs": ["x", "b"]}],
    "leaky relu": [{"type": "leaky_relu", "slope": [0.25, 0.5, 0, 1]},
                   {"type": "quantize", "output_type": "INT4", "scale": 0.75}],
    "prelu that falls": [{"type": "leaky_relu", "slope": [0.25, -0.5, 0, -2]},
                         {"type": "quantize", "output_type": "INT4", "scale": 0.75}],
    "sigmoid": [{"type": "activation", "function": "sigmoid"},
                {"type": "quantize", "output_type": "UINT4", "scale": "1/15"}],
    "gelu": [{"type": "affine", "scale": [0.5, 0.25, 1, -0.5]},
             {"type": "activation", "function": "gelu"},
             {"type": "quantize", "output_type": "INT4", "scale": 0.25}],
    "lookup": [{"type": "lookup", "values": ints(4, 16), "output_type": "INT4"}],
    "scale per channel": [{"type": "quantize", "output_type": "INT3", "scale": [1, 2, 3, 0.5]}],
    "narrow range": [{"type": "quantize", "output_type": "INT3", "scale": 1, "range": [-3, 3]}],
    "tflite": [conv(weights=ints(3, 3, 4, 2)),
               {"type": "requantize", "output_type": "INT4", "rounding": "tflite", "zero_point": -1,
                "multiplier": [1518500250, 1200000000], "shift": [35, 34]}],
    "crop": [{"type": "crop", "rows": [1, 4], "columns": [2, 6], "channels": [1, 3]}],
    "select": [{"type": "select", "indices": [3, 1, 1, 0, 2]}],
    "select behind a convolution": [conv(weights=ints(2, 2, 4, 6)), ACT,
                                    {"type": "select", "indices": [5, 0, 3, 2]}],
    "reshape": [{"type": "reshape", "shape": [3, 5, 8]}, conv(weights=ints(2, 2, 8, 2)), ACT],
    "vector to image": [{"type": "flatten"},
                        {"type": "dense", "weight_type": "INT4", "weights": ints(120, 24)},
                        {"type": "quantize", "output_type": "INT3", "scale": 64},
                        {"type": "reshape", "shape": [2, 3, 4]},
                        conv(weights=ints(2, 2, 4, 2)), ACT],
    "depth to space": [{"type": "depth_to_space", "block": 2}],
    "depth to space, channels slowest": [
        conv(weights=ints(1, 1, 4, 8)), ACT,
        {"type": "depth_to_space", "block": 2, "mode": "crd"}],
    "space to depth": [{"type": "crop", "rows": [0, 4]}, {"type": "space_to_depth", "block": 2}],
    "pad": [{"type": "pad", "pad": [1, 0, 2, 1], "pad_value": 7},
            {"type": "max_pool", "kernel": 2}],
    "subsample": [{"type": "subsample", "stride": [2, 3]}],
    "argmax of unequal offsets": [
        {"type": "affine", "offset": [0.5, -0.25, 0.125, 1]}, {"type": "argmax"}],
    "argmax of unequal scales": [
        {"type": "affine", "scale": [0.5, 0.75, -1, 1]}, {"type": "argmax"}],
    "quantizer behind a maximum": [
        {"type": "affine", "scale": [1, -0.5, 0.25, -1]}, {"type": "relu"},
        {"type": "max_pool", "kernel": 2}, {"type": "flatten"},
        {"type": "quantize", "output_type": "UINT3", "scale": 0.5}],
    "real values through everything that moves": [
        {"type": "leaky_relu", "slope": 0.3}, {"name": "m", "type": "max_pool", "kernel": 2},
        {"name": "s", "type": "select", "indices": [1, 0, 3]},
        {"name": "c", "type": "concat", "inputs": ["s", "m"]}, {"type": "upsample", "factor": 2},
        {"type": "quantize", "output_type": "INT3", "scale": [1, 2, 1, 0.5, 1, 1, 3]}],
}


def model_of(layers):
    named = [{"name": f"layer{n}", **layer} for n, layer in enumerate(layers)]
    return Model.from_parts(
        {"format": "hwgen-model", "version": 1, "name": "operators",
         "input": {"name": "x", "shape": [5, 6, 4], "type": "INT4"}, "layers": named}, {})


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("layers", OPERATORS.values(), ids=OPERATORS)
def test_operators_are_exact_in_hardware_with_any_folding(layers, seed):
    graph = model_of(layers).to_graph()
    folded = run_pipeline(graph)
    design = random_folding(folded, np.random.default_rng(seed), exact_depths=seed == 0)
    simulator = TopSimulator(design.hardware)
    x = random_frames(folded, 4, seed)
    expected = graph.run(x)
    np.testing.assert_array_equal(folded.run(x), expected)
    output = design.hardware.stream(design.hardware.output)
    patience = 3 * (design.timing.interval + design.timing.latency) + 300
    for gates in ({"source": always, "sink": always},
                  {"source": at_random(0.6, seed), "sink": at_random(0.6, seed + 9)}):
        run = simulator.run(x, patience=4 * patience, **gates)
        got = output.unpack(run.words).reshape(expected.shape)
        np.testing.assert_array_equal(got, expected)
        if gates["sink"] is always:
            assert run.interval(output.beats) == design.timing.interval
