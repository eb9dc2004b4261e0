"""What each layer of a description becomes: operations and the tensors they make."""

import math
from collections.abc import Sequence
from fractions import Fraction
from functools import singledispatch

import numpy as np

from .. import ops, real_ops
from ..graph import ONE, REAL, ZERO, Node, Tensor
from ..rational import common_unit
from ..types import smallest_type
from . import description as d

__all__ = ["Refusal", "lower"]

Lowered = tuple[ops.Op, Tensor] | list[Node]
Named = tuple[str, Tensor]
Sides = tuple[int, int, int, int]
MAX_PRODUCT_WIDTH = 62  # the golden model multiplies in int64


class Refusal(Exception):
    """A layer can't be built: the field at fault, and what is wrong with it."""

    def __init__(self, field: str, text: str):
        super().__init__(text)
        self.field, self.text = field, text


def lower(layer: d.LayerBase | d.Join, inputs: Sequence[Tensor], line: bool) -> list[Node]:
    """The operations of a layer in order, the last under its name; Refusal if it can't be built.

    Those in front of the last are named ``<layer>_<part>``.

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
        made = _add(layer, inputs)
    elif isinstance(layer, d.Concat):
        made = _concat(layer, inputs)
    else:
        assert isinstance(layer, d.LayerBase)
        made = _lower(layer, inputs[0], line)
    return made if isinstance(made, list) else [Node(layer.name, made[0], layer.reads, made[1])]


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
          offset: Sequence[Fraction]) -> tuple[ops.Op, Tensor]:
    """The operation with its output, of the narrowest type; Refusal if that is too wide."""
    shapes = tuple(t.shape for t in inputs)
    shape = _out_shape(field, op, shapes)
    dtype = op.result_type(tuple(t.dtype for t in inputs), shapes)
    if dtype.width > d.ACCUMULATOR_WIDTH:
        raise Refusal(field, f"sums need {dtype.width} bits, at most {d.ACCUMULATOR_WIDTH} can be "
                             "built; narrow the input with a requantize or quantize layer")
    return op, Tensor(shape, dtype, _collapse(scale), _collapse(offset))


def _out_shape(field: str, op: ops.Op, shapes: Sequence[ops.Shape]) -> ops.Shape:
    try:
        return op.shape(*shapes)
    except ValueError as error:
        raise Refusal(field, str(error)) from None


def _move(field: str, op: ops.Op, x: Tensor, scale: Sequence[Fraction] | None = None,
          offset: Sequence[Fraction] | None = None) -> Lowered:
    """An operation that only moves values: integers or real ones."""
    if x.dtype == REAL:
        return op, Tensor(_out_shape(field, op, [x.shape]), REAL)
    return _make(field, op, [x], x.scale if scale is None else scale,
                 x.offset if offset is None else offset)


# Bringing channels, or tensors, to one step.

def _one_step(layer: d.LayerBase | d.Join, field: str, part: str, given: Named,
              units: Sequence[Fraction], with_zero: bool) -> tuple[list[Node], Named]:
    """Operations after which channel c of a tensor counts in ``units[c]``.

    Parameters
    ----------
    layer, field
        Whom to blame if the result is too wide.
    part
        What the operations' names end in.
    given
        Name and tensor.
    units
        Positive, one per channel; scales (and offsets ``with_zero``) are whole multiples.
    with_zero
        Whether integer 0 must mean real 0 afterwards.
    """
    name, x = given
    channels = x.shape[2]
    scale, offset = _spread(x.scale, channels), _spread(x.offset, channels)
    factors = [int(s / u) for s, u in zip(scale, units)]
    nodes: list[Node] = []
    dtype = x.dtype
    if any(f != 1 for f in factors):
        ends = [f * end for f in factors for end in (x.dtype.low, x.dtype.high)]
        dtype = smallest_type(min(ends), max(ends))
        _need_width(field, given, dtype.width)
        same = len(set(factors)) == 1
        op = ops.Requantize(np.array(factors[:1] if same else factors), np.zeros(1), 0, "floor",
                            dtype)
        x = Tensor(x.shape, dtype, _collapse(list(units)), x.offset)
        nodes.append(Node(f"{layer.name}_{part}", op, (name,), x))
        name = nodes[-1].name
    if with_zero and any(offset):
        bias = ops.Bias(np.array([int(o / u) for o, u in zip(offset, units)]))
        dtype = bias.result_type((x.dtype,), (x.shape,))
        _need_width(field, given, dtype.width)
        x = Tensor(x.shape, dtype, _collapse(list(units)), ZERO)
        nodes.append(Node(f"{layer.name}_{part}_zero", bias, (name,), x))
        name = nodes[-1].name
    return nodes, (name, x)


def _need_width(field: str, given: Named, width: int) -> None:
    if width <= d.ACCUMULATOR_WIDTH:
        return
    name, x = given
    what = "its scale" if len(x.scale) == 1 else "its scales, from " + " to ".join(
        _show(s) for s in (min(x.scale), max(x.scale))) + ","
    raise Refusal(field, f"{name!r} would need {width} bits in the step that {what} and the other "
                         f"scales and offsets here have in common, at most {d.ACCUMULATOR_WIDTH} "
                         "can be built; put quantize layers of one scale in front")


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
    groups = 1 if isinstance(layer, d.Dense) else layer.groups
    _need_integers(str(layer.input), x)
    _need_channels(layer, x, weights, groups)
    given = None if isinstance(layer, d.Dense) else layer.pad_value
    nodes, (name, x), pad_value = _even_input(layer, x, groups, any(pad), given)
    bias = layer.bias if layer.bias is not None else np.zeros(layer.outputs, dtype=np.int64)
    op = ops.Conv(weights, layer.weight_type, bias, stride, pad, pad_value, dilation, groups)
    scale, offset = _meaning(layer, x, weights, groups)
    return [*nodes, Node(layer.name, *_ordered(_make("weights", op, [x], scale, offset), name))]


def _ordered(made: tuple[ops.Op, Tensor], *reads: str) -> tuple[ops.Op, tuple[str, ...], Tensor]:
    return made[0], reads, made[1]


def _even_input(layer: d._Weighted, x: Tensor, groups: int, padded: bool, pad_value: int | None
                ) -> tuple[list[Node], Named, int]:
    """The input with one step in all channels of a group, and the integer that padding reads as."""
    name, channels = str(layer.input), x.shape[2]
    scale, offset = _spread(x.scale, channels), _spread(x.offset, channels)
    size = channels // groups
    even = len(x.scale) == 1 or all(scale[c] == scale[c - c % size] for c in range(channels))
    if pad_value is not None and padded:
        if not x.dtype.low <= pad_value <= x.dtype.high:
            raise Refusal("pad_value", f"{pad_value} is not from {x.dtype.low} to {x.dtype.high}, "
                                       f"the range of {name!r}; give it a wider type or another "
                                       "pad_value")
        if not even:
            raise Refusal("pad_value", f"must be left out: {name!r} has unequal scales, so one "
                                       "integer means different values; padding is real 0 then")
        return [], (name, x), pad_value
    zero = _zero_code(x) if padded else 0
    if even and zero is not None:
        return [], (name, x), zero
    units: list[Fraction] = []
    for first in range(0, channels, size):
        group = range(first, first + size)
        numbers = [scale[c] for c in group]
        if padded and zero is None:
            numbers += [offset[c] for c in group]
        units += [common_unit(numbers) or Fraction(1)] * size
    nodes, (name, x) = _one_step(layer, "input", "scaled", (name, x), units, padded)
    return nodes, (name, x), 0


def _zero_code(x: Tensor) -> int | None:
    """The integer that means real 0 in every channel, if there is one within the type's range."""
    zeros = {-offset / scale if scale else Fraction(1, 2)
             for scale, offset in map(x.channel, range(max(len(x.scale), len(x.offset))))}
    zero = zeros.pop()
    if zeros or zero.denominator != 1 or not x.dtype.low <= zero <= x.dtype.high:
        return None
    return int(zero)


@_lower.register
def _(layer: d.ConvTranspose2d, x: Tensor, line: bool) -> Lowered:
    stride, dilation = _pair(layer.stride, line), _pair(layer.dilation, line)
    extra = _pair(layer.output_padding, line) if layer.output_padding else (0, 0)
    weights = layer.weights
    extent = _extent(weights.shape[:2], dilation)
    pad = _sides(layer.pad, line, x.shape[:2], extent, stride)
    _need_integers(str(layer.input), x)
    _need_channels(layer, x, weights, layer.groups)
    if max(pad[:2]) >= extent[0] or max(pad[2:]) >= extent[1]:
        raise Refusal("pad", "must be smaller than the kernel's extent "
                             f"{list(extent)}, found [top, bottom, left, right] = {list(pad)}")
    for n, axis in enumerate(("vertical", "horizontal")):
        if extra[n] >= max(stride[n], dilation[n]):
            raise Refusal("output_padding", f"must be smaller than the {axis} stride or dilation, "
                                            f"found {extra[n]}")
    nodes, (name, x), zero = _even_input(layer, x, layer.groups, True, None)
    if stride != (1, 1):
        spread = ops.ZeroInsert(stride, zero)
        x = _make("stride", spread, [x], x.scale, x.offset)[1]
        nodes.append(Node(f"{layer.name}_spread", spread, (name,), x))
        name = nodes[-1].name
    sides = (extent[0] - 1 - pad[0], extent[0] - 1 - pad[1] + extra[0],
             extent[1] - 1 - pad[2], extent[1] - 1 - pad[3] + extra[1])
    bias = layer.bias if layer.bias is not None else np.zeros(layer.outputs, dtype=np.int64)
    op = ops.Conv(weights[::-1, ::-1], layer.weight_type, bias, (1, 1), sides, zero, dilation,
                  layer.groups)
    scale, offset = _meaning(layer, x, weights, layer.groups)
    return [*nodes, Node(layer.name, *_ordered(_make("weights", op, [x], scale, offset), name))]


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


def _meaning(layer: d._Weighted, x: Tensor, weights: np.ndarray, groups: int) \
        -> tuple[list[Fraction], list[Fraction]]:
    """Scale and offset of each output channel.

    sum(w * real) = scale * weight scale * sum(w * integer) + weight scale * sum(w * offset): the
    scale must be equal in all channels of a sum, the offset need not.
    """
    channels, outputs = x.shape[2], layer.outputs
    in_scale, in_offset = _spread(x.scale, channels), _spread(x.offset, channels)
    group_in, group_out = channels // groups, outputs // groups
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
def _(layer: d.Affine, x: Tensor, line: bool) -> Lowered:
    channels = x.shape[2]
    for field in ("scale", "offset"):
        _need_per_channel(field, len(getattr(layer, field)), channels, one_for_all=True)
    op = real_ops.Affine(layer.scale, layer.offset)
    if x.dtype == REAL:
        return op, Tensor(x.shape, REAL)
    count = max(map(len, (layer.scale, layer.offset, x.scale, x.offset)))
    scale, offset = _spread(x.scale, count), _spread(x.offset, count)
    factor, summand = _spread(layer.scale, count), _spread(layer.offset, count)
    return op, Tensor(x.shape, x.dtype, _collapse([s * f for s, f in zip(scale, factor)]),
                      _collapse([o * f + b for o, f, b in zip(offset, factor, summand)]))


@_lower.register
def _(layer: d.LeakyRelu, x: Tensor, line: bool) -> Lowered:
    _need_per_channel("slope", len(layer.slope), x.shape[2], one_for_all=True)
    return real_ops.LeakyRelu(_collapse(layer.slope)), Tensor(x.shape, REAL)


@_lower.register
def _(layer: d.Activation, x: Tensor, line: bool) -> Lowered:
    return real_ops.Function(layer.function), Tensor(x.shape, REAL)


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
    _need_per_channel("scale", len(layer.scale), x.shape[2], one_for_all=True)
    zero_point = layer.zero_point
    scale = _collapse(layer.scale)
    op = real_ops.Quantize(layer.output_type, scale,
                           int(zero_point) if zero_point.denominator == 1 else zero_point,
                           layer.rounding, layer.range)
    return op, Tensor(x.shape, layer.output_type, scale,
                      tuple(-s * zero_point for s in scale))


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


@_lower.register
def _(layer: d.Lookup, x: Tensor, line: bool) -> Lowered:
    name = str(layer.input)
    _need_integers(name, x)
    values = np.atleast_2d(layer.values)
    _need_per_channel("values", len(values), x.shape[2], one_for_all=True)
    first = x.dtype.low if layer.first is None else layer.first
    last = first + values.shape[1] - 1
    if first > x.dtype.low or last < x.dtype.high:
        raise Refusal("values", f"are for {first} to {last}, {name!r} holds {x.dtype}; give one "
                                f"entry for each of {x.dtype.low} to {x.dtype.high}")
    values = values[:, x.dtype.low - first:x.dtype.high - first + 1]
    op = ops.Table(values, x.dtype.low, layer.output_type)
    return _make("output_type", op, [x], (layer.scale,), (-layer.scale * layer.zero_point,))


# Pooling and the rest.

def _pool_window(layer: d.MaxPool | d.AveragePool, x: Tensor, line: bool,
                 ) -> tuple[tuple[int, int], tuple[int, int], Sides, Sides]:
    """Kernel, stride, pad, and the pad that ``ceil_mode`` makes of it."""
    kernel = _pair(layer.kernel, line)
    stride = kernel if layer.stride is None else _pair(layer.stride, line)
    pad = _sides(layer.pad, line, x.shape[:2], kernel, stride)
    if max(pad[:2]) >= kernel[0] or max(pad[2:]) >= kernel[1]:
        raise Refusal("pad", f"must be smaller than the kernel {list(kernel)}, found [top, bottom, "
                             f"left, right] = {list(pad)}")
    if not layer.ceil_mode:
        return kernel, stride, pad, pad
    after = [_last_pad(x.shape[n], kernel[n], stride[n], pad[2 * n], pad[2 * n + 1])
             for n in range(2)]
    return kernel, stride, pad, (pad[0], after[0], pad[2], after[1])


def _last_pad(size: int, kernel: int, stride: int, before: int, after: int) -> int:
    """Padding behind an axis with which the windows fit that ceil_mode adds: those that start
    within the input or the padding before it."""
    positions = -(-(size + before + after - kernel) // stride) + 1
    if (positions - 1) * stride >= size + before:
        positions -= 1
    return max(after, (positions - 1) * stride + kernel - size - before)


def _window_field(layer: d.LayerBase) -> str:
    """Which field to blame for the window's size: a global pooling has only its input."""
    return "kernel" if "kernel" in type(layer).model_fields else "input"


def _max_pool(layer: d.MaxPool | d.GlobalMaxPool, x: Tensor, op: ops.MaxPool) -> Lowered:
    # With a negative scale the largest real value is the smallest integer: real values then,
    # which the quantizer behind the pooling ends.
    if x.dtype == REAL or any(scale < 0 for scale in x.scale):
        return op, Tensor(_out_shape(_window_field(layer), op, [x.shape]), REAL)
    return _make(_window_field(layer), op, [x], x.scale, x.offset)


@_lower.register
def _(layer: d.MaxPool, x: Tensor, line: bool) -> Lowered:
    kernel, stride, _, pad = _pool_window(layer, x, line)
    return _max_pool(layer, x, ops.MaxPool(kernel, stride, pad))


@_lower.register
def _(layer: d.GlobalMaxPool, x: Tensor, line: bool) -> Lowered:
    return _max_pool(layer, x, ops.MaxPool(x.shape[:2], x.shape[:2]))


@_lower.register
def _(layer: d.AveragePool, x: Tensor, line: bool) -> Lowered:
    name = str(layer.input)
    _need_integers(name, x)
    kernel, stride, given, pad = _pool_window(layer, x, line)
    # Padding that counts is real 0; what does not count adds integer 0 to the sum. Where a window
    # has both, they must be the same.
    counted = given if layer.count_include_pad else (0, 0, 0, 0)
    nodes: list[Node] = []
    zero = 0
    if any(counted):
        found = _zero_code(x)
        if found is None or found and pad != counted:
            units = [common_unit((*x.scale, *x.offset))] * x.shape[2]
            nodes, (name, x) = _one_step(layer, "pad", "scaled", (name, x), units, True)
            found = 0
        zero = found
    shape = _out_shape("kernel", ops.MaxPool(kernel, stride, pad), [x.shape])
    factors, area = [], 1
    for n in range(2):
        before, after = counted[2 * n:2 * n + 2]
        starts = np.arange(shape[n]) * stride[n] - pad[2 * n]
        pixels = np.minimum(starts + kernel[n], x.shape[n] + after) \
            - np.maximum(starts, -before)
        total = math.lcm(*pixels.tolist())
        area *= total
        parts = tuple((total // pixels).tolist())
        factors.append(None if set(parts) == {1} else parts)
    op = ops.SumPool(kernel, stride, pad, zero, *factors)
    made = _make("kernel", op, [x], [s / area for s in x.scale], x.offset)
    return [*nodes, Node(layer.name, *_ordered(made, name))]


@_lower.register
def _(layer: d.GlobalAveragePool, x: Tensor, line: bool) -> Lowered:
    _need_integers(str(layer.input), x)
    op = ops.SumPool(x.shape[:2], x.shape[:2])
    area = x.shape[0] * x.shape[1]
    return _make("input", op, [x], [s / area for s in x.scale], x.offset)


def _add(layer: d.Add, inputs: Sequence[Tensor]) -> Lowered:
    for n, (name, x) in enumerate(zip(layer.inputs, inputs)):
        _need_integers(name, x, f"inputs[{n}]")
    channels = inputs[0].shape[2]
    if len({t.shape for t in inputs}) > 1:
        raise Refusal("inputs", "shapes differ: " + _listed(layer.inputs, map(_shape_text, inputs)))
    scales = [_spread(t.scale, channels) for t in inputs]
    if all(t.scale == inputs[0].scale for t in inputs):
        units = scales[0]
    else:
        units = [common_unit(row) or Fraction(1) for row in zip(*scales)]
    nodes: list[Node] = []
    summands: list[Named] = []
    for n, given in enumerate(zip(layer.inputs, inputs)):
        extra, named = _one_step(layer, "inputs", f"scaled{n}", given, units, False)
        nodes += extra
        summands.append(named)
    offset = [sum(row, Fraction(0)) for row in zip(*(_spread(t.offset, channels) for t in inputs))]
    made = _make("inputs", ops.Add(), [t for _, t in summands], units, offset)
    return [*nodes, Node(layer.name, *_ordered(made, *(name for name, _ in summands)))]


def _concat(layer: d.Concat, inputs: Sequence[Tensor]) -> Lowered:
    if len({t.shape[:2] for t in inputs}) > 1:
        raise Refusal("inputs", "heights or widths differ: "
                      + _listed(layer.inputs, map(_shape_text, inputs)))
    if any(t.dtype == REAL for t in inputs):
        return ops.Concat(), Tensor(ops.Concat().shape(*(t.shape for t in inputs)), REAL)
    scale = [s for t in inputs for s in _spread(t.scale, t.shape[2])]
    offset = [o for t in inputs for o in _spread(t.offset, t.shape[2])]
    return _make("inputs", ops.Concat(), inputs, scale, offset)


@_lower.register
def _(layer: d.Flatten, x: Tensor, line: bool) -> Lowered:
    return _reshape("input", None, x)


@_lower.register
def _(layer: d.Reshape, x: Tensor, line: bool) -> Lowered:
    shape = (1,) * (3 - len(layer.shape)) + layer.shape
    return _reshape("shape", (shape[0], shape[1], shape[2]), x)


def _reshape(field: str, target: ops.Shape | None, x: Tensor) -> Lowered:
    """Scales per channel are those of the places that the channels come from."""
    op = ops.Reshape(target)
    channels = _out_shape(field, op, [x.shape])[2]
    spread = []
    for values in (x.scale, x.offset):
        if len(values) > 1:
            pixels = x.shape[0] * x.shape[1]
            rows = np.array(values * pixels, dtype=object).reshape(-1, channels)
            if not (rows == rows[0]).all():
                raise Refusal("input", f"{x.shape[2]} channels of unequal scales or offsets can't "
                                       f"become {channels}; put a quantize layer in front")
            values = tuple(rows[0])
        spread.append(values)
    return _move(field, op, x, *spread)


@_lower.register
def _(layer: d.Crop, x: Tensor, line: bool) -> Lowered:
    ranges = [given or (0, size) for given, size in
              zip((layer.rows, layer.columns, layer.channels), x.shape)]
    op = ops.Crop(*ranges)
    for field, (start, stop), size in zip(("rows", "columns", "channels"), ranges, x.shape):
        if start < 0 or stop > size:
            raise Refusal(field, f"{[start, stop]} is not within 0 to {size}, the {field} of "
                                 f"{layer.input!r}")
    part = slice(*ranges[2])
    return _move("channels", op, x, *(v[part] if len(v) > 1 else v for v in (x.scale, x.offset)))


@_lower.register
def _(layer: d.Select, x: Tensor, line: bool) -> Lowered:
    return _select(tuple(layer.indices.reshape(-1).tolist()), x)


def _select(indices: tuple[int, ...], x: Tensor) -> Lowered:
    op = ops.Select(indices)
    _out_shape("indices", op, [x.shape])
    return _move("indices", op, x, *([v[i] for i in indices] if len(v) > 1 else v
                                     for v in (x.scale, x.offset)))


@_lower.register
def _(layer: d.Upsample, x: Tensor, line: bool) -> Lowered:
    return _move("factor", ops.Upsample(_pair(layer.factor, line)), x)


@_lower.register
def _(layer: d.DepthToSpace, x: Tensor, line: bool) -> Lowered:
    op, name = ops.DepthToSpace(layer.block), str(layer.input)
    channels = _out_shape("block", op, [x.shape])[2]
    nodes: list[Node] = []
    if layer.mode == "crd":
        order = np.arange(x.shape[2]).reshape(channels, -1).T.reshape(-1)
        made = _select(tuple(order.tolist()), x)
        assert isinstance(made, tuple)
        nodes.append(Node(f"{layer.name}_order", made[0], (name,), made[1]))
        name, x = nodes[-1].name, nodes[-1].output
    meaning = []
    for values in (x.scale, x.offset):
        if len(values) > 1:
            rows = np.array(values, dtype=object).reshape(-1, channels)
            if not (rows == rows[0]).all():
                raise Refusal("input", f"{layer.input!r} has channels of unequal scales or offsets "
                                       "that become one; put a quantize layer in front")
            values = tuple(rows[0])
        meaning.append(values)
    moved = _move("block", op, x, *meaning)
    assert isinstance(moved, tuple)
    return [*nodes, Node(layer.name, *_ordered(moved, name))]


@_lower.register
def _(layer: d.SpaceToDepth, x: Tensor, line: bool) -> Lowered:
    block, area = layer.block, layer.block**2
    if x.shape[0] % block or x.shape[1] % block:
        raise Refusal("block", f"{block} does not divide height and width of {layer.input!r}, "
                               f"{_shape_text(x)}")
    op = ops.Windows((block, block), (block, block))
    return _move("block", op, x, *(v * area if len(v) > 1 else v for v in (x.scale, x.offset)))


@_lower.register
def _(layer: d.Subsample, x: Tensor, line: bool) -> Lowered:
    return _move("stride", ops.Windows((1, 1), _pair(layer.stride, line)), x)


@_lower.register
def _(layer: d.PadLayer, x: Tensor, line: bool) -> Lowered:
    name = str(layer.input)
    _need_integers(name, x)
    pad = _sides(layer.pad, line, x.shape[:2], (1, 1), (1, 1))
    nodes: list[Node] = []
    value = layer.pad_value if layer.pad_value is not None else _zero_code(x)
    if value is None:
        units = [common_unit((*x.scale, *x.offset))] * x.shape[2]
        nodes, (name, x) = _one_step(layer, "pad_value", "scaled", (name, x), units, True)
        value = 0
    op = ops.Windows((1, 1), (1, 1), pad, value)
    return [*nodes, Node(layer.name, *_ordered(_make("pad", op, [x], x.scale, x.offset), name))]


@_lower.register
def _(layer: d.ArgMax, x: Tensor, line: bool) -> Lowered:
    name, channels = str(layer.input), x.shape[2]
    _need_integers(name, x)
    nodes: list[Node] = []
    if len(set(x.scale)) > 1 or x.scale[0] <= 0:
        if 0 in x.scale:
            raise Refusal("input", f"{name!r} has a scale of 0, so a channel is constant; put a "
                                   "quantize layer in between")
        units = [common_unit((*x.scale, *x.offset))] * channels
        nodes, (name, x) = _one_step(layer, "input", "scaled", (name, x), units, True)
    elif len(set(x.offset)) > 1:
        nodes = _rank_offsets(layer, x)
        name, x = nodes[-1].name, nodes[-1].output
    made = _make("input", ops.ArgMax(), [x], ONE, ZERO)
    return [*nodes, Node(layer.name, *_ordered(made, name))]


def _rank_offsets(layer: d.ArgMax, x: Tensor) -> list[Node]:
    """Integers in the order of ``scale * x + offset``, scale alike in all channels.

    With offset / scale = n + f, n an integer and f from 0 up to 1, that is the order of x + n, and
    of f where those are equal: the order of ``count * (x + n) + rank of f``.
    """
    shifts = [offset / x.scale[0] for offset in x.offset]
    whole = [math.floor(shift) for shift in shifts]
    parts = sorted({shift - n for shift, n in zip(shifts, whole)})
    count = len(parts)
    bias = [count * n + parts.index(shift - n) for shift, n in zip(shifts, whole)]
    least = min(bias)
    nodes: list[Node] = []
    name = str(layer.input)
    if count > 1:
        dtype = smallest_type(count * x.dtype.low, count * x.dtype.high)
        _need_width("input", (name, x), dtype.width)
        op = ops.Requantize(np.array([count]), np.zeros(1), 0, "floor", dtype)
        nodes.append(Node(f"{layer.name}_spread", op, (name,), Tensor(x.shape, dtype)))
        name, x = nodes[-1].name, nodes[-1].output
    shift_op = ops.Bias(np.array([b - least for b in bias]))
    dtype = shift_op.result_type((x.dtype,), (x.shape,))
    _need_width("input", (name, x), dtype.width)
    nodes.append(Node(f"{layer.name}_order", shift_op, (name,), Tensor(x.shape, dtype)))
    return nodes


def _listed(names, values) -> str:
    return ", ".join(f"{name!r} {value}" for name, value in zip(names, values))
