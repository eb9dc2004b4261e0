import numpy as np
import pytest

from hwgen import schedule
from hwgen.blocks.fifo import FifoConfig
from hwgen.blocks.fork import ForkConfig
from hwgen.blocks.neuron_layer import NeuronLayerConfig
from hwgen.blocks.pace import PaceConfig
from hwgen.blocks.primitives import StreamFifo
from hwgen.blocks.window_reader import WindowReaderConfig
from hwgen.hardware import INPUT, Source
from hwgen.lower import build_hardware, pace_within, plan_layers
from hwgen.ops import Add, Concat, Conv, MaxPool, Requantize
from hwgen.schedule import round_depth, size_buffers
from hwgen.types import TERNARY, uint_type
from tests.graphs import GraphBuilder


def conv(size, inputs, outputs, **given):
    weights = np.random.default_rng(0).integers(-1, 2, (size, size, inputs, outputs))
    return Conv(weights, TERNARY, np.zeros(outputs), pad=(size // 2,) * 4, **given)


def requantize():
    return Requantize([1], [2], 0, "half_up", uint_type(2))


def build(builder, interval=None, **wanted):
    plans = plan_layers(builder.build())
    chosen = {p.name: next(o for o in p.options("xc7")
                           if all(o.folding.get(k) == v
                                  for k, v in wanted.get(p.name, {}).items())) for p in plans}
    pace = pace_within(interval, builder.build(), plans, chosen) if interval else 1
    return size_buffers(build_hardware(builder.build(), plans, chosen, pace))


def image(size=(6, 8), channels=2):
    return GraphBuilder((*size, channels), uint_type(2))


# Intervals.

def test_the_interval_is_that_of_the_slowest_block():
    hardware, timing = build(image().add("a", conv(3, 2, 4)).add("act", requantize())
                             .add("b", conv(3, 4, 2)),
                             a={"pe": 4, "window": "shift"}, b={"pe": 1, "simd": 1})
    assert timing.interval == 6 * 8 * 9 * 4 * 2
    assert hardware.node("b").block.cycles == timing.interval


def test_the_interval_is_no_less_than_the_beats_of_the_input():
    _, timing = build(image((6, 8), 2).add("pool", MaxPool((6, 8), (6, 8))), pool={"lanes": 2})
    assert timing.interval == 6 * 8


def test_a_window_and_its_neurons_are_slower_than_each_alone():
    """Padding passes only while the neurons are not holding the registers of a window."""
    hardware, timing = build(image((6, 8), 1).add("a", conv(3, 1, 2)),
                             a={"pe": 1, "window": "shift"})
    assert max(node.block.cycles for node in hardware.nodes) == 6 * 8 * 2
    # Two clocks a window; but one and two columns of padding between windows of two rows, and
    # two rows and two columns of padding between frames.
    assert timing.interval == 6 * 7 * 2 + 5 * 3 + (2 * 10 + 3)


# A rate below what the blocks could do.

def paced(interval):
    return build(image((6, 8), 1).add("a", conv(3, 1, 2)), interval, a={"pe": 1, "window": "shift"})


@pytest.mark.parametrize("interval, pace", [(400, 8), (431, 8), (432, 9), (9600, 200)])
def test_the_input_is_taken_evenly_at_the_rate_that_is_wanted(interval, pace):
    hardware, timing = paced(interval)
    first = hardware.nodes[0]
    assert (first.name, first.block.clocks) == ("input_pace", pace)
    assert first.sources == (Source(INPUT),)
    assert timing.interval == 6 * 8 * pace <= interval


@pytest.mark.parametrize("interval", [None, 97, 143])
def test_an_input_is_not_slowed_below_what_the_blocks_take(interval):
    hardware, timing = paced(interval)
    assert not any(isinstance(node.block, PaceConfig) for node in hardware.nodes)
    assert timing.interval == paced(None)[1].interval


def test_a_paced_input_needs_smaller_fifos():
    """Rows of windows two rows apart: bursts, for which a slow layer needs a FIFO."""
    def network():
        return image((16, 16), 1).add("a", conv(3, 1, 2)).add("act", requantize()).add(
            "p", MaxPool((2, 2), (2, 2))).add("b", conv(1, 2, 16))

    wanted = {"a": {"pe": 1, "window": "shift"}, "b": {"pe": 1, "simd": 1}}
    slowest = 8 * 8 * 16 * 2
    depths = [sum(build(network(), interval, **wanted)[1].depths.values())
              for interval in (None, 2 * slowest)]
    assert depths[1] < depths[0]


# FIFOs.

def test_every_block_but_a_window_has_a_fifo_behind_it():
    hardware, _ = build(image().add("a", conv(3, 2, 4), "x").add("act", requantize())
                        .add("b", MaxPool((3, 3), (1, 1), (1, 1, 1, 1)), "x")
                        .add("c", Concat(), "act", "b"),
                        a={"window": "reader", "pe": 2}, b={"lanes": 1}, c={"lanes": 1})
    consumers = hardware.consumers()
    for source, (node, _) in consumers.items():
        if source.node == INPUT:
            continue
        block = hardware.node(source.node).block
        if isinstance(block, WindowReaderConfig):
            assert isinstance(node.block, NeuronLayerConfig)
        elif not hasattr(block, "fifo_depth") and not isinstance(block, FifoConfig):
            assert isinstance(node.block, FifoConfig), source
    assert consumers[Source(INPUT)][0].name == "input_fifo"
    assert hardware.output == Source("c_fifo")


def test_depths_grow_with_what_the_other_branch_waits_for():
    def depth(size):
        builder = image((9, 9), 1).add("a", conv(1, 1, 1), "x").add("act", requantize()) \
            .add("b", conv(size, 1, 1), "x").add("act2", requantize()).add("sum", Add(), "act",
                                                                           "act2")
        return build(builder, b={"window": "shift"})[1].depths[Source("a")]

    depths = [depth(size) for size in (3, 5, 7)]
    # Each size more makes the window wait for one more row of 9 pixels, and one pixel.
    assert depths[1] - depths[0] >= 9
    assert depths[2] - depths[1] >= 9


def test_a_reader_s_ring_holds_its_peak():
    hardware, _ = build(image().add("a", conv(3, 2, 4)), a={"window": "reader", "pe": 1, "simd": 2})
    ring = hardware.node("a_window").block
    assert ring.rows > ring.least_rows  # the next rows come in while a row of windows is read


def test_names_of_fifos_are_those_of_no_other_block():
    hardware, _ = build(image().add("a", MaxPool((1, 2), (1, 1)), "x")
                        .add("a_fifo", MaxPool((1, 1), (1, 1)), "a")
                        .add("input_fifo", MaxPool((1, 1), (1, 1)), "a_fifo"))
    names = [node.name for node in hardware.nodes]
    assert len(set(names)) == len(names)
    assert names[0] == "input_fifo_2"
    assert "a_fifo_2" in names


def test_a_fork_has_a_fifo_at_each_output():
    hardware, _ = build(image().add("a", Add(), "x", "x"))
    fork, = (n for n in hardware.nodes if isinstance(n.block, ForkConfig))
    assert [hardware.consumers()[Source(fork.name, port)][0].name for port in range(2)] == [
        "x_fork_fifo0", "x_fork_fifo1"]


# Blocks that start later than they could.

def branches(reduced):
    """A 3x3 of few channels to many beside a 5x5: what the first makes waits for a row."""
    act = requantize()
    return (image((24, 24), reduced).add("a", conv(3, reduced, 8), "x").add("act", act)
            .add("b", conv(5, reduced, 8), "x").add("act2", act)
            .add("join", Concat(), "act", "act2"))


def joined(reduced):
    wanted = {"window": "shift", "pe": 1, "simd": 9}
    return build(branches(reduced), a=wanted, b=wanted | {"simd": 25}, join={"lanes": 1})


def test_a_block_starts_later_where_less_waits_in_front_of_it_than_behind():
    hardware, timing = joined(1)
    assert set(timing.delays) == {("a_window", 0)}
    assert timing.delays["a_window", 0] > 0
    # A row of 24 pixels is 24 beats in front and 192 behind.
    assert timing.depths[Source("a")] < 120
    assert timing.depths[Source("x_fork", 0)] > 24


def test_a_block_that_starts_later_holds_nothing_up(monkeypatch):
    _, timing = joined(1)
    monkeypatch.setattr(schedule, "_postpone", lambda hardware, run: {})
    _, soon = joined(1)
    assert timing.interval == soon.interval
    assert timing.latency == soon.latency
    assert soon.depths[Source("a")] > 192


@pytest.mark.parametrize("reduced, less", [(1, True), (8, True), (32, False)])
def test_blocks_only_start_later_where_that_takes_less(reduced, less, monkeypatch):
    def takes():
        used = joined(reduced)[0].estimate("xc7")
        return used.lut + 300 * used.bram36

    late = takes()
    monkeypatch.setattr(schedule, "_postpone", lambda hardware, run: {})
    assert late < takes() if less else late == takes()


# Sizes.

@pytest.mark.parametrize("depth", [1, 2, 3, 20, 33, 34, 65, 66, 129, 500, 1000, 5000])
@pytest.mark.parametrize("width", [1, 9, 33, 128])
def test_rounding_a_depth_up_costs_nothing(width, depth):
    rounded = round_depth(depth, width)
    assert rounded >= depth
    if depth > 2:
        fifo = [StreamFifo(width, d) for d in (depth, rounded)]
        assert [f.latency_of(f.depth) for f in fifo] == [2, 2]
    assert round_depth(rounded, width) == rounded


@pytest.mark.parametrize("depth, width, rounded", [
    (2, 8, 2), (3, 8, 33), (33, 8, 33), (34, 8, 65), (66, 8, 129), (600, 18, 1025)])
def test_depths_are_whole_memories_and_a_register(depth, width, rounded):
    assert round_depth(depth, width) == rounded
