"""Reading, checking and writing a model description."""

import json
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ValidationError

from ..errors import ModelError
from ..graph import REAL, Graph
from ..types import NumType
from .description import LAYER, LAYER_TYPES, Description, Head, InputTensor
from .fields import Arrays, did_you_mean, show
from .names import resolve_names
from .problems import Problems, field_problems, layer_place
from .to_graph import build_graph

__all__ = ["Model", "load_model", "save_description"]

FORMAT, VERSION = "hwgen-model", 1
INLINE_NUMBERS = 16  # longer lists of numbers go into the weights file


@dataclass(frozen=True, eq=False)
class Model:
    """A validated network; immutable. Make one with :func:`load_model` or :meth:`from_parts`.

    Two models are equal when everything that they say is equal, however it was written down.
    """

    _description: Description
    _graph: Graph

    @property
    def name(self) -> str:
        """Name of the network."""
        return self._description.name

    @property
    def labels(self) -> tuple[str, ...] | None:
        """Names of the output's classes, or None."""
        return self._description.labels

    @property
    def description(self) -> Description:
        """Every field of the file, with defaults filled in."""
        return self._description

    def to_graph(self) -> Graph:
        """The network as an integer graph."""
        return self._graph

    def parts(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Description as JSON values and arrays, such that :meth:`from_parts` gives this model."""
        arrays: dict[str, np.ndarray] = {}
        return _to_json(self._description, "", arrays), arrays

    @classmethod
    def from_parts(cls, description: Mapping[str, Any], arrays: Mapping[str, np.ndarray],
                   source: str = "model") -> "Model":
        """A model from JSON values and the arrays that ``{"npz": key}`` refers to.

        Parameters
        ----------
        description
            As in the file; NumPy arrays may also stand where the file has lists of integers.
        arrays
            By key.
        source
            What the lines of a ModelError start with.

        Raises
        ------
        ModelError
            With one line for every problem.
        """
        problems = Problems(source)
        return _build(description, Arrays(arrays, "the weights file"), problems)

    def save(self, folder: str | Path) -> None:
        """Write ``model.json`` and ``weights.npz`` into ``folder``, which is made if missing."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        description, arrays = self.parts()
        _write(folder / "model.json", {**description, "weights_file": "weights.npz"}, arrays)

    def save_file(self, path: str | Path) -> None:
        """Write the description to ``path``, and its arrays beside it as ``.npz``."""
        path = Path(path)
        description, arrays = self.parts()
        _write(path, description, arrays)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Model):
            return NotImplemented
        (mine, my_arrays), (theirs, their_arrays) = self.parts(), other.parts()
        return mine == theirs and my_arrays.keys() == their_arrays.keys() and all(
            np.array_equal(array, their_arrays[key]) for key, array in my_arrays.items())

    def __hash__(self) -> int:
        return hash((self.name, tuple(layer.name for layer in self._description.layers)))

    def __repr__(self) -> str:
        return f"Model({self.name!r}, {len(self._description.layers)} layers)"


def load_model(path: str | Path) -> Model:
    """Read a model description and the weights file beside it.

    Raises
    ------
    ModelError
        With one line for every problem of the file: ``net.json: conv1.stride: ...``. A layer whose
        input is broken is not reported on for that.
    """
    path = Path(path)
    problems = Problems(path.name)
    raw = _read_json(path, problems)
    weights_file = raw.get("weights_file", f"{path.stem}.npz")
    return _build(raw, _read_arrays(path, weights_file, raw, problems), problems)


def save_description(path: str | Path, description: Mapping[str, Any],
                     arrays: Mapping[str, np.ndarray]) -> Model:
    """Check a description and write it to ``path``, with its arrays beside it.

    The arrays go to the description's ``weights_file``, by default ``path`` with ``.npz``. NumPy
    arrays in the description are moved there, as ``layer.field``.

    Raises
    ------
    ModelError
        With one line for every problem; then nothing is written.
    """
    path = Path(path)
    model = Model.from_parts(description, arrays, path.name)
    arrays = dict(arrays)
    plain = _move_arrays(description, "", arrays)
    path.parent.mkdir(parents=True, exist_ok=True)
    _write(path, plain, arrays)
    return model


def _write(path: Path, description: dict[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
    if arrays:
        with open(path.parent / description.get("weights_file", f"{path.stem}.npz"), "wb") as file:
            np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
    else:
        description = {k: v for k, v in description.items() if k != "weights_file"}
    path.write_text(_dump(description) + "\n", encoding="utf-8")


def _dump(description: Mapping[str, Any]) -> str:
    """JSON with one line for each field of the head and one for each layer, layers last."""
    rows = []
    for key, value in sorted(description.items(), key=lambda item: item[0] == "layers"):
        text = json.dumps(value, ensure_ascii=False)
        if key == "layers":
            text = "[\n" + ",\n".join("  " + json.dumps(layer, ensure_ascii=False)
                                      for layer in value) + "\n ]"
        rows.append(f" {json.dumps(key)}: {text}")
    return "{\n" + ",\n".join(rows) + "\n}"


def _move_arrays(value: Any, place: str, arrays: dict[str, np.ndarray]) -> Any:
    """The value with NumPy arrays and fractions replaced by what JSON can say."""
    if isinstance(value, np.ndarray):
        arrays[place] = value
        return {"npz": place}
    if isinstance(value, Mapping):
        return {k: _move_arrays(v, f"{place}.{k}".lstrip("."), arrays) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_move_arrays(v, str(v.get("name", place)) if isinstance(v, Mapping)
                             else f"{place}.{n}", arrays) for n, v in enumerate(value)]
    if isinstance(value, Fraction):
        return _number_to_json(value)
    if isinstance(value, NumType):
        return value.name
    return value.item() if isinstance(value, np.generic) else value


def _to_json(value: Any, place: str, arrays: dict[str, np.ndarray]) -> Any:
    """JSON of a validated value; arrays move into ``arrays`` under ``place``."""
    if isinstance(value, BaseModel):
        place = "" if isinstance(value, Description) else f"{getattr(value, 'name', place)}."
        fields = ((key, getattr(value, key)) for key in _ordered(type(value)))
        return {key: _to_json(entry, place + key, arrays) for key, entry in fields
                if entry is not None}
    if isinstance(value, np.ndarray):
        arrays[place] = value
        return {"npz": place}
    if isinstance(value, tuple):
        if len(value) > INLINE_NUMBERS and all(isinstance(v, Fraction) for v in value):
            packed = np.array([float(v) for v in value])
            if all(Fraction(p) == v for p, v in zip(packed.tolist(), value)):
                arrays[place] = packed
                return {"npz": place}
        return [_to_json(v, f"{place}.{n}", arrays) if not isinstance(v, tuple)
                else [_to_json(w, place, arrays) for w in v] for n, v in enumerate(value)]
    if isinstance(value, Fraction):
        return _number_to_json(value)
    if isinstance(value, NumType):
        return "FLOAT" if value == REAL else value.name
    return value


def _ordered(cls: type[BaseModel]) -> list[str]:
    """Fields as a reader wants them: name, type, inputs first."""
    first = [k for k in ("format", "version", "name", "type", "input", "inputs")
             if k in cls.model_fields]
    return first + [k for k in cls.model_fields if k not in first and k != "weights_file"]


def _number_to_json(value: Fraction) -> int | float | str:
    if value.denominator == 1:
        return int(value)
    try:
        near = float(value)
    except OverflowError:
        return str(value)
    return near if Fraction(near) == value else str(value)


def _read_json(path: Path, problems: Problems) -> dict[str, Any]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(result) < len(pairs):
            keys = [key for key, _ in pairs]
            twice = next(key for key in keys if keys.count(key) > 1)
            owner = result.get("name") if "type" in result else None
            field = twice if twice.isidentifier() else show(twice)
            problems.add(f"{owner}.{field}" if layer_place(owner, 0) == owner else field,
                         "is given twice; keep one")
        return result

    def refuse(constant: str) -> Any:
        raise ValueError(f"{constant} is not valid JSON; give a finite number")

    try:
        raw = json.loads(path.read_bytes().decode("utf-8-sig"), object_pairs_hook=unique,
                         parse_constant=refuse)
    except FileNotFoundError:
        problems.add("", "no such file")
    except IsADirectoryError:
        problems.add("", "is a folder; give the model's .json file in it")
    except OSError as error:
        problems.add("", f"can't be read: {error.strerror}")
    except UnicodeDecodeError as error:
        problems.add("", f"is not UTF-8 text, from byte {error.start} on; is it a JSON file?")
    except json.JSONDecodeError as error:
        problems.add(f"line {error.lineno}, column {error.colno}", f"not valid JSON: {error.msg}")
    except RecursionError:
        problems.add("", "not a model description: lists are nested too deeply")
    except ValueError as error:
        problems.add("", str(error))
    else:
        if isinstance(raw, dict) and not problems:
            return raw
        if not problems:
            problems.add("", f"must be a JSON object, found {show(raw)}")
    raise ModelError(*problems.lines)


def _read_arrays(path: Path, weights_file: Any, raw: Mapping[str, Any],
                 problems: Problems) -> Arrays:
    """The arrays of the weights file; a problem if it is wanted and can't be read."""
    if not isinstance(weights_file, str) or Path(weights_file).name != weights_file:
        return Arrays(None, "the weights file")  # reported as a field of the head
    file = path.parent / weights_file
    if not file.exists() and "weights_file" not in raw and not _refers(raw.get("layers")):
        return Arrays({}, weights_file)
    if not file.exists():
        problems.add("weights_file", f"{weights_file} does not exist beside {path.name}")
    elif not zipfile.is_zipfile(file):
        problems.add("weights_file", f"{weights_file} is no .npz file; write it with numpy.savez")
    else:
        try:
            with np.load(file, allow_pickle=False) as stored:
                return Arrays({key: stored[key] for key in stored.files}, weights_file)
        except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            problems.add("weights_file", f"{weights_file} can't be read as arrays of numbers: "
                                         f"{' '.join(str(error).split())}")
    return Arrays(None, weights_file)


def _refers(layers: Any) -> bool:
    """Whether a layer has a field ``{"npz": key}``."""
    return isinstance(layers, list) and any(
        isinstance(value, dict) and "npz" in value
        for layer in layers if isinstance(layer, dict) for value in layer.values())


def _build(raw: Mapping[str, Any], arrays: Arrays, problems: Problems) -> Model:
    """Validate fields, then names, then shapes and types; ModelError with all problems."""
    _check_version(raw, problems)
    head = _validate(Head, {k: v for k, v in raw.items() if k not in ("input", "layers")},
                     "", "a model description", problems)
    entry = _validate_input(raw, problems)
    entries = raw.get("layers")
    if not isinstance(entries, (list, tuple)) or not entries:
        problems.add("layers", "is missing; give a list of layers" if "layers" not in raw else
                     f"must be a list of at least one layer, found {show(entries)}")
        raise ModelError(*problems.lines)
    layers = [_validate_layer(n, entry, arrays, problems) for n, entry in enumerate(entries)]
    layers, output = resolve_names(raw, entries, layers, problems)
    graph = build_graph(raw.get("name"), entry, layers, output, head, problems)
    if problems or head is None or entry is None or graph is None:
        raise ModelError(*problems.lines)
    fields = {key: getattr(head, key) for key in Head.model_fields}
    return Model(Description.model_construct(
        **fields | {"output": output, "input": entry, "layers": tuple(layers)}), graph)


def _check_version(raw: Mapping[str, Any], problems: Problems) -> None:
    """ModelError at once for another format or version: the fields would be others."""
    wrong = [(key, wanted) for key, wanted in (("format", FORMAT), ("version", VERSION))
             if raw.get(key) != wanted or isinstance(raw[key], bool)]
    for key, wanted in wrong:
        problems.add(key, f"must be {json.dumps(wanted)}, found {show(raw[key])}"
                     if key in raw else f"is missing; give {json.dumps(wanted)}")
    if wrong:
        raise ModelError(*problems.lines)


def _validate(cls: type[BaseModel], raw: Any, place: str, kind: str, problems: Problems) -> Any:
    """The validated object, or None after reporting what is wrong in it."""
    try:
        return cls.model_validate(raw)
    except ValidationError as error:
        for field, text in field_problems(error, cls, kind):
            problems.add(f"{place}.{field}" if place and field else place or field, text)
        return None


def _validate_input(raw: Mapping[str, Any], problems: Problems) -> InputTensor | None:
    if "input" not in raw:
        problems.add("input", "is missing; give name, shape and type of the network's input")
        return None
    entry = _validate(InputTensor, raw["input"], "input", "input", problems)
    if entry is None:
        return None
    wrong = list(entry.problems())
    for field, text in wrong:
        problems.add(f"input.{field}", text)
    return None if wrong else entry


def _validate_layer(number: int, entry: Any, arrays: Arrays, problems: Problems) -> Any:
    """The layer, or None if a field of it is wrong."""
    if not isinstance(entry, Mapping):
        problems.add(f"layers[{number}]", f"must be an object, found {show(entry)}", number)
        return None
    place = layer_place(entry.get("name"), number)
    cls = LAYER_TYPES.get(entry["type"]) if isinstance(entry.get("type"), str) else None
    if cls is None:
        problems.add(f"{place}.type", "is missing" + did_you_mean("", LAYER_TYPES)
                     if "type" not in entry else f"no layer type {show(entry['type'])}"
                     f"{did_you_mean(str(entry['type']), LAYER_TYPES)}", number)
        return None
    try:
        layer = LAYER.validate_python(dict(entry), context=arrays)
    except ValidationError as error:
        for field, text in field_problems(error, cls, entry["type"]):
            problems.add(f"{place}.{field}", text, number)
        return None
    broken = False
    for field, text in layer.problems():
        problems.add(f"{place}.{field}", text, number)
        broken = True
    return None if broken else layer

