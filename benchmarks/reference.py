"""The reference network and MLPerf Tiny's on their chips, beside what others published.

    python benchmarks/reference.py [--zoo FOLDER] [--case NAME ...] [-o DIR]

For each case: `hwgen build`, six frames back to back at full speed and one with stalls through the
simulated Verilog, compared with the golden model, and synthesis with Yosys. Of the frames three or
more differ; by the last ones the clocks between frames have settled. The networks other than
examples/wafer come from FOLDER/NAME/model.onnx with inputs.npy; those that are not there are left
out.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import numpy as np
from rich.console import Console
from rich.table import Table

from hwgen.boards import load_board

ROOT = Path(__file__).resolve().parent.parent
WAFER = ROOT / "examples" / "wafer"
ZOO = ROOT.parent / "shared" / "models" / "zoo"
FRAMES = 6
RESOURCES = {"lut": "LUT", "lutram": "LUTRAM", "ff": "FF", "bram36": "BRAM36", "dsp": "DSP"}

PUBLISHED = [
    ("A. Pinzari et al., wafer, xc7z010, 150 MHz", 178, 9030, 4830, 11796, 60, 37),
    ("MLPerf Tiny v1.1, fpgaConvNet, DS-CNN, xc7z010, 125 MHz", 464.9, 15000, None, None, 16, 60),
    ("MLPerf Tiny v0.7, FINN, CNV-W1A1, xc7z020, 100 MHz", 661, None, None, None, None, None),
    ("FINN (FPGA'17), CNV-max, ZC706, 200 MHz", 21906, 46253, None, None, None, None)]
"""Name, frames/s, LUT, LUTRAM, FF, BRAM36, DSP."""


@dataclass(frozen=True)
class Case:
    """A network on a board.

    Parameters
    ----------
    name
        Of the case, for ``--case``.
    network
        ``a`` or ``b`` of examples/wafer, or a folder of the zoo.
    options
        Of `hwgen build`.
    """

    name: str
    network: str
    board: str
    options: tuple[str, ...]

    def model(self, zoo: Path) -> Path:
        return WAFER / f"{self.network}.json" if len(self.network) == 1 else \
            zoo / self.network / "model.onnx"

    def frames(self, zoo: Path) -> np.ndarray:
        """Raw integers of the wafer, real numbers of the others."""
        frames = np.load(WAFER / "frames.npz")["x"].reshape(-1, 224, 224, 1) if self.raw \
            else np.load(zoo / self.network / "inputs.npy")
        return frames[np.arange(FRAMES + 1) % len(frames)]

    @property
    def raw(self) -> list[str]:
        return ["--raw"] if len(self.network) == 1 else []


CASES = [
    Case("wafer-max", "a", "zybo-z7010", ("--max-fps",)),
    Case("wafer-b-max", "b", "zybo-z7010", ("--max-fps",)),
    Case("wafer-178", "a", "zybo-z7010",
         ("--fps", "178", "--budget", "LUT=3000,BRAM=48,DSP=10")),
    Case("wafer-1429", "a", "zybo-z7010", ("--fps", "1429")),
    Case("wafer-two-pixels", "a", "zybo-z7020", ("--max-fps",)),
    Case("dscnn", "mlperf_tiny_kws_dscnn_int8", "zybo-z7010", ("--max-fps", "--clock-mhz", "125")),
    Case("cnv", "cnv_w1a1_cifar10", "pynq-z2", ("--fps", "21906", "--clock-mhz", "100")),
]


@dataclass(frozen=True)
class Ran:
    """A finished command: what it printed as JSON, seconds and peak MB."""

    report: dict
    seconds: float
    megabytes: float


def hwgen(*arguments: object) -> Ran:
    start = perf_counter()
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen([sys.executable, "-m", "hwgen", *map(str, arguments)],
                                   stdout=output)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"hwgen {' '.join(map(str, arguments))} failed")
        output.seek(0)
        text = output.read()
    kilobytes = usage.ru_maxrss / (1024 if sys.platform == "darwin" else 1)
    return Ran(json.loads(text) if text.startswith("{") else {}, perf_counter() - start,
               kilobytes / 1024)


def measure(case: Case, zoo: Path, folder: Path, scratch: Path) -> tuple[list[str], bool]:
    """Cells of the table, and whether all was exact and within the chip."""
    frames = case.frames(zoo)
    for name, part in (("all", frames), ("speed", frames[:FRAMES]), ("stall", frames[FRAMES:])):
        np.save(scratch / f"{name}.npy", part)
    built = hwgen("build", case.model(zoo), "--board", case.board, *case.options, "-o", folder,
                  "--json")
    hwgen("golden", case.model(zoo), *case.raw, "--input", scratch / "all.npy", "--output",
          scratch / "golden.npy")
    golden = np.load(scratch / "golden.npy")
    outputs, runs = [], []
    for name, stall in (("speed", 0), ("stall", 0.25)):
        runs.append(hwgen("simulate", folder, *case.raw, "--input", scratch / f"{name}.npy",
                          "--output", scratch / "out.npy", "--stall", stall, "--json"))
        outputs.append(np.load(scratch / "out.npy"))
    equal = bool((np.concatenate(outputs) == golden).all())
    used = hwgen("synth", folder, "--json").report["total"]
    report, simulated = built.report, runs[0].report
    interval, predicted = simulated["frame_interval_cycles"], report["frame_interval_cycles"]
    chip = load_board(case.board).limits.as_dict()
    fits = all(used[key] <= chip[key] for key in chip)
    cells = [case.name, case.board, f"{report['clock_mhz']:g}", f"{interval:,}", f"{predicted:,}",
             f"{report['clock_mhz'] * 1e6 / interval:,.1f}",
             f"{simulated['latency_cycles']:,}", *(f"{used[key]:,}" for key in RESOURCES),
             "yes" if fits else "no", "yes" if equal else "NO",
             f"{built.seconds:.1f}", f"{built.megabytes:.0f}"]
    return cells, equal and fits and interval == predicted


def rows(cases: list[Case], zoo: Path, output: Path | None, scratch: Path
         ) -> Iterator[tuple[list[str], bool]]:
    for case in cases:
        if not case.model(zoo).exists():
            print(f"{case.name}: no {case.model(zoo)}; left out", file=sys.stderr)
            continue
        yield measure(case, zoo, (output or scratch) / case.name, scratch)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--zoo", type=Path, default=ZOO, help="folder of networks")
    parser.add_argument("--case", nargs="+", choices=[c.name for c in CASES])
    parser.add_argument("-o", "--output", type=Path, help="keep the builds here")
    arguments = parser.parse_args()
    table = Table(box=None, title="Measured: simulated clocks, resources by Yosys",
                  title_justify="left")
    for name in ("case", "board", "MHz", "clocks", "predicted", "frames/s", "latency",
                 *RESOURCES.values(), "fits", "exact", "build s", "MB"):
        table.add_column(name, justify="left" if name in ("case", "board") else "right")
    good = True
    cases = [c for c in CASES if not arguments.case or c.name in arguments.case]
    with tempfile.TemporaryDirectory(prefix="hwgen-reference-") as scratch:
        for cells, fine in rows(cases, arguments.zoo, arguments.output, Path(scratch)):
            table.add_row(*cells)
            print(" ".join(cells), file=sys.stderr, flush=True)
            good &= fine
    published = Table(box=None, title="Published", title_justify="left")
    for name in ("", "frames/s", *RESOURCES.values()):
        published.add_column(name, justify="right" if name else "left")
    for line in PUBLISHED:
        published.add_row(*("" if v is None else v if isinstance(v, str) else f"{v:,}"
                            for v in line))
    console = Console(width=160)
    console.print(table)
    console.print(published)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
