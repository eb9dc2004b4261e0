"""Random networks built as a user does, their Verilog in Verilator."""

import json

import numpy as np
import pytest

from hwgen.boards import load_board
from hwgen.build import build
from hwgen.planning import Target
from hwgen.resources import Resources
from hwgen.simulate import simulate
from tests.random_networks import random_design, random_frames, random_model

ANY = Resources(lut=1e6, lutram=1e6, ff=1e6, bram36=1e6, dsp=1e6)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [9, 17, 49, 56], ids=lambda seed: f"seed{seed}")
def test_verilog_of_random_networks_is_exact_at_the_predicted_interval(seed, tmp_path):
    design = random_design(seed)
    fold = tmp_path / "fold.json"
    fold.write_text(json.dumps({"layers": {name: o.folding for name, o in design.chosen.items()}}))
    board = load_board("zybo-z7020")
    report = build(random_model(seed), Target(board, board.clock_mhz, ANY, fold=fold),
                   tmp_path / "build")
    x = random_frames(design.graph, 20, seed)
    expected = design.graph.run(x)
    at_speed = simulate(tmp_path / "build", x)
    np.testing.assert_array_equal(at_speed.outputs, expected)
    assert at_speed.frame_interval_cycles == report["frame_interval_cycles"]
    stalled = simulate(tmp_path / "build", x, stall=0.4, seed=seed)
    np.testing.assert_array_equal(stalled.outputs, expected)
