"""Requantize and clip: a factor per channel, a shift with rounding, a zero point, saturation."""

from dataclasses import dataclass
from functools import cached_property
from math import ceil

import numpy as np
from amaranth import Array, Const, Module, Mux, Signal, Value, signed

from ..arith.bit_heap import LUT_INPUTS
from ..ops import DOUBLING_SHIFT, Clip, Requantize
from ..resources import Resources
from ..types import NumType, smallest_type
from .activation import Activation, ActivationUnit
from .parts import constant_table
from .primitives import Rom, delay, delay_resources, rom_luts

__all__ = ["ShiftActivation", "ShiftUnit", "signed_digits"]

MOST_DIGITS = 3  # of a constant factor that shifted sums multiply with
MOST_SHIFTS = 4  # of unlike channels, of which a table chooses one


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

    @cached_property
    def shifts(self) -> list[int]:
        """Exponents of the factors, ascending, where all are among a few powers of two that a
        table chooses from; else none."""
        factors = np.unique(self.multiplier).tolist()
        if not 1 < len(factors) <= MOST_SHIFTS or factors[0] <= 0 \
                or any(factor & (factor - 1) for factor in factors):
            return []
        return [factor.bit_length() - 1 for factor in factors]

    @property
    def product_clocks(self) -> int:
        """Clocks from x to the product."""
        if not self.multiplies:
            return int(len(self.offset) > 1 and self.groups > 1)  # a table of offsets takes one
        if self.shifts:
            return 1
        if self.by_adders:
            return max(1, (len(self.digits) - 1).bit_length())
        return 3 + (self.dsp_slices > 1)  # operands, product, output; partial products are added

    @property
    def dsp_slices(self) -> int:
        """DSP slices of a lane: 25 x 18 bits, signed, the wider operand at the wider port."""
        if not self.multiplies or self.by_adders or self.shifts:
            return 0
        x = self.in_type.width + (not self.in_type.signed)
        narrow, wide = sorted((_signed_type(self.multiplier).width, max(x, 2)))
        return ceil((wide - 1) / 24) * ceil((narrow - 1) / 17)

    @cached_property
    def product(self) -> NumType:
        """Type of x times multiplier, signed; of both with the offset, where rounding is double."""
        added = self.offset if self.rounds_twice else np.zeros(1, dtype=np.int64)
        factors = {int(self.multiplier.min()), int(self.multiplier.max())}
        ends = [m * v + int(o) for m in factors for o in (added.min(), added.max())
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
    def reach(self) -> tuple[int, int]:
        """Smallest and largest number that the clip takes, or bounds of them."""
        kind, shift = self.before_clip, self.shift
        if self.rounds_twice:
            return kind.low, kind.high
        factors, offsets = np.broadcast_arrays(self.multiplier, self.offset)
        ends = [int(m) * v + int(o) for m, o in zip(factors, offsets)
                for v in (self.in_type.low, self.in_type.high)]
        most = (1 << shift) - 1 if self.rounding != "floor" else 0
        return ((min(ends) >> shift) + self.zero_point,
                (max(ends) + most >> shift) + self.zero_point)

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
        low, high = (self.reach[0] < self.bounds[0]), (self.reach[1] > self.bounds[1])
        # Bits that are added: what is shifted out of a product, or in, needs no adder.
        bits = self.rounds_twice * width
        if adders:
            (_, last), *_, (sign, first) = sorted(self.digits, key=lambda digit: -digit[1])
            bits += adders * (width - first) - (last - first) * (sign > 0)
        if self.adds:
            bits += self.rounded.width - self.shift + (self.rounding == "half_even")
        # Fitted to synthesis. A clip of many bits is a reset or set of registers.
        narrow = self.in_type.width <= LUT_INPUTS
        lut = 1.15 * bits + high * self.out_type.width * (1 if narrow else 0.15) \
            + 1.2 * (low + high) + (self.dsp_slices > 1) * max(0, width - 17)
        varies = max(len(self.multiplier), len(self.offset)) > 1 and self.groups > 1
        used = Resources(lut=lut, ff=sums * width + self.out_type.width, dsp=self.dsp_slices)
        if self.shifts:
            used += Resources(lut=self.out_type.width / 2 * (len(self.shifts) - 1) * varies,
                              ff=self.in_type.width)
        if self.groups > 1:
            tables = (_signed_type(self.multiplier).width * (self.dsp_slices > 0 and
                                                             len(self.multiplier) > 1)
                      + _signed_type(self.offset).width * (len(self.offset) > 1))
            tables += (len(self.shifts) - 1).bit_length() if self.shifts else 0
            used += Resources(lut=tables * rom_luts(self.groups), ff=tables)
            used += delay_resources((self.groups - 1).bit_length(), max(0, self.product_clocks - 1))
        return sum([used] * self.lanes, Resources())


def _signed_type(values: np.ndarray) -> NumType:
    return smallest_type(min(int(values.min()), -1), int(values.max()))


class ShiftUnit(ActivationUnit):
    """``clip(zero_point + round(x * multiplier / 2**shift))``; also Clip, which shifts by 0.

    Latency: 1 clock for the clip, 1 for zero point and rounding where there is one to add, 1 more
    where TensorFlow Lite rounds twice, and for a factor: none for a power of two, 1 for one of
    a few, 1 or 2 for shifted sums, 3 for one DSP slice, 4 for several.
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
            least, most = cfg.reach
            if most > high:
                clipped = Mux(x > high, self._code(high), clipped)
            if least < low:
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
        if cfg.shifts:
            return self._shifted(m, x, n)
        factors = np.broadcast_to(cfg.multiplier, cfg.channels)[n::cfg.lanes]
        kind = _signed_type(factors)
        if (factors == factors[0]).all():
            factors = factors[:1]
        # Registered operands, product and output: what a DSP slice holds.
        m.submodules[f"multiplier_{n}"] = rom = Rom(kind.encode(factors)[:, None], kind.width,
                                                    "logic", f"multiplier_{n}", at_once=True)
        if len(factors) > 1:
            m.d.comb += rom.addr.eq(self.group)
        held = delay(m, x, 1, f"x_{n}")
        factor = Signal(signed(kind.width), name=f"factor_{n}")
        m.d.comb += factor.eq(rom.data)
        product = Signal(signed(cfg.product.width), name=f"product_{n}", reset_less=True)
        m.d.sync += product.eq(held * factor)
        return delay(m, product, cfg.product_clocks - 2, f"product_{n}")

    def _shifted(self, m, x: Value, n: int) -> Value:
        """x shifted as its channel demands. The choice is part of the LUTs behind it."""
        cfg = self.config
        exponents = [int(factor).bit_length() - 1 for factor in
                     np.broadcast_to(cfg.multiplier, cfg.channels)[n::cfg.lanes]]
        distinct = sorted(set(exponents))
        held = delay(m, x, 1, f"x_{n}")
        if len(distinct) == 1:
            return held << distinct[0]
        bits = (len(distinct) - 1).bit_length()
        chosen = Signal(bits, name=f"shift_{n}", reset_less=True)
        m.d.sync += chosen.eq(constant_table(
            m, f"shift_table_{n}", np.array([distinct.index(e) for e in exponents]),
            self.group, bits, alone=False))
        product = held << distinct[0]
        for number, exponent in enumerate(distinct[1:], 1):
            product = Mux(chosen == number, held << exponent, product)
        return product

    def _offset(self, m, n: int) -> Value | int:
        """What lane ``n`` adds to its product, in the clock in which the product is there."""
        cfg = self.config
        offsets = np.broadcast_to(cfg.offset, cfg.channels)[n::cfg.lanes]
        if (offsets == offsets[0]).all():
            return int(offsets[0])
        kind = _signed_type(offsets)
        m.submodules[f"offset_{n}"] = rom = Rom(kind.encode(offsets)[:, None], kind.width, "logic",
                                                f"offset_{n}", at_once=True)
        clocks = cfg.product_clocks - rom.latency
        m.d.comb += rom.addr.eq(delay(m, self.group, max(clocks, 0), f"offset_group_{n}"))
        offset = Signal(signed(kind.width), name=f"offset_of_{n}")
        m.d.comb += offset.eq(rom.data)
        return offset

    def _shifted_sum(self, m, x: Value, n: int) -> Value:
        """Shifted copies of x, added or subtracted in pairs, a register behind each."""
        cfg = self.config
        terms = [(x << exponent, sign < 0) for sign, exponent in cfg.digits]  # subtracted or added
        for level in range(cfg.product_clocks):
            sums: list[tuple[Value, bool]] = []
            for k in range(0, len(terms), 2):
                value, minus = terms[k]
                if k + 1 < len(terms):
                    other, minus_other = terms[k + 1]
                    value = value + other if minus == minus_other else \
                        other - value if minus else value - other
                    minus = minus and minus_other
                if minus and level == cfg.product_clocks - 1:
                    value, minus = -value, False
                total = Signal(signed(cfg.product.width), name=f"sum_{level}_{k // 2}_{n}",
                               reset_less=True)
                m.d.sync += total.eq(value)
                sums.append((total, minus))
            terms = sums
        return terms[0][0]

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
        steps = np.array([distinct.index(rest) for rest in rests.tolist()])
        chosen = constant_table(m, f"second_step_{n}", steps, group[:cfg.group_width],
                                (len(distinct) - 1).bit_length())
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
