"""Convolutions side by side, made one and taken apart again, in simulated hardware."""

import numpy as np
import pytest

from hwgen.blocks.split import SplitConfig
from hwgen.boards import load_board
from hwgen.build import build
from hwgen.model import Model
from hwgen.passes import run_pipeline, variants
from hwgen.planning import Target
from hwgen.simulate import simulate
from hwgen.verify import verify
from tests.graphs import inception
from tests.random_networks import random_folding, random_frames
from tests.system.top_driver import TopSimulator

FRAMES = 4


@pytest.mark.parametrize("seed", range(8))
def test_merged_layers_compute_the_same_in_the_clocks_predicted(seed):
    graph, merged = variants(inception())
    design = random_folding(merged, np.random.default_rng(seed), exact_depths=not seed % 2)
    assert any(isinstance(n.block, SplitConfig) for n in design.hardware.nodes)
    x = random_frames(graph, FRAMES, seed)
    out = design.hardware.stream(design.hardware.output)
    result = TopSimulator(design.hardware).run(x, patience=20_000)
    np.testing.assert_array_equal(out.unpack(result.words), graph.run(x))
    assert result.interval(out.beats) == design.timing.interval


def description():
    """Three 1x1 convolutions that read the input, as an author writes them."""
    rng = np.random.default_rng(2)
    layers = []
    for name, outputs, shift in (("one", 4, 1), ("two", 2, 2), ("three", 2, 1)):
        layers += [{"name": name, "type": "conv2d", "input": "x", "weight_type": "TERNARY",
                    "weights": rng.integers(-1, 2, (1, 1, 3, outputs)).tolist()},
                   {"name": f"{name}_act", "type": "requantize", "multiplier": 1, "shift": shift,
                    "rounding": "floor", "output_type": "UINT2"}]
    layers.append({"name": "all", "type": "concat", "inputs": ["three_act", "one_act", "two_act"]})
    return Model.from_parts({"format": "hwgen-model", "version": 1, "name": "merged",
                             "input": {"name": "x", "shape": [4, 5, 3], "type": "UINT3"},
                             "layers": layers}, {}, "merged.json")


@pytest.mark.slow
def test_a_built_design_s_streams_are_the_model_s_tensors(tmp_path):
    model, board = description(), load_board("zybo-z7010")
    build(model, Target(board, 150, board.limits, fps=150e6 / 2000), tmp_path / "design")
    graph = run_pipeline(model.to_graph())
    x = random_frames(graph, FRAMES, 0)
    assert verify(tmp_path / "design", graph, x).frames == FRAMES
    result = simulate(tmp_path / "design", x, stall=0.3, taps=True)
    assert result.taps.keys() == {"one_act", "two_act", "three_act", "all"}
    for name, values in graph.run_all(x, result.taps).items():
        if name in result.taps:
            np.testing.assert_array_equal(result.taps[name], values, name)
