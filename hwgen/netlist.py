"""Resources of a mapped netlist, from the JSON that Yosys writes.

The counts are those of ``docs/report.md``: every LUT site that the design takes on the chip, not
only the cells called LUT.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from .errors import ToolError
from .resources import Resources

__all__ = ["cells_of", "count_resources", "FAMILIES"]


def _sites(sites: int) -> Resources:
    """LUT sites used as memory."""
    return Resources(lut=sites, lutram=sites)


_LUT = Resources(lut=1)
_FF = Resources(ff=1)
_FREE = Resources()

# Xilinx 7 series, by UG953. A CARRY4 is itself free: _route_throughs counts the LUTs it costs.
_XC7: dict[str, Resources] = {
    **dict.fromkeys(["LUT1", "LUT2", "LUT3", "LUT4", "LUT5", "LUT6", "LUT6_2", "INV"], _LUT),
    **dict.fromkeys(["MUXF7", "MUXF8", "CARRY4", "BUFG", "VCC", "GND", "$scopeinfo"], _FREE),
    **dict.fromkeys(["FDRE", "FDSE", "FDCE", "FDPE", "FDRE_1", "FDSE_1", "FDCE_1", "FDPE_1"], _FF),
    **dict.fromkeys(["SRL16E", "SRLC16E", "SRLC32E"], _sites(1)),
    **dict.fromkeys(["RAM16X1S", "RAM32X1S", "RAM64X1S"], _sites(1)),
    **dict.fromkeys(["RAM16X1D", "RAM32X1D", "RAM64X1D", "RAM128X1S"], _sites(2)),
    **dict.fromkeys(["RAM32M", "RAM64M", "RAM128X1D", "RAM256X1S"], _sites(4)),
    "RAMB36E1": Resources(bram36=1), "RAMB18E1": Resources(bram36=0.5),
    "DSP48E1": Resources(dsp=1),
}
_XC7_LUTS = {"LUT1", "LUT2", "LUT3", "LUT4", "LUT5", "LUT6", "LUT6_2", "INV"}

# Xilinx UltraScale+, by UG974: a slice is eight LUTs and a CARRY8, which Yosys infers as CARRY4.
_XCUP: dict[str, Resources] = {
    **{name: cost for name, cost in _XC7.items() if not name.startswith(("RAMB", "DSP"))},
    **dict.fromkeys(["MUXF9", "CARRY8"], _FREE),
    "RAM512X1S": _sites(8), "RAM256X1D": _sites(8),
    **dict.fromkeys(["RAM32M16", "RAM64M8"], _sites(8)),
    "RAMB36E2": Resources(bram36=1), "RAMB18E2": Resources(bram36=0.5),
    "DSP48E2": Resources(dsp=1),
}

# Lattice ECP5, as nextpnr-ecp5 packs it: a CCU2C is the two LUTs of a slice, a TRELLIS_DPR16X4 the
# four LUTs of two slices and, for its write port, the two of a third.
_ECP5: dict[str, Resources] = {
    "LUT4": _LUT, "INV": _LUT, "CCU2C": Resources(lut=2),
    "TRELLIS_DPR16X4": Resources(lut=6, lutram=4),
    **dict.fromkeys(["PFUMX", "L6MUX21", "VHI", "VLO", "$scopeinfo"], _FREE),
    "TRELLIS_FF": _FF,
    "DP16KD": Resources(bram36=0.5), "PDPW16KD": Resources(bram36=0.5),
    "MULT18X18D": Resources(dsp=1),
}

# Lattice iCE40, as nextpnr-ice40 packs it; _ice40_cells counts the other logic cells. A block RAM
# has 4 Kbit of the 36.
_ICE40: dict[str, Resources] = {
    "SB_LUT4": _LUT, **dict.fromkeys(["SB_CARRY", "$scopeinfo"], _FREE),
    **dict.fromkeys([f"SB_DFF{edge}{enable}{reset}" for edge in ("", "N") for enable in ("", "E")
                     for reset in ("", "R", "S", "SR", "SS")], _FF),
    **dict.fromkeys([f"SB_RAM40_4K{edges}" for edges in ("", "NR", "NW", "NRNW")],
                    Resources(bram36=1 / 9)),
    "SB_MAC16": Resources(dsp=1),
}

# Gowin GW1N and GW2A, as nextpnr-himbaechel packs it: an ALU takes the place of a LUT, a RAM16SDP4
# a whole CFU, four of whose eight LUTs are memory. _gowin_passed counts the LUTs before flip-flops.
_GOWIN: dict[str, Resources] = {
    **dict.fromkeys(["LUT1", "LUT2", "LUT3", "LUT4", "ALU"], _LUT),
    **dict.fromkeys([f"MUX2_LUT{inputs}" for inputs in (5, 6, 7, 8)], _FREE),
    **dict.fromkeys(["VCC", "GND", "$scopeinfo"], _FREE),
    **dict.fromkeys([f"DFF{edge}{reset}{enable}" for edge in ("", "N") for enable in ("", "E")
                     for reset in ("", "S", "R", "P", "C")], _FF),
    "RAM16SDP4": Resources(lut=8, lutram=4),
    **dict.fromkeys(["SP", "SPX9", "SDPB", "SDPX9B", "DPB", "DPX9B", "pROM", "pROMX9"],
                    Resources(bram36=0.5)),
    "MULT9X9": Resources(dsp=0.5), "MULT18X18": Resources(dsp=1), "MULT36X36": Resources(dsp=4),
}

_GOWIN_LUTS = {"LUT1", "LUT2", "LUT3", "LUT4", "ALU"}
_CARRY_INPUTS = {"CI", "CYINIT", "CI_TOP"}

_LATCHES = {"LDCE", "LDPE", "LDCPE", "$_DLATCH_P_", "$_DLATCH_N_",
            *(f"DL{edge}{reset}{enable}" for edge in ("", "N") for enable in ("", "E")
              for reset in ("", "P", "C"))}

Cells = Mapping[str, Any]


def count_resources(netlist: Mapping[str, Any], module: str, family: str, *,
                    black_boxes: Iterable[str] = ()) -> Resources:
    """Resources of one module, with the modules in it that kept their hierarchy.

    Parameters
    ----------
    netlist
        What Yosys's ``write_json`` wrote, parsed.
    module
        Name of the module to count.
    family
        A key of :data:`FAMILIES`.
    black_boxes
        Cell types that are counted elsewhere.

    Raises
    ------
    ToolError
        A cell type is not known, so that nothing goes uncounted, or it is a latch.
    """
    costs, extra = FAMILIES[family]
    contents = netlist["modules"][module]
    cells: Cells = contents["cells"]
    types = Counter(cell["type"] for cell in cells.values())
    for box in black_boxes:
        types.pop(box, None)
    inner = {name: types.pop(name) for name in sorted(types) if _is_kept(netlist, name)}
    latches = sorted(types.keys() & _LATCHES)
    unknown = sorted(types.keys() - costs.keys() - _LATCHES)
    problems = [f"{module}: {types[name]} latches ({name}) in the netlist; "
                "a register lacks its clock or an assignment" for name in latches]
    problems += [f"{module}: primitive {name} of family {family} has no known cost"
                 for name in unknown]
    if problems:
        raise ToolError(*problems)
    total = extra(contents)
    for name, count in types.items():
        total += _times(costs[name], count)
    for name, count in inner.items():
        total += _times(count_resources(netlist, name, family, black_boxes=black_boxes), count)
    return total


def cells_of(netlist: Mapping[str, Any], module: str,
             black_boxes: Iterable[str] = ()) -> dict[str, Any]:
    """A module and those in it that kept their hierarchy, without names of nets and attributes.

    Returns
    -------
    dict
        ``{"top": module, "modules": {name: {"ports": {...}, "cells": {...}}}}``; cells have
        ``type``, ``parameters`` and ``connections``.
    """
    found: dict[str, Any] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        contents = netlist["modules"][name]
        found[name] = {"ports": contents["ports"], "cells": {
            key: {part: cell[part] for part in ("type", "parameters", "connections")}
            for key, cell in contents["cells"].items() if cell["type"] != "$scopeinfo"}}
        kinds = {cell["type"] for cell in found[name]["cells"].values()}
        waiting += [kind for kind in kinds - found.keys() - set(black_boxes)
                    if _is_kept(netlist, kind)]
    return {"top": module, "modules": found}


def _times(cost: Resources, count: int) -> Resources:
    return Resources(cost.lut * count, cost.lutram * count, cost.ff * count,
                     cost.bram36 * count, cost.dsp * count)


def _is_kept(netlist: Mapping[str, Any], name: str) -> bool:
    """Whether a cell type is a module of the design rather than a primitive."""
    attributes = netlist["modules"].get(name, {}).get("attributes", {"blackbox": "1"})
    return not attributes.keys() & {"blackbox", "whitebox"}


def _route_throughs(contents: Mapping[str, Any]) -> Resources:
    """LUTs spent to reach the S inputs of carry chains.

    In a slice of 7 series and UltraScale+ chips the S input of a carry bit is hard-wired to output
    O6 of the bit's LUT. If no LUT of the netlist drives S, the LUT is spent all the same: on
    passing the signal on, or on a constant. A bit is used if its O or CO is read, or if a higher
    used bit takes its carry.
    """
    cells: Cells = contents["cells"]
    carries = {name: cell["connections"] for name, cell in cells.items()
               if cell["type"] in ("CARRY4", "CARRY8")}
    driven_by_lut: set[int] = set()
    read: set[int] = set()
    for port in contents["ports"].values():
        read.update(port["bits"])
    for name, cell in cells.items():
        for port, bits in cell["connections"].items():
            if cell["port_directions"][port] == "output":
                if cell["type"] in _XC7_LUTS:
                    driven_by_lut.update(bits)
            elif name not in carries or port not in _CARRY_INPUTS:
                read.update(bits)
    source: dict[int, tuple[str, int]] = {}  # net to the carry and bit that drive it
    for name, ports in carries.items():
        for port in ("O", "CO"):
            source |= {net: (name, bit) for bit, net in enumerate(ports.get(port, []))}
    used = dict.fromkeys(carries, 0)  # how many bits, from bit 0 up
    found = [source[net] for net in source.keys() & read]
    while found:
        name, bit = found.pop()
        if not used[name]:  # its carry input is in use from now on
            found += [source[net] for port in _CARRY_INPUTS
                      for net in carries[name].get(port, []) if net in source]
        used[name] = max(used[name], bit + 1)
    return Resources(lut=sum(ports["S"][bit] not in driven_by_lut
                             for name, ports in carries.items() for bit in range(used[name])))


def _ice40_cells(contents: Mapping[str, Any]) -> Resources:
    """Logic cells without a LUT of the netlist.

    A logic cell has a LUT, a carry and a flip-flop behind them with one output for both. So a
    flip-flop shares a cell with the LUT that drives it and nothing else, and a carry with a LUT of
    the same two inputs; without one, the cell's LUT is spent.
    """
    cells: Cells = contents["cells"]
    readers = _readers(contents)
    luts = {cell["connections"]["O"][0]: cell["connections"] for cell in cells.values()
            if cell["type"] == "SB_LUT4"}
    adders = Counter((ports["I1"][0], ports["I2"][0]) for ports in luts.values())
    alone = 0
    for cell in cells.values():
        ports = cell["connections"]
        if cell["type"].startswith("SB_DFF"):
            alone += ports["D"][0] not in luts or readers[ports["D"][0]] > 1
        elif cell["type"] == "SB_CARRY":
            pair = ports.get("I0", ["0"])[0], ports.get("I1", ["0"])[0]
            alone += not adders[pair]
            adders[pair] -= bool(adders[pair])
    return Resources(lut=alone)


def _gowin_passed(contents: Mapping[str, Any]) -> Resources:
    """LUTs that a flip-flop is reached through: D is wired to the output of the LUT beside it."""
    cells: Cells = contents["cells"]
    driven = {bit for cell in cells.values() if cell["type"] in _GOWIN_LUTS
              for bit in cell["connections"]["SUM" if cell["type"] == "ALU" else "F"]}
    beside = Counter(cell["connections"]["D"][0] for cell in cells.values()
                     if cell["type"].startswith("DFF"))
    return Resources(lut=sum(count - (bit in driven) for bit, count in beside.items()))


def _readers(contents: Mapping[str, Any]) -> Counter[int | str]:
    """How many pins and ports read each net."""
    found: Counter[int | str] = Counter()
    for port in contents["ports"].values():
        if port["direction"] == "output":
            found.update(port["bits"])
    for cell in contents["cells"].values():
        for port, bits in cell["connections"].items():
            if cell["port_directions"][port] == "input":
                found.update(bits)
    return found


FAMILIES: dict[str, tuple[dict[str, Resources], Callable[[Mapping[str, Any]], Resources]]] = {
    "xc7": (_XC7, _route_throughs),
    "xcup": (_XCUP, _route_throughs),
    "ecp5": (_ECP5, lambda contents: _FREE),
    "ice40": (_ICE40, _ice40_cells),
    "gowin": (_GOWIN, _gowin_passed),
}
"""Cost of each primitive of a chip family, and what its netlists cost beyond."""
