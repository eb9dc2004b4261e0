"""What synthesis makes for each family, simulated with the family's models, computes the same."""

import json
from dataclasses import replace

import numpy as np
import pytest

from hwgen.boards import load_board
from hwgen.build import build
from hwgen.design import Design
from hwgen.families import synth_command
from hwgen.files import data_folder
from hwgen.golden import golden
from hwgen.model import load_model
from hwgen.passes import run_pipeline
from hwgen.planning import Target
from hwgen.simulate import simulate
from hwgen.tools import yosys

MODELS = {"xcup": "xilinx", "ice40": "ice40", "gowin": "gowin"}
LOGIC = {"weights": "logic"}
SHIFT = {"window": "shift", "weights": "logic"}
READER = {"window": "reader", "weights": "logic"}


def map_in_place(folder, part: str) -> dict[str, int]:
    """Put the mapped netlist, flat and with the family's models, in place of the Verilog.

    Returns how many there are of each primitive.
    """
    design = Design.load(folder)
    log, rtl = folder / "map.log", folder / "rtl"
    mapped, stat = folder / "mapped.v", folder / "mapped.json"
    yosys.run([*(f"read_verilog -sv -defer {yosys.quoted(file)}" for file in design.files(folder)),
               f"{synth_command(design.family, part)} -top {design.top}",
               "setattr -mod -unset keep_hierarchy *", "flatten", "delete =A:blackbox",
               f"tee -q -o {yosys.quoted(stat)} stat -json",
               f"write_verilog -noattr -noexpr {yosys.quoted(mapped)}",
               "design -reset", f"read_verilog {yosys.quoted(mapped)}",
               f"read_verilog +/{MODELS[design.family]}/cells_sim.v",
               f"hierarchy -check -top {design.top}", "proc", "flatten", "opt -full",
               f"write_verilog -noattr {yosys.quoted(rtl / 'hwgen_top.v')}"], log=log, folder=rtl)
    replace(design, sources=("rtl/hwgen_top.v",), memories=(), taps=(), fifos=()).save(folder)
    return json.loads(stat.read_text())["modules"]["\\" + design.top]["num_cells_by_type"]


@pytest.mark.slow
@pytest.mark.parametrize("board, folding, primitives", [
    # Yosys has no models of the block RAMs of UltraScale+ and Gowin chips.
    ("ultra96-v2", {"conv1": SHIFT, "conv2": READER, "fc": LOGIC},
     {"CARRY8", "RAM32M16", "LUT6_2"}),
    ("icebreaker", {"conv1": SHIFT, "conv2": READER | {"weights": "block"}, "fc": {
        "weights": "block"}}, {"SB_RAM40_4K", "SB_CARRY"}),
    ("tang-nano-9k", {"conv1": SHIFT, "conv2": READER, "fc": LOGIC}, {"RAM16SDP4", "ALU"}),
])
def test_the_mapped_digits_network_equals_the_golden_model(tmp_path, board, folding, primitives):
    model = load_model(data_folder("examples") / "digits" / "model.json")
    (tmp_path / "fold.json").write_text(json.dumps({"layers": folding}))
    chip = load_board(board)
    folder = tmp_path / "design"
    build(model, Target(chip, chip.clock_mhz, chip.limits, fold=tmp_path / "fold.json"), folder)
    found = map_in_place(folder, chip.part)
    assert primitives <= found.keys()
    x = np.random.default_rng(1).integers(0, 16, (4, 8, 8, 1))
    outputs = simulate(folder, x, stall=0.3, seed=1).outputs
    np.testing.assert_array_equal(outputs.reshape(4, 10),
                                  golden(run_pipeline(model.to_graph()), x, raw=True))
