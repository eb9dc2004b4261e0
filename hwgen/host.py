"""What is left to the host, in words."""

from collections.abc import Iterator
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
        bounds = ("" if b is None else f"{float(b):g}" for b in (op.low, op.high))
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
    zero = f", zero point {float(op.zero_point):g}" if op.zero_point else ""
    return f"quantize to {op.out_type.name}, scale {_range(op.scale)}{zero}"


def _range(numbers: Numbers) -> str:
    low, high = float(min(numbers)), float(max(numbers))
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"
