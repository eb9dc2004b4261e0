"""A network whose result does not wait for the last pixels of a frame."""

import json

import numpy as np

from hwgen.boards import load_board
from hwgen.build import build
from hwgen.model import load_model
from hwgen.planning import Target
from hwgen.simulate import simulate
from hwgen.verify import verify

MODEL = {"format": "hwgen-model", "version": 1, "name": "top_rows",
         "input": {"name": "x", "shape": [6, 4, 1], "type": "UINT4"},
         "layers": [{"name": "top", "type": "crop", "rows": [0, 2]}]}


def test_a_frame_that_ends_before_its_last_input_beat_is_simulated(tmp_path):
    (tmp_path / "model.json").write_text(json.dumps(MODEL))
    model = load_model(tmp_path / "model.json")
    board = load_board("zybo-z7010")
    build(model, Target(board, 150.0, board.limits), tmp_path / "build")
    x = np.random.default_rng(0).integers(0, 16, (3, 6, 4, 1))
    result = simulate(tmp_path / "build", x)
    np.testing.assert_array_equal(result.outputs, x[:, :2])
    assert max(result.frame_latencies) < 6 * 4
    assert result.frame_interval_cycles == 6 * 4
    assert verify(tmp_path / "build", model.to_graph(), x).frame_interval_cycles == 6 * 4
