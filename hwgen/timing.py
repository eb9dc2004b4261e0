"""Longest paths between registers, from the mapped netlist that Yosys writes as JSON.

Yosys's own ``sta`` has no arcs of LUT6_2 and, after ``synth_xilinx``, none of flip-flops, carry
chains and memories, so the paths are found here: with the delays of cells and the allowance for
routing of the chip's family, in :mod:`hwgen.cell_delays`. A module is analysed alone. What is left
open at its ports is a :class:`ModuleTiming`, which stands for it where it is instantiated; so a
path that runs through several blocks is found too.

Not in it: clock skew and jitter, and how full the chip is.
"""

from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import astuple, dataclass, field, replace
from typing import Any, NamedTuple

from .cell_delays import Delays
from .errors import ToolError

__all__ = ["MOST_CHAINS", "MOST_LEVELS", "BlockPaths", "DesignTiming", "ModuleTiming", "Path",
           "module_timing", "paths_of_top"]

MOST_LEVELS, MOST_CHAINS = 4, 1
"""What a path of a block may take: LUT levels and, beside them, carry chains."""

Node = int | tuple[str, str]  # a net, or a port of an instance


@dataclass(frozen=True)
class Path:
    """A path, or the part of one that lies within a module.

    Parameters
    ----------
    ps
        Its delay in picoseconds, with clock to output and setup.
    route
        What of it is the allowance for routing.
    levels
        LUTs on it; LUTs used as memory or shift register count where they are read through.
    chains
        Carry chains on it.
    fanout
        The most inputs that one of its nets drives.
    start, end
        Registers, memories or ports; ``/CE`` and the like if it is not a register's data.
    through
        Nets on it that have a name in the Verilog.
    """

    ps: int = 0
    route: int = 0
    levels: int = 0
    chains: int = 0
    fanout: int = 0
    start: str = ""
    end: str = ""
    through: tuple[str, ...] = ()

    @property
    def ns(self) -> float:
        return self.ps / 1000

    @property
    def over(self) -> bool:
        """Whether it is longer than a block's path may be, in levels or chains."""
        return self.levels > MOST_LEVELS or self.chains > MOST_CHAINS

    def as_dict(self) -> dict[str, Any]:
        """As in report.json; times in nanoseconds."""
        return {"ns": round(self.ns, 3), "route_ns": round(self.route / 1000, 3),
                "levels": self.levels, "carry_chains": self.chains, "fanout": self.fanout,
                "from": self.start, "to": self.end, "through": list(self.through)}

    def inside(self, instance: str) -> "Path":
        """The same path seen from where its module is instantiated."""
        return replace(self, start=self.start and f"{instance}.{self.start}",
                       end=self.end and f"{instance}.{self.end}",
                       through=tuple(f"{instance}.{name}" for name in self.through))


# What makes a path the worst: its delay, its LUT levels, its carry chains.
_MEASURES: tuple[Callable[[Any], tuple[int, ...]], ...] = (
    lambda path: (path.ps,), lambda path: (path.levels, path.ps),
    lambda path: (path.chains, path.levels, path.ps))

Worst = tuple[Path, ...]  # the worst path by each measure


def _worst(*found: Worst) -> Worst:
    """The worst of several, by each measure."""
    return tuple(max(paths, key=measure) for paths, measure in zip(zip(*found), _MEASURES))


@dataclass(frozen=True)
class ModuleTiming:
    """What a module's surroundings need to know of its paths.

    Parameters
    ----------
    inner
        Worst paths between registers of it; empty if there are none.
    starts, ends
        Worst paths from its registers to an output port, from an input port to its registers.
    arcs
        Worst paths from an input port straight to an output port.
    loads
        Inputs that a net of a port drives within the module, the most of its bits.
    """

    inner: Worst = ()
    starts: dict[str, Worst] = field(default_factory=dict)
    ends: dict[str, Worst] = field(default_factory=dict)
    arcs: dict[tuple[str, str], Worst] = field(default_factory=dict)
    loads: dict[str, int] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        def rows(worst: Worst) -> list[tuple]:
            return [astuple(path) for path in worst]

        return {"inner": rows(self.inner), "loads": self.loads,
                "starts": {port: rows(worst) for port, worst in self.starts.items()},
                "ends": {port: rows(worst) for port, worst in self.ends.items()},
                "arcs": [[*ports, rows(worst)] for ports, worst in self.arcs.items()]}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "ModuleTiming":
        """The inverse of :meth:`as_dict`."""
        def worst(rows: list[list]) -> Worst:
            return tuple(replace(Path(*row), through=tuple(row[-1])) for row in rows)

        return cls(worst(data["inner"]),
                   {port: worst(rows) for port, rows in data["starts"].items()},
                   {port: worst(rows) for port, rows in data["ends"].items()},
                   {(source, to): worst(rows) for source, to, rows in data["arcs"]}, data["loads"])


def module_timing(netlist: Mapping[str, Any], module: str, delays: Delays) -> ModuleTiming:
    """Paths of a module, with the modules in it that kept their hierarchy.

    Parameters
    ----------
    netlist
        What Yosys's ``write_json`` wrote, parsed.
    module
        Name of the module.
    delays
        Of the family that it is mapped to.

    Raises
    ------
    ToolError
        A primitive's delay is not known, or gates form a loop.
    """
    boxes: dict[str, ModuleTiming] = {}
    contents = netlist["modules"][module]
    for kind in sorted({cell["type"] for cell in contents["cells"].values()}):
        attributes = netlist["modules"].get(kind, {}).get("attributes", {"blackbox": "1"})
        if not attributes.keys() & {"blackbox", "whitebox"}:
            boxes[kind] = module_timing(netlist, kind, delays)
    return _Graph(module, contents, boxes, delays).timing()


def paths_of_top(module: str, contents: Mapping[str, Any],
                 boxes: Mapping[str, ModuleTiming], delays: Delays) -> dict[str, Worst]:
    """Worst paths by the block that they end in, and at ``""`` those that end in the top itself.

    The top's ports count as registers.

    Parameters
    ----------
    module, contents
        Name of the top, and its entry in the netlist.
    boxes
        Of the types of its cells: those that are blocks.
    delays
        Of the family that it is mapped to.
    """
    return _Graph(module, contents, boxes, delays, top=True).ends_by_block()


class _Label(NamedTuple):
    """A path from a start to a node."""

    ps: int
    route: int
    levels: int
    chains: int
    fanout: int
    before: "_Label | None"
    node: Node | None
    hop: Path


class _Way(NamedTuple):
    """What a net takes on its way to an input, in cells and in routing, and what it drives."""

    ps: int = 0
    route: int = 0
    fanout: int = 0


class _Edge(NamedTuple):
    to: Node
    hops: Worst
    way: _Way = _Way()


class _Sink(NamedTuple):
    """Where paths end: a register's pin, or a port of a module."""

    node: Node
    hops: Worst
    way: _Way
    group: str
    port: str = ""


class _Graph:
    """Nets of one module, the arcs between them, and where paths start and end."""

    def __init__(self, module: str, contents: Mapping[str, Any],
                 boxes: Mapping[str, ModuleTiming], delays: Delays, top: bool = False) -> None:
        self.module, self.contents, self.boxes, self.top = module, contents, boxes, top
        self.delays = delays
        self.names = _net_names(contents)
        self.driver: dict[int, tuple[str, str]] = {}  # net to the type and port that drive it
        self.loads: Counter[int] = Counter()
        self.loads_on: Counter[tuple[int, str]] = Counter()  # by net and kind of input
        self.edges: dict[Node, list[_Edge]] = {}
        self.starts: list[tuple[Node, Worst]] = []
        self.sinks: list[_Sink] = []
        self.inner: list[tuple[str, Worst]] = []  # paths within instances
        self.inputs: dict[str, list[int]] = {}
        self.outputs: dict[str, list[int]] = {}
        self._connect()
        for name, cell in contents["cells"].items():
            self._add_cell(name, cell)
        self._add_ports()
        self.order = self._sorted()

    def _connect(self) -> None:
        for name, port in self.contents["ports"].items():
            side = self.inputs if port["direction"] == "input" else self.outputs
            side[name] = [bit for bit in port["bits"] if isinstance(bit, int)]
        for cell in self.contents["cells"].values():
            kind, box = cell["type"], self.boxes.get(cell["type"])
            for port, bits in cell["connections"].items():
                output = cell["port_directions"][port] == "output"
                inside = box.loads.get(port, 0) if box else 0
                for bit in bits:
                    if not isinstance(bit, int) or self.delays.is_clock(kind, port):
                        continue
                    if output:
                        self.driver[bit] = (kind, port)
                        self.loads[bit] += inside
                    else:
                        self.loads[bit] += inside if box else 1
                        self.loads_on[bit, self.delays.sole(kind, port)] += 1

    def _way(self, net: int, kind: str, port: str) -> _Way:
        fanout, driver = self.loads[net], self.driver.get(net, ("", ""))
        detour = self.delays.detour_ps(*driver, kind, port)
        if net not in self.driver and not self.top:
            return _Way(detour, 0, fanout)  # an input port: its net is the surroundings' matter
        to = self.delays.sole(kind, port)
        alone = not to or self.loads_on[net, to] == 1
        wire = self.delays.wire_ps(*driver, kind, port) if alone else None
        if wire is None:
            return _Way(detour, self.delays.route_ps(fanout, driver[0], kind), fanout)
        return _Way(detour + wire, 0, fanout)

    def _edge(self, net: Any, cell: Mapping[str, Any], port: str, to: Any, hop: Path) -> None:
        if isinstance(net, int) and isinstance(to, int | tuple):  # no constant, and not open
            self.edges.setdefault(net, []).append(_Edge(
                to, (hop,) * 3, self._way(net, cell["type"], port)))

    def _end(self, net: Any, cell: Mapping[str, Any], port: str, hops: Worst,
             group: str = "") -> None:
        if isinstance(net, int):
            self.sinks.append(_Sink(net, hops, self._way(net, cell["type"], port), group))

    def _start(self, net: Any, hop: Path) -> None:
        if isinstance(net, int):
            self.starts.append((net, (hop,) * 3))

    def _add_cell(self, name: str, cell: Mapping[str, Any]) -> None:
        kind, nets = cell["type"], cell["connections"]
        if kind in self.boxes:
            self._add_box(name, cell, self.boxes[kind])
            return
        delays = self.delays.of(cell)
        if delays is None:
            raise ToolError(f"{self.module}: primitive {kind} has no known delay")
        for port, bit, to, to_bit, ps, levels in delays.arcs:
            net = nets[port][bit] if bit < len(nets.get(port, ())) else None
            target = nets[to][to_bit] if to_bit < len(nets.get(to, ())) else None
            chains = 0
            if delays.carry and isinstance(net, int):
                driver = self.driver.get(net, ("", ""))
                within = port == delays.carry and \
                    self.delays.wire_ps(*driver, kind, port) is not None
                chains = int(not within)  # 1 where the path enters a chain
            self._edge(net, cell, port, target, Path(ps, levels=levels, chains=chains))
        held = [bit for port in (*delays.outputs, delays.data) for bit in nets.get(port, [])]
        own = next((self.names[bit] for bit in held if bit in self.names), name) \
            if delays.data else name
        for port, ps in delays.outputs.items():
            for bit in nets.get(port, []):
                self._start(bit, Path(ps, start=own if delays.data else f"{name}/{port}"))
        for port, ps in delays.setups.items():
            end = own if port == delays.data else f"{own}/{port}"
            for bit in nets.get(port, []):
                self._end(bit, cell, port, (Path(ps, end=end),) * 3)

    def _add_box(self, name: str, cell: Mapping[str, Any], box: ModuleTiming) -> None:
        def node(port: str) -> tuple[str, str]:
            return (name, port)

        def placed(worst: Worst) -> Worst:
            return tuple(path.inside(name) for path in worst)

        if box.inner:
            self.inner.append((name, placed(box.inner)))
        for port in {source for source, _ in box.arcs}:
            for bit in cell["connections"].get(port, []):
                self._edge(bit, cell, port, node(port), Path())
        for (source, to), worst in box.arcs.items():
            self.edges.setdefault(node(source), []).append(_Edge(node(to), placed(worst)))
        for port in box.starts.keys() | {to for _, to in box.arcs}:
            bits = [bit for bit in cell["connections"].get(port, []) if isinstance(bit, int)]
            self.edges.setdefault(node(port), []).extend(
                _Edge(bit, (Path(),) * 3) for bit in bits)
        for port, worst in box.starts.items():
            self.starts.append((node(port), placed(worst)))
        for port, worst in box.ends.items():
            for bit in cell["connections"].get(port, []):
                self._end(bit, cell, port, placed(worst), name)

    def _add_ports(self) -> None:
        if self.top:
            for port, bits in self.inputs.items():
                for bit in bits:
                    self._start(bit, Path(self.delays.ff_out, start=port))
        for port, bits in self.outputs.items():
            hop = (Path(end=port),) * 3
            for bit in bits:
                driver = self.driver.get(bit, ("", ""))[0]
                route = self.delays.route_ps(self.loads[bit] + 1, driver) if self.top else 0
                self.sinks.append(_Sink(bit, hop, _Way(0, route, self.loads[bit]), "", port))

    def _sorted(self) -> dict[Node, int]:
        """The nodes with edges before those that they lead to; ToolError if there is a loop."""
        waiting: Counter[Node] = Counter(e.to for edges in self.edges.values() for e in edges)
        ready = deque(node for node in self.edges if not waiting[node])
        order: dict[Node, int] = {}
        while ready:
            node = ready.popleft()
            order[node] = len(order)
            for edge in self.edges.get(node, ()):
                waiting[edge.to] -= 1
                if not waiting[edge.to]:
                    ready.append(edge.to)
        if +waiting:
            names = sorted({self._name(node) for node in +waiting} - {""})
            shown = ", ".join(names[:3]) or "nets without a name"
            raise ToolError(f"{self.module}: gates form a loop through {shown}; "
                            "put a register into it")
        return order

    def _name(self, node: Node | None) -> str:
        return ".".join(node) if isinstance(node, tuple) else self.names.get(node or 0, "")

    def _labels(self, starts: list[tuple[Node, Worst]]) -> dict[Node, tuple[_Label, ...]]:
        """The worst paths from some nodes to all that they lead to."""
        labels: dict[Node, tuple[_Label, ...]] = {}

        def offer(node: Node, new: tuple[_Label, ...]) -> None:
            old = labels.get(node)
            labels[node] = new if old is None else tuple(
                a if measure(a) >= measure(b) else b
                for a, b, measure in zip(old, new, _MEASURES))

        for node, worst in starts:
            offer(node, tuple(_Label(hop.ps, hop.route, hop.levels, hop.chains, hop.fanout, None,
                                     node, hop) for hop in worst))
        reached, found = set(labels), list(labels)
        while found:
            for edge in self.edges.get(found.pop(), ()):
                if edge.to not in reached:
                    reached.add(edge.to)
                    found.append(edge.to)
        for node in sorted((n for n in reached if n in self.edges), key=self.order.__getitem__):
            here = labels[node]
            for edge in self.edges[node]:
                offer(edge.to, tuple(_extended(label, edge, hop, edge.to)
                                     for label, hop in zip(here, edge.hops)))
        return labels

    def _ends(self, labels: Mapping[Node, tuple[_Label, ...]]) -> Iterator[tuple[_Sink, Worst]]:
        """Sinks, and the worst paths to each."""
        best: dict[tuple[str, str], tuple[_Sink, tuple[_Label, ...]]] = {}
        for sink in self.sinks:
            here = labels.get(sink.node)
            if here is None:
                continue
            ended = tuple(_extended(label, sink, hop, None)
                          for label, hop in zip(here, sink.hops))
            key = sink.group, sink.port
            if key in best:
                ended = tuple(max(pair, key=measure)
                              for pair, measure in zip(zip(best[key][1], ended), _MEASURES))
            best[key] = sink, ended
        for sink, ended in best.values():
            yield sink, tuple(self._path(label) for label in ended)

    def _path(self, last: _Label) -> Path:
        """The path that a label stands for, with its names."""
        labels = [last]
        while labels[-1].before is not None:
            labels.append(labels[-1].before)
        labels.reverse()
        through: list[str] = []
        for label in labels:
            through += label.hop.through
            if isinstance(label.node, int) and label.node in self.names:
                through.append(self.names[label.node])
        first, end = labels[0].hop.start, last.hop.end
        unique = [name for name in dict.fromkeys(through) if name not in (first, end)]
        return Path(last.ps, last.route, last.levels, last.chains, last.fanout, first, end,
                    tuple(unique))

    def timing(self) -> ModuleTiming:
        found = [worst for _, worst in self.inner]
        starts: dict[str, Worst] = {}
        ends: dict[str, Worst] = {}
        arcs: dict[tuple[str, str], Worst] = {}
        for sink, worst in self._ends(self._labels(self.starts)):
            if sink.port:
                starts[sink.port] = worst
            else:
                found.append(worst)
        for port, bits in self.inputs.items():
            here: list[tuple[Node, Worst]] = [(bit, (Path(start=port),) * 3) for bit in bits]
            for sink, worst in self._ends(self._labels(here)):
                if sink.port:
                    arcs[port, sink.port] = worst
                else:
                    ends[port] = _worst(ends[port], worst) if port in ends else worst
        nets = self.inputs | self.outputs
        loads = {port: max((self.loads[bit] for bit in bits), default=0)
                 for port, bits in nets.items()}
        return ModuleTiming(_worst(*found) if found else (), starts, ends, arcs, loads)

    def ends_by_block(self) -> dict[str, Worst]:
        by_block = dict(self.inner)
        for sink, worst in self._ends(self._labels(self.starts)):
            group = sink.group
            by_block[group] = _worst(by_block[group], worst) if group in by_block else worst
        return by_block


def _extended(label: _Label, edge: _Edge | _Sink, hop: Path, node: Node | None) -> _Label:
    way = edge.way
    return _Label(label.ps + way.ps + way.route + hop.ps, label.route + way.route + hop.route,
                  label.levels + hop.levels, label.chains + hop.chains,
                  max(label.fanout, way.fanout, hop.fanout), label, node, hop)


def _net_names(contents: Mapping[str, Any]) -> dict[int, str]:
    """Names of nets as in the Verilog: where there are several, the outermost, then the shortest.

    Yosys marks those that it made up itself.
    """
    names: dict[int, tuple[int, int, str]] = {}
    for name, net in contents["netnames"].items():
        if net["hide_name"] or "$" in name:
            continue
        for n, bit in enumerate(net["bits"], net.get("offset", 0)):
            if isinstance(bit, int):
                text = name if len(net["bits"]) == 1 else f"{name}[{n}]"
                rank = name.count("."), len(text), text
                names[bit] = min(rank, names.get(bit, rank))
    return {bit: rank[2] for bit, rank in names.items()}


@dataclass(frozen=True)
class BlockPaths:
    """The paths that end in a block, wherever they start.

    Parameters
    ----------
    longest
        The one of the greatest delay.
    over
        Those of the most LUT levels and of the most carry chains, if over what is allowed.
    within
        The longest that starts in the block too, if any does.
    """

    longest: Path
    over: tuple[Path, ...] = ()
    within: Path | None = None

    @classmethod
    def of(cls, worst: Worst, within: Worst = ()) -> "BlockPaths":
        return cls(worst[0], tuple(dict.fromkeys(path for path in worst[1:] if path.over)),
                   within[0] if within else None)

    def as_dict(self, period_ns: float) -> dict[str, Any]:
        """As in report.json: the longest path, with its slack and the others."""
        return {**self.longest.as_dict(), "slack_ns": round(period_ns - self.longest.ns, 3),
                "over": [path.as_dict() for path in self.over],
                "within": self.within.as_dict() if self.within else None}


@dataclass(frozen=True)
class DesignTiming:
    """Longest paths of a design.

    Parameters
    ----------
    clock_mhz
        Clock of the design.
    blocks
        By name of the block; a block without registers has none.
    layers
        By block: its layer.
    top
        Paths that end in the top's ports or registers.
    """

    clock_mhz: float
    blocks: dict[str, BlockPaths]
    layers: dict[str, str]
    top: BlockPaths | None

    @property
    def period_ns(self) -> float:
        return 1000 / self.clock_mhz

    @property
    def longest(self) -> Path:
        found = [*self.blocks.values(), *([self.top] if self.top else [])]
        return max((paths.longest for paths in found), key=lambda path: path.ps, default=Path())

    def as_dict(self) -> dict[str, Any]:
        """The part ``timing`` of section ``synth`` of report.json."""
        layers: dict[str, Path] = {}
        for name, paths in self.blocks.items():
            layer = self.layers[name]
            layers[layer] = max(layers.get(layer, Path()), paths.longest, key=lambda p: p.ps)

        return {"clock_mhz": self.clock_mhz, "period_ns": round(self.period_ns, 3),
                "meets": self.longest.ns <= self.period_ns,
                "longest": self.longest.as_dict(),
                "blocks": {name: paths.as_dict(self.period_ns)
                           for name, paths in self.blocks.items()},
                "top": self.top.as_dict(self.period_ns) if self.top else None,
                "layers": {layer: {"ns": round(path.ns, 3), "levels": path.levels,
                                   "carry_chains": path.chains}
                           for layer, path in layers.items()}}
