"""Elementwise operations with constants: scale and offset, clamps, functions."""

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from ...graph import REAL
from ...real_ops import FUNCTIONS
from ..constants import Constant, exact
from ..file import OnnxNode
from ..refusal import Refusal
from ..registry import handles
from ..values import Expression, Value

if TYPE_CHECKING:
    from ..importer import Importer

__all__ = ["affine", "apply", "joined"]

FAR = Fraction(10)**40  # beyond every float32: a bound that is none
GROUP = "Elementwise"
MOST_CODES = 4096  # of the tensor that a product of functions is computed from


def apply(importer: "Importer", node: OnnxNode, value: Value, kind: str,
          compute: Callable[[np.ndarray], np.ndarray] | None, *, part: str = "",
          **fields: Any) -> Value:
    """An elementwise layer behind a value, or one more step of its expression.

    ``compute`` is the layer in float64; None where it differs between channels.
    """
    expression = None
    if compute is not None:
        before = value.compute
        expression = Expression(value.base, lambda x: compute(before(x)))
    if value.pending:
        if expression is None:
            raise Refusal("has one constant per channel behind a product of functions of one "
                          "tensor; put a quantizer in between")
        return _stepped(value, replace(value, expression=expression), node)
    layer, tensor = importer.emit(kind, value, part=part, **fields)
    return _stepped(value, replace(value, layer=layer, tensor=tensor, expression=expression), node)


def _stepped(before: Value, after: Value, node: OnnxNode) -> Value:
    """Remember the last integers before real values, and what came behind them."""
    if after.tensor.dtype != REAL and not after.pending:
        return replace(after, settled=None, trail=())
    return replace(after, settled=before.settled or before, trail=(*before.trail, node.op_type))


def affine(importer: "Importer", node: OnnxNode, value: Value, scale: np.ndarray | None,
           offset: np.ndarray | None, part: str = "") -> Value:
    """``x * scale + offset``; object arrays of fractions that broadcast over the file's tensor."""
    parameters: dict[str, np.ndarray] = {}
    for what, given in (("scale", scale), ("offset", offset)):
        if given is not None:
            value, parameters[what] = importer.per_channel(value, given, what)
    if any(len(p) > 1 for p in parameters.values()):
        # Flattening for the second parameter changes what "per channel" means for the first.
        for what, given in (("scale", scale), ("offset", offset)):
            if given is not None:
                value, parameters[what] = importer.per_channel(value, given, what)
    single = all(len(p) == 1 for p in parameters.values())
    a = parameters.get("scale", np.array([Fraction(1)], dtype=object))
    b = parameters.get("offset", np.array([Fraction(0)], dtype=object))
    slope, summand = float(a[0]), float(b[0])
    function = (lambda x: x * slope + summand) if single else None
    return apply(importer, node, value, "affine", function, part=part,
                 **{what: p.tolist() if len(p) > 1 else p[0] for what, p in parameters.items()})


def joined(importer: "Importer", node: OnnxNode, a: Value, b: Value,
           combine: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Value:
    """Two functions of one tensor, combined: known value by value once a quantizer follows."""
    base = a.base
    same = base.layer == b.base.layer and np.array_equal(a.index, b.index)
    codes = base.tensor.dtype.high - base.tensor.dtype.low + 1
    if not same or base.tensor.dtype == REAL or codes > MOST_CODES:
        raise Refusal(f"combines two tensors, {a.sizes()} and {b.sizes()}; only functions of one "
                      f"tensor of at most {MOST_CODES.bit_length() - 1} bits can be multiplied "
                      "(as in x * sigmoid(x)); quantize that tensor before")

    def function(x: np.ndarray) -> np.ndarray:
        return combine(a.compute(x), b.compute(x))
    return _stepped(base, replace(base, index=a.index, expression=Expression(base, function),
                                  pending=True), node)


def _operands(importer: "Importer", node: OnnxNode) -> tuple[Value, Constant | None, bool]:
    """The tensor, the constant beside it (None if both are tensors), and whether it comes first."""
    if importer.is_constant(node, 0):
        return importer.value(node, 1), importer.constant(node, 0, "operand"), True
    first = importer.value(node, 0)
    if importer.is_constant(node, 1):
        return first, importer.constant(node, 1, "operand"), False
    return first, None, False


def _widened(value: Value, constant: Constant) -> Value:
    """The value with dimensions of 1 in front, where the constant has more."""
    missing = constant.value.ndim - len(value.shape)
    if missing > 0 and constant.value.size > 1:
        value = value.moved(value.index.reshape((1,) * missing + value.shape))
    return value


COMBINE = {"Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Div": np.divide}


@handles("Add", "Sub", "Mul", "Div", group=GROUP,
         becomes="with a constant: part of the scale and offset that the next quantizer folds into "
                 "its thresholds; Add and Sub of two tensors: exact sum, unequal scales included",
         limits="no product of two tensors, but of functions of one tensor of at most 12 bits that "
                "a quantizer ends (x * sigmoid(x))")
def _arithmetic(importer: "Importer", node: OnnxNode) -> None:
    value, constant, reversed_ = _operands(importer, node)
    if constant is None:
        importer.set(node, _two_tensors(importer, node, value))
        return
    value = _widened(value, constant)
    numbers = constant.fractions()
    if node.op_type in ("Add", "Sub"):
        negative = np.array([Fraction(-1)], dtype=object)
        scale = negative if reversed_ and node.op_type == "Sub" else None
        offset = -numbers if node.op_type == "Sub" and not reversed_ else numbers
        importer.set(node, affine(importer, node, value, scale, offset))
        return
    if node.op_type == "Div":
        if reversed_:
            raise Refusal("divides a constant by a tensor; only division by a constant can be "
                          "built")
        if not constant.value.all():
            raise Refusal("divides by 0")
        numbers = 1 / numbers
    importer.set(node, affine(importer, node, value, numbers, None))


def _two_tensors(importer: "Importer", node: OnnxNode, first: Value) -> Value:
    second = importer.value(node, 1)
    whole = all(not v.pending and v.tensor.dtype != REAL for v in (first, second))
    if node.op_type not in ("Add", "Sub") or not whole:
        if first.base.layer == second.base.layer:
            return joined(importer, node, first, second, COMBINE[node.op_type])
        if not whole and node.op_type in ("Add", "Sub"):
            raise Refusal("adds real values; put quantizers in front of both operands")
        return joined(importer, node, first, second, COMBINE[node.op_type])
    if first.shape != second.shape:
        raise Refusal(f"adds tensors of shapes {first.sizes()} and {second.sizes()}; only equal "
                      "shapes can be added, no broadcasting")
    if node.op_type == "Sub":
        minus = np.array([Fraction(-1)], dtype=object)
        second = affine(importer, node, second, minus, None, part="negated")
    if first.tensor.shape != second.tensor.shape or not np.array_equal(first.index, second.index):
        want = np.empty(first.tensor.shape, dtype=np.int64).reshape(-1)
        want[first.index.reshape(-1)] = second.index.reshape(-1)
        moved = importer.arranged(second, want.reshape(first.tensor.shape))
        second = moved.moved(first.index)
    layer, tensor = importer.emit("add", [first, second])
    return Value(layer, tensor, first.index)


@handles("Neg", group=GROUP, becomes="a negative scale, folded as above")
def _neg(importer: "Importer", node: OnnxNode) -> None:
    minus = np.array([Fraction(-1)], dtype=object)
    importer.set(node, affine(importer, node, importer.value(node), minus, None))


@handles("Pow", group=GROUP, becomes="part of a lookup table",
         limits="constant exponent, in a function of one tensor of at most 12 bits that a "
                "quantizer ends")
def _pow(importer: "Importer", node: OnnxNode) -> None:
    value = importer.value(node)
    exponent = importer.constant(node, 1, "exponent").value
    if exponent.size != 1:
        raise Refusal("has an exponent per element; one number can be built")
    power = float(exponent.reshape(-1)[0])
    importer.set(node, joined(importer, node, value, value, lambda x, _: x**power))


@handles("BatchNormalization", group=GROUP,
         becomes="scale and offset per channel, folded into the next quantizer's thresholds; any "
                 "sign of gamma", limits="with the statistics of training (inference mode)")
def _batch_norm(importer: "Importer", node: OnnxNode) -> None:
    value = importer.value(node)
    if node.attributes.get("training_mode", 0):
        raise Refusal("is in training mode; export the network in inference mode (model.eval())")
    axis = len(value.shape) - 1 if node.channels_last else 1
    shape = [-1 if a == axis else 1 for a in range(len(value.shape))]
    names = ("gamma", "beta", "mean", "variance")
    given = []
    for n, name in enumerate(names):
        constant = importer.constant(node, n + 1, name).value
        if constant.size != value.shape[axis]:
            raise Refusal(f"{name} has {constant.size} entries, the tensor has "
                          f"{value.shape[axis]} channels")
        given.append(constant.reshape(shape))
    # Rows that are told apart by position settle whether channels stay channels.
    value, order = importer.per_channel(value, np.arange(value.shape[axis]).reshape(shape),
                                        "gamma")
    rows = order if len(order) == value.tensor.shape[2] else \
        np.broadcast_to(order, value.tensor.shape[2])
    lists = {name: p.reshape(-1)[rows].tolist() for name, p in zip(names, given)}
    epsilon = float(np.float32(node.attributes.get("epsilon", 1e-5)))
    importer.set(node, apply(importer, node, value, "batch_norm", None, epsilon=epsilon, **lists))


@handles("Relu", group=GROUP, becomes="folded into the next quantizer's thresholds")
def _relu(importer: "Importer", node: OnnxNode) -> None:
    importer.set(node, apply(importer, node, importer.value(node), "relu",
                             lambda x: np.maximum(x, 0)))


@handles("LeakyRelu", group=GROUP, becomes="folded into the next quantizer's thresholds; a lookup "
         "table where the slope is negative")
def _leaky_relu(importer: "Importer", node: OnnxNode) -> None:
    slope = Fraction(float(np.float32(node.attributes.get("alpha", 0.01))))
    number = float(slope)
    importer.set(node, apply(importer, node, importer.value(node), "leaky_relu",
                             lambda x: np.where(x >= 0, x, x * number), slope=slope))


@handles("PRelu", group=GROUP, becomes="as LeakyRelu, a slope per channel")
def _prelu(importer: "Importer", node: OnnxNode) -> None:
    value = importer.value(node)
    value, slope = importer.per_channel(
        value, importer.constant(node, 1, "slope").fractions(), "slope")
    number = float(slope[0])
    function = (lambda x: np.where(x >= 0, x, x * number)) if len(slope) == 1 else None
    importer.set(node, apply(importer, node, value, "leaky_relu", function,
                             slope=slope.tolist() if len(slope) > 1 else slope[0]))


def _bound(importer: "Importer", node: OnnxNode, position: int, name: str) -> Fraction | None:
    if name in node.attributes:
        number = float(np.float32(node.attributes[name]))
    else:
        constant = importer.optional_constant(node, position, name)
        if constant is None:
            return None
        number = float(constant.value.reshape(-1)[0])
    return Fraction(number) if np.isfinite(number) and abs(number) < 3e38 else None


@handles("Clip", group=GROUP,
         becomes="folded into the next quantizer's thresholds; behind a QuantizeLinear a narrower "
                 "range of codes")
def _clip(importer: "Importer", node: OnnxNode) -> None:
    value = importer.value(node)
    low, high = _bound(importer, node, 1, "min"), _bound(importer, node, 2, "max")
    if low is None and high is None:
        importer.set(node, value)
        return
    bottom, top = -FAR if low is None else low, FAR if high is None else high
    if bottom > top:
        raise Refusal(f"min {float(bottom):g} is above max {float(top):g}")
    from .quantization import narrowed  # which needs this module

    codes = narrowed(importer, node, value, bottom, top)
    if codes is not None:
        importer.set(node, codes)
        return
    limits = float(bottom), float(top)
    importer.set(node, apply(importer, node, value, "clamp", lambda x: np.clip(x, *limits),
                             min=bottom, max=top))


SAME_NAME = {"Sigmoid": "sigmoid", "Tanh": "tanh", "Softplus": "softplus", "Softsign": "softsign",
             "Erf": "erf", "HardSwish": "hard_swish", "Mish": "mish", "Abs": "abs", "Swish": "silu"}


@handles(*SAME_NAME, group=GROUP,
         becomes="rising functions (sigmoid, tanh, softplus, softsign, erf): thresholds; the "
                 "others: a lookup table behind a tensor of at most 12 bits")
def _function(importer: "Importer", node: OnnxNode) -> None:
    if node.op_type == "Swish" and node.attributes.get("alpha", 1.0) != 1.0:
        raise Refusal("alpha must be 1")
    _named(importer, node, SAME_NAME[node.op_type])


@handles("Gelu", group=GROUP, becomes="a lookup table behind a tensor of at most 12 bits")
def _gelu(importer: "Importer", node: OnnxNode) -> None:
    _named(importer, node, "gelu_tanh" if node.attributes.get("approximate", "none") == "tanh"
           else "gelu")


@handles("Elu", "Selu", group=GROUP, becomes="thresholds",
         limits="alpha 1 (Elu), default constants (Selu)")
def _elu(importer: "Importer", node: OnnxNode) -> None:
    usual = {"Elu": {"alpha": 1.0}, "Selu": {"alpha": 1.67326319217681884765625,
                                             "gamma": 1.05070102214813232421875}}[node.op_type]
    for name, number in usual.items():
        if abs(node.attributes.get(name, number) - number) > 1e-6:
            raise Refusal(f"{name} must be {number:g}")
    _named(importer, node, node.op_type.lower())


def _named(importer: "Importer", node: OnnxNode, name: str) -> None:
    compute = np.vectorize(FUNCTIONS[name].compute, otypes=[np.float64])
    importer.set(node, apply(importer, node, importer.value(node), "activation", compute,
                             function=name))


@handles("HardSigmoid", group=GROUP, becomes="thresholds")
def _hard_sigmoid(importer: "Importer", node: OnnxNode) -> None:
    alpha = np.float32(node.attributes.get("alpha", 0.2))
    beta = np.float32(node.attributes.get("beta", 0.5))
    scaled = affine(importer, node, importer.value(node), exact(np.array([float(alpha)])),
                    exact(np.array([float(beta)])), part="scaled")
    importer.set(node, apply(importer, node, scaled, "clamp", lambda x: np.clip(x, 0, 1),
                             min=0, max=1))


@handles("Sqrt", "Exp", "Log", "Reciprocal", "Sin", "Cos", group=GROUP,
         becomes="part of a lookup table",
         limits="in a function of one tensor of at most 12 bits that a quantizer ends")
def _table_only(importer: "Importer", node: OnnxNode) -> None:
    compute = {"Sqrt": np.sqrt, "Exp": np.exp, "Log": np.log, "Reciprocal": np.reciprocal,
               "Sin": np.sin, "Cos": np.cos}[node.op_type]
    value = importer.value(node)
    importer.set(node, joined(importer, node, value, value, lambda x, _: compute(x)))
