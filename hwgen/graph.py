"""The integer graph: the one description of what a network computes, and it runs.

A graph is a tuple of nodes in topological order. A node's name is the name of its output tensor.
Passes (:mod:`hwgen.passes`) are functions from graph to graph with equal results.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from .errors import ModelError
from .ops import Op, Shape
from .real_ops import REAL, Affine, RealOp
from .types import NumType

__all__ = ["REAL", "ArrayForm", "Front", "Graph", "Node", "Tensor", "evaluate"]

ONE, ZERO = (Fraction(1),), (Fraction(0),)


@dataclass(frozen=True)
class Tensor:
    """Shape, type and meaning of a tensor: real value = scale * integer + offset.

    Parameters
    ----------
    shape
        (height, width, channels).
    dtype
        Type of the integers.
    scale, offset
        One exact number for all channels, or one per channel.
    """

    shape: Shape
    dtype: NumType
    scale: tuple[Fraction, ...] = ONE
    offset: tuple[Fraction, ...] = ZERO

    def channel(self, c: int) -> tuple[Fraction, Fraction]:
        """Scale and offset of channel ``c``."""
        return (self.scale[c] if len(self.scale) > 1 else self.scale[0],
                self.offset[c] if len(self.offset) > 1 else self.offset[0])

    def to_real(self, codes: np.ndarray) -> np.ndarray:
        """Integers to float64 real values."""
        return codes * np.array([float(s) for s in self.scale]) \
            + np.array([float(o) for o in self.offset])


@dataclass(frozen=True)
class ArrayForm:
    """How a user's array of one frame maps to a tensor (height, width, channels).

    ``array.reshape(view).transpose(axes).reshape(height, width, channels)``.

    Parameters
    ----------
    shape
        Shape of the user's array, without the frame dimension.
    view
        Shape of as many elements whose axes are permuted.
    axes
        For each axis of the permuted array, the axis of ``view``.
    """

    shape: tuple[int, ...]
    view: tuple[int, ...]
    axes: tuple[int, ...]

    @classmethod
    def of(cls, shape: Sequence[int]) -> "ArrayForm":
        """Arrays that hold a tensor's values in its own order."""
        return cls(tuple(shape), tuple(shape), tuple(range(len(shape))))

    def to_tensor(self, array: np.ndarray, shape: Shape) -> np.ndarray:
        """(frames, *self.shape) to (frames, *shape)."""
        axes = (0, *(axis + 1 for axis in self.axes))
        return array.reshape(len(array), *self.view).transpose(axes).reshape(len(array), *shape)

    def from_tensor(self, values: np.ndarray) -> np.ndarray:
        """Inverse of :meth:`to_tensor`."""
        turned = values.reshape(len(values), *(self.view[axis] for axis in self.axes))
        axes = (0, *(int(axis) + 1 for axis in np.argsort(self.axes)))
        return turned.transpose(axes).reshape(len(values), *self.shape)


@dataclass(frozen=True)
class Front:
    """What the host does to a real-valued input before it is the graph's integer input.

    Parameters
    ----------
    name
        Name of the real tensor.
    ops
        Real operations in order, the last of them a quantizer.
    """

    name: str
    ops: tuple[RealOp, ...]


@dataclass(frozen=True)
class Node:
    """An operation, the tensors it reads, and the tensor it makes."""

    name: str
    op: Op
    inputs: tuple[str, ...]
    output: Tensor


@dataclass(frozen=True)
class Graph:
    """A network on integers.

    Parameters
    ----------
    name
        Name of the network.
    input, output
        Names of the tensors that enter and leave.
    input_tensor
        Shape, type and meaning of the input.
    input_form
        What a user's input array looks like.
    nodes
        In topological order.
    output_form
        What a user's output array looks like; None for the tensor's own shape.
    front
        How the host makes the input from a real-valued array; None if the user gives real values
        that are integers of the input already.
    host_tail
        Operations behind the output that are left to the host, as the model names them.
    """

    name: str
    input: str
    input_tensor: Tensor
    input_form: ArrayForm
    nodes: tuple[Node, ...]
    output: str
    output_form: ArrayForm | None = None
    front: Front | None = None
    host_tail: tuple[str, ...] = ()

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of a user's input array, without the frame dimension."""
        return self.input_form.shape

    @property
    def is_line(self) -> bool:
        """Whether the data are 1-D: the user's input has one or two dimensions."""
        return len(self.input_form.shape) < 3

    def tensor(self, name: str) -> Tensor:
        return self.input_tensor if name == self.input else self.node(name).output

    def node(self, name: str) -> Node:
        for node in self.nodes:
            if node.name == name:
                return node
        raise KeyError(name)

    def users(self, name: str) -> tuple[Node, ...]:
        return tuple(node for node in self.nodes if name in node.inputs)

    def tensors(self) -> dict[str, Tensor]:
        return {self.input: self.input_tensor} | {n.name: n.output for n in self.nodes}

    def with_nodes(self, nodes: Iterable[Node], **changes) -> "Graph":
        return replace(self, nodes=tuple(nodes), **changes)

    def run_all(self, x: np.ndarray, wanted: Iterable[str] | None = None) -> dict[str, np.ndarray]:
        """Every tensor of the graph (or those ``wanted``) for input integers (frames, H, W, C)."""
        keep = set(wanted) if wanted is not None else None
        x = np.asarray(x, dtype=np.int64)
        if x.shape[1:] != self.input_tensor.shape:
            raise ModelError(f"{self.input}: input has shape {list(x.shape[1:])}, "
                             f"expected {list(self.input_tensor.shape)}")
        good = self.input_tensor.dtype.contains(x)
        if not good.all():
            raise ModelError(f"{self.input}: value {x[~good].flat[0]} is not a "
                             f"{self.input_tensor.dtype}")
        last_use = {name: n for n, node in enumerate(self.nodes) for name in node.inputs}
        tensors, values, kept = self.tensors(), {self.input: x}, {}
        for n, node in enumerate(self.nodes):
            values[node.name] = evaluate(node, [tensors[i] for i in node.inputs],
                                          [values[i] for i in node.inputs])
            for name in {*node.inputs}:
                if last_use[name] == n and name != self.output:
                    value = values.pop(name)
                    if keep is None or name in keep:
                        kept[name] = value
        kept.update({k: v for k, v in values.items()
                     if keep is None or k in keep or k == self.output})
        return kept

    def run(self, x: np.ndarray) -> np.ndarray:
        """Output integers (frames, H, W, C) for input integers (frames, H, W, C)."""
        return self.run_all(x, (self.output,))[self.output]

    def __str__(self) -> str:
        rows = [f"{self.input}: {_describe(self.input_tensor)}"]
        rows += [f"{n.name} = {type(n.op).__name__}({', '.join(n.inputs)}): {_describe(n.output)}"
                 for n in self.nodes]
        return "\n".join([*rows, f"output {self.output}", ""])


def _describe(tensor: Tensor) -> str:
    return f"{'x'.join(map(str, tensor.shape))} {tensor.dtype.name}"


def evaluate(node: Node, tensors: Sequence[Tensor], values: Sequence[np.ndarray]) -> np.ndarray:
    """What a node makes of the values (frames, H, W, C) of its inputs, given their tensors."""
    op = node.op
    if isinstance(op, Affine) and tensors[0].dtype != REAL:
        return values[0]  # its integers stay, their scale and offset change
    if isinstance(op, RealOp):
        result = _map_real(tensors[0], values[0], op.value)
        return result if node.output.dtype == REAL else result.astype(np.int64)
    if node.output.dtype == REAL:  # an operation that only moves or compares values
        values = [x if t.dtype == REAL else _map_real(t, x, lambda c, r: r)
                  for t, x in zip(tensors, values)]
    return op.compute(*values)


def _map_real(tensor: Tensor, values: np.ndarray, function: Callable) -> np.ndarray:
    """Apply ``function(channel, exact real value)`` once to each distinct value of a channel."""
    result = np.empty(values.shape, dtype=object)
    for c in range(values.shape[-1]):
        scale, offset = tensor.channel(c)
        distinct, inverse = np.unique(values[..., c], return_inverse=True)
        images = np.empty(len(distinct), dtype=object)
        for n, v in enumerate(distinct):
            images[n] = function(c, v if tensor.dtype == REAL else scale * int(v) + offset)
        result[..., c] = images[inverse].reshape(values.shape[:-1])
    return result
