"""A small description that tests copy and break."""

import copy
import json

import numpy as np

from hwgen.model import Model

BASE = {
    "format": "hwgen-model", "version": 1, "name": "net",
    "input": {"name": "x", "shape": [8, 8, 2], "type": "UINT4"},
    "layers": [
        {"name": "conv1", "type": "conv2d", "weights": {"npz": "w1"}, "weight_type": "INT4",
         "bias": [1, 2, 3, 4], "pad": 1},
        {"name": "norm1", "type": "batch_norm", "gamma": [1, 2, 3, 4], "beta": [0, 0, 0, 0],
         "mean": [0, 0, 0, 0], "variance": [1, 1, 1, 1]},
        {"name": "act1", "type": "quantize", "output_type": "UINT2", "scale": 0.5},
        {"name": "pool1", "type": "max_pool", "kernel": 2},
        {"name": "flat", "type": "flatten"},
        {"name": "fc", "type": "dense", "weights": {"npz": "w2"}, "weight_type": "BIPOLAR"},
    ],
}
ARRAYS = {"w1": np.arange(3 * 3 * 2 * 4).reshape(3, 3, 2, 4) % 16 - 8,
          "w2": np.arange(64 * 3).reshape(64, 3) % 2 * 2 - 1}


def base():
    return copy.deepcopy(BASE)


def layer(description, name):
    return next(entry for entry in description["layers"] if entry["name"] == name)


def network(*layers, shape=(4, 4, 2), dtype="UINT4", **given):
    """A model of these layers, named l0, l1, ... unless they have a name."""
    return Model.from_parts(
        {"format": "hwgen-model", "version": 1, "name": "net",
         "input": {"name": "x", "shape": list(shape), "type": dtype} | given,
         "layers": [{"name": f"l{n}"} | entry for n, entry in enumerate(layers)]}, {}, "net.json")


def last_tensor(*layers, **given):
    graph = network(*layers, **given).to_graph()
    return graph.tensor(graph.output)


def write(folder, description, arrays=ARRAYS):
    """Write net.json, and net.npz unless ``arrays`` is None; the path of net.json."""
    path = folder / "net.json"
    path.write_text(json.dumps(description), encoding="utf-8")
    if arrays is not None:
        np.savez(folder / "net.npz", **arrays)
    return path
