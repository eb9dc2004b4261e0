"""Numbers of a report as the page shows them.

A number is named by its JSON pointer (RFC 6901) into ``report.json``, and is shown by one function,
so that a test can look every number of the page up in the report.
"""

from collections.abc import Mapping, Sequence
from math import floor, log10
from typing import Any

from markupsafe import Markup

__all__ = ["FORMATS", "lookup", "number", "pointer", "shown"]


def _count(value: float) -> str:
    return f"{value:,.1f}".removesuffix(".0")


def _significant(value: float, digits: int = 3) -> str:
    """So many digits of a value at least, and all in front of the point."""
    places = digits - 1 - floor(log10(abs(value))) if value else 0
    return f"{value:,.{max(0, places)}f}"


FORMATS = {
    "count": _count,
    "fixed1": lambda value: f"{value:,.1f}",
    "fixed2": lambda value: f"{value:,.2f}",
    "fixed4": lambda value: f"{value:,.4f}",
    "plain": _significant,
    "percent": lambda value: f"{value:.1%}",
    "percent2": lambda value: f"{value:.2%}",
    "difference": lambda value: f"{value:+.1%}",
    "microjoule": lambda value: _significant(value * 1e6),
    "milliwatt": lambda value: f"{value * 1e3:,.1f}",
}
"""How a number is shown, by name; ``milliwatt`` is of watts, ``microjoule`` of joules."""


def shown(value: float | None, form: str) -> str:
    """The one text of a value; ``-`` where there is none."""
    return "-" if value is None else FORMATS[form](value)


def pointer(*keys: str | int) -> str:
    """JSON pointer of these keys and indices."""
    return "".join("/" + str(key).replace("~", "~0").replace("/", "~1") for key in keys)


def lookup(report: Mapping[str, Any], where: str) -> Any:
    """The value that a JSON pointer names; None if it is not there."""
    value: Any = report
    for key in where.split("/")[1:]:
        key = key.replace("~1", "/").replace("~0", "~")
        if isinstance(value, Mapping):
            value = value.get(key)
        elif isinstance(value, Sequence) and not isinstance(value, str) and int(key) < len(value):
            value = value[int(key)]
        else:
            return None
    return value


def number(report: Mapping[str, Any], where: str, form: str) -> Markup:
    """A number of the report for the page."""
    return Markup('<span class="n" data-key="{}" data-form="{}">{}</span>').format(
        where, form, shown(lookup(report, where), form))
