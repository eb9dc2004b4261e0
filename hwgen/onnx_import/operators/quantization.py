"""Quantizers on tensors: QONNX's nodes, and ONNX's QuantizeLinear and DequantizeLinear."""

from fractions import Fraction
from math import ceil, floor
from typing import TYPE_CHECKING, Any

import numpy as np

from ...graph import REAL, Tensor
from ...model.description import LAYER
from ...model.layers import lower
from ...real_ops import RealOp
from ...types import TERNARY, NumType, int_type, smallest_type, uint_type
from ..constants import Constant, exact, integer
from ..file import OnnxNode
from ..quantizers import integer_range, linear_type, rounding_of
from ..refusal import Refusal
from ..registry import handles
from ..values import Value
from .elementwise import affine

if TYPE_CHECKING:
    from ..importer import Importer

__all__ = ["narrowed"]

GROUP = "Quantizers"
ENDLESS = Fraction(2)**900  # a level that no value reaches; real thresholds must be finite


def quantized(importer: "Importer", node: OnnxNode, value: Value, kind: str, *, part: str = "",
              **fields: Any) -> Value:
    """A quantize or threshold layer; behind a pending expression, the lookup table of both."""
    if not value.pending:
        layer, tensor = importer.emit(kind, value, part=part, **fields)
        return Value(layer, tensor, value.index, value.movable)
    assert value.expression is not None
    base = value.base
    entry = LAYER.validate_python({"name": "q", "type": kind, "input": "x", **fields}, context={})
    made = lower(entry, [Tensor(base.tensor.shape, REAL)], False)[-1]
    codes = np.arange(base.tensor.dtype.low, base.tensor.dtype.high + 1)
    assert isinstance(made.op, RealOp)
    rows = []
    meanings = max(len(base.tensor.scale), len(base.tensor.offset))
    per_channel = meanings > 1 or any(isinstance(v, list) and len(v) > 1 for v in fields.values())
    for c in range(base.tensor.shape[2] if per_channel else 1):
        scale, offset = base.tensor.channel(c)
        reals = np.array([float(scale * int(code) + offset) for code in codes])
        with np.errstate(all="ignore"):
            results = value.expression.function(reals)
        bad = ~np.isfinite(results)
        if base.tensor.dtype.bipolar:
            results = np.where(codes == 0, 0.0, results)
            bad &= codes != 0
        if bad.any():
            raise Refusal(f"quantizes a function that is not finite at {reals[bad][0]:g}")
        rows.append([int(made.op.value(c, Fraction(y))) for y in results.tolist()])
    if len(made.output.scale) > 1 or len(made.output.offset) > 1:
        raise Refusal("has a scale per channel behind a product of functions of one tensor; give "
                      "one scale for all channels")
    scale, offset = made.output.channel(0)
    values = np.array(rows)
    layer, tensor = importer.emit("lookup", base, values=values if per_channel else values[0],
                                  first=int(codes[0]), output_type=made.output.dtype.name,
                                  scale=scale, part=part)
    result = Value(layer, tensor, value.index)
    if offset:
        return affine(importer, node, result, None, np.array([offset], dtype=object), "offset")
    return result


def _checked_scale(constant: Constant) -> np.ndarray:
    numbers = constant.value
    if numbers.dtype.kind not in "if" or not np.isfinite(numbers).all() or not (numbers > 0).all():
        raise Refusal(f"scale must be positive, found {float(np.min(numbers)):g}")
    return exact(numbers)


def _uniform(importer: "Importer", node: OnnxNode, value: Value, scale: np.ndarray,
             zero: np.ndarray, dtype: NumType, bounds: tuple[int, int], rounding: str,
             part: str = "") -> Value:
    """``clip(round(x / scale + zero))``, meaning ``(code - zero) * scale``."""
    value, scales = importer.per_channel(value, scale, "scale")
    value, zeros = importer.per_channel(value, zero, "zero point")
    value, scales = importer.per_channel(value, scale, "scale")
    fields: dict[str, Any] = {"output_type": dtype.name, "rounding": rounding,
                              "scale": scales.tolist() if len(scales) > 1 else scales[0]}
    if bounds != (dtype.low, dtype.high):
        fields["range"] = list(bounds)
    if len(zeros) == 1:
        if zeros[0]:
            fields["zero_point"] = zeros[0]
        return quantized(importer, node, value, "quantize", part=part, **fields)
    shift = scales * zeros  # one zero point per channel: x / s + z = (x + z * s) / s
    before = affine(importer, node, value, None, _spread(value, shift), part="raised")
    codes = quantized(importer, node, before, "quantize", part="codes", **fields)
    return affine(importer, node, codes, None, _spread(codes, -shift), part=part)


def _spread(value: Value, rows: np.ndarray) -> np.ndarray:
    """One entry per channel of the description's tensor, for each element of the file's."""
    return rows[value.index % value.tensor.shape[2]]


@handles("Quant", "IntQuant", domain="qonnx", group=GROUP,
         becomes="thresholds, shift and clip, or multiplier and shift, whichever is exact and "
                 "smallest",
         limits="1 to 32 bits, constant positive scale (one or per channel), zero point and bit "
                "width; more than 4 096 levels only where a multiplication equals them")
def _quant(importer: "Importer", node: OnnxNode) -> None:
    value = importer.value(node)
    scale = _checked_scale(importer.constant(node, 1, "scale"))
    zero = exact(importer.constant(node, 2, "zero point").value)
    bits = integer(importer.constant(node, 3, "bit width"), "bit width")
    bounds = integer_range(node, bits)
    if bounds is None:
        if (zero != 0).any():
            raise Refusal("is one signed bit (bipolar) with a zero point; it must be 0")
        importer.set(node, _bipolar_layer(importer, node, value, scale))
        return
    dtype = int_type(bits) if node.attributes["signed"] else uint_type(bits)
    if bounds == (-1, 1):
        dtype = TERNARY
    importer.set(node, _uniform(importer, node, value, scale, zero, dtype, bounds,
                                rounding_of(node)))


@handles("BipolarQuant", domain="qonnx", group=GROUP, becomes="one comparison; +1 at exactly 0")
def _bipolar(importer: "Importer", node: OnnxNode) -> None:
    importer.set(node, _bipolar_layer(importer, node, importer.value(node),
                                      _checked_scale(importer.constant(node, 1, "scale"))))


def _bipolar_layer(importer: "Importer", node: OnnxNode, value: Value,
                   scale: np.ndarray) -> Value:
    value, scales = importer.per_channel(value, scale, "scale")
    return quantized(importer, node, value, "quantize", output_type="BIPOLAR",
                     scale=scales.tolist() if len(scales) > 1 else scales[0])


@handles("Trunc", domain="qonnx", group=GROUP, becomes="a shift, folded with what comes before it",
         limits="constant scale, zero point and bit widths; versions 1 and 2")
def _trunc(importer: "Importer", node: OnnxNode) -> None:
    value = importer.value(node)
    second = len(node.inputs) == 6
    scale = _checked_scale(importer.constant(node, 1, "scale"))
    zero = exact(importer.constant(node, 2, "zero point").value)
    bits_in = integer(importer.constant(node, 3, "input bit width"), "input bit width")
    bits_out = integer(importer.constant(node, 5 if second else 4, "output bit width"),
                       "output bit width")
    if scale.size > 1 or zero.size > 1:
        raise Refusal("has a scale or zero point per channel; give one for all channels")
    step, origin = scale.reshape(-1)[0], zero.reshape(-1)[0]
    # Both versions first round to whole steps of the input.
    whole = quantized(importer, node, value, "quantize", part="steps", output_type="INT32",
                      scale=step, **({"zero_point": origin} if origin else {}))
    if second:
        out_step = _checked_scale(importer.constant(node, 4, "output scale")).reshape(-1)[0]
        exponent = round(np.log2(float(out_step / step)))
        bounds = integer_range(node, bits_out)
        if bounds is None:
            raise Refusal("truncates to one signed bit; 2 bits are the least")
        dtype = int_type(bits_out) if node.attributes.get("signed", 1) else uint_type(bits_out)
    else:
        exponent, out_step = bits_in - bits_out, step
        bounds, dtype = None, int_type(min(32, max(bits_in, bits_out) + 2))
    factor = Fraction(2)**exponent
    fields: dict[str, Any] = {"zero_point": origin / factor} if origin else {}
    if bounds is not None and bounds != (dtype.low, dtype.high):
        fields["range"] = list(bounds)
    codes = quantized(importer, node, whole, "quantize", part="codes", output_type=dtype.name,
                      scale=step * factor, rounding=rounding_of(node, "FLOOR"), **fields)
    # Version 1 keeps scale and zero point of the input; version 2 states its own.
    out_zero = origin / factor if second else origin
    importer.set(node, affine(
        importer, node, codes, np.array([out_step / (step * factor)], dtype=object),
        np.array([out_step * (origin / factor - out_zero)], dtype=object)))


@handles("MultiThreshold", domain="qonnx", group=GROUP,
         becomes="thresholds (reached from the level on: >=)")
def _multi_threshold(importer: "Importer", node: OnnxNode) -> None:
    value = importer.value(node)
    levels = importer.constant(node, 1, "thresholds").value.astype(np.float64)
    layout = node.attributes.get("data_layout") or \
        {2: "NC", 3: "NWC", 4: "NCHW"}.get(len(value.shape), "NC")
    axis = layout.index("C") if "C" in layout else 1
    if levels.ndim != 2 or not levels.size or np.isnan(levels).any():
        raise Refusal(f"thresholds have shape {list(levels.shape)}; numbers [channels, levels] "
                      "are needed")
    if len(levels) not in (1, value.shape[axis]):
        raise Refusal(f"thresholds are for {len(levels)} channels, axis {axis} of the tensor "
                      f"{value.sizes()} has {value.shape[axis]}; set data_layout or the "
                      "thresholds' shape")
    levels = np.sort(levels, axis=1)
    if len(levels) > 1 and (levels == levels[0]).all():
        levels = levels[:1]
    if len(levels) > 1:
        shape = [-1 if a == axis else 1 for a in range(len(value.shape))]
        value, order = importer.per_channel(value, np.arange(len(levels)).reshape(shape),
                                            "thresholds")
        levels = levels[order]
    rows = [[Fraction(t) if np.isfinite(t) else ENDLESS if t > 0 else -ENDLESS for t in row]
            for row in levels.tolist()]
    scale = Fraction(float(np.float32(node.attributes.get("out_scale", 1.0))))
    bias = Fraction(float(np.float32(node.attributes.get("out_bias", 0.0))))
    count = levels.shape[1]
    if scale == 0:
        raise Refusal("out_scale is 0: the output is constant")
    if count == 1 and scale > 0 and bias == -scale / 2:
        importer.set(node, quantized(importer, node, value, "threshold", levels=rows,
                                     output_type="BIPOLAR", scale=scale / 2))
        return
    base = bias / scale
    if scale > 0 and base.denominator == 1:
        importer.set(node, quantized(
            importer, node, value, "threshold", levels=rows, base=int(base), scale=scale,
            output_type=smallest_type(min(int(base), 0), int(base) + count).name))
        return
    codes = quantized(importer, node, value, "threshold", levels=rows, base=0, part="codes",
                      output_type=uint_type(count.bit_length()).name)
    importer.set(node, affine(importer, node, codes, np.array([scale], dtype=object),
                              np.array([bias], dtype=object)))


@handles("QuantizeLinear", group=GROUP, becomes="as Quant; a Clip behind it narrows its range",
         limits="integer types, constant scale (one or per channel) and zero point")
def _quantize_linear(importer: "Importer", node: OnnxNode) -> None:
    value = importer.value(node)
    zero_point = importer.optional_constant(node, 2, "zero point")
    scale = _along(node, value, _checked_scale(importer.constant(node, 1, "scale")))
    zero = _along(node, value, exact(np.zeros(()) if zero_point is None else zero_point.value))
    dtype = linear_type(node, zero_point)
    if (zero == zero.reshape(-1)[0]).all():
        # It rounds first and adds the zero point then, which is not the same at ties: so codes
        # are counted from the zero point.
        shift = int(zero.reshape(-1)[0])
        low, high = dtype.low - shift, dtype.high - shift
        dtype = smallest_type(low, high)
        real = _uniform(importer, node, value, scale, zero * 0, dtype, (low, high), "half_even",
                        part="codes")
    elif any(int(z) % 2 for z in zero.reshape(-1)):
        raise Refusal("has odd zero points that differ between channels; give one for all channels")
    else:
        real = _uniform(importer, node, value, scale, zero, dtype, (dtype.low, dtype.high),
                        "half_even", part="codes")
    # The file's tensor holds codes: real / scale + zero.
    importer.set(node, affine(importer, node, real, 1 / scale, zero))


@handles("DequantizeLinear", group=GROUP, becomes="the scale and offset that its codes mean",
         limits="constant scale (one or per channel) and zero point")
def _dequantize_linear(importer: "Importer", node: OnnxNode) -> None:
    value = importer.value(node)
    zero_point = importer.optional_constant(node, 2, "zero point")
    scale = _along(node, value, _checked_scale(importer.constant(node, 1, "scale")))
    offset = None
    if zero_point is not None and zero_point.value.any():
        offset = -scale * _along(node, value, exact(zero_point.value))
    importer.set(node, affine(importer, node, value, scale, offset))


def _along(node: OnnxNode, value: Value, parameter: np.ndarray) -> np.ndarray:
    """A parameter of one number, or one per entry of the node's axis, for broadcasting."""
    if parameter.size == 1:
        return parameter.reshape((1,) * len(value.shape))
    axis = node.attributes.get("axis", 1) % len(value.shape)
    if parameter.ndim != 1 or len(parameter) != value.shape[axis]:
        raise Refusal(f"scale or zero point has shape {list(parameter.shape)}; one number, or one "
                      f"for each of the {value.shape[axis]} entries of axis {axis}, is needed (no "
                      "blocks)")
    return parameter.reshape([-1 if a == axis else 1 for a in range(len(value.shape))])


def narrowed(importer: "Importer", node: OnnxNode, value: Value, low: Fraction,
             high: Fraction) -> Value | None:
    """The codes of a QuantizeLinear clipped to ``low``..``high``: its range made narrower.

    This is how QCDQ files say 1 to 7 bits. None if ``value`` is not just that.
    """
    if len(importer.layers) < 2 or not importer.has_one_reader(node.inputs[0]):
        return None
    codes, meaning = importer.layers[-2:]
    if codes["type"] != "quantize" or meaning["name"] != value.layer \
            or meaning.get("input") != codes["name"] \
            or value.tensor.scale != (1,) or len(value.tensor.offset) > 1:
        return None
    dtype, zero = value.tensor.dtype, value.tensor.offset[0]
    least, most = codes.get("range", [dtype.low, dtype.high])
    bottom, top = max(least, ceil(low - zero)), min(most, floor(high - zero))
    if bottom >= top:
        return None
    narrow = smallest_type(bottom, top) if (bottom, top) != (-1, 1) else TERNARY
    importer.replace(-2, output_type=narrow.name, range=[bottom, top])
    return Value(value.layer, importer.replace(-1), value.index, value.movable)
