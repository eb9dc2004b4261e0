"""Hardware of a compressed bit heap."""

import textwrap
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from amaranth import Cat, ClockSignal, Const, Instance, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..blocks.export import ARITHMETIC, Export
from .bit_heap import INVERTED, LUT_INPUTS, ONE, SHIFT_REGISTER, Adder, Compression, Lut

__all__ = ["ARITHMETIC_MODULES", "Compressor", "compressor_verilog"]

ARITHMETIC_MODULES = (ARITHMETIC, "hwgen_lut6_2", "hwgen_lut6", "hwgen_table", "hwgen_add2",
                      "hwgen_add3", "hwgen_add_chosen", "hwgen_at_least", "hwgen_chain")
"""Their names, and the file's."""

LONGEST = 100  # characters of a line of Verilog


class Compressor(wiring.Component):
    """``copies`` equal compressors side by side. Latency: ``compression.latency``; interval: 1.

    Exported, it is an instance of a module that is written as Verilog at once: with thousands of
    LUTs that is many times faster than through Amaranth, which makes the same hardware of
    expressions in simulation.

    Parameters
    ----------
    compression
        Its terms name nets 0 to ``shared - 1``, which all copies read, and above them those of a
        copy's own.
    shared, own
        Numbers of these nets.
    copies
        Number of compressors.

    Members
    -------
    shared : :py:`In(shared)`
    own : :py:`In(copies * own)`
        Those of copy c from bit ``c * own``.
    o : :py:`Out(copies * width)`
    """

    def __init__(self, compression: Compression, shared: int, own: int, copies: int = 1):
        self.compression, self.copies = compression, copies
        self.shares, self.owns = shared, own
        super().__init__({"shared": In(shared), "own": In(copies * own),
                          "o": Out(copies * len(compression.output))})

    def elaborate(self, platform):
        m = Module()
        if isinstance(platform, Export):
            platform.uses.add(ARITHMETIC)
            name = platform.add_module(
                compressor_verilog(self.compression, self.shares, self.owns, self.copies))
            ports = {"i_clk": ClockSignal(), "o_o": self.o}
            if self.shares:
                ports["i_shared"] = self.shared
            if self.owns:
                ports["i_own"] = self.own
            m.submodules.compressor = Instance(name, **ports)
            return m
        for c in range(self.copies):
            self._simulated(m, c)
        return m

    def _simulated(self, m, c: int) -> None:
        """Expressions of one copy."""
        width = len(self.compression.output)
        nets: dict[int | None, Value] = {None: Const(0, 1), ONE: Const(1, 1)}
        nets |= {n: self.shared[n] for n in range(self.shares)}
        nets |= {self.shares + n: self.own[c * self.owns + n] for n in range(self.owns)}
        for s, stage in enumerate(self.compression.stages):
            for level, luts in enumerate(stage.levels):
                for g, ((inputs, tables), equal) in enumerate(_alike(luts).items()):
                    name = f"copy{c}_stage{s}_level{level}_{g}"
                    sources = []
                    for k in range(inputs):
                        sources.append(Signal(len(equal), name=f"{name}_i{k}"))
                        m.d.comb += sources[-1].eq(Cat(nets[lut.nets[k]] for lut in equal))
                    for k, table in enumerate(tables):
                        out = Signal(len(equal), name=f"{name}_o{k}")
                        m.d.comb += out.eq(_function(table, sources, len(equal)))
                        nets |= {lut.outputs[k]: out[n] for n, lut in enumerate(equal)}
            for n, adder in enumerate(stage.adders):
                total = Signal(len(adder.outputs), name=f"copy{c}_stage{s}_adder{n}")
                rows = [Cat(nets[net] for net in row) ^ mask for row, mask in _adder_rows(adder)]
                m.d.comb += total.eq(sum(rows[1:], rows[0]))
                nets |= {net: total[k] for k, net in enumerate(adder.outputs)}
            held = Signal(len(stage.live), name=f"copy{c}_stage{s}", reset_less=True)
            m.d.sync += held.eq(Cat(nets[net] for net in stage.live))
            nets |= {net: held[k] for k, net in enumerate(stage.live)}
        m.d.comb += self.o[c * width:(c + 1) * width].eq(
            Cat(nets[net] for net in self.compression.output))


def _alike(luts: Sequence[Lut]) -> dict[tuple[int, tuple[int, ...]], list[Lut]]:
    """LUTs by number of inputs and tables."""
    groups: dict[tuple[int, tuple[int, ...]], list[Lut]] = defaultdict(list)
    for lut in luts:
        groups[len(lut.nets), lut.tables].append(lut)
    return groups


def _adder_rows(adder: Adder) -> list[tuple[list[int | None], int]]:
    """Nets of each row of an adder, and which of them it takes the complements of."""
    rows = []
    for k in range(3 if adder.ternary else 2):
        terms = [row[k] if k < len(row) else None for row in adder.rows]
        rows.append(([term.nets[0] if term else None for term in terms],
                     sum(1 << n for n, term in enumerate(terms)
                         if term is not None and term.table == INVERTED)))
    return rows


def _function(table: int, inputs: list[Value], width: int) -> Value:
    """Look-ups in one table, side by side: chosen by the last input first."""
    if not inputs:
        return Const(table, 1).replicate(width)
    *rest, last = inputs
    half = 1 << len(rest)
    low, high = table & (1 << half) - 1, table >> half
    if low == high:
        return _function(low, rest, width)
    if low == high ^ (1 << half) - 1:
        return last ^ _function(low, rest, width)
    return (last & _function(high, rest, width)) | (~last & _function(low, rest, width))


class _Places:
    """Where the bit of each net is in the text: a vector, and the place in it."""

    def __init__(self) -> None:
        self.of: dict[int, tuple[str, int]] = {}

    def add(self, nets: Iterable[int], vector: str) -> None:
        self.of |= {net: (vector, n) for n, net in enumerate(nets)}

    def joined(self, nets: Sequence[int | None]) -> str:
        """A concatenation of nets, the first the lowest; neighbours of a vector are one slice."""
        parts: list[tuple[str, int, int]] = []
        for net in reversed(nets):
            if net is None or net == ONE:
                parts.append((f"1'b{int(net == ONE)}", -1, -1))
                continue
            vector, n = self.of[net]
            if parts and parts[-1][0] == vector and parts[-1][2] == n + 1:
                parts[-1] = (vector, parts[-1][1], n)
            else:
                parts.append((vector, n, n))
        words = [vector if high < 0 else f"{vector}[{high}:{low}]" if high > low else
                 f"{vector}[{low}]" for vector, high, low in parts]
        return words[0] if len(words) == 1 else f"{{{', '.join(words)}}}"


def compressor_verilog(compression: Compression, shared: int, own: int, copies: int) -> str:
    """Text of a module ``%NAME%`` and, where there are several copies, of one for a copy."""
    if copies == 1:
        return _copy_verilog("%NAME%", compression, shared, own)
    ports = {"input wire": {"clk": 1, "shared": shared, "own": copies * own},
             "output wire": {"o": copies * len(compression.output)}}
    wires = [".clk(clk)", *[".shared(shared)"] * bool(shared),
             *[f".own(own[{own} * n +: {own}])"] * bool(own),
             f".o(o[{len(compression.output)} * n +: {len(compression.output)}])"]
    one = _copy_verilog("%NAME%_copy", compression, shared, own)
    return one + f"""
module %NAME% (
{_ports(ports)}
);
  genvar n;
  generate for (n = 0; n < {copies}; n = n + 1) begin : copies
    %NAME%_copy copy ({", ".join(wires)});
  end endgenerate
endmodule
"""


def _ports(ports: Mapping[str, Mapping[str, int]]) -> str:
    """Declarations of ports by direction and width; those without bits are left out."""
    return ",\n".join(f"  {way} [{width - 1}:0] {name}" if name != "clk" else f"  {way} clk"
                      for way, names in ports.items() for name, width in names.items() if width)


def _copy_verilog(module: str, compression: Compression, shared: int, own: int) -> str:
    """LUTs of equal tables in a level are one instance of ``hwgen_lut6_2`` or ``hwgen_lut6``, an
    adder of three rows is a ``hwgen_add3``."""
    places = _Places()
    short = {(net, start + k) for net, start, n in compression.waits if 1 < n < SHIFT_REGISTER
             for k in range(n)}
    places.add(range(shared), "shared")
    places.add(range(shared, shared + own), "own")
    ports = {"input wire": {"clk": 1, "shared": shared, "own": own},
             "output wire": {"o": len(compression.output)}}
    lines = []
    for s, stage in enumerate(compression.stages):
        for level, luts in enumerate(stage.levels):
            for g, ((inputs, tables), equal) in enumerate(_alike(luts).items()):
                name, width = f"luts_{s}_{level}_{g}", len(equal)
                both = len(tables) == 2
                outputs = [f"{name}_{port}" for port in (("sum", "carry") if both else ("o",))]
                lines.append(f"wire [{width - 1}:0] {', '.join(outputs)};")
                most = LUT_INPUTS + (not both)
                wires = [f".i{k}({places.joined([lut.nets[k] for lut in equal])})"
                         if k < inputs else f".i{k}({width}'d0)" for k in range(most)]
                full = [f"{1 << most}'h{_repeated(table, inputs, most):0{(1 << most) // 4}x}"
                        for table in tables]
                kind = f"hwgen_lut6_2 #(.WIDTH({width}), .O6({full[0]}), .O5({full[-1]}))" \
                    if both else f"hwgen_lut6 #(.WIDTH({width}), .TABLE({full[0]}))"
                wires += [f".{port}({output})" for port, output in
                          zip(("o6", "o5") if both else ("o",), outputs)]
                lines.append(f"{kind} {name} ({', '.join(wires)});")
                for k, output in enumerate(outputs):
                    places.add([lut.outputs[k] for lut in equal], output)
        for n, adder in enumerate(stage.adders):
            name, rows = f"sum_{s}_{n}", _adder_rows(adder)
            lines.append(f"wire [{len(adder.outputs) - 1}:0] {name};")
            if adder.ternary or any(mask for _, mask in rows):
                masks = "".join(f", .NOT_{port}({len(adder.rows)}'h{mask:x})"
                                for port, (_, mask) in zip("ABC", rows) if mask)
                wires = [f".{port}({places.joined(nets)})" for port, (nets, _) in zip("abc", rows)]
                lines.append(f"hwgen_add{len(rows)} #(.WIDTH({len(adder.rows)}), "
                             f".SUM({len(adder.outputs)}){masks}) add_{s}_{n} "
                             f"({', '.join(wires)}, .y({name}));")
            else:
                lines.append(f"assign {name} = "
                             f"{' + '.join(places.joined(nets) for nets, _ in rows)};")
            places.add(adder.outputs, name)
        # Short waits stay flip-flops; synthesis would take a LUT for three of them.
        held = {f"wait_{s}": [net for net in stage.live if (net, s) in short],
                f"stage_{s}": [net for net in stage.live if (net, s) not in short]}
        for name, nets in held.items():
            if nets:
                kept = '(* keep, shreg_extract = "no" *) ' if name.startswith("wait") else ""
                lines += [f"{kept}reg [{len(nets) - 1}:0] {name} = 0;",
                          f"always @(posedge clk) {name} <= {places.joined(nets)};"]
        for name, nets in held.items():
            places.add(nets, name)
    lines.append(f"assign o = {places.joined(compression.output)};")
    body = "\n".join(_wrapped(line) for line in lines)
    return f"module {module} (\n{_ports(ports)}\n);\n{body}\nendmodule\n"


def _wrapped(line: str) -> str:
    return textwrap.fill(line, LONGEST, initial_indent="  ", subsequent_indent="    ",
                         break_long_words=False, break_on_hyphens=False)


def _repeated(table: int, inputs: int, most: int) -> int:
    """A table of ``inputs`` inputs as one of ``most``, whatever the others are."""
    for n in range(inputs, most):
        table |= table << (1 << n)
    return table
