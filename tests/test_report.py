"""report.json and its tables."""

import json

import pytest
from rich.console import Console

from hwgen.boards import load_board
from hwgen.design import BlockInfo, Design, StreamPort, Tap
from hwgen.errors import ToolError
from hwgen.report import load_report, new_report, render, update_report, write_report
from hwgen.resources import Resources
from hwgen.streams import TensorStream
from hwgen.types import uint_type


def a_design() -> Design:
    def stream(*shape):
        return TensorStream(uint_type(4), shape, 1)

    return Design(
        model="digits", board="zybo-z7010", family="xc7", clock_mhz=150.0, top="hwgen_top",
        sources=(), memories=(), input=StreamPort("x", stream(8, 8, 1)),
        output=StreamPort("fc", stream(1, 1, 10)),
        taps=(Tap("conv1", "conv1_act", "conv1_act", stream(8, 8, 16)),),
        blocks=(BlockInfo("conv1_window", "conv1_window", "SlidingWindow", "conv1", 100,
                          Resources(lut=10, lutram=4, ff=5)),
                BlockInfo("conv1_neurons", "conv1_neurons", "NeuronLayer", "conv1", 500,
                          Resources(lut=1200, ff=300, bram36=0.5)),
                BlockInfo("fc_neurons", "fc_neurons", "NeuronLayer", "fc", 250,
                          Resources(lut=40, ff=10, bram36=2, dsp=3))),
        frame_interval_cycles=500, latency_cycles=1500)


def a_report():
    return new_report(a_design(), load_board("zybo-z7010"),
                      folding={"conv1": {"pe": 2, "simd": 9}})


def shown(report) -> str:
    console = Console(width=160, no_color=True, force_terminal=False)
    with console.capture() as capture:
        console.print(render(report))
    return capture.get()


def row(text: str, name: str) -> list[str]:
    """Cells of the row that begins with ``name``."""
    line = next(line for line in text.splitlines() if line.strip().startswith(name))
    return [cell.strip() for cell in line.strip().split("  ") if cell.strip()]


def test_a_new_report_has_the_promised_fields():
    report = a_report()
    assert {"model", "board", "clock_mhz", "frame_interval_cycles", "fps", "latency_cycles",
            "layers", "estimate"} <= report.keys()
    assert set(report["layers"][0]) == {"name", "block", "shape", "folding", "cycles", "estimate"}
    assert report["fps"] == 300_000
    assert report["board"] == "zybo-z7010"


def test_a_layer_sums_its_blocks_and_takes_the_slowest():
    conv1, fc = a_report()["layers"]
    assert conv1 == {"name": "conv1", "block": "SlidingWindow, NeuronLayer", "shape": [8, 8, 16],
                     "folding": {"pe": 2, "simd": 9}, "cycles": 500,
                     "estimate": {"lut": 1210, "lutram": 4, "ff": 305, "bram36": 0.5, "dsp": 0}}
    assert (fc["shape"], fc["folding"]) == ([1, 1, 10], {})


def test_the_estimate_is_the_sum_of_all_blocks():
    assert a_report()["estimate"] == {"lut": 1250, "lutram": 4, "ff": 315, "bram36": 2.5, "dsp": 3}


def test_a_given_shape_wins_over_that_of_a_tap():
    report = new_report(a_design(), load_board("zybo-z7010"), shapes={"conv1": (4, 4, 16)})
    assert report["layers"][0]["shape"] == [4, 4, 16]


def test_a_report_survives_being_written_and_read(tmp_path):
    write_report(tmp_path, a_report())
    assert load_report(tmp_path) == a_report()
    assert [path.name for path in tmp_path.iterdir()] == ["report.json"]


def test_an_update_sets_one_section_and_keeps_the_others(tmp_path):
    write_report(tmp_path, a_report())
    update_report(tmp_path, "sim", {"frame_interval_cycles": 500})
    report = update_report(tmp_path, "synth", {"total": {}})
    assert report == load_report(tmp_path)
    sections = {"sim": {"frame_interval_cycles": 500}, "synth": {"total": {}}}
    assert report == a_report() | sections | {"figures": report["figures"]}


def test_an_update_replaces_a_section_whole(tmp_path):
    write_report(tmp_path, a_report())
    update_report(tmp_path, "sim", {"frames": 1})
    assert update_report(tmp_path, "sim", {"seed": 2})["sim"] == {"seed": 2}


def test_a_failed_write_leaves_the_old_report(tmp_path):
    write_report(tmp_path, a_report())
    with pytest.raises(TypeError):
        update_report(tmp_path, "sim", {"frames": object()})
    assert load_report(tmp_path) == a_report()
    assert [path.name for path in tmp_path.iterdir()] == ["report.json"]


def test_a_section_of_unknown_name_is_refused(tmp_path):
    with pytest.raises(ValueError, match="'simm' is none of synth, sim, verify, accuracy, "
                                         "pnr, power"):
        update_report(tmp_path, "simm", {})


def test_a_folder_without_report_is_refused(tmp_path):
    with pytest.raises(ToolError, match="no report.json; build a design with `hwgen build`"):
        load_report(tmp_path)


@pytest.mark.parametrize("text, line", [
    ("{", "can't be read: Expecting property name"),
    ("[]", "format is None, expected 'hwgen-report'"),
    ('{"format": "hwgen-report", "version": 9}', "version is 9, this hwgen reads 1"),
])
def test_a_damaged_report_is_refused(tmp_path, text, line):
    (tmp_path / "report.json").write_text(text)
    with pytest.raises(ToolError, match=line):
        load_report(tmp_path)


def test_the_tables_show_speed_and_latency():
    text = shown(a_report())
    assert text.startswith("digits on zybo-z7010 at 150 MHz")
    assert row(text, "frames per second") == ["frames per second", "300,000.0"]
    assert row(text, "latency, clocks") == ["latency, clocks", "1,500"]
    assert row(text, "latency, ms") == ["latency, ms", "0.0100"]


def test_the_tables_show_simulation_beside_prediction():
    text = shown(a_report() | {"sim": {"frame_interval_cycles": 600, "latency_cycles": 1501}})
    assert row(text, "frames per second") == ["frames per second", "300,000.0", "250,000.0"]
    assert row(text, "latency, clocks") == ["latency, clocks", "1,500", "1,501"]


def test_the_tables_show_each_layer():
    text = shown(a_report())
    assert row(text, "conv1") == ["conv1", "SlidingWindow, NeuronLayer", "8 x 8 x 16",
                                  "pe=2 simd=9", "500", "100%", "1,210", "305", "0.5", "0"]
    assert row(text, "fc") == ["fc", "NeuronLayer", "1 x 1 x 10", "-", "250", "50%", "40", "10",
                               "2", "3"]


def test_the_tables_show_the_share_of_the_board():
    text = shown(a_report())
    assert row(text, "LUT") == ["LUT", "1,250", "7.1%", "17,600"]
    assert row(text, "BRAM36") == ["BRAM36", "2.5", "4.2%", "60"]


def test_the_tables_show_synthesis_beside_the_estimate():
    used = {"lut": 1300, "lutram": 8, "ff": 300, "bram36": 3, "dsp": 3}
    text = shown(a_report() | {"synth": {"total": used, "layers": {"conv1": used}}})
    assert row(text, "conv1")[6:] == ["1,210 / 1,300", "305 / 300", "0.5 / 3", "0 / 3"]
    assert row(text, "fc")[6:] == ["40 / -", "10 / -", "2 / -", "3 / -"]
    assert row(text, "LUT") == ["LUT", "1,250", "7.1%", "1,300", "7.4%", "17,600"]


def test_the_report_is_plain_json():
    assert json.loads(json.dumps(a_report())) == a_report()


def test_the_tables_end_with_what_the_host_does_and_the_accuracy():
    report = a_report() | {
        "host": {"input": ["quantize to INT4, scale 0.25"], "output": ["Softmax"]},
        "accuracy": {"frames": 8, "correct": 7, "top1": 0.875}}
    assert shown(report).splitlines()[-4:] == [
        "", "input, on the host: quantize to INT4, scale 0.25", "left to the host: Softmax",
        "top-1 accuracy 87.50%, 7 of 8 frames"]


def test_a_host_without_work_is_not_mentioned():
    assert a_report()["host"] == {"input": [], "output": []}
    assert "host" not in shown(a_report())
