import numpy as np
import pytest

from hwgen.blocks.fifo import FifoConfig
from hwgen.blocks.primitives import StreamFifo
from hwgen.streams import TensorStream
from hwgen.types import BIPOLAR, int_type, uint_type
from tests.streams import check_block, random_frames, trace_block

ALWAYS, STARVED, STALLED = (1.0, 1.0), (0.5, 1.0), (0.5, 0.5)


@pytest.mark.parametrize("depth", [1, 2, 3, 4, 7, 16, 33, 34])
def test_beats_pass_unchanged_at_the_documented_clocks(depth):
    config = FifoConfig(TensorStream(int_type(5), (3, 4, 4), 2), depth)
    check_block(config, stalls=(ALWAYS, STARVED, STALLED))


@pytest.mark.parametrize("kind", [BIPOLAR, uint_type(9)])
def test_any_type_passes(kind):
    check_block(FifoConfig(TensorStream(kind, (2, 3, 3), 3), 4))


@pytest.mark.parametrize("depth", [1, 2, 3, 8])
def test_a_stalled_output_lets_exactly_depth_beats_in(depth):
    config = FifoConfig(TensorStream(uint_type(8), (1, 1, 40), 1), depth)
    sources, sinks = trace_block(config, random_frames(config.stream), p_ready=0.1)
    inside = [sum(p <= clock for p in sources[0].passed) - sum(p <= clock for p in sinks[0].passed)
              for clock in range(sinks[0].passed[-1])]
    assert max(inside) == depth


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 5, 2), (40, 50, 1)])
def test_the_last_beat_is_counted_where_its_bit_would_take_block_ram(shape):
    config = FifoConfig(TensorStream(uint_type(4), shape, 1), 3000)
    assert StreamFifo.stored_width(5, 3000, config.stream.beats) == 4
    assert config.estimate("xc7").bram36 == 0.5  # 4 bits by 4096; 5 bits would take twice that
    check_block(config, frames=3, stalls=(ALWAYS, STALLED))


def test_the_last_beat_has_a_bit_where_it_takes_no_block_ram():
    assert StreamFifo.stored_width(9, 3000, 100) == 9
    assert StreamFifo.stored_width(5, 30, 100) == 5


def test_latency_is_one_clock_from_registers_and_two_from_memory():
    stream = TensorStream(uint_type(8), (1, 1, 1), 1)
    assert [FifoConfig(stream, depth).latency for depth in (1, 2, 3, 100)] == [1, 1, 2, 2]


def test_estimate_counts_the_memory():
    narrow, wide = (TensorStream(uint_type(8), (8, 8, lanes), lanes) for lanes in (1, 16))
    assert FifoConfig(wide, 32).estimate("xc7").lutram > FifoConfig(narrow, 32).estimate(
        "xc7").lutram > 0
    assert FifoConfig(wide, 513).estimate("xc7").bram36 == 2.0  # 129 bits: 4 columns of 36
    assert FifoConfig(narrow, 2).estimate("xc7").lutram == 0


def test_schedule_of_a_million_beats_is_fast_and_exact():
    config = FifoConfig(TensorStream(uint_type(1), (1000, 1000, 1), 1), 5)
    ready = np.arange(10**6)[::-1].copy()  # all wait for the first
    schedule = config.schedule(1, ready)
    assert schedule.taken[0][0] == 10**6 - 1
    assert schedule.offered[-1] == 2 * 10**6 - 2 + 2


def test_depth_below_one_is_refused():
    with pytest.raises(ValueError, match=r"^depth \(0\) must be at least 1$"):
        FifoConfig(TensorStream(uint_type(8), (1, 1, 1), 1), 0)
