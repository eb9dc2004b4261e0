"""Random QONNX networks: the golden model equals the file, and hardware equals the golden model."""

from math import ceil

import numpy as np
import pytest
from onnx import helper

from hwgen.golden import from_user, golden
from hwgen.onnx_import.importer import translate
from hwgen.passes import run_pipeline
from tests.qonnx_networks import random_network
from tests.qonnx_reference import NEAR, evaluate, evaluate_node, execute
from tests.random_networks import random_folding
from tests.system.top_driver import TopSimulator, at_random

FAST_SEEDS = range(20)
SLOW_SEEDS = range(100, 300)
FAST_BUILDS = range(1000, 1006)
SLOW_BUILDS = range(1100, 1140)
FRAMES = 4
SIDE = 7  # of images that are simulated in hardware
CLOCKS = 700  # of a simulation at full speed

FLOAT32 = 1e-3  # steps from a boundary within which float32 may decide a code otherwise
EXACT = 1e-9  # relative: what float64 loses of a real value, far below a step


def seeds(fast, slow):
    return [*fast, *(pytest.param(seed, marks=pytest.mark.slow) for seed in slow)]


def named(seed):
    return f"seed{seed}"


class Case:
    """A network, what was imported of it, and vectors with their references."""

    def __init__(self, seed):
        self.network = random_network(seed)
        self.importer = translate(self.network.model, self.network.input_type)
        self.graph = self.importer.model().to_graph()
        vectors = self.network.inputs(FRAMES)
        references = [evaluate(self.network.model, x) for x in vectors]
        kept = [n for n, reference in enumerate(references) if reference.settled]
        self.x, self.references = vectors[kept], [references[n] for n in kept]

    def expected(self, tensor):
        """A tensor of the file, (vectors, *shape without batch)."""
        return np.stack([r.tensors[tensor][0] for r in self.references]).astype(np.float64)


@pytest.fixture(scope="module", params=seeds(FAST_SEEDS, SLOW_SEEDS), ids=named)
def case(request):
    return Case(request.param)


def assert_same(got, expected):
    np.testing.assert_allclose(got, expected, rtol=EXACT,
                               atol=EXACT * max(np.abs(expected).max(), 1e-9))


def test_the_golden_model_computes_what_the_file_says(case):
    assert_same(golden(case.graph, case.x), case.expected(case.network.scores))


def test_every_quantizer_gives_the_codes_that_the_file_says(case):
    # Before the passes, so that a difference in one and not in the other tells where it starts.
    tensors = case.graph.run_all(from_user(case.graph, case.x))
    checked = 0
    for name in case.network.quantizers:
        value = case.importer.values.get(name)
        if value is None or value.layer not in tensors:
            continue  # on the host, in front of hardware's input
        reals = case.graph.tensor(value.layer).to_real(tensors[value.layer])
        got = reals.reshape(len(case.x), -1)[:, value.index[0]]
        assert_same(got, case.expected(name))
        checked += 1
    assert checked >= min(len(case.network.quantizers) - 1, 1)


def test_only_what_the_network_says_is_left_to_the_host(case):
    assert case.graph.host_tail == case.network.host_tail


def test_the_qonnx_executor_agrees_with_the_float64_reference(case):
    network = case.network
    for x, reference in zip(case.x, case.references):
        tensors = execute(network.model, x)
        for node in network.model.graph.node:
            name = node.output[-1]
            if name not in (*network.quantizers, network.scores):
                continue
            margin = reference.margins.get(name)
            expected = reference.tensors[name]
            if np.allclose(tensors[name], expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max()):
                continue
            # float32 rounds, so it may decide a code otherwise; all behind it differs then.
            assert margin is not None, name
            assert margin.tie or margin.distance < FLOAT32, name
            break


class Build:
    """A small network, built with random foldings, and its simulator."""

    def __init__(self, seed):
        network = random_network(seed, SIDE)
        graph = translate(network.model, network.input_type).model().to_graph()
        rng = np.random.default_rng(seed)
        self.design = random_folding(run_pipeline(graph), rng, exact_depths=not seed % 2)
        timing = self.design.timing
        frames = min(max(ceil(CLOCKS / timing.interval), 3), 12)
        self.x = from_user(graph, network.inputs(frames))
        self.expected = graph.run(self.x)
        self.seed = seed
        self.simulator = TopSimulator(self.design.hardware)
        self.output = self.design.hardware.stream(self.design.hardware.output)
        self.patience = 3 * (timing.interval + timing.latency) + 300

    def run(self, frames=None, **gates):
        """Frames through the simulator; the run, and what came out."""
        run = self.simulator.run(self.x[:frames], patience=self.patience, **gates)
        return run, self.output.unpack(run.words).reshape(self.expected[:frames].shape)


@pytest.fixture(scope="module", params=seeds(FAST_BUILDS, SLOW_BUILDS), ids=named)
def build(request):
    return Build(request.param)


def test_hardware_equals_the_golden_model_at_the_predicted_interval(build):
    run, got = build.run()
    np.testing.assert_array_equal(got, build.expected)
    assert run.interval(build.output.beats) == build.design.timing.interval


def test_hardware_equals_the_golden_model_under_random_stalls(build):
    _, got = build.run(2, source=at_random(0.6, build.seed), sink=at_random(0.5, build.seed + 1))
    np.testing.assert_array_equal(got, build.expected[:2])


# The networks themselves.


def test_a_seed_makes_the_same_file_every_time():
    first, second = random_network(7), random_network(7)
    assert first.model.SerializeToString() == second.model.SerializeToString()
    np.testing.assert_array_equal(first.inputs(2), second.inputs(2))


def test_few_vectors_lie_so_near_to_a_boundary_that_they_are_dropped():
    near = [not evaluate(network.model, x).settled
            for network in map(random_network, (*FAST_SEEDS, *SLOW_SEEDS))
            for x in network.inputs(FRAMES)]
    assert sum(near) <= len(near) // 100


def test_a_value_beside_a_boundary_is_noticed_and_a_tie_is_none():
    quant = helper.make_node("Quant", list("xszb"), ["y"], signed=1, narrow=0,
                             rounding_mode="ROUND")
    for x, settled in ((0.5, True), (0.5 + NEAR / 2, False), (0.5 + 2 * NEAR, True)):
        inputs = [np.array([[x]]), np.array(1.0), np.array(0.0), np.array(4.0)]
        _, margin = evaluate_node(quant, inputs)
        assert (margin.distance > NEAR) == settled
        assert margin.tie == (x == 0.5)


def test_random_networks_have_every_kind_of_layer_quantizer_and_end():
    found = set().union(*(random_network(seed).tags for seed in (*FAST_SEEDS, *SLOW_SEEDS)))
    assert found >= {
        "mlp", "line", "cnn", "qcdq", "qonnx", "scales_pow2", "scales_short", "scales_float32",
        *(f"round_{mode}" for mode in ("ROUND", "FLOOR", "CEIL", "UP", "DOWN", "HALF_UP",
                                       "HALF_DOWN", "HALF_EVEN")),
        *(f"u{bits}" for bits in range(1, 9)), *(f"s{bits}" for bits in range(2, 9)),
        *(f"w_{bits}" for bits in range(2, 9)), "w_bipolar", "w_per_channel", "w_on_a_grid",
        "w_zero_point", "bipolar", "multithreshold", "scale_per_channel", "zero_point", "trunc_v1",
        "trunc_v2", "bias_float", "bias_quantized", "bn", "affine", "div", "input_affine",
        "input_type", "depthwise", "grouped", "dilation", "rectangular", "stride", "pads_unequal",
        "conv_transpose", "pixel_matmul", "MatMul", "MatMul_t", "Gemm", "Gemm_t", "max_pool",
        "average_pool", "pool_pads", "ceil_mode", "count_include_pad", "GlobalAveragePool",
        "GlobalMaxPool", "ReduceMean", "Flatten", "Reshape", "Chain", "Turned", "resize",
        "depth_to_space", "space_to_depth", "crop", "shuffle", "gather", "split", "padded", "Relu",
        "Relu6", "LeakyRelu", "PRelu", "Sigmoid", "Tanh", "HardSigmoid", "HardSwish", "Gelu",
        "Silu", "Clip", "Abs", "Neg", "add_equal_scales", "add_unequal_scales",
        "concat_equal_scales", "concat_unequal_scales", "output_map", "end_sums", "end_affine",
        "end_quant", "auto_pad", "constant_nodes", "Identity", "Dropout", "Cast", "Softplus",
        "Softsign", "Elu", "Erf", "ReduceMax", "ReduceSum", "end_Softmax", "end_ArgMax", "end_TopK",
        "end_Sigmoid"}
