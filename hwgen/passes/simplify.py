"""Operations that change nothing, and numbers that say the same in fewer bits."""

from dataclasses import replace

import numpy as np

from ..graph import Graph, Node
from ..ops import Clip, Crop, Requantize, Reshape, Select, Upsample, Windows
from .rewrite import prune, redirect

__all__ = ["simplify"]


def simplify(graph: Graph) -> Graph:
    """Remove every operation that hands its input on unchanged.

    Requires types that hold every value. A Reshape of a Reshape, and a Select of a Select, become
    one. Factors of a Requantize lose the powers of two that its shift takes away again. An identity
    that is the output of the graph goes only if its type stays and a layer is left to take its
    scale and offset.
    """
    graph = _merged(graph)
    targets: dict[str, str] = {}
    for node in graph.nodes:
        if not _is_identity(graph, node):
            continue
        before = node.inputs[0]
        while before in targets:
            before = targets[before]
        if node.name == graph.output:
            if before == graph.input or graph.tensor(before).dtype != node.output.dtype:
                continue
            producer = replace(graph.node(before), output=node.output)
            graph = graph.with_nodes(producer if n.name == before else n for n in graph.nodes)
        targets[node.name] = before
    return redirect(graph, targets)


def _merged(graph: Graph) -> Graph:
    """Operations that undo one another, or follow one another, in one."""
    nodes: dict[str, Node] = {}
    for node in graph.nodes:
        before = nodes.get(node.inputs[0])
        if before is not None and isinstance(node.op, Reshape) and isinstance(before.op, Reshape):
            node = replace(node, inputs=before.inputs)
        elif before is not None and isinstance(node.op, Select) and isinstance(before.op, Select):
            indices = before.op.indices
            node = replace(node, op=Select(tuple(indices[i] for i in node.op.indices)),
                           inputs=before.inputs)
        elif isinstance(node.op, Requantize):
            node = replace(node, op=_in_lowest_terms(node.op))
        nodes[node.name] = node
    return prune(graph.with_nodes(nodes.values()))


def _in_lowest_terms(op: Requantize) -> Requantize:
    """The same fractions of smaller numbers; none of TensorFlow Lite's rounding, whose two steps
    depend on the shift."""
    multiplier, shift, offset = np.broadcast_arrays(op.multiplier, op.shift, op.offset)
    common = np.array([int(bits) & -int(bits) for bits in multiplier | offset])
    even = np.minimum(np.where(common > 0, common, np.int64(1) << shift), np.int64(1) << shift)
    if op.rounding == "tflite" or (even == 1).all():
        return op
    parts = [multiplier // even, shift - np.log2(even).astype(np.int64), offset // even]
    multiplier, shift, offset = (part[:1] if (part == part[0]).all() else part for part in parts)
    return replace(op, multiplier=multiplier, shift=shift, offset=offset)


def _is_identity(graph: Graph, node: Node) -> bool:
    op = node.op
    before = graph.tensor(node.inputs[0])
    if isinstance(op, Clip):
        return (op.low is None or op.low <= before.dtype.low) \
            and (op.high is None or op.high >= before.dtype.high)
    if isinstance(op, Requantize):
        return bool(op.out_type.low <= before.dtype.low and op.out_type.high >= before.dtype.high
                    and op.zero_point == 0 and not op.offset.any()
                    and np.array_equal(op.multiplier, np.int64(1) << op.shift))
    if isinstance(op, Select):
        return op.indices == tuple(range(before.shape[2]))
    return before.shape == node.output.shape and (
        isinstance(op, Crop | Reshape | Upsample) or isinstance(op, Windows)
        and (op.kernel, op.stride) == ((1, 1), (1, 1)) and not any(op.pad))
