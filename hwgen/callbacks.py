"""What long work calls to say how far it is."""

from collections.abc import Callable

__all__ = ["OnStep", "Progress"]

Progress = Callable[[int, int], None]
"""Called now and then with (done, in all)."""

OnStep = Callable[[str, float], None]
"""Called with the name of a step that is done and the seconds it took."""
