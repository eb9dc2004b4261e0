"""Hardware of a compressed bit heap."""

from collections import defaultdict
from collections.abc import Sequence

from amaranth import Cat, Const, Instance, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..blocks.primitives import Export
from .bit_heap import INVERTED, LUT_INPUTS, ONE, Adder, Compression, Lut

__all__ = ["ARITHMETIC", "ARITHMETIC_MODULES", "Compressor"]

ARITHMETIC = "hwgen_arith"
"""Verilog file of the modules that an exported compressor instantiates."""

ARITHMETIC_MODULES = (ARITHMETIC, "hwgen_lut6_2", "hwgen_lut6", "hwgen_table", "hwgen_add2",
                      "hwgen_add3", "hwgen_chain")
"""Their names, and the file's."""


class Compressor(wiring.Component):
    """``copies`` equal compressors side by side. Latency: ``compression.latency``; interval: 1.

    Exported, LUTs of equal tables in a level are one instance of ``hwgen_lut6_2`` or
    ``hwgen_lut6``, for all copies together, and an adder of three rows is a ``hwgen_add3``.

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
        exported = isinstance(platform, Export)
        if exported:
            platform.uses.add(ARITHMETIC)
        nets = _Nets(self.copies)
        nets.add(range(self.shares), self.shared, shared=True)
        nets.add(range(self.shares, self.shares + self.owns), self.own)
        for s, stage in enumerate(self.compression.stages):
            for level, luts in enumerate(stage.levels):
                groups: dict[tuple, list[Lut]] = defaultdict(list)
                for lut in luts:
                    groups[len(lut.nets), lut.tables].append(lut)
                for g, ((inputs, tables), equal) in enumerate(groups.items()):
                    sources = []
                    for k in range(inputs):
                        source = Signal(self.copies * len(equal), name=f"stage{s}_{level}_{g}_{k}")
                        m.d.comb += source.eq(nets.all([lut.nets[k] for lut in equal]))
                        sources.append(source)
                    values = self._luts(m, f"stage{s}_level{level}_{g}", tables, sources, exported)
                    for k, value in enumerate(values):
                        nets.add([lut.outputs[k] for lut in equal], value)
            for n, adder in enumerate(stage.adders):
                nets.add(adder.outputs, self._sums(m, f"stage{s}_adder{n}", adder, nets, exported))
            held = Signal(self.copies * len(stage.live), name=f"stage{s}", reset_less=True)
            m.d.sync += held.eq(nets.all(stage.live))
            nets.add(stage.live, held)
        m.d.comb += self.o.eq(nets.all(self.compression.output))
        return m

    def _luts(self, m, name: str, tables: tuple[int, ...], inputs: list[Value],
              exported: bool) -> list[Signal]:
        """Outputs of LUTs with the same tables, side by side."""
        width = len(inputs[0])
        values = [Signal(width, name=f"{name}_{port}") for port in ("sum", "carry")[:len(tables)]]
        if not exported:
            for value, table in zip(values, tables):
                m.d.comb += value.eq(_function(table, inputs, width))
            return values
        most = LUT_INPUTS + (len(tables) == 1)
        ports = {f"i_i{n}": inputs[n] if n < len(inputs) else Const(0, width)
                 for n in range(most)}
        full = [Const(_repeated(table, len(inputs), most), 1 << most) for table in tables]
        if len(tables) == 2:
            ports |= {"p_O6": full[0], "p_O5": full[1], "o_o6": values[0], "o_o5": values[1]}
        else:
            ports |= {"p_TABLE": full[0], "o_o": values[0]}
        m.submodules[name] = Instance("hwgen_lut6_2" if len(tables) == 2 else "hwgen_lut6",
                                      p_WIDTH=width, **ports)
        return values

    def _sums(self, m, name: str, adder: Adder, nets: "_Nets", exported: bool) -> Signal:
        """Sums of an adder's rows, of each copy."""
        width, number = len(adder.outputs), 3 if adder.ternary else 2
        rows = [[row[k] if k < len(row) else None for row in adder.rows] for k in range(number)]
        inverted = [sum(1 << n for n, term in enumerate(row)
                        if term is not None and term.table == INVERTED) for row in rows]
        total = Signal(self.copies * width, name=f"{name}_sum")
        for c in range(self.copies):
            values = [Cat(nets.bit(term.nets[0] if term else None, c) for term in row)
                      for row in rows]
            value = total[c * width:(c + 1) * width]
            if exported and (adder.ternary or any(inverted)):
                ports = {f"i_{port}": given for port, given in zip("abc", values)}
                ports |= {f"p_NOT_{port}": Const(mask, len(adder.rows))
                          for port, mask in zip("ABC", inverted)}
                m.submodules[f"{name}_{c}" if self.copies > 1 else name] = Instance(
                    f"hwgen_add{number}", p_WIDTH=len(adder.rows), p_SUM=width, **ports, o_y=value)
            else:
                values = [v ^ mask if mask else v for v, mask in zip(values, inverted)]
                m.d.comb += value.eq(sum(values[1:], values[0]))
        return total


class _Nets:
    """Where the bit of each net is, in each copy."""

    def __init__(self, copies: int):
        self.copies = copies
        self.places: dict[int, tuple[Value, int, int]] = {}

    def add(self, nets: Sequence[int], value: Value, *, shared: bool = False) -> None:
        """Nets that lie side by side in ``value``, those of one copy after those of another."""
        for k, net in enumerate(nets):
            self.places[net] = (value, k, 0 if shared else len(nets))

    def bit(self, net: int | None, copy: int) -> Value:
        """A net of one copy; a constant 0 for None."""
        if net is None or net == ONE:
            return Const(int(net == ONE), 1)
        value, place, stride = self.places[net]
        return value[place + copy * stride]

    def all(self, nets: Sequence[int | None]) -> Value:
        """Some nets, those of one copy after those of another."""
        return Cat(self.bit(net, c) for c in range(self.copies) for net in nets)


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


def _repeated(table: int, inputs: int, most: int) -> int:
    """A table of ``inputs`` inputs as one of ``most``, whatever the others are."""
    for n in range(inputs, most):
        table |= table << (1 << n)
    return table
