"""Top-1 accuracy of scores and of indices, and labels that can't be right."""

from fractions import Fraction

import numpy as np
import pytest

from hwgen.accuracy import load_labels, top1, top1_line
from hwgen.errors import ModelError
from hwgen.ops import ArgMax, Bias, Reshape
from hwgen.real_ops import Affine
from hwgen.types import int_type
from tests.graphs import GraphBuilder


def scores(classes=3):
    return GraphBuilder((classes,), int_type(4)).add("fc", Bias([0] * classes))


def codes(*rows):
    return np.array(rows)[:, None, None, :]


OUTPUTS = codes([1, 2, 3], [3, 2, 1], [-1, 0, -3], [2, 2, 1])


def test_the_highest_score_is_compared_with_the_label():
    assert top1(scores().build(), OUTPUTS, np.array([2, 0, 2, 1])) == \
        {"frames": 4, "correct": 2, "top1": 0.5}


def test_the_first_of_equal_scores_counts():
    assert top1(scores().build(), OUTPUTS[3:], np.array([0]))["correct"] == 1


def test_scores_count_in_their_own_units():
    scale = Fraction(-1), Fraction(1), Fraction(1, 4)
    graph = scores().add("bn", Affine(scale, (Fraction(0),) * 3)).build()
    assert top1(graph, OUTPUTS, np.array([1, 1, 0, 1]))["correct"] == 4


def test_an_index_is_compared_as_it_is():
    graph = scores().add("best", ArgMax()).add("flat", Reshape()).build()
    assert top1(graph, codes([2], [0], [1]), np.array([2, 0, 0]))["correct"] == 2


def test_accuracy_of_no_frames_is_0():
    assert top1(scores().build(), OUTPUTS[:0], np.array([], dtype=int))["top1"] == 0


def test_accuracy_is_a_line_to_read():
    assert top1_line({"frames": 64, "correct": 61, "top1": 61 / 64}) == \
        "top-1 accuracy 95.31%, 61 of 64 frames"


def refused(graph, path, frames):
    with pytest.raises(ModelError) as error:
        load_labels(graph, path, frames)
    text, = error.value.problems
    return text


def test_an_image_has_no_top_1_accuracy(tmp_path):
    graph = GraphBuilder((2, 2, 3), int_type(4)).add("b", Bias([0] * 3)).build()
    text = "b: has shape [2, 2, 3]; accuracy needs one vector of scores, or one index, per frame"
    assert refused(graph, tmp_path / "missing.npy", 4) == text
    indices = GraphBuilder((2, 2, 3), int_type(4)).add("best", ArgMax()).build()
    assert refused(indices, tmp_path / "missing.npy", 4).startswith("best: has shape [2, 2, 1]; ")


@pytest.mark.parametrize("labels", [[[2], [0]], [2, 0], np.array([2, 0], dtype=np.uint8)])
def test_labels_are_one_class_per_frame_in_any_shape(labels, tmp_path):
    np.save(tmp_path / "labels.npy", labels)
    assert load_labels(scores().build(), tmp_path / "labels.npy", 2).tolist() == [2, 0]


@pytest.mark.parametrize("labels, text", [
    ([1, 2, 0], "holds int64 of shape [3]; one integer for each of 2 frames is needed"),
    ([[1, 0], [0, 1]], "holds int64 of shape [2, 2]; one integer for each of 2 frames is needed"),
    ([1.0, 2.0], "holds float64 of shape [2]; one integer for each of 2 frames is needed"),
    ([0, 3], "frame 1: 3 is none of the network's 3 classes (0..2)"),
    ([-1, 3], "frame 0: -1 is none of the network's 3 classes (0..2)"),
])
@pytest.mark.parametrize("index", [False, True])
def test_labels_that_can_not_be_right_are_refused(labels, text, index, tmp_path):
    file = tmp_path / "labels.npy"
    np.save(file, labels)
    graph = (scores().add("best", ArgMax()) if index else scores()).build()
    assert refused(graph, file, 2) == f"{file}: {text}"


def test_a_missing_file_of_labels_is_named(tmp_path):
    file = tmp_path / "labels.npy"
    assert refused(scores().build(), file, 2) == f"{file}: no such file"


def test_two_scores_give_auc_and_top1():
    found = top1(scores(2).build(), codes([3, 0], [0, 1], [0, 3], [1, 2]), np.array([0, 0, 1, 1]))
    assert found == {"frames": 4, "correct": 3, "top1": 0.75, "auc": 3.5 / 4}


def test_one_score_gives_auc_alone():
    graph = scores(1).build()
    assert top1(graph, codes([3], [1], [2]), np.array([1, 0, 0])) == {"frames": 3, "auc": 1.0}
    assert top1(graph, codes([1], [1]), np.array([1, 0]))["auc"] == 0.5


def test_auc_needs_frames_of_both_classes():
    assert top1(scores(1).build(), codes([3], [1]), np.array([1, 1]))["auc"] is None
    assert top1_line({"frames": 2, "auc": None}) == "AUC needs frames of both classes"


def test_more_scores_or_an_index_have_no_auc():
    assert "auc" not in top1(scores().build(), OUTPUTS, np.array([2, 0, 1, 0]))
    graph = scores(2).add("best", ArgMax()).build()
    assert "auc" not in top1(graph, codes([1], [0]), np.array([1, 0]))


def test_auc_is_a_line_to_read():
    assert top1_line({"frames": 4, "auc": 0.875}) == "AUC 0.8750 over 4 frames"
    assert top1_line({"frames": 4, "correct": 3, "top1": 0.75, "auc": 0.875}) == \
        "top-1 accuracy 75.00%, 3 of 4 frames, AUC 0.8750 over 4 frames"
