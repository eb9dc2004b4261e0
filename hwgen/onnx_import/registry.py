"""Which operator of a file is translated by what, and what the documentation says about it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .file import CHANNELS_LAST, OnnxNode
from .quantizers import is_quantization
from .refusal import Refusal

if TYPE_CHECKING:
    from .importer import Importer

__all__ = ["OPERATORS", "Operator", "find_handler", "handles"]

Handler = Callable[["Importer", OnnxNode], None]


@dataclass(frozen=True)
class Operator:
    """An operator that can be imported.

    Parameters
    ----------
    name
        ``op_type``.
    domain
        ``onnx`` (the standard operators) or ``qonnx`` (the domains of Brevitas, FINN and QONNX).
    group
        Heading in the documentation.
    becomes
        What it is in hardware.
    limits
        What of it can't be taken; empty if nothing.
    handler
        Translates a node.
    """

    name: str
    domain: str
    group: str
    becomes: str
    limits: str
    handler: Handler


OPERATORS: dict[tuple[str, str], Operator] = {}
"""By domain and name."""


def handles(*names: str, group: str, becomes: str, limits: str = "", domain: str = "onnx"
            ) -> Callable[[Handler], Handler]:
    """Register a function for operators."""
    def register(handler: Handler) -> Handler:
        for name in names:
            OPERATORS[domain, name] = Operator(name, domain, group, becomes, limits, handler)
        return handler
    return register


def find_handler(node: OnnxNode) -> Handler:
    """What translates a node; Refusal if nothing does."""
    domain = "qonnx" if is_quantization(node) and node.domain != CHANNELS_LAST else "onnx"
    found = OPERATORS.get((domain, node.op_type))
    known = node.domain in ("", CHANNELS_LAST) or is_quantization(node)
    if found is None or not known:
        full = f"{node.domain}::{node.op_type}" if node.domain else node.op_type
        raise Refusal(f"operator {full} can't be built into hardware yet; docs/operators.md lists "
                      "those that can: replace it, or end the network before it")
    return found.handler
