"""The reference network on its chip: examples/wafer on a Zybo Z7-10 at the published rate."""

from pathlib import Path

import numpy as np
import pytest

from hwgen.boards import load_board
from hwgen.build import build
from hwgen.design import Design
from hwgen.folding import shortfall
from hwgen.model import load_model
from hwgen.passes import run_pipeline
from hwgen.planning import Target, plan_design
from hwgen.simulate import simulate
from hwgen.synth import synthesize
from hwgen.verify import verify

WAFER = Path(__file__).resolve().parents[2] / "examples" / "wafer"
PUBLISHED_FPS = 178
MOST_CLOCKS = 839_808  # 9 x 54 x 54 x 32: what the published design takes for a frame
BOARD = load_board("zybo-z7010")
TARGET = Target(BOARD, 150.0, BOARD.limits, PUBLISHED_FPS)


@pytest.mark.parametrize("variant", ["a", "b"])
def test_the_published_rate_fits_the_chip_by_estimate(variant):
    graph = run_pipeline(load_model(WAFER / f"{variant}.json").to_graph())
    built = plan_design(graph, TARGET)
    assert built.timing.interval <= MOST_CLOCKS
    assert shortfall(built.parts, BOARD.limits, "") == []


@pytest.fixture(scope="module", params=["a", "b"])
def design(request, tmp_path_factory):
    """(folder, folded graph, frames) of a built variant."""
    folder = tmp_path_factory.mktemp("wafer") / "build"
    model = load_model(WAFER / f"{request.param}.json")
    build(model, TARGET, folder)
    frames = np.load(WAFER / "frames.npz")["x"].astype(np.int64).reshape(-1, 224, 224, 1)
    return folder, run_pipeline(model.to_graph()), frames


@pytest.mark.slow
def test_frames_at_full_speed_are_exact_and_take_the_predicted_clocks(design):
    folder, graph, frames = design
    result = simulate(folder, frames[:3])
    np.testing.assert_array_equal(result.outputs, graph.run(frames[:3]))
    assert result.frame_interval_cycles == Design.load(folder).frame_interval_cycles
    assert result.frame_interval_cycles <= MOST_CLOCKS


@pytest.mark.slow
def test_stalls_at_both_ends_do_not_change_a_frame(design):
    folder, graph, frames = design
    result = simulate(folder, frames[3:], stall=0.3, seed=1)
    np.testing.assert_array_equal(result.outputs, graph.run(frames[3:]))


@pytest.mark.slow
def test_a_whole_frame_verifies_in_cocotb(design):
    folder, graph, frames = design
    assert verify(folder, graph, frames[:1], stall=0.25).tests == ("full_speed", "random_stalls")


@pytest.mark.slow
def test_the_synthesized_design_fits_the_chip(design):
    folder, _, _ = design
    assert shortfall({"design": synthesize(folder).total}, BOARD.limits, "") == []
