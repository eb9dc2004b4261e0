"""Images in the file's layout and in the description's."""

from typing import TYPE_CHECKING

import numpy as np

from ...ops import Shape
from ..refusal import Refusal
from ..values import Value

if TYPE_CHECKING:
    from ..importer import Importer

__all__ = ["image", "picture", "places"]


def places(value: Value, channels_last: bool) -> np.ndarray:
    """(H, W, C) places of a file's tensor (N, C, [H,] W), or channels last."""
    if len(value.shape) not in (3, 4):
        raise Refusal(f"reads a tensor {value.sizes()}; images of 4 dimensions and sequences of 3 "
                      "can be built")
    first = value.index[0]
    last = first if channels_last else np.moveaxis(first, 0, -1)
    return last if last.ndim == 3 else last[None]


def image(importer: "Importer", value: Value, channels_last: bool) -> Value:
    """The value with its description's tensor as that image."""
    return importer.arranged(value, places(value, channels_last))


def picture(shape: Shape, rank: int, channels_last: bool) -> np.ndarray:
    """Index of a tensor of the description that the file holds with ``rank`` spatial axes."""
    index = np.arange(int(np.prod(shape))).reshape(shape)
    if rank == 1:
        index = index[0]
    return (index if channels_last else np.moveaxis(index, -1, 0))[None]
