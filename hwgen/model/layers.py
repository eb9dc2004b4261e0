"""What each layer of a description becomes: an operation and the tensor it makes."""

import math
from collections.abc import Sequence
from fractions import Fraction
from functools import singledispatch

import numpy as np

from .. import ops, real_ops
from ..graph import ONE, REAL, ZERO, Tensor
from . import description as d
from .fields import MAX_TYPE_WIDTH

__all__ = ["Refusal", "lower"]

Lowered = tuple[ops.Op, Tensor]
Sides = tuple[int, int, int, int]
MAX_PRODUCT_WIDTH = 62  # the golden model multiplies in int64


class Refusal(Exception):
    """A layer can't be built: the field at fault, and what is wrong with it."""

    def __init__(self, field: str, text: str):
        super().__init__(text)
        self.field, self.text = field, text


def lower(layer: d.LayerBase | d.Join, inputs: Sequence[Tensor], line: bool) -> Lowered:
    """The operation of a layer and the tensor it makes; Refusal if it can't be built.

    Parameters
    ----------
    layer
        With its inputs' names filled in.
    inputs
        The tensors it reads.
    line
        Whether the network's data is 1-D: then one number for a kernel, stride, pad, dilation or
        factor means the length, and the height stays 1.
    """
    if isinstance(layer, d.Add):
        return _add(layer, inputs)
    if isinstance(layer, d.Concat):
        return _concat(layer, inputs)
    assert isinstance(layer, d.LayerBase)
    return _lower(layer, inputs[0], line)


@singledispatch
def _lower(layer: d.LayerBase, x: Tensor, line: bool) -> Lowered:
    raise TypeError(f"no such layer: {layer!r}")


# Exact metadata: tuples of one fraction for all channels or one for each.

def _spread(values: Sequence[Fraction], channels: int) -> list[Fraction]:
    return list(values) if len(values) > 1 else list(values) * channels


def _collapse(values: Sequence[Fraction]) -> tuple[Fraction, ...]:
    first = values[0]
    return (first,) if all(v == first for v in values) else tuple(values)


def _show(value: Fraction) -> str:
    """A fraction for a message: exact if that is short."""
    return str(value) if value.denominator <= 1_000_000 else repr(float(value))


def _shape_text(tensor: Tensor) -> str:
    return str(list(tensor.shape))


# What is asked of inputs.

def _need_integers(name: str, tensor: Tensor, field: str = "input", way_out: str = "") -> None:
    if tensor.dtype == REAL:
        raise Refusal(field, f"{name!r} holds real values that are not quantized yet; "
                      + (way_out or "put a quantize or threshold layer in between"))


def _need_per_channel(field: str, count: int, channels: int, one_for_all: bool = False) -> None:
    if count != channels and not (one_for_all and count == 1):
        raise Refusal(field, f"has {count} entries, the input has {channels} channels")


def _make(field: str, op: ops.Op, inputs: Sequence[Tensor], scale: Sequence[Fraction],
          offset: Sequence[Fraction]) -> Lowered:
    """The operation with its output, of the narrowest type; Refusal if that is too wide."""
    shapes = tuple(t.shape for t in inputs)
    try:
        shape = op.shape(*shapes)
    except ValueError as error:
        raise Refusal(field, str(error)) from None
    dtype = op.result_type(tuple(t.dtype for t in inputs), shapes)
    if dtype.width > d.ACCUMULATOR_WIDTH:
        raise Refusal(field, f"sums need {dtype.width} bits, at most {d.ACCUMULATOR_WIDTH} can be "
                             "built; narrow the input with a requantize or quantize layer")
    return op, Tensor(shape, dtype, _collapse(scale), _collapse(offset))


# Forms of kernel, stride and pad.

def _pair(value: int | tuple[int, int], line: bool) -> tuple[int, int]:
    if isinstance(value, tuple):
        return value
    return (1, value) if line else (value, value)


def _sides(pad: int | tuple[int, ...] | str, line: bool, size: tuple[int, int],
           extent: tuple[int, int], stride: tuple[int, int]) -> Sides:
    """(top, bottom, left, right)."""
    if isinstance(pad, str):
        (top, bottom), (left, right) = map(_same, size, extent, stride)
        return top, bottom, left, right
    if isinstance(pad, int):
        return (0, 0, pad, pad) if line else (pad, pad, pad, pad)
    if len(pad) == 2:
        return pad[0], pad[0], pad[1], pad[1]
    return pad[0], pad[1], pad[2], pad[3]


def _same(size: int, extent: int, stride: int) -> tuple[int, int]:
    """Padding before and after such that ceil(size / stride) windows fit; the odd one after."""
    missing = max((-(-size // stride) - 1) * stride + extent - size, 0)
    return missing // 2, missing - missing // 2


# Convolutions.

@_lower.register
def _(layer: d.Conv2d, x: Tensor, line: bool) -> Lowered:
    weights = layer.weights
    stride, dilation = _pair(layer.stride, line), _pair(layer.dilation, line)
    extent = _extent(weights.shape[:2], dilation)
    pad = _sides(layer.pad, line, x.shape[:2], extent, stride)
    return _convolve(layer, x, weights, stride, pad, dilation)


@_lower.register
def _(layer: d.Conv1d, x: Tensor, line: bool) -> Lowered:
    if x.shape[0] != 1:
        raise Refusal("input", f"{layer.input!r} is {_shape_text(x)}; conv1d takes [length, "
                               "channels], use conv2d")
    stride, dilation = (1, layer.stride), (1, layer.dilation)
    weights = layer.weights[None]
    extent = _extent(weights.shape[:2], dilation)
    pad = layer.pad
    if isinstance(pad, tuple):
        sides: Sides = (0, 0, pad[0], pad[1])
    else:
        sides = _sides(pad, True, x.shape[:2], extent, stride)
    return _convolve(layer, x, weights, stride, sides, dilation)


@_lower.register
def _(layer: d.Dense, x: Tensor, line: bool) -> Lowered:
    if x.shape[:2] != (1, 1):
        raise Refusal("input", f"{layer.input!r} is {_shape_text(x)}; dense takes a vector, put a "
                               "flatten layer in between")
    return _convolve(layer, x, layer.weights[None, None], (1, 1), (0, 0, 0, 0), (1, 1))


def _extent(kernel: Sequence[int], dilation: tuple[int, int]) -> tuple[int, int]:
    return (kernel[0] - 1) * dilation[0] + 1, (kernel[1] - 1) * dilation[1] + 1


def _convolve(layer: d.Conv2d | d.Conv1d | d.Dense, x: Tensor, weights: np.ndarray,
              stride: tuple[int, int], pad: Sides, dilation: tuple[int, int]) -> Lowered:
    name = str(layer.input)
    groups = 1 if isinstance(layer, d.Dense) else layer.groups
    _need_integers(name, x)
    if x.dtype.width > MAX_TYPE_WIDTH:
        raise Refusal("input", f"{name!r} has {x.dtype.width} bits, at most {MAX_TYPE_WIDTH} can "
                               "be multiplied; put a requantize, quantize or threshold layer in "
                               "between")
    _need_channels(layer, x, weights, groups)
    pad_value = 0 if isinstance(layer, d.Dense) else _pad_value(layer, x, pad)
    bias = layer.bias if layer.bias is not None else np.zeros(layer.outputs, dtype=np.int64)
    op = ops.Conv(weights, layer.weight_type, bias, stride, pad, pad_value, dilation, groups)
    scale, offset = _meaning(layer, x, weights, groups)
    return _make("weights", op, [x], scale, offset)


def _need_channels(layer: d.LayerBase, x: Tensor, weights: np.ndarray, groups: int) -> None:
    taken, channels = weights.shape[2] * groups, x.shape[2]
    if taken == channels:
        return
    if isinstance(layer, d.Dense):
        hint = "; they look transposed, give [inputs, outputs]" \
            if weights.shape[3] == channels else ""
        raise Refusal("weights", f"take {taken} inputs, {layer.input!r} has {channels}{hint}")
    hint = ""
    if groups == 1 and weights.shape[1] == channels:
        hint = ("; they look like [output channels, input channels, ...], give "
                f"[{layer.axes}]")  # type: ignore[attr-defined]
    each = f" in each of {groups} groups" if groups > 1 else ""
    raise Refusal("weights", f"take {weights.shape[2]} input channels{each}, {layer.input!r} has "
                             f"{channels}{hint}")


def _pad_value(layer: d.Conv2d | d.Conv1d, x: Tensor, pad: Sides) -> int:
    if not any(pad):
        return 0
    value = layer.pad_value
    if value is None:
        zeros = {-offset / scale if scale else Fraction(1, 2)
                 for scale, offset in map(x.channel, range(x.shape[2]))}
        zero = zeros.pop()
        if zeros or zero.denominator != 1:
            raise Refusal("pad_value", "must be given: real 0 is not one integer in all channels "
                                       f"of {layer.input!r}")
        value = int(zero)
    if not x.dtype.low <= value <= x.dtype.high:
        raise Refusal("pad_value", f"{value} is not from {x.dtype.low} to {x.dtype.high}, the "
                                   f"range of {layer.input!r}; give it a wider type or another "
                                   "pad_value")
    return value


def _meaning(layer: d.Conv2d | d.Conv1d | d.Dense, x: Tensor, weights: np.ndarray, groups: int,
             ) -> tuple[list[Fraction], list[Fraction]]:
    """Scale and offset of each output channel.

    sum(w * real) = scale * weight scale * sum(w * integer) + weight scale * sum(w * offset): the
    scale must be equal in all channels of a sum, the offset need not.
    """
    channels, outputs = x.shape[2], layer.outputs
    in_scale, in_offset = _spread(x.scale, channels), _spread(x.offset, channels)
    group_in, group_out = channels // groups, outputs // groups
    for c in range(channels):
        first = c - c % group_in
        if in_scale[c] != in_scale[first]:
            raise Refusal("input", f"{layer.input!r} has unequal scales, "
                                   f"{_show(in_scale[first])} in channel {first} and "
                                   f"{_show(in_scale[c])} in channel {c}; put a quantize layer in "
                                   "between")
    weight_scale = _spread(layer.weight_scale, outputs)
    group_scale = [in_scale[g * group_in] for g in range(groups)]
    if len(layer.weight_scale) == 1 and len(set(group_scale)) == 1:
        scale = [group_scale[0] * weight_scale[0]]
    else:
        scale = [weight_scale[c] * group_scale[c // group_out] for c in range(outputs)]
    if not any(in_offset):
        return scale, [Fraction(0)]
    # Integers over a common denominator: sums of many fractions are slow.
    denominator = math.lcm(*(o.denominator for o in in_offset))
    numerators = np.array([int(o * denominator) for o in in_offset], dtype=object)
    sums = weights.sum(axis=(0, 1)).astype(object)
    offset = []
    for c in range(outputs):
        group = slice(c // group_out * group_in, (c // group_out + 1) * group_in)
        offset.append(weight_scale[c] * Fraction(int(numerators[group] @ sums[:, c]), denominator))
    return scale, offset


@_lower.register
def _(layer: d.Bias, x: Tensor, line: bool) -> Lowered:
    _need_integers(str(layer.input), x)
    _need_per_channel("values", len(layer.values), x.shape[2])
    return _make("values", ops.Bias(layer.values), [x], x.scale, x.offset)


# Layers on real values.

@_lower.register
def _(layer: d.BatchNorm, x: Tensor, line: bool) -> Lowered:
    channels = x.shape[2]
    _need_per_channel("gamma", len(layer.gamma), channels)
    factors, summands = [], []
    for c, (gamma, beta, mean, variance) in enumerate(
            zip(layer.gamma, layer.beta, layer.mean, layer.variance)):
        factor = float(gamma) / math.sqrt(float(variance) + float(layer.epsilon))
        summand = float(beta) - float(mean) * factor
        if not math.isfinite(factor) or not math.isfinite(summand):
            raise Refusal("gamma", f"channel {c}: gamma / sqrt(variance + epsilon) is beyond the "
                                   "range of float64")
        factors.append(Fraction(factor))
        summands.append(Fraction(summand))
    op = real_ops.Affine(tuple(factors), tuple(summands))
    if x.dtype == REAL:
        return op, Tensor(x.shape, REAL)
    scale, offset = _spread(x.scale, channels), _spread(x.offset, channels)
    return op, Tensor(x.shape, x.dtype, _collapse([s * f for s, f in zip(scale, factors)]),
                      _collapse([o * f + b for o, f, b in zip(offset, factors, summands)]))


@_lower.register
def _(layer: d.Relu, x: Tensor, line: bool) -> Lowered:
    return _clamp(x, Fraction(0), layer.max)


@_lower.register
def _(layer: d.Clamp, x: Tensor, line: bool) -> Lowered:
    return _clamp(x, layer.min, layer.max)


def _clamp(x: Tensor, low: Fraction, high: Fraction | None) -> Lowered:
    """Clip integers where the bounds are integers in every channel alike, else real values."""
    codes = None if x.dtype == REAL else _codes(x, low, high)
    if codes is None:
        return real_ops.Clamp(low, high), Tensor(x.shape, REAL)
    return _make("max", ops.Clip(*codes), [x], x.scale, x.offset)


def _codes(x: Tensor, low: Fraction, high: Fraction | None) -> tuple[int, int | None] | None:
    """The bounds as integers of ``x``, within its range where they can be; None if they are none.

    Bounds that need more bits than an accumulator are left real as well.
    """
    meanings = {x.channel(c) for c in range(max(len(x.scale), len(x.offset)))}
    if any(scale <= 0 for scale, _ in meanings):
        return None
    lows = {(low - offset) / scale for scale, offset in meanings}
    highs = set() if high is None else {(high - offset) / scale for scale, offset in meanings}
    if len(lows) > 1 or len(highs) > 1 or any(b.denominator != 1 for b in lows | highs):
        return None
    low_code = max(int(lows.pop()), x.dtype.low)
    high_code = min(int(highs.pop()), x.dtype.high) if highs else None
    limit = 1 << (d.ACCUMULATOR_WIDTH - 1)
    if low_code >= limit or high_code is not None and high_code < -limit:
        return None
    return low_code, high_code


@_lower.register
def _(layer: d.Quantize, x: Tensor, line: bool) -> Lowered:
    op = real_ops.Quantize(layer.output_type, (layer.scale,), layer.zero_point, layer.rounding)
    return op, Tensor(x.shape, layer.output_type, (layer.scale,),
                      (-layer.scale * layer.zero_point,))


@_lower.register
def _(layer: d.Threshold, x: Tensor, line: bool) -> Lowered:
    _need_per_channel("levels", len(layer.levels), x.shape[2], one_for_all=True)
    op = real_ops.RealThreshold(layer.levels, layer.output_type, layer.lowest, layer.step,
                                layer.scale)
    return op, Tensor(x.shape, layer.output_type, (layer.scale,), ZERO)


@_lower.register
def _(layer: d.Requantize, x: Tensor, line: bool) -> Lowered:
    name, channels = str(layer.input), x.shape[2]
    _need_integers(name, x, way_out="use quantize instead")
    for field in ("multiplier", "shift"):
        _need_per_channel(field, len(getattr(layer, field)), channels, one_for_all=True)
    largest = max(abs(x.dtype.low), abs(x.dtype.high)) * int(np.abs(layer.multiplier).max())
    if largest >= 1 << MAX_PRODUCT_WIDTH:
        raise Refusal("multiplier", f"product with {name!r} ({x.dtype.width} bits) needs "
                                    f"{largest.bit_length() + 1} bits, at most "
                                    f"{MAX_PRODUCT_WIDTH + 1} can be built; reduce multiplier and "
                                    "shift together")
    op = ops.Requantize(layer.multiplier, layer.shift, layer.zero_point, layer.rounding,
                        layer.output_type)
    if layer.scale is not None:
        return _make("output_type", op, [x], (layer.scale,), (-layer.scale * layer.zero_point,))
    count = max(len(layer.multiplier), len(layer.shift), len(x.scale), len(x.offset))
    scale, offset = [], []
    for c in range(count):
        in_scale, in_offset = x.channel(c)
        multiplier = int(layer.multiplier[c % len(layer.multiplier)])
        scale.append(in_scale * (1 << int(layer.shift[c % len(layer.shift)])) / multiplier)
        offset.append(in_offset - scale[-1] * layer.zero_point)
    return _make("output_type", op, [x], scale, offset)


# Pooling and the rest.

def _pool_window(layer: d.MaxPool | d.AveragePool, x: Tensor, line: bool,
                 ) -> tuple[tuple[int, int], tuple[int, int], Sides]:
    kernel = _pair(layer.kernel, line)
    stride = kernel if layer.stride is None else _pair(layer.stride, line)
    pad = _sides(layer.pad, line, x.shape[:2], kernel, stride)
    if max(pad[:2]) >= kernel[0] or max(pad[2:]) >= kernel[1]:
        raise Refusal("pad", f"must be smaller than the kernel {list(kernel)}, found [top, bottom, "
                             f"left, right] = {list(pad)}")
    return kernel, stride, pad


def _window_field(layer: d.LayerBase) -> str:
    """Which field to blame for the window's size: a global pooling has only its input."""
    return "kernel" if "kernel" in type(layer).model_fields else "input"


def _max_pool(layer: d.MaxPool | d.GlobalMaxPool, x: Tensor, op: ops.MaxPool) -> Lowered:
    _need_integers(str(layer.input), x, way_out="move the quantize or threshold layer in front of "
                                                "the pooling, the result is the same")
    for c, scale in enumerate(x.scale):
        if scale < 0:
            raise Refusal("input", f"{layer.input!r} has a negative scale in channel {c} "
                                   f"({_show(scale)}), so the largest real value is the smallest "
                                   "integer; put a quantize or threshold layer in between")
    return _make(_window_field(layer), op, [x], x.scale, x.offset)


@_lower.register
def _(layer: d.MaxPool, x: Tensor, line: bool) -> Lowered:
    return _max_pool(layer, x, ops.MaxPool(*_pool_window(layer, x, line)))


@_lower.register
def _(layer: d.GlobalMaxPool, x: Tensor, line: bool) -> Lowered:
    return _max_pool(layer, x, ops.MaxPool(x.shape[:2], x.shape[:2]))


def _average_pool(layer: d.AveragePool | d.GlobalAveragePool, x: Tensor, op: ops.SumPool,
                  ) -> Lowered:
    _need_integers(str(layer.input), x)
    if any(op.pad) and any(x.offset):
        raise Refusal("pad", "padding counts as integer 0, which is not real 0 in "
                             f"{layer.input!r}; use no padding, or quantize with zero_point 0 "
                             "before")
    area = op.kernel[0] * op.kernel[1]
    return _make(_window_field(layer), op, [x], [s / area for s in x.scale], x.offset)


@_lower.register
def _(layer: d.AveragePool, x: Tensor, line: bool) -> Lowered:
    return _average_pool(layer, x, ops.SumPool(*_pool_window(layer, x, line)))


@_lower.register
def _(layer: d.GlobalAveragePool, x: Tensor, line: bool) -> Lowered:
    return _average_pool(layer, x, ops.SumPool(x.shape[:2], x.shape[:2]))


def _need_all_integers(layer: d.Add | d.Concat, inputs: Sequence[Tensor]) -> None:
    for n, (name, x) in enumerate(zip(layer.inputs, inputs)):
        _need_integers(name, x, f"inputs[{n}]")


def _add(layer: d.Add, inputs: Sequence[Tensor]) -> Lowered:
    _need_all_integers(layer, inputs)
    channels = inputs[0].shape[2]
    if len({t.shape for t in inputs}) > 1:
        raise Refusal("inputs", "shapes differ: " + _listed(layer.inputs, map(_shape_text, inputs)))
    scales = [_spread(t.scale, channels) for t in inputs]
    for c, row in enumerate(zip(*scales)):
        if len(set(row)) > 1:
            raise Refusal("inputs", f"scales differ in channel {c}: "
                          f"{_listed(layer.inputs, map(_show, row))}; bring them to one scale with "
                          "quantize or requantize layers")
    offset = [sum(row, Fraction(0)) for row in zip(*(_spread(t.offset, channels) for t in inputs))]
    return _make("inputs", ops.Add(), inputs, scales[0], offset)


def _concat(layer: d.Concat, inputs: Sequence[Tensor]) -> Lowered:
    _need_all_integers(layer, inputs)
    if len({t.shape[:2] for t in inputs}) > 1:
        raise Refusal("inputs", "heights or widths differ: "
                      + _listed(layer.inputs, map(_shape_text, inputs)))
    scale = [s for t in inputs for s in _spread(t.scale, t.shape[2])]
    offset = [o for t in inputs for o in _spread(t.offset, t.shape[2])]
    return _make("inputs", ops.Concat(), inputs, scale, offset)


def _listed(names, values) -> str:
    return ", ".join(f"{name!r} {value}" for name, value in zip(names, values))


@_lower.register
def _(layer: d.Flatten, x: Tensor, line: bool) -> Lowered:
    _need_integers(str(layer.input), x, way_out="move the quantize or threshold layer in front of "
                                                "this layer")
    pixels = x.shape[0] * x.shape[1]
    scale, offset = (v * pixels if len(v) > 1 else v for v in (x.scale, x.offset))
    return _make("input", ops.Reshape(), [x], scale, offset)


@_lower.register
def _(layer: d.Upsample, x: Tensor, line: bool) -> Lowered:
    _need_integers(str(layer.input), x, way_out="move the quantize or threshold layer in front of "
                                                "this layer")
    return _make("factor", ops.Upsample(_pair(layer.factor, line)), [x], x.scale, x.offset)


@_lower.register
def _(layer: d.ArgMax, x: Tensor, line: bool) -> Lowered:
    _need_integers(str(layer.input), x)
    if len(x.scale) > 1 or len(x.offset) > 1 or x.scale[0] <= 0:
        raise Refusal("input", f"{layer.input!r} must have one positive scale and one offset for "
                               "all channels, else the largest integer is not the largest real "
                               "value; put a quantize layer in between")
    return _make("input", ops.ArgMax(), [x], ONE, ZERO)
