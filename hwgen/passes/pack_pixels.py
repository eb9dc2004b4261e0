"""Pixels side by side -> one pixel of more channels, in front of a strided convolution."""

from dataclasses import replace
from math import prod

import numpy as np

from ..graph import Graph, Node, Tensor
from ..ops import Conv
from ..types import TERNARY
from .absorb_selects import ACTIVATION_FIELDS, pick_outputs, pick_tensor
from .infer_types import infer_types

__all__ = ["pack_pixels", "packings"]

def packings(graph: Graph) -> list[int]:
    """Numbers of pixels, ascending, that :func:`pack_pixels` can make one."""
    _, conv = _first_convolution(graph)
    if conv is None:
        return []
    assert isinstance(conv.op, Conv)
    stride = conv.op.stride[1]
    return [pixels for pixels in range(2, stride + 1)
            if stride % pixels == 0 and pack_pixels(graph, pixels) is not None]


def pack_pixels(graph: Graph, pixels: int) -> Graph | None:
    """A graph whose input has ``pixels`` neighbours of a row as channels of one pixel, in the same
    order of values, so that a stream can bring them in one beat; None if there is none.

    That suits a network that begins with a convolution, or with activations in front of it, whose
    horizontal stride is a multiple of ``pixels``: each output then begins at the same place of a
    packed pixel, and the kernel becomes a narrower one of more channels, with zeros where it covers
    packed pixels in part.
    """
    activations, conv = _first_convolution(graph)
    width = graph.input_tensor.shape[1]
    if conv is None:
        return None
    assert isinstance(conv.op, Conv)
    if width % pixels or conv.op.stride[1] % pixels:
        return None
    op = _packed_convolution(conv.op, pixels, width, conv.output.shape[1])
    tensor = _packed_tensor(graph.input_tensor, pixels)
    if op is None or op.shape(tensor.shape) != conv.output.shape:
        return None
    changed = {node.name: replace(node, op=pick_outputs(node.op, _repeated(node.output, pixels)),
                                  output=_packed_tensor(node.output, pixels))
               for node in activations} | {conv.name: replace(conv, op=op)}
    packed = replace(graph, input_tensor=tensor).with_nodes(
        changed.get(node.name, node) for node in graph.nodes)
    return infer_types(packed)


def _first_convolution(graph: Graph) -> tuple[list[Node], Node | None]:
    """The convolution that alone reads the input, or what activations make of it, and these."""
    activations: list[Node] = []
    name = graph.input
    while len(users := graph.users(name)) == 1 and name != graph.output:
        node, = users
        if isinstance(node.op, Conv):
            suits = node.op.groups == 1 and node.op.dilation[1] == 1
            return activations, node if suits else None
        if not isinstance(node.op, tuple(ACTIVATION_FIELDS)):
            break
        activations.append(node)
        name = node.name
    return [], None


def _packed_tensor(tensor: Tensor, pixels: int) -> Tensor:
    height, width, _ = tensor.shape
    wide = pick_tensor(tensor, _repeated(tensor, pixels))
    return replace(wide, shape=(height, width // pixels, wide.shape[2]))


def _repeated(tensor: Tensor, pixels: int) -> np.ndarray:
    """Of each channel of a packed tensor, the one whose values it holds for one of the pixels."""
    return np.tile(np.arange(tensor.shape[2]), pixels)


def _packed_convolution(op: Conv, pixels: int, width: int, positions: int) -> Conv | None:
    """With ``k`` a column of the kernel and ``l`` of padding on the left, it meets column
    ``stride * n - l + k``: place ``(k - l) % pixels`` of packed column
    ``stride / pixels * n + floor((k - l) / pixels)``."""
    height, kernel, channels, neurons = op.weights.shape
    top, bottom, left, _ = op.pad
    columns, places = np.divmod(np.arange(kernel) - left, pixels)
    first, last = int(columns[0]), int(columns[-1])
    if first > 0:
        return None
    weights = np.zeros((height, last - first + 1, pixels, channels, neurons), op.weights.dtype)
    weights[:, columns - first, places] = op.weights
    stride = op.stride[1] // pixels
    right = (positions - 1) * stride + weights.shape[1] - width // pixels + first
    whole = prod(weights.shape[:3]) == height * kernel
    kind = op.weight_type if whole or op.weight_type.contains(np.zeros(1, int)).all() else TERNARY
    return replace(op, weights=weights.reshape(height, -1, pixels * channels, neurons),
                   weight_type=kind, stride=(op.stride[0], stride),
                   pad=(top, bottom, -first, max(0, right)))
