"""The wafer-map network: published counts, living activations, and that it can be made again."""

import importlib
import json

import numpy as np
import pytest

from hwgen.files import data_folder
from hwgen.model import load_model
from hwgen.ops import Conv

FOLDER = data_folder("examples") / "wafer"

# Output shape, weights, MACs per image, weight type.
PUBLISHED = {
    "conv1": ((109, 109, 32), 1568, 18629408, "INT4"),
    "b1": ((54, 54, 32), 1024, 2985984, "BIPOLAR"),
    "b2_reduce": ((54, 54, 8), 256, 746496, "BIPOLAR"),
    "b2": ((54, 54, 32), 2304, 6718464, "BIPOLAR"),
    "b3_reduce": ((54, 54, 8), 256, 746496, "BIPOLAR"),
    "b3": ((54, 54, 32), 6400, 18662400, "BIPOLAR"),
    "b4": ((54, 54, 32), 1024, 2985984, "BIPOLAR"),
    "conv2": ((27, 27, 12), 1536, 1119744, "BIPOLAR"),
    "conv3": ((14, 14, 116), 12528, 2455488, "BIPOLAR"),
    "conv4": ((7, 7, 116), 121104, 5934096, "BIPOLAR"),
    "fc": ((1, 1, 58), 329672, 329672, "INT4"),
}


@pytest.fixture(params=["a", "b"])
def variant(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def graphs():
    return {variant: load_model(FOLDER / f"{variant}.json").to_graph() for variant in "ab"}


@pytest.fixture(scope="module")
def frames() -> np.ndarray:
    with np.load(FOLDER / "frames.npz") as stored:
        return stored["x"]


@pytest.fixture(scope="module")
def tensors(graphs, frames):
    """Every tensor of both variants for the first frame."""
    return {variant: graph.run_all(frames[:1]) for variant, graph in graphs.items()}


def convolutions(graph) -> dict[str, tuple]:
    rows = {}
    for node in graph.nodes:
        if isinstance(node.op, Conv):
            height, width, _ = node.output.shape
            size = node.op.weights.size
            rows[node.name] = (node.output.shape, size, height * width * size,
                               node.op.weight_type.name)
    return rows


def test_layers_have_the_published_shapes_weights_and_macs(graphs, variant):
    assert convolutions(graphs[variant]) == PUBLISHED


def test_network_has_the_published_totals(graphs, variant):
    layers = [node.op for node in graphs[variant].nodes if isinstance(node.op, Conv)]
    assert sum(op.weights.size for op in layers) == 477672
    assert sum(op.bias.size for op in layers) == 478
    assert sum(row[2] for row in convolutions(graphs[variant]).values()) == 61314232
    bits = sum(op.weights.size * op.weight_type.width for op in layers)
    assert bits == 1471392


def test_inception_is_wired_as_its_variant_says(graphs, variant):
    graph = graphs[variant]
    fork = {"a": "pool1", "b": "b1_act"}[variant]
    assert graph.node("concat").inputs == ("b1_act", "b2_act", "b3_act", "b4_act")
    assert graph.node("b1").inputs == ("pool1",)
    for branch in ("b2_reduce", "b3_reduce", "b4_pool"):
        assert graph.node(branch).inputs == (fork,)


def test_weights_of_4_bits_are_symmetric(graphs, variant):
    for name in ("conv1", "fc"):
        weights = graphs[variant].node(name).op.weights
        assert (weights.min(), weights.max()) == (-7, 7)


def test_biases_are_4_bits_times_a_power_of_two(graphs, variant):
    for name in PUBLISHED:
        bias = graphs[variant].node(name).op.bias
        unit = np.bitwise_or.reduce(np.abs(bias))
        unit &= -unit  # the lowest set bit of all
        assert np.abs(bias).max() <= 7 * unit


def test_activations_neither_saturate_nor_die(tensors, variant):
    layers = [name for name in tensors[variant] if name.endswith("_act")]
    assert len(layers) == len(PUBLISHED) - 1
    for name in layers:
        values = tensors[variant][name]
        assert values.max() > 7, name  # the fourth bit is in use
        assert 0.2 < (values > 0).mean() < 0.8, name
        assert (values == 15).mean() < 0.2, name


def test_few_channels_are_constant(tensors, variant):
    for name in (name for name in tensors[variant] if name.endswith("_act")):
        values = tensors[variant][name].reshape(-1, tensors[variant][name].shape[-1])
        assert (values.min(axis=0) == values.max(axis=0)).mean() < 0.1, name


def test_frames_give_different_scores(graphs, frames, variant):
    scores = graphs[variant].run(frames[:2])
    assert scores.shape == (2, 1, 1, 58)
    assert len(np.unique(scores[0])) > 40
    assert (scores[0] != scores[1]).mean() > 0.9


def test_committed_network_is_what_the_generator_makes(graphs, monkeypatch, variant):
    monkeypatch.syspath_prepend(FOLDER)
    generate = importlib.import_module("generate")
    maps = generate.wafer_maps(generate.CALIBRATION_MAPS, generate.CALIBRATION_SEED)
    made = generate.WaferNetwork(variant, maps).layers
    stored = json.loads((FOLDER / f"{variant}.json").read_text())["layers"]
    assert [layer["name"] for layer in made] == [layer["name"] for layer in stored]
    for layer, other in zip(made, stored):
        if "weights" in layer:
            op = graphs[variant].node(layer["name"]).op
            assert np.array_equal(layer["weights"].reshape(op.weights.shape), op.weights)
            assert np.array_equal(layer["bias"], op.bias)
        assert layer.get("shift") == other.get("shift")


def test_committed_frames_are_what_the_generator_makes(frames, monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    generate = importlib.import_module("generate")
    assert np.array_equal(generate.wafer_maps(generate.FRAMES, generate.FRAME_SEED), frames)
