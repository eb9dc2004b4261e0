"""Estimated against synthesized resources, block by block.

    python benchmarks/estimates.py [--seed N] [--blocks N] [DIR ...]
    python benchmarks/estimates.py --sums N [--seed N]

Synthesizes random neuron layers and sliding windows, or the blocks of the build directories given,
and prints for each LUT, LUTRAM, FF and block RAM as estimated and as Yosys counts them, then the
median and the worst error of the LUTs.

With ``--sums`` makes the adders of random layers with constant weights, without synthesis, prints
their LUTs and flip-flops as estimated and as counted, and what a fit to these alone would be.
"""

import argparse
import shutil
import tempfile
from collections.abc import Iterator
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
from hwgen.design import BlockInfo, Design, StreamPort
from hwgen.hardware import INPUT, HwGraph, HwNode, Source
from hwgen.ops import Requantize, Threshold
from hwgen.resources import Resources
from hwgen.streams import TensorStream
from hwgen.synth import synthesize
from hwgen.types import BIPOLAR, TERNARY, NumType, int_type, smallest_type, uint_type
from hwgen.verilog import write_verilog

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


def synthesize_blocks(blocks: list[Block], folder: Path) -> dict[str, Resources]:
    """Resources of stand-alone blocks, by ``b<number>``."""
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
    return synthesize(folder).blocks


def rows_of_random(seed: int, count: int) -> Iterator[tuple[str, str, Resources, Resources]]:
    rng = np.random.default_rng(seed)
    blocks = [random_block(rng) for _ in range(count)]
    with tempfile.TemporaryDirectory() as folder:
        found = synthesize_blocks(blocks, Path(folder))
    for n, block in enumerate(blocks):
        yield describe(block), type(block).__name__, block.estimate("xc7"), found[f"b{n}"]


def describe(block: Block) -> str:
    if isinstance(block, NeuronLayerConfig):
        acts = "+".join(type(op).__name__ for op, _ in block.activations) or "none"
        return (f"{block.input.dtype.name} x {block.weight_type.name}, "
                f"{block.weights.shape[1]} -> {block.weights.shape[2]}, pe {block.pe}, "
                f"simd {block.simd}, {block.style}, {acts} {block.output.dtype.name}")
    geometry = getattr(block, "geometry", None)
    kernel = f", kernel {geometry.kernel}, pad {geometry.pad[0]}" if geometry else ""
    return f"{block.inputs[0]}{kernel}"


def rows_of_build(folder: Path) -> Iterator[tuple[str, str, Resources, Resources]]:
    found = synthesize(folder).blocks
    for block in Design.load(folder).blocks:
        yield block.name, block.block, block.estimate, found[block.name]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="*", type=Path, metavar="DIR")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--blocks", type=int, default=40)
    parser.add_argument("--sums", type=int, metavar="N")
    arguments = parser.parse_args()
    if arguments.sums:
        show_sums(arguments.seed, arguments.sums)
        return
    rows = [row for folder in arguments.folders for row in rows_of_build(folder)] or \
        list(rows_of_random(arguments.seed, arguments.blocks))
    table = Table(box=None)
    for name in ("block", "kind", "LUT", "LUTRAM", "FF", "BRAM36", "error"):
        table.add_column(name)
    errors = []
    for name, kind, guess, real in rows:
        error = (guess.lut - real.lut) / max(real.lut, 1)
        errors.append(abs(error))
        table.add_row(name, kind, *(f"{getattr(guess, k):.0f} / {getattr(real, k):.0f}" for k in
                                    ("lut", "lutram", "ff")),
                      f"{guess.bram36:g} / {real.bram36:g}", f"{error:+.0%}")
    Console(width=170).print(table)
    print(f"{len(rows)} blocks: LUT error median {np.median(errors):.1%}, worst {max(errors):.0%}")


if __name__ == "__main__":
    main()
