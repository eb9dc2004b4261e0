"""``hwgen build``: from a model to a directory with Verilog, constraints, scripts and report."""

import json
import shutil
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any

from .blocks.pace import PaceConfig
from .callbacks import OnStep
from .constraints import write_constraints
from .dataflow import describe, find_fifos
from .design import BlockInfo, Design, StreamPort, Tap
from .errors import HwgenError
from .families import family_cost
from .graph import Graph
from .hardware import Source
from .host import host_work
from .model import Model
from .passes import run_pipeline
from .planning import Built, Target, plan_design
from .report import new_report, write_report
from .streams import TensorStream
from .top import TOP, wire_name
from .verilog import write_verilog

__all__ = ["build", "write_build"]

def build(model: Model, target: Target, folder: Path, on_step: OnStep | None = None, *,
          command: str | None = None) -> dict[str, Any]:
    """Build a model into ``folder``, which appears whole or not at all; the report.

    An existing ``folder`` is replaced if it is empty or an earlier build. The report keeps
    ``command``, the command line.
    """
    check_folder(folder)

    def on_pass(name: str, graph: Graph, seconds: float) -> None:
        if on_step is not None:
            on_step(f"pass {name}", seconds)

    graph = run_pipeline(model.to_graph(), on_pass)
    built = plan_design(graph, target, on_step)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as draft:
        report = write_build(model, built, target, Path(draft) / "build", on_step, command)
        _replace(folder, Path(draft) / "build", Path(draft) / "before")
    return report


def write_build(model: Model, built: Built, target: Target, folder: Path,
                on_step: OnStep | None = None, command: str | None = None) -> dict[str, Any]:
    """Write a design into a new ``folder``; the report."""
    folder.mkdir()
    start = perf_counter()
    with tempfile.TemporaryDirectory(prefix="hwgen-") as scratch:
        sources, memories = write_verilog(built.hardware, target.board.family, folder,
                                          Path(scratch))
    if on_step is not None:
        on_step("Verilog", perf_counter() - start)
    family = target.board.family
    hardware, timing, graph = built.hardware, built.timing, built.graph
    out = hardware.stream(hardware.output)
    shape = graph.tensor(graph.output).shape
    design = Design(
        model=graph.name, board=target.board.name, family=family, part=target.board.part,
        clock_mhz=target.clock_mhz, top=TOP, sources=tuple(sources), memories=tuple(memories),
        input=StreamPort(graph.input, hardware.input, built.pixels),
        output=StreamPort(graph.output, TensorStream(out.dtype, shape, out.lanes)),
        taps=tuple(Tap(n.layer, tensor, wire_name(Source(n.name, port), len(n.tensors)),
                       TensorStream(stream.dtype, graph.tensor(tensor).shape, stream.lanes))
                   for n in hardware.nodes for port, tensor in enumerate(n.tensors)
                   for stream in [n.block.output_of(port)]),
        blocks=tuple(BlockInfo(n.name, n.name, type(n.block).__name__.removesuffix("Config"),
                               n.layer, n.block.cycles,
                               family_cost(n.block.estimate(family), family))
                     for n in hardware.nodes),
        frame_interval_cycles=timing.interval, latency_cycles=timing.latency,
        fifos=find_fifos(hardware))
    design.save(folder)
    model.save(folder / "model")
    of_input = {"pixels": built.pixels} if built.pixels > 1 else {}
    for node in hardware.nodes:
        if isinstance(node.block, PaceConfig):
            of_input |= node.block.folding
    folding: dict[str, dict[str, Any]] = {graph.input: of_input} if of_input else {}
    folding |= {name: dict(option.folding) for name, option in built.choice.options.items()}
    (folder / "fold.json").write_text(json.dumps({"layers": folding}, indent=1) + "\n")
    write_constraints(folder, design, target.board)
    report = new_report(design, target.board, folding=folding,
                        shapes={p.name: p.output.shape for p in built.plans},
                        host=host_work(graph), dataflow=describe(hardware, timing),
                        command=command)
    write_report(folder, report)
    return report


def check_folder(folder: Path) -> None:
    """HwgenError if ``folder`` holds anything but an earlier build."""
    if folder.exists() and not folder.is_dir():
        raise HwgenError(f"{folder}: is a file; give another folder with -o")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / "design.json").is_file():
        raise HwgenError(f"{folder}: holds files that are not an hwgen build; "
                         "give another folder with -o")


def _replace(folder: Path, new: Path, aside: Path) -> None:
    """Put ``new`` in the place of ``folder``."""
    if folder.exists():
        folder.rename(aside)
    try:
        new.rename(folder)
    except BaseException:
        if aside.exists():
            aside.rename(folder)
        raise
    shutil.rmtree(aside, ignore_errors=True)

