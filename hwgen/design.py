"""What simulation and synthesis need to know of a built design: ``design.json``."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import ToolError
from .ops import Shape
from .resources import Resources
from .streams import TensorStream
from .types import parse_type

__all__ = ["BlockInfo", "Design", "FifoInfo", "StreamPort", "Tap"]

FILE_NAME = "design.json"
FORMAT, VERSION = "hwgen-design", 1


@dataclass(frozen=True)
class StreamPort:
    """The input or output stream of the top: which tensor it carries, and how.

    Parameters
    ----------
    tensor
        Name in the golden model.
    stream
        Type of the stream.
    pixels
        Neighbours of a row of the tensor that are one pixel of the stream.
    """

    tensor: str
    stream: TensorStream
    pixels: int = 1

    @property
    def shape(self) -> Shape:
        """Shape of the tensor."""
        height, width, channels = self.stream.shape
        return height, width * self.pixels, channels // self.pixels


@dataclass(frozen=True)
class Tap:
    """An inner stream of the top that carries a tensor of the golden model.

    Parameters
    ----------
    layer
        Layer that makes the tensor.
    tensor
        Name in the golden model.
    signal
        The top has wires ``<signal>_tdata``, ``<signal>_tvalid`` and ``<signal>_tready``.
    stream
        Type of the stream.
    """

    layer: str
    tensor: str
    signal: str
    stream: TensorStream


@dataclass(frozen=True)
class BlockInfo:
    """A block of the top.

    Parameters
    ----------
    name, module
        Instance and module name in the Verilog.
    block
        Kind of block.
    layer
        Layer of the network that it belongs to.
    cycles
        Clocks that it takes for a frame.
    estimate
        Resources expected of it.
    """

    name: str
    module: str
    block: str
    layer: str
    cycles: int
    estimate: Resources


@dataclass(frozen=True)
class FifoInfo:
    """A FIFO of the top, or at the end of one of its blocks.

    Parameters
    ----------
    name
        That of its instance, or of the block that it is the end of.
    depth
        Beats that it holds.
    puts, gets
        Signals within the top, as ``block.signal``; a beat enters, or leaves, in each clock in
        which all of them are 1.
    """

    name: str
    depth: int
    puts: tuple[str, ...]
    gets: tuple[str, ...]


@dataclass(frozen=True)
class Design:
    """A built design. The paths in it are relative to the build directory.

    Parameters
    ----------
    model, board, family
        Names of the network, the board and the board's device family.
    clock_mhz
        Clock frequency that rates in reports refer to.
    top
        Name of the top module.
    sources, memories
        Verilog files, and the files that they read with ``$readmemh``.
    input, output
        Streams of the top.
    taps
        Inner streams, in topological order.
    blocks
        Blocks of the top.
    frame_interval_cycles
        Predicted clocks between frames in steady state.
    latency_cycles
        Predicted clocks from a frame's first input beat to its last output beat, both counted.
    fifos
        FIFOs, in topological order.
    part
        Full part number of the board's chip.
    """

    model: str
    board: str
    family: str
    clock_mhz: float
    top: str
    sources: tuple[str, ...]
    memories: tuple[str, ...]
    input: StreamPort
    output: StreamPort
    taps: tuple[Tap, ...]
    blocks: tuple[BlockInfo, ...]
    frame_interval_cycles: int
    latency_cycles: int
    fifos: tuple[FifoInfo, ...] = ()
    part: str = ""

    @classmethod
    def load(cls, folder: Path | str) -> "Design":
        """Read ``design.json`` of a build directory; ToolError if it is not one."""
        file = Path(folder) / FILE_NAME
        try:
            text = file.read_text()
        except (FileNotFoundError, NotADirectoryError):
            missing = "no design.json" if Path(folder).is_dir() else "no such directory"
            raise ToolError(f"{folder}: {missing}; build one with `hwgen build`") from None
        except (OSError, UnicodeDecodeError) as error:
            raise ToolError(f"{file}: can't be read: {error}") from None
        try:
            data = json.loads(text)
        except json.JSONDecodeError as error:
            raise ToolError(f"{file}: not JSON: {error}; build the design again") from None
        found = data.get("format") if isinstance(data, dict) else None
        if found != FORMAT:
            raise ToolError(f"{file}: format is {found!r}, expected {FORMAT!r}")
        if data.get("version") != VERSION:
            raise ToolError(f"{file}: version is {data.get('version')!r}, this hwgen reads "
                            f"{VERSION}; build the design again")
        try:
            return cls._from_dict(data)
        except KeyError as error:
            raise ToolError(f"{file}: {error} is missing; build the design again") from None
        except (AttributeError, TypeError, ValueError) as error:
            raise ToolError(f"{file}: {error}; build the design again") from None

    def save(self, folder: Path | str) -> None:
        """Write ``design.json`` into an existing directory."""
        (Path(folder) / FILE_NAME).write_text(json.dumps(self.as_dict(), indent=1) + "\n")

    def as_dict(self) -> dict[str, Any]:
        """The contents of ``design.json``."""
        return {
            "format": FORMAT, "version": VERSION, "model": self.model, "board": self.board,
            "family": self.family, "part": self.part, "clock_mhz": self.clock_mhz, "top": self.top,
            "sources": list(self.sources), "memories": list(self.memories),
            "input": {"tensor": self.input.tensor, **_stream_to_dict(self.input.stream),
                      "pixels": self.input.pixels},
            "output": {"tensor": self.output.tensor, **_stream_to_dict(self.output.stream)},
            "taps": [{"layer": t.layer, "tensor": t.tensor, "signal": t.signal,
                      **_stream_to_dict(t.stream)} for t in self.taps],
            "blocks": [{"name": b.name, "module": b.module, "block": b.block, "layer": b.layer,
                        "cycles": b.cycles, "estimate": b.estimate.as_dict()}
                       for b in self.blocks],
            "frame_interval_cycles": self.frame_interval_cycles,
            "latency_cycles": self.latency_cycles,
            "fifos": [{"name": f.name, "depth": f.depth, "puts": list(f.puts),
                       "gets": list(f.gets)} for f in self.fifos],
        }

    @classmethod
    def _from_dict(cls, data: dict[str, Any]) -> "Design":
        def port(where: str) -> StreamPort:
            return StreamPort(data[where]["tensor"], _stream_from_dict(where, data[where]),
                              int(data[where].get("pixels", 1)))

        return cls(
            model=data["model"], board=data["board"], family=data["family"],
            clock_mhz=float(data["clock_mhz"]), top=data["top"],
            sources=tuple(data["sources"]), memories=tuple(data["memories"]),
            input=port("input"), output=port("output"),
            taps=tuple(Tap(t["layer"], t["tensor"], t["signal"],
                           _stream_from_dict(f"tap {t['signal']}", t)) for t in data["taps"]),
            blocks=tuple(BlockInfo(b["name"], b["module"], b["block"], b["layer"],
                                   int(b["cycles"]), Resources(**b["estimate"]))
                         for b in data["blocks"]),
            frame_interval_cycles=int(data["frame_interval_cycles"]),
            latency_cycles=int(data["latency_cycles"]),
            # Designs of earlier versions do not tell.
            fifos=tuple(FifoInfo(f["name"], int(f["depth"]), tuple(f["puts"]), tuple(f["gets"]))
                        for f in data.get("fifos", ())),
            part=data.get("part", ""))

    def files(self, folder: Path | str) -> tuple[Path, ...]:
        """Absolute paths of the Verilog sources; ToolError if a source or memory is missing."""
        root = Path(folder).resolve()
        missing = [name for name in (*self.sources, *self.memories) if not (root / name).is_file()]
        if missing:
            raise ToolError(*(f"{folder}: {name} is missing; build the design again"
                              for name in missing))
        return tuple(root / name for name in self.sources)


def _stream_to_dict(stream: TensorStream) -> dict[str, Any]:
    return {"shape": list(stream.shape), "type": stream.dtype.name, "lanes": stream.lanes,
            "beats": stream.beats}


def _stream_from_dict(where: str, data: dict[str, Any]) -> TensorStream:
    height, width, channels = data["shape"]
    stream = TensorStream(parse_type(data["type"]), (height, width, channels), data["lanes"])
    if data["beats"] != stream.beats:
        raise ValueError(f"{where}: beats is {data['beats']}, expected {stream.beats}")
    return stream
