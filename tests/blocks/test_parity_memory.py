"""Memory that fills block RAMs to the last bit; what synthesis makes of it is in tests/synth."""

import numpy as np
import pytest
from amaranth import Module, Signal
from amaranth.sim import Simulator

from hwgen.blocks.parity_memory import ParityBank, ParityMemory, ParityPlan, plan_parity
from hwgen.blocks.primitives import rom_bram36


def memory_of(plan: ParityPlan, seed=1) -> ParityMemory:
    words = sum(bank.words for bank in plan.banks)
    bits = np.random.default_rng(seed).integers(0, 2, (words, plan.width), dtype=np.uint8)
    return ParityMemory(plan, lambda: bits, "weights")


def read(dut: ParityMemory, clocks: int, moves=None) -> list[int]:
    """Words that come, one a clock; in clock n the memory moves on where ``moves[n]``."""
    m = Module()
    m.submodules.dut = dut
    seen = []

    async def bench(ctx):
        for n in range(clocks + dut.plan.latency):
            ctx.set(dut.en, 1 if moves is None else bool(moves[n % len(moves)]))
            seen.append(ctx.get(dut.data))
            await ctx.tick()

    m.d.sync += Signal(name="clocked").eq(0)
    simulator = Simulator(m)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return seen[dut.plan.latency:]


def words_of(dut: ParityMemory) -> list[int]:
    return (dut.bits().astype(np.int64) << np.arange(dut.plan.width)).sum(axis=1).tolist()


BANKS = [(ParityBank(8200, 4),), (ParityBank(9215, 4), ParityBank(2, 0)),
         (ParityBank(8193, 4), ParityBank(8193, 4), ParityBank(300, 0)),
         (ParityBank(16390, 2), ParityBank(8193, 4))]
"""Banks that fill the parity bits of block RAMs, or some of them."""


@pytest.mark.parametrize("banks", BANKS)
def test_words_come_in_order_again_and_again(banks):
    dut = memory_of(ParityPlan(3, banks, 9))
    words = words_of(dut)
    assert read(dut, len(words) + 20) == words + words[:20]


@pytest.mark.parametrize("banks", BANKS[:2])
def test_a_word_stays_while_the_memory_does_not_move_on(banks):
    dut = memory_of(ParityPlan(2, banks, 10))
    moves = np.random.default_rng(3).random(997) < 0.9
    clocks = sum(bank.words for bank in banks) * 10 // 8
    places = np.cumsum(np.resize(moves, clocks)) - np.resize(moves, clocks)
    assert places[-1] > len(dut.bits())
    words = words_of(dut)
    assert read(dut, clocks, moves) == [words[place % len(words)] for place in places]


@pytest.mark.slow
@pytest.mark.parametrize("width, words", [(1, 36865), (5, 60000), (4, 36864 + 18432 + 100)])
def test_words_of_block_rams_of_several_kinds_come_in_order(width, words):
    dut = memory_of(plan_parity(width, words))
    expected = words_of(dut)
    assert read(dut, words + 20) == expected + expected[:20]


@pytest.mark.parametrize("banks, joins, latency", [
    (1, [[2]], 3), (3, [[6]], 3), (9, [[6, 6, 6], [3]], 3), (10, [[6, 6, 6, 1, 1], [5]], 3),
    (18, [[6] * 6, [6]], 3), (19, [[6] * 6 + [2], [6, 1], [2]], 4)])
def test_two_levels_of_luts_are_a_clock(banks, joins, latency):
    plan = ParityPlan(4, (ParityBank(9216, 4),) * banks, 10)
    assert plan.joins == joins
    assert plan.latency == latency


@pytest.mark.parametrize("width, words, block, parity", [
    (4, 329672, 40.5, 36), (4, 9216, 1.5, 1), (4, 40000, 5, 4.5), (1, 36864, 1.5, 1),
    (6, 18432, 3.5, 3), (7, 100000, 21.5, 20)])
def test_parity_bits_save_block_rams(width, words, block, parity):
    plan = plan_parity(width, words)
    assert rom_bram36(width, words) == block
    assert plan.bram36 == parity
    assert sum(bank.words for bank in plan.banks) == words
    assert sum(-(-bank.words * width // 36864) for bank in plan.banks) <= parity + 0.5


@pytest.mark.parametrize("words", [8193, 9217, 20000, 36865, 75000, 329672])
@pytest.mark.parametrize("width", [1, 3, 4, 5, 18])
def test_banks_hold_all_words(width, words):
    plan = plan_parity(width, words)
    if plan is None:
        return  # others take fewer block RAMs
    assert sum(bank.words for bank in plan.banks) == words
    for bank in plan.banks:
        assert bank.words >= 2
        if bank.lane:
            assert 32768 < bank.words * bank.lane <= 36864
            assert 4096 // bank.lane % (1 << plan.low) == 0


def test_short_memories_have_no_words_in_parity_bits():
    assert plan_parity(4, 8192) is None
    assert plan_parity(4, 8193) is not None


def test_other_families_have_memories_for_the_words_in_parity_bits():
    plan = plan_parity(4, 329672)
    assert plan.estimate("xc7").bram36 == 36
    assert plan.estimate("ecp5").bram36 == 36 * 1.5
