"""The file's layout of its input and output as an :class:`~hwgen.graph.ArrayForm`."""

from itertools import permutations

import numpy as np

from ..graph import ArrayForm
from ..ops import Shape

__all__ = ["array_form"]


def array_form(places: np.ndarray, shape: Shape) -> ArrayForm | None:
    """The form of arrays whose element i stands at ``places[i]`` of a tensor (H, W, C).

    None if no transposition, of the array as it is or seen as channels first, makes the tensor.
    """
    if places.size != int(np.prod(shape)):
        return None
    wanted = np.arange(places.size)
    height, width, channels = shape
    for view in dict.fromkeys((places.shape, (channels, height, width))):
        seen = places.reshape(view)
        for axes in permutations(range(len(view))):
            if np.array_equal(seen.transpose(axes).reshape(-1), wanted):
                return ArrayForm(tuple(places.shape), tuple(view), axes)
    return None
