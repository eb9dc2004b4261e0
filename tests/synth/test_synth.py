"""Synthesis with Yosys: exact counts of small designs, and the work around it."""

import json
import shutil

import pytest
from synth_designs import COUNTER, write_design

from hwgen import synth
from hwgen.errors import ToolError
from hwgen.resources import Resources
from hwgen.tools import yosys

# One module of separate parts, whose counts are known: mapping is what takes the time.
PARTS = """
module parts (input clk, input [7:0] a, input [7:0] b, output reg [8:0] sum,
              input up, output reg [7:0] count,
              input write, input [4:0] at, input [4:0] from, input [5:0] in, output [5:0] out,
              input bit_in, output bit_out,
              input signed [17:0] x, input signed [17:0] y, output reg signed [35:0] product);
  always @(posedge clk) sum <= a + b;        // 8 LUT2, and the carry out: 9 FF
  always @(posedge clk) if (up) count <= count + 1;
  reg [5:0] memory [0:31];                   // RAM32M
  always @(posedge clk) if (write) memory[at] <= in;
  assign out = memory[from];
  reg [31:0] shift;                          // SRLC32E
  always @(posedge clk) shift <= {shift[30:0], bit_in};
  assign bit_out = shift[31];
  always @(posedge clk) product <= x * y;    // DSP48E1
endmodule
"""


def test_counts_of_small_7_series_parts_are_exact(tmp_path):
    (tmp_path / "parts.v").write_text(PARTS)
    used = synth.synthesize_module(tmp_path / "parts.v", "parts", "xc7", log=tmp_path / "log")
    # Adder: 8 LUT2, one route-through for the carry that becomes sum[8]. Counter: an inverter for
    # bit 0, and 7 route-throughs, as flip-flops drive S of the others.
    assert used == Resources(lut=8 + 1 + 1 + 7 + 4 + 1, lutram=4 + 1, ff=9 + 8, dsp=1)


def test_counts_of_small_ecp5_parts_are_exact(tmp_path):
    (tmp_path / "parts.v").write_text(PARTS)
    used = synth.synthesize_module(tmp_path / "parts.v", "parts", "ecp5", log=tmp_path / "log")
    # Four TRELLIS_DPR16X4: two for the depth, two for the width. No shift registers: 32 FF more.
    assert (used.lutram, used.ff, used.bram36, used.dsp) == (16, 9 + 8 + 32 + 36, 0, 1)


def test_counts_of_small_ultrascale_plus_parts_are_exact(tmp_path):
    (tmp_path / "parts.v").write_text(PARTS)
    used = synth.synthesize_module(tmp_path / "parts.v", "parts", "xcup", log=tmp_path / "log")
    # A RAM32M16; the product's register stays outside of the DSP48E2.
    assert used == Resources(lut=8 + 1 + 1 + 7 + 8 + 1, lutram=8 + 1, ff=9 + 8 + 36, dsp=1)


@pytest.mark.parametrize("part, dsp", [("iCE40UP5K-SG48I", 1), ("iCE40HX8K-CT256", 0)])
def test_only_ultraplus_chips_of_the_ice40_have_multipliers(tmp_path, part, dsp):
    (tmp_path / "m.v").write_text(
        "module m(input clk, input signed [15:0] x, input signed [15:0] y, "
        "output reg signed [31:0] p);\n  always @(posedge clk) p <= x * y;\nendmodule\n")
    used = synth.synthesize_module(tmp_path / "m.v", "m", "ice40", log=tmp_path / "log", part=part)
    assert used.dsp == dsp
    assert (used.lut > 100) == (dsp == 0)


def test_counts_of_small_gowin_parts_are_exact(tmp_path):
    (tmp_path / "parts.v").write_text(PARTS)
    used = synth.synthesize_module(tmp_path / "parts.v", "parts", "gowin", log=tmp_path / "log")
    # Four RAM16SDP4: two for the depth, two for the width. No shift registers: 32 FF more.
    assert (used.lutram, used.ff, used.bram36, used.dsp) == (16, 9 + 8 + 32 + 36, 0, 1)


@pytest.mark.parametrize("family, bram36", [("xcup", 1), ("ice40", 9 / 9), ("gowin", 1)])
def test_a_rom_becomes_block_ram_of_each_family(tmp_path, family, bram36):
    write_design(tmp_path, family)
    used = synth.synthesize(tmp_path, jobs=1).blocks["c"]
    assert used.bram36 == pytest.approx(bram36)
    assert synth.synthesize(tmp_path, jobs=1).blocks["c"] == used  # from the cache


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A build directory that has been synthesised, its result, and the progress reported."""
    folder = tmp_path_factory.mktemp("done")
    write_design(folder, "ecp5")
    progress = []
    result = synth.synthesize(folder, jobs=1, on_progress=lambda *step: progress.append(step))
    return folder, result, progress


@pytest.fixture
def copied(done, tmp_path):
    """A copy of the directory, and what it holds."""
    shutil.copytree(done[0], tmp_path, dirs_exist_ok=True)
    return tmp_path


def test_blocks_top_layers_and_total_add_up(done):
    _, result, _ = done
    assert result.blocks["a"] == result.blocks["b"]
    assert (result.blocks["a"].ff, result.blocks["a"].dsp) == (8, 0)
    assert result.blocks["c"].bram36 == 1  # 36 Kbit in two DP16KD
    assert result.top == Resources(ff=8)
    assert result.layers == {"conv1": result.blocks["a"],
                             "conv2": result.blocks["b"] + result.blocks["c"]}
    assert result.total == result.layers["conv1"] + result.layers["conv2"] + result.top


def test_the_result_is_the_section_of_the_report(done):
    section = done[1].as_dict()
    assert section == json.loads(json.dumps(section))
    assert section["tool"] == f"Yosys {yosys.version()}"
    assert set(section["total"]) == {"lut", "lutram", "ff", "bram36", "dsp"}


def test_modules_that_differ_in_name_only_run_once(done):
    folder, _, progress = done
    assert [(number, total) for number, total, _ in progress] == [(0, 3), (2, 3), (3, 3)]
    assert len(list((folder / "synth" / "cache").glob("*.json"))) == 3


@pytest.fixture
def runs(monkeypatch):
    """Modules that Yosys is really run on."""
    modules = []
    run = synth._run
    monkeypatch.setattr(synth, "_run", lambda batch, *rest: modules.extend(
        job.module for job in batch) or run(batch, *rest))
    return modules


def test_a_second_run_takes_all_from_the_cache(done, copied, runs):
    assert synth.synthesize(copied) == done[1]
    assert runs == []


def test_a_changed_memory_file_runs_its_module_again(copied, runs):
    (copied / "rtl/rom.mem").write_text("0\n" * 1024)
    result = synth.synthesize(copied)
    assert "rom" in runs
    assert result.blocks["c"].bram36 == 0  # all zero now


def test_a_changed_module_runs_again(copied, runs):
    text = COUNTER.format(name="counter_b").replace("count + 1", "count + 3")
    (copied / "rtl/counter_b.v").write_text(text)
    synth.synthesize(copied)
    assert "counter_b" in runs
    assert "counter_a" not in runs
    assert "rom" not in runs


def test_an_error_names_the_module_the_cause_and_the_log(tmp_path):
    write_design(tmp_path, "ecp5")
    (tmp_path / "rtl/rom.v").write_text("module rom (input clk);\n  missing x (.clk(clk));\n"
                                        "endmodule\n")
    with pytest.raises(ToolError) as caught:
        synth.synthesize(tmp_path)
    line = next(line for line in caught.value.problems if "missing" in line)
    assert line.startswith("rom: yosys: Module `\\missing' referenced in module `\\rom' in cell")
    assert line.endswith(f"; the log is {tmp_path / 'synth' / 'rom.log'}")
    assert (tmp_path / "synth" / "rom.log").read_text().count("ERROR") == 1


def test_a_module_without_a_source_is_reported(tmp_path):
    write_design(tmp_path, "ecp5")
    text = (tmp_path / "design.json").read_text()
    (tmp_path / "design.json").write_text(text.replace('"module": "rom"', '"module": "ram"'))
    with pytest.raises(ToolError, match="module ram has no source rtl/ram.v in design.json"):
        synth.synthesize(tmp_path)


def test_a_latch_in_the_verilog_is_refused(tmp_path):
    (tmp_path / "l.v").write_text("module l (input g, input d, output reg q);\n"
                                  "  always @* if (g) q = d;\nendmodule\n")
    with pytest.raises(ToolError, match="^l: yosys: Latch inferred for signal"):
        synth.synthesize_module(tmp_path / "l.v", "l", "ecp5", log=tmp_path / "log")


def test_a_folder_that_yosys_cannot_name_is_refused():
    with pytest.raises(ToolError, match="holds a quote, backslash or line break"):
        yosys.quoted('a"b')


def test_a_run_leaves_no_scratch_files(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    with pytest.raises(ToolError, match="yosys: No such command: bogus"):
        yosys.run(["bogus"], log=tmp_path / "log", folder=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["log"]


def test_a_module_that_yosys_reads_again_is_still_counted_by_itself(tmp_path):
    write_design(tmp_path)
    # An expression at a port: Yosys needs to know the module within first.
    (tmp_path / "rtl" / "counter_b.v").write_text("""
module counter_b (input clk, input rst, output [7:0] count);
  reg signed [9:0] held = 0;
  always @(posedge clk) if (rst) held <= 0; else held <= held + 1;
  counter_b__in inner (.x(held[7:0]), .y(count));
endmodule
module counter_b__in (input [7:0] x, output [7:0] y); assign y = ~x; endmodule
""")
    found = synth.synthesize(tmp_path, jobs=1)
    assert found.blocks["b"].ff == 8
    assert found.blocks["a"].ff == 8
