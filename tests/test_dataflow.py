"""What a report tells of the hardware graph: streams, FIFOs, and when each layer is busy."""

import subprocess

import numpy as np
import pytest

from hwgen.boards import load_board
from hwgen.build import build
from hwgen.dataflow import OUTPUT, PARTS, activity
from hwgen.design import Design
from hwgen.hardware import INPUT
from hwgen.planning import Target
from hwgen.report import load_report
from hwgen.resources import Resources
from hwgen.simulate import simulate, single_stream, watch_wrapper
from hwgen.tools.verilator import find_verilator
from tests.networks import every_block

FIFO_BLOCKS = {"Fifo"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A build of a network with branches and every kind of block."""
    folder = tmp_path_factory.mktemp("dataflow") / "design"
    board = load_board("zybo-z7020")
    everything = Resources(lut=1e6, lutram=1e6, ff=1e6, bram36=1e6, dsp=1e6)
    build(every_block(), Target(board, 150.0, everything, fps=100_000), folder, command="hwgen b")
    return folder


@pytest.fixture(scope="module")
def report(folder):
    return load_report(folder)


def test_every_block_but_fifos_is_a_node_and_every_stream_leads_to_one(report, folder):
    graph = report["graph"]
    blocks = {block.name: block.block for block in Design.load(folder).blocks}
    names = [node["name"] for node in graph["nodes"]]
    assert names[0] == INPUT
    assert names[-1] == OUTPUT
    assert set(names[1:-1]) == {name for name, kind in blocks.items() if kind not in FIFO_BLOCKS}
    for edge in graph["edges"]:
        assert names.index(edge["from"]) < names.index(edge["to"])
    assert {edge["from"] for edge in graph["edges"]} == set(names) - {OUTPUT}
    assert {edge["to"] for edge in graph["edges"]} == set(names) - {INPUT}


def test_every_fifo_is_part_of_one_stream_with_its_depth(report, folder):
    depths = {fifo["name"]: fifo["depth"] for fifo in report["fifos"]}
    assert depths == {fifo.name: fifo.depth for fifo in Design.load(folder).fifos}
    named = [name for edge in report["graph"]["edges"] for name in edge["fifos"]]
    assert sorted(named) == sorted(depths)
    for edge in report["graph"]["edges"]:
        assert edge["fifo_depth"] == sum(depths[name] for name in edge["fifos"])
        height, width, channels = edge["shape"]
        assert edge["beats"] * edge["lanes"] == height * width * channels
    for fifo in report["fifos"]:
        assert 1 <= fifo["needed"] <= fifo["depth"]


def test_the_bottleneck_is_what_is_busiest(report):
    layers = report["schedule"]["layers"]
    assert [layer["name"] for layer in layers] == [layer["name"] for layer in report["layers"]]
    most = max(layer["cycles"] for layer in report["layers"])
    assert report["schedule"]["bottleneck"] == \
        [layer["name"] for layer in report["layers"] if layer["cycles"] == most]
    assert report["schedule"]["interval_cycles"] == report["frame_interval_cycles"]


def test_activity_adds_up_to_the_clocks_of_a_frame(report):
    for layer in report["schedule"]["layers"]:
        assert len(layer["activity"]) == report["schedule"]["parts"] == PARTS
        assert 0 <= layer["first_cycle"] < layer["last_cycle"]
        span = layer["last_cycle"] + 1 - layer["first_cycle"]
        done = sum(layer["activity"]) / PARTS * span / report["frame_interval_cycles"]
        assert done == pytest.approx(layer["busy"], rel=0.05, abs=0.01)


@pytest.mark.parametrize("taken, cycles, busy", [
    (np.arange(PARTS), PARTS, [1.0] * PARTS),
    (np.array([0]), PARTS // 2, [1.0] * (PARTS // 2) + [0.0] * (PARTS // 2)),
    (np.arange(0, PARTS, 2), PARTS // 2, [1.0, 0.0] * (PARTS // 2)),
    (np.arange(0, PARTS, 2), PARTS // 4, [0.5, 0.0] * (PARTS // 2))])
def test_a_block_works_on_each_beat_for_an_equal_part_of_its_clocks(taken, cycles, busy):
    assert activity(taken, cycles, 0, PARTS) == busy


def test_signals_that_count_fifos_are_in_the_verilog(folder, tmp_path):
    design, verilator = Design.load(folder), find_verilator()
    (tmp_path / "watch.v").write_text(watch_wrapper(design, taps=False, fifos=True))
    done = subprocess.run(
        verilator.command("--lint-only", "-Wno-fatal", "-Wno-lint", "-Wno-style", "--top-module",
                          "hwgen_watch", str(tmp_path / "watch.v"),
                          *map(str, design.files(folder))),
        cwd=folder / "rtl", env=verilator.environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert any(len(fifo.puts) == 1 for fifo in design.fifos)
    assert any(len(fifo.puts) == 2 for fifo in design.fifos)


@pytest.mark.slow  # compiles a simulator
def test_no_fifo_holds_more_than_its_depth_and_single_frames_fill_them_less(folder, report):
    x = np.random.default_rng(0).integers(0, 16, (6, 8, 8, 1))
    depths = {fifo["name"]: fifo["depth"] for fifo in report["fifos"]}
    free, stalled = simulate(folder, x), simulate(folder, x, stall=0.6)
    alone = simulate(folder, x, single=True)
    np.testing.assert_array_equal(alone.outputs, free.outputs)
    for result in (free, stalled, alone):
        assert result.fifo_peaks.keys() == depths.keys()
        assert all(1 <= peak <= depths[name] for name, peak in result.fifo_peaks.items())
    assert sum(alone.fifo_peaks.values()) < sum(free.fifo_peaks.values())
    assert len(free.frame_latencies) == 6
    assert free.frame_latencies[0] == free.latency_cycles
    single = single_stream(folder, x)
    assert single["frames"] == 5
    assert single["max_cycles"] <= max(free.frame_latencies)


def test_a_report_keeps_command_and_versions(report):
    assert report["command"] == "hwgen b"
    assert report["versions"].keys() == {"hwgen", "python", "amaranth", "highspy", "numpy",
                                         "pyosys", "verilator"}
