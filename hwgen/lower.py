"""Integer graph to layer plans, and plans with their chosen folding to the hardware graph."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from math import lcm

import numpy as np

from .blocks.activation import activation_ops
from .blocks.add import AddConfig
from .blocks.argmax import ArgMaxConfig
from .blocks.block import Block
from .blocks.concat import ConcatConfig
from .blocks.elementwise import ElementwiseConfig
from .blocks.fork import ForkConfig
from .blocks.neuron_layer import NeuronLayerConfig
from .blocks.pool import PoolConfig
from .blocks.upsample import UpsampleConfig
from .blocks.width_adapter import WidthAdapterConfig
from .blocks.window import WindowGeometry, window_type
from .blocks.window_reader import WindowReaderConfig
from .blocks.window_shift import WindowShiftConfig
from .errors import ModelError
from .graph import Graph, Node, Tensor
from .hardware import INPUT, HwGraph, HwNode, Source
from .ops import Add, ArgMax, Concat, Conv, MaxPool, Op, Reshape, SumPool, Upsample
from .resources import Resources
from .streams import TensorStream
from .types import NumType

__all__ = ["Folding", "Option", "Plan", "build_hardware", "divisors", "plan_layers", "unique_name",
           "window_order"]

Folding = dict[str, int | str]
"""A layer's choices as reports and fold files state them."""

LOGIC_ROM_BITS = 1 << 16
"""Weights of more bits are not offered as LUTs: they would fill a small chip."""


def divisors(n: int) -> list[int]:
    return [d for d in range(1, n + 1) if n % d == 0]


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
    """

    name: str
    op: Op | None
    activations: tuple[tuple[Op, NumType], ...]
    inputs: tuple[tuple[str, Tensor], ...]
    accumulator: NumType
    tensor: str
    output: Tensor
    _options: dict[str, tuple[Option, ...]] = field(default_factory=dict, repr=False)

    @property
    def block_name(self) -> str:
        return type(self.op).__name__ if self.op else "Activation"

    def options(self, family: str) -> tuple[Option, ...]:
        """Every way to build the layer."""
        if family not in self._options:
            self._options[family] = tuple(
                Option(folding, blocks, max(b.cycles for _, b in blocks),
                       sum((b.estimate(family) for _, b in blocks), Resources()))
                for folding, blocks in _choices(self))
        return self._options[family]


def plan_layers(graph: Graph) -> list[Plan]:
    """Group operations with the activations behind them, in topological order.

    Requires a folded graph (:data:`hwgen.passes.PIPELINE`). Reshape disappears: a stream's order
    is already that of the flat tensor.
    """
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
        if not isinstance(node.op, (Conv, Add, ArgMax, Concat, MaxPool, Upsample)) and not alone:
            raise ModelError(f"{node.name}: {type(node.op).__name__} has no hardware block")
        plans.append(Plan(node.name, None if alone else node.op, tuple(chain),
                          tuple((_root(flat, i), tensors[i]) for i in node.inputs),
                          node.output.dtype, last.name, last.output))
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


def _choices(plan: Plan) -> Iterator[tuple[Folding, tuple[tuple[str, Block], ...]]]:
    op, (_, tensor) = plan.op, plan.inputs[0]
    if isinstance(op, Conv):
        yield from _conv_choices(plan, op, tensor)
        return
    channels = np.gcd.reduce([t.shape[2] for _, t in plan.inputs])
    for lanes in divisors(int(channels)):
        streams = tuple(TensorStream(t.dtype, t.shape, lanes) for _, t in plan.inputs)
        folding: Folding = {"lanes": lanes}
        block: Block
        if op is None:
            block = ElementwiseConfig(streams[0], plan.activations)
        elif isinstance(op, Add):
            block = AddConfig(streams, plan.accumulator, plan.activations)
        elif isinstance(op, Concat):
            block = ConcatConfig(streams, plan.accumulator)
        elif isinstance(op, MaxPool):
            mode = "sum" if isinstance(op, SumPool) else "max"
            block = PoolConfig(streams[0], op.kernel, op.stride, op.pad, mode, plan.accumulator)
        elif isinstance(op, Upsample):
            block = UpsampleConfig(streams[0], op.factor)
        else:
            block = ArgMaxConfig(streams[0])
        yield folding, (("", block),)


def _conv_choices(plan: Plan, op: Conv, tensor: Tensor):
    per_group, neurons = op.weights.shape[2], op.weights.shape[3] // op.groups
    kinds = ["pointwise"] if op.pointwise else ["reader", "shift"]
    # Options share their matrices: in a large layer each takes megabytes.
    ordered = cache(lambda kind, lanes: window_order(op, kind, lanes))
    for kind in kinds:
        for gp in divisors(op.groups):
            for simd in divisors(per_group) if gp == 1 else [per_group]:
                window = _window(kind, op, tensor, gp, simd)
                if window is None and kind != "pointwise":
                    continue
                stream = window.output if window else TensorStream(tensor.dtype, tensor.shape,
                                                                   gp * simd)
                matrix = ordered(kind, stream.lanes // gp if kind == "shift" else 0)
                for pe in divisors(neurons) if gp == 1 else [neurons]:
                    width = gp * pe * (stream.lanes // gp) * op.weight_type.width
                    depth = op.weights.size * op.weight_type.width // width
                    styles = []
                    if depth == 1 or width * depth <= LOGIC_ROM_BITS:
                        styles.append("logic")
                    if depth >= 16:
                        styles.append("block")
                    for style in styles:
                        layer = NeuronLayerConfig(
                            stream, matrix, op.weight_type, op.bias, plan.accumulator,
                            plan.activations, pe=pe, group_parallel=gp, style=style)
                        folding: Folding = {"pe": pe, "simd": layer.simd}
                        if op.groups > 1:
                            folding["groups"] = gp
                        if kind != "pointwise":
                            folding["window"] = kind
                        folding["weights"] = style
                        blocks: tuple[tuple[str, Block], ...] = (("", layer),)
                        if window:
                            blocks = (("window", window), *blocks)
                        yield folding, blocks


def _window(kind: str, op: Conv, tensor: Tensor, gp: int, lanes: int):
    """The window block of a convolution; None if that kind can't do it so."""
    if kind == "pointwise":
        return None
    stream = TensorStream(tensor.dtype, tensor.shape, gp * lanes)
    geometry, out_type = WindowGeometry.of(op), window_type(tensor.dtype, op)
    if kind == "shift":
        if op.groups > gp and lanes != op.weights.shape[2]:
            return None
        return WindowShiftConfig(stream, geometry, out_type, gp)
    least = WindowReaderConfig(stream, geometry, out_type, 0, gp).least_rows
    # What lets the input run ahead is settled later; as many rows as windows move on is usual.
    return WindowReaderConfig(stream, geometry, out_type, least + op.stride[0], gp)


def window_order(op: Conv, kind: str, lanes: int) -> np.ndarray:
    """Weights as (groups, inputs, neurons), inputs in the order in which windows bring them.

    ``lanes`` of each group at work matter to whole windows only.
    """
    height, width, per_group, outputs = op.weights.shape
    split = op.weights.reshape(height, width, per_group, op.groups, outputs // op.groups)
    if kind == "shift":
        area = height * width
        chunk = lanes // area
        order = split.reshape(height, width, per_group // chunk, chunk, op.groups, -1)
        order = order.transpose(4, 2, 0, 1, 3, 5)
    else:
        order = split.transpose(3, 0, 1, 2, 4)
    return order.reshape(op.groups, height * width * per_group, -1).astype(np.int32)


def build_hardware(graph: Graph, plans: list[Plan], chosen: dict[str, Option]) -> HwGraph:
    """Blocks of every layer with forks where a tensor has several readers and width adapters
    where lanes differ. FIFOs come later (:mod:`hwgen.schedule`)."""
    readers: dict[str, list[str]] = defaultdict(list)
    for plan in plans:
        for name, _ in plan.inputs:
            readers[name].append(plan.name)

    tensor = graph.input_tensor
    lanes = _input_lanes(tensor, [chosen[p].inputs[0] for p in readers[graph.input]])
    stream = TensorStream(tensor.dtype, tensor.shape, lanes)
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
    taken = {"hwgen_top", "hwgen_rom"}
    block_names = {plan.name: unique_name(plan.name, taken) for plan in plans}
    publish(graph.input, Source(INPUT), stream, graph.input)
    for plan in plans:
        option = chosen[plan.name]
        sources = []
        for port, ((name, _), kind) in enumerate(zip(plan.inputs, option.inputs)):
            source = available[name].pop(0)
            have = TensorStream(kind.dtype, kind.shape, streams[name].lanes)  # flattened or not
            suffix = f"{plan.name}_width" + (f"{port}" if len(plan.inputs) > 1 else "")
            for step, target in enumerate(_adapter_lanes(have.lanes, kind.lanes)):
                adapter = WidthAdapterConfig(have, target)
                nodes.append(HwNode(unique_name(f"{suffix}{'_down' * step}", taken), adapter,
                                    (source,), plan.name))
                source, have = Source(nodes[-1].name), adapter.output
            sources.append(source)
        for suffix_, block in option.blocks:
            own = suffix_ == option.blocks[-1][0]
            name = block_names[plan.name] if own else unique_name(f"{plan.name}_{suffix_}", taken)
            nodes.append(HwNode(name, block, tuple(sources), plan.name,
                                plan.tensor if own else None))
            sources = [Source(name)]
        publish(plan.tensor, sources[0], option.output, plan.name)
    hardware = HwGraph(graph.name, stream, graph.input, tuple(nodes),
                       available[_output_root(graph)].pop(0), graph.output)
    hardware.check()
    return hardware


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


def _adapter_lanes(have: int, want: int) -> list[int]:
    """Lanes behind each adapter on the way from ``have`` to ``want``; none if they are equal."""
    if have == want:
        return []
    both = lcm(have, want)
    return [want] if both in (have, want) else [both, want]
