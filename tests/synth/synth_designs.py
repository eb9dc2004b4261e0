"""Small hand-written designs that the synthesis tests map."""

from pathlib import Path

from hwgen.design import BlockInfo, Design, StreamPort
from hwgen.resources import Resources
from hwgen.streams import TensorStream
from hwgen.types import uint_type

BOARDS = {"xc7": "zybo-z7010", "xcup": "ultra96-v2", "ecp5": "ulx3s-85f", "ice40": "icebreaker",
          "gowin": "tang-nano-9k"}

COUNTER = """
module {name} (input clk, input rst, output reg [7:0] count);
  always @(posedge clk) if (rst) count <= 0; else count <= count + 1;
endmodule
"""

ROM = """
module {name} (input clk, input [9:0] address, output reg [35:0] data);
  reg [35:0] rom [0:1023];
  initial $readmemh("{name}.mem", rom);
  always @(posedge clk) data <= rom[address];
endmodule
"""

TOP = """
module hwgen_top (input clk, input rst, input [9:0] address, output [35:0] data,
                  output [7:0] first, output [7:0] second, output reg [7:0] held);
  counter_a a (.clk(clk), .rst(rst), .count(first));
  counter_b b (.clk(clk), .rst(rst), .count(second));
  rom c (.clk(clk), .address(address), .data(data));
  always @(posedge clk) held <= first;
endmodule
"""


def write_design(folder: Path, family: str = "xc7") -> Design:
    """A build directory of two equal counters, a ROM, and a register in the top."""
    rtl = folder / "rtl"
    rtl.mkdir()
    (rtl / "hwgen_top.v").write_text(TOP)
    for name in ("counter_a", "counter_b"):
        (rtl / f"{name}.v").write_text(COUNTER.format(name=name))
    (rtl / "rom.v").write_text(ROM.format(name="rom"))
    (rtl / "rom.mem").write_text("\n".join(f"{(n * 0x9E3779B97) & (1 << 36) - 1:09x}"
                                           for n in range(1024)) + "\n")
    return save_design(folder, family)


def save_design(folder: Path, family: str = "xc7") -> Design:
    """The ``design.json`` of :func:`write_design`'s files."""
    stream = TensorStream(uint_type(8), (1, 1, 1), 1)
    blocks = tuple(BlockInfo(name, module, kind, layer, cycles, Resources(lut=8, ff=8))
                   for name, module, kind, layer, cycles in (
                       ("a", "counter_a", "Counter", "conv1", 50),
                       ("b", "counter_b", "Counter", "conv2", 100),
                       ("c", "rom", "Rom", "conv2", 25)))
    design = Design(
        model="small", board=BOARDS[family], family=family,
        clock_mhz=150.0, top="hwgen_top", memories=("rtl/rom.mem",),
        sources=("rtl/hwgen_top.v", "rtl/counter_a.v", "rtl/counter_b.v", "rtl/rom.v"),
        input=StreamPort("x", stream), output=StreamPort("y", stream), taps=(), blocks=blocks,
        frame_interval_cycles=100, latency_cycles=123)
    design.save(folder)
    return design
