"""Which variant of a network is built."""

import json
from dataclasses import replace

import numpy as np
import pytest

from hwgen import planning
from hwgen.blocks.pace import PaceConfig
from hwgen.boards import load_board
from hwgen.errors import ModelError
from hwgen.folding import share_of
from hwgen.lower import plan_layers
from hwgen.ops import Conv, MaxPool, Requantize
from hwgen.passes import variants
from hwgen.planning import Target, plan_design
from hwgen.schedule import size_buffers
from hwgen.types import TERNARY, uint_type
from tests.graphs import GraphBuilder, inception

BOARD = load_board("zybo-z7010")
MERGED = "one_two_reduce_three_reduce"
CLOCK = 150.0


def target(interval=None, **given):
    fps = CLOCK * 1e6 / interval if interval else None
    return replace(Target(BOARD, CLOCK, BOARD.limits, fps), **given)


def layers(built):
    return [plan.name for plan in built.plans]


def of_each_variant(graph, wanted):
    """The designs of all variants."""
    every = [planning._Variant(one, plan_layers(one), wanted) for one in variants(graph)]
    return [variant.refined(variant.design()) for variant in every]


def planned(graph, wanted, monkeypatch):
    """The layers of the variants of which designs are looked at, and of those that are refined."""
    designed, refined = [], []
    for name, every in (("design", designed), ("refined", refined)):
        original = getattr(planning._Variant, name)

        def kept(variant, *given, original=original, every=every):
            every.append([plan.name for plan in variant.plans])
            return original(variant, *given)

        monkeypatch.setattr(planning._Variant, name, kept)
    plan_design(graph, wanted)
    return designed, refined


@pytest.mark.parametrize("interval", [300, 1000, 10_000])
def test_of_the_variants_that_reach_a_rate_the_smallest_is_built(interval):
    every = of_each_variant(inception(), target(interval))
    assert len(every) == 2
    assert all(b.timing.interval <= interval for b in every)
    assert share_of(plan_design(inception(), target(interval)).estimate, BOARD.limits) == min(
        share_of(b.estimate, BOARD.limits) for b in every)


def test_without_a_rate_the_fastest_variant_is_built():
    every = of_each_variant(inception(), target())
    assert plan_design(inception(), target()).timing.interval == min(
        b.timing.interval for b in every)


def test_a_variant_whose_layers_are_clearly_larger_is_not_looked_at(monkeypatch):
    designed, _ = planned(inception(), target(10_000), monkeypatch)
    assert designed == [[MERGED, "two", "three", "pool", "join"]]


def test_of_designs_of_like_size_only_the_best_is_refined(monkeypatch):
    monkeypatch.setattr(planning, "CLEARLY", 10.0)
    designed, refined = planned(inception(), target(10_000), monkeypatch)
    assert len(designed) == 2
    assert refined == [[MERGED, "two", "three", "pool", "join"]]


def test_where_the_best_does_not_fit_another_variant_is_refined(monkeypatch):
    monkeypatch.setattr(planning, "CLEARLY", 10.0)
    original = planning._Variant.refined

    def too_large(variant, built):
        refined = original(variant, built)
        if MERGED in layers(built):
            return replace(refined, parts={"join": BOARD.limits + BOARD.limits})
        return refined

    monkeypatch.setattr(planning._Variant, "refined", too_large)
    assert "one" in layers(plan_design(inception(), target(10_000)))


def test_at_a_low_rate_convolutions_side_by_side_are_one_layer():
    built = plan_design(inception(), target(10_000))
    assert layers(built) == [MERGED, "two", "three", "pool", "join"]
    assert built.choice.options.keys() == set(layers(built))


def test_a_network_without_such_layers_is_planned_once(monkeypatch):
    graph = GraphBuilder((4, 4, 2), uint_type(4)).add(
        "a", Requantize([1], [1], 0, "floor", uint_type(2))).build()
    assert variants(graph) == (graph,)
    assert [len(every) for every in planned(graph, target(1000), monkeypatch)] == [1, 1]


def test_a_variant_that_does_not_reach_the_rate_is_not_built(monkeypatch):
    original = planning._Variant.design

    def refused(variant):
        if any(plan.name == MERGED for plan in variant.plans):
            raise ModelError("too slow")
        return original(variant)

    monkeypatch.setattr(planning._Variant, "design", refused)
    assert "one" in layers(plan_design(inception(), target(10_000)))


@pytest.mark.parametrize("variant", [0, 1])
def test_a_fold_file_tells_which_variant_it_is_of(variant, tmp_path):
    every = of_each_variant(inception(), target(10_000))
    folding = {name: option.folding for name, option in every[variant].choice.options.items()}
    (tmp_path / "fold.json").write_text(json.dumps({"layers": folding}))
    built = plan_design(inception(), target(fold=tmp_path / "fold.json"))
    assert layers(built) == layers(every[variant])
    assert {name: o.folding for name, o in built.choice.options.items()} == folding


@pytest.mark.parametrize("named, merged", [("one", False), (MERGED, True), ("pool", False)])
def test_a_layer_named_in_a_fold_file_is_built(named, merged, tmp_path):
    (tmp_path / "fold.json").write_text(json.dumps({"layers": {named: {}}}))
    assert (MERGED in layers(plan_design(inception(), target(fold=tmp_path / "fold.json")))) \
        == merged


def test_layers_of_two_variants_do_not_go_together(tmp_path):
    (tmp_path / "fold.json").write_text(json.dumps({"layers": {"one": {}, MERGED: {}}}))
    with pytest.raises(ModelError, match=rf"{MERGED}: no such layer"):
        plan_design(inception(), target(fold=tmp_path / "fold.json"))


# Pace of the input.

def bursts(size):
    """A pool, whose rows come in every other row of its input, in front of a slow layer."""
    rng = np.random.default_rng(0)
    act = Requantize([1], [4], 0, "half_up", uint_type(4))
    return (GraphBuilder((size, size, 1), uint_type(4))
            .add("a", Conv(rng.integers(-1, 2, (3, 3, 1, 32)), TERNARY, np.zeros(32),
                           pad=(1, 1, 1, 1))).add("a_act", act)
            .add("p", MaxPool((2, 2), (2, 2)))
            .add("b", Conv(rng.integers(-1, 2, (1, 1, 32, 16)), TERNARY, np.zeros(16)))
            .add("b_act", act).build())


def pace_of(built):
    return next((node.block.clocks for node in built.hardware.nodes
                 if isinstance(node.block, PaceConfig)), 1)


def planned_with(allowed, monkeypatch):
    monkeypatch.setattr(planning, "PACED", allowed)
    return plan_design(bursts(48), target(48 * 48 * 20))


def test_the_input_is_paced_where_a_design_would_else_be_clearly_larger(monkeypatch):
    paced, free = (planned_with(allowed, monkeypatch) for allowed in (0.0, 10.0))
    assert pace_of(paced) == 20
    assert pace_of(free) == 1
    assert free.timing.interval == free.choice.cycles < paced.timing.interval == 48 * 48 * 20
    larger = share_of(free.estimate, BOARD.limits) / share_of(paced.estimate, BOARD.limits)
    assert pace_of(planned_with(larger - 1e-6, monkeypatch)) == 20
    assert pace_of(planned_with(larger + 1e-6, monkeypatch)) == 1


@pytest.mark.parametrize("paced, roughly, sized", [(0.0, 1.05, False), (1.02, 0.5, False),
                                                   (10.0, 1.05, True)])
def test_a_design_that_is_clearly_larger_at_full_speed_is_not_sized_exactly(paced, roughly, sized,
                                                                            monkeypatch):
    found = []

    def counted(hardware):
        found.append(any(isinstance(node.block, PaceConfig) for node in hardware.nodes))
        return size_buffers(hardware)

    monkeypatch.setattr(planning, "size_buffers", counted)
    monkeypatch.setattr(planning, "ROUGHLY", roughly)
    planned_with(paced, monkeypatch)
    assert (not all(found)) == sized
