"""Top-1 accuracy from outputs and labels."""

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
        counts.

    Raises
    ------
    ModelError
        The network does not end in one vector of scores, or one index, per frame.
    """
    is_index, _ = _scores(graph)
    found = outputs if is_index else graph.tensor(graph.output).to_real(outputs).argmax(axis=-1)
    correct = int((found.reshape(-1) == labels).sum())
    return {"frames": len(labels), "correct": correct, "top1": correct / max(len(labels), 1)}


def top1_line(accuracy: dict[str, Any]) -> str:
    """What :func:`top1` found, for a reader."""
    return (f"top-1 accuracy {accuracy['top1']:.2%}, {accuracy['correct']} of "
            f"{accuracy['frames']} frames")


def _scores(graph: Graph) -> tuple[bool, int]:
    """Whether the output is the index of a class, and the number of classes."""
    name, shape = graph.output, graph.tensor(graph.output).shape
    while name != graph.input and isinstance(graph.node(name).op, Reshape):
        name, = graph.node(name).inputs
    is_index = name != graph.input and isinstance(graph.node(name).op, ArgMax)
    if shape[:2] != (1, 1) or is_index and shape[2] != 1:
        raise ModelError(f"{graph.output}: has shape {list(shape)}; accuracy needs one vector of "
                         "scores, or one index, per frame")
    classes = graph.tensor(graph.node(name).inputs[0]).shape[2] if is_index else shape[2]
    return is_index, classes
