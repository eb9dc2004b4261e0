"""Random networks with random foldings, whole: exact, at the predicted rate, never stuck."""

from math import ceil

import pytest

from hwgen.blocks.constant_layer import ConstantLayerConfig
from hwgen.blocks.fifo import FifoConfig
from hwgen.blocks.neuron_layer import NeuronLayerConfig
from hwgen.hardware import Source
from hwgen.schedule import _Run
from tests.random_networks import random_design, random_frames
from tests.system.top_driver import TopSimulator, always, at_random, closed_until

FAST_SEEDS = range(12)
SLOW_SEEDS = range(100, 170)
CLOCKS = 900  # of a run at full speed: enough frames for the steady state

SEEDS = [*FAST_SEEDS, *(pytest.param(seed, marks=pytest.mark.slow) for seed in SLOW_SEEDS)]


class Network:
    """A random design, its simulator, frames and what they become."""

    def __init__(self, seed: int):
        self.seed = seed
        self.design = design = random_design(seed)
        self.simulator = TopSimulator(design.hardware)
        interval, latency = design.timing.interval, design.timing.latency
        frames = min(max(ceil(CLOCKS / interval), 3), 40)
        self.x = random_frames(design.graph, frames, seed)
        self.expected = design.graph.run(self.x)
        self.output = design.hardware.stream(design.hardware.output)
        self.patience = 3 * (interval + latency) + 300

    def run(self, frames=None, **gates):
        """Frames through the simulator; the run, and whether all outputs are right."""
        x, expected = self.x[:frames], self.expected[:frames]
        run = self.simulator.run(x, **{"patience": self.patience} | gates)
        got = self.output.unpack(run.words).reshape(expected.shape)
        return run, (got == expected).all()


@pytest.fixture(scope="module", params=SEEDS, ids=lambda seed: f"seed{seed}")
def network(request):
    return Network(request.param)


def test_random_networks_are_exact_at_the_predicted_interval_and_latency(network):
    timing = network.design.timing
    run, exact = network.run()
    assert exact
    assert run.interval(network.output.beats) == timing.interval
    latency = run.given[network.output.beats - 1] - run.taken[0] + 1
    if has_room(network.design.hardware):
        assert latency == timing.latency
    else:
        assert latency >= timing.latency


def has_room(hardware):
    """Whether no buffer fills up when a first frame comes at full speed."""
    run = _Run(hardware, 0, 1, 0)
    depths = run.depths()
    for node in hardware.nodes:
        block = node.block
        size = getattr(block, "rows", getattr(block, "fifo_depth", None))
        if isinstance(block, FifoConfig):
            size = block.depth
        wanted = run.peaks[node.name] or depths[Source(node.name)]
        if size is not None and size < wanted:
            return False
    return True


def test_random_networks_are_exact_under_random_stalls(network):
    _, exact = network.run(3, source=at_random(0.6, network.seed),
                           sink=at_random(0.5, network.seed + 1))
    assert exact


def test_random_networks_go_on_when_the_output_opens_after_a_long_time(network):
    timing = network.design.timing
    opens = 2 * timing.interval + timing.latency
    _, exact = network.run(3, sink=closed_until(opens), patience=opens + network.patience)
    assert exact


def test_random_networks_go_on_when_the_input_starves(network):
    _, exact = network.run(2, source=at_random(0.15, network.seed), sink=always)
    assert exact


def test_random_networks_have_every_block_and_folding():
    found = set()
    for seed in (*FAST_SEEDS, *SLOW_SEEDS):
        for node in random_design(seed).hardware.nodes:
            block = node.block
            found.add(type(block).__name__.removesuffix("Config"))
            if isinstance(block, NeuronLayerConfig):
                found |= {block.style, block.multiplier,
                          *("groups side by side",) * (block.group_parallel > 1),
                          *("group by group",) * (block.rounds > 1),
                          *("ring",) * (block.hold > 1 and block.steps > 1)}
            if isinstance(block, ConstantLayerConfig):
                found |= {"constant", *("bits in turn",) * (block.hold > 1),
                          *("look-up tables",) * (block.tables is not None)}
    assert found >= {
        "dsp", "phases", "Gate", "constant", "bits in turn", "look-up tables",
        "Add", "ArgMax", "Concat", "Elementwise", "Fifo", "Fork", "NeuronLayer", "Pool", "Upsample",
        "WidthAdapter", "WindowReader", "WindowShift", "logic", "block", "groups side by side",
        "group by group", "ring"}
