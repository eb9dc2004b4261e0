"""Ends of networks: top-1, and what is left to the host."""

from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from ...graph import REAL
from ..constants import integer
from ..file import OnnxNode
from ..refusal import Refusal
from ..registry import handles
from ..values import Value
from .elementwise import affine

if TYPE_CHECKING:
    from ..importer import Importer

GROUP = "Ends of networks"
KEEP_ORDER = ("Softmax", "LogSoftmax", "Sigmoid")


@handles("Softmax", "LogSoftmax", group=GROUP,
         becomes="left to the host (it keeps the order of the scores); in front of ArgMax or TopK "
                 "dropped")
def _softmax(importer: "Importer", node: OnnxNode) -> None:
    value = importer.value(node)
    importer.set(node, replace(value, host=(*value.host, node.op_type)))


def _scores(importer: "Importer", node: OnnxNode, axis: int) -> Value:
    """The scores that an index is taken of, as pixels whose channels are ``axis``."""
    value = importer.value(node)
    if any(op not in KEEP_ORDER for op in value.host):
        raise Refusal(f"looks for the largest value behind {value.host[-1]}, which is left to the "
                      "host; remove one of them")
    value = replace(value, host=())
    if value.settled is not None and (value.pending or value.tensor.dtype == REAL):
        if any(op not in KEEP_ORDER for op in value.trail):
            raise Refusal("looks for the largest of values that are not quantized; put a quantizer "
                          "in front")
        value = value.settled.moved(value.index)
    if value.index.size == value.shape[axis]:
        # One vector: its order in the file decides which index is meant.
        return importer.arranged(value, value.index.reshape(1, 1, -1))
    last = np.moveaxis(value.index, axis, -1)
    if last.ndim == 4:
        last = last[0]
    if last.ndim != 3:
        raise Refusal(f"looks for the largest value of a tensor {value.sizes()}")
    return importer.arranged(value, last)


def _index(importer: "Importer", node: OnnxNode, value: Value, axis: int, keep: bool,
           largest: bool, position: int = 0) -> None:
    scores = _scores(importer, node, axis)
    if not largest:
        minus = np.array([Fraction(-1)], dtype=object)
        scores = affine(importer, node, scores, minus, None, part="negated")
    layer, tensor = importer.emit("argmax", scores, output=node.outputs[position])
    shape = [1 if a == axis else size for a, size in enumerate(value.shape)]
    if not keep:
        del shape[axis]
    index = np.arange(int(np.prod(tensor.shape))).reshape(shape)
    importer.set(node, Value(layer, tensor, index), position)


@handles("ArgMax", "ArgMin", group=GROUP,
         becomes="the index of the largest (smallest) channel; the lowest index wins a tie",
         limits="along channels; select_last_index 0")
def _arg_max(importer: "Importer", node: OnnxNode) -> None:
    value = importer.value(node)
    if node.attributes.get("select_last_index", 0):
        raise Refusal("wants the last of equal values (select_last_index); the first can be built")
    axis = int(node.attributes.get("axis", 0)) % len(value.shape)
    _index(importer, node, value, axis, bool(node.attributes.get("keepdims", 1)),
           node.op_type == "ArgMax")


@handles("TopK", group=GROUP, becomes="for k = 1 the index of the largest channel",
         limits="k = 1, the indices only; other k: end the network at the scores")
def _top_k(importer: "Importer", node: OnnxNode) -> None:
    value = importer.value(node)
    k = node.attributes.get("k")
    k = int(k) if k is not None else integer(importer.constant(node, 1, "k"), "k")
    if k != 1:
        raise Refusal(f"wants the {k} largest values; only the largest can be built: end the "
                      "network at the scores and sort them on the host")
    used = {name for other in importer.file.nodes for name in other.inputs} | {importer.file.output}
    if node.outputs[0] and node.outputs[0] in used:
        raise Refusal("gives the largest value itself; only its index can be built")
    axis = int(node.attributes.get("axis", -1)) % len(value.shape)
    _index(importer, node, value, axis, True, bool(node.attributes.get("largest", 1)), 1)
