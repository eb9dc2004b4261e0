"""Estimated against synthesized resources: layers of networks, blocks, or adders.

    python benchmarks/estimates.py [--networks N] [--zoo FOLDER] [--seed N] [--only NAME ...]
                                   [--board NAME] [-o FILE.json]
    python benchmarks/estimates.py --blocks N [--seed N]
    python benchmarks/estimates.py DIR ...
    python benchmarks/estimates.py --sums N [--seed N]

Builds the examples, random networks and those of FOLDER/NAME/model.onnx for a Zybo Z7-10, or
another board, in three foldings each: the smallest, the fastest in 70 % of the chip (in all of it
where nothing else fits) and one between. Synthesizes them and prints LUT, FF, block RAM and DSP
slices of each layer as estimated and as Yosys counts them, where they differ most; then the median
and the worst error of layers, and the sums of designs. ``--only`` takes the networks of these names
(``digits/model``, ``random3``). An error counts as small up to 15 % or 20 LUTs. Last the blocks
that have a path of more LUT levels or carry chains than a block should.

With ``--blocks`` that of random neuron layers and sliding windows, with DIR that of the blocks of
build directories. With ``--sums`` makes the adders of random layers with constant weights, without
synthesis, prints their LUTs and flip-flops as estimated and as counted, and what a fit to these
alone would be.
"""

import argparse
import json
import shutil
import sys
import tempfile
from collections import defaultdict
from collections.abc import Container, Iterable, Iterator
from dataclasses import astuple
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from hwgen.arith.constant_estimate import estimated_sums, size_of
from hwgen.arith.constant_sums import constant_sums, signed_digits
from hwgen.blocks.block import Block
from hwgen.blocks.neuron_layer import NeuronLayerConfig
from hwgen.blocks.window import WindowGeometry
from hwgen.blocks.window_reader import WindowReaderConfig
from hwgen.blocks.window_shift import WindowShiftConfig
from hwgen.boards import Board, load_board
from hwgen.build import write_build
from hwgen.design import BlockInfo, Design, StreamPort
from hwgen.errors import BoardError, ModelError
from hwgen.graph import Graph
from hwgen.hardware import INPUT, HwGraph, HwNode, Source
from hwgen.lower import plan_layers
from hwgen.model import Model, load_model
from hwgen.onnx_import import import_onnx
from hwgen.ops import Requantize, Threshold
from hwgen.passes import run_pipeline
from hwgen.planning import DEFAULT_SHARE, Built, Target, plan_design
from hwgen.resources import Resources
from hwgen.streams import TensorStream
from hwgen.synth import SynthResult, synthesize
from hwgen.types import BIPOLAR, TERNARY, NumType, int_type, smallest_type, uint_type
from hwgen.verilog import write_verilog

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT)]
from tests.random_networks import random_model  # noqa: E402

EXAMPLES, BOARD = ROOT / "examples", "zybo-z7010"
COUNTED = [("lut", "LUT"), ("lutram", "LUTRAM"), ("ff", "FF"), ("bram36", "BRAM36"), ("dsp", "DSP")]
WORST_SHARE, WORST_LUTS = 0.15, 20  # errors up to either are small
SHOWN = 40

Row = tuple[str, str, Resources, Resources, list[str]]
"""Name, blocks, estimate, synthesis, and paths of too many LUT levels or carry chains."""

TYPES = (BIPOLAR, TERNARY, uint_type(1), uint_type(2), uint_type(4), int_type(4), int_type(8),
         uint_type(8))
LARGEST = 400  # bits of products per clock: keeps a run of 40 blocks to a few minutes
SUM_BITS = (512, 16384)  # of random sums: fewer are counted, not estimated


def random_weights(rng: np.random.Generator, kind: NumType, shape) -> np.ndarray:
    return rng.choice([-1, 1], shape) if kind.bipolar else \
        rng.integers(kind.low, kind.high + 1, shape)


def random_block(rng: np.random.Generator) -> Block:
    """A block as networks have them."""
    activation = TYPES[rng.integers(len(TYPES))]
    if rng.random() < 0.35:
        side, channels = int(rng.choice([8, 14, 28, 54])), int(rng.choice([1, 4, 8, 16]))
        kernel = int(rng.choice([2, 3, 5]))
        pad = kernel // 2 if rng.random() < 0.5 and not activation.bipolar else 0
        geometry = WindowGeometry((kernel, kernel), (int(rng.choice([1, 2])),) * 2, (pad,) * 4)
        lanes = int(rng.choice([n for n in (1, 2, 4, 8, 16) if channels % n == 0]))
        stream = TensorStream(activation, (side, side, channels), lanes)
        if rng.random() < 0.5:
            return WindowShiftConfig(stream, geometry, activation)
        least = WindowReaderConfig(stream, geometry, activation).least_rows
        return WindowReaderConfig(stream, geometry, activation, least + 1)
    weight = TYPES[rng.integers(6)]
    while True:
        simd, pe = (int(rng.choice(n)) for n in ([1, 2, 4, 8, 9, 16, 25, 36, 64], [1, 2, 4, 8]))
        if simd * pe * activation.width * weight.width <= LARGEST:
            break
    inputs = simd * int(rng.choice([1, 4, 9, 16]))
    neurons = pe * int(rng.choice([1, 2, 8, 16, 32]))
    weights = random_weights(rng, weight, (1, inputs, neurons))
    bound = inputs * max(-activation.low, activation.high) * max(-weight.low, weight.high)
    accumulator = smallest_type(-bound, bound)
    kind = rng.integers(3)
    out = uint_type(int(rng.choice([1, 2, 4])))
    activations: tuple = ()
    if kind == 1:
        levels = np.sort(rng.integers(-bound, bound, (neurons, out.high)), axis=1)
        activations = ((Threshold(levels, np.zeros(neurons, bool), out), out),)
    elif kind == 2:
        shift = max(0, accumulator.width - out.width - 2)
        activations = ((Requantize(np.ones(1), np.full(1, shift), 0, "floor", out), out),)
    depth = inputs // simd * (neurons // pe)
    style = "block" if depth > 64 and rng.random() < 0.5 else "logic"
    return NeuronLayerConfig(TensorStream(activation, (8, 8, inputs), simd), weights, weight,
                             rng.integers(-8, 8, neurons), accumulator, activations, pe=pe,
                             style=style, fifo_depth=33)


def random_sums(rng: np.random.Generator) -> tuple[str, np.ndarray, int]:
    """Name, (sums, inputs) weights and bits of an input: dense, sparse, or of filters that resemble
    each other, as trained ones do."""
    while True:
        kind, a_width = TYPES[rng.choice([0, 1, 5, 6])], int(rng.choice([1, 2, 3, 4, 8]))
        shape = int(rng.choice([4, 8, 12, 16, 32, 64])), int(rng.choice([9, 16, 27, 64, 128, 256]))
        form = str(rng.choice(["dense", "sparse", "alike"]))
        values = rng.normal(0, 1, shape)
        if form == "alike":
            values = 0.6 * values + 0.8 * rng.normal(0, 1, (4, shape[1]))[
                rng.integers(0, 4, shape[0])]
        weights = np.where(values < 0, -1, 1) if kind.bipolar else np.clip(
            np.rint(values * max(1, kind.high / 3)), -kind.high, kind.high).astype(int)
        if form == "sparse" and not kind.bipolar:
            weights *= rng.random(shape) < 0.4
        bits = np.count_nonzero(signed_digits(weights)) * a_width
        if SUM_BITS[0] < bits <= SUM_BITS[1]:
            return (f"{form} {kind.name}, {shape[1]} -> {shape[0]}, {a_width} bits an input",
                    weights, a_width)


def show_sums(seed: int, count: int) -> None:
    """Estimates of random sums beside what they take."""
    rng = np.random.default_rng(seed)
    table = Table("sums", "LUT", "FF", "error", box=None)
    sizes, guesses, found = [], [], []
    for _ in range(count):
        name, weights, a_width = random_sums(rng)
        guess = estimated_sums(weights, a_width)
        real = constant_sums(weights, a_width, [62] * len(weights)).compression.resources
        sizes.append(size_of(weights, a_width))
        guesses.append((guess.lut, guess.ff))
        found.append((real.lut, real.ff))
        table.add_row(name, f"{guess.lut:.0f} / {real.lut:.0f}", f"{guess.ff:.0f} / {real.ff:.0f}",
                      f"{guess.lut / real.lut - 1:+.0%}")
    Console(width=120).print(table)
    size, real = np.array(sizes, dtype=float), np.array(found, dtype=float)
    error = abs(np.array(guesses) / real - 1)
    powers = np.c_[np.ones(count), np.log(size[:, 1:])]
    for n, name in enumerate(("LUT", "FF")):
        fit = np.linalg.lstsq(powers, np.log(real[:, n] / size[:, 0]), rcond=None)[0]
        print(f"{name} error median {np.median(error[:, n]):.1%}, worst {max(error[:, n]):.0%}; "
              f"a fit: {', '.join(f'{power:.3f}' for power in fit)}")


def synthesize_blocks(blocks: list[Block], folder: Path) -> SynthResult:
    """Stand-alone blocks, by ``b<number>``."""
    sources, memories, infos = {}, {}, []
    (folder / "rtl").mkdir()
    for n, block in enumerate(blocks):
        name = f"b{n}"
        node = HwNode(name, block, (Source(INPUT),), name)
        alone = HwGraph(name, block.inputs[0], "x", (node,), Source(name), "y")
        with tempfile.TemporaryDirectory() as scratch:
            part = Path(scratch) / "design"
            part.mkdir()
            written = write_verilog(alone, "xc7", part, Path(scratch))
            for kind, names in zip((sources, memories), written):
                for file in names:
                    shutil.copyfile(part / file, folder / file)
                    kind[file] = None
        infos.append(BlockInfo(name, name, type(block).__name__, "b", 1, Resources()))
    port = StreamPort("x", blocks[0].inputs[0])
    Design("blocks", "none", "xc7", 150.0, "hwgen_top", tuple(sources), tuple(memories), port, port,
           (), tuple(infos), 1, 1).save(folder)
    return synthesize(folder)


def rows_of_random(seed: int, count: int) -> Iterator[Row]:
    rng = np.random.default_rng(seed)
    blocks = [random_block(rng) for _ in range(count)]
    with tempfile.TemporaryDirectory() as folder:
        found = synthesize_blocks(blocks, Path(folder))
    for n, block in enumerate(blocks):
        yield (describe(block), type(block).__name__, block.estimate("xc7"), found.blocks[f"b{n}"],
               long_paths(found, [f"b{n}"]))


def networks(count: int, seed: int, zoo: Path | None,
             only: Container[str] = ()) -> Iterator[tuple[str, Model]]:
    """Name and model of the examples, of some random networks and of a folder's; ``only`` those of
    some names, if given."""
    for file in sorted(EXAMPLES.glob("*/*.json")):
        name = f"{file.parent.name}/{file.stem}"
        if not only or name in only:
            yield name, load_model(file)
    for n in range(seed, seed + count):
        if not only or f"random{n}" in only:
            yield f"random{n}", random_model(n)
    for file in sorted(zoo.glob("*/model.onnx")) if zoo else []:
        if only and file.parent.name not in only:
            continue
        try:
            yield file.parent.name, import_onnx(file)
        except ModelError as error:  # no type of its input
            print(f"{file}: left out: {error}", file=sys.stderr)


def foldings(graph: Graph, board: Board) -> Iterator[tuple[str, Target, Built]]:
    """The fastest within 70 % of the board, or all of it where nothing else fits, the smallest, and
    one between in clocks a frame."""

    def target(fps: float | None, share: float = 1.0) -> Target:
        return Target(board, board.clock_mhz, Resources(
            *(share * limit for limit in astuple(board.limits))), fps)

    slow = max(o.cycles for p in plan_layers(graph) for o in p.options(board.family))
    chosen = target(None, DEFAULT_SHARE)
    try:
        fast = plan_design(graph, chosen)
    except BoardError:
        chosen = target(None)
        fast = plan_design(graph, chosen)
    yield "fast", chosen, fast
    between = (slow * fast.timing.interval) ** 0.5
    for name, interval in (("between", between), ("small", slow)):
        chosen = target(board.clock_mhz * 1e6 / interval)
        yield name, chosen, plan_design(graph, chosen)


def rows_of_networks(found: Iterable[tuple[str, Model]], board: Board) -> Iterator[Row]:
    """One row a layer of each folding."""
    for name, model in found:
        seen = set()
        try:
            for folding, target, built in foldings(run_pipeline(model.to_graph()),
                                                   board):
                chosen = str([option.folding for option in built.choice.options.values()])
                if chosen not in seen:
                    seen.add(chosen)
                    yield from rows_of_design(f"{name} {folding}", model, target, built)
        except BoardError as error:
            print(f"{name}: left out: {error}", file=sys.stderr)


def rows_of_design(name: str, model: Model, target: Target, built: Built) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as scratch:
        write_build(model, built, target, Path(scratch) / "build")
        found = synthesize(Path(scratch) / "build")
    blocks: dict[str, list[HwNode]] = defaultdict(list)
    for node in built.hardware.nodes:
        blocks[node.layer].append(node)
    for layer, guess in built.parts.items():
        kinds = (type(node.block).__name__.removesuffix("Config") for node in blocks[layer])
        yield (f"{name} {layer}", " ".join(kinds), guess, found.layers[layer],
               long_paths(found, [node.name for node in blocks[layer]]))


def long_paths(found: SynthResult, names: Iterable[str]) -> list[str]:
    """Of some blocks, what paths have too many LUT levels or carry chains."""
    if found.timing is None:
        return []
    return [f"{path.levels} levels, {path.chains} chains, {path.ns:.2f} ns: {path.start} -> "
            f"{path.end}" for name in names if name in found.timing.blocks
            for path in found.timing.blocks[name].over]


def describe(block: Block) -> str:
    if isinstance(block, NeuronLayerConfig):
        acts = "+".join(type(op).__name__ for op, _ in block.activations) or "none"
        return (f"{block.input.dtype.name} x {block.weight_type.name}, "
                f"{block.weights.shape[1]} -> {block.weights.shape[2]}, pe {block.pe}, "
                f"simd {block.simd}, {block.style}, {acts} {block.output.dtype.name}")
    geometry = getattr(block, "geometry", None)
    kernel = f", kernel {geometry.kernel}, pad {geometry.pad[0]}" if geometry else ""
    return f"{block.inputs[0]}{kernel}"


def rows_of_build(folder: Path) -> Iterator[Row]:
    found = synthesize(folder)
    for block in Design.load(folder).blocks:
        yield (block.name, block.block, block.estimate, found.blocks[block.name],
               long_paths(found, [block.name]))


def show(rows: Iterable[Row], most: int | None, *, designs: bool = False) -> None:
    """Prints the rows, or those with the largest errors, and what errors there are; with
    ``designs``, whose names their layers begin with, those of whole designs too."""
    found = sorted(rows, key=lambda row: -_badness(row))
    table = Table(box=None)
    for name in ("", "blocks", *(name for _, name in COUNTED), "LUT error"):
        table.add_column(name)
    for name, kind, guess, real, _ in found[:most]:
        table.add_row(name, kind, *(f"{getattr(guess, k):.4g} / {getattr(real, k):.4g}"
                                    for k, _ in COUNTED), f"{_error(guess.lut, real.lut):+.0%}")
    Console(width=200).print(table)
    errors = np.array([abs(_error(guess.lut, real.lut)) for _, _, guess, real, _ in found])
    large = [row for row in found if _badness(row) > 1]
    print(f"{len(found)} rows: LUT error median {np.median(errors):.1%}, worst {max(errors):.0%}; "
          f"beyond {WORST_SHARE:.0%} and {WORST_LUTS} LUTs: {len(large)}")
    for key, name in COUNTED:
        pairs = np.array([[getattr(row[2], key), getattr(row[3], key)] for row in found])
        print(f"{name}: {pairs[:, 0].sum():.6g} estimated, {pairs[:, 1].sum():.6g} synthesized"
              + (_of_designs(found, key) if designs else ""))
    print(f"{sum(bool(paths) for *_, paths in found)} with long paths")
    for name, *_, paths in found:
        for path in paths:
            print(f"  {name}: {path}")


def _of_designs(rows: list[Row], key: str) -> str:
    """How many times as much as estimated designs take, least, median and most."""
    sums: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    for name, _, guess, real, _ in rows:
        design = sums[name.rsplit(" ", 1)[0]]
        design[0] += getattr(guess, key)
        design[1] += getattr(real, key)
    ratios = [real / guess for guess, real in sums.values() if guess]
    if not ratios:
        return ""
    text = f"; {len(ratios)} designs take {min(ratios):.2f} to {max(ratios):.2f} times as much"
    return f"{text}, {np.median(ratios):.2f} in the median"


def _error(guess: float, real: float) -> float:
    return (guess - real) / max(real, 1)


def _badness(row: Row) -> float:
    """The error in LUTs, 1 for the largest that counts as small."""
    _, _, guess, real, _ = row
    return abs(guess.lut - real.lut) / max(WORST_SHARE * real.lut, WORST_LUTS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="*", type=Path, metavar="DIR")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--networks", type=int, default=30, metavar="N")
    parser.add_argument("--only", nargs="+", default=(), metavar="NAME")
    parser.add_argument("--board", default=BOARD, metavar="NAME")
    parser.add_argument("--zoo", type=Path, metavar="FOLDER")
    parser.add_argument("--blocks", type=int, metavar="N")
    parser.add_argument("--sums", type=int, metavar="N")
    parser.add_argument("-o", dest="file", type=Path, metavar="FILE.json", help="rows as JSON")
    arguments = parser.parse_args()
    if arguments.sums:
        show_sums(arguments.seed, arguments.sums)
        return
    most = None
    if arguments.folders:
        rows = [row for folder in arguments.folders for row in rows_of_build(folder)]
    elif arguments.blocks:
        rows = list(rows_of_random(arguments.seed, arguments.blocks))
    else:
        most, rows = SHOWN, []
        found = networks(arguments.networks, arguments.seed, arguments.zoo, arguments.only)
        for row in rows_of_networks(found, load_board(arguments.board)):
            rows.append(row)
            if arguments.file:
                arguments.file.write_text(json.dumps([
                    [name, kind, guess.as_dict(), real.as_dict(), paths]
                    for name, kind, guess, real, paths in rows]))
    show(rows, most, designs=most is not None)


if __name__ == "__main__":
    main()
