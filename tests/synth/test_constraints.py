"""Constraints and tool scripts."""

import re
import shutil
import subprocess

import pytest
from synth_designs import write_design

from hwgen.boards import list_boards, load_board
from hwgen.constraints import write_constraints

ECP5 = load_board("ulx3s-85f")
XC7 = load_board("zybo-z7010")


def test_a_7_series_board_gets_a_clock_constraint_and_a_vivado_script(tmp_path):
    written = write_constraints(tmp_path, write_design(tmp_path), XC7)
    assert written == [tmp_path / "constraints/hwgen_top.xdc", tmp_path / "tools/vivado.tcl"]
    assert "create_clock -name clk -period 6.667 [get_ports clk]" in written[0].read_text()


def test_an_ecp5_board_gets_pins_and_a_shell_script(tmp_path):
    written = write_constraints(tmp_path, write_design(tmp_path, "ecp5"), ECP5)
    assert written == [tmp_path / "constraints/hwgen_top.lpf", tmp_path / "tools/build.sh"]
    assert [line for line in written[0].read_text().splitlines() if not line.startswith("#")] == [
        'FREQUENCY PORT "clk" 150 MHZ;',
        'LOCATE COMP "clk" SITE "G2";',
        'IOBUF PORT "clk" IO_TYPE=LVCMOS33;',
        'LOCATE COMP "rst" SITE "R1";',
        'IOBUF PORT "rst" IO_TYPE=LVCMOS33 PULLMODE=DOWN;']


def test_an_ultrascale_plus_board_gets_the_files_of_vivado(tmp_path):
    written = write_constraints(tmp_path, write_design(tmp_path, "xcup"), load_board("ultra96-v2"))
    assert written == [tmp_path / "constraints/hwgen_top.xdc", tmp_path / "tools/vivado.tcl"]
    assert "set_property HD.CLK_SRC BUFGCE_X0Y0 [get_ports clk]" in written[0].read_text()
    assert "-part xczu3eg-sbva484-1-i -mode out_of_context" in written[1].read_text()


def test_an_ice40_board_gets_pins_and_a_shell_script(tmp_path):
    written = write_constraints(tmp_path, write_design(tmp_path, "ice40"), load_board("icebreaker"))
    assert written == [tmp_path / "constraints/hwgen_top.pcf", tmp_path / "tools/build.sh"]
    assert [line for line in written[0].read_text().splitlines() if not line.startswith("#")] == [
        "set_frequency clk 150", "set_io clk 35"]


def test_a_gowin_board_gets_pins_for_all_ports_and_a_shell_script(tmp_path):
    board = load_board("tang-nano-9k")
    written = write_constraints(tmp_path, write_design(tmp_path, "gowin"), board)
    assert written == [tmp_path / "constraints/hwgen_top.cst", tmp_path / "tools/build.sh"]
    places = re.findall(r'^IO_LOC "(.*)" (\d+);$', written[0].read_text(), re.MULTILINE)
    assert places[:3] == [("clk", "52"), ("rst", "38"), ("s_axis_tvalid", "37")]
    assert [port for port, _ in places[2:]] == [
        *(f"s_axis_{name}" for name in ("tvalid", "tready", "tlast")),
        *(f"s_axis_tdata[{bit}]" for bit in range(8)),
        *(f"m_axis_{name}" for name in ("tvalid", "tready", "tlast")),
        *(f"m_axis_tdata[{bit}]" for bit in range(8))]
    assert len({pin for _, pin in places}) == len(places)


def test_a_reset_button_that_is_high_while_pressed_is_the_reset_of_a_gowin_board(tmp_path):
    board = load_board("tang-nano-20k")
    cst, _ = write_constraints(tmp_path, write_design(tmp_path, "gowin"), board)
    assert 'IO_LOC "rst" 88;\nIO_PORT "rst" IO_TYPE=LVCMOS33 PULL_MODE=DOWN;\n' in cst.read_text()


@pytest.mark.parametrize("name", list_boards())
def test_every_board_gets_files_without_template_marks(tmp_path, name):
    board = load_board(name)
    for path in write_constraints(tmp_path, write_design(tmp_path, board.family), board):
        text = path.read_text()
        assert not re.search(r"\{\{|\{%|\n\n\n", text)
        assert board.part in text or path.suffix in (".xdc", ".lpf", ".pcf", ".cst")


def test_a_board_without_oscillator_and_reset_gets_the_clock_only(tmp_path):
    bare = ECP5.model_copy(update={"oscillator": None, "reset": None})
    lpf, _ = write_constraints(tmp_path, write_design(tmp_path, "ecp5"), bare)
    assert lpf.read_text().splitlines()[1:] == ['FREQUENCY PORT "clk" 150 MHZ;']


def test_a_design_without_memories_reads_none(tmp_path):
    design = write_design(tmp_path)
    object.__setattr__(design, "memories", ())
    assert "read_mem" not in write_constraints(tmp_path, design, XC7)[1].read_text()


@pytest.mark.parametrize("part, options", [
    ("LFE5U-85F-6BG381C", "--85k --package CABGA381 --speed 6"),
    ("LFE5UM-45F-8BG554I", "--um-45k --package CABGA554 --speed 8"),
    ("LFE5UM5G-25F-8MG285C", "--um5g-25k --package CSFBGA285 --speed 8"),
    ("LFE5U-12F-7TG144C", "--12k --package TQFP144 --speed 7"),
])
def test_the_part_number_becomes_options_of_nextpnr(tmp_path, part, options):
    board = ECP5.model_copy(update={"part": part})
    script = write_constraints(tmp_path, write_design(tmp_path, "ecp5"), board)[1]
    assert f'"${{NEXTPNR:-nextpnr-ecp5}}" {options} ' in script.read_text()


@pytest.mark.skipif(not shutil.which("tclsh"), reason="no tclsh")
def test_the_vivado_script_runs_in_order_and_finds_its_files(tmp_path):
    """In tclsh, with Vivado's commands replaced by ones that print themselves."""
    folder = tmp_path / "with space"
    folder.mkdir()
    _, script = write_constraints(folder, write_design(folder), XC7)
    commands = ["synth_design", "opt_design", "place_design", "phys_opt_design", "route_design",
                "write_checkpoint", "report_utilization", "report_timing_summary", "report_power"]
    stubs = "".join(f'proc {name} args {{ puts "{name} $args" }}\n' for name in commands)
    stubs += "proc get_timing_paths args { return p }\nproc get_property args { return 0.5 }\n"
    # Files must be there, from the folder that the script went to.
    for name in ("read_verilog", "read_mem"):
        stubs += (f"proc {name} files {{ foreach f $files {{ puts $f\n"
                  "if {![file exists $f]} { error $f } } }\n")
    stubs += "proc read_xdc file { if {![file exists $file]} { error $file } }\n"
    (tmp_path / "run.tcl").write_text(stubs + f"source {{{script}}}\n")
    result = subprocess.run(["tclsh", "run.tcl"], cwd=tmp_path, text=True, capture_output=True,
                            check=True)
    lines = result.stdout.splitlines()
    assert lines[:5] == ["hwgen_top.v", "counter_a.v", "counter_b.v", "rom.v", "rom.mem"]
    assert lines[5] == "synth_design -top hwgen_top -part xc7z010clg400-1 -mode out_of_context"
    order = [line.split()[0] for line in lines[5:]]
    assert [name for name in order if name.endswith("_design")] == [
        "synth_design", "opt_design", "place_design", "phys_opt_design", "route_design"]
    assert lines[-1] == "hwgen: worst setup slack 0.5 ns at a period of 6.667 ns"
    assert (folder / "vivado").is_dir()


def calls(tmp_path, family: str, board: str, *tools: str) -> list[list[str]]:
    """What a shell script calls: folders and arguments of tools that print those only."""
    folder = tmp_path / "with space"
    folder.mkdir()
    _, script = write_constraints(folder, write_design(folder, family), load_board(board))
    tool = tmp_path / "tool"
    tool.write_text('#!/bin/sh\nprintf "%s|" "$(basename "$PWD")" "$@"; echo\n')
    tool.chmod(0o755)
    result = subprocess.run([str(script)], cwd=tmp_path, text=True, capture_output=True, check=True,
                            env={"PATH": "/usr/bin:/bin"} | dict.fromkeys(tools, str(tool)))
    return [line.split("|")[:-1] for line in result.stdout.splitlines()]


def test_the_ecp5_script_calls_its_tools_where_their_files_are(tmp_path):
    yosys, nextpnr, ecppack = calls(tmp_path, "ecp5", "ulx3s-85f", "YOSYS", "NEXTPNR", "ECPPACK")
    assert yosys == ["rtl", "-q", "-l", "../ecp5/yosys.log", "-p",
                     ("read_verilog -sv hwgen_top.v counter_a.v counter_b.v rom.v; "
                      "synth_ecp5 -top hwgen_top -json ../ecp5/hwgen_top.json")]
    assert nextpnr[:6] == ["ecp5", "--85k", "--package", "CABGA381", "--speed", "6"]
    assert nextpnr[nextpnr.index("--lpf") + 1] == "../constraints/hwgen_top.lpf"
    assert ecppack == ["ecp5", "--compress", "hwgen_top.config", "hwgen_top.bit"]


@pytest.mark.parametrize("board, device, synth", [
    ("icebreaker", ["--up5k", "--package", "sg48"], "synth_ice40 -device u -dsp"),
    ("ice40hx8k-evn", ["--hx8k", "--package", "ct256"], "synth_ice40 -device hx")])
def test_the_ice40_script_calls_its_tools_where_their_files_are(tmp_path, board, device, synth):
    yosys, nextpnr, icepack = calls(tmp_path, "ice40", board, "YOSYS", "NEXTPNR", "ICEPACK")
    assert yosys[-1] == ("read_verilog -sv hwgen_top.v counter_a.v counter_b.v rom.v; "
                         f"{synth} -top hwgen_top; write_json ../ice40/hwgen_top.json")
    assert nextpnr[:4] == ["ice40", *device]
    assert nextpnr[nextpnr.index("--pcf") + 1] == "../constraints/hwgen_top.pcf"
    assert icepack == ["ice40", "hwgen_top.asc", "hwgen_top.bin"]


@pytest.mark.parametrize("board, part, device, synth", [
    ("tang-nano-9k", "GW1NR-LV9QN88PC6/I5", "GW1N-9C", "gw1n"),
    ("tang-nano-20k", "GW2AR-LV18QN88C8/I7", "GW2A-18C", "gw2a")])
def test_the_gowin_script_calls_its_tools_where_their_files_are(tmp_path, board, part, device,
                                                                synth):
    yosys, nextpnr, pack = calls(tmp_path, "gowin", board, "YOSYS", "NEXTPNR", "GOWIN_PACK")
    assert f"; synth_gowin -family {synth} -noiopads -top hwgen_top; " in yosys[-1]
    assert nextpnr[:5] == ["gowin", "--device", part, "--vopt", f"family={device}"]
    assert "cst=../constraints/hwgen_top.cst" in nextpnr
    assert pack == ["gowin", "-d", device, "-o", "hwgen_top.fs", "hwgen_top_routed.json"]
