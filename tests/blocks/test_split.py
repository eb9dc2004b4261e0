import numpy as np
import pytest
from amaranth.sim import Simulator

from hwgen.blocks.concat import ConcatConfig
from hwgen.blocks.split import SplitConfig
from hwgen.streams import TensorStream
from hwgen.types import BIPOLAR, TERNARY, int_type, uint_type
from tests.streams import check_block, random_frames

STALLS = ((1.0, 1.0), (0.5, 1.0), (1.0, 0.4), (0.4, 0.6))


@pytest.mark.parametrize("parts, lanes", [
    ((4, 2), 2), ((2, 2), 2), ((2, 6, 4), 2), ((3, 1, 2, 4), 1), ((8, 4), 4), ((32, 8, 8), 1),
    ((4, 2), 6), ((3, 1, 2, 4), 10), ((1, 1), 1), ((1, 1), 2)])
@pytest.mark.parametrize("kind", [BIPOLAR, int_type(5)])
def test_each_output_carries_its_channels(kind, parts, lanes):
    config = SplitConfig(TensorStream(kind, (2, 3, sum(parts)), lanes), parts)
    assert [config.output_of(n).channels for n in range(config.outputs)] == list(parts)
    check_block(config, stalls=STALLS)


@pytest.mark.parametrize("lanes", [2, 12])
def test_a_vector_is_split_too(lanes):
    check_block(SplitConfig(TensorStream(TERNARY, (1, 1, 12), lanes), (2, 6, 4)), frames=9,
                stalls=STALLS)


def test_a_split_is_the_inverse_of_a_concat():
    streams = tuple(TensorStream(uint_type(4), (2, 3, c), 2) for c in (2, 6, 4))
    parts = [random_frames(stream, frames=2, seed=n) for n, stream in enumerate(streams)]
    concat = ConcatConfig(streams, uint_type(4))
    split = SplitConfig(concat.output, (2, 6, 4))
    assert tuple(split.output_of(n) for n in range(3)) == streams
    for found, wanted in zip(split.compute(concat.compute(*parts)), parts):
        np.testing.assert_array_equal(found, wanted)


def test_of_a_whole_pixel_a_stalled_output_does_not_hold_back_the_others():
    dut = SplitConfig(TensorStream(uint_type(8), (1, 2, 2), 2), (1, 1)).create()
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
    # Both parts are there at once; o1 takes its own, then waits until o0 has taken the other.
    assert seen == [(1, 1, 0), (1, 0, 0), (1, 0, 1), (1, 1, 0)]


@pytest.mark.parametrize("parts, lanes, text", [
    ((6,), 2, r"^split makes two or more parts, not 1$"),
    ((2, 2), 2, r"^parts \[2, 2\] must have 6 channels together$"),
    ((3, 3), 2, r"^lanes \(2\) must divide the parts \[3, 3\] or be all channels$")])
def test_parts_that_do_not_fit_are_refused(parts, lanes, text):
    with pytest.raises(ValueError, match=text):
        SplitConfig(TensorStream(uint_type(2), (2, 2, 6), lanes), parts)
