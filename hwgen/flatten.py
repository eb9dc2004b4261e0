"""The gates of a whole design, from the mapped netlists of its modules."""

from collections.abc import Mapping, Sequence
from typing import Any

from .design import Design
from .errors import ToolError
from .gate_primitives import PRIMITIVES
from .gates import ONE, ZERO, Cell, Gates

__all__ = ["flatten"]

Netlist = Mapping[str, Any]


def flatten(design: Design, netlists: Mapping[str, Netlist]) -> Gates:
    """The gates of a whole design.

    Parameters
    ----------
    design
        The design.
    netlists
        Of :func:`hwgen.synth.mapped_netlists`.

    Raises
    ------
    ToolError
        The netlist holds a primitive, or a setting of one, that has no model.
    """
    gates = Gates()
    top = netlists[design.top]
    ports = top["modules"][top["top"]]["ports"]
    gates.ports = {name: [gates.new() for _ in port["bits"]] for name, port in ports.items()}
    _Flattening(design, netlists, gates).place(top, top["top"], gates.ports, None, "")
    for name, port in ports.items():
        if port["direction"] == "input":
            gates.drive(gates.ports[name], "port", len(design.blocks))
        else:
            gates.load(gates.ports[name], "port")
    gates.finish()
    return gates


class _Flattening:
    """Puts modules into the gates, one inside the other."""

    def __init__(self, design: Design, netlists: Mapping[str, Netlist], gates: Gates) -> None:
        self.family, self.netlists, self.gates = design.family, netlists, gates
        self.primitives = PRIMITIVES[design.family]
        self.owners = {block.name: n for n, block in enumerate(design.blocks)}

    def place(self, netlist: Netlist, name: str, outside: Mapping[str, Sequence[int]],
              owner: int | None, path: str) -> None:
        """Add a module.

        Parameters
        ----------
        netlist, name
            The module, and the netlist that it is in.
        outside
            Nets at its ports.
        owner
            Number of the block that it is in; None for the top.
        path
            Names of the instances around it.
        """
        contents = netlist["modules"][name]
        nets = self._at_ports(contents, outside)
        for key, cell in contents["cells"].items():
            pins: dict[str, tuple[int, ...]] = {}
            for port, bits in cell["connections"].items():
                for bit in bits:
                    if bit not in nets:
                        nets[bit] = self.gates.new()
                pins[port] = tuple(nets[bit] for bit in bits)
            within = self.owners.get(key, len(self.owners)) if owner is None else owner
            self._add(netlist, cell, pins, within, owner is None, f"{path}.{key}".lstrip("."))

    def _at_ports(self, contents: Mapping[str, Any], outside: Mapping[str, Sequence[int]]
                  ) -> dict[Any, int]:
        nets: dict[Any, int] = {"0": ZERO, "1": ONE, "x": ZERO, "z": ZERO}
        for port, wires in outside.items():
            for bit, wire in zip(contents["ports"][port]["bits"], wires):
                if bit in nets:
                    self.gates.join(nets[bit], wire)
                else:
                    nets[bit] = wire
        return nets

    def _add(self, netlist: Netlist, cell: Mapping[str, Any], pins: Mapping[str, tuple[int, ...]],
             owner: int, in_top: bool, place: str) -> None:
        kind = cell["type"]
        if in_top and kind in self.netlists:
            block = self.netlists[kind]
            self.place(block, block["top"], pins, owner, place)
        elif kind in netlist["modules"]:
            self.place(netlist, kind, pins, owner, place)
        elif kind in self.primitives:
            self.primitives[kind](self.gates, Cell(kind, cell["parameters"], pins, owner, place))
        else:
            raise ToolError(f"{place}: primitive {kind} of family {self.family} has no model in "
                            "the simulation of mapped netlists")
