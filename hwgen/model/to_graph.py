"""From validated layers to the integer graph: shapes, types and the meaning of every tensor.

Scales and offsets stay exact fractions all the way. What the hardware can't compute exactly is
refused here, with the way out.
"""

from collections.abc import Sequence
from dataclasses import replace
from math import prod
from typing import Any

from ..graph import REAL, ArrayForm, Front, Graph, Node, Tensor
from ..ops import Shape
from ..real_ops import Function, LeakyRelu, Quantize, RealOp, RealThreshold
from .description import Form, Head, InputTensor
from .layers import Refusal, lower
from .problems import Problems

__all__ = ["build_graph"]


def build_graph(name: Any, entry: InputTensor | None, layers: Sequence[Any], output: str | None,
                head: Head | None, problems: Problems) -> Graph | None:
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
    head
        What the description says beside input and layers: names of the classes, one for each
        channel of the output (of the input of a final argmax), the form of the output; None if
        it is wrong.
    problems
        Receives what is wrong.
    """
    if entry is None:
        return None
    is_float = entry.type == REAL
    given = Tensor(_three_axes(entry.shape), entry.type) if is_float else \
        Tensor(_three_axes(entry.shape), entry.type, (entry.scale,),
               (-entry.scale * entry.zero_point,))
    tensors: dict[str, Tensor] = {entry.name: given}
    taken = {entry.name, *(layer.name for layer in layers if layer is not None)}
    nodes: list[Node] = []
    for n, layer in enumerate(layers):
        if layer is None or not all(name in tensors for name in layer.reads):
            continue
        try:
            made = lower(layer, [tensors[name] for name in layer.reads], len(entry.shape) < 3)
        except Refusal as refusal:
            problems.add(f"{layer.name}.{refusal.field}", refusal.text, n)
            continue
        made = _unique(made, taken)
        tensors[layer.name] = made[-1].output
        nodes += made
    if output is None or output not in tensors:
        return None
    if tensors[output].dtype == REAL:
        problems.add("output", f"{output!r} holds real values; end the network with a quantize or "
                               "threshold layer")
    _check_labels(head.labels if head else None, output, layers, tensors, problems)
    form = _form(entry.form) or ArrayForm.of(entry.shape)
    output_form = _form(head.output_form if head else None)
    if head is not None and head.output_form is not None:
        _check_output_form(head.output_form, tensors[output].shape, problems)
    graph = Graph(str(name), entry.name, given, form, tuple(nodes), output, output_form,
                  host_tail=(head.host_tail or ()) if head else ())
    return _without_front(graph, problems) if is_float and not problems else graph


def _three_axes(shape: Sequence[int]) -> Shape:
    height, width, channels = (1,) * (3 - len(shape)) + tuple(shape)
    return height, width, channels


def _unique(nodes: list[Node], taken: set[str]) -> list[Node]:
    """The nodes of a layer; those in front of its last get names that no layer has."""
    renamed: dict[str, str] = {}
    result = []
    for node in nodes:
        name, number = node.name, 2
        if node is not nodes[-1]:
            while name in taken:
                name, number = f"{node.name}_{number}", number + 1
            taken.add(name)
            renamed[node.name] = name
        inputs = tuple(renamed.get(i, i) for i in node.inputs)
        result.append(replace(node, name=name, inputs=inputs))
    return result


def _form(form: Form | None) -> ArrayForm | None:
    if form is None:
        return None
    view = form.shape if form.view is None else form.view
    return ArrayForm(form.shape, view,
                     tuple(range(len(view))) if form.axes is None else form.axes)


def _check_output_form(form: Form, shape: Shape, problems: Problems) -> None:
    for field, text in form.problems():
        problems.add(f"output_form.{field}", text)
    if prod(form.shape) != prod(shape):
        problems.add("output_form.shape", f"{list(form.shape)} holds {prod(form.shape)} values, "
                                          f"the output {list(shape)} has {prod(shape)}")


def _without_front(graph: Graph, problems: Problems) -> Graph:
    """The graph from the first quantizer on; what is before it becomes the host's work."""
    wanted = ("put one quantize or threshold layer behind it, with only affine, batch_norm, relu, "
              "clamp, leaky_relu and rising activation layers in between")
    ops: list[RealOp] = []
    passed: set[str] = set()
    name = graph.input
    while True:
        users = graph.users(name)
        if len(users) != 1 or name == graph.output:
            readers = ", ".join(user.name for user in users) or "no layer"
            problems.add(graph.input, f"is FLOAT and {name!r} is read by {readers}; {wanted}")
            return graph
        node, = users
        op = node.op
        falls = isinstance(op, Function) and not op.rising \
            or isinstance(op, LeakyRelu) and any(s < 0 for s in op.slope)
        if not isinstance(op, RealOp) or falls:
            problems.add(f"{node.name}.input", f"{name!r} holds the real values of the FLOAT input "
                                               f"{graph.input!r}; {wanted}")
            return graph
        ops.append(op)
        name = node.name
        passed.add(name)
        if isinstance(op, Quantize | RealThreshold):
            break
    rest = tuple(n for n in graph.nodes if n.name not in passed)
    return replace(graph, input=name, input_tensor=graph.tensor(name), nodes=rest,
                   front=Front(graph.input, tuple(ops)))


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
