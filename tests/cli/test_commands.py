"""What each command does, with the Verilog simulated and synthesized for real."""

import json
import pstats
import shutil
import tomllib
from pathlib import Path
from pkgutil import resolve_name

import numpy as np
import pytest

from hwgen import __version__, cli
from hwgen.resources import Resources
from hwgen.synth import SynthResult

COMMANDS = ("boards", "build", "check", "golden", "import", "report", "simulate", "synth", "verify")
RNG = np.random.default_rng(7)
FRAMES = RNG.integers(0, 16, (5, 4, 4, 1))


@pytest.fixture
def frames(tmp_path):
    np.save(tmp_path / "x.npy", FRAMES)
    return tmp_path / "x.npy"


def test_help_lists_every_command(hwgen):
    done = hwgen("--help")
    assert done.status == 0
    for command in COMMANDS:
        assert f"\n  {command} " in done.out


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(hwgen, command):
    done = hwgen(command, "--help")
    assert done.status == 0
    assert done.out.startswith(f"Usage: hwgen {command} ")
    assert done.err == ""


def test_version_is_the_packages(hwgen):
    assert hwgen("--version").out == f"hwgen, version {__version__}\n"


def test_console_script_is_the_command_line():
    project = tomllib.loads((Path(cli.__file__).parents[1] / "pyproject.toml").read_text())
    assert resolve_name(project["project"]["scripts"]["hwgen"]) is cli.entry_point


def test_check_prints_layers_and_totals(hwgen, model):
    done = hwgen("check", model)
    assert (done.status, done.err) == (0, "")
    title, header, *rows = done.out.splitlines()
    assert title == "tiny"
    assert header.split("  ")[0] == "layer"
    assert rows[0].split() == ["conv1", "Conv", "3", "x", "3", "x", "2", "INT6", "TERNARY", "8",
                               "16", "72"]
    assert rows[-1].split() == ["total", "44", "52", "108"]


def test_check_as_json_holds_the_same_rows(hwgen, model):
    rows = json.loads(hwgen("check", model, "--json").out)
    assert [row["name"] for row in rows] == ["conv1", "act1", "flat", "fc"]
    assert rows[0] == {"name": "conv1", "operation": "Conv", "shape": [3, 3, 2], "type": "INT6",
                       "weights": 8, "weight_type": "TERNARY", "weight_bits": 16, "biases": 0,
                       "macs": 72}


def test_build_reaches_the_rate(hwgen, built):
    report = json.loads(hwgen("report", built, "--json").out)
    assert report["model"] == "tiny"
    assert report["board"] == "zybo-z7010"
    assert report["fps"] >= 1_000_000
    assert report["fps"] == report["clock_mhz"] * 1e6 / report["frame_interval_cycles"]
    assert [layer["name"] for layer in report["layers"]] == ["x", "conv1", "fc"]


def test_build_prints_its_report_as_json_and_talk_on_standard_error(hwgen, model, tmp_path):
    done = hwgen("build", model, "-o", tmp_path / "d", "--json", "-v")
    assert done.status == 0
    assert json.loads(done.out) == json.loads((tmp_path / "d" / "report.json").read_text())
    assert done.errors[0].endswith(" s  reading the model")
    assert done.errors[-2].endswith(" s  Verilog")
    assert done.errors[-1] == f"hwgen: the design is in {tmp_path / 'd'}"


def test_build_works_with_relative_paths(hwgen, model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert hwgen("build", model, "-o", "deep/er/design").status == 0
    assert (tmp_path / "deep" / "er" / "design" / "rtl" / "hwgen_top.v").is_file()


def test_build_replaces_an_earlier_build_whole(hwgen, model, tmp_path):
    folder = tmp_path / "d"
    assert hwgen("build", model, "-o", folder).status == 0
    (folder / "left.over").write_text("")
    assert hwgen("build", model, "--fps", 1000, "-o", folder).status == 0
    assert not (folder / "left.over").exists()
    assert json.loads((folder / "report.json").read_text())["fps"] >= 1000
    assert sorted(p.name for p in tmp_path.iterdir()) == ["d"]


def test_fold_file_of_a_build_gives_the_same_design(hwgen, model, built, tmp_path):
    assert hwgen("build", model, "--fold", built / "fold.json", "-o", tmp_path / "d").status == 0
    for file in sorted((built / "rtl").iterdir()):
        assert (tmp_path / "d" / "rtl" / file.name).read_text() == file.read_text()


def test_clock_sets_the_rate(hwgen, model, tmp_path):
    done = hwgen("build", model, "--clock-mhz", 50, "--max-fps", "-o", tmp_path / "d", "--json")
    report = json.loads(done.out)
    assert report["clock_mhz"] == 50
    assert report["fps"] == 50e6 / report["frame_interval_cycles"]


def test_report_names_layers_and_resources(hwgen, built):
    done = hwgen("report", built)
    assert done.status == 0
    assert done.errors == [f"hwgen: the page is {built / 'report.html'}"]
    assert done.out.startswith("tiny on zybo-z7010 at 150 MHz\n")
    assert "\nResources of xc7z010clg400-1\n" in done.out


def test_tables_in_a_pipe_have_no_trailing_blanks(hwgen, built):
    for line in hwgen("report", built).out.splitlines():
        assert line == line.rstrip()


def test_golden_takes_real_values_and_raw_integers(hwgen, model, frames, tmp_path):
    np.save(tmp_path / "real.npy", FRAMES / 16)
    assert hwgen("golden", model, "--raw", "--input", frames,
                 "--output", tmp_path / "raw_y.npy").status == 0
    assert hwgen("golden", model, "--input", tmp_path / "real.npy",
                 "--output", tmp_path / "y.npy").status == 0
    raw, real = np.load(tmp_path / "raw_y.npy"), np.load(tmp_path / "y.npy")
    assert raw.shape == real.shape == (5, 2)
    np.testing.assert_array_equal(real, raw * 0.25)


def test_golden_gives_an_inner_layer(hwgen, model, frames, tmp_path):
    assert hwgen("golden", model, "--raw", "--input", frames, "--output", tmp_path / "y.npy",
                 "--layer", "act1").status == 0
    assert np.load(tmp_path / "y.npy").shape == (5, 3, 3, 2)


def test_simulation_equals_the_golden_model_and_enters_the_report(hwgen, model, built, frames,
                                                                  tmp_path):
    hwgen("golden", model, "--raw", "--input", frames, "--output", tmp_path / "golden.npy")
    done = hwgen("simulate", built, "--raw", "--input", frames, "--output", tmp_path / "y.npy")
    assert (done.status, done.err) == (0, "")
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), np.load(tmp_path / "golden.npy"))
    report = json.loads((built / "report.json").read_text())
    assert report["sim"]["frame_interval_cycles"] == report["frame_interval_cycles"]
    assert done.out.startswith(f"5 frames in {report['sim']['total_cycles']:,} clocks\n")
    assert f"clocks per frame {report['frame_interval_cycles']:,}, " in done.out


def test_simulation_tells_of_fifos_single_frames_and_its_command(hwgen, built, frames, tmp_path):
    assert hwgen("simulate", built, "--raw", "--input", frames, "--output",
                 tmp_path / "a b.npy").status == 0
    report = json.loads((built / "report.json").read_text())
    assert report["sim"]["fifo_peaks"].keys() == {fifo["name"] for fifo in report["fifos"]}
    assert report["sim"]["frame_latency"]["frames"] == 5
    assert report["sim"]["single_stream"]["frames"] == 5
    assert report["sim"]["tool"].startswith("Verilator ")
    assert report["sim"]["command"] == (f"hwgen simulate {built} --raw --input {frames} --output "
                                        f"'{tmp_path / 'a b.npy'}'")
    assert report["command"].startswith("hwgen build ")
    single = report["sim"]["single_stream"]["median_cycles"]
    assert report["figures"]["benchmark"]["latency_ms"] == pytest.approx(single / 150e6 * 1e3)


def test_verbose_says_each_step(hwgen, model, built, frames, tmp_path):
    files = ["--raw", "--input", frames, "--output", tmp_path / "y.npy", "-v"]
    steps = [line.split(" s  ")[1] for line in hwgen("simulate", built, *files).errors]
    assert steps == ["reading the model and the frames", "compiled simulator", "simulation",
                     "simulation, one frame at a time"]
    steps = [line.split(" s  ")[1] for line in hwgen("golden", model, *files).errors]
    assert steps == ["reading the model", "reading the frames", "golden model"]


def test_profile_of_a_command_can_be_read(hwgen, model, frames, tmp_path):
    assert hwgen("golden", model, "--raw", "--input", frames, "--output", tmp_path / "y.npy",
                 "--profile", tmp_path / "golden.prof").status == 0
    names = {name for _, _, name in pstats.Stats(str(tmp_path / "golden.prof")).stats}
    assert "run_in_batches" in names


def test_simulation_as_json(hwgen, built, frames, tmp_path):
    done = hwgen("simulate", built, "--raw", "--input", frames, "--output", tmp_path / "y.npy",
                 "--stall", 0.5, "--seed", 3, "--json")
    values = json.loads(done.out)
    assert values["frames"] == 5
    assert (values["stall"], values["seed"]) == (0.5, 3)
    assert values["total_cycles"] > 5 * 16


def test_verify_proves_equality_and_enters_the_report(hwgen, built):
    done = hwgen("verify", built)
    assert (done.status, done.err) == (0, "")
    assert done.out.startswith("3 frames equal the golden model bit for bit: full speed, ")
    values = json.loads((built / "report.json").read_text())["verify"]
    assert values["frame_interval_cycles"] == values["predicted_interval_cycles"]


@pytest.mark.slow  # compiles two more simulators
def test_verify_names_the_layer_that_differs(hwgen, built, tmp_path):
    folder = shutil.copytree(built, tmp_path / "d")
    with np.load(folder / "model" / "weights.npz") as file:
        weights = dict(file)
    [name] = [name for name in weights if name.startswith("fc")]
    weights[name] = -weights[name]
    np.savez(folder / "model" / "weights.npz", **weights)
    done = hwgen("verify", folder, "--frames", 1)
    assert (done.status, done.out) == (1, "")
    assert done.errors[0].startswith(
        f"hwgen: error: {folder}: layer fc (tensor fc) differs from the golden model: "
        "frame 0, row 0, column 0, channel 0: expected ")


def test_synth_adds_measured_resources(hwgen, built, tmp_path, monkeypatch):
    folder = shutil.copytree(built, tmp_path / "d")
    used = Resources(lut=123, ff=45)
    monkeypatch.setattr(cli, "synthesize", lambda folder, **_: SynthResult(
        "Yosys", used, Resources(), {}, {"conv1": used}))
    assert json.loads(hwgen("synth", folder, "--json").out)["total"]["lut"] == 123
    assert json.loads((folder / "report.json").read_text())["synth"]["total"]["ff"] == 45
    table = hwgen("synth", folder).out
    assert "Layers (resources: estimate / synthesis)" in table
    assert table == hwgen("report", folder).out


def test_boards_are_listed(hwgen):
    names = [board["name"] for board in json.loads(hwgen("boards", "--json").out)]
    assert {"zybo-z7010", "ulx3s-85f"} <= set(names)
    table = hwgen("boards").out.splitlines()
    assert table[0].split() == ["board", "part", "MHz", "LUT", "LUTRAM", "FF", "BRAM36", "DSP",
                                "flow"]
    assert [row.split()[0] for row in table[1:]] == names
