"""Boards: one YAML file each, in ``boards/`` of the project or anywhere by path."""

import difflib
import json
import re
from collections.abc import Iterator
from dataclasses import asdict, replace
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from .errors import BoardError
from .families import FAMILIES
from .files import data_folder
from .resources import Resources

__all__ = ["Board", "BoardResources", "Pin", "Oscillator", "ResetButton", "load_board",
           "list_boards", "parse_budget", "board_schema"]

BUDGET_KEYS = {"LUT": "lut", "LUTRAM": "lutram", "FF": "ff", "BRAM": "bram36", "BRAM36": "bram36",
               "DSP": "dsp"}

Count = Annotated[int, Field(ge=1)]
PinName = Annotated[str, Field(pattern=r"^[A-Z]{0,2}[0-9]{1,3}$",
                               description="ball of the package, as K17, or pin, as 35")]
Device = Literal["GW1N-1", "GW1N-4", "GW1N-9", "GW1N-9C", "GW1NS-4", "GW1NZ-1", "GW2A-18",
                 "GW2A-18C"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class BoardResources(_Strict):
    """What the chip holds."""

    lut: Count = Field(description="LUT sites")
    lutram: int = Field(ge=0, description="LUT sites usable as memory, part of lut")
    ff: Count = Field(description="flip-flops")
    bram36: float = Field(gt=0, description="block RAMs, in units of 36 Kbit")
    dsp: int = Field(ge=0, description="DSP slices or multipliers")


class Pin(_Strict):
    """A package pin."""

    pin: PinName
    io_standard: str = Field(default="LVCMOS33", description="I/O standard of the pin's bank")


class Oscillator(Pin):
    """The clock that is on the board."""

    mhz: float = Field(gt=0, le=1000, description="frequency in MHz")


class ResetButton(Pin):
    """A push button that suits as reset."""

    active: Literal["high", "low"] = Field(description="level of the pin while it is pressed")


class Board(_Strict):
    """A board: chip, clock, pins and the tool flow that takes Verilog to its bitstream.

    Immutable. ``resources`` has the keys of :class:`hwgen.resources.Resources`;
    :attr:`limits` is it as one.
    """

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$", description="as given to --board")
    vendor: Literal["xilinx", "lattice", "gowin"] = Field(description="maker of the chip")
    part: str = Field(min_length=1, description="full part number with package and speed grade")
    family: Literal["xc7", "xcup", "ecp5", "ice40", "gowin"] = Field(
        description="chip family that synthesis maps to")
    device: Device | None = Field(
        default=None, description="Gowin only: the die, as nextpnr-himbaechel names it")
    resources: BoardResources
    clock_mhz: float = Field(gt=0, le=1000, description="clock of a design unless --clock-mhz")
    oscillator: Oscillator | None = Field(default=None, description="clock on the board")
    reset: ResetButton | None = Field(default=None, description="push button used as reset")
    pins: list[PinName] = Field(
        default=[], description="free pins, for the streams of a Gowin chip: nextpnr chooses none")
    static_power_w: float = Field(ge=0, description="static power of the programmable logic, W")
    flow: Literal["vivado", "nextpnr-ecp5", "nextpnr-ice40", "nextpnr-himbaechel"] = Field(
        description="place and route tool")

    @property
    def limits(self) -> Resources:
        """All that the chip holds."""
        limits = Resources(**self.resources.model_dump())
        # A file can't have a ninth in full.
        steps = FAMILIES[self.family].bram_steps
        return replace(limits, bram36=round(limits.bram36 * steps) / steps)


def list_boards() -> list[str]:
    """Names of the boards that come with hwgen, sorted."""
    return sorted(path.stem for path in data_folder("boards").glob("*.yaml"))


def load_board(name_or_path: str | Path) -> Board:
    """The board of that name, or that of a YAML file of the user's own.

    Anything with a folder in it or ending in ``.yaml`` or ``.yml`` is taken as a path.

    Raises
    ------
    BoardError
        The board or file does not exist, or the file is wrong; one line per problem.
    """
    text = str(name_or_path)
    path = Path(name_or_path)
    if path.suffix not in (".yaml", ".yml") and path.parent == Path("."):
        path = data_folder("boards") / f"{text}.yaml"
        names = list_boards()
        if text not in names:
            close = difflib.get_close_matches(text.lower(), names, n=1, cutoff=0.5)
            hint = f"did you mean {close[0]}? The boards are" if close else "choose"
            raise BoardError(f"board {text!r} is unknown; {hint} {', '.join(names)}, "
                             "or the path of a YAML file")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BoardError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise BoardError(f"{path}: is not UTF-8 text") from None
    except yaml.YAMLError as error:
        raise BoardError(f"{path}: is not YAML: {_yaml_problem(error)}") from None
    if not isinstance(content, dict):
        raise BoardError(f"{path}: must be a mapping of field names to values, "
                         f"not {_shown(content)}; docs/boards.md shows one")
    try:
        board = Board.model_validate(content)
    except ValidationError as error:
        raise BoardError(*(f"{path.name}: {line}" for line in _problems(error))) from None
    problems = list(_contradictions(board))
    if problems:
        raise BoardError(*(f"{path.name}: {line}" for line in problems))
    return board


def parse_budget(text: str, board: Board) -> Resources:
    """The limit that ``--budget`` sets.

    Parameters
    ----------
    text
        ``KEY=VALUE`` separated by commas, as ``LUT=80%,BRAM=100%,DSP=10``. KEY is LUT, LUTRAM, FF,
        BRAM (in 36 Kbit; BRAM36 is the same) or DSP, in any case. VALUE is a count or a percentage
        of what the board has. What is not named may be used in full.

    Raises
    ------
    BoardError
        One line per wrong item.
    """
    limit = asdict(board.limits)
    problems: list[str] = []
    seen: set[str] = set()
    for item in text.split(","):
        name, equals, value = (part.strip() for part in item.partition("="))
        key = BUDGET_KEYS.get(name.upper())
        if not equals:
            problems.append(f"budget: {item.strip()!r} is not KEY=VALUE; write for example LUT=80%")
        elif key is None:
            problems.append(f"budget: {name!r} is no resource; choose LUT, LUTRAM, FF, BRAM or DSP")
        elif key in seen:
            problems.append(f"budget: {name} is given twice")
        else:
            seen.add(key)
            try:
                limit[key] = _share(value, key, board)
            except ValueError as error:
                problems.append(f"budget: {name}: {error}")
    if problems:
        raise BoardError(*problems)
    return Resources(**limit)


def board_schema() -> str:
    """JSON Schema of a board file, the text of ``docs/board.schema.json``."""
    schema = Board.model_json_schema()
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema"} | schema
    return json.dumps(schema, indent=2) + "\n"


def _share(value: str, key: str, board: Board) -> float:
    """A budget's value as a count; ValueError says what is wrong."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(%?)", value)
    if not match:
        raise ValueError(f"{value!r} is neither a count nor a percentage; write 80% or 10")
    number, available = Fraction(match[1]), getattr(board.limits, key)
    # A block RAM splits into halves, and on some chips it is smaller.
    step = FAMILIES[board.family].bram_steps if key == "bram36" else 1
    if match[2]:
        if number > 100:
            raise ValueError(f"{value} is more than the board has; choose at most 100%")
        steps = int(Fraction(available) * step * number / 100)  # never above the share asked for
    elif (number * step).denominator > 1:
        raise ValueError(f"{value} is not a whole number{_or_parts(step)}")
    elif number > available:
        raise ValueError(f"{value} is more than the {available:g} of {board.name}")
    else:
        steps = int(number * step)
    return steps / step if step > 1 else steps


def _or_parts(step: int) -> str:
    return {1: "", 2: " or a half"}.get(step, f" of parts of 1/{step}")


def _contradictions(board: Board) -> Iterator[str]:
    """What no single field shows."""
    family = FAMILIES[board.family]
    if board.vendor != family.vendor:
        yield f"vendor: {board.vendor} has no family {board.family}; write {family.vendor}"
    if board.flow != family.flow:
        yield f"flow: {board.flow} does not build for family {board.family}; write {family.flow}"
    if board.family == "gowin" and board.device is None:
        yield f"device: is missing; choose {', '.join(get_args(Device))}"
    if board.family != "gowin" and board.device is not None:
        yield f"device: family {board.family} needs none; leave it out"
    if board.resources.lutram > board.resources.lut:
        yield (f"resources.lutram: {board.resources.lutram} is more than the "
               f"{board.resources.lut} of resources.lut, of which it is a part")
    blocks = board.resources.bram36 * family.bram_steps
    if abs(blocks - round(blocks)) > 0.001:
        yield (f"resources.bram36: {board.resources.bram36:g} must be a multiple of "
               f"{_shown_step(family.bram_steps)}")
    if not re.fullmatch(family.part, board.part):
        yield (f"part: {board.part!r} is not a full part number of family {board.family}; "
               f"write it with package and speed grade, as {family.example}")


def _shown_step(steps: int) -> str:
    return "0.5" if steps == 2 else f"1/{steps}, to four decimals"


def _problems(error: ValidationError) -> Iterator[str]:
    """One line per problem: place, what is wrong, the value found, what would work."""
    for problem in error.errors(include_url=False):
        place = ".".join(str(part) for part in problem["loc"])
        yield f"{place}: {_explained(problem['type'], problem, place)}"


def _explained(kind: str, problem: Any, place: str) -> str:
    found, context = _shown(problem["input"]), problem.get("ctx", {})
    if kind == "missing":
        return "is missing"
    if kind == "extra_forbidden":
        known = _fields_beside(place)
        close = difflib.get_close_matches(place.rpartition(".")[2], known, n=1)
        hint = f"; did you mean {close[0]}?" if close else f"; the fields are {', '.join(known)}"
        return f"is not a field{hint}"
    if kind == "literal_error":
        return f"{found} is none of {context['expected'].replace(chr(39), '')}"
    if kind == "greater_than":
        return f"{found} must be greater than {context['gt']:g}"
    if kind in ("greater_than_equal", "less_than_equal"):
        bound = context.get("ge", context.get("le"))
        return f"{found} must be at {'least' if 'ge' in context else 'most'} {bound:g}"
    if kind == "multiple_of":
        return f"{found} must be a multiple of {context['multiple_of']:g}"
    if kind == "string_pattern_mismatch":
        return f"{found} does not match {context['pattern']}"
    wanted = {"int_type": "a whole number", "float_type": "a number", "string_type": "text",
              "model_type": "a mapping", "string_too_short": "a text that is not empty",
              "finite_number": "a finite number"}
    return f"{found} must be {wanted[kind]}" if kind in wanted else f"{found}: {problem['msg']}"


def _fields_beside(place: str) -> list[str]:
    """Names of the fields in the mapping that holds the field at ``place``."""
    models: dict[str, type[BaseModel]] = {"resources": BoardResources, "oscillator": Oscillator,
                                          "reset": ResetButton}
    return list(models.get(place.rpartition(".")[0], Board).model_fields)


def _shown(value: Any) -> str:
    """A value as the user wrote it, cut to a line."""
    text = "nothing" if value is None else json.dumps(value, default=str)
    return text if len(text) <= 60 else text[:57] + "..."


def _yaml_problem(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    what = getattr(error, "problem", None) or str(error).splitlines()[0]
    return f"line {mark.line + 1}, column {mark.column + 1}: {what}" if mark else what
