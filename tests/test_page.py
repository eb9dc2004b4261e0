"""report.html: every number is the report's, nothing comes from elsewhere, odd names are text."""

import json
import re
from copy import deepcopy
from html.parser import HTMLParser

import pytest

from hwgen.cli import main
from hwgen.figures import with_figures
from hwgen.files import data_folder
from hwgen.page import FILE_NAME, make_page, write_page
from hwgen.page.charts import (
    budget_chart,
    estimate_chart,
    fifo_chart,
    layer_chart,
    pipeline_chart,
    power_chart,
    short,
)
from hwgen.page.numbers import lookup, number, pointer, shown
from hwgen.power_table import KIND_NAMES
from hwgen.report import load_report
from tests.chromium import find_chromium, visit

MOST_BYTES = 2_000_000
ODD = '<b>&"\'/~</script>'


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A build of digits, of which nothing was run."""
    folder = tmp_path_factory.mktemp("page") / "design"
    model = data_folder("examples") / "digits" / "model.json"
    assert main(["build", str(model), "--fps", "50000", "-o", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def built(folder):
    return load_report(folder)


@pytest.fixture(scope="module")
def full(built):
    """The same report with all that commands add."""
    layers = {layer["name"]: {key: 1.1 * value for key, value in layer["estimate"].items()}
              for layer in built["layers"]}
    total = {key: 1.1 * value for key, value in built["estimate"].items()}
    kinds = dict.fromkeys(KIND_NAMES, 0.0123 / len(KIND_NAMES))
    part = {"dynamic_w": 0.002, "kinds": kinds, "toggle_rate": 0.1, "glitch_rate": 0.02,
            "constant_guess_w": 0.003}
    path = {"ns": 5.04, "route_ns": 3.96, "levels": 4, "carry_chains": 1, "from": "a<b", "to": "c"}
    return with_figures(built | {
        "sim": {"tool": "Verilator 5.48", "frames": 20, "frame_interval_cycles": 2148,
                "latency_cycles": 2916, "total_cycles": 43728, "command": "hwgen simulate d",
                "frame_latency": {"frames": 20, "min_cycles": 2916, "median_cycles": 5886,
                                  "max_cycles": 5890},
                "fifo_peaks": {fifo["name"]: fifo["depth"] - 1 for fifo in built["fifos"]},
                "single_stream": {"frames": 5, "min_cycles": 2907, "median_cycles": 2908,
                                  "max_cycles": 2916}},
        "verify": {"frames": 3, "tests": ["full_speed", "random_stalls"],
                   "frame_interval_cycles": 2148, "latency_cycles": 2915},
        "accuracy": {"frames": 360, "correct": 355, "top1": 355 / 360, "auc": 0.987},
        "synth": {"tool": "Yosys 0.70", "total": total, "top": {}, "blocks": {}, "layers": layers,
                  "timing": {"period_ns": 6.67, "longest": path}},
        "power": {"static_w": 0.11, "dynamic_w": 0.0123, "total_w": 0.1223,
                  "kinds": kinds, "top": part, "layers": {name: part for name in layers},
                  "fps": 69_832.4, "energy_per_frame_j": 1.75e-6, "fps_per_w": 571_000.0,
                  "chip": {"processing_system_w": 1.5, "total_w": 1.6223,
                           "energy_per_frame_j": 2.3e-5, "fps_per_w": 43_000.0},
                  "uncertainty": {"dynamic_factor": 2, "low_w": 0.116, "high_w": 0.135},
                  "activity": {"input": "maps & more.npy", "frames": 6, "clocks": 12_888,
                               "simulated_frames": 8, "toggle_rate": 0.12, "glitch_rate": 0.03},
                  "constant_guess": {"toggle_rate": 0.125, "dynamic_w": 0.04, "total_w": 0.15,
                                     "kinds": kinds}}})


class Page(HTMLParser):
    """Numbers as (key, form, text), addresses in attributes, and the text outside of scripts."""

    def __init__(self, html: str):
        super().__init__()
        self.numbers: list[tuple[str, str, str]] = []
        self.addresses: list[str] = []
        self.tags: list[str] = []
        self.text = self.styles = self.charts = ""
        self._inside: list[str] = []
        self._number: list[str] | None = None
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.tags.append(tag)
        self.addresses += [values[key] for key in ("src", "href", "action") if key in values]
        if tag in ("script", "style"):
            self._inside.append(values.get("id", tag))
        if "data-key" in values:
            self._number = [values["data-key"], values["data-form"], ""]

    def handle_endtag(self, tag):
        if tag in ("script", "style"):
            self._inside.pop()
        if tag == "span" and self._number:
            key, form, text = self._number
            self.numbers.append((key, form, text))
            self._number = None

    def handle_data(self, data):
        if self._inside:
            self.styles += data if self._inside[-1] == "style" else ""
            self.charts += data if self._inside[-1] == "charts" else ""
            return
        self.text += data
        if self._number:
            self._number[2] += data


@pytest.fixture(scope="module")
def page(full):
    return Page(make_page(full, "build/digits"))


def test_every_number_is_the_reports(page, full):
    report = json.loads(json.dumps(full))
    assert len(page.numbers) > 250
    for key, form, text in page.numbers:
        assert text == shown(lookup(report, key), form), key


def test_no_number_of_a_full_report_is_missing(page):
    missing = {key for key, _, text in page.numbers if text == "-"}
    # Synthesis finds no block RAM and no DSP slices: there is no share of nothing.
    assert missing <= {pointer("figures", "utilization", kind, "dsp")
                       for kind in ("estimate", "synth")}


def test_headline_figures_are_there(page):
    keys = {key for key, _, _ in page.numbers}
    assert {"/fps", "/figures/sim_fps", "/frame_interval_cycles", "/latency_cycles",
            "/synth/total/lut", "/accuracy/top1", "/accuracy/auc", "/power/total_w",
            "/figures/benchmark/latency_ms", "/figures/benchmark/throughput_fps",
            "/figures/benchmark/energy_per_inference_j", "/synth/timing/longest/ns",
            "/sim/fifo_peaks/conv1", "/power/layers/conv1/dynamic_w"} <= keys


def test_the_page_is_one_small_file_that_asks_for_nothing(full):
    html = make_page(full, "build/digits")
    page = Page(html)
    assert len(html.encode()) < MOST_BYTES
    assert page.addresses == ["data:,"]
    assert "url(" not in page.styles
    assert "@import" not in page.styles
    policy, = re.findall(r'Content-Security-Policy" content="([^"]*)"', html)
    assert policy.startswith("default-src 'none'; ")
    assert "http" not in policy
    assert "unsafe-eval" not in policy


def test_charts_hold_the_reports_numbers(full):
    def columns(chart, name):
        return [list(glyph.data_source.data[name]) for glyph in chart.plot.renderers
                if name in glyph.data_source.data]

    layers = [layer["name"] for layer in full["layers"]]
    assert columns(layer_chart(full), "count")[0] == \
        [full["synth"]["layers"][name]["lut"] for name in layers]
    assert columns(budget_chart(full), "share")[0][0] == \
        full["figures"]["utilization"]["estimate"]["lut"]
    estimates = estimate_chart(full)
    assert columns(estimates, "estimate")[0] == [layer["estimate"]["lut"] for layer in
                                                 full["layers"]]
    fifos = [fifo for fifo in full["fifos"] if fifo["depth"] > 2]
    assert columns(fifo_chart(full), "depth")[0] == [fifo["depth"] for fifo in fifos]
    assert columns(fifo_chart(full), "peak")[0] == [fifo["depth"] - 1 for fifo in fifos]
    assert columns(power_chart({"clock": 0.5}, "#000000"), "milliwatts") == [[500.0]]


def test_the_pipeline_chart_has_a_row_a_layer_and_marks_the_bottleneck(full):
    plot = pipeline_chart(full).plot
    names = list(plot.yaxis.major_label_overrides.values())
    assert [name.removeprefix("▶ ") for name in names] == [layer["name"] for layer in
                                                           full["schedule"]["layers"]]
    assert [name.removeprefix("▶ ") for name in names if name.startswith("▶ ")] == ["conv2"]


def test_the_drawing_shows_widths_folding_and_depths(page, full):
    edge = next(edge for edge in full["graph"]["edges"] if edge["to"] == "pool1")
    assert f"{edge['bits']} bit: {edge['lanes']} x {edge['type']}" in page.charts
    assert f"FIFO {edge['fifo_depth']}" in page.charts
    assert "pe=1 simd=9 window=shift" in page.charts
    assert "8 x 8 x 16" in page.charts


def test_what_was_not_run_names_its_command(built):
    text = Page(make_page(built, "a folder")).text
    for command in ("simulate a folder --input FRAMES.npy", "verify a folder", "synth a folder",
                    "power a folder"):
        assert f"not run: hwgen {command}" in text
    assert "--labels LABELS.npy" in text


def test_a_report_of_an_earlier_version_still_makes_a_page(built):
    added = ("graph", "fifos", "schedule", "figures", "versions", "command")
    old = {key: value for key, value in built.items() if key not in added}
    text = Page(make_page(old, "d")).text
    assert "not run: hwgen build" in text
    assert "names no command line" in text


def test_odd_names_are_text(full):
    odd = json.loads(json.dumps(full).replace('"conv1"', json.dumps(ODD)))
    odd["model"] = odd["command"] = ODD
    odd["fifos"][0]["name"] = ODD
    page = Page(make_page(with_figures(odd), ODD))
    assert "b" not in page.tags
    assert page.tags.count("script") == 3
    assert page.text.count(ODD) > 5
    assert "<" not in page.charts
    assert json.dumps(short(ODD))[1:-1].replace("<", "\\u003c") in page.charts
    for key, form, text in page.numbers:
        assert text == shown(lookup(odd, key), form), key


def test_commands_and_versions_are_there(page, full):
    assert full["command"] in page.text
    assert "hwgen simulate d" in page.text
    assert full["versions"]["pyosys"] in page.text


def test_report_writes_the_page_beside_the_report(folder, capsys):
    assert main(["report", str(folder)]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("digits on zybo-z7010 at 150 MHz\n")
    assert err.splitlines() == [f"hwgen: the page is {folder / FILE_NAME}"]
    assert (folder / FILE_NAME).read_text().startswith("<!DOCTYPE html>")
    assert not [file for file in folder.iterdir() if file.name.startswith(".")]


def test_a_page_of_the_same_report_is_the_same(full):
    assert Page(make_page(full, "d")).text == Page(make_page(deepcopy(full), "d")).text


@pytest.mark.parametrize("value, form, text", [
    (None, "count", "-"), (1234, "count", "1,234"), (49.5, "count", "49.5"),
    (0.0987, "percent", "9.9%"), (-0.05, "difference", "-5.0%"), (1.75e-6, "microjoule", "1.75"),
    (0.0123456, "microjoule", "12,346"), (0, "microjoule", "0"), (1.8e-4, "microjoule", "180"),
    (0.1223, "milliwatt", "122.3"), (0.01944, "fixed4", "0.0194")])
def test_a_value_has_one_text(value, form, text):
    assert shown(value, form) == text
    assert number({"a/b": {"~": value}}, pointer("a/b", "~"), form).striptags() == text


@pytest.mark.parametrize("width, height, dark", [(1400, 900, False), (390, 844, True)])
@pytest.mark.skipif(find_chromium() is None, reason="no Chromium on PATH")
def test_chromium_opens_it_without_a_complaint(full, tmp_path, width, height, dark):
    page = write_page(tmp_path, full)
    seen = visit(page, tmp_path / "browser", width, height, dark=dark)
    assert seen.problems == []
    assert seen.requests == [page.as_uri()]
    assert seen.overflow == 0
    assert seen.charts
    assert all(seen.charts.values()), seen.charts


def test_peaks_that_were_not_counted_are_asked_for(full):
    waves = full | {"sim": full["sim"] | {"fifo_peaks": {}, "single_stream": None}}
    text = Page(make_page(with_figures(waves), "d")).text
    assert "Peaks: not run: hwgen simulate d" in text
    assert "Latency and throughput: not run: hwgen simulate d" in text
