"""Top-1 accuracy, and AUC of two classes, from outputs and labels."""

from pathlib import Path
from typing import Any

import numpy as np

from .errors import ModelError
from .files import load_array
from .graph import Graph
from .ops import ArgMax, Reshape

__all__ = ["load_labels", "top1", "top1_line"]


def load_labels(graph: Graph, path: Path, frames: int) -> np.ndarray:
    """Classes (frames,) from an ``.npy`` file, one for each frame of a network's input.

    Raises
    ------
    ModelError
        The network does not end in one vector of scores, or one index, per frame; the file can't
        be read, or does not hold one of its classes for each frame.
    """
    _, classes = _scores(graph)
    labels = load_array(path)
    if labels.size != frames or labels.dtype.kind not in "iu":
        raise ModelError(f"{path}: holds {labels.dtype} of shape {list(labels.shape)}; one integer "
                         f"for each of {frames} frames is needed")
    labels = labels.reshape(-1)
    for frame in np.flatnonzero((labels < 0) | (labels >= classes))[:1]:
        raise ModelError(f"{path}: frame {frame}: {labels[frame]} is none of the network's "
                         f"{classes} classes (0..{classes - 1})")
    return labels


def top1(graph: Graph, outputs: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """How many frames have their label as the highest score, or as the network's own index.

    Parameters
    ----------
    graph
        The network.
    outputs
        Integers (frames, H, W, C) of its output.
    labels
        (frames,).

    Returns
    -------
    dict
        ``frames``, ``correct`` and ``top1``, the share of correct ones. The first of equal scores
        counts. With two scores also ``auc``, the area under the receiver operating characteristic:
        how likely a frame of class 1 has the higher score (less that of class 0) than one of class
        0, equal ones as half; None unless there are frames of both. With one score, which says how
        likely class 1 is, only ``frames`` and ``auc``.

    Raises
    ------
    ModelError
        The network does not end in one vector of scores, or one index, per frame.
    """
    is_index, _ = _scores(graph)
    result: dict[str, Any] = {"frames": len(labels)}
    scores = outputs if is_index else graph.tensor(graph.output).to_real(outputs)
    count = scores.shape[-1]
    scores = scores.reshape(len(labels), count)
    if is_index or count > 1:
        found = scores[:, 0] if is_index else scores.argmax(axis=1)
        result["correct"] = int((found == labels).sum())
        result["top1"] = result["correct"] / max(len(labels), 1)
    if not is_index and count <= 2:
        result["auc"] = _auc(scores[:, 1] - scores[:, 0] if count == 2 else scores[:, 0],
                             labels == 1)
    return result


def _auc(scores: np.ndarray, positive: np.ndarray) -> float | None:
    """Share of the pairs of a positive and another frame in which the positive one has the higher
    score; equal scores count half."""
    others = np.sort(scores[~positive])
    found = scores[positive]
    if not len(others) or not len(found):
        return None
    below = np.searchsorted(others, found, side="left")
    not_above = np.searchsorted(others, found, side="right")
    return float((below + not_above).sum() / (2 * len(others) * len(found)))


def top1_line(accuracy: dict[str, Any]) -> str:
    """What :func:`top1` found, for a reader."""
    parts = []
    if "top1" in accuracy:
        parts.append(f"top-1 accuracy {accuracy['top1']:.2%}, {accuracy['correct']} of "
                     f"{accuracy['frames']} frames")
    if "auc" in accuracy:
        auc = accuracy["auc"]
        parts.append("AUC needs frames of both classes" if auc is None else
                     f"AUC {auc:.4f} over {accuracy['frames']} frames")
    return ", ".join(parts)


def _scores(graph: Graph) -> tuple[bool, int]:
    """Whether the output is the index of a class, and the number of classes: two of one score."""
    name, shape = graph.output, graph.tensor(graph.output).shape
    while name != graph.input and isinstance(graph.node(name).op, Reshape):
        name, = graph.node(name).inputs
    is_index = name != graph.input and isinstance(graph.node(name).op, ArgMax)
    if shape[:2] != (1, 1) or is_index and shape[2] != 1:
        raise ModelError(f"{graph.output}: has shape {list(shape)}; accuracy needs one vector of "
                         "scores, or one index, per frame")
    classes = graph.tensor(graph.node(name).inputs[0]).shape[2] if is_index else shape[2]
    return is_index, classes if is_index else max(classes, 2)
