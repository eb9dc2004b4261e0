"""Small designs of a stream of bytes, as gates and as Verilog."""

from pathlib import Path

from hwgen.design import BlockInfo, Design, StreamPort
from hwgen.gates import ONE, ZERO, Gates
from hwgen.resources import Resources
from hwgen.streams import TensorStream
from hwgen.types import uint_type

BEATS = 64


def bytes_design(folder: Path, family: str = "xc7", lanes: int = 1) -> Design:
    """``design.json`` of a top with a block ``part``, whose frames are 64 bytes.

    Each makes a beat, and ``lanes`` bytes of output.
    """
    (folder / "rtl").mkdir(parents=True)
    design = Design(
        model="bytes", board="zybo-z7010" if family == "xc7" else "ulx3s-85f", family=family,
        clock_mhz=100.0, top="hwgen_top", memories=(), sources=("rtl/hwgen_top.v", "rtl/part.v"),
        input=StreamPort("x", TensorStream(uint_type(8), (BEATS, 1, 1), 1)),
        output=StreamPort("y", TensorStream(uint_type(8), (BEATS, 1, lanes), lanes)), taps=(),
        blocks=(BlockInfo("part", "part", "Part", "conv1", BEATS, Resources()),),
        frame_interval_cycles=BEATS, latency_cycles=BEATS + 1)
    design.save(folder)
    return design


def wires() -> Gates:
    """Gates of a top that passes its stream through, to add others to."""
    gates = Gates()
    valid, last, rst, ready = (gates.new() for _ in range(4))
    data = [gates.new() for _ in range(8)]
    gates.ports = {"rst": [rst], "s_axis_tvalid": [valid], "s_axis_tready": [ONE],
                   "s_axis_tlast": [last], "s_axis_tdata": data, "m_axis_tvalid": [valid],
                   "m_axis_tready": [ready], "m_axis_tlast": [last], "m_axis_tdata": data}
    return gates


def add_register(gates: Gates, d: int, q: int, enable: int = ONE) -> None:
    gates.drive([q], "ff", 0)
    gates.load([d], "ff_d")
    gates.owners["ff"].append(0)
    gates.flip_flops.append([q, 0, 0, [d, enable, ZERO]])


def add_lut(gates: Gates, table: int, *inputs: int) -> int:
    out = gates.new()
    gates.drive([out], "lut", 0)
    gates.load(inputs, "lut")
    gates.lut(out, table, inputs)
    return out


# A byte, the byte 20 beats ago, that of 32 ago, a word of a ROM, and a product: a shift register,
# a LUT RAM, a block RAM and a DSP slice.
PART = """
module part (input clk, input rst, input [7:0] data, input go, output reg [7:0] same,
             output [7:0] before, output [7:0] long_before, output reg [15:0] word,
             output reg [31:0] product);
  reg [19:0] shift [0:7];
  genvar n;
  generate for (n = 0; n < 8; n = n + 1) begin : delays
    reg [19:0] held = 0;
    always @(posedge clk) if (go) held <= {held[18:0], data[n]};
    assign before[n] = held[19];
  end endgenerate
  reg [4:0] at = 0;
  reg [7:0] ring [0:31];
  reg [7:0] read = 0;
  integer k;
  initial for (k = 0; k < 32; k = k + 1) ring[k] = 0;
  always @(posedge clk) if (go) begin
    ring[at] <= data;
    at <= at + 1;
    read <= ring[at];
    same <= data;
  end
  assign long_before = read;
  (* rom_style = "block" *) reg [15:0] rom [0:255];
  initial for (k = 0; k < 256; k = k + 1) rom[k] = k * 40503;
  always @(posedge clk) if (go) word <= rom[data];
  wire [15:0] twice = {data, data};
  always @(posedge clk) if (go) product <= twice * {8'h5a, data};
endmodule
"""

TOP = """
module hwgen_top (
  input clk, input rst, input [7:0] s_axis_tdata, input s_axis_tvalid, output s_axis_tready,
  input s_axis_tlast, output [71:0] m_axis_tdata, output m_axis_tvalid, input m_axis_tready,
  output m_axis_tlast);
  reg valid, last;
  wire go = s_axis_tvalid & s_axis_tready;
  assign s_axis_tready = ~valid | m_axis_tready;
  assign m_axis_tvalid = valid;
  assign m_axis_tlast = last;
  always @(posedge clk) if (rst) valid <= 0; else begin
    if (m_axis_tready) valid <= 0;
    if (go) begin valid <= 1; last <= s_axis_tlast; end
  end
  wire [31:0] product;
  part part (.clk(clk), .rst(rst), .data(s_axis_tdata), .go(go), .same(m_axis_tdata[7:0]),
             .before(m_axis_tdata[15:8]), .long_before(m_axis_tdata[23:16]),
             .word(m_axis_tdata[39:24]), .product(product));
  assign m_axis_tdata[71:40] = product;
endmodule
"""


def expected_bytes(data: list[int]) -> list[list[int]]:
    """The bytes of TOP's output, lowest first, for a stream of bytes from reset on."""
    rows = []
    for n, byte in enumerate(data):
        word, product = byte * 40503, (byte * 257) * (0x5A00 + byte)
        rows.append([byte, data[n - 19] if n >= 19 else 0, data[n - 32] if n >= 32 else 0,
                     *(word >> at & 255 for at in (0, 8)),
                     *(product >> at & 255 for at in (0, 8, 16, 24))])
    return rows
