"""Switching activity of a built design: its mapped netlist, simulated on frames.

``sim/gates.cpp`` simulates the gates of :mod:`hwgen.gates` clock by clock and counts every
transition of every net, glitches too. What comes out is the network's output, so a run also shows
whether synthesis kept it. The program is made once and kept in ``DIR/sim``.
"""

import hashlib
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .callbacks import Progress
from .design import Design
from .files import data_folder
from .gates import Gates
from .simulate import (
    SimulationError,
    beat_bytes,
    check_frames,
    execute,
    read_beats,
    run_logged,
    stall_limits,
    write_beats,
)
from .tools.compiler import find_build_tools

__all__ = ["Activity", "measure", "settling_frames"]


@dataclass(frozen=True)
class Activity:
    """What happened in the clocks that were counted.

    Parameters
    ----------
    outputs
        Integers (frames, H, W, C), of all frames: those before the count too.
    frames, clocks
        Frames counted, and their clocks.
    settled, transitions
        By net: clocks at whose end its value differed, and changes in all.
    shifted
        By shift register: clocks in which it shifted.
    written
        By LUT RAM: clocks in which it was written.
    enabled
        By block RAM, summed over its ports: clocks in which it was enabled.
    """

    outputs: np.ndarray
    frames: int
    clocks: int
    settled: np.ndarray
    transitions: np.ndarray
    shifted: np.ndarray
    written: np.ndarray
    enabled: np.ndarray


def settling_frames(design: Design) -> int:
    """Frames before the count: until the pipeline is full."""
    return max(1, design.latency_cycles // design.frame_interval_cycles)


def measure(folder: Path | str, design: Design, gates: Gates, x: np.ndarray, frames: int, *,
            on_progress: Progress | None = None) -> Activity:
    """Simulate frames back to back and count in steady state.

    Parameters
    ----------
    folder
        Build directory.
    gates
        The design's gates, of :func:`hwgen.flatten.flatten`.
    x
        Input integers (frames, H, W, C), which come in turns, so that the source never ends.
    frames
        Frames to count, from the last output beat of one to that of another.

    Raises
    ------
    SimulationError
        The mapped netlist stopped moving or its output broke the contract of its stream.
    """
    x = check_frames(design, x)
    root = Path(folder).resolve()
    program = _compiled(root)
    source, sink = design.input.stream, design.output.stream
    skip = settling_frames(design)
    with tempfile.TemporaryDirectory(prefix="run-", dir=root / "sim") as name:
        work = Path(name)
        gates.write(work / "netlist.bin")
        write_beats(work / "input.bin", source, x)
        options = {
            "netlist": work / "netlist.bin", "input": work / "input.bin",
            "output": work / "output.bin", "counts": work / "counts.bin", "skip": skip,
            "frames": frames, "in-beats": source.beats, "out-beats": sink.beats,
            "in-bytes": beat_bytes(source), "out-bytes": beat_bytes(sink),
            "watchdog": stall_limits(design)[1]}
        command = [str(program), *(str(word) for key, value in options.items()
                                   for word in (f"--{key}", value))]
        run = execute(command, root / "rtl", work / "stderr", (skip + frames) * sink.beats,
                      on_progress)
        if run.error:
            raise SimulationError(f"{folder}: {run.error}")
        counts = np.fromfile(work / "counts.bin", dtype="<u8").astype(np.int64)
        return _activity(gates, read_beats(work / "output.bin", sink), frames, run.counted, counts)


def _activity(gates: Gates, outputs: np.ndarray, frames: int, clocks: int, counts: np.ndarray
              ) -> Activity:
    sizes = [gates.count, gates.count, len(gates.shifts), len(gates.rams)]
    settled, transitions, shifted, written, ports = np.split(counts, np.cumsum(sizes))
    first = np.cumsum([0] + [len(block.ports) for block in gates.blocks])
    enabled = np.array([ports[a:b].sum() for a, b in zip(first, first[1:])], dtype=np.int64)
    return Activity(outputs, frames, clocks, settled, transitions, shifted, written, enabled)


def _compiled(root: Path) -> Path:
    """Path of the simulator of gates, made unless DIR/sim has it already."""
    source, tools = data_folder("sim") / "gates.cpp", find_build_tools()
    options = ["-std=c++17", "-O2"]
    key = hashlib.sha256("\0".join([*tools.cxx, *options, source.read_text()]).encode())
    program = root / "sim" / f"gates-{key.hexdigest()[:16]}"
    if program.is_file():
        return program
    (root / "sim").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="build-", dir=root / "sim") as name:
        work = Path(name)
        shutil.copy(source, work / "gates.cpp")
        run_logged("the C++ compiler", [*tools.cxx, *options, "gates.cpp", "-o", "simulator"], work,
                   dict(os.environ), root / "sim" / "gates.log")
        for old in (root / "sim").glob("gates-????????????????"):
            old.unlink()
        fresh = program.with_suffix(".new")
        shutil.copy(work / "simulator", fresh)
        os.replace(fresh, program)
    return program
