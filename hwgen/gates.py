"""A mapped design as gates: nets, and what sets and reads them, whatever the chip.

Primitives of a chip become a few kinds of cells (:mod:`hwgen.gate_primitives`), which
``sim/gates.cpp`` simulates; beside that it is kept what drives each net, and what kinds of pins it
leads to, for :mod:`hwgen.power`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .errors import ToolError

__all__ = ["NONE", "ONE", "ZERO", "BlockPort", "BlockRam", "Cell", "Driver", "Gates", "PortBit"]

ZERO, ONE = 0, 1  # nets of the constants
NONE = -1  # an output that leads nowhere

Nets = Sequence[int]


class Driver(NamedTuple):
    """What sets a net.

    Parameters
    ----------
    kind
        ``lut``, ``mux``, ``carry``, ``ff``, ``srl``, ``lutram``, ``bram``, ``dsp`` or ``port``.
    owner
        Number of the block: its place in ``design.blocks``; their count for the top.
    """

    kind: str
    owner: int


class PortBit(NamedTuple):
    """A bit of a port of a block RAM, at bit ``base + address * stride`` of the memory."""

    data_in: int
    data_out: int
    write: int
    base: int
    stride: int
    reset: int
    first: int


class BlockPort(NamedTuple):
    """A port of a block RAM: nets, and its mode on writes (0 new word, 1 old word, 2 no change)."""

    enable: int
    register_enable: int
    reset: int
    register_reset: int
    mode: int
    has_register: int
    address: Nets
    bits: Sequence[PortBit]


@dataclass(frozen=True)
class BlockRam:
    """A block RAM: its contents as words of 64 bits, its ports, and its size in 36 Kb."""

    words: tuple[int, ...]
    ports: tuple[BlockPort, ...]
    size: float
    owner: int


@dataclass(frozen=True)
class Cell:
    """A primitive of the netlist, its nets numbered as in the whole design."""

    kind: str
    parameters: Mapping[str, Any]
    pins: Mapping[str, tuple[int, ...]]
    owner: int
    place: str = field(compare=False, default="")

    def nets(self, port: str, width: int) -> list[int]:
        """Nets of a port's bits 0 to width - 1; 0 where it is not connected."""
        found = list(self.pins.get(port, ()))[:width]
        return found + [ZERO] * (width - len(found))

    def net(self, port: str, default: int = ZERO) -> int:
        return self.pins[port][0] if self.pins.get(port) else default

    def outputs(self, port: str, width: int) -> list[int]:
        found = list(self.pins.get(port, ()))[:width]
        return found + [NONE] * (width - len(found))

    def numbered(self, prefix: str, count: int, default: int = ZERO) -> list[int]:
        """Nets of the ports ``<prefix>0``, ``<prefix>1``, ..."""
        return [self.net(f"{prefix}{n}", default) for n in range(count)]

    def number(self, name: str, default: int = 0) -> int:
        """A parameter that is a number; bits that are not known count as 0."""
        value = self.parameters.get(name, default)
        if isinstance(value, int):
            return value
        return int(value.strip().replace("x", "0").replace("z", "0") or "0", 2)

    def text(self, name: str, default: str) -> str:
        # Yosys puts a space behind texts that look like numbers.
        return str(self.parameters.get(name, default)).strip()

    def refusal(self, what: str) -> ToolError:
        return ToolError(f"{self.place}: {self.kind} {what}, which the simulation of mapped "
                         "netlists does not know")


class Gates:
    """Cells and nets of a design under construction, then numbered densely by :meth:`finish`."""

    def __init__(self) -> None:
        self._same = [ZERO, ONE]  # by net: one that it is wired to, itself in the end
        self.luts: list[list[Any]] = []  # out, whether within a step, table, inputs
        self.flip_flops: list[list[Any]] = []  # q, reset value, first value, [d, ce, sr]
        self.shifts: list[list[Any]] = []  # q, last, d, ce, bits, address
        self.rams: list[list[Any]] = []  # write, write address, in, out, read address, words
        self.blocks: list[BlockRam] = []
        self.slices: list[tuple[list[list[int]], list[int], list[int]]] = []
        self.multipliers: list[list[Any]] = []  # a, b, p, signed a, signed b
        self.drivers: dict[int, Driver] = {}
        self.loads: list[tuple[int, str]] = []  # net and kind of pin
        self.owners: dict[str, list[int]] = {
            kind: [] for kind in ("ff", "srl", "lutram", "bram", "dsp")}
        self.slice_inputs: list[list[int]] = []  # of each DSP slice or multiplier, the operands
        self.ports: dict[str, list[int]] = {}
        self.count = 0

    def new(self) -> int:
        self._same.append(len(self._same))
        return len(self._same) - 1

    def join(self, one: int, other: int) -> None:
        """Two nets are wired together."""
        low, high = sorted((self.find(one), self.find(other)))
        if (low, high) == (ZERO, ONE):
            raise ToolError("a net of the mapped design is wired to 0 and to 1")
        self._same[high] = low

    def find(self, net: int) -> int:
        while self._same[net] != net:
            self._same[net] = net = self._same[self._same[net]]
        return net

    def drive(self, nets: Iterable[int], kind: str, owner: int) -> None:
        for net in nets:
            if net != NONE:
                self.drivers[net] = Driver(kind, owner)

    def load(self, nets: Iterable[int], kind: str) -> None:
        self.loads += [(net, kind) for net in nets]

    def lut(self, out: int, table: int, inputs: Nets, at_once: bool = False) -> None:
        """A look-up table; ``at_once``: what is faster than a LUT and its wire by far."""
        if out != NONE:
            self.luts.append([out, at_once, table, list(inputs)])

    def both(self, one: int, other: int) -> int:
        """A net that is 1 where both are."""
        if ZERO in (one, other):
            return ZERO
        if ONE in (one, other):
            return one if other == ONE else other
        out = self.new()
        self.lut(out, 0b1000, [one, other], at_once=True)
        return out

    def inverted(self, net: int) -> int:
        if net in (ZERO, ONE):
            return ONE - net
        out = self.new()
        self.lut(out, 0b01, [net], at_once=True)
        return out

    def finish(self) -> None:
        """Number the nets from 0 without gaps; those that are wired together are one."""
        roots = {net: self.find(net) for net in range(len(self._same))}
        dense = {root: n for n, root in enumerate(sorted(set(roots.values())))}
        number = {net: dense[root] for net, root in roots.items()} | {NONE: NONE}

        def one(value: Any) -> Any:
            return [one(item) for item in value] if isinstance(value, list) else number[value]

        self.luts = [[number[out], fast, table, one(inputs)]
                     for out, fast, table, inputs in self.luts]
        self.flip_flops = [[number[q], to, first, one(inputs)]
                           for q, to, first, inputs in self.flip_flops]
        self.shifts = [[*one(nets), bits, one(address)] for *nets, bits, address in self.shifts]
        self.rams = [[*one(nets), words] for *nets, words in self.rams]
        self.blocks = [BlockRam(block.words, tuple(_numbered(port, number) for port in block.ports),
                                block.size, block.owner) for block in self.blocks]
        self.slices = [(one(wide), one(single), numbers) for wide, single, numbers in self.slices]
        self.multipliers = one(self.multipliers)
        self.slice_inputs = one(self.slice_inputs)
        self.ports = {name: one(nets) for name, nets in self.ports.items()}
        self.loads = [(number[net], kind) for net, kind in self.loads]
        self.drivers = {number[net]: driver for net, driver in self.drivers.items()}
        self.count = len(dense)

    def write(self, file: Path) -> None:
        """The netlist as ``sim/gates.cpp`` reads it: numbers of 64 bits."""
        numbers: list[int] = [self.count, len(self.luts)]
        for (out, _, table, inputs), rank in zip(self.luts, self._ranks()):
            numbers += [out, rank, table, len(inputs), *inputs]
        numbers.append(len(self.flip_flops))
        for q, to, first, inputs in self.flip_flops:
            numbers += [q, to, first, *inputs]
        numbers.append(len(self.shifts))
        for *nets, bits, address in self.shifts:
            numbers += [*nets, bits, len(address), *address]
        numbers.append(len(self.rams))
        for write, *lists, words in self.rams:
            numbers += [write]
            for values in (*lists, *words):
                numbers += [len(values), *values]
        numbers.append(len(self.blocks))
        for block in self.blocks:
            numbers += [len(block.words), *block.words, len(block.ports)]
            for port in block.ports:
                numbers += [*port[:6], len(port.address), *port.address, len(port.bits)]
                for bit in port.bits:
                    numbers += bit
        numbers.append(len(self.slices))
        for wide, single, settings in self.slices:
            for values in wide:
                numbers += [len(values), *values]
            numbers += [*single, *settings]
        numbers.append(len(self.multipliers))
        for a, b, p, signed_a, signed_b in self.multipliers:
            for values in (a, b, p):
                numbers += [len(values), *values]
            numbers += [signed_a, signed_b]
        numbers += self._top()
        words = np.array([number & (1 << 64) - 1 for number in numbers], dtype="<u8")
        file.write_bytes(words.tobytes())

    def _top(self) -> list[int]:
        single = ("rst", "s_axis_tvalid", "s_axis_tready", "s_axis_tlast", "m_axis_tvalid",
                  "m_axis_tready", "m_axis_tlast")
        numbers = [self.ports[name][0] for name in single]
        for name in ("s_axis_tdata", "m_axis_tdata"):
            numbers += [len(self.ports[name]), *self.ports[name]]
        return numbers

    def _ranks(self) -> list[int]:
        """By LUT: 0, or of those within a step 1 more than all such that it reads."""
        fast = {lut[0]: n for n, lut in enumerate(self.luts) if lut[1]}
        ranks = [0] * len(self.luts)
        waiting = list(fast.values())
        under_way: set[int] = set()
        while waiting:
            n = waiting[-1]
            before = [fast[net] for net in self.luts[n][3] if net in fast]
            unknown = [m for m in before if not ranks[m]]
            if ranks[n] or not unknown:
                ranks[n] = ranks[n] or 1 + max((ranks[m] for m in before), default=0)
                under_way.discard(n)
                waiting.pop()
            elif n in under_way:
                raise ToolError("carry chains of the mapped design form a loop")
            else:
                under_way.add(n)
                waiting += unknown
        return ranks


def _numbered(port: BlockPort, number: Mapping[int, int]) -> BlockPort:
    bits = [bit._replace(data_in=number[bit.data_in], data_out=number[bit.data_out],
                         write=number[bit.write]) for bit in port.bits]
    return port._replace(
        enable=number[port.enable], register_enable=number[port.register_enable],
        reset=number[port.reset], register_reset=number[port.register_reset],
        address=[number[net] for net in port.address], bits=bits)
