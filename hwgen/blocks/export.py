"""What blocks leave to Verilog that Amaranth does not write."""

from collections.abc import Callable
from functools import partial, reduce
from operator import and_, or_

from amaranth import Cat, Const, Instance, Mux, Signal, Value

__all__ = ["ARITHMETIC", "Export", "add_chosen", "advances", "at_least", "lut", "unlike"]

ARITHMETIC = "hwgen_arith"
"""Verilog file of adders and LUTs."""


class Export:
    """Platform that collects what a block needs beside it while it is turned into Verilog:
    ``memories``, contents by file name; ``uses``, files of modules that it instantiates; and
    ``modules``, the Verilog of those of its own that are written as text, by name.

    Parameters
    ----------
    module
        Name of the Verilog module; names of memory files start with it.
    """

    def __init__(self, module: str):
        self.module = module
        self.memories: dict[str, list[str]] = {}
        self.uses: set[str] = set()
        self.modules: dict[str, str] = {}

    def add_module(self, text: str) -> str:
        """Name of a module of this text, where it stands as %NAME%; equal ones are one."""
        for name, other in self.modules.items():
            if other == text.replace("%NAME%", name):
                return name
        name = f"{self.module}__compressor" + (f"_{len(self.modules)}" if self.modules else "")
        self.modules[name] = text.replace("%NAME%", name)
        return name


def lut(m, platform, name: str, function: Callable[..., Value], *inputs: Value) -> Signal:
    """A function of up to six bits in a LUT of its own.

    For what depends on a late ready: synthesis that optimizes area shares parts of such functions
    with others, one small LUT behind the other, and a whole chain of blocks waits for them.

    Parameters
    ----------
    function
        Of as many bits as ``inputs``, by ``&``, ``|``, ``^`` and ``~`` alone.
    """
    out = Signal(name=name)
    bits = [value for value in inputs if not isinstance(value, Const)]
    if not isinstance(platform, Export) or len(bits) < 2:
        m.d.comb += out.eq(function(*inputs)[0])
        return out
    if len(bits) > 6:
        raise ValueError(f"{name}: a LUT has up to 6 inputs, not {len(bits)}")
    table = 0
    for n in range(64):
        bit = iter(n >> k & 1 for k in range(6))
        values = [value.value if isinstance(value, Const) else next(bit) for value in inputs]
        table |= (function(*values) & 1) << n
    platform.uses.add(ARITHMETIC)
    ports = {f"i_i{k}": bits[k] if k < len(bits) else Const(0, 1) for k in range(6)}
    m.submodules[f"{name}_lut"] = Instance("hwgen_lut6", p_TABLE=Const(table, 64), **ports,
                                           o_o=out)
    return out


def advances(m, platform, name: str, o, *conditions: Value) -> Signal:
    """Whether the output register of a block takes something, its ready in one LUT with up to four
    conditions: it holds nothing or is read, and all of these are true."""
    return lut(m, platform, name, _advances, o.valid, o.ready, *conditions)


def _advances(held, leaves, *conditions):
    return reduce(and_, conditions, ~held | leaves)


def unlike(m, platform, name: str, a: Value, b: Value | int) -> Value:
    """Whether two numbers of up to 18 bits, or one of up to 36 and a constant, differ, in two
    levels of LUTs: for what much depends on, as synthesis makes it in more where some other path is
    longer."""
    if isinstance(b, int):
        parts = [lut(m, platform, f"{name}_{n}", partial(_any_other, b >> n), *a[n:n + 6])
                 for n in range(0, len(a), 6)]
    else:
        pairs = [bit for pair in zip(a, b) for bit in pair]
        parts = [lut(m, platform, f"{name}_{n // 6}", _any_pair, *pairs[n:n + 6])
                 for n in range(0, len(pairs), 6)]
    return lut(m, platform, name, _any, *parts) if len(parts) > 1 else parts[0]


def _any_other(number, *bits):
    return _any(*(~bit if number >> k & 1 else bit for k, bit in enumerate(bits)))


def _any_pair(*bits):
    return _any(*(a ^ b for a, b in zip(bits[::2], bits[1::2])))


def _any(*bits):
    return reduce(or_, bits)


def at_least(m, platform, name: str, a: Value, b: Value) -> Signal:
    """Whether an unsigned number is at least another of as many bits: two bits a LUT and a carry
    chain, where synthesis would take levels of LUTs."""
    out = Signal(name=name)
    if not isinstance(platform, Export):
        m.d.comb += out.eq(a >= b)
        return out
    platform.uses.add(ARITHMETIC)
    m.submodules[f"{name}_comparator"] = Instance("hwgen_at_least", p_WIDTH=len(a), i_a=a, i_b=b,
                                                  o_y=out)
    return out


def add_chosen(m, platform, name: str, added: Value, choose: Value, chosen: Value,
               otherwise: Value) -> Signal:
    """``added`` plus ``chosen`` or ``otherwise``, modulo the width of these: a LUT a bit, where
    synthesis would take one for the choice and one for the sum."""
    out = Signal(len(otherwise), name=name)
    if not isinstance(platform, Export):
        m.d.comb += out.eq(added + Mux(choose, chosen, otherwise))
        return out
    platform.uses.add(ARITHMETIC)
    m.submodules[f"{name}_adder"] = Instance(
        "hwgen_add_chosen", p_WIDTH=len(out), i_a=Cat(added, Const(0, len(out)))[:len(out)],
        i_b=chosen, i_c=otherwise, i_choose=choose, o_y=out)
    return out
