"""Place and route of a built design for an ECP5 with nextpnr.

Out of context: the streams get no pins and no buffers, so what is measured is the core. Paths from
and to its ports are not timed; in a system, registers are there.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import cell_delays, timing
from .boards import load_board
from .constraints import nextpnr_device
from .design import Design
from .errors import ToolError
from .resources import Resources
from .tools import nextpnr, yosys

__all__ = ["RoutedPath", "RouteResult", "route"]

# Kinds of site in nextpnr's report, and how many of each are one of Resources.
_SITES = {"lut": ("TRELLIS_COMB", 1), "ff": ("TRELLIS_FF", 1), "bram36": ("DP16KD", 2),
          "dsp": ("MULT18X18D", 1)}
_LUTRAM_LUTS = 4  # that a TRELLIS_RAMW writes to


@dataclass(frozen=True)
class RoutedPath:
    """The slowest path of a routed design.

    Parameters
    ----------
    start, end
        Cells, named by what they drive.
    logic_ns, route_ns
        Its delay in cells, with clock to output and setup, and in nets.
    nets
        Nets on it that leave their slice.
    """

    start: str
    end: str
    logic_ns: float
    route_ns: float
    nets: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        return {"from": self.start, "to": self.end, "logic_ns": round(self.logic_ns, 3),
                "route_ns": round(self.route_ns, 3), "through": list(self.nets)}


@dataclass(frozen=True)
class RouteResult:
    """A routed core.

    Parameters
    ----------
    tool, part
        Name and version of the router, and the chip.
    fmax_mhz
        Highest clock.
    clock_mhz
        Clock that was asked for.
    used, available
        Resources, as the router counts them.
    path
        The path that limits the clock.
    estimated
        The longest path of the same netlist as estimated, without placement.
    """

    tool: str
    part: str
    fmax_mhz: float
    clock_mhz: float
    used: Resources
    available: Resources
    path: RoutedPath
    estimated: timing.Path

    @property
    def estimated_mhz(self) -> float:
        """Highest clock as estimated."""
        return 1000 / self.estimated.ns

    def as_dict(self) -> dict[str, Any]:
        return {"tool": self.tool, "part": self.part, "fmax_mhz": round(self.fmax_mhz, 2),
                "clock_mhz": self.clock_mhz, "used": self.used.as_dict(),
                "available": self.available.as_dict(), "path": self.path.as_dict(),
                "estimated_mhz": round(self.estimated_mhz, 2),
                "estimated": self.estimated.as_dict()}


def route(folder: Path | str, *, seed: int = 1) -> RouteResult:
    """Synthesize, place and route the design in a build directory.

    Netlist, logs and nextpnr's report are in ``pnr/`` of it.

    Parameters
    ----------
    folder
        A build directory for an ECP5 board.
    seed
        Of the placement; results differ by some percent from one to the next.

    Raises
    ------
    ToolError
        The design is for another family, or a tool is missing or failed.
    """
    folder = Path(folder).resolve()
    design = Design.load(folder)
    if design.family != "ecp5":
        raise ToolError(f"{folder}: is built for {design.board}, family {design.family}, which "
                        "nextpnr does not route; build it with --board ulx3s-85f")
    sources = design.files(folder)
    board = load_board(design.board)
    device = nextpnr_device(board.part)
    nextpnr.command()  # missing? say so before synthesis
    work = folder / "pnr"
    work.mkdir(exist_ok=True)
    yosys.run([*(f"read_verilog -sv -defer {yosys.quoted(file)}" for file in sources),
               f"synth_ecp5 -top {design.top} -json {yosys.quoted(work / 'mapped.json')}"],
              log=work / "yosys.log", folder=folder / "rtl")
    nextpnr.run([device["size"], "--package", device["package"], "--speed", device["speed"],
                 "--json", "mapped.json", "--out-of-context", "--freq", f"{design.clock_mhz:g}",
                 "--seed", str(seed), "--report", "report.json", "--timing-allow-fail"],
                log=work / "nextpnr.log", folder=work)
    report = json.loads((work / "report.json").read_text(encoding="utf-8"))
    used, available = (_resources(report["utilization"], key) for key in ("used", "available"))
    fmax = min((clock["achieved"] for clock in report["fmax"].values()), default=None)
    if fmax is None:
        raise ToolError(f"{folder}: nextpnr found no path between registers; the log is "
                        f"{work / 'nextpnr.log'}")
    mapped = json.loads((work / "mapped.json").read_text(encoding="utf-8"))
    estimate = timing.module_timing(mapped, design.top, cell_delays.FAMILIES[design.family])
    return RouteResult(nextpnr.version(), board.part, fmax, design.clock_mhz, used, available,
                       _slowest(report), estimate.inner[0])


def _resources(sites: dict[str, dict[str, int]], key: str) -> Resources:
    counts = {name: sites.get(site, {}).get(key, 0) / each
              for name, (site, each) in _SITES.items()}
    return Resources(**counts, lutram=_LUTRAM_LUTS * sites.get("TRELLIS_RAMW", {}).get(key, 0))


def _slowest(report: dict[str, Any]) -> RoutedPath:
    """The path between registers that limits the clock, of nextpnr's report."""
    path = max((found["path"] for found in report["critical_paths"]
                if "async" not in found["from"] + found["to"]),
               key=lambda steps: sum(step["delay"] for step in steps))
    routes = [step for step in path if step["type"] == "routing"]
    total, routing = (sum(step["delay"] for step in steps) for steps in (path, routes))
    return RoutedPath(path[0]["from"]["cell"], path[-1]["to"]["cell"], total - routing, routing,
                      tuple(step["net"] for step in routes if step["delay"]))
