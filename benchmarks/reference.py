"""The reference network on its chip: measured here, beside the published figures.

    python benchmarks/reference.py [--variant a|b] [--fps N | --max-fps] [-o DIR]

Builds examples/wafer for the Zybo Z7-10 with the `hwgen` command, streams three frames at full
speed and with stalls, verifies one frame in cocotb, synthesizes, and prints the table.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter

import numpy as np
from rich.console import Console
from rich.table import Table

from hwgen.boards import load_board

WAFER = Path(__file__).resolve().parent.parent / "examples" / "wafer"
BOARD = "zybo-z7010"
# A. Pinzari et al., "Inside the AI Accelerators", table of the FPGA implementation.
PUBLISHED = {"fps": 178, "lut": 9030, "lutram": 4830, "ff": 11796, "bram36": 60, "dsp": 37}


def hwgen(*arguments: object) -> dict:
    done = subprocess.run([sys.executable, "-m", "hwgen", *map(str, arguments)], check=True,
                          stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout) if done.stdout.startswith("{") else {}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--variant", choices=("a", "b"), default="a")
    parser.add_argument("--fps", type=float, default=178)
    parser.add_argument("--max-fps", action="store_true")
    parser.add_argument("-o", "--output", type=Path, help="keep the build here")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hwgen-reference-") as scratch:
        return measure(arguments, Path(scratch))


def measure(arguments: argparse.Namespace, scratch: Path) -> int:
    folder = arguments.output or scratch / "build"
    model = WAFER / f"{arguments.variant}.json"
    frames = np.load(WAFER / "frames.npz")["x"][:3].reshape(3, 224, 224, 1)
    np.save(scratch / "x.npy", frames)
    np.save(scratch / "first.npy", frames[:1])
    rate = ["--max-fps"] if arguments.max_fps else ["--fps", arguments.fps]

    start = perf_counter()
    report = hwgen("build", model, "--board", BOARD, *rate, "-o", folder, "--json")
    seconds = perf_counter() - start
    hwgen("golden", model, "--raw", "--input", scratch / "x.npy", "--output", scratch / "y.npy")
    golden = np.load(scratch / "y.npy")
    equal = []
    for stall in (0, 0.25):
        found = hwgen("simulate", folder, "--raw", "--input", scratch / "x.npy", "--output",
                      scratch / "out.npy", "--stall", stall, "--json")
        equal.append(bool((np.load(scratch / "out.npy") == golden).all()))
        if stall == 0:
            simulated = found
    verified = hwgen("verify", folder, "--input", scratch / "first.npy", "--json")
    synth = hwgen("synth", folder, "--json")["total"]

    clock = report["clock_mhz"] * 1e6
    available = load_board(BOARD).limits.as_dict()
    interval = simulated["frame_interval_cycles"]
    table = Table(title=f"{report['model']} on {BOARD} at {report['clock_mhz']:g} MHz",
                  title_justify="left", box=None)
    for name in ("", "hwgen", "published", "chip"):
        table.add_column(name, justify="left" if not name else "right")
    table.add_row("frames/s", f"{clock / interval:,.1f}", f"{PUBLISHED['fps']}", "")
    table.add_row("clocks a frame, simulated", f"{interval:,}", "", "")
    table.add_row("clocks a frame, predicted", f"{report['frame_interval_cycles']:,}", "", "")
    table.add_row("latency, clocks, simulated", f"{simulated['latency_cycles']:,}", "", "")
    for key, name in (("lut", "LUT"), ("lutram", "of which LUTRAM"), ("ff", "registers"),
                      ("bram36", "block RAM (36 Kb)"), ("dsp", "DSP48E1")):
        table.add_row(name, f"{synth[key]:,}", f"{PUBLISHED[key]:,}", f"{available[key]:,}")
    Console(width=100).print(table)
    fits = all(synth[key] <= available[key] for key in available)
    exact = interval == report["frame_interval_cycles"]
    print(f"3 frames equal to the golden model: {equal[0]} at full speed, {equal[1]} with stalls; "
          f"cocotb: {', '.join(verified['tests'])} passed")
    print(f"build {seconds:.1f} s; fits the chip: {fits}; simulated = predicted clocks: {exact}")
    return 0 if all(equal) and fits and exact else 1


if __name__ == "__main__":
    sys.exit(main())
