"""Imported networks against their published outputs, in the golden model and in simulated hardware.

    python benchmarks/conformance.py [FOLDER] [--case NAME ...] [--simulate N] [--board BOARD]

FOLDER holds cases ``*/NAME/`` with ``model.onnx``, ``inputs.npy``, ``expected.npy`` (float32, from
the qonnx executor), perhaps ``expected_f64.npy`` (exact arithmetic) and ``labels.npy``, and
``meta.json``. One line per case: every vector in the golden model, N vectors in the simulated
Verilog of a design that fits the board, its clocks, and top-1 accuracy where there are labels.
"""

import argparse
import json
import sys
import tempfile
from dataclasses import astuple, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from hwgen.accuracy import top1
from hwgen.boards import load_board
from hwgen.build import build
from hwgen.errors import BoardError
from hwgen.golden import from_user, golden, golden_part, model_output, run_in_batches
from hwgen.graph import Graph
from hwgen.model import Model
from hwgen.onnx_import import import_onnx
from hwgen.passes import run_pipeline
from hwgen.planning import Target
from hwgen.resources import Resources
from hwgen.simulate import simulate

FOLDER = Path(__file__).resolve().parents[2] / "shared" / "models"
BOARD, FPS, VECTORS = "zybo-z7020", 1000, 4
CLOSE = 0.02  # of a step of the output: what float32 may be off by

INPUT_TYPES = {"jettag_qkeras": "INT16:0.0009765625", "mnist_cnn_qkeras_w4w8a16": "UINT8:1/256"}
"""How the inputs of networks without an input quantizer were made (see their meta.json)."""


@dataclass(frozen=True)
class Case:
    """A network with inputs and what it must give."""

    folder: Path

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def meta(self) -> dict[str, Any]:
        return json.loads((self.folder / "meta.json").read_text())

    def load(self) -> Model:
        return import_onnx(self.folder / "model.onnx", INPUT_TYPES.get(self.name))

    def inputs(self) -> np.ndarray:
        return np.load(self.folder / "inputs.npy")

    def expected(self) -> np.ndarray:
        """float64; those of exact arithmetic in vectors that float32 rounding decided."""
        values = np.load(self.folder / "expected.npy").astype(np.float64)
        ties = self.meta.get("vectors_with_float_ties") or []
        if ties:
            values[ties] = np.load(self.folder / "expected_f64.npy")[ties]
        return values

    def labels(self) -> np.ndarray | None:
        """Of the first vectors; None if there are none."""
        file = self.folder / "labels.npy"
        return np.load(file).reshape(-1) if file.exists() else None


def find_cases(folder: Path, names: list[str] | None = None) -> list[Case]:
    cases = [Case(meta.parent) for meta in sorted(folder.glob("*/*/meta.json"))]
    return [c for c in cases if not names or c.name in names]


def host_tail(values: np.ndarray, names: tuple[str, ...]) -> np.ndarray:
    """What the host does behind the network."""
    for name in names:
        if name == "Softmax":
            powers = np.exp(values - values.max(axis=-1, keepdims=True))
            values = powers / powers.sum(axis=-1, keepdims=True)
        elif name == "Sigmoid":
            values = 1 / (1 + np.exp(-values))
        elif name != "Identity":
            raise ValueError(f"no host operation {name}")
    return values


def equal_vectors(case: Case, graph: Graph, values: np.ndarray) -> np.ndarray:
    """For each vector of real outputs, whether it is the expected one, code by code.

    Codes are ``step`` apart, so two numbers nearer than a small part of a step are one code.
    """
    tensor, expected = graph.tensor(graph.output), case.expected()[:len(values)]
    step = min(abs(float(s)) for s in tensor.scale)
    rounding = 4e-6 * np.abs(expected).max()  # of float32 sums
    if graph.host_tail:
        values, tolerance = host_tail(values, graph.host_tail), 1e-6
    else:
        tolerance = CLOSE * step + rounding
        assert tolerance < 0.4 * step, f"{case.name}: float32 can't tell codes apart"
    if values.shape != expected.shape:
        return np.zeros(len(values), dtype=bool)
    return (np.abs(values - expected) <= tolerance).reshape(len(values), -1).all(axis=1)


def simulated(model: Model, codes: np.ndarray, folder: Path, board: str,
              fps: float = FPS) -> tuple[np.ndarray, dict[str, Any]]:
    """Integers out of the Verilog of a design that fits the board, and the design's report."""
    chip = load_board(board)
    limits = Resources(*astuple(chip.limits))
    try:
        report = build(model, Target(chip, chip.clock_mhz, limits, fps, None), folder)
    except BoardError:  # that rate is out of reach: the fastest
        report = build(model, Target(chip, chip.clock_mhz, limits, None, None), folder)
    result = simulate(folder, codes)
    return result.outputs, report | {"simulated_interval": result.frame_interval_cycles}


def row(case: Case, vectors: int, board: str) -> tuple[list[str], bool]:
    """Cells of the table, and whether everything was equal."""
    begun = perf_counter()
    model = case.load()
    seconds = perf_counter() - begun
    graph, inputs = model.to_graph(), case.inputs()
    good = equal_vectors(case, graph, golden(graph, inputs))
    cells = [case.name, f"{seconds:.2f}", f"{good.sum()} of {len(good)}"]
    labels = case.labels()
    if labels is None:
        cells.append("")
    else:
        part = golden_part(graph)
        outputs = run_in_batches(part, from_user(graph, inputs[:len(labels)]))
        found = top1(part, outputs, labels)
        cells.append(f"{found['top1']:.2%} of {found['frames']}")
    whole = bool(good.all())
    if vectors:
        folded = run_pipeline(graph)
        codes = from_user(graph, inputs[:vectors])
        with tempfile.TemporaryDirectory(prefix="hwgen-conformance-") as scratch:
            outputs, report = simulated(model, codes, Path(scratch) / "design", board)
        same = equal_vectors(case, folded, model_output(folded, outputs))
        interval, predicted = report["simulated_interval"], report["frame_interval_cycles"]
        estimate = report["estimate"]
        cells += [f"{same.sum()} of {len(same)}", f"{interval:,}", f"{predicted:,}",
                  *(f"{estimate[key]:,.0f}" for key in ("lut", "ff", "bram36", "dsp"))]
        whole = whole and bool(same.all()) and interval == predicted
    return cells, whole


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, default=FOLDER)
    parser.add_argument("--case", action="append", metavar="NAME", help="only this case")
    parser.add_argument("--simulate", type=int, default=VECTORS, metavar="N",
                        help=f"vectors to simulate; 0 for none (default {VECTORS})")
    parser.add_argument("--board", default=BOARD)
    arguments = parser.parse_args()
    cases = find_cases(arguments.folder, arguments.case)
    if not cases:
        print(f"{arguments.folder}: no cases */NAME/meta.json", file=sys.stderr)
        return 1
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("network")
    heads = ["import s", "golden equal", "top-1"]
    if arguments.simulate:
        heads += ["simulated equal", "clocks", "predicted", "LUT", "FF", "BRAM36", "DSP"]
    for head in heads:
        table.add_column(head, justify="right")
    all_good = True
    for case in cases:
        cells, good = row(case, arguments.simulate, arguments.board)
        print(case.name, "equal" if good else "NOT EQUAL", file=sys.stderr, flush=True)
        table.add_row(*cells)
        all_good &= good
    Console(width=150).print(table)
    return 0 if all_good else 1


if __name__ == "__main__":
    sys.exit(main())
