"""The table of operators in docs/, from the code: ``python -m hwgen.onnx_import.table``."""

from pathlib import Path

from ..model.description import ACCUMULATOR_WIDTH
from ..model.fields import MAX_TYPE_WIDTH
from .constants import WEIGHT_BITS
from .operators import OPERATORS
from .operators.elementwise import MOST_CODES
from .quantizers import LARGEST_BITS, ROUNDING_MODES

__all__ = ["table_text"]

HEAD = """\
# Operators

What `hwgen import`, and every command that takes an ONNX file, reads. This page is written by
`python -m hwgen.onnx_import.table` from the code.

Every network is computed exactly: the golden model, the integer graph after every pass, and the
hardware give the integers that exact arithmetic on the file's numbers gives, with its float32
parameters taken as the numbers they are. Anything else is refused with the node, the reason and a
way out, in one line, and nothing is written.

* **One input, one output, fixed sizes.** The batch is free or 1; vectors, sequences (N, C, L) and
  images (N, C, H, W), or channels last where the operators are.
* **Layouts cost nothing.** Reshapes, transposes and flattens of the file only say where elements
  are; the weights behind them are permuted. Arrays of `golden` and `simulate` have the file's
  layout.
* **The input's quantizer runs on the host**, exactly, with what comes before it; `--input-type`
  gives one to a network without. What comes behind the last integers (Softmax, a Sigmoid or a ReLU
  that nothing quantizes) is left to the host, and said so.
* **Constants are folded**: shape chains, quantized weights and biases in any arrangement. Weights
  without a quantizer are taken where they are multiples of one step exactly (-1 and +1, say).
* **Scale and offset never flow through hardware.** Batch norm, bias, scale and activation become
  integer thresholds, shift and clip, a multiply-add, or a table, whichever is exact and smallest.
"""

REST = """\
## The rest

An operator that is not listed is refused by name. Products of two tensors (attention), recurrent
layers, normalizations that need statistics of the frame (LayerNormalization and the like),
interpolation, control flow, FloatQuant and operators on integers of other formats (QLinearConv,
MatMulInteger) have no hardware block.
"""


def _types() -> dict[str, str]:
    widest = min(LARGEST_BITS, MAX_TYPE_WIDTH)
    return {
        "activations":
            f"{widest} bits at most: bipolar, ternary, signed, unsigned, narrow ranges, zero "
            "points; one scale per tensor or per channel",
        "weights":
            f"bipolar, ternary, signed and unsigned up to {WEIGHT_BITS} bits; one scale per tensor "
            "or per output channel; zero points are folded",
        "sums":
            f"the narrowest type that holds every possible value, {ACCUMULATOR_WIDTH} bits at most",
        "lookup tables": f"behind tensors of at most {MOST_CODES:,} values",
        "rounding": ", ".join(f"`{mode}`" for mode in ROUNDING_MODES),
        "domains of quantizers":
            "`onnx.brevitas`, `finn.custom_op.general`, `qonnx.custom_op.general` and others of "
            "FINN and QONNX; `qonnx.custom_op.channels_last` for Conv, MaxPool, AveragePool and "
            "BatchNormalization",
    }


def table_text() -> str:
    """The page, as it stands in docs/."""
    groups: dict[str, list[str]] = {}
    merged: dict[tuple[str, str, str, str], list[str]] = {}
    for operator in OPERATORS.values():
        key = (operator.group, operator.domain, operator.becomes, operator.limits)
        merged.setdefault(key, []).append(operator.name)
    for (group, domain, becomes, limits), names in merged.items():
        listed = ", ".join(f"`{name}`" for name in names)
        if domain == "qonnx":
            listed += " (QONNX)"
        groups.setdefault(group, []).append(f"| {listed} | {becomes} | {limits} |")
    parts = [HEAD]
    for group in sorted(groups, key=ORDER.index):
        parts.append("\n".join([f"## {group}\n", "| operator | becomes | limits |", "|---|---|---|",
                                *groups[group], ""]))
    parts.append("\n".join(["## Types\n", "| what | |", "|---|---|",
                            *(f"| {what} | {text} |" for what, text in _types().items()), ""]))
    return "\n".join([*parts, REST])


ORDER = ("Quantizers", "Convolutions and dense layers", "Pooling", "Elementwise", "Joins", "Shapes",
         "Ends of networks")

if __name__ == "__main__":
    path = Path(__file__).resolve().parents[2] / "docs" / "operators.md"
    path.write_text(table_text(), encoding="utf-8")
    print(path)
