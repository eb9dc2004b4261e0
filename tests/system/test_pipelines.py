"""Layers that take a vector in every clock: a gate, open blocks and one FIFO."""

from dataclasses import replace

import numpy as np
import pytest

from hwgen.blocks.fifo import FifoConfig
from hwgen.blocks.gate import GateConfig
from hwgen.hardware import Source
from hwgen.lower import build_hardware, plan_layers
from hwgen.ops import ArgMax, Conv, Requantize, Threshold
from hwgen.schedule import size_buffers
from hwgen.types import TERNARY, int_type, uint_type
from tests.graphs import GraphBuilder
from tests.system.top_driver import TopSimulator, always, at_random

FRAMES = 90


def unrolled(size=(1, 1)):
    """Scale, neurons that are tables, neurons that are sums, index of the largest."""
    rng = np.random.default_rng(0)
    few = np.zeros((1, 1, 12, 10), np.int64)
    for n in range(10):
        few[0, 0, rng.choice(12, 3, replace=False), n] = rng.choice([-3, -1, 2, 3], 3)
    graph = (GraphBuilder((*size, 12), uint_type(4))
             .add("scale", Requantize([1], [2], 0, "floor", uint_type(2)))
             .add("tables", Conv(few, int_type(3), rng.integers(-3, 4, 10)))
             .add("bits", Threshold(rng.integers(-3, 4, (10, 1)), [False], uint_type(1)))
             .add("sums", Conv(rng.integers(-1, 2, (1, 1, 10, 5)), TERNARY,
                               rng.integers(-2, 3, 5)))
             .add("digit", ArgMax()).build())
    plans = plan_layers(graph)
    chosen = {p.name: min(p.options("xc7"), key=lambda o: (o.cycles, o.cost.lut)) for p in plans}
    return graph, *size_buffers(build_hardware(graph, plans, chosen))


def frames_of(graph):
    return np.random.default_rng(1).integers(0, 16, (FRAMES, *graph.input_tensor.shape))


def test_one_gate_one_fifo_and_nothing_between():
    _, hardware, _ = unrolled()
    names = ["scale_gate", "scale", "tables", "sums", "digit", "digit_fifo"]
    assert [node.name for node in hardware.nodes] == names
    assert [node.block.is_open for node in hardware.nodes] == [False, *[True] * 4, False]
    gate, *_, fifo = hardware.nodes
    assert isinstance(gate.block, GateConfig)
    assert isinstance(fifo.block, FifoConfig)
    assert gate.credit == fifo.name
    assert gate.block.places == fifo.block.depth


@pytest.mark.parametrize("size", [(1, 1), (2, 3)], ids=["vectors", "images"])
@pytest.mark.parametrize("stalls", [(1.0, 1.0), (0.7, 1.0), (1.0, 0.4), (0.6, 0.6)], ids=str)
def test_every_result_is_exact_whatever_the_ends_do(size, stalls):
    graph, hardware, _ = unrolled(size)
    x = frames_of(graph)
    source, sink = (always if p == 1.0 else at_random(p, n) for n, p in enumerate(stalls))
    result = TopSimulator(hardware).run(x, source, sink)
    np.testing.assert_array_equal(hardware.stream(hardware.output).unpack(result.words),
                                  graph.run(x))


def test_a_result_per_clock_after_the_predicted_latency():
    graph, hardware, timing = unrolled()
    result = TopSimulator(hardware).run(frames_of(graph))
    assert timing.interval == result.interval(1) == 1
    assert result.given == list(range(result.given[0], result.given[0] + FRAMES))
    assert result.given[0] - result.taken[0] + 1 == timing.latency


def test_computed_places_are_the_least_that_hold_a_result_per_clock():
    graph, hardware, timing = unrolled()

    def interval(places):
        """Clocks between results on average, with so many places."""
        nodes = [replace(n, block=replace(n.block, places=places)) if n.credit else
                 replace(n, block=replace(n.block, depth=places)) if n.name == "digit_fifo" else n
                 for n in hardware.nodes]
        given = TopSimulator(hardware.with_nodes(nodes)).run(frames_of(graph)).given
        return (given[-1] - given[0]) / (len(given) - 1)

    depth = timing.depths[Source("digit")]
    assert interval(depth) == 1
    assert interval(depth - 1) > 1


def test_a_layer_alone_keeps_its_own_fifo():
    graph = (GraphBuilder((1, 1, 4), uint_type(2))
             .add("a", Conv(np.ones((1, 1, 4, 3), np.int64), TERNARY, [0, 1, 2])).build())
    plan, = plans = plan_layers(graph)
    chosen = {"a": min(plan.options("xc7"), key=lambda o: o.cycles)}
    hardware, _ = size_buffers(build_hardware(graph, plans, chosen))
    assert not any(isinstance(n.block, GateConfig) or n.block.is_open for n in hardware.nodes)


def test_a_gate_without_places_is_refused():
    _, hardware, _ = unrolled()
    with pytest.raises(ValueError, match=r"^places \(0\) must be at least 1$"):
        GateConfig(hardware.input, 0)
