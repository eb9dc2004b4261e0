"""Energies of the primitives of a chip family, for :mod:`hwgen.power`.

A node of capacitance C that changes takes E = C V^2 / 2 of the supply, a clock wire C V^2 a clock.
At 1.0 V, 100 fJ a change are 200 fF.

Sources of the constants, and how far they reach, are in ``docs/power.md``:

[A] The power report of a routed design that its makers published: Vivado 2013.2, xc7z020-1, 25 C,
    vectorless at the tool's defaults (12.5 % toggle rate, block RAM enabled in half the clocks):
    28 179 LUTs 15 mW, 52 373 nets 37 mW, 35 280 registers 1 mW, 64 block RAMs 52 mW, 53 DSP slices
    17 mW, clocks 168 mW; its clocks are of 100 and 150 MHz, 125 MHz is taken for all.
    ``system_top_wrapper_power_routed.rpt`` of the repository Nianze/TaikoGestureMaster, a build of
    Xilinx's application note XAPP1167.
[B] Xilinx DS512 (v6.1), table 41: block RAMs of Virtex-5 (65 nm) at 300 MHz, toggle rate 50 %.
[S] Scaled from 65 nm to 28 nm at equal voltage by length, 28/65: capacitance goes with it.
[E] Estimated: the figure states why.
"""

from dataclasses import dataclass, fields, replace

__all__ = ["DEFAULT_BRAM_ENABLE", "DEFAULT_BRAM_WRITE", "DEFAULT_TOGGLE_RATE", "FAMILIES",
           "CellEnergies", "processing_system_w"]

DEFAULT_TOGGLE_RATE = 0.125
"""Changes of a net per clock that Vivado and XPE take where nothing is known (UG440, UG907)."""
DEFAULT_BRAM_ENABLE, DEFAULT_BRAM_WRITE = 0.5, 0.5
"""Vivado's defaults of a block RAM's enable, and of the share of writes, as in [A]."""


@dataclass(frozen=True)
class CellEnergies:
    """Energies of a family, in picojoules.

    Parameters
    ----------
    clock_spine
        The clock's way to the rows that are in use, a clock.
    clock_ff, clock_memory, clock_bram, clock_dsp
        Its last part to a flip-flop, a LUT used as memory, a block RAM of 36 Kb, a DSP slice, with
        what they do inside at every clock, a clock each.
    lut, mux, carry, ff
        Of the cell that drives a net, a change of it.
    net, load
        A net that leaves its slice, a change: its wire to the first pin, and for each pin.
    shift
        A shift register of a LUT, a shift.
    lutram_write
        A LUT used as memory, a write.
    bram_access, bram_half_access
        A port of a block RAM of 36 Kb, or of 18 Kb, an enabled clock.
    bram_bit
        A change of an output of a block RAM, within it.
    dsp_bit
        A change of an operand of a DSP slice: the multiplier and the adder behind it.
    uncertainty
        Factor either way within which the dynamic power is believed to be.
    """

    clock_spine: float
    clock_ff: float
    clock_memory: float
    clock_bram: float
    clock_dsp: float
    lut: float
    mux: float
    carry: float
    ff: float
    net: float
    load: float
    shift: float
    lutram_write: float
    bram_access: float
    bram_half_access: float
    bram_bit: float
    dsp_bit: float
    uncertainty: float

    def scaled(self, factor: float, uncertainty: float) -> "CellEnergies":
        """All energies times a factor."""
        values = {item.name: getattr(self, item.name) * factor for item in fields(self)}
        return replace(self, **values | {"uncertainty": uncertainty})


XC7 = CellEnergies(
    # [A] 168 mW / 125 MHz = 1.34 nJ a clock; 35 280 times 35 fJ are 1.23 nJ, the spine the rest.
    clock_spine=100, clock_ff=0.035,
    # [E] A LUT used as memory has one clock pin, which in a slice goes to four of them.
    clock_memory=0.035,
    # [E] Two ports with their latches and decoders, some dozens of flip-flops' worth.
    clock_bram=1.0,
    # [E] Some 150 flip-flops, less their wires. See dsp_bit.
    clock_dsp=0.8,
    # [A] 15 mW / (28 179 * 125 MHz * 12.5 %) = 34 fJ; another published report, of an xc7a200t,
    # gives 160 fJ if its clock is 125 MHz. [E] About the mean of the two, geometrically.
    lut=0.07,
    mux=0.01, carry=0.01,  # [E] transistors beside the LUT, without a wire
    # [A] 1 mW / (35 280 * 125 MHz * 12.5 %) = 1.8 fJ.
    ff=0.002,
    # [A] 37 mW / (52 373 * 125 MHz * 12.5 %) = 45 fJ for a net of mean fan-out, 3 by UG440.
    net=0.02, load=0.01,
    # [A] 421 shift registers, and 591 LUTs used as RAM, take less than 0.5 mW each, the last digit:
    # 0.5 mW / (421 * 125 MHz) = 9.5 fJ, 0.5 mW / (591 * 125 MHz / 2) = 13.5 fJ. [E] Those bounds.
    shift=0.01, lutram_write=0.013,
    # [A] 52 mW / (64 * 125 MHz) = 6.5 pJ a clock with one of two ports enabled on average, half of
    # its bits changing; [B, S] 8kx72 from 32 block RAMs of 18 Kb: 65 mW / (32 * 300 MHz) * 28/65 =
    # 2.9 pJ of 18 Kb, 5.8 pJ of 36 Kb.
    bram_access=5.0, bram_half_access=3.0, bram_bit=0.1,
    # [A] 17 mW / (53 * 125 MHz) = 2.6 pJ, less the clock's part, for 12.5 % of 25 + 18 bits.
    dsp_bit=0.33,
    uncertainty=1.5)

# [E] 40 nm at 1.1 V: (40/28) * 1.1^2 = 1.73 times the 7 series, for lack of published figures of
# ECP5; block RAMs have 18 Kb, and a MULT18X18D fewer bits than a DSP48E1.
ECP5 = XC7.scaled(40 / 28 * 1.1**2, 2.0)

FAMILIES: dict[str, CellEnergies] = {"xc7": XC7, "ecp5": ECP5}
"""Families whose energies are known."""


def processing_system_w(part: str) -> float | None:
    """What a chip takes beside its programmable logic, in W; None where it has no such part.

    Zynq-7000: the two processors and the DDR memory's interface. The reference network's chapter
    states 1.75 W for the xc7z010 of which 0.24 W for the FPGA part.
    """
    return 1.75 - 0.24 if part.startswith("xc7z") else None
