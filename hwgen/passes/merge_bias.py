"""Bias -> the accumulators or the levels beside it."""

from dataclasses import replace

import numpy as np

from ..graph import Graph, Node
from ..ops import Bias, Conv, Threshold
from .rewrite import prune

__all__ = ["merge_bias"]


def merge_bias(graph: Graph) -> Graph:
    """Add each Bias to what stands beside it, where that makes it free.

    Requires nothing. A Bias, or a chain of them, behind a Conv that feeds nothing else becomes
    part of ``Conv.bias``; the Conv keeps its name and takes the scale and offset of the last
    Bias. A Bias in front of a Threshold moves into its levels. Any other Bias stays.
    """
    nodes: dict[str, Node] = {node.name: node for node in graph.nodes}
    renamed: dict[str, str] = {}
    for node in graph.nodes:
        node = replace(node, inputs=tuple(renamed.get(name, name) for name in node.inputs))
        nodes[node.name] = node
        producer = nodes.get(node.inputs[0])
        while isinstance(node.op, Threshold) and producer and isinstance(producer.op, Bias):
            node = replace(node, op=_shift_levels(node.op, producer.op.values),
                           inputs=producer.inputs)
            nodes[node.name] = node
            producer = nodes.get(node.inputs[0])
        if isinstance(node.op, Bias) and producer and isinstance(producer.op, Conv) \
                and _only_use(graph, node.name, producer.name, renamed):
            op = replace(producer.op, bias=producer.op.bias + node.op.values)
            nodes[producer.name] = replace(producer, op=op, output=node.output)
            renamed[node.name] = producer.name
            del nodes[node.name]
    merged = graph.with_nodes(nodes.values(), output=renamed.get(graph.output, graph.output))
    return prune(merged)


def _only_use(graph: Graph, user: str, conv: str, renamed: dict[str, str]) -> bool:
    """Whether the Conv's tensor, or the last Bias merged into it, feeds only ``user``."""
    names = {conv} | {old for old, new in renamed.items() if new == conv}
    users = {node.name for node in graph.nodes if names & set(node.inputs)} - names
    return users == {user} and graph.output not in names


def _shift_levels(op: Threshold, values: np.ndarray) -> Threshold:
    channels = max(len(values), len(op.levels), len(op.negate))
    values = np.broadcast_to(values, channels)
    negate = np.broadcast_to(op.negate, channels)
    levels = op.levels + np.where(negate, values, -values)[:, None]
    return replace(op, levels=levels, negate=negate)
