"""Small pieces of hardware that several blocks use: lookups, tables, wire codes, port names."""

import numpy as np
from amaranth import Cat, Const, Signal, Value

from ..arith.bit_heap import LUT_INPUTS, Compression, Stage, Term
from ..arith.compressor import Compressor
from ..arith.truth_tables import pack
from ..types import NumType

__all__ = ["NEVER", "constant_table", "holds", "lookup", "number", "port_names"]

NEVER = -(1 << 60)
"""Clock of an event that nothing waits for."""


def port_names(prefix: str, count: int) -> list[str]:
    """``i``, or ``i0``, ``i1``, ... where there are several."""
    return [prefix] if count == 1 else [f"{prefix}{n}" for n in range(count)]


def holds(kind: NumType, *others: NumType) -> bool:
    """Whether every value of the other types is one of ``kind``."""
    return all(other == kind or (kind.low <= other.low and other.high <= kind.high
                                 and not kind.bipolar) for other in others)


def number(code: Value, kind: NumType) -> Value:
    """Wire code to number; assigned to more bits it is extended as its type demands."""
    if kind.bipolar:
        return Cat(Const(1, 1), ~code).as_signed()  # 1 is 01 = +1, 0 is 11 = -1
    return code.as_signed() if kind.signed else code.as_unsigned()


def lookup(bits: np.ndarray, index: Value) -> Value:
    """``bits[index]`` as one combinational bit; a constant where all are equal."""
    bits = np.asarray(bits, dtype=bool)
    if bits.all() or not bits.any():
        return Const(int(bits[0]), 1)
    return _selected(bits, index)


def constant_table(m, name: str, values: np.ndarray, index: Value, width: int, *,
                   alone: bool = True) -> Value:
    """``values[index]`` as ``width`` bits, combinational; a constant where all are equal. Not
    ``alone``: in the LUTs of what reads them."""
    values = np.asarray(values, dtype=np.int64) & ((1 << width) - 1)
    if (values == values[0]).all():
        return Const(int(values[0]), width)
    columns = [values >> bit & 1 for bit in range(width)]
    if alone and 1 < len(index) <= LUT_INPUTS + 1:  # up to five inputs, two bits in a LUT
        inputs = tuple(range(len(index)))
        luts, found, nets = pack([Term(inputs, _packed(bits)) for bits in columns], len(index))
        m.submodules[name] = table = Compressor(
            Compression((Stage([luts]),), found, (), nets), len(index), 0)
        m.d.comb += table.shared.eq(index)
        return table.o
    out = Signal(width)
    m.d.comb += out.eq(Cat(_selected(bits, index) for bits in columns))
    return out


def _selected(bits: np.ndarray, index: Value) -> Value:
    """``bits[index]``; 0 beyond their end."""
    return Const(_packed(bits), 1 << len(index)).bit_select(index, 1)


def _packed(bits: np.ndarray) -> int:
    """Bits as one number, the first of them lowest."""
    return sum(1 << n for n in np.flatnonzero(bits).tolist())
