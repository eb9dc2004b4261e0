"""Run a whole design in the Amaranth simulator: frames in at one end, frames out at the other."""

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import chain, repeat

import numpy as np
from amaranth.sim import Simulator

from hwgen.hardware import HwGraph
from hwgen.top import HwTop

__all__ = ["Run", "TopSimulator", "always", "at_random", "closed_until"]

Gate = Callable[[int], bool]
"""Whether an end of the design is willing in a clock."""

QUIET_CLOCKS = 12  # watched after the last expected beat for beats that should not be there


def always(clock: int) -> bool:
    return True


def at_random(probability: float, seed: int) -> Gate:
    choices = (np.random.default_rng(seed).random(4999) < probability).tolist()
    return lambda clock: choices[clock % 4999]


def closed_until(opens: int) -> Gate:
    return lambda clock: clock >= opens


@dataclass
class Run:
    """What happened: words that came out, and the clocks in which beats passed."""

    words: list[int] = field(default_factory=list)
    taken: list[int] = field(default_factory=list)
    given: list[int] = field(default_factory=list)

    def interval(self, beats: int) -> int:
        """Clocks between the ends of the last two frames of ``beats`` beats."""
        return self.given[-1] - self.given[-1 - beats]


class TopSimulator:
    """Simulates a hardware graph; each run starts from reset."""

    def __init__(self, hardware: HwGraph):
        self.hardware = hardware
        self.top = HwTop(hardware)
        self.simulator = Simulator(self.top)
        self.simulator.add_clock(1e-6)
        self.simulator.add_testbench(self._drive)
        self.started = False

    def run(self, x: np.ndarray, source: Gate = always, sink: Gate = always,
            patience: int = 5000) -> Run:
        """Send frames and collect as many; AssertionError if the stream contract is broken or
        nothing moves for ``patience`` clocks."""
        self.words = self.hardware.input.pack(x)
        self.expected = len(x) * self.hardware.stream(self.hardware.output).beats
        self.gates, self.patience, self.result = (source, sink), patience, Run()
        if self.started:
            self.simulator.reset()
        self.started = True
        self.simulator.run()
        return self.result

    async def _drive(self, ctx) -> None:
        top, run = self.top, self.result
        source, sink = self.gates
        frame = self.hardware.input.beats
        out_frame = self.hardware.stream(self.hardware.output).beats
        words = chain(enumerate(self.words), repeat((-1, 0)))
        number, word = next(words)
        held = None
        offering, clock, idle, quiet = False, 0, 0, 0
        while quiet < QUIET_CLOCKS or len(run.taken) < len(self.words):
            if not offering and number >= 0 and source(clock):
                offering = True
                ctx.set(top.s_axis_tdata, word)
                # Hardware counts beats and does not read it: so it comes with the wrong one.
                ctx.set(top.s_axis_tlast, number % frame == 0)
            ctx.set(top.s_axis_tvalid, offering)
            willing = sink(clock)
            ctx.set(top.m_axis_tready, willing)
            *_, ready, valid, data, last = await ctx.tick().sample(
                top.s_axis_tready, top.m_axis_tvalid, top.m_axis_tdata, top.m_axis_tlast)
            idle += 1
            if offering and ready:
                run.taken.append(clock)
                offering, idle = False, 0
                number, word = next(words)
            assert held is None or (valid and held == (data, last)), \
                f"clock {clock}: the output changed while stalled"
            held = (data, last) if valid and not willing else None
            if len(run.given) == self.expected:
                assert not valid, f"clock {clock}: a beat after the last frame"
                quiet += 1
            elif valid and willing:
                assert last == (len(run.given) % out_frame == out_frame - 1), \
                    f"beat {len(run.given)}: tlast is wrong"
                run.words.append(data)
                run.given.append(clock)
                idle = 0
            assert idle < self.patience, (
                f"clock {clock}: nothing moves; {len(run.taken)} of {len(self.words)} beats are "
                f"in, {len(run.given)} of {self.expected} out")
            clock += 1
