"""Convolutions side by side, made one and taken apart again, in simulated hardware."""

import numpy as np
import pytest

from hwgen.blocks.split import SplitConfig
from hwgen.ops import Concat, Conv, MaxPool, Requantize
from hwgen.passes import variants
from hwgen.types import TERNARY, uint_type
from tests.graphs import GraphBuilder
from tests.random_networks import random_folding, random_frames
from tests.system.top_driver import TopSimulator

FRAMES = 4


def inception():
    """Branches that take unequal time, of which three begin with a 1x1 convolution."""
    rng = np.random.default_rng(0)

    def conv(size, inputs, outputs):
        return Conv(rng.integers(-1, 2, (size, size, inputs, outputs)), TERNARY,
                    rng.integers(-3, 4, outputs), pad=(size // 2,) * 4)

    def act(shift):
        return Requantize([1], [shift], 0, "half_up", uint_type(2))

    graph = (GraphBuilder((6, 5, 4), uint_type(2))
             .add("one", conv(1, 4, 6), "x").add("one_act", act(1))
             .add("two_reduce", conv(1, 4, 2), "x").add("two_reduce_act", act(2))
             .add("two", conv(3, 2, 4)).add("two_act", act(1))
             .add("three_reduce", conv(1, 4, 4), "x").add("three_reduce_act", act(1))
             .add("three", conv(5, 4, 2)).add("three_act", act(2))
             .add("pool", MaxPool((3, 3), (1, 1), (1, 1, 1, 1)), "x")
             .add("join", Concat(), "one_act", "two_act", "three_act", "pool").build())
    return graph, *variants(graph)[1:]


@pytest.mark.parametrize("seed", range(8))
def test_merged_layers_compute_the_same_in_the_clocks_predicted(seed):
    graph, merged = inception()
    design = random_folding(merged, np.random.default_rng(seed), exact_depths=not seed % 2)
    assert any(isinstance(n.block, SplitConfig) for n in design.hardware.nodes)
    x = random_frames(graph, FRAMES, seed)
    out = design.hardware.stream(design.hardware.output)
    result = TopSimulator(design.hardware).run(x, patience=20_000)
    np.testing.assert_array_equal(out.unpack(result.words), graph.run(x))
    assert result.interval(out.beats) == design.timing.interval
