"""What goes wrong: exit status, one line per problem, nothing on standard output."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from hwgen import cli
from hwgen.files import data_folder

USAGE = [
    (["nonsense"], "No such command 'nonsense'", "hwgen"),
    (["build"], "Missing argument 'MODEL'", "hwgen build"),
    (["build", "MODEL", "--fps", "fast"],
     "Invalid value for '--fps': 'fast' is not a valid number", "hwgen build"),
    (["build", "MODEL", "--fps", "nan"],
     "Invalid value for '--fps': 'nan' is not a finite number", "hwgen build"),
    (["build", "MODEL", "--fps", "0"],
     "Invalid value for '--fps': 0.0 is not in the range x>0", "hwgen build"),
    (["build", "MODEL", "--clock-mhz", "-5"],
     "Invalid value for '--clock-mhz': -5.0 is not in the range x>0", "hwgen build"),
    (["build", "MODEL", "--fps", "9", "--max-fps"],
     "--fps, --max-fps and --fold exclude each other", "hwgen build"),
    (["build", "MODEL", "--budget", "much"],
     "--budget: 'much' is not KEY=VALUE; write for example LUT=80%", "hwgen build"),
    (["build", "MODEL", "--budget", "LUT=80%,RAM=3"],
     "--budget: 'RAM' is no resource; choose LUT, LUTRAM, FF, BRAM or DSP", "hwgen build"),
    (["build", "MODEL", "--verify", "0"],
     "Invalid value for '--verify': 0 is not in the range x>=1", "hwgen build"),
    (["verify", "DIR", "--frames", "two"],
     "Invalid value for '--frames': 'two' is not a valid whole number", "hwgen verify"),
    (["verify", "DIR", "--stall", "1"],
     "Invalid value for '--stall': 1.0 is not in the range 0<=x<1", "hwgen verify"),
    (["golden", "MODEL", "--output", "y.npy"], "Missing option '--input'", "hwgen golden"),
]


def failed(done, *lines):
    """Exit status 1 and these lines."""
    assert done.errors == [f"hwgen: error: {line}" for line in lines]
    assert done.out == ""
    assert done.status == 1
    return True


@pytest.mark.parametrize("arguments, problem, command", USAGE)
def test_wrong_usage_is_one_line_and_exit_2(hwgen, arguments, problem, command):
    done = hwgen(*arguments)
    assert done.errors == [f"hwgen: error: {problem}; see `{command} --help`"]
    assert done.out == ""
    assert done.status == 2


def test_no_command_prints_the_help_and_exits_with_2(hwgen):
    done = hwgen()
    assert done.status == 2
    assert done.out == ""
    assert done.err.startswith("Usage: hwgen ")


def test_missing_model(hwgen, tmp_path):
    assert failed(hwgen("check", tmp_path / "no.json"), "no.json: no such file")


def test_broken_model_gives_one_line_per_problem(hwgen, model, tmp_path):
    description = json.loads(model.read_text())
    description["layers"][0]["weight_type"] = "INT99"
    del description["layers"][1]["scale"]
    (tmp_path / "broken.json").write_text(json.dumps(description))
    for command in (["check"], ["build", "-o", tmp_path / "d"]):
        done = hwgen(*command, tmp_path / "broken.json")
        assert done.status == 1
        assert len(done.errors) == 2
        assert done.errors[0].startswith("hwgen: error: broken.json: conv1.weight_type: ")
        assert done.errors[1].startswith("hwgen: error: broken.json: act1.scale: ")
    assert not (tmp_path / "d").exists()


def test_a_file_that_is_no_onnx_says_how_to_export_one(hwgen, tmp_path):
    (tmp_path / "net.onnx").write_text("not a network")
    [line] = hwgen("check", tmp_path / "net.onnx").errors
    assert line.startswith(f"hwgen: error: {tmp_path / 'net.onnx'}: not an ONNX file (")
    assert line.endswith("; export the network with brevitas.export.export_qonnx, qonnx or "
                         "torch.onnx")


def test_a_missing_onnx_file_is_named(hwgen):
    assert hwgen("check", "net.onnx").errors == ["hwgen: error: net.onnx: no such file"]


def test_input_type_is_for_onnx_files(hwgen, model):
    done = hwgen("check", model, "--input-type", "INT8")
    assert done.status == 2
    line, = done.errors
    assert line == ("hwgen: error: --input-type is for .onnx files; a description states its "
                    "input's type itself; see `hwgen check --help`")


def test_only_onnx_files_are_imported(hwgen, model):
    done = hwgen("import", model)
    assert done.status == 2
    assert done.errors[0].endswith("is no .onnx file; only those are imported; see `hwgen import "
                                   "--help`")


def test_an_import_goes_into_a_json_file(hwgen, tmp_path):
    done = hwgen("import", "net.onnx", "-o", tmp_path / "net.txt")
    line, = done.errors
    assert line == (f"hwgen: error: --output {tmp_path / 'net.txt'}: must end in .json; see "
                    "`hwgen import --help`")


def test_unknown_board_lists_the_known_ones(hwgen, model, tmp_path):
    [line] = hwgen("build", model, "--board", "zybo", "-o", tmp_path / "d").errors
    assert line.startswith("hwgen: error: board 'zybo' is unknown; ")
    assert "zybo-z7010" in line


def test_a_rate_out_of_reach_names_the_layer_and_the_best_rate(hwgen, model, tmp_path):
    done = hwgen("build", model, "--fps", "20000000", "-o", tmp_path / "d")
    assert done.status == 1
    [line] = done.errors
    assert "frames/s at 150 MHz leave 7 clocks a frame; " in line
    assert "needs at least 16: ask for 9.375e+06 frames/s or less" in line
    assert not (tmp_path / "d").exists()


def test_too_small_a_budget_names_resources_and_layers(hwgen, model, tmp_path):
    done = hwgen("build", model, "--budget", "LUT=10,FF=20", "-o", tmp_path / "d")
    assert done.status == 1
    assert [line.split(" needed ")[0] for line in done.errors] == [
        "hwgen: error: tiny: does not fit zybo-z7010: lut",
        "hwgen: error: tiny: does not fit zybo-z7010: ff"]
    for line, allowed in zip(done.errors, (10, 20)):
        assert f", allowed {allowed}; most goes to " in line
        assert "conv1" in line
    assert not (tmp_path / "d").exists()


@pytest.mark.parametrize("fold, lines", [
    ({"layers": {"conv9": {}}}, ["conv9: no such layer; did you mean conv1?"]),
    ({"layers": {"fc": {"pe": 7}, "conv1": {"speed": 2}}},
     ["conv1: has no 'speed'; choose from pe, simd, weights, window",
      "fc: pe can't be 7; choose from 1, 2"]),
    ({"fc": 3}, None),
])
def test_wrong_folding_says_what_would_work(hwgen, model, tmp_path, fold, lines):
    file = tmp_path / "fold.json"
    file.write_text(json.dumps(fold))
    done = hwgen("build", model, "--fold", file, "-o", tmp_path / "d")
    lines = lines or ['must be {"layers": {"NAME": {"pe": 1, "simd": 1}}}']
    assert failed(done, *(f"{file}: {line}" for line in lines))


def test_output_must_not_be_another_folder_or_file(hwgen, model, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("years of work")
    assert failed(hwgen("build", model, "-o", tmp_path / "mine"),
                  f"{tmp_path / 'mine'}: holds files that are not an hwgen build; "
                  "give another folder with -o")
    assert failed(hwgen("build", model, "-o", tmp_path / "mine" / "thesis.tex"),
                  f"{tmp_path / 'mine' / 'thesis.tex'}: is a file; give another folder with -o")
    assert (tmp_path / "mine" / "thesis.tex").read_text() == "years of work"


def test_output_can_not_be_in_a_file(hwgen, model, tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    assert failed(hwgen("build", model, "-o", file / "a" / "design"),
                  f"{file / 'a' / 'design'}: {file} is a file; give another folder with -o")


def test_a_folder_that_can_not_be_written_is_one_line(hwgen, model, tmp_path, monkeypatch):
    # Root, which tests may run as, can write anywhere.
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path)
    folder = tmp_path / "a" / "design"
    assert failed(hwgen("build", model, "-o", folder), f"{folder}: can't be written: no permission "
                  f"in {tmp_path}; give another folder with -o")


def test_a_disk_that_fills_up_is_one_line(hwgen, model, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cli, "build", full)
    assert failed(hwgen("build", model, "-o", tmp_path / "d"), f"{tmp_path / 'd'}: can't be "
                  "written: No space left on device; give another folder with -o")


@pytest.mark.parametrize("command", [
    ["report"], ["synth"], ["verify"],
    ["simulate", "--input", "x.npy", "--output", "y.npy"]], ids=lambda command: command[0])
def test_a_folder_that_is_no_build(hwgen, tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    done = hwgen(*command, tmp_path)
    assert done.status == 1
    [line] = done.errors
    assert line.startswith(f"hwgen: error: {tmp_path}: no ")
    assert "`hwgen build`" in line


@pytest.mark.parametrize("array, problem", [
    (np.zeros((2, 4, 4), int), "x: array has shape [2, 4, 4], expected [frames, 4, 4, 1]"),
    (np.full((2, 4, 4, 1), 99), "x: frame 0, index [0, 0, 0]: 99 is not a UINT4 (0..15)"),
    (np.full((1, 4, 4, 1), 0.5), "x: frame 0, index [0, 0, 0]: 0.5 is not a UINT4 (0..15)"),
    (np.array(["cat"]), "x: array holds <U3, expected integers or floating-point numbers"),
])
def test_wrong_input_arrays(hwgen, model, built, tmp_path, array, problem):
    file, output = tmp_path / "x.npy", tmp_path / "y.npy"
    np.save(file, array)
    for where in (["golden", model], ["simulate", built]):
        assert failed(hwgen(*where, "--raw", "--input", file, "--output", output),
                      f"{file}: {problem}")
    assert not output.exists()


def test_no_frames_is_an_error_of_simulation(hwgen, built, tmp_path):
    file = tmp_path / "x.npy"
    np.save(file, np.zeros((0, 4, 4, 1), int))
    assert failed(hwgen("simulate", built, "--input", file, "--output", tmp_path / "y.npy"),
                  f"{file}: holds no frame")


def test_output_is_checked_before_the_work(hwgen, model, built, tmp_path, monkeypatch):
    monkeypatch.setattr(cli, "load_input", lambda *_: pytest.fail("work was done"))
    lost = tmp_path / "no" / "y.npy"
    for where in (["golden", model], ["simulate", built]):
        assert failed(hwgen(*where, "--input", "x.npy", "--output", lost),
                      f"{lost}: there is no folder {lost.parent}")
        assert failed(hwgen(*where, "--input", "x.npy", "--output", tmp_path),
                      f"{tmp_path}: is a folder; give the name of a file")
    assert failed(hwgen("simulate", built, "--input", "x.npy", "--output", tmp_path / "y.npy",
                        "--wave", lost), f"{lost}: there is no folder {lost.parent}")


def test_missing_compiler_is_one_line(hwgen, built, monkeypatch):
    monkeypatch.setenv("CXX", "nosuchcompiler")
    done = hwgen("verify", built)
    assert done.status == 1
    [line] = done.errors
    assert line.startswith("hwgen: error: the C++ compiler 'nosuchcompiler' that CXX names was "
                           "not found; install it with ")


def test_errors_of_the_operating_system_are_one_line(hwgen, monkeypatch):
    def full(name):
        raise OSError(28, "No space left on device", "/data/big.npy")

    monkeypatch.setattr(cli, "load_board", full)
    assert failed(hwgen("boards"), "/data/big.npy: No space left on device")


def test_interrupt_in_a_command_exits_with_130(hwgen, monkeypatch):
    def interrupted(name):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "load_board", interrupted)
    done = hwgen("boards")
    assert done.status == 130
    assert done.errors[-1] == "hwgen: interrupted"


def test_ctrl_c_during_a_build_leaves_nothing(tmp_path):
    folder = tmp_path / "design"
    model = data_folder("examples") / "digits" / "model.json"  # its Verilog takes a while
    process = subprocess.Popen(
        [sys.executable, "-m", "hwgen", "build", str(model), "-o", str(folder), "-v"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        # Shells start background commands deaf to Ctrl-C, which children inherit.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    for line in process.stderr:
        if "folding" in line:  # Verilog comes next: the draft of the folder is there
            break
    deadline = time.monotonic() + 20
    while not list(tmp_path.iterdir()) and time.monotonic() < deadline:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: hwgen and its children
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert err.splitlines()[-1] == "hwgen: interrupted"
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


def test_a_reader_that_leaves_early_is_no_error():
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([sys.executable, "-m", "hwgen", "boards"], stdout=write,
                          stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert done.stderr == ""
    assert done.returncode == 1
