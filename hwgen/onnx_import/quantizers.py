"""What the attributes of quantizer nodes mean."""

import re

from ..types import NumType, int_type, uint_type
from .constants import Constant
from .file import OnnxNode
from .refusal import Refusal

__all__ = ["ROUNDING_MODES", "integer_range", "is_quantization", "linear_type", "rounding_of"]

DOMAINS = ("onnx.brevitas", "finn.", "qonnx.")
LARGEST_BITS = 32

ROUNDING_MODES = {
    "ROUND": "half_even", "HALF_EVEN": "half_even", "CEIL": "ceil", "FLOOR": "floor",
    "UP": "away_from_zero", "DOWN": "toward_zero", "ROUND_TO_ZERO": "toward_zero",
    "HALF_UP": "half_away", "HALF_DOWN": "half_toward_zero"}
"""QONNX's names, which are those of decimal arithmetic, and hwgen's."""

ONNX_TYPES = {1: "float32", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32",
              21: "uint4", 22: "int4", 25: "uint2", 26: "int2"}
"""Element types of ``output_dtype``, by their numbers in ONNX's TensorProto."""


def is_quantization(node: OnnxNode) -> bool:
    """Whether the node is of one of the domains of quantization operators."""
    return node.domain.startswith(DOMAINS)


def rounding_of(node: OnnxNode, default: str = "ROUND") -> str:
    """The rounding that a node's ``rounding_mode`` names."""
    mode = str(node.attributes.get("rounding_mode", default)).upper()
    if mode not in ROUNDING_MODES:
        raise Refusal(f"rounding_mode {mode!r} is unknown; choose "
                      f"{', '.join(sorted(ROUNDING_MODES))}")
    return ROUNDING_MODES[mode]


def integer_range(node: OnnxNode, bits: int) -> tuple[int, int] | None:
    """Smallest and largest code of a quantizer; None for one signed bit, which is bipolar.

    Trunc is signed and not narrow unless it says otherwise, Quant must say.
    """
    attributes = {**({"signed": 1, "narrow": 0} if node.op_type == "Trunc" else {}),
                  **node.attributes}
    for name in ("signed", "narrow"):
        if name not in attributes:
            raise Refusal(f"has no attribute {name}, so its codes are not known; set it to 0 or 1")
    signed, narrow = bool(attributes["signed"]), bool(attributes["narrow"])
    if not 1 <= bits <= LARGEST_BITS:
        raise Refusal(f"bit width is {bits}; 1 to {LARGEST_BITS} bits can be built")
    if signed and bits == 1:
        return None
    if signed:
        return -(1 << (bits - 1)) + narrow, (1 << (bits - 1)) - 1
    if bits == 1 and narrow:
        raise Refusal("one unsigned bit in a narrow range is always 0; set narrow to 0")
    return 0, (1 << bits) - 1 - narrow


def linear_type(node: OnnxNode, zero_point: Constant | None) -> NumType:
    """Type of the codes of a QuantizeLinear: that of its zero point, or ``output_dtype``."""
    kind = ONNX_TYPES.get(node.attributes.get("output_dtype", 0), "")
    if not kind:
        kind = zero_point.kind if zero_point is not None else "uint8"
    match = re.fullmatch(r"(u?)int(\d+)", kind)
    if not match:
        raise Refusal(f"makes {kind}; integer types up to {LARGEST_BITS} bits can be built")
    return uint_type(int(match[2])) if match[1] else int_type(int(match[2]))
