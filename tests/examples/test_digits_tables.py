"""The committed network of look-up tables: what it classifies right, and in which hardware."""

import json

import numpy as np
import pytest

from hwgen.blocks.constant_layer import ConstantLayerConfig
from hwgen.boards import load_board
from hwgen.files import data_folder
from hwgen.model import load_model
from hwgen.passes import run_pipeline
from hwgen.planning import Target, plan_design
from tests.system.top_driver import TopSimulator, at_random

FOLDER = data_folder("examples") / "digits"


@pytest.fixture(scope="module")
def split() -> tuple[np.ndarray, np.ndarray]:
    with np.load(FOLDER / "tables_test.npz") as stored:
        return stored["x"].reshape(-1, 1, 1, 192), stored["labels"]


@pytest.fixture(scope="module")
def built():
    graph = run_pipeline(load_model(FOLDER / "tables.json").to_graph())
    board = load_board("zybo-z7010")
    return plan_design(graph, Target(board, board.clock_mhz, board.limits))


def classes_as_trained(x: np.ndarray) -> np.ndarray:
    """The description as it is written, in NumPy alone."""
    description = json.loads((FOLDER / "tables.json").read_text())
    with np.load(FOLDER / "tables.npz") as stored:
        hidden, bits, scores, _ = ({key: stored[value["npz"]] if isinstance(value, dict) else value
                                    for key, value in layer.items()}
                                   for layer in description["layers"])
    values = x.reshape(len(x), -1).astype(int) @ hidden["weights"]
    votes = (values >= np.asarray(bits["levels"])[:, 0]).astype(int) @ scores["weights"]
    return votes.argmax(axis=1)


def test_accuracy_on_the_held_out_images(split):
    x, labels = split
    found = load_model(FOLDER / "tables.json").to_graph().run(x).reshape(-1)
    np.testing.assert_array_equal(found, classes_as_trained(x))
    assert len(labels) == 360
    assert (found == labels).sum() == 350


def test_the_images_are_the_held_out_ones_of_the_other_network(split):
    x, labels = split
    with np.load(FOLDER / "test_split.npz") as stored:
        pixels, others = stored["x"].reshape(-1, 64), stored["labels"]
    np.testing.assert_array_equal(labels, others)
    np.testing.assert_array_equal(
        x.reshape(-1, 64, 3) @ (1, 2, 4), pixels >> 1)


def test_hidden_neurons_are_look_up_tables_and_a_result_leaves_every_clock(built):
    hidden = next(n.block for n in built.hardware.nodes
                  if isinstance(n.block, ConstantLayerConfig) and n.layer == "hidden")
    assert hidden.tables is not None
    assert hidden.tables.resources.lut <= hidden.neurons
    assert built.timing.interval == 1


def test_hardware_classifies_as_the_model_under_stalls(built, split):
    x, _ = split
    result = TopSimulator(built.hardware).run(x[:60], at_random(0.8, 0), at_random(0.7, 1))
    np.testing.assert_array_equal(np.array(result.words), classes_as_trained(x[:60]))
