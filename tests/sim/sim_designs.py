"""Small hand-written designs with the ports of a built one.

Each is one register stage: a frame of n beats has latency n + 1 and an interval of n clocks.
"""

from pathlib import Path

import numpy as np

from hwgen.design import BlockInfo, Design, StreamPort, Tap
from hwgen.graph import Graph, Node, Tensor
from hwgen.ops import Clip
from hwgen.resources import Resources
from hwgen.streams import TensorStream
from hwgen.types import parse_type

# `stalled` counts the clocks that the beat in the register has waited for m_axis_tready.
STAGE = """
module hwgen_top(
  input clk, input rst,
  input [{in_bits}-1:0] s_axis_tdata, input s_axis_tvalid, output s_axis_tready,
  input s_axis_tlast,
  output [{out_bits}-1:0] m_axis_tdata, output m_axis_tvalid, input m_axis_tready,
  output m_axis_tlast);
  reg [{out_data}-1:0] held;
  reg valid, last, dead;
  integer beats, stalled;
  wire [{in_data}-1:0] first_tdata = s_axis_tdata[{in_data}-1:0];
  wire first_tvalid = s_axis_tvalid, first_tready = s_axis_tready;
  wire [{out_data}-1:0] second_tdata = held;
  wire second_tvalid = valid, second_tready = m_axis_tready;
  assign s_axis_tready = (!valid || m_axis_tready) && !dead;
  assign m_axis_tvalid = valid && !({valid_falls});
  assign m_axis_tlast = last;
  assign m_axis_tdata = {out_word};
  always @(posedge clk)
    if (rst) begin
      valid <= 0; beats <= 0; stalled <= 0; dead <= 0;
    end else begin
      stalled <= valid && !m_axis_tready ? stalled + 1 : 0;
      if (m_axis_tready) valid <= 0;
      if (s_axis_tready && s_axis_tvalid) begin
        valid <= 1;
        held <= {next_held};
        dead <= {dead_when};
        last <= (beats == {beats}-1) ^ ({last_wrong});
        beats <= beats == {beats}-1 ? 0 : beats + 1;
      end
    end
endmodule
"""


def stage(folder: Path, source: TensorStream, sink: TensorStream, next_held: str, *,
          out_word: str = "held", valid_falls: str = "0", last_wrong: str = "0",
          dead_when: str = "0") -> Design:
    """Write a one-stage design into ``folder``; as many beats come out as go in.

    ``next_held`` makes the output word from ``s_axis_tdata``; the other expressions make it
    misbehave.
    """
    (folder / "rtl").mkdir(parents=True)
    (folder / "rtl" / "hwgen_top.v").write_text(STAGE.format(
        in_bits=-(-source.data_width // 8) * 8, out_bits=-(-sink.data_width // 8) * 8,
        in_data=source.data_width, out_data=sink.data_width, beats=source.beats,
        next_held=next_held, out_word=out_word, valid_falls=valid_falls, last_wrong=last_wrong,
        dead_when=dead_when))
    design = Design(
        model="small", board="none", family="none", clock_mhz=100.0, top="hwgen_top",
        sources=("rtl/hwgen_top.v",), memories=(), input=StreamPort("x", source),
        output=StreamPort("y", sink),
        taps=(Tap("input", "x", "first", source), Tap("stage", "y", "second", sink)),
        blocks=(BlockInfo("stage", "hwgen_top", "Stage", "stage", source.beats,
                          Resources(lut=3, ff=9, bram36=0.5)),),
        frame_interval_cycles=source.beats, latency_cycles=source.beats + 1)
    design.save(folder)
    return design


BYTES = TensorStream(parse_type("UINT8"), (4, 3, 1), 1)
BENIGN = 249  # values up to this pass through `tricky` unharmed
WRONG_VALUE, VALID_FALLS, DATA_CHANGES, LAST_WRONG, DEAD = 251, 252, 253, 254, 255


def tricky(folder: Path) -> Design:
    """Passes bytes through, but for the values above, which each break something."""
    return stage(folder, BYTES, BYTES, f"s_axis_tdata == {WRONG_VALUE} ? 8'd7 : s_axis_tdata",
                 out_word=f"held ^ {{8{{held == {DATA_CHANGES} && stalled == 2}}}}",
                 valid_falls=f"held == {VALID_FALLS} && stalled == 2",
                 last_wrong=f"s_axis_tdata == {LAST_WRONG}",
                 dead_when=f"s_axis_tdata == {DEAD}")


def tricky_graph() -> Graph:
    """What ``tricky`` is meant to compute: bytes through."""
    bytes_tensor = Tensor(BYTES.shape, BYTES.dtype)
    return Graph("small", "x", bytes_tensor, BYTES.shape,
                 (Node("y", Clip(0, 255), ("x",), bytes_tensor),), "y")


def tensor(dtype: str, shape: tuple[int, int, int], lanes: int) -> TensorStream:
    return TensorStream(parse_type(dtype), shape, lanes)


def random_frames(stream: TensorStream, count: int, high: int | None = None) -> np.ndarray:
    """Random frames over the whole range of the type, or up to ``high``."""
    rng = np.random.default_rng(7)
    dtype = stream.dtype
    size = (count, *stream.shape)
    if dtype.bipolar:
        return rng.choice([-1, 1], size=size)
    return rng.integers(dtype.low, dtype.high if high is None else high, size=size, endpoint=True)
