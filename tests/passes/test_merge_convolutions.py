import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwgen.ops import Bias, Clip, Concat, Conv, Crop, Requantize, Reshape, Table, Threshold
from hwgen.passes import merge_convolutions, run_pipeline, variants, verify
from hwgen.types import BIPOLAR, TERNARY, int_type, uint_type
from tests.graphs import GraphBuilder
from tests.passes.chains import few

CHANNELS = 3


def conv(outputs, seed=0, kernel=(1, 1), kind=TERNARY, groups=1, **given):
    rng = np.random.default_rng(seed)
    values = np.arange(kind.low, kind.high + 1)
    weights = rng.choice(values[kind.contains(values)], (*kernel, CHANNELS // groups, outputs))
    return Conv(weights, kind, rng.integers(-9, 9, outputs), groups=groups, **given)


def requantize(shift, kind=None, offset=0):
    return Requantize([1], np.atleast_1d(shift), 0, "floor", kind or uint_type(2),
                      np.atleast_1d(offset))


def side_by_side(*chains):
    """Chains of operations that read the input, and a Concat of their flat ends."""
    builder = GraphBuilder((3, 4, CHANNELS), uint_type(3))
    ends = []
    for letter, chain in zip("abcd", chains):
        name = "x"
        for n, op in enumerate(chain):
            builder.add(f"{letter}{n}", op, name)
            name = f"{letter}{n}"
        ends.append(f"{letter}_flat")
        builder.add(ends[-1], Reshape(), name)
    return builder.add("out", Concat(), *ends).build()


def frames(graph, count=4):
    kind = graph.input_tensor.dtype
    return np.random.default_rng(5).integers(kind.low, kind.high + 1,
                                             (count, *graph.input_tensor.shape))


def convolutions(graph):
    return [n.name for n in graph.nodes if isinstance(n.op, Conv)]


def check(graph):
    """The merged graph, which computes the same tensors under the same names."""
    merged = merge_convolutions(graph)
    verify(merged)
    before, after = graph.run_all(frames(graph)), merged.run_all(frames(graph))
    for name in before.keys() & after.keys():
        np.testing.assert_array_equal(after[name], before[name], name)
        assert merged.tensor(name) == graph.tensor(name)
    assert graph.output in after
    return merged


def test_convolutions_that_read_the_same_tensor_become_one():
    merged = check(side_by_side([conv(4), requantize(1)], [conv(2, 1), requantize(2)],
                                [conv(3, 2), requantize(1)]))
    assert [(n.name, type(n.op)) for n in merged.nodes][:5] == [
        ("a0_b0_c0", Conv), ("a1_b1_c1", Requantize), ("a1", Crop), ("b1", Crop), ("c1", Crop)]
    assert merged.node("a1_b1_c1").op.shift.tolist() == [1] * 4 + [2] * 2 + [1] * 3
    assert merged.node("b1").op.channels == (4, 6)


def test_what_is_equal_for_all_channels_stays_one_row():
    merged = check(side_by_side([conv(4), requantize(1)], [conv(2, 1), requantize(1)]))
    assert merged.node("a1_b1").op.shift.tolist() == [1]


@pytest.mark.parametrize("changed", [
    {"kernel": (2, 1)}, {"stride": (1, 2)}, {"pad": (0, 0, 1, 0)}, {"kind": int_type(3)},
    {"groups": 3}])
def test_convolutions_of_unlike_geometry_or_type_stay(changed):
    graph = side_by_side([conv(3), requantize(1)], [conv(3, 1, **changed), requantize(1)])
    assert merge_convolutions(graph) is graph


def test_weights_of_more_than_two_bits_are_merged_in_a_type_that_holds_all():
    merged = check(side_by_side([conv(4, kind=int_type(5)), requantize(1)],
                                [conv(2, 1, kind=int_type(7)), requantize(1)]))
    op = merged.node("a0_b0").op
    assert op.weight_type == int_type(7)
    assert op.weight_type.contains(op.weights).all()


def test_other_padding_stays():
    pads = [{"pad": (1, 1, 1, 1), "pad_value": value} for value in (0, 1)]
    graph = side_by_side(*([conv(2, n, (3, 3), **pad), requantize(1)]
                           for n, pad in enumerate(pads)))
    assert merge_convolutions(graph) is graph


def test_convolutions_of_different_tensors_stay():
    graph = (GraphBuilder((3, 4, CHANNELS), uint_type(3)).add("a", conv(3), "x")
             .add("act", requantize(1)).add("b", conv(3, 1))
             .add("out", Concat(), "a", "b").build())
    assert merge_convolutions(graph) is graph


def test_activations_of_unlike_kinds_stay_behind_the_parts():
    levels = Threshold([[1, 2, 3]], [False], uint_type(2))
    merged = check(side_by_side([conv(4), requantize(1)], [conv(4), levels]))
    assert [(n.name, n.inputs) for n in merged.nodes if not isinstance(n.op, Reshape)] == [
        ("a0_b0", ("x",)), ("a0", ("a0_b0",)), ("b0", ("a0_b0",)), ("a1", ("a0",)),
        ("b1", ("b0",)), ("out", ("a_flat", "b_flat"))]


def test_types_that_differ_are_not_made_one():
    wide = Conv(np.full((1, 1, CHANNELS, 2), 1), TERNARY, [200, 200])
    graph = side_by_side([conv(4), requantize(1)], [wide, requantize(1, int_type(4))])
    assert merge_convolutions(graph) is graph


def test_types_that_differ_in_front_of_equal_ones_are():
    wide = Conv(np.full((1, 1, CHANNELS, 2), 1), TERNARY, [200, 200])
    graph = side_by_side([conv(4), requantize(1)], [wide, requantize(5)])
    assert convolutions(check(graph)) == ["a0_b0"]


def test_sums_that_others_read_are_taken_apart_themselves():
    graph = (GraphBuilder((3, 4, CHANNELS), uint_type(3)).add("a", conv(4), "x")
             .add("a_act", requantize(1)).add("b", conv(4), "x").add("b_act", requantize(1))
             .add("out", Concat(), "a", "a_act", "b_act").build())
    assert [n.name for n in check(graph).nodes] == ["a_b", "a", "b", "a_act", "b_act", "out"]


def test_long_names_are_cut():
    builder = GraphBuilder((3, 4, CHANNELS), uint_type(3))
    names = [f"inception_{n}_" + "x" * 20 for n in range(4)]
    for name in names:
        builder.add(name, conv(2, 0), "x")
    merged = check(builder.add("out", Concat(), *names).build())
    assert convolutions(merged) == [f"{names[0]}_and_3_more"]


@st.composite
def chains(draw):
    """A convolution and up to three activations, of few kinds so that many are alike."""
    outputs = draw(st.integers(1, 4))
    pad = draw(st.sampled_from([(0, 0, 0, 0)] * 3 + [(1, 0, 1, 0)]))
    chain = [conv(outputs, draw(st.integers(0, 99)), (2, 2), draw(st.sampled_from(
        [TERNARY, TERNARY, BIPOLAR])), pad=pad)]
    rows = draw(st.sampled_from([1, outputs]))

    def values(low, high, count=rows):
        return draw(st.lists(st.integers(low, high), min_size=count, max_size=count))

    for kind in draw(st.lists(st.sampled_from(["bias", "clip"]), max_size=1)):
        chain.append(Bias(values(-9, 9, outputs)) if kind == "bias"
                     else Clip(-7, draw(st.sampled_from([7, 9]))))
    kind = draw(st.sampled_from(["requantize", "requantize", "threshold", "none"]))
    if kind == "requantize":
        chain.append(Requantize(values(1, 5), values(0, 4), draw(st.integers(0, 1)), "half_up",
                                uint_type(3), values(-3, 3)))
    elif kind == "threshold":
        chain.append(Threshold([sorted(values(-20, 20, 3)) for _ in range(rows)],
                               [bool(v) for v in values(0, 1)], uint_type(2)))
    if kind != "none" and draw(st.booleans()):
        chain.append(Table([values(0, 3, 8 if kind == "requantize" else 4) for _ in range(rows)],
                           0, uint_type(2)))
    return chain


@few(150)
@given(st.lists(chains(), min_size=2, max_size=4))
def test_merging_keeps_every_tensor(found):
    graph = side_by_side(*found)
    check(graph)
    for variant in variants(run_pipeline(graph)):
        np.testing.assert_array_equal(variant.run(frames(graph)), graph.run(frames(graph)))
