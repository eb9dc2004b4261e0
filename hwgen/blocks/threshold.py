"""Threshold: counts the levels that an accumulator reaches, in one of three forms."""

from dataclasses import dataclass
from functools import cached_property
from math import ceil

import numpy as np
from amaranth import Cat, Const, Module, Mux, Signal, Value

from ..arith.bit_heap import LEVELS, LUT_INPUTS, ONE, Compression, Lut, Stage, Term
from ..arith.comparison import level_luts, levels_reached
from ..arith.compressor import Compressor
from ..arith.truth_tables import pack, tabulate
from ..ops import Threshold
from ..resources import Resources
from ..types import NumType, smallest_type
from .activation import Activation, ActivationUnit
from .export import at_least
from .parts import constant_table
from .primitives import MULTIPLEXED_WORDS, Rom, delay, rom_luts

__all__ = ["ParallelThreshold", "ThresholdActivation", "ThresholdTable", "ThresholdUnit"]

MOST_PARALLEL = 7  # levels that x is compared with at once


@dataclass(frozen=True, eq=False)
class ThresholdActivation(Activation):
    """Levels reached. Whatever is smallest of: a table of x, of up to 256 words; all levels
    compared with at once; a binary search with one comparator per result bit and lane."""

    op: Threshold

    @cached_property
    def groups(self) -> int:
        """Sets of levels that take turns: one where all channels of each lane have the same."""
        levels, negate = (np.broadcast_to(values, (self.channels, *values.shape[1:])).reshape(
            -1, self.lanes, *values.shape[1:]) for values in (self.op.levels, self.op.negate))
        alike = (levels == levels[0]).all() and (negate == negate[0]).all()
        return 1 if alike else len(levels)

    @cached_property
    def count(self) -> int:
        """Levels of a channel."""
        return self.op.levels.shape[1]

    @property
    def bits(self) -> int:
        return self.count.bit_length()

    @cached_property
    def negate(self) -> np.ndarray:
        """(lanes of all groups,): the output falls as x rises."""
        return np.broadcast_to(self.op.negate, self.channels)[:self.groups * self.lanes]

    @cached_property
    def levels(self) -> np.ndarray:
        """(lanes of all groups, 2**bits - 1) rising levels; those that are never reached fill up
        the end."""
        levels = np.broadcast_to(self.op.levels, (self.channels, self.count))[
            :self.groups * self.lanes]
        # x <= -t is "not x >= 1 - t": a falling channel counts the levels it does not reach.
        levels = np.where(self.negate[:, None], (1 - levels)[:, ::-1], levels)
        never = self.in_type.high + 1
        full = np.full((len(levels), (1 << self.bits) - 1), never, dtype=np.int64)
        full[:, :self.count] = np.clip(levels, self.in_type.low, never)
        return full

    @cached_property
    def is_constant(self) -> bool:
        """Whether each level is reached by every input or by none."""
        return bool(((self.levels <= self.in_type.low) | (self.levels > self.in_type.high)).all())

    @property
    def read_width(self) -> int:
        """Bits of x that the result depends on."""
        return 0 if self.is_constant else self.in_type.width

    @property
    def table_inputs(self) -> int:
        """Bits that the result of a lane depends on."""
        return self.read_width + self.group_width

    @cached_property
    def _differing_bits(self) -> int:
        """Bits of the results' codes but those that never change or are equal to others."""
        codes = self.out_type.encode(self.op.base + self.op.step * np.arange(self.count + 1))
        bits = {tuple(codes >> bit & 1) for bit in range(self.out_type.width)}
        return sum(len(set(column)) > 1 for column in bits)

    @property
    def _table_luts(self) -> float:
        return self.lanes * self._differing_bits * rom_luts(1 << self.table_inputs)

    @property
    def compare(self) -> NumType:
        """Type in which x and levels are compared."""
        return smallest_type(self.in_type.low, self.in_type.high + 1)

    @property
    def two_clocks(self) -> list[bool]:
        """For each result bit, whether its constants need a clock of their own."""
        return [self.group_width + stage > 6 for stage in range(self.bits)]

    @cached_property
    def form(self) -> str:
        """``table``, ``parallel`` or ``search``."""
        if self.table_inputs <= LUT_INPUTS + 1:
            return "table"
        comparison = level_luts(self.in_type.width, self.group_width)
        parallel = self.lanes * (self.count * comparison + self._code_luts)
        if 1 << self.table_inputs <= MULTIPLEXED_WORDS and \
                self._table_luts <= min(parallel, self._searched.lut):
            return "table"
        # A search takes a register of x more for each bit.
        return "parallel" if self.count <= MOST_PARALLEL and comparison <= LEVELS \
            and parallel <= 1.25 * self._searched.lut else "search"

    @property
    def latency(self):
        if self.form == "search":
            return self.bits + sum(self.two_clocks) + 1
        return 1 if self.form == "table" else 2

    def create(self):
        return {"table": ThresholdTable, "parallel": ParallelThreshold,
                "search": ThresholdUnit}[self.form](self)

    @property
    def packs_constants(self) -> bool:
        """Whether levels of many groups come from LUTs of their own, two bits in each; those of few
        groups fit the LUTs that compare."""
        return self.group_width > 3

    @property
    def _code_luts(self) -> int:
        """LUTs of a lane from the levels reached to the result's code."""
        out = self._differing_bits
        if self.count > LUT_INPUTS + 1:
            return self.bits + ceil(out / 2)
        return ceil(out / 2) if self.count <= LUT_INPUTS else out

    @property
    def _searched(self) -> Resources:
        """A binary search."""
        width, out = self.compare.width, self.out_type.width
        lut = 0.0
        of_lanes = self.levels.reshape(-1, self.lanes, self.levels.shape[1])
        for stage in range(self.bits):
            index = self.group_width + stage
            constants = 0.5 if 1 < index <= LUT_INPUTS else ceil((1 << index) / 64)
            alone = self.packs_constants and index > 1
            within = (0.2, 0.65, 0.65, 0.85, 1.0)[min(index, 4)]  # the LUTs that compare
            takes = width * (0.5 + constants if alone else within)
            # Some lanes have one level at this step, which may be out of reach: levels repeat
            # where the sums are of few values.
            half = 1 << self.bits - 1 - stage
            at_once = of_lanes[:, :, half - 1::2 * half]
            one = np.ptp(at_once, axis=(0, 2)) == 0
            reached = at_once[0, :, 0] <= self.in_type.high
            single = np.where(reached, 0.2 if stage == 0 else 0.35, 0.1) * width  # or SRLs
            lut += np.where(one, np.minimum(single, takes), takes).sum()
        return Resources(lut=float(lut) + self.lanes * out,
                         ff=self.lanes * (width * (self.bits - 1) + 2 * self.bits + out))

    def estimate(self):
        out = self.out_type.width
        if self.form == "table":
            if not self.table_inputs:
                return Resources()
            few = self.table_inputs <= LUT_INPUTS
            luts = self.lanes * ceil(self._differing_bits / 2) if few else self._table_luts
            return Resources(lut=luts, ff=self.lanes * out)
        if self.form == "parallel":
            comparison = level_luts(self.in_type.width, self.group_width)
            # Never more than a table, which synthesis finds by itself.
            lut = self.lanes * (self.count * comparison + self._code_luts)
            return Resources(lut=min(lut, self._table_luts), ff=self.lanes * (self.count + out))
        return self._searched


class ThresholdTable(ActivationUnit):
    """Looks the results up, by the bits of x and of the group. Latency: 1 clock."""

    config: ThresholdActivation

    def elaborate(self, platform):
        m = Module()
        cfg = self.config
        read, out = cfg.read_width, cfg.out_type
        codes = np.arange(1 << read)
        values = cfg.in_type.decode(codes)
        values = np.where(cfg.in_type.contains(values), values, cfg.in_type.high)
        results = out.encode(cfg.op.compute(np.repeat(values, cfg.channels).reshape(
            1, 1, -1, cfg.channels)))[0, 0]
        results = results[:, :cfg.groups * cfg.lanes].reshape(-1, cfg.groups, cfg.lanes)
        groups = np.minimum(np.arange(1 << cfg.group_width), cfg.groups - 1)
        if cfg.table_inputs > LUT_INPUTS + 1:
            for n in range(cfg.lanes):
                m.submodules[f"table_{n}"] = table = Rom(
                    results[:, groups, n].T.reshape(-1, 1), out.width, "logic", f"table_{n}")
                m.d.comb += [
                    table.addr.eq(Cat(self.x.word_select(n, cfg.in_type.width)[:read],
                                      self.group[:cfg.group_width])),
                    self.y.word_select(n, out.width).eq(table.data)]
            return m
        functions = []
        for n in range(cfg.lanes):
            nets = (*range(n * read, (n + 1) * read),
                    *range(cfg.lanes * read, cfg.lanes * read + cfg.group_width))
            column = results[:, groups, n].T.reshape(-1).tolist()
            functions += [Term(nets, sum((code >> bit & 1) << k for k, code in enumerate(column)))
                          for bit in range(out.width)]
        inputs = cfg.lanes * read + cfg.group_width
        m.submodules.tables = tables = Compressor(tabulate(functions, inputs), inputs, 0)
        # What nothing reads is not there in Verilog either.
        m.d.comb += [tables.shared.eq(Cat(self.x if read else [], self.group[:cfg.group_width])),
                     self.y.eq(tables.o)]
        return m


class ParallelThreshold(ActivationUnit):
    """Compares x with all levels at once, and counts those that it reaches. Latency: 2 clocks."""

    config: ThresholdActivation

    def elaborate(self, platform):
        m = Module()
        cfg = self.config
        width, count, out = cfg.in_type.width, cfg.count, cfg.out_type
        # Offset binary; codes of BIPOLAR are in the order of their values.
        low = cfg.in_type.low
        levels = cfg.levels[:, :count] - low
        if cfg.in_type.bipolar:
            levels = (levels + 1) // 2
        levels = levels.reshape(cfg.groups, cfg.lanes, count).swapaxes(0, 1)
        falls = cfg.negate.reshape(cfg.groups, cfg.lanes).T
        x = self.x
        if cfg.in_type.signed:
            x = x ^ sum(1 << n * width + width - 1 for n in range(cfg.lanes))
        compared = levels_reached(levels, falls, width, cfg.group_width)
        m.submodules.compared = compared_with = Compressor(
            compared, cfg.lanes * width + cfg.group_width, 0)
        m.d.comb += compared_with.shared.eq(Cat(x, self.group[:cfg.group_width]))

        codes = out.encode(cfg.op.base + cfg.op.step * np.arange(count + 1)).tolist()
        luts: list[list[Lut]] = [[], []]
        output: list[int | None] = []
        nets = cfg.lanes * count
        for n in range(cfg.lanes):
            reached: tuple[int | None, ...] = tuple(range(n * count, (n + 1) * count))
            weights = [1] * count
            if count > LUT_INPUTS + 1:  # six of them become a number first
                six = tuple(net for net in reached[:6] if net is not None)
                made, number, nets = pack([Term(six, _table_of(
                    lambda i, k=k: i.bit_count() >> k & 1, 6)) for k in range(3)], nets)
                luts[0] += made
                reached, weights = (*number, *reached[6:]), [1, 2, 4, *weights[6:]]

            def code(index: int, bit: int, weights=tuple(weights)) -> int:
                number = sum(w * (index >> k & 1) for k, w in enumerate(weights))
                return codes[min(number, count)] >> bit & 1

            inputs = tuple(net for net in reached if net is not None)
            made, found, nets = pack(
                [Term(inputs, _table_of(lambda i, bit=bit: code(i, bit), len(inputs)))
                 for bit in range(out.width)], nets)
            luts[1] += made
            output += found
        live = list(dict.fromkeys(net for net in output if net is not None and net != ONE))
        stage = Stage([level for level in luts if level], [], live)
        m.submodules.codes = coded = Compressor(
            Compression((stage,), tuple(output), (), nets), cfg.lanes * count, 0)
        m.d.comb += [coded.shared.eq(compared_with.o), self.y.eq(coded.o)]
        return m


def _table_of(function, inputs: int) -> int:
    return sum(function(index) << index for index in range(1 << inputs))


class ThresholdUnit(ActivationUnit):
    """Counts the levels that x reaches by binary search: one comparator per result bit and lane.

    Latency: one clock per result bit, two where its constants need more than one LUT level, and
    one for the result's code.
    """

    config: ThresholdActivation

    def elaborate(self, platform):
        m = Module()
        cfg = self.config
        group = self.group if cfg.groups > 1 else Const(0, 0)
        width = cfg.compare.width
        x = [self.lane(n) for n in range(cfg.lanes)]
        found = [Const(0, 0)] * cfg.lanes
        for stage in range(cfg.bits):
            step = 1 << (cfg.bits - 1 - stage)
            next_found, next_x = [], []
            for n in range(cfg.lanes):
                # levels of this lane, by group and by the bits found so far
                rows = cfg.levels[n::cfg.lanes, step - 1::2 * step]
                constants = rows.T.reshape(-1) if stage else rows[:, 0]
                index = Cat(group[:cfg.group_width], found[n])
                if cfg.group_width and cfg.groups != 1 << cfg.group_width:
                    padded = np.zeros((rows.shape[1], 1 << cfg.group_width), dtype=np.int64)
                    padded[:, :cfg.groups] = rows.T
                    constants = padded.reshape(-1)
                level = constant_table(m, f"levels_{stage}_{n}", constants, index, width,
                                       alone=cfg.packs_constants)
                if cfg.compare.signed:
                    level = level.as_signed()
                operand, known = x[n], found[n]
                if cfg.two_clocks[stage]:
                    level = delay(m, level, 1, f"level_{stage}_{n}")
                    operand = delay(m, operand, 1, f"held_{stage}_{n}")
                    known = delay(m, known, 1, f"known_{stage}_{n}") if len(known) else known
                reached = Signal(name=f"reached_{stage}_{n}", reset_less=True)
                # Behind LUTs of constants, few levels should follow.
                m.d.sync += reached.eq(
                    at_least(m, platform, f"at_least_{stage}_{n}", *self._unsigned(operand, level))
                    if cfg.packs_constants and not isinstance(level, Const) else operand >= level)
                next_found.append(Cat(reached, delay(m, known, 1, f"found_{stage}_{n}"))
                                  if len(known) else reached)
                next_x.append(delay(m, operand, 1, f"x_{stage}_{n}"))
            clocks = 1 + cfg.two_clocks[stage]
            group = delay(m, group, clocks, f"group_{stage}") if len(group) else group
            found, x = next_found, next_x
        low, high = cfg.op.base, cfg.op.base + cfg.op.step * cfg.count
        out_width = cfg.out_type.width
        for n in range(cfg.lanes):
            count = found[n]
            codes = []
            for negate in (False, True):
                counts = np.minimum(np.arange(1 << cfg.bits), cfg.count)
                counts = cfg.count - counts if negate else counts
                codes.append(cfg.out_type.encode(np.clip(cfg.op.base + cfg.op.step * counts,
                                                         min(low, high), max(low, high))))
            falls = cfg.negate[n::cfg.lanes]
            y = Signal(out_width, name=f"y_{n}", reset_less=True)
            if falls.any() and not falls.all():
                choice = constant_table(m, f"falls_{n}", falls, group[:cfg.group_width], 1)
                value = Mux(choice, constant_table(m, f"falling_{n}", codes[1], count, out_width),
                            constant_table(m, f"rising_{n}", codes[0], count, out_width))
            else:
                value = constant_table(m, f"codes_{n}", codes[int(falls.all())], count, out_width)
            m.d.sync += y.eq(value)
            m.d.comb += self.y.word_select(n, out_width).eq(y)
        return m

    def _unsigned(self, a: Value, b: Value) -> list[Value]:
        """Numbers that compare as these two do if they are taken as unsigned."""
        kind = self.config.compare
        if not kind.signed:
            return [Cat(value, Const(0, kind.width))[:kind.width] for value in (a, b)]
        a, b = (Cat(value, value[-1].replicate(kind.width))[:kind.width] for value in (a, b))
        # The greater sign is the lesser number.
        return [Cat(a[:-1], b[-1]), Cat(b[:-1], a[-1])]
