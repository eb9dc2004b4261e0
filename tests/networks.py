"""A small network that uses every kind of hardware block, and foldings for it."""

import numpy as np

from hwgen.model import Model

__all__ = ["EVERY_BLOCK_FOLDING", "every_block"]

EVERY_BLOCK_FOLDING = {
    "conv1": {"pe": 2, "simd": 9, "window": "shift", "weights": "logic"},
    "conv2": {"pe": 2, "simd": 4, "window": "reader", "weights": "block"},
    "depthwise": {"window": "shift"},
    "fc": {"pe": 5, "weights": "block"},
}


def every_block() -> Model:
    """Windows, neurons of several kinds of weights, pools, joins, activations, argmax."""
    rng = np.random.default_rng(1)
    return Model.from_parts({
        "format": "hwgen-model", "version": 1, "name": "every_block",
        "input": {"name": "x", "shape": [8, 8, 1], "type": "UINT4"},
        "layers": [
            {"name": "conv1", "type": "conv2d", "weights": rng.integers(-1, 2, (3, 3, 1, 8)),
             "weight_type": "TERNARY", "pad": 1, "pad_value": 0},
            {"name": "act1", "type": "threshold", "output_type": "UINT2",
             "levels": [[-10 + c, c, 10 + c] for c in range(8)]},
            {"name": "pool1", "type": "max_pool", "kernel": 2},
            {"name": "conv2", "type": "conv2d", "weights": rng.choice([-1, 1], (3, 3, 8, 8)),
             "weight_type": "BIPOLAR", "pad": 1, "bias": list(range(8))},
            {"name": "act2", "type": "requantize", "output_type": "UINT2", "multiplier": 3,
             "shift": 4, "rounding": "half_even", "scale": 1},
            {"name": "depthwise", "type": "conv2d", "weights": rng.integers(-4, 4, (3, 3, 1, 8)),
             "weight_type": "INT3", "groups": 8, "pad": 1, "input": "pool1"},
            {"name": "act3", "type": "requantize", "output_type": "UINT2", "multiplier": 5,
             "shift": 5, "scale": 1},
            {"name": "sum", "type": "add", "inputs": ["act2", "act3"]},
            {"name": "side", "type": "requantize", "input": "pool1", "output_type": "INT4",
             "multiplier": 7, "shift": 1, "rounding": "half_down", "scale": 1},
            {"name": "all", "type": "concat", "inputs": ["sum", "side"]},
            {"name": "up", "type": "upsample", "factor": 2},
            {"name": "mean", "type": "average_pool", "kernel": 4},
            {"name": "flat", "type": "flatten"},
            {"name": "fc", "type": "dense", "weights": rng.integers(-8, 8, (64, 10)),
             "weight_type": "INT4"},
            {"name": "top1", "type": "argmax"},
        ]}, {})
