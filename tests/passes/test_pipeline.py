"""The passes together, on whole networks."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwgen.errors import ModelError
from hwgen.ops import (
    ROUNDINGS,
    Add,
    Bias,
    Concat,
    Conv,
    MaxPool,
    Requantize,
    Reshape,
    Select,
    SumPool,
    Threshold,
    Upsample,
    Windows,
)
from hwgen.passes import PIPELINE, run_pipeline, verify
from hwgen.real_ops import REAL, Affine, Clamp, Function, Quantize, RealOp
from hwgen.types import BIPOLAR, TERNARY, int_type, smallest_type, uint_type
from tests.graphs import GraphBuilder
from tests.passes.chains import clamps, few, leaky_relus, numbers, positive

F = Fraction


def conv(draw, tensor, outputs):
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    size = draw(st.sampled_from([1, 1, 2, 3]))
    kernel = (min(size, tensor.shape[0]), min(size, tensor.shape[1]))
    return Conv(rng.integers(-4, 4, (*kernel, tensor.shape[2], outputs)), int_type(3),
                rng.integers(-9, 9, outputs), pad=(0, 0, draw(st.integers(0, 1)), 0),
                pad_value=draw(st.integers(-1, 1)))


@st.composite
def networks(draw):
    """A few layers, each a convolution with an activation, forks and joins between them."""
    channels = 2
    dtype = draw(st.sampled_from([BIPOLAR, TERNARY, uint_type(3)]))
    builder = GraphBuilder((4, 4, channels), dtype, draw(positive))
    last = "x"
    for n in range(draw(st.integers(1, 3))):
        builder.add(f"conv{n}", conv(draw, builder.tensors[last], channels), last)
        if draw(st.booleans()):
            builder.add(f"bias{n}", Bias([draw(st.integers(-5, 5)) for _ in range(channels)]))
        if draw(st.booleans()):
            builder.add(f"bn{n}", Affine(tuple(draw(numbers) for _ in range(channels)),
                                            tuple(draw(numbers) for _ in range(channels))))
        if draw(st.booleans()):
            rising = leaky_relus(channels).filter(lambda op: min(op.slope) >= 0)
            builder.add(f"relu{n}", draw(clamps() | rising | st.just(Function("sigmoid"))))
        if draw(st.booleans()):
            move = draw(st.sampled_from([MaxPool((1, 2), (1, 1), (0, 0, 1, 0)), Select((1, 0)),
                                         Upsample((1, 2)), Windows((1, 1), (1, 1))]))
            builder.add(f"move{n}", move)
            if draw(st.booleans()):
                builder.add(f"bn_behind{n}", Affine((draw(numbers),) * channels,
                                                    (draw(numbers),) * channels))
        way = builder.nodes[-1].name
        for branch in "ab":
            quantizer = Quantize(draw(st.sampled_from([BIPOLAR, uint_type(2), int_type(4)])),
                                 draw(positive), draw(st.integers(0, 1)),
                                 draw(st.sampled_from(ROUNDINGS)))
            builder.add(f"{branch}{n}", quantizer, way)
        join = draw(st.sampled_from([Add(), Concat()]))
        last = f"join{n}"
        ways = [f"a{n}", f"b{n}"]
        if isinstance(join, Add) and draw(st.booleans()):  # as unequal scales are brought to one
            for m in range(2):
                factor = draw(st.integers(-300, 300))
                dtype = builder.tensors[ways[m]].dtype
                ends = [factor * v for v in (dtype.low, dtype.high)]
                builder.add(f"{ways[m]}_scaled", Requantize(
                    [factor], [0], 0, "floor", smallest_type(min(ends), max(ends))), ways[m])
                ways[m] += "_scaled"
        builder.add(last, join, *ways)
        if builder.tensors[last].shape[2] > channels and draw(st.booleans()):
            last = f"select{n}"
            builder.add(last, Select(draw(st.sampled_from([(3, 1), (0, 1, 2, 3), (2, 2)]))))
        shape = builder.tensors[last].shape
        if draw(st.booleans()) and min(shape[:2]) > 1:
            builder.add(f"pool{n}", draw(st.sampled_from([MaxPool, SumPool]))((2, 2), (1, 1)))
            last = f"pool{n}"
        if draw(st.booleans()):
            builder.add(f"up{n}", Upsample((1, 1)))
            last = f"up{n}"
    return builder.add("flat", Reshape()).add("flat2", Reshape()).build()


@few(150)
@given(networks())
def test_every_pass_keeps_the_results(graph):
    rng = np.random.default_rng(0)
    values = np.arange(graph.input_tensor.dtype.low, graph.input_tensor.dtype.high + 1)
    x = rng.choice(values[graph.input_tensor.dtype.contains(values)], (8, 4, 4, 2))
    expected, before = graph.run(x), graph.run_all(x)
    for function in PIPELINE:
        graph = function(graph)
        verify(graph)
        np.testing.assert_array_equal(graph.run(x), expected, function.__name__)
    after = graph.run_all(x)
    for node in graph.nodes:
        assert node.output.dtype != REAL
        # Layers that sum keep their names while biases and multipliers come and go.
        if node.name in before and not isinstance(node.op, Conv | Add):
            np.testing.assert_array_equal(after[node.name], before[node.name], node.name)
        assert not isinstance(node.op, RealOp)
        types = tuple(graph.tensor(i).dtype for i in node.inputs)
        assert node.output.dtype == node.op.result_type(
            types, tuple(graph.tensor(i).shape for i in node.inputs))


def small_network():
    return GraphBuilder((1, 1, 3), uint_type(4)) \
        .add("conv", Conv(np.ones((1, 1, 3, 2)), int_type(2), [0, 0])) \
        .add("act", Quantize(uint_type(2), F(8), 0, "half_up"))


def test_each_pass_is_reported_with_its_time():
    seen = []
    run_pipeline(small_network().build(), lambda *report: seen.append(report))
    assert [name for name, _, _ in seen] == [
        "infer_types", "quantize_early", "merge_multipliers", "infer_types", "fold_activations",
        "merge_bias", "simplify", "absorb_selects", "shrink_multipliers", "infer_types"]
    assert all(seconds >= 0 for _, _, seconds in seen)
    assert [n.name for n in seen[4][1].nodes] == ["conv", "act_bias", "act"]


def test_the_rounding_of_an_activation_ends_up_in_the_convolution():
    result = run_pipeline(small_network().build())
    assert [n.name for n in result.nodes] == ["conv", "act"]
    assert result.node("conv").op.bias.tolist() == [4, 4]


def test_the_pipeline_changes_its_own_result_no_more():
    once = run_pipeline(small_network().build())
    assert run_pipeline(once) == once


def test_a_layer_that_nothing_needs_is_named():
    graph = small_network().add("more", Bias([1, 1])).build("act")
    with pytest.raises(ModelError, match="^more: the output act does not depend on it; remove it "
                       "or use its result$"):
        run_pipeline(graph)


def test_a_sound_graph_is_accepted():
    verify(small_network().build())


def change(graph, name, **changes):
    return graph.with_nodes(replace(n, **changes) if n.name == name else n for n in graph.nodes)


def retype(graph, name, **changes):
    return change(graph, name, output=replace(graph.tensor(name), **changes))


GRAPH = small_network().build()
BROKEN = {
    "act: reads conv before it is made": GRAPH.with_nodes(GRAPH.nodes[::-1]),
    "conv: two tensors have this name": GRAPH.with_nodes(GRAPH.nodes[:1] + GRAPH.nodes),
    "act: Quantize can't take 2 inputs": change(GRAPH, "act", inputs=("conv", "conv")),
    "act: Add can't take 1 inputs": change(GRAPH, "act", op=Add()),
    "conv: weights take 3 channels in each of 1 groups, the input has 4":
        replace(GRAPH, input_tensor=replace(GRAPH.input_tensor, shape=(1, 1, 4))),
    r"conv: shape is \(1, 1, 5\), the operation makes \(1, 1, 2\)":
        retype(GRAPH, "conv", shape=(1, 1, 5)),
    r"conv: type is UINT5 \(0..31\), the operation makes UINT6 \(0..63\)":
        retype(GRAPH, "conv", dtype=uint_type(5)),
    r"act: type is REAL \(0..0\), the operation makes UINT2 \(0..3\)":
        retype(GRAPH, "act", dtype=REAL),
    r"act: type is BIPOLAR \(\{-1, \+1\}\), the operation makes TERNARY":
        retype(change(GRAPH, "act", op=Threshold([[0, 1]], [False], TERNARY, -1)), "act",
               dtype=BIPOLAR),
    "conv: 3 scales for 2 channels": retype(GRAPH, "conv", scale=(F(1),) * 3),
    "act: 4 offsets for 2 channels": retype(GRAPH, "act", offset=(F(1),) * 4),
    "pool: compares integers of a negative scale": retype(
        GraphBuilder((2, 2, 1), uint_type(2), -1).add("pool", MaxPool((2, 2), (2, 2))).build(),
        "pool", dtype=uint_type(2)),
    r"pool: type is UINT2 \(0..3\), the operation makes REAL": retype(
        GraphBuilder((2, 2, 1), uint_type(2)).add("relu", Clamp(F(1, 2), None))
        .add("pool", MaxPool((2, 2), (2, 2))).build(), "pool", dtype=uint_type(2)),
    r"sum: type is REAL \(0..0\), the operation makes UINT3": retype(
        GraphBuilder((2, 2, 1), uint_type(2)).add("sum", Add(), "x", "x").build(), "sum",
        dtype=REAL),
    "act: the output does not depend on it": replace(GRAPH, output="conv"),
    "z: the output is not a tensor of the graph": replace(GRAPH, output="z"),
}


@pytest.mark.parametrize("text, graph", BROKEN.items(), ids=BROKEN.keys())
def test_a_broken_invariant_is_named(text, graph):
    with pytest.raises(ValueError, match=f"(?m)^{text}"):
        verify(graph)
