"""Operations that change nothing."""

from dataclasses import replace

import numpy as np

from ..graph import Graph, Node
from ..ops import Clip, Requantize, Reshape, Upsample
from .rewrite import redirect

__all__ = ["simplify"]


def simplify(graph: Graph) -> Graph:
    """Remove every Clip, Requantize, Reshape and Upsample that hands its input on unchanged.

    Requires types that hold every value. An identity that is the output of the graph goes only
    if its type stays and a layer is left to take its scale and offset.
    """
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


def _is_identity(graph: Graph, node: Node) -> bool:
    op = node.op
    if not isinstance(op, Clip | Requantize | Reshape | Upsample):
        return False
    before = graph.tensor(node.inputs[0])
    if isinstance(op, Clip):
        return (op.low is None or op.low <= before.dtype.low) \
            and (op.high is None or op.high >= before.dtype.high)
    if isinstance(op, Requantize):
        return bool(op.out_type.low <= before.dtype.low and op.out_type.high >= before.dtype.high
                    and op.zero_point == 0
                    and np.array_equal(op.multiplier, np.int64(1) << op.shift))
    return before.shape == node.output.shape
