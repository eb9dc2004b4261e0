"""Yosys, as the library ``pyosys``, in a process of its own.

Yosys ends its process on an error and prints at will; a child keeps both away from hwgen.
"""

import importlib.metadata
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from ..errors import ToolError

__all__ = ["version", "run", "quoted"]

# Commands come one a line on standard input. The default action on SIGINT lets Ctrl-C end a long
# pass, during which Python would not get to run a handler.
_CHILD = """\
import signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
from pyosys import libyosys
design = libyosys.Design()
for line in sys.stdin.read().splitlines():
    libyosys.run_pass(line, design)
"""


def version() -> str:
    """Version of the Yosys library; ToolError if it is not installed."""
    try:
        return importlib.metadata.version("pyosys")
    except importlib.metadata.PackageNotFoundError:
        raise ToolError("yosys: the Python package pyosys is not installed; "
                        "install it with `pip install pyosys`") from None


def quoted(path: Path | str) -> str:
    """A file name as one argument of a Yosys command; ToolError if Yosys can't take it."""
    text = str(path)
    if any(mark in text for mark in '"\n\\'):
        raise ToolError(f"yosys: the path {text!r} holds a quote, backslash or line break, which "
                        "Yosys does not read; use another folder")
    return f'"{text}"'


def run(commands: Sequence[str], *, log: Path, folder: Path) -> None:
    """Run Yosys commands in order.

    Parameters
    ----------
    commands
        One command each, as at the Yosys prompt.
    log
        File that gets all that Yosys prints; its folder must exist.
    folder
        Current directory of the run, from which ``$readmemh`` finds its files.

    Raises
    ------
    ToolError
        Yosys is missing or failed; says its last error and where the log is.
    """
    version()
    # Yosys keeps scratch files of its passes in TMPDIR and leaves them there when it fails.
    with tempfile.TemporaryDirectory(prefix="hwgen-yosys-") as scratch, log.open("wb") as output:
        status = subprocess.run(
            [sys.executable, "-P", "-c", _CHILD], input="\n".join(commands).encode(),
            stdout=output, stderr=subprocess.STDOUT, cwd=folder,
            env=os.environ | {"TMPDIR": scratch}, check=False).returncode
    if status:
        raise ToolError(f"yosys: {_last_error(log, status)}; the log is {log}")


def _last_error(log: Path, status: int) -> str:
    """The last ERROR line, which Yosys may go on with over further lines."""
    lines = log.read_text(errors="replace").splitlines()
    for number in range(len(lines) - 1, -1, -1):
        if "ERROR:" in lines[number]:
            text = lines[number].partition("ERROR:")[2]
            return " ".join(" ".join([text, *lines[number + 1:number + 3]]).split())
    how = f"was ended by signal {-status}" if status < 0 else f"ended with status {status}"
    last = next((line.strip() for line in reversed(lines) if line.strip()), "nothing")
    return f"{how} after printing {last!r}"
