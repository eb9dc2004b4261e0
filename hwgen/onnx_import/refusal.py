"""Why a network can't be imported."""

__all__ = ["Refusal"]


class Refusal(Exception):
    """A node or tensor that can't be taken: what is wrong, and a way out, in one line."""
