"""Activation units: threshold, requantize, clip, bias; pipelines without handshake.

A unit takes the accumulators of ``lanes`` channels and the number of their channel group, and
gives the activations ``latency`` clocks later, one group per clock.
"""

from dataclasses import dataclass
from functools import cached_property
from math import ceil

import numpy as np
from amaranth import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..ops import Bias, Clip, Op, Requantize, Threshold
from ..resources import Resources
from ..types import NumType, smallest_type
from .primitives import Rom, delay

__all__ = ["Activation", "activation_ops"]

activation_ops = (Bias, Clip, Requantize, Threshold)


@dataclass(frozen=True, eq=False)
class Activation:
    """One elementwise operation on ``channels`` channels, ``lanes`` per clock.

    Parameters
    ----------
    op
        Bias, Clip, Requantize or Threshold.
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
                Clip: ShiftActivation, Bias: BiasActivation}[type(op)]
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
    """Levels reached, by binary search: one comparator per result bit and lane."""

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
        return smallest_type(min(self.in_type.low, -1), self.in_type.high + 1)

    @property
    def two_clocks(self) -> list[bool]:
        """For each result bit, whether its constants need a clock of their own."""
        return [self.group_width + stage > 6 for stage in range(self.bits)]

    @property
    def latency(self):
        return self.bits + sum(self.two_clocks) + 1

    def create(self):
        return ThresholdUnit(self)

    def estimate(self):
        width, out = self.compare.width, self.out_type.width
        constants = sum(width * ceil((self.groups << stage) / 64)
                        for stage in range(self.bits) if self.group_width + stage > 1)
        lut = self.lanes * (self.bits * ceil(width / 2) + constants + out)
        return Resources(lut=lut, ff=self.lanes * (width * self.bits + self.bits + out))


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
        """(channels or 1,) factors before the shift."""
        if isinstance(self.op, Clip):
            return np.ones(1, dtype=np.int64)
        return self.op.multiplier << (self.shift - self.op.shift)

    @property
    def multiplies(self) -> bool:
        return bool((self.multiplier != 1).any())

    @cached_property
    def product(self) -> NumType:
        """Type of x times multiplier, signed."""
        ends = [int(m) * v for m in self.multiplier
                for v in (self.in_type.low, self.in_type.high)]
        return smallest_type(min(*ends, -1), max(ends))

    @property
    def rounded(self) -> NumType:
        """Type of the product with zero point and rounding added, signed."""
        offset = self.zero_point << self.shift
        return smallest_type(min(self.product.low + offset, -1),
                             max(self.product.high + offset + (1 << self.shift), 0))

    @property
    def before_clip(self) -> NumType:
        """Type of what the clip takes, after rounding and shift."""
        kind = self.rounded if self.adds else self.product if self.multiplies else self.in_type
        return smallest_type(kind.low >> self.shift, kind.high >> self.shift)

    @property
    def adds(self) -> bool:
        """Whether zero point or rounding add something."""
        return self.zero_point != 0 or (self.shift > 0 and self.rounding != "floor")

    @property
    def latency(self):
        return 1 + self.adds + 3 * self.multiplies

    def create(self):
        return ShiftUnit(self)

    def estimate(self):
        width = self.product.width
        lut = self.lanes * (self.adds * width + 2 * self.out_type.width + ceil(width / 4))
        return Resources(lut=lut, ff=self.lanes * (self.adds * width + self.out_type.width),
                         dsp=self.lanes * self.multiplies * ceil(self.in_type.width / 24))


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


def _table(m, values: np.ndarray, index: Value, width: int) -> Value:
    """``values[index]`` as ``width`` bits, combinational; a constant where all are equal."""
    values = np.asarray(values, dtype=np.int64) & ((1 << width) - 1)
    if (values == values[0]).all():
        return Const(int(values[0]), width)
    out = Signal(width)
    size = 1 << len(index)
    padded = np.concatenate([values, np.zeros(size - len(values), np.int64)])
    m.d.comb += out.eq(Cat(
        Const(int(sum(int(v >> bit & 1) << n for n, v in enumerate(padded.tolist()))),
              size).bit_select(index, 1)
        for bit in range(width)))
    return out


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
                level = _table(m, constants, index, width).as_signed() \
                    if len(constants) > 1 else Const(int(constants[0]), signed(width))
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
                choice = _table(m, np.concatenate(
                    [falls, np.zeros((1 << cfg.group_width) - len(falls), bool)]),
                    group[:cfg.group_width], 1)
                value = Mux(choice, _table(m, codes[1], count, out_width),
                            _table(m, codes[0], count, out_width))
            else:
                value = _table(m, codes[int(falls.all())], count, out_width)
            m.d.sync += y.eq(value)
            m.d.comb += self.y.word_select(n, out_width).eq(y)
        return m


class ShiftUnit(ActivationUnit):
    """``clip(zero_point + round(x * multiplier / 2**shift))``; also Clip, which shifts by 0.

    Latency: 1 clock for the clip, 1 for zero point and rounding where there is one to add, and 3
    for a multiplier other than 1.
    """

    config: ShiftActivation

    def elaborate(self, platform):
        m = Module()
        cfg, shift = self.config, self.config.shift
        low, high = cfg.bounds
        for n in range(cfg.lanes):
            x = self.lane(n)
            if cfg.multiplies:
                x = self._multiply(m, x, n)
            if cfg.adds:
                rounded = Signal(signed(cfg.rounded.width), name=f"rounded_{n}",
                                 reset_less=True)
                m.d.sync += rounded.eq(x + self._rounding(x) + (cfg.zero_point << shift))
                x = rounded
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

    def _multiply(self, m, x: Value, n: int) -> Value:
        """Registered operands, product and output: what a DSP slice holds."""
        cfg = self.config
        factors = np.broadcast_to(cfg.multiplier, cfg.channels)[n::cfg.lanes]
        kind = smallest_type(min(int(factors.min()), -1), int(factors.max()))
        if (factors == factors[0]).all():
            factors = factors[:1]
        m.submodules[f"multiplier_{n}"] = rom = Rom(kind.encode(factors)[:, None], kind.width,
                                                    "logic", f"multiplier_{n}")
        if len(factors) > 1:
            m.d.comb += rom.addr.eq(self.group)
        held = delay(m, x, 1, f"x_{n}")
        factor = Signal(signed(kind.width), name=f"factor_{n}")
        m.d.comb += factor.eq(rom.data)
        product = Signal(signed(cfg.product.width), name=f"product_{n}", reset_less=True)
        m.d.sync += product.eq(held * factor)
        return delay(m, product, 1, f"product_{n}")

    def _rounding(self, x: Value) -> Value | int:
        """What to add before the shift so that the floor is the rounded value."""
        cfg, shift = self.config, self.config.shift
        if shift == 0 or cfg.rounding == "floor":
            return 0
        half = 1 << (shift - 1)
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
