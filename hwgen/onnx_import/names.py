"""Names of layers from names of ONNX tensors."""

import re

from ..model.fields import RESERVED, TOP_NAMES

__all__ = ["Names"]

LONGEST = 56  # leaves room for what blocks and passes append


class Names:
    """Hands out identifiers of the description: unique, also when case is ignored."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def of(self, tensor: str, kind: str, part: str = "") -> str:
        """Name of the layer that makes ``tensor``, or of a ``part`` of the work for it.

        ``kind`` is put in front of names that begin with a digit: ``46`` becomes ``MatMul_46``.
        """
        name = re.sub(r"[^A-Za-z0-9]+", "_", tensor).strip("_")
        if not name or name[0].isdigit():
            name = f"{kind}_{name}".rstrip("_")
        if part:
            name = f"{name}_{part}"
        if len(name) > LONGEST:
            name = name[-LONGEST:].lstrip("_0123456789")
        if name in RESERVED or name in TOP_NAMES:
            name += "_1"
        unique, number = name, 2
        while unique.lower() in self._taken:
            unique, number = f"{name}_{number}", number + 1
        self._taken.add(unique.lower())
        return unique
