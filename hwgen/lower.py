"""Integer graph to layer plans, and plans with their chosen folding to the hardware graph."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, fields, replace
from math import gcd

import numpy as np

from .arith.compressor import ARITHMETIC_MODULES
from .arith.dsp import MAC, MAC_ROWS
from .blocks.activation_kinds import activation_ops
from .blocks.add import AddConfig
from .blocks.argmax import ArgMaxConfig
from .blocks.block import Block
from .blocks.concat import ConcatConfig
from .blocks.constant_layer import ConstantLayerConfig
from .blocks.crop import CropConfig
from .blocks.elementwise import ElementwiseConfig
from .blocks.fork import ForkConfig
from .blocks.gate import GateConfig
from .blocks.neuron_layer import NeuronLayerConfig
from .blocks.pace import PaceConfig
from .blocks.parity_memory import PARITY_ROM
from .blocks.pool import PoolConfig
from .blocks.position_scale import PositionScaleConfig
from .blocks.primitives import ROM
from .blocks.reorder import ReorderConfig
from .blocks.select import SelectConfig
from .blocks.split import SplitConfig
from .blocks.spread import SpreadConfig
from .blocks.upsample import UpsampleConfig
from .blocks.width_adapter import adapters_between
from .blocks.window import WindowGeometry
from .blocks.window_reader import WindowReaderConfig
from .blocks.window_shift import WindowShiftConfig
from .conv_choices import Candidate, Convolution, Folding, divisors
from .errors import ModelError
from .families import family_cost
from .graph import Graph, Node, Tensor
from .hardware import INPUT, HwGraph, HwNode, Source
from .ops import (
    Add,
    ArgMax,
    Concat,
    Conv,
    Crop,
    DepthToSpace,
    MaxPool,
    Op,
    Reshape,
    Select,
    SumPool,
    Upsample,
    Windows,
    ZeroInsert,
)
from .resources import Resources
from .streams import TensorStream
from .types import NumType

__all__ = ["Option", "Plan", "build_hardware", "pace_within", "plan_layers", "unique_name"]

BUILT = (Add, ArgMax, Concat, Conv, Crop, DepthToSpace, MaxPool, Select, Upsample, Windows,
         ZeroInsert)
"""Operations with a block of their own; activations join them or make one together."""

WIDEST_SELECT = 1 << 12
"""Bits of a pixel up to which any channels are selected by wires."""


@dataclass(frozen=True, eq=False)
class Option:
    """One way to build a layer: its folding, blocks in a row, clocks and predicted resources."""

    folding: Folding
    blocks: tuple[tuple[str, Block], ...]
    cycles: int
    cost: Resources

    @property
    def inputs(self) -> tuple[TensorStream, ...]:
        return self.blocks[0][1].inputs

    @property
    def output(self) -> TensorStream:
        return self.blocks[-1][1].output


@dataclass(frozen=True, eq=False)
class Plan:
    """A layer to be built: an operation and the activations behind it.

    Parameters
    ----------
    name
        Name of the operation's node.
    op
        The operation, or None for activations alone.
    activations
        (operation, output type) pairs that follow.
    inputs
        Names and tensors that it reads.
    tensor, output
        Name and tensor that it makes.
    parts
        Names and tensors of the parts that its channels are handed on in; none where all readers
        take all channels.
    """

    name: str
    op: Op | None
    activations: tuple[tuple[Op, NumType], ...]
    inputs: tuple[tuple[str, Tensor], ...]
    accumulator: NumType
    tensor: str
    output: Tensor
    parts: tuple[tuple[str, Tensor], ...] = ()
    _options: dict[str, tuple[Option, ...]] = field(default_factory=dict, init=False, repr=False)
    _within: dict[tuple[int, str], list[Option]] = field(default_factory=dict, init=False,
                                                         repr=False)

    @property
    def block_name(self) -> str:
        return type(self.op).__name__ if self.op else "Activation"

    def options(self, family: str) -> tuple[Option, ...]:
        """Every way to build the layer."""
        if family not in self._options:
            self._options[family] = tuple(
                Option(folding, blocks, _cycles([b for _, b in blocks]),
                       family_cost(sum((b.estimate(family) for _, b in blocks),
                                       Resources()), family))
                for folding, whole in _choices(self)
                for blocks in [_with_split(self, whole)])
        return self._options[family]

    def options_within(self, interval: int, family: str) -> list[Option]:
        """Those that keep an interval, without those that take at least as much of everything, and
        as many clocks, as another."""
        if (interval, family) not in self._within:
            kept: list[Option] = []
            costs = np.empty((0, 1 + len(fields(Resources))))
            for option in sorted((o for o in self.options(family) if o.cycles <= interval),
                                 key=lambda o: (sum(o.cost.values), o.cycles)):
                cost = np.array([option.cycles, *option.cost.values])
                if not (costs <= cost).all(axis=1).any():
                    kept.append(option)
                    costs = np.vstack([costs, cost])
            self._within[interval, family] = kept
        return self._within[interval, family]

    def same_as(self, other: "Plan") -> bool:
        """Whether both have the same options."""
        return all(getattr(self, f.name) == getattr(other, f.name) for f in fields(self)
                   if f.init)


def _cycles(blocks: list[Block]) -> int:
    """Clocks per frame of blocks in a row."""
    cycles = max(b.cycles for b in blocks)
    for window, layer in zip(blocks, blocks[1:]):
        if isinstance(window, WindowShiftConfig) and isinstance(
                layer, (ConstantLayerConfig, NeuronLayerConfig)):
            cycles = max(cycles, window.held_cycles(layer.hold))
    return cycles


def plan_layers(graph: Graph, known: Iterable[Plan] = ()) -> list[Plan]:
    """Group operations with the activations behind them, in topological order.

    Requires a folded graph (:data:`hwgen.passes.PIPELINE`). Reshape disappears: a stream's order
    is that of the flat tensor. So does Crop where several take a tensor's channels apart. Layers
    that are among ``known`` are taken from there, with the options that they have listed.
    """
    earlier = {plan.name: plan for plan in known}
    tensors = graph.tensors()
    flat: dict[str, str] = {}
    plans: list[Plan] = []
    done: set[str] = set()
    for node in graph.nodes:
        if node.name in done:
            continue
        if isinstance(node.op, Reshape):
            flat[node.name] = node.inputs[0]
            continue
        alone = isinstance(node.op, activation_ops)
        chain = [(node.op, node.output.dtype)] if alone else []
        last = node
        if isinstance(node.op, (Conv, Add)) or alone:
            while (following := _only_user(graph, last)) and isinstance(following.op,
                                                                        activation_ops):
                last = following
                chain.append((last.op, last.output.dtype))
                done.add(last.name)
        if not isinstance(node.op, BUILT) and not alone:
            raise ModelError(f"{node.name}: {type(node.op).__name__} has no hardware block")
        parts = _parts(graph, last)
        done.update(part.name for part in parts)
        plan = Plan(node.name, None if alone else node.op, tuple(chain),
                    tuple((_root(flat, i), tensors[i]) for i in node.inputs),
                    node.output.dtype, last.name, last.output,
                    tuple((part.name, part.output) for part in parts))
        same = earlier.get(plan.name)
        plans.append(same if same is not None and same.same_as(plan) else plan)
    if not plans:
        raise ModelError(f"{graph.output}: the network has no layer that computes anything")
    return plans


def _root(flat: dict[str, str], name: str) -> str:
    while name in flat:
        name = flat[name]
    return name


def _only_user(graph: Graph, node: Node) -> Node | None:
    users = graph.users(node.name)
    return users[0] if len(users) == 1 and node.name != graph.output else None


def _parts(graph: Graph, node: Node) -> list[Node]:
    """The Crops that take all channels of a node's tensor apart, in their order; none if they
    don't, or something else reads it too."""
    users, starts = graph.users(node.name), []
    for user in users:
        if not isinstance(user.op, Crop) or user.output.shape[:2] != node.output.shape[:2]:
            return []
        starts.append(user.op.channels)
    ends = [0, *(end for _, end in sorted(starts))]
    if node.name == graph.output or len(users) < 2 \
            or sorted(starts) != list(zip(ends, ends[1:])) or ends[-1] != node.output.shape[2]:
        return []
    return [user for _, user in sorted(zip(starts, users), key=lambda pair: pair[0])]


def _with_split(plan: Plan, blocks: tuple[tuple[str, Block], ...]
                ) -> tuple[tuple[str, Block], ...]:
    """Blocks of a layer, and behind them what hands its parts on."""
    if not plan.parts:
        return blocks
    stream, parts = blocks[-1][1].output, tuple(tensor.shape[2] for _, tensor in plan.parts)
    step = gcd(*parts)
    found: list[tuple[str, Block]] = []
    if step % stream.lanes and stream.beats_per_pixel > 1:
        # As few lanes as don't slow the layer.
        cycles = _cycles([block for _, block in blocks])
        wanted = next((kind for kind in map(stream.with_lanes, divisors(step))
                       if kind.beats <= cycles), stream.with_lanes(stream.channels))
        found = [("split_lanes", adapter) for adapter in adapters_between(stream, wanted)]
        stream = wanted
    return *blocks, *found, ("split", SplitConfig(stream, parts))


def _choices(plan: Plan) -> Iterator[Candidate]:
    op, (_, tensor) = plan.op, plan.inputs[0]
    if isinstance(op, Conv):
        yield from Convolution(op, tensor, plan.accumulator, plan.activations).choices()
        return
    if isinstance(op, Select):
        yield from _select_choices(op, tensor)
        return
    for lanes in divisors(_channel_step(op, [t for _, t in plan.inputs])):
        streams = tuple(TensorStream(t.dtype, t.shape, lanes) for _, t in plan.inputs)
        yield {"lanes": lanes}, _blocks(plan, streams)


def _channel_step(op: Op | None, tensors: list[Tensor]) -> int:
    """What lanes must divide."""
    channels = gcd(*(t.shape[2] for t in tensors))
    if isinstance(op, Crop):
        return gcd(channels, *op.channels)
    if isinstance(op, DepthToSpace):
        return channels // op.block**2
    return channels


def _blocks(plan: Plan, streams: tuple[TensorStream, ...]) -> tuple[tuple[str, Block], ...]:
    """The blocks of a layer other than a convolution, at the lanes of its streams."""
    op, stream = plan.op, streams[0]
    height, width, channels = stream.shape
    if op is None:
        return ("", ElementwiseConfig(stream, plan.activations)),
    if isinstance(op, Add):
        return ("", AddConfig(streams, plan.accumulator, plan.activations)),
    if isinstance(op, Concat):
        return ("", ConcatConfig(streams, plan.accumulator)),
    if isinstance(op, SumPool):
        scaled = op.row_factors is not None or op.column_factors is not None
        pool = PoolConfig(stream, op.kernel, op.stride, op.pad, "sum",
                          None if scaled else plan.accumulator, op.pad_value)
        if not scaled:
            return ("", pool),
        return ("sums", pool), ("", PositionScaleConfig(
            pool.output, op.row_factors, op.column_factors, plan.accumulator))
    if isinstance(op, MaxPool):
        return ("", PoolConfig(stream, op.kernel, op.stride, op.pad, "max", plan.accumulator)),
    if isinstance(op, Upsample):
        return ("", UpsampleConfig(stream, op.factor)),
    if isinstance(op, Crop):
        return ("", CropConfig(stream, (*op.rows, 1), (*op.columns, 1), op.channels)),
    if isinstance(op, ZeroInsert):
        return ("", SpreadConfig(stream, op.factor, (0, 0, 0, 0), op.value, plan.accumulator)),
    if isinstance(op, DepthToSpace):
        return ("", _depth_to_space(op, stream)),
    if isinstance(op, Windows):
        if op.kernel == (1, 1) and not any(op.pad):
            rows, columns = ((0, size, step) for size, step in zip((height, width), op.stride))
            return ("", CropConfig(stream, rows, columns, (0, channels))),
        if op.kernel == (1, 1) and op.stride == (1, 1):
            return ("", SpreadConfig(stream, (1, 1), op.pad, op.pad_value, plan.accumulator)),
        geometry = WindowGeometry(op.kernel, op.stride, op.pad, op.pad_value, op.dilation)
        least = WindowReaderConfig(stream, geometry, plan.accumulator).least_rows
        return ("", WindowReaderConfig(stream, geometry, plan.accumulator,
                                       least + op.stride[0])),
    return ("", ArgMaxConfig(stream)),


def _depth_to_space(op: DepthToSpace, stream: TensorStream) -> ReorderConfig:
    """Row by row: an input row holds ``block`` output rows."""
    _, width, channels = stream.shape
    beats = channels // op.block**2 // stream.lanes
    order = np.arange(width * stream.beats_per_pixel).reshape(width, op.block, op.block, beats)
    return ReorderConfig(stream, op.shape(stream.shape),
                         order.transpose(1, 0, 2, 3).reshape(-1), order.size)


def _select_choices(op: Select, tensor: Tensor):
    """Wires on whole pixels, or a buffer of one pixel whose beats are read in another order."""
    channels, indices = tensor.shape[2], np.array(op.indices)
    shape = op.shape(tensor.shape)
    if channels * tensor.dtype.width <= WIDEST_SELECT:
        yield {"lanes": channels}, (("", SelectConfig(
            TensorStream(tensor.dtype, tensor.shape, channels), op.indices)),)
    for lanes in divisors(gcd(channels, len(indices))):
        runs = indices.reshape(-1, lanes)
        whole = (runs[:, 0] % lanes == 0) & (runs == runs[:, :1] + np.arange(lanes)).all(axis=1)
        if whole.all():
            stream = TensorStream(tensor.dtype, tensor.shape, lanes)
            yield {"lanes": lanes, "buffer": channels // lanes}, (("", ReorderConfig(
                stream, shape, runs[:, 0] // lanes, channels // lanes)),)


def build_hardware(graph: Graph, plans: list[Plan], chosen: dict[str, Option],
                   pace: int = 1) -> HwGraph:
    """Blocks of every layer with forks where a tensor has several readers and width adapters
    where lanes differ; the input is taken at one beat in ``pace`` clocks. FIFOs come later
    (:mod:`hwgen.schedule`)."""
    readers: dict[str, list[str]] = defaultdict(list)
    for plan in plans:
        for name, _ in plan.inputs:
            readers[name].append(plan.name)

    stream = _input_stream(graph, plans, chosen)
    nodes: list[HwNode] = []
    available: dict[str, list[Source]] = {}

    def publish(name: str, source: Source, kind: TensorStream, layer: str) -> None:
        count = len(readers[name])
        if count > 1:
            fork = unique_name(f"{layer}_fork", taken)
            nodes.append(HwNode(fork, ForkConfig(kind, count), (source,), layer))
            available[name] = [Source(fork, n) for n in range(count)]
        else:
            available[name] = [source]
        streams[name] = kind

    streams: dict[str, TensorStream] = {}
    taken = {"hwgen_top", ROM, PARITY_ROM, MAC, MAC_ROWS, *ARITHMETIC_MODULES}
    block_names = {plan.name: unique_name(plan.name, taken) for plan in plans}
    first = Source(INPUT)
    if pace > 1:
        first = Source(unique_name("input_pace", taken))
        nodes.append(HwNode(first.node, PaceConfig(stream, pace), (Source(INPUT),), graph.input))
    publish(graph.input, first, stream, graph.input)
    for plan in plans:
        option = chosen[plan.name]
        sources = []
        for port, ((name, _), kind) in enumerate(zip(plan.inputs, option.inputs)):
            source = available[name].pop(0)
            suffix = f"{plan.name}_width" + (f"{port}" if len(plan.inputs) > 1 else "")
            for step, adapter in enumerate(adapters_between(streams[name], kind)):
                nodes.append(HwNode(unique_name(f"{suffix}{'_down' * step}", taken), adapter,
                                    (source,), plan.name))
                source = Source(nodes[-1].name)
            sources.append(source)
        for suffix_, block in option.blocks:
            own = not suffix_
            name = block_names[plan.name] if own else unique_name(f"{plan.name}_{suffix_}", taken)
            # A tensor that is only there to be taken apart is none of the model's.
            carried = tuple(part for part, _ in plan.parts) if isinstance(block, SplitConfig) \
                else (plan.tensor,) if own and not plan.parts else ()
            nodes.append(HwNode(name, block, tuple(sources), plan.name, carried))
            sources = [Source(name, port) for port in range(getattr(block, "outputs", 1))]
        last = option.blocks[-1][1]
        for port, part in enumerate([part for part, _ in plan.parts] or [plan.tensor]):
            publish(part, sources[port], last.output_of(port), plan.name)
    hardware = HwGraph(graph.name, stream, graph.input, tuple(_with_gates(nodes, taken)),
                       available[_output_root(graph)].pop(0), graph.output)
    hardware.check()
    return hardware


def pace_within(interval: int, graph: Graph, plans: list[Plan], chosen: dict[str, Option]) -> int:
    """Clocks from a beat of input to the next with which a frame takes nearly ``interval`` clocks;
    1 where the layers are no faster than that."""
    beats = _input_stream(graph, plans, chosen).beats
    pace = interval // beats
    return pace if pace * beats > max(option.cycles for option in chosen.values()) else 1


def _input_stream(graph: Graph, plans: list[Plan], chosen: dict[str, Option]) -> TensorStream:
    tensor = graph.input_tensor
    readers = [chosen[plan.name].inputs[0] for plan in plans for name, _ in plan.inputs
               if name == graph.input]
    return TensorStream(tensor.dtype, tensor.shape, _input_lanes(tensor, readers))


def _with_gates(nodes: list[HwNode], taken: set[str]) -> list[HwNode]:
    """Neighbours that take a beat in every clock become pipelines with one FIFO, at their end."""
    consumers = {source: node for node in nodes for source in node.sources}
    found: list[HwNode] = []
    within: set[str] = set()
    for node in nodes:
        block, follower = node.block.opened(), consumers.get(Source(node.name))
        if block is None:
            found.append(node)
            continue
        joins = node.sources[0].node in within
        goes_on = follower is not None and follower.block.opened() is not None
        if not joins and not goes_on:
            found.append(node)
            continue
        if not joins:
            gate = HwNode(unique_name(f"{node.name}_gate", taken),
                          GateConfig(node.block.inputs[0], 2), node.sources, node.layer)
            found.append(gate)
            node = replace(node, sources=(Source(gate.name),))
        within.add(node.name)
        found.append(replace(node, block=block))
    return found


def unique_name(name: str, taken: set[str]) -> str:
    """``name``, with a number behind it if it is ``taken`` but for case; it is taken from now on.

    Blocks are Verilog modules and files; a model may have layers ``a`` and ``a_fork``.
    """
    unique, number = name, 2
    while unique.lower() in taken:
        unique, number = f"{name}_{number}", number + 1
    taken.add(unique.lower())
    return unique


def _input_lanes(tensor: Tensor, readers: list[TensorStream]) -> int:
    """Lanes of the network's input: those of its readers, or as few as don't slow the fastest."""
    channels = tensor.shape[2]
    if channels <= 4 and tensor.shape[:2] != (1, 1):
        return channels  # whole pixels, as a camera gives them
    most = max(r.lanes for r in readers)
    # Lanes of a reader of the flattened tensor need not divide a pixel's channels.
    return next((n for n in divisors(channels) if n >= most), channels)


def _output_root(graph: Graph) -> str:
    name = graph.output
    while name != graph.input and isinstance(graph.node(name).op, Reshape):
        name = graph.node(name).inputs[0]
    return name
