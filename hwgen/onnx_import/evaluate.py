"""Constant folding: nodes whose inputs are all constant."""

from collections.abc import Callable, Sequence

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator

from .constants import Constant, integer, quantize
from .file import OnnxNode
from .quantizers import integer_range, is_quantization, linear_type, rounding_of
from .refusal import Refusal

__all__ = ["evaluate"]

MOVES = ("Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze")


def evaluate(node: OnnxNode, inputs: Sequence[Constant | None]) -> tuple[Constant, ...]:
    """Outputs of a node of constants.

    Quantizers give integer codes with their step, and what only moves elements keeps them.
    Everything else is computed by ONNX's reference implementation, in float64.
    """
    own = QUANTIZERS.get(node.op_type)
    if own is not None and (is_quantization(node) or node.domain == ""):
        return (own(node, inputs),)
    if node.domain:
        raise Refusal(f"operator {node.domain}::{node.op_type} of constants can't be computed; "
                      "fold it before the export (qonnx.transformation.fold_constants)")
    first = inputs[0] if inputs else None
    if first is not None and first.codes is not None:
        if node.op_type in MOVES:
            shapes = [None if i is None else i.value for i in inputs[1:]]
            return (first.moved(lambda array: _reference(node, [array, *shapes])[0]),)
        other = inputs[1] if len(inputs) > 1 else None
        if node.op_type in ("Mul", "Div") and other is not None and other.value.size == 1 \
                and other.value.ndim <= first.value.ndim:
            factor = float(other.value.reshape(-1)[0])
            return (first.scaled(factor if node.op_type == "Mul" else 1 / factor),)
    results = _reference(node, [None if i is None else i.value for i in inputs])
    return tuple(Constant.of(np.asarray(r)) for r in results)


def _reference(node: OnnxNode, inputs: Sequence[np.ndarray | None]) -> list[np.ndarray]:
    names = [f"input_{n}" if x is not None else "" for n, x in enumerate(inputs)]
    attributes = {k: onnx.numpy_helper.from_array(v) if isinstance(v, np.ndarray) else v
                  for k, v in node.attributes.items()}
    proto = onnx.helper.make_node(node.op_type, names, list(node.outputs), **attributes)
    graph = onnx.helper.make_graph(
        [proto], "constant", [onnx.ValueInfoProto(name=n) for n in names if n],
        [onnx.ValueInfoProto(name=o) for o in node.outputs if o])
    model = onnx.helper.make_model(
        graph, opset_imports=[onnx.helper.make_opsetid("", max(node.opset, 1))])
    try:
        evaluator = ReferenceEvaluator(model)
        feed = {n: x for n, x in zip(names, inputs) if x is not None}
        return [np.asarray(y) for y in evaluator.run(None, feed)]
    except Exception as error:  # the reference raises whatever its NumPy code raises
        reason = " ".join(str(error).split())[:200]
        raise Refusal(f"can't be computed from its constants ({reason})") from None


def _need(inputs: Sequence[Constant | None], position: int, what: str) -> Constant:
    found = inputs[position] if position < len(inputs) else None
    if found is None:
        raise Refusal(f"has no {what}; it must be given as a constant input {position}")
    return found


def _quant(node: OnnxNode, inputs: Sequence[Constant | None]) -> Constant:
    values, step = _need(inputs, 0, "input").value, _need(inputs, 1, "scale").value
    zero, bits = _need(inputs, 2, "zero point").value, integer(_need(inputs, 3, "bit width"),
                                                               "bit width")
    _check_step(step)
    if integer_range(node, bits) is None:
        return _bipolar_codes(values, step)
    low, high = integer_range(node, bits)  # type: ignore[misc]
    return quantize(values, step, zero, low, high, rounding_of(node))


def _bipolar(node: OnnxNode, inputs: Sequence[Constant | None]) -> Constant:
    step = _need(inputs, 1, "scale").value
    _check_step(step)
    return _bipolar_codes(_need(inputs, 0, "input").value, step)


def _bipolar_codes(values: np.ndarray, step: np.ndarray) -> Constant:
    codes = np.where(values >= 0, 1, -1)
    step = np.asarray(step, dtype=np.float64)
    return Constant(codes * step, codes, step if step.size == 1
                    else np.array(np.broadcast_to(step, codes.shape)))


def _check_step(step: np.ndarray) -> None:
    if not (np.isfinite(step).all() and (step > 0).all()):
        raise Refusal(f"scale must be positive, found {float(np.min(step)):g}")


def _along(parameter: np.ndarray, shape: tuple[int, ...], axis: int) -> np.ndarray:
    """A parameter of QuantizeLinear, one number or one per entry of ``axis``, for broadcasting."""
    if parameter.size == 1:
        return parameter.reshape(())
    if parameter.ndim != 1 or parameter.size != shape[axis]:
        raise Refusal(f"scale has shape {list(parameter.shape)}; one number or one for each of "
                      f"the {shape[axis]} entries of axis {axis} can be read (no blocks)")
    return parameter.reshape([-1 if a == axis % len(shape) else 1 for a in range(len(shape))])


def _dequantize(node: OnnxNode, inputs: Sequence[Constant | None]) -> Constant:
    first = _need(inputs, 0, "input")
    values, step = first.value, _need(inputs, 1, "scale").value
    _check_step(step)
    axis = node.attributes.get("axis", 1)
    zero = inputs[2].value if len(inputs) > 2 and inputs[2] is not None else np.zeros(())
    codes = np.rint(values).astype(np.int64) - \
        _along(np.asarray(zero), values.shape, axis).astype(np.int64)
    steps = _along(step, values.shape, axis)
    return Constant(codes * steps, codes, steps if steps.size == 1
                    else np.array(np.broadcast_to(steps, codes.shape)))


def _quantize_linear(node: OnnxNode, inputs: Sequence[Constant | None]) -> Constant:
    values, step = _need(inputs, 0, "input").value, _need(inputs, 1, "scale").value
    _check_step(step)
    axis = node.attributes.get("axis", 1)
    given = inputs[2] if len(inputs) > 2 else None
    zeros = _along(np.zeros(()) if given is None else given.value, values.shape, axis)
    dtype = linear_type(node, given)
    # Rounded first, then the zero point is added.
    rounded = quantize(values, _along(step, values.shape, axis), np.zeros(()), -(1 << 40), 1 << 40,
                       "half_even")
    assert rounded.codes is not None
    codes = rounded.codes + np.broadcast_to(zeros, values.shape).astype(np.int64)
    return Constant(np.clip(codes, dtype.low, dtype.high))


QUANTIZERS: dict[str, Callable[[OnnxNode, Sequence[Constant | None]], Constant]] = {
    "Quant": _quant, "IntQuant": _quant, "BipolarQuant": _bipolar,
    "DequantizeLinear": _dequantize, "QuantizeLinear": _quantize_linear}
