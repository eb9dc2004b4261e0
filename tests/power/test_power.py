"""Power: sums of hand-made gates, published anchors, the section of the report and its table."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from gate_designs import add_lut, add_register, wires
from rich.console import Console

from benchmarks import power as benchmark
from hwgen.cell_energies import ECP5, FAMILIES, XC7, processing_system_w
from hwgen.cli import main
from hwgen.files import data_folder
from hwgen.gates import Gates
from hwgen.model import load_model
from hwgen.power import KINDS, Rates, energy_by_kind, power_of_resources, routed_loads
from hwgen.power_table import KIND_NAMES, render_power
from hwgen.resources import Resources


def sums(gates: Gates, rate: float) -> dict[str, float]:
    """pJ a clock of block 0 where all nets change at a rate."""
    rates = Rates(np.full(gates.count, rate), np.ones(len(gates.shifts)), np.ones(len(gates.rams)),
                  np.ones(len(gates.blocks)))
    return dict(zip(KINDS, energy_by_kind(gates, 2, rates, XC7)[0]))


def toggler() -> Gates:
    """A flip-flop, a LUT in its slice, and a second LUT elsewhere."""
    gates = wires()
    q = gates.new()
    d = add_lut(gates, 0b01, q)
    add_register(gates, d, q)
    gates.load([add_lut(gates, 0b10, q)], "port")
    gates.finish()
    return gates


def test_energies_add_up_over_nets_and_cells():
    found = sums(toggler(), 0.5)
    assert found["clock"] == pytest.approx(XC7.clock_ff)
    assert found["logic"] == pytest.approx(2 * 0.5 * XC7.lut)
    assert found["ff"] == pytest.approx(0.5 * XC7.ff)
    # q reaches two LUTs, the second LUT a port; the first LUT's net stays in the slice.
    assert found["signals"] == pytest.approx(0.5 * (2 * XC7.net + 3 * XC7.load))
    assert found["lutram"] == found["bram"] == found["dsp"] == 0


def test_nothing_but_the_clock_goes_on_without_activity():
    found = sums(toggler(), 0.0)
    assert {kind for kind, energy in found.items() if energy} == {"clock"}


def test_a_net_that_stays_in_its_slice_has_no_routed_load():
    gates = wires()
    q, other = gates.new(), gates.new()
    d = add_lut(gates, 0b01, q)
    add_register(gates, d, q)
    add_register(gates, d, other)  # the second flip-flop is in another slice
    inside = gates.drivers.copy()
    gates.finish()
    assert routed_loads(gates)[[d, q]].tolist() == [1, 1]
    assert len(inside) == 3


def test_an_enable_counts_once_for_a_slice():
    gates = wires()
    q, enable = gates.new(), gates.ports["s_axis_tvalid"][0]
    gates.drive([enable], "port", 1)
    for _ in range(4):
        add_register(gates, q, gates.new())
    gates.load([enable] * 4, "control")
    gates.finish()
    assert routed_loads(gates)[enable] == 1


def test_ecp5_is_scaled_and_less_certain():
    assert ECP5.lut / XC7.lut == pytest.approx(40 / 28 * 1.21)
    assert ECP5.uncertainty > XC7.uncertainty
    assert set(FAMILIES) == {"xc7", "ecp5"}


def test_only_zynq_has_processors():
    assert processing_system_w("xc7z010clg400-1") == pytest.approx(1.51)
    assert processing_system_w("xc7a35ticsg324-1L") is None


# Measured by `python benchmarks/power.py --case wafer-178`: kinds of `power`, and the resources.
WAFER_178 = {"clock": 0.050561, "logic": 0.0092315, "signals": 0.0069103, "ff": 0.00017734,
             "lutram": 0.0015686, "bram": 0.04166, "dsp": 0.0064469}
WAFER_178_USED = Resources(lut=3744, lutram=712, ff=4354, bram36=55.5, dsp=9)


def test_the_published_design_comes_within_a_factor_of_1_5():
    kinds = benchmark.published_design({"kinds": WAFER_178}, WAFER_178_USED)
    for watts in (sum(kinds.values()), sum(kinds.values()) + 0.092):  # without and with static
        assert 0.24 / 1.5 < watts < 0.24 * 1.5


def test_power_goes_with_resources_and_clock():
    used = Resources(lut=100, lutram=20, ff=50, bram36=2, dsp=1)
    like = dict.fromkeys(KINDS, 0.01)
    same = power_of_resources(used, 100, "xc7", like, used, 100)
    assert {kind: same[kind] for kind in KINDS if kind != "clock"} == pytest.approx(
        dict.fromkeys(KINDS[1:], 0.01))
    more = power_of_resources(replace(used, lut=180, bram36=4), 200, "xc7", like, used, 100)
    assert (more["logic"], more["bram"], more["ff"]) == pytest.approx((0.04, 0.04, 0.02))


@pytest.mark.slow  # a synthesis for 7 series
def test_operations_cost_more_than_an_asics_by_what_an_fpga_costs(tmp_path):
    found = benchmark.operations(tmp_path / "operations")
    # I. Kuon and J. Rose (2007): 14 times the dynamic power of an ASIC of the same process. Ours
    # has registers and their clock in it, which the ASIC's figures have not.
    for name in ("8-bit add", "8-bit multiply"):
        assert 5 < found[name] / benchmark.ASIC_PJ[name] < 50
    assert 0.5 < found["64 bits from 8 KB"] / benchmark.ASIC_PJ["64 bits from 8 KB"] < 5
    assert found["64 bits from 8 KB"] < benchmark.ASIC_PJ["64 bits from DRAM, low"] / 20


@pytest.fixture(scope="module")
def estimated(tmp_path_factory):
    """The digits network for an ECP5, estimated on random frames, and a copy of its report."""
    folder = tmp_path_factory.mktemp("power") / "digits"
    model = data_folder("examples") / "digits" / "model.json"
    assert main(["build", str(model), "--board", "ulx3s-85f", "--fps", "10000", "-o",
                 str(folder)]) == 0
    assert main(["power", str(folder), "--frames", "1"]) == 0
    return folder, json.loads((folder / "report.json").read_text())


def shown(report) -> str:
    console = Console(width=200, no_color=True, force_terminal=False)
    with console.capture() as capture:
        console.print(render_power(report))
    return capture.get()


def test_the_report_holds_the_promised_fields(estimated):
    power = estimated[1]["power"]
    assert set(power["kinds"]) == set(KINDS) == set(KIND_NAMES)
    assert power["static_w"] == 0.30
    assert power["total_w"] == pytest.approx(power["static_w"] + power["dynamic_w"],
                                              rel=1e-4)
    parts = [*power["layers"].values(), power["top"]]
    assert sum(part["dynamic_w"] for part in parts) == pytest.approx(power["dynamic_w"], rel=1e-3)
    assert sum(power["kinds"].values()) == pytest.approx(power["dynamic_w"], rel=1e-3)
    assert power["fps"] == pytest.approx(estimated[1]["fps"])
    assert power["energy_per_frame_j"] == pytest.approx(power["total_w"] / power["fps"], rel=1e-4)
    assert power["chip"] is None
    assert power["activity"]["input"] == "random"
    assert power["activity"]["clocks"] == estimated[1]["frame_interval_cycles"]


def test_activity_differs_from_the_constant_guess(estimated):
    power = estimated[1]["power"]
    assert power["constant_guess"]["toggle_rate"] == 0.125
    ratios = [part["dynamic_w"] / part["constant_guess_w"] for part in power["layers"].values()]
    assert max(ratios) > 1.1 * min(ratios)
    assert max(abs(ratio - 1) for ratio in ratios) > 0.1


def test_the_table_shows_what_the_report_holds(estimated):
    report = estimated[1]
    text, power = shown(report), report["power"]
    for kind, name in KIND_NAMES.items():
        assert f"{name} " in text
        assert f"{power['kinds'][kind] * 1e3:,.2f}" in text
    for layer, part in power["layers"].items():
        line = next(line for line in text.splitlines() if line.startswith(f"{layer} "))
        assert f"{part['dynamic_w'] * 1e3:,.2f}" in line
    assert f"{power['fps_per_w']:,.1f} frames/s/W" in text
    assert "of random input, seed 0" in text
    assert "within a factor of 2 either way" in text


def test_the_report_command_shows_the_power_too(estimated, capsys):
    capsys.readouterr()
    assert main(["report", str(estimated[0])]) == 0
    assert "\nDynamic power by layer, mW\n" in capsys.readouterr().out


def test_still_frames_take_less_than_random_ones(estimated, tmp_path, capsys):
    folder, report = estimated
    shape = load_model(folder / "model/model.json").to_graph().input_tensor.shape
    np.save(tmp_path / "still.npy", np.zeros((1, *shape), dtype=np.int64))
    capsys.readouterr()
    assert main(["power", str(folder), "--raw", "--input", str(tmp_path / "still.npy"),
                 "--json"]) == 0
    still = json.loads(capsys.readouterr().out)
    assert still["dynamic_w"] < report["power"]["dynamic_w"]
    assert still["activity"]["input"] == "still.npy"
    assert still == json.loads((folder / "report.json").read_text())["power"]


def errors(capsys, *arguments) -> list[str]:
    capsys.readouterr()
    assert main(["power", *map(str, arguments)]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    return err.splitlines()


def test_a_family_without_energies_is_named(estimated, tmp_path, capsys):
    folder = shutil.copytree(estimated[0], tmp_path / "d")
    text = (folder / "design.json").read_text()
    (folder / "design.json").write_text(text.replace('"ecp5"', '"ice40"'))
    assert errors(capsys, folder) == [(
        "hwgen: error: power: family ice40 has no energies in hwgen/cell_energies.py; build for a "
        "board of family xc7 or ecp5")]


def test_no_build_is_named(capsys, tmp_path):
    assert errors(capsys, tmp_path) == [
        f"hwgen: error: {tmp_path}: no design.json; build one with `hwgen build`"]


def test_a_build_without_static_power_is_to_be_built_again(estimated, tmp_path, capsys):
    folder = shutil.copytree(estimated[0], tmp_path / "d")
    report = json.loads((folder / "report.json").read_text())
    del report["static_power_w"]
    (folder / "report.json").write_text(json.dumps(report))
    assert errors(capsys, folder, "--frames", 1) == [
        f"hwgen: error: {folder}: report.json has no static_power_w; build the design again"]


def test_a_missing_compiler_is_named(estimated, tmp_path, capsys, monkeypatch):
    folder = shutil.copytree(estimated[0], tmp_path / "d")
    shutil.rmtree(folder / "sim")
    monkeypatch.setenv("CXX", "no-such-compiler")
    [line] = errors(capsys, folder, "--frames", 1)
    assert line.startswith(
        "hwgen: error: the C++ compiler 'no-such-compiler' that CXX names was not found; ")


def test_weights_that_differ_from_the_netlist_are_found(estimated, tmp_path, capsys):
    folder = shutil.copytree(estimated[0], tmp_path / "d")
    with np.load(folder / "model" / "weights.npz") as file:
        weights = dict(file)
    [name] = [name for name in weights if name.startswith("fc")]
    weights[name] = -weights[name]
    np.savez(folder / "model" / "weights.npz", **weights)
    assert errors(capsys, folder, "--frames", 1) == [(
        f"hwgen: error: {folder}: frame 0 of the mapped netlist differs from the golden model; run "
        "`hwgen verify` to see whether the Verilog does too")]


@pytest.mark.slow  # a synthesis for 7 series
def test_real_digits_of_a_7_series_design(tmp_path, capsys):
    digits = data_folder("examples") / "digits"
    with np.load(digits / "test_split.npz") as stored:
        np.save(tmp_path / "x.npy", stored["x"][:8])
    folder = tmp_path / "design"
    assert main(["build", str(digits / "model.json"), "--fps", "50000", "-o", str(folder)]) == 0
    capsys.readouterr()
    assert main(["power", str(folder), "--input", str(tmp_path / "x.npy"), "--json"]) == 0
    power = json.loads(capsys.readouterr().out)
    assert power["activity"]["frames"] == 8
    assert 0.1 < power["total_w"] < 0.15
    assert power["chip"]["total_w"] == pytest.approx(power["total_w"] + 1.51, rel=1e-3)
