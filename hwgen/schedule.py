"""When every beat moves, and from that the depth of every FIFO.

Clocks are computed for a source that sends a frame's beats evenly over the frame interval, with
FIFOs of no limit. That schedule obeys every rule of the hardware but the FIFOs' limits; with depths
no less than the occupancy it reaches, it obeys those too. Hardware that moves each beat as soon as
it can (a timed marked graph) is never later than any schedule that obeys all its rules, so these
depths hold the interval; and since they are at least those of a schedule that ends, no fork and
join can deadlock, whatever the two ends of the stream do.

So a schedule in which a block starts later than it could is as good, if nothing behind it is held
up: what it makes then waits in front of it, which may take less memory. :func:`_postpone` looks for
such blocks.
"""

from bisect import bisect_right
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from math import ceil
from types import MappingProxyType
from typing import TypeGuard

import numpy as np

from .blocks.block import Block, BufferedBlock
from .blocks.concat import ConcatConfig
from .blocks.constant_layer import ConstantLayerConfig
from .blocks.fifo import FifoConfig, fifo_resources
from .blocks.gate import GateConfig
from .blocks.neuron_layer import NeuronLayerConfig
from .blocks.pace import PaceConfig
from .blocks.primitives import StreamFifo, memory_style, ram_bram36
from .blocks.window_reader import WindowReaderConfig
from .blocks.window_shift import WindowShiftConfig
from .hardware import INPUT, HwGraph, HwNode, Source
from .lower import unique_name
from .streams import TensorStream

__all__ = ["Arrivals", "SteadyRun", "Timing", "fifo_depth", "fifo_memory", "has_fifo",
           "roughly_sized", "size_among", "size_buffers"]

ROUNDS = 6  # of exact depths, which are settled after two or three
FIFO_LATENCY = 1  # of those of two beats, which most are
BRAM_PRICE = 300  # LUTs, where one can be had for the other: most chips have about as many to each
UNSURE = 2  # beats, in a FIFO's depth before the clocks of all other FIFOs are known
SPARSE = 32  # one beat of so many is looked at first
MOST_BEATS = 6_000_000  # of the busiest stream; fewer frames are looked at beyond


@dataclass(frozen=True)
class Timing:
    """Predicted clocks of a design.

    Parameters
    ----------
    interval
        Clocks between frames in steady state.
    latency
        Clocks from a frame's first input beat, right behind reset, to its last output beat, when
        its beats come at full speed. FIFOs are deep enough for the interval, not for that: where
        one fills up, the frame may take some clocks more.
    depths
        FIFO depth in beats behind each stream's producer.
    delays
        By how many clocks later than they could blocks take the beats of an input, by name and
        number of the input, in the schedule that the depths are for.
    """

    interval: int
    latency: int
    depths: dict[Source, int]
    delays: dict[tuple[str, int], int] = field(default_factory=dict)


def size_buffers(hardware: HwGraph) -> tuple[HwGraph, Timing]:
    """Give every FIFO and window memory its size; the graph with FIFOs, and its clocks.

    The frame interval is that of the slowest block, or of the input stream.
    """
    interval = max([hardware.input.beats] + [n.block.cycles for n in hardware.nodes])
    busiest = max([hardware.input.beats] + [n.block.output.beats for n in hardware.nodes])
    # Each window of padded images delays the second frame once: as many frames as it takes for
    # that to have passed through all of them.
    windows = sum(isinstance(n.block, WindowShiftConfig) for n in hardware.nodes)
    under_way = 2 + ceil(_Run(hardware, 0, 1, FIFO_LATENCY).latency / interval)
    numbers = {min(max(number, under_way), max(2, MOST_BEATS // busiest))
               for number in (3, 5, 3 + windows)}
    for _ in range(8):
        for frames in sorted(numbers):
            run = _Run(hardware, interval, frames, FIFO_LATENCY)
            if run.interval <= interval:
                break
        if run.interval <= interval:
            break
        interval = run.interval  # a rigid pair of blocks is slower than each of the two
    delays = _postpone(hardware, run)
    depths = run.depths()
    sized = _with_sizes(hardware, run, depths)
    for _ in range(ROUNDS):
        # FIFOs of two beats pass them on a clock earlier than was assumed.
        run = _Run(sized, interval, run.frames, 0, delays)
        depths, before = _held(sized, run), sized
        sized = _with_sizes(hardware, run, depths)
        if _memories(sized) == _memories(before):
            break
    else:
        # Depths that take turns: the larger ones, as long as it takes.
        run = _Run(sized, interval, run.frames, 0, delays)
        held = _held(sized, run)
        while any(held[source] > depth for source, depth in depths.items()):
            depths = {source: max(depth, held[source]) for source, depth in depths.items()}
            sized = _with_sizes(hardware, run, depths)
            run = _Run(sized, interval, run.frames, 0, delays)
            held = _held(sized, run)
    return sized, Timing(interval, _Run(sized, 0, 1, 0).latency, depths, delays)


def roughly_sized(hardware: HwGraph) -> HwGraph:
    """The graph with FIFOs of about the sizes of :func:`size_buffers`, in a fraction of its time:
    what three frames need, with no block postponed."""
    interval = max([hardware.input.beats] + [n.block.cycles for n in hardware.nodes])
    run = _Run(hardware, interval, 3, FIFO_LATENCY)
    return _with_sizes(hardware, run, run.depths())


def _memories(sized: HwGraph) -> list[tuple[str, int]]:
    """Nodes of a sized graph with the beats that a FIFO of each holds, or the rows of a window."""
    def words(block: Block) -> int:
        if isinstance(block, GateConfig):
            return block.places
        return block.rows if isinstance(block, WindowReaderConfig) else fifo_depth(block)

    return [(node.name, words(node.block)) for node in sized.nodes]


def _held(sized: HwGraph, run: "_Run") -> dict[Source, int]:
    """Most beats that each FIFO of a sized design holds, by the producer in front of it."""
    found = {Source(INPUT): 2}  # a gate may need none in front of it
    gates = _gates(sized)
    for node in sized.nodes:
        source = Source(node.name)
        if isinstance(node.block, FifoConfig):
            # Behind a gate a beat has its place before it is there. The host's beats come at any
            # pace.
            register = node.sources[0].node not in (INPUT, *gates)
            found[node.sources[0]] = _most(run.reserved[node.sources[0]], run.taken[source],
                                           least=1 if register else 2)
        elif has_fifo(node.block):
            found[source] = _most(run.reserved[source], run.taken[source])
    return found


def _most(reserved: np.ndarray, taken: np.ndarray, least: int = 2) -> int:
    """Most beats that a FIFO holds, each from the clock ``reserved`` until it is ``taken``; no less
    than ``least``."""
    # A FIFO holds more than d beats where one comes in while that d before it is there. Twice as
    # many at a time, then by halves: few FIFOs are deep, and each look is one comparison, or where
    # one of a few beats tells, of these.
    def holds_more(than: int) -> bool:
        here, there = reserved[than:], taken[:max(0, len(taken) - than)]
        return bool((there[::SPARSE] >= here[::SPARSE]).any() or (there >= here).any())

    few, many = 0, 1
    while holds_more(many):
        few, many = many, 2 * many
    while few + 1 < many:
        middle = (few + many) // 2
        few, many = (middle, many) if holds_more(middle) else (few, middle)
    return max(least, many)


class _Run:
    """Clocks of all beats of some frames.

    Parameters
    ----------
    hardware
        With FIFOs or without.
    interval
        Clocks over which the source spreads a frame; 0 for a beat per clock.
    frames
        Frames sent.
    fifo_latency
        Clocks that FIFOs which are not in the graph yet will add behind a block without its own.
    delays
        By how many clocks later than it could a block takes the beats of an input, by its name and
        the input's number.
    arrivals
        When the input's beats come instead.
    """

    def __init__(self, hardware: HwGraph, interval: int, frames: int, fifo_latency: int,
                 delays: Mapping[tuple[str, int], int] = MappingProxyType({}),
                 arrivals: "Arrivals | None" = None):
        self.hardware, self.frames = hardware, frames
        beats = hardware.input.beats
        pace = np.arange(beats, dtype=np.int64) * interval // beats if interval else \
            np.arange(beats, dtype=np.int64)
        # In the long run blocks pass the padding above a frame while they wait for it: so let
        # them wait for the first frame too. At full speed it comes right after reset.
        start = max(n.block.cycles for n in hardware.nodes) if interval else 0
        sent = start + (np.arange(frames, dtype=np.int64)[:, None] * interval
                        + pace).reshape(-1)
        self.reserved = {Source(INPUT): sent}
        self.offered = {Source(INPUT): sent + (0 if _needs_no_fifo(hardware) else fifo_latency)}
        if arrivals is not None:
            self.reserved = {Source(INPUT): arrivals.reserved}
            self.offered = {Source(INPUT): arrivals.offered}
        self.taken: dict[Source, np.ndarray] = {}
        self.peaks: dict[str, int] = {}
        consumers, rigid, gates = hardware.consumers(), _rigid(hardware), _gates(hardware)
        for node in hardware.nodes:
            ready = [self.offered[source] for source in node.sources]
            for port in range(len(ready)):
                if late := delays.get((node.name, port)):
                    ready[port] = ready[port] + late
            extra = {}
            if node.name in rigid:
                follower, _ = consumers[Source(node.name)]
                extra = {"hold": getattr(follower.block, "hold", 1)}
            times = node.block.schedule(frames, *ready, **extra)
            for source, taken in zip(node.sources, times.taken):
                self.taken[source] = taken
            self.peaks[node.name] = times.peak
            late = 0 if _ends_open(node, rigid, gates) or has_fifo(node.block) else fifo_latency
            for port in range(getattr(node.block, "outputs", 1)):
                reserved, offered = times.of_output(port)
                # A beat has its place from the gate on.
                self.reserved[Source(node.name, port)] = self.reserved[node.sources[0]] \
                    if node.name in gates and not isinstance(node.block, GateConfig) else reserved
                self.offered[Source(node.name, port)] = offered + late if late else offered
        out = self.offered[hardware.output]
        self.taken[hardware.output] = out
        per_frame = len(out) // frames
        ends = out[per_frame - 1::per_frame]
        self.interval = int(ends[-1] - ends[-2]) if frames > 1 else 0
        self.latency = int(ends[0] - sent[0]) + 1

    def depths(self) -> dict[Source, int]:
        """Most beats that each FIFO holds."""
        return {source: _most(reserved, self.taken[source])
                for source, reserved in self.reserved.items()}


class SteadyRun:
    """Clocks of a frame among others, of a sized design in steady state.

    Clock 0 is that of the frame's first input beat; the source spreads a frame over the interval.
    """

    def __init__(self, sized: HwGraph, timing: Timing):
        busiest = max([sized.input.beats] + [n.block.output.beats for n in sized.nodes])
        frames = min(3 + ceil(timing.latency / timing.interval), MOST_BEATS // busiest)
        self._run = _Run(sized, timing.interval, max(1, frames), 0, timing.delays)
        sent = self._run.reserved[Source(INPUT)]
        self._start = sent[-sized.input.beats]

    def times(self, node: HwNode) -> tuple[np.ndarray, int]:
        """(clocks in which a block takes the beats of its busiest input, that in which it offers
        the frame's last output beat)."""
        run = self._run
        taken = max((run.taken[source] for source in node.sources), key=len)
        last = run.offered[Source(node.name)][-1] - self._start
        return taken[-(len(taken) // run.frames):] - self._start, int(last)

    def around(self, front: Source, back: Source) -> "Arrivals":
        """Of what is between two streams: when beats of the first come and of the second go."""
        run = self._run
        made = next((node.sources[0] for node in run.hardware.nodes if node.name == front.node
                     and isinstance(node.block, FifoConfig)), front)
        return Arrivals(run.frames, run.reserved[made], run.offered[front], run.taken[back])


@dataclass(frozen=True)
class Arrivals:
    """What a part of a design sees of the rest.

    Parameters
    ----------
    frames
        That the clocks are of.
    reserved, offered
        When each beat of its input takes its place in the FIFO in front, and can be taken from it.
    taken
        When each beat of its output is taken.
    """

    frames: int
    reserved: np.ndarray
    offered: np.ndarray
    taken: np.ndarray


def size_among(part: HwGraph, arrivals: Arrivals) -> HwGraph:
    """A part of a design with the FIFOs that it needs, in front too, while the rest is as it is.

    Depths are a beat or two off: FIFOs of two beats pass them on a clock earlier than is assumed.
    """
    run = _Run(part, 0, arrivals.frames, FIFO_LATENCY, arrivals=arrivals)
    late = int((run.offered[part.output] - arrivals.taken).max())
    run.taken[part.output] = arrivals.taken + max(0, late)
    return _with_sizes(part, run, run.depths())


def _rigid(hardware: HwGraph) -> set[str]:
    """Names of the windows whose neuron layer reads their output registers, without a FIFO."""
    consumers = hardware.consumers()
    return {node.name for node in hardware.nodes
            if isinstance(node.block, (WindowReaderConfig, WindowShiftConfig))
            and Source(node.name) in consumers
            and isinstance(consumers[Source(node.name)][0].block,
                           (ConstantLayerConfig, NeuronLayerConfig))}


def _gates(hardware: HwGraph) -> dict[str, str]:
    """For each node of a pipeline behind a gate, and for the gate, the pipeline's last node."""
    last: dict[str, str] = {}
    members: dict[str, list[str]] = {}
    for node in hardware.nodes:
        if isinstance(node.block, GateConfig):
            members[node.name] = [node.name]
        elif node.block.is_open:
            members[node.name] = members.pop(node.sources[0].node) + [node.name]
    for names in members.values():
        last |= dict.fromkeys(names, names[-1])
    return last


def _needs_no_fifo(hardware: HwGraph) -> bool:
    """Whether the first block takes the host's beats without one."""
    node, _ = hardware.consumers()[Source(INPUT)]
    return isinstance(node.block, (GateConfig, PaceConfig))


def _ends_open(node: HwNode, rigid: set[str], gates: dict[str, str]) -> bool:
    """Whether its beats go on without a FIFO, or it holds none itself."""
    return node.name in rigid or gates.get(node.name, node.name) != node.name


def has_fifo(block: Block) -> TypeGuard[BufferedBlock]:
    """Whether the block ends in a FIFO of its own."""
    return isinstance(block, BufferedBlock) and not block.is_open


def _postpone(hardware: HwGraph, run: _Run) -> dict[tuple[str, int], int]:
    """Let blocks start later whose FIFO behind takes more than what in front of them will; the
    delays, as of a :class:`_Run`, whose clocks become those of the delayed blocks.

    What a block makes that its reader never takes at once, it may make so much later. From the end
    to the front, as what is in front of a block may start later then, too.
    """
    found: dict[tuple[str, int], int] = {}
    rigid, gates, consumers = _rigid(hardware), _gates(hardware), hardware.consumers()
    units: dict[str, list[HwNode]] = {}
    for node in hardware.nodes:
        # What follows without a FIFO starts later with what is in front.
        first = next((source.node for source in node.sources if source.node in rigid
                      or gates.get(source.node, source.node) != source.node), None)
        units[node.name] = units.get(first, []) if first else []
        units[node.name].append(node)

    def spare(source: Source) -> int:
        """Clocks that each beat waits for its reader, at least."""
        waits = (run.taken[source] - run.offered[source]).reshape(run.frames, -1)
        reader = consumers.get(source)
        if reader and isinstance(reader[0].block, ConcatConfig):
            # Of a frame's first pixel it takes this part before it waits for the others.
            waits = waits[:, hardware.stream(source).beats_per_pixel:]
        return int(waits.min()) if waits.size else 0

    def cost(source: Source, delay: int, *, read: bool = False) -> float:
        """LUTs, and block RAMs as such, of a FIFO whose producer or reader starts later."""
        stream, made, taken = hardware.stream(source), run.reserved[source], run.taken[source]
        held = _most(made, taken + delay) if read else _most(made + delay, taken)
        reserved = source.node != INPUT and \
            isinstance(hardware.node(source.node).block, NeuronLayerConfig)
        depth = _rounded(held + UNSURE * (held > 2) + reserved, stream)
        takes = fifo_resources(stream.data_width + 1, depth, stream.beats, reserved=reserved)
        return takes.lut + BRAM_PRICE * takes.bram36

    for unit in {id(unit): unit for unit in reversed(units.values())}.values():
        names = {node.name for node in unit}
        ends = [source for source in run.offered if source.node in names
                and not _ends_open(hardware.node(source.node), rigid, gates)]
        entries = {(node.name, port): source for node in unit
                   for port, source in enumerate(node.sources) if source.node not in names}
        most = min(spare(end) for end in ends)
        if most <= 0 or any(source.node == INPUT for source in entries.values()):
            continue
        behind = partial(_sum_of, cost, ends)
        in_front = partial(_sum_of, partial(cost, read=True), list(entries.values()))
        if behind(most) == behind(0):
            continue
        # All of it, or as much as finds room in front.
        held = in_front(0)
        room = bisect_right(range(1, most + 1), held, key=in_front)
        delay = min((room, most), key=lambda d: behind(d) + in_front(d))
        if behind(delay) + in_front(delay) >= behind(0) + held:
            continue
        found |= dict.fromkeys(entries, delay)
        for source in entries.values():
            run.taken[source] = run.taken[source] + delay
        for end in ends:
            run.reserved[end] = run.reserved[end] + delay
            run.offered[end] = run.offered[end] + delay
    return found


def _sum_of(cost: Callable[[Source, int], float], sources: list[Source], delay: int) -> float:
    return sum(cost(source, delay) for source in sources)


def fifo_depth(block: Block) -> int:
    """Beats that a FIFO holds, or that at a block's end; 0 without one."""
    if isinstance(block, FifoConfig):
        return block.depth
    return block.fifo_depth if has_fifo(block) else 0


def fifo_memory(block: Block) -> float:
    """Block RAM of a FIFO, or of that at a block's end."""
    depth, out = fifo_depth(block), block.output
    return fifo_resources(out.data_width + 1, depth, out.beats).bram36 if depth else 0


def round_depth(depth: int, width: int, frame: int = 0) -> int:
    """The depth at the same cost in memory: whole LUT RAMs of 32 or 64 words, and a register.
    ``frame`` as of a :class:`~hwgen.blocks.primitives.StreamFifo`."""
    if depth <= 2:
        return depth
    words = depth - 1
    if memory_style(width, words) == "block":
        width = StreamFifo.stored_width(width, depth, frame)
        power = 1 << (words - 1).bit_length()  # needs no pointer to its limit
        return power + 1 if ram_bram36(width, power) == ram_bram36(width, words) else depth
    return (32 if words <= 32 else 64 * ceil(words / 64)) + 1


def _rounded(depth: int, stream: TensorStream) -> int:
    return round_depth(depth, stream.data_width + 1, stream.beats)


def _with_sizes(hardware: HwGraph, run: _Run, depths: dict[Source, int]) -> HwGraph:
    nodes: list[HwNode] = []
    moved: dict[Source, Source] = {}

    taken = {node.name.lower() for node in hardware.nodes}
    rigid, gates = _rigid(hardware), _gates(hardware)

    def insert_fifo(source: Source, name: str, layer: str) -> None:
        name, kind = unique_name(name, taken), hardware.stream(source)
        depth = _rounded(depths[source], kind)
        nodes.append(HwNode(name, FifoConfig(kind, depth), (source,), layer))
        moved[source] = Source(name)

    if not _needs_no_fifo(hardware) or depths[Source(INPUT)] > 2:
        insert_fifo(Source(INPUT), "input_fifo", hardware.input_tensor)
    for node in hardware.nodes:
        block = node.block
        if isinstance(block, WindowReaderConfig):
            block = replace(block, rows=max(block.least_rows, run.peaks[node.name]))
        elif has_fifo(block):
            depth = depths[Source(node.name)]
            # Of places that are reserved the output register is none.
            reserved = isinstance(block, NeuronLayerConfig) and depth > 2
            block = block.with_fifo(_rounded(depth + reserved, block.output))
        if isinstance(block, GateConfig):
            last = Source(gates[node.name])
            depth = _rounded(depths[last], hardware.stream(last))
            block = replace(block, places=depth)
        nodes.append(replace(node, block=block,
                             sources=tuple(moved.get(s, s) for s in node.sources)))
        if _ends_open(node, rigid, gates) or has_fifo(block):
            continue
        outputs = getattr(block, "outputs", 1)
        for port in range(outputs):
            source = Source(node.name, port)
            insert_fifo(source, f"{node.name}_fifo{port if outputs > 1 else ''}", node.layer)
    nodes = [replace(node, credit=moved[Source(gates[node.name])].node)
             if isinstance(node.block, GateConfig) else node for node in nodes]
    sized = hardware.with_nodes(nodes, output=moved.get(hardware.output, hardware.output))
    sized.check()
    return sized
