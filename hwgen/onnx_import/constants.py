"""Constants of the file: exact numbers, weights as integer codes with their step."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from ..ops import round_fraction
from ..rational import common_unit
from ..types import BIPOLAR, TERNARY, NumType, smallest_type
from .refusal import Refusal

__all__ = ["Constant", "Weights", "exact", "integer", "quantize", "weights_of"]

WEIGHT_BITS = 16
TIE = 1e-9  # of a step: nearer to a tie than this, float64 is checked with fractions


@dataclass(frozen=True, eq=False)
class Constant:
    """A constant tensor.

    Parameters
    ----------
    value
        float64 or int64; strings and others as they are.
    kind
        Name of the element type in the file, such as ``uint8``.
    codes, step
        Where a quantizer made it: integers, and the real value of one step of each (float64, of
        the same shape or one number), ``value = codes * step``.
    """

    value: np.ndarray
    codes: np.ndarray | None = None
    step: np.ndarray | None = None
    kind: str = "float32"

    @classmethod
    def of(cls, array: np.ndarray) -> "Constant":
        """An array of the file: floats become float64, integers int64, without loss."""
        kind = array.dtype.name
        if array.dtype.kind in "iub" or re.fullmatch(r"u?int\d+", kind):
            return cls(array.astype(np.int64), kind=kind)
        if array.dtype.kind == "f" or kind.startswith(("bfloat", "float")):
            return cls(array.astype(np.float64), kind=kind)
        return cls(array, kind=kind)

    def moved(self, move: Callable[[np.ndarray], np.ndarray]) -> "Constant":
        """The constant with its elements moved by a function on arrays."""
        if self.codes is None or self.step is None:
            return replace(self, value=move(self.value))
        step = self.step if self.step.size == 1 else \
            move(np.broadcast_to(self.step, self.value.shape))
        return Constant(move(self.value), move(self.codes), step)

    def scaled(self, factor: float) -> "Constant":
        """The constant times one number."""
        if self.codes is None or self.step is None:
            return Constant(self.value * factor)
        return Constant(self.value * factor, self.codes, self.step * factor)

    def fractions(self) -> np.ndarray:
        """Exact values, an object array of fractions."""
        if self.codes is None or self.step is None:
            return exact(self.value)
        step = exact(np.broadcast_to(self.step, self.codes.shape))
        return step * self.codes.astype(object)


def exact(values) -> np.ndarray:
    """Floats as exact fractions, object array of the same shape."""
    values = np.asarray(values)
    result = np.empty(values.shape, dtype=object)
    distinct: dict[float, Fraction] = {}
    flat = result.reshape(-1)
    for n, v in enumerate(values.reshape(-1).tolist()):
        if v not in distinct:
            distinct[v] = Fraction(v)
        flat[n] = distinct[v]
    return result


def integer(constant: Constant, what: str) -> int:
    """The one integer that a constant holds."""
    if constant.value.size != 1 or constant.value.dtype.kind not in "if":
        raise Refusal(f"{what} must be one number, found shape {list(constant.value.shape)}")
    value = constant.value.reshape(-1)[0]
    if value != int(value):
        raise Refusal(f"{what} must be an integer, found {value:g}")
    return int(value)


def quantize(values: np.ndarray, step: np.ndarray, zero: np.ndarray, low: int, high: int,
             rounding: str) -> Constant:
    """Codes of constants: ``clip(round(value / step + zero)) - zero``.

    The quotient is that of float64; where it is near a tie, or a boundary of the rounding, it is
    decided with exact fractions.
    """
    step, zero = np.broadcast_to(step, values.shape), np.broadcast_to(zero, values.shape)
    quotient = np.clip(values / step + zero, low, high)
    nearest = np.rint(quotient)
    codes = _round(quotient, rounding)
    rest = np.abs(quotient - nearest)
    doubtful = (np.abs(rest - 0.5) < TIE) if rounding.startswith("half") else \
        (rest < TIE) & (rest > 0)
    doubtful &= (quotient > low) & (quotient < high)
    for place in zip(*np.nonzero(doubtful)):
        real = Fraction(float(values[place])) / Fraction(float(step[place])) \
            + Fraction(float(zero[place]))
        codes[place] = round_fraction(real, rounding)
    whole = codes.astype(np.int64)
    shift = np.rint(zero).astype(np.int64)
    if not np.array_equal(shift, zero):
        raise Refusal("its zero point is no integer; quantize weights with an integer zero point")
    distinct = np.unique(step)
    return Constant((whole - shift) * step, whole - shift, distinct if distinct.size == 1
                    else np.array(step))


def _round(x: np.ndarray, mode: str) -> np.ndarray:
    """Float64 counterpart of :func:`hwgen.ops.round_fraction`."""
    if mode in ("floor", "ceil"):
        return np.floor(x) if mode == "floor" else np.ceil(x)
    if mode == "toward_zero":
        return np.trunc(x)
    if mode == "away_from_zero":
        return np.sign(x) * np.ceil(np.abs(x))
    if mode == "half_even":
        return np.rint(x)
    if mode == "half_away":
        return np.sign(x) * np.floor(np.abs(x) + 0.5)
    if mode == "half_toward_zero":
        return np.sign(x) * np.ceil(np.abs(x) - 0.5)
    return np.floor(x + 0.5) if mode == "half_up" else np.ceil(x - 0.5)


@dataclass(frozen=True, eq=False)
class Weights:
    """Weights as a description wants them.

    Parameters
    ----------
    codes
        int64, the file's shape.
    dtype
        Narrowest type that holds them.
    scale
        One fraction, or one for each output channel.
    """

    codes: np.ndarray
    dtype: NumType
    scale: tuple[Fraction, ...]


def weights_of(constant: Constant, out_axis: int | tuple[int, ...], what: str) -> Weights:
    """Integer codes and step per output channel (axes ``out_axis``) of a constant.

    Quantized constants have them. Floats are taken where they are multiples of one step exactly:
    integers, or values on a grid of a power of two.
    """
    axes = (out_axis,) if isinstance(out_axis, int) else out_axis
    if constant.codes is not None and constant.step is not None:
        codes, step = constant.codes, constant.step
        if step.size == 1:
            return _weights(codes, (Fraction(float(step.reshape(-1)[0])),))
        order = (*axes, *(a for a in range(codes.ndim) if a not in axes))
        outputs = int(np.prod([codes.shape[a] for a in axes]))
        rows = np.broadcast_to(step, codes.shape).transpose(order).reshape(outputs, -1)
        if (rows == rows[:, :1]).all():
            return _weights(codes, tuple(Fraction(v) for v in rows[:, 0].tolist()))
        return _uneven(codes, rows, order, what)
    values = constant.value
    if values.dtype.kind not in "if":
        raise Refusal(f"{what} are no numbers")
    if not np.isfinite(values).all():
        raise Refusal(f"{what} hold infinite or undefined values")
    found = _grid(values)
    if found is None:
        raise Refusal(f"{what} are floating-point numbers that are no multiples of one step; "
                      "quantize them (a Quant, BipolarQuant or DequantizeLinear node)")
    return _weights(*found)


def _weights(codes: np.ndarray, scale: tuple[Fraction, ...]) -> Weights:
    low, high = int(codes.min()), int(codes.max())
    if low >= -1 and high <= 1:
        dtype = BIPOLAR if (codes != 0).all() else TERNARY
    else:
        dtype = smallest_type(min(low, -1), high)
    if len(set(scale)) == 1:
        scale = scale[:1]
    return Weights(codes, dtype, scale)


def _uneven(codes: np.ndarray, rows: np.ndarray, order: Sequence[int], what: str) -> Weights:
    """Steps that differ within an output channel: multiples of their common step."""
    turned = codes.transpose(order)
    flat = turned.reshape(len(rows), -1).astype(object)
    scale = []
    for n, row in enumerate(rows):
        steps = exact(row)
        unit = common_unit(steps.tolist())
        flat[n] = flat[n] * np.array([int(s / unit) for s in steps], dtype=object)
        scale.append(unit)
    if max(abs(v) for v in flat.reshape(-1)) >= 1 << (WEIGHT_BITS - 1):
        raise Refusal(f"{what} have scales that differ within an output channel; give one scale "
                      "per output channel")
    whole = flat.astype(np.int64).reshape(turned.shape).transpose(np.argsort(order))
    return _weights(whole, tuple(scale))


def _grid(values: np.ndarray) -> tuple[np.ndarray, tuple[Fraction, ...]] | None:
    """Codes and step of floats that lie on one grid; None if their codes would be too wide."""
    if not values.any():
        return values.astype(np.int64), (Fraction(1),)
    if np.array_equal(values, np.rint(values)) and np.abs(values).max() < 1 << (WEIGHT_BITS - 1):
        return values.astype(np.int64), (Fraction(1),)
    magnitudes = np.unique(np.abs(values[values != 0].astype(np.float64)))
    mantissa, exponent = np.frexp(magnitudes)
    whole = (mantissa * 2.0**53).astype(np.int64)
    trailing = np.array([(w & -w).bit_length() - 1 for w in whole.tolist()])
    lowest = int((exponent - 53 + trailing).min())
    if int(exponent.max()) - lowest > 62:
        return None
    integers = np.ldexp(magnitudes, -lowest).astype(np.int64)
    unit = int(np.gcd.reduce(integers))
    if integers.max() // unit >= 1 << (WEIGHT_BITS - 1):
        return None
    codes = np.rint(np.ldexp(values.astype(np.float64), -lowest)).astype(np.int64) // unit
    return codes, (unit * Fraction(2)**lowest,)
