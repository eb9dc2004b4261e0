"""Generated Verilog: clean by Verilator's lint, readable, and what Yosys wrote in other words."""

import json
import re

import pytest
from networks import EVERY_BLOCK_FOLDING, every_block

from hwgen import verilog as writer
from hwgen.boards import load_board
from hwgen.build import build
from hwgen.design import Design
from hwgen.errors import HwgenError, ToolError
from hwgen.files import data_folder
from hwgen.model import load_model
from hwgen.planning import Target
from hwgen.synth import synthesize_module
from hwgen.tools import yosys
from hwgen.tools.verilator import lint
from hwgen.verilog_text import tidy

CLOCKS = 6  # of a proof
SHIFT, READER = {"window": "shift"}, {"window": "reader"}
LOGIC, BLOCK = {"weights": "logic"}, {"weights": "block"}
DESIGNS = {
    "every_block": (every_block, EVERY_BLOCK_FOLDING),
    "digits_shift_logic": (None, {"conv1": SHIFT | LOGIC | {"pe": 2}, "conv2": SHIFT | LOGIC}),
    "digits_reader_block": (None, {"conv1": READER | {"pe": 1}, "conv2": READER | BLOCK,
                                   "fc": BLOCK | {"pe": 2}}),
}


@pytest.fixture(scope="module", params=DESIGNS)
def design(request, tmp_path_factory):
    """A build directory."""
    make, folding = DESIGNS[request.param]
    model = make() if make else load_model(data_folder("examples") / "digits" / "model.json")
    return build_folded(model, folding, tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def everything(tmp_path_factory):
    return build_folded(every_block(), EVERY_BLOCK_FOLDING, tmp_path_factory.mktemp("everything"))


def build_folded(model, folding, folder):
    (folder / "fold.json").write_text(json.dumps({"layers": folding}))
    board = load_board("zybo-z7010")
    build(model, Target(board, 150, board.limits, fold=folder / "fold.json"), folder / "design")
    return folder / "design"


def verilog(folder):
    """Name and text of each generated file."""
    return {path.name: path.read_text() for path in sorted((folder / "rtl").glob("*.v"))
            if path.stem not in ("hwgen_rom", "hwgen_parity_rom", "hwgen_arith", "hwgen_mac")}


def test_lint_finds_nothing(design):
    assert lint(design, data_folder("sim") / "lint.vlt") == []


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["a", "b"])
def test_lint_finds_nothing_in_the_reference_network(variant, tmp_path):
    board = load_board("zybo-z7010")
    model = load_model(data_folder("examples") / "wafer" / f"{variant}.json")
    build(model, Target(board, 150, board.limits, fps=178), tmp_path / "design")
    assert lint(tmp_path / "design", data_folder("sim") / "lint.vlt") == []


def test_lint_finds_a_fault(everything, tmp_path):
    file = tmp_path / "hwgen_top.v"
    file.write_text("module hwgen_top(input wire [3:0] a, output wire [1:0] y);\n"
                    "  assign y = a;\nendmodule\n")
    [message, *_] = lint([file], data_folder("sim") / "lint.vlt")
    assert "WIDTHTRUNC" in message


def test_files_and_modules_are_named_after_layers(design):
    layers = {"input", *(block.layer for block in Design.load(design).blocks)}
    for name, text in verilog(design).items():
        stem = name.removesuffix(".v")
        assert stem == "hwgen_top" or stem.split("_")[0] in layers
        for module in re.findall(r"^module (\w+)", text, re.MULTILINE):
            assert module == stem or module.startswith(f"{stem}__")


def test_names_are_plain_and_not_made_by_a_tool(design):
    for text in verilog(design).values():
        assert "\\" not in text
        assert set(re.findall(r"\$\w+", text)) <= {"$signed", "$unsigned"}
        assert not re.search(r"\b_\d+_\b|\bprocmux|\bauto_", text)


def test_no_value_is_undefined(design):
    for text in verilog(design).values():
        assert not re.search(r"'[hbd][0-9a-f]*[xz]", text)


def test_streams_of_the_top_are_named_after_their_blocks(design):
    text = verilog(design)["hwgen_top.v"]
    blocks = Design.load(design).blocks
    for block in blocks:
        assert re.search(rf"^  {block.module} {block.name} \($", text, re.MULTILINE)
    for tap in Design.load(design).taps:
        for suffix in ("tdata", "tvalid", "tready"):
            assert re.search(rf"^  wire (\[\d+:0\] )?{tap.signal}_{suffix};$", text, re.MULTILINE)


def test_lines_are_short(design):
    for text in verilog(design).values():
        assert max(map(len, text.splitlines())) <= 110


def test_clock_and_reset_are_the_first_ports(design):
    for text in verilog(design).values():
        for ports in re.findall(r"^module \w+ \(\n(.*?)\n\);", text, re.MULTILINE | re.DOTALL):
            clocks = [n for n in re.findall(r"(\w+)(?: = [^,\n]+)?(?:,|$)", ports) if n in
                      ("clk", "rst")]
            assert re.findall(r"(\w+),?$", ports, re.MULTILINE)[:len(clocks)] == clocks


# What Verilog means stays as it is.

def prove_equal(pairs, folder):
    """Let Yosys prove that files mean the same, for all inputs of the first clocks.

    Parameters
    ----------
    pairs
        (one file, the other file, module).
    """
    commands = []
    for gold, gate, module in pairs:
        for kind, file in (("gold", gold), ("gate", gate)):
            luts = file.with_name("hwgen_arith.v")
            commands += ["design -reset", *(f"read_verilog -sv -nosynthesis -defer "
                                            f"{yosys.quoted(luts)}" for _ in range(luts.exists())),
                         f"read_verilog -sv {yosys.quoted(file)}",
                         f"hierarchy -top {module}", "proc", "flatten", "opt_clean",
                         f"rename {module} {kind}", f"design -stash {kind}"]
        commands += ["design -reset", "design -copy-from gold gold", "design -copy-from gate gate",
                     "miter -equiv -flatten -make_outputs gold gate miter", "hierarchy -top miter",
                     "async2sync",
                     ("sat -verify -set-init-zero -prove trigger 0 -seq 0 -tempinduct "
                     f"-tempinduct-baseonly -maxsteps {CLOCKS} miter")]
    yosys.run(commands, log=folder / "equal.log", folder=folder)


def test_rewritten_modules_equal_what_yosys_wrote(everything, tmp_path, monkeypatch):
    """All modules without memories, whose arrays a proof would take long for."""
    monkeypatch.setattr(writer, "tidy", str)  # as it is
    raw = build_folded(every_block(), EVERY_BLOCK_FOLDING, tmp_path)
    pairs = []
    for name, text in verilog(raw).items():
        if not re.search(r"^  reg .* \[\d+:0\];", text, re.MULTILINE) and name != "hwgen_top.v":
            module = name.removesuffix(".v")
            pairs.append((raw / "rtl" / name, everything / "rtl" / name, module))
    assert len(pairs) >= 8
    prove_equal(pairs, tmp_path)


def test_the_proof_finds_a_difference(tmp_path):
    good = ("module m(input clk, input [3:0] a, output reg [3:0] y = 0);\n"
            "  always @(posedge clk) y <= a + 4'd1;\nendmodule\n")
    (tmp_path / "gold.v").write_text(good)
    (tmp_path / "gate.v").write_text(good.replace("4'd1", "(a == 4'd9 ? 4'd2 : 4'd1)"))
    with pytest.raises(ToolError, match="proof did fail|failed"):
        prove_equal([(tmp_path / "gold.v", tmp_path / "gate.v", "m")], tmp_path)


@pytest.mark.parametrize("module, cell", [
    ("up_fifo", "RAM32M"),  # FIFO
    ("conv1_window", "SRL"),  # delay lines of a shift window
    ("conv2_window", "RAM32M"),  # line buffer of a window reader
])
def test_memories_and_shift_registers_are_inferred(everything, tmp_path, module, cell):
    # A window's LUTs are instances of modules in a file of their own.
    texts = [(everything / "rtl" / f"{name}.v").read_text() for name in (module, "hwgen_arith")]
    (tmp_path / f"{module}.v").write_text("".join(texts))
    used = synthesize_module(tmp_path / f"{module}.v", module, "xc7", log=tmp_path / "log")
    assert used.lutram > 0
    assert re.search(rf"^ +\d+ +(\d\S* +)?{cell}", (tmp_path / "log").read_text(), re.MULTILINE)


def test_memory_attributes_survive(everything):
    texts = "".join(verilog(everything).values())
    assert re.search(r'\(\* ram_style = "distributed" \*\)\n  reg \[\d+:0\] \w+ \[\d+:0\];', texts)
    assert re.search(r'\(\* rom_style = "logic" \*\)\n  reg \[\d+:0\] \w+ \[\d+:0\];', texts)


def test_weights_in_luts_are_not_mapped_with_the_logic_around_them(tmp_path):
    model = load_model(data_folder("examples") / "digits" / "model.json")
    folder = build_folded(model, {"fc": LOGIC | {"pe": 1, "simd": 1}}, tmp_path)
    assert '(* keep_hierarchy = "yes" *)\nmodule fc__weights__rom (' in verilog(folder)["fc.v"]


# Rewriting, one rule each.

def body(*lines, ports="  input [3:0] a;\n  wire [3:0] a;\n  input b;\n  wire b;\n  input c;\n"
         "  wire c;\n  output [3:0] y;\n  wire [3:0] y;\n"):
    text = f"module top(a, b, c, y);\n{ports}" + "".join(f"  {line}\n" for line in lines) \
        + "endmodule\n"
    return [line.strip() for line in tidy(text).split(");", 1)[1].splitlines()[1:-1]]


def test_a_wire_used_once_moves_into_its_reader():
    assert body("wire \\$1 ;", "assign \\$1  = a == 4'h3;", "assign y = \\$1  ? 4'h1 : a;") \
        == ["assign y = (a == 4'h3) ? 4'h1 : a;"]


def test_a_wire_used_twice_stays():
    assert body("wire \\$1 ;", "wire z;", "assign \\$1  = a == 4'h3;",
                "assign y = \\$1  ? 4'h1 : a;", "assign z = \\$1 ;") \
        == ["wire y_t;", "wire z;", "assign y_t = a == 4'h3;", "assign y = y_t ? 4'h1 : a;",
            "assign z = y_t;"]


def test_a_sum_that_is_cut_off_does_not_move_where_it_would_not_be():
    lines = body("wire [3:0] \\$1 ;", "wire [4:0] z;", "assign \\$1  = a + a;",
                 "assign z = \\$1  + 5'h01;")
    assert "assign z_t = a + a;" in lines


def test_a_sum_with_a_carry_does_not_move_into_a_narrower_place():
    lines = body("wire [4:0] \\$1 ;", "wire z;", "assign \\$1  = a + a;",
                 "assign z = \\$1  == 5'h1e;")
    # Compared at 5 bits both ways: the carry is there.
    assert lines[-1] == "assign z = (a + a) == 5'h1e;"
    lines = body("wire [4:0] \\$1 ;", "wire [1:0] z;", "assign \\$1  = a + a;",
                 "assign z = { \\$1 , b };")
    assert "assign z_t = a + a;" in lines


def test_a_signed_operation_does_not_move_into_an_unsigned_one():
    lines = body("wire [4:0] \\$1 ;", "wire [4:0] z;",
                 "assign \\$1  = $signed(a) + $signed(2'h3);", "assign z = b ? \\$1  : 5'h00;")
    assert "assign z_t = $signed(a) + $signed(4'hf);" in lines


def test_an_inverted_bit_does_not_move_into_a_wider_place():
    lines = body("wire \\$1 ;", "assign \\$1  = ~ b;", "assign y = a & \\$1 ;")
    assert "assign y_t = ~b;" in lines


def test_constants_get_the_width_of_the_other_operand():
    assert body("assign y = a + 1'h1;") == ["assign y = a + 4'h1;"]
    assert body("wire z;", "assign z = $signed(a) < $signed(2'h3);")[-1] \
        == "assign z = $signed(a) < $signed(4'hf);"


def test_choices_become_else_if():
    lines = body("reg [3:0] q = 4'h0;", "wire \\$1 ;", "wire \\$2 ;", "wire \\$3 ;",
                 "wire [3:0] \\$4 ;", "assign \\$1  = b & c;", "assign \\$2  = ~ b;",
                 "assign \\$3  = | { \\$1 , \\$2  };", "assign \\$4  = \\$1  ? a : y;",
                 "always @(posedge clk)", "  if (\\$3 ) q <= \\$4 ;")
    assert lines[-3:] == ["always @(posedge clk)", "if (b & c) q <= a;", "else if (~b) q <= y;"]


def test_zeros_of_a_written_memory_go_and_those_of_a_read_only_one_stay():
    memory = ["reg [3:0] m [1:0];", "initial begin", "  m[0] = 4'h0;", "  m[1] = 4'h0;", "end",
              "assign y = m[b];"]
    assert "m[0] = 4'h0;" in body(*memory)
    assert "m[0] = 4'h0;" not in body(*memory, "always @(posedge clk)", "  m[b] <= a;")


def test_a_list_of_ports_may_go_over_several_lines():
    ports = "  input a;\n  wire a;\n  output y;\n  wire y;\n"
    one = f"module top(a, y);\n{ports}  assign y = a;\nendmodule\n"
    assert tidy(one.replace("(a, y)", "(a\n, y\n)")) == tidy(one)


def test_words_of_the_language_are_no_names():
    lines = body("wire \\before ;", "wire \\a.last ;", "assign \\before  = b;",
                 "assign \\a.last  = b;")
    assert lines == ["wire before_;", "wire a_last;", "assign before_ = b;", "assign a_last = b;"]


def test_equal_modules_become_one():
    child = ("module top__part_{}(i, o);\n  input i;\n  wire i;\n  output o;\n  wire o;\n"
             "  assign o = i;\nendmodule\n\n")
    text = tidy("module top(a, y);\n  input a;\n  wire a;\n  output y;\n  wire y;\n"
                "  wire \\o$1 ;\n  top__part_0 part_0 (\n    .i(a),\n    .o(\\o$1 )\n  );\n"
                "  top__part_1 part_1 (\n    .i(\\o$1 ),\n    .o(y)\n  );\nendmodule\n\n"
                + child.format(0) + child.format(1))
    assert re.findall(r"^module (\w+)", text, re.MULTILINE) == ["top", "top__part"]
    assert re.findall(r"^  (\w+) (\w+) \($", text, re.MULTILINE) == [
        ("top__part", "part_0"), ("top__part", "part_1")]
    assert ".i(part_0_o)" in text


def test_a_path_that_yosys_does_not_take_is_refused(tmp_path):
    with pytest.raises(HwgenError, match="holds a quote, backslash or line break"):
        yosys.quoted(tmp_path / 'a"b')


def test_small_memories_of_an_ice40_are_left_to_synthesis(tmp_path):
    board = load_board("icebreaker")
    model = load_model(data_folder("examples") / "digits" / "model.json")
    build(model, Target(board, board.clock_mhz, board.limits, fps=2000), tmp_path / "design")
    assert 'ram_style = "distributed"' not in "".join(verilog(tmp_path / "design").values())
