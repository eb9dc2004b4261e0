import pytest
from amaranth.sim import Simulator

from hwgen.blocks.fork import ForkConfig
from hwgen.streams import TensorStream
from hwgen.types import BIPOLAR, int_type, uint_type
from tests.streams import check_block


@pytest.mark.parametrize("outputs", [2, 3, 5])
@pytest.mark.parametrize("kind, lanes", [(BIPOLAR, 4), (int_type(7), 2), (uint_type(3), 1)])
def test_every_output_carries_the_stream(kind, lanes, outputs):
    config = ForkConfig(TensorStream(kind, (2, 3, 4), lanes), outputs)
    check_block(config, frames=2, stalls=((1.0, 1.0), (0.5, 1.0), (1.0, 0.4), (0.4, 0.6)))


def test_a_stalled_output_does_not_hold_back_the_others_beat():
    dut = ForkConfig(TensorStream(uint_type(8), (1, 1, 2), 1), 2).create()
    seen = []

    async def bench(ctx):
        ctx.set(dut.i.valid, 1)
        ctx.set(dut.o1.ready, 1)
        for o0_ready in (0, 0, 1, 0):
            ctx.set(dut.o0.ready, o0_ready)
            seen.append((ctx.get(dut.o0.valid), ctx.get(dut.o1.valid), ctx.get(dut.i.ready)))
            await ctx.tick()

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()
    # o1 takes the beat at once, then waits for o0; the next beat is new to both.
    assert seen == [(1, 1, 0), (1, 0, 0), (1, 0, 1), (1, 1, 0)]


def test_one_output_is_refused():
    with pytest.raises(ValueError, match=r"^outputs \(1\) must be at least 2$"):
        ForkConfig(TensorStream(uint_type(8), (1, 1, 2), 1), 1)
