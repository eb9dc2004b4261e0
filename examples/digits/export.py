"""Write the trained digits network as a hwgen model description."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hwgen.model import save_description

__all__ = ["Activation", "TrainedLayer", "export", "integer_scores"]

WEIGHT_TYPES = {"ternary": "TERNARY", "binary": "BIPOLAR"}
DESCRIPTION = ("Handwritten digits of the UCI data set in scikit-learn, 8 x 8 pixels of 0 to 15; "
               "trained by examples/digits/train.py")


@dataclass(frozen=True)
class Activation:
    """Batch normalization and quantization.

    Parameters
    ----------
    gamma, beta, mean, variance, epsilon
        Normalization of each channel, as in PyTorch.
    bits, scale
        Width of the unsigned codes, and the real value of code 1.
    """

    gamma: np.ndarray
    beta: np.ndarray
    mean: np.ndarray
    variance: np.ndarray
    epsilon: float
    bits: int
    scale: float


@dataclass(frozen=True)
class TrainedLayer:
    """A convolution with its activation or, without one, the dense layer at the end.

    Parameters
    ----------
    name, kind
        Name of the layer; ``ternary`` or ``binary``.
    weights
        int8, [kernel height, kernel width, in, out] or [in, out].
    """

    name: str
    kind: str
    weights: np.ndarray
    activation: Activation | None = None


def integer_scores(layers: list[TrainedLayer], x: np.ndarray) -> np.ndarray:
    """Accumulators (frames, 10) of pixels (frames, 8, 8, 1), every tensor in integers.

    Each activation counts the decision levels that its normalized accumulator, in float64, has
    passed. Shares no code with the training network.
    """
    x, scale = x.astype(np.int64), 1.0
    for layer in layers:
        if layer.activation is None:
            return x.reshape(len(x), -1) @ layer.weights.astype(np.int64)
        frames, height, width, channels = x.shape
        padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
        total = np.zeros((frames, height, width, layer.weights.shape[-1]), np.int64)
        for row in range(3):
            for column in range(3):
                total += padded[:, row:row + height, column:column + width] \
                    @ layer.weights[row, column].astype(np.int64)
        x = _codes(layer.activation, total * scale)
        scale = layer.activation.scale
        x = x.reshape(frames, height // 2, 2, width // 2, 2, -1).max(axis=(2, 4))
    raise ValueError("the last layer must have no activation")


def _codes(layer: Activation, real: np.ndarray) -> np.ndarray:
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
        norm = layer.activation
        if norm is None:
            described += [{"name": "flatten", "type": "flatten"},
                          {"name": layer.name, "type": "dense", **weights}]
            continue
        described += [
            {"name": layer.name, "type": "conv2d", **weights, "pad": 1},
            {"name": f"{layer.name}_norm", "type": "batch_norm", "gamma": norm.gamma,
             "beta": norm.beta, "mean": norm.mean, "variance": norm.variance,
             "epsilon": norm.epsilon},
            {"name": f"{layer.name}_act", "type": "quantize", "output_type": f"UINT{norm.bits}",
             "scale": norm.scale},
            {"name": layer.name.replace("conv", "pool"), "type": "max_pool", "kernel": 2},
        ]
    save_description(folder / "model.json", {
        "format": "hwgen-model", "version": 1, "name": "digits", "description": DESCRIPTION,
        "weights_file": "model.npz",
        "input": {"name": "x", "shape": list(x.shape[1:]), "type": "UINT4"},
        "layers": described, "labels": [str(digit) for digit in range(10)]}, {})
    np.savez_compressed(folder / "test_split.npz", x=x, labels=labels)
