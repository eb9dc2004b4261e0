"""Prove a built design bit by bit: a cocotb test bench on Verilator against the golden model.

The bench (``sim/test_hwgen_top.py``) streams the frames at full speed, then with random stalls at
both ends. Where the design differs, it is simulated again with its inner streams recorded, to
name the first layer that differs. The compiled bench stays in ``DIR/sim`` for the next run.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .callbacks import OnStep, Progress
from .design import Design
from .errors import HwgenError, MismatchError, ToolError
from .files import data_folder
from .graph import Graph
from .simulate import (
    FrameClocks,
    SimulationError,
    beat_bytes,
    check_frames,
    frame_interval,
    run_raw,
    stall_limits,
    write_beats,
)
from .tools.verilator import find_verilator

__all__ = ["VerifyResult", "verify"]

LONG_INTERVAL = 20_000  # clocks


@dataclass(frozen=True)
class VerifyResult:
    """A design that computed exactly what the golden model computes.

    Parameters
    ----------
    frames
        Frames compared, in each of the tests.
    tests
        ``full_speed``, and ``random_stalls`` unless the probability of stalls was 0.
    frame_interval_cycles
        Of the last frames at full speed, see :func:`~hwgen.simulate.frame_interval`; None for a
        single frame. With three frames or more it is equal to the predicted one.
    predicted_interval_cycles
        What the cycle model says.
    latency_cycles
        Clocks from the first frame's first input beat to its last output beat, both counted, at
        full speed.
    predicted_latency_cycles
        What the cycle model says.
    stalled_clocks
        Clocks that the input and the output stalled in the second test.
    """

    frames: int
    tests: tuple[str, ...]
    frame_interval_cycles: int | None
    predicted_interval_cycles: int
    latency_cycles: int
    predicted_latency_cycles: int
    stalled_clocks: tuple[int, int]


def verify(folder: Path | str, graph: Graph, x: np.ndarray, *, stall: float = 0.25, seed: int = 0,
           on_progress: Progress | None = None, on_step: OnStep | None = None) -> VerifyResult:
    """Compare a built design with the golden model, bit by bit.

    Parameters
    ----------
    folder
        Build directory.
    graph
        Integer graph that the design was built from.
    x
        Input integers (frames, H, W, C). Three frames or more also check the frame interval.
    stall
        Probability in each clock that an end stalls in the second test; 0 leaves that test out.
    seed
        Seed of the stalls.
    on_progress
        Called with (beats moved, beats in all).
    on_step
        Called with a name and seconds after the golden model and the test bench.

    Raises
    ------
    MismatchError
        A value differs: names the first layer, frame, pixel and channel. Or the frame interval
        is not the predicted one.
    SimulationError
        The design stopped moving, or broke the stream contract.
    ToolError
        ``folder`` is no build directory, or a tool is missing or failed.
    """
    design = Design.load(folder)
    x = check_frames(design, x)
    if not 0 <= stall < 1:
        raise HwgenError(f"stall is {stall}; choose a probability from 0 up to, but not, 1")
    begun = time.perf_counter()
    expected = graph.run(x)
    golden = time.perf_counter()
    if on_step is not None:
        on_step("golden model", golden - begun)
    results = _run_bench(Path(folder).resolve(), design, x, expected, stall, seed, on_progress)
    if on_step is not None:
        on_step("test bench, compiled and run", time.perf_counter() - golden)
    for result in results.values():
        if result["mismatch"]:
            beat, word = result["mismatch"]
            raise _locate(folder, design, graph, x, stall, seed) \
                or _output_mismatch(folder, design, expected, beat, word)
        if result["error"]:
            raise SimulationError(f"{folder}: {result['error']}")
    fast = results["full_speed"]
    frames = [FrameClocks(*clocks) for clocks in zip(fast["first_inputs"], fast["last_inputs"],
                                                     fast["last_outputs"])]
    interval = frame_interval(frames)
    if len(x) > 2 and interval != design.frame_interval_cycles:
        raise MismatchError(f"{folder}: frame interval is {interval} clocks, predicted "
                            f"{design.frame_interval_cycles}")
    return VerifyResult(
        frames=len(x), tests=tuple(results), frame_interval_cycles=interval,
        predicted_interval_cycles=design.frame_interval_cycles,
        latency_cycles=frames[0].last_output - frames[0].first_input + 1,
        predicted_latency_cycles=design.latency_cycles,
        stalled_clocks=tuple(results.get("random_stalls", {}).get("stalled_clocks", (0, 0))))


def _run_bench(root: Path, design: Design, x: np.ndarray, expected: np.ndarray, stall: float,
               seed: int, on_progress: Progress | None) -> dict[str, dict]:
    """What each test of the bench found, by its name."""
    verilator = find_verilator()
    sources = design.files(root)
    bench_folder = data_folder("sim")
    # Optimized, Verilator's VPI runs 4 times as fast and takes 3 times as long to compile.
    runtime = "-O1" if design.frame_interval_cycles > LONG_INTERVAL else "-O0"
    key = hashlib.sha256()
    for file in (*sources, bench_folder / "ports.vlt"):
        key.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    key.update(f"{verilator.root} {verilator.version} {runtime}".encode())
    (root / "sim").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="verify-", dir=root / "sim") as name:
        work = Path(name)
        source, sink = design.input.stream, design.output.stream
        write_beats(work / "input.bin", source, x)
        write_beats(work / "expected.bin", sink, expected)
        longest, watchdog = stall_limits(design)
        (work / "bench.json").write_text(json.dumps({
            "input": str(work / "input.bin"), "expected": str(work / "expected.bin"),
            "in_bytes": beat_bytes(source), "in_beats": source.beats,
            "out_bytes": beat_bytes(sink), "out_beats": sink.beats,
            "stall": stall, "seed": seed, "longest_stall": longest, "watchdog": watchdog,
            "results": str(work / "results.json"), "progress": str(work / "progress")}))
        build = _build_folder(root, key.hexdigest()[:16], work)
        sources = tuple(_copy(file, build) for file in sources)
        (work / "settings.json").write_text(json.dumps({
            "top": design.top, "sources": [str(file) for file in sources], "build": str(build),
            "work": str(root / "rtl"), "bench": str(work / "bench.json"),
            "make_args": ["-j2", *verilator.make_settings("-O2", runtime)],
            "compile_args": ["--no-public-flat-rw", str(bench_folder / "ports.vlt"), "--no-timing",
                             "-O3", "--x-assign", "fast", "--x-initial", "unique", "-Wno-fatal",
                             "-Wno-lint", "-Wno-style", "--output-split", "20000",
                             "-CFLAGS", "-std=c++17"]}))
        log = root / "sim" / "verify.log"
        command = [sys.executable, str(bench_folder / "run_bench.py"),
                   str(work / "settings.json")]
        environment = verilator.environment() | {"COCOTB_RESULTS_FILE": str(work / "results.xml")}
        status = _run_logged(command, work, environment, log, work / "progress", on_progress)
        if not (work / "results.json").is_file():
            lines = log.read_text(errors="replace").strip().splitlines()
            errors = [line for line in lines if "rror" in line]
            raise ToolError(f"the test bench failed with status {status}: "
                            f"{(errors or lines[-1:] or ['no message'])[0]}; see {log}")
        results = json.loads((work / "results.json").read_text())
    if status and not any(r["error"] or r["mismatch"] for r in results.values()):
        raise ToolError(f"the test bench failed with status {status}; see {log}")
    return results


def _build_folder(root: Path, key: str, work: Path) -> Path:
    """Folder of the compiled bench: kept in DIR/sim, unless make refuses its path."""
    if any(c.isspace() for c in str(root)):
        build = Path(tempfile.gettempdir()) / f"hwgen-{os.getuid()}-{key}"
    else:
        build = root / "sim" / f"verify-{key}"
        for old in (root / "sim").glob("verify-????????????????"):
            if old != build:
                shutil.rmtree(old, ignore_errors=True)
    build.mkdir(exist_ok=True)
    return build


def _copy(file: Path, folder: Path) -> Path:
    """Copy a file unless it is there, so that its age does not make Verilator run again."""
    copy = folder / file.name
    if not copy.is_file() or copy.read_bytes() != file.read_bytes():
        shutil.copy(file, copy)
    return copy


def _run_logged(command: list[str], cwd: Path, environment: dict[str, str], log: Path,
                progress: Path, on_progress: Progress | None) -> int:
    """Exit status of the bench; hands its progress on while it runs."""
    with open(log, "wb") as out, \
            subprocess.Popen(command, cwd=cwd, env=environment, stdin=subprocess.DEVNULL,
                             stdout=out, stderr=subprocess.STDOUT) as process:
        while process.poll() is None:
            time.sleep(0.05)
            if on_progress and progress.is_file():
                words = progress.read_text().split()
                if len(words) == 2:
                    on_progress(int(words[0]), int(words[1]))
    return process.returncode


def _locate(folder: Path | str, design: Design, graph: Graph, x: np.ndarray, stall: float,
            seed: int) -> MismatchError | None:
    """The first inner stream that differs from the golden model, in topological order."""
    names = [tap.tensor for tap in design.taps]
    golden = graph.run_all(x, names)
    for probability in dict.fromkeys((0.0, stall)):
        run = run_raw(folder, design, x, stall=probability, seed=seed, taps=True)
        streams = [(tap.layer, tap.tensor, values) for tap, values in run.taps]
        streams.append(("output", graph.output, run.outputs))
        for layer, tensor, found in streams:
            expected = golden.get(tensor)
            if expected is None:
                continue
            count = min(len(found), len(expected))
            wrong = np.argwhere(found[:count] != expected[:count])
            if len(wrong):
                frame, row, column, channel = place = tuple(int(n) for n in wrong[0])
                return MismatchError(_describe(
                    folder, f"layer {layer} (tensor {tensor})", place, int(expected[place]),
                    int(found[place])))
    return None


def _output_mismatch(folder: Path | str, design: Design, expected: np.ndarray, beat: int,
                     word: int) -> MismatchError:
    """The first value of an output beat that differs, where no inner stream does."""
    stream = design.output.stream
    values = expected.reshape(-1, stream.lanes)[beat]
    mask = (1 << stream.dtype.width) - 1
    for lane in range(stream.lanes):
        found = int(stream.dtype.decode(word >> lane * stream.dtype.width & mask))
        if found != values[lane]:
            place = np.unravel_index(beat * stream.lanes + lane, expected.shape)
            return MismatchError(_describe(folder, f"output {design.output.tensor}",
                                           tuple(int(n) for n in place), int(values[lane]), found))
    return MismatchError(f"{folder}: output beat {beat}: padding bits above bit "
                         f"{stream.data_width - 1} of m_axis_tdata are not 0")


def _describe(folder: Path | str, what: str, place: tuple[int, ...], expected: int,
              found: int) -> str:
    frame, row, column, channel = place
    return (f"{folder}: {what} differs from the golden model: frame {frame}, row {row}, "
            f"column {column}, channel {channel}: expected {expected}, found {found}")
