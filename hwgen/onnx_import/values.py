"""Tensors of the ONNX graph as tensors of the description: which element is where.

A description's tensors are (height, width, channels); the file's may have any layout. A
:class:`Value` knows for each element of the file's tensor its place in the description's, so
reshapes and transposes of the file cost nothing and the layout is settled where an operation
wants one.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from ..graph import Tensor
from ..ops import Shape

__all__ = ["Expression", "Padded", "Value"]


@dataclass(frozen=True, eq=False)
class Expression:
    """A value as a float64 function of another one, element by element.

    Parameters
    ----------
    base
        The value it is a function of.
    function
        float64 array to float64 array.
    """

    base: "Value"
    function: Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True, eq=False)
class Value:
    """A tensor that depends on the input.

    Parameters
    ----------
    layer
        Name of the description's tensor.
    tensor
        Its shape, type and meaning.
    index
        int64, the file's shape: flat place of each element in the description's tensor.
    movable
        Whether the layout may still be chosen: elementwise operations of the input only.
    expression
        How it comes from an earlier value; None if it is a start of its own.
    pending
        Whether no layer stands for it: only its expression says what it is.
    settled
        The last value before it that holds integers; None if it holds some itself.
    trail
        Operations since then, as the file names them.
    host
        Operations that were left to the host.
    """

    layer: str
    tensor: Tensor
    index: np.ndarray
    movable: bool = False
    expression: Expression | None = None
    pending: bool = False
    settled: "Value | None" = None
    trail: tuple[str, ...] = ()
    host: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape in the file, with the batch dimension."""
        return self.index.shape

    @property
    def base(self) -> "Value":
        """What its expression starts from."""
        return self.expression.base if self.expression else self

    def compute(self, x: np.ndarray) -> np.ndarray:
        """Its expression on float64."""
        return self.expression.function(x) if self.expression else x

    def moved(self, index: np.ndarray, **changes: Any) -> "Value":
        """The same elements in another layout of the file."""
        return replace(self, index=index, **changes)

    def sizes(self) -> str:
        return str(list(self.shape))


class Padded(NamedTuple):
    """A tensor padded with real 0 by a layer of its own: a convolution may take over the padding.

    ``source`` is the tensor before it, ``pad`` (top, bottom, left, right), ``shape`` the padded
    shape.
    """

    source: Value
    pad: tuple[int, int, int, int]
    shape: Shape
