"""Products with weights that take turns in the LUTs."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hwgen.arith.phased_product import PhasedPlan
from tests.arith.proofs import check_luts, evaluate, prove

VALUES = {"binary": [-1, 1], "ternary": [-1, 0, 0, 1], "4 bits": list(range(-8, 8)),
          "8 bits": list(range(-128, 128)), "unsigned": list(range(8))}


def check(weights, a_width, width=40, frames=4, seed=0):
    """Every phase's sums of random and extreme inputs are right."""
    plan = PhasedPlan(weights, a_width, width)
    check_luts(plan.compression)
    offsets = PhasedPlan.offsets_of(weights, a_width).sum(axis=2)
    rng = np.random.default_rng(seed)
    high = (1 << a_width) - 1
    extremes = [np.zeros(plan.lanes, int), np.full(plan.lanes, high)]
    for phase, words in enumerate(weights):
        chosen = [np.where(words[0] > 0, high, 0), np.where(words[0] < 0, high, 0)]
        for a in [*extremes, *chosen, *rng.integers(0, high + 1, (frames, plan.lanes))]:
            inputs = {n * a_width + k: int(value >> k & 1) for n, value in enumerate(a)
                      for k in range(a_width)}
            inputs |= {plan.lanes * a_width + k: phase >> k & 1 for k in range(plan.phase_width)}
            bits = evaluate(plan.compression, inputs)
            for output in range(plan.outputs):
                size = plan.width_of(output)
                found = sum(bit << k for k, bit in enumerate(bits[:size]))
                bits = bits[size:]
                wanted = int(words[output] @ a + offsets[phase, output])
                assert found == wanted % (1 << size)
                assert width < 40 or found == wanted
    return plan


@settings(derandomize=True, max_examples=40, deadline=None, database=None,
          suppress_health_check=list(HealthCheck))
@given(st.integers(0, 1 << 32), st.integers(2, 4), st.integers(1, 3), st.integers(1, 20),
       st.integers(1, 5), st.sampled_from(list(VALUES)))
def test_sums_of_random_weights_are_exact_in_every_phase(seed, phases, outputs, lanes, a_width,
                                                         kind):
    weights = np.random.default_rng(seed).choice(VALUES[kind], (phases, outputs, lanes))
    check(weights, a_width, seed=seed)
    check(weights, a_width, width=3, seed=seed)


@pytest.mark.parametrize("phases", [2, 3, 4])
def test_a_heap_of_gated_bits_is_proven_for_every_input(phases):
    weights = np.random.default_rng(phases).choice([-1, 0, 1], (phases, 1, 24))
    plan = PhasedPlan(weights, 2, 40)
    columns = plan.columns(0)
    prove(columns, plan.one(0, plan.nets))


def test_digits_that_are_zero_in_every_phase_cost_nothing():
    weights = np.zeros((4, 2, 30), int)
    weights[:, :, 7] = 1
    assert check(weights, 4).compression.resources.lut == 0


@pytest.mark.parametrize("phases, most", [(2, 150), (4, 220)])
def test_products_with_ternary_weights_take_few_luts(phases, most):
    weights = np.random.default_rng(0).choice([-1, 0, 0, 1], (phases, 1, 64))
    assert check(weights, 4).compression.resources.lut <= most


@pytest.mark.parametrize("phases", [1, 5])
def test_other_numbers_of_phases_are_refused(phases):
    with pytest.raises(ValueError, match=rf"^phases \({phases}\) must be 2 to 4$"):
        PhasedPlan(np.ones((phases, 1, 1), int), 1, 8)
