"""`verify`: the cocotb bench passes a right design, and finds what is wrong in others."""

import dataclasses

import numpy as np
import pytest
from sim_designs import (
    BENIGN,
    BYTES,
    DATA_CHANGES,
    DEAD,
    LAST_WRONG,
    VALID_FALLS,
    WRONG_VALUE,
    random_frames,
    tricky_graph,
)

from hwgen.design import Design
from hwgen.errors import HwgenError, MismatchError
from hwgen.simulate import SimulationError
from hwgen.verify import verify


def frames_with(value: int, at: int) -> np.ndarray:
    """Three benign frames with one value at beat ``at``."""
    x = random_frames(BYTES, 3, BENIGN)
    x.reshape(-1)[at] = value
    return x


def test_a_right_design_passes_with_the_designed_clocks(tricky_folder):
    result = verify(tricky_folder, tricky_graph(), random_frames(BYTES, 4, BENIGN), stall=0.5)
    assert result.frames == 4
    assert result.tests == ("full_speed", "random_stalls")
    assert result.frame_interval_cycles == result.predicted_interval_cycles == 12
    assert result.latency_cycles == result.predicted_latency_cycles == 13


def test_both_ends_stall(tricky_folder):
    result = verify(tricky_folder, tricky_graph(), random_frames(BYTES, 4, BENIGN), stall=0.5)
    assert min(result.stalled_clocks) > 24


def test_without_stalls_only_full_speed_runs(tricky_folder):
    result = verify(tricky_folder, tricky_graph(), random_frames(BYTES, 1, BENIGN), stall=0.0)
    assert result.tests == ("full_speed",)
    assert result.frame_interval_cycles is None


def test_progress_counts_the_beats_of_both_tests(tricky_folder):
    calls = []
    verify(tricky_folder, tricky_graph(), random_frames(BYTES, 30, BENIGN),
           on_progress=lambda *call: calls.append(call))
    assert {total for _, total in calls} == {2 * 30 * 24}


def test_a_wrong_value_is_located_by_layer_frame_pixel_and_channel(tricky_folder):
    with pytest.raises(MismatchError, match=r"layer stage \(tensor y\) differs from the golden "
                                            r"model: frame 1, row 1, column 2, channel 0: "
                                            r"expected 251, found 7$"):
        verify(tricky_folder, tricky_graph(), frames_with(WRONG_VALUE, 17))


@pytest.fixture
def wrong_prediction(tricky_folder):
    """``tricky`` while its design.json predicts an interval of 11 clocks instead of 12."""
    design = Design.load(tricky_folder)
    dataclasses.replace(design, frame_interval_cycles=11).save(tricky_folder)
    yield tricky_folder
    design.save(tricky_folder)


def test_an_interval_that_is_not_the_predicted_one_is_a_mismatch(wrong_prediction):
    with pytest.raises(MismatchError, match="frame interval is 12 clocks, predicted 11"):
        verify(wrong_prediction, tricky_graph(), random_frames(BYTES, 3, BENIGN), stall=0.0)


def test_a_deadlock_says_how_many_beats_moved(tricky_folder):
    with pytest.raises(SimulationError, match=r"no beat moved for \d+ clocks, after 18 input "
                                              r"beats and 18 of 36 output beats"):
        verify(tricky_folder, tricky_graph(), frames_with(DEAD, 17))


@pytest.mark.parametrize("value, what", [(VALID_FALLS, "tvalid fell"),
                                         (DATA_CHANGES, "tdata changed")])
def test_a_beat_that_does_not_hold_is_reported(tricky_folder, value, what):
    x = random_frames(BYTES, 3, BENIGN)
    x[1:] = value
    with pytest.raises(SimulationError, match=r"output beat (1[2-9]|[23]\d): "
                                              f"m_axis_{what} while m_axis_tready was low"):
        verify(tricky_folder, tricky_graph(), x, stall=0.9)


def test_a_misplaced_last_is_reported(tricky_folder):
    with pytest.raises(SimulationError, match="frame 1, output beat 5: m_axis_tlast is 1, but "
                                              "beat 11 is the last of a frame"):
        verify(tricky_folder, tricky_graph(), frames_with(LAST_WRONG, 17))


def test_only_the_folder_sim_is_written(tricky_folder):
    verify(tricky_folder, tricky_graph(), random_frames(BYTES, 1, BENIGN))
    assert sorted(f.name for f in tricky_folder.iterdir()) == ["design.json", "rtl", "sim"]
    assert [f.name for f in (tricky_folder / "rtl").iterdir()] == ["hwgen_top.v"]


def test_a_stall_that_is_no_probability_is_refused(tricky_folder):
    with pytest.raises(HwgenError, match="stall is 1; choose a probability"):
        verify(tricky_folder, tricky_graph(), random_frames(BYTES, 1, BENIGN), stall=1)
