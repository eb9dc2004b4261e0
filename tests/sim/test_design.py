"""design.json: what is saved comes back, and what is not a build is refused in one line."""

import json

import pytest
from sim_designs import BYTES, tricky

from hwgen.design import Design
from hwgen.errors import ToolError


def test_a_saved_design_loads_equal(tmp_path):
    design = tricky(tmp_path / "design")
    assert Design.load(tmp_path / "design") == design


def test_the_file_has_the_documented_keys(tmp_path):
    tricky(tmp_path / "design")
    data = json.loads((tmp_path / "design" / "design.json").read_text())
    assert data["format"] == "hwgen-design"
    assert data["input"] == {"tensor": "x", "shape": [4, 3, 1], "type": "UINT8", "lanes": 1,
                             "beats": 12, "pixels": 1}
    assert data["taps"][1] == {"layer": "stage", "tensor": "y", "signal": "second",
                               "shape": [4, 3, 1], "type": "UINT8", "lanes": 1, "beats": 12}
    assert data["blocks"][0]["estimate"] == {"lut": 3, "lutram": 0, "ff": 9, "bram36": 0.5,
                                             "dsp": 0}


def test_streams_come_back_as_tensor_streams(tmp_path):
    tricky(tmp_path / "design")
    assert Design.load(tmp_path / "design").input.stream == BYTES


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(ToolError, match="nowhere: no such directory; build one with `hwgen build`"):
        Design.load(tmp_path / "nowhere")


def test_a_folder_that_is_no_build_is_named(tmp_path):
    with pytest.raises(ToolError, match=r": no design.json; build one with `hwgen build`$"):
        Design.load(tmp_path)


@pytest.mark.parametrize("change, message", [
    (lambda d: d.update(format="other"), r"format is 'other', expected 'hwgen-design'"),
    (lambda d: d.update(version=2), r"version is 2, this hwgen reads 1; build the design again"),
    (lambda d: d.pop("top"), r"'top' is missing; build the design again"),
    (lambda d: d["input"].update(type="INT99"), r"'INT99' is not a type"),
    (lambda d: d["input"].update(beats=13), r"input: beats is 13, expected 12"),
    (lambda d: d["taps"][0].update(lanes=2), r"lanes \(2\) must divide the channels \(1\)"),
])
def test_a_broken_file_is_explained(tmp_path, change, message):
    tricky(tmp_path / "design")
    file = tmp_path / "design" / "design.json"
    data = json.loads(file.read_text())
    change(data)
    file.write_text(json.dumps(data))
    with pytest.raises(ToolError, match=rf"design\.json: .*{message}") as caught:
        Design.load(tmp_path / "design")
    assert len(caught.value.problems) == 1


def test_text_that_is_not_json_is_explained(tmp_path):
    (tmp_path / "design.json").write_text("{")
    with pytest.raises(ToolError, match=r"design\.json: not JSON"):
        Design.load(tmp_path)


def test_missing_sources_are_all_named(tmp_path):
    design = tricky(tmp_path / "design")
    (tmp_path / "design" / "rtl" / "hwgen_top.v").unlink()
    with pytest.raises(ToolError, match=r"rtl/hwgen_top\.v is missing"):
        design.files(tmp_path / "design")
