"""Weights in the parity bits of block RAMs: simulated Verilog, lint, and the mapped netlist."""

import json

import numpy as np
import pytest
from amaranth.back import rtlil

from hwgen.activity import measure
from hwgen.blocks.export import Export
from hwgen.blocks.parity_memory import ParityMemory, plan_parity
from hwgen.boards import load_board
from hwgen.build import build
from hwgen.design import Design
from hwgen.files import data_folder, render_template
from hwgen.flatten import flatten
from hwgen.golden import golden
from hwgen.model import Model
from hwgen.passes import run_pipeline
from hwgen.planning import Target
from hwgen.resources import Resources
from hwgen.simulate import simulate
from hwgen.synth import mapped_netlists, synthesize, synthesize_module
from hwgen.tools import yosys
from hwgen.tools.verilator import lint

pytestmark = pytest.mark.slow

FOLDING = {name: {"pe": 1, "simd": 1, "weights": "parity"} for name in ("fc1", "fc2", "fc3")}


def network() -> Model:
    """Layers of 46 080, 36 864 and 39 936 words, of 4, 1 and 4 bits: two banks with parity bits,
    one, and one with a memory without behind it."""
    rng = np.random.default_rng(1)

    def dense(name, inputs, outputs, kind):
        weights = rng.choice([-1, 1], (inputs, outputs)) if kind == "BIPOLAR" \
            else rng.integers(-8, 8, (inputs, outputs))
        return {"name": name, "type": "dense", "weights": weights, "weight_type": kind}

    def act(name):
        return {"name": name, "type": "requantize", "output_type": "INT3", "multiplier": 1,
                "shift": 6, "scale": 1}

    return Model.from_parts({
        "format": "hwgen-model", "version": 1, "name": "parity",
        "input": {"name": "x", "shape": [240], "type": "INT3"},
        "layers": [dense("fc1", 240, 192, "INT4"), act("act1"), dense("fc2", 192, 192, "BIPOLAR"),
                   act("act2"), dense("fc3", 192, 208, "INT4")]}, {})


def synthesized(memory: ParityMemory, folder) -> Resources:
    """Resources of the exported memory alone."""
    export = Export("memory")
    (folder / "memory.il").write_text(rtlil.convert(memory, name="memory", platform=export))
    yosys.run(["read_rtlil memory.il", "proc -norom", "opt_dff", "write_verilog memory.v"],
              log=folder / "memory.log", folder=folder)
    for name, lines in export.memories.items():
        (folder / name).write_text("\n".join(lines))
    values = {"carry": 4, "dsp48e1": True, "ramb36e1": True}
    with (folder / "memory.v").open("a") as text:
        for name in sorted(export.uses):
            text.write(render_template(f"{name}.v.j2", values).replace(
                '"contents.mem"', f'"{next(iter(export.memories), "")}"'))
    return synthesize_module(folder / "memory.v", "memory", "xc7", log=folder / "synth.log")


@pytest.fixture(scope="module")
def frames():
    return np.random.default_rng(2).integers(-4, 4, (3, 1, 1, 240))


@pytest.fixture(scope="module")
def expected(frames):
    found = golden(run_pipeline(network().to_graph()), frames.reshape(3, 240), raw=True)
    return found.reshape(3, -1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("parity")
    (folder / "fold.json").write_text(json.dumps({"layers": FOLDING}))
    board = load_board("zybo-z7010")
    build(network(), Target(board, 150, board.limits, fold=folder / "fold.json"), folder / "design")
    return folder / "design"


@pytest.mark.parametrize("stall", [0.0, 0.3])
def test_simulated_words_in_parity_bits_are_exact(folder, frames, expected, stall):
    found = simulate(folder, frames, stall=stall, seed=1)
    np.testing.assert_array_equal(found.outputs.reshape(3, -1), expected)


def test_words_in_parity_bits_come_at_the_predicted_clocks(folder, frames):
    found, design = simulate(folder, frames), Design.load(folder)
    assert found.latency_cycles == design.latency_cycles
    assert found.frame_interval_cycles == design.frame_interval_cycles


def test_lint_finds_nothing_in_a_memory_with_parity_bits(folder):
    assert lint(folder, data_folder("sim") / "lint.vlt") == []


@pytest.fixture(scope="module")
def synthesis(folder):
    return synthesize(folder, jobs=1)


def test_mapped_block_rams_give_the_words_of_their_parity_bits(folder, synthesis, frames, expected):
    design = Design.load(folder)
    found = measure(folder, design, flatten(design, mapped_netlists(folder)), frames, 1).outputs
    wanted = expected[np.arange(len(found)) % 3]
    np.testing.assert_array_equal(found.reshape(len(found), -1), wanted)


@pytest.mark.parametrize("width, words", [(4, 329672), (1, 36864), (4, 9216), (4, 40000),
                                          (7, 100000), (3, 368640), (16, 27548), (1, 700000)])
def test_estimates_of_memories_with_parity_bits_are_close(width, words, tmp_path):
    plan = plan_parity(width, words)
    bits = np.random.default_rng(words).integers(0, 2, (words, width), dtype=np.uint8)
    found = synthesized(ParityMemory(plan, lambda: bits, "weights"), tmp_path)
    estimate = plan.estimate("xc7")
    assert found.bram36 == estimate.bram36 == plan.bram36
    assert found.lut == pytest.approx(estimate.lut, rel=0.05, abs=2)
    assert found.ff == pytest.approx(estimate.ff, rel=0.05)
