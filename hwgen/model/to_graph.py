"""From validated layers to the integer graph: shapes, types and the meaning of every tensor.

Scales and offsets stay exact fractions all the way. What the hardware can't compute exactly is
refused here, with the way out.
"""

from collections.abc import Sequence
from typing import Any

from ..graph import REAL, ArrayForm, Graph, Node, Tensor
from .description import InputTensor
from .layers import Refusal, lower
from .problems import Problems

__all__ = ["build_graph"]


def build_graph(name: Any, entry: InputTensor | None, layers: Sequence[Any], output: str | None,
                labels: Sequence[str] | None, problems: Problems) -> Graph | None:
    """The integer graph of a network; reports what can't be built.

    Parameters
    ----------
    name
        Name of the network.
    entry
        The network's input; None if it is wrong, then no layer is looked at.
    layers
        Validated layers with their inputs filled in; None where one is wrong: the layers behind
        it are passed over without a word.
    output
        Name of the tensor that leaves, or None if it is wrong.
    labels
        Names of the classes, one for each channel of the output (of the input of a final argmax).
    problems
        Receives what is wrong.
    """
    if entry is None:
        return None
    given = Tensor(_three_axes(entry.shape), entry.type, (entry.scale,),
                   (-entry.scale * entry.zero_point,))
    tensors: dict[str, Tensor] = {entry.name: given}
    nodes: list[Node] = []
    for n, layer in enumerate(layers):
        if layer is None or not all(name in tensors for name in layer.reads):
            continue
        try:
            op, tensor = lower(layer, [tensors[name] for name in layer.reads],
                               len(entry.shape) < 3)
        except Refusal as refusal:
            problems.add(f"{layer.name}.{refusal.field}", refusal.text, n)
            continue
        tensors[layer.name] = tensor
        nodes.append(Node(layer.name, op, layer.reads, tensor))
    if output is None or output not in tensors:
        return None
    if tensors[output].dtype == REAL:
        problems.add("output", f"{output!r} holds real values; end the network with a quantize or "
                               "threshold layer")
    _check_labels(labels, output, layers, tensors, problems)
    return Graph(str(name), entry.name, given, ArrayForm.of(entry.shape), tuple(nodes), output)


def _three_axes(shape: Sequence[int]) -> tuple[int, int, int]:
    height, width, channels = (1,) * (3 - len(shape)) + tuple(shape)
    return height, width, channels


def _check_labels(labels: Sequence[str] | None, output: str, layers: Sequence[Any],
                  tensors: dict[str, Tensor], problems: Problems) -> None:
    if labels is None:
        return
    last = next(layer for layer in layers if layer is not None and layer.name == output)
    scores = last.reads[0] if last.type == "argmax" else output
    classes = tensors[scores].shape[2]
    if len(labels) != classes:
        problems.add("labels", f"has {len(labels)} entries, must name each of the {classes} "
                               f"channels of {scores!r}")
