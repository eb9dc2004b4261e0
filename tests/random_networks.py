"""Random small networks, and random foldings of them: reproducible from a seed.

A network is a description as an author writes it, so that model reading and passes take part.
Layers are proposed at random; what the model's rules refuse is proposed anew.
"""

from dataclasses import dataclass
from math import prod
from typing import Any
from unittest.mock import patch

import numpy as np

from hwgen import schedule
from hwgen.errors import ModelError
from hwgen.graph import Graph
from hwgen.hardware import HwGraph
from hwgen.lower import Option, Plan, build_hardware, pace_within, plan_layers
from hwgen.model import Model
from hwgen.ops import ROUNDINGS
from hwgen.passes import run_pipeline, variants
from hwgen.schedule import Timing, size_buffers
from hwgen.types import NumType, parse_type

__all__ = ["Design", "random_design", "random_folding", "random_frames", "random_model"]

MOST_VALUES = 400  # of a tensor
MOST_CYCLES = 700  # per frame of a layer, where it has an option with so few
MOST_LUTS = 2500  # of a layer, where it has an option with so few: the simulator's time

Entry = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Design:
    """A network, how its layers were chosen to be built, and the hardware."""

    graph: Graph
    plans: list[Plan]
    chosen: dict[str, Option]
    hardware: HwGraph
    timing: Timing

    def __str__(self) -> str:
        foldings = [f"{name}: {option.folding}" for name, option in self.chosen.items()]
        return "\n".join([str(self.graph), *foldings])


def random_design(seed: int) -> Design:
    """A random network with a random option for every layer.

    Every other one has FIFOs of exactly the depths that were computed, not rounded up to whole
    memories.
    """
    rng = np.random.default_rng(seed)
    graph = variants(run_pipeline(_Writer(rng).write(f"random{seed}").to_graph()))[-1]
    return random_folding(graph, rng, exact_depths=not seed % 2)


def random_folding(graph: Graph, rng: np.random.Generator, exact_depths: bool) -> Design:
    """A graph after the passes with a random option for every layer.

    ``exact_depths`` are FIFOs' depths as they were computed, not rounded up to whole memories.
    """
    plans = plan_layers(graph)
    chosen = {plan.name: _option(rng, plan) for plan in plans}
    cycles = max(option.cycles for option in chosen.values())
    # Every third is made for a lower rate than it could have.
    interval = int(cycles * rng.uniform(1, 2)) if rng.integers(3) == 0 else cycles
    hardware = build_hardware(graph, plans, chosen, pace_within(interval, graph, plans, chosen))
    if not exact_depths:
        return Design(graph, plans, chosen, *size_buffers(hardware))
    with patch.object(schedule, "round_depth", lambda depth, width, frame: depth):
        return Design(graph, plans, chosen, *size_buffers(hardware))


def random_model(seed: int) -> Model:
    """The model that :func:`random_design` builds."""
    return _Writer(np.random.default_rng(seed)).write(f"random{seed}")


def random_frames(graph: Graph, frames: int, seed: int) -> np.ndarray:
    """Random inputs of a graph, extremes of the type among them."""
    kind, rng = graph.input_tensor.dtype, np.random.default_rng(seed)
    shape = (frames, *graph.input_tensor.shape)
    if kind.bipolar:
        return rng.choice([-1, 1], shape)
    values = rng.integers(kind.low, kind.high + 1, shape)
    values[0], values[-1].flat[0] = kind.high, kind.low
    return values


def _option(rng: np.random.Generator, plan: Plan) -> Option:
    options = plan.options("xc7")
    fast = [o for o in options if o.cycles <= MOST_CYCLES] or [min(options, key=lambda o: o.cycles)]
    small = [o for o in fast if o.cost.lut <= MOST_LUTS] or [min(fast, key=lambda o: o.cost.lut)]
    return small[rng.integers(len(small))]


class _Writer:
    """Writes a description stage by stage; ``head`` is the tensor that the next stage reads."""

    def __init__(self, rng: np.random.Generator):
        self.rng = rng
        self.layers: list[Entry] = []
        self.input: Entry = {"name": "x", "shape": self.input_shape(),
                             "type": self.type("UINT", "INT", "BIPOLAR", "TERNARY")}
        self.head = "x"
        self.count = 0
        self.ended = False

    def write(self, name: str) -> Model:
        """A model of two to six stages, the last one its output."""
        wanted = 2 + self.rng.integers(5)
        self.shape: tuple[int, int, int] = self._padded_shape()
        self.dtype = parse_type(self.input["type"])
        model = None
        stages = 0
        while stages < wanted and not self.ended or model is None:
            before = list(self.layers), self.head, self.count, self.ended
            self.stage()
            try:
                candidate = self.model(name)
                graph = candidate.to_graph()
                run_pipeline(graph)
            except ModelError:
                candidate = None
            if candidate is None or prod(graph.tensor(self.head).shape) > MOST_VALUES \
                    or graph.tensor(self.head).dtype.width > 24:
                self.layers, self.head, self.count, self.ended = before
                continue
            tensor = graph.tensor(self.head)
            self.shape, self.dtype, model = tensor.shape, tensor.dtype, candidate
            stages += 1
        return model

    def model(self, name: str) -> Model:
        return Model.from_parts({
            "format": "hwgen-model", "version": 1, "name": name, "input": self.input,
            "layers": self.layers}, {}, f"{name}.json")

    # Choices.

    def pick(self, *values):
        return values[self.rng.integers(len(values))]

    def upto(self, most: int, least: int = 1) -> int:
        return int(self.rng.integers(least, most + 1))

    def chance(self, probability: float) -> bool:
        return bool(self.rng.random() < probability)

    def type(self, *kinds: str) -> str:
        kind = self.pick(*kinds)
        return f"{kind}{self.upto(8, 1 if kind == 'UINT' else 2)}" if kind.endswith("INT") else kind

    def input_shape(self) -> list[int]:
        kind = self.rng.random()
        if kind < 0.1:
            return [self.upto(30)]
        if kind < 0.3:
            return [self.upto(20), self.upto(6)]
        return [self.upto(9), self.upto(9), self.upto(6)]

    def _padded_shape(self) -> tuple[int, int, int]:
        shape = self.input["shape"]
        return (*(1,) * (3 - len(shape)), *shape)

    # Layers.

    def add(self, entry: Entry, source: str | None = None) -> str:
        """Append a layer that reads ``source`` (default: the head) and make it the head."""
        self.count += 1
        name = f"l{self.count}_{entry['type']}"
        if "inputs" not in entry:
            entry = {"input": source or self.head} | entry
        self.layers.append({"name": name} | entry)
        self.head = name
        return name

    def weights(self, shape: tuple[int, ...], kind: NumType) -> list:
        values = np.arange(kind.low, kind.high + 1)
        values = values[kind.contains(values)]
        return self.rng.choice(values, shape).tolist()

    def weighted(self, entry: Entry, shape: tuple[int, ...]) -> Entry:
        kind = self.type("BIPOLAR", "TERNARY", "INT", "UINT")
        entry |= {"weights": self.weights(shape, parse_type(kind)), "weight_type": kind}
        if self.chance(0.5):
            entry["bias"] = self.rng.integers(-9, 10, shape[-1]).tolist()
        return entry

    def convolution(self, channels: int, line: bool) -> Entry:
        groups = self.pick(1, 1, channels, *(g for g in range(1, channels + 1)
                                             if channels % g == 0))
        outputs = groups * self.upto(max(1, 8 // groups))
        axes = 1 if line else 2
        kernel = tuple(self.pick(1, 1, 2, 3, 3, 4) for _ in range(axes))
        dilation = [self.pick(1, 1, 1, 2) for _ in range(axes)]
        pad = [self.upto((k - 1) * d, 0) for k, d in zip(kernel, dilation) for _ in range(2)] \
            if self.chance(0.6) else [0] * 2 * axes
        entry = self.weighted({"type": "conv1d" if line else "conv2d"},
                              (*kernel, channels // groups, outputs))
        stride = [self.pick(1, 1, 1, 2, 3) for _ in range(axes)]
        return entry | {"stride": stride[0] if line else stride, "pad": pad, "groups": groups,
                        "dilation": dilation[0] if line else dilation,
                        "pad_value": 0 if self.chance(0.4)
                        else self.upto(self.dtype.high, self.dtype.low)}

    def spread(self) -> float:
        """Scale that brings about three bits to an activation."""
        return float(2.0 ** (self.dtype.width - self.upto(6, 2)) * self.rng.uniform(0.5, 1.5))

    def activation(self) -> None:
        """One or two layers that end in few bits."""
        channels = self.shape[2]
        kind = self.pick("requantize", "requantize", "quantize", "norm", "threshold", "relu")
        if kind == "requantize":
            many = self.pick(1, channels)
            self.add({"type": "requantize", "rounding": self.pick(*ROUNDINGS),
                      "output_type": self.type("INT", "UINT", "TERNARY"),
                      "multiplier": self.rng.integers(1, 40, many).tolist(),
                      "shift": int(self.upto(self.dtype.width + 2, 0)),
                      "zero_point": self.upto(3, -3), "scale": 1})
            return
        if kind == "threshold":
            output = self.pick("BIPOLAR", "TERNARY", "UINT1", "UINT2", "UINT3", "INT3")
            number = {"BIPOLAR": 1, "TERNARY": 2, "UINT1": 1, "UINT2": 3, "UINT3": self.upto(7),
                      "INT3": self.upto(7)}[output]
            rows = self.pick(1, channels)
            span = 2.0 ** (self.dtype.width - 1)
            levels = np.sort(self.rng.uniform(-span, span, (rows, number)).round(1), axis=1)
            self.add({"type": "threshold", "output_type": output, "scale": 1,
                      "levels": levels.tolist() if rows > 1 else levels[0].tolist()}
                     | ({"base": -4} if output == "INT3" else {}))
            return
        if kind == "norm":
            self.add({"type": "batch_norm",
                      "gamma": self.rng.choice([-1.5, 0, 0.5, 1, 2], channels).tolist(),
                      "beta": self.rng.uniform(-2, 2, channels).round(2).tolist(),
                      "mean": self.rng.uniform(-5, 5, channels).round(2).tolist(),
                      "variance": self.rng.uniform(0.5, 30, channels).round(2).tolist()})
        if kind == "relu" or kind == "norm" and self.chance(0.3):
            self.add({"type": "relu"} | ({"max": 6} if self.chance(0.5) else {}))
            if kind == "relu" and self.chance(0.3):
                return
        self.add({"type": "quantize", "output_type": self.type("INT", "UINT", "BIPOLAR"),
                  "scale": self.spread(), "rounding": self.pick(*ROUNDINGS)})

    def codes(self, source: str, kind: str | None = None) -> str:
        """``source`` requantized to few bits of scale 1, to be joined with others."""
        return self.add({"type": "requantize", "output_type": kind or self.type("INT", "UINT"),
                         "multiplier": self.upto(9), "shift": self.upto(4, 0), "scale": 1}, source)

    def window(self) -> Entry:
        """Kernel, stride and pad of a pooling."""
        kernel = [1 if n == 1 else self.upto(min(n, 4)) for n in self.shape[:2]]
        entry: Entry = {"kernel": kernel}
        if self.chance(0.7):
            entry["stride"] = [self.upto(3) for _ in range(2)]
        if self.chance(0.5):
            entry["pad"] = [self.upto(k - 1, 0) for k in kernel for _ in range(2)]
        return entry

    def branch(self, source: str) -> tuple[str, int | None]:
        """A path from ``source`` that keeps height and width; its end, and its channels if new."""
        kind = self.rng.random()
        channels, height, width = self.shape[2], *self.shape[:2]
        if kind < 0.2:
            return source, None
        if kind < 0.4:
            return self.codes(source), None
        if kind < 0.55:
            k = (1 if height == 1 else self.pick(1, 3), 1 if width == 1 else 3)
            pad = [n // 2 for n in k]
            return self.add({"type": "max_pool", "kernel": list(k), "stride": 1,
                             "pad": [pad[0], pad[0], pad[1], pad[1]]}, source), None
        outputs = self.upto(4)
        k = tuple(1 if n == 1 else self.pick(1, 3, 5) for n in (height, width))
        pad = [n // 2 for n in k]
        self.add(self.weighted({"type": "conv2d", "pad": [pad[0], pad[0], pad[1], pad[1]],
                                "pad_value": self.pick(0, self.dtype.low)},
                               (*k, channels, outputs)), source)
        return self.codes(self.head), outputs

    def join(self) -> None:
        """Branches that meet again."""
        source, channels = self.head, self.shape[2]
        ends = [self.branch(source) for _ in range(self.pick(2, 2, 3))]
        if self.chance(0.5):
            self.add({"type": "concat", "inputs": [name for name, _ in ends]})
            return
        inputs = []
        for name, outputs in ends:
            if outputs not in (None, channels):
                self.add(self.weighted({"type": "conv2d"}, (1, 1, outputs, channels)), name)
                name = self.codes(self.head)
            inputs.append(name if outputs is None and name != source else self.codes(name))
        self.add({"type": "add", "inputs": inputs})

    def stage(self) -> None:
        """A step from the head to the next."""
        height, width, channels = self.shape
        narrow = self.dtype.width <= 8
        kind = self.rng.random()
        if not narrow or kind < 0.15:
            self.activation()
        elif kind < 0.5:
            if (height, width) == (1, 1) and self.chance(0.7):
                self.add(self.weighted({"type": "dense"}, (channels, self.upto(10))))
            else:
                self.add(self.convolution(channels, height == 1 and self.chance(0.5)))
        elif kind < 0.6:
            self.add({"type": self.pick("max_pool", "average_pool")} | self.window())
        elif kind < 0.64:
            self.add({"type": self.pick("global_max_pool", "global_average_pool")})
        elif kind < 0.85:
            self.join()
        elif kind < 0.9:
            self.add({"type": "upsample", "factor": [self.upto(3), self.upto(3)]})
        elif kind < 0.97:
            self.add({"type": "flatten"})
            self.add(self.weighted({"type": "dense"}, (prod(self.shape), self.upto(8))))
        elif channels > 1:
            self.add({"type": "argmax"})
            self.ended = True
