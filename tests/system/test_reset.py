"""A reset of one clock in the middle of a frame leaves nothing of that frame behind."""

import numpy as np
import pytest
from amaranth import Module, ResetInserter, Signal
from amaranth.hdl import Elaboratable
from amaranth.sim import Simulator

from hwgen.top import HwTop
from tests.random_networks import random_design, random_frames


class Resettable(Elaboratable):
    def __init__(self, hardware):
        self.top, self.rst = HwTop(hardware), Signal()

    def elaborate(self, platform):
        m = Module()
        m.submodules.top = ResetInserter(self.rst)(self.top)
        return m


def run_after_reset(hardware, disturbed_clocks, before, words, expected):
    """Send ``before`` for some clocks, reset for one clock, send ``words``; the words that come."""
    dut = Resettable(hardware)
    top, found = dut.top, []

    async def drive(ctx):
        async def clock(word):
            ctx.set(top.s_axis_tdata, word or 0)
            ctx.set(top.s_axis_tvalid, word is not None)
            *_, ready, valid, data = await ctx.tick().sample(
                top.s_axis_tready, top.m_axis_tvalid, top.m_axis_tdata)
            return ready, data if valid else None

        ctx.set(top.m_axis_tready, 1)
        number = 0
        for _ in range(disturbed_clocks):
            ready, _ = await clock(before[number % len(before)])
            number += ready
        ctx.set(dut.rst, 1)
        await clock(None)
        ctx.set(dut.rst, 0)
        number, quiet = 0, 0
        while len(found) < expected and quiet < 5000:
            ready, data = await clock(words[number] if number < len(words) else None)
            number, quiet = number + (ready and number < len(words)), quiet + 1
            if data is not None:
                found.append(data)
                quiet = 0

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(drive)
    simulator.run()
    return found


@pytest.mark.parametrize("seed", [1, 3, 5, 7])
def test_a_reset_within_a_frame_leaves_nothing_behind(seed):
    design = random_design(seed)
    x = random_frames(design.graph, 2, seed)
    hardware = design.hardware
    words, out = hardware.input.pack(x), hardware.stream(hardware.output)
    expected = out.pack(design.graph.run(x).reshape(2, *out.shape))
    latency = design.timing.latency
    for clocks in np.unique(np.linspace(3, latency + 5, 6).astype(int)).tolist():
        found = run_after_reset(hardware, clocks, words[::-1], words, len(expected))
        assert found == expected, f"reset after {clocks} clocks"
