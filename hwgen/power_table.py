"""The power section of a report as tables for a terminal."""

from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Group
from rich.table import Table

__all__ = ["KIND_NAMES", "activity_source", "render_power"]

KIND_NAMES = {"clock": "clock tree", "logic": "logic", "signals": "signals", "ff": "flip-flops",
         "lutram": "LUTRAM, SRL", "bram": "block RAM", "dsp": "DSP"}


def render_power(report: Mapping[str, Any]) -> Group:
    """By kind and by layer, and what it means for a frame."""
    power = report["power"]
    return Group(_kinds(report, power), _layers(power), "", *_lines(power))


def _table(title: str) -> Table:
    return Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False,
                 padding=(0, 2, 0, 0))


def _mw(watts: float) -> str:
    return f"{watts * 1e3:,.2f}"


def _kinds(report: Mapping[str, Any], power: Mapping[str, Any]) -> Table:
    guess = power["constant_guess"]
    table = _table(f"{report['model']} on {report['board']} at {report['clock_mhz']:g} MHz")
    for name in ("", "mW", "share", f"mW at {guess['toggle_rate']:.1%}"):
        table.add_column(name, justify="right" if name else "left")
    total = power["total_w"]

    def row(name: str, watts: float, guessed: float) -> None:
        table.add_row(name, _mw(watts), f"{watts / total:.0%}", _mw(guessed))

    row("static", power["static_w"], power["static_w"])
    for kind, name in KIND_NAMES.items():
        row(name, power["kinds"][kind], guess["kinds"][kind])
    row("dynamic", power["dynamic_w"], guess["dynamic_w"])
    row("total", total, guess["total_w"])
    return table


def _layers(power: Mapping[str, Any]) -> Table:
    table = _table("\nDynamic power by layer, mW")
    table.add_column("layer")
    guess = power["constant_guess"]["toggle_rate"]
    for name in (*KIND_NAMES.values(), "sum", f"at {guess:.1%}", "toggle rate", "glitches"):
        table.add_column(name, justify="right")
    for layer, part in (*power["layers"].items(), ("top", power["top"])):
        table.add_row(layer, *(_mw(part["kinds"][kind]) for kind in KIND_NAMES),
                      _mw(part["dynamic_w"]), _mw(part["constant_guess_w"]),
                      f"{part['toggle_rate']:.1%}", f"{part['glitch_rate']:.1%}")
    return table


def _lines(power: Mapping[str, Any]) -> Iterator[str]:
    activity, spread = power["activity"], power["uncertainty"]
    yield (f"{activity_source(power)}: a net changes in "
           f"{activity['toggle_rate']:.1%} of the clocks, glitches {activity['glitch_rate']:.1%}")
    yield (f"{power['fps']:,.1f} frames/s, {_energy(power['energy_per_frame_j'])} a frame, "
           f"{power['fps_per_w']:,.1f} frames/s/W")
    chip = power["chip"]
    if chip:
        yield (f"with the chip's processors, {chip['processing_system_w']:.2f} W: "
               f"{chip['total_w']:.2f} W, {_energy(chip['energy_per_frame_j'])} a frame, "
               f"{chip['fps_per_w']:,.1f} frames/s/W")
    yield (f"uncertainty: dynamic power within a factor of {spread['dynamic_factor']:g} either "
           f"way, total {_mw(spread['low_w'])} to {_mw(spread['high_w'])} mW")


def activity_source(power: Mapping[str, Any]) -> str:
    """Where the activity comes from."""
    activity = power["activity"]
    frames = "1 frame" if activity["frames"] == 1 else f"{activity['frames']} frames"
    origin = f"random input, seed {activity['seed']}" if activity["input"] == "random" \
        else activity["input"]
    return f"activity of {frames}, {activity['clocks']:,} clocks, of {origin}"


def _energy(joules: float) -> str:
    for unit, size in (("mJ", 1e-3), ("uJ", 1e-6)):
        if joules >= size:
            return f"{joules / size:.3g} {unit}"
    return f"{joules * 1e9:.3g} nJ"
