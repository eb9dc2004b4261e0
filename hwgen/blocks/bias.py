"""Bias: a constant added per channel."""

from dataclasses import dataclass

from amaranth import Module, Signal

from ..ops import Bias
from ..resources import Resources
from .activation import Activation, ActivationUnit
from .primitives import Rom, delay

__all__ = ["BiasActivation", "BiasUnit"]


@dataclass(frozen=True, eq=False)
class BiasActivation(Activation):
    """A constant added per channel."""

    op: Bias

    @property
    def latency(self):
        return 1 + Rom.latency_of("logic", self.out_type.width, self.groups)

    def create(self):
        return BiasUnit(self)

    def estimate(self):
        return Resources(lut=self.lanes * self.out_type.width * 2,
                         ff=self.lanes * self.out_type.width)


class BiasUnit(ActivationUnit):
    """Adds a constant per channel. Latency: 1 clock, and those of a memory where there are
    several channel groups."""

    config: BiasActivation

    def elaborate(self, platform):
        m = Module()
        cfg = self.config
        width = cfg.out_type.width
        for n in range(cfg.lanes):
            values = cfg.op.values[n::cfg.lanes] & ((1 << width) - 1)
            m.submodules[f"bias_{n}"] = rom = Rom(values[:, None], width, "logic", f"bias_{n}")
            m.d.comb += rom.addr.eq(self.group)
            total = Signal(width, name=f"y_{n}", reset_less=True)
            m.d.sync += total.eq(delay(m, self.lane(n), rom.latency, f"x_{n}") + rom.data)
            m.d.comb += self.y.word_select(n, width).eq(total)
        return m
