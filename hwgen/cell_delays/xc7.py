"""Delays of 7 series chips, speed grade -1, in picoseconds.

Those of Yosys's ``xilinx/cells_sim.v``, the worst of several where a port has one for each bit.
What is not in that file is marked.
"""

from collections.abc import Iterator
from math import log2

from .delays import Arc, Cell, CellDelays, Delays, influences

__all__ = ["Xc7"]

# The inputs of a LUT, the last the fastest; a LUT of fewer inputs has the fast ones.
LUT_PINS = (642, 631, 472, 407, 238, 127)
LUT_SIZES = {"INV": 1, **{f"LUT{n}": n for n in range(1, 7)}, "LUT6_2": 6}
MUXES = {"MUXF7": {"I0": 217, "I1": 223, "S": 296}, "MUXF8": {"I0": 104, "I1": 94, "S": 273}}
# By output, bit 0 to 3: from CYINIT, from CI, from bits 0 and up of DI and of S.
CARRY4: dict[str, tuple[tuple[int, int, tuple[int, ...], tuple[int, ...]], ...]] = {
    "O": ((482, 222, (), (223,)),
          (598, 334, (407,), (400, 205)),
          (584, 239, (556, 537), (523, 558, 226)),
          (642, 313, (615, 596, 438), (582, 618, 330, 227))),
    "CO": ((536, 271, (379,), (340,)),
           (494, 157, (465, 445), (433, 469)),
           (592, 228, (540, 520, 356), (512, 548, 292)),
           (580, 114, (526, 507, 398, 385), (508, 528, 378, 380))),
}
# Clock to output of a flip-flop: 303 in Yosys's file; this is what reports of routed designs show.
FF_OUT = 456
FF_SETUPS = {"D": 0, "CE": 109, "R": 404, "S": 404, "CLR": 404, "PRE": 404}
SRL_OUTS = {"Q": 1472, "Q15": 1114, "Q31": 1114}
SRL_SETUPS = {"D": 173, "CE": 109}
RAM_OUT = 1190
RAM_WRITE, RAM_DATA, RAM_ADDRESS = 654, 461, 362  # setups
RAM_MUXES = {"RAM128X1S": 397, "RAM128X1D": 397, "RAM256X1S": 519}  # MUXF7, MUXF8 at the output
BRAM_OUTS = {False: 2454, True: 882}  # without and with output register
BRAM_SETUPS = {"ADDR": 566, "WE": 532, "DI": 737, "REGCE": 360, "RSTREG": 342}
BRAM_CONTROL = 566  # of EN and RSTRAM: not in Yosys's file, as the address
DSP_CONTROL = 1441  # of OPMODE and the like without registers: not in Yosys's file, as A to a sum

_CLOCKS = {"CLK", "WCLK", "CLKARDCLK", "CLKBWRCLK"}  # beside C of a flip-flop
_NOT_TIMED = {"VCC", "GND", "BUFG", "$scopeinfo"}


class Xc7(Delays):
    """7 series, speed grade -1."""

    ff_out = FF_OUT

    def of(self, cell: Cell) -> CellDelays | None:
        kind = cell["type"]
        if kind in LUT_SIZES:
            return CellDelays(tuple(_lut(cell)))
        if kind in MUXES:
            return CellDelays(tuple(Arc(port, 0, "O", 0, ps) for port, ps in MUXES[kind].items()))
        if kind == "CARRY4":
            return CellDelays(_CARRY4_ARCS, carry="CI")
        if kind.startswith("FD"):
            return CellDelays((), {"Q": FF_OUT}, FF_SETUPS, "D")
        if kind.startswith("SRL"):
            return CellDelays(tuple(_reads(cell, "A", ["Q"])), SRL_OUTS, SRL_SETUPS, "D")
        if kind.startswith("RAMB"):
            return _block_ram(cell)
        if kind.startswith("RAM"):
            return _lut_ram(cell)
        if kind == "DSP48E1":
            return _dsp(cell)
        return CellDelays() if kind in _NOT_TIMED else None

    def is_clock(self, kind: str, port: str) -> bool:
        return port in _CLOCKS or port == "C" and kind.startswith("FD")

    def route_ps(self, fanout: int, driver: str = "", kind: str = "") -> int:
        """With it and the delays of the cells, two paths of published Vivado reports of routed
        designs on an xc7z010-1 come out within 4 %: 12.66 and 11.94 ns, 9 LUT levels and 3 carry
        chains each.
        """
        return round(350 + 150 * log2(max(fanout, 1)))

    def wire_ps(self, driver: str, output: str, kind: str, port: str) -> int | None:
        return 0 if _wired(driver, output, kind, port) else None

    def sole(self, kind: str, port: str) -> str:
        if kind == "CARRY4" and port in ("S", "DI"):
            return port
        return "D" if kind.startswith("FD") and port == "D" else ""

    def detour_ps(self, driver: str, output: str, kind: str, port: str) -> int:
        # S is reached through the bit's LUT only.
        return LUT_PINS[-1] if (kind, port) == ("CARRY4", "S") and driver not in LUT_SIZES else 0


def _wired(driver: str, output: str, kind: str, port: str) -> bool:
    """Whether a slice, or a column of them, has a wire of its own for a net between two cells."""
    if port == "CI":
        return (driver, output, kind) == ("CARRY4", "CO", "CARRY4")
    if port == "PCIN":
        return output == "PCOUT"
    lut = driver in LUT_SIZES
    if kind == "CARRY4":
        return port == "S" and lut or port == "DI" and output == "O5"
    if kind in MUXES and port != "S":
        return lut if kind == "MUXF7" else driver == "MUXF7"
    memory = driver.startswith(("SRL", "RAM")) and not driver.startswith("RAMB")
    return port == "D" and kind.startswith("FD") and (
        lut or memory or driver in MUXES or driver == "CARRY4")


def _carry4() -> Iterator[Arc]:
    for output, rows in CARRY4.items():
        for bit, (cyinit, ci, di, s) in enumerate(rows):
            yield Arc("CYINIT", 0, output, bit, cyinit)
            yield Arc("CI", 0, output, bit, ci)
            for port, delays in (("DI", di), ("S", s)):
                for n, ps in enumerate(delays):
                    yield Arc(port, n, output, bit, ps)


_CARRY4_ARCS = tuple(_carry4())


def _lut(cell: Cell) -> Iterator[Arc]:
    reach = _lut_inputs(cell)
    used = sorted(set().union(*reach.values()))
    # The router permutes the inputs of a LUT: those left unused are the slow ones.
    for port, ps in zip(used, LUT_PINS[len(LUT_PINS) - len(used):]):
        for output, inputs in reach.items():
            if port in inputs:
                yield Arc(port, 0, output, 0, ps, 1)


def _lut_inputs(cell: Cell) -> dict[str, set[str]]:
    """By output of a LUT: the inputs that it depends on, which may be less than all."""
    nets = cell["connections"]
    if cell["type"] == "INV":
        return {"O": {"I"}}
    table = int(cell["parameters"]["INIT"], 2)
    ports = [f"I{n}" for n in range(LUT_SIZES[cell["type"]])]
    return {output: influences(table, ports[:5] if output == "O5" else ports, nets)
            for output in ("O", "O6", "O5") if output in nets}


def _reads(cell: Cell, prefix: str, outputs: list[str], extra: int = 0) -> Iterator[Arc]:
    """Arcs from addresses: ports ``<prefix>0``, ``<prefix>1``, or one port of several bits."""
    fives = cell["type"] in ("SRL16E", "SRLC16E")  # four address bits, on the second pin and up
    for port, bits in cell["connections"].items():
        number = port[len(prefix):]
        if port.startswith(prefix) and (not number or number.isdigit()):
            for n in range(len(bits)):
                pin = int(number or n) + fives
                ps = LUT_PINS[min(pin, 5)] + extra
                for output in outputs:
                    for bit in range(len(cell["connections"].get(output, []))):
                        yield Arc(port, n, output, bit, ps, 1)


def _lut_ram(cell: Cell) -> CellDelays:
    extra = RAM_MUXES.get(cell["type"], 0)
    arcs: list[Arc] = []
    for prefix, outputs in (("A", ["O", "SPO"]), ("DPRA", ["DPO"]),
                            *((f"ADDR{part}", [f"DO{part}"]) for part in "ABCD")):
        arcs += _reads(cell, prefix, outputs, extra)
    ports = cell["port_directions"]
    setups = {port: RAM_WRITE if port == "WE" else RAM_ADDRESS if port[0] == "A" else RAM_DATA
              for port, direction in ports.items() if direction == "input"
              and not port.startswith(("DPRA", "ADDRA", "ADDRB", "ADDRC")) and port not in _CLOCKS}
    return CellDelays(tuple(arcs), {port: RAM_OUT + extra for port, direction in ports.items()
                                    if direction == "output"}, setups)


def _block_ram(cell: Cell) -> CellDelays:
    registered = {side: bool(_number(cell, f"DO{side}_REG", 0)) for side in "AB"}
    outputs, setups = {}, {}
    for port, direction in cell["port_directions"].items():
        if direction == "output":
            outputs[port] = BRAM_OUTS[registered["B" if port in ("DOBDO", "DOPBDOP") else "A"]]
        elif port not in _CLOCKS:
            setups[port] = next((ps for prefix, ps in BRAM_SETUPS.items()
                                 if port.startswith(prefix)), BRAM_CONTROL)
    return CellDelays((), outputs, setups)


def _dsp(cell: Cell) -> CellDelays:
    text = cell.get("parameters", {})
    multiply = text.get("USE_MULT", "MULTIPLY").strip() == "MULTIPLY"
    pre = text.get("USE_DPORT", "FALSE").strip() == "TRUE"
    a, b, c, d, ad, m, p = (bool(_number(cell, f"{name}REG", 1))
                            for name in ("A", "B", "C", "D", "AD", "M", "P"))
    ad, d, m = ad and pre, d and pre, m and multiply
    # By input: setups at the registers that follow it, if they are there; without any, the delay
    # to P.
    ways = {
        "A": (((a, 254), (ad, 1283), (m, 2400 if pre else 1416),
               (p, 1441 if not multiply else 3723 if pre else 2739)),
              1523 if not multiply else 3806 if pre else 2823),
        "B": (((b, 324), (m, 1285), (p, 2608 if multiply else 1428)), 2690 if multiply else 1509),
        "C": (((c, 168), (p, 1244)), 1325),
        "D": (((d, 248), (ad, 1195), (m, 2310), (p, 3635)), 3717),
        "PCIN": (((p, 1025),), 1107)}
    setups: dict[str, int] = {}
    arcs: list[Arc] = []
    for port, direction in cell["port_directions"].items():
        if direction == "output" or port in _CLOCKS:
            continue
        registers, delay = ways.get(port, ((), None))
        setup = next((ps for there, ps in registers if there), None)
        if delay is None or setup is not None:
            setups[port] = DSP_CONTROL if setup is None else setup
            continue
        for to, more in (("P", 0), ("PCOUT", 148)):
            arcs += [Arc(port, n, to, bit, delay + more)
                     for n in range(len(cell["connections"][port]))
                     for bit in range(len(cell["connections"].get(to, [])))]
    out = 329 if p else 1687 if m or c else (3935 if pre else 2952) if a or b or d or ad else None
    outputs = {} if out is None else {"P": out, "PCOUT": out + 148}
    return CellDelays(tuple(arcs), outputs, setups)


def _number(cell: Cell, name: str, default: int) -> int:
    text = cell.get("parameters", {}).get(name)
    return default if text is None else int(text, 2)
