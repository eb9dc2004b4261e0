"""Ways to build a convolution: windows, parallelism, where its weights are and what multiplies."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from itertools import pairwise
from math import gcd

import numpy as np

from .arith.dsp import plan_slices
from .arith.phased_product import MOST_PHASES
from .arith.trits import packed_width
from .blocks.block import Block
from .blocks.constant_layer import ConstantLayerConfig
from .blocks.crop import CropConfig
from .blocks.neuron_layer import NeuronLayerConfig
from .blocks.parity_memory import plan_parity
from .blocks.primitives import rom_bram36
from .blocks.spread import SpreadConfig
from .blocks.weight_sums import WeightSums
from .blocks.width_adapter import adapters_between
from .blocks.window import WindowGeometry, window_type
from .blocks.window_reader import WindowReaderConfig
from .blocks.window_shift import WindowShiftConfig
from .graph import Tensor
from .ops import Conv, Op
from .passes.absorb_selects import pick_outputs
from .streams import TensorStream
from .types import TERNARY, NumType

__all__ = ["Candidate", "Convolution", "Folding", "between_divisors", "divisors", "window_order"]

Folding = dict[str, int | str]
"""A layer's choices as reports and fold files state them."""

Candidate = tuple[Folding, tuple[tuple[str, Block], ...]]
"""A way to build a layer: its folding, and blocks in a row with what is added to their names."""

LOGIC_ROM_BITS = 1 << 18
"""Weights of more bits are not offered as LUTs: they would fill a small chip."""

DSP_BITS = 8
"""Bits of a product from which DSP slices are offered for it; LUTs make smaller ones cheaply."""

WHOLE_WINDOWS = ("shift", "columns")
"""Kinds of windows that come with all elements in a beat."""

SINGLE_DSP_LANES = 8
"""Lanes up to which any number of them may have DSP slices; of more, quarters."""

CONSTANT_WEIGHTS = 1 << 14
"""Most weights other than 0 of a layer that has them in its wiring."""


def divisors(n: int) -> list[int]:
    return [d for d in range(1, n + 1) if n % d == 0]


def between_divisors(n: int) -> list[int]:
    """Numbers that fill the gaps between divisors that are more than twice their predecessors: each
    takes at most three quarters of the turns of the one before, and an eighth of the last turn's
    places at most stay empty."""
    found = []
    for low, high in pairwise(divisors(n)):
        if high <= 2 * low:
            continue
        turns = n // low
        for pe in range(low + 1, high):
            needed = -(-n // pe)
            if needed <= 0.75 * turns and 8 * (needed * pe - n) <= n and needed > n // high:
                found.append(pe)
                turns = needed
    return found


@dataclass(frozen=True, eq=False)
class Convolution:
    """A convolution and what follows it.

    Parameters
    ----------
    op
        The operation.
    tensor
        What it reads.
    accumulator
        Exact type of its sums.
    activations
        (operation, output type) pairs behind it.
    """

    op: Conv
    tensor: Tensor
    accumulator: NumType
    activations: tuple[tuple[Op, NumType], ...]
    # Weights by window and lanes: options share them, in a large layer each takes megabytes.
    _matrices: dict[tuple[str, int], np.ndarray] = field(default_factory=dict, init=False)
    _wirings: dict[tuple[str, int], np.ndarray] = field(default_factory=dict, init=False)

    def choices(self) -> Iterator[Candidate]:
        """Every way to build it."""
        neurons = self.op.weights.shape[3] // self.op.groups
        yield from self._choices(divisors(neurons))
        yield from self._padded_choices()

    def _padded_choices(self) -> Iterator[Candidate]:
        """Where the divisors of the neurons lie far apart: some neurons more, dropped behind."""
        neurons = self.op.weights.shape[3]
        for pe in between_divisors(neurons) if self.op.groups == 1 else []:
            picked = np.arange(-(-neurons // pe) * pe) % neurons
            wide = pick_outputs(self.op, picked)
            assert isinstance(wide, Conv)
            padded = replace(self, op=wide, activations=tuple(
                (pick_outputs(activation, picked), kind) for activation, kind in self.activations))
            for folding, (*windows, (_, layer)) in padded._choices([pe]):
                adapters = adapters_between(layer.output,
                                            layer.output.with_lanes(gcd(pe, neurons)))
                stream = adapters[-1].output if adapters else layer.output
                height, width, _ = stream.shape
                crop = CropConfig(stream, (0, height, 1), (0, width, 1), (0, neurons))
                yield folding, (*windows, ("neurons", layer),
                                *(("lanes", adapter) for adapter in adapters), ("", crop))

    def _choices(self, pes: list[int]) -> Iterator[Candidate]:
        # Windows never lie in padding alone: what is more is put around the image before.
        excess = _excess_pad(self.op)
        if any(excess):
            yield from self._behind_pad(excess, pes)
            return
        op, per_group = self.op, self.op.weights.shape[2]
        for kind in self._window_kinds:
            for gp in divisors(op.groups):
                for simd in divisors(per_group) if gp == 1 else [per_group]:
                    windows = _windows(kind, op, self.tensor, gp, simd)
                    if not windows and kind != "pointwise":
                        continue
                    stream = windows[-1][1].output if windows else TensorStream(
                        self.tensor.dtype, self.tensor.shape, gp * simd)
                    for pe in pes if gp == 1 else [self._neurons]:
                        for folding, layer in self._layers(kind, stream, gp, pe):
                            yield folding, (*windows, ("", layer))

    def _behind_pad(self, excess: tuple[int, int, int, int], pes: list[int]) -> Iterator[Candidate]:
        op, tensor = self.op, self.tensor
        out_type = window_type(tensor.dtype, op)
        spread = partial(SpreadConfig, factor=(1, 1), pad=excess, value=op.pad_value,
                         out_type=out_type)
        wide = spread(TensorStream(tensor.dtype, tensor.shape, 1)).output
        top, bottom, left, right = (p - e for p, e in zip(op.pad, excess))
        inner = replace(self, op=replace(op, pad=(top, bottom, left, right)),
                        tensor=Tensor(wide.shape, out_type))
        for folding, behind in inner._choices(pes):
            lanes = behind[0][1].inputs[0].lanes
            pad = spread(TensorStream(tensor.dtype, tensor.shape, lanes))
            yield folding, (("pad", pad), *behind)

    @property
    def _window_kinds(self) -> list[str]:
        op = self.op
        if op.pointwise:
            return ["pointwise"]
        kinds = ["reader", "shift"]
        if op.stride[0] > 1 and 1 not in op.kernel:
            kinds.append("columns")
        if op.groups == 1 and 1 not in op.kernel:
            kinds.append("strips")
        return kinds

    @property
    def _neurons(self) -> int:
        """Of a group."""
        return self.op.weights.shape[3] // self.op.groups

    @cached_property
    def _nonzero(self) -> int:
        return int(np.count_nonzero(self.op.weights))

    def _ordered(self, kind: str, lanes: int, gp: int) -> np.ndarray:
        """Weights in the order of a kind of window."""
        # Of whole windows and strips the order of elements depends on the lanes of a group.
        key = kind, lanes // gp if kind in (*WHOLE_WINDOWS, "strips") else 0
        if key not in self._matrices:
            self._matrices[key] = window_order(self.op, *key)
        return self._matrices[key]

    @cached_property
    def _sums(self) -> WeightSums:
        kind = self._window_kinds[0]
        return WeightSums(self._ordered(kind, 0, 1))

    def _wiring(self, kind: str, lanes: int) -> np.ndarray:
        """Weights of all groups side by side."""
        if (kind, lanes) not in self._wirings:
            self._wirings[kind, lanes] = _side_by_side(
                self._ordered(kind, lanes, self.op.groups))
        return self._wirings[kind, lanes]

    def _layers(self, kind: str, stream: TensorStream, gp: int, pe: int
                ) -> Iterator[tuple[Folding, Block]]:
        """What can be behind a window: its weights and multipliers."""
        op, simd = self.op, stream.lanes // gp
        base: Folding = {"pe": pe, "simd": simd}
        if op.groups > 1:
            base["groups"] = gp
        if kind != "pointwise":
            base["window"] = kind
        hold = self._neurons // pe
        constant = stream.lanes == stream.channels and self._nonzero <= CONSTANT_WEIGHTS \
            and hold <= max(1, self.tensor.dtype.width)
        if constant:
            # One vector a beat: its weights can be wiring.
            yield base | {"weights": "constant"}, ConstantLayerConfig(
                stream, self._wiring(kind, stream.lanes), op.bias, self.accumulator,
                self.activations, hold)
            if hold == 1:
                return
        layer = partial(NeuronLayerConfig, stream, self._ordered(kind, stream.lanes, gp),
                        op.weight_type, op.bias, self.accumulator, self.activations, pe=pe,
                        group_parallel=gp, sums=self._sums)
        styles = self._weight_styles(gp * pe * simd)
        for style in styles:
            yield base | {"weights": style}, layer(style=style)
        # Slices that can multiply these are offered beside LUTs.
        if self.tensor.dtype.width * op.weight_type.width < DSP_BITS or not plan_slices(
                simd, pe, self.tensor.dtype.width, op.weight_type, self._sums.extremes):
            return
        for style in styles:
            if style == "phases":
                continue
            for lanes in _dsp_lanes(simd, gp == 1 and self._nonzero <= CONSTANT_WEIGHTS):
                some: Folding = {"dsp_lanes": lanes} if lanes < simd else {}
                yield base | {"weights": style, "multiply": "dsp"} | some, \
                    layer(style=style, multiplier="dsp", dsp_lanes=lanes)

    def _weight_styles(self, word: int) -> list[str]:
        """Where words of so many weights can be."""
        op = self.op
        width = word * op.weight_type.width
        depth = op.weights.size // word
        styles = []
        if depth == 1 or width * depth <= LOGIC_ROM_BITS:
            styles.append("logic")
        if 1 < depth <= MOST_PHASES and self._nonzero <= CONSTANT_WEIGHTS:
            styles.append("phases")
        if depth >= 16:
            styles.append("block")
            if op.weight_type == TERNARY and rom_bram36(
                    packed_width(word), depth) < rom_bram36(width, depth):
                styles.append("packed")
            parity = plan_parity(width, depth)
            if parity and parity.bram36 < rom_bram36(width, depth):
                styles.append("parity")
        return styles


def _dsp_lanes(simd: int, some: bool) -> list[int]:
    """How many lanes may have their products made in DSP slices: all or, with ``some``, fewer."""
    if not some:
        return [simd]
    if simd <= SINGLE_DSP_LANES:
        return list(range(1, simd + 1))
    return [simd * quarter // 4 for quarter in range(1, 5)]


def _side_by_side(matrix: np.ndarray) -> np.ndarray:
    """(groups, inputs, neurons) weights as (all inputs, all neurons), the rest zeros."""
    groups, inputs, neurons = matrix.shape
    whole = np.zeros((groups, inputs, groups, neurons), dtype=matrix.dtype)
    whole[np.arange(groups), :, np.arange(groups)] = matrix
    return whole.reshape(groups * inputs, groups * neurons)


def _excess_pad(op: Conv) -> tuple[int, int, int, int]:
    """Padding of each side beyond the kernel's extent less one."""
    extent = WindowGeometry.of(op).extent
    top, bottom, left, right = (max(p - extent[n // 2] + 1, 0) for n, p in enumerate(op.pad))
    return top, bottom, left, right


def _windows(kind: str, op: Conv, tensor: Tensor, gp: int, lanes: int
             ) -> tuple[tuple[str, Block], ...]:
    """The window blocks of a convolution; none if that kind can't do it so."""
    if kind == "pointwise":
        return ()
    stream = TensorStream(tensor.dtype, tensor.shape, gp * lanes)
    geometry, out_type = WindowGeometry.of(op), window_type(tensor.dtype, op)
    if kind in WHOLE_WINDOWS and op.groups > gp and lanes != op.weights.shape[2]:
        return ()
    if kind == "shift":
        return ("window", WindowShiftConfig(stream, geometry, out_type, gp)),
    if kind == "columns":
        # Rows first, then columns, with a FIFO between: that holds what the rows in which windows
        # end bring too fast.
        down, across = geometry.split()
        rows = WindowShiftConfig(stream, down, out_type, gp)
        return ("rows", rows), ("window", WindowShiftConfig(rows.output, across, out_type, gp))
    if kind == "strips":
        # Strips as high as a window in registers, which are read strip by strip.
        down, across = geometry.split()
        rows = WindowShiftConfig(stream, down, out_type)
        return ("rows", rows), ("window", _reader(rows.output, across, out_type, gp))
    return ("window", _reader(stream, geometry, out_type, gp)),


def _reader(stream: TensorStream, geometry: WindowGeometry, out_type: NumType,
            gp: int) -> WindowReaderConfig:
    reader = WindowReaderConfig(stream, geometry, out_type, 0, gp)
    # What lets the input run ahead is settled later; as many rows as windows move on is usual.
    return replace(reader, rows=reader.least_rows + geometry.stride[0])


def window_order(op: Conv, kind: str, lanes: int) -> np.ndarray:
    """Weights as (groups, inputs, neurons), inputs in the order in which windows bring them.

    ``lanes`` of each group at work matter to whole windows and strips only.
    """
    height, width, per_group, outputs = op.weights.shape
    split = op.weights.reshape(height, width, per_group, op.groups, outputs // op.groups)
    if kind in WHOLE_WINDOWS:
        area = height * width
        chunk = lanes // area
        order = split.reshape(height, width, per_group // chunk, chunk, op.groups, -1)
        order = order.transpose((4, 2, 0, 1, 3, 5) if kind == "shift" else (4, 2, 1, 0, 3, 5))
    elif kind == "strips":
        chunk = lanes // height
        order = split.reshape(height, width, per_group // chunk, chunk, op.groups, -1)
        order = order.transpose(4, 1, 2, 0, 3, 5)
    else:
        order = split.transpose(3, 0, 1, 2, 4)
    return order.reshape(op.groups, height * width * per_group, -1).astype(np.int32)
