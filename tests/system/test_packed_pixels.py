"""Designs that take several pixels in a clock."""

import json
from dataclasses import replace

import numpy as np
import pytest

from hwgen.boards import load_board
from hwgen.build import build
from hwgen.design import Design
from hwgen.errors import HwgenError, ModelError
from hwgen.model import Model
from hwgen.ops import Conv, Requantize
from hwgen.passes import run_pipeline
from hwgen.planning import Target, plan_design
from hwgen.simulate import simulate
from hwgen.types import TERNARY, uint_type
from tests.graphs import GraphBuilder
from tests.system.top_driver import TopSimulator, at_random

BOARD = load_board("zybo-z7010")
PIXELS = 8 * 12


def network(stride=2, pad=0):
    rng = np.random.default_rng(0)
    weights = rng.integers(-1, 2, (3, 3, 1, 4))
    return (GraphBuilder((8, 12, 1), uint_type(3))
            .add("a", Conv(weights, TERNARY, np.zeros(4), (2, stride), (pad,) * 4))
            .add("act", Requantize([1], [1], 0, "half_up", uint_type(3))).build())


def target(interval=None, **given):
    return replace(Target(BOARD, 150.0, BOARD.limits, 150e6 / interval if interval else None),
                   **given)


def run(graph, built, **ends):
    x = np.random.default_rng(1).integers(0, 8, (5, 8, 12, 1))
    simulator = TopSimulator(built.hardware)
    result = simulator.run(x.reshape(5, *built.hardware.input.shape), patience=2000, **ends)
    out = built.hardware.stream(built.hardware.output)
    np.testing.assert_array_equal(out.unpack(result.words), graph.run(x))
    return result.interval(out.beats)


@pytest.mark.parametrize("stride, pixels", [(1, 1), (2, 2), (3, 3), (4, 4)])
def test_the_fastest_design_takes_as_many_pixels_in_a_clock_as_the_stride_allows(stride, pixels):
    graph = network(stride)
    built = plan_design(graph, target())
    assert built.hardware.input.shape == (8, 12 // pixels, pixels)
    assert run(graph, built) == built.timing.interval == PIXELS // pixels


@pytest.mark.parametrize("interval, pixels", [(48, 2), (95, 2), (96, 1), (500, 1)])
def test_a_rate_is_reached_with_the_fewest_pixels_in_a_clock(interval, pixels):
    graph = network()
    built = plan_design(graph, target(interval))
    assert built.hardware.input.shape[2] == pixels
    assert run(graph, built) == built.timing.interval <= interval


@pytest.mark.parametrize("stride, pixels", [(2, 2), (4, 4)])
def test_padding_does_not_keep_pixels_apart(stride, pixels):
    graph = network(stride, 1)
    built = plan_design(graph, target())
    assert built.hardware.input.shape[2] == pixels
    assert run(graph, built) == built.timing.interval < 1.3 * PIXELS / pixels


def test_packed_designs_are_exact_under_stalls():
    graph = network()
    run(graph, plan_design(graph, target()), source=at_random(0.6, 1), sink=at_random(0.5, 2))


def test_a_rate_beyond_the_most_pixels_in_a_clock_is_refused():
    with pytest.raises(ModelError, match="leave 47 clocks a frame; a needs at least 48: ask for "):
        plan_design(network(), target(47))


def fold(tmp_path, pixels):
    (tmp_path / "fold.json").write_text(json.dumps({"layers": {"x": {"pixels": pixels}}}))
    return plan_design(network(), target(fold=tmp_path / "fold.json"))


@pytest.mark.parametrize("pixels", [1, 2])
def test_a_fold_file_states_the_pixels(pixels, tmp_path):
    assert fold(tmp_path, pixels).hardware.input.shape[2] == pixels


def test_pixels_that_the_network_cannot_take_at_once_are_refused(tmp_path):
    with pytest.raises(ModelError, match=r"x: pixels can't be 3; choose from 1, 2$"):
        fold(tmp_path, 3)


def test_a_packed_build_takes_the_frames_of_the_model(tmp_path):
    rng = np.random.default_rng(2)
    model = Model.from_parts({
        "format": "hwgen-model", "version": 1, "name": "strided",
        "input": {"name": "x", "shape": [8, 12, 1], "type": "UINT3"},
        "layers": [{"name": "a", "type": "conv2d", "weights": rng.integers(-1, 2, (3, 3, 1, 4)),
                    "weight_type": "TERNARY", "stride": 2}]}, {}, "strided.json")
    report = build(model, target(), tmp_path / "d")
    assert report["layers"][0]["folding"] == {"pixels": 2}
    design = Design.load(tmp_path / "d")
    assert design.input.shape == (8, 12, 1)
    x = rng.integers(0, 8, (3, 8, 12, 1))
    found = simulate(tmp_path / "d", x)
    np.testing.assert_array_equal(found.outputs, run_pipeline(model.to_graph()).run(x))
    assert found.frame_interval_cycles == design.frame_interval_cycles == 48
    with pytest.raises(HwgenError, match=r"expected \[frames, 8, 12, 1\]"):
        simulate(tmp_path / "d", x.reshape(3, 8, 6, 2))
