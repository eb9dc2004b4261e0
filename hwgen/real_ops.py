"""Operations on real values, computed exactly: what lies between an accumulator and its quantizer.

Their inputs are read as real = scale * integer + offset (the tensor's metadata), exactly. Tensors
of type ``REAL`` hold exact fractions; the pass ``fold_activations`` leaves none.
"""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from math import erf, exp, expm1, log1p, pi, sqrt, tanh
from typing import NamedTuple

from .ops import Op, Rounding, round_fraction
from .types import NumType

__all__ = ["FUNCTIONS", "LARGEST", "REAL", "Affine", "Clamp", "Function", "LeakyRelu", "Quantize",
           "RealOp", "RealThreshold"]

REAL = NumType("REAL", 0, 0, 0)
"""Type of tensors that hold exact fractions, between a real operation and the quantizer."""

Numbers = tuple[Fraction, ...]
"""One number for all channels, or one for each."""


def _of(numbers: Numbers, channel: int) -> Fraction:
    return numbers[channel] if len(numbers) > 1 else numbers[0]


class RealOp(Op):
    """An elementwise operation on real values."""

    def value(self, channel: int, x: Fraction) -> Fraction | int:
        """Output of a channel for one exact number."""
        raise NotImplementedError

    def result_type(self, types, shapes):
        return REAL


@dataclass(frozen=True)
class Affine(RealOp):
    """``x * scale + offset`` per channel, exact. On integers only their metadata changes."""

    scale: Numbers
    offset: Numbers

    def value(self, channel, x):
        return x * _of(self.scale, channel) + _of(self.offset, channel)

    def result_type(self, types, shapes):
        return types[0]


@dataclass(frozen=True)
class Clamp(RealOp):
    """Clamp to ``low``..``high`` (either may be None); ReLU is ``Clamp(0, None)``."""

    low: Fraction | None
    high: Fraction | None

    def value(self, channel, x):
        if self.low is not None and x < self.low:
            return self.low
        return self.high if self.high is not None and x > self.high else x


@dataclass(frozen=True)
class LeakyRelu(RealOp):
    """``x`` where it is at least 0, else ``slope * x``; a slope per channel makes it PReLU."""

    slope: Numbers

    def value(self, channel, x):
        return x if x >= 0 else x * _of(self.slope, channel)


class FunctionInfo(NamedTuple):
    """A real function in float64, and whether it never falls."""

    compute: Callable[[float], float]
    rising: bool


def _sigmoid(x: float) -> float:
    return 1 / (1 + exp(-x)) if x >= 0 else exp(x) / (1 + exp(x))


def _relu6(x: float) -> float:
    return min(max(x, 0.0), 6.0)


FUNCTIONS: dict[str, FunctionInfo] = {
    "sigmoid": FunctionInfo(_sigmoid, True),
    "tanh": FunctionInfo(tanh, True),
    "softplus": FunctionInfo(lambda x: max(x, 0.0) + log1p(exp(-abs(x))), True),
    "softsign": FunctionInfo(lambda x: x / (1 + abs(x)), True),
    "elu": FunctionInfo(lambda x: x if x >= 0 else expm1(x), True),
    "selu": FunctionInfo(lambda x: 1.0507009873554805 * (x if x >= 0 else
                                                         1.6732632423543772 * expm1(x)), True),
    "erf": FunctionInfo(erf, True),
    "hard_swish": FunctionInfo(lambda x: x * _relu6(x + 3) / 6, False),
    "silu": FunctionInfo(lambda x: x * _sigmoid(x), False),
    "mish": FunctionInfo(lambda x: x * tanh(max(x, 0.0) + log1p(exp(-abs(x)))), False),
    "gelu": FunctionInfo(lambda x: 0.5 * x * (1 + erf(x / sqrt(2))), False),
    "gelu_tanh": FunctionInfo(
        lambda x: 0.5 * x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x**3))),
        False),
    "abs": FunctionInfo(abs, False),
}
"""The functions of :class:`Function` by name."""

LARGEST = 1e30  # arguments beyond it are taken as this: every function is settled by then


@dataclass(frozen=True)
class Function(RealOp):
    """A function of :data:`FUNCTIONS`, computed in float64 at the float64 nearest to ``x``.

    Its value is an exact number from then on, so every pass agrees on it.
    """

    name: str

    def value(self, channel, x):
        return Fraction(self.at(min(max(float(x), -LARGEST), LARGEST)
                                if abs(x) < LARGEST else (LARGEST if x > 0 else -LARGEST)))

    def at(self, x: float) -> float:
        """The function of one float64."""
        return FUNCTIONS[self.name].compute(x)

    @property
    def rising(self) -> bool:
        """Whether the function never falls."""
        return FUNCTIONS[self.name].rising


@dataclass(frozen=True)
class Quantize(RealOp):
    """``clip(round(x / scale + zero_point))``, per channel, to ``low``..``high``.

    BIPOLAR is +1 where ``x >= 0``, else -1. The output means ``scale * (integer - zero_point)``.

    Parameters
    ----------
    out_type
        Type of the output.
    scale
        Real value of one step of the output, positive; one for all channels or one for each.
    zero_point
        The output that means real 0; it need not be an integer.
    rounding
        One of :data:`hwgen.ops.ROUNDINGS`.
    bounds
        Smallest and largest output; None for all of the type (narrow ranges are less).
    """

    out_type: NumType
    scale: Numbers
    zero_point: Fraction | int = 0
    rounding: Rounding = "half_even"
    bounds: tuple[int, int] | None = None

    def __post_init__(self):
        if isinstance(self.scale, Fraction):
            object.__setattr__(self, "scale", (self.scale,))

    def value(self, channel, x):
        if self.out_type.bipolar:
            return 1 if x >= 0 else -1
        code = round_fraction(x / _of(self.scale, channel) + self.zero_point, self.rounding)
        return min(max(code, self.low), self.high)

    @property
    def low(self) -> int:
        """Smallest output."""
        return self.bounds[0] if self.bounds else self.out_type.low

    @property
    def high(self) -> int:
        """Largest output."""
        return self.bounds[1] if self.bounds else self.out_type.high

    def result_type(self, types, shapes):
        return self.out_type


@dataclass(frozen=True)
class RealThreshold(RealOp):
    """``base + step * (number of levels with x >= level)``, per channel.

    ``levels`` has one ascending row per channel, or one row for all.
    """

    levels: tuple[tuple[Fraction, ...], ...]
    out_type: NumType
    base: int = 0
    step: int = 1
    scale: Fraction = Fraction(1)

    def value(self, channel, x):
        levels = self.levels[channel] if len(self.levels) > 1 else self.levels[0]
        return self.base + self.step * sum(x >= level for level in levels)

    def result_type(self, types, shapes):
        return self.out_type
