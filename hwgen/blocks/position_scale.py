"""Position scale: every value times a factor of its row and one of its column."""

from dataclasses import dataclass

import numpy as np
from amaranth import Const, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..resources import Resources
from ..streams import TensorStream
from ..types import NumType
from .block import Block, Schedule, as_soon_as_possible
from .counters import counter, turns
from .parts import lookup, number

__all__ = ["PositionScale", "PositionScaleConfig"]


@dataclass(frozen=True)
class PositionScaleConfig(Block):
    """Multiplies by small integers that depend on the place in the image.

    Averages that leave padding out divide by the number of pixels inside, which differs at the
    border; in multiples of their common divisor the sums are integers again.
    Latency: 1 clock for each of the two factors. Interval: 1 clock per beat.

    Parameters
    ----------
    input
        Stream of the tensor.
    row_factors, column_factors
        One positive integer per row and per column; None for 1. Not both None.
    out_type
        Type of the products.
    """

    input: TensorStream
    row_factors: tuple[int, ...] | None
    column_factors: tuple[int, ...] | None
    out_type: NumType

    def __post_init__(self):
        if self.row_factors is None and self.column_factors is None:
            raise ValueError("row_factors or column_factors must be given")
        for name, factors, size in (("row", self.row_factors, self.input.shape[0]),
                                    ("column", self.column_factors, self.input.shape[1])):
            if factors is not None and len(factors) != size:
                raise ValueError(f"{len(factors)} factors for {size} {name}s")

    @property
    def inputs(self) -> tuple[TensorStream, ...]:
        return (self.input,)

    @property
    def output(self) -> TensorStream:
        return TensorStream(self.out_type, self.input.shape, self.input.lanes)

    @property
    def stages(self) -> tuple[tuple[str, tuple[int, ...]], ...]:
        """Name and factors of each multiplication."""
        return tuple((name, factors) for name, factors in
                     (("row", self.row_factors), ("column", self.column_factors))
                     if factors is not None)

    @property
    def latency(self) -> int:
        return len(self.stages)

    @property
    def cycles(self) -> int:
        return self.input.beats

    def compute(self, *tensors):
        y = tensors[0]
        if self.row_factors is not None:
            y = y * np.array(self.row_factors)[:, None, None]
        if self.column_factors is not None:
            y = y * np.array(self.column_factors)[:, None]
        return y

    def create(self) -> "PositionScale":
        return PositionScale(self)

    def schedule(self, frames, *ready):
        taken = as_soon_as_possible(ready[0])
        return Schedule((taken,), taken, taken + self.latency)

    def estimate(self, family):
        width = self.out_type.width
        bits = sum(max(factors).bit_length() for _, factors in self.stages)
        return Resources(lut=self.input.lanes * width * bits * 0.6 + 10,
                         ff=(self.input.lanes * width + 4) * len(self.stages))


class PositionScale(wiring.Component):
    """Hardware of :class:`PositionScaleConfig`; a rigid pipeline.

    Members
    -------
    i : :py:`In(config.input.signature())`
    o : :py:`Out(config.output.signature())`
    """

    def __init__(self, config: PositionScaleConfig):
        self.config = config
        super().__init__({"i": In(config.input.signature()), "o": Out(config.output.signature())})

    def elaborate(self, platform):
        m = Module()
        cfg = self.config
        advance, step = Signal(), Signal()
        m.d.comb += [advance.eq(~self.o.valid | self.o.ready), self.i.ready.eq(advance),
                     step.eq(self.i.valid & advance)]
        beat_end, _ = turns(m, cfg.input.beats_per_pixel, step, "beat")
        column, column_end = counter(m, cfg.input.shape[1], step & beat_end, "column")
        row, _ = counter(m, cfg.input.shape[0], step & beat_end & column_end, "row")
        values = [number(code, cfg.input.dtype) for code in self.i.payload.data]
        valid, last = self.i.valid, self.i.payload.last
        places = {"row": row, "column": column}
        for n, (name, factors) in enumerate(cfg.stages):
            factor = self._factor(m, name, factors, places[name])
            final = n == len(cfg.stages) - 1
            for lane, value in enumerate(values):
                product = Signal(cfg.out_type.width, name=f"{name}_product_{lane}")
                with m.If(advance):
                    m.d.sync += product.eq(value * factor)
                values[lane] = number(product, cfg.out_type)
            next_valid = self.o.valid if final else Signal(name=f"{name}_valid")
            next_last = self.o.payload.last if final else Signal(name=f"{name}_last")
            with m.If(advance):
                m.d.sync += [next_valid.eq(valid), next_last.eq(last)]
                held = Signal.like(column, name=f"{name}_column") if len(column) else column
                if len(column):
                    m.d.sync += held.eq(places["column"])
                    places["column"] = held
            valid, last = next_valid, next_last
        m.d.comb += [self.o.payload.data[lane].eq(value) for lane, value in enumerate(values)]
        return m

    def _factor(self, m, name: str, factors: tuple[int, ...], place: Value) -> Value:
        bits = max(factors).bit_length()
        if len(factors) == 1:
            return Const(factors[0], bits)
        factor = Signal(bits, name=f"{name}_factor")
        for bit in range(bits):
            m.d.comb += factor[bit].eq(lookup(np.array(factors) >> bit & 1, place))
        return factor
