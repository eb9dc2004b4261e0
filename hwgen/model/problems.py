"""From pydantic's errors to lines for the user: place, what is wrong, what would work."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from .fields import did_you_mean, show

__all__ = ["Problems", "field_problems", "layer_place"]


class Problems:
    """Collects the problems of one file, one line each, in the order of the file.

    Parameters
    ----------
    source
        Name of the file; every line starts with it.
    """

    def __init__(self, source: str):
        self.source = source
        self._lines: dict[str, tuple[int, int]] = {}

    def add(self, place: str, text: str, order: int = -1) -> None:
        """Add a problem; ``order`` is the number of its layer, -1 for the head of the file."""
        line = ": ".join(part for part in (self.source, place, text) if part)
        self._lines.setdefault(line, (order, len(self._lines)))

    @property
    def lines(self) -> tuple[str, ...]:
        return tuple(sorted(self._lines, key=self._lines.__getitem__))

    def __bool__(self) -> bool:
        return bool(self._lines)


def layer_place(name: object, number: int) -> str:
    """How to point at a layer: by its name, or by its number if the name is none."""
    good = isinstance(name, str) and re.fullmatch(r"\w{1,64}", name)
    return str(name) if good else f"layers[{number}]"


def field_problems(error: ValidationError, cls: type[BaseModel], kind: str,
                   ) -> Iterator[tuple[str, str]]:
    """(field, text) of each error that pydantic found.

    Parameters
    ----------
    error
        What pydantic found.
    cls
        The class whose fields were validated.
    kind
        What that class describes, for the message about an unknown field.
    """
    for entry in error.errors(include_url=False):
        place = _place(tuple(p for p in entry["loc"] if p != kind or kind in cls.model_fields))
        if entry["type"] != "follow_on":
            yield place, _text(entry, cls, kind)


def _place(loc: tuple[Any, ...]) -> str:
    text = ""
    for part in loc:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += "." * bool(text) + (part if re.fullmatch(r"\w{1,64}", part) else show(part))
    return text


def _text(entry: Mapping[str, Any], cls: type[BaseModel], kind: str) -> str:
    error_type, found = entry["type"], show(entry["input"])
    if error_type == "value_error":
        return str(entry["ctx"]["error"])
    if error_type == "missing":
        description = cls.model_fields[str(entry["loc"][-1])].description \
            if entry["loc"][-1] in cls.model_fields else None
        return "is missing" + (f"; give {description}" if description else "")
    if error_type == "extra_forbidden":
        return f"{kind} has no such field{did_you_mean(str(entry['loc'][-1]), cls.model_fields)}"
    if error_type == "literal_error":
        return f"must be {entry['ctx']['expected']}, found {found}"
    if error_type == "too_short":
        return f"must have at least {entry['ctx']['min_length']} entries, found {found}"
    if error_type in ("tuple_type", "list_type"):
        return f"must be a list, found {found}"
    if error_type in ("model_type", "model_attributes_type", "dict_type"):
        return f"must be an object, found {found}"
    return f"{entry['msg']}, found {found}"
