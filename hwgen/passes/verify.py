"""The invariants of a graph."""

from ..graph import Graph
from ..ops import MaxPool, SumPool
from ..real_ops import REAL
from .rewrite import needed, only_moves

__all__ = ["verify"]


def verify(graph: Graph) -> None:
    """Check what holds for every graph, before and after each pass.

    Names are unique; each node comes after its inputs; shapes are those of the operations; each
    type holds every value that the operation can make; real values come from real operations, and
    from those that only move or compare values; a maximum of integers, whose scale is negative, is
    real; scales and offsets are one or one per channel; the output depends on every node.

    Raises
    ------
    ValueError
        One line per violation: a mistake in the program, not in the model.
    """
    problems = []
    tensors = {graph.input: graph.input_tensor}
    found = needed(graph)
    for node in graph.nodes:
        if node.name in tensors:
            problems.append(f"{node.name}: two tensors have this name")
        missing = [name for name in node.inputs if name not in tensors]
        if missing:
            problems.append(f"{node.name}: reads {', '.join(missing)} before it is made")
        else:
            problems += _check_node(node, [tensors[name] for name in node.inputs])
        if node.name not in found:
            problems.append(f"{node.name}: the output does not depend on it")
        tensors[node.name] = node.output
    if graph.output not in tensors:
        problems.append(f"{graph.output}: the output is not a tensor of the graph")
    if problems:
        raise ValueError("\n".join(problems))


def _check_node(node, inputs) -> list[str]:
    op, output = node.op, node.output
    if len(inputs) < 2 if op.arity is None else len(inputs) != op.arity:
        return [f"{node.name}: {type(op).__name__} can't take {len(inputs)} inputs"]
    shapes, types = tuple(t.shape for t in inputs), tuple(t.dtype for t in inputs)
    try:
        shape = op.shape(*shapes)
    except ValueError as error:
        return [f"{node.name}: {error}"]
    problems = []
    if shape != output.shape:
        problems.append(f"{node.name}: shape is {output.shape}, the operation makes {shape}")
    made = op.result_type(types, shapes)
    if only_moves(op) and (REAL in types or output.dtype == REAL):
        made = REAL
    if isinstance(op, MaxPool) and not isinstance(op, SumPool) and output.dtype != REAL \
            and min(inputs[0].scale) < 0:
        problems.append(f"{node.name}: compares integers of a negative scale")
    if (made == REAL) != (output.dtype == REAL) or made.low < output.dtype.low \
            or made.high > output.dtype.high or (output.dtype.bipolar and not made.bipolar):
        problems.append(f"{node.name}: type is {output.dtype}, the operation makes {made}")
    for what, values in (("scales", output.scale), ("offsets", output.offset)):
        if len(values) not in (1, shape[2]):
            problems.append(f"{node.name}: {len(values)} {what} for {shape[2]} channels")
    return problems
