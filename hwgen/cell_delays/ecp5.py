"""Delays of ECP5 chips, speed grade 6, in picoseconds.

Those that nextpnr-ecp5 (0.11, with the database of Project Trellis) writes into the SDF file of a
routed design (``--sdf``), the slowest of each three. What it leaves out is left out here too: how
soon after its clock a LUT's memory has new contents, the register in the middle of a multiplier,
and the signs of a multiplier's operands where it has no register.
"""

from collections.abc import Iterator, Mapping
from math import log2

from .delays import Arc, Cell, CellDelays, Delays, influences

__all__ = ["Ecp5"]

LUT = 236  # from each input
MUXES = {"PFUMX": {"ALUT": 165, "BLUT": 165, "C0": 256},
         "L6MUX21": {"D0": 239, "D1": 242, "SD": 256}}
# By output of a CCU2C: from CIN, and from the inputs of its two LUTs.
CCU2C: dict[str, tuple[int, tuple[int, ...]]] = {
    "S0": (443, (236,)), "S1": (71 + 403, (447 + 403, 236)), "COUT": (71, (447, 447))}
FF_OUT = 525
FF_SETUPS = {"DI": 0, "M": 0, "CE": 0, "LSR": 424}
FF_WIRE = 130  # of a LUT to the flip-flop beside it
# Of a TRELLIS_DPR16X4: setups, with the wire from the slice that holds its write port.
RAM_SETUPS = {"DI": 80, "WAD": 80, "WRE": 392}
# Of a DP16KD by side: clock to output without and with output register, setups.
BRAM_OUTS = {"A": {False: 5609, True: 973}, "B": {False: 5830, True: 956}}
BRAM_SETUPS = {"A": {"AD": 251, "DI": 218, "CE": 211, "WE": 139, "OCE": 226, "CS": 20, "RST": 579},
               "B": {"AD": 205, "DI": 134, "CE": 340, "WE": 0, "OCE": 253, "CS": 0, "RST": 585}}
# Of a MULT18X18D: from an input to P; clock to P of the registers at its inputs and at P; setups
# at these.
DSP, DSP_OUT_A, DSP_OUT_P = 3927, 3864, 735
DSP_SETUP_A, DSP_SETUP_P = 84, 3486
DSP_SETUPS = {"CE": 252, "RST": 95}

# What a net to or from a memory or multiplier takes more, found as the allowance of route_ps with
# fan-outs below 8, but of one design each: they stand in few rows of the chip.
FAR = {"DP16KD": 600, "MULT18X18D": 250}

_CLOCKS = {"CLK", "WCK", "CLKA", "CLKB", "CLK0", "CLK1", "CLK2", "CLK3"}
_NOT_TIMED = {"VHI", "VLO", "DCCA", "$scopeinfo"}


class Ecp5(Delays):
    """ECP5, speed grade 6."""

    ff_out = FF_OUT

    def of(self, cell: Cell) -> CellDelays | None:
        kind = cell["type"]
        if kind in ("LUT4", "INV"):
            return CellDelays(tuple(_lut(cell)))
        if kind in MUXES:
            return CellDelays(tuple(Arc(port, 0, "Z", 0, ps) for port, ps in MUXES[kind].items()))
        if kind == "CCU2C":
            return CellDelays(_CCU2C_ARCS, carry="CIN")
        if kind == "TRELLIS_FF":
            return CellDelays((), {"Q": FF_OUT}, FF_SETUPS, "DI")
        if kind == "TRELLIS_DPR16X4":
            return CellDelays(_DPR16X4_ARCS, {}, RAM_SETUPS)
        if kind == "DP16KD":
            return _block_ram(cell)
        if kind == "MULT18X18D":
            return _multiplier(cell)
        return CellDelays() if kind in _NOT_TIMED else None

    def is_clock(self, kind: str, port: str) -> bool:
        return port in _CLOCKS

    def route_ps(self, fanout: int, driver: str = "", kind: str = "") -> int:
        """85 % of what nextpnr's nets take in the mean: 711 + 94 * log2(fanout), with a standard
        deviation of 400, over 127 000 inputs of ten routed designs. It places the nets of the
        slowest paths closer than others.
        """
        return round(600 + 80 * log2(max(fanout, 1))) + FAR.get(driver, 0) + FAR.get(kind, 0)

    def wire_ps(self, driver: str, output: str, kind: str, port: str) -> int | None:
        if port == "CIN":
            return 0 if output == "COUT" else None
        if kind in MUXES and port not in ("C0", "SD"):
            return 0 if driver in (("LUT4", "INV") if kind == "PFUMX" else MUXES) else None
        # nextpnr puts no flip-flop beside a multiplexer.
        beside = driver in ("LUT4", "INV", "TRELLIS_DPR16X4") or output in ("S0", "S1")
        return FF_WIRE if port == "DI" and kind == "TRELLIS_FF" and beside else None

    def sole(self, kind: str, port: str) -> str:
        return "DI" if kind == "TRELLIS_FF" and port == "DI" else ""

    def detour_ps(self, driver: str, output: str, kind: str, port: str) -> int:
        # A chain is entered, and left other than at a sum, through a CCU2C more.
        into = CCU2C["COUT"][1][0] if port == "CIN" and output != "COUT" else 0
        return into + (CCU2C["S0"][0] if output == "COUT" and port != "CIN" else 0)


def _lut(cell: Cell) -> Iterator[Arc]:
    nets = cell["connections"]
    if cell["type"] == "INV":
        yield Arc("A", 0, "Z", 0, LUT, 1)
        return
    for port in sorted(influences(int(cell["parameters"]["INIT"], 2), "ABCD", nets)):
        yield Arc(port, 0, "Z", 0, LUT, 1)


def _ccu2c() -> Iterator[Arc]:
    for output, (carry, halves) in CCU2C.items():
        yield Arc("CIN", 0, output, 0, carry)
        for half, ps in enumerate(halves):
            for port in "ABCD":
                yield Arc(f"{port}{half}", 0, output, 0, ps, 1)


_CCU2C_ARCS = tuple(_ccu2c())
_DPR16X4_ARCS = tuple(Arc("RAD", n, "DO", bit, LUT, 1) for n in range(4) for bit in range(4))


def _block_ram(cell: Cell) -> CellDelays:
    outputs, setups = {}, {}
    for port, direction in cell["port_directions"].items():
        kind = port.rstrip("0123456789")
        name, side = kind[:-1], kind[-1]
        if direction == "output":
            outputs[port] = BRAM_OUTS[side][_text(cell, f"REGMODE_{side}", "NOREG") == "OUTREG"]
        elif port not in _CLOCKS:
            setups[port] = BRAM_SETUPS[side][name]
    return CellDelays((), outputs, setups)


def _multiplier(cell: Cell) -> CellDelays:
    registered = {name: _text(cell, f"REG_{name}_CLK", "NONE") != "NONE"
                  for name in ("INPUTA", "INPUTB", "OUTPUT")}
    ports = cell["port_directions"]
    products = [port for port, direction in ports.items()
                if direction == "output" and port.startswith("P")]
    setups: dict[str, int] = {}
    arcs: list[Arc] = []
    for port, direction in ports.items():
        side = port.rstrip("0123456789")
        if direction == "output" or port in _CLOCKS:
            continue
        if side in DSP_SETUPS:
            setups[port] = DSP_SETUPS[side]
        elif side in ("A", "B") and registered[f"INPUT{side}"]:
            setups[port] = DSP_SETUP_A
        elif side in ("A", "B") and registered["OUTPUT"]:
            setups[port] = DSP_SETUP_P
        elif side in ("A", "B"):
            arcs += [Arc(port, 0, to, 0, DSP) for to in products]
    out = DSP_OUT_P if registered["OUTPUT"] else \
        DSP_OUT_A if registered["INPUTA"] or registered["INPUTB"] else None
    outputs: Mapping[str, int] = {} if out is None else dict.fromkeys(products, out)
    return CellDelays(tuple(arcs), outputs, setups)


def _text(cell: Cell, name: str, default: str) -> str:
    return cell.get("parameters", {}).get(name, default).strip()
