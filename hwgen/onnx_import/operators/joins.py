"""Operations on several tensors."""

from typing import TYPE_CHECKING

import numpy as np

from ...graph import REAL
from ..file import OnnxNode
from ..refusal import Refusal
from ..registry import handles
from ..values import Value

if TYPE_CHECKING:
    from ..importer import Importer

GROUP = "Joins"


@handles("Concat", group=GROUP, becomes="concatenation of channels; unequal scales are kept per "
         "channel", limits="along channels (or of vectors); tensors only, no constants")
def _concat(importer: "Importer", node: OnnxNode) -> None:
    for position in range(len(node.inputs)):
        if importer.is_constant(node, position):
            raise Refusal(f"joins the constant {node.inputs[position]!r} to a tensor; only tensors "
                          "can be joined")
    values = [importer.value(node, n) for n in range(len(node.inputs))]
    if len(values) == 1:
        importer.set(node, values[0])
        return
    rank = len(values[0].shape)
    axis = int(node.attributes.get("axis", 1)) % rank
    if any(v.movable and v.tensor.dtype == REAL for v in values):
        raise Refusal("joins the network's input before it is quantized; put a quantizer in front")
    values = [v.moved(v.index, movable=False) for v in values]  # the layout is settled
    if len({v.tensor.shape[:2] for v in values}) > 1:
        if rank > 2:
            raise Refusal("joins tensors of shapes " + ", ".join(v.sizes() for v in values)
                          + " along height or width; only channels can be joined")
        values = [importer.flat(v) for v in values]
    total = sum(v.tensor.shape[2] for v in values)
    indices, offset = [], 0
    for value in values:
        channels = value.tensor.shape[2]
        pixel, channel = np.divmod(value.index, channels)
        indices.append(pixel * total + offset + channel)
        offset += channels
    try:
        index = np.concatenate(indices, axis)
    except ValueError:
        raise Refusal("joins tensors of shapes " + ", ".join(v.sizes() for v in values)
                      + f" along axis {axis}") from None
    layer, tensor = importer.emit("concat", values)
    importer.set(node, Value(layer, tensor, index))


@handles("Sum", group=GROUP, becomes="exact sum, unequal scales included",
         limits="equal shapes, tensors only")
def _sum(importer: "Importer", node: OnnxNode) -> None:
    values = [importer.value(node, n) for n in range(len(node.inputs))]
    first = values[0]
    if any(v.shape != first.shape or v.tensor.shape != first.tensor.shape
           or not np.array_equal(v.index, first.index) for v in values):
        raise Refusal("adds tensors of shapes " + ", ".join(v.sizes() for v in values)
                      + " or of different layouts; use Add nodes")
    if len(values) == 1:
        importer.set(node, first)
        return
    layer, tensor = importer.emit("add", values)
    importer.set(node, Value(layer, tensor, first.index))
