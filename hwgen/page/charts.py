"""Charts of a report, with Bokeh: each is a figure that fills the width it gets.

Colours are Okabe and Ito's, which the colour-blind can tell apart. Those of text and lines are
placeholders, for which the page puts what suits a light or a dark screen.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from bokeh.models import (
    BasicTicker,
    ColumnDataSource,
    FixedTicker,
    HoverTool,
    NumeralTickFormatter,
    Range1d,
    VSpan,
)
from bokeh.plotting import figure

__all__ = ["BLUE", "Chart", "GREEN", "INK", "LINE", "ORANGE", "RED", "SKY", "blank", "budget_chart",
           "estimate_chart", "fifo_chart", "layer_chart", "pipeline_chart", "power_chart", "short"]

INK, LINE = "#010203", "#040506"
BLUE, ORANGE, GREEN, RED, SKY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9"
RESOURCES = {"lut": ("LUT", BLUE), "ff": ("FF", SKY), "bram36": ("BRAM36", ORANGE),
             "dsp": ("DSP", GREEN)}
MOST_NAME = 20  # characters of a name beside an axis
ROW = 26  # pixels of a row of bars
SAME_SHARE = 0.02  # busy shares whose colours look the same
AROUND = 60  # pixels of the axis below


@dataclass(frozen=True, eq=False)
class Chart:
    """A figure, and what its colours mean: colour by label."""

    plot: figure
    legend: dict[str, str] = field(default_factory=dict)


def short(name: str, most: int = MOST_NAME) -> str:
    """A name that fits: the middle of a long one is left out."""
    if len(name) <= most:
        return name
    head = (most - 1) // 2
    return f"{name[:head]}…{name[len(name) - (most - 1 - head):]}"


def blank(**options: Any) -> figure:
    """A figure in the page's colours, without tools."""
    plot = figure(toolbar_location=None, tools="", output_backend="svg",
                  background_fill_color=None, border_fill_color=None, outline_line_color=None,
                  **options)
    plot.axis.axis_line_color = plot.axis.major_tick_line_color = LINE
    plot.axis.minor_tick_line_color = None
    plot.axis.major_label_text_color = plot.axis.axis_label_text_color = INK
    plot.axis.axis_label_text_font_style = "normal"
    plot.grid.grid_line_color = LINE
    plot.grid.grid_line_alpha = 0.35
    return plot


def _rows(names: Sequence[str], height: int = ROW, **options: Any) -> figure:
    """A figure with a row for each name, the first at the top: that of row n is at y = n."""
    plot = blank(sizing_mode="stretch_width", height=len(names) * height + AROUND,
                 min_border_right=24,
                 y_range=(len(names) - 0.5, -0.5), **options)
    plot.yaxis.ticker = FixedTicker(ticks=list(range(len(names))))
    plot.yaxis.major_label_overrides = dict(enumerate(names))
    plot.ygrid.grid_line_color = None
    return plot


def _hover(plot: figure, *rows: tuple[str, str], renderers: Any = "auto") -> None:
    plot.add_tools(HoverTool(tooltips=list(rows), renderers=renderers))


def pipeline_chart(report: Mapping[str, Any]) -> Chart:
    """When each layer is busy with a frame, the ones around it lighter; full colour is all the
    time."""
    schedule = report["schedule"]
    layers, interval, parts = schedule["layers"], schedule["interval_cycles"], schedule["parts"]
    end = max(max(layer["last_cycle"] for layer in layers) + 1, 2 * interval)
    names = [("▶ " if layer["name"] in schedule["bottleneck"] else "") + short(layer["name"])
             for layer in layers]
    plot = _rows(names, x_range=(0, end))
    for row, layer in enumerate(layers):
        if layer["name"] in schedule["bottleneck"]:
            plot.hbar(y=row, left=0, right=end, height=0.96, color=RED, alpha=0.18)
    columns = _pipeline_columns(layers, interval, parts, end)
    drawn, legend = [], {"one frame": BLUE, "those before and behind it": ORANGE}
    for color, own in zip(legend.values(), (True, False)):
        chosen = columns["own"] == own
        source = ColumnDataSource({key: column[chosen] for key, column in columns.items()})
        drawn.append(plot.hbar(y="y", left="left", right="right", height=0.4, color=color,
                               fill_alpha="busy", line_color=None, source=source))
    _hover(plot, ("layer", "@layer"), ("frame", "@frame{+0}"),
           ("clocks", "@left{0,0} to @right{0,0}"), ("busy", "@busy{0 %}"),
           renderers=drawn)
    plot.xaxis.axis_label = "clock from the frame's first input beat"
    plot.xaxis.formatter = NumeralTickFormatter(format="0,0")
    plot.xaxis.ticker = BasicTicker(desired_num_ticks=5)
    return Chart(plot, legend)


def _pipeline_columns(layers: Sequence[Mapping[str, Any]], interval: int, parts: int, end: int
                      ) -> dict[str, np.ndarray]:
    """Parts of bars of all frames that show in the clocks from 0 to ``end``."""
    found: dict[str, list[Any]] = {key: [] for key in ("y", "left", "right", "busy", "layer",
                                                       "frame", "own")}
    latest = max(layer["last_cycle"] for layer in layers)
    for row, layer in enumerate(layers):
        edges = np.linspace(layer["first_cycle"], layer["last_cycle"] + 1, parts + 1)
        for frame in range(-(latest // interval), end // interval + 1):
            # Frames take turns in the upper and the lower half of a row: they may overlap.
            y = row + (-0.21 if frame % 2 == 0 else 0.21)
            for first, behind, busy in _runs(layer["activity"]):
                left, right = np.clip(edges[[first, behind]] + frame * interval, 0, end)
                if busy > 0 and left < right:
                    for key, value in zip(found, (y, left, right, busy, layer["name"], frame,
                                                  frame == 0)):
                        found[key].append(value)
    return {key: np.array(column) for key, column in found.items()}


def _runs(shares: Sequence[float]) -> Iterator[tuple[int, int, float]]:
    """(first, one behind the last, value) of neighbours that look the same."""
    first = 0
    for n in range(1, len(shares) + 1):
        if n == len(shares) or abs(shares[n] - shares[first]) > SAME_SHARE:
            yield first, n, shares[first]
            first = n


def layer_chart(report: Mapping[str, Any]) -> Chart:
    """Each layer's share of the board, one bar a resource."""
    counted, keys = counts(report), used(report)
    layers = [layer["name"] for layer in report["layers"]]
    most = max(counted.get(layer, {}).get(key, 0) / report["available"][key]
               for layer in layers for key in keys)
    plot = _rows([short(name) for name in layers], 12 + 8 * len(keys),
                 x_range=(0, 1.05 * most or 1))
    step = 0.84 / len(keys)
    for n, key in enumerate(keys):
        name, color = RESOURCES[key]
        values = [counted.get(layer, {}).get(key, 0) for layer in layers]
        source = ColumnDataSource({
            "y": [row - 0.42 + (n + 0.5) * step for row in range(len(layers))], "layer": layers,
            "count": values, "share": [value / report["available"][key] for value in values]})
        plot.hbar(y="y", right="share", height=step * 0.9, color=color, source=source, name=name)
    _hover(plot, ("layer", "@layer"), ("", "@count{0,0.[0]} $name"),
           ("of the board", "@share{0.0 %}"))
    plot.xaxis.formatter = NumeralTickFormatter(format="0 %")
    plot.xaxis.axis_label = "share of the board"
    return Chart(plot, {name: color for name, color in (RESOURCES[key] for key in keys)})


def counts(report: Mapping[str, Any]) -> dict[str, Mapping[str, float]]:
    """Resources of each layer: of synthesis, else estimated."""
    synth = report.get("synth", {}).get("layers")
    return synth or {layer["name"]: layer["estimate"] for layer in report["layers"]}


def used(report: Mapping[str, Any]) -> list[str]:
    """The resources that the design takes, of those that the board has."""
    total = report.get("synth", {}).get("total") or report["estimate"]
    return [key for key in RESOURCES if report["available"][key] and
            (total.get(key) or report["estimate"][key])] or ["lut"]


def budget_chart(report: Mapping[str, Any]) -> Chart:
    """The whole design against the board."""
    kinds = {"estimate": ("estimate", SKY, -0.19), "synth": ("synthesis", BLUE, 0.19)}
    keys = [key for key in ("lut", "lutram", "ff", "bram36", "dsp") if report["available"][key]]
    names = {"lutram": "LUTRAM"} | {key: name for key, (name, _) in RESOURCES.items()}
    plot = _rows([names[key] for key in keys])
    legend, most = {}, 1.0
    for kind, (label, color, place) in kinds.items():
        shares = [report["figures"]["utilization"][kind][key] for key in keys]
        if None in shares:
            continue
        most = max(most, *shares)
        legend[label] = color
        plot.hbar(y="y", right="share", height=0.36, color=color, name=label,
                  source=ColumnDataSource({"y": [row + place for row in range(len(keys))],
                                           "share": shares}))
    plot.add_glyph(VSpan(x=1, line_color=RED, line_dash="dashed", line_width=2))
    _hover(plot, ("$name", "@share{0.0 %}"))
    plot.x_range = Range1d(start=0, end=1.05 * most)
    plot.xaxis.formatter = NumeralTickFormatter(format="0 %")
    plot.xaxis.axis_label = "share of the board"
    return Chart(plot, legend)


def fifo_chart(report: Mapping[str, Any]) -> Chart | None:
    """Depth of each FIFO, most beats seen in it and needed by the schedule; those of two beats,
    the fewest, are left out."""
    fifos = [fifo for fifo in report.get("fifos", ()) if fifo["depth"] > 2]
    if not fifos:
        return None
    peaks = report.get("sim", {}).get("fifo_peaks") or {}
    source = ColumnDataSource({
        "y": list(range(len(fifos))), "depth": [fifo["depth"] for fifo in fifos],
        "needed": [fifo["needed"] for fifo in fifos], "name": [fifo["name"] for fifo in fifos],
        "peak": [peaks.get(fifo["name"], np.nan) for fifo in fifos]})
    most = max(fifo["depth"] for fifo in fifos)
    plot = _rows([short(fifo["name"]) for fifo in fifos], 20, x_axis_type="log",
                 x_range=(0.9, 1.3 * most))
    legend = {"depth": SKY, "needed by the schedule": RED}
    bars = plot.hbar(y="y", left=0.9, right="depth", height=0.72, color=SKY, source=source)
    if peaks:
        legend["peak seen"] = BLUE
        plot.hbar(y="y", left=0.9, right="peak", height=0.4, color=BLUE, source=source)
    plot.scatter(x="needed", y="y", marker="dash", angle=np.pi / 2, size=14, line_width=3,
                 color=RED, source=source)
    _hover(plot, ("FIFO", "@name"), ("depth", "@depth{0,0}"), ("needed", "@needed{0,0}"),
           ("peak seen", "@peak{0,0}"), renderers=[bars])
    plot.xaxis.axis_label = "beats"
    plot.xaxis.formatter = NumeralTickFormatter(format="0,0")
    return Chart(plot, legend)


def estimate_chart(report: Mapping[str, Any]) -> Chart:
    """LUTs of each layer, estimated and synthesized."""
    synth = report["synth"]["layers"]
    layers = [layer for layer in report["layers"] if layer["name"] in synth]
    source = ColumnDataSource({
        "y": list(range(len(layers))), "name": [layer["name"] for layer in layers],
        "estimate": [layer["estimate"]["lut"] for layer in layers],
        "synth": [synth[layer["name"]]["lut"] for layer in layers]})
    most = max((max(layer["estimate"]["lut"], synth[layer["name"]]["lut"]) for layer in layers),
               default=0)
    plot = _rows([short(layer["name"]) for layer in layers], x_range=(0, 1.05 * most or 1))
    plot.segment(x0="estimate", x1="synth", y0="y", y1="y", line_color=LINE, line_width=3,
                 source=source)
    drawn = [plot.scatter(x="estimate", y="y", marker="diamond", size=13, color=ORANGE,
                          source=source),
             plot.scatter(x="synth", y="y", marker="circle", size=9, color=BLUE, source=source)]
    _hover(plot, ("layer", "@name"), ("estimate", "@estimate{0,0} LUT"),
           ("synthesis", "@synth{0,0} LUT"), renderers=drawn)
    plot.xaxis.axis_label = "LUT"
    plot.xaxis.formatter = NumeralTickFormatter(format="0,0")
    return Chart(plot, {"estimate": ORANGE, "synthesis": BLUE})


def power_chart(watts: Mapping[str, float], color: str) -> Chart:
    """Watts by name."""
    plot = _rows([short(name) for name in watts],
                 x_range=(0, 1.05e3 * max(watts.values()) or 1))
    source = ColumnDataSource({"y": list(range(len(watts))), "name": list(watts),
                               "milliwatts": [1e3 * value for value in watts.values()]})
    plot.hbar(y="y", right="milliwatts", height=0.7, color=color, source=source)
    _hover(plot, ("", "@name"), ("", "@milliwatts{0,0.00} mW"))
    plot.xaxis.axis_label = "mW"
    return Chart(plot)
