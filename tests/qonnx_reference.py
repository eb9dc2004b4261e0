"""What a QONNX file computes, in float64 and by the qonnx executor: both independent of hwgen.

float32 is not the truth where its rounding decides a code, and neither is float64 where a value
comes to lie next to a boundary of a quantizer's rounding. :func:`evaluate` says how near that was.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import erf
from typing import Any, NamedTuple

import numpy as np
import onnx
from onnx import helper, numpy_helper

__all__ = ["NEAR", "Evaluation", "Margin", "evaluate", "evaluate_node", "execute"]

NEAR = 1e-9
"""Steps from a boundary within which float64 does not decide a code."""

Array = np.ndarray
Attributes = Mapping[str, Any]

# Running.


@dataclass
class Evaluation:
    """Tensors of one vector, and how far its quantizers were from boundaries of their rounding.

    Parameters
    ----------
    tensors
        By name; floats are float64.
    margins
        By name of the output of a quantizer (or an arg-max).
    """

    tensors: dict[str, Array]
    margins: dict[str, "Margin"] = field(default_factory=dict)

    @property
    def settled(self) -> bool:
        """Whether float64 decides every code."""
        return all(m.distance > NEAR for m in self.margins.values())


class Margin(NamedTuple):
    """How near a quantizer's inputs came to the boundaries of its rounding.

    ``distance`` is the smallest one, in steps, of inputs that are on no boundary; ``tie`` says
    whether any are on one, where the rounding decides.
    """

    distance: float
    tie: bool

    @classmethod
    def of(cls, distances: Array, unit: float = 1.0) -> "Margin":
        away = distances[distances > 0]
        return cls(float(away.min(initial=np.inf)) / unit, away.size < distances.size)

    def __and__(self, other: "Margin") -> "Margin":
        return Margin(min(self.distance, other.distance), self.tie or other.tie)


def evaluate(model: onnx.ModelProto, x: Array) -> Evaluation:
    """Every tensor of a model for one vector (input shape without batch), in float64."""
    tensors = {i.name: _wide(numpy_helper.to_array(i)) for i in model.graph.initializer}
    result = Evaluation(tensors | {model.graph.input[0].name: _wide(np.asarray(x)[None])})
    for node in model.graph.node:
        inputs = [result.tensors[name] if name else None for name in node.input]
        outputs, margin = evaluate_node(node, inputs)
        result.tensors.update(zip(node.output, outputs))
        if margin is not None:
            result.margins[node.output[-1]] = margin
    return result


def evaluate_node(node: onnx.NodeProto, inputs: list[Array | None]
                  ) -> tuple[list[Array], Margin | None]:
    """Outputs of a node, and the margin of a quantizer or an arg-max."""
    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    attributes = {k: v.decode() if isinstance(v, bytes) else v for k, v in attributes.items()}
    attributes["outputs"] = len(node.output)
    if node.op_type in ROUNDING:
        return ROUNDING[node.op_type](attributes, *inputs)
    result = PLAIN[node.op_type](attributes, *inputs)
    return (result if isinstance(result, list) else [np.asarray(result)]), None


def execute(model: onnx.ModelProto, x: Array) -> dict[str, Array]:
    """Every tensor of a model for one vector, by the qonnx executor: float32, onnxruntime."""
    from qonnx.core.modelwrapper import ModelWrapper
    from qonnx.core.onnx_exec import execute_onnx
    feed = {model.graph.input[0].name: np.asarray(x, dtype=np.float32)[None]}
    return execute_onnx(ModelWrapper(_executable(model)), feed, return_full_exec_context=True)


def _executable(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model in the executor's terms: its domain for FINN's, scales for the sizes of Resize
    (it can't leave an input out)."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    for entry in (*result.graph.node, *result.opset_import):
        entry.domain = entry.domain.replace("finn.custom_op", "qonnx.custom_op")
    shapes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim]
              for v in (*model.graph.value_info, *model.graph.input, *model.graph.output)}
    for node in result.graph.node:
        if node.op_type == "Resize" and len(node.input) == 4:
            scales = np.divide(shapes[node.output[0]], shapes[node.input[0]]).astype(np.float32)
            name = f"{node.output[0]}_scales"
            result.graph.initializer.append(numpy_helper.from_array(scales, name))
            del node.input[2:]
            node.input.append(name)
    return result


def _wide(array: Array) -> Array:
    return array.astype(np.float64) if array.dtype == np.float32 else array


# Quantizers: [outputs], margin.

Rounded = tuple[list[Array], Margin]

ROUND: dict[str, Callable[[Array], Array]] = {
    "ROUND": np.rint, "FLOOR": np.floor, "CEIL": np.ceil, "DOWN": np.trunc,
    "UP": lambda x: np.sign(x) * np.ceil(np.abs(x)),
    "HALF_EVEN": np.rint,
    "HALF_UP": lambda x: np.sign(x) * np.floor(np.abs(x) + 0.5),
    "HALF_DOWN": lambda x: np.sign(x) * np.ceil(np.abs(x) - 0.5)}


def _rounded(x: Array, mode: str, low: float = -np.inf, high: float = np.inf
             ) -> tuple[Array, Margin]:
    """Clamped and rounded, and the margin of what is not clamped."""
    offset = 0.5 if mode.upper() in ("ROUND", "HALF_EVEN", "HALF_UP", "HALF_DOWN") else 0.0
    inside = x[(x > low - NEAR) & (x < high + NEAR)]
    away = np.abs(inside - offset - np.rint(inside - offset))
    return ROUND[mode.upper()](np.clip(x, low, high)), Margin.of(away)


def _range(a: Attributes, bits: Array) -> tuple[int, int]:
    top, narrow = 2**int(bits), a.get("narrow", 0)
    return (-top // 2 + narrow, top // 2 - 1) if a.get("signed", 1) else (0, top - 1 - narrow)


def _sign(x: Array, scale: Array) -> Rounded:
    return [np.where(x >= 0, scale, -scale)], Margin.of(np.abs(x / scale))


def _quant(a: Attributes, x: Array, scale: Array, zero: Array, bits: Array) -> Rounded:
    if a["signed"] and bits == 1:
        return _sign(x, scale)
    codes, margin = _rounded(x / scale + zero, a["rounding_mode"], *_range(a, bits))
    return [(codes - zero) * scale], margin


def _trunc(a: Attributes, x: Array, scale: Array, zero: Array, bits_in: Array, *rest: Array
           ) -> Rounded:
    """Version 1 has (output bits), version 2 (output scale, output bits)."""
    whole, first = _rounded(x / scale + zero, "ROUND")
    if len(rest) == 1:
        codes, second = _rounded(whole / 2.0**(bits_in - rest[0]), a["rounding_mode"])
        return [(codes - zero) * scale], first & second
    factor = 2.0**np.rint(np.log2(rest[0] / scale))
    codes, second = _rounded(whole / factor, a["rounding_mode"], *_range(a, rest[1]))
    return [(codes - zero / factor) * rest[0]], first & second


def _multi_threshold(a: Attributes, x: Array, levels: Array) -> Rounded:
    layout = a.get("data_layout") or {2: "NC", 3: "NWC", 4: "NCHW"}[x.ndim]
    shape = [1] * x.ndim + [levels.shape[1]]
    shape[layout.index("C")] = len(levels)
    rows = np.moveaxis(levels.reshape(len(levels), *[1] * (x.ndim - 1), -1), 0, layout.index("C"))
    away = np.abs(x[..., None] - rows)
    span = max(np.ptp(levels), np.abs(levels).max(), 1e-30)
    count = (x[..., None] >= rows).sum(axis=-1)
    return [a.get("out_scale", 1.0) * count + a.get("out_bias", 0.0)], Margin.of(away, span)


def _along(a: Attributes, parameter: Array, rank: int) -> Array:
    if parameter.ndim == 0:
        return parameter
    return parameter.reshape([-1 if axis == a.get("axis", 1) else 1 for axis in range(rank)])


def _quantize_linear(a: Attributes, x: Array, scale: Array, zero: Array) -> Rounded:
    limits, origin = np.iinfo(zero.dtype), _along(a, zero, x.ndim).astype(np.float64)
    whole, margin = _rounded(x / _along(a, scale, x.ndim), "ROUND", limits.min - origin.max(),
                               limits.max - origin.min())
    return [np.clip(whole + origin, limits.min, limits.max).astype(zero.dtype)], margin


def _largest(a: Attributes, x: Array, keep: bool) -> Rounded:
    axis = a.get("axis", 0)
    best = np.argmax(x, axis=axis, keepdims=keep)
    gaps = x.max(axis=axis, keepdims=True) - x
    return [best], Margin.of(gaps, max(np.abs(x).max(), 1e-30))


ROUNDING: dict[str, Callable[..., Rounded]] = {
    "Quant": _quant, "BipolarQuant": lambda a, x, scale: _sign(x, scale), "Trunc": _trunc,
    "MultiThreshold": _multi_threshold, "QuantizeLinear": _quantize_linear,
    "ArgMax": lambda a, x: _largest(a, x, bool(a.get("keepdims", 1))),
    "TopK": lambda a, x, k: ([x.max(axis=a["axis"], keepdims=True), *_largest(a, x, True)[0]],
                             _largest(a, x, True)[1])}

# Windows.


def _spatial(a: Attributes, x: Array, kernel: Sequence[int]
             ) -> tuple[list[int], list[int], list[tuple[int, int]]]:
    """Strides, dilations and pads of the spatial axes of (N, C, ...)."""
    rank = x.ndim - 2
    strides, dilations = (list(a.get(name) or [1] * rank) for name in ("strides", "dilations"))
    pads = list(a.get("pads") or [0] * 2 * rank)
    sides = list(zip(pads[:rank], pads[rank:]))
    auto = a.get("auto_pad", "NOTSET")
    if auto.startswith("SAME"):
        missing = [max((-(-n // s) - 1) * s + (k - 1) * d + 1 - n, 0)
                   for n, s, k, d in zip(x.shape[2:], strides, kernel, dilations)]
        sides = [(m // 2, m - m // 2) if auto == "SAME_UPPER" else (m - m // 2, m // 2)
                 for m in missing]
    return strides, dilations, sides


def _windows(x: Array, kernel, strides, dilations) -> Array:
    """(N, C, *positions, *kernel) of a padded (N, C, ...)."""
    rank = x.ndim - 2
    extent = tuple((k - 1) * d + 1 for k, d in zip(kernel, dilations))
    view = np.lib.stride_tricks.sliding_window_view(x, extent, axis=tuple(range(2, x.ndim)))
    return view[(slice(None),) * 2 + tuple(slice(None, None, s) for s in strides)
                + tuple(slice(None, None, d) for d in dilations[:rank])]


def _channels(bias: Array | None, rank: int) -> Array:
    return np.zeros(()) if bias is None else bias.reshape(-1, *[1] * rank)


def _conv(a: Attributes, x: Array, w: Array, bias: Array | None = None) -> Array:
    strides, dilations, pads = _spatial(a, x, w.shape[2:])
    groups, rank = a.get("group", 1), x.ndim - 2
    view = _windows(np.pad(x, ((0, 0), (0, 0), *pads)), w.shape[2:], strides, dilations)
    parts = []
    for part, kernels in zip(np.split(view, groups, axis=1), np.split(w, groups, axis=0)):
        taps = (1, *range(2 + rank, 2 + 2 * rank))
        parts.append(np.moveaxis(np.tensordot(part, kernels, (taps, range(1, w.ndim))), -1, 1))
    return np.concatenate(parts, axis=1) + _channels(bias, rank)


def _conv_transpose(a: Attributes, x: Array, w: Array, bias: Array | None = None) -> Array:
    strides, dilations, pads = _spatial(a, x, w.shape[2:])
    groups, rank = a.get("group", 1), x.ndim - 2
    extra = a.get("output_padding") or [0] * rank
    full = [(n - 1) * s + (k - 1) * d + 1 + e for n, s, k, d, e in
            zip(x.shape[2:], strides, w.shape[2:], dilations, extra)]
    parts = []
    for part, kernels in zip(np.split(x, groups, axis=1), np.split(w, groups, axis=0)):
        y = np.zeros((1, w.shape[1], *full))
        for tap in np.ndindex(*w.shape[2:]):
            place = tuple(slice(t * d, t * d + (n - 1) * s + 1, s) for t, d, n, s in
                          zip(tap, dilations, x.shape[2:], strides))
            y[(..., *place)] += np.moveaxis(np.tensordot(part, kernels[(..., *tap)], (1, 0)), -1, 1)
        parts.append(y)
    inner = [slice(before, n - after) for n, (before, after) in zip(full, pads)]
    whole = np.concatenate(parts, axis=1)[(..., *inner)]
    return whole + _channels(bias, rank)


def _pool_view(a: Attributes, x: Array, fill: float, margin: float) -> Array:
    """Windows of (N, C, ...): ``margin`` in the stated padding, ``fill`` beyond it (ceil_mode)."""
    kernel = a["kernel_shape"]
    strides, _, pads = _spatial(a, x, kernel)
    padded = np.pad(x, ((0, 0), (0, 0), *pads), constant_values=margin)
    if a.get("ceil_mode", 0):
        beyond = [(0, 0), (0, 0)]
        for n, k, s, (before, _), total in zip(x.shape[2:], kernel, strides, pads,
                                               padded.shape[2:]):
            count = -(-(total - k) // s) + 1
            if (count - 1) * s >= n + before:  # a window that begins in the padding at the end
                count -= 1
            beyond.append((0, max((count - 1) * s + k - total, 0)))
        padded = np.pad(padded, beyond, constant_values=fill)
    return _windows(padded, kernel, strides, [1] * len(kernel))


def _taps(x: Array, view: Array) -> tuple[int, ...]:
    return tuple(range(x.ndim, view.ndim))


def _max_pool(a: Attributes, x: Array) -> Array:
    view = _pool_view(a, x, -np.inf, -np.inf)
    return view.max(axis=_taps(x, view))


def _average_pool(a: Attributes, x: Array) -> Array:
    view = _pool_view(a, x, 0.0, 0.0)
    counted = _pool_view(a, np.ones_like(x), 0.0, float(a.get("count_include_pad", 0)))
    return view.sum(axis=_taps(x, view)) / counted.sum(axis=_taps(x, view))


# Everything else.


def _default(a: Attributes, name: str, number: float) -> float:
    """A float attribute; its default is a float32 as those of files are."""
    return float(a.get(name, np.float32(number)))


ERF = np.vectorize(erf, otypes=[np.float64])


def _gelu(a: Attributes, x: Array) -> Array:
    if a.get("approximate", "none") == "tanh":
        return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))
    return 0.5 * x * (1 + ERF(x / np.sqrt(2)))


def _batch_norm(a: Attributes, x: Array, *parameters: Array) -> Array:
    gamma, beta, mean, variance = (_channels(p, x.ndim - 2) for p in parameters)
    return (x - mean) / np.sqrt(variance + _default(a, "epsilon", 1e-5)) * gamma + beta


def _gemm(a: Attributes, x: Array, w: Array, bias: Array | None = None) -> Array:
    y = a.get("alpha", 1.0) * (x @ (w.T if a.get("transB", 0) else w))
    return y if bias is None else y + a.get("beta", 1.0) * bias


def _reshape(a: Attributes, x: Array, shape: Array) -> Array:
    return x.reshape([x.shape[n] if size == 0 else size for n, size in enumerate(shape.tolist())])


def _slice(a: Attributes, x: Array, starts: Array, ends: Array, axes: Array, steps: Array) -> Array:
    index = [slice(None)] * x.ndim
    for start, end, axis, step in zip(*(v.tolist() for v in (starts, ends, axes, steps))):
        index[axis] = slice(start, end, step)
    return x[tuple(index)]


def _split(a: Attributes, x: Array, sizes: Array | None = None) -> list[Array]:
    axis = a.get("axis", 0)
    if sizes is None:
        return np.split(x, a["outputs"], axis)
    return np.split(x, np.cumsum(sizes)[:-1], axis)


def _depth_to_space(a: Attributes, x: Array) -> Array:
    n, channels, height, width = x.shape
    block = a["blocksize"]
    rest = channels // block**2
    if a.get("mode", "DCR") == "DCR":
        parts = x.reshape(n, block, block, rest, height, width).transpose(0, 3, 4, 1, 5, 2)
    else:
        parts = x.reshape(n, rest, block, block, height, width).transpose(0, 1, 4, 2, 5, 3)
    return parts.reshape(n, rest, height * block, width * block)


def _space_to_depth(a: Attributes, x: Array) -> Array:
    n, channels, height, width = x.shape
    block = a["blocksize"]
    parts = x.reshape(n, channels, height // block, block, width // block, block)
    return parts.transpose(0, 3, 5, 1, 2, 4).reshape(n, -1, height // block, width // block)


def _resize(a: Attributes, x: Array, roi: Array | None, scales: Array | None,
            sizes: Array | None = None) -> Array:
    """Nearest, by whole factors."""
    given = scales if sizes is None else [s / n for s, n in zip(sizes.tolist(), x.shape)]
    assert given is not None
    for axis, factor in enumerate(given):
        x = np.repeat(x, round(factor), axis)
    return x


def _pad(a: Attributes, x: Array, pads: Array, value: Array) -> Array:
    sides = pads.reshape(2, -1).T.tolist()
    return np.pad(x, sides, constant_values=value)


def _unsqueeze(a: Attributes, x: Array, axes: Array) -> Array:
    return np.expand_dims(x, tuple(axes.tolist()))


def _squeeze(a: Attributes, x: Array, axes: Array) -> Array:
    return np.squeeze(x, tuple(axes.tolist()))


def _reduce(function: Callable[..., Array]) -> Callable[..., Array]:
    def reduce(a: Attributes, x: Array, axes: Array | None = None) -> Array:
        """Axes are an attribute of old opsets and an input of new ones."""
        chosen = a["axes"] if axes is None else axes.tolist()
        return function(x, axis=tuple(chosen), keepdims=bool(a.get("keepdims", 1)))
    return reduce


def _softmax(a: Attributes, x: Array) -> Array:
    raised = np.exp(x - x.max(axis=a["axis"], keepdims=True))
    return raised / raised.sum(axis=a["axis"], keepdims=True)


def _clip(a: Attributes, x: Array, low: Array | None = None, high: Array | None = None) -> Array:
    return np.clip(x, -np.inf if low is None else low, np.inf if high is None else high) \
        .astype(x.dtype)


def _over_space(reduce: Callable[..., Array]) -> Callable[..., Array]:
    return lambda a, x: reduce(x, axis=tuple(range(2, x.ndim)), keepdims=True)


PLAIN: dict[str, Callable[..., Any]] = {
    "Abs": lambda a, x: np.abs(x),
    "Add": lambda a, x, y: x + y,
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_norm,
    "Cast": lambda a, x: x.astype(_cast_type(a["to"])),
    "Ceil": lambda a, x: np.ceil(x),
    "Clip": _clip,
    "Concat": lambda a, *xs: np.concatenate(xs, a["axis"]),
    "Constant": lambda a: _wide(numpy_helper.to_array(a["value"])),
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "DepthToSpace": _depth_to_space,
    "DequantizeLinear": lambda a, x, s, z: (
        (x.astype(np.float64) - _along(a, z, x.ndim)) * _along(a, s, x.ndim)),
    "Div": lambda a, x, y: x / y,
    "Dropout": lambda a, x: x,
    "Elu": lambda a, x: np.where(x >= 0, x, np.expm1(np.minimum(x, 0))),
    "Erf": lambda a, x: ERF(x),
    "Flatten": lambda a, x: x.reshape(int(np.prod(x.shape[:a.get("axis", 1)])), -1),
    "Gather": lambda a, x, i: np.take(x, i, a.get("axis", 0)),
    "Gelu": _gelu,
    "Gemm": _gemm,
    "GlobalAveragePool": _over_space(np.mean),
    "GlobalMaxPool": _over_space(np.max),
    "HardSigmoid": lambda a, x: np.clip(
        _default(a, "alpha", 0.2) * x + a.get("beta", 0.5), 0, 1),
    "HardSwish": lambda a, x: x * np.clip(x + 3, 0, 6) / 6,
    "Identity": lambda a, x: x,
    "LeakyRelu": lambda a, x: np.where(x >= 0, x, _default(a, "alpha", 0.01) * x),
    "Log": lambda a, x: np.log(x),
    "MatMul": lambda a, x, y: x @ y,
    "MaxPool": _max_pool,
    "Mul": lambda a, x, y: x * y,
    "Neg": lambda a, x: -x,
    "Pow": lambda a, x, y: x**y,
    "PRelu": lambda a, x, slope: np.where(x >= 0, x, slope * x),
    "Pad": _pad,
    "ReduceMax": _reduce(np.max),
    "ReduceMean": _reduce(np.mean),
    "ReduceSum": _reduce(np.sum),
    "Relu": lambda a, x: np.maximum(x, 0),
    "Reshape": _reshape,
    "Resize": _resize,
    "Round": lambda a, x: np.rint(x),
    "Shape": lambda a, x: np.array(x.shape, dtype=np.int64),
    "Sigmoid": lambda a, x: 1 / (1 + np.exp(-x)),
    "Slice": _slice,
    "Softmax": _softmax,
    "Softplus": lambda a, x: np.logaddexp(x, 0),
    "Softsign": lambda a, x: x / (1 + np.abs(x)),
    "SpaceToDepth": _space_to_depth,
    "Split": _split,
    "Squeeze": _squeeze,
    "Sub": lambda a, x, y: x - y,
    "Tanh": lambda a, x: np.tanh(x),
    "Transpose": lambda a, x: x.transpose(a["perm"]),
    "Unsqueeze": _unsqueeze}


def _cast_type(code: int) -> np.dtype:
    kind = helper.tensor_dtype_to_np_dtype(code)
    return np.dtype(np.float64) if kind == np.float32 else kind
