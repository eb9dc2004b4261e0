"""A second look at a folding, with the FIFOs that each choice brings."""

from dataclasses import replace

import numpy as np
import pytest

from hwgen import planning
from hwgen.blocks.fifo import FifoConfig
from hwgen.boards import load_board
from hwgen.errors import BoardError
from hwgen.folding import share_of
from hwgen.ops import Conv, MaxPool, Requantize
from hwgen.planning import Target, plan_design
from hwgen.refolding import refold
from hwgen.types import TERNARY, uint_type
from tests.graphs import GraphBuilder

BOARD = load_board("zybo-z7010")


def bursts(size=64, channels=32, outputs=16):
    """A 1x1 convolution behind a pool, whose rows come in every other row of its input."""
    rng = np.random.default_rng(0)

    def conv(kernel, inputs, neurons):
        weights = rng.integers(-1, 2, (kernel, kernel, inputs, neurons))
        return Conv(weights, TERNARY, np.zeros(neurons), pad=(kernel // 2,) * 4)

    act = Requantize([1], [4], 0, "half_up", uint_type(4))
    return (GraphBuilder((size, size, 1), uint_type(4)).add("a", conv(3, 1, channels))
            .add("a_act", act).add("p", MaxPool((2, 2), (2, 2)))
            .add("b", conv(1, channels, outputs)).add("b_act", act).build())


def planned(graph, interval, **budget):
    return plan_design(graph, Target(BOARD, 150.0, replace(BOARD.limits, **budget),
                                     150e6 / interval))


def without(monkeypatch):
    monkeypatch.setattr(planning, "REFOLDS", 0)


@pytest.mark.parametrize("bram36", [0.5, 1, 1.5])
@pytest.mark.parametrize("channels", [32, 64])
def test_a_design_takes_no_more_than_without_a_second_look(channels, bram36, monkeypatch):
    graph, budget = bursts(32, channels), replace(BOARD.limits, bram36=bram36, lut=1500)
    interval = 32 * 32 * channels * 4
    again = planned(graph, interval, bram36=bram36, lut=1500)
    without(monkeypatch)
    once = planned(graph, interval, bram36=bram36, lut=1500)
    assert share_of(again.estimate, budget) <= share_of(once.estimate, budget)
    assert again.timing.interval <= interval


def test_a_faster_layer_spares_the_fifo_in_front_of_it(monkeypatch):
    def behind_the_pool(built):
        cycles = built.hardware.node("b").block.cycles
        return cycles, sum(n.block.estimate("xc7").bram36 for n in built.hardware.nodes
                           if isinstance(n.block, FifoConfig))

    again = behind_the_pool(planned(bursts(), 65536, bram36=0.5))
    without(monkeypatch)
    once = behind_the_pool(planned(bursts(), 65536, bram36=0.5))
    assert once == (65536, 0.5)
    assert again == (65536 // 2, 0)


def test_a_budget_can_be_met_that_needs_layers_faster_than_the_rate(monkeypatch):
    assert planned(bursts(), 65536, bram36=0).estimate.bram36 == 0
    without(monkeypatch)
    with pytest.raises(BoardError, match=r"bram36 needed 0\.5, allowed 0;"):
        planned(bursts(), 65536, bram36=0)


def test_a_design_whose_fifos_are_small_is_left_as_it_is():
    built = planned(bursts(8, 4, 4), 8 * 8 * 16)
    assert built.estimate.bram36 == 0
    assert refold(built.plans, built.choice, built.hardware, built.timing, built.parts,
                  BOARD.limits, "xc7") is built.choice
