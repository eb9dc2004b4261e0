"""What :mod:`hwgen.timing` needs to know of a chip family."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

__all__ = ["Arc", "Cell", "CellDelays", "Delays", "influences"]

Cell = Mapping[str, Any]
"""A cell as Yosys's ``write_json`` gives it."""


class Arc(NamedTuple):
    """A delay from an input bit of a cell to an output bit of it."""

    port: str
    bit: int
    to: str
    to_bit: int
    ps: int
    levels: int = 0


class CellDelays(NamedTuple):
    """Delays of a cell.

    Parameters
    ----------
    arcs
        Ways through it.
    outputs, setups
        Clock to output, and setup, by port.
    data
        Of a register: the port of its data.
    carry
        Of a part of a carry chain: the port at which it goes on with the part before.
    """

    arcs: tuple[Arc, ...] = ()
    outputs: Mapping[str, int] = {}
    setups: Mapping[str, int] = {}
    data: str = ""
    carry: str = ""


class Delays(ABC):
    """Delays of a family's primitives, in picoseconds.

    Members
    -------
    ff_out
        Clock to output of a flip-flop.
    """

    ff_out: int

    @abstractmethod
    def of(self, cell: Cell) -> CellDelays | None:
        """Delays of a cell of the netlist; None for a primitive that has none here."""

    @abstractmethod
    def is_clock(self, kind: str, port: str) -> bool:
        """Whether an input of a primitive is its clock."""

    @abstractmethod
    def route_ps(self, fanout: int, driver: str = "", kind: str = "") -> int:
        """Allowance for a net through the chip's routing, from one type of cell to another."""

    @abstractmethod
    def wire_ps(self, driver: str, output: str, kind: str, port: str) -> int | None:
        """Delay of the wire of its own that a net between two cells has; None if it has none.

        Given the types and ports of the cells. :meth:`sole` says what else must hold.
        """

    @abstractmethod
    def sole(self, kind: str, port: str) -> str:
        """The kind of an input, if a net has a wire of its own to one of that kind only.

        Empty for an input of which a net's wire can reach several, or none.
        """

    @abstractmethod
    def detour_ps(self, driver: str, output: str, kind: str, port: str) -> int:
        """Delay in cells that the chip needs to bring a net to an input, and the netlist lacks."""


def influences(table: int, inputs: Sequence[str], nets: Mapping[str, list[Any]]) -> set[str]:
    """The inputs of a look-up table that its output depends on: constants and idle ones do not.

    ``nets`` are the connections of the cell.
    """
    entries: Iterable[int] = range(1 << len(inputs))
    varying = [(n, port) for n, port in enumerate(inputs) if not isinstance(nets[port][0], str)]
    for n, port in enumerate(inputs):  # only entries that the constant inputs select
        if isinstance(nets[port][0], str):
            value = int(nets[port][0] == "1")
            entries = [entry for entry in entries if entry >> n & 1 == value]
    return {port for n, port in varying
            if any((table >> entry ^ table >> (entry ^ 1 << n)) & 1 for entry in entries)}
