"""Synthesis of a built design, block by block, with Yosys.

Each block's module is synthesised alone, equal ones once, and the top with the blocks as black
boxes; the counts add up. That runs in parallel and says what each block takes. Results are kept in
the build directory, so that only what changed runs again.
"""

import hashlib
import json
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import netlist
from .design import Design
from .errors import ToolError
from .resources import Resources
from .tools import yosys

__all__ = ["SynthResult", "synthesize", "synthesize_module"]

_COMMANDS = {"xc7": "synth_xilinx -family xc7 -flatten -noiopad -noclkbuf -top {top}",
             "ecp5": "synth_ecp5 -top {top}"}


@dataclass(frozen=True)
class SynthResult:
    """Resources after synthesis.

    Parameters
    ----------
    tool
        Name and version of the synthesis tool.
    total
        The whole design: all blocks and ``top``.
    top
        What ``hwgen_top`` holds beside the blocks.
    blocks
        By name of the block.
    layers
        By layer: the sum of its blocks, in their order.
    """

    tool: str
    total: Resources
    top: Resources
    blocks: dict[str, Resources]
    layers: dict[str, Resources]

    def as_dict(self) -> dict[str, Any]:
        """The section ``synth`` of report.json."""
        return {"tool": self.tool, "total": self.total.as_dict(), "top": self.top.as_dict(),
                "blocks": {name: used.as_dict() for name, used in self.blocks.items()},
                "layers": {name: used.as_dict() for name, used in self.layers.items()}}


@dataclass(frozen=True)
class _Job:
    """One run of Yosys; ``files[0]`` holds the module, the others its black boxes."""

    module: str
    files: tuple[Path, ...]
    black_boxes: tuple[str, ...]
    key: str


def synthesize(folder: Path | str, *, jobs: int = 2,
               on_progress: Callable[[int, int, str], None] | None = None) -> SynthResult:
    """Synthesise the design in a build directory for its board's family.

    Logs are in ``synth/<module>.log`` of it; of modules that differ only in name, one is run.

    Parameters
    ----------
    folder
        A build directory.
    jobs
        How many runs of Yosys at a time.
    on_progress
        Called after each module with the number done, the number in all and the module's name.

    Raises
    ------
    ToolError
        The directory holds no design, Yosys failed, or the netlist holds a primitive of unknown
        cost; one line per problem.
    """
    folder = Path(folder).resolve()
    design = Design.load(folder)
    design.files(folder)  # all there?
    work = _plan(folder, design)
    runs = {job.key: job for job in work.values()}
    largest_first = sorted(runs.values(), key=lambda job: -job.files[0].stat().st_size)
    counts: dict[str, Resources] = {}
    problems: list[str] = []
    with ThreadPoolExecutor(max_workers=jobs) as pool:
        futures = {pool.submit(_cached_run, folder, design.family, job): job
                   for job in largest_first}
        try:
            for done, future in enumerate(as_completed(futures), start=1):
                job = futures[future]
                try:
                    counts[job.key] = future.result()
                except ToolError as error:
                    problems += error.problems
                if on_progress:
                    on_progress(done, len(runs), job.module)
        finally:
            pool.shutdown(cancel_futures=True)  # after Ctrl-C start no more
    if problems:
        raise ToolError(*problems)
    blocks = {block.name: counts[work[block.module].key] for block in design.blocks}
    layers: dict[str, Resources] = {}
    for block in design.blocks:
        layers[block.layer] = layers.get(block.layer, Resources()) + blocks[block.name]
    top = counts[work[design.top].key]
    return SynthResult(_tool(), sum(blocks.values(), top), top, blocks, layers)


def synthesize_module(source: Path | str, module: str, family: str, *, log: Path) -> Resources:
    """Resources of one module, with all that it instantiates in the same file.

    Parameters
    ----------
    source
        Verilog file; ``$readmemh`` finds its files in the same folder.
    module
        Module to synthesise.
    family
        ``xc7`` or ``ecp5``.
    log
        File for what Yosys prints.
    """
    return _run(_Job(module, (Path(source).resolve(),), (), ""), family, log)


def _tool() -> str:
    return f"Yosys {yosys.version()}"


def _plan(folder: Path, design: Design) -> dict[str, _Job]:
    """What to run for each module."""
    modules = sorted({block.module for block in design.blocks})
    by_module = {Path(name).stem: folder / name for name in design.sources}
    missing = [name for name in (design.top, *modules) if name not in by_module]
    if missing:
        raise ToolError(*(f"{folder}: module {name} has no source rtl/{name}.v in design.json; "
                          "build the design again" for name in missing))
    # The counting rules are part of what a cached count depends on.
    context = [_tool(), _COMMANDS[design.family],
               hashlib.sha256(Path(netlist.__file__).read_bytes()).hexdigest()]
    work = {}
    for module in modules:
        file = by_module[module]
        work[module] = _Job(module, (file,), (), _digest(*context, _canonical(file, module)))
    boxes = [by_module[module] for module in modules]
    text = [_canonical(file, "") for file in (by_module[design.top], *boxes)]
    work[design.top] = _Job(design.top, (by_module[design.top], *boxes), tuple(modules),
                            _digest(*context, *text))
    return work


def _canonical(file: Path, module: str) -> str:
    """Text of a Verilog file in which equal modules of unlike name are equal.

    The module's name and comments drop out, and memory files stand by their contents.
    """
    text = file.read_text(encoding="utf-8")
    text = re.sub(r'\(\* src = "[^"]*" \*\)|//[^\n]*', "", text)
    text = re.sub(r'(\$readmem[hb]\()"([^"]*)"', lambda match: match[1] + _digest(
        (file.parent / match[2]).read_text(encoding="utf-8")), text)
    return re.sub(rf"\b{re.escape(module)}\b", "@", text) if module else text


def _digest(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()


def _cached_run(folder: Path, family: str, job: _Job) -> Resources:
    """The count of an earlier run on the same input, or of a run now."""
    logs, cache = folder / "synth", folder / "synth" / "cache"
    cache.mkdir(parents=True, exist_ok=True)
    entry = cache / f"{job.key}.json"
    if entry.is_file():
        return Resources(**json.loads(entry.read_text(encoding="utf-8")))
    used = _run(job, family, logs / f"{job.module}.log")
    draft = entry.with_suffix(".tmp")
    draft.write_text(json.dumps(used.as_dict()), encoding="utf-8")
    draft.replace(entry)
    return used


def _run(job: _Job, family: str, log: Path) -> Resources:
    mapped = log.with_suffix(".json")
    source, *boxes = job.files
    try:
        yosys.run([f"read_verilog -sv {yosys.quoted(source)}",
                   *(f"read_verilog -sv -lib {yosys.quoted(box)}" for box in boxes),
                   _COMMANDS[family].format(top=job.module),
                   f"write_json {yosys.quoted(mapped)}"], log=log, folder=source.parent)
        return netlist.count_resources(json.loads(mapped.read_text(encoding="utf-8")), job.module,
                                       family, black_boxes=job.black_boxes)
    except ToolError as error:
        raise ToolError(*(line if line.startswith(f"{job.module}: ") else f"{job.module}: {line}"
                          for line in error.problems)) from None
    finally:
        mapped.unlink(missing_ok=True)
