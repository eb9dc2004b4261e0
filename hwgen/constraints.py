"""Clock constraints and vendor tool scripts of a built design."""

import re
from pathlib import Path

from .boards import Board
from .design import Design
from .families import synth_command
from .files import render_template
from .top import bus_width

__all__ = ["write_constraints"]

# Template and the file that it becomes in the build directory, by chip family.
_VIVADO = {"xilinx.xdc.j2": "constraints/{top}.xdc", "vivado.tcl.j2": "tools/vivado.tcl"}
_FILES = {
    "xc7": _VIVADO, "xcup": _VIVADO,
    "ecp5": {"ecp5.lpf.j2": "constraints/{top}.lpf", "ecp5.sh.j2": "tools/build.sh"},
    "ice40": {"ice40.pcf.j2": "constraints/{top}.pcf", "ice40.sh.j2": "tools/build.sh"},
    "gowin": {"gowin.cst.j2": "constraints/{top}.cst", "gowin.sh.j2": "tools/build.sh"},
}

_ECP5_PACKAGES = {"BG": "CABGA", "MG": "CSFBGA", "TG": "TQFP"}


def write_constraints(folder: Path | str, design: Design, board: Board) -> list[Path]:
    """Write ``constraints/`` and ``tools/`` of a build directory.

    For Xilinx chips: an ``.xdc`` and ``tools/vivado.tcl``, which takes the core through synthesis,
    placement and routing out of context. For others: an ``.lpf`` (ECP5), ``.pcf`` (iCE40) or
    ``.cst`` (Gowin) and ``tools/build.sh``, which makes a bitstream with Yosys, nextpnr and
    ecppack, icepack or gowin_pack. The scripts run from any folder, and find the build directory
    by their own place in it.

    Parameters
    ----------
    folder
        Build directory.
    design
        What is in its ``rtl/``; the constraint is the design's clock, not the board's default.
    board
        Chip and pins.

    Returns
    -------
    list[Path]
        The files written.
    """
    values = {
        "design": design, "board": board, "period_ns": f"{1000 / design.clock_mhz:.3f}",
        "sources": [Path(name).name for name in design.sources],
        "memories": [Path(name).name for name in design.memories],
        "synth": synth_command(board.family, board.part),
    }
    if board.family == "ecp5":
        values["device"] = nextpnr_device(board.part)
    elif board.family == "ice40":
        size, package = board.part.removeprefix("iCE40").lower().split("-")
        values["device"] = {"size": size, "package": package.removesuffix("i")}
    elif board.family == "gowin":
        values["streams"] = list(zip(_free_ports(design, board), board.pins))
    written = []
    for template, name in _FILES[board.family].items():
        path = Path(folder) / name.format(top=design.top)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(render_template(template, values), encoding="utf-8")
        if path.suffix == ".sh":
            path.chmod(0o755)
        written.append(path)
    return written


def _free_ports(design: Design, board: Board) -> list[str]:
    """Bits of the top's ports that are on none of the board's named pins."""
    ports = [] if board.reset and board.reset.active == "high" else ["rst"]
    for prefix, port in (("s_axis", design.input), ("m_axis", design.output)):
        ports += [f"{prefix}_{name}" for name in ("tvalid", "tready", "tlast")]
        ports += [f"{prefix}_tdata[{bit}]" for bit in range(bus_width(port.stream.data_width))]
    return ports


def nextpnr_device(part: str) -> dict[str, str]:
    """Options of nextpnr-ecp5 for a part number, which boards.py has checked."""
    match = re.fullmatch(r"LFE5U(M5G|M|)-(\d+)F-(\d)([A-Z]+)(\d+)[CI]", part)
    assert match, part
    variant = {"": "", "M": "um-", "M5G": "um5g-"}[match[1]]
    return {"size": f"--{variant}{match[2]}k", "speed": match[3],
            "package": f"{_ECP5_PACKAGES[match[4]]}{match[5]}"}
