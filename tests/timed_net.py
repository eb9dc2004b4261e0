"""Hand-made mapped netlists whose paths are known."""

from hwgen.cell_delays import Delays
from hwgen.timing import ModuleTiming, Path, module_timing

__all__ = ["TimedNet", "parity"]


def parity(inputs: int) -> str:
    """INIT of a LUT that depends on all its inputs."""
    return "".join(str(entry.bit_count() % 2) for entry in reversed(range(1 << inputs)))


class TimedNet:
    """A module as Yosys's ``write_json`` gives it: nets by name, no optimization."""

    delays: Delays

    def __init__(self, **ports: str) -> None:
        self.numbers: dict[str, int] = {}
        self.ports = {name: {"direction": way, "bits": [self.bit(name)]}
                      for name, way in ports.items()}
        self.cells: dict[str, dict] = {}

    def bit(self, name):
        return name if name in ("0", "1") else self.numbers.setdefault(
            name, len(self.numbers) + 2)

    def cell(self, kind, outputs=("O", "Q"), parameters=None, **ports):
        self.cells[f"cell{len(self.cells)}"] = {
            "type": kind, "parameters": parameters or {},
            "port_directions": {p: "output" if p in outputs else "input" for p in ports},
            "connections": {p: [self.bit(bit) for bit in bits.split()]
                            for p, bits in ports.items()}}

    @property
    def contents(self):
        return {"attributes": {}, "ports": self.ports, "cells": self.cells, "netnames": {
            name: {"hide_name": 0, "bits": [bit]} for name, bit in self.numbers.items()}}

    def timing(self) -> ModuleTiming:
        return module_timing({"modules": {"m": self.contents}}, "m", self.delays)

    def longest(self) -> Path:
        return self.timing().inner[0]
