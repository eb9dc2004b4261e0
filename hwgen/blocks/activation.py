"""Activation units: threshold, requantize, clip, bias, table; pipelines without handshake.

A unit takes the accumulators of ``lanes`` channels and the number of their channel group, and
gives the activations ``latency`` clocks later, one group per clock.
"""

from dataclasses import dataclass
from functools import cached_property
from math import ceil

import numpy as np
from amaranth import Array, Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..arith.bit_heap import (
    LEVELS,
    LUT_INPUTS,
    ONE,
    Compression,
    Lut,
    Stage,
    Term,
)
from ..arith.comparison import level_luts, levels_reached
from ..arith.compressor import Compressor
from ..arith.truth_tables import pack, tabulate
from ..ops import DOUBLING_SHIFT, Bias, Clip, Op, Requantize, Table, Threshold
from ..resources import Resources
from ..types import NumType, smallest_type
from .primitives import Rom, delay, rom_tiling

__all__ = ["Activation", "activation_ops", "signed_digits"]

LOGIC_TABLE_BITS = 1 << 13  # a table of more bits goes into block RAM
MOST_DIGITS = 3  # of a constant factor that shifted sums multiply with
MOST_PARALLEL = 7  # levels that x is compared with at once

activation_ops = (Bias, Clip, Requantize, Table, Threshold)


@dataclass(frozen=True, eq=False)
class Activation:
    """One elementwise operation on ``channels`` channels, ``lanes`` per clock.

    Parameters
    ----------
    op
        Bias, Clip, Requantize, Table or Threshold.
    in_type, out_type
        Types of accumulators and activations.
    channels
        Channels of a pixel, in groups of ``lanes``.
    lanes
        Channels per clock; divides the channels.
    """

    op: Op
    in_type: NumType
    out_type: NumType
    channels: int
    lanes: int

    @staticmethod
    def of(op: Op, in_type: NumType, out_type: NumType, channels: int, lanes: int) -> "Activation":
        """The config that suits an operation."""
        kind = {Threshold: ThresholdActivation, Requantize: ShiftActivation,
                Clip: ShiftActivation, Bias: BiasActivation, Table: TableActivation}[type(op)]
        return kind(op, in_type, out_type, channels, lanes)

    @property
    def groups(self) -> int:
        return self.channels // self.lanes

    @property
    def group_width(self) -> int:
        """Bits of a channel group's number."""
        return (self.groups - 1).bit_length()

    def compute(self, x: np.ndarray) -> np.ndarray:
        return self.op.compute(x)

    @property
    def latency(self) -> int:
        """Clocks from accumulators to activations."""
        raise NotImplementedError

    def create(self) -> "ActivationUnit":
        raise NotImplementedError

    def estimate(self) -> Resources:
        """LUTs of the comparators, adders and their constants."""
        raise NotImplementedError


@dataclass(frozen=True, eq=False)
class ThresholdActivation(Activation):
    """Levels reached. Whatever is smallest of: a table of x; all levels compared with at once; a
    binary search with one comparator per result bit and lane."""

    op: Threshold

    @cached_property
    def count(self) -> int:
        """Levels of a channel."""
        return self.op.levels.shape[1]

    @property
    def bits(self) -> int:
        return self.count.bit_length()

    @cached_property
    def negate(self) -> np.ndarray:
        """(channels,): the output falls as x rises."""
        return np.broadcast_to(self.op.negate, self.channels)

    @cached_property
    def levels(self) -> np.ndarray:
        """(channels, 2**bits - 1) rising levels; those that are never reached fill up the end."""
        levels = np.broadcast_to(self.op.levels, (self.channels, self.count))
        # x <= -t is "not x >= 1 - t": a falling channel counts the levels it does not reach.
        levels = np.where(self.negate[:, None], (1 - levels)[:, ::-1], levels)
        never = self.in_type.high + 1
        full = np.full((self.channels, (1 << self.bits) - 1), never, dtype=np.int64)
        full[:, :self.count] = np.clip(levels, self.in_type.low, never)
        return full

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
        if self.in_type.width + self.group_width <= LUT_INPUTS + 1:
            return "table"
        comparison = level_luts(self.in_type.width, self.group_width)
        parallel = self.lanes * (self.count * comparison + self._code_luts)
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
        out = self.out_type.width
        if self.count > LUT_INPUTS + 1:
            return self.bits + ceil(out / 2)
        return ceil(out / 2) if self.count <= LUT_INPUTS else out

    @property
    def _searched(self) -> Resources:
        """A binary search."""
        width, out = self.compare.width, self.out_type.width
        lut = 0.0
        for stage in range(self.bits):
            index = self.group_width + stage
            constants = 0.5 if 1 < index <= LUT_INPUTS else ceil((1 << index) / 64)
            alone = self.packs_constants and index > 1
            within = (0.2, 0.65, 0.65, 0.85, 1.0)[min(index, 4)]  # the LUTs that compare
            lut += width * (0.5 + constants if alone else within)
        return Resources(lut=self.lanes * (lut + out),
                         ff=self.lanes * (width * (self.bits - 1) + 2 * self.bits + out))

    def estimate(self):
        out = self.out_type.width
        if self.form == "table":
            both = 2 if self.in_type.width + self.group_width <= LUT_INPUTS else 1
            return Resources(lut=self.lanes * ceil(out / both), ff=self.lanes * out)
        if self.form == "parallel":
            comparison = level_luts(self.in_type.width, self.group_width)
            return Resources(lut=self.lanes * (self.count * comparison + self._code_luts),
                             ff=self.lanes * (self.count + out))
        return self._searched


@dataclass(frozen=True, eq=False)
class ShiftActivation(Activation):
    """Requantize, and Clip as its special case that shifts by 0.

    Per-channel shifts become one shift with larger multipliers, which is the same number.
    """

    op: Requantize | Clip

    @property
    def shift(self) -> int:
        return 0 if isinstance(self.op, Clip) else int(self.op.shift.max())

    @property
    def zero_point(self) -> int:
        return 0 if isinstance(self.op, Clip) else self.op.zero_point

    @property
    def rounding(self) -> str:
        return "floor" if isinstance(self.op, Clip) else self.op.rounding

    @property
    def bounds(self) -> tuple[int, int]:
        """Smallest and largest output."""
        if isinstance(self.op, Clip):
            low, high = self.op.compute(np.array([self.in_type.low, self.in_type.high]))
            return int(low), int(high)
        return self.out_type.low, self.out_type.high

    @cached_property
    def multiplier(self) -> np.ndarray:
        """(channels or 1,) factors before the shift; one where all are equal."""
        if isinstance(self.op, Clip):
            return np.ones(1, dtype=np.int64)
        if self.rounds_twice:  # the first step is by as many bits in every channel
            factors = self.op.multiplier << np.maximum(DOUBLING_SHIFT - self.op.shift, 0)
        else:
            factors = self.op.multiplier << (self.shift - self.op.shift)
        return factors[:1] if (factors == factors[0]).all() else factors

    @cached_property
    def offset(self) -> np.ndarray:
        """(channels or 1,) summands behind the factors; one where all are equal."""
        if isinstance(self.op, Clip):
            return np.zeros(1, dtype=np.int64)
        if self.rounds_twice:
            offset = self.op.offset << np.maximum(DOUBLING_SHIFT - self.op.shift, 0)
        else:
            offset = self.op.offset << (self.shift - self.op.shift)
        return offset[:1] if (offset == offset[0]).all() else offset

    @property
    def multiplies(self) -> bool:
        """Whether there is a product that is not just other wires."""
        return len(self.multiplier) > 1 or not self._is_power_of_two

    @property
    def _is_power_of_two(self) -> bool:
        factor = int(self.multiplier[0])
        return factor > 0 and factor & (factor - 1) == 0

    @property
    def digits(self) -> tuple[tuple[int, int], ...]:
        """(sign, exponent) of the signed digits of one factor; empty where there are several."""
        return signed_digits(int(self.multiplier[0])) if len(self.multiplier) == 1 else ()

    @property
    def by_adders(self) -> bool:
        """Whether shifted sums make the product, without a DSP slice."""
        return self.multiplies and 0 < len(self.digits) <= MOST_DIGITS

    @property
    def product_clocks(self) -> int:
        """Clocks from x to the product."""
        if not self.multiplies:
            return int(len(self.offset) > 1 and self.groups > 1)  # a table of offsets takes one
        if self.by_adders:
            return max(1, (len(self.digits) - 1).bit_length())
        return 3 + (self.dsp_slices > 1)  # operands, product, output; partial products are added

    @property
    def dsp_slices(self) -> int:
        """DSP slices of a lane: 25 x 18 bits, signed."""
        if not self.multiplies or self.by_adders:
            return 0
        low, high = int(self.multiplier.min()), int(self.multiplier.max())
        factor = smallest_type(min(low, -1), high).width
        x = self.in_type.width + (not self.in_type.signed)
        return min(ceil((a - 1) / 24) * ceil((b - 1) / 17)
                   for a, b in ((factor, max(x, 2)), (max(x, 2), factor)))

    @cached_property
    def product(self) -> NumType:
        """Type of x times multiplier, signed; of both with the offset, where rounding is double."""
        added = self.offset if self.rounds_twice else np.zeros(1, dtype=np.int64)
        ends = [int(m) * v + int(o) for m in self.multiplier for o in (added.min(), added.max())
                for v in (self.in_type.low, self.in_type.high)]
        return smallest_type(min(*ends, -1), max(ends))

    @property
    def rounded(self) -> NumType:
        """Type of the product with zero point and rounding added, signed."""
        offset = self.zero_point << self.shift
        return smallest_type(min(self.product.low + offset + int(self.offset.min()), -1),
                             max(self.product.high + offset + int(self.offset.max())
                                 + (1 << self.shift), 0))

    @property
    def before_clip(self) -> NumType:
        """Type of what the clip takes, after rounding and shift."""
        if self.rounds_twice:
            kind = self.rounded_once
            ends = [(v >> rest) + self.zero_point + d for rest in self.second_shifts
                    for v, d in ((kind.low, -1), (kind.high, 1))]
            return smallest_type(min(*ends, -1), max(*ends, 0))
        kind = self.rounded if self.adds else self.product
        return smallest_type(kind.low >> self.shift, kind.high >> self.shift)

    @property
    def rounds_twice(self) -> bool:
        """Whether rounding is TensorFlow Lite's, by more bits than its first step takes."""
        return self.rounding == "tflite" and self.shift > DOUBLING_SHIFT

    @property
    def second_shifts(self) -> list[int]:
        """Bits of the second step of TensorFlow Lite's rounding, per channel or one for all."""
        return np.maximum(self.op.shift - DOUBLING_SHIFT, 0).tolist() \
            if isinstance(self.op, Requantize) else [0]

    @property
    def rounded_once(self) -> NumType:
        """Type between the two steps of TensorFlow Lite's rounding, signed."""
        half = 1 << (DOUBLING_SHIFT - 1)
        return smallest_type(min((self.product.low + half) >> DOUBLING_SHIFT, -1),
                             (self.product.high + half) >> DOUBLING_SHIFT)

    @property
    def adds(self) -> bool:
        """Whether zero point or rounding add something."""
        return self.rounds_twice or self.zero_point != 0 or bool(self.offset.any()) \
            or (self.shift > 0 and self.rounding != "floor")

    @property
    def latency(self):
        return 1 + self.adds + self.rounds_twice + self.product_clocks

    def create(self):
        return ShiftUnit(self)

    def estimate(self):
        width = self.product.width
        adders = max(len(self.digits) - 1, 0) if self.by_adders else 0
        sums = self.adds + self.rounds_twice + adders
        clips = self.bounds != (self.before_clip.low, self.before_clip.high)
        lut = self.lanes * (sums * width + clips * (2 * self.out_type.width + ceil(width / 4)))
        return Resources(lut=lut, ff=self.lanes * (sums * width + self.out_type.width),
                         dsp=self.lanes * self.dsp_slices)


def signed_digits(number: int) -> tuple[tuple[int, int], ...]:
    """(sign, exponent) of the digits of a number in canonical signed-digit form, whose digits are
    -1, 0 and 1, no two others than 0 side by side: the fewest shifted sums."""
    digits, exponent = [], 0
    while number:
        if number % 2:
            digit = 2 - number % 4  # 1, or -1 before a run of ones
            digits.append((digit, exponent))
            number -= digit
        number //= 2
        exponent += 1
    return tuple(digits)


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
                             ff=self.lanes * width)
        columns, rows, *_ = rom_tiling(width, self.depth)
        return Resources(ff=self.lanes * width, bram36=self.lanes * columns * rows)


@dataclass(frozen=True, eq=False)
class BiasActivation(Activation):
    """A constant added per channel."""

    op: Bias

    @property
    def latency(self):
        return 1 + (self.groups > 1)

    def create(self):
        return BiasUnit(self)

    def estimate(self):
        return Resources(lut=self.lanes * self.out_type.width * 2,
                         ff=self.lanes * self.out_type.width)


class ActivationUnit(wiring.Component):
    """Base of the units.

    Members
    -------
    x : :py:`In(lanes * in width)`
        Wire codes of the accumulators.
    group : :py:`In(range(groups))`
    y : :py:`Out(lanes * out width)`
        Wire codes of the activations, ``latency`` clocks later.
    """

    def __init__(self, config: Activation):
        self.config = config
        super().__init__({"x": In(config.lanes * config.in_type.width),
                          "group": In(range(config.groups)),
                          "y": Out(config.lanes * config.out_type.width)})

    def lane(self, n: int) -> Value:
        """Accumulator ``n`` as a number."""
        kind = self.config.in_type
        word = self.x.word_select(n, kind.width)
        if kind.bipolar:
            return Cat(Const(1, 1), ~word).as_signed()  # 1 is 01 = +1, 0 is 11 = -1
        return word.as_signed() if kind.signed else word


def _table(m, name: str, values: np.ndarray, index: Value, width: int, *, alone: bool = True
           ) -> Value:
    """``values[index]`` as ``width`` bits, combinational; a constant where all are equal. Not
    ``alone``: in the LUTs of what reads them."""
    values = np.asarray(values, dtype=np.int64) & ((1 << width) - 1)
    if (values == values[0]).all():
        return Const(int(values[0]), width)
    out = Signal(width)
    size = 1 << len(index)
    padded = np.concatenate([values, np.zeros(size - len(values), np.int64)])
    if alone and 1 < len(index) <= LUT_INPUTS:  # two bits in a LUT
        functions = [Term(tuple(range(len(index))), sum(
            (v >> bit & 1) << n for n, v in enumerate(padded.tolist()))) for bit in range(width)]
        luts, found, nets = pack(functions, len(index))
        m.submodules[name] = table = Compressor(
            Compression((Stage([luts]),), found, (), nets), len(index), 0)
        m.d.comb += table.shared.eq(index)
        return table.o
    m.d.comb += out.eq(Cat(
        Const(int(sum(int(v >> bit & 1) << n for n, v in enumerate(padded.tolist()))),
              size).bit_select(index, 1)
        for bit in range(width)))
    return out


class ThresholdTable(ActivationUnit):
    """Looks the results up, by the bits of x and of the group. Latency: 1 clock."""

    config: ThresholdActivation

    def elaborate(self, platform):
        m = Module()
        cfg = self.config
        width, out = cfg.in_type.width, cfg.out_type
        codes = np.arange(1 << width)
        values = cfg.in_type.decode(codes)
        values = np.where(cfg.in_type.contains(values), values, cfg.in_type.high)
        results = out.encode(cfg.op.compute(np.repeat(values, cfg.channels).reshape(
            1, 1, -1, cfg.channels)))[0, 0]
        results = results.reshape(-1, cfg.groups, cfg.lanes)
        groups = np.minimum(np.arange(1 << cfg.group_width), cfg.groups - 1)
        functions = []
        for n in range(cfg.lanes):
            nets = (*range(n * width, (n + 1) * width),
                    *range(cfg.lanes * width, cfg.lanes * width + cfg.group_width))
            column = results[:, groups, n].T.reshape(-1).tolist()
            functions += [Term(nets, sum((code >> bit & 1) << k for k, code in enumerate(column)))
                          for bit in range(out.width)]
        inputs = cfg.lanes * width + cfg.group_width
        m.submodules.tables = tables = Compressor(tabulate(functions, inputs), inputs, 0)
        m.d.comb += [tables.shared.eq(Cat(self.x, self.group[:cfg.group_width])),
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
                level = _table(m, f"levels_{stage}_{n}", constants, index, width,
                               alone=cfg.packs_constants) \
                    if len(constants) > 1 else \
                    Const(int(constants[0]) & ((1 << width) - 1), width)
                if cfg.compare.signed:
                    level = level.as_signed()
                operand, known = x[n], found[n]
                if cfg.two_clocks[stage]:
                    level = delay(m, level, 1, f"level_{stage}_{n}")
                    operand = delay(m, operand, 1, f"held_{stage}_{n}")
                    known = delay(m, known, 1, f"known_{stage}_{n}") if len(known) else known
                reached = Signal(name=f"reached_{stage}_{n}", reset_less=True)
                m.d.sync += reached.eq(operand >= level)
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
                choice = _table(m, f"falls_{n}", np.concatenate(
                    [falls, np.zeros((1 << cfg.group_width) - len(falls), bool)]),
                    group[:cfg.group_width], 1)
                value = Mux(choice, _table(m, f"falling_{n}", codes[1], count, out_width),
                            _table(m, f"rising_{n}", codes[0], count, out_width))
            else:
                value = _table(m, f"codes_{n}", codes[int(falls.all())], count, out_width)
            m.d.sync += y.eq(value)
            m.d.comb += self.y.word_select(n, out_width).eq(y)
        return m


class ShiftUnit(ActivationUnit):
    """``clip(zero_point + round(x * multiplier / 2**shift))``; also Clip, which shifts by 0.

    Latency: 1 clock for the clip, 1 for zero point and rounding where there is one to add, 1 more
    where TensorFlow Lite rounds twice, and for a factor: none for a power of two, 1 or 2 for
    shifted sums, 3 for one DSP slice, 4 for several.
    """

    config: ShiftActivation

    def elaborate(self, platform):
        m = Module()
        cfg, shift = self.config, self.config.shift
        low, high = cfg.bounds
        for n in range(cfg.lanes):
            x = self._product(m, self.lane(n), n)
            offset = self._offset(m, n)
            if cfg.rounds_twice:
                x = x + offset if cfg.offset.any() else x
                x = self._round_twice(m, x, n)
            elif cfg.adds:
                rounded = Signal(signed(cfg.rounded.width), name=f"rounded_{n}",
                                 reset_less=True)
                total = x + offset if cfg.offset.any() else x
                m.d.sync += rounded.eq(total + self._rounding(total) + (cfg.zero_point << shift))
                x = rounded >> shift
            else:
                x = x >> shift
            y = Signal(cfg.out_type.width, name=f"y_{n}", reset_less=True)
            clipped = self._encode(x)
            before = cfg.before_clip
            if before.high > high:
                clipped = Mux(x > high, self._code(high), clipped)
            if before.low < low:
                clipped = Mux(x < low, self._code(low), clipped)
            m.d.sync += y.eq(clipped)
            m.d.comb += self.y.word_select(n, cfg.out_type.width).eq(y)
        return m

    def _product(self, m, x: Value, n: int) -> Value:
        cfg = self.config
        if not cfg.multiplies:
            exponent = int(cfg.multiplier[0]).bit_length() - 1
            return delay(m, x << exponent if exponent else x, cfg.product_clocks, f"x_{n}")
        if cfg.by_adders:
            return self._shifted_sum(m, x, n)
        factors = np.broadcast_to(cfg.multiplier, cfg.channels)[n::cfg.lanes]
        kind = smallest_type(min(int(factors.min()), -1), int(factors.max()))
        if (factors == factors[0]).all():
            factors = factors[:1]
        # Registered operands, product and output: what a DSP slice holds.
        m.submodules[f"multiplier_{n}"] = rom = Rom(kind.encode(factors)[:, None], kind.width,
                                                    "logic", f"multiplier_{n}")
        if len(factors) > 1:
            m.d.comb += rom.addr.eq(self.group)
        held = delay(m, x, 1, f"x_{n}")
        factor = Signal(signed(kind.width), name=f"factor_{n}")
        m.d.comb += factor.eq(rom.data)
        product = Signal(signed(cfg.product.width), name=f"product_{n}", reset_less=True)
        m.d.sync += product.eq(held * factor)
        return delay(m, product, cfg.product_clocks - 2, f"product_{n}")

    def _offset(self, m, n: int) -> Value | int:
        """What lane ``n`` adds to its product, in the clock in which the product is there."""
        cfg = self.config
        offsets = np.broadcast_to(cfg.offset, cfg.channels)[n::cfg.lanes]
        if (offsets == offsets[0]).all():
            return int(offsets[0])
        kind = smallest_type(min(int(offsets.min()), -1), int(offsets.max()))
        m.submodules[f"offset_{n}"] = rom = Rom(kind.encode(offsets)[:, None], kind.width, "logic",
                                                f"offset_{n}")
        clocks = cfg.product_clocks - rom.latency
        m.d.comb += rom.addr.eq(delay(m, self.group, max(clocks, 0), f"offset_group_{n}"))
        offset = Signal(signed(kind.width), name=f"offset_of_{n}")
        m.d.comb += offset.eq(rom.data)
        return offset

    def _shifted_sum(self, m, x: Value, n: int) -> Value:
        """Shifted copies of x, added in pairs, a register behind each addition."""
        cfg = self.config
        terms = [(x << exponent) if sign > 0 else -(x << exponent)
                 for sign, exponent in cfg.digits]
        for level in range(cfg.product_clocks):
            sums = []
            for k in range(0, len(terms), 2):
                total = Signal(signed(cfg.product.width), name=f"sum_{level}_{k // 2}_{n}",
                               reset_less=True)
                m.d.sync += total.eq(terms[k] + terms[k + 1] if k + 1 < len(terms) else terms[k])
                sums.append(total)
            terms = sums
        return terms[0]

    def _round_twice(self, m, x: Value, n: int) -> Value:
        """Half up by 31 bits, then half away from zero by the rest, and the zero point."""
        cfg = self.config
        first = Signal(signed(cfg.rounded_once.width), name=f"doubled_{n}", reset_less=True)
        m.d.sync += first.eq((x + (1 << (DOUBLING_SHIFT - 1))) >> DOUBLING_SHIFT)
        second = Signal(signed(cfg.before_clip.width + 1), name=f"rounded_{n}", reset_less=True)
        rests = np.broadcast_to(cfg.second_shifts, cfg.channels)[n::cfg.lanes]
        distinct = sorted(set(rests.tolist()))
        results = [((first + ((1 << rest >> 1) - (first < 0 if rest else 0))) >> rest)
                   + cfg.zero_point for rest in distinct]
        if len(distinct) == 1:
            m.d.sync += second.eq(results[0])
            return second
        # Channels that differ in their second step: a table says which.
        group = delay(m, self.group, cfg.product_clocks + 1, f"second_group_{n}")
        chosen = _table(m, f"second_step_{n}", np.array([distinct.index(r) for r in rests.tolist()]
                                    + [0] * ((1 << cfg.group_width) - len(rests))),
                        group[:cfg.group_width], (len(distinct) - 1).bit_length())
        m.d.sync += second.eq(Array(results)[chosen])
        return second

    def _rounding(self, x: Value) -> Value | int:
        """What to add before the shift so that the floor is the rounded value."""
        cfg, shift = self.config, self.config.shift
        if shift == 0 or cfg.rounding == "floor":
            return 0
        half = 1 << (shift - 1)
        if cfg.rounding == "tflite":  # one step only
            return half
        negative = x < 0 if x.shape().signed else Const(0, 1)
        return {"ceil": (1 << shift) - 1, "half_up": half, "half_down": half - 1,
                "toward_zero": Mux(negative, (1 << shift) - 1, 0),
                "away_from_zero": Mux(negative, 0, (1 << shift) - 1),
                "half_toward_zero": half - 1 + negative,
                "half_even": half - 1 + x[shift] if shift < len(x) else half - 1 + negative,
                "half_away": half - negative}[cfg.rounding]

    def _code(self, value: int) -> int:
        return int(self.config.out_type.encode(value))

    def _encode(self, x: Value) -> Value:
        kind = self.config.out_type
        return x[1:2] ^ 1 if kind.bipolar else x[:kind.width] if len(x) >= kind.width else x


class BiasUnit(ActivationUnit):
    """Adds a constant per channel. Latency: 1 clock, 2 with more than one channel group."""

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
