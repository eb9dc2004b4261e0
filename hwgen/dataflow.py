"""The hardware graph for a report and for simulation: blocks, streams, FIFOs, and who is busy when.

``docs/report.md`` describes ``graph``, ``fifos`` and ``schedule`` field by field.
"""

from typing import Any

import numpy as np

from .blocks.fifo import FifoConfig
from .design import FifoInfo
from .hardware import INPUT, HwGraph, HwNode, Source
from .schedule import SteadyRun, Timing, fifo_depth, has_fifo
from .streams import TensorStream
from .top import wire_name

__all__ = ["OUTPUT", "PARTS", "activity", "describe", "find_fifos"]

OUTPUT = "m_axis"
"""Name of the network's output where a reader of a stream is meant."""

PARTS = 48
"""Into which a layer's time with a frame is cut, for the share of each that it is busy."""


def find_fifos(hardware: HwGraph) -> tuple[FifoInfo, ...]:
    """Every FIFO of a sized design, between blocks or at the end of one, and the wires of the top
    that say when a beat enters and leaves."""
    def handshake(prefix: str) -> tuple[str, str]:
        return f"{prefix}_tvalid", f"{prefix}_tready"

    ports = {node.name: getattr(node.block, "outputs", 1) for node in hardware.nodes}
    found = []
    for node in hardware.nodes:
        if isinstance(node.block, FifoConfig):
            source, = node.sources
            found.append(FifoInfo(node.name, node.block.depth,
                                  handshake(wire_name(source, ports.get(source.node, 1))),
                                  handshake(node.name)))
        elif has_fifo(block := node.block):
            # What goes in has its place already, so the FIFO's ready is not there.
            found.append(FifoInfo(node.name, block.fifo_depth,
                                  (f"{node.name}.{block.fifo_entry}",),
                                  handshake(node.name)))
    return tuple(found)


def describe(hardware: HwGraph, timing: Timing) -> dict[str, Any]:
    """``graph``, ``fifos`` and ``schedule`` of a report."""
    return {"graph": _graph(hardware), "fifos": _fifos(hardware, timing),
            "schedule": _schedule(hardware, timing)}


def _fifos(hardware: HwGraph, timing: Timing) -> list[dict[str, Any]]:
    """``fifos`` of a report, in the order of :func:`find_fifos`."""
    rows = []
    for node in hardware.nodes:
        if isinstance(node.block, FifoConfig):
            source, depth = node.sources[0], node.block.depth
        elif has_fifo(block := node.block):
            source, depth = Source(node.name), block.fifo_depth
        else:
            continue
        rows.append({"name": node.name, "layer": node.layer,
                     "bits": node.block.output.data_width + 1, "depth": depth,
                     "needed": timing.depths[source]})
    return rows


def _graph(hardware: HwGraph) -> dict[str, Any]:
    """``graph`` of a report: blocks as nodes, streams as edges; a FIFO is part of its edge."""
    fifos = {node.name: node for node in hardware.nodes if isinstance(node.block, FifoConfig)}
    nodes: list[dict[str, Any]] = [{
        "name": INPUT, "block": "input", "layer": None, "folding": {},
        "cycles": hardware.input.beats}]
    nodes += [{"name": node.name, "block": type(node.block).__name__.removesuffix("Config"),
               "layer": node.layer, "folding": dict(node.block.folding),
               "cycles": node.block.cycles}
              for node in hardware.nodes if node.name not in fifos]
    out = hardware.stream(hardware.output)
    nodes.append({"name": OUTPUT, "block": "output", "layer": None, "folding": {},
                  "cycles": out.beats})
    ends = [(source, node.name) for node in hardware.nodes if node.name not in fifos
            for source in node.sources] + [(hardware.output, OUTPUT)]
    edges = []
    for source, reader in ends:
        stream, through = hardware.stream(source), []
        while source.node in fifos:
            through.append(fifos[source.node])
            source = fifos[source.node].sources[0]
        if source.node != INPUT and has_fifo(hardware.node(source.node).block):
            through.append(hardware.node(source.node))
        edges.append({"from": source.node, "to": reader, **_describe_stream(stream),
                      "fifos": [node.name for node in reversed(through)],
                      "fifo_depth": sum(fifo_depth(node.block) for node in through)})
    return {"nodes": nodes, "edges": edges}


def _describe_stream(stream: TensorStream) -> dict[str, Any]:
    return {"shape": list(stream.shape), "type": stream.dtype.name, "lanes": stream.lanes,
            "bits": stream.data_width, "beats": stream.beats}


def _schedule(hardware: HwGraph, timing: Timing) -> dict[str, Any]:
    """``schedule`` of a report: in steady state, when each layer's slowest block is busy."""
    run = SteadyRun(hardware, timing)
    slowest: dict[str, HwNode] = {}
    for node in hardware.nodes:
        held = slowest.get(node.layer)
        # FIFOs only wait; a layer of nothing else is the input.
        if held is None or isinstance(held.block, FifoConfig) \
                or not isinstance(node.block, FifoConfig) \
                and node.block.cycles >= held.block.cycles:
            slowest[node.layer] = node
    layers: list[dict[str, Any]] = []
    for layer, node in slowest.items():
        taken, last = run.times(node)
        layers.append({
            "name": layer, "block": node.name, "first_cycle": int(taken[0]), "last_cycle": last,
            "busy": node.block.cycles / timing.interval,
            "activity": activity(taken, node.block.cycles, int(taken[0]), last + 1)})
    most = max(layer["busy"] for layer in layers)
    return {"interval_cycles": timing.interval, "parts": PARTS,
            "bottleneck": [layer["name"] for layer in layers if layer["busy"] == most],
            "layers": layers}


def activity(taken: np.ndarray, cycles: int, begin: int, end: int) -> list[float]:
    """Busy share of each of :data:`PARTS` equal parts of the clocks from ``begin`` to ``end``.

    A block that takes ``cycles`` clocks for a frame works on each of its input beats for an equal
    part of them, one behind the other, from the clock in which it takes it or later.
    """
    edges = np.linspace(begin, end, PARTS + 1)
    clocks = cycles / len(taken)  # for a beat
    steps = np.arange(len(taken)) * clocks
    starts = np.maximum.accumulate(taken - steps) + steps
    sums = np.concatenate([[0], np.cumsum(starts)])

    def since(times: np.ndarray) -> np.ndarray:
        """Clocks since each beat at or before each time, added up."""
        count = np.searchsorted(starts, times, side="right")
        return count * times - sums[count]

    done = since(edges) - since(edges - clocks)
    return [round(float(share), 3) for share in
            np.clip(np.diff(done) * PARTS / (end - begin), 0, 1)]
