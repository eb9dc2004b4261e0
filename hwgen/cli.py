"""Command line of hwgen."""

import gc
import os
import shlex
import sys
import warnings
from pathlib import Path
from typing import Any

import click
import numpy as np
from rich.table import Table

from . import __version__
from .accuracy import load_labels, top1, top1_line
from .activity import settling_frames
from .boards import list_boards, load_board, parse_budget
from .build import build, check_folder
from .cli_options import (
    Count,
    Number,
    array_options,
    folder_argument,
    input_type_option,
    json_option,
    labels_option,
    long_running,
    model_argument,
    stall_options,
)
from .design import Design
from .errors import HwgenError
from .files import check_writable, save_array
from .golden import golden_part, load_input, model_output, run_in_batches
from .graph import Graph
from .host import host_lines, host_work
from .model import Model, load_model
from .passes import run_pipeline
from .planning import DEFAULT_SHARE, Target
from .power import check_family, estimate
from .power_table import render_power
from .report import load_report, render, update_report
from .resources import Resources
from .simulate import simulate, single_stream
from .summary import layer_rows, layer_table
from .synth import has_netlists, synthesize
from .terminal import print_json, print_result, progress
from .verify import verify

__all__ = ["entry_point", "main"]

POWER_CLOCKS = 1_000_000  # that `hwgen power` counts where the frames are many, about
POWER_FRAMES = 8  # random ones, of small networks


def entry_point() -> None:
    # Millions of small objects live as long as the command; by default Python would look through
    # them again and again for cycles.
    gc.set_threshold(50_000, 20, 100)
    sys.exit(main())


def main(arguments: list[str] | None = None) -> int:
    """Run a command.

    Returns
    -------
    int
        0 done, 1 the model can't be built or a check failed, 2 wrong usage, 130 interrupted.
        What is wrong goes to standard error, one line each.
    """
    try:
        given = sys.argv[1:] if arguments is None else arguments
        status = cli.main(given, prog_name="hwgen", standalone_mode=False,
                          obj=shlex.join(["hwgen", *given]))
        sys.stdout.flush()
        return status if isinstance(status, int) else 0
    except HwgenError as error:
        _complain(*error.problems)
        return 1
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return 2
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        hint = f"; see `{context.command_path} --help`" if context else ""
        _complain(error.format_message().rstrip(".") + hint)
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        warnings.simplefilter("ignore")  # Amaranth's, about hardware that is left half built
        print("hwgen: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader of our output has gone; Python would complain again when it closes the pipe.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        # Permissions, a full disk: wherever they show, they are the user's to mend.
        _complain(f"{error.filename}: {error.strerror}" if error.filename
                  else error.strerror or str(error))
        return 1


def _complain(*problems: str) -> None:
    for problem in problems:
        print("hwgen: error: " + " ".join(problem.splitlines()), file=sys.stderr)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.version_option(__version__, prog_name="hwgen")
def cli() -> None:
    """Turn quantized neural networks into FPGA dataflow accelerators."""


@cli.command("check")
@model_argument
@input_type_option
@json_option
def check_command(model: Path, input_type: str | None, as_json: bool) -> None:
    """Validate MODEL; list every problem, or the layers."""
    graph = _load(model, input_type).to_graph()
    run_pipeline(graph)  # says what can't be made exact
    _show_layers(graph, as_json)


@cli.command("import")
@model_argument
@click.option("-o", "--output", "output_file", type=click.Path(path_type=Path), metavar="FILE.json",
              help="Description to write, its arrays beside it.  [default: MODEL's name, here]")
@input_type_option
@json_option
def import_command(model: Path, output_file: Path | None, input_type: str | None,
                   as_json: bool) -> None:
    """Turn an ONNX file (QONNX, QCDQ) into a model description."""
    if model.suffix.lower() != ".onnx":
        raise click.UsageError(f"{model}: is no .onnx file; only those are imported")
    target = output_file or Path(f"{model.stem}.json")
    if target.suffix != ".json":
        raise click.UsageError(f"--output {target}: must end in .json")
    for file in (target, target.with_suffix(".npz")):
        check_writable(file)
    with progress("importing"):
        loaded = _load(model, input_type)
        graph = loaded.to_graph()
        run_pipeline(graph)  # says what can't be made exact, before anything is written
    loaded.save_file(target)
    _show_layers(graph, as_json)
    print(f"hwgen: the description is in {target}", file=sys.stderr)


def _show_layers(graph: Graph, as_json: bool) -> None:
    rows = layer_rows(graph)
    if as_json:
        print_json(rows)
        return
    print_result(layer_table(graph.name, rows))
    for line in host_lines(host_work(graph)):
        print(line)


@cli.command("build")
@model_argument
@input_type_option
@click.option("--board", default="zybo-z7010", metavar="BOARD",
              help="Board name (see `hwgen boards`) or YAML file.")
@click.option("-o", "--output", "folder", type=click.Path(path_type=Path), default=Path("build"),
              metavar="DIR", help="Directory to make; an earlier build in it is replaced.")
@click.option("--fps", type=Number(0, min_open=True), metavar="N",
              help="The smallest design that reaches N frames per second.")
@click.option("--max-fps", is_flag=True, help="The fastest design that fits the board.")
@click.option("--fold", type=click.Path(path_type=Path), metavar="FILE",
              help="Folding of each layer, as in a build's fold.json.")
@click.option("--clock-mhz", type=Number(0, min_open=True), metavar="F",
              help="Clock of the design.  [default: the board's]")
@click.option("--budget", metavar="LUT=80%,BRAM=100%,...",
              help=f"Resources the design may take.  [default: all of the board with --fps, "
              f"--max-fps or --fold, else {DEFAULT_SHARE:.0%} of it]")
@click.option("--verify", "verify_frames", type=Count(1), metavar="N",
              help="Then verify N random frames.")
@click.option("--synth", "with_synth", is_flag=True, help="Then synthesize.")
@long_running
@json_option
@click.pass_obj
def build_command(command: str, model: Path, input_type: str | None, board: str, folder: Path,
                  fps: float | None, max_fps: bool, fold: Path | None,
                  clock_mhz: float | None, budget: str | None, verify_frames: int | None,
                  with_synth: bool, verbose: bool, as_json: bool) -> None:
    """Turn MODEL into Verilog, constraints, tool scripts, test bench and report.

    Without --fps, --max-fps or --fold: the fastest design within the budget.
    """
    if (fps is not None) + max_fps + (fold is not None) > 1:
        raise click.UsageError("--fps, --max-fps and --fold exclude each other")
    _check_target(folder)
    chip = load_board(board)
    share = 1.0 if fps is not None or max_fps or fold is not None else DEFAULT_SHARE
    if budget is None:
        allowed = Resources(*(share * available for available in chip.limits.values))
    else:
        try:
            allowed = parse_budget(budget, chip)
        except HwgenError as error:
            raise click.UsageError("--" + "; ".join(error.problems)) from None
    target = Target(chip, clock_mhz or chip.clock_mhz, allowed, fps, fold)

    with progress("building", verbose) as talk:
        with talk.step("reading the model"):
            loaded = _load(model, input_type)
        try:
            report = build(loaded, target, folder, talk.on_step, command=command)
        except OSError as error:
            raise HwgenError(f"{folder}: can't be written: {error.strerror}; "
                             "give another folder with -o") from None
    if verify_frames:
        report = _verify(command, folder, verify_frames, 0.25, 0, None, verbose)
    if with_synth:
        report = _synthesize(command, folder, verbose)
    _show_report(report, as_json)
    print(f"hwgen: the design is in {folder}", file=sys.stderr)


@cli.command("golden")
@model_argument
@input_type_option
@array_options
@labels_option
@click.option("--layer", metavar="NAME", help="Give an inner tensor instead of the output.")
@long_running
def golden_command(model: Path, input_type: str | None, input_file: Path, output_file: Path,
                   raw: bool, labels_file: Path | None, layer: str | None,
                   verbose: bool) -> None:
    """Run the golden model of MODEL."""
    if labels_file is not None and layer is not None:
        raise click.UsageError("--labels and --layer exclude each other")
    check_writable(output_file)
    with progress("running the golden model", verbose) as talk:
        with talk.step("reading the model"):
            graph = _load(model, input_type).to_graph()
            part = golden_part(graph, layer)
        with talk.step("reading the frames"):
            codes = load_input(graph, input_file, raw)
            labels = None if labels_file is None else load_labels(part, labels_file, len(codes))
        with talk.step("golden model"):
            outputs = run_in_batches(part, codes)
    save_array(output_file, model_output(part, outputs, raw))
    if labels is not None:
        print(top1_line(top1(part, outputs, labels)))


@cli.command("simulate")
@folder_argument
@array_options
@labels_option
@stall_options(0.0)
@click.option("--wave", type=click.Path(path_type=Path), metavar="FILE.fst",
              help="Write the waves of all signals.")
@long_running
@json_option
@click.pass_obj
def simulate_command(command: str, folder: Path, input_file: Path, output_file: Path, raw: bool,
                     labels_file: Path | None, stall: float, seed: int, wave: Path | None,
                     verbose: bool, as_json: bool) -> None:
    """Run frames through the Verilog in DIR, in Verilator.

    Clocks per frame are those between the last two frames; latency is from the first input beat
    of the first frame to its last output beat, both counted. Without stalls and waves, five
    frames then run one at a time.
    """
    check_writable(output_file)
    if wave is not None:
        check_writable(wave)
    with progress("simulating", verbose) as talk:
        with talk.step("reading the model and the frames"):
            graph = _built_graph(folder)
            x = _frames(graph, input_file, raw)
            labels = None if labels_file is None else load_labels(graph, labels_file, len(x))
        result = simulate(folder, x, stall=stall, seed=seed, wave=wave, on_progress=talk.count,
                          on_step=talk.on_step)
        single = None
        if stall == 0 and wave is None:
            single = single_stream(folder, x, seed, on_step=talk.on_step)
    save_array(output_file, model_output(graph, result.outputs, raw))
    values = result.as_dict() | {"stall": stall, "seed": seed, "single_stream": single,
                                 "command": command}
    if stall == 0:
        update_report(folder, "sim", values)
    if labels is not None:
        values["accuracy"] = top1(graph, result.outputs, labels)
        update_report(folder, "accuracy", values["accuracy"])
    if as_json:
        print_json(values)
        return
    design = Design.load(folder)
    clocks = result.frame_interval_cycles
    rate = f", {design.clock_mhz * 1e6 / clocks:,.1f} frames/s" if clocks and not stall else ""
    print(f"{len(x)} frames in {result.total_cycles:,} clocks")
    print(f"clocks per frame {clocks:,}{rate}" if clocks else "clocks per frame: needs two frames")
    print(f"latency {result.latency_cycles:,} clocks")
    if single is not None:
        print(f"one frame at a time: latency {single['median_cycles']:,} clocks, median of "
              f"{single['frames']}")
    if labels is not None:
        print(top1_line(values["accuracy"]))


@cli.command("verify")
@folder_argument
@click.option("--frames", type=Count(1), default=3,
              help="Frames to send; three or more also prove the predicted clocks per frame.")
@click.option("--input", "input_file", type=click.Path(path_type=Path), metavar="FILE.npy",
              help="Take the frames from this file instead of random ones (raw integers).")
@stall_options(0.25)
@long_running
@json_option
@click.pass_obj
def verify_command(command: str, folder: Path, frames: int, input_file: Path | None, stall: float,
                   seed: int, verbose: bool, as_json: bool) -> None:
    """Compare the Verilog in DIR with the golden model, bit by bit.

    Runs at full speed and then with random stalls at both ends (not with --stall 0). On a
    difference: exit 1 and the first layer, pixel and channel that differ.
    """
    report = _verify(command, folder, frames, stall, seed, input_file, verbose)
    values = report["verify"]
    if as_json:
        print_json(values)
        return
    print(f"{values['frames']} frames equal the golden model bit for bit: "
          f"{', '.join(values['tests']).replace('_', ' ')}")
    if values["frame_interval_cycles"]:
        print(f"clocks per frame {values['frame_interval_cycles']:,}, "
              f"predicted {values['predicted_interval_cycles']:,}")
    print(f"latency {values['latency_cycles']:,} clocks, "
          f"predicted {values['predicted_latency_cycles']:,}")


@cli.command("synth")
@folder_argument
@long_running
@json_option
@click.pass_obj
def synth_command(command: str, folder: Path, verbose: bool, as_json: bool) -> None:
    """Synthesize the Verilog in DIR with Yosys for the board's family."""
    report = _synthesize(command, folder, verbose)
    if as_json:
        print_json(report["synth"])
    else:
        print_result(render(report))


@cli.command("power")
@folder_argument
@click.option("--input", "input_file", type=click.Path(path_type=Path), metavar="FILE.npy",
              help="Frames to take the activity from; without it random ones.")
@click.option("--raw", is_flag=True, help="The file holds integers, not real values.")
@click.option("--frames", type=Count(1), metavar="N",
              help="Frames to count, after those until the pipeline is full.  [default: as many as "
              f"fit {POWER_CLOCKS:,} clocks, up to {POWER_FRAMES} or those of the file]")
@click.option("--seed", type=int, default=0, help="Seed of random frames.")
@long_running
@json_option
@click.pass_obj
def power_command(command: str, folder: Path, input_file: Path | None, raw: bool,
                  frames: int | None, seed: int, verbose: bool, as_json: bool) -> None:
    """Estimate the power of the design in DIR from its activity on frames.

    Simulates the mapped netlist, counts how often each net changes, and adds up the energies of
    nets and cells, the clock tree, and the static power of the board file. Synthesizes first
    where that has not been done.
    """
    report = _power(command, folder, input_file, raw, frames, seed, verbose)
    if as_json:
        print_json(report["power"])
    else:
        print_result(render_power(report))


@cli.command("report")
@folder_argument
@json_option
def report_command(folder: Path, as_json: bool) -> None:
    """Print the report of the design in DIR, and write it as a page, DIR/report.html."""
    report = load_report(folder)
    _show_report(report, as_json)
    with progress("drawing"):
        from .page import write_page  # Bokeh takes long to load

        page = write_page(folder, report)
    print(f"hwgen: the page is {page}", file=sys.stderr)


@cli.command("boards")
@json_option
def boards_command(as_json: bool) -> None:
    """List the boards that come with hwgen."""
    boards = [load_board(name) for name in list_boards()]
    if as_json:
        print_json([board.model_dump() for board in boards])
        return
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("board")
    table.add_column("part")
    for name in ("MHz", "LUT", "LUTRAM", "FF", "BRAM36", "DSP"):
        table.add_column(name, justify="right")
    table.add_column("flow")
    for board in boards:
        r = board.resources
        table.add_row(board.name, board.part, f"{board.clock_mhz:g}", f"{r.lut:,}",
                      f"{r.lutram:,}", f"{r.ff:,}", f"{r.bram36:.4g}", f"{r.dsp}", board.flow)
    print_result(table)


def _load(path: Path, input_type: str | None = None) -> Model:
    if path.suffix.lower() == ".onnx":
        from .onnx_import import import_onnx  # ONNX takes long to load

        return import_onnx(path, input_type)
    if input_type is not None:
        raise click.UsageError("--input-type is for .onnx files; a description states its input's "
                               "type itself")
    return load_model(path)


def _built_graph(folder: Path) -> Graph:
    Design.load(folder)  # says so if DIR is no build
    return run_pipeline(load_model(folder / "model" / "model.json").to_graph())


def _check_target(folder: Path) -> None:
    """HwgenError unless a design can be put into ``folder``: before the work, not after it."""
    check_folder(folder)
    place = next(parent for parent in folder.absolute().parents if parent.exists())
    if not place.is_dir():
        raise HwgenError(f"{folder}: {place} is a file; give another folder with -o")
    if not os.access(place, os.W_OK | os.X_OK):
        raise HwgenError(f"{folder}: can't be written: no permission in {place}; "
                         "give another folder with -o")


def _frames(graph: Graph, file: Path, raw: bool) -> np.ndarray:
    """Integers of a file with at least one frame."""
    x = load_input(graph, file, raw)
    if not len(x):
        raise HwgenError(f"{file}: holds no frame")
    return x


def _random_frames(graph: Graph, count: int, seed: int) -> np.ndarray:
    kind, rng = graph.input_tensor.dtype, np.random.default_rng(seed)
    shape = (count, *graph.input_tensor.shape)
    return rng.choice([-1, 1], shape) if kind.bipolar else \
        rng.integers(kind.low, kind.high + 1, shape)


def _power(command: str, folder: Path, input_file: Path | None, raw: bool, frames: int | None,
           seed: int, verbose: bool) -> dict[str, Any]:
    design = Design.load(folder)
    check_family(design.family)
    graph = _built_graph(folder)
    most = max(1, POWER_CLOCKS // design.frame_interval_cycles)
    if input_file is not None:
        x = _frames(graph, input_file, raw)
        count = frames or min(most, len(x))
        source: dict[str, Any] = {"input": input_file.name}
    else:
        count = frames or min(most, POWER_FRAMES)
        x = _random_frames(graph, count + settling_frames(design), seed)
        source = {"input": "random", "seed": seed}
    x = x[:count + settling_frames(design)]  # those behind are not simulated
    if not has_netlists(folder):
        _synthesize(command, folder, verbose)
    with progress("simulating the mapped netlist", verbose) as talk:
        with talk.step("golden model"):
            expected = run_in_batches(graph, x)
        with talk.step("activity and power"):
            result = estimate(folder, x, expected, count, source=source, on_progress=talk.count)
    return update_report(folder, "power", result.as_dict() | {"command": command})


def _verify(command: str, folder: Path, frames: int, stall: float, seed: int,
            input_file: Path | None, verbose: bool) -> dict[str, Any]:
    graph = _built_graph(folder)
    x = _frames(graph, input_file, raw=True) if input_file is not None \
        else _random_frames(graph, frames, seed)
    with progress("verifying", verbose) as talk:
        result = verify(folder, graph, x, stall=stall, seed=seed, on_progress=talk.count,
                        on_step=talk.on_step)
    return update_report(folder, "verify", {
        "frames": result.frames, "tests": list(result.tests), "stall": stall, "seed": seed,
        "frame_interval_cycles": result.frame_interval_cycles,
        "predicted_interval_cycles": result.predicted_interval_cycles,
        "latency_cycles": result.latency_cycles,
        "predicted_latency_cycles": result.predicted_latency_cycles, "command": command})


def _synthesize(command: str, folder: Path, verbose: bool) -> dict[str, Any]:
    with progress("synthesizing", verbose) as talk:
        result = synthesize(folder, on_step=talk.on_step,
                            on_progress=lambda done, total, _: talk.count(done, total))
    return update_report(folder, "synth", result.as_dict() | {"command": command})


def _show_report(report: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(report)
    else:
        print_result(render(report))
