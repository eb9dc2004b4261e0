import numpy as np
import pytest

from hwgen.blocks.activation_kinds import activation_of
from hwgen.ops import Threshold
from hwgen.types import BIPOLAR, TERNARY, int_type, uint_type
from tests.activations import check_all_values


@pytest.mark.parametrize("count", range(1, 10))
def test_threshold_counts_levels(count):
    levels = np.sort(np.random.default_rng(count).choice(np.arange(-15, 16), count, replace=False))
    check_all_values(Threshold(levels[None], [False], uint_type(4)), int_type(5), uint_type(4))


@pytest.mark.parametrize("lanes", [1, 2, 4])
@pytest.mark.parametrize("negate", [[False] * 4, [True] * 4, [False, True, True, False]])
def test_threshold_has_levels_and_direction_per_channel(negate, lanes):
    levels = [[-16, -3, 2], [-1, 0, 15], [4, 4, 4], [-9, -8, 7]]
    check_all_values(Threshold(levels, negate, uint_type(2)), int_type(5), uint_type(2), 4, lanes)


@pytest.mark.parametrize("channels, lanes", [(3, 1), (6, 2), (5, 5), (5, 1)])
def test_threshold_of_any_number_of_groups(channels, lanes):
    rng = np.random.default_rng(channels)
    levels = np.sort(rng.integers(-8, 9, (channels, 3)), axis=1)
    op = Threshold(levels, rng.random(channels) < 0.5, uint_type(2))
    check_all_values(op, int_type(4), uint_type(2), channels, lanes)


@pytest.mark.parametrize("count", [1, 3, 9, 40])
@pytest.mark.parametrize("lanes", [1, 2, 3, 6])
@pytest.mark.parametrize("of_lanes", [1, 2, 3])
@pytest.mark.parametrize("bits", [3, 7])
def test_levels_that_all_channels_of_a_lane_share_are_there_once(bits, of_lanes, lanes, count):
    rng, kind = np.random.default_rng(count), int_type(bits)
    levels = np.sort(rng.integers(kind.low - 1, kind.high + 2, (of_lanes, count)), axis=1)
    levels = np.tile(levels, (6 // of_lanes, 1))
    negate = np.tile(rng.random(of_lanes) < 0.5, 6 // of_lanes)
    op = Threshold(levels, negate, uint_type(6))
    unit = activation_of(op, kind, uint_type(6), 6, lanes)
    if bits == 7:  # of few bits, some levels are equal by chance
        assert unit.groups == (1 if lanes % of_lanes == 0 else 6 // lanes)
    check_all_values(op, kind, uint_type(6), 6, lanes)


@pytest.mark.parametrize("negate", [False, True])
@pytest.mark.parametrize("level", [-1000, -9, -8, -7, 0, 7, 8, 9, 1000])
def test_levels_beyond_the_input_are_always_or_never_reached(level, negate):
    op = Threshold([[level]], [negate], BIPOLAR, -1, 2)
    check_all_values(op, int_type(4), BIPOLAR)


@pytest.mark.parametrize("negate", [False, True])
@pytest.mark.parametrize("channels, lanes", [(1, 1), (4, 1), (4, 4)])
def test_threshold_has_levels_all_over_an_unsigned_input(channels, lanes, negate):
    levels = np.array([[0, 1, 16, 31, 32], [-3, 17, 30, 31, 40], [15, 16, 16, 17, 31],
                       [20, 24, 28, 32, 32]])[:channels]
    levels = 1 - levels[:, ::-1] if negate else levels
    check_all_values(Threshold(levels, [negate] * channels, uint_type(3)), uint_type(5),
                     uint_type(3), channels, lanes)


@pytest.mark.parametrize("kind", [BIPOLAR, TERNARY, uint_type(1), uint_type(5), int_type(2)])
def test_threshold_takes_every_type(kind):
    check_all_values(Threshold([[0, 1]], [False], uint_type(2)), kind, uint_type(2))
    check_all_values(Threshold([[0, 1]], [True], uint_type(2)), kind, uint_type(2))


@pytest.mark.parametrize("negate", [False, True])
@pytest.mark.parametrize("out_type, base, step, count", [
    (BIPOLAR, -1, 2, 1), (TERNARY, -1, 1, 2), (int_type(4), -8, 5, 3), (int_type(4), 7, -3, 4)])
def test_threshold_gives_base_and_steps(out_type, base, step, count, negate):
    levels = np.arange(count)[None] * 3 - 4
    check_all_values(Threshold(levels, [negate], out_type, base, step), int_type(5), out_type)


FORMS = {  # input type, output type, channels, lanes
    "table": [(int_type(6), uint_type(2), 3, 3), (uint_type(4), uint_type(3), 12, 4),
              (TERNARY, int_type(3), 8, 1), (BIPOLAR, BIPOLAR, 5, 1),
              (int_type(8), uint_type(4), 2, 2), (int_type(7), uint_type(3), 4, 2),
              (uint_type(5), int_type(4), 14, 2), (int_type(7), uint_type(4), 6, 3)],
    "parallel": [(int_type(8), uint_type(2), 3, 3), (uint_type(9), uint_type(3), 2, 2),
                 (int_type(9), uint_type(2), 12, 4), (int_type(7), BIPOLAR, 8, 2),
                 (uint_type(8), int_type(3), 6, 2)],
    "search": [(int_type(9), uint_type(4), 2, 2), (int_type(9), uint_type(2), 16, 1),
               (uint_type(8), uint_type(3), 40, 4)]}


@pytest.mark.parametrize("falls", ["none", "all", "some"])
@pytest.mark.parametrize("form, in_type, out_type, channels, lanes", [
    (form, *case) for form, cases in FORMS.items() for case in cases], ids=str)
def test_every_form_of_threshold_is_exact_for_all_values(form, in_type, out_type, channels, lanes,
                                                         falls):
    rng = np.random.default_rng(channels)
    count = 1 if out_type.bipolar else min((1 << out_type.width) - 1, 15)
    levels = np.sort(rng.integers(in_type.low - 2, in_type.high + 3, (channels, count)), axis=1)
    negate = {"none": np.zeros(channels, bool), "all": np.ones(channels, bool),
              "some": np.arange(channels) % 3 == 1}[falls]
    base, step = (-1, 2) if out_type.bipolar else (out_type.low, 1)
    op = Threshold(np.where(negate[:, None], 1 - levels[:, ::-1], levels), negate, out_type, base,
                   step)
    assert activation_of(op, in_type, out_type, channels, lanes).form == form
    check_all_values(op, in_type, out_type, channels, lanes)


@pytest.mark.parametrize("channels", [32, 64, 200])
@pytest.mark.parametrize("in_type", [BIPOLAR, uint_type(1), int_type(2), uint_type(3)],
                         ids=lambda t: t.name)
def test_narrow_numbers_of_many_groups_are_exact(in_type, channels):
    rng = np.random.default_rng(channels)
    levels = np.sort(rng.integers(in_type.low, in_type.high + 2, (channels, 2)), axis=1)
    check_all_values(Threshold(levels, rng.random(channels) < 0.5, uint_type(2)), in_type,
                     uint_type(2), channels)


@pytest.mark.parametrize("levels, takes", [
    ([[-200, 200]], 0), ([[-128, -128]], 0), ([[-200, 200], [-200, -200]], 2)])
def test_a_result_that_x_does_not_change_is_looked_up_by_the_group_alone(levels, takes):
    op = Threshold(np.array(levels), [False] * len(levels), uint_type(2))
    unit = activation_of(op, int_type(8), uint_type(2), 2, 1)
    assert (unit.form, unit.read_width) == ("table", 0)
    assert unit.estimate().ff == takes
    check_all_values(op, int_type(8), uint_type(2), 2, 1)


@pytest.mark.parametrize("form, latency", [("table", 1), ("parallel", 2), ("search", 5)])
def test_latency_of_each_form_of_threshold(form, latency):
    in_type, out_type, channels, lanes = FORMS[form][0]
    op = Threshold(np.arange((1 << out_type.width) - 1)[None], [False], out_type)
    unit = activation_of(op, in_type, out_type, channels, lanes)
    assert (unit.form, unit.latency) == (form, latency)


def test_threshold_of_more_groups_than_a_lut_selects():
    rng = np.random.default_rng(3)
    levels = np.sort(rng.integers(-40, 41, (67, 3)), axis=1)
    op = Threshold(levels, rng.random(67) < 0.5, uint_type(2))
    unit = activation_of(op, int_type(6), uint_type(2), 67, 1)
    assert unit.latency == 2 * 2 + 1  # both bits' constants take a clock of their own
    check_all_values(op, int_type(6), uint_type(2), 67, 1, values=[-32, -7, 0, 6, 31])


def test_estimates_grow_with_lanes_and_levels():
    def lut(levels, lanes):
        op = Threshold(np.arange(levels)[None], [False], uint_type(4))
        return activation_of(op, int_type(8), uint_type(4), 4, lanes).estimate().lut

    assert lut(3, 1) < lut(15, 1) < lut(15, 4)
