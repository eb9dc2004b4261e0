"""Generate the wafer-map classifier in both inception wirings, with random weights.

The topology is that of A. Pinzari, A. Prost-Boucle, C. Rabache, F. Petrot, "Inside the AI
Accelerators: From High Performance to Energy Efficiency". The weights come from a fixed seed; the
biases and the shifts of the activations are set on synthetic wafer maps, layer by layer, such that
about two in five activations of each channel are nonzero and few reach the largest code. So numbers
flow as in a trained network, though the classes mean nothing.

Writes a.json, a.npz, b.json, b.npz and frames.npz, and prints the statistics of each layer.

Usage: ``python examples/wafer/generate.py [--output FOLDER]``
"""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from maps import SIZE, wafer_maps

from hwgen.model import Model, save_description

__all__ = ["VARIANTS", "WaferNetwork"]

FOLDER = Path(__file__).resolve().parent
VARIANTS = {"a": "four branches from pool1, the first a 1x1 convolution",
            "b": "a 1x1 convolution before the fork, the first branch an identity"}
CLASSES = 58
WEIGHT_SEED, CALIBRATION_SEED, FRAME_SEED = 1, 2, 3
CALIBRATION_MAPS, FRAMES = 7, 4
LARGEST_WEIGHT = LARGEST_BIAS = 7  # 4 bits, symmetric
LARGEST_CODE = 15  # of an activation
LIVE_SHARE = 0.4  # of the activations of a channel that are to be nonzero
LOUD_SHARE = 0.04  # of the activations of a layer that may pass the largest code
ACTIVATION = "UINT4"


class WaferNetwork:
    """The network while it is built: its layers so far, and their values for calibration maps.

    Parameters
    ----------
    variant
        A key of ``VARIANTS``.
    maps
        Calibration inputs, uint8 (maps, 224, 224, 1).
    """

    def __init__(self, variant: str, maps: np.ndarray):
        self.layers: list[dict[str, Any]] = []
        self.values = {"x": maps.astype(np.int64)}
        # The stream of RandomState is the same in every version of NumPy.
        self._random = np.random.RandomState(WEIGHT_SEED)
        x = self._activated("conv1", "x", (7, 7, 1, 32), "INT4", stride=2)
        x = self._add("pool1", "max_pool", x, kernel=3, stride=2)
        x = self._inception(x, serial=variant == "b")
        x = self._add("pool2", "max_pool", x, kernel=2)
        x = self._activated("conv2", x, (1, 1, 128, 12), "BIPOLAR")
        x = self._activated("conv3", x, (3, 3, 12, 116), "BIPOLAR", stride=2, pad="same")
        x = self._activated("conv4", x, (3, 3, 116, 116), "BIPOLAR", stride=2, pad="same")
        x = self._add("flatten", "flatten", x)
        self._dense("fc", x, 5684, CLASSES)
        self.description = {
            "format": "hwgen-model", "version": 1, "name": f"wafer_{variant}",
            "description": f"Wafer-map classifier, {VARIANTS[variant]}; random weights, made by "
                           "examples/wafer/generate.py",
            "weights_file": f"{variant}.npz",
            "input": {"name": "x", "shape": [SIZE, SIZE, 1], "type": "UINT8"},
            "layers": self.layers}

    def _inception(self, x: str, serial: bool) -> str:
        first = self._activated("b1", x, (1, 1, 32, 32), "BIPOLAR")
        x = first if serial else x
        second = self._activated("b2_reduce", x, (1, 1, 32, 8), "BIPOLAR")
        second = self._activated("b2", second, (3, 3, 8, 32), "BIPOLAR", pad=1)
        third = self._activated("b3_reduce", x, (1, 1, 32, 8), "BIPOLAR")
        third = self._activated("b3", third, (5, 5, 8, 32), "BIPOLAR", pad=2)
        fourth = self._add("b4_pool", "max_pool", x, kernel=3, stride=1, pad=1)
        fourth = self._activated("b4", fourth, (1, 1, 32, 32), "BIPOLAR")
        branches = [first, second, third, fourth]
        self.layers.append({"name": "concat", "type": "concat", "inputs": branches})
        self.values["concat"] = np.concatenate([self.values[b] for b in branches], axis=-1)
        return "concat"

    def _activated(self, name: str, source: str, shape: tuple[int, ...], weight_type: str,
                   **fields: Any) -> str:
        """A convolution and its activation, whose name is returned."""
        sums = self._sums(name, "conv2d", source, shape, weight_type, fields)
        shift = _activation_shift(sums)
        layer = self.layers[-1]
        layer["bias"] = _live_bias(sums, 1 << shift)
        layer["weight_scale"] = 2.0 ** -shift  # so that code 1 of every activation is a real 1
        activation = f"{name}_act"
        self.layers.append({"name": activation, "type": "requantize", "input": name,
                            "multiplier": 1, "shift": shift, "rounding": "floor",
                            "output_type": ACTIVATION})
        self.values[activation] = ((sums + layer["bias"]) >> shift).clip(0, LARGEST_CODE)
        return activation

    def _dense(self, name: str, source: str, inputs: int, outputs: int) -> None:
        """The last layer: scores without activation, of about unit variance over the maps."""
        sums = self._sums(name, "dense", source, (inputs, outputs), "INT4", {})
        layer = self.layers[-1]
        layer["bias"] = _scaled_bias(-sums.reshape(-1, outputs).mean(axis=0))
        layer["weight_scale"] = 2.0 ** -round(np.log2(sums.std(axis=0).mean()))

    def _sums(self, name: str, kind: str, source: str, shape: tuple[int, ...], weight_type: str,
              fields: Mapping[str, Any]) -> np.ndarray:
        """Sums (maps, H, W, C) of a convolution or dense layer with random weights and no bias."""
        if weight_type == "BIPOLAR":
            weights = 2 * self._random.randint(0, 2, shape) - 1
        else:
            weights = self._random.randint(-LARGEST_WEIGHT, LARGEST_WEIGHT + 1, shape)
        self._add(name, kind, source, weights=weights.astype(np.int8), weight_type=weight_type,
                  **fields)
        return self.values.pop(name)

    def _add(self, name: str, kind: str, source: str, **fields: Any) -> str:
        """Append a layer and evaluate it as a network of its own."""
        layer = {"name": name, "type": kind, "input": source, **fields}
        x = self.values[source]
        alone = Model.from_parts({
            "format": "hwgen-model", "version": 1, "name": "layer",
            "input": {"name": source, "shape": list(x.shape[1:]),
                      "type": "UINT8" if source == "x" else ACTIVATION},
            "layers": [layer]}, {})
        self.layers.append(layer)
        self.values[name] = alone.to_graph().run(x)
        return name

    def table(self) -> str:
        """Statistics of each activation and pooling layer over the calibration maps."""
        heads = ("shift", "nonzero", "at 15", "constant channels")
        rows = [f"{'layer':14}{'H x W x C':>15}" + "".join(f"{head:>{len(head) + 2}}"
                                                           for head in heads)]
        for layer in self.layers:
            if layer["type"] not in ("requantize", "max_pool"):
                continue
            value = self.values[layer["name"]]
            size = " x ".join(map(str, value.shape[1:]))
            constant = int((value.min(axis=(0, 1, 2)) == value.max(axis=(0, 1, 2))).sum())
            rows.append(f"{layer['name']:14}{size:>15}{layer.get('shift', ''):>7}"
                        f"{(value > 0).mean():>9.1%}{(value == LARGEST_CODE).mean():>7.1%}"
                        f"{constant:>19}")
        return "\n".join(rows)


def _activation_shift(sums: np.ndarray) -> int:
    """Smallest shift that brings all but the loud share of the centered sums within the codes."""
    centered = sums - np.median(sums, axis=(0, 1, 2))
    loud = np.quantile(centered, 1 - LOUD_SHARE)
    return max(0, int(np.ceil(np.log2(loud / LARGEST_CODE))))


def _live_bias(sums: np.ndarray, step: int) -> np.ndarray:
    """Bias that lets the live share of each channel reach ``step``, the first nonzero code."""
    ordered = np.sort(sums.reshape(-1, sums.shape[-1]), axis=0)
    return _scaled_bias(step - ordered[round((1 - LIVE_SHARE) * (len(ordered) - 1))])


def _scaled_bias(wanted: np.ndarray) -> np.ndarray:
    """The nearest biases of 4 bits times one power of two, in units of the accumulator."""
    unit = 1
    while LARGEST_BIAS * unit < np.abs(wanted).max():
        unit *= 2
    return (np.round(wanted / unit).astype(np.int64) * unit).clip(
        -LARGEST_BIAS * unit, LARGEST_BIAS * unit)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0],
                                     formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--output", type=Path, default=FOLDER, help="folder of the files")
    folder = parser.parse_args(arguments).output
    maps = wafer_maps(CALIBRATION_MAPS, CALIBRATION_SEED)
    for variant, meaning in VARIANTS.items():
        network = WaferNetwork(variant, maps)
        save_description(folder / f"{variant}.json", network.description, {})
        print(f"{variant}: {meaning}\n{network.table()}\n")
    np.savez_compressed(folder / "frames.npz", x=wafer_maps(FRAMES, FRAME_SEED))


if __name__ == "__main__":
    main()
