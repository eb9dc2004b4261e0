"""Small hand-written designs with the ports of a built one, and graphs that say what they compute.

``adder``: adds 1 to every lane (wrapping) in one register stage, so that a frame of n beats has
latency n + 1 and an interval of n clocks.
"""

from pathlib import Path

import numpy as np

from hwgen.design import BlockInfo, Design, StreamPort, Tap
from hwgen.resources import Resources
from hwgen.streams import TensorStream
from hwgen.types import parse_type

# One register stage. {next_data} makes the output word from s_axis_tdata; {hooks} spoils the
# contract where a test wants that. tready is up whenever the register is free or being freed.
STAGE = """
module hwgen_top(
  input clk, input rst,
  input [{in_bits}-1:0] s_axis_tdata, input s_axis_tvalid, output s_axis_tready,
  input s_axis_tlast,
  output [{out_bits}-1:0] m_axis_tdata, output m_axis_tvalid, input m_axis_tready,
  output m_axis_tlast);
  wire [{in_data}-1:0] first_tdata = s_axis_tdata[{in_data}-1:0];
  wire first_tvalid = s_axis_tvalid, first_tready = s_axis_tready;
  reg [{out_data}-1:0] held;
  reg valid, last;
  integer beats, stalled;
  wire [{out_data}-1:0] second_tdata = held;
  wire second_tvalid = valid, second_tready = m_axis_tready;
  assign s_axis_tready = (!valid || m_axis_tready){ready_hook};
  assign m_axis_tvalid = valid{valid_hook};
  assign m_axis_tlast = last;
  assign m_axis_tdata = {{{padding}'d0, held}};
  always @(posedge clk)
    if (rst) begin
      valid <= 0; beats <= 0; stalled <= 0;
    end else begin
      stalled <= valid && !m_axis_tready ? stalled + 1 : 0;
      if (s_axis_tready) begin
        valid <= s_axis_tvalid;
        if (s_axis_tvalid) begin
          beats <= beats == {beats}-1 ? 0 : beats + 1;
          last <= (beats == {beats}-1){last_hook};
          held <= {next_data};
        end
      end
    end
endmodule
"""


def stage(folder: Path, source: TensorStream, sink: TensorStream, next_data: str, *,
          ready_hook: str = "", valid_hook: str = "", last_hook: str = "",
          interval: int | None = None) -> Design:
    """Write a one-stage design into ``folder``; as many beats come out as go in."""
    in_bytes, out_bytes = -(-source.data_width // 8), -(-sink.data_width // 8)
    padding = 8 * out_bytes - sink.data_width
    text = STAGE.format(in_bits=8 * in_bytes, out_bits=8 * out_bytes, in_data=source.data_width,
                        out_data=sink.data_width, padding=padding, beats=source.beats,
                        next_data=next_data, ready_hook=ready_hook, valid_hook=valid_hook,
                        last_hook=last_hook)
    if not padding:
        text = text.replace("{0'd0, held}", "held")
    (folder / "rtl").mkdir(parents=True)
    (folder / "rtl" / "hwgen_top.v").write_text(text)
    design = Design(
        model="small", board="none", family="none", clock_mhz=100.0, top="hwgen_top",
        sources=("rtl/hwgen_top.v",), memories=(), input=StreamPort("x", source),
        output=StreamPort("y", sink),
        taps=(Tap("input", "x", "first", source), Tap("stage", "y", "second", sink)),
        blocks=(BlockInfo("stage", "hwgen_top", "Stage", "stage", source.beats, Resources(ff=9)),),
        frame_interval_cycles=source.beats if interval is None else interval,
        latency_cycles=source.beats + 1)
    design.save(folder)
    return design


def tensor(dtype: str, shape: tuple[int, int, int], lanes: int) -> TensorStream:
    return TensorStream(parse_type(dtype), shape, lanes)


def frames(stream: TensorStream, count: int, seed: int = 0) -> np.ndarray:
    """Random frames over the whole range of the type."""
    rng = np.random.default_rng(seed)
    dtype = stream.dtype
    if dtype.bipolar:
        return rng.choice([-1, 1], size=(count, *stream.shape))
    return rng.integers(dtype.low, dtype.high, size=(count, *stream.shape), endpoint=True)
