"""The page: charts and template put together."""

import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from bokeh.core.types import ID
from bokeh.embed import json_item
from bokeh.resources import Resources
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from ..figures import with_figures
from ..files import check_writable, write_text
from ..host import host_lines
from ..power_table import KIND_NAMES, activity_source
from . import charts
from .charts import Chart
from .dataflow_chart import dataflow_chart
from .numbers import number, pointer

__all__ = ["FILE_NAME", "make_page", "write_page"]

FILE_NAME = "report.html"

RESOURCES = {"lut": "LUT", "lutram": "of which LUTRAM", "ff": "FF", "bram36": "BRAM36",
             "dsp": "DSP"}


def write_page(folder: Path | str, report: Mapping[str, Any]) -> Path:
    """Write ``report.html`` into a build directory, whole or not at all; its path."""
    path = Path(folder) / FILE_NAME
    check_writable(path)
    write_text(path, make_page(report, str(folder)))
    return path


def make_page(report: Mapping[str, Any], folder: str) -> str:
    """The page of a report: one file that needs no other, and no network.

    Parameters
    ----------
    report
        As in ``report.json``.
    folder
        Build directory, for the commands that the page proposes.
    """
    # One written by an earlier version has none of its own.
    report = report if "figures" in report else with_figures(report)
    drawn = {name: chart for name, chart in _charts(report).items() if chart is not None}
    environment = Environment(loader=PackageLoader("hwgen.page", "templates"), autoescape=True,
                              undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    library, = Resources(mode="inline", components=["bokeh"], minified=True).js_raw[:1]
    return environment.get_template("report.html.j2").render(
        report=report, folder=folder, items=_script_json(drawn),
        charts={name: chart.legend for name, chart in drawn.items()},
        library=Markup(library), number=partial(number, report), pointer=pointer,
        resources=RESOURCES, host=list(host_lines(report.get("host", {}))),
        commands=_commands(report), power_kinds=KIND_NAMES,
        power_source=activity_source(report["power"]) if "power" in report else "")


def _charts(report: Mapping[str, Any]) -> dict[str, Chart | None]:
    """What the report has the numbers for, by name."""
    chosen: dict[str, tuple[bool, Callable[[Mapping[str, Any]], Chart | None]]] = {
        "dataflow": ("graph" in report, dataflow_chart),
        "budget": (True, charts.budget_chart),
        "layers": (bool(report["layers"]), charts.layer_chart),
        "pipeline": ("schedule" in report, charts.pipeline_chart),
        "fifos": ("fifos" in report, charts.fifo_chart),
        "estimate": (bool(report.get("synth", {}).get("layers")), charts.estimate_chart)}
    drawn = {name: draw(report) for name, (there, draw) in chosen.items() if there}
    power = report.get("power")
    if power:
        drawn["power_kinds"] = charts.power_chart(
            {KIND_NAMES[kind]: watts for kind, watts in power["kinds"].items()}, charts.GREEN)
        drawn["power_layers"] = charts.power_chart(
            {layer: part["dynamic_w"] for layer, part in power["layers"].items()}, charts.BLUE)
    return drawn


def _script_json(drawn: Mapping[str, Chart]) -> Markup:
    """The charts as JSON that can't end the script it stands in."""
    items = {name: json_item(chart.plot, ID(f"chart-{name}")) for name, chart in drawn.items()}
    return Markup(json.dumps(items, separators=(",", ":")).replace("<", "\\u003c"))


def _commands(report: Mapping[str, Any]) -> list[str]:
    """The command lines behind the report, each once."""
    found = [report.get("command")] + [
        (report.get(section) or {}).get("command")
        for section in ("verify", "sim", "synth", "pnr", "power")]
    return [command for command in dict.fromkeys(found) if command]
