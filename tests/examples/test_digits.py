"""The committed digits network: accuracy on its held-out images, and exact export."""

import json

import numpy as np
import pytest

from hwgen.files import data_folder
from hwgen.model import load_model

FOLDER = data_folder("examples") / "digits"
TYPE_OF_WEIGHTS = {"conv1": {-1, 0, 1}, "conv2": {-1, 1}, "fc": {-1, 0, 1}}


@pytest.fixture(scope="module")
def description() -> dict:
    return json.loads((FOLDER / "model.json").read_text())


@pytest.fixture(scope="module")
def arrays() -> dict[str, np.ndarray]:
    with np.load(FOLDER / "model.npz") as stored:
        return dict(stored)


@pytest.fixture(scope="module")
def split() -> tuple[np.ndarray, np.ndarray]:
    with np.load(FOLDER / "test_split.npz") as stored:
        return stored["x"], stored["labels"]


@pytest.fixture(scope="module")
def golden_scores(split) -> np.ndarray:
    x, _ = split
    return load_model(FOLDER / "model.json").to_graph().run(x)


def scores_in_real_numbers(description, arrays, x):
    """Evaluate the description as written, layer by layer, in float64: no folds, no thresholds."""
    value = x.astype(float)
    for layer in description["layers"]:
        get = {k: arrays[v["npz"]] for k, v in layer.items() if isinstance(v, dict)}
        if layer["type"] == "conv2d":
            padded = np.pad(value, ((0, 0), (layer["pad"],) * 2, (layer["pad"],) * 2, (0, 0)))
            kernel = get["weights"].astype(float)
            cut = np.lib.stride_tricks.sliding_window_view(padded, kernel.shape[:2], axis=(1, 2))
            value = np.einsum("nhwcij,ijco->nhwo", cut, kernel)
        elif layer["type"] == "batch_norm":
            deviation = np.sqrt(get["variance"].astype(float) + layer["epsilon"])
            value = (value - get["mean"]) / deviation * get["gamma"] + get["beta"]
        elif layer["type"] == "quantize":
            assert layer["output_type"].startswith("UINT")
            largest = 2 ** int(layer["output_type"][4:]) - 1
            value = np.clip(np.round(value / layer["scale"]), 0, largest) * layer["scale"]
        elif layer["type"] == "max_pool":
            n, h, w, c = value.shape
            k = layer["kernel"]
            value = value.reshape(n, h // k, k, w // k, k, c).max(axis=(2, 4))
        elif layer["type"] == "flatten":
            value = value.reshape(len(value), -1)
        else:
            assert layer["type"] == "dense"
            value = value @ get["weights"].astype(float)
    return value


def test_held_out_images_are_a_fixed_stratified_fifth(split):
    x, labels = split
    assert x.shape == (360, 8, 8, 1)
    assert x.dtype == labels.dtype == np.uint8
    assert x.max() == 15
    assert np.bincount(labels, minlength=10).min() >= 35
    assert np.bincount(labels, minlength=10).max() <= 37


def test_accuracy_on_held_out_images_is_at_least_97_percent(golden_scores, split):
    _, labels = split
    assert golden_scores.shape == (360, 1, 1, 10)
    assert (golden_scores.reshape(360, 10).argmax(1) == labels).mean() >= 0.97


def test_integer_scores_equal_the_description_evaluated_in_real_numbers(
        description, arrays, golden_scores, split):
    x, _ = split
    real = scores_in_real_numbers(description, arrays, x)
    # The dense layer's accumulator counts steps of the scale of its input.
    step = next(layer["scale"] for layer in reversed(description["layers"])
                if layer["type"] == "quantize")
    assert np.array_equal(golden_scores.reshape(360, 10) * step, real)


@pytest.mark.parametrize("layer", TYPE_OF_WEIGHTS)
def test_every_weight_is_ternary_or_binary(arrays, layer):
    weights = arrays[f"{layer}.weights"]
    assert weights.dtype == np.int8
    assert set(np.unique(weights)) == TYPE_OF_WEIGHTS[layer]


def test_activations_have_at_most_2_bits(description):
    types = [layer["output_type"] for layer in description["layers"] if layer["type"] == "quantize"]
    assert len(types) == 2
    assert set(types) <= {"UINT1", "UINT2"}
