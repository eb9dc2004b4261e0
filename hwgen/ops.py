"""Operations of the integer graph: what each computes on integers, its output shape and type.

Every tensor is (frames, height, width, channels), int64; 1-D data has height 1, vectors 1 x 1.
Operations are immutable; arrays in them are read-only. Operations on real values are in
:mod:`hwgen.real_ops`.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import reduce
from math import ceil, floor, prod

import numpy as np

from .matmul import exact_matmul
from .types import TERNARY, NumType, smallest_type

__all__ = ["REQUANTIZE_ROUNDINGS", "ROUNDINGS", "Add", "ArgMax", "Bias", "Clip", "Concat", "Conv",
           "Crop", "DepthToSpace", "MaxPool", "Op", "Requantize", "Reshape", "Rounding",
           "Select", "Shape", "SumPool", "Table", "Threshold", "Upsample", "Windows",
           "ZeroInsert", "round_fraction", "round_shift", "window_positions"]

Shape = tuple[int, int, int]
WINDOW_ELEMENTS = 1 << 21  # of a convolution at a time, so that they stay in the cache's reach
ROUNDINGS = ("floor", "ceil", "toward_zero", "away_from_zero", "half_up", "half_down", "half_even",
             "half_away", "half_toward_zero")
REQUANTIZE_ROUNDINGS = (*ROUNDINGS, "tflite")
DOUBLING_SHIFT = 31  # of TensorFlow Lite's SaturatingRoundingDoublingHighMul
Rounding = str


def _frozen(array, dtype=np.int64) -> np.ndarray:
    array = np.array(array, dtype=dtype)
    array.setflags(write=False)
    return array


def round_fraction(x: Fraction, mode: Rounding) -> int:
    """Round an exact number to an integer.

    ``half_*`` go to the nearest integer and differ at ties: up (towards +infinity), down
    (towards -infinity), even, away (from zero), toward zero.
    """
    if mode == "floor":
        return floor(x)
    if mode == "ceil":
        return ceil(x)
    if mode == "toward_zero":
        return int(x)
    if mode == "away_from_zero":
        return ceil(x) if x > 0 else floor(x)
    low = floor(x)
    rest = x - low
    if rest != Fraction(1, 2):
        return low + (rest > Fraction(1, 2))
    up = {"half_up": True, "half_down": False, "half_even": low % 2 == 1, "half_away": x > 0,
          "half_toward_zero": x < 0}[mode]
    return low + up


def round_shift(x: np.ndarray, shift, mode: Rounding) -> np.ndarray:
    """``x / 2**shift`` rounded to integers; the integer counterpart of :func:`round_fraction`.

    ``x`` is int64, or an object array of Python integers where 64 bits are too few. ``tflite`` is
    TensorFlow Lite's double rounding: ``half_up`` by up to 31 bits, then ``half_away`` by the rest.
    """
    x, shift = np.asarray(x), np.asarray(shift)
    if mode == "tflite":
        first = np.minimum(shift, DOUBLING_SHIFT)
        return round_shift(round_shift(x, first, "half_up"), shift - first, "half_away")
    one = 1 if x.dtype == object else np.int64(1)
    if x.dtype == object:
        shift = shift.astype(object)
    low = x >> shift
    rest = x - (low << shift)
    if mode == "floor":
        return low
    if mode == "ceil":
        return low + (rest > 0)
    if mode == "toward_zero":
        return low + ((rest > 0) & (x < 0))
    if mode == "away_from_zero":
        return low + ((rest > 0) & (x > 0))
    half = np.where(shift > 0, one << np.maximum(shift - 1, 0), 1)
    tie = (rest == half) & (shift > 0)
    up = {"half_up": True, "half_down": False, "half_even": low % 2 == 1, "half_away": x > 0,
          "half_toward_zero": x < 0}[mode]
    return low + np.where(tie, up, rest > half).astype(np.int64)


class Op:
    """One operation. Subclasses say their output shape and type and compute it."""

    arity: int | None = 1  # number of inputs; None for two or more

    def shape(self, *shapes: Shape) -> Shape:
        """Output (height, width, channels); ValueError if the inputs can't be taken."""
        return shapes[0]

    def result_type(self, types: tuple[NumType, ...], shapes: tuple[Shape, ...]) -> NumType:
        """Narrowest type that holds every possible output."""
        raise NotImplementedError

    def compute(self, *tensors: np.ndarray) -> np.ndarray:
        """Golden model: int64 (frames, height, width, channels) to the same."""
        raise NotImplementedError


def window_positions(size: int, kernel: int, stride: int, before: int, after: int,
                     dilation: int = 1) -> int:
    """Number of kernel positions along one axis; ValueError if the kernel does not fit."""
    extent = (kernel - 1) * dilation + 1
    span = size + before + after
    if extent > span:
        raise ValueError(f"kernel extent {extent} is larger than the padded input {span}")
    return (span - extent) // stride + 1


def _padded(x: np.ndarray, pad, value) -> np.ndarray:
    """``x`` with (top, bottom, left, right) rows and columns of ``value`` around each frame."""
    if not any(pad):
        return x
    top, bottom, left, right = pad
    return np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)), constant_values=value)


def _pool(x: np.ndarray, combine: Callable, kernel, stride) -> np.ndarray:
    """Combine each window, first along the columns, then along the rows."""
    for axis, (size, step) in ((2, (kernel[1], stride[1])), (1, (kernel[0], stride[0]))):
        last = (x.shape[axis] - size) // step * step
        x = reduce(combine, (x[(slice(None),) * axis + (slice(k, k + last + 1, step),)]
                             for k in range(size)))
    return x


def windows(x: np.ndarray, kernel, stride, pad, value: int, dilation=(1, 1)) -> np.ndarray:
    """View (frames, out height, out width, channels, kernel height, kernel width) of ``x``."""
    x = _padded(x, pad, value)
    extent = tuple((k - 1) * d + 1 for k, d in zip(kernel, dilation))
    view = np.lib.stride_tricks.sliding_window_view(x, extent, axis=(1, 2))
    return view[:, ::stride[0], ::stride[1], :, ::dilation[0], ::dilation[1]]


@dataclass(frozen=True, eq=False)
class Conv(Op):
    """2-D cross-correlation with integer weights: convolution, 1-D convolution and dense alike.

    Parameters
    ----------
    weights
        (kernel height, kernel width, channels in / groups, channels out).
    weight_type
        Type of each weight.
    bias
        (channels out,) integers added to each sum.
    stride, dilation
        (vertical, horizontal).
    pad
        (top, bottom, left, right) rows and columns of ``pad_value`` around the input.
    groups
        Output channel m reads input channels of group m // (channels out / groups).
    """

    weights: np.ndarray
    weight_type: NumType
    bias: np.ndarray
    stride: tuple[int, int] = (1, 1)
    pad: tuple[int, int, int, int] = (0, 0, 0, 0)
    pad_value: int = 0
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1

    def __post_init__(self):
        object.__setattr__(self, "weights", _frozen(self.weights))
        object.__setattr__(self, "bias", _frozen(self.bias))

    @property
    def kernel(self) -> tuple[int, int]:
        return self.weights.shape[:2]

    @property
    def pointwise(self) -> bool:
        """Whether every output reads exactly the pixel at its own place."""
        return self.kernel == (1, 1) and self.stride == (1, 1) and not any(self.pad)

    def shape(self, *shapes: Shape) -> Shape:
        (height, width, channels), = shapes
        if self.weights.shape[2] * self.groups != channels:
            raise ValueError(f"weights take {self.weights.shape[2]} channels in each of "
                             f"{self.groups} groups, the input has {channels}")
        top, bottom, left, right = self.pad
        return (window_positions(height, self.kernel[0], self.stride[0], top, bottom,
                                 self.dilation[0]),
                window_positions(width, self.kernel[1], self.stride[1], left, right,
                                 self.dilation[1]),
                self.weights.shape[3])

    def input_range(self, dtype: NumType) -> tuple[int, int]:
        """Smallest and largest value the kernel can meet, padding included."""
        if not any(self.pad):
            return dtype.low, dtype.high
        return min(dtype.low, self.pad_value), max(dtype.high, self.pad_value)

    def result_ranges(self, dtype: NumType) -> tuple[np.ndarray, np.ndarray]:
        """Least and largest value of each output channel, (channels out,) each."""
        low, high = self.input_range(dtype)
        flat = self.weights.reshape(-1, self.weights.shape[3])
        positive, negative = np.maximum(flat, 0).sum(axis=0), np.minimum(flat, 0).sum(axis=0)
        return (positive * low + negative * high + self.bias,
                positive * high + negative * low + self.bias)

    def result_type(self, types, shapes):
        low, high = self.result_ranges(types[0])
        return smallest_type(low.min(), high.max())

    def compute(self, *tensors):
        x, = tensors
        frames = x.shape[0]
        height, width, out = self.shape(x.shape[1:])
        largest = max(int(np.abs(x).max(initial=0)), abs(self.pad_value) if any(self.pad) else 0)
        bound = largest * int(np.abs(self.weights).sum(axis=(0, 1, 2)).max())
        # Float matrix products (BLAS) are exact while every partial sum is: in float32 below
        # 2**24, in float64 below 2**53.
        work = np.float32 if bound < 2**24 else np.float64 if bound < 2**53 else np.int64
        groups, group_in, group_out = self.groups, self.weights.shape[2], out // self.groups
        weights = self.weights.reshape(-1, groups, group_out).swapaxes(0, 1).astype(work)
        result = np.empty((frames, height, width, out), dtype=np.int64)
        # A few frames at a time bound the memory of the matrix of windows.
        step = max(1, WINDOW_ELEMENTS // (height * width * self.weights[..., 0].size * groups))
        for first in range(0, frames, step):
            part = x[first:first + step].astype(work)
            view = windows(part, self.kernel, self.stride, self.pad, self.pad_value, self.dilation)
            rows = view.reshape(*view.shape[:3], groups, group_in, *self.kernel) \
                if groups > 1 else view[:, :, :, None]
            matrix = rows.transpose(3, 0, 1, 2, 5, 6, 4).reshape(groups, -1, weights.shape[1])
            sums = exact_matmul(matrix, weights).swapaxes(0, 1)
            result[first:first + step] = sums.reshape(len(part), height, width, out)
        result += self.bias
        return result


@dataclass(frozen=True, eq=False)
class Bias(Op):
    """Add one integer per channel."""

    values: np.ndarray

    def __post_init__(self):
        object.__setattr__(self, "values", _frozen(self.values))

    def result_type(self, types, shapes):
        return smallest_type(types[0].low + self.values.min(), types[0].high + self.values.max())

    def compute(self, *tensors):
        return tensors[0] + self.values


@dataclass(frozen=True, eq=False)
class Threshold(Op):
    """``base + step * (number of levels that x reaches)``, per channel.

    Parameters
    ----------
    levels
        (channels or 1, number of levels), ascending; level k is reached when ``x >= level``
        (``-x >= level`` where ``negate``).
    negate
        (channels or 1,) booleans: the output falls as x rises.
    out_type
        Type of the output.
    base, step
        Value below all levels, and what each level adds; BIPOLAR is base -1, step 2.
    """

    levels: np.ndarray
    negate: np.ndarray
    out_type: NumType
    base: int = 0
    step: int = 1

    def __post_init__(self):
        object.__setattr__(self, "levels", _frozen(self.levels))
        object.__setattr__(self, "negate", _frozen(self.negate, bool))

    def moved(self, start: np.ndarray) -> "Threshold":
        """The same for what is missing from ``x``: of ``x - start`` it makes what this one makes
        of ``x``; ``start`` is (channels,)."""
        negate = np.broadcast_to(self.negate, len(start))
        levels = self.levels + np.where(negate, start, -start)[:, None]
        return replace(self, levels=levels, negate=negate)

    def result_type(self, types, shapes):
        return self.out_type

    def compute(self, *tensors):
        x, = tensors
        # A falling channel loses a level wherever x reaches 1 - level.
        number = self.levels.shape[1]
        levels = np.where(self.negate[:, None], 1 - self.levels[:, ::-1], self.levels)
        start = np.where(self.negate, self.base + self.step * number, self.base)
        return start + np.where(self.negate, -self.step, self.step) * _count_levels(x, levels)


def _count_levels(x: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """Number of levels (channels or 1, number), ascending, that each ``x`` reaches."""
    rows, number = levels.shape
    low, high = int(x.min(initial=0)), int(x.max(initial=0))
    if rows * (high - low + 1) <= max(x.size // 2, 4096):  # fewer entries than values: a table
        place = np.clip(levels, low, high + 1) - low
        table = np.zeros((high - low + 2, rows), dtype=np.int64)
        np.add.at(table, (place, np.arange(rows)[:, None]), 1)
        return table.cumsum(axis=0)[x - low, np.arange(rows)]
    if rows == 1:
        return np.searchsorted(levels[0], x, side="right")
    if number <= 32:
        count = np.zeros(x.shape, dtype=np.int64)
        for column in levels.T:
            count += x >= column
        return count
    return np.stack([np.searchsorted(row, x[..., c], side="right")
                     for c, row in enumerate(levels)], axis=-1)


@dataclass(frozen=True, eq=False)
class Requantize(Op):
    """``clip(zero_point + round((x * multiplier + offset) / 2**shift))`` to ``out_type``, per
    channel.

    Parameters
    ----------
    multiplier, shift
        (channels or 1,) integers, shift >= 0.
    rounding
        One of ``ROUNDINGS``, or ``tflite`` (see :func:`round_shift`).
    offset
        (channels or 1,) integers added to the products; none for 0.
    """

    multiplier: np.ndarray
    shift: np.ndarray
    zero_point: int
    rounding: Rounding
    out_type: NumType
    offset: np.ndarray = field(default_factory=lambda: np.zeros(1, dtype=np.int64))

    def __post_init__(self):
        for name in ("multiplier", "shift", "offset"):
            object.__setattr__(self, name, _frozen(getattr(self, name)))

    def result_type(self, types, shapes):
        return self.out_type

    def compute(self, *tensors):
        x, = tensors
        bits = int(np.abs(x).max(initial=0)).bit_length() \
            + int(np.abs(self.multiplier).max()).bit_length()
        bits = max(bits, int(np.abs(self.offset).max()).bit_length()) + 1
        if bits > 62 or self.shift.max() > 62:  # the product, or its rounding, leaves int64
            x = x.astype(object)
        x = round_shift(x * self.multiplier + self.offset, self.shift, self.rounding)
        return np.clip(x + self.zero_point, self.out_type.low, self.out_type.high).astype(np.int64)


@dataclass(frozen=True, eq=False)
class Table(Op):
    """``values[c, x - low]``: any function of few bits, per channel.

    Parameters
    ----------
    values
        (channels or 1, number of inputs) outputs, for the inputs ``low``, ``low + 1``, ...
    low
        Smallest input.
    out_type
        Type of the output.
    """

    values: np.ndarray
    low: int
    out_type: NumType

    def __post_init__(self):
        object.__setattr__(self, "values", _frozen(self.values))

    def result_type(self, types, shapes):
        return self.out_type

    def compute(self, *tensors):
        x, = tensors
        rows = np.arange(len(self.values)) if len(self.values) > 1 else 0
        return self.values[rows, x - self.low]


@dataclass(frozen=True)
class Clip(Op):
    """Clamp integers to ``low``..``high``; either may be None."""

    low: int | None
    high: int | None

    def result_type(self, types, shapes):
        low = types[0].low if self.low is None else max(types[0].low, self.low)
        high = types[0].high if self.high is None else min(types[0].high, self.high)
        # Bounds beside the input's range leave a constant: clamp them into order.
        low, high = min(low, types[0].high), max(high, types[0].low)
        if self.low is not None:
            high = max(high, self.low)
        if self.high is not None:
            low = min(low, self.high)
        if (low, high) == (types[0].low, types[0].high):
            return types[0]
        return smallest_type(low, high)

    def compute(self, *tensors):
        x, = tensors
        x = x if self.low is None else np.maximum(x, self.low)
        return x if self.high is None else np.minimum(x, self.high)


@dataclass(frozen=True)
class MaxPool(Op):
    """Largest value in each window; padding takes no part.

    ``pad`` is (top, bottom, left, right), each smaller than the kernel.
    """

    kernel: tuple[int, int]
    stride: tuple[int, int]
    pad: tuple[int, int, int, int] = (0, 0, 0, 0)

    def shape(self, *shapes: Shape) -> Shape:
        (height, width, channels), = shapes
        top, bottom, left, right = self.pad
        if max(top, bottom) >= self.kernel[0] or max(left, right) >= self.kernel[1]:
            raise ValueError(f"pad {list(self.pad)} must be smaller than the kernel "
                             f"{list(self.kernel)}")
        return (window_positions(height, self.kernel[0], self.stride[0], top, bottom),
                window_positions(width, self.kernel[1], self.stride[1], left, right), channels)

    def result_type(self, types, shapes):
        return types[0]

    def compute(self, *tensors):
        # Padding loses every comparison: smaller than any value, integer or fraction.
        least = -np.inf if tensors[0].dtype == object else np.iinfo(np.int64).min
        x = _padded(tensors[0], self.pad, least)
        return _pool(x, np.maximum, self.kernel, self.stride)


@dataclass(frozen=True)
class SumPool(MaxPool):
    """Sum over each window: the exact part of average pooling.

    Parameters
    ----------
    pad_value
        Integer that padding counts as.
    row_factors, column_factors
        None, or one positive integer for each output row (column): what the sums in it are
        multiplied with. Averages that leave padding out divide by the number of pixels inside,
        which differs at the border; over the lcm of these numbers they are integers again.
    """

    pad_value: int = 0
    row_factors: tuple[int, ...] | None = None
    column_factors: tuple[int, ...] | None = None

    def shape(self, *shapes: Shape) -> Shape:
        height, width, channels = super().shape(*shapes)
        for name, factors, size in (("row", self.row_factors, height),
                                    ("column", self.column_factors, width)):
            if factors is not None and len(factors) != size:
                raise ValueError(f"{len(factors)} factors for {size} output {name}s")
        return height, width, channels

    def result_type(self, types, shapes):
        dtype, (height, width, _) = types[0], self.shape(*shapes)
        low = high = 0
        # The sums over padding and over the input, at every place of the border.
        for rows, row_factor in self._inside(0, shapes[0][0], height):
            for columns, column_factor in self._inside(1, shapes[0][1], width):
                inside = rows * columns
                outside = (self.kernel[0] * self.kernel[1] - inside) * self.pad_value
                factor = row_factor * column_factor
                low = min(low, factor * (inside * dtype.low + outside))
                high = max(high, factor * (inside * dtype.high + outside))
        return smallest_type(low, high)

    def _inside(self, axis: int, size: int, positions: int) -> set[tuple[int, int]]:
        """(pixels within the input, factor) of the windows along one axis."""
        factors = (self.row_factors, self.column_factors)[axis]
        start = np.arange(positions) * self.stride[axis] - self.pad[2 * axis]
        inside = np.minimum(start + self.kernel[axis], size) - np.maximum(start, 0)
        return set(zip(inside.tolist(), factors or (1,) * positions))

    def compute(self, *tensors):
        y = _pool(_padded(tensors[0], self.pad, self.pad_value), np.add, self.kernel, self.stride)
        if self.row_factors is not None:
            y = y * np.array(self.row_factors)[:, None, None]
        if self.column_factors is not None:
            y = y * np.array(self.column_factors)[:, None]
        return y


@dataclass(frozen=True)
class Add(Op):
    """Elementwise sum of two or more tensors of one shape."""

    arity = None

    def shape(self, *shapes: Shape) -> Shape:
        if len(set(shapes)) > 1:
            raise ValueError("shapes differ: " + ", ".join(str(list(s)) for s in shapes))
        return shapes[0]

    def result_type(self, types, shapes):
        return smallest_type(sum(t.low for t in types), sum(t.high for t in types))

    def compute(self, *tensors):
        return sum(tensors[1:], tensors[0])


@dataclass(frozen=True)
class Concat(Op):
    """Channels of the inputs, one input after the other."""

    arity = None

    def shape(self, *shapes: Shape) -> Shape:
        if len({s[:2] for s in shapes}) > 1:
            raise ValueError("heights and widths differ: "
                             + ", ".join(str(list(s)) for s in shapes))
        return (*shapes[0][:2], sum(s[2] for s in shapes))

    def result_type(self, types, shapes):
        if len(set(types)) == 1:
            return types[0]
        return smallest_type(min(t.low for t in types), max(t.high for t in types))

    def compute(self, *tensors):
        return np.concatenate(tensors, axis=-1)


class _Movement(Op):
    """Base of operations whose output holds values of the input, each where it is told to."""

    def result_type(self, types, shapes):
        return types[0]


@dataclass(frozen=True)
class Reshape(_Movement):
    """The same values in the same order, channels fastest, in another shape.

    ``target`` is (height, width, channels), or None for a vector (1, 1, channels).
    """

    target: Shape | None = None

    def shape(self, *shapes: Shape) -> Shape:
        size = prod(shapes[0])
        if self.target is not None and prod(self.target) != size:
            raise ValueError(f"{list(self.target)} holds {prod(self.target)} values, the input "
                             f"{list(shapes[0])} has {size}")
        return self.target or (1, 1, size)

    def compute(self, *tensors):
        x, = tensors
        return x.reshape(len(x), *self.shape(x.shape[1:]))


@dataclass(frozen=True)
class Select(_Movement):
    """Output channel k is input channel ``indices[k]``: permutations, splits, repetitions."""

    indices: tuple[int, ...]

    def shape(self, *shapes: Shape) -> Shape:
        height, width, channels = shapes[0]
        bad = [i for i in self.indices if not 0 <= i < channels]
        if bad or not self.indices:
            raise ValueError(f"indices must be at least one of 0 to {channels - 1}, found "
                             f"{bad[0] if bad else 'none'}")
        return (height, width, len(self.indices))

    def compute(self, *tensors):
        return tensors[0][..., list(self.indices)]


@dataclass(frozen=True)
class Crop(_Movement):
    """Rows, columns and channels from ``start`` up to ``stop`` (not included)."""

    rows: tuple[int, int]
    columns: tuple[int, int]
    channels: tuple[int, int]

    def shape(self, *shapes: Shape) -> Shape:
        ranges = (self.rows, self.columns, self.channels)
        for name, (start, stop), size in zip(("rows", "columns", "channels"), ranges, shapes[0]):
            if not 0 <= start < stop <= size:
                raise ValueError(f"{name} {start} to {stop} are not within 0 to {size}")
        height, width, channels = (stop - start for start, stop in ranges)
        return (height, width, channels)

    def compute(self, *tensors):
        return tensors[0][:, slice(*self.rows), slice(*self.columns), slice(*self.channels)]


@dataclass(frozen=True)
class DepthToSpace(_Movement):
    """Channels to a block of ``block`` x ``block`` pixels.

    Input channel ``(row * block + column) * channels out + c`` is channel c at (row, column) of
    the block: ONNX's mode DCR, TensorFlow's order.
    """

    block: int

    def shape(self, *shapes: Shape) -> Shape:
        height, width, channels = shapes[0]
        if channels % self.block**2:
            raise ValueError(f"{channels} channels are no multiple of {self.block} x {self.block}")
        return (height * self.block, width * self.block, channels // self.block**2)

    def compute(self, *tensors):
        x, b = tensors[0], self.block
        frames, height, width, channels = x.shape
        blocks = x.reshape(frames, height, width, b, b, channels // b**2)
        return blocks.transpose(0, 1, 3, 2, 4, 5).reshape(frames, height * b, width * b, -1)


@dataclass(frozen=True)
class ZeroInsert(Op):
    """``value`` in the rows and columns between those of the input: what a transposed
    convolution convolves.

    ``factor`` is (vertical, horizontal): input row y is output row ``y * factor``; nothing comes
    behind the last.
    """

    factor: tuple[int, int]
    value: int = 0

    def shape(self, *shapes: Shape) -> Shape:
        height, width, channels = shapes[0]
        return ((height - 1) * self.factor[0] + 1, (width - 1) * self.factor[1] + 1, channels)

    def result_type(self, types, shapes):
        return _type_with(types[0], self.value)

    def compute(self, *tensors):
        x, = tensors
        y = np.full((len(x), *self.shape(x.shape[1:])), self.value, dtype=np.int64)
        y[:, ::self.factor[0], ::self.factor[1]] = x
        return y


@dataclass(frozen=True)
class Windows(Op):
    """The pixels of each window as the channels of one pixel (im2col): kernel row slowest, then
    kernel column, then channel.

    With a kernel of 1 x 1 it pads or thins out; with stride = kernel it is space-to-depth.
    """

    kernel: tuple[int, int]
    stride: tuple[int, int]
    pad: tuple[int, int, int, int] = (0, 0, 0, 0)
    pad_value: int = 0
    dilation: tuple[int, int] = (1, 1)

    def shape(self, *shapes: Shape) -> Shape:
        (height, width, channels), = shapes
        top, bottom, left, right = self.pad
        return (window_positions(height, self.kernel[0], self.stride[0], top, bottom,
                                 self.dilation[0]),
                window_positions(width, self.kernel[1], self.stride[1], left, right,
                                 self.dilation[1]),
                channels * self.kernel[0] * self.kernel[1])

    def result_type(self, types, shapes):
        return _type_with(types[0], self.pad_value) if any(self.pad) else types[0]

    def compute(self, *tensors):
        x, = tensors
        view = windows(x, self.kernel, self.stride, self.pad, self.pad_value, self.dilation)
        return view.transpose(0, 1, 2, 4, 5, 3).reshape(len(x), *self.shape(x.shape[1:]))


def _type_with(dtype: NumType, value: int) -> NumType:
    """The type itself if it holds ``value``, else the narrowest that holds both."""
    if dtype.contains(value):
        return dtype
    if dtype.bipolar and value == 0:
        return TERNARY
    return smallest_type(min(dtype.low, value), max(dtype.high, value))


@dataclass(frozen=True)
class Upsample(_Movement):
    """Repeat each row and column: nearest-neighbour upsampling by (vertical, horizontal)."""

    factor: tuple[int, int]

    def shape(self, *shapes: Shape) -> Shape:
        height, width, channels = shapes[0]
        return (height * self.factor[0], width * self.factor[1], channels)

    def compute(self, *tensors):
        return tensors[0].repeat(self.factor[0], axis=1).repeat(self.factor[1], axis=2)


@dataclass(frozen=True)
class ArgMax(Op):
    """Index of the largest channel; the lowest index wins a tie."""

    def shape(self, *shapes: Shape) -> Shape:
        return (*shapes[0][:2], 1)

    def result_type(self, types, shapes):
        return smallest_type(0, shapes[0][2] - 1)

    def compute(self, *tensors):
        return tensors[0].argmax(axis=-1)[..., None]
