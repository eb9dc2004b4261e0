"""Small pieces of hardware that several blocks use: counters, lookups, wire codes, registers."""

import numpy as np
from amaranth import Cat, Const, Mux, Signal, Value

from ..types import NumType
from .primitives import increment

__all__ = ["NEVER", "counter", "holds", "lookup", "number", "port_names"]

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


def counter(m, count: int, step: Value, name: str) -> tuple[Value, Value]:
    """Counts 0 to ``count - 1`` at each ``step``; the count, and whether it is at its end."""
    if count == 1:
        return Const(0, 0), Const(1, 1)
    value = Signal(range(count), name=name)
    end = Signal(name=f"{name}_end")
    m.d.comb += end.eq(value == count - 1)
    with m.If(step):
        m.d.sync += value.eq(increment(value) if count & (count - 1) == 0
                             else Mux(end, 0, increment(value)))
    return value, end


def lookup(bits: np.ndarray, index: Value) -> Value:
    """``bits[index]`` as one combinational bit; a constant where all are equal."""
    bits = np.asarray(bits, dtype=bool)
    if bits.all() or not bits.any():
        return Const(int(bits[0]), 1)
    packed = sum(1 << n for n in np.flatnonzero(bits).tolist())
    return Const(packed, 1 << len(index)).bit_select(index, 1)
