"""Activation units: threshold, requantize, clip, bias; pipelines without handshake.

A unit takes the accumulators of ``lanes`` channels and the number of their channel group, and
gives the activations ``latency`` clocks later, one group per clock.
"""

from dataclasses import dataclass
from math import ceil

import numpy as np
from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..ops import Bias, Clip, Op, Requantize, Threshold
from ..resources import Resources
from ..types import NumType, smallest_type
from .primitives import Rom, delay

__all__ = ["Activation", "activation_ops"]

activation_ops = (Bias, Clip, Requantize, Threshold)


@dataclass(frozen=True)
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

    @property
    def groups(self) -> int:
        return self.channels // self.lanes

    def compute(self, x: np.ndarray) -> np.ndarray:
        return self.op.compute(x)

    def create(self) -> "ActivationUnit":
        return {Threshold: ThresholdUnit, Requantize: RequantizeUnit, Clip: RequantizeUnit,
                Bias: BiasUnit}[type(self.op)](self)

    @property
    def latency(self) -> int:
        return self.create().latency

    def estimate(self) -> Resources:
        """LUTs of the comparators, adders and their constants."""
        return self.create().estimate()


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

    latency: int

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

    def group_width(self) -> int:
        return (self.config.groups - 1).bit_length()

    def estimate(self) -> Resources:
        raise NotImplementedError


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

    def __init__(self, config: Activation):
        super().__init__(config)
        op = config.op
        levels = np.broadcast_to(op.levels, (config.channels, op.levels.shape[1]))
        negate = np.broadcast_to(op.negate, config.channels)
        # x <= -t is "not x >= 1 - t": a falling channel counts the levels it does not reach.
        levels = np.where(negate[:, None], (1 - levels)[:, ::-1], levels)
        self.count = levels.shape[1]
        self.bits = self.count.bit_length()
        never = config.in_type.high + 1
        full = np.full((config.channels, (1 << self.bits) - 1), never, dtype=np.int64)
        full[:, :self.count] = np.clip(levels, config.in_type.low, never)
        self.levels, self.negate = full, negate
        self.compare = smallest_type(min(config.in_type.low, -1), never)
        self.two_clocks = [self.group_width() + stage > 6 for stage in range(self.bits)]
        self.latency = self.bits + sum(self.two_clocks) + 1

    def elaborate(self, platform):
        m = Module()
        cfg = self.config
        group = self.group if cfg.groups > 1 else Const(0, 0)
        width = self.compare.width
        x = [self.lane(n) for n in range(cfg.lanes)]
        found = [Const(0, 0)] * cfg.lanes
        elapsed = 0
        for stage in range(self.bits):
            step = 1 << (self.bits - 1 - stage)
            next_found, next_x = [], []
            for n in range(cfg.lanes):
                # levels of this lane, by group and by the bits found so far
                rows = self.levels[n::cfg.lanes, step - 1::2 * step]
                constants = rows.T.reshape(-1) if stage else rows[:, 0]
                index = Cat(group[:self.group_width()], found[n])
                if self.group_width() and cfg.groups != 1 << self.group_width():
                    padded = np.zeros((rows.shape[1], 1 << self.group_width()), dtype=np.int64)
                    padded[:, :cfg.groups] = rows.T
                    constants = padded.reshape(-1)
                level = _table(m, constants, index, width).as_signed() \
                    if len(constants) > 1 else Const(int(constants[0]), signed(width))
                operand, known = x[n], found[n]
                if self.two_clocks[stage]:
                    level = delay(m, level, 1, f"level_{stage}_{n}")
                    operand = delay(m, operand, 1, f"held_{stage}_{n}")
                    known = delay(m, known, 1, f"known_{stage}_{n}") if len(known) else known
                reached = Signal(name=f"reached_{stage}_{n}", reset_less=True)
                m.d.sync += reached.eq(operand >= level)
                next_found.append(Cat(reached, delay(m, known, 1, f"found_{stage}_{n}"))
                                  if len(known) else reached)
                next_x.append(delay(m, operand, 1, f"x_{stage}_{n}"))
            clocks = 1 + self.two_clocks[stage]
            group = delay(m, group, clocks, f"group_{stage}") if len(group) else group
            elapsed += clocks
            found, x = next_found, next_x
        low, high = cfg.op.base, cfg.op.base + cfg.op.step * self.count
        out_width = cfg.out_type.width
        for n in range(cfg.lanes):
            count = found[n]
            codes = []
            for negate in (False, True):
                counts = np.minimum(np.arange(1 << self.bits), self.count)
                counts = self.count - counts if negate else counts
                codes.append(cfg.out_type.encode(np.clip(cfg.op.base + cfg.op.step * counts,
                                                         min(low, high), max(low, high))))
            falls = self.negate[n::cfg.lanes]
            y = Signal(out_width, name=f"y_{n}", reset_less=True)
            if falls.any() and not falls.all():
                choice = _table(m, np.concatenate(
                    [falls, np.zeros((1 << self.group_width()) - len(falls), bool)]),
                    group[:self.group_width()], 1)
                value = Mux(choice, _table(m, codes[1], count, out_width),
                            _table(m, codes[0], count, out_width))
            else:
                value = _table(m, codes[int(falls.all())], count, out_width)
            m.d.sync += y.eq(value)
            m.d.comb += self.y.word_select(n, out_width).eq(y)
        return m

    def estimate(self) -> Resources:
        cfg = self.config
        width, lanes = self.compare.width, cfg.lanes
        constants = sum(width * max(0, ceil((cfg.groups << stage) / 64)) if
                        self.group_width() + stage > 1 else 0 for stage in range(self.bits))
        lut = lanes * (self.bits * ceil(width / 2) + constants + cfg.out_type.width)
        return Resources(lut=lut, ff=lanes * (width * self.bits + self.bits + cfg.out_type.width))


class RequantizeUnit(ActivationUnit):
    """``clip(zero_point + round(x * multiplier / 2**shift))``; also Clip, which shifts by 0.

    Per-channel shifts become one shift with larger multipliers, which is the same number.
    Latency: 1 clock for the clip, 1 for zero point and rounding where there is one to add, and 3
    for a multiplier other than 1.
    """

    def __init__(self, config: Activation):
        super().__init__(config)
        op = config.op
        if isinstance(op, Clip):
            self.multiplier = np.ones(1, np.int64)
            self.shift, self.zero_point, self.rounding = 0, 0, "floor"
            self.low = config.in_type.low if op.low is None else op.low
            self.high = config.in_type.high if op.high is None else op.high
        else:
            self.shift = int(op.shift.max())
            self.multiplier = op.multiplier << (self.shift - op.shift)
            self.zero_point, self.rounding = op.zero_point, op.rounding
            self.low, self.high = op.out_type.low, op.out_type.high
        self.multiplies = bool((self.multiplier != 1).any())
        bounds = [int(m) * v for m in self.multiplier for v in (config.in_type.low,
                                                                config.in_type.high)]
        self.product = smallest_type(min(*bounds, -1), max(bounds))
        self.adds = self.zero_point != 0 or (self.shift > 0 and self.rounding != "floor")
        self.latency = 1 + self.adds + 3 * self.multiplies

    def elaborate(self, platform):
        m = Module()
        cfg, shift = self.config, self.shift
        for n in range(cfg.lanes):
            x = self.lane(n)
            if self.multiplies:
                x = self._multiply(m, x, n)
            if self.adds:
                rounded = Signal(signed(self.product.width + 2), name=f"rounded_{n}",
                                 reset_less=True)
                m.d.sync += rounded.eq(x + self._rounding(x) + (self.zero_point << shift))
                x = rounded
            x = x >> shift
            y = Signal(cfg.out_type.width, name=f"y_{n}", reset_less=True)
            clipped = Mux(x < self.low, self._code(self.low),
                          Mux(x > self.high, self._code(self.high), self._encode(x)))
            m.d.sync += y.eq(clipped)
            m.d.comb += self.y.word_select(n, cfg.out_type.width).eq(y)
        return m

    def _multiply(self, m, x: Value, n: int) -> Value:
        """Registered operands, product and output: what a DSP slice holds."""
        cfg = self.config
        factors = np.broadcast_to(self.multiplier, cfg.channels)[n::cfg.lanes]
        kind = smallest_type(min(int(factors.min()), -1), int(factors.max()))
        m.submodules[f"multiplier_{n}"] = rom = Rom(kind.encode(factors)[:, None], kind.width,
                                                    "logic", f"multiplier_{n}")
        m.d.comb += rom.addr.eq(self.group)
        held = delay(m, x, 1, f"x_{n}")
        factor = Signal(signed(kind.width), name=f"factor_{n}")
        m.d.comb += factor.eq(rom.data)
        product = Signal(signed(self.product.width), name=f"product_{n}", reset_less=True)
        m.d.sync += product.eq(held * factor)
        return delay(m, product, 1, f"product_{n}")

    def _rounding(self, x: Value) -> Value | int:
        """What to add before the shift so that the floor is the rounded value."""
        shift = self.shift
        if shift == 0 or self.rounding == "floor":
            return 0
        half, negative = 1 << (shift - 1), x < 0
        return {"ceil": (1 << shift) - 1, "half_up": half, "half_down": half - 1,
                "toward_zero": Mux(negative, (1 << shift) - 1, 0),
                "half_even": half - 1 + x[shift] if shift < len(x) else half - 1 + (x < 0),
                "half_away": half - negative}[self.rounding]

    def _code(self, value: int) -> int:
        return int(self.config.out_type.encode(value))

    def _encode(self, x: Value) -> Value:
        kind = self.config.out_type
        return x[1:2] ^ 1 if kind.bipolar else x[:kind.width] if len(x) >= kind.width else x

    def estimate(self) -> Resources:
        cfg, width = self.config, self.product.width
        lut = cfg.lanes * (self.adds * width + 2 * cfg.out_type.width + ceil(width / 4))
        return Resources(lut=lut, ff=cfg.lanes * (self.adds * width + cfg.out_type.width),
                         dsp=cfg.lanes * self.multiplies * ceil(cfg.in_type.width / 24))


class BiasUnit(ActivationUnit):
    """Adds a constant per channel. Latency: 1 clock, 2 with more than one channel group."""

    def __init__(self, config: Activation):
        super().__init__(config)
        self.latency = 1 + (config.groups > 1)

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

    def estimate(self) -> Resources:
        cfg = self.config
        return Resources(lut=cfg.lanes * cfg.out_type.width * 2, ff=cfg.lanes * cfg.out_type.width)
