import json
from dataclasses import astuple
from itertools import product

import numpy as np
import pytest

from hwgen.errors import ModelError
from hwgen.folding import (
    choose_for_interval,
    fastest_within,
    fitting,
    fold_from_file,
    least_interval,
    pace_from_file,
    shortfall,
)
from hwgen.lower import plan_layers
from hwgen.ops import Conv, Requantize
from hwgen.resources import Resources
from hwgen.types import TERNARY, int_type, uint_type
from tests.graphs import GraphBuilder

PLENTY = Resources(lut=1e6, lutram=1e6, ff=1e6, bram36=1e6, dsp=1e6)


def small_network():
    """A 3x3 convolution of 8x8 pixels and a dense layer."""
    rng = np.random.default_rng(0)
    conv1 = Conv(rng.integers(-1, 2, (3, 3, 2, 8)), TERNARY, np.zeros(8), pad=(1, 1, 1, 1))
    conv2 = Conv(rng.integers(-8, 8, (8, 8, 8, 4)), int_type(4), np.zeros(4))
    graph = (GraphBuilder((8, 8, 2), uint_type(2)).add("conv1", conv1)
             .add("act1", Requantize([1], [2], 0, "half_up", uint_type(2)))
             .add("fc", conv2).build())
    return plan_layers(graph)


@pytest.fixture(scope="module")
def plans():
    return small_network()


def sizes(shares):
    """What designs are compared by: shares in the budget, of LUTs those beyond 80 % five times."""
    return shares.sum(axis=-1) + 4 * np.maximum(0, shares[..., 0] - 0.8)


# The smallest design for an interval.

@pytest.mark.parametrize("interval", [100, 200, 1000, 3000, 9216, 100_000])
def test_the_design_for_an_interval_keeps_it(plans, interval):
    choice = choose_for_interval(plans, interval, PLENTY, "xc7")
    assert choice.cycles <= interval
    assert choice.cycles == max(o.cycles for o in choice.options.values())
    assert choice.cost.lut == sum(o.cost.lut for o in choice.options.values())


def test_a_longer_interval_never_takes_more_luts(plans):
    budget = Resources(lut=1e4, lutram=1e9, ff=1e9, bram36=1e9, dsp=1e9)
    costs = [choose_for_interval(plans, interval, budget, "xc7").cost.lut
             for interval in (100, 300, 1000, 3000, 10_000)]
    assert costs == sorted(costs, reverse=True)


def test_with_one_price_each_layer_takes_its_cheapest_option(plans):
    budget = Resources(lut=1e4, lutram=1e9, ff=1e9, bram36=1e9, dsp=1e9)
    choice = choose_for_interval(plans, 1000, budget, "xc7")
    for plan in plans:
        cheapest = min(o.cost.lut for o in plan.options("xc7") if o.cycles <= 1000)
        assert choice.options[plan.name].cost.lut == pytest.approx(cheapest, rel=0.01)


def test_no_block_ram_means_weights_in_luts(plans):
    none = Resources(lut=1e5, lutram=1e5, ff=1e5, bram36=0, dsp=0)
    choice = choose_for_interval(plans, 3000, none, "xc7")
    assert choice.cost.bram36 == 0
    assert {o.folding["weights"] for o in choice.options.values()} == {"logic"}


def small_options(plans, interval):
    """At most 12 options of each plan, spread over all."""
    found = []
    for plan in plans:
        allowed = [o for o in plan.options("xc7") if o.cycles <= interval]
        found.append(allowed[::max(1, len(allowed) // 12)])
    return found


@pytest.mark.parametrize("seed", range(6))
def test_the_smallest_design_is_that_of_a_complete_search(seed, monkeypatch):
    rng, plans = np.random.default_rng(seed), small_network()
    few = small_options(plans, 3000)
    for plan, options in zip(plans, few):
        monkeypatch.setitem(plan._options, "xc7", tuple(options))
    designs = [sum((o.cost for o in pair), Resources()) for pair in product(*few)]
    # Budgets around what designs take, so that some fit.
    shares = np.array(list(map(astuple, designs)))
    budget = np.quantile(shares, rng.uniform(0.2, 0.9), axis=0) + 1
    within = (shares <= budget).all(axis=1)
    total = sizes(shares / budget)
    choice = choose_for_interval(plans, 3000, Resources(*budget), "xc7")
    found = np.array(astuple(choice.cost))
    if within.any():
        assert (found <= budget + 1e-6).all()
        assert sizes(found / budget) == pytest.approx(total[within].min(), rel=2e-4)
    else:
        least = (shares / budget).max(axis=1)
        assert (found / budget).max() == pytest.approx(least.min(), rel=2e-4)


@pytest.mark.parametrize("luts, slices", [(1.02, True), (1.2, True), (1.3, False)])
def test_a_chip_is_not_filled_with_luts_while_it_has_slices(plans, luts, slices):
    """Up to 80 % LUTs are as good to take as slices; beyond, slices are better."""
    def chosen(lut):
        return choose_for_interval(plans, 150, Resources(lut, 1e3, 1e4, 10, 40), "xc7").cost

    without = chosen(1000)
    assert without.dsp == 0
    taken = chosen(without.lut * luts)
    assert (taken.dsp > 0) == slices
    assert taken.lut < without.lut if slices else taken == without


def test_a_scarce_resource_suffices(plans):
    cheap_luts = choose_for_interval(plans, 2000, Resources(1e5, 1e5, 1e5, 1e3, 1e3), "xc7")
    scarce = Resources(lut=1e5, lutram=1e5, ff=1e5, bram36=cheap_luts.cost.bram36 / 2 + 0.5,
                       dsp=1e3)
    choice = choose_for_interval(plans, 2000, scarce, "xc7")
    assert choice.cost.bram36 <= scarce.bram36


def test_an_interval_below_the_least_has_no_design(plans):
    least = least_interval(plans, "xc7")
    assert choose_for_interval(plans, least - 1, PLENTY, "xc7") is None
    assert choose_for_interval(plans, least, PLENTY, "xc7").cycles == least


# The fastest design within a budget.

def test_the_fastest_design_fits_and_the_next_faster_does_not(plans):
    budget = Resources(lut=2500, lutram=1000, ff=1e5, bram36=10, dsp=0)

    best = fastest_within(plans, budget, "xc7", 64, lambda choice: choice.cost)
    assert shortfall({"": best.cost}, budget, "") == []
    faster = [o.cycles for p in plans for o in p.options("xc7") if 64 <= o.cycles < best.cycles]
    choice = choose_for_interval(plans, max(faster), budget, "xc7")
    assert choice is None or shortfall({"": choice.cost}, budget, "")


def test_what_goes_between_the_layers_is_part_of_the_budget(plans):
    budget = Resources(lut=2500, lutram=1000, ff=1e5, bram36=10, dsp=0)
    between = Resources(lut=700, bram36=4)
    best = fastest_within(plans, budget, "xc7", 64, lambda choice: choice.cost + between)
    assert shortfall({"": best.cost + between}, budget, "") == []
    assert best.cycles == fastest_within(plans, budget - between, "xc7", 64,
                                         lambda choice: choice.cost).cycles


def test_a_design_is_chosen_again_where_what_goes_between_its_layers_is_too_much(plans):
    smallest = choose_for_interval(plans, 3000, Resources(1e4, 1e4, 1e5, 10, 0), "xc7")
    budget = Resources(smallest.cost.lut + 10, 1e4, 1e5, 10, 0)
    between = Resources(lut=30)
    assert shortfall({"": smallest.cost + between}, budget, "")
    again = fitting(lambda rest: choose_for_interval(plans, 3000, rest, "xc7"), budget,
                    lambda choice: choice.cost + between)
    assert shortfall({"": again.cost + between}, budget, "") == []


def test_of_the_fastest_designs_one_of_little_latency_is_taken(plans):
    fastest = fastest_within(plans, PLENTY, "xc7", 3000, lambda choice: choice.cost)
    smallest = choose_for_interval(plans, 3000, PLENTY, "xc7")
    assert fastest.options["fc"].cycles < smallest.options["fc"].cycles
    assert fastest.options["fc"].cost.lut > smallest.options["fc"].cost.lut


def test_with_plenty_the_fastest_design_takes_the_least_interval(plans):
    choice = fastest_within(plans, PLENTY, "xc7", 64, lambda choice: choice.cost)
    assert choice.cycles == least_interval(plans, "xc7")


def test_no_design_is_built_for_less_than_the_input_takes(plans):
    budget = Resources(lut=4e3, lutram=4e3, ff=1e4, bram36=10, dsp=10)
    slow = fastest_within(plans, budget, "xc7", 5000, lambda choice: choice.cost)
    assert slow.cycles <= 5000
    fast = fastest_within(plans, budget, "xc7", 64, lambda choice: choice.cost)
    assert slow.cost.lut < fast.cost.lut


def test_nothing_fits(plans):
    none = Resources(lut=10, lutram=10, ff=10)
    assert fastest_within(plans, none, "xc7", 64, lambda choice: choice.cost) is None
    assert fastest_within(plans, PLENTY, "xc7", 64, lambda choice: choice.cost + PLENTY) is None


# Shortfall.

def test_shortfall_names_the_resource_and_the_layers_that_take_most():
    parts = {"a": Resources(lut=10, bram36=1), "b": Resources(lut=50), "c": Resources(lut=30),
             "d": Resources(lut=20)}
    budget = Resources(lut=100, lutram=0, ff=0, bram36=1, dsp=0)
    assert shortfall(parts, budget, "net: does not fit board") == [
        "net: does not fit board: lut needed 110, allowed 100; most goes to b 50, c 30, d 20"]


def test_no_shortfall_where_everything_fits():
    assert shortfall({"a": Resources(lut=10)}, Resources(lut=10), "net") == []


# Fold files.

def fold(tmp_path, plans, content):
    path = tmp_path / "fold.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return fold_from_file(plans, path, "xc7")


def test_a_fold_file_settles_every_field(plans, tmp_path):
    wanted = {"conv1": {"pe": 2, "simd": 18, "window": "shift", "weights": "logic"},
              "fc": {"pe": 4, "simd": 2, "window": "reader", "weights": "block"}}
    choice = fold(tmp_path, plans, {"layers": wanted})
    assert {name: option.folding for name, option in choice.options.items()} == wanted


def test_what_a_fold_file_leaves_out_is_the_smallest_that_matches(plans, tmp_path):
    choice = fold(tmp_path, plans, {"layers": {"conv1": {"pe": 4}}})
    option = choice.options["conv1"]
    assert option.folding["pe"] == 4
    assert option.cost.lut == min(o.cost.lut for o in plans[0].options("xc7")
                                  if o.folding["pe"] == 4 and "multiply" not in o.folding)
    assert choice.options["fc"].cost.lut == min(o.cost.lut for o in plans[1].options("xc7")
                                                if "multiply" not in o.folding)


def pace(tmp_path, content):
    path = tmp_path / "fold.json"
    path.write_text(json.dumps({"layers": content}))
    return pace_from_file(path, "x")


@pytest.mark.parametrize("content, clocks", [({"x": {"clocks": 16}}, 16), ({"x": {}}, 1), ({}, 1),
                                             ({"conv1": {"pe": 2}, "x": {"clocks": 1}}, 1)])
def test_a_fold_file_can_state_the_pace_of_the_input(content, clocks, tmp_path):
    assert pace(tmp_path, content) == clocks


@pytest.mark.parametrize("clocks", [0, -1, 2.0, "16", True, None])
def test_the_pace_of_the_input_is_a_whole_number_of_clocks(clocks, tmp_path):
    with pytest.raises(ModelError, match=r"x: clocks can't be .*; it is a whole number, at least"):
        pace(tmp_path, {"x": {"clocks": clocks}})


def test_other_fields_of_the_input_are_refused(tmp_path):
    with pytest.raises(ModelError, match=r"fold\.json: x: has no 'pe'; of the network's input "
                                         r"there are only 'clocks' and 'pixels'$"):
        pace(tmp_path, {"x": {"clocks": 2, "pe": 1}})


def test_the_folding_of_a_design_is_taken_back(plans, tmp_path):
    chosen = choose_for_interval(plans, 1000, PLENTY, "xc7")
    folding = {name: option.folding for name, option in chosen.options.items()}
    choice = fold(tmp_path, plans, {"layers": folding})
    assert {name: o.folding for name, o in choice.options.items()} == folding


@pytest.mark.parametrize("content, text", [
    ("{", "line 1: not JSON: Expecting property name enclosed in double quotes"),
    ("[]", 'must be {"layers": {"NAME": {"pe": 1, "simd": 1}}}'),
    ('{"layers": {"fc": 3}}', 'must be {"layers": {"NAME": {"pe": 1, "simd": 1}}}'),
    ({"layers": {"conv": {}}}, "conv: no such layer; did you mean conv1?"),
    ({"layers": {"xyz": {}}}, "xyz: no such layer; layers are conv1, fc"),
    ({"layers": {"conv1": {"pe": 3}}}, "conv1: pe can't be 3; choose from 1, 2, 4, 8"),
    ({"layers": {"fc": {"weights": "rom"}}},
     "fc: weights can't be 'rom'; choose from block, constant, logic, phases"),
    ({"layers": {"fc": {"lanes": 2}}},
     "fc: has no 'lanes'; choose from dsp_lanes, multiply, pe, simd, weights, window"),
    ({"layers": {"conv1": {"simd": 1, "window": "shift"}}},
     "conv1: simd 1, window shift can't go together; leave one out"),
])
def test_a_wrong_fold_file_is_refused(plans, tmp_path, content, text):
    with pytest.raises(ModelError) as caught:
        fold(tmp_path, plans, content)
    assert str(caught.value) == f"{tmp_path / 'fold.json'}: {text}"


def test_all_problems_of_a_fold_file_are_told(plans, tmp_path):
    with pytest.raises(ModelError) as caught:
        fold(tmp_path, plans, {"layers": {"conv": {}, "conv1": {"pe": 3}, "fc": {"pe": 5}}})
    assert [line.split(": ", 1)[1] for line in str(caught.value).splitlines()] == [
        "conv: no such layer; did you mean conv1?",
        "conv1: pe can't be 3; choose from 1, 2, 4, 8",
        "fc: pe can't be 5; choose from 1, 2, 4"]


def test_a_fold_file_that_is_not_there(plans, tmp_path):
    with pytest.raises(ModelError, match="can't be read: No such file or directory$"):
        fold_from_file(plans, tmp_path / "none.json", "xc7")
