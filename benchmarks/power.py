"""Power of the reference network, beside published figures.

    python benchmarks/power.py [--case NAME ...] [-o DIR]

For each case: `hwgen build`, `hwgen synth` and `hwgen power` on the maps of examples/wafer, which
simulates the mapped netlist and compares it with the golden model. Then the anchors: what the
published design would take with its own resources at the activity measured here, and the energies
of single operations. With -o, builds that are in DIR are taken as they are.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from hwgen.activity import Activity, measure
from hwgen.design import BlockInfo, Design, StreamPort
from hwgen.flatten import flatten
from hwgen.power import Rates, energies_of, energy_by_kind, power_of_resources
from hwgen.power_table import render_power
from hwgen.report import load_report
from hwgen.resources import Resources
from hwgen.streams import TensorStream
from hwgen.synth import mapped_netlists, synthesize
from hwgen.types import uint_type

WAFER = Path(__file__).resolve().parent.parent / "examples" / "wafer"
CASES = {"wafer-178": ("--fps", "178", "--budget", "LUT=3000,BRAM=48,DSP=10"),
         "wafer-max": ("--max-fps",)}

PUBLISHED = Resources(lut=9030, lutram=4830, ff=11796, bram36=60, dsp=37)
PUBLISHED_MHZ, PUBLISHED_W = 150.0, 0.24
"""A. Pinzari et al., xc7z010, 178 images/s: the FPGA part of 1.75 W."""

DEVICES = [("Coral Edge TPU, large batches", 320.0), ("xc7z010 as published, whole chip", 101.7),
           ("Jetson", 44.0), ("STM32MP1", 4.7)]
"""Images/s/W of the same network, from the same chapter."""

ASIC_PJ = {"8-bit add": 0.03, "8-bit multiply": 0.2, "64 bits from 8 KB": 10.0,
           "64 bits from DRAM, low": 1300.0, "64 bits from DRAM, high": 2600.0}
"""M. Horowitz, "Computing's energy problem", ISSCC 2014: 45 nm, 0.9 V."""

BEATS = 64
OPERATIONS = {"8-bit add": ("add", """
module add (input clk, input [63:0] x, output reg [63:0] y);
  always @(posedge clk) y <= {55'd0, {1'b0, x[7:0]} + x[15:8]};
endmodule
"""), "8-bit multiply": ("multiply", """
module multiply (input clk, input [63:0] x, output reg [63:0] y);
  always @(posedge clk) y <= {48'd0, x[7:0] * x[15:8]};
endmodule
"""), "64 bits from 8 KB": ("fetch", """
module fetch (input clk, input [63:0] x, output reg [63:0] y);
  (* rom_style = "block" *) reg [63:0] rom [0:1023];
  integer n;
  initial for (n = 0; n < 1024; n = n + 1) rom[n] = (n + 1) * 64'h9E3779B97F4A7C15;
  always @(posedge clk) y <= rom[x[9:0]];
endmodule
""")}
TOP = """
module hwgen_top (
  input clk, input rst, input [63:0] s_axis_tdata, input s_axis_tvalid, output s_axis_tready,
  input s_axis_tlast, output [191:0] m_axis_tdata, output reg m_axis_tvalid, input m_axis_tready,
  output reg m_axis_tlast);
  assign s_axis_tready = 1;
  reg [63:0] x;
  always @(posedge clk) begin
    x <= s_axis_tdata;
    m_axis_tvalid <= !rst && s_axis_tvalid;
    m_axis_tlast <= s_axis_tlast;
  end
  add add (.clk(clk), .x(x), .y(m_axis_tdata[63:0]));
  multiply multiply (.clk(clk), .x(x), .y(m_axis_tdata[127:64]));
  fetch fetch (.clk(clk), .x(x), .y(m_axis_tdata[191:128]));
endmodule
"""


def operations(folder: Path, family: str = "xc7") -> dict[str, float]:
    """Energy of an operation a clock on random operands, pJ, with its registers and their clocks.

    ``folder`` becomes a build directory with one block for each operation.
    """
    (folder / "rtl").mkdir(parents=True)
    (folder / "rtl/hwgen_top.v").write_text(TOP)
    for name, text in OPERATIONS.values():
        (folder / f"rtl/{name}.v").write_text(text)
    names = [name for name, _ in OPERATIONS.values()]

    def port(lanes: int) -> StreamPort:
        return StreamPort("x", TensorStream(uint_type(8), (BEATS, 1, lanes), lanes))

    design = Design(
        model="operations", board="zybo-z7010", family=family, clock_mhz=100.0, top="hwgen_top",
        memories=(), sources=("rtl/hwgen_top.v", *(f"rtl/{name}.v" for name in names)),
        input=port(8), output=port(24), taps=(),
        blocks=tuple(BlockInfo(name, name, "Operation", name, 1, Resources()) for name in names),
        frame_interval_cycles=BEATS, latency_cycles=BEATS + 2)
    design.save(folder)
    synthesize(folder)
    gates = flatten(design, mapped_netlists(folder))
    x = np.random.default_rng(1).integers(0, 256, (64, BEATS, 1, 8))
    activity: Activity = measure(folder, design, gates, x, len(x) - 1)
    sums = energy_by_kind(gates, len(names) + 1, Rates.measured(activity), energies_of(family))
    return dict(zip(OPERATIONS, sums.sum(axis=1).tolist()))


def published_design(power: dict[str, Any], used: Resources) -> dict[str, float]:
    """Dynamic W by kind of the published design with the activity of ours."""
    return power_of_resources(PUBLISHED, PUBLISHED_MHZ, "xc7", power["kinds"], used, PUBLISHED_MHZ)


def run(case: str, folder: Path, frames: Path) -> dict[str, Any]:
    """The report of a case, after power."""
    if not (folder / "design.json").is_file():
        _hwgen("build", WAFER / "a.json", "--board", "zybo-z7010", *CASES[case], "-o", folder)
    for command in (("synth", folder), ("power", folder, "--raw", "--input", frames, "--frames",
                                        "1")):
        begun = perf_counter()
        _hwgen(*command)
        print(f"{case}: hwgen {command[0]} {perf_counter() - begun:.0f} s", file=sys.stderr)
    return load_report(folder)


def _hwgen(*arguments: object) -> None:
    subprocess.run([sys.executable, "-m", "hwgen", *map(str, arguments), "--json"], check=True,
                   stdout=subprocess.DEVNULL)


def _anchor(report: dict[str, Any]) -> tuple[list[str], bool]:
    """Lines on the published design, and whether they come within a factor of 1.5."""
    power, used = report["power"], Resources(**report["synth"]["total"])
    kinds = published_design(power, used)
    dynamic, static = sum(kinds.values()), power["static_w"]
    ratios = dynamic / PUBLISHED_W, (dynamic + static) / PUBLISHED_W
    parts = ", ".join(f"{kind} {watts:.3f}" for kind, watts in kinds.items())
    first = (f"The published design with the activity of {report['model']} at "
             f"{power['fps']:.1f} frames/s: dynamic {dynamic:.3f} W ({parts})")
    second = (f"published {PUBLISHED_W} W; dynamic alone is {ratios[0]:.2f} times that, with "
              f"{static} W static {ratios[1]:.2f} times")
    return [first, second], all(1 / 1.5 <= ratio <= 1.5 for ratio in ratios)


def _operations_table(found: dict[str, float]) -> Table:
    table = Table(box=None, title="Energies of operations, pJ", title_justify="left")
    for name in ("", "xc7, estimated", "45 nm ASIC", "ratio"):
        table.add_column(name, justify="right" if name else "left")
    for name, asic in ASIC_PJ.items():
        here = found.get(name)
        table.add_row(name, f"{here:.2f}" if here else "-", f"{asic:g}",
                      f"{here / asic:.1f}" if here else "-")
    return table


def _devices_table(reports: dict[str, dict[str, Any]]) -> Table:
    table = Table(box=None, title="Frames/s/W of the same network", title_justify="left")
    table.add_column("")
    table.add_column("frames/s/W", justify="right")
    for name, report in reports.items():
        power = report["power"]
        table.add_row(f"{name}, FPGA part", f"{power['fps_per_w']:,.0f}")
        table.add_row(f"{name}, whole chip", f"{power['chip']['fps_per_w']:,.0f}")
    table.add_row("published, FPGA part", f"{178 / PUBLISHED_W:,.0f}")
    for name, rate in DEVICES:
        table.add_row(name, f"{rate:g}")
    return table


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--case", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("-o", "--output", type=Path, help="keep the builds here")
    arguments = parser.parse_args()
    console, good = Console(width=160), True
    with tempfile.TemporaryDirectory(prefix="hwgen-power-") as name:
        scratch = Path(name)
        maps = np.load(WAFER / "frames.npz")["x"].reshape(-1, 224, 224, 1)
        np.save(scratch / "maps.npy", maps)
        reports = {case: run(case, (arguments.output or scratch) / case, scratch / "maps.npy")
                   for case in arguments.case}
        for report in reports.values():
            console.print(render_power(report), "")
        if "wafer-178" in reports:
            lines, good = _anchor(reports["wafer-178"])
            console.print(*lines, "", sep="\n")
        console.print(_operations_table(operations(scratch / "operations")), "")
        console.print(_devices_table(reports))
        print(json.dumps({case: report["power"] for case, report in reports.items()}),
              file=sys.stderr)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
