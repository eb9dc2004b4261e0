"""A fork whose branches take unequal time needs the FIFOs that were computed for it."""

from dataclasses import replace

import numpy as np
import pytest
from amaranth import Signal

from hwgen.blocks.fifo import Fifo, FifoConfig
from hwgen.hardware import Source
from hwgen.lower import build_hardware, plan_layers
from hwgen.ops import Add, Concat, Conv, MaxPool, Requantize
from hwgen.schedule import size_buffers
from hwgen.types import TERNARY, uint_type
from tests.graphs import GraphBuilder
from tests.system.top_driver import TopSimulator

FRAMES = 5


def unequal_branches(join):
    """1x1 beside 5x5: the wide window waits for two rows that the narrow branch must hold."""
    rng = np.random.default_rng(0)

    def conv(size):
        return Conv(rng.integers(-1, 2, (size, size, 1, 1)), TERNARY, [0], pad=(size // 2,) * 4)

    act = Requantize([1], [1], 0, "half_up", uint_type(3))
    graph = (GraphBuilder((8, 12, 1), uint_type(3)).add("narrow", conv(1), "x")
             .add("narrow_act", act).add("wide", conv(5), "x").add("wide_act", act)
             .add("join", join, "narrow_act", "wide_act").build())
    plans = plan_layers(graph)
    chosen = {p.name: next(o for o in p.options("xc7") if o.folding.get("window") != "reader")
              for p in plans}
    hardware, timing = size_buffers(build_hardware(graph, plans, chosen))
    return graph, hardware, timing


def with_depths(hardware, depths):
    """The same hardware with other depths of some FIFOs, by name of the block."""
    def changed(node):
        if node.name not in depths:
            return node
        field = "depth" if isinstance(node.block, FifoConfig) else "fifo_depth"
        return replace(node, block=replace(node.block, **{field: depths[node.name]}))
    return hardware.with_nodes(map(changed, hardware.nodes))


def run(graph, hardware):
    """Frame interval; checks the outputs."""
    x = np.random.default_rng(1).integers(0, 8, (FRAMES, *graph.input_tensor.shape))
    result = TopSimulator(hardware).run(x, patience=1000)
    out = hardware.stream(hardware.output)
    np.testing.assert_array_equal(out.unpack(result.words), graph.run(x))
    return result.interval(out.beats)


def computed(timing):
    """Depths beside the wide window before they are rounded up to whole memories; of the neurons,
    whose places are reserved, beside the output register."""
    return {"x_fork_fifo0": timing.depths[Source("x_fork", 0)],
            "narrow": timing.depths[Source("narrow")] + 1}


@pytest.mark.parametrize("join", [Concat(), Add()], ids=["concat", "add"])
def test_computed_depths_hold_the_interval(join):
    graph, hardware, timing = unequal_branches(join)
    assert run(graph, with_depths(hardware, computed(timing))) == timing.interval == 192


def test_depths_a_little_less_lose_clocks():
    graph, hardware, timing = unequal_branches(Concat())
    less = {name: max(2, depth * 7 // 8) for name, depth in computed(timing).items()}
    assert run(graph, with_depths(hardware, less)) > timing.interval


@pytest.mark.parametrize("join", [Concat(), Add()], ids=["concat", "add"])
def test_depths_of_less_than_the_rows_that_the_window_waits_for_deadlock(join):
    graph, hardware, _ = unequal_branches(join)
    with pytest.raises(AssertionError, match="nothing moves"):
        run(graph, with_depths(hardware, {"x_fork_fifo0": 2, "narrow": 20}))


# Exact depths: an evenly paced source, as the schedule assumes, never waits; with one beat less in
# any FIFO that FIFO makes its producer wait.

def strided():
    """Rows and columns of strided windows, a pool, and windows read from a memory."""
    rng = np.random.default_rng(0)

    def conv(inputs, pad):
        return Conv(rng.integers(-1, 2, (3, 3, inputs, 4)), TERNARY, np.zeros(4, int), (2, 2),
                    (pad,) * 4)

    act = Requantize([1], [1], 0, "half_up", uint_type(2))
    graph = (GraphBuilder((12, 12, 2), uint_type(2)).add("a", conv(2, 1)).add("a_act", act)
             .add("p", MaxPool((2, 2), (1, 1))).add("b", conv(4, 0)).add("b_act", act).build())
    plans = plan_layers(graph)
    wanted = {"a": {"window": "columns", "pe": 2, "simd": 18}, "b": {"window": "reader", "pe": 1},
              "p": {"lanes": 2}}
    chosen = {p.name: next(o for o in p.options("xc7") if wanted[p.name].items()
                           <= o.folding.items()) for p in plans}
    return graph, *size_buffers(build_hardware(graph, plans, chosen))


class StallSimulator(TopSimulator):
    """Notes at which FIFOs a beat had to wait."""

    async def _drive(self, ctx):
        await super()._drive(ctx)
        self.stalled = {name for name, stalled in self.waits.items() if ctx.get(stalled)}


def stalls(graph, hardware, timing, monkeypatch):
    """FIFOs that made a beat wait, the interval, and whether the input was taken at once."""
    waits = {}
    elaborate = Fifo.elaborate
    names = {id(node.block): node.name for node in hardware.nodes}

    def watched(self, platform):
        m = elaborate(self, platform)
        stalled = Signal()
        with m.If(self.i.valid & ~self.i.ready):
            m.d.sync += stalled.eq(1)
        waits[names[id(self.config)]] = stalled
        return m

    with monkeypatch.context() as patch:
        patch.setattr(Fifo, "elaborate", watched)
        simulator = StallSimulator(hardware)
    simulator.waits = waits
    beats = hardware.input.beats
    start = max(node.block.cycles for node in hardware.nodes)
    sent = (start + np.arange(FRAMES)[:, None] * timing.interval
            + np.arange(beats) * timing.interval // beats).reshape(-1).tolist()

    def paced(clock):
        number = len(simulator.result.taken)
        return number < len(sent) and clock >= sent[number]

    x = np.random.default_rng(1).integers(0, 4, (FRAMES, *graph.input_tensor.shape))
    result = simulator.run(x, source=paced)
    out = hardware.stream(hardware.output)
    np.testing.assert_array_equal(out.unpack(result.words), graph.run(x))
    return simulator.stalled, result.interval(out.beats), result.taken == sent


@pytest.mark.parametrize("design", [lambda: unequal_branches(Concat()),
                                    lambda: unequal_branches(Add()), strided],
                         ids=["concat", "add", "strided"])
def test_depths_are_exact_and_one_less_stalls(design, monkeypatch):
    graph, hardware, timing = design()
    depths = {node.name: timing.depths[node.sources[0]] for node in hardware.nodes
              if isinstance(node.block, FifoConfig)}
    exact = with_depths(hardware, depths)
    assert stalls(graph, exact, timing, monkeypatch) == (set(), timing.interval, True)
    deeper = {name: depth for name, depth in depths.items() if depth > 2}
    assert deeper
    for name, depth in deeper.items():
        found, *_ = stalls(graph, with_depths(exact, {name: depth - 1}), timing, monkeypatch)
        assert name in found
