"""Memory of a layer's weights: a word for each step of each neurons' turn."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from amaranth import Cat, Module, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..arith.compressor import Compressor
from ..arith.trits import FIVE_BITS, pack_trits, packed_width, unpacker
from ..resources import Resources
from ..types import TERNARY, NumType
from .counters import counter, turn_codes
from .parity_memory import ParityMemory, ParityPlan, plan_parity
from .primitives import (
    Rom,
    delay,
    delay_resources,
    fill_gaps,
    rom_bram36,
    rom_luts,
    rom_registers,
    rom_tiling,
    row_luts,
)

__all__ = ["WeightMemory"]


@dataclass(frozen=True, eq=False)
class WeightMemory:
    """Words of weights that are read in order, by the counters of round, step and turn.

    Parameters
    ----------
    codes
        Gives the unsigned codes of the weights, (rounds * steps * hold, weights a word), a turn
        after the other within a step.
    weights
        Weights in a word.
    weight_type
        Their type.
    rounds, steps, hold
        Values that the counters take.
    style
        ``logic``, ``block``, ``packed`` (block RAM, five ternary weights in eight bits),
        ``parity`` (block RAM, words in its parity bits too) or ``phases``: no memory, just the
        address, for products that hold the weights themselves.
    lags
        Clocks by which the weights of each lane come after the first; lanes are the innermost of a
        word's weights.
    """

    codes: Callable[[], np.ndarray]
    weights: int
    weight_type: NumType
    rounds: int
    steps: int
    hold: int
    style: str
    lags: tuple[int, ...] = (0,)

    @property
    def words(self) -> int:
        """Words that are read."""
        return self.rounds * self.steps * self.hold

    @property
    def width(self) -> int:
        """Bits of a word as stored."""
        return packed_width(self.weights) if self.style == "packed" \
            else self.weights * self.weight_type.width

    @cached_property
    def joint(self) -> bool:
        """Whether the counters of turn, step and round side by side are the address: where that
        takes no larger a memory."""
        counts = [count for count in (self.rounds, self.steps, self.hold) if count > 1]
        if self.style == "phases":  # their plan is in order
            return counts == [self.hold]
        if self.style == "parity":  # it steps through addresses of its own
            return False
        joint = self._joint_depth
        if self.style == "logic":
            return rom_luts(joint) <= rom_luts(self.words)
        return rom_bram36(self.width, joint) <= rom_bram36(self.width, self.words) \
            and rom_tiling(self.width, joint)[1] <= rom_tiling(self.width, self.words)[1]

    @property
    def _joint_depth(self) -> int:
        return 1 << sum((n - 1).bit_length() for n in (self.hold, self.steps, self.rounds))

    @property
    def depth(self) -> int:
        """Words of the memory: those that are read, and places between them."""
        return self._joint_depth if self.joint else self.words

    @property
    def parity(self) -> ParityPlan | None:
        """How block RAMs hold words in parity bits too; None if they hold none there."""
        return plan_parity(self.width, self.words)

    @property
    def latency(self) -> int:
        """Clocks of the memory, and of what unpacks its words."""
        if self.style == "phases":
            return 0
        if self.style == "parity" and self.parity:
            return self.parity.latency
        if self.style == "packed":
            return Rom.latency_of("block", self.width, self.depth) + 1
        return Rom.latency_of(self.style, self.width, self.depth)

    @property
    def _late_addresses(self) -> bool:
        """Whether weights that come later have memories of their own, which get the address later;
        that costs fewer registers than to hold back what they say, and no LUTs."""
        return self.style == "logic" and self.words > 1

    def placed_codes(self) -> np.ndarray:
        """(depth, weights a word) codes, in the order of the address."""
        codes = self.codes()
        if not self.joint:
            return codes
        turn, step, around = np.ix_(
            turn_codes(self.rounds), turn_codes(self.steps), np.arange(self.hold))[::-1]
        bits = [(n - 1).bit_length() for n in (self.hold, self.steps)]
        places = turn + (step << bits[0]) + (around << sum(bits))
        joint = np.zeros((self.depth, codes.shape[1]), dtype=codes.dtype)
        joint[places.reshape(-1)] = codes
        return fill_gaps(joint, np.isin(np.arange(self.depth), places))

    def rom(self) -> Rom:
        """The memory itself, of all weights and other styles than ``parity``."""
        codes = self.placed_codes()
        if self.style == "packed":
            return Rom(pack_trits(TERNARY.decode(codes)), FIVE_BITS, "block", "weights", self.width)
        return Rom(codes, self.weight_type.width, self.style, "weights")

    def bits(self) -> np.ndarray:
        """(words, bits of a word) of 0 and 1."""
        bits = self.codes()[:, :, None] >> np.arange(self.weight_type.width) & 1
        return bits.astype(np.uint8).reshape(self.words, -1)

    def create(self) -> "WeightReader":
        return WeightReader(self)

    def estimate(self, family: str = "xc7") -> Resources:
        """What memory, unpacker and, if it is not made of the others, address take."""
        a_lane = self.weights // len(self.lags) * self.weight_type.width
        late = sum((delay_resources(lanes * a_lane, lag)
                    for lag, lanes in Counter(self.lags).items()), Resources())
        if self.style == "parity" and self.parity:
            return self.parity.estimate(family) + late
        bits = 0 if self.joint else (self.words - 1).bit_length()
        used = Resources(lut=1.3 * bits, ff=bits)
        if self.words == 1 or self.style == "phases":
            return used
        if self._late_addresses:
            used += Resources(ff=max(self.lags) * (self.depth - 1).bit_length())
        else:
            used += late
        if self.style == "logic":
            # Of few words, many bits are equal: they are there once.
            unlike = min(self.width, 1 << self.words)
            return used + Resources(lut=unlike * rom_luts(self.words),
                                    ff=unlike * rom_registers(self.words))
        rows = rom_tiling(self.width, self.depth)[1]
        levels = Rom.latency_of("block", self.width, self.depth) - 2
        if self.style == "packed":
            used += unpacker(self.weights).resources
        return used + Resources(lut=self.width * row_luts(rows), bram36=rom_bram36(
            self.width, self.depth), ff=self.width * (rows + levels))


class WeightReader(wiring.Component):
    """Hardware of :class:`WeightMemory`.

    Members
    -------
    turn, step, around : In
        The counters: a turn of neurons counts up, steps and rounds take turns
        (:func:`~hwgen.blocks.counters.turns`).
    en : In(1)
        The counters move on.
    address : Out
        Place of the word; the style ``parity`` has none.
    word : Out
        The word of the counters as they were ``latency`` clocks ago, and ``lags`` of each lane,
        weight by weight; empty with the style ``phases``.
    """

    def __init__(self, config: WeightMemory):
        self.config = config
        weights = 0 if config.style == "phases" else config.weights * config.weight_type.width
        super().__init__({
            "turn": In(range(config.hold)), "step": In(range(config.steps)),
            "around": In(range(config.rounds)), "en": In(1),
            "address": Out(range(config.depth)), "word": Out(weights)})

    def elaborate(self, platform):
        m = Module()
        cfg = self.config
        if cfg.style == "parity" and cfg.parity:
            m.submodules.rom = words = ParityMemory(cfg.parity, cfg.bits, "weights")
            m.d.comb += words.en.eq(self.en)
            self._lag(m, words.data)
            return m
        address: Value = Cat(self.turn, self.step, self.around) if cfg.joint else \
            counter(m, cfg.words, self.en, "place")[0]
        m.d.comb += self.address.eq(address)
        if cfg.style == "phases":
            return m
        if not cfg._late_addresses or not any(cfg.lags):
            m.submodules.rom = rom = cfg.rom()
            m.d.comb += rom.addr.eq(self.address)
            word = rom.data
            if cfg.style == "packed":
                m.submodules.unpacker = unpacked = Compressor(unpacker(cfg.weights), rom.width, 0)
                m.d.comb += unpacked.shared.eq(rom.data)
                word = unpacked.o
            self._lag(m, word)
            return m
        codes = cfg.placed_codes()
        address, late = self.address, 0
        for lag, places in self._by_lag().items():
            address, late = delay(m, address, lag - late, f"address_{lag}"), lag
            name = f"rom_{lag}" if lag else "rom"
            m.submodules[name] = rom = Rom(codes[:, places], cfg.weight_type.width, cfg.style,
                                           "weights")
            m.d.comb += [rom.addr.eq(address),
                         Cat(self._weight(self.word, n) for n in places).eq(rom.data)]
        return m

    def _lag(self, m, word: Value) -> None:
        """Give the weights of a word, each as late as it should be."""
        for lag, places in self._by_lag().items():
            lag *= self.config.words > 1  # else it is always the same
            m.d.comb += Cat(self._weight(self.word, n) for n in places).eq(
                delay(m, Cat(self._weight(word, n) for n in places), lag, f"word_{lag}"))

    def _weight(self, word: Value, n: int) -> Value:
        return word.word_select(n, self.config.weight_type.width)

    def _by_lag(self) -> dict[int, list[int]]:
        """Places of weights in a word, by clocks that they come later."""
        lags = self.config.lags
        return {lag: [n for n in range(self.config.weights) if lags[n % len(lags)] == lag]
                for lag in sorted(set(lags))}
