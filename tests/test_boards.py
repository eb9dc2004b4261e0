"""Board files, their errors, and budgets."""

import json
from pathlib import Path

import pytest
import yaml

from hwgen.boards import Board, board_schema, list_boards, load_board, parse_budget
from hwgen.errors import BoardError
from hwgen.resources import Resources

NAMES = ["arty-a7-35t", "ice40hx8k-evn", "icebreaker", "kria-kv260", "pynq-z2", "tang-nano-20k",
         "tang-nano-9k", "ultra96-v2", "ulx3s-85f", "zybo-z7010", "zybo-z7020"]
ROOT = Path(__file__).resolve().parent.parent


def good() -> dict:
    """A board file of the user's own, as YAML reads it."""
    return yaml.safe_load((ROOT / "boards" / "zybo-z7010.yaml").read_text()) | {"name": "my-board"}


def problems(tmp_path, content) -> tuple[str, ...]:
    file = tmp_path / "my.yaml"
    file.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    with pytest.raises(BoardError) as caught:
        load_board(file)
    return caught.value.problems


def test_all_boards_are_listed_in_order():
    assert list_boards() == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_board_carries_the_name_of_its_file(name):
    assert load_board(name).name == name


@pytest.mark.parametrize("name, limits", [
    ("zybo-z7010", Resources(17600, 6000, 35200, 60, 80)),
    ("zybo-z7020", Resources(53200, 17400, 106400, 140, 220)),
    ("pynq-z2", Resources(53200, 17400, 106400, 140, 220)),
    ("arty-a7-35t", Resources(20800, 9600, 41600, 50, 90)),
    ("ulx3s-85f", Resources(83640, 41820, 83640, 104, 156)),
    ("ultra96-v2", Resources(70560, 28800, 141120, 216, 360)),
    ("kria-kv260", Resources(117120, 57600, 234240, 144, 1248)),
    ("icebreaker", Resources(5280, 0, 5280, 30 / 9, 8)),
    ("ice40hx8k-evn", Resources(7680, 0, 7680, 32 / 9, 0)),
    ("tang-nano-9k", Resources(8640, 1080, 6480, 13, 20)),
    ("tang-nano-20k", Resources(20736, 2592, 15552, 23, 48)),
])
def test_resources_are_those_of_the_chip(name, limits):
    assert load_board(name).limits == limits


def test_a_board_is_immutable():
    with pytest.raises(ValueError, match="frozen"):
        load_board("zybo-z7010").clock_mhz = 1.0


def test_a_file_of_the_users_own_is_taken_by_path(tmp_path):
    (tmp_path / "my.yaml").write_text(yaml.safe_dump(good()))
    assert load_board(str(tmp_path / "my.yaml")).name == "my-board"


def test_oscillator_and_reset_may_be_left_out(tmp_path):
    content = good()
    del content["oscillator"], content["reset"]
    (tmp_path / "my.yaml").write_text(yaml.safe_dump(content))
    board = load_board(tmp_path / "my.yaml")
    assert board.oscillator is None
    assert board.reset is None


def test_an_unknown_board_gets_a_suggestion_and_the_list():
    with pytest.raises(BoardError) as caught:
        load_board("zybo-7010")
    assert str(caught.value) == (
        "board 'zybo-7010' is unknown; did you mean zybo-z7010? The boards are "
        f"{', '.join(NAMES)}, or the path of a YAML file")


def test_a_board_like_none_gets_the_list():
    with pytest.raises(BoardError, match="^board 'versal' is unknown; choose arty-a7-35t, ice40"):
        load_board("versal")


@pytest.mark.parametrize("change, line", [
    ({"clock_mhz": 0}, "my.yaml: clock_mhz: 0 must be greater than 0"),
    ({"clock_mhz": "fast"}, 'my.yaml: clock_mhz: "fast" must be a number'),
    ({"clock_mhz": 1e9}, "my.yaml: clock_mhz: 1000000000.0 must be at most 1000"),
    ({"static_power_w": None}, "my.yaml: static_power_w: nothing must be a number"),
    ({"family": "xc6"}, 'my.yaml: family: "xc6" is none of xc7, xcup, ecp5, ice40 or gowin'),
    ({"clock": 1}, "my.yaml: clock: is not a field; did you mean clock_mhz?"),
    ({"qqq": 1}, ("my.yaml: qqq: is not a field; the fields are name, vendor, part, family, "
                  "device, resources, clock_mhz, oscillator, reset, pins, static_power_w, flow")),
    ({"device": "GW1N-9C"}, "my.yaml: device: family xc7 needs none; leave it out"),
    ({"pins": ["a"]}, 'my.yaml: pins.0: "a" does not match ^[A-Z]{0,2}[0-9]{1,3}$'),
    ({"part": "xc7z010"}, ("my.yaml: part: 'xc7z010' is not a full part number of family xc7; "
                           "write it with package and speed grade, as xc7z010clg400-1")),
    ({"flow": "nextpnr-ecp5"}, ("my.yaml: flow: nextpnr-ecp5 does not build for family xc7; "
                                "write vivado")),
    ({"vendor": "lattice"}, "my.yaml: vendor: lattice has no family xc7; write xilinx"),
    ({"resources": 3}, "my.yaml: resources: 3 must be a mapping"),
    ({"name": "My Board"}, 'my.yaml: name: "My Board" does not match ^[a-z0-9][a-z0-9._-]*$'),
    ({"oscillator": {"pin": "K17"}}, "my.yaml: oscillator.mhz: is missing"),
    ({"reset": {"pin": "K18", "active": "lo"}},
     'my.yaml: reset.active: "lo" is none of high or low'),
])
def test_a_wrong_field_gets_one_line(tmp_path, change, line):
    assert problems(tmp_path, good() | change) == (line,)


@pytest.mark.parametrize("key, value, line", [
    ("lut", 1.5, "my.yaml: resources.lut: 1.5 must be a whole number"),
    ("lut", 0, "my.yaml: resources.lut: 0 must be at least 1"),
    ("bram36", 0.25, "my.yaml: resources.bram36: 0.25 must be a multiple of 0.5"),
    ("dsp", -1, "my.yaml: resources.dsp: -1 must be at least 0"),
    ("bram", 3, "my.yaml: resources.bram: is not a field; did you mean bram36?"),
    ("lutram", 99999, ("my.yaml: resources.lutram: 99999 is more than the 17600 of "
                       "resources.lut, of which it is a part")),
])
def test_a_wrong_resource_gets_one_line(tmp_path, key, value, line):
    content = good()
    content["resources"][key] = value
    assert problems(tmp_path, content) == (line,)


@pytest.mark.parametrize("name, change, line", [
    ("ultra96-v2", {"part": "xczu3eg"}, (
        "my.yaml: part: 'xczu3eg' is not a full part number of family xcup; write it with package "
        "and speed grade, as xczu3eg-sbva484-1-i")),
    ("icebreaker", {"part": "up5k"}, (
        "my.yaml: part: 'up5k' is not a full part number of family ice40; write it with package "
        "and speed grade, as iCE40UP5K-SG48I")),
    ("tang-nano-9k", {"part": "GW1NR-9C"}, (
        "my.yaml: part: 'GW1NR-9C' is not a full part number of family gowin; write it with "
        "package and speed grade, as GW1NR-LV9QN88PC6/I5")),
    ("tang-nano-9k", {"device": None}, (
        "my.yaml: device: is missing; choose GW1N-1, GW1N-4, GW1N-9, GW1N-9C, GW1NS-4, GW1NZ-1, "
        "GW2A-18, GW2A-18C")),
    ("tang-nano-9k", {"flow": "vivado"}, (
        "my.yaml: flow: vivado does not build for family gowin; write nextpnr-himbaechel")),
])
def test_a_wrong_field_of_another_family_gets_one_line(tmp_path, name, change, line):
    content = yaml.safe_load((ROOT / "boards" / f"{name}.yaml").read_text())
    assert problems(tmp_path, content | change) == (line,)


def test_block_ram_of_an_ice40_is_in_ninths(tmp_path):
    content = yaml.safe_load((ROOT / "boards" / "icebreaker.yaml").read_text())
    content["resources"]["bram36"] = 3.4
    assert problems(tmp_path, content) == (
        "my.yaml: resources.bram36: 3.4 must be a multiple of 1/9, to four decimals",)


def test_a_budget_of_all_block_ram_of_an_ice40_is_all_of_it():
    board = load_board("icebreaker")
    assert parse_budget("BRAM=100%", board) == board.limits
    assert parse_budget("BRAM=10%", board).bram36 == 3 / 9


def test_a_budget_in_parts_of_a_block_ram_is_refused():
    with pytest.raises(BoardError, match="^budget: BRAM: 1.5 is not a whole number of parts of"):
        parse_budget("BRAM=1.5", load_board("icebreaker"))


def test_all_problems_are_reported_at_once(tmp_path):
    content = good() | {"clock_mhz": -1, "extra": 1}
    del content["part"], content["resources"]["ff"]
    assert sorted(line.split(": ")[1] for line in problems(tmp_path, content)) == [
        "clock_mhz", "extra", "part", "resources.ff"]


@pytest.mark.parametrize("text, line", [
    ("a: [1", "is not YAML: line 1, column 6: "),
    ("- 1", "must be a mapping of field names to values, not [1]; docs/boards.md shows one"),
    ("", "must be a mapping of field names to values, not nothing; docs/boards.md shows one"),
])
def test_a_file_that_holds_no_mapping_is_refused(tmp_path, text, line):
    assert problems(tmp_path, text)[0].startswith(f"{tmp_path / 'my.yaml'}: {line}")


def test_a_missing_file_is_reported(tmp_path):
    with pytest.raises(BoardError, match="no.yaml: cannot be read: No such file or directory"):
        load_board(tmp_path / "no.yaml")


def test_the_published_schema_is_current():
    assert (ROOT / "docs" / "board.schema.json").read_text() == board_schema()


def test_the_schema_has_every_field():
    schema = json.loads(board_schema())
    assert list(schema["properties"]) == list(Board.model_fields)


def test_the_documentation_names_every_field():
    text = (ROOT / "docs" / "boards.md").read_text()
    assert [name for name in Board.model_fields if f"`{name}`" not in text] == []


@pytest.mark.parametrize("text, limit", [
    ("LUT=80%,BRAM=100%,DSP=10", Resources(14080, 6000, 35200, 60, 10)),
    ("lut=1", Resources(1, 6000, 35200, 60, 80)),
    (" FF = 50% , LUTRAM = 0 ", Resources(17600, 0, 17600, 60, 80)),
    ("BRAM36=7.5", Resources(17600, 6000, 35200, 7.5, 80)),
    ("BRAM=1%", Resources(17600, 6000, 35200, 0.5, 80)),
    ("DSP=99.9%", Resources(17600, 6000, 35200, 60, 79)),
])
def test_a_budget_limits_what_it_names(text, limit):
    assert parse_budget(text, load_board("zybo-z7010")) == limit


@pytest.mark.parametrize("text, line", [
    ("LUT", "budget: 'LUT' is not KEY=VALUE; write for example LUT=80%"),
    ("", "budget: '' is not KEY=VALUE; write for example LUT=80%"),
    ("RAM=3", "budget: 'RAM' is no resource; choose LUT, LUTRAM, FF, BRAM or DSP"),
    ("LUT=101%", "budget: LUT: 101% is more than the board has; choose at most 100%"),
    ("LUT=99999", "budget: LUT: 99999 is more than the 17600 of zybo-z7010"),
    ("LUT=-1", "budget: LUT: '-1' is neither a count nor a percentage; write 80% or 10"),
    ("DSP=1.5", "budget: DSP: 1.5 is not a whole number"),
    ("BRAM=0.2", "budget: BRAM: 0.2 is not a whole number or a half"),
    ("BRAM=1,BRAM36=2", "budget: BRAM36 is given twice"),
])
def test_a_wrong_budget_gets_one_line(text, line):
    with pytest.raises(BoardError) as caught:
        parse_budget(text, load_board("zybo-z7010"))
    assert caught.value.problems == (line,)


def test_all_wrong_items_of_a_budget_are_reported():
    with pytest.raises(BoardError) as caught:
        parse_budget("LUT=x,FOO=1", load_board("zybo-z7010"))
    assert len(caught.value.problems) == 2
