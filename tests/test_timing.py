"""Longest paths of mapped netlists, of hand-made modules with known ones."""

import json
import re
from functools import cache
from math import isclose
from pathlib import Path

import pyosys
import pytest
from rich.console import Console
from timed_net import TimedNet, parity

from hwgen.cell_delays import FAMILIES, xc7
from hwgen.errors import ToolError
from hwgen.report import render
from hwgen.resources import Resources
from hwgen.timing import BlockPaths, DesignTiming, ModuleTiming, module_timing, paths_of_top
from hwgen.timing import Path as TimedPath
from hwgen.tools import yosys

XC7 = FAMILIES["xc7"]
route_ps = XC7.route_ps


class Net(TimedNet):
    delays = XC7

    def register(self, d, q, **more):
        self.cell("FDRE", C="clk", D=d, Q=q, **more)

    def lut(self, output, *inputs):
        """A LUT that depends on all its inputs."""
        self.cell(f"LUT{len(inputs)}", parameters={"INIT": parity(len(inputs))}, O=output,
                  **{f"I{n}": bit for n, bit in enumerate(inputs)})


def chained(levels: int) -> Net:
    """Two registers with LUTs of one input between them."""
    net = Net(clk="input", x="input")
    net.register("x", "start")
    last = "start"
    for n in range(levels):
        net.lut(f"n{n}", last)
        last = f"n{n}"
    net.register(last, "end")
    return net


@pytest.mark.parametrize("levels", [0, 1, 4, 7])
def test_luts_in_a_row_are_the_levels_of_a_path(levels):
    path = chained(levels).longest()
    assert (path.levels, path.chains) == (levels, 0)


def test_a_path_takes_clock_to_output_luts_nets_and_setup():
    path = chained(2).longest()
    assert path.route == 2 * route_ps(1)
    assert path.ps == 456 + 2 * 127 + path.route  # the last LUT is beside its flip-flop


def test_a_path_names_its_registers_and_the_nets_between():
    path = chained(2).longest()
    assert (path.start, path.end, path.through) == ("start", "end", ("n0", "n1"))


def test_a_clock_enable_is_named_as_the_end_of_a_path():
    net = Net(clk="input")
    net.register("a", "a")
    net.lut("enable", "a")
    net.register("a", "b", CE="enable")
    assert net.longest().end == "b/CE"


def carries(count: int) -> Net:
    """A register, a chain of carries from LUTs at its S inputs, a register."""
    net = Net(clk="input", d="input")
    net.register("d", "a")
    for n in range(count):
        for bit in range(4):
            net.lut(f"s{n}_{bit}", "a")
        outs = " ".join(f"o{n}_{bit}" for bit in range(4))
        net.cell("CARRY4", outputs=("O", "CO"), CYINIT="0", DI="0 0 0 0", O=outs,
                 CI=f"c{n - 1}_3" if n else "0",
                 S=" ".join(f"s{n}_{bit}" for bit in range(4)),
                 CO=" ".join(f"c{n}_{bit}" for bit in range(4)))
    net.register(f"o{count - 1}_3", "sum")
    return net


@pytest.mark.parametrize("count", [1, 2, 5])
def test_carries_in_a_row_are_one_chain(count):
    path = carries(count).longest()
    assert (path.levels, path.chains, path.end) == (1, 1, "sum")


def test_a_carry_costs_no_routing_to_the_next():
    assert carries(5).longest().route == route_ps(20)  # the register's net, to 20 LUTs
    assert carries(5).longest().ps - carries(4).longest().ps \
        == 114 + route_ps(20) - route_ps(16)


def test_a_sum_that_enters_a_second_chain_counts_two():
    net = carries(1)
    net.lut("t", "o0_3")
    net.cell("CARRY4", outputs=("O", "CO"), CI="0", CYINIT="0", DI="0 0 0 0", S="t 0 0 0",
             O="p0 p1 p2 p3", CO="q0 q1 q2 q3")
    net.register("p3", "twice")
    path = net.longest()
    assert (path.levels, path.chains, path.end) == (2, 2, "twice")


def test_a_lut_input_without_influence_is_no_path():
    # O5 is I0, which is 0 here; only O6 depends on I1.
    net = Net(clk="input")
    net.register("y", "b")
    net.cell("LUT6_2", outputs=("O6", "O5"), I0="0", I1="b", I2="0", I3="0", I4="0", I5="1",
             parameters={"INIT": "0110" * 8 + "1010" * 8}, O6="x", O5="y")
    assert net.timing().inner == ()


def block_ram(registered: int) -> Net:
    net = Net(clk="input")
    net.cell("RAMB36E1", outputs=("DOADO",), CLKARDCLK="clk", DOADO="word",
             parameters={"DOA_REG": f"{registered:032b}"})
    net.lut("d", "word")
    net.register("d", "r")
    return net


def test_a_block_ram_with_an_output_register_is_faster():
    bare, registered = block_ram(0).longest(), block_ram(1).longest()
    assert bare.start == registered.start == "cell0/DOADO"
    assert bare.ps - registered.ps == 2454 - 882


def test_a_multiplier_with_all_registers_has_no_path_through_it():
    net = Net(clk="input", a="input", p="output")
    net.cell("DSP48E1", outputs=("P",), CLK="clk", A="a", P="p")
    timing = net.timing()
    assert (timing.ends["a"][0].ps, timing.starts["p"][0].ps, timing.arcs) == (254, 329, {})


def test_a_multiplier_without_registers_is_an_arc():
    net = Net(a="input", p="output")
    net.cell("DSP48E1", outputs=("P",), A="a", P="p",
             parameters={f"{name}REG": "0" for name in ("A", "B", "C", "D", "AD", "M", "P")})
    assert net.timing().arcs["a", "p"][0].ps == 2823


def test_wide_fan_out_costs_more_routing():
    wide, narrow = chained(1), chained(1)
    for n in range(63):
        wide.register("start", f"copy{n}")
    assert wide.longest().fanout == 64
    assert wide.longest().route == route_ps(64) > narrow.longest().route
    assert route_ps(1) == 350
    assert route_ps(64) == 350 + 6 * 150


def test_a_module_without_registers_has_no_inner_path():
    net = Net(a="input", o="output")
    net.lut("o", "a")
    timing = net.timing()
    assert timing.inner == ()
    assert timing.arcs["a", "o"][0].levels == 1


def test_a_modules_timing_survives_being_stored():
    net = carries(2)
    net.ports["a_out"] = {"direction": "output", "bits": [net.bit("a")]}
    timing = net.timing()
    assert timing.starts
    assert ModuleTiming.from_dict(timing.as_dict()) == timing


def blocks_in_a_row() -> tuple[dict, dict[str, ModuleTiming]]:
    """A top: a source's register, two blocks of two LUT levels each without registers, a sink."""
    source = Net(clk="input", o="output")
    source.register("o", "o")
    middle = Net(i="input", o="output")
    middle.lut("n", "i")
    middle.lut("o", "n")
    sink = Net(clk="input", i="input")
    sink.lut("d", "i")
    sink.register("d", "kept")
    top = Net(clk="input")
    top.cell("source", outputs=("o",), clk="clk", o="x")
    top.cell("middle", outputs=("o",), i="x", o="y")
    top.cell("middle", outputs=("o",), i="y", o="z")
    top.cell("sink", outputs=(), clk="clk", i="z")
    return top.contents, {"source": source.timing(), "middle": middle.timing(),
                          "sink": sink.timing()}


def test_a_path_through_blocks_is_found_and_belongs_to_the_one_it_ends_in():
    found = paths_of_top("top", *blocks_in_a_row(), XC7)
    path = found["cell3"][0]
    assert (path.start, path.end, path.levels) == ("cell0.o", "cell3.kept", 5)
    assert path.through[:2] == ("x", "cell1.n")
    # The source's register drives itself too.
    assert path.ps == 456 + 5 * 127 + route_ps(2) + 4 * route_ps(1)


def test_the_tops_ports_count_as_registers():
    top = Net(a="input", b="output")
    top.lut("b", "a")
    path = paths_of_top("top", top.contents, {}, XC7)[""][0]
    assert (path.start, path.end, path.levels, path.ps) == (
        "a", "b", 1, 456 + 127 + 2 * route_ps(1))


def test_a_module_that_kept_its_hierarchy_is_seen_through():
    inner = Net(i="input", o="output")
    inner.lut("o", "i")
    outer = Net(clk="input")
    outer.register("b", "a")
    outer.cell("rom", outputs=("o",), i="a", o="b")
    modules = {"m": outer.contents, "rom": inner.contents}
    path = module_timing({"modules": modules}, "m", XC7).inner[0]
    assert (path.start, path.end, path.levels) == ("a", "a", 1)


def test_a_loop_of_gates_is_refused():
    net = Net(clk="input", a="input")
    net.lut("x", "a", "y")
    net.lut("y", "x")
    with pytest.raises(ToolError, match="^m: gates form a loop through x, y; "
                                        "put a register into it$"):
        net.timing()


def test_a_primitive_of_unknown_delay_is_refused():
    net = Net(a="input", o="output")
    net.cell("GTXE2", I="a", O="o")
    with pytest.raises(ToolError, match="^m: primitive GTXE2 has no known delay$"):
        net.timing()


def test_a_design_meets_its_clock_or_not():
    fast, slow = (TimedPath(ps, levels=levels, start="a", end="b")
                  for ps, levels in ((6000, 4), (7000, 5)))
    timing = DesignTiming(150.0, {"x": BlockPaths.of((fast,) * 3), "y": BlockPaths.of((slow,) * 3)},
                          {"x": "conv", "y": "conv"}, None)
    shown = timing.as_dict()
    assert (shown["meets"], shown["period_ns"], shown["longest"]["ns"]) == (False, 6.667, 7.0)
    assert shown["blocks"]["x"]["slack_ns"] == 0.667
    assert (shown["blocks"]["x"]["over"], len(shown["blocks"]["y"]["over"])) == ([], 1)
    assert shown["layers"] == {"conv": {"ns": 7.0, "levels": 5, "carry_chains": 0}}


def test_a_report_without_timing_shows_none():
    assert "path" not in shown(None)


def test_a_report_shows_the_longest_path_of_each_layer_and_what_is_too_long():
    good = TimedPath(6000, 4000, 4, 1, 5, "x.a", "x.b")
    bad = TimedPath(7000, 5000, 5, 0, 5, "x.a", "y.b/CE")
    text = shown(DesignTiming(150.0, {"x": BlockPaths.of((good,) * 3),
                                      "y": BlockPaths.of((bad,) * 3)},
                              {"x": "conv", "y": "fc"}, None).as_dict())
    header, conv, fc = (line.split() for line in text.splitlines() if line.startswith(
        ("layer ", "conv ", "fc ")))
    assert header[-3:] == ["path", "ns", "levels"]
    assert (conv[-2:], fc[-2:]) == (["6.00", "4+1"], ["7.00", "5"])
    assert text.rstrip().splitlines()[-3:] == [
        "longest path 7.00 ns of 6.67: x.a to y.b/CE, LUT levels+carry chains 5, routing 5.00 ns",
        "slower than 150 MHz: y", "over 4 LUT levels+1 carry chain: y 5"]


def shown(timing) -> str:
    """The tables of a report with that timing."""
    used = Resources().as_dict()
    layers = [{"name": name, "block": "Fifo", "shape": None, "folding": {}, "cycles": 1,
               "estimate": used} for name in ("conv", "fc")]
    console = Console(width=160, no_color=True, force_terminal=False)
    with console.capture() as capture:
        console.print(render({
            "model": "m", "board": "b", "part": "p", "clock_mhz": 150.0, "layers": layers,
            "frame_interval_cycles": 1, "latency_cycles": 1, "estimate": used, "available": used,
            "synth": {"total": used, "layers": {}, "timing": timing}}))
    return "\n".join(line.rstrip() for line in capture.get().splitlines())


# Longest: the block RAM's output to the parity. Most levels: that of 8 bits takes two. One chain.
VERILOG = """
module m (input clk, input [35:0] x, input [15:0] y, input [9:0] at, output reg odd, even,
          output reg [15:0] total);
  reg [35:0] a;
  reg [15:0] b;
  reg [35:0] rom [0:1023], word;
  initial $readmemh("rom.mem", rom);
  always @(posedge clk) begin
    a <= x;
    b <= y;
    word <= rom[at];
    odd <= ^a[7:0];
    even <= ~^word[5:0];
    total <= a[15:0] + b;
  end
endmodule
"""


def test_synthesized_verilog_has_the_levels_and_chains_that_it_says(tmp_path):
    (tmp_path / "m.v").write_text(VERILOG)
    (tmp_path / "rom.mem").write_text("\n".join(
        f"{n * 0x9E3779B97 % (1 << 36):09x}" for n in range(1024)))
    yosys.run(["read_verilog m.v", "synth_xilinx -family xc7 -flatten -noiopad -noclkbuf -top m",
               "write_json m.json"], log=tmp_path / "log", folder=tmp_path)
    slow, deep, chained = module_timing(json.loads((tmp_path / "m.json").read_text()), "m",
                                        XC7).inner
    assert (slow.start[:5], slow.end, slow.levels) == ("rom.0", "even", 1)
    assert (deep.start[:2], deep.end, deep.levels, deep.chains) == ("a[", "odd", 2, 0)
    assert (chained.end[:6], chained.levels, chained.chains) == ("total[", 1, 1)


@cache
def library() -> str:
    return (Path(pyosys.__file__).parent / "share/xilinx/cells_sim.v").read_text()


def specified(module: str) -> dict[str, int]:
    """Delays in the specify block of a module of Yosys's library, by ``from=>to``."""
    text = re.search(rf"^module {module} ?\(.*?^endmodule", library(), re.DOTALL | re.MULTILINE)[0]
    return {f"{source}=>{to}": int(ps) for source, to, ps in re.findall(
        r"\((\S+)\s*=> (\S+)\) = (\d+);", text)}


def test_delays_of_carry_chains_are_those_of_yosys():
    ours = {}
    for port, bit, to, to_bit, ps, _ in XC7.of({"type": "CARRY4"}).arcs:
        source = f"{port}[{bit}]" if port in ("S", "DI") else port
        ours[f"{source}=>{to}[{to_bit}]"] = ps
    assert ours == specified("CARRY4")


def test_delays_of_luts_and_multiplexers_are_those_of_yosys():
    assert specified("LUT6") == {f"I{n}=>O": ps for n, ps in enumerate(xc7.LUT_PINS)}
    for kind, ports in xc7.MUXES.items():
        assert specified(kind) == {f"{port}=>O": ps for port, ps in ports.items()}


# Two routed designs, SHA-256 cores on an xc7z010-1, as Vivado reports their longest paths: fan-out
# of the nets that leave their slice, delays of the LUTs by Yosys, delays of the carry chains.
ROUTED = [(12.663, (7, 2, 2, 1, 3, 2, 4, 2, 1), (407, 631, 642, 407, 472, 642, 631, 642, 127),
           (528, 222, 528, 114, 334, 378, 114, 222)),
          (11.941, (4, 4, 62, 1, 2, 2, 3, 2, 1), (238, 127, 472, 238, 238, 642, 631, 642, 472),
           (528, 114, 114, 334, 378, 114, 313, 508, 239))]


@pytest.mark.parametrize("reported, fanouts, luts, carry", ROUTED)
def test_the_allowance_for_routing_fits_routed_designs(reported, fanouts, luts, carry):
    ours = xc7.FF_OUT + sum(luts) + sum(carry) + sum(map(route_ps, fanouts))
    assert isclose(ours / 1000, reported, rel_tol=0.04)
