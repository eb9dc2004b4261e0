"""Primitives of the chip families as cells of :class:`hwgen.gates.Gates`.

7 series after UG953 and UG473, DSP48E1 after UG479; ECP5 after Yosys's ``lattice/cells_sim`` and
FPGA-TN-02204 (block RAM). All clocks are taken to be the one clock of the design.
"""

from collections.abc import Callable, Iterator
from functools import partial

from .gates import NONE, ONE, ZERO, BlockPort, BlockRam, Cell, Gates, PortBit

__all__ = ["PRIMITIVES"]

XOR2, MUX2 = 0b0110, 0b11001010  # of (a, b); of (a, b, select), b where select is 1
XOR3, MAJORITY = 0x96, 0xE8

Primitive = Callable[[Gates, Cell], None]


def _lut(gates: Gates, cell: Cell) -> None:
    """LUT1 to LUT6, or INV."""
    if cell.kind == "INV":
        inputs, table = [cell.net("I")], 0b01
    else:
        inputs, table = cell.numbered("I", int(cell.kind[3])), cell.number("INIT")
    gates.load(inputs, "lut")
    gates.drive(cell.outputs("O", 1), "lut", cell.owner)
    gates.lut(cell.net("O", NONE), table, inputs)


def _lut6_2(gates: Gates, cell: Cell) -> None:
    inputs, table = cell.numbered("I", 6), cell.number("INIT")
    gates.load(inputs, "lut")
    for port, count in (("O6", 6), ("O5", 5)):
        gates.drive(cell.outputs(port, 1), "lut", cell.owner)
        gates.lut(cell.net(port, NONE), table & (1 << (1 << count)) - 1, inputs[:count])


def _lut4(gates: Gates, cell: Cell) -> None:
    inputs = [cell.net(port) for port in "ABCD"]
    gates.load(inputs, "lut")
    gates.drive(cell.outputs("Z", 1), "lut", cell.owner)
    gates.lut(cell.net("Z", NONE), cell.number("INIT"), inputs)


def _mux(gates: Gates, cell: Cell, low: str, high: str, select: str, out: str) -> None:
    """MUXF7, MUXF8, PFUMX, L6MUX21: behind two LUTs, without a wire between."""
    inputs = [cell.net(low), cell.net(high), cell.net(select)]
    gates.load(inputs[:2], "mux_data")
    gates.load(inputs[2:], "lut")
    gates.drive(cell.outputs(out, 1), "mux", cell.owner)
    gates.lut(cell.net(out, NONE), MUX2, inputs, at_once=True)


def _carry4(gates: Gates, cell: Cell) -> None:
    """O = S ^ C; the next C is C where S, else DI."""
    s, di = cell.nets("S", 4), cell.nets("DI", 4)
    sums, carries = cell.outputs("O", 4), cell.outputs("CO", 4)
    carry, start = cell.net("CI"), cell.net("CYINIT")
    gates.load([carry], "carry_in")
    gates.load([start], "lut")
    if carry == ZERO:
        carry = start
    elif start != ZERO:
        raise cell.refusal("has both CI and CYINIT")
    for n in range(4):
        gates.load([s[n], di[n]], "carry_data")
        gates.drive([sums[n], carries[n]], "carry", cell.owner)
        gates.lut(sums[n], XOR2, [s[n], carry], at_once=True)
        after = gates.new() if carries[n] == NONE else carries[n]
        gates.lut(after, MUX2, [di[n], carry, s[n]], at_once=True)
        carry = after


def _ccu2c(gates: Gates, cell: Cell) -> None:
    carry = cell.net("CIN")
    gates.load([carry], "carry_in")
    for n in (0, 1):
        inputs = [cell.net(f"{port}{n}") for port in "ABCD"]
        table, inject = cell.number(f"INIT{n}"), cell.text(f"INJECT1_{n}", "YES") == "YES"
        gates.load(inputs, "lut")
        four, two = gates.new(), gates.new()
        gates.drive([four], "lut", cell.owner)
        gates.lut(four, table, inputs)
        gates.lut(two, 0 if inject else table & 15, inputs[:2])
        gates.drive(cell.outputs(f"S{n}", 1), "carry", cell.owner)
        gates.lut(cell.net(f"S{n}", NONE), XOR2, [four, ZERO if inject else carry], at_once=True)
        after = gates.new() if n == 0 or cell.net("COUT", NONE) == NONE else cell.net("COUT")
        gates.drive([after], "carry", cell.owner)
        gates.lut(after, MUX2, [two, carry, four], at_once=True)
        carry = after


def _register(gates: Gates, cell: Cell, q: int, d: int, enable: int, reset: int, to: int,
              first: int) -> None:
    gates.load([d], "ff_d")
    gates.load([enable, reset], "control")
    gates.drive([q], "ff", cell.owner)
    gates.owners["ff"].append(cell.owner)
    gates.flip_flops.append([q, to, first, [d, enable, reset]])


def _flip_flop(gates: Gates, cell: Cell, reset: str, to: int) -> None:
    """FDRE and FDSE; FDCE and FDPE where their reset is never used."""
    if cell.kind in ("FDCE", "FDPE") and cell.net(reset) != ZERO:
        raise cell.refusal("has an asynchronous reset")
    if any(cell.number(f"IS_{port}_INVERTED") for port in ("C", "D", reset)):
        raise cell.refusal("has an inverted input")
    _register(gates, cell, cell.net("Q", NONE), cell.net("D"), cell.net("CE", ONE),
              cell.net(reset), to, cell.number("INIT"))


def _trellis_ff(gates: Gates, cell: Cell) -> None:
    to = int(cell.text("REGSET", "RESET") == "SET")
    if cell.text("CLKMUX", "CLK") == "INV" or cell.text("LSRMODE", "LSR") == "PRLD":
        raise cell.refusal("has CLKMUX INV or LSRMODE PRLD")
    mux = cell.text("CEMUX", "1")
    enable = {"1": ONE, "0": ZERO, "INV": gates.inverted(cell.net("CE"))}.get(mux, cell.net("CE"))
    reset = cell.net("LSR")
    if cell.text("LSRMUX", "LSR") == "INV":
        reset = gates.inverted(reset)
    if cell.text("SRMODE", "LSR_OVER_CE") == "ASYNC" and reset != ZERO:
        raise cell.refusal("has an asynchronous reset")
    _register(gates, cell, cell.net("Q", NONE), cell.net("DI"), enable, reset, to, to)


def _shift(gates: Gates, cell: Cell) -> None:
    """SRL16E and SRLC32E."""
    address = cell.nets("A", 5) if "A" in cell.pins else cell.numbered("A", 4)
    q, last = cell.net("Q", NONE), cell.net("Q31", NONE)
    if cell.number("IS_CLK_INVERTED") or "Q15" in cell.pins:
        raise cell.refusal("has an inverted clock or Q15")
    gates.load([cell.net("D"), cell.net("CE", ONE), *address], "memory")
    gates.drive([q, last], "srl", cell.owner)
    gates.owners["srl"].append(cell.owner)
    gates.shifts.append([q, last, cell.net("D"), cell.net("CE", ONE), cell.number("INIT"), address])


def _ram(gates: Gates, cell: Cell, write_address: list[int], data: list[int],
         read_address: list[int], out: list[int], contents: list[int]) -> None:
    """A LUT RAM of one port to write and one to read; ``contents`` by bit of the word."""
    if cell.number("IS_WCLK_INVERTED"):
        raise cell.refusal("has an inverted clock")
    depth = 1 << len(write_address)
    words = [[bits >> at & (1 << 64) - 1 for at in range(0, depth, 64)] for bits in contents]
    gates.drive(out, "lutram", cell.owner)
    gates.owners["lutram"].append(cell.owner)
    gates.rams.append([cell.net("WE" if "WE" in cell.pins else "WRE"), write_address, data, out,
                       read_address, words])


def _ram_multi(gates: Gates, cell: Cell, depth_bits: int, width: int) -> None:
    """RAM32M and RAM64M: four LUTs, all written at the address of D."""
    at = cell.nets("ADDRD", depth_bits)
    gates.load([*at, cell.net("WE")], "memory")
    for part in "ABCD":
        read, out = cell.nets(f"ADDR{part}", depth_bits), cell.outputs(f"DO{part}", width)
        data, bits = cell.nets(f"DI{part}", width), cell.number(f"INIT_{part}")
        if all(net == NONE for net in out):
            continue
        gates.load([*data, *(read if part != "D" else [])], "memory")
        contents = [sum((bits >> entry * width + bit & 1) << entry
                        for entry in range(1 << depth_bits)) for bit in range(width)]
        _ram(gates, cell, at, data, read, out, contents)


def _ram_single(gates: Gates, cell: Cell, depth_bits: int, dual: bool = False) -> None:
    """RAM32X1S and the like; with ``dual`` the RAM32X1D and the like, read at DPRA too."""
    def address(port: str) -> list[int]:
        return cell.nets(port, depth_bits) if port in cell.pins \
            else cell.numbered(port, depth_bits)

    at, data, contents = address("A"), [cell.net("D")], [cell.number("INIT")]
    gates.load([*at, *data, cell.net("WE")], "memory")
    for port, read in (("SPO", at), ("DPO", address("DPRA"))) if dual else (("O", at),):
        if cell.net(port, NONE) != NONE:
            gates.load(read if port == "DPO" else [], "memory")
            _ram(gates, cell, at, data, read, [cell.net(port)], contents)


def _dpr16x4(gates: Gates, cell: Cell) -> None:
    if (cell.text("WCKMUX", "WCK"), cell.text("WREMUX", "WRE")) != ("WCK", "WRE"):
        raise cell.refusal("has WCKMUX or WREMUX INV")
    at, read, data = cell.nets("WAD", 4), cell.nets("RAD", 4), cell.nets("DI", 4)
    gates.load([*at, *read, *data, cell.net("WRE")], "memory")
    bits = cell.number("INITVAL")
    contents = [sum((bits >> 4 * entry + bit & 1) << entry for entry in range(16))
                for bit in range(4)]
    _ram(gates, cell, at, data, read, cell.outputs("DO", 4), contents)


# Memories lie as data bits, then parity bits: bit 8 of each nine.

def _places(width: int, data_bits: int) -> Iterator[tuple[int, int]]:
    """Base and stride of a port's bits, data first, then parity."""
    parity = width // 9 if width % 9 == 0 else 0
    data = width - parity
    yield from ((bit, data) for bit in range(data))
    yield from ((data_bits + bit, parity) for bit in range(parity))


def _words(bits: int, count: int) -> tuple[int, ...]:
    return tuple(bits >> at & (1 << 64) - 1 for at in range(0, count, 64))


def _contents(cell: Cell, data_bits: int) -> tuple[int, ...]:
    data = sum(cell.number(f"INIT_{n:02X}") << 256 * n for n in range(data_bits // 256))
    parity = sum(cell.number(f"INITP_{n:02X}") << 256 * n for n in range(data_bits // 2048))
    return _words(data | parity << data_bits, data_bits * 9 // 8)


_MODES = {"WRITE_FIRST": 0, "READ_FIRST": 1, "NO_CHANGE": 2}


def _block_ram(gates: Gates, cell: Cell, size: float) -> None:
    """RAMB18E1 and RAMB36E1, true or simple dual port."""
    if any(cell.text(f"RAM_EXTENSION_{side}", "NONE") != "NONE" for side in "AB"):
        raise cell.refusal("has a RAM_EXTENSION")
    if any(cell.number(f"IS_{name}_INVERTED") for name in (
            "CLKARDCLK", "CLKBWRCLK", "ENARDEN", "ENBWREN")):
        raise cell.refusal("has an inverted input")
    data_bits = round(32768 * size)
    simple = cell.text("RAM_MODE", "TDP") == "SDP"
    ports = tuple(_xilinx_port(cell, side, data_bits, simple) for side in "AB")
    _add_block(gates, cell, _contents(cell, data_bits), ports, size)


def _add_block(gates: Gates, cell: Cell, words: tuple[int, ...], ports: tuple[BlockPort, ...],
               size: float) -> None:
    ports = tuple(port for port in ports if port.bits)
    for port in ports:
        inputs = {port.enable, port.register_enable, port.reset, *port.address,
                  *(bit.data_in for bit in port.bits if bit.data_in != NONE),
                  *(bit.write for bit in port.bits)}
        gates.load(inputs, "bram")
        gates.drive([bit.data_out for bit in port.bits], "bram", cell.owner)
    gates.owners["bram"].append(cell.owner)
    gates.blocks.append(BlockRam(words, ports, size, cell.owner))


def _xilinx_port(cell: Cell, side: str, data_bits: int, simple: bool) -> BlockPort:
    enable, address, reset, register_enable, register_reset = (
        ("ENARDEN", "ADDRARDADDR", "RSTRAMARSTRAM", "REGCEAREGCE", "RSTREGARSTREG") if side == "A"
        else ("ENBWREN", "ADDRBWRADDR", "RSTRAMB", "REGCEB", "RSTREGB"))
    reads = cell.number(f"READ_WIDTH_{side}") if not simple or side == "A" else 0
    writes = cell.number(f"WRITE_WIDTH_{side}") if not simple or side == "B" else 0
    width = reads or writes
    if reads and writes and reads != writes:
        raise cell.refusal("has a port that reads and writes different widths")
    shift = max(width - (width // 9 if width % 9 == 0 else 0), 1).bit_length() - 1
    half = data_bits // 1024  # data bits of a side
    into, out = _xilinx_lines(cell, side, width, half, simple)
    write = cell.nets("WEA" if side == "A" else "WEBWE", 8)
    srval, first = _side_values(cell, side, width, simple, "SRVAL"), \
        _side_values(cell, side, width, simple, "INIT")
    parity = width // 9 if width % 9 == 0 else 0
    bits = []
    for n, (base, stride) in enumerate(_places(width, data_bits)):
        lane = n // 8 if n < width - parity else n - (width - parity)
        bits.append(PortBit(into[n] if writes else NONE, out[n] if reads else NONE,
                            write[lane if width > 9 else 0] if writes else ZERO, base, stride,
                            srval >> n & 1, first >> n & 1))
    top = data_bits.bit_length() - 1
    return BlockPort(cell.net(enable), cell.net(register_enable), cell.net(reset),
                     cell.net(register_reset), _MODES[cell.text(f"WRITE_MODE_{side}",
                                                                "WRITE_FIRST")],
                     cell.number(f"DO{side}_REG"), cell.nets(address, top)[shift:], bits)


def _xilinx_lines(cell: Cell, side: str, width: int, half: int, simple: bool
                  ) -> tuple[list[int], list[int]]:
    """Nets of a port's input and output bits, data first, then parity."""
    parity = width // 9 if width % 9 == 0 else 0
    data = width - parity
    sides = "AB" if simple and data > half else "A" if simple else side
    into, out, into_parity, out_parity = [], [], [], []
    for letter in sides:
        into += cell.nets(f"DI{letter}DI", half)
        out += cell.outputs(f"DO{letter}DO", half)
        into_parity += cell.nets(f"DIP{letter}DIP", half // 8)
        out_parity += cell.outputs(f"DOP{letter}DOP", half // 8)
    return into[:data] + into_parity[:parity], out[:data] + out_parity[:parity]


def _side_values(cell: Cell, side: str, width: int, simple: bool, name: str) -> int:
    """SRVAL or INIT of a port, data bits first, then parity."""
    half = 36 if cell.kind == "RAMB36E1" else 18
    if not simple or width <= half:
        return cell.number(f"{name}_{side}")
    data = half * 8 // 9
    low, high = cell.number(f"{name}_A"), cell.number(f"{name}_B")
    mask = (1 << data) - 1
    return (low & mask | (high & mask) << data | (low >> data) << 2 * data
            | (high >> data) << 2 * data + half - data)


def _dp16kd(gates: Gates, cell: Cell) -> None:
    """Both ports of their own, or with 36 bits one to write (A) and one to read (B)."""
    data_bits = 16384
    widths = {side: cell.number(f"DATA_WIDTH_{side}", 18) for side in "AB"}
    for side in "AB":
        if cell.text(f"REGMODE_{side}", "NOREG") != "NOREG":
            raise cell.refusal(f"has REGMODE_{side} OUTREG")
    simple = 36 in widths.values()
    ports = tuple(_lattice_port(gates, cell, side, widths[side], data_bits, simple)
                  for side in "AB")
    data = parity = 0
    for row in range(64):
        value = cell.number(f"INITVAL_{row:02X}")
        for n in range(16):
            word, at = value >> 20 * n & 0x3FFFF, row * 16 + n
            data |= (word & 0xFF | word >> 9 << 8 & 0xFF00) << 16 * at
            parity |= (word >> 8 & 1 | word >> 16 & 2) << 2 * at
    _add_block(gates, cell, _words(data | parity << data_bits, data_bits * 9 // 8), ports, 0.5)


def _lattice_port(gates: Gates, cell: Cell, side: str, width: int, data_bits: int,
                  simple: bool) -> BlockPort:
    address = cell.numbered(f"AD{side}", 14)
    reads, writes = not simple or side == "B", not simple or side == "A"
    into = cell.numbered(f"DI{side}", 18)
    out = cell.numbered(f"DO{side}", 18, NONE)
    if simple and width == 36:
        into = cell.numbered("DIA", 18) + cell.numbered("DIB", 18)
        out = cell.numbered("DOA", 18, NONE) + cell.numbered("DOB", 18, NONE)
    lanes = [gates.both(cell.net(f"WE{side}"), address[lane] if width >= 18 else ONE)
             for lane in range(4)] if writes else [ZERO] * 4
    bits = []
    whole = width // 9 * 9 if width % 9 == 0 else 0
    step = width * 8 // 9 if whole else width
    for n in range(width):
        byte, place = (n // 9, n % 9) if whole else (0, n)
        base, stride = (byte * 8 + place, step) if place < 8 else (data_bits + byte, width // 9)
        bits.append(PortBit(into[n] if writes else NONE, out[n] if reads else NONE,
                            lanes[byte] if width >= 18 else lanes[0], base, stride, 0, 0))
    shift = max(step, 1).bit_length() - 1
    mode = {"NORMAL": 2, "WRITETHROUGH": 0, "READBEFOREWRITE": 1}[
        cell.text(f"WRITEMODE_{side}", "NORMAL")]
    return BlockPort(cell.net(f"CE{side}"), ZERO, cell.net(f"RST{side}"), ZERO, mode, 0,
                     address[shift:], bits)


_ENABLES = ("CEA1", "CEA2", "CEB1", "CEB2", "CEC", "CED", "CEAD", "CEM", "CEP")
_RESETS = ("RSTA", "RSTB", "RSTC", "RSTD", "RSTM", "RSTP")
_REGISTERS = ("AREG", "BREG", "CREG", "DREG", "ADREG", "MREG", "PREG")


def _dsp48(gates: Gates, cell: Cell) -> None:
    _check_dsp48(cell)
    a = cell.nets("ACIN" if cell.text("A_INPUT", "DIRECT") == "CASCADE" else "A", 30)
    b = cell.nets("BCIN" if cell.text("B_INPUT", "DIRECT") == "CASCADE" else "B", 18)
    c, d, pcin = cell.nets("C", 48), cell.nets("D", 25), cell.nets("PCIN", 48)
    controls = [cell.nets("OPMODE", 7), cell.nets("ALUMODE", 4), cell.nets("INMODE", 5)]
    outputs = [cell.outputs("P", 48), cell.outputs("PCOUT", 48), cell.outputs("ACOUT", 30),
               cell.outputs("BCOUT", 18)]
    single = [cell.net("CARRYIN"), *(cell.net(port) for port in (*_ENABLES, *_RESETS))]
    numbers = [cell.number(name, 1) for name in _REGISTERS]
    numbers += [int(cell.text("USE_DPORT", "FALSE") == "TRUE"),
                int(cell.text("USE_MULT", "MULTIPLY") != "NONE"),
                cell.number("ACASCREG", 1), cell.number("BCASCREG", 1)]
    gates.slices.append(([a, b, c, d, pcin, *controls, *outputs], single, numbers))
    gates.load([*a, *b, *c, *d, *controls[0], *controls[1], *controls[2], *single], "dsp")
    gates.load(pcin, "cascade")
    for nets in outputs:
        gates.drive(nets, "dsp", cell.owner)
    gates.owners["dsp"].append(cell.owner)
    gates.slice_inputs.append([*a, *b, *c, *d])


def _check_dsp48(cell: Cell) -> None:
    """A refusal of what the model of the slice leaves out."""
    for name, wanted in (("USE_SIMD", "ONE48"), ("USE_PATTERN_DETECT", "NO_PATDET")):
        if cell.text(name, wanted) != wanted:
            raise cell.refusal(f"has {name} {cell.text(name, wanted)}")
    for port, width in (("OPMODE", 7), ("ALUMODE", 4), ("INMODE", 5)):
        if cell.number(f"{port}REG", 1) and not set(cell.nets(port, width)) <= {ZERO, ONE}:
            raise cell.refusal(f"has {port}REG and an {port} that changes")
    if any(cell.nets("CARRYINSEL", 3)) or cell.net("CARRYIN") not in (ZERO, ONE):
        raise cell.refusal("uses its carry input")
    if not set(cell.nets("ALUMODE", 4)) <= {ZERO, ONE} or cell.nets("ALUMODE", 4)[2:] != [ZERO] * 2:
        raise cell.refusal("uses its logic unit")


def _multiplier(gates: Gates, cell: Cell) -> None:
    """MULT18X18D without registers."""
    if any(str(value).strip() not in ("NONE", "0") for name, value in cell.parameters.items()
           if name.startswith("REG_")):
        raise cell.refusal("has registers")
    a, b = cell.numbered("A", 18), cell.numbered("B", 18)
    p = cell.numbered("P", 36, NONE)
    gates.multipliers.append([a, b, p, cell.net("SIGNEDA"), cell.net("SIGNEDB")])
    gates.load([*a, *b], "dsp")
    gates.drive(p, "dsp", cell.owner)
    gates.owners["dsp"].append(cell.owner)
    gates.slice_inputs.append([*a, *b])


def _nothing(gates: Gates, cell: Cell) -> None:
    """$scopeinfo and the like."""


def _constant(gates: Gates, cell: Cell, port: str, value: int) -> None:
    if cell.net(port, NONE) != NONE:
        gates.join(cell.net(port), value)


def _buffer(gates: Gates, cell: Cell) -> None:
    gates.join(cell.net("O"), cell.net("I"))


_XC7: dict[str, Primitive] = {
    **dict.fromkeys(["LUT1", "LUT2", "LUT3", "LUT4", "LUT5", "LUT6", "INV"], _lut),
    "LUT6_2": _lut6_2, "CARRY4": _carry4, "BUFG": _buffer,
    **dict.fromkeys(["MUXF7", "MUXF8"], partial(_mux, low="I0", high="I1", select="S", out="O")),
    "VCC": partial(_constant, port="P", value=ONE), "GND": partial(_constant, port="G", value=ZERO),
    "FDRE": partial(_flip_flop, reset="R", to=0), "FDSE": partial(_flip_flop, reset="S", to=1),
    "FDCE": partial(_flip_flop, reset="CLR", to=0), "FDPE": partial(_flip_flop, reset="PRE", to=1),
    "SRL16E": _shift, "SRLC32E": _shift,
    "RAM32M": partial(_ram_multi, depth_bits=5, width=2),
    "RAM64M": partial(_ram_multi, depth_bits=6, width=1),
    **{f"RAM{1 << bits}X1S": partial(_ram_single, depth_bits=bits) for bits in range(4, 9)},
    **{f"RAM{1 << bits}X1D": partial(_ram_single, depth_bits=bits, dual=True)
       for bits in range(4, 9)},
    "RAMB18E1": partial(_block_ram, size=0.5), "RAMB36E1": partial(_block_ram, size=1.0),
    "DSP48E1": _dsp48, "$scopeinfo": _nothing,
}

_ECP5: dict[str, Primitive] = {
    "LUT4": _lut4, "INV": _lut, "CCU2C": _ccu2c, "TRELLIS_FF": _trellis_ff,
    "PFUMX": partial(_mux, low="BLUT", high="ALUT", select="C0", out="Z"),
    "L6MUX21": partial(_mux, low="D0", high="D1", select="SD", out="Z"),
    "TRELLIS_DPR16X4": _dpr16x4, "DP16KD": _dp16kd, "MULT18X18D": _multiplier,
    "VHI": partial(_constant, port="Z", value=ONE), "VLO": partial(_constant, port="Z", value=ZERO),
    "$scopeinfo": _nothing,
}

PRIMITIVES: dict[str, dict[str, Primitive]] = {"xc7": _XC7, "ecp5": _ECP5}
"""By family and type of primitive: what adds it to the gates."""
