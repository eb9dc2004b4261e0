"""What is left to the host, in words."""

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

from .graph import Graph
from .real_ops import (
    Affine,
    Clamp,
    Function,
    LeakyRelu,
    Numbers,
    Quantize,
    RealOp,
    RealThreshold,
)

__all__ = ["host_lines", "host_work"]

LONGEST = 20  # characters of a fraction


def host_work(graph: Graph) -> dict[str, list[str]]:
    """``{"input": [...], "output": [...]}``: the host's operations, in order."""
    front = graph.front.ops if graph.front else ()
    return {"input": [_describe(op) for op in front], "output": list(graph.host_tail)}


def host_lines(work: dict[str, Any]) -> Iterator[str]:
    """Lines for a reader: what :func:`host_work` found."""
    if work.get("input"):
        yield "input, on the host: " + ", ".join(work["input"])
    if work.get("output"):
        yield "left to the host: " + ", ".join(work["output"])


def _describe(op: RealOp) -> str:
    if isinstance(op, Affine):
        parts = ["times " + _range(op.scale)] * any(s != 1 for s in op.scale) \
            + ["plus " + _range(op.offset)] * any(o != 0 for o in op.offset)
        return " ".join(parts) or "as it is"
    if isinstance(op, Clamp):
        bounds = ("" if b is None else _number(b) for b in (op.low, op.high))
        return f"clamp to {'..'.join(bounds)}"
    if isinstance(op, LeakyRelu):
        return f"leaky ReLU of slope {_range(op.slope)}"
    if isinstance(op, Function):
        return op.name
    if isinstance(op, RealThreshold):
        return f"threshold to {op.out_type.name}"
    assert isinstance(op, Quantize)
    if op.out_type.bipolar:
        return "sign"
    narrow = f" {op.low}..{op.high}" if op.bounds else ""
    zero = f", zero point {_number(op.zero_point)}" if op.zero_point else ""
    rounding = f", rounding {op.rounding}" if op.rounding != "half_even" else ""
    return f"quantize to {op.out_type.name}{narrow}, scale {_range(op.scale)}{zero}{rounding}"


def _range(numbers: Numbers) -> str:
    low, high = min(numbers), max(numbers)
    return _number(low) if low == high else f"{_number(low)} to {_number(high)}"


def _number(number: Fraction | int) -> str:
    """The number exactly, so that it can be used, unless that is long."""
    text = str(number)
    near = float(number)
    return text if near != number and len(text) <= LONGEST else f"{near!r}".removesuffix(".0")
