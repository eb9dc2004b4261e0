"""`simulate`: packing, results, clocks, stalls, contract checks and the cache."""

import numpy as np
import pytest
from sim_designs import (
    BENIGN,
    BYTES,
    DATA_CHANGES,
    DEAD,
    LAST_WRONG,
    VALID_FALLS,
    random_frames,
    tensor,
)

from hwgen.design import Design
from hwgen.errors import HwgenError
from hwgen.simulate import (
    FrameClocks,
    SimulationError,
    frame_interval,
    pack_beats,
    simulate,
    unpack_beats,
)


@pytest.mark.parametrize("stream", [
    tensor("BIPOLAR", (2, 3, 4), 2), tensor("TERNARY", (2, 3, 4), 4), tensor("UINT1", (1, 2, 9), 9),
    tensor("INT5", (4, 3, 40), 20), tensor("UINT16", (2, 2, 6), 3), tensor("INT62", (1, 2, 3), 3)],
    ids=str)
def test_packed_beats_are_the_words_of_the_stream(stream):
    x = random_frames(stream, 3)
    beats = pack_beats(stream, x)
    words = [int.from_bytes(beat.tobytes(), "little") for beat in beats]
    assert words == stream.pack(x)
    np.testing.assert_array_equal(unpack_beats(stream, beats), x)


def test_outputs_of_a_wide_output_port_are_right(widener):
    x = random_frames(Design.load(widener).input.stream, 6)
    y = simulate(widener, x).outputs
    expected = np.repeat(x.reshape(6, 4, 3, 2, 4)[..., :1], 20, axis=-1).reshape(6, 4, 3, 40)
    np.testing.assert_array_equal(y, expected)


def test_outputs_of_a_wide_input_port_are_right_in_a_folder_with_spaces(narrower):
    x = random_frames(Design.load(narrower).input.stream, 6)
    np.testing.assert_array_equal(simulate(narrower, x).outputs,
                                  np.where(x[..., :1] >= 0, 1, -1))


def test_latency_interval_and_total_are_as_designed(widener):
    result = simulate(widener, random_frames(Design.load(widener).input.stream, 5))
    assert result.frame_interval_cycles == 24
    assert result.latency_cycles == 25
    assert result.total_cycles == 5 * 24 + 1


@pytest.mark.parametrize("inputs, outputs, interval", [
    ((90, 180, 280), (300, 400, 500), 100),  # FIFOs have filled up
    ((90, 180, 270), (300, 400, 500), 100),  # FIFOs fill up, the input is faster
    ((100, 200, 300), (330, 428, 526), 100),  # a late start is made up for, the output is faster
])
def test_the_interval_is_that_of_the_slower_end(inputs, outputs, interval):
    frames = [FrameClocks(0, *clocks) for clocks in zip(inputs, outputs)]
    assert frame_interval(frames) == interval
    assert frame_interval(frames[:1]) is None


def test_a_single_frame_has_no_interval(widener):
    result = simulate(widener, random_frames(Design.load(widener).input.stream, 1))
    assert result.frame_interval_cycles is None


def test_stalls_happen_and_do_not_change_the_output(widener):
    x = random_frames(Design.load(widener).input.stream, 20)
    free = simulate(widener, x)
    stalled = simulate(widener, x, stall=0.5, seed=3)
    np.testing.assert_array_equal(stalled.outputs, free.outputs)
    assert stalled.total_cycles > 2 * free.total_cycles


def test_the_same_seed_gives_the_same_clocks_and_another_seed_others(widener):
    x = random_frames(Design.load(widener).input.stream, 5)
    clocks = [simulate(widener, x, stall=0.3, seed=seed).total_cycles for seed in (1, 1, 2)]
    assert clocks[0] == clocks[1] != clocks[2]


def test_progress_ends_with_every_beat(widener):
    calls = []
    simulate(widener, random_frames(Design.load(widener).input.stream, 2),
             on_progress=lambda *call: calls.append(call))
    assert calls[-1] == (96, 96)


def test_a_second_run_compiles_nothing(widener):
    x = random_frames(Design.load(widener).input.stream, 1)
    simulate(widener, x)
    before = {file: file.stat().st_mtime_ns for file in (widener / "sim").iterdir()}
    simulate(widener, x)
    assert {file: file.stat().st_mtime_ns for file in (widener / "sim").iterdir()} == before


def test_only_the_folder_sim_is_written(tricky_folder):
    simulate(tricky_folder, random_frames(BYTES, 1, BENIGN))
    assert sorted(f.name for f in tricky_folder.iterdir()) == ["design.json", "rtl", "sim"]
    assert [f.name for f in (tricky_folder / "rtl").iterdir()] == ["hwgen_top.v"]


def test_taps_record_every_inner_stream(tricky_folder):
    x = random_frames(BYTES, 3, BENIGN)
    result = simulate(tricky_folder, x, stall=0.4, taps=True)
    assert list(result.taps) == ["x", "y"]
    for values in result.taps.values():
        np.testing.assert_array_equal(values, x)


def test_a_wave_is_a_complete_fst_file(tricky_folder, tmp_path):
    simulate(tricky_folder, random_frames(BYTES, 2, BENIGN), wave=tmp_path / "wave.fst")
    blocks = fst_blocks((tmp_path / "wave.fst").read_bytes())
    assert b"m_axis_tdata" in lz4_decompress(blocks[6])
    assert set(blocks) >= {0, 3, 6}  # header, geometry, hierarchy


def fst_blocks(data: bytes) -> dict[int, bytes]:
    """Blocks of an FST file by type; of the hierarchy only what is compressed."""
    blocks, at = {}, 0
    while at < len(data):
        size = int.from_bytes(data[at + 1:at + 9], "big")
        blocks[data[at]] = data[at + (17 if data[at] == 6 else 9):at + 1 + size]
        at += 1 + size
    assert at == len(data)
    return blocks


def lz4_decompress(block: bytes) -> bytes:
    out, at = bytearray(), 0

    def length(nibble: int) -> int:
        nonlocal at
        if nibble == 15:
            while block[at] == 255:
                nibble, at = nibble + 255, at + 1
            nibble, at = nibble + block[at], at + 1
        return nibble

    while at < len(block):
        token, at = block[at], at + 1
        literals = length(token >> 4)
        out += block[at:at + literals]
        at += literals
        if at == len(block):
            break
        distance, at = int.from_bytes(block[at:at + 2], "little"), at + 2
        for _ in range(length(token & 15) + 4):
            out.append(out[-distance])
    return bytes(out)


def frames_with(value: int, at: int) -> np.ndarray:
    """Three benign frames with one value at beat ``at``."""
    x = random_frames(BYTES, 3, BENIGN)
    x.reshape(-1)[at] = value
    return x


def test_a_deadlock_says_how_many_beats_moved(tricky_folder):
    with pytest.raises(SimulationError, match=r"no beat moved for 1037 clocks, after 18 of 36 "
                                              r"input beats and 18 of 36 output beats"):
        simulate(tricky_folder, frames_with(DEAD, 17))


def test_a_valid_that_falls_early_is_reported(tricky_folder):
    with pytest.raises(SimulationError, match=r"frame 1, output beat 5 \(clock \d+\): "
                                              r"m_axis_tvalid fell while m_axis_tready was low"):
        simulate(tricky_folder, frames_with(VALID_FALLS, 17), stall=0.9)


def test_data_that_change_early_are_reported(tricky_folder):
    with pytest.raises(SimulationError, match=r"frame 1, output beat 5 .*: "
                                              r"m_axis_tdata changed while m_axis_tready was low"):
        simulate(tricky_folder, frames_with(DATA_CHANGES, 17), stall=0.9)


@pytest.mark.parametrize("at, found", [(17, 1), (23, 0)])
def test_a_misplaced_last_is_reported(tricky_folder, at, found):
    with pytest.raises(SimulationError, match=rf"frame 1, output beat {at - 12} .*: m_axis_tlast "
                                              rf"is {found}, but beat 11 is the last of a frame"):
        simulate(tricky_folder, frames_with(LAST_WRONG, at))


@pytest.mark.parametrize("x, message", [
    (np.zeros((2, 4, 4, 1), int),
     r"x: input has shape \[2, 4, 4, 1\], expected \[frames, 4, 3, 1\]"),
    (np.zeros((0, 4, 3, 1), int), r"with one frame or more"),
    (np.full((1, 4, 3, 1), 256), r"x: value 256 is not a UINT8 \(0\.\.255\)"),
    (np.zeros((1, 4, 3, 1)), r"x: input has type float64, expected integers"),
])
def test_frames_that_do_not_fit_are_refused(tricky_folder, x, message):
    with pytest.raises(HwgenError, match=message):
        simulate(tricky_folder, x)


@pytest.mark.parametrize("stall", [-0.1, 1.0, float("nan")])
def test_a_stall_that_is_no_probability_is_refused(tricky_folder, stall):
    with pytest.raises(HwgenError, match="choose a probability"):
        simulate(tricky_folder, random_frames(BYTES, 1, BENIGN), stall=stall)


def test_verilog_that_does_not_compile_names_the_line(changed_copy):
    file = changed_copy / "rtl" / "hwgen_top.v"
    file.write_text(file.read_text().replace("endmodule", "nonsense"))
    with pytest.raises(HwgenError, match=r"Verilator failed: %Error: hwgen_top\.v:\d+:\d+: syntax"):
        simulate(changed_copy, random_frames(BYTES, 1, BENIGN))
    assert "syntax error" in (changed_copy / "sim" / "simulate.log").read_text()
