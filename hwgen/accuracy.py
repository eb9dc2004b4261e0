"""Top-1 accuracy from outputs and labels."""

from pathlib import Path
from typing import Any

import numpy as np

from .errors import ModelError
from .graph import Graph
from .ops import ArgMax, Reshape

__all__ = ["load_labels", "top1"]


def load_labels(path: Path, frames: int) -> np.ndarray:
    """(frames,) integers from an ``.npy`` file; ModelError if it holds others."""
    try:
        labels = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise ModelError(f"{path}: no such file") from None
    except (OSError, ValueError, EOFError):
        raise ModelError(f"{path}: not a NumPy array file; write one with numpy.save") from None
    labels = np.asarray(labels)
    if labels.size != frames or labels.dtype.kind not in "iu":
        raise ModelError(f"{path}: holds {labels.dtype} of shape {list(labels.shape)}; one integer "
                         f"for each of {frames} frames is needed")
    return labels.reshape(-1)


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
        ``frames``, ``correct`` and ``top1``, the share of correct ones.

    Raises
    ------
    ModelError
        The network has more than one score vector per frame.
    """
    tensor = graph.tensor(graph.output)
    name = graph.output
    while name != graph.input and isinstance(graph.node(name).op, Reshape):
        name = graph.node(name).inputs[0]
    is_index = name != graph.input and isinstance(graph.node(name).op, ArgMax)
    if tensor.shape[:2] != (1, 1) or is_index and tensor.shape[2] != 1:
        raise ModelError(f"{graph.output}: has shape {list(tensor.shape)}; accuracy needs one "
                         "vector of scores, or one index, per frame")
    if is_index:
        found = outputs.reshape(-1)
    else:
        found = tensor.to_real(outputs).reshape(len(outputs), -1).argmax(axis=1)
    correct = int((found == labels).sum())
    return {"frames": len(labels), "correct": correct, "top1": correct / max(len(labels), 1)}
