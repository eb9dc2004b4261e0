"""Quantizing the input on the host is exact for every float64."""

import time
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwgen.errors import ModelError
from hwgen.front import quantize_input
from hwgen.golden import from_user, golden, model_output
from hwgen.graph import ArrayForm, Front, Graph, Tensor
from hwgen.model import Model
from hwgen.ops import ROUNDINGS
from hwgen.real_ops import (
    FUNCTIONS,
    Affine,
    Clamp,
    Function,
    FunctionInfo,
    LeakyRelu,
    Quantize,
    RealThreshold,
)
from hwgen.types import BIPOLAR, TERNARY, int_type, uint_type

F = Fraction
finite = st.floats(-1e6, 1e6, allow_nan=False)


def by_definition(front, x):
    result = np.empty(x.shape, dtype=np.int64)
    for place, value in np.ndenumerate(x):
        real = F(float(value))
        for op in front.ops:
            real = F(op.value(place[-1], real))
        result[place] = int(real)
    return result


FRONTS = {
    "rounding": [Quantize(int_type(4), F(0.1))],
    "zero point": [Quantize(uint_type(3), F(1, 3), 5, "floor")],
    "fraction of a zero point": [Quantize(int_type(3), F(1, 4), F(1, 2), "half_away")],
    "affine": [Affine((F(2),), (F(-1),)), Quantize(BIPOLAR, F(1))],
    "falling": [Affine((F(-2, 3), F(1, 7)), (F(1), F(0))), Quantize(int_type(3), F(1, 2))],
    "constant": [Affine((F(0),), (F(3),)), Quantize(int_type(3), F(1))],
    "clamp": [Clamp(F(-1), F(1, 2)), Quantize(int_type(4), F(1, 8))],
    "leaky": [LeakyRelu((F(1, 3), F(0))), Quantize(int_type(4), F(1, 4))],
    "function": [Function("tanh"), Quantize(int_type(4), F(1, 7))],
    "threshold": [RealThreshold(((F(-1), F(0), F(1, 3)),), uint_type(2))],
    "scale per channel": [Quantize(int_type(4), (F(1), F(1, 9)))],
}


@pytest.mark.parametrize("ops", FRONTS.values(), ids=FRONTS)
@given(values=st.lists(finite, min_size=1, max_size=20))
def test_codes_are_those_of_exact_arithmetic(ops, values):
    front = Front("x", tuple(ops))
    x = np.array(values)[None, None, :, None] * np.ones(2)
    np.testing.assert_array_equal(quantize_input(front, x), by_definition(front, x))


@pytest.mark.parametrize("ops", FRONTS.values(), ids=FRONTS)
def test_neighbours_of_simple_numbers_are_exact(ops):
    front = Front("x", tuple(ops))
    near = np.array([n / d for d in (1, 3, 7, 8, 9, 10) for n in range(-40, 41)])
    sides = np.concatenate([near, np.nextafter(near, -np.inf), np.nextafter(near, np.inf)])
    x = sides[None, None, :, None] * np.ones(2)
    np.testing.assert_array_equal(quantize_input(front, x), by_definition(front, x))


@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("scale", [F(1, 2), F(1)])
def test_every_rounding_is_exact_at_ties(rounding, scale):
    front = Front("x", (Quantize(int_type(4), scale, 0, rounding),))
    x = (np.arange(-40, 41) / 8)[None, None, :, None]
    np.testing.assert_array_equal(quantize_input(front, x), by_definition(front, x))


def test_wide_codes_are_exact():
    front = Front("x", (Quantize(int_type(24), F(1, 255)),))
    x = np.array([[[[0.5], [-3.25], [1e9]]]])
    assert quantize_input(front, x).ravel().tolist() == [128, -829, 2**23 - 1]


def float_network(**form):
    return Model.from_parts(
        {"format": "hwgen-model", "version": 1, "name": "net",
         "input": {"name": "x", "shape": [2, 3, 4], "type": "FLOAT", **form},
         "layers": [{"name": "q", "type": "quantize", "output_type": "INT4", "scale": 0.5},
                    {"name": "pool", "type": "max_pool", "kernel": [2, 1]}],
         "output_form": {"shape": [4, 1, 3], "axes": [1, 2, 0]}}, {}).to_graph()


def test_arrays_have_the_form_that_the_author_gave():
    graph = float_network(form={"shape": [4, 2, 3], "axes": [1, 2, 0]})
    x = np.random.default_rng(0).normal(0, 2, (5, 4, 2, 3))
    wanted = np.clip(np.rint(x / 0.5), -8, 7) * 0.5
    np.testing.assert_array_equal(golden(graph, x), wanted.max(axis=2, keepdims=True))
    codes = from_user(graph, x)
    np.testing.assert_array_equal(model_output(graph, codes, layer="q"), wanted)
    np.testing.assert_array_equal(from_user(graph, (wanted / 0.5).astype(int), raw=True), codes)


def test_a_number_that_is_none_is_named_with_its_place():
    graph = float_network(form={"shape": [4, 2, 3], "axes": [1, 2, 0]})
    x = np.zeros((2, 4, 2, 3))
    x[1, 2, 0, 1] = np.nan
    with pytest.raises(ModelError) as error:
        from_user(graph, x)
    assert error.value.problems == ("x: frame 1, index [2, 0, 1]: nan is no finite number",)


@pytest.mark.parametrize("view, axes", [((2, 3, 4), (0, 1, 2)), ((2, 3, 4), (2, 0, 1)),
                                        ((4, 6), (1, 0)), ((24,), (0,))])
def test_a_form_and_back_is_the_same_array(view, axes):
    form = ArrayForm((6, 4), view, axes)
    x = np.arange(48).reshape(2, 6, 4)
    y = form.to_tensor(x, (1, 1, 24))
    np.testing.assert_array_equal(form.from_tensor(y), x)


def test_a_graph_knows_whether_its_data_are_one_dimensional():
    tensor = Tensor((1, 5, 2), int_type(4))
    assert Graph("n", "x", tensor, ArrayForm.of((5, 2)), (), "x").is_line
    assert not Graph("n", "x", tensor, ArrayForm.of((1, 5, 2)), (), "x").is_line


NUMBERS = [F(0), F(1), F(-2), F(5, 3), F(-1, 255), F(0.1), F(2)**-40, F(10)**300, F(1, 10**320)]
number = st.sampled_from(NUMBERS)
per_channel = st.lists(number, min_size=1, max_size=2).map(tuple)
sizes = per_channel.map(lambda numbers: tuple(map(abs, numbers)))
bounds = st.tuples(number, number).map(sorted)
chains = st.tuples(
    st.lists(st.builds(Affine, per_channel, per_channel)
             | bounds.map(lambda ends: Clamp(*ends)) | number.map(lambda low: Clamp(low, None))
             | number.map(lambda high: Clamp(None, high)) | st.builds(LeakyRelu, sizes)
             | st.builds(Function, st.sampled_from(["sigmoid", "tanh", "softplus", "elu"])),
             max_size=3),
    st.builds(Quantize, st.sampled_from([BIPOLAR, TERNARY, uint_type(4), int_type(24),
                                         int_type(60)]),
              sizes.filter(all), st.sampled_from([0, F(1, 2), 7, F(1, 3)]),
              st.sampled_from(ROUNDINGS))
    | st.lists(st.tuples(number, number, number).map(lambda row: tuple(sorted(row))), min_size=1,
               max_size=2).map(lambda rows: RealThreshold(tuple(rows), int_type(8), -3, 2)),
).map(lambda parts: [*parts[0], parts[1]])
"""Up to three operations and a quantizer of any width, with numbers of any size."""


@given(ops=chains, values=st.lists(st.floats(allow_nan=False, allow_infinity=False)
                                     | st.integers(-40, 40).map(lambda n: n / 4), min_size=1))
def test_any_chain_is_exact_for_any_number(ops, values):
    front = Front("x", tuple(ops))
    x = np.array(values, dtype=float)[None, None, :, None] * np.ones(2)
    np.testing.assert_array_equal(quantize_input(front, x), by_definition(front, x))


def neighbours(bounds):
    """Each bound's nearest float64, and those beside it: (1, 1, count, 1)."""
    near = np.array([float(b) for b in bounds])
    sides = [np.nextafter(near, -np.inf), near, np.nextafter(near, np.inf)]
    return np.concatenate(sides)[None, None, :, None]


def test_neighbours_of_every_boundary_are_exact():
    scale = F(float(np.float32(0.1)))
    front = Front("x", (Affine((F(7, 3),), (F(-1, 3),)), Quantize(int_type(8), scale)))
    x = neighbours((F(2 * code - 1, 2) * scale + F(1, 3)) / F(7, 3) for code in range(-127, 128))
    np.testing.assert_array_equal(quantize_input(front, x), by_definition(front, x))


def test_a_function_that_falls_in_its_last_bits_is_exact(monkeypatch):
    monkeypatch.setitem(FUNCTIONS, "wobble", FunctionInfo(
        lambda x: x * (1 + int(x * 2**60) % 3 * 2**-49), True))
    front = Front("x", (Affine((F(1, 3),), (F(0),)), Function("wobble"),
                        Quantize(int_type(12), F(1, 4096))))
    x = neighbours(F(3 * (2 * code - 1), 8192) for code in range(-2047, 2048))
    np.testing.assert_array_equal(quantize_input(front, x), by_definition(front, x))


def test_numbers_beyond_float64_are_exact():
    front = Front("x", (Affine((F(10)**9,), (F(0),)), Affine((F(0), F(10)**-310), (F(1), F(0))),
                        Quantize(BIPOLAR, F(1))))
    x = np.full((1, 1, 1, 2), 1e308) * [[[[1, -1]]]]
    assert quantize_input(front, x).tolist() == [[[[1, -1]]]]


@pytest.mark.parametrize("ops", [
    [Quantize(int_type(8), F(1, 127))],
    [Affine((F(0.3), F(0.2), F(0.1)), (F(-0.5), F(0), F(0.25))), Quantize(int_type(24), F(2)**-20)],
    [Function("tanh"), Quantize(int_type(16), F(2)**-15)],
], ids=["8 bits", "24 bits behind an affine", "16 bits behind a function"])
def test_64_frames_of_3_x_32_x_32_take_less_than_half_a_second(ops):
    front = Front("x", tuple(ops))
    x = np.random.default_rng(0).normal(size=(64, 32, 32, 3)).astype(np.float32)
    seconds = []
    for _ in range(3):  # the best of three: other work on the machine is not what is measured
        start = time.perf_counter()
        quantize_input(front, x)
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.5
