"""Cost of arithmetic: hwgen, behavioural Verilog and da4ml, side by side.

    python benchmarks/arithmetic.py [--only TEXT] [--no-da4ml]

Each case is made by each contender with the same weights and synthesized by Yosys for 7 series
chips (synth_xilinx -flatten -noiopad -noclkbuf); the results are counted as `hwgen synth` does.
Levels are LUTs on the longest way between registers, carry chains not counted. hwgen's are
pipelined; the others are combinational. da4ml is installed with `pip install da4ml`; without it
its rows are left out.
"""

import argparse
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from amaranth import Module, Signal
from amaranth.back import rtlil
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from rich.console import Console
from rich.table import Table

from hwgen import netlist
from hwgen.arith.bit_heap import Term, compress
from hwgen.arith.compressor import Compressor
from hwgen.arith.constant_sums import constant_sums
from hwgen.arith.dot_product import DotProduct
from hwgen.arith.dsp import DspDotProduct, plan_slices
from hwgen.arith.phased_product import PhasedPlan, PhasedProduct
from hwgen.blocks.activation_kinds import activation_of
from hwgen.blocks.constant_layer import ConstantLayerConfig, ConstantNeurons
from hwgen.blocks.export import Export
from hwgen.blocks.window import WindowGeometry
from hwgen.blocks.window_reader import WindowReaderConfig
from hwgen.blocks.window_shift import WindowShiftConfig
from hwgen.boards import load_board
from hwgen.build import build
from hwgen.design import Design
from hwgen.files import render_template
from hwgen.model import load_model
from hwgen.ops import Threshold
from hwgen.planning import Target
from hwgen.streams import TensorStream
from hwgen.tools import yosys
from hwgen.types import BIPOLAR, TERNARY, int_type, smallest_type, uint_type

SYNTHESIS = "synth_xilinx -family xc7 -flatten -noiopad -noclkbuf -top {top}"
TOP = "contender"


@dataclass(frozen=True)
class Measured:
    """A contender's hardware.

    Parameters
    ----------
    lut, ff, dsp
        Cells after synthesis, as ``hwgen synth`` counts them.
    levels
        LUTs on the longest way between registers or ports.
    clocks
        Latency, 0 if it is combinational; of windows, clocks a frame.
    seconds
        To make the Verilog.
    """

    lut: int
    ff: int
    dsp: int
    levels: int
    clocks: int
    seconds: float


Maker = Callable[[Path], tuple[list[Path], str, int]]
"""Writes Verilog into a folder; the files, the top's name and the latency in clocks."""


@dataclass(frozen=True)
class Case:
    """What is to be made, by whom, and how many products that are for a cost by product."""

    name: str
    makers: dict[str, Maker]
    products: int = 0
    goal: str = ""


# Synthesis and counts.

def measure(make: Maker) -> Measured:
    with tempfile.TemporaryDirectory() as name:
        return made_in(Path(name), make)()


def made_in(folder: Path, make: Maker) -> Callable[[], Measured]:
    """Write the Verilog now; what synthesizes and counts it."""
    start = perf_counter()
    files, top, clocks = make(folder)
    seconds = perf_counter() - start

    def synthesize() -> Measured:
        mapped = folder / "mapped.json"
        # Checking its result takes abc9 longer than finding it.
        yosys.run([*(f"read_verilog -sv -defer {yosys.quoted(file)}" for file in files),
                   "scratchpad -set abc9.verify false", SYNTHESIS.format(top=top),
                   f"write_json {yosys.quoted(mapped)}"], log=folder / "synth.log",
                  folder=files[0].parent)
        design = json.loads(mapped.read_text())
        used = netlist.count_resources(design, top, "xc7")
        return Measured(round(used.lut), round(used.ff), round(used.dsp),
                        lut_levels(design["modules"][top]["cells"]), clocks, seconds)
    return synthesize


def lut_levels(cells: dict[str, Any]) -> int:
    """LUTs on the longest combinational way; an input that an output does not depend on is none.
    """
    drivers: dict[Any, tuple[str, str]] = {}
    before: dict[tuple[str, str], list[Any]] = {}
    for name, cell in cells.items():
        if not cell["type"].startswith(("LUT", "INV", "CARRY4", "MUXF")):
            continue
        ways, nets = cell["port_directions"], cell["connections"]
        for port in (p for p, way in ways.items() if way == "output"):
            drivers |= dict.fromkeys(nets[port], (name, port))
            before[name, port] = [bit for p, way in ways.items() if way == "input"
                                  for bit in nets[p] if _depends(cell, port, p)]
    depths: dict[tuple[str, str], int] = {}
    for root in before:
        stack = [root]
        while stack:
            place = stack[-1]
            sources = {drivers[bit] for bit in before[place] if bit in drivers} - {place}
            missing = [other for other in sources if other not in depths]
            if place in depths or not missing:
                stack.pop()
                own = int(cells[place[0]]["type"].startswith("LUT"))
                depths[place] = own + max((depths[s] for s in sources), default=0)
            else:
                stack += missing
    return max(depths.values(), default=0)


def _depends(cell: dict[str, Any], output: str, given: str) -> bool:
    """Whether an output of a LUT depends on an input."""
    if not cell["type"].startswith("LUT"):
        return True
    place = int(given[1])
    size = 32 if output == "O5" else 1 << len(cell["port_directions"]) - \
        (2 if cell["type"] == "LUT6_2" else 1)
    table = int(cell["parameters"]["INIT"], 2)
    if cell["type"] == "LUT6_2" and output == "O6":
        if given == "I5":
            return False  # held at 1
        table, size = table >> 32, 32
    if place >= size.bit_length() - 1:
        return False
    return any(table >> n & 1 != table >> (n ^ 1 << place) & 1 for n in range(size))


# hwgen.

def export(component, folder: Path) -> list[Path]:
    """Verilog of a component and of what it instantiates."""
    platform = Export(TOP)
    text = rtlil.convert(component, name=TOP, platform=platform, emit_src=False)
    (folder / "hwgen.il").write_text(text)
    file = folder / "hwgen.v"
    yosys.run([f"read_rtlil {yosys.quoted(folder / 'hwgen.il')}", "proc", "opt_clean",
               f"write_verilog -norename {yosys.quoted(file)}"], log=folder / "write.log",
              folder=folder)
    file.write_text("".join([file.read_text(), *platform.modules.values()]))
    files = [file]
    for name in platform.uses:
        files.append(folder / f"{name}.v")
        files[-1].write_text(render_template(f"{name}.v.j2", {"carry": 4, "dsp48e1": True}))
    for name, lines in platform.memories.items():
        (folder / name).write_text("\n".join(lines) + "\n")
    return files


def made(component, clocks: int) -> Maker:
    return lambda folder: (export(component(), folder), TOP, clocks)


def sum_of(columns: list[list[Term]], nets: int, width: int) -> Maker:
    def make(folder: Path):
        compression = compress(columns, width, nets)
        return export(Compressor(compression, nets, 0), folder), TOP, compression.latency
    return make


def products(lanes: int, a_width: int, weight_type) -> Maker:
    def make(folder: Path):
        dot = DotProduct(lanes, 1, a_width, weight_type, 40)
        return export(dot, folder), TOP, dot.latency
    return make


class DenseNet(wiring.Component):
    """Two dense layers with constant weights and an activation between them."""

    def __init__(self, first: np.ndarray, second: np.ndarray, a_width: int):
        self.a_width = a_width
        self.low = bits_of(first, a_width)
        self.one = constant_sums(first, a_width, [self.low] * len(first), [0] * len(first))
        self.high = bits_of(second, a_width)
        self.two = constant_sums(second, a_width, [self.high] * len(second), [0] * len(second))
        self.clocks = self.one.compression.latency + 1 + self.two.compression.latency
        super().__init__({"x": In(first.shape[1] * a_width), "y": Out(len(second) * self.high)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.one = one = Compressor(self.one.compression, len(self.x), 0)
        hidden = Signal(len(self.one.widths) * self.a_width)
        m.submodules.two = two = Compressor(self.two.compression, len(hidden), 0)
        m.d.comb += [one.shared.eq(self.x), two.shared.eq(hidden), self.y.eq(two.o)]
        for n in range(len(self.one.widths)):
            total = one.o.word_select(n, self.low)
            m.d.sync += hidden.word_select(n, self.a_width).eq(activation(total, self.a_width))
        return m


def bits_of(weights: np.ndarray, a_width: int) -> int:
    """Bits of the signed sums."""
    high = (1 << a_width) - 1
    return smallest_type(int((np.minimum(weights, 0) * high).sum(axis=1).min()) - 1,
                         int((np.maximum(weights, 0) * high).sum(axis=1).max())).width


SHIFT = 3


def activation(total, a_width: int):
    """Sign of a sum for one bit; else the sum shifted and clipped to unsigned bits."""
    if a_width == 1:
        return ~total[-1]
    above = total[SHIFT + a_width:-1]
    return (total[SHIFT:SHIFT + a_width] | above.any().replicate(a_width)) \
        & (~total[-1]).replicate(a_width)


def dense(values: list[int], a_width: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.choice(values, (32, 64)), rng.choice(values, (10, 32))


def slices(lanes: int, outputs: int, a_width: int, extremes: tuple[int, int]) -> Maker:
    plan = plan_slices(lanes, outputs, a_width, smallest_type(*extremes), extremes)
    assert plan is not None
    return made(lambda: DspDotProduct(plan, 48), plan.latency(48))


def phased(weights: np.ndarray, a_width: int) -> Maker:
    plan = PhasedPlan(weights, a_width, 32)
    return made(lambda: PhasedProduct(plan), plan.compression.latency)


def built(description: Path, board: str) -> Maker:
    """A whole design at the highest rate."""
    def make(folder: Path):
        target = load_board(board)
        report = build(load_model(description),
                       Target(target, target.clock_mhz, target.limits), folder / "build")
        design = Design.load(folder / "build")
        files = [folder / "build" / source for source in design.sources]
        return files, design.top, report["latency_cycles"]
    return make


def hwgen_dense(values: list[int], a_width: int) -> Maker:
    def make(folder: Path):
        net = DenseNet(*dense(values, a_width), a_width)
        return export(net, folder), TOP, net.clocks
    return make


# Behavioural Verilog.

def verilog(inputs: dict[str, int], width: int, body: str, outputs: int = 1) -> Maker:
    """A module with output ``y``."""
    def make(folder: Path):
        ports = "".join(f"input wire [{n - 1}:0] {name}, " for name, n in inputs.items())
        head = f"module behaviour({ports}output wire [{width * outputs - 1}:0] y);"
        (folder / "behaviour.v").write_text(f"{head}\n{body}\nendmodule\n")
        return [folder / "behaviour.v"], "behaviour", 0
    return make


def behavioural_products(lanes: int, a_width: int, kind: str) -> Maker:
    def product(n: int) -> str:
        a = f"a[{n * a_width}+:{a_width}]"
        if kind == "xnor":
            return f"(a[{n}] ~^ w[{n}])"
        if kind == "and":
            return f"({a} & {{{a_width}{{w[{n}]}}}})"
        signed = f"$signed({{1'b0, {a}}})"
        return f"(w[{2 * n + 1}] ? -{signed} : w[{2 * n}] ? {signed} : $signed(1'b0))"
    width = 12
    weights = lanes * (2 if kind == "ternary" else 1)
    sign = "signed " if kind == "ternary" else ""
    return verilog({"a": lanes * a_width, "w": weights}, width,
                   f"  wire {sign}[{width - 1}:0] total = " + " + ".join(
                       product(n) for n in range(lanes)) + ";\n  assign y = total;")


def behavioural_multiplied(lanes: int, outputs: int, a_width: int, w_width: int) -> Maker:
    high = a_width + w_width + lanes.bit_length()
    sums = [" + ".join(f"$signed({{1'b0, a[{n * a_width} +: {a_width}]}}) * "
                       f"$signed(w[{(p * lanes + n) * w_width} +: {w_width}])"
                       for n in range(lanes)) for p in range(outputs)]
    body = "\n".join(f"  wire signed [{high - 1}:0] y_{p} = {total};"
                     for p, total in enumerate(sums))
    joined = ", ".join(f"y_{p}" for p in reversed(range(outputs)))
    return verilog({"a": lanes * a_width, "w": outputs * lanes * w_width}, outputs * high,
                   f"{body}\n  assign y = {{{joined}}};")


def behavioural_phases(weights: np.ndarray, a_width: int) -> Maker:
    """One output; the weights of a phase are chosen from a table."""
    phases, outputs, lanes = weights.shape
    assert outputs == 1
    high = a_width + int(abs(weights).max()).bit_length() + lanes.bit_length() + 1
    lines = []
    for n in range(lanes):
        choice = "".join(f"phase == {p} ? {int(w)} : " for p, w in enumerate(weights[:, 0, n]))
        lines.append(f"  wire signed [{high - 1}:0] w_{n} = {choice}0;")
    total = " + ".join(f"$signed({{1'b0, a[{n * a_width} +: {a_width}]}}) * w_{n}"
                       for n in range(lanes))
    body = "\n".join(lines)
    return verilog({"a": lanes * a_width, "phase": (phases - 1).bit_length()}, high,
                   f"{body}\n  assign y = {total};")


def behavioural_dense(values: list[int], a_width: int) -> Maker:
    first, second = dense(values, a_width)
    low, high = bits_of(first, a_width), bits_of(second, a_width)

    def layer(weights, name, source, width):
        lines = []
        for n, row in enumerate(weights):
            terms = " ".join(
                f"{'+' if w > 0 else '-'} $signed({{1'b0, {source}[{k * a_width}+:{a_width}]}})"
                for k, w in enumerate(row) if w)
            lines.append(f"  wire signed [{width - 1}:0] {name}{n} = {terms};")
        return lines
    lines = layer(first, "s", "x", low)
    lines.append(f"  wire [{32 * a_width - 1}:0] h;")
    for n in range(32):
        if a_width == 1:
            lines.append(f"  assign h[{n}] = ~s{n}[{low - 1}];")
        else:
            most = (1 << a_width) - 1
            lines.append(f"  assign h[{n * a_width}+:{a_width}] = s{n} < 0 ? 0 : "
                         f"(s{n} >>> {SHIFT}) > {most} ? {most} : s{n} >>> {SHIFT};")
    lines += layer(second, "t", "h", high)
    lines += [f"  assign y[{n * high}+:{high}] = t{n};" for n in range(10)]
    return verilog({"x": 64 * a_width}, high, "\n".join(lines), 10)


def behavioural_conv1(weights: np.ndarray) -> Maker:
    """A quarter of the neurons in each of four phases."""
    neurons, inputs = weights.shape
    lines = []
    for p in range(neurons // 4):
        terms = []
        for k in range(inputs):
            w = [weights[q * (neurons // 4) + p, k] for q in range(4)]
            terms.append(f"$signed({{1'b0, x[{8 * k}+:8]}}) * $signed(phase[1] ? "
                         f"(phase[0] ? {w[3]} : {w[2]}) : (phase[0] ? {w[1]} : {w[0]}))")
        lines += [f"  wire signed [17:0] total{p} = {' + '.join(terms)};",
                  f"  assign y[{18 * p}+:18] = total{p};"]
    return verilog({"x": inputs * 8, "phase": 2}, 18, "\n".join(lines), neurons // 4)


# da4ml.

def da4ml_dense(values: list[int], a_width: int) -> Maker:
    def make(folder: Path):
        from da4ml.codegen import VerilogModel
        from da4ml.trace import FixedVariableArray, HWConfig, comb_trace
        first, second = dense(values, a_width)
        x = FixedVariableArray.from_kif(np.zeros(64, int), np.full(64, a_width), np.zeros(64, int),
                                        hwconf=HWConfig(1, -1, -1))
        hidden = x @ first.T
        hidden = sign_of(hidden) if a_width == 1 else clipped(hidden, a_width)
        traced = comb_trace(x, hidden @ second.T)
        VerilogModel(traced, "dut", folder / "da4ml").write()
        source = folder / "da4ml" / "src"
        return [source / "dut.v", *sorted((source / "static").glob("*.v"))], "dut", 0
    return make


def sign_of(sums):
    """1 where a sum is at least 0."""
    from da4ml.trace import FixedVariableArray
    return FixedVariableArray(np.array([(s >= 0) for s in sums]))


def clipped(sums, a_width: int):
    from da4ml.trace.ops import quantize, relu
    scaled = relu(sums) * 2.0 ** -SHIFT
    return quantize(scaled, 0, a_width, 0, overflow_mode="SAT", round_mode="TRN")


# The cases.

def cases() -> Iterator[Case]:
    for n, goal in ((64, 62), (128, 126), (256, 255)):
        bits = [[Term((k,)) for k in range(n)]]
        yield Case(f"popcount {n}", {
            "hwgen": sum_of(bits, n, n.bit_length()),
            "Verilog": verilog({"x": n}, n.bit_length(),
                               "  assign y = " + " + ".join(f"x[{k}]" for k in range(n)) + ";")},
            goal=f"{goal}")
    yield Case("64 XNOR, weights from a memory", {
        "hwgen": products(64, 1, BIPOLAR),
        "Verilog": behavioural_products(64, 1, "xnor")}, 64, "96")
    yield Case("64 products 4 x 1 bit, from a memory", {
        "hwgen": products(64, 4, uint_type(1)),
        "Verilog": behavioural_products(64, 4, "and")}, 64, "300, aim 260")
    yield Case("64 products 4 bit x ternary, from a memory", {
        "hwgen": products(64, 4, TERNARY),
        "Verilog": behavioural_products(64, 4, "ternary")}, 64, "380, aim 330")
    weights = np.random.default_rng(0).integers(-7, 8, (16, 49))
    high = int(np.abs(weights).sum(axis=1).max()) * 255
    layer = ConstantLayerConfig(TensorStream(uint_type(8), (1, 64, 49), 49), weights.T,
                                np.zeros(16, np.int64), smallest_type(-high, high), (), 4)
    yield Case("49 products 8 x 4 bit, 4 phases, 4 at once", {
        "hwgen": made(lambda: ConstantNeurons(layer), layer.late),
        "with FIFO and control": made(layer.create, layer.latency),
        "Verilog": behavioural_conv1(weights)},
        4 * 49, "10 a product")
    for name, values, a_width, goal in (
            ("ternary, 1-bit activations", [-1, 0, 0, 1], 1, "1 100"),
            ("ternary, 4-bit activations", [-1, 0, 0, 1], 4, "4 000"),
            ("binary, 4-bit activations", [-1, 1], 4, "3 700")):
        yield Case(f"dense 64-32-10, {name}", {
            "hwgen": hwgen_dense(values, a_width), "Verilog": behavioural_dense(values, a_width),
            "da4ml": da4ml_dense(values, a_width)}, goal=goal)
    yield Case("64 products 8 x 8 bit in DSP slices, 2 outputs", {
        "hwgen": slices(32, 2, 8, (-127, 127)),
        "Verilog": behavioural_multiplied(32, 2, 8, 8)}, 64)
    yield Case("48 products 4 x 4 bit in DSP slices, 3 outputs", {
        "hwgen": slices(16, 3, 4, (-8, 7)), "Verilog": behavioural_multiplied(16, 3, 4, 4)}, 48)
    for count, name, values in ((2, "ternary", [-1, 0, 0, 1]), (4, "ternary", [-1, 0, 0, 1]),
                                (4, "4-bit", list(range(-7, 8)))):
        turns = np.random.default_rng(0).choice(values, (count, 1, 64))
        yield Case(f"64 products 4 bit x {name}, {count} phases", {
            "hwgen": phased(turns, 4), "Verilog": behavioural_phases(turns, 4)}, 64)
    digits = Path(__file__).resolve().parents[1] / "examples" / "digits" / "tables.json"
    with np.load(digits.with_name("tables_test.npz")) as split:
        x = split["x"].reshape(len(split["x"]), 1, 1, -1)
        right = load_model(digits).to_graph().run(x).reshape(-1) == split["labels"]
    yield Case(f"UCI digits, a result per clock, {right.mean():.1%} of {len(right)} right", {
        "hwgen": built(digits, "zybo-z7010")}, goal="TreeLUT: 582 LUT, 96.4 %")
    levels = np.sort(np.random.default_rng(0).integers(-2048, 2048, (32, 3)), axis=1)
    unit = activation_of(Threshold(levels, [False] * 32, uint_type(2)), int_type(12), uint_type(2),
                         32, 4)
    yield Case("thresholds, 32 channels, 4 at once, 12 to 2 bits", {
        "hwgen": made(unit.create, unit.latency)}, goal="172 LUT, 238 FF")
    stream = TensorStream(uint_type(2), (16, 16, 16), 16)
    geometry = WindowGeometry((3, 3))
    rows = WindowReaderConfig(stream, geometry, uint_type(2)).least_rows + 1
    reader = WindowReaderConfig(stream, geometry, uint_type(2), rows)
    yield Case("window 3x3, 16 x 2 bit, serial (at most 1 799 clocks)", {
        "hwgen": made(reader.create, reader.cycles)}, goal="151 LUT, 98 FF")
    shift = WindowShiftConfig(stream, geometry, uint_type(2))
    yield Case("window 3x3, 16 x 2 bit, whole (at most 258 clocks)", {
        "hwgen": made(shift.create, shift.cycles)}, goal="86 LUT, 404 FF")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="cases whose name holds this text")
    parser.add_argument("--no-da4ml", action="store_true", help="leave da4ml out")
    given = parser.parse_args()
    table = Table("case", "by", *("LUT", "a product", "FF", "DSP", "levels", "clocks", "seconds"),
                  "to reach")
    waiting: list[tuple[Case, str, Future[Measured]]] = []
    with tempfile.TemporaryDirectory() as name, ThreadPoolExecutor(os.cpu_count()) as pool:
        for n, case in enumerate(cases()):
            if given.only not in case.name:
                continue
            for by, make in case.makers.items():
                folder = Path(name) / f"{n}_{by.replace(' ', '_')}"
                folder.mkdir()
                if by == "da4ml" and given.no_da4ml:
                    continue
                with suppress(ImportError):
                    waiting.append((case, by, pool.submit(made_in(folder, make))))
        for case, by, done in waiting:
            found = done.result()
            each = f"{found.lut / case.products:.2f}" if case.products else ""
            table.add_row(case.name if by == "hwgen" else "", by, f"{found.lut:,}", each,
                          f"{found.ff:,}", f"{found.dsp}", f"{found.levels}",
                          f"{found.clocks or '-'}", f"{found.seconds:.2f}",
                          case.goal if by == "hwgen" else "")
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
