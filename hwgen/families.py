"""Chip families: who makes them, how their parts are named, and how Yosys maps to them.

What their primitives cost is in :mod:`hwgen.netlist`.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from .resources import Resources

__all__ = ["FAMILIES", "Family", "family_cost", "synth_command"]


@dataclass(frozen=True)
class Family:
    """What depends on the chip family alone.

    Parameters
    ----------
    vendor, flow
        Of all boards with such a chip.
    part
        Pattern of a full part number.
    example
        A part number that the pattern takes.
    command
        Yosys's command for a part number, without ``-top``.
    bram_steps
        Into how many equal parts 36 Kbit of block RAM divide.
    lut_ram
        Whether LUTs can be memory.
    lut_factor, ff_factor
        LUTs and flip-flops for one that blocks estimate, which they do for LUTs of six inputs and
        shift registers in LUTs; docs/boards.md says of which networks they are.
    ff_of_memory
        Flip-flops for a LUT used as memory: delays, where there are no shift registers in LUTs.
    """

    vendor: str
    flow: str
    part: str
    example: str
    command: Callable[[str], str]
    bram_steps: int = 2
    lut_ram: bool = True
    lut_factor: float = 1.0
    ff_factor: float = 1.0
    ff_of_memory: float = 0.0


def _ice40(part: str) -> str:
    # Only UltraPlus chips have multipliers.
    if "UP" in part:
        return "synth_ice40 -device u -dsp"
    return f"synth_ice40 -device {'lp' if 'LP' in part else 'hx'}"


FAMILIES = {
    "xc7": Family(
        "xilinx", "vivado", r"xc7[a-z0-9]+-[0-9][a-zA-Z]*", "xc7z010clg400-1",
        lambda part: "synth_xilinx -family xc7 -flatten -noiopad -noclkbuf"),
    "xcup": Family(
        "xilinx", "vivado",
        r"xc(zu\d+[a-z]+|k2[46]|[akvs]u\d+p|u\d+[a-z]*)-[a-z]+\d+-\d[A-Z]*-[a-z]",
        "xczu3eg-sbva484-1-i",
        lambda part: "synth_xilinx -family xcup -flatten -noiopad -noclkbuf"),
    "ecp5": Family(
        "lattice", "nextpnr-ecp5", r"LFE5U(M|M5G)?-(12|25|45|85)F-[6-8](BG|MG|TG)[0-9]+[CI]",
        "LFE5U-85F-6BG381C", lambda part: "synth_ecp5", lut_factor=2.0, ff_of_memory=2.0),
    "ice40": Family(
        "lattice", "nextpnr-ice40", r"iCE40(UP[35]K|(HX|LP)[148]K)-[A-Z]+[0-9]+I?",
        "iCE40UP5K-SG48I", _ice40, bram_steps=9, lut_ram=False, lut_factor=4.8, ff_factor=2.3),
    "gowin": Family(
        "gowin", "nextpnr-himbaechel", r"GW(1N|2A)[A-Z]*-(LV|UV)\d+[A-Z]+\d+P?(C\d/I\d|ES)",
        "GW1NR-LV9QN88PC6/I5",
        lambda part: f"synth_gowin -family {'gw2a' if part.startswith('GW2A') else 'gw1n'} "
                     "-noiopads", lut_factor=4.5, ff_factor=2.1),
}
"""By the name that boards give as ``family``."""


def synth_command(family: str, part: str = "") -> str:
    """Yosys's command that maps to a part, without ``-top``; by default to the family's example."""
    found = FAMILIES[family]
    return found.command(part if re.fullmatch(found.part, part) else found.example)


def family_cost(cost: Resources, family: str) -> Resources:
    """A block's estimate on a family. Where no LUT can be memory, none is counted as such."""
    found = FAMILIES[family]
    return replace(cost, lut=cost.lut * found.lut_factor, lutram=cost.lutram * found.lut_ram,
                   ff=cost.ff * found.ff_factor + cost.lutram * found.ff_of_memory)
