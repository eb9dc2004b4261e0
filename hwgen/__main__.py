"""``python -m hwgen``."""

from .cli import entry_point

entry_point()
