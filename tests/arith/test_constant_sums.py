"""Sums with constant weights."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hwgen.arith.constant_sums import constant_sums, signed_digits
from tests.arith.proofs import check_luts, evaluate


def check(weights, a_width, most=62, frames=6, seed=0):
    """Sums of random and extreme inputs are right; the hardware."""
    sums = constant_sums(weights, a_width, [most] * len(weights))
    check_luts(sums.compression)
    rng = np.random.default_rng(seed)
    high = (1 << a_width) - 1
    extremes = [np.zeros(weights.shape[1], int), np.full(weights.shape[1], high),
                *(np.where(row > 0, high, 0) for row in weights[:3]),
                *(np.where(row < 0, high, 0) for row in weights[:3])]
    for a in [*extremes, *rng.integers(0, high + 1, (frames, weights.shape[1]))]:
        inputs = {n * a_width + k: int(value >> k & 1) for n, value in enumerate(a)
                  for k in range(a_width)}
        bits = evaluate(sums.compression, inputs)
        for row, width, offset in zip(weights, sums.widths, sums.offsets):
            found = sum(bit << k for k, bit in enumerate(bits[:width]))
            bits = bits[width:]
            assert (found - offset - int(row @ a)) % (1 << width) == 0
            if most == 62:  # nothing drops out
                assert found == offset + int(row @ a)
    return sums


def test_signed_digits_add_up_and_no_two_in_a_row_are_set():
    weights = np.arange(-300, 301)
    digits = signed_digits(weights)
    assert (digits @ (1 << np.arange(digits.shape[-1])) == weights).all()
    assert not (digits[:, 1:] * digits[:, :-1]).any()


@settings(derandomize=True, max_examples=60, deadline=None, database=None,
          suppress_health_check=list(HealthCheck))
@given(st.integers(0, 1 << 32), st.integers(1, 12), st.integers(1, 24), st.integers(1, 5),
       st.sampled_from([[-1, 1], [-1, 0, 0, 1], list(range(-8, 8)), list(range(-127, 128)), [0],
                        [0, 0, 0, 5]]))
def test_sums_of_random_weights_are_exact(seed, sums, inputs, a_width, values):
    weights = np.random.default_rng(seed).choice(values, (sums, inputs))
    check(weights, a_width, seed=seed)
    check(weights, a_width, most=3, seed=seed)


@pytest.mark.parametrize("values, a_width, most", [
    ([-1, 0, 0, 1], 1, 1100), ([-1, 0, 0, 1], 4, 4000), ([-1, 1], 4, 3700)],
    ids=["ternary of bits", "ternary", "binary"])
def test_dense_layers_take_no_more_luts_than_is_aimed_at(values, a_width, most):
    rng = np.random.default_rng(0)
    first, second = rng.choice(values, (32, 64)), rng.choice(values, (10, 32))
    lut = sum(check(w, a_width, frames=2).compression.resources.lut for w in (first, second))
    assert lut <= most


def test_equal_sums_are_made_once():
    row = np.random.default_rng(0).choice([-1, 1], 12)
    alone = check(row[None], 4).compression.resources.lut
    three = check(np.stack([row, row, -row]), 4).compression.resources.lut
    assert three < 2 * alone


def test_zeros_cost_nothing():
    weights = np.zeros((4, 30), int)
    weights[:, 7] = 1
    assert check(weights, 4).compression.resources.lut == 0


@pytest.mark.parametrize("values", [[-1, 1], [-1, 0, 1], list(range(-8, 8))])
def test_given_constants_are_added(values):
    rng = np.random.default_rng(0)
    weights, constants = rng.choice(values, (6, 15)), rng.integers(-300, 300, 6)
    sums = constant_sums(weights, 3, [11] * 6, constants)
    assert sums.widths == (11,) * 6
    for a in rng.integers(0, 8, (10, 15)):
        inputs = {n * 3 + k: int(value >> k & 1) for n, value in enumerate(a) for k in range(3)}
        bits = np.array(evaluate(sums.compression, inputs)).reshape(6, 11)
        assert (bits @ (1 << np.arange(11)) == (weights @ a + constants) % (1 << 11)).all()
