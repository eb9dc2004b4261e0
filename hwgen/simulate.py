"""Run a built design in a compiled simulator: many frames at full speed, or with random stalls.

Verilator turns the Verilog and ``sim/harness.cpp`` into a program, which is kept in ``DIR/sim``
under a hash of everything it is made from, so that the next run starts at once.
"""

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

from .callbacks import OnStep, Progress
from .design import Design, FifoInfo, Tap
from .errors import HwgenError, ToolError
from .figures import SINGLE_STREAM_FRAMES
from .files import data_folder
from .streams import TensorStream
from .tools.verilator import find_verilator

__all__ = ["FrameClocks", "SimResult", "SimulationError", "frame_interval", "pack_beats",
           "simulate", "single_stream", "unpack_beats"]

CHUNK = 1 << 22  # values packed at a time, to bound memory


class SimulationError(HwgenError):
    """The simulated design deadlocked or broke the stream contract."""


@dataclass(frozen=True)
class SimResult:
    """What came out of a simulated design.

    Parameters
    ----------
    outputs
        Integers (frames, H, W, C), int64.
    frame_interval_cycles
        See :func:`frame_interval`; None for a single frame.
    latency_cycles
        Clocks from the first frame's first input beat to its last output beat, both counted: a
        wire has latency 1.
    total_cycles
        Clocks from the end of reset to the last output beat.
    taps
        With ``taps=True``: integers (frames, H, W, C) of each inner tensor.
    frame_latencies
        Clocks from first input beat to last output beat of every frame, counted as above.
    fifo_peaks
        By FIFO of the design: the most beats that it held, one that enters counted with those
        there; empty with ``wave`` or ``taps``.
    """

    outputs: np.ndarray
    frame_interval_cycles: int | None
    latency_cycles: int
    total_cycles: int
    taps: dict[str, np.ndarray] = field(default_factory=dict)
    frame_latencies: tuple[int, ...] = ()
    fifo_peaks: dict[str, int] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """The section ``sim`` of report.json, but for what the command line says."""
        return {"tool": f"Verilator {find_verilator().version}", "frames": len(self.outputs),
                "frame_interval_cycles": self.frame_interval_cycles,
                "latency_cycles": self.latency_cycles, "total_cycles": self.total_cycles,
                "frame_latency": spread(self.frame_latencies), "fifo_peaks": self.fifo_peaks}


def spread(cycles: Sequence[int]) -> dict[str, int | float]:
    """``frames``, ``min_cycles``, ``median_cycles`` and ``max_cycles`` of latencies."""
    middle = median(cycles)
    return {"frames": len(cycles), "min_cycles": min(cycles),
            "median_cycles": int(middle) if middle == int(middle) else middle,
            "max_cycles": max(cycles)}


class FrameClocks(NamedTuple):
    """Clocks of a frame's first and last input beat, and of its last output beat."""

    first_input: int
    last_input: int
    last_output: int


def frame_interval(frames: Sequence[FrameClocks]) -> int | None:
    """Clocks between the last two frames, at the input or the output, whichever are more; None for
    a single frame.

    Of frames at full speed. Both grow, from frame to frame, to what the slowest block takes: at the
    input as FIFOs fill up, at the output while blocks behind the slowest make up for a late start.
    """
    if len(frames) < 2:
        return None
    before, last = frames[-2:]
    return max(last.last_input - before.last_input, last.last_output - before.last_output)


@dataclass
class RawRun:
    """Beats and records of a run that may have ended early: ``error`` says why."""

    outputs: np.ndarray
    frames: list[FrameClocks]
    total_cycles: int
    error: str | None
    taps: list[tuple[Tap, np.ndarray]]
    fifo_peaks: dict[str, int]


def simulate(folder: Path | str, x: np.ndarray, *, stall: float = 0.0, seed: int = 0,
             wave: Path | str | None = None, taps: bool = False, single: bool = False,
             on_progress: Progress | None = None, on_step: OnStep | None = None) -> SimResult:
    """Stream frames through a built design.

    Parameters
    ----------
    folder
        Build directory.
    x
        Input integers (frames, H, W, C).
    stall
        Probability in each clock that an end of the design stalls: the input has nothing to
        offer, the output can't take a beat. Unless it is 0, each end also stalls once a frame,
        at a random beat, for up to half a frame interval.
    seed
        Seed of the stalls, and of registers and memories without an initial value.
    wave
        FST file to write every signal to. It has its own, slower simulator.
    taps
        Record the inner streams as well.
    single
        One frame at a time: the next is offered when the last output beat of the one before is
        out.
    on_progress
        Called with (beats moved, beats in all).
    on_step
        Called with a name and seconds after compiling and after running.

    Raises
    ------
    SimulationError
        The design stopped moving, or its output broke the contract of AXI4-Stream.
    ToolError
        ``folder`` is no build directory, or a tool is missing or failed.
    """
    design = Design.load(folder)
    run = run_raw(folder, design, x, stall=stall, seed=seed, wave=wave, taps=taps, single=single,
                  on_progress=on_progress, on_step=on_step)
    if run.error:
        raise SimulationError(f"{folder}: {run.error}")
    return SimResult(
        outputs=run.outputs,
        frame_interval_cycles=frame_interval(run.frames),
        latency_cycles=_latency(run.frames[0]),
        total_cycles=run.total_cycles,
        taps={tap.tensor: values for tap, values in run.taps},
        frame_latencies=tuple(map(_latency, run.frames)),
        fifo_peaks=run.fifo_peaks)


def _latency(frame: FrameClocks) -> int:
    return frame.last_output - frame.first_input + 1


def single_stream(folder: Path | str, x: np.ndarray, seed: int = 0,
                  on_step: OnStep | None = None) -> dict[str, int | float]:
    """Latencies of :data:`~hwgen.figures.SINGLE_STREAM_FRAMES` frames, each sent when the result
    of the one before is out: the first of ``x``, again and again if there are fewer."""
    frames = np.resize(x, (SINGLE_STREAM_FRAMES, *x.shape[1:]))
    return spread(simulate(folder, frames, seed=seed, single=True,
                           on_step=on_step).frame_latencies)


def run_raw(folder: Path | str, design: Design, x: np.ndarray, *, stall: float = 0.0,
            seed: int = 0, wave: Path | str | None = None, taps: bool = False,
            single: bool = False, on_progress: Progress | None = None,
            on_step: OnStep | None = None) -> RawRun:
    """Like :func:`simulate`, but a run that ends early returns what there was until then."""
    x = check_frames(design, x)
    if not 0 <= stall < 1:
        raise HwgenError(f"stall is {stall}; choose a probability from 0 up to, but not, 1")
    root = Path(folder).resolve()
    # Signals of a wave file are those of the design alone.
    fifos = () if wave is not None or taps else design.fifos
    begun = perf_counter()
    program = _compiled(root, design, wave=wave is not None, taps=taps, fifos=bool(fifos))
    compiled = perf_counter()
    if on_step is not None and not single:
        on_step("compiled simulator", compiled - begun)
    tapped = design.taps if taps else ()
    source, sink = design.input.stream, design.output.stream
    longest, watchdog = stall_limits(design)
    with tempfile.TemporaryDirectory(prefix="run-", dir=root / "sim") as work:
        input_file, output_file = Path(work, "input.bin"), Path(work, "output.bin")
        write_beats(input_file, source, x)
        options = {
            "frames": len(x), "in-beats": source.beats, "out-beats": sink.beats,
            "in-bytes": beat_bytes(source), "out-bytes": beat_bytes(sink), "stall": stall,
            "seed": seed % 2**63, "longest-stall": longest, "watchdog": watchdog,
            "single": int(single),
            "input": input_file, "output": output_file}
        if wave is not None:
            options["wave"] = Path(wave).resolve()
        for n, tap in enumerate(tapped):
            options |= {f"tap{n}": Path(work, f"tap{n}.bin"),
                        f"tap{n}-bytes": beat_bytes(tap.stream)}
        command = [str(program), *(str(word) for name, value in options.items()
                                   for word in (f"--{name}", value))]
        ran = execute(command, root / "rtl", Path(work, "stderr"),
                      len(x) * (source.beats + sink.beats), on_progress)
        if on_step is not None:
            on_step("simulation, one frame at a time" if single else "simulation",
                    perf_counter() - compiled)
        return RawRun(read_beats(output_file, sink), ran.frames, ran.total_cycles, ran.error,
                      [(tap, read_beats(Path(work, f"tap{n}.bin"), tap.stream))
                       for n, tap in enumerate(tapped)],
                      {fifo.name: peak for fifo, peak in zip(fifos, ran.peaks)})


def stall_limits(design: Design) -> tuple[int, int]:
    """(longest stall of an end, clocks without a beat that count as a deadlock)."""
    interval = max(design.frame_interval_cycles, design.input.stream.beats,
                   design.output.stream.beats)
    # Some beat enters or leaves within a frame interval, or a latency, of the last; and each end
    # may stall for half an interval.
    return interval // 2, 2 * interval + design.latency_cycles + 1000


def check_frames(design: Design, x: np.ndarray) -> np.ndarray:
    """``x`` as int64 frames; HwgenError unless it is one or more frames of the input."""
    x = np.asarray(x)
    stream, shape = design.input.stream, design.input.shape
    if x.ndim != 4 or x.shape[1:] != shape or not len(x):
        raise HwgenError(f"{design.input.tensor}: input has shape {list(x.shape)}, expected "
                         f"[frames, {', '.join(map(str, shape))}] with one frame or more")
    if not np.issubdtype(x.dtype, np.integer):
        raise HwgenError(f"{design.input.tensor}: input has type {x.dtype}, expected integers")
    good = stream.dtype.contains(x)
    if not good.all():
        raise HwgenError(f"{design.input.tensor}: value {x[~good].flat[0]} is not a {stream.dtype}")
    return x.astype(np.int64)


@dataclass
class Records:
    """What a simulator printed.

    Parameters
    ----------
    frames
        Clocks of each frame.
    total_cycles
        Clocks in all.
    counted
        Clocks whose activity was counted.
    error
        Why it ended early.
    peaks
        Most beats in each FIFO.
    """

    frames: list[FrameClocks]
    total_cycles: int = 0
    counted: int = 0
    error: str | None = None
    peaks: list[int] = field(default_factory=list)


def execute(command: list[str], cwd: Path, stderr: Path, beats: int,
            on_progress: Progress | None) -> Records:
    """Run a simulator and read its records; ToolError if it fails without a word."""
    records = Records([])
    inputs: list[tuple[int, int]] = []
    outputs: list[int] = []
    with open(stderr, "wb") as log, \
            subprocess.Popen(command, cwd=cwd, stdout=subprocess.PIPE, stderr=log,
                             text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            kind, _, rest = line.rstrip("\n").partition(" ")
            if kind == "progress" and on_progress:
                on_progress(sum(map(int, rest.split())), beats)
            elif kind == "input":
                first, last = map(int, rest.split())
                inputs.append((first, last))
            elif kind == "output":
                outputs.append(int(rest))
            elif kind == "fifo":
                records.peaks.append(int(rest.split()[1]))
            elif kind == "done":
                records.total_cycles = int(rest)
            elif kind == "counted":
                records.counted = int(rest)
            elif kind == "error":
                records.error = rest
    # A frame's last output beat may come before its last input beat.
    records.frames = [FrameClocks(*clocks, out) for clocks, out in zip(inputs, outputs)]
    if process.returncode and records.error is None:
        lines = stderr.read_text(errors="replace").strip().splitlines()
        raise ToolError(f"the simulator failed with status {process.returncode}: "
                        + (lines[-1] if lines else "no message"))
    return records


# Beats and bytes. A beat is the little-endian bytes of its word, lane 0 in the lowest bits.

def beat_bytes(stream: TensorStream) -> int:
    """Bytes of a beat on the ports of the top."""
    return -(-stream.data_width // 8)


def pack_beats(stream: TensorStream, x: np.ndarray) -> np.ndarray:
    """Frames (frames, H, W, C) to bytes (beats, bytes of a beat), uint8."""
    width = stream.dtype.width
    codes = np.ascontiguousarray(stream.dtype.encode(x).reshape(-1), dtype="<i8")
    bits = np.unpackbits(codes.view(np.uint8).reshape(-1, 8), axis=1, count=width,
                         bitorder="little")
    return np.packbits(bits.reshape(-1, stream.data_width), axis=1, bitorder="little")


def unpack_beats(stream: TensorStream, beats: np.ndarray) -> np.ndarray:
    """Inverse of :func:`pack_beats`; beats of whole frames."""
    width = stream.dtype.width
    bits = np.unpackbits(beats, axis=1, count=stream.data_width, bitorder="little")
    codes = np.packbits(bits.reshape(-1, width), axis=1, bitorder="little")
    whole = np.zeros((len(codes), 8), dtype=np.uint8)
    whole[:, :codes.shape[1]] = codes
    return stream.dtype.decode(whole.view("<i8")[:, 0]).reshape(-1, *stream.shape)


def _frames_at_a_time(stream: TensorStream) -> int:
    return max(1, CHUNK // (stream.pixels * stream.channels))


def write_beats(file: Path, stream: TensorStream, x: np.ndarray) -> None:
    """Write frames as a file of beats."""
    step = _frames_at_a_time(stream)
    with open(file, "wb") as out:
        for start in range(0, len(x), step):
            out.write(pack_beats(stream, x[start:start + step]).tobytes())


def read_beats(file: Path, stream: TensorStream) -> np.ndarray:
    """Frames of a file of beats; a last frame that is not whole is left out."""
    size = beat_bytes(stream)
    frame_bytes = stream.beats * size
    frames = file.stat().st_size // frame_bytes
    values = np.empty((frames, *stream.shape), dtype=np.int64)
    step = _frames_at_a_time(stream)
    with open(file, "rb") as data:
        for start in range(0, frames, step):
            count = min(step, frames - start)
            beats = np.frombuffer(data.read(count * frame_bytes), dtype=np.uint8)
            values[start:start + count] = unpack_beats(stream, beats.reshape(-1, size))
    return values


# The compiled simulator.

def _compiled(root: Path, design: Design, *, wave: bool, taps: bool, fifos: bool) -> Path:
    """Path of the simulator's program, made unless DIR/sim has it already."""
    kind = "simulate" + "-wave" * wave + "-taps" * taps
    sources = design.files(root)
    harness, fst = data_folder("sim") / "harness.cpp", data_folder("sim") / "fst"
    wrapper = watch_wrapper(design, taps=taps, fifos=fifos) if taps or fifos else None
    top = "hwgen_watch" if wrapper else design.top
    verilator = find_verilator()
    bundled_fst = wave and (verilator.root / "include" / "fstcpp").is_dir()
    verilog = ["--cc", "--exe", "--prefix", f"V{top}", "--top-module", top, "--no-timing",
               "-O3", "--x-assign", "fast", "--x-initial", "unique", "-Wno-fatal", "-Wno-lint",
               "-Wno-style", "--output-split", "20000", "-CFLAGS", "-std=c++17",
               "-LDFLAGS", "-pthread", *(["--trace-fst"] if wave else [])]
    config = (f'#include "V{top}.h"\nusing Top = V{top};\n#define HWGEN_TAPS(T) '
              + " ".join(f"T({n})" for n in range(len(design.taps) if taps else 0))
              + f"\n#define HWGEN_FIFOS {len(design.fifos) if fifos else 0}\n")
    # Of Verilator's library only the writer of waves takes much of the time.
    make = verilator.make_settings("-O2", "-O1" if wave else "-O0")
    if bundled_fst:
        # Verilator's FST writer needs LZ4 and zlib; sim/fst stands in for both.
        verilog += ["-CFLAGS", "-I."]
        make += ["LDLIBS="]
    key = hashlib.sha256()
    for part in (kind, verilator.version, str(verilator.root), config, wrapper or "", *verilog,
                 *make):
        key.update(part.encode() + b"\0")
    for file in (*sources, *(root / name for name in design.memories), harness,
                 *sorted(fst.glob("*.h"))):
        key.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    program = root / "sim" / f"{kind}-{key.hexdigest()[:16]}"
    if program.is_file():
        return program
    (root / "sim").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="build-", dir=_place_without_spaces(root)) as name:
        work = Path(name)
        files = [harness, *sources, *(fst.glob("*.h") if bundled_fst else ())]
        for file in files:
            shutil.copy(file, work / file.name)
        (work / "harness_config.h").write_text(config)
        verilog_names = [source.name for source in sources]
        if wrapper:
            (work / "hwgen_watch.v").write_text(wrapper)
            verilog_names.append("hwgen_watch.v")
        log = root / "sim" / f"{kind}.log"
        environment = verilator.environment()
        run_logged("Verilator",
                   verilator.command(*verilog, "--Mdir", ".", "-o", "simulator", "harness.cpp",
                                     *verilog_names), work, environment, log)
        run_logged("the C++ compiler",
                   [verilator.tools.make, "-f", f"V{top}.mk", "-j", "2", *make], work,
                   environment, log, append=True)
        for old in (root / "sim").glob(f"{kind}-????????????????"):
            old.unlink()
        fresh = program.with_suffix(".new")
        shutil.copy(work / "simulator", fresh)
        os.replace(fresh, program)
    return program


def _place_without_spaces(root: Path) -> Path | None:
    """Where to compile: make refuses folders with spaces, so then in the temporary folder."""
    return None if any(c.isspace() for c in str(root)) else root / "sim"


def run_logged(name: str, command: list[str], cwd: Path, environment: dict[str, str], log: Path,
               append: bool = False) -> None:
    """Run a tool with its messages in ``log``; ToolError with its first error if it fails."""
    with open(log, "ab" if append else "wb") as out:
        start = out.tell()
        done = subprocess.run(command, cwd=cwd, env=environment, stdout=out,
                              stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
    if done.returncode:
        with open(log, "rb") as text:
            text.seek(start)
            lines = text.read().decode(errors="replace").strip().splitlines()
        errors = [line for line in lines if "error" in line.lower()]
        reason = (errors or lines[-1:] or ["no message"])[0]
        raise ToolError(f"{name} failed: {reason}; see {log}")


def watch_wrapper(design: Design, *, taps: bool, fifos: bool) -> str:
    """Verilog of a module around the top that brings its inner streams out, and counts what is in
    its FIFOs."""
    source, sink = (8 * beat_bytes(port.stream) for port in (design.input, design.output))
    ports = ["input clk", "input rst", f"input [{source - 1}:0] s_axis_tdata",
             "input s_axis_tvalid", "output s_axis_tready", "input s_axis_tlast",
             f"output [{sink - 1}:0] m_axis_tdata", "output m_axis_tvalid",
             "input m_axis_tready", "output m_axis_tlast"]
    body = [f"  {design.top} dut(.*);"]
    for n, tap in enumerate(design.taps if taps else ()):
        ports += [f"output [{tap.stream.data_width - 1}:0] tap{n}_tdata", f"output tap{n}_transfer"]
        signal = f"dut.{tap.signal}"
        body += [f"  assign tap{n}_tdata = {signal}_tdata;",
                 f"  assign tap{n}_transfer = {signal}_tvalid & {signal}_tready;"]
    if fifos:
        ports.append(f"output [{32 * len(design.fifos) - 1}:0] fifo_peaks")
        for n, fifo in enumerate(design.fifos):
            body += _level_counter(n, fifo)
    return "\n".join([f"module hwgen_watch({', '.join(ports)});", *body, "endmodule", ""])


def _level_counter(n: int, fifo: FifoInfo) -> list[str]:
    """Lines that count FIFO number ``n``.

    A beat that enters needs its place in the same clock; one that leaves frees its own behind it.
    """
    put, get = (" & ".join(f"dut.{signal}" for signal in signals)
                for signals in (fifo.puts, fifo.gets))
    return [f"  reg [31:0] level_{n}, peak_{n};",
            f"  wire put_{n} = {put};",
            f"  wire get_{n} = {get};",
            f"  wire [31:0] held_{n} = level_{n} + 32'(put_{n});",
            "  always @(posedge clk)",
            f"    if (rst) begin level_{n} <= 0; peak_{n} <= 0; end",
            f"    else if (put_{n} | get_{n}) begin",
            f"      level_{n} <= held_{n} - 32'(get_{n});",
            f"      if (held_{n} > peak_{n}) peak_{n} <= held_{n};",
            "    end",
            f"  assign fifo_peaks[{32 * n + 31}:{32 * n}] = peak_{n};"]
