"""The C++ compiler, make and perl that Verilator needs."""

import os
import platform
import shlex
import shutil
from dataclasses import dataclass

from ..errors import ToolError

__all__ = ["BuildTools", "find_build_tools"]


@dataclass(frozen=True)
class BuildTools:
    """Absolute paths of the programs that turn Verilator's C++ into a simulator.

    ``cxx`` can have arguments, as in ``CXX="ccache g++"``.
    """

    cxx: tuple[str, ...]
    make: str
    perl: str


def find_build_tools() -> BuildTools:
    """Find a C++ compiler ($CXX, or c++, g++, clang++), make and perl.

    Raises
    ------
    ToolError
        One line for each program that is missing, with what to install.
    """
    problems = []
    cxx = _find_compiler()
    if not cxx:
        wanted = os.environ.get("CXX")
        problems.append((f"the C++ compiler {wanted!r} that CXX names was not found"
                         if wanted else "no C++ compiler found (c++, g++ or clang++)")
                        + "; " + _install("g++"))
    make = shutil.which("make") or shutil.which("gmake")
    if not make:
        problems.append("make was not found; " + _install("make"))
    perl = shutil.which("perl")
    if not perl:
        problems.append("perl was not found; " + _install("perl"))
    if not (cxx and make and perl):
        raise ToolError(*problems)
    return BuildTools(tuple(cxx), make, perl)


def _find_compiler() -> list[str]:
    wanted = shlex.split(os.environ.get("CXX", ""))
    if wanted:
        path = shutil.which(wanted[0])
        return [path, *wanted[1:]] if path else []
    for name in ("c++", "g++", "clang++"):
        if path := shutil.which(name):
            return [path]
    return []


def _install(package: str) -> str:
    if platform.system() == "Darwin":
        return "install it with `xcode-select --install`"
    return f"install it with `apt install {package}` or your system's package manager"
