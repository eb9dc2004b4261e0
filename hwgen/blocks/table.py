"""Table: any function of an accumulator, from a memory of constants."""

from dataclasses import dataclass
from functools import cached_property
from math import ceil

import numpy as np
from amaranth import Cat, Module

from ..ops import Table
from ..resources import Resources
from .activation import Activation, ActivationUnit
from .primitives import Rom, rom_registers, rom_tiling

__all__ = ["TableActivation", "TableUnit"]

LOGIC_TABLE_BITS = 1 << 13  # a table of more bits goes into block RAM


@dataclass(frozen=True, eq=False)
class TableActivation(Activation):
    """The value of a table at x."""

    op: Table

    @cached_property
    def codes(self) -> np.ndarray:
        """(channels or 1, 2**in width) wire codes of the outputs, by wire code of x."""
        kind = self.in_type
        words = np.arange(1 << kind.width)
        x = kind.decode(words)
        size = self.op.values.shape[1]
        values = self.op.values[:, np.clip(x - self.op.low, 0, size - 1)]
        good = self.out_type.contains(values)  # codes that no value of x has
        return self.out_type.encode(np.where(good, values, self.out_type.high))

    @cached_property
    def rows(self) -> np.ndarray:
        """(lanes, groups or 1, 2**in width): what each lane looks up."""
        if len(self.codes) == 1:
            return np.broadcast_to(self.codes, (self.lanes, 1, self.codes.shape[1]))
        return self.codes.reshape(self.groups, self.lanes, -1).swapaxes(0, 1)

    @property
    def depth(self) -> int:
        """Words of a lane's table."""
        return self.rows.shape[1] * self.rows.shape[2]

    @property
    def style(self) -> str:
        """``logic`` up to the words that as many LUTs hold as a block RAM is worth."""
        return "logic" if self.depth * self.out_type.width <= LOGIC_TABLE_BITS else "block"

    @property
    def latency(self):
        return Rom.latency_of(self.style, self.out_type.width, self.depth)

    def create(self):
        return TableUnit(self)

    def estimate(self):
        width = self.out_type.width
        if self.style == "logic":
            return Resources(lut=self.lanes * width * ceil(self.depth / 64) * 0.8,
                             ff=self.lanes * width * rom_registers(self.depth))
        columns, rows, *_ = rom_tiling(width, self.depth)
        return Resources(ff=self.lanes * width, bram36=self.lanes * columns * rows)


class TableUnit(ActivationUnit):
    """Looks x up in each lane's table. Latency: that of the memory."""

    config: TableActivation

    def elaborate(self, platform):
        m = Module()
        cfg = self.config
        width = cfg.out_type.width
        for n, rows in enumerate(cfg.rows):
            index = self.x.word_select(n, cfg.in_type.width)
            if len(rows) > 1:
                index = Cat(index, self.group)
            m.submodules[f"table_{n}"] = rom = Rom(rows.reshape(-1, 1), width, cfg.style,
                                                   f"table_{n}")
            m.d.comb += [rom.addr.eq(index), self.y.word_select(n, width).eq(rom.data)]
        return m
