"""The hardware graph: blocks and the tensor streams between them."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from .blocks.block import Block
from .resources import Resources
from .streams import TensorStream

__all__ = ["INPUT", "HwGraph", "HwNode", "Source"]

INPUT = "s_axis"
"""Name of the network's input where a source is meant."""


@dataclass(frozen=True)
class Source:
    """Output ``port`` of a node, or the network's input."""

    node: str
    port: int = 0


@dataclass(frozen=True, eq=False)
class HwNode:
    """A block with a name, which is also its Verilog module's.

    Parameters
    ----------
    name
        Unique; starts with the name of the layer that it serves.
    block
        What it is.
    sources
        Where each input stream comes from.
    layer
        Layer of the model that it serves.
    tensors
        Tensors of the integer graph that its outputs carry, where they are such.
    credit
        Node whose outgoing beats give a :class:`~hwgen.blocks.gate.GateConfig` its places back.
    """

    name: str
    block: Block
    sources: tuple[Source, ...]
    layer: str
    tensors: tuple[str, ...] = ()
    credit: str | None = None


@dataclass(frozen=True, eq=False)
class HwGraph:
    """Blocks in topological order; every stream has one producer and one consumer."""

    name: str
    input: TensorStream
    input_tensor: str
    nodes: tuple[HwNode, ...]
    output: Source
    output_tensor: str

    def node(self, name: str) -> HwNode:
        for node in self.nodes:
            if node.name == name:
                return node
        raise KeyError(name)

    def stream(self, source: Source) -> TensorStream:
        """Type of the stream that leaves ``source``."""
        return self.input if source.node == INPUT \
            else self.node(source.node).block.output_of(source.port)

    def with_nodes(self, nodes: Iterable[HwNode], **changes) -> "HwGraph":
        return replace(self, nodes=tuple(nodes), **changes)

    def consumers(self) -> dict[Source, tuple[HwNode, int]]:
        """Node and input port that each stream enters."""
        return {source: (node, port) for node in self.nodes
                for port, source in enumerate(node.sources)}

    def check(self) -> None:
        """ValueError unless every stream enters exactly one input of its own type."""
        streams = {Source(INPUT): self.input}
        used: set[Source] = set()
        for node in self.nodes:
            for source, kind in zip(node.sources, node.block.inputs):
                if source not in streams:
                    raise ValueError(f"{node.name}: reads {source}, which does not come before it")
                if source in used:
                    raise ValueError(f"{node.name}: reads {source}, which has a reader already")
                if not streams[source].same_beats(kind):
                    raise ValueError(f"{node.name}: {source.node} sends {streams[source]}, "
                                     f"it takes {kind}")
                used.add(source)
            for port in range(getattr(node.block, "outputs", 1)):
                streams[Source(node.name, port)] = node.block.output_of(port)
        if streams.keys() - used != {self.output}:
            raise ValueError(f"streams without a reader: {streams.keys() - used}")

    def estimate(self, family: str) -> Resources:
        return sum((n.block.estimate(family) for n in self.nodes), Resources())
