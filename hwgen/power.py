"""Power of a built design: static, clock, and activity times energy over all nets and cells.

P = P_static + f * (E_clock + sum over nets and cells of changes per clock * E). The changes are
counted in a simulation of the mapped netlist on frames (:mod:`hwgen.activity`), the energies are
those of :mod:`hwgen.cell_energies`; ``docs/power.md`` has formulas and sources.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .activity import Activity, measure
from .callbacks import Progress
from .cell_energies import (
    DEFAULT_BRAM_ENABLE,
    DEFAULT_BRAM_WRITE,
    DEFAULT_TOGGLE_RATE,
    FAMILIES,
    CellEnergies,
    processing_system_w,
)
from .design import Design
from .errors import MismatchError, ToolError
from .flatten import flatten
from .gates import ONE, ZERO, Gates
from .report import load_report
from .resources import Resources
from .synth import mapped_netlists

__all__ = ["KINDS", "PowerResult", "check_family", "energies_of", "estimate", "power_of_resources"]

KINDS = ("clock", "logic", "signals", "ff", "lutram", "bram", "dsp")
"""Parts of the dynamic power: the clock tree; LUTs, carry chains and multiplexers; nets; changes of
flip-flops; LUTs used as memory or shift register; block RAMs; DSP slices."""

CONTROL_LOAD = 0.25
"""Pins that an enable or reset of a flip-flop counts as: a slice has one for its eight, of which
four are taken to be in use."""

FREE_LOADS = {"cascade", "carry_in"}  # wires of their own from cell to cell
IN_SLICE = {"mux_data": {"lut", "mux"}, "carry_data": {"lut"},
            "ff_d": {"lut", "mux", "carry", "srl", "lutram"}}
"""By kind of pin: what drives it from within the slice, if it drives no other pin of that kind."""


@dataclass(frozen=True)
class Rates:
    """Events per clock, by net and by cell; see :class:`hwgen.activity.Activity`."""

    nets: np.ndarray
    shifts: np.ndarray
    writes: np.ndarray
    accesses: np.ndarray

    @classmethod
    def measured(cls, activity: Activity) -> "Rates":
        return cls(*(counts / activity.clocks for counts in (
            activity.transitions, activity.shifted, activity.written, activity.enabled)))

    @classmethod
    def guessed(cls, gates: Gates) -> "Rates":
        """The vendor's defaults for every net and memory."""
        ports = np.array([len(block.ports) for block in gates.blocks], dtype=float)
        nets = np.full(gates.count, DEFAULT_TOGGLE_RATE)
        nets[[ZERO, ONE]] = 0
        return cls(nets, np.ones(len(gates.shifts)),
                   np.full(len(gates.rams), DEFAULT_BRAM_ENABLE * DEFAULT_BRAM_WRITE),
                   DEFAULT_BRAM_ENABLE * ports)


@dataclass(frozen=True)
class PowerResult:
    """Power of a design.

    Parameters
    ----------
    part
        The chip.
    static_w
        Of the board file: the programmable logic at rest.
    parts, guess
        W by block, then top, and by kind of :data:`KINDS`: as measured, and with the vendor's
        default toggle rates.
    rates
        By block, then top, summed over nets: changes per clock at its end, further ones within it,
        and the number of nets.
    clocks
        Counted, of ``frames`` frames.
    simulated
        Frames simulated in all.
    """

    design: Design
    part: str
    static_w: float
    uncertainty: float
    parts: np.ndarray
    guess: np.ndarray
    rates: np.ndarray
    frames: int
    clocks: int
    simulated: int
    source: Mapping[str, Any] = field(default_factory=dict)

    @property
    def dynamic_w(self) -> float:
        return float(self.parts.sum())

    @property
    def total_w(self) -> float:
        return self.static_w + self.dynamic_w

    @property
    def fps(self) -> float:
        """Frames per second at the design's clock, of the clocks counted."""
        return self.design.clock_mhz * 1e6 * self.frames / self.clocks

    def as_dict(self) -> dict[str, Any]:
        """The section ``power`` of report.json."""
        chip = processing_system_w(self.part)
        spread = self.uncertainty
        return {
            "static_w": self.static_w, "dynamic_w": _rounded(self.dynamic_w),
            "total_w": _rounded(self.total_w), "kinds": _by_kind(self.parts.sum(axis=0)),
            "layers": self._layers(), "top": self._place([len(self.design.blocks)]),
            "fps": self.fps, "energy_per_frame_j": _rounded(self.total_w / self.fps),
            "fps_per_w": _rounded(self.fps / self.total_w),
            "chip": None if chip is None else {
                "processing_system_w": _rounded(chip), "total_w": _rounded(self.total_w + chip),
                "energy_per_frame_j": _rounded((self.total_w + chip) / self.fps),
                "fps_per_w": _rounded(self.fps / (self.total_w + chip))},
            "uncertainty": {"dynamic_factor": spread,
                            "low_w": _rounded(self.static_w + self.dynamic_w / spread),
                            "high_w": _rounded(self.static_w + self.dynamic_w * spread)},
            "activity": {**self.source, "frames": self.frames, "clocks": self.clocks,
                         "simulated_frames": self.simulated,
                         **_net_rates(self.rates)},
            "constant_guess": {
                "toggle_rate": DEFAULT_TOGGLE_RATE, "dynamic_w": _rounded(self.guess.sum()),
                "total_w": _rounded(self.static_w + self.guess.sum()),
                "kinds": _by_kind(self.guess.sum(axis=0))}}

    def _layers(self) -> dict[str, Any]:
        places: dict[str, list[int]] = {}
        for n, block in enumerate(self.design.blocks):
            places.setdefault(block.layer, []).append(n)
        return {layer: self._place(owners) for layer, owners in places.items()}

    def _place(self, owners: list[int]) -> dict[str, Any]:
        """Power of some blocks."""
        parts, guess = self.parts[owners].sum(axis=0), self.guess[owners].sum(axis=0)
        return {"dynamic_w": _rounded(parts.sum()), "kinds": _by_kind(parts),
                **_net_rates(self.rates[owners]), "constant_guess_w": _rounded(guess.sum())}


def _rounded(value: float) -> float:
    """To five significant digits: more say nothing."""
    return float(f"{value:.5g}")


def _net_rates(sums: np.ndarray) -> dict[str, float]:
    """Mean changes of a net per clock."""
    settled, glitches, nets = sums.sum(axis=0)
    return {"toggle_rate": _rounded(settled / max(nets, 1)),
            "glitch_rate": _rounded(glitches / max(nets, 1))}


def _by_kind(parts: np.ndarray) -> dict[str, float]:
    return {kind: _rounded(value) for kind, value in zip(KINDS, parts)}


def energies_of(family: str) -> CellEnergies:
    """The energies of a family; ToolError if they are not known."""
    check_family(family)
    return FAMILIES[family]


def check_family(family: str) -> None:
    """ToolError unless the family's energies are known."""
    if family not in FAMILIES:
        raise ToolError(f"power: family {family} has no energies in hwgen/cell_energies.py; build "
                        f"for a board of family {' or '.join(FAMILIES)}")


def estimate(folder: Path | str, x: np.ndarray, expected: np.ndarray, frames: int, *,
             source: Mapping[str, Any], on_progress: Progress | None = None) -> PowerResult:
    """Power of a design that has been synthesised.

    Parameters
    ----------
    folder
        Build directory.
    x, expected
        Input integers (frames, H, W, C), which come in turns, and the golden model's outputs.
    frames
        Frames to count; those until the pipeline is full come before them.
    source
        What the report says of where the frames come from.

    Raises
    ------
    MismatchError
        The mapped netlist's outputs are not the expected ones.
    ToolError
        The design has no netlist, the family no energies, or a tool is missing.
    """
    design, report = Design.load(folder), load_report(folder)
    check_family(design.family)
    if "static_power_w" not in report:
        raise ToolError(f"{folder}: report.json has no static_power_w; build the design again")
    gates = flatten(design, mapped_netlists(folder))
    activity = measure(folder, design, gates, x, frames, on_progress=on_progress)
    wanted = expected[np.arange(len(activity.outputs)) % len(x)].reshape(activity.outputs.shape)
    wrong = np.flatnonzero((activity.outputs != wanted).reshape(len(wanted), -1).any(axis=1))
    if len(wrong):
        raise MismatchError(f"{folder}: frame {wrong[0]} of the mapped netlist differs from the "
                            "golden model; run `hwgen verify` to see whether the Verilog does too")
    energies, clock = FAMILIES[design.family], design.clock_mhz * 1e6
    parts, guess = (energy_by_kind(gates, len(design.blocks) + 1, rates, energies) * clock * 1e-12
                    for rates in (Rates.measured(activity), Rates.guessed(gates)))
    owners, nets = _driven(gates)
    settled = activity.settled[nets] / activity.clocks
    glitches = activity.transitions[nets] / activity.clocks - settled
    rates = np.stack([np.bincount(owners, values, len(design.blocks) + 1)
                      for values in (settled, glitches, np.ones(len(nets)))], axis=1)
    return PowerResult(design, report["part"], report["static_power_w"], energies.uncertainty,
                       parts, guess, rates, activity.frames, activity.clocks,
                       len(activity.outputs), source)


def _driven(gates: Gates) -> tuple[np.ndarray, np.ndarray]:
    """Owners, and nets, of all that cells drive and something reads."""
    read = {net for net, _ in gates.loads}
    nets = sorted(net for net in gates.drivers if net in read and net not in (ZERO, ONE))
    return np.array([gates.drivers[net].owner for net in nets], dtype=np.int64), \
        np.array(nets, dtype=np.int64)


def routed_loads(gates: Gates) -> np.ndarray:
    """By net: pins that it reaches over the routing outside its slice."""
    alone: dict[tuple[int, str], int] = {}
    for net, pin in gates.loads:
        alone[net, pin] = alone.get((net, pin), 0) + 1
    loads = np.zeros(gates.count)
    for (net, pin), count in alone.items():
        driver = gates.drivers.get(net)
        if pin in FREE_LOADS or driver is None:
            continue
        if driver.kind in IN_SLICE.get(pin, ()):
            count -= 1  # the one in its slice
        loads[net] += count * (CONTROL_LOAD if pin == "control" else 1)
    loads[[ZERO, ONE]] = 0
    return loads


def energy_by_kind(gates: Gates, places: int, rates: Rates, energies: CellEnergies) -> np.ndarray:
    """Mean energy of a clock, pJ: (places, kinds); the last place is the top."""
    sums = np.zeros((places, len(KINDS)))
    column = {kind: n for n, kind in enumerate(KINDS)}

    def add(kind: str, owners: list[int] | np.ndarray, values: np.ndarray | float) -> None:
        weights = np.broadcast_to(values, len(owners))
        sums[:, column[kind]] += np.bincount(np.asarray(owners, np.int64), weights, places)

    sums[-1, column["clock"]] = energies.clock_spine if any(gates.owners.values()) else 0
    add("clock", gates.owners["ff"], energies.clock_ff)
    for kind in ("srl", "lutram"):
        add("clock", gates.owners[kind], energies.clock_memory)
    add("clock", gates.owners["bram"], energies.clock_bram * np.array(
        [block.size for block in gates.blocks]))
    add("clock", gates.owners["dsp"], energies.clock_dsp)
    add("lutram", gates.owners["srl"], energies.shift * rates.shifts)
    add("lutram", gates.owners["lutram"], energies.lutram_write * rates.writes)
    access = {1.0: energies.bram_access, 0.5: energies.bram_half_access}
    add("bram", gates.owners["bram"], rates.accesses * np.array(
        [access[block.size] for block in gates.blocks]))
    add("dsp", gates.owners["dsp"], energies.dsp_bit * np.array(
        [rates.nets[operands].sum() for operands in gates.slice_inputs]))
    _add_nets(gates, rates, energies, add)
    return sums


def _add_nets(gates: Gates, rates: Rates, energies: CellEnergies, add: Any) -> None:
    """What drives each net, and the net itself."""
    within = {"lut": ("logic", energies.lut), "mux": ("logic", energies.mux),
              "carry": ("logic", energies.carry), "ff": ("ff", energies.ff),
              "srl": ("lutram", energies.lut), "lutram": ("lutram", energies.lut),
              "bram": ("bram", energies.bram_bit), "dsp": ("dsp", 0.0), "port": ("signals", 0.0)}
    owners, nets = _driven(gates)
    kinds = np.array([gates.drivers[net].kind for net in nets.tolist()])
    for driver, (kind, energy) in within.items():
        mine = kinds == driver
        add(kind, owners[mine], energy * rates.nets[nets[mine]])
    loads = routed_loads(gates)[nets]
    add("signals", owners, rates.nets[nets] * ((loads > 0) * energies.net + loads * energies.load))


def power_of_resources(wanted: Resources, clock_mhz: float, family: str, like: Mapping[str, Any],
                       of: Resources, of_clock_mhz: float) -> dict[str, float]:
    """Dynamic power of a design known by its resources only, in W by kind.

    Its cells are taken to be as active as those of a design that was measured: logic and signals go
    with the LUTs that are no memory, and each other kind with its cells. The clock follows from
    the constants.

    Parameters
    ----------
    wanted, clock_mhz, family
        The design.
    like
        ``kinds`` of the ``power`` section of the design that was measured, in W.
    of, of_clock_mhz
        Its resources and clock.
    """
    energies = energies_of(family)
    faster = clock_mhz / of_clock_mhz

    def share(kind: str, count: float, counted: float) -> float:
        return like[kind] * faster * count / counted if counted else 0.0

    clock = (energies.clock_spine + energies.clock_ff * wanted.ff
             + energies.clock_memory * wanted.lutram + energies.clock_bram * wanted.bram36
             + energies.clock_dsp * wanted.dsp) * clock_mhz * 1e-6
    logic = wanted.lut - wanted.lutram, of.lut - of.lutram
    counts = {"logic": logic, "signals": logic, "ff": (wanted.ff, of.ff),
              "lutram": (wanted.lutram, of.lutram), "bram": (wanted.bram36, of.bram36),
              "dsp": (wanted.dsp, of.dsp)}
    return {"clock": clock, **{kind: share(kind, *pair) for kind, pair in counts.items()}}
