"""Errors that are the user's to mend."""

__all__ = ["HwgenError", "ModelError", "BoardError", "ToolError", "MismatchError"]


class HwgenError(Exception):
    """Something the user can mend; ``cli.main`` prints it as one line each and exits with 1.

    Parameters
    ----------
    *problems
        One line each: place, what is wrong, the value found, what would work.
    """

    def __init__(self, *problems: str):
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


class ModelError(HwgenError):
    """The model description is wrong or asks for something that can't be built."""


class BoardError(HwgenError):
    """The board is unknown, its file is wrong, or the design does not fit it."""


class ToolError(HwgenError):
    """A tool (compiler, Verilator, Yosys) is missing or failed."""


class MismatchError(HwgenError):
    """Hardware and golden model differ."""
