"""Types of the fields of a model description: what each accepts, and what it says if it can't.

Each type is ``Annotated`` with a validator that turns JSON into an immutable Python value, and with
its JSON Schema. Validators raise ``ValueError`` whose text names the value found and what would
work; the place is added by :mod:`hwgen.model.problems`.
"""

import difflib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from fractions import Fraction
from itertools import chain
from typing import Annotated, Any

import numpy as np
from pydantic import PlainValidator, ValidationInfo, WithJsonSchema
from pydantic_core import PydanticCustomError

from ..ops import REQUANTIZE_ROUNDINGS, ROUNDINGS
from ..real_ops import FUNCTIONS, REAL
from ..types import NumType, parse_type

__all__ = ["Arrays", "Code", "CodeRange", "FileName", "FunctionName", "Identifier", "InputType",
           "IntArray", "Ints", "Levels", "NonNegativePerAxis", "Number", "NumberList",
           "Numbers", "Pad", "PadLine", "PerAxis", "PositiveInt", "PositiveNumber",
           "PositiveNumbers", "RequantizeRounding", "RoundingMode", "SamePad",
           "ShapeList", "Text", "Title", "ValueType", "did_you_mean", "is_integer",
           "show"]

MAX_TYPE_WIDTH = 32
LARGEST_SIZE = 1 << 20
CODE_RANGE = 1 << 16
LARGEST_NUMBER = 1 << 1000  # any number fits a float64

# Module, signal and file names are made of layer names, so the reserved words of Verilog 2005 and
# of SystemVerilog (which Verilator reads .v files as) can't be used, nor the ports of the top.
KEYWORDS = """
    accept_on alias always always_comb always_ff always_latch and assert assign assume automatic
    before begin bind bins binsof bit break buf bufif0 bufif1 byte case casex casez cell chandle
    checker class clocking cmos config const constraint context continue cover covergroup
    coverpoint cross deassign default defparam design disable dist do edge else end endcase
    endchecker endclass endclocking endconfig endfunction endgenerate endgroup endinterface
    endmodule endpackage endprimitive endprogram endproperty endsequence endspecify endtable
    endtask enum event eventually expect export extends extern final first_match for force foreach
    forever fork forkjoin function generate genvar global highz0 highz1 if iff ifnone ignore_bins
    illegal_bins implements implies import incdir include initial inout input inside instance int
    integer interconnect interface intersect join join_any join_none large let liblist library
    local localparam logic longint macromodule matches medium modport module nand negedge nettype
    new nexttime nmos nor noshowcancelled not notif0 notif1 null or output package packed parameter
    pmos posedge primitive priority program property protected pull0 pull1 pulldown pullup
    pulsestyle_ondetect pulsestyle_onevent pure rand randc randcase randsequence rcmos real
    realtime ref reg reject_on release repeat restrict return rnmos rpmos rtran rtranif0 rtranif1
    s_always s_eventually s_nexttime s_until s_until_with scalared sequence shortint shortreal
    showcancelled signed small soft solve specify specparam static string strong strong0 strong1
    struct super supply0 supply1 sync_accept_on sync_reject_on table tagged task this throughout
    time timeprecision timeunit tran tranif0 tranif1 tri tri0 tri1 triand trior trireg type typedef
    union unique unique0 unsigned until until_with untyped use uwire var vectored virtual void wait
    wait_order wand weak weak0 weak1 while wildcard wire with within wor xnor xor
"""
RESERVED = frozenset(KEYWORDS.split())
TOP_NAMES = frozenset({"clk", "rst", "s_axis", "m_axis", "hwgen_top"})


class Arrays(Mapping[str, np.ndarray]):
    """The arrays that ``{"npz": key}`` refers to.

    Parameters
    ----------
    arrays
        The arrays by key, or None if the weights file could not be read: then every reference
        fails without a message of its own.
    source
        Name of the weights file, for messages.
    """

    def __init__(self, arrays: Mapping[str, Any] | None, source: str):
        self._arrays = arrays
        self.source = source

    def __getitem__(self, key: str) -> np.ndarray:
        if self._arrays is None:
            raise PydanticCustomError("follow_on", "the weights file is missing")
        if key not in self._arrays:
            raise ValueError(f"{self.source} has no array {key!r}"
                             f"{did_you_mean(key, self._arrays)}")
        return np.asarray(self._arrays[key])

    def __iter__(self):
        return iter(self._arrays or {})

    def __len__(self) -> int:
        return len(self._arrays or {})


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """``"; did you mean 'conv1'?"``, or the choices if none is close, or nothing."""
    choices = [str(c) for c in choices]
    close = difflib.get_close_matches(word, choices, n=1)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; choose {', '.join(choices)}" if 0 < len(choices) <= 32 else ""


def show(value: object) -> str:
    """A value as the file has it, on one line of at most 60 characters; texts in single quotes."""
    if isinstance(value, str):
        text = repr(value)
    elif isinstance(value, (list, tuple, dict, bool, type(None))):
        text = json.dumps(value, default=str)
    else:
        text = " ".join(str(value).split())
    return text if len(text) <= 60 else text[:57] + "..."


def is_integer(value: object) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def _integer(low: int, high: int, what: str) -> Callable[[Any], int]:
    def validate(value: Any) -> int:
        if not is_integer(value) or not low <= value <= high:
            raise ValueError(f"must be {what}, found {show(value)}")
        return int(value)
    return validate


def _per_axis(low: int, names: tuple[str, str], four: bool = False, same: bool = False,
              same_refusal: str = "") -> Callable[[Any], Any]:
    """An integer for all axes, or a list of one for each."""
    forms = ["a positive integer" if low else "a non-negative integer", f"[{', '.join(names)}]"]
    forms += ["[top, bottom, left, right]"] * four + ['"same"'] * same
    lengths = {2, 4} if four else {2}

    def validate(value: Any) -> Any:
        if value == "same" and isinstance(value, str):
            if same:
                return value
            if same_refusal:
                raise ValueError(same_refusal)
        entries = value if isinstance(value, (list, tuple)) and len(value) in lengths else [value]
        if not all(is_integer(v) and low <= v <= LARGEST_SIZE for v in entries):
            raise ValueError(f"must be {', '.join(forms[:-1])} or {forms[-1]}, "
                             f"found {show(value)}")
        return int(value) if entries[0] is value else tuple(int(v) for v in entries)
    return validate


def _per_axis_schema(low: int, lengths: Iterable[int], same: bool = False) -> WithJsonSchema:
    item = {"type": "integer", "minimum": low, "maximum": LARGEST_SIZE}
    forms: list[dict] = [item]
    forms += [{"type": "array", "items": item, "minItems": n, "maxItems": n} for n in lengths]
    if same:
        forms.append({"const": "same"})
    return WithJsonSchema({"anyOf": forms} if len(forms) > 1 else item)


def _number(value: Any) -> Fraction:
    """The exact number: the value of a float64, or what a text like "1/255" or "0.1" says."""
    if isinstance(value, Fraction):
        return value
    if is_integer(value) and abs(int(value)) <= LARGEST_NUMBER:
        return Fraction(int(value))
    if isinstance(value, (float, np.floating)) and np.isfinite(value):
        return Fraction(float(value))
    if isinstance(value, str) and len(value) <= 200:
        # The exponent's digits are limited: Fraction("1e999999999") fills the memory.
        match = re.fullmatch(r"[+-]?\d+(/\d+|(\.\d*)?([eE][+-]?\d{1,3})?)", value)
        if match and not re.fullmatch(r"/0+", match[1] or "") \
                and abs(Fraction(value)) <= LARGEST_NUMBER:
            return Fraction(value)
    raise ValueError(f'must be a number or a string like "1/255", found {show(value)}')


def _positive_number(value: Any) -> Fraction:
    number = _number(value)
    if number <= 0:
        raise ValueError(f"must be positive, found {show(value)}")
    return number


def _reference(value: Any, info: ValidationInfo) -> Any:
    """The array that ``{"npz": key}`` stands for; any other value itself."""
    if isinstance(value, dict):
        if set(value) != {"npz"} or not isinstance(value["npz"], str):
            raise ValueError(f'must be a list or {{"npz": "key"}}, found {show(value)}')
        arrays: Arrays = info.context  # type: ignore[assignment]
        return arrays[value["npz"]]
    return value


def _origin(value: Any) -> str:
    return f"array {value['npz']!r} " if isinstance(value, dict) else ""


def _first_bad(value: Any, good: Callable[[Any], bool], index: tuple[int, ...] = ()) -> str | None:
    """``"2.5 at [0, 3]"``: the first entry of nested lists that is not good."""
    if isinstance(value, (list, tuple)):
        for n, entry in enumerate(value):
            if found := _first_bad(entry, good, (*index, n)):
                return found
        return None
    return None if good(value) else f"{show(value)} at {list(index)}"


def _entry_types(rows: Any, dimensions: int) -> set[type]:
    """Types of the entries of nested lists; NumPy takes true for 1."""
    for _ in range(dimensions - 1):
        rows = chain.from_iterable(rows)
    return set(map(type, rows))


def _int_array(value: Any, info: ValidationInfo) -> np.ndarray:
    array = _reference(value, info)
    if not isinstance(array, (list, tuple, np.ndarray)):
        raise ValueError(f'must be a list of integers or {{"npz": "key"}}, found {show(value)}')
    if not isinstance(array, np.ndarray):
        try:
            array = np.array(array)
        except ValueError:
            bad = _first_bad(array, is_integer)
            raise ValueError(f"must be integers, found {bad}" if bad else
                             "must be a rectangular array, found rows of unequal length") from None
        if array.dtype.kind not in "iu" and array.size:
            bad = _first_bad(value, lambda v: is_integer(v) and abs(v) < 1 << 62)
            raise ValueError(f"must be integers of at most 62 bits, found {bad}")
        if bool in _entry_types(value, array.ndim):
            raise ValueError(f"must be integers, found {_first_bad(value, is_integer)}")
    if not array.size:
        raise ValueError(f"{_origin(value)}is empty")
    if array.dtype.kind not in "iu":
        raise ValueError(f"{_origin(value)}has dtype {array.dtype}, must be integers; round it and "
                         "convert it with astype(numpy.int64)")
    if array.dtype == np.uint64 and array.max() >= 1 << 62:
        raise ValueError(f"{_origin(value)}must be integers of at most 62 bits, "
                         f"found {array.max()}")
    array = array.astype(np.int64)
    array.setflags(write=False)
    return array


def _ints(value: Any, info: ValidationInfo) -> np.ndarray:
    return _int_array([value] if is_integer(value) else value, info)


def _number_list(value: Any, info: ValidationInfo) -> tuple[Fraction, ...]:
    """A list of numbers, or a 1-D array of numbers."""
    values = _reference(value, info)
    if isinstance(values, np.ndarray):
        if values.dtype.kind not in "iuf" or values.ndim != 1:
            raise ValueError(f"{_origin(value)}has shape {list(values.shape)} and dtype "
                             f"{values.dtype}, must be a 1-D array of numbers")
        values = values.tolist()
    if not isinstance(values, (list, tuple)):
        raise ValueError(f'must be a list of numbers or {{"npz": "key"}}, found {show(value)}')
    if not values:
        raise ValueError(f"{_origin(value)}is empty")
    result = []
    for n, entry in enumerate(values):
        try:
            result.append(_number(entry))
        except ValueError as error:
            raise ValueError(f"{_origin(value)}entry [{n}] {error}") from None
    return tuple(result)


def _numbers(value: Any, info: ValidationInfo) -> tuple[Fraction, ...]:
    if isinstance(value, (list, tuple, dict, np.ndarray)):
        return _number_list(value, info)
    return (_number(value),)


def _levels(value: Any, info: ValidationInfo) -> tuple[tuple[Fraction, ...], ...]:
    rows = _reference(value, info)
    if isinstance(rows, np.ndarray):
        if rows.dtype.kind not in "iuf" or rows.ndim not in (1, 2):
            raise ValueError(f"{_origin(value)}has shape {list(rows.shape)} and dtype "
                             f"{rows.dtype}, must be numbers [channels, levels] or [levels]")
        rows = rows.tolist()
    if not isinstance(rows, (list, tuple)) or not rows:
        raise ValueError("must be a list of ascending numbers, or one such list per channel, "
                         f"found {show(value)}")
    if not any(isinstance(row, (list, tuple)) for row in rows):
        rows = [rows]
    if not all(isinstance(row, (list, tuple)) for row in rows):
        raise ValueError(f"must not mix numbers and lists, found {show(value)}")
    if len({len(row) for row in rows}) > 1:
        raise ValueError("must have the same number of levels in each channel, found "
                         + " and ".join(map(str, sorted({len(row) for row in rows}))))
    result = []
    for c, row in enumerate(rows):
        try:
            result.append(_number_list(row, info))
        except ValueError as error:
            raise ValueError(f"channel {c}: {error}") from None
        for low, high in zip(result[-1], result[-1][1:]):
            if low > high:
                raise ValueError(f"channel {c}: must be ascending, found "
                                 f"{show(float(low))} before {show(float(high))}")
    return tuple(result)


def _value_type(value: Any) -> NumType:
    if isinstance(value, NumType):
        value = value.name
    try:
        dtype = parse_type(value) if isinstance(value, str) else None
    except ValueError:
        dtype = None
    if dtype is None or dtype.width > MAX_TYPE_WIDTH:
        raise ValueError(f"must be BIPOLAR, TERNARY, INT2 to INT{MAX_TYPE_WIDTH} or UINT1 to "
                         f"UINT{MAX_TYPE_WIDTH}, found {show(value)}")
    return dtype


def _identifier(value: Any) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,63}", value):
        raise ValueError("must be 1 to 64 letters, digits and underscores and not start with a "
                         f"digit, found {show(value)}")
    if "__" in value:
        raise ValueError("must not hold two underscores in a row, which mark the parts of a block "
                         f"in Verilog, found {show(value)}")
    if value in RESERVED:
        raise ValueError(f"{value!r} is a Verilog keyword; try {value + '_1'!r}")
    if value in TOP_NAMES:
        raise ValueError(f"{value!r} is a name of the generated top module; try {value + '_1'!r}")
    return value


def _input_type(value: Any) -> NumType:
    if value == "FLOAT" or value == REAL:
        return REAL
    try:
        return _value_type(value)
    except ValueError as error:
        raise ValueError(str(error).replace("must be ", "must be FLOAT, ", 1)) from None


def _one_of(names: Iterable[str]) -> Callable[[Any], str]:
    names = tuple(names)

    def validate(value: Any) -> str:
        if not isinstance(value, str) or value not in names:
            raise ValueError(f"must be one of {', '.join(names)}, found {show(value)}")
        return value
    return validate


def _positive_numbers(value: Any, info: ValidationInfo) -> tuple[Fraction, ...]:
    numbers = _numbers(value, info)
    for n, number in enumerate(numbers):
        if number <= 0:
            where = f" at [{n}]" if len(numbers) > 1 else ""
            raise ValueError(f"must be positive, found {show(float(number))}{where}")
    return numbers


def _code_range(value: Any) -> tuple[int, int]:
    """[first, last] of codes, or [start, stop] of places."""
    if not isinstance(value, (list, tuple)) or len(value) != 2 \
            or not all(is_integer(v) for v in value) or value[0] >= value[1]:
        raise ValueError(f"must be two ascending integers, found {show(value)}")
    return int(value[0]), int(value[1])


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"must be a text, found {show(value)}")
    return value


def _file_name(value: Any) -> str:
    if not isinstance(value, str) or not value.endswith(".npz") or re.search(r"[/\\\x00]", value):
        raise ValueError("must be the name of an .npz file in the same folder, found "
                         f"{show(value)}")
    return value


def _title(value: Any) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}", value):
        raise ValueError("must be 1 to 64 letters, digits, underscores, dots and dashes, found "
                         f"{show(value)}")
    return value


def _shape(value: Any) -> tuple[int, ...]:
    if not isinstance(value, (list, tuple)) or not 1 <= len(value) <= 3 \
            or not all(is_integer(v) and 1 <= v <= LARGEST_SIZE for v in value):
        raise ValueError("must be [height, width, channels], [length, channels] or [channels] of "
                         f"positive integers, found {show(value)}")
    return tuple(int(v) for v in value)


_REFERENCE_SCHEMA = {"type": "object", "properties": {"npz": {"type": "string"}},
                     "required": ["npz"], "additionalProperties": False}
_TYPE_PATTERN = "INT([2-9]|[12][0-9]|3[0-2])|UINT([1-9]|[12][0-9]|3[0-2])"
_NUMBER_SCHEMA = {"anyOf": [
    {"type": "number"},
    {"type": "string", "pattern": r"^[+-]?\d+(/\d+|(\.\d*)?([eE][+-]?\d{1,3})?)$"}]}
_NUMBER_LIST_SCHEMA = {"anyOf": [
    {"type": "array", "items": _NUMBER_SCHEMA, "minItems": 1}, _REFERENCE_SCHEMA]}
_SAME_POOL = ('"same" is not defined here: TensorFlow leaves padding out of its average, this '
              "average counts it as 0; give the pad as numbers")

Text = Annotated[str, PlainValidator(_text), WithJsonSchema({"type": "string"})]
Title = Annotated[str, PlainValidator(_title), WithJsonSchema(
    {"type": "string", "pattern": "^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$"})]
FileName = Annotated[str, PlainValidator(_file_name), WithJsonSchema(
    {"type": "string", "pattern": r"^[^/\\]+\.npz$"})]
Identifier = Annotated[str, PlainValidator(_identifier), WithJsonSchema(
    {"type": "string", "pattern": "^(?!.*__)[A-Za-z_][A-Za-z0-9_]{0,63}$"})]
ValueType = Annotated[NumType, PlainValidator(_value_type), WithJsonSchema(
    {"type": "string",
     "pattern": f"^(BIPOLAR|TERNARY|{_TYPE_PATTERN})$"})]
InputType = Annotated[NumType, PlainValidator(_input_type), WithJsonSchema(
    {"type": "string", "pattern": f"^(FLOAT|BIPOLAR|TERNARY|{_TYPE_PATTERN})$"})]
RoundingMode = Annotated[str, PlainValidator(_one_of(ROUNDINGS)),
                         WithJsonSchema({"enum": list(ROUNDINGS)})]
RequantizeRounding = Annotated[str, PlainValidator(_one_of(REQUANTIZE_ROUNDINGS)),
                               WithJsonSchema({"enum": list(REQUANTIZE_ROUNDINGS)})]
FunctionName = Annotated[str, PlainValidator(_one_of(FUNCTIONS)),
                         WithJsonSchema({"enum": list(FUNCTIONS)})]
CodeRange = Annotated[tuple[int, int], PlainValidator(_code_range), WithJsonSchema(
    {"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 2})]
ShapeList = Annotated[tuple[int, ...], PlainValidator(_shape), WithJsonSchema(
    {"type": "array", "items": {"type": "integer", "minimum": 1, "maximum": LARGEST_SIZE},
     "minItems": 1, "maxItems": 3})]
PositiveInt = Annotated[int, PlainValidator(_integer(1, LARGEST_SIZE, "a positive integer")),
                        WithJsonSchema({"type": "integer", "minimum": 1, "maximum": LARGEST_SIZE})]
Code = Annotated[int, PlainValidator(_integer(-CODE_RANGE, CODE_RANGE, "an integer from "
                                              f"{-CODE_RANGE} to {CODE_RANGE}")),
                 WithJsonSchema({"type": "integer", "minimum": -CODE_RANGE,
                                 "maximum": CODE_RANGE})]
Number = Annotated[Fraction, PlainValidator(_number), WithJsonSchema(_NUMBER_SCHEMA)]
PositiveNumber = Annotated[Fraction, PlainValidator(_positive_number),
                           WithJsonSchema(_NUMBER_SCHEMA)]
Numbers = Annotated[tuple[Fraction, ...], PlainValidator(_numbers), WithJsonSchema(
    {"anyOf": [*_NUMBER_SCHEMA["anyOf"], *_NUMBER_LIST_SCHEMA["anyOf"]]})]
PositiveNumbers = Annotated[tuple[Fraction, ...], PlainValidator(_positive_numbers),
                            WithJsonSchema({"anyOf": [*_NUMBER_SCHEMA["anyOf"],
                                                      *_NUMBER_LIST_SCHEMA["anyOf"]]})]
NumberList = Annotated[tuple[Fraction, ...], PlainValidator(_number_list),
                       WithJsonSchema(_NUMBER_LIST_SCHEMA)]
Levels = Annotated[tuple[tuple[Fraction, ...], ...], PlainValidator(_levels), WithJsonSchema(
    {"anyOf": [*_NUMBER_LIST_SCHEMA["anyOf"],
               {"type": "array", "items": _NUMBER_LIST_SCHEMA["anyOf"][0], "minItems": 1}]})]
IntArray = Annotated[np.ndarray, PlainValidator(_int_array), WithJsonSchema(
    {"anyOf": [{"type": "array", "minItems": 1}, _REFERENCE_SCHEMA]})]

Ints = Annotated[np.ndarray, PlainValidator(_ints), WithJsonSchema(
    {"anyOf": [{"type": "integer"},
               {"type": "array", "items": {"type": "integer"}, "minItems": 1},
               _REFERENCE_SCHEMA]})]

_AXES = ("vertical", "horizontal")
PerAxis = Annotated[int | tuple[int, int], PlainValidator(_per_axis(1, _AXES)),
                    _per_axis_schema(1, [2])]
NonNegativePerAxis = Annotated[int | tuple[int, int], PlainValidator(_per_axis(0, _AXES)),
                               _per_axis_schema(0, [2])]
SamePad = Annotated[int | tuple[int, ...] | str,
                    PlainValidator(_per_axis(0, _AXES, four=True, same=True)),
                    _per_axis_schema(0, [2, 4], same=True)]
Pad = Annotated[int | tuple[int, ...],
                PlainValidator(_per_axis(0, _AXES, four=True, same_refusal=_SAME_POOL)),
                _per_axis_schema(0, [2, 4])]
PadLine = Annotated[int | tuple[int, int] | str,
                    PlainValidator(_per_axis(0, ("before", "after"), same=True)),
                    _per_axis_schema(0, [2], same=True)]
