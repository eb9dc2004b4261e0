"""``hwgen_top``: the blocks of a hardware graph, wired, between two AXI4-Stream ports."""

from math import ceil

from amaranth import Cat, ClockSignal, Instance, Module, ResetSignal, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .blocks.counters import turns
from .blocks.export import Export
from .blocks.gate import GateConfig
from .hardware import INPUT, HwGraph, HwNode, Source

__all__ = ["TOP", "HwTop", "bus_width", "input_ports", "output_ports", "wire_name"]

TOP = "hwgen_top"


def bus_width(bits: int) -> int:
    """Whole bytes, as AXI4-Stream wants."""
    return 8 * ceil(bits / 8)


def wire_name(source: Source, ports: int = 1) -> str:
    """Prefix of a stream's wires in the top."""
    return f"{source.node}_{source.port}" if ports > 1 else source.node


def input_ports(node: HwNode) -> list[str]:
    return ["i"] if len(node.sources) == 1 else [f"i{n}" for n in range(len(node.sources))]


def output_ports(node: HwNode) -> list[str]:
    count = getattr(node.block, "outputs", 1)
    return ["o"] if count == 1 else [f"o{n}" for n in range(count)]


class HwTop(wiring.Component):
    """The whole design.

    Lane k of a beat takes bits [k*width, (k+1)*width) of ``tdata``, zero-padded to whole bytes.
    ``s_axis_tlast`` is not read: frames are counted. On an :class:`~hwgen.blocks.primitives.Export`
    platform blocks are instances of their own Verilog modules.

    Members
    -------
    s_axis_tdata, s_axis_tvalid, s_axis_tready, s_axis_tlast
        Input stream.
    m_axis_tdata, m_axis_tvalid, m_axis_tready, m_axis_tlast
        Output stream.
    """

    def __init__(self, hardware: HwGraph):
        self.hardware = hardware
        out = hardware.stream(hardware.output)
        super().__init__({
            "s_axis_tdata": In(bus_width(hardware.input.data_width)), "s_axis_tvalid": In(1),
            "s_axis_tready": Out(1), "s_axis_tlast": In(1),
            "m_axis_tdata": Out(bus_width(out.data_width)), "m_axis_tvalid": Out(1),
            "m_axis_tready": In(1), "m_axis_tlast": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        hardware = self.hardware
        wires: dict[Source, tuple[Value, Value, Signal, Signal]] = {}

        def add_stream(source: Source, width: int, ports: int) -> None:
            prefix = wire_name(source, ports)
            wires[source] = (Signal(width, name=f"{prefix}_tdata"), Signal(name=f"{prefix}_tlast"),
                             Signal(name=f"{prefix}_tvalid"), Signal(name=f"{prefix}_tready"))

        width = hardware.input.data_width
        ends, _ = turns(m, hardware.input.beats, self.s_axis_tvalid & self.s_axis_tready,
                        "s_axis_beat")
        wires[Source(INPUT)] = (self.s_axis_tdata[:width], ends, self.s_axis_tvalid,
                                self.s_axis_tready)
        for node in hardware.nodes:
            ports = output_ports(node)
            for n in range(len(ports)):
                add_stream(Source(node.name, n), node.block.output_of(n).data_width,
                           len(ports))
        for node in hardware.nodes:
            if isinstance(platform, Export):
                m.submodules[node.name] = self._instance(node, wires)
            else:
                m.submodules[node.name] = block = node.block.create()
                for name, source in zip(input_ports(node), node.sources):
                    port, (data, last, valid, ready) = getattr(block, name), wires[source]
                    m.d.comb += [port.payload.as_value().eq(Cat(data, last)),
                                 port.valid.eq(valid), ready.eq(port.ready)]
                for n, name in enumerate(output_ports(node)):
                    port = getattr(block, name)
                    data, last, valid, ready = wires[Source(node.name, n)]
                    m.d.comb += [Cat(data, last).eq(port.payload.as_value()),
                                 valid.eq(port.valid), port.ready.eq(ready)]
                if isinstance(node.block, GateConfig):
                    m.d.comb += block.left.eq(self._left(node, wires))
        data, last, valid, ready = wires[hardware.output]
        m.d.comb += [self.m_axis_tdata.eq(data), self.m_axis_tlast.eq(last),
                     self.m_axis_tvalid.eq(valid), ready.eq(self.m_axis_tready)]
        return m

    @staticmethod
    def _left(node: HwNode, wires) -> Value:
        """A beat leaves the pipeline whose gate this is."""
        assert node.credit is not None
        *_, valid, ready = wires[Source(node.credit)]
        return valid & ready

    def _instance(self, node: HwNode, wires) -> Instance:
        bindings = {"i_clk": ClockSignal(), "i_rst": ResetSignal()}
        for name, source in zip(input_ports(node), node.sources):
            data, last, valid, ready = wires[source]
            bindings |= {f"i_{name}__payload": Cat(data, last), f"i_{name}__valid": valid,
                         f"o_{name}__ready": ready}
        for n, name in enumerate(output_ports(node)):
            data, last, valid, ready = wires[Source(node.name, n)]
            bindings |= {f"o_{name}__payload": Cat(data, last), f"o_{name}__valid": valid,
                         f"i_{name}__ready": ready}
        if isinstance(node.block, GateConfig):
            bindings["i_left"] = self._left(node, wires)
        return Instance(node.name, **bindings)
