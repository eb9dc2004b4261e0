"""Verilog of a hardware graph: one file per block, and the top."""

import gc
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar

from amaranth.back import rtlil

from .blocks.block import Block
from .blocks.export import Export
from .families import FAMILIES
from .files import render_template
from .hardware import HwGraph
from .tools import yosys
from .top import TOP, HwTop
from .verilog_text import tidy

__all__ = ["write_verilog"]

WORTH_PROCESSES = 24
"""Blocks from which other processes help more than they cost."""

PROCESSES = 4

Given = TypeVar("Given")
Found = TypeVar("Found")


def write_verilog(hardware: HwGraph, family: str, folder: Path, scratch: Path,
                  on_block: Callable[[str], None] | None = None) -> tuple[list[str], list[str]]:
    """Write ``rtl/*.v`` and ``rtl/*.mem`` into a build directory.

    Modules inside a block are named ``<block>__<part>``. Amaranth gives RTLIL, which Yosys writes
    as Verilog.

    Parameters
    ----------
    hardware
        With FIFOs.
    family
        Chip family: where it is ``xc7`` or ``xcup``, sums are made of that chip's primitives in
        synthesis. Where LUTs can't be memory, synthesis chooses what small memories are made of.
    folder
        The build directory.
    scratch
        A folder for RTLIL and logs.
    on_block
        Called with each block's name when it is done.

    Returns
    -------
    tuple[list[str], list[str]]
        Sources and memory files, relative to ``folder``; the top comes last.
    """
    rtl = (folder / "rtl").resolve()  # Yosys runs elsewhere
    rtl.mkdir()
    sources, memories, commands = [], [], []
    uses: set[str] = set()
    lut_ram = FAMILIES[family].lut_ram
    own: dict[str, str] = {}
    work = [(node.name, node.block) for node in hardware.nodes]
    for (block, _), (text, export) in zip(work, _side_by_side(_rtlil, work)):
        commands += _convert(block, text, rtl, scratch, lut_ram)
        sources.append(f"rtl/{block}.v")
        for name, lines in export.memories.items():
            (rtl / name).write_text("\n".join(lines) + "\n")
            memories.append(f"rtl/{name}")
        uses |= export.uses
        own[f"rtl/{block}.v"] = "".join(f"\n{module}" for module in export.modules.values())
        if on_block is not None:
            on_block(block)
    generated = [*sources, f"rtl/{TOP}.v"]
    for name in sorted(uses):
        text = render_template(f"{name}.v.j2", {
            # Bits of a carry primitive; 0: none is named.
            "carry": {"xc7": 4, "xcup": 8}.get(family, 0), "dsp48e1": family == "xc7",
            "ramb36e1": family == "xc7"})
        (rtl / f"{name}.v").write_text(text)
        sources.append(f"rtl/{name}.v")
    text = rtlil.convert(HwTop(hardware), name=TOP, platform=Export(TOP), emit_src=False)
    commands += _convert(TOP, text, rtl, scratch, lut_ram)
    sources.append(f"rtl/{TOP}.v")
    yosys.run(commands, log=scratch / "verilog.log", folder=scratch)
    texts = [(folder / name).read_text() for name in generated]
    for name, text in zip(generated, _side_by_side(tidy, texts)):
        (folder / name).write_text(text + own.get(name, ""))
    return sources, memories


def _rtlil(work: tuple[str, Block]) -> tuple[str, Export]:
    """Amaranth's RTLIL of a block, and what it needs beside it."""
    name, block = work
    export = Export(name)
    return rtlil.convert(block.create(), name=name, platform=export, emit_src=False), export


def _side_by_side(function: Callable[[Given], Found], work: Sequence[Given]) -> Iterator[Found]:
    """``map``; of much work on several processors, where processes can be copied."""
    if len(work) < WORTH_PROCESSES or sys.platform != "linux" or (os.cpu_count() or 1) < 2:
        yield from map(function, work)
        return
    gc.freeze()  # else the garbage collector of each process would copy all that is there
    pool = ProcessPoolExecutor(min(PROCESSES, os.cpu_count() or 1), get_context("fork"),
                               signal.signal, (signal.SIGINT, signal.SIG_IGN))
    try:
        yield from pool.map(function, work)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)  # after Ctrl-C start no more
        gc.unfreeze()


def _convert(name: str, text: str, rtl: Path, scratch: Path, lut_ram: bool) -> list[str]:
    """Yosys commands that turn RTLIL into ``rtl/<name>.v``."""
    # Amaranth joins the names of nested modules with dots, which Verilog would have to escape.
    text = re.sub(r"^((?:module|\s*cell) \\)(\S+)",
                  lambda m: m[1] + m[2].replace(".", "__"), text, flags=re.MULTILINE)
    # Ports that carry several signals have names that it makes up.
    text = re.sub(r"\\port\$(\d+)\$(\d+)", r"\\port_\1_\2", text)
    (scratch / f"{name}.il").write_text(text)
    # Registers get resets and enables, and sums only the bits that are used: that reads better.
    # Further optimization is left to synthesis.
    # In the top every stream keeps its wires: they are what simulation looks at.
    clean = "opt_clean" if name == TOP else "opt_clean -purge"
    return ["design -reset", f"read_rtlil {yosys.quoted(scratch / f'{name}.il')}",
            "proc -norom", "opt_expr", "opt_merge", clean, "opt_dff", "wreduce",
            "opt_expr -mux_undef -mux_bool", "pmuxtree", "opt_merge", clean, "memory_collect",
            "setattr -mod -unset generator -unset top *",
            # Yosys refuses to make logic of it.
            *([] if lut_ram else ["setattr -unset ram_style a:ram_style=distributed"]),
            # Mapped together with the logic around them, weights in LUTs take up to twice as many.
            "select -set weights *__weights__rom *__weights__rom_*",
            "setattr -mod -set keep_hierarchy \"yes\" @weights",
            f"write_verilog -norename {yosys.quoted(rtl / f'{name}.v')}"]
