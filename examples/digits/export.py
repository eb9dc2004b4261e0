"""Write the trained digits network as a hwgen model description."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hwgen.model import save_description

__all__ = ["TrainedLayer", "export", "integer_scores"]

WEIGHT_TYPES = {"ternary": "TERNARY", "binary": "BIPOLAR"}
DESCRIPTION = ("Handwritten digits of the UCI data set in scikit-learn, 8 x 8 pixels of 0 to 15; "
               "trained by examples/digits/train.py")


@dataclass(frozen=True)
class TrainedLayer:
    """Weights of a layer and, but for the last, its normalization and quantization.

    Parameters
    ----------
    name, kind
        Name of the layer; ``ternary`` or ``binary``.
    weights
        int8, [kernel height, kernel width, in, out] or [in, out].
    gamma, beta, mean, variance, epsilon
        Batch normalization of each output channel, as in PyTorch.
    bits, scale
        Width of the activation codes, and the real value of code 1. No bits, no activation.
    """

    name: str
    kind: str
    weights: np.ndarray
    gamma: np.ndarray | None = None
    beta: np.ndarray | None = None
    mean: np.ndarray | None = None
    variance: np.ndarray | None = None
    epsilon: float = 0.0
    bits: int = 0
    scale: float = 1.0


def integer_scores(layers: list[TrainedLayer], x: np.ndarray) -> np.ndarray:
    """Accumulators (frames, 10) of pixels (frames, 8, 8, 1), every tensor in integers.

    Each activation counts the decision levels that its normalized accumulator, in float64, has
    passed. Shares no code with the training network.
    """
    x, scale = x.astype(np.int64), 1.0
    for layer in layers[:-1]:
        frames, height, width, channels = x.shape
        padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
        total = np.zeros((frames, height, width, layer.weights.shape[-1]), np.int64)
        for row in range(3):
            for column in range(3):
                total += padded[:, row:row + height, column:column + width] \
                    @ layer.weights[row, column].astype(np.int64)
        x = _activation(layer, total * scale)
        scale = layer.scale
        x = x.reshape(frames, height // 2, 2, width // 2, 2, -1).max(axis=(2, 4))
    return x.reshape(len(x), -1) @ layers[-1].weights.astype(np.int64)


def _activation(layer: TrainedLayer, real: np.ndarray) -> np.ndarray:
    gain = layer.gamma.astype(float) / np.sqrt(layer.variance.astype(float) + layer.epsilon)
    offset = layer.beta - layer.mean * gain
    real = real * gain + offset
    codes = np.zeros(real.shape, np.int64)
    for code in range(1, 2 ** layer.bits):
        # Half to even: a tie at code - 1/2 goes up if and only if the code is even.
        edge = (code - 0.5) * layer.scale
        codes += (real >= edge) if code % 2 == 0 else (real > edge)
    return codes


def export(folder: Path, layers: list[TrainedLayer], x: np.ndarray, labels: np.ndarray) -> None:
    """Write model.json, model.npz and test_split.npz.

    Parameters
    ----------
    folder
        Where to; made if missing.
    x, labels
        Test images (frames, 8, 8, 1) and their classes (frames,), both uint8.
    """
    described: list[dict[str, Any]] = []
    for layer in layers:
        weights = {"weights": layer.weights, "weight_type": WEIGHT_TYPES[layer.kind]}
        if not layer.bits:
            described += [{"name": "flatten", "type": "flatten"},
                          {"name": layer.name, "type": "dense", **weights}]
            continue
        described += [
            {"name": layer.name, "type": "conv2d", **weights, "pad": 1},
            {"name": f"{layer.name}_norm", "type": "batch_norm", "gamma": layer.gamma,
             "beta": layer.beta, "mean": layer.mean, "variance": layer.variance,
             "epsilon": layer.epsilon},
            {"name": f"{layer.name}_act", "type": "quantize", "output_type": f"UINT{layer.bits}",
             "scale": layer.scale},
            {"name": layer.name.replace("conv", "pool"), "type": "max_pool", "kernel": 2},
        ]
    save_description(folder / "model.json", {
        "format": "hwgen-model", "version": 1, "name": "digits", "description": DESCRIPTION,
        "weights_file": "model.npz",
        "input": {"name": "x", "shape": list(x.shape[1:]), "type": "UINT4"},
        "layers": described, "labels": [str(digit) for digit in range(10)]}, {})
    np.savez_compressed(folder / "test_split.npz", x=x, labels=labels)
