"""Synthesis of a built design, block by block, with Yosys.

Each block's module is synthesised with its hierarchy kept, equal ones once, and the top with the
blocks as black boxes; the counts add up. Blocks share a few runs of Yosys, side by side: reading
its cell libraries takes longer than a small block. Results are kept in the build directory, so
that only what changed runs again.
"""

import gzip
import hashlib
import json
import re
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from time import perf_counter
from typing import Any

from . import cell_delays, netlist, timing
from .callbacks import OnStep
from .design import Design
from .errors import ToolError
from .families import synth_command
from .resources import Resources
from .timing import BlockPaths, DesignTiming, ModuleTiming
from .tools import yosys

__all__ = ["SynthResult", "has_netlists", "mapped_netlists", "synthesize", "synthesize_module"]

_Chip = tuple[str, str]  # family and part


@dataclass(frozen=True)
class SynthResult:
    """Resources and longest paths after synthesis.

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
    timing
        Longest paths; None for a family whose delays are not known.
    """

    tool: str
    total: Resources
    top: Resources
    blocks: dict[str, Resources]
    layers: dict[str, Resources]
    timing: DesignTiming | None = None

    def as_dict(self) -> dict[str, Any]:
        """The section ``synth`` of report.json."""
        return {"tool": self.tool, "total": self.total.as_dict(), "top": self.top.as_dict(),
                "blocks": {name: used.as_dict() for name, used in self.blocks.items()},
                "layers": {name: used.as_dict() for name, used in self.layers.items()},
                "timing": self.timing.as_dict() if self.timing else None}


@dataclass(frozen=True)
class _Job:
    """A module to count.

    Parameters
    ----------
    module
        Its name.
    file
        Its Verilog file.
    libraries
        Files of modules that it may instantiate.
    boxes
        Names and files of black boxes in it.
    key
        Digest of all that the count depends on.
    """

    module: str
    file: Path
    libraries: tuple[Path, ...]
    boxes: tuple[tuple[str, Path], ...]
    key: str


@dataclass(frozen=True)
class _Found:
    """What synthesis tells of a module.

    Parameters
    ----------
    used
        Its resources, without its black boxes.
    paths
        Its paths; None for one with black boxes, and for a family whose delays are not known.
    top
        Its part of the netlist if it has black boxes: what its paths need beside theirs.
    netlist
        Its cells and theirs of the modules in it, for :func:`mapped_netlists`; in a file of its
        own.
    """

    used: Resources
    paths: ModuleTiming | None
    top: dict[str, Any] | None
    netlist: dict[str, Any] = field(default_factory=dict, compare=False)

    def as_dict(self) -> dict[str, Any]:
        # Not as the report has them: a ninth is no decimal.
        return {"used": asdict(self.used), "top": self.top,
                "paths": self.paths.as_dict() if self.paths else None}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "_Found":
        return cls(Resources(**data["used"]),
                   ModuleTiming.from_dict(data["paths"]) if data["paths"] else None, data["top"])


def synthesize(folder: Path | str, *, jobs: int = 2,
               on_progress: Callable[[int, int, str], None] | None = None,
               on_step: OnStep | None = None) -> SynthResult:
    """Synthesise the design in a build directory for its board's family.

    Logs are in ``synth/`` of it; of modules that differ only in name, one is run.

    Parameters
    ----------
    folder
        A build directory.
    jobs
        How many runs of Yosys at a time.
    on_progress
        Called after each module with the number done, the number in all and the module's name.
    on_step
        Called with a name and seconds after each run of Yosys.

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
    cache = folder / "synth" / "cache"
    cache.mkdir(parents=True, exist_ok=True)
    results = {key: _Found.from_dict(json.loads((cache / f"{key}.json").read_text("utf-8")))
               for key in runs if _kept(cache, key)}
    batches = _batches([job for key, job in runs.items() if key not in results], jobs)
    problems: list[str] = []
    with ThreadPoolExecutor(max_workers=jobs) as pool:
        futures = {pool.submit(_timed, batch, (design.family, design.part), folder / "synth"): batch
                   for batch in batches}
        try:
            if on_progress:
                on_progress(len(results), len(runs), design.top)
            for future in as_completed(futures):
                batch = futures[future]
                try:
                    found, seconds = future.result()
                except ToolError as error:
                    problems += error.problems
                    continue
                for job, result in zip(batch, found):
                    results[job.key] = replace(result, netlist={})
                    _keep(cache, job.key, result)
                if on_step:
                    more = f" and {len(batch) - 1} more" if len(batch) > 1 else ""
                    on_step(f"Yosys: {batch[0].module}{more}", seconds)
                if on_progress:
                    on_progress(len(results), len(runs), batch[-1].module)
        finally:
            pool.shutdown(cancel_futures=True)  # after Ctrl-C start no more
    if problems:
        raise ToolError(*problems)
    by_module = {module: results[job.key] for module, job in work.items()}
    blocks = {block.name: by_module[block.module].used for block in design.blocks}
    layers: dict[str, Resources] = {}
    for block in design.blocks:
        layers[block.layer] = layers.get(block.layer, Resources()) + blocks[block.name]
    top = by_module[design.top].used
    return SynthResult(_tool(), sum(blocks.values(), top), top, blocks, layers,
                       _design_timing(design, by_module))


def has_netlists(folder: Path | str) -> bool:
    """Whether the design was synthesised as it is now."""
    folder = Path(folder).resolve()
    design = Design.load(folder)
    design.files(folder)
    cache = folder / "synth" / "cache"
    return all(_kept(cache, job.key) for job in _plan(folder, design).values())


def mapped_netlists(folder: Path | str) -> dict[str, dict[str, Any]]:
    """The mapped netlist of each module of a design that has been synthesised.

    Returns
    -------
    dict
        By module: ``{"top": name, "modules": {name: {"ports", "cells"}}}`` as Yosys writes them,
        with ``type``, ``parameters`` and ``connections`` of cells. Modules that differ in name only
        share one.

    Raises
    ------
    ToolError
        The design was not synthesised as it is now.
    """
    folder = Path(folder).resolve()
    design = Design.load(folder)
    cache = folder / "synth" / "cache"
    work = _plan(folder, design)
    if missing := [module for module, job in work.items() if not _kept(cache, job.key)]:
        raise ToolError(f"{folder}: module {missing[0]} has no netlist of this Verilog; "
                        "synthesize the design with `hwgen synth`")
    texts = {key: json.loads(gzip.decompress(_netlist_file(cache, key).read_bytes()))
             for key in {job.key for job in work.values()}}
    return {module: texts[job.key] for module, job in work.items()}


def _netlist_file(cache: Path, key: str) -> Path:
    return cache / f"{key}.netlist.gz"


def _kept(cache: Path, key: str) -> bool:
    return (cache / f"{key}.json").is_file() and _netlist_file(cache, key).is_file()


def _keep(cache: Path, key: str, result: _Found) -> None:
    """Write a result into the cache, each file whole or not at all."""
    netlist = gzip.compress(json.dumps(result.netlist).encode(), compresslevel=3, mtime=0)
    for file, content in ((_netlist_file(cache, key), netlist),
                          (cache / f"{key}.json", json.dumps(result.as_dict()).encode())):
        draft = file.with_suffix(".tmp")
        draft.write_bytes(content)
        draft.replace(file)


def _design_timing(design: Design, by_module: dict[str, _Found]) -> DesignTiming | None:
    """The paths of the blocks, and those that run from block to block."""
    top = by_module[design.top].top
    if top is None:
        return None
    boxes = {module: found.paths for module, found in by_module.items() if found.paths}
    ends = timing.paths_of_top(design.top, top, boxes, cell_delays.FAMILIES[design.family])
    blocks: dict[str, BlockPaths] = {}
    for block in design.blocks:
        if block.name in ends:
            within = tuple(path.inside(block.name) for path in boxes[block.module].inner)
            blocks[block.name] = BlockPaths.of(ends[block.name], within)
    return DesignTiming(design.clock_mhz, blocks,
                        {block.name: block.layer for block in design.blocks},
                        BlockPaths.of(ends[""]) if "" in ends else None)


def synthesize_module(source: Path | str, module: str, family: str, *, log: Path,
                      part: str = "") -> Resources:
    """Resources of one module, with all that it instantiates in the same file.

    Parameters
    ----------
    source
        Verilog file; ``$readmemh`` finds its files in the same folder.
    module
        Module to synthesise.
    family
        A key of :data:`hwgen.families.FAMILIES`.
    log
        File for what Yosys prints.
    part
        Part number; by default the example of the family.
    """
    job = _Job(module, Path(source).resolve(), (), (), "")
    return _run_yosys([job], (family, part), log)[0].used


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
    # The rules of counting and timing are part of what a cached result depends on.
    rules = [*(Path(__file__).parent / name for name in ("netlist.py", "timing.py")),
             *sorted(Path(cell_delays.__file__).parent.glob("*.py"))]
    context = [_tool(), synth_command(design.family, design.part),
               *(hashlib.sha256(file.read_bytes()).hexdigest() for file in rules)]
    libraries = tuple(file for name, file in by_module.items()
                      if name not in modules and name != design.top)
    context += [file.read_text(encoding="utf-8") for file in libraries]
    work = {module: _Job(module, by_module[module], libraries, (),
                         _digest(*context, _canonical(by_module[module], module)))
            for module in modules}
    boxes = tuple((module, by_module[module]) for module in modules)
    top = by_module[design.top]
    text = [_canonical(file, "") for file in (top, *(file for _, file in boxes))]
    work[design.top] = _Job(design.top, top, libraries, boxes, _digest(*context, *text))
    return work


def _canonical(file: Path, module: str) -> str:
    """Text of a Verilog file in which equal modules of unlike name are equal.

    The module's name and comments drop out, and memory files stand by their contents.
    """
    text = file.read_text(encoding="utf-8")
    text = re.sub(r'\(\* src = "[^"]*" \*\)|//[^\n]*', "", text)
    text = re.sub(r'"([^"\n]+\.mem)"',
                  lambda match: _digest((file.parent / match[1]).read_text(encoding="utf-8")), text)
    return re.sub(rf"\b{re.escape(module)}(?=__|\b)", "@", text) if module else text


def _digest(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()


def _batches(work: list[_Job], count: int) -> list[list[_Job]]:
    """Share the modules among runs of Yosys by the size of their text; the top runs alone."""
    tops = [[job] for job in work if job.boxes]
    blocks = sorted((job for job in work if not job.boxes), key=lambda j: -j.file.stat().st_size)
    shares: list[list[_Job]] = [[] for _ in range(count)]
    sizes = [0] * count
    for job in blocks:
        least = sizes.index(min(sizes))
        shares[least].append(job)
        sizes[least] += job.file.stat().st_size
    return [share for share in shares if share] + tops


def _timed(batch: list[_Job], chip: _Chip, logs: Path) -> tuple[list[_Found], float]:
    """Results of a batch, and the seconds it took."""
    begun = perf_counter()
    return _run(batch, chip, logs), perf_counter() - begun


def _run(batch: list[_Job], chip: _Chip, logs: Path) -> list[_Found]:
    """Results of a batch. If it fails, each module runs alone, to name those at fault."""
    if len(batch) == 1:
        return _run_yosys(batch, chip, logs / f"{batch[0].module}.log")
    try:
        return _run_yosys(batch, chip, logs / f"{batch[0].module}-and-{len(batch) - 1}-more.log")
    except ToolError:
        found: list[_Found] = []
        problems: list[str] = []
        for job in batch:
            try:
                found += _run_yosys([job], chip, logs / f"{job.module}.log")
            except ToolError as error:
                problems += error.problems
        if problems:
            raise ToolError(*problems) from None
        return found


def _run_yosys(batch: list[_Job], chip: _Chip, log: Path) -> list[_Found]:
    """Synthesise modules in one run."""
    family, part = chip
    first, several = batch[0], len(batch) > 1
    with tempfile.TemporaryDirectory(prefix="hwgen-synth-") as scratch:
        mapped, around = Path(scratch) / "mapped.json", Path(scratch) / "around.v"
        commands = [f"read_verilog -sv -defer {yosys.quoted(file)}" for file in first.libraries]
        commands += [f"read_verilog -sv {yosys.quoted(job.file)}" for job in batch]
        commands += [f"read_verilog -sv -lib {yosys.quoted(file)}" for _, file in first.boxes]
        top = first.module
        if several:
            # An instance of each, kept although nothing drives it or reads from it.
            top = "hwgen_around"
            instances = (f"(* keep *) {job.module} u_{job.module}();" for job in batch)
            around.write_text(f"module {top}; {' '.join(instances)} endmodule\n")
            names = " ".join(job.module for job in batch)
            # Yosys may read a module again once it knows those within, without its attributes.
            commands += [f"read_verilog {yosys.quoted(around)}", f"hierarchy -top {top}",
                         f"setattr -mod -set keep_hierarchy 1 {names}"]
        commands += [f"{synth_command(family, part)} -top {top}",
                     f"write_json {yosys.quoted(mapped)}"]
        try:
            yosys.run(commands, log=log, folder=first.file.parent)
            found = json.loads(mapped.read_text(encoding="utf-8"))
            return [_found(found, job, family) for job in batch]
        except ToolError as error:
            raise ToolError(*(line if several or line.startswith(f"{top}: ") else f"{top}: {line}"
                              for line in error.problems)) from None


def _found(mapped: dict[str, Any], job: _Job, family: str) -> _Found:
    boxes = [name for name, _ in job.boxes]
    used = netlist.count_resources(mapped, job.module, family, black_boxes=boxes)
    cells = netlist.cells_of(mapped, job.module, boxes)
    delays = cell_delays.FAMILIES.get(family)
    if delays is None:
        return _Found(used, None, None, cells)
    if job.boxes:
        return _Found(used, None, mapped["modules"][job.module], cells)
    return _Found(used, timing.module_timing(mapped, job.module, delays), None, cells)
